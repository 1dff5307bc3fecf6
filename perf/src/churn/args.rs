//! The command line of `leveret-perf churn`.

use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::uri::Uri;

/// What is opened and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connect, log in, close.
    Connections,
    /// Open a channel, close it.
    Channels,
    /// Declare a queue, delete it.
    Queues,
    /// Bind a queue, unbind it.
    Bindings,
    /// Consume, cancel.
    Consumers,
    /// Declare queues that stay, so many.
    Declare,
}

impl Kind {
    /// Every kind, with its name and what one operation is.
    pub const ALL: [(Kind, &'static str, &'static str); 6] = [
        (Kind::Connections, "connections", "connect, log in, close"),
        (Kind::Channels, "channels", "open a channel, close it"),
        (Kind::Queues, "queues", "declare a queue, delete it"),
        (Kind::Bindings, "bindings", "bind a queue, unbind it"),
        (Kind::Consumers, "consumers", "start a consumer, cancel it"),
        (
            Kind::Declare,
            "declare",
            "declare a queue, --count of them; all are deleted at the end, which is not measured",
        ),
    ];

    /// The kind's name.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }
}

/// Everything that the command line sets.
#[derive(Debug, Clone)]
pub struct Args {
    pub kind: Kind,
    pub uri: Uri,
    pub time: Duration,
    pub warmup: Duration,
    /// Queues to declare (kind `declare`).
    pub count: u32,
    /// Operations under way at once, on each connection (kind `connections`: connections at once; kind `declare`: on
    /// one channel).
    pub in_flight: u16,
    pub connections: u16,
    /// Queues are durable, and not exclusive.
    pub durable: bool,
    pub json: Option<PathBuf>,
    pub broker_pid: Option<u32>,
    pub id: Option<String>,
    pub quiet: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    Run(Box<Args>),
    Help,
}

pub fn help() -> String {
    let mut text = String::from(
        "\
Opens and closes things at full speed.

leveret-perf churn KIND [OPTIONS]

One operation of each KIND:
",
    );
    for (_, name, about) in Kind::ALL {
        text += &format!("  {name:<12} {about}\n");
    }
    text += "
The steps of an operation follow one another as answers come. Nothing is left behind on the broker. Operations under way
at once have a channel each, but those of declare share one.

  -h, --uri URI         the broker; default amqp://guest:guest@localhost:5672
  -z, --time S          seconds to measure (not for declare); default 10
      --warmup S        seconds before, not measured (not for declare); default 1
      --in-flight N     operations under way at once on each connection (connections: at once); default 1
      --count N         queues to declare (declare); default 10000
      --connections N   connections, each with a thread (not for connections); default 1
      --durable         queues are durable and not exclusive (queues, declare)
      --json FILE       write the result there; - is the standard output
      --broker-pid PID  also measure CPU and memory of this process
  -d, --id TEXT         a name for the run, repeated in the result
      --quiet           print no summary
      --help            this text

Exit status: 0 good, 1 the run failed or was interrupted, 2 wrong usage.
";
    text
}

/// Reads the command line behind `churn`.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn parse(args: Vec<String>) -> Result<Asked, String> {
    let mut kind = None;
    let mut uri_text = "amqp://guest:guest@localhost:5672".to_owned();
    let (mut time, mut warmup, mut count) = (None, None, None);
    let (mut in_flight, mut connections) = (1, None);
    let (mut durable, mut quiet, mut json, mut broker_pid, mut id) = (false, false, None, None, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Long("help") => return Ok(Asked::Help),
            Short('h') | Long("uri") => uri_text = value(&mut parser, "--uri")?,
            Short('z') | Long("time") => time = Some(seconds("--time", &value(&mut parser, "--time")?)?),
            Long("warmup") => warmup = Some(seconds("--warmup", &value(&mut parser, "--warmup")?)?),
            Long("in-flight") => in_flight = number("--in-flight", &value(&mut parser, "--in-flight")?, 1, 2000)?,
            Long("connections") => {
                connections = Some(number("--connections", &value(&mut parser, "--connections")?, 1, 256)?)
            }
            Long("count") => count = Some(number("--count", &value(&mut parser, "--count")?, 1, 10_000_000)?),
            Long("durable") => durable = true,
            Long("json") => json = Some(PathBuf::from(value(&mut parser, "--json")?)),
            Long("broker-pid") => {
                broker_pid = Some(number("--broker-pid", &value(&mut parser, "--broker-pid")?, 1, u32::MAX)?)
            }
            Short('d') | Long("id") => id = Some(value(&mut parser, "--id")?),
            Long("quiet") => quiet = true,
            Value(name) if kind.is_none() => {
                let name = name.string().map_err(|error| error.to_string())?;
                let found = Kind::ALL.iter().find(|(_, known, _)| *known == name);
                kind = Some(found.ok_or_else(|| format!("{name}: unknown, there are {}", names()))?.0);
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let kind = kind.ok_or_else(|| format!("what to open and close is missing: {}", names()))?;
    if time.is_some_and(|time| time.is_zero()) {
        return Err("--time: must be more than 0".into());
    }
    for (given, name, meant) in [
        (durable, "--durable", matches!(kind, Kind::Queues | Kind::Declare)),
        (connections.is_some(), "--connections", kind != Kind::Connections),
        (count.is_some(), "--count", kind == Kind::Declare),
        (time.is_some(), "--time", kind != Kind::Declare),
        (warmup.is_some(), "--warmup", kind != Kind::Declare),
    ] {
        if given && !meant {
            return Err(format!("{name} means nothing for {}", kind.name()));
        }
    }
    Ok(Asked::Run(Box::new(Args {
        kind,
        uri: Uri::parse(&uri_text)?,
        time: time.unwrap_or(Duration::from_secs(10)),
        warmup: warmup.unwrap_or(Duration::from_secs(1)),
        count: count.unwrap_or(10_000),
        in_flight,
        connections: connections.unwrap_or(1),
        durable,
        json,
        broker_pid,
        id,
        quiet,
    })))
}

fn names() -> String {
    Kind::ALL.map(|(_, name, _)| name).join(", ")
}

/// The value of the option that was just read.
pub fn value(parser: &mut lexopt::Parser, name: &str) -> Result<String, String> {
    parser.value().map_err(|error| error.to_string())?.string().map_err(|error| format!("{name}: {error}"))
}

/// A number of seconds, with decimals, up to a week.
pub fn seconds(name: &str, text: &str) -> Result<Duration, String> {
    let week = 7.0 * 86400.0;
    match text.parse::<f64>() {
        Ok(value) if (0.0..=week).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err(format!("{name}: {text} is no number of seconds")),
    }
}

/// A whole number between bounds.
pub fn number<T>(name: &str, text: &str, min: T, max: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => Err(format!("{name}: {text} is no number from {min} to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_read() {
        let Ok(Asked::Run(args)) = read("queues -h amqp://h:7 -z 0.5 --in-flight 20 --durable --json - --quiet -d x")
        else {
            panic!("not read");
        };
        assert_eq!((args.kind, args.uri.port, args.time), (Kind::Queues, 7, Duration::from_millis(500)));
        assert_eq!((args.in_flight, args.connections, args.durable, args.quiet), (20, 1, true, true));
        let Ok(Asked::Run(args)) = read("declare --durable --count 7 --connections 2 --in-flight 3") else {
            panic!("not read");
        };
        assert_eq!((args.kind, args.count, args.durable, args.in_flight), (Kind::Declare, 7, true, 3));
        assert!(matches!(read("queues --help"), Ok(Asked::Help)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("", "missing: connections, channels"),
            ("trees", "trees: unknown"),
            ("queues bindings", "unexpected argument"),
            ("queues --time x", "--time: x is no number of seconds"),
            ("queues --time 0", "more than 0"),
            ("queues --in-flight 0", "--in-flight: 0 is no number from 1 to 2000"),
            ("channels --durable", "--durable means nothing for channels"),
            ("queues --count 3", "--count means nothing for queues"),
            ("declare -z 3", "--time means nothing for declare"),
            ("declare --warmup 3", "--warmup means nothing for declare"),
            ("declare --count 0", "--count: 0 is no number from 1 to 10000000"),
            ("connections --connections 3", "--connections means nothing for connections"),
            ("queues -h http://x", "not an AMQP URI"),
            ("queues --wait", "invalid option"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
