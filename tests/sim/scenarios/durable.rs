//! What must be on the disk, and when (shards.md B 6, 32, 33, 36).

use super::open;
use crate::personality::Personality;
use crate::rng::Rng;
use crate::script::{Flags, PLAIN, ack, consume, get, nack, queue_bind, queue_declare, queue_delete};
use crate::sim::{PeerId, Sim};
use crate::wire::{Delivery, Heard};
use leveret::amqp::Properties;
use leveret::amqp::method::{TxCommit, TxSelect};
use std::collections::BTreeMap;

const DURABLE: Flags = Flags { durable: true, ..PLAIN };

/// A broker with a data directory in a drawn world.
pub(super) fn stage(seed: u64, shards: usize, trace: bool) -> (Sim, Rng) {
    let mut rng = Rng::new(seed ^ 0x0d15_c000);
    let mut personality = Personality::draw(&mut rng);
    personality.durable(&mut rng);
    let faults = crate::personality::faults(&mut rng, shards);
    (Sim::with_store(rng.next(), shards, personality.settings, faults, trace), rng)
}

fn properties(persistent: bool) -> Vec<u8> {
    let mut bytes = vec![];
    Properties { delivery_mode: Some(if persistent { 2 } else { 1 }), ..Properties::default() }.encode(&mut bytes);
    bytes
}

pub(super) fn put(sim: &mut Sim, peer: PeerId, queue: &str, body: &str, persistent: bool) {
    sim.publish(peer, 1, "", queue, false, &properties(persistent), body.as_bytes());
}

/// Waits like `Sim::wait`, until the machine goes down.
fn wait_or_down<T>(sim: &mut Sim, peer: PeerId, mut wanted: impl FnMut(&Heard) -> Option<T>) -> Option<T> {
    loop {
        let found = sim.peers[peer].heard.iter().enumerate().find_map(|(at, (_, h))| wanted(h).map(|t| (at, t)));
        if let Some((at, found)) = found {
            sim.peers[peer].heard.remove(at);
            return Some(found);
        }
        if sim.is_down() {
            return None;
        }
        assert!(sim.step(), "at rest, and peer {peer} still waits");
    }
}

/// What is in a queue: texts, and whether they are flagged.
fn contents(sim: &mut Sim, queue: &str) -> Vec<(String, bool)> {
    let shard = sim.net.rng.below(sim.shards.len());
    let peer = open(sim, shard);
    let all: Vec<Delivery> = sim.get_all(peer, 1, queue);
    sim.close_connection(peer);
    all.iter().map(|delivery| (Sim::text(delivery), delivery.redelivered)).collect()
}

pub(super) fn go_down_at_once(sim: &mut Sim) {
    if !sim.is_down() {
        if sim.net.rng.chance(50) { sim.disk().kill() } else { sim.disk().cut_power() }
    }
}

fn draw_end(sim: &mut Sim, within: usize) {
    let disk = sim.disk().clone();
    let at = disk.operations() + sim.net.rng.range(1, within) as u64;
    if sim.net.rng.chance(50) { disk.kill_at(at) } else { disk.cut_power_at(at) }
}

/// Where transactions move messages from, and where to.
pub(super) const QUEUES: [&str; 4] = ["from", "to0", "to1", "to2"];

/// Declares these, and puts so many messages into the first one. Returns who did that.
pub(super) fn fill(sim: &mut Sim, count: u64) -> PeerId {
    let setter = open(sim, 0);
    for queue in QUEUES {
        sim.must(setter, 1, &queue_declare(queue, DURABLE));
    }
    sim.confirm_select(setter, 1);
    for number in 0..count {
        put(sim, setter, QUEUES[0], &format!("m{number}"), true);
    }
    sim.confirms(setter, 1, 1, count);
    setter
}

/// B 32: transactions that move a message from one queue to several: all of each, or nothing.
pub fn transactions_and_crashes(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, [1, 3][seed as usize % 2], trace);
    let one_shard = sim.shards.len() == 1;
    let count = 12;
    fill(&mut sim, count);
    let shard = rng.below(sim.shards.len());
    let mover = open(&mut sim, shard);
    sim.must(mover, 1, &TxSelect {});
    draw_end(&mut sim, 60);
    let mut committed = vec![];
    'moving: for number in 0..count {
        sim.send(mover, 1, &get("from", false));
        let got = wait_or_down(&mut sim, mover, |h| match h {
            Heard::GetOk { delivery, .. } => Some(delivery.clone()),
            _ => None,
        });
        let Some(delivery) = got else { break 'moving };
        assert_eq!(Sim::text(&delivery), format!("m{number}"));
        for queue in &QUEUES[1..] {
            put(&mut sim, mover, queue, &format!("m{number}"), true);
        }
        sim.send(mover, 1, &ack(delivery.tag, false));
        sim.send(mover, 1, &TxCommit {});
        let done = wait_or_down(&mut sim, mover, |h| matches!(h, Heard::Ok(_)).then_some(()));
        if done.is_none() {
            break;
        }
        committed.push(format!("m{number}"));
    }
    go_down_at_once(&mut sim);
    let shards = sim.net.rng.range(1, 4);
    sim.restart(shards);
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for queue in QUEUES {
        for (text, redelivered) in contents(&mut sim, queue) {
            assert!(redelivered, "{text} in {queue} may have been delivered before the crash");
            found.entry(text).or_default().push(queue);
        }
    }
    for number in 0..count {
        let text = format!("m{number}");
        let at = found.remove(&text).unwrap_or_default();
        let moved = at == QUEUES[1..];
        assert!(moved || !committed.contains(&text), "the move of {text} was committed, it is in {at:?}");
        // What one shard owns is one submission. Over several shards it is not: nothing is lost, but no more is said.
        assert!(one_shard <= (moved || at == QUEUES[..1]), "{text} is in {at:?}: neither moved nor not");
    }
    assert!(found.is_empty());
    super::finish(sim)
}

/// B 33: a durable name is deleted and declared again by others, with messages; the machine goes down somewhere.
pub fn durable_name_anew(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let publisher = open(&mut sim, 0);
    sim.confirm_select(publisher, 1);
    let (mut published, mut confirmed) = (0, vec![]);
    // The incarnation that is there for certain, and the one that may be instead.
    let (mut there, mut coming): (Option<u32>, Option<Option<u32>>) = (None, None);
    draw_end(&mut sim, 80);
    let others: Vec<PeerId> = (0..3).map(|shard| open(&mut sim, shard + 1)).collect();
    'life: for incarnation in 0..8 {
        let peer = others[rng.below(3)];
        coming = Some(Some(incarnation));
        sim.send(peer, 1, &queue_declare("q", DURABLE));
        let told = wait_or_down(&mut sim, peer, |h| matches!(h, Heard::DeclareOk { .. }).then_some(()));
        if told.is_none() {
            break;
        }
        (there, coming) = (Some(incarnation), None);
        sim.send(peer, 1, &queue_bind("q", "amq.fanout", &format!("k{incarnation}")));
        if wait_or_down(&mut sim, peer, |h| matches!(h, Heard::Ok(_)).then_some(())).is_none() {
            break;
        }
        for _ in 0..rng.below(4) {
            let text = format!("i{incarnation} m{published}");
            published += 1;
            let exchange = if rng.chance(50) { "" } else { "amq.fanout" };
            sim.publish(publisher, 1, exchange, "q", false, &properties(true), text.as_bytes());
            let seqno = published;
            let done = wait_or_down(&mut sim, publisher, |h| match h {
                Heard::Ack { seqno: acked, .. } => (*acked == seqno).then_some(()),
                _ => None,
            });
            if done.is_none() {
                break 'life;
            }
            confirmed.push(text);
        }
        if incarnation < 7 {
            coming = Some(None);
            sim.send(peer, 1, &queue_delete("q"));
            let told = wait_or_down(&mut sim, peer, |h| matches!(h, Heard::DeleteOk { .. }).then_some(()));
            if told.is_none() {
                break;
            }
            (there, coming) = (None, None);
        }
    }
    go_down_at_once(&mut sim);
    let shards = sim.net.rng.range(1, 4);
    sim.restart(shards);
    let peer = open(&mut sim, 0);
    let counts = sim.counts(peer, 1, "q");
    // While something was under way it is one or the other.
    if coming.is_none() {
        assert_eq!(counts.is_some(), there.is_some(), "the queue of {there:?}");
    }
    if counts.is_some() {
        let found = contents(&mut sim, "q");
        let latest = coming.flatten().or(there).expect("there was a queue");
        let of = |text: &str| text.starts_with(&format!("i{latest} "));
        assert!(found.iter().all(|(text, flagged)| of(text) && *flagged), "in the queue of {latest}: {found:?}");
        let texts: Vec<&String> = found.iter().map(|(text, _)| text).collect();
        let sure: Vec<&String> = confirmed.iter().filter(|text| of(text)).collect();
        assert!(texts.starts_with(&sure), "confirmed to {latest}: {sure:?}, found {texts:?}");
    }
    super::finish(sim)
}

/// B 36: stopped in order with messages in every state: counts and flags are exact afterwards.
pub fn stopped_in_order(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let mut expected: BTreeMap<&str, Vec<(String, bool)>> = BTreeMap::new();
    for queue in ["q0", "q1", "q2", "q3"] {
        let shard = rng.below(sim.shards.len());
        let peer = open(&mut sim, shard);
        sim.must(peer, 1, &queue_declare(queue, DURABLE));
        sim.must(peer, 1, &queue_bind(queue, "amq.fanout", ""));
        sim.close_connection(peer);
    }
    for life in 0..rng.range(1, 3) {
        let shard = rng.below(sim.shards.len());
        let publisher = open(&mut sim, shard);
        sim.confirm_select(publisher, 1);
        let mut published = 0;
        for number in 0..rng.below(60) {
            let persistent = rng.chance(80);
            let mut text = format!("l{life} m{number} ");
            text.extend(std::iter::repeat_n('x', rng.below(400)));
            let queue = rng.pick(&["q0", "q1", "q2", "q3", "*"]);
            let exchange = if queue == "*" { "amq.fanout" } else { "" };
            sim.publish(publisher, 1, exchange, queue, false, &properties(persistent), text.as_bytes());
            published += 1;
            for to in ["q0", "q1", "q2", "q3"] {
                if queue == to || queue == "*" {
                    expected.entry(to).or_default().push((if persistent { text.clone() } else { "".into() }, false));
                }
            }
        }
        if published > 0 {
            sim.confirms(publisher, 1, 1, published);
        }
        for (queue, expected) in &mut expected {
            let shard = rng.below(sim.shards.len());
            let peer = open(&mut sim, shard);
            let (mut left, mut unwanted) = (vec![], vec![]);
            let mut waiting = std::mem::take(expected).into_iter();
            for (text, flagged) in waiting.by_ref().take(rng.below(30)) {
                let heard = sim.must(peer, 1, &get(queue, false));
                let Heard::GetOk { delivery, .. } = heard else { panic!("{heard:?} and not {text}") };
                assert!(text.is_empty() || text == Sim::text(&delivery), "{text}, not {}", Sim::text(&delivery));
                assert_eq!(delivery.redelivered, flagged, "{text}");
                match rng.below(3) {
                    0 => sim.send(peer, 1, &ack(delivery.tag, false)),
                    // It goes back, now or with the connection.
                    n => {
                        left.push((text, true));
                        if n == 1 {
                            unwanted.push(delivery.tag);
                        }
                    }
                }
            }
            left.extend(waiting);
            *expected = left;
            for tag in unwanted {
                sim.send(peer, 1, &nack(tag, false, true));
            }
            if rng.chance(50) { sim.close_connection(peer) } else { cut_at_rest(&mut sim, peer) }
        }
        assert!(sim.stop_in_order(), "it did not stop in order");
        let shards = rng.range(1, 4);
        if !sim.restart(shards) {
            // It crashed while it started.
            expected.values_mut().flatten().for_each(|(_, flagged)| *flagged = true);
        }
        let peer = open(&mut sim, 0);
        for (queue, expected) in &mut expected {
            expected.retain(|(text, _)| !text.is_empty());
            let (ready, _) = sim.counts(peer, 1, queue).expect("a durable queue");
            assert_eq!(ready as usize, expected.len(), "the count of {queue}");
        }
        sim.close_connection(peer);
    }
    for (queue, expected) in expected {
        assert_eq!(contents(&mut sim, queue), expected, "{queue}");
    }
    super::finish(sim)
}

fn cut_at_rest(sim: &mut Sim, peer: PeerId) {
    sim.rest();
    sim.cut(peer);
}

/// A backlog much larger than the memory for it, in several queues: everything comes back in order, crash or not.
pub fn backlog(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 3, trace);
    let peer = open(&mut sim, 0);
    sim.confirm_select(peer, 1);
    for queue in ["a", "b", "c"] {
        let flags = if queue == "c" { PLAIN } else { DURABLE };
        sim.must(peer, 1, &queue_declare(queue, flags));
        sim.must(peer, 1, &queue_bind(queue, "amq.fanout", ""));
    }
    let count = 120;
    let persistent: Vec<bool> = (0..count).map(|_| rng.chance(70)).collect();
    let sizes: Vec<usize> = (0..count).map(|_| rng.pick(&[10, 300, 2000])).collect();
    let text = |number: usize| format!("{number:0width$}", width = sizes[number]);
    for (number, persistent) in persistent.iter().enumerate() {
        let body = text(number);
        sim.publish(peer, 1, "amq.fanout", "", false, &properties(*persistent), body.as_bytes());
    }
    sim.confirms(peer, 1, 1, count as u64);
    let crash = rng.chance(50);
    if crash {
        go_down_at_once(&mut sim);
        let shards = sim.net.rng.range(1, 4);
        sim.restart(shards);
    }
    for queue in ["a", "b", "c"] {
        let shard = rng.below(sim.shards.len());
        let peer = open(&mut sim, shard);
        if crash && queue == "c" {
            assert_eq!(sim.counts(peer, 1, queue), None);
            continue;
        }
        let expected: Vec<usize> = (0..count).filter(|number| !crash || persistent[*number]).collect();
        assert_eq!(sim.counts(peer, 1, queue), Some((expected.len() as u32, 0)));
        if rng.chance(50) {
            sim.must(peer, 1, &crate::script::prefetch(rng.below(20) as u16, false));
        }
        sim.must(peer, 1, &consume(queue, "t", false));
        let mut at = 0;
        while at < expected.len() {
            sim.rest();
            let deliveries = sim.take_deliveries(peer, 1);
            assert!(!deliveries.is_empty(), "{} of {} came from {queue}", at, expected.len());
            for (_, delivery) in deliveries {
                assert!(Sim::text(&delivery) == text(expected[at]), "message {} of {queue}", expected[at]);
                assert_eq!(delivery.redelivered, crash);
                at += 1;
                sim.send(peer, 1, &ack(delivery.tag, rng.chance(50)));
            }
        }
        assert_eq!(sim.counts(peer, 1, queue), Some((0, 1)));
    }
    super::finish(sim)
}
