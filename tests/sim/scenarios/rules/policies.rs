//! Policies that come, change and go while messages flow: what is there when a change has been answered goes by the new
//! one; what was under way meanwhile may have met either.

use super::{Letter, Publisher, Stage, deaths, number, text};
use crate::script::{ack, nack};
use crate::sim::PeerId;
use leveret::amqp::method::BasicReject;
use leveret::shard::admin::{AdminRequest, Scope};
use std::collections::{BTreeMap, BTreeSet};

/// What a policy says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Definition {
    ttl: Option<u64>,
    length: Option<usize>,
    /// Dead letters go to a queue.
    dead: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the queue, or perhaps it has died.
    Ready,
    /// With the taker, under this tag.
    Held(u64),
    /// Acknowledged.
    Gone,
    Dead,
}

/// How a message may have died.
#[derive(Debug, Default)]
struct Deaths {
    reasons: BTreeSet<&'static str>,
    /// When there was somewhere to go.
    kept: bool,
    /// When there was not.
    lost: bool,
}

#[derive(Debug)]
struct Message {
    /// When it was published, at the earliest and at the latest.
    published: (u64, u64),
    place: Place,
    deaths: Deaths,
}

impl Message {
    fn is_surely_ready(&self) -> bool {
        self.place == Place::Ready && self.deaths.reasons.is_empty()
    }
}

struct Run {
    stage: Stage,
    taker: PeerId,
    publisher: Publisher,
    /// The first one that is set applies.
    policies: [Option<Definition>; 2],
    messages: Vec<Message>,
}

/// See the [module](self).
pub fn policies(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x0070_11c1, trace);
    stage.declare("q", &[]);
    stage.declare("dead", &[]);
    let (taker, publisher) = (stage.peer(), stage.publisher());
    let mut run = Run { stage, taker, publisher, policies: [None; 2], messages: vec![] };
    for _ in 0..run.stage.rng.pick(&[10, 30, 60]) {
        match run.stage.rng.below(12) {
            0..=2 => run.change(),
            3..=5 => run.publish(),
            6..=8 => run.get(),
            9 => {
                let ms = run.stage.rng.pick(&[40, 300, 1500]);
                run.stage.pass(ms);
                run.settle();
            }
            _ => run.settle_one(),
        }
    }
    run.end()
}

impl Run {
    fn now(&self) -> u64 {
        self.stage.sim.net.now_ms
    }

    fn applies(&self) -> Definition {
        self.policies.iter().flatten().next().copied().unwrap_or_default()
    }

    fn draw(&mut self) -> Definition {
        let rng = &mut self.stage.rng;
        let ttl = rng.chance(40).then(|| rng.pick(&[300, 1500, 6000]));
        let length = if ttl.is_none() || rng.chance(40) { Some(rng.pick(&[0, 1, 2, 5, 12])) } else { None };
        Definition { ttl, length, dead: rng.chance(60) }
    }

    /// A policy is set or cleared, with messages on their way or not.
    fn change(&mut self) {
        self.settle();
        let before = self.applies();
        let at = self.stage.rng.below(self.policies.len());
        let (vhost, name, scope) = ("/".to_owned(), format!("p{at}"), Scope::User);
        let request = if self.policies[at].is_some() && self.stage.rng.chance(40) {
            self.policies[at] = None;
            AdminRequest::ClearPolicy { scope, vhost, name }
        } else {
            let policy = self.draw();
            self.policies[at] = Some(policy);
            let mut keys: Vec<String> = vec![];
            keys.extend(policy.ttl.map(|ttl| format!(r#""message-ttl": {ttl}"#)));
            keys.extend(policy.length.map(|length| format!(r#""max-length": {length}"#)));
            if policy.dead {
                keys.push(r#""dead-letter-exchange": "", "dead-letter-routing-key": "dead""#.into());
            }
            let definition = keys.join(", ");
            let priority = 2 - at;
            let document = format!(r#"{{"pattern": "^q$", "definition": {{{definition}}}, "priority": {priority}}}"#);
            AdminRequest::SetPolicy { scope, vhost, name, document }
        };
        let count = if self.stage.rng.chance(60) { self.stage.rng.range(1, 8) } else { 0 };
        let first = self.send(count);
        self.stage.sim.administer(request);
        let more = if self.stage.rng.chance(30) { self.stage.rng.range(1, 3) } else { 0 };
        self.send(more);
        self.taken(first);
        self.apply(before);
        self.settle();
    }

    fn send(&mut self, count: usize) -> usize {
        let first = self.messages.len();
        for number in first..first + count {
            let bytes = self.stage.rng.pick(&[8, 8, 300]);
            let persistent = self.stage.rng.chance(70);
            let letter = Letter { text: text(number, bytes), persistent, ..Letter::default() };
            self.publisher.send(&mut self.stage.sim, "q", &letter);
            let (published, place) = ((self.now(), self.now()), Place::Ready);
            self.messages.push(Message { published, place, deaths: Deaths::default() });
            self.stage.turns(6);
        }
        first
    }

    /// Messages from this one on are taken.
    fn taken(&mut self, first: usize) {
        let count = self.messages.len() - first;
        assert!(self.publisher.confirms(&mut self.stage.sim, count).iter().all(|acked| *acked));
        self.stage.sim.rest();
        let now = self.now();
        self.messages[first..].iter_mut().for_each(|message| message.published.1 = now);
    }

    fn publish(&mut self) {
        let count = self.stage.rng.range(1, 8);
        let first = self.send(count);
        self.taken(first);
        self.settle();
    }

    /// At rest, with one policy for as long as anybody remembers.
    fn settle(&mut self) {
        // Before time passes, for what is only just too much or too old.
        self.stage.sim.rest();
        self.apply(self.applies());
        self.stage.settle(0);
        self.apply(self.applies());
    }

    /// What the policy before and the one of now have done to what is in the queue; at rest.
    fn apply(&mut self, before: Definition) {
        let (now, after) = (self.now(), self.applies());
        let die = |message: &mut Message, reason, surely| {
            message.deaths.reasons.insert(reason);
            message.deaths.kept |= before.dead || after.dead;
            message.deaths.lost |= !before.dead || !after.dead;
            if surely {
                message.place = Place::Dead;
            }
        };
        // What is too old and too much may go for either reason.
        let mut here: Vec<&mut Message> = self.messages.iter_mut().filter(|m| m.place == Place::Ready).collect();
        for message in &mut here {
            if [before.ttl, after.ttl].into_iter().flatten().any(|ttl| message.published.0 + ttl <= now) {
                die(message, "expired", after.ttl.is_some_and(|ttl| message.published.1 + ttl <= now));
            }
        }
        let shortest = before.length.into_iter().chain(after.length).min();
        let (mut behind, mut surely_behind) = (0, 0);
        for message in here.into_iter().rev() {
            let is_sure = message.is_surely_ready();
            if shortest.is_some_and(|length| behind >= length) {
                die(message, "maxlen", after.length.is_some_and(|length| surely_behind >= length));
            }
            behind += 1;
            surely_behind += usize::from(is_sure && message.is_surely_ready());
        }
    }

    /// Nothing in front of this number is in the queue.
    fn none_before(&mut self, end: usize) {
        for (number, message) in self.messages[..end].iter_mut().enumerate() {
            assert!(!message.is_surely_ready(), "message {number} is lost: {message:?}");
            if message.place == Place::Ready {
                message.place = Place::Dead;
            }
        }
    }

    fn arrived(&mut self, number: usize, place: Place) {
        let message = &mut self.messages[number];
        assert_eq!(message.place, Place::Ready, "message {number} comes: {message:?}");
        (message.place, message.deaths) = (place, Deaths::default());
        self.none_before(number);
    }

    fn get(&mut self) {
        self.settle();
        match self.stage.take(self.taker, "q", false) {
            Some(delivery) => self.arrived(number(&delivery.content), Place::Held(delivery.tag)),
            None => self.none_before(self.messages.len()),
        }
        self.count();
    }

    fn count(&mut self) {
        self.settle();
        let ready = self.stage.ready(self.taker, "q");
        let least = self.messages.iter().filter(|message| message.is_surely_ready()).count();
        let most = self.messages.iter().filter(|message| message.place == Place::Ready).count();
        assert!((least..=most).contains(&ready), "{ready} are ready at {}, not {least} to {most}", self.now());
    }

    fn settle_one(&mut self) {
        let held = |(number, message): (usize, &Message)| match message.place {
            Place::Held(tag) => Some((number, tag)),
            _ => None,
        };
        let held: Vec<(usize, u64)> = self.messages.iter().enumerate().filter_map(held).collect();
        if held.is_empty() {
            return;
        }
        let (number, tag) = self.stage.rng.pick(&held);
        let (dead, message) = (self.applies().dead, &mut self.messages[number]);
        match self.stage.rng.below(3) {
            0 => {
                self.stage.sim.send(self.taker, 1, &ack(tag, false));
                message.place = Place::Gone;
            }
            1 => {
                self.stage.sim.send(self.taker, 1, &BasicReject { delivery_tag: tag, requeue: false });
                message.place = Place::Dead;
                message.deaths = Deaths { reasons: BTreeSet::from(["rejected"]), kept: dead, lost: !dead };
            }
            _ => {
                self.stage.sim.send(self.taker, 1, &nack(tag, false, true));
                message.place = Place::Ready;
            }
        }
        self.settle();
    }

    fn end(mut self) -> u64 {
        self.settle();
        self.stage.sim.cut(self.taker);
        for message in self.messages.iter_mut().filter(|message| matches!(message.place, Place::Held(_))) {
            message.place = Place::Ready;
        }
        self.taker = self.stage.peer();
        self.count();
        for delivery in self.stage.drain("q") {
            self.arrived(number(&delivery.content), Place::Gone);
        }
        self.none_before(self.messages.len());
        self.stage.settle(0);
        let mut dead: BTreeMap<usize, String> = BTreeMap::new();
        for delivery in self.stage.drain("dead") {
            let (number, deaths) = (number(&delivery.content), deaths(&delivery.content));
            let [death] = &deaths[..] else { panic!("message {number}: {deaths:?}") };
            assert_eq!((&*death.queue, death.count), ("q", 1));
            assert_eq!(dead.insert(number, death.reason.clone()), None, "message {number} died twice");
        }
        for (number, message) in self.messages.iter().enumerate() {
            let found = dead.get(&number);
            let deaths = &message.deaths;
            let may_be = match message.place {
                Place::Dead if found.is_some() => deaths.kept,
                Place::Dead => deaths.lost,
                _ => found.is_none(),
            };
            assert!(may_be, "message {number}, {message:?}, among the dead: {found:?}");
            assert!(found.is_none_or(|reason| deaths.reasons.contains(&**reason)), "{number}, {message:?}: {found:?}");
        }
        self.stage.finish()
    }
}
