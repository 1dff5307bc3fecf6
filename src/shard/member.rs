//! A connection of a shard, with what the broker knows about each and its channels.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::alarm::Hold;
use super::census::Counted;
use super::confirms::Confirms;
use super::mesh::{Caller, Verdict};
use super::overdue::Patience;
use super::pace::Held;
use super::turn::CloseKind;
use super::unacked::{Unacked, UnackedList};
use super::{ConnectionId, Peer};
use crate::amqp::MethodId;
use crate::broker::access::Access;
use crate::broker::entries::Position;
use crate::broker::routing::Route;
use crate::broker::topology::{QueueKey, VhostId};
use crate::config::settings::Mechanism;
use crate::connection::Connection;
use crate::connection::outbound::Outbound;
use crate::time::Now;

/// What the client said it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCapabilities {
    /// Wants connection.close for a refused log-in.
    pub authentication_failure_close: bool,
    /// Takes basic.cancel from the server.
    pub consumer_cancel_notify: bool,
    /// Takes connection.blocked and connection.unblocked.
    pub connection_blocked: bool,
}

/// Signs of life of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heartbeat {
    /// The negotiated interval; 0: none.
    pub interval_s: u16,
    /// Counts half intervals.
    pub ticks: u64,
    /// Bytes came since the last look.
    pub received: bool,
    /// Bytes were written since the last half interval.
    pub sent: bool,
    /// Bytes were written since the last look.
    pub drained: bool,
    /// Looks in a row that found nothing.
    pub missed: u8,
}

/// What is to be done when the answer to a channel's request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// queue.declare of this name.
    Declare {
        /// The name.
        queue: Arc<str>,
        /// Without an answer.
        no_wait: bool,
    },
    /// exchange.declare, .delete, .bind, .unbind, queue.bind, .unbind: the class and method of the answer.
    Ok {
        /// Class id of the answer.
        class: u16,
        /// Method id of the answer.
        method: u16,
        /// Without an answer.
        no_wait: bool,
    },
    /// queue.purge.
    Purge {
        /// Without an answer.
        no_wait: bool,
    },
    /// queue.delete.
    Delete {
        /// Without an answer.
        no_wait: bool,
    },
    /// basic.get.
    Get,
    /// basic.consume with this tag.
    Consume {
        /// The tag.
        tag: Arc<str>,
        /// Of which queue.
        key: QueueKey,
        /// Where it lives.
        owner: u8,
        /// Without an answer.
        no_wait: bool,
        /// How long its deliveries may wait, in milliseconds, if that is bounded.
        timeout_ms: Option<u64>,
    },
    /// basic.cancel of this tag.
    Cancel {
        /// The tag.
        tag: Arc<str>,
        /// Without an answer.
        no_wait: bool,
    },
    /// channel.close.
    Close,
}

impl After {
    /// An answer without arguments.
    pub fn ok(answer: MethodId, no_wait: bool) -> After {
        After::Ok { class: answer.class, method: answer.method, no_wait }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Pending {
    /// What then.
    pub after: After,
    /// The command's class, method and arguments, to be run again when the world changed meanwhile.
    pub command: Vec<u8>,
    /// For error texts: what the command was about.
    pub subject: Arc<str>,
    /// Answers due.
    pub answers: u32,
}

/// A consumer, at its channel.
#[derive(Debug, Clone)]
pub struct ConsumerAt {
    /// The tag.
    pub tag: Arc<str>,
    /// The queue.
    pub key: QueueKey,
    /// Where it lives.
    pub owner: u8,
    /// Which taker of it.
    pub taker: u32,
    /// How long its deliveries may wait, if that is bounded.
    pub patience: Option<Box<Patience>>,
}

/// A publish in an open transaction.
#[derive(Debug)]
pub struct TxPublish {
    /// Its record.
    pub record: Vec<u8>,
    /// Where it goes; `None`: to be returned.
    pub route: Route,
    /// Return it when it goes nowhere.
    pub mandatory: bool,
}

/// An open transaction.
#[derive(Debug, Default)]
pub struct Tx {
    /// Publishes in order.
    pub publishes: Vec<TxPublish>,
    /// Bytes of their records.
    pub bytes: usize,
    /// Acknowledgements and the like, in order.
    pub settled: Vec<(Unacked, Verdict)>,
    /// How many of them are of deliveries to consumers.
    pub consumer_settled: u32,
    /// A queue has refused something of the one whose commit is under way.
    pub refused: bool,
}

/// A transaction over several shards whose commit is under way. It is completed whatever becomes of its channel.
#[derive(Debug)]
pub struct Committing {
    /// Who is to be told; nobody when queues have moved messages.
    pub caller: Option<Caller>,
    /// Other shards that have a part of it, by bit.
    pub owners: u64,
    /// Those of them whose parts are not submitted yet.
    pub left: u64,
    /// Transactions that are to be committed before it: what they have brought may be what it takes away.
    pub behind: BTreeSet<u64>,
    /// Deliveries that it settles.
    pub settled: Vec<Unacked>,
    /// Places, by the queues' numbers in the store, that it empties.
    pub moved: Vec<(u64, Position)>,
}

impl Committing {
    /// One of which other shards (by bit) have parts.
    pub fn of(caller: Option<Caller>, owners: u64) -> Committing {
        Committing { caller, owners, left: owners, behind: BTreeSet::new(), settled: Vec::new(), moved: Vec::new() }
    }

    /// Whether it can be committed.
    pub fn is_ready(&self) -> bool {
        self.left == 0 && self.behind.is_empty()
    }
}

/// A prefetch limit over all consumers of a channel (basic.qos with global).
#[derive(Debug, Default)]
pub struct GlobalQos {
    /// Unacknowledged deliveries to consumers allowed; `None`: no limit (any more).
    pub limit: Option<u32>,
    /// Granted to owners, not yet delivered or given back.
    pub granted: u32,
    /// Owners that asked, with how many.
    pub askers: VecDeque<(u8, u32)>,
}

/// A consumer of direct replies.
#[derive(Debug)]
pub struct ReplyConsumer {
    /// Its tag.
    pub tag: Arc<str>,
    /// The generated address behind the common prefix.
    pub address: Arc<str>,
}

/// What the broker knows of a channel.
#[derive(Debug, Default)]
pub struct ChannelState {
    /// Told apart from others in the slot.
    pub generation: u32,
    /// The channel number.
    pub number: u16,
    /// Tag of the latest delivery.
    pub delivery_tag: u64,
    /// Deliveries not acknowledged.
    pub unacked: UnackedList,
    /// Its consumers.
    pub consumers: Vec<ConsumerAt>,
    /// prefetch_count for consumers to come.
    pub prefetch: u16,
    /// When it is to be looked for deliveries that wait too long.
    pub overdue_at: Option<Now>,
    /// The limit over all consumers, once one was set.
    pub global: Option<Box<GlobalQos>>,
    /// Publishes seen and confirmed since confirm.select.
    pub confirm: Option<Confirms>,
    /// The open transaction.
    pub tx: Option<Box<Tx>>,
    /// The queue last declared.
    pub last_queue: Option<Arc<str>>,
    /// A request that waits for its answer.
    pub pending: Option<Box<Pending>>,
    /// Where its last route is remembered: a guess.
    pub route_at: u32,
    /// Publishes seen, but for those of an open transaction.
    pub published: u64,
    /// Shards that know of this channel, by bit.
    pub touched: u64,
    /// The consumer of direct replies.
    pub reply_consumer: Option<Box<ReplyConsumer>>,
}

/// Who is logged in.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user; empty before log-in.
    pub user: Arc<str>,
    /// May publish under other user-ids.
    pub impersonator: bool,
    /// How they have logged in.
    pub mechanism: Option<Mechanism>,
}

/// A log-in whose password is being checked.
#[derive(Debug)]
pub struct Proving {
    /// Who.
    pub user: Arc<str>,
    /// The mechanism.
    pub mechanism: Box<str>,
}

/// A connection in its shard.
#[derive(Debug)]
pub struct Member {
    /// Its identity.
    pub id: ConnectionId,
    /// Where it comes from.
    pub peer: Peer,
    /// Its protocol state.
    pub wire: Connection,
    /// The broker's side of its channels, by the wire's slots.
    pub channels: Vec<Option<Box<ChannelState>>>,
    /// Bytes to send.
    pub outbound: Outbound,
    /// Listed to be written.
    pub dirty: bool,
    /// It is not written before so many things are durable.
    pub gates: u32,
    /// The socket takes bytes.
    pub writable: bool,
    /// Bytes read and not parsed.
    pub leftover: Vec<u8>,
    /// How much of them is parsed.
    pub leftover_at: usize,
    /// Its bytes wait for something inside the broker.
    pub parked: bool,
    /// Why it is not read since its last publish.
    pub hold: Hold,
    /// The socket had something to read while it was parked.
    pub unread: bool,
    /// Its part of what the shard holds in all.
    pub(super) weighed: Held,
    /// Shards that its publishes have no credit for, by bit.
    pub lacks_credit: u64,
    /// Those of them where it is listed to be told of new credit.
    pub awaits_credit: u64,
    /// Listed to be resumed.
    pub resuming: bool,
    /// Channel slots with confirms due.
    pub confirms_due: SmallVec<[u32; 4]>,
    /// The user.
    pub login: Login,
    /// When it began to speak AMQP, in milliseconds since 1970.
    pub connected_at_ms: u64,
    /// What it counts for at shard 0.
    pub counted: Counted,
    /// The mechanism chosen, while it challenges.
    pub challenged: Option<Arc<str>>,
    /// The virtual host.
    pub vhost: VhostId,
    /// Its user may not publish to everything.
    pub restricted: bool,
    /// What its user may do there.
    pub access: Option<Arc<Access>>,
    /// Exchanges that it was found to be allowed to publish to.
    pub may_write: Vec<Box<str>>,
    /// A log-in whose password is being checked.
    pub proving: Option<Box<Proving>>,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// What the client said of itself, a table's contents.
    pub client_properties: Box<[u8]>,
    /// It has got connection.open-ok.
    pub opened: bool,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Channels allowed; 0: no limit.
    pub channel_max: u16,
    /// Signs of life.
    pub heartbeat: Heartbeat,
    /// Shards that know of this connection, by bit.
    pub touched: u64,
    /// Its exclusive queues, which live on this shard.
    pub exclusive: Vec<QueueKey>,
    /// Bytes delivered from other shards, to be credited.
    pub foreign: SmallVec<[(u8, i64); 1]>,
    /// Answers due before connection.close-ok.
    pub closing_answers: u32,
    /// Everything that depends on it was ended.
    pub ended: bool,
    /// Consumers here were set aside because too much is outbound.
    pub stalled: bool,
    /// How to close the socket once everything is written.
    pub close: Option<CloseKind>,
}

impl Member {
    /// The broker's side of a channel.
    #[inline]
    pub fn channel_mut(&mut self, slot: u32) -> Option<&mut ChannelState> {
        self.channels.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The broker's side of a channel.
    #[inline]
    pub fn channel(&self, slot: u32) -> Option<&ChannelState> {
        self.channels.get(slot as usize)?.as_deref()
    }

    /// The broker's side of a channel, if it is still the one meant.
    #[inline]
    pub fn channel_of(&mut self, caller: Caller) -> Option<&mut ChannelState> {
        self.channel_mut(caller.channel).filter(|channel| channel.generation == caller.generation)
    }

    /// How its socket is to be closed when a deadline has passed.
    pub fn close_kind(&self) -> CloseKind {
        self.close.unwrap_or(CloseKind::Reset)
    }

    /// Its name, as RabbitMQ makes it.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.peer.address, self.peer.local)
    }

    /// The peer's address.
    pub fn address(&self) -> SocketAddr {
        self.peer.address
    }
}
