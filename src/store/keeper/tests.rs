//! The keeper on a disk in memory, beside a plain model of what it should know.

mod classes;
mod damage;
mod faults;
mod handed;
mod model;
mod names;
mod order;
mod parts;
mod picking;
mod reading;
mod seen;
mod space;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::limits::Limits;
use crate::store::disk::memory::MemoryDisk;
use crate::store::journal::Journal;
use crate::store::open::{Contents, open};
use crate::store::record::{CONDITIONAL, Note, Records, TRANSIENT};
use crate::store::{Fetch, Fetched, FetchedMessage, QueueId};

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end.max(1)
    }
}

pub fn limits() -> Limits {
    Limits { segment_bytes: 64 << 10, segment_bytes_min: 64 << 10, checkpoint_bytes: 128 << 10, ..Limits::default() }
}

/// What is in a queue.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    pub end: u64,
    /// By position: the body's number and length, whether it survives a start.
    pub alive: BTreeMap<u64, (u64, usize, bool)>,
    pub flagged: BTreeSet<u64>,
    /// How often it was handed out, and in vain.
    pub counts: BTreeMap<u64, (u32, u32)>,
    /// What it has seen.
    pub notes: VecDeque<Note>,
}

impl Queue {
    fn note(&mut self, keep_max: u32, note: Note, now: u64) {
        self.notes.push_back(note);
        while self.notes.len() > keep_max as usize || self.notes.front().is_some_and(|note| note.is_past(now)) {
            self.notes.pop_front();
        }
    }
}

/// A message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub position: u64,
    pub bytes: Vec<u8>,
    pub redelivered: bool,
    pub counts: (u32, u32),
}

/// A store with its model.
pub struct Lane {
    pub disk: MemoryDisk,
    pub limits: Limits,
    pub journal: Journal<MemoryDisk>,
    pub keeper: Keeper<MemoryDisk>,
    pub contents: Contents,
    pub report: Report,
    pub model: BTreeMap<u64, Queue>,
    pub records: Records,
    pub now: u64,
    seq: u64,
    bodies: u64,
    /// To be written.
    noted: Vec<Noted>,
    /// Of transactions that are not committed.
    conditional: BTreeMap<u64, Vec<Noted>>,
}

/// A queue, how many notes it keeps, and one of them.
type Noted = (u64, u32, Note);

pub fn body(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number.wrapping_mul(31).wrapping_add(at * at)) as u8).collect()
}

impl Lane {
    pub fn new() -> Lane {
        Lane::on(MemoryDisk::default(), limits())
    }

    pub fn on(disk: MemoryDisk, limits: Limits) -> Lane {
        let opened = open(disk.clone(), &limits, [3; 16], 1000).unwrap();
        Lane {
            disk,
            limits,
            journal: opened.journal,
            keeper: opened.keeper,
            contents: opened.contents,
            report: opened.report,
            model: BTreeMap::new(),
            records: Records::default(),
            now: 1000,
            seq: 0,
            bodies: 0,
            noted: vec![],
            conditional: BTreeMap::new(),
        }
    }

    /// The queue is there from now on.
    pub fn define(&mut self, queue: u64) {
        self.records.defined(QueueId(queue), format!("queue {queue}").as_bytes());
        self.model.entry(queue).or_default();
    }

    /// A message in each of these queues.
    pub fn publish(&mut self, queues: &[u64], len: usize, flags: u8) {
        self.bodies += 1;
        let number = self.bodies;
        let mut places = vec![];
        for queue in queues {
            let model = self.model.entry(*queue).or_default();
            places.push((QueueId(*queue), model.end));
            model.alive.insert(model.end, (number, len, flags & TRANSIENT == 0));
            model.end += 1;
        }
        let fill = |to: &mut [u8]| to.copy_from_slice(&body(number, len));
        if let [(queue, position)] = places[..] {
            self.records.message(queue, position, flags, len, fill);
        } else {
            self.records.messages(&places, flags, 1);
            self.records.push_message(len, fill);
        }
    }

    /// A position is used for what never comes to the journal.
    pub fn skip(&mut self, queue: u64, count: u64) {
        self.model.entry(queue).or_default().end += count;
    }

    pub fn settle(&mut self, queue: u64, first: u64, last: u64) {
        self.records.settled(QueueId(queue), first, last);
        let model = self.model.entry(queue).or_default();
        (first..=last).for_each(|at| assert!(model.alive.remove(&at).is_some()));
    }

    pub fn give_back(&mut self, queue: u64, position: u64) {
        self.records.returned(QueueId(queue), position, position);
        self.model.entry(queue).or_default().flagged.insert(position);
    }

    pub fn count(&mut self, queue: u64, position: u64, acquired: u32, failed: u32) {
        self.records.counted(QueueId(queue), position, acquired, failed);
        let model = self.model.entry(queue).or_default();
        model.flagged.insert(position);
        model.counts.insert(position, (acquired, failed));
    }

    pub fn note(&mut self, queue: u64, keep_max: u32, note: u8, until_ms: u64) {
        let note = Note { note: [note; 16], until_ms };
        self.records.noted(QueueId(queue), keep_max, 0, note);
        self.noted.push((queue, keep_max, note));
    }

    /// For the part of a transaction that was begun.
    pub fn note_if_committed(&mut self, tx: u64, queue: u64, keep_max: u32, note: u8) {
        let note = Note { note: [note; 16], until_ms: 0 };
        self.records.noted(QueueId(queue), keep_max, CONDITIONAL, note);
        self.conditional.entry(tx).or_default().push((queue, keep_max, note));
    }

    pub fn commit(&mut self, tx: u64) {
        self.records.committed(tx);
        self.noted.extend(self.conditional.remove(&tx).unwrap_or_default());
    }

    pub fn purge(&mut self, queue: u64, kept: &[u64]) {
        let model = self.model.entry(queue).or_default();
        let ranges: Vec<(u64, u64)> = kept.iter().map(|at| (*at, *at)).collect();
        self.records.purged(QueueId(queue), model.end, &ranges);
        model.alive.retain(|at, _| kept.contains(at));
    }

    /// A queue goes, with its classes.
    pub fn undefine(&mut self, queue: u64) {
        self.records.undefined(QueueId(queue));
        self.model.retain(|id, _| QueueId(*id).base() != QueueId(queue));
        self.noted.retain(|(id, ..)| *id != queue);
    }

    /// Writes what is there as one batch, and applies it.
    pub fn write(&mut self) {
        let bytes = self.records.take(vec![]);
        for (queue, keep_max, note) in std::mem::take(&mut self.noted) {
            self.model.entry(queue).or_default().note(keep_max, note, self.now);
        }
        self.seq += 1;
        let mut submissions = vec![];
        if !bytes.is_empty() {
            submissions.push(Submission { from: 0, seq: self.seq, bytes, sync: true });
        }
        submissions.extend(std::iter::from_fn(|| self.keeper.next_submission()));
        if !submissions.is_empty() {
            let batch = self.journal.write(self.now, submissions).unwrap();
            self.keeper.apply(batch);
        }
        self.journal.give(self.keeper.freed());
    }

    pub fn sync(&mut self) {
        self.write();
        let index = self.journal.sync().unwrap();
        self.keeper.synced(index);
    }

    /// One piece of upkeep, at the time as it is.
    pub fn step(&mut self) -> Step {
        let step = self.keeper.step(self.now);
        if step == Step::More {
            self.write();
        }
        step
    }

    /// Upkeep for so long, all synced.
    pub fn rest(&mut self, ms: u64) {
        let until = self.now + ms;
        loop {
            self.sync();
            let mut budget = 100_000;
            while self.step() == Step::More {
                budget -= 1;
                assert!(budget > 0, "upkeep without end");
                self.sync();
            }
            match self.step() {
                Step::Idle { again_at_ms: Some(at) } if at <= until => self.now = at.max(self.now + 1),
                Step::More => {}
                _ => break,
            }
        }
        self.now = until;
    }

    pub fn fetch(&mut self, queue: u64, from: u64, to: u64, bytes_max: usize, count_max: usize) -> Option<Fetched> {
        let fetch = Fetch {
            shard: 1,
            tag: 7,
            queue: QueueId(queue),
            from,
            to,
            bytes_max,
            count_max,
            only: vec![],
            buffer: vec![9; from as usize % 100],
        };
        self.keeper.fetch(fetch);
        let answer = self.keeper.next_answer()?;
        assert_eq!((answer.shard, answer.tag, answer.queue), (1, 7, QueueId(queue)));
        assert!(answer.messages.len() <= count_max.max(1));
        assert!(answer.next > from || answer.next == to, "no progress");
        Some(answer)
    }

    /// Everything of a queue, read back in pieces.
    pub fn read(&mut self, queue: u64, bytes_max: usize, count_max: usize) -> (Vec<Read>, u64) {
        let to = self.keeper.state().rows.get(&QueueId(queue)).map_or(0, |row| row.end);
        let (mut from, mut all, mut lost) = (0, vec![], 0);
        while from < to {
            let answer = self.fetch(queue, from, to, bytes_max, count_max).unwrap();
            let messages = answer.messages.iter().map(|message| {
                assert!(message.position >= from && message.position < answer.next);
                let bytes = answer.bytes[message.at as usize..][..message.len as usize].to_vec();
                let FetchedMessage { position, redelivered, acquired, failed, .. } = *message;
                Read { position, bytes, redelivered, counts: (acquired, failed) }
            });
            all.extend(messages);
            (from, lost) = (answer.next, lost + answer.lost);
        }
        assert!(all.is_sorted_by_key(|read| read.position));
        (all, lost)
    }

    /// Compares everything with the model.
    pub fn check(&mut self, bytes_max: usize, count_max: usize) {
        self.write();
        for (queue, expected) in self.model.clone() {
            let (found, lost) = self.read(queue, bytes_max, count_max);
            assert_eq!(lost, 0);
            let positions: Vec<u64> = found.iter().map(|read| read.position).collect();
            assert_eq!(positions, expected.alive.keys().copied().collect::<Vec<_>>(), "queue {queue}");
            for (read, (number, len, _)) in found.iter().zip(expected.alive.values()) {
                let position = read.position;
                assert!(read.bytes == body(*number, *len), "queue {queue} position {position}");
                assert_eq!(read.redelivered, expected.flagged.contains(&position), "queue {queue} position {position}");
                let counts = expected.counts.get(&position).copied().unwrap_or_default();
                assert_eq!(read.counts, counts, "queue {queue} position {position}");
            }
            let seen = self.keeper.state().seen.iter().find(|(id, _)| id.0 == queue).map(|(_, notes)| notes.clone());
            assert_eq!(seen.unwrap_or_default(), expected.notes, "queue {queue}");
            let row = self.keeper.state().rows.get(&QueueId(queue)).cloned().unwrap_or_default();
            assert!(row.handed.iter().all(|(position, _)| expected.alive.contains_key(&position)), "queue {queue}");
            assert_eq!(row.live, expected.alive.len() as u64);
            assert_eq!(row.runs.iter().map(|run| u64::from(run.alive)).sum::<u64>(), row.live);
        }
        let live: usize = self.model.values().map(|queue| queue.alive.len()).sum();
        assert_eq!(self.keeper.counts().live, live as u64);
    }

    /// The broker dies, with everything in the system's hands (`kill -9`) or only what was synced (a power cut).
    pub fn crash(self, power: bool) -> Lane {
        let disk = if power { self.disk.cut(|_| 0) } else { self.disk.copy() };
        let model = self.model.clone();
        let mut lane = self.again(disk);
        lane.model = model;
        lane.forget_transient(false);
        lane
    }

    /// The broker is stopped in order.
    pub fn stop(mut self) -> Lane {
        self.sync();
        self.records.clean();
        self.sync();
        self.keeper.stop(self.now).unwrap();
        let (disk, model) = (self.disk.cut(|_| 0), self.model.clone());
        let mut lane = self.again(disk);
        lane.model = model;
        lane.forget_transient(true);
        lane
    }

    fn again(self, disk: MemoryDisk) -> Lane {
        let lane = Lane::on(disk, self.limits.clone());
        Lane { seq: self.seq, bodies: self.bodies, now: self.now, ..lane }
    }

    pub fn forget_transient(&mut self, clean: bool) {
        assert_eq!(self.contents.clean, clean);
        for (id, queue) in &mut self.model {
            queue.alive.retain(|_, (.., survives)| *survives);
            if !clean {
                queue.flagged = queue.alive.keys().copied().collect();
            }
            let row = self.contents.queues.iter().find(|row| row.id.0 == *id);
            let seen = self.contents.notes.iter().find(|(queue, _)| queue.0 == *id);
            let time = self.contents.time_ms;
            queue.notes.retain(|note| !note.is_past(time));
            let told = seen.map(|(_, notes)| notes.iter().copied().collect::<VecDeque<_>>());
            assert_eq!(told.unwrap_or_default(), queue.notes, "queue {id}");
            assert!(row.is_none_or(|row| (row.bytes > 0) == (row.ready > 0)), "queue {id}: {row:?}");
            assert_eq!(row.map_or(0, |row| row.ready), queue.alive.len() as u64, "queue {id}");
            if let Some(first) = queue.alive.keys().next() {
                assert_eq!(row.map(|row| row.first), Some(*first));
            }
            // Positions that never came to the journal may come again.
            queue.end = row.map_or(0, |row| row.end).max(queue.alive.keys().next_back().map_or(0, |last| last + 1));
        }
    }
}
