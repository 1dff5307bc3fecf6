//! Messages: one immutable copy each, in shared blocks.
//!
//! A message is kept by appending its record ([`Content::write_record`]) to a block; queues hold [`MessageRef`]s to it
//! and the block counts them. Content from `limits.body_own_block_bytes` on gets a block of its own, which sockets and
//! other shards share.

mod compaction;

use bytes::Bytes;
use slab::Slab;

use super::memory::BlockMemory;
use crate::amqp::{Content, Stamp};
pub use compaction::Compaction;

/// Where a kept message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef {
    block: u32,
    offset: u32,
}

impl MessageRef {
    /// Block and offset.
    pub fn parts(self) -> (u32, u32) {
        (self.block, self.offset)
    }

    /// From what [`parts`](MessageRef::parts) gave.
    pub fn of(block: u32, offset: u32) -> MessageRef {
        MessageRef { block, offset }
    }
}

#[derive(Debug)]
enum Memory {
    /// Appended to until full.
    Shared { bytes: BlockMemory, len: usize },
    /// Filled by somebody else.
    Filled(Vec<u8>),
    /// One record.
    Own(Bytes),
}

#[derive(Debug)]
struct Block {
    memory: Memory,
    /// References from queues.
    live: u32,
    /// Messages appended since the block was last empty.
    appended: u32,
}

/// Memory of so many adopted blocks is kept.
const FILLED_SPARE_MAX: usize = 8;

/// Counters of the block store, for tests and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockCounts {
    /// Blocks that hold messages.
    pub blocks: usize,
    /// References to messages.
    pub live: u64,
    /// Bytes that the blocks take.
    pub bytes: usize,
}

/// The messages of one shard.
#[derive(Debug)]
pub struct Blocks {
    blocks: Slab<Block>,
    /// The shared block that is being filled.
    current: Option<u32>,
    spare: Vec<BlockMemory>,
    spare_max: usize,
    /// Memory of blocks that were filled by somebody else.
    spare_filled: Vec<Vec<u8>>,
    /// Bytes that the blocks take.
    bytes: usize,
    block_bytes: usize,
    own_bytes: usize,
    /// What is kept gets this stamp.
    pub stamp: Stamp,
}

impl Blocks {
    /// Blocks of `block_bytes`; content from `own_bytes` on has its own; `spare_max` empty ones are kept for reuse.
    pub fn new(block_bytes: usize, own_bytes: usize, spare_max: usize) -> Blocks {
        Blocks {
            blocks: Slab::new(),
            current: None,
            spare: Vec::new(),
            spare_max,
            spare_filled: Vec::new(),
            bytes: 0,
            block_bytes: block_bytes.max(64),
            own_bytes: own_bytes.min(block_bytes.max(64) / 2).max(1),
            stamp: Stamp::default(),
        }
    }

    /// Whether content of this size has a block of its own.
    #[inline]
    pub fn is_own(&self, record_bytes: usize) -> bool {
        record_bytes >= self.own_bytes
    }

    /// Keeps a message that is on its way to a consumer, and returns its first reference.
    #[inline]
    pub fn keep(&mut self, content: &Content<'_>) -> MessageRef {
        let len = content.record_bytes();
        if self.is_own(len) {
            let mut record = Vec::with_capacity(len);
            content.write_record(&mut record, self.stamp);
            return self.keep_record(Bytes::from(record));
        }
        self.append(content, len)
    }

    /// Keeps a message that nobody takes yet, and returns its first reference: in memory that goes back to the system.
    #[inline(always)]
    pub fn store(&mut self, content: &Content<'_>) -> MessageRef {
        let len = content.record_bytes();
        if len > self.block_bytes / 2 {
            let mut memory = BlockMemory::new(len);
            content.fill_record(&mut memory, self.stamp);
            return self.keep_record(Bytes::from_owner(memory));
        }
        self.append(content, len)
    }

    #[inline(always)]
    fn append(&mut self, content: &Content<'_>, len: usize) -> MessageRef {
        if let Some(block) = self.current
            && let Some(Block { memory: Memory::Shared { bytes, len: used }, live, appended }) =
                self.blocks.get_mut(block as usize)
            && let Some(place) = bytes.get_mut(*used..*used + len)
        {
            content.fill_record(place, self.stamp);
            let offset = *used as u32;
            *used += len;
            *live += 1;
            *appended += 1;
            return MessageRef { block, offset };
        }
        self.keep_in_next(content)
    }

    /// Keeps a message on its way to a consumer that may go to several queues, once: `kept` is its place once it has
    /// one. `own` is its record where that has its own memory.
    #[inline]
    pub fn keep_once(
        &mut self,
        content: &Content<'_>,
        own: Option<&Bytes>,
        kept: &mut Option<MessageRef>,
    ) -> MessageRef {
        match (*kept, own) {
            (Some(message), _) => {
                self.retain(message);
                message
            }
            (None, Some(record)) => *kept.insert(self.keep_record(record.clone())),
            (None, None) => *kept.insert(self.keep(content)),
        }
    }

    /// [Stores](Blocks::store) a message that may go to several queues, once.
    #[inline(always)]
    pub fn store_once(&mut self, content: &Content<'_>, kept: &mut Option<MessageRef>) -> MessageRef {
        match *kept {
            Some(message) => {
                self.retain(message);
                message
            }
            None => *kept.insert(self.store(content)),
        }
    }

    #[cold]
    fn keep_in_next(&mut self, content: &Content<'_>) -> MessageRef {
        // A block without references is recycled when its last one goes; the current one may have had none.
        if let Some(old) = self.current.take()
            && self.blocks.get(old as usize).is_some_and(|block| block.live == 0)
        {
            self.recycle(old);
        }
        let mut bytes = self.spare.pop().unwrap_or_else(|| BlockMemory::new(self.block_bytes));
        let len = content.record_bytes();
        content.fill_record(&mut bytes[..len], self.stamp);
        self.bytes += bytes.len();
        let block = self.blocks.insert(Block { memory: Memory::Shared { bytes, len }, live: 1, appended: 1 }) as u32;
        self.current = Some(block);
        MessageRef { block, offset: 0 }
    }

    /// Keeps a record that already has its own memory.
    pub fn keep_record(&mut self, record: Bytes) -> MessageRef {
        self.bytes += record.len();
        let block = self.blocks.insert(Block { memory: Memory::Own(record), live: 1, appended: 1 }) as u32;
        MessageRef { block, offset: 0 }
    }

    /// Takes memory with `count` records in it, which [`MessageRef`]s by `at` point into: one reference for each.
    pub fn adopt(&mut self, bytes: Vec<u8>, count: u32) -> u32 {
        self.bytes += bytes.len();
        self.blocks.insert(Block { memory: Memory::Filled(bytes), live: count, appended: count }) as u32
    }

    /// A record in an adopted block.
    pub fn at(block: u32, offset: u32) -> MessageRef {
        MessageRef { block, offset }
    }

    /// Memory of an adopted block that is empty, for another one.
    pub fn spare_filled(&mut self) -> Vec<u8> {
        self.spare_filled.pop().unwrap_or_default()
    }

    /// Keeps memory for [`spare_filled`](Blocks::spare_filled).
    pub fn keep_filled(&mut self, mut bytes: Vec<u8>) {
        if self.spare_filled.len() < FILLED_SPARE_MAX {
            bytes.clear();
            self.spare_filled.push(bytes);
        }
    }

    /// Bytes that the blocks take.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts one more reference.
    #[inline]
    pub fn retain(&mut self, message: MessageRef) {
        if let Some(block) = self.blocks.get_mut(message.block as usize) {
            block.live += 1;
        }
    }

    /// Gives a reference back.
    #[inline]
    pub fn release(&mut self, message: MessageRef) {
        let Some(block) = self.blocks.get_mut(message.block as usize) else {
            return;
        };
        debug_assert!(block.live > 0);
        block.live -= 1;
        if block.live == 0 {
            if self.current == Some(message.block) {
                // Nothing in it is wanted any more: fill it from the start again while it is warm.
                if let Memory::Shared { len, .. } = &mut block.memory {
                    *len = 0;
                    block.appended = 0;
                }
            } else {
                self.recycle(message.block);
            }
        }
    }

    fn recycle(&mut self, block: u32) {
        let Block { memory, .. } = self.blocks.remove(block as usize);
        match memory {
            Memory::Filled(bytes) => {
                self.bytes -= bytes.len();
                self.keep_filled(bytes);
            }
            Memory::Shared { bytes, .. } => {
                self.bytes -= bytes.len();
                if self.spare.len() < self.spare_max {
                    self.spare.push(bytes);
                }
            }
            Memory::Own(bytes) => self.bytes -= bytes.len(),
        }
        if self.blocks.is_empty() {
            self.blocks.shrink_to_fit();
        }
    }

    /// A kept message's record and what is behind it, and the record if that has its own block.
    #[inline]
    fn record(&self, message: MessageRef) -> (&[u8], Option<&Bytes>) {
        let (memory, own): (&[u8], _) = match self.blocks.get(message.block as usize).map(|block| &block.memory) {
            Some(Memory::Shared { bytes, .. }) => (bytes, None),
            Some(Memory::Filled(bytes)) => (bytes, None),
            Some(Memory::Own(bytes)) => (bytes, Some(bytes)),
            None => (&[], None),
        };
        (memory.get(message.offset as usize..).unwrap_or(&[]), own)
    }

    /// A kept message, and its record if that has its own block.
    #[inline]
    pub fn content(&self, message: MessageRef) -> (Content<'_>, Option<&Bytes>) {
        let (record, own) = self.record(message);
        (Content::from_record(record), own)
    }

    /// A kept message's stamp.
    pub fn stamp_of(&self, message: MessageRef) -> Stamp {
        Stamp::of(self.record(message).0)
    }

    /// A copy of a kept message's record.
    pub fn copy(&self, message: MessageRef) -> Vec<u8> {
        let mut record = Vec::new();
        self.content(message).0.write_record(&mut record, self.stamp_of(message));
        record
    }

    /// A message's record, if that has its own block.
    #[inline]
    pub fn own(&self, message: MessageRef) -> Option<&Bytes> {
        match &self.blocks.get(message.block as usize)?.memory {
            Memory::Own(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Blocks that hold messages.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nothing was ever kept, or all of it has gone.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// What is kept.
    pub fn counts(&self) -> BlockCounts {
        let mut counts = BlockCounts { blocks: self.blocks.len(), ..BlockCounts::default() };
        for (_, block) in &self.blocks {
            counts.live += u64::from(block.live);
            counts.bytes += match &block.memory {
                Memory::Shared { bytes, .. } => bytes.len(),
                Memory::Filled(bytes) => bytes.len(),
                Memory::Own(bytes) => bytes.len(),
            };
        }
        counts
    }
}

#[cfg(test)]
mod tests;
