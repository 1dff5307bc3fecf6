//! Class exchange (rabbitmq-semantics.md section 6).

use std::sync::Arc;

use super::{Done, stripped};
use crate::amqp::method::{
    ExchangeBind, ExchangeBindOk, ExchangeDeclare, ExchangeDeclareOk, ExchangeDelete, ExchangeDeleteOk, ExchangeUnbind,
    ExchangeUnbindOk,
};
use crate::amqp::{Exception, MethodId, ReplyCode, Table, Value};
use crate::broker::access::Verb;
use crate::broker::arguments;
use crate::broker::deduplication::Deduplication;
use crate::broker::exchange::{Destination, ExchangeKind, RoutingTable};
use crate::broker::queue::ruled::{DELAYS_PREFIX, HISTORY_PREFIX};
use crate::broker::queue_arguments;
use crate::broker::queue_arguments::QueueType;
use crate::broker::topology::{BindingSpec, Change, DELAYED, ExchangeSpec, UNIQUE};
use crate::shard::Shard;
use crate::shard::definitions::{ALTERNATE, delayed_kind};
use crate::shard::member::After;
use crate::shard::mesh::{Caller, NamesRequest};

/// The name of an exchange whose queue is called after it.
const QUEUE_OWNER_NAME_MAX: usize =
    255 - if DELAYS_PREFIX.len() > HISTORY_PREFIX.len() { DELAYS_PREFIX.len() } else { HISTORY_PREFIX.len() };

/// The exception for anything but a publish to the default exchange.
pub(super) fn default_exchange(method: MethodId) -> Exception {
    Exception::new(ReplyCode::AccessRefused, method, "operation not permitted on the default exchange")
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl Shard {
    pub(super) fn exchange_declare(&mut self, caller: Caller, m: &ExchangeDeclare<'_>) -> Done {
        let name = stripped(m.exchange);
        let vhost = self.vhost_of(caller);
        if m.passive {
            if name.is_empty() {
                return Err(default_exchange(ExchangeDeclare::ID));
            }
            self.check_any(caller, "exchange", &name, ExchangeDeclare::ID)?;
            if self.topology.find_exchange(vhost, &name).is_none() {
                return Err(self.no_exchange(caller, &name, ExchangeDeclare::ID));
            }
            self.write_unless(m.no_wait, caller, &ExchangeDeclareOk {});
            return Ok(());
        }
        let refuse = |code: ReplyCode, text: String| -> Done { Err(Exception::new(code, ExchangeDeclare::ID, text)) };
        let delayed = m.kind == DELAYED;
        let unique = m.kind == UNIQUE;
        let kind = match (delayed, unique) {
            (true, _) => delayed_kind(m.arguments),
            (_, true) => Some(ExchangeKind::Fanout),
            _ => ExchangeKind::from_name(m.kind),
        };
        let Some(kind) = kind else {
            let asked = m.arguments.find("x-delayed-type").and_then(|value| value.as_long_str());
            let text = match (delayed, asked) {
                (true, Some(asked)) if asked == DELAYED.as_bytes() => {
                    "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'".to_owned()
                }
                (true, Some(asked)) => format!("unknown exchange type '{}'", String::from_utf8_lossy(asked)),
                (true, None) => "Invalid argument, 'x-delayed-type' must be an existing exchange type".to_owned(),
                (false, _) => format!("unknown exchange type '{}'", m.kind),
            };
            return refuse(ReplyCode::PreconditionFailed, text);
        };
        let holds = delayed || Deduplication::of(m.arguments, unique).is_some();
        if (holds || kind == ExchangeKind::RecentHistory) && name.len() > QUEUE_OWNER_NAME_MAX {
            let text = format!("the name of an exchange whose messages wait has at most {QUEUE_OWNER_NAME_MAX} bytes");
            return refuse(ReplyCode::PreconditionFailed, text);
        }
        if name.is_empty() {
            return Err(default_exchange(ExchangeDeclare::ID));
        }
        self.check_exchange(caller, Verb::Configure, &name, ExchangeDeclare::ID)?;
        let alternate = m.arguments.find(ALTERNATE);
        if let Some(exchange) = self.topology.find_exchange(vhost, &name) {
            let spec = &exchange.spec;
            let subject = self.exchange_name(caller, &name);
            for (argument, received, current) in [
                ("type", m.kind, spec.type_name()),
                ("durable", flag(m.durable), flag(spec.durable)),
                ("auto_delete", flag(m.auto_delete), flag(spec.auto_delete)),
                ("internal", flag(m.internal), flag(spec.internal)),
            ] {
                if received != current {
                    return refuse(
                        ReplyCode::PreconditionFailed,
                        format!(
                            "inequivalent arg '{argument}' for {subject}: \
                             received '{received}' but current is '{current}'"
                        ),
                    );
                }
            }
            if let Some(error) = arguments::equivalence_error(ALTERNATE, spec.table().find(ALTERNATE), alternate) {
                return refuse(
                    ReplyCode::PreconditionFailed,
                    format!("inequivalent arg '{ALTERNATE}' for {subject}: {error}"),
                );
            }
            self.write_unless(m.no_wait, caller, &ExchangeDeclareOk {});
            return Ok(());
        }
        if name.starts_with("amq.") {
            return refuse(
                ReplyCode::AccessRefused,
                format!("exchange name '{name}' contains reserved prefix 'amq.*'"),
            );
        }
        let alternate = match alternate {
            None => None,
            Some(Value::LongStr(text)) => Some(Arc::from(String::from_utf8_lossy(text))),
            Some(other) => {
                let text = format!(
                    "invalid type '{}' for arg '{ALTERNATE}' in {}",
                    other.type_name(),
                    self.exchange_name(caller, &name)
                );
                return refuse(ReplyCode::PreconditionFailed, text);
            }
        };
        if let Some(alternate) = &alternate {
            self.check_exchange(caller, Verb::Read, &name, ExchangeDeclare::ID)?;
            self.check_exchange(caller, Verb::Write, alternate, ExchangeDeclare::ID)?;
        }
        if let Err(text) = RoutingTable::validate_declare(kind, m.arguments, &self.exchange_name(caller, &name)) {
            return refuse(ReplyCode::PreconditionFailed, text);
        }
        let texts = queue_arguments::check_deduplication(m.arguments);
        if let Err(refusal) = texts {
            let text = refusal.text(&self.exchange_name(caller, &name)).replacen("for queue", "for", 1);
            return refuse(ReplyCode::PreconditionFailed, text);
        }
        if unique && m.arguments.find("x-cache-size").is_none() {
            let text = "Missing or wrong `x-cache-size` argument. It must be integer > 0.".to_owned();
            return refuse(ReplyCode::PreconditionFailed, text);
        }
        let spec = ExchangeSpec {
            id: 0,
            vhost,
            name: name.as_ref().into(),
            kind,
            delayed,
            unique,
            durable: m.durable,
            auto_delete: m.auto_delete,
            internal: m.internal,
            arguments: m.arguments.as_bytes().into(),
            alternate,
        };
        let answer = ExchangeDeclareOk::ID;
        self.wait(caller, After::ok(answer, m.no_wait), &name, m);
        self.change(caller, Change::ExchangeDeclared(Arc::new(spec)), false);
        Ok(())
    }

    /// Asks shard 0 for a change of names on behalf of a channel that waits.
    pub(super) fn change(&mut self, caller: Caller, change: Change, if_unused: bool) {
        self.touch(caller, 0);
        let user = self.user_of(caller);
        self.ask_names(caller, NamesRequest { change, if_unused, place: false, user });
    }

    pub(super) fn exchange_delete(&mut self, caller: Caller, m: &ExchangeDelete<'_>) -> Done {
        let name = stripped(m.exchange);
        if name.is_empty() {
            return Err(default_exchange(ExchangeDelete::ID));
        }
        if name.starts_with("amq.") {
            let text = format!("deletion of system {} not allowed", self.exchange_name(caller, &name));
            return Err(Exception::new(ReplyCode::AccessRefused, ExchangeDelete::ID, text));
        }
        self.check_exchange(caller, Verb::Configure, &name, ExchangeDelete::ID)?;
        let vhost = self.vhost_of(caller);
        let Some(key) = self.topology.find_exchange(vhost, &name).map(|exchange| exchange.key) else {
            self.write_unless(m.no_wait, caller, &ExchangeDeleteOk {});
            return Ok(());
        };
        self.wait(caller, After::ok(ExchangeDeleteOk::ID, m.no_wait), &name, m);
        self.change(caller, Change::ExchangeDeleted(key), m.if_unused);
        Ok(())
    }

    pub(super) fn exchange_bind(&mut self, caller: Caller, m: &ExchangeBind<'_>) -> Done {
        let (source, destination) = (stripped(m.source), stripped(m.destination));
        let spec =
            self.exchange_binding(caller, (&source, &destination), m.routing_key, m.arguments, ExchangeBind::ID)?;
        if self.validate_binding(&spec, m.arguments, ExchangeBind::ID)? {
            self.write_unless(m.no_wait, caller, &ExchangeBindOk {});
            return Ok(());
        }
        self.wait(caller, After::ok(ExchangeBindOk::ID, m.no_wait), &destination, m);
        self.change(caller, Change::Bound(spec), false);
        Ok(())
    }

    pub(super) fn exchange_unbind(&mut self, caller: Caller, m: &ExchangeUnbind<'_>) -> Done {
        let (source, destination) = (stripped(m.source), stripped(m.destination));
        let found =
            self.exchange_binding(caller, (&source, &destination), m.routing_key, m.arguments, ExchangeUnbind::ID);
        let spec = match found {
            Ok(spec) => Some(spec),
            // Unbinding what does not exist is done already.
            Err(exception) if exception.code == ReplyCode::NotFound => None,
            Err(exception) => return Err(exception),
        };
        let Some(spec) = spec.filter(|spec| self.is_bound(spec, m.arguments)) else {
            self.write_unless(m.no_wait, caller, &ExchangeUnbindOk {});
            return Ok(());
        };
        self.wait(caller, After::ok(ExchangeUnbindOk::ID, m.no_wait), &destination, m);
        self.change(caller, Change::Unbound(spec), false);
        Ok(())
    }

    fn exchange_binding(
        &self,
        caller: Caller,
        (source, destination): (&str, &str),
        key: &str,
        arguments: Table<'_>,
        method: MethodId,
    ) -> Result<BindingSpec, Exception> {
        if source.is_empty() || destination.is_empty() {
            return Err(default_exchange(method));
        }
        self.check_exchange(caller, Verb::Write, destination, method)?;
        self.check_exchange(caller, Verb::Read, source, method)?;
        self.check_topic(caller.connection, Verb::Read, source, key, method)?;
        let vhost = self.vhost_of(caller);
        let Some(from) = self.topology.find_exchange(vhost, source) else {
            return Err(self.no_exchange(caller, source, method));
        };
        let Some(to) = self.topology.find_exchange(vhost, destination) else {
            return Err(self.no_exchange(caller, destination, method));
        };
        Ok(BindingSpec {
            source: from.key,
            destination: Destination::Exchange(to.key.slot),
            destination_generation: to.key.generation,
            key: key.into(),
            arguments: arguments.as_bytes().into(),
        })
    }

    /// Whether a binding exists already.
    pub(super) fn is_bound(&self, spec: &BindingSpec, arguments: Table<'_>) -> bool {
        self.topology
            .exchange(spec.source)
            .is_some_and(|exchange| exchange.table.contains(spec.destination, &spec.key, arguments))
    }

    /// Checks a binding to be made; `true`: it would change nothing.
    pub(super) fn validate_binding(
        &self,
        spec: &BindingSpec,
        arguments: Table<'_>,
        method: MethodId,
    ) -> Result<bool, Exception> {
        let Some(exchange) = self.topology.exchange(spec.source) else {
            return Ok(false);
        };
        let queue = match spec.destination {
            Destination::Queue(slot) => self.topology.queue_at(slot).map(|queue| QueueType::of_queue(&queue.spec)),
            Destination::Exchange(_) => None,
        };
        if let Err(text) = RoutingTable::validate(exchange.spec.kind, &spec.key, arguments, queue) {
            return Err(Exception::new(ReplyCode::PreconditionFailed, method, text));
        }
        Ok(!exchange.table.takes(spec.destination, &spec.key, arguments))
    }
}
