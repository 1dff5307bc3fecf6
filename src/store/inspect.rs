//! Looking at a data directory: what is in it, and whether all of it is sound. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::disk::Disk;
use super::keeper::checkpoint::NAMES;
use super::keeper::files::Files;
use super::keeper::index::{self, Unread};
use super::keeper::runs::Segment;
use super::open::{Loaded, OpenError, load};
use super::record::{COPY, Record, TRANSIENT, records};
use super::report::{Lost, Report};
use super::scan::Scan;
use super::segment::{FileSlot, LaneId, VERSION};

/// How many records there are, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordCounts {
    /// MESSAGES.
    pub messages: u64,
    /// The messages in them.
    pub bodies: u64,
    /// The places of these messages in queues.
    pub entries: u64,
    /// Those of the bodies that do not survive a start.
    pub transient: u64,
    /// Those of the bodies that ageing has written again.
    pub copies: u64,
    /// SETTLED.
    pub settled: u64,
    /// RETURNED.
    pub returned: u64,
    /// COUNTED.
    pub counted: u64,
    /// PURGED.
    pub purged: u64,
    /// DEFINED and UNDEFINED.
    pub definitions: u64,
    /// BOUND and UNBOUND.
    pub bindings: u64,
    /// NOTED and NAMED.
    pub notes: u64,
    /// CLEAN.
    pub clean: u64,
    /// PART and COMMITTED.
    pub transactions: u64,
}

impl RecordCounts {
    fn count(&mut self, bytes: &[u8]) {
        for (_, record) in records(bytes) {
            match record {
                Ok(Record::Messages(messages)) => {
                    let count = u64::from(messages.count);
                    self.messages += 1;
                    self.bodies += count;
                    self.entries += count * messages.places().len() as u64;
                    self.transient += if messages.flags & TRANSIENT != 0 { count } else { 0 };
                    self.copies += if messages.flags & COPY != 0 { count } else { 0 };
                }
                Ok(Record::Settled(_)) => self.settled += 1,
                Ok(Record::Returned(_)) => self.returned += 1,
                Ok(Record::Counted(_)) => self.counted += 1,
                Ok(Record::Purged { .. }) => self.purged += 1,
                Ok(Record::Defined { .. } | Record::Undefined { .. } | Record::Inventory { .. }) => {
                    self.definitions += 1
                }
                Ok(Record::Bound(_) | Record::Unbound(_)) => self.bindings += 1,
                Ok(Record::Noted(_) | Record::Named(_)) => self.notes += 1,
                Ok(Record::Clean) => self.clean += 1,
                Ok(Record::Part { .. } | Record::Committed { .. }) => self.transactions += 1,
                // Scanning has mended or replaced it, and said so.
                Err(_) => {}
            }
        }
    }
}

impl Display for RecordCounts {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} messages ({} bodies, {} entries", self.messages, self.bodies, self.entries)?;
        write!(out, ", {} transient, {} copies)", self.transient, self.copies)?;
        write!(out, ", {} settled, {} returned, {} counted", self.settled, self.returned, self.counted)?;
        write!(out, ", {} purged", self.purged)?;
        write!(out, ", {} definitions, {} bindings, {} clean", self.definitions, self.bindings, self.clean)?;
        write!(out, ", {} of notes", self.notes)?;
        write!(out, ", {} of transactions", self.transactions)
    }
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentView {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub slot: FileSlot,
    /// Its term.
    pub term: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The first and the last batch that count, if there is one.
    pub batches: Option<(u64, u64)>,
    /// Bytes of the batches' payloads.
    pub payload_bytes: u64,
    /// The records in them.
    pub records: RecordCounts,
    /// Messages that are alive, once for each queue.
    pub live: u64,
    /// Slots and runs in its index, if it has one and that is sound.
    pub index: Option<(u64, u64)>,
}

/// What is in a data directory.
#[derive(Debug)]
pub struct Inspection {
    /// The lane; `None` if the directory is empty.
    pub lane: Option<LaneId>,
    /// The term of the last batch.
    pub term: u64,
    /// It was stopped in order, and nothing was written since.
    pub clean: bool,
    /// Of each checkpoint the generation, the last batch and the bytes, if it is good.
    pub checkpoints: [Option<(u64, u64, u64)>; 2],
    /// The segments that are in use, by number.
    pub segments: Vec<SegmentView>,
    /// Files that may be used again.
    pub free: Vec<FileSlot>,
    /// Segments of another data directory.
    pub foreign: Vec<FileSlot>,
    /// Other files that belong to nothing: set aside earlier, or of somebody else.
    pub others: Vec<String>,
    /// What is defined.
    pub definitions: usize,
    /// What is bound.
    pub bindings: usize,
    /// What queues and exchanges have seen.
    pub notes: usize,
    /// Queues, and classes of queues, that have messages.
    pub queues: usize,
    /// Messages in all queues.
    pub messages: u64,
    /// Numbers of the segments that are in use, in which something is damaged.
    pub damaged: BTreeSet<u64>,
    /// What was found wrong.
    pub report: Report,
}

/// Reads everything in a directory, and checks all of it.
///
/// # Errors
///
/// If the directory cannot be listed, or was written by a later version.
pub fn inspect<D: Disk>(disk: &D) -> Result<Inspection, OpenError> {
    let mut report = Report::default();
    let Loaded { good, complete_after, state, files, .. } = load(disk, LaneId::default(), &mut report)?;
    let mut views: BTreeMap<u64, SegmentView> = BTreeMap::new();
    let mut open_files = Files::to_read(disk.clone());
    for file in &files.segments {
        let number = file.header.number;
        let Some(segment) = state.segments.find(number).filter(|segment| segment.slot == file.slot) else { continue };
        let index = check_index(&mut open_files, segment, &mut report);
        let (slot, term, file_bytes) = (file.slot, file.header.term, file.len);
        let (records, live) = (RecordCounts::default(), segment.live);
        let view =
            SegmentView { number, slot, term, file_bytes, batches: None, payload_bytes: 0, records, live, index };
        views.insert(number, view);
    }
    let mut scan = Scan::everything(disk, &files, complete_after);
    let mut damaged = BTreeSet::new();
    loop {
        let mut seen = Report::default();
        let batch = scan.next(&mut seen);
        // Nobody needs what is wrong with a file that is free; and what lies behind the checkpoint was read before.
        seen.retain(|finding| {
            let view = views.values().find(|view| view.slot.name() == finding.file);
            damaged.extend(view.filter(|_| !finding.expected).map(|view| view.number));
            view.is_some() && !report.findings.contains(finding)
        });
        report.append(seen);
        let Some(batch) = batch else { break };
        let buffers: Vec<Vec<u8>> = batch.submissions.into_iter().map(|submission| submission.bytes).collect();
        if let Some(view) = views.get_mut(&batch.segment) {
            view.batches = Some((view.batches.map_or(batch.index, |(first, _)| first), batch.index));
            view.payload_bytes += buffers.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
            buffers.iter().for_each(|bytes| view.records.count(bytes));
        }
        scan.give(buffers);
    }
    // Headers, indexes, files that could not be read.
    let named = |view: &&SegmentView| {
        let name = view.slot.name();
        report.findings.iter().any(|finding| !finding.expected && finding.file == name)
    };
    damaged.extend(views.values().filter(named).map(|view| view.number));
    let in_use = |slot: &FileSlot| views.values().any(|view| view.slot == *slot);
    let free = files.segments.iter().map(|file| file.slot).chain(files.blank.iter().copied());
    let others = disk
        .list()
        .map_err(OpenError::Disk)?
        .into_iter()
        .filter(|name| FileSlot::from_name(name).is_none() && !NAMES.contains(&name.as_str()) && name != "lock");
    let mut others: Vec<String> = others.collect();
    others.sort();
    let empty = good == [None, None] && files.slots().next().is_none();
    Ok(Inspection {
        lane: Some(state.lane).filter(|_| !empty),
        term: state.term.max(files.term_max()),
        clean: state.clean && files.term_max() <= state.term,
        checkpoints: good.map(|good| good.map(|header| (header.generation, header.index, header.len))),
        free: free.filter(|slot| !in_use(slot)).collect(),
        segments: views.into_values().collect(),
        foreign: files.foreign,
        others,
        definitions: state.definitions.len(),
        bindings: state.bindings.len(),
        notes: state.seen.len(),
        queues: state.rows.values().filter(|row| row.live > 0).count(),
        messages: state.rows.values().map(|row| row.live).sum(),
        damaged,
        report,
    })
}

fn check_index<D: Disk>(files: &mut Files<D>, segment: &Segment, report: &mut Report) -> Option<(u64, u64)> {
    let place = segment.index?;
    match index::check(files, segment) {
        Ok(counts) => Some(counts),
        Err(error) => {
            let what = match error {
                Unread::Bad => "its index is damaged".to_owned(),
                Unread::Disk(error) => format!("its index cannot be read: {error}"),
            };
            report.damage(segment.slot.name(), place.at, what, Lost::NOTHING);
            None
        }
    }
}

fn names(out: &mut Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    if names.is_empty() { Ok(()) } else { writeln!(out, "{what}: {}", names.join(", ")) }
}

impl Display for Inspection {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Some(lane) = self.lane else {
            writeln!(out, "There is no store in this directory.")?;
            return names(out, "other files", &self.others);
        };
        write!(out, "lane: ")?;
        lane.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        let stopped = if self.clean { "stopped in order" } else { "running, or not stopped in order" };
        writeln!(out, "\nformat: {VERSION}\nterm: {} ({stopped})", self.term)?;
        for (name, checkpoint) in NAMES.iter().zip(&self.checkpoints) {
            match checkpoint {
                Some((generation, index, len)) => {
                    writeln!(out, "{name}: generation {generation}, batches up to {index}, {len} bytes")?;
                }
                None => writeln!(out, "{name}: none")?,
            }
        }
        for view in &self.segments {
            write!(out, "{}: segment {}, term {}", view.slot.name(), view.number, view.term)?;
            match view.batches {
                Some((first, last)) => write!(out, ", batches {first} to {last}")?,
                None => write!(out, ", no batches")?,
            }
            write!(out, ", {} of {} bytes, {} messages alive", view.payload_bytes, view.file_bytes, view.live)?;
            if let Some((slots, runs)) = view.index {
                write!(out, ", index of {slots} slots and {runs} runs")?;
            }
            writeln!(out, "\n  records: {}", view.records)?;
        }
        let free: Vec<String> = self.free.iter().map(|slot| slot.name()).collect();
        names(out, "free", &free)?;
        names(out, "other files", &self.others)?;
        writeln!(out, "definitions: {}, bindings: {}, notes: {}", self.definitions, self.bindings, self.notes)?;
        writeln!(out, "messages: {} in {} queues", self.messages, self.queues)?;
        write!(out, "{}", self.report)?;
        match self.report.damages {
            0 => writeln!(out, "Every checksum is right."),
            1 => writeln!(out, "1 damage."),
            count => writeln!(out, "{count} damages."),
        }
    }
}
