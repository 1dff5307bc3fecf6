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
        if let Some(kind) = orders.write {
            if orders.writes_to_fail > 0 {
                orders.writes_to_fail -= 1;
                return Err(kind.into());
            }
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
    Rules { fsync, interval_ms: 60_000, batch_bytes_max: 4 << 20, keeper_backlog_bytes_max: 64 << 20 }
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
            let found = self.filing.look(Duration::from_millis(10));
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
            let found = self.filing.look(Duration::from_millis(10));
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
fn what_is_to_be_durable_is_told_when_it_is() {
    let mut stage = Stage::new(rules(Fsync::Always));
    let begun = stage.disk.syncs();
    stage.submit(0, 5, true, "a");
    assert_eq!(stage.told(0), "durable 5");
    assert!(stage.disk.syncs() > begun);
    assert!(stage.is_silent(1), "it has submitted nothing");
    stage.disk.change(|orders| orders.hold_syncs = true);
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 6, false, "b");
    stage.submit(1, 1, true, "c");
    stage.disk.wait_for_sync(begun + 1);
    assert!(stage.is_silent(0) && stage.is_silent(1), "the sync has not ended");
    // What comes meanwhile gathers for the next.
    for (from, seq, text) in [(0, 7, "d"), (1, 2, "e"), (0, 8, "f")] {
        stage.submit(from, seq, true, text);
    }
    stage.disk.change(|orders| orders.hold_syncs = false);
    assert_eq!(stage.told(0), "durable 6");
    assert_eq!(stage.told(1), "durable 1");
    assert_eq!(stage.told(0), "durable 8");
    assert_eq!(stage.told(1), "durable 2");
    let (said, end) = stage.stop();
    // b and c may have been one batch or two.
    let said: Vec<_> = said.iter().map(|one| &**one).filter(|one| !one.starts_with("synced")).collect();
    assert_eq!((&*said.concat(), end), ("abcdefclean", End::Clean));
}

#[test]
fn what_gathers_during_a_sync_is_one_batch_in_one_order() {
    const EACH: u64 = 300;
    let stage = Stage::new(rules(Fsync::Always));
    stage.disk.change(|orders| orders.hold_syncs = true);
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 1, true, "-");
    stage.disk.wait_for_sync(begun + 1);
    let submitters: Vec<_> = (0..SHARDS as u8)
        .map(|from| {
            let intake = stage.intake.clone();
            thread::spawn(move || {
                for seq in 2..2 + EACH {
                    intake.submit(Submission { from, seq, bytes: vec![], sync: seq % 3 == 0 });
                }
            })
        })
        .collect();
    submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
    stage.disk.change(|orders| orders.hold_syncs = false);
    assert_eq!(texts(&stage.next_batch()), ["-"]);
    let batch = stage.next_batch();
    assert_eq!(batch.submissions.len() as u64, SHARDS as u64 * EACH);
    for shard in 0..SHARDS as u8 {
        let own: Vec<u64> = batch.submissions.iter().filter(|one| one.from == shard).map(|one| one.seq).collect();
        assert!(own.iter().copied().eq(2..2 + EACH), "{own:?}");
    }
    assert_eq!(stage.stop().1, End::Clean);
}

#[test]
fn batches_are_no_larger_than_they_may_be() {
    let stage = Stage::new(Rules { batch_bytes_max: 100, ..rules(Fsync::Never) });
    for (seq, bytes) in [(1, 40), (2, 60), (3, 1), (4, 500), (5, 99)] {
        stage.intake.submit(Submission { from: 0, seq, bytes: vec![0; bytes], sync: false });
    }
    let mut next = 1;
    while next <= 5 {
        let batch = stage.next_batch();
        assert!(batch.submissions.len() == 1 || batch.payload_bytes() <= 100, "{batch:?}");
        for submission in batch.submissions {
            assert_eq!(submission.seq, next);
            next += 1;
        }
    }
    assert_eq!(stage.stop().1, End::Clean);
}

#[test]
fn without_syncs_what_was_written_is_told_at_once() {
    for fsync in [Fsync::Interval, Fsync::Never] {
        let mut stage = Stage::new(rules(fsync));
        stage.disk.change(|orders| orders.hold_syncs = true);
        let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
        for seq in 1..10 {
            stage.submit(1, seq, true, "x");
            assert_eq!(stage.told(1), format!("durable {seq}"));
        }
        assert_eq!(stage.disk.orders.0.lock().unwrap().syncs_begun, begun, "{fsync:?}");
        stage.disk.change(|orders| orders.hold_syncs = false);
        let (said, end) = stage.stop();
        assert_eq!(end, End::Clean);
        assert!(said.last().unwrap().starts_with("synced "), "the stop makes it durable: {said:?}");
    }
    let mut stage = Stage::new(Rules { interval_ms: 1, ..rules(Fsync::Interval) });
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 1, false, "x");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.wait_for_sync(begun + 1);
}

#[test]
fn a_full_disk_stops_publishers_and_loses_nothing() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(ErrorKind::StorageFull), u32::MAX));
    for seq in 1..=5 {
        stage.submit(0, seq, true, &seq.to_string());
    }
    assert_eq!(stage.told(0), "low true");
    assert_eq!(stage.told(1), "low true");
    stage.submit(1, 1, true, "6");
    assert!(stage.is_silent(0));
    stage.disk.change(|orders| orders.writes_to_fail = 2);
    let mut told = vec![stage.told(0)];
    while told.last().unwrap() != "durable 5" {
        told.push(stage.told(0));
    }
    assert!(told.contains(&"low false".to_owned()), "{told:?}");
    let (said, end) = stage.stop();
    let said: Vec<_> = said.iter().map(|one| &**one).filter(|one| !one.starts_with("synced")).collect();
    assert_eq!((&*said.concat(), end), ("123456clean", End::Clean));
}

#[test]
fn a_stop_does_not_wait_for_a_full_disk() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(ErrorKind::StorageFull), u32::MAX));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "low true");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert!(!said.contains(&"clean".to_owned()));
}

#[test]
fn a_write_that_fails_is_tried_again_a_few_times() {
    let mut stage = Stage::new(rules(Fsync::Always));
    let io = ErrorKind::Other;
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(io), 2));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(io), u32::MAX));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "failed");
    assert_eq!(stage.told(1), "failed");
    stage.disk.change(|orders| orders.write = None);
    stage.submit(0, 3, true, "c");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert_eq!(said.concat(), "asynced 1", "nothing is written behind a gap");
}

#[test]
fn after_a_failed_sync_nothing_is_confirmed() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| orders.sync = Some(ErrorKind::Other));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "failed");
    assert_eq!(stage.told(1), "failed");
    let syncs = stage.disk.syncs();
    stage.disk.change(|orders| orders.sync = None);
    stage.submit(0, 3, true, "c");
    stage.submit(1, 1, true, "d");
    while stage.intake.has_something() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(stage.is_silent(0) && stage.is_silent(1));
    assert_eq!(stage.disk.syncs(), syncs, "a second one would say that all is well");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert!(!said.contains(&"c".to_owned()) && !said.contains(&"clean".to_owned()), "{said:?}");
}

#[test]
fn the_journal_waits_for_a_keeper_that_is_far_behind() {
    let mut stage = Stage::new(Rules { keeper_backlog_bytes_max: 100, batch_bytes_max: 60, ..rules(Fsync::Never) });
    for seq in 1..=10 {
        stage.intake.submit(Submission { from: 0, seq, bytes: vec![0; 60], sync: true });
    }
    // Two batches are more than the keeper may have; the third waits.
    while stage.told(0) != "durable 2" {}
    thread::sleep(Duration::from_millis(20));
    assert!(stage.is_silent(0));
    assert_eq!(stage.next_batch().submissions[0].seq, 1);
    while stage.told(0) != "durable 3" {}
    // One that is gone is waited for no longer.
    stage.filing.abandon();
    while stage.told(0) != "durable 10" {}
    stage.intake.close();
    stage.writer.take().unwrap().join().unwrap();
}

#[test]
fn after_a_pause_a_mark_says_what_is_durable() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    assert_eq!(texts(&stage.next_batch()), ["a"]);
    let mark = stage.next_batch();
    assert!(mark.submissions.is_empty());
    // It is made durable too, for checkpoints, and is not marked again.
    let synced = loop {
        match stage.next_news() {
            Some(News::Synced(index)) => break index,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(synced, mark.index);
    assert_eq!(stage.stop(), (vec!["clean".into(), format!("synced {}", mark.index + 1)], End::Clean));
}

#[test]
fn copies_are_not_wanted_at_the_end() {
    let stage = Stage::new(rules(Fsync::Always));
    stage.intake.close();
    let copy = Submission { from: crate::store::KEEPER, seq: 1, bytes: vec![1; 10], sync: false };
    stage.intake.submit(copy);
    let (said, end) = stage.stop();
    assert_eq!((said.join(" "), end), ("clean synced 1".into(), End::Clean));
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

// ---- all threads, with a store

struct Whole {
    lane: Option<Lane>,
    inlet: LaneInlet,
    inbox: (Poll, Inbox),
}

impl Whole {
    fn open(path: &std::path::Path) -> (Whole, crate::store::Contents) {
        let disk = DirectoryDisk::open(path).unwrap();
        let wall = WallClock::start();
        let limits = crate::limits::Limits::default();
        let opened = crate::store::open::open(disk.clone(), &limits, [7; 16], wall.read()).unwrap();
        assert!(opened.report.is_sound(), "{}", opened.report);
        let poll = Poll::new().unwrap();
        let (inlet, inbox) = inbox::open(poll.registry()).unwrap();
        let lane = Lane::start(Start {
            journal: opened.journal,
            keeper: opened.keeper,
            disk,
            path: path.into(),
            target: |path| Ok((DirectoryDisk::open(path).map_err(|error| error.to_string())?, None)),
            rules: rules(Fsync::Always),
            disk_free_limit: 1,
            inlets: [inlet].into(),
            clock: Clock::start(),
            wall,
        });
        let lane = lane.unwrap();
        (Whole { inlet: lane.inlet(), lane: Some(lane), inbox: (poll, inbox) }, opened.contents)
    }

    fn told(&mut self) -> Completion {
        loop {
            match self.inbox.1.take() {
                Some(Input::Completion(completion)) => return completion,
                Some(other) => panic!("{other:?}"),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn submit(&mut self, seq: u64, fill: impl FnOnce(&mut Records)) {
        let mut records = Records::default();
        fill(&mut records);
        self.inlet.submit(Submission { from: 0, seq, bytes: records.take(vec![]), sync: true });
        assert!(matches!(self.told(), Completion::Durable { seq: durable } if durable == seq));
    }

    /// The messages of the queue from a position on.
    fn fetch(&mut self, from: u64, to: u64) -> Vec<String> {
        let (bytes_max, count_max) = (1 << 20, 100);
        self.inlet.fetch(Fetch { shard: 0, tag: 9, queue: QUEUE, from, to, bytes_max, count_max, buffer: vec![] });
        let Completion::Fetched(fetched) = self.told() else { panic!("no messages") };
        assert_eq!((fetched.tag, fetched.queue, fetched.lost), (9, QUEUE, 0));
        let text = |message: &crate::store::FetchedMessage| {
            let at = message.at as usize;
            String::from_utf8(fetched.bytes[at..at + message.len as usize].to_vec()).unwrap()
        };
        fetched.messages.iter().map(text).collect()
    }
}

const QUEUE: crate::store::QueueId = crate::store::QueueId(1 << 40 | 1);

#[test]
fn the_threads_run_a_store_copy_it_and_close_it_in_order() {
    let (scratch, copy) = (Scratch::new(), Scratch::new());
    let (mut whole, contents) = Whole::open(scratch.path());
    assert!(contents.queues.is_empty());
    whole.submit(1, |records| {
        records.defined(QUEUE, b"a queue");
        for (position, body) in ["a", "bc", "d"].iter().enumerate() {
            let fill = |place: &mut [u8]| place.copy_from_slice(body.as_bytes());
            records.message(QUEUE, position as u64, 0, body.len(), fill);
        }
    });
    assert_eq!(whole.fetch(0, 3), ["a", "bc", "d"]);
    whole.submit(2, |records| records.settled(QUEUE, 0, 0));
    assert_eq!(whole.fetch(0, 3), ["bc", "d"]);
    let outcome = whole.inlet.copy(copy.path().into()).recv().unwrap().unwrap();
    assert_eq!(outcome, format!("copied to {}: messages: 2, queues and exchanges: 1", copy.path().display()));
    let again = whole.inlet.copy(copy.path().into()).recv().unwrap().unwrap_err();
    assert!(again.starts_with(&format!("cannot copy to {}: ", copy.path().display())), "{again}");
    whole.submit(3, |records| records.settled(QUEUE, 1, 1));
    drop(whole.lane.take());

    for (path, ready, first, clean) in [(scratch.path(), 1, 2, true), (copy.path(), 2, 1, false)] {
        let (mut whole, contents) = Whole::open(path);
        assert_eq!((contents.definitions.len(), contents.clean), (1, clean));
        let row = contents.queues[0];
        assert_eq!((row.id, row.first, row.end, row.ready), (QUEUE, first, 3, ready));
        assert_eq!(whole.fetch(first, 3).last().unwrap(), "d");
        drop(whole.lane.take());
    }
}
