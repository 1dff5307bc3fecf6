//! What is written into a message that a queue lets go of: its deaths (reference section 14.1; RabbitMQ's `mc`,
//! `rabbit_dead_letter`).

use smallvec::SmallVec;

use crate::amqp::table::ArrayWriter;
use crate::amqp::{Array, Properties, Table, TableWriter, Value};

/// Why a queue lets go of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its consumer wanted neither the message nor it back.
    Rejected,
    /// It was there too long.
    Expired,
    /// The queue was too long.
    MaxLen,
    /// It was delivered in vain too often.
    DeliveryLimit,
}

impl Reason {
    /// The name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
            Reason::MaxLen => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A death.
#[derive(Debug, Clone, Copy)]
pub struct Death<'a> {
    /// Why.
    pub reason: Reason,
    /// In which queue.
    pub queue: &'a str,
    /// When, in seconds since 1970.
    pub time_s: u64,
    /// The exchange that the message was published to.
    pub exchange: &'a str,
    /// Under which keys, those of CC among them.
    pub routing_keys: &'a [&'a str],
}

/// Headers that the broker writes anew.
const WRITTEN: [&[u8]; 7] = [
    b"x-death",
    b"x-first-death-exchange",
    b"x-first-death-queue",
    b"x-first-death-reason",
    b"x-last-death-exchange",
    b"x-last-death-queue",
    b"x-last-death-reason",
];

fn find<'a>(properties: &Properties<'a>, key: &str) -> Option<Value<'a>> {
    properties.headers.and_then(|headers| headers.find(key))
}

/// The deaths that a message has died so far, newest first.
fn deaths<'a>(properties: &Properties<'a>) -> impl Iterator<Item = Table<'a>> + use<'a> {
    let array = match find(properties, "x-death") {
        Some(Value::Array(array)) => array,
        _ => Array::default(),
    };
    array.iter().filter_map(|entry| match entry {
        Value::Table(table) => Some(table),
        _ => None,
    })
}

fn text<'a>(table: Table<'a>, key: &str) -> &'a [u8] {
    table.find(key).and_then(|value| value.as_long_str()).unwrap_or(&[])
}

/// Whether a message would come back to a queue where it has died already without anybody having rejected it since: the
/// newest death of that queue, and none before it up to now that was a rejection (the cycle rule).
pub fn is_cycle(properties: &Properties<'_>, queue: &str) -> bool {
    for death in deaths(properties) {
        if text(death, "reason") == Reason::Rejected.name().as_bytes() {
            return false;
        }
        if text(death, "queue") == queue.as_bytes() {
            return true;
        }
    }
    false
}

/// The properties of a message after a death: without expiration, and with the headers that tell of it. `was_dead`: its
/// x-death header is the broker's; a publisher's own counts for nothing.
pub fn properties(before: &Properties<'_>, was_dead: bool, death: &Death<'_>) -> Vec<u8> {
    let history: SmallVec<[Table<'_>; 4]> = if was_dead { deaths(before).collect() } else { SmallVec::new() };
    let is_same = |table: &Table<'_>| {
        (text(*table, "queue"), text(*table, "reason")) == (death.queue.as_bytes(), death.reason.name().as_bytes())
    };
    let known = history.iter().find(|table| is_same(table));
    let mut entry = TableWriter::new();
    match known {
        Some(known) => {
            let count = known.find("count").and_then(|count| count.as_integer()).unwrap_or(0);
            for (key, value) in known.iter() {
                let value = if key == b"count" { Value::I64(count.saturating_add(1)) } else { value };
                entry.put_bytes(key, value);
            }
        }
        None => {
            if let Some(expiration) = before.expiration {
                entry.put("original-expiration", Value::LongStr(expiration.as_bytes()));
            }
            let mut keys = ArrayWriter::default();
            death.routing_keys.iter().for_each(|key| {
                keys.push(Value::LongStr(key.as_bytes()));
            });
            entry.put("count", Value::I64(1));
            entry.put("reason", Value::LongStr(death.reason.name().as_bytes()));
            entry.put("queue", Value::LongStr(death.queue.as_bytes()));
            entry.put("time", Value::Timestamp(death.time_s));
            entry.put("exchange", Value::LongStr(death.exchange.as_bytes()));
            entry.put("routing-keys", Value::Array(keys.array()));
        }
    }
    let mut array = ArrayWriter::default();
    array.push(Value::Table(entry.table()));
    for table in history.iter().filter(|table| !is_same(table)) {
        array.push(Value::Table(*table));
    }
    let mut headers = TableWriter::new();
    for (key, value) in before.headers.iter().flat_map(|table| table.iter()) {
        if !WRITTEN.contains(&key) {
            headers.put_bytes(key, value);
        }
    }
    headers.put("x-death", Value::Array(array.array()));
    for (first, last, value) in [
        ("x-first-death-exchange", "x-last-death-exchange", death.exchange),
        ("x-first-death-queue", "x-last-death-queue", death.queue),
        ("x-first-death-reason", "x-last-death-reason", death.reason.name()),
    ] {
        let now = Value::LongStr(value.as_bytes());
        headers.put(first, find(before, first).filter(|_| was_dead).unwrap_or(now));
        headers.put(last, now);
    }
    let mut raw = Vec::new();
    Properties { headers: Some(headers.table()), expiration: None, ..*before }.encode(&mut raw);
    raw
}

/// The properties of a message that is delivered once more, with what the queue has counted.
pub fn counted(before: &Properties<'_>, acquired: u32, failed: u32) -> Vec<u8> {
    let mut headers = TableWriter::new();
    for (key, value) in before.headers.iter().flat_map(|table| table.iter()) {
        if key != b"x-acquired-count" && key != b"x-delivery-count" {
            headers.put_bytes(key, value);
        }
    }
    headers.put("x-acquired-count", Value::I64(acquired.into()));
    if failed > 0 {
        headers.put("x-delivery-count", Value::I64(failed.into()));
    }
    let mut raw = Vec::new();
    Properties { headers: Some(headers.table()), ..*before }.encode(&mut raw);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    fn die(raw: &[u8], was_dead: bool, queue: &str, reason: Reason, time_s: u64) -> Vec<u8> {
        let before = Properties::decode(raw).unwrap();
        properties(&before, was_dead, &Death { reason, queue, time_s, exchange: "e", routing_keys: &["k", "cc"] })
    }

    fn raw(properties: &Properties<'_>) -> Vec<u8> {
        let mut raw = vec![];
        properties.encode(&mut raw);
        raw
    }

    fn story(raw: &[u8]) -> Vec<(String, String, i64)> {
        let text = |table, key| String::from_utf8(text(table, key).to_vec()).unwrap();
        let count = |table: Table<'_>| match table.find("count") {
            Some(Value::I64(count)) => count,
            other => panic!("{other:?}"),
        };
        deaths(&Properties::decode(raw).unwrap())
            .map(|table| (text(table, "queue"), text(table, "reason"), count(table)))
            .collect()
    }

    #[test]
    fn a_first_death_is_told_in_rabbitmqs_order_and_types() {
        let before = raw(&Properties { expiration: Some("10"), priority: Some(3), ..Properties::default() });
        let after = die(&before, false, "q", Reason::Expired, 77);
        let after = Properties::decode(&after).unwrap();
        assert_eq!((after.expiration, after.priority), (None, Some(3)));
        let death = deaths(&after).next().unwrap();
        let keys: Vec<&[u8]> = death.iter().map(|(key, _)| key).collect();
        let expected = ["original-expiration", "count", "reason", "queue", "time", "exchange", "routing-keys"];
        assert_eq!(keys, expected.map(str::as_bytes));
        assert_eq!(death.find("time"), Some(Value::Timestamp(77)));
        let headers: Vec<String> =
            after.headers.unwrap().iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect();
        assert_eq!(headers[0], "x-death");
        for part in ["exchange", "queue", "reason"] {
            for order in ["first", "last"] {
                assert!(headers.contains(&format!("x-{order}-death-{part}")), "{order} {part}");
            }
        }
        assert_eq!(find(&after, "x-first-death-reason"), Some(Value::LongStr(b"expired")));
    }

    #[test]
    fn deaths_are_counted_by_queue_and_reason_newest_first() {
        let mut now = raw(&Properties::default());
        for (queue, reason) in
            [("a", Reason::Rejected), ("b", Reason::Expired), ("a", Reason::Rejected), ("a", Reason::MaxLen)]
        {
            let was_dead = now.len() > 2;
            now = die(&now, was_dead, queue, reason, 1);
        }
        let told = |queue: &str, reason: &str, count| (queue.to_owned(), reason.to_owned(), count);
        let expected = [told("a", "maxlen", 1), told("a", "rejected", 2), told("b", "expired", 1)];
        assert_eq!(story(&now), expected);
        let now = Properties::decode(&now).unwrap();
        assert_eq!(find(&now, "x-first-death-reason"), Some(Value::LongStr(b"rejected")));
        assert_eq!(find(&now, "x-last-death-reason"), Some(Value::LongStr(b"maxlen")));
    }

    #[test]
    fn what_a_publisher_says_of_deaths_counts_for_nothing() {
        let once = die(&raw(&Properties::default()), false, "a", Reason::Rejected, 1);
        let again = die(&once, false, "b", Reason::Rejected, 2);
        assert_eq!(story(&again), [("b".to_owned(), "rejected".to_owned(), 1)]);
        assert_eq!(
            find(&Properties::decode(&again).unwrap(), "x-first-death-queue"),
            Some(Value::LongStr(b"b")),
            "the first that the broker saw"
        );
    }

    #[test]
    fn a_cycle_is_one_that_nobody_has_rejected() {
        let is_cycle = |raw: &[u8], queue| is_cycle(&Properties::decode(raw).unwrap(), queue);
        let expired = die(&raw(&Properties::default()), false, "a", Reason::Expired, 1);
        assert!(is_cycle(&expired, "a") && !is_cycle(&expired, "b"));
        let both = die(&expired, true, "b", Reason::MaxLen, 2);
        assert!(is_cycle(&both, "a") && is_cycle(&both, "b"));
        let rejected = die(&both, true, "c", Reason::Rejected, 3);
        for queue in ["a", "b", "c"] {
            assert!(!is_cycle(&rejected, queue), "{queue}");
        }
    }

    #[test]
    fn counts_are_told_with_a_redelivery() {
        let mut headers = TableWriter::new();
        headers.put("x-delivery-count", Value::I32(9)).put("mine", Value::I32(1));
        let before = raw(&Properties { headers: Some(headers.table()), ..Properties::default() });
        let raw = counted(&Properties::decode(&before).unwrap(), 2, 0);
        let after = Properties::decode(&raw).unwrap();
        assert_eq!(find(&after, "x-acquired-count"), Some(Value::I64(2)));
        assert_eq!(find(&after, "x-delivery-count"), None);
        assert_eq!(find(&after, "mine"), Some(Value::I32(1)));
        let raw = counted(&after, 3, 2);
        assert_eq!(find(&Properties::decode(&raw).unwrap(), "x-delivery-count"), Some(Value::I64(2)));
    }
}
