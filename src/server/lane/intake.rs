//! What waits to be written: one queue for all shards.
//!
//! What happened before is in front (store.md S4): a shard submits before it tells anybody, under one lock. Submitting
//! costs that lock, and a wake-up only when the journal's thread sleeps.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::segment::FileSlot;
use crate::store::{KEEPER, Submission};

/// Buffers kept for reuse.
const SPARE_MAX: usize = 64;
/// A buffer that holds more does not come back.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Bytes of all buffers that are kept.
const SPARE_SUM_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
struct State {
    submissions: Vec<Submission>,
    /// Shards that are told when their submissions are taken, by bit.
    told: u64,
    /// The thread sleeps, or is about to.
    asleep: bool,
    /// Nothing more comes.
    closed: bool,
    /// Files that are free again.
    free: Vec<FileSlot>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Intake {
    state: Mutex<State>,
    filled: Condvar,
}

/// What the journal's thread finds when it looks.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order.
    pub submissions: Vec<Submission>,
    /// Shards that are to be told that theirs were taken, by bit.
    pub told: u64,
    /// Files that are free again.
    pub free: Vec<FileSlot>,
    /// Nothing more comes after this.
    pub closed: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.submissions.is_empty() && self.free.is_empty() && !self.closed
    }
}

impl Intake {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.filled.notify_one();
        }
    }

    /// Puts records behind all others. Returns memory to go on with.
    pub fn submit(&self, submission: Submission) -> Vec<u8> {
        let mut state = self.lock();
        // What is written again for the sake of room is not missed.
        if state.closed && submission.from == KEEPER {
            return vec![];
        }
        state.submissions.push(submission);
        let spare = state.spare.pop().unwrap_or_default();
        state.spare_bytes -= spare.capacity();
        self.wake(state);
        spare
    }

    /// Whether everything that a shard has put here was taken. If not, it is to be told when it is.
    pub fn is_taken(&self, shard: u8) -> bool {
        let mut state = self.lock();
        let waits = state.submissions.iter().any(|submission| submission.from == shard);
        state.told |= u64::from(waits) << shard;
        !waits
    }

    /// Puts files that are free again.
    pub fn give_files(&self, free: Vec<FileSlot>) {
        let mut state = self.lock();
        state.free.extend(free);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes memory to be used again.
    pub fn give_memory(&self, buffers: impl IntoIterator<Item = Vec<u8>>) {
        let mut state = self.lock();
        for mut buffer in buffers {
            let bytes = buffer.capacity();
            let fits = bytes <= SPARE_BYTES_MAX && state.spare_bytes + bytes <= SPARE_SUM_MAX;
            if fits && bytes > 0 && state.spare.len() < SPARE_MAX {
                buffer.clear();
                state.spare_bytes += bytes;
                state.spare.push(buffer);
            }
        }
    }

    /// Nothing more comes: the shards are done, and the keeper's copies are not wanted any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        drop(state);
        self.filled.notify_one();
    }

    /// Whether something waits.
    #[cfg(test)]
    pub fn has_something(&self) -> bool {
        !self.lock().submissions.is_empty()
    }

    /// Takes everything, in order. Waits for something first: for as long as it takes, or at most `timeout`.
    pub fn take(&self, timeout: Option<Duration>) -> Taken {
        let mut state = self.lock();
        if state.is_empty() && timeout != Some(Duration::ZERO) {
            state.asleep = true;
            let is_empty = |state: &mut State| state.is_empty();
            state = match timeout {
                None => self.filled.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.filled.wait_timeout_while(state, timeout, is_empty);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.asleep = false;
        }
        Taken {
            submissions: std::mem::take(&mut state.submissions),
            told: std::mem::take(&mut state.told),
            free: std::mem::take(&mut state.free),
            closed: state.closed,
        }
    }

    /// Waits `time`, or until a file is free. Leaves what was submitted where it is. Returns the files, and whether
    /// nothing more comes.
    pub fn pause(&self, time: Duration) -> (Vec<FileSlot>, bool) {
        let state = self.lock();
        // Not announced as sleep: what is submitted wakes nobody.
        let waiting = |state: &mut State| state.free.is_empty();
        let waited = self.filled.wait_timeout_while(state, time, waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.free), state.closed)
    }
}
