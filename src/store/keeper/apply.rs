//! Records become state.
//!
//! A record costs one look-up per queue that it names, a small message in it a few nanoseconds: the walk over its
//! length, and its part of a [slot](super::runs::Slot).

use super::rows::Copied;
use super::runs::{Slot, share};
use super::state::State;
use crate::store::QueueId;
use crate::store::batch::Batch;
use crate::store::record::{self, CONDITIONAL, COPY, Messages, Record, TRANSIENT};

/// What was not sound in a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsound {
    /// Records that could not be read.
    pub records: u64,
    /// Messages that are announced and not there.
    pub messages: u64,
}

impl State {
    /// A batch begins: the records to come are of it. False if it was applied already.
    pub fn begin(&mut self, batch: &Batch) -> bool {
        if batch.index <= self.index {
            return false;
        }
        if batch.index > self.index + 1 {
            self.commit_all();
        }
        if batch.term > self.term {
            self.restart(batch.term);
        }
        self.clean &= batch.payload_bytes() == 0;
        (self.index, self.time_ms) = (batch.index, batch.time_ms);
        let segment = self.segments.enter(batch.segment, batch.slot);
        (segment.last_index, segment.end) = (batch.index, batch.end());
        true
    }

    /// Applies the records of a submission that lies at `at` of this segment's file. `scratch` is memory to work in.
    pub fn apply(&mut self, bytes: &[u8], segment: u64, at: u64, scratch: &mut Vec<Slot>) -> Unsound {
        let mut unsound = Unsound::default();
        self.parts.end_part();
        for (offset, record) in record::records(bytes) {
            match record {
                Ok(record) => unsound.messages += self.record(record, segment, at + offset as u64, scratch),
                Err(_) => {
                    unsound.records += 1;
                    self.commit_all();
                }
            }
        }
        unsound
    }

    /// Applies a record that lies at `at`. Returns how many messages in it are not there.
    pub(super) fn record(&mut self, record: Record<'_>, segment: u64, at: u64, scratch: &mut Vec<Slot>) -> u64 {
        self.clean = matches!(record, Record::Clean);
        let index = self.index;
        if is_definition(&record)
            && let Some(segment) = self.segments.find_mut(segment)
        {
            segment.defines = true;
        }
        match record {
            Record::Messages(messages) if messages.flags & COPY != 0 => self.copies(&messages, segment, at),
            Record::Messages(messages) => return self.messages(&messages, segment, at, scratch),
            // Nobody writes that: it stands for a record that is lost.
            Record::Settled(ranges) if ranges.iter().len() == 0 => self.commit_all(),
            Record::Settled(ranges) => self.settle_all(ranges.iter(), index),
            Record::Returned(ranges) => {
                for range in ranges.iter() {
                    if let Some(row) = self.rows.get_mut(&range.queue) {
                        row.give_back(range.first, range.last);
                    }
                }
            }
            Record::Counted(counts) => {
                for (queue, position, count) in counts.iter() {
                    if let Some(row) = self.rows.get_mut(&queue) {
                        row.count(position, count);
                    }
                }
            }
            Record::Purged { queue, end, kept } => {
                if let Some(row) = self.rows.get_mut(&queue) {
                    let mut from = row.head;
                    for (first, last) in kept.iter() {
                        if first > from {
                            row.settle(from, (first - 1).min(end.saturating_sub(1)), index, &mut self.segments);
                        }
                        from = from.max(last.saturating_add(1));
                    }
                    if end > from {
                        row.settle(from, end - 1, index, &mut self.segments);
                    }
                    self.names.trim(queue, row);
                }
            }
            Record::Defined { id, bytes } => {
                if self.definitions.get(&id).is_none_or(|known| **known != *bytes) {
                    self.definitions.insert(id, bytes.into());
                }
            }
            Record::Undefined { id } => self.undefine(id, index),
            Record::Bound(binding) => self.bind((binding.source, binding.destination, binding.bytes.into())),
            Record::Unbound(binding) => {
                self.unbind(&(binding.source, binding.destination, binding.bytes.into()));
            }
            Record::Clean | Record::Inventory { .. } => {}
            Record::Part { tx } => self.parts.begin_part(tx),
            Record::Committed { tx } => self.commit(tx),
            Record::Noted(notes) => {
                for note in notes.iter() {
                    let sighting = (notes.id, notes.keep_max, note);
                    let counts = if notes.is_conditional { self.parts.hold(sighting) } else { Some(sighting) };
                    counts.into_iter().for_each(|sighting| self.note(sighting));
                }
            }
            Record::Named(names) => {
                for named in names.iter() {
                    if let Some(row) = self.rows.get(&named.queue) {
                        self.names.add(named, row);
                    }
                }
            }
        }
        0
    }

    /// Settles what these records settle, before a batch says so: with the effect on segments of the batch to come.
    pub fn settle_ahead(&mut self, bytes: &[u8]) {
        for (_, record) in record::records(bytes) {
            let Ok(Record::Settled(ranges)) = record else { continue };
            self.settle_all(ranges.iter(), self.index + 1);
        }
    }

    fn messages(&mut self, messages: &Messages<'_>, segment: u64, at: u64, scratch: &mut Vec<Slot>) -> u64 {
        let (index, transient) = (self.index, messages.flags & TRANSIENT != 0);
        let places = messages.places().len().min(usize::from(u16::MAX)) as u16;
        let (mut found, mut bytes) = cut(messages, at, places, 0, scratch);
        let (mut known, missing) = (0, u64::from(messages.count) - found);
        for (queue, first) in messages.places() {
            if self.is_gone(queue) {
                continue;
            }
            let (row, segments) = self.row_and_segments(queue);
            // Positions that were seen before are not looked at again.
            let skip = row.end.saturating_sub(first).min(messages.count.into());
            if skip != known {
                (found, bytes) = cut(messages, at, places, skip, scratch);
                known = skip;
            }
            let Some(segment) = segments.find_mut(segment) else { continue };
            row.append(queue, first + skip, scratch, share(bytes, places), segment);
            if transient && found > 0 {
                row.transient.insert(first + skip, first + skip + found - 1);
            }
            if missing > 0 {
                row.skip_to(first + u64::from(messages.count));
            }
            if messages.flags & CONDITIONAL != 0 && found > 0 {
                self.parts.bring(queue, first + skip, first + skip + found - 1);
            }
        }
        debug_assert_eq!(self.index, index);
        missing
    }

    fn copies(&mut self, messages: &Messages<'_>, segment: u64, at: u64) {
        let places = messages.places().len().min(usize::from(u16::MAX)) as u16;
        for (queue, first) in messages.places() {
            let Some(row) = self.rows.get_mut(&queue) else { continue };
            for message in messages.iter() {
                let copied = Copied {
                    index: self.index,
                    at: (at + message.at as u64) as u32,
                    crc: message.crc,
                    len: message.bytes.len() as u32,
                    places,
                };
                row.relocate(queue, first + u64::from(message.number), copied, segment, &mut self.segments);
            }
        }
    }

    /// Whether this position is alive and its message lies in this segment.
    pub fn lies_in(&self, queue: QueueId, position: u64, segment: u64) -> bool {
        self.rows.get(&queue).is_some_and(|row| {
            row.is_alive(position)
                && row
                    .runs
                    .get(row.run_from(position))
                    .is_some_and(|run| run.first <= position && run.segment == segment)
        })
    }
}

/// Whether it says what is defined or bound.
fn is_definition(record: &Record<'_>) -> bool {
    let other = matches!(record, Record::Bound(_) | Record::Unbound(_) | Record::Inventory { .. });
    other || matches!(record, Record::Defined { .. } | Record::Undefined { .. })
}

/// Cuts the messages of a record at `at` into slots, from message `skip` on; positions are relative to it. Returns how
/// many messages were found, and their bytes.
pub(super) fn cut(messages: &Messages<'_>, at: u64, places: u16, skip: u64, slots: &mut Vec<Slot>) -> (u64, u64) {
    slots.clear();
    let mut open = Slot::default();
    let (mut found, mut bytes) = (0, 0);
    for message in messages.iter().skip(skip as usize) {
        let len = message.bytes.len() as u32;
        if open.count == 0 || !open.takes(len) {
            if open.count > 0 {
                slots.push(open);
            }
            open = Slot { first: found, at: (at + message.at as u64) as u32, places, ..Slot::default() };
        }
        open.add(message.crc, len);
        found += 1;
        bytes += u64::from(len) + record::MESSAGE_BYTES as u64;
    }
    if open.count > 0 {
        slots.push(open);
    }
    (found, bytes)
}
