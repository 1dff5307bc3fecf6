//! The command line: PerfTest's habits made regular, then read option by option.

use std::time::Duration;

use lexopt::prelude::*;

use super::error::Failure;
use super::help;
use super::options::{Options, Pairs, Scalar};
use super::uri::Uri;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Show the help.
    Help,
    /// Show the version.
    Version,
    /// Load a broker.
    Run(Box<Options>),
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// [`Failure::Usage`], with what is wrong.
pub fn parse(args: &[String]) -> Result<Command, Failure> {
    let mut parser = lexopt::Parser::from_args(args.iter().map(|arg| regular(arg)));
    let mut options = Options::default();
    while let Some(arg) = parser.next().map_err(usage)? {
        let long = match arg {
            Short(short) => help::long_of(short.encode_utf8(&mut [0; 4])),
            Long(long) => Some(help::by_long(long).map_or_else(
                || help::OTHERS.iter().find(|(_, other, _)| *other == long).map_or("", |(_, other, _)| other),
                |flag| flag.long,
            )),
            Value(value) => {
                return Err(Failure::usage(format!("{}: an option is expected", value.to_string_lossy())));
            }
        };
        let Some(long) = long.filter(|long| !long.is_empty()) else {
            return Err(usage(arg.unexpected()));
        };
        if let Some((_, _, instead)) = help::OTHERS.iter().find(|(_, other, _)| *other == long) {
            return Err(Failure::usage(format!("--{long} is PerfTest's and not supported: {instead}")));
        }
        let value = match help::by_long(long).is_some_and(|flag| !flag.value.is_empty()) {
            true => parser.value().map_err(usage)?.string().map_err(usage)?,
            false => String::new(),
        };
        match long {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            _ => set(&mut options, long, &value).map_err(|what| Failure::usage(format!("--{long}: {what}")))?,
        }
    }
    Ok(Command::Run(Box::new(options)))
}

fn usage(error: lexopt::Error) -> Failure {
    Failure::usage(error.to_string())
}

/// `-qp` as PerfTest has it is three short options to everybody else: such names become the long ones.
fn regular(arg: &str) -> String {
    let Some(name) = arg.strip_prefix('-').filter(|name| name.chars().count() > 1 && !name.starts_with('-')) else {
        return arg.to_owned();
    };
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    match (help::long_of(name), value) {
        (Some(long), Some(value)) => format!("--{long}={value}"),
        (Some(long), None) => format!("--{long}"),
        (None, _) => arg.to_owned(),
    }
}

fn set(options: &mut Options, long: &str, value: &str) -> Result<(), String> {
    let o = options;
    match long {
        "uri" => o.uris = vec![Uri::parse(value)?],
        "uris" => o.uris = value.split(',').map(|uri| Uri::parse(uri.trim())).collect::<Result<_, _>>()?,
        "heartbeat" => o.heartbeat = number(value)?,
        "framemax" => o.frame_max = number(value)?,
        "servers-startup-timeout" => o.startup_timeout = duration(value)?,
        "idle-connections" => o.idle_connections = number(value)?,
        "producers" => o.producers = number(value)?,
        "producer-channel-count" => o.producer_channels = positive(value)?,
        "size" => o.size = number(value)?,
        "flag" => {
            for flag in value.split(',') {
                match flag.trim() {
                    "persistent" => o.persistent = true,
                    "mandatory" => o.mandatory = true,
                    other => return Err(format!("{other}: persistent or mandatory is expected")),
                }
            }
        }
        "rate" => o.rate = rate(value)?,
        "publishing-interval" => o.publishing_interval = Some(above_zero(value)?),
        // PerfTest's default, and its way to say that there are none.
        "confirm" => o.confirm = if value == "-1" { None } else { Some(positive(value)?) },
        "confirm-timeout" => o.confirm_timeout = duration(value)?,
        "ptxsize" => o.ptxsize = number(value)?,
        "pmessages" => o.pmessages = limit(value)?,
        "backlog" => o.backlog = Some(positive(value)?),
        "copies" => o.copies = Some(positive(value)?),
        "message-properties" => o.properties.extend(pairs(value)?),
        "body-content-type" => o.properties.push(("contentType".into(), Scalar::Text(value.into()))),
        "headers" => o.headers.extend(pairs(value)?),
        "consumers" => o.consumers = number(value)?,
        "consumer-channel-count" => o.consumer_channels = positive(value)?,
        "autoack" => o.autoack = true,
        "multi-ack-every" => o.multi_ack_every = number(value)?,
        "qos" => o.qos = number(value)?,
        "global-qos" => o.global_qos = number(value)?,
        "ctxsize" => o.ctxsize = number(value)?,
        "consumer-rate" => o.consumer_rate = rate(value)?,
        "cmessages" => o.cmessages = limit(value)?,
        "consumer-args" => o.consumer_args.extend(pairs(value)?),
        "slow-consumers" => o.slow_consumers = number(value)?,
        "type" => o.kind = value.into(),
        "exchange" => o.exchange = Some(if value == "amq.default" { String::new() } else { name(value)? }),
        "routing-key" => o.routing_key = Some(name(value)?),
        "random-routing-key" => o.random_routing_key = true,
        "queue" => o.queue = Some(name(value)?),
        "queue-pattern" => o.queue_pattern = Some(name(value)?),
        "queue-pattern-from" => o.queue_from = number(value)?,
        "queue-pattern-to" => o.queue_to = number(value)?,
        "queue-args" => o.queue_args.extend(pairs(value)?),
        "quorum-queue" => {
            o.queue_args.push(("x-queue-type".into(), Scalar::Text("quorum".into())));
            o.durable = true;
            o.auto_delete = false;
        }
        "max-length-bytes" => o.queue_args.push(("x-max-length-bytes".into(), Scalar::Integer(number(value)?))),
        "auto-delete" => {
            o.auto_delete = match value {
                "true" => true,
                "false" => false,
                _ => return Err(format!("{value}: true or false is expected")),
            }
        }
        "durable" => o.durable = true,
        "predeclared" => o.predeclared = true,
        "skip-binding-queues" => o.skip_binding_queues = true,
        "bindings" => o.bindings = number(value)?,
        "keep" => o.keep = true,
        "rpc" => o.rpc = true,
        "in-flight" => o.in_flight = positive(value)?,
        "time" => o.time = Some(duration(value)?).filter(|time| !time.is_zero()),
        "warmup" => o.warmup = duration(value)?,
        "drain" => o.drain = Some(duration(value)?),
        "shutdown-timeout" => o.shutdown_timeout = duration(value)?,
        "id" => o.id = value.into(),
        "interval" => o.interval = Duration::from_secs_f64(above_zero(value)?),
        "quiet" => o.quiet = true,
        "json" => o.json = Some(value.into()),
        "csv" => o.csv = Some(value.into()),
        "check" => o.check = true,
        "broker-pid" => o.broker_pids = value.split(',').map(positive).collect::<Result<_, _>>()?,
        // Unreachable while this function and the table in `help` agree, which a test holds them to.
        other => return Err(format!("{other} is not known")),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value}: a whole number is expected, and not too large a one"))
}

fn positive<T: std::str::FromStr + Default + PartialEq>(value: &str) -> Result<T, String> {
    let parsed = value.parse().ok().filter(|number| *number != T::default());
    parsed.ok_or_else(|| format!("{value}: a whole number above 0 is expected, and not too large a one"))
}

/// A count, of which 0 is none in PerfTest.
fn limit(value: &str) -> Result<Option<u64>, String> {
    Ok(Some(number(value)?).filter(|limit| *limit > 0))
}

fn decimal(value: &str) -> Result<f64, String> {
    let parsed: Option<f64> = value.parse().ok();
    parsed.filter(|number| number.is_finite() && number.abs() < 1e9).ok_or_else(|| format!("{value}: not a number"))
}

fn above_zero(value: &str) -> Result<f64, String> {
    Some(decimal(value)?).filter(|number| *number >= 1e-6).ok_or_else(|| format!("{value}: more than 0 is expected"))
}

/// A rate, of which a negative one is none in PerfTest.
fn rate(value: &str) -> Result<Option<f64>, String> {
    match decimal(value)? {
        rate if rate < 0.0 => Ok(None),
        _ => Ok(Some(above_zero(value)?)),
    }
}

/// Seconds, with decimals.
fn duration(value: &str) -> Result<Duration, String> {
    let parsed = Some(decimal(value)?).filter(|seconds| *seconds >= 0.0);
    parsed.map(Duration::from_secs_f64).ok_or_else(|| format!("{value}: seconds are expected"))
}

/// A short string of the protocol.
fn name(value: &str) -> Result<String, String> {
    if value.len() > 255 { Err("at most 255 bytes are possible".into()) } else { Ok(value.into()) }
}

fn pairs(value: &str) -> Result<Pairs, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair}: key=value is expected"))?;
        Ok((name(key.trim())?, Scalar::parse(value.trim())))
    };
    value.split(',').filter(|pair| !pair.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn options(line: &str) -> Options {
        match read(line) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_option_of_the_help_is_understood() {
        for (_, flags) in help::GROUPS {
            for flag in *flags {
                let value = match flag.long {
                    "uri" | "uris" => "amqp://h",
                    "flag" => "mandatory",
                    "auto-delete" => "false",
                    "message-properties" | "headers" | "consumer-args" | "queue-args" => "a=1",
                    _ if flag.value.is_empty() => "",
                    _ => "7",
                };
                for line in [format!("--{} {value}", flag.long), format!("-{} {value}", flag.short)] {
                    if line.starts_with("- ") {
                        continue;
                    }
                    match read(&line) {
                        Ok(Command::Run(options)) => {
                            // The only one whose default is 7, or the like.
                            assert!(*options != Options::default(), "{line}")
                        }
                        Ok(_) => assert!(["help", "version"].contains(&flag.long), "{line}"),
                        Err(error) => panic!("{line}: {error}"),
                    }
                }
            }
        }
    }

    #[test]
    fn perf_tests_habits_are_understood() {
        let o =
            options("-x 3 -y2 -qp q-%d -qpf=2 -qpt 4 -ad false -a --rate 2.5 -f persistent -f mandatory -mp a=1,b=x");
        assert_eq!((o.producers, o.consumers, o.queue_from, o.queue_to), (3, 2, 2, 4));
        assert_eq!((o.queue_pattern.as_deref(), o.auto_delete, o.autoack), (Some("q-%d"), false, true));
        assert_eq!((o.rate, o.persistent, o.mandatory), (Some(2.5), true, true));
        assert_eq!(o.properties, [("a".into(), Scalar::Integer(1)), ("b".into(), Scalar::Text("x".into()))]);
        let o = options("-r -1 -c -1 -C 0 -e amq.default -P 0.5 -H amqp://a,amqp://b -qa x-max-length=10 -z 0");
        assert_eq!((o.rate, o.confirm, o.pmessages, o.exchange.as_deref()), (None, None, None, Some("")));
        assert_eq!((o.publishing_interval, o.uris.len(), o.time), (Some(0.5), 2, None));
        assert_eq!(o.pace(), Some(2.0));
        assert_eq!(options("").pace(), None);
    }

    #[test]
    fn wrong_options_say_why() {
        for (line, expected) in [
            ("-Z", "invalid option '-Z'"),
            ("--nonsense", "invalid option '--nonsense'"),
            ("nonsense", "nonsense: an option is expected"),
            ("-x", "missing argument for option '-x'"),
            ("-x many", "--producers: many: a whole number is expected, and not too large a one"),
            ("-X 0", "--producer-channel-count: 0: a whole number above 0 is expected, and not too large a one"),
            ("-q 70000", "--qos: 70000: a whole number is expected, and not too large a one"),
            ("-f durable", "--flag: durable: persistent or mandatory is expected"),
            ("-r 0", "--rate: 0: more than 0 is expected"),
            ("-r nan", "--rate: nan: not a number"),
            ("-z -1", "--time: -1: seconds are expected"),
            ("-ad maybe", "--auto-delete: maybe: true or false is expected"),
            ("-qa x", "--queue-args: x: key=value is expected"),
            ("-h http://x", "--uri: http://x: not an AMQP URI: amqp://user:password@host:port/vhost is expected"),
            ("-ms", "--use-millis is PerfTest's and not supported: producers and consumers have the same clock"),
            ("--body x", "--body is PerfTest's and not supported: bodies are made up, see --size"),
            ("-a=1", "unexpected argument for option '--autoack': \"1\""),
        ] {
            match read(line) {
                Err(Failure::Usage(text)) => assert_eq!(text, expected, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
