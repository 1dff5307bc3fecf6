//! Queues with rules that are larger than the memory for them: most of their messages lie on the disk only.

use super::{Letter, Stage, dead_letters_to, deaths, number, text};
use crate::script::{consume, prefetch};
use leveret::amqp::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What the queue goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Lifetime,
    Length,
    Priority,
}

/// Messages stay in memory when that is short, so many of each level: more of them than that are published.
const PUBLISHED: usize = 700;

/// See the [module](self).
pub fn spilled(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::with(seed, 0x0059_1115, trace, Some(true), |settings| {
        settings.limits.stored_messages_bytes_max = 0;
        settings.limits.messages_bytes_max = 0;
    });
    // There is a lot to read and to write.
    stage.sim.net.faults.read_max = 0;
    stage.sim.net.faults.window_bytes = 1 << 30;
    let rule = stage.rng.pick(&[Rule::Lifetime, Rule::Length, Rule::Priority]);
    let length = stage.rng.range(1, PUBLISHED);
    let ttl = 1000;
    let mut rules = dead_letters_to("dead").to_vec();
    rules.push(match rule {
        Rule::Lifetime => ("x-message-ttl", Value::I64(ttl)),
        Rule::Length => ("x-max-length", Value::I64(length as i64)),
        Rule::Priority => ("x-max-priority", Value::I64(2)),
    });
    stage.declare("q", &rules);
    stage.declare("dead", &[]);
    let mut publisher = stage.publisher();
    let mut letters = vec![];
    let mut sent = 0;
    for number in 0..PUBLISHED {
        let priority = (rule == Rule::Priority).then(|| stage.rng.below(3) as u8);
        let persistent = stage.rng.chance(90);
        let bytes = stage.rng.pick(&[8, 8, 60]);
        let letter = Letter { text: text(number, bytes), persistent, expiration: None, priority };
        publisher.send(&mut stage.sim, "q", &letter);
        letters.push(letter);
        sent += 1;
        if stage.rng.chance(2) {
            stage.turns(40);
        }
    }
    assert!(publisher.confirms(&mut stage.sim, sent).iter().all(|acked| *acked));
    stage.settle(50);
    let crash = stage.rng.chance(40);
    if crash {
        stage.crash();
        letters.iter_mut().filter(|letter| !letter.persistent).for_each(|letter| letter.text.clear());
        stage.settle(0);
    }
    let there = |number: &usize| !letters[*number].text.is_empty();
    let all: Vec<usize> = (0..PUBLISHED).filter(there).collect();
    let mut in_order = all.clone();
    in_order.sort_by_key(|number| (Reverse(letters[*number].priority), *number));
    let taken = match rule {
        Rule::Length => 0,
        _ => stage.rng.pick(&[0, 0, 1, 300, PUBLISHED]).min(all.len()),
    };
    let mut got = vec![];
    let peer = stage.peer();
    if stage.rng.chance(50) {
        for _ in 0..taken {
            got.extend(stage.take(peer, "q", false).map(|delivery| number(&delivery.content)));
        }
    } else if taken > 0 {
        stage.sim.must(peer, 1, &prefetch(taken as u16, false));
        stage.sim.must(peer, 1, &consume("q", "c", false));
        stage.sim.rest();
        let deliveries = stage.sim.take_deliveries(peer, 1);
        got.extend(deliveries.iter().map(|(_, delivery)| number(&delivery.content)));
    }
    // The crash may have taken longer than anything lives.
    if rule != Rule::Lifetime || !got.is_empty() {
        assert_eq!(got, in_order[..taken], "what was taken");
    }
    stage.sim.rest();
    if stage.rng.chance(50) {
        stage.sim.close_connection(peer);
    } else {
        stage.sim.cut(peer);
    }
    stage.settle(2000);
    let observer = stage.peer();
    let ready = stage.ready(observer, "q");
    let queue: Vec<usize> = stage.drain("q").iter().map(|delivery| number(&delivery.content)).collect();
    assert_eq!(queue.len(), ready, "those that were counted are there");
    let mut dead = BTreeMap::new();
    for delivery in stage.drain("dead") {
        let deaths = deaths(&delivery.content);
        let [death] = &deaths[..] else { panic!("{deaths:?}") };
        let reason = if rule == Rule::Length { "maxlen" } else { "expired" };
        assert_eq!((&*death.queue, &*death.reason, death.count), ("q", reason, 1));
        let before = dead.insert(number(&delivery.content), ());
        assert!(before.is_none(), "dead twice");
    }
    let dead: Vec<usize> = dead.into_keys().collect();
    match rule {
        Rule::Lifetime => assert_eq!((queue, dead), (vec![], all)),
        Rule::Priority => assert_eq!((queue, dead), (in_order, vec![])),
        Rule::Length if !crash => {
            let oldest = PUBLISHED - length;
            assert_eq!((queue, dead), (all[oldest..].to_vec(), all[..oldest].to_vec()));
        }
        // What was not persistent is missing somewhere.
        Rule::Length => {
            assert!(queue.len() <= length && queue.is_sorted());
            let both: BTreeSet<usize> = queue.iter().chain(&dead).copied().collect();
            assert_eq!((both, queue.len() + dead.len()), (all.iter().copied().collect(), all.len()));
        }
    }
    stage.finish()
}
