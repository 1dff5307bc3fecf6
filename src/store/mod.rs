//! The durable store: one sequential journal for all shards, and the queues' messages found again in it.
//!
//! ```text
//!  shards ── Submission (records) ──► Journal ── Written (the same bytes, where they lie) ──► Keeper
//!     ▲  ▲                              │ one write, one sync for whatever gathered            │ rows, runs, slots,
//!     │  └──────── Durable { seq } ─────┘                                                      │ checkpoints, ageing
//!     └────────────────────────── Fetched (messages read back) ◄── Fetch ──────────────────────┘
//! ```
//!
//! A *lane* is one journal with all that belongs to it, in one directory. Shards put [records](record) into a buffer
//! and submit it at the end of a turn. The `Journal` writes what gathered from all shards as one
//! *batch* into the current *segment* file, and syncs it. The `Keeper` reads the same records in the
//! same order and knows what is alive: per queue a *row* and its *runs* (its stretch in one segment, with a *slot* per
//! message), per segment how much of it still lives. It answers fetches, writes the index of a segment that is full,
//! cuts *checkpoints*, has the survivors of old segments written again, and says which segments are free.
//!
//! Nothing here knows AMQP, opens a file, or asks for the time: the world is a [`Disk`](disk::Disk).
//!
//! Rules that everything rests on:
//! - A queue's [`QueueId`] is never used again, and its classes belong to it. A message's place is (queue, position);
//!   positions of one queue ascend in the order of the journal, so runs of one queue never overlap, but for messages
//!   that ageing has written again.
//! - A position that was journalled is settled at most once; settled ranges hold journalled positions only, but for
//!   what a commit over several shards settles: what else that names is ignored.
//! - A submission is never split: it is in the journal as a whole or not at all. That makes a transaction of one shard
//!   atomic. One of several shards is in several submissions, and counts by the [commit](record::Record::Committed)
//!   behind them.
//! - A checkpoint holds the effects of exactly the batches up to one index; replay starts behind it. Two are kept.
//! - A segment is used again only when it is dead in both kept checkpoints and the replay from neither needs it.

pub mod batch;
pub mod disk;
pub mod inspect;
pub mod journal;
pub mod keeper;
pub mod open;
pub mod reader;
pub mod record;
pub mod repair;
pub mod report;
pub mod scan;
pub mod segment;
pub mod survey;

pub use open::{Contents, QueueRow};

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A queue, an exchange, or whatever else is [defined](record::Record::Defined): never used again. What is defined has
/// a number below 2^56; the highest 8 bits say which of its *classes*: parts that have positions of their own, and
/// come and go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueId(pub u64);

const CLASS_SHIFT: u32 = 56;

impl QueueId {
    /// A class of the same base.
    #[inline]
    pub fn class(self, class: u8) -> QueueId {
        QueueId(self.base().0 | u64::from(class) << CLASS_SHIFT)
    }

    /// What it is a class of: class 0.
    #[inline]
    pub fn base(self) -> QueueId {
        QueueId(self.0 & (u64::MAX >> (u64::BITS - CLASS_SHIFT)))
    }

    /// Whether it is a class of something, other than class 0.
    #[inline]
    pub fn is_class(self) -> bool {
        self.0 >> CLASS_SHIFT != 0
    }
}

/// A place in a queue.
pub type Position = u64;

/// What a shard hands over at the end of a turn.
#[derive(Debug, Default)]
pub struct Submission {
    /// Who: a shard, or [`KEEPER`].
    pub from: u8,
    /// Counts up by one per submission of this shard.
    pub seq: u64,
    /// Whole records.
    pub bytes: Vec<u8>,
    /// Somebody waits for it to be durable: it is to be synced soon. Else it is as good as the next sync.
    pub sync: bool,
}

/// [`Submission::from`] of what the keeper writes again.
pub const KEEPER: u8 = u8::MAX;

/// A wish for messages of a queue that lie on the disk.
#[derive(Debug, Default)]
pub struct Fetch {
    /// Who wants them.
    pub shard: u8,
    /// For the answer: understood by the shard alone.
    pub tag: u64,
    /// Of which queue.
    pub queue: QueueId,
    /// From this position on.
    pub from: Position,
    /// Before this position. Everything from `from` to here was submitted, though perhaps not written yet.
    pub to: Position,
    /// About so many bytes at once; one message at least.
    pub bytes_max: usize,
    /// At most so many messages.
    pub count_max: usize,
    /// Only these of them, ascending; empty: all.
    pub only: Vec<Position>,
    /// Memory for the answer, to be used again.
    pub buffer: Vec<u8>,
}

/// A message that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedMessage {
    /// Its position.
    pub position: Position,
    /// Where it begins in [`Fetched::bytes`].
    pub at: u32,
    /// Its length in bytes.
    pub len: u32,
    /// It was delivered before, or may have been.
    pub redelivered: bool,
    /// It was handed out so often, as far as it was [counted](record::Record::Counted).
    pub acquired: u32,
    /// That failed so often.
    pub failed: u32,
}

/// The answer to a [`Fetch`].
#[derive(Debug, Default)]
pub struct Fetched {
    /// Who wanted them.
    pub shard: u8,
    /// The tag of the wish.
    pub tag: u64,
    /// Of which queue.
    pub queue: QueueId,
    /// Where the messages lie.
    pub bytes: Vec<u8>,
    /// The messages, by position.
    pub messages: Vec<FetchedMessage>,
    /// Messages that should have been here and are damaged: they are settled by this, and reported.
    pub lost: u64,
    /// The answer is complete up to here (exclusive): go on from here.
    pub next: Position,
}

/// What a shard is told.
#[derive(Debug)]
pub enum Completion {
    /// All of its submissions up to this one are durable (as far as the sync policy promises).
    Durable {
        /// The number of the submission.
        seq: u64,
    },
    /// Messages that it wanted.
    Fetched(Fetched),
    /// The journal has failed: nothing will be durable any more. For the log and the clients.
    Failed,
    /// Whether the disk has too little room (for publishers).
    DiskLow(bool),
}
