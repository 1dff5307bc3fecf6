//! What shards say to each other: one batch per peer and turn (shards.md A6, A7, A15).
//!
//! Blocks never cross: small content is copied into the batch, which the receiver reads like a second receive ring;
//! large bodies cross by reference. The transport never blocks; bytes under way are bounded by credit.

use std::sync::Arc;

use bytes::Bytes;

use super::ConnectionId;
use crate::amqp::Content;
use crate::amqp::Exception;
use crate::broker::entries::Position;
use crate::broker::routing::Keys;
use crate::broker::topology::{Change, QueueKey};

/// A shard's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A channel, seen from any shard. Answers that come too late die by its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The shard of its connection.
    pub shard: u8,
    /// Its connection.
    pub connection: ConnectionId,
    /// The channel's slot in the connection; [`Caller::WHOLE`] for the connection as a whole.
    pub channel: u32,
    /// The channel's generation.
    pub generation: u32,
}

impl Caller {
    /// Stands for all channels of a connection.
    pub const WHOLE: u32 = u32::MAX;
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledged, or rejected for good.
    Settle,
    /// Back to its place in the queue.
    Requeue,
}

/// The part of a channel that a queue's owner must know to encode deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelWire {
    /// The channel number.
    pub number: u16,
    /// The connection's frame_max.
    pub frame_max: u32,
    /// Whether a prefetch limit holds over all of the channel's consumers.
    pub global: bool,
}

/// A consumer to be.
#[derive(Debug)]
pub struct ConsumeRequest {
    /// Of which channel.
    pub wire: ChannelWire,
    /// Its tag.
    pub tag: Box<str>,
    /// Without acknowledgements.
    pub no_ack: bool,
    /// With the queue to itself.
    pub exclusive: bool,
    /// Unacknowledged deliveries allowed; 0: no limit.
    pub prefetch: u32,
    /// Its priority.
    pub priority: i32,
}

/// A command about a living queue, for its owner.
#[derive(Debug)]
pub enum QueueRequest {
    /// Its counts, for declare-ok.
    Counts,
    /// Removes what is ready.
    Purge,
    /// Deletes it.
    Delete {
        /// Only without consumers.
        if_unused: bool,
        /// Only without ready messages.
        if_empty: bool,
    },
    /// One message, for basic.get.
    Get {
        /// Of which channel.
        wire: ChannelWire,
        /// Without acknowledgement.
        no_ack: bool,
    },
    /// A new consumer.
    Consume(Box<ConsumeRequest>),
    /// The end of a consumer.
    Cancel(Box<str>),
}

/// A change of names, for shard 0.
#[derive(Debug)]
pub struct NamesRequest {
    /// The change.
    pub change: Change,
    /// Refuse to delete an exchange that has bindings.
    pub if_unused: bool,
    /// Shard 0 chooses where a new queue lives.
    pub place: bool,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// Ready messages and consumers.
    Counts {
        /// Ready messages.
        messages: u32,
        /// Consumers.
        consumers: u32,
    },
    /// Messages purged or deleted.
    Count(u32),
    /// basic.get found nothing.
    Empty,
    /// basic.get found something; the delivery came before.
    Got,
    /// The queue is being deleted.
    NotFound,
    /// The exchange, or the queue, is in use.
    InUse,
    /// The queue is not empty.
    NotEmpty,
    /// Another consumer has, or would have, the queue to itself.
    ExclusiveUse,
    /// The world has changed: look at the tables again.
    Retry,
    /// Refused.
    Refused(Box<Exception>),
}

/// A delivery for a connection on another shard, encoded but for its delivery tag.
#[derive(Debug)]
pub struct RemoteDelivery {
    /// To whom.
    pub to: Caller,
    /// From which queue.
    pub key: QueueKey,
    /// Which taker of it.
    pub taker: u32,
    /// Which entry of it.
    pub position: Position,
    /// Whether an acknowledgement is due, and of what kind.
    pub kind: DeliveryKind,
    /// Where the frames lie in the batch.
    pub at: usize,
    /// Bytes of frames in the batch.
    pub len: usize,
    /// Where in the frames the delivery tag belongs.
    pub tag_at: u16,
    /// A body that goes by reference, in frames yet to be made.
    pub body: Option<Bytes>,
}

/// How a delivery came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKind {
    /// To a consumer, without acknowledgement.
    NoAck,
    /// To a consumer, to be acknowledged.
    Consumer,
    /// By basic.get, without acknowledgement.
    GetNoAck,
    /// By basic.get, to be acknowledged.
    Get,
}

impl DeliveryKind {
    /// Whether an acknowledgement is due.
    #[inline]
    pub fn needs_ack(self) -> bool {
        matches!(self, DeliveryKind::Consumer | DeliveryKind::Get)
    }
}

/// One thing that a shard tells another.
#[derive(Debug)]
pub enum Record {
    /// A message for queues of the receiver; `at`, `len`: its record in the batch, unless it comes by reference.
    Publish {
        /// How many queues: their keys lie in the batch in front of the record.
        keys: usize,
        /// Where the record lies in the batch.
        at: usize,
        /// Bytes of the record in the batch.
        len: usize,
        /// The record by reference.
        own: Option<Bytes>,
    },
    /// A delivery.
    Deliver(RemoteDelivery),
    /// What became of deliveries: the entries from one position to another that the taker holds.
    Settle {
        /// The queue.
        key: QueueKey,
        /// Who held them.
        taker: u32,
        /// The first.
        from: Position,
        /// The last.
        to: Position,
        /// What became of them.
        verdict: Verdict,
    },
    /// A command on a queue of the receiver.
    Queue(Caller, QueueKey, Box<QueueRequest>),
    /// A change of names.
    Names(Caller, Box<NamesRequest>),
    /// Removes a queue of the sender from the tables.
    RemoveQueue(QueueKey),
    /// By way of shard 0, so behind what the sender had asked before: tell the caller to look again.
    Bounce(Caller),
    /// An answer.
    Answer(Caller, Reply),
    /// A channel or connection has ended.
    Gone(Caller),
    /// All that followed from its end is done.
    GoneDone(Caller),
    /// A consumer lost its queue.
    Cancelled(Caller, Box<str>),
    /// Bytes of publishes that were processed.
    PublishCredit(i64),
    /// Bytes of deliveries that the connection's socket took.
    LinkCredit(ConnectionId, i64),
    /// Whether a prefetch limit holds over all of the channel's consumers.
    GlobalQos(Caller, bool),
    /// How many messages could go to a channel under its common limit.
    AskGrant(Caller, u32),
    /// How many may.
    Grant(Caller, u32),
    /// How many did not.
    GrantBack(Caller, u32),
    /// Whether the requester behind a generated reply name is there; answered as a declare is.
    FindReply(Caller, Arc<str>),
    /// A direct reply for a channel of the receiver.
    DirectReply {
        /// The name it was sent to, behind the common prefix.
        address: Arc<str>,
        /// Where the record lies in the batch.
        at: usize,
        /// Bytes of the record.
        len: usize,
    },
}

/// The keys of `count` queues that lie in a batch's content in front of `at`.
pub(super) fn keys_before(content: &[u8], at: usize, count: usize) -> impl Iterator<Item = QueueKey> {
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
    /// An emptied batch's memory on its way home.
    pub(super) returned: Option<(Vec<Record>, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Outgoing {
    records: Vec<Record>,
    content: Vec<u8>,
    /// Memory to give back to the peer.
    returned: Option<(Vec<Record>, Vec<u8>)>,
    spare: Option<(Vec<Record>, Vec<u8>)>,
    /// Publish bytes that the peer still takes.
    credit: i64,
    /// Processed publish bytes to report.
    processed: i64,
    /// Connections that wait for credit.
    waiting: Vec<ConnectionId>,
    /// Something beside records is to be sent.
    nudge: bool,
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

    /// The content buffer for `to`; what is appended to it must be named by a record.
    #[inline]
    pub fn content(&mut self, to: u8) -> Option<&mut Vec<u8>> {
        self.peers.get_mut(to as usize).map(|peer| &mut peer.content)
    }

    /// Appends a message for queues of `to`. Returns whether credit is left.
    #[inline]
    pub fn publish(&mut self, to: u8, keys: &Keys, content: &Content<'_>, own: Option<&Bytes>) -> bool {
        let Some(peer) = self.peers.get_mut(to as usize) else {
            return true;
        };
        for key in keys {
            peer.content.extend_from_slice(&key.slot.to_le_bytes());
            peer.content.extend_from_slice(&key.generation.to_le_bytes());
        }
        let at = peer.content.len();
        let bytes = content.record_bytes();
        if own.is_none() {
            content.write_record(&mut peer.content);
        }
        let len = peer.content.len() - at;
        peer.records.push(Record::Publish { keys: keys.len(), at, len, own: own.cloned() });
        peer.credit -= bytes as i64;
        peer.credit > 0
    }

    /// Appends a direct reply for a channel of `to`. Returns whether credit is left.
    pub fn reply(&mut self, to: u8, address: &str, content: &Content<'_>) -> bool {
        let Some(peer) = self.peers.get_mut(to as usize) else { return true };
        let at = peer.content.len();
        content.write_record(&mut peer.content);
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

    /// Takes a processed batch's memory: it goes home with the next batch to its sender.
    pub fn give_back(&mut self, mut batch: Batch) {
        batch.records.clear();
        batch.content.clear();
        if let Some(peer) = self.peers.get_mut(batch.from.0 as usize) {
            if let Some(returned) = batch.returned {
                peer.spare = Some(returned);
            }
            peer.returned = Some((batch.records, batch.content));
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
            let (spare_records, spare_content) = peer.spare.take().unwrap_or_default();
            let batch = Batch {
                from: self.me,
                version,
                records: std::mem::replace(&mut peer.records, spare_records),
                content: std::mem::replace(&mut peer.content, spare_content),
                returned: peer.returned.take(),
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
