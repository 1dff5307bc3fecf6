//! Durable queues, exchanges and bindings as the store has them: opaque bytes there, laid out here.
//!
//! ```text
//! queue     u8 1 | u8 flags (1 auto-delete) | vhost | name | arguments to the end
//! exchange  u8 2 | u8 flags (1 auto-delete, 2 internal) | vhost | name | type | arguments to the end
//! vhost     u8 3 | u8 flags (1 closing, 2 gone) | name | u64 first pre-declared exchange, 0: none
//!           | u8 default queue type (0 none, 1 classic, 2 quorum, 3 stream) | u8 n, n x { tag } | description
//! parameter u8 4 | u8 flags (1 in a vhost) | component | vhost | name | JSON to the end
//! binding   u8 destination (1 queue, 2 exchange) | routing key | arguments to the end
//! ```
//! Names are short strings: a length byte and so many bytes. Arguments are a table's contents. What is not durable is
//! not here; a binding is durable when both its ends are. A vhost of the configuration is here once it was changed; one
//! that was deleted stays as gone, or the next start would make it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Shard, history};
use crate::amqp::codec::write_short_str;
use crate::amqp::{Reader, Table, Value};
use crate::broker::event;
use crate::broker::exchange::{Destination, ExchangeKind};
use crate::broker::parameters::{self, Parameter, ParameterKey};
use crate::broker::queue::ruled::history_of;
use crate::broker::queue_arguments::QueueType;
use crate::broker::topology::{
    Applied, BindingSpec, Change, DELAYED, ExchangeKey, ExchangeSpec, QueueKey, QueueSpec, Topology, UNIQUE, VhostSpec,
};
use crate::store::record::{Note, Records};
use crate::store::{Contents, QueueId, QueueRow};

const QUEUE: u8 = 1;
const EXCHANGE: u8 = 2;
const VHOST: u8 = 3;
const PARAMETER: u8 = 4;
const AUTO_DELETE: u8 = 1;
const INTERNAL: u8 = 2;
const CLOSING: u8 = 1;
const GONE: u8 = 2;
const IN_VHOST: u8 = 1;

const QUEUE_TYPES: [QueueType; 3] = [QueueType::Classic, QueueType::Quorum, QueueType::Stream];

/// The type by which an exchange that delays messages routes them in the end (`x-delayed-type`).
pub(super) fn delayed_kind(arguments: Table<'_>) -> Option<ExchangeKind> {
    let name = arguments.find("x-delayed-type")?.as_long_str()?;
    ExchangeKind::from_name(std::str::from_utf8(name).ok()?)
}

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
            write_short_str(&mut bytes, spec.type_name().as_bytes());
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
        Change::VhostAdded(spec) | Change::VhostUpdated(_, spec) => write_vhost(records, spec, 0),
        Change::VhostClosing(vhost) => match topology.vhost(*vhost) {
            Some(vhost) => write_vhost(records, &vhost.spec, CLOSING),
            None => return false,
        },
        Change::VhostDeleted(vhost) => {
            let parameters = topology.parameters().values().filter(|parameter| parameter.key.vhost == Some(*vhost));
            parameters.for_each(|parameter| records.undefined(QueueId(parameter.id)));
            match topology.vhost(*vhost) {
                Some(vhost) if vhost.spec.predeclared != 0 => write_vhost(records, &vhost.spec, GONE),
                Some(vhost) => records.undefined(QueueId(vhost.spec.id)),
                None => return false,
            }
        }
        Change::ParameterSet(parameter) => {
            let ParameterKey { component, vhost, name } = &parameter.key;
            let mut bytes = vec![PARAMETER, if vhost.is_some() { IN_VHOST } else { 0 }];
            write_short_str(&mut bytes, component.as_bytes());
            write_short_str(&mut bytes, vhost.map_or("", |vhost| topology.vhost_name(vhost)).as_bytes());
            write_short_str(&mut bytes, name.as_bytes());
            bytes.extend_from_slice(parameter.value.to_string().as_bytes());
            records.defined(QueueId(parameter.id), &bytes);
        }
        Change::ParameterCleared(key) => match topology.parameter(key) {
            Some(parameter) => records.undefined(QueueId(parameter.id)),
            None => return false,
        },
        _ => return false,
    }
    true
}

fn write_vhost(records: &mut Records, spec: &VhostSpec, flags: u8) {
    let mut bytes = vec![VHOST, flags];
    write_short_str(&mut bytes, spec.name.as_bytes());
    bytes.extend_from_slice(&spec.predeclared.to_be_bytes());
    let kind = spec.default_queue_type.and_then(|kind| QUEUE_TYPES.iter().position(|other| *other == kind));
    let tags = spec.tags.get(..255).unwrap_or(&spec.tags);
    bytes.extend_from_slice(&[kind.map_or(0, |at| at as u8 + 1), tags.len() as u8]);
    tags.iter().for_each(|tag| write_short_str(&mut bytes, tag.as_bytes()));
    bytes.extend_from_slice(spec.description.as_bytes());
    records.defined(QueueId(spec.id), &bytes);
}

/// A vhost as the store has it, and its flags.
fn read_vhost(id: u64, bytes: &[u8]) -> Option<(VhostSpec, u8)> {
    let mut reader = Reader::new(bytes);
    if reader.u8().ok()? != VHOST {
        return None;
    }
    let flags = reader.u8().ok()?;
    let name = reader.short_str().ok()?.into();
    let predeclared = reader.u64().ok()?;
    let default_queue_type = QUEUE_TYPES.get(usize::from(reader.u8().ok()?).wrapping_sub(1)).copied();
    let count = reader.u8().ok()?;
    let tags = (0..count).map(|_| reader.short_str().ok().map(Arc::from)).collect::<Option<Vec<_>>>()?;
    let description = String::from_utf8_lossy(reader.rest()).into();
    Some((VhostSpec { id, predeclared, name, description, tags, default_queue_type }, flags))
}

/// The vhosts that there are at a start: those of the configuration, unless the store knows better, and the store's.
pub(super) fn vhosts(configured: &[String], contents: Option<&Contents>) -> Vec<Arc<VhostSpec>> {
    let definitions = contents.map_or(&[][..], |contents| &contents.definitions);
    let stored: Vec<(VhostSpec, u8)> = definitions.iter().filter_map(|(id, bytes)| read_vhost(id.0, bytes)).collect();
    let mut found = VhostSpec::configured(configured);
    found.retain(|spec| stored.iter().all(|(known, _)| known.name != spec.name));
    for (spec, flags) in stored {
        if flags & GONE == 0 && found.iter().all(|known| known.name != spec.name) {
            found.push(Arc::new(spec));
        }
    }
    found
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
    /// The names of messages that queues and exchanges take once, by the queues' numbers.
    pub(super) notes: BTreeMap<u64, Vec<Note>>,
    /// Queues with messages of other priorities than the common one.
    classes: BTreeSet<u64>,
    /// Queues on each shard.
    pub(super) placed: Vec<u32>,
}

impl Restored {
    /// Nothing, for so many shards.
    /// Whether a queue has messages of several priorities.
    pub(super) fn has_classes(&self, id: u64) -> bool {
        self.classes.contains(&id)
    }

    pub(super) fn none(count: usize) -> Restored {
        Restored { placed: vec![0; count], ..Restored::default() }
    }
}

/// Makes changes of what a store has, for `count` shards. `topology` is as it is before them. What cannot be
/// understood, or belongs to a virtual host that is not there, stays in the store and is not served.
pub(super) fn restore(mut topology: Topology, contents: &Contents, count: usize) -> Restored {
    let mut restored = Restored::none(count);
    restored.rows.extend(contents.queues.iter().map(|row| (row.id.0, *row)));
    let classes = contents.queues.iter().filter(|row| row.id.is_class());
    restored.notes.extend(contents.notes.iter().map(|(id, notes)| (id.0, notes.clone())));
    restored.classes.extend(classes.map(|row| row.id.base().0));
    let mut queues: BTreeMap<u64, QueueKey> = BTreeMap::new();
    let mut exchanges: BTreeMap<u64, ExchangeKey> =
        topology.exchanges().map(|exchange| (exchange.spec.id, exchange.key)).collect();
    // A queue is to find its policies.
    for (id, bytes) in &contents.definitions {
        let change = read_parameter(&topology, id.0, bytes).filter(|change| topology.admits(change));
        if let Some(change) = change {
            topology.apply(&change);
            restored.changes.push(change);
        }
    }
    for (number, (id, bytes)) in contents.definitions.iter().enumerate() {
        let owner = (number % count) as u8;
        let Some(change) = read(&topology, id.0, bytes, owner).filter(|change| topology.admits(change)) else {
            continue;
        };
        let applied = topology.apply(&change);
        match (&change, applied) {
            (_, Applied::QueueDeclared(key, spec)) => {
                queues.insert(id.0, key);
                if let Some(placed) = restored.placed.get_mut(usize::from(spec.owner)) {
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
            // The exchange for events may be in another virtual host than it was.
            let vhost = match destination {
                Destination::Queue(slot) => topology.queue_at(slot)?.spec.vhost,
                Destination::Exchange(slot) => topology.exchange_at(slot)?.spec.vhost,
            };
            (topology.exchange(source)?.spec.vhost == vhost).then_some((source, destination, generation))
        });
        if let Some(change) = change.filter(|change| topology.admits(change)) {
            topology.apply(&change);
            restored.changes.push(change);
        }
    }
    // The last start has not come to an end with these.
    for (id, bytes) in &contents.definitions {
        if let Some((spec, CLOSING)) = read_vhost(id.0, bytes)
            && let Some(vhost) = topology.find_vhost(&spec.name)
        {
            let change = Change::VhostClosing(vhost);
            topology.apply(&change);
            restored.changes.push(change);
        }
    }
    restored
}

fn read_parameter(topology: &Topology, id: u64, bytes: &[u8]) -> Option<Change> {
    let mut reader = Reader::new(bytes);
    if reader.u8().ok()? != PARAMETER {
        return None;
    }
    let flags = reader.u8().ok()?;
    let component: Arc<str> = reader.short_str().ok()?.into();
    let vhost = reader.short_str().ok()?;
    let vhost = if flags & IN_VHOST != 0 { Some(topology.find_vhost(vhost)?) } else { None };
    let name: Arc<str> = reader.short_str().ok()?.into();
    let value = parameters::decode(std::str::from_utf8(reader.rest()).ok()?).ok()?;
    let vhost_name = vhost.map_or("", |vhost| topology.vhost_name(vhost));
    let meaning = parameters::understand(&component, vhost_name, &name, &value).ok()?;
    let key = ParameterKey { component, vhost, name };
    Some(Change::ParameterSet(Arc::new(Parameter { id, key, value, meaning })))
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
            let mut spec = QueueSpec { id, vhost, name, durable, auto_delete, exclusive, arguments, owner };
            if history_of(&spec).is_some() {
                spec.owner = history::HOME;
            }
            Some(Change::QueueDeclared(Arc::new(spec)))
        }
        // There without being here, if it is wanted.
        EXCHANGE if id == event::EXCHANGE_ID => None,
        EXCHANGE => {
            let type_name = reader.short_str().ok()?;
            let arguments = reader.rest();
            let (delayed, unique) = (type_name == DELAYED, type_name == UNIQUE);
            let kind = match (delayed, unique) {
                (true, _) => delayed_kind(Table::check(arguments).ok()?)?,
                (_, true) => ExchangeKind::Fanout,
                _ => ExchangeKind::from_name(type_name)?,
            };
            let alternate = match Table::check(arguments).ok()?.find(ALTERNATE) {
                Some(Value::LongStr(text)) => Some(Arc::from(String::from_utf8_lossy(text))),
                _ => None,
            };
            let (internal, arguments) = (flags & INTERNAL != 0, arguments.into());
            let spec = ExchangeSpec {
                id,
                vhost,
                name,
                kind,
                delayed,
                unique,
                durable: true,
                auto_delete,
                internal,
                arguments,
                alternate,
            };
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

impl Shard {
    /// Takes what the store has.
    pub(super) fn restore(&mut self, restored: &Restored) {
        for change in &restored.changes {
            let applied = self.topology.apply(change);
            if let Applied::QueueDeclared(key, spec) = &applied
                && spec.owner == self.id.0
            {
                let (key, id) = (*key, spec.id);
                self.applied(applied);
                if let Some(notes) = restored.notes.get(&id) {
                    let seen = self.living_mut(key).and_then(|queue| queue.ruled.as_mut()?.seen.as_mut());
                    seen.into_iter().for_each(|seen| {
                        notes.iter().for_each(|note| seen.remember(note.note, note.until_ms));
                    });
                }
                for class in 0..=u8::MAX {
                    let row = restored.rows.get(&QueueId(id).class(class).0);
                    row.into_iter().for_each(|row| self.restore_messages(key, row));
                    if class == 0 && !restored.has_classes(id) {
                        break;
                    }
                }
            } else if let Applied::VhostClosing(vhost) = applied {
                self.vhost_closing(vhost);
            }
        }
        // Everything restored is in the store already.
        self.topology.take_abandoned();
    }
}
