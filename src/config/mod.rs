//! Configuration: what the program is told, as validated plain data.
//!
//! Files in the format of rabbitmq.conf ([`file`]), overridden by RabbitMQ's environment variables ([`env`]) and these
//! by command-line arguments ([`args`]), become a [`Config`]. Nothing here touches the system but the reading of files.

pub mod args;
pub mod command;
mod draft;
pub mod env;
pub mod file;
pub mod http;
mod keys;
mod known;
mod lines;
pub mod log;
pub mod memory;
mod node;
mod not_yet;
mod pending;
pub mod settings;
pub mod store;
pub mod tls;
pub mod users;
mod value;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub use http::HttpConfig;
pub use log::LogConfig;
pub use memory::MemoryConfig;
pub use settings::Settings;
pub use store::StoreConfig;
pub use tls::TlsConfig;
pub use users::UsersConfig;

/// The port of AMQP without TLS.
pub const PORT_DEFAULT: u16 = 5672;

/// The port of the HTTP API.
pub const MANAGEMENT_PORT_DEFAULT: u16 = 15_672;

/// The port of the HTTP API with TLS.
pub const MANAGEMENT_TLS_PORT_DEFAULT: u16 = 15_671;

/// The port of Prometheus's metrics.
pub const PROMETHEUS_PORT_DEFAULT: u16 = 15_692;

/// The port of Prometheus's metrics with TLS.
pub const PROMETHEUS_TLS_PORT_DEFAULT: u16 = 15_691;

/// What a broker is called when nobody says another name.
pub const NODE_NAME_DEFAULT: &str = "leveret@localhost";

/// The most shards a server may have.
pub const SHARDS_MAX: usize = 64;

/// What a server is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on. Port 0 lets the system choose; loopback and wildcard addresses with port 0 then share
    /// one port. An IPv6 loopback or wildcard address is skipped where IPv6 is missing, if IPv4 stands beside it.
    pub listen: Vec<SocketAddr>,
    /// Shards, each with a thread and an event loop of its own: 1 to [`SHARDS_MAX`].
    pub shards: usize,
    /// What the broker is called, `name@host` as RabbitMQ's nodes are. Without a cluster it is only a name.
    pub node_name: String,
    /// What the binary logs, and where. The library leaves the logger alone.
    pub log: LogConfig,
    /// The file that the binary writes the number of its process into, when it listens.
    pub pid_file: Option<PathBuf>,
    /// Whether that file stays at a stop.
    pub keep_pid_file: bool,
    /// The directory of the durable store, made where it is missing; one broker at a time may have it. `None`:
    /// everything lives in memory and ends with the server.
    pub data_dir: Option<PathBuf>,
    /// How the durable store works, where there is one.
    pub store: StoreConfig,
    /// How much memory the process may take before publishers have to wait.
    pub memory: MemoryConfig,
    /// What the shards need to know.
    pub settings: Settings,
    /// TLS for AMQP. Nothing honours it yet.
    pub tls: TlsConfig,
    /// Whether connections begin with a header of the PROXY protocol. Nothing honours it yet.
    pub proxy_protocol: bool,
    /// The HTTP API's listeners. Nothing honours them yet.
    pub management: HttpConfig,
    /// The listeners of Prometheus's metrics. Nothing honours them yet.
    pub prometheus: HttpConfig,
    /// Users, permissions and limits of the first start. Nothing honours them yet.
    pub users: UsersConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, PORT_DEFAULT)),
            ],
            shards: 1,
            node_name: NODE_NAME_DEFAULT.into(),
            log: LogConfig::default(),
            pid_file: None,
            keep_pid_file: false,
            data_dir: None,
            store: StoreConfig::default(),
            memory: MemoryConfig::default(),
            settings: Settings::default(),
            tls: TlsConfig::default(),
            proxy_protocol: false,
            management: HttpConfig::new(MANAGEMENT_PORT_DEFAULT, MANAGEMENT_TLS_PORT_DEFAULT, "/"),
            prometheus: HttpConfig::new(PROMETHEUS_PORT_DEFAULT, PROMETHEUS_TLS_PORT_DEFAULT, "/metrics"),
            users: UsersConfig::default(),
        }
    }
}

/// Something to be said about a configuration: what is wrong, or what does not do what its author may expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The file, as it was named, or `environment` or `command line`.
    pub file: String,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// What is to be known, with the key.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}: {}", self.file, self.text),
        }
    }
}

/// Why a configuration cannot be used: one line for each problem, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong.
    pub problems: Vec<Remark>,
    /// What is to be known beside.
    pub warnings: Vec<Remark>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let between = if place == 0 { "" } else { "\n" };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
