//! Transactions over several shards (shards.md B 32).

use super::durable::{QUEUES, fill, go_down_at_once, put, stage};
use super::open;
use crate::script::{ack, get};
use crate::sim::Sim;
use crate::wire::Heard;
use leveret::amqp::method::{QueuePurge, TxCommit, TxSelect};

/// Connections that die while they commit over several shards: it is committed or it is not, here and on the disk.
pub fn commits_of_the_dying(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 3, trace);
    let count = 8;
    let setter = fill(&mut sim, count);
    for _ in 0..count {
        let shard = rng.below(sim.shards.len());
        let mover = open(&mut sim, shard);
        sim.must(mover, 1, &TxSelect {});
        let Heard::GetOk { delivery, .. } = sim.must(mover, 1, &get("from", false)) else { break };
        for queue in &QUEUES[1..] {
            put(&mut sim, mover, queue, &Sim::text(&delivery), true);
        }
        sim.send(mover, 1, &ack(delivery.tag, false));
        sim.send(mover, 1, &TxCommit {});
        for _ in 0..rng.below(60) {
            sim.step();
        }
        if rng.chance(50) {
            sim.cut(mover)
        } else {
            sim.hang_up(mover)
        }
        if rng.chance(30) {
            sim.must(setter, 1, &QueuePurge { reserved_1: 0, queue: "to2", no_wait: false });
        }
        if rng.chance(70) {
            sim.rest();
        }
    }
    sim.rest();
    let all = |sim: &mut Sim| {
        // They go back when it is gone.
        let peer = open(sim, 0);
        let texts = QUEUES.map(|queue| {
            let mut texts = vec![];
            while let Heard::GetOk { delivery, .. } = sim.must(peer, 1, &get(queue, false)) {
                texts.push(Sim::text(&delivery));
            }
            texts.sort();
            assert!(texts.windows(2).all(|two| two[0] != two[1]), "twice in {queue}: {texts:?}");
            texts
        });
        sim.cut(peer);
        sim.rest();
        for text in (0..count).map(|number| format!("m{number}")) {
            let [from, to0, to1, to2] = [0, 1, 2, 3].map(|queue: usize| texts[queue].contains(&text));
            assert!(from != to0 && to0 == to1 && (to0 || !to2), "{text} in {texts:?}");
        }
        texts
    };
    let before = all(&mut sim);
    let in_order = rng.chance(50);
    if in_order {
        assert!(sim.stop_in_order(), "it did not stop in order");
    } else {
        go_down_at_once(&mut sim);
    }
    let shards = sim.net.rng.range(1, 4);
    sim.restart(shards);
    let after = all(&mut sim);
    // Nobody was told of the last commits: a power cut may take them.
    assert!(!in_order || before == after, "{before:?} before, {after:?} on the disk");
    super::finish(sim)
}
