//! Answers that wait for the disk: confirms, and whatever says that something is durable.

use smallvec::SmallVec;

use super::admin::AdminReply;
use super::confirms::Confirm;
use super::dispatch::write_confirm;
use super::ledger::Waiter;
use super::mesh::{Caller, Record, Reply};
use super::{ConnectionId, Shard};

impl Shard {
    /// Answers whoever has waited long enough.
    #[inline]
    pub(super) fn settle_ledger(&mut self) {
        if self.ledger.has_waiters() {
            self.answer_waiters();
        }
    }

    fn answer_waiters(&mut self) {
        while let Some(waiter) = self.ledger.next_done() {
            match waiter {
                Waiter::Confirms { connection, slot, generation } => {
                    let before = self.ledger.done_before();
                    self.confirm_durable(connection, slot, generation, before);
                }
                Waiter::Gate(connection) => self.open_gate(connection),
                Waiter::Commit(caller) => self.answered(caller, Reply::Done),
                Waiter::Admin(ticket) => self.admin.answer(ticket, Ok(AdminReply::Done)),
                Waiter::Peer(shard, ticket) => self.mesh.send(shard, Record::Durable(ticket)),
            }
        }
    }

    /// Answers; the answer is not written before what was noted so far is durable.
    pub(super) fn reply_when_durable(&mut self, caller: Caller, reply: Reply) {
        if !self.ledger.on {
            self.reply(caller, reply);
        } else if caller.shard == self.id.0 {
            self.answered(caller, reply);
            self.gate(caller.connection);
        } else {
            self.ledger.want();
            self.mesh.send(caller.shard, Record::AnswerWhenDurable(caller, reply));
        }
    }

    /// The answer of another shard, which is not written before what that had noted is durable.
    pub(super) fn answered_when_durable(&mut self, owner: u8, caller: Caller, reply: Reply) {
        self.answered(caller, reply);
        let ticket = self.ledger.ask(owner);
        self.ledger.ticket();
        self.mesh.ask(owner, ticket);
        self.gate(caller.connection);
    }

    /// Answers when what other shards have done so far is durable, too.
    pub(super) fn reply_behind(&mut self, caller: Caller, reply: Reply) {
        if self.ledger.on {
            self.ledger.force();
        }
        self.reply_when_durable(caller, reply);
    }

    /// Writes nothing more to a connection until what was noted so far is durable. So its commands go on meanwhile, and
    /// its answers keep their order.
    pub(super) fn gate(&mut self, connection: ConnectionId) {
        if let Some(member) = self.members.get_mut(connection) {
            member.gates += 1;
            self.ledger.wait(Waiter::Gate(connection));
        }
    }

    fn open_gate(&mut self, connection: ConnectionId) {
        if let Some(member) = self.members.get_mut(connection) {
            member.gates -= 1;
            if member.gates == 0 {
                self.members.mark_dirty(connection);
            }
        }
    }

    /// Confirms publishes of a channel whose tickets are before `done`.
    pub(super) fn confirm_durable(&mut self, id: ConnectionId, slot: u32, generation: u32, done: u64) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(channel) = member.channel_mut(slot).filter(|channel| channel.generation == generation) else { return };
        let number = channel.number;
        let mut told: SmallVec<[Confirm; 4]> = SmallVec::new();
        let Some(confirms) = channel.confirm.as_mut() else { return };
        confirms.done(done, |confirm| told.push(confirm));
        self.counted.confirmed += confirms.take_count();
        if !told.is_empty()
            && let Some(out) = self.members.sink(id)
        {
            told.iter().for_each(|confirm| write_confirm(out, number, confirm));
        }
    }
}
