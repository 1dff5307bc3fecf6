//! The scenarios of the comparison, a file each, and `leveret-perf scenarios`, which lists them.

mod backlog;
mod churn;
mod connections;
mod disk;
mod durable;
mod fairness;
mod fanout;
mod headers;
mod latency;
mod queues;
mod requests;
pub mod row;
mod slow_consumer;
mod throughput;
mod topic;

use std::io::{self, Write};
use std::process::ExitCode;

use row::Scenario;

/// Seconds that are measured where nothing else is said.
pub const TIME: f64 = 4.0;

/// Every scenario, in the order of a comparison.
pub fn all() -> Vec<Scenario> {
    vec![
        throughput::scenario(),
        durable::scenario(),
        durable::quorum(),
        fanout::scenario(),
        topic::scenario(),
        headers::scenario(),
        queues::scenario(),
        connections::scenario(),
        requests::scenario(),
        latency::scenario(),
        slow_consumer::scenario(),
        fairness::scenario(),
        churn::scenario(),
        backlog::scenario(),
        disk::scenario(),
    ]
}

const HELP: &str = "\
Lists the scenarios of leveret-perf compare: their rows, and the command lines that each row runs.

leveret-perf scenarios [NAME…]
";

/// Runs the command; `args` is what stands behind `scenarios`.
pub fn main(args: Vec<String>) -> ExitCode {
    if args.iter().any(|arg| arg == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match listing(&args) {
        // That the reader has seen enough is no failure.
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        },
        Err(error) => {
            eprintln!("leveret-perf scenarios: {error}");
            ExitCode::from(2)
        }
    }
}

fn listing(names: &[String]) -> Result<String, String> {
    let all = all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|scenario| scenario.name != **name)) {
        return Err(format!("{unknown}: unknown, there are {}", names_of(&all)));
    }
    let mut text = String::new();
    for scenario in all.iter().filter(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name)) {
        text += &format!("{}\n    {}\n", scenario.name, scenario.about);
        for row in &scenario.rows {
            text += &format!("  {} [{}]\n", row.name, row.unit);
            for step in &row.steps {
                let label = match (&*step.label, step.beside) {
                    ("", _) => String::new(),
                    (label, false) => format!("{label}: "),
                    (label, true) => format!("{label}, at the same time: "),
                };
                text += &format!("    {label}{}\n", step.command_line(TIME, "URI"));
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// The scenarios' names in one line.
pub fn names_of(scenarios: &[Scenario]) -> String {
    scenarios.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_every_row_shows_something() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            let names: BTreeSet<_> = scenario.rows.iter().map(|row| &row.name).collect();
            assert_eq!(names.len(), scenario.rows.len(), "{}", scenario.name);
            for row in &scenario.rows {
                assert!(row.name.chars().count() <= 40, "{}: too long for the plots", row.name);
                assert!(row.steps.iter().any(|step| step.shown), "{} {}", scenario.name, row.name);
                assert!(row.steps.last().is_some_and(|step| !step.beside), "{} {}", scenario.name, row.name);
            }
        }
    }

    /// What is left on a broker by a run that failed must be found again by its name.
    #[test]
    fn queues_and_exchanges_have_names_that_are_nobody_elses() {
        for scenario in all() {
            for step in scenario.rows.iter().flat_map(|row| &row.steps) {
                let names = step.names();
                for name in names.queues.iter().chain(&names.exchange) {
                    assert!(name.starts_with("leveret-perf"), "{}", step.flags);
                }
                let words: Vec<&str> = step.flags.split_whitespace().collect();
                if words.contains(&"-t") {
                    assert!(names.exchange.is_some(), "{}", step.flags);
                }
            }
        }
    }

    /// With what the comparison adds to them.
    #[test]
    fn the_load_program_takes_the_flags_of_every_row() {
        for scenario in all() {
            for step in scenario.rows.iter().flat_map(|row| &row.steps) {
                let added = ["-h", "amqp://127.0.0.1:1", "--quiet", "--json", "x", "--broker-pid", "1"];
                let words: Vec<String> = step.arguments(0.5).into_iter().chain(added.map(str::to_owned)).collect();
                for keep in [None, step.keep()] {
                    let words: Vec<String> = words.iter().cloned().chain(keep.map(str::to_owned)).collect();
                    let taken = match words.strip_prefix(&["churn".to_owned()]) {
                        Some(words) => crate::churn::args::parse(words.to_vec()).map(drop),
                        None => crate::load::check(&words),
                    };
                    assert_eq!(taken, Ok(()), "{}: {}", scenario.name, words.join(" "));
                }
            }
        }
    }

    #[test]
    fn the_listing_has_every_row_or_those_that_are_asked_for() {
        let text = listing(&[]).expect("all");
        for scenario in all() {
            assert!(scenario.rows.iter().all(|row| text.contains(&row.name)), "{}", scenario.name);
        }
        let text = listing(&["fairness".into()]).expect("one");
        assert!(text.starts_with("fairness\n") && text.contains("at the same time: leveret-perf -"), "{text}");
        let error = listing(&["x".into()]).expect_err("none");
        assert!(error.starts_with("x: unknown, there are throughput, "), "{error}");
    }
}
