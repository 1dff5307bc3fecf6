//! Damage to what the keeper has written, and to what it reads.

use super::*;
use crate::store::keeper::checkpoint::NAMES;
use crate::store::segment::FileSlot;

/// Two queues over a dozen segments, the second one sparse, with indexes and checkpoints.
fn filled() -> Lane {
    let mut lane = Lane::new();
    lane.define(1000);
    lane.define(1001);
    lane.records.bound(QueueId(1), QueueId(1000), b"a binding");
    for i in 0..400 {
        lane.publish(&[1000], 1000 + i, 0);
        lane.publish(&[1000, 1001], 100, 0);
        if i % 8 == 0 {
            lane.sync();
        }
    }
    lane.settle(1000, 0, 3);
    lane.settle(1000, 10, 200);
    lane.give_back(1000, 300);
    lane.rest(30_000);
    lane
}

fn spoil(disk: &MemoryDisk, name: &str, at: usize) {
    disk.edit(name, |bytes| bytes[at] ^= 0x10);
}

fn segment_of(lane: &Lane, queue: u64, position: u64) -> (FileSlot, u64) {
    let row = &lane.keeper.state().rows[&QueueId(queue)];
    let number = row.runs[row.run_from(position)].segment;
    (lane.keeper.state().segments.find(number).unwrap().slot, number)
}

#[test]
fn without_checkpoints_everything_comes_back() {
    for way in 0..3 {
        let mut lane = filled();
        let free_first = way == 2;
        if free_first {
            // The first segments go, and with them the records that defined the queues.
            let last = lane.model[&1000].end - 100;
            let positions: Vec<u64> = lane.model[&1000].alive.range(..last).map(|(at, _)| *at).collect();
            positions.iter().for_each(|at| lane.settle(1000, *at, *at));
            lane.settle(1001, 0, 340);
            lane.rest(30_000);
            assert!(lane.keeper.state().segments.all[0].number > 5);
        }
        let before = lane.keeper.state().digest();
        let disk = lane.disk.clone();
        for name in NAMES {
            match way {
                0 => spoil(&disk, name, 5000),
                1 => disk.edit(name, Vec::clear),
                _ => spoil(&disk, name, 20),
            }
        }
        let mut lane = lane.crash(false);
        assert!(!lane.report.is_sound() || way == 1, "{}", lane.report);
        assert_eq!(lane.contents.definitions.len(), 2);
        assert_eq!(lane.contents.bindings, [(QueueId(1), QueueId(1000), b"a binding".to_vec())]);
        lane.check(10_000, 1000);
        lane.rest(30_000);
        lane.check(10_000, 1000);
        assert_ne!(lane.keeper.state().digest(), before, "all are flagged now");
    }
}

#[test]
fn what_was_copied_comes_back_without_checkpoints() {
    let mut lane = Lane::new();
    lane.define(1000);
    for _ in 0..20 {
        (0..60).for_each(|_| lane.publish(&[1000], 1000, 0));
        lane.sync();
        let rest: Vec<u64> = lane.model[&1000].alive.keys().copied().filter(|at| at % 60 != 7).collect();
        rest.iter().for_each(|at| lane.settle(1000, *at, *at));
        lane.rest(2000);
    }
    assert!(lane.keeper.counts().copied > 10);
    NAMES.iter().for_each(|name| spoil(&lane.disk, name, 5000));
    let mut lane = lane.crash(false);
    lane.check(10_000, 1000);
    assert_eq!(lane.model[&1000].alive.len(), 20);
}

#[test]
fn one_bad_checkpoint_costs_nothing() {
    for name in NAMES {
        for at in [0, 9, 14, 40, 4100, 5000] {
            let lane = filled();
            spoil(&lane.disk, name, at);
            if at == 9 {
                // It would be a later version, if its checksum were right.
                assert!(open(lane.disk.copy(), &lane.limits, [0; 16], 0).is_ok());
            }
            let mut lane = lane.crash(true);
            assert!(lane.report.is_sound(), "{}", lane.report);
            lane.check(100_000, 1000);
        }
    }
}

#[test]
fn a_bad_index_is_made_again() {
    let lane = filled();
    let indexed: Vec<_> =
        lane.keeper.state().segments.all.iter().filter_map(|one| one.index.map(|i| (one.slot, i))).collect();
    assert!(indexed.len() > 3);
    let mut lane = lane.crash(true);
    for (slot, place) in &indexed {
        for page in 0..place.bytes as usize / 4096 {
            spoil(&lane.disk, &slot.name(), place.at as usize + page * 4096 + 100);
        }
    }
    lane.check(10_000, 1000);
    let report = lane.keeper.report();
    assert_eq!(report.damages, indexed.len() as u64, "{report}");
    assert_eq!(report.lost, Lost::NOTHING);
    // They get new ones, behind the old.
    lane.rest(30_000);
    lane.check(10_000, 1000);
    assert!(lane.keeper.report().is_sound());
    let again = lane.keeper.state().segments.all.iter().filter(|one| one.index.is_some()).count();
    assert!(again >= indexed.len());
    let mut lane = lane.crash(true);
    lane.check(10_000, 1000);
    assert!(lane.keeper.report().is_sound());
}

#[test]
fn what_cannot_be_read_is_not_aged_for_ever() {
    for is_cut in [true, false] {
        let mut lane = filled();
        let (slot, number) = segment_of(&lane, 1000, 300);
        let index = lane.keeper.state().segments.find(number).unwrap().index.unwrap();
        match is_cut {
            true => lane.disk.edit(&slot.name(), |bytes| bytes.truncate(index.at as usize + 100)),
            false => lane.disk.make_unreadable(&slot.name()),
        }
        // Most of it is dead.
        let alive: Vec<u64> = lane.model[&1000].alive.keys().copied().collect();
        let here: Vec<u64> = alive.into_iter().filter(|at| segment_of(&lane, 1000, *at).1 == number).collect();
        here[1..].iter().for_each(|at| lane.settle(1000, *at, *at));
        lane.rest(60_000);
        let findings = lane.keeper.report().findings.len();
        assert!((1..10).contains(&findings), "{findings}");
        assert_eq!(lane.keeper.state().segments.find(number).is_none(), is_cut, "a new index is made from the batches");
        lane.rest(60_000);
        assert!(lane.keeper.report().findings.is_empty(), "it goes on");
        // Nothing was given up.
        lane.disk.mend();
        lane.check(10_000, 1000);
    }
}

#[test]
fn what_is_damaged_may_be_what_followed_an_orderly_stop() {
    let mut lane = filled();
    lane.records.clean();
    lane.sync();
    lane.keeper.stop(lane.now).unwrap();
    for is_damaged in [false, true] {
        // As the stop left it, but for a segment that is not needed.
        let disk = lane.disk.copy();
        let mut names = disk.names();
        names.retain(|name| name.starts_with("segment"));
        let last = names.last().unwrap();
        if is_damaged {
            disk.edit(last, |bytes| bytes[..100].fill(3));
        }
        let copy = Lane::on(disk, limits());
        assert_eq!(copy.contents.clean, !is_damaged, "{}", copy.report);
    }
}

#[test]
fn damaged_messages_are_lost_alone() {
    let mut lane = filled();
    let (slot, _) = segment_of(&lane, 1000, 300);
    let (number, len, _) = lane.model[&1000].alive[&300];
    let wanted = body(number, len);
    lane.disk.edit(&slot.name(), |bytes| {
        let at = bytes.windows(len).position(|window| window == wanted).unwrap();
        bytes[at + len / 2] ^= 1;
    });
    let (found, lost) = lane.read(1000, 10_000, 1000);
    assert_eq!(lost, 1);
    assert_eq!(found.len(), lane.model[&1000].alive.len() - 1);
    assert_eq!(lane.keeper.report().lost.messages, 1);
    assert_eq!(lane.keeper.counts().lost, 1);
    lane.model.get_mut(&1000).unwrap().alive.remove(&300);
    lane.check(10_000, 1000);
    lane.sync();
    let mut lane = lane.crash(true);
    lane.check(10_000, 1000);
}

#[test]
fn other_messages_in_the_same_place_are_not_taken_for_them() {
    let mut lane = Lane::new();
    lane.define(1000);
    (0..10).for_each(|_| lane.publish(&[1000], 64, 0));
    lane.sync();
    lane.rest(20_000);
    let bytes = lane.disk.bytes("segment-00000000").unwrap();
    let old: Vec<Vec<u8>> = lane.model[&1000].alive.values().map(|(number, len, _)| body(*number, *len)).collect();
    let at = bytes.windows(64).position(|window| window == old[0]).unwrap();
    // The disk says what lay there before: sound messages of the same length.
    lane.disk.edit("segment-00000000", |bytes| {
        for i in 0..10 {
            let other = body(77 + i as u64, 64);
            let crc = crc32c::crc32c(&other).to_le_bytes();
            bytes[at + i * 72..][..64].copy_from_slice(&other);
            bytes[at + i * 72 - 8..][..4].copy_from_slice(&crc);
        }
    });
    let (found, lost) = lane.read(1000, 10_000, 1000);
    assert_eq!((found.len(), lost), (0, 10));
}

#[test]
fn a_segment_that_is_gone_costs_its_messages() {
    let mut lane = filled();
    lane.sync();
    let (slot, number) = segment_of(&lane, 1000, 300);
    let row = &lane.keeper.state().rows;
    let lost: Vec<(u64, u64)> = [1000, 1001]
        .iter()
        .flat_map(|queue| {
            let runs = row[&QueueId(*queue)].runs.iter().filter(|run| run.segment == number);
            runs.flat_map(|run| run.first..=run.last()).map(|at| (*queue, at))
        })
        .collect();
    let disk = lane.disk.copy();
    crate::store::disk::Disk::remove(&disk, &slot.name()).unwrap();
    let model = lane.model.clone();
    let mut lane = Lane::on(disk, limits());
    lane.model = model;
    let mut count = 0;
    for (queue, position) in lost {
        count += u64::from(lane.model.get_mut(&queue).unwrap().alive.remove(&position).is_some());
    }
    assert_eq!(lane.report.lost.messages, count, "{}", lane.report);
    lane.forget_transient(false);
    lane.check(10_000, 1000);
}

#[test]
fn the_number_of_a_segment_that_is_gone_is_not_used_again() {
    let mut lane = filled();
    lane.sync();
    let newest = lane.keeper.state().segments.all.back().map(|one| (one.slot, one.number)).unwrap();
    let disk = lane.disk.copy();
    crate::store::disk::Disk::remove(&disk, &newest.0.name()).unwrap();
    let mut lane = Lane::on(disk, limits());
    assert!(!lane.report.is_sound());
    lane.publish(&[1000], 10, 0);
    lane.sync();
    let number = lane.keeper.state().segments.all.back().unwrap().number;
    assert!(number > newest.1, "{number} after {}", newest.1);
}

#[test]
fn a_bad_header_is_damage_where_something_lives() {
    let mut lane = filled();
    let last = lane.model[&1000].end - 100;
    let positions: Vec<u64> = lane.model[&1000].alive.range(..last).map(|(at, _)| *at).collect();
    let disk = lane.disk.clone();
    let (alive, _) = segment_of(&lane, 1000, last);
    let (dead, _) = segment_of(&lane, 1000, 300);
    positions.iter().for_each(|at| lane.settle(1000, *at, *at));
    lane.settle(1001, 0, 340);
    // The segment is free, and not used again yet.
    let before = disk.bytes(&dead.name()).unwrap();
    lane.rest(30_000);
    for (slot, is_sound) in [(dead, true), (alive, false)] {
        let disk = disk.copy();
        if slot == dead {
            disk.edit(&slot.name(), |bytes| *bytes = before.clone());
        }
        disk.edit(&slot.name(), |bytes| bytes[32] ^= 0xff);
        let report = Lane::on(disk, limits()).report;
        assert_eq!((report.is_sound(), report.findings.len()), (is_sound, 1), "{report}");
    }
}

#[test]
fn a_later_version_is_refused() {
    let lane = filled();
    let disk = lane.disk.copy();
    disk.edit(NAMES[0], |bytes| {
        bytes[8] = 9;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let error = open(disk, &limits(), [0; 16], 0).unwrap_err().to_string();
    assert_eq!(error, "checkpoint-a has format version 9, of a later version of this program");
}

#[test]
fn a_snapshot_starts_as_a_copy() {
    let mut lane = filled();
    let target = MemoryDisk::default();
    lane.keeper.begin_snapshot(target.clone()).unwrap();
    assert!(lane.keeper.begin_snapshot(target.clone()).is_err());
    let model = lane.model.clone();
    let mut steps = 0;
    while lane.keeper.snapshot_done().is_none() {
        // Life goes on.
        lane.publish(&[1000], 500, 0);
        let first = *lane.model[&1000].alive.keys().next().unwrap();
        lane.settle(1000, first, first);
        lane.sync();
        lane.now += 400;
        lane.step();
        steps += 1;
        assert!(steps < 1000);
    }
    assert!(steps > 3);
    lane.check(10_000, 1000);
    let mut copy = Lane::on(target.cut(|_| 0), limits());
    assert!(copy.report.is_sound(), "{}", copy.report);
    copy.model = model;
    copy.forget_transient(false);
    copy.check(10_000, 1000);
    copy.publish(&[1000], 100, 0);
    copy.rest(30_000);
    copy.check(10_000, 1000);
    assert!(lane.keeper.begin_snapshot(target).is_err(), "it is not empty any more");
    // Nothing stays pinned.
    lane.purge(1000, &[]);
    lane.purge(1001, &[]);
    lane.rest(30_000);
    assert_eq!(lane.keeper.counts().segments, 1);
}

#[test]
fn definitions_outlive_the_segments_that_made_them() {
    let mut lane = Lane::new();
    (1000..1010).for_each(|queue| lane.define(queue));
    lane.records.bound(QueueId(1), QueueId(1000), b"a binding");
    for round in 0..40 {
        // Nothing stays: no segment is indexed, and each is used again.
        (0..20).for_each(|_| lane.publish(&[1000], 1000, 0));
        lane.sync();
        let first = *lane.model[&1000].alive.keys().next().unwrap();
        lane.settle(1000, first, first + 19);
        if round == 20 {
            lane.undefine(1009);
        }
        lane.rest(3000);
    }
    let segments = &lane.keeper.state().segments.all;
    assert!(segments[0].number > 5, "{}", segments[0].number);
    NAMES.iter().for_each(|name| lane.disk.edit(name, Vec::clear));
    let lane = lane.crash(true);
    let found: Vec<u64> = lane.contents.definitions.iter().map(|(id, _)| id.0).collect();
    assert_eq!(found, (1000..1009).collect::<Vec<_>>());
    assert_eq!(lane.contents.bindings.len(), 1);
}
