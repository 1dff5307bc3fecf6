//! Delayed messages: none comes before its time, each comes once to every queue that is bound when it is due, over
//! crashes too; a purge of what waits takes all of it.

use super::{Publisher, Stage, header, number, text};
use crate::script::{exchange_declare, queue_bind};
use crate::sim::PeerId;
use crate::wire::{Delivery, Heard};
use leveret::amqp::method::{ExchangeDeclare, QueuePurge, QueueUnbind};
use leveret::amqp::{Properties, Table, TableWriter, Value};

/// Where the exchange keeps what waits.
const WAITING: &str = "amq.delayed.e";
const QUEUES: [&str; 3] = ["q0", "q1", "q2"];
const KEYS: [&str; 2] = ["k0", "k1"];
/// More than any delay.
const ALL_MS: u64 = 20_000;

/// What a queue may have of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// It comes once.
    Due,
    /// It comes once or not at all.
    Maybe,
    /// It does not come.
    Never,
}

#[derive(Debug)]
struct Message {
    publisher: usize,
    key: usize,
    persistent: bool,
    delay: u64,
    /// When it was published, at the earliest and at the latest.
    published: (u64, u64),
    /// What the queues have of it, once that is known: it was due.
    copies: Option<[Copy; QUEUES.len()]>,
}

impl Message {
    fn is_due(&self, now: u64) -> bool {
        self.published.1 + self.delay <= now
    }

    fn may_be_due(&self, now: u64) -> bool {
        self.published.0 + self.delay <= now
    }
}

struct Run {
    stage: Stage,
    taker: PeerId,
    fanout: bool,
    /// By queue and key.
    bound: [[bool; KEYS.len()]; QUEUES.len()],
    messages: Vec<Message>,
    /// Those from here on may be on their way to the exchange.
    coming: usize,
    crashes: usize,
    /// Bindings change, and so there are no crashes: a move that is made again may go elsewhere.
    rebinds: bool,
}

/// See the [module](self).
pub fn delays(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x0000_de1a, trace);
    let fanout = stage.rng.chance(30);
    let rebinds = !stage.stored || stage.rng.chance(20);
    let peer = stage.peer();
    let kind = if fanout { "fanout" } else { "direct" };
    let mut arguments = TableWriter::new();
    arguments.put("x-delayed-type", Value::LongStr(kind.as_bytes()));
    let declare = exchange_declare("e", "x-delayed-message");
    let declare = ExchangeDeclare { durable: stage.stored, arguments: arguments.table(), ..declare };
    stage.sim.must(peer, 1, &declare);
    let mut bound = [[false; KEYS.len()]; QUEUES.len()];
    for (at, queue) in QUEUES.iter().enumerate() {
        stage.declare(queue, &[]);
        for (k, key) in KEYS.iter().enumerate() {
            bound[at][k] = stage.rng.chance(60);
            if bound[at][k] {
                stage.sim.must(peer, 1, &queue_bind(queue, "e", key));
            }
        }
    }
    let messages = vec![];
    let mut run = Run { stage, taker: peer, fanout, bound, messages, coming: 0, crashes: 0, rebinds };
    let mut publishers = run.stage.publishers(2);
    for _ in 0..run.stage.rng.pick(&[10, 30, 60]) {
        run.act(&mut publishers);
    }
    run.end()
}

impl Run {
    fn now(&self) -> u64 {
        self.stage.sim.net.now_ms
    }

    fn act(&mut self, publishers: &mut Vec<Publisher>) {
        match self.stage.rng.below(14) {
            0..=4 => {
                let at = self.stage.rng.below(publishers.len());
                self.publish(at, &mut publishers[at]);
            }
            5..=7 => {
                let queue = self.stage.rng.below(QUEUES.len());
                self.get(queue);
            }
            8..=10 => {
                let ms = self.stage.rng.pick(&[1, 5, 40, 300, 1500, 6000]);
                self.stage.pass(ms);
            }
            11 => self.count(),
            12 if self.rebinds => self.rebind(),
            12 if self.stage.rng.chance(25) => self.purge(),
            13 if !self.rebinds && self.crashes < 3 && self.stage.rng.chance(50) => {
                self.crash();
                *publishers = self.stage.publishers(2);
            }
            _ => self.stage.turns(20),
        }
    }

    fn publish(&mut self, at: usize, publisher: &mut Publisher) {
        let count = self.stage.rng.range(1, 6);
        let first = self.messages.len();
        for number in first..first + count {
            let rng = &mut self.stage.rng;
            let delay = rng.pick(&[0, 1, 10, 100, 100, 1000, 2500, 5000, ALL_MS]);
            let (key, persistent) = (rng.below(KEYS.len()), rng.chance(80));
            let body = text(number, rng.pick(&[8, 8, 300]));
            let mut headers = TableWriter::new();
            headers.put("x-delay", Value::I64(delay as i64));
            let delivery_mode = persistent.then_some(2);
            let properties = Properties { delivery_mode, headers: Some(headers.table()), ..Properties::default() };
            let mut raw = vec![];
            properties.encode(&mut raw);
            let published = (self.now(), self.now());
            self.stage.sim.publish(publisher.peer, 1, "e", KEYS[key], false, &raw, body.as_bytes());
            publisher.published += 1;
            self.messages.push(Message { publisher: at, key, persistent, delay, published, copies: None });
            if self.stage.rng.chance(30) {
                self.stage.pass(3);
            }
        }
        assert!(publisher.confirms(&mut self.stage.sim, count).iter().all(|acked| *acked));
        let now = self.now();
        self.messages[first..].iter_mut().for_each(|message| message.published.1 = now);
        self.coming = self.coming.min(first);
    }

    /// Where a message goes.
    fn routed(&self, key: usize) -> [Copy; QUEUES.len()] {
        let takes = |keys: &[bool; KEYS.len()]| if self.fanout { keys.contains(&true) } else { keys[key] };
        self.bound.map(|keys| if takes(&keys) { Copy::Due } else { Copy::Never })
    }

    /// Everything is where it is to be now, and everything that was due is in its queues.
    fn settle(&mut self, ms: usize) {
        self.stage.sim.rest();
        let now = self.now();
        // What need not be on the disk may have been on its way until now.
        for message in &mut self.messages[self.coming..] {
            if !self.stage.stored || !message.persistent {
                message.published.1 = now;
            }
        }
        self.coming = self.messages.len();
        self.stage.settle(ms);
        let now = self.now();
        for number in 0..self.messages.len() {
            let message = &self.messages[number];
            if message.copies.is_none() && message.is_due(now) {
                self.messages[number].copies = Some(self.routed(message.key));
            }
        }
    }

    /// A queue has handed out a message, for good.
    fn arrived(&mut self, queue: usize, delivery: &Delivery) {
        let (now, number) = (self.now(), number(&delivery.content));
        let routed = self.routed(self.messages[number].key);
        let message = &mut self.messages[number];
        assert!(message.may_be_due(now), "message {number} comes at {now}: {message:?}");
        let told = header(&delivery.content, "x-delay").and_then(|value| value.as_integer());
        assert_eq!(told, Some(-(message.delay as i64)), "message {number}");
        let copies = message.copies.get_or_insert(routed);
        assert_ne!(copies[queue], Copy::Never, "message {number} comes to {queue}, or comes again: {copies:?}");
        copies[queue] = Copy::Never;
        let persistent = message.persistent;
        if self.crashes > 0 || message.delay == 0 {
            return;
        }
        // Of what has waited, what the same publisher has said to be due before has come before.
        let (publisher, due) = (message.publisher, message.published.0 + message.delay);
        let before = |other: &Message| {
            (other.publisher, other.persistent) == (publisher, persistent)
                && other.delay > 0
                && other.published.1 + other.delay < due
                && other.copies.is_some_and(|copies| copies[queue] == Copy::Due)
        };
        let late = self.messages.iter().position(before);
        assert_eq!(
            late,
            None,
            "message {number} comes before it at {now}: {:?}",
            late.map(|late| &self.messages[late])
        );
    }

    fn get(&mut self, queue: usize) {
        if self.stage.rng.chance(60) {
            self.settle(0);
        }
        if let Some(delivery) = self.stage.take(self.taker, QUEUES[queue], true) {
            self.arrived(queue, &delivery);
        }
    }

    /// How many messages wait, at least and at most; nothing is under way.
    fn waiting(&self) -> (usize, usize) {
        let now = self.now();
        let waiting = self.messages.iter().filter(|message| message.copies.is_none());
        let certain = waiting.clone().filter(|message| !message.may_be_due(now)).count();
        (certain, waiting.count())
    }

    fn count(&mut self) {
        self.settle(0);
        let ready = self.stage.ready(self.taker, WAITING);
        let (least, most) = self.waiting();
        assert!((least..=most).contains(&ready), "{ready} wait, not {least} to {most}");
        for (at, queue) in QUEUES.iter().enumerate() {
            let ready = self.stage.ready(self.taker, queue);
            let has =
                |copy: Copy| self.messages.iter().filter(|m| m.copies.is_some_and(|copies| copies[at] == copy)).count();
            let (least, most) = (has(Copy::Due), has(Copy::Due) + has(Copy::Maybe) + self.waiting().1);
            assert!((least..=most).contains(&ready), "{ready} are in {queue}, not {least} to {most}");
        }
    }

    /// What is due from now on goes elsewhere.
    fn rebind(&mut self) {
        self.settle(0);
        let now = self.now();
        let (at, k) = (self.stage.rng.below(QUEUES.len()), self.stage.rng.below(KEYS.len()));
        let (queue, routing_key) = (QUEUES[at], KEYS[k]);
        let before: Vec<_> = self.messages.iter().map(|message| self.routed(message.key)).collect();
        if self.bound[at][k] {
            let arguments = Table::EMPTY;
            let unbind = QueueUnbind { reserved_1: 0, queue, exchange: "e", routing_key, arguments };
            self.stage.sim.must(self.taker, 1, &unbind);
        } else {
            self.stage.sim.must(self.taker, 1, &queue_bind(queue, "e", routing_key));
        }
        self.bound[at][k] = !self.bound[at][k];
        self.stage.sim.rest();
        assert_eq!(self.now(), now);
        for (number, before) in before.into_iter().enumerate() {
            let message = &self.messages[number];
            if message.copies.is_none() && message.may_be_due(now) {
                let after = self.routed(message.key);
                let both = |at: usize| if before[at] == after[at] { before[at] } else { Copy::Maybe };
                self.messages[number].copies = Some(std::array::from_fn(both));
            }
        }
    }

    fn purge(&mut self) {
        self.settle(0);
        let now = self.now();
        let purge = QueuePurge { reserved_1: 0, queue: WAITING, no_wait: false };
        let Heard::PurgeOk { messages: purged } = self.stage.sim.must(self.taker, 1, &purge) else {
            panic!("no count")
        };
        let (least, most) = self.waiting();
        assert!((least..=most).contains(&(purged as usize)), "{purged} were purged, not {least} to {most}");
        assert_eq!(self.stage.ready(self.taker, WAITING), 0, "a purge leaves nothing");
        for number in 0..self.messages.len() {
            let message = &self.messages[number];
            if message.copies.is_none() {
                let routed = self.routed(message.key);
                let left =
                    |copy: Copy| if copy == Copy::Due && message.may_be_due(now) { Copy::Maybe } else { Copy::Never };
                self.messages[number].copies = Some(routed.map(left));
            }
        }
    }

    /// What was taken or purged may come back. Of the rest, what was persistent is there.
    fn crash(&mut self) {
        self.crashes += 1;
        self.stage.turns(30);
        self.stage.crash();
        self.taker = self.stage.peer();
        for number in 0..self.messages.len() {
            let message = &self.messages[number];
            let routed = self.routed(message.key);
            self.messages[number].copies = match message.copies {
                _ if !message.persistent => Some([Copy::Never; QUEUES.len()]),
                None => None,
                Some(copies) => Some(std::array::from_fn(|at| match (copies[at], routed[at]) {
                    (Copy::Never, Copy::Due) => Copy::Maybe,
                    (copy, _) => copy,
                })),
            };
        }
        self.coming = self.messages.len();
    }

    fn end(mut self) -> u64 {
        self.settle(ALL_MS as usize);
        self.count();
        assert_eq!(self.stage.ready(self.taker, WAITING), 0, "nothing waits for ever");
        for (at, queue) in QUEUES.iter().enumerate() {
            for delivery in self.stage.drain(queue) {
                self.arrived(at, &delivery);
            }
            let missing = self.messages.iter().position(|m| m.copies.is_none_or(|copies| copies[at] == Copy::Due));
            assert_eq!(missing, None, "never comes to {queue}: {:?}", missing.map(|missing| &self.messages[missing]));
        }
        self.stage.finish()
    }
}
