//! A prefetch limit over all consumers of a channel, whose queues may live on several shards (shards.md A20).
//!
//! The limit is kept at the channel. An owner that has something to deliver asks; the channel grants from the one limit
//! in turn; what was granted and not used comes back in the owner's same turn. There are no standing shares: with a
//! limit of one, an empty queue would hold it.

use super::Shard;
use super::member::ChannelState;
use super::mesh::{Caller, Record};

/// Whether the channel's limit has room for one more delivery from a queue of its own shard.
pub(super) fn has_room(channel: &ChannelState) -> bool {
    room(channel) > 0
}

fn room(channel: &ChannelState) -> u32 {
    match &channel.global {
        Some(global) => match global.limit {
            Some(limit) => limit
                .saturating_sub(channel.unacked.consumer_count())
                .saturating_sub(in_tx(channel))
                .saturating_sub(global.granted),
            None => u32::MAX,
        },
        None => u32::MAX,
    }
}

/// Deliveries to consumers that are settled in a transaction not yet committed: they still count.
fn in_tx(channel: &ChannelState) -> u32 {
    channel.tx.as_ref().map_or(0, |tx| tx.consumer_settled)
}

impl Shard {
    /// An owner (this shard) asks for grants for a channel.
    pub(super) fn ask_grant(&mut self, caller: Caller, wanted: u32) {
        if caller.shard == self.id.0 {
            self.grant_asked(self.id.0, caller, wanted);
        } else {
            self.mesh.send(caller.shard, Record::AskGrant(caller, wanted));
        }
    }

    /// An owner asks for grants for a channel of this shard.
    pub(super) fn grant_asked(&mut self, owner: u8, caller: Caller, wanted: u32) {
        let Some(channel) = self.members.get_mut(caller.connection).and_then(|member| member.channel_of(caller)) else {
            return;
        };
        match &mut channel.global {
            Some(global) => {
                global.askers.push_back((owner, wanted));
                // The owner that asks is in the middle of choosing a consumer: it is answered at the turn's end.
                if owner == self.id.0 {
                    self.granting.push(caller);
                } else {
                    self.grant(caller);
                }
            }
            None if owner != self.id.0 => self.mesh.send(owner, Record::Grant(caller, wanted)),
            None => self.granting.push(caller),
        }
    }

    /// Grants what the channel's limit has room for, in the order of asking.
    pub(super) fn grant(&mut self, caller: Caller) {
        loop {
            let Some(channel) = self.members.get_mut(caller.connection).and_then(|member| member.channel_of(caller))
            else {
                return;
            };
            let room = room(channel);
            let Some(global) = &mut channel.global else {
                return self.granted(caller, 0);
            };
            if room == 0 {
                return;
            }
            let Some((owner, wanted)) = global.askers.pop_front() else {
                return;
            };
            if owner == self.id.0 {
                // Queues of this shard look the room up themselves.
                self.granted(caller, 0);
                self.deliver_active();
            } else {
                let count = wanted.min(room);
                if global.limit.is_some() {
                    global.granted += count;
                }
                self.mesh.send(owner, Record::Grant(caller, count));
            }
        }
    }

    /// Grants that were not used, or were used for deliveries that have arrived.
    pub(super) fn grant_back(&mut self, caller: Caller, count: u32) {
        if let Some(channel) = self.members.get_mut(caller.connection).and_then(|member| member.channel_of(caller))
            && let Some(global) = &mut channel.global
        {
            global.granted = global.granted.saturating_sub(count);
            self.grant(caller);
        }
    }
}
