use super::*;
use crate::amqp::TableWriter;

const QUEUE: &str = "queue 'q' in vhost '/'";

fn table(entries: &[(&str, Value<'_>)]) -> TableWriter {
    let mut writer = TableWriter::new();
    entries.iter().for_each(|(key, value)| {
        writer.put(key, *value);
    });
    writer
}

fn text(entries: &[(&str, Value<'_>)]) -> Option<String> {
    check(table(entries).table()).err().map(|refusal| refusal.text(QUEUE))
}

fn s(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}

#[test]
fn values_are_checked() {
    let int = Value::I32;
    let of = |key: &str, error: &str| Some(format!("invalid arg '{key}' for {QUEUE}: {error}"));
    for (key, value, error) in [
        ("x-expires", int(1), None),
        ("x-expires", int(0), Some("{value_zero,0}")),
        ("x-expires", int(-1), Some("{value_negative,-1}")),
        ("x-expires", Value::I64(315_360_000_000), None),
        ("x-expires", Value::I64(315_360_000_001), Some("{value_too_large,315360000001}")),
        ("x-expires", s("10"), Some("\"expected integer, got longstr\"")),
        ("x-message-ttl", int(0), None),
        ("x-message-ttl", Value::U8(7), None),
        ("x-message-ttl", int(-10), Some("{value_negative,-10}")),
        ("x-message-ttl", Value::I64(315_360_000_001), Some("{value_too_large,315360000001}")),
        ("x-message-ttl", Value::F64(10.0), Some("\"expected integer, got double\"")),
        ("x-max-length", int(0), None),
        ("x-max-length", int(-1), Some("{value_negative,-1}")),
        ("x-max-length-bytes", int(-1), Some("{value_negative,-1}")),
        ("x-max-length-bytes", Value::Bool(true), Some("\"expected integer, got bool\"")),
        ("x-max-priority", int(255), None),
        ("x-max-priority", int(256), Some("{max_value_exceeded,256}")),
        ("x-max-priority", int(-1), Some("{value_negative,-1}")),
        ("x-dead-letter-routing-key", s("k"), Some("routing_key_but_no_dlx_defined")),
        ("x-dead-letter-routing-key", int(1), Some("{unacceptable_type,signedint}")),
        ("x-overflow", s("reject-publish-dlx"), None),
        ("x-overflow", s("drop-tail"), Some("invalid_overflow")),
        ("x-overflow", int(1), Some("{unacceptable_type,signedint}")),
        ("x-single-active-consumer", Value::Bool(false), None),
        ("x-single-active-consumer", s("true"), Some("{unacceptable_type,longstr}")),
        ("x-queue-type", s("quorum"), None),
        ("x-queue-type", s("foo"), Some("\"unsupported queue type 'foo'\"")),
        ("x-queue-type", int(1), Some("{unacceptable_type,signedint}")),
        ("x-queue-version", int(2), None),
        ("x-queue-version", int(1), Some("\"unsupported queue version '1'\"")),
        ("x-queue-leader-locator", s("balanced"), None),
        ("x-queue-leader-locator", s("here"), Some("invalid_queue_locator_arg")),
        ("x-queue-master-locator", s("min-masters"), None),
        ("x-queue-mode", s("lazy"), None),
        ("x-unheard-of", int(-1), None),
        // Values come before what the type knows.
        ("x-max-age", s("7D"), Some("")),
        ("x-max-age", s("D"), Some("invalid_max_age")),
        ("x-max-age", s("7d"), Some("invalid_max_age")),
        ("x-max-age", int(7), Some("{unacceptable_type,signedint}")),
        ("x-delivery-limit", int(-1), Some("")),
        ("x-delivery-limit", s("1"), Some("\"expected integer, got longstr\"")),
        ("x-dead-letter-strategy", s("maybe"), Some("invalid_dlx_strategy")),
        ("x-quorum-initial-group-size", int(0), Some("{value_zero,0}")),
        ("x-consumer-timeout", int(-1), Some("{value_negative,-1}")),
    ] {
        let expected = match error {
            Some("") => Some(format!("invalid arg '{key}' for {QUEUE} of queue type rabbit_classic_queue")),
            Some(error) => of(key, error),
            None => None,
        };
        assert_eq!(text(&[(key, value)]), expected, "{key} {value:?}");
    }
    for (key, value, whole) in [
        (
            "x-stream-max-segment-size-bytes",
            Value::I64(3_000_000_001),
            "Exceeded max value for x-stream-max-segment-size-bytes",
        ),
        ("x-stream-filter-size-bytes", int(15), "Invalid value for x-stream-filter-size-bytes"),
        ("x-stream-filter-size-bytes", s("16"), "Invalid type for x-stream-filter-size-bytes"),
    ] {
        assert_eq!(text(&[(key, value)]).as_deref(), Some(whole), "{key} {value:?}");
    }
    assert_eq!(text(&[("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("k"))]), None);
}

#[test]
fn each_type_knows_its_own() {
    let all: &[(&str, Value<'_>, &str)] = &[
        ("x-expires", Value::I32(1), "cq"),
        ("x-message-ttl", Value::I32(1), "cq"),
        ("x-max-length", Value::I32(1), "cq"),
        ("x-overflow", s("drop-head"), "cq"),
        ("x-single-active-consumer", Value::Bool(true), "cq"),
        ("x-dead-letter-exchange", s("d"), "cq"),
        ("x-max-length-bytes", Value::I32(1), "cq"),
        ("x-queue-leader-locator", s("balanced"), "cq"),
        ("x-max-priority", Value::I32(1), "c"),
        ("x-queue-mode", s("lazy"), "c"),
        ("x-queue-version", Value::I32(2), "c"),
        ("x-queue-master-locator", s("random"), "c"),
        ("x-delayed-retry-type", s("all"), "cq"),
        ("x-delayed-retry-min", Value::I32(1), "cq"),
        ("x-delayed-retry-max", Value::I32(1), "cq"),
        ("x-delayed-retry-multiplier", Value::I32(1), "cq"),
        ("x-dead-letter-strategy", s("at-least-once"), "q"),
        ("x-quorum-initial-group-size", Value::I32(1), "q"),
        ("x-max-in-memory-length", Value::I32(1), "q"),
        ("x-max-in-memory-bytes", Value::I32(1), "q"),
        ("x-consumer-timeout", Value::I32(1), "q"),
        ("x-consumer-disconnected-timeout", Value::I32(1), "q"),
        ("x-max-age", s("1h"), ""),
        ("x-stream-max-segment-size-bytes", Value::I32(1), ""),
        ("x-stream-filter-size-bytes", Value::I32(16), ""),
        ("x-initial-cluster-size", Value::I32(1), ""),
    ];
    for (key, value, types) in all {
        for (letter, name, module) in [("c", "classic", "rabbit_classic_queue"), ("q", "quorum", "rabbit_quorum_queue")]
        {
            let refused = text(&[("x-queue-type", s(name)), (key, *value)]);
            let expected = format!("invalid arg '{key}' for {QUEUE} of queue type {module}");
            assert_eq!(refused, (!types.contains(letter)).then_some(expected), "{key} {name}");
            let is_compared = compared(QueueType::named(name.as_bytes()).unwrap()).any(|other| other == *key);
            assert_eq!(is_compared, types.contains(letter), "{key} {name}");
        }
    }
}

#[test]
fn consumers_have_arguments_too() {
    let text = |queue_type, entries: &[(&str, Value<'_>)]| {
        check_consumer(table(entries).table(), queue_type).err().map(|refusal| refusal.text(QUEUE))
    };
    assert_eq!(text(QueueType::Classic, &[("x-priority", Value::I32(-5)), ("x-whatever", s(""))]), None);
    let expected = format!("invalid arg 'x-priority' for {QUEUE}: \"expected integer, got longstr\"");
    assert_eq!(text(QueueType::Quorum, &[("x-priority", s("1"))]), Some(expected));
    let expected = format!("invalid arg 'x-stream-offset' for {QUEUE} of queue type rabbit_classic_queue");
    assert_eq!(text(QueueType::Classic, &[("x-stream-offset", s("first"))]), Some(expected));
    assert_eq!(text(QueueType::Quorum, &[("x-consumer-timeout", Value::I32(1000))]), None);
}
