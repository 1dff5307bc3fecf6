//! The firehose: while a virtual host is traced, each publish and each delivery in it is copied to its exchange
//! `amq.rabbitmq.trace` (reference section 18).
//!
//! Nothing of this is looked at elsewhere. In a traced virtual host routes are not remembered, so that publishes come
//! by the slow path, which is where they are copied; and its queues go by rules, so that deliveries come by the path
//! for those. A copy that waits for credit of another shard waits where dead letters do.

use std::sync::Arc;

use super::mesh::{Caller, Record};
use super::{ConnectionId, Shard};
use crate::amqp::table::ArrayWriter;
use crate::amqp::{Array, Content, Properties, TableWriter, Value};
use crate::broker::death;
use crate::broker::entries::Taken;
use crate::broker::queue::Queue;
use crate::broker::queue::ruled::{Counts, is_internal};
use crate::broker::routing::{Route, sender_selected};
use crate::broker::topology::{QueueKey, VhostId};

/// Where the copies go.
const EXCHANGE: &str = "amq.rabbitmq.trace";

/// A delivery, told to the shard of the connection that it is for.
#[derive(Debug)]
pub struct TracedDelivery {
    /// For whom it is.
    pub to: Caller,
    /// From which queue.
    pub queue: Arc<str>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// The message's record.
    pub record: Vec<u8>,
}

/// What a copy says of its message.
struct Copied<'a> {
    content: &'a Content<'a>,
    /// The connection and channel that it came or goes by.
    by: (ConnectionId, u16),
    /// `publish` or `deliver`.
    what: &'static str,
    /// The exchange or queue.
    whose: &'a str,
    routed_queues: Option<Array<'a>>,
    redelivered: Option<bool>,
}

fn long(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}

fn routing_keys(content: &Content<'_>, properties: &Properties<'_>) -> ArrayWriter {
    let mut keys = smallvec::SmallVec::<[&str; 4]>::from_slice(&[content.routing_key()]);
    // What is wrong was refused when it was published.
    let _ = sender_selected(properties.headers, &mut keys);
    let mut array = ArrayWriter::default();
    for key in keys {
        array.push(long(key));
    }
    array
}

/// Each property that is set, as RabbitMQ puts them into a table: the last one first, all numbers in 32 bits.
fn properties_table(properties: &Properties<'_>) -> TableWriter {
    let mut table = TableWriter::new();
    for (name, value) in [
        ("cluster_id", properties.cluster_id.map(long)),
        ("app_id", properties.app_id.map(long)),
        ("user_id", properties.user_id.map(long)),
        ("type", properties.kind.map(long)),
        ("timestamp", properties.timestamp.map(|seconds| Value::I32(seconds as i32))),
        ("message_id", properties.message_id.map(long)),
        ("expiration", properties.expiration.map(long)),
        ("reply_to", properties.reply_to.map(long)),
        ("correlation_id", properties.correlation_id.map(long)),
        ("priority", properties.priority.map(|priority| Value::I32(priority.into()))),
        ("delivery_mode", properties.delivery_mode.map(|mode| Value::I32(mode.into()))),
        ("headers", properties.headers.map(Value::Table)),
        ("content_encoding", properties.content_encoding.map(long)),
        ("content_type", properties.content_type.map(long)),
    ] {
        if let Some(value) = value {
            table.put(name, value);
        }
    }
    table
}

impl Shard {
    /// A virtual host is traced from now on, or not any more.
    pub(super) fn tracing_changed(&mut self, vhost: VhostId) {
        self.routes.clear();
        self.sweep_for_tracing(vhost);
    }

    /// Notes for a queue whether its virtual host is traced.
    pub(super) fn look_at_tracing(&mut self, key: QueueKey) {
        let Some(queue) = self.living(key).filter(|queue| !is_internal(&queue.spec)) else { return };
        let vhost = queue.spec.vhost;
        let (traced, now) = (self.topology.is_traced(vhost), self.now);
        if let Some(queue) = self.living_mut(key) {
            queue.set_traced(traced, now);
        }
    }

    /// Whether anybody gets copies.
    fn has_firehose(&self, vhost: VhostId) -> bool {
        let exchange = self.topology.find_exchange(vhost, EXCHANGE);
        self.topology.is_traced(vhost) && exchange.is_some_and(|exchange| !exchange.table.is_empty())
    }

    /// Copies a message that was published in a traced virtual host.
    #[cold]
    pub(super) fn trace_publish(&mut self, id: ConnectionId, slot: u32, content: &Content<'_>, route: &Route) {
        let Some(member) = self.members.get(id).filter(|member| self.has_firehose(member.vhost)) else { return };
        let Some(channel) = member.channels.get(slot as usize).and_then(Option::as_deref) else { return };
        let mut queues = ArrayWriter::default();
        for key in route.local.iter().chain(route.remote.iter().flat_map(|(_, keys)| keys)) {
            if let Some(queue) = self.topology.queue(*key).filter(|queue| !queue.is_internal) {
                queues.push(Value::LongStr(queue.spec.name.as_bytes()));
            }
        }
        let by = (id, channel.number);
        let (what, whose, routed_queues) = ("publish", content.exchange(), Some(queues.array()));
        self.copy(&Copied { content, by, what, whose, routed_queues, redelivered: None });
        if let Some(owner) = self.deaths.holds_publishers() {
            self.exhausted |= 1 << owner;
        }
    }

    /// Copies a message of a traced queue that is about to be delivered.
    #[cold]
    pub(super) fn trace_kept(&mut self, queue: &Queue, taker: u32, taken: &Taken, counts: Option<Counts>) {
        let mut record = Vec::new();
        let (content, _) = self.blocks.content(taken.message);
        match counts {
            Some(counts) => {
                let properties = Properties::decode(content.properties).unwrap_or_default();
                let properties = death::counted(&properties, counts.acquired, counts.failed);
                Content { properties: &properties, ..content }.write_record(&mut record, self.stamp);
            }
            None => content.write_record(&mut record, self.stamp),
        }
        self.trace_delivery(queue, taker, record, taken.redelivered);
    }

    /// Copies a delivery from a traced queue. Only the shard of its connection knows whose that is.
    #[cold]
    pub(super) fn trace_delivery(&mut self, queue: &Queue, taker: u32, record: Vec<u8>, redelivered: bool) {
        let holder = queue.taker(taker).and_then(|taker| self.owner.holders.get(taker.holder as usize));
        let Some(to) = holder.map(|holder| holder.caller) else { return };
        if !self.has_firehose(queue.spec.vhost) || Content::from_record(&record).exchange() == EXCHANGE {
            return;
        }
        let delivery = TracedDelivery { to, queue: queue.spec.name.clone(), redelivered, record };
        if to.shard == self.id.0 {
            self.traced(&delivery);
        } else {
            self.mesh.send(to.shard, Record::Traced(Box::new(delivery)));
        }
    }

    /// Copies a delivery to a connection of this shard.
    pub(super) fn traced(&mut self, delivery: &TracedDelivery) {
        let TracedDelivery { to, queue, redelivered, record } = delivery;
        let channel = self.members.get_mut(to.connection).and_then(|member| member.channel_of(*to));
        let Some(number) = channel.map(|channel| channel.number) else { return };
        let content = &Content::from_record(record);
        let by = (to.connection, number);
        let (what, whose, redelivered) = ("deliver", &**queue, Some(*redelivered));
        self.copy(&Copied { content, by, what, whose, routed_queues: None, redelivered });
    }

    fn copy(&mut self, copied: &Copied<'_>) {
        let Copied { content, by: (id, channel), what, whose, .. } = *copied;
        let Some(member) = self.members.get(id) else { return };
        let properties = Properties::decode(content.properties).unwrap_or_default();
        let (keys, set) = (routing_keys(content, &properties), properties_table(&properties));
        let connection = format!("{} -> {}", member.peer.address, member.peer.local);
        let vhost = member.vhost;
        let mut headers = TableWriter::new();
        headers.put("exchange_name", Value::LongStr(content.exchange().as_bytes()));
        headers.put("routing_keys", Value::Array(keys.array()));
        headers.put("properties", Value::Table(set.table()));
        headers.put("node", Value::LongStr(self.settings.advertise.cluster_name.as_bytes()));
        if let Some(redelivered) = copied.redelivered {
            headers.put("redelivered", Value::I32(redelivered.into()));
        }
        headers.put("vhost", Value::LongStr(self.topology.vhost_name(vhost).as_bytes()));
        headers.put("connection", Value::LongStr(connection.as_bytes()));
        headers.put("channel", Value::I32(channel.into()));
        headers.put("user", Value::LongStr(member.login.user.as_bytes()));
        if let Some(queues) = copied.routed_queues {
            headers.put("routed_queues", Value::Array(queues));
        }
        let properties = Properties { headers: Some(headers.table()), ..Properties::default() };
        self.publish_own(vhost, EXCHANGE, &format!("{what}.{whose}"), &properties, content.body);
    }
}
