//! The keeper's thread: files what was written, reads back what is wanted, and tidies up when there is time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::filing::{Copy, End, Filing, Found, News};
use super::intake::Intake;
use super::signs::{Shortage, Signs, Watch};
use crate::server::clock::{Clock, WallClock};
use crate::server::control::Outcome;
use crate::server::disk::directory::DataDirectory;
use crate::server::durable;
use crate::store::Completion;
use crate::store::disk::Disk;
use crate::store::keeper::{Keeper, Step};
use crate::time::Now;

/// How often the disk's room and the journal's thread are looked at, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// So many bytes are filed at most between two pieces of upkeep.
const UPKEEP_BYTES: u64 = 4 << 20;

/// Takes an empty directory to copy to. The second part keeps others out of it. An error is a line for the user.
pub type Target<D> = fn(&Path) -> Result<(D, Option<DataDirectory>), String>;

/// What the clerk works with, beside the keeper.
#[derive(Debug)]
pub struct Surroundings<D> {
    /// What it is to do.
    pub filing: Arc<Filing>,
    /// Where memory and files that are free go.
    pub intake: Arc<Intake>,
    /// The way to the shards.
    pub signs: Arc<Signs>,
    /// What the journal's thread is doing.
    pub watch: Arc<Watch>,
    /// For pauses.
    pub clock: Clock,
    /// For the keeper.
    pub wall: WallClock,
    /// Asked for its room.
    pub disk: D,
    /// Its name, for the log.
    pub path: PathBuf,
    /// For copies.
    pub target: Target<D>,
    /// Bytes that are to be free.
    pub disk_free_limit: u64,
}

/// The thread.
#[derive(Debug)]
pub struct Clerk<D: Disk> {
    keeper: Keeper<D>,
    around: Surroundings<D>,
    looked_at: Option<Now>,
    copying: Option<Copying>,
    /// Bytes filed since the last piece of upkeep.
    filed: u64,
}

/// A copy under way.
#[derive(Debug)]
struct Copying {
    asked: Sender<Outcome>,
    target: PathBuf,
    messages: u64,
    definitions: usize,
    directory: Option<DataDirectory>,
}

/// The others go on when this thread is gone, whatever the reason.
struct Presence(Arc<Filing>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<D: Disk> Clerk<D> {
    /// The thread's state. [`run`](Clerk::run) is the thread.
    pub fn new(keeper: Keeper<D>, around: Surroundings<D>) -> Clerk<D> {
        Clerk { keeper, around, looked_at: None, copying: None, filed: 0 }
    }

    /// Runs until the journal has ended.
    pub fn run(mut self) {
        let _presence = Presence(self.around.filing.clone());
        let mut timeout = Duration::ZERO;
        loop {
            self.look_around();
            let Found { news, fetches, end } = self.around.filing.look(timeout, self.keeper.has_waiting());
            let is_idle = news.is_none();
            fetches.into_iter().for_each(|fetch| self.keeper.fetch(fetch));
            self.answer();
            match news {
                Some(News::Written(batch)) => {
                    self.filed += batch.payload_bytes();
                    let buffers = self.keeper.apply(batch);
                    self.around.intake.give_memory(buffers);
                    self.answer();
                }
                Some(News::Synced(index)) => self.keeper.synced(index),
                Some(News::Copy(copy)) => self.copy(copy),
                None => {}
            }
            if let Some(end) = end {
                return self.finish(end);
            }
            timeout = Duration::ZERO;
            if is_idle || self.filed >= UPKEEP_BYTES {
                self.filed = 0;
                timeout = self.tidy_up();
            }
        }
    }

    fn answer(&mut self) {
        while let Some(answer) = self.keeper.next_answer() {
            self.around.signs.tell(answer.shard, Completion::Fetched(answer));
        }
    }

    /// A piece of upkeep. Returns how long there is none.
    fn tidy_up(&mut self) -> Duration {
        let now_ms = self.around.wall.read();
        let step = self.keeper.step(now_ms);
        while let Some(submission) = self.keeper.next_submission() {
            self.around.intake.submit(submission);
        }
        let free = self.keeper.freed();
        if !free.is_empty() {
            self.around.intake.give_files(free);
        }
        if let Some(done) = self.keeper.snapshot_done() {
            self.copied(done);
        }
        durable::tell(&self.around.path, &self.keeper.report());
        let rest_ms = match step {
            Step::More => 0,
            Step::Idle { again_at_ms } => again_at_ms.map_or(LOOK_MS, |at| at.saturating_sub(now_ms).min(LOOK_MS)),
        };
        Duration::from_millis(rest_ms)
    }

    /// Looks at the disk and at the journal's thread, now and then.
    fn look_around(&mut self) {
        let now = self.around.clock.read();
        if self.looked_at.is_some_and(|at| now < at.after_ms(LOOK_MS)) {
            return;
        }
        self.looked_at = Some(now);
        self.around.watch.look();
        if self.around.disk_free_limit == 0 {
            return;
        }
        match self.around.disk.free_bytes() {
            Ok(free) => self.around.signs.short(Shortage::BelowLimit, free < self.around.disk_free_limit),
            Err(error) => log::warn!("cannot tell how much room the disk has: {error}"),
        }
    }

    // ---- copies

    /// Begins a copy. Whoever does not wait for the outcome any more does not get it.
    fn copy(&mut self, copy: Copy) {
        let Copy { target, asked } = copy;
        let begun = match (&self.copying, (self.around.target)(&target)) {
            (Some(_), _) => Err("another copy is being made".into()),
            (None, Err(text)) => Err(text),
            (None, Ok((disk, directory))) => match self.keeper.begin_snapshot(disk) {
                Ok(()) => Ok(directory),
                Err(error) => Err(format!("cannot copy to {}: {error}", target.display())),
            },
        };
        match begun {
            Ok(directory) => {
                let (messages, definitions) = (self.keeper.counts().live, self.keeper.state().definitions.len());
                self.copying = Some(Copying { asked, target, messages, definitions, directory });
            }
            Err(text) => drop(asked.send(Err(text))),
        }
    }

    fn copied(&mut self, done: std::io::Result<()>) {
        let Some(Copying { asked, target, messages, definitions, directory }) = self.copying.take() else { return };
        let target = target.display();
        // Free for a broker before anybody is told.
        drop(directory);
        drop(asked.send(match done {
            Ok(()) => Ok(format!("copied to {target}: messages: {messages}, definitions: {definitions}")),
            Err(error) => Err(format!("the copy in {target} is not complete: {error}")),
        }));
    }

    fn finish(mut self, end: End) {
        if end == End::Unclean {
            return;
        }
        if let Err(error) = self.keeper.stop(self.around.wall.read()) {
            log::warn!("the last checkpoint could not be written, the next start takes longer: {error}");
        }
    }
}
