//! `leveret-perf churn`: opens and closes connections, channels, queues, bindings or consumers at full speed, or
//! declares so many queues.

pub mod args;
pub mod client;
mod cycles;
mod declare;
mod phase;
mod report;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use args::{Args, Asked, Kind};
use client::Client;
use phase::{Phase, Tally};
use report::Outcome;
use usage::Watched;

use crate::load::clock;

/// The longest wait for one answer of the broker.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the command; `args` is what stands behind `churn`.
pub fn main(args: Vec<String>) -> ExitCode {
    let command = args.clone();
    let args = match args::parse(args) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help) => {
            print!("{}", args::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("leveret-perf churn: {error}\nTry leveret-perf churn --help");
            return ExitCode::from(2);
        }
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = catch_signals(&interrupted) {
        eprintln!("leveret-perf churn: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = run(&args, &interrupted);
    if !args.quiet {
        print!("{}", outcome.summary(&args));
    }
    let mut good = outcome.error.is_none();
    if let Some(error) = &outcome.error {
        eprintln!("leveret-perf churn: {error}");
    }
    if let Some(path) = &args.json
        && let Err(error) = outcome.write(&args, &command, path)
    {
        eprintln!("leveret-perf churn: {}: {error}", path.display());
        good = false;
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sets the flag at SIGINT and SIGTERM.
///
/// # Errors
/// The system's.
pub fn catch_signals(flag: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(())
}

fn run(args: &Args, interrupted: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::new();
    match Client::connect(&args.uri, TIMEOUT) {
        Ok(client) => {
            (outcome.product, outcome.version) = (client.product.clone(), client.version.clone());
            outcome.error = client.close().err();
        }
        Err(error) => outcome.error = Some(error),
    }
    let mut watched = match args.broker_pid.map(Watched::new).transpose() {
        Ok(watched) => watched,
        Err(error) => {
            outcome.error.get_or_insert(error);
            None
        }
    };
    if outcome.error.is_some() {
        return outcome;
    }
    if args.kind == Kind::Declare {
        declare::run(args, &mut watched, interrupted, &mut outcome);
        return outcome;
    }
    let phase = Phase::default();
    let workers = if args.kind == Kind::Connections { args.in_flight } else { args.connections };
    thread::scope(|scope| {
        let phase = &phase;
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(args, worker, phase))).collect();
        let failed = || threads.iter().any(|thread| thread.is_finished());
        // Returns how long it was: less than was asked for when a thread ended or a signal came.
        let wait = |watched: &mut Option<Watched>, time: Duration| {
            let start = Instant::now();
            while start.elapsed() < time && !failed() && !interrupted.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20).min(time.saturating_sub(start.elapsed())));
                watched.iter_mut().for_each(Watched::look);
            }
            start.elapsed()
        };
        wait(&mut watched, args.warmup);
        let before = watched.as_mut().and_then(Watched::usage);
        let cpu_before = clock::cpu();
        phase.measure();
        outcome.seconds = wait(&mut watched, args.time).as_secs_f64();
        phase.end();
        outcome.load_cpu_seconds = clock::seconds(clock::cpu() - cpu_before);
        let after = watched.as_mut().and_then(Watched::usage);
        for thread in threads {
            match thread.join().unwrap_or_else(|_| Err("a thread panicked".into())) {
                Ok(tally) => outcome.add(&tally),
                Err(error) => drop(outcome.error.get_or_insert(error)),
            }
        }
        if let (Some(watched), Some(before), Some(after)) = (&watched, before, after) {
            outcome.broker = Some(watched.report(before, after, outcome.latency.len()));
        }
    });
    if interrupted.load(Ordering::Relaxed) {
        outcome.error.get_or_insert("interrupted".into());
    }
    outcome
}

fn work(args: &Args, worker: u16, phase: &Phase) -> Result<Tally, String> {
    match args.kind {
        Kind::Connections => connections(args, phase),
        Kind::Channels | Kind::Queues | Kind::Bindings | Kind::Consumers => cycles::run(args, worker, phase),
        Kind::Declare => Ok(Tally::new()), // has a loop of its own
    }
}

fn connections(args: &Args, phase: &Phase) -> Result<Tally, String> {
    let mut tally = Tally::new();
    while !phase.is_over() {
        let start = Instant::now();
        Client::connect(&args.uri, TIMEOUT)?.close()?;
        tally.ended(phase, start);
    }
    Ok(tally)
}
