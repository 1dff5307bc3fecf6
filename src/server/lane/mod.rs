//! The lane: the threads that run the store.
//!
//! ```text
//!  shards ──► intake ──► writer ──► filing ──► clerk
//!     ▲        ▲         journal               keeper
//!     │        └── memory, files, copies ──────────┤
//!     └── durable, full, failed ──┴── messages ────┘
//! ```
//!
//! The [writer] has the journal and does nothing but write and sync: while a sync runs, what comes in gathers for the
//! next. The [clerk] has the keeper: it files what was written, answers wishes, and tidies up. A shard waits for
//! neither: it submits under a short lock and hears of the rest through its inbox.

mod clerk;
mod filing;
mod intake;
mod signs;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use super::clock::{Clock, WallClock};
use super::control::Outcome;
use super::inbox::Inlet;
use crate::store::disk::Disk;
use crate::store::journal::Journal;
use crate::store::keeper::Keeper;
use crate::store::{Fetch, Submission};
use clerk::Clerk;
use filing::{Copy, Filing};
use intake::Intake;
use signs::{Signs, Watch};
use writer::Writer;

pub use clerk::Target;
pub use writer::Rules;

/// An operation of the journal on the disk that takes longer is reported, in milliseconds.
const STALLED_MS: u64 = 10_000;

/// A shard's way to the store.
#[derive(Debug, Clone)]
pub struct LaneInlet {
    intake: Arc<Intake>,
    filing: Arc<Filing>,
}

impl LaneInlet {
    /// Whether everything that a shard has handed over was taken. If not, it is to be told when it is.
    #[inline]
    pub fn is_taken(&self, shard: u8) -> bool {
        self.intake.is_taken(shard)
    }

    /// Hands records over, behind all that any shard has handed over before. Returns memory to go on with.
    #[inline]
    pub fn submit(&self, submission: Submission) -> Vec<u8> {
        self.intake.submit(submission)
    }

    /// Asks for messages.
    pub fn fetch(&self, fetch: Fetch) {
        self.filing.fetch(fetch);
    }

    /// Asks for a copy of everything that is written before it ends.
    pub fn copy(&self, target: PathBuf) -> Receiver<Outcome> {
        let (asked, outcome) = mpsc::channel();
        self.filing.copy(Copy { target, asked });
        outcome
    }
}

/// What a lane is started with.
#[derive(Debug)]
pub struct Start<D: Disk> {
    /// The journal, as it was opened.
    pub journal: Journal<D>,
    /// Its keeper.
    pub keeper: Keeper<D>,
    /// Their disk.
    pub disk: D,
    /// Its name, for the log.
    pub path: PathBuf,
    /// Takes directories to copy to.
    pub target: Target<D>,
    /// How to write.
    pub rules: Rules,
    /// Bytes of the disk that are to be free; 0: whatever there is.
    pub disk_free_limit: u64,
    /// The shards.
    pub inlets: Arc<[Inlet]>,
    /// For pauses.
    pub clock: Clock,
    /// For what is written down.
    pub wall: WallClock,
}

/// The threads, until this is dropped.
#[derive(Debug)]
pub struct Lane {
    inlet: LaneInlet,
    threads: Vec<JoinHandle<()>>,
}

impl Lane {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn start<D>(start: Start<D>) -> io::Result<Lane>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let Start { journal, keeper, disk, path, target, rules, disk_free_limit, inlets, clock, wall } = start;
        let (intake, filing) = (Arc::<Intake>::default(), Arc::<Filing>::default());
        let (signs, watch) = (Arc::new(Signs::new(inlets)), Arc::new(Watch::new(clock, STALLED_MS)));
        // From here on an early return drops the lane, which ends the thread that runs already.
        let inlet = LaneInlet { intake: intake.clone(), filing: filing.clone() };
        let mut lane = Lane { inlet, threads: vec![] };
        let around = clerk::Surroundings {
            filing: filing.clone(),
            intake: intake.clone(),
            signs: signs.clone(),
            watch: watch.clone(),
            clock,
            wall: wall.clone(),
            disk,
            path,
            target,
            disk_free_limit,
        };
        let clerk = Clerk::new(keeper, around);
        let around = writer::Surroundings { intake, filing, signs, watch, clock, wall };
        let writer = Writer::new(journal, around, rules);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        lane.threads.push(thread("leveret-journal").spawn(move || writer.run())?);
        match thread("leveret-keeper").spawn(move || clerk.run()) {
            Ok(clerk) => lane.threads.push(clerk),
            Err(error) => {
                lane.inlet.filing.abandon();
                return Err(error);
            }
        }
        Ok(lane)
    }

    /// The shards' way to it.
    pub fn inlet(&self) -> LaneInlet {
        self.inlet.clone()
    }
}

/// To be dropped after the last submission: it is written, and the store is closed in order.
impl Drop for Lane {
    fn drop(&mut self) {
        self.inlet.intake.close();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                log::error!("the thread {name} has panicked");
            }
        }
    }
}
