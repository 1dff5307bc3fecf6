//! Class confirm (RabbitMQ): publisher confirms.

use smallvec::SmallVec;

use super::Done;
use crate::amqp::frame::write_method;
use crate::amqp::method::{ConfirmSelect, ConfirmSelectOk};
use crate::amqp::{Exception, ReplyCode};
use crate::shard::confirms::{Confirm, Confirms};
use crate::shard::ledger::Waiter;
use crate::shard::mesh::Caller;
use crate::shard::{ConnectionId, Shard};

/// Writes what a publisher is told.
pub(in crate::shard) fn write_confirm(out: &mut Vec<u8>, number: u16, confirm: &Confirm) {
    match confirm {
        Confirm::Ack(ack) => write_method(out, number, ack),
        Confirm::Nack(nack) => write_method(out, number, nack),
    }
}

impl Shard {
    pub(super) fn confirm_select(&mut self, caller: Caller, no_wait: bool) -> Done {
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        if channel.tx.is_some() {
            return Err(Exception::new(
                ReplyCode::PreconditionFailed,
                ConfirmSelect::ID,
                "cannot switch from tx to confirm mode",
            ));
        }
        channel.confirm.get_or_insert_with(Confirms::default);
        self.write_unless(no_wait, caller, &ConfirmSelectOk {});
        Ok(())
    }

    /// A queue of another shard has refused a publish of a channel. It was not confirmed: it waits for that shard.
    pub(in crate::shard) fn publish_refused(&mut self, caller: Caller, number: u64) {
        let Some(channel) = self.channel_of(caller) else { return };
        if let Some(confirms) = &mut channel.confirm {
            confirms.refuse(number);
        } else if let Some(tx) = &mut channel.tx {
            tx.refused = true;
        }
    }

    /// Confirms what a connection's latest bytes have published: one ack per channel, whatever the number. What must be
    /// on the disk first is confirmed when it is.
    #[inline]
    pub(in crate::shard) fn write_confirms(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.confirms_due.is_empty() {
            return;
        }
        let slots = std::mem::take(&mut member.confirms_due);
        for slot in slots {
            let Some(member) = self.members.get_mut(id) else { return };
            let Some(channel) = member.channel_mut(slot) else {
                continue;
            };
            let (number, generation) = (channel.number, channel.generation);
            let Some(confirms) = &mut channel.confirm else { continue };
            confirms.due = false;
            if confirms.ticket().is_some_and(|ticket| self.ledger.is_open(ticket)) {
                self.ledger.wait(Waiter::Confirms { connection: id, slot, generation });
            }
            let mut told: SmallVec<[Confirm; 4]> = SmallVec::new();
            confirms.now(|confirm| told.push(confirm));
            self.counted.confirmed += confirms.take_count();
            if !told.is_empty()
                && let Some(out) = self.members.sink(id)
            {
                told.iter().for_each(|confirm| write_confirm(out, number, confirm));
            }
        }
    }
}
