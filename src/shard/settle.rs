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
        let mut count = 0;
        // Neighbours that the journal has, not yet noted as settled.
        let mut stored_from = from;
        for position in from..=to {
            match verdict {
                Verdict::Settle => {
                    let mut has = false;
                    if let Some((message, stored)) = queue.entries.settle(position, taker) {
                        self.blocks.release(message);
                        count += 1;
                        has = stored;
                    }
                    if !has {
                        if stored_from < position {
                            self.ledger.settled(queue.spec.id, stored_from, position - 1);
                        }
                        stored_from = position + 1;
                    }
                }
                Verdict::Requeue => {
                    let news = queue.entries.requeue(position, taker);
                    count += u32::from(news.is_some());
                    if news == Some(true) {
                        self.ledger.returned(queue.spec.id, position);
                    }
                }
                Verdict::Hold => count += u32::from(queue.entries.hold(position, taker)),
                Verdict::Committed => {
                    if let Some((message, _)) = queue.entries.settle(position, HELD) {
                        self.blocks.release(message);
                    }
                }
            }
        }
        if verdict == Verdict::Settle && stored_from <= to {
            self.ledger.settled(queue.spec.id, stored_from, to);
        }
        if count > 0 {
            if let Some(holder) = queue.settled(taker, count)
                && let Some(holder) = self.owner.holders.get_mut(holder as usize)
            {
                holder.takers.retain(|held| *held != (key, taker));
            }
            if !queue.entries.is_idle() && queue.is_wanted() {
                self.owner.activate(queue);
            }
        }
    }

    pub(super) fn get(&mut self, caller: Caller, key: QueueKey, wire: ChannelWire, no_ack: bool) {
        if self.living(key).is_some_and(|queue| queue.entries.is_idle()) {
            return self.reply(caller, Reply::Empty);
        }
        if self.living(key).is_some_and(|queue| queue.entries.is_dry()) {
            return self.get_later(caller, key, wire, no_ack);
        }
        let holder = self.holder(caller, wire);
        let Some(mut queue) = self.lift(key) else { return };
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
        let taken = if no_ack { queue.entries.pop() } else { queue.entries.take(getter) };
        if let Some(taken) = taken {
            let kind = if no_ack { DeliveryKind::GetNoAck } else { DeliveryKind::Get };
            self.hand_over_kept(&queue, getter, taken, kind);
            if no_ack {
                self.blocks.release(taken.message);
                if taken.stored {
                    self.ledger.settled(queue.spec.id, taken.position, taken.position);
                }
            } else if let Some(taker) = queue.taker_mut(getter) {
                taker.unacked += 1;
            }
        }
        self.put_back(queue);
        self.reply(caller, Reply::Got);
    }
}
