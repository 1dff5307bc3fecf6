use super::*;

use crate::server::disk::DirectoryDisk;
use crate::server::tests::Scratch;
use crate::store::disk::{DiskFile, Open};
use crate::store::open::open;
use crate::store::record::Records;
use crate::store::{QueueId, Submission};

fn run_on(command: StoreCommand, directory: &Path) -> Result<(String, bool), String> {
    run(&StoreArguments { command, directory: directory.into() })
}

/// A directory with a queue and a message in it.
fn written(path: &Path) {
    let directory = DataDirectory::take(path).unwrap();
    let mut opened = open(directory.disk.clone(), &Limits::default(), [1; 16], 0).unwrap();
    let mut records = Records::default();
    records.defined(QueueId(300), b"a queue");
    records.message(QueueId(300), 0, 0, 5, |place| place.copy_from_slice(b"hello"));
    let bytes = records.take(vec![]);
    opened.journal.write(0, vec![Submission { bytes, ..Submission::default() }]).unwrap();
    opened.journal.sync().unwrap();
    // So that it is known to be synced.
    opened.journal.write(0, vec![]).unwrap();
}

fn flip(path: &Path, at: u64) {
    let file = DirectoryDisk::open(path).unwrap().open("segment-00000000", Open::Write).unwrap();
    let mut byte = [0];
    assert_eq!(file.read_at(at, &mut byte).unwrap(), 1);
    file.write_at(at, &[&[byte[0] ^ 1]]).unwrap();
}

#[test]
fn a_directory_is_looked_at_and_mended() {
    let scratch = Scratch::new();
    let path = scratch.path().join("data");
    written(&path);
    let (text, is_well) = run_on(StoreCommand::Inspect, &path).unwrap();
    assert!(is_well && text.contains("messages: 1 in 1 queues"), "{text}");
    let (text, is_well) = run_on(StoreCommand::Repair, &path).unwrap();
    assert!(is_well && text.contains("nothing to repair"), "{text}");
    // A byte of the message: 4096 for the segment, 64 for the batch, 31 for the definition, 40 and 8 in front of it.
    flip(&path, 4096 + 64 + 31 + 48 + 2);
    let (text, is_well) = run_on(StoreCommand::Inspect, &path).unwrap();
    assert!(!is_well && text.contains("batch 1 is damaged (lost 1 message)"), "{text}");
    let (text, is_well) = run_on(StoreCommand::Repair, &path).unwrap();
    assert!(is_well && text.contains("messages given up: 1"), "{text}");
    assert!(path.join("damaged-segment-00000000").exists(), "{text}");
    let (text, is_well) = run_on(StoreCommand::Inspect, &path).unwrap();
    assert!(is_well && text.contains("definitions: 1") && text.contains("messages: 0 in 0 queues"), "{text}");
}

#[test]
fn what_cannot_be_mended_is_said() {
    let scratch = Scratch::new();
    let path = scratch.path().join("data");
    for command in [StoreCommand::Inspect, StoreCommand::Repair] {
        let error = run_on(command, &path).unwrap_err();
        assert!(error.contains("does not exist"), "{error}");
        let (text, is_well) = run_on(command, scratch.path()).unwrap();
        assert!(is_well && text.starts_with("There is no store"), "{text}");
    }
    assert!(!scratch.path().join("lock").exists(), "a directory of something else stays as it is");
    written(&path);
    let _held = DataDirectory::take(&path).unwrap();
    assert!(run_on(StoreCommand::Inspect, &path).is_ok());
    let error = run_on(StoreCommand::Repair, &path).unwrap_err();
    assert!(error.contains("is in use"), "{error}");
}
