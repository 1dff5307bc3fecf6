//! What the shards do: each owns queues, and the first one says what is there.

use super::check::Asked;
use super::model::{Body, Op, PAST_MS, PREDEFINED, base};
use super::run::Run;
use crate::lane::Lane;
use leveret::store::record::{Note, Records};
use leveret::store::{Fetch, Position, QueueId, Submission};

/// A shard is what it has not handed over yet.
#[derive(Debug, Default)]
pub struct Shard {
    pub pending: Vec<Op>,
    seq: u64,
}

impl Shard {
    pub fn submission(&mut self, from: usize, spare: Vec<u8>) -> Option<(Submission, Vec<Op>)> {
        let ops = std::mem::take(&mut self.pending);
        if ops.is_empty() {
            return None;
        }
        let mut records = Records::default();
        ops.iter().for_each(|op| op.write(&mut records));
        self.seq += 1;
        let bytes = records.take(spare);
        Some((Submission { from: from as u8, seq: self.seq, bytes, sync: !self.seq.is_multiple_of(3) }, ops))
    }
}

/// The largest number of a queue.
const ID_MAX: u64 = (1 << 56) - 1;

/// Positions that follow each other, as ranges.
pub fn ranges(positions: &[Position]) -> Vec<(Position, Position)> {
    let mut ranges: Vec<(Position, Position)> = vec![];
    for position in positions {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *position => *last = *position,
            _ => ranges.push((*position, *position)),
        }
    }
    ranges
}

impl Run {
    fn owner(&self, id: u64) -> usize {
        base(id) as usize % self.shards.len()
    }

    /// It happens, and will be handed over.
    fn note(&mut self, shard: usize, op: Op) {
        self.view.apply(&op);
        self.shards[shard].pending.push(op);
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn pick_id(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.view.definitions.keys().copied().collect();
        (!ids.is_empty()).then(|| self.rng.pick(&ids))
    }

    /// A queue with something in it.
    fn pick_queue(&mut self) -> Option<(u64, Vec<Position>)> {
        let full: Vec<u64> = self.view.queues.iter().filter(|(_, q)| !q.alive.is_empty()).map(|(id, _)| *id).collect();
        let id = (!full.is_empty()).then(|| self.rng.pick(&full))?;
        Some((id, self.view.queues[&id].alive.keys().copied().collect()))
    }

    pub fn act(&mut self) {
        match self.rng.below(100) {
            0..8 => self.define(),
            8..10 => self.undefine(),
            10..14 => self.bind(),
            14..50 => self.publish(),
            50..80 => self.settle(),
            80..86 => self.give_back(),
            86..88 => self.purge(),
            88..92 => self.see(),
            _ => {}
        }
    }

    fn define(&mut self) {
        if self.view.definitions.len() < 6 {
            let id = self.fresh_id();
            let bytes = (0..self.rng.below(40)).map(|n| (id as usize + n) as u8).collect();
            self.note(0, Op::Defined(id, bytes));
        } else if self.rng.chance(20)
            && let Some(id) = self.pick_id()
        {
            // The same again, with other bytes.
            self.note(0, Op::Defined(id, vec![self.rng.clone().next() as u8]));
        }
    }

    fn undefine(&mut self) {
        if let Some(id) = self.pick_id() {
            self.note(0, Op::Undefined(id));
        }
    }

    fn bind(&mut self) {
        let known: Vec<_> = self.view.bindings.iter().cloned().collect();
        if !known.is_empty() && self.rng.chance(40) {
            let binding = known[self.rng.below(known.len())].clone();
            return self.note(0, Op::Unbound(binding));
        }
        let (Some(from), Some(to)) = (self.pick_id(), self.pick_id()) else { return };
        let from = if self.rng.chance(50) { self.rng.below(PREDEFINED as usize) as u64 } else { from };
        let bytes = (0..self.rng.below(3)).map(|n| n as u8).collect();
        self.note(0, Op::Bound((from, to, bytes)));
    }

    /// A queue sees something.
    fn see(&mut self) {
        let Some(id) = self.pick_id() else { return };
        let shard = self.owner(id);
        // It must be known before, as for messages.
        if shard != 0 && !self.is_submitted(id) {
            return;
        }
        for _ in 0..self.rng.range(1, 5) {
            let note = self.rng.next().to_le_bytes();
            let note = Note {
                note: [note, note].concat().try_into().expect("16 bytes"),
                until_ms: self.rng.pick(&[0, PAST_MS, u64::MAX]),
            };
            self.note(shard, Op::Noted(id, 1 + (id % 7) as u32, note));
        }
    }

    /// Something that changes next to nothing.
    pub fn touch(&mut self) {
        self.note(0, Op::Bound((1, 2, b"touched".to_vec())));
    }

    fn body_bytes(&mut self) -> usize {
        match self.rng.below(100) {
            0..60 => self.rng.below(100),
            60..90 => self.rng.below(1500),
            90..99 => self.rng.below(6000),
            _ => self.rng.below(3 * self.limits.segment_bytes as usize),
        }
    }

    fn publish(&mut self) {
        let Some(first) = self.pick_id() else { return };
        let shard = self.owner(first);
        // A queue must be known before its messages come.
        let here = |run: &Run, id: u64| run.owner(id) == shard && (shard == 0 || run.is_submitted(id));
        if !here(self, first) {
            return;
        }
        let mut queues = vec![first];
        if self.rng.chance(25) {
            let ids: Vec<u64> = self.view.definitions.keys().copied().collect();
            queues.extend(ids.into_iter().filter(|id| *id != first && here(self, *id)));
        }
        if self.rng.chance(25) {
            let class = self.rng.range(1, 3) as u8;
            queues[0] = QueueId(first).class(class).0;
        }
        let transient = self.rng.chance(12);
        if transient && self.rng.chance(30) {
            // A queue that is not to survive. Its shard owns it, as every queue: nobody else journals anything of it.
            let last = ID_MAX - self.shards.len() as u64;
            queues = vec![(last..=ID_MAX).find(|id| self.owner(*id) == shard).expect("one of so many")];
        }
        let gap = if self.rng.chance(10) { self.rng.range(1, 5) as u64 } else { 0 };
        let end = |run: &Run, id: &u64| run.view.queues.get(id).map_or(0, |queue| queue.end);
        let places: Vec<(u64, Position)> = queues.iter().map(|id| (*id, end(self, id) + gap)).collect();
        let bodies: Vec<Body> = (0..self.rng.pick(&[1, 1, 2, 5, 20]))
            .map(|_| {
                self.next_body += 1;
                Body { number: self.next_body, bytes: self.body_bytes() }
            })
            .collect();
        for (queue, first) in &places {
            for (at, body) in bodies.iter().enumerate() {
                self.bodies.entry((*queue, first + at as u64)).or_default().push(*body);
            }
        }
        self.note(shard, Op::Messages { places, transient, bodies });
    }

    fn is_submitted(&self, id: u64) -> bool {
        let defines = |op: &Op| matches!(op, Op::Defined(defined, _) if *defined == id);
        self.base.definitions.contains_key(&id) || !self.shards[0].pending.iter().any(defines)
    }

    /// Some of a queue: from the front, from the end, all, or here and there.
    fn some(&mut self, alive: &[Position]) -> Vec<Position> {
        let count = self.rng.range(1, alive.len());
        match self.rng.below(5) {
            0 | 1 => alive[..count].to_vec(),
            2 => alive[alive.len() - count..].to_vec(),
            3 => alive.iter().copied().filter(|_| self.rng.chance(40)).collect(),
            _ => alive.to_vec(),
        }
    }

    fn settle(&mut self) {
        let Some((id, alive)) = self.pick_queue() else { return };
        let positions = self.some(&alive);
        for (first, last) in ranges(&positions) {
            self.note(self.owner(id), Op::Settled(id, first, last));
        }
    }

    pub fn settle_all(&mut self) {
        let ids: Vec<u64> = self.view.queues.keys().copied().collect();
        for id in ids {
            let alive: Vec<Position> = self.view.queues[&id].alive.keys().copied().collect();
            for (first, last) in ranges(&alive) {
                self.note(self.owner(id), Op::Settled(id, first, last));
            }
        }
    }

    fn give_back(&mut self) {
        let Some((id, alive)) = self.pick_queue() else { return };
        let positions = self.some(&alive);
        if self.rng.chance(40) {
            for position in positions {
                let counts = (self.rng.range(1, 9) as u32, self.rng.below(3) as u32);
                self.note(self.owner(id), Op::Counted(id, position, counts));
            }
            return;
        }
        for (first, last) in ranges(&positions) {
            self.note(self.owner(id), Op::Returned(id, first, last));
        }
    }

    fn purge(&mut self) {
        let Some((id, alive)) = self.pick_queue() else { return };
        let kept: Vec<Position> = alive.into_iter().filter(|_| self.rng.chance(20)).collect();
        let end = self.view.queues[&id].end + self.rng.pick(&[0, 0, 3]);
        let kept = ranges(&kept);
        self.note(self.owner(id), Op::Purged { queue: id, end, kept });
    }

    /// A shard wants something back.
    pub fn ask(&mut self, lane: &mut Lane) {
        let Some((id, _)) = self.pick_queue() else { return };
        let end = self.view.queues[&id].end;
        let shard = self.owner(id);
        if self.shards[shard].pending.iter().any(|op| matches!(op, Op::Messages { .. })) {
            return; // what is asked for was handed over
        }
        self.next_tag += 1;
        let from = self.rng.below(end as usize) as u64;
        let mut only = vec![];
        if self.rng.chance(40) {
            let part = self.rng.pick(&[3, 30, 100]);
            only = (0..end + 2).filter(|_| self.rng.chance(part)).collect();
        }
        let fetch = Fetch {
            shard: shard as u8,
            tag: self.next_tag,
            queue: QueueId(id),
            from,
            to: end,
            bytes_max: self.rng.pick(&[1, 500, 5000, 1 << 20]),
            count_max: self.rng.pick(&[1, 10, 256]),
            only,
            buffer: vec![],
        };
        let asked = Asked::of(&fetch, self.view.queues[&id].clone());
        self.say(|| format!("shard {shard} wants {id} from {from} to {end}: tag {}", fetch.tag));
        self.asked.insert(fetch.tag, asked);
        lane.fetch(fetch);
    }
}
