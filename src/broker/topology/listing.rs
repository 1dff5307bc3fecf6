//! Walks over the tables, a piece at a time.

use super::{Exchange, QueueRecord, Topology};
use crate::broker::exchange::Destination;

impl Topology {
    /// Queues from this slot on, by slot. Slots may be empty.
    pub fn queue_slots(&self, from: u32) -> impl Iterator<Item = (u32, Option<&QueueRecord>)> {
        (from..self.queues.capacity() as u32).map(|slot| (slot, self.queues.get(slot as usize)))
    }

    /// Exchanges from this slot on, likewise.
    pub fn exchange_slots(&self, from: u32) -> impl Iterator<Item = (u32, Option<&Exchange>)> {
        (from..self.exchanges.capacity() as u32).map(|slot| (slot, self.exchanges.get(slot as usize)))
    }
}

impl Destination {
    /// `queue` or `exchange`.
    pub fn kind(self) -> &'static str {
        match self {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        }
    }
}
