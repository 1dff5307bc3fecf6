//! B 37: the same script of one client, each command after the last one's answer, on one shard and on four: the same
//! answers.

use crate::personality::{faults, settings};
use crate::rng::Rng;
use crate::script::{
    AUTO_DELETE, EXCLUSIVE, Flags, PASSIVE, PLAIN, ack, consume, exchange_declare, get, nack, prefetch, queue_bind,
    queue_declare, queue_delete,
};
use crate::sim::{PeerId, Sim};
use crate::wire::{Delivery, Heard};
use leveret::amqp::Table;
use leveret::amqp::method::*;
use std::collections::BTreeMap;

const QUEUES: [&str; 3] = ["a", "b", "c"];
const EXCHANGES: [&str; 3] = ["x", "y", "amq.topic"];
const KEYS: [&str; 4] = ["", "k", "a.b", "a"];

/// A client that writes down what it hears, so that the order among queues does not matter.
struct Clerk {
    sim: Sim,
    peer: PeerId,
    record: Vec<String>,
    /// Generated names in the order in which they came.
    names: Vec<String>,
    /// Bodies of outstanding deliveries, with their tags.
    held: BTreeMap<String, u64>,
    unconfirmed: Vec<u64>,
    published: u64,
}

/// What a client of a broker with so many shards hears.
pub fn script(seed: u64, shards: usize, trace: bool) -> Vec<String> {
    let mut world = Rng::new(seed ^ shards as u64);
    let settings = settings(&mut world);
    let faults = faults(&mut world, shards);
    let mut sim = Sim::new(world.next(), shards, settings, faults, trace);
    let home = world.below(shards);
    let peer = sim.open(home);
    let mut clerk =
        Clerk { sim, peer, record: vec![], names: vec![], held: BTreeMap::new(), unconfirmed: vec![], published: 0 };
    // Only this decides what the client does.
    let mut rng = Rng::new(seed);
    clerk.open_channel();
    for _ in 0..60 {
        clerk.command(&mut rng);
    }
    clerk.record
}

impl Clerk {
    fn open_channel(&mut self) {
        self.sim.open_channel(self.peer, 1);
        self.sim.confirm_select(self.peer, 1);
        self.held.clear();
        self.unconfirmed.clear();
        self.published = 0;
    }

    /// Sends and waits until nothing happens any more.
    fn say<M: Encode + std::fmt::Debug>(&mut self, method: &M) {
        self.sim.send(self.peer, 1, method);
        self.listen(&format!("{method:?}"));
    }

    fn listen(&mut self, command: &str) {
        self.sim.rest();
        let mut lines: Vec<String> = vec![];
        let mut closed = false;
        for (channel, heard) in std::mem::take(&mut self.sim.peers[self.peer].heard) {
            assert_eq!(channel, 1, "{heard:?}");
            match heard {
                Heard::Deliver { tag, delivery } => lines.push(format!("deliver {tag}: {}", self.note(&delivery))),
                Heard::GetOk { remaining, delivery } => {
                    lines.push(format!("get-ok: {}, {remaining} left", self.note(&delivery)));
                }
                Heard::Ack { seqno, multiple } => {
                    self.unconfirmed.retain(|open| !(*open == seqno || multiple && *open < seqno));
                }
                Heard::DeclareOk { queue, messages, consumers } => {
                    if queue.starts_with("amq.gen-") && !self.names.contains(&queue) {
                        self.names.push(queue.clone());
                    }
                    lines.push(format!("declare-ok {queue} {messages} {consumers}"));
                }
                Heard::ChannelClose { code, text, method } => {
                    lines.push(format!("channel.close {code} {text} {method:?}"));
                    closed = true;
                }
                other => lines.push(format!("{other:?}")),
            }
        }
        assert!(self.unconfirmed.is_empty() || closed, "not confirmed at rest: {:?}", self.unconfirmed);
        // Deliveries to different consumers may come in any order.
        lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
        self.record.push(self.stable(&format!("{command} → {lines:?}")));
        if closed {
            self.sim.send(self.peer, 1, &ChannelCloseOk {});
            self.open_channel();
            self.sim.rest();
        }
    }

    fn note(&mut self, delivery: &Delivery) -> String {
        let text = Sim::text(delivery);
        self.held.insert(text.clone(), delivery.tag);
        format!(
            "{text} from {:?} {:?}, redelivered {}",
            delivery.content.exchange, delivery.content.routing_key, delivery.redelivered
        )
    }

    /// Generated names by number.
    fn stable(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, name) in self.names.iter().enumerate() {
            text = text.replace(name, &format!("(generated {at})"));
        }
        text
    }

    fn command(&mut self, rng: &mut Rng) {
        let mut queue = rng.pick(&QUEUES).to_owned();
        let generated = rng.below(4);
        if let (Some(name), true) = (self.names.get(generated), rng.chance(25)) {
            queue = name.clone();
        }
        let (exchange, key) = (rng.pick(&EXCHANGES), rng.pick(&KEYS));
        let (flip, other) = (rng.chance(50), rng.chance(25));
        let number = rng.next();
        match rng.below(16) {
            0 => self.say(&queue_declare("", EXCLUSIVE)),
            1 => {
                let kinds = [PLAIN, PLAIN, PLAIN, AUTO_DELETE, EXCLUSIVE, PASSIVE, Flags { durable: true, ..PLAIN }];
                let flags = kinds[number as usize % kinds.len()];
                let flags = if queue.starts_with("amq.") { PASSIVE } else { flags };
                self.say(&queue_declare(&queue, flags));
            }
            2 => {
                let kind = if other { "topic" } else { "direct" };
                let declare =
                    ExchangeDeclare { passive: exchange.starts_with("amq."), ..exchange_declare(exchange, kind) };
                self.say(&declare);
            }
            3 => self.say(&queue_bind(&queue, exchange, key)),
            4 => {
                let arguments = Table::EMPTY;
                self.say(&QueueUnbind { reserved_1: 0, queue: &queue, exchange, routing_key: key, arguments });
            }
            5 if other => self.say(&QueueDelete { if_empty: flip, if_unused: !flip, ..queue_delete(&queue) }),
            5 => self.say(&QueuePurge { reserved_1: 0, queue: &queue, no_wait: false }),
            6..10 => {
                let (exchange, key) = if flip { ("", queue.as_str()) } else { (exchange, key) };
                for n in 0..=number % 4 {
                    self.published += 1;
                    self.unconfirmed.push(self.published);
                    let body = format!("m{}-{n}", self.record.len());
                    self.sim.publish(self.peer, 1, exchange, key, other, &[0, 0], body.as_bytes());
                }
                self.listen(&format!("publish {exchange:?} {key:?}"));
            }
            10 => self.say(&get(&queue, other)),
            11 => self.say(&consume(&queue, &format!("t{}", number % 5 + self.record.len() as u64 * 10), other)),
            12 => self.say(&prefetch((number % 4) as u16, false)),
            13 | 14 => {
                let held: Vec<(String, u64)> = self.held.iter().map(|(text, tag)| (text.clone(), *tag)).collect();
                if held.is_empty() {
                    return;
                }
                let (text, tag) = &held[number as usize % held.len()];
                self.held.remove(text);
                // What was got without acknowledgement is an error, the same everywhere but for the tag.
                if flip {
                    self.sim.send(self.peer, 1, &ack(*tag, false))
                } else {
                    self.sim.send(self.peer, 1, &nack(*tag, false, other))
                }
                self.listen_settled(&format!("settle {text}"), *tag);
            }
            _ => self.say(&BasicRecover { requeue: true }),
        }
    }

    fn listen_settled(&mut self, command: &str, tag: u64) {
        self.listen(command);
        if let Some(last) = self.record.last_mut() {
            *last = last.replace(&format!("unknown delivery tag {tag}"), "unknown delivery tag");
        }
    }
}
