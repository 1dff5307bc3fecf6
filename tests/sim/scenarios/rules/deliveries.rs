//! Counted deliveries: a message comes back so often and no more, says how often, and is a dead letter then. A crash
//! may forget some of it, and no message.

use super::{Letter, Stage, deaths, header, number, text};
use crate::script::{ack, consume, nack, prefetch};
use crate::wire::Delivery;
use leveret::amqp::Value;
use leveret::amqp::method::{BasicRecover, BasicReject};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the queue, or handed out.
    There,
    /// Acknowledged.
    Gone,
    /// It has come back too often.
    Over,
}

#[derive(Debug, Clone)]
struct Counts {
    acquired: i64,
    failed: i64,
    place: Place,
    /// After a crash the queue may know less: any counts up to these, and a message that had left may be there again.
    vague: bool,
}

impl Counts {
    fn may_come(&self) -> bool {
        self.vague || self.place == Place::There
    }

    /// Whether a message with these counts is one of them.
    fn agrees(&self, acquired: i64, failed: i64) -> bool {
        let exactly = (acquired, failed) == (self.acquired, self.failed);
        exactly || (self.vague && acquired <= self.acquired && failed <= self.failed)
    }
}

/// A queue has handed these out, of at most so many that were wanted.
fn came(all: &mut [Counts], got: &[Delivery], most: usize, crashes: usize) {
    let mut numbers = vec![];
    for delivery in got {
        let number = number(&delivery.content);
        let counts = &mut all[number];
        assert!(counts.may_come(), "message {number} comes again: {counts:?}");
        let told = |key| header(&delivery.content, key).and_then(|value| value.as_integer()).unwrap_or(0);
        let (acquired, failed) = (told("x-acquired-count"), told("x-delivery-count"));
        assert!(counts.agrees(acquired, failed), "message {number} has {acquired} {failed}: {counts:?}");
        assert_eq!(delivery.redelivered, acquired > 0 || crashes > 0, "message {number}");
        *counts = Counts { acquired, failed, place: Place::There, vague: false };
        numbers.push(number);
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    // Whatever is in front of them is not there, or nothing else is.
    let end = if numbers.len() < most { all.len() } else { numbers.last().map_or(0, |last| last + 1) };
    for (number, counts) in all[..end].iter_mut().enumerate().filter(|(number, _)| !numbers.contains(number)) {
        assert_ne!(counts.place, Place::There, "message {number} does not come back");
        counts.vague = false;
    }
}

/// See the [module](self).
pub fn delivery_limits(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x00de_117e, trace);
    let limit = stage.rng.pick(&[0, 1, 2, 5]);
    let mut rules = vec![("x-delivery-limit", Value::I32(limit)), ("x-queue-type", Value::LongStr(b"quorum"))];
    let dead = stage.rng.chance(80);
    if dead {
        rules.extend(super::dead_letters_to("dead"));
    }
    stage.declare("q", &rules);
    stage.declare("dead", &[]);
    let mut publisher = stage.publisher();
    let count = stage.rng.range(1, 12);
    for number in 0..count {
        let bytes = stage.rng.pick(&[8, 300]);
        let letter = Letter { text: text(number, bytes), persistent: true, ..Letter::default() };
        publisher.send(&mut stage.sim, "q", &letter);
    }
    assert!(publisher.confirms(&mut stage.sim, count).iter().all(|acked| *acked));
    let mut all = vec![Counts { acquired: 0, failed: 0, place: Place::There, vague: false }; count];
    let mut crashes = 0;
    for _ in 0..stage.rng.range(1, 40) {
        let peer = stage.peer();
        let most = stage.rng.range(1, 6);
        let mut got = vec![];
        if stage.rng.chance(50) {
            stage.sim.must(peer, 1, &prefetch(most as u16, false));
            stage.sim.must(peer, 1, &consume("q", "c", false));
            stage.sim.rest();
            got.extend(stage.sim.take_deliveries(peer, 1).into_iter().map(|(_, delivery)| delivery));
            let cancel = leveret::amqp::method::BasicCancel { consumer_tag: "c", no_wait: false };
            stage.sim.must(peer, 1, &cancel);
            assert!(stage.sim.take_deliveries(peer, 1).is_empty());
        } else {
            while got.len() < most
                && let Some(delivery) = stage.take(peer, "q", false)
            {
                got.push(delivery);
            }
        }
        came(&mut all, &got, most, crashes);
        let held = got.iter().map(|delivery| (number(&delivery.content), delivery.tag));
        let mut back = |number: usize, failed: bool| {
            let counts: &mut Counts = &mut all[number];
            counts.acquired += 1;
            counts.failed += i64::from(failed);
            if counts.failed > i64::from(limit) {
                counts.place = Place::Over;
            }
        };
        let mut rest = vec![];
        for (number, tag) in held {
            match stage.rng.below(5) {
                0 => {
                    stage.sim.send(peer, 1, &nack(tag, false, true));
                    back(number, false);
                }
                1..=2 => {
                    stage.sim.send(peer, 1, &BasicReject { delivery_tag: tag, requeue: true });
                    back(number, true);
                }
                _ => rest.push((number, tag)),
            }
        }
        match stage.rng.below(4) {
            _ if stage.stored && crashes < 3 && stage.rng.chance(10) => {
                crashes += 1;
                stage.turns(30);
                stage.crash();
                all.iter_mut().for_each(|counts| counts.vague = true);
            }
            0 => {
                stage.sim.must(peer, 1, &BasicRecover { requeue: true });
                rest.into_iter().for_each(|(number, _)| back(number, false));
                stage.sim.close_connection(peer);
            }
            1 if stage.rng.chance(20) => {
                for (number, tag) in rest {
                    stage.sim.send(peer, 1, &ack(tag, false));
                    all[number].place = Place::Gone;
                }
                stage.sim.must(peer, 1, &prefetch(0, false));
                stage.sim.close_connection(peer);
            }
            2 => {
                stage.sim.close_channel(peer, 1);
                rest.into_iter().for_each(|(number, _)| back(number, true));
            }
            _ => {
                stage.sim.rest();
                stage.sim.cut(peer);
                rest.into_iter().for_each(|(number, _)| back(number, true));
            }
        }
        stage.settle(3);
    }
    let left = stage.drain("q");
    came(&mut all, &left, usize::MAX, crashes);
    let mut found = vec![];
    for delivery in stage.drain("dead") {
        let deaths = deaths(&delivery.content);
        let [death] = &deaths[..] else { panic!("{deaths:?}") };
        assert_eq!((&*death.queue, &*death.reason, death.count), ("q", "delivery_limit", 1));
        found.push(number(&delivery.content));
    }
    found.sort_unstable();
    let over = |number: &usize| dead && all[*number].place == Place::Over;
    assert_eq!(found, (0..count).filter(over).collect::<Vec<usize>>());
    stage.finish()
}
