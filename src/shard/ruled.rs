//! The owner's side of queues that go by rules: limits, priorities, counted deliveries (reference sections 8 and 13).
//! Queues without rules never come here.

use bytes::Bytes;

use super::Shard;
use super::deaths::{Cause, Leaving};
use super::delivery::Delivery;
use super::due::lifetime_ms;
use super::mesh::{DeliveryKind, Verdict};
use crate::amqp::Content;
use crate::amqp::properties::{self, Properties, PropertyFlags};
use crate::broker::death::Reason;
use crate::broker::entries::{HELD, Position, RESTS, Taken};
use crate::broker::message::MessageRef;
use crate::broker::queue::Queue;
use crate::broker::queue::ruled::{Counts, stored_as};
use crate::broker::rules::{Overflow, RetryType};
use crate::broker::topology::QueueKey;
use crate::store::QueueId;
use crate::store::record::{Name, Note};

impl Shard {
    /// Puts a message into a queue with rules, or hands it to a consumer that waits for it.
    pub(super) fn enqueue_ruled(
        &mut self,
        queue: &mut Queue,
        content: &Content<'_>,
        own: Option<&Bytes>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) {
        if queue.delays().is_some() {
            return self.delay(queue, content, kept, index);
        }
        let rejects = queue.ruled.as_ref().is_some_and(|ruled| ruled.rules.rejects());
        let ready = if rejects { queue.ready() } else { 0 };
        let Some(ruled) = &mut queue.ruled else { return };
        if ruled.history {
            return self.remember(queue, content, kept);
        }
        if rejects && ruled.is_full(ready) {
            self.refused = true;
            if ruled.rules.overflow == Overflow::RejectPublishDlx
                && let Some(burial) = ruled.burial.clone()
            {
                let message = self.blocks.keep_once(content, own, kept);
                self.deaths.push(Leaving { cause: Cause::Dead(burial, Reason::MaxLen), message, stored: None });
            }
            return;
        }
        let mut name = None;
        if ruled.seen.is_some() && !self.is_new(queue, content, &mut name) {
            return;
        }
        let Some(ruled) = &mut queue.ruled else { return };
        let flags = properties::flags(content.properties);
        ruled.expiring |= flags & PropertyFlags::EXPIRATION != 0;
        let mut priority = None;
        if flags & PropertyFlags::PRIORITY != 0 && ruled.rules.priority_max.is_some() {
            priority = Properties::decode(content.properties).ok().and_then(|properties| properties.priority);
        }
        let class = ruled.class_of(priority);
        let is_idle = queue.is_idle();
        let traced = queue.ruled.as_ref().is_some_and(|ruled| ruled.traced);
        if is_idle && class == 0 && !traced && name.is_none() && self.pass_on(queue, content, own, kept, index) {
            return;
        }
        if is_idle && let Some((taker, no_ack)) = self.choose_taker(queue) {
            if no_ack {
                let delivery = Delivery::new(*content, own, queue.key, taker, 0, DeliveryKind::NoAck);
                self.hand_over_now(queue, &delivery);
                if let Some(ruled) = &mut queue.ruled {
                    ruled.forget(name);
                }
                if traced {
                    let mut record = Vec::new();
                    content.write_record(&mut record, self.stamp);
                    self.trace_delivery(queue, taker, record, false);
                }
            } else {
                let message = self.blocks.keep_once(content, own, kept);
                let stored = self.survives(queue, content);
                let position = queue.class_entries(class).push_taken(message, taker, stored);
                if stored {
                    self.ledger.message(index, stored_as(queue.spec.id, position), position, content, true);
                    self.name(queue, position, name);
                }
                let taken = Taken { position, message, redelivered: false, stored };
                self.hand_over_kept(queue, taker, taken, DeliveryKind::Consumer);
            }
            queue.took_turn(taker);
            return;
        }
        let Some(ruled) = &mut queue.ruled else { return };
        if lifetime_ms(ruled.rules.message_ttl_ms, content) == Some(0) {
            ruled.forget(name);
            if let Some(burial) = ruled.burial.clone() {
                let message = self.blocks.keep_once(content, own, kept);
                self.deaths.push(Leaving { cause: Cause::Dead(burial, Reason::Expired), message, stored: None });
            }
            return;
        }
        ruled.weigh(content.body.len(), 0);
        let position = queue.class_entries(class).end();
        self.store(queue, class, content, kept, index);
        if name.is_some() && self.survives(queue, content) {
            self.name(queue, position, name);
        }
        self.drop_head(queue);
        if let Some(owner) = self.deaths.holds_publishers() {
            self.exhausted |= 1 << owner;
        }
        if queue.is_wanted() {
            self.owner.activate(queue);
        }
        self.look_after(queue);
    }

    /// Lets go of messages from the front until no more are ready than may be.
    pub(super) fn drop_head(&mut self, queue: &mut Queue) {
        // Who refuses what is too much keeps what comes back.
        if !queue.ruled.as_ref().is_some_and(|ruled| ruled.drops_head()) {
            return;
        }
        loop {
            let ready = queue.ready();
            if ready == 0 || queue.ruled.as_ref().is_none_or(|ruled| !ruled.is_over(ready)) {
                return;
            }
            let Some(taken) = queue.pop() else { return self.fetch_first(queue) };
            self.weigh_gone(queue, taken.message);
            self.die(queue, taken, Reason::MaxLen);
        }
    }

    /// Whether the journal must have a message of a queue because it is to survive: in a quorum queue any is.
    #[inline]
    pub(super) fn survives(&self, queue: &Queue, content: &Content<'_>) -> bool {
        let keeps = queue.ruled.as_ref().is_some_and(|ruled| ruled.is_quorum());
        self.ledger.on && keeps || self.ledger.must_have(queue.spec.durable, content)
    }

    /// Notes that a ready message is not ready any more.
    pub(super) fn weigh_gone(&self, queue: &mut Queue, message: MessageRef) {
        if let Some(ruled) = &mut queue.ruled
            && ruled.rules.length_bytes_max.is_some()
        {
            ruled.weigh(0, self.blocks.content(message).0.body.len());
        }
    }

    /// Whether a queue that takes each message once has not taken this one before; it has now. `name`: what is to be
    /// forgotten when the message leaves.
    pub(super) fn is_new(&mut self, queue: &mut Queue, content: &Content<'_>, name: &mut Option<Name>) -> bool {
        let (durable, id, now) = (queue.spec.durable, queue.spec.id, self.stamp.wall_ms());
        let Some(seen) = queue.ruled.as_mut().and_then(|ruled| ruled.seen.as_mut()) else { return true };
        let properties = Properties::decode(content.properties).unwrap_or_default();
        let Some((note, ttl)) = seen.rule.name(&properties) else { return true };
        let Some(until_ms) = seen.see(note, ttl, now) else { return false };
        if seen.rule.by_content {
            *name = Some(note);
        } else if self.ledger.on && durable {
            self.ledger.noted(id, seen.rule.size, Note { note, until_ms });
        }
        true
    }

    /// A message that the journal has at a position goes by a name as long as the queue has it.
    fn name(&mut self, queue: &Queue, position: Position, name: Option<Name>) {
        if let Some(name) = name {
            self.ledger.named(stored_as(queue.spec.id, position), position, name);
        }
    }

    /// A message leaves a queue that takes each message once as long as it has it.
    fn forget_name(&self, queue: &mut Queue, message: MessageRef) {
        if let Some(seen) = queue.ruled.as_mut().and_then(|ruled| ruled.seen.as_mut())
            && seen.rule.by_content
        {
            let properties = Properties::decode(self.blocks.content(message).0.properties).unwrap_or_default();
            if let Some((name, _)) = seen.rule.name(&properties) {
                seen.forget(name);
            }
        }
    }

    /// Lets go of a message that was taken out of its queue.
    pub(super) fn die(&mut self, queue: &mut Queue, taken: Taken, reason: Reason) {
        let Taken { position, message, stored, .. } = taken;
        self.forget_name(queue, message);
        let store_id = stored_as(queue.spec.id, position);
        let Some(ruled) = &mut queue.ruled else { return };
        ruled.counts.remove(&position);
        if let Some(burial) = ruled.burial.clone() {
            let stored = stored.then_some((store_id, position));
            return self.deaths.push(Leaving { cause: Cause::Dead(burial, reason), message, stored });
        }
        // Another queue may be about to get it, too.
        self.reading.let_go(message);
        if stored {
            self.ledger.settled(store_id, position, position + 1);
        }
    }

    /// Delivers from a queue with rules until nothing is left, nobody can take more, or its share of the turn is used
    /// up. Returns how many bytes that was, and whether it could go on.
    pub(super) fn deliver_ruled(&mut self, queue: &mut Queue) -> (usize, bool) {
        let mut bytes = 0;
        let mut more = false;
        loop {
            if bytes >= self.settings.limits.deliver_slice_bytes || self.expire(queue) {
                more = true;
                break;
            }
            if queue.first_entries().is_dry() {
                break;
            }
            let Some((id, no_ack)) = self.choose_taker(queue) else { break };
            if queue.is_sole(id) && queue.ruled.as_ref().is_some_and(|ruled| ruled.gives_plainly()) {
                let run = self.deliver_run(queue, id, self.settings.limits.deliver_slice_bytes - bytes);
                bytes += run;
                if run > 0 {
                    continue;
                }
            }
            let taken = if no_ack { queue.pop() } else { queue.take(id) };
            let Some(taken) = taken else { break };
            bytes += self.deliver_taken(queue, id, taken, no_ack);
            queue.took_turn(id);
        }
        self.look_after(queue);
        (bytes, more)
    }

    fn deliver_taken(&mut self, queue: &mut Queue, id: u32, taken: Taken, no_ack: bool) -> usize {
        self.weigh_gone(queue, taken.message);
        let kind = if no_ack { DeliveryKind::NoAck } else { DeliveryKind::Consumer };
        let bytes = self.hand_over_kept(queue, id, taken, kind);
        if no_ack {
            self.spend_ruled(queue, &taken);
        }
        bytes
    }

    /// Lets go of a message that was handed over for good.
    #[inline]
    pub(super) fn spend_ruled(&mut self, queue: &mut Queue, taken: &Taken) {
        self.forget_name(queue, taken.message);
        self.ledger.spend(&mut self.blocks, stored_as(queue.spec.id, taken.position), taken);
        if let Some(ruled) = &mut queue.ruled {
            ruled.counts.remove(&taken.position);
        }
    }

    /// Settles or gives back the entries from one position to another that a taker of a queue with rules holds.
    pub(super) fn settle_ruled(&mut self, key: QueueKey, taker: u32, from: Position, to: Position, verdict: Verdict) {
        let Some(mut queue) = self.lift(key) else { return };
        let mut count = 0;
        for position in from..=to {
            count += u32::from(self.settle_one(&mut queue, taker, position, verdict));
        }
        if verdict == Verdict::Settle {
            self.counted.acknowledged += u64::from(count);
        }
        if count > 0 {
            if let Some(holder) = queue.settled(taker, count)
                && let Some(holder) = self.owner.holders.get_mut(holder as usize)
            {
                holder.takers.retain(|held| *held != (key, taker));
            }
            self.after_return(&mut queue, verdict);
        }
        self.put_back(queue);
    }

    fn after_return(&mut self, queue: &mut Queue, verdict: Verdict) {
        if matches!(verdict, Verdict::Requeue | Verdict::Fail) {
            self.expire(queue);
            self.drop_head(queue);
            self.look_after(queue);
        }
        if !queue.is_idle() && queue.is_wanted() {
            self.owner.activate(queue);
        }
    }

    /// Gives everything back that a consumer or channel of a queue with rules holds and is to hold no longer; `count`
    /// is how many that is.
    pub(super) fn requeue_ruled(&mut self, queue: &mut Queue, taker: u32, count: u32, verdict: Verdict) {
        let mut held: Vec<Position> = Vec::new();
        for entries in queue.all_entries() {
            if held.len() < count as usize {
                held.extend(entries.held_by(taker, count as usize - held.len()));
            }
        }
        for position in held {
            self.settle_one(queue, taker, position, verdict);
        }
        self.after_return(queue, verdict);
    }

    /// Returns whether the taker held it.
    fn settle_one(&mut self, queue: &mut Queue, taker: u32, position: Position, verdict: Verdict) -> bool {
        let store_id = stored_as(queue.spec.id, position);
        let holder = if verdict == Verdict::Committed { HELD } else { taker };
        let Some(entries) = queue.entries_at(position) else { return false };
        match verdict {
            Verdict::Requeue | Verdict::Fail => {
                return self.give_back(queue, taker, position, verdict == Verdict::Fail);
            }
            Verdict::Hold => return entries.hold(position, taker, HELD),
            Verdict::Settle | Verdict::Reject | Verdict::Committed => {}
        }
        let Some((message, stored)) = entries.settle(position, holder) else { return false };
        if verdict == Verdict::Reject {
            let taken = Taken { position, message, redelivered: false, stored };
            self.die(queue, taken, Reason::Rejected);
            return true;
        }
        self.forget_name(queue, message);
        self.blocks.release(message);
        if stored && verdict == Verdict::Settle {
            self.ledger.settled(store_id, position, position + 1);
        }
        if let Some(ruled) = &mut queue.ruled {
            ruled.counts.remove(&position);
        }
        // A commit settles what nobody counts as outstanding any more.
        verdict != Verdict::Committed
    }

    /// An entry comes back to its queue: at once, after a while, or too often. Returns whether the taker held it.
    fn give_back(&mut self, queue: &mut Queue, taker: u32, position: Position, failed: bool) -> bool {
        let store_id = stored_as(queue.spec.id, position);
        let held = queue.entries_at(position).and_then(|entries| entries.held(position, taker));
        let (Some(message), Some(ruled)) = (held, &mut queue.ruled) else { return false };
        let mut rests = None;
        let mut counted = None;
        if ruled.rules.counts {
            // In a classic queue each return counts, as in LavinMQ.
            let failed = failed || !ruled.is_quorum();
            let counts = ruled.counts.entry(position).or_default();
            counts.acquired += 1;
            counts.failed += u32::from(failed);
            let counts = *counts;
            if ruled.rules.delivery_limit.is_some_and(|limit| u64::from(counts.failed) > limit) {
                let settled = queue.entries_at(position).and_then(|entries| entries.settle(position, taker));
                if let Some((message, stored)) = settled {
                    let taken = Taken { position, message, redelivered: true, stored };
                    self.die(queue, taken, Reason::DeliveryLimit);
                }
                return true;
            }
            counted = Some(counts);
            let retry = ruled.rules.delayed_retry.filter(|retry| match retry.kind {
                RetryType::All => true,
                RetryType::Failed => failed,
                RetryType::Returned => !failed,
            });
            rests = retry.map(|retry| self.now.after_ms(retry.delay_ms(counts.failed.max(1))));
        }
        match rests {
            Some(until) => ruled.retrying.insert((until, position)),
            None => {
                ruled.weigh(self.blocks.content(message).0.body.len(), 0);
                false
            }
        };
        let Some(entries) = queue.entries_at(position) else { return false };
        let stored = entries.is_stored(position);
        let news = match rests {
            Some(_) => entries.hold(position, taker, RESTS).then_some(stored),
            None => entries.requeue(position, taker),
        };
        match counted {
            Some(Counts { acquired, failed }) if stored => {
                self.ledger.records().counted(QueueId(store_id), position, acquired, failed);
            }
            _ if news == Some(true) => self.ledger.returned(store_id, position),
            _ => {}
        }
        news.is_some()
    }
}
