//! Numbers about what is kept.

use super::Keeper;
use super::runs::Slot;
use super::state::State;
use crate::store::disk::Disk;
use crate::store::record::Records;

/// Numbers about what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeeperCounts {
    /// Queues that have had messages.
    pub queues: u64,
    /// Messages that are alive: one in n queues is n.
    pub live: u64,
    /// Their bytes on the disk, about.
    pub live_bytes: u64,
    /// Segments that are not free.
    pub segments: u64,
    /// Bytes that these take on the disk.
    pub used_bytes: u64,
    /// Messages lost to damage since the start.
    pub lost: u64,
    /// Bytes of memory, about, without definitions.
    pub memory_bytes: u64,
    /// The last batch that was applied.
    pub applied: u64,
    /// Checkpoints that were completed since the start.
    pub checkpoints: u64,
    /// Messages that were written again since the start: one in n queues is one.
    pub copied: u64,
}

impl<D: Disk> Keeper<D> {
    /// Numbers about what is kept. Takes time in proportion to the number of queues.
    pub fn counts(&self) -> KeeperCounts {
        let segments = &self.state.segments.all;
        KeeperCounts {
            queues: self.state.rows.len() as u64,
            live: self.state.live(),
            live_bytes: self.state.live_bytes(),
            segments: segments.len() as u64,
            used_bytes: self.used_bytes(),
            lost: self.state.lost,
            memory_bytes: self.state.memory(),
            applied: self.state.index,
            checkpoints: self.checkpoints.done,
            copied: self.ageing.copied,
        }
    }

    /// Bytes of all segments that are not free.
    pub(super) fn used_bytes(&self) -> u64 {
        let size = self.settings.segment_bytes;
        self.state.segments.all.iter().map(|segment| segment.file_end().max(size)).sum()
    }
}

impl State {
    /// Bytes of memory, about, without definitions.
    pub fn memory(&self) -> u64 {
        let slots = |list: &super::runs::List| list.slots.capacity() * size_of::<Slot>() + size_of_val(list);
        let segments = self.segments.all.iter();
        let segments = segments.map(|segment| size_of_val(segment) + segment.lists.iter().map(slots).sum::<usize>());
        let rows = self.rows.values().map(|row| {
            row.runs.capacity() * size_of::<super::runs::Run>()
                + row.settled.memory()
                + row.returned.memory()
                + row.transient.memory()
                + row.handed.memory()
        });
        let table = self.rows.capacity() * (size_of::<super::rows::Row>() + 9) * 8 / 7;
        (segments.sum::<usize>() + rows.sum::<usize>() + table + self.seen.memory() + self.names.memory()) as u64
    }

    /// A number that two states share if they mean the same, wherever the messages lie.
    pub fn digest(&self) -> u32 {
        let mut all = Records::default();
        self.definitions.iter().for_each(|(id, bytes)| all.defined(*id, bytes));
        self.bindings.iter().for_each(|(source, destination, bytes)| all.bound(*source, *destination, bytes));
        for (id, notes) in self.seen.iter() {
            notes.iter().for_each(|note| all.noted(id, 0, 0, *note));
        }
        self.names.alive(&self.rows).for_each(|named| all.named(named));
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(id, _)| **id);
        for (id, row) in rows {
            all.purged(*id, row.end, &[(row.live, 0)]);
            for (first, last) in row.alive_stretches(0, row.end) {
                all.settled(*id, first, last);
                let flagged = row.returned.stretches(first.max(row.flagged_below), last + 1);
                flagged.for_each(|(first, last)| all.returned(*id, first, last));
                if first < row.flagged_below {
                    all.returned(*id, first, last.min(row.flagged_below - 1));
                }
            }
            row.handed.iter().for_each(|(position, count)| all.counted(*id, position, count.acquired, count.failed));
        }
        crc32c::crc32c(&all.take(Vec::new()))
    }
}
