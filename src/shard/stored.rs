//! Queues and their messages on the disk: what is sent away when memory is short, and brought back when it is wanted.

use super::Shard;
use super::alarm::Alarm;
use super::log::LogWriter;
use super::mesh::{Caller, ChannelWire, Reply, ShardId};
use crate::amqp::Content;
use crate::broker::entries::{Brought, KEPT, Room};
use crate::broker::message::{Blocks, MessageRef};
use crate::broker::queue::{Life, Queue};
use crate::broker::topology::{Map, QueueKey};
use crate::store::{Completion, Fetch, Fetched, QueueId, Submission};

/// A queue with consumers keeps so many ready messages in memory while memory is only short for what waits for nobody.
const KEPT_WANTED: usize = 16 << 10;
/// No more messages are brought back at once.
const FETCH_COUNT_MAX: usize = 8 << 10;
/// What part of it is brought back at once when memory is short.
const TIGHT_PART: usize = 16;
/// Queues looked at in one turn for messages to send away.
const SWEEP_QUEUES: usize = 256;

/// A basic.get that waits for its message.
#[derive(Debug)]
struct Getter {
    caller: Caller,
    wire: ChannelWire,
    no_ack: bool,
}

/// What is asked of the store, and who waits for it.
#[derive(Debug)]
pub(super) struct Reading {
    /// Wishes under way, by tag.
    under_way: Map<u64, QueueKey>,
    /// To be handed out.
    wishes: Vec<Fetch>,
    getters: Map<QueueKey, Vec<Getter>>,
    tag: u64,
    /// Where the search for messages to send away goes on.
    sweep_at: usize,
    /// Queues to be looked at before the search rests.
    sweep_left: usize,
    /// Credit for publishes of other shards that is given back when the journal has caught up.
    withheld: Vec<(ShardId, i64)>,
    /// Messages that queues have sent away, to be released.
    spent: Vec<MessageRef>,
}

impl Reading {
    pub(super) fn new(hash: &ahash::RandomState) -> Reading {
        Reading {
            under_way: Map::with_hasher(hash.clone()),
            wishes: Vec::new(),
            getters: Map::with_hasher(hash.clone()),
            tag: 0,
            sweep_at: 0,
            sweep_left: 0,
            withheld: Vec::new(),
            spent: Vec::new(),
        }
    }
}

/// How many ready messages of a queue stay in memory when that is short; `tight`: for any messages.
fn stays(queue: &Queue, tight: bool) -> usize {
    if queue.consumer_count() > 0 && !tight { KEPT_WANTED } else { KEPT }
}

impl Shard {
    // ---- what is kept where

    /// Whether memory is short: for messages that the journal has anyway, or for any.
    #[inline]
    fn is_tight(&self, stored: bool) -> bool {
        let limits = &self.settings.limits;
        let max = if stored { limits.stored_messages_bytes_max } else { limits.messages_bytes_max };
        self.blocks.bytes() > max / usize::from(self.count)
    }

    /// Appends a message that nobody takes yet.
    #[inline]
    pub(super) fn store(
        &mut self,
        queue: &mut Queue,
        content: &Content<'_>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) {
        let mut journalled = false;
        if self.ledger.on {
            let survives = self.ledger.must_have(queue.spec.durable, content);
            let room = queue.entries.room(self.is_tight(survives).then(|| stays(queue, self.is_tight(false))));
            journalled = survives || room != Room::Here;
            if journalled {
                self.ledger.message(index, queue.spec.id, queue.entries.end(), content, survives);
            }
            if room == Room::Away {
                // Not let go yet: another queue may be about to get one of them, too.
                let spent = &mut self.reading.spent;
                queue.entries.push_away(|message| spent.push(message));
                return;
            }
        }
        let message = self.blocks.store_once(content, kept);
        queue.entries.push(message, journalled);
    }

    /// Lets go of messages that queues have sent away while others got them.
    #[inline]
    pub(super) fn release_spent(&mut self) {
        self.reading.spent.drain(..).for_each(|message| self.blocks.release(message));
    }

    /// When memory is short: messages that the journal has are forgotten here, some queues at a time.
    pub(super) fn send_away(&mut self) {
        if !self.ledger.on || !self.is_tight(true) {
            self.reading.sweep_left = 0;
            return;
        }
        let tight = self.is_tight(false);
        if self.reading.sweep_left == 0 {
            self.reading.sweep_left = self.living.len();
        }
        for _ in 0..SWEEP_QUEUES.min(self.reading.sweep_left) {
            self.reading.sweep_left -= 1;
            let at = self.reading.sweep_at;
            self.reading.sweep_at = if at + 1 < self.living.len() { at + 1 } else { 0 };
            let Some(queue) = self.living.get_mut(at).and_then(Option::as_deref_mut) else { continue };
            let keep = stays(queue, tight);
            if queue.entries.ready_here() > keep {
                let blocks = &mut self.blocks;
                queue.entries.send_away(keep, |message| blocks.release(message));
            }
        }
    }

    /// Purges a queue. Returns whether the journal had something to note.
    pub(super) fn purge(&mut self, key: QueueKey) -> bool {
        let Some(mut queue) = self.lift(key) else { return false };
        let removed = queue.entries.purge();
        self.upkeep.release(removed);
        let stored = queue.entries.is_journalled();
        if stored {
            let kept = queue.entries.stored_ranges();
            self.ledger.records().purged(QueueId(queue.spec.id), queue.entries.end(), &kept);
        }
        self.put_back(queue);
        self.reading.under_way.retain(|_, of| *of != key);
        self.answer_getters(key);
        stored
    }

    /// A queue ends: the store forgets one that shard 0 has not told it of.
    pub(super) fn forget_stored(&mut self, queue: &Queue) {
        if !queue.spec.durable && queue.entries.is_journalled() {
            self.ledger.records().undefined(QueueId(queue.spec.id));
        }
        self.reading.under_way.retain(|_, of| *of != queue.key);
        for getter in self.reading.getters.remove(&queue.key).unwrap_or_default() {
            self.reply(getter.caller, Reply::Retry);
        }
    }

    // ---- what is brought back

    /// Has messages of a queue brought back, if somebody wants them and few are here.
    pub(super) fn fetch_for(&mut self, queue: &mut Queue) {
        if queue.entries.is_away() && queue.consumer_count() > 0 {
            self.fetch(queue);
        }
    }

    fn fetch(&mut self, queue: &mut Queue) {
        self.reading.tag += 1;
        let tag = self.reading.tag;
        let Some((from, to)) = queue.entries.wish(KEPT, tag) else { return };
        let part = if self.is_tight(true) { TIGHT_PART } else { 1 };
        self.reading.under_way.insert(tag, queue.key);
        self.reading.wishes.push(Fetch {
            shard: self.id.0,
            tag,
            queue: QueueId(queue.spec.id),
            from,
            to,
            bytes_max: self.settings.limits.fetch_bytes_max / part,
            count_max: FETCH_COUNT_MAX,
            buffer: self.blocks.spare_filled(),
        });
    }

    /// A basic.get that must wait until a message is here.
    pub(super) fn get_later(&mut self, caller: Caller, key: QueueKey, wire: ChannelWire, no_ack: bool) {
        let Some(mut queue) = self.lift(key) else { return };
        self.reading.getters.entry(key).or_default().push(Getter { caller, wire, no_ack });
        self.fetch(&mut queue);
        self.put_back(queue);
    }

    /// A channel, or a connection with all its channels, has ended: it waits for no message any more.
    pub(super) fn forget_getters(&mut self, gone: Caller) {
        let is_gone = |caller: &Caller| match gone.channel {
            Caller::WHOLE => (caller.shard, caller.connection) == (gone.shard, gone.connection),
            _ => *caller == gone,
        };
        for getters in self.reading.getters.values_mut() {
            getters.retain(|getter| !is_gone(&getter.caller));
        }
    }

    fn answer_getters(&mut self, key: QueueKey) {
        for Getter { caller, wire, no_ack } in self.reading.getters.remove(&key).unwrap_or_default() {
            self.get(caller, key, wire, no_ack);
        }
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { tag, bytes, messages, lost, next, .. } = fetched;
        let queue = self.reading.under_way.remove(&tag).and_then(|key| self.lift(key));
        let Some(mut queue) = queue else { return self.blocks.keep_filled(bytes) };
        if !queue.entries.awaits(tag) {
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
            queue.entries.bring(brought, lost, next);
        }
        if !queue.entries.is_dry() && queue.is_wanted() {
            self.owner.activate(&mut queue);
        } else {
            self.fetch_for(&mut queue);
        }
        let key = queue.key;
        self.put_back(queue);
        self.answer_getters(key);
    }

    // ---- the store

    /// What the store has to say.
    pub fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Durable { seq } => {
                self.ledger.durable(seq);
                self.settle_ledger();
                if self.ledger.is_behind && self.ledger.waiting_bytes <= self.journal_share() / 2 {
                    self.ledger.is_behind = false;
                    self.set_pressed(false);
                }
            }
            Completion::Fetched(fetched) => self.fetched(fetched),
            // Nothing that waits will ever be answered: no confirm may be given.
            Completion::Failed => self.set_alarm(Alarm::Store, true),
            Completion::DiskLow(low) => self.set_alarm(Alarm::Disk, low),
        }
    }

    /// What the turn has for the journal. While that has not taken what it was given before (`may_submit`), records are
    /// held back, so that messages that are settled meanwhile need not be written; but not for long, and nothing that
    /// others are about to see.
    pub fn next_submission(&mut self, may_submit: impl FnOnce() -> bool) -> Option<Submission> {
        if !self.ledger.on {
            return None;
        }
        let shows = self.writer.as_ref().is_some_and(LogWriter::has_hidden);
        // Messages that are wanted back must be written first.
        let reads = !self.reading.wishes.is_empty();
        let soon = self.ledger.is_submitted_soon();
        if !shows && !reads && !soon && !self.stopping && self.ledger.hold(self.now, may_submit) {
            return None;
        }
        let submission = self.ledger.seal(self.id.0);
        // Whoever waits for nothing that is here.
        self.settle_ledger();
        let submission = submission?;
        if self.ledger.waiting_bytes > self.journal_share() {
            self.ledger.is_behind = true;
            self.set_pressed(true);
        }
        Some(submission)
    }

    /// Gives credit back for publishes of another shard, or later if the journal is behind.
    pub(super) fn took_publishes(&mut self, peer: ShardId, bytes: i64) {
        if self.journal_pressed() {
            self.reading.withheld.push((peer, bytes));
        } else {
            self.mesh.processed(peer, bytes);
        }
    }

    /// Gives back what was kept while the journal was behind.
    pub(super) fn give_withheld(&mut self) {
        for (peer, bytes) in std::mem::take(&mut self.reading.withheld) {
            self.mesh.processed(peer, bytes);
        }
    }

    /// Bytes of this shard that may wait for the disk before publishers are held.
    fn journal_share(&self) -> usize {
        self.settings.limits.journal_waiting_bytes_max / usize::from(self.count)
    }

    /// Memory for the next submission.
    pub fn give_memory(&mut self, spare: Vec<u8>) {
        self.ledger.give(spare);
    }

    /// The next messages to be read from the disk.
    pub fn next_fetch(&mut self) -> Option<Fetch> {
        self.reading.wishes.pop()
    }

    /// Lets everybody see the changes of names that were handed to the journal.
    #[inline]
    pub fn show_topology(&mut self) {
        if let Some(writer) = self.writer.as_mut().filter(|writer| writer.has_hidden()) {
            writer.show();
        }
    }

    /// A queue that was there before the start has these messages.
    pub(super) fn restore_messages(&mut self, key: QueueKey, first: u64, end: u64, ready: u64) {
        if let Some(queue) = self.living_mut(key).filter(|queue| queue.life == Life::Alive) {
            queue.entries.restore(first, end, ready);
        }
    }
}
