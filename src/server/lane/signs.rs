//! What the threads of a lane tell the shards, and what they can see of each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::server::clock::Clock;
use crate::server::inbox::{Inlet, Input};
use crate::store::Completion;

/// Why publishers have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The journal finds no room.
    Full,
    /// There is less than `disk_free_limit`.
    BelowLimit,
}

#[derive(Debug, Default)]
struct Room {
    full: bool,
    below_limit: bool,
}

/// The way to the shards.
#[derive(Debug)]
pub struct Signs {
    inlets: Arc<[Inlet]>,
    room: Mutex<Room>,
}

impl Signs {
    /// To these shards.
    pub fn new(inlets: Arc<[Inlet]>) -> Signs {
        Signs { inlets, room: Mutex::default() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inlets.len()
    }

    /// Tells one shard something. Others than shards, such as the keeper, do not listen.
    pub fn tell(&self, shard: u8, completion: Completion) {
        if let Some(inlet) = self.inlets.get(usize::from(shard)) {
            inlet.put(Input::Completion(completion));
        }
    }

    /// Tells shards, by bit, that what they had submitted was taken.
    pub fn taken(&self, shards: u64) {
        let told = |(shard, _): &(usize, &Inlet)| shards & (1 << shard) != 0;
        self.inlets.iter().enumerate().filter(told).for_each(|(_, inlet)| inlet.put(Input::Taken));
    }

    /// Tells all shards.
    pub fn tell_all(&self, completion: impl Fn() -> Completion) {
        self.inlets.iter().for_each(|inlet| inlet.put(Input::Completion(completion())));
    }

    /// Notes whether there is a shortage of this kind; the shards are told what changes for them.
    pub fn short(&self, what: Shortage, is_short: bool) {
        // Told under the lock, so that all learn the last one last.
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let was_low = room.full || room.below_limit;
        match what {
            Shortage::Full => room.full = is_short,
            Shortage::BelowLimit => room.below_limit = is_short,
        }
        let is_low = room.full || room.below_limit;
        if was_low == is_low {
            return;
        }
        if is_low {
            let why = if room.full { "the disk is full" } else { "the disk has less free room than disk_free_limit" };
            log::warn!("{why}: publishers have to wait");
        } else {
            log::info!("the disk has room again");
        }
        self.tell_all(|| Completion::DiskLow(is_low));
    }
}

/// Lets one thread see how long another waits for the disk.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    /// What takes longer is reported.
    stalled_ms: u64,
    /// When it began, plus one; 0: nothing is under way.
    began: AtomicU64,
    reported: AtomicBool,
}

impl Watch {
    /// Nothing is under way. What takes longer than `stalled_ms` is reported.
    pub fn new(clock: Clock, stalled_ms: u64) -> Watch {
        Watch { clock, stalled_ms, began: AtomicU64::new(0), reported: AtomicBool::new(false) }
    }

    /// Does something that may take long.
    pub fn during<T>(&self, what: impl FnOnce() -> T) -> T {
        let began = self.clock.read().ms;
        self.began.store(began + 1, Ordering::SeqCst);
        let done = what();
        self.began.store(0, Ordering::SeqCst);
        if self.reported.swap(false, Ordering::SeqCst) {
            log::warn!("the disk goes on, after {} ms", self.clock.read().ms - began);
        }
        done
    }

    /// Reports what takes too long, once. Returns whether it does.
    pub fn look(&self) -> bool {
        let began = self.began.load(Ordering::SeqCst);
        let stalled = began > 0 && self.clock.read().ms >= began - 1 + self.stalled_ms;
        if stalled && !self.reported.swap(true, Ordering::SeqCst) {
            log::error!("the disk is stalled: the journal has waited for it for {} ms", self.stalled_ms);
        }
        stalled
    }
}
