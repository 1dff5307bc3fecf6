//! The journal: writes what gathered from all shards as one batch, and syncs it.
//!
//! Segments are preallocated, so that a batch does not find the disk full in the middle of one. Some are always kept in
//! reserve: when there is no room for as many, [`needs_room`](Journal::needs_room) says so while a segment and what is
//! left of the reserve are there for settlements.

mod room;

use std::collections::{BTreeSet, VecDeque};
use std::io::{Error, ErrorKind, Result};

use super::Submission;
use super::batch::{Batch, BatchHeader, PAYLOAD_MAX, batch_bytes};
use super::disk::{Disk, DiskFile, Open};
use super::segment::{FileSlot, HEADER_BYTES, LaneId, SegmentHeader};
use room::{fit, grow};

/// Zeros behind a payload, at most.
const PADDING: [u8; 64] = [0; 64];
/// Sealed segments that may wait for their sync. One more, and the journal syncs by itself.
const UNSYNCED_MAX: usize = 4;
/// Bytes written again at once.
const REWRITE_BYTES: u64 = 1 << 20;
/// Files removed in one call.
const REMOVED_AT_ONCE: usize = 8;

/// Where a journal begins.
#[derive(Debug)]
pub struct Start<D: Disk> {
    /// Where.
    pub disk: D,
    /// The lane.
    pub lane: LaneId,
    /// The term: higher than any before.
    pub term: u64,
    /// The index of the first batch. Everything that is there with this index or a higher one is void from now on.
    pub next_index: u64,
    /// The number of the first segment: higher than any before.
    pub next_number: u64,
    /// The time of the last batch.
    pub time_ms: u64,
    /// The size of a segment, in bytes.
    pub segment_bytes: u64,
    /// So many preallocated segments are kept for settlements when the disk is full; one at least.
    pub reserve: usize,
    /// So many segments that are free are kept, beside the reserve, while segments are begun.
    pub spares_max: usize,
    /// Files that may be used, or removed.
    pub free: Vec<FileSlot>,
    /// All files that are there, the free ones too.
    pub taken: Vec<FileSlot>,
    /// Batches that were read and may not have been synced.
    pub unsynced: Vec<Unsynced>,
}

/// Batches that may not be durable: a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsynced {
    /// The file.
    pub slot: FileSlot,
    /// Where the first begins.
    pub at: u64,
    /// Where the last ends.
    pub end: u64,
}

/// Makes what is in a file durable. It is written again first: after a sync that failed, the system may have it in
/// memory only and believe that it is on the disk.
fn make_durable(file: &impl DiskFile, parts: &[(u64, u64)]) -> Result<()> {
    let mut buffer = vec![];
    for (from, end) in parts {
        let mut at = *from;
        while at < *end {
            buffer.resize((*end - at).min(REWRITE_BYTES) as usize, 0);
            // What cannot be read was not believed either.
            if let Ok(len) = file.read_at(at, &mut buffer)
                && let Some(bytes) = buffer.get(..len)
            {
                file.write_at(at, &[bytes])?;
            }
            at += REWRITE_BYTES;
        }
    }
    file.sync()
}

/// The segment that is written.
#[derive(Debug)]
struct Active<F> {
    file: F,
    slot: FileSlot,
    number: u64,
    /// Where the next batch begins.
    end: u64,
    /// Reserved bytes.
    len: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: D,
    lane: LaneId,
    term: u64,
    next_index: u64,
    next_number: u64,
    time_ms: u64,
    segment_bytes: u64,
    reserve_min: usize,
    spares_max: usize,
    /// So many are kept now: fewer while no segment is begun.
    spares: usize,
    synced: u64,
    active: Option<Active<D::File>>,
    /// Sealed and not synced.
    unsynced: Vec<D::File>,
    /// Preallocated.
    reserve: VecDeque<(FileSlot, D::File)>,
    free: VecDeque<FileSlot>,
    taken: BTreeSet<FileSlot>,
    /// Files were made since the directory was synced.
    names_new: bool,
    failed: bool,
}

impl<D: Disk> Journal<D> {
    /// Syncs what is left of earlier terms, and begins the first segment of this one, which voids what lies behind. If
    /// the disk is full, it begins with the first batch.
    ///
    /// # Errors
    ///
    /// What the disk says, except that it is full.
    pub fn start(start: Start<D>) -> Result<Journal<D>> {
        for Unsynced { slot, at, end } in &start.unsynced {
            let file = start.disk.open(&slot.name(), Open::Write)?;
            make_durable(&file, &[(0, HEADER_BYTES as u64), (*at, *end)])?;
        }
        // The first segment of this term says that everything before it is there: names are, before it may be.
        start.disk.sync_directory()?;
        let mut journal = Journal {
            disk: start.disk,
            lane: start.lane,
            term: start.term,
            next_index: start.next_index,
            next_number: start.next_number,
            time_ms: start.time_ms,
            segment_bytes: start.segment_bytes.max(2 * HEADER_BYTES as u64),
            reserve_min: start.reserve.max(1),
            spares_max: start.spares_max,
            spares: start.spares_max,
            synced: start.next_index.saturating_sub(1),
            active: None,
            unsynced: vec![],
            reserve: VecDeque::new(),
            free: start.free.into(),
            taken: start.taken.into_iter().collect(),
            names_new: true,
            failed: false,
        };
        journal.taken.extend(&journal.free);
        match journal.roll(0).and_then(|()| journal.sync_files()) {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error),
            _ => Ok(journal),
        }
    }

    /// The index of the next batch.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whether the reserve is not what it should be, for want of room on the disk: nothing but settlements should be
    /// written until it is. See [`step`](Journal::step).
    pub fn needs_room(&self) -> bool {
        self.reserve.len() < self.reserve_min
    }

    /// The most bytes of submissions that fit a segment of the usual size. More make a segment of their own.
    pub fn payload_usual(&self) -> u64 {
        self.segment_bytes - HEADER_BYTES as u64 - batch_bytes(0)
    }

    /// Writes all as one batch; goes on to the next segment first when it does not fit. A batch of nothing is a mark:
    /// it tells a later start how far the journal was synced.
    ///
    /// # Errors
    ///
    /// What the disk says; nothing of it counts as written then, and the same or other submissions may be tried again.
    /// [`ErrorKind::InvalidInput`] if it is more than [`PAYLOAD_MAX`] bytes.
    pub fn write(
        &mut self,
        now_ms: u64,
        submissions: Vec<Submission>,
    ) -> std::result::Result<Batch, (Error, Vec<Submission>)> {
        match self.put(now_ms, &submissions) {
            Ok(batch) => Ok(Batch { submissions, ..batch }),
            Err(error) => Err((error, submissions)),
        }
    }

    fn put(&mut self, now_ms: u64, submissions: &[Submission]) -> Result<Batch> {
        self.check()?;
        let len: u64 = submissions.iter().map(|submission| submission.bytes.len() as u64).sum();
        if len > PAYLOAD_MAX {
            return Err(Error::new(ErrorKind::InvalidInput, "more than a batch can hold"));
        }
        let bytes = batch_bytes(len);
        if self.active.as_ref().is_none_or(|active| active.len - active.end < bytes) {
            self.roll(bytes)?;
        }
        let Some(active) = &mut self.active else {
            return Err(ErrorKind::StorageFull.into());
        };
        let time_ms = now_ms.max(self.time_ms);
        let header = BatchHeader {
            segment: active.number,
            index: self.next_index,
            term: self.term,
            synced: self.synced,
            time_ms,
            len: len as u32,
            crc: submissions.iter().fold(0, |crc, submission| crc32c::crc32c_append(crc, &submission.bytes)),
        };
        let encoded = header.encode(&self.lane);
        let padding = (bytes - len) as usize - encoded.len();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(submissions.len() + 2);
        parts.push(&encoded);
        parts.extend(submissions.iter().map(|submission| &*submission.bytes));
        parts.push(PADDING.get(..padding).unwrap_or(&[]));
        active.file.write_at(active.end, &parts)?;
        let (segment, slot, at) = (active.number, active.slot, active.end + encoded.len() as u64);
        active.end += bytes;
        self.time_ms = time_ms;
        self.next_index += 1;
        Ok(Batch { index: header.index, term: self.term, segment, slot, at, submissions: vec![], time_ms })
    }

    /// Makes everything that was written durable. Returns the index of the last batch.
    ///
    /// # Errors
    ///
    /// What the disk says. Nobody knows then what is durable: the journal refuses everything from there on.
    pub fn sync(&mut self) -> Result<u64> {
        self.check()?;
        let last = self.next_index.saturating_sub(1);
        if self.synced < last {
            self.sync_files()?;
        }
        Ok(last)
    }

    fn check(&self) -> Result<()> {
        if self.failed { Err(Error::other("the journal has failed")) } else { Ok(()) }
    }

    fn sync_files(&mut self) -> Result<()> {
        let synced = (|| {
            self.unsynced.iter().try_for_each(DiskFile::sync)?;
            self.active.iter().try_for_each(|active| active.file.sync())?;
            if self.names_new { self.disk.sync_directory() } else { Ok(()) }
        })();
        self.failed = synced.is_err();
        synced?;
        self.unsynced.clear();
        self.names_new = false;
        self.synced = self.next_index.saturating_sub(1);
        Ok(())
    }

    /// Begins the next segment, for a batch of so many bytes.
    fn roll(&mut self, bytes: u64) -> Result<()> {
        if self.unsynced.len() >= UNSYNCED_MAX {
            self.sync_files()?;
        }
        let len = self.segment_bytes.max(HEADER_BYTES as u64 + bytes);
        let (slot, file) = self.prepared(len)?;
        // Also after a failure: whatever was written under this number, it is not used again.
        let header =
            SegmentHeader { lane: self.lane, number: self.next_number, term: self.term, first: self.next_index };
        self.next_number += 1;
        self.spares = self.spares_max;
        if let Err(error) = file.write_at(0, &[&header.encode()]) {
            self.free.push_front(slot);
            // The header may be there all the same. It voids whatever an earlier segment would get from now on.
            self.unsynced.extend(self.active.take().map(|active| active.file));
            return Err(error);
        }
        let end = HEADER_BYTES as u64;
        let sealed = self.active.replace(Active { file, slot, number: header.number, end, len });
        self.unsynced.extend(sealed.map(|active| active.file));
        // Without it the journal goes on, and says that it needs room.
        let _ = self.make_reserve();
        Ok(())
    }

    /// A file with room for a segment of `len` bytes: of the reserve, a free one, or a new one.
    fn prepared(&mut self, len: u64) -> Result<(FileSlot, D::File)> {
        if let Some((slot, file)) = self.reserve.pop_front() {
            if len <= self.segment_bytes || grow(&file, len, self.segment_bytes).is_ok() {
                return Ok((slot, file));
            }
            self.reserve.push_front((slot, file));
        }
        self.allocated(len)
    }

    /// A free file or a new one, with room for a segment of `len` bytes.
    fn allocated(&mut self, len: u64) -> Result<(FileSlot, D::File)> {
        while let Some(slot) = self.free.pop_front() {
            // Whatever is wrong with a file that nobody needs, another one may do.
            let Ok(file) = self.disk.open(&slot.name(), Open::Write) else {
                continue;
            };
            match fit(&file, len) {
                Ok(()) => return Ok((slot, file)),
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    self.free.push_front(slot);
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let gap = self.taken.iter().zip(0..).find(|(slot, number)| slot.0 != *number);
        let slot = FileSlot(gap.map_or(self.taken.len() as u32, |(_, number)| number));
        let file = self.disk.open(&slot.name(), Open::Create)?;
        if let Err(error) = file.allocate(len) {
            // An attempt may have taken all the room that there is.
            drop(file);
            let _ = self.disk.remove(&slot.name());
            return Err(error);
        }
        self.taken.insert(slot);
        self.names_new = true;
        Ok((slot, file))
    }

    fn make_reserve(&mut self) -> Result<()> {
        while self.needs_room() {
            let made = self.allocated(self.segment_bytes)?;
            self.reserve.push_back(made);
        }
        Ok(())
    }

    /// Takes segments that hold nothing any more, to use them again. Those that are not needed are removed, a few at
    /// once.
    pub fn give(&mut self, free: Vec<FileSlot>) {
        self.taken.extend(&free);
        self.free.extend(free);
        self.step();
    }

    /// A piece of upkeep, for when there is time: makes the reserve again, or removes a few files that are not needed.
    /// Returns whether there is more to do at once. To be called now and then while
    /// [`needs_room`](Journal::needs_room) says so.
    pub fn step(&mut self) -> bool {
        // Until a segment of this term is there, one of an earlier term may be what voids an old tail: none is removed.
        let begun = |journal: &mut Self| match journal.active {
            Some(_) => Ok(()),
            None => journal.roll(0).and_then(|()| journal.sync_files()),
        };
        if self.check().and_then(|()| begun(self)).and_then(|()| self.make_reserve()).is_err() {
            return false;
        }
        for _ in 0..REMOVED_AT_ONCE {
            if self.free.len() <= self.spares {
                return false;
            }
            if let Some(slot) = self.free.pop_back()
                && self.disk.remove(&slot.name()).is_ok()
            {
                // A file that cannot be removed is found again by the next start.
                self.taken.remove(&slot);
            }
        }
        self.free.len() > self.spares
    }

    /// Whether free segments are kept beside the reserve.
    pub fn has_spares(&self) -> bool {
        !self.free.is_empty()
    }

    /// No segment was begun for some time: from now until the next one is, a spare one less is kept. For
    /// [`step`](Journal::step) to remove it.
    pub fn rest(&mut self) {
        self.spares = self.spares.min(self.free.len()).saturating_sub(1);
    }
}

#[cfg(test)]
mod tests;
