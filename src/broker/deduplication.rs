//! De-duplication: a queue or an exchange takes a message once by what a header of it says
//! (`x-message-deduplication`, as the RabbitMQ plugin of that name and LavinMQ have it).
//!
//! What was seen is remembered by 128 bits of hash, up to a number and, if one is set, for a time. A queue that names
//! neither goes by what is in it: as the plugin does, it takes a message again when the first is gone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;

use ahash::RandomState;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::amqp::{Properties, Table, Value, table};

/// Header that names a message, unless the queue or exchange says otherwise.
const HEADER: &str = "x-deduplication-header";
/// What is remembered where only a time was set.
const SIZE: u32 = 65_536;
/// The largest `x-cache-size`.
pub const SIZE_MAX: u32 = 4_000_000;

/// What stands for a message's name.
pub type Id = [u8; 16];

/// How a queue or exchange tells messages apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplication {
    /// The header that names a message (`x-deduplication-header`).
    pub header: Arc<str>,
    /// So many names are remembered (`x-cache-size`).
    pub size: u32,
    /// For so many milliseconds (`x-cache-ttl`).
    pub ttl_ms: Option<u64>,
    /// Neither was set: what counts is what is in the queue.
    pub by_content: bool,
}

impl Deduplication {
    /// What arguments ask for; `by_type`: the exchange's type does.
    pub fn of(arguments: Table<'_>, by_type: bool) -> Option<Deduplication> {
        if !by_type && arguments.find("x-message-deduplication") != Some(Value::Bool(true)) {
            return None;
        }
        let number = |key| arguments.find(key).and_then(|value| value.as_integer()).and_then(|n| u64::try_from(n).ok());
        let (size, ttl_ms) = (number("x-cache-size"), number("x-cache-ttl"));
        let header = match arguments.find(HEADER) {
            Some(Value::LongStr(name)) => Arc::from(String::from_utf8_lossy(name)),
            _ => HEADER.into(),
        };
        let by_content = size.is_none() && ttl_ms.is_none();
        let size = size.map_or(SIZE, |size| size.min(SIZE_MAX.into()) as u32);
        Some(Deduplication { header, size, ttl_ms, by_content })
    }

    /// The name of a message, and for how long it says that this is to be remembered (header `x-cache-ttl`); `None`
    /// when it has none.
    pub fn name(&self, properties: &Properties<'_>) -> Option<(Id, Option<u64>)> {
        let headers = properties.headers?;
        let value = headers.find(&self.header)?;
        let mut hasher = SipHasher24::new();
        match value {
            // A text is the same in either form.
            Value::LongStr(text) | Value::Bytes(text) => hasher.write(text),
            value => {
                let mut bytes = Vec::new();
                table::write_value(&mut bytes, value);
                hasher.write(&bytes);
            }
        }
        let hash = hasher.finish128();
        let ttl = headers.find("x-cache-ttl").and_then(|value| value.as_integer());
        Some((hash.as_bytes(), ttl.and_then(|ttl| u64::try_from(ttl).ok())))
    }
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// What it goes by.
    pub rule: Deduplication,
    /// Until when each is remembered, in milliseconds since 1970; 0: for ever.
    until: HashMap<Id, u64, RandomState>,
    /// In the order of their coming; those that were forgotten stay until they are at the front.
    order: VecDeque<(Id, u64)>,
}

impl Seen {
    /// Nothing yet.
    pub fn new(rule: Deduplication) -> Seen {
        // Who chooses what is hashed does not choose the hash of it.
        Seen { rule, until: HashMap::with_hasher(RandomState::with_seeds(5, 6, 7, 8)), order: VecDeque::new() }
    }

    /// Notes a name seen at `now_ms`. Returns until when it is remembered; `None` when it was seen already.
    pub fn see(&mut self, id: Id, ttl_ms: Option<u64>, now_ms: u64) -> Option<u64> {
        if self.until.get(&id).is_some_and(|until| *until == 0 || *until >= now_ms) {
            return None;
        }
        let ttl = ttl_ms.or(self.rule.ttl_ms);
        let until = ttl.map_or(0, |ttl| now_ms.saturating_add(ttl).max(1));
        self.remember(id, until);
        Some(until)
    }

    /// Remembers a name until this time.
    pub fn remember(&mut self, id: Id, until: u64) {
        self.until.insert(id, until);
        self.order.push_back((id, until));
        if self.order.len() > 2 * self.until.len() + 16 {
            self.close_up();
        }
        let max = if self.rule.by_content { usize::MAX } else { self.rule.size as usize };
        while self.until.len() > max
            && let Some((id, until)) = self.order.pop_front()
        {
            if self.until.get(&id) == Some(&until) {
                self.until.remove(&id);
            }
        }
    }

    /// Leaves each name that is remembered in the order once, at its last place.
    fn close_up(&mut self) {
        let mut left = self.until.clone();
        let order = std::mem::take(&mut self.order);
        let last =
            order.into_iter().rev().filter(|(id, until)| left.get(id) == Some(until) && left.remove(id).is_some());
        let last: Vec<(Id, u64)> = last.collect();
        self.order = last.into_iter().rev().collect();
    }

    /// A message with this name has left the queue.
    pub fn forget(&mut self, id: Id) {
        if self.rule.by_content {
            self.until.remove(&id);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.until.clear();
        self.order.clear();
    }

    /// How many names are remembered.
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::TableWriter;

    fn seen(arguments: &[(&str, Value<'_>)]) -> Seen {
        let mut table = TableWriter::new();
        table.put("x-message-deduplication", Value::Bool(true));
        arguments.iter().for_each(|(key, value)| {
            table.put(key, *value);
        });
        Seen::new(Deduplication::of(table.table(), false).unwrap())
    }

    fn id(n: u8) -> Id {
        [n; 16]
    }

    #[test]
    fn only_those_that_ask_for_it_tell_messages_apart() {
        assert_eq!(Deduplication::of(Table::default(), false), None);
        let by_type = Deduplication::of(Table::default(), true).unwrap();
        assert_eq!((&*by_type.header, by_type.size), (HEADER, SIZE));
    }

    #[test]
    fn names_are_what_a_header_says() {
        let rule = seen(&[("x-deduplication-header", Value::LongStr(b"id"))]).rule;
        let name = |key, value| {
            let mut headers = TableWriter::new();
            headers.put(key, value).put("x-cache-ttl", Value::I32(7));
            rule.name(&Properties { headers: Some(headers.table()), ..Properties::default() })
        };
        let one = name("id", Value::LongStr(b"one")).unwrap();
        assert_eq!(one.1, Some(7));
        assert_eq!(name("id", Value::LongStr(b"one")), Some(one));
        assert_ne!(name("id", Value::LongStr(b"two")), Some(one));
        assert_ne!(name("id", Value::I32(1)), name("id", Value::I32(2)));
        assert_eq!(name("x-deduplication-header", Value::LongStr(b"one")), None);
        assert_eq!(rule.name(&Properties::default()), None);
    }

    #[test]
    fn what_was_seen_is_remembered_up_to_a_number() {
        let mut seen = seen(&[("x-cache-size", Value::I32(3))]);
        for n in 1..=4 {
            assert_eq!(seen.see(id(n), None, 0), Some(0));
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen.see(id(4), None, 0), None);
        assert_eq!(seen.see(id(1), None, 0), Some(0), "the oldest gave way");
        seen.forget(id(4));
        assert_eq!(seen.see(id(4), None, 0), None, "also when its message is gone");
    }

    #[test]
    fn what_was_seen_is_remembered_for_a_time() {
        let mut seen = seen(&[("x-cache-ttl", Value::I32(100))]);
        assert_eq!(seen.see(id(1), None, 1_000), Some(1_100));
        assert_eq!(seen.see(id(2), Some(10), 1_000), Some(1_010));
        assert_eq!(seen.see(id(1), None, 1_100), None);
        assert_eq!(seen.see(id(2), None, 1_011), Some(1_111));
        assert_eq!(seen.see(id(1), None, 1_101), Some(1_201));
        for n in 0..10_000 {
            seen.see(id(7), None, 2_000 + n * 1_000);
        }
        assert!(seen.order.len() < 100, "what is remembered anew takes no more room");
    }

    #[test]
    fn a_queue_that_sets_neither_goes_by_what_is_in_it() {
        let mut seen = seen(&[]);
        assert_eq!(seen.see(id(1), None, 0), Some(0));
        assert_eq!(seen.see(id(1), None, 0), None);
        seen.forget(id(1));
        assert_eq!(seen.see(id(1), None, 0), Some(0));
        for _ in 0..10_000 {
            seen.forget(id(1));
            seen.see(id(1), None, 0);
        }
        assert!(seen.order.len() < 100);
    }
}
