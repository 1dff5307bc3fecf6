//! Messages of queues that are brought back from the disk.

use super::Getter;
use crate::amqp::properties::{self, PropertyFlags};
use crate::broker::entries::{Brought, Entries, KEPT, Position};
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::Queue;
use crate::broker::queue::ruled::{CLASS_SHIFT, Counts, stored_as};
use crate::broker::topology::QueueKey;
use crate::shard::Shard;
use crate::shard::mesh::{Caller, ChannelWire};
use crate::store::{Fetch, Fetched, QueueId};

/// No more messages are brought back at once.
const FETCH_COUNT_MAX: usize = 8 << 10;
/// What part of it is brought back at once when memory is short.
const TIGHT_PART: usize = 16;

impl Shard {
    /// Has messages of a queue brought back, if somebody wants them and few are here.
    pub(in crate::shard) fn fetch_for(&mut self, queue: &mut Queue) {
        if queue.consumer_count() > 0 && (queue.entries.is_away() || queue.ruled.is_some()) {
            self.fetch_first(queue);
        }
    }

    /// Has messages brought back of the entries that the next one comes from.
    pub(in crate::shard) fn fetch_first(&mut self, queue: &mut Queue) {
        let class = (queue.first_entries().end() >> CLASS_SHIFT) as u8;
        self.fetch(queue, class);
    }

    /// Has messages brought back whose first is away: something about it is to be known.
    pub(in crate::shard) fn fetch_dry(&mut self, queue: &mut Queue) {
        let is_dry = |entries: &&mut Entries| entries.is_dry() && entries.is_away();
        let dry: Vec<u8> =
            queue.all_entries().filter(is_dry).map(|entries| (entries.end() >> CLASS_SHIFT) as u8).collect();
        dry.into_iter().for_each(|class| self.fetch(queue, class));
    }

    pub(in crate::shard) fn fetch(&mut self, queue: &mut Queue, class: u8) {
        self.reading.tag += 1;
        let tag = self.reading.tag;
        let Some((from, to)) = queue.class_entries(class).wish(KEPT, tag) else { return };
        let part = if self.is_tight(true) { TIGHT_PART } else { 1 };
        self.reading.under_way.insert(tag, (queue.key, class));
        self.reading.wishes.push(Fetch {
            shard: self.id.0,
            tag,
            queue: QueueId(stored_as(queue.spec.id, from)),
            from,
            to,
            bytes_max: self.settings.limits.fetch_bytes_max / part,
            count_max: FETCH_COUNT_MAX,
            buffer: self.blocks.spare_filled(),
            only: Vec::new(),
        });
    }

    /// A basic.get that must wait until a message is here.
    pub(in crate::shard) fn get_later(&mut self, caller: Caller, key: QueueKey, wire: ChannelWire, no_ack: bool) {
        let Some(mut queue) = self.lift(key) else { return };
        self.reading.getters.entry(key).or_default().push(Getter { caller, wire, no_ack });
        self.fetch_first(&mut queue);
        self.put_back(queue);
    }

    /// A channel, or a connection with all its channels, has ended: it waits for no message any more.
    pub(in crate::shard) fn forget_getters(&mut self, gone: Caller) {
        let is_gone = |caller: &Caller| match gone.channel {
            Caller::WHOLE => (caller.shard, caller.connection) == (gone.shard, gone.connection),
            _ => *caller == gone,
        };
        for getters in self.reading.getters.values_mut() {
            getters.retain(|getter| !is_gone(&getter.caller));
        }
    }

    pub(in crate::shard) fn answer_getters(&mut self, key: QueueKey) {
        for Getter { caller, wire, no_ack } in self.reading.getters.remove(&key).unwrap_or_default() {
            self.get(caller, key, wire, no_ack);
        }
    }

    pub(in crate::shard) fn fetched(&mut self, fetched: Fetched) {
        let wish = self.reading.under_way.remove(&fetched.tag);
        let found = wish.and_then(|(key, class)| Some((self.lift(key)?, class)));
        let Some((mut queue, class)) = found else { return self.blocks.keep_filled(fetched.bytes) };
        if queue.delays().is_some() {
            self.delays_fetched(&mut queue, fetched);
            return self.put_back(queue);
        }
        let Fetched { tag, bytes, messages, lost, next, .. } = fetched;
        let now = self.now;
        let entries = queue.class_entries(class);
        if !entries.awaits(tag) {
            self.blocks.keep_filled(bytes);
        } else {
            let mut block = 0;
            if messages.is_empty() {
                self.blocks.keep_filled(bytes);
            } else {
                block = self.blocks.adopt(bytes, messages.len() as u32);
            }
            let brought = messages.iter().map(|message| Brought {
                position: message.position,
                message: Blocks::at(block, message.at),
                redelivered: message.redelivered,
            });
            entries.bring(brought, lost, next);
            // After a start nobody knows yet whether some do not stay for ever.
            let expires = |at: u32| {
                let content = self.blocks.content(Blocks::at(block, at)).0;
                properties::flags(content.properties) & PropertyFlags::EXPIRATION != 0
            };
            if !queue.ruled.as_ref().is_some_and(|ruled| ruled.expiring)
                && messages.iter().any(|message| expires(message.at))
            {
                queue.ruled_or_new(now).expiring = true;
            }
            if queue.ruled.as_ref().is_some_and(|ruled| !ruled.unweighed.is_empty()) {
                let brought = messages.iter().map(|message| (message.position, Blocks::at(block, message.at)));
                self.weigh_restored(&mut queue, brought.collect());
            }
            if let Some(ruled) = queue.ruled.as_mut().filter(|ruled| ruled.rules.counts) {
                for message in messages.iter().filter(|message| message.acquired > 0) {
                    let (acquired, failed) = (message.acquired, message.failed);
                    ruled.counts.insert(message.position, Counts { acquired, failed });
                }
            }
        }
        if let Some(ruled) = &queue.ruled {
            let weighs = !ruled.unweighed.is_empty();
            self.brought(&mut queue);
            if weighs {
                self.fetch(&mut queue, class);
            }
        }
        if !queue.first_entries().is_dry() && queue.is_wanted() {
            self.owner.activate(&mut queue);
        } else {
            self.fetch_for(&mut queue);
        }
        let key = queue.key;
        self.put_back(queue);
        self.answer_getters(key);
    }

    /// Counts the bytes of messages that were there before the start.
    fn weigh_restored(&mut self, queue: &mut Queue, brought: Vec<(Position, MessageRef)>) {
        let Some(ruled) = &mut queue.ruled else { return };
        for (position, message) in brought {
            let range = ruled.unweighed.iter_mut().find(|(next, end)| (*next..*end).contains(&position));
            if let Some((next, _)) = range {
                *next = position + 1;
                ruled.weigh(self.blocks.content(message).0.body.len(), 0);
            }
        }
        ruled.unweighed.retain(|(next, end)| next < end);
    }
}
