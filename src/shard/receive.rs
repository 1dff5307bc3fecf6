//! Bytes and batches in: the shard's receive buffer, parsing, parking, and what other shards say.

use bytes::Bytes;

use super::alarm::Hold;
use super::delivery::{give_tags, push_shared_body};
use super::ledger::Waiter;
use super::mesh::{Batch, Caller, Record, RemoteDelivery, Reply, Verdict, keys_before};
use super::turn::CloseKind;
use super::unacked::Unacked;
use super::{ConnectionId, Shard};
use crate::amqp::{Content, Stamp};
use crate::broker::entries::Position;
use crate::broker::event;
use crate::broker::topology::QueueKey;
use crate::connection::Phase;
use crate::connection::command::Next;
use crate::time::Now;

/// Why parsing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// More bytes are needed.
    Incomplete,
    /// Something inside the broker is waited for.
    Parked,
    /// The connection reads no more.
    Ended,
}

impl Shard {
    /// The next connection to be read whose waiting is over. What was read of it before is parsed here.
    pub fn next_resumed(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.members.resumed.pop_front() {
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            member.resuming = false;
            if !self.may_go_on(id) {
                continue;
            }
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            member.parked = false;
            if member.leftover_at < member.leftover.len() {
                // Parsed in its own buffer: moving it for each command would be quadratic.
                let leftover = std::mem::take(&mut member.leftover);
                let at = std::mem::take(&mut member.leftover_at);
                let (consumed, stop) = self.parse(id, leftover.get(at..).unwrap_or(&[]));
                let at = at + consumed;
                if at < leftover.len()
                    && stop != Stop::Ended
                    && let Some(member) = self.members.get_mut(id)
                {
                    member.leftover = leftover;
                    member.leftover_at = at;
                }
                self.members.weigh(id);
                if stop != Stop::Incomplete {
                    continue;
                }
            }
            if let Some(member) = self.members.get_mut(id)
                && std::mem::take(&mut member.unread)
            {
                return Some(id);
            }
        }
        None
    }

    /// Where the next bytes of a connection go; `None` when it is not to be read now (it will come by
    /// [`Shard::next_resumed`]).
    pub fn receive_buffer(&mut self, id: ConnectionId) -> Option<&mut [u8]> {
        let read_max = self.read_bytes_max();
        let member = self.members.get_mut(id)?;
        if member.parked {
            member.unread = true;
            return None;
        }
        let leftover = std::mem::take(&mut member.leftover);
        let at = std::mem::take(&mut member.leftover_at);
        let rest = leftover.get(at..).unwrap_or(&[]);
        if self.ring.len() < rest.len() + read_max {
            self.ring.resize(rest.len() + read_max, 0);
        }
        self.prefix = rest.len();
        if let Some(place) = self.ring.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        self.ring.get_mut(self.prefix..self.prefix + read_max)
    }

    /// Takes `count` bytes that were read into the receive buffer.
    pub fn receive(&mut self, _now: Now, id: ConnectionId, count: usize) {
        let total = self.prefix + count;
        self.prefix = 0;
        let Some(member) = self.members.get_mut(id) else { return };
        member.heartbeat.received |= count > 0;
        member.received_bytes += count as u64;
        // Lent to the parse, so that commands can borrow from it while the shard works.
        let ring = std::mem::take(&mut self.ring);
        let bytes = ring.get(..total).unwrap_or(&[]);
        let (consumed, stop) = self.parse(id, bytes);
        let rest = bytes.get(consumed..).unwrap_or(&[]);
        if !rest.is_empty() && stop != Stop::Ended && self.members.get(id).is_some() {
            // As much memory as there are bytes: a connection that has not logged in may hold no more.
            let leftover = rest.to_vec();
            if let Some(member) = self.members.get_mut(id) {
                member.leftover = leftover;
                member.leftover_at = 0;
            }
        }
        self.members.weigh(id);
        self.ring = ring;
    }

    /// Runs the commands in `bytes`; returns how many bytes they took and why it stopped.
    fn parse(&mut self, id: ConnectionId, bytes: &[u8]) -> (usize, Stop) {
        let mut input = bytes;
        let stop = loop {
            // Publishers that are held are so behind each single publish.
            if !self.alarms.hold() && self.publish_stream(id, &mut input) {
                if self.exhausted != 0 && !self.may_go_on(id) {
                    break self.park(id);
                }
                continue;
            }
            if self.ack_stream(id, &mut input) {
                continue;
            }
            let Some(member) = self.members.get_mut(id) else {
                break Stop::Ended;
            };
            match member.wire.next_command(&mut input, &self.settings.limits) {
                Ok(Next::Command(command)) => {
                    self.command(id, command);
                    if !self.may_go_on(id) {
                        break self.park(id);
                    }
                }
                Ok(Next::Incomplete) => break Stop::Incomplete,
                Ok(Next::Parked) => break self.park(id),
                Err(exception) => {
                    self.close_connection(id, exception);
                    // Where frames can still be followed, close-ok is to be found among them.
                    if self.members.get(id).is_none_or(|member| member.wire.broken) {
                        break Stop::Ended;
                    }
                }
            }
        };
        self.write_confirms(id);
        (bytes.len() - input.len(), stop)
    }

    fn park(&mut self, id: ConnectionId) -> Stop {
        if let Some(member) = self.members.get_mut(id) {
            member.parked = true;
        }
        Stop::Parked
    }

    /// Whether the connection may be parsed on: it takes our answers, and its publishes have credit.
    #[inline]
    fn may_go_on(&mut self, id: ConnectionId) -> bool {
        let exhausted = std::mem::take(&mut self.exhausted);
        self.returned = false;
        let Some(member) = self.members.get_mut(id) else { return true };
        if (exhausted | member.lacks_credit) != 0 {
            member.lacks_credit |= exhausted;
            if !self.has_credit(id) {
                return false;
            }
        }
        let park_bytes = self.settings.limits.outbound_park_bytes;
        self.members.get(id).is_none_or(|member| {
            let held = member.hold != Hold::None && (member.wire.phase == Phase::Running || member.proving.is_some());
            !held && member.outbound.len() < park_bytes
        })
    }

    /// Whether every shard that the connection's publishes have used up has credit again; if not, it is told when.
    #[cold]
    fn has_credit(&mut self, id: ConnectionId) -> bool {
        let Some(member) = self.members.get_mut(id) else { return true };
        for shard in 0..self.count {
            let bit = 1 << shard;
            if member.lacks_credit & bit == 0 {
                continue;
            }
            if self.mesh.has_credit(shard) {
                member.lacks_credit &= !bit;
            } else if member.awaits_credit & bit == 0 {
                member.awaits_credit |= bit;
                self.mesh.wait_for_credit(shard, id);
            }
        }
        member.lacks_credit == 0
    }

    /// The peer is gone.
    pub fn disconnected(&mut self, _now: Now, id: ConnectionId) {
        self.prefix = 0;
        self.drop_connection(id, CloseKind::Flushed);
    }

    /// The peer gave no sign of life.
    pub(super) fn disconnected_by_us(&mut self, id: ConnectionId) {
        self.drop_connection(id, CloseKind::Reset);
    }

    /// Forgets a connection and all that depends on it.
    pub(super) fn drop_connection(&mut self, id: ConnectionId, how: CloseKind) {
        let Some(member) = self.members.remove(id, how) else {
            return;
        };
        self.alarms.forget(id);
        self.count_out(member.vhost, member.login.user.clone(), member.counted);
        for channel in member.channels.iter().flatten() {
            self.tell_channel_closed(id, &member.login.user, channel);
        }
        self.tell_connection_closed(&member);
        if !member.ended {
            self.end_connection(id, member.touched, member.exclusive);
        }
    }

    /// Takes a batch from another shard.
    pub fn message(&mut self, _now: Now, mut batch: Batch) {
        self.apply_topology(batch.version);
        let from = batch.from;
        let mut records = std::mem::take(&mut batch.records);
        let mut published = 0;
        for record in records.drain(..) {
            self.record(from.0, record, &batch.content, &mut published);
        }
        batch.records = records;
        if published > 0 {
            self.took_publishes(from, published);
        }
        // Not for publishes of this shard to wait for.
        self.ledger.ticket();
        if let Some(ticket) = batch.ticket {
            self.ledger.wait(Waiter::Peer(from.0, ticket));
        }
        self.mesh.give_back(batch);
    }

    fn record(&mut self, from: u8, record: Record, bytes: &[u8], published: &mut i64) {
        let part = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or(&[]);
        match record {
            Record::Publish { keys, at, len, own } => {
                let record = own.as_deref().unwrap_or_else(|| part(at, len));
                self.enqueue_from_afar(keys_before(bytes, at, keys), record, own.as_ref(), published);
                self.refused = false;
            }
            Record::PublishAsking { publish: (caller, number), keys, at, len, own } => {
                let record = own.as_deref().unwrap_or_else(|| part(at, len));
                self.enqueue_from_afar(keys_before(bytes, at, keys), record, own.as_ref(), published);
                if std::mem::take(&mut self.refused) {
                    self.mesh.send(from, Record::Refused(caller, number));
                }
            }
            Record::Refused(caller, number) => self.publish_refused(caller, number),
            Record::Stream { keys, at, len } => {
                *published += len as i64;
                self.stream_from_afar(keys_before(bytes, at, keys), part(at, len));
            }
            Record::Deliver(remote) => {
                let frames = part(remote.at, remote.len);
                self.delivered(from, remote, frames);
            }
            Record::Settle { key, taker, from, to, verdict } => self.settle(key, taker, from, to, verdict),
            Record::Queue(caller, key, request) => self.queue_request(caller, key, *request),
            Record::Names(caller, request) => self.decide(caller, *request),
            Record::Traced(delivery) => self.traced(&delivery),
            Record::RemoveQueue(key, user) => {
                self.queue_removal(key, from, user.as_deref().unwrap_or(event::NOBODY));
            }
            Record::Bounce(caller) => self.reply(caller, Reply::Retry),
            Record::Answer(caller, reply) => self.answered(caller, reply),
            Record::AnswerWhenDurable(caller, reply) => self.answered_when_durable(from, caller, reply),
            Record::Gone(caller) => self.gone(caller, Vec::new()),
            Record::GoneDone(caller) => self.gone_done(caller),
            Record::Overdue(caller, key, taker) => self.consumer_overdue(caller, key, taker),
            Record::Tally(tally) => self.tallied(&tally),
            Record::Ask(question) => self.asked(*question),
            Record::Admitted(admission) => self.admitted(*admission),
            Record::Cancelled(caller, tag) => self.consumer_lost(caller, &tag),
            Record::TxBegin(tx) => {
                self.parts.insert(tx);
                self.ledger.begin_part(tx);
            }
            Record::TxEnd(tx) => {
                self.ledger.end_part();
                // In the batch that is pushed behind this turn's submission.
                self.ledger.submit_soon();
                self.mesh.send(from, Record::TxSubmitted(tx));
            }
            Record::TxSubmitted(tx) => self.tx_submitted(tx, from),
            Record::TxCommitted(tx) => self.part_committed(tx),
            Record::Durable(ticket) => {
                self.ledger.answered(from, ticket);
                self.settle_ledger();
            }
            Record::PublishCredit(bytes) => {
                self.deaths.credited(from);
                for id in self.mesh.credited(super::ShardId(from), bytes) {
                    if let Some(member) = self.members.get_mut(id) {
                        member.awaits_credit &= !(1 << from);
                    }
                    self.members.resume(id);
                }
            }
            Record::LinkCredit(connection, bytes) => self.link_credited(from, connection, bytes),
            Record::GlobalQos(caller, global) => self.set_global(caller, global),
            Record::AskGrant(caller, wanted) => self.grant_asked(from, caller, wanted),
            Record::Grant(caller, count) => self.granted(caller, count),
            Record::GrantBack(caller, count) => self.grant_back(caller, count),
            Record::FindReply(caller, address) => self.find_reply(caller, &address),
            Record::DirectReply { address, at, len } => {
                let content = Content::from_record(part(at, len));
                *published += content.record_bytes() as i64;
                self.direct_reply(&address, &content);
            }
        }
    }

    /// Puts a message of another shard into queues of this one.
    fn enqueue_from_afar(
        &mut self,
        keys: impl ExactSizeIterator<Item = QueueKey>,
        record: &[u8],
        own: Option<&Bytes>,
        published: &mut i64,
    ) {
        let content = Content::from_record(record);
        *published += content.record_bytes() as i64;
        // It was published when its shard says.
        let now = self.keep_with(Stamp::of(record));
        self.enqueue(keys, &content, own);
        self.keep_with(now);
    }

    /// Deliveries from a queue of another shard: get their tags and go out.
    fn delivered(&mut self, owner: u8, remote: RemoteDelivery, frames: &[u8]) {
        let Caller { connection, .. } = remote.to;
        let Some(member) = self.members.sink_of(connection) else { return };
        let bytes = (frames.len() + remote.body.as_ref().map_or(0, |body| body.len())) as i64;
        match member.foreign.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, credit)) => *credit += bytes,
            None => member.foreign.push((owner, bytes)),
        }
        let frame_max = member.wire.frame_max;
        // A channel that has ended meanwhile: its owner requeues all it holds by itself.
        let Some(channel) = member.channels.get_mut(remote.to.channel as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let closing = channel.pending.as_ref().is_some_and(|pending| pending.after == super::member::After::Close);
        if channel.generation != remote.to.generation || closing {
            return;
        }
        let first = channel.delivery_tag + 1;
        channel.delivery_tag += u64::from(remote.count);
        let tags = first..=channel.delivery_tag;
        if remote.kind.needs_ack() {
            let consumer = remote.kind == super::mesh::DeliveryKind::Consumer;
            for (position, tag) in (remote.position..).zip(tags.clone()) {
                channel.unacked.push(Unacked::new(tag, position, remote.key, remote.taker, owner, consumer));
            }
            if consumer && let Some(global) = &mut channel.global {
                global.granted = global.granted.saturating_sub(remote.count);
            }
        }
        let number = channel.number;
        let out = member.outbound.buffer();
        let at = out.len();
        out.extend_from_slice(frames);
        give_tags(out.get_mut(at..).unwrap_or(&mut []), remote.tag_at.into(), tags, frame_max);
        if let Some(body) = &remote.body {
            push_shared_body(&mut member.outbound, number, frame_max, body);
        }
    }

    /// Tells the owner of a delivery what became of it.
    #[inline]
    pub(super) fn settle_delivery(&mut self, unacked: &Unacked, verdict: Verdict) {
        self.settle_deliveries(unacked, unacked.position, verdict);
    }

    /// Tells the owner of a delivery, and of those behind it in its queue up to the position `to`, what became of them.
    #[inline]
    pub(super) fn settle_deliveries(&mut self, first: &Unacked, to: Position, verdict: Verdict) {
        if first.owner == self.id.0 {
            self.settle(first.key, first.taker, first.position, to, verdict);
        } else {
            self.mesh.settle(first.owner, first.key, first.taker, first.position, to, verdict);
        }
    }
}
