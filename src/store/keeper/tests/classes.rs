//! Classes: rows of their own that come and go with their base.

use super::*;
use crate::store::keeper::checkpoint::NAMES;

const BASE: QueueId = QueueId(1000);

#[test]
fn a_class_is_above_its_base_and_says_which_that_is() {
    for id in [0, 1, 1000, (1 << 56) - 1] {
        let base = QueueId(id);
        assert_eq!((base.class(0), base.base(), base.is_class()), (base, base, false));
        for class in [1, 2, 255] {
            let one = base.class(class);
            assert_eq!((one.0, one.base(), one.is_class()), (id | u64::from(class) << 56, base, true));
            assert_eq!((one.class(0), one.class(7)), (base, base.class(7)));
        }
    }
}

/// A lane in which some classes of some queues have messages, each of 100 bytes.
fn filled() -> (Lane, Vec<u64>) {
    let mut lane = Lane::new();
    let mut all = vec![];
    for base in [999, 1000, 1001] {
        lane.define(base);
        all.extend([0, 1, 9, 255].map(|class| QueueId(base).class(class).0));
    }
    for _ in 0..3 {
        all.iter().for_each(|queue| lane.publish(&[*queue], 100, 0));
        lane.publish(&[BASE.0, BASE.class(9).0], 100, 0);
    }
    lane.sync();
    (lane, all)
}

fn ids(lane: &Lane) -> BTreeSet<u64> {
    lane.keeper.state().rows.keys().map(|id| id.0).collect()
}

#[test]
fn classes_go_with_their_base_and_with_no_other() {
    for upkeep in [false, true] {
        let (mut lane, mut all) = filled();
        if upkeep {
            lane.rest(60_000);
            // Known from a checkpoint.
            lane = lane.crash(true);
        }
        assert_eq!(ids(&lane), all.iter().copied().collect());
        lane.check(1000, 10);
        let live = lane.keeper.counts().live;
        lane.undefine(BASE.0);
        lane.check(1000, 10);
        assert_eq!(lane.keeper.counts().live, live - 4 * 3 - 2 * 3);
        all.retain(|id| QueueId(*id).base() != BASE);
        assert_eq!(ids(&lane), all.iter().copied().collect());
        // What comes late is dropped.
        lane.records.message(BASE.class(3), 0, 0, 1, |_| ());
        lane.sync();
        assert_eq!(ids(&lane), all.iter().copied().collect());
        lane.crash(true).check(1000, 10);
    }
}

#[test]
fn a_start_keeps_the_classes_of_what_is_defined_and_says_what_is_in_them() {
    let (mut lane, all) = filled();
    lane.records.message(QueueId(2000), 0, 0, 1, |_| ());
    lane.records.message(QueueId(2000).class(1), 0, 0, 1, |_| ());
    lane.sync();
    for checkpoints in [true, false] {
        if !checkpoints {
            lane.rest(60_000);
            lane.publish(&[999], 100, 0);
            lane.rest(60_000);
            NAMES.iter().for_each(|name| lane.disk.edit(name, |bytes| bytes[200] ^= 1));
        }
        lane = lane.crash(false);
        assert_eq!(lane.report.is_sound(), checkpoints);
        let mut rows = lane.contents.queues.iter();
        assert_eq!(rows.clone().map(|row| row.id.0).collect::<BTreeSet<_>>(), all.iter().copied().collect());
        let row = *rows.find(|row| row.id == BASE.class(9)).unwrap();
        assert_eq!((row.first, row.end, row.ready), (0, 6, 6));
        // Three of them are in two queues.
        assert!((3 * 100 + 3 * 50..=6 * 150).contains(&row.bytes), "{row:?}");
        lane.check(1000, 10);
    }
    // The rows that a start has found are known to be classes.
    lane.undefine(BASE.0);
    lane.check(1000, 10);
    assert_eq!(ids(&lane).len(), 8);
}

#[test]
fn ids_of_a_term_were_never_used() {
    let contents = |term, ids: &[u64]| Contents {
        term,
        definitions: ids.iter().map(|id| (QueueId(*id), vec![])).collect(),
        ..Contents::default()
    };
    assert_eq!(contents(3, &[]).ids_from(), 3 << 32);
    assert_eq!(contents(3, &[7, (2 << 32) + 9]).ids_from(), 3 << 32);
    assert_eq!(contents(3, &[7, (3 << 32) + 9]).ids_from(), (3 << 32) + 9);
}
