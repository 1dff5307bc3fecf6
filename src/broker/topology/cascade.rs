//! What follows from a change of names: bindings and auto-delete exchanges that go with what they led to, and the
//! epochs of all exchanges that route through another.

use smallvec::SmallVec;

use super::{Exchange, Topology};
use crate::broker::exchange::Destination;

impl Topology {
    /// Undoes all bindings to a destination that goes, and deletes the auto-delete exchanges that lose their last one,
    /// and so on. A list instead of recursion: a chain may be as long as there are exchanges.
    pub(super) fn unbind_everywhere(&mut self, destination: Destination, sources: &[u32]) {
        let mut abandoned: Vec<u32> = Vec::new();
        self.unbind_from(destination, sources, &mut abandoned);
        while let Some(slot) = abandoned.pop() {
            if let Some(exchange) = self.take_exchange(slot) {
                self.unbind_from(Destination::Exchange(slot), &exchange.sources, &mut abandoned);
            }
        }
    }

    pub(super) fn unbind_from(&mut self, destination: Destination, sources: &[u32], abandoned: &mut Vec<u32>) {
        for &source in sources {
            let Some(exchange) = self.exchanges.get_mut(source as usize) else {
                continue;
            };
            if exchange.table.remove_destination(destination) > 0 {
                // An auto-delete exchange goes when it has lost its last binding as a source.
                if exchange.spec.auto_delete && exchange.table.is_empty() {
                    abandoned.push(source);
                }
                self.raise(source);
            }
        }
    }

    pub(super) fn delete_exchange(&mut self, slot: u32) {
        if let Some(exchange) = self.take_exchange(slot) {
            self.unbind_everywhere(Destination::Exchange(slot), &exchange.sources);
        }
    }

    pub(super) fn take_exchange(&mut self, slot: u32) -> Option<Exchange> {
        self.raise(slot);
        self.forget_alternate(slot);
        let exchange = self.exchanges.try_remove(slot as usize)?;
        if exchange.spec.durable && exchange.spec.auto_delete {
            self.abandoned.push(exchange.spec.id);
        }
        self.orphans.extend(exchange.delays);
        self.orphans.extend(exchange.history);
        if let Some(vhost) = self.vhost_mut(exchange.spec.vhost) {
            vhost.exchanges.remove(&exchange.spec.name);
        }
        Some(exchange)
    }

    /// Gives a new epoch to an exchange and to all that route through it.
    pub(super) fn raise(&mut self, slot: u32) {
        let mut pending: SmallVec<[u32; 8]> = SmallVec::from_slice(&[slot]);
        while let Some(slot) = pending.pop() {
            let Some(exchange) = self.exchanges.get_mut(slot as usize) else {
                continue;
            };
            if exchange.epoch == self.epochs {
                continue;
            }
            exchange.epoch = self.epochs;
            pending.extend(exchange.sources.iter().copied());
            let spec = exchange.spec.clone();
            if let Some(slots) = self.vhost(spec.vhost).and_then(|vhost| vhost.alternates.get(&spec.name)) {
                pending.extend(slots.iter().copied());
            }
        }
    }
}
