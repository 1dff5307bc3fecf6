//! Priorities of messages: of those that are ready, one of the highest level goes first, and the oldest of these.

use super::{Letter, Publisher, Stage, number, text};
use crate::script::{ack, consume, nack, prefetch};
use crate::sim::PeerId;
use leveret::amqp::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A message's place in the order: its level, highest first, and its number.
type Rank = (Reverse<u8>, usize);

struct Run {
    stage: Stage,
    max: u8,
    /// The level of messages that say nothing.
    common: u8,
    persistent: Vec<bool>,
    levels: Vec<u8>,
    ready: BTreeSet<Rank>,
    /// With their tags.
    held: BTreeMap<Rank, u64>,
    acknowledged: BTreeSet<Rank>,
    /// Acknowledged, and perhaps there again after a crash.
    maybe: BTreeSet<Rank>,
    /// Who has published what while others did.
    sent_by: BTreeMap<usize, usize>,
    taker: PeerId,
}

/// See the [module](self).
pub fn message_priorities(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x0009_2107, trace);
    let quorum = stage.rng.chance(30);
    let (max, common) = if quorum { (31, 4) } else { (stage.rng.pick(&[0, 1, 3, 10, 255]), 0) };
    let rules = match quorum {
        true => [("x-queue-type", Value::LongStr(b"quorum"))],
        false => [("x-max-priority", Value::I32(max.into()))],
    };
    stage.declare("q", &rules);
    let taker = stage.peer();
    let mut run = Run {
        stage,
        max: max.max(1),
        common,
        persistent: vec![],
        levels: vec![],
        ready: BTreeSet::new(),
        held: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        maybe: BTreeSet::new(),
        sent_by: BTreeMap::new(),
        taker,
    };
    let mut publishers = run.stage.publishers(2);
    for _ in 0..run.stage.rng.pick(&[10, 30, 60]) {
        match run.stage.rng.below(9) {
            0..=2 => {
                let at = run.stage.rng.below(publishers.len());
                run.publish(&mut publishers[at]);
            }
            3..=5 => run.get(),
            6..=7 => run.settle_one(),
            _ if run.stage.stored && run.stage.rng.chance(30) => {
                run.crash();
                publishers = run.stage.publishers(2);
            }
            _ => run.stage.turns(20),
        }
    }
    if run.maybe.is_empty() && run.stage.rng.chance(50) {
        run.consume_while_published(&mut publishers);
    }
    run.lose_taker();
    run.drain();
    run.stage.finish()
}

impl Run {
    fn letter(&mut self) -> (Letter, Rank) {
        let number = self.levels.len();
        let rng = &mut self.stage.rng;
        let priority = rng.pick(&[None, Some(0), Some(1), Some(2), Some(4), Some(5), Some(9), Some(255)]);
        // A quorum queue keeps whatever comes.
        let persistent = rng.chance(85) || self.common != 0;
        let bytes = rng.pick(&[8, 8, 300]);
        let level = priority.map_or(self.common, |priority: u8| priority.min(self.max));
        self.levels.push(level);
        self.persistent.push(persistent);
        (Letter { text: text(number, bytes), persistent, expiration: None, priority }, (Reverse(level), number))
    }

    fn publish(&mut self, publisher: &mut Publisher) {
        let count = self.stage.rng.range(1, 8);
        for _ in 0..count {
            let (letter, rank) = self.letter();
            publisher.send(&mut self.stage.sim, "q", &letter);
            self.ready.insert(rank);
        }
        assert!(publisher.confirms(&mut self.stage.sim, count).iter().all(|acked| *acked));
    }

    fn rank(&self, number: usize) -> Rank {
        (Reverse(self.levels[number]), number)
    }

    fn get(&mut self) {
        let got = self.stage.take(self.taker, "q", false);
        let rank = got.as_ref().map(|delivery| self.rank(number(&delivery.content)));
        self.comes(rank);
        if let (Some(rank), Some(delivery)) = (rank, got) {
            self.held.insert(rank, delivery.tag);
        }
    }

    /// The queue says that this is the next one.
    fn comes(&mut self, rank: Option<Rank>) {
        let first = self.ready.first().copied();
        match rank {
            Some(rank) if self.maybe.contains(&rank) => {
                assert!(first.is_none_or(|first| rank < first), "{rank:?} before {first:?}");
                self.maybe = self.maybe.split_off(&rank);
                self.maybe.remove(&rank);
                self.acknowledged.remove(&rank);
            }
            _ => {
                assert_eq!(rank, first, "the first of the highest level");
                self.ready.pop_first();
                self.maybe = rank.map_or_else(BTreeSet::new, |rank| self.maybe.split_off(&rank));
            }
        }
    }

    fn settle_one(&mut self) {
        let held: Vec<(Rank, u64)> = self.held.iter().map(|(rank, tag)| (*rank, *tag)).collect();
        if held.is_empty() {
            return;
        }
        let (rank, tag) = self.stage.rng.pick(&held);
        self.held.remove(&rank);
        if self.stage.rng.chance(50) {
            self.stage.sim.send(self.taker, 1, &ack(tag, false));
            self.acknowledged.insert(rank);
        } else {
            self.stage.sim.send(self.taker, 1, &nack(tag, false, true));
            self.ready.insert(rank);
        }
    }

    /// Publishers go on while one consumes, one message at a time: what is ready the whole time goes before what is of
    /// a lower level.
    fn consume_while_published(&mut self, publishers: &mut [Publisher]) {
        self.lose_taker();
        let peer = self.taker;
        self.stage.sim.must(peer, 1, &prefetch(1, false));
        self.stage.sim.must(peer, 1, &consume("q", "c", false));
        // In the queue since before the last acknowledgement; and what has come since, or is about to.
        let mut waits = std::mem::take(&mut self.ready);
        let mut coming = BTreeSet::new();
        let mut last: BTreeMap<(usize, Reverse<u8>), usize> = BTreeMap::new();
        let mut held = None;
        for _ in 0..30 {
            let at = self.stage.rng.below(publishers.len());
            for _ in 0..self.stage.rng.below(4) {
                let (letter, rank) = self.letter();
                publishers[at].send(&mut self.stage.sim, "q", &letter);
                self.sent_by.insert(rank.1, at);
                coming.insert(rank);
            }
            let rests = self.stage.rng.chance(40);
            if rests {
                self.stage.sim.rest()
            } else {
                self.stage.turns(30)
            }
            let got = self.stage.sim.take_deliveries(peer, 1);
            assert!(got.len() <= 1 && (got.is_empty() || held.is_none()), "more than one at a time");
            for (_, delivery) in got {
                let rank = self.rank(number(&delivery.content));
                assert!(waits.remove(&rank) || coming.remove(&rank), "{rank:?} comes again");
                let higher = waits.first().filter(|first| first.0 < rank.0);
                assert_eq!(higher, None, "it waits behind {rank:?}");
                if let Some(by) = self.sent_by.get(&rank.1) {
                    let before = last.insert((*by, rank.0), rank.1);
                    assert!(before < Some(rank.1), "{rank:?} comes after {before:?} of the same publisher");
                }
                held = Some((rank, delivery.tag));
            }
            if rests {
                waits.append(&mut coming);
            }
            if let Some((_, tag)) = held.filter(|_| self.stage.rng.chance(80)) {
                self.stage.sim.send(peer, 1, &ack(tag, false));
                held = None;
            }
        }
        self.stage.sim.rest();
        for (_, delivery) in self.stage.sim.take_deliveries(peer, 1) {
            held = Some((self.rank(number(&delivery.content)), delivery.tag));
        }
        self.ready = waits;
        self.ready.append(&mut coming);
        self.ready.extend(held.map(|(rank, _)| rank));
    }

    fn new_taker(&mut self) {
        self.ready.extend(std::mem::take(&mut self.held).into_keys());
        self.taker = self.stage.peer();
    }

    fn lose_taker(&mut self) {
        self.stage.sim.rest();
        self.stage.sim.cut(self.taker);
        self.stage.sim.rest();
        self.new_taker();
    }

    /// Everything persistent is there in its old order; what was acknowledged may be there again.
    fn crash(&mut self) {
        self.stage.turns(60);
        self.stage.crash();
        self.new_taker();
        self.maybe.append(&mut self.acknowledged.clone());
        for ranks in [&mut self.ready, &mut self.maybe, &mut self.acknowledged] {
            ranks.retain(|(_, number)| self.persistent[*number]);
        }
    }

    fn drain(&mut self) {
        let got: Vec<Rank> =
            self.stage.drain("q").iter().map(|delivery| self.rank(number(&delivery.content))).collect();
        if self.sent_by.is_empty() {
            got.into_iter().for_each(|rank| self.comes(Some(rank)));
            return self.comes(None);
        }
        // Of several publishers at once nobody knows who was first.
        assert!(got.iter().is_sorted_by_key(|rank| rank.0), "by level: {got:?}");
        let all: BTreeSet<Rank> = got.iter().copied().collect();
        assert_eq!((all, got.len()), (self.ready.clone(), self.ready.len()), "each once");
        let mut last: BTreeMap<(Option<&usize>, Reverse<u8>), usize> = BTreeMap::new();
        for rank in &got {
            let before = last.insert((self.sent_by.get(&rank.1), rank.0), rank.1);
            assert!(before < Some(rank.1), "{rank:?} comes after {before:?} of the same publisher");
        }
    }
}
