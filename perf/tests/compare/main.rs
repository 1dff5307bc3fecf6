//! The tool as a process: `leveret-perf compare`, `churn` and `scenarios`, with brokers that are processes of this very
//! test program, and a load program that is a script.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it starts programs, and reads what they write

mod churn;
mod failures;
mod report;
mod world;

use leveret::{Config, Server};
use std::thread;
use std::time::Duration;

/// Not a test: a broker, when another test starts this program with a port in its environment.
#[test]
#[ignore = "a broker for the other tests"]
fn broker_process() {
    let Ok(port) = std::env::var(world::PORT_VARIABLE) else { return };
    let listen = format!("127.0.0.1:{port}").parse().expect("a port");
    let _server = Server::start(Config { listen: vec![listen], ..Config::default() }).expect("started");
    loop {
        thread::sleep(Duration::from_secs(3600)); // until it is stopped
    }
}
