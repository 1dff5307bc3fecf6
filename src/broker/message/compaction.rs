//! Living messages of sparse blocks are moved together, so that one of them does not keep a whole block.

use std::collections::BTreeMap;

use super::{Blocks, Memory, MessageRef};
use crate::amqp::{Content, Stamp};

/// A move of messages out of sparse blocks, in progress.
#[derive(Debug)]
pub struct Compaction {
    /// Ascending.
    blocks: Vec<u32>,
    moved: BTreeMap<(u32, u32), MessageRef>,
}

impl Blocks {
    /// Whether so many shared blocks are mostly dead that their living messages should be moved together. Looks at
    /// every block: not for every turn.
    pub fn is_sparse(&self) -> bool {
        let shared = self.blocks.iter().filter(|(_, block)| !matches!(block.memory, Memory::Own(_)));
        let (all, sparse) = shared
            .fold((0, 0), |(all, sparse), (id, _)| (all + 1, sparse + usize::from(self.is_block_sparse(id as u32))));
        sparse >= 16 && sparse * 2 > all
    }

    fn is_block_sparse(&self, id: u32) -> bool {
        self.current != Some(id)
            && self.blocks.get(id as usize).is_some_and(|block| {
                !matches!(block.memory, Memory::Own(_)) && block.live.saturating_mul(8) <= block.appended
            })
    }

    /// Begins to move messages out of sparse blocks, which stay until [`Blocks::end_compaction`].
    pub fn begin_compaction(&mut self) -> Compaction {
        let ids: Vec<u32> =
            self.blocks.iter().map(|(id, _)| id as u32).filter(|id| self.is_block_sparse(*id)).collect();
        for id in &ids {
            if let Some(block) = self.blocks.get_mut(*id as usize) {
                block.live += 1;
            }
        }
        Compaction { blocks: ids, moved: BTreeMap::new() }
    }

    /// Moves a message if it lies in a sparse block: its new place, with the reference moved along. Messages in several
    /// queues are moved once.
    pub fn compact(&mut self, compaction: &mut Compaction, message: MessageRef) -> MessageRef {
        if compaction.blocks.binary_search(&message.block).is_err() {
            return message;
        }
        let place = (message.block, message.offset);
        let moved = match compaction.moved.get(&place) {
            Some(&moved) => {
                self.retain(moved);
                moved
            }
            None => {
                let record = self.copy(message);
                let stamp = std::mem::replace(&mut self.stamp, Stamp::of(&record));
                let moved = self.store(&Content::from_record(&record));
                self.stamp = stamp;
                // Kept until the end: another queue may still have the old place.
                self.retain(moved);
                compaction.moved.insert(place, moved);
                moved
            }
        };
        self.release(message);
        moved
    }

    /// Lets the emptied blocks go.
    pub fn end_compaction(&mut self, compaction: Compaction) {
        for moved in compaction.moved.into_values() {
            self.release(moved);
        }
        for block in compaction.blocks {
            self.release(MessageRef { block, offset: 0 });
        }
    }
}
