mod lost;

use super::*;
use crate::store::QueueId;
use crate::store::disk::memory::MemoryDisk;
use crate::store::journal::{Journal, Start};
use crate::store::record::{Record, Records, records};
use crate::store::segment::FileSlot;
use crate::store::survey::survey;

const LANE: LaneId = [3; 16];
const SEGMENT: u64 = 8 << 10;
const Q: QueueId = QueueId(300);

/// What a start finds: every message as `index:body`, those that are not sound with `!`.
struct Found {
    lines: Vec<String>,
    report: Report,
    next_index: u64,
}

impl Found {
    fn is(&self, expected: &str) {
        assert!(self.lines.join(" ") == expected, "{}", self.report);
    }
}

fn read(disk: &MemoryDisk, after: Option<u64>) -> Found {
    let mut report = Report::default();
    let found = survey(disk, Some(LANE), &mut report).unwrap();
    let mut scan = Scan::new(disk, &found, after);
    let mut lines = vec![];
    let mut last = 0;
    while let Some(batch) = scan.next(&mut report) {
        assert!(batch.index > last, "indexes ascend");
        last = batch.index;
        let payload = &batch.submissions[0].bytes;
        let file = disk.bytes(&batch.slot.name()).unwrap();
        for (at, record) in records(payload) {
            let Record::Messages(messages) = record.unwrap() else {
                continue;
            };
            for message in messages.iter() {
                let sound = message.is_sound();
                if sound {
                    let place = batch.at as usize + at + message.at + 8;
                    assert_eq!(&file[place..place + message.bytes.len()], message.bytes, "it is where it should be");
                }
                let body = String::from_utf8_lossy(message.bytes);
                lines.push(if sound { format!("{}:{body}", batch.index) } else { format!("{}:!", batch.index) });
            }
        }
    }
    Found { lines, report, next_index: scan.next_index() }
}

/// Starts a journal as the store does.
fn start(disk: &MemoryDisk, after: Option<u64>, free: Vec<FileSlot>) -> Journal<MemoryDisk> {
    let mut report = Report::default();
    let found = survey(disk, Some(LANE), &mut report).unwrap();
    let mut scan = Scan::new(disk, &found, after);
    while scan.next(&mut report).is_some() {}
    Journal::start(Start {
        disk: disk.clone(),
        lane: LANE,
        term: found.term_max() + 1,
        next_index: scan.next_index(),
        next_number: found.number_max() + 1,
        time_ms: scan.time_ms(),
        segment_bytes: SEGMENT,
        reserve: 1,
        spares_max: 8,
        free,
        taken: found.slots().collect(),
        unsynced: scan.unsynced(),
    })
    .unwrap()
}

/// A batch of messages.
fn write(journal: &mut Journal<MemoryDisk>, bodies: &[&str]) -> Batch {
    let mut all = Records::default();
    for (i, body) in bodies.iter().enumerate() {
        all.message(Q, 1000 * journal.next_index() + i as u64, 0, body.len(), |place| {
            place.copy_from_slice(body.as_bytes());
        });
    }
    let bytes = if bodies.is_empty() { vec![] } else { all.take(vec![]) };
    journal.write(journal.next_index(), vec![Submission { bytes, ..Submission::default() }]).unwrap()
}

fn flip(disk: &MemoryDisk, slot: FileSlot, at: u64) {
    disk.edit(&slot.name(), |bytes| bytes[at as usize] ^= 0x10);
}

/// The header of a batch is gone, as if nothing had been written.
fn wipe_header(disk: &MemoryDisk, batch: &Batch) {
    disk.edit(&batch.slot.name(), |bytes| bytes[batch.at as usize - 64..batch.at as usize].fill(0));
}

#[test]
fn what_was_written_is_read() {
    let disk = MemoryDisk::default();
    read(&disk, None).is("");
    assert_eq!(read(&disk, None).next_index, 1);
    assert_eq!(read(&disk, Some(6)).next_index, 7);
    let mut journal = start(&disk, None, vec![]);
    read(&disk, None).is("");
    write(&mut journal, &["a", "b"]);
    write(&mut journal, &[]);
    let large = "x".repeat(3 * SEGMENT as usize);
    write(&mut journal, &[&large]);
    write(&mut journal, &["c"]);
    let all = format!("1:a 1:b 3:{large} 4:c");
    for (after, expected) in [(None, &*all), (Some(0), &all), (Some(2), &all[8..]), (Some(3), "4:c"), (Some(4), "")] {
        let found = read(&disk, after);
        found.is(expected);
        assert!(found.report.findings.is_empty(), "{}", found.report);
        assert_eq!(found.next_index, 5);
    }
}

#[test]
fn many_segments_are_read_from_anywhere() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let body = "y".repeat(1000);
    for _ in 0..100 {
        write(&mut journal, &[&body]);
        journal.sync().unwrap();
    }
    for after in 0..=100 {
        let found = read(&disk, Some(after));
        assert_eq!((found.lines.len() as u64, found.next_index), (100 - after, 101));
        assert!(found.report.findings.is_empty(), "{}", found.report);
    }
}

#[test]
fn a_tail_may_be_cut_anywhere() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    write(&mut journal, &["one"]);
    journal.sync().unwrap();
    let second = write(&mut journal, &["two", "three"]);
    let third = write(&mut journal, &["four"]);
    let end = third.end();
    for len in (second.at - 64)..=end {
        let disk = disk.copy();
        disk.edit(&second.slot.name(), |bytes| bytes[len as usize..].fill(0));
        let found = read(&disk, None);
        // The end of a batch is zeros in any case.
        let content = |batch: &Batch| batch.at + batch.payload_bytes();
        let whole = [content(&second), content(&third)].iter().filter(|end| **end <= len).count();
        // Zeros at the end of a body or a record might have been there before.
        found.is(["1:one", "1:one 2:two 2:three", "1:one 2:two 2:three 3:four"][whole]);
        assert!(found.report.is_sound(), "{}", found.report);
        assert_eq!(found.next_index as usize, 2 + whole);
        // The file itself may be shorter, too.
        disk.edit(&second.slot.name(), |bytes| bytes.truncate(len as usize));
        assert_eq!(read(&disk, None).next_index as usize, 2 + whole);
    }
}

#[test]
fn room_may_be_missing_before_the_first_sync_of_a_segment() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let first = write(&mut journal, &["one"]);
    let before = disk.copy();
    journal.sync().unwrap();
    let second = write(&mut journal, &["two"]);
    for (disk, batch, is_sound) in [(before, first, true), (disk, second, false)] {
        disk.edit(&batch.slot.name(), |bytes| bytes.truncate(batch.at as usize + 1));
        let found = read(&disk, None);
        assert_eq!(found.next_index, batch.index);
        assert_eq!(found.report.is_sound(), is_sound, "{}", found.report);
    }
}

#[test]
fn damage_is_told_from_the_tail() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let batches: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .enumerate()
        .map(|(i, body)| {
            let batch = write(&mut journal, &[body]);
            if i < 2 {
                journal.sync().unwrap();
            }
            batch
        })
        .collect();
    // Synced up to 2, as 3, 4 and 5 know: whatever happens to 3 and later is the tail.
    for (damaged, header, expected, sound, next) in [
        (1, false, "1:! 2:b 3:c 4:d 5:e", false, 6),
        (1, true, "2:b 3:c 4:d 5:e", false, 6),
        (2, false, "1:a 2:! 3:c 4:d 5:e", false, 6),
        (2, true, "1:a 3:c 4:d 5:e", false, 6),
        (3, false, "1:a 2:b", true, 3),
        (3, true, "1:a 2:b", true, 3),
        (5, false, "1:a 2:b 3:c 4:d", true, 5),
        (5, true, "1:a 2:b 3:c 4:d", true, 5),
    ] {
        let disk = disk.copy();
        let batch = &batches[damaged - 1];
        if header {
            wipe_header(&disk, batch);
        } else {
            flip(&disk, batch.slot, batch.at + batch.payload_bytes() - 1);
        }
        let found = read(&disk, None);
        found.is(expected);
        assert_eq!((found.report.is_sound(), found.next_index), (sound, next), "{}", found.report);
        if !sound {
            let lost = found.report.lost;
            assert_eq!((lost.batches, lost.messages), (u64::from(header), u64::from(!header)), "{}", found.report);
        }
        // Behind a checkpoint, nobody cares.
        let found = read(&disk, Some(2));
        assert!(found.report.is_sound() && found.next_index >= 3, "{}", found.report);
    }
}

#[test]
fn every_bit_of_a_small_journal_may_change() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let mut written = vec![];
    let mut last = Batch::default();
    for i in 0..12 {
        let body = format!("{i}").repeat(400 + i);
        last = write(&mut journal, &[&body, "second", "third"]);
        written.extend([body, "second".into(), "third".into()].map(|body| format!("{}:{body}", last.index)));
        journal.sync().unwrap();
    }
    // What comes last tells that all the others are synced.
    let mark = write(&mut journal, &[]);
    for slot in disk.names().iter().filter_map(|name| FileSlot::from_name(name)) {
        let len = if slot == last.slot { mark.end() } else { SEGMENT };
        for at in (0..len).filter(|at| at % 7 == 0 || *at < 200 || *at % SEGMENT / 64 == 64) {
            let disk = disk.copy();
            disk.edit(&slot.name(), |bytes| bytes[at as usize] ^= 1 << (at % 8));
            let found = read(&disk, None);
            let context = format!("{} at {at}: {}", slot.name(), found.report);
            let wrong = found.lines.iter().filter(|line| line.ends_with('!')).count();
            assert_eq!(found.lines.len(), written.len(), "{context}");
            assert!(wrong <= 1 && wrong as u64 == found.report.lost.messages, "{context}");
            assert_eq!((found.report.lost.batches, found.report.lost.records), (0, 0), "{context}");
            for (line, sound) in found.lines.iter().zip(&written).filter(|(line, _)| !line.ends_with('!')) {
                assert_eq!(line, sound, "{context}");
            }
            // A start goes on from there, and what it writes is read.
            let mut journal = start(&disk, None, vec![]);
            assert!(journal.next_index() >= 13, "{context}");
            let index = write(&mut journal, &["new"]).index;
            assert_eq!(*read(&disk, None).lines.last().unwrap(), format!("{index}:new"), "{context}");
        }
    }
}

#[test]
fn two_crashes_over_the_same_tail() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    write(&mut journal, &["a"]);
    journal.sync().unwrap();
    let torn = write(&mut journal, &["b"]);
    write(&mut journal, &["c"]);
    // The disk has written the later batch and not the earlier one.
    let kept = disk.bytes(&torn.slot.name()).unwrap();
    wipe_header(&disk, &torn);
    read(&disk, None).is("1:a");
    drop(journal);
    let mut journal = start(&disk, None, vec![]);
    // The old bytes come back: they are void all the same.
    let heal = |disk: &MemoryDisk| disk.edit(&torn.slot.name(), |bytes| bytes.copy_from_slice(&kept));
    let healed = disk.copy();
    heal(&healed);
    read(&healed, None).is("1:a");
    write(&mut journal, &["B"]);
    heal(&disk);
    read(&disk, None).is("1:a 2:B");
    // Again: the new term has a tail of its own.
    journal.sync().unwrap();
    let torn = write(&mut journal, &["C"]);
    write(&mut journal, &["D"]);
    wipe_header(&disk, &torn);
    let mut journal = start(&disk, None, vec![]);
    assert_eq!((journal.term(), journal.next_index()), (3, 3));
    write(&mut journal, &["CC"]);
    let found = read(&disk, None);
    found.is("1:a 2:B 3:CC");
    assert!(found.report.findings.is_empty(), "{}", found.report);
    // What an earlier start found sound was durable: if it is gone, that is damage, though no batch says so.
    let first = disk.names()[0].clone();
    disk.edit(&first, |bytes| bytes[4096..4160].fill(0));
    let found = read(&disk, Some(0));
    found.is("2:B 3:CC");
    assert_eq!(found.report.lost.batches, 1, "{}", found.report);
}

#[test]
fn a_tail_over_several_segments_is_void() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let body = "z".repeat(3000);
    write(&mut journal, &["a"]);
    journal.sync().unwrap();
    let torn = write(&mut journal, &[&body]);
    // Fewer than the journal leaves unsynced.
    let last = (0..3).map(|_| write(&mut journal, &[&body])).last().unwrap();
    assert_eq!(last.segment, 4);
    wipe_header(&disk, &torn);
    let found = read(&disk, None);
    found.is("1:a");
    assert!(found.report.is_sound(), "{}", found.report);
    let mut journal = start(&disk, None, vec![]);
    for body in ["b", "c", "d"] {
        write(&mut journal, &[body]);
    }
    let found = read(&disk, None);
    found.is("1:a 2:b 3:c 4:d");
    assert!(found.report.findings.is_empty(), "{}", found.report);
}

#[test]
fn what_is_left_of_earlier_uses_of_a_file_is_not_read() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    // Batches of one size: the old ones lie where new ones would.
    for i in 0..200 {
        let body = format!("{i:03}").repeat(100);
        let batch = write(&mut journal, &[&body]);
        journal.sync().unwrap();
        let oldest = batch.segment.saturating_sub(2);
        let report = &mut Report::default();
        let found = survey(&disk, Some(LANE), report).unwrap();
        let old = found.segments.iter().filter(|segment| segment.header.number == oldest);
        let free: Vec<_> = old.map(|segment| segment.slot).collect();
        let first = found.segments.iter().find(|segment| segment.header.number > oldest).unwrap().header.first;
        if i % 7 == 0 {
            let found = read(&disk, Some(first - 1));
            assert_eq!(found.lines.len() as u64, batch.index - first + 1, "{}", found.report);
            assert!(found.report.findings.is_empty(), "{}", found.report);
        }
        if i % 10 == 0 {
            journal = start(&disk, Some(batch.index - 1), free);
        } else if i % 3 == 0 {
            journal.give(free);
        }
    }
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    write(&mut journal, &["a"]);
    let large = "w".repeat(3000);
    use crate::store::disk::memory::Operation;
    for _ in 0..3 {
        disk.fail_once(Operation::Write, 0, std::io::ErrorKind::StorageFull);
        let bytes = vec![1; 6000];
        let refused = journal.write(0, vec![Submission { bytes, ..Submission::default() }]);
        assert!(refused.is_err());
        write(&mut journal, &["b", &large]);
    }
    let found = read(&disk, None);
    assert_eq!((found.lines.len(), found.next_index), (7, 5));
    assert!(found.report.findings.is_empty(), "{}", found.report);
}
