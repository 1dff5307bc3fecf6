//! Records as values: reading what [`Records`](super::Records) wrote.

use super::{
    BOUND, CLEAN, COMMITTED, COUNTED, Count, DEFINED, HEAD_BYTES, INVENTORY, MESSAGE_BYTES, MESSAGES, NAMED, NOTED,
    Names, Notes, PART, PURGED, RANGE_BYTES, RETURNED, Range, SETTLED, UNBOUND, UNDEFINED, message_checksum,
};
use crate::store::{Position, QueueId, u32_at, u64_at};

/// Messages with neighbouring positions in each of some queues.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    /// [`TRANSIENT`], [`COPY`], [`CONDITIONAL`].
    pub flags: u8,
    /// How many there are.
    pub count: u32,
    places: &'a [u8],
    messages: &'a [u8],
    /// Where the messages begin in the record.
    at: usize,
}

/// One message in a [`Messages`] record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which of the record's messages: to be added to the first positions.
    pub number: u32,
    /// Where it begins in the record: its checksum, its length, its bytes.
    pub at: usize,
    /// The checksum that it says it has.
    pub crc: u32,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl Message<'_> {
    /// Whether its bytes have the checksum that they should have.
    #[inline]
    pub fn is_sound(&self) -> bool {
        message_checksum(self.bytes) == self.crc
    }
}

impl<'a> Messages<'a> {
    /// The queues, and the position of the first message in each.
    pub fn places(&self) -> impl ExactSizeIterator<Item = (QueueId, Position)> + use<'a> {
        self.places.as_chunks::<16>().0.iter().map(|place| {
            let number = |at| u64_at(place, at).unwrap_or(0);
            (QueueId(number(0)), number(8))
        })
    }

    /// The messages. Fewer than [`count`](Messages::count) when a length among them is damaged.
    pub fn iter(&self) -> impl Iterator<Item = Message<'a>> + use<'a> {
        let (messages, first_at, mut at, count) = (self.messages, self.at, 0, self.count);
        (0..count).map_while(move |number| {
            let (crc, len) = (u32_at(messages, at)?, u32_at(messages, at + 4)? as usize);
            let bytes = messages.get(at + MESSAGE_BYTES..)?.get(..len)?;
            let message = Message { number, at: first_at + at, crc, bytes };
            at += MESSAGE_BYTES + len;
            Some(message)
        })
    }
}

/// Positions of queues.
#[derive(Debug, Clone, Copy)]
pub struct Ranges<'a> {
    bytes: &'a [u8],
}

impl Ranges<'_> {
    /// The ranges, in the order in which they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range> {
        self.bytes.as_chunks::<RANGE_BYTES>().0.iter().map(|range| {
            let number = |at| u64_at(range, at).unwrap_or(0);
            Range { queue: QueueId(number(0)), first: number(8), last: number(16) }
        })
    }
}

/// How often messages of queues were handed out.
#[derive(Debug, Clone, Copy)]
pub struct Counts<'a> {
    bytes: &'a [u8],
}

impl Counts<'_> {
    /// The messages and their numbers, in the order in which they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (QueueId, Position, Count)> {
        self.bytes.as_chunks::<RANGE_BYTES>().0.iter().map(|one| {
            let number = |at| u32_at(one, at).unwrap_or(0);
            let position = u64_at(one, 8).unwrap_or(0);
            let count = Count { acquired: number(16), failed: number(20) };
            (QueueId(u64_at(one, 0).unwrap_or(0)), position, count)
        })
    }
}

/// A record, read.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// Messages came.
    Messages(Messages<'a>),
    /// Positions are done with.
    Settled(Ranges<'a>),
    /// Positions were delivered and are ready again.
    Returned(Ranges<'a>),
    /// Messages are ready again, and were handed out so often.
    Counted(Counts<'a>),
    /// Everything before `end` is done with, but for what is kept.
    Purged {
        /// The queue.
        queue: QueueId,
        /// The end, exclusive.
        end: Position,
        /// What is kept.
        kept: Kept<'a>,
    },
    /// A queue or an exchange is there.
    Defined {
        /// Its number.
        id: QueueId,
        /// What it is.
        bytes: &'a [u8],
    },
    /// A queue or an exchange is gone, with its messages and bindings.
    Undefined {
        /// Its number.
        id: QueueId,
    },
    /// A binding is there.
    Bound(Binding<'a>),
    /// A binding is gone.
    Unbound(Binding<'a>),
    /// The lane was stopped in order.
    Clean,
    /// A queue or an exchange has seen something.
    Noted(Notes<'a>),
    /// Messages go by names.
    Named(Names<'a>),
    /// What is conditional behind it is of this transaction.
    Part {
        /// The transaction.
        tx: u64,
    },
    /// A transaction is committed.
    Committed {
        /// The transaction.
        tx: u64,
    },
    /// All that was defined and bound after a batch.
    Inventory {
        /// The index of the batch.
        index: u64,
        /// Records that say it.
        records: &'a [u8],
    },
}

/// A binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding<'a> {
    /// The exchange.
    pub source: QueueId,
    /// The queue or exchange.
    pub destination: QueueId,
    /// What tells it from others between the two.
    pub bytes: &'a [u8],
}

/// What a purge leaves.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    bytes: &'a [u8],
}

impl Kept<'_> {
    /// First and last positions, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Position, Position)> {
        self.bytes.as_chunks::<16>().0.iter().map(|range| {
            let number = |at| u64_at(range, at).unwrap_or(0);
            (number(0), number(8))
        })
    }
}

/// What is wrong with bytes that should be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// Where the record after it begins, if its length can be believed.
    pub next: Option<usize>,
}

/// Reads the record at the front of `bytes`. Returns it and its length. The messages of MESSAGES are not checked: see
/// [`Message::is_sound`].
pub fn read(bytes: &[u8]) -> Result<(Record<'_>, usize), Damaged> {
    let len = u32_at(bytes, 0).unwrap_or(0) as usize;
    let Some(record) = bytes.get(..len).filter(|record| record.len() >= HEAD_BYTES) else {
        return Err(Damaged { next: None });
    };
    parse(record).map(|record| (record, len)).ok_or(Damaged { next: Some(len) })
}

/// Where the head of a record of `len` bytes ends: what its checksum covers.
pub(super) fn head_end(record: &[u8], len: usize) -> Option<usize> {
    match *record.get(8)? {
        MESSAGES => Some(HEAD_BYTES + 8 + 16 * u32_at(record, 12)? as usize),
        _ => Some(len),
    }
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let (crc, kind, flags) = (u32_at(record, 4)?, *record.get(8)?, *record.get(9)?);
    let n = u32_at(record, 12)? as usize;
    let head_end = head_end(record, record.len())?;
    if crc32c::crc32c(record.get(8..head_end)?) != crc {
        return None;
    }
    let rest = record.get(HEAD_BYTES..head_end)?;
    let number = |at| u64_at(rest, at);
    Some(match kind {
        MESSAGES => Record::Messages(Messages {
            flags,
            count: u32_at(rest, 0)?,
            places: rest.get(8..)?,
            messages: record.get(head_end..)?,
            at: head_end,
        }),
        SETTLED => Record::Settled(Ranges { bytes: rest.get(..n.checked_mul(RANGE_BYTES)?)? }),
        RETURNED => Record::Returned(Ranges { bytes: rest.get(..n.checked_mul(RANGE_BYTES)?)? }),
        COUNTED => Record::Counted(Counts { bytes: rest.get(..n.checked_mul(RANGE_BYTES)?)? }),
        PURGED => {
            let kept = Kept { bytes: rest.get(16..)?.get(..n.checked_mul(16)?)? };
            Record::Purged { queue: QueueId(number(0)?), end: number(8)?, kept }
        }
        DEFINED => Record::Defined { id: QueueId(number(0)?), bytes: rest.get(8..)? },
        UNDEFINED => Record::Undefined { id: QueueId(number(0)?) },
        BOUND | UNBOUND => {
            let (source, destination) = (QueueId(number(0)?), QueueId(number(8)?));
            let binding = Binding { source, destination, bytes: rest.get(16..)? };
            if kind == BOUND { Record::Bound(binding) } else { Record::Unbound(binding) }
        }
        NAMED => Record::Named(Names::parse(rest, n)?),
        NOTED => Record::Noted(Notes::parse(rest, flags, n)?),
        CLEAN => Record::Clean,
        PART => Record::Part { tx: number(0)? },
        COMMITTED => Record::Committed { tx: number(0)? },
        INVENTORY => Record::Inventory { index: number(0)?, records: rest.get(8..)? },
        _ => return None,
    })
}

/// The records of a submission. Ends early, with an error, at one whose length cannot be believed.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<Record<'_>, Damaged>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begun = at;
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        match read(rest) {
            Ok((record, len)) => {
                at += len;
                Some((begun, Ok(record)))
            }
            Err(Damaged { next }) => {
                at = next.map_or(bytes.len(), |next| begun + next);
                Some((begun, Err(Damaged { next: next.map(|next| begun + next) })))
            }
        }
    })
}
