//! What can be asked of a running broker, and what it answers: plain data that belongs to whoever asked.
//!
//! Names follow RabbitMQ's management API where it has one.

use super::Totals;
use crate::amqp::Table;

/// What to look at. `from`: where the [page](Page) before has ended, 0 for the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectRequest {
    /// What was counted since the start, and what there is: [`InspectReply::Totals`].
    Totals,
    /// Queues, at the shards where they live: [`InspectReply::Queues`].
    Queues {
        /// Where to go on.
        from: u64,
    },
    /// Connections, at their shards: [`InspectReply::Connections`].
    Connections {
        /// Where to go on.
        from: u64,
    },
    /// Channels, at the shards of their connections: [`InspectReply::Channels`].
    Channels {
        /// Where to go on.
        from: u64,
    },
    /// Consumers, at the shards of their queues: [`InspectReply::Consumers`].
    Consumers {
        /// Where to go on.
        from: u64,
    },
    /// Exchanges, as every shard knows them; ask shard 0: [`InspectReply::Exchanges`].
    Exchanges {
        /// Where to go on.
        from: u64,
    },
    /// Bindings, likewise, those of the default exchange among them: [`InspectReply::Bindings`].
    Bindings {
        /// Where to go on.
        from: u64,
    },
}

/// Some rows, `limits.inspect_rows_max` at most. There may be none, and more behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<R> {
    /// In no particular order.
    pub rows: Vec<R>,
    /// Where to go on; `None`: that was all.
    pub next: Option<u64>,
}

/// The answer to a request. What comes or goes between two pages may be missed; what stays is there once.
#[derive(Debug, Clone, PartialEq)]
pub enum InspectReply {
    /// What was counted.
    Totals(Box<Totals>),
    /// Queues.
    Queues(Page<QueueRow>),
    /// Connections.
    Connections(Page<ConnectionRow>),
    /// Channels.
    Channels(Page<ChannelRow>),
    /// Consumers.
    Consumers(Page<ConsumerRow>),
    /// Exchanges.
    Exchanges(Page<ExchangeRow>),
    /// Bindings.
    Bindings(Page<BindingRow>),
}

/// Arguments or properties as they came: a table's contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(pub Box<[u8]>);

impl Arguments {
    /// The table.
    pub fn table(&self) -> Table<'_> {
        Table::check(&self.0).unwrap_or_default()
    }
}

/// A connection, among all that a broker has had since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// Its shard.
    pub shard: u8,
    /// Its place there.
    pub slot: u32,
    /// Told apart from others that had the place.
    pub generation: u32,
}

/// How a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// As it should be.
    Running,
    /// It is being deleted.
    Deleting,
}

impl QueueState {
    /// `running` or `deleting`.
    pub fn name(self) -> &'static str {
        match self {
            QueueState::Running => "running",
            QueueState::Deleting => "deleting",
        }
    }
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// `classic` or `quorum`.
    pub kind: &'static str,
    /// Survives a restart.
    pub durable: bool,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// The connection that it belongs to, if it is exclusive.
    pub exclusive: Option<ConnectionKey>,
    /// The arguments that it was declared with.
    pub arguments: Arguments,
    /// The shard where it lives.
    pub shard: u8,
    /// The name of the policy that applies to it.
    pub policy: Option<String>,
    /// The name of the operator policy.
    pub operator_policy: Option<String>,
    /// What both say together, as JSON.
    pub effective_policy_definition: String,
    /// How it is.
    pub state: QueueState,
    /// Messages that wait.
    pub messages_ready: u64,
    /// Messages handed out and not settled.
    pub messages_unacknowledged: u64,
    /// Those of the former that lie on the disk only.
    pub messages_paged_out: u64,
    /// Bytes of the bodies of messages that wait. Counted only where they are limited (`x-max-length-bytes`).
    pub message_bytes_ready: Option<u64>,
    /// What the property `timestamp` of the first message that waits says, in seconds since 1970.
    pub head_message_timestamp: Option<u64>,
    /// Consumers.
    pub consumers: u32,
    /// The tag of the consumer that gets everything, where only one does.
    pub single_active_consumer_tag: Option<String>,
    /// The tag of the consumer that has it to itself.
    pub exclusive_consumer_tag: Option<String>,
    /// When it was last declared, consumed from or asked for a message, in milliseconds since 1970. Noted only where
    /// that counts (`x-expires`).
    pub idle_since_ms: Option<u64>,
    /// Bytes of memory that it takes without its messages: an estimate.
    pub memory: u64,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Which it is.
    pub key: ConnectionKey,
    /// `127.0.0.1:50000 -> 127.0.0.1:5672`.
    pub name: String,
    /// Who is logged in.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// The client's address.
    pub peer_host: String,
    /// The client's port.
    pub peer_port: u16,
    /// The address that it connected to.
    pub host: String,
    /// The port that it connected to.
    pub port: u16,
    /// `AMQP 0-9-1`.
    pub protocol: &'static str,
    /// Channels, open or closing.
    pub channels: u32,
    /// Channels allowed; 0: no limit.
    pub channel_max: u16,
    /// Bytes of a frame; 0: no limit.
    pub frame_max: u32,
    /// The interval of heartbeats in seconds (RabbitMQ: `timeout`); 0: none.
    pub heartbeat_s: u16,
    /// What the client said of itself.
    pub client_properties: Arguments,
    /// How it has logged in.
    pub auth_mechanism: &'static str,
    /// `running`, `blocked`, `flow` or `closing`.
    pub state: &'static str,
    /// When it began to speak AMQP, in milliseconds since 1970.
    pub connected_at_ms: u64,
    /// Bytes that came.
    pub recv_oct: u64,
    /// Bytes that the socket has taken.
    pub send_oct: u64,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRow {
    /// Its connection.
    pub connection: ConnectionKey,
    /// The connection's name.
    pub connection_name: String,
    /// Its number.
    pub number: u16,
    /// Who is logged in.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// In confirm mode.
    pub confirm: bool,
    /// In transaction mode.
    pub transactional: bool,
    /// Its consumers.
    pub consumer_count: u32,
    /// Unacknowledged deliveries allowed to each consumer to come; 0: no limit.
    pub prefetch_count: u16,
    /// The same for all consumers together; 0: no limit.
    pub global_prefetch_count: u32,
    /// Deliveries not acknowledged.
    pub messages_unacknowledged: u64,
    /// Publishes not confirmed.
    pub messages_unconfirmed: u64,
    /// Publishes of an open transaction.
    pub messages_uncommitted: u64,
    /// Acknowledgements of an open transaction.
    pub acks_uncommitted: u64,
    /// Publishes seen, but for those of an open transaction.
    pub published: u64,
    /// Deliveries made, answers to basic.get among them.
    pub delivered: u64,
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRow {
    /// The virtual host of its queue.
    pub vhost: String,
    /// Its queue.
    pub queue: String,
    /// Its tag.
    pub consumer_tag: String,
    /// The connection of its channel.
    pub connection: ConnectionKey,
    /// The number of its channel.
    pub channel: u16,
    /// Its deliveries are to be acknowledged.
    pub ack_required: bool,
    /// It has the queue to itself.
    pub exclusive: bool,
    /// Unacknowledged deliveries allowed; 0: no limit.
    pub prefetch_count: u32,
    /// What it was made with.
    pub arguments: Arguments,
    /// It gets messages: it does not wait for the place of the single active consumer.
    pub active: bool,
    /// Its deliveries that are not acknowledged.
    pub messages_unacknowledged: u32,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeRow {
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Its type, as it was declared.
    pub kind: String,
    /// Survives a restart.
    pub durable: bool,
    /// Goes with its last binding.
    pub auto_delete: bool,
    /// Cannot be published to by clients.
    pub internal: bool,
    /// The arguments that it was declared with.
    pub arguments: Arguments,
    /// The name of the policy that applies to it.
    pub policy: Option<String>,
}

/// A binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRow {
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub source: String,
    /// What it leads to.
    pub destination: String,
    /// `queue` or `exchange`.
    pub destination_type: &'static str,
    /// The key.
    pub routing_key: String,
    /// The arguments.
    pub arguments: Arguments,
    /// Its name in RabbitMQ's HTTP API: see [`properties_key`](super::properties_key).
    pub properties_key: String,
}
