//! Direct reply-to (rabbitmq-semantics.md section 14.3; shards.md A22).
//!
//! The generated name says where the requester is: shard, connection and channel, and a token that cannot be guessed.
//! The replier's shard sends straight there. At most once: dropped when the requester is gone or does not read.

use std::sync::Arc;

use super::delivery::{Delivery, deliver_prefix};
use super::member::ReplyConsumer;
use super::mesh::{Caller, ChannelWire, DeliveryKind, Record, Reply};
use super::outlet::{Here, Outlet};
use super::{ConnectionId, Shard};
use crate::amqp::{Content, Properties};
use crate::broker::topology::QueueKey;

/// The queue name that clients consume from, and set as reply_to.
pub(super) const NAME: &str = "amq.rabbitmq.reply-to";
/// What generated names begin with.
pub(super) const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// Whether a queue name is the common or a generated one.
pub(super) fn is_reply_queue(name: &str) -> bool {
    name == NAME || name.starts_with(PREFIX)
}

fn parse(address: &str) -> Option<Caller> {
    let (place, _token) = address.split_once('.')?;
    let mut numbers = place.split('-').map(|part| u32::from_str_radix(part, 16).ok());
    let shard = u8::try_from(numbers.next()??).ok()?;
    let connection = ConnectionId { slot: numbers.next()??, generation: numbers.next()?? };
    let caller = Caller { shard, connection, channel: numbers.next()??, generation: numbers.next()?? };
    if numbers.next().is_some() { None } else { Some(caller) }
}

impl Shard {
    /// A new address for replies to a channel of this shard, behind the common prefix.
    pub(super) fn reply_address(&mut self, caller: Caller) -> Arc<str> {
        let Caller { shard, connection, channel, generation } = caller;
        let place = format!("{shard:x}-{:x}-{:x}-{channel:x}-{generation:x}.", connection.slot, connection.generation);
        self.names.generate(&place).into()
    }

    /// Raw properties with reply_to replaced by a generated name.
    pub(super) fn with_reply_to(properties: &Properties<'_>, consumer: &ReplyConsumer) -> Vec<u8> {
        let name = format!("{PREFIX}{}", consumer.address);
        let mut raw = Vec::new();
        Properties { reply_to: Some(&name), ..*properties }.encode(&mut raw);
        raw
    }

    /// Answers whether the requester behind a generated name is there, as a declare of a queue is answered.
    pub(super) fn ask_for_reply(&mut self, caller: Caller, name: &str) {
        let address = name.strip_prefix(PREFIX).unwrap_or("");
        match parse(address) {
            Some(to) if to.shard != self.id.0 && to.shard < self.count => {
                self.mesh.send(to.shard, Record::FindReply(caller, address.into()));
            }
            _ if name == NAME => self.reply(caller, Reply::Counts { messages: 0, consumers: 1 }),
            _ => self.find_reply(caller, address),
        }
    }

    /// Answers whether a requester of this shard is there.
    pub(super) fn find_reply(&mut self, caller: Caller, address: &str) {
        let exists = parse(address).is_some_and(|to| {
            self.members
                .get_mut(to.connection)
                .and_then(|member| member.channel_of(to))
                .and_then(|channel| channel.reply_consumer.as_ref())
                .is_some_and(|consumer| *consumer.address == *address)
        });
        let reply = if exists { Reply::Counts { messages: 0, consumers: 1 } } else { Reply::NotFound };
        self.reply(caller, reply);
    }

    /// Sends a message to a generated name. Counts as routed whether or not the requester is still there.
    pub(super) fn publish_reply(&mut self, address: &str, content: &Content<'_>) {
        let Some(caller) = parse(address) else { return };
        if caller.shard == self.id.0 {
            self.direct_reply(address, content);
        } else if caller.shard < self.count && !self.mesh.reply(caller.shard, address, content, self.stamp) {
            self.exhausted |= 1 << caller.shard;
        }
    }

    /// A reply for a channel of this shard.
    pub(super) fn direct_reply(&mut self, address: &str, content: &Content<'_>) {
        let Some(caller) = parse(address) else { return };
        let bound = self.settings.limits.outbound_park_bytes;
        let Some(member) = self.members.get_mut(caller.connection) else {
            return;
        };
        if member.outbound.len() >= bound {
            return;
        }
        let frame_max = member.wire.frame_max;
        let Some(channel) = member.channel_of(caller) else {
            return;
        };
        let Some(consumer) = channel.reply_consumer.as_ref().filter(|consumer| *consumer.address == *address) else {
            return;
        };
        let prefix = deliver_prefix(channel.number, &consumer.tag);
        let wire = ChannelWire { number: channel.number, frame_max, global: false };
        let delivery = Delivery {
            content: *content,
            own: None,
            key: QueueKey { slot: u32::MAX, generation: 0 },
            taker: 0,
            position: 0,
            redelivered: false,
            kind: DeliveryKind::NoAck,
            left: 0,
        };
        if let Some(mut outlet) = Here::find(&mut self.members, caller, wire, usize::MAX) {
            outlet.deliver(&prefix, &delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_generated_lead_nowhere() {
        for forged in ["", ".", "0", "0-0-0-0-0", "zz-0-0-0-0.x", "100-0-0-0-0.x", "0-0-0-0-0-0.x", "0-0-0-0.x"] {
            assert_eq!(parse(forged), None, "{forged}");
        }
        let caller = parse("1-2-a-3-ff.token").unwrap();
        assert_eq!((caller.shard, caller.connection.generation, caller.generation), (1, 10, 255));
    }
}
