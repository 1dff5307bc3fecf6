//! Counted deliveries: a message comes back so often and no more, says how often, and is a dead letter then.

use super::{Letter, Stage, deaths, header, number, text};
use crate::script::{ack, consume, nack, prefetch};
use leveret::amqp::Value;
use leveret::amqp::method::{BasicRecover, BasicReject};

#[derive(Debug, Default, Clone)]
struct Counts {
    acquired: i64,
    failed: i64,
    /// Acknowledged.
    gone: bool,
    /// It has come back too often.
    over: bool,
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
    let mut all = vec![Counts::default(); count];
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
        let left = all.iter().filter(|counts| !counts.gone && !counts.over).count();
        assert_eq!(got.len(), left.min(most), "messages that come back");
        let mut held = vec![];
        for delivery in &got {
            let number = number(&delivery.content);
            let counts = &all[number];
            assert!(!counts.gone && !counts.over, "message {number} comes again: {counts:?}");
            let told = |key| header(&delivery.content, key).and_then(|value| value.as_integer()).unwrap_or(0);
            let expected = (counts.acquired, counts.failed);
            assert_eq!((told("x-acquired-count"), told("x-delivery-count")), expected, "counts of message {number}");
            assert_eq!(delivery.redelivered, counts.acquired > 0);
            held.push((number, delivery.tag));
        }
        let mut back = |number: usize, failed: bool| {
            let counts: &mut Counts = &mut all[number];
            counts.acquired += 1;
            counts.failed += i64::from(failed);
            counts.over = counts.failed > i64::from(limit);
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
            0 => {
                stage.sim.must(peer, 1, &BasicRecover { requeue: true });
                rest.into_iter().for_each(|(number, _)| back(number, false));
                stage.sim.close_connection(peer);
            }
            1 if stage.rng.chance(20) => {
                for (number, tag) in rest {
                    stage.sim.send(peer, 1, &ack(tag, false));
                    all[number].gone = true;
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
    let found: Vec<usize> = stage.drain("q").iter().map(|delivery| number(&delivery.content)).collect();
    let left = |number: &usize| !all[*number].gone && !all[*number].over;
    assert_eq!(found, (0..count).filter(left).collect::<Vec<usize>>());
    let mut found = vec![];
    for delivery in stage.drain("dead") {
        let deaths = deaths(&delivery.content);
        let [death] = &deaths[..] else { panic!("{deaths:?}") };
        assert_eq!((&*death.queue, &*death.reason, death.count), ("q", "delivery_limit", 1));
        found.push(number(&delivery.content));
    }
    found.sort_unstable();
    let over = |number: &usize| dead && all[*number].over;
    assert_eq!(found, (0..count).filter(over).collect::<Vec<usize>>());
    stage.finish()
}
