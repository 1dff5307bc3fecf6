//! What the keeper does between batches: indexes of sealed segments, and checkpoints.

use std::io::{Error, Result};

use super::Keeper;
use super::checkpoint::{self, CHUNK_BYTES, Header, NAMES};
use super::index::{self, Built};
use super::runs::Segment;
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::report::Lost;

/// Bytes written in one step.
pub const STEP_BYTES: usize = 1 << 20;
/// After a failure it is tried again so much later.
const RETRY_MS: u64 = 3_000;
/// A segment that cannot be read is tried so often. Then it is left alone until more of it is dead.
const ATTEMPTS: u32 = 5;
/// A checkpoint that would free something is cut so long after the last one.
const FREEING_MS: u64 = 1_000;
/// Slots of sealed segments that may stay in memory before they go to an index: 24 bytes each.
const SLOTS_MAX: usize = 256 << 10;
/// And so many milliseconds per MiB of state, so that many queues do not make the disk busy.
const FREEING_MS_PER_MIB: u64 = 200;

/// What a step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    More,
    /// There is nothing to do now.
    Idle {
        /// But then, in milliseconds, if nothing happens before.
        again_at_ms: Option<u64>,
    },
}

/// The two checkpoints, and the one that is being written.
#[derive(Debug)]
pub struct Checkpoints<F> {
    /// The generation of the newest.
    generation: u64,
    /// Up to which batch each goes, if it is good.
    good: [Option<u64>; 2],
    /// The one to be written next.
    next: usize,
    writing: Option<Writing<F>>,
    /// Bytes of journal since the last cut.
    bytes: u64,
    /// Bytes of the state at the last cut.
    len: u64,
    /// The last batch at the last cut.
    cut_index: u64,
    cut_ms: u64,
    retry_at_ms: u64,
    /// Completed since the start.
    pub(super) done: u64,
}

#[derive(Debug)]
struct Writing<F> {
    file: F,
    header: Header,
    state: Vec<u8>,
    /// Chunks that were written.
    chunks: usize,
}

impl<F> Checkpoints<F> {
    /// After a start: the generation of the newest checkpoint, generation and last batch of each that is good, and the
    /// time.
    pub fn new(newest: u64, found: [Option<(u64, u64)>; 2], now_ms: u64) -> Checkpoints<F> {
        let generation = |at: usize| found.get(at).copied().flatten().map(|(generation, _)| generation);
        Checkpoints {
            generation: newest,
            good: found.map(|found| found.map(|(_, index)| index)),
            // The older one, or the one that is not good.
            next: usize::from(generation(0) >= generation(1) && found[0].is_some()),
            writing: None,
            bytes: 0,
            len: 0,
            cut_index: u64::MAX,
            cut_ms: now_ms,
            retry_at_ms: 0,
            done: 0,
        }
    }

    pub(super) fn applied(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// What died up to here is dead in both.
    pub(super) fn both(&self) -> Option<u64> {
        Some(self.good[0]?.min(self.good[1]?))
    }
}

/// The index that is being written.
#[derive(Debug, Default)]
pub struct Indexing {
    pub(super) built: Option<Built>,
    written: usize,
    retry_at_ms: u64,
}

impl<D: Disk> Keeper<D> {
    /// Does some of what is to be done, at most about 1 MiB of reading or writing.
    pub fn step(&mut self, now_ms: u64) -> Step {
        self.now_ms = self.now_ms.max(now_ms);
        self.look_again |= self.retry_at_ms().is_some_and(|at| at <= self.now_ms);
        self.give_back_held();
        let did = self.step_checkpoint() || self.step_index() || self.step_snapshot() || self.step_ageing();
        if did { Step::More } else { Step::Idle { again_at_ms: self.again_at_ms() } }
    }

    fn again_at_ms(&self) -> Option<u64> {
        let now = self.now_ms;
        let times = [
            self.retry_at_ms(),
            self.checkpoint_due_ms().map(|due| due.max(self.checkpoints.retry_at_ms)),
            self.next_to_index().map(|_| self.indexing.retry_at_ms),
            self.ageing.again_at_ms(now),
        ];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Says that something could not be written, and is tried again.
    pub(super) fn write_failed(&mut self, file: &str, what: &str, error: &Error) -> u64 {
        self.report.damage(file, None, format!("{what}: {error}; tried again"), Lost::NOTHING);
        self.now_ms + RETRY_MS
    }

    /// A segment that is to be written again cannot be read. What lives in it is not given up: that is for who wants to
    /// have it.
    pub(super) fn read_failed(&mut self, error: &Error) {
        let number = self.ageing.number;
        let failures = if self.ageing.failed.0 == number { self.ageing.failed.1 + 1 } else { 1 };
        self.ageing.failed = (number, failures % ATTEMPTS);
        let Some(segment) = self.state.segments.find_mut(number) else { return };
        let file = segment.slot.name();
        if failures < ATTEMPTS {
            self.report.note(file, None, format!("cannot be read: {error}; tried again"));
        } else {
            segment.counted_at = segment.live;
            self.ageing.forced.remove(&number);
            self.ageing.ordered.insert(number);
            self.report.damage(file, None, format!("cannot be read: {error}; left as it is"), Lost::NOTHING);
        }
    }

    // ---- checkpoints

    /// Whether a segment is dead, and only a checkpoint is missing for it to be free.
    fn waits_for_checkpoint(&self, segment: &Segment) -> bool {
        // What died with the start counts from the next batch on.
        let is_known = segment.dead_since.is_some_and(|index| index <= self.state.index);
        segment.sealed && segment.live == 0 && segment.pins == 0 && is_known
    }

    /// When the next checkpoint is due.
    fn checkpoint_due_ms(&self) -> Option<u64> {
        let checkpoints = &self.checkpoints;
        let waiting = self.state.segments.all.iter().any(|segment| self.waits_for_checkpoint(segment));
        if checkpoints.bytes >= self.settings.checkpoint_bytes {
            return Some(checkpoints.cut_ms);
        }
        if waiting {
            return Some(checkpoints.cut_ms + FREEING_MS.max((checkpoints.len >> 20) * FREEING_MS_PER_MIB));
        }
        (checkpoints.cut_index != self.state.index).then(|| checkpoints.cut_ms + self.settings.checkpoint_ms)
    }

    /// Begins to write a checkpoint of the state as it is.
    fn cut_checkpoint(&mut self) -> Result<()> {
        let name = NAMES[self.checkpoints.next];
        self.checkpoints.writing = None;
        self.checkpoints.good[self.checkpoints.next] = None;
        let state = self.state.save();
        let file = self.files.disk.open(name, Open::Create)?;
        self.checkpoints.generation += 1;
        let header = Header {
            lane: self.state.lane,
            generation: self.checkpoints.generation,
            index: self.state.index,
            len: state.len() as u64,
        };
        (self.checkpoints.cut_ms, self.checkpoints.cut_index) = (self.now_ms, self.state.index);
        (self.checkpoints.bytes, self.checkpoints.len) = (0, header.len);
        self.checkpoints.writing = Some(Writing { file, header, state, chunks: 0 });
        Ok(())
    }

    /// Writes a piece of the checkpoint. Returns whether something was done.
    fn write_checkpoint(&mut self) -> Result<bool> {
        let synced = self.synced;
        let Some(writing) = &mut self.checkpoints.writing else { return Ok(false) };
        if let Some(chunk) = checkpoint::chunk(writing.header.generation, writing.chunks, &writing.state) {
            writing.file.write_at(checkpoint::chunk_at(writing.chunks), &[&chunk])?;
            writing.chunks += 1;
            return Ok(true);
        }
        // What is in it must be durable before it counts: else it would know of batches that are not there.
        if synced < writing.header.index {
            return Ok(false);
        }
        // Many queues that are gone should not take room for ever.
        let end = checkpoint::chunk_at(writing.chunks);
        if writing.file.len()? > 2 * end + STEP_BYTES as u64 {
            writing.file.truncate(end)?;
        }
        writing.file.sync()?;
        writing.file.write_at(0, &[&writing.header.encode()])?;
        writing.file.sync()?;
        let index = writing.header.index;
        self.files.disk.sync_directory()?;
        let checkpoints = &mut self.checkpoints;
        checkpoints.writing = None;
        checkpoints.good[checkpoints.next] = Some(index);
        checkpoints.next = 1 - checkpoints.next;
        checkpoints.done += 1;
        self.give_back();
        Ok(true)
    }

    fn step_checkpoint(&mut self) -> bool {
        if self.checkpoints.writing.is_none() {
            let due = self.checkpoint_due_ms().is_some_and(|due| due.max(self.checkpoints.retry_at_ms) <= self.now_ms);
            if !due {
                return false;
            }
            if let Err(error) = self.cut_checkpoint() {
                self.checkpoint_failed(&error);
                return false;
            }
            return true;
        }
        match self.write_checkpoint() {
            Ok(did) => did,
            Err(error) => {
                self.checkpoint_failed(&error);
                false
            }
        }
    }

    fn checkpoint_failed(&mut self, error: &Error) {
        let name = NAMES[self.checkpoints.next];
        self.checkpoints.writing = None;
        self.checkpoints.cut_index = u64::MAX;
        self.checkpoints.retry_at_ms = self.write_failed(name, "cannot be written", error);
        // After a sync that failed, a start may find it sound although the disk does not have it.
        let _ = self.files.disk.remove(name);
    }

    /// The last checkpoint, after everything was applied and synced. The keeper may go on.
    ///
    /// # Errors
    ///
    /// What the disk says. The checkpoint before is good then, and a start takes longer.
    pub fn stop(&mut self, now_ms: u64) -> Result<()> {
        self.now_ms = self.now_ms.max(now_ms);
        self.cut_checkpoint()?;
        while self.write_checkpoint()? {}
        if self.checkpoints.writing.is_some() {
            return Err(Error::other("the journal is not synced"));
        }
        Ok(())
    }

    // ---- indexes

    /// The sealed segment whose index is to be written: all but the newest, or that one too if its slots are many.
    fn next_to_index(&self) -> Option<u64> {
        let mut sealed = self.state.segments.all.iter().filter(|segment| segment.sealed && segment.index.is_none());
        let newest = sealed.next_back()?;
        let oldest = sealed.find(|segment| segment.live > 0);
        let many = |segment: &&Segment| segment.lists.iter().map(|list| list.slots.len()).sum::<usize>() > SLOTS_MAX;
        oldest.or(Some(newest).filter(|segment| segment.live > 0).filter(many)).map(|segment| segment.number)
    }

    fn step_index(&mut self) -> bool {
        if self.indexing.retry_at_ms > self.now_ms {
            return false;
        }
        if self.indexing.built.is_none() {
            let Some(number) = self.next_to_index() else { return false };
            let Some(segment) = self.state.segments.find(number) else { return false };
            self.indexing.built = Some(index::build(&self.state, segment));
            self.indexing.written = 0;
            return true;
        }
        match self.write_index() {
            Ok(()) => true,
            Err(error) => {
                let built = self.indexing.built.take();
                let slot = built.and_then(|built| self.state.segments.find(built.segment)).map(|segment| segment.slot);
                let name = slot.map(|slot| slot.name()).unwrap_or_default();
                self.indexing.retry_at_ms = self.write_failed(&name, "its index cannot be written", &error);
                false
            }
        }
    }

    fn write_index(&mut self) -> Result<()> {
        let Some(built) = &self.indexing.built else { return Ok(()) };
        let Some(segment) = self.state.segments.find_mut(built.segment) else {
            self.indexing.built = None;
            return Ok(());
        };
        let file = self.files.file(segment.slot)?;
        let rest = built.bytes.get(self.indexing.written..).unwrap_or(&[]);
        if let Some(part) = rest.chunks(STEP_BYTES).next() {
            file.write_at(built.place.at + self.indexing.written as u64, &[part])?;
            self.indexing.written += part.len();
            return Ok(());
        }
        file.sync()?;
        let Some(built) = self.indexing.built.take() else { return Ok(()) };
        segment.index = Some(built.place);
        segment.index_floor = built.place.at + built.place.bytes;
        let mut queues: Vec<_> = std::mem::take(&mut segment.lists).into_iter().map(|list| list.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        for queue in queues {
            let Some(row) = self.state.rows.get_mut(&queue) else { continue };
            for run in row.runs.iter_mut().filter(|run| run.segment == built.segment) {
                (run.slots, run.count) = built.lists.get(run.slots as usize).copied().unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Makes the slots of a segment again from its batches, because its index is not to be used.
    pub(super) fn rebuild(&mut self, number: u64, why: &str) {
        self.pages.forget(number);
        let Some(slot) = self.state.segments.find(number).map(|segment| segment.slot) else { return };
        self.report.damage(slot.name(), None, format!("{why}; made again from its batches"), Lost::NOTHING);
        self.collect_slots(number);
    }
}

const _: () = assert!(CHUNK_BYTES <= STEP_BYTES);
