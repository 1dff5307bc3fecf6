//! A lane over the simulated disk: what the server's journal and keeper threads do, one step at a time, in any order.

use crate::disk::SimDisk;
use crate::lane_temper::LaneTemper;
use crate::rng::Rng;
use leveret::limits::Limits;
use leveret::store::batch::Batch;
use leveret::store::journal::Journal;
use leveret::store::keeper::{Keeper, Step};
use leveret::store::open::{Contents, OpenError, Report, open};
use leveret::store::record::{Ranges, Record, Records, records};
use leveret::store::segment::LaneId;
use leveret::store::{Completion, Fetch, KEEPER, Submission};
use std::collections::VecDeque;

/// What was told to the keeper and not yet heard.
#[derive(Debug)]
enum Letter {
    Batch(Batch),
    Synced(u64),
}

/// A submission by who and which.
pub type Name = (u8, u64);

/// What happened to submissions, for the oracle.
#[derive(Debug)]
pub enum Fact {
    /// They are handed to the disk now.
    Attempted(Vec<Name>),
    /// They were written as this batch.
    Written { index: u64, file: String, from: u64, to: u64, submissions: Vec<(Name, Vec<u8>)> },
    /// Everything up to this batch is durable.
    Synced(u64),
}

/// Which lane it is.
pub const LANE: LaneId = [7; 16];

/// A lane that runs.
#[derive(Debug)]
pub struct Lane {
    pub disk: SimDisk,
    pub temper: LaneTemper,
    journal: Journal<SimDisk>,
    pub keeper: Keeper<SimDisk>,
    /// A sync has failed: nothing is written any more.
    pub failed: bool,
    waiting: VecDeque<Submission>,
    /// Written and not synced.
    unsynced: Vec<(u64, Vec<Name>)>,
    letters: VecDeque<Letter>,
    /// Asked of the keeper and not yet heard: it may hear them before what was told it earlier.
    fetches: VecDeque<Fetch>,
    /// What the shards are told.
    pub told: VecDeque<(u8, Completion)>,
    pub facts: Vec<Fact>,
    /// Memory given back, to be used again.
    pub spare: Vec<Vec<u8>>,
    keeper_again_at: Option<u64>,
    keeper_more: bool,
    journal_more: bool,
    stalled: usize,
    /// The last record is written: nothing may follow it.
    stopping: bool,
    trace: bool,
}

/// A lane that was opened, and what was found.
#[derive(Debug)]
pub struct OpenedLane {
    pub lane: Lane,
    pub contents: Contents,
    pub report: Report,
}

impl Lane {
    pub fn open(
        disk: &SimDisk,
        limits: &Limits,
        temper: LaneTemper,
        now_ms: u64,
        trace: bool,
    ) -> Result<OpenedLane, OpenError> {
        let opened = open(disk.clone(), limits, LANE, now_ms)?;
        let lane = Lane {
            disk: disk.clone(),
            temper,
            journal: opened.journal,
            keeper: opened.keeper,
            failed: false,
            waiting: VecDeque::new(),
            unsynced: vec![],
            letters: VecDeque::new(),
            fetches: VecDeque::new(),
            told: VecDeque::new(),
            facts: vec![],
            spare: vec![],
            keeper_again_at: Some(now_ms),
            keeper_more: true,
            journal_more: true,
            stalled: 0,
            stopping: false,
            trace,
        };
        Ok(OpenedLane { lane, contents: opened.contents, report: opened.report })
    }

    pub fn submit(&mut self, submission: Submission) {
        self.tell(|| format!("{} submits {}: {:?}", submission.from, submission.seq, said(&submission.bytes)));
        self.waiting.push_back(submission);
    }

    pub fn fetch(&mut self, fetch: Fetch) {
        self.fetches.push_back(fetch);
    }

    /// What each of the lane's threads could do now.
    fn possible(&self, now_ms: u64) -> [bool; 4] {
        let up = !self.disk.is_down();
        [
            up && !self.failed && (self.journal_more || !self.waiting.is_empty()),
            up && !self.failed && !self.unsynced.is_empty(),
            up && !(self.letters.is_empty() && self.fetches.is_empty()),
            up && (self.keeper_more || self.keeper_again_at.is_some_and(|at| at <= now_ms)),
        ]
    }

    pub fn has_work(&self, now_ms: u64) -> bool {
        self.possible(now_ms).contains(&true)
    }

    /// When the keeper wants to work again.
    pub fn again_at(&self) -> Option<u64> {
        self.keeper_again_at
    }

    /// The next thing that a shard is told.
    pub fn next_told(&mut self, shard: u8) -> Option<Completion> {
        let at = self.told.iter().position(|(to, _)| *to == shard)?;
        self.told.remove(at).map(|(_, told)| told)
    }

    /// Whether a shard is to be told something.
    pub fn tells(&self, shard: u8) -> bool {
        self.told.iter().any(|(to, _)| *to == shard)
    }

    /// Whether all that was submitted is durable and known.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unsynced.is_empty() && self.letters.is_empty() && self.fetches.is_empty()
    }

    /// One of the lane's threads does something. False when none has anything to do.
    pub fn step(&mut self, rng: &mut Rng, now_ms: u64) -> bool {
        let possible = self.possible(now_ms);
        let mut weights = self.temper.weights;
        for (weight, possible) in weights.iter_mut().zip(possible) {
            *weight *= u32::from(possible);
        }
        if weights.iter().sum::<u32>() == 0 {
            return false;
        }
        match rng.weighted(&weights) {
            0 => self.write(rng, now_ms),
            1 if self.stalled > 0 => self.stalled -= 1,
            1 if rng.chance(self.temper.stall) => self.stalled = rng.below(self.temper.stall_steps),
            1 => self.sync(),
            2 => self.hear(rng),
            _ => self.work(now_ms),
        }
        true
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("  lane {}", what());
        }
    }

    fn write(&mut self, rng: &mut Rng, now_ms: u64) {
        if self.journal_more || self.journal.needs_room() {
            self.journal_more = self.journal.step();
        }
        if self.waiting.is_empty() {
            return;
        }
        let count = match self.temper.gather_max {
            0 => self.waiting.len(),
            max => rng.range(1, max.min(self.waiting.len())),
        };
        let submissions: Vec<Submission> = self.waiting.drain(..count).collect();
        let names: Vec<Name> = submissions.iter().map(|s| (s.from, s.seq)).collect();
        self.facts.push(Fact::Attempted(names.clone()));
        match self.journal.write(now_ms, submissions) {
            Ok(batch) => {
                let submissions: Vec<(Name, Vec<u8>)> =
                    batch.submissions.iter().map(|s| ((s.from, s.seq), s.bytes.clone())).collect();
                let bytes: usize = submissions.iter().map(|(_, bytes)| bytes.len()).sum();
                let file = batch.slot.name();
                self.tell(|| format!("batch {} in {file} at {:#x}, {bytes} bytes: {names:?}", batch.index, batch.at));
                let (from, to) = (batch.at - 64, batch.at + bytes as u64);
                self.facts.push(Fact::Written { index: batch.index, file, from, to, submissions });
                self.unsynced.push((batch.index, names));
                self.letters.push_back(Letter::Batch(batch));
            }
            Err((error, submissions)) => {
                self.tell(|| format!("not written: {error}"));
                assert_eq!(submissions.len(), count, "what was not written comes back");
                for submission in submissions.into_iter().rev() {
                    self.waiting.push_front(submission);
                }
            }
        }
    }

    fn sync(&mut self) {
        match self.journal.sync() {
            Ok(index) => {
                self.tell(|| format!("synced to {index}"));
                let last = self.unsynced.last().map(|(index, _)| *index);
                assert_eq!(Some(index), last, "a sync makes everything written durable");
                for (from, seq) in self.unsynced.drain(..).flat_map(|(_, names)| names) {
                    if from != KEEPER {
                        self.told.push_back((from, Completion::Durable { seq }));
                    }
                }
                self.facts.push(Fact::Synced(index));
                self.letters.push_back(Letter::Synced(index));
            }
            Err(error) => {
                self.tell(|| format!("the sync failed: {error}"));
                self.failed = true;
            }
        }
    }

    fn hear(&mut self, rng: &mut Rng) {
        if (self.letters.is_empty() || rng.chance(50))
            && let Some(fetch) = self.fetches.pop_front()
        {
            self.keeper.fetch(fetch);
            return self.answer();
        }
        match self.letters.pop_front() {
            Some(Letter::Batch(batch)) => self.spare.extend(self.keeper.apply(batch)),
            Some(Letter::Synced(index)) => self.keeper.synced(index),
            None => {}
        }
        self.keeper_more = true;
        self.answer();
        self.collect();
    }

    fn work(&mut self, now_ms: u64) {
        self.answer();
        match self.keeper.step(now_ms) {
            Step::More => self.keeper_more = true,
            Step::Idle { again_at_ms } => {
                self.keeper_more = false;
                self.journal.rest();
                self.journal_more |= self.journal.has_spares();
                // The server looks once a second anyway.
                self.keeper_again_at = again_at_ms.or(self.keeper.has_waiting().then_some(now_ms + 1000));
            }
        }
        self.collect();
    }

    fn answer(&mut self) {
        while let Some(fetched) = self.keeper.next_answer() {
            self.tell(|| {
                let found: Vec<_> = fetched.messages.iter().map(|m| (m.position, m.redelivered)).collect();
                let (tag, queue) = (fetched.tag, fetched.queue.0);
                format!("fetched {tag} of {queue}: {found:?}, lost {}, next {}", fetched.lost, fetched.next)
            });
            self.told.push_back((fetched.shard, Completion::Fetched(fetched)));
        }
        self.keeper_more = true;
    }

    /// Takes what the keeper has for others.
    fn collect(&mut self) {
        while let Some(submission) = self.keeper.next_submission() {
            assert_eq!(submission.from, KEEPER);
            self.tell(|| format!("the keeper submits {}: {:?}", submission.seq, said(&submission.bytes)));
            if !self.failed && !self.stopping {
                self.waiting.push_back(submission);
            }
        }
        let freed = self.keeper.freed();
        if !freed.is_empty() {
            self.tell(|| format!("free: {freed:?}"));
            self.journal.give(freed);
            self.journal_more = true;
        }
    }

    /// Stops in order: everything is written, applied and durable, and a last checkpoint says so. False when the disk
    /// did not let it.
    pub fn stop(&mut self, rng: &mut Rng, now_ms: u64) -> bool {
        if !self.drain(rng, now_ms) {
            return false;
        }
        let mut records = Records::default();
        records.clean();
        self.submit(Submission { from: 0, seq: u64::MAX, bytes: records.take(vec![]), sync: true });
        self.stopping = true;
        if !self.drain(rng, now_ms) {
            return false;
        }
        self.told.retain(|(_, told)| !matches!(told, Completion::Durable { seq: u64::MAX }));
        match self.keeper.stop(now_ms) {
            Ok(()) => !self.disk.is_down(),
            Err(error) => {
                self.tell(|| format!("not stopped in order: {error}"));
                false
            }
        }
    }

    /// Everything is written, durable and applied; what the keeper submits meanwhile as well.
    fn drain(&mut self, rng: &mut Rng, now_ms: u64) -> bool {
        let mut left = 20_000;
        while !self.is_settled() {
            left -= 1;
            if self.failed || self.disk.is_down() || left == 0 {
                return false;
            }
            let mut possible = self.possible(now_ms);
            possible[3] &= !self.stopping;
            match rng.weighted(&possible.map(u32::from)) {
                0 => self.write(rng, now_ms),
                1 => self.sync(),
                2 => self.hear(rng),
                _ => self.work(now_ms),
            }
        }
        true
    }
}

/// What a submission says, in short.
fn said(bytes: &[u8]) -> Vec<String> {
    let of = |ranges: Ranges<'_>| -> Vec<(u64, u64, u64)> {
        ranges.iter().map(|range| (range.queue.0, range.first, range.last)).collect()
    };
    let says = |(_, record): (usize, Result<Record<'_>, _>)| match record {
        Ok(Record::Messages(messages)) => {
            let places: Vec<(u64, u64)> = messages.places().map(|(queue, at)| (queue.0, at)).collect();
            format!("{} messages, flags {}, to {places:?}", messages.count, messages.flags)
        }
        Ok(Record::Settled(ranges)) => format!("settled {:?}", of(ranges)),
        Ok(Record::Returned(ranges)) => format!("returned {:?}", of(ranges)),
        other => format!("{other:?}"),
    };
    records(bytes).map(says).collect()
}
