//! A publisher's stream: publishes that repeat one another, taken together. Whatever does not change between them is
//! looked up once: the channel, its route, the queue, and the consumer that they go to.

use super::publish::{LOOKED_AT, count_publishes, holds};
use crate::broker::entries::Position;
use crate::broker::queue::{Life, Queue};
use crate::broker::topology::QueueKey;
use crate::connection::stream::{Stream, Streamed, single_ack, template_names};
use crate::shard::delivery::Outlet;
use crate::shard::member::CachedRoute;
use crate::shard::mesh::{Caller, DeliveryKind, Verdict};
use crate::shard::unacked::Unacked;
use crate::shard::{ConnectionId, Shard};

impl Shard {
    /// Takes the publishes at the front of `input` that repeat the last one of their channel. Returns whether there
    /// were any.
    pub(in crate::shard) fn publish_stream(&mut self, id: ConnectionId, input: &mut &[u8]) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let Some(slot) = member.wire.ready_channel(input) else { return false };
        let frame_max = member.wire.frame_max;
        let Some(channel) = member.channel_mut(slot) else { return false };
        let generation = channel.generation;
        if channel.tx.is_some() {
            return false;
        }
        let repeats = |cached: &mut Box<CachedRoute>| cached.valid && input.starts_with(&cached.template);
        let Some(cached) = channel.cached.take_if(repeats) else { return false };
        let mut count = 0;
        if holds(&self.topology, &cached, template_names(&cached.template)) {
            let settings = self.settings.clone();
            let mut stream = Stream::new(&cached.template, input, frame_max, LOOKED_AT, &settings.limits);
            if let Some(key) = cached.single {
                count = self.stream_into(key, &mut stream);
            } else {
                let caller = Caller { shard: self.id.0, connection: id, channel: slot, generation };
                while self.exhausted == 0
                    && let Some(streamed) = stream.next_publish()
                {
                    self.send_on(caller, &cached.route, &streamed.content, None);
                    count += 1;
                }
            }
            *input = &input[input.len() - stream.bytes_left()..];
        }
        if let Some(member) = self.members.get_mut(id)
            && let Some(channel) = member.channels.get_mut(slot as usize).and_then(Option::as_deref_mut)
        {
            channel.cached = Some(cached);
            if count > 0 {
                count_publishes(channel, slot, &mut member.confirms_due, count);
            }
        }
        count > 0
    }

    /// Takes the acknowledgements of single deliveries at the front of `input`, those of neighbours in a queue in one go.
    /// Returns whether there were any.
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
        while let Some(streamed) = stream.next_publish() {
            count += 1;
            if queue.life != Life::Alive {
                continue;
            }
            let taker = if queue.entries.is_idle() { self.choose_taker(&mut queue) } else { None };
            match taker {
                Some((taker, no_ack)) if queue.is_sole(taker) => {
                    count += self.stream_to(&mut queue, taker, no_ack, streamed, stream);
                }
                _ => self.enqueue_for(&mut queue, taker, &streamed.content, None, &mut None),
            }
        }
        self.put_back(queue);
        count
    }

    /// Hands a publish, and those behind it, to the one consumer whose turn it always is, for as long as it takes them.
    /// Returns how many of those behind it.
    fn stream_to<'a>(
        &mut self,
        queue: &mut Queue,
        id: u32,
        no_ack: bool,
        first: Streamed<'a>,
        stream: &mut Stream<'a>,
    ) -> u64 {
        let high = self.outbound_high_bytes();
        let key = queue.key;
        let Some((taker, entries)) = queue.taker_and_entries(id) else { return 0 };
        let outlet = Outlet::to_taker(&mut self.members, &self.owner, self.id, taker)
            .filter(|outlet| outlet.part_bytes_max() >= stream.body_bytes_max());
        let Some(mut outlet) = outlet else {
            self.enqueue_for(queue, Some((id, no_ack)), &first.content, None, &mut None);
            return 0;
        };
        let head = Outlet::head(&taker.prefix, first.content.names);
        let tag_at = taker.prefix.len();
        let (mut streamed, mut count) = (first, 0);
        loop {
            if no_ack {
                outlet.pass(&head, tag_at, &streamed, key, id, 0, DeliveryKind::NoAck);
            } else {
                let position = entries.push_taken(self.blocks.keep(&streamed.content), id);
                outlet.pass(&head, tag_at, &streamed, key, id, position, DeliveryKind::Consumer);
                taker.unacked += 1;
            }
            if outlet.bytes_waiting() >= high || !taker.has_credit() {
                break;
            }
            match stream.next_publish() {
                Some(next) => streamed = next,
                None => break,
            }
            count += 1;
        }
        queue.leave_if_spent(id);
        count
    }
}
