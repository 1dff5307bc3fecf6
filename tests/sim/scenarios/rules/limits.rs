//! Limits: no more than so many messages are ready after a turn; drop-head loses the oldest and nothing else, a publish
//! is refused or taken and never both, and what is dead-lettered turns up once.

use super::{Letter, Publisher, Stage, dead_letters_to, deaths, number, text};
use crate::script::{ack, nack};
use crate::sim::PeerId;
use leveret::amqp::Value;
use leveret::amqp::method::BasicReject;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    DropHead,
    Reject,
    RejectDlx,
}

struct Run {
    stage: Stage,
    overflow: Overflow,
    length: Option<usize>,
    bytes: Option<usize>,
    dead: bool,
    taker: PeerId,
    /// Body sizes.
    sizes: Vec<usize>,
    ready: BTreeSet<usize>,
    /// With their tags.
    held: BTreeMap<usize, u64>,
    /// Dead letters that must be there, and why.
    died: BTreeMap<usize, &'static str>,
    /// Acknowledged, or let go of: a crash may have been faster.
    gone: BTreeSet<usize>,
    /// What a crash has brought back, perhaps.
    maybe: BTreeSet<usize>,
    crashed: bool,
    competed: bool,
}

/// See the [module](self).
pub fn limits(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x0011_3175, trace);
    let overflow = stage.rng.pick(&[Overflow::DropHead, Overflow::DropHead, Overflow::Reject, Overflow::RejectDlx]);
    let by_bytes = stage.rng.chance(35);
    let length = (!by_bytes || stage.rng.chance(30)).then(|| stage.rng.pick(&[0, 1, 2, 5, 12]));
    let bytes = by_bytes.then(|| stage.rng.pick(&[0, 20, 100, 1000]));
    let dead = overflow == Overflow::RejectDlx || stage.rng.chance(60);
    let mut rules = vec![];
    rules.extend(length.map(|length| ("x-max-length", Value::I32(length as i32))));
    rules.extend(bytes.map(|bytes| ("x-max-length-bytes", Value::I32(bytes as i32))));
    if dead {
        rules.extend(dead_letters_to("dead"));
    }
    match overflow {
        Overflow::DropHead => {}
        Overflow::Reject => rules.push(("x-overflow", Value::LongStr(b"reject-publish"))),
        Overflow::RejectDlx => rules.push(("x-overflow", Value::LongStr(b"reject-publish-dlx"))),
    }
    stage.declare("q", &rules);
    stage.declare("dead", &[]);
    let taker = stage.peer();
    let mut run = Run {
        stage,
        overflow,
        length,
        bytes,
        dead,
        taker,
        sizes: vec![],
        ready: BTreeSet::new(),
        held: BTreeMap::new(),
        died: BTreeMap::new(),
        gone: BTreeSet::new(),
        maybe: BTreeSet::new(),
        crashed: false,
        competed: false,
    };
    let mut publishers = run.stage.publishers(3);
    for _ in 0..run.stage.rng.pick(&[10, 30, 60]) {
        match run.stage.rng.below(8) {
            0..=3 => {
                let at = run.stage.rng.below(publishers.len());
                run.publish(&mut publishers[at]);
            }
            4..=5 => run.get(),
            _ => run.settle_one(),
        }
        run.stage.turns(10);
    }
    if run.stage.rng.chance(50) {
        run.compete(&mut publishers);
    }
    if run.stage.stored && run.stage.rng.chance(60) {
        run.crash();
    }
    run.end()
}

impl Run {
    fn bytes_ready(&self) -> usize {
        self.ready.iter().map(|number| self.sizes[*number]).sum()
    }

    fn is_full(&self) -> bool {
        self.length.is_some_and(|max| self.ready.len() >= max)
            || self.bytes.is_some_and(|max| self.bytes_ready() >= max)
    }

    fn is_over(&self) -> bool {
        self.length.is_some_and(|max| self.ready.len() > max) || self.bytes.is_some_and(|max| self.bytes_ready() > max)
    }

    fn lose(&mut self, number: usize, reason: &'static str) {
        if self.dead {
            self.died.insert(number, reason);
        } else {
            self.gone.insert(number);
        }
    }

    fn drop_head(&mut self) {
        while self.overflow == Overflow::DropHead && self.is_over() {
            let Some(oldest) = self.ready.pop_first() else { break };
            self.lose(oldest, "maxlen");
        }
    }

    fn letter(&mut self) -> Letter {
        let bytes = self.stage.rng.pick(&[8, 8, 30, 300]);
        let letter = Letter { text: text(self.sizes.len(), bytes), persistent: true, ..Letter::default() };
        self.sizes.push(letter.text.len());
        letter
    }

    /// Some publishes of one client: what becomes of each is known.
    fn publish(&mut self, publisher: &mut Publisher) {
        let count = self.stage.rng.range(1, 8);
        let mut expected = vec![];
        for _ in 0..count {
            let letter = self.letter();
            publisher.send(&mut self.stage.sim, "q", &letter);
            if self.stage.rng.chance(30) {
                self.stage.turns(5);
            }
            let number = self.sizes.len() - 1;
            let refused = self.overflow != Overflow::DropHead && self.is_full();
            expected.push(!refused);
            if !refused {
                self.ready.insert(number);
            } else if self.overflow == Overflow::RejectDlx {
                self.died.insert(number, "maxlen");
            }
            self.drop_head();
        }
        let acked = publisher.confirms(&mut self.stage.sim, count);
        assert_eq!(acked, expected, "what was taken, of {} and {} before", self.sizes.len(), count);
        self.count();
    }

    fn count(&mut self) {
        let ready = self.stage.ready(self.taker, "q");
        assert_eq!(ready, self.ready.len(), "ready messages");
    }

    fn get(&mut self) {
        let got = self.stage.take(self.taker, "q", false);
        let numbers = got.as_ref().map(|delivery| number(&delivery.content));
        assert_eq!(numbers, self.ready.first().copied(), "the first ready message");
        if let Some(delivery) = got
            && let Some(number) = self.ready.pop_first()
        {
            self.held.insert(number, delivery.tag);
        }
    }

    fn settle_one(&mut self) {
        let held: Vec<(usize, u64)> = self.held.iter().map(|(number, tag)| (*number, *tag)).collect();
        if held.is_empty() {
            return;
        }
        let (number, tag) = self.stage.rng.pick(&held);
        self.held.remove(&number);
        let (sim, taker) = (&mut self.stage.sim, self.taker);
        match self.stage.rng.below(3) {
            0 => {
                sim.send(taker, 1, &ack(tag, false));
                self.gone.insert(number);
            }
            1 => {
                sim.send(taker, 1, &BasicReject { delivery_tag: tag, requeue: false });
                self.lose(number, "rejected");
            }
            _ => {
                sim.send(taker, 1, &nack(tag, false, true));
                self.ready.insert(number);
                self.drop_head();
            }
        }
        self.count();
    }

    /// Publishers of several shards at once: whoever is told that a message was taken finds it in the queue.
    fn compete(&mut self, publishers: &mut [Publisher]) {
        self.competed = true;
        let count = self.stage.rng.range(1, 12);
        let before = self.ready.len();
        let mut sent: Vec<Vec<usize>> = vec![vec![]; publishers.len()];
        for _ in 0..count {
            for at in 0..publishers.len() {
                let letter = self.letter();
                sent[at].push(self.sizes.len() - 1);
                publishers[at].send(&mut self.stage.sim, "q", &letter);
            }
            self.stage.turns(6);
        }
        let total = count * publishers.len();
        let mut taken = BTreeSet::new();
        for (publisher, sent) in publishers.iter().zip(&sent) {
            let acked = publisher.confirms(&mut self.stage.sim, count);
            let acked = sent.iter().zip(acked).filter(|(_, acked)| *acked);
            taken.extend(acked.map(|(number, _)| *number));
        }
        if let Some(length) = self.length.filter(|_| self.bytes.is_none() && self.overflow != Overflow::DropHead) {
            assert_eq!(taken.len(), total.min(length.saturating_sub(before)), "messages taken");
        }
        if self.overflow == Overflow::DropHead {
            assert_eq!(taken.len(), total, "drop-head refuses nothing");
        }
        // Those of the queue now: per publisher in order, and only what was taken.
        let mut found = vec![];
        while let Some(delivery) = self.stage.take(self.taker, "q", false) {
            found.push(number(&delivery.content));
            self.held.insert(number(&delivery.content), delivery.tag);
        }
        if self.overflow == Overflow::DropHead {
            self.ready.extend(&taken);
            assert!(found.iter().all(|number| self.ready.contains(number)), "{found:?}");
            let mut lost = self.ready.clone();
            found.iter().for_each(|number| assert!(lost.remove(number), "{number} twice in {found:?}"));
            for sent in &sent {
                let kept = sent.iter().position(|number| found.contains(number)).unwrap_or(sent.len());
                assert!(sent[kept..].iter().all(|number| found.contains(number)), "not the oldest of {sent:?} went");
            }
            lost.into_iter().for_each(|number| self.lose(number, "maxlen"));
        } else {
            for number in sent.iter().flatten().filter(|number| !taken.contains(number)) {
                if self.overflow == Overflow::RejectDlx {
                    self.died.insert(*number, "maxlen");
                }
            }
            self.ready.extend(&taken);
            let all: BTreeSet<usize> = found.iter().copied().collect();
            assert_eq!((all, found.len()), (self.ready.clone(), self.ready.len()), "what was taken is there, once");
        }
        for sent in &sent {
            let order: Vec<&usize> = found.iter().filter(|number| sent.contains(number)).collect();
            assert!(order.is_sorted(), "{order:?} of one publisher");
        }
        self.ready.clear();
    }

    /// What was let go of or acknowledged may come back, all else must.
    fn crash(&mut self) {
        self.stage.crash();
        self.crashed = true;
        self.taker = self.stage.peer();
        self.ready.extend(std::mem::take(&mut self.held).into_keys());
        self.maybe.extend(std::mem::take(&mut self.gone));
        self.maybe.extend(self.died.keys());
    }

    fn end(mut self) -> u64 {
        if !self.crashed {
            // What is held goes back, and may be too much.
            self.stage.sim.rest();
            self.stage.sim.cut(self.taker);
            self.stage.sim.rest();
            self.ready.extend(std::mem::take(&mut self.held).into_keys());
            self.drop_head();
            self.taker = self.stage.peer();
            self.count();
        } else {
            // One more, and it is over the limit no more.
            let mut publisher = self.stage.publisher();
            let letter = self.letter();
            publisher.send(&mut self.stage.sim, "q", &letter);
            let taken = publisher.confirms(&mut self.stage.sim, 1)[0];
            if taken {
                self.ready.insert(self.sizes.len() - 1);
            } else if self.overflow == Overflow::RejectDlx {
                self.died.insert(self.sizes.len() - 1, "maxlen");
            }
            self.stage.settle(100);
            let ready = self.stage.ready(self.taker, "q");
            let max = self.length.unwrap_or(usize::MAX);
            assert!(self.overflow != Overflow::DropHead || ready <= max, "{ready} are ready");
        }
        self.stage.settle(100);
        let queue: Vec<usize> = self.stage.drain("q").iter().map(|delivery| number(&delivery.content)).collect();
        // Of several publishers at once nobody knows who was first.
        assert!(self.competed || queue.is_sorted(), "{queue:?}");
        assert_eq!(queue.iter().collect::<BTreeSet<_>>().len(), queue.len(), "{queue:?}");
        if let Some(max) = self.bytes.filter(|_| self.overflow == Overflow::DropHead) {
            let bytes: usize = queue.iter().map(|number| self.sizes[*number]).sum();
            assert!(bytes <= max, "{bytes} bytes are ready: {queue:?}");
        }
        let mut dead = BTreeMap::new();
        for delivery in self.stage.drain("dead") {
            let (number, deaths) = (number(&delivery.content), deaths(&delivery.content));
            let [death] = &deaths[..] else { panic!("message {number}: {deaths:?}") };
            assert_eq!((&*death.queue, death.count), ("q", 1));
            let before = dead.insert(number, death.reason.clone());
            assert!(before.is_none() && !queue.contains(&number), "{number} is there twice");
        }
        if !self.crashed {
            let mut queue = queue;
            queue.sort_unstable();
            assert_eq!(queue, self.ready.iter().copied().collect::<Vec<usize>>());
            let died: BTreeMap<usize, String> =
                self.died.into_iter().map(|(number, reason)| (number, reason.to_owned())).collect();
            assert_eq!(dead, died);
            return self.stage.finish();
        }
        let known = |number: &usize| self.ready.contains(number) || self.maybe.contains(number);
        assert!(queue.iter().all(known), "{queue:?} of {:?} and {:?}", self.ready, self.maybe);
        if self.overflow != Overflow::DropHead {
            let lost = self.ready.iter().find(|number| !queue.contains(number));
            assert_eq!(lost, None, "lost, in the queue are {queue:?}");
        } else if self.dead {
            let lost = self.ready.iter().find(|number| !queue.contains(number) && !dead.contains_key(number));
            assert_eq!(lost, None, "lost, in the queue are {queue:?}, dead are {dead:?}");
        }
        // What was refused was in no queue that would have kept it.
        let died = self.died.keys().filter(|_| self.overflow != Overflow::RejectDlx);
        let died: Vec<&usize> = died.filter(|n| !queue.contains(n) && !dead.contains_key(n)).collect();
        assert!(died.is_empty(), "{died:?} are nowhere; in the queue are {queue:?}, dead are {dead:?}");
        self.stage.finish()
    }
}
