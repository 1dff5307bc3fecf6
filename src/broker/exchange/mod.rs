//! The routing tables of one exchange: which destinations a message reaches.
//!
//! Pure data: what comes out depends on the bindings and the order in which they came, never on hashes or seeds.
//! Sources: reference sections 7.5 and 10 (`rabbit_binding`, `rabbit_exchange_type_*`, `rabbit_db_topic_exchange`).
//!
//! Keys and argument tables are numbered; a binding is three numbers in one sorted set, which finds a binding, lists
//! those of a destination, and gives [`RoutingTable::iter`] its order. What routing needs hangs on the keys (direct and
//! topic) or on the argument tables (headers): the destinations, counted.

mod direct;
mod fanout;
mod headers;
mod interner;
mod members;
mod slot_index;
mod topic;

use std::collections::BTreeSet;

use ahash::RandomState;
use smallvec::SmallVec;

use super::arguments;
use crate::amqp::Table;
use fanout::Fanout;
use headers::{Headers, Rule};
use interner::Interner;
use topic::{Leaf, Topic};

/// Where a binding leads. The numbers are slots in the topology tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A queue
    Queue(u32),
    /// Another exchange
    Exchange(u32),
}

/// What [`RoutingTable::route`] appends to.
pub type Routes = SmallVec<[Destination; 8]>;

/// The exchange types of the specification (section 3.1.3).
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
}

impl ExchangeKind {
    /// The name as in `exchange.declare`.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Headers => "headers",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<ExchangeKind> {
        [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic, ExchangeKind::Headers]
            .into_iter()
            .find(|kind| kind.name() == name)
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
}

impl RoutingTable {
    /// A table without bindings. Keys come from peers, so the seeds of `hash` should be secret; they do not show.
    pub fn new(kind: ExchangeKind, hash: RandomState) -> RoutingTable {
        RoutingTable {
            bindings: BTreeSet::new(),
            keys: Interner::new(hash.clone()),
            arguments: Interner::new(hash.clone()),
            matching: match kind {
                ExchangeKind::Direct => Matching::Direct,
                ExchangeKind::Fanout => Matching::Fanout(Fanout::new(hash)),
                ExchangeKind::Topic => Matching::Topic(Topic::new(hash)),
                ExchangeKind::Headers => Matching::Headers(Headers::new(hash)),
            },
        }
    }

    /// Whether an exchange of this kind takes such a binding (reference section 7.5).
    ///
    /// # Errors
    /// The explanation for a 406.
    pub fn validate(kind: ExchangeKind, key: &str, arguments: Table<'_>) -> Result<(), String> {
        match kind {
            ExchangeKind::Direct | ExchangeKind::Fanout => Ok(()),
            ExchangeKind::Topic => topic::validate(key),
            ExchangeKind::Headers => headers::validate(arguments),
        }
    }

    /// Adds a binding; false when there is an identical one: destination, key and arguments (their order aside).
    pub fn bind(&mut self, destination: Destination, key: &str, arguments: Table<'_>) -> bool {
        let arguments = arguments::canonical(arguments);
        if self.find(destination, key, &arguments).is_some() {
            return false;
        }
        let key = self.keys.intern(key);
        let arguments = self.arguments.intern(&arguments);
        self.bindings.insert((destination, key, arguments));
        match &mut self.matching {
            Matching::Direct => self.keys.leaf_mut(key).members.add(destination),
            Matching::Fanout(fanout) => fanout.add(destination),
            Matching::Topic(topic) => topic.add(&mut self.keys, key, destination),
            Matching::Headers(headers) => headers.add(&mut self.arguments, arguments, destination),
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
        let all = (destination, 0, 0)..=(destination, u32::MAX, u32::MAX);
        let bindings: Vec<_> = self.bindings.range(all).copied().collect();
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

    /// The bindings sorted by destination: destination, key, contents of the argument table (sorted by key).
    pub fn iter(&self) -> impl Iterator<Item = (Destination, &str, &[u8])> {
        self.bindings
            .iter()
            .map(|&(destination, key, arguments)| (destination, self.keys.value(key), self.arguments.value(arguments)))
    }

    /// Appends the destinations of a message with one of its routing keys, each at most once per call. `headers` is
    /// `None` when the message has none.
    pub fn route(&self, key: &str, headers: Option<Table<'_>>, out: &mut Routes) {
        match &self.matching {
            Matching::Direct => direct::route(&self.keys, key, out),
            Matching::Fanout(fanout) => fanout.route(out),
            Matching::Topic(topic) => topic.route(&self.keys, key, out),
            Matching::Headers(table) => table.route(&self.arguments, headers.unwrap_or_default(), out),
        }
    }

    /// Whether [`RoutingTable::route`] looks at the headers, so that its result holds for one message only.
    pub fn needs_headers(&self) -> bool {
        matches!(self.matching, Matching::Headers(_))
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
            Matching::Fanout(fanout) => fanout.remove(destination),
            Matching::Topic(topic) => topic.remove(&mut self.keys, key, destination),
            Matching::Headers(headers) => headers.remove(&mut self.arguments, arguments, destination),
        }
        self.keys.release(key);
        self.arguments.release(arguments);
    }
}

#[cfg(test)]
mod tests;
