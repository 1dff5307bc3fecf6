//! Records: what shards write into the journal, as bytes and as values.
//!
//! A record is an outcome: applying it needs no clock, no chance and no configuration. All numbers are little-endian.
//!
//! ```text
//!  0  u32  bytes of the record, these included
//!  4  u32  CRC-32C of bytes 8 to the end of the head
//!  8  u8   kind
//!  9  u8   flags
//! 10  u16  0
//! 12  u32  n: how many of what the kind repeats
//! 16       the head's rest, by kind:
//!
//! MESSAGES  1   u32 count | u32 0 | n x { u64 queue, u64 position of the first message there } = head; behind it
//!               count x { u32 CRC-32C of the len bytes, begun at 0x4c564d53 | u32 len | len bytes }
//!               The messages have neighbouring positions in each of the n queues.
//!               flags: 1 transient (not to survive a start), 2 copy (written again by ageing), 4 conditional: see PART
//! SETTLED   2   n x { u64 queue, u64 first position, u64 last position }
//! RETURNED  3   the same: delivered once and ready again
//! PURGED    4   u64 queue | u64 end | n x { u64 first position, u64 last position }
//!               everything before `end` is settled but for these
//! DEFINED   5   u64 id | bytes to the end                   a queue, an exchange: opaque here
//! UNDEFINED 6   u64 id                                      it goes, with its messages and bindings
//! BOUND     7   u64 source | u64 destination | bytes to the end
//! UNBOUND   8   the same
//! CLEAN     9                                               the lane was stopped in order; nothing follows
//! PART      10  u64 transaction                           the conditional messages and notes behind it in this
//!               submission count only if this transaction is committed before the term ends
//! COMMITTED 11  u64 transaction                             it is: all its parts are in front of this
//! INVENTORY 12  u64 index | DEFINED and BOUND records       all that was there after the batch of this index: for a
//!               start without a checkpoint, when the segments that said so are used again
//! COUNTED   13  n x { u64 queue, u64 position, u32 handed out, u32 failed }
//!               the message is ready again, was handed out so often, and that failed so often
//! NOTED     14  u64 id | u32 how many are kept | u32 0 | n x { 16 bytes note, u64 until when in ms, 0 for ever }
//!               a queue or exchange has seen these; flags: 4 conditional: see PART
//! NAMED     15  n x { u64 queue, u64 position, 16 bytes name }
//!               the message there goes by this name; it is in front of this in the same submission
//! ```

mod elide;
mod names;
mod notes;
mod read;
mod salvage;

pub use elide::elide;
pub use names::{NAMED_BYTES, Name, Named, Names};
pub use notes::{NOTE_BYTES, Note, Notes};
pub use read::*;
pub use salvage::{End, mend_messages, salvage};

use super::{Position, QueueId, u32_at};

/// Bytes of a record in front of what its kind says.
pub const HEAD_BYTES: usize = 16;
/// Bytes in front of each message.
pub const MESSAGE_BYTES: usize = 8;

const MESSAGES: u8 = 1;
const SETTLED: u8 = 2;
const RETURNED: u8 = 3;
const PURGED: u8 = 4;
const DEFINED: u8 = 5;
const UNDEFINED: u8 = 6;
const BOUND: u8 = 7;
const UNBOUND: u8 = 8;
const CLEAN: u8 = 9;
const PART: u8 = 10;
const COMMITTED: u8 = 11;
const INVENTORY: u8 = 12;
const COUNTED: u8 = 13;
const NOTED: u8 = 14;
const NAMED: u8 = 15;

/// [`Messages::flags`]: spilled for want of memory, and not to survive a start.
pub const TRANSIENT: u8 = 1;
/// [`Messages::flags`]: written again by ageing. What was settled meanwhile stays so.
pub const COPY: u8 = 2;
/// [`Messages::flags`], and of notes: of the transaction that the last [`Record::Part`] names. A journal that ends
/// without its [`Record::Committed`] has never had them.
pub const CONDITIONAL: u8 = 4;

/// No more messages are put into one record: what damage to its head can cost.
const RECORD_MESSAGES_MAX: u32 = 4096;
/// No further message is added to a record of so many bytes.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Where MESSAGES says how many there are.
const COUNT_AT: usize = 16;
/// Bytes of a range in SETTLED and RETURNED, and of what COUNTED says of a message.
const RANGE_BYTES: usize = 24;

/// Where the checksum of a message begins: zeros are no message, not even an empty one.
const MESSAGE_SEED: u32 = 0x4c56_4d53;

/// The checksum of a message's bytes.
#[inline]
pub fn message_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(MESSAGE_SEED, bytes)
}

/// Positions of one queue, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The queue.
    pub queue: QueueId,
    /// The first position.
    pub first: Position,
    /// The last.
    pub last: Position,
}

/// How often a message was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// So often in all.
    pub acquired: u32,
    /// So often in vain, whatever its queue takes for that.
    pub failed: u32,
}

/// The record at the end of the buffer, as far as it may be added to.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    /// Messages of one queue.
    Messages {
        queue: QueueId,
        next: Position,
        flags: u8,
        count: u32,
    },
    /// Nothing is added to it, but for messages that were announced.
    Other,
    Ranges {
        kind: u8,
        last: Range,
        n: u32,
    },
    Repeated {
        kind: u8,
        n: u32,
    },
    Notes {
        of: (QueueId, u32, u8),
        n: u32,
    },
}

/// Records in the making: a shard's buffer. Neighbours are joined to one record where they can be.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where the open record begins.
    at: usize,
    /// Where its head ends.
    head_end: usize,
    open: Open,
}

impl Records {
    /// Bytes so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no records.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what there is, and goes on in the memory of `spare`.
    pub fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        self.close();
        self.at = 0;
        spare.clear();
        std::mem::replace(&mut self.bytes, spare)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn push_numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Begins a record; what is appended until [`end_head`](Records::end_head) is its head.
    fn begin(&mut self, kind: u8, flags: u8, n: u32) {
        self.close();
        self.at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, kind, flags, 0, 0]);
        self.bytes.extend_from_slice(&n.to_le_bytes());
    }

    fn end_head(&mut self, open: Open) {
        self.head_end = self.bytes.len();
        self.open = open;
    }

    /// Completes the open record.
    fn close(&mut self) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => return,
            Open::Messages { count, .. } => self.put(self.at + COUNT_AT, &count.to_le_bytes()),
            Open::Ranges { n, .. } | Open::Repeated { n, .. } | Open::Notes { n, .. } => {
                self.put(self.at + 12, &n.to_le_bytes());
                self.head_end = self.bytes.len();
            }
            Open::Other => {}
        }
        let crc = crc32c::crc32c(self.bytes.get(self.at + 8..self.head_end).unwrap_or(&[]));
        let len = (self.bytes.len() - self.at) as u32;
        self.put(self.at, &len.to_le_bytes());
        self.put(self.at + 4, &crc.to_le_bytes());
    }

    /// Adds a message of one queue: `fill` writes all of its `len` bytes.
    #[inline]
    pub fn message(&mut self, queue: QueueId, position: Position, flags: u8, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.join(queue, position, flags);
        self.push_message(len, fill);
    }

    /// Adds a message of one queue with the checksum that it has already.
    pub(super) fn message_as_is(&mut self, queue: QueueId, position: Position, flags: u8, crc: u32, bytes: &[u8]) {
        self.join(queue, position, flags);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds the record that begins at `at` in `records`.
    pub(super) fn record_as_is(&mut self, records: &[u8], at: usize) {
        self.close();
        let len = u32_at(records, at).unwrap_or(0) as usize;
        self.bytes.extend_from_slice(records.get(at..at + len).unwrap_or(&[]));
    }

    /// Has a message at this place join those before it, or begins a record for it.
    #[inline]
    fn join(&mut self, queue: QueueId, position: Position, flags: u8) {
        let begun = self.bytes.len() - self.at;
        match &mut self.open {
            Open::Messages { queue: open, next, flags: open_flags, count }
                if (*open, *next, *open_flags) == (queue, position, flags)
                    && *count < RECORD_MESSAGES_MAX
                    && begun < RECORD_BYTES_MAX =>
            {
                *next += 1;
                *count += 1;
            }
            _ => {
                self.begin_messages(&[(queue, position)], flags, 0);
                self.end_head(Open::Messages { queue, next: position + 1, flags, count: 1 });
            }
        }
    }

    fn begin_messages(&mut self, places: &[(QueueId, Position)], flags: u8, count: u32) {
        self.begin(MESSAGES, flags, places.len() as u32);
        self.push_numbers(&[count.into()]);
        for (queue, position) in places {
            self.push_numbers(&[queue.0, *position]);
        }
    }

    /// Begins `count` messages that go to several queues, with neighbouring positions in each: `places` says which and
    /// where the first is. To be followed by as many calls of [`push_message`](Records::push_message).
    pub fn messages(&mut self, places: &[(QueueId, Position)], flags: u8, count: u32) {
        self.begin_messages(places, flags, count);
        self.end_head(Open::Other);
    }

    /// Adds one of the messages that were announced: `fill` writes all of its `len` bytes.
    #[inline]
    pub fn push_message(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let at = self.bytes.len();
        self.bytes.resize(at + MESSAGE_BYTES + len, 0);
        let Some((head, content)) =
            self.bytes.get_mut(at..).and_then(|bytes| bytes.split_at_mut_checked(MESSAGE_BYTES))
        else {
            return;
        };
        fill(content);
        let crc = message_checksum(content).to_le_bytes();
        let len = (len as u32).to_le_bytes();
        head.copy_from_slice(&[crc[0], crc[1], crc[2], crc[3], len[0], len[1], len[2], len[3]]);
    }

    fn range(&mut self, kind: u8, range: Range) {
        match &mut self.open {
            Open::Ranges { kind: open, last, .. }
                if *open == kind && last.queue == range.queue && last.last + 1 == range.first =>
            {
                last.last = range.last;
                let at = self.bytes.len() - 8;
                return self.put(at, &range.last.to_le_bytes());
            }
            Open::Ranges { kind: open, last, n } if *open == kind && *n < RECORD_MESSAGES_MAX => {
                *n += 1;
                *last = range;
            }
            _ => {
                self.begin(kind, 0, 1);
                self.end_head(Open::Ranges { kind, last: range, n: 1 });
            }
        }
        self.push_numbers(&[range.queue.0, range.first, range.last]);
    }

    /// These positions of a queue are done with.
    #[inline]
    pub fn settled(&mut self, queue: QueueId, first: Position, last: Position) {
        self.range(SETTLED, Range { queue, first, last });
    }

    /// These positions of a queue were delivered and are ready again.
    pub fn returned(&mut self, queue: QueueId, first: Position, last: Position) {
        self.range(RETURNED, Range { queue, first, last });
    }

    /// A message of a queue is ready again: it was handed out so often by now, and that failed so often.
    pub fn counted(&mut self, queue: QueueId, position: Position, acquired: u32, failed: u32) {
        match &mut self.open {
            Open::Repeated { kind: COUNTED, n } if *n < RECORD_MESSAGES_MAX => *n += 1,
            _ => {
                self.begin(COUNTED, 0, 1);
                self.end_head(Open::Repeated { kind: COUNTED, n: 1 });
            }
        }
        self.push_numbers(&[queue.0, position, u64::from(acquired) | u64::from(failed) << 32]);
    }

    /// Everything of a queue before `end` is done with, but for `kept`: first and last positions, ascending.
    pub fn purged(&mut self, queue: QueueId, end: Position, kept: &[(Position, Position)]) {
        self.begin(PURGED, 0, kept.len() as u32);
        self.push_numbers(&[queue.0, end]);
        kept.iter().for_each(|(first, last)| self.push_numbers(&[*first, *last]));
        self.end_head(Open::Other);
    }

    fn other(&mut self, kind: u8, numbers: &[u64], bytes: &[u8]) {
        self.begin(kind, 0, 0);
        self.push_numbers(numbers);
        self.bytes.extend_from_slice(bytes);
        self.end_head(Open::Other);
    }

    /// A queue or an exchange is there; `bytes` say what it is.
    pub fn defined(&mut self, id: QueueId, bytes: &[u8]) {
        self.other(DEFINED, &[id.0], bytes);
    }

    /// A queue or an exchange is gone, with its messages and bindings.
    pub fn undefined(&mut self, id: QueueId) {
        self.other(UNDEFINED, &[id.0], &[]);
    }

    /// A binding is there; `bytes` tell it from others of the same source and destination.
    pub fn bound(&mut self, source: QueueId, destination: QueueId, bytes: &[u8]) {
        self.other(BOUND, &[source.0, destination.0], bytes);
    }

    /// A binding is gone.
    pub fn unbound(&mut self, source: QueueId, destination: QueueId, bytes: &[u8]) {
        self.other(UNBOUND, &[source.0, destination.0], bytes);
    }

    /// The lane was stopped in order.
    pub fn clean(&mut self) {
        self.other(CLEAN, &[], &[]);
    }

    /// All that is defined and bound after batch `index`: `records` say so.
    pub fn inventory(&mut self, index: u64, records: &[u8]) {
        self.other(INVENTORY, &[index], records);
    }

    /// The [`CONDITIONAL`] messages and notes to come, up to the end of the submission or the next such record, are of
    /// this transaction.
    pub fn part(&mut self, tx: u64) {
        self.other(PART, &[tx], &[]);
    }

    /// A transaction is committed. To be submitted behind all its parts.
    pub fn committed(&mut self, tx: u64) {
        self.other(COMMITTED, &[tx], &[]);
    }
}

#[cfg(test)]
mod tests;
