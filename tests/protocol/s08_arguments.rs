//! Section 8: arguments of queues.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::say::*;

const TTL: &str = "x-message-ttl";

fn of_type<'a>(queue: &'a str, queue_type: &str, more: &[(&str, Value<'_>)]) -> QueueDeclare<'a> {
    let arguments: Vec<_> = [("x-queue-type", s(queue_type))].iter().chain(more).copied().collect();
    QueueDeclare { durable: true, ..declare_with(queue, &arguments) }
}

/// The declare is refused with 406 and this text, and there is no such queue.
fn refused(t: &Net, declare: QueueDeclare<'_>, text: &str) {
    let a = t.peer();
    a.send(declare).closed(406, text, QueueDeclare::ID).reopen().no_queue("q");
}

scripts! {
    s8_1_what_a_type_does_not_know_is_refused(t) {
        let text = "invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue";
        refused(t, of_type("q", "quorum", &[("x-max-priority", int(10))]), text);
        let text = "invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        refused(t, declare_with("q", &[("x-delivery-limit", int(10))]), text);
    }

    s8_1_what_no_type_knows_is_ignored(t) {
        t.peer().queue(of_type("q", "quorum", &[("x-mine", int(-1))])).queue(of_type("q", "quorum", &[]));
    }

    s8_1_arguments_of_consumers(t) {
        let a = t.peer();
        a.queue(declare("q")).queue(of_type("r", "quorum", &[]));
        let with = |queue, key, value| BasicConsume { arguments: table(&[(key, value)]), ..consume(queue, "c") };
        let text = "invalid arg 'x-stream-offset' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        a.send(with("q", "x-stream-offset", s("first"))).closed(406, text, BasicConsume::ID).reopen();
        let text = "invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        a.send(with("q", "x-consumer-timeout", int(1000))).closed(406, text, BasicConsume::ID).reopen();
        let text = "invalid arg 'x-consumer-timeout' for queue 'r' in vhost '/': {value_negative,-1}";
        a.send(with("r", "x-consumer-timeout", int(-1))).closed(406, text, BasicConsume::ID).reopen();
        a.send(with("r", "x-consumer-timeout", int(60_000))).expect(BasicConsumeOk { consumer_tag: "c" });
    }

    s8_2_values_are_checked(t) {
        let text = |key: &str, error: &str| format!("invalid arg '{key}' for queue 'q' in vhost '/': {error}");
        for (key, value, error) in [
            ("x-expires", int(0), "{value_zero,0}"),
            ("x-expires", int(-1), "{value_negative,-1}"),
            ("x-expires", Value::I64(315_360_000_001), "{value_too_large,315360000001}"),
            ("x-expires", Value::Bool(true), "\"expected integer, got bool\""),
            ("x-max-length", int(-1), "{value_negative,-1}"),
            ("x-max-length", s("1"), "\"expected integer, got longstr\""),
            ("x-max-length-bytes", int(-1), "{value_negative,-1}"),
            ("x-max-priority", int(-1), "{value_negative,-1}"),
            ("x-max-priority", s("9"), "\"expected integer, got longstr\""),
            ("x-overflow", int(1), "{unacceptable_type,signedint}"),
            ("x-single-active-consumer", s("true"), "{unacceptable_type,longstr}"),
            ("x-queue-leader-locator", s("nonsense"), "invalid_queue_locator_arg"),
            ("x-delayed-retry-type", s("nonsense"), "invalid_delayed_retry_type"),
            ("x-delayed-retry-type", int(1), "{unacceptable_type,signedint}"),
            ("x-delayed-retry-min", int(-1), "{value_negative,-1}"),
            ("x-delayed-retry-min", s("10"), "\"expected integer, got longstr\""),
            ("x-delayed-retry-max", int(-1), "{value_negative,-1}"),
            ("x-delayed-retry-multiplier", int(0), "{value_zero,0}"),
            ("x-delayed-retry-multiplier", Value::I64(3_000_000_000), "{value_too_large,3000000000}"),
            (TTL, int(-10), "{value_negative,-10}"),
            (TTL, s("10"), "\"expected integer, got longstr\""),
            (TTL, Value::I64(315_360_000_001), "{value_too_large,315360000001}"),
            ("x-max-priority", int(256), "{max_value_exceeded,256}"),
            ("x-dead-letter-routing-key", s("k"), "routing_key_but_no_dlx_defined"),
            ("x-overflow", s("nonsense"), "invalid_overflow"),
            ("x-queue-type", s("nonsense"), "\"unsupported queue type 'nonsense'\""),
            ("x-queue-version", int(1), "\"unsupported queue version '1'\""),
        ] {
            refused(t, declare_with("q", &[(key, value)]), &text(key, error));
        }
    }

    s8_2_values_of_quorum_queues_are_checked(t) {
        let text = |key: &str, error: &str| format!("invalid arg '{key}' for queue 'q' in vhost '/': {error}");
        for (key, value, error) in [
            ("x-dead-letter-strategy", s("sometimes"), "invalid_dlx_strategy"),
            ("x-delivery-limit", s("10"), "\"expected integer, got longstr\""),
            ("x-consumer-timeout", int(-1), "{value_negative,-1}"),
            ("x-quorum-initial-group-size", int(0), "{value_zero,0}"),
            ("x-delayed-retry-min", int(-1), "{value_negative,-1}"),
        ] {
            refused(t, of_type("q", "quorum", &[(key, value)]), &text(key, error));
        }
    }

    s8_2_values_at_their_bounds_are_accepted(t) {
        let a = t.peer();
        for (n, (key, value)) in [
            ("x-expires", Value::I64(315_360_000_000)),
            (TTL, Value::I64(315_360_000_000)),
            ("x-max-length", int(0)),
            ("x-max-length-bytes", Value::I64(i64::MAX)),
            ("x-max-priority", int(0)),
            ("x-max-priority", Value::U8(255)),
            ("x-queue-version", int(2)),
            ("x-queue-mode", s("lazy")),
            ("x-delayed-retry-min", int(0)),
            ("x-delayed-retry-multiplier", int(i32::MAX)),
        ]
        .into_iter()
        .enumerate()
        {
            a.queue(declare_with(&format!("q{n}"), &[(key, value)]));
        }
        for (n, (key, value)) in [
            ("x-delivery-limit", int(-1)),
            ("x-dead-letter-strategy", s("at-least-once")),
            ("x-dead-letter-strategy", s("at-most-once")),
            ("x-delayed-retry-type", s("disabled")),
            ("x-consumer-timeout", int(0)),
            ("x-max-in-memory-length", int(5)),
        ]
        .into_iter()
        .enumerate()
        {
            a.queue(of_type(&format!("r{n}"), "quorum", &[(key, value)]));
        }
    }

    s8_2_a_classic_queue_has_a_delivery_limit_beside_retries_only(t) {
        let a = t.peer();
        a.queue(declare_with("r", &[("x-delivery-limit", int(3)), ("x-delayed-retry-min", int(10))]));
        let text = "invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue";
        refused(t, declare_with("q", &[("x-delivery-limit", int(3)), ("x-delayed-retry-max", int(10))]), text);
    }

    s8_2_a_bad_value_is_found_before_a_bad_property(t) {
        let bad = of_type("q", "quorum", &[(TTL, int(-1))]);
        let text = "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}";
        refused(t, QueueDeclare { durable: false, exclusive: true, ..bad }, text);
    }

    s8_2_values_count_for_new_queues_only(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[(TTL, int(10))]));
        let text = "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '-1' but current is '10'";
        a.send(declare_with("q", &[(TTL, int(-1))])).closed(406, text, QueueDeclare::ID);
    }

    s8_2_there_are_no_streams_yet(t) {
        let text = "invalid arg 'x-queue-type' for queue 'q' in vhost '/': \"unsupported queue type 'stream'\"";
        refused(t, of_type("q", "stream", &[]), text);
    }

    s7_1_a_quorum_queue_is_durable_and_everybodys(t) {
        let text = |property: &str| format!("invalid property '{property}' for queue 'q' in vhost '/'");
        let quorum = of_type("q", "quorum", &[]);
        refused(t, QueueDeclare { durable: false, ..quorum }, &text("non-durable"));
        refused(t, QueueDeclare { exclusive: true, ..quorum }, &text("exclusive-owner"));
        refused(t, QueueDeclare { auto_delete: true, ..quorum }, &text("auto-delete"));
    }

    s7_2_a_quorum_queue_is_not_a_classic_one(t) {
        let a = t.peer();
        a.queue(of_type("q", "quorum", &[]));
        let text = "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is \
                    'quorum'";
        a.send(of_type("q", "classic", &[])).closed(406, text, QueueDeclare::ID).reopen();
        a.send(QueueDeclare { durable: true, ..declare("q") });
        a.closed_like(406, "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received", QueueDeclare::ID);
    }

    s7_3_a_quorum_queue_is_deleted_without_conditions(t) {
        t.peer().queue(of_type("q", "quorum", &[]));
        let flags = [(true, false, "if-unused"), (false, true, "if-empty"), (true, true, "if-unused")];
        for (if_unused, if_empty, flag) in flags {
            let text = format!(
                "cannot delete queue 'q' in vhost '/'. queue.delete operations with {flag} flag set are not \
                 supported by quorum queues"
            );
            t.peer().send(QueueDelete { if_unused, if_empty, ..delete("q") }).dies(540, &text, QueueDelete::ID);
        }
        t.peer().send(delete("q")).expect(delete_ok(0));
    }
}
