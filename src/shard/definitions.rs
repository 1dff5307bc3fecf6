//! Durable queues, exchanges and bindings as the store has them: opaque bytes there, laid out here.
//!
//! ```text
//! queue     u8 1 | u8 flags (1 auto-delete) | vhost | name | arguments to the end
//! exchange  u8 2 | u8 flags (1 auto-delete, 2 internal) | vhost | name | type | arguments to the end
//! binding   u8 destination (1 queue, 2 exchange) | routing key | arguments to the end
//! ```
//! Names are short strings: a length byte and so many bytes. Arguments are a table's contents. What is not durable is
//! not here; a binding is durable when both its ends are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::amqp::codec::write_short_str;
use crate::amqp::{Reader, Table, Value};
use crate::broker::exchange::{Destination, ExchangeKind};
use crate::broker::topology::{Applied, BindingSpec, Change, ExchangeKey, ExchangeSpec, QueueKey, QueueSpec, Topology};
use crate::store::record::Records;
use crate::store::{Contents, QueueId, QueueRow};

const QUEUE: u8 = 1;
const EXCHANGE: u8 = 2;
const AUTO_DELETE: u8 = 1;
const INTERNAL: u8 = 2;

/// The argument that names an exchange's alternate exchange.
pub(super) const ALTERNATE: &str = "alternate-exchange";

/// Writes a change that is about to be made, if it concerns what is durable. Returns whether it does.
pub(super) fn write(topology: &Topology, change: &Change, records: &mut Records) -> bool {
    match change {
        Change::QueueDeclared(spec) if spec.durable => {
            let mut bytes = vec![QUEUE, if spec.auto_delete { AUTO_DELETE } else { 0 }];
            write_short_str(&mut bytes, topology.vhost_name(spec.vhost).as_bytes());
            write_short_str(&mut bytes, spec.name.as_bytes());
            bytes.extend_from_slice(&spec.arguments);
            records.defined(QueueId(spec.id), &bytes);
        }
        Change::ExchangeDeclared(spec) if spec.durable => {
            let auto_delete = if spec.auto_delete { AUTO_DELETE } else { 0 };
            let mut bytes = vec![EXCHANGE, auto_delete | if spec.internal { INTERNAL } else { 0 }];
            write_short_str(&mut bytes, topology.vhost_name(spec.vhost).as_bytes());
            write_short_str(&mut bytes, spec.name.as_bytes());
            write_short_str(&mut bytes, spec.kind.name().as_bytes());
            bytes.extend_from_slice(&spec.arguments);
            records.defined(QueueId(spec.id), &bytes);
        }
        Change::QueueDeleted(key) => match topology.queue(*key) {
            Some(queue) if queue.spec.durable => records.undefined(QueueId(queue.spec.id)),
            _ => return false,
        },
        Change::ExchangeDeleted(key) => match topology.exchange(*key) {
            Some(exchange) if exchange.spec.durable => records.undefined(QueueId(exchange.spec.id)),
            _ => return false,
        },
        Change::Bound(spec) | Change::Unbound(spec) => {
            let Some((source, destination)) = durable_ends(topology, spec) else { return false };
            let mut bytes = vec![if matches!(spec.destination, Destination::Queue(_)) { QUEUE } else { EXCHANGE }];
            write_short_str(&mut bytes, spec.key.as_bytes());
            bytes.extend_from_slice(&spec.arguments);
            match change {
                Change::Bound(_) => records.bound(source, destination, &bytes),
                _ => records.unbound(source, destination, &bytes),
            }
        }
        _ => return false,
    }
    true
}

/// The numbers of a binding's ends, if both are durable.
fn durable_ends(topology: &Topology, spec: &BindingSpec) -> Option<(QueueId, QueueId)> {
    let source = &topology.exchange(spec.source)?.spec;
    let generation = spec.destination_generation;
    let (durable, id) = match spec.destination {
        Destination::Queue(slot) => {
            let queue = &topology.queue(QueueKey { slot, generation })?.spec;
            (queue.durable, queue.id)
        }
        Destination::Exchange(slot) => {
            let exchange = &topology.exchange(ExchangeKey { slot, generation })?.spec;
            (exchange.durable, exchange.id)
        }
    };
    (source.durable && durable).then_some((QueueId(source.id), QueueId(id)))
}

/// What a store has, as changes that lead there.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// In order.
    pub(super) changes: Vec<Change>,
    /// The queues' messages, by the queues' numbers.
    pub(super) rows: BTreeMap<u64, QueueRow>,
    /// Queues on each shard.
    pub(super) placed: Vec<u32>,
}

impl Restored {
    /// Nothing, for so many shards.
    pub(super) fn none(count: usize) -> Restored {
        Restored { placed: vec![0; count], ..Restored::default() }
    }
}

/// Makes changes of what a store has, for `count` shards. `topology` is as it is before them. What cannot be
/// understood, or belongs to a virtual host that is not there, stays in the store and is not served.
pub(super) fn restore(mut topology: Topology, contents: &Contents, count: usize) -> Restored {
    let mut restored = Restored::none(count);
    restored.rows.extend(contents.queues.iter().map(|row| (row.id.0, *row)));
    let mut queues: BTreeMap<u64, QueueKey> = BTreeMap::new();
    let mut exchanges: BTreeMap<u64, ExchangeKey> =
        topology.exchanges().map(|exchange| (exchange.spec.id, exchange.key)).collect();
    for (number, (id, bytes)) in contents.definitions.iter().enumerate() {
        let owner = (number % count) as u8;
        let Some(change) = read(&topology, id.0, bytes, owner).filter(|change| topology.admits(change)) else {
            continue;
        };
        let applied = topology.apply(&change);
        match (&change, applied) {
            (_, Applied::QueueDeclared(key, _)) => {
                queues.insert(id.0, key);
                if let Some(placed) = restored.placed.get_mut(usize::from(owner)) {
                    *placed += 1;
                }
            }
            (Change::ExchangeDeclared(spec), _) => {
                let key = topology.find_exchange(spec.vhost, &spec.name).map(|exchange| exchange.key);
                exchanges.extend(key.map(|key| (id.0, key)));
            }
            _ => {}
        }
        restored.changes.push(change);
    }
    for (source, destination, bytes) in &contents.bindings {
        let change = read_binding(bytes, |kind| {
            let source = *exchanges.get(&source.0)?;
            let (destination, generation) = match kind {
                QUEUE => queues.get(&destination.0).map(|key| (Destination::Queue(key.slot), key.generation))?,
                _ => exchanges.get(&destination.0).map(|key| (Destination::Exchange(key.slot), key.generation))?,
            };
            Some((source, destination, generation))
        });
        if let Some(change) = change.filter(|change| topology.admits(change)) {
            topology.apply(&change);
            restored.changes.push(change);
        }
    }
    restored
}

fn read(topology: &Topology, id: u64, bytes: &[u8], owner: u8) -> Option<Change> {
    let mut reader = Reader::new(bytes);
    let (kind, flags) = (reader.u8().ok()?, reader.u8().ok()?);
    let vhost = topology.find_vhost(reader.short_str().ok()?)?;
    let name: Arc<str> = reader.short_str().ok()?.into();
    let auto_delete = flags & AUTO_DELETE != 0;
    match kind {
        QUEUE => {
            let arguments = reader.rest();
            Table::check(arguments).ok()?;
            let arguments = arguments.into();
            let (durable, exclusive) = (true, None);
            let spec = QueueSpec { id, vhost, name, durable, auto_delete, exclusive, arguments, owner };
            Some(Change::QueueDeclared(Arc::new(spec)))
        }
        EXCHANGE => {
            let kind = ExchangeKind::from_name(reader.short_str().ok()?)?;
            let arguments = reader.rest();
            let alternate = match Table::check(arguments).ok()?.find(ALTERNATE) {
                Some(Value::LongStr(text)) => Some(Arc::from(String::from_utf8_lossy(text))),
                _ => None,
            };
            let (internal, arguments) = (flags & INTERNAL != 0, arguments.into());
            let spec =
                ExchangeSpec { id, vhost, name, kind, durable: true, auto_delete, internal, arguments, alternate };
            Some(Change::ExchangeDeclared(Arc::new(spec)))
        }
        _ => None,
    }
}

fn read_binding(bytes: &[u8], ends: impl FnOnce(u8) -> Option<(ExchangeKey, Destination, u32)>) -> Option<Change> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8().ok()?;
    let key = reader.short_str().ok()?.into();
    let arguments = reader.rest();
    Table::check(arguments).ok()?;
    let (source, destination, destination_generation) = ends(kind)?;
    Some(Change::Bound(BindingSpec { source, destination, destination_generation, key, arguments: arguments.into() }))
}
