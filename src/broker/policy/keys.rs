//! The keys of a policy's definition: what their values may be, and what a policy that has them applies to.
//!
//! Sources: RabbitMQ's `rabbit_policies`, `rabbit_queue_type`'s capabilities; reference section 0 for what is ignored.
//! The texts for `dead-letter-strategy`, `target-group-size` and RabbitMQ 4.3's newest keys are only in their style.

use serde_json::Value as Json;

use super::json;
use crate::broker::queue_arguments::{self, QueueType};
use crate::broker::rules::{Overflow, RetryType};

/// A key of a definition.
#[derive(Debug)]
pub struct Key {
    /// Its name; one that ends in `*` stands for all names that begin so.
    name: &'static str,
    /// The types of queue that a policy with this key applies to.
    on: u8,
    /// An operator's policy may have it.
    operator: bool,
    is_valid: fn(&Json) -> bool,
    /// What a value that is not valid is not.
    what: &'static str,
}

const C: u8 = QueueType::Classic.bit();
const Q: u8 = QueueType::Quorum.bit();
const S: u8 = QueueType::Stream.bit();

const fn key(name: &'static str, on: u8, is_valid: fn(&Json) -> bool, what: &'static str) -> Key {
    Key { name, on, operator: false, is_valid, what }
}

const fn limit(name: &'static str, on: u8, is_valid: fn(&Json) -> bool, what: &'static str) -> Key {
    Key { name, on, operator: true, is_valid, what }
}

const KEYS: &[Key] = &[
    key("alternate-exchange", C | Q | S, Json::is_string, "alternate exchange name"),
    key("dead-letter-exchange", C | Q, Json::is_string, "dead letter exchange name"),
    key("dead-letter-routing-key", C | Q, Json::is_string, "dead letter routing key"),
    key("dead-letter-strategy", Q, |value| is_one(value, &["at-most-once", "at-least-once"]), "dead letter strategy"),
    limit("message-ttl", C | Q, Json::is_u64, "message TTL"),
    limit("expires", C | Q, is_positive, "queue expiry"),
    limit("max-length", C | Q, Json::is_u64, "maximum length"),
    limit("max-length-bytes", C | Q | S, Json::is_u64, "maximum length in bytes"),
    limit("max-in-memory-length", Q, Json::is_u64, "maximum memory in bytes"),
    limit("max-in-memory-bytes", Q, Json::is_u64, "maximum memory in bytes"),
    limit("overflow", C | Q, |value| text(value).and_then(Overflow::named).is_some(), "overflow value"),
    limit("delivery-limit", Q, |value| value.is_i64() || value.is_u64(), "delivery limit"),
    limit("target-group-size", Q, Json::is_u64, "target count"),
    key("consumer-timeout", C | Q, Json::is_u64, "consumer timeout"),
    key("consumer-disconnected-timeout", C | Q, Json::is_u64, "consumer disconnected timeout"),
    key(
        "delayed-retry-type",
        C | Q,
        |value| text(value).and_then(RetryType::named).is_some() || is_one(value, &["disabled"]),
        "delayed retry type",
    ),
    key("delayed-retry-min", C | Q, Json::is_u64, "delayed retry minimum"),
    key("delayed-retry-max", C | Q, Json::is_u64, "delayed retry maximum"),
    key("queue-leader-locator", C | Q | S, |value| is_one(value, &LOCATORS), "queue leader locator value"),
    key("max-age", S, |value| text(value).is_some_and(queue_arguments::is_max_age), "max age"),
    key("stream-max-segment-size-bytes", S, Json::is_u64, "segment size"),
    key(
        "stream-filter-size-bytes",
        S,
        |value| value.as_u64().is_some_and(|bytes| (16..=255).contains(&bytes)),
        "filter size",
    ),
    key("initial-cluster-size", S, Json::is_u64, "cluster size"),
    key("queue-mode", C | Q | S, |value| is_one(value, &["default", "lazy"]), "queue-mode value"),
    limit("queue-version", C | Q | S, |value| matches!(value.as_u64(), Some(1 | 2)), "queue-version value"),
    key("federation-upstream", C | Q | S, Json::is_string, "federation upstream name"),
    key("federation-upstream-set", C | Q | S, Json::is_string, "federation upstream set name"),
    key("federation-upstream-pattern", C | Q | S, Json::is_string, "federation upstream pattern"),
    key("ha-*", C | Q | S, |_| true, ""),
];

const LOCATORS: [&str; 5] = ["client-local", "balanced", "random", "least-leaders", "min-masters"];

fn text(value: &Json) -> Option<&[u8]> {
    value.as_str().map(str::as_bytes)
}

fn is_one(value: &Json, names: &[&str]) -> bool {
    value.as_str().is_some_and(|value| names.contains(&value))
}

fn is_positive(value: &Json) -> bool {
    value.as_u64().is_some_and(|value| value > 0)
}

impl Key {
    /// The key of this name that an operator's policy, or any other, may have.
    pub fn named(name: &str, operator: bool) -> Option<&'static Key> {
        KEYS.iter().find(|key| {
            (key.operator || !operator)
                && match key.name.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => key.name == name,
                }
        })
    }

    /// The types of queue, as bits, that a policy with this key applies to: all others are left alone by all of it.
    pub fn on(&self) -> u8 {
        self.on
    }

    /// Checks a value.
    ///
    /// # Errors
    /// RabbitMQ's text when it is not valid.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        match (self.is_valid)(value) {
            true => Ok(()),
            false => Err(format!("{} is not a valid {}", json::term(value), self.what)),
        }
    }
}
