//! Names of messages that are in queues.

use super::*;
use crate::store::keeper::checkpoint::{self, NAMES};
use crate::store::record::Named;

const CLASS: u64 = 3 << 56 | 1000;

impl Lane {
    /// The last message of a queue goes by this name.
    fn name(&mut self, queue: u64, name: u8) {
        let position = self.model[&queue].end - 1;
        self.records.named(Named { queue: QueueId(queue), position, name: [name; 16] });
    }

    fn publish_named(&mut self, queue: u64, name: u8, flags: u8) {
        self.publish(&[queue], 100, flags);
        self.name(queue, name);
    }
}

fn told(lane: &Lane) -> Vec<(u64, u64, u8)> {
    lane.contents.names.iter().map(|named| (named.queue.0, named.position, named.name[0])).collect()
}

fn lane() -> Lane {
    let mut lane = Lane::new();
    [1000, 1001].iter().for_each(|queue| lane.define(*queue));
    lane
}

#[test]
fn a_start_is_told_the_names_of_what_is_there() {
    for upkeep in [false, true] {
        let mut lane = lane();
        for name in 0..6 {
            lane.publish_named(1000, name, 0);
            lane.publish_named(CLASS, 10 + name, 0);
        }
        lane.publish_named(1001, 20, 0);
        lane.sync();
        lane.settle(1000, 0, 1);
        lane.settle(1000, 3, 3);
        lane.purge(CLASS, &[4]);
        lane.sync();
        if upkeep {
            lane.rest(60_000);
            lane.settle(1000, 5, 5);
        } else {
            lane.settle(1000, 5, 5);
        }
        lane.sync();
        let expected = [(1000, 2, 2), (1000, 4, 4), (1001, 0, 20), (CLASS, 4, 14)];
        for clean in [false, true, false] {
            lane = if clean { lane.stop() } else { lane.crash(true) };
            assert_eq!(told(&lane), expected);
            lane.check(1000, 10);
            lane.rest(60_000);
        }
        lane.undefine(1000);
        lane.sync();
        assert_eq!(told(&lane.crash(true)), [(1001, 0, 20)]);
    }
}

#[test]
fn names_of_what_does_not_survive_are_not_told() {
    let mut lane = lane();
    lane.publish_named(1000, 1, TRANSIENT);
    lane.records.part(7);
    lane.publish_named(1000, 2, CONDITIONAL);
    lane.sync();
    lane.publish_named(1000, 3, 0);
    // Nothing is there: its place is another message's after the start.
    lane.records.named(Named { queue: QueueId(1000), position: 3, name: [4; 16] });
    lane.records.named(Named { queue: QueueId(1001), position: 0, name: [5; 16] });
    lane.sync();
    lane.model.get_mut(&1000).unwrap().alive.remove(&1);
    for _ in 0..2 {
        lane = lane.crash(true);
        assert_eq!(told(&lane), [(1000, 2, 3)]);
        lane.publish(&[1000, 1001], 5, 0);
        lane.sync();
    }
}

#[test]
fn there_are_never_many_more_names_than_messages() {
    let mut lane = lane();
    for round in 0..20 {
        for _ in 0..500 {
            lane.publish_named(1000, round, 0);
        }
        lane.sync();
        let end = lane.model[&1000].end;
        lane.settle(1000, end - 500, end - 11);
        lane.sync();
        let (names, live) = (lane.keeper.state().names.len(), lane.model[&1000].alive.len());
        assert!(names >= live && names <= 2 * live + 64, "{names} names of {live} messages");
    }
    let memory = lane.keeper.state().names.memory();
    assert!(memory < 64 + 2 * 24 * (2 * 200 + 64), "{memory}");
    lane.purge(1000, &[]);
    lane.sync();
    assert!(lane.keeper.state().names.is_empty());
}

/// What was written before there were names.
#[test]
fn a_state_that_ends_before_the_names_is_read() {
    let mut lane = lane();
    lane.publish(&[1000], 10, 0);
    lane.rest(60_000);
    let (header, bytes) = NAMES.iter().find_map(|name| checkpoint::read(&lane.disk, name).ok()).unwrap();
    let before = &bytes[..bytes.len() - 8];
    let state = State::load(header.lane, before).unwrap();
    assert_eq!(state.digest(), State::load(header.lane, &bytes).unwrap().digest());
    assert!(State::load(header.lane, &bytes[..bytes.len() - 1]).is_none());
}
