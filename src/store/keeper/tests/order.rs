//! Backlogs of many queues that are put in order.

use super::*;
use crate::store::disk::memory::Operation;

const QUEUES: u64 = 40;

/// A message in each queue in turn, over some segments, at rest; nothing is put in order while it is written.
fn mixed(each: usize, len: usize) -> Lane {
    let mut lane = Lane::new();
    (0..QUEUES).for_each(|queue| lane.define(1000 + queue));
    for i in 0..each {
        (0..QUEUES).for_each(|queue| lane.publish(&[1000 + queue], len, 0));
        if i % 4 == 0 {
            lane.sync();
        }
    }
    lane.sync();
    lane
}

/// Stretches that lie apart in the files.
fn slots(lane: &Lane) -> u64 {
    let state = lane.keeper.state();
    let slots = |run: &runs::Run| match state.segments.find(run.segment).unwrap() {
        segment if segment.index.is_some() => run.count as usize,
        segment => segment.lists[run.slots as usize].slots.len(),
    };
    state.rows.values().flat_map(|row| &row.runs).map(slots).sum::<usize>() as u64
}

#[test]
fn a_mixed_backlog_is_put_in_order_once() {
    let mut lane = mixed(200, 30);
    let (written, scattered) = (lane.keeper.counts(), slots(&lane));
    assert!(written.segments >= 8 && written.copied == 0, "{written:?}");
    lane.rest(60_000);
    let ordered = lane.keeper.counts();
    let messages = QUEUES * 200;
    assert!((messages * 3 / 4..messages * 3 / 2).contains(&ordered.copied), "{ordered:?}");
    assert!(ordered.segments < written.segments, "neighbours share a record: {ordered:?}");
    let sorted = slots(&lane);
    assert!(sorted * 4 < scattered, "{sorted} slots, {scattered} before");
    lane.check(10_000, 1000);
    lane.rest(60_000);
    let again = lane.keeper.counts().copied;
    lane.rest(600_000);
    assert_eq!(lane.keeper.counts().copied, again, "there is nothing more to do");
    // And so it stays.
    let mut lane = lane.crash(true);
    lane.rest(60_000);
    lane.check(10_000, 1000);
    let mut lane = lane.stop();
    lane.check(10_000, 1000);
    let copied = lane.keeper.counts().copied;
    assert!(copied < messages / 4, "{copied}");
}

#[test]
fn what_is_settled_and_written_meanwhile_stays_so() {
    let mut random = Random(5);
    let mut lane = mixed(200, 30);
    let mut steps = 0;
    while steps < 2000 {
        lane.now += 20;
        steps = if lane.step() == Step::More { steps + 1 } else { steps + 10 };
        let queue = 1000 + random.below(QUEUES);
        let alive: Vec<u64> = lane.model[&queue].alive.keys().copied().collect();
        if let Some(at) = alive.get(random.below(alive.len() as u64) as usize)
            && random.below(3) > 0
        {
            lane.settle(queue, *at, *at);
        }
        if random.below(10) == 0 {
            lane.publish(&[queue, 1000 + (queue + 1) % QUEUES], 20, 0);
        }
        lane.sync();
    }
    assert!(lane.keeper.counts().copied > 1000, "{:?}", lane.keeper.counts());
    lane.check(10_000, 1000);
    let mut lane = lane.crash(true);
    lane.rest(60_000);
    lane.check(10_000, 1000);
}

#[test]
fn a_backlog_that_lies_well_is_left_alone() {
    // Of one queue; of a few; of large messages; of bodies that are in all of the queues.
    let ways: [(u64, usize, bool, usize); 4] =
        [(1, 30, false, 4000), (4, 30, false, 1000), (40, 3000, false, 8), (40, 30, true, 200)];
    for (queues, len, is_shared, each) in ways {
        let mut lane = Lane::new();
        let all: Vec<u64> = (1000..1000 + queues).collect();
        all.iter().for_each(|queue| lane.define(*queue));
        for i in 0..each {
            if is_shared {
                lane.publish(&all, len, 0);
            } else {
                all.iter().for_each(|queue| lane.publish(&[*queue], len, 0));
            }
            if i % 4 == 0 {
                lane.sync();
            }
        }
        lane.rest(60_000);
        let counts = lane.keeper.counts();
        let is_large = len > 1000;
        assert!(is_large || counts.copied == 0, "{queues} {len}: {counts:?}");
        assert!(counts.copied <= queues * each as u64, "{queues} {len}: {counts:?}");
        lane.check(100_000, 1000);
    }
}

#[test]
fn large_messages_are_not_put_in_order_while_they_are_read() {
    for (len, waits) in [(300, true), (30, false)] {
        let mut lane = mixed(60, len);
        for _ in 0..50 {
            lane.now += 100;
            drop(lane.fetch(1000, 0, 1, 1000, 1));
            while lane.step() == Step::More {
                lane.sync();
            }
        }
        let copied = lane.keeper.counts().copied;
        // The first segment is hardly filled, and emptied for that.
        assert_eq!(copied < 100, waits, "{copied} copied, of {len} bytes");
        lane.rest(60_000);
        assert!(lane.keeper.counts().copied > 1000);
        lane.check(10_000, 1000);
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_left_as_it_lies() {
    let mut lane = mixed(200, 30);
    lane.rest(1000);
    lane.disk.fail_from(Operation::Read, 0, std::io::ErrorKind::Other);
    lane.rest(30_000);
    lane.disk.mend();
    lane.rest(60_000);
    lane.check(10_000, 1000);
}
