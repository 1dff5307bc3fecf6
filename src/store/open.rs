//! Opening a data directory: the newest good checkpoint, and the batches behind it.
//!
//! Nothing that is damaged keeps a directory from being opened: it is reported, and the rest is served.

use std::fmt::{self, Display, Formatter};
use std::io::{Error, ErrorKind};

pub use super::report::Report;

use super::disk::Disk;
use super::journal::{Journal, Start, Unsynced};
use super::keeper::checkpoint::{self, Header, NAMES, NoCheckpoint};
use super::keeper::state::State;
use super::keeper::upkeep::Checkpoints;
use super::keeper::{Keeper, Settings, rescue};
use super::record::{Named, Note};
use super::report::Lost;
use super::scan::Scan;
use super::segment::{FileSlot, LaneId};
use super::survey::{Survey, SurveyError, survey};
use super::{Position, QueueId};
use crate::limits::Limits;

/// A directory that is open.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// Writes it.
    pub journal: Journal<D>,
    /// Reads it.
    pub keeper: Keeper<D>,
    /// What is in it.
    pub contents: Contents,
    /// What was found wrong.
    pub report: Report,
}

/// What is in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The term that begins: one more than any before.
    pub term: u64,
    /// It was stopped in order: what is redelivered is known to the message. Else everything may have been delivered.
    pub clean: bool,
    /// The time of the last batch, in milliseconds.
    pub time_ms: u64,
    /// What is defined, by id.
    pub definitions: Vec<(QueueId, Vec<u8>)>,
    /// Source, destination, and what tells a binding from others between the two.
    pub bindings: Vec<(QueueId, QueueId, Vec<u8>)>,
    /// The queues and classes of queues that have had messages, by id.
    pub queues: Vec<QueueRow>,
    /// What queues and exchanges have seen, by id, the oldest first, without what was past at the time of the last
    /// batch. The same may be there twice: the later one counts.
    pub notes: Vec<(QueueId, Vec<Note>)>,
    /// What messages go by, where a queue takes no second one of a name: by queue or class, and position.
    pub names: Vec<Named>,
}

/// Ids of a term begin at a multiple of this: each term has room for four milliards of them, and below the classes
/// there is room for 16 million terms.
const TERM_IDS: u64 = 1 << 32;

impl Contents {
    /// Ids above this one were never used, whatever the terms before have used up.
    pub fn ids_from(&self) -> u64 {
        let highest = self.definitions.last().map_or(0, |(id, _)| id.base().0);
        highest.max(self.term.saturating_mul(TERM_IDS))
    }
}

/// A queue, or a class of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRow {
    /// Which.
    pub id: QueueId,
    /// The position of the first message in it; the end, if there is none.
    pub first: Position,
    /// The position of the next message to come.
    pub end: Position,
    /// How many messages are in it.
    pub ready: u64,
    /// Their bytes in the journal, about: with their parts of records, and a message in n queues counts 1/n.
    pub bytes: u64,
}

/// Why a directory was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// It cannot be listed or written.
    Disk(Error),
    /// A later version of this program wrote this.
    Later {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
}

impl Display for OpenError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Disk(error) => write!(out, "cannot use the data directory: {error}"),
            OpenError::Later { file, version } => {
                write!(out, "{file} has format version {version}, of a later version of this program")
            }
        }
    }
}

impl From<SurveyError> for OpenError {
    fn from(error: SurveyError) -> OpenError {
        match error {
            SurveyError::Disk(error) => OpenError::Disk(error),
            SurveyError::Later { file, version } => OpenError::Later { file, version },
        }
    }
}

/// What was found of the two checkpoints.
#[derive(Default)]
struct Found {
    good: [Option<Header>; 2],
    /// Of the newest good one.
    state: Option<State>,
    /// Those that are there and not good, and why.
    bad: Vec<(&'static str, String)>,
}

fn read_checkpoints<D: Disk>(disk: &D) -> Result<Found, OpenError> {
    let mut found = Found::default();
    let mut states: Vec<(usize, Header, Vec<u8>)> = Vec::new();
    for (place, name) in NAMES.iter().enumerate() {
        match checkpoint::read(disk, name) {
            Ok((header, state)) => states.push((place, header, state)),
            Err(NoCheckpoint::Absent) => {}
            Err(NoCheckpoint::Bad) => found.bad.push((name, "was not finished, or is damaged".into())),
            Err(NoCheckpoint::Disk(error)) => {
                if error.kind() == ErrorKind::IsADirectory {
                    // It would be in the way of the next checkpoint.
                    let _ = disk.rename(name, &format!("damaged-{name}"));
                }
                found.bad.push((name, format!("cannot be read: {error}")));
            }
            Err(NoCheckpoint::Later(version)) => return Err(OpenError::Later { file: name.to_string(), version }),
        }
    }
    states.sort_by_key(|(_, header, _)| std::cmp::Reverse(header.generation));
    for (place, header, bytes) in states {
        let name = NAMES.get(place).copied().unwrap_or_default();
        match &found.state {
            Some(newer) if newer.lane != header.lane => {
                found.bad.push((name, "belongs to another data directory".into()));
            }
            Some(_) => found.good[place] = Some(header),
            None => match State::load(header.lane, &bytes) {
                Some(state) => {
                    found.good[place] = Some(header);
                    found.state = Some(state);
                }
                None => found.bad.push((name, "makes no sense".into())),
            },
        }
    }
    Ok(found)
}

/// Opens a directory. `fresh_lane` is the lane's id if there is none yet. `now_ms` is the time, as for
/// [`step`](Keeper::step).
///
/// # Errors
///
/// If the directory cannot be listed or written, or was written by a later version.
pub fn open<D: Disk>(disk: D, limits: &Limits, fresh_lane: LaneId, now_ms: u64) -> Result<Opened<D>, OpenError> {
    let mut report = Report::default();
    let Loaded { mut good, mut state, files, number_max, next_index, unsynced, .. } =
        load(&disk, fresh_lane, &mut report)?;
    // The older one was durable before this one was begun.
    let newest = NAMES.iter().zip(&mut good).max_by_key(|(_, header)| header.map_or(0, |header| header.generation));
    let mut generation = 0;
    if let Some((name, place)) = newest
        && let Some(header) = *place
    {
        generation = header.generation;
        if let Err(error) = checkpoint::make_durable(&disk, name, &header) {
            report.note(*name, None, format!("cannot be made durable: {error}; the next one takes its place"));
            *place = None;
        }
    }
    let mut free = set_aside(&disk, &files);
    for segment in &mut state.segments.all {
        segment.seal();
    }
    let in_use = |slot: FileSlot| state.segments.all.iter().any(|segment| segment.slot == slot);
    free.extend(files.segments.iter().map(|segment| segment.slot).filter(|slot| !in_use(*slot)));
    let term = state.term.max(files.term_max()) + 1;
    // A segment of which nothing is left may be what followed the orderly stop.
    state.clean &= files.useless.is_empty();
    let clean = state.restart(term);
    let next_index = next_index.max(state.index + 1);
    let settings = Settings::new(limits, disk.total_bytes().map_err(OpenError::Disk)?);
    let journal = Journal::start(Start {
        disk: disk.clone(),
        lane: state.lane,
        term,
        next_index,
        next_number: number_max + 1,
        time_ms: state.time_ms,
        segment_bytes: settings.segment_bytes,
        reserve: limits.segments_reserve,
        spares_max: limits.segments_spare_max,
        free,
        taken: files.slots().collect(),
        unsynced,
    })
    .map_err(OpenError::Disk)?;
    let contents = contents(&state, term, clean);
    let good = good.map(|good| good.map(|header| (header.generation, header.index)));
    let checkpoints = Checkpoints::new(generation, good, now_ms);
    let keeper = Keeper::new(disk, state, settings, checkpoints);
    Ok(Opened { journal, keeper, contents, report })
}

/// What is in a directory, as far as it can be read. Nothing was changed there.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The headers of the checkpoints that are good.
    pub good: [Option<Header>; 2],
    /// Everything behind this batch should be there.
    pub complete_after: Option<u64>,
    /// What the newest checkpoint and all batches behind it come to.
    pub state: State,
    /// The segments.
    pub files: Survey,
    /// The highest number that any segment has or had, as far as anything tells.
    pub number_max: u64,
    /// The index that a new term goes on from.
    pub next_index: u64,
    /// Files from which batches came.
    pub unsynced: Vec<Unsynced>,
}

/// Reads a directory.
pub(super) fn load<D: Disk>(disk: &D, fresh_lane: LaneId, report: &mut Report) -> Result<Loaded, OpenError> {
    let Found { good, state, bad } = read_checkpoints(disk)?;
    let files = survey(disk, state.as_ref().map(|state| state.lane), report)?;
    // A write that was interrupted looks like damage. It takes the older one, or the first.
    let mut expected = state.is_some();
    // Also that of one that is gone: the checkpoint may be read again, and is not to take another segment for it.
    let known = state.as_ref().and_then(|state| state.segments.all.back()).map_or(0, |segment| segment.number);
    let number_max = known.max(files.number_max());
    let (state, next_index, unsynced, complete_after) = match state {
        Some(mut state) => {
            forgive_free(&state, &files, report);
            find_segments(&mut state, &files, report);
            let after = Some(state.index);
            let mut scan = Scan::new(disk, &files, after);
            replay(&mut state, &mut scan, report);
            let read = (scan.next_index(), scan.unsynced());
            (state, read.0, read.1, after)
        }
        None => {
            let mut state = State::new(files.lane.unwrap_or(fresh_lane));
            // Before there are two checkpoints, no segment is used again: then all batches are there.
            let mut all = Report::default();
            let mut scan = Scan::new(disk, &files, Some(0));
            // Those with lower numbers may be void.
            let first = files.segments.iter().map(|segment| segment.header.first).min();
            let from_first = first.is_none_or(|first| first <= 1);
            expected = bad.len() < NAMES.len() && from_first;
            if expected {
                replay(&mut state, &mut scan, &mut all);
                expected = all.lost.batches == 0;
            }
            if expected {
                report.append(all);
                (state, scan.next_index(), scan.unsynced(), Some(0))
            } else {
                let what = "there is no good checkpoint: everything is read from the segments that are left";
                report.damage("data directory", None, what, Lost::NOTHING);
                state = State::new(state.lane);
                let (next, read) = rescue::everything(disk, &files, &mut state, report);
                (state, next, read, None)
            }
        }
    };
    for (name, what) in bad {
        match expected {
            true => report.note(name, None, format!("{what}; it is not needed")),
            false => report.damage(name, None, what, Lost::NOTHING),
        }
    }
    Ok(Loaded { good, complete_after, state, files, number_max, next_index, unsynced })
}

/// Applies the batches behind a checkpoint.
fn replay<D: Disk>(state: &mut State, scan: &mut Scan<'_, D>, report: &mut Report) {
    let mut scratch = Vec::new();
    while let Some(batch) = scan.next(report) {
        if state.begin(&batch) {
            let mut at = batch.at;
            for submission in &batch.submissions {
                state.apply(&submission.bytes, batch.segment, at, &mut scratch);
                at += submission.bytes.len() as u64;
            }
        }
        scan.give(batch.submissions.into_iter().map(|submission| submission.bytes).collect());
    }
}

/// A segment in which nothing lives is free: its header may be bad because it was about to be written anew.
fn forgive_free(state: &State, files: &Survey, report: &mut Report) {
    let newest = state.segments.all.back().map_or(0, |segment| segment.number);
    for file in files.segments.iter().filter(|file| !file.sound && file.header.number < newest) {
        if state.segments.find(file.header.number).is_none_or(|segment| segment.live == 0) {
            let name = file.slot.name();
            report.retain(|finding| finding.file != name);
            report.note(name, 0, "bad header; nothing lives in it");
        }
    }
}

/// Looks for the segments that the state knows. What lived in those that are gone is lost.
fn find_segments(state: &mut State, files: &Survey, report: &mut Report) {
    let mut missing = Vec::new();
    for segment in &mut state.segments.all {
        match files.segments.binary_search_by_key(&segment.number, |file| file.header.number) {
            Ok(at) => segment.slot = files.segments.get(at).map_or(segment.slot, |file| file.slot),
            // It was dead, and is used again.
            Err(_) if segment.live == 0 => missing.push(segment.number),
            Err(_) => {
                let lost = Lost { messages: segment.live, ..Lost::NOTHING };
                report.damage(segment.slot.name(), None, format!("segment {} is gone", segment.number), lost);
                missing.push(segment.number);
            }
        }
    }
    state.lose_segments(&missing);
}

/// Gives files of which nothing can be made another name, and returns the blank ones.
fn set_aside<D: Disk>(disk: &D, files: &Survey) -> Vec<FileSlot> {
    for slot in &files.useless {
        let name = format!("damaged-{}-{}", files.number_max(), slot.name());
        // One that cannot be renamed stays: its number is taken.
        let _ = disk.rename(&slot.name(), &name);
    }
    files.blank.clone()
}

fn contents(state: &State, term: u64, clean: bool) -> Contents {
    let mut queues: Vec<QueueRow> = state
        .rows
        .iter()
        .map(|(id, row)| QueueRow {
            id: *id,
            first: row.first(),
            end: row.end,
            ready: row.live,
            bytes: row.live_bytes(),
        })
        .collect();
    queues.sort_unstable_by_key(|row| row.id);
    let notes = state.seen.iter().map(|(id, notes)| (id, notes.iter().copied().collect()));
    Contents {
        term,
        clean,
        time_ms: state.time_ms,
        definitions: state.definitions.iter().map(|(id, bytes)| (*id, bytes.to_vec())).collect(),
        bindings: state.bindings.iter().map(|(from, to, bytes)| (*from, *to, bytes.to_vec())).collect(),
        queues,
        notes: notes.collect(),
        names: state.names.alive(&state.rows).collect(),
    }
}
