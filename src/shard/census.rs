//! Who is there: connections and channels over all shards, by virtual host and user, and whether more may come.
//!
//! Every shard tells shard 0 of each connection and channel that it opens and closes. Where a limit is set, it asks
//! before: then shard 0 has counted the new one when it says yes, and what the connection sends waits for the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarm::Hold;
use super::mesh::Record;
use super::{ConnectionId, Shard};
use crate::amqp::method::ConnectionOpen;
use crate::amqp::{Exception, MethodId, ReplyCode};
use crate::broker::topology::VhostId;
use crate::connection::Phase;

/// What a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// The connection itself.
    pub connections: u32,
    /// Its channels.
    pub channels: u32,
}

/// Connections and channels that have come, or gone.
#[derive(Debug)]
pub struct Tally {
    vhost: VhostId,
    user: Arc<str>,
    come: bool,
    counted: Counted,
}

/// What a connection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be open, in this virtual host, which there may not be.
    Connection(Option<VhostId>, Box<str>),
    /// This channel.
    Channel(u16),
}

/// A question to shard 0.
#[derive(Debug)]
pub struct Question {
    shard: u8,
    connection: ConnectionId,
    vhost: VhostId,
    user: Arc<str>,
    wanted: Wanted,
}

/// Its answer.
#[derive(Debug)]
pub struct Admission {
    connection: ConnectionId,
    vhost: VhostId,
    user: Arc<str>,
    wanted: Wanted,
    refusal: Option<Exception>,
}

/// Shard 0: who is there.
#[derive(Debug, Default)]
pub(super) struct Census {
    all: Counted,
    vhosts: BTreeMap<VhostId, Counted>,
    users: BTreeMap<Arc<str>, Counted>,
}

impl Counted {
    const CONNECTION: Counted = Counted { connections: 1, channels: 0 };
    const CHANNEL: Counted = Counted { connections: 0, channels: 1 };

    fn add(&mut self, more: Counted) {
        self.connections += more.connections;
        self.channels += more.channels;
    }

    fn take(&mut self, less: Counted) {
        self.connections = self.connections.saturating_sub(less.connections);
        self.channels = self.channels.saturating_sub(less.channels);
    }
}

impl Census {
    fn note(&mut self, tally: &Tally) {
        if tally.come {
            self.all.add(tally.counted);
            self.vhosts.entry(tally.vhost).or_default().add(tally.counted);
            self.users.entry(tally.user.clone()).or_default().add(tally.counted);
            return;
        }
        self.all.take(tally.counted);
        if let Some(counted) = self.vhosts.get_mut(&tally.vhost) {
            counted.take(tally.counted);
            if *counted == Counted::default() {
                self.vhosts.remove(&tally.vhost);
            }
        }
        if let Some(counted) = self.users.get_mut(&tally.user) {
            counted.take(tally.counted);
            if *counted == Counted::default() {
                self.users.remove(&tally.user);
            }
        }
    }
}

/// The limit that so many have reached.
fn reached(limit: Option<u32>, count: u32) -> Option<u32> {
    limit.filter(|limit| count >= *limit)
}

impl Shard {
    fn tally(&mut self, vhost: VhostId, user: Arc<str>, come: bool, counted: Counted) {
        let tally = Tally { vhost, user, come, counted };
        if self.id.0 == 0 {
            self.census.note(&tally);
        } else {
            self.mesh.send(0, Record::Tally(Box::new(tally)));
        }
    }

    /// Shard 0: others have come or gone.
    pub(super) fn tallied(&mut self, tally: &Tally) {
        self.census.note(tally);
    }

    /// Counts what has come to a connection here without having been asked for.
    fn count_in(&mut self, id: ConnectionId, come: Counted) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.counted.add(come);
        let (vhost, user) = (member.vhost, member.login.user.clone());
        self.tally(vhost, user, true, come);
    }

    /// A channel is gone.
    pub(super) fn count_channel_out(&mut self, id: ConnectionId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.counted.channels == 0 {
            return;
        }
        member.counted.channels -= 1;
        let (vhost, user) = (member.vhost, member.login.user.clone());
        self.tally(vhost, user, false, Counted::CHANNEL);
    }

    /// A connection that counted so much is gone.
    pub(super) fn count_out(&mut self, vhost: VhostId, user: Arc<str>, counted: Counted) {
        if counted != Counted::default() {
            self.tally(vhost, user, false, counted);
        }
    }

    /// A connection asks to be open in a virtual host.
    pub(super) fn ask_to_open(&mut self, id: ConnectionId, name: &str) {
        let vhost = self.topology.find_vhost(name);
        let Some(member) = self.members.get(id) else { return };
        let of_vhost = vhost.and_then(|vhost| self.topology.vhost(vhost)).map(|vhost| vhost.limits);
        let limited = self.settings.node.connection_max.is_some()
            || of_vhost.is_some_and(|limits| limits.connections_max.is_some())
            || self.topology.user_limits(&member.login.user).connections_max.is_some();
        let wanted = Wanted::Connection(vhost, name.into());
        if limited {
            return self.ask(id, vhost.unwrap_or_default(), wanted);
        }
        if vhost.is_some() {
            self.set_vhost(id, vhost);
            self.count_in(id, Counted::CONNECTION);
        }
        self.granted_wish(id, &wanted);
    }

    fn set_vhost(&mut self, id: ConnectionId, vhost: Option<VhostId>) {
        if let (Some(member), Some(vhost)) = (self.members.get_mut(id), vhost) {
            member.vhost = vhost;
        }
    }

    /// A connection asks for a channel.
    pub(super) fn ask_for_channel(&mut self, id: ConnectionId, number: u16) {
        let Some(member) = self.members.get(id) else { return };
        let limited = self.settings.node.channel_max_per_node.is_some()
            || self.topology.user_limits(&member.login.user).channels_max.is_some();
        if limited {
            let vhost = member.vhost;
            return self.ask(id, vhost, Wanted::Channel(number));
        }
        self.count_in(id, Counted::CHANNEL);
        self.granted_wish(id, &Wanted::Channel(number));
    }

    /// Nothing more of the connection is read until shard 0 has answered.
    fn ask(&mut self, id: ConnectionId, vhost: VhostId, wanted: Wanted) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.vhost = vhost;
        member.hold = Hold::Asks;
        // What an open connection is not read for, this one is not.
        member.wire.phase = Phase::Running;
        let user = member.login.user.clone();
        let question = Question { shard: self.id.0, connection: id, vhost, user, wanted };
        if self.id.0 == 0 {
            let admission = self.decide_admission(question);
            self.admitted(admission);
        } else {
            self.mesh.send(0, Record::Ask(Box::new(question)));
        }
    }

    /// Shard 0: another shard's connection asks.
    pub(super) fn asked(&mut self, question: Question) {
        let shard = question.shard;
        let admission = self.decide_admission(question);
        self.mesh.send(shard, Record::Admitted(Box::new(admission)));
    }

    /// Shard 0: whether a connection has what it wants; if so it is counted.
    fn decide_admission(&mut self, question: Question) -> Admission {
        let Question { connection, vhost, user, wanted, .. } = question;
        let refusal = match &wanted {
            Wanted::Connection(found, name) => self.refuse_connection(*found, name, &user),
            Wanted::Channel(_) => self.refuse_channel(&user),
        };
        if refusal.is_none() {
            let counted = wanted.counted();
            self.tally(vhost, user.clone(), true, counted);
        }
        Admission { connection, vhost, user, wanted, refusal }
    }

    fn refuse_connection(&self, vhost: Option<VhostId>, name: &str, user: &str) -> Option<Exception> {
        let refused = |text: String| Some(Exception::new(ReplyCode::NotAllowed, ConnectionOpen::ID, text));
        if let Some(max) = reached(self.settings.node.connection_max, self.census.all.connections) {
            return refused(format!("connection refused: node connection limit ({max}) is reached"));
        }
        let Some(vhost) = vhost.filter(|vhost| self.topology.is_open(*vhost)) else {
            return refused(format!("vhost {name} not found"));
        };
        let limits = self.topology.vhost(vhost).map(|vhost| vhost.limits).unwrap_or_default();
        let count = self.census.vhosts.get(&vhost).map_or(0, |counted| counted.connections);
        if let Some(max) = reached(limits.connections_max, count) {
            let text =
                format!("access to vhost '{name}' refused for user '{user}': connection limit ({max}) is reached");
            return refused(text);
        }
        let count = self.census.users.get(user).map_or(0, |counted| counted.connections);
        if let Some(max) = reached(self.topology.user_limits(user).connections_max, count) {
            return refused(format!("connection refused for user '{user}': user connection limit ({max}) is reached"));
        }
        None
    }

    fn refuse_channel(&self, user: &str) -> Option<Exception> {
        let refused = |text: String| Some(Exception::new(ReplyCode::NotAllowed, MethodId::NONE, text));
        if let Some(max) = reached(self.settings.node.channel_max_per_node, self.census.all.channels) {
            let node = &self.settings.advertise.cluster_name;
            return refused(format!(
                "number of channels opened on node '{node}' has reached the maximum allowed limit of {max}"
            ));
        }
        let count = self.census.users.get(user).map_or(0, |counted| counted.channels);
        if let Some(max) = reached(self.topology.user_limits(user).channels_max, count) {
            return refused(format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of {max}"
            ));
        }
        None
    }

    /// Shard 0 has answered.
    pub(super) fn admitted(&mut self, admission: Admission) {
        let Admission { connection: id, vhost, user, wanted, refusal } = admission;
        let counted = wanted.counted();
        let is_first = matches!(wanted, Wanted::Connection(..));
        let asks = |hold: Hold| hold == Hold::Asks;
        let Some(member) = self.members.get_mut(id).filter(|member| asks(member.hold)) else {
            // It has gone meanwhile, and nobody else counts this out.
            if refusal.is_none() {
                self.count_out(vhost, user, counted);
            }
            return;
        };
        member.hold = Hold::None;
        let going = member.wire.phase != Phase::Running;
        if refusal.is_none() && !going {
            member.counted.add(counted);
        }
        if is_first && !going {
            member.wire.phase = Phase::Open;
        }
        self.members.resume(id);
        match refusal {
            Some(exception) => self.close_connection(id, exception),
            None if going => self.count_out(vhost, user, counted),
            None => self.granted_wish(id, &wanted),
        }
    }

    fn granted_wish(&mut self, id: ConnectionId, wanted: &Wanted) {
        match wanted {
            Wanted::Connection(vhost, name) => self.open_in(id, *vhost, name),
            Wanted::Channel(number) => self.open_channel_now(id, *number),
        }
    }
}

impl Wanted {
    fn counted(&self) -> Counted {
        match self {
            Wanted::Connection(..) => Counted::CONNECTION,
            Wanted::Channel(_) => Counted::CHANNEL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_gone_leaves_nothing_behind() {
        let mut census = Census::default();
        let tally = |vhost, user: &str, come, connections, channels| Tally {
            vhost,
            user: user.into(),
            come,
            counted: Counted { connections, channels },
        };
        census.note(&tally(0, "a", true, 1, 0));
        census.note(&tally(0, "a", true, 0, 1));
        census.note(&tally(1, "a", true, 1, 2));
        census.note(&tally(1, "b", true, 1, 0));
        assert_eq!(census.all, Counted { connections: 3, channels: 3 });
        assert_eq!(census.users["a"], Counted { connections: 2, channels: 3 });
        assert_eq!(census.vhosts[&1], Counted { connections: 2, channels: 2 });
        census.note(&tally(0, "a", false, 1, 1));
        census.note(&tally(1, "a", false, 1, 2));
        census.note(&tally(1, "b", false, 1, 0));
        assert_eq!(census.all, Counted::default());
        assert!(census.users.is_empty() && census.vhosts.is_empty());
        assert_eq!(
            (reached(None, 9), reached(Some(0), 0), reached(Some(2), 1), reached(Some(2), 2)),
            (None, Some(0), None, Some(2))
        );
    }
}
