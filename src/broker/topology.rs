//! Names and bindings: every shard has a copy of these tables and applies the same changes in the same order.
//!
//! Slots are handed out by the tables themselves. As all copies apply the same log, a slot means the same object on
//! every shard that has applied the same version; a generation tells an object from others that had its slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;
use slab::Slab;
use smallvec::SmallVec;

use super::access::User;
use super::deduplication::Deduplication;
use super::exchange::{Destination, ExchangeKind, Lots, RoutingTable, Target};
use super::parameters::{Parameter, ParameterKey, UserLimits};
use super::queue::ruled::{delays_of, history_of, is_internal};
use super::queue_arguments::QueueType;
use super::rules::Rules;
use crate::amqp::Table;
pub use cascade::Departed;
pub use vhosts::{Vhost, VhostSpec};

mod cascade;
mod listing;
mod parameters;
mod vhosts;

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
    /// Its type; that by which messages are routed in the end, if it delays them.
    pub kind: ExchangeKind,
    /// It delays messages (type x-delayed-message).
    pub delayed: bool,
    /// It takes each message once (type x-message-deduplication).
    pub unique: bool,
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

/// The name of the type of exchanges that delay messages.
pub const DELAYED: &str = "x-delayed-message";
/// The name of the type of exchanges that take each message once.
pub const UNIQUE: &str = "x-message-deduplication";

impl ExchangeSpec {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match (self.delayed, self.unique) {
            (true, _) => DELAYED,
            (_, true) => UNIQUE,
            _ => self.kind.name(),
        }
    }

    /// How it tells messages apart, if it does. It has no messages of its own to go by.
    pub fn deduplication(&self) -> Option<Deduplication> {
        let rule = Deduplication::of(self.table(), self.unique)?;
        Some(Deduplication { by_content: false, ..rule })
    }

    /// Whether messages may wait at it, in a queue of its own, before they are routed.
    pub fn has_queue(&self) -> bool {
        self.delayed || self.deduplication().is_some()
    }

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
    /// A new virtual host, without any names.
    VhostAdded(Arc<VhostSpec>),
    /// A virtual host is something else now.
    VhostUpdated(VhostId, Arc<VhostSpec>),
    /// A virtual host is to go: it takes no names any more.
    VhostClosing(VhostId),
    /// A virtual host without names goes, with its parameters.
    VhostDeleted(VhostId),
    /// A parameter is new, or has a new value.
    ParameterSet(Arc<Parameter>),
    /// A parameter goes.
    ParameterCleared(ParameterKey),
    /// What happens in a virtual host is copied to its trace exchange from now on, or not any more.
    Traced(VhostId, bool),
}

/// What an applied change means for the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// This queue is new.
    QueueDeclared(QueueKey, Arc<QueueSpec>),
    /// This queue is gone from the tables.
    QueueDeleted(QueueKey),
    /// This virtual host is to go.
    VhostClosing(VhostId),
    /// This virtual host is traced now, or not any more.
    Traced(VhostId),
    /// The policies of a virtual host are others now.
    Policies {
        /// The virtual host.
        vhost: VhostId,
        /// Queues may refuse publishes that did not before, or the other way round.
        routes: bool,
    },
    /// This user is new, or gone, or may do more or less than before.
    User(Arc<str>),
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
    /// Its arguments have it refuse publishes when it is full.
    rejects: bool,
    /// All its messages survive: it is a quorum queue.
    pub keeps: bool,
    /// It is the queue of an exchange that delays or remembers: nobody's but the exchange's.
    pub is_internal: bool,
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
    /// Where messages go that match nothing: what its argument says, or a policy.
    pub alternate: Option<Arc<str>>,
    /// How it tells messages apart, if it does.
    pub deduplication: Option<Box<Deduplication>>,
    /// Where its messages wait before they are routed, if they do.
    pub delays: Option<QueueKey>,
    /// Where its last messages are, if it remembers them.
    pub history: Option<QueueKey>,
    /// Raised whenever what it routes to may have changed; unique over all exchanges and times.
    pub epoch: u64,
    sources: SmallVec<[u32; 2]>,
}

/// The tables of all names and bindings.
#[derive(Debug)]
pub struct Topology {
    version: u64,
    /// Those that are gone stay empty.
    vhosts: Vec<Option<Box<Vhost>>>,
    /// Virtual hosts by name.
    names: Map<Arc<str>, VhostId>,
    parameters: BTreeMap<ParameterKey, Arc<Parameter>>,
    users: BTreeMap<Arc<str>, Arc<User>>,
    limited_users: BTreeMap<Arc<str>, UserLimits>,
    queues: Slab<QueueRecord>,
    exchanges: Slab<Exchange>,
    /// Numbers of durable exchanges that have gone with the last binding that held them.
    abandoned: Vec<u64>,
    /// The epoch of the change that is being made.
    epochs: u64,
    /// Queues of exchanges that delayed or remembered messages and are gone.
    orphans: Vec<QueueKey>,
    /// What goes with a change, while somebody wants to know.
    departed: Option<Vec<Departed>>,
    /// For exchanges that leave it to chance; unlike all else, not the same on every copy.
    pub(super) lots: Lots,
    hash: RandomState,
}

impl Topology {
    /// Tables with these virtual hosts and their pre-declared exchanges (rabbitmq-semantics.md section 5).
    pub fn new(vhosts: &[String], hash: RandomState) -> Topology {
        Topology::with_vhosts(&VhostSpec::configured(vhosts), hash)
    }

    /// The same for virtual hosts that may be more than names.
    pub fn with_vhosts(vhosts: &[Arc<VhostSpec>], hash: RandomState) -> Topology {
        let mut topology = Topology {
            version: 0,
            vhosts: Vec::new(),
            names: Map::with_hasher(hash.clone()),
            parameters: BTreeMap::new(),
            users: BTreeMap::new(),
            limited_users: BTreeMap::new(),
            queues: Slab::new(),
            exchanges: Slab::new(),
            abandoned: Vec::new(),
            epochs: 0,
            orphans: Vec::new(),
            departed: None,
            lots: Lots::default(),
            hash,
        };
        for (vhost, spec) in (0..).zip(vhosts) {
            topology.add_vhost(spec);
            if spec.predeclared != 0 {
                topology.predeclare(vhost, spec.predeclared);
            }
        }
        topology
    }

    /// The same tables, whose exchanges draw other lots.
    pub fn with_lots(self, seed: u64) -> Topology {
        Topology { lots: Lots::new(seed), ..self }
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

    /// Takes the queues of exchanges that delayed or remembered messages and are gone.
    pub fn take_orphans(&mut self) -> Vec<QueueKey> {
        std::mem::take(&mut self.orphans)
    }

    /// The queue of this name.
    #[inline]
    pub fn find_queue(&self, vhost: VhostId, name: &str) -> Option<&QueueRecord> {
        let slot = *self.vhost(vhost)?.queues.get(name)?;
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
        let slot = *self.vhost(vhost)?.exchanges.get(name)?;
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
            Change::QueueDeclared(spec) => {
                self.is_open(spec.vhost) && self.find_queue(spec.vhost, &spec.name).is_none()
            }
            Change::QueueDeleted(key) => self.queue(*key).is_some(),
            Change::ExchangeDeclared(spec) => {
                self.is_open(spec.vhost) && self.find_exchange(spec.vhost, &spec.name).is_none()
            }
            Change::ExchangeDeleted(key) => self.exchange(*key).is_some(),
            Change::Bound(spec) => {
                let arguments = Table::check(&spec.arguments).unwrap_or_default();
                let source = self.exchange(spec.source);
                self.has_destination(spec)
                    && source.is_some_and(|source| source.table.takes(spec.destination, &spec.key, arguments))
            }
            Change::Unbound(spec) => self.exchange(spec.source).is_some() && self.has_destination(spec),
            _ => self.admits_vhost_change(change),
        }
    }

    fn has_destination(&self, spec: &BindingSpec) -> bool {
        let generation = spec.destination_generation;
        match spec.destination {
            Destination::Queue(slot) => self.queue(QueueKey { slot, generation }).is_some(),
            Destination::Exchange(slot) => self.exchange(ExchangeKey { slot, generation }).is_some(),
        }
    }

    /// Applies the next change of the log.
    pub fn apply(&mut self, change: &Change) -> Applied {
        self.version += 1;
        self.epochs += 1;
        let generation = self.version as u32;
        match change {
            Change::QueueDeclared(spec) => {
                let entry = self.queues.vacant_entry();
                let key = QueueKey { slot: entry.key() as u32, generation };
                let rejects = Rules::of(spec).rejects();
                let (delays, history) = (delays_of(spec), history_of(spec));
                let is_internal = is_internal(spec);
                let keeps = QueueType::of_queue(spec) == QueueType::Quorum;
                let (spec_here, sources) = (spec.clone(), SmallVec::new());
                entry.insert(QueueRecord { key, spec: spec_here, rejects, keeps, is_internal, sources });
                let exchange = delays.or(history).and_then(|exchange| self.find_exchange(spec.vhost, exchange));
                if let Some(slot) = exchange.map(|exchange| exchange.key.slot)
                    && let Some(exchange) = self.exchanges.get_mut(slot as usize)
                {
                    match delays {
                        Some(_) => exchange.delays = Some(key),
                        None => exchange.history = Some(key),
                    }
                }
                if let Some(vhost) = self.vhost_mut(spec.vhost) {
                    vhost.queues.insert(spec.name.clone(), key.slot);
                }
                return Applied::QueueDeclared(key, spec.clone());
            }
            Change::QueueDeleted(key) => {
                if self.queue(*key).is_some() {
                    let record = self.queues.remove(key.slot as usize);
                    if let Some(vhost) = self.vhost_mut(record.spec.vhost) {
                        vhost.queues.remove(&record.spec.name);
                    }
                    self.unbind_everywhere(Destination::Queue(key.slot), &record.spec.name, &record.sources);
                    if record.is_internal {
                        self.forget_internal(&record);
                    }
                }
                return Applied::QueueDeleted(*key);
            }
            Change::ExchangeDeclared(spec) => {
                let table = RoutingTable::new(spec.kind, spec.table(), self.hash.clone());
                let entry = self.exchanges.vacant_entry();
                let key = ExchangeKey { slot: entry.key() as u32, generation };
                let (spec, sources) = (spec.clone(), SmallVec::new());
                entry.insert(Exchange {
                    key,
                    spec: spec.clone(),
                    table,
                    alternate: None,
                    deduplication: spec.deduplication().map(Box::new),
                    delays: None,
                    history: None,
                    epoch: 0,
                    sources,
                });
                if let Some(vhost) = self.vhost_mut(spec.vhost) {
                    vhost.exchanges.insert(spec.name.clone(), key.slot);
                }
                let alternate = self.alternate_of(&spec);
                self.note_alternate(key.slot, alternate);
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
                let target = self.target(spec.destination);
                if let Some(exchange) = self.exchanges.get_mut(source as usize)
                    && exchange.table.bind(target, &spec.key, arguments)
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
            _ => return self.apply_vhost_change(change),
        }
        Applied::Other
    }

    /// An exchange loses its queue, as when both go with their virtual host: another queue may get the slot.
    fn forget_internal(&mut self, record: &QueueRecord) {
        let exchange = delays_of(&record.spec).or(history_of(&record.spec));
        let exchange = exchange.and_then(|exchange| self.find_exchange(record.spec.vhost, exchange));
        let Some(slot) = exchange.map(|exchange| exchange.key.slot) else { return };
        if let Some(exchange) = self.exchanges.get_mut(slot as usize) {
            exchange.delays.take_if(|delays| *delays == record.key);
            exchange.history.take_if(|history| *history == record.key);
        }
    }

    /// What a binding has to know of its destination.
    fn target(&self, destination: Destination) -> Target {
        match destination {
            Destination::Queue(slot) => self.queue_at(slot).map(|queue| (&queue.spec.name, queue.spec.owner)),
            Destination::Exchange(slot) => self.exchange_at(slot).map(|exchange| (&exchange.spec.name, 0)),
        }
        .map_or_else(|| Target::new(destination, "", 0), |(name, owner)| Target::new(destination, name, owner))
    }
}
