//! What waits for the keeper: batches that were written, and wishes for messages.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::server::control::Outcome;
use crate::store::Fetch;
use crate::store::batch::Batch;

/// What there is to do, in order.
#[derive(Debug)]
pub enum News {
    /// A batch was written.
    Written(Batch),
    /// Everything up to this index is durable.
    Synced(u64),
    /// Somebody wants a copy of everything that was written until now.
    Copy(Copy),
}

/// How the lane ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last record says that it was in order, and is durable.
    Clean,
    /// Not everything could be written, or made durable.
    Unclean,
}

/// A copy that somebody asked for.
#[derive(Debug)]
pub struct Copy {
    /// The directory to copy to.
    pub target: PathBuf,
    /// Who wants to know what came of it.
    pub asked: Sender<Outcome>,
}

#[derive(Debug, Default)]
struct State {
    news: VecDeque<News>,
    /// Bytes in `news`.
    bytes: u64,
    fetches: Vec<Fetch>,
    end: Option<End>,
    asleep: bool,
    /// A wish waits for a batch to come.
    eager: bool,
}

/// The keeper sleeps on until there is so much to be filed: nobody waits for it, and to be woken has its price.
const WORTH_A_WAKE_BYTES: u64 = 1 << 20;

impl State {
    fn is_empty(&self) -> bool {
        self.news.is_empty() && self.fetches.is_empty() && self.end.is_none()
    }

    fn may_wait(&self) -> bool {
        self.fetches.is_empty()
            && self.end.is_none()
            && (self.news.is_empty() || !self.eager)
            && self.bytes < WORTH_A_WAKE_BYTES
            && !self.news.iter().any(|news| matches!(news, News::Copy(_)))
    }
}

/// What waits for the keeper.
#[derive(Debug, Default)]
pub struct Filing {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
}

/// What the keeper's thread finds when it looks.
#[derive(Debug, Default)]
pub struct Found {
    /// The next thing to do.
    pub news: Option<News>,
    /// All wishes.
    pub fetches: Vec<Fetch>,
    /// There is nothing more, and never will be.
    pub end: Option<End>,
}

impl Filing {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        add(&mut state);
        let wake = state.asleep && !state.may_wait();
        state.asleep &= !wake;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Hands a batch on.
    pub fn written(&self, batch: Batch) {
        self.add(|state| {
            state.bytes += batch.payload_bytes();
            state.news.push_back(News::Written(batch));
        });
    }

    /// Everything up to `index` is durable.
    pub fn synced(&self, index: u64) {
        self.add(|state| state.news.push_back(News::Synced(index)));
    }

    /// Asks for messages.
    pub fn fetch(&self, fetch: Fetch) {
        self.add(|state| state.fetches.push(fetch));
    }

    /// Asks for a copy.
    pub fn copy(&self, copy: Copy) {
        self.add(|state| state.news.push_back(News::Copy(copy)));
    }

    /// Nothing more comes.
    pub fn end(&self, end: End) {
        self.add(|state| state.end = Some(end));
    }

    /// Waits while there are more than `bytes_max` bytes of batches, and the keeper goes on.
    pub fn wait_for_room(&self, bytes_max: u64) {
        let full = |state: &mut State| state.bytes > bytes_max && state.end.is_none();
        drop(self.drained.wait_while(self.lock(), full));
    }

    /// The keeper's thread is gone: nobody waits for it any more.
    pub fn abandon(&self) {
        self.lock().end = Some(End::Unclean);
        self.drained.notify_all();
    }

    /// The next of everything. Waits for something first, at most `timeout`. `eager`: a wish waits for what is written.
    pub fn look(&self, timeout: Duration, eager: bool) -> Found {
        let mut state = self.lock();
        state.eager = eager;
        if state.is_empty() && timeout > Duration::ZERO {
            state.asleep = true;
            let waited = self.filled.wait_timeout_while(state, timeout, |state| state.may_wait());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        let news = state.news.pop_front();
        if let Some(News::Written(batch)) = &news {
            state.bytes -= batch.payload_bytes();
            self.drained.notify_one();
        }
        let end = state.end.filter(|_| news.is_none());
        Found { news, fetches: std::mem::take(&mut state.fetches), end }
    }
}
