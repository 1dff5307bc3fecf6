//! What stands in the tables of a report, whatever they are written in.

use super::data::Comparison;
use super::format::{bytes, microseconds, nanoseconds, rate, times};
use super::statistics::Spread;
use super::summary::{Figures, Line, ratio};
use crate::scenarios::row::Headline;

/// A cell of the short table: one broker's part of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The figure that the row is about; a dash when there is none.
    pub figure: String,
    /// What belongs to it: CPU time, percentiles.
    pub details: Vec<String>,
    /// How it compares to the first broker.
    pub ratios: Option<String>,
    /// What is to be said of it.
    pub remarks: Vec<String>,
}

/// The short cell of one broker.
pub fn short(line: &Line<'_>, broker: usize) -> Cell {
    let figures = &line.figures[broker];
    let first = &line.figures[0];
    let mut cell = Cell { remarks: remarks(figures), ..Cell::default() };
    let cpu = text(figures.cpu, nanoseconds).map(|cpu| format!("{cpu} CPU"));
    let headline = figures.headline(line.row);
    match line.row.headline {
        Headline::Rate => {
            cell.figure = text(headline, rate).unwrap_or("–".into());
            cell.details.extend(cpu);
            if let (Some(p50), Some(p99)) = (text(figures.p50, microseconds), text(figures.p99, microseconds)) {
                cell.details.push(format!("p50 {p50}, p99 {p99}"));
            }
        }
        Headline::Latency => {
            cell.figure = text(headline, microseconds).map_or("–".into(), |p99| format!("p99 {p99}"));
            cell.details.extend(text(figures.p50, microseconds).map(|p50| format!("p50 {p50}")));
            cell.details.extend(text(figures.p99_9, microseconds).map(|p99_9| format!("p99.9 {p99_9}")));
            cell.details.extend(cpu);
        }
    }
    // Brokers write a line of log now and then: less than a byte for each message is not of the messages.
    let written = figures.written.filter(|spread| spread.median >= 1.0);
    cell.details.extend(text(written, bytes).map(|bytes| format!("{bytes} written")));
    cell.details.extend(text(figures.idle, bytes).map(|bytes| format!("{bytes} for each idle connection")));
    if broker > 0 {
        let figure = ratio(headline, first.headline(line.row)).map(times);
        let cpu = ratio(figures.cpu, first.cpu).map(|ratio| format!("CPU {}", times(ratio)));
        let parts: Vec<String> = figure.into_iter().chain(cpu).collect();
        cell.ratios = (!parts.is_empty()).then(|| parts.join(", "));
    }
    cell
}

/// The heads of the long table.
pub const LONG: [&str; 12] = [
    "row",
    "broker",
    "rate",
    "range",
    "÷ first",
    "CPU each",
    "÷ first",
    "p50",
    "p99",
    "p99.9",
    "memory",
    "written each",
];

/// A line of the long table, as [`LONG`] has it. The range is that of the figure that the row is about.
pub fn long(comparison: &Comparison, line: &Line<'_>, broker: usize) -> [String; 12] {
    let figures = &line.figures[broker];
    let first = &line.figures[0];
    let write = match line.row.headline {
        Headline::Rate => rate,
        Headline::Latency => microseconds,
    };
    let or_dash = |text: Option<String>| text.unwrap_or("–".into());
    let compared = |figure: Option<Spread>, first: Option<Spread>| {
        or_dash(if broker == 0 { None } else { ratio(figure, first).map(times) })
    };
    [
        line.name.clone(),
        comparison.brokers[broker].name.clone(),
        or_dash(text(figures.rate, rate)),
        or_dash(figures.headline(line.row).map(|spread| format!("{} – {}", write(spread.min), write(spread.max)))),
        compared(figures.rate, first.rate),
        or_dash(text(figures.cpu, nanoseconds)),
        compared(figures.cpu, first.cpu),
        or_dash(text(figures.p50, microseconds)),
        or_dash(text(figures.p99, microseconds)),
        or_dash(text(figures.p99_9, microseconds)),
        or_dash(text(figures.memory, bytes)),
        or_dash(text(figures.written, bytes)),
    ]
}

fn text(spread: Option<Spread>, format: fn(f64) -> String) -> Option<String> {
    spread.map(|spread| format(spread.median))
}

fn remarks(figures: &Figures) -> Vec<String> {
    let mut remarks: Vec<String> = vec![];
    // Of a long reason, such as the last lines of a broker, the report has the beginning.
    let brief = |reason: &String| {
        let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= 300 { line } else { line.chars().take(300).chain(['…']).collect() }
    };
    remarks.extend(figures.failed.iter().map(|reason| format!("failed: {}", brief(reason))));
    if figures.disturbed > 0 {
        let runs = if figures.disturbed == 1 { "run was" } else { "runs were" };
        remarks.push(format!("{} {runs} disturbed by other processes", figures.disturbed));
    }
    remarks
}

/// One broker's ratios to the first over the lines of a scenario: their medians.
pub fn glance(lines: &[Line<'_>], broker: usize) -> String {
    let ratios = |headline: Headline| {
        let lines = lines.iter().filter(|line| line.row.headline == headline);
        let ratio =
            |line: &Line<'_>| ratio(line.figures[broker].headline(line.row), line.figures[0].headline(line.row));
        Spread::of(lines.filter_map(ratio).collect::<Vec<_>>())
    };
    let cpu = Spread::of(lines.iter().filter_map(|line| ratio(line.figures[broker].cpu, line.figures[0].cpu)));
    let parts = [("rate", ratios(Headline::Rate)), ("p99", ratios(Headline::Latency)), ("CPU", cpu)];
    let parts: Vec<String> =
        parts.iter().filter_map(|(name, spread)| Some(format!("{name} {}", times((*spread)?.median)))).collect();
    if parts.is_empty() { "–".into() } else { parts.join(", ") }
}

/// What the overview shows.
pub const GLANCE: &str = "Each broker in multiples of the first one: the median over the rows of a scenario. Of the \
rate more is better, of p99 and CPU less.";

/// The facts at the head of a report: what, and its value.
pub fn facts(comparison: &Comparison) -> Vec<(&'static str, String)> {
    let (machine, settings) = (&comparison.machine, &comparison.settings);
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    let pinned = match (&settings.broker_cores, &settings.load_cores) {
        (None, None) => "nothing was pinned to cores".into(),
        (broker, load) => {
            let any = || "any".to_owned();
            let (broker, load) = (broker.clone().unwrap_or_else(any), load.clone().unwrap_or_else(any));
            format!("broker on core {broker}, load on core {load}")
        }
    };
    let rounds = if settings.rounds == 1 { "round" } else { "rounds" };
    let congestion = &machine.congestion_control;
    let mut facts = vec![
        (
            "Machine",
            format!("{}, {} {cores}, {} of memory", machine.cpu, machine.cores, bytes(machine.memory_bytes as f64)),
        ),
        ("System", format!("{}, TCP congestion control {congestion}, connections over loopback", machine.kernel)),
        (
            "Measured",
            format!(
                "{} {rounds} of {} s for each row and broker, interleaved; {pinned}",
                settings.rounds, settings.time
            ),
        ),
        ("Date", format!("{}, leveret-perf {}", comparison.date, comparison.version)),
    ];
    // Comparisons of before do not know it.
    if !machine.file_system.is_empty() {
        facts.insert(2, ("Files", format!("of brokers that were started here: on {}", machine.file_system)));
    }
    if settings.sync_delay > 0.0 {
        facts.push(("Disk", format!("each of their syncs took {} ms longer", settings.sync_delay * 1e3)));
    }
    facts
}

/// A broker's name for itself, and how it was started.
pub fn version(comparison: &Comparison, broker: usize) -> [String; 3] {
    let info = &comparison.brokers[broker];
    let version = [info.product.as_deref(), info.version.as_deref()].map(Option::unwrap_or_default).join(" ");
    let start = match (info.start_seconds, info.kept) {
        (None, _) => "ran already".into(),
        (Some(seconds), true) => format!("{seconds:.1} s, once in a round"),
        (Some(seconds), false) => format!("{:.1} ms, anew for each run", seconds * 1e3),
    };
    [version.trim().to_owned(), start, info.source.clone()]
}

/// The command line, as a shell takes it.
pub fn command(comparison: &Comparison) -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./,:=@%+".contains(c));
    let quote = |word: &String| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) };
    comparison.command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// What is to be said above all figures; none when there is nothing.
pub fn warning(comparison: &Comparison) -> Option<String> {
    let mut parts = vec![];
    if comparison.interrupted {
        parts.push("The comparison was interrupted: later rows have fewer runs, or none.".to_owned());
    }
    if comparison.settings.rounds == 1 {
        parts.push("There is one run behind each figure: differences of a few percent mean nothing.".to_owned());
    }
    let failed = comparison.runs.iter().filter(|run| run.counted && run.failed.is_some()).count();
    if failed > 0 {
        parts.push(format!("Runs that failed: {failed}."));
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// How to read the figures.
pub const LEGEND: &str = "Figures are medians over the rounds, ratios (×) are to the first broker. CPU is user and \
system time of the broker's process for each message delivered, or for each operation: the steadiest figure, and what \
remains when the load program is the limit. Memory is the most that the broker had resident during a run. \
Written is what went to a disk for each message or operation.";
