use super::*;
use crate::store::disk::memory::{MemoryDisk, Operation};

const LANE: LaneId = [3; 16];
const SEGMENT: u64 = 16 << 10;

fn start(disk: &MemoryDisk) -> Start<MemoryDisk> {
    Start {
        disk: disk.clone(),
        lane: LANE,
        term: 1,
        next_index: 1,
        next_number: 1,
        time_ms: 0,
        segment_bytes: SEGMENT,
        reserve: 1,
        spares_max: 1,
        free: vec![],
        taken: vec![],
        unsynced: vec![],
    }
}

fn journal(disk: &MemoryDisk) -> Journal<MemoryDisk> {
    Journal::start(start(disk)).unwrap()
}

fn some(len: usize) -> Vec<Submission> {
    vec![Submission { bytes: vec![7; len], ..Submission::default() }]
}

fn header_at(disk: &MemoryDisk, slot: FileSlot) -> SegmentHeader {
    SegmentHeader::decode(&disk.bytes(&slot.name()).unwrap()[..HEADER_BYTES]).unwrap()
}

fn batch_at(disk: &MemoryDisk, batch: &Batch) -> Option<BatchHeader> {
    BatchHeader::decode(&disk.bytes(&batch.slot.name()).unwrap()[batch.at as usize - 64..], &LANE)
}

#[test]
fn batches_lie_where_it_says() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let mut end = HEADER_BYTES as u64;
    for (i, (lens, now_ms)) in
        [(vec![], 5), (vec![0], 9), (vec![1, 2], 3), (vec![64], 9), (vec![100, 5000], 10)].into_iter().enumerate()
    {
        let submissions: Vec<_> = lens.iter().flat_map(|len| some(*len)).collect();
        let bytes: Vec<u8> = submissions.iter().flat_map(|one| one.bytes.clone()).collect();
        let batch = journal.write(now_ms, submissions).unwrap();
        assert_eq!((batch.index, batch.segment, batch.at), (i as u64 + 1, 1, end + 64));
        assert_eq!(batch.payload_bytes() as usize, bytes.len());
        end = batch.end();
        let header = batch_at(&disk, &batch).unwrap();
        assert_eq!((header.index, header.term, header.time_ms), (batch.index, 1, batch.time_ms));
        assert_eq!((header.len as usize, header.crc), (bytes.len(), crc32c::crc32c(&bytes)));
        let file = disk.bytes(&batch.slot.name()).unwrap();
        assert_eq!(&file[batch.at as usize..][..bytes.len()], &*bytes);
        // The clock went back once.
        assert!(batch.time_ms >= now_ms && batch.time_ms <= 10);
    }
}

#[test]
fn a_batch_says_what_was_synced_before_it() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let mut synced = vec![];
    for sync in [false, true, false, true, true] {
        let batch = journal.write(0, some(10)).unwrap();
        synced.push(batch_at(&disk, &batch).unwrap().synced);
        if sync {
            assert_eq!(journal.sync().unwrap(), batch.index);
        }
    }
    assert_eq!(synced, [0, 0, 2, 2, 4]);
    let syncs = disk.count(Operation::Sync);
    assert_eq!(journal.sync().unwrap(), 5);
    assert_eq!(disk.count(Operation::Sync), syncs, "nothing was written since");
}

#[test]
fn segments_follow_each_other_and_large_batches_have_their_own() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let usual = journal.payload_usual() as usize;
    let mut places = vec![];
    for len in [usual, 1, usual - 128, 1, 2 * usual, 1] {
        let batch = journal.write(0, some(len)).unwrap();
        let header = header_at(&disk, batch.slot);
        assert_eq!((header.number, header.term, header.lane), (batch.segment, 1, LANE));
        assert!(header.first <= batch.index);
        places.push((batch.segment, header.first));
    }
    assert_eq!(places, [(1, 1), (2, 2), (2, 2), (3, 4), (4, 5), (5, 6)]);
    assert_eq!(journal.sync().unwrap(), 6);
    // Everything that was written is there after a power cut, whatever was not is not.
    let cut = disk.cut(|_| 0);
    let largest = cut.names().iter().map(|name| cut.bytes(name).unwrap().len()).max().unwrap();
    assert_eq!(largest, HEADER_BYTES + 64 + (2 * usual).next_multiple_of(64));
    assert_eq!(cut.names().len(), 6, "five and the reserve");
}

#[test]
fn a_segment_is_durable_with_its_name_and_those_before_it() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let usual = journal.payload_usual() as usize;
    let batches: Vec<_> = (0..12).map(|_| journal.write(0, some(usual)).unwrap()).collect();
    journal.sync().unwrap();
    let cut = disk.cut(|_| 0);
    for batch in &batches {
        assert_eq!(batch_at(&cut, batch).unwrap().index, batch.index);
    }
}

#[test]
fn segments_are_used_again() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let usual = journal.payload_usual() as usize;
    let mut last = journal.write(0, some(3 * usual)).unwrap();
    for _ in 0..20 {
        let batch = journal.write(0, some(usual)).unwrap();
        journal.sync().unwrap();
        assert_ne!(batch.slot, last.slot);
        assert_eq!(batch.segment, last.segment + 1);
        journal.give(vec![last.slot]);
        last = batch;
    }
    let sizes: Vec<_> = disk.names().iter().map(|name| disk.bytes(name).unwrap().len() as u64).collect();
    assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size == SEGMENT), "{sizes:?}");
}

#[test]
fn what_is_not_needed_is_removed() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let usual = journal.payload_usual() as usize;
    let slots: Vec<_> = (0..40).map(|_| journal.write(0, some(usual)).unwrap().slot).collect();
    journal.sync().unwrap();
    journal.give(slots[..39].to_vec());
    assert!(disk.names().len() > 3, "not all at once");
    while journal.step() {}
    assert_eq!(disk.names().len(), 3, "the current one, the reserve and a spare one");
    // Without new segments the spare one goes as well, with them it is kept again.
    assert!(journal.has_spares());
    journal.rest();
    journal.step();
    assert_eq!((disk.names().len(), journal.has_spares()), (2, false));
    journal.rest();
    assert!(!journal.step());
    assert_eq!(disk.names().len(), 2);
    let slots: Vec<_> = (0..3).map(|_| journal.write(0, some(usual)).unwrap().slot).collect();
    journal.sync().unwrap();
    journal.give(slots[..2].to_vec());
    assert_eq!((disk.names().len(), journal.has_spares()), (4, true));
    // The names are free again.
    let slots: Vec<_> = (0..10).map(|_| journal.write(0, some(usual)).unwrap().slot.0).collect();
    assert!(slots.iter().all(|slot| *slot <= 40), "{slots:?}");
}

#[test]
fn a_full_disk_refuses_and_the_same_goes_on_when_there_is_room() {
    for reserve in [1, 3] {
        let disk = MemoryDisk::new(10 * SEGMENT + 100);
        let mut journal = Journal::start(Start { reserve, ..start(&disk) }).unwrap();
        let usual = journal.payload_usual() as usize;
        let mut written = vec![];
        let mut before_full = None;
        let (error, refused) = loop {
            if journal.needs_room() && before_full.is_none() {
                before_full = Some(written.len());
            }
            match journal.write(0, some(usual)) {
                Ok(batch) => written.push(batch),
                Err(refused) => break refused,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!((refused.len(), refused[0].bytes.len()), (1, usual));
        assert_eq!(written.len(), 10);
        assert_eq!(before_full, Some(11 - reserve), "the reserve is there for settlements");
        assert!(journal.needs_room());
        journal.sync().unwrap();
        // Again, and smaller, and larger.
        assert!(journal.write(0, refused).is_err());
        assert!(journal.write(0, some(1)).is_err());
        assert!(journal.write(0, some(2 * usual)).is_err());
        assert!(!journal.step());
        // The room that there is was not lost in the attempts.
        assert_eq!(disk.free_bytes().unwrap(), 100);
        journal.give(vec![written[0].slot]);
        let batch = journal.write(0, some(usual)).unwrap();
        assert_eq!((batch.index, batch.slot), (11, written[0].slot));
        assert!(journal.needs_room());
        disk.set_total(20 * SEGMENT);
        journal.step();
        assert!(!journal.needs_room());
        assert_eq!(journal.write(0, some(2 * usual)).unwrap().index, 12);
        assert_eq!(journal.sync().unwrap(), 12);
    }
}

#[test]
fn a_write_that_fails_is_tried_again_at_the_same_place() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let disk = MemoryDisk::default();
        let mut journal = journal(&disk);
        let first = journal.write(0, some(10)).unwrap();
        disk.fail_once(Operation::Write, 0, kind);
        let (error, submissions) = journal.write(0, some(100)).unwrap_err();
        assert_eq!((error.kind(), submissions.len()), (kind, 1));
        let second = journal.write(0, submissions).unwrap();
        assert_eq!((second.index, second.at), (2, first.end() + 64));
        assert_eq!(journal.sync().unwrap(), 2);
    }
}

#[test]
fn every_operation_of_a_roll_may_fail() {
    for (operation, free) in [
        (Operation::Open, false),
        (Operation::Allocate, false),
        (Operation::Write, false),
        (Operation::Open, true),
        (Operation::Allocate, true),
        (Operation::Write, true),
    ] {
        for after in 0..3 {
            let disk = MemoryDisk::default();
            let mut journal = journal(&disk);
            let usual = journal.payload_usual() as usize;
            let mut batches = vec![journal.write(0, some(usual)).unwrap()];
            if free {
                batches.push(journal.write(0, some(usual)).unwrap());
                journal.give(vec![batches[0].slot]);
            }
            disk.fail_once(operation, after, ErrorKind::Other);
            for _ in 0..5 {
                let mut wanted = some(usual);
                let batch = loop {
                    match journal.write(0, wanted) {
                        Ok(batch) => break batch,
                        Err((_, again)) => wanted = again,
                    }
                };
                assert_eq!(batch.index, batches.last().unwrap().index + 1);
                assert!(batch.segment > batches.last().unwrap().segment);
                batches.push(batch);
            }
            journal.sync().unwrap();
            let cut = disk.cut(|_| 0);
            for batch in &batches[usize::from(free)..] {
                assert_eq!(batch_at(&cut, batch).unwrap().index, batch.index, "{operation:?} {after} {free}");
            }
        }
    }
}

#[test]
fn a_header_that_is_there_after_a_failed_write_voids_nothing() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    let usual = journal.payload_usual() as usize;
    let before = journal.write(0, some(10)).unwrap();
    disk.fail_once(Operation::Write, 0, ErrorKind::Other);
    assert!(journal.write(0, some(usual)).is_err());
    // The disk says that it has failed, and has done it nevertheless.
    let header = SegmentHeader { lane: LANE, number: 2, term: 1, first: before.index + 1 };
    disk.edit("segment-00000001", |bytes| bytes[..HEADER_BYTES].copy_from_slice(&header.encode()));
    // It would fit the segment before.
    let batch = journal.write(0, some(10)).unwrap();
    journal.sync().unwrap();
    let cut = disk.cut(|_| 0);
    assert_eq!(batch_at(&cut, &before).unwrap().index, before.index, "what was sealed is synced as well");
    assert_eq!(batch_at(&cut, &batch).unwrap().index, batch.index);
    for name in cut.names() {
        if let Ok(header) = SegmentHeader::decode(&cut.bytes(&name).unwrap()[..HEADER_BYTES]) {
            assert!(header.number <= batch.segment || header.first > batch.index, "{name} voids it: {header:?}");
        }
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    for operation in [Operation::Sync, Operation::SyncDirectory] {
        let disk = MemoryDisk::default();
        let mut journal = journal(&disk);
        let usual = journal.payload_usual() as usize;
        (0..2).for_each(|_| drop(journal.write(0, some(usual)).unwrap()));
        disk.fail_once(operation, 0, ErrorKind::Other);
        assert!(journal.sync().is_err());
        assert!(journal.sync().is_err());
        assert_eq!(journal.write(0, some(1)).unwrap_err().1.len(), 1);
        assert!(!journal.step());
    }
}

#[test]
fn a_start_on_a_full_disk_begins_when_there_is_room() {
    let disk = MemoryDisk::new(SEGMENT / 2);
    let mut journal = Journal::start(Start { term: 4, next_index: 70, next_number: 9, ..start(&disk) }).unwrap();
    assert!(journal.needs_room());
    assert!(journal.write(0, some(1)).is_err());
    assert!(!journal.step());
    disk.set_total(5 * SEGMENT);
    journal.step();
    assert!(!journal.needs_room());
    let batch = journal.write(0, some(1)).unwrap();
    assert_eq!((batch.index, batch.term), (70, 4));
    let header = header_at(&disk.cut(|_| 0), batch.slot);
    assert_eq!((header.term, header.first), (4, 70));
    assert!(header.number >= 9);
}

#[test]
fn a_start_syncs_what_was_read_and_voids_what_lies_behind() {
    let disk = MemoryDisk::default();
    let mut old = journal(&disk);
    old.sync().unwrap();
    let batch = old.write(0, some(10)).unwrap();
    assert!(batch_at(&disk.cut(|_| 0), &batch).is_none());
    let taken = vec![FileSlot(0), FileSlot(1)];
    let unsynced = vec![Unsynced { slot: batch.slot, at: batch.at - 64, end: batch.end() }];
    let next = Start { term: 2, next_index: 2, next_number: 2, taken, unsynced: unsynced.clone(), ..start(&disk) };
    let mut new = Journal::start(next).unwrap();
    let cut = disk.cut(|_| 0);
    assert!(batch_at(&cut, &batch).is_some());
    let written = new.write(0, some(1)).unwrap();
    assert!(![FileSlot(0), FileSlot(1)].contains(&written.slot));
    let header = header_at(&cut, written.slot);
    assert_eq!((header.number, header.term, header.first), (2, 2, 2));
    // A disk that fails is not started on.
    disk.fail_once(Operation::Sync, 0, ErrorKind::Other);
    assert!(Journal::start(Start { unsynced, ..start(&disk) }).is_err());
}

#[test]
fn too_much_for_a_batch_is_refused() {
    let disk = MemoryDisk::default();
    let mut journal = journal(&disk);
    // Zeros that nobody touches take no memory.
    let submissions: Vec<_> =
        (0..16).map(|_| Submission { bytes: vec![0; 1 << 28], ..Submission::default() }).collect();
    let (error, submissions) = journal.write(0, submissions).unwrap_err();
    assert_eq!((error.kind(), submissions.len()), (ErrorKind::InvalidInput, 16));
    assert_eq!(journal.write(0, some(1)).unwrap().index, 1);
}
