//! The loads that are measured.

use leveret::amqp::{Properties, Table, TableWriter, Value};

use super::say;

/// The exchange that is published to, and how its queues are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// The default exchange.
    Default,
    /// One binding for each queue.
    Direct,
    /// Each message goes to each queue.
    Fanout,
    /// So many bindings of each queue, three quarters of them with wildcards; so many different keys are published.
    Topic { bindings: usize, keys: usize },
    /// So many bindings of each queue with three arguments each.
    Headers { bindings: usize },
}

/// How consumers take messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Nobody does.
    Not,
    /// With automatic acknowledgement.
    AutoAck,
    /// With an acknowledgement for so many messages each; `multiple` unless it is one.
    Ack(usize),
    /// Puts so many messages at once back, again and again.
    Requeue(usize),
    /// By basic.get, without acknowledgement.
    Get,
}

/// One load: what is there, and what happens in each round.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Shards with publishers, queues and consumers.
    pub publisher_shard: usize,
    pub queue_shard: usize,
    pub consumer_shard: usize,
    /// Publishers, each with a connection; publisher n publishes to queue n, or there is one for all queues.
    pub publishers: usize,
    /// Queues, each with one consumer that has a connection of its own.
    pub queues: usize,
    pub exchange: Exchange,
    /// Arguments of the queues.
    pub arguments: &'static [(&'static str, Value<'static>)],
    /// Bytes of each body.
    pub size: usize,
    /// With many properties and a header table, or none.
    pub has_properties: bool,
    /// Messages of one publisher in one read.
    pub batch: usize,
    pub take: Take,
    pub confirms: bool,
    /// Each read is a transaction.
    pub commits: bool,
    /// All messages are put into the queue at first; then nothing is published.
    pub has_backlog: bool,
}

const BASE: Plan = Plan {
    name: "auto-ack",
    what: "16 B, automatic acknowledgement",
    publisher_shard: 0,
    queue_shard: 0,
    consumer_shard: 0,
    publishers: 1,
    queues: 1,
    exchange: Exchange::Direct,
    arguments: &[],
    size: 16,
    has_properties: false,
    batch: 100,
    take: Take::AutoAck,
    confirms: false,
    commits: false,
    has_backlog: false,
};

const ACKED: Plan = Plan { take: Take::Ack(100), confirms: true, ..BASE };

const DRAINED: Plan = Plan { has_backlog: true, ..ACKED };

/// All loads. Bodies have 16 B and a read has 100 messages unless something else is said.
pub const PLANS: &[Plan] = &[
    BASE,
    Plan { name: "auto-ack-1k", what: "1 KiB, automatic acknowledgement", size: 1024, ..BASE },
    Plan {
        name: "auto-ack-64k",
        what: "64 KiB, automatic acknowledgement, 3 per read",
        size: 65_536,
        batch: 3,
        ..BASE
    },
    Plan { name: "one-per-read", what: "each message comes alone", batch: 1, ..BASE },
    Plan { name: "ack-confirm", what: "acks of 100, confirms", ..ACKED },
    Plan { name: "ack-confirm-1k", what: "1 KiB, acks of 100, confirms", size: 1024, ..ACKED },
    Plan { name: "single-ack", what: "an ack for each message, confirms", take: Take::Ack(1), ..ACKED },
    Plan { name: "transaction", what: "acks of 100, a commit for each 100", commits: true, confirms: false, ..ACKED },
    Plan {
        name: "quorum-ack-confirm",
        what: "a quorum queue, acks of 100, confirms",
        arguments: &[("x-queue-type", Value::LongStr(b"quorum"))],
        ..ACKED
    },
    Plan {
        name: "ttl-auto-ack",
        what: "a queue with a TTL, automatic acknowledgement",
        arguments: &[("x-message-ttl", Value::I32(60_000))],
        ..BASE
    },
    Plan {
        name: "quorum-drain",
        what: "a backlog of a quorum queue is taken, acks of 100",
        arguments: &[("x-queue-type", Value::LongStr(b"quorum"))],
        ..DRAINED
    },
    Plan { name: "get", what: "basic.get without acknowledgement", take: Take::Get, ..BASE },
    Plan { name: "properties", what: "many properties and three headers", has_properties: true, ..BASE },
    Plan { name: "default-exchange", what: "by the default exchange", exchange: Exchange::Default, ..BASE },
    Plan { name: "fan-out-10", what: "fanout to ten queues", exchange: Exchange::Fanout, queues: 10, ..BASE },
    Plan {
        name: "fan-out-10-1k",
        what: "1 KiB, fanout to ten queues",
        exchange: Exchange::Fanout,
        queues: 10,
        size: 1024,
        ..BASE
    },
    Plan { name: "fan-out-100", what: "fanout to a hundred queues", exchange: Exchange::Fanout, queues: 100, ..BASE },
    Plan {
        name: "topic-100",
        what: "topic, 100 bindings, 1,000 keys: the cache has them",
        exchange: Exchange::Topic { bindings: 100, keys: 1000 },
        ..BASE
    },
    Plan {
        name: "topic-100-cold",
        what: "topic, 100 bindings, 100,000 keys: the cache is too small",
        exchange: Exchange::Topic { bindings: 100, keys: 100_000 },
        ..BASE
    },
    Plan {
        name: "headers-100",
        what: "headers, 100 bindings of three arguments",
        exchange: Exchange::Headers { bindings: 100 },
        ..BASE
    },
    Plan { name: "ten-queues", what: "10 publishers, 10 queues, 10 consumers", publishers: 10, queues: 10, ..BASE },
    Plan {
        name: "ten-queues-ack",
        what: "10 publishers, 10 queues, 10 consumers, acks, confirms",
        publishers: 10,
        queues: 10,
        ..ACKED
    },
    Plan {
        name: "hundred-queues",
        what: "100 publishers, 100 queues, 100 consumers, 10 per read",
        publishers: 100,
        queues: 100,
        batch: 10,
        ..BASE
    },
    Plan { name: "fill", what: "published, nobody takes it", take: Take::Not, ..BASE },
    Plan { name: "requeue", what: "put back by 100 and redelivered", take: Take::Requeue(100), ..DRAINED },
    Plan { name: "drain", what: "a backlog is taken, acks of 100", ..DRAINED },
    Plan {
        name: "remote-publish",
        what: "from shard 0 to a queue of shard 1",
        queue_shard: 1,
        consumer_shard: 1,
        ..BASE
    },
    Plan {
        name: "remote-deliver",
        what: "from a queue of shard 1 to shard 0",
        publisher_shard: 1,
        queue_shard: 1,
        ..BASE
    },
    Plan { name: "remote-both", what: "from shard 0 by shard 1 to shard 0, acks, confirms", queue_shard: 1, ..ACKED },
    Plan {
        name: "remote-both-1k",
        what: "1 KiB, from shard 0 by shard 1 to shard 0, acks, confirms",
        queue_shard: 1,
        size: 1024,
        ..ACKED
    },
];

/// The plan of this name.
pub fn find(name: &str) -> Plan {
    *PLANS.iter().find(|plan| plan.name == name).unwrap_or_else(|| panic!("there is no load {name}"))
}

/// The binding keys of a topic exchange: each message of [`Plan::publish`] fits exactly one.
pub fn topic_pattern(number: usize) -> String {
    match number % 4 {
        0 => format!("s.*.k{number:06}"),
        1 => format!("s.#.k{number:06}"),
        2 => format!("#.k{number:06}"),
        _ => format!("s.exact.k{number:06}"),
    }
}

/// A key that fits exactly one of so many patterns, one with a wildcard; another for each number.
pub fn topic_key(number: usize, patterns: usize) -> String {
    let with_wildcard = number % (patterns / 4 * 3);
    format!("s.e{number:06}.k{:06}", with_wildcard / 3 * 4 + with_wildcard % 3)
}

/// The headers of a message, or the arguments of the binding that takes it.
pub fn headers(number: usize, is_binding: bool) -> Vec<u8> {
    let mut table = TableWriter::new();
    if is_binding {
        table.put("x-match", Value::LongStr(b"all"));
    }
    table.put("kind", Value::LongStr(b"quote"));
    table.put("number", Value::I32(number as i32));
    table.put("group", Value::LongStr(format!("g{:02}", number % 10).as_bytes()));
    table.into_bytes()
}

impl Plan {
    /// Shards that it needs.
    pub fn shards(&self) -> usize {
        1 + self.publisher_shard.max(self.queue_shard).max(self.consumer_shard)
    }

    /// Messages that a queue's consumer gets per round.
    pub fn deliveries_of_queue(&self) -> usize {
        let of_one = self.exchange == Exchange::Fanout || self.publishers == self.queues;
        assert!(of_one, "{}: each queue has one publisher", self.name);
        if self.take == Take::Not { 0 } else { self.batch }
    }

    /// Messages of a round: deliveries, or publishes where nobody takes anything.
    pub fn messages(&self) -> usize {
        if self.take == Take::Not { self.publishers * self.batch } else { self.queues * self.deliveries_of_queue() }
    }

    /// The name of an exchange; the topology is declared by [`Plan::declare`].
    fn exchange_name(&self) -> &'static str {
        match self.exchange {
            Exchange::Default => "",
            Exchange::Direct => "direct",
            Exchange::Fanout => "fanout",
            Exchange::Topic { .. } => "topic",
            Exchange::Headers { .. } => "headers",
        }
    }

    /// Declares the queue of this number and binds it.
    pub fn declare(&self, queue: usize) -> Vec<u8> {
        let (exchange, name) = (self.exchange_name(), format!("queue-{queue:02}"));
        let mut out = vec![];
        let mut arguments = TableWriter::new();
        for (key, value) in self.arguments {
            arguments.put(key, *value);
        }
        say::declare_queue(&mut out, &name, arguments.table());
        if self.exchange != Exchange::Default {
            say::declare_exchange(&mut out, exchange, exchange);
        }
        match self.exchange {
            Exchange::Default => {}
            Exchange::Direct => say::bind(&mut out, &name, exchange, &name, Table::EMPTY),
            Exchange::Fanout => say::bind(&mut out, &name, exchange, "", Table::EMPTY),
            Exchange::Topic { bindings, .. } => {
                (0..bindings).for_each(|n| say::bind(&mut out, &name, exchange, &topic_pattern(n), Table::EMPTY));
            }
            Exchange::Headers { bindings } => (0..bindings).for_each(|n| {
                let arguments = headers(n, true);
                say::bind(&mut out, &name, exchange, "", Table::check(&arguments).expect("a table"));
            }),
        }
        out
    }

    /// Appends message `number` of a publisher.
    pub fn publish(&self, out: &mut Vec<u8>, publisher: usize, number: usize) {
        let key = match self.exchange {
            Exchange::Topic { bindings, keys } => topic_key(number % keys, bindings),
            _ => format!("queue-{publisher:02}"),
        };
        let headers = match self.exchange {
            Exchange::Headers { bindings } => headers(number % bindings, false),
            _ if self.has_properties => headers(number % 10, false),
            _ => vec![],
        };
        let mut properties = Properties::default();
        if !headers.is_empty() {
            properties.headers = Some(Table::check(&headers).expect("a table"));
        }
        if self.has_properties {
            properties.content_type = Some("application/octet-stream");
            properties.delivery_mode = Some(1);
            properties.correlation_id = Some("5f0d2c7e-4f0b-4a57-9d6c-1f4f7b9f2a10");
            properties.message_id = Some("a4f3c0de-2b7a-49d5-8a5e-77e1c0a9b3d2");
            properties.timestamp = Some(1_700_000_000);
            properties.app_id = Some("bench");
        }
        say::publish(out, self.exchange_name(), &key, &say::properties(&properties), &vec![b'x'; self.size]);
    }

    /// The reads of a publisher: as many as it takes to have each key.
    pub fn reads(&self, publisher: usize) -> Vec<Vec<u8>> {
        let count = match self.exchange {
            Exchange::Topic { keys, .. } => keys.div_ceil(self.batch),
            _ => 1,
        };
        let read = |read: usize| {
            let mut out = vec![];
            (0..self.batch).for_each(|n| self.publish(&mut out, publisher, read * self.batch + n));
            if self.commits {
                say::method(&mut out, leveret::amqp::method::TxCommit {});
            }
            out
        };
        (0..count).map(read).collect()
    }
}
