//! A publisher's stream: publishes that repeat one another, taken together. Whatever does not change between them is
//! looked up once: the channel, its route, the queue, and the consumer that they go to.

use super::publish::{LOOKED_AT, count_publishes};
use crate::amqp::Content;
use crate::broker::entries::Position;
use crate::broker::queue::{Life, Queue};
use crate::broker::topology::QueueKey;
use crate::connection::stream::{Stream, publish_names, single_ack};
use crate::shard::delivery::{Delivery, Noted, Outlet};
use crate::shard::mesh::{Caller, DeliveryKind, Verdict};
use crate::shard::unacked::Unacked;
use crate::shard::{ConnectionId, Shard};

impl Shard {
    /// Takes the publish at the front of `input`, and those behind it that repeat it, if its route is known. Returns
    /// whether there were any.
    pub(in crate::shard) fn publish_stream(&mut self, id: ConnectionId, input: &mut &[u8]) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let Some(slot) = member.wire.ready_channel(input) else { return false };
        let (frame_max, vhost) = (member.wire.frame_max, member.vhost);
        let Some(channel) = member.channel_mut(slot) else { return false };
        let generation = channel.generation;
        let Some(names) = publish_names(input, channel.number) else { return false };
        if channel.tx.is_some() {
            return false;
        }
        let Some(cached) = self.routes.take(vhost, names, &mut channel.route_at, &self.topology) else { return false };
        let route_at = channel.route_at;
        let settings = self.settings.clone();
        let mut stream = Stream::new(names, input, frame_max, LOOKED_AT, &settings.limits);
        let mut count = 0;
        if let Some(key) = cached.single {
            count = self.stream_into(key, &mut stream);
        } else {
            let caller = Caller { shard: self.id.0, connection: id, channel: slot, generation };
            while self.exhausted == 0
                && let Some(content) = stream.next_publish()
            {
                self.send_on(caller, &cached.route, &content, None);
                count += 1;
            }
        }
        let left = stream.bytes_left();
        self.routes.put_back(cached, route_at);
        *input = &input[input.len() - left..];
        if count > 0
            && let Some(member) = self.members.get_mut(id)
            && let Some(channel) = member.channels.get_mut(slot as usize).and_then(Option::as_deref_mut)
        {
            count_publishes(channel, slot, &mut member.confirms_due, count);
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

    /// Puts a stream into one queue of this shard. Returns how many there were.
    fn stream_into(&mut self, key: QueueKey, stream: &mut Stream<'_>) -> u64 {
        let Some(mut queue) = self.lift(key) else { return 0 };
        let mut count = 0;
        while let Some(content) = stream.next_publish() {
            count += match queue.next_taker() {
                Some(id) if queue.life == Life::Alive && queue.entries.is_idle() && queue.is_sole(id) => {
                    self.stream_to(&mut queue, id, content, stream)
                }
                _ => {
                    self.enqueue_in(&mut queue, &content, None, &mut None);
                    1
                }
            };
        }
        self.put_back(queue);
        count
    }

    /// Hands a publish, and those behind it, to the one consumer whose turn it always is, for as long as it takes them.
    /// Returns how many.
    fn stream_to<'a>(&mut self, queue: &mut Queue, id: u32, first: Content<'a>, stream: &mut Stream<'a>) -> u64 {
        let high = self.outbound_high_bytes();
        let key = queue.key;
        let Some((taker, entries)) = queue.taker_and_entries(id) else { return 0 };
        let outlet = Outlet::to_taker(&mut self.members, &self.owner, self.id, taker)
            .filter(|outlet| outlet.bytes_waiting() < high && outlet.part_bytes_max() >= stream.body_bytes_max());
        let Some(mut outlet) = outlet else {
            self.enqueue_in(queue, &first, None, &mut None);
            return 1;
        };
        let mut head = None;
        let (mut content, mut count) = (first, 0);
        loop {
            let (position, kind) = if taker.no_ack {
                (0, DeliveryKind::NoAck)
            } else {
                taker.unacked += 1;
                (entries.push_taken(self.blocks.keep(&content), id), DeliveryKind::Consumer)
            };
            count += 1;
            if count == 1 {
                outlet.deliver(&taker.prefix, &Delivery::new(content, None, key, id, position, kind));
            } else {
                let head = head.get_or_insert_with(|| Outlet::head(&taker.prefix, content.names));
                outlet.pass(head, taker.prefix.len(), &content, Noted { key, taker: id, position, kind });
            }
            if outlet.bytes_waiting() >= high || !taker.has_credit() {
                break;
            }
            match stream.next_publish() {
                Some(next) => content = next,
                None => break,
            }
        }
        queue.leave_if_spent(id);
        count
    }
}
