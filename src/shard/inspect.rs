//! Looks at a running broker: what there is, and what was counted. Nothing of it is kept for those who ask: rows are
//! made from what the shard works with, a page at a time, so that no turn is long.
//!
//! Unlike administration, every shard is asked for what lives there.

mod bindings;
mod rows;
mod totals;

use super::Shard;
use super::alarm::Hold;
use super::member::{ChannelState, Member};
use super::mesh::DeliveryKind;
use crate::amqp::Properties;
use crate::broker::message::Blocks;
use crate::broker::policy::{Object, Scope, json};
use crate::broker::queue::ruled::is_internal;
use crate::broker::queue::{Life, Queue, Standing, Taker};
use crate::broker::queue_arguments::QueueType;
use crate::broker::topology::Topology;
use crate::connection::Phase;
pub use bindings::properties_key;
pub use rows::{
    Arguments, BindingRow, ChannelRow, ConnectionKey, ConnectionRow, ConsumerRow, ExchangeRow, InspectReply,
    InspectRequest, Page, QueueRow, QueueState,
};
pub use totals::{Counted, Totals};

/// Places that are looked at for each row that a page may have; many may be empty.
const PLACES_PER_ROW: usize = 16;

/// The next page: rows of places, each with where to go on from there.
fn page<T, R>(
    rows_max: usize,
    places: impl Iterator<Item = (u64, Option<T>)>,
    mut row: impl FnMut(T) -> Option<R>,
) -> Page<R> {
    let mut rows = Vec::new();
    for (looked_at, (at, place)) in places.enumerate() {
        if rows.len() >= rows_max || looked_at >= rows_max * PLACES_PER_ROW {
            return Page { rows, next: Some(at) };
        }
        rows.extend(place.and_then(&mut row));
    }
    Page { rows, next: None }
}

/// Where something lies in a table, and where in that.
fn cursor(slot: usize, within: usize) -> u64 {
    (slot as u64) << 32 | within as u64
}

fn slot_of(cursor: u64) -> usize {
    (cursor >> 32) as usize
}

impl Counted {
    /// Counts deliveries, and answers to basic.get.
    #[inline]
    pub(super) fn deliver(&mut self, kind: DeliveryKind, count: u64) {
        match kind {
            DeliveryKind::Consumer => self.delivered += count,
            DeliveryKind::NoAck => self.delivered_no_ack += count,
            DeliveryKind::Get => self.got += count,
            DeliveryKind::GetNoAck => self.got_no_ack += count,
        }
    }
}

impl Shard {
    /// Answers what is asked, with a page of rows at most.
    pub fn inspect(&mut self, request: InspectRequest) -> InspectReply {
        match request {
            InspectRequest::Totals => InspectReply::Totals(Box::new(self.totals())),
            InspectRequest::Queues { from } => InspectReply::Queues(self.queue_rows(from)),
            InspectRequest::Connections { from } => InspectReply::Connections(self.connection_rows(from)),
            InspectRequest::Channels { from } => InspectReply::Channels(self.channel_rows(from)),
            InspectRequest::Consumers { from } => InspectReply::Consumers(self.consumer_rows(from)),
            InspectRequest::Exchanges { from } => InspectReply::Exchanges(self.exchange_rows(from)),
            InspectRequest::Bindings { from } => InspectReply::Bindings(self.binding_rows(from)),
        }
    }

    fn rows_max(&self) -> usize {
        self.settings.limits.inspect_rows_max.max(1)
    }

    fn totals(&self) -> Totals {
        let counted = self.counted;
        Totals {
            connections: counted.connections_opened - counted.connections_closed,
            channels: counted.channels_opened - counted.channels_closed,
            queues: counted.queues_created - counted.queues_deleted,
            exchanges: self.topology.exchange_count() as u64,
            counted,
        }
    }

    fn queue_rows(&mut self, from: u64) -> Page<QueueRow> {
        let (rows_max, shard, topology, blocks) = (self.rows_max(), self.id.0, &self.topology, &self.blocks);
        // A time of the clock that has no date, as one of the day.
        let (now, wall_ms) = (self.now, self.stamp.wall_ms());
        let places = self.living.iter_mut().enumerate().skip(slot_of(from));
        let places = places.map(|(slot, queue)| (cursor(slot, 0), queue.as_deref_mut()));
        page(rows_max, places, |queue| {
            let mut row = queue_row(queue, shard, topology, blocks)?;
            let ruled = queue.ruled.as_ref().filter(|ruled| ruled.rules.expires_ms.is_some());
            row.idle_since_ms = ruled.map(|ruled| wall_ms.saturating_sub(now.ms.saturating_sub(ruled.used.ms)));
            Some(row)
        })
    }

    fn key_of(&self, member: &Member) -> ConnectionKey {
        ConnectionKey { shard: self.id.0, slot: member.id.slot, generation: member.id.generation }
    }

    fn connection_rows(&self, from: u64) -> Page<ConnectionRow> {
        let places = self.members.places(slot_of(from)).map(|(slot, member)| (cursor(slot, 0), member));
        page(self.rows_max(), places, |member| self.connection_row(member))
    }

    fn connection_row(&self, member: &Member) -> Option<ConnectionRow> {
        let (peer, local) = (member.peer.address, member.peer.local);
        let state = match (member.wire.phase, member.hold) {
            _ if !member.opened => return None,
            (Phase::Running, Hold::Alarm { .. }) => "blocked",
            (Phase::Running, Hold::Pressure) => "flow",
            (Phase::Running, _) if member.lacks_credit != 0 => "flow",
            (Phase::Running, _) => "running",
            _ => "closing",
        };
        Some(ConnectionRow {
            key: self.key_of(member),
            name: member.name(),
            user: member.login.user.to_string(),
            vhost: self.topology.vhost_name(member.vhost).to_owned(),
            peer_host: peer.ip().to_string(),
            peer_port: peer.port(),
            host: local.ip().to_string(),
            port: local.port(),
            protocol: "AMQP 0-9-1",
            channels: member.wire.channel_count() as u32,
            channel_max: member.channel_max,
            frame_max: member.wire.frame_max,
            heartbeat_s: member.heartbeat.interval_s,
            client_properties: Arguments(member.client_properties.clone()),
            auth_mechanism: member.login.mechanism.map_or("none", |mechanism| mechanism.name()),
            state,
            connected_at_ms: member.connected_at_ms,
            recv_oct: member.received_bytes,
            send_oct: member.outbound.sent_bytes(),
        })
    }

    fn channel_rows(&self, from: u64) -> Page<ChannelRow> {
        let places = self.members.places(slot_of(from)).flat_map(|(slot, member)| {
            let channels = member.into_iter().flat_map(|member| member.channels.iter().map(move |one| (member, one)));
            let channels = (1..).zip(channels).map(move |(number, (member, channel))| {
                (cursor(slot, number), channel.as_deref().map(|channel| (member, channel)))
            });
            // The connection is a place of its own: one that has no channels counts, too.
            std::iter::once((cursor(slot, 0), None)).chain(channels)
        });
        let places = places.skip_while(|(at, _)| *at < from);
        page(self.rows_max(), places, |(member, channel)| self.channel_row(member, channel))
    }

    fn channel_row(&self, member: &Member, channel: &ChannelState) -> Option<ChannelRow> {
        let global = channel.global.as_ref().and_then(|global| global.limit);
        let tx = channel.tx.as_deref();
        Some(ChannelRow {
            connection: self.key_of(member),
            connection_name: member.name(),
            number: channel.number,
            user: member.login.user.to_string(),
            vhost: self.topology.vhost_name(member.vhost).to_owned(),
            confirm: channel.confirm.is_some(),
            transactional: tx.is_some(),
            consumer_count: (channel.consumers.len() + usize::from(channel.reply_consumer.is_some())) as u32,
            prefetch_count: channel.prefetch,
            global_prefetch_count: global.unwrap_or(0),
            messages_unacknowledged: channel.unacked.count() as u64,
            messages_unconfirmed: channel.confirm.as_ref().map_or(0, |confirms| confirms.unconfirmed()),
            messages_uncommitted: tx.map_or(0, |tx| tx.publishes.len() as u64),
            acks_uncommitted: tx.map_or(0, |tx| tx.settled.len() as u64),
            published: channel.published,
            delivered: channel.delivery_tag,
        })
    }

    fn consumer_rows(&self, from: u64) -> Page<ConsumerRow> {
        let places = self.living.iter().enumerate().skip(slot_of(from)).flat_map(|(slot, queue)| {
            let takers = queue.iter().flat_map(|queue| queue.takers().map(move |(id, taker)| (id, (queue, id, taker))));
            let takers = takers.map(move |(id, place)| (cursor(slot, id as usize + 1), Some(place)));
            std::iter::once((cursor(slot, 0), None)).chain(takers)
        });
        let places = places.skip_while(|(at, _)| *at < from);
        page(self.rows_max(), places, |(queue, id, taker)| self.consumer_row(queue, id, taker))
    }

    fn consumer_row(&self, queue: &Queue, id: u32, taker: &Taker) -> Option<ConsumerRow> {
        if taker.standing == Standing::Gone {
            return None;
        }
        let holder = self.owner.holders.get(taker.holder as usize)?;
        let (shard, connection) = (holder.caller.shard, holder.caller.connection);
        Some(ConsumerRow {
            vhost: self.topology.vhost_name(queue.spec.vhost).to_owned(),
            queue: queue.spec.name.to_string(),
            consumer_tag: taker.tag.to_string(),
            connection: ConnectionKey { shard, slot: connection.slot, generation: connection.generation },
            channel: holder.wire.number,
            ack_required: !taker.no_ack,
            exclusive: queue.exclusive_consumer() == Some(id),
            prefetch_count: taker.prefetch,
            arguments: Arguments(taker.arguments.clone()),
            active: taker.standing != Standing::Waiting,
            messages_unacknowledged: taker.unacked,
        })
    }

    fn exchange_rows(&self, from: u64) -> Page<ExchangeRow> {
        let places = self.topology.exchange_slots(slot_of(from) as u32);
        let places = places.map(|(slot, exchange)| (cursor(slot as usize, 0), exchange));
        page(self.rows_max(), places, |exchange| {
            let spec = &exchange.spec;
            let vhost = self.topology.vhost(spec.vhost)?;
            let policy = vhost.policies.applying(Scope::User, Object::Exchange, &spec.name);
            Some(ExchangeRow {
                vhost: vhost.spec.name.to_string(),
                name: spec.name.to_string(),
                kind: spec.type_name().to_owned(),
                durable: spec.durable,
                auto_delete: spec.auto_delete,
                internal: spec.internal,
                arguments: Arguments(spec.arguments.clone()),
                policy: policy.map(|policy| policy.name.to_string()),
            })
        })
    }
}

fn queue_row(queue: &mut Queue, shard: u8, topology: &Topology, blocks: &Blocks) -> Option<QueueRow> {
    let spec = queue.spec.clone();
    if is_internal(&spec) {
        return None;
    }
    let vhost = topology.vhost(spec.vhost)?;
    let kind = QueueType::of_queue(&spec);
    let object = Object::Queue(kind);
    let named = |scope| vhost.policies.applying(scope, object, &spec.name).map(|policy| policy.name.to_string());
    let (policy, operator_policy) = (named(Scope::User), named(Scope::Operator));
    let definition = match policy.is_some() || operator_policy.is_some() {
        true => json::document(&vhost.policies.effective(object, &spec.name)),
        false => "{}".to_owned(),
    };
    let head = queue.peek().and_then(|head| Properties::decode(blocks.content(head.message).0.properties).ok());
    let tag = |taker: Option<u32>| taker.and_then(|id| queue.taker(id)).map(|taker| taker.tag.to_string());
    let limited = queue.ruled.as_ref().filter(|ruled| ruled.rules.length_bytes_max.is_some());
    Some(QueueRow {
        vhost: vhost.spec.name.to_string(),
        name: spec.name.to_string(),
        kind: kind.name(),
        durable: spec.durable,
        auto_delete: spec.auto_delete,
        exclusive: spec.exclusive.map(|by| ConnectionKey { shard: by.shard, slot: by.slot, generation: by.generation }),
        arguments: Arguments(spec.arguments.clone()),
        shard,
        policy,
        operator_policy,
        effective_policy_definition: definition,
        state: if queue.life == Life::Alive { QueueState::Running } else { QueueState::Deleting },
        messages_ready: queue.ready() as u64,
        messages_unacknowledged: queue.unacked() as u64,
        messages_paged_out: queue.away_count(),
        message_bytes_ready: limited.map(|ruled| ruled.ready_bytes),
        head_message_timestamp: head.and_then(|properties| properties.timestamp),
        consumers: queue.consumer_count(),
        single_active_consumer_tag: tag(queue.single_active_consumer()),
        exclusive_consumer_tag: tag(queue.exclusive_consumer()),
        idle_since_ms: None,
        memory: queue.memory_bytes(),
    })
}
