//! What of queues with rules is due when: messages that have waited too long, messages that have rested, queues that
//! nobody uses (reference section 13).

use super::Shard;
use super::owner::Waiter;
use super::timer::Timer;
use crate::amqp::Content;
use crate::amqp::properties::{self, Properties, PropertyFlags};
use crate::broker::death::Reason;
use crate::broker::entries::RESTS;
use crate::broker::expiration;
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::{Life, Queue};
use crate::broker::topology::QueueKey;
use crate::time::Now;

/// No more messages of a queue are let go of in one go for their age.
const EXPIRED_MAX: usize = 1024;

/// How long a message may wait, in milliseconds: the queue says `ttl_ms`, the message has its expiration.
pub(super) fn lifetime_ms(ttl_ms: Option<u64>, content: &Content<'_>) -> Option<u64> {
    if properties::flags(content.properties) & PropertyFlags::EXPIRATION == 0 {
        return ttl_ms;
    }
    let expiration = Properties::decode(content.properties).ok()?.expiration.and_then(expiration::parse);
    match (ttl_ms, expiration) {
        (Some(ttl), Some(expiration)) => Some(ttl.min(expiration)),
        (ttl, expiration) => ttl.or(expiration),
    }
}

/// When a kept message has waited too long, in milliseconds since 1970.
fn dies_at(ttl_ms: Option<u64>, blocks: &Blocks, message: MessageRef) -> Option<u64> {
    let lifetime = lifetime_ms(ttl_ms, &blocks.content(message).0);
    lifetime.map(|lifetime| blocks.stamp_of(message).wall_ms().saturating_add(lifetime))
}

impl Shard {
    /// Lets go of the first messages that have waited too long. Returns whether there may be more.
    pub(super) fn expire(&mut self, queue: &mut Queue) -> bool {
        let Some(ruled) = &queue.ruled else { return false };
        if !ruled.has_lifetimes() {
            return false;
        }
        let (ttl, now) = (ruled.rules.message_ttl_ms, self.stamp.wall_ms());
        let is_over = |blocks: &Blocks, message| dies_at(ttl, blocks, message).is_some_and(|at| at <= now);
        for _ in 0..EXPIRED_MAX {
            let blocks = &self.blocks;
            let dead = queue.all_entries().find_map(|entries| {
                let head = entries.peek()?;
                if is_over(blocks, head.message) { entries.pop() } else { None }
            });
            let Some(dead) = dead else { return false };
            self.weigh_gone(queue, dead.message);
            self.die(queue, dead, Reason::Expired);
        }
        true
    }

    /// Messages that have waited for their next delivery are ready again.
    fn end_rest(&mut self, queue: &mut Queue) {
        while let Some(ruled) = &mut queue.ruled
            && let Some(&(until, position)) = ruled.retrying.first()
            && until <= self.now
        {
            ruled.retrying.pop_first();
            let Some(entries) = queue.entries_at(position) else { continue };
            let Some(message) = entries.held(position, RESTS) else { continue };
            entries.requeue(position, RESTS);
            if let Some(ruled) = &mut queue.ruled {
                ruled.weigh(self.blocks.content(message).0.body.len(), 0);
            }
        }
        self.drop_head(queue);
    }

    /// Sees to it that the queue is looked at when something of it is due.
    pub(super) fn look_after(&mut self, queue: &mut Queue) {
        let is_expiring = queue.ruled.as_ref().is_some_and(|ruled| ruled.expiring);
        let is_empty = is_expiring && queue.is_idle() && queue.unacked() == 0;
        if is_empty && let Some(ruled) = &mut queue.ruled {
            ruled.expiring = false;
        }
        let Some(ruled) = &queue.ruled else { return };
        let (ttl, wall) = (ruled.rules.message_ttl_ms, self.stamp.wall_ms());
        let mut due = ruled.retrying.first().map(|(until, _)| *until);
        if let Some(expires) = ruled.rules.expires_ms
            && queue.consumer_count() == 0
        {
            let at = ruled.used.after_ms(expires);
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        if ruled.has_lifetimes() {
            let blocks = &self.blocks;
            let mut unknown = false;
            let heads = queue.all_entries().filter_map(|entries| {
                unknown |= entries.is_dry() && entries.is_away();
                dies_at(ttl, blocks, entries.peek()?.message)
            });
            if let Some(at) = heads.min() {
                let at = self.now.after_ms(at.saturating_sub(wall));
                due = Some(due.map_or(at, |due| due.min(at)));
            }
            if unknown {
                self.fetch_dry(queue);
            }
        }
        if let Some(at) = due {
            self.look_again(queue, at);
        }
    }

    /// Has a queue looked at then, unless it will be before.
    pub(super) fn look_again(&mut self, queue: &mut Queue, at: Now) {
        if let Some(ruled) = &mut queue.ruled
            && ruled.look_at.is_none_or(|look_at| at < look_at)
        {
            ruled.look_at = Some(at);
            self.timers.add(at, Timer::Queue(queue.key));
        }
    }

    /// Something of a queue may be due.
    pub(super) fn look_at(&mut self, key: QueueKey) {
        let Some(mut queue) = self.lift(key) else { return };
        let now = self.now;
        if let Some(ruled) = &mut queue.ruled {
            if ruled.look_at.is_some_and(|at| at <= now) {
                ruled.look_at = None;
            }
            let is_unused = queue.life == Life::Alive
                && ruled.rules.expires_ms.is_some_and(|ms| ruled.used.after_ms(ms) <= now)
                && queue.consumer_count() == 0;
            if is_unused {
                self.put_back(queue);
                return self.begin_removal(key, Waiter::Nobody);
            }
            if queue.delays().is_some() {
                self.look_at_delays(&mut queue);
                return self.put_back(queue);
            }
            self.end_rest(&mut queue);
            if self.expire(&mut queue) {
                self.look_again(&mut queue, now);
            }
            if !queue.is_idle() && queue.is_wanted() {
                self.owner.activate(&mut queue);
            }
            self.look_after(&mut queue);
        }
        self.put_back(queue);
    }

    /// Messages were brought back: they may be too old, or too many.
    pub(super) fn brought(&mut self, queue: &mut Queue) {
        self.drop_head(queue);
        self.look_after(queue);
    }

    /// Somebody has used a queue that goes when nobody does.
    pub(super) fn used(&mut self, queue: &mut Queue) {
        let now = self.now;
        if let Some(ruled) = queue.ruled.as_mut().filter(|ruled| ruled.rules.expires_ms.is_some()) {
            ruled.used = now;
            self.look_after(queue);
        }
    }

    /// A queue goes by other rules than before: what they say about what is there is done.
    pub(super) fn rules_changed(&mut self, key: QueueKey) {
        let Some(mut queue) = self.lift(key) else { return };
        let now = self.now;
        if let Some(ruled) = &mut queue.ruled {
            // As in RabbitMQ, the time without use begins anew.
            (ruled.look_at, ruled.used) = (None, now);
            if ruled.rules.length_bytes_max.is_some() {
                self.weigh_all(&mut queue);
            }
            self.drop_head(&mut queue);
            self.look_after(&mut queue);
        }
        self.put_back(queue);
    }

    /// Counts the bytes of what is ready. Messages that are away count as the average of those that are here.
    fn weigh_all(&mut self, queue: &mut Queue) {
        let (mut count, mut bytes) = (0, 0);
        for entries in queue.all_entries() {
            entries.for_each_ready(|message| {
                count += 1;
                bytes += self.blocks.content(message).0.body.len() as u64;
            });
        }
        let away = (queue.ready() as u64).saturating_sub(count);
        if let Some(ruled) = &mut queue.ruled {
            ruled.ready_bytes = bytes + away * bytes.checked_div(count).unwrap_or(0);
            ruled.unweighed.clear();
        }
    }
}
