//! A living queue: its entries, and who takes them in which order. Lives on one shard, its owner.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use super::entries::Entries;
use super::queue_arguments::{QueueType, is_single_active};
use super::rules::Rules;
use super::topology::{QueueKey, QueueSpec};
use crate::time::Now;
use ruled::Ruled;
use single_active::SingleActive;

pub mod delays;
mod messages;
pub mod ruled;
mod single_active;

/// Priorities kept without a consumer in their ring.
const EMPTY_RINGS_MAX: usize = 8;

/// Why a taker gets nothing at the moment, or that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In its priority's ring: takes its turn.
    InRing,
    /// At its prefetch limit.
    OutOfCredit,
    /// Its connection does not read fast enough, or has no window from this shard.
    Stalled,
    /// Waits for a grant from its channel's prefetch limit.
    AwaitsGrant,
    /// Waits for the place of the single active consumer.
    Waiting,
    /// No consumer (any more): cancelled, or stands for a channel's basic.get; it may hold entries.
    Gone,
}

/// Whoever may hold entries of a queue: a consumer, or a channel that uses basic.get.
#[derive(Debug)]
pub struct Taker {
    /// The channel it belongs to, in the shard's table of holders.
    pub holder: u32,
    /// The consumer tag; empty for basic.get.
    pub tag: Box<str>,
    /// The delivery frame up to and with the consumer tag, encoded once.
    pub prefix: Box<[u8]>,
    /// Deliveries need no acknowledgement.
    pub no_ack: bool,
    /// Higher goes first while it has credit (`x-priority`).
    pub priority: i32,
    /// Unacknowledged deliveries allowed; 0: no limit.
    pub prefetch: u32,
    /// Unacknowledged deliveries.
    pub unacked: u32,
    /// The arguments of basic.consume, a table's contents: for those who look.
    pub arguments: Box<[u8]>,
    /// Whether and why not it takes its turn.
    pub standing: Standing,
}

impl Taker {
    /// Whether it may hold one more.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.prefetch == 0 || self.unacked < self.prefetch
    }
}

#[derive(Debug)]
struct Ring {
    priority: i32,
    takers: VecDeque<u32>,
}

/// What happens to a queue that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Normal.
    Alive,
    /// Asked to be removed from the topology: publishes count as taken, everything else finds no queue.
    Dying,
}

/// A queue on its owner.
#[derive(Debug)]
pub struct Queue {
    /// Its identity.
    pub key: QueueKey,
    /// What it was declared as.
    pub spec: Arc<QueueSpec>,
    /// Its messages; those of the common priority, where priorities are told apart.
    pub entries: Entries,
    /// What it has beside them when it goes by rules.
    pub ruled: Option<Box<Ruled>>,
    /// Alive or dying.
    pub life: Life,
    /// Listed among the queues that may have something to deliver.
    pub active: bool,
    takers: Slab<Taker>,
    rings: SmallVec<[Ring; 1]>,
    consumers: u32,
    exclusive: Option<u32>,
    had_consumer: bool,
    /// Only one consumer at a time gets messages.
    single: Option<Box<SingleActive>>,
}

impl Queue {
    /// A queue without messages and consumers.
    pub fn new(key: QueueKey, spec: Arc<QueueSpec>) -> Queue {
        let single = || Box::new(SingleActive::new(QueueType::of_queue(&spec) == QueueType::Quorum));
        let single = is_single_active(&spec).then(single);
        Queue {
            key,
            spec,
            entries: Entries::default(),
            ruled: None,
            life: Life::Alive,
            active: false,
            takers: Slab::new(),
            rings: SmallVec::new(),
            consumers: 0,
            exclusive: None,
            had_consumer: false,
            single,
        }
    }

    /// Has it go by these rules from now on.
    pub fn set_rules(&mut self, rules: Rules, now: Now) {
        match &mut self.ruled {
            Some(ruled) => ruled.set(&self.spec, rules),
            None if rules.is_plain() => {}
            None => self.ruled = Some(Box::new(Ruled::new(&self.spec, rules, now))),
        }
    }

    /// What it has beside its entries, made if need be.
    pub fn ruled_or_new(&mut self, now: Now) -> &mut Ruled {
        self.ruled.get_or_insert_with(|| Box::new(Ruled::new(&self.spec, Rules::default(), now)))
    }

    /// Has what it delivers copied from now on, or not.
    pub fn set_traced(&mut self, traced: bool, now: Now) {
        if traced {
            self.ruled_or_new(now).traced = true;
        } else if let Some(ruled) = &mut self.ruled {
            ruled.traced = false;
            if ruled.is_spare() {
                self.ruled = None;
            }
        }
    }

    /// Consumers, with or without credit.
    #[inline]
    pub fn consumer_count(&self) -> u32 {
        self.consumers
    }

    /// The consumer that has the queue to itself.
    pub fn exclusive_consumer(&self) -> Option<u32> {
        self.exclusive
    }

    /// Whether a consumer has the queue to itself.
    pub fn is_exclusively_consumed(&self) -> bool {
        self.exclusive.is_some()
    }

    /// Whether an auto-delete queue has lost its last consumer.
    pub fn is_abandoned(&self) -> bool {
        self.spec.auto_delete && self.had_consumer && self.consumers == 0
    }

    /// A taker.
    #[inline]
    pub fn taker(&self, taker: u32) -> Option<&Taker> {
        self.takers.get(taker as usize)
    }

    /// A taker.
    #[inline]
    pub fn taker_mut(&mut self, taker: u32) -> Option<&mut Taker> {
        self.takers.get_mut(taker as usize)
    }

    /// A taker, and the messages that it takes from.
    #[inline]
    pub fn taker_and_entries(&mut self, taker: u32) -> Option<(&mut Taker, &mut Entries)> {
        Some((self.takers.get_mut(taker as usize)?, &mut self.entries))
    }

    /// The takers with their numbers.
    pub fn takers(&self) -> impl Iterator<Item = (u32, &Taker)> {
        self.takers.iter().map(|(taker, state)| (taker as u32, state))
    }

    /// Adds a consumer; `exclusive`: no other may come (the caller has checked that none is there).
    pub fn add_consumer(&mut self, taker: Taker, exclusive: bool) -> u32 {
        let id = self.takers.insert(taker) as u32;
        self.consumers += 1;
        self.had_consumer = true;
        if exclusive {
            self.exclusive = Some(id);
        }
        match &mut self.single {
            None => {
                self.rejoin(id);
            }
            Some(single) => {
                single.add(id);
                self.set_aside(id, Standing::Waiting);
                self.choose_active();
            }
        }
        id
    }

    /// Adds a taker that stands for basic.get of a channel.
    pub fn add_getter(&mut self, holder: u32) -> u32 {
        let getter = Taker {
            holder,
            tag: "".into(),
            prefix: Box::default(),
            no_ack: false,
            priority: 0,
            prefetch: 0,
            unacked: 0,
            arguments: Box::default(),
            standing: Standing::Gone,
        };
        self.takers.insert(getter) as u32
    }

    /// Ends a consumer; what it holds stays held.
    pub fn cancel(&mut self, taker: u32) {
        let Some(state) = self.takers.get_mut(taker as usize) else {
            return;
        };
        if state.tag.is_empty() || state.standing == Standing::Gone {
            return;
        }
        self.leave_ring(taker);
        if let Some(state) = self.takers.get_mut(taker as usize) {
            state.standing = Standing::Gone;
        }
        self.forget_empty_rings();
        self.consumers -= 1;
        if self.exclusive == Some(taker) {
            self.exclusive = None;
        }
        if let Some(single) = &mut self.single {
            single.remove(taker);
            self.choose_active();
        }
    }

    /// Has the right one of the consumers be the active one.
    fn choose_active(&mut self) {
        let Some((before, now)) = self.single.as_mut().and_then(|single| single.next(&self.takers)) else { return };
        if let Some(before) = before {
            self.set_aside(before, Standing::Waiting);
        }
        if let Some(now) = now {
            if let Some(taker) = self.takers.get_mut(now as usize) {
                taker.standing = Standing::OutOfCredit;
            }
            self.rejoin(now);
        }
    }

    /// Forgets a taker that holds nothing any more.
    pub fn forget_taker(&mut self, taker: u32) {
        if self.takers.contains(taker as usize) {
            self.cancel(taker);
            self.takers.remove(taker as usize);
        }
    }

    /// The consumer whose turn it is, of the highest priority that has one.
    #[inline]
    pub fn next_taker(&self) -> Option<u32> {
        self.rings.iter().find_map(|ring| ring.takers.front().copied())
    }

    /// Whether the turn of the consumer whose turn it is will be its again, for as long as it has credit.
    #[inline]
    pub fn is_sole(&self, taker: u32) -> bool {
        let ring = self.rings.iter().find(|ring| !ring.takers.is_empty());
        ring.is_some_and(|ring| ring.takers.len() == 1 && ring.takers.front() == Some(&taker))
    }

    /// Takes a consumer out of its ring if it is at its limit.
    #[inline]
    pub fn leave_if_spent(&mut self, taker: u32) {
        if self.taker(taker).is_some_and(|state| !state.has_credit()) {
            self.set_aside(taker, Standing::OutOfCredit);
        }
    }

    /// Whether a consumer could take a message.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.rings.iter().any(|ring| !ring.takers.is_empty())
    }

    /// Notes that the consumer whose turn it was got a message: it goes to the end of its ring or, at its limit, out.
    #[inline]
    pub fn took_turn(&mut self, taker: u32) {
        let Some(state) = self.takers.get_mut(taker as usize) else {
            return;
        };
        if !state.no_ack {
            state.unacked += 1;
        }
        let priority = state.priority;
        let stays = state.has_credit();
        if !stays {
            state.standing = Standing::OutOfCredit;
        }
        if let Some(ring) = self.rings.iter_mut().find(|ring| ring.priority == priority)
            && ring.takers.front() == Some(&taker)
        {
            if !stays {
                ring.takers.pop_front();
            } else if ring.takers.len() > 1 {
                ring.takers.rotate_left(1);
            }
        }
    }

    /// Takes the consumer out of its ring for another reason than credit.
    pub fn set_aside(&mut self, taker: u32, standing: Standing) {
        self.leave_ring(taker);
        if let Some(state) = self.takers.get_mut(taker as usize) {
            state.standing = standing;
        }
    }

    /// Forgets priorities that nobody has any more; a few empty ones may stay, for whoever comes back.
    fn forget_empty_rings(&mut self) {
        if self.rings.len() > EMPTY_RINGS_MAX {
            self.rings.retain(|ring| !ring.takers.is_empty());
        }
    }

    fn leave_ring(&mut self, taker: u32) {
        let Some(state) = self.takers.get(taker as usize) else {
            return;
        };
        if state.standing == Standing::InRing
            && let Some(ring) = self.rings.iter_mut().find(|ring| ring.priority == state.priority)
        {
            ring.takers.retain(|other| *other != taker);
        }
    }

    /// Puts a consumer (back) at the end of its ring when it has credit. Returns whether it is in the ring now.
    pub fn rejoin(&mut self, taker: u32) -> bool {
        let Some(state) = self.takers.get_mut(taker as usize) else {
            return false;
        };
        if state.standing == Standing::Gone && (state.tag.is_empty() || state.prefix.is_empty())
            || state.standing == Standing::Waiting
        {
            return false;
        }
        if !state.has_credit() {
            state.standing = Standing::OutOfCredit;
            return false;
        }
        let priority = state.priority;
        state.standing = Standing::InRing;
        let at = self.rings.partition_point(|ring| ring.priority > priority);
        if self.rings.get(at).is_none_or(|ring| ring.priority != priority) {
            self.rings.insert(at, Ring { priority, takers: VecDeque::new() });
        }
        if let Some(ring) = self.rings.get_mut(at)
            && !ring.takers.contains(&taker)
        {
            ring.takers.push_back(taker);
        }
        true
    }

    /// Notes `count` settled or requeued entries of a taker. A cancelled consumer that holds nothing any more is
    /// forgotten: its number may be another's next, so its holder, which is returned, must forget it too.
    #[inline]
    pub fn settled(&mut self, taker: u32, count: u32) -> Option<u32> {
        let state = self.takers.get_mut(taker as usize)?;
        debug_assert!(state.unacked >= count);
        state.unacked = state.unacked.saturating_sub(count);
        match state.standing {
            Standing::OutOfCredit => {
                self.rejoin(taker);
                None
            }
            Standing::Waiting => {
                self.choose_active();
                None
            }
            Standing::Gone if state.unacked == 0 && !state.tag.is_empty() => {
                Some(self.takers.remove(taker as usize).holder)
            }
            _ => None,
        }
    }
}
