//! Who declares, publishes and consumes what: PerfTest's rules applied to the options, before anything is sent.

use super::options::Options;
use super::validate::expand;

/// The routing key of a producer's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// This one.
    Fixed(String),
    /// The name of the queue with this index, which the broker may have made up.
    QueueName(usize),
    /// Another one with each message.
    Random,
}

/// A queue, and the key it is bound with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name; empty until the broker has named it.
    pub name: String,
    /// The key of its binding.
    pub key: String,
}

/// A producer: one channel of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Which of the producers' connections.
    pub connection: usize,
    /// The channel.
    pub channel: u16,
    /// The routing key.
    pub key: Key,
    /// The queues that its messages reach, by index, as far as the options tell.
    pub targets: Vec<usize>,
    /// Deliveries of each message to consumers that read; 0: nobody reads them.
    pub copies: u64,
}

/// A consumer: one channel of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Which of the consumers' connections.
    pub connection: usize,
    /// The channel.
    pub channel: u16,
    /// The queue's index.
    pub queue: usize,
    /// It does not read from its socket.
    pub slow: bool,
}

/// What there is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The exchange to publish to; empty is the default exchange.
    pub exchange: String,
    /// Its type.
    pub kind: String,
    /// Whether queues are bound to it.
    pub bind: bool,
    /// The queues.
    pub queues: Vec<Queue>,
    /// Bindings beside those that messages match: queue index and key.
    pub bindings: Vec<(usize, String)>,
    /// The producers, by connection and channel.
    pub producers: Vec<Producer>,
    /// The consumers, by connection and channel.
    pub consumers: Vec<Consumer>,
}

impl Plan {
    /// Applies the rules. `unique` makes up routing keys that no other run has.
    pub fn new(o: &Options, unique: &str) -> Plan {
        let exchange = match &o.exchange {
            Some(exchange) => exchange.clone(),
            // Nothing to declare, and the queue is there: its name is its key.
            None if o.predeclared => String::new(),
            None => o.kind.clone(),
        };
        let common = o.routing_key.clone().unwrap_or_else(|| format!("perf.{unique}"));
        let queue = |name: String| Queue {
            key: match (&o.routing_key, &o.queue_pattern) {
                (None, Some(_)) => name.clone(),
                _ => common.clone(),
            },
            name,
        };
        let queues: Vec<Queue> = match (&o.queue, &o.queue_pattern) {
            (Some(name), _) => vec![queue(name.clone())],
            (None, Some(pattern)) => {
                (o.queue_from..=o.queue_to).filter_map(|number| expand(pattern, number)).map(queue).collect()
            }
            // Each request is to have one reply.
            (None, None) if o.rpc => vec![queue(String::new())],
            (None, None) => (0..o.consumers).map(|_| queue(String::new())).collect(),
        };
        let mut consumers = vec![];
        for connection in 0..o.consumers {
            let slow = connection >= o.consumers - o.slow_consumers;
            for channel in 1..=o.consumer_channels {
                consumers.push(Consumer { connection, channel, queue: connection % queues.len(), slow });
            }
        }
        let mut watched = vec![false; queues.len()];
        for consumer in consumers.iter().filter(|consumer| !consumer.slow) {
            watched[consumer.queue] = true;
        }
        let mut plan = Plan {
            bind: !exchange.is_empty() && !o.skip_binding_queues,
            bindings: further_bindings(o, queues.len()),
            kind: o.kind.clone(),
            exchange,
            queues,
            producers: vec![],
            consumers,
        };
        for connection in 0..o.producers {
            let key = plan.key(o, connection, &common);
            let targets = plan.targets(&key);
            let copies = targets.iter().filter(|target| watched[**target]).count() as u64;
            let copies = o.copies.filter(|_| copies > 0 || targets.is_empty()).unwrap_or(copies);
            for channel in 1..=o.producer_channels {
                let (key, targets) = (key.clone(), targets.clone());
                plan.producers.push(Producer { connection, channel, key, targets, copies });
            }
        }
        plan
    }

    fn key(&self, o: &Options, connection: usize, common: &str) -> Key {
        let own = connection.checked_rem(self.queues.len());
        match own {
            _ if o.random_routing_key => Key::Random,
            // The default exchange routes by the queues' names.
            Some(own) if self.exchange.is_empty() && o.routing_key.is_none() => Key::QueueName(own),
            Some(own) if o.queue_pattern.is_some() && o.routing_key.is_none() => Key::QueueName(own),
            _ => Key::Fixed(common.into()),
        }
    }

    /// The queues that messages with this key reach.
    fn targets(&self, key: &Key) -> Vec<usize> {
        let all = 0..self.queues.len();
        match (&*self.kind, key) {
            (_, Key::QueueName(queue)) if self.exchange.is_empty() => vec![*queue],
            (_, Key::Fixed(key)) if self.exchange.is_empty() => {
                all.filter(|queue| self.queues[*queue].name == *key).collect()
            }
            ("fanout" | "headers", _) => all.collect(),
            (_, Key::Random) => vec![],
            (_, Key::QueueName(queue)) => vec![*queue],
            (_, Key::Fixed(key)) => all.filter(|queue| self.queues[*queue].key == *key).collect(),
        }
    }
}

/// Keys that no message has, dealt out to the queues; for topics, some with wildcards.
fn further_bindings(o: &Options, queues: usize) -> Vec<(usize, String)> {
    let key = |number: usize| match (&*o.kind, number % 4) {
        ("topic", 1) => format!("further.*.{number}"),
        ("topic", 2) => format!("further.#.{number}"),
        ("topic", 3) => format!("further.{number}.#"),
        _ => format!("further.key.{number}"),
    };
    (0..o.bindings).filter(|_| queues > 0).map(|number| (number % queues, key(number))).collect()
}

#[cfg(test)]
pub mod tests {
    use super::super::args::{Command, parse};
    use super::*;

    /// The plan of a command line.
    pub fn plan(line: &str) -> Plan {
        match parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()) {
            Ok(Command::Run(options)) => Plan::new(&options, "u"),
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Queues with their keys; producers with key, targets and copies; consumers with their queues.
    fn told(line: &str) -> String {
        let plan = plan(line);
        let queues: Vec<_> = plan.queues.iter().map(|queue| format!("{}:{}", queue.name, queue.key)).collect();
        let key = |key: &Key| match key {
            Key::Fixed(key) => key.clone(),
            Key::QueueName(queue) => format!("@{queue}"),
            Key::Random => "?".into(),
        };
        let producers = plan.producers.iter().map(|p| format!("{}{:?}*{}", key(&p.key), p.targets, p.copies));
        let consumers: Vec<_> = plan.consumers.iter().map(|consumer| consumer.queue.to_string()).collect();
        let producers: Vec<_> = producers.collect();
        format!("{} <{}> {} / {}", plan.exchange, queues.join(" "), producers.join(" "), consumers.join(" "))
    }

    #[test]
    fn queues_and_keys_are_spread_as_perf_test_does() {
        for (line, expected) in [
            ("", "direct <:perf.u> perf.u[0]*1 / 0"),
            ("-y 2", "direct <:perf.u :perf.u> perf.u[0, 1]*2 / 0 1"),
            ("-y 0", "direct <> perf.u[]*0 / "),
            ("-x 0 -u q", "direct <q:perf.u>  / 0"),
            ("-u q -k k -x 2 -y 2", "direct <q:k> k[0]*1 k[0]*1 / 0 0"),
            ("-u q -X 2 -Y 2", "direct <q:perf.u> perf.u[0]*1 perf.u[0]*1 / 0 0"),
            ("-qp q%d -qpt 2 -x 3 -y 1", "direct <q1:q1 q2:q2> @0[0]*1 @1[1]*0 @0[0]*1 / 0"),
            ("-qp q%d -qpt 2 -k k", "direct <q1:k q2:k> k[0, 1]*1 / 0"),
            ("-qp q%d -qpt 3 -t fanout -y 3", "fanout <q1:q1 q2:q2 q3:q3> @0[0, 1, 2]*3 / 0 1 2"),
            ("-t fanout -y 3 --slow-consumers 1", "fanout <:perf.u :perf.u :perf.u> perf.u[0, 1, 2]*2 / 0 1 2"),
            ("-t headers -y 2", "headers <:perf.u :perf.u> perf.u[0, 1]*2 / 0 1"),
            ("-K -y 1", "direct <:perf.u> ?[]*0 / 0"),
            ("-K -t fanout -y 1", "fanout <:perf.u> ?[0]*1 / 0"),
            ("-e amq.default -y 2 -x 2", " <:perf.u :perf.u> @0[0]*1 @1[1]*1 / 0 1"),
            ("--rpc -x 2 -y 2", "direct <:perf.u> perf.u[0]*1 perf.u[0]*1 / 0 0"),
            ("-p -u q", " <q:perf.u> @0[0]*1 / 0"),
            ("-p -u q -k other", " <q:other> other[]*0 / 0"),
            ("-p -u q -e x -k k", "x <q:k> k[0]*1 / 0"),
            ("-p -u q -k other --copies 1", " <q:other> other[]*1 / 0"),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_last_consumers_are_slow() {
        let slow: Vec<bool> =
            plan("-y 3 -Y 2 --slow-consumers 1").consumers.iter().map(|consumer| consumer.slow).collect();
        assert_eq!(slow, [false, false, false, false, true, true]);
    }

    #[test]
    fn further_bindings_are_dealt_out() {
        let keys = |line: &str| plan(line).bindings;
        assert_eq!(keys("--bindings 2 -y 2"), [(0, "further.key.0".into()), (1, "further.key.1".into())]);
        let topic = keys("--bindings 4 -t topic");
        assert_eq!(
            topic[1..].iter().map(|(_, key)| &**key).collect::<Vec<_>>(),
            ["further.*.1", "further.#.2", "further.3.#"]
        );
        assert!(plan("--bindings 2 -y 0").bindings.is_empty());
    }
}
