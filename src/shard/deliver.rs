//! The owner's hot path: messages into queues, deliveries out of them.

use bytes::Bytes;

use super::Shard;
use super::delivery::{Delivery, get_prefix};
use super::inspect::Counted;
use super::ledger::Ledger;
use super::mesh::DeliveryKind;
use super::outlet::{Marks, Outlet, Way, Ways};
use crate::amqp::properties::{self, PropertyFlags, is_persistent};
use crate::amqp::{Content, Properties};
use crate::broker::death;
use crate::broker::entries::{Entries, Taken};
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::{Life, Queue, Standing, Taker};
use crate::broker::topology::QueueKey;

/// Encodes a delivery to a taker that can take it. Returns its bytes.
#[inline]
fn hand_over(ways: Ways<'_>, queue: &Queue, delivery: &Delivery<'_>) -> usize {
    let Some(taker) = queue.taker(delivery.taker) else {
        return 0;
    };
    let get;
    let prefix = match delivery.kind {
        DeliveryKind::Consumer | DeliveryKind::NoAck => &taker.prefix[..],
        DeliveryKind::Get | DeliveryKind::GetNoAck => {
            let Some(holder) = ways.owner.holders.get(taker.holder as usize) else { return 0 };
            get = get_prefix(holder.wire.number);
            &get[..]
        }
    };
    match ways.to(taker) {
        Some(Way::Here(mut outlet)) => outlet.deliver(prefix, delivery),
        Some(Way::There(mut outlet)) => outlet.deliver(prefix, delivery),
        None => 0,
    }
}

/// The messages of a queue, and who takes them: see [`Shard::deliver_run`].
struct Run<'a> {
    key: QueueKey,
    id: u32,
    taker: &'a mut Taker,
    entries: &'a mut Entries,
    blocks: &'a mut Blocks,
    ledger: &'a mut Ledger,
    /// The queue's number in the store.
    stored_as: u64,
    counted: &'a mut Counted,
}

impl Run<'_> {
    /// Delivers until nothing is left, the taker can take no more, or `bytes_max` are delivered. Returns how many bytes
    /// were.
    #[inline]
    fn into(self, mut outlet: impl Outlet, bytes_max: usize) -> usize {
        let Run { key, id, taker, entries, blocks, ledger, stored_as, counted } = self;
        let kind = if taker.no_ack { DeliveryKind::NoAck } else { DeliveryKind::Consumer };
        let (mut bytes, mut count, mut again) = (0, 0, 0);
        while bytes < bytes_max && outlet.is_open() && taker.has_credit() {
            let Some(taken) = (if taker.no_ack { entries.pop() } else { entries.take(id) }) else { break };
            let Taken { position, message, redelivered, .. } = taken;
            let (content, own) = blocks.content(message);
            let delivery = Delivery { content, own, key, taker: id, position, redelivered, kind, left: 0 };
            bytes += outlet.deliver(&taker.prefix, &delivery);
            (count, again) = (count + 1, again + u64::from(redelivered));
            if taker.no_ack {
                ledger.spend(blocks, stored_as, &taken);
            } else {
                taker.unacked += 1;
            }
        }
        counted.deliver(kind, count);
        counted.redelivered += again;
        bytes
    }
}

impl Shard {
    /// Puts a message into queues of this shard, or hands it straight to consumers that wait for it. A queue that is
    /// gone or going counts as having taken it.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        keys: impl ExactSizeIterator<Item = QueueKey>,
        content: &Content<'_>,
        own: Option<&Bytes>,
    ) {
        let mut kept = None;
        let index = if keys.len() > 1 { Some(0) } else { None };
        // The queue of a message that does not stay for ever goes by rules from then on.
        let expires = properties::flags(content.properties) & PropertyFlags::EXPIRATION != 0;
        for key in keys {
            let Some(mut queue) = self.lift(key) else { continue };
            if expires {
                queue.ruled_or_new(self.now);
            }
            self.enqueue_in(&mut queue, content, own, &mut kept, index);
            self.put_back(queue);
        }
        if index.is_some() {
            self.ledger.write_fan(&[*content]);
        }
    }

    /// Puts a message into a queue, or hands it straight to a consumer that waits for it. `index`: see
    /// [`Ledger::message`].
    #[inline]
    pub(super) fn enqueue_in(
        &mut self,
        queue: &mut Queue,
        content: &Content<'_>,
        own: Option<&Bytes>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) {
        if queue.ruled.is_some() {
            if queue.life == Life::Alive {
                self.enqueue_ruled(queue, content, own, kept, index);
            }
            return;
        }
        let is_idle = queue.entries.is_idle();
        if queue.life != Life::Alive || is_idle && self.pass_on(queue, content, own, kept, index) {
            return;
        }
        match if is_idle { self.choose_taker(queue) } else { None } {
            // Straight from where it was received: nobody else needs it.
            Some((taker, true)) => {
                let delivery = Delivery::new(*content, own, queue.key, taker, 0, DeliveryKind::NoAck);
                self.hand_over_now(queue, &delivery);
                queue.took_turn(taker);
            }
            Some((taker, false)) => {
                let message = self.blocks.keep_once(content, own, kept);
                let stored = self.ledger.must_have(queue.spec.durable, content);
                let position = queue.entries.push_taken(message, taker, stored);
                if stored {
                    self.ledger.message(index, queue.spec.id, position, content, true);
                }
                let taken = Taken { position, message, redelivered: false, stored };
                self.hand_over_kept(queue, taker, taken, DeliveryKind::Consumer);
                queue.took_turn(taker);
            }
            None => {
                self.store(queue, 0, content, kept, index);
                if queue.is_wanted() {
                    self.owner.activate(queue);
                }
            }
        }
    }

    /// Hands a message to the consumer whose turn it is, from where it was received, if its connection takes more and
    /// only its own prefetch limit counts: the common case. Returns whether it did.
    #[inline(always)]
    pub(super) fn pass_on(
        &mut self,
        queue: &mut Queue,
        content: &Content<'_>,
        own: Option<&Bytes>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) -> bool {
        let marks = self.marks();
        let (key, stored_as) = (queue.key, self.ledger.stored_as(queue));
        let keeps = queue.ruled.as_ref().is_some_and(|ruled| ruled.is_quorum());
        let Some(id) = queue.next_taker() else { return false };
        let Some((taker, entries)) = queue.taker_and_entries(id) else { return false };
        let (here, members, mesh, owner) = (self.id, &mut self.members, &mut self.mesh, &mut self.owner);
        let Some(way) = (Ways { here, members, mesh, owner, marks }).open_to(taker) else { return false };
        let (mut own, mut position, mut kind) = (own, 0, DeliveryKind::NoAck);
        if !taker.no_ack {
            let message = self.blocks.keep_once(content, own, kept);
            own = self.blocks.own(message);
            let stored_as = stored_as.filter(|_| keeps || is_persistent(content.properties));
            position = entries.push_taken(message, id, stored_as.is_some());
            if let Some(stored_as) = stored_as {
                self.ledger.message(index, stored_as, position, content, true);
            }
            kind = DeliveryKind::Consumer;
        }
        let delivery = Delivery::new(*content, own, key, id, position, kind);
        match way {
            Way::Here(mut outlet) => outlet.deliver(&taker.prefix, &delivery),
            Way::There(mut outlet) => outlet.deliver(&taker.prefix, &delivery),
        };
        self.counted.deliver(kind, 1);
        queue.took_turn(id);
        true
    }

    /// Delivers a message from where it was received.
    pub(super) fn hand_over_now(&mut self, queue: &Queue, delivery: &Delivery<'_>) {
        self.counted.deliver(delivery.kind, 1);
        hand_over(self.ways(), queue, delivery);
    }

    /// The ways for deliveries that are due, whatever waits for a socket.
    #[inline]
    fn ways(&mut self) -> Ways<'_> {
        let (here, members, mesh, owner) = (self.id, &mut self.members, &mut self.mesh, &mut self.owner);
        Ways { here, members, mesh, owner, marks: Marks::NONE }
    }

    /// Delivers a kept message.
    #[inline]
    pub(super) fn hand_over_kept(&mut self, queue: &Queue, taker: u32, taken: Taken, kind: DeliveryKind) -> usize {
        self.counted.deliver(kind, 1);
        self.counted.redelivered += u64::from(taken.redelivered);
        let mut counts = None;
        if let Some(ruled) = &queue.ruled {
            counts = ruled.counts.get(&taken.position).copied();
            if ruled.traced {
                self.trace_kept(queue, taker, &taken, counts);
            }
        }
        let (mut content, mut own) = self.blocks.content(taken.message);
        let counted;
        if let Some(counts) = counts {
            let properties = Properties::decode(content.properties).unwrap_or_default();
            counted = death::counted(&properties, counts.acquired, counts.failed);
            (content.properties, own) = (&counted, None);
        }
        let delivery = Delivery {
            content,
            own,
            key: queue.key,
            taker,
            position: taken.position,
            redelivered: taken.redelivered,
            kind,
            left: if kind.is_get() { queue.ready() as u32 } else { 0 },
        };
        let (here, members, mesh, owner) = (self.id, &mut self.members, &mut self.mesh, &mut self.owner);
        hand_over(Ways { here, members, mesh, owner, marks: Marks::NONE }, queue, &delivery)
    }

    /// The next consumer that can take a message now, and whether it does not acknowledge. Those that cannot are set
    /// aside on the way.
    #[inline]
    pub(super) fn choose_taker(&mut self, queue: &mut Queue) -> Option<(u32, bool)> {
        loop {
            let id = queue.next_taker()?;
            let taker = queue.taker(id)?;
            let (no_ack, holder_id) = (taker.no_ack, taker.holder);
            let holder = self.owner.holders.get(holder_id as usize)?;
            let open = if holder.caller.shard == self.id.0 {
                let high = self.outbound_high_bytes();
                self.members.get(holder.caller.connection).is_some_and(|member| member.outbound.len() < high)
            } else {
                self.owner.links.get(holder.link as usize).is_some_and(|link| link.window > self.closed_window())
            };
            if !open {
                self.stall(queue, id, holder_id);
            } else if no_ack || !holder.wire.global || self.acquire_grant(queue, id, holder_id) {
                return Some((id, no_ack));
            }
        }
    }

    /// Sets a consumer aside until its connection takes more.
    #[cold]
    fn stall(&mut self, queue: &mut Queue, id: u32, holder_id: u32) {
        queue.set_aside(id, Standing::Stalled);
        let Some(holder) = self.owner.holders.get(holder_id as usize) else {
            return;
        };
        if holder.caller.shard == self.id.0
            && let Some(member) = self.members.get_mut(holder.caller.connection)
        {
            member.stalled = true;
        }
        if let Some(link) = self.owner.links.get_mut(holder.link as usize) {
            link.stalled.push((queue.key, id));
        }
    }

    /// Whether the channel's common prefetch limit allows one more; if not, the consumer is set aside and asks.
    #[cold]
    fn acquire_grant(&mut self, queue: &mut Queue, id: u32, holder_id: u32) -> bool {
        let Some(holder) = self.owner.holders.get_mut(holder_id as usize) else {
            return false;
        };
        let caller = holder.caller;
        let granted = if caller.shard == self.id.0 {
            self.members
                .get_mut(caller.connection)
                .and_then(|member| member.channel_of(caller))
                .is_some_and(|channel| super::global_qos::has_room(channel))
        } else if holder.granted > 0 {
            holder.granted -= 1;
            true
        } else {
            false
        };
        if !granted {
            holder.awaiting.push((queue.key, id));
            let ask = !std::mem::replace(&mut holder.asked, true);
            queue.set_aside(id, Standing::AwaitsGrant);
            if ask {
                self.ask_grant(caller, (queue.ready() as u32).saturating_add(1));
            }
        }
        granted
    }

    /// Delivers what active queues have, a slice each, as long as the turn has room: what is encoded waits in memory
    /// until the turn ends.
    pub(super) fn deliver_active(&mut self) {
        let mut room = self.settings.limits.turn_bytes_max;
        for _ in 0..self.owner.active.len() {
            if room == 0 {
                return;
            }
            let Some(key) = self.owner.active.pop_front() else {
                break;
            };
            let Some(mut queue) = self.lift(key) else { continue };
            queue.active = false;
            if queue.life == Life::Alive {
                let (bytes, more) = self.deliver_slice(&mut queue);
                room = room.saturating_sub(bytes);
                if more {
                    self.owner.activate(&mut queue);
                }
            }
            self.put_back(queue);
        }
    }

    /// Delivers to the one consumer whose turn it always is, until nothing is left, it can take no more, or `bytes_max`
    /// are delivered. Returns how many bytes were; none when more than its own limit counts.
    pub(super) fn deliver_run(&mut self, queue: &mut Queue, id: u32, bytes_max: usize) -> usize {
        let marks = self.marks();
        let (key, stored_as) = (queue.key, queue.spec.id);
        let Some((taker, entries)) = queue.taker_and_entries(id) else { return 0 };
        let (here, members, mesh, owner) = (self.id, &mut self.members, &mut self.mesh, &mut self.owner);
        let way = Ways { here, members, mesh, owner, marks }.open_to(taker);
        let (blocks, ledger, counted) = (&mut self.blocks, &mut self.ledger, &mut self.counted);
        let run = Run { key, id, taker, entries, blocks, ledger, stored_as, counted };
        let bytes = match way {
            Some(Way::Here(outlet)) => run.into(outlet, bytes_max),
            Some(Way::There(outlet)) => run.into(outlet, bytes_max),
            None => 0,
        };
        queue.leave_if_spent(id);
        bytes
    }

    /// Delivers from one queue until nothing is left, nobody can take more, or its share of the turn is used up.
    /// Returns
    /// how many bytes that was, and whether it could go on.
    pub(super) fn deliver_slice(&mut self, queue: &mut Queue) -> (usize, bool) {
        let slice = self.deliver_some(queue);
        self.fetch_for(queue);
        slice
    }

    fn deliver_some(&mut self, queue: &mut Queue) -> (usize, bool) {
        if queue.ruled.is_some() {
            return self.deliver_ruled(queue);
        }
        let mut bytes = 0;
        while !queue.entries.is_dry() {
            if bytes >= self.settings.limits.deliver_slice_bytes {
                return (bytes, true);
            }
            let Some((id, no_ack)) = self.choose_taker(queue) else {
                return (bytes, false);
            };
            if queue.is_sole(id) {
                let run = self.deliver_run(queue, id, self.settings.limits.deliver_slice_bytes - bytes);
                bytes += run;
                if run > 0 {
                    continue;
                }
            }
            let taken = if no_ack { queue.entries.pop() } else { queue.entries.take(id) };
            let Some(taken) = taken else { return (bytes, false) };
            let kind = if no_ack { DeliveryKind::NoAck } else { DeliveryKind::Consumer };
            bytes += self.hand_over_kept(queue, id, taken, kind);
            if no_ack {
                self.ledger.spend(&mut self.blocks, queue.spec.id, &taken);
            }
            queue.took_turn(id);
        }
        queue.entries.shrink();
        (bytes, false)
    }
}
