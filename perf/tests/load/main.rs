//! The load tool against a broker in this process: what it measures, what it leaves behind, and what it says when
//! something goes wrong.

// Real sockets and processes are what these tests are about.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod failures;
mod loads;
mod peer;
mod proxy;
mod tool;

use leveret::{Config, Server};

/// A server on a port that the system chooses.
fn server(shards: usize) -> Server {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Server::start(Config { listen, shards, ..Config::default() }).expect("the server starts")
}
