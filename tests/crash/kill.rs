//! kill -9 and SIGTERM under load, over and over in one data directory.

use std::thread::sleep;
use std::time::Duration;

use crate::broker::{Broker, Options};
use crate::link::{Declare, Link, Trouble};
use crate::load::{QUEUES, World};
use crate::place::Folder;
use crate::rng::Rng;
use crate::truth::How;
use crate::{rounds, seed};

/// Queues that do not survive.
const PASSING: &[(&str, Declare)] = &[("passing", Declare::Transient), ("owned", Declare::Exclusive)];

/// Rounds of load and sudden end.
fn lives(test: &str, count: usize, end: fn(Broker) -> bool) {
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let options = Options::new(&folder.join("data"));
    let world = World::new();
    let mut slowest = Duration::ZERO;
    for round in 0..count {
        let shards = 1 + rng.below(4) as usize;
        let broker = Broker::must_start(&options.clone().shards(shards));
        slowest = slowest.max(broker.start_took);
        world.definitions.check(broker.address, &world.truth).expect("the broker answers");
        for (queue, _) in PASSING {
            let mut link = Link::open(broker.address).expect("the broker answers");
            let passive = link.declare_queue(queue, Declare::Passive);
            assert!(matches!(passive, Err(Trouble::Closed { code: 404, .. })), "{queue} has survived: {passive:?}");
        }
        // Some rounds go on with what is there.
        if rng.chance(60) {
            world.drain(broker.address, How::Drain).expect("the broker gives everything back");
        }
        world.truth.check(&format!("{test}: round {round}, after the start"));
        world.declare(broker.address).expect("the load's queues");
        // What is not durable, or belongs to one connection, ends with this life.
        let mut owner = Link::open(broker.address).expect("the broker answers");
        for (queue, how) in PASSING {
            assert_eq!(owner.declare_queue(queue, *how), Ok(0), "{queue}");
            owner.push_publish("", queue, false, &[0x10, 0, 2], b"it is persistent, but its queue is not");
        }
        owner.flush().expect("the broker listens");
        let load = world.load(broker.address, rng.next());
        sleep(Duration::from_millis(20 + rng.below(300)));
        let in_order = end(broker);
        load.after_the_end(&world.truth, in_order);
        match in_order {
            true => world.truth.stopped(),
            false => world.truth.killed(),
        }
        world.truth.check(&format!("{test}: round {round}, under load"));
    }
    let broker = Broker::must_start(&options);
    world.definitions.check(broker.address, &world.truth).expect("the broker answers");
    world.drain(broker.address, How::Drain).expect("the broker gives everything back");
    world.truth.check(&format!("{test}: at the end"));
    let took = broker.stop();
    eprintln!("{test}: {count} rounds, {:?}, slowest start {slowest:?}, last stop {took:?}", world.truth.tally());
}

#[test]
fn kill_9_under_load() {
    lives("kill_9_under_load", rounds(10, 200), |broker| {
        broker.kill();
        false
    });
}

#[test]
fn sigterm_under_load() {
    lives("sigterm_under_load", rounds(4, 50), |broker| {
        broker.stop();
        true
    });
}

#[test]
fn a_clean_stop_keeps_counts_and_flags() {
    let test = "a_clean_stop_keeps_counts_and_flags";
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let options = Options::new(&folder.join("data"));
    let world = World::new();
    for round in 0..rounds(3, 30) {
        let shards = 1 + rng.below(4) as usize;
        let broker = Broker::must_start(&options.clone().shards(shards));
        world.declare(broker.address).expect("the load's queues");
        let load = world.load(broker.address, rng.next());
        sleep(Duration::from_millis(100 + rng.below(200)));
        load.stop(&world.truth);
        // Twice in a row, sometimes: what was never looked at is as it was.
        let mut broker = broker;
        for _ in 0..1 + rng.below(2) {
            broker.stop();
            world.truth.stopped();
            broker = Broker::must_start(&options.clone().shards(1 + rng.below(4) as usize));
        }
        world.definitions.check(broker.address, &world.truth).expect("the broker answers");
        let mut link = Link::open(broker.address).expect("the broker answers");
        for queue in QUEUES {
            let ready = link.declare_queue(queue, Declare::Passive).expect("the queue is there");
            let (least, most) = world.truth.counts(queue);
            assert!((least..=most).contains(&ready), "{queue}: {ready} of {least} to {most} messages");
            assert_eq!(least, most, "{queue}: all is decided when the load is stopped in order");
        }
        link.close().expect("the broker answers");
        world.drain(broker.address, How::ExactDrain).expect("the broker gives everything back");
        world.truth.check(&format!("{test}: round {round}"));
        broker.stop();
        world.truth.stopped();
    }
    eprintln!("{test}: {:?}", world.truth.tally());
}

/// The clients and their book-keeping, with a broker that keeps running: whatever they find fault with then is their
/// own mistake.
#[test]
fn the_load_finds_no_fault_in_a_broker_that_runs_on() {
    let test = "the_load_finds_no_fault_in_a_broker_that_runs_on";
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let broker = Broker::must_start(&Options::new(&folder.join("data")).shards(2));
    let world = World::new();
    for round in 0..3 {
        world.declare(broker.address).expect("the load's queues");
        let load = world.load(broker.address, rng.next());
        sleep(Duration::from_millis(300));
        load.stop(&world.truth);
        world.definitions.check(broker.address, &world.truth).expect("the broker answers");
        world.drain(broker.address, How::ExactDrain).expect("the broker gives everything back");
        world.truth.check(&format!("{test}: round {round}"));
    }
    let tally = world.truth.tally();
    assert!(tally.confirmed > 1000 && tally.delivered > 1000, "{tally:?}");
}
