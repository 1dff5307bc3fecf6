//! The command line: what it may contain, and how it changes the configuration.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use log::LevelFilter;

use super::store::DATA_DIR_DEFAULT;
use super::{Config, ConfigError, PORT_DEFAULT, SHARDS_MAX, Warning, file, value};

/// What `--help` prints.
pub const HELP: &str = "\
Leveret, a message broker that speaks RabbitMQ's AMQP 0-9-1

Usage: leveret [OPTIONS]
       leveret snapshot TARGET [--data-dir DIR] [--config FILE]
       leveret store inspect DIR
       leveret store repair DIR

Options:
      --listen ADDR[:PORT]  Listen on this IP address; repeatable [default: 127.0.0.1 and ::1]
  -p, --port PORT           The port where none is given; 0 lets the system choose [default: 5672]
      --shards N            Event loops, each with a thread of its own, 1 to 64 [default: 1]
      --data-dir DIR        Keep durable queues and messages in this directory [default: leveret-data]
      --in-memory           Keep everything in memory only
  -c, --config FILE         Read FILE, in the format of rabbitmq.conf; other options override it
      --log-level LEVEL     error, warning, info, debug, trace or none [default: info]
  -h, --help                Print this help
  -V, --version             Print the version

leveret snapshot has the running broker of that data directory copy it to the directory TARGET
leveret store inspect prints what is in a data directory, and checks all of it; it changes nothing
leveret store repair sets aside what is damaged in a data directory that no broker uses, and says what was lost
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
    /// A copy of a running broker's data directory.
    Snapshot(SnapshotArguments),
    /// Something about a data directory.
    Store(StoreArguments),
}

/// The options of a broker, as given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    listen: Vec<(IpAddr, Option<u16>)>,
    port: Option<u16>,
    shards: Option<usize>,
    store: Option<Place>,
    config: Option<PathBuf>,
    log_level: Option<LevelFilter>,
}

/// Where a broker keeps durable things.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Memory,
    Directory(PathBuf),
}

/// What `leveret snapshot` is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SnapshotArguments {
    target: PathBuf,
    data_dir: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What `leveret store` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCommand {
    /// Prints what is there, and checks it.
    Inspect,
    /// Sets aside what is damaged.
    Repair,
}

/// What `leveret store` is given.
#[derive(Debug, PartialEq, Eq)]
pub struct StoreArguments {
    /// What to do.
    pub command: StoreCommand,
    /// The data directory.
    pub directory: PathBuf,
}

/// Reads the arguments behind the program's name. An error is one line for the user.
pub fn parse<I>(arguments: I) -> Result<Request, String>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut parser = Parser::from_args(arguments);
    let mut found = Arguments::default();
    let mut is_first = true;
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
            Arg::Long("data-dir") => {
                let directory = Place::Directory(path(&mut parser, "--data-dir")?);
                found.store = Some(only(found.store, directory)?);
            }
            Arg::Long("in-memory") => found.store = Some(only(found.store, Place::Memory)?),
            Arg::Short('c') | Arg::Long("config") => found.config = Some(path(&mut parser, "--config")?),
            Arg::Long("log-level") => {
                let expected = "error, warning, info, debug, trace or none";
                found.log_level = Some(valued(&mut parser, "--log-level", expected, value::log_level)?);
            }
            Arg::Value(command) if is_first && command == "snapshot" => return snapshot(parser),
            Arg::Value(command) if is_first && command == "store" => return store(parser),
            other => return Err(other.unexpected().to_string()),
        }
        is_first = false;
    }
    Ok(Request::Run(found))
}

/// Reads what follows `snapshot`.
fn snapshot(mut parser: Parser) -> Result<Request, String> {
    let mut found = SnapshotArguments::default();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Long("data-dir") => found.data_dir = Some(path(&mut parser, "--data-dir")?),
            Arg::Short('c') | Arg::Long("config") => found.config = Some(path(&mut parser, "--config")?),
            Arg::Value(target) if found.target.as_os_str().is_empty() && !target.is_empty() => {
                found.target = target.into();
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if found.target.as_os_str().is_empty() {
        return Err("snapshot needs a directory to copy to".into());
    }
    Ok(Request::Snapshot(found))
}

/// Reads what follows `store`.
fn store(mut parser: Parser) -> Result<Request, String> {
    let mut words: Vec<OsString> = vec![];
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Value(word) if words.len() < 2 && !word.is_empty() => words.push(word),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let mut words = words.into_iter();
    let command = match words.next() {
        Some(word) if word == "inspect" => StoreCommand::Inspect,
        Some(word) if word == "repair" => StoreCommand::Repair,
        _ => return Err("store is followed by inspect or repair, and a data directory".into()),
    };
    let directory = words.next().ok_or("store needs a data directory")?.into();
    Ok(Request::Store(StoreArguments { command, directory }))
}

/// `place`, if no other was named before. The last of several directories counts, as with other options.
fn only(before: Option<Place>, place: Place) -> Result<Place, String> {
    let is_memory = |place: &Place| *place == Place::Memory;
    match before {
        Some(before) if is_memory(&before) != is_memory(&place) => {
            Err("--data-dir and --in-memory exclude each other".into())
        }
        _ => Ok(place),
    }
}

/// The value of `option`, a path.
fn path(parser: &mut Parser, option: &str) -> Result<PathBuf, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    if value.is_empty() { Err(format!("{option} is empty")) } else { Ok(value.into()) }
}

/// What the binary runs with when nobody says anything.
fn defaults() -> Config {
    Config { data_dir: Some(DATA_DIR_DEFAULT.into()), ..Config::default() }
}

/// The defaults, with the file over them if there is one.
fn configured(file: Option<&PathBuf>) -> Result<(Config, Vec<Warning>), ConfigError> {
    match file {
        Some(path) => file::load(path, defaults()),
        None => Ok((defaults(), vec![])),
    }
}

impl SnapshotArguments {
    /// The data directory of the running broker, if it has one, and the directory to copy to.
    ///
    /// # Errors
    /// When the configuration file cannot be used.
    pub fn places(self) -> Result<(Option<PathBuf>, PathBuf), ConfigError> {
        let data_dir = match self.data_dir {
            Some(data_dir) => Some(data_dir),
            None => configured(self.config.as_ref())?.0.data_dir,
        };
        Ok((data_dir, self.target))
    }
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
        let (config, warnings) = configured(self.config.as_ref())?;
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
        match self.store {
            Some(Place::Directory(directory)) => config.data_dir = Some(directory),
            Some(Place::Memory) => config.data_dir = None,
            None => {}
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
            Ok(Request::Snapshot(arguments)) => {
                let (data_dir, target) = arguments.places().unwrap();
                format!("{:?} to {}", data_dir.unwrap_or_default(), target.display())
            }
            Ok(Request::Store(arguments)) => format!("{:?} {}", arguments.command, arguments.directory.display()),
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
            ("--data-dir", "missing argument for option '--data-dir'"),
            ("--data-dir=", "--data-dir is empty"),
            ("--data-dir d --in-memory", "--data-dir and --in-memory exclude each other"),
            ("--in-memory --data-dir d", "--data-dir and --in-memory exclude each other"),
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
    fn durable_things_lie_where_the_nearest_says() {
        let file = |text| file::parse("x", text, defaults()).unwrap().0;
        for (line, text, expected) in [
            ("", "", Some("leveret-data")),
            ("--in-memory", "", None),
            ("--data-dir a --data-dir b", "", Some("b")),
            ("", "store.dir = c", Some("c")),
            ("", "store.dir = none", None),
            ("--data-dir a", "store.dir = none", Some("a")),
            ("--in-memory", "store.dir = c", None),
        ] {
            let Ok(Request::Run(arguments)) = parse(line.split_whitespace()) else { panic!("{line}") };
            assert_eq!(arguments.over(file(text)).data_dir, expected.map(PathBuf::from), "{line} {text}");
        }
        assert_eq!(Config::default().data_dir, None, "a program that embeds a broker asks for one");
    }

    #[test]
    fn snapshots() {
        for (line, expected) in [
            ("snapshot t", "\"leveret-data\" to t"),
            ("snapshot --data-dir d t", "\"d\" to t"),
            ("snapshot", "snapshot needs a directory to copy to"),
            ("snapshot a b", "unexpected argument \"b\""),
            ("snapshot t --port 1", "invalid option '--port'"),
            ("--port 1 snapshot t", "unexpected argument \"snapshot\""),
            ("snapshot --help", "help"),
        ] {
            assert_eq!(show(line, Config::default()), expected, "{line}");
        }
    }

    #[test]
    fn store_commands() {
        let which = "store is followed by inspect or repair, and a data directory";
        for (line, expected) in [
            ("store inspect d", "Inspect d"),
            ("store repair d", "Repair d"),
            ("store", which),
            ("store mend d", which),
            ("store d", which),
            ("store inspect", "store needs a data directory"),
            ("store inspect a b", "unexpected argument \"b\""),
            ("store repair d --force", "invalid option '--force'"),
            ("--port 1 store inspect d", "unexpected argument \"store\""),
            ("store repair --help", "help"),
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
            let (config, _) = file::parse("x", text, Config::default()).unwrap();
            assert_eq!(show(line, config), expected, "{line}");
        }
    }
}
