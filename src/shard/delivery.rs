//! Deliveries as frames.

use std::ops::RangeInclusive;

use super::mesh::{ChannelWire, DeliveryKind};
use crate::amqp::codec::Filler;
use crate::amqp::content::Content;
use crate::amqp::frame::{self, END, FrameHeader};
use crate::broker::entries::Position;
use crate::broker::topology::QueueKey;
use crate::connection::outbound::Outbound;
use bytes::Bytes;

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

/// Appends method and header frame. Few appends of fixed size: this runs once per delivery.
#[inline]
fn encode_head(out: &mut Vec<u8>, prefix: &[u8], tag: u64, wire: ChannelWire, delivery: &Delivery<'_>) {
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

/// Appends a delivery's frames. Returns the body if that goes by reference behind them: see [`push_shared_body`].
#[inline]
pub(super) fn encode(
    out: &mut Vec<u8>,
    prefix: &[u8],
    tag: u64,
    wire: ChannelWire,
    delivery: &Delivery<'_>,
) -> Option<Bytes> {
    let body = delivery.content.body;
    if delivery.own.is_none()
        && matches!(delivery.kind, DeliveryKind::Consumer | DeliveryKind::NoAck)
        && (1..=frame::part_bytes_max(wire.frame_max)).contains(&body.len())
    {
        if delivery.content.frames.is_empty() {
            encode_small(out, prefix, tag, wire, delivery);
        } else {
            encode_passed(out, prefix, tag, wire, delivery);
        }
        return None;
    }
    encode_head(out, prefix, tag, wire, delivery);
    match delivery.own {
        Some(own) => {
            out.push(END);
            Some(shared_body(own, body.len()))
        }
        None => {
            encode_body(out, wire, body);
            None
        }
    }
}

/// Bytes of the delivery at the front of `frames`, which were encoded by [`encode`].
#[inline]
fn delivery_bytes(frames: &[u8], frame_max: u32) -> Option<usize> {
    let method_end = FrameHeader::read(frames)?.size as usize + frame::OVERHEAD_BYTES;
    let header = frames.get(method_end..)?;
    let header_end = method_end + FrameHeader::read(header)?.size as usize + frame::OVERHEAD_BYTES;
    let body = u64::from_be_bytes(*header.get(frame::HEADER_BYTES + 4..)?.first_chunk()?) as usize;
    let part_max = frame::part_bytes_max(frame_max);
    let parts = if body <= part_max { usize::from(body > 0) } else { body.div_ceil(part_max) };
    Some(header_end + body + parts * frame::OVERHEAD_BYTES)
}

/// Writes delivery tags into deliveries that lie behind each other, `tag_at` bytes from the beginning of each.
#[inline]
pub(super) fn give_tags(mut frames: &mut [u8], tag_at: usize, tags: RangeInclusive<u64>, frame_max: u32) {
    let last = *tags.end();
    for tag in tags {
        if let Some(place) = frames.get_mut(tag_at..tag_at + 8) {
            place.copy_from_slice(&tag.to_be_bytes());
        }
        // What is behind the last one does not count: its body may go by reference.
        if tag < last
            && let Some(bytes) = delivery_bytes(frames, frame_max)
        {
            frames = std::mem::take(&mut frames).get_mut(bytes..).unwrap_or_default();
        }
    }
}

/// Appends a message's frames as they were received, with another channel number.
#[inline]
pub(super) fn append_frames(out: &mut Vec<u8>, content: &Content<'_>, number: u16) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_given_later_are_where_they_would_have_been() {
        let frame_max = 4096;
        let wire = ChannelWire { number: 7, frame_max, global: false };
        let prefix = deliver_prefix(7, "consumer");
        let bodies: Vec<Vec<u8>> =
            [0, 1, 16, 4087, 4088, 4089, 8176, 8177, 20_000, 0, 3].iter().map(|&len| vec![1; len]).collect();
        let encoded = |first: Option<u64>| {
            let mut out = vec![];
            for (n, body) in bodies.iter().enumerate() {
                let properties: &[u8] = if n % 3 == 0 { &[0, 0] } else { &[0x10, 0, 2] };
                let content = Content { names: b"\x01e\x02rk", properties, body, frames: &[] };
                let key = QueueKey { slot: 0, generation: 0 };
                let mut delivery = Delivery::new(content, None, key, 0, 0, DeliveryKind::Consumer);
                delivery.redelivered = n % 2 == 0;
                let tag = first.map_or(0, |first| first + n as u64);
                assert!(encode(&mut out, &prefix, tag, wire, &delivery).is_none());
            }
            out
        };
        let mut later = encoded(None);
        let tags = 0x0102_0304_0506_0708..=0x0102_0304_0506_0708 + bodies.len() as u64 - 1;
        give_tags(&mut later, prefix.len(), tags.clone(), frame_max);
        assert!(later == encoded(Some(*tags.start())));
    }
}
