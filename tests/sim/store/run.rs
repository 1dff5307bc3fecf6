//! One run: several lives of one data directory, each with an end of its own.

use super::act::Shard;
use super::check::Asked;
use super::model::{Body, Op, PAST_MS, State, Touched};
use crate::disk::{Operation, SimDisk};
use crate::lane::{Fact, Lane, Name, OpenedLane};
use crate::lane_temper::LaneTemper;
use crate::rng::Rng;
use leveret::limits::Limits;
use leveret::store::{Completion, KEEPER, Position};
use std::collections::{BTreeMap, BTreeSet};

/// Where a batch lies.
#[derive(Debug)]
pub struct Placed {
    pub file: String,
    pub from: u64,
    pub to: u64,
    pub index: u64,
    pub touched: Touched,
    /// Something in it is wrong, or was.
    pub hit: bool,
}

/// Whether the life before ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    Yes,
    No,
    /// It did, and something happened since.
    Perhaps,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Kill,
    PowerCut,
}

pub struct Run {
    pub rng: Rng,
    pub disk: SimDisk,
    pub limits: Limits,
    pub now_ms: u64,
    pub trace: bool,
    /// What the life before left.
    pub base: State,
    /// What was submitted since, in order.
    pub history: Vec<(Name, Vec<Op>)>,
    /// Places in the history, counted from 1.
    order: BTreeMap<Name, usize>,
    /// By batch, how much of the history is written with it.
    by_index: BTreeMap<u64, usize>,
    pub attempted: usize,
    pub written: usize,
    pub durable: usize,
    pub synced_index: u64,
    /// What the shards believe.
    pub view: State,
    pub shards: Vec<Shard>,
    /// Everything that was ever at a place.
    pub bodies: BTreeMap<(u64, Position), Vec<Body>>,
    pub next_body: u32,
    pub next_id: u64,
    pub asked: BTreeMap<u64, Asked>,
    pub next_tag: u64,
    pub placed: Vec<Placed>,
    /// What damage may have changed.
    pub tainted: Touched,
    /// The disk rots.
    pub rots: bool,
    pub checkpoints_damaged: BTreeSet<String>,
    /// The newest of the journal is damaged, and nothing behind it tells that it was durable: it looks like a write
    /// that was interrupted, or like nothing at all.
    pub tail_hit: bool,
    /// Something was said to be lost since the last open.
    pub told_of_loss: bool,
    /// The power went since the last open that succeeded.
    pub power_cut: bool,
    pub lives: usize,
    /// Tells this run from another.
    pub hash: u64,
}

/// A run with the temper of `seed`: the disk does what disks may do.
pub fn run(seed: u64, trace: bool) -> u64 {
    lives(seed, trace, 0)
}

/// The same on a disk that rots between two lives.
pub fn rot(seed: u64, trace: bool) -> u64 {
    lives(seed, trace, 30)
}

fn lives(seed: u64, trace: bool, rot: usize) -> u64 {
    let mut rng = Rng::new(seed);
    let mut limits = Limits::default();
    limits.segment_bytes = rng.pick(&[16 << 10, 64 << 10]);
    limits.segment_bytes_min = limits.segment_bytes;
    limits.segments_reserve = rng.range(1, 2);
    limits.segments_spare_max = rng.below(4);
    limits.segments_nursery = rng.range(1, 4);
    limits.checkpoint_bytes = rng.pick(&[8 << 10, 64 << 10, 1 << 20]);
    let disk = SimDisk::new(rng.next());
    if trace {
        disk.trace();
    }
    let mut run = Run {
        disk,
        limits,
        now_ms: 1_000_000,
        trace,
        base: State::default(),
        history: vec![],
        order: BTreeMap::new(),
        by_index: BTreeMap::new(),
        attempted: 0,
        written: 0,
        durable: 0,
        synced_index: 0,
        view: State::default(),
        shards: vec![],
        bodies: BTreeMap::new(),
        next_body: 0,
        next_id: 0,
        asked: BTreeMap::new(),
        next_tag: 0,
        placed: vec![],
        tainted: Touched::default(),
        rots: rot > 0,
        checkpoints_damaged: BTreeSet::new(),
        tail_hit: false,
        told_of_loss: false,
        power_cut: false,
        lives: 0,
        hash: 0,
        rng,
    };
    let mut clean = Clean::No;
    for _ in 0..run.rng.range(2, 6) {
        let mut lane = run.open(clean);
        let steps = run.rng.pick(&[20, 100, 400]);
        let end = run.rng.pick(&[End::Clean, End::Kill, End::PowerCut, End::PowerCut]);
        clean = run.live(&mut lane, steps, end);
        drop(lane);
        if run.rng.chance(rot) {
            run.damage();
            // Without a trace of what followed, an earlier stop is the last that is known.
            clean = Clean::Perhaps;
        }
    }
    let mut lane = run.open(clean);
    run.come_to_rest(&mut lane);
    run.hash
}

impl Run {
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    /// Opens the lane, perhaps with the end of everything in between, and finds what must be there.
    fn open(&mut self, clean: Clean) -> Lane {
        let temper = LaneTemper::draw(&mut self.rng);
        let mut clean = clean;
        let mut crashes = self.rng.pick(&[0, 0, 0, 1, 3]);
        loop {
            self.disk = self.disk.restart();
            if crashes > 0 {
                crashes -= 1;
                let at = self.disk.operations() + self.rng.range(1, 30) as u64;
                if self.rng.chance(50) { self.disk.kill_at(at) } else { self.disk.cut_power_at(at) }
            }
            if self.rng.chance(3) {
                // The clock is set back, by a year at most.
                self.now_ms = self.now_ms.saturating_sub(self.rng.below(31_536_000_000) as u64).max(PAST_MS + 1);
            }
            self.say(|| format!("open at {} ms", self.now_ms));
            let opened = Lane::open(&self.disk, &self.limits, temper.clone(), self.now_ms, self.trace);
            if self.disk.is_down() {
                self.power_cut |= self.disk.lost_power();
                clean = if clean == Clean::No { Clean::No } else { Clean::Perhaps };
                self.say(|| "down while it is opened".into());
                continue;
            }
            self.disk.carry_on();
            let OpenedLane { mut lane, contents, report } =
                opened.unwrap_or_else(|error| panic!("it does not open: {error:?}"));
            self.recovered(&mut lane, contents, &report, clean);
            return lane;
        }
    }

    /// What the shards believe is what was found, and all else is forgotten.
    pub fn begin_life(&mut self, found: State, term: u64) {
        self.lives += 1;
        self.view = found.clone();
        self.base = found;
        self.history.clear();
        self.order.clear();
        self.by_index.clear();
        (self.attempted, self.written, self.durable) = (0, 0, 0);
        self.power_cut = false;
        (self.tail_hit, self.told_of_loss) = (false, false);
        self.asked.clear();
        self.next_id = (term << 32) + 1000;
        let count = self.rng.range(1, 4);
        self.shards = (0..count).map(|_| Shard::default()).collect();
    }

    /// Lives for a while.
    fn live(&mut self, lane: &mut Lane, steps: usize, end: End) -> Clean {
        if end != End::Clean && self.rng.chance(80) {
            let at = self.disk.operations() + self.rng.range(1, steps / 2) as u64;
            if end == End::Kill { self.disk.kill_at(at) } else { self.disk.cut_power_at(at) }
        }
        let faults = self.rng.chance(15);
        let pace = self.rng.pick(&[1, 3, 10]);
        for _ in 0..steps {
            if self.disk.is_down() {
                break;
            }
            if faults && self.rng.chance(3) {
                self.draw_fault();
            }
            if self.rng.chance(5) {
                self.now_ms += self.rng.pick(&[1, 100, 2000, 11_000]);
            }
            self.act();
            if self.rng.chance(8) {
                self.ask(lane);
            }
            self.submit(lane);
            for _ in 0..self.rng.below(pace + 1) {
                lane.step(&mut self.rng, self.now_ms);
            }
            self.listen(lane);
        }
        if end == End::Clean && !self.disk.is_down() {
            self.disk.carry_on();
            for shard in 0..self.shards.len() {
                self.submit_of(lane, shard);
            }
            if lane.stop(&mut self.rng, self.now_ms) {
                self.listen(lane);
                assert_eq!(self.durable, self.history.len(), "stopped in order, and not all is durable");
                self.say(|| "stopped in order".into());
                if self.rng.chance(50) {
                    self.disk.kill()
                } else {
                    self.disk.cut_power()
                }
                return Clean::Yes;
            }
        }
        self.listen(lane);
        if end == End::PowerCut {
            self.disk.cut_power()
        } else {
            self.disk.kill()
        }
        self.power_cut |= self.disk.lost_power();
        self.say(|| format!("the end: {}", if self.power_cut { "power cut" } else { "killed" }));
        Clean::No
    }

    fn draw_fault(&mut self) {
        let after = self.rng.below(10) as u64;
        let count = self.rng.range(1, 3) as u64;
        let operations = [
            Operation::Write,
            Operation::Sync,
            Operation::Allocate,
            Operation::Create,
            Operation::Remove,
            Operation::Rename,
            Operation::SyncDirectory,
            Operation::Truncate,
        ];
        match self.rng.below(10) {
            // What cannot be read now is read later.
            0 => self.disk.fail(Operation::Read, after, 1),
            1..4 => self.disk.set_room(self.disk.used() + self.rng.below(64 << 10) as u64),
            4 => self.disk.set_room(u64::MAX),
            _ => self.disk.fail(self.rng.pick(&operations), after, count),
        }
    }

    fn submit(&mut self, lane: &mut Lane) {
        for shard in 0..self.shards.len() {
            if !self.shards[shard].pending.is_empty() && self.rng.chance(40) {
                self.submit_of(lane, shard);
            }
        }
    }

    fn submit_of(&mut self, lane: &mut Lane, shard: usize) {
        let spare = lane.spare.pop().unwrap_or_default();
        let Some((submission, ops)) = self.shards[shard].submission(shard, spare) else { return };
        let name = (submission.from, submission.seq);
        self.history.push((name, ops));
        self.order.insert(name, self.history.len());
        lane.submit(submission);
    }

    /// Takes in what the lane did and says.
    pub fn listen(&mut self, lane: &mut Lane) {
        self.told_of_loss |= !lane.keeper.report().is_sound();
        for fact in std::mem::take(&mut lane.facts) {
            match fact {
                Fact::Attempted(names) => self.attempted = self.attempted.max(self.reach(&names)),
                Fact::Written { index, file, from, to, submissions } => {
                    let names: Vec<Name> = submissions.iter().map(|(name, _)| *name).collect();
                    self.written = self.written.max(self.reach(&names));
                    self.by_index.insert(index, self.written);
                    // A new segment in this file, or a batch again that was not written in full.
                    self.placed.retain(|p| p.file != file || (from > 4096 && p.to <= from));
                    let mut touched = Touched::default();
                    submissions.iter().for_each(|(_, bytes)| touched.add(bytes));
                    self.placed.push(Placed { file, from, to, index, touched, hit: false });
                }
                Fact::Synced(index) => {
                    self.synced_index = index;
                    self.durable = self.by_index[&index];
                }
            }
        }
        while let Some((shard, told)) = lane.told.pop_front() {
            match told {
                Completion::Durable { seq } if seq == u64::MAX => {}
                Completion::Durable { seq } => {
                    let at = self.order[&(shard, seq)];
                    assert!(at <= self.durable, "told durable, and not written and synced");
                }
                Completion::Fetched(fetched) => self.fetched(lane, fetched),
                other => panic!("the lane says {other:?}"),
            }
        }
    }

    /// How far in the history these reach.
    fn reach(&self, names: &[Name]) -> usize {
        let known = names.iter().filter(|(from, seq)| *from != KEEPER && *seq != u64::MAX);
        known.map(|name| self.order[name]).max().unwrap_or(0)
    }

    /// Time passes, everything is settled, and the disk is given back.
    fn come_to_rest(&mut self, lane: &mut Lane) {
        self.disk.carry_on();
        let rest = |run: &mut Run, lane: &mut Lane| {
            for _ in 0..200 {
                let mut left = 20_000;
                while lane.step(&mut run.rng, run.now_ms) {
                    run.listen(lane);
                    left -= 1;
                    assert!(left > 0, "the lane does not come to rest");
                }
                let Some(at) = lane.again_at() else { return };
                run.now_ms = run.now_ms.max(at);
            }
            panic!("the keeper finds something to do for ever: {:?}", lane.keeper.state().segments);
        };
        // What died with the start is free behind the next batch.
        self.touch();
        self.submit_of(lane, 0);
        rest(self, lane);
        self.check_room(lane);
        self.settle_everything(lane);
        rest(self, lane);
        self.check_room(lane);
        let used = self.disk.used();
        self.hash ^= crate::rng::mix(self.disk.operations() ^ used);
    }

    /// The disk in use is bounded by what waits and a few segments.
    fn check_room(&self, lane: &Lane) {
        let files = self.disk.files();
        if files.iter().any(|(name, _)| name.starts_with("damaged")) {
            return;
        }
        let segments: Vec<u64> =
            files.iter().filter(|(name, _)| name.starts_with("segment")).map(|(_, len)| *len).collect();
        let (live, used): (u64, u64) = (self.view.bytes(), segments.iter().sum());
        let limits = &self.limits;
        let kept = limits.segments_nursery + limits.segments_spare_max + limits.segments_reserve + 2;
        let largest = segments.iter().copied().max().unwrap_or(0);
        let bound = 2 * live + kept as u64 * largest;
        assert!(
            used <= bound,
            "{live} bytes wait, {used} are in use, at most {kept} segments of up to {largest}: {files:?} {:?}",
            lane.keeper.state().segments
        );
    }

    fn settle_everything(&mut self, lane: &mut Lane) {
        self.settle_all();
        for shard in 0..self.shards.len() {
            self.submit_of(lane, shard);
        }
    }
}
