//! The command line of `leveret-perf compare`.

use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

use super::broker::{Source, Spec};
use super::quiet::OTHERS_MAX;
use crate::churn::args::{number, seconds, value};
use crate::load::uri::Uri;
use crate::scenarios::row::{Row, Scenario};
use crate::scenarios::{TIME, all, names_of};

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    Run(Box<Args>),
    /// Write the pages again.
    Render {
        from: PathBuf,
        out: PathBuf,
    },
    Help,
}

/// Everything that a comparison is told.
#[derive(Debug)]
pub struct Args {
    pub specs: Vec<Spec>,
    /// Each row with its scenario's name and description.
    pub rows: Vec<(&'static str, &'static str, Row)>,
    pub rounds: u32,
    pub time: f64,
    pub out: PathBuf,
    /// None: as the machine allows.
    pub broker_cores: Option<String>,
    pub load_cores: Option<String>,
    pub retries: u32,
    /// Cores that other processes may use.
    pub others_max: f64,
    pub quiet_wait: f64,
    pub sync_delay: Duration,
    /// None: this program.
    pub load_program: Option<PathBuf>,
}

pub const HELP: &str = "\
Runs scenarios over several brokers, interleaved, and writes a report of them.

leveret-perf compare --broker leveret --broker rabbitmq [OPTIONS]
leveret-perf compare --from DIR/comparison.json --out DIR

  --broker leveret       the leveret beside this program, with a shard for each of its cores
  --broker rabbitmq      rabbitmq-server as it is installed, with its files in a scratch folder
  --broker NAME=COMMAND  started by a shell; {port} stands for a free port, {dir} for a scratch folder
  --broker NAME=URI      runs already: amqp://…
  --pid NAME=PID         its process, where that cannot be found out
                         --broker is repeated; ratios are to the first

  --scenario A,B         only these (see leveret-perf scenarios)
  --row TEXT             only rows with this text in 'scenario/row'; may be repeated
  --rounds N             default 3; figures are medians over the rounds
  --time S               seconds that each run measures; default 4
  --out DIR              default comparison: gets comparison.md, comparison.html, comparison.json
  --from FILE            measure nothing, write the pages of this comparison.json again

  --broker-cores LIST    cores for the brokers, as taskset takes them; default 0
  --load-cores LIST      cores for the load; default 1
                         nothing is pinned on one core, or without taskset
  --retries N            repeat a run that other processes disturbed, at most so often; default 2
  --quiet-wait S         wait for a quiet machine before each run, at most so long; default 60, 0: do not
  --others CORES         other processes may use so much before they disturb; default 0.1
  --sync-delay S         each fsync and fdatasync of the brokers that are started here takes so much longer, as on
                         a slower disk; needs strace; default 0
  --load PROGRAM         the program that loads; default: this one
  --help                 this text

Brokers that start in less than a second are started anew for each run, others stay up through a round. Ctrl-C stops it
all and writes what there is.

Exit status: 0 good, 1 a run failed or nothing could be measured, 2 wrong usage, 130 interrupted.
";

/// Reads the command line behind `compare`.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn parse(args: Vec<String>) -> Result<Asked, String> {
    let (mut brokers, mut pids, mut scenarios, mut patterns) = (vec![], vec![], vec![], vec![]);
    let mut sync_delay = Duration::ZERO;
    let (mut rounds, mut time, mut retries, mut quiet_wait) = (3, TIME, 2, 60.0);
    let (mut out, mut from, mut load_program) = (PathBuf::from("comparison"), None, None);
    let (mut broker_cores, mut load_cores, mut others_max) = (None, None, OTHERS_MAX);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Long("help") => return Ok(Asked::Help),
            Long("broker") => brokers.push(value(&mut parser, "--broker")?),
            Long("pid") => pids.push(value(&mut parser, "--pid")?),
            Long("scenario") => {
                scenarios.extend(value(&mut parser, "--scenario")?.split(',').map(|name| name.trim().to_owned()));
            }
            Long("row") => patterns.push(value(&mut parser, "--row")?),
            Long("rounds") => rounds = number("--rounds", &value(&mut parser, "--rounds")?, 1, 1000)?,
            Long("time") => time = seconds("--time", &value(&mut parser, "--time")?)?.as_secs_f64(),
            Long("out") => out = value(&mut parser, "--out")?.into(),
            Long("from") => from = Some(PathBuf::from(value(&mut parser, "--from")?)),
            Long("broker-cores") => {
                broker_cores = Some(cores("--broker-cores", value(&mut parser, "--broker-cores")?)?)
            }
            Long("load-cores") => load_cores = Some(cores("--load-cores", value(&mut parser, "--load-cores")?)?),
            Long("retries") => retries = number("--retries", &value(&mut parser, "--retries")?, 0, 100)?,
            Long("quiet-wait") => {
                quiet_wait = seconds("--quiet-wait", &value(&mut parser, "--quiet-wait")?)?.as_secs_f64();
            }
            Long("others") => others_max = number("--others", &value(&mut parser, "--others")?, 0.0, 65536.0)?,
            Long("sync-delay") => sync_delay = seconds("--sync-delay", &value(&mut parser, "--sync-delay")?)?,
            Long("load") => load_program = Some(PathBuf::from(value(&mut parser, "--load")?)),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if let Some(from) = from {
        if !brokers.is_empty() {
            return Err("--from measures nothing: --broker means nothing with it".into());
        }
        return Ok(Asked::Render { from, out });
    }
    if time <= 0.0 {
        return Err("--time: must be more than 0".into());
    }
    let rows = choose(all(), &scenarios, &patterns)?;
    let specs = specs(&brokers, &pids)?;
    Ok(Asked::Run(Box::new(Args {
        specs,
        rows,
        rounds,
        time,
        out,
        broker_cores,
        load_cores,
        retries,
        others_max,
        quiet_wait,
        sync_delay,
        load_program,
    })))
}

fn specs(brokers: &[String], pids: &[String]) -> Result<Vec<Spec>, String> {
    let mut specs: Vec<Spec> = vec![];
    for text in brokers {
        let (name, source) = text.split_once('=').unwrap_or((text, text));
        if name.is_empty() || name.contains(['\n', '|', '/', '{']) {
            return Err(format!("--broker {text}: a name is expected before ="));
        }
        let source = match source {
            "leveret" => Source::Leveret,
            "rabbitmq" => Source::RabbitMq,
            uri if uri.starts_with("amqp://") || uri.starts_with("amqps://") => {
                Uri::parse(uri).map_err(|error| format!("--broker {name}: {error}"))?;
                Source::Running { uri: uri.to_owned(), pid: None }
            }
            _ if !text.contains('=') => {
                return Err(format!(
                    "--broker {text}: unknown, there are leveret, rabbitmq, NAME=COMMAND and NAME=amqp://…"
                ));
            }
            command if !command.contains("{port}") => {
                return Err(format!("--broker {name}: the command has no {{port}}: {command}"));
            }
            command => Source::Command(command.to_owned()),
        };
        if specs.iter().any(|spec| spec.name == name) {
            return Err(format!("--broker {name}: named twice"));
        }
        specs.push(Spec { name: name.to_owned(), source });
    }
    for text in pids {
        let (name, number_text) = text.split_once('=').ok_or_else(|| format!("--pid {text}: NAME=PID is expected"))?;
        let number = number("--pid", number_text, 1, i32::MAX)?;
        let spec = specs.iter_mut().find(|spec| spec.name == name);
        match spec.map(|spec| &mut spec.source) {
            Some(Source::Running { pid, .. }) => *pid = Some(number),
            Some(_) => return Err(format!("--pid {name}: is started here, its process is known")),
            None => return Err(format!("--pid {name}: there is no such broker")),
        }
    }
    if specs.is_empty() {
        return Err("no --broker: for example --broker leveret --broker rabbitmq".into());
    }
    Ok(specs)
}

type Chosen = (&'static str, &'static str, Row);

fn choose(all: Vec<Scenario>, names: &[String], patterns: &[String]) -> Result<Vec<Chosen>, String> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|scenario| scenario.name != **name)) {
        return Err(format!("--scenario {unknown}: unknown, there are {}", names_of(&all)));
    }
    let chosen = all.into_iter().filter(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name));
    let mut rows: Vec<Chosen> = chosen
        .flat_map(|scenario| scenario.rows.into_iter().map(move |row| (scenario.name, scenario.about, row)))
        .collect();
    let matches = |pattern: &str, (scenario, _, row): &Chosen| {
        format!("{scenario}/{}", row.name).to_lowercase().contains(&pattern.to_lowercase())
    };
    if let Some(unknown) = patterns.iter().find(|pattern| !rows.iter().any(|row| matches(pattern, row))) {
        return Err(format!("--row {unknown}: no row has this in its name; see leveret-perf scenarios"));
    }
    rows.retain(|row| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, row)));
    Ok(rows)
}

/// A list such as `0` or `0,2-3`.
fn cores(option: &str, list: String) -> Result<String, String> {
    let good = |part: &str| part.split('-').count() <= 2 && part.split('-').all(|n| n.parse::<u16>().is_ok());
    if list.split(',').all(good) {
        Ok(list)
    } else {
        Err(format!("{option}: {list} is no list of cores, such as 0,2-3"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, String> {
        parse(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn run(words: &[&str]) -> Box<Args> {
        match read(words) {
            Ok(Asked::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn brokers_are_built_in_commands_or_running() {
        let names = ["leveret", "old=rabbitmq", "p=run -p {port} -d {dir} x=y", "there=amqp://h:1"];
        let mut words: Vec<&str> = names.iter().flat_map(|name| ["--broker", name]).collect();
        words.extend(["--pid", "there=7"]);
        let sources: Vec<(String, Source)> =
            run(&words).specs.into_iter().map(|spec| (spec.name, spec.source)).collect();
        let running = Source::Running { uri: "amqp://h:1".into(), pid: Some(7) };
        let command = Source::Command("run -p {port} -d {dir} x=y".into());
        let expected = [("leveret", Source::Leveret), ("old", Source::RabbitMq), ("p", command), ("there", running)];
        assert_eq!(sources, expected.map(|(name, source)| (name.to_owned(), source)));
    }

    #[test]
    fn rows_are_chosen_by_scenario_and_text() {
        let rows = |words: &[&str]| {
            let args = run(&[&["--broker", "leveret"], words].concat());
            args.rows.iter().map(|(scenario, _, row)| format!("{scenario}/{}", row.name)).collect::<Vec<_>>()
        };
        assert_eq!(rows(&["--row", "LATENCY/1,000/s"]), ["latency/1,000/s"]);
        assert_eq!(rows(&["--scenario", "fairness,requests"]).len(), 4);
        assert_eq!(rows(&["--scenario", "throughput", "--row", "1 MiB, auto", "--row", "16 B, auto"]).len(), 2);
        assert_eq!(rows(&[]).len(), all().iter().map(|scenario| scenario.rows.len()).sum::<usize>());
    }

    #[test]
    fn numbers_have_defaults() {
        let args = run(&["--broker", "leveret"]);
        assert_eq!((args.rounds, args.time, args.retries, args.quiet_wait), (3, 4.0, 2, 60.0));
        let args =
            run(&["--broker", "leveret", "--rounds", "1", "--time", "0.5", "--load-cores", "1-3,5", "--out", "x"]);
        assert_eq!((args.rounds, args.time, args.load_cores.as_deref()), (1, 0.5, Some("1-3,5")));
        assert_eq!(args.sync_delay, Duration::ZERO);
        let args = run(&["--broker", "leveret", "--sync-delay", "0.002"]);
        assert_eq!(args.sync_delay, Duration::from_millis(2));
        let render = read(&["--from", "a/comparison.json", "--out", "b"]);
        assert!(matches!(render, Ok(Asked::Render { .. })), "{render:?}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, expected) in [
            (&[][..], "no --broker"),
            (&["--broker", "qpid"], "--broker qpid: unknown, there are leveret, rabbitmq"),
            (&["--broker", "=x {port}"], "a name is expected"),
            (&["--broker", "a=run it"], "--broker a: the command has no {port}: run it"),
            (&["--broker", "a=amqps://h"], "TLS is not supported"),
            (&["--broker", "leveret", "--broker", "leveret"], "--broker leveret: named twice"),
            (&["--broker", "leveret", "--pid", "leveret=1"], "--pid leveret: is started here"),
            (&["--broker", "leveret", "--pid", "x=1"], "--pid x: there is no such broker"),
            (&["--broker", "leveret", "--scenario", "x"], "--scenario x: unknown, there are throughput, "),
            (&["--broker", "leveret", "--row", "x y z"], "--row x y z: no row has this in its name"),
            (&["--broker", "leveret", "--rounds", "0"], "--rounds: 0 is no number from 1"),
            (&["--broker", "leveret", "--time", "0"], "--time: must be more than 0"),
            (&["--broker", "leveret", "--load-cores", "one"], "--load-cores: one is no list of cores"),
            (&["--broker", "leveret", "--from", "x"], "--from measures nothing"),
            (&["--broker", "leveret", "--others", "-1"], "--others: -1 is no number from 0"),
            (&["--broker", "leveret", "--sync-delay", "soon"], "--sync-delay: soon is no number of seconds"),
            (&["--brokers", "leveret"], "invalid option '--brokers'"),
        ] {
            let error = read(words).expect_err("wrong");
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }
}
