//! What follows from a change of names: bindings and auto-delete exchanges that go with what they led to, and the
//! epochs of all exchanges that route through another.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Exchange, ExchangeSpec, Topology};
use crate::broker::exchange::Destination;

/// What has gone with something else.
#[derive(Debug)]
pub enum Departed {
    /// An exchange.
    Exchange(Arc<ExchangeSpec>),
    /// A binding.
    Binding {
        /// The exchange.
        source: Arc<ExchangeSpec>,
        /// Where to.
        destination: Destination,
        /// The name of what is, or was, there.
        name: Arc<str>,
        /// The routing key.
        key: Box<str>,
        /// The arguments, a table's contents.
        arguments: Box<[u8]>,
    },
}

impl Topology {
    /// Notes what goes with the next change, for [`Topology::take_departed`].
    pub fn note_departed(&mut self) {
        self.departed = Some(Vec::new());
    }

    /// What has gone since [`Topology::note_departed`]. Nothing is noted any more.
    pub fn take_departed(&mut self) -> Vec<Departed> {
        self.departed.take().unwrap_or_default()
    }

    /// The name of a binding's destination.
    pub fn destination_name(&self, destination: Destination) -> Option<&Arc<str>> {
        match destination {
            Destination::Queue(slot) => self.queue_at(slot).map(|queue| &queue.spec.name),
            Destination::Exchange(slot) => self.exchange_at(slot).map(|exchange| &exchange.spec.name),
        }
    }

    /// Undoes all bindings to a destination that goes, and deletes the auto-delete exchanges that lose their last one,
    /// and so on. A list instead of recursion: a chain may be as long as there are exchanges.
    pub(super) fn unbind_everywhere(&mut self, destination: Destination, name: &Arc<str>, sources: &[u32]) {
        let mut abandoned: Vec<u32> = Vec::new();
        self.unbind_from(destination, name, sources, &mut abandoned);
        while let Some(slot) = abandoned.pop() {
            if let Some(exchange) = self.take_exchange(slot) {
                let name = &exchange.spec.name;
                self.unbind_from(Destination::Exchange(slot), name, &exchange.sources, &mut abandoned);
            }
        }
    }

    fn unbind_from(&mut self, destination: Destination, name: &Arc<str>, sources: &[u32], abandoned: &mut Vec<u32>) {
        for &source in sources {
            let Some(exchange) = self.exchanges.get_mut(source as usize) else {
                continue;
            };
            if let Some(departed) = &mut self.departed {
                departed.extend(exchange.table.to(destination).map(|(key, arguments)| Departed::Binding {
                    source: exchange.spec.clone(),
                    destination,
                    name: name.clone(),
                    key: key.into(),
                    arguments: arguments.into(),
                }));
            }
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
            self.unbind_everywhere(Destination::Exchange(slot), &exchange.spec.name, &exchange.sources);
        }
    }

    fn take_exchange(&mut self, slot: u32) -> Option<Exchange> {
        self.raise(slot);
        self.forget_alternate(slot);
        self.note_departure(slot);
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

    /// Notes an exchange that goes with all its bindings as a source.
    fn note_departure(&mut self, slot: u32) {
        let Some(mut departed) = self.departed.take() else { return };
        if let Some(exchange) = self.exchange_at(slot) {
            let source = &exchange.spec;
            departed.push(Departed::Exchange(source.clone()));
            departed.extend(exchange.table.iter().filter_map(|(destination, key, arguments)| {
                let (source, name) = (source.clone(), self.destination_name(destination)?.clone());
                Some(Departed::Binding { source, destination, name, key: key.into(), arguments: arguments.into() })
            }));
        }
        self.departed = Some(departed);
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
