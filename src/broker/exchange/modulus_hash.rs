//! The x-modulus-hash exchange: the routing keys' hash modulo the number of destinations says which one (reference
//! section 10; RabbitMQ's `rabbit_exchange_type_modulus_hash`).

use super::{Destination, Routes, Target, stable};

/// The destinations, sorted by what does not change with a restart.
#[derive(Debug, Default)]
pub(super) struct ModulusHash {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name_hash: u64,
    destination: Destination,
    bindings: u32,
}

impl ModulusHash {
    pub(super) fn add(&mut self, target: Target) {
        let wanted = (target.name_hash, target.destination);
        match self.places.binary_search_by_key(&wanted, |place| (place.name_hash, place.destination)) {
            Ok(at) => self.places[at].bindings += 1,
            Err(at) => {
                let Target { name_hash, destination, .. } = target;
                self.places.insert(at, Place { name_hash, destination, bindings: 1 });
            }
        }
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        let Some(at) = self.places.iter().position(|place| place.destination == destination) else { return };
        self.places[at].bindings -= 1;
        if self.places[at].bindings == 0 {
            self.places.remove(at);
        }
    }

    /// `keys`: the routing key and those of CC and BCC; all of them count.
    pub(super) fn route(&self, keys: &[&str], out: &mut Routes) {
        let at = stable::texts(keys).checked_rem(self.places.len() as u64);
        out.extend(at.and_then(|at| self.places.get(at as usize)).map(|place| place.destination));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bind, routed, table, unbind};
    use super::super::{Destination::Queue, ExchangeKind};
    use super::*;

    #[test]
    fn equal_shares_and_the_same_for_the_same_key() {
        let mut exchange = table(ExchangeKind::ModulusHash);
        assert_eq!(routed(&exchange, "k"), []);
        for queue in 0..4 {
            assert!(bind(&mut exchange, queue, "whatever"));
            assert!(bind(&mut exchange, queue, "twice"));
        }
        let mut shares = [0; 4];
        for key in 0..100_000 {
            let key = format!("key-{key}");
            let [Queue(queue)] = routed(&exchange, &key)[..] else { panic!("not one queue") };
            assert_eq!(routed(&exchange, &key), [Queue(queue)]);
            shares[queue as usize] += 1;
        }
        assert!(shares.iter().all(|share| (24_500..25_500).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_order_of_the_bindings_does_not_count() {
        let (mut one, mut other) = (table(ExchangeKind::ModulusHash), table(ExchangeKind::ModulusHash));
        (0..9).for_each(|queue| assert!(bind(&mut one, queue, "")));
        (0..20).rev().for_each(|queue| assert!(bind(&mut other, queue, "a")));
        (0..9).for_each(|queue| assert!(bind(&mut other, queue, "b")));
        (0..20).for_each(|queue| assert!(unbind(&mut other, queue, "a")));
        for key in 0..1000 {
            assert_eq!(routed(&one, &key.to_string()), routed(&other, &key.to_string()));
        }
    }

    #[test]
    fn all_keys_count() {
        let mut hash = ModulusHash::default();
        for queue in 0..8 {
            hash.add(Target::new(Queue(queue), &queue.to_string(), 0));
        }
        let route = |keys: &[&str]| {
            let mut out = Routes::new();
            hash.route(keys, &mut out);
            out.to_vec()
        };
        assert!((0..20).any(|key| route(&["k", &key.to_string()]) != route(&["k"])));
        assert_eq!(route(&["k", "l"]).len(), 1);
    }
}
