//! The owner's side of living queues: messages in, deliveries out, consumers, settlements. Everything here happens on
//! the shard where the queue lives, whoever asked and from wherever.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use super::delivery::deliver_prefix;
use super::mesh::{Caller, ChannelWire, ConsumeRequest, QueueRequest, Record, Reply, Verdict};
use super::{ConnectionId, Shard};
use crate::broker::event;
use crate::broker::queue::ruled::is_internal;
use crate::broker::queue::{Life, Queue, Standing, Taker};
use crate::broker::queue_arguments::{QueueType, is_single_active};
use crate::broker::topology::{Map, QueueKey};

/// A channel that has, or had, something to do with queues here.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) caller: Caller,
    pub(super) wire: ChannelWire,
    pub(super) link: u32,
    pub(super) takers: Vec<(QueueKey, u32)>,
    /// Grants under the channel's common prefetch limit, for channels of other shards.
    pub(super) granted: u32,
    pub(super) asked: bool,
    pub(super) awaiting: Vec<(QueueKey, u32)>,
}

/// A connection that such channels belong to.
#[derive(Debug)]
pub(super) struct Link {
    /// Bytes that may still be sent to it, when it is on another shard.
    pub(super) window: i64,
    holders: Vec<u32>,
    pub(super) stalled: Vec<(QueueKey, u32)>,
}

/// Who waits for a queue's removal.
#[derive(Debug)]
pub(super) enum Waiter {
    Answer(Caller, Answered),
    Gone(u32),
    Nobody,
}

/// How somebody who waited for a removal is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// With the number of messages that the queue had.
    Count(u32),
    /// Without.
    Done,
}

/// The end of a channel or connection, until all that follows from it is done.
#[derive(Debug)]
pub(super) struct GoneTask {
    pub(super) caller: Caller,
    pub(super) left: u32,
}

/// What an owner knows beside its queues.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) holders: Slab<Holder>,
    holder_index: Map<Caller, u32>,
    pub(super) links: Slab<Link>,
    /// The window of a link.
    pub(super) link_window: i64,
    /// Bytes that the windows of all links lack.
    pub(super) under_way: i64,
    link_index: Map<(u8, ConnectionId), u32>,
    /// Queues that may have something to deliver.
    pub(super) active: VecDeque<QueueKey>,
    pub(super) dying: Map<QueueKey, SmallVec<[Waiter; 1]>>,
    pub(super) gone: Slab<GoneTask>,
}

impl Owner {
    pub(super) fn new(hash: &ahash::RandomState, link_window: i64) -> Owner {
        Owner {
            holders: Slab::new(),
            holder_index: Map::with_hasher(hash.clone()),
            links: Slab::new(),
            link_window,
            under_way: 0,
            link_index: Map::with_hasher(hash.clone()),
            active: VecDeque::new(),
            dying: Map::with_hasher(hash.clone()),
            gone: Slab::new(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.active.is_empty()
    }

    pub(super) fn activate(&mut self, queue: &mut Queue) {
        if !queue.active {
            queue.active = true;
            self.active.push_back(queue.key);
        }
    }
}

impl Shard {
    /// The living queue with this key.
    #[inline]
    pub(super) fn living(&self, key: QueueKey) -> Option<&Queue> {
        self.living.get(key.slot as usize)?.as_deref().filter(|queue| queue.key == key)
    }

    #[inline]
    pub(super) fn living_mut(&mut self, key: QueueKey) -> Option<&mut Queue> {
        self.living.get_mut(key.slot as usize)?.as_deref_mut().filter(|queue| queue.key == key)
    }

    /// Takes a queue out of the table while it is worked on; it must be put back.
    #[inline]
    pub(super) fn lift(&mut self, key: QueueKey) -> Option<Box<Queue>> {
        let place = self.living.get_mut(key.slot as usize)?;
        if place.as_ref().is_some_and(|queue| queue.key == key) { place.take() } else { None }
    }

    #[inline]
    pub(super) fn put_back(&mut self, queue: Box<Queue>) {
        if let Some(place) = self.living.get_mut(queue.key.slot as usize) {
            *place = Some(queue);
        }
    }

    // ---- channels and connections as the owner sees them

    pub(super) fn holder(&mut self, caller: Caller, wire: ChannelWire) -> u32 {
        if let Some(holder) = self.owner.holder_index.get(&caller) {
            return *holder;
        }
        let link_key = (caller.shard, caller.connection);
        let link = match self.owner.link_index.get(&link_key) {
            Some(link) => *link,
            None => {
                let link = self.owner.links.insert(Link {
                    window: self.owner.link_window,
                    holders: Vec::new(),
                    stalled: Vec::new(),
                }) as u32;
                self.owner.link_index.insert(link_key, link);
                link
            }
        };
        let holder = self.owner.holders.insert(Holder {
            caller,
            wire,
            link,
            takers: Vec::new(),
            granted: 0,
            asked: false,
            awaiting: Vec::new(),
        }) as u32;
        self.owner.holder_index.insert(caller, holder);
        if let Some(link) = self.owner.links.get_mut(link as usize) {
            link.holders.push(holder);
        }
        holder
    }

    /// The link to a connection, if queues here know it.
    pub(super) fn link_of(&self, shard: u8, connection: ConnectionId) -> Option<u32> {
        self.owner.link_index.get(&(shard, connection)).copied()
    }

    /// Lets the consumers of a connection take turns again that were set aside because it did not read.
    pub(super) fn link_opened(&mut self, link: u32) {
        let Some(link) = self.owner.links.get_mut(link as usize) else {
            return;
        };
        let stalled = std::mem::take(&mut link.stalled);
        self.rejoin(stalled, Standing::Stalled);
    }

    fn rejoin(&mut self, takers: Vec<(QueueKey, u32)>, from: Standing) {
        for (key, taker) in takers {
            let Some(mut queue) = self.lift(key) else { continue };
            if queue.taker(taker).is_some_and(|taker| taker.standing == from) && queue.rejoin(taker) && !queue.is_idle()
            {
                self.owner.activate(&mut queue);
            }
            self.put_back(queue);
        }
    }

    /// Takes back window of a connection on another shard.
    pub(super) fn link_credited(&mut self, shard: u8, connection: ConnectionId, bytes: i64) {
        let Some(id) = self.link_of(shard, connection) else {
            return;
        };
        let Some(link) = self.owner.links.get_mut(id as usize) else {
            return;
        };
        link.window += bytes;
        let window = link.window;
        self.owner.under_way -= bytes;
        if window > self.closed_window() {
            self.link_opened(id);
        }
    }

    /// Notes whether a channel has a common prefetch limit.
    pub(super) fn set_global(&mut self, caller: Caller, global: bool) {
        if let Some(holder) = self.owner.holder_index.get(&caller).copied()
            && let Some(holder) = self.owner.holders.get_mut(holder as usize)
        {
            holder.wire.global = global;
        }
    }

    /// Takes grants for a channel: its waiting consumers take turns again.
    pub(super) fn granted(&mut self, caller: Caller, count: u32) {
        let Some(id) = self.owner.holder_index.get(&caller).copied() else {
            if caller.shard != self.id.0 {
                self.mesh.send(caller.shard, Record::GrantBack(caller, count));
            }
            return;
        };
        let Some(holder) = self.owner.holders.get_mut(id as usize) else {
            return;
        };
        holder.granted += count;
        holder.asked = false;
        let awaiting = std::mem::take(&mut holder.awaiting);
        let keys: SmallVec<[QueueKey; 4]> = awaiting.iter().map(|(key, _)| *key).collect();
        self.rejoin(awaiting, Standing::AwaitsGrant);
        if caller.shard == self.id.0 {
            return; // room is looked up where it is kept
        }
        for key in keys {
            if let Some(mut queue) = self.lift(key) {
                if queue.life == Life::Alive && self.deliver_slice(&mut queue).1 {
                    self.owner.activate(&mut queue);
                }
                self.put_back(queue);
            }
        }
        // What was not used must not keep other shards' queues waiting.
        if let Some(holder) = self.owner.holders.get_mut(id as usize)
            && holder.granted > 0
        {
            let unused = std::mem::take(&mut holder.granted);
            self.mesh.send(caller.shard, Record::GrantBack(caller, unused));
        }
    }

    // ---- commands

    /// A command about a queue that lives here.
    pub(super) fn queue_request(&mut self, caller: Caller, key: QueueKey, request: QueueRequest) {
        let Some(queue) = self.living_mut(key) else {
            // Removed while the command was under way: the caller's tables will say so too.
            return self.reply(caller, Reply::Retry);
        };
        if queue.life == Life::Dying {
            return match request {
                QueueRequest::Counts | QueueRequest::Delete { .. } => self.bounce(caller),
                QueueRequest::Cancel { .. } => self.reply(caller, Reply::Done),
                _ => self.reply(caller, Reply::NotFound),
            };
        }
        match request {
            QueueRequest::Counts => {
                let (messages, consumers) = (queue.ready() as u32, queue.consumer_count());
                // Declared again: it was used, but for a quorum queue.
                if queue.ruled.as_ref().is_some_and(|ruled| !ruled.is_quorum())
                    && let Some(mut queue) = self.lift(key)
                {
                    self.used(&mut queue);
                    self.put_back(queue);
                }
                self.reply(caller, Reply::Counts { messages, consumers });
            }
            QueueRequest::Purge => {
                let count = queue.ready() as u32;
                if self.purge(key) {
                    self.reply_when_durable(caller, Reply::Count(count));
                } else {
                    self.reply(caller, Reply::Count(count));
                }
            }
            QueueRequest::Delete { if_unused, if_empty, user } => {
                if if_empty && queue.ready() > 0 {
                    self.reply(caller, Reply::NotEmpty);
                } else if if_unused && queue.consumer_count() > 0 {
                    self.reply(caller, Reply::InUse);
                } else {
                    let count = queue.ready() as u32;
                    self.begin_removal_by(key, Waiter::Answer(caller, Answered::Count(count)), Some(user));
                }
            }
            QueueRequest::Get { wire, no_ack } => self.get(caller, key, wire, no_ack),
            QueueRequest::Consume(request) => self.consume(caller, key, *request),
            QueueRequest::Cancel { tag, user } => self.cancel(caller, key, &tag, &user),
        }
    }

    fn consume(&mut self, caller: Caller, key: QueueKey, request: ConsumeRequest) {
        let Some(queue) = self.living_mut(key) else { return };
        let exclusive = request.exclusive && QueueType::of_queue(&queue.spec) == QueueType::Classic;
        if queue.is_exclusively_consumed() || exclusive && (queue.consumer_count() > 0 || is_single_active(&queue.spec))
        {
            return self.reply(caller, Reply::ExclusiveUse);
        }
        let holder = self.holder(caller, request.wire);
        let Some(mut queue) = self.lift(key) else { return };
        let taker = queue.add_consumer(
            Taker {
                holder,
                prefix: deliver_prefix(request.wire.number, &request.tag),
                tag: request.tag,
                no_ack: request.no_ack,
                priority: request.priority,
                prefetch: if request.no_ack { 0 } else { request.prefetch },
                unacked: 0,
                arguments: request.arguments,
                standing: Standing::InRing,
            },
            exclusive,
        );
        if !queue.is_idle() {
            self.owner.activate(&mut queue);
        }
        self.put_back(queue);
        if let Some(holder) = self.owner.holders.get_mut(holder as usize) {
            holder.takers.push((key, taker));
        }
        // The answer goes out before the first delivery, which is made at the end of the turn.
        self.reply(caller, Reply::Consuming(taker));
    }

    fn cancel(&mut self, caller: Caller, key: QueueKey, tag: &str, user: &str) {
        if let Some(holder) = self.owner.holder_index.get(&caller).copied()
            && let Some(queue) = self.living_mut(key)
        {
            let found = queue
                .takers()
                .find(|(_, taker)| taker.holder == holder && *taker.tag == *tag && taker.standing != Standing::Gone)
                .map(|(id, taker)| (id, taker.unacked));
            if let Some((id, unacked)) = found {
                let spec = queue.spec.clone();
                queue.cancel(id);
                self.tell_consumer_deleted(caller, &spec, tag, user);
                let Some(queue) = self.living_mut(key) else { return };
                if unacked == 0 {
                    queue.forget_taker(id);
                    if let Some(holder) = self.owner.holders.get_mut(holder as usize) {
                        holder.takers.retain(|taker| *taker != (key, id));
                    }
                }
                // Another consumer may have its place now.
                let is_due = |queue: &Queue| !queue.is_idle() && queue.is_wanted();
                if self.living(key).is_some_and(is_due)
                    && let Some(mut queue) = self.lift(key)
                {
                    self.owner.activate(&mut queue);
                    self.put_back(queue);
                }
                if let Some(mut queue) = self.lift(key) {
                    self.used(&mut queue);
                    self.put_back(queue);
                }
                if self.living(key).is_some_and(Queue::is_abandoned) {
                    return self.begin_removal(key, Waiter::Answer(caller, Answered::Done));
                }
            }
        }
        self.reply(caller, Reply::Done);
    }

    // ---- the end of channels, connections and queues

    /// A channel, or a connection with all its channels, has ended: its consumers go, what it holds is requeued, its
    /// exclusive queues are removed. The caller is told when everything that follows is done.
    pub(super) fn gone(&mut self, caller: Caller, exclusive: Vec<QueueKey>) {
        self.forget_getters(caller);
        let task = self.owner.gone.insert(GoneTask { caller, left: 1 }) as u32;
        let holders: Vec<u32> = if caller.channel == Caller::WHOLE {
            match self.owner.link_index.remove(&(caller.shard, caller.connection)) {
                Some(link) => {
                    let link = self.owner.links.remove(link as usize);
                    self.owner.under_way -= self.owner.link_window - link.window;
                    link.holders
                }
                None => Vec::new(),
            }
        } else {
            let holder = self.owner.holder_index.get(&caller).copied();
            if let Some(holder) = holder
                && let Some(link) = self.owner.holders.get(holder as usize).map(|holder| holder.link)
                && let Some(link) = self.owner.links.get_mut(link as usize)
            {
                link.holders.retain(|other| *other != holder);
            }
            holder.into_iter().collect()
        };
        for id in holders {
            let Some(holder) = self.owner.holders.try_remove(id as usize) else {
                continue;
            };
            self.owner.holder_index.remove(&holder.caller);
            for (key, taker) in holder.takers {
                self.release_taker(holder.caller, key, taker, id, task);
            }
        }
        for key in exclusive {
            self.await_removal(key, task);
        }
        self.gone_step(task);
    }

    fn release_taker(&mut self, caller: Caller, key: QueueKey, id: u32, holder: u32, task: u32) {
        let Some(mut queue) = self.lift(key) else { return };
        // A cancelled consumer was forgotten with its last settlement, and another may have its number.
        let taker = queue.taker(id).filter(|taker| taker.holder == holder);
        if let Some(taker) = taker {
            if taker.standing != Standing::Gone {
                self.tell_consumer_deleted(caller, &queue.spec, &taker.tag, event::NOBODY);
            }
            let unacked = taker.unacked;
            queue.cancel(id);
            if unacked > 0 && queue.ruled.is_some() {
                self.requeue_ruled(&mut queue, id, unacked, Verdict::Fail);
            } else if unacked > 0 {
                let (ledger, stored_as) = (&mut self.ledger, queue.spec.id);
                queue.entries.requeue_all(id, unacked as usize, |position| ledger.returned(stored_as, position));
            }
            // Another consumer may have its place now.
            if !queue.is_idle() && queue.is_wanted() {
                self.owner.activate(&mut queue);
            }
            queue.forget_taker(id);
            self.used(&mut queue);
        }
        let abandoned = queue.is_abandoned();
        self.put_back(queue);
        if abandoned {
            self.await_removal(key, task);
        }
    }

    /// Begins to remove a queue as part of the end of its connection or last consumer.
    pub(super) fn await_removal(&mut self, key: QueueKey, task: u32) {
        if let Some(task) = self.owner.gone.get_mut(task as usize) {
            task.left += 1;
        }
        self.begin_removal(key, Waiter::Gone(task));
    }

    pub(super) fn gone_step(&mut self, task: u32) {
        let Some(state) = self.owner.gone.get_mut(task as usize) else {
            return;
        };
        state.left -= 1;
        if state.left == 0 {
            let caller = self.owner.gone.remove(task as usize).caller;
            if caller.shard == self.id.0 {
                self.gone_done(caller);
            } else {
                self.mesh.send(caller.shard, Record::GoneDone(caller));
            }
        }
    }

    /// A queue turns dying and is taken out of the tables; `waiter` is told when it is.
    pub(super) fn begin_removal(&mut self, key: QueueKey, waiter: Waiter) {
        self.begin_removal_by(key, waiter, None);
    }

    /// The same when a user has asked for it.
    fn begin_removal_by(&mut self, key: QueueKey, waiter: Waiter, user: Option<Arc<str>>) {
        let Some(queue) = self.living_mut(key) else {
            return self.removed_for(waiter);
        };
        let first = queue.life == Life::Alive;
        queue.life = Life::Dying;
        self.owner.dying.entry(key).or_default().push(waiter);
        if first {
            self.remove_queue_name(key, user);
        }
    }

    fn removed_for(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Answer(caller, Answered::Count(count)) => self.reply_behind(caller, Reply::Count(count)),
            Waiter::Answer(caller, Answered::Done) => self.reply_behind(caller, Reply::Done),
            Waiter::Gone(task) => self.gone_step(task),
            Waiter::Nobody => {}
        }
    }

    /// The queue is out of the tables: ends it and tells everybody.
    pub(super) fn removed(&mut self, key: QueueKey) {
        let Some(mut queue) = self.lift(key) else { return };
        self.forget_stored(&queue);
        self.counted.queues_deleted += u64::from(!is_internal(&queue.spec));
        if let Some(delays) = queue.delays_mut() {
            delays.clear().into_iter().for_each(|message| self.blocks.release(message));
        }
        queue.clear().into_iter().for_each(|messages| self.upkeep.release(messages));
        for waiter in self.owner.dying.remove(&key).unwrap_or_default() {
            self.removed_for(waiter);
        }
        let takers: Vec<(u32, u32)> = queue.takers().map(|(id, taker)| (id, taker.holder)).collect();
        for (id, holder) in takers {
            let Some(taker) = queue.taker(id) else { continue };
            let lost = taker.standing != Standing::Gone;
            let tag = taker.tag.clone();
            let Some(holder) = self.owner.holders.get_mut(holder as usize) else {
                continue;
            };
            holder.takers.retain(|taker| *taker != (key, id));
            let caller = holder.caller;
            if lost {
                self.tell_consumer_deleted(caller, &queue.spec, &tag, event::NOBODY);
                if caller.shard == self.id.0 {
                    self.consumer_lost(caller, &tag);
                } else {
                    self.mesh.send(caller.shard, Record::Cancelled(caller, tag));
                }
            }
        }
        let connection = queue
            .spec
            .exclusive
            .map(|exclusive| ConnectionId { slot: exclusive.slot, generation: exclusive.generation });
        if let Some(member) = connection.and_then(|id| self.members.get_mut(id)) {
            member.exclusive.retain(|other| *other != key);
        }
    }
}
