//! Where a run is: warming up, measuring, or over. Shared by the threads of a run.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The phase of a run.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

const MEASURING: u8 = 1;
const OVER: u8 = 2;

impl Phase {
    pub fn measure(&self) {
        self.0.store(MEASURING, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURING
    }
}

/// What one thread has measured.
pub struct Tally {
    /// Durations of operations that ended while it was measured, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Tally {
    pub fn new() -> Tally {
        Tally { latency: histogram() }
    }

    /// An operation took so long.
    pub fn took(&mut self, time: Duration) {
        self.latency.saturating_record(time.as_nanos() as u64);
    }

    /// An operation that began at `start` has ended.
    pub fn ended(&mut self, phase: &Phase, start: Instant) {
        if phase.is_measuring() {
            self.took(start.elapsed());
        }
    }
}

/// A histogram of nanoseconds, up to ten minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the histogram accepts; without bounds it grows as needed.
    let bounded = Histogram::new_with_bounds(1, 600_000_000_000, 3);
    bounded.unwrap_or_else(|_| Histogram::new(3).unwrap_or_else(|error| unreachable!("{error}")))
}
