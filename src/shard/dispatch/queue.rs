//! Class queue (rabbitmq-semantics.md section 7).

use std::borrow::Cow;
use std::sync::Arc;

use super::exchange::default_exchange;
use super::{Done, stripped};
use crate::amqp::method::{
    QueueBind, QueueBindOk, QueueDeclare, QueueDelete, QueueDeleteOk, QueuePurge, QueueUnbind, QueueUnbindOk,
};
use crate::amqp::{Exception, MethodId, ReplyCode, Table, TableWriter, Value};
use crate::broker::access::Verb;
use crate::broker::arguments;
use crate::broker::exchange::Destination;
use crate::broker::queue_arguments::{self, QueueType};
use crate::broker::topology::{BindingSpec, Change, ExchangeKey, Exclusive, QueueKey, QueueRecord, QueueSpec};
use crate::config::settings::DefaultQueueType;
use crate::shard::Shard;
use crate::shard::member::After;
use crate::shard::mesh::{Caller, NamesRequest, QueueRequest, Record};
use crate::shard::reply_to;

/// The name of the queue that a command means and, when it exists, the queue and the shard where it lives.
type Meant<'a> = (Cow<'a, str>, Option<(QueueKey, u8)>);

fn refused(text: impl std::fmt::Display) -> Exception {
    Exception::new(ReplyCode::PreconditionFailed, QueueDeclare::ID, text)
}

fn queue_binding(source: ExchangeKey, queue: QueueKey, key: String, arguments: Table<'_>) -> BindingSpec {
    BindingSpec {
        source,
        destination: Destination::Queue(queue.slot),
        destination_generation: queue.generation,
        key: key.into(),
        arguments: arguments.as_bytes().into(),
    }
}

impl Shard {
    pub(super) fn exclusive_id(caller: Caller) -> Exclusive {
        Exclusive { shard: caller.shard, slot: caller.connection.slot, generation: caller.connection.generation }
    }

    fn locked(&self, caller: Caller, queue: &str, method: MethodId) -> Exception {
        let text = format!(
            "cannot obtain exclusive access to locked {}. It could be originally declared on another connection or \
             the exclusive property value does not match that of the original declaration.",
            self.queue_name(caller, queue)
        );
        Exception::new(ReplyCode::ResourceLocked, method, text)
    }

    /// Refuses what belongs to another connection.
    fn check_lock(&self, caller: Caller, spec: &QueueSpec, method: MethodId) -> Done {
        match spec.exclusive {
            Some(owner) if owner != Shard::exclusive_id(caller) => Err(self.locked(caller, &spec.name, method)),
            _ => Ok(()),
        }
    }

    /// The queue that a name means: "" is the one last declared on the channel.
    fn last_declared<'a>(
        &mut self,
        caller: Caller,
        name: &'a str,
        method: MethodId,
    ) -> Result<Cow<'a, str>, Exception> {
        if !name.is_empty() {
            return Ok(Cow::Borrowed(name));
        }
        match self.channel_of(caller).and_then(|channel| channel.last_queue.clone()) {
            Some(last) => Ok(Cow::Owned(last.to_string())),
            None => Err(Exception::new(ReplyCode::NotFound, method, "no previously declared queue")),
        }
    }

    /// The queue that a name means, if the user may do this with it, and it exists and is not another connection's.
    pub(super) fn queue_for<'a>(
        &mut self,
        caller: Caller,
        verb: Verb,
        name: &'a str,
        method: MethodId,
    ) -> Result<Meant<'a>, Exception> {
        let name = self.last_declared(caller, name, method)?;
        self.check_queue(caller, verb, &name, method)?;
        let Some(record) = self.topology.find_queue(self.vhost_of(caller), &name) else {
            return Ok((name, None));
        };
        let found = (record.key, record.spec.owner);
        self.check_lock(caller, &record.spec, method)?;
        Ok((name, Some(found)))
    }

    /// Refuses what would take something out of the queue of an exchange, or put something into it.
    #[inline]
    pub(super) fn check_internal(&self, caller: Caller, queue: &QueueRecord, method: MethodId) -> Done {
        if !queue.is_internal {
            return Ok(());
        }
        let queue = self.queue_name(caller, &queue.spec.name);
        let text = format!("cannot obtain access to the {queue}: it belongs to an exchange");
        Err(Exception::new(ReplyCode::AccessRefused, method, text))
    }

    /// What a queue is.
    pub(super) fn queue_type(&self, key: QueueKey) -> QueueType {
        self.topology.queue(key).map_or(QueueType::Classic, |queue| QueueType::of_queue(&queue.spec))
    }

    /// Sends a command to the queue's owner, on the path of this connection's publishes.
    pub(super) fn ask_owner(&mut self, caller: Caller, key: QueueKey, owner: u8, request: QueueRequest) {
        self.touch(caller, owner);
        if owner == self.id.0 {
            self.queue_request(caller, key, request);
        } else {
            self.mesh.send(owner, Record::Queue(caller, key, Box::new(request)));
        }
    }

    /// The arguments of a queue that does not say what it is: with the type that the virtual host has for it, or the
    /// broker, unless the queue could not be of that.
    fn with_default_type(&self, caller: Caller, m: &QueueDeclare<'_>) -> Option<TableWriter> {
        let of_vhost = || self.topology.vhost(self.vhost_of(caller))?.spec.default_queue_type;
        let of_broker = || {
            Some(match self.settings.default_queue_type? {
                DefaultQueueType::Classic => QueueType::Classic,
                DefaultQueueType::Quorum => QueueType::Quorum,
            })
        };
        let default = of_vhost().or_else(of_broker)?;
        let fits = default == QueueType::Classic || m.durable && !m.exclusive && !m.auto_delete;
        if !fits || m.passive || m.arguments.find("x-queue-type").is_some() {
            return None;
        }
        let mut arguments = TableWriter::new();
        for (key, value) in m.arguments.iter() {
            arguments.put_bytes(key, value);
        }
        arguments.put("x-queue-type", Value::LongStr(default.name().as_bytes()));
        Some(arguments)
    }

    pub(super) fn queue_declare(&mut self, caller: Caller, m: &QueueDeclare<'_>) -> Done {
        match self.with_default_type(caller, m) {
            Some(arguments) => self.declare(caller, &QueueDeclare { arguments: arguments.table(), ..*m }),
            None => self.declare(caller, m),
        }
    }

    fn declare(&mut self, caller: Caller, m: &QueueDeclare<'_>) -> Done {
        let mut name = stripped(m.queue);
        let vhost = self.vhost_of(caller);
        if reply_to::is_reply_queue(&name) {
            let after = After::Declare { queue: name.as_ref().into(), no_wait: m.no_wait };
            self.wait(caller, after, &name, m);
            self.ask_for_reply(caller, &name);
            return Ok(());
        }
        let server_named = name.is_empty() && !m.passive;
        if server_named && QueueType::of(m.arguments) != QueueType::Classic {
            let module = QueueType::of(m.arguments).module();
            return Err(refused(format_args!("Cannot declare a server-named queue for type {module}")));
        }
        if server_named {
            name = Cow::Owned(self.names.generate("amq.gen-"));
        } else if !m.passive && name.starts_with("amq.") {
            let text = format!("queue name '{name}' contains reserved prefix 'amq.*'");
            return Err(Exception::new(ReplyCode::AccessRefused, QueueDeclare::ID, text));
        }
        match m.passive {
            true => self.check_any(caller, "queue", &name, QueueDeclare::ID)?,
            false => self.check_queue(caller, Verb::Configure, &name, QueueDeclare::ID)?,
        }
        if let Some(record) = self.topology.find_queue(vhost, &name) {
            let (key, spec) = (record.key, record.spec.clone());
            self.check_lock(caller, &spec, QueueDeclare::ID)?;
            if !m.passive {
                self.check_equivalence(caller, m, &spec)?;
            }
            self.wait(caller, After::Declare { queue: spec.name.clone(), no_wait: m.no_wait }, &name, m);
            self.ask_owner(caller, key, spec.owner, QueueRequest::Counts);
            return Ok(());
        }
        if m.passive {
            return Err(self.no_queue(caller, &name, QueueDeclare::ID));
        }
        self.check_new(caller, m, &name)?;
        if let Some(exchange) = m.arguments.find("x-dead-letter-exchange").and_then(|value| value.as_long_str()) {
            self.check_queue(caller, Verb::Read, &name, QueueDeclare::ID)?;
            let exchange = String::from_utf8_lossy(exchange);
            self.check_exchange(caller, Verb::Write, &exchange, QueueDeclare::ID)?;
        }
        let name: Arc<str> = name.as_ref().into();
        let spec = QueueSpec {
            id: 0,
            vhost,
            name: name.clone(),
            durable: m.durable && !m.exclusive,
            auto_delete: m.auto_delete,
            exclusive: m.exclusive.then(|| Shard::exclusive_id(caller)),
            arguments: m.arguments.as_bytes().into(),
            owner: self.id.0,
        };
        self.wait(caller, After::Declare { queue: name.clone(), no_wait: m.no_wait }, &name, m);
        self.touch(caller, 0);
        self.touch(caller, self.id.0);
        let place = !m.exclusive && !server_named;
        let change = Change::QueueDeclared(Arc::new(spec));
        let user = self.user_of(caller);
        self.ask_names(caller, NamesRequest { change, if_unused: false, place, user });
        Ok(())
    }

    /// Checks what a queue that is not there is to be.
    fn check_new(&self, caller: Caller, m: &QueueDeclare<'_>, name: &str) -> Done {
        let queue = self.queue_name(caller, name);
        if let Some(value) = m.arguments.find("x-dead-letter-exchange")
            && value.as_long_str().is_none()
        {
            let kind = value.type_name();
            return Err(refused(format_args!("invalid type '{kind}' for arg 'x-dead-letter-exchange' in {queue}")));
        }
        let queue_type = queue_arguments::check(m.arguments).map_err(|refusal| refused(refusal.text(&queue)))?;
        if !m.durable && !m.exclusive && !self.settings.permit.transient_nonexcl_queues {
            let text = "Feature `transient_nonexcl_queues` is deprecated.\n\
                        By default, this feature is not permitted anymore.";
            return Err(Exception::new(ReplyCode::InternalError, QueueDeclare::ID, text));
        }
        let properties =
            [("auto-delete", m.auto_delete), ("exclusive-owner", m.exclusive), ("non-durable", !m.durable)];
        match properties.iter().find(|(_, is_set)| *is_set && queue_type != QueueType::Classic) {
            Some((property, _)) => Err(refused(format_args!("invalid property '{property}' for {queue}"))),
            None => Ok(()),
        }
    }

    fn check_equivalence(&self, caller: Caller, m: &QueueDeclare<'_>, spec: &QueueSpec) -> Done {
        if m.exclusive != spec.exclusive.is_some() {
            return Err(self.locked(caller, &spec.name, QueueDeclare::ID));
        }
        let durable = if m.exclusive { spec.durable } else { m.durable };
        let subject = self.queue_name(caller, &spec.name);
        for (argument, received, current) in
            [("durable", durable, spec.durable), ("auto_delete", m.auto_delete, spec.auto_delete)]
        {
            if received != current {
                return Err(refused(format_args!(
                    "inequivalent arg '{argument}' for {subject}: received '{received}' but current is '{current}'"
                )));
            }
        }
        let current = spec.table();
        for argument in queue_arguments::compared(QueueType::of(current)) {
            if let Some(error) =
                arguments::equivalence_error(argument, current.find(argument), m.arguments.find(argument))
            {
                return Err(refused(format_args!("inequivalent arg '{argument}' for {subject}: {error}")));
            }
        }
        Ok(())
    }

    pub(super) fn queue_bind(&mut self, caller: Caller, m: &QueueBind<'_>) -> Done {
        let (queue, exchange) = (stripped(m.queue), stripped(m.exchange));
        let (queue, key) = self.binding_names(caller, &queue, &exchange, m.routing_key, QueueBind::ID)?;
        let vhost = self.vhost_of(caller);
        let Some(source) = self.topology.find_exchange(vhost, &exchange).map(|exchange| exchange.key) else {
            return Err(self.no_exchange(caller, &exchange, QueueBind::ID));
        };
        let Some(record) = self.topology.find_queue(vhost, &queue) else {
            return Err(self.no_queue(caller, &queue, QueueBind::ID));
        };
        self.check_lock(caller, &record.spec, QueueBind::ID)?;
        self.check_internal(caller, record, QueueBind::ID)?;
        let spec = queue_binding(source, record.key, key, m.arguments);
        if self.validate_binding(&spec, m.arguments, QueueBind::ID)? {
            self.write_unless(m.no_wait, caller, &QueueBindOk {});
            return Ok(());
        }
        self.wait(caller, After::ok(QueueBindOk::ID, m.no_wait), &queue, m);
        self.change(caller, Change::Bound(spec), false);
        Ok(())
    }

    pub(super) fn queue_unbind(&mut self, caller: Caller, m: &QueueUnbind<'_>) -> Done {
        let (queue, exchange) = (stripped(m.queue), stripped(m.exchange));
        let (queue, key) = self.binding_names(caller, &queue, &exchange, m.routing_key, QueueUnbind::ID)?;
        let vhost = self.vhost_of(caller);
        let source = self.topology.find_exchange(vhost, &exchange).map(|exchange| exchange.key);
        if let (Some(source), Some(record)) = (source, self.topology.find_queue(vhost, &queue)) {
            let spec = queue_binding(source, record.key, key, m.arguments);
            let locked = record.spec.clone();
            if self.is_bound(&spec, m.arguments) {
                self.check_lock(caller, &locked, QueueUnbind::ID)?;
                self.wait(caller, After::ok(QueueUnbindOk::ID, false), &queue, m);
                self.change(caller, Change::Unbound(spec), false);
                return Ok(());
            }
        }
        // Unbinding what does not exist is done already.
        self.write(caller, &QueueUnbindOk {});
        Ok(())
    }

    /// Queue and routing key of a binding, with the shorthand for "the queue last declared".
    fn binding_names(
        &mut self,
        caller: Caller,
        queue: &str,
        exchange: &str,
        key: &str,
        method: MethodId,
    ) -> Result<(String, String), Exception> {
        let name = self.last_declared(caller, queue, method)?.into_owned();
        if name.starts_with(reply_to::PREFIX) {
            let text = "cannot bind or unbind to a volatile (direct reply-to) queue";
            return Err(Exception::new(ReplyCode::AccessRefused, method, text));
        }
        if exchange.is_empty() {
            return Err(default_exchange(method));
        }
        self.check_queue(caller, Verb::Write, &name, method)?;
        self.check_exchange(caller, Verb::Read, exchange, method)?;
        let key = if queue.is_empty() && key.is_empty() { name.clone() } else { key.to_owned() };
        self.check_topic(caller.connection, Verb::Read, exchange, &key, method)?;
        Ok((name, key))
    }

    pub(super) fn queue_purge(&mut self, caller: Caller, m: &QueuePurge<'_>) -> Done {
        let (name, found) = self.queue_for(caller, Verb::Read, m.queue, QueuePurge::ID)?;
        let Some((key, owner)) = found else {
            return Err(self.no_queue(caller, &name, QueuePurge::ID));
        };
        self.wait(caller, After::Purge { no_wait: m.no_wait }, &name, m);
        self.ask_owner(caller, key, owner, QueueRequest::Purge);
        Ok(())
    }

    pub(super) fn queue_delete(&mut self, caller: Caller, m: &QueueDelete<'_>) -> Done {
        let queue = stripped(m.queue);
        let (name, found) = self.queue_for(caller, Verb::Configure, &queue, QueueDelete::ID)?;
        let Some((key, owner)) = found else {
            self.write_unless(m.no_wait, caller, &QueueDeleteOk { message_count: 0 });
            return Ok(());
        };
        if self.topology.queue(key).is_some_and(|record| record.is_internal) {
            let text = format!("Cannot delete protected {}.", self.queue_name(caller, &name));
            return Err(Exception::new(ReplyCode::ResourceLocked, QueueDelete::ID, text));
        }
        if let Some((_, flag)) =
            [(m.if_unused, "if-unused"), (m.if_empty, "if-empty")].iter().find(|(is_set, _)| *is_set)
            && self.queue_type(key) == QueueType::Quorum
        {
            let text = format!(
                "cannot delete {}. queue.delete operations with {flag} flag set are not supported by quorum queues",
                self.queue_name(caller, &name)
            );
            return Err(Exception::new(ReplyCode::NotImplemented, QueueDelete::ID, text));
        }
        self.wait(caller, After::Delete { no_wait: m.no_wait }, &name, m);
        let user = self.user_of(caller);
        let request = QueueRequest::Delete { if_unused: m.if_unused, if_empty: m.if_empty, user };
        self.ask_owner(caller, key, owner, request);
        Ok(())
    }
}
