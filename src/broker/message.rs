//! Messages: one immutable copy each, in shared blocks.
//!
//! A message is kept by appending its record ([`Content::write_record`]) to a block; queues hold [`MessageRef`]s to it
//! and the block counts them. Content from `limits.body_own_block_bytes` on gets a block of its own, which sockets and
//! other shards share.

use bytes::Bytes;
use slab::Slab;

use crate::amqp::content::Content;

/// Where a kept message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef {
    block: u32,
    offset: u32,
}

#[derive(Debug)]
enum Memory {
    /// Appended to until full.
    Shared(Vec<u8>),
    /// One record.
    Own(Bytes),
}

#[derive(Debug)]
struct Block {
    bytes: Memory,
    /// References from queues.
    live: u32,
}

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
    spare: Vec<Vec<u8>>,
    spare_max: usize,
    block_bytes: usize,
    own_bytes: usize,
}

impl Blocks {
    /// Blocks of `block_bytes`; content from `own_bytes` on has its own; `spare_max` empty ones are kept for reuse.
    pub fn new(block_bytes: usize, own_bytes: usize, spare_max: usize) -> Blocks {
        Blocks {
            blocks: Slab::new(),
            current: None,
            spare: Vec::new(),
            spare_max,
            block_bytes: block_bytes.max(64),
            own_bytes: own_bytes.min(block_bytes.max(64) / 2).max(1),
        }
    }

    /// Whether content of this size has a block of its own.
    #[inline]
    pub fn is_own(&self, record_bytes: usize) -> bool {
        record_bytes >= self.own_bytes
    }

    /// Keeps a message and returns its first reference.
    #[inline]
    pub fn keep(&mut self, content: &Content<'_>) -> MessageRef {
        let len = content.record_bytes();
        if self.is_own(len) {
            let mut record = Vec::with_capacity(len);
            content.write_record(&mut record);
            return self.keep_record(Bytes::from(record));
        }
        if let Some(block) = self.current
            && let Some(Block { bytes: Memory::Shared(bytes), live }) = self.blocks.get_mut(block as usize)
            && bytes.len() + len <= bytes.capacity()
        {
            let offset = bytes.len() as u32;
            content.write_record(bytes);
            *live += 1;
            return MessageRef { block, offset };
        }
        self.keep_in_next(content)
    }

    #[cold]
    fn keep_in_next(&mut self, content: &Content<'_>) -> MessageRef {
        // A block without references is recycled when its last one goes; the current one may have had none.
        if let Some(old) = self.current.take()
            && self.blocks.get(old as usize).is_some_and(|block| block.live == 0)
        {
            self.recycle(old);
        }
        let mut bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.block_bytes));
        content.write_record(&mut bytes);
        let block = self.blocks.insert(Block { bytes: Memory::Shared(bytes), live: 1 }) as u32;
        self.current = Some(block);
        MessageRef { block, offset: 0 }
    }

    /// Keeps a record that already has its own memory.
    pub fn keep_record(&mut self, record: Bytes) -> MessageRef {
        let block = self.blocks.insert(Block { bytes: Memory::Own(record), live: 1 }) as u32;
        MessageRef { block, offset: 0 }
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
                if let Memory::Shared(bytes) = &mut block.bytes {
                    bytes.clear();
                }
            } else {
                self.recycle(message.block);
            }
        }
    }

    fn recycle(&mut self, block: u32) {
        let Block { bytes, .. } = self.blocks.remove(block as usize);
        if let Memory::Shared(mut bytes) = bytes
            && self.spare.len() < self.spare_max
        {
            bytes.clear();
            self.spare.push(bytes);
        }
        if self.blocks.is_empty() {
            self.blocks.shrink_to_fit();
        }
    }

    /// A kept message.
    #[inline]
    pub fn content(&self, message: MessageRef) -> Content<'_> {
        Content::from_record(match self.blocks.get(message.block as usize).map(|block| &block.bytes) {
            Some(Memory::Shared(bytes)) => bytes.get(message.offset as usize..).unwrap_or(&[]),
            Some(Memory::Own(bytes)) => bytes,
            None => &[],
        })
    }

    /// The record of a message that has its own block.
    #[inline]
    pub fn own_record(&self, message: MessageRef) -> Option<&Bytes> {
        match self.blocks.get(message.block as usize).map(|block| &block.bytes) {
            Some(Memory::Own(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// What is kept.
    pub fn counts(&self) -> BlockCounts {
        let mut counts = BlockCounts { blocks: self.blocks.len(), ..BlockCounts::default() };
        for (_, block) in &self.blocks {
            counts.live += u64::from(block.live);
            counts.bytes += match &block.bytes {
                Memory::Shared(bytes) => bytes.capacity(),
                Memory::Own(bytes) => bytes.len(),
            };
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content<'a>(names: &'a [u8], body: &'a [u8]) -> Content<'a> {
        Content { names, properties: &[0x10, 0, 2], body }
    }

    #[test]
    fn kept_content_comes_back_whatever_its_size() {
        let mut blocks = Blocks::new(1024, 300, 4);
        let bodies: Vec<Vec<u8>> = (0..200).map(|i| vec![i as u8; i * 3]).collect();
        let kept: Vec<MessageRef> = bodies.iter().map(|body| blocks.keep(&content(b"\x01e\x02rk", body))).collect();
        for (message, body) in kept.iter().zip(&bodies) {
            let read = blocks.content(*message);
            assert_eq!((read.exchange(), read.routing_key(), read.properties), ("e", "rk", &[0x10, 0, 2][..]));
            assert_eq!(read.body, &body[..]);
            assert_eq!(blocks.own_record(*message).is_some(), read.record_bytes() >= 300);
        }
        for message in kept {
            blocks.release(message);
        }
        let counts = blocks.counts();
        assert_eq!(counts.live, 0);
        assert!(counts.blocks <= 1, "only the current block may stay: {counts:?}");
    }

    #[test]
    fn a_block_lives_as_long_as_its_last_reference() {
        let mut blocks = Blocks::new(64, 32, 0);
        let first = blocks.keep(&content(b"\0\0", b"a"));
        blocks.retain(first);
        for _ in 0..10 {
            let other = blocks.keep(&content(b"\0\0", b"b"));
            blocks.release(other);
        }
        blocks.release(first);
        assert_eq!(blocks.content(first).body, b"a");
        assert_eq!(blocks.counts().live, 1);
        blocks.release(first);
        assert_eq!(blocks.counts().live, 0);
    }
}
