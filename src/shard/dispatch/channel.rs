//! Class channel (rabbitmq-semantics.md section 4).

use super::Done;
use crate::amqp::frame::write_method;
use crate::amqp::method::{ChannelClose, ChannelCloseOk, ChannelOpenOk};
use crate::amqp::{Exception, LongStr, Method, MethodId, ReplyCode};
use crate::connection::channel::ChannelPhase;
use crate::shard::member::{After, ChannelState};
use crate::shard::mesh::{Caller, Record};
use crate::shard::{ConnectionId, Shard};

impl Shard {
    pub(super) fn open_channel(&mut self, id: ConnectionId, number: u16) {
        let Some(member) = self.members.get_mut(id) else { return };
        let max = member.channel_max;
        if max > 0 && member.wire.channel_count() >= usize::from(max) {
            let text = format!("number of channels opened ({max}) has reached the negotiated channel_max ({max})");
            let exception = Exception::new(ReplyCode::NotAllowed, MethodId::NONE, text);
            return self.close_connection(id, exception);
        }
        self.ask_for_channel(id, number);
    }

    /// There may be another channel.
    pub(in crate::shard) fn open_channel_now(&mut self, id: ConnectionId, number: u16) {
        let generation = self.members.next_generation();
        let Some(member) = self.members.get_mut(id) else { return };
        let slot = member.wire.open_channel(number, generation);
        if member.channels.len() <= slot as usize {
            member.channels.resize_with(slot as usize + 1, || None);
        }
        if let Some(place) = member.channels.get_mut(slot as usize) {
            *place = Some(Box::new(ChannelState { generation, number, ..ChannelState::default() }));
        }
        self.tell_channel_created(id, number, generation);
        if let Some(out) = self.members.sink(id) {
            write_method(out, number, &ChannelOpenOk { reserved_1: LongStr(b"") });
        }
    }

    /// The client closes a channel: close-ok when every shard that knows it has requeued and deleted.
    pub(super) fn channel_close(&mut self, caller: Caller) -> Done {
        self.wait(caller, After::Close, "", &ChannelCloseOk {});
        let user = self.user_of(caller);
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        let touched = channel.touched & !(1 << caller.shard);
        if let Some(pending) = &mut channel.pending {
            pending.answers = touched.count_ones() + 1;
        }
        // Nothing of it is wanted any more, but for the answers that it waits for.
        let number = channel.number;
        let pending = channel.pending.take();
        let left = ChannelState { generation: caller.generation, number, pending, ..ChannelState::default() };
        let ended = std::mem::replace(channel, left);
        self.tell_channel_closed(caller.connection, &user, &ended);
        self.tell_gone(caller, touched);
        Ok(())
    }

    /// Tells every shard in `touched`, and this one, that a channel or connection has ended.
    fn tell_gone(&mut self, caller: Caller, touched: u64) {
        for shard in 0..self.count {
            if touched & (1 << shard) != 0 && shard != self.id.0 {
                self.mesh.send(shard, Record::Gone(caller));
            }
        }
        self.gone(caller, Vec::new());
    }

    /// A shard has done all that followed from the end of a channel or connection.
    pub(in crate::shard) fn gone_done(&mut self, caller: Caller) {
        if caller.channel == Caller::WHOLE {
            return self.connection_gone_done(caller.connection);
        }
        let Some(channel) = self.channel_of(caller) else { return };
        let Some(pending) = &mut channel.pending else { return };
        if pending.after != After::Close {
            return;
        }
        pending.answers -= 1;
        if pending.answers == 0 {
            self.stop_waiting(caller);
            self.write(caller, &ChannelCloseOk {});
            self.forget_channel(caller.connection, caller.channel);
        }
    }

    fn forget_channel(&mut self, id: ConnectionId, slot: u32) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.wire.forget_channel(slot);
        if let Some(place) = member.channels.get_mut(slot as usize) {
            *place = None;
        }
        while member.channels.last().is_some_and(Option::is_none) {
            member.channels.pop();
        }
        self.count_channel_out(id);
    }

    /// A fault closes the channel: what it held is given up at once, and its frames are dropped until close-ok.
    pub(in crate::shard) fn close_channel(&mut self, id: ConnectionId, slot: u32, exception: &Exception) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(channel) = member.wire.channel_mut(slot) else {
            return;
        };
        channel.phase = ChannelPhase::Closing;
        channel.waiting = false;
        channel.abandon();
        let number = channel.number;
        let state = member.channels.get_mut(slot as usize).and_then(Option::take);
        let user = member.login.user.clone();
        // Confirms of what was published before the fault go out first.
        if let Some(mut state) = state {
            if let Some(confirms) = &mut state.confirm
                && let Some(out) = self.members.sink(id)
            {
                confirms.now(|confirm| super::write_confirm(out, number, &confirm));
                self.counted.confirmed += confirms.take_count();
            }
            let caller = self.caller(id, slot, state.generation);
            self.tell_channel_closed(id, &user, &state);
            self.tell_gone(caller, state.touched);
        }
        if let Some(out) = self.members.sink(id) {
            let close = ChannelClose {
                reply_code: exception.code.number(),
                reply_text: &exception.text,
                class_id: exception.method.class,
                method_id: exception.method.method,
            };
            write_method(out, number, &close);
        }
        self.members.resume(id);
    }

    /// A method on a channel that we have closed.
    pub(super) fn closing_channel_method(&mut self, id: ConnectionId, slot: u32, method: &Method<'_>) -> Done {
        match method {
            Method::ChannelCloseOk(_) => self.forget_channel(id, slot),
            Method::ChannelClose(_) => {
                let number = self.members.get(id).and_then(|member| member.wire.channel(slot)).map(|c| c.number);
                if let (Some(number), Some(out)) = (number, self.members.sink(id)) {
                    write_method(out, number, &ChannelCloseOk {});
                }
            }
            Method::ChannelOpen(_) => {
                let text = "second 'channel.open' seen";
                return Err(Exception::new(ReplyCode::ChannelError, method.id(), text));
            }
            _ => {}
        }
        Ok(())
    }
}
