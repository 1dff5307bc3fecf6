//! Lifetimes: nothing is handed out after its own, nothing is lost before, and what has expired is a dead letter once.

use super::{Letter, text};
use super::{Publisher, Stage, dead_letters_to, deaths, number, properties};
use crate::script::{ack, consume, nack, prefetch};
use crate::sim::PeerId;
use crate::wire::Delivery;
use leveret::amqp::Value;
use leveret::amqp::method::{BasicCancel, BasicReject};

/// Where a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the queue, if it has not expired.
    Waiting,
    /// The same, or it has left the queue for good: nobody knows what of that has survived.
    MaybeWaiting,
    /// With the taker, under this tag.
    Held(u64),
    /// Acknowledged.
    Gone,
    /// Rejected, or expired.
    Dead,
}

#[derive(Debug)]
struct Message {
    letter: Letter,
    /// When it was published, at the earliest and at the latest.
    published: (u64, u64),
    life: Option<u64>,
    place: Place,
    /// It was rejected, and not delivered again since.
    rejected: bool,
    /// It was acknowledged before a crash: it need not be anywhere.
    dispensable: bool,
}

impl Message {
    /// Whether it must have expired by now.
    fn is_over(&self, now: u64) -> bool {
        self.life.is_some_and(|life| self.published.1 + life <= now)
    }

    /// Whether it may have.
    fn may_be_over(&self, now: u64) -> bool {
        self.life.is_some_and(|life| self.published.0 + life <= now)
    }
}

/// Who takes messages: one channel.
#[derive(Debug)]
struct Taker {
    peer: PeerId,
    /// Consumes, with this prefetch.
    consumes: Option<usize>,
}

struct Run {
    stage: Stage,
    ttl: Option<u64>,
    dead: bool,
    /// A quorum queue keeps whatever comes.
    keeps: bool,
    taker: Taker,
    messages: Vec<Message>,
    /// Those from here on may be on their way to the queue.
    coming: usize,
    crashes: usize,
}

/// See the [module](self).
pub fn lifetimes(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x0077_1000, trace);
    let ttl = stage.rng.pick(&[None, None, Some(10), Some(300), Some(2000), Some(5000)]);
    let dead = stage.rng.chance(70);
    let mut rules = vec![];
    rules.extend(ttl.map(|ttl: u64| ("x-message-ttl", Value::I64(ttl as i64))));
    if dead {
        rules.extend(dead_letters_to("dead"));
    }
    let keeps = stage.rng.chance(15);
    if keeps {
        rules.push(("x-queue-type", Value::LongStr(b"quorum")));
    }
    stage.declare("t", &rules);
    stage.declare("dead", &[]);
    let peer = stage.peer();
    let taker = Taker { peer, consumes: None };
    let mut run = Run { stage, ttl, dead, keeps, taker, messages: vec![], coming: 0, crashes: 0 };
    let mut publishers = run.stage.publishers(2);
    for _ in 0..run.stage.rng.pick(&[10, 40, 80]) {
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
                self.publish(&mut publishers[at]);
            }
            5..=6 if self.taker.consumes.is_none() => self.get(),
            7..=8 => self.settle_one(),
            9..=10 => {
                let ms = self.stage.rng.pick(&[1, 5, 40, 300, 1500, 6000]);
                self.pass(ms);
            }
            11 => self.count(),
            12 => self.consume_or_cancel(),
            _ if self.stage.stored && self.crashes < 3 && self.stage.rng.chance(40) => {
                self.crash();
                *publishers = self.stage.publishers(2);
            }
            _ => self.lose_taker(),
        }
        if self.taker.consumes.is_some() {
            self.rest();
            self.hear();
        }
    }

    fn publish(&mut self, publisher: &mut Publisher) {
        let count = self.stage.rng.range(1, 6);
        let first = self.messages.len();
        for number in first..first + count {
            let rng = &mut self.stage.rng;
            let expiration = rng.pick(&[None, None, Some(0), Some(10), Some(100), Some(1000), Some(5000)]);
            let bytes = rng.pick(&[8, 8, 300]);
            let persistent = rng.chance(80) || self.keeps;
            let letter = Letter { text: text(number, bytes), persistent, expiration, ..Letter::default() };
            publisher.send(&mut self.stage.sim, "t", &letter);
            let life = match (expiration, self.ttl) {
                (Some(expiration), Some(ttl)) => Some(expiration.min(ttl)),
                (expiration, ttl) => expiration.or(ttl),
            };
            let published = (self.now(), self.now());
            let place = Place::Waiting;
            self.messages.push(Message { letter, published, life, place, rejected: false, dispensable: false });
            if self.taker.consumes.is_none() && self.stage.rng.chance(30) {
                self.stage.pass(3);
            }
        }
        assert!(publisher.confirms(&mut self.stage.sim, count).iter().all(|acked| *acked));
        let now = self.now();
        self.messages[first..].iter_mut().for_each(|message| message.published.1 = now);
        // A lifetime begins in the queue: what need not be on the disk may be on its way there still.
        self.coming = self.coming.min(first);
    }

    /// Everything that was published is in its queue by now.
    fn all_came(&mut self) {
        let (now, stored) = (self.now(), self.stage.stored);
        let late = self.messages[self.coming..].iter_mut().filter(|message| !stored || !message.letter.persistent);
        late.for_each(|message| message.published.1 = now);
        self.coming = self.messages.len();
    }

    fn rest(&mut self) {
        self.stage.sim.rest();
        self.all_came();
    }

    /// Time passes. While somebody consumes, everything is at rest before it goes on: a delivery's time is known.
    fn pass(&mut self, ms: usize) {
        if self.stage.rng.chance(70) {
            self.rest();
        }
        if self.taker.consumes.is_none() {
            return self.stage.pass(ms);
        }
        for _ in 0..3 {
            self.stage.sim.net.now_ms += (ms / 3) as u64;
            self.rest();
            self.hear();
        }
    }

    /// The taker has got a message that was handed out now.
    fn arrived(&mut self, delivery: &Delivery) {
        let (now, number) = (self.now(), number(&delivery.content));
        let message = &mut self.messages[number];
        // A consumer that waits gets what would be let go of at once.
        let at_once = self.taker.consumes.is_some() && message.life == Some(0) && !delivery.redelivered;
        assert!(at_once || !message.is_over(now), "message {number} at {now}: {message:?}");
        assert!(matches!(message.place, Place::Waiting | Place::MaybeWaiting), "message {number}: {message:?}");
        assert!(deaths(&delivery.content).is_empty());
        (message.place, message.rejected, message.dispensable) = (Place::Held(delivery.tag), false, false);
        self.must_be_over(number, now);
    }

    /// Everything in front of this number must have gone.
    fn must_be_over(&mut self, end: usize, now: u64) {
        for (number, message) in self.messages[..end].iter_mut().enumerate() {
            match message.place {
                Place::Waiting => {
                    assert!(message.may_be_over(now), "message {number} is lost, {end} comes at {now}: {message:?}");
                    message.place = Place::Dead;
                }
                Place::MaybeWaiting => message.place = if message.dispensable { Place::Gone } else { Place::Dead },
                _ => {}
            }
        }
    }

    fn get(&mut self) {
        self.all_came();
        match self.stage.take(self.taker.peer, "t", false) {
            Some(delivery) => self.arrived(&delivery),
            None => self.must_be_over(self.messages.len(), self.now()),
        }
    }

    fn hear(&mut self) {
        for (_, delivery) in self.stage.sim.take_deliveries(self.taker.peer, 1) {
            self.arrived(&delivery);
        }
        if let Some(limit) = self.taker.consumes
            && self.held().len() < limit
        {
            self.must_be_over(self.messages.len(), self.now());
        }
    }

    fn held(&self) -> Vec<(usize, u64)> {
        let held = self.messages.iter().enumerate().filter_map(|(number, message)| match message.place {
            Place::Held(tag) => Some((number, tag)),
            _ => None,
        });
        held.collect()
    }

    fn settle_one(&mut self) {
        let held = self.held();
        if held.is_empty() {
            return;
        }
        let (number, tag) = self.stage.rng.pick(&held);
        let (sim, peer) = (&mut self.stage.sim, self.taker.peer);
        let message = &mut self.messages[number];
        match self.stage.rng.below(4) {
            0 => {
                sim.send(peer, 1, &ack(tag, false));
                message.place = Place::Gone;
            }
            1 => {
                sim.send(peer, 1, &BasicReject { delivery_tag: tag, requeue: false });
                (message.place, message.rejected) = (Place::Dead, true);
            }
            2 => {
                sim.send(peer, 1, &BasicReject { delivery_tag: tag, requeue: true });
                message.place = Place::Waiting;
            }
            _ => {
                sim.send(peer, 1, &nack(tag, false, true));
                message.place = Place::Waiting;
            }
        }
        if self.taker.consumes.is_none() && self.stage.rng.chance(50) {
            self.stage.turns(20);
        }
    }

    /// At rest, whatever has expired at the front is gone.
    fn count(&mut self) {
        self.rest();
        if self.taker.consumes.is_some() {
            return self.hear();
        }
        let now = self.now();
        let ready = self.stage.ready(self.taker.peer, "t");
        let waits = |message: &&Message| matches!(message.place, Place::Waiting | Place::MaybeWaiting);
        // After a start a queue learns of expirations when somebody wants its messages.
        let knows = self.ttl.is_some() || self.crashes == 0;
        let most = self.messages.iter().filter(waits).skip_while(|message| knows && message.is_over(now)).count();
        let least = self.messages.iter().filter(|message| message.place == Place::Waiting);
        let least = least.filter(|message| !message.may_be_over(now)).count();
        assert!((least..=most).contains(&ready), "{ready} are ready at {now}, not {least} to {most}");
    }

    fn consume_or_cancel(&mut self) {
        let peer = self.taker.peer;
        if self.taker.consumes.take().is_some() {
            self.stage.sim.must(peer, 1, &BasicCancel { consumer_tag: "c", no_wait: false });
            for (_, delivery) in self.stage.sim.take_deliveries(peer, 1) {
                self.arrived(&delivery);
            }
            return;
        }
        // What it got by basic.get does not count.
        let held = self.held().len();
        if held > 0 {
            return;
        }
        self.rest();
        let limit = self.stage.rng.range(1, 5);
        self.stage.sim.must(peer, 1, &prefetch(limit as u16, false));
        self.stage.sim.must(peer, 1, &consume("t", "c", false));
        self.taker.consumes = Some(limit);
    }

    fn new_taker(&mut self) {
        for message in &mut self.messages {
            if matches!(message.place, Place::Held(_)) {
                message.place = Place::Waiting;
            }
        }
        self.taker = Taker { peer: self.stage.peer(), consumes: None };
    }

    /// Its connection ends; all that it holds goes back.
    fn lose_taker(&mut self) {
        self.rest();
        if self.taker.consumes.is_some() {
            self.hear();
        }
        if self.stage.rng.chance(50) {
            self.stage.sim.close_connection(self.taker.peer);
        } else {
            self.stage.sim.cut(self.taker.peer);
        }
        self.stage.sim.rest();
        self.new_taker();
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.all_came();
        if self.taker.consumes.is_none() {
            self.stage.turns(30);
        }
        self.stage.crash();
        for message in &mut self.messages {
            let acknowledged = message.place == Place::Gone;
            // What was let go of at once was in no queue.
            let fleeting = message.life == Some(0);
            message.dispensable |= acknowledged || fleeting;
            match message.place {
                _ if !message.letter.persistent => (message.place, message.dispensable) = (Place::Gone, false),
                Place::Gone | Place::Dead => message.place = Place::MaybeWaiting,
                _ => {}
            }
        }
        self.new_taker();
    }

    fn end(mut self) -> u64 {
        self.lose_taker();
        self.stage.settle(6000);
        let mut found = vec![vec![]; self.messages.len()];
        for delivery in self.stage.drain("t") {
            self.arrived(&delivery);
            found[number(&delivery.content)].push("t");
        }
        self.must_be_over(self.messages.len(), self.now());
        self.stage.settle(0);
        let wall_s = self.stage.sim.net.wall_ms() / 1000;
        for delivery in self.stage.drain("dead") {
            let content = &delivery.content;
            let number = number(content);
            let message = &self.messages[number];
            found[number].push("dead");
            let deaths = deaths(content);
            let [death] = &deaths[..] else { panic!("message {number}: {deaths:?}") };
            let reasons: &[&str] = match (message.rejected, message.life) {
                (true, Some(_)) if self.crashes > 0 => &["rejected", "expired"],
                (true, _) => &["rejected"],
                _ => &["expired"],
            };
            assert!(reasons.contains(&&*death.reason), "message {number}, {message:?}: {death:?}");
            assert_eq!((&*death.queue, death.count), ("t", 1));
            assert_eq!(death.original_expiration, message.letter.expiration.map(|ms| ms.to_string()));
            assert!((wall_s - 500..=wall_s).contains(&death.time_s), "{death:?} at {wall_s}");
            assert_eq!(properties(content).expiration, None);
        }
        for (number, message) in self.messages.iter().enumerate() {
            let found = &found[number];
            let stays = message.life.is_none() && !message.rejected;
            let (least, most) = match message.place {
                // What was acknowledged, and no crash has brought back.
                Place::Gone if !message.dispensable => (0, 0),
                _ if message.dispensable => (0, usize::from(self.dead || message.life.is_none())),
                _ if stays => (1, 1),
                _ if self.dead => (1, 1),
                // Rejected, and the crash may have been faster.
                _ => (0, usize::from(self.crashes > 0 && message.life.is_none())),
            };
            assert!((least..=most).contains(&found.len()), "message {number} is in {found:?}: {message:?}");
        }
        self.stage.finish()
    }
}
