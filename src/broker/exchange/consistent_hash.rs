//! The x-consistent-hash exchange: each routing key, header or property has one destination, and each destination has
//! a share of them that is its weight (reference sections 7.5 and 10; RabbitMQ's
//! `rabbit_exchange_type_consistent_hash`).
//!
//! Weighted rendezvous hashing: for each key, each destination draws a time at random, the sooner the greater its
//! weight, and the soonest has the key. The draw comes from the key and the destination's name alone. So the order of
//! the bindings does not count, a new destination takes from the others what it gets and nothing else moves, and one
//! that goes leaves its keys to the others and nothing else moves. In RabbitMQ, which numbers buckets, keys move
//! between others too when one goes that was not the last.
//!
//! A key costs a look at every destination, one or two nanoseconds each. Nothing is kept per unit of weight, so that a
//! great weight costs nothing (CVE-2026-67219).

use super::{Asked, Destination, Routes, Target, stable};
use crate::amqp::{Table, Value};
use crate::broker::arguments::erlang_binary;

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";
/// As RabbitMQ 4.3.5.
const WEIGHT_MAX: u32 = 10_000;

/// What of a message is hashed.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    RoutingKey,
    Header(Box<[u8]>),
    CorrelationId,
    MessageId,
    Timestamp,
}

impl Subject {
    fn of_property(name: &[u8]) -> Option<Subject> {
        match name {
            b"correlation_id" => Some(Subject::CorrelationId),
            b"message_id" => Some(Subject::MessageId),
            b"timestamp" => Some(Subject::Timestamp),
            _ => None,
        }
    }

    /// That of an exchange with these arguments; what [`validate`] refuses counts as nothing said.
    fn of(arguments: Table<'_>) -> Subject {
        let text = |name| arguments.find(name).and_then(|value: Value<'_>| value.as_long_str());
        match (text(HASH_HEADER), text(HASH_PROPERTY).and_then(Subject::of_property)) {
            (Some(header), _) => Subject::Header(header.into()),
            (None, Some(property)) => property,
            (None, None) => Subject::RoutingKey,
        }
    }

    /// Messages that lack it are all alike.
    fn hash(&self, asked: &Asked<'_>) -> u64 {
        let text = |text: Option<&str>| text.map_or_else(stable::missing, |text| stable::octets(text.as_bytes()));
        let properties = asked.properties;
        match self {
            // Not the keys of CC and BCC.
            Subject::RoutingKey => text(asked.keys.first().copied()),
            Subject::Header(name) => stable::header(properties.headers, name),
            Subject::CorrelationId => text(properties.correlation_id),
            Subject::MessageId => text(properties.message_id),
            Subject::Timestamp => {
                properties.timestamp.map_or_else(stable::missing, |seconds| stable::value(Value::Timestamp(seconds)))
            }
        }
    }
}

/// Whether an exchange may be declared with these arguments; `exchange` is it as texts name it.
pub(super) fn validate(arguments: Table<'_>, exchange: &str) -> Result<(), String> {
    let text = |name| match arguments.find(name) {
        None => Ok(None),
        Some(Value::LongStr(text)) => Ok(Some(text)),
        Some(other) => Err(format!("invalid type '{}' for arg '{name}' in {exchange}", other.type_name())),
    };
    match (text(HASH_HEADER)?, text(HASH_PROPERTY)?) {
        (Some(_), Some(_)) => Err(format!("{HASH_HEADER} and {HASH_PROPERTY} are mutually exclusive")),
        (None, Some(property)) if Subject::of_property(property).is_none() => {
            Err(format!("Unsupported property: {}", String::from_utf8_lossy(property)))
        }
        _ => Ok(()),
    }
}

/// The weight that a binding's key says, as Erlang reads integers.
pub(super) fn weight(key: &str) -> Result<u32, String> {
    let (is_negative, digits) = match key.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(format!("The binding key must be an integer: {}", erlang_binary(key.as_bytes())));
    }
    let next = |number: u32, digit: &u8| number.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    match digits.iter().fold(0, next) {
        0 => Err("The binding key must be greater than 0".to_owned()),
        _ if is_negative => Err("The binding key must be greater than 0".to_owned()),
        weight if weight > WEIGHT_MAX => Err(format!("The binding key must not exceed {WEIGHT_MAX}")),
        weight => Ok(weight),
    }
}

/// The destinations, those of one weight together.
#[derive(Debug)]
pub(super) struct ConsistentHash {
    subject: Subject,
    /// Sorted by weight
    classes: Vec<Class>,
}

#[derive(Debug)]
struct Class {
    weight: u32,
    /// Hashes of the destinations' names, and the destinations
    members: Vec<(u64, Destination)>,
}

impl ConsistentHash {
    pub(super) fn new(arguments: Table<'_>) -> ConsistentHash {
        ConsistentHash { subject: Subject::of(arguments), classes: vec![] }
    }

    /// Adds a destination that is not there.
    pub(super) fn add(&mut self, target: Target, key: &str) {
        let weight = weight(key).unwrap_or(1); // refused before
        let at = self.classes.partition_point(|class| class.weight < weight);
        if self.classes.get(at).is_none_or(|class| class.weight != weight) {
            self.classes.insert(at, Class { weight, members: vec![] });
        }
        self.classes[at].members.push((target.name_hash, target.destination));
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        for class in &mut self.classes {
            if let Some(at) = class.members.iter().position(|(_, other)| *other == destination) {
                class.members.swap_remove(at);
            }
        }
        self.classes.retain(|class| !class.members.is_empty());
    }

    /// Whether the routing key alone decides.
    pub(super) fn is_by_key(&self) -> bool {
        self.subject == Subject::RoutingKey
    }

    pub(super) fn route(&self, asked: &Asked<'_>, out: &mut Routes) {
        out.extend(self.pick(self.subject.hash(asked)));
    }

    fn pick(&self, key_hash: u64) -> Option<Destination> {
        let mut soonest: Option<(f64, Destination)> = None;
        for Class { weight, members } in &self.classes {
            // Of one weight, the greatest draw is the soonest. No two are the same unless two names have one hash.
            let (mut draw, mut at) = (0, 0);
            for (place, (name_hash, _)) in members.iter().enumerate() {
                let drawn = stable::mix(key_hash ^ name_hash);
                if drawn > draw {
                    (draw, at) = (drawn, place);
                }
            }
            let Some((_, destination)) = members.get(at) else { continue };
            let draw = (draw >> 11) as f64 / (1_u64 << 53) as f64;
            let weight = f64::from(*weight);
            // The logarithm is not taken of what cannot be soonest.
            if soonest.is_some_and(|(time, _)| (1.0 - draw) / weight >= time) {
                continue;
            }
            let time = -draw.ln() / weight;
            if soonest.is_none_or(|(least, _)| time < least) {
                soonest = Some((time, *destination));
            }
        }
        soonest.map(|(_, destination)| destination)
    }
}

#[cfg(test)]
mod tests;
