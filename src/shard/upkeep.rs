//! Work in proportion to what exists, done in slices so that nobody waits for it (shards.md A2): messages of purged and
//! deleted queues are released, and living messages are moved out of blocks that are mostly dead.

use super::Shard;
use crate::broker::entries::{Position, Removed};
use crate::broker::message::Compaction;
use crate::time::Now;

/// Messages looked at in one turn.
const SLICE: usize = 16 << 10;
/// Time between looks for sparse blocks.
const LOOK_EVERY_MS: u64 = 1000;

/// Blocks that are too few to be looked at.
const BLOCKS_MATTER: usize = 32;

/// Upkeep in progress.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    removed: Vec<Removed>,
    next_look: Now,
    sweep: Option<Sweep>,
}

/// A walk over all queues that moves messages out of sparse blocks.
#[derive(Debug)]
struct Sweep {
    compaction: Compaction,
    slot: usize,
    position: Position,
}

impl Upkeep {
    /// Has messages released by and by.
    pub(super) fn release(&mut self, removed: Removed) {
        if !removed.is_empty() {
            self.removed.push(removed);
        }
    }

    /// Whether a slice is due at once.
    pub(super) fn has_work(&self) -> bool {
        !self.removed.is_empty() || self.sweep.is_some()
    }
}

impl Shard {
    /// One slice of whatever is to be kept up.
    pub(super) fn keep_up(&mut self, now: Now) {
        self.send_away();
        self.sweep_names();
        let mut left = SLICE;
        while left > 0
            && let Some(removed) = self.upkeep.removed.last_mut()
        {
            match removed.pop() {
                Some(message) => self.blocks.release(message),
                None => drop(self.upkeep.removed.pop()),
            }
            left -= 1;
        }
        if self.upkeep.removed.is_empty() && self.upkeep.removed.capacity() > 0 {
            self.upkeep.removed = Vec::new();
        }
        if self.upkeep.sweep.is_none() && now >= self.upkeep.next_look {
            self.upkeep.next_look = now.after_ms(LOOK_EVERY_MS);
            // What waits to be released would be moved for nothing.
            if self.upkeep.removed.is_empty() && self.blocks.is_sparse() {
                let compaction = self.blocks.begin_compaction();
                self.upkeep.sweep = Some(Sweep { compaction, slot: 0, position: 0 });
            }
        }
        if let Some(mut sweep) = self.upkeep.sweep.take() {
            if self.sweep(&mut sweep) {
                self.blocks.end_compaction(sweep.compaction);
            } else {
                self.upkeep.sweep = Some(sweep);
            }
        }
    }

    /// When blocks are to be looked at again, if there are enough of them to matter.
    pub(super) fn next_look(&self) -> Option<Now> {
        (self.blocks.len() > BLOCKS_MATTER).then_some(self.upkeep.next_look)
    }

    /// One slice of a sweep; `true` when it is over. What is enqueued meanwhile lies in blocks that are not sparse.
    fn sweep(&mut self, sweep: &mut Sweep) -> bool {
        let mut left = SLICE;
        while left > 0 {
            let Some(place) = self.living.get_mut(sweep.slot) else { return true };
            left = left.saturating_sub(SLICE / 64);
            if let Some(queue) = place.as_deref_mut() {
                let blocks = &mut self.blocks;
                let compaction = &mut sweep.compaction;
                let next =
                    queue.entries.for_each_from(sweep.position, left, |message| blocks.compact(compaction, message));
                if let Some(next) = next {
                    sweep.position = next;
                    return false;
                }
                // Other priorities have few messages, mostly: all at once.
                for entries in queue.ruled.iter_mut().flat_map(|ruled| ruled.others_mut()) {
                    entries.for_each_from(0, usize::MAX, |message| blocks.compact(compaction, message));
                }
            }
            sweep.slot += 1;
            sweep.position = 0;
        }
        false
    }
}
