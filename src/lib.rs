//! Leveret: a message broker that speaks RabbitMQ's AMQP 0-9-1.
//!
//! The broker is a deterministic machine without I/O ([`shard`]); [`server`] is a thin shell around it that owns
//! sockets, clock and threads, and the simulator in the tests is another. To embed a broker in a program:
//!
//! ```
//! let mut config = leveret::Config::default();
//! config.listen = vec!["127.0.0.1:0".parse().unwrap()];
//! let broker = leveret::Server::start(config).unwrap();
//! println!("amqp://guest:guest@{}/", broker.local_addr());
//! broker.shutdown();
//! ```

pub mod amqp;
pub mod broker;
pub mod config;
pub mod connection;
pub mod limits;
pub mod server;
pub mod shard;
pub mod store;
pub mod time;

pub use broker::access;
pub use config::Config;
pub use server::{Administrator, Server, StartError};
pub use shard::{admin, inspect};

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
