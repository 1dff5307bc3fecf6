//! Queues and their messages on the disk: what is sent away when memory is short, and brought back when it is wanted.

mod fetching;

use super::Shard;
use super::alarm::Alarm;
use super::log::LogWriter;
use super::mesh::{Caller, ChannelWire, Reply, ShardId};
use crate::amqp::Content;
use crate::broker::entries::{KEPT, Room};
use crate::broker::message::MessageRef;
use crate::broker::queue::ruled::{CLASS_SHIFT, stored_as};
use crate::broker::queue::{Life, Queue};
use crate::broker::topology::{Map, QueueKey};
use crate::store::{Completion, Fetch, QueueId, QueueRow, Submission};

/// A queue with consumers keeps so many ready messages in memory while memory is only short for what waits for nobody.
const KEPT_WANTED: usize = 16 << 10;
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
    /// Wishes under way, by tag: for which queue, and which class of it.
    under_way: Map<u64, (QueueKey, u8)>,
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

impl Reading {
    /// A tag for a wish, which is for a class of a queue.
    pub(super) fn next_tag(&mut self, of: (QueueKey, u8)) -> u64 {
        self.tag += 1;
        self.under_way.insert(self.tag, of);
        self.tag
    }

    /// Has a wish handed out.
    pub(super) fn wish(&mut self, fetch: Fetch) {
        self.wishes.push(fetch);
    }

    /// Has a message released at the end of the turn: another queue may be about to get it, too.
    pub(super) fn let_go(&mut self, message: MessageRef) {
        self.spent.push(message);
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
    pub(super) fn is_tight(&self, stored: bool) -> bool {
        let limits = &self.settings.limits;
        let max = if stored { limits.stored_messages_bytes_max } else { limits.messages_bytes_max };
        self.blocks.bytes() > max / usize::from(self.count)
    }

    /// Appends a message of a class that nobody takes yet.
    #[inline(always)]
    pub(super) fn store(
        &mut self,
        queue: &mut Queue,
        class: u8,
        content: &Content<'_>,
        kept: &mut Option<MessageRef>,
        index: Option<u32>,
    ) {
        let mut journalled = false;
        if self.ledger.on {
            let (survives, id) = (self.survives(queue, content), queue.spec.id);
            let keep = self.is_tight(survives).then(|| stays(queue, self.is_tight(false)));
            let entries = queue.class_entries(class);
            let (room, position) = (entries.room(keep), entries.end());
            journalled = survives || room != Room::Here;
            if journalled {
                self.ledger.message(index, stored_as(id, position), position, content, survives);
            }
            if room == Room::Away {
                // Not let go yet: another queue may be about to get one of them, too.
                let spent = &mut self.reading.spent;
                entries.push_away(|message| spent.push(message));
                return;
            }
        }
        let message = self.blocks.store_once(content, kept);
        queue.class_entries(class).push(message, journalled);
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
            // What exchanges remember is bounded, and nowhere else.
            if queue.ruled.as_ref().is_some_and(|ruled| ruled.history) {
                continue;
            }
            let keep = stays(queue, tight);
            for entries in queue.all_entries() {
                if entries.ready_here() > keep {
                    let blocks = &mut self.blocks;
                    entries.send_away(keep, |message| blocks.release(message));
                }
            }
        }
    }

    /// Purges a queue. Returns whether the journal had something to note.
    pub(super) fn purge(&mut self, key: QueueKey) -> bool {
        let Some(mut queue) = self.lift(key) else { return false };
        if queue.delays().is_some() {
            let stored = self.purge_delays(&mut queue);
            self.reading.under_way.retain(|_, (of, _)| *of != key);
            self.put_back(queue);
            return stored;
        }
        let (id, mut stored) = (queue.spec.id, false);
        for entries in queue.all_entries() {
            self.upkeep.release(entries.purge());
            if entries.is_journalled() {
                stored = true;
                let (kept, end) = (entries.stored_ranges(), entries.end());
                self.ledger.records().purged(QueueId(stored_as(id, end)), end, &kept);
            }
        }
        if let Some(ruled) = &mut queue.ruled {
            ruled.ready_bytes = 0;
            ruled.seen.iter_mut().filter(|seen| seen.rule.by_content).for_each(|seen| seen.clear());
        }
        self.put_back(queue);
        self.reading.under_way.retain(|_, (of, _)| *of != key);
        self.answer_getters(key);
        stored
    }

    /// A queue ends: the store forgets one that shard 0 has not told it of.
    pub(super) fn forget_stored(&mut self, queue: &Queue) {
        if !queue.spec.durable && queue.is_journalled() {
            self.ledger.records().undefined(QueueId(queue.spec.id));
        }
        self.reading.under_way.retain(|_, (of, _)| *of != queue.key);
        for getter in self.reading.getters.remove(&queue.key).unwrap_or_default() {
            self.reply(getter.caller, Reply::Retry);
        }
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
    #[inline]
    pub fn next_submission(&mut self, may_submit: impl FnOnce() -> bool) -> Option<Submission> {
        if !self.ledger.on {
            self.ledger.end_page();
            self.settle_ledger();
            return None;
        }
        self.submission(may_submit)
    }

    fn submission(&mut self, may_submit: impl FnOnce() -> bool) -> Option<Submission> {
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
    pub(super) fn restore_messages(&mut self, key: QueueKey, row: &QueueRow) {
        if let Some(mut queue) = self.lift(key) {
            if queue.delays().is_some() {
                self.restore_delays(&mut queue, row);
            } else if queue.life == Life::Alive {
                let class = (row.end >> CLASS_SHIFT) as u8;
                queue.class_entries(class).restore(row.first, row.end, row.ready);
                if let Some(ruled) = queue.ruled.as_mut().filter(|_| row.ready > 0) {
                    ruled.expiring = true;
                    if ruled.rules.length_bytes_max.is_some() {
                        ruled.unweighed.push((row.first, row.end));
                        self.fetch(&mut queue, class);
                    }
                }
                self.look_after(&mut queue);
            }
            self.put_back(queue);
        }
    }
}
