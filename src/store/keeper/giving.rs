//! Giving free segments back.
//!
//! A segment is free when nothing in it lives, both checkpoints know that, and none of its batches lies behind the
//! older one. One that says what is defined waits until an inventory of all definitions is durable behind it: should
//! both checkpoints be lost, the segments that are left still say which queues there are.

use super::Keeper;
use super::runs::Segment;
use super::state::State;
use crate::store::disk::Disk;
use crate::store::record::Records;

/// The newest inventory.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The submission that was not applied yet, and the index of the last batch that is in it.
    asked: Option<(u64, u64)>,
    /// The last batch that is in it, and the batch that it is in.
    applied: Option<(u64, u64)>,
    /// Segments wait for it.
    held: bool,
}

impl Inventory {
    /// A submission of the keeper came out of the journal in this batch.
    pub(super) fn applied(&mut self, seq: u64, index: u64) {
        if let Some((_, upto)) = self.asked.take_if(|(asked, _)| *asked <= seq) {
            self.applied = Some((upto, index));
        }
    }

    /// Up to which batch everything that is defined is in a durable one.
    fn durable(&self, synced: u64) -> Option<u64> {
        self.applied.filter(|(_, index)| *index <= synced).map(|(upto, _)| upto)
    }
}

impl<D: Disk> Keeper<D> {
    /// Gives back what nobody needs any more.
    pub(super) fn give_back(&mut self) {
        let Some(both) = self.checkpoints.both() else { return };
        let free = |segment: &Segment| {
            let dead = segment.dead_since.is_some_and(|index| index <= both);
            segment.sealed && segment.live == 0 && segment.pins == 0 && dead && segment.last_index <= both
        };
        let durable = self.inventory.durable(self.synced);
        let waits = |segment: &Segment| segment.defines && durable.is_none_or(|upto| upto < segment.last_index);
        let (files, pages, freed) = (&mut self.files, &mut self.pages, &mut self.freed);
        let in_use = self.indexing.built.as_ref().map(|built| built.segment);
        let mut held = false;
        self.state.segments.all.retain(|segment| {
            if !free(segment) || in_use == Some(segment.number) {
                return true;
            }
            if waits(segment) {
                held = true;
                return true;
            }
            files.close(segment.slot);
            pages.forget(segment.number);
            freed.push(segment.slot);
            false
        });
        self.inventory.held = held;
        let is_coming =
            self.inventory.asked.is_some() || self.inventory.applied.is_some_and(|(_, index)| index > self.synced);
        if held && !is_coming {
            let mut records = Records::default();
            records.inventory(self.state.index, &self.state.definitions_as_records());
            let seq = self.submit(records.take(Vec::new()), true);
            self.inventory.asked = Some((seq, self.state.index));
        }
    }

    /// Gives back what waited for an inventory, if that is durable now.
    pub(super) fn give_back_held(&mut self) {
        let is_durable = self.inventory.applied.is_some_and(|(_, index)| index <= self.synced);
        if self.inventory.held && is_durable && self.inventory.asked.is_none() {
            self.give_back();
        }
    }
}

impl State {
    /// All that is defined and bound, as records.
    fn definitions_as_records(&self) -> Vec<u8> {
        let mut records = Records::default();
        self.definitions.iter().for_each(|(id, bytes)| records.defined(*id, bytes));
        self.bindings.iter().for_each(|(source, destination, bytes)| records.bound(*source, *destination, bytes));
        records.take(Vec::new())
    }
}
