//! Configuration: what the program is told, as validated plain data.
//!
//! A file in the format of rabbitmq.conf ([`file`]), overridden by command-line arguments ([`args`]), becomes a
//! [`Config`]. Nothing here touches the system but the reading of that one file.

pub mod args;
mod draft;
pub mod file;
mod keys;
pub mod memory;
mod not_yet;
pub mod settings;
pub mod store;
mod value;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use log::LevelFilter;

pub use memory::MemoryConfig;
pub use settings::Settings;
pub use store::StoreConfig;

/// The port of AMQP without TLS.
pub const PORT_DEFAULT: u16 = 5672;

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
    /// What the binary logs. The library leaves the logger alone.
    pub log_level: LevelFilter,
    /// The directory of the durable store, made where it is missing; one broker at a time may have it. `None`:
    /// everything lives in memory and ends with the server.
    pub data_dir: Option<PathBuf>,
    /// How the durable store works, where there is one.
    pub store: StoreConfig,
    /// How much memory the process may take before publishers have to wait.
    pub memory: MemoryConfig,
    /// What the shards need to know.
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, PORT_DEFAULT)),
            ],
            shards: 1,
            log_level: LevelFilter::Info,
            data_dir: None,
            store: StoreConfig::default(),
            memory: MemoryConfig::default(),
            settings: Settings::default(),
        }
    }
}

/// Something in a configuration file that does not do what its author may expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is to be known, with the key.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// Why a configuration cannot be used: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 when the file as a whole is at fault.
    pub line: usize,
    /// What is wrong and what is expected.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}: {}", self.file, self.text),
        }
    }
}

impl std::error::Error for ConfigError {}
