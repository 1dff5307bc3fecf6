//! Names: shard 0 decides about them and writes the log; every shard applies it (shards.md A9-A12).

use std::sync::Arc;

use super::mesh::{Caller, NamesRequest, Record, Reply};
use super::owner::Waiter;
use super::{ConnectionId, Shard};
use crate::broker::queue::Queue;
use crate::broker::topology::{Applied, Change, QueueKey, QueueSpec};
use crate::connection::Phase;

impl Shard {
    /// Brings a change of names before shard 0.
    pub(super) fn ask_names(&mut self, caller: Caller, request: NamesRequest) {
        if self.id.0 == 0 {
            self.decide(caller, request);
        } else {
            self.mesh.send(0, Record::Names(caller, Box::new(request)));
        }
    }

    /// Shard 0: makes the change, unless the world has changed since the caller looked.
    pub(super) fn decide(&mut self, caller: Caller, mut request: NamesRequest) {
        if !self.topology.admits(&request.change) {
            return self.reply(caller, Reply::Retry);
        }
        if let Change::ExchangeDeleted(key) = request.change
            && request.if_unused
            && self.topology.exchange(key).is_some_and(|exchange| !exchange.table.is_empty())
        {
            return self.reply(caller, Reply::InUse);
        }
        if let Change::QueueDeclared(spec) = &mut request.change {
            let owner = if request.place { self.place(spec.owner) } else { spec.owner };
            if owner != spec.owner {
                *spec =
                    Arc::new(QueueSpec { owner, name: spec.name.clone(), arguments: spec.arguments.clone(), ..**spec });
            }
            if let Some(count) = self.placed.get_mut(owner as usize) {
                *count += 1;
            }
        }
        self.append(request.change);
        self.reply(caller, Reply::Done);
    }

    /// On the declarer's shard, unless that has over one queue more than the one with fewest.
    fn place(&self, here: u8) -> u8 {
        let fewest = self.placed.iter().enumerate().min_by_key(|(_, count)| **count);
        match (fewest, self.placed.get(here as usize)) {
            (Some((shard, fewest)), Some(count)) if *count > fewest + 1 => shard as u8,
            _ => here,
        }
    }

    fn append(&mut self, change: Change) {
        if let Some(writer) = &mut self.writer {
            writer.append(change);
        }
        // What shard 0 writes it has seen.
        self.apply_topology(u64::MAX);
    }

    /// An owner (this shard) has a queue taken out of the tables.
    pub(super) fn remove_queue_name(&mut self, key: QueueKey) {
        if self.id.0 == 0 {
            self.queue_removal(key, 0);
        } else {
            self.mesh.send(0, Record::RemoveQueue(key));
        }
    }

    /// Shard 0: takes a queue out of the tables; its owner sees that in the log.
    pub(super) fn queue_removal(&mut self, key: QueueKey, owner: u8) {
        if self.topology.queue(key).is_some() {
            if let Some(count) = self.placed.get_mut(owner as usize) {
                *count = count.saturating_sub(1);
            }
            self.append(Change::QueueDeleted(key));
        }
        if owner != self.id.0 {
            self.mesh.nudge(owner);
        }
    }

    /// Has the caller told by way of shard 0, behind what this shard asked before, to look again.
    pub(super) fn bounce(&mut self, caller: Caller) {
        if self.id.0 == 0 {
            self.reply(caller, Reply::Retry);
        } else {
            self.mesh.send(0, Record::Bounce(caller));
        }
    }

    /// What an applied change means here.
    pub(super) fn applied(&mut self, applied: Applied) {
        match applied {
            Applied::QueueDeclared(key, spec) if spec.owner == self.id.0 => {
                let slot = key.slot as usize;
                if self.living.len() <= slot {
                    self.living.resize_with(slot + 1, || None);
                }
                if let Some(place) = self.living.get_mut(slot) {
                    *place = Some(Box::new(Queue::new(key, spec.clone())));
                }
                if let Some(exclusive) = spec.exclusive {
                    let id = ConnectionId { slot: exclusive.slot, generation: exclusive.generation };
                    match self.members.get_mut(id) {
                        Some(member) if member.wire.phase == Phase::Running => member.exclusive.push(key),
                        // Its connection died while it was declared.
                        _ => self.begin_removal(key, Waiter::Nobody),
                    }
                }
            }
            Applied::QueueDeleted(key) => self.removed(key),
            _ => {}
        }
    }
}
