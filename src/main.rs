//! The broker as a program: arguments, configuration, server, signal, exit code.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // arguments and the standard outputs are its own

use std::io::Write;
use std::process::ExitCode;

use leveret::config::args::{self, Request, SnapshotArguments};
use leveret::server::control::request;
use leveret::server::signals::Signals;
use leveret::server::store_command;
use leveret::{Config, Server};

/// The exit code for arguments that nobody understands.
const EXIT_CODE_USAGE: u8 = 2;

fn main() -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    let arguments = match args::parse(std::env::args_os().skip(1)) {
        Ok(Request::Help) => {
            say(args::HELP.trim_end());
            return ExitCode::SUCCESS;
        }
        Ok(Request::Version) => {
            say(&format!("leveret {version}"));
            return ExitCode::SUCCESS;
        }
        Ok(Request::Run(arguments)) => arguments,
        Ok(Request::Snapshot(arguments)) => return done(snapshot(arguments).map(|text| (text, true))),
        Ok(Request::Store(arguments)) => return done(store_command::run(&arguments)),
        Err(text) => {
            eprintln!("leveret: {text} (try --help)");
            return ExitCode::from(EXIT_CODE_USAGE);
        }
    };
    let started = arguments.configure().map_err(|error| error.to_string()).and_then(|(config, warnings)| {
        log_to_stderr(&config);
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        // Before the first client: a signal that comes now must stop the server, not kill it.
        let signals = Signals::install().map_err(|error| format!("cannot take signals: {error}"))?;
        leveret::server::raise_file_limit();
        let shards = config.shards;
        let server = Server::start(config).map_err(|error| error.to_string())?;
        Ok((server, shards, signals))
    });
    let (server, shards, signals) = match started {
        Ok(started) => started,
        Err(text) => {
            eprintln!("leveret: {text}");
            return ExitCode::FAILURE;
        }
    };
    let addresses: Vec<_> = server.local_addrs().iter().map(|address| address.to_string()).collect();
    let shards = if shards == 1 { "1 shard".into() } else { format!("{shards} shards") };
    say(&format!("leveret {version} ready on {} ({shards})", addresses.join(", ")));
    signals.wait();
    log::info!("stopping");
    server.shutdown();
    ExitCode::SUCCESS
}

/// Has a running broker copy its data directory.
fn snapshot(arguments: SnapshotArguments) -> Result<String, String> {
    let (data_dir, target) = arguments.places().map_err(|error| error.to_string())?;
    let data_dir = data_dir.ok_or("the configuration keeps everything in memory: there is nothing to copy")?;
    request::snapshot(&data_dir, &target)
}

/// Says what a command came to, and whether all is well.
fn done(outcome: Result<(String, bool), String>) -> ExitCode {
    match outcome {
        Ok((text, is_well)) => {
            say(text.trim_end());
            if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(text) => {
            eprintln!("leveret: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the standard output. Whoever does not listen does not stop the broker.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line per record: time, level, text.
fn log_to_stderr(config: &Config) {
    env_logger::Builder::new()
        .filter_level(config.log_level)
        .format(|out, record| writeln!(out, "{} {:<5} {}", out.timestamp_millis(), record.level(), record.args()))
        .init();
}
