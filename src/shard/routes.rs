//! Routes by exchange and routing key as published, so that names seen before cost one hash and one comparison,
//! whatever the exchange's type. A table of places: what comes later takes an earlier one's place, memory and all.

use std::ops::Range;

use ahash::RandomState;

use crate::broker::routing::Route;
use crate::broker::topology::{ExchangeKey, QueueKey, Topology, VhostId};

/// A route that was looked up.
#[derive(Debug, Default)]
pub(super) struct CachedRoute {
    vhost: VhostId,
    /// Exchange and routing key as in the method; empty: nothing is here yet.
    names: Vec<u8>,
    /// The exchange it was found at, and its epoch; none for the default exchange.
    exchange: Option<(ExchangeKey, u64)>,
    /// The queue, where it leads to a single one of this shard.
    pub(super) single: Option<QueueKey>,
    /// Where it leads.
    pub(super) route: Route,
}

impl CachedRoute {
    /// Whether a new look-up for the same names would find the same.
    #[inline]
    fn holds(&self, topology: &Topology) -> bool {
        match self.exchange {
            Some((key, epoch)) => topology.exchange_at(key.slot).is_some_and(|exchange| exchange.epoch == epoch),
            // The default exchange: as long as its one queue lives.
            None => {
                let key = self.route.local.first().or_else(|| self.route.remote.first()?.1.first());
                key.is_some_and(|key| topology.queue(*key).is_some())
            }
        }
    }
}

/// The routes that a shard remembers.
#[derive(Debug)]
pub(super) struct Routes {
    places: Vec<Option<Box<CachedRoute>>>,
    places_max: usize,
    /// Routes that gave way since the table last grew.
    displaced: usize,
    hash: RandomState,
}

/// Names of one hash have so many places.
const WAYS: usize = 4;
/// Places of a table that was just begun.
const PLACES_FIRST: usize = 64;

impl Routes {
    /// No routes; never more than `max`, rounded up to a power of two.
    pub(super) fn new(hash: RandomState, max: usize) -> Routes {
        Routes { places: Vec::new(), places_max: max.next_power_of_two().max(WAYS), displaced: 0, hash }
    }

    /// The places where a route for these names may be.
    #[inline]
    fn places(&self, vhost: VhostId, names: &[u8]) -> Range<usize> {
        let first = self.hash.hash_one((vhost, names)) as usize & self.places.len().wrapping_sub(WAYS);
        first & !(WAYS - 1)..(first & !(WAYS - 1)) + WAYS
    }

    /// Takes the route for these names out, if one is remembered that still holds; it is to be [put back](Routes::put).
    /// `guess` is the place where it was last time, and is told where it is.
    #[inline]
    pub(super) fn take(
        &mut self,
        vhost: VhostId,
        names: &[u8],
        guess: &mut u32,
        topology: &Topology,
    ) -> Option<Box<CachedRoute>> {
        let fits = |place: &mut Box<CachedRoute>| place.vhost == vhost && place.names == names && place.holds(topology);
        if let Some(found) = self.places.get_mut(*guess as usize).and_then(|place| place.take_if(fits)) {
            return Some(found);
        }
        let places = self.places(vhost, names);
        *guess = places.start as u32;
        for place in self.places.get_mut(places)? {
            if let Some(found) = place.take_if(fits) {
                return Some(found);
            }
            *guess += 1;
        }
        None
    }

    /// The route for these names, if one is remembered that still holds.
    pub(super) fn find(&self, vhost: VhostId, names: &[u8], topology: &Topology) -> Option<&Route> {
        let mut places = self.places.get(self.places(vhost, names))?.iter().flatten();
        let found = places.find(|place| place.vhost == vhost && place.names == names)?;
        found.holds(topology).then_some(&found.route)
    }

    /// Puts a route back where it was taken.
    #[inline(always)]
    pub(super) fn put_back(&mut self, route: Box<CachedRoute>, at: u32) {
        if let Some(place) = self.places.get_mut(at as usize) {
            *place = Some(route);
        }
    }

    /// Remembers a route that was found at `exchange`. One that leads nowhere is not remembered: a queue of that name
    /// may come at any time. Nor is one that depends on more than names.
    pub(super) fn insert(&mut self, vhost: VhostId, names: &[u8], exchange: Option<(ExchangeKey, u64)>, route: &Route) {
        if !route.cacheable || route.is_empty() {
            return;
        }
        self.grow();
        let places = self.places(vhost, names);
        let Some(places) = self.places.get_mut(places) else { return };
        // Where it was, or where nothing is, or in turn.
        let same = |place: &Option<Box<CachedRoute>>| {
            place.as_deref().is_some_and(|place| place.vhost == vhost && place.names == names)
        };
        let at = places.iter().position(same).or_else(|| places.iter().position(Option::is_none));
        let at = at.unwrap_or_else(|| {
            self.displaced += 1;
            self.displaced % WAYS
        });
        let Some(place) = places.get_mut(at) else { return };
        let cached = place.get_or_insert_default();
        cached.vhost = vhost;
        cached.names.clear();
        cached.names.extend_from_slice(names);
        cached.exchange = exchange;
        cached.route.clone_from(route);
        cached.single = match &route.local[..] {
            [key] if route.remote.is_empty() => Some(*key),
            _ => None,
        };
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }

    /// Doubles the table once an eighth as many routes gave way as it has places.
    fn grow(&mut self) {
        if self.displaced * 8 < self.places.len() || self.places.len() >= self.places_max {
            return;
        }
        let len = (self.places.len() * 2).clamp(PLACES_FIRST.min(self.places_max), self.places_max);
        let old = std::mem::take(&mut self.places);
        self.places.resize_with(len, || None);
        self.displaced = 0;
        for route in old.into_iter().flatten() {
            let places = self.places(route.vhost, &route.names);
            let empty = self.places.get_mut(places).and_then(|places| places.iter_mut().find(|place| place.is_none()));
            if let Some(place) = empty {
                *place = Some(route);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(slot: u32) -> Route {
        let key = QueueKey { slot, generation: 1 };
        Route { local: [key].into_iter().collect(), cacheable: true, ..Route::default() }
    }

    #[test]
    fn what_is_remembered_is_found_as_long_as_its_exchange_has_not_changed() {
        let hash = RandomState::with_seeds(1, 2, 3, 4);
        let topology = Topology::new(&["/".to_string()], hash.clone());
        let exchange = topology.find_exchange(0, "amq.direct").unwrap();
        let now = Some((exchange.key, exchange.epoch));
        let mut routes = Routes::new(hash, 256);
        let name = |n: u32| format!("\x01e\x04{n:04}").into_bytes();
        for n in 0..10_000 {
            routes.insert(0, &name(n), now, &route(n));
            assert_eq!(routes.find(0, &name(n), &topology), Some(&route(n)), "the latest is always there");
            assert_eq!(routes.find(1, &name(n), &topology), None, "another vhost");
        }
        assert_eq!(routes.places.len(), 256);
        let found = (0..10_000).filter(|n| routes.find(0, &name(*n), &topology).is_some()).count();
        assert!((200..=256).contains(&found), "{found}");

        let mut at = u32::MAX;
        let taken = routes.take(0, &name(9_999), &mut at, &topology).unwrap();
        assert_eq!(taken.single, Some(QueueKey { slot: 9_999, generation: 1 }));
        assert!(routes.take(0, &name(9_999), &mut at, &topology).is_none(), "it is out");
        routes.put_back(taken, at);
        assert!(routes.take(0, &name(9_999), &mut at, &topology).is_some());

        let (empty, fickle) = (Route { cacheable: true, ..Route::default() }, Route { cacheable: false, ..route(1) });
        for (what, exchange, route) in [
            ("an older epoch", Some((exchange.key, exchange.epoch + 1)), &route(1)),
            ("a queue that is gone", None, &route(1)),
            ("no queue", now, &empty),
            ("a route by headers", now, &fickle),
        ] {
            routes.insert(0, what.as_bytes(), exchange, route);
            assert_eq!(routes.find(0, what.as_bytes(), &topology), None, "{what}");
        }
    }
}
