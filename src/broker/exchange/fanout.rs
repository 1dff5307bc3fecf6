//! The fanout exchange: every destination, whatever the key (reference section 10).

use std::collections::HashMap;

use ahash::RandomState;

use super::Destination;

/// The destinations in one vector, so that routing copies it; and where each stands, so that removing one is cheap.
#[derive(Debug)]
pub(super) struct Fanout {
    destinations: Vec<Destination>,
    places: HashMap<Destination, Place, RandomState>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    bindings: u32,
}

impl Fanout {
    pub(super) fn new(hash: RandomState) -> Fanout {
        Fanout { destinations: vec![], places: HashMap::with_hasher(hash) }
    }

    pub(super) fn add(&mut self, destination: Destination) {
        let at = self.destinations.len() as u32;
        let place = self.places.entry(destination).or_insert(Place { at, bindings: 0 });
        place.bindings += 1;
        if place.bindings == 1 {
            self.destinations.push(destination);
        }
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        let Some(place) = self.places.get_mut(&destination) else {
            return;
        };
        place.bindings -= 1;
        if place.bindings > 0 {
            return;
        }
        let at = place.at;
        self.places.remove(&destination);
        self.destinations.swap_remove(at as usize);
        if let Some(moved) = self.destinations.get(at as usize).and_then(|moved| self.places.get_mut(moved)) {
            moved.at = at;
        }
    }

    pub(super) fn destinations(&self) -> &[Destination] {
        &self.destinations
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bind, routed, table};
    use super::super::{Destination::Queue, ExchangeKind};
    use crate::amqp::Table;

    #[test]
    fn every_destination_once_whatever_the_key() {
        let mut exchange = table(ExchangeKind::Fanout);
        for (queue, key) in [(3, ""), (1, "a"), (1, "b"), (2, "")] {
            assert!(bind(&mut exchange, queue, key));
        }
        assert_eq!(routed(&exchange, "zzz"), [Queue(3), Queue(1), Queue(2)]);
        assert!(exchange.unbind(Queue(1), "a", Table::EMPTY));
        assert_eq!(routed(&exchange, ""), [Queue(3), Queue(1), Queue(2)], "still bound with another key");
        assert_eq!(exchange.remove_destination(Queue(3)), 1);
        assert_eq!(routed(&exchange, ""), [Queue(2), Queue(1)]);
        assert!(exchange.unbind(Queue(1), "b", Table::EMPTY));
        assert!(exchange.unbind(Queue(2), "", Table::EMPTY));
        assert!(routed(&exchange, "").is_empty());
    }
}
