//! The headers exchange: the message's headers against the binding's arguments (reference sections 7.5 and 10).
//!
//! Every distinct argument table is a rule, however many destinations it leads to. Rules are found by the hash of a
//! header that they ask for, so that a message looks only at those that one of its headers speaks for: a rule that asks
//! for all its headers is listed under one of them, a rule that asks for any is listed under each. What is found that
//! way is compared in full, so that hashes may collide and may say less than the values do.

use std::collections::BTreeSet;

use ahash::RandomState;
use smallvec::SmallVec;

use super::interner::Slots;
use super::members::{Members, sort_unique};
use super::slot_index::SlotIndex;
use super::{ArgumentTables, Destination, Routes};
use crate::amqp::{Table, Value};
use crate::broker::arguments::{erlang_binary, erlang_term, same_term};

const X_MATCH: &str = "x-match";
/// So many headers are searched one by one; more are sorted first.
const SCANNED_MAX: usize = 8;

/// What hangs on an argument table.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) members: Members,
    /// The marks of all headers that the rule cannot do without
    marks: u64,
    /// Which of the compared arguments the rule is listed under, when it asks for all of them
    listed: u32,
    required: Required,
}

/// The argument `x-match`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Required {
    #[default]
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl Required {
    fn from_name(name: &[u8]) -> Option<Required> {
        match name {
            b"all" => Some(Required::All),
            b"any" => Some(Required::Any),
            b"all-with-x" => Some(Required::AllWithX),
            b"any-with-x" => Some(Required::AnyWithX),
            _ => None,
        }
    }

    /// Whether the argument of this key is compared.
    fn considers(self, key: &[u8]) -> bool {
        match self {
            Required::All | Required::Any => !key.starts_with(b"x-"),
            Required::AllWithX | Required::AnyWithX => key != X_MATCH.as_bytes(),
        }
    }

    /// Whether one of the compared arguments is enough.
    fn is_any(self) -> bool {
        matches!(self, Required::Any | Required::AnyWithX)
    }

    fn compared(self, arguments: Table<'_>) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        arguments.iter().filter(move |(key, _)| self.considers(key))
    }
}

/// A wrong `x-match` is refused with RabbitMQ's text.
pub(super) fn validate(arguments: Table<'_>) -> Result<(), String> {
    match arguments.find(X_MATCH) {
        None => Ok(()),
        Some(Value::LongStr(name)) if Required::from_name(name).is_some() => Ok(()),
        Some(Value::LongStr(name)) => Err(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            erlang_binary(name)
        )),
        Some(value) => Err(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            value.type_name(),
            erlang_term(value)
        )),
    }
}

/// `all` for what validation would have refused, as in RabbitMQ.
fn required(arguments: Table<'_>) -> Required {
    arguments.find(X_MATCH).and_then(|value| value.as_long_str()).and_then(Required::from_name).unwrap_or_default()
}

/// One of 64 bits for the hash of a header: a message without it lacks the header.
fn mark(hash: u64) -> u64 {
    1 << (hash >> 58)
}

/// Slots of rules, each once; almost always of one.
#[derive(Debug, Default)]
enum Rules {
    #[default]
    None,
    One(u32),
    /// Boxed: there is one `Rules` per header asked for, and this variant is rare
    #[expect(clippy::box_collection, reason = "the set itself would make every `Rules` larger")]
    Many(Box<BTreeSet<u32>>),
}

impl Rules {
    fn len(&self) -> usize {
        match self {
            Rules::None => 0,
            Rules::One(_) => 1,
            Rules::Many(many) => many.len(),
        }
    }

    fn add(&mut self, slot: u32) {
        match self {
            Rules::None => *self = Rules::One(slot),
            Rules::One(one) if *one == slot => {}
            Rules::One(one) => *self = Rules::Many(Box::new(BTreeSet::from([*one, slot]))),
            Rules::Many(many) => {
                many.insert(slot);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        match self {
            Rules::One(one) if *one == slot => *self = Rules::None,
            Rules::None | Rules::One(_) => {}
            Rules::Many(many) => {
                many.remove(&slot);
                if let (1, Some(&one)) = (many.len(), many.first()) {
                    *self = Rules::One(one);
                }
            }
        }
    }

    fn append_to(&self, out: &mut Candidates) {
        match self {
            Rules::None => {}
            Rules::One(one) => out.push(*one),
            Rules::Many(many) => out.extend(many.iter().copied()),
        }
    }
}

type Candidates = SmallVec<[u32; 16]>;

/// Where the rules are listed.
#[derive(Debug)]
pub(super) struct Headers {
    /// Those that fit every message
    always: Rules,
    lists: Slots<Rules>,
    /// Hash of a header asked for → list
    index: SlotIndex,
    hash: RandomState,
}

impl Headers {
    pub(super) fn new(hash: RandomState) -> Headers {
        Headers { always: Rules::None, lists: Slots::default(), index: SlotIndex::default(), hash }
    }

    pub(super) fn add(&mut self, tables: &mut ArgumentTables, slot: u32, destination: Destination) {
        if tables.leaf(slot).members.is_empty() {
            let rule = self.list(Table::of_checked(tables.value(slot)), slot);
            *tables.leaf_mut(slot) = rule;
        }
        tables.leaf_mut(slot).members.add(destination);
    }

    pub(super) fn remove(&mut self, tables: &mut ArgumentTables, slot: u32, destination: Destination) {
        tables.leaf_mut(slot).members.remove(destination);
        let Rule { ref members, listed, required, .. } = *tables.leaf(slot);
        if !members.is_empty() {
            return;
        }
        let mut compared = required.compared(Table::of_checked(tables.value(slot)));
        if required.is_any() {
            compared.for_each(|(key, wanted)| self.take(self.wanted_hash(key, wanted), slot));
        } else if let Some((key, wanted)) = compared.nth(listed as usize) {
            self.take(self.wanted_hash(key, wanted), slot);
        } else {
            self.always.remove(slot);
        }
    }

    /// Lists a rule. One that asks for all its arguments comes under the one whose list is the shortest, which keeps it
    /// from those that many rules share.
    fn list(&mut self, arguments: Table<'_>, slot: u32) -> Rule {
        let mut rule = Rule { required: required(arguments), ..Rule::default() };
        let mut shortest = None;
        for (place, (key, wanted)) in rule.required.compared(arguments).enumerate() {
            let hash = self.wanted_hash(key, wanted);
            if rule.required.is_any() {
                self.put(hash, slot);
                continue;
            }
            rule.marks |= mark(hash);
            let list_len = self.find(hash).map_or(0, |list| self.lists[list].len());
            let cost = (list_len, matches!(wanted, Value::Void)); // presence says less than a value
            if shortest.is_none_or(|(least, _)| cost < least) {
                shortest = Some((cost, hash));
                rule.listed = place as u32;
            }
        }
        match shortest {
            Some((_, hash)) => self.put(hash, slot),
            None if !rule.required.is_any() => self.always.add(slot),
            None => {}
        }
        rule
    }

    fn find(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |_| true)
    }

    fn put(&mut self, hash: u64, slot: u32) {
        let list = self.find(hash).unwrap_or_else(|| {
            let list = self.lists.insert(Rules::None);
            self.index.insert(hash, list);
            list
        });
        self.lists[list].add(slot);
    }

    fn take(&mut self, hash: u64, slot: u32) {
        let Some(list) = self.find(hash) else { return };
        self.lists[list].remove(slot);
        if self.lists[list].len() == 0 {
            self.lists.remove(list);
            self.index.remove(hash, list);
        }
    }

    fn wanted_hash(&self, key: &[u8], wanted: Value<'_>) -> u64 {
        let key_hash = self.key_hash(key);
        if matches!(wanted, Value::Void) { key_hash } else { self.value_hash(key_hash, wanted) }
    }

    /// What a rule is listed under that asks for the presence of this header only.
    fn key_hash(&self, key: &[u8]) -> u64 {
        self.hash.hash_one(key)
    }

    /// The same for values that [`same_term`] says are the same.
    fn value_hash(&self, key_hash: u64, value: Value<'_>) -> u64 {
        let float = |n: f64| self.hash.hash_one((key_hash, if n == 0.0 { 0 } else { n.to_bits() }, 'f'));
        match value {
            Value::LongStr(text) | Value::Bytes(text) => self.hash.hash_one((key_hash, text)),
            Value::F32(n) => float(n.into()),
            Value::F64(n) => float(n),
            // The same contents may be written in several ways, but all are of one length.
            Value::Table(table) => self.hash.hash_one((key_hash, table.as_bytes().len(), 'c')),
            Value::Array(array) => self.hash.hash_one((key_hash, array.as_bytes().len(), 'c')),
            Value::Bool(b) => self.hash.hash_one((key_hash, b)),
            Value::Decimal(scale, n) => self.hash.hash_one((key_hash, scale, n)),
            Value::Timestamp(seconds) => self.number_hash(key_hash, seconds),
            _ => self.number_hash(key_hash, value.as_integer().unwrap_or_default() as u64),
        }
    }

    fn number_hash(&self, key_hash: u64, number: u64) -> u64 {
        self.hash.hash_one((key_hash, number))
    }

    /// The rules that are listed under what the message has, each once, and the marks of all it has.
    fn candidates(&self, headers: &Sent<'_>) -> (Candidates, u64) {
        let mut found = Candidates::new();
        let mut marks = 0;
        self.always.append_to(&mut found);
        let mut look = |hash| {
            marks |= mark(hash);
            if let Some(list) = self.find(hash) {
                self.lists[list].append_to(&mut found);
            }
        };
        for (at, &(key, value)) in headers.entries.iter().enumerate() {
            // Of many, duplicates stand together, and only the last counts: no list is taken for each of them.
            if headers.entries.get(at + 1).is_some_and(|(next, _)| *next == key) {
                continue;
            }
            let key_hash = self.key_hash(key);
            look(key_hash);
            match value {
                Value::Void => {}
                Value::Timestamp(seconds) => {
                    look(self.number_hash(key_hash, seconds));
                    look(self.number_hash(key_hash, seconds.wrapping_mul(1000)));
                }
                _ => look(self.value_hash(key_hash, value)),
            }
        }
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        (found, marks)
    }

    pub(super) fn route(&self, tables: &ArgumentTables, headers: Table<'_>, out: &mut Routes) {
        let start = out.len();
        let headers = Sent::new(headers);
        let (candidates, marks) = self.candidates(&headers);
        let mut rules_matched = 0;
        for slot in candidates {
            let rule = tables.leaf(slot);
            if rule.marks & !marks == 0 && headers.fit(Table::of_checked(tables.value(slot)), rule.required) {
                rule.members.append_to(out);
                rules_matched += 1;
            }
        }
        if rules_matched > 1 {
            sort_unique(out, start);
        }
    }
}

/// A message's headers; sorted by key when they are many.
struct Sent<'a> {
    entries: SmallVec<[(&'a [u8], Value<'a>); 16]>,
}

impl<'a> Sent<'a> {
    fn new(table: Table<'a>) -> Sent<'a> {
        let mut entries: SmallVec<[(&[u8], Value<'_>); 16]> = table.iter().collect();
        if entries.len() > SCANNED_MAX {
            entries.sort_by_key(|(key, _)| *key); // stable: duplicates stay in their order
        }
        Sent { entries }
    }

    /// The value of a key; of duplicates the last, which RabbitMQ's map of routing headers keeps.
    fn find(&self, key: &[u8]) -> Option<Value<'a>> {
        if self.entries.len() <= SCANNED_MAX {
            return self.entries.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| *value);
        }
        let after = self.entries.partition_point(|(k, _)| *k <= key);
        let (found, value) = *self.entries.get(after.checked_sub(1)?)?;
        (found == key).then_some(value)
    }

    fn fit(&self, arguments: Table<'_>, required: Required) -> bool {
        let mut compared = required.compared(arguments);
        let fits = |(key, wanted): (&[u8], _)| self.find(key).is_some_and(|value| value_fits(wanted, value));
        if required.is_any() { compared.any(fits) } else { compared.all(fits) }
    }
}

/// Void asks for presence only. A message's timestamp counts as its milliseconds (RabbitMQ 4), and equals the same
/// timestamp of a binding too (RabbitMQ 3).
fn value_fits(wanted: Value<'_>, value: Value<'_>) -> bool {
    match (wanted, value) {
        (Value::Void, _) => true,
        (Value::LongStr(wanted), Value::LongStr(text)) => wanted == text,
        (Value::Timestamp(wanted), Value::Timestamp(seconds)) => wanted == seconds,
        (wanted, Value::Timestamp(seconds)) => {
            wanted.as_integer().is_some_and(|wanted| i128::from(wanted) == i128::from(seconds) * 1000)
        }
        (wanted, value) => same_term(wanted, value),
    }
}

#[cfg(test)]
mod tests;
