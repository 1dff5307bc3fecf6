//! What shards say to each other: one batch per peer and turn (shards.md A6, A7, A15).
//!
//! Blocks never cross: small content is copied into the batch, which the receiver reads like a second receive ring;
//! large bodies cross by reference. The transport never blocks; bytes under way are bounded by credit.

use bytes::Bytes;
use smallvec::SmallVec;

use super::ConnectionId;
pub use super::record::*;
use crate::amqp::{Content, Stamp};
use crate::broker::entries::Position;
use crate::broker::routing::Keys;
use crate::broker::topology::QueueKey;

/// A shard's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// The keys of `count` queues that lie in a batch's content in front of `at`.
pub(super) fn keys_before(content: &[u8], at: usize, count: usize) -> impl ExactSizeIterator<Item = QueueKey> {
    let bytes = content.get(at.saturating_sub(count * 8)..at).unwrap_or(&[]);
    let number = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(move |&[a, b, c, d, e, f, g, h]| QueueKey { slot: number([a, b, c, d]), generation: number([e, f, g, h]) })
}

/// Everything one shard has to tell another in one turn, in order.
#[derive(Debug)]
pub struct Batch {
    /// The shard that sends it.
    pub from: ShardId,
    /// The topology version that its records presume.
    pub version: u64,
    pub(super) records: Vec<Record>,
    pub(super) content: Vec<u8>,
    /// The sender's ticket that is to be answered when what it publishes is durable.
    pub(super) ticket: Option<u64>,
    /// Memory of emptied batches on its way home.
    returned: Memories,
}

/// The memory of an emptied batch.
type Memory = (Vec<Record>, Vec<u8>);
type Memories = SmallVec<[Memory; 1]>;

/// Emptied batches whose memory waits for use, or for a batch that takes it home: traffic in one direction is answered
/// only now and then.
const SPARE_MAX: usize = 4;
/// A batch that had more content than this does not keep its memory.
const SPARE_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
struct Outgoing {
    records: Vec<Record>,
    content: Vec<u8>,
    /// Memory to give back to the peer.
    returned: Memories,
    spare: Memories,
    /// Publish bytes that the peer still takes.
    credit: i64,
    /// Processed publish bytes to report.
    processed: i64,
    /// Connections that wait for credit.
    waiting: Vec<ConnectionId>,
    /// Something beside records is to be sent.
    nudge: bool,
    ticket: Option<u64>,
}

impl Outgoing {
    /// Appends keys to the content. Returns where it goes on.
    #[inline]
    fn write_keys(&mut self, keys: &Keys) -> usize {
        for key in keys {
            self.content.extend_from_slice(&key.slot.to_le_bytes());
            self.content.extend_from_slice(&key.generation.to_le_bytes());
        }
        self.content.len()
    }

    fn keep_spare(&mut self, memory: Memory) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(memory);
        }
    }
}

/// Deliveries for a peer, joined to runs where they follow each other to the same taker.
#[derive(Debug)]
pub(super) struct Deliveries<'a> {
    peer: &'a mut Outgoing,
    /// The last record is ours.
    has_begun: bool,
}

impl Deliveries<'_> {
    /// The content buffer that frames are appended to.
    #[inline]
    pub(super) fn content(&mut self) -> &mut Vec<u8> {
        &mut self.peer.content
    }

    /// Notes a delivery to the same taker as the last, if its entry and its frames follow. Returns whether it did.
    #[inline]
    pub(super) fn extend(&mut self, position: Position, len: usize) -> bool {
        match self.peer.records.last_mut() {
            Some(Record::Deliver(run)) if self.has_begun => run.extend(position, len),
            _ => false,
        }
    }

    /// Notes a delivery.
    pub(super) fn begin(&mut self, first: RemoteDelivery) {
        self.has_begun = first.body.is_none();
        if let Some(Record::Deliver(run)) = self.peer.records.last_mut()
            && run.join(&first)
        {
            return;
        }
        self.peer.records.push(Record::Deliver(first));
    }
}

/// One shard's ends of the mesh.
#[derive(Debug)]
pub struct Mesh {
    me: ShardId,
    peers: Vec<Outgoing>,
    sending: usize,
    credit_step: i64,
}

impl Mesh {
    /// The ends of shard `me` among `count`, with `credit` bytes of publishes to each peer.
    pub fn new(me: ShardId, count: usize, credit: i64) -> Mesh {
        let peers = (0..count).map(|_| Outgoing { credit, ..Outgoing::default() }).collect();
        Mesh { me, peers, sending: 0, credit_step: credit / 2 }
    }

    /// Appends a record for `to`.
    #[inline]
    pub fn send(&mut self, to: u8, record: Record) {
        debug_assert_ne!(to, self.me.0);
        if let Some(peer) = self.peers.get_mut(to as usize) {
            peer.records.push(record);
        }
    }

    /// Makes sure that `to` gets a batch, and with it the newest topology version.
    pub fn nudge(&mut self, to: u8) {
        if let Some(peer) = self.peers.get_mut(to as usize) {
            peer.nudge = true;
        }
    }

    /// Asks `to` to answer when what the next batch publishes is durable.
    pub fn ask(&mut self, to: u8, ticket: u64) {
        if let Some(peer) = self.peers.get_mut(to as usize) {
            peer.ticket = Some(ticket);
            peer.nudge = true;
        }
    }

    /// The way for deliveries to one taker on `to`.
    #[inline]
    pub(super) fn deliveries(&mut self, to: u8) -> Option<Deliveries<'_>> {
        self.peers.get_mut(to as usize).map(|peer| Deliveries { peer, has_begun: false })
    }

    /// Appends a message for queues of `to`, with a stamp unless it is its own record. Returns whether credit is left.
    #[inline]
    pub fn publish(&mut self, to: u8, keys: &Keys, content: &Content<'_>, stamp: Stamp, own: Option<&Bytes>) -> bool {
        let Some(peer) = self.peers.get_mut(to as usize) else {
            return true;
        };
        let at = peer.write_keys(keys);
        let bytes = content.record_bytes();
        if own.is_none() {
            content.write_record(&mut peer.content, stamp);
        }
        let len = peer.content.len() - at;
        peer.records.push(Record::Publish { keys: keys.len(), at, len, own: own.cloned() });
        peer.credit -= bytes as i64;
        peer.credit > 0
    }

    /// Appends a message like [`publish`](Mesh::publish): publish number `number` of a channel, to be told if a queue
    /// refuses it.
    pub fn publish_asking(
        &mut self,
        to: u8,
        keys: &Keys,
        content: &Content<'_>,
        stamp: Stamp,
        own: Option<&Bytes>,
        publish: (Caller, u64),
    ) -> bool {
        let credit = self.publish(to, keys, content, stamp, own);
        let peer = self.peers.get_mut(to as usize);
        if let Some(last) = peer.and_then(|peer| peer.records.last_mut())
            && let Record::Publish { keys, at, len, own } = last
        {
            *last = Record::PublishAsking { publish, keys: *keys, at: *at, len: *len, own: own.take() };
        }
        credit
    }

    /// Appends publishes of one stream for queues of `to`: `frames` of [`Stream`](crate::connection::stream::Stream),
    /// as they were received. Returns whether credit is left.
    pub fn publish_stream(&mut self, to: u8, keys: &Keys, frames: &[u8]) -> bool {
        let Some(peer) = self.peers.get_mut(to as usize) else {
            return true;
        };
        let at = peer.write_keys(keys);
        peer.content.extend_from_slice(frames);
        peer.records.push(Record::Stream { keys: keys.len(), at, len: frames.len() });
        peer.credit -= frames.len() as i64;
        peer.credit > 0
    }

    /// Appends a direct reply for a channel of `to`. Returns whether credit is left.
    pub fn reply(&mut self, to: u8, address: &str, content: &Content<'_>, stamp: Stamp) -> bool {
        let Some(peer) = self.peers.get_mut(to as usize) else { return true };
        let at = peer.content.len();
        content.write_record(&mut peer.content, stamp);
        let len = peer.content.len() - at;
        peer.records.push(Record::DirectReply { address: address.into(), at, len });
        peer.credit -= len as i64;
        peer.credit > 0
    }

    /// Appends a settlement, joined to the one before where it continues it.
    pub fn settle(&mut self, owner: u8, key: QueueKey, taker: u32, from: Position, to: Position, verdict: Verdict) {
        let Some(peer) = self.peers.get_mut(owner as usize) else {
            return;
        };
        if let Some(Record::Settle { key: k, taker: t, to: last, verdict: v, .. }) = peer.records.last_mut()
            && (*k, *t, *v) == (key, taker, verdict)
            && *last + 1 == from
        {
            *last = to;
            return;
        }
        peer.records.push(Record::Settle { key, taker, from, to, verdict });
    }

    /// Whether publishes to `to` have credit.
    pub fn has_credit(&self, to: u8) -> bool {
        self.peers.get(to as usize).is_none_or(|peer| peer.credit > 0)
    }

    /// Remembers a connection that waits for credit to `to`.
    pub fn wait_for_credit(&mut self, to: u8, connection: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(to as usize) {
            peer.waiting.push(connection);
        }
    }

    /// Takes credit back; returns the connections that waited, if there is some again.
    pub fn credited(&mut self, from: ShardId, bytes: i64) -> Vec<ConnectionId> {
        let Some(peer) = self.peers.get_mut(from.0 as usize) else {
            return vec![];
        };
        peer.credit += bytes;
        if peer.credit > 0 { std::mem::take(&mut peer.waiting) } else { vec![] }
    }

    /// Notes publishes of `from` that were processed; credit is returned in steps.
    pub fn processed(&mut self, from: ShardId, bytes: i64) {
        if let Some(peer) = self.peers.get_mut(from.0 as usize) {
            peer.processed += bytes;
            if peer.processed >= self.credit_step.max(1) {
                let bytes = std::mem::take(&mut peer.processed);
                peer.records.push(Record::PublishCredit(bytes));
            }
        }
    }

    /// Takes a processed batch's memory: it goes home with the next batch to its sender. When there was none for long,
    /// it is used here.
    pub fn give_back(&mut self, mut batch: Batch) {
        let Some(peer) = self.peers.get_mut(batch.from.0 as usize) else { return };
        for memory in batch.returned.drain(..) {
            peer.keep_spare(memory);
        }
        if batch.content.capacity() > SPARE_BYTES_MAX {
            return;
        }
        batch.records.clear();
        batch.content.clear();
        let memory = (batch.records, batch.content);
        if peer.returned.len() < SPARE_MAX {
            peer.returned.push(memory);
        } else {
            peer.keep_spare(memory);
        }
    }

    /// The next peer's batch of this turn; `version`: the topology version here.
    pub fn next_batch(&mut self, version: u64) -> Option<(ShardId, Batch)> {
        while self.sending < self.peers.len() {
            let to = self.sending;
            self.sending += 1;
            let Some(peer) = self.peers.get_mut(to) else { break };
            if peer.records.is_empty() && !peer.nudge {
                continue;
            }
            peer.nudge = false;
            // The next batch is likely to be as large as this one.
            let (records, content) = peer
                .spare
                .pop()
                .unwrap_or_else(|| (Vec::with_capacity(peer.records.len()), Vec::with_capacity(peer.content.len())));
            let batch = Batch {
                from: self.me,
                version,
                records: std::mem::replace(&mut peer.records, records),
                content: std::mem::replace(&mut peer.content, content),
                ticket: peer.ticket.take(),
                returned: std::mem::take(&mut peer.returned),
            };
            return Some((ShardId(to as u8), batch));
        }
        self.sending = 0;
        None
    }

    /// Whether anything waits to be pushed.
    pub fn has_output(&self) -> bool {
        self.peers.iter().any(|peer| peer.nudge || !peer.records.is_empty())
    }
}
