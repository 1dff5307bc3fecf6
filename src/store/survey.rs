//! Which segments a directory has.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::{Error, Result};

use super::batch::{BATCH_ALIGN, BATCH_HEADER_BYTES, BatchHeader};
use super::disk::Disk;
use super::reader::Reader;
use super::report::{Lost, Report};
use super::segment::{FileSlot, HEADER_BYTES, HEADER_NUMBERS_END, LaneId, NoHeader, SegmentHeader};

const A_FILE: Lost = Lost { files: 1, ..Lost::NOTHING };

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its file.
    pub slot: FileSlot,
    /// Its header.
    pub header: SegmentHeader,
    /// Bytes in the file.
    pub len: u64,
    /// Whether the header is as it was written. Else it is what the batches behind it say.
    pub sound: bool,
}

/// All files for segments in a directory.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// The lane that the segments belong to; `None` if there are none.
    pub lane: Option<LaneId>,
    /// The segments, by number.
    pub segments: Vec<SegmentFile>,
    /// Files that were not used yet.
    pub blank: Vec<FileSlot>,
    /// Files of another lane. Not to be used, nor removed.
    pub foreign: Vec<FileSlot>,
    /// Files that cannot be read, are a second copy of a segment, or have neither a header nor a batch.
    pub useless: Vec<FileSlot>,
}

/// Why a directory is not to be used.
#[derive(Debug)]
pub enum SurveyError {
    /// It cannot be listed.
    Disk(Error),
    /// A later version of this program wrote this.
    Later {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

impl Display for SurveyError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SurveyError::Disk(error) => write!(out, "cannot list the data directory: {error}"),
            SurveyError::Later { file, version } => {
                write!(out, "{file} has format version {version}, of a later version of this program")
            }
        }
    }
}

impl Survey {
    /// All files for segments that there are.
    pub fn slots(&self) -> impl Iterator<Item = FileSlot> + '_ {
        let others = self.blank.iter().chain(&self.foreign).chain(&self.useless);
        self.segments.iter().map(|segment| segment.slot).chain(others.copied())
    }

    /// The highest number that any segment has; 0 if there is none.
    pub fn number_max(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.header.number)
    }

    /// The highest term; 0 if there is no segment.
    pub fn term_max(&self) -> u64 {
        self.segments.iter().map(|segment| segment.header.term).max().unwrap_or(0)
    }
}

/// What the first block of a file was.
struct Seen {
    slot: FileSlot,
    len: u64,
    header: std::result::Result<SegmentHeader, NoHeader>,
    block: Vec<u8>,
}

/// Looks at the header of every segment. `lane` is that of the newest checkpoint; if there is none, the lane of most
/// segments counts. What is damaged goes into the report and is left where it is.
///
/// # Errors
///
/// When the directory cannot be listed, or a segment is of a later version.
pub fn survey<D: Disk>(
    disk: &D,
    lane: Option<LaneId>,
    report: &mut Report,
) -> std::result::Result<Survey, SurveyError> {
    let mut slots: Vec<_> =
        disk.list().map_err(SurveyError::Disk)?.iter().filter_map(|name| FileSlot::from_name(name)).collect();
    slots.sort();
    let mut found = Survey::default();
    let mut seen = vec![];
    for slot in slots {
        match look(disk, slot) {
            Ok(one) => seen.push(one),
            Err(error) => {
                report.damage(slot.name(), None, format!("cannot be read: {error}"), A_FILE);
                found.useless.push(slot);
            }
        }
    }
    for one in &seen {
        if let Err(NoHeader::Later(version)) = one.header {
            return Err(SurveyError::Later { file: one.slot.name(), version });
        }
    }
    found.lane = lane.or_else(|| most(&seen)).or_else(|| seen.iter().find_map(|one| lane_by_batch(disk, one)));
    let Some(lane) = found.lane else {
        for one in seen {
            // The first of all may have been interrupted, too: then the lane is what it says.
            let lane = one.block.get(16..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
            found.put_unused(disk, &one, &lane, report);
        }
        return Ok(found);
    };
    for one in seen {
        match one.header {
            Ok(header) if header.lane == lane => {
                found.segments.push(SegmentFile { slot: one.slot, header, len: one.len, sound: true });
            }
            Ok(_) => {
                report.damage(one.slot.name(), None, "belongs to another data directory", Lost::NOTHING);
                found.foreign.push(one.slot);
            }
            Err(_) => match rebuilt(disk, &one, &lane) {
                Some((header, was_synced)) => {
                    let what = "bad header; its batches tell what it was";
                    match one.header {
                        // The first writes to a file, of which some came to the disk before the power went.
                        Err(NoHeader::Blank) if !was_synced => report.note(one.slot.name(), 0, what),
                        _ => report.damage(one.slot.name(), 0, what, Lost::NOTHING),
                    }
                    found.segments.push(SegmentFile { slot: one.slot, header, len: one.len, sound: false });
                }
                None => found.put_unused(disk, &one, &lane, report),
            },
        }
    }
    found.segments.sort_by_key(|segment| (segment.header.number, segment.slot));
    found.drop_copies(disk, report);
    Ok(found)
}

fn look<D: Disk>(disk: &D, slot: FileSlot) -> Result<Seen> {
    let mut reader = Reader::open(disk, &slot.name())?;
    let block = reader.bytes(0, HEADER_BYTES).to_vec();
    let header = match SegmentHeader::decode(&block) {
        // What cannot be read looks blank, and is not to be used again as if it were.
        Err(NoHeader::Blank) if reader.has_unreadable() => Err(NoHeader::Damaged),
        header => header,
    };
    Ok(Seen { slot, len: reader.file_bytes(), header, block })
}

/// The lane of most of them; of equally many, that of the newest segment.
fn most(seen: &[Seen]) -> Option<LaneId> {
    let mut counts: BTreeMap<LaneId, (usize, u64)> = BTreeMap::new();
    for header in seen.iter().filter_map(|one| one.header.ok()) {
        let (count, number) = counts.entry(header.lane).or_default();
        (*count, *number) = (*count + 1, header.number.max(*number));
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(lane, _)| lane)
}

/// The lane in a damaged header, if the first batch says that it is right.
fn lane_by_batch<D: Disk>(disk: &D, one: &Seen) -> Option<LaneId> {
    let lane: LaneId = *one.block.get(16..)?.first_chunk()?;
    let mut reader = Reader::open(disk, &one.slot.name()).ok()?;
    BatchHeader::decode(reader.bytes(HEADER_BYTES as u64, BATCH_HEADER_BYTES), &lane).map(|_| lane)
}

/// What the header must have been, by the batches in the file. A file without a header may have been used before: what
/// counts are the batches of the highest number. Also returns whether one of them knew that another one in this file
/// was synced, and the header with it.
fn rebuilt<D: Disk>(disk: &D, one: &Seen, lane: &LaneId) -> Option<(SegmentHeader, bool)> {
    let mut reader = Reader::open(disk, &one.slot.name()).ok()?;
    let mut found: Option<SegmentHeader> = None;
    let mut was_synced = false;
    let mut at = HEADER_BYTES as u64;
    while at < reader.file_bytes() {
        let batch = BatchHeader::decode(reader.bytes(at, BATCH_HEADER_BYTES), lane);
        if let Some(batch) = batch
            && found.is_none_or(|found| found.number < batch.segment)
        {
            let (number, term, first) = (batch.segment, batch.term, batch.index);
            found = Some(SegmentHeader { lane: *lane, number, term, first });
            was_synced = false;
        }
        let here = |found: SegmentHeader| {
            batch.is_some_and(|batch| batch.segment == found.number && batch.synced >= found.first)
        };
        was_synced |= found.is_some_and(here);
        // In front of a batch lies what is not one, or the batch of an earlier use that this one does not reach.
        at += batch.map_or(BATCH_ALIGN, |batch| batch.batch_bytes().max(BATCH_ALIGN));
        if found.is_none() && one.header == Err(NoHeader::Blank) {
            // The usual case: a file that was made and not used yet.
            break;
        }
    }
    found.map(|found| (found, was_synced))
}

/// Whether a file has the beginning of a header in it and nothing else: the first write to it was interrupted.
fn was_begun<D: Disk>(disk: &D, one: &Seen, lane: &LaneId) -> bool {
    let end = one.block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // Its checksum is not as it will be, and the numbers are anything.
    let known = SegmentHeader { lane: *lane, number: 0, term: 0, first: 0 }.encode();
    let is_known = |at: &usize| !(12..16).contains(at) && *at < 32;
    let begins = (0..end).filter(is_known).all(|at| one.block.get(at) == known.get(at));
    // Room is there before the header is: a file that is shorter was cut.
    if one.len < HEADER_BYTES as u64 || end == 0 || end > HEADER_NUMBERS_END || !begins {
        return false;
    }
    let Ok(mut reader) = Reader::open(disk, &one.slot.name()) else { return false };
    let places = (HEADER_BYTES as u64..one.len).step_by(HEADER_BYTES);
    places.into_iter().all(|at| reader.bytes(at, HEADER_BYTES).iter().all(|byte| *byte == 0))
        && !reader.has_unreadable()
}

impl Survey {
    /// A file without a batch.
    fn put_unused<D: Disk>(&mut self, disk: &D, one: &Seen, lane: &LaneId, report: &mut Report) {
        if one.header == Err(NoHeader::Blank) {
            self.blank.push(one.slot);
        } else if was_begun(disk, one, lane) {
            report.note(one.slot.name(), 0, "a header that was not finished, and nothing behind it");
            self.blank.push(one.slot);
        } else {
            report.damage(one.slot.name(), None, "nothing in it is sound", A_FILE);
            self.useless.push(one.slot);
        }
    }

    /// Of segments that have the same number keeps the one with more in it.
    fn drop_copies<D: Disk>(&mut self, disk: &D, report: &mut Report) {
        let mut kept: Vec<SegmentFile> = vec![];
        for segment in std::mem::take(&mut self.segments) {
            let Some(last) = kept.last_mut().filter(|last| last.header.number == segment.header.number) else {
                kept.push(segment);
                continue;
            };
            let mut other = segment;
            if last_index(disk, &other) > last_index(disk, last) {
                std::mem::swap(last, &mut other);
            }
            report.damage(other.slot.name(), None, format!("a second {}", last.slot.name()), Lost::NOTHING);
            self.useless.push(other.slot);
        }
        self.segments = kept;
    }
}

/// The index of the last batch in a row from the front; 0 if there is none.
fn last_index<D: Disk>(disk: &D, segment: &SegmentFile) -> u64 {
    let Ok(mut reader) = Reader::open(disk, &segment.slot.name()) else {
        return 0;
    };
    let (mut at, mut index) = (HEADER_BYTES as u64, 0);
    while let Some(batch) = BatchHeader::decode(reader.bytes(at, BATCH_HEADER_BYTES), &segment.header.lane)
        && batch.segment == segment.header.number
    {
        index = batch.index;
        at += batch.batch_bytes();
    }
    index
}

#[cfg(test)]
mod tests;
