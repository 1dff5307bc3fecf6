//! Time as the broker knows it: handed in, never asked for.

/// Milliseconds since the process started, from a clock that never goes back. Read once per turn by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Now {
    /// Milliseconds since the start.
    pub ms: u64,
}

impl Now {
    /// The moment this many milliseconds from now.
    pub fn after_ms(self, ms: u64) -> Now {
        Now { ms: self.ms.saturating_add(ms) }
    }
}
