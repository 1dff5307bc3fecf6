//! The command line: what it may contain, and how it changes the configuration.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use log::LevelFilter;

use super::env::Environment;
use super::file::{Place, Setting};
use super::store::DATA_DIR_DEFAULT;
use super::{Config, ConfigError, PORT_DEFAULT, Remark, SHARDS_MAX, draft, value};

/// What `--help` prints.
pub const HELP: &str = "\
Leveret, a message broker that speaks RabbitMQ's AMQP 0-9-1

Usage: leveret [OPTIONS]
       leveret config check [OPTIONS]
       leveret config show [OPTIONS]
       leveret snapshot TARGET [--data-dir DIR] [--config FILE]
       leveret store inspect DIR
       leveret store repair DIR

Options:
      --listen ADDR[:PORT]  Listen on this IP address; repeatable [default: 127.0.0.1 and ::1]
  -p, --port PORT           The port where none is given; 0 lets the system choose [default: 5672]
      --http-port PORT      The port of the HTTP API; not honoured yet
      --prometheus-port PORT The port of Prometheus's metrics; not honoured yet
      --tls-port PORT       The port of AMQP with TLS; not honoured yet
      --shards N            Event loops, each with a thread of its own, 1 to 64 [default: 1]
      --data-dir DIR        Keep durable queues and messages in this directory [default: leveret-data]
      --in-memory           Keep everything in memory only
  -c, --config FILE         Read FILE, in the format of rabbitmq.conf, and conf.d/*.conf beside it
      --log-level LEVEL     error, warning, info, debug, trace or none [default: info]
  -h, --help                Print this help
  -V, --version             Print the version

Options override RabbitMQ's environment variables (RABBITMQ_NODE_PORT and others), and these the configuration files.

leveret config check says everything that is wrong with the configuration; exit code 0 if nothing is, else 78
leveret config show prints what the configuration files say in the end, without secrets
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
    /// Something about the configuration that a broker would have.
    Config(ConfigCommand, Arguments),
    /// A copy of a running broker's data directory.
    Snapshot(SnapshotArguments),
    /// Something about a data directory.
    Store(StoreArguments),
}

/// What `leveret config` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Says what is wrong with it.
    Check,
    /// Prints it.
    Show,
}

/// The options of a broker, as given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    listen: Vec<(IpAddr, Option<u16>)>,
    port: Option<u16>,
    http_port: Option<u16>,
    prometheus_port: Option<u16>,
    tls_port: Option<u16>,
    shards: Option<usize>,
    store: Option<Keep>,
    config: Option<PathBuf>,
    log_level: Option<LevelFilter>,
}

/// Where a broker keeps durable things.
#[derive(Debug, PartialEq, Eq)]
enum Keep {
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
    let mut command = None;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Request::Version),
            Arg::Long("listen") => {
                let expected = "an IP address with or without a port, such as 127.0.0.1:5672 or [::1]";
                found.listen.push(valued(&mut parser, "--listen", expected, value::address)?);
            }
            Arg::Short('p') | Arg::Long("port") => found.port = Some(port(&mut parser, "--port")?),
            Arg::Long("http-port") => found.http_port = Some(port(&mut parser, "--http-port")?),
            Arg::Long("prometheus-port") => found.prometheus_port = Some(port(&mut parser, "--prometheus-port")?),
            Arg::Long("tls-port") => found.tls_port = Some(port(&mut parser, "--tls-port")?),
            Arg::Long("shards") => {
                let shards = |text: &str| value::integer(text, 1, SHARDS_MAX as u64).map(|count| count as usize);
                found.shards = Some(valued(&mut parser, "--shards", "a number, 1 to 64", shards)?);
            }
            Arg::Long("data-dir") => {
                let directory = Keep::Directory(path(&mut parser, "--data-dir")?);
                found.store = Some(only(found.store, directory)?);
            }
            Arg::Long("in-memory") => found.store = Some(only(found.store, Keep::Memory)?),
            Arg::Short('c') | Arg::Long("config") => found.config = Some(path(&mut parser, "--config")?),
            Arg::Long("log-level") => {
                let expected = "error, warning, info, debug, trace or none";
                found.log_level = Some(valued(&mut parser, "--log-level", expected, value::log_level)?);
            }
            Arg::Value(word) if is_first && word == "config" => {
                let next = parser.next().map_err(|error| error.to_string())?;
                command = Some(match next {
                    Some(Arg::Value(word)) if word == "check" => ConfigCommand::Check,
                    Some(Arg::Value(word)) if word == "show" => ConfigCommand::Show,
                    Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Request::Help),
                    _ => return Err("config is followed by check or show".into()),
                });
            }
            Arg::Value(command) if is_first && command == "snapshot" => return snapshot(parser),
            Arg::Value(command) if is_first && command == "store" => return store(parser),
            other => return Err(other.unexpected().to_string()),
        }
        is_first = false;
    }
    Ok(match command {
        Some(command) => Request::Config(command, found),
        None => Request::Run(found),
    })
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
fn only(before: Option<Keep>, place: Keep) -> Result<Keep, String> {
    let is_memory = |place: &Keep| *place == Keep::Memory;
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

/// The defaults, with the files over them and the environment over these.
fn configured(file: Option<&PathBuf>, environment: &Environment) -> Result<(Config, Vec<Remark>), ConfigError> {
    environment.over(environment.files(file.map(|file| file.as_path())), defaults())
}

impl SnapshotArguments {
    /// The data directory of the running broker, if it has one, and the directory to copy to.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn places(self, environment: &Environment) -> Result<(Option<PathBuf>, PathBuf), ConfigError> {
        let data_dir = match self.data_dir {
            Some(data_dir) => Some(data_dir),
            None => configured(self.config.as_ref(), environment)?.0.data_dir,
        };
        Ok((data_dir, self.target))
    }
}

/// The value of `option`, a port.
fn port(parser: &mut Parser, option: &str) -> Result<u16, String> {
    valued(parser, option, "a number, 0 to 65535", |text| value::integer(text, 0, 65_535).map(|port| port as u16))
}

/// The value of `option`, read by `read`.
fn valued<T>(parser: &mut Parser, option: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let text = parser.value().map_err(|error| error.to_string())?;
    let text = text.to_string_lossy();
    read(&text).ok_or_else(|| format!("bad value of {option}, `{text}`: expected {expected}"))
}

impl Arguments {
    /// What the configuration files say, or the defaults, with the environment and these options over them; and what
    /// is to be known.
    ///
    /// # Errors
    /// When anything of it is wrong: all that is.
    pub fn configure(mut self, environment: &Environment) -> Result<(Config, Vec<Remark>), ConfigError> {
        let (config, mut warnings) = configured(self.config.take().as_ref(), environment)?;
        let place = Place { source: "command line".into(), line: 0 };
        let options = [
            ("--http-port", self.http_port),
            ("--prometheus-port", self.prometheus_port),
            ("--tls-port", self.tls_port),
        ];
        for (option, _) in options.iter().filter(|(_, port)| port.is_some()) {
            warnings.push(place.remark(format!("{option} is not honoured yet")));
        }
        Ok((self.over(config), warnings))
    }

    /// What the configuration files say in the end: the lines that count, with `$(...)` replaced.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings(&self, environment: &Environment) -> Result<Vec<Setting>, ConfigError> {
        let mut files = environment.files(self.config.as_deref());
        files.substitute(environment);
        let (problems, warnings) = (files.problems, files.warnings);
        if problems.is_empty() { Ok(files.settings) } else { Err(ConfigError { problems, warnings }) }
    }

    /// `config` with these options over it.
    fn over(self, mut config: Config) -> Config {
        if !self.listen.is_empty() {
            let port_default = self.port.unwrap_or(PORT_DEFAULT);
            config.listen.clear();
            for (ip, port) in self.listen {
                let address = SocketAddr::new(ip, port.unwrap_or(port_default));
                if !config.listen.contains(&address) {
                    config.listen.push(address);
                }
            }
        } else if let Some(port) = self.port {
            draft::set_port(&mut config.listen, port);
        }
        if let Some(port) = self.http_port {
            config.management.tcp.is_named = true;
            config.management.tcp.port = port;
        }
        if let Some(port) = self.prometheus_port {
            config.prometheus.tcp.is_named = true;
            config.prometheus.tcp.port = port;
        }
        if let Some(port) = self.tls_port {
            config.tls.take_port(port);
        }
        match self.store {
            Some(Keep::Directory(directory)) => config.data_dir = Some(directory),
            Some(Keep::Memory) => config.data_dir = None,
            None => {}
        }
        config.shards = self.shards.unwrap_or(config.shards);
        if let Some(level) = self.log_level {
            config.log.set_level(level);
        }
        config
    }
}

#[cfg(test)]
mod tests;
