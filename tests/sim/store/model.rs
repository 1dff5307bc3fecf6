//! What a lane holds, as plainly as can be: the records applied to maps, one after the other.

use leveret::store::record::{Note, Record, Records, TRANSIENT, records};
use leveret::store::{Position, QueueId};
use std::collections::{BTreeMap, BTreeSet};

/// A message by number and size: its bytes follow from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    pub number: u32,
    pub bytes: usize,
}

impl Body {
    pub fn content(self) -> Vec<u8> {
        crate::message::body(self.number, self.bytes)
    }
}

/// A message in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub body: Body,
    pub transient: bool,
    pub redelivered: bool,
    /// How often it was handed out, and in vain.
    pub counts: (u32, u32),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Behind the last position that was journalled.
    pub end: Position,
    pub alive: BTreeMap<Position, Waiting>,
}

/// A binding: from, to, and what tells it from others.
pub type Binding = (u64, u64, Vec<u8>);

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Messages {
        places: Vec<(u64, Position)>,
        transient: bool,
        bodies: Vec<Body>,
    },
    Settled(u64, Position, Position),
    Returned(u64, Position, Position),
    Counted(u64, Position, (u32, u32)),
    Purged {
        queue: u64,
        end: Position,
        kept: Vec<(Position, Position)>,
    },
    Defined(u64, Vec<u8>),
    Undefined(u64),
    Bound(Binding),
    Unbound(Binding),
    /// Of an id, how many are kept, and which.
    Noted(u64, u32, Note),
}

impl Op {
    pub fn write(&self, records: &mut Records) {
        match self {
            Op::Messages { places, transient, bodies } => {
                let flags = if *transient { TRANSIENT } else { 0 };
                if let [(queue, position)] = places[..] {
                    for (at, body) in bodies.iter().enumerate() {
                        let fill = |to: &mut [u8]| to.copy_from_slice(&body.content());
                        records.message(QueueId(queue), position + at as u64, flags, body.bytes, fill);
                    }
                } else {
                    let places: Vec<(QueueId, Position)> = places.iter().map(|(q, p)| (QueueId(*q), *p)).collect();
                    records.messages(&places, flags, bodies.len() as u32);
                    for body in bodies {
                        records.push_message(body.bytes, |to| to.copy_from_slice(&body.content()));
                    }
                }
            }
            Op::Settled(queue, first, last) => records.settled(QueueId(*queue), *first, *last),
            Op::Returned(queue, first, last) => records.returned(QueueId(*queue), *first, *last),
            Op::Counted(queue, at, (acquired, failed)) => records.counted(QueueId(*queue), *at, *acquired, *failed),
            Op::Purged { queue, end, kept } => records.purged(QueueId(*queue), *end, kept),
            Op::Defined(id, bytes) => records.defined(QueueId(*id), bytes),
            Op::Undefined(id) => records.undefined(QueueId(*id)),
            Op::Bound((from, to, bytes)) => records.bound(QueueId(*from), QueueId(*to), bytes),
            Op::Noted(id, keep_max, note) => records.noted(QueueId(*id), *keep_max, 0, *note),
            Op::Unbound((from, to, bytes)) => records.unbound(QueueId(*from), QueueId(*to), bytes),
        }
    }
}

/// What a queue is a class of.
pub fn base(queue: u64) -> u64 {
    QueueId(queue).base().0
}

/// Ids below this are there without being defined.
pub const PREDEFINED: u64 = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub definitions: BTreeMap<u64, Vec<u8>>,
    pub bindings: BTreeSet<Binding>,
    pub queues: BTreeMap<u64, Queue>,
    /// By id, the oldest first.
    pub notes: BTreeMap<u64, Vec<Note>>,
}

/// A time that is past when anything is written.
pub const PAST_MS: u64 = 1;

impl State {
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Messages { places, transient, bodies } => {
                for (queue, position) in places {
                    let queue = self.queues.entry(*queue).or_default();
                    assert!(*position >= queue.end, "the simulator itself: positions ascend");
                    for (at, body) in bodies.iter().enumerate() {
                        let message =
                            Waiting { body: *body, transient: *transient, redelivered: false, counts: (0, 0) };
                        queue.alive.insert(position + at as u64, message);
                    }
                    queue.end = position + bodies.len() as u64;
                }
            }
            Op::Settled(queue, first, last) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.alive.retain(|position, _| !(first..=last).contains(&position));
                }
            }
            Op::Returned(queue, first, last) => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.alive.range_mut(first..=last).for_each(|(_, message)| message.redelivered = true);
                }
            }
            Op::Counted(queue, position, counts) => {
                let queue = self.queues.get_mut(queue);
                if let Some(message) = queue.and_then(|queue| queue.alive.get_mut(position)) {
                    (message.redelivered, message.counts) = (true, *counts);
                }
            }
            Op::Purged { queue, end, kept } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    let keeps = |at: &Position| at >= end || kept.iter().any(|(first, last)| first <= at && at <= last);
                    queue.alive.retain(|position, _| keeps(position));
                }
            }
            Op::Defined(id, bytes) => {
                self.definitions.insert(*id, bytes.clone());
            }
            Op::Undefined(id) => {
                self.definitions.remove(id);
                self.queues.retain(|queue, _| base(*queue) != *id);
                self.bindings.retain(|(from, to, _)| from != id && to != id);
                self.notes.remove(id);
            }
            Op::Bound(binding) => {
                self.bindings.insert(binding.clone());
            }
            Op::Unbound(binding) => {
                self.bindings.remove(binding);
            }
            Op::Noted(id, keep_max, note) => {
                let notes = self.notes.entry(*id).or_default();
                notes.push(*note);
                while notes.len() > *keep_max as usize || notes.first().is_some_and(|note| note.until_ms == PAST_MS) {
                    notes.remove(0);
                }
            }
        }
    }

    /// What is there when the broker starts on this.
    pub fn started(mut self, clean: bool) -> State {
        let State { definitions, bindings, queues, notes } = &mut self;
        let defined = |id: &u64| base(*id) < PREDEFINED || definitions.contains_key(&base(*id));
        queues.retain(|id, _| defined(id));
        bindings.retain(|(from, to, _)| defined(from) && defined(to));
        notes.retain(|id, notes| {
            notes.retain(|note| note.until_ms != PAST_MS);
            defined(id) && !notes.is_empty()
        });
        for queue in queues.values_mut() {
            queue.alive.retain(|_, message| !message.transient);
            if !clean {
                queue.alive.values_mut().for_each(|message| message.redelivered = true);
            }
        }
        self
    }

    /// Bytes of messages that wait.
    pub fn bytes(&self) -> u64 {
        let mut bodies: BTreeMap<u32, usize> = BTreeMap::new();
        for message in self.queues.values().flat_map(|queue| queue.alive.values()) {
            bodies.insert(message.body.number, message.body.bytes);
        }
        bodies.values().map(|bytes| *bytes as u64 + 8).sum()
    }

    pub fn alive(&self, queue: u64, position: Position) -> Option<&Waiting> {
        self.queues.get(&queue)?.alive.get(&position)
    }
}

/// What the records in a batch speak of: what damage to it may cost.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    pub places: BTreeSet<(u64, Position)>,
    /// Ids about which anything may be unknown.
    pub ids: BTreeSet<u64>,
    /// Ids whose notes may be unknown.
    pub noted: BTreeSet<u64>,
    /// Everything before these positions of these queues.
    pub before: BTreeMap<u64, Position>,
    pub everything: bool,
}

impl Touched {
    pub fn add(&mut self, bytes: &[u8]) {
        for (_, record) in records(bytes) {
            match record.expect("what was submitted can be read") {
                Record::Messages(messages) => {
                    for (queue, first) in messages.places() {
                        self.places.extend((first..first + u64::from(messages.count)).map(|at| (queue.0, at)));
                    }
                }
                Record::Settled(ranges) | Record::Returned(ranges) => {
                    for range in ranges.iter() {
                        self.places.extend((range.first..=range.last).map(|at| (range.queue.0, at)));
                    }
                }
                Record::Counted(counts) => self.places.extend(counts.iter().map(|(queue, at, _)| (queue.0, at))),
                Record::Purged { queue, end, .. } => {
                    let before = self.before.entry(queue.0).or_default();
                    *before = (*before).max(end);
                }
                Record::Defined { id, .. } | Record::Undefined { id } => {
                    self.ids.insert(id.0);
                }
                Record::Bound(binding) | Record::Unbound(binding) => {
                    self.ids.extend([binding.source.0, binding.destination.0]);
                }
                Record::Noted(notes) => {
                    self.noted.insert(notes.id.0);
                }
                Record::Named(names) => self.places.extend(names.iter().map(|named| (named.queue.0, named.position))),
                Record::Clean | Record::Part { .. } | Record::Committed { .. } | Record::Inventory { .. } => {}
            }
        }
    }

    pub fn extend(&mut self, other: &Touched) {
        self.places.extend(&other.places);
        self.ids.extend(&other.ids);
        self.noted.extend(&other.noted);
        for (queue, end) in &other.before {
            let before = self.before.entry(*queue).or_default();
            *before = (*before).max(*end);
        }
    }

    pub fn has(&self, queue: u64, position: Position) -> bool {
        self.has_id(queue)
            || self.places.contains(&(queue, position))
            || self.before.get(&queue).is_some_and(|end| position < *end)
    }

    pub fn has_id(&self, id: u64) -> bool {
        self.everything || self.ids.contains(&base(id))
    }

    pub fn has_queue(&self, queue: u64) -> bool {
        self.has_id(queue) || self.before.contains_key(&queue) || self.places.iter().any(|(q, _)| *q == queue)
    }
}
