//! All connections of a shard, and which of them need something.

use std::collections::VecDeque;

use slab::Slab;
use smallvec::SmallVec;

use super::alarm::Hold;
use super::census::Counted;
use super::member::{ClientCapabilities, Heartbeat, Login, Member};
use super::pace::Held;
use super::turn::CloseKind;
use super::{ConnectionId, Peer};
use crate::connection::Connection;
use crate::connection::outbound::Outbound;
use crate::limits::Limits;

/// All connections of a shard, and which of them need something.
#[derive(Debug)]
pub struct Members {
    slab: Slab<Member>,
    generation: u32,
    /// To be written, in the order in which they had something first.
    dirty: VecDeque<ConnectionId>,
    closed: Vec<(ConnectionId, CloseKind)>,
    /// Connections whose bytes may be parsed again.
    pub resumed: VecDeque<ConnectionId>,
    buffers: Vec<Vec<u8>>,
    /// What the buffers take.
    spare_bytes: usize,
    held: Held,
}

/// Buffers kept for connections that will be sent something take no more bytes than this in all.
const SPARE_BYTES_MAX: usize = 8 << 20;
/// A larger one is not kept.
const SPARE_BUFFER_BYTES_MAX: usize = 1 << 20;

impl Members {
    /// No connections.
    pub fn new() -> Members {
        Members {
            slab: Slab::new(),
            generation: 0,
            dirty: VecDeque::new(),
            closed: Vec::new(),
            resumed: VecDeque::new(),
            buffers: Vec::new(),
            spare_bytes: 0,
            held: Held::default(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a connection that was just accepted.
    pub fn insert(&mut self, peer: Peer, limits: &Limits) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slab.vacant_entry();
        let id = ConnectionId { slot: entry.key() as u32, generation: self.generation };
        entry.insert(Member {
            id,
            peer,
            wire: Connection::new(limits),
            channels: Vec::new(),
            outbound: Outbound::default(),
            dirty: false,
            gates: 0,
            writable: true,
            leftover: Vec::new(),
            leftover_at: 0,
            parked: false,
            hold: Hold::None,
            unread: false,
            weighed: Held::default(),
            lacks_credit: 0,
            awaits_credit: 0,
            resuming: false,
            confirms_due: SmallVec::new(),
            login: Login::default(),
            connected_at_ms: 0,
            counted: Counted::default(),
            challenged: None,
            vhost: 0,
            restricted: false,
            access: None,
            may_write: Vec::new(),
            proving: None,
            capabilities: ClientCapabilities::default(),
            client_properties: Box::default(),
            opened: false,
            received_bytes: 0,
            channel_max: 0,
            heartbeat: Heartbeat::default(),
            touched: 0,
            exclusive: Vec::new(),
            foreign: SmallVec::new(),
            closing_answers: 0,
            ended: false,
            stalled: false,
            close: None,
        });
        id
    }

    /// A number for a new channel, to tell it from others.
    pub fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// A connection.
    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&Member> {
        self.slab.get(id.slot as usize).filter(|member| member.id == id)
    }

    /// A connection.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Member> {
        self.slab.get_mut(id.slot as usize).filter(|member| member.id == id)
    }

    /// Places from this one on, empty ones among them.
    pub fn places(&self, from: usize) -> impl Iterator<Item = (usize, Option<&Member>)> {
        (from..self.slab.capacity()).map(|slot| (slot, self.slab.get(slot)))
    }

    /// All ids.
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.slab.iter().map(|(_, member)| member.id).collect()
    }

    /// Forgets a connection whose socket is to be closed.
    pub fn remove(&mut self, id: ConnectionId, how: CloseKind) -> Option<Member> {
        self.get(id)?;
        self.closed.push((id, how));
        let member = self.slab.remove(id.slot as usize);
        self.held.inbound -= member.weighed.inbound;
        self.held.outbound -= member.weighed.outbound;
        if self.slab.is_empty() {
            self.slab.shrink_to_fit();
        }
        Some(member)
    }

    /// What is held for all connections.
    #[inline]
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// Notes what is held for a connection now.
    #[inline]
    pub(super) fn weigh(&mut self, id: ConnectionId) {
        if let Some(member) = self.slab.get_mut(id.slot as usize).filter(|member| member.id == id) {
            let now = Held { inbound: member.leftover.len(), outbound: member.outbound.len() };
            self.held.inbound = self.held.inbound + now.inbound - member.weighed.inbound;
            self.held.outbound = self.held.outbound + now.outbound - member.weighed.outbound;
            member.weighed = now;
        }
    }

    /// A connection that is about to be sent something: it will be written at the end of the turn.
    #[inline]
    pub fn sink_of(&mut self, id: ConnectionId) -> Option<&mut Member> {
        let member = self.slab.get_mut(id.slot as usize).filter(|member| member.id == id)?;
        if !member.dirty {
            member.dirty = true;
            self.dirty.push_back(id);
            if !member.outbound.has_buffer()
                && let Some(buffer) = self.buffers.pop()
            {
                self.spare_bytes -= buffer.capacity();
                member.outbound.give_buffer(buffer);
            }
        }
        Some(member)
    }

    /// The outbound buffer of a connection, which will be written at the end of the turn.
    #[inline]
    pub fn sink(&mut self, id: ConnectionId) -> Option<&mut Vec<u8>> {
        self.sink_of(id).map(|member| member.outbound.buffer())
    }

    /// Lists a connection to be written.
    pub fn mark_dirty(&mut self, id: ConnectionId) {
        self.sink(id);
    }

    /// The next connection to be written.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        let id = self.dirty.pop_front()?;
        if let Some(member) = self.get_mut(id) {
            member.dirty = false;
        }
        Some(id)
    }

    /// The next socket to be closed.
    pub fn next_closed(&mut self) -> Option<(ConnectionId, CloseKind)> {
        self.closed.pop()
    }

    /// Whether anything is listed to be written or closed.
    pub fn is_quiet(&self) -> bool {
        self.dirty.is_empty() && self.closed.is_empty()
    }

    /// Lists a connection whose waiting is over.
    pub fn resume(&mut self, id: ConnectionId) {
        if let Some(member) = self.get_mut(id)
            && member.parked
            && !member.resuming
        {
            member.resuming = true;
            self.resumed.push_back(id);
        }
    }

    /// Takes the buffer of an outbound that was written, so that an idle connection owns none.
    #[inline]
    pub fn settle_buffer(&mut self, id: ConnectionId) {
        if let Some(member) = self.slab.get_mut(id.slot as usize)
            && member.outbound.is_empty()
            && member.outbound.has_buffer()
        {
            let buffer = member.outbound.take_buffer();
            self.recycle(buffer);
        }
    }

    /// Gives a buffer to the pool, or its memory back.
    #[inline]
    fn recycle(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes > 0 && bytes <= SPARE_BUFFER_BYTES_MAX && self.spare_bytes + bytes <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare_bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

impl Default for Members {
    fn default() -> Members {
        Members::new()
    }
}
