//! Commands, by AMQP class.

mod basic;
mod channel;
mod confirm;
mod connection;
mod exchange;
mod lost;
mod publish;
mod queue;
mod stream;
mod tx;

use std::borrow::Cow;
use std::sync::Arc;

use super::member::{After, ConsumerAt, Member, Pending};
use super::mesh::{Caller, ChannelWire, Record, Reply, Verdict};
use super::overdue::Patience;
use super::{ConnectionId, Shard};
use crate::amqp::frame::write_method;
use crate::amqp::method::{self, Encode};
use crate::amqp::{Exception, Method, MethodId, ReplyCode};
use crate::connection::command::Command;
pub(super) use confirm::write_confirm;

/// What a command comes to when nothing is wrong with it.
type Done = Result<(), Exception>;

/// `\r` and `\n` are not part of names (rabbitmq-semantics.md section 4).
fn stripped(name: &str) -> Cow<'_, str> {
    if name.contains(['\r', '\n']) { Cow::Owned(name.replace(['\r', '\n'], "")) } else { Cow::Borrowed(name) }
}

impl Shard {
    /// Runs one command.
    #[inline]
    pub(super) fn command(&mut self, id: ConnectionId, command: Command<'_>) {
        let held = self.alarms.hold() && matches!(command, Command::Publish(..) | Command::PublishAssembled(..));
        let (slot, done) = match command {
            Command::Publish(slot, publish) => (slot, self.publish(id, slot, &publish)),
            Command::PublishAssembled(slot, assembled) => (slot, self.publish_assembled(id, slot, assembled)),
            Command::Channel(slot, method) => (slot, self.channel_method(id, slot, &method)),
            Command::Connection(method) => return self.connection_method(id, &method),
            Command::Unopened(number, method) => {
                debug_assert!(matches!(method, Method::ChannelOpen(_)));
                return self.open_channel(id, number);
            }
            Command::ProtocolHeader => return self.start_connection(id),
            Command::UnknownProtocol => return self.refuse_protocol(id),
        };
        if let Err(exception) = done {
            self.fail(id, slot, exception);
        }
        if held {
            self.hold_publisher(id);
        }
    }

    /// Closes what an exception says must be closed.
    fn fail(&mut self, id: ConnectionId, slot: u32, exception: Exception) {
        if exception.closes_connection {
            self.close_connection(id, exception);
        } else {
            self.close_channel(id, slot, &exception);
        }
    }

    fn channel_method(&mut self, id: ConnectionId, slot: u32, method: &Method<'_>) -> Done {
        let Some(member) = self.members.get(id) else {
            return Ok(());
        };
        let generation = match (member.wire.channel(slot), member.channel(slot)) {
            (Some(_), Some(channel)) => channel.generation,
            (Some(_), None) => return self.closing_channel_method(id, slot, method),
            _ => return Ok(()),
        };
        let caller = self.caller(id, slot, generation);
        match method {
            Method::BasicAck(m) => {
                self.settle_tags(caller, m.delivery_tag, m.multiple, Verdict::Settle, method::BasicAck::ID)
            }
            Method::BasicNack(m) => {
                let verdict = if m.requeue { Verdict::Requeue } else { Verdict::Reject };
                self.settle_tags(caller, m.delivery_tag, m.multiple, verdict, method::BasicNack::ID)
            }
            Method::BasicReject(m) => {
                let verdict = if m.requeue { Verdict::Fail } else { Verdict::Reject };
                self.settle_tags(caller, m.delivery_tag, false, verdict, method::BasicReject::ID)
            }
            Method::BasicGet(m) => self.basic_get(caller, m),
            Method::BasicConsume(m) => self.basic_consume(caller, m),
            Method::BasicCancel(m) => self.basic_cancel(caller, m),
            Method::BasicCancelOk(_) => Ok(()),
            Method::BasicQos(m) => self.basic_qos(caller, m),
            Method::BasicRecover(m) => self.basic_recover(caller, m.requeue, method::BasicRecover::ID),
            Method::BasicRecoverAsync(m) => self.basic_recover(caller, m.requeue, method::BasicRecoverAsync::ID),
            Method::QueueDeclare(m) => self.queue_declare(caller, m),
            Method::QueueBind(m) => self.queue_bind(caller, m),
            Method::QueueUnbind(m) => self.queue_unbind(caller, m),
            Method::QueuePurge(m) => self.queue_purge(caller, m),
            Method::QueueDelete(m) => self.queue_delete(caller, m),
            Method::ExchangeDeclare(m) => self.exchange_declare(caller, m),
            Method::ExchangeDelete(m) => self.exchange_delete(caller, m),
            Method::ExchangeBind(m) => self.exchange_bind(caller, m),
            Method::ExchangeUnbind(m) => self.exchange_unbind(caller, m),
            Method::ConfirmSelect(m) => self.confirm_select(caller, m.no_wait),
            Method::TxSelect(_) => self.tx_select(caller),
            Method::TxCommit(_) => self.tx_commit(caller),
            Method::TxRollback(_) => self.tx_rollback(caller),
            Method::ChannelClose(_) => self.channel_close(caller),
            Method::ChannelCloseOk(_) => Ok(()),
            Method::ChannelFlow(m) if m.active => {
                self.write(caller, &method::ChannelFlowOk { active: true });
                Ok(())
            }
            Method::ChannelFlow(m) => {
                debug_assert!(!m.active);
                Err(Exception::new(ReplyCode::NotImplemented, method.id(), "active=false"))
            }
            Method::ChannelFlowOk(_) => Ok(()),
            Method::ChannelOpen(_) => {
                Err(Exception::new(ReplyCode::ChannelError, method.id(), "second 'channel.open' seen"))
            }
            Method::AccessRequest(_) => {
                self.write(caller, &method::AccessRequestOk { reserved_1: 1 });
                Ok(())
            }
            _ => Err(Exception::new(ReplyCode::CommandInvalid, method.id(), "unimplemented method")),
        }
    }

    /// A channel of this shard, for who is to answer it.
    pub(super) fn caller(&self, connection: ConnectionId, channel: u32, generation: u32) -> Caller {
        Caller { shard: self.id.0, connection, channel, generation }
    }

    // ---- answers

    /// Appends a method for the caller's channel.
    fn write<M: Encode>(&mut self, caller: Caller, method: &M) {
        let Some(number) = self
            .members
            .get(caller.connection)
            .and_then(|member| member.wire.channel(caller.channel))
            .map(|channel| channel.number)
        else {
            return;
        };
        if let Some(out) = self.members.sink(caller.connection) {
            write_method(out, number, method);
        }
    }

    fn write_unless<M: Encode>(&mut self, no_wait: bool, caller: Caller, method: &M) {
        if !no_wait {
            self.write(caller, method);
        }
    }

    /// The channel waits for an answer from now on. `command` is kept to be run again should the world change.
    fn wait<M: Encode>(&mut self, caller: Caller, after: After, subject: &str, command: &M) {
        let mut kept = Vec::new();
        // A basic.get may wait for the disk while its queue is deleted. Events tell of what a consumer asked for.
        if self.count > 1 || self.ledger.on || self.settings.event_exchange.is_some() {
            command.encode(&mut kept);
        }
        let Some(member) = self.members.get_mut(caller.connection) else {
            return;
        };
        if let Some(channel) = member.channel_mut(caller.channel) {
            let subject = Arc::from(subject);
            channel.pending = Some(Box::new(Pending { after, command: kept, subject, answers: 1 }));
        }
        if let Some(channel) = member.wire.channel_mut(caller.channel) {
            channel.waiting = true;
        }
    }

    /// Answers a request, wherever the caller is.
    pub(super) fn reply(&mut self, caller: Caller, reply: Reply) {
        if caller.shard == self.id.0 {
            self.answered(caller, reply);
        } else {
            self.mesh.send(caller.shard, Record::Answer(caller, reply));
        }
    }

    /// Ends the channel's waiting.
    fn stop_waiting(&mut self, caller: Caller) -> Option<Box<Pending>> {
        let member = self.members.get_mut(caller.connection)?;
        let pending = member.channel_of(caller)?.pending.take()?;
        if let Some(channel) = member.wire.channel_mut(caller.channel) {
            channel.waiting = false;
        }
        self.members.resume(caller.connection);
        Some(pending)
    }

    /// The answer to a channel's request.
    pub(super) fn answered(&mut self, caller: Caller, reply: Reply) {
        let Some(pending) = self.stop_waiting(caller) else {
            return;
        };
        if let Err(exception) = self.after(caller, *pending, reply) {
            self.fail(caller.connection, caller.channel, exception);
        }
    }

    fn after(&mut self, caller: Caller, pending: Pending, reply: Reply) -> Done {
        let Pending { after, command, subject, .. } = pending;
        let method = match &after {
            After::Declare { .. } => method::QueueDeclare::ID,
            After::Ok { class: 40, method: 51, .. } => method::ExchangeUnbind::ID,
            After::Ok { class, method, .. } => MethodId::new(*class, *method - 1),
            After::Purge { .. } => method::QueuePurge::ID,
            After::Delete { .. } => method::QueueDelete::ID,
            After::Get => method::BasicGet::ID,
            After::Consume { .. } => method::BasicConsume::ID,
            After::Cancel { .. } => method::BasicCancel::ID,
            After::Close => method::ChannelClose::ID,
        };
        match reply {
            Reply::Retry => {
                let again = command.split_first_chunk::<4>().and_then(|(id, arguments)| {
                    let id = MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]]));
                    Method::decode(id, arguments).ok()
                });
                return match again {
                    Some(command) => self.channel_method(caller.connection, caller.channel, &command),
                    None => Err(Exception::bare(ReplyCode::InternalError, method)),
                };
            }
            Reply::Refused(exception) => return Err(*exception),
            Reply::NotFound => return Err(self.no_queue(caller, &subject, method)),
            Reply::InUse | Reply::NotEmpty | Reply::ExclusiveUse => {
                let what = if method.class == 40 { "exchange" } else { "queue" };
                let vhost = self.vhost_name(caller);
                let (code, state) = match reply {
                    Reply::InUse => (ReplyCode::PreconditionFailed, "in use"),
                    Reply::NotEmpty => (ReplyCode::PreconditionFailed, "not empty"),
                    _ => (ReplyCode::AccessRefused, "in exclusive use"),
                };
                let text = format!("{what} '{subject}' in vhost '{vhost}' {state}");
                return Err(Exception::new(code, method, text));
            }
            _ => {}
        }
        match (after, reply) {
            (After::Declare { queue, no_wait }, reply) => {
                let (message_count, consumer_count) = match reply {
                    Reply::Counts { messages, consumers } => (messages, consumers),
                    _ => (0, 0),
                };
                self.write_unless(
                    no_wait,
                    caller,
                    &method::QueueDeclareOk { queue: &queue, message_count, consumer_count },
                );
                if let Some(channel) = self.channel_of(caller) {
                    channel.last_queue = Some(queue);
                }
            }
            (After::Ok { class, method, no_wait }, _) => {
                if MethodId::new(class, method) == method::TxCommitOk::ID {
                    self.commit_whole(caller)?;
                }
                if let Ok(answer) = Method::decode(MethodId::new(class, method), &[]) {
                    self.write_unless(no_wait, caller, &answer);
                }
            }
            (After::Purge { no_wait }, Reply::Count(message_count)) => {
                self.write_unless(no_wait, caller, &method::QueuePurgeOk { message_count });
            }
            (After::Delete { no_wait }, Reply::Count(message_count)) => {
                self.write_unless(no_wait, caller, &method::QueueDeleteOk { message_count });
            }
            (After::Get, Reply::Empty) => self.write(caller, &method::BasicGetEmpty { reserved_1: "" }),
            (After::Consume { tag, no_wait, key, owner, timeout_ms }, Reply::Consuming(taker)) => {
                self.write_unless(no_wait, caller, &method::BasicConsumeOk { consumer_tag: &tag });
                if let Some((_, arguments)) = command.split_first_chunk::<4>()
                    && let Ok(Method::BasicConsume(m)) = Method::decode(method::BasicConsume::ID, arguments)
                {
                    self.tell_consumer_created(caller, key, &m, &tag);
                }
                let patience = timeout_ms.map(|timeout_ms| Box::new(Patience::new(timeout_ms, self.now)));
                if let Some(channel) = self.channel_of(caller) {
                    channel.consumers.push(ConsumerAt { tag, key, owner, taker, patience });
                }
                self.begin_patience(caller);
            }
            (After::Cancel { tag, no_wait }, _) => {
                self.write_unless(no_wait, caller, &method::BasicCancelOk { consumer_tag: &tag });
            }
            _ => {}
        }
        Ok(())
    }

    // ---- what commands ask about their channel

    fn member_of(&mut self, caller: Caller) -> Option<&mut Member> {
        self.members.get_mut(caller.connection)
    }

    fn channel_of(&mut self, caller: Caller) -> Option<&mut super::member::ChannelState> {
        self.members.get_mut(caller.connection)?.channel_of(caller)
    }

    fn user_of(&self, caller: Caller) -> Arc<str> {
        self.members.get(caller.connection).map_or_else(Arc::default, |member| member.login.user.clone())
    }

    fn vhost_of(&self, caller: Caller) -> u16 {
        self.members.get(caller.connection).map_or(0, |member| member.vhost)
    }

    fn vhost_name(&self, caller: Caller) -> &str {
        self.topology.vhost_name(self.vhost_of(caller))
    }

    fn channel_wire(&mut self, caller: Caller) -> ChannelWire {
        let Some(member) = self.members.get_mut(caller.connection) else {
            return ChannelWire { number: 0, frame_max: 0, global: false };
        };
        let frame_max = member.wire.frame_max;
        match member.channel_of(caller) {
            Some(channel) => ChannelWire { number: channel.number, frame_max, global: channel.global.is_some() },
            None => ChannelWire { number: 0, frame_max, global: false },
        }
    }

    /// Notes that a shard knows of the channel: it is told of its end.
    #[inline]
    fn touch(&mut self, caller: Caller, shard: u8) {
        if let Some(member) = self.members.get_mut(caller.connection) {
            member.touched |= 1 << shard;
            if let Some(channel) = member.channel_of(caller) {
                channel.touched |= 1 << shard;
            }
        }
    }

    fn queue_name(&self, caller: Caller, queue: &str) -> String {
        format!("queue '{queue}' in vhost '{}'", self.vhost_name(caller))
    }

    fn exchange_name(&self, caller: Caller, exchange: &str) -> String {
        format!("exchange '{exchange}' in vhost '{}'", self.vhost_name(caller))
    }

    fn no_queue(&self, caller: Caller, queue: &str, method: MethodId) -> Exception {
        Exception::new(ReplyCode::NotFound, method, format_args!("no {}", self.queue_name(caller, queue)))
    }

    fn no_exchange(&self, caller: Caller, exchange: &str, method: MethodId) -> Exception {
        Exception::new(ReplyCode::NotFound, method, format_args!("no {}", self.exchange_name(caller, exchange)))
    }
}
