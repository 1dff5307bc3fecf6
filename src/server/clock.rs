//! The one place that asks the system for the time.

use std::time::{Duration, Instant};

use crate::time::Now;

/// A clock that never goes back. Copies of it agree, so that all shards of a server share one time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that stands at zero now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time, in milliseconds since the start.
    #[inline]
    pub fn read(&self) -> Now {
        Now { ms: self.start.elapsed().as_millis() as u64 }
    }

    /// How long it is until `then`; nothing when it has passed.
    #[inline]
    pub fn until(&self, then: Now) -> Duration {
        Duration::from_millis(then.ms).saturating_sub(self.start.elapsed())
    }
}
