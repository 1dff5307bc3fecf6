//! How often messages were handed out.

use super::*;
use crate::store::keeper::checkpoint::NAMES;

fn counts(lane: &mut Lane, queue: u64) -> Vec<(u64, bool, (u32, u32))> {
    let (all, _) = lane.read(queue, 1000, 10);
    all.into_iter().map(|read| (read.position, read.redelivered, read.counts)).collect()
}

#[test]
fn numbers_stay_as_long_as_their_messages() {
    let mut lane = Lane::new();
    lane.define(1000);
    (0..6).for_each(|_| lane.publish(&[1000], 10, 0));
    lane.count(1000, 1, 1, 0);
    lane.count(1000, 1, 2, 1);
    lane.count(1000, 3, u32::MAX, 7);
    lane.give_back(1000, 4);
    lane.sync();
    let expected = [
        (0, false, (0, 0)),
        (1, true, (2, 1)),
        (2, false, (0, 0)),
        (3, true, (u32::MAX, 7)),
        (4, true, (0, 0)),
        (5, false, (0, 0)),
    ];
    assert_eq!(counts(&mut lane, 1000), expected);
    // From the middle, and from the front.
    lane.settle(1000, 3, 3);
    lane.sync();
    assert_eq!(lane.keeper.state().rows[&QueueId(1000)].handed.len(), 1);
    lane.settle(1000, 0, 1);
    lane.sync();
    assert!(lane.keeper.state().rows[&QueueId(1000)].handed.is_empty());
    assert_eq!(counts(&mut lane, 1000), [expected[2], expected[4], expected[5]]);
    // What is not there, or not any more, has no numbers.
    [1, 3, 6, 99].iter().for_each(|position| lane.records.counted(QueueId(1000), *position, 1, 1));
    lane.records.counted(QueueId(1001), 0, 1, 1);
    lane.sync();
    assert!(lane.keeper.state().rows[&QueueId(1000)].handed.is_empty());
    assert_eq!(counts(&mut lane, 1000), [expected[2], expected[4], expected[5]]);
}

#[test]
fn numbers_survive_a_start_from_checkpoints_from_batches_and_from_copies() {
    let mut lane = Lane::new();
    lane.define(1000);
    for _ in 0..20 {
        (0..60).for_each(|_| lane.publish(&[1000], 1000, 0));
        lane.sync();
    }
    for position in (7..1200).step_by(60) {
        lane.count(1000, position, position as u32, position as u32 / 60);
    }
    // Of a queue that ends and one that is emptied.
    for queue in [1001, 1002] {
        lane.define(queue);
        lane.publish(&[queue], 10, 0);
        lane.count(queue, 0, 1, 1);
    }
    lane.sync();
    lane = lane.crash(true);
    lane.check(100_000, 1000);
    let settled: Vec<u64> = lane.model[&1000].alive.keys().copied().filter(|at| at % 60 > 7).collect();
    settled.iter().for_each(|at| lane.settle(1000, *at, *at));
    lane.undefine(1001);
    lane.purge(1002, &[]);
    lane.sync();
    lane.rest(60_000);
    assert!(lane.keeper.counts().copied > 0);
    for _ in 0..2 {
        lane = lane.stop();
        lane.check(100_000, 1000);
        let found = counts(&mut lane, 1000);
        assert_eq!(found.iter().filter(|(.., counts)| *counts != (0, 0)).count(), 20);
    }
    // Without checkpoints what is not in a segment any more is not known; what is there is right.
    lane.count(1000, 5, 2, 2);
    lane.sync();
    NAMES.iter().for_each(|name| lane.disk.edit(name, |bytes| bytes[200] ^= 1));
    let mut lane = lane.crash(false);
    for (position, redelivered, found) in counts(&mut lane, 1000) {
        let known = lane.model[&1000].counts.get(&position).copied().unwrap_or_default();
        assert!(redelivered && (found == known || found == (0, 0)), "{position} {found:?}");
        assert!(position != 5 || found == (2, 2));
    }
}
