//! The things that shards tell each other.

use std::sync::Arc;

use bytes::Bytes;

use super::ConnectionId;
use super::census::{Admission, Question, Tally};
use super::firehose::TracedDelivery;
use crate::amqp::Exception;
use crate::broker::entries::Position;
use crate::broker::topology::{Change, QueueKey};

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
    /// Acknowledged.
    Settle,
    /// Rejected for good.
    Reject,
    /// Back to its place in the queue.
    Requeue,
    /// Likewise, and its delivery has failed: it was rejected, or its consumer lost.
    Fail,
    /// Acknowledged in a transaction over several shards: nobody gets it any more, and it is there until that is
    /// committed.
    Hold,
    /// The transaction that it was held for is committed, and the journal has this already.
    Committed,
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
    /// All arguments, a table's contents.
    pub arguments: Box<[u8]>,
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
        /// Who asks for it.
        user: Arc<str>,
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
    Cancel {
        /// Its tag.
        tag: Arc<str>,
        /// Who asks for it.
        user: Arc<str>,
    },
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
    /// Who asks for it.
    pub user: Arc<str>,
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
    /// There is a new consumer, which is this taker of the queue.
    Consuming(u32),
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

/// Deliveries to one taker for a connection on another shard, behind each other, encoded but for their delivery tags.
#[derive(Debug)]
pub struct RemoteDelivery {
    /// To whom.
    pub to: Caller,
    /// From which queue.
    pub key: QueueKey,
    /// Which taker of it.
    pub taker: u32,
    /// Which entry of it, for the first; those of the others follow, if acknowledgements are due.
    pub position: Position,
    /// How many there are.
    pub count: u32,
    /// Whether an acknowledgement is due, and of what kind.
    pub kind: DeliveryKind,
    /// Where the frames lie in the batch.
    pub at: usize,
    /// Bytes of frames in the batch.
    pub len: usize,
    /// Where in the frames of each the delivery tag belongs.
    pub tag_at: u16,
    /// A body that goes by reference, in frames yet to be made: that of a single delivery.
    pub body: Option<Box<Bytes>>,
}

impl RemoteDelivery {
    /// Takes a delivery in behind the others whose entry is at `position` and whose frames, of `len` bytes, follow
    /// theirs, if these are to the same taker. Returns whether it did.
    #[inline]
    pub(super) fn extend(&mut self, position: Position, len: usize) -> bool {
        let follows = !self.kind.needs_ack() || self.position + u64::from(self.count) == position;
        if follows {
            self.count += 1;
            self.len += len;
        }
        follows
    }

    /// Whether another delivery, that is none by reference, is to the same taker and its frames follow.
    fn is_joined_by(&self, next: &RemoteDelivery) -> bool {
        self.body.is_none()
            && next.body.is_none()
            && (self.to, self.key, self.taker, self.kind, self.tag_at)
                == (next.to, next.key, next.taker, next.kind, next.tag_at)
            && self.at + self.len == next.at
    }

    /// Takes a single delivery in behind the others, if it continues them. Returns whether it did.
    pub(super) fn join(&mut self, next: &RemoteDelivery) -> bool {
        self.is_joined_by(next) && self.extend(next.position, next.len)
    }
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
    /// Whether somebody asked for it by basic.get.
    #[inline]
    pub fn is_get(self) -> bool {
        matches!(self, DeliveryKind::Get | DeliveryKind::GetNoAck)
    }

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
    /// A message like that of [`Publish`](Record::Publish), about which the receiver says if a queue refuses it.
    PublishAsking {
        /// Which publish of which channel.
        publish: (Caller, u64),
        /// How many queues.
        keys: usize,
        /// Where the record lies in the batch.
        at: usize,
        /// Bytes of the record in the batch.
        len: usize,
        /// The record by reference.
        own: Option<Bytes>,
    },
    /// A queue of the sender has refused this publish of this channel.
    Refused(Caller, u64),
    /// Publishes of one stream for queues of the receiver.
    Stream {
        /// How many queues: their keys lie in the batch in front of the publishes.
        keys: usize,
        /// Where the publishes lie in the batch, in the frames that they came in.
        at: usize,
        /// Bytes of publishes in the batch.
        len: usize,
    },
    /// Deliveries.
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
    /// A delivery of the sender to a connection of the receiver, to be copied.
    Traced(Box<TracedDelivery>),
    /// Removes a queue of the sender from the tables.
    RemoveQueue(QueueKey, Option<Arc<str>>),
    /// By way of shard 0, so behind what the sender had asked before: tell the caller to look again.
    Bounce(Caller),
    /// An answer.
    Answer(Caller, Reply),
    /// An answer that is not to be written before what the sender has noted is durable: it is to be asked for that.
    AnswerWhenDurable(Caller, Reply),
    /// A channel or connection has ended.
    Gone(Caller),
    /// All that followed from its end is done.
    GoneDone(Caller),
    /// A consumer of the receiver's, by its queue and number, has let deliveries wait too long.
    Overdue(Caller, QueueKey, u32),
    /// Connections or channels of the sender have come or gone.
    Tally(Box<Tally>),
    /// Whether a connection of the sender may have what it wants.
    Ask(Box<Question>),
    /// The answer.
    Admitted(Box<Admission>),
    /// A consumer lost its queue.
    Cancelled(Caller, Box<str>),
    /// What follows is of this transaction over several shards.
    TxBegin(u64),
    /// That was all of it: to be answered when it was submitted.
    TxEnd(u64),
    /// The sender's part of a transaction of the receiver was submitted.
    TxSubmitted(u64),
    /// A transaction of the sender, of which the receiver had a part, is committed.
    TxCommitted(u64),
    /// What a batch of the receiver asked for under this ticket is durable.
    Durable(u64),
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
