//! Bytes and credit: everything arrives, unchanged, and nobody waits for nobody (B 2, 8, 20, 21, 22).

use super::{finish, one_each, open, stage};
use crate::message::{body, number_of};
use crate::script::{PLAIN, ack, consume, nack, prefetch, queue_bind, queue_declare, queue_delete};
use crate::sim::Sim;
use crate::wire::Heard;
use std::collections::BTreeMap;

/// Rounds after which a script is taken to be stuck.
const ROUNDS_MAX: usize = 20_000;

/// B 2: one message at a time between sleeping shards; no clock helps.
pub fn sleeping_peers(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    for (shard, peer) in peers.iter().enumerate() {
        sim.must(*peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
    }
    for peer in &peers {
        let queue = rng.below(4);
        sim.must(*peer, 1, &consume(&format!("q{queue}"), &format!("t{queue}"), true));
    }
    sim.rest();
    let consumed: Vec<String> = (0..4)
        .filter(|q| sim.counts(peers[0], 1, &format!("q{q}")).expect("a queue").1 > 0)
        .map(|q| format!("q{q}"))
        .collect();
    for n in 0..30 {
        let publisher = peers[rng.below(4)];
        let queue = &consumed[rng.below(consumed.len())];
        sim.put(publisher, 1, queue, &format!("n{n}"));
        sim.rest();
        let got: Vec<String> = peers
            .iter()
            .flat_map(|peer| sim.take_deliveries(*peer, 1))
            .map(|(_, delivery)| Sim::text(&delivery))
            .collect();
        assert_eq!(got, [format!("n{n}")]);
    }
    finish(sim)
}

/// B 8: sizes round every threshold, to queues on all shards, with deliveries out while others go.
pub fn sizes(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let frame_max = rng.pick(&[4096, 8192, 30_000]);
    if sim.net.faults.read_max > 0 {
        sim.net.faults.read_max = 5000; // there is a lot to read
    }
    let mut peers = vec![];
    for shard in 0..4 {
        let peer = sim.open_with(shard, frame_max);
        sim.open_channel(peer, 1);
        sim.must(peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
        sim.must(peer, 1, &queue_bind(&format!("q{shard}"), "amq.fanout", ""));
        peers.push(peer);
    }
    let limits = sim.shards[0].limits().clone();
    let around =
        [0, limits.body_own_block_bytes, limits.block_bytes, frame_max as usize - 8, 2 * (frame_max as usize - 8)];
    let count = 24;
    let mut sizes = vec![];
    for number in 0..count {
        let bytes = (around[rng.below(around.len())] + rng.below(40)).saturating_sub(20).max(8);
        sim.publish(peers[rng.below(4)], 1, "amq.fanout", "", false, &[0, 0], &body(number, bytes));
        sizes.push(bytes);
    }
    sim.rest();
    for (shard, peer) in peers.iter().enumerate() {
        // The queue of another shard, or one's own.
        let queue = format!("q{}", (shard + rng.below(4)) % 4);
        let mut seen = 0;
        for round in 0..3 {
            sim.must(*peer, 1, &consume(&queue, &format!("t{round}"), false));
            sim.rest();
            let deliveries = sim.take_deliveries(*peer, 1);
            for (_, delivery) in &deliveries {
                let number = number_of(&[0, 0], &delivery.content.body);
                assert!(delivery.content.body == body(number, sizes[number as usize]), "message {number} changed");
                assert_eq!(delivery.redelivered, round > 0);
            }
            assert!(round == 0 || deliveries.len() == seen, "{} of {seen} came back", deliveries.len());
            let close = leveret::amqp::method::BasicCancel { consumer_tag: &format!("t{round}"), no_wait: false };
            sim.must(*peer, 1, &close);
            // Every third stays out while the others go; then it comes back.
            let (mut kept, mut settled) = (vec![], 0);
            for (at, (_, delivery)) in deliveries.iter().enumerate() {
                if at % 3 == 0 {
                    kept.push(delivery.tag);
                } else {
                    sim.send(*peer, 1, &ack(delivery.tag, false));
                    settled += 1;
                }
            }
            for tag in kept {
                sim.send(*peer, 1, &nack(tag, false, true));
            }
            seen = deliveries.len() - settled;
            let counts = sim.counts(*peer, 1, &queue).expect("a queue");
            assert_eq!(counts, (seen as u32, 0));
        }
        sim.must(*peer, 1, &leveret::amqp::method::QueuePurge { reserved_1: 0, queue: &queue, no_wait: false });
        for number in 0..count {
            // Those who come later find full queues again.
            sim.publish(*peer, 1, "", &queue, false, &[0, 0], &body(number, sizes[number as usize]));
        }
    }
    finish(sim)
}

/// B 20: everybody floods everybody; publish credit and link windows are as small as they get.
pub fn everybody_floods(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    for (shard, peer) in peers.iter().enumerate() {
        sim.must(*peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
        sim.confirm_select(*peer, 1);
    }
    let consumers: Vec<_> = (0..4).map(|shard| open(&mut sim, (shard + 1) % 4)).collect();
    for (at, consumer) in consumers.iter().enumerate() {
        sim.must(*consumer, 1, &consume(&format!("q{at}"), "t", true));
    }
    let each = 40;
    let mut number = 0;
    for _ in 0..each {
        for peer in &peers {
            let queue = format!("q{}", rng.below(4));
            let bytes = rng.range(8, 3000);
            sim.publish(*peer, 1, "", &queue, true, &[0, 0], &body(number, bytes));
            number += 1;
        }
        sim.step();
    }
    for peer in &peers {
        assert!(sim.confirms(*peer, 1, 1, each).iter().all(|good| *good));
    }
    sim.rest();
    let mut got: Vec<u32> = vec![];
    for consumer in consumers {
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for (_, delivery) in sim.take_deliveries(consumer, 1) {
            let number = number_of(&[0, 0], &delivery.content.body);
            assert!(delivery.content.body == body(number, delivery.content.body.len()));
            let before = last.insert(number % 4, number);
            assert!(before < Some(number), "{number} after {before:?} of the same publisher");
            got.push(number);
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..number).collect::<Vec<u32>>());
    finish(sim)
}

/// B 21: one connection publishes to a queue of another shard and consumes from it.
pub fn one_queue_there_and_back(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 2, trace);
    let owner = open(&mut sim, 1);
    sim.must(owner, 1, &queue_declare("q", PLAIN));
    let peer = open(&mut sim, 0);
    sim.open_channel(peer, 2);
    sim.must(peer, 2, &prefetch(rng.below(3) as u16, false));
    sim.must(peer, 2, &consume("q", "t", false));
    let count = 60;
    let (mut sent, mut next, mut rounds) = (0, 0, 0);
    while next < count {
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "{next} of {count} arrived");
        for _ in 0..rng.range(1, 10) {
            if sent < count {
                sim.publish(peer, 1, "", "q", false, &[0, 0], &body(sent, rng.range(8, 4000)));
                sent += 1;
            }
        }
        if sent == count || rng.chance(20) {
            sim.rest();
        } else {
            sim.step();
        }
        for (_, delivery) in sim.take_deliveries(peer, 2) {
            assert_eq!(number_of(&[0, 0], &delivery.content.body), next);
            next += 1;
            sim.send(peer, 2, &ack(delivery.tag, rng.chance(50)));
        }
    }
    assert_eq!(sim.counts(owner, 1, "q"), Some((0, 1)));
    finish(sim)
}

/// B 22: publishes to queues on four shards while one is deleted: each is settled once, returns come first.
pub fn fan_out_and_deletion(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    for (shard, peer) in peers.iter().enumerate() {
        sim.must(*peer, 1, &queue_declare(&format!("q{shard}"), PLAIN));
        sim.must(*peer, 1, &queue_bind(&format!("q{shard}"), "amq.fanout", ""));
    }
    let publisher = open(&mut sim, rng.below(4));
    let remover = open(&mut sim, rng.below(4));
    sim.confirm_select(publisher, 1);
    let count = 30;
    let mut lost = vec![];
    for number in 0..count {
        let bytes = rng.range(8, 2000);
        if rng.chance(25) {
            sim.publish(publisher, 1, "", "nowhere", true, &[0, 0], &body(number, bytes));
            lost.push(number);
        } else {
            sim.publish(publisher, 1, "amq.fanout", "", true, &[0, 0], &body(number, bytes));
        }
        if number == count / 2 {
            sim.send(remover, 1, &queue_delete("q3"));
        }
        sim.step();
    }
    // As they come: a return before the ack of its publish, no seqno twice, none that was not published.
    let mut settled = vec![false; count as usize];
    let mut returned = vec![];
    while settled.iter().any(|settled| !settled) {
        let heard = sim.wait(publisher, "returns and confirms", |c, h| (c == 1).then(|| h.clone()));
        match heard {
            Heard::Return { content, .. } => {
                let number = number_of(&[0, 0], &content.body);
                assert!(!settled[number as usize], "message {number} was returned after its confirm");
                returned.push(number);
            }
            Heard::Ack { seqno, multiple } => {
                let at = seqno as usize - 1;
                assert!(!settled[at], "seqno {seqno} was confirmed twice");
                let from = if multiple { 0 } else { at };
                settled[from..=at].fill(true);
            }
            other => panic!("{other:?}"),
        }
        for number in &lost {
            assert!(!settled[*number as usize] || returned.contains(number), "message {number} was not returned");
        }
    }
    assert_eq!(returned, lost);
    for (shard, peer) in peers.iter().enumerate().take(3) {
        let got = sim.get_all(*peer, 1, &format!("q{shard}"));
        let numbers: Vec<u32> = got.iter().map(|d| number_of(&[0, 0], &d.content.body)).collect();
        assert_eq!(numbers, (0..count).filter(|n| !lost.contains(n)).collect::<Vec<u32>>());
    }
    finish(sim)
}

/// B 8: most messages go, the rest is moved together while some of it is out.
pub fn compaction(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 2, trace);
    sim.net.faults.read_max = 0;
    let peers = one_each(&mut sim);
    // Queues of one shard share blocks.
    for name in ["q0", "q1", "q2", "q3"] {
        sim.must(peers[0], 1, &queue_declare(name, PLAIN));
        sim.must(peers[1], 1, &queue_bind(name, "amq.fanout", ""));
    }
    let count = 800;
    let bytes = |number: u32| 8 + (number as usize * 7) % 90;
    for number in 0..count {
        sim.publish(peers[1], 1, "amq.fanout", "", false, &[0, 0], &body(number, bytes(number)));
    }
    sim.rest();
    let keep = rng.pick(&[20, 40, 100]);
    let mut left: Vec<Vec<u32>> = vec![];
    let queues = [(0, "q0"), (1, "q1"), (0, "q2"), (1, "q3")].map(|(peer, queue)| (peers[peer], queue));
    for (peer, queue) in queues {
        sim.must(peer, 1, &consume(queue, queue, false));
        sim.rest();
        let deliveries = sim.take_deliveries(peer, 1);
        assert_eq!(deliveries.len(), count as usize);
        let mut kept = vec![];
        for (_, delivery) in deliveries {
            let number = number_of(&[0, 0], &delivery.content.body);
            if number % keep == 7 {
                kept.push(number);
            } else {
                sim.send(peer, 1, &ack(delivery.tag, false));
            }
        }
        left.push(kept);
    }
    for number in count..count + 30 {
        sim.net.now_ms += 100;
        sim.publish(peers[0], 1, "amq.fanout", "", false, &[0, 0], &body(number, bytes(number)));
        for _ in 0..rng.below(10) {
            sim.step();
        }
    }
    sim.net.now_ms += 3000;
    sim.rest();
    for peer in &peers {
        sim.close_channel(*peer, 1);
        sim.open_channel(*peer, 1);
    }
    for (peer, queue) in queues {
        let mut expected = left.remove(0);
        expected.extend(count..count + 30);
        let got = sim.get_all(peer, 1, queue);
        let numbers: Vec<u32> = got.iter().map(|d| number_of(&[0, 0], &d.content.body)).collect();
        assert_eq!(numbers, expected);
        for (delivery, number) in got.iter().zip(numbers) {
            assert!(delivery.content.body == body(number, bytes(number)), "message {number} changed");
        }
    }
    finish(sim)
}
