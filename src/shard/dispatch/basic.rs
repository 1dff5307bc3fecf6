//! Class basic but publish (rabbitmq-semantics.md section 12).

use std::borrow::Cow;
use std::sync::Arc;

use super::Done;
use crate::amqp::method::{
    BasicCancel, BasicCancelOk, BasicConsume, BasicConsumeOk, BasicGet, BasicQos, BasicQosOk, BasicRecoverOk,
};
use crate::amqp::{Exception, MethodId, ReplyCode, Table};
use crate::broker::access::Verb;
use crate::broker::queue_arguments::{self, QueueType};
use crate::broker::topology::QueueKey;
use crate::shard::Shard;
use crate::shard::member::{After, GlobalQos, ReplyConsumer};
use crate::shard::mesh::{Caller, ConsumeRequest, QueueRequest, Record, Verdict};
use crate::shard::reply_to;
use crate::shard::timer::Timer;
use crate::shard::unacked::Unacked;

/// What a channel's new limit lets through comes so much later than the answer, in milliseconds. Celery raises the
/// limit for each task that is not due yet, and does not look whether to raise it again before something *wakes* it: a
/// task that lies in its socket with the answer would not. (RabbitMQ's queues are asked behind the answer, too.)
const RAISED_WAIT_MS: u64 = 5;

fn unknown_tag(tag: u64, method: MethodId) -> Exception {
    Exception::new(ReplyCode::PreconditionFailed, method, format_args!("unknown delivery tag {tag}"))
}

impl Shard {
    /// basic.ack, .nack and .reject.
    pub(super) fn settle_tags(
        &mut self,
        caller: Caller,
        tag: u64,
        multiple: bool,
        verdict: Verdict,
        method: MethodId,
    ) -> Done {
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        let global = channel.global.is_some();
        if !multiple {
            let Some(unacked) = channel.unacked.take(tag) else {
                return Err(unknown_tag(tag, method));
            };
            self.settled(caller, &unacked, verdict);
        } else {
            let last = match tag {
                0 => u64::MAX,
                tag if channel.unacked.contains(tag) => tag,
                tag => return Err(unknown_tag(tag, method)),
            };
            self.settle_up_to(caller, last, verdict);
        }
        if global {
            self.grant(caller);
        }
        Ok(())
    }

    /// Settles all deliveries of a channel up to the tag `last`: those of one consumer that are neighbours in their
    /// queue in one go.
    fn settle_up_to(&mut self, caller: Caller, last: u64, verdict: Verdict) {
        let Some(channel) = self.members.get_mut(caller.connection).and_then(|member| member.channel_of(caller)) else {
            return;
        };
        if channel.tx.is_some() {
            while let Some(unacked) = self.channel_of(caller).and_then(|channel| channel.unacked.take_up_to(last)) {
                self.settled(caller, &unacked, verdict);
            }
            return;
        }
        // Out of the channel while it is worked on.
        let mut unacked = std::mem::take(&mut channel.unacked);
        while let Some(first) = unacked.take_up_to(last) {
            let mut to = first.position;
            while unacked.take_next(last, &first, to + 1) {
                to += 1;
            }
            self.settle_deliveries(&first, to, verdict);
        }
        if let Some(channel) = self.channel_of(caller) {
            channel.unacked = unacked;
        }
    }

    #[inline]
    fn settled(&mut self, caller: Caller, unacked: &Unacked, verdict: Verdict) {
        if let Some(tx) = self.channel_of(caller).and_then(|channel| channel.tx.as_deref_mut()) {
            tx.settled.push((*unacked, verdict));
            tx.consumer_settled += u32::from(unacked.consumer);
            return;
        }
        self.settle_delivery(unacked, verdict);
    }

    pub(super) fn basic_recover(&mut self, caller: Caller, requeue: bool, method: MethodId) -> Done {
        if !requeue {
            return Err(Exception::new(ReplyCode::NotImplemented, method, "requeue=false"));
        }
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        for unacked in channel.unacked.drain() {
            self.settle_delivery(&unacked, Verdict::Requeue);
        }
        // Before the redeliveries, which are made at the end of the turn at the earliest.
        if method == crate::amqp::method::BasicRecover::ID {
            self.write(caller, &BasicRecoverOk {});
        }
        self.grant(caller);
        Ok(())
    }

    pub(super) fn basic_qos(&mut self, caller: Caller, m: &BasicQos) -> Done {
        if m.prefetch_size != 0 {
            let text = format_args!("prefetch_size!=0 ({})", m.prefetch_size);
            return Err(Exception::new(ReplyCode::NotImplemented, BasicQos::ID, text));
        }
        let global = m.global && self.settings.permit.global_qos;
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        let mut raised = false;
        if !global {
            channel.prefetch = m.prefetch_count;
        } else {
            let first = channel.global.is_none();
            let state = channel.global.get_or_insert_with(|| Box::new(GlobalQos::default()));
            state.limit = (m.prefetch_count > 0).then_some(u32::from(m.prefetch_count));
            let touched = channel.touched;
            if first {
                for owner in 0..self.count {
                    if owner == self.id.0 {
                        self.set_global(caller, true);
                    } else if touched & (1 << owner) != 0 {
                        self.mesh.send(owner, Record::GlobalQos(caller, true));
                    }
                }
                self.grant(caller);
            }
            raised = !first;
        }
        self.write(caller, &BasicQosOk {});
        if raised {
            self.timers.add(self.now.after_ms(RAISED_WAIT_MS), Timer::Grant(caller));
        }
        Ok(())
    }

    pub(super) fn basic_get(&mut self, caller: Caller, m: &BasicGet<'_>) -> Done {
        if m.queue.starts_with(reply_to::PREFIX) {
            let text = format!("basic.get not supported by volatile {}", self.queue_name(caller, m.queue));
            return Err(Exception::new(ReplyCode::NotImplemented, BasicGet::ID, text));
        }
        let (name, found) = self.queue_for(caller, Verb::Read, m.queue, BasicGet::ID)?;
        let Some((key, owner)) = found else {
            return Err(self.no_queue(caller, &name, BasicGet::ID));
        };
        if let Some(queue) = self.topology.queue(key) {
            self.check_internal(caller, queue, BasicGet::ID)?;
            let is_single = queue_arguments::is_single_active(&queue.spec);
            if is_single && QueueType::of_queue(&queue.spec) == QueueType::Quorum {
                let text = format!(
                    "cannot obtain access to locked {}. basic.get operations are not supported by <<\"quorum\">> \
                     queues with single active consumer",
                    self.queue_name(caller, &name)
                );
                return Err(Exception::new(ReplyCode::ResourceLocked, BasicGet::ID, text));
            }
        }
        self.wait(caller, After::Get, &name, m);
        let wire = self.channel_wire(caller);
        self.ask_owner(caller, key, owner, QueueRequest::Get { wire, no_ack: m.no_ack });
        Ok(())
    }

    pub(super) fn basic_consume(&mut self, caller: Caller, m: &BasicConsume<'_>) -> Done {
        let is_reply = reply_to::is_reply_queue(m.queue);
        let refuse = |code: ReplyCode, text: String| -> Done { Err(Exception::new(code, BasicConsume::ID, text)) };
        if is_reply {
            if m.queue != reply_to::NAME {
                let text = format!("only creator channel may consume from {}", self.queue_name(caller, m.queue));
                return refuse(ReplyCode::PreconditionFailed, text);
            }
            let Some(channel) = self.channel_of(caller) else {
                return Ok(());
            };
            if channel.reply_consumer.is_some() {
                return refuse(ReplyCode::PreconditionFailed, "reply consumer already set".into());
            }
            if !m.no_ack {
                return refuse(ReplyCode::PreconditionFailed, "reply consumer cannot acknowledge".into());
            }
        }
        let tag: Arc<str> = match m.consumer_tag {
            "" => self.names.generate("amq.ctag-").into(),
            tag => tag.into(),
        };
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        let reply_tag = channel.reply_consumer.as_ref().map(|consumer| consumer.tag.clone());
        if channel.consumers.iter().any(|consumer| consumer.tag == tag) || reply_tag.is_some_and(|other| other == tag) {
            return refuse(ReplyCode::NotAllowed, format!("attempt to reuse consumer tag '{tag}'"));
        }
        let count = channel.consumers.len() as u64 + u64::from(channel.reply_consumer.is_some());
        if let Some(max) = self.settings.node.consumer_max_per_channel.filter(|max| count >= u64::from(*max)) {
            return refuse(ReplyCode::NotAllowed, format!("reached maximum ({max}) of consumers per channel"));
        }
        if is_reply {
            let address = self.reply_address(caller);
            if let Some(channel) = self.channel_of(caller) {
                channel.reply_consumer = Some(Box::new(ReplyConsumer { tag: tag.clone(), address }));
            }
            self.write_unless(m.no_wait, caller, &BasicConsumeOk { consumer_tag: &tag });
            return Ok(());
        }
        let (name, found) = self.queue_for(caller, Verb::Read, m.queue, BasicConsume::ID)?;
        let Some((key, owner)) = found else {
            return Err(self.no_queue(caller, &name, BasicConsume::ID));
        };
        if let Some(queue) = self.topology.queue(key) {
            self.check_internal(caller, queue, BasicConsume::ID)?;
        }
        if let Err(refusal) = queue_arguments::check_consumer(m.arguments, self.queue_type(key)) {
            return refuse(ReplyCode::PreconditionFailed, refusal.text(&self.queue_name(caller, &name)));
        }
        let priority = m.arguments.find("x-priority").and_then(|value| value.as_integer()).unwrap_or(0);
        let priority = priority.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let prefetch = self.channel_of(caller).map_or(0, |channel| channel.prefetch.into());
        let timeout_ms = if m.no_ack { None } else { self.consumer_timeout_ms(key, m.arguments) };
        let after = After::Consume { tag: tag.clone(), key, owner, no_wait: m.no_wait, timeout_ms };
        // A tag that we made must stay the same should the command be run again.
        let again = BasicConsume { consumer_tag: &tag, ..*m };
        self.wait(caller, after, &name, &again);
        let request = ConsumeRequest {
            wire: self.channel_wire(caller),
            tag: tag.as_ref().into(),
            no_ack: m.no_ack,
            exclusive: m.exclusive,
            prefetch,
            priority,
            arguments: m.arguments.as_bytes().into(),
        };
        self.ask_owner(caller, key, owner, QueueRequest::Consume(Box::new(request)));
        Ok(())
    }

    /// How long the deliveries of a quorum queue's consumer may wait: as the consumer says, or the queue, or the
    /// configuration. No time at all is no bound.
    fn consumer_timeout_ms(&self, key: QueueKey, arguments: Table<'_>) -> Option<u64> {
        let spec = &self.topology.queue(key)?.spec;
        if QueueType::of_queue(spec) != QueueType::Quorum {
            return None;
        }
        let own = arguments.find("x-consumer-timeout").and_then(|value| value.as_integer());
        let own = own.and_then(|own| u64::try_from(own).ok());
        let said = own.or_else(|| self.topology.rules(spec).consumer_timeout_ms);
        Some(said.unwrap_or(self.settings.consumer_timeout_ms)).filter(|timeout_ms| *timeout_ms > 0)
    }

    pub(super) fn basic_cancel(&mut self, caller: Caller, m: &BasicCancel<'_>) -> Done {
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        if channel.reply_consumer.as_ref().is_some_and(|consumer| *consumer.tag == *m.consumer_tag) {
            channel.reply_consumer = None;
        }
        let found = channel.consumers.iter().position(|consumer| *consumer.tag == *m.consumer_tag);
        let Some(consumer) = found.map(|at| channel.consumers.remove(at)) else {
            self.write_unless(m.no_wait, caller, &BasicCancelOk { consumer_tag: m.consumer_tag });
            return Ok(());
        };
        let after = After::Cancel { tag: consumer.tag.clone(), no_wait: m.no_wait };
        self.wait(caller, after, m.consumer_tag, m);
        let request = QueueRequest::Cancel { tag: consumer.tag, user: self.user_of(caller) };
        self.ask_owner(caller, consumer.key, consumer.owner, request);
        Ok(())
    }

    /// A consumer's queue is gone.
    pub(in crate::shard) fn consumer_lost(&mut self, caller: Caller, tag: &str) {
        let Some(member) = self.member_of(caller) else { return };
        let notify = member.capabilities.consumer_cancel_notify;
        let Some(channel) = member.channel_of(caller) else {
            return;
        };
        let before = channel.consumers.len();
        channel.consumers.retain(|consumer| *consumer.tag != *tag);
        if notify && channel.consumers.len() < before {
            let tag: Cow<'_, str> = tag.into();
            self.write(caller, &BasicCancel { consumer_tag: &tag, no_wait: true });
        }
    }
}
