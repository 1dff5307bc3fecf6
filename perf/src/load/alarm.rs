//! Waking up on time: to the microsecond, where the event queue itself knows milliseconds only.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};

/// A timer that wakes the event loop.
#[derive(Debug)]
pub struct Alarm {
    #[cfg(target_os = "linux")]
    timer: OwnedFd,
    /// What it is set to.
    due: Option<u64>,
}

impl Alarm {
    /// A timer that is not set; its events have this token.
    ///
    /// # Errors
    /// The system's.
    #[cfg(target_os = "linux")]
    pub fn new(registry: &mio::Registry, token: mio::Token) -> io::Result<Alarm> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Alarm { timer, due: None })
    }

    /// Elsewhere the event queue's own timeout has to do.
    #[cfg(not(target_os = "linux"))]
    pub fn new(_registry: &mio::Registry, _token: mio::Token) -> io::Result<Alarm> {
        Ok(Alarm { due: None })
    }

    /// Sets it to `due`, and says how long the event queue is to wait at most.
    ///
    /// # Errors
    /// The system's.
    #[cfg(target_os = "linux")]
    pub fn set(&mut self, due: u64, _now: u64) -> io::Result<Option<Duration>> {
        use super::clock::SECOND;
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if self.due != Some(due) {
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Zero would switch it off.
            let at = due.max(1);
            let it_value = Timespec { tv_sec: (at / SECOND) as i64, tv_nsec: (at % SECOND) as i64 };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: zero, it_value })?;
            self.due = Some(due);
        }
        Ok(None)
    }

    /// Elsewhere: the time until then.
    #[cfg(not(target_os = "linux"))]
    pub fn set(&mut self, due: u64, now: u64) -> io::Result<Option<Duration>> {
        self.due = Some(due);
        Ok(Some(Duration::from_nanos(due.saturating_sub(now))))
    }
}
