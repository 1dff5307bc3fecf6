//! The seeded world: sockets, the mesh between shards, the clock. It drives the shards through `turn`, as the server
//! does, and decides by seed what comes late, in parts, or not at all.
//!
//! What is late must not contradict what a client knows: a batch that was pushed before bytes that some client has
//! read is in its receiver's inbox by then, and a topology change likewise visible (shards.md A1).

mod turn;

use crate::lane::Lane;
use crate::rng::Rng;
use leveret::shard::admin::{AdminAnswer, AdminRequest};
use leveret::shard::mesh::Batch;
use leveret::shard::turn::NextTurn;
use leveret::shard::{ConnectionId, Shard};
use leveret::time::Now;
use std::collections::{BTreeMap, VecDeque};
use turn::Turn;

/// The time of the day at which the clock began, in milliseconds since 1970.
const WALL_MS_AT_FIRST: u64 = 1_800_000_000_123;

/// How batches of different senders reach one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshOrder {
    /// In the order in which they were pushed, as through the server's inbox.
    Causal,
    /// In order per sender, and never before what a client knew when it was pushed.
    PerPair,
}

/// What the world does to its inhabitants; drawn per seed.
#[derive(Debug, Clone)]
pub struct Faults {
    pub mesh: MeshOrder,
    /// How often a batch that may wait does.
    pub hold_batch: usize,
    /// How often the topology log lags as far as it may.
    pub lag_topology: usize,
    /// Most bytes in one read; 0: no limit.
    pub read_max: usize,
    /// Bytes a socket holds for a client that does not read.
    pub window_bytes: usize,
    /// How often a write is taken in part only.
    pub partial_write: usize,
    /// How often a readable socket is not reported in a turn.
    pub skip_readable: usize,
    /// How often a shard without work is run all the same.
    pub spurious_turn: usize,
    /// Share of turns of each shard.
    pub shard_weights: Vec<u32>,
}

impl Faults {
    /// A world that does its best.
    pub fn none(shards: usize) -> Faults {
        Faults {
            mesh: MeshOrder::Causal,
            hold_batch: 0,
            lag_topology: 0,
            read_max: 0,
            window_bytes: 1 << 30,
            partial_write: 0,
            skip_readable: 0,
            spurious_turn: 0,
            shard_weights: vec![1; shards],
        }
    }
}

/// Bytes of one write, with the turn that wrote them.
#[derive(Debug)]
struct Written {
    turn: u64,
    bytes: Vec<u8>,
    read: usize,
}

/// One TCP connection, both directions.
#[derive(Debug)]
pub struct Socket {
    pub shard: usize,
    id: ConnectionId,
    to_broker: VecDeque<u8>,
    from_broker: VecDeque<Written>,
    from_broker_bytes: usize,
    /// The client closed (after its bytes) or cut the connection.
    ended: bool,
    cut: bool,
    /// The broker closed its side or the shard learned of the end.
    closed: bool,
    /// The broker was told of the end.
    end_told: bool,
    /// A write was not taken in full.
    blocked: bool,
    /// The shard declined to read it and will ask for it, unless more comes.
    parked: bool,
    /// The last turn that read it: once per turn is enough.
    read_turn: u64,
}

/// A batch on its way.
#[derive(Debug)]
struct UnderWay {
    /// The turn that pushed it.
    turn: u64,
    /// The newest turn whose effects some client had seen by then: what that pushed comes before this.
    told: u64,
    batch: Batch,
}

#[derive(Debug)]
struct Node {
    sockets: BTreeMap<ConnectionId, usize>,
    writable: VecDeque<ConnectionId>,
    next: NextTurn,
    /// Batches under way from each shard.
    lanes: Vec<VecDeque<UnderWay>>,
    /// The last turn in which it saw the whole topology log.
    caught_up: u64,
}

impl Node {
    fn new(shards: usize) -> Node {
        Node {
            sockets: BTreeMap::new(),
            writable: VecDeque::new(),
            next: NextTurn::Now,
            lanes: (0..shards).map(|_| VecDeque::new()).collect(),
            caught_up: 0,
        }
    }
}

/// The world of all shards.
#[derive(Debug)]
pub struct Net {
    pub rng: Rng,
    pub faults: Faults,
    /// Goes on over restarts; the broker's clock begins anew with each.
    pub now_ms: u64,
    started_ms: u64,
    pub sockets: Vec<Socket>,
    nodes: Vec<Node>,
    pub lane: Option<Lane>,
    /// A request that is not AMQP, for shard 0.
    pub request: Option<AdminRequest>,
    /// The answer to the last one.
    pub answer: Option<AdminAnswer>,
    /// The newest turn whose effects some client has seen.
    told: u64,
    /// A hash of everything written to every client.
    pub output_hash: u64,
    pub turns: u64,
    pub trace: bool,
}

impl Net {
    pub fn new(shards: usize, faults: Faults, rng: Rng, trace: bool) -> Net {
        Net {
            rng,
            faults,
            now_ms: 1,
            started_ms: 0,
            sockets: vec![],
            nodes: (0..shards).map(|_| Node::new(shards)).collect(),
            lane: None,
            request: None,
            answer: None,
            told: 0,
            output_hash: 0,
            turns: 0,
            trace,
        }
    }

    /// All shards are gone, and there are others.
    pub fn restart(&mut self, shards: usize) {
        for socket in &mut self.sockets {
            (socket.cut, socket.closed) = (true, true);
            socket.from_broker.clear();
        }
        self.nodes = (0..shards).map(|_| Node::new(shards)).collect();
        (self.lane, self.request, self.answer) = (None, None, None);
        self.told = 0;
        self.started_ms = self.now_ms;
        self.faults.shard_weights.resize(shards, 1);
    }

    /// The broker's clock.
    pub fn now(&self) -> Now {
        Now { ms: self.now_ms - self.started_ms }
    }

    /// The time of the day, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        WALL_MS_AT_FIRST + self.now_ms
    }

    /// No more faults: whatever is under way arrives.
    pub fn heal(&mut self) {
        self.faults = Faults::none(self.nodes.len());
        for socket in 0..self.sockets.len() {
            self.report_writable(socket);
        }
    }

    /// A shard has work that no socket and no batch told of.
    pub fn wake(&mut self, shard: usize) {
        self.nodes[shard].next = NextTurn::Now;
    }

    pub fn attach(&mut self, shard: usize, id: ConnectionId) -> usize {
        let socket = self.sockets.len();
        self.sockets.push(Socket {
            shard,
            id,
            to_broker: VecDeque::new(),
            from_broker: VecDeque::new(),
            from_broker_bytes: 0,
            ended: false,
            cut: false,
            closed: false,
            end_told: false,
            blocked: false,
            parked: false,
            read_turn: 0,
        });
        let before = self.nodes[shard].sockets.insert(id, socket);
        assert!(before.is_none(), "{id:?} was given out twice");
        socket
    }

    pub fn send(&mut self, socket: usize, bytes: &[u8]) {
        self.sockets[socket].to_broker.extend(bytes);
        self.sockets[socket].parked = false;
    }

    /// Bytes that the broker has not read.
    pub fn unread_by_broker(&self, socket: usize) -> usize {
        self.sockets[socket].to_broker.len()
    }

    /// Whether a client has something to read: bytes or the end.
    pub fn client_readable(&self, socket: usize) -> bool {
        let socket = &self.sockets[socket];
        !socket.cut && (!socket.from_broker.is_empty() || socket.closed)
    }

    /// What a client reads, at most `max` bytes; `None` at the end of the stream.
    pub fn client_read(&mut self, socket: usize, max: usize) -> Option<Vec<u8>> {
        let s = &mut self.sockets[socket];
        if s.from_broker.is_empty() && s.closed {
            return None;
        }
        let mut bytes = vec![];
        while let Some(written) = s.from_broker.front_mut() {
            let take = (written.bytes.len() - written.read).min(max - bytes.len());
            bytes.extend_from_slice(&written.bytes[written.read..written.read + take]);
            written.read += take;
            self.told = self.told.max(written.turn);
            if written.read == written.bytes.len() {
                s.from_broker.pop_front();
            }
            if bytes.len() == max {
                break;
            }
        }
        s.from_broker_bytes -= bytes.len();
        self.report_writable(socket);
        Some(bytes)
    }

    fn report_writable(&mut self, socket: usize) {
        let s = &mut self.sockets[socket];
        if s.blocked && !s.closed && (s.cut || s.from_broker_bytes < self.faults.window_bytes) {
            s.blocked = false;
            self.nodes[s.shard].writable.push_back(s.id);
        }
    }

    /// The client closes its side in order: what it sent arrives.
    pub fn client_close(&mut self, socket: usize) {
        self.sockets[socket].ended = true;
        self.sockets[socket].parked = false;
    }

    /// The connection breaks: some of what was under way is lost, in both directions.
    pub fn client_cut(&mut self, socket: usize) {
        let s = &mut self.sockets[socket];
        let arrives = self.rng.below(s.to_broker.len() + 1);
        s.to_broker.truncate(arrives);
        s.from_broker.clear();
        s.from_broker_bytes = 0;
        s.ended = true;
        s.cut = true;
        s.parked = false;
        self.report_writable(socket);
    }

    fn readable(&self, socket: usize) -> bool {
        let s = &self.sockets[socket];
        !s.closed && !s.parked && (!s.to_broker.is_empty() || (s.ended && !s.end_told))
    }

    /// Whether a shard has something to do that would wake it.
    pub fn has_event(&self, shard: usize) -> bool {
        let node = &self.nodes[shard];
        let due = match node.next {
            NextTurn::Now => true,
            NextTurn::At(time) => time <= self.now(),
            NextTurn::OnEvent => false,
        };
        due || self.lane.as_ref().is_some_and(|lane| lane.tells(shard as u8))
            || !node.writable.is_empty()
            || node.lanes.iter().any(|lane| !lane.is_empty())
            || node.sockets.values().any(|s| self.readable(*s))
    }

    /// One turn of one shard.
    pub fn turn(&mut self, shards: &mut [Shard], at: usize) {
        self.turns += 1;
        let mut ready: Vec<usize> = self.nodes[at].sockets.values().copied().filter(|s| self.readable(*s)).collect();
        self.rng.shuffle(&mut ready);
        let skip = self.faults.skip_readable;
        ready.retain(|_| !self.rng.chance(skip));
        let inbox = self.release(at);
        // A shard may lag behind the log as long as no client knows of anything newer than what it has seen.
        let lags = self.told <= self.nodes[at].caught_up && self.rng.chance(self.faults.lag_topology);
        if !lags {
            self.nodes[at].caught_up = self.turns;
        }
        let visible = if lags { 0 } else { u64::MAX };
        let mut turn = Turn { net: self, at, ready, inbox, visible, offered: None };
        let next = leveret::shard::turn::turn(&mut shards[at], &mut turn);
        turn.note_parked();
        self.nodes[at].next = next;
    }

    /// The batches that a shard finds in its inbox this turn: all that a client may know of, and some more.
    fn release(&mut self, at: usize) -> VecDeque<Batch> {
        let (told, hold) = (self.told, self.faults.hold_batch);
        let lanes = &mut self.nodes[at].lanes;
        let mut held = vec![false; lanes.len()];
        let mut taken = VecDeque::new();
        loop {
            let fronts: Vec<(usize, u64, u64)> = lanes
                .iter()
                .enumerate()
                .filter_map(|(from, lane)| lane.front().map(|b| (from, b.turn, b.told)))
                .collect();
            let may_come = |(from, turn, told): (usize, u64, u64)| {
                let after = if self.faults.mesh == MeshOrder::Causal { turn } else { told };
                !held[from] && fronts.iter().all(|(other, turn, _)| *other == from || *turn > after)
            };
            let next: Vec<(usize, u64)> =
                fronts.iter().filter(|front| may_come(**front)).map(|(from, turn, _)| (*from, *turn)).collect();
            if next.is_empty() {
                return taken;
            }
            let (from, turn) = self.rng.pick(&next);
            if turn > told && self.rng.chance(hold) {
                held[from] = true;
            } else {
                taken.extend(lanes[from].pop_front().map(|under_way| under_way.batch));
            }
        }
    }
}
