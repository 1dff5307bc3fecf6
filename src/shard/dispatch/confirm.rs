//! Class confirm (RabbitMQ): publisher confirms.

use super::Done;
use crate::amqp::frame::write_method;
use crate::amqp::method::{BasicAck, ConfirmSelect, ConfirmSelectOk};
use crate::amqp::{Exception, ReplyCode};
use crate::shard::member::Confirms;
use crate::shard::mesh::Caller;
use crate::shard::{ConnectionId, Shard};

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

    /// Confirms what a connection's latest bytes have published: one ack per channel, whatever the number.
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
            let Some(confirms) = &mut channel.confirm else { continue };
            confirms.due = false;
            if confirms.confirmed == confirms.published {
                continue;
            }
            let ack =
                BasicAck { delivery_tag: confirms.published, multiple: confirms.published > confirms.confirmed + 1 };
            confirms.confirmed = confirms.published;
            let number = channel.number;
            if let Some(out) = self.members.sink(id) {
                write_method(out, number, &ack);
            }
        }
    }
}
