//! Names: who creates, who removes, and who knows of it when (B 1, 11, 12, 15).

use super::{finish, one_each, open, stage};
use crate::script::{
    AUTO_DELETE, EXCLUSIVE, Flags, PLAIN, consume, exchange_declare, queue_bind, queue_declare, queue_delete,
};
use crate::sim::Sim;
use crate::wire::Heard;
use leveret::amqp::method::{BasicCancel, QueueBind, QueueUnbind};
use std::collections::BTreeSet;

/// B 1: declare, bind, publish and get by clients of different shards, each as soon as it sees the other's answer.
pub fn relay(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    for peer in &peers {
        sim.confirm_select(*peer, 1);
        sim.open_channel(*peer, 2);
    }
    let mut published = [0; 4];
    for round in 0..12 {
        let mut pick = || rng.below(4);
        let (a, b, c, d, e) = (pick(), pick(), pick(), pick(), pick());
        let (queue, exchange) = (format!("q{round}"), format!("x{}", round / 2));
        sim.must(peers[a], 1, &queue_declare(&queue, PLAIN));
        sim.must(peers[e], 1, &exchange_declare(&exchange, "fanout"));
        sim.must(peers[b], 1, &queue_bind(&queue, &exchange, ""));
        sim.publish(peers[c], 1, &exchange, "", true, &[0, 0], queue.as_bytes());
        published[c] += 1;
        sim.confirms(peers[c], 1, published[c], published[c]);
        let returned = sim.peers[peers[c]].heard.iter().any(|(_, heard)| matches!(heard, Heard::Return { .. }));
        assert!(!returned, "a binding was confirmed, and a publish after it found none");
        let (delivery, _) = sim.get_one(peers[d], 1, &queue).expect("the message that was confirmed");
        assert_eq!(Sim::text(&delivery), queue);
        if rng.chance(50) {
            sim.must(peers[a], 1, &queue_delete(&queue));
            assert_eq!(sim.counts(peers[e], 2, &queue), None);
        }
    }
    finish(sim)
}

/// B 10: bindings come and go on one shard; what is published on another afterwards goes where they say.
pub fn bindings_change(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    let kinds = [("direct", "a.b"), ("topic", "a.*"), ("topic", "#"), ("fanout", "")];
    for (at, (kind, _)) in kinds.iter().enumerate() {
        sim.must(peers[at], 1, &exchange_declare(&format!("x{at}"), kind));
        sim.must(peers[at], 1, &queue_declare(&format!("q{at}"), PLAIN));
    }
    let mut bound = BTreeSet::new();
    for round in 0..40 {
        let (x, q) = (rng.below(4), rng.below(4));
        let (queue, exchange, key) = (format!("q{q}"), format!("x{x}"), kinds[x].1);
        let admin = peers[rng.below(4)];
        if bound.insert((x, q)) {
            sim.must(admin, 1, &queue_bind(&queue, &exchange, key));
        } else {
            let arguments = leveret::amqp::Table::EMPTY;
            let (queue, exchange) = (queue.as_str(), exchange.as_str());
            sim.must(admin, 1, &QueueUnbind { reserved_1: 0, queue, exchange, routing_key: key, arguments });
            bound.remove(&(x, q));
        }
        let (publisher, x) = (peers[rng.below(4)], if rng.chance(70) { x } else { rng.below(4) });
        sim.publish(publisher, 1, &format!("x{x}"), "a.b", true, &[0, 0], format!("{round}").as_bytes());
        // An answer behind the publish: it has been routed.
        sim.must(publisher, 1, &queue_declare("q0", PLAIN));
        let routed = bound.iter().any(|(from, _)| *from == x);
        let returns = |(_, heard): &(u16, Heard)| matches!(heard, Heard::Return { .. });
        assert_eq!(sim.peers[publisher].heard.iter().any(returns), !routed, "bound: {bound:?}, published to x{x}");
        sim.peers[publisher].heard.clear();
        for q in 0..4 {
            let got: Vec<String> = sim.get_all(publisher, 1, &format!("q{q}")).iter().map(Sim::text).collect();
            let due = if bound.contains(&(x, q)) { vec![format!("{round}")] } else { vec![] };
            assert_eq!(got, due, "bound: {bound:?}, published to x{x}, looking at q{q}");
        }
    }
    finish(sim)
}

/// B 11: one name declared on all shards at once: one creator, and everybody else's answer fits to it.
pub fn one_name_everywhere(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    let kinds = [PLAIN, Flags { durable: true, ..PLAIN }, AUTO_DELETE, EXCLUSIVE];
    let variety = rng.range(1, kinds.len());
    for round in 0..6 {
        let name = format!("n{round}");
        let asked: Vec<Flags> = peers.iter().map(|_| kinds[rng.below(variety)]).collect();
        for (peer, flags) in peers.iter().zip(&asked) {
            sim.send(*peer, 1, &queue_declare(&name, *flags));
        }
        let answers: Vec<Result<Heard, u16>> = peers.iter().map(|peer| sim.answer(*peer, 1)).collect();
        let creator = answers.iter().position(Result::is_ok).expect("one of them creates it");
        let is = asked[creator];
        for (at, answer) in answers.iter().enumerate() {
            let due = match asked[at] {
                flags if is.exclusive && at == creator => Ok(flags),
                flags if is.exclusive || flags.exclusive => Err(405),
                flags if flags == is => Ok(flags),
                _ => Err(406),
            };
            assert_eq!(answer.as_ref().err().copied(), due.err(), "{asked:?}: {answers:?}");
            if answer.is_err() {
                sim.open_channel(peers[at], 1);
            }
        }
        if rng.chance(50) {
            sim.must(peers[creator], 1, &queue_delete(&name));
        }
    }
    finish(sim)
}

/// B 12: an auto-delete queue loses its last consumer just when somebody else comes.
pub fn auto_delete(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    for round in 0..8 {
        let name = format!("a{round}");
        let (a, b, c) = (peers[rng.below(4)], peers[rng.below(4)], open(&mut sim, rng.below(4)));
        if a == b {
            continue;
        }
        sim.must(a, 1, &queue_declare(&name, AUTO_DELETE));
        sim.must(a, 1, &consume(&name, "tag", true));
        let what = rng.below(4);
        let cancel_first = rng.chance(50);
        let cancel = BasicCancel { consumer_tag: "tag", no_wait: false };
        if cancel_first {
            sim.send(a, 1, &cancel);
        }
        match what {
            0 => sim.send(b, 1, &queue_declare(&name, AUTO_DELETE)),
            1 => sim.send(b, 1, &consume(&name, "other", true)),
            2 => sim.send(b, 1, &QueueBind { ..queue_bind(&name, "amq.fanout", "") }),
            _ => sim.put(b, 1, &name, "lost or not"),
        }
        for _ in 0..rng.below(20) {
            sim.step();
        }
        if !cancel_first {
            sim.send(a, 1, &cancel);
        }
        assert_eq!(sim.answer(a, 1), Ok(Heard::CancelOk { tag: "tag".into() }));
        let seen = sim.counts(c, 1, &name);
        if what == 3 {
            assert_eq!(seen, None, "it is gone when cancel-ok is there");
            continue;
        }
        let answer = sim.answer(b, 1);
        let now = sim.counts(c, 1, &name);
        match (what, &answer) {
            (0, Ok(_)) => assert!(now == seen || seen.is_none(), "{seen:?}, then {now:?}"),
            (1, Ok(_)) => assert_eq!((seen, now), (Some((0, 1)), Some((0, 1))), "somebody consumes"),
            (1 | 2, Err(404)) => assert_eq!((seen, now), (None, None)),
            (2, Ok(_)) => assert_eq!(now, None, "a binding does not keep it"),
            _ => panic!("{answer:?}"),
        }
        if answer.is_err() {
            sim.open_channel(b, 1);
        } else if what == 1 {
            sim.must(b, 1, &BasicCancel { consumer_tag: "other", no_wait: false });
            assert_eq!(sim.counts(c, 1, &name), None);
        } else if now.is_some() {
            sim.must(b, 1, &queue_delete(&name));
        }
        sim.close_connection(c);
    }
    finish(sim)
}

/// B 15: a queue is deleted and declared anew elsewhere under floods: nothing of the old one is in the new one.
pub fn deleted_and_declared_anew(seed: u64, trace: bool) -> u64 {
    let (mut sim, mut rng) = stage(seed, 4, trace);
    let peers = one_each(&mut sim);
    let flooder = open(&mut sim, rng.below(4));
    let consumer = open(&mut sim, rng.below(4));
    sim.confirm_select(peers[0], 1);
    sim.confirm_select(flooder, 1);
    let (mut published, mut flooded) = (0, 0);
    sim.must(peers[0], 1, &queue_declare("q", PLAIN));
    for round in 0..5 {
        let old = format!("old{round}");
        let count = rng.range(1, 10) as u64;
        for _ in 0..count {
            sim.put(peers[0], 1, "q", &old);
        }
        sim.confirms(peers[0], 1, published + 1, published + count);
        published += count;
        let burst = rng.range(1, 30) as u64;
        for n in 0..burst {
            sim.put(flooder, 1, "q", &format!("flood{round}-{n}"));
        }
        if rng.chance(60) {
            sim.send(consumer, 1, &consume("q", "tag", true));
        } else {
            sim.send(consumer, 1, &queue_bind("q", "amq.fanout", "k"));
        }
        for _ in 0..rng.below(30) {
            sim.step();
        }
        let admin = peers[rng.below(4)];
        sim.must(admin, 1, &queue_delete("q"));
        let other = peers[rng.below(4)];
        sim.must(other, 1, &queue_declare("q", PLAIN));
        for delivery in sim.get_all(peers[rng.below(4)], 1, "q") {
            let text = Sim::text(&delivery);
            assert!(text.starts_with("flood"), "{text} was confirmed before the queue was deleted");
        }
        sim.confirms(flooder, 1, flooded + 1, flooded + burst);
        flooded += burst;
        if sim.answer(consumer, 1).is_err() {
            sim.open_channel(consumer, 1);
        } else {
            sim.send(consumer, 1, &BasicCancel { consumer_tag: "tag", no_wait: false });
            sim.answer(consumer, 1).expect("cancel-ok");
        }
        sim.peers[consumer].heard.clear();
    }
    finish(sim)
}
