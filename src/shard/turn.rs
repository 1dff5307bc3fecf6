//! The turn: the order in which a shard meets the world, shared by the server and the simulator.
//!
//! The order is a contract (shards.md A1): *read a socket → apply the topology log → take the mesh inbox → parse what
//! was read*, and at the end *submit to the journal → show the topology log → push all mesh batches → only then write
//! sockets*. What one client was told, every later command of any client on any shard therefore meets.

use super::Shard;
use super::access::PasswordCheck;
use super::admin::{AdminAnswer, AdminRequest};
use super::inspect::{InspectReply, InspectRequest};
use super::mesh::{Batch, ShardId};
use crate::connection::outbound::Outbound;
use crate::shard::ConnectionId;
use crate::store::{Completion, Fetch, Submission};
use crate::time::Now;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// This many bytes (at least one).
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// The peer closed its side, or the socket failed.
    Closed,
}

/// What a write achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Everything was taken.
    Drained,
    /// The socket takes no more until it is reported writable.
    Full,
    /// The socket failed; a read will report it closed.
    Failed,
}

/// How a socket is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseKind {
    /// After everything written so far.
    Flushed,
    /// At once, by a reset where the system can.
    Reset,
}

/// What the shard needs of the world: sockets, a clock and the other shards. One for the operating system
/// (`server`), one for the simulator.
pub trait World {
    /// The time of this turn.
    fn now(&mut self) -> Now;
    /// The time of the day, in milliseconds since 1970: what messages' lifetimes are counted by, over restarts too. It
    /// never goes back.
    fn wall_ms(&mut self) -> u64 {
        self.now().ms
    }
    /// The next connection of this turn that may have something to read; each at most once per turn. A connection
    /// that was not read empty comes again next turn.
    fn next_readable(&mut self) -> Option<ConnectionId>;
    /// The next connection that became writable.
    fn next_writable(&mut self) -> Option<ConnectionId>;
    /// Reads once into `buffer`.
    fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome;
    /// The next batch from another shard.
    fn inbox(&mut self) -> Option<Batch>;
    /// The newest topology version this shard may already look at; batches pull it further. The simulator lags here.
    fn topology_visible(&mut self) -> u64 {
        u64::MAX
    }
    /// Whether the journal has taken what this shard has submitted before. If not, the shard is run again when it has.
    fn may_submit(&mut self, _shard: u8) -> bool {
        true
    }
    /// Hands records to the journal, and returns memory to go on with. Never blocks, and is never called without a
    /// store.
    fn submit(&mut self, submission: Submission) -> Vec<u8> {
        submission.bytes
    }
    /// Asks for messages that lie on the disk. Never blocks, and is never called without a store.
    fn fetch(&mut self, _fetch: Fetch) {}
    /// The next thing that the store has to say.
    fn completion(&mut self) -> Option<Completion> {
        None
    }
    /// For shard 0: the next request that is not AMQP, with a number for its answer. The shard is run when there is
    /// one.
    fn admin_request(&mut self) -> Option<(u64, AdminRequest)> {
        None
    }
    /// The answer to such a request. Never called for a shard that was given none.
    fn admin_answer(&mut self, _ticket: u64, _answer: AdminAnswer) {}
    /// The next question of somebody who looks. It is answered before the next one is taken. The shard is run when
    /// there is one.
    fn inspect_request(&mut self) -> Option<InspectRequest> {
        None
    }
    /// The answer to such a question. Never called for a shard that was given none.
    fn inspect_answer(&mut self, _reply: InspectReply) {}
    /// Has a password checked that takes its time, elsewhere. Never called where no user has such a password.
    fn check(&mut self, _check: PasswordCheck) {}
    /// The next password that was checked, and whether it was right. The shard is run when there is one.
    fn checked(&mut self) -> Option<(PasswordCheck, bool)> {
        None
    }
    /// Hands a batch to another shard and wakes it when it sleeps. Never blocks.
    fn push(&mut self, to: ShardId, batch: Batch);
    /// Writes as much as the socket takes and advances `outbound`.
    fn write(&mut self, id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome;
    /// Closes the socket; the id is not used again.
    fn close(&mut self, id: ConnectionId, how: CloseKind);
}

/// When the next turn is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// At once: work is left over.
    Now,
    /// At this time, or when something happens before.
    At(Now),
    /// When something happens.
    OnEvent,
}

/// One turn of `shard`.
pub fn turn<W: World>(shard: &mut Shard, world: &mut W) -> NextTurn {
    let now = world.now();
    shard.begin_turn(now, world.wall_ms());
    while let Some(id) = world.next_writable() {
        shard.writable(id);
    }
    let mut budget = shard.limits().turn_bytes_max;
    let mut took_inbox = false;
    loop {
        // Connections that waited for something inside the shard come first: their bytes are older.
        let id = match shard.next_resumed() {
            Some(id) => id,
            None if budget == 0 => break,
            None => match world.next_readable() {
                Some(id) => id,
                None => break,
            },
        };
        let Some(buffer) = shard.receive_buffer(id) else {
            continue;
        };
        let outcome = world.read(id, buffer);
        shard.apply_topology(world.topology_visible());
        while let Some(batch) = world.inbox() {
            shard.message(now, batch);
        }
        took_inbox = true;
        match outcome {
            ReadOutcome::Bytes(count) => {
                budget = budget.saturating_sub(count);
                shard.receive(now, id, count);
            }
            ReadOutcome::Empty => shard.receive(now, id, 0),
            ReadOutcome::Closed => shard.disconnected(now, id),
        }
    }
    if !took_inbox {
        shard.apply_topology(world.topology_visible());
        while let Some(batch) = world.inbox() {
            shard.message(now, batch);
        }
    }
    while let Some((ticket, request)) = world.admin_request() {
        shard.administer(ticket, request);
    }
    while let Some(request) = world.inspect_request() {
        let reply = shard.inspect(request);
        world.inspect_answer(reply);
    }
    while let Some(completion) = world.completion() {
        shard.completed(completion);
    }
    while let Some((check, is_right)) = world.checked() {
        shard.checked(&check, is_right);
    }
    shard.advance(now);
    shard.end_turn(now);
    let id = shard.id();
    if let Some(submission) = shard.next_submission(|| world.may_submit(id.0)) {
        let spare = world.submit(submission);
        shard.give_memory(spare);
    }
    while let Some(fetch) = shard.next_fetch() {
        world.fetch(fetch);
    }
    // Whoever learns of a change submits behind it.
    shard.show_topology();
    while let Some((to, batch)) = shard.next_batch() {
        world.push(to, batch);
    }
    while let Some(id) = shard.next_dirty() {
        if let Some(outbound) = shard.outbound(id) {
            let outcome = world.write(id, outbound);
            shard.wrote(now, id, outcome);
        }
    }
    while let Some(check) = shard.next_check() {
        world.check(check);
    }
    while let Some((ticket, answer)) = shard.next_admin_answer() {
        world.admin_answer(ticket, answer);
    }
    while let Some((id, how)) = shard.next_closed() {
        world.close(id, how);
    }
    shard.next_turn()
}
