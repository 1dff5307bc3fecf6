use super::*;
use crate::store::disk::memory::MemoryDisk;
use std::collections::BTreeMap;

const LANE: LaneId = [3; 16];

fn limits() -> Limits {
    Limits { segment_bytes: 32 << 10, segment_bytes_min: 32 << 10, checkpoint_bytes: 96 << 10, ..Limits::default() }
}

fn body(queue: u64, position: u64) -> Vec<u8> {
    let len = 100 + (position * 37 + queue * 11) % 900;
    (0..len).map(|at| (at * at + position * 7 + queue) as u8).collect()
}

/// The messages of a store, by queue and position.
type Contents = BTreeMap<(u64, u64), Vec<u8>>;

struct Store {
    journal: Journal<MemoryDisk>,
    keeper: Keeper<MemoryDisk>,
    now_ms: u64,
}

impl Store {
    fn write(&mut self, mut records: Records) {
        let submission = Submission { bytes: records.take(vec![]), ..Submission::default() };
        let batch = self.journal.write(self.now_ms, vec![submission]).unwrap();
        self.keeper.apply(batch);
        self.keeper.synced(self.journal.sync().unwrap());
        self.now_ms += 10;
        while self.keeper.step(self.now_ms) == Step::More {
            while let Some(submission) = self.keeper.next_submission() {
                let batch = self.journal.write(self.now_ms, vec![submission]).unwrap();
                self.keeper.apply(batch);
            }
            self.journal.give(self.keeper.freed());
        }
    }
}

/// Three queues with messages in many segments, some of them settled, and two checkpoints with much behind them.
fn written() -> (MemoryDisk, Contents) {
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), &limits(), LANE, 1000).unwrap();
    let mut store = Store { journal: opened.journal, keeper: opened.keeper, now_ms: 1000 };
    let mut records = Records::default();
    (300..303).for_each(|queue| records.defined(QueueId(queue), b"a queue"));
    records.bound(QueueId(1), QueueId(300), b"a binding");
    store.write(records);
    let mut contents = Contents::new();
    for position in 0..200 {
        let mut records = Records::default();
        for queue in 300..303 {
            let body = body(queue, position);
            records.message(QueueId(queue), position, 0, body.len(), |place| place.copy_from_slice(&body));
            contents.insert((queue, position), body);
        }
        if position % 3 == 2 {
            records.settled(QueueId(301), position - 2, position - 1);
            (position - 2..position).for_each(|position| _ = contents.remove(&(301, position)));
        }
        store.write(records);
    }
    // So that all else is known to be synced.
    store.journal.write(store.now_ms, vec![]).unwrap();
    (disk, contents)
}

/// Everything in a store, and what was found wrong.
fn read(disk: &MemoryDisk) -> (Contents, Report) {
    let opened = open(disk.clone(), &limits(), LANE, 1000).unwrap();
    let (mut keeper, mut found, mut now_ms) = (opened.keeper, Contents::new(), 1000);
    for row in &opened.contents.queues {
        let mut from = row.first;
        while from < row.end {
            let (queue, to, bytes_max, count_max) = (row.id, row.end, 64 << 10, 1000);
            keeper.fetch(Fetch { queue, from, to, bytes_max, count_max, ..Fetch::default() });
            // A disk that does not give something is asked again, a second apart.
            let answer = loop {
                if let Some(answer) = keeper.next_answer() {
                    break answer;
                }
                now_ms += RETRY_MS;
                assert!(now_ms < 20_000);
                keeper.step(now_ms);
            };
            assert!(answer.next > from);
            from = answer.next;
            for message in &answer.messages {
                let bytes = &answer.bytes[message.at as usize..][..message.len as usize];
                found.insert((queue.0, message.position), bytes.to_vec());
            }
        }
    }
    let mut report = opened.report;
    report.append(keeper.report());
    (found, report)
}

/// Repairs a damaged store, and looks at what is left.
fn check(disk: &MemoryDisk, contents: &Contents, what: &str) -> Repair {
    let before = disk.copy();
    let (found, _) = read(&before.copy());
    let repair = repair(disk, &limits(), LANE, 5000).unwrap();
    assert!(repair.left.findings.is_empty(), "{what}: {repair}");
    let after = inspect(disk).unwrap();
    assert!(after.report.findings.is_empty() && after.damaged.is_empty(), "{what}: {after}");
    let (kept, report) = read(disk);
    assert!(report.findings.is_empty(), "{what}: a start says {report}");
    assert!(kept.iter().all(|(place, body)| contents.get(place).is_none_or(|sound| sound == body)), "{what}: altered");
    assert!(kept.len() >= found.len(), "{what}: {} instead of {} are left\n{repair}", kept.len(), found.len());
    let gone = contents.keys().filter(|place| !kept.contains_key(place)).count() as u64;
    let Lost { files, batches, records, messages } = repair.found.lost;
    let unknown = files + batches + records + messages;
    assert!(gone == 0 || repair.messages_lost + unknown > 0, "{what}: {gone} lost, and nothing said\n{repair}");
    assert!(repair.to_string().contains("nothing is wrong any more"), "{what}: {repair}");
    repair
}

#[test]
fn what_is_sound_is_left_alone() {
    for disk in [MemoryDisk::default(), written().0] {
        let before: Vec<_> = disk.names().iter().map(|name| disk.bytes(name)).collect();
        let view = inspect(&disk).unwrap();
        assert!(view.report.findings.is_empty(), "{view}");
        let repair = repair(&disk, &limits(), LANE, 5000).unwrap();
        assert_eq!(repair.to_string(), "There is nothing to repair.\n");
        let after: Vec<_> = disk.names().iter().map(|name| disk.bytes(name)).collect();
        assert!(before == after);
    }
}

#[test]
fn an_inspection_says_what_is_there() {
    let (disk, contents) = written();
    let view = inspect(&disk).unwrap();
    assert_eq!((view.lane, view.definitions, view.bindings, view.queues), (Some(LANE), 3, 1, 3));
    assert_eq!(view.messages, contents.len() as u64);
    assert!(view.segments.len() > 4 && view.checkpoints.iter().all(Option::is_some), "{view}");
    assert!(view.segments.iter().any(|segment| segment.index.is_some()), "{view}");
    let bodies: u64 = view.segments.iter().map(|segment| segment.records.bodies - segment.records.copies).sum();
    assert!(bodies >= contents.len() as u64);
    let live: u64 = view.segments.iter().map(|segment| segment.live).sum();
    assert_eq!(live, contents.len() as u64);
    let text = view.to_string();
    for line in ["lane: 0303", "checkpoint-a: generation", "segment-00000000: segment", "Every checksum is right."] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(inspect(&MemoryDisk::default()).unwrap().to_string().starts_with("There is no store"));
}

#[test]
fn a_changed_byte_anywhere_is_found_or_does_not_matter() {
    let (disk, contents) = written();
    let mut damaged = 0;
    for name in disk.names() {
        let len = disk.bytes(&name).unwrap().len();
        for at in (0..len).step_by(1021) {
            let disk = disk.copy();
            disk.edit(&name, |bytes| bytes[at] ^= 0x24);
            let what = format!("{name} at {at}");
            let view = inspect(&disk).unwrap();
            if view.report.findings.is_empty() {
                // It is behind the last batch, or nobody needs it.
                let (found, report) = read(&disk);
                assert!(found == contents && report.findings.is_empty(), "{what}: {report}");
                continue;
            }
            damaged += 1;
            let repair = check(&disk, &contents, &what);
            if repair.found.lost == Lost::NOTHING {
                assert_eq!(repair.messages_lost, 0, "{what}: {repair}");
                assert_eq!(read(&disk).0, contents, "{what}: {repair}");
            }
        }
    }
    assert!(damaged > 100, "{damaged}");
}

#[test]
fn files_may_be_missing_empty_cut_foreign_or_garbage() {
    let (disk, contents) = written();
    let names = disk.names();
    type Change = fn(&MemoryDisk, &str);
    let changes: [(&str, Change); 7] = [
        ("missing", |disk, name| disk.remove(name).unwrap()),
        ("zero-length", |disk, name| disk.edit(name, Vec::clear)),
        ("cut in the header", |disk, name| disk.edit(name, |bytes| bytes.truncate(100))),
        ("cut in the middle", |disk, name| disk.edit(name, |bytes| bytes.truncate(bytes.len() / 2))),
        ("garbage", |disk, name| disk.edit(name, |bytes| bytes.fill(0x55))),
        ("garbage in the middle", |disk, name| {
            disk.edit(name, |bytes| {
                let len = bytes.len();
                bytes[len / 4..len / 2].fill(0x55);
            });
        }),
        ("without a header", |disk, name| {
            disk.edit(name, |bytes| {
                let len = bytes.len().min(4096);
                bytes[..len].fill(0);
            });
        }),
    ];
    // Nothing says that there was a newest segment, if there is no trace of it.
    let newest = inspect(&disk).unwrap().segments.last().unwrap().slot.name();
    let without_trace = ["missing", "zero-length"];
    for (what, change) in changes {
        for name in names.iter().filter(|name| **name != newest || !without_trace.contains(&what)) {
            let disk = disk.copy();
            change(&disk, name);
            let what = format!("{name} {what}");
            if inspect(&disk).unwrap().report.findings.is_empty() {
                let (found, report) = read(&disk);
                assert!(found == contents && report.findings.is_empty(), "{what}: {report}");
            } else {
                check(&disk, &contents, &what);
            }
        }
    }
}

#[test]
fn what_belongs_to_somebody_else_is_set_aside() {
    let (disk, contents) = written();
    let other = MemoryDisk::default();
    drop(open(other.clone(), &limits(), [9; 16], 1000).unwrap());
    let foreign = other.bytes("segment-00000000").unwrap();
    disk.edit("segment-000000f0", |bytes| *bytes = foreign.clone());
    disk.edit("segment-000000f1", |bytes| *bytes = b"garbage".to_vec());
    let repair = check(&disk, &contents, "foreign");
    assert_eq!(repair.messages_lost, 0);
    assert_eq!(read(&disk).0, contents);
    assert_eq!(disk.bytes("damaged-segment-000000f0"), Some(foreign));
    assert_eq!(repair.set_aside.len(), 2, "{repair}");
}

#[test]
fn both_checkpoints_bad() {
    let (disk, contents) = written();
    for name in NAMES {
        disk.edit(name, |bytes| bytes[5000] ^= 1);
    }
    let repair = check(&disk, &contents, "both checkpoints");
    assert_eq!(repair.set_aside, ["damaged-checkpoint-a", "damaged-checkpoint-b"]);
    // What was settled may be back, what was not is there.
    let (found, _) = read(&disk);
    assert!(contents.iter().all(|(place, body)| found.get(place) == Some(body)));
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let (disk, contents) = written();
    disk.edit("segment-00000001", |bytes| bytes[9000] ^= 1);
    assert!(!inspect(&disk).unwrap().report.findings.is_empty());
    disk.set_total(1);
    let error = repair(&disk, &limits(), LANE, 5000).unwrap_err();
    assert!(matches!(error, OpenError::Disk(_)), "{error}");
    disk.set_total(1 << 30);
    check(&disk, &contents, "after a full disk");
}
