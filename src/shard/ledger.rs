//! What a shard has for the journal, and who waits until it is on the disk (shards.md A17, store.md S4).
//!
//! Records gather during a turn and are submitted at its end under a *ticket*, the number of the submission in the
//! making. Whoever must not be answered before something is durable waits for the ticket that was open when it was
//! noted. Publishes to queues of other shards are in *their* journal submissions: the batch that carries them asks, and
//! the owner answers when its own are durable. Answers to peers wait for what is here alone, or two shards that publish
//! to each other would wait for each other.

mod fan;
mod wanted;

use std::collections::VecDeque;

use super::ConnectionId;
use super::mesh::Caller;
use crate::amqp::{Content, Stamp};
use crate::broker::entries::{Position, Taken};
use crate::broker::message::Blocks;
use crate::store::record::{self, CONDITIONAL, Name, Named, Note, Records, TRANSIENT};
use crate::store::{QueueId, Submission};
use crate::time::Now;
use fan::Fan;

/// Who waits.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A channel of this shard whose publishes are to be confirmed.
    Confirms { connection: ConnectionId, slot: u32, generation: u32 },
    /// Another shard, for its ticket.
    Peer(u8, u64),
    /// A connection whose outbound bytes are not to be written before.
    Gate(ConnectionId),
    /// A channel whose transaction is committed when other shards have said what their queues refuse of it.
    Commit(Caller),
    /// Who has asked under this ticket for something that is not AMQP.
    Admin(u64),
}

/// What is for the journal, and who waits for it.
#[derive(Debug)]
pub(super) struct Ledger {
    /// There is a store.
    pub(super) on: bool,
    /// Messages are noted with this stamp.
    pub(super) stamp: Stamp,
    records: Records,
    /// To be written behind the messages that have them.
    names: Vec<Named>,
    /// The ticket of what is noted now.
    open: u64,
    /// Somebody waits for it.
    wanted: bool,
    /// Nobody waited for the last submission.
    unhurried: bool,
    /// Something was noted that a confirm has to wait for.
    touched: bool,
    /// What was submitted and is not durable, with its bytes.
    own: VecDeque<(u64, usize)>,
    /// Tickets for which an answer of each peer is due.
    asked: Vec<VecDeque<u64>>,
    /// Who waits for what is here alone.
    for_own: VecDeque<(u64, Waiter)>,
    /// Who waits for peers, too.
    for_all: VecDeque<(u64, Waiter)>,
    /// Bytes submitted and not durable.
    pub(super) waiting_bytes: usize,
    /// They were too many, and are not few yet.
    pub(super) is_behind: bool,
    spare: Vec<u8>,
    /// Records of an earlier turn are held back, since then.
    held: Option<Now>,
    /// Memory for what is left of records that were held back.
    elided: Vec<u8>,
    fan: Fan,
    /// The transaction over several shards that what is noted now is of.
    tx: Option<u64>,
    /// The last one that the records name.
    named: Option<u64>,
    /// This turn's records are not to be held back.
    soon: bool,
}

/// No more bytes are held back.
const HELD_BYTES_MAX: usize = 1 << 20;
/// What nobody waits for is held back so long at most, in milliseconds: it is one write with what comes.
const HELD_MS: u64 = 20;

impl Ledger {
    pub(super) fn new(on: bool, shards: usize) -> Ledger {
        Ledger {
            on,
            stamp: Stamp::default(),
            records: Records::default(),
            names: Vec::new(),
            open: 1,
            wanted: false,
            unhurried: false,
            touched: false,
            own: VecDeque::new(),
            asked: (0..shards).map(|_| VecDeque::new()).collect(),
            for_own: VecDeque::new(),
            for_all: VecDeque::new(),
            waiting_bytes: 0,
            is_behind: false,
            spare: Vec::new(),
            held: None,
            elided: Vec::new(),
            fan: Fan::default(),
            tx: None,
            named: None,
            soon: false,
        }
    }

    /// Notes a message at its place in a queue, which it has to survive in or is only sent away from. `index`: which it
    /// is of some that go to several queues, and are written by [`write_fan`](Ledger::write_fan).
    #[inline]
    pub(super) fn message(
        &mut self,
        index: Option<u32>,
        queue: u64,
        position: Position,
        content: &Content<'_>,
        survives: bool,
    ) {
        let queue = QueueId(queue);
        let mut flags = if survives { 0 } else { TRANSIENT };
        self.touched |= survives;
        if self.tx.is_some() && survives {
            flags = CONDITIONAL;
            self.name_part();
        }
        let Some(index) = index else {
            let fill = |place: &mut [u8]| content.fill_record(place, self.stamp);
            return self.records.message(queue, position, flags, content.record_bytes(), fill);
        };
        self.fan.note(queue, position, index, flags);
    }

    /// Writes messages that went to several queues: each body once, if all its queues have taken the same ones.
    pub(super) fn write_fan(&mut self, contents: &[Content<'_>]) {
        self.fan.write(&mut self.records, contents, self.stamp);
    }

    /// The messages to come are of a transaction over several shards.
    pub(super) fn begin_part(&mut self, tx: u64) {
        self.tx = Some(tx);
    }

    /// The messages to come are of none.
    pub(super) fn end_part(&mut self) {
        self.tx = None;
    }

    /// Whether the messages to come are of a transaction over several shards.
    pub(super) fn is_in_part(&self) -> bool {
        self.tx.is_some()
    }

    /// Notes the name of a message that a queue takes once; `keep_max`: no more of them are kept.
    pub(super) fn noted(&mut self, queue: u64, keep_max: u32, note: Note) {
        let mut flags = 0;
        if self.tx.is_some() {
            flags = CONDITIONAL;
            self.name_part();
        }
        self.touched = true;
        self.records.noted(QueueId(queue), keep_max, flags, note);
    }

    /// Notes what a message that was noted goes by, in a queue that takes no second one while it has it.
    pub(super) fn named(&mut self, queue: u64, position: Position, name: Name) {
        self.names.push(Named { queue: QueueId(queue), position, name });
    }

    /// Once per submission and transaction.
    fn name_part(&mut self) {
        if let Some(tx) = self.tx
            && self.named != self.tx
        {
            self.named = self.tx;
            self.records.part(tx);
        }
    }

    /// Has this turn's records submitted at its end.
    pub(super) fn submit_soon(&mut self) {
        self.soon = true;
    }

    /// Whether they are to be; until the next turn.
    pub(super) fn is_submitted_soon(&mut self) -> bool {
        std::mem::take(&mut self.soon)
    }

    /// Notes that the journal's messages from one position to before another, if any, are done with.
    #[inline]
    pub(super) fn settled(&mut self, queue: u64, from: Position, end: Position) {
        if from < end {
            self.records.settled(QueueId(queue), from, end - 1);
        }
    }

    /// Lets go of a message that was taken from a queue for good.
    #[inline]
    pub(super) fn spend(&mut self, blocks: &mut Blocks, queue: u64, taken: &Taken) {
        blocks.release(taken.message);
        if taken.stored {
            self.settled(queue, taken.position, taken.position + 1);
        }
    }

    /// Notes that the journal's message at a position was delivered and is ready again.
    pub(super) fn returned(&mut self, queue: u64, position: Position) {
        self.records.returned(QueueId(queue), position, position);
    }

    /// For whatever else is to be written.
    pub(super) fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    /// The ticket to wait for if something was noted since the last call that a confirm has to wait for.
    #[inline]
    pub(super) fn ticket(&mut self) -> Option<u64> {
        std::mem::take(&mut self.touched).then_some(self.open)
    }

    /// Notes that a batch to a peer asks for an answer. Returns the ticket.
    pub(super) fn ask(&mut self, peer: u8) -> u64 {
        self.touched = true;
        if let Some(asked) = self.asked.get_mut(usize::from(peer))
            && asked.back() != Some(&self.open)
        {
            asked.push_back(self.open);
        }
        self.open
    }

    /// Whether this is the ticket of what is noted now.
    pub(super) fn is_open(&self, ticket: u64) -> bool {
        ticket == self.open
    }

    /// Somebody will wait for what was noted so far.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Has somebody wait for what was noted so far.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.wanted = true;
        match waiter {
            Waiter::Confirms { .. } | Waiter::Gate(_) | Waiter::Commit(_) => {
                self.for_all.push_back((self.open, waiter))
            }
            Waiter::Peer(..) | Waiter::Admin(_) => self.for_own.push_back((self.open, waiter)),
        }
    }

    /// Has whoever waits next wait for what other shards have submitted so far, too: a submission comes behind theirs,
    /// if need be an empty one.
    pub(super) fn force(&mut self) {
        if self.records.is_empty() && !self.is_forced() {
            self.own.push_back((self.open, 0));
        }
    }

    /// Whether what is open is to be submitted even if it is empty.
    fn is_forced(&self) -> bool {
        self.own.back().is_some_and(|(ticket, _)| *ticket == self.open)
    }

    /// Has the records wait for more, if nobody wants them soon, or while the journal is busy with what it was given
    /// before. What goes to other shards in this turn then asks under the same ticket as what goes in the next. Returns
    /// whether they wait.
    pub(super) fn hold(&mut self, now: Now, may_submit: impl FnOnce() -> bool) -> bool {
        if self.records.len() > HELD_BYTES_MAX || !self.has_output() {
            return false;
        }
        let since = self.held.unwrap_or(now);
        let lazy = !self.wanted && now < since.after_ms(HELD_MS);
        let hold = lazy || !self.own.is_empty() && !may_submit();
        if hold {
            self.held = Some(since);
        }
        hold
    }

    /// When records that wait for more are due.
    pub(super) fn due(&self) -> Option<Now> {
        self.held.map(|since| since.after_ms(HELD_MS))
    }

    /// Ends a turn: what is to be submitted.
    pub(super) fn seal(&mut self, shard: u8) -> Option<Submission> {
        let is_forced = self.is_forced();
        // Somebody waits for what was submitted without hurry: an empty submission brings the sync.
        let must = is_forced || self.wanted && self.unhurried && !self.own.is_empty();
        if self.records.is_empty() && !must {
            self.end_page();
            return None;
        }
        self.names.drain(..).for_each(|named| self.records.named(named));
        let mut bytes = self.records.take(std::mem::take(&mut self.spare));
        self.named = None;
        if self.held.take().is_some()
            && let Some(fewer) = record::elide(&bytes, std::mem::take(&mut self.elided))
        {
            self.elided = std::mem::replace(&mut bytes, fewer);
        }
        if bytes.is_empty() && !must {
            // Nothing is left of it: whoever waits for it waits for what was before.
            (self.open, self.wanted) = (self.open + 1, false);
            self.spare = bytes;
            return None;
        }
        if is_forced {
            self.own.pop_back();
        }
        self.own.push_back((self.open, bytes.len()));
        self.waiting_bytes += bytes.len();
        let sync = std::mem::take(&mut self.wanted);
        self.unhurried = !sync;
        let submission = Submission { from: shard, seq: self.open, bytes, sync };
        self.open += 1;
        Some(submission)
    }

    /// Ends a ticket that only peers have something for.
    pub(super) fn end_page(&mut self) {
        let is_asked = self.asked.iter().any(|asked| asked.back() == Some(&self.open));
        self.open += u64::from(is_asked || self.wanted);
        self.wanted = false;
    }

    /// Memory to go on with.
    pub(super) fn give(&mut self, spare: Vec<u8>) {
        self.spare = spare;
    }

    /// Whether there is something to submit.
    pub(super) fn has_output(&self) -> bool {
        !self.records.is_empty() || self.is_forced()
    }

    /// All of this shard's submissions up to this ticket are durable.
    pub(super) fn durable(&mut self, ticket: u64) {
        while let Some((first, bytes)) = self.own.front().copied()
            && first <= ticket
        {
            self.waiting_bytes -= bytes;
            self.own.pop_front();
        }
    }

    /// A peer has what was asked for up to this ticket.
    pub(super) fn answered(&mut self, peer: u8, ticket: u64) {
        let Some(asked) = self.asked.get_mut(usize::from(peer)) else { return };
        while asked.front().is_some_and(|first| *first <= ticket) {
            asked.pop_front();
        }
    }

    /// Whether somebody waits.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        !self.for_own.is_empty() || !self.for_all.is_empty()
    }

    /// The next who has waited long enough.
    pub(super) fn next_done(&mut self) -> Option<Waiter> {
        let own = self.own_before();
        if self.for_own.front().is_some_and(|(ticket, _)| *ticket < own) {
            return self.for_own.pop_front().map(|(_, waiter)| waiter);
        }
        let all = self.done_before();
        if self.for_all.front().is_some_and(|(ticket, _)| *ticket < all) {
            return self.for_all.pop_front().map(|(_, waiter)| waiter);
        }
        None
    }

    /// All tickets before this are done, here.
    fn own_before(&self) -> u64 {
        self.own.front().map_or(self.open, |(ticket, _)| *ticket)
    }

    /// All tickets before this are done, here and at the peers.
    pub(super) fn done_before(&self) -> u64 {
        self.asked.iter().filter_map(|asked| asked.front().copied()).fold(self.own_before(), u64::min)
    }
}

#[cfg(test)]
mod tests;
