//! Disk and memory in use.

use super::*;

/// Live bytes of the model, about as they lie on the disk.
fn live_bytes(lane: &Lane) -> u64 {
    let mut bodies = BTreeMap::new();
    for (number, len, _) in lane.model.values().flat_map(|queue| queue.alive.values()) {
        bodies.insert(*number, *len as u64 + 60);
    }
    bodies.values().sum()
}

fn assert_little_is_used(lane: &Lane) {
    let nursery = (lane.limits.segments_nursery as u64 + 1) * lane.limits.segment_bytes;
    let (used, live) = (lane.keeper.counts().used_bytes, live_bytes(lane));
    assert!(used <= 2 * live + nursery, "{used} bytes used for {live}");
}

fn fill(lane: &mut Lane, queues: &[u64], count: usize, len: usize) {
    for i in 0..count {
        lane.publish(queues, len, 0);
        if i % 16 == 0 {
            lane.sync();
            lane.step();
        }
    }
}

#[test]
fn a_stuck_message_pins_nothing() {
    let mut lane = Lane::new();
    lane.define(1000);
    for _ in 0..30 {
        fill(&mut lane, &[1000], 50, 2000);
        // The first of each hundred kilobytes stays.
        let positions: Vec<u64> = lane.model[&1000].alive.keys().copied().collect();
        let rest: Vec<u64> = positions.into_iter().filter(|at| at % 50 != 0).collect();
        rest.iter().for_each(|at| lane.settle(1000, *at, *at));
        lane.sync();
    }
    assert_eq!(lane.model[&1000].alive.len(), 30);
    lane.rest(60_000);
    assert_little_is_used(&lane);
    assert!(lane.keeper.counts().copied >= 20, "{:?}", lane.keeper.counts());
    lane.check(10_000, 1000);
    let mut lane = lane.crash(true);
    lane.check(10_000, 1000);
}

#[test]
fn a_body_in_many_queues_is_copied_once() {
    let mut lane = Lane::new();
    let queues: Vec<u64> = (1000..1020).collect();
    queues.iter().for_each(|queue| lane.define(*queue));
    for _ in 0..20 {
        fill(&mut lane, &queues, 40, 2000);
        for (i, queue) in queues.iter().enumerate() {
            let positions: Vec<u64> = lane.model[queue].alive.keys().copied().collect();
            // In ten of the queues every fortieth stays.
            let rest = positions.into_iter().filter(|at| at % 40 != 0 || i % 2 == 0);
            rest.for_each(|at| lane.settle(*queue, at, at));
        }
        lane.sync();
    }
    lane.rest(60_000);
    assert_little_is_used(&lane);
    let counts = lane.keeper.counts();
    assert_eq!(counts.live, 200);
    // A few of them once more, for the sake of order.
    assert!((10..=25).contains(&counts.copied), "{counts:?}");
    lane.check(10_000, 1000);
    let mut lane = lane.crash(false);
    lane.check(10_000, 1000);
    assert_little_is_used(&lane);
}

#[test]
fn space_comes_back_after_a_purge_a_deletion_and_a_drain() {
    for way in 0..3 {
        let mut lane = Lane::new();
        lane.define(1000);
        fill(&mut lane, &[1000], 1000, 1000);
        lane.rest(60_000);
        assert_little_is_used(&lane);
        assert!(lane.keeper.counts().segments > 15);
        match way {
            0 => lane.purge(1000, &[]),
            1 => lane.undefine(1000),
            _ => lane.settle(1000, 0, 999),
        }
        lane.rest(60_000);
        let counts = lane.keeper.counts();
        assert_eq!((counts.live, counts.live_bytes, counts.segments), (0, 0, 1), "{counts:?}");
        let names = lane.disk.names();
        let kept = 2 + lane.limits.segments_spare_max;
        assert!(names.iter().filter(|name| name.starts_with("segment")).count() <= kept, "{names:?}");
        let lane = lane.crash(true);
        assert!(lane.report.is_sound(), "{}", lane.report);
    }
}

#[test]
fn what_a_start_ends_gives_its_space_back_at_once() {
    for way in 0..3 {
        let mut lane = Lane::new();
        let flags = if way == 0 { TRANSIENT } else { 0 };
        if way != 1 {
            lane.define(1000);
        }
        (0..1000).for_each(|i| {
            lane.publish(&[1000], 1000, flags);
            if i % 16 == 0 {
                lane.sync();
            }
        });
        if way == 2 {
            lane.sync();
            lane.settle(1000, 0, 999);
        }
        lane.sync();
        if way == 1 {
            lane.model.clear();
        }
        let mut lane = lane.crash(true);
        // Nobody has anything to say.
        lane.rest(10_000);
        let counts = lane.keeper.counts();
        assert!(counts.live == 0 && counts.segments <= 1, "way {way}: {counts:?}");
    }
}

#[test]
fn many_queues_with_a_few_messages_each() {
    let limits = Limits { segment_bytes: 1 << 20, segment_bytes_min: 1 << 20, ..limits() };
    let mut lane = Lane::on(MemoryDisk::default(), Limits { checkpoint_bytes: 4 << 20, ..limits });
    let queues: Vec<u64> = (1000..101_000).collect();
    queues.iter().for_each(|queue| lane.define(*queue));
    for round in 0..3 {
        for (i, queue) in queues.iter().enumerate() {
            lane.publish(&[*queue], 16, 0);
            if i % 5000 == 0 {
                lane.sync();
                lane.step();
            }
        }
        lane.rest(60_000);
        assert_little_is_used(&lane);
        // They are no more files than one queue makes.
        let counts = lane.keeper.counts();
        let files = lane.disk.names().len() as u64;
        assert!(files <= counts.segments + 4 + lane.limits.segments_spare_max as u64, "{round}: {files} {counts:?}");
    }
    // One message is left in each, then nothing, and the queues go.
    for (first, last) in [(0, 1), (2, 2)] {
        for (i, queue) in queues.iter().enumerate() {
            lane.settle(*queue, first, last);
            if i % 5000 == 0 {
                lane.sync();
            }
        }
        lane.rest(60_000);
        assert_little_is_used(&lane);
    }
    queues.iter().for_each(|queue| lane.undefine(*queue));
    lane.rest(60_000);
    let size = |name: &str| lane.disk.bytes(name).unwrap().len();
    let checkpoints = checkpoint::NAMES.iter().map(|name| size(name)).sum::<usize>();
    assert!(checkpoints < 4 << 20, "{checkpoints} bytes of checkpoints for nothing");
    assert_eq!(lane.keeper.counts().live, 0);
}

#[test]
fn a_drain_behind_a_purge_that_keeps_some() {
    let mut lane = Lane::new();
    lane.define(1000);
    fill(&mut lane, &[1000], 1000, 1000);
    lane.purge(1000, &[3, 500, 501, 999]);
    lane.rest(60_000);
    assert_eq!(lane.keeper.counts().live, 4);
    assert_little_is_used(&lane);
    lane.check(10_000, 1000);
}

#[test]
fn mixed_sizes_are_not_copied_again_and_again() {
    let mut lane = Lane::new();
    lane.define(1000);
    lane.define(1001);
    for _ in 0..40 {
        // One large message stays, hundreds of small ones go.
        lane.publish(&[1000], 40_000, 0);
        (0..300).for_each(|_| lane.publish(&[1000], 10, 0));
        let small: Vec<u64> =
            lane.model[&1000].alive.iter().filter(|(_, (_, len, _))| *len == 10).map(|(at, _)| *at).collect();
        lane.sync();
        small.iter().for_each(|at| lane.settle(1000, *at, *at));
        lane.rest(2000);
    }
    lane.rest(60_000);
    assert_little_is_used(&lane);
    assert!(lane.keeper.counts().copied < 40, "{:?}", lane.keeper.counts());
}

#[test]
fn memory_stays_small_with_a_long_queue() {
    let limits = Limits { segment_bytes: 4 << 20, segment_bytes_min: 4 << 20, ..limits() };
    let mut lane = Lane::on(MemoryDisk::default(), limits);
    lane.define(1000);
    for _ in 0..100 {
        (0..2000).for_each(|_| lane.publish(&[1000], 16, 0));
        lane.sync();
        lane.step();
    }
    lane.rest(20_000);
    let counts = lane.keeper.counts();
    assert_eq!(counts.live, 200_000);
    assert!(counts.memory_bytes < 100_000, "{counts:?}");
}

#[test]
fn memory_stays_small_with_many_queues() {
    let limits = Limits { segment_bytes: 1 << 20, segment_bytes_min: 1 << 20, ..limits() };
    let mut lane = Lane::on(MemoryDisk::default(), limits);
    let queues: Vec<u64> = (1000..6000).collect();
    queues.iter().for_each(|queue| lane.define(*queue));
    for round in 0..3 {
        for queue in &queues {
            lane.publish(&[*queue], 100, 0);
            if queue % 100 == 0 {
                lane.sync();
                lane.step();
            }
        }
        lane.sync();
        assert_eq!(lane.keeper.counts().live, 5000 * (round + 1));
    }
    lane.rest(20_000);
    let counts = lane.keeper.counts();
    assert!(counts.memory_bytes < 5000 * 450, "{counts:?}");
    let names = lane.disk.names();
    assert!(names.len() < 12, "{names:?}");
    // A queue that is emptied again and again takes no more for it.
    let before = lane.keeper.counts().memory_bytes;
    for _ in 0..1000 {
        lane.publish(&[1000], 10, 0);
        lane.sync();
        let last = lane.model[&1000].end - 1;
        lane.settle(1000, last, last);
    }
    lane.sync();
    let after = lane.keeper.counts().memory_bytes;
    assert!(after < before + 1000 * 30, "{before} {after}");
}

#[test]
fn what_lives_is_not_copied_for_being_small() {
    let mut lane = Lane::new();
    let queues: Vec<u64> = (1000..1010).collect();
    queues.iter().for_each(|queue| lane.define(*queue));
    for i in 0..6000 {
        lane.publish(&[queues[i % 10]], 5, 0);
        if i % 200 == 0 {
            lane.sync();
        }
    }
    for _ in 0..20 {
        lane.rest(20_000);
    }
    assert!(lane.keeper.counts().segments > 5);
    assert_eq!(lane.keeper.counts().copied, 0);
    // Each in a batch of its own, they are copied at most twice.
    for i in 0..2000 {
        lane.publish(&[queues[i % 10]], 5, 0);
        lane.sync();
    }
    for _ in 0..20 {
        lane.rest(20_000);
    }
    assert!(lane.keeper.counts().copied <= 4000, "{:?}", lane.keeper.counts());
    lane.check(10_000, 1000);
}

#[test]
fn segments_that_were_hardly_begun_are_joined() {
    let mut lane = Lane::new();
    lane.define(1000);
    for _ in 0..30 {
        (0..3).for_each(|_| lane.publish(&[1000], 100, 0));
        lane.sync();
        lane = lane.crash(true);
    }
    lane.rest(60_000);
    assert_little_is_used(&lane);
    lane.check(10_000, 1000);
}
