//! Parts of transactions that are not known to be committed.
//!
//! Each of several queues' owners brings its part of a transaction in a submission of its own; one COMMITTED behind all
//! of them makes them count. Until then they are applied like other messages, and what they brought is remembered here.
//! What is still here when the term ends never counted.

use std::collections::BTreeMap;

use super::bytes::{Bytes, push_u64s};
use crate::store::record::Range;
use crate::store::{Position, QueueId};

/// What transactions brought that are not committed yet. See the [module](self).
#[derive(Debug, Default)]
pub struct Parts {
    open: BTreeMap<u64, Vec<Range>>,
    /// The transaction of the conditional messages to come.
    current: Option<u64>,
}

impl Parts {
    /// A submission begins: what comes is of no transaction.
    pub fn end_part(&mut self) {
        self.current = None;
    }

    /// The conditional messages to come are of this transaction.
    pub fn begin_part(&mut self, tx: u64) {
        self.current = Some(tx);
    }

    /// Conditional messages came.
    pub fn bring(&mut self, queue: QueueId, first: Position, last: Position) {
        let Some(tx) = self.current.filter(|_| first <= last) else { return };
        let ranges = self.open.entry(tx).or_default();
        match ranges.last_mut() {
            Some(range) if range.queue == queue && range.last + 1 == first => range.last = last,
            _ => ranges.push(Range { queue, first, last }),
        }
    }

    /// A transaction is committed: what it brought counts.
    pub fn commit(&mut self, tx: u64) {
        self.open.remove(&tx);
    }

    /// Something of the journal is lost, and may have been what commits any of them. Better that all of them count than
    /// that one does not that should.
    pub fn commit_all(&mut self) {
        *self = Parts::default();
    }

    /// The term ends: all that was brought and does not count.
    pub fn end_term(&mut self) -> impl Iterator<Item = Range> + use<> {
        std::mem::take(self).open.into_values().flatten()
    }

    /// As it is in a checkpoint.
    pub fn save(&self, to: &mut Vec<u8>) {
        push_u64s(to, &[self.open.len() as u64]);
        for (tx, ranges) in &self.open {
            push_u64s(to, &[*tx, ranges.len() as u64]);
            ranges.iter().for_each(|range| push_u64s(to, &[range.queue.0, range.first, range.last]));
        }
    }

    /// Reads what [`save`](Parts::save) wrote.
    pub fn load(from: &mut Bytes<'_>) -> Option<Parts> {
        let mut parts = Parts::default();
        for _ in 0..from.u64()? {
            let tx = from.u64()?;
            let ranges = parts.open.entry(tx).or_default();
            for _ in 0..from.u64()? {
                ranges.push(Range { queue: QueueId(from.u64()?), first: from.u64()?, last: from.u64()? });
            }
        }
        Some(parts)
    }
}
