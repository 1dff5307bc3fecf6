//! Reading the journal back: the batches of all segments, in the order in which they count.
//!
//! Segments follow each other by number. A segment says which index its first batch has: what earlier segments have
//! with that index or a higher one is void (a start goes on from the last batch that it found sound, and writes a
//! segment that says so).
//!
//! A batch that is not sound is either *damage* or the *tail*. It is damage if it was durable once: a later batch knew
//! it as synced, or a later start found it sound. What is sound in it is [salvaged](super::record::salvage), and
//! reading goes on behind it. Else it is the tail: a write that was interrupted, which nobody was told of. Reading ends
//! there, whatever follows.

mod beyond;

use beyond::Place;

use std::collections::VecDeque;

use super::Submission;
use super::batch::{BATCH_ALIGN, BATCH_HEADER_BYTES, Batch, BatchHeader};
use super::disk::Disk;
use super::journal::Unsynced;
use super::reader::Reader;
use super::record::{End, salvage};
use super::report::{Lost, Report};
use super::segment::{HEADER_BYTES, LaneId};
use super::survey::{SegmentFile, Survey};

/// Headers with a wrong bit that are looked for, each at the cost of trying all of its bits.
const CORRECTIONS_MAX: u32 = 4096;

/// Reads batches. See the [module](self).
#[derive(Debug)]
pub struct Scan<'s, D: Disk> {
    disk: D,
    lane: LaneId,
    segments: &'s [SegmentFile],
    /// For each segment, the index from which on its batches are void.
    bounds: Vec<u64>,
    /// Batches up to this one may be missing: their segments were used again.
    complete_from: u64,
    /// The segment that is read, and where.
    segment: usize,
    reader: Option<Reader<D::File>>,
    at: u64,
    /// The index of the batch that was last seen in this segment.
    seen: u64,
    /// The index of the next batch.
    expected: u64,
    time_ms: u64,
    ended: bool,
    corrections: u32,
    /// The highest index that a batch knew as synced.
    synced: u64,
    /// Batches above that: their index, and where they lie.
    recent: VecDeque<(u64, Unsynced)>,
    spare: Vec<Vec<u8>>,
}

impl<'s, D: Disk> Scan<'s, D> {
    /// Will read everything behind batch `after`, all of which should be there. Without `after`, everything that is
    /// there: segments that are missing were used again.
    pub fn new(disk: &D, survey: &'s Survey, after: Option<u64>) -> Scan<'s, D> {
        let mut scan = Scan::everything(disk, survey, after);
        scan.expected = after.map_or(0, |after| after + 1);
        scan
    }

    /// Will read everything that is there. Only behind batch `complete_after` should nothing be missing.
    pub fn everything(disk: &D, survey: &'s Survey, complete_after: Option<u64>) -> Scan<'s, D> {
        let mut bound = u64::MAX;
        let mut bounds: Vec<u64> = survey
            .segments
            .iter()
            .rev()
            .map(|segment| {
                let own = bound;
                bound = bound.min(segment.header.first);
                own
            })
            .collect();
        bounds.reverse();
        Scan {
            disk: disk.clone(),
            lane: survey.lane.unwrap_or_default(),
            segments: &survey.segments,
            bounds,
            complete_from: complete_after.map_or(u64::MAX, |after| after + 1),
            segment: 0,
            reader: None,
            at: 0,
            seen: 0,
            expected: 0,
            time_ms: 0,
            ended: false,
            corrections: CORRECTIONS_MAX,
            synced: 0,
            recent: VecDeque::new(),
            spare: vec![],
        }
    }

    /// The index that a new term goes on from, once everything was read.
    pub fn next_index(&self) -> u64 {
        self.expected.max(1)
    }

    /// The time of the last batch; 0 if there was none.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Where batches lie that were read and that nobody knew as synced.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut all: Vec<Unsynced> = vec![];
        for (_, one) in &self.recent {
            match all.last_mut() {
                Some(last) if last.slot == one.slot => last.end = one.end,
                _ => all.push(*one),
            }
        }
        all
    }

    /// Takes buffers back, to be used again.
    pub fn give(&mut self, buffers: Vec<Vec<u8>>) {
        // Each batch takes one.
        self.spare.extend(buffers.into_iter().take(1));
        self.spare.truncate(2);
    }

    /// The next batch: one submission with the whole payload. One that is damaged is mended as far as it goes: what is
    /// lost is in the report.
    pub fn next(&mut self, report: &mut Report) -> Option<Batch> {
        while !self.ended {
            let (Some(segment), Some(bound)) =
                (self.segments.get(self.segment).copied(), self.bounds.get(self.segment).copied())
            else {
                self.ended = true;
                break;
            };
            if bound <= self.expected.max(segment.header.first) {
                self.leave(report);
                continue;
            }
            if self.reader.is_none() && !self.enter(&segment, report) {
                continue;
            }
            if let Some(batch) = self.step(&segment, report) {
                return Some(batch);
            }
        }
        None
    }

    /// Goes on with the next segment.
    fn leave(&mut self, report: &mut Report) {
        self.close(report);
        self.segment += 1;
    }

    fn end(&mut self, report: &mut Report) {
        self.close(report);
        self.ended = true;
    }

    fn close(&mut self, report: &mut Report) {
        if let (Some(reader), Some(segment)) = (self.reader.take(), self.segments.get(self.segment))
            && reader.has_unreadable()
        {
            report.damage(segment.slot.name(), None, "some of it cannot be read", Lost::NOTHING);
        }
    }

    fn enter(&mut self, segment: &SegmentFile, report: &mut Report) -> bool {
        let (first, name) = (segment.header.first, segment.slot.name());
        if first > self.expected {
            let from = if self.follows_closely(self.segment) { self.expected } else { self.complete_from };
            let place = Place { at: HEADER_BYTES as u64, index: first };
            if !self.pass(from, place, &name, None, report) {
                return false;
            }
        }
        match Reader::open(&self.disk, &name) {
            Ok(reader) => {
                self.reader = Some(reader);
                self.at = HEADER_BYTES as u64;
                self.seen = first.saturating_sub(1);
                true
            }
            Err(error) => {
                // The next segment says what is missing.
                report.damage(name, None, format!("cannot be read: {error}"), Lost::NOTHING);
                self.leave(report);
                false
            }
        }
    }

    /// Whether nothing lay between this segment and the one before.
    fn follows_closely(&self, segment: usize) -> bool {
        let number = |i: usize| self.segments.get(i).map(|one| one.header.number);
        segment.checked_sub(1).and_then(number).is_some_and(|before| number(segment) == Some(before + 1))
    }

    /// Goes on from batch `index`. Those in front of it that should be there, from batch `from` on, are lost.
    fn miss(&mut self, from: u64, index: u64, file: &str, at: Option<u64>, report: &mut Report) {
        let from = from.max(self.expected).max(1);
        if from < index {
            let what = match index - from {
                1 => format!("batch {from} is missing"),
                _ => format!("batches {from} to {} are missing", index - 1),
            };
            report.damage(file, at, what, Lost { batches: index - from, ..Lost::NOTHING });
        }
        self.expected = self.expected.max(index);
    }

    /// Goes on from the batch at this place of the segment, as [`miss`](Scan::miss) does, if all in front of it was
    /// durable once. Else the journal ends with what was: the rest was never finished. Returns whether it goes on.
    fn pass(&mut self, from: u64, next: Place, file: &str, at: Option<u64>, report: &mut Report) -> bool {
        let from = from.max(self.expected).max(1);
        if from < next.index {
            let durable = self.durable_before(next.index, self.segment, next.at);
            if durable + 1 < next.index {
                self.miss(from, durable + 1, file, at, report);
                let what = format!("batch {} was not finished: it does not count", from.max(durable + 1));
                report.note(file, at, what);
                self.end(report);
                return false;
            }
        }
        self.miss(from, next.index, file, at, report);
        true
    }

    fn header(&mut self, at: u64, number: u64, term: u64) -> Option<BatchHeader> {
        let bytes = self.reader.as_mut()?.bytes(at, BATCH_HEADER_BYTES);
        BatchHeader::decode(bytes, &self.lane).filter(|header| header.segment == number && header.term == term)
    }

    /// Looks at what is at the current place of a segment.
    fn step(&mut self, segment: &SegmentFile, report: &mut Report) -> Option<Batch> {
        let found = self.header(self.at, segment.header.number, segment.header.term);
        match found {
            Some(header) if header.index < self.expected && header.index > self.seen => {
                self.seen = header.index;
                self.at += header.batch_bytes();
                None
            }
            Some(header) if header.index == self.expected => {
                let mut payload = self.spare.pop().unwrap_or_default();
                if self.payload(&header, &mut payload) {
                    return Some(self.take(segment, &header, payload));
                }
                self.spare.push(payload);
                self.unsound(segment, Some(header), report)
            }
            _ => self.unsound(segment, None, report),
        }
    }

    /// Reads the payload of the batch at the current place. Returns whether it is sound.
    fn payload(&mut self, header: &BatchHeader, payload: &mut Vec<u8>) -> bool {
        let at = self.at + BATCH_HEADER_BYTES as u64;
        let read = self.reader.as_mut().is_some_and(|reader| reader.read(at, header.len as usize, payload));
        read && crc32c::crc32c(payload) == header.crc
    }

    fn take(&mut self, segment: &SegmentFile, header: &BatchHeader, payload: Vec<u8>) -> Batch {
        self.synced = self.synced.max(header.synced);
        self.recent.push_back((
            header.index,
            Unsynced { slot: segment.slot, at: self.at, end: self.at + header.batch_bytes() },
        ));
        while self.recent.front().is_some_and(|(index, _)| *index <= self.synced) {
            self.recent.pop_front();
        }
        let at = self.at + BATCH_HEADER_BYTES as u64;
        self.at += header.batch_bytes();
        self.seen = header.index;
        self.expected = header.index + 1;
        self.time_ms = self.time_ms.max(header.time_ms);
        let submissions = vec![Submission { from: super::KEEPER, bytes: payload, ..Submission::default() }];
        let (index, term, number) = (header.index, header.term, segment.header.number);
        Batch { index, term, segment: number, slot: segment.slot, at, submissions, time_ms: self.time_ms }
    }

    /// What is at the current place is no sound batch with the expected index. `header` is its header if that is sound.
    fn unsound(&mut self, segment: &SegmentFile, header: Option<BatchHeader>, report: &mut Report) -> Option<Batch> {
        let name = segment.slot.name();
        let corrected = if header.is_none() { self.corrected(segment) } else { None };
        if let Some(header) = corrected {
            let mut payload = vec![];
            if self.payload(&header, &mut payload) {
                let what = "one bit of a batch's header was wrong";
                // A header alone may be the beginning of a write that was interrupted.
                match payload.is_empty() {
                    true => report.note(name, self.at, what),
                    false => report.damage(name, self.at, what, Lost::NOTHING),
                }
                return Some(self.take(segment, &header, payload));
            }
        }
        let sound = header.or(corrected);
        let header = sound.or_else(|| self.recognised(segment));
        let beyond = self.beyond(if header.is_some() { BATCH_ALIGN } else { 0 });
        if let Some(next) = beyond.next.filter(|next| next.index <= self.expected) {
            // What was skipped was not wanted.
            (self.at, self.seen) = (next.at, next.index - 1);
            return None;
        }
        let belongs_here = header.is_some()
            || beyond.next.is_some()
            || self.expected >= self.complete_from
            || beyond.segment.is_some_and(|i| self.follows_closely(i));
        if !belongs_here && beyond.segment.is_some() {
            // The segments between were used again.
            self.leave(report);
            return None;
        }
        if !beyond.was_durable {
            let len = self.reader.as_ref().map_or(0, |reader| reader.file_bytes());
            let was_synced = |header: &BatchHeader| header.synced >= segment.header.first;
            if sound.filter(was_synced).is_some_and(|header| self.at + header.batch_bytes() > len) {
                // With the first sync of a segment, all of its room is durable.
                let what = format!("batch {} is cut off by the end of the file", self.expected);
                report.damage(name, self.at, what, Lost { batches: 1, ..Lost::NOTHING });
            } else if header.is_some() || beyond.next.is_some() || beyond.segment.is_some() {
                let what = format!("batch {} was not finished: it does not count", self.expected);
                report.note(name, self.at, what);
            }
            self.end(report);
            return None;
        }
        let mended = header.and_then(|header| self.mended(segment, &header, sound.is_some(), beyond.next, report));
        if header.is_some() && mended.is_none() {
            self.miss(self.expected, self.expected + 1, &name, Some(self.at), report);
        }
        match beyond.next {
            Some(next) => {
                if self.pass(self.expected, next, &name, Some(self.at), report) {
                    (self.at, self.seen) = (next.at, next.index - 1);
                }
            }
            // The next segment says what is missing between.
            None => self.leave(report),
        }
        mended
    }

    /// The header at the current place, if one bit of it is wrong and it is that of the expected batch.
    fn corrected(&mut self, segment: &SegmentFile) -> Option<BatchHeader> {
        let bytes = self.reader.as_mut()?.bytes(self.at, BATCH_HEADER_BYTES);
        let header = BatchHeader::correct(bytes, &self.lane)?;
        let numbers = (header.segment, header.term, header.index);
        (numbers == (segment.header.number, segment.header.term, self.expected)).then_some(header)
    }

    /// A header that is damaged, but clearly that of the expected batch.
    fn recognised(&mut self, segment: &SegmentFile) -> Option<BatchHeader> {
        let bytes = self.reader.as_mut()?.bytes(self.at, BATCH_HEADER_BYTES);
        let header = BatchHeader::damaged(bytes)?;
        let numbers = (header.segment, header.index);
        (numbers == (segment.header.number, self.expected)).then_some(header)
    }

    /// What is sound in the batch at the current place. `is_sound` says whether the header can be believed, `next`
    /// where the next batch begins in this segment.
    fn mended(
        &mut self,
        segment: &SegmentFile,
        header: &BatchHeader,
        is_sound: bool,
        next: Option<Place>,
        report: &mut Report,
    ) -> Option<Batch> {
        let at = self.at + BATCH_HEADER_BYTES as u64;
        let len = u64::from(header.len);
        let (len, end) = if is_sound {
            (len.min(self.reader.as_ref()?.file_bytes().saturating_sub(at)), End::Exact)
        } else {
            // Without the next batch nobody knows where this one ends, and an earlier use of the file begins.
            let room = next?.at.saturating_sub(at);
            let fits = room.checked_sub(len).is_some_and(|padding| padding < BATCH_ALIGN);
            if fits { (len, End::Exact) } else { (room, End::Padded(BATCH_ALIGN as usize)) }
        };
        let mut payload = vec![];
        if !self.reader.as_mut()?.read(at, usize::try_from(len).ok()?, &mut payload) {
            return None;
        }
        let lost = salvage(&mut payload, end);
        report.damage(segment.slot.name(), self.at, format!("batch {} is damaged", self.expected), lost);
        let (time_ms, synced) = if is_sound { (header.time_ms, header.synced) } else { (0, 0) };
        let header = BatchHeader { index: self.expected, term: segment.header.term, time_ms, synced, ..*header };
        Some(self.take(segment, &header, payload))
    }
}

#[cfg(test)]
mod tests;
