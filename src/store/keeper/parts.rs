//! Parts of transactions that are not known to be committed.
//!
//! Each of several queues' owners brings its part of a transaction in a submission of its own; one COMMITTED behind all
//! of them makes them count. Until then its messages are applied like others, and what they are is remembered here; its
//! notes wait here. What is still here when the term ends never counted.

use std::collections::BTreeMap;

use super::bytes::{Bytes, push_u64s};
use super::seen::{Sighting, load_sighting, save_sighting};
use crate::store::record::Range;
use crate::store::{Position, QueueId};

/// What a transaction brought.
#[derive(Debug, Default, Clone)]
struct Brought {
    messages: Vec<Range>,
    notes: Vec<Sighting>,
}

/// What transactions brought that are not committed yet. See the [module](self).
#[derive(Debug, Default, Clone)]
pub struct Parts {
    open: BTreeMap<u64, Brought>,
    /// The transaction of what is conditional and still to come.
    current: Option<u64>,
}

impl Parts {
    /// A submission begins: what comes is of no transaction.
    pub fn end_part(&mut self) {
        self.current = None;
    }

    /// What is conditional and still to come is of this transaction.
    pub fn begin_part(&mut self, tx: u64) {
        self.current = Some(tx);
    }

    /// Conditional messages came.
    pub fn bring(&mut self, queue: QueueId, first: Position, last: Position) {
        let Some(tx) = self.current.filter(|_| first <= last) else { return };
        let ranges = &mut self.open.entry(tx).or_default().messages;
        match ranges.last_mut() {
            Some(range) if range.queue == queue && range.last + 1 == first => range.last = last,
            _ => ranges.push(Range { queue, first, last }),
        }
    }

    /// A conditional note came. Returned is what counts at once: it is of no transaction.
    pub fn hold(&mut self, sighting: Sighting) -> Option<Sighting> {
        let Some(tx) = self.current else { return Some(sighting) };
        self.open.entry(tx).or_default().notes.push(sighting);
        None
    }

    /// Takes over the notes that wait in `other`.
    pub fn hold_all(&mut self, other: Parts) {
        for (tx, brought) in other.open {
            self.open.entry(tx).or_default().notes.extend(brought.notes);
        }
    }

    /// A transaction is committed: what it brought counts. Returns its notes.
    #[must_use]
    pub fn commit(&mut self, tx: u64) -> Vec<Sighting> {
        self.open.remove(&tx).unwrap_or_default().notes
    }

    /// Something of the journal is lost, and may have been what commits any of them. Better that all of them count than
    /// that one does not that should. Returns their notes.
    #[must_use]
    pub fn commit_all(&mut self) -> Vec<Sighting> {
        std::mem::take(self).open.into_values().flat_map(|brought| brought.notes).collect()
    }

    /// The term ends: all messages that were brought and do not count.
    pub fn end_term(&mut self) -> impl Iterator<Item = Range> + use<> {
        std::mem::take(self).open.into_values().flat_map(|brought| brought.messages)
    }

    /// As it is in a checkpoint.
    pub fn save(&self, to: &mut Vec<u8>) {
        push_u64s(to, &[self.open.len() as u64]);
        for (tx, Brought { messages, notes }) in &self.open {
            push_u64s(to, &[*tx, messages.len() as u64, notes.len() as u64]);
            messages.iter().for_each(|range| push_u64s(to, &[range.queue.0, range.first, range.last]));
            notes.iter().for_each(|sighting| save_sighting(sighting, to));
        }
    }

    /// Reads what [`save`](Parts::save) wrote.
    pub fn load(from: &mut Bytes<'_>) -> Option<Parts> {
        let mut parts = Parts::default();
        for _ in 0..from.u64()? {
            let (tx, messages, notes) = (from.u64()?, from.u64()?, from.u64()?);
            let brought = parts.open.entry(tx).or_default();
            for _ in 0..messages {
                let range = Range { queue: QueueId(from.u64()?), first: from.u64()?, last: from.u64()? };
                brought.messages.push(range);
            }
            for _ in 0..notes {
                brought.notes.push(load_sighting(from)?);
            }
        }
        Some(parts)
    }
}
