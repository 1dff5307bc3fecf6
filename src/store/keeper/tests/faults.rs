//! Disks that fill and fail while the keeper works.

use std::io::ErrorKind;

use super::*;
use crate::store::disk::memory::Operation;

/// Work for the keeper: segments to index, to age and to free, checkpoints to cut.
fn busy(random: &mut Random) -> Lane {
    let mut lane = Lane::new();
    lane.define(1000);
    lane.define(1001);
    for _ in 0..10 {
        (0..40).for_each(|_| lane.publish(&[1000, 1001], 1500, 0));
        lane.sync();
        for queue in [1000, 1001] {
            let rest: Vec<u64> = lane.model[&queue].alive.keys().copied().filter(|_| random.below(8) > 0).collect();
            rest.iter().for_each(|at| lane.settle(queue, *at, *at));
        }
        lane.sync();
    }
    lane
}

#[test]
fn what_cannot_be_written_is_tried_again_and_costs_nothing() {
    let operations = [Operation::Write, Operation::Sync, Operation::Open, Operation::Read, Operation::SyncDirectory];
    let mut failures = 0;
    for (seed, operation) in operations.into_iter().cycle().take(60).enumerate() {
        let mut random = Random(seed as u64);
        let mut lane = busy(&mut random);
        let kind = if seed % 2 == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
        for _ in 0..60 {
            lane.now += 300;
            // Only the keeper's own work fails.
            match random.below(3) {
                0 => lane.disk.fail_from(operation, random.below(3), kind),
                _ => lane.disk.fail_once(operation, random.below(8), kind),
            }
            for _ in 0..random.below(20) {
                lane.keeper.step(lane.now);
            }
            lane.disk.mend();
            lane.sync();
        }
        failures += lane.keeper.report().findings.len();
        if seed % 3 == 0 {
            lane = lane.crash(true);
        }
        lane.check(10_000, 100);
        lane.rest(60_000);
        lane.check(10_000, 100);
        assert_eq!(lane.keeper.counts().lost, 0);
        let mut lane = lane.crash(seed % 2 == 0);
        assert!(lane.report.is_sound(), "{}", lane.report);
        lane.check(10_000, 100);
    }
    assert!(failures > 50, "{failures}");
}

#[test]
fn a_disk_that_does_not_give_a_message_is_asked_again() {
    let mut lane = Lane::new();
    lane.define(1000);
    (0..5).for_each(|_| lane.publish(&[1000], 100, 0));
    lane.rest(1000);
    let fetch = |lane: &mut Lane| {
        let buffer = Vec::new();
        let queue = QueueId(1000);
        let (shard, tag, from, to, bytes_max, count_max) = (0, 0, 0, 5, 10_000, 10);
        lane.keeper.fetch(Fetch { shard, tag, queue, from, to, bytes_max, count_max, only: vec![], buffer });
    };
    lane.step();
    lane.disk.make_unreadable("segment-00000000");
    fetch(&mut lane);
    assert!(lane.keeper.next_answer().is_none());
    assert!(matches!(lane.keeper.step(lane.now), Step::Idle { again_at_ms: Some(_) } | Step::More));
    lane.disk.mend();
    assert!(lane.keeper.next_answer().is_none(), "not at once");
    lane.rest(2000);
    assert_eq!(lane.keeper.next_answer().unwrap().messages.len(), 5);
    // One that never gives it: the message is given up, and that is reported.
    lane.disk.make_unreadable("segment-00000000");
    fetch(&mut lane);
    let mut rounds = 0;
    let answer = loop {
        if let Some(answer) = lane.keeper.next_answer() {
            break answer;
        }
        lane.now += 1000;
        lane.keeper.step(lane.now);
        rounds += 1;
        assert!(rounds < 20);
    };
    assert!(rounds >= 3);
    assert_eq!((answer.messages.len(), answer.lost, answer.next), (0, 5, 5));
    assert_eq!(lane.keeper.report().lost.messages, 5);
}

#[test]
fn a_snapshot_on_a_full_disk_fails_and_pins_nothing() {
    let mut random = Random(1);
    let mut lane = busy(&mut random);
    lane.rest(10_000);
    let target = MemoryDisk::new(100_000);
    lane.keeper.begin_snapshot(target).unwrap();
    let done = loop {
        lane.step();
        if let Some(done) = lane.keeper.snapshot_done() {
            break done;
        }
    };
    assert_eq!(done.unwrap_err().kind(), ErrorKind::StorageFull);
    lane.check(10_000, 100);
    lane.purge(1000, &[]);
    lane.purge(1001, &[]);
    lane.rest(30_000);
    assert_eq!(lane.keeper.counts().segments, 1);
}

#[test]
fn a_checkpoint_that_was_found_is_durable_before_the_other_one_is_written() {
    let dies_at_sync = |lane: &mut Lane, number: u64| {
        lane.publish(&[1000], 10, 0);
        lane.sync();
        lane.now += 20_000;
        lane.disk.fail_from(Operation::Sync, number, ErrorKind::Other);
        lane.disk.fail_from(Operation::Remove, 0, ErrorKind::Other);
        (0..20).for_each(|_| {
            lane.keeper.step(lane.now);
        });
        assert!(!lane.keeper.report().is_sound());
        lane.disk.mend();
    };
    for is_full in [false, true] {
        let mut lane = busy(&mut Random(7));
        lane.rest(60_000);
        assert!(lane.keeper.counts().checkpoints >= 2);
        let disk = lane.disk.clone();
        // Killed when all of a checkpoint was written and before its last sync: the next start finds it good.
        dies_at_sync(&mut lane, 1);
        drop(lane);
        // One that cannot be made durable keeps nobody from starting.
        if is_full {
            disk.fail_once(Operation::Write, 0, ErrorKind::StorageFull);
        }
        let mut lane = Lane::on(disk.clone(), limits());
        assert_eq!(lane.report.findings.len(), usize::from(is_full), "{}", lane.report);
        // Then the power goes while the next one is written.
        dies_at_sync(&mut lane, 0);
        let disk = disk.cut(|len| if len == checkpoint::HEADER_BYTES { 0 } else { len });
        let report = Lane::on(disk, limits()).report;
        assert!(report.is_sound(), "{report}");
    }
}

#[test]
fn flags_are_right_when_the_last_checkpoint_was_not_written() {
    let mut lane = Lane::new();
    lane.define(1000);
    (0..5).for_each(|_| lane.publish(&[1000], 10, 0));
    lane.sync();
    let mut lane = lane.crash(true);
    (0..5).for_each(|_| lane.publish(&[1000], 10, 0));
    lane.give_back(1000, 7);
    lane.records.clean();
    lane.sync();
    lane.disk.fail_from(Operation::Write, 0, ErrorKind::StorageFull);
    assert!(lane.keeper.stop(lane.now).is_err());
    // The first five may have been delivered before the crash, the others were not, but for one.
    let model = lane.model.clone();
    let mut lane = Lane::on(lane.disk.copy(), limits());
    assert!(lane.contents.clean);
    lane.model = model;
    lane.check(10_000, 100);
    assert_eq!(lane.model[&1000].flagged.len(), 6);
}
