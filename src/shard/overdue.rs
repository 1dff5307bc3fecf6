//! Deliveries that wait too long for their acknowledgement (reference section 12.8).
//!
//! No delivery is timed. A consumer with such a bound has its channel note, eight times per bound, which delivery tag
//! was the latest: so whatever is unacknowledged up to the tag of an old enough mark is overdue, at most two such steps
//! after its time. Only channels with such consumers have a timer.

use std::collections::VecDeque;

use super::Shard;
use super::member::ConsumerAt;
use super::mesh::{Caller, Record, Verdict};
use super::timer::Timer;
use super::unacked::UnackedList;
use crate::amqp::{Exception, MethodId, ReplyCode};
use crate::broker::topology::QueueKey;
use crate::time::Now;

/// Marks per bound.
const STEPS: u64 = 8;

/// How long a consumer's deliveries may wait.
#[derive(Debug, Clone)]
pub struct Patience {
    /// So many milliseconds, at least one.
    timeout_ms: u64,
    /// When the next mark is due.
    next: Now,
    /// The latest tags at these times, both ascending: no more than cover the bound.
    marks: VecDeque<(Now, u64)>,
    /// The queue's shard was told already.
    told: bool,
}

impl Patience {
    /// For deliveries from now on.
    pub fn new(timeout_ms: u64, now: Now) -> Patience {
        let mut patience = Patience { timeout_ms, next: now, marks: VecDeque::new(), told: false };
        patience.step(now);
        patience
    }

    fn step(&mut self, now: Now) {
        self.next = now.after_ms((self.timeout_ms / STEPS).max(1));
    }

    /// Notes the latest tag, when that is due. Returns up to which tag deliveries are overdue now.
    fn mark(&mut self, now: Now, tag: u64) -> Option<u64> {
        if now < self.next || self.told {
            return None;
        }
        self.step(now);
        if self.marks.back().is_none_or(|(_, last)| *last < tag) {
            self.marks.push_back((now, tag));
        }
        let is_old = |(time, _): &(Now, u64)| time.after_ms(self.timeout_ms) <= now;
        let old = self.marks.iter().take_while(|mark| is_old(mark)).count();
        // The last of the old ones tells all that the others do.
        self.marks.drain(..old.saturating_sub(1));
        self.marks.front().filter(|mark| is_old(mark)).map(|(_, tag)| *tag)
    }
}

/// Whether a consumer has deliveries up to this tag that are not acknowledged.
fn has_unacked(unacked: &UnackedList, consumer: &ConsumerAt, tag: u64) -> bool {
    unacked.up_to(tag).any(|unacked| unacked.consumer && (unacked.key, unacked.taker) == (consumer.key, consumer.taker))
}

impl Shard {
    /// A channel has consumers whose deliveries may wait only so long: sees to it that this is looked at.
    pub(super) fn begin_patience(&mut self, caller: Caller) {
        let Some(channel) = self.members.get_mut(caller.connection).and_then(|member| member.channel_of(caller)) else {
            return;
        };
        let patience = channel.consumers.last().and_then(|consumer| consumer.patience.as_ref());
        if let Some(at) = patience.map(|patience| patience.next)
            && channel.overdue_at.is_none_or(|before| before > at)
        {
            channel.overdue_at = Some(at);
            self.timers.add(at, Timer::Overdue(caller));
        }
    }

    /// Looks for deliveries of a channel that have waited too long.
    pub(super) fn look_for_overdue(&mut self, caller: Caller) {
        let now = self.now;
        let Some(member) = self.members.get_mut(caller.connection) else { return };
        let notify = member.capabilities.consumer_cancel_notify;
        let Some(channel) = member.channel_of(caller) else { return };
        // One that came sooner has taken the place of others.
        if channel.overdue_at.is_none_or(|at| at > now) {
            return;
        }
        let mut late = Vec::new();
        let mut next: Option<Now> = None;
        for consumer in &mut channel.consumers {
            let Some(patience) = &mut consumer.patience else { continue };
            let overdue = patience.mark(now, channel.delivery_tag);
            let (due, timeout_ms) = (patience.next, patience.timeout_ms);
            if overdue.is_some_and(|tag| has_unacked(&channel.unacked, consumer, tag)) {
                late.push((consumer.owner, consumer.key, consumer.taker, timeout_ms));
                if let Some(patience) = &mut consumer.patience {
                    patience.told = true;
                }
            } else if consumer.patience.as_ref().is_some_and(|patience| !patience.told) {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        channel.overdue_at = next;
        let number = channel.number;
        if let Some(next) = next {
            self.timers.add(next, Timer::Overdue(caller));
        }
        for (owner, key, taker, timeout_ms) in late {
            if !notify {
                let text = format!(
                    "delivery acknowledgement on channel {number} timed out. Timeout value used: {timeout_ms} ms. \
                     This timeout value can be configured, see consumers doc guide to learn more"
                );
                let exception = Exception::new(ReplyCode::PreconditionFailed, MethodId::NONE, text);
                return self.close_channel(caller.connection, caller.channel, &exception);
            }
            if owner == self.id.0 {
                self.consumer_overdue(caller, key, taker);
            } else {
                self.mesh.send(owner, Record::Overdue(caller, key, taker));
            }
        }
    }

    /// A consumer of a queue that lives here has let deliveries wait too long: it is cancelled, and they return.
    ///
    /// Its number stays its own for as long as its channel is there: acknowledgements that come late are of nothing
    /// that it holds.
    pub(super) fn consumer_overdue(&mut self, caller: Caller, key: QueueKey, id: u32) {
        let Some(mut queue) = self.lift(key) else { return };
        let found = queue.taker(id).filter(|taker| {
            let holder = self.owner.holders.get(taker.holder as usize);
            holder.is_some_and(|holder| holder.caller == caller)
        });
        let Some((tag, unacked)) = found.map(|taker| (taker.tag.clone(), taker.unacked)) else {
            return self.put_back(queue);
        };
        queue.cancel(id);
        self.requeue_ruled(&mut queue, id, unacked, Verdict::Requeue);
        if let Some(taker) = queue.taker_mut(id) {
            taker.unacked = 0;
        }
        self.used(&mut queue);
        self.put_back(queue);
        if caller.shard == self.id.0 {
            self.consumer_lost(caller, &tag);
        } else {
            self.mesh.send(caller.shard, Record::Cancelled(caller, tag));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdue_is_known_within_two_steps_and_few_marks_are_kept() {
        let at = |ms: u64| Now::default().after_ms(ms);
        let mut patience = Patience::new(800, at(0));
        // One delivery each millisecond: the tag is the time of the delivery, plus one.
        for ms in 0..10_000 {
            let Some(overdue) = patience.mark(at(ms), ms + 1) else { continue };
            let oldest_allowed = ms.saturating_sub(800) + 1;
            assert!(overdue <= oldest_allowed && overdue + 200 > oldest_allowed, "{ms}: {overdue}");
            assert!(patience.marks.len() <= STEPS as usize + 2);
        }
        assert!(patience.marks.len() > 2);
    }

    #[test]
    fn a_channel_without_deliveries_gathers_no_marks() {
        let at = |ms: u64| Now::default().after_ms(ms);
        let mut patience = Patience::new(1, at(0));
        for ms in 0..100 {
            assert_eq!(patience.mark(at(ms), 7), (ms > 1).then_some(7), "{ms}");
        }
        assert_eq!(patience.marks.len(), 1);
    }
}
