//! The command line: what it may contain, and how it changes the configuration.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use log::LevelFilter;

use super::{Config, ConfigError, PORT_DEFAULT, SHARDS_MAX, Warning, file, value};

/// What `--help` prints.
pub const HELP: &str = "\
Leveret, a message broker that speaks RabbitMQ's AMQP 0-9-1

Usage: leveret [OPTIONS]

Options:
      --listen ADDR[:PORT]  Listen on this IP address; repeatable [default: 127.0.0.1 and ::1]
  -p, --port PORT           The port where none is given; 0 lets the system choose [default: 5672]
      --shards N            Event loops, each with a thread of its own, 1 to 64 [default: 1]
  -c, --config FILE         Read FILE, in the format of rabbitmq.conf; other options override it
      --log-level LEVEL     error, warning, info, debug, trace or none [default: info]
  -h, --help                Print this help
  -V, --version             Print the version
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// The help text.
    Help,
    /// The version.
    Version,
    /// A broker.
    Run(Arguments),
}

/// The options of a broker, as given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    listen: Vec<(IpAddr, Option<u16>)>,
    port: Option<u16>,
    shards: Option<usize>,
    config: Option<PathBuf>,
    log_level: Option<LevelFilter>,
}

/// Reads the arguments behind the program's name. An error is one line for the user.
pub fn parse<I>(arguments: I) -> Result<Request, String>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut parser = Parser::from_args(arguments);
    let mut found = Arguments::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Long("listen") => {
                let expected = "an IP address with or without a port, such as 127.0.0.1:5672 or [::1]";
                found.listen.push(valued(&mut parser, "--listen", expected, value::address)?);
            }
            Arg::Short('p') | Arg::Long("port") => {
                let port = |text: &str| value::integer(text, 0, 65_535).map(|port| port as u16);
                found.port = Some(valued(&mut parser, "--port", "a number, 0 to 65535", port)?);
            }
            Arg::Long("shards") => {
                let shards = |text: &str| value::integer(text, 1, SHARDS_MAX as u64).map(|count| count as usize);
                found.shards = Some(valued(&mut parser, "--shards", "a number, 1 to 64", shards)?);
            }
            Arg::Short('c') | Arg::Long("config") => {
                found.config = Some(parser.value().map_err(|error| error.to_string())?.into());
            }
            Arg::Long("log-level") => {
                let expected = "error, warning, info, debug, trace or none";
                found.log_level = Some(valued(&mut parser, "--log-level", expected, value::log_level)?);
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Request::Run(found))
}

/// The value of `option`, read by `read`.
fn valued<T>(parser: &mut Parser, option: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let text = parser.value().map_err(|error| error.to_string())?;
    let text = text.to_string_lossy();
    read(&text).ok_or_else(|| format!("bad value of {option}, `{text}`: expected {expected}"))
}

impl Arguments {
    /// The configuration file's settings, or the defaults, with these options over them.
    pub fn configure(self) -> Result<(Config, Vec<Warning>), ConfigError> {
        let (config, warnings) = match &self.config {
            Some(path) => file::load(path)?,
            None => (Config::default(), vec![]),
        };
        Ok((self.over(config), warnings))
    }

    /// `config` with these options over it.
    fn over(self, mut config: Config) -> Config {
        let mut listen = std::mem::take(&mut config.listen);
        if !self.listen.is_empty() {
            let port_default = self.port.unwrap_or(PORT_DEFAULT);
            let addresses = self.listen.into_iter();
            listen = addresses.map(|(ip, port)| SocketAddr::new(ip, port.unwrap_or(port_default))).collect();
        } else if let Some(port) = self.port {
            listen.iter_mut().for_each(|address| address.set_port(port));
        }
        // One port for all may have made two of them the same.
        for address in listen {
            if !config.listen.contains(&address) {
                config.listen.push(address);
            }
        }
        config.shards = self.shards.unwrap_or(config.shards);
        config.log_level = self.log_level.unwrap_or(config.log_level);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(line: &str, config: Config) -> String {
        match parse(line.split_whitespace()) {
            Ok(Request::Help) => "help".into(),
            Ok(Request::Version) => "version".into(),
            Ok(Request::Run(arguments)) => {
                let file = arguments.config.clone();
                let config = arguments.over(config);
                let listen: Vec<_> = config.listen.iter().map(|address| address.to_string()).collect();
                format!("{} {} {} {}", listen.join(","), config.shards, config.log_level, file.is_some())
            }
            Err(text) => text,
        }
    }

    #[test]
    fn options_over_the_defaults() {
        for (line, expected) in [
            ("", "127.0.0.1:5672,[::1]:5672 1 INFO false"),
            ("--port 0", "127.0.0.1:0,[::1]:0 1 INFO false"),
            ("-p 1234", "127.0.0.1:1234,[::1]:1234 1 INFO false"),
            ("--port=1234 --shards=64", "127.0.0.1:1234,[::1]:1234 64 INFO false"),
            ("--listen 0.0.0.0", "0.0.0.0:5672 1 INFO false"),
            ("--listen 0.0.0.0 --listen [::]:7 --port 8", "0.0.0.0:8,[::]:7 1 INFO false"),
            ("--listen ::1 --listen ::1", "[::1]:5672 1 INFO false"),
            ("--config x.conf --log-level warning", "127.0.0.1:5672,[::1]:5672 1 WARN true"),
            ("--log-level none", "127.0.0.1:5672,[::1]:5672 1 OFF false"),
            ("--help --nonsense", "help"),
            ("-V", "version"),
            ("--nonsense", "invalid option '--nonsense'"),
            ("server", "unexpected argument \"server\""),
            ("--port", "missing argument for option '--port'"),
            ("--port 65536", "bad value of --port, `65536`: expected a number, 0 to 65535"),
            ("--shards 0", "bad value of --shards, `0`: expected a number, 1 to 64"),
            ("--shards 65", "bad value of --shards, `65`: expected a number, 1 to 64"),
            (
                "--listen localhost",
                "bad value of --listen, `localhost`: expected an IP address with or without a port, such as \
                 127.0.0.1:5672 or [::1]",
            ),
            (
                "--log-level loud",
                "bad value of --log-level, `loud`: expected error, warning, info, debug, trace or none",
            ),
        ] {
            assert_eq!(show(line, Config::default()), expected, "{line}");
        }
    }

    #[test]
    fn options_over_a_file() {
        let text =
            "listeners.tcp.1 = 10.0.0.1:1\nlisteners.tcp.2 = 10.0.0.1:2\nserver.shards = 3\nlog.console.level = debug";
        for (line, expected) in [
            ("", "10.0.0.1:1,10.0.0.1:2 3 DEBUG false"),
            ("--port 9", "10.0.0.1:9 3 DEBUG false"),
            ("--listen ::1", "[::1]:5672 3 DEBUG false"),
            ("--shards 1 --log-level error", "10.0.0.1:1,10.0.0.1:2 1 ERROR false"),
        ] {
            let (config, _) = file::parse("x", text).unwrap();
            assert_eq!(show(line, config), expected, "{line}");
        }
    }
}
