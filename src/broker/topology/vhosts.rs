//! Virtual hosts, and what their policies and limits make of the names in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Applied, Change, ExchangeSpec, Map, QueueRecord, QueueSpec, Topology, VhostId};
use crate::broker::access::Access;
use crate::broker::event;
use crate::broker::exchange::ExchangeKind;
use crate::broker::parameters::VhostLimits;
use crate::broker::policy::Policies;
use crate::broker::queue::ruled::is_internal;
use crate::broker::queue_arguments::QueueType;
use crate::broker::rules::Rules;

/// The exchanges that every virtual host has from its beginning (rabbitmq-semantics.md section 5).
const PREDECLARED: [(&str, ExchangeKind, bool); 7] = [
    ("", ExchangeKind::Direct, false),
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    ("amq.topic", ExchangeKind::Topic, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
];

/// What a virtual host is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VhostSpec {
    /// Its number in the store; 0: the configuration has it, and the store has not.
    pub id: u64,
    /// The number in the store of the first of its pre-declared exchanges; 0: they are in the store like all others.
    pub predeclared: u64,
    /// Its name.
    pub name: Arc<str>,
    /// For people.
    pub description: Arc<str>,
    /// For people and tools.
    pub tags: Vec<Arc<str>>,
    /// What queues are that do not say so.
    pub default_queue_type: Option<QueueType>,
}

impl VhostSpec {
    /// The virtual hosts of a configuration.
    pub fn configured(names: &[String]) -> Vec<Arc<VhostSpec>> {
        let spec = |(at, name): (usize, &String)| {
            let predeclared = at as u64 * PREDECLARED.len() as u64 + 1;
            Arc::new(VhostSpec { predeclared, name: name.as_str().into(), ..VhostSpec::default() })
        };
        names.iter().enumerate().map(spec).collect()
    }

    /// What exchanges it has from its beginning.
    pub fn exchanges(vhost: VhostId, first_id: u64) -> impl Iterator<Item = Arc<ExchangeSpec>> {
        let numbered = (first_id..).zip(PREDECLARED);
        numbered.map(move |(id, (name, kind, internal))| Arc::new(predeclared(vhost, id, name, kind, internal)))
    }

    /// The exchange for events.
    pub fn event_exchange(vhost: VhostId) -> Arc<ExchangeSpec> {
        Arc::new(predeclared(vhost, event::EXCHANGE_ID, event::EXCHANGE, ExchangeKind::Topic, true))
    }
}

fn predeclared(vhost: VhostId, id: u64, name: &str, kind: ExchangeKind, internal: bool) -> ExchangeSpec {
    ExchangeSpec {
        id,
        vhost,
        name: name.into(),
        kind,
        delayed: false,
        unique: false,
        durable: true,
        auto_delete: false,
        internal,
        arguments: Box::default(),
        alternate: None,
    }
}

/// A virtual host's names, and what holds for them.
#[derive(Debug)]
pub struct Vhost {
    /// What it is.
    pub spec: Arc<VhostSpec>,
    /// It is being deleted: for all but that it is not there.
    pub closing: bool,
    /// What happens in it is copied to its trace exchange. A restart ends this.
    pub traced: bool,
    /// Its policies.
    pub policies: Policies,
    /// Its limits.
    pub limits: VhostLimits,
    pub(super) exchanges: Map<Arc<str>, u32>,
    pub(super) queues: Map<Arc<str>, u32>,
    /// Exchanges by the name of their alternate exchange.
    pub(super) alternates: Map<Arc<str>, Vec<u32>>,
    /// What users may do in it, by their names.
    pub(super) access: BTreeMap<Arc<str>, Arc<Access>>,
}

impl Vhost {
    /// Its queues.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Places of so many of its exchanges, in no particular order but the same on every shard.
    pub fn some_exchanges(&self, count: usize) -> SmallVec<[u32; 8]> {
        let mut slots: SmallVec<[u32; 8]> = self.exchanges.values().copied().take(count).collect();
        slots.sort_unstable();
        slots
    }
}

impl Topology {
    pub(super) fn add_vhost(&mut self, spec: &Arc<VhostSpec>) {
        let vhost = self.vhosts.len() as VhostId;
        let map = || Map::with_hasher(self.hash.clone());
        self.names.insert(spec.name.clone(), vhost);
        self.vhosts.push(Some(Box::new(Vhost {
            spec: spec.clone(),
            closing: false,
            traced: false,
            policies: Policies::default(),
            limits: VhostLimits::default(),
            exchanges: map(),
            queues: map(),
            alternates: Map::with_hasher(self.hash.clone()),
            access: BTreeMap::new(),
        })));
    }

    /// The exchanges of a virtual host that the configuration has, before any change of the log.
    pub(super) fn predeclare(&mut self, vhost: VhostId, first_id: u64) {
        for spec in VhostSpec::exchanges(vhost, first_id) {
            self.apply(&Change::ExchangeDeclared(spec));
        }
    }

    /// The same tables with the exchange for events in the virtual host of this name, if there is one.
    pub fn with_events(mut self, vhost: Option<&str>) -> Topology {
        if let Some(vhost) = vhost.and_then(|name| self.find_vhost(name)) {
            self.apply(&Change::ExchangeDeclared(VhostSpec::event_exchange(vhost)));
        }
        self
    }

    /// A virtual host.
    #[inline]
    pub fn vhost(&self, vhost: VhostId) -> Option<&Vhost> {
        self.vhosts.get(vhost as usize)?.as_deref()
    }

    pub(super) fn vhost_mut(&mut self, vhost: VhostId) -> Option<&mut Vhost> {
        self.vhosts.get_mut(vhost as usize)?.as_deref_mut()
    }

    /// All virtual hosts.
    pub fn vhosts(&self) -> impl Iterator<Item = (VhostId, &Vhost)> {
        (0..).zip(&self.vhosts).filter_map(|(id, vhost)| Some((id, vhost.as_deref()?)))
    }

    /// The virtual host of this name, also while it is being deleted.
    pub fn find_any_vhost(&self, name: &str) -> Option<VhostId> {
        self.names.get(name).copied()
    }

    /// The virtual host of this name.
    pub fn find_vhost(&self, name: &str) -> Option<VhostId> {
        self.find_any_vhost(name).filter(|vhost| self.is_open(*vhost))
    }

    /// Whether names may come into a virtual host.
    pub fn is_open(&self, vhost: VhostId) -> bool {
        self.vhost(vhost).is_some_and(|vhost| !vhost.closing)
    }

    /// A virtual host's name.
    pub fn vhost_name(&self, vhost: VhostId) -> &str {
        self.vhost(vhost).map_or("", |vhost| &vhost.spec.name)
    }

    /// How many virtual hosts there are.
    pub fn vhost_count(&self) -> usize {
        self.names.len()
    }

    /// Whether there may be another: their numbers are not used again.
    pub fn has_room_for_vhost(&self) -> bool {
        self.vhosts.len() < usize::from(VhostId::MAX)
    }

    /// All queues.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// All exchanges, the pre-declared among them.
    pub fn exchange_count(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether a change of virtual hosts or parameters still makes sense.
    pub(super) fn admits_vhost_change(&self, change: &Change) -> bool {
        match change {
            Change::VhostAdded(spec) => !self.names.contains_key(&spec.name) && self.has_room_for_vhost(),
            Change::VhostUpdated(vhost, _) | Change::VhostClosing(vhost) | Change::Traced(vhost, _) => {
                self.is_open(*vhost)
            }
            Change::VhostDeleted(vhost) => self.vhost(*vhost).is_some(),
            Change::ParameterSet(parameter) => parameter.key.vhost.is_none_or(|vhost| self.is_open(vhost)),
            Change::ParameterCleared(key) => self.parameters.contains_key(key),
            _ => false,
        }
    }

    /// Applies a change of virtual hosts or parameters.
    pub(super) fn apply_vhost_change(&mut self, change: &Change) -> Applied {
        match change {
            Change::VhostAdded(spec) => self.add_vhost(spec),
            Change::VhostUpdated(vhost, spec) => {
                if let Some(vhost) = self.vhost_mut(*vhost) {
                    vhost.spec = spec.clone();
                }
            }
            Change::VhostClosing(id) => {
                if let Some(vhost) = self.vhost_mut(*id) {
                    vhost.closing = true;
                    return Applied::VhostClosing(*id);
                }
            }
            Change::Traced(id, traced) => {
                if let Some(vhost) = self.vhost_mut(*id) {
                    vhost.traced = *traced;
                    return Applied::Traced(*id);
                }
            }
            Change::VhostDeleted(id) => {
                if let Some(vhost) = self.vhosts.get_mut(*id as usize).and_then(Option::take) {
                    self.names.remove(&vhost.spec.name);
                    self.parameters.retain(|key, _| key.vhost != Some(*id));
                }
            }
            Change::ParameterSet(parameter) => {
                self.parameters.insert(parameter.key.clone(), parameter.clone());
                return self.mean(&parameter.key, &parameter.meaning, true);
            }
            Change::ParameterCleared(key) => {
                if let Some(parameter) = self.parameters.remove(key) {
                    return self.mean(key, &parameter.meaning, false);
                }
            }
            _ => {}
        }
        Applied::Other
    }

    /// Whether what happens in a virtual host is copied to its trace exchange.
    pub fn is_traced(&self, vhost: VhostId) -> bool {
        self.vhost(vhost).is_some_and(|vhost| vhost.traced)
    }

    /// What a queue goes by: its arguments and its policies.
    pub fn rules(&self, queue: &QueueSpec) -> Rules {
        // Where an exchange keeps messages back is nobody's queue.
        let vhost = self.vhost(queue.vhost).filter(|_| !is_internal(queue));
        match vhost
            .map(|vhost| &vhost.policies)
            .and_then(|policies| policies.asked(QueueType::of_queue(queue), &queue.name))
        {
            Some(asked) => Rules::under(queue.table(), &asked),
            None => Rules::of(queue),
        }
    }

    /// Whether a queue may refuse a publish. No policy of its vhost is looked at unless one speaks of that.
    pub fn may_reject(&self, queue: &QueueRecord) -> bool {
        let says = |vhost: &Vhost| vhost.policies.say_overflow() || vhost.policies.say_length();
        match self.vhost(queue.spec.vhost).is_some_and(says) {
            true => self.rules(&queue.spec).rejects(),
            false => queue.rejects,
        }
    }

    /// An exchange's alternate exchange: its argument says which, or a policy does.
    pub(super) fn alternate_of(&self, spec: &ExchangeSpec) -> Option<Arc<str>> {
        let by_policy = || self.vhost(spec.vhost)?.policies.alternate(&spec.name).cloned();
        spec.alternate.clone().or_else(by_policy)
    }

    /// Looks again at the alternate exchanges of a vhost's exchanges, at so many places from this one. Returns where to
    /// go on.
    pub fn look_at_alternates(&mut self, vhost: VhostId, from: usize, places: usize) -> Option<usize> {
        for slot in from..from + places {
            if slot >= self.exchanges.capacity() {
                return None;
            }
            let Some(exchange) = self.exchanges.get(slot).filter(|exchange| exchange.spec.vhost == vhost) else {
                continue;
            };
            let alternate = self.alternate_of(&exchange.spec);
            if alternate != exchange.alternate {
                self.forget_alternate(slot as u32);
                self.note_alternate(slot as u32, alternate);
                self.epochs += 1;
                self.raise(slot as u32);
            }
        }
        Some(from + places)
    }

    pub(super) fn note_alternate(&mut self, slot: u32, alternate: Option<Arc<str>>) {
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        exchange.alternate = alternate.clone();
        let vhost = exchange.spec.vhost;
        if let Some(alternate) = alternate
            && let Some(vhost) = self.vhost_mut(vhost)
        {
            vhost.alternates.entry(alternate).or_default().push(slot);
        }
    }

    pub(super) fn forget_alternate(&mut self, slot: u32) {
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        let vhost = exchange.spec.vhost;
        if let Some(alternate) = exchange.alternate.take()
            && let Some(vhost) = self.vhost_mut(vhost)
            && let Some(slots) = vhost.alternates.get_mut(&alternate)
        {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                vhost.alternates.remove(&alternate);
            }
        }
    }
}
