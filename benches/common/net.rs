//! Shards in memory: bytes in, bytes out, no sockets and no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use leveret::amqp::Frame;
use leveret::config::Settings;
use leveret::connection::outbound::Outbound;
use leveret::shard::mesh::{Batch, ShardId};
use leveret::shard::turn::{CloseKind, NextTurn, ReadOutcome, World, WriteOutcome, turn};
use leveret::shard::{ConnectionId, Peer, Shard};
use leveret::time::Now;

use super::say;

const NOW: Now = Now { ms: 10_000 };

/// A client's end of a connection.
struct Link {
    shard: usize,
    id: ConnectionId,
    /// What the client sends, one after the other and then again.
    reads: Vec<Vec<u8>>,
    /// Which of them is being sent, and from where on.
    current: usize,
    at: usize,
    /// Bytes that came.
    came: u64,
    /// The bytes themselves, while somebody wants to look at them.
    kept: Option<Vec<u8>>,
}

impl Link {
    fn rest(&self) -> &[u8] {
        self.reads.get(self.current).and_then(|read| read.get(self.at..)).unwrap_or(&[])
    }
}

struct Wires {
    links: Vec<Link>,
    /// The links of each shard, by the slots of their connections.
    slots: Vec<Vec<usize>>,
    inboxes: Vec<VecDeque<Batch>>,
}

/// One shard's view of the wires during a turn.
struct Port<'a> {
    wires: &'a mut Wires,
    shard: usize,
    /// The slot to be offered next.
    offer: usize,
    is_counted: bool,
}

impl Port<'_> {
    fn link(&mut self, id: ConnectionId) -> &mut Link {
        &mut self.wires.links[self.wires.slots[self.shard][id.slot as usize]]
    }
}

/// The client's part of a read.
#[inline]
fn copy_read(link: &mut Link, buffer: &mut [u8]) -> ReadOutcome {
    let rest = link.rest();
    let count = rest.len().min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    link.at += count;
    if count == 0 { ReadOutcome::Empty } else { ReadOutcome::Bytes(count) }
}

/// The same while instructions are counted. Not inlined: `benches/instructions` leaves it out by its name.
#[inline(never)]
fn client_read(link: &mut Link, buffer: &mut [u8]) -> ReadOutcome {
    copy_read(link, buffer)
}

impl World for Port<'_> {
    fn now(&mut self) -> Now {
        NOW
    }

    fn next_readable(&mut self) -> Option<ConnectionId> {
        let slots = &self.wires.slots[self.shard];
        while let Some(&index) = slots.get(self.offer) {
            self.offer += 1;
            let link = &self.wires.links[index];
            if !link.rest().is_empty() {
                return Some(link.id);
            }
        }
        None
    }

    fn next_writable(&mut self) -> Option<ConnectionId> {
        None
    }

    fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome {
        let is_counted = self.is_counted;
        let link = self.link(id);
        if is_counted { client_read(link, buffer) } else { copy_read(link, buffer) }
    }

    fn inbox(&mut self) -> Option<Batch> {
        self.wires.inboxes[self.shard].pop_front()
    }

    fn push(&mut self, to: ShardId, batch: Batch) {
        self.wires.inboxes[usize::from(to.0)].push_back(batch);
    }

    fn write(&mut self, id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome {
        let link = self.link(id);
        while !outbound.is_empty() {
            let count = if let Some(bytes) = outbound.plain() {
                if let Some(kept) = &mut link.kept {
                    kept.extend_from_slice(bytes);
                }
                bytes.len()
            } else {
                let mut slices = Vec::with_capacity(64);
                outbound.slices(&mut slices, 64);
                if let Some(kept) = &mut link.kept {
                    slices.iter().for_each(|slice| kept.extend_from_slice(slice));
                }
                slices.iter().map(|slice| slice.len()).sum()
            };
            link.came += count as u64;
            outbound.advance(count);
        }
        WriteOutcome::Drained
    }

    fn close(&mut self, id: ConnectionId, _how: CloseKind) {
        let kept = self.link(id).kept.take().unwrap_or_default();
        panic!("the broker closed a connection; its last words: {}", String::from_utf8_lossy(&kept));
    }
}

/// A turn while instructions are counted. Not inlined: `benches/instructions` counts in here, by its name.
#[inline(never)]
fn broker_turn(shard: &mut Shard, port: &mut Port<'_>) -> NextTurn {
    turn(shard, port)
}

/// The shards and the clients of one bench.
pub struct Net {
    shards: Vec<Shard>,
    due: Vec<NextTurn>,
    wires: Wires,
    is_counted: bool,
}

impl Net {
    /// So many shards, all alike in each run.
    pub fn new(shards: usize, settings: Settings) -> Net {
        Net {
            shards: Shard::mesh(shards, Arc::new(settings), [7; 32], None),
            due: vec![NextTurn::Now; shards],
            wires: Wires {
                links: vec![],
                slots: vec![vec![]; shards],
                inboxes: (0..shards).map(|_| VecDeque::new()).collect(),
            },
            is_counted: false,
        }
    }

    /// From here on, `benches/instructions` counts.
    pub fn count(&mut self) {
        self.is_counted = true;
    }

    /// A client of `shard` that has logged in and opened channel 1. Returns its number.
    pub fn client(&mut self, shard: usize) -> usize {
        let index = self.wires.links.len();
        let address = ([127, 0, 0, 1], 40_000 + index as u16).into();
        let peer = Peer { address, local: ([127, 0, 0, 1], 5672).into() };
        let id = self.shards[shard].connect(NOW, peer).expect("a connection is accepted");
        let slots = &mut self.wires.slots[shard];
        assert_eq!(slots.len(), id.slot as usize, "connections get slots in order");
        slots.push(index);
        self.wires.links.push(Link { shard, id, reads: vec![], current: 0, at: 0, came: 0, kept: None });
        let answers = self.say(index, say::hello());
        assert_eq!(say::count(&answers, say::CHANNEL_OPEN_OK), 1, "a client logs in");
        index
    }

    /// Sends bytes at once and returns what comes back to this client.
    pub fn say(&mut self, client: usize, bytes: Vec<u8>) -> Vec<u8> {
        self.sends(client, vec![bytes]);
        self.keep(client);
        self.offer(client);
        self.settle();
        self.kept(client)
    }

    /// What the client sends from now on: one of `reads` per [`Net::offer`], over and over.
    pub fn sends(&mut self, client: usize, reads: Vec<Vec<u8>>) {
        let link = &mut self.wires.links[client];
        assert!(link.rest().is_empty(), "what was sent before is not read yet");
        link.current = reads.len() - 1;
        link.at = reads[link.current].len();
        link.reads = reads;
    }

    /// Sends the next read.
    pub fn offer(&mut self, client: usize) {
        let link = &mut self.wires.links[client];
        link.current = (link.current + 1) % link.reads.len();
        link.at = 0;
    }

    /// The read that [`Net::offer`] sends next, to be changed in place.
    pub fn next_read(&mut self, client: usize) -> &mut [u8] {
        let link = &mut self.wires.links[client];
        let next = (link.current + 1) % link.reads.len();
        &mut link.reads[next]
    }

    /// Bytes that came to the client so far.
    pub fn came(&self, client: usize) -> u64 {
        self.wires.links[client].came
    }

    /// Keeps what comes to the client from now on.
    pub fn keep(&mut self, client: usize) {
        self.wires.links[client].kept = Some(vec![]);
    }

    /// What was kept; nothing more is.
    pub fn kept(&mut self, client: usize) -> Vec<u8> {
        let kept = self.wires.links[client].kept.take().unwrap_or_default();
        let mut at = 0;
        while let Some(frame) = Frame::read(&kept[at..]) {
            at += frame.wire_bytes();
        }
        assert_eq!(at, kept.len(), "whole frames come");
        kept
    }

    /// Gives the shards turns until none has anything left to do.
    pub fn settle(&mut self) {
        loop {
            let mut ran = false;
            for shard in 0..self.shards.len() {
                let mut links = self.wires.slots[shard].iter().map(|&index| &self.wires.links[index]);
                let due = self.due[shard] == NextTurn::Now || !self.wires.inboxes[shard].is_empty();
                if due || links.any(|link| !link.rest().is_empty()) {
                    let mut port = Port { wires: &mut self.wires, shard, offer: 0, is_counted: self.is_counted };
                    let of = &mut self.shards[shard];
                    self.due[shard] = if self.is_counted { broker_turn(of, &mut port) } else { turn(of, &mut port) };
                    ran = true;
                }
            }
            if !ran {
                return;
            }
        }
    }
}
