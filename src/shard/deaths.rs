//! Messages that queues have let go of, on their way to where they go from there: dead letters, which the queues' rules
//! send somewhere (reference section 14.1), and delayed messages that are due. What the broker itself publishes goes by
//! the same way.
//!
//! They are published at the end of the turn in which they left, by the same path as any message. The journal has the
//! move as a whole or not at all: the message in its new queues and the end of it in the old one are of one submission
//! or, where the new queues live on other shards, of one transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Shard;
use super::member::Committing;
use super::mesh::Record;
use crate::amqp::codec::write_short_str;
use crate::amqp::{Content, Properties, Stamp};
use crate::broker::death::{self, Reason};
use crate::broker::delay;
use crate::broker::entries::Position;
use crate::broker::message::MessageRef;
use crate::broker::queue::ruled::Burial;
use crate::broker::routing::{Route, sender_selected};
use crate::broker::topology::{QueueKey, Topology, VhostId};

/// No more are sent on in one turn.
const TURN_MAX: usize = 4096;
/// While so many wait for other shards, whoever publishes to the queues that they come from is held.
const WAITING_MAX: usize = 16 << 10;

/// Why a queue has let go of a message.
#[derive(Debug)]
pub(super) enum Cause {
    /// It is a dead letter.
    Dead(Arc<Burial>, Reason),
    /// It was delayed, and is due.
    Due {
        /// The exchange's virtual host.
        vhost: VhostId,
        /// The exchange.
        exchange: Arc<str>,
    },
    /// The broker made it.
    Own {
        /// The exchange's virtual host.
        vhost: VhostId,
        /// The exchange.
        exchange: &'static str,
    },
}

/// A message that a queue has let go of.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Why.
    pub(super) cause: Cause,
    /// The message; the reference is its own.
    pub(super) message: MessageRef,
    /// Where the journal has it: the number of its queue, and its place.
    pub(super) stored: Option<(u64, Position)>,
}

/// Those of this turn.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    waiting: VecDeque<Leaving>,
    /// The first waits for credit of this shard.
    lacks_credit: Option<u8>,
}

/// A transaction that moves messages to other shards.
struct Move {
    tx: u64,
    /// The shards, by bit.
    owners: u64,
    moved: Vec<(u64, Position)>,
}

impl Deaths {
    /// Adds one.
    pub(super) fn push(&mut self, leaving: Leaving) {
        self.waiting.push_back(leaving);
    }

    /// Whether the next turn is to go on with them.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() && self.lacks_credit.is_none()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// There is credit for a shard again.
    pub(super) fn credited(&mut self, shard: u8) {
        if self.lacks_credit == Some(shard) {
            self.lacks_credit = None;
        }
    }

    /// Whether a queue that could wait may let go of more.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < TURN_MAX
    }

    /// The shard whose credit publishers have to wait for, lest too many gather.
    pub(super) fn holds_publishers(&self) -> Option<u8> {
        self.lacks_credit.filter(|_| self.waiting.len() >= WAITING_MAX)
    }
}

/// A route without the queues that a message would come back to for ever.
fn without_cycles(route: &mut Route, properties: &Properties<'_>, topology: &Topology) {
    let stays = |key: &QueueKey| {
        let name = topology.queue(*key).map(|queue| queue.spec.name.clone());
        name.is_some_and(|name| !death::is_cycle(properties, &name))
    };
    route.local.retain(|key| stays(key));
    for (_, keys) in &mut route.remote {
        keys.retain(|key| stays(key));
    }
    route.remote.retain(|(_, keys)| !keys.is_empty());
    let durable = route.remote.iter().flat_map(|(owner, keys)| keys.iter().map(move |key| (*owner, *key)));
    let is_durable = |key| topology.queue(key).is_some_and(|queue| queue.spec.durable);
    route.remote_durable = durable.filter(|(_, key)| is_durable(*key)).fold(0, |bits, (owner, _)| bits | 1 << owner);
}

impl Shard {
    /// Sends dead letters on.
    pub(super) fn bury(&mut self) {
        if self.deaths.is_empty() {
            return;
        }
        let mut moving: Option<Move> = None;
        for _ in 0..TURN_MAX {
            let Some(leaving) = self.deaths.waiting.pop_front() else { break };
            let lacks_credit = match &leaving.cause {
                Cause::Dead(burial, reason) => self.send_dead(&leaving, burial, *reason, &mut moving),
                Cause::Own { vhost, exchange } => self.send_own(&leaving, *vhost, exchange, &mut moving),
                Cause::Due { vhost, exchange } => self.send_due(&leaving, *vhost, exchange, &mut moving),
            };
            if let Some(owner) = lacks_credit {
                self.deaths.lacks_credit = Some(owner);
                self.deaths.waiting.push_front(leaving);
                break;
            }
        }
        if let Some(Move { tx, owners, moved }) = moving {
            (0..self.count).filter(|owner| owners & (1 << owner) != 0).for_each(|owner| {
                self.mesh.send(owner, Record::TxEnd(tx));
            });
            self.await_parts(tx, Committing { moved, ..Committing::of(None, owners) });
        }
        // Not for a publish to wait for.
        self.ledger.ticket();
    }

    /// Publishes one. Returns the shard that has no credit for it; then nothing was done.
    fn send_dead(
        &mut self,
        leaving: &Leaving,
        burial: &Burial,
        reason: Reason,
        moving: &mut Option<Move>,
    ) -> Option<u8> {
        let Burial { vhost, queue, exchange, key } = burial;
        // Out of its block: what is published may be kept in the same one.
        let record = self.blocks.copy(leaving.message);
        let before = Content::from_record(&record);
        let decoded = Properties::decode(before.properties).unwrap_or_default();
        let routing_key = key.as_deref().unwrap_or(before.routing_key());
        let mut own_keys: SmallVec<[&str; 4]> = SmallVec::from_slice(&[before.routing_key()]);
        // What is wrong was refused when it was published.
        let _ = sender_selected(decoded.headers, &mut own_keys);
        let told = death::Death {
            reason,
            queue,
            time_s: self.stamp.wall_ms() / 1000,
            exchange: before.exchange(),
            routing_keys: &own_keys,
        };
        let properties = death::properties(&decoded, Stamp::of(&record).is_dead(), &told);
        let after = Properties::decode(&properties).unwrap_or_default();
        let mut names = Vec::new();
        write_short_str(&mut names, exchange.as_bytes());
        write_short_str(&mut names, routing_key.as_bytes());
        let content = Content { names: &names, properties: &properties, body: before.body, frames: &[] };
        let keys = if key.is_some() { SmallVec::from_slice(&[routing_key]) } else { own_keys };
        let mut route = self.route_leaving(*vhost, exchange, &keys, &after, &content);
        if reason != Reason::Rejected {
            without_cycles(&mut route, &after, &self.topology);
        }
        self.send_leaving(leaving, &route, &content, self.stamp.dead(), moving)
    }

    /// Has a message of the broker's own published at the end of the turn. The key is cut to 255 bytes.
    pub(super) fn publish_own(
        &mut self,
        vhost: VhostId,
        exchange: &'static str,
        key: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let end = (0..=key.len().min(255)).rev().find(|end| key.is_char_boundary(*end)).unwrap_or(0);
        let (mut names, mut raw) = (Vec::new(), Vec::new());
        write_short_str(&mut names, exchange.as_bytes());
        write_short_str(&mut names, key.get(..end).unwrap_or("").as_bytes());
        properties.encode(&mut raw);
        let content = Content { names: &names, properties: &raw, body, frames: &[] };
        let message = self.blocks.store_once(&content, &mut None);
        self.deaths.push(Leaving { cause: Cause::Own { vhost, exchange }, message, stored: None });
    }

    /// Publishes one of the broker's own. Returns the shard that has no credit for it; then nothing was done.
    fn send_own(&mut self, leaving: &Leaving, vhost: VhostId, exchange: &str, moving: &mut Option<Move>) -> Option<u8> {
        let record = self.blocks.copy(leaving.message);
        let content = Content::from_record(&record);
        let properties = Properties::decode(content.properties).unwrap_or_default();
        let route = self.route_leaving(vhost, exchange, &[content.routing_key()], &properties, &content);
        self.send_leaving(leaving, &route, &content, self.stamp, moving)
    }

    /// Publishes one whose delay is over. Returns the shard that has no credit for it; then nothing was done.
    fn send_due(&mut self, leaving: &Leaving, vhost: VhostId, exchange: &str, moving: &mut Option<Move>) -> Option<u8> {
        let record = self.blocks.copy(leaving.message);
        let before = Content::from_record(&record);
        let decoded = Properties::decode(before.properties).unwrap_or_default();
        let properties = match delay::of(decoded.headers) {
            0 => before.properties.to_vec(),
            delay_ms => delay::had(&decoded, delay_ms),
        };
        let after = Properties::decode(&properties).unwrap_or_default();
        let content = Content { properties: &properties, ..before };
        let mut keys: SmallVec<[&str; 4]> = SmallVec::from_slice(&[before.routing_key()]);
        let _ = sender_selected(after.headers, &mut keys);
        let route = match self.topology.find_exchange(vhost, exchange) {
            Some(found) => self.topology.route_on(found, &keys, &after, self.id.0),
            None => Route::default(),
        };
        self.send_leaving(leaving, &route, &content, Stamp::of(&record).renewed(self.stamp), moving)
    }

    /// Sends one on its route. Returns the shard that has no credit for it; then nothing was done.
    fn send_leaving(
        &mut self,
        leaving: &Leaving,
        route: &Route,
        content: &Content<'_>,
        stamp: Stamp,
        moving: &mut Option<Move>,
    ) -> Option<u8> {
        if let Some((owner, _)) = route.remote.iter().find(|(owner, _)| !self.mesh.has_credit(*owner)) {
            return Some(*owner);
        }
        let must_have = self.ledger.must_have_on(route, content);
        let others = if must_have { route.remote_durable } else { 0 };
        // What was brought by a transaction that is not committed is taken away by one that is behind it.
        let is_whole = others == 0 && (self.parts.is_empty() || !must_have);
        if !is_whole && leaving.stored.is_some() {
            let number = self.txs + 1;
            let moving = moving.get_or_insert_with(|| Move { tx: number, owners: 0, moved: Vec::new() });
            self.txs = moving.tx;
            for owner in (0..self.count).filter(|owner| others & !moving.owners & (1 << owner) != 0) {
                self.mesh.send(owner, Record::TxBegin(moving.tx));
            }
            moving.owners |= others;
            moving.moved.extend(leaving.stored);
            self.ledger.begin_part(moving.tx);
            self.send_route(route, content, stamp);
            self.ledger.end_part();
        } else {
            self.send_route(route, content, stamp);
            if let Some((queue, position)) = leaving.stored {
                self.ledger.settled(queue, position, position + 1);
            }
        }
        self.reading.let_go(leaving.message);
        None
    }

    /// Hands a message with this stamp to the queues of its route.
    pub(super) fn send_route(&mut self, route: &Route, content: &Content<'_>, stamp: Stamp) {
        let refused = self.refused;
        let before = self.stamp_with(stamp);
        self.enqueue(route.local.iter().copied(), content, None);
        self.stamp_with(before);
        // A queue that takes no more loses a dead letter silently.
        self.refused = refused;
        for (owner, keys) in &route.remote {
            self.mesh.publish(*owner, keys, content, stamp, None);
        }
    }

    fn route_leaving(
        &mut self,
        vhost: u16,
        exchange: &str,
        keys: &[&str],
        properties: &Properties<'_>,
        content: &Content<'_>,
    ) -> Route {
        if keys.len() == 1
            && let Some(route) = self.routes.find(vhost, content.names, &self.topology)
        {
            return route.clone();
        }
        let Some(found) = self.topology.find_exchange(vhost, exchange) else { return Route::default() };
        let at = (!exchange.is_empty()).then_some((found.key, found.epoch));
        let route = self.topology.route(found, keys, properties, self.id.0);
        self.routes.insert(vhost, content.names, at, &route);
        route
    }
}
