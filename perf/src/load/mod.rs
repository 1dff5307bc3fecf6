//! `leveret-perf [FLAGS]`: loads one broker and measures it.
//!
//! Reading order: `args` and `validate` make [`options::Options`] of the command line; `plan` applies PerfTest's rules
//! to them; `topology` declares and `start` opens what the plan needs; `engine` runs it on one thread, with `phases`,
//! `traffic`, `publish` and `incoming` (and the hot paths `batch` and `intake`); `report` says what came out.

mod agents;
mod alarm;
mod args;
mod batch;
pub mod broker_process;
mod checks;
pub mod clock;
mod confirms;
mod engine;
mod error;
mod help;
mod incoming;
mod intake;
mod marks;
mod options;
mod pacer;
mod phases;
mod plan;
mod publish;
pub mod report;
mod socket;
mod span;
mod stamp;
mod start;
mod stats;
mod topology;
mod traffic;
pub mod uri;
mod validate;
mod wire;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use args::Command;
use broker_process::BrokerProcess;
use checks::Findings;
use error::Failure;
use options::Options;
use plan::Plan;
use report::{Outcome, Progress};
use topology::Made;
use wire::Product;

/// Runs the tool with the arguments behind the program's name: 0 is good, 1 a failed run, 2 wrong usage.
pub fn main(args: Vec<String>) -> ExitCode {
    let result = match args::parse(&args) {
        Ok(Command::Help) => {
            say(&help::text());
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            say(concat!("leveret-perf ", env!("CARGO_PKG_VERSION"), "\n"));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(options)) => validate::validate(&options).and_then(|()| {
            // Wrong values are wrong usage, whatever the broker thinks.
            start::properties(&options)?;
            run(*options, &args)
        }),
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let hint = if matches!(failure, Failure::Usage(_)) { " (see --help)" } else { "" };
            let _ = writeln!(std::io::stderr(), "leveret-perf: {failure}{hint}");
            ExitCode::from(failure.exit_status())
        }
    }
}

/// Whether these arguments make a run.
#[cfg(test)]
pub fn check(args: &[String]) -> Result<(), String> {
    match args::parse(args).map_err(|failure| failure.to_string())? {
        Command::Run(options) => validate::validate(&options).map_err(|failure| failure.to_string()),
        Command::Help | Command::Version => Err("not a run".into()),
    }
}

fn say(text: &str) {
    // A pipe that was closed is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// PerfTest's name for a run: the time of day.
fn id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let day = since.as_secs() % 86_400;
    format!("test-{:02}{:02}{:02}-{:03}", day / 3600, day / 60 % 60, day % 60, since.subsec_millis())
}

fn run(mut o: Options, args: &[String]) -> Result<(), Failure> {
    if o.id.is_empty() {
        o.id = id();
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first ends the run orderly. If nobody has seen that when the second comes, it ends the process.
        signal_hook::flag::register_conditional_default(signal, interrupted.clone())
            .and_then(|_| signal_hook::flag::register(signal, interrupted.clone()))
            .map_err(|error| Failure::run(format!("cannot watch for signals: {error}")))?;
    }
    if !o.broker_pids.is_empty() && BrokerProcess::new(&o.broker_pids).usage().is_none() {
        return Err(Failure::usage("--broker-pid: there is no such process, or the system does not tell about it"));
    }
    if let Some(path) = o.json.as_deref().filter(|path| *path != "-") {
        // Known before the run rather than after it.
        File::create(path).map_err(|error| Failure::run(format!("cannot write {path}: {error}")))?;
    }
    let mut command = vec!["leveret-perf".to_owned()];
    command.extend(args.iter().cloned());
    let mark = stamp::mark();
    let mut plan = Plan::new(&o, &format!("{:x}-{:x}", std::process::id(), mark & 0xffff));
    let (mut made, mut product) = (Made::default(), Product::default());
    let result = start::raise_file_limit(&o)
        .and_then(|()| Progress::new(&o))
        .and_then(|progress| {
            let mut link = start::first_link(&o, "the set-up", &interrupted)?;
            product = link.product.clone();
            topology::declare(&mut link, &o, &mut plan, &mut made)?;
            link.close();
            Ok(progress)
        })
        .and_then(|progress| {
            if o.size < stamp::TIME_BYTES && o.consumers > 0 {
                progress.note(&o, "messages of less than 8 bytes have no room for a time: no consumer latency");
            }
            start::engine(&o, &plan, mark, progress, interrupted.clone())
        });
    let (mut engine, idle_bytes) = match result {
        Ok(started) => started,
        Err(failure) => {
            // What came into being before the failure goes as well.
            let _ = clean_up(&o, &made);
            let outcome = Outcome {
                command: &command,
                product: &product,
                findings: None,
                idle_bytes: None,
                failure: Some(&failure),
            };
            write_json(&o, &report::json(&o, None, &outcome))?;
            return Err(failure);
        }
    };
    engine.run();
    let published: Vec<(u64, u64)> =
        engine.producers.iter().map(|producer| (producer.sent, producer.refused)).collect();
    let findings = engine.checks.take().map(|checks| checks.finish(&plan, &published));
    let mut failure = engine.failure.take();
    let cleaned = clean_up(&o, &made);
    if let (Some(_), Err(error)) = (&failure, &cleaned) {
        engine.progress.note(&o, &format!("what was declared could not be deleted: {error}"));
    }
    failure = failure.or(cleaned.err()).or_else(|| wrong(findings, engine.undrained));
    let outcome = Outcome { command: &command, product: &product, findings, idle_bytes, failure: failure.as_ref() };
    let summary = format!("test stopped ({})\n{}", engine.reason, report::summary(&o, &engine, &outcome));
    if o.json.as_deref() == Some("-") {
        let _ = std::io::stderr().write_all(summary.as_bytes());
    } else {
        say(&summary);
    }
    write_json(&o, &report::json(&o, Some(&engine), &outcome))?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn wrong(findings: Option<Findings>, undrained: bool) -> Option<Failure> {
    let found = findings.filter(|found| !found.clean())?;
    let (lost, doubled, reordered) = (found.lost, found.doubled, found.reordered);
    let hint = if undrained { " (the drain was over before all had come: see --drain)" } else { "" };
    Some(Failure::run(format!("{lost} messages lost, {doubled} doubled, {reordered} reordered{hint}")))
}

/// Deletes what was made for the run.
fn clean_up(o: &Options, made: &Made) -> Result<(), Failure> {
    if o.keep || *made == Made::default() {
        return Ok(());
    }
    let mut link = start::first_link(o, "the clean-up", &AtomicBool::new(true))?;
    topology::delete(&mut link, made)?;
    link.close();
    Ok(())
}

fn write_json(o: &Options, object: &serde_json::Value) -> Result<(), Failure> {
    let text = format!("{object:#}\n");
    match o.json.as_deref() {
        None => Ok(()),
        Some("-") => {
            say(&text);
            Ok(())
        }
        Some(path) => std::fs::write(path, text).map_err(|error| Failure::run(format!("cannot write {path}: {error}"))),
    }
}
