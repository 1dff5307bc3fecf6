//! One row on one broker: its steps as runs of the load program.

use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::broker::{Broker, pinned};
use super::process;
use crate::scenarios::row::{LONG_SPAN, Row, SPAN, Step};

/// What runs the load program.
pub struct Loader<'a> {
    pub program: &'a Path,
    /// The cores for it, if any can be chosen.
    pub cores: Option<&'a str>,
    /// Seconds to measure.
    pub time: f64,
    /// A folder for its files.
    pub dir: &'a Path,
    pub interrupted: &'a AtomicBool,
}

/// What came of a row.
pub struct Outcome {
    /// For each step.
    pub results: Vec<Option<Value>>,
    pub failed: Option<String>,
}

/// How long a step may take beyond its measured time: connections, bindings, the end.
const BEYOND: f64 = 300.0;
/// The same for a step that has no time, but something to get done.
const UNTIMED: f64 = 1800.0;
/// From the start of a step beside another to the start of that one.
const HEAD_START: Duration = Duration::from_secs(1);
/// How long the load program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a broker may take to be gone after its connections are.
const DYING: Duration = Duration::from_secs(1);

impl Loader<'_> {
    /// Runs the row's steps. The first that fails ends it.
    /// On a `fresh` broker, which is stopped afterwards, nothing is cleared away: not every broker can do that.
    pub fn run(&self, row: &Row, broker: &mut Broker, fresh: bool) -> Outcome {
        let mut outcome = Outcome { results: vec![None; row.steps.len()], failed: None };
        let mut beside: Vec<(usize, Started)> = vec![];
        for (index, step) in row.steps.iter().enumerate() {
            let mut started = match self.start(step, index, broker, fresh) {
                Ok(started) => started,
                Err(error) => {
                    outcome.failed = Some(error);
                    break;
                }
            };
            if step.beside {
                beside.push((index, started));
                self.pause(HEAD_START);
                continue;
            }
            self.finish(&mut started, index, broker, &mut outcome);
            for (index, mut started) in beside.drain(..) {
                if outcome.failed.is_some() {
                    break;
                }
                self.finish(&mut started, index, broker, &mut outcome);
            }
            if outcome.failed.is_some() {
                break;
            }
        }
        outcome
    }

    fn pause(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !self.interrupted.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&self, step: &Step, index: usize, broker: &Broker, fresh: bool) -> Result<Started, String> {
        let json = self.dir.join(format!("{index}.json"));
        let errors = self.dir.join(format!("{index}.err"));
        // What an earlier run has left there must not pass for this one's.
        let _ = fs::remove_file(&json);
        let mut command = pinned(&self.program.to_string_lossy(), self.cores);
        command.args(step.arguments(self.time)).args(["-h", &broker.uri, "--quiet", "--json"]).arg(&json);
        command.args(step.keep().filter(|_| fresh));
        if let Some(pid) = broker.pid {
            command.args(["--broker-pid", &pid.to_string()]);
        }
        let told = |error: std::io::Error| format!("cannot start {}: {error}", self.program.display());
        let err = File::create(&errors).map_err(told)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err).process_group(0);
        let child = command.spawn().map_err(told)?;
        let beyond = if step.flags.contains(SPAN) || step.flags.contains(LONG_SPAN) { BEYOND } else { UNTIMED };
        Ok(Started { child, json, errors, limit: Duration::from_secs_f64(self.time + beyond) })
    }

    fn finish(&self, started: &mut Started, index: usize, broker: &mut Broker, outcome: &mut Outcome) {
        let status = self.wait(started);
        let text = fs::read_to_string(&started.json).unwrap_or_default();
        let result: Option<Value> = serde_json::from_str(&text).ok();
        let reason = match status {
            Err(reason) => Some(reason),
            Ok(status) if status.success() && result.is_some() => None,
            Ok(status) => Some(failure(status, result.as_ref(), &started.errors)),
        };
        outcome.results[index] = result;
        if let Some(reason) = reason {
            // A broker that dies takes its connections along: then that is the reason. It may take a moment to be gone.
            let start = Instant::now();
            let mut death = broker.death();
            while death.is_none() && start.elapsed() < DYING && !self.interrupted.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                death = broker.death();
            }
            outcome.failed = Some(death.map_or(reason, |death| format!("the broker died: {death}")));
        }
    }

    fn wait(&self, started: &mut Started) -> Result<ExitStatus, String> {
        let start = Instant::now();
        loop {
            match started.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(format!("the load program: {error}")),
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            if start.elapsed() > started.limit {
                return Err(format!("the load program was not done after {} s", started.limit.as_secs()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A run of the load program. It is ended when it is dropped.
struct Started {
    child: Child,
    json: PathBuf,
    errors: PathBuf,
    limit: Duration,
}

impl Drop for Started {
    fn drop(&mut self) {
        process::stop(&mut self.child, None, PATIENCE);
    }
}

/// Why a run failed: what its result says, or the last line it wrote.
fn failure(status: ExitStatus, result: Option<&Value>, errors: &Path) -> String {
    if let Some(error) = result.and_then(|result| result["error"].as_str()) {
        return error.to_owned();
    }
    let text = String::from_utf8_lossy(&fs::read(errors).unwrap_or_default()).into_owned();
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{} ({status})", line.trim()),
        None if status.success() => "the load program wrote no result".into(),
        None => format!("the load program ended with {status}"),
    }
}
