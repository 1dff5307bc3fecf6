//! `leveret-perf compare`: scenarios over several brokers, interleaved, and a report of them.

mod args;
mod broker;
mod cells;
mod data;
mod format;
mod html;
mod machine;
mod markdown;
mod plan;
mod plot;
mod process;
mod quiet;
mod rabbitmq;
mod run;
mod statistics;
mod summary;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use args::{Args, Asked};
use data::{BrokerInfo, Comparison, RowInfo, Settings, StepInfo};
use plan::Plan;

/// The files of a report.
const JSON: &str = "comparison.json";
const MARKDOWN: &str = "comparison.md";
const HTML: &str = "comparison.html";

/// The exit status of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Runs the command; `args` is what stands behind `compare`.
pub fn main(args: Vec<String>) -> ExitCode {
    let command: Vec<String> = ["leveret-perf", "compare"].map(str::to_owned).into_iter().chain(args.clone()).collect();
    let outcome = match args::parse(args) {
        Ok(Asked::Run(args)) => compare(&args, command),
        Ok(Asked::Render { from, out }) => render(&from, &out).map(|()| ExitCode::SUCCESS),
        Ok(Asked::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("leveret-perf compare: {error}\nTry leveret-perf compare --help");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("leveret-perf compare: {error}");
        ExitCode::FAILURE
    })
}

/// Writes the pages again.
fn render(from: &Path, out: &Path) -> Result<(), String> {
    let told = |error: String| format!("{}: {error}", from.display());
    let text = fs::read_to_string(from).map_err(|error| told(error.to_string()))?;
    let comparison = Comparison::from_json(&text).map_err(told)?;
    prepare(out)?;
    write_all(&comparison, out)
}

fn compare(args: &Args, command: Vec<String>) -> Result<ExitCode, String> {
    prepare(&args.out)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    crate::churn::catch_signals(&interrupted).map_err(|error| error.to_string())?;
    let cores = Cores::of(args)?;
    if !args.sync_delay.is_zero() && !broker::can_delay() {
        return Err("--sync-delay needs strace, which is not there or may not trace".into());
    }
    let load_program = match &args.load_program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?,
    };
    let scratch = tempfile::Builder::new().prefix("leveret-perf-").tempdir();
    let scratch = scratch.map_err(|error| format!("no scratch folder: {error}"))?;
    let rows: Vec<_> = args.rows.iter().map(|(_, _, row)| row.clone()).collect();
    let mut comparison = blank(args, &cores, &load_program, command);
    let plan = Plan {
        specs: &args.specs,
        rows: &rows,
        loader: run::Loader {
            program: &load_program,
            cores: cores.load.as_deref(),
            time: args.time,
            dir: scratch.path(),
            interrupted: &interrupted,
        },
        start: broker::Start { cores: cores.broker.as_deref(), sync_delay: args.sync_delay, interrupted: &interrupted },
        interrupted: &interrupted,
    };
    if let Err(error) = plan.meet(&mut comparison) {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        return Err(error);
    }
    let mut saved = Ok(());
    plan.run(&mut comparison, &mut |comparison| {
        saved = comparison.to_json().and_then(|text| write(&args.out, JSON, &text));
    });
    saved?;
    write_all(&comparison, &args.out)?;
    println!("{}", args.out.join(HTML).display());
    if comparison.interrupted {
        eprintln!("leveret-perf compare: interrupted; what there is was written");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let failed = comparison.runs.iter().filter(|run| run.counted && run.failed.is_some()).count();
    if failed > 0 {
        return Err(format!("{failed} of {} runs failed", comparison.runs.iter().filter(|run| run.counted).count()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The cores that are used; none when nothing is pinned.
struct Cores {
    broker: Option<String>,
    load: Option<String>,
}

impl Cores {
    /// What was asked for, else one core for each side where there are two.
    ///
    /// # Errors
    /// Cores were asked for that cannot be had.
    fn of(args: &Args) -> Result<Cores, String> {
        let can = |cores: &str| {
            let mut taskset = Command::new("taskset");
            taskset.args(["-c", cores, "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            taskset.status().is_ok_and(|status| status.success())
        };
        for cores in [&args.broker_cores, &args.load_cores].into_iter().flatten() {
            if !can(cores) {
                return Err(format!("the cores {cores} cannot be had: they are not there, or taskset is not"));
            }
        }
        if args.broker_cores.is_some() || args.load_cores.is_some() {
            return Ok(Cores { broker: args.broker_cores.clone(), load: args.load_cores.clone() });
        }
        if can("0") && can("1") {
            return Ok(Cores { broker: Some("0".into()), load: Some("1".into()) });
        }
        println!("nothing is pinned: there is one core, or no taskset");
        Ok(Cores { broker: None, load: None })
    }
}

fn blank(args: &Args, cores: &Cores, load_program: &Path, command: Vec<String>) -> Comparison {
    let brokers = args.specs.iter().map(|spec| BrokerInfo {
        name: spec.name.clone(),
        source: spec.source.text(cores.broker.as_deref()),
        ..BrokerInfo::default()
    });
    let rows = args.rows.iter().map(|(scenario, about, row)| RowInfo {
        scenario: (*scenario).to_owned(),
        about: (*about).to_owned(),
        name: row.name.clone(),
        unit: row.unit.to_owned(),
        headline: row.headline,
        latency: row.latency,
        steps: row
            .steps
            .iter()
            .map(|step| StepInfo {
                label: step.label.clone(),
                command: step.command_line(args.time, "URI"),
                beside: step.beside,
                shown: step.shown,
            })
            .collect(),
    });
    Comparison {
        tool: "leveret-perf compare".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        command,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        interrupted: false,
        machine: machine::machine(),
        settings: Settings {
            rounds: args.rounds,
            time: args.time,
            broker_cores: cores.broker.clone(),
            load_cores: cores.load.clone(),
            retries: args.retries,
            others_max: args.others_max,
            quiet_wait: args.quiet_wait,
            sync_delay: args.sync_delay.as_secs_f64(),
            load_program: load_program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        },
        brokers: brokers.collect(),
        rows: rows.collect(),
        runs: vec![],
    }
}

/// Makes the folder, and finds out now whether it can be written to.
fn prepare(out: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("--out {}: {error}", out.display());
    fs::create_dir_all(out).map_err(told)?;
    tempfile::tempfile_in(out).map(drop).map_err(told)
}

fn write_all(comparison: &Comparison, out: &Path) -> Result<(), String> {
    write(out, JSON, &comparison.to_json()?)?;
    write(out, MARKDOWN, &markdown::page(comparison))?;
    write(out, HTML, &html::page(comparison)?)
}

fn write(out: &Path, name: &str, text: &str) -> Result<(), String> {
    let path: PathBuf = out.join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}
