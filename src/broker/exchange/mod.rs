//! The routing tables of one exchange: which destinations a message reaches.
//!
//! Pure data: what comes out depends on the bindings and the order in which they came, never on hashes or seeds.
//! Sources: reference sections 7.5 and 10 (`rabbit_binding`, `rabbit_exchange_type_*`, `rabbit_db_topic_exchange`).
//!
//! Keys and argument tables are numbered; a binding is three numbers in one sorted set, which finds a binding, lists
//! those of a destination, and gives [`RoutingTable::iter`] its order. What routing needs hangs on the keys (direct and
//! topic) or on the argument tables (headers): the destinations, counted.

mod consistent_hash;
mod direct;
mod fanout;
mod headers;
mod interner;
mod members;
mod modulus_hash;
mod random;
pub mod recent_history;
mod slot_index;
mod stable;
mod topic;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ahash::RandomState;
use smallvec::SmallVec;

use super::arguments;
use super::queue_arguments::QueueType;
use crate::amqp::{Properties, Table};
use consistent_hash::ConsistentHash;
use fanout::Fanout;
use headers::{Headers, Rule};
use interner::Interner;
use modulus_hash::ModulusHash;
use random::LocalRandom;
pub use random::Lots;
pub use stable::binding_hash;
use topic::{Leaf, Topic};

/// Where a binding leads. The numbers are slots in the topology tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue
    Queue(u32),
    /// Another exchange
    Exchange(u32),
}

/// A destination, and what a binding has to know of it beyond its slot.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    destination: Destination,
    /// Of its name: unlike the slot, the same after a restart
    name_hash: u64,
    shard: u8,
}

impl Target {
    /// The destination of this name; `shard`: where it lives, if it is a queue.
    pub fn new(destination: Destination, name: &str, shard: u8) -> Target {
        let kind = match destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        };
        Target { destination, name_hash: stable::texts(&[kind, name]), shard }
    }
}

/// What is asked of an exchange: where a message goes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The routing key, and those that the headers CC and BCC add.
    pub keys: &'a [&'a str],
    /// The message's properties.
    pub properties: &'a Properties<'a>,
    /// The shard that asks.
    pub shard: u8,
    /// For exchanges that leave it to chance.
    pub lots: &'a Lots,
}

/// What [`RoutingTable::route`] appends to.
pub type Routes = SmallVec<[Destination; 8]>;

/// The exchange types: of the specification (section 3.1.3), and RabbitMQ's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// The message's key equals the binding's
    Direct,
    /// Every binding
    Fanout,
    /// The message's key fits the binding's pattern
    Topic,
    /// The message's headers fit the binding's arguments
    Headers,
    /// One binding, by a hash and the bindings' weights
    ConsistentHash,
    /// One binding, by a hash
    ModulusHash,
    /// Any one binding
    Random,
    /// Any one queue, a near one if there is one
    LocalRandom,
    /// Every binding, and new ones get the last messages again
    RecentHistory,
}

impl ExchangeKind {
    const ALL: [ExchangeKind; 9] = [
        ExchangeKind::Direct,
        ExchangeKind::Fanout,
        ExchangeKind::Topic,
        ExchangeKind::Headers,
        ExchangeKind::ConsistentHash,
        ExchangeKind::ModulusHash,
        ExchangeKind::Random,
        ExchangeKind::LocalRandom,
        ExchangeKind::RecentHistory,
    ];

    /// The name as in `exchange.declare`.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Headers => "headers",
            ExchangeKind::ConsistentHash => "x-consistent-hash",
            ExchangeKind::ModulusHash => "x-modulus-hash",
            ExchangeKind::Random => "x-random",
            ExchangeKind::LocalRandom => "x-local-random",
            ExchangeKind::RecentHistory => "x-recent-history",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<ExchangeKind> {
        ExchangeKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

type Keys = Interner<str, Leaf>;
type ArgumentTables = Interner<[u8], Rule>;

/// One exchange's bindings with itself as the source.
#[derive(Debug)]
pub struct RoutingTable {
    /// Destination, slot of the key, slot of the argument table
    bindings: BTreeSet<(Destination, u32, u32)>,
    keys: Keys,
    arguments: ArgumentTables,
    matching: Matching,
}

#[derive(Debug)]
enum Matching {
    Direct,
    Fanout(Fanout),
    Topic(Topic),
    Headers(Headers),
    ConsistentHash(ConsistentHash),
    ModulusHash(ModulusHash),
    Random(Fanout),
    LocalRandom(LocalRandom),
}

impl RoutingTable {
    /// A table without bindings, of an exchange declared with these arguments. Keys come from peers, so the seeds of
    /// `hash` should be secret; they do not show.
    pub fn new(kind: ExchangeKind, declared: Table<'_>, hash: RandomState) -> RoutingTable {
        RoutingTable {
            bindings: BTreeSet::new(),
            keys: Interner::new(hash.clone()),
            arguments: Interner::new(hash.clone()),
            matching: match kind {
                ExchangeKind::Direct => Matching::Direct,
                ExchangeKind::Fanout | ExchangeKind::RecentHistory => Matching::Fanout(Fanout::new(hash)),
                ExchangeKind::Topic => Matching::Topic(Topic::new(hash)),
                ExchangeKind::Headers => Matching::Headers(Headers::new(hash)),
                ExchangeKind::ConsistentHash => Matching::ConsistentHash(ConsistentHash::new(declared)),
                ExchangeKind::ModulusHash => Matching::ModulusHash(ModulusHash::default()),
                ExchangeKind::Random => Matching::Random(Fanout::new(hash)),
                ExchangeKind::LocalRandom => Matching::LocalRandom(LocalRandom::new(hash)),
            },
        }
    }

    /// Whether an exchange of this kind may have such arguments; `exchange`: what texts call it.
    ///
    /// # Errors
    /// The explanation for a 406.
    pub fn validate_declare(kind: ExchangeKind, arguments: Table<'_>, exchange: &str) -> Result<(), String> {
        match kind {
            ExchangeKind::ConsistentHash => consistent_hash::validate(arguments, exchange),
            ExchangeKind::RecentHistory => recent_history::validate(arguments),
            _ => Ok(()),
        }
    }

    /// Whether an exchange of this kind takes such a binding (reference section 7.5). `queue`: what the destination is,
    /// if it is a queue.
    ///
    /// # Errors
    /// The explanation for a 406.
    pub fn validate(
        kind: ExchangeKind,
        key: &str,
        arguments: Table<'_>,
        queue: Option<QueueType>,
    ) -> Result<(), String> {
        match kind {
            ExchangeKind::Direct
            | ExchangeKind::Fanout
            | ExchangeKind::ModulusHash
            | ExchangeKind::Random
            | ExchangeKind::RecentHistory => Ok(()),
            ExchangeKind::Topic => topic::validate(key),
            ExchangeKind::Headers => headers::validate(arguments),
            ExchangeKind::ConsistentHash => consistent_hash::weight(key).map(|_| ()),
            ExchangeKind::LocalRandom => random::validate_local(key, queue),
        }
    }

    /// Whether [`RoutingTable::bind`] would add this binding.
    pub fn takes(&self, destination: Destination, key: &str, arguments: Table<'_>) -> bool {
        match self.matching {
            // The first binding to a destination is its weight; further ones are ignored.
            Matching::ConsistentHash(_) => self.bindings.range(every_binding(destination)).next().is_none(),
            _ => !self.contains(destination, key, arguments),
        }
    }

    /// Adds a binding; false when there is an identical one (destination, key and arguments, their order aside), or one
    /// that leaves it without effect.
    pub fn bind(&mut self, target: Target, key: &str, arguments: Table<'_>) -> bool {
        let destination = target.destination;
        if !self.takes(destination, key, arguments) {
            return false;
        }
        if let Matching::ConsistentHash(hash) = &mut self.matching {
            hash.add(target, key);
        }
        let key = self.keys.intern(key);
        let arguments = self.arguments.intern(&arguments::canonical(arguments));
        self.bindings.insert((destination, key, arguments));
        match &mut self.matching {
            Matching::Direct => self.keys.leaf_mut(key).members.add(destination),
            Matching::Fanout(fanout) | Matching::Random(fanout) => fanout.add(destination),
            Matching::Topic(topic) => topic.add(&mut self.keys, key, destination),
            Matching::Headers(headers) => headers.add(&mut self.arguments, arguments, destination),
            Matching::ConsistentHash(_) => {}
            Matching::ModulusHash(hash) => hash.add(target),
            Matching::LocalRandom(local) => local.add(target),
        }
        true
    }

    /// Removes a binding; whether there was one.
    pub fn unbind(&mut self, destination: Destination, key: &str, arguments: Table<'_>) -> bool {
        let found = self.find(destination, key, &arguments::canonical(arguments));
        if let Some((key, arguments)) = found {
            self.remove(destination, key, arguments);
        }
        found.is_some()
    }

    /// Whether this very binding exists.
    pub fn contains(&self, destination: Destination, key: &str, arguments: Table<'_>) -> bool {
        self.find(destination, key, &arguments::canonical(arguments)).is_some()
    }

    /// Drops every binding to the destination, in time that depends on these alone; returns how many.
    pub fn remove_destination(&mut self, destination: Destination) -> usize {
        let bindings: Vec<_> = self.bindings.range(every_binding(destination)).copied().collect();
        for &(destination, key, arguments) in &bindings {
            self.remove(destination, key, arguments);
        }
        bindings.len()
    }

    /// How many bindings there are.
    pub fn binding_count(&self) -> usize {
        self.bindings.len()
    }

    /// Whether there is no binding.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// The bindings to a destination: key, contents of the argument table (sorted by key).
    pub fn to(&self, destination: Destination) -> impl Iterator<Item = (&str, &[u8])> {
        let bindings = self.bindings.range(every_binding(destination));
        bindings.map(|&(_, key, arguments)| (self.keys.value(key), self.arguments.value(arguments)))
    }

    /// The bindings sorted by destination: destination, key, contents of the argument table (sorted by key).
    pub fn iter(&self) -> impl Iterator<Item = (Destination, &str, &[u8])> {
        self.bindings
            .iter()
            .map(|&(destination, key, arguments)| (destination, self.keys.value(key), self.arguments.value(arguments)))
    }

    /// Appends the destinations of a message, each at most once for each routing key.
    pub fn route(&self, asked: &Asked<'_>, out: &mut Routes) {
        match &self.matching {
            Matching::Direct => asked.keys.iter().for_each(|key| direct::route(&self.keys, key, out)),
            Matching::Fanout(fanout) => out.extend_from_slice(fanout.destinations()),
            Matching::Topic(topic) => asked.keys.iter().for_each(|key| topic.route(&self.keys, key, out)),
            Matching::Headers(table) => table.route(&self.arguments, asked.properties.headers.unwrap_or_default(), out),
            Matching::ConsistentHash(hash) => hash.route(asked, out),
            Matching::ModulusHash(hash) => hash.route(asked.keys, out),
            Matching::Random(fanout) => random::pick(fanout.destinations(), asked.lots, out),
            Matching::LocalRandom(local) => local.route(asked.shard, asked.lots, out),
        }
    }

    /// Whether what [`RoutingTable::route`] finds for one message holds for all others with the same routing keys.
    pub fn is_cacheable(&self) -> bool {
        match &self.matching {
            Matching::Direct | Matching::Fanout(_) | Matching::Topic(_) | Matching::ModulusHash(_) => true,
            Matching::ConsistentHash(hash) => hash.is_by_key(),
            Matching::Headers(_) | Matching::Random(_) | Matching::LocalRandom(_) => false,
        }
    }

    fn find(&self, destination: Destination, key: &str, arguments: &[u8]) -> Option<(u32, u32)> {
        let key = self.keys.find(key)?;
        let arguments = self.arguments.find(arguments)?;
        self.bindings.contains(&(destination, key, arguments)).then_some((key, arguments))
    }

    fn remove(&mut self, destination: Destination, key: u32, arguments: u32) {
        self.bindings.remove(&(destination, key, arguments));
        match &mut self.matching {
            Matching::Direct => self.keys.leaf_mut(key).members.remove(destination),
            Matching::Fanout(fanout) | Matching::Random(fanout) => fanout.remove(destination),
            Matching::Topic(topic) => topic.remove(&mut self.keys, key, destination),
            Matching::Headers(headers) => headers.remove(&mut self.arguments, arguments, destination),
            Matching::ConsistentHash(hash) => hash.remove(destination),
            Matching::ModulusHash(hash) => hash.remove(destination),
            Matching::LocalRandom(local) => local.remove(destination),
        }
        self.keys.release(key);
        self.arguments.release(arguments);
    }
}

fn every_binding(destination: Destination) -> RangeInclusive<(Destination, u32, u32)> {
    (destination, 0, 0)..=(destination, u32::MAX, u32::MAX)
}

#[cfg(test)]
mod tests;
