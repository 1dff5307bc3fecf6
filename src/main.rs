//! The broker as a program: arguments, configuration, server, signal, exit code.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // arguments and the standard outputs are its own

use std::io::Write;
use std::process::ExitCode;

use leveret::Server;
use leveret::config::args::{self, Arguments, Request, SnapshotArguments};
use leveret::config::command;
use leveret::config::env::Environment;
use leveret::server::control::request;
use leveret::server::logger;
use leveret::server::pid_file::PidFile;
use leveret::server::signals::Signals;
use leveret::server::store_command;

/// The exit code for arguments that nobody understands.
const EXIT_CODE_USAGE: u8 = 2;

/// The exit code for a configuration that cannot be used: EX_CONFIG of sysexits.h.
const EXIT_CODE_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let environment = Environment::new(std::env::vars_os());
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Request::Help) => done(Ok((args::HELP.into(), true))),
        Ok(Request::Version) => done(Ok((concat!("leveret ", env!("CARGO_PKG_VERSION")).into(), true))),
        Ok(Request::Run(arguments)) => run(arguments, &environment).unwrap_or_else(|code| code),
        Ok(Request::Config(command, arguments)) => {
            let (text, is_good) = command::run(command, arguments, &environment);
            say(&text);
            if is_good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CODE_CONFIG) }
        }
        Ok(Request::Snapshot(arguments)) => done(snapshot(arguments, &environment).map(|text| (text, true))),
        Ok(Request::Store(arguments)) => done(store_command::run(&arguments)),
        Err(text) => {
            eprintln!("leveret: {text} (try --help)");
            ExitCode::from(EXIT_CODE_USAGE)
        }
    }
}

/// A broker, from its configuration to the signal that stops it.
fn run(arguments: Arguments, environment: &Environment) -> Result<ExitCode, ExitCode> {
    let (config, warnings) = arguments.configure(environment).map_err(|error| {
        error.problems.iter().for_each(|problem| eprintln!("leveret: {problem}"));
        ExitCode::from(EXIT_CODE_CONFIG)
    })?;
    let fail = |text: String| {
        eprintln!("leveret: {text}");
        ExitCode::FAILURE
    };
    logger::init(&config.log).map_err(fail)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    // Before the first client: a signal that comes now must stop the server, not kill it.
    let signals = Signals::install().map_err(|error| fail(format!("cannot take signals: {error}")))?;
    leveret::server::raise_file_limit();
    let (shards, pid_file, is_kept) = (config.shards, config.pid_file.clone(), config.keep_pid_file);
    let server = Server::start(config).map_err(|error| fail(error.to_string()))?;
    let pid_file = pid_file.map(|path| PidFile::write(path, is_kept)).transpose().map_err(fail)?;
    let addresses: Vec<_> = server.local_addrs().iter().map(|address| address.to_string()).collect();
    let shards = if shards == 1 { "1 shard".into() } else { format!("{shards} shards") };
    say(&format!("leveret {} ready on {} ({shards})", env!("CARGO_PKG_VERSION"), addresses.join(", ")));
    signals.wait();
    log::info!("stopping");
    server.shutdown();
    drop(pid_file);
    Ok(ExitCode::SUCCESS)
}

/// Has a running broker copy its data directory.
fn snapshot(arguments: SnapshotArguments, environment: &Environment) -> Result<String, String> {
    let (data_dir, target) = arguments.places(environment).map_err(|error| error.to_string())?;
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
