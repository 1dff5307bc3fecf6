//! Consumers: limits, settlements, and what is left when they go (B 17, 24, 27, 28).

use super::{finish, one_each, open, stage};
use crate::script::{EXCLUSIVE, PLAIN, ack, channel_close, consume, get, nack, prefetch, queue_declare, queue_delete};
use crate::sim::Sim;
use crate::wire::Heard;
use leveret::amqp::method::{BasicCancel, BasicConsume, QueuePurge};
use leveret::amqp::{TableWriter, Value};
use std::collections::BTreeMap;

/// Rounds after which a script is taken to be stuck.
const ROUNDS_MAX: usize = 20_000;

/// B 17: a connection ends at each step of declare exclusive, consume, get and publish.
pub fn cut_at_each_step(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    sim.must(peers[1], 1, &queue_declare("shared", PLAIN));
    for round in 0..8 {
        for n in 0..4 {
            sim.put(peers[1], 1, "shared", &format!("m{n}"));
        }
        assert_eq!(sim.counts(peers[1], 1, "shared"), Some((4, 0)));
        let victim = open(&mut sim, rng.below(4));
        let mine = format!("mine{round}");
        let stop_after = rng.below(6);
        for step in 0..stop_after {
            match step {
                0 => sim.send(victim, 1, &queue_declare(&mine, EXCLUSIVE)),
                1 => sim.send(victim, 1, &prefetch(2, false)),
                2 => sim.send(victim, 1, &consume("shared", "t", false)),
                3 => sim.send(victim, 1, &get("shared", false)),
                _ => sim.put(victim, 1, &mine, "to myself"),
            }
        }
        for _ in 0..rng.below(40) {
            sim.step();
        }
        match rng.below(3) {
            0 => {
                sim.close_connection(victim);
            }
            1 => {
                sim.send(victim, 1, &channel_close());
                sim.wait(victim, "close-ok", |_, h| (*h == Heard::ChannelCloseOk).then_some(()));
                assert_eq!(sim.counts(peers[1], 1, "shared"), Some((4, 0)), "when channel.close-ok is there");
                sim.close_connection(victim);
            }
            _ => {
                sim.cut(victim);
                sim.net.heal();
                sim.rest();
            }
        }
        assert_eq!(sim.counts(peers[rng.below(4)], 1, "shared"), Some((4, 0)), "its consumer and messages are back");
        assert_eq!(sim.counts(peers[rng.below(4)], 1, &mine), None, "its exclusive queue is gone");
        let order: Vec<String> = sim.get_all(peers[rng.below(4)], 1, "shared").iter().map(Sim::text).collect();
        assert_eq!(order, ["m0", "m1", "m2", "m3"]);
    }
    finish(sim)
}

/// B 24: prefetch and every form of acknowledgement over queues of three shards.
pub fn prefetch_over_shards(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    let consumer = open(&mut sim, 3);
    let limit = rng.pick(&[1, 3, 10]);
    sim.must(consumer, 1, &prefetch(limit, false));
    let each = 25;
    for (shard, peer) in peers.iter().enumerate().take(3) {
        sim.must(*peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
        for n in 0..each {
            sim.put(*peer, 1, &format!("q{shard}"), &format!("{n}"));
        }
        sim.must(consumer, 1, &consume(&format!("q{shard}"), &format!("t{shard}"), false));
    }
    let mut held: BTreeMap<u64, (String, usize)> = BTreeMap::new();
    let mut done: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut last_tag = 0;
    let mut rounds = 0;
    while done.values().map(Vec::len).sum::<usize>() < 3 * each {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "done: {done:?}");
        if rng.chance(30) {
            sim.rest();
        } else {
            sim.step();
        }
        for (tag, delivery) in sim.take_deliveries(consumer, 1) {
            last_tag += 1;
            assert_eq!(delivery.tag, last_tag);
            held.insert(delivery.tag, (tag, Sim::text(&delivery).parse().expect("a number")));
        }
        for shard in 0..3 {
            let out = held.values().filter(|(tag, _)| *tag == format!("t{shard}")).count();
            assert!(out <= usize::from(limit), "t{shard} has {out} deliveries, its prefetch count is {limit}");
        }
        let tags: Vec<u64> = held.keys().copied().collect();
        if tags.is_empty() || rng.chance(40) {
            continue;
        }
        let tag = rng.pick(&tags);
        let multiple = rng.chance(40);
        let requeue = rng.chance(20);
        let settled: Vec<u64> = if multiple { tags.into_iter().filter(|t| *t <= tag).collect() } else { vec![tag] };
        if requeue {
            sim.send(consumer, 1, &nack(tag, multiple, true))
        } else {
            sim.send(consumer, 1, &ack(tag, multiple))
        }
        for tag in settled {
            let (from, number) = held.remove(&tag).expect("held");
            if !requeue {
                done.entry(from).or_default().push(number);
            }
        }
    }
    for numbers in done.values_mut() {
        numbers.sort_unstable();
        assert_eq!(*numbers, (0..each).collect::<Vec<usize>>());
    }
    // Nothing is out: tag 0 with multiple is fine; any tag again is an error, and says which.
    assert!(held.is_empty());
    sim.send(consumer, 1, &ack(0, true));
    let wrong = rng.pick(&[0, 1, last_tag, last_tag + 1]);
    sim.send(consumer, 1, &ack(wrong, rng.chance(50) && wrong > 0));
    let text = sim.wait(consumer, "channel.close", |_, h| match h {
        Heard::ChannelClose { code: 406, text, .. } => Some(text.clone()),
        _ => None,
    });
    assert_eq!(text, format!("PRECONDITION_FAILED - unknown delivery tag {wrong}"));
    sim.rest();
    for shard in 0..3 {
        assert_eq!(sim.counts(peers[0], 1, &format!("q{shard}")), Some((0, 0)));
    }
    finish(sim)
}

/// B 27: one limit over consumers of an empty queue and of full ones on other shards.
pub fn global_qos(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    let consumer = open(&mut sim, rng.below(4));
    let limit = rng.range(1, 5);
    sim.must(consumer, 1, &prefetch(limit as u16, true));
    let each = 12;
    for (shard, peer) in peers.iter().enumerate() {
        sim.must(*peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
        sim.must(consumer, 1, &consume(&format!("q{shard}"), &format!("t{shard}"), false));
    }
    for (shard, peer) in peers.iter().enumerate().skip(1) {
        for n in 0..each {
            sim.put(*peer, 1, &format!("q{shard}"), &format!("{n}"));
        }
    }
    let mut listening = [true; 4];
    let (mut held, mut left, mut rounds) = (vec![], 3 * each, 0);
    while left > 0 {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "{left} left");
        sim.rest();
        held.extend(sim.take_deliveries(consumer, 1));
        let work: usize = (0..4)
            .filter(|shard| listening[*shard])
            .map(|shard| sim.counts(peers[0], 1, &format!("q{shard}")).expect("a queue").0 as usize)
            .sum();
        assert!(held.len() <= limit, "{} are out, the limit is {limit}", held.len());
        assert!(held.len() == limit || work == 0, "{} are out, {work} wait, the limit is {limit}", held.len());
        let shard = rng.below(4);
        let tag = format!("t{shard}");
        if rng.chance(25) {
            if listening[shard] {
                sim.must(consumer, 1, &BasicCancel { consumer_tag: &tag, no_wait: false });
            } else {
                sim.must(consumer, 1, &consume(&format!("q{shard}"), &tag, false));
            }
            listening[shard] = !listening[shard];
        } else if !held.is_empty() {
            for _ in 0..rng.range(1, held.len()) {
                let (_, delivery) = held.swap_remove(rng.below(held.len()));
                let requeue = rng.chance(20);
                sim.send(consumer, 1, &nack(delivery.tag, false, requeue));
                left -= usize::from(!requeue);
            }
        } else if !listening.iter().skip(1).any(|on| *on) {
            sim.must(consumer, 1, &consume("q1", if listening[1] { "" } else { "t1" }, false));
            listening[1] = true;
        }
        // What is on its way when a consumer is cancelled came before cancel-ok.
        held.extend(sim.take_deliveries(consumer, 1));
        assert!(held.len() <= limit, "{} are out, the limit is {limit}", held.len());
    }
    finish(sim)
}

/// B 28: exclusive consumers of different shards; the next one comes only after the first one's messages are back.
pub fn exclusive_consumers(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let owner = open(&mut sim, rng.below(4));
    sim.must(owner, 1, &queue_declare("q", PLAIN));
    let count = 6;
    for n in 0..count {
        sim.put(owner, 1, "q", &format!("{n}"));
    }
    let mut holder = None;
    for round in 0..6 {
        let peer = open(&mut sim, rng.below(4));
        sim.must(peer, 1, &prefetch(rng.range(1, 8) as u16, false));
        let method = BasicConsume { exclusive: true, ..consume("q", "t", false) };
        if let Some(holder) = holder {
            assert_eq!(sim.call(peer, 1, &method), Err(403), "somebody has it to himself");
            sim.open_channel(peer, 1);
            sim.must(peer, 1, &prefetch(rng.range(1, 8) as u16, false));
            match rng.below(3) {
                0 => sim.cut(holder),
                1 => sim.close_connection(holder),
                _ => sim.close_channel(holder, 1),
            }
        }
        let mut tries = 0;
        while let Err(code) = sim.call(peer, 1, &method) {
            assert_eq!(code, 403);
            tries += 1;
            assert!(tries < 1000, "it is never free again");
            sim.open_channel(peer, 1);
        }
        sim.rest();
        let got = sim.take_deliveries(peer, 1);
        for (at, (_, delivery)) in got.iter().enumerate() {
            assert_eq!(Sim::text(delivery), format!("{at}"), "in the old order");
            assert!(round > 0 || !delivery.redelivered);
        }
        assert!(!got.is_empty());
        holder = Some(peer);
    }
    let (ready, consumers) = sim.counts(owner, 1, "q").expect("a queue");
    assert!(ready < count && consumers == 1);
    sim.must(owner, 1, &queue_delete("q"));
    finish(sim)
}

/// Priorities over shards: whoever has the highest gets all while it has credit.
pub fn priorities(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let owner = open(&mut sim, rng.below(4));
    sim.must(owner, 1, &queue_declare("q", PLAIN));
    let mut consumers: Vec<(i32, usize, usize)> = vec![];
    for priority in [0, 5, -3] {
        let peer = open(&mut sim, rng.below(4));
        let limit = rng.range(1, 6);
        sim.must(peer, 1, &prefetch(limit as u16, false));
        let mut arguments = TableWriter::new();
        if priority != 0 {
            arguments.put("x-priority", Value::I32(priority));
        }
        let method = BasicConsume { arguments: arguments.table(), ..consume("q", "t", false) };
        sim.must(peer, 1, &method);
        consumers.push((priority, peer, limit));
    }
    consumers.sort_by_key(|(priority, ..)| -priority);
    for _ in 0..4 {
        sim.rest();
        let count = rng.range(1, 14);
        for n in 0..count {
            sim.put(owner, 1, "q", &format!("{n}"));
        }
        sim.rest();
        let (mut left, mut held) = (count, vec![]);
        for (priority, peer, limit) in &consumers {
            let got = sim.take_deliveries(*peer, 1);
            assert_eq!(got.len(), left.min(*limit), "priority {priority}, limit {limit}, {left} of {count} left");
            left -= got.len();
            held.extend(got.into_iter().map(|(_, delivery)| (*peer, delivery.tag)));
        }
        assert_eq!(sim.counts(owner, 1, "q"), Some((left as u32, 3)));
        sim.must(owner, 1, &QueuePurge { reserved_1: 0, queue: "q", no_wait: false });
        for (peer, tag) in held {
            sim.send(peer, 1, &ack(tag, false));
        }
    }
    finish(sim)
}
