//! What happens is told to the exchange `amq.rabbitmq.event`, if there is one, as by RabbitMQ's plugin
//! `rabbitmq_event_exchange`.
//!
//! Nothing is put together unless somebody has bound something to it. Shard 0 tells of names as it changes them; of
//! connections and channels their shard tells, of the end of consumers the shard of their queue. RabbitMQ's pids are
//! texts of the same form: node, shard, slot and generation. Publishing tells of nothing, so events have an end.

use std::net::{IpAddr, SocketAddr};

use super::member::{After, ChannelState, Member};
use super::mesh::Caller;
use super::{ConnectionId, Shard};
use crate::amqp::method::BasicConsume;
use crate::amqp::{Properties, Table, Value};
use crate::broker::event::{EXCHANGE, Event};
use crate::broker::topology::{QueueKey, QueueSpec, VhostId};

mod names;
mod users;

/// An address as RabbitMQ has it here: an Erlang term.
fn address(of: SocketAddr) -> String {
    let numbers: Vec<String> = match of.ip() {
        IpAddr::V4(ip) => ip.octets().iter().map(u8::to_string).collect(),
        IpAddr::V6(ip) => ip.segments().iter().map(u16::to_string).collect(),
    };
    format!("{{{}}}", numbers.join(","))
}

impl Shard {
    /// Where events are told, if anybody listens.
    fn event_vhost(&self) -> Option<VhostId> {
        let vhost = self.topology.find_vhost(self.settings.event_exchange.as_deref()?)?;
        let exchange = self.topology.find_exchange(vhost, EXCHANGE)?;
        (!exchange.table.is_empty()).then_some(vhost)
    }

    /// Tells of something, if anybody listens.
    fn tell(&mut self, event: impl FnOnce(&Shard) -> Option<Event>) {
        let Some(vhost) = self.event_vhost() else { return };
        let wall_ms = self.stamp.wall_ms();
        let Some(event) = event(self).map(|event| event.number("timestamp_in_ms", wall_ms)) else { return };
        let properties = Properties {
            delivery_mode: Some(2),
            timestamp: Some(wall_ms / 1000),
            headers: Some(event.headers()),
            ..Properties::default()
        };
        self.publish_own(vhost, EXCHANGE, event.name, &properties, &[]);
    }

    fn pid(&self, shard: u8, slot: u32, generation: u32) -> String {
        format!("<{}.{shard}.{slot}.{generation}>", self.settings.advertise.cluster_name)
    }

    fn channel_pid(&self, caller: Caller) -> String {
        self.pid(caller.shard, caller.connection.slot, caller.generation)
    }

    // ---- connections and channels: their shard

    /// Somebody has tried to log in. `error`: why it came to nothing.
    pub(super) fn tell_log_in(&mut self, id: ConnectionId, user: &str, mechanism: &str, error: Option<&str>) {
        self.tell(|shard| {
            let member = shard.members.get(id)?;
            let event = Event::new(match error {
                Some(_) => "user.authentication.failure",
                None => "user.authentication.success",
            });
            let event = event.text("connection_type", "network");
            let event = if user.is_empty() { event } else { event.text("name", user) };
            let event = event.text("connection_name", &member.name());
            let event = ends(event, member).text("auth_mechanism", mechanism);
            Some(match error {
                Some(error) => event.text("error", error),
                None => event,
            })
        });
    }

    pub(super) fn tell_connection_created(&mut self, id: ConnectionId) {
        self.counted.connections_opened += 1;
        self.tell(|shard| {
            let member = shard.members.get(id)?;
            let properties = Table::check(&member.client_properties).unwrap_or_default();
            let vhost = shard.topology.vhost_name(member.vhost);
            let event = Event::new("connection.created")
                .text("type", "network")
                .text("pid", &shard.pid(shard.id.0, id.slot, id.generation))
                .name("name", &member.name(), vhost)
                .text("auth_mechanism", member.login.mechanism.map_or("none", |mechanism| mechanism.name()))
                .text("user", &member.login.user)
                .number("timeout", member.heartbeat.interval_s.into())
                .number("frame_max", member.wire.frame_max.into())
                .number("channel_max", member.channel_max.into())
                .table("client_properties", properties)
                .number("connected_at", member.connected_at_ms)
                .text("node", &shard.settings.advertise.cluster_name);
            Some(named_by_user(ends(event, member), properties).by(&member.login.user))
        });
    }

    /// Tells of a connection that has gone.
    pub(super) fn tell_connection_closed(&mut self, member: &Member) {
        self.counted.connections_closed += u64::from(member.opened);
        self.tell(|shard| {
            let properties = Table::check(&member.client_properties).unwrap_or_default();
            let event = Event::new("connection.closed")
                .text("name", &member.name())
                .text("pid", &shard.pid(shard.id.0, member.id.slot, member.id.generation))
                .text("node", &shard.settings.advertise.cluster_name)
                .table("client_properties", properties);
            Some(named_by_user(event, properties))
        });
    }

    pub(super) fn tell_channel_created(&mut self, id: ConnectionId, number: u16, generation: u32) {
        self.counted.channels_opened += 1;
        self.tell(|shard| {
            let member = shard.members.get(id)?;
            let event = Event::new("channel.created")
                .text("pid", &shard.pid(shard.id.0, id.slot, generation))
                .name("name", &format!("{} ({number})", member.name()), shard.topology.vhost_name(member.vhost))
                .text("connection", &shard.pid(shard.id.0, id.slot, id.generation))
                .number("number", number.into())
                .text("user", &member.login.user);
            Some(event.by(&member.login.user))
        });
    }

    /// Tells of a channel that has ended.
    pub(super) fn tell_channel_closed(&mut self, id: ConnectionId, user: &str, channel: &ChannelState) {
        // One that the client has closed, and that only waits for its answers, was told of.
        if channel.pending.as_ref().is_some_and(|pending| pending.after == After::Close) {
            return;
        }
        self.counted.channels_closed += 1;
        let (generation, consumers) = (channel.generation, channel.consumers.len() as u64);
        self.tell(|shard| {
            let event = Event::new("channel.closed").text("pid", &shard.pid(shard.id.0, id.slot, generation));
            Some(event.number("consumer_count", consumers).by(user))
        });
    }

    // ---- consumers: created at their channel's shard, deleted at their queue's

    /// Tells of a new consumer. `command`: its basic.consume.
    pub(super) fn tell_consumer_created(&mut self, caller: Caller, key: QueueKey, m: &BasicConsume<'_>, tag: &str) {
        self.tell(|shard| {
            let queue = &shard.topology.queue(key)?.spec;
            let member = shard.members.get(caller.connection)?;
            let prefetch = member.channel(caller.channel).map_or(0, |channel| channel.prefetch);
            let event = Event::new("consumer.created")
                .text("consumer_tag", tag)
                .flag("exclusive", m.exclusive)
                .flag("ack_required", !m.no_ack)
                .text("channel", &shard.channel_pid(caller))
                .name("queue", &queue.name, shard.topology.vhost_name(queue.vhost))
                .number("prefetch_count", prefetch.into())
                .table("arguments", m.arguments);
            Some(event.by(&member.login.user))
        });
    }

    /// Tells of the end of a consumer.
    pub(super) fn tell_consumer_deleted(&mut self, channel: Caller, queue: &QueueSpec, tag: &str, user: &str) {
        self.tell(|shard| {
            let event = Event::new("consumer.deleted")
                .text("consumer_tag", tag)
                .text("channel", &shard.channel_pid(channel))
                .name("queue", &queue.name, shard.topology.vhost_name(queue.vhost));
            Some(event.by(user))
        });
    }
}

/// The two ends of a connection, and what is spoken between them.
fn ends(event: Event, member: &Member) -> Event {
    let (peer, local) = (member.peer.address, member.peer.local);
    event
        .text("host", &address(local))
        .number("port", local.port().into())
        .text("peer_host", &address(peer))
        .number("peer_port", peer.port().into())
        .flag("ssl", false)
        .text("protocol", "{0,9,1}")
}

/// With the name that the client has given its connection.
fn named_by_user(event: Event, properties: Table<'_>) -> Event {
    match properties.find("connection_name") {
        Some(Value::LongStr(name)) => event.text("user_provided_name", &String::from_utf8_lossy(name)),
        _ => event,
    }
}
