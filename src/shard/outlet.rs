//! Where a consumer's deliveries go: into the outbound buffer of a connection here, or into the batch for its shard.

use bytes::Bytes;
use smallvec::SmallVec;

use super::delivery::{Delivery, append_frames, encode, push_shared_body};
use super::member::ChannelState;
use super::members::Members;
use super::mesh::{Caller, ChannelWire, Deliveries, DeliveryKind, Mesh, RemoteDelivery, ShardId};
use super::owner::Owner;
use super::unacked::Unacked;
use crate::amqp::Content;
use crate::amqp::frame::{self, END};
use crate::broker::entries::Position;
use crate::broker::queue::Taker;
use crate::broker::topology::QueueKey;
use crate::connection::outbound::Outbound;

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

impl Noted {
    /// What is noted of this delivery.
    #[inline]
    fn of(delivery: &Delivery<'_>) -> Noted {
        let Delivery { key, taker, position, kind, .. } = *delivery;
        Noted { key, taker, position, kind }
    }
}

/// A channel that takes deliveries, looked up once for as many as there are.
pub trait Outlet {
    /// Whether its connection takes more.
    fn is_open(&self) -> bool;

    /// Encodes a delivery and notes it as unacknowledged if that is due. Returns its bytes.
    fn deliver(&mut self, prefix: &[u8], delivery: &Delivery<'_>) -> usize;

    /// Passes a publish on as it was received: behind the [`head`] of deliveries to this consumer, whose delivery tag
    /// is at `tag_at`, its frames with another channel number.
    fn pass(&mut self, head: &[u8], tag_at: usize, content: &Content<'_>, noted: Noted);

    /// The most that goes into one body frame.
    fn part_bytes_max(&self) -> usize;
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

/// Appends what [`Outlet::pass`] does.
#[inline(never)]
fn append_passed(out: &mut Vec<u8>, head: &[u8], tag: Option<(usize, u64)>, content: &Content<'_>, number: u16) {
    let at = out.len();
    out.reserve(head.len() + content.frames.len());
    out.extend_from_slice(head);
    if let Some((tag_at, tag)) = tag
        && let Some(place) = out.get_mut(at + tag_at..at + tag_at + 8)
    {
        place.copy_from_slice(&tag.to_be_bytes());
    }
    append_frames(out, content, number);
}

/// A channel of this shard.
pub struct Here<'a> {
    outbound: &'a mut Outbound,
    channel: &'a mut ChannelState,
    wire: ChannelWire,
    shard: u8,
    high: usize,
}

impl<'a> Here<'a> {
    /// The way to a channel, which is open while fewer than `high` bytes wait for its socket; `None` when it is gone.
    #[inline]
    pub fn find(members: &'a mut Members, to: Caller, wire: ChannelWire, high: usize) -> Option<Here<'a>> {
        let member = members.sink_of(to.connection)?;
        let channel = member.channels.get_mut(to.channel as usize)?.as_deref_mut()?;
        if channel.generation != to.generation {
            return None;
        }
        Some(Here { outbound: &mut member.outbound, channel, wire, shard: to.shard, high })
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
}

impl Outlet for Here<'_> {
    #[inline]
    fn is_open(&self) -> bool {
        self.outbound.len() < self.high
    }

    #[inline]
    fn deliver(&mut self, prefix: &[u8], delivery: &Delivery<'_>) -> usize {
        let tag = self.next_tag(Noted::of(delivery));
        let before = self.outbound.len();
        if let Some(body) = encode(self.outbound.buffer(), prefix, tag, self.wire, delivery) {
            push_shared_body(self.outbound, self.wire.number, self.wire.frame_max, &body);
        }
        self.outbound.len() - before
    }

    #[inline(always)]
    fn pass(&mut self, head: &[u8], tag_at: usize, content: &Content<'_>, noted: Noted) {
        let tag = self.next_tag(noted);
        append_passed(self.outbound.buffer(), head, Some((tag_at, tag)), content, self.wire.number);
    }

    #[inline]
    fn part_bytes_max(&self) -> usize {
        frame::part_bytes_max(self.wire.frame_max)
    }
}

/// A channel of another shard, which gives the delivery tags.
pub struct There<'a> {
    deliveries: Deliveries<'a>,
    window: &'a mut i64,
    under_way: &'a mut i64,
    to: Caller,
    wire: ChannelWire,
    closed_window: i64,
}

impl There<'_> {
    /// Notes what was appended since the content had `before` bytes. Returns its bytes.
    #[inline]
    fn add(&mut self, tag_at: usize, before: usize, body: Option<Bytes>, noted: Noted) -> usize {
        let len = self.deliveries.content().len() - before;
        let bytes = len + body.as_ref().map_or(0, Bytes::len);
        *self.window -= bytes as i64;
        *self.under_way += bytes as i64;
        let Noted { key, taker, position, kind } = noted;
        if body.is_some() || !self.deliveries.extend(position, len) {
            let (to, count, tag_at) = (self.to, 1, tag_at as u16);
            let body = body.map(Box::new);
            let first = RemoteDelivery { to, key, taker, position, count, kind, at: before, len, tag_at, body };
            self.deliveries.begin(first);
        }
        bytes
    }
}

impl Outlet for There<'_> {
    #[inline]
    fn is_open(&self) -> bool {
        *self.window > self.closed_window
    }

    #[inline]
    fn deliver(&mut self, prefix: &[u8], delivery: &Delivery<'_>) -> usize {
        let out = self.deliveries.content();
        let before = out.len();
        let body = encode(out, prefix, 0, self.wire, delivery);
        self.add(prefix.len(), before, body, Noted::of(delivery))
    }

    #[inline(always)]
    fn pass(&mut self, head: &[u8], tag_at: usize, content: &Content<'_>, noted: Noted) {
        let out = self.deliveries.content();
        let before = out.len();
        append_passed(out, head, None, content, self.wire.number);
        self.add(tag_at, before, None, noted);
    }

    #[inline]
    fn part_bytes_max(&self) -> usize {
        frame::part_bytes_max(self.wire.frame_max)
    }
}

/// The way to a consumer.
pub(super) enum Way<'a> {
    Here(Here<'a>),
    There(There<'a>),
}

/// When connections take no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// So many bytes wait for a socket of this shard.
    pub(super) high: usize,
    /// The window of a connection of another shard is not above this.
    pub(super) closed_window: i64,
}

impl Marks {
    /// They always do.
    pub(super) const NONE: Marks = Marks { high: usize::MAX, closed_window: i64::MIN };
}

/// The parts of a shard that ways lead through, apart from the blocks that deliveries are read from.
pub(super) struct Ways<'a> {
    pub(super) here: ShardId,
    pub(super) members: &'a mut Members,
    pub(super) mesh: &'a mut Mesh,
    pub(super) owner: &'a mut Owner,
    pub(super) marks: Marks,
}

impl<'a> Ways<'a> {
    /// The way to a taker's channel; `None` when that is gone.
    #[inline]
    pub(super) fn to(self, taker: &Taker) -> Option<Way<'a>> {
        let holder = self.owner.holders.get(taker.holder as usize)?;
        if holder.caller.shard == self.here.0 {
            return Here::find(self.members, holder.caller, holder.wire, self.marks.high).map(Way::Here);
        }
        let (to, wire) = (holder.caller, holder.wire);
        Some(Way::There(There {
            deliveries: self.mesh.deliveries(to.shard)?,
            window: &mut self.owner.links.get_mut(holder.link as usize)?.window,
            under_way: &mut self.owner.under_way,
            to,
            wire,
            closed_window: self.marks.closed_window,
        }))
    }

    /// The way to a consumer that takes a delivery now, and for which only its own prefetch limit counts.
    #[inline]
    pub(super) fn open_to(self, taker: &Taker) -> Option<Way<'a>> {
        if self.owner.holders.get(taker.holder as usize)?.wire.global {
            return None;
        }
        self.to(taker).filter(|way| match way {
            Way::Here(outlet) => outlet.is_open(),
            Way::There(outlet) => outlet.is_open(),
        })
    }
}
