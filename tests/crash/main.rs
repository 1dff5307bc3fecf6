//! The broker loses its power, its disk and its temper: real processes, real files, real file systems.
//!
//! `LEVERET_CRASH_LONG=1` asks for the long form, `LEVERET_CRASH_SEED=n` for another course of events. What a machine
//! does not allow (mounts, strace) is skipped, and says so on the standard error output (`--nocapture`).

// Real processes, sockets, files and time are what these tests are about.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod bad_dirs;
mod broker;
#[path = "../embedded/client.rs"]
#[allow(dead_code)] // shared with the tests of embedding, which use all of it
mod client;
mod cut;
mod damage;
mod definitions;
mod faults;
mod full;
mod kill;
mod link;
mod load;
mod message;
mod place;
mod reports;
mod rng;
mod small;
mod tools;
mod truth;
mod upgrade;
mod written;

/// Whether the long form is asked for.
fn long() -> bool {
    std::env::var_os("LEVERET_CRASH_LONG").is_some_and(|value| value != "0")
}

/// One of two numbers: for the short form, and for the long one.
fn rounds(short: usize, in_long: usize) -> usize {
    if long() { in_long } else { short }
}

/// The seed of a test; printed, to be seen when it fails.
fn seed(test: &str) -> u64 {
    let seed = std::env::var("LEVERET_CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("{test}: LEVERET_CRASH_SEED={seed}");
    rng::mix(test.bytes().fold(seed, |seed, byte| rng::mix(seed ^ u64::from(byte))))
}

/// Says why a test, or a part of one, is not run.
fn skip(test: &str, reason: &str) {
    eprintln!("{test}: skipped: {reason}");
}
