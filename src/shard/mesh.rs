//! What shards say to each other: one batch per peer and turn.

/// A shard's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// Everything one shard has to tell another in one turn, in order.
#[derive(Debug)]
pub struct Batch {
    /// The shard that sends it.
    pub from: ShardId,
}
