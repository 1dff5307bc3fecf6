//! What a run is told: every option with its effective value.

use std::time::Duration;

use leveret::amqp::{TableWriter, Value};
use serde_json::json;

use super::uri::Uri;

/// A value of a queue's, a consumer's or a header's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// Anything else.
    Text(String),
}

impl Scalar {
    /// What a person means who writes `text`.
    pub fn parse(text: &str) -> Scalar {
        match (text.parse(), text) {
            (Ok(number), _) => Scalar::Integer(number),
            (_, "true") => Scalar::Bool(true),
            (_, "false") => Scalar::Bool(false),
            _ => Scalar::Text(text.into()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Scalar::Integer(number) => Value::I64(*number),
            Scalar::Bool(bool) => Value::Bool(*bool),
            Scalar::Text(text) => Value::LongStr(text.as_bytes()),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Scalar::Integer(number) => json!(number),
            Scalar::Bool(bool) => json!(bool),
            Scalar::Text(text) => json!(text),
        }
    }
}

/// Keys and values in the order in which they were given.
pub type Pairs = Vec<(String, Scalar)>;

/// The pairs as a field table.
pub fn table(pairs: &Pairs) -> TableWriter {
    let mut writer = TableWriter::new();
    for (key, scalar) in pairs {
        writer.put(key, scalar.value());
    }
    writer
}

/// All options. Names and meanings are PerfTest's where it has them; `args` has a line of help for each.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each is described in the help
pub struct Options {
    pub uris: Vec<Uri>,
    pub id: String,
    // Who.
    pub producers: usize,
    pub consumers: usize,
    pub producer_channels: u16,
    pub consumer_channels: u16,
    pub idle_connections: usize,
    pub slow_consumers: usize,
    // What is published.
    pub size: usize,
    pub persistent: bool,
    pub mandatory: bool,
    pub properties: Pairs,
    pub headers: Pairs,
    pub rate: Option<f64>,
    pub publishing_interval: Option<f64>,
    pub confirm: Option<u64>,
    pub confirm_timeout: Duration,
    pub ptxsize: u64,
    pub pmessages: Option<u64>,
    pub backlog: Option<u64>,
    pub copies: Option<u64>,
    pub rpc: bool,
    pub in_flight: u64,
    // How it is consumed.
    pub autoack: bool,
    pub multi_ack_every: u64,
    pub qos: u16,
    pub global_qos: u16,
    pub ctxsize: u64,
    pub consumer_rate: Option<f64>,
    pub cmessages: Option<u64>,
    pub consumer_args: Pairs,
    // Where it goes.
    pub kind: String,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    pub random_routing_key: bool,
    pub queue: Option<String>,
    pub queue_pattern: Option<String>,
    pub queue_from: u32,
    pub queue_to: u32,
    pub queue_args: Pairs,
    pub auto_delete: bool,
    pub durable: bool,
    pub predeclared: bool,
    pub skip_binding_queues: bool,
    pub bindings: usize,
    pub keep: bool,
    // How long.
    pub time: Option<Duration>,
    pub warmup: Duration,
    pub drain: Option<Duration>,
    pub shutdown_timeout: Duration,
    pub startup_timeout: Duration,
    // The connections.
    pub heartbeat: u16,
    pub frame_max: u32,
    // What is reported.
    pub interval: Duration,
    pub json: Option<String>,
    pub csv: Option<String>,
    pub quiet: bool,
    pub check: bool,
    pub broker_pids: Vec<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            uris: vec![Uri::default()],
            id: String::new(),
            producers: 1,
            consumers: 1,
            producer_channels: 1,
            consumer_channels: 1,
            idle_connections: 0,
            slow_consumers: 0,
            size: 12,
            persistent: false,
            mandatory: false,
            properties: vec![],
            headers: vec![],
            rate: None,
            publishing_interval: None,
            confirm: None,
            confirm_timeout: Duration::from_secs(30),
            ptxsize: 0,
            pmessages: None,
            backlog: None,
            copies: None,
            rpc: false,
            in_flight: 1,
            autoack: false,
            multi_ack_every: 0,
            qos: 0,
            global_qos: 0,
            ctxsize: 0,
            consumer_rate: None,
            cmessages: None,
            consumer_args: vec![],
            kind: "direct".into(),
            exchange: None,
            routing_key: None,
            random_routing_key: false,
            queue: None,
            queue_pattern: None,
            queue_from: 1,
            queue_to: 1,
            queue_args: vec![],
            auto_delete: true,
            durable: false,
            predeclared: false,
            skip_binding_queues: false,
            bindings: 0,
            keep: false,
            time: None,
            warmup: Duration::ZERO,
            drain: None,
            shutdown_timeout: Duration::from_secs(5),
            startup_timeout: Duration::ZERO,
            heartbeat: 0,
            frame_max: 0,
            interval: Duration::from_secs(1),
            json: None,
            csv: None,
            quiet: false,
            check: false,
            broker_pids: vec![],
        }
    }
}

impl Options {
    /// Messages per second of each producer, from a rate or a publishing interval; `None` is as fast as possible.
    pub fn pace(&self) -> Option<f64> {
        self.rate.or(self.publishing_interval.map(|seconds| 1.0 / seconds))
    }

    /// How long to wait for what is under way after the end of publishing.
    pub fn drain_time(&self) -> Duration {
        // Whether something is lost can only be said when it had the time to arrive.
        self.drain.unwrap_or(if self.check { Duration::from_secs(10) } else { Duration::ZERO })
    }

    /// Whether queues outlive the broker's restart: as in PerfTest, when messages do.
    pub fn durable_queues(&self) -> bool {
        self.persistent || self.durable
    }

    /// Every option with its effective value. Passwords are left out.
    pub fn settings(&self) -> serde_json::Value {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let pairs = |pairs: &Pairs| -> serde_json::Map<String, serde_json::Value> {
            pairs.iter().map(|(key, scalar)| (key.clone(), scalar.json())).collect()
        };
        let uris: Vec<String> = self
            .uris
            .iter()
            .map(|uri| format!("amqp://{}@{}/{}", uri.user, uri.address(), uri.vhost.replace('/', "%2f")))
            .collect();
        let mut settings = json!({
            "uris": uris,
            "producers": self.producers,
            "consumers": self.consumers,
            "producer-channel-count": self.producer_channels,
            "consumer-channel-count": self.consumer_channels,
            "idle-connections": self.idle_connections,
            "slow-consumers": self.slow_consumers,
            "size": self.size,
            "persistent": self.persistent,
            "mandatory": self.mandatory,
            "message-properties": pairs(&self.properties),
            "headers": pairs(&self.headers),
            "rate": self.rate,
            "publishing-interval": self.publishing_interval,
            "confirm": self.confirm,
            "confirm-timeout": seconds(self.confirm_timeout),
            "ptxsize": self.ptxsize,
            "pmessages": self.pmessages,
            "backlog": self.backlog,
            "copies": self.copies,
            "rpc": self.rpc,
            "in-flight": self.in_flight,
        });
        let more = json!({
            "autoack": self.autoack,
            "multi-ack-every": self.multi_ack_every,
            "qos": self.qos,
            "global-qos": self.global_qos,
            "ctxsize": self.ctxsize,
            "consumer-rate": self.consumer_rate,
            "cmessages": self.cmessages,
            "consumer-args": pairs(&self.consumer_args),
            "type": self.kind,
            "exchange": self.exchange,
            "routing-key": self.routing_key,
            "random-routing-key": self.random_routing_key,
            "queue": self.queue,
            "queue-pattern": self.queue_pattern,
            "queue-pattern-from": self.queue_from,
            "queue-pattern-to": self.queue_to,
            "queue-args": pairs(&self.queue_args),
            "auto-delete": self.auto_delete,
            "durable": self.durable_queues(),
            "predeclared": self.predeclared,
            "skip-binding-queues": self.skip_binding_queues,
            "bindings": self.bindings,
            "keep": self.keep,
            "time": self.time.map(seconds),
            "warmup": seconds(self.warmup),
            "drain": seconds(self.drain_time()),
            "shutdown-timeout": seconds(self.shutdown_timeout),
            "servers-startup-timeout": seconds(self.startup_timeout),
            "heartbeat": self.heartbeat,
            "framemax": self.frame_max,
            "interval": seconds(self.interval),
            "csv": self.csv,
            "check": self.check,
            "broker-pid": self.broker_pids,
        });
        if let (Some(settings), serde_json::Value::Object(more)) = (settings.as_object_mut(), more) {
            settings.extend(more);
        }
        settings
    }
}
