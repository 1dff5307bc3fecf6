//! Time in nanoseconds of the system's monotonic clock, which all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

/// Now. The start is the system's own (at boot, on Linux).
#[inline]
pub fn now() -> u64 {
    read(ClockId::Monotonic)
}

/// CPU time that this process has used, user and system.
pub fn cpu() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// Nanoseconds as seconds.
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND as f64
}
