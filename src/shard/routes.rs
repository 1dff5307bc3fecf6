//! Routes of topic exchanges by routing key, so that a key seen before costs one look-up and no walk of the trie.

use ahash::RandomState;

use crate::broker::routing::Route;
use crate::broker::topology::Map;

#[derive(Debug)]
struct ExchangeRoutes {
    epoch: u64,
    by_key: Map<Box<str>, Route>,
}

/// Cached routes by exchange slot.
#[derive(Debug)]
pub(super) struct Routes {
    exchanges: Map<u32, ExchangeRoutes>,
    hash: RandomState,
}

impl Routes {
    pub(super) fn new(hash: RandomState) -> Routes {
        Routes { exchanges: Map::with_hasher(hash.clone()), hash }
    }

    /// The route for a key, found while the exchange had this epoch.
    pub(super) fn find(&self, slot: u32, epoch: u64, key: &str) -> Option<&Route> {
        self.exchanges.get(&slot).filter(|routes| routes.epoch == epoch)?.by_key.get(key)
    }

    /// Remembers a route; at most `max` per exchange, then it begins anew.
    pub(super) fn insert(&mut self, slot: u32, epoch: u64, key: &str, route: &Route, max: usize) {
        let hash = &self.hash;
        let routes = self
            .exchanges
            .entry(slot)
            .or_insert_with(|| ExchangeRoutes { epoch, by_key: Map::with_hasher(hash.clone()) });
        if routes.epoch != epoch || routes.by_key.len() >= max {
            routes.by_key.clear();
            routes.epoch = epoch;
        }
        routes.by_key.insert(key.into(), route.clone());
    }
}
