//! Deliveries as frames, into the outbound buffer of a connection here or into the batch for its shard.

use bytes::Bytes;
use smallvec::SmallVec;

use super::member::ChannelState;
use super::members::Members;
use super::mesh::{Caller, ChannelWire, DeliveryKind, Mesh, Record, RemoteDelivery, ShardId};
use super::owner::Owner;
use super::unacked::Unacked;
use crate::amqp::codec::Filler;
use crate::amqp::content::Content;
use crate::amqp::frame::{self, END};
use crate::broker::entries::Position;
use crate::broker::queue::Taker;
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

impl<'a> Delivery<'a> {
    /// A first delivery to a consumer.
    #[inline]
    pub fn new(
        content: Content<'a>,
        own: Option<&'a Bytes>,
        key: QueueKey,
        taker: u32,
        position: Position,
        kind: DeliveryKind,
    ) -> Delivery<'a> {
        Delivery { content, own, key, taker, position, redelivered: false, kind, left: 0 }
    }
}

/// Appends method and header frame; returns where the delivery tag is. Few appends of fixed size: this runs once per
/// delivery.
#[inline]
fn encode_head(out: &mut Vec<u8>, prefix: &[u8], tag: u64, wire: ChannelWire, delivery: &Delivery<'_>) -> usize {
    let content = &delivery.content;
    let is_get = matches!(delivery.kind, DeliveryKind::Get | DeliveryKind::GetNoAck);
    let size = prefix.len() - frame::HEADER_BYTES + 9 + content.names.len() + if is_get { 4 } else { 0 };
    out.reserve(prefix.len() + content.names.len() + content.properties.len() + content.body.len() + 64);
    let start = out.len();
    out.extend_from_slice(prefix);
    if let Some(place) = out.get_mut(start + 3..start + 7) {
        place.copy_from_slice(&(size as u32).to_be_bytes());
    }
    let t = tag.to_be_bytes();
    out.extend_from_slice(&[t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], delivery.redelivered.into()]);
    out.extend_from_slice(content.names);
    if is_get {
        out.extend_from_slice(&delivery.left.to_be_bytes());
    }
    let c = wire.number.to_be_bytes();
    let s = (12 + content.properties.len() as u32).to_be_bytes();
    let b = (content.body.len() as u64).to_be_bytes();
    out.extend_from_slice(&[
        END, 2, c[0], c[1], s[0], s[1], s[2], s[3], 0, 60, 0, 0, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
    ]);
    out.extend_from_slice(content.properties);
    start + prefix.len()
}

/// Appends the header frame's end and the body frames.
#[inline]
fn encode_body(out: &mut Vec<u8>, wire: ChannelWire, body: &[u8]) {
    if body.is_empty() || body.len() > frame::part_bytes_max(wire.frame_max) {
        out.push(END);
        return frame::write_body(out, wire.number, body, wire.frame_max);
    }
    let c = wire.number.to_be_bytes();
    let s = (body.len() as u32).to_be_bytes();
    out.extend_from_slice(&[END, 3, c[0], c[1], s[0], s[1], s[2], s[3]]);
    out.extend_from_slice(body);
    out.push(END);
}

/// Appends a delivery to a consumer whose body fits into one frame: the room is made once, then filled.
#[inline]
fn encode_small(out: &mut Vec<u8>, prefix: &[u8], tag: u64, wire: ChannelWire, delivery: &Delivery<'_>) {
    let Content { names, properties, body, .. } = delivery.content;
    let start = out.len();
    out.resize(start + prefix.len() + names.len() + properties.len() + body.len() + 38, 0);
    let mut to = Filler::new(&mut out[start..]);
    to.put(prefix);
    to.put(&tag.to_be_bytes());
    to.put(&[delivery.redelivered.into()]);
    to.put(names);
    let c = wire.number.to_be_bytes();
    let s = (12 + properties.len() as u32).to_be_bytes();
    let b = (body.len() as u64).to_be_bytes();
    to.put(&[END, 2, c[0], c[1], s[0], s[1], s[2], s[3], 0, 60, 0, 0, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    to.put(properties);
    to.put(&[END, 3, c[0], c[1], b[4], b[5], b[6], b[7]]);
    to.put(body);
    to.put(&[END]);
    let size = prefix.len() - frame::HEADER_BYTES + 9 + names.len();
    out[start + 3..start + 7].copy_from_slice(&(size as u32).to_be_bytes());
}

/// Appends a message's frames as they were received, with another channel number.
#[inline]
fn append_frames(out: &mut Vec<u8>, content: &Content<'_>, number: u16) {
    let at = out.len();
    out.extend_from_slice(content.frames);
    let number = number.to_be_bytes();
    if let Some(place) = out.get_mut(at + 1..at + 3) {
        place.copy_from_slice(&number);
    }
    if !content.body.is_empty() {
        let at = out.len() - content.body.len() - frame::OVERHEAD_BYTES;
        if let Some(place) = out.get_mut(at + 1..at + 3) {
            place.copy_from_slice(&number);
        }
    }
}

/// Appends a delivery to a consumer, its content in the frames that it came in.
#[inline]
fn encode_passed(out: &mut Vec<u8>, prefix: &[u8], tag: u64, wire: ChannelWire, delivery: &Delivery<'_>) {
    let content = &delivery.content;
    out.reserve(prefix.len() + 10 + content.names.len() + content.frames.len());
    let at = out.len();
    out.extend_from_slice(prefix);
    let t = tag.to_be_bytes();
    out.extend_from_slice(&[t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], delivery.redelivered.into()]);
    out.extend_from_slice(content.names);
    out.push(END);
    let size = (out.len() - at - frame::OVERHEAD_BYTES) as u32;
    if let Some(place) = out.get_mut(at + 3..at + 7) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    append_frames(out, content, wire.number);
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

/// What is noted of a delivery that needs an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    /// From which queue.
    pub key: QueueKey,
    /// To which taker of it.
    pub taker: u32,
    /// Which entry of it.
    pub position: Position,
    /// How it came about.
    pub kind: DeliveryKind,
}

/// A channel of this shard that takes deliveries, looked up once for as many as there are.
pub struct Outlet<'a> {
    outbound: &'a mut Outbound,
    channel: &'a mut ChannelState,
    wire: ChannelWire,
    shard: u8,
}

impl<'a> Outlet<'a> {
    /// The way to a channel; `None` when it is gone.
    #[inline]
    pub fn find(members: &'a mut Members, to: Caller, wire: ChannelWire) -> Option<Outlet<'a>> {
        let member = members.sink_of(to.connection)?;
        let channel = member.channels.get_mut(to.channel as usize)?.as_deref_mut()?;
        if channel.generation != to.generation {
            return None;
        }
        Some(Outlet { outbound: &mut member.outbound, channel, wire, shard: to.shard })
    }

    /// The way to a consumer, if it is on this shard and only its own prefetch limit counts.
    #[inline]
    pub(super) fn to_taker(
        members: &'a mut Members,
        owner: &Owner,
        here: ShardId,
        taker: &Taker,
    ) -> Option<Outlet<'a>> {
        let holder = owner.holders.get(taker.holder as usize)?;
        if holder.caller.shard != here.0 || holder.wire.global {
            return None;
        }
        Outlet::find(members, holder.caller, holder.wire)
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub fn bytes_waiting(&self) -> usize {
        self.outbound.len()
    }

    /// The next delivery tag; the delivery is noted as unacknowledged if that is due.
    #[inline]
    fn next_tag(&mut self, Noted { key, taker, position, kind }: Noted) -> u64 {
        self.channel.delivery_tag += 1;
        let tag = self.channel.delivery_tag;
        if kind.needs_ack() {
            let consumer = kind == DeliveryKind::Consumer;
            self.channel.unacked.push(Unacked::new(tag, position, key, taker, self.shard, consumer));
        }
        tag
    }

    /// Encodes a delivery and notes it as unacknowledged if that is due. Returns its bytes.
    #[inline]
    pub fn deliver(&mut self, prefix: &[u8], delivery: &Delivery<'_>) -> usize {
        let Delivery { key, taker, position, kind, .. } = *delivery;
        let tag = self.next_tag(Noted { key, taker, position, kind });
        let (outbound, wire) = (&mut *self.outbound, self.wire);
        let body = delivery.content.body;
        if delivery.own.is_none()
            && matches!(delivery.kind, DeliveryKind::Consumer | DeliveryKind::NoAck)
            && (1..=frame::part_bytes_max(wire.frame_max)).contains(&body.len())
        {
            let out = outbound.buffer();
            let before = out.len();
            if delivery.content.frames.is_empty() {
                encode_small(out, prefix, tag, wire, delivery);
            } else {
                encode_passed(out, prefix, tag, wire, delivery);
            }
            return out.len() - before;
        }
        let before = outbound.len();
        encode_head(outbound.buffer(), prefix, tag, wire, delivery);
        match delivery.own {
            Some(own) => {
                outbound.buffer().push(END);
                push_shared_body(outbound, wire.number, wire.frame_max, &shared_body(own, body.len()));
            }
            None => encode_body(outbound.buffer(), wire, body),
        }
        outbound.len() - before
    }

    /// What deliveries to a consumer begin with, up to their content's frames: for [`Outlet::pass`].
    pub fn head(prefix: &[u8], names: &[u8]) -> SmallVec<[u8; 96]> {
        let mut head = SmallVec::from_slice(prefix);
        head.extend_from_slice(&[0; 9]);
        head.extend_from_slice(names);
        head.push(END);
        let size = (head.len() - frame::OVERHEAD_BYTES) as u32;
        if let Some(place) = head.get_mut(3..7) {
            place.copy_from_slice(&size.to_be_bytes());
        }
        head
    }

    /// Passes a publish on as it was received: behind the `head` of deliveries to this consumer, whose delivery tag
    /// is at `tag_at`, its frames with another channel number.
    #[inline]
    pub fn pass(&mut self, head: &[u8], tag_at: usize, content: &Content<'_>, noted: Noted) {
        let tag = self.next_tag(noted);
        let out = self.outbound.buffer();
        let at = out.len();
        out.reserve(head.len() + content.frames.len());
        out.extend_from_slice(head);
        if let Some(place) = out.get_mut(at + tag_at..at + tag_at + 8) {
            place.copy_from_slice(&tag.to_be_bytes());
        }
        append_frames(out, content, self.wire.number);
    }

    /// The most that goes into one body frame.
    #[inline]
    pub fn part_bytes_max(&self) -> usize {
        frame::part_bytes_max(self.wire.frame_max)
    }
}

/// Encodes a delivery for a channel of another shard. Returns its bytes.
pub fn deliver_there(mesh: &mut Mesh, to: Caller, wire: ChannelWire, prefix: &[u8], delivery: &Delivery<'_>) -> usize {
    let Some(out) = mesh.content(to.shard) else { return 0 };
    let at = out.len();
    let tag_at = encode_head(out, prefix, 0, wire, delivery) - at;
    let body = delivery.content.body;
    let shared = match delivery.own {
        Some(own) => {
            out.push(END);
            Some(shared_body(own, body.len()))
        }
        None => {
            encode_body(out, wire, body);
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
        at,
        len,
        tag_at: tag_at as u16,
        body: shared,
    };
    mesh.send(to.shard, Record::Deliver(remote));
    bytes
}
