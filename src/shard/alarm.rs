//! What keeps publishers from going on: alarms, and a journal that is behind (rabbitmq-semantics.md section 2.9).
//!
//! Whoever publishes meanwhile is *held*: the publish is taken, then the connection is parked until the cause is over.
//! An alarm may last, so clients that asked for it are told by connection.blocked. Pressure lasts as long as a sync and
//! is told to nobody. Connections that do not publish notice nothing, and none of this crosses shards.
//!
//! RabbitMQ stops between the header and the body of the publish that it holds; here that publish is whole and goes on.
//!
//! A held connection is not read, so its end shows when something cannot be written to it, a heartbeat at the latest.

use std::collections::BTreeSet;

use super::{ConnectionId, Shard};
use crate::amqp::frame::write_method;
use crate::amqp::method::{ConnectionBlocked, ConnectionUnblocked};
use crate::connection::Phase;

/// What no publisher may go on under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The process has more memory than it may.
    Memory = 1,
    /// The disk has too little room left.
    Disk = 2,
    /// The journal has failed, for as long as the broker runs.
    Store = 4,
}

/// Why a connection that has published is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// It is read.
    #[default]
    None,
    /// Until the journal has caught up.
    Pressure,
    /// It waits for shard 0 to say whether it may have a channel, or be open at all.
    Asks,
    /// Until there is no alarm any more.
    Alarm {
        /// Its client was told.
        told: bool,
    },
}

/// What a shard holds publishers for, and whom.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// The alarms that are on, by bit.
    on: u8,
    /// The journal is behind.
    pressed: bool,
    held: BTreeSet<ConnectionId>,
}

impl Alarms {
    /// Whether publishers are held.
    #[inline]
    pub(super) fn hold(&self) -> bool {
        self.pressed || self.on != 0
    }

    fn is_on(&self, alarm: Alarm) -> bool {
        self.on & alarm as u8 != 0
    }

    /// What clients are told. The first three are RabbitMQ's words, by which clients tell them apart.
    fn reason(&self) -> &'static str {
        match (self.is_on(Alarm::Store), self.is_on(Alarm::Memory), self.is_on(Alarm::Disk)) {
            (true, _, _) => "the disk has failed: nothing can be made durable until the broker is restarted",
            (false, true, true) => "low on memory & disk",
            (false, true, false) => "low on memory",
            (false, false, _) => "low on disk",
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.held.remove(&id);
    }
}

impl Shard {
    /// Raises or ends an alarm of this shard. While any is on, connections are held once they publish, and those that
    /// are held already because the journal is behind are told as well; when the last one ends, all of them go on. To
    /// say the same again changes nothing.
    pub fn set_alarm(&mut self, alarm: Alarm, on: bool) {
        let before = self.alarms.on;
        self.alarms.on = if on { before | alarm as u8 } else { before & !(alarm as u8) };
        if before == 0 && self.alarms.on != 0 {
            // The journal may be behind because of what the alarm is about, and not catch up before it is over.
            for id in std::mem::take(&mut self.alarms.held) {
                self.hold_publisher(id);
            }
        } else if before != 0 && self.alarms.on == 0 {
            self.go_on(|hold| matches!(hold, Hold::Alarm { .. }));
        }
    }

    /// Whether an alarm is on.
    pub fn has_alarm(&self) -> bool {
        self.alarms.on != 0
    }

    /// Whether the journal is behind.
    pub fn journal_pressed(&self) -> bool {
        self.alarms.pressed
    }

    /// Says whether the journal is behind: more waits for the disk than may. Connections that publish meanwhile are
    /// held until it is over.
    pub fn set_pressed(&mut self, pressed: bool) {
        if std::mem::replace(&mut self.alarms.pressed, pressed) && !pressed {
            self.give_withheld();
            self.go_on(|hold| hold == Hold::Pressure);
        }
    }

    /// Holds a connection that has published.
    #[cold]
    pub(super) fn hold_publisher(&mut self, id: ConnectionId) {
        let alarm = self.alarms.on != 0;
        let Some(member) = self.members.get_mut(id) else { return };
        // One that is being closed is read on: its close-ok is to be found.
        if member.wire.phase != Phase::Running || matches!(member.hold, Hold::Alarm { .. }) {
            return;
        }
        let told = alarm && member.capabilities.connection_blocked;
        member.hold = if alarm { Hold::Alarm { told } } else { Hold::Pressure };
        self.alarms.held.insert(id);
        if told && let Some(out) = self.members.sink(id) {
            write_method(out, 0, &ConnectionBlocked { reason: self.alarms.reason() });
        }
    }

    /// Has the connections go on whose hold is over.
    fn go_on(&mut self, is_over: impl Fn(Hold) -> bool) {
        let mut held = std::mem::take(&mut self.alarms.held);
        held.retain(|&id| {
            let Some(member) = self.members.get_mut(id) else { return false };
            if !is_over(member.hold) {
                return true;
            }
            let told = member.hold == Hold::Alarm { told: true } && member.wire.phase == Phase::Running;
            member.hold = Hold::None;
            self.members.resume(id);
            if told && let Some(out) = self.members.sink(id) {
                write_method(out, 0, &ConnectionUnblocked {});
            }
            false
        });
        self.alarms.held = held;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Settings;
    use crate::shard::Peer;
    use crate::shard::turn::CloseKind;
    use crate::time::Now;

    #[test]
    fn whoever_goes_while_held_leaves_nothing_behind() {
        let mut shard = Shard::mesh(1, Arc::new(Settings::default()), [7; 32], None).remove(0);
        let address = "127.0.0.1:1".parse().unwrap();
        shard.set_alarm(Alarm::Store, true);
        for told in [false, true] {
            let id = shard.connect(Now::default(), Peer { address, local: address }).unwrap();
            let member = shard.members.get_mut(id).unwrap();
            member.wire.phase = Phase::Running;
            member.capabilities.connection_blocked = told;
            shard.hold_publisher(id);
            shard.hold_publisher(id);
            let member = shard.members.get(id).unwrap();
            assert_eq!((member.hold, member.outbound.is_empty()), (Hold::Alarm { told }, !told));
            assert_eq!(shard.alarms.held.len(), 1);
            shard.drop_connection(id, CloseKind::Reset);
            assert!(shard.alarms.held.is_empty());
        }
    }

    #[test]
    fn alarms_are_told_apart() {
        let mut shard = Shard::mesh(1, Arc::new(Settings::default()), [7; 32], None).remove(0);
        for (alarm, on, has) in [
            (Alarm::Memory, false, false),
            (Alarm::Memory, true, true),
            (Alarm::Disk, true, true),
            (Alarm::Memory, false, true),
            (Alarm::Memory, false, true),
            (Alarm::Disk, false, false),
        ] {
            shard.set_alarm(alarm, on);
            assert_eq!((shard.has_alarm(), shard.alarms.hold()), (has, has), "{alarm:?} {on}");
        }
        shard.set_pressed(true);
        assert_eq!((shard.has_alarm(), shard.journal_pressed(), shard.alarms.hold()), (false, true, true));
    }
}
