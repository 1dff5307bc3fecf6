mod whole;
mod writing;

use super::filing::{End, News};
use super::signs::Shortage;
use super::*;

use std::io::{ErrorKind, Result};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use mio::Poll;

use crate::config::store::Fsync;
use crate::server::disk::{DirectoryDisk, DirectoryFile};
use crate::server::inbox::{self, Inbox, Input};
use crate::server::tests::Scratch;
use crate::store::Completion;
use crate::store::batch::Batch;
use crate::store::disk::{DiskFile, Open};
use crate::store::journal::Start as JournalStart;
use crate::store::record::{Record, Records, records};

// ---- a disk that does as it is told

#[derive(Debug, Default)]
struct Orders {
    write: Option<ErrorKind>,
    /// So many writes fail, and no more.
    writes_to_fail: u32,
    sync: Option<ErrorKind>,
    /// Syncs wait until this is false.
    hold_syncs: bool,
    syncs_begun: u64,
    syncs: u64,
}

#[derive(Debug, Clone)]
struct Faulty {
    disk: DirectoryDisk,
    orders: Arc<(Mutex<Orders>, Condvar)>,
}

#[derive(Debug)]
struct FaultyFile {
    file: DirectoryFile,
    orders: Arc<(Mutex<Orders>, Condvar)>,
}

impl Faulty {
    fn change(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.0.lock().unwrap());
        self.orders.1.notify_all();
    }

    fn syncs(&self) -> u64 {
        self.orders.0.lock().unwrap().syncs
    }

    /// Returns when so many syncs have begun.
    fn wait_for_sync(&self, count: u64) {
        drop(self.orders.1.wait_while(self.orders.0.lock().unwrap(), |orders| orders.syncs_begun < count).unwrap());
    }
}

impl Disk for Faulty {
    type File = FaultyFile;

    fn list(&self) -> Result<Vec<String>> {
        self.disk.list()
    }
    fn open(&self, name: &str, how: Open) -> Result<FaultyFile> {
        Ok(FaultyFile { file: self.disk.open(name, how)?, orders: self.orders.clone() })
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.disk.remove(name)
    }
    fn sync_directory(&self) -> Result<()> {
        self.disk.sync_directory()
    }
    fn free_bytes(&self) -> Result<u64> {
        self.disk.free_bytes()
    }
    fn total_bytes(&self) -> Result<u64> {
        self.disk.total_bytes()
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        self.file.read_at(at, buffer)
    }
    fn write_at(&self, at: u64, parts: &[&[u8]]) -> Result<()> {
        let mut orders = self.orders.0.lock().unwrap();
        if let Some(kind) = orders.write
            && orders.writes_to_fail > 0
        {
            orders.writes_to_fail -= 1;
            return Err(kind.into());
        }
        drop(orders);
        self.file.write_at(at, parts)
    }
    fn allocate(&self, len: u64) -> Result<()> {
        self.file.allocate(len)
    }
    fn truncate(&self, len: u64) -> Result<()> {
        self.file.truncate(len)
    }
    fn sync(&self) -> Result<()> {
        let mut orders = self.orders.0.lock().unwrap();
        orders.syncs_begun += 1;
        self.orders.1.notify_all();
        let mut orders = self.orders.1.wait_while(orders, |orders| orders.hold_syncs).unwrap();
        orders.syncs += 1;
        match orders.sync {
            Some(kind) => Err(kind.into()),
            None => self.file.sync(),
        }
    }
}

// ---- a stage with a writer and nobody else

const SHARDS: usize = 2;

struct Stage {
    disk: Faulty,
    intake: Arc<Intake>,
    filing: Arc<Filing>,
    inboxes: Vec<(Poll, Inbox)>,
    writer: Option<thread::JoinHandle<()>>,
    // Dropped last.
    _scratch: Scratch,
}

fn rules(fsync: Fsync) -> Rules {
    Rules {
        fsync,
        interval_ms: 60_000,
        batch_bytes_max: 4 << 20,
        keeper_backlog_bytes_max: 64 << 20,
        segments_spare_ms: 60_000,
    }
}

impl Stage {
    fn new(rules: Rules) -> Stage {
        let scratch = Scratch::new();
        let disk = Faulty { disk: DirectoryDisk::open(scratch.path()).unwrap(), orders: Arc::default() };
        let start = JournalStart {
            disk: disk.clone(),
            lane: [7; 16],
            term: 1,
            next_index: 1,
            next_number: 1,
            time_ms: 0,
            segment_bytes: 1 << 20,
            reserve: 1,
            spares_max: 1,
            free: vec![],
            taken: vec![],
            unsynced: vec![],
        };
        let journal = Journal::start(start).unwrap();
        let mut inlets = vec![];
        let mut inboxes = vec![];
        for _ in 0..SHARDS {
            let poll = Poll::new().unwrap();
            let (inlet, inbox) = inbox::open(poll.registry()).unwrap();
            inlets.push(inlet);
            inboxes.push((poll, inbox));
        }
        let (intake, filing) = (Arc::<Intake>::default(), Arc::<Filing>::default());
        let clock = Clock::start();
        let around = writer::Surroundings {
            intake: intake.clone(),
            filing: filing.clone(),
            signs: Arc::new(Signs::new(inlets.into())),
            watch: Arc::new(Watch::new(clock, STALLED_MS)),
            clock,
            wall: WallClock::start(),
        };
        let writer = Writer::new(journal, around, rules);
        let writer = Some(thread::spawn(move || writer.run()));
        Stage { disk, intake, filing, inboxes, writer, _scratch: scratch }
    }

    /// Submits a message with this text.
    fn submit(&self, from: u8, seq: u64, sync: bool, text: &str) {
        let mut records = Records::default();
        let fill = |place: &mut [u8]| place.copy_from_slice(text.as_bytes());
        records.message(crate::store::QueueId(1), seq, 0, text.len(), fill);
        self.intake.submit(Submission { from, seq, bytes: records.take(vec![]), sync });
    }

    /// The next thing that a shard is told.
    fn told(&mut self, shard: usize) -> String {
        loop {
            match self.inboxes[shard].1.take() {
                Some(Input::Completion(Completion::Durable { seq })) => return format!("durable {seq}"),
                Some(Input::Completion(Completion::DiskLow(low))) => return format!("low {low}"),
                Some(Input::Completion(Completion::Failed)) => return "failed".into(),
                Some(other) => panic!("{other:?}"),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Whether a shard was told nothing.
    fn is_silent(&mut self, shard: usize) -> bool {
        self.inboxes[shard].1.take().is_none()
    }

    fn next_news(&self) -> Option<News> {
        loop {
            let found = self.filing.look(Duration::from_millis(10), true);
            if found.news.is_some() || found.end.is_some() {
                return found.news;
            }
        }
    }

    fn next_batch(&self) -> Batch {
        loop {
            match self.next_news() {
                Some(News::Written(batch)) => return batch,
                Some(News::Synced(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Has the writer end. Returns what is left of its batches, as texts, and how it ended.
    fn stop(mut self) -> (Vec<String>, End) {
        self.intake.close();
        let mut said = vec![];
        let end = loop {
            let found = self.filing.look(Duration::from_millis(10), true);
            match (found.news, found.end) {
                (Some(News::Written(batch)), _) => said.extend(texts(&batch)),
                (Some(News::Synced(index)), _) => said.push(format!("synced {index}")),
                (None, Some(end)) => break end,
                (None, None) => {}
                (Some(News::Copy(_)), _) => panic!("nobody has asked"),
            }
        };
        self.writer.take().unwrap().join().unwrap();
        (said, end)
    }
}

fn texts(batch: &Batch) -> Vec<String> {
    let text = |submission: &Submission| -> Vec<String> {
        let all = records(&submission.bytes).map(|(_, record)| match record.unwrap() {
            Record::Messages(messages) => {
                messages.iter().map(|message| String::from_utf8_lossy(message.bytes).into_owned()).collect::<String>()
            }
            Record::Clean => "clean".into(),
            other => panic!("{other:?}"),
        });
        all.collect()
    };
    batch.submissions.iter().flat_map(text).collect()
}

#[test]
fn memory_comes_back_and_is_bounded() {
    let intake = Intake::default();
    let submit = |bytes: Vec<u8>| intake.submit(Submission { from: 0, seq: 0, bytes, sync: false });
    assert_eq!(submit(vec![]).capacity(), 0);
    intake.give_memory([vec![1; 100], vec![], vec![0; 5 << 20]]);
    let spare = submit(vec![]);
    assert!(spare.is_empty() && spare.capacity() >= 100);
    assert_eq!(submit(vec![]).capacity(), 0);
    intake.give_memory((0..100).map(|_| Vec::with_capacity(1 << 20)));
    let kept: usize = std::iter::from_fn(|| Some(submit(vec![]).capacity()).filter(|bytes| *bytes > 0)).sum();
    assert!((8 << 20..=16 << 20).contains(&kept), "{kept}");
}

#[test]
fn shards_learn_of_shortages_once() {
    let poll = Poll::new().unwrap();
    let (inlet, mut inbox) = inbox::open(poll.registry()).unwrap();
    let signs = Signs::new([inlet].into());
    let mut told = |what, is_short| {
        signs.short(what, is_short);
        match inbox.take() {
            Some(Input::Completion(Completion::DiskLow(low))) => Some(low),
            None => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(Shortage::Full, false), None);
    assert_eq!(told(Shortage::Full, true), Some(true));
    assert_eq!(told(Shortage::BelowLimit, true), None);
    assert_eq!(told(Shortage::Full, false), None);
    assert_eq!(told(Shortage::BelowLimit, false), Some(false));
    assert_eq!(told(Shortage::BelowLimit, false), None);
}

#[test]
fn a_stalled_disk_is_seen_by_others() {
    let clock = Clock::start();
    let watch = Watch::new(clock, 0);
    assert!(!watch.look());
    watch.during(|| assert!(watch.look() && watch.look()));
    assert!(!watch.look());
    let patient = Watch::new(clock, STALLED_MS);
    patient.during(|| assert!(!patient.look()));
}
