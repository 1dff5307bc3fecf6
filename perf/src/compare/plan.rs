//! The order of a comparison: for each round, for each row, for each broker; and what is done around each run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::broker::{Broker, Spec, Start, start};
use super::data::{Comparison, Run};
use super::process::Snapshot;
use super::quiet::{self, QUIET_SECONDS, Wait};
use super::run::{Loader, Outcome};
use super::summary::Line;
use super::sweep::sweep;
use super::{format, summary};
use crate::scenarios::row::Row;

/// A broker that takes longer to start stays up through a round.
const QUICK_START_SECONDS: f64 = 1.0;

/// What the runs are made with.
pub struct Plan<'a> {
    pub specs: &'a [Spec],
    /// In the order of the comparison's rows.
    pub rows: &'a [Row],
    pub loader: Loader<'a>,
    pub start: Start<'a>,
    pub interrupted: &'a AtomicBool,
}

/// The brokers that stay up, each in its place.
type Kept = Vec<Option<Broker>>;

impl Plan<'_> {
    /// Starts each broker once, to learn what it is and how fast it starts.
    ///
    /// # Errors
    /// The first that does not start.
    pub fn meet(&self, comparison: &mut Comparison) -> Result<(), String> {
        for (spec, info) in self.specs.iter().zip(&mut comparison.brokers) {
            let broker = start(spec, &self.start)?;
            (info.product, info.version) = (broker.product.clone(), broker.version.clone());
            info.start_seconds = broker.start_seconds;
            info.kept = broker.start_seconds.is_none_or(|seconds| seconds >= QUICK_START_SECONDS);
            let version = [info.product.as_deref(), info.version.as_deref()].map(Option::unwrap_or_default).join(" ");
            match info.start_seconds {
                Some(seconds) => println!("{}: {}, started in {:.0} ms", info.name, version.trim(), seconds * 1e3),
                None => println!("{}: {}, runs already", info.name, version.trim()),
            }
        }
        Ok(())
    }

    /// All runs, as far as nobody interrupts. `save` is called after each row.
    pub fn run(&self, comparison: &mut Comparison, save: &mut dyn FnMut(&Comparison)) {
        let total = comparison.settings.rounds as usize * self.rows.len() * self.specs.len();
        let mut number = 0;
        for round in 1..=comparison.settings.rounds {
            let mut kept: Kept = self.specs.iter().map(|_| None).collect();
            for (index, row) in self.rows.iter().enumerate() {
                for broker in 0..self.specs.len() {
                    if self.interrupted.load(Ordering::Relaxed) {
                        comparison.interrupted = true;
                        return;
                    }
                    number += 1;
                    let attempts = self.attempts(comparison, row, &mut kept, broker);
                    let marks = attempts.iter().map(|run| (run.failed.is_some(), run.others_cores.unwrap_or(0.0)));
                    let best = quiet::best(&marks.collect::<Vec<_>>());
                    for (attempt, mut run) in attempts.into_iter().enumerate() {
                        (run.round, run.row, run.broker) = (round, index, broker);
                        (run.attempt, run.counted) = (attempt as u32 + 1, best == Some(attempt));
                        comparison.runs.push(run);
                    }
                    // A run that was cut short says nothing about the broker.
                    if self.interrupted.load(Ordering::Relaxed) {
                        comparison.runs.retain(|run| run.failed.as_deref() != Some("interrupted"));
                    } else {
                        println!("[{number}/{total}] {}", progress(comparison));
                    }
                }
                save(comparison);
            }
        }
        comparison.interrupted = self.interrupted.load(Ordering::Relaxed);
    }

    /// Runs the row on the broker, and again when it was disturbed.
    fn attempts(&self, comparison: &Comparison, row: &Row, kept: &mut Kept, index: usize) -> Vec<Run> {
        let mut runs = vec![];
        loop {
            let run = self.attempt(comparison, row, kept, index);
            let (disturbed, failed) = (run.disturbed, run.failed.is_some());
            runs.push(run);
            let over = self.interrupted.load(Ordering::Relaxed);
            if over || !quiet::again(disturbed, failed, runs.len() as u32, comparison.settings.retries) {
                return runs;
            }
        }
    }

    fn attempt(&self, comparison: &Comparison, row: &Row, kept: &mut Kept, index: usize) -> Run {
        let mut run = empty(row);
        let mut broker = match kept[index].take().map_or_else(|| start(&self.specs[index], &self.start), Ok) {
            Ok(broker) => broker,
            Err(error) => {
                run.failed = Some(if self.interrupted.load(Ordering::Relaxed) { "interrupted".into() } else { error });
                return run;
            }
        };
        (run.waited_seconds, run.was_quiet) =
            self.quiet(comparison.settings.others_max, comparison.settings.quiet_wait);
        let own = self.own(&broker, kept);
        let before = Snapshot::take();
        let outcome = self.loader.run(row, &mut broker, !comparison.brokers[index].kept);
        let after = Snapshot::take();
        if let (Some(before), Some(after), Some((roots, but))) = (before, after, own) {
            let (others, most) = after.others_since(&before, &roots, &but);
            run.disturbed = !quiet::is_quiet(others, comparison.settings.others_max);
            run.others_cores = Some(others);
            run.others_most = most.filter(|_| run.disturbed);
        }
        let Outcome { results, failed } = outcome;
        (run.results, run.failed) = (results, failed);
        if comparison.brokers[index].kept {
            match sweep(&broker.uri, row) {
                Ok(left) => {
                    run.left_over = left;
                    kept[index] = Some(broker);
                }
                // It is started anew for the next row.
                Err(error) => run.left_over.push(format!("not known to be clean: {error}")),
            }
        }
        run
    }

    /// The processes that are measured, and those of them that are not: what is ours, without the brokers that only
    /// wait. None when a broker runs whose process is unknown.
    fn own(&self, broker: &Broker, kept: &Kept) -> Option<(Vec<i32>, Vec<i32>)> {
        let roots = vec![std::process::id() as i32, broker.root()?];
        Some((roots, kept.iter().flatten().filter_map(Broker::root).collect()))
    }

    /// Waits for a quiet machine: how long that took, and whether it is. With a limit of 0 nobody looks.
    fn quiet(&self, max: f64, limit: f64) -> (f64, bool) {
        let begin = Instant::now();
        let own = [std::process::id() as i32];
        let mut said = false;
        if limit <= 0.0 {
            return (0.0, true);
        }
        loop {
            let Some(before) = Snapshot::take() else { return (0.0, true) };
            let look = Instant::now();
            while look.elapsed().as_secs_f64() < QUIET_SECONDS && !self.interrupted.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            let Some(after) = Snapshot::take() else { return (0.0, true) };
            // Of what is ours only this very process: a broker that is still busy with its start is not quiet.
            let children: Vec<i32> = after.trees(&own).into_iter().filter(|pid| *pid != own[0]).collect();
            let (others, most) = after.others_since(&before, &own, &children);
            let waited = begin.elapsed().as_secs_f64();
            let most = most.unwrap_or_else(|| "processes that have ended".into());
            match quiet::wait(others, max, waited, limit) {
                _ if self.interrupted.load(Ordering::Relaxed) => return (waited, false),
                Wait::Begin => return (waited, true),
                Wait::GiveUp => {
                    println!("    the machine is still not quiet after {waited:.0} s: {most}");
                    return (waited, false);
                }
                Wait::Longer if !said => {
                    println!("    waiting for a quiet machine: others use {others:.2} cores, most of it {most}");
                    said = true;
                }
                Wait::Longer => {}
            }
        }
    }
}

fn empty(row: &Row) -> Run {
    Run {
        round: 0,
        row: 0,
        broker: 0,
        attempt: 1,
        counted: false,
        results: vec![None; row.steps.len()],
        failed: None,
        others_cores: None,
        others_most: None,
        disturbed: false,
        waited_seconds: 0.0,
        was_quiet: false,
        left_over: vec![],
    }
}

/// The last run, in one line.
fn progress(comparison: &Comparison) -> String {
    let Some(run) = comparison.runs.iter().rfind(|run| run.counted) else { return String::new() };
    let (row, broker) = (&comparison.rows[run.row], &comparison.brokers[run.broker]);
    let mut text = format!("round {}, {}: {}, {}", run.round, row.scenario, row.name, broker.name);
    if let Some(reason) = &run.failed {
        return format!("{text}: FAILED: {reason}");
    }
    let one = comparison.only(run);
    let lines = summary::lines(&one);
    for Line { name, figures, .. } in lines.iter().filter(|line| std::ptr::eq(line.row, &one.rows[run.row])) {
        let figures = &figures[run.broker];
        let label = name.strip_prefix(&*row.name).unwrap_or_default();
        let show = |spread: Option<super::statistics::Spread>, format: fn(f64) -> String| {
            spread.map(|spread| format(spread.median))
        };
        let p99 = show(figures.p99, format::microseconds).map(|p99| format!("p99 {p99}"));
        let parts = [show(figures.rate, format::rate), show(figures.cpu, format::nanoseconds), p99];
        text += &format!("{label}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    if run.disturbed {
        text += &format!(" (disturbed: others used {:.2} cores", run.others_cores.unwrap_or(0.0));
        text += &run.others_most.as_ref().map_or(")".into(), |most| format!(", most of it {most})"));
    }
    for left in &run.left_over {
        text += &format!(" (cleared away: {left})");
    }
    text
}
