//! What the shards need to know of the configuration: plain data, the same for all of them.

use crate::limits::Limits;

/// A user, as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password in the clear, as `default_pass` gives it.
    pub password: String,
    /// Tags such as `administrator`; `impersonator` may publish under another user-id.
    pub tags: Vec<String>,
}

/// A SASL mechanism (rabbitmq-semantics.md section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password, separated by zero octets.
    Plain,
    /// User and password in a field table.
    AmqPlain,
    /// No credentials: the configured user.
    Anonymous,
    /// A challenge and a response, for tests of secure/secure-ok.
    RabbitCrDemo,
}

impl Mechanism {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::AmqPlain => "AMQPLAIN",
            Mechanism::Anonymous => "ANONYMOUS",
            Mechanism::RabbitCrDemo => "RABBIT-CR-DEMO",
        }
    }

    /// The mechanism with this name.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        [Mechanism::Plain, Mechanism::AmqPlain, Mechanism::Anonymous, Mechanism::RabbitCrDemo]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }
}

/// What the broker says of itself in connection.start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// `product`
    pub product: String,
    /// `version`, three numbers with dots.
    pub version: String,
    /// `platform`
    pub platform: String,
    /// `copyright`
    pub copyright: String,
    /// `information`
    pub information: String,
    /// `cluster_name`
    pub cluster_name: String,
}

/// Features that RabbitMQ 4.3 refuses by default and Leveret allows (rabbitmq-semantics.md section 0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// `deprecated_features.permit.transient_nonexcl_queues`
    pub transient_nonexcl_queues: bool,
    /// `deprecated_features.permit.global_qos`
    pub global_qos: bool,
}

/// Limits of a broker as a whole; `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLimits {
    /// Connections that are open (`connection_max`).
    pub connection_max: Option<u32>,
    /// Channels of all connections (`channel_max_per_node`).
    pub channel_max_per_node: Option<u32>,
    /// Consumers of a channel (`consumer_max_per_channel`).
    pub consumer_max_per_channel: Option<u32>,
    /// Virtual hosts (`vhost_max`).
    pub vhost_max: Option<u32>,
    /// Queues (`cluster_queue_limit`).
    pub queue_max: Option<u32>,
    /// Exchanges, the pre-declared ones counted (`cluster_exchange_limit`).
    pub exchange_max: Option<u32>,
}

/// What a queue is that does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultQueueType {
    /// `classic`
    Classic,
    /// `quorum`
    Quorum,
}

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Every bound.
    pub limits: Limits,
    /// Channels offered to each connection in tune (0: no limit).
    pub channel_max: u16,
    /// Frame size offered in tune (0: no limit).
    pub frame_max: u32,
    /// Heartbeat offered in tune, in seconds (0: none).
    pub heartbeat_s: u16,
    /// Mechanisms offered, in this order.
    pub mechanisms: Vec<Mechanism>,
    /// The user that ANONYMOUS logs in as; `None` refuses it.
    pub anonymous_login_user: Option<String>,
    /// The users.
    pub users: Vec<User>,
    /// Users that may log in from a loopback address only.
    pub loopback_users: Vec<String>,
    /// The virtual hosts.
    pub vhosts: Vec<String>,
    /// What connection.start says.
    pub advertise: Advertise,
    /// Deprecated features.
    pub permit: Permit,
    /// Limits of the broker as a whole.
    pub node: NodeLimits,
    /// What queues are that do not say so, where their virtual host says nothing.
    pub default_queue_type: Option<DefaultQueueType>,
    /// Deliveries of quorum queues are to be acknowledged within so many milliseconds, where neither the consumer nor
    /// the queue says anything; 0: no bound.
    pub consumer_timeout_ms: u64,
    /// The virtual host that has an exchange for events; `None`: there is none, and no events.
    pub event_exchange: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat_s: 60,
            mechanisms: vec![Mechanism::Plain, Mechanism::AmqPlain, Mechanism::Anonymous],
            anonymous_login_user: Some("guest".into()),
            users: vec![User { name: "guest".into(), password: "guest".into(), tags: vec!["administrator".into()] }],
            loopback_users: vec!["guest".into()],
            vhosts: vec!["/".into()],
            advertise: Advertise {
                product: "Leveret".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                platform: "Rust".into(),
                copyright: "Copyright (c) the Leveret authors".into(),
                information: "Leveret, an AMQP 0-9-1 broker".into(),
                cluster_name: "leveret@localhost".into(),
            },
            permit: Permit { transient_nonexcl_queues: true, global_qos: true },
            node: NodeLimits::default(),
            default_queue_type: None,
            consumer_timeout_ms: 1_800_000,
            event_exchange: None,
        }
    }
}
