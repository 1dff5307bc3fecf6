//! What queues and exchanges have seen.

use super::*;
use crate::store::keeper::checkpoint::NAMES;

fn seen(lane: &Lane, id: u64) -> Vec<u8> {
    let state = lane.keeper.state();
    let notes = state.seen.iter().find(|(queue, _)| queue.0 == id);
    notes.map_or(vec![], |(_, notes)| notes.iter().map(|note| note.note[0]).collect())
}

fn lane() -> Lane {
    let mut lane = Lane::new();
    [1000, 1001].iter().for_each(|queue| lane.define(*queue));
    lane
}

#[test]
fn the_newest_are_kept_as_long_as_they_are_of_use() {
    let mut lane = lane();
    let until = lane.now + 100;
    for (keep_max, note, until_ms, expected) in [
        (3, 1, 0, &[1][..]),
        (3, 2, until, &[1, 2]),
        (3, 3, 0, &[1, 2, 3]),
        (3, 3, 0, &[2, 3, 3]),
        // It is read as often as it came.
        (4, 4, until, &[2, 3, 3, 4]),
        (2, 5, 0, &[4, 5]),
        (9, 6, until + 100, &[4, 5, 6]),
        (1, 7, until, &[7]),
        (0, 8, 0, &[]),
        // Past when it comes.
        (9, 9, lane.now - 1, &[]),
        (9, 10, until, &[10]),
        (9, 11, until + 1, &[10, 11]),
        (9, 12, 0, &[10, 11, 12]),
    ] {
        lane.note(1000, keep_max, note, until_ms);
        lane.sync();
        assert_eq!(seen(&lane, 1000), expected, "{note}");
        lane.check(1000, 10);
    }
    lane.now = until;
    lane.note(1000, 9, 13, 0);
    lane.sync();
    assert_eq!(seen(&lane, 1000), [10, 11, 12, 13]);
    lane.now = until + 1;
    lane.note(1000, 9, 14, 0);
    lane.sync();
    assert_eq!(seen(&lane, 1000), [11, 12, 13, 14]);
    // What is past behind others is not told at a start.
    lane.note(1000, 9, 15, until + 2);
    lane.note(1000, 9, 16, 0);
    lane.now = until + 3;
    lane.publish(&[1000], 1, 0);
    lane.sync();
    let lane = lane.crash(true);
    let told: Vec<u8> = lane.contents.notes[0].1.iter().map(|note| note.note[0]).collect();
    assert_eq!(told, [12, 13, 14, 16]);
    assert_eq!(lane.contents.notes[0].0, QueueId(1000));
}

#[test]
fn notes_survive_every_start_and_go_with_what_has_them() {
    let mut lane = lane();
    for note in 0..100 {
        lane.note(1000 + u64::from(note) % 3, 20, note, 0);
        lane.publish(&[1001], 5000, 0);
        lane.sync();
        let position = lane.model[&1001].end - 1;
        lane.settle(1001, position, position);
    }
    let [first, second] = [1000, 1001].map(|queue| seen(&lane, queue));
    assert_eq!((first.len(), second.len(), seen(&lane, 1002).len()), (20, 20, 20));
    lane.sync();
    // Without a definition nothing is kept.
    lane.model.remove(&1002);
    lane = lane.crash(true);
    assert_eq!([1000, 1001, 1002].map(|queue| seen(&lane, queue)), [first.clone(), second, vec![]]);
    lane.rest(60_000);
    lane.undefine(1001);
    // Too late.
    lane.records.noted(QueueId(1001), 9, 0, Note::default());
    lane.rest(60_000);
    assert!(lane.keeper.counts().checkpoints > 1);
    assert_eq!([1000, 1001].map(|queue| seen(&lane, queue)), [first.clone(), vec![]]);
    lane = lane.stop();
    lane.note(1000, 21, 200, 0);
    lane.sync();
    lane.check(1000, 10);
    let expected: Vec<u8> = first.iter().copied().chain([200]).collect();
    assert_eq!(seen(&lane, 1000), expected);
    // Without checkpoints it is what the segments say that are left.
    NAMES.iter().for_each(|name| lane.disk.edit(name, |bytes| bytes[200] ^= 1));
    let disk = lane.disk.copy();
    let lane = lane.again(disk);
    assert!(!lane.report.is_sound());
    let left = seen(&lane, 1000);
    assert!(left.is_sorted() && left.ends_with(&[200]) && left.len() <= 21, "{left:?}");
    assert!(left.iter().all(|note| *note == 200 || note % 3 == 0), "{left:?}");
}

/// A part with a message and a note.
fn part(lane: &mut Lane, tx: u64, queue: u64, note: u8) {
    lane.records.part(tx);
    lane.publish(&[queue], 10, CONDITIONAL);
    lane.note_if_committed(tx, queue, 10, note);
    lane.sync();
}

#[test]
fn notes_of_a_transaction_count_when_it_is_committed() {
    for (upkeep, checkpoints) in [(false, true), (true, true), (true, false)] {
        let mut lane = lane();
        part(&mut lane, 1, 1000, 1);
        part(&mut lane, 2, 1000, 2);
        part(&mut lane, 3, 1001, 3);
        lane.note(1000, 10, 4, 0);
        part(&mut lane, 1, 1001, 5);
        if upkeep {
            lane.rest(60_000);
            lane.publish(&[1001], 10, 0);
            lane.rest(60_000);
        }
        lane.commit(1);
        lane.sync();
        assert_eq!([1000, 1001].map(|queue| seen(&lane, queue)), [vec![4, 1], vec![5]]);
        for (queue, position) in [(1000, 1), (1001, 0)] {
            lane.model.get_mut(&queue).unwrap().alive.remove(&position).unwrap();
        }
        lane.conditional.clear();
        for round in 0..3 {
            if !checkpoints && round == 0 {
                NAMES.iter().for_each(|name| lane.disk.edit(name, |bytes| bytes[200] ^= 1));
            }
            lane = lane.crash(false);
            assert_eq!(lane.report.is_sound(), checkpoints);
            lane.check(1000, 10);
            // The same numbers, in another term.
            lane.commit(2);
            lane.commit(3);
            part(&mut lane, 4, 1000, 100 + round);
            lane.commit(4);
            lane.sync();
            assert_eq!(seen(&lane, 1000).last(), Some(&(100 + round)));
        }
        lane.stop().check(1000, 10);
    }
}

#[test]
fn when_a_commit_may_be_lost_notes_count_as_messages_do() {
    let mut lane = lane();
    part(&mut lane, 1, 1000, 1);
    lane.commit(1);
    lane.sync();
    lane.publish(&[1001], 10, 0);
    lane.sync();
    lane.publish(&[1001], 10, 0);
    lane.sync();
    let mut committed = Records::default();
    committed.committed(1);
    let committed = committed.take(vec![]);
    lane.disk.edit("segment-00000000", |bytes| {
        let at = bytes.windows(committed.len()).position(|window| window == committed).unwrap();
        bytes[at..at + 8].fill(0x55);
    });
    let mut lane = lane.crash(false);
    assert!(!lane.report.is_sound());
    lane.check(1000, 10);
}

#[test]
fn a_note_outside_of_a_transaction_counts_at_once() {
    let mut lane = lane();
    lane.records.part(1);
    lane.write();
    lane.records.noted(QueueId(1000), 9, CONDITIONAL, Note { note: [7; 16], until_ms: 0 });
    lane.write();
    assert_eq!(seen(&lane, 1000), [7]);
}
