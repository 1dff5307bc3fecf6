//! A load tool for AMQP 0-9-1 brokers: PerfTest's flags, an event loop of its own, and a comparison of brokers.

// It measures time, opens sockets, reads and writes files and starts programs: what .clippy.toml forbids the broker.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod churn;
mod compare;
mod load;
mod scenarios;

use std::process::ExitCode;

/// `leveret-perf [FLAGS]` loads a broker, `leveret-perf churn …` opens and closes things, `leveret-perf scenarios`
/// lists the rows of the comparison, `leveret-perf compare …` runs them on several brokers.
fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("churn") => churn::main(args.split_off(1)),
        Some("compare") => compare::main(args.split_off(1)),
        Some("scenarios") => scenarios::main(args.split_off(1)),
        _ => load::main(args),
    }
}
