//! The seeded world: sockets, the mesh between shards, the clock. It drives the shards through `turn`, as the server
//! does, and decides by seed what comes late, in parts, or not at all.
//!
//! What is late must not contradict what a client knows: a batch that was pushed before bytes that some client has
//! read is in its receiver's inbox by then, and a topology change likewise visible (shards.md A1).

use crate::rng::{Rng, mix};
use leveret::connection::outbound::Outbound;
use leveret::shard::mesh::{Batch, ShardId};
use leveret::shard::turn::{CloseKind, NextTurn, ReadOutcome, World, WriteOutcome};
use leveret::shard::{ConnectionId, Shard};
use leveret::time::Now;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;

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

/// The world of all shards.
#[derive(Debug)]
pub struct Net {
    pub rng: Rng,
    pub faults: Faults,
    pub now_ms: u64,
    pub sockets: Vec<Socket>,
    nodes: Vec<Node>,
    /// The newest turn whose effects some client has seen.
    told: u64,
    /// A hash of everything written to every client.
    pub output_hash: u64,
    pub turns: u64,
    pub trace: bool,
}

impl Net {
    pub fn new(shards: usize, faults: Faults, rng: Rng, trace: bool) -> Net {
        let node = |_| Node {
            sockets: BTreeMap::new(),
            writable: VecDeque::new(),
            next: NextTurn::Now,
            lanes: (0..shards).map(|_| VecDeque::new()).collect(),
            caught_up: 0,
        };
        Net {
            rng,
            faults,
            now_ms: 1,
            sockets: vec![],
            nodes: (0..shards).map(node).collect(),
            told: 0,
            output_hash: 0,
            turns: 0,
            trace,
        }
    }

    /// No more faults: whatever is under way arrives.
    pub fn heal(&mut self) {
        self.faults = Faults::none(self.nodes.len());
        for socket in 0..self.sockets.len() {
            self.report_writable(socket);
        }
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
            NextTurn::At(time) => time.ms <= self.now_ms,
            NextTurn::OnEvent => false,
        };
        due || !node.writable.is_empty()
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

/// The world as one shard sees it in one turn.
struct Turn<'a> {
    net: &'a mut Net,
    at: usize,
    ready: Vec<usize>,
    inbox: VecDeque<Batch>,
    visible: u64,
    offered: Option<usize>,
}

impl Turn<'_> {
    fn socket(&self, id: ConnectionId) -> usize {
        *self.net.nodes[self.at].sockets.get(&id).unwrap_or_else(|| panic!("{id:?} is not a connection of this shard"))
    }

    fn note_parked(&mut self) {
        if let Some(socket) = self.offered.take() {
            self.net.sockets[socket].parked = true;
        }
    }
}

impl World for Turn<'_> {
    fn now(&mut self) -> Now {
        Now { ms: self.net.now_ms }
    }

    fn next_readable(&mut self) -> Option<ConnectionId> {
        self.note_parked();
        loop {
            let socket = self.ready.pop()?;
            let turn = self.net.turns;
            if self.net.readable(socket) && self.net.sockets[socket].read_turn != turn {
                self.offered = Some(socket);
                return Some(self.net.sockets[socket].id);
            }
        }
    }

    fn next_writable(&mut self) -> Option<ConnectionId> {
        self.net.nodes[self.at].writable.pop_front()
    }

    fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome {
        let socket = self.socket(id);
        if self.offered == Some(socket) {
            self.offered = None;
        }
        assert!(!buffer.is_empty(), "a read into nothing");
        let turn = self.net.turns;
        let s = &mut self.net.sockets[socket];
        s.parked = false;
        s.read_turn = turn;
        if s.to_broker.is_empty() {
            if s.ended {
                s.end_told = true;
                return ReadOutcome::Closed;
            }
            return ReadOutcome::Empty;
        }
        let most = s.to_broker.len().min(buffer.len());
        let count = match self.net.faults.read_max {
            0 => most,
            max => self.net.rng.range(1, most.min(max)),
        };
        for (place, byte) in buffer.iter_mut().zip(s.to_broker.drain(..count)) {
            *place = byte;
        }
        ReadOutcome::Bytes(count)
    }

    fn inbox(&mut self) -> Option<Batch> {
        self.inbox.pop_front()
    }

    fn topology_visible(&mut self) -> u64 {
        self.visible
    }

    fn push(&mut self, to: ShardId, batch: Batch) {
        let to = usize::from(to.0);
        assert_ne!(to, self.at, "a batch to oneself");
        assert_eq!(usize::from(batch.from.0), self.at, "a batch says where it comes from");
        let (turn, told) = (self.net.turns, self.net.told);
        self.net.nodes[to].lanes[self.at].push_back(UnderWay { turn, told, batch });
    }

    fn write(&mut self, id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome {
        let socket = self.socket(id);
        let window = self.net.faults.window_bytes;
        let s = &mut self.net.sockets[socket];
        assert!(!s.closed, "a write to a closed socket");
        if s.cut {
            return WriteOutcome::Failed;
        }
        let mut room = window.saturating_sub(s.from_broker_bytes).min(outbound.len());
        if room > 0 && self.net.rng.chance(self.net.faults.partial_write) {
            room = self.net.rng.range(1, room);
        }
        let mut bytes = Vec::with_capacity(room);
        while bytes.len() < room {
            let mut slices: Vec<IoSlice<'_>> = vec![];
            outbound.slices(&mut slices, 16);
            let before = bytes.len();
            for slice in &slices {
                let take = slice.len().min(room - bytes.len());
                bytes.extend_from_slice(&slice[..take]);
            }
            drop(slices);
            assert!(bytes.len() > before, "outbound has {} bytes and no slices", outbound.len());
            outbound.advance(bytes.len() - before);
        }
        let mut hash = mix(self.net.output_hash ^ socket as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_add(part.len() as u64);
        }
        self.net.output_hash = hash;
        if !bytes.is_empty() {
            s.from_broker_bytes += bytes.len();
            let turn = self.net.turns;
            s.from_broker.push_back(Written { turn, bytes, read: 0 });
        }
        if outbound.is_empty() {
            WriteOutcome::Drained
        } else {
            s.blocked = true;
            // A write taken in part with room left: the socket is writable again at once.
            self.net.report_writable(socket);
            WriteOutcome::Full
        }
    }

    fn close(&mut self, id: ConnectionId, how: CloseKind) {
        let socket = self.socket(id);
        self.net.nodes[self.at].sockets.remove(&id);
        let s = &mut self.net.sockets[socket];
        s.closed = true;
        if how == CloseKind::Reset {
            s.from_broker.clear();
            s.from_broker_bytes = 0;
        }
        s.to_broker.clear();
    }
}
