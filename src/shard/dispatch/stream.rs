//! A publisher's stream: publishes that repeat one another, taken together. Whatever does not change between them is
//! looked up once: the channel, its route, the queue, and the consumer that they go to.

use smallvec::SmallVec;

use super::publish::asks_nothing;
use crate::amqp::Content;
use crate::amqp::properties::is_persistent;
use crate::broker::entries::{Entries, Position};
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::{Life, Queue, Taker};
use crate::broker::routing::Route;
use crate::broker::topology::QueueKey;
use crate::connection::stream::{Stream, Taken, publish_names, single_ack};
use crate::shard::delivery::Delivery;
use crate::shard::ledger::Ledger;
use crate::shard::mesh::{Caller, DeliveryKind, Verdict};
use crate::shard::outlet::{self, Noted, Outlet, Way, Ways};
use crate::shard::unacked::Unacked;
use crate::shard::{ConnectionId, Shard};

/// Publishes that go to one of several queues before the next queue gets them.
const BATCH_MAX: usize = 64;
/// No further publishes are added to so many bytes.
const BATCH_BYTES_MAX: usize = 64 << 10;

impl Shard {
    /// Takes the publish at the front of `input`, and those behind it that repeat it, if its route is known. Returns
    /// whether there were any.
    pub(in crate::shard) fn publish_stream(&mut self, id: ConnectionId, input: &mut &[u8]) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let Some(slot) = member.wire.ready_channel(input) else { return false };
        let (frame_max, vhost, restricted) = (member.wire.frame_max, member.vhost, member.restricted);
        let Some(channel) = member.channel_mut(slot) else { return false };
        let generation = channel.generation;
        let Some(names) = publish_names(input, channel.number) else { return false };
        if channel.tx.is_some() || restricted {
            return false;
        }
        let Some(cached) = self.routes.take(vhost, names, &mut channel.route_at, &self.topology) else { return false };
        let route_at = channel.route_at;
        if cached.route.may_reject {
            // One by one, for each may be refused.
            self.routes.put_back(cached, route_at);
            return false;
        }
        let mut stream = Stream::new(names, input, frame_max, asks_nothing, &self.settings.limits);
        let count;
        if let Some(key) = cached.single {
            count = self.stream_into(key, &mut [], || stream.next_publish());
        } else {
            let caller = Caller { shard: self.id.0, connection: id, channel: slot, generation };
            count = self.stream_along(caller, &cached.route, &mut stream);
        }
        let left = stream.left().len();
        if cached.route.is_unroutable() {
            self.counted.dropped += count;
        }
        self.routes.put_back(cached, route_at);
        *input = &input[input.len() - left..];
        if count > 0 {
            self.count_publish(id, slot, count);
        }
        count > 0
    }

    /// Takes the acknowledgements of single deliveries at the front of `input`, those of neighbours in a queue in one
    /// go. Returns whether there were any.
    pub(in crate::shard) fn ack_stream(&mut self, id: ConnectionId, input: &mut &[u8]) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let Some(slot) = member.wire.ready_channel(input) else { return false };
        let Some(channel) = member.channel_mut(slot) else { return false };
        let number = channel.number;
        if single_ack(input, number).is_none() || channel.tx.is_some() || channel.global.is_some() {
            return false;
        }
        // Out of the channel while it is worked on.
        let mut unacked = std::mem::take(&mut channel.unacked);
        let mut run: Option<(Unacked, Position)> = None;
        while let Some((tag, rest)) = single_ack(input, number)
            && let Some(next) = unacked.take(tag)
        {
            *input = rest;
            run = Some(match run {
                Some((first, last)) if next.continues(&first, last + 1) => (first, next.position),
                Some((first, last)) => {
                    self.settle_deliveries(&first, last, Verdict::Settle);
                    (next, next.position)
                }
                None => (next, next.position),
            });
        }
        if let Some(channel) = self.members.get_mut(id).and_then(|member| member.channel_mut(slot)) {
            channel.unacked = unacked;
        }
        // None: a tag that is unknown, which is for others to say.
        let Some((first, last)) = run else { return false };
        self.settle_deliveries(&first, last, Verdict::Settle);
        true
    }

    /// Sends a stream to several queues, or to other shards, some publishes at a time. Returns how many there were.
    fn stream_along(&mut self, caller: Caller, route: &Route, stream: &mut Stream<'_>) -> u64 {
        let mut count = 0;
        for (owner, _) in &route.remote {
            self.touch(caller, *owner);
        }
        let looks = self.ledger.on && route.remote_durable != 0;
        while self.exhausted == 0 {
            let input = stream.left();
            let mut asks = false;
            let some = self.stream_some(&route.local, || {
                let content = stream.next_publish();
                let keeps = |content: Content<'_>| route.keeps || is_persistent(content.properties);
                asks |= looks && content.is_some_and(keeps);
                content
            });
            if some == 0 {
                break;
            }
            count += some;
            let frames = input.get(..input.len() - stream.left().len()).unwrap_or(&[]);
            for (owner, keys) in &route.remote {
                if asks {
                    self.ask_owner_to_keep(*owner, route);
                }
                if !self.mesh.publish_stream(*owner, keys, frames) {
                    self.exhausted |= 1 << *owner;
                }
            }
        }
        count
    }

    /// Puts some publishes into queues of this shard: each queue takes all of them before the next one does. Returns
    /// how many there were.
    fn stream_some<'a>(&mut self, keys: &[QueueKey], mut next: impl FnMut() -> Option<Content<'a>>) -> u64 {
        let mut bytes = 0;
        let mut count = 0;
        if keys.is_empty() {
            while bytes < BATCH_BYTES_MAX
                && let Some(content) = next()
            {
                bytes += content.record_bytes();
                count += 1;
            }
            return count;
        }
        let mut some: SmallVec<[Content<'_>; BATCH_MAX]> = SmallVec::new();
        while some.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(content) = next()
        {
            bytes += content.record_bytes();
            some.push(content);
        }
        let mut kept = [None; BATCH_MAX];
        for key in keys {
            let mut contents = some.iter().copied();
            self.stream_into(*key, &mut kept, || contents.next());
        }
        self.ledger.write_fan(&some);
        some.len() as u64
    }

    /// Puts publishes of a stream on another shard into queues of this one.
    pub(in crate::shard) fn stream_from_afar(&mut self, keys: impl Iterator<Item = QueueKey>, frames: &[u8]) {
        let mut taken = Taken::new(frames);
        let keys: SmallVec<[QueueKey; 8]> = keys.collect();
        if let [key] = keys[..] {
            self.stream_into(key, &mut [], || taken.next_publish());
            return;
        }
        while self.stream_some(&keys, || taken.next_publish()) > 0 {}
    }

    /// Puts publishes into one queue of this shard, each kept where `kept` says when it goes to others, too. Returns
    /// how many there were.
    fn stream_into<'a>(
        &mut self,
        key: QueueKey,
        kept: &mut [Option<MessageRef>],
        mut next: impl FnMut() -> Option<Content<'a>>,
    ) -> u64 {
        let Some(mut queue) = self.lift(key) else { return 0 };
        let mut count = 0;
        let several = !kept.is_empty();
        while let Some(content) = next() {
            match queue.next_taker() {
                Some(id)
                    if queue.life == Life::Alive
                        && queue.ruled.is_none()
                        && queue.entries.is_idle()
                        && queue.is_sole(id) =>
                {
                    count += self.stream_to(&mut queue, id, content, kept, count, &mut next);
                }
                _ => {
                    let index = several.then_some(count as u32);
                    self.enqueue_in(&mut queue, &content, None, kept.get_mut(count).unwrap_or(&mut None), index);
                    count += 1;
                }
            };
        }
        self.put_back(queue);
        count as u64
    }

    /// Hands a publish, number `begun` of those that `kept` is for, and those behind it to the one consumer whose turn
    /// it always is, for as long as it takes them. Returns how many.
    fn stream_to<'a>(
        &mut self,
        queue: &mut Queue,
        id: u32,
        first: Content<'a>,
        kept: &mut [Option<MessageRef>],
        begun: usize,
        next: &mut impl FnMut() -> Option<Content<'a>>,
    ) -> usize {
        let marks = self.marks();
        let (key, stored_as) = (queue.key, self.ledger.stored_as(queue));
        let Some((taker, entries)) = queue.taker_and_entries(id) else { return 0 };
        let (here, members, mesh, owner) = (self.id, &mut self.members, &mut self.mesh, &mut self.owner);
        let way = Ways { here, members, mesh, owner, marks }.open_to(taker);
        let Some(way) = way else {
            let index = (!kept.is_empty()).then_some(begun as u32);
            self.enqueue_in(queue, &first, None, kept.get_mut(begun).unwrap_or(&mut None), index);
            return 1;
        };
        let (blocks, ledger) = (&mut self.blocks, &mut self.ledger);
        let passage = Passage { key, id, taker, entries, blocks, ledger, stored_as, kept, begun };
        let no_ack = passage.taker.no_ack;
        let count = match (way, no_ack) {
            (Way::Here(outlet), true) => passage.into::<false>(outlet, first, next),
            (Way::Here(outlet), false) => passage.into::<true>(outlet, first, next),
            (Way::There(outlet), true) => passage.into::<false>(outlet, first, next),
            (Way::There(outlet), false) => passage.into::<true>(outlet, first, next),
        };
        self.counted.deliver(if no_ack { DeliveryKind::NoAck } else { DeliveryKind::Consumer }, count as u64);
        queue.leave_if_spent(id);
        count
    }
}

/// An idle queue, and the consumer that takes whatever comes.
struct Passage<'a> {
    key: QueueKey,
    id: u32,
    taker: &'a mut Taker,
    entries: &'a mut Entries,
    blocks: &'a mut Blocks,
    ledger: &'a mut Ledger,
    /// The queue's number in the store, if that may have to keep what comes.
    stored_as: Option<u64>,
    kept: &'a mut [Option<MessageRef>],
    /// Which of those that `kept` is for is the first.
    begun: usize,
}

impl Passage<'_> {
    /// Hands publishes to the consumer, who acknowledges them or not, for as long as it takes them. Returns how many.
    #[inline]
    fn into<'a, const ACKS: bool>(
        self,
        mut outlet: impl Outlet,
        first: Content<'a>,
        next: &mut impl FnMut() -> Option<Content<'a>>,
    ) -> usize {
        let Passage { key, id, taker, entries, blocks, ledger, stored_as, kept, begun } = self;
        let mut head = None;
        let (mut content, mut count) = (first, 0);
        loop {
            let (mut own, mut position, mut kind) = (None, 0, DeliveryKind::NoAck);
            if ACKS {
                let message = blocks.keep_once(&content, None, kept.get_mut(begun + count).unwrap_or(&mut None));
                own = blocks.own(message);
                let stored_as = stored_as.filter(|_| is_persistent(content.properties));
                position = entries.push_taken(message, id, stored_as.is_some());
                if let Some(stored_as) = stored_as {
                    let index = (!kept.is_empty()).then_some((begun + count) as u32);
                    ledger.message(index, stored_as, position, &content, true);
                }
                kind = DeliveryKind::Consumer;
                taker.unacked += 1;
            }
            count += 1;
            if count == 1 || own.is_some() || content.body.len() > outlet.part_bytes_max() {
                outlet.deliver(&taker.prefix, &Delivery::new(content, own, key, id, position, kind));
            } else {
                let head = head.get_or_insert_with(|| outlet::head(&taker.prefix, content.names));
                outlet.pass(head, taker.prefix.len(), &content, Noted { key, taker: id, position, kind });
            }
            if !outlet.is_open() || !taker.has_credit() {
                return count;
            }
            match next() {
                Some(next) => content = next,
                None => return count,
            }
        }
    }
}
