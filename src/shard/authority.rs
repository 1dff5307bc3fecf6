//! Names: shard 0 decides about them and writes the log; every shard applies it (shards.md A9-A12).

use std::sync::Arc;

use smallvec::SmallVec;

use super::definitions;
use super::mesh::{Caller, NamesRequest, Record, Reply};
use super::owner::Waiter;
use super::{ConnectionId, Shard};
use crate::amqp::method::{ExchangeDeclare, QueueDeclare};
use crate::amqp::{Exception, ReplyCode};
use crate::broker::deduplication::Seen;
use crate::broker::event;
use crate::broker::exchange::ExchangeKind;
use crate::broker::queue::Queue;
use crate::broker::queue::ruled::{DELAYS_PREFIX, UNIQUE_PREFIX, delays_of, is_internal};
use crate::broker::topology::{Applied, Change, ExchangeSpec, QueueKey, QueueSpec};
use crate::connection::Phase;
use crate::store::QueueId;

impl Shard {
    /// Brings a change of names before shard 0.
    pub(super) fn ask_names(&mut self, caller: Caller, request: NamesRequest) {
        if self.id.0 == 0 {
            self.decide(caller, request);
        } else {
            self.mesh.send(0, Record::Names(caller, Box::new(request)));
        }
    }

    /// Shard 0: makes the change, unless the world has changed since the caller looked.
    pub(super) fn decide(&mut self, caller: Caller, mut request: NamesRequest) {
        if !self.topology.admits(&request.change) {
            return self.reply(caller, Reply::Retry);
        }
        if let Change::ExchangeDeleted(key) = request.change
            && request.if_unused
            && self.topology.exchange(key).is_some_and(|exchange| !exchange.table.is_empty())
        {
            return self.reply(caller, Reply::InUse);
        }
        if let Some(exception) = self.over_limit(&request.change) {
            return self.reply(caller, Reply::Refused(Box::new(exception)));
        }
        match &mut request.change {
            Change::QueueDeclared(spec) => {
                let owner = if request.place { self.place(spec.owner) } else { spec.owner };
                let id = self.next_id();
                let (name, arguments) = (spec.name.clone(), spec.arguments.clone());
                *spec = Arc::new(QueueSpec { id, owner, name, arguments, ..**spec });
                if let Some(count) = self.placed.get_mut(owner as usize) {
                    *count += 1;
                }
            }
            Change::ExchangeDeclared(spec) => {
                let id = self.next_id();
                let (name, arguments, alternate) = (spec.name.clone(), spec.arguments.clone(), spec.alternate.clone());
                *spec = Arc::new(ExchangeSpec { id, name, arguments, alternate, ..**spec });
            }
            _ => {}
        }
        let mut queues: SmallVec<[QueueSpec; 1]> = SmallVec::new();
        if let Change::ExchangeDeclared(spec) = &request.change {
            if spec.has_queue() {
                queues.push(self.delays_for(spec));
            }
            if spec.kind == ExchangeKind::RecentHistory {
                queues.push(self.history_for(spec));
            }
        }
        let user = std::mem::take(&mut request.user);
        let mut stays = self.append_by(request.change, &user);
        for queue in queues {
            stays |= self.append(Change::QueueDeclared(Arc::new(queue)));
        }
        if stays {
            self.reply_when_durable(caller, Reply::Done);
        } else {
            self.reply(caller, Reply::Done);
        }
    }

    /// The queue in which the messages of an exchange wait.
    fn delays_for(&mut self, exchange: &ExchangeSpec) -> QueueSpec {
        let owner = self.place(self.id.0);
        if let Some(count) = self.placed.get_mut(owner as usize) {
            *count += 1;
        }
        QueueSpec {
            id: self.next_id(),
            vhost: exchange.vhost,
            name: format!("{}{}", if exchange.delayed { DELAYS_PREFIX } else { UNIQUE_PREFIX }, exchange.name).into(),
            durable: exchange.durable,
            auto_delete: false,
            exclusive: None,
            arguments: Box::default(),
            owner,
        }
    }

    /// A number that no queue or exchange of the store ever had: the term of this start, and a count.
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Why there may be no further queue or exchange.
    fn over_limit(&self, change: &Change) -> Option<Exception> {
        let over = |max: Option<u32>, count: usize| max.filter(|max| count as u64 >= u64::from(*max));
        let (method, text) = match change {
            Change::QueueDeclared(spec) => {
                let vhost = self.topology.vhost(spec.vhost)?;
                let (subject, max) = match over(vhost.limits.queues_max, vhost.queue_count()) {
                    Some(max) => (format!("vhost '{}'", vhost.spec.name), max),
                    None => ("cluster".to_owned(), over(self.settings.node.queue_max, self.topology.queue_count())?),
                };
                let text = format!("cannot declare queue '{}': queue limit in {subject} ({max}) is reached", spec.name);
                (QueueDeclare::ID, text)
            }
            Change::ExchangeDeclared(spec) => {
                let max = over(self.settings.node.exchange_max, self.topology.exchange_count())?;
                let (name, vhost) = (&spec.name, self.topology.vhost_name(spec.vhost));
                let text =
                    format!("cannot declare exchange '{name}' in vhost '{vhost}': exchange limit of {max} is reached");
                (ExchangeDeclare::ID, text)
            }
            _ => return None,
        };
        Some(Exception::new(ReplyCode::PreconditionFailed, method, text))
    }

    /// On the declarer's shard, unless that has over one queue more than the one with fewest.
    fn place(&self, here: u8) -> u8 {
        let fewest = self.placed.iter().enumerate().min_by_key(|(_, count)| **count);
        match (fewest, self.placed.get(here as usize)) {
            (Some((shard, fewest)), Some(count)) if *count > fewest + 1 => shard as u8,
            _ => here,
        }
    }

    /// Makes a change that no client has asked for. Returns whether it is to survive.
    pub(super) fn append(&mut self, change: Change) -> bool {
        self.append_by(change, event::NOBODY)
    }

    /// Makes a change that a user has asked for. Returns whether it is to survive.
    pub(super) fn append_by(&mut self, change: Change, user: &str) -> bool {
        let before = self.before_change(&change, user);
        let mut stays = self.ledger.on && definitions::write(&self.topology, &change, self.ledger.records());
        let replay = match &change {
            Change::Bound(spec) => self.topology.exchange(spec.source).and_then(|exchange| exchange.history),
            _ => None,
        };
        // What shard 0 writes it has seen.
        if let Some(writer) = &mut self.writer {
            self.cursor = writer.append(change);
            let applied = self.cursor.change().map(|change| self.topology.apply(change));
            for exchange in self.topology.take_abandoned() {
                if self.ledger.on {
                    self.ledger.records().undefined(QueueId(exchange));
                    stays = true;
                }
            }
            if let Some(applied) = applied {
                self.applied(applied);
            }
            let cursor = self.cursor.clone();
            if self.settings.event_exchange.is_some()
                && let Some(change) = cursor.change()
            {
                self.tell_change(change, before, user);
            }
            if let Some(history) = replay
                && let Some(Change::Bound(binding)) = cursor.change()
            {
                self.replay(history, binding);
            }
            for queue in self.topology.take_orphans() {
                let owner = self.topology.queue(queue).map(|queue| queue.spec.owner);
                stays |= self.ledger.on && owner.is_some();
                owner.into_iter().for_each(|owner| self.queue_removal(queue, owner, event::NOBODY));
            }
        }
        stays
    }

    /// An owner (this shard) has a queue taken out of the tables.
    pub(super) fn remove_queue_name(&mut self, key: QueueKey, user: Option<Arc<str>>) {
        if self.id.0 == 0 {
            self.queue_removal(key, 0, user.as_deref().unwrap_or(event::NOBODY));
        } else {
            self.mesh.send(0, Record::RemoveQueue(key, user));
        }
    }

    /// Shard 0: takes a queue out of the tables; its owner sees that in the log.
    pub(super) fn queue_removal(&mut self, key: QueueKey, owner: u8, user: &str) {
        if self.topology.queue(key).is_some() {
            if let Some(count) = self.placed.get_mut(owner as usize) {
                *count = count.saturating_sub(1);
            }
            self.append_by(Change::QueueDeleted(key), user);
        }
        if owner != self.id.0 {
            self.mesh.nudge(owner);
        }
    }

    /// Has the caller told by way of shard 0, behind what this shard asked before, to look again.
    pub(super) fn bounce(&mut self, caller: Caller) {
        if self.id.0 == 0 {
            self.reply(caller, Reply::Retry);
        } else {
            self.mesh.send(0, Record::Bounce(caller));
        }
    }

    /// Applies the topology log as far as it may be seen.
    #[inline]
    pub fn apply_topology(&mut self, visible: u64) {
        while self.cursor.is_behind(visible) {
            self.apply_change(visible);
        }
    }

    /// Applies the next change of the topology log.
    fn apply_change(&mut self, visible: u64) {
        let (topology, mut applied) = (&mut self.topology, Applied::Other);
        if self.cursor.step(visible, |change| applied = topology.apply(change)) {
            self.applied(applied);
        }
    }

    /// What an applied change means here.
    pub(super) fn applied(&mut self, applied: Applied) {
        match applied {
            Applied::QueueDeclared(key, spec) if spec.owner == self.id.0 => {
                let slot = key.slot as usize;
                if self.living.len() <= slot {
                    self.living.resize_with(slot + 1, || None);
                }
                let mut queue = Box::new(Queue::new(key, spec.clone()));
                self.counted.queues_created += u64::from(!is_internal(&spec));
                queue.set_rules(self.topology.rules(&spec), self.now);
                if self.topology.is_traced(spec.vhost) && !is_internal(&spec) {
                    queue.set_traced(true, self.now);
                }
                if is_internal(&spec) {
                    queue.ruled_or_new(self.now);
                }
                if let Some(exchange) = delays_of(&spec) {
                    let exchange = self.topology.find_exchange(spec.vhost, exchange);
                    let rule = exchange.and_then(|exchange| exchange.deduplication.as_deref().cloned());
                    queue.ruled_or_new(self.now).seen = rule.map(|rule| Box::new(Seen::new(rule)));
                }
                self.used(&mut queue);
                if let Some(place) = self.living.get_mut(slot) {
                    *place = Some(queue);
                }
                if let Some(exclusive) = spec.exclusive {
                    let id = ConnectionId { slot: exclusive.slot, generation: exclusive.generation };
                    match self.members.get_mut(id) {
                        Some(member) if member.wire.phase == Phase::Running => member.exclusive.push(key),
                        // Its connection died while it was declared.
                        _ => self.begin_removal(key, Waiter::Nobody),
                    }
                }
            }
            Applied::QueueDeleted(key) => self.removed(key),
            Applied::Policies { vhost, routes } => self.policies_changed(vhost, routes),
            Applied::User(name) => self.user_changed(&name),
            Applied::Traced(vhost) => self.tracing_changed(vhost),
            Applied::VhostClosing(vhost) => self.vhost_closing(vhost),
            _ => {}
        }
    }
}
