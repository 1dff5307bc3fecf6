//! Names and bindings: every shard has a copy of these tables and applies the same changes in the same order.
//!
//! Slots are handed out by the tables themselves. As all copies apply the same log, a slot means the same object on
//! every shard that has applied the same version; a generation tells an object from others that had its slot.

use std::sync::Arc;

use ahash::RandomState;
use slab::Slab;
use smallvec::SmallVec;

use super::exchange::{Destination, ExchangeKind, RoutingTable};
use crate::amqp::Table;

/// A hash map with the shard's seed.
pub type Map<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A queue's identity: a slot in the tables and the version that put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Place in the table of queues.
    pub slot: u32,
    /// Told apart from other queues that had the slot.
    pub generation: u32,
}

/// A virtual host's number.
pub type VhostId = u16;

/// The connection that an exclusive queue belongs to, in a form that this room need not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exclusive {
    /// The shard of the connection.
    pub shard: u8,
    /// The connection's slot there.
    pub slot: u32,
    /// The connection's generation.
    pub generation: u32,
}

/// What a queue was declared as.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its number in the store: never that of another queue or exchange. 0 before it has one.
    pub id: u64,
    /// Its virtual host.
    pub vhost: VhostId,
    /// Its name.
    pub name: Arc<str>,
    /// Survives a restart (with a store).
    pub durable: bool,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// Belongs to one connection.
    pub exclusive: Option<Exclusive>,
    /// The arguments, a table's contents.
    pub arguments: Box<[u8]>,
    /// The shard where it lives.
    pub owner: u8,
}

impl QueueSpec {
    /// The arguments.
    pub fn table(&self) -> Table<'_> {
        Table::check(&self.arguments).unwrap_or_default()
    }
}

/// What an exchange was declared as.
#[derive(Debug, PartialEq, Eq)]
pub struct ExchangeSpec {
    /// Its number in the store: never that of another queue or exchange. 0 before it has one.
    pub id: u64,
    /// Its virtual host.
    pub vhost: VhostId,
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub kind: ExchangeKind,
    /// Survives a restart (with a store).
    pub durable: bool,
    /// Goes with its last binding as a source.
    pub auto_delete: bool,
    /// Cannot be published to by clients.
    pub internal: bool,
    /// The arguments, a table's contents.
    pub arguments: Box<[u8]>,
    /// Where messages go that match nothing (`alternate-exchange`).
    pub alternate: Option<Arc<str>>,
}

impl ExchangeSpec {
    /// The arguments.
    pub fn table(&self) -> Table<'_> {
        Table::check(&self.arguments).unwrap_or_default()
    }
}

/// A binding to make or to undo.
#[derive(Debug, PartialEq, Eq)]
pub struct BindingSpec {
    /// The exchange.
    pub source: ExchangeKey,
    /// Where to; a queue's or exchange's slot.
    pub destination: Destination,
    /// The generation of the destination.
    pub destination_generation: u32,
    /// The routing key.
    pub key: Box<str>,
    /// The arguments, a table's contents.
    pub arguments: Box<[u8]>,
}

/// An exchange's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeKey {
    /// Place in the table of exchanges.
    pub slot: u32,
    /// Told apart from other exchanges that had the slot.
    pub generation: u32,
}

/// One change of the tables, with everything that follows from it: cascades are computed alike on every copy.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A new queue.
    QueueDeclared(Arc<QueueSpec>),
    /// A queue goes, with its bindings and the auto-delete exchanges that they held.
    QueueDeleted(QueueKey),
    /// A new exchange.
    ExchangeDeclared(Arc<ExchangeSpec>),
    /// An exchange goes, likewise.
    ExchangeDeleted(ExchangeKey),
    /// A new binding.
    Bound(BindingSpec),
    /// A binding goes.
    Unbound(BindingSpec),
}

/// What an applied change means for the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// This queue is new.
    QueueDeclared(QueueKey, Arc<QueueSpec>),
    /// This queue is gone from the tables.
    QueueDeleted(QueueKey),
    /// Nothing that concerns queues.
    Other,
}

/// A queue in the tables.
#[derive(Debug)]
pub struct QueueRecord {
    /// Its identity.
    pub key: QueueKey,
    /// What it is.
    pub spec: Arc<QueueSpec>,
    /// Exchanges that have, or had, bindings to it.
    sources: SmallVec<[u32; 2]>,
}

/// An exchange in the tables.
#[derive(Debug)]
pub struct Exchange {
    /// Its identity.
    pub key: ExchangeKey,
    /// What it is.
    pub spec: Arc<ExchangeSpec>,
    /// Its bindings as a source.
    pub table: RoutingTable,
    /// Raised whenever what it routes to may have changed; unique over all exchanges and times.
    pub epoch: u64,
    sources: SmallVec<[u32; 2]>,
}

/// A virtual host's names.
#[derive(Debug)]
pub struct Vhost {
    /// Its name.
    pub name: Arc<str>,
    exchanges: Map<Arc<str>, u32>,
    queues: Map<Arc<str>, u32>,
    /// Exchanges by the name of their alternate exchange.
    alternates: Map<Arc<str>, Vec<u32>>,
}

/// The tables of all names and bindings.
#[derive(Debug)]
pub struct Topology {
    version: u64,
    vhosts: Vec<Vhost>,
    queues: Slab<QueueRecord>,
    exchanges: Slab<Exchange>,
    /// Numbers of durable exchanges that have gone with the last binding that held them.
    abandoned: Vec<u64>,
    hash: RandomState,
}

impl Topology {
    /// Tables with the virtual hosts' pre-declared exchanges (rabbitmq-semantics.md section 5).
    pub fn new(vhosts: &[String], hash: RandomState) -> Topology {
        let mut topology = Topology {
            version: 0,
            vhosts: Vec::new(),
            queues: Slab::new(),
            exchanges: Slab::new(),
            abandoned: Vec::new(),
            hash,
        };
        for name in vhosts {
            topology.add_vhost(name);
        }
        topology
    }

    fn add_vhost(&mut self, name: &str) {
        let vhost = self.vhosts.len() as VhostId;
        let map = || Map::with_hasher(self.hash.clone());
        let names = Vhost {
            name: name.into(),
            exchanges: map(),
            queues: map(),
            alternates: Map::with_hasher(self.hash.clone()),
        };
        self.vhosts.push(names);
        for (name, kind, internal) in [
            ("", ExchangeKind::Direct, false),
            ("amq.direct", ExchangeKind::Direct, false),
            ("amq.fanout", ExchangeKind::Fanout, false),
            ("amq.topic", ExchangeKind::Topic, false),
            ("amq.headers", ExchangeKind::Headers, false),
            ("amq.match", ExchangeKind::Headers, false),
            ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
        ] {
            self.apply(&Change::ExchangeDeclared(Arc::new(ExchangeSpec {
                id: self.version + 1,
                vhost,
                name: name.into(),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: Box::default(),
                alternate: None,
            })));
        }
    }

    /// The number of changes applied.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Takes the numbers of durable auto-delete exchanges that have gone.
    pub fn take_abandoned(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.abandoned)
    }

    /// The virtual host of this name.
    pub fn find_vhost(&self, name: &str) -> Option<VhostId> {
        self.vhosts.iter().position(|vhost| &*vhost.name == name).map(|at| at as VhostId)
    }

    /// A virtual host's name.
    pub fn vhost_name(&self, vhost: VhostId) -> &str {
        self.vhosts.get(vhost as usize).map_or("", |vhost| &vhost.name)
    }

    /// The queue of this name.
    #[inline]
    pub fn find_queue(&self, vhost: VhostId, name: &str) -> Option<&QueueRecord> {
        let slot = *self.vhosts.get(vhost as usize)?.queues.get(name)?;
        self.queues.get(slot as usize)
    }

    /// The queue with this key, if it still exists.
    #[inline]
    pub fn queue(&self, key: QueueKey) -> Option<&QueueRecord> {
        self.queues.get(key.slot as usize).filter(|queue| queue.key == key)
    }

    /// The queue in this slot.
    #[inline]
    pub fn queue_at(&self, slot: u32) -> Option<&QueueRecord> {
        self.queues.get(slot as usize)
    }

    /// The exchange of this name.
    #[inline]
    pub fn find_exchange(&self, vhost: VhostId, name: &str) -> Option<&Exchange> {
        let slot = *self.vhosts.get(vhost as usize)?.exchanges.get(name)?;
        self.exchanges.get(slot as usize)
    }

    /// All exchanges.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().map(|(_, exchange)| exchange)
    }

    /// The exchange in this slot.
    #[inline]
    pub fn exchange_at(&self, slot: u32) -> Option<&Exchange> {
        self.exchanges.get(slot as usize)
    }

    /// The exchange with this key, if it still exists.
    pub fn exchange(&self, key: ExchangeKey) -> Option<&Exchange> {
        self.exchanges.get(key.slot as usize).filter(|exchange| exchange.key == key)
    }

    /// Whether a change still makes sense: names free, objects there. Only the writer of the log asks.
    pub fn admits(&self, change: &Change) -> bool {
        match change {
            Change::QueueDeclared(spec) => self.find_queue(spec.vhost, &spec.name).is_none(),
            Change::QueueDeleted(key) => self.queue(*key).is_some(),
            Change::ExchangeDeclared(spec) => self.find_exchange(spec.vhost, &spec.name).is_none(),
            Change::ExchangeDeleted(key) => self.exchange(*key).is_some(),
            Change::Bound(spec) | Change::Unbound(spec) => {
                self.exchange(spec.source).is_some()
                    && match spec.destination {
                        Destination::Queue(slot) => {
                            self.queue(QueueKey { slot, generation: spec.destination_generation }).is_some()
                        }
                        Destination::Exchange(slot) => {
                            self.exchange(ExchangeKey { slot, generation: spec.destination_generation }).is_some()
                        }
                    }
            }
        }
    }

    /// Applies the next change of the log.
    pub fn apply(&mut self, change: &Change) -> Applied {
        self.version += 1;
        let generation = self.version as u32;
        match change {
            Change::QueueDeclared(spec) => {
                let entry = self.queues.vacant_entry();
                let key = QueueKey { slot: entry.key() as u32, generation };
                entry.insert(QueueRecord { key, spec: spec.clone(), sources: SmallVec::new() });
                if let Some(vhost) = self.vhosts.get_mut(spec.vhost as usize) {
                    vhost.queues.insert(spec.name.clone(), key.slot);
                }
                return Applied::QueueDeclared(key, spec.clone());
            }
            Change::QueueDeleted(key) => {
                if self.queue(*key).is_some() {
                    let record = self.queues.remove(key.slot as usize);
                    if let Some(vhost) = self.vhosts.get_mut(record.spec.vhost as usize) {
                        vhost.queues.remove(&record.spec.name);
                    }
                    self.unbind_everywhere(Destination::Queue(key.slot), &record.sources);
                }
                return Applied::QueueDeleted(*key);
            }
            Change::ExchangeDeclared(spec) => {
                let table = RoutingTable::new(spec.kind, self.hash.clone());
                let entry = self.exchanges.vacant_entry();
                let key = ExchangeKey { slot: entry.key() as u32, generation };
                let (spec, sources) = (spec.clone(), SmallVec::new());
                entry.insert(Exchange { key, spec: spec.clone(), table, epoch: 0, sources });
                if let Some(vhost) = self.vhosts.get_mut(spec.vhost as usize) {
                    vhost.exchanges.insert(spec.name.clone(), key.slot);
                    if let Some(alternate) = &spec.alternate {
                        vhost.alternates.entry(alternate.clone()).or_default().push(key.slot);
                    }
                }
                self.raise(key.slot);
            }
            Change::ExchangeDeleted(key) => {
                if self.exchange(*key).is_some() {
                    self.delete_exchange(key.slot);
                }
            }
            Change::Bound(spec) => {
                let arguments = Table::check(&spec.arguments).unwrap_or_default();
                let source = spec.source.slot;
                if let Some(exchange) = self.exchanges.get_mut(source as usize)
                    && exchange.table.bind(spec.destination, &spec.key, arguments)
                {
                    let sources = match spec.destination {
                        Destination::Queue(slot) => self.queues.get_mut(slot as usize).map(|queue| &mut queue.sources),
                        Destination::Exchange(slot) => {
                            self.exchanges.get_mut(slot as usize).map(|exchange| &mut exchange.sources)
                        }
                    };
                    if let Some(sources) = sources
                        && !sources.contains(&source)
                    {
                        sources.push(source);
                    }
                    self.raise(source);
                }
            }
            Change::Unbound(spec) => {
                let arguments = Table::check(&spec.arguments).unwrap_or_default();
                let source = spec.source.slot;
                if let Some(exchange) = self.exchanges.get_mut(source as usize)
                    && exchange.table.unbind(spec.destination, &spec.key, arguments)
                {
                    let abandoned = exchange.spec.auto_delete && exchange.table.is_empty();
                    self.raise(source);
                    if abandoned {
                        self.delete_exchange(source);
                    }
                }
            }
        }
        Applied::Other
    }

    /// Undoes all bindings to a destination that goes, and deletes the auto-delete exchanges that lose their last one,
    /// and so on. A list instead of recursion: a chain may be as long as there are exchanges.
    fn unbind_everywhere(&mut self, destination: Destination, sources: &[u32]) {
        let mut abandoned: Vec<u32> = Vec::new();
        self.unbind_from(destination, sources, &mut abandoned);
        while let Some(slot) = abandoned.pop() {
            if let Some(exchange) = self.take_exchange(slot) {
                self.unbind_from(Destination::Exchange(slot), &exchange.sources, &mut abandoned);
            }
        }
    }

    fn unbind_from(&mut self, destination: Destination, sources: &[u32], abandoned: &mut Vec<u32>) {
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

    fn delete_exchange(&mut self, slot: u32) {
        if let Some(exchange) = self.take_exchange(slot) {
            self.unbind_everywhere(Destination::Exchange(slot), &exchange.sources);
        }
    }

    fn take_exchange(&mut self, slot: u32) -> Option<Exchange> {
        self.raise(slot);
        let exchange = self.exchanges.try_remove(slot as usize)?;
        if exchange.spec.durable && exchange.spec.auto_delete {
            self.abandoned.push(exchange.spec.id);
        }
        if let Some(vhost) = self.vhosts.get_mut(exchange.spec.vhost as usize) {
            vhost.exchanges.remove(&exchange.spec.name);
            if let Some(alternate) = &exchange.spec.alternate
                && let Some(slots) = vhost.alternates.get_mut(alternate)
            {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    vhost.alternates.remove(alternate);
                }
            }
        }
        Some(exchange)
    }

    /// Gives a new epoch to an exchange and to all that route through it.
    fn raise(&mut self, slot: u32) {
        let mut pending: SmallVec<[u32; 8]> = SmallVec::from_slice(&[slot]);
        while let Some(slot) = pending.pop() {
            let Some(exchange) = self.exchanges.get_mut(slot as usize) else {
                continue;
            };
            if exchange.epoch == self.version {
                continue;
            }
            exchange.epoch = self.version;
            pending.extend(exchange.sources.iter().copied());
            let spec = exchange.spec.clone();
            if let Some(slots) = self.vhosts.get(spec.vhost as usize).and_then(|vhost| vhost.alternates.get(&spec.name))
            {
                pending.extend(slots.iter().copied());
            }
        }
    }
}
