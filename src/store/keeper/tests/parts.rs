//! Transactions over several submissions.

use super::*;

/// A part of a transaction: a message in each of these queues.
fn part(lane: &mut Lane, tx: u64, queues: &[u64]) {
    lane.records.part(tx);
    lane.publish(queues, 50, CONDITIONAL);
    lane.write();
}

/// None of what these queues have from these positions on was ever there.
fn never(lane: &mut Lane, from: &[(u64, u64)]) {
    for (queue, position) in from {
        lane.model.get_mut(queue).unwrap().alive.split_off(position);
    }
}

fn lane() -> Lane {
    let mut lane = Lane::new();
    for queue in 1000..1003 {
        lane.define(queue);
        lane.publish(&[queue], 20, 0);
    }
    lane.write();
    lane
}

#[test]
fn a_transaction_that_was_not_committed_is_gone_and_one_that_was_is_there() {
    for upkeep in [false, true] {
        let mut lane = lane();
        part(&mut lane, 1, &[1000]);
        part(&mut lane, 2, &[1000, 1001]);
        part(&mut lane, 1, &[1001]);
        // What is between is of no transaction.
        lane.publish(&[1001], 30, 0);
        lane.write();
        part(&mut lane, 1, &[1002]);
        lane.settle(1002, 0, 0);
        lane.records.committed(1);
        lane.write();
        part(&mut lane, 3, &[1002]);
        part(&mut lane, 3, &[1002]);
        lane.check(1000, 10);
        if upkeep {
            lane.rest(60_000);
            assert!(lane.keeper.counts().checkpoints > 0);
        }
        lane.sync();
        for (queue, position) in [(1000, 2), (1001, 1), (1002, 2), (1002, 3)] {
            lane.model.get_mut(&queue).unwrap().alive.remove(&position).unwrap();
        }
        for _ in 0..3 {
            lane = lane.crash(true);
            assert!(lane.report.is_sound(), "{}", lane.report);
            lane.check(1000, 10);
            // It is not committed any more.
            lane.records.committed(3);
            lane.publish(&[1000, 1001, 1002], 10, 0);
            lane.sync();
        }
        lane.stop().check(1000, 10);
    }
}

#[test]
fn a_term_that_is_read_again_ends_as_it_did() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000]);
    lane.sync();
    never(&mut lane, &[(1000, 1)]);
    let mut lane = lane.crash(true);
    lane.publish(&[1000], 10, 0);
    // The same number, in another term.
    part(&mut lane, 1, &[1001]);
    lane.records.committed(1);
    lane.sync();
    lane.crash(true).check(1000, 10);
}

#[test]
fn what_is_settled_meanwhile_stays_settled() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000, 1001]);
    part(&mut lane, 2, &[1001]);
    lane.settle(1000, 1, 1);
    lane.purge(1001, &[2]);
    lane.undefine(1002);
    lane.records.committed(2);
    lane.sync();
    lane.rest(60_000);
    let mut lane = lane.crash(true);
    assert!(lane.report.is_sound(), "{}", lane.report);
    lane.check(1000, 10);
}

#[test]
fn a_commit_on_the_other_side_of_a_checkpoint_counts() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000]);
    part(&mut lane, 2, &[1001]);
    lane.rest(60_000);
    assert!(lane.keeper.counts().checkpoints > 0);
    lane.records.committed(1);
    lane.sync();
    never(&mut lane, &[(1001, 1)]);
    lane.crash(true).check(1000, 10);
}

#[test]
fn a_transaction_ends_with_an_orderly_stop() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000]);
    part(&mut lane, 2, &[1001]);
    lane.records.committed(2);
    lane.sync();
    never(&mut lane, &[(1000, 1)]);
    let mut lane = lane.stop();
    lane.check(1000, 10);
    lane.crash(true).check(1000, 10);
}

#[test]
fn without_checkpoints_it_is_the_same() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000, 1001]);
    part(&mut lane, 2, &[1001]);
    lane.records.committed(2);
    lane.sync();
    lane.rest(60_000);
    never(&mut lane, &[(1000, 1)]);
    lane.model.get_mut(&1001).unwrap().alive.remove(&1).unwrap();
    let mut lane = lane.crash(true);
    part(&mut lane, 1, &[1002]);
    part(&mut lane, 3, &[1002]);
    lane.records.committed(1);
    lane.sync();
    lane.rest(60_000);
    never(&mut lane, &[(1002, 2)]);
    for name in crate::store::keeper::checkpoint::NAMES {
        lane.disk.edit(name, |bytes| bytes[200] ^= 1);
    }
    let mut lane = lane.crash(false);
    assert!(!lane.report.is_sound());
    lane.check(1000, 10);
}

#[test]
fn when_a_commit_may_be_lost_to_damage_everything_counts() {
    let mut lane = lane();
    part(&mut lane, 1, &[1000]);
    lane.sync();
    lane.records.committed(1);
    lane.sync();
    lane.publish(&[1001], 10, 0);
    lane.sync();
    // So that it is known to be synced.
    lane.publish(&[1001], 10, 0);
    lane.sync();
    let segment = "segment-00000000";
    let mut committed = Records::default();
    committed.committed(1);
    let committed = committed.take(vec![]);
    lane.disk.edit(segment, |bytes| {
        let at = bytes.windows(committed.len()).position(|window| window == committed).unwrap();
        bytes[at..at + 8].fill(0x55);
    });
    let mut lane = lane.crash(false);
    assert!(!lane.report.is_sound());
    lane.check(1000, 10);
}
