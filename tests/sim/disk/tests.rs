//! The disk must be able to do everything that a disk does, or what runs on it proves nothing.

use super::{BLOCK, Operation, SECTOR, SimDisk};
use leveret::store::disk::{Disk, DiskFile, Open};
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// A file with 4 sectors of ones, durable.
fn durable_ones(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let file = disk.open("f", Open::Create).unwrap();
    file.write_at(0, &[&[1; 4 * SECTOR]]).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    disk
}

fn sectors(disk: &SimDisk) -> Vec<u8> {
    let content = disk.content("f");
    for sector in content.chunks(SECTOR) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn");
    }
    content.chunks(SECTOR).map(|sector| sector[0]).collect()
}

#[test]
fn a_power_cut_leaves_any_state_of_every_unsynced_sector_and_keeps_the_synced_ones() {
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let disk = durable_ones(seed);
        let file = disk.open("f", Open::Write).unwrap();
        file.write_at(0, &[&[2; SECTOR], &[2; SECTOR]]).unwrap();
        file.write_at(SECTOR as u64, &[&[3; 2 * SECTOR]]).unwrap();
        disk.cut_power();
        assert!(file.write_at(0, &[b"late"]).is_err());
        let disk = disk.restart();
        assert!(file.sync().is_err(), "a file of an earlier life");
        let found = sectors(&disk);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], 1, "synced and not touched");
        seen.insert(found);
    }
    // One after the other: [1 or 2], [1, 2 or 3], [1 or 3].
    assert_eq!(seen.len(), 2 * 3 * 2, "{seen:?}");
}

#[test]
fn a_kill_keeps_what_was_written() {
    let disk = durable_ones(1);
    let file = disk.open("f", Open::Write).unwrap();
    file.write_at(0, &[&[2; SECTOR]]).unwrap();
    disk.kill();
    let disk = disk.restart();
    assert_eq!(sectors(&disk), [2, 1, 1, 1]);
    disk.cut_power();
    let back: BTreeSet<u8> = (0..100)
        .map(|seed| {
            let disk = durable_ones(seed);
            disk.open("f", Open::Write).unwrap().write_at(0, &[&[2; SECTOR]]).unwrap();
            disk.kill();
            let disk = disk.restart();
            disk.cut_power();
            sectors(&disk.restart())[0]
        })
        .collect();
    assert_eq!(back.len(), 2, "what was not synced before a kill may go with the power later");
}

#[test]
fn the_operation_that_the_end_falls_into_is_done_in_part() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = durable_ones(seed);
        let file = disk.open("f", Open::Write).unwrap();
        disk.kill_at(disk.operations() + 2);
        file.write_at(0, &[&[2; SECTOR]]).unwrap();
        assert!(file.write_at(SECTOR as u64, &[&[3; 2 * SECTOR]]).is_err());
        assert!(disk.is_down());
        let content = disk.restart().content("f");
        assert_eq!(content[0], 2);
        seen.insert(content.iter().filter(|byte| **byte == 3).count());
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn names_are_durable_after_a_sync_of_the_directory_only() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = durable_ones(seed);
        disk.open("g", Open::Create).unwrap().sync().unwrap();
        disk.sync_directory().unwrap();
        disk.rename("f", "h").unwrap();
        disk.remove("g").unwrap();
        disk.open("i", Open::Create).unwrap();
        disk.cut_power();
        let disk = disk.restart();
        let names: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
        seen.insert(names);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_failed_sync_forgets_what_it_did_not_write() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = durable_ones(seed);
        let file = disk.open("f", Open::Write).unwrap();
        file.write_at(0, &[&[2; SECTOR]]).unwrap();
        disk.fail(Operation::Sync, 0, 1);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(sectors(&disk)[0], 2, "seen until the end");
        disk.cut_power();
        lost += usize::from(sectors(&disk.restart())[0] == 1);
    }
    assert!((1..100).contains(&lost), "{lost}");
}

#[test]
fn failures_come_when_they_were_ordered() {
    let disk = durable_ones(1);
    let file = disk.open("f", Open::Write).unwrap();
    disk.fail(Operation::Read, 1, 2);
    let mut buffer = [0; 8];
    let mut read = || file.read_at(0, &mut buffer).is_ok();
    assert_eq!([read(), read(), read(), read()], [true, false, false, true]);
    disk.spoil("f", 100, 101);
    assert!(file.read_at(92, &mut [0; 8]).is_ok());
    assert!(file.read_at(93, &mut [0; 8]).is_err());
}

#[test]
fn a_full_disk_takes_what_fits_and_what_has_room_already() {
    let disk = SimDisk::new(1);
    let file = disk.open("f", Open::Create).unwrap();
    file.allocate(2 * BLOCK).unwrap();
    disk.set_room(3 * BLOCK);
    assert_eq!(disk.free_bytes().unwrap(), BLOCK);
    let other = disk.open("g", Open::Create).unwrap();
    let error = other.write_at(0, &[&[1; 2 * BLOCK as usize]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), BLOCK);
    file.write_at(BLOCK, &[&[1; BLOCK as usize]]).unwrap();
    assert_eq!(file.allocate(3 * BLOCK).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove("g").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0, "it is still open");
    drop(other);
    assert_eq!(disk.free_bytes().unwrap(), BLOCK);
}

#[test]
fn damage_is_there_for_good() {
    let disk = durable_ones(1);
    disk.flip("f", 3, 0x80);
    disk.cut_short("f", 5);
    disk.plant("g", b"foreign");
    disk.cut_power();
    let disk = disk.restart();
    assert_eq!(disk.content("f"), [1, 1, 1, 0x81, 1]);
    assert_eq!(disk.content("g"), b"foreign");
    disk.lose("f");
    disk.cut_power();
    assert_eq!(disk.restart().files().len(), 1);
}
