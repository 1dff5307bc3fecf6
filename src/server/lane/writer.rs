//! The journal's thread: writes what gathered from all shards, syncs it, and tells them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::filing::{End, Filing};
use super::intake::Intake;
use super::signs::{Shortage, Signs, Watch};
use crate::config::store::Fsync;
use crate::server::clock::{Clock, WallClock};
use crate::server::disk::is_full;
use crate::store::disk::Disk;
use crate::store::journal::Journal;
use crate::store::record::Records;
use crate::store::{Completion, KEEPER, Submission};
use crate::time::Now;

/// Pause between two attempts to write, in milliseconds.
const AGAIN_MS: u64 = 100;
/// So many attempts in a row fail for another reason than a full disk, and the journal has failed.
const ATTEMPTS_MAX: u32 = 5;
/// So many attempts are made on a full disk when the server stops.
const LAST_ATTEMPTS_MAX: u32 = 3;
/// What nobody waits for is durable after so long, in milliseconds.
const LAZY_MS: u64 = 1_000;
/// The same where syncs are not wanted: checkpoints need them.
const NEVER_MS: u64 = 10_000;

/// What the writer works with, beside the journal.
#[derive(Debug)]
pub struct Surroundings {
    /// What is to be written.
    pub intake: Arc<Intake>,
    /// Who files what was written.
    pub filing: Arc<Filing>,
    /// The way to the shards.
    pub signs: Arc<Signs>,
    /// Who looks whether the disk is stalled.
    pub watch: Arc<Watch>,
    /// For pauses.
    pub clock: Clock,
    /// For batches.
    pub wall: WallClock,
}

/// The rules of writing.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When to sync.
    pub fsync: Fsync,
    /// Milliseconds between syncs of [`Fsync::Interval`].
    pub interval_ms: u64,
    /// See [`Limits`](crate::limits::Limits).
    pub batch_bytes_max: usize,
    /// See [`Limits`](crate::limits::Limits).
    pub keeper_backlog_bytes_max: usize,
    /// See [`Limits`](crate::limits::Limits).
    pub segments_spare_ms: u64,
}

/// What a shard was told, and what it may be told.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    written: u64,
    told: u64,
}

/// The thread.
#[derive(Debug)]
pub struct Writer<D: Disk> {
    journal: Journal<D>,
    around: Surroundings,
    rules: Rules,
    /// By shard.
    seen: Vec<Seen>,
    /// Somebody waits for a sync.
    wanted: bool,
    /// When the oldest batch that is not durable was written.
    unsynced_since: Option<Now>,
    /// When the last sync ended, if nothing was written since and a mark is to follow.
    synced_at: Option<Now>,
    /// Nothing but a mark was written since the last sync.
    marked: bool,
    /// When there was no room, and it was last looked for.
    looked_at: Now,
    /// The segment of the last batch.
    segment: Option<u64>,
    /// When the last segment was begun, or a spare one given up since.
    begun_at: Now,
    failed: bool,
}

/// What others learn when the thread ends in the middle.
struct Presence {
    filing: Arc<Filing>,
    signs: Arc<Signs>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.signs.tell_all(|| Completion::Failed);
            self.filing.end(End::Unclean);
        }
    }
}

/// How an attempt to write went.
enum Attempt {
    Written,
    /// To be tried again, in smaller parts if possible.
    Full(Vec<Submission>),
    Failed(Vec<Submission>, io::Error),
}

impl<D: Disk> Writer<D> {
    /// The thread's state. [`run`](Writer::run) is the thread.
    pub fn new(journal: Journal<D>, around: Surroundings, rules: Rules) -> Writer<D> {
        let (seen, begun_at) = (vec![Seen::default(); around.signs.shards()], around.clock.read());
        Writer {
            journal,
            around,
            rules,
            seen,
            wanted: false,
            unsynced_since: None,
            synced_at: None,
            marked: false,
            looked_at: Now::default(),
            segment: None,
            begun_at,
            failed: false,
        }
    }

    /// Runs until the intake is closed, and everything is written or cannot be.
    pub fn run(mut self) {
        let _presence = Presence { filing: self.around.filing.clone(), signs: self.around.signs.clone() };
        let mut more = true;
        loop {
            let timeout = if more { Some(Duration::ZERO) } else { self.timeout() };
            let taken = self.around.intake.take(timeout);
            let is_idle = taken.submissions.is_empty();
            self.around.signs.taken(taken.told);
            if !taken.free.is_empty() {
                self.journal.give(taken.free);
            }
            let complete = self.write_all(taken.submissions, taken.closed);
            if taken.closed {
                let end = if complete { self.finish() } else { End::Unclean };
                return self.around.filing.end(end);
            }
            self.sync_if_due();
            self.mark_if_due();
            let is_time = self.is_time_to_look() | self.rest_if_due();
            more = !self.failed && (is_idle || is_time) && self.journal.step();
            self.note_room();
        }
    }

    /// How long nothing is to be done unless something comes.
    fn timeout(&self) -> Option<Duration> {
        if self.failed {
            return None;
        }
        let sync = self.sync_due();
        let mark = self.synced_at.map(|at| at.after_ms(LAZY_MS));
        let room = self.journal.needs_room().then(|| self.looked_at.after_ms(AGAIN_MS));
        let due = [sync, mark, room, self.rest_due()].into_iter().flatten().min()?;
        Some(self.around.clock.until(due))
    }

    /// Whether room is to be looked for again.
    fn is_time_to_look(&mut self) -> bool {
        let now = self.around.clock.read();
        let is_time = self.journal.needs_room() && now >= self.looked_at.after_ms(AGAIN_MS);
        if is_time {
            self.looked_at = now;
        }
        is_time
    }

    /// When a spare segment is to be given up.
    fn rest_due(&self) -> Option<Now> {
        self.journal.has_spares().then(|| self.begun_at.after_ms(self.rules.segments_spare_ms))
    }

    fn rest_if_due(&mut self) -> bool {
        let now = self.around.clock.read();
        let is_due = self.rest_due().is_some_and(|due| now >= due);
        if is_due {
            self.begun_at = now;
            self.journal.rest();
        }
        is_due
    }

    // ---- writing

    /// Writes all, in order and in batches. False: it cannot be.
    fn write_all(&mut self, submissions: Vec<Submission>, mut closing: bool) -> bool {
        let mut waiting = submissions;
        let mut bytes_max = self.rules.batch_bytes_max;
        let (mut attempts, mut failures) = (0, 0);
        while !self.failed && !waiting.is_empty() {
            let count = fitting(&waiting, bytes_max);
            let rest = waiting.split_off(count);
            let (back, error) = match self.attempt(waiting) {
                Attempt::Written => {
                    waiting = rest;
                    (attempts, failures) = (0, 0);
                    continue;
                }
                Attempt::Full(back) => (back, None),
                Attempt::Failed(back, error) => (back, Some(error)),
            };
            let is_single = back.len() == 1;
            bytes_max = back.iter().map(|submission| submission.bytes.len()).sum::<usize>() / 2;
            waiting = back;
            waiting.extend(rest);
            match error {
                // The first part of it may still fit.
                None if !is_single => continue,
                None => {
                    attempts += 1;
                    self.around.signs.short(Shortage::Full, true);
                }
                Some(error) => {
                    failures += 1;
                    log::error!("cannot write to the journal: {error}");
                    if failures == ATTEMPTS_MAX {
                        self.fail("writing", &error);
                        break;
                    }
                }
            }
            if closing && attempts >= LAST_ATTEMPTS_MAX {
                log::error!("the disk is full: what came last could not be written before the stop");
                // Nothing may be written behind the gap.
                self.failed = true;
                break;
            }
            closing |= self.pause();
            bytes_max = self.rules.batch_bytes_max;
        }
        let complete = waiting.is_empty() && !self.failed;
        self.around.intake.give_memory(waiting.into_iter().map(|submission| submission.bytes));
        complete
    }

    fn attempt(&mut self, submissions: Vec<Submission>) -> Attempt {
        // Looked at while they are here: a batch may be filed and gone at once.
        let noted: Vec<_> = submissions.iter().map(|one| (one.from, one.seq, one.sync)).collect();
        let now_ms = self.around.wall.read();
        self.around.filing.wait_for_room(self.rules.keeper_backlog_bytes_max as u64);
        let (journal, watch) = (&mut self.journal, &self.around.watch);
        let batch = match watch.during(|| journal.write(now_ms, submissions)) {
            Ok(batch) => batch,
            Err((error, back)) if is_full(&error) => return Attempt::Full(back),
            Err((error, back)) => return Attempt::Failed(back, error),
        };
        self.around.wall.at_least(batch.time_ms);
        self.note_room();
        let rolled = self.segment.replace(batch.segment).is_some_and(|segment| segment != batch.segment);
        for (from, seq, sync) in noted {
            self.wanted |= sync && self.rules.fsync == Fsync::Always;
            if let Some(seen) = self.seen.get_mut(usize::from(from)) {
                seen.written = seq;
            }
        }
        self.wanted |= rolled && self.rules.fsync == Fsync::Never;
        if rolled {
            self.begun_at = self.around.clock.read();
        }
        self.unsynced_since.get_or_insert(self.around.clock.read());
        (self.synced_at, self.marked) = (None, false);
        self.around.filing.written(batch);
        if self.rules.fsync != Fsync::Always {
            self.tell();
        }
        Attempt::Written
    }

    /// Waits for room on the disk, or for a better moment. What was written before is not to wait with it. Returns
    /// whether nothing more comes.
    fn pause(&mut self) -> bool {
        self.sync_if_due();
        let (free, closed) = self.around.intake.pause(Duration::from_millis(AGAIN_MS));
        self.journal.give(free);
        closed
    }

    /// Publishers wait while nothing is in reserve.
    fn note_room(&self) {
        if !self.failed {
            self.around.signs.short(Shortage::Full, self.journal.needs_room());
        }
    }

    // ---- syncing

    fn sync_due(&self) -> Option<Now> {
        let since = self.unsynced_since?;
        match self.rules.fsync {
            _ if self.wanted => Some(since),
            // Checkpoints that wait for it give room back.
            _ if self.journal.needs_room() => Some(since.after_ms(AGAIN_MS)),
            Fsync::Always => Some(since.after_ms(LAZY_MS)),
            Fsync::Interval => Some(since.after_ms(self.rules.interval_ms)),
            Fsync::Never => Some(since.after_ms(NEVER_MS)),
        }
    }

    fn sync_if_due(&mut self) {
        if !self.failed && self.sync_due().is_some_and(|due| self.around.clock.read() >= due) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        let (journal, watch) = (&mut self.journal, &self.around.watch);
        match watch.during(|| journal.sync()) {
            Ok(index) => {
                self.wanted = false;
                self.unsynced_since = None;
                self.synced_at = (!self.marked).then(|| self.around.clock.read());
                self.around.filing.synced(index);
                self.tell();
            }
            Err(error) => self.fail("syncing", &error),
        }
    }

    /// A batch of nothing, some time after a sync: it says that what is in front of it was durable. Damage there is
    /// told from a torn end by that.
    fn mark_if_due(&mut self) {
        let due = self.synced_at.is_some_and(|at| self.around.clock.read() >= at.after_ms(LAZY_MS));
        if self.failed || !due {
            return;
        }
        self.synced_at = None;
        // One that cannot be written is not missed: the next batch says the same.
        if let Ok(batch) = self.journal.write(self.around.wall.read(), vec![]) {
            (self.segment, self.marked) = (Some(batch.segment), true);
            self.unsynced_since = Some(self.around.clock.read());
            self.around.filing.written(batch);
        }
    }

    /// Tells the shards what they may rely on.
    fn tell(&mut self) {
        for (shard, seen) in self.seen.iter_mut().enumerate() {
            if seen.written != seen.told {
                seen.told = seen.written;
                self.around.signs.tell(shard as u8, Completion::Durable { seq: seen.told });
            }
        }
    }

    /// Nothing is confirmed any more: whether it is on the disk nobody can know.
    fn fail(&mut self, what: &str, error: &io::Error) {
        log::error!("{what} the journal has failed: {error}; nothing more will be confirmed before a new start");
        self.failed = true;
        self.around.signs.tell_all(|| Completion::Failed);
    }

    // ---- the end

    /// The record that says that it was in order.
    fn finish(&mut self) -> End {
        let mut records = Records::default();
        records.clean();
        let last = Submission { from: KEEPER, seq: 0, bytes: records.take(vec![]), sync: true };
        if self.write_all(vec![last], true) {
            self.sync();
        }
        if self.failed || self.unsynced_since.is_some() { End::Unclean } else { End::Clean }
    }
}

/// How many of these go into one batch of so many bytes: at least one.
fn fitting(submissions: &[Submission], bytes_max: usize) -> usize {
    let mut sum = 0;
    let fits = |submission: &&Submission| {
        sum += submission.bytes.len();
        sum <= bytes_max
    };
    submissions.iter().take_while(fits).count().max(1)
}
