//! System calls at which the broker is killed, or which fail: strace injects them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use leveret::amqp::method::{BasicAck, QueuePurge, QueuePurgeOk};

use crate::broker::{Broker, KILLED, Options};
use crate::link::{Answer, Declare, Event, Link, PATIENCE};
use crate::load::World;
use crate::message::Id;
use crate::place::{self, Folder};
use crate::rng::Rng;
use crate::truth::How;
use crate::{long, rounds, seed, skip};

/// The calls that the store makes; a question mark excuses a machine that does not have one.
const CALLS: &[&str] = &[
    "pwrite64",
    "pwritev",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "openat",
    "?unlink,unlinkat",
    "?rename,renameat,?renameat2",
];

/// A life has fewer calls of one kind.
const CALLS_MAX: u64 = 5000;
/// So many lives in a row that come to no such call are the end.
const PASSES: usize = 3;

/// Whether processes may be traced here.
fn can_trace(test: &str) -> bool {
    match place::run("strace", &["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "true"]) {
        Ok(()) => true,
        Err(reason) => {
            skip(test, &reason);
            false
        }
    }
}

/// One life under strace. Returns whether the broker was killed by the injection.
fn life(world: &World, options: &Options, time: Duration, rng: &mut Rng) -> bool {
    let mut broker = match Broker::start(options) {
        Ok(broker) => broker,
        Err(error) => {
            assert!(error.was_killed(), "{:?}: {error:?}", options.through);
            world.truth.killed();
            return true;
        }
    };
    // Its clients see the end as an error, at whatever they are.
    if world.declare(broker.address).is_ok() {
        let load = world.load(broker.address, rng.next());
        let until = Instant::now() + time;
        while broker.is_alive() && Instant::now() < until {
            sleep(Duration::from_millis(2));
        }
        let killed = !broker.is_alive();
        broker.kill();
        load.after_the_end(&world.truth, false);
        world.truth.killed();
        return killed;
    }
    assert_eq!(broker.ended().signal(), Some(KILLED), "{:?}: no answer from a broker that is alive", options.through);
    world.truth.killed();
    true
}

#[test]
fn killed_at_every_system_call() {
    let test = "killed_at_every_system_call";
    if !can_trace(test) {
        return;
    }
    let mut rng = Rng::new(seed(test));
    let folder = Folder::new(test);
    let options = Options::new(&folder.join("data")).small();
    let world = World::new();
    let mut said = vec![];
    for (place, calls) in CALLS.iter().enumerate() {
        // In the short form a few numbers, others for each call.
        let short = [1 + place as u64 % 3, 4 + rng.below(40)];
        let numbers: Box<dyn Iterator<Item = u64>> = match long() {
            true => Box::new(1..CALLS_MAX),
            false => Box::new(short.into_iter()),
        };
        let (mut kills, mut passed) = (0, 0);
        for number in numbers {
            let trace = folder.join("trace");
            let traced = options.clone().shards(1 + rng.below(2) as usize);
            let traced = traced.traced(calls, &format!("signal=SIGKILL:when={number}"), &trace);
            let killed = life(&world, &traced, Duration::from_millis(rounds(250, 600) as u64), &mut rng);
            let when = format!("{test}: at {calls} number {number}");
            world.truth.check(&when);
            // Else the next one starts with all that is there, and dies at its recovery perhaps.
            if rng.chance(if long() { 50 } else { 60 }) {
                let broker = Broker::must_start(&options);
                world.definitions.check(broker.address, &world.truth).expect("the broker answers");
                world.drain(broker.address, How::Drain).expect("the broker gives everything back");
                world.truth.check(&when);
                broker.kill();
                world.truth.killed();
            }
            // One may pass because it was slow.
            (kills, passed) = if killed { (kills + 1, 0) } else { (kills, passed + 1) };
            if passed == rounds(1, PASSES) {
                break;
            }
        }
        assert!(!long() || passed == PASSES, "{test}: {calls}: more than {CALLS_MAX} calls");
        said.push(format!("{calls} {kills}"));
    }
    let broker = Broker::must_start(&options);
    world.definitions.check(broker.address, &world.truth).expect("the broker answers");
    world.drain(broker.address, How::Drain).expect("the broker gives everything back");
    world.truth.check(&format!("{test}: at the end"));
    broker.stop();
    eprintln!("{test}: {:?}; kills: {}", world.truth.tally(), said.join(", "));
}

/// A call that failed, as strace has seen it.
struct Failed {
    thread: String,
    at: Duration,
}

/// The first failed call in a trace.
fn first_failed(trace: &Path) -> Option<Failed> {
    let text = fs::read_to_string(trace).ok()?;
    let line = text.lines().find(|line| line.contains("(INJECTED)"))?;
    let mut words = line.split_whitespace();
    let thread = words.next()?.to_owned();
    let (seconds, micros) = words.next()?.split_once('.')?;
    Some(Failed { thread, at: Duration::new(seconds.parse().ok()?, micros.parse::<u32>().ok()? * 1000) })
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock")
}

const QUEUE: &str = "failing";

/// Publishes one at a time, each after the confirm of the one before; returns how many were confirmed, and when the
/// last confirm came. Ends when the broker says that it is blocked, or when `max` are confirmed.
fn publish_singly(link: &mut Link, max: u32) -> Answer<(u32, Duration)> {
    let mut last = Duration::ZERO;
    for number in 0..max {
        let id = Id { source: 1, number };
        link.push_publish("", QUEUE, false, &id.properties(true), &id.body(100));
        loop {
            match link.event_within(Duration::from_secs(2))? {
                Some(Event::Confirm { taken: true, .. }) => break,
                Some(Event::Blocked(true)) | Some(Event::Confirm { taken: false, .. }) | None => {
                    return Ok((number, last));
                }
                Some(_) => {}
            }
        }
        last = wall_clock();
    }
    Ok((max, last))
}

/// Takes everything that is ready; returns the numbers.
fn take_all(link: &mut Link) -> Answer<Vec<u32>> {
    link.consume(QUEUE, 0)?;
    let ready = link.declare_queue(QUEUE, Declare::Passive)?;
    let mut numbers = vec![];
    while (numbers.len() as u32) < ready || ready == 0 && link.declare_queue(QUEUE, Declare::Passive)? > 0 {
        if let Event::Delivery(delivery) = link.event()? {
            numbers.push(Id::read(&delivery.properties, &delivery.body).expect("nothing is altered").number);
            link.push(1, BasicAck { delivery_tag: delivery.tag, multiple: false });
        }
    }
    while let Some(event) = link.waiting() {
        if let Event::Delivery(delivery) = event {
            numbers.push(Id::read(&delivery.properties, &delivery.body).expect("nothing is altered").number);
        }
    }
    Ok(numbers)
}

#[test]
fn no_confirm_after_a_failed_sync() {
    let test = "no_confirm_after_a_failed_sync";
    if !can_trace(test) {
        return;
    }
    let numbers = if long() { (1..60).collect() } else { vec![1, 2, 9, 30] };
    for number in numbers {
        let folder = Folder::new(test);
        let options = Options::new(&folder.join("data"));
        let trace = folder.join("trace");
        let injection = format!("error=EIO:when={number}");
        let traced = options.clone().traced("fdatasync,fsync", &injection, &trace);
        let mut confirmed = 0;
        match Broker::start(&traced) {
            // A start may need the disk; it says what is wrong then.
            Err(error) => {
                assert!(!error.was_killed() && error.log.contains("nput/output error"), "{number}: {error:?}");
            }
            Ok(mut broker) => {
                let mut link = Link::open(broker.address).expect("the broker answers");
                // The declare waits for a sync as well.
                if link.declare_queue(QUEUE, Declare::Durable).is_ok() && link.select_confirms().is_ok() {
                    let last;
                    (confirmed, last) = publish_singly(&mut link, 200).expect("the broker answers");
                    if let Some(failed) = first_failed(&trace) {
                        assert!(broker.is_alive());
                        assert!(last <= failed.at, "{number}: a confirm after thread {} failed", failed.thread);
                        assert!(broker.log().contains("nput/output error"), "it says why: {}", broker.log());
                        // Others are served.
                        let mut consumer = Link::open(broker.address).expect("the broker answers");
                        let taken = take_all(&mut consumer).expect("the broker goes on");
                        assert!(taken.len() as u32 >= confirmed, "{number}: {} of {confirmed}", taken.len());
                        assert!(publish_one_more(&mut consumer).is_none(), "{number}: a confirm for the next one");
                    } else {
                        assert_eq!(confirmed, 200, "{number}: no sync has failed");
                    }
                }
                broker.kill();
            }
        }
        let broker = Broker::must_start(&options);
        let mut link = Link::open(broker.address).expect("the broker answers");
        if confirmed > 0 {
            let mut taken = take_all(&mut link).expect("the broker gives everything back");
            taken.dedup();
            let expected: Vec<u32> = (0..confirmed).collect();
            assert!(taken.starts_with(&expected), "{number}: {confirmed} confirmed, {taken:?}");
        }
        assert!(link.close().is_ok());
        // And it works again.
        let mut link = Link::open(broker.address).expect("the broker answers");
        link.declare_queue(QUEUE, Declare::Durable).expect("a queue");
        link.select_confirms().expect("confirms");
        let purge = QueuePurge { reserved_1: 0, queue: QUEUE, no_wait: false };
        link.call(purge, QueuePurgeOk::ID).expect("it is purged");
        assert_eq!(publish_singly(&mut link, 3).expect("the broker answers").0, 3);
        broker.stop();
    }
}

/// Whether another publish is confirmed or refused.
fn publish_one_more(link: &mut Link) -> Option<bool> {
    if link.select_confirms().is_err() {
        return None;
    }
    let id = Id { source: 1, number: 1_000_000 };
    link.push_publish("", QUEUE, false, &id.properties(true), &id.body(100));
    loop {
        match link.event_within(Duration::from_millis(300)) {
            Ok(Some(Event::Confirm { taken: true, .. })) => return Some(true),
            Ok(Some(Event::Confirm { taken: false, .. })) | Ok(None) | Err(_) => return None,
            Ok(Some(_)) => {}
        }
    }
}

/// Calls, the error that they give, and how many in a row do. A disk that is full for a while, or does not take a write
/// once, is no reason to give up.
const PASSING: &[(&str, &str, u32)] = &[
    ("pwritev", "ENOSPC", 12),
    ("pwrite64", "ENOSPC", 6),
    ("fallocate", "ENOSPC", 3),
    ("pwritev", "EIO", 1),
    ("ftruncate", "EIO", 2),
    ("?rename,renameat,?renameat2", "EIO", 2),
];

#[test]
fn calls_that_fail_for_a_while() {
    let test = "calls_that_fail_for_a_while";
    if !can_trace(test) {
        return;
    }
    let mut rng = Rng::new(seed(test));
    for (calls, error, count) in PASSING {
        for _ in 0..rounds(1, 20) {
            let folder = Folder::new(test);
            let options = Options::new(&folder.join("data")).small();
            let first = 3 + rng.below(rounds(12, 60) as u64) as u32;
            let injection = format!("error={error}:when={first}..{}", first + count - 1);
            let when = format!("{test}: {calls} {injection}");
            let world = World::new();
            let traced = options.clone().shards(2).traced(calls, &injection, &folder.join("trace"));
            let broker = Broker::must_start(&traced);
            world.declare(broker.address).unwrap_or_else(|trouble| panic!("{when}: {trouble:?}"));
            let load = world.load(broker.address, rng.next());
            sleep(Duration::from_millis(rounds(250, 600) as u64));
            // Every client comes to its end: nobody is left waiting.
            load.stop(&world.truth);
            world.truth.check(&format!("{when}; {}", broker.log()));
            broker.kill();
            world.truth.killed();
            let broker = Broker::must_start(&options);
            world.definitions.check(broker.address, &world.truth).expect("the broker answers");
            world.drain(broker.address, How::Drain).expect("the broker gives everything back");
            world.truth.check(&when);
            broker.stop();
        }
    }
}

/// Those who write a checkpoint find the disk full, for good or for a while; there is room for all else.
#[test]
fn a_file_system_that_fills_while_a_checkpoint_is_written() {
    let test = "a_file_system_that_fills_while_a_checkpoint_is_written";
    if !can_trace(test) {
        return;
    }
    let mut rng = Rng::new(seed(test));
    for round in 0..rounds(2, 40) {
        let folder = Folder::new(test);
        let options = Options::new(&folder.join("data")).small();
        let world = World::new();
        let checkpoints = || place::names(&options.data_dir, "checkpoint-").len();
        let broker = Broker::must_start(&options);
        world.declare(broker.address).expect("the load's queues");
        let load = world.load(broker.address, rng.next());
        let until = Instant::now() + PATIENCE;
        while checkpoints() < 2 {
            assert!(Instant::now() < until, "no checkpoints");
            sleep(Duration::from_millis(10));
        }
        load.stop(&world.truth);
        broker.kill();
        world.truth.killed();
        // The first pieces of one may still find room.
        let first = 1 + rng.below(4);
        let last = if round % 2 == 0 { "+".to_owned() } else { format!("..{}", first + rng.below(6)) };
        let injection = format!("error=ENOSPC:when={first}{last}");
        let mut traced = options.clone().shards(2).traced("pwrite64,pwritev", &injection, &folder.join("trace"));
        for name in ["checkpoint-a", "checkpoint-b"] {
            let path = options.data_dir.join(name).to_str().expect("a plain name").to_owned();
            traced.through.extend(["-P".to_owned(), path]);
        }
        let broker = Broker::must_start(&traced);
        world.declare(broker.address).expect("the load's queues");
        let load = world.load(broker.address, rng.next());
        let until = Instant::now() + PATIENCE;
        while !broker.log().contains("cannot be written: ") {
            assert!(Instant::now() < until, "{injection}: not a word: {}", broker.log());
            sleep(Duration::from_millis(10));
        }
        load.stop(&world.truth);
        world.truth.check(&format!("{test}: {injection}; {}", broker.log()));
        match rng.chance(50) {
            true => broker.kill(),
            // The last checkpoint may not be written either: it says so, and is gone.
            false => {
                broker.terminate();
                broker.ended();
            }
        }
        world.truth.killed();
        let broker = Broker::must_start(&options);
        world.definitions.check(broker.address, &world.truth).expect("the broker answers");
        world.drain(broker.address, How::Drain).expect("the broker gives everything back");
        world.truth.check(&format!("{test}: {injection}"));
        broker.stop();
    }
}

/// A minute is too long for the short form.
#[test]
fn a_disk_that_stalls_is_noticed() {
    let test = "a_disk_that_stalls_is_noticed";
    if !long() {
        return skip(test, "only in the long form");
    }
    if !can_trace(test) {
        return;
    }
    let folder = Folder::new(test);
    let options = Options::new(&folder.join("data"));
    let traced = options.traced("fdatasync", "delay_enter=15000000:when=8", &folder.join("trace"));
    let broker = Broker::must_start(&traced);
    let mut link = Link::open(broker.address).expect("the broker answers");
    link.declare_queue(QUEUE, Declare::Durable).expect("a queue");
    link.select_confirms().expect("confirms");
    publish_singly(&mut link, 20).expect("the broker answers");
    let until = Instant::now() + Duration::from_secs(14);
    while !broker.log().contains("stalled") {
        assert!(Instant::now() < until, "not a word: {}", broker.log());
        // Meanwhile others are served.
        let mut other = Link::open(broker.address).expect("the broker answers");
        other.declare_queue(QUEUE, Declare::Passive).expect("the broker answers");
        sleep(Duration::from_millis(100));
    }
    broker.kill();
}
