//! Where messages lie: extents, runs, and what of each segment is alive.
//!
//! A *slot* is an extent: messages of one queue that lie one behind the other in a segment and have neighbouring
//! positions. A record of many small messages is a few slots; a large message has one of its own. A *run* is a stretch
//! of a queue's positions whose messages lie in one segment. Its slots are in memory as long as the segment has no
//! index, and in the index then.

use std::collections::VecDeque;

use crate::store::record::MESSAGE_BYTES;
use crate::store::segment::FileSlot;
use crate::store::{Position, QueueId};

/// An extent ends when it has so many bytes.
pub const SLOT_BYTES: u32 = 32 << 10;
/// A message of so many bytes has an extent of its own: estimates of what lives of an extent stay close.
pub const ALONE_BYTES: u32 = 4 << 10;

/// Messages of one queue, one behind the other, at neighbouring positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// The position of the first.
    pub first: Position,
    /// Where the first begins in the file: its checksum, its length, its bytes.
    pub at: u32,
    /// Bytes of all, with their checksums and lengths.
    pub bytes: u32,
    /// The checksums and lengths of all, [mixed](mix).
    pub check: u32,
    /// How many they are.
    pub count: u16,
    /// In how many queues they were put, at most `u16::MAX`.
    pub places: u16,
}

/// Adds to a list that is often short: grows by half, from one on.
#[inline]
pub fn push<T>(list: &mut Vec<T>, one: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 2).max(1));
    }
    list.push(one);
}

/// Adds a message to the check of a slot.
#[inline]
pub fn mix(check: u32, crc: u32, len: u32) -> u32 {
    (check ^ crc).wrapping_mul(0x9e37_79b1).rotate_left(13).wrapping_add(len)
}

impl Slot {
    /// The position of the last.
    #[inline]
    pub fn last(&self) -> Position {
        self.first + u64::from(self.count.max(1)) - 1
    }

    /// Whether a message of `len` bytes, which lies behind, still goes in.
    #[inline]
    pub fn takes(&self, len: u32) -> bool {
        let bytes = len.saturating_add(MESSAGE_BYTES as u32);
        self.count < u16::MAX
            && bytes < ALONE_BYTES
            && self.bytes.saturating_add(bytes) <= SLOT_BYTES
            && (self.bytes < ALONE_BYTES || self.count > 1)
    }

    /// Adds the message behind the last.
    #[inline]
    pub fn add(&mut self, crc: u32, len: u32) {
        self.count += 1;
        self.bytes += len + MESSAGE_BYTES as u32;
        self.check = mix(self.check, crc, len);
    }
}

/// A stretch of a queue whose messages lie in one segment. Positions in it that are not settled have their message
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of the segment.
    pub segment: u64,
    /// The first position.
    pub first: Position,
    /// The last position is so much further.
    pub span: u32,
    /// How many of them are alive.
    pub alive: u32,
    /// Bytes of a message, on average; a message in n queues counts 1/n.
    pub mean: u32,
    /// The number of its list in [`Segment::lists`], or of its first slot in the index.
    pub slots: u32,
    /// How many slots it has in the index.
    pub count: u32,
}

impl Run {
    /// The last position.
    #[inline]
    pub fn last(&self) -> Position {
        self.first + u64::from(self.span)
    }

    /// Messages that take `bytes` are added.
    #[inline]
    pub fn add(&mut self, count: u32, bytes: u64) {
        let before = u64::from(self.alive);
        self.mean = ((u64::from(self.mean) * before + bytes) / (before + u64::from(count)).max(1)) as u32;
        self.alive += count;
    }
}

/// The slots of a run, in a segment without an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Of which queue.
    pub queue: QueueId,
    /// By position.
    pub slots: Vec<Slot>,
}

impl List {
    /// Adds a message behind the others.
    pub fn push(&mut self, position: Position, at: u32, crc: u32, len: u32, places: u16) {
        if let Some(last) = self.slots.last_mut()
            && last.last() + 1 == position
            && last.at + last.bytes == at
            && last.places == places
            && last.takes(len)
        {
            return last.add(crc, len);
        }
        let mut slot = Slot { first: position, at, places, ..Slot::default() };
        slot.add(crc, len);
        push(&mut self.slots, slot);
    }
}

/// Where the index of a segment lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexPlace {
    /// The first byte.
    pub at: u64,
    /// Bytes of it.
    pub bytes: u64,
}

/// A segment as the keeper knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, never used again.
    pub number: u64,
    /// The file that it is in.
    pub slot: FileSlot,
    /// The index of its last batch so far.
    pub last_index: u64,
    /// Where its last batch so far ends in the file.
    pub end: u64,
    /// Live entries: a message in n queues is n.
    pub live: u64,
    /// Their bytes, about: a message in n queues counts 1/n in each.
    pub live_bytes: u64,
    /// [`live`](Segment::live) when the bytes were last counted one by one.
    pub counted_at: u64,
    /// No batch will be added.
    pub sealed: bool,
    /// Something in it says what is defined or bound.
    pub defines: bool,
    /// Its index, if it has one.
    pub index: Option<IndexPlace>,
    /// Where the last index ended that it had. A new one lies behind it: a checkpoint may know the old one.
    pub index_floor: u64,
    /// The slots of its runs, as long as it has none.
    pub lists: Vec<List>,
    /// The batch (or the one before it) that took its last live entry.
    pub dead_since: Option<u64>,
    /// Somebody is reading it: not to be given away.
    pub pins: u32,
}

impl Segment {
    /// A segment without batches.
    pub fn new(number: u64, slot: FileSlot) -> Segment {
        Segment {
            number,
            slot,
            last_index: 0,
            end: 0,
            live: 0,
            live_bytes: 0,
            counted_at: u64::MAX,
            sealed: false,
            defines: false,
            index: None,
            index_floor: 0,
            lists: Vec::new(),
            dead_since: None,
            pins: 0,
        }
    }

    /// Entries came to life.
    #[inline]
    pub fn more(&mut self, entries: u64, bytes: u64) {
        self.live += entries;
        self.live_bytes += bytes;
        self.dead_since = None;
    }

    /// Entries died.
    #[inline]
    pub fn less(&mut self, entries: u64, mean: u32, index: u64) {
        self.live = self.live.saturating_sub(entries);
        self.live_bytes = self.live_bytes.saturating_sub(entries.saturating_mul(mean.into()));
        if self.live == 0 {
            self.dead_since = Some(index);
            self.live_bytes = 0;
            if self.sealed {
                self.lists = Vec::new();
            }
        }
    }

    /// Bytes of its file that are used.
    pub fn file_end(&self) -> u64 {
        self.index.map_or(self.end, |index| index.at + index.bytes).max(self.end).max(self.index_floor)
    }
}

/// All segments, by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// By number, ascending. The last one may be the active one.
    pub all: VecDeque<Segment>,
}

impl Segments {
    fn place(&self, number: u64) -> Option<usize> {
        let newest = self.all.len().checked_sub(1)?;
        if self.all.back()?.number == number {
            return Some(newest);
        }
        self.all.binary_search_by_key(&number, |segment| segment.number).ok()
    }

    /// The segment of this number.
    #[inline]
    pub fn find(&self, number: u64) -> Option<&Segment> {
        self.all.get(self.place(number)?)
    }

    /// The segment of this number.
    #[inline]
    pub fn find_mut(&mut self, number: u64) -> Option<&mut Segment> {
        let place = self.place(number)?;
        self.all.get_mut(place)
    }

    /// The segment of this number, new if it was not known; those before it are sealed.
    pub fn enter(&mut self, number: u64, slot: FileSlot) -> &mut Segment {
        let place = self.all.partition_point(|segment| segment.number < number);
        if self.all.get(place).is_none_or(|segment| segment.number != number) {
            self.all.insert(place, Segment::new(number, slot));
            for segment in self.all.iter_mut().take(place).filter(|segment| !segment.sealed) {
                segment.seal();
            }
        }
        &mut self.all[place]
    }

    /// Entries of a segment died.
    #[inline]
    pub fn less(&mut self, number: u64, entries: u64, mean: u32, index: u64) {
        if let Some(segment) = self.find_mut(number) {
            segment.less(entries, mean, index);
        }
    }
}

impl Segment {
    /// No batch will be added.
    pub fn seal(&mut self) {
        self.sealed = true;
        if self.live == 0 {
            self.lists = Vec::new();
            self.dead_since = Some(self.dead_since.unwrap_or(self.last_index));
        }
    }
}
