//! Deadlines of connections: handshake, heartbeat, close (rabbitmq-semantics.md sections 2.1, 2.7, 2.8).

use super::alarm::Hold;
use super::timer::Timer;
use super::turn::CloseKind;
use super::{ConnectionId, Shard};
use crate::amqp::frame;
use crate::connection::Phase;

impl Shard {
    pub(super) fn handshake_expired(&mut self, id: ConnectionId) {
        while self.handshakes.front().is_some_and(|first| {
            *first == id || self.members.get(*first).is_none_or(|member| member.wire.phase == Phase::Running)
        }) {
            self.handshakes.pop_front();
        }
        let Some(member) = self.members.get(id) else { return };
        match member.wire.phase {
            Phase::Running | Phase::Closing | Phase::Closed => {}
            _ => self.drop_connection(id, CloseKind::Reset),
        }
    }

    pub(super) fn close_expired(&mut self, id: ConnectionId) {
        if let Some(how) = self.members.get(id).map(|member| member.close_kind()) {
            self.drop_connection(id, how);
        }
    }

    /// Begins the heartbeat of a connection that was tuned.
    pub(super) fn start_heartbeat(&mut self, id: ConnectionId, interval_s: u16) {
        if let Some(member) = self.members.get_mut(id)
            && interval_s > 0
        {
            member.heartbeat.interval_s = interval_s;
            self.timers.add(self.now.after_ms(u64::from(interval_s) * 500), Timer::Heartbeat(id));
        }
    }

    /// Every half interval: a heartbeat if nothing was sent. Every interval: did anything come?
    pub(super) fn heartbeat_due(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        let beat = &mut member.heartbeat;
        beat.ticks += 1;
        let sent = std::mem::take(&mut beat.sent);
        beat.drained |= sent;
        let silent = !sent;
        if beat.ticks.is_multiple_of(2) {
            // Time in which we chose not to read does not count against the peer, unless the choice was made because it
            // takes nothing of what we have for it.
            let drained = std::mem::take(&mut beat.drained) || member.outbound.is_empty();
            // Under an alarm, which may last, it does not count at all.
            let alarmed = matches!(member.hold, Hold::Alarm { .. });
            let alive = std::mem::take(&mut beat.received) || alarmed || (member.parked && drained);
            beat.missed = if alive { 0 } else { beat.missed + 1 };
            if beat.missed >= 2 {
                return self.disconnected_by_us(id);
            }
        }
        let interval_s = beat.interval_s;
        let sends = silent && member.wire.phase != Phase::Closed && member.outbound.is_empty();
        if sends && let Some(out) = self.members.sink(id) {
            frame::write_heartbeat(out);
        }
        self.timers.add(self.now.after_ms(u64::from(interval_s) * 500), Timer::Heartbeat(id));
    }
}
