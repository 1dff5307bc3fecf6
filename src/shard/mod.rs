//! A shard: a share of the connections and queues, driven in turns.
//!
//! A shard is a deterministic machine without I/O: [`turn::turn`] hands it bytes, time and what other shards say, and
//! takes bytes and batches from it. One shard per core; they share nothing but immutable values.

pub mod access;
pub mod admin;
pub mod alarm;
mod authority;
mod census;
mod confirms;
mod deaths;
mod definitions;
mod delayed;
mod deliver;
mod delivery;
mod dispatch;
mod due;
mod events;
mod firehose;
mod gate;
mod global_qos;
mod heartbeat;
mod history;
pub mod inspect;
mod ledger;
mod log;
mod member;
mod members;
pub mod mesh;
mod names;
mod outlet;
mod overdue;
mod owner;
mod pace;
mod receive;
mod record;
mod reply_to;
mod routes;
mod ruled;
mod settle;
mod stored;
mod sweeps;
mod timer;
pub mod turn;
mod unacked;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use ahash::RandomState;

use crate::amqp::Stamp;
use crate::broker::message::Blocks;
use crate::broker::queue::Queue;
use crate::broker::topology::Topology;
use crate::config::Settings;
use crate::connection::outbound::Outbound;
use crate::limits::Limits;
use crate::store::Contents;
use crate::time::Now;
use access::Passwords;
use admin::Admin;
use alarm::Alarms;
use census::Census;
use deaths::Deaths;
use inspect::Counted;
use ledger::Ledger;
use log::{LogCursor, LogWriter, topology_log};
use member::Committing;
use members::Members;
use mesh::{Batch, Caller, Mesh, ShardId};
use names::Names;
use owner::Owner;
use routes::Routes;
use stored::Reading;
use sweeps::Sweeps;
use timer::{Timer, Timers};
use turn::{CloseKind, NextTurn, WriteOutcome};
use upkeep::Upkeep;

/// A connection of a shard: a slot, and a generation that tells it from others that had the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The slot; small, so that the shell can use it as an index.
    pub slot: u32,
    /// The generation.
    pub generation: u32,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
}

/// Queues that are looked at in one turn because something of them is due.
const QUEUES_MAX: usize = 256;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    count: u8,
    settings: Arc<Settings>,
    now: Now,
    /// For messages that are published now; its time is that of the turn.
    stamp: Stamp,
    names: Names,
    topology: Topology,
    cursor: LogCursor,
    /// Shard 0 writes the topology log.
    writer: Option<LogWriter>,
    /// For shard 0: queues placed on each shard.
    placed: Vec<u32>,
    members: Members,
    blocks: Blocks,
    living: Vec<Option<Box<Queue>>>,
    owner: Owner,
    /// What is for the journal.
    ledger: Ledger,
    /// What is wanted from the disk.
    reading: Reading,
    /// For shard 0: the number last given to a queue or exchange.
    ids: u64,
    /// Transactions over several shards whose commit is under way, by number.
    committing: BTreeMap<u64, Committing>,
    /// Transactions over several shards that have brought something here and are not known to be committed.
    parts: BTreeSet<u64>,
    /// The number last given to one.
    txs: u64,
    mesh: Mesh,
    /// Channels whose common prefetch limit is to be looked at again at the end of the turn.
    granting: Vec<Caller>,
    timers: Timers,
    upkeep: Upkeep,
    routes: Routes,
    alarms: Alarms,
    admin: Admin,
    passwords: Passwords,
    census: Census,
    sweeps: Sweeps,
    ring: Vec<u8>,
    /// Bytes at the ring's start that were left over from the connection's last read.
    prefix: usize,
    /// Connections in order of their coming, until they have logged in.
    handshakes: VecDeque<ConnectionId>,
    /// Shards whose publish credit the command just run has used up, by bit.
    exhausted: u64,
    /// Messages that queues have let go of.
    deaths: Deaths,
    /// For those who look.
    counted: Counted,
    /// A queue has refused a message since this was last looked at.
    refused: bool,
    /// A message was returned: what is outbound has grown.
    returned: bool,
    stopping: bool,
}

impl Shard {
    /// All shards of one broker, `count` (1 to 64) of them. Everything they do follows from `settings`, `seed` and
    /// what they are told.
    ///
    /// `contents`: what the store has; without a store nothing survives.
    pub fn mesh(count: usize, settings: Arc<Settings>, seed: [u8; 32], contents: Option<&Contents>) -> Vec<Shard> {
        let count = count.clamp(1, 64);
        let mut hash_names = Names::new(seed, 0);
        let [a, b, c, d] = hash_names.numbers();
        let hash = RandomState::with_seeds(a, b, c, d);
        let vhosts = definitions::vhosts(&settings.vhosts, contents);
        let tables = || Topology::with_vhosts(&vhosts, hash.clone()).with_events(settings.event_exchange.as_deref());
        let topology = tables();
        let base = topology.version();
        let mut restored = match contents {
            Some(contents) => definitions::restore(topology, contents, count),
            None => definitions::Restored::none(count),
        };
        let ids = contents.map_or(1 << 32, Contents::ids_from);
        let first_at = restored.changes.len();
        restored.changes.extend(access::first_changes(&settings, &vhosts, &restored.changes, &mut hash_names, ids));
        let ids = ids + (restored.changes.len() - first_at) as u64;
        let (writer, cursor) = topology_log(base + restored.changes.len() as u64);
        let mut writer = Some(writer);
        let mut shards: Vec<Shard> = (0..count)
            .map(|id| {
                let limits = &settings.limits;
                let [lots, ..] = Names::new(seed, u64::MAX - id as u64).numbers();
                Shard {
                    id: ShardId(id as u8),
                    count: count as u8,
                    now: Now::default(),
                    stamp: Stamp::default(),
                    names: Names::new(seed, id as u64 + 1),
                    topology: tables().with_lots(lots),
                    cursor: cursor.clone(),
                    writer: writer.take(),
                    placed: restored.placed.clone(),
                    members: Members::new(),
                    blocks: Blocks::new(limits.block_bytes, limits.body_own_block_bytes, limits.blocks_spare_max),
                    living: Vec::new(),
                    owner: Owner::new(&hash, pace::link_window(limits, count)),
                    ledger: Ledger::new(contents.is_some(), count),
                    reading: Reading::new(&hash),
                    ids,
                    committing: BTreeMap::new(),
                    parts: BTreeSet::new(),
                    // The term in between: a journal has each number once.
                    txs: (id as u64) << 56 | contents.map_or(0, |contents| (contents.term & 0xffff) << 40),
                    mesh: Mesh::new(ShardId(id as u8), count, pace::publish_credit(limits, count)),
                    granting: Vec::new(),
                    timers: Timers::default(),
                    upkeep: Upkeep::default(),
                    routes: Routes::new(hash.clone(), limits.route_cache_max),
                    alarms: Alarms::default(),
                    admin: Admin::default(),
                    passwords: Passwords::new(Names::new(seed, u64::MAX / 2 - id as u64).numbers()),
                    census: Census::default(),
                    sweeps: Sweeps::default(),
                    ring: Vec::new(),
                    prefix: 0,
                    handshakes: VecDeque::new(),
                    exhausted: 0,
                    deaths: Deaths::default(),
                    counted: Counted::default(),
                    refused: false,
                    returned: false,
                    stopping: false,
                    settings: settings.clone(),
                }
            })
            .collect();
        shards.iter_mut().for_each(|shard| shard.restore(&restored));
        let first = restored.changes.get(first_at..).unwrap_or_default();
        shards.iter_mut().take(1).for_each(|shard| shard.write_first(first));
        shards
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Connections that exist.
    pub fn connection_count(&self) -> usize {
        self.members.len()
    }

    /// Takes a new connection; `None` when there are too many: the socket is to be closed.
    pub fn connect(&mut self, now: Now, peer: Peer) -> Option<ConnectionId> {
        if self.stopping || self.members.len() >= self.settings.limits.connections_max {
            return None;
        }
        let id = self.members.insert(peer, &self.settings.limits);
        self.timers.add(now.after_ms(self.settings.limits.handshake_ms), Timer::Handshake(id));
        self.handshakes.push_back(id);
        while self.handshakes.len() > self.settings.limits.handshakes_max {
            // The oldest that has not logged in gives way; those that have are only off the list.
            if let Some(oldest) = self.handshakes.pop_front() {
                self.handshake_expired(oldest);
            }
        }
        Some(id)
    }

    /// Whether [`Shard::stop`] was called and every connection is gone.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.members.len() == 0 && self.members.is_quiet() && self.committing.is_empty()
    }

    /// Begins a turn at `now`, which is `wall_ms` milliseconds after 1970 began.
    pub fn begin_turn(&mut self, now: Now, wall_ms: u64) {
        self.now = now;
        self.stamp_with(Stamp::at(wall_ms));
    }

    /// Has what is published from now on kept with this stamp, which has the time of the turn. Returns the one before.
    fn stamp_with(&mut self, stamp: Stamp) -> Stamp {
        self.keep_with(stamp);
        std::mem::replace(&mut self.stamp, stamp)
    }

    /// Has only what is kept from now on have this stamp. Returns that of the turn.
    fn keep_with(&mut self, stamp: Stamp) -> Stamp {
        (self.blocks.stamp, self.ledger.stamp) = (stamp, stamp);
        self.stamp
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: ConnectionId) {
        if let Some(member) = self.members.get_mut(id) {
            member.writable = true;
            if !member.outbound.is_empty() || member.close.is_some() {
                self.members.mark_dirty(id);
            }
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Now) {
        let mut queues_left = QUEUES_MAX.min(self.removals_left());
        while queues_left > 0
            && let Some(timer) = self.timers.expired(now)
        {
            match timer {
                Timer::Queue(key) => {
                    queues_left -= 1;
                    self.look_at(key);
                }
                Timer::Overdue(caller) => self.look_for_overdue(caller),
                Timer::Grant(caller) => self.grant(caller),
                Timer::Handshake(id) => self.handshake_expired(id),
                Timer::Heartbeat(id) => self.heartbeat_due(id),
                Timer::Close(id) => self.close_expired(id),
            }
        }
    }

    /// Ends a turn: deliveries under credit. Batches and connections to write are listed afterwards.
    pub fn end_turn(&mut self, now: Now) {
        self.bury();
        self.settle_ledger();
        self.release_spent();
        self.keep_up(now);
        self.deliver_active();
        for caller in std::mem::take(&mut self.granting) {
            self.grant(caller);
        }
    }

    /// The next batch to push.
    pub fn next_batch(&mut self) -> Option<(ShardId, Batch)> {
        self.mesh.next_batch(self.topology.version())
    }

    /// What is to be written to a connection, if its socket takes bytes.
    #[inline]
    pub fn outbound(&mut self, id: ConnectionId) -> Option<&mut Outbound> {
        let member = self.members.get_mut(id).filter(|member| member.writable && member.gates == 0)?;
        Some(&mut member.outbound)
    }

    /// Notes what a write achieved.
    pub fn wrote(&mut self, now: Now, id: ConnectionId, outcome: WriteOutcome) {
        let high = self.settings.limits.outbound_high_bytes;
        let credit_step = self.link_credit_step();
        self.members.weigh(id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.heartbeat.sent = true;
        match outcome {
            WriteOutcome::Drained => {
                if let Some(how) = member.close {
                    return self.drop_connection(id, how);
                }
            }
            WriteOutcome::Full => member.writable = false,
            WriteOutcome::Failed => return self.disconnected(now, id),
        }
        if member.outbound.len() > high / 2 {
            return;
        }
        let stalled = std::mem::take(&mut member.stalled);
        for (owner, bytes) in &mut member.foreign {
            if *bytes > credit_step {
                self.mesh.send(*owner, mesh::Record::LinkCredit(id, std::mem::take(bytes)));
            }
        }
        self.members.settle_buffer(id);
        self.members.resume(id);
        if stalled && let Some(link) = self.link_of(self.id.0, id) {
            self.link_opened(link);
        }
    }

    /// The next socket to close.
    pub fn next_closed(&mut self) -> Option<(ConnectionId, CloseKind)> {
        self.members.next_closed()
    }

    /// When the next turn is due.
    pub fn next_turn(&mut self) -> NextTurn {
        if !self.members.resumed.is_empty()
            || self.owner.has_work()
            || self.upkeep.has_work()
            || self.admin_has_work()
            || self.deaths.has_work()
            || !self.granting.is_empty()
            || self.mesh.has_output()
            || self.ledger.has_output() && self.ledger.due().is_none()
            || self.writer.as_ref().is_some_and(LogWriter::has_hidden)
            || !self.members.is_quiet()
        {
            return NextTurn::Now;
        }
        let mut next = self.timers.next().filter(|_| self.removals_left() > 0); // or else shard 0 is heard of
        for due in [self.next_look(), self.ledger.due()].into_iter().flatten() {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        next.map_or(NextTurn::OnEvent, NextTurn::At)
    }
}
