use super::*;
use crate::store::Submission;
use crate::store::disk::memory::MemoryDisk;
use crate::store::journal::{Journal, Start};

const LANE: LaneId = [1; 16];
const OTHER: LaneId = [2; 16];

/// A journal of a few segments, each with a few batches.
fn written(lane: LaneId, count: usize) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let mut journal = Journal::start(Start {
        disk: disk.clone(),
        lane,
        term: 5,
        next_index: 1,
        next_number: 10,
        time_ms: 0,
        segment_bytes: 8192,
        reserve: 1,
        spares_max: 0,
        free: vec![],
        taken: vec![],
        unsynced: vec![],
    })
    .unwrap();
    for _ in 0..count {
        journal.write(0, vec![Submission { bytes: vec![1; 1500], ..Submission::default() }]).unwrap();
        journal.sync().unwrap();
    }
    disk
}

fn seen(disk: &MemoryDisk, lane: Option<LaneId>) -> (Survey, Report) {
    let mut report = Report::default();
    let found = survey(disk, lane, &mut report).unwrap();
    (found, report)
}

fn firsts(survey: &Survey) -> Vec<(u64, u64)> {
    survey.segments.iter().map(|segment| (segment.header.number, segment.header.first)).collect()
}

#[test]
fn segments_are_found() {
    let (found, report) = seen(&MemoryDisk::default(), None);
    assert_eq!((found.lane, found.slots().count(), report.is_sound()), (None, 0, true));
    let disk = written(LANE, 5);
    disk.edit("lock", |_| ());
    disk.edit("segment-x", |_| ());
    let (found, report) = seen(&disk, None);
    assert_eq!(found.lane, Some(LANE));
    assert_eq!(firsts(&found), [(10, 1), (11, 3), (12, 5)]);
    assert_eq!((found.number_max(), found.term_max()), (12, 5));
    assert_eq!(found.blank, [FileSlot(3)], "the reserve");
    assert!(report.findings.is_empty());
}

#[test]
fn a_damaged_header_is_made_from_its_batches() {
    let sound = seen(&written(LANE, 5), None).0;
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 4] = [
        |bytes| bytes[20] ^= 1,
        |bytes| bytes[40..60].fill(9),
        |bytes| bytes[..4096].fill(0),
        |bytes| bytes[..4096].fill(0x77),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        for slot in 0..3 {
            let disk = written(LANE, 5);
            disk.edit(&FileSlot(slot).name(), change);
            let (found, report) = seen(&disk, None);
            assert_eq!(firsts(&found), firsts(&sound));
            let unsound: Vec<_> = found.segments.iter().filter(|one| !one.sound).map(|one| one.slot.0).collect();
            assert_eq!((unsound, report.findings.len()), (vec![slot], 1));
            // Of the last segment nobody knows that it was synced: without a header it is as a crash leaves it.
            assert_eq!(report.is_sound(), i == 2 && slot == 2, "{report}");
        }
    }
    // There is no other segment that knows the lane.
    let disk = written(LANE, 1);
    disk.edit("segment-00000000", |bytes| bytes[40] ^= 1);
    assert_eq!(seen(&disk, None).0.lane, Some(LANE));
}

#[test]
fn what_is_no_segment_is_kept_apart() {
    let disk = written(LANE, 5);
    let other = written(OTHER, 1).bytes("segment-00000000").unwrap();
    disk.edit("segment-00000007", |bytes| *bytes = other);
    disk.edit("segment-00000008", |bytes| *bytes = b"not a segment".to_vec());
    disk.edit("segment-00000009", |_| ());
    disk.edit("segment-0000000a", |bytes| bytes.resize(9000, 0));
    disk.edit("segment-0000000b", |bytes| bytes.resize(9000, 3));
    disk.make_unreadable("segment-0000000b");
    let second = disk.bytes("segment-00000001").unwrap();
    disk.edit("segment-0000000c", |bytes| *bytes = second[..6000].to_vec());
    let (found, report) = seen(&disk, None);
    assert_eq!(firsts(&found), [(10, 1), (11, 3), (12, 5)]);
    assert_eq!(found.foreign, [FileSlot(7)]);
    assert_eq!(found.blank, [FileSlot(3), FileSlot(9), FileSlot(10)]);
    let mut useless = found.useless.clone();
    useless.sort();
    assert_eq!(useless, [FileSlot(8), FileSlot(11), FileSlot(12)]);
    assert_eq!(report.damages, 4, "{report}");
    assert_eq!(found.slots().count(), 10);
    // A checkpoint knows better.
    let (found, _) = seen(&disk, Some(OTHER));
    assert_eq!((firsts(&found), found.foreign.len()), (vec![(10, 1)], 3 + 1));
}

#[test]
fn a_header_that_was_not_finished_is_no_damage() {
    let disk = written(LANE, 5);
    let header = SegmentHeader { lane: LANE, number: 13, term: 5, first: 6 }.encode();
    let kept = |len: usize, change: fn(&mut Vec<u8>)| {
        let disk = disk.copy();
        disk.edit("segment-00000003", |bytes| {
            bytes.fill(0);
            bytes[..len].copy_from_slice(&header[..len]);
            change(bytes);
        });
        let (found, report) = seen(&disk, None);
        assert_eq!(found.segments.len(), 3);
        (found.blank == [FileSlot(3)], found.useless == [FileSlot(3)], report.is_sound())
    };
    for len in 1..49 {
        assert_eq!(kept(len, |_| ()), (true, false, true), "{len} bytes");
    }
    // Also if it is the only one.
    let alone = MemoryDisk::default();
    alone.edit("segment-00000000", |bytes| {
        bytes.extend_from_slice(&header[..40]);
        bytes.resize(8192, 0);
    });
    let (found, report) = seen(&alone, None);
    assert_eq!((found.blank, report.is_sound()), (vec![FileSlot(0)], true), "{report}");
    // But for what is something else, and what has something behind it.
    let changes: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[0] ^= 1,
        |bytes| bytes[17] ^= 1,
        |bytes| bytes[57] = 1,
        |bytes| bytes[8000] = 1,
        |bytes| bytes.truncate(4000),
    ];
    for change in changes {
        assert_eq!(kept(40, change), (false, true, false));
    }
}

#[test]
fn of_two_copies_the_fuller_one_counts() {
    let disk = written(LANE, 2);
    let full = disk.bytes("segment-00000000").unwrap();
    disk.edit("segment-00000000", |bytes| bytes[5696..].fill(0));
    disk.edit("segment-00000009", |bytes| *bytes = full);
    let (found, report) = seen(&disk, None);
    assert_eq!(found.segments.iter().map(|one| one.slot).collect::<Vec<_>>(), [FileSlot(9)]);
    assert_eq!((found.useless, report.damages), (vec![FileSlot(0)], 1));
}

#[test]
fn a_later_version_is_refused_and_so_is_a_disk_that_fails() {
    let disk = written(LANE, 2);
    disk.edit("segment-00000000", |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let error = survey(&disk, None, &mut Report::default()).unwrap_err();
    assert!(matches!(error, SurveyError::Later { version: 2, .. }));
    assert!(error.to_string().contains("format version 2"), "{error}");
    disk.fail_once(crate::store::disk::memory::Operation::List, 0, std::io::ErrorKind::PermissionDenied);
    let error = survey(&disk, None, &mut Report::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot list"), "{error}");
}
