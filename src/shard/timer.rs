//! What is due when: one ordered list of deadlines per shard.
//!
//! There are a few per connection (handshake, heartbeat, close), each renewed at most once per interval, and about one
//! per queue in which something is to happen. None is per message, so an ordered map is cheap enough and exact.

use std::collections::BTreeMap;

use super::ConnectionId;
use super::mesh::Caller;
use crate::broker::topology::QueueKey;
use crate::time::Now;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The handshake must be over.
    Handshake(ConnectionId),
    /// Look at what was sent and received since the last time.
    Heartbeat(ConnectionId),
    /// The refusal of a log-in has lasted long enough, or the peer has not answered our close.
    Close(ConnectionId),
    /// Something of the queue may be due: messages that have waited too long, or the queue itself.
    Queue(QueueKey),
    /// Deliveries of a channel may have waited too long for their acknowledgement.
    Overdue(Caller),
    /// A channel's common prefetch limit is another now.
    Grant(Caller),
}

/// Deadlines in order of time, equal ones in order of their making.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeMap<(Now, u64), Timer>,
    made: u64,
}

impl Timers {
    /// Adds a deadline.
    pub fn add(&mut self, at: Now, timer: Timer) {
        self.made += 1;
        self.due.insert((at, self.made), timer);
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Now> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next timer that is due.
    pub fn expired(&mut self, now: Now) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        if entry.key().0 <= now { Some(entry.remove()) } else { None }
    }
}
