//! The one place that asks the system for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::time::Now;

/// A clock that never goes back. Copies of it agree, so that all shards of a server share one time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// The time of the day at the start, in milliseconds since 1970.
    wall_ms: u64,
}

impl Clock {
    /// A clock that stands at zero now.
    pub fn start() -> Clock {
        let system = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), wall_ms: system.as_millis() as u64 }
    }

    /// The time, in milliseconds since the start.
    #[inline]
    pub fn read(&self) -> Now {
        Now { ms: self.start.elapsed().as_millis() as u64 }
    }

    /// This clock, its time of the day no earlier than `wall_ms`: for what was there before the start.
    pub fn no_earlier(self, wall_ms: u64) -> Clock {
        Clock { wall_ms: self.wall_ms.max(wall_ms), ..self }
    }

    /// The time of the day at a moment, in milliseconds since 1970. What is done to the system's clock after the start
    /// does not show.
    #[inline]
    pub fn wall_ms(&self, now: Now) -> u64 {
        self.wall_ms + now.ms
    }

    /// How long it is until `then`; nothing when it has passed.
    #[inline]
    pub fn until(&self, then: Now) -> Duration {
        Duration::from_millis(then.ms).saturating_sub(self.start.elapsed())
    }
}

/// The time of the day for what is written down: milliseconds since 1970. It never goes back and never stands still,
/// whatever is done to the system's clock; when that is set forward, this one follows. Copies agree.
#[derive(Debug, Clone)]
pub struct WallClock {
    start: Instant,
    /// Its time at `start`.
    base_ms: Arc<AtomicU64>,
}

impl WallClock {
    /// A clock that shows the system's time.
    pub fn start() -> WallClock {
        let clock = WallClock { start: Instant::now(), base_ms: Arc::default() };
        clock.read();
        clock
    }

    /// The time.
    pub fn read(&self) -> u64 {
        let system = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.at_least(system.as_millis() as u64)
    }

    /// The time, after it was made to be `ms` or later.
    pub fn at_least(&self, ms: u64) -> u64 {
        let elapsed_ms = self.start.elapsed().as_millis() as u64;
        let base_ms = ms.saturating_sub(elapsed_ms);
        self.base_ms.fetch_max(base_ms, Ordering::SeqCst).max(base_ms) + elapsed_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_day_follows_forward_and_never_goes_back() {
        let clock = WallClock::start();
        let copy = clock.clone();
        let begun = clock.read();
        assert!(begun > 1_700_000_000_000);
        const YEAR_MS: u64 = 31_536_000_000;
        assert!(copy.at_least(begun + YEAR_MS) >= begun + YEAR_MS);
        let mut last = begun + YEAR_MS;
        while last < begun + YEAR_MS + 20 {
            let now = clock.read();
            assert!(now >= last, "the system's clock is a year behind");
            last = now;
        }
        assert!(clock.at_least(0) >= last);
    }
}
