//! From runs to figures: one for each shown step of a row and each broker.

use serde_json::Value;

use super::data::{Comparison, RowInfo, Run};
use super::statistics::{Spread, median_index};
use crate::scenarios::row::{Headline, Latency};

/// A line of the tables: a shown step of a row.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    pub row: &'a RowInfo,
    /// The row's name, with the step's where there are several.
    pub name: String,
    /// For each broker.
    pub figures: Vec<Figures>,
}

/// What the counted runs of one broker say.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Messages or operations per second.
    pub rate: Option<Spread>,
    /// The broker's CPU time for each, in ns; none where other load was on it as well.
    pub cpu: Option<Spread>,
    /// Percentiles in µs.
    pub p50: Option<Spread>,
    pub p99: Option<Spread>,
    pub p99_9: Option<Spread>,
    /// The most resident memory, in bytes.
    pub memory: Option<Spread>,
    /// Memory for each idle connection, in bytes.
    pub idle: Option<Spread>,
    /// Bytes written to disk for each message or operation.
    pub written: Option<Spread>,
    /// Percentile and µs, of the run whose p99 is in the middle.
    pub curve: Vec<(f64, f64)>,
    /// Runs that ended well.
    pub good: usize,
    /// Counted runs that were disturbed.
    pub disturbed: usize,
    /// Why runs failed, each reason once.
    pub failed: Vec<String>,
}

impl Figures {
    /// The figure that the row is about.
    pub fn headline(&self, row: &RowInfo) -> Option<Spread> {
        match row.headline {
            Headline::Rate => self.rate,
            Headline::Latency => self.p99,
        }
    }
}

/// All lines, in the order of the rows.
pub fn lines(comparison: &Comparison) -> Vec<Line<'_>> {
    let mut lines = vec![];
    for (index, row) in comparison.rows.iter().enumerate() {
        for (step, info) in row.steps.iter().enumerate().filter(|(_, info)| info.shown) {
            let name = if info.label.is_empty() { row.name.clone() } else { format!("{}: {}", row.name, info.label) };
            let figures = (0..comparison.brokers.len())
                .map(|broker| {
                    let runs = comparison.runs.iter();
                    let runs = runs.filter(|run| run.counted && run.row == index && run.broker == broker);
                    figures(row, step, &runs.collect::<Vec<_>>())
                })
                .collect();
            lines.push(Line { row, name, figures });
        }
    }
    lines
}

fn figures(row: &RowInfo, step: usize, runs: &[&Run]) -> Figures {
    let disturbed = runs.iter().filter(|run| run.disturbed && run.failed.is_none()).count();
    let mut figures = Figures { disturbed, ..Figures::default() };
    for reason in runs.iter().filter_map(|run| run.failed.as_ref()) {
        if !figures.failed.contains(reason) {
            figures.failed.push(reason.clone());
        }
    }
    let good = runs.iter().filter(|run| run.failed.is_none());
    let results: Vec<&Value> = good.filter_map(|run| run.results.get(step)?.as_ref()).collect();
    figures.good = results.len();
    let spread = |get: &dyn Fn(&Value) -> Option<f64>| Spread::of(results.iter().filter_map(|result| get(result)));
    figures.rate = spread(&rate);
    // The broker's CPU and disk served the steps beside it as well.
    if !row.steps.iter().any(|step| step.beside) {
        figures.cpu = spread(&|result| result["broker"]["cpu_ns_per_msg"].as_f64());
        figures.written = spread(&|result| Some(result["broker"]["written_bytes"].as_f64()? / count(result)?));
    }
    figures.memory = spread(&|result| result["broker"]["rss_max_bytes"].as_f64());
    figures.idle = spread(&|result| result["idle_connection_bytes"].as_f64());
    if let Some(latency) = row.latency {
        let percentile = |key: &'static str| spread(&move |result| result[key_of(latency)][key].as_f64());
        (figures.p50, figures.p99, figures.p99_9) = (percentile("p50"), percentile("p99"), percentile("p99_9"));
        let with: Vec<&Value> = results.iter().map(|result| &result[key_of(latency)]).collect();
        let with: Vec<&Value> = with.into_iter().filter(|latency| latency["p99"].is_number()).collect();
        let p99: Vec<f64> = with.iter().filter_map(|latency| latency["p99"].as_f64()).collect();
        figures.curve = median_index(&p99).map_or(vec![], |index| curve(&with[index]["curve"]));
    }
    figures
}

fn key_of(latency: Latency) -> &'static str {
    match latency {
        Latency::Consume => "consume_latency_us",
        Latency::Confirm => "confirm_latency_us",
        Latency::Operation => "operation_latency_us",
    }
}

/// Operations per second; or deliveries; or, when nothing was to be consumed, publishes.
fn rate(result: &Value) -> Option<f64> {
    let consumed = result["consumed"].as_f64().is_some_and(|count| count > 0.0);
    let consumed = consumed.then(|| result["consume_rate"].as_f64()).flatten();
    result["operation_rate"].as_f64().or(consumed).or_else(|| result["publish_rate"].as_f64())
}

fn count(result: &Value) -> Option<f64> {
    ["operations", "consumed", "published"].iter().filter_map(|key| result[key].as_f64()).find(|count| *count > 0.0)
}

fn curve(value: &Value) -> Vec<(f64, f64)> {
    let points = value.as_array().map(Vec::as_slice).unwrap_or_default();
    points.iter().filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?))).collect()
}

/// `figure` ÷ `first`, if both are there.
pub fn ratio(figure: Option<Spread>, first: Option<Spread>) -> Option<f64> {
    let (figure, first) = (figure?.median, first?.median);
    (first > 0.0).then(|| figure / first)
}
