//! The world as one shard sees it in one turn.

use super::{Net, UnderWay, Written};
use crate::rng::mix;
use leveret::connection::outbound::Outbound;
use leveret::shard::ConnectionId;
use leveret::shard::admin::{AdminAnswer, AdminRequest};
use leveret::shard::mesh::{Batch, ShardId};
use leveret::shard::turn::{CloseKind, ReadOutcome, World, WriteOutcome};
use leveret::store::{Completion, Fetch, Submission};
use leveret::time::Now;
use std::collections::VecDeque;
use std::io::IoSlice;

/// The world as one shard sees it in one turn.
pub struct Turn<'a> {
    pub net: &'a mut Net,
    pub at: usize,
    pub ready: Vec<usize>,
    pub inbox: VecDeque<Batch>,
    pub visible: u64,
    pub offered: Option<usize>,
}

impl Turn<'_> {
    fn socket(&self, id: ConnectionId) -> usize {
        *self.net.nodes[self.at].sockets.get(&id).unwrap_or_else(|| panic!("{id:?} is not a connection of this shard"))
    }

    pub fn note_parked(&mut self) {
        if let Some(socket) = self.offered.take() {
            self.net.sockets[socket].parked = true;
        }
    }
}

impl World for Turn<'_> {
    fn now(&mut self) -> Now {
        self.net.now()
    }

    fn wall_ms(&mut self) -> u64 {
        self.net.wall_ms()
    }

    fn admin_request(&mut self) -> Option<(u64, AdminRequest)> {
        let request = if self.at == 0 { self.net.request.take() } else { None };
        request.map(|request| (1, request))
    }

    fn admin_answer(&mut self, _: u64, answer: AdminAnswer) {
        self.net.answer = Some(answer);
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

    fn submit(&mut self, submission: Submission) -> Vec<u8> {
        assert_eq!(usize::from(submission.from), self.at, "a submission says where it comes from");
        let lane = self.net.lane.as_mut().expect("a store");
        lane.submit(submission);
        lane.spare.pop().unwrap_or_default()
    }

    fn fetch(&mut self, fetch: Fetch) {
        assert_eq!(usize::from(fetch.shard), self.at, "a fetch says where it comes from");
        self.net.lane.as_mut().expect("a store").fetch(fetch);
    }

    fn completion(&mut self) -> Option<Completion> {
        self.net.lane.as_mut()?.next_told(self.at as u8)
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
