//! The x-random and x-local-random exchanges: one of the destinations, drawn anew for each message (reference sections
//! 7.5 and 10; RabbitMQ's `rabbit_exchange_type_random`, `rabbit_exchange_type_local_random`).

use std::cell::Cell;

use ahash::RandomState;

use super::fanout::Fanout;
use super::{Destination, Routes, Target, stable};
use crate::broker::queue_arguments::QueueType;

/// Lots that are drawn from a given seed (SplitMix64).
#[derive(Debug, Default)]
pub struct Lots {
    drawn: Cell<u64>,
}

impl Lots {
    /// Lots that follow from the seed.
    pub fn new(seed: u64) -> Lots {
        Lots { drawn: Cell::new(seed) }
    }

    /// A number below `count`, each as likely as the others; 0 if there is none.
    pub fn below(&self, count: usize) -> usize {
        let next = self.drawn.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.drawn.set(next);
        ((u128::from(stable::mix(next)) * count as u128) >> 64) as usize
    }
}

/// Appends one of these.
pub(super) fn pick(destinations: &[Destination], lots: &Lots, out: &mut Routes) {
    if !destinations.is_empty() {
        out.extend(destinations.get(lots.below(destinations.len())).copied());
    }
}

/// Whether x-local-random takes such a binding; `queue`: what the destination is, if it is a queue.
pub(super) fn validate_local(key: &str, queue: Option<QueueType>) -> Result<(), String> {
    match queue {
        _ if !key.is_empty() => Err(format!("Non empty binding '{key}' key not permitted")),
        None => Err("Destination not found".to_owned()),
        Some(QueueType::Classic) => Ok(()),
        Some(other) => Err(format!("Queue type {} not valid for this exchange type", other.module())),
    }
}

/// The queues of each shard. RabbitMQ's "local" is the node, which is one here: every queue will do, but one of the
/// publisher's own shard is nearest.
#[derive(Debug)]
pub(super) struct LocalRandom {
    shards: Vec<Fanout>,
    hash: RandomState,
}

impl LocalRandom {
    pub(super) fn new(hash: RandomState) -> LocalRandom {
        LocalRandom { shards: vec![], hash }
    }

    pub(super) fn add(&mut self, target: Target) {
        let shard = usize::from(target.shard);
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, || Fanout::new(self.hash.clone()));
        }
        self.shards[shard].add(target.destination);
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        self.shards.iter_mut().for_each(|shard| shard.remove(destination));
    }

    pub(super) fn route(&self, shard: u8, lots: &Lots, out: &mut Routes) {
        if let Some(own) = self.shards.get(usize::from(shard)).filter(|own| !own.destinations().is_empty()) {
            return pick(own.destinations(), lots, out);
        }
        let count: usize = self.shards.iter().map(|shard| shard.destinations().len()).sum();
        if count == 0 {
            return;
        }
        let mut left = lots.below(count);
        for shard in &self.shards {
            if let Some(found) = shard.destinations().get(left) {
                return out.push(*found);
            }
            left -= shard.destinations().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{bind, routed_with, table, unbind};
    use super::super::{Destination::Queue, ExchangeKind, RoutingTable};
    use super::*;
    use crate::amqp::Table;

    fn shares(exchange: &RoutingTable, shard: u8) -> BTreeMap<Destination, u32> {
        let lots = Lots::new(5);
        let mut shares = BTreeMap::new();
        for _ in 0..40_000 {
            let [found] = routed_with(exchange, "k", shard, &lots)[..] else { panic!("not one destination") };
            *shares.entry(found).or_default() += 1;
        }
        shares
    }

    #[test]
    fn each_is_as_likely() {
        let mut exchange = table(ExchangeKind::Random);
        assert_eq!(routed_with(&exchange, "k", 0, &Lots::new(1)), []);
        for queue in 0..4 {
            assert!(bind(&mut exchange, queue, "a"));
        }
        assert!(bind(&mut exchange, 3, "b"), "twice bound is not twice as likely");
        let shares = shares(&exchange, 0);
        assert_eq!(shares.len(), 4);
        assert!(shares.values().all(|share| (9_500..10_500).contains(share)), "{shares:?}");
        assert!(!exchange.is_cacheable());
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let (a, b, c) = (Lots::new(1), Lots::new(1), Lots::new(2));
        let draw = |lots: &Lots| (0..50).map(|_| lots.below(1000)).collect::<Vec<_>>();
        let first = draw(&a);
        assert_eq!(first, draw(&b));
        assert_ne!(first, draw(&c));
        assert_ne!(first, draw(&a), "not again");
        assert_eq!(a.below(0), 0);
        assert!((0..1000).all(|_| a.below(1) == 0));
    }

    #[test]
    fn queues_of_the_own_shard_go_first() {
        let mut exchange = table(ExchangeKind::LocalRandom);
        for queue in 0..6 {
            let target = Target::new(Queue(queue), "", (queue % 3) as u8);
            assert!(exchange.bind(target, "", Table::EMPTY));
        }
        let near = |shard| shares(&exchange, shard).into_keys().collect::<Vec<_>>();
        assert_eq!(near(0), [Queue(0), Queue(3)]);
        assert_eq!(near(2), [Queue(2), Queue(5)]);
        assert_eq!(near(3).len(), 6, "there is none of the own");
        assert!(shares(&exchange, 63).values().all(|share| (6_200..7_200).contains(share)));
        for queue in [0, 3] {
            assert!(unbind(&mut exchange, queue, ""));
        }
        assert_eq!(shares(&exchange, 0).len(), 4);
        for queue in [1, 2, 4, 5] {
            assert_eq!(exchange.remove_destination(Queue(queue)), 1);
        }
        assert_eq!(routed_with(&exchange, "k", 0, &Lots::new(1)), []);
    }

    #[test]
    fn what_may_be_bound_to_a_local_one() {
        for (key, queue, text) in [
            ("", Some(QueueType::Classic), None),
            ("k", Some(QueueType::Classic), Some("Non empty binding 'k' key not permitted")),
            ("k", None, Some("Non empty binding 'k' key not permitted")),
            ("", None, Some("Destination not found")),
            ("", Some(QueueType::Quorum), Some("Queue type rabbit_quorum_queue not valid for this exchange type")),
        ] {
            let found = RoutingTable::validate(ExchangeKind::LocalRandom, key, Table::EMPTY, queue);
            assert_eq!(found.err().as_deref(), text, "{key}");
        }
    }
}
