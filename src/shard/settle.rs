//! Entries that leave their queue: settled, requeued, and taken by basic.get.

use super::Shard;
use super::mesh::{Caller, ChannelWire, DeliveryKind, Reply, Verdict};
use crate::broker::entries::{HELD, Position};
use crate::broker::topology::QueueKey;

impl Shard {
    /// Settles or requeues the entries from one position to another that a taker holds.
    #[inline]
    pub(super) fn settle(&mut self, key: QueueKey, taker: u32, from: Position, to: Position, verdict: Verdict) {
        let Some(queue) = self.living.get_mut(key.slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if queue.key != key {
            return;
        }
        if let Some(ruled) = &queue.ruled
            && !(verdict == Verdict::Settle && ruled.settles_plainly(from))
        {
            return self.settle_ruled(key, taker, from, to, verdict);
        }
        let mut count = 0;
        // Neighbours that the journal has, not yet noted as settled: from one position to before another.
        let (mut stored_from, mut stored_to) = (from, from);
        for position in from..=to {
            match verdict {
                Verdict::Settle | Verdict::Reject => {
                    let Some((message, stored)) = queue.entries.settle(position, taker) else { continue };
                    self.blocks.release(message);
                    count += 1;
                    if stored {
                        if stored_to != position {
                            self.ledger.settled(queue.spec.id, stored_from, stored_to);
                            stored_from = position;
                        }
                        stored_to = position + 1;
                    }
                }
                Verdict::Requeue | Verdict::Fail => {
                    let news = queue.entries.requeue(position, taker);
                    count += u32::from(news.is_some());
                    if news == Some(true) {
                        self.ledger.returned(queue.spec.id, position);
                    }
                }
                Verdict::Hold => count += u32::from(queue.entries.hold(position, taker, HELD)),
                Verdict::Committed => {
                    if let Some((message, _)) = queue.entries.settle(position, HELD) {
                        self.blocks.release(message);
                    }
                }
            }
        }
        self.ledger.settled(queue.spec.id, stored_from, stored_to);
        if verdict == Verdict::Settle {
            self.counted.acknowledged += u64::from(count);
        }
        if count > 0 {
            if let Some(holder) = queue.settled(taker, count)
                && let Some(holder) = self.owner.holders.get_mut(holder as usize)
            {
                holder.takers.retain(|held| *held != (key, taker));
            }
            if !queue.is_idle() && queue.is_wanted() {
                self.owner.activate(queue);
            }
        }
    }

    pub(super) fn get(&mut self, caller: Caller, key: QueueKey, wire: ChannelWire, no_ack: bool) {
        let Some(mut queue) = self.lift(key) else { return };
        if queue.ruled.is_some() {
            self.used(&mut queue);
            while self.expire(&mut queue) {}
        }
        if queue.first_entries().is_dry() {
            let is_idle = queue.is_idle();
            self.put_back(queue);
            return match is_idle {
                true => {
                    self.counted.got_empty += 1;
                    self.reply(caller, Reply::Empty);
                }
                false => self.get_later(caller, key, wire, no_ack),
            };
        }
        let holder = self.holder(caller, wire);
        let held = self.owner.holders.get(holder as usize).map_or(&[][..], |holder| &holder.takers);
        let getter = held
            .iter()
            .find(|(of, id)| *of == key && queue.taker(*id).is_some_and(|taker| taker.tag.is_empty()))
            .map(|(_, id)| *id);
        let getter = getter.unwrap_or_else(|| {
            let getter = queue.add_getter(holder);
            if let Some(holder) = self.owner.holders.get_mut(holder as usize) {
                holder.takers.push((key, getter));
            }
            getter
        });
        let taken = if no_ack { queue.pop() } else { queue.take(getter) };
        if let Some(taken) = taken {
            self.weigh_gone(&mut queue, taken.message);
            let kind = if no_ack { DeliveryKind::GetNoAck } else { DeliveryKind::Get };
            self.hand_over_kept(&queue, getter, taken, kind);
            if no_ack {
                self.spend_ruled(&mut queue, &taken);
            } else if let Some(taker) = queue.taker_mut(getter) {
                taker.unacked += 1;
            }
        }
        if queue.ruled.is_some() {
            self.look_after(&mut queue);
        }
        self.put_back(queue);
        self.reply(caller, Reply::Got);
    }
}
