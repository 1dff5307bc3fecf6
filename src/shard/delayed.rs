//! Exchanges of type x-delayed-message: their messages wait in a queue of their own until they are due, and are then
//! published by the exchange as if they had just come.
//!
//! The queue is like any other to routing, confirms and the journal, and nobody but its exchange puts anything into it
//! or takes anything out; it can be counted and purged.

use std::collections::BTreeMap;

use super::Shard;
use super::deaths::{Cause, Leaving};
use crate::amqp::{Content, Properties, Stamp};
use crate::broker::delay;
use crate::broker::entries::Position;
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::Queue;
use crate::store::{Fetch, Fetched, QueueId, QueueRow};

/// No more are published in one go.
const DUE_MAX: usize = 1024;
/// No more messages are read back at once.
const READ_MAX: usize = 8 << 10;
/// A clock that is behind makes nobody wait less than this, in milliseconds.
const SOON_MS: u64 = 1;

/// When a message with this stamp is due, in milliseconds since 1970.
fn due_ms(content: &Content<'_>, stamp: Stamp) -> u64 {
    let properties = Properties::decode(content.properties).unwrap_or_default();
    stamp.wall_ms().saturating_add(delay::of(properties.headers))
}

impl Shard {
    /// Takes a message that is to wait.
    pub(super) fn delay(
        &mut self,
        queue: &mut Queue,
        content: &Content<'_>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) {
        if !self.is_new(queue, content, &mut None) {
            return;
        }
        let survives = self.ledger.must_have(queue.spec.durable, content);
        let away = self.ledger.on && self.is_tight(survives);
        let id = queue.spec.id;
        let Some(delays) = queue.delays_mut() else { return };
        let position = delays.end;
        delays.end += 1;
        let stored = survives || away;
        if stored {
            delays.journalled = true;
            self.ledger.message(index, id, position, content, survives);
        }
        let message = (!away).then(|| self.blocks.store_once(content, kept));
        delays.push(due_ms(content, self.blocks.stamp), position, message, stored);
        self.look_after_delays(queue);
    }

    /// Sees to it that the queue is looked at when a message of it is due.
    fn look_after_delays(&mut self, queue: &mut Queue) {
        let (now, wall) = (self.now, self.stamp.wall_ms());
        let Some(next) = queue.delays().and_then(|delays| delays.next_ms()) else { return };
        let at = now.after_ms(next.saturating_sub(wall).max(if next <= wall { 0 } else { SOON_MS }));
        self.look_again(queue, at);
    }

    /// Has messages published that are due, and asks for those that will be soon.
    pub(super) fn look_at_delays(&mut self, queue: &mut Queue) {
        let (wall, id, vhost) = (self.stamp.wall_ms(), queue.spec.id, queue.spec.vhost);
        let Some(delays) = queue.delays_mut() else { return };
        let mut count = 0;
        // No more than are published: what has left its queue is counted nowhere.
        while count < DUE_MAX
            && self.deaths.has_room()
            && let Some(due) = delays.pop_due(wall)
        {
            count += 1;
            let stored = due.stored.then_some((id, due.position));
            let cause = Cause::Due { vhost, exchange: delays.exchange.clone() };
            self.deaths.push(Leaving { cause, message: due.message, stored });
        }
        self.ask_for_delays(queue);
        self.look_after_delays(queue);
    }

    fn ask_for_delays(&mut self, queue: &mut Queue) {
        let (wall, id, key) = (self.stamp.wall_ms(), queue.spec.id, queue.key);
        let Some(delays) = queue.delays_mut() else { return };
        if delays.fetching.is_some() {
            return;
        }
        let only = delays.wish(wall);
        let (from, to) = match (only.first(), only.last(), delays.unread) {
            (Some(first), Some(last), _) => (*first, *last + 1),
            (_, _, Some((from, to, _))) => (from, to),
            _ => return,
        };
        let bytes_max = self.settings.limits.fetch_bytes_max;
        let tag = self.reading.next_tag((key, 0));
        delays.fetching = Some((tag, only.clone()));
        let (shard, queue, buffer) = (self.id.0, QueueId(id), self.blocks.spare_filled());
        self.reading.wish(Fetch { shard, tag, queue, from, to, bytes_max, count_max: READ_MAX, buffer, only });
    }

    /// Messages were read back: some that are due soon, or all that there were before a start.
    pub(super) fn delays_fetched(&mut self, queue: &mut Queue, fetched: Fetched) {
        let Fetched { tag, bytes, messages, next, .. } = fetched;
        let tight = self.is_tight(true);
        let Some(delays) = queue.delays_mut() else { return };
        let Some((_, wished)) = delays.fetching.take_if(|(awaited, _)| *awaited == tag) else {
            return self.blocks.keep_filled(bytes);
        };
        let asked = |position: Position| wished.binary_search(&position).is_ok();
        let wanted = messages.iter().filter(|message| asked(message.position)).count();
        let unread = delays.unread.filter(|_| wished.is_empty());
        let keep = if unread.is_some() && !tight { messages.len() } else { wanted };
        let dues: Vec<u64> = match unread {
            Some(_) => messages
                .iter()
                .map(|message| bytes.get(message.at as usize..).unwrap_or(&[]))
                .map(|record| due_ms(&Content::from_record(record), Stamp::of(record)))
                .collect(),
            None => Vec::new(),
        };
        let block = if keep > 0 { Some(self.blocks.adopt(bytes, keep as u32)) } else { None };
        if let Some((from, to, count)) = unread {
            let count = count.saturating_sub(messages.len() as u64);
            for (message, due) in messages.iter().zip(dues) {
                let kept = block.map(|block| Blocks::at(block, message.at));
                delays.push(due, message.position, kept, true);
            }
            delays.unread = (next.max(from) < to).then_some((next.max(from), to, count));
        } else if let Some(block) = block {
            let brought: BTreeMap<Position, MessageRef> = messages
                .iter()
                .filter(|message| asked(message.position))
                .map(|message| (message.position, Blocks::at(block, message.at)))
                .collect();
            delays.bring(&wished, &brought, next);
        } else {
            delays.bring(&wished, &BTreeMap::new(), next);
        }
        self.look_at_delays(queue);
    }

    /// What there was before a start.
    pub(super) fn restore_delays(&mut self, queue: &mut Queue, row: &QueueRow) {
        let Some(delays) = queue.delays_mut() else { return };
        delays.journalled = true;
        delays.end = row.end;
        delays.unread = (row.ready > 0).then_some((row.first, row.end, row.ready));
        self.ask_for_delays(queue);
    }

    /// Removes all messages that wait. Returns whether the journal had something to note.
    pub(super) fn purge_delays(&mut self, queue: &mut Queue) -> bool {
        let id = queue.spec.id;
        let Some(delays) = queue.delays_mut() else { return false };
        delays.clear().into_iter().for_each(|message| self.blocks.release(message));
        if delays.journalled {
            self.ledger.records().purged(QueueId(id), delays.end, &[]);
        }
        delays.journalled
    }
}
