//! Files and sectors that are lost.

use super::*;

#[test]
fn a_lost_segment_is_reported_and_the_rest_read() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let body = "v".repeat(900);
    let batches: Vec<_> = (0..20)
        .map(|_| {
            let batch = write(&mut journal, &[&body]);
            journal.sync().unwrap();
            batch
        })
        .collect();
    let middle = batches.iter().filter(|batch| batch.segment == 2).count() as u64;
    let slot = batches.iter().find(|batch| batch.segment == 2).unwrap().slot;
    let name = slot.name();
    type Change = fn(&MemoryDisk, &str);
    let changes: [(&str, Change); 5] = [
        ("missing", |disk, name| crate::store::disk::Disk::remove(disk, name).unwrap()),
        ("zero-length", |disk, name| disk.edit(name, Vec::clear)),
        ("garbage", |disk, name| disk.edit(name, |bytes| bytes.fill(0x55))),
        ("unreadable", MemoryDisk::make_unreadable),
        ("cut in the header", |disk, name| disk.edit(name, |bytes| bytes.truncate(100))),
    ];
    for (what, change) in changes {
        let disk = disk.copy();
        change(&disk, &name);
        let found = read(&disk, Some(0));
        assert_eq!(found.lines.len() as u64, 20 - middle, "{what}: {}", found.report);
        assert_eq!((found.report.lost.batches, found.next_index), (middle, 21), "{what}: {}", found.report);
        // Whoever has no checkpoint cannot know that it is not simply used again; the rest is read.
        assert_eq!(read(&disk, None).lines.len() as u64, 20 - middle, "{what}");
        // It does not matter once it is behind a checkpoint.
        let found = read(&disk, Some(batches.iter().rfind(|batch| batch.segment == 2).unwrap().index));
        assert_eq!(Lost { files: 0, ..found.report.lost }, Lost::NOTHING, "{what}: {}", found.report);
    }
    // Cut in the middle: what is in front of it is there.
    let first = batches.iter().find(|batch| batch.segment == 2).unwrap();
    disk.edit(&name, |bytes| bytes.truncate(first.end() as usize + 100));
    let found = read(&disk, Some(0));
    assert_eq!(found.report.lost.batches + found.report.lost.records, middle - 1, "{}", found.report);
}

#[test]
fn sectors_that_cannot_be_read_cost_what_is_in_them() {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    write(&mut journal, &["a", "b"]);
    journal.sync().unwrap();
    write(&mut journal, &["c"]);
    disk.fail_once(crate::store::disk::memory::Operation::Read, 1, std::io::ErrorKind::Other);
    // The first read is that of the header, the second that of a large piece: it is read again sector by sector.
    read(&disk, None).is("1:a 1:b 2:c");
}

/// Five batches, the first two of which are synced, and the next two if `synced`. The second one rots, and
/// the power cut takes the third and the fourth.
fn rot_and_power_cut(len: usize, synced: bool) -> Found {
    let disk = MemoryDisk::default();
    let mut journal = start(&disk, None, vec![]);
    let body = "v".repeat(len);
    let batches: Vec<_> = (1..=5)
        .map(|number| {
            let batch = write(&mut journal, &[&body]);
            if number < 3 || (number == 4 && synced) {
                journal.sync().unwrap();
            }
            batch
        })
        .collect();
    for batch in &batches[1..4] {
        let name = batch.slot.name();
        if batches.iter().filter(|other| other.slot == batch.slot).count() == 1 {
            crate::store::disk::Disk::remove(&disk, &name).unwrap();
        } else {
            disk.edit(&name, |bytes| bytes[batch.at as usize - 64..batch.end() as usize].fill(0));
        }
    }
    read(&disk, Some(0))
}

#[test]
fn the_journal_ends_with_what_was_durable_although_something_in_front_of_that_is_lost() {
    // In one segment, and each in one of its own.
    for len in [100, 3000] {
        let found = rot_and_power_cut(len, false);
        assert_eq!(found.lines.len(), 1, "{len}: {}", found.report);
        assert_eq!((found.report.lost.batches, found.next_index), (1, 3), "{len}: {}", found.report);
        assert!(found.report.to_string().contains("batch 3 was not finished"), "{len}: {}", found.report);
        let found = rot_and_power_cut(len, true);
        assert_eq!(found.lines.len(), 2, "{len}: {}", found.report);
        assert_eq!((found.report.lost.batches, found.next_index), (3, 6), "{len}: {}", found.report);
    }
}
