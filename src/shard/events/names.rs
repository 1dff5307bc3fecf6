//! What shard 0 tells of names: queues, exchanges, bindings, virtual hosts, parameters and policies.

use std::sync::Arc;

use crate::amqp::Table;
use crate::broker::event::{Event, NOBODY};
use crate::broker::exchange::Destination;
use crate::broker::parameters::{GLOBAL, Meaning, Parameter, ParameterKey, USER_LIMITS, VHOST_LIMITS};
use crate::broker::policy::{Object, Scope};
use crate::broker::queue::ruled::is_internal;
use crate::broker::queue_arguments::QueueType;
use crate::broker::topology::{BindingSpec, Change, Departed, ExchangeSpec, QueueSpec, VhostId};
use crate::shard::Shard;

/// What a change of names takes away, looked up before it does.
#[derive(Debug, Default)]
pub(in crate::shard) struct Before {
    queue: Option<Arc<QueueSpec>>,
    unbound: Option<Event>,
    vhost: Arc<str>,
    parameters: Vec<Arc<Parameter>>,
    /// A parameter has this value already.
    is_same: bool,
    /// What the parameter is that changes.
    parameter: Option<Arc<Parameter>>,
}

/// A binding, as events tell of it.
struct Bound<'a> {
    source: &'a ExchangeSpec,
    destination: Destination,
    name: &'a str,
    key: &'a str,
    arguments: &'a [u8],
}

impl Shard {
    /// Looks at what a change is about to take away; nothing if nobody listens.
    pub(in crate::shard) fn before_change(&mut self, change: &Change, user: &str) -> Option<Before> {
        self.event_vhost()?;
        self.topology.note_departed();
        let mut before = Before::default();
        match change {
            Change::QueueDeleted(key) => before.queue = self.topology.queue(*key).map(|queue| queue.spec.clone()),
            // Its exchange may go with it.
            Change::Unbound(spec) => before.unbound = self.bound("binding.deleted", spec, user),
            Change::VhostDeleted(id) => {
                before.vhost = self.topology.vhost_name(*id).into();
                let of = self.topology.parameters().values().filter(|parameter| parameter.key.vhost == Some(*id));
                before.parameters = of.cloned().collect();
            }
            Change::ParameterSet(new) => {
                before.parameter = self.topology.parameter(&new.key).cloned();
                before.is_same = before.parameter.as_ref().is_some_and(|old| old.value == new.value);
            }
            Change::ParameterCleared(key) => before.parameter = self.topology.parameter(key).cloned(),
            _ => {}
        }
        Some(before)
    }

    /// Tells of a change that was made, and of all that went with it.
    pub(in crate::shard) fn tell_change(&mut self, change: &Change, before: Option<Before>, user: &str) {
        // The first binding to the exchange tells of itself.
        let mut before = before.unwrap_or_default();
        let departed = self.topology.take_departed();
        // What goes with a queue nobody has asked for.
        let with = if before.queue.is_some() { NOBODY } else { user };
        self.tell(|_| before.unbound.take());
        for gone in &departed {
            self.tell(|shard| Some(shard.departed(gone, with)));
        }
        match change {
            Change::QueueDeclared(spec) => self.tell(|shard| shard.queue_created(spec, user)),
            Change::QueueDeleted(_) => self.tell(|shard| {
                let spec = before.queue.as_ref().filter(|spec| !is_internal(spec))?;
                let event = Event::new("queue.deleted").name("name", &spec.name, shard.topology.vhost_name(spec.vhost));
                Some(event.text("type", QueueType::of_queue(spec).module()).by(user))
            }),
            Change::ExchangeDeclared(spec) => self.tell(|shard| Some(shard.exchange_created(spec, user))),
            Change::Bound(spec) => self.tell(|shard| shard.bound("binding.created", spec, user)),
            Change::VhostDeleted(_) => {
                for parameter in &before.parameters {
                    self.tell_cleared(&parameter.key, Some(parameter), &before.vhost, user);
                }
                self.tell(|_| Some(Event::new("vhost.deleted").text("name", &before.vhost).by(user)));
            }
            Change::ParameterSet(parameter) if !before.is_same => {
                self.tell_set(parameter, before.parameter.as_deref(), user);
            }
            Change::ParameterCleared(key) => {
                let vhost: Arc<str> = key.vhost.map_or("", |vhost| self.topology.vhost_name(vhost)).into();
                self.tell_cleared(key, before.parameter.as_deref(), &vhost, user);
            }
            _ => {}
        }
    }

    fn queue_created(&self, spec: &QueueSpec, user: &str) -> Option<Event> {
        if is_internal(spec) {
            return None;
        }
        let node = &self.settings.advertise.cluster_name;
        let owner = spec.exclusive.map(|owner| self.pid(owner.shard, owner.slot, owner.generation));
        Some(
            Event::new("queue.created")
                .name("name", &spec.name, self.topology.vhost_name(spec.vhost))
                .text("type", QueueType::of_queue(spec).module())
                .flag("durable", spec.durable)
                .flag("auto_delete", spec.auto_delete)
                .table("arguments", spec.table())
                .text("owner_pid", owner.as_deref().unwrap_or_default())
                .flag("exclusive", spec.exclusive.is_some())
                .text("leader", node)
                .texts("members", [node.as_str()].into_iter())
                .by(user),
        )
    }

    fn exchange_created(&self, spec: &ExchangeSpec, user: &str) -> Event {
        let vhost = self.topology.vhost(spec.vhost);
        let policy = vhost.and_then(|vhost| vhost.policies.applying(Scope::User, Object::Exchange, &spec.name));
        Event::new("exchange.created")
            .name("name", &spec.name, self.topology.vhost_name(spec.vhost))
            .text("type", spec.type_name())
            .flag("durable", spec.durable)
            .flag("auto_delete", spec.auto_delete)
            .flag("internal", spec.internal)
            .table("arguments", spec.table())
            .text("policy", policy.map_or("", |policy| &policy.name))
            .by(user)
    }

    fn bound(&self, event: &'static str, spec: &BindingSpec, user: &str) -> Option<Event> {
        let source = &self.topology.exchange(spec.source)?.spec;
        let name = self.topology.destination_name(spec.destination)?;
        let (destination, key, arguments) = (spec.destination, &*spec.key, &*spec.arguments);
        Some(self.binding(event, &Bound { source, destination, name, key, arguments }, user))
    }

    fn departed(&self, gone: &Departed, user: &str) -> Event {
        match gone {
            Departed::Exchange(spec) => {
                let vhost = self.topology.vhost_name(spec.vhost);
                Event::new("exchange.deleted").name("name", &spec.name, vhost).by(user)
            }
            Departed::Binding { source, destination, name, key, arguments } => {
                let bound = Bound { source, destination: *destination, name, key, arguments };
                self.binding("binding.deleted", &bound, user)
            }
        }
    }

    fn binding(&self, event: &'static str, bound: &Bound<'_>, user: &str) -> Event {
        let kind = match bound.destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        };
        Event::new(event)
            .text("source_name", &bound.source.name)
            .text("source_kind", "exchange")
            .text("destination_name", bound.name)
            .text("destination_kind", kind)
            .text("routing_key", bound.key)
            .table("arguments", Table::check(bound.arguments).unwrap_or_default())
            .text("vhost", self.topology.vhost_name(bound.source.vhost))
            .by(user)
    }

    /// Tells of a new virtual host, once its exchanges are there.
    pub(in crate::shard) fn tell_vhost_created(&mut self, id: VhostId, user: &str) {
        self.tell(|shard| {
            let spec = &shard.topology.vhost(id)?.spec;
            let event = Event::new("vhost.created")
                .text("name", &spec.name)
                .text("description", &spec.description)
                .texts("tags", spec.tags.iter().map(|tag| &**tag))
                .text("default_queue_type", spec.default_queue_type.map_or("undefined", QueueType::name))
                .flag("tracing", false);
            Some(event.by(user))
        });
    }

    fn tell_set(&mut self, parameter: &Parameter, old: Option<&Parameter>, user: &str) {
        let Parameter { key, value, meaning, .. } = parameter;
        let name = &*key.name;
        let vhost: Arc<str> = key.vhost.map_or("", |vhost| self.topology.vhost_name(vhost)).into();
        if !key.is_listed() {
            return self.tell_access_set(parameter, old, &vhost, user);
        }
        let is_policy = matches!(meaning, Meaning::Policy(Scope::User, _));
        if !is_policy && *key.component != *USER_LIMITS {
            let event = || Event::new("parameter.set").text("component", &key.component).text("name", name);
            self.tell(|_| Some(in_vhost(event(), &key.component, &vhost).json("value", value).by(user)));
        }
        match meaning {
            Meaning::Policy(..) => {
                let event =
                    |_: &Shard| Some(Event::new("policy.set").name("name", name, &vhost).members(value).by(user));
                self.tell(event);
            }
            Meaning::VhostLimits(_) => {
                let event = || Event::new("vhost.limits.set").name("name", name, &vhost);
                self.tell(|_| Some(event().members(value).by(user)));
            }
            Meaning::UserLimits(_) => {
                let event = || Event::new("user.limits.set").text("name", "limits").text("username", name);
                self.tell(|_| Some(event().members(value).by(user)));
            }
            Meaning::User(_) | Meaning::Permission(_) | Meaning::Topics(_) | Meaning::Kept => {}
        }
    }

    fn tell_cleared(&mut self, key: &ParameterKey, old: Option<&Parameter>, vhost: &str, user: &str) {
        if !key.is_listed() {
            return self.tell_access_cleared(key, old, vhost, user);
        }
        let (component, name) = (&*key.component, &*key.name);
        let scope = Scope::of_component(component);
        if scope != Some(Scope::User) && component != USER_LIMITS {
            let event = || Event::new("parameter.cleared").text("component", component).text("name", name);
            self.tell(|_| Some(in_vhost(event(), component, vhost).by(user)));
        }
        let event = match (scope, component) {
            (Some(Scope::User), _) => Event::new("policy.cleared").name("name", name, vhost),
            (Some(Scope::Operator), _) => Event::new("operator.policy.cleared").name("name", name, vhost),
            (None, VHOST_LIMITS) => Event::new("vhost.limits.cleared").name("name", name, vhost),
            (None, USER_LIMITS) => Event::new("user.limits.cleared").text("name", "limits").text("username", name),
            _ => return,
        };
        self.tell(|_| Some(event.by(user)));
    }
}

/// A parameter's event, with its virtual host if it has one.
fn in_vhost(event: Event, component: &str, vhost: &str) -> Event {
    if component == GLOBAL { event } else { event.text("vhost", vhost) }
}
