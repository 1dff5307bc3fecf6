//! A backlog on the disk, read back: the journal and the keeper alone, on one thread, in a scratch folder.
//!
//! ```sh
//! cargo bench --bench store -- MESSAGES BYTES QUEUES
//! ```
//!
//! Each message goes to the next queue. They are read one queue after the other, and all queues in turn, a fetch each;
//! with the files in the memory of the system and without; as they were written, and after the keeper had time.

// About a real disk and how long it takes, and it says so.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use leveret::limits::Limits;
use leveret::server::disk::DirectoryDisk;
use leveret::store::journal::Journal;
use leveret::store::keeper::{Keeper, Step};
use leveret::store::open::open;
use leveret::store::record::Records;
use leveret::store::{Fetch, QueueId, Submission};
use rustix::fs::{Advice, fadvise};

/// Messages of one submission.
const AT_ONCE: u64 = 1000;
/// As a shard asks.
const COUNT_MAX: usize = 4096;

struct Bench {
    path: PathBuf,
    limits: Limits,
    journal: Journal<DirectoryDisk>,
    keeper: Keeper<DirectoryDisk>,
    queues: u64,
    each: u64,
    now_ms: u64,
    buffer: Vec<u8>,
}

fn id(queue: u64) -> QueueId {
    QueueId(1 << 32 | queue)
}

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

impl Bench {
    fn new(path: &Path, queues: u64, each: u64) -> Bench {
        fs::create_dir_all(path).unwrap();
        let limits = Limits::default();
        let opened = open(DirectoryDisk::open(path).unwrap(), &limits, [1; 16], 0).unwrap();
        let (journal, keeper) = (opened.journal, opened.keeper);
        Bench { path: path.into(), limits, journal, keeper, queues, each, now_ms: 0, buffer: vec![] }
    }

    fn write(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut submissions = vec![Submission { from: 0, seq: 0, bytes, sync: false }];
        submissions.retain(|submission| !submission.bytes.is_empty());
        submissions.extend(std::iter::from_fn(|| self.keeper.next_submission()));
        let mut spare = vec![];
        if !submissions.is_empty() {
            let batch = self.journal.write(self.now_ms, submissions).unwrap();
            spare = self.keeper.apply(batch);
        }
        self.journal.give(self.keeper.freed());
        spare.pop().unwrap_or_default()
    }

    fn sync(&mut self) {
        let index = self.journal.sync().unwrap();
        self.keeper.synced(index);
    }

    fn fill(&mut self, len: usize) {
        let (mut records, mut spare) = (Records::default(), vec![]);
        for number in 0..self.queues * self.each {
            let (queue, position) = (id(number % self.queues), number / self.queues);
            records.message(queue, position, 0, len, |to| to.fill(number as u8));
            if number % AT_ONCE == AT_ONCE - 1 {
                spare = self.write(records.take(spare));
            }
            if number % (64 * AT_ONCE) == 0 {
                self.now_ms += 10;
                self.sync();
                self.keeper.step(self.now_ms);
            }
        }
        self.write(records.take(spare));
        self.sync();
    }

    /// Gives the keeper time. Returns how long its longest step took, in milliseconds.
    fn rest(&mut self) -> f64 {
        let mut longest = 0.0_f64;
        loop {
            let begun = Instant::now();
            let step = self.keeper.step(self.now_ms);
            longest = longest.max(begun.elapsed().as_secs_f64() * 1000.0);
            match step {
                Step::More => {
                    self.write(vec![]);
                    self.sync();
                }
                Step::Idle { again_at_ms: Some(at) } => self.now_ms = at,
                Step::Idle { .. } => return longest,
            }
        }
    }

    fn read_some(&mut self, queue: u64, from: u64) -> u64 {
        let fetch = Fetch {
            shard: 0,
            tag: 0,
            queue: id(queue),
            from,
            to: self.each,
            bytes_max: self.limits.fetch_bytes_max,
            count_max: COUNT_MAX,
            only: vec![],
            buffer: std::mem::take(&mut self.buffer),
        };
        self.keeper.fetch(fetch);
        let answer = self.keeper.next_answer().expect("an answer");
        assert_eq!(answer.messages.len() as u64, answer.next - from);
        self.buffer = answer.bytes;
        answer.next
    }

    fn one_by_one(&mut self, queues: u64) -> u64 {
        for queue in 0..queues {
            let mut from = 0;
            while from < self.each {
                from = self.read_some(queue, from);
            }
        }
        queues * self.each
    }

    fn in_turn(&mut self, _: u64) -> u64 {
        let mut from = vec![0; self.queues as usize];
        while from.iter().any(|from| *from < self.each) {
            for (queue, from) in (0..).zip(&mut from) {
                if *from < self.each {
                    *from = self.read_some(queue, *from);
                }
            }
        }
        self.queues * self.each
    }

    /// Has the system forget the files.
    fn forget(&self) {
        for entry in fs::read_dir(&self.path).unwrap() {
            let file = File::open(entry.unwrap().path()).unwrap();
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }

    fn measure(&mut self, what: &str, is_cold: bool, read: impl FnOnce(&mut Bench) -> u64) {
        if is_cold {
            self.forget();
        }
        let begun = Instant::now();
        let count = read(self);
        let seconds = begun.elapsed().as_secs_f64();
        let temper = if is_cold { "cold" } else { "warm" };
        println!("  {what:<16} {temper} {:>12.0} messages/s {:>8.2} s", count as f64 / seconds, seconds);
    }

    fn measure_all(&mut self) {
        let queues = self.queues;
        self.measure("one by one", false, |bench| bench.one_by_one(queues));
        self.measure("in turn", false, |bench| bench.in_turn(0));
        // As many as take about as long.
        self.measure("a few one by one", true, |bench| bench.one_by_one(queues.div_ceil(100)));
        self.measure("one by one", true, |bench| bench.one_by_one(queues));
        self.measure("in turn", true, |bench| bench.in_turn(0));
    }
}

fn main() {
    let arguments: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [messages, bytes, queues] = arguments.try_into().unwrap_or([1_000_000, 16, 1000]);
    let path = std::env::temp_dir().join(format!("leveret-bench-{}", std::process::id()));
    let mut bench = Bench::new(&path, queues, messages / queues);
    let (begun, before) = (Instant::now(), written());
    bench.fill(bytes as usize);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{messages} messages of {bytes} B in {queues} queues");
    let each = |written: u64| written as f64 / messages as f64;
    println!("  fill {:.0} messages/s, {:.1} B written for each", messages as f64 / seconds, each(written() - before));
    println!("as they were written");
    bench.measure_all();
    let begun = Instant::now();
    let longest = bench.rest();
    let counts = bench.keeper.counts();
    let seconds = begun.elapsed().as_secs_f64();
    println!("after {seconds:.2} s of upkeep, in steps of at most {longest:.0} ms, {} copied", counts.copied);
    println!("  {:.1} B written for each, {} segments", each(written() - before), counts.segments);
    bench.measure_all();
    drop(bench);
    fs::remove_dir_all(&path).unwrap();
}
