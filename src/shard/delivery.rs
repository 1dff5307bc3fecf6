//! Deliveries as frames, into the outbound buffer of a connection here or into the batch for its shard.

use bytes::Bytes;

use super::member::Members;
use super::mesh::{Caller, ChannelWire, DeliveryKind, Mesh, Record, RemoteDelivery};
use super::unacked::Unacked;
use crate::amqp::content::Content;
use crate::amqp::frame::{self, END};
use crate::broker::entries::Position;
use crate::broker::topology::QueueKey;
use crate::connection::outbound::Outbound;

/// The frame of a basic.deliver up to and with the consumer tag.
pub fn deliver_prefix(number: u16, tag: &str) -> Box<[u8]> {
    let n = number.to_be_bytes();
    let mut prefix = vec![1, n[0], n[1], 0, 0, 0, 0, 0, 60, 0, 60];
    crate::amqp::codec::write_short_str(&mut prefix, tag.as_bytes());
    prefix.into()
}

/// The frame of a basic.get-ok up to the delivery tag.
pub fn get_prefix(number: u16) -> [u8; 11] {
    let n = number.to_be_bytes();
    [1, n[0], n[1], 0, 0, 0, 0, 0, 60, 0, 71]
}

/// What is delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The message.
    pub content: Content<'a>,
    /// Its record, when that is shared memory: the body then goes by reference.
    pub own: Option<&'a Bytes>,
    /// From which queue.
    pub key: QueueKey,
    /// Which taker of it.
    pub taker: u32,
    /// Which entry of it.
    pub position: Position,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// How it came about.
    pub kind: DeliveryKind,
    /// For basic.get: ready messages left.
    pub left: u32,
}

/// Appends method and header frame; returns where the delivery tag is.
#[inline]
fn encode_head(out: &mut Vec<u8>, prefix: &[u8], tag: u64, wire: ChannelWire, delivery: &Delivery<'_>) -> usize {
    let start = out.len();
    let content = &delivery.content;
    let is_get = matches!(delivery.kind, DeliveryKind::Get | DeliveryKind::GetNoAck);
    let size = prefix.len() - frame::HEADER_BYTES + 9 + content.names.len() + if is_get { 4 } else { 0 };
    out.reserve(prefix.len() + content.names.len() + content.properties.len() + content.body.len() + 64);
    out.extend_from_slice(prefix);
    if let Some(place) = out.get_mut(start + 3..start + 7) {
        place.copy_from_slice(&(size as u32).to_be_bytes());
    }
    let tag_at = out.len();
    let t = tag.to_be_bytes();
    out.extend_from_slice(&[
        t[0],
        t[1],
        t[2],
        t[3],
        t[4],
        t[5],
        t[6],
        t[7],
        delivery.redelivered.into(),
    ]);
    out.extend_from_slice(content.names);
    if is_get {
        out.extend_from_slice(&delivery.left.to_be_bytes());
    }
    out.push(END);
    frame::write_content_header(out, wire.number, content.body.len() as u64, content.properties);
    tag_at
}

/// Appends body frames whose payload goes by reference.
pub fn push_shared_body(outbound: &mut Outbound, number: u16, frame_max: u32, body: &Bytes) {
    let part_max = frame::part_bytes_max(frame_max);
    let mut at = 0;
    while at < body.len() {
        let len = part_max.min(body.len() - at);
        frame::write_header(outbound.buffer(), crate::amqp::FrameKind::Body, number, len as u32);
        outbound.push_shared(body.slice(at..at + len));
        outbound.buffer().push(END);
        at += len;
    }
}

/// The body of a record that is shared memory.
fn shared_body(own: &Bytes, body_len: usize) -> Bytes {
    own.slice(own.len() - body_len..)
}

/// Encodes a delivery for a channel of this shard and notes it as unacknowledged. Returns its bytes; `None` when the
/// channel is gone.
#[inline]
pub fn deliver_here(
    members: &mut Members,
    to: Caller,
    wire: ChannelWire,
    prefix: &[u8],
    delivery: &Delivery<'_>,
) -> Option<usize> {
    members.mark_dirty(to.connection);
    let member = members.get_mut(to.connection)?;
    let channel = member.channels.get_mut(to.channel as usize)?.as_deref_mut()?;
    if channel.generation != to.generation {
        return None;
    }
    channel.delivery_tag += 1;
    let tag = channel.delivery_tag;
    if delivery.kind.needs_ack() {
        let consumer = delivery.kind == DeliveryKind::Consumer;
        channel.unacked.push(Unacked::new(
            tag,
            delivery.position,
            delivery.key,
            delivery.taker,
            to.shard,
            consumer,
        ));
    }
    let outbound = &mut member.outbound;
    let before = outbound.len();
    encode_head(outbound.buffer(), prefix, tag, wire, delivery);
    let body = delivery.content.body;
    match delivery.own {
        Some(own) => push_shared_body(outbound, wire.number, wire.frame_max, &shared_body(own, body.len())),
        None => frame::write_body(outbound.buffer(), wire.number, body, wire.frame_max),
    }
    Some(outbound.len() - before)
}

/// Encodes a delivery for a channel of another shard. Returns its bytes.
pub fn deliver_there(mesh: &mut Mesh, to: Caller, wire: ChannelWire, prefix: &[u8], delivery: &Delivery<'_>) -> usize {
    let Some(out) = mesh.content(to.shard) else { return 0 };
    let at = out.len();
    let tag_at = encode_head(out, prefix, 0, wire, delivery) - at;
    let body = delivery.content.body;
    let shared = match delivery.own {
        Some(own) => Some(shared_body(own, body.len())),
        None => {
            frame::write_body(out, wire.number, body, wire.frame_max);
            None
        }
    };
    let len = out.len() - at;
    let bytes = len + shared.as_ref().map_or(0, Bytes::len);
    let remote = RemoteDelivery {
        to,
        key: delivery.key,
        taker: delivery.taker,
        position: delivery.position,
        kind: delivery.kind,
        at: at as u32,
        len: len as u32,
        tag_at: tag_at as u16,
        body: shared,
    };
    mesh.send(to.shard, Record::Deliver(remote));
    bytes
}
