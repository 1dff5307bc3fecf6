//! The keeper: knows what is alive, finds it again, and keeps the disk tidy.
//!
//! It reads the batches as they come out of the journal, in order. What it does beside that it does in
//! [steps](Keeper::step) of about 1 MiB, each of which may fail without harm: it is reported and tried again.

pub mod ageing;
pub mod apply;
pub mod bytes;
pub mod checkpoint;
pub mod counts;
pub mod fetch;
pub mod files;
pub mod giving;
pub mod handed;
pub mod index;
pub mod names;
pub mod ordering;
pub mod parts;
pub mod picking;
pub mod positions;
pub mod recent;
pub mod regions;
pub mod rescue;
pub mod rows;
pub mod runs;
pub mod seen;
pub mod snapshot;
pub mod state;
pub mod upkeep;

use std::collections::VecDeque;

pub use counts::KeeperCounts;
pub use upkeep::Step;

use ageing::Ageing;
use fetch::Waiting;
use files::{Files, Pages};
use giving::Inventory;
use runs::{Segment, Slot};
use snapshot::Snapshot;
use state::State;
use upkeep::{Checkpoints, Indexing};

use super::batch::Batch;
use super::disk::Disk;
use super::report::{Lost, Report};
use super::segment::FileSlot;
use super::{KEEPER, Submission};
use crate::limits::Limits;

/// What the keeper goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The size of a segment, in bytes.
    pub segment_bytes: u64,
    /// A checkpoint is cut after so many bytes of journal.
    pub checkpoint_bytes: u64,
    /// A checkpoint is cut after so long with activity, in milliseconds.
    pub checkpoint_ms: u64,
    /// The newest segments that ageing leaves alone, the active one among them.
    pub nursery: usize,
}

impl Settings {
    /// What follows from the bounds on a disk of so many bytes.
    pub fn new(limits: &Limits, disk_bytes: u64) -> Settings {
        let segment_bytes = limits.segment_bytes.min((disk_bytes / 32).max(limits.segment_bytes_min));
        Settings {
            segment_bytes,
            checkpoint_bytes: limits.checkpoint_bytes.min(4 * segment_bytes),
            checkpoint_ms: limits.checkpoint_ms,
            nursery: limits.segments_nursery,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    state: State,
    settings: Settings,
    files: Files<D>,
    pages: Pages,
    scratch: Vec<Slot>,
    /// A part of a segment of which little is wanted.
    sweep: Vec<u8>,
    /// The highest index that is durable.
    synced: u64,
    now_ms: u64,
    waiting: VecDeque<Waiting>,
    /// Perhaps something that waits can be answered.
    look_again: bool,
    checkpoints: Checkpoints<D::File>,
    indexing: Indexing,
    ageing: Ageing,
    inventory: Inventory,
    snapshot: Option<Snapshot<D>>,
    snapshot_done: Option<std::io::Result<()>>,
    submissions: VecDeque<Submission>,
    next_seq: u64,
    freed: Vec<FileSlot>,
    report: Report,
}

impl<D: Disk> Keeper<D> {
    /// A keeper of this state.
    pub fn new(disk: D, state: State, settings: Settings, checkpoints: Checkpoints<D::File>) -> Keeper<D> {
        let mut keeper = Keeper {
            synced: state.index,
            now_ms: 0,
            state,
            settings,
            files: Files::new(disk),
            pages: Pages::default(),
            scratch: Vec::new(),
            sweep: Vec::new(),
            waiting: VecDeque::new(),
            look_again: false,
            checkpoints,
            indexing: Indexing::default(),
            ageing: Ageing::default(),
            inventory: Inventory::default(),
            snapshot: None,
            snapshot_done: None,
            submissions: VecDeque::new(),
            next_seq: 1,
            freed: Vec::new(),
            report: Report::default(),
        };
        // What died with the start counts from the next batch on. Should nobody else have anything to say, this is it.
        let known = keeper.state.index;
        let is_new = |segment: &Segment| segment.dead_since.is_some_and(|index| index > known);
        if keeper.state.segments.all.iter().any(is_new) {
            keeper.submit(Vec::new(), true);
        }
        keeper
    }

    /// Takes a batch that was written. They come in order; one that is known already is ignored. Returns the memory of
    /// its submissions, to be used again.
    pub fn apply(&mut self, batch: Batch) -> Vec<Vec<u8>> {
        if self.state.begin(&batch) {
            let mut at = batch.at;
            for submission in &batch.submissions {
                let unsound = self.state.apply(&submission.bytes, batch.segment, at, &mut self.scratch);
                let len = submission.bytes.len() as u64;
                if unsound != Default::default() {
                    let lost = Lost { records: unsound.records, messages: unsound.messages, ..Lost::NOTHING };
                    self.report.damage(batch.slot.name(), at, "records of a batch cannot be read", lost);
                }
                if submission.from == KEEPER {
                    self.ageing.applied(submission.seq);
                    self.inventory.applied(submission.seq, batch.index);
                } else {
                    self.ageing.pressed(len);
                }
                at += len;
            }
            self.checkpoints.applied(batch.end() - batch.at);
            self.look_again |= !self.waiting.is_empty();
        }
        batch.submissions.into_iter().map(|submission| submission.bytes).collect()
    }

    /// Whether a fetch waits for what is not applied yet.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything up to this index is durable.
    pub fn synced(&mut self, index: u64) {
        self.synced = self.synced.max(index);
    }

    /// Something that the journal is to write.
    pub fn next_submission(&mut self) -> Option<Submission> {
        self.submissions.pop_front()
    }

    /// Segments that hold nothing any more: for the journal to use again.
    pub fn freed(&mut self) -> Vec<FileSlot> {
        std::mem::take(&mut self.freed)
    }

    /// What was found wrong since the last call.
    pub fn report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    /// What the keeper knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Hands records to the journal; returns the number of the submission.
    fn submit(&mut self, bytes: Vec<u8>, sync: bool) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.submissions.push_back(Submission { from: KEEPER, seq, bytes, sync });
        seq
    }

    /// These records say which messages are lost: they are settled at once, and in the journal.
    fn give_up(&mut self, records: Vec<u8>, lost: u64) {
        self.state.settle_ahead(&records);
        self.state.lost += lost;
        self.submit(records, false);
    }
}

#[cfg(test)]
mod tests;
