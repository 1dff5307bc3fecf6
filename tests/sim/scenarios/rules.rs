//! Queues that go by rules: lifetimes, limits, priorities, counted deliveries, dead letters; on one to five shards,
//! with a data directory and crashes or without.
//!
//! Each scenario has one queue, or a chain of them, and knows of every message where it may be. Whoever takes messages
//! is one channel, so that what it asks for has an order; publishers are where the seed puts them.

mod chains;
mod delays;
mod deliveries;
mod lifetimes;
mod limits;
mod policies;
mod priorities;
mod spilled;

pub use chains::chains;
pub use delays::delays;
pub use deliveries::delivery_limits;
pub use lifetimes::lifetimes;
pub use limits::limits;
pub use policies::policies;
pub use priorities::message_priorities;
pub use spilled::spilled;

use super::open;
use crate::rng::Rng;
use crate::script::{Flags, PLAIN, get, queue_declare};
use crate::sim::{PeerId, Sim};
use crate::wire::{Content, Delivery, Heard};
use leveret::amqp::method::QueueDeclare;
use leveret::amqp::{Properties, Table, TableWriter, Value};
use leveret::config::Settings;

/// A broker in a drawn world, with what a scenario needs beside it.
struct Stage {
    sim: Sim,
    /// For the scenario's own choices.
    rng: Rng,
    /// There is a data directory.
    stored: bool,
}

/// What a queue says of a message's death.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Death {
    queue: String,
    reason: String,
    count: i64,
    time_s: u64,
    original_expiration: Option<String>,
}

/// A message to publish.
#[derive(Debug, Clone, Default)]
struct Letter {
    text: String,
    persistent: bool,
    /// In milliseconds.
    expiration: Option<u64>,
    priority: Option<u8>,
}

impl Stage {
    fn new(seed: u64, salt: u64, trace: bool) -> Stage {
        Stage::with(seed, salt, trace, None, |_| {})
    }

    /// With a data directory or not if that is said; `change` has the last word about settings.
    fn with(seed: u64, salt: u64, trace: bool, stored: Option<bool>, change: impl Fn(&mut Settings)) -> Stage {
        let mut rng = Rng::new(seed ^ salt);
        let shards = rng.range(1, 5);
        let stored = stored.unwrap_or_else(|| rng.chance(60));
        let mut personality = crate::personality::Personality::draw(&mut rng);
        if stored {
            personality.durable(&mut rng);
        }
        change(&mut personality.settings);
        let faults = crate::personality::faults(&mut rng, shards);
        let make = if stored { Sim::with_store } else { Sim::new };
        let sim = make(rng.next(), shards, personality.settings, faults, trace);
        Stage { sim, rng, stored }
    }

    /// A connection on some shard with channel 1 open.
    fn peer(&mut self) -> PeerId {
        let shard = self.rng.below(self.sim.shards.len());
        open(&mut self.sim, shard)
    }

    /// The same, for publishes that are confirmed.
    fn publisher(&mut self) -> Publisher {
        let peer = self.peer();
        self.sim.confirm_select(peer, 1);
        Publisher { peer, published: 0 }
    }

    fn publishers(&mut self, count: usize) -> Vec<Publisher> {
        (0..count).map(|_| self.publisher()).collect()
    }

    /// Declares a queue somewhere, durable if there is a data directory.
    fn declare(&mut self, queue: &str, rules: &[(&str, Value<'_>)]) {
        let peer = self.peer();
        let quorum = rules.contains(&("x-queue-type", Value::LongStr(b"quorum")));
        let mut arguments = TableWriter::new();
        rules.iter().for_each(|(key, value)| {
            arguments.put(key, *value);
        });
        let flags = Flags { durable: self.stored || quorum, ..PLAIN };
        let declare = QueueDeclare { arguments: arguments.table(), ..queue_declare(queue, flags) };
        self.sim.must(peer, 1, &declare);
        self.sim.close_connection(peer);
    }

    /// Moves the clock on in small steps, with turns in between.
    fn pass(&mut self, ms: usize) {
        let mut left = ms;
        while left > 0 {
            let step = self.rng.range(1, left.min(1 + ms / 4));
            left -= step;
            self.sim.net.now_ms += step as u64;
            for _ in 0..self.rng.below(20) {
                self.sim.step();
            }
        }
    }

    /// Waits until everything that is due within this time is done.
    fn settle(&mut self, ms: usize) {
        self.pass(ms);
        // What a move to another shard leaves to do is done a little later.
        for _ in 0..6 {
            self.sim.rest();
            self.sim.net.now_ms += 25;
        }
        self.sim.rest();
    }

    /// Some turns.
    fn turns(&mut self, most: usize) {
        for _ in 0..self.rng.below(most) {
            self.sim.step();
        }
    }

    /// The broker goes down at once and comes up again a while later.
    fn crash(&mut self) {
        super::durable::go_down_at_once(&mut self.sim);
        self.come_up();
    }

    fn come_up(&mut self) {
        self.sim.net.now_ms += self.rng.pick(&[0, 3, 200, 4000]);
        let shards = self.rng.range(1, 5);
        self.sim.restart(shards);
    }

    /// Ready messages.
    fn ready(&mut self, peer: PeerId, queue: &str) -> usize {
        self.sim.counts(peer, 1, queue).expect("a queue").0 as usize
    }

    /// Gets a message.
    fn take(&mut self, peer: PeerId, queue: &str, no_ack: bool) -> Option<Delivery> {
        match self.sim.must(peer, 1, &get(queue, no_ack)) {
            Heard::GetOk { delivery, .. } => Some(delivery),
            Heard::GetEmpty => None,
            other => panic!("{other:?}"),
        }
    }

    /// All messages of a queue, for good.
    fn drain(&mut self, queue: &str) -> Vec<Delivery> {
        let peer = self.peer();
        let all = self.sim.get_all(peer, 1, queue);
        self.sim.close_connection(peer);
        all
    }

    fn finish(self) -> u64 {
        super::finish(self.sim)
    }
}

/// A channel in confirm mode.
#[derive(Debug, Clone, Copy)]
struct Publisher {
    peer: PeerId,
    published: u64,
}

impl Publisher {
    /// Publishes to the default exchange.
    fn send(&mut self, sim: &mut Sim, queue: &str, letter: &Letter) {
        let expiration = letter.expiration.map(|ms| ms.to_string());
        let properties = Properties {
            delivery_mode: letter.persistent.then_some(2),
            expiration: expiration.as_deref(),
            priority: letter.priority,
            ..Properties::default()
        };
        let mut raw = vec![];
        properties.encode(&mut raw);
        sim.publish(self.peer, 1, "", queue, false, &raw, letter.text.as_bytes());
        self.published += 1;
    }

    /// Waits for the confirms of the last `count` publishes; true per publish for an ack.
    fn confirms(&self, sim: &mut Sim, count: usize) -> Vec<bool> {
        if count == 0 {
            return vec![];
        }
        sim.confirms(self.peer, 1, self.published + 1 - count as u64, self.published)
    }
}

/// The number of a message, from its text: `m`, the number, and perhaps a space and more.
fn number(content: &Content) -> usize {
    let text = std::str::from_utf8(&content.body).expect("a text");
    let number = text.strip_prefix('m').and_then(|text| text.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("nobody published {text}"))
}

/// The text of a message of about that many bytes.
fn text(number: usize, bytes: usize) -> String {
    format!("{:x<bytes$}", format!("m{number} "))
}

fn properties(content: &Content) -> Properties<'_> {
    Properties::decode(&content.properties).expect("properties that can be decoded")
}

fn header<'a>(content: &'a Content, key: &str) -> Option<Value<'a>> {
    properties(content).headers.and_then(|headers| headers.find(key))
}

fn integer(table: Table<'_>, key: &str) -> i64 {
    table.find(key).and_then(|value| value.as_integer()).unwrap_or_else(|| panic!("no {key}"))
}

/// What a message's header says of its deaths, newest first.
fn deaths(content: &Content) -> Vec<Death> {
    let Some(deaths) = header(content, "x-death") else { return vec![] };
    let Value::Array(deaths) = deaths else { panic!("{deaths:?}") };
    let text = |table: Table<'_>, key: &str| match table.find(key) {
        Some(Value::LongStr(text)) => Some(String::from_utf8(text.to_vec()).expect("a text")),
        _ => None,
    };
    let death = |value| {
        let Value::Table(table) = value else { panic!("{value:?}") };
        let Some(Value::Timestamp(time_s)) = table.find("time") else { panic!("no time") };
        Death {
            queue: text(table, "queue").expect("a queue"),
            reason: text(table, "reason").expect("a reason"),
            count: integer(table, "count"),
            time_s,
            original_expiration: text(table, "original-expiration"),
        }
    };
    let all: Vec<Death> = deaths.iter().map(death).collect();
    for (at, death) in all.iter().enumerate() {
        let same = |other: &Death| (&other.queue, &other.reason) == (&death.queue, &death.reason);
        assert!(!all[..at].iter().any(same), "two entries of the same kind: {all:?}");
    }
    if let (Some(last), Some(first)) = (all.first(), all.last()) {
        let said = |key| header(content, key).map(|value| value.as_long_str().map(<[u8]>::to_vec).unwrap_or_default());
        assert_eq!(said("x-last-death-queue").as_deref(), Some(last.queue.as_bytes()));
        assert_eq!(said("x-last-death-reason").as_deref(), Some(last.reason.as_bytes()));
        if all.iter().all(|death| death.count == 1) {
            assert_eq!(said("x-first-death-queue").as_deref(), Some(first.queue.as_bytes()));
            assert_eq!(said("x-first-death-reason").as_deref(), Some(first.reason.as_bytes()));
        }
    }
    all
}

/// The rules of a queue whose dead letters go to another by the default exchange.
fn dead_letters_to(queue: &str) -> [(&'static str, Value<'_>); 2] {
    [("x-dead-letter-exchange", Value::LongStr(b"")), ("x-dead-letter-routing-key", Value::LongStr(queue.as_bytes()))]
}
