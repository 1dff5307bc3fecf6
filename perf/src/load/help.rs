//! The table of options: their names, their values, and a line of help for each.

/// One option.
#[derive(Debug)]
pub struct Flag {
    /// PerfTest's short name, without the dash; empty for ours.
    pub short: &'static str,
    /// The long name, without the dashes.
    pub long: &'static str,
    /// What its value is called; empty when it has none.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn flag(short: &'static str, long: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { short, long, value, help }
}

/// All options, in groups.
pub const GROUPS: &[(&str, &[Flag])] = &[
    (
        "Connections",
        &[
            flag("h", "uri", "URI", "amqp://user:password@host:port/vhost [amqp://localhost]"),
            flag("H", "uris", "URI,…", "several, dealt out to the connections in turn"),
            flag("b", "heartbeat", "SECONDS", "heartbeat to ask for [0: none]"),
            flag("M", "framemax", "BYTES", "largest frame to ask for [0: what the broker offers]"),
            flag("sst", "servers-startup-timeout", "SECONDS", "try to connect for so long [0: once]"),
            flag("", "idle-connections", "N", "open N connections more first, and keep them"),
        ],
    ),
    (
        "Producers",
        &[
            flag("x", "producers", "N", "producers, a connection each [1]"),
            flag("X", "producer-channel-count", "N", "channels of each, publishing as one producer each [1]"),
            flag("s", "size", "BYTES", "size of a message; from 8 on latency is known, from 12 on --check works [12]"),
            flag("f", "flag", "FLAG", "persistent or mandatory; may be given twice"),
            flag("r", "rate", "N", "messages per second of each producer [as fast as possible]"),
            flag("P", "publishing-interval", "SECONDS", "a message of each producer every so often"),
            flag("c", "confirm", "N", "publisher confirms, at most N outstanding per producer"),
            flag("ct", "confirm-timeout", "SECONDS", "fail when no confirm comes for so long [30]"),
            flag("m", "ptxsize", "N", "transactions of N messages"),
            flag("C", "pmessages", "N", "each producer stops after N messages"),
            flag("", "backlog", "N", "producers pause while published - consumed > N"),
            flag("", "copies", "N", "deliveries of each message, where this cannot be derived (for --backlog)"),
            flag("mp", "message-properties", "K=V,…", "properties, such as priority=5; other keys become headers"),
            flag("T", "body-content-type", "TEXT", "the property content-type"),
            flag("", "headers", "K=V,…", "headers; with -t headers also the arguments of the bindings"),
        ],
    ),
    (
        "Consumers",
        &[
            flag("y", "consumers", "N", "consumers, a connection each [1]"),
            flag("Y", "consumer-channel-count", "N", "channels of each, consuming as one consumer each [1]"),
            flag("a", "autoack", "", "no acknowledgements"),
            flag("A", "multi-ack-every", "N", "one acknowledgement for N messages [each on its own]"),
            flag("q", "qos", "N", "prefetch count of each consumer [0: no limit]"),
            flag("Q", "global-qos", "N", "prefetch count of each channel [0: no limit]"),
            flag("n", "ctxsize", "N", "commit the acknowledgements of N messages as a transaction"),
            flag("R", "consumer-rate", "N", "messages per second that each consumer takes [as fast as possible]"),
            flag("D", "cmessages", "N", "each consumer stops after N messages"),
            flag("ca", "consumer-args", "K=V,…", "arguments of basic.consume, such as x-priority=10"),
            flag("", "slow-consumers", "N", "the last N consumers stop reading from their sockets"),
        ],
    ),
    (
        "Exchange, queues and routing",
        &[
            flag("t", "type", "TYPE", "type of the exchange [direct]"),
            flag("e", "exchange", "NAME", "the exchange; amq.default is the default exchange [named as its type]"),
            flag("k", "routing-key", "KEY", "the routing key [made up; with -qp the queue's name]"),
            flag("K", "random-routing-key", "", "another routing key with each message"),
            flag("u", "queue", "NAME", "one queue for all [each consumer has one of its own, named by the broker]"),
            flag("qp", "queue-pattern", "PATTERN", "queues with a number in their name, such as 'perf-%d'"),
            flag("qpf", "queue-pattern-from", "N", "the first number [1]"),
            flag("qpt", "queue-pattern-to", "N", "the last number [1]"),
            flag("qa", "queue-args", "K=V,…", "arguments of the queues, such as x-max-length=10"),
            flag("qq", "quorum-queue", "", "quorum queues: durable, not auto-delete"),
            flag("mlb", "max-length-bytes", "BYTES", "x-max-length-bytes of the queues"),
            flag("ad", "auto-delete", "BOOL", "whether the queues are auto-delete [true]"),
            flag("", "durable", "", "durable queues also without -f persistent"),
            flag("p", "predeclared", "", "use what exists: declare nothing and delete nothing"),
            flag("sb", "skip-binding-queues", "", "do not bind the queues"),
            flag("", "bindings", "N", "bind the queues N times more, with keys that no message has"),
            flag("", "keep", "", "leave what was declared on the broker"),
        ],
    ),
    (
        "Request and reply",
        &[
            flag("", "rpc", "", "consumers answer to amq.rabbitmq.reply-to; the latency is the round trip's"),
            flag("", "in-flight", "N", "requests of each producer that wait for their replies [1]"),
        ],
    ),
    (
        "Duration",
        &[
            flag("z", "time", "SECONDS", "measured time [until Ctrl-C, -C or -D]"),
            flag("", "warmup", "SECONDS", "run for so long before measuring [0]"),
            flag("", "drain", "SECONDS", "then stop publishing and wait until all is consumed, at most so long [0]"),
            flag("st", "shutdown-timeout", "SECONDS", "wait so long for the connections to close [5]"),
        ],
    ),
    (
        "Report",
        &[
            flag("d", "id", "TEXT", "the name of the run [test-HHMMSS-mmm]"),
            flag("i", "interval", "SECONDS", "a line of progress every so often [1]"),
            flag("", "quiet", "", "no lines of progress"),
            flag("", "json", "FILE", "write the results as JSON; - is the standard output"),
            flag("", "csv", "FILE", "write a line for each interval"),
            flag("", "check", "", "check that nothing is lost, doubled or reordered (drains 10 s if need be)"),
            flag(
                "",
                "broker-pid",
                "PID,…",
                "report CPU, memory and bytes written of these processes and their children",
            ),
            flag("?", "help", "", "this help"),
            flag("v", "version", "", "the version"),
        ],
    ),
];

/// PerfTest's options that are not supported: short name, long name, what to do instead.
pub const OTHERS: &[(&str, &str, &str)] = &[
    ("B", "body", "bodies are made up, see --size"),
    ("bc", "body-count", "bodies are made up, see --size"),
    ("bfc", "body-field-count", "bodies are made up, see --size"),
    ("cri", "connection-recovery-interval", "a lost connection ends the run"),
    ("csd", "consumer-start-delay", "fill first with -y 0 --keep, then consume with -x 0 -p"),
    ("ctp", "consumers-thread-pools", "there is one thread"),
    ("dcr", "disable-connection-recovery", "a lost connection always ends the run"),
    ("E", "exclusive", "queues are auto-delete"),
    ("ei", "expected-instances", "there is one instance"),
    ("em", "exposed-metrics", "see --json"),
    ("env", "environment-variables", "there are none"),
    ("ew", "exit-when", "see -C, -D and --drain"),
    ("hst", "heartbeat-sender-threads", "there is one thread"),
    ("isn", "instance-sync-namespace", "there is one instance"),
    ("ist", "instance-sync-timeout", "there is one instance"),
    ("jb", "json-body", "bodies are made up, see --size"),
    ("l", "legacy-metrics", "see --json and --csv"),
    ("L", "consumer-latency", "see -R"),
    ("ll", "leader-locator", "give it with -qa x-queue-leader-locator=…"),
    ("ma", "max-age", "streams are not supported"),
    ("mf", "metrics-format", "see --json and --csv"),
    ("mh", "metrics-help", "see --json"),
    ("ms", "use-millis", "producers and consumers have the same clock"),
    ("na", "nack", "messages are acknowledged"),
    ("niot", "nio-threads", "there is one thread"),
    ("niotp", "nio-thread-pool", "there is one thread"),
    ("o", "output-file", "see --csv"),
    ("o2gr", "oauth2-grant-type", "log-in is by user and password"),
    ("o2id", "oauth2-client-id", "log-in is by user and password"),
    ("o2p", "oauth2-parameters", "log-in is by user and password"),
    ("o2sec", "oauth2-client-secret", "log-in is by user and password"),
    ("o2uri", "oauth2-token-endpoint", "log-in is by user and password"),
    ("pi", "polling-interval", "consumers use basic.consume"),
    ("po", "polling", "consumers use basic.consume"),
    ("prsd", "producer-random-start-delay", "producers with a rate start spread over an interval"),
    ("pst", "producer-scheduler-threads", "there is one thread"),
    ("qf", "queue-file", "see -qp"),
    ("re", "requeue", "messages are acknowledged"),
    ("rkcs", "routing-key-cache-size", "random keys cost next to nothing"),
    ("S", "slow-start", "all consumers start at once"),
    ("sco", "stream-consumer-offset", "streams are not supported"),
    ("se", "sasl-external", "log-in is by user and password"),
    ("smssb", "stream-max-segment-size-bytes", "streams are not supported"),
    ("sni", "server-name-indication", "TLS is not supported"),
    ("sq", "stream-queue", "streams are not supported"),
    ("sul", "servers-up-limit", "see --servers-startup-timeout"),
    ("tnd", "tcp-no-delay", "it is always on"),
    ("trbs", "tcp-receive-buffer-size", "the system decides"),
    ("tsbs", "tcp-send-buffer-size", "the system decides"),
    ("udsc", "use-default-ssl-context", "TLS is not supported"),
    ("", "verbose", "see --check"),
    ("", "verbose-full", "see --check"),
    ("vl", "variable-latency", "see -R"),
    ("vr", "variable-rate", "see -r"),
    ("vs", "variable-size", "see -s"),
];

/// The supported option with this long name.
pub fn by_long(long: &str) -> Option<&'static Flag> {
    GROUPS.iter().flat_map(|(_, flags)| flags.iter()).find(|flag| flag.long == long)
}

/// The long name of the option, supported or not, with this short name.
pub fn long_of(short: &str) -> Option<&'static str> {
    let ours = GROUPS.iter().flat_map(|(_, flags)| flags.iter()).map(|flag| (flag.short, flag.long));
    let others = OTHERS.iter().map(|(short, long, _)| (*short, *long));
    ours.chain(others).find(|(name, _)| *name == short && !short.is_empty()).map(|(_, long)| long)
}

/// The whole help.
pub fn text() -> String {
    let mut text = String::from(
        "leveret-perf loads an AMQP 0-9-1 broker and measures it. The options are PerfTest's where it has them.

Usage: leveret-perf [OPTIONS]            publish and consume
       leveret-perf churn KIND …         open and close things at full speed
       leveret-perf scenarios            list the scenarios of the comparison
       leveret-perf compare …            run them over several brokers

Without options: one producer, one consumer, one queue, 12 bytes, manual acknowledgements, until Ctrl-C.
",
    );
    for (title, flags) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        for flag in *flags {
            let short = match flag.short {
                "" => String::new(),
                short => format!("-{short},"),
            };
            let names = format!("  {short:<5} --{} {}", flag.long, flag.value);
            text.push_str(&format!("{names:<42} {}\n", flag.help));
        }
    }
    text.push_str(
        "
A producer is a channel of a producer's connection; rates and counts are of each. Without -u and -qp every consumer has
a queue of its own, so each message goes to all consumers. With -qp producer and consumer number i have queue number i,
from the first again after the last. Under a rate, latency counts from the time when a message was due.
--backlog counts deliveries to consumers that are not slow; a queue that slow ones share keeps some for them.
What was declared is deleted at the end; what existed before, or is used with -p, is left alone.

Examples:
  leveret-perf -a -z 10                                     how fast one producer and one consumer are
  leveret-perf -f persistent -c 1000 -q 1000 -A 100 -u q    durable queue, confirms, acknowledgements
  leveret-perf -t fanout -x 1 -y 10 -a --backlog 1000       one to ten
  leveret-perf -x 10 -y 10 -qp 'q-%d' -qpt 10 -r 1000       ten queues at a fixed rate: look at the latency
  leveret-perf -x 1 -y 0 -u q --keep -C 1000000 -c 1000     fill a queue …
  leveret-perf -x 0 -y 1 -u q -p -D 1000000                 … and drain it

Exit status: 0 all went well, 1 the run or a check failed, 2 wrong usage.
",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_taken_twice() {
        let ours = GROUPS.iter().flat_map(|(_, flags)| flags.iter()).map(|flag| (flag.short, flag.long));
        let all: Vec<_> = ours.chain(OTHERS.iter().map(|(short, long, _)| (*short, *long))).collect();
        for (at, (short, long)) in all.iter().enumerate() {
            for (other_short, other_long) in &all[at + 1..] {
                assert_ne!(long, other_long);
                assert!(short.is_empty() || short != other_short, "{short}");
            }
        }
    }

    #[test]
    fn the_help_has_every_option_and_fits() {
        let text = text();
        for (_, flags) in GROUPS {
            for flag in *flags {
                assert!(text.contains(&format!("--{} {}", flag.long, flag.value)), "{}", flag.long);
            }
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 130, "{line}");
        }
    }
}
