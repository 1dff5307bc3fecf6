//! Fuzz bodies, run over seeded input: whatever the bytes, nothing panics and nobody else notices.
//!
//! `LEVERET_FUZZ_SEED` and `LEVERET_FUZZ_ROUNDS` run other and longer sequences than the smoke test's.

// Seeds come from the environment, failures go to the terminal.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[allow(dead_code)]
#[path = "../protocol/dialogue.rs"]
mod dialogue;
#[allow(dead_code)]
#[path = "../protocol/disk.rs"]
mod disk;
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../protocol/net.rs"]
mod net;
#[allow(dead_code)]
#[path = "../protocol/peer.rs"]
mod peer;
#[path = "../common/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../protocol/say.rs"]
mod say;

mod bodies;
mod random;

use net::{Feed, Net, Store};
use random::Random;

/// Calls `body` with a generator for each round.
fn rounds(count: u64, mut body: impl FnMut(&mut Random)) {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("LEVERET_FUZZ_SEED", 1);
    for round in 0..number("LEVERET_FUZZ_ROUNDS", count) {
        let case = seed.wrapping_mul(0x9e37_79b9).wrapping_add(round);
        let guard = random::TellSeed(case);
        body(&mut Random::new(case));
        std::mem::forget(guard);
    }
}

#[test]
fn frames() {
    rounds(20_000, |random| {
        let len = random.below(64);
        bodies::frame(&random.bytes(len));
        let session = bodies::a_session(random).concat();
        bodies::frame(&random.mutated(&session));
    });
}

#[test]
fn methods() {
    rounds(20_000, |random| {
        let len = random.below(80);
        bodies::method(random.next() as usize, &random.bytes(len));
        let args = random.mutated(b"\0\0\x05queue\x08exchange\x03key\0\0\0\0\x08\x01kI\0\0\0\x01");
        bodies::method(random.next() as usize, &args);
    });
}

#[test]
fn tables() {
    rounds(20_000, |random| {
        let len = random.below(60);
        bodies::table(&random.bytes(len));
        let sound = bodies::a_table(random, 4);
        assert!(leveret::amqp::Table::check(&sound).is_ok());
        bodies::table(&sound);
        bodies::table(&random.mutated(&sound));
    });
}

#[test]
fn properties() {
    rounds(20_000, |random| {
        let len = random.below(60);
        bodies::properties(&random.bytes(len));
        let sound = bodies::some_properties(random);
        assert!(leveret::amqp::Properties::decode(&sound).is_ok());
        bodies::properties(&sound);
        bodies::properties(&random.mutated(&sound));
    });
}

/// Net and bystander are kept over many cases: what one leaves behind, the next meets.
fn connections(count: usize, rounds_count: u64, body: fn(&Net, &mut Random)) {
    let feed = if count > 1 { Feed::Scrambled(7) } else { Feed::Whole };
    let net = Net::new(count, feed, if count > 1 { Store::Disk } else { Store::None });
    let bystander = net.peer();
    bystander.queue(say::exclusive("bystander"));
    bystander.confirm_select();
    let mut seqno = 0;
    rounds(rounds_count, |random| {
        body(&net, random);
        seqno += 1;
        bystander.fill("bystander", &["x"]).confirmed(&[seqno]);
        bystander.holds("bystander", &["x"]).silent();
    });
    net.advance(120_000);
    bystander.silent();
}

#[test]
fn connections_that_send_garbage() {
    connections(4, 400, bodies::connection_garbage);
}

#[test]
fn connections_that_send_garbage_after_the_handshake() {
    connections(4, 400, bodies::connection_garbage_after_handshake);
}

#[test]
fn connections_with_mutated_sessions() {
    connections(4, 400, bodies::connection_mutated);
}

#[test]
fn connections_with_frames_in_any_order() {
    connections(4, 400, bodies::connection_shuffled);
}

#[test]
fn connections_with_frames_in_any_order_on_one_shard() {
    connections(1, 400, bodies::connection_shuffled);
}

#[test]
fn streams_and_pieces_come_to_the_same() {
    rounds(1_000, bodies::streams_and_pieces);
}
