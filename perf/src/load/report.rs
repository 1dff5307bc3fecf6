//! What the user sees: lines of progress, a summary, JSON and CSV.

use std::fs::File;
use std::io::{BufWriter, Write};

use hdrhistogram::Histogram;
use serde_json::json;

use super::checks::Findings;
use super::engine::Engine;
use super::error::Failure;
use super::options::Options;
use super::stats::Interval;
use super::wire::Product;

/// Lines of progress, and the file with a line for each interval.
#[derive(Debug)]
pub struct Progress {
    csv: Option<BufWriter<File>>,
    /// The standard output belongs to the JSON.
    aside: bool,
}

const CSV_HEAD: &str = "at_s,measured,publish_rate,confirm_rate,nack_rate,return_rate,consume_rate,in_flight,\
consume_min_us,consume_p50_us,consume_p75_us,consume_p95_us,consume_p99_us,\
confirm_min_us,confirm_p50_us,confirm_p75_us,confirm_p95_us,confirm_p99_us";

/// Nanoseconds as microseconds.
fn micro(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// Five latencies as PerfTest shows them, in whole microseconds.
fn slashes(five: &[u64; 5]) -> String {
    five.map(|value| format!("{}", (value + 500) / 1000)).join("/")
}

/// A rate as PerfTest shows it: whole from ten on.
fn rate(rate: f64) -> String {
    if rate >= 10.0 || rate == 0.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

impl Progress {
    /// Opens the file, if there is to be one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(o: &Options) -> Result<Progress, Failure> {
        let csv = match &o.csv {
            Some(path) => {
                let refuse = |error| Failure::run(format!("cannot write {path}: {error}"));
                let mut file = BufWriter::new(File::create(path).map_err(refuse)?);
                writeln!(file, "{CSV_HEAD}").map_err(refuse)?;
                Some(file)
            }
            None => None,
        };
        Ok(Progress { csv, aside: o.json.as_deref() == Some("-") })
    }

    fn line(&self, text: &str) {
        // A reader that has gone away does not stop the run.
        let _ = if self.aside { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
    }

    /// Something that the user should know, also when lines of progress are not wanted.
    pub fn note(&self, o: &Options, text: &str) {
        self.line(&format!("id: {}, {text}", o.id));
    }

    /// An interval is over.
    pub fn interval(&mut self, o: &Options, interval: &Interval, measured: bool) {
        if let Some(csv) = &mut self.csv {
            let i = interval;
            let mut row = format!(
                "{:.3},{measured},{:.1},{:.1},{:.1},{:.1},{:.1},{}",
                i.at, i.publish_rate, i.confirm_rate, i.nack_rate, i.return_rate, i.consume_rate, i.in_flight
            );
            for five in [&i.consume, &i.confirm] {
                for at in 0..5 {
                    row.push(',');
                    if let Some(five) = five {
                        row.push_str(&format!("{:.3}", micro(five[at])));
                    }
                }
            }
            let _ = writeln!(csv, "{row}");
        }
        if o.quiet {
            return;
        }
        let i = interval;
        let warm_up = if measured { "" } else { " (warm-up)" };
        let mut text = format!("id: {}, time {:.3} s{warm_up}", o.id, i.at);
        let mut add = |name: &str, value: f64| text.push_str(&format!(", {name}: {} msg/s", rate(value)));
        if o.producers > 0 {
            add("sent", i.publish_rate);
        }
        if o.confirm.is_some() || o.ptxsize > 0 {
            add("confirmed", i.confirm_rate);
            add("nacked", i.nack_rate);
        }
        if o.mandatory {
            add("returned", i.return_rate);
        }
        if o.consumers > 0 {
            add("received", i.consume_rate);
        }
        if o.consumers > 0 && o.producers > 0 {
            text.push_str(&format!(", in flight: {}", i.in_flight.max(0)));
        }
        if let Some(five) = &i.consume {
            let what = if o.rpc { "round trip" } else { "consumer latency" };
            text.push_str(&format!(", min/median/75th/95th/99th {what}: {} µs", slashes(five)));
        }
        if let Some(five) = &i.confirm {
            text.push_str(&format!(", confirm latency: {} µs", slashes(five)));
        }
        self.line(&text);
    }

    /// No more lines will come.
    pub fn finish(&mut self) {
        if let Some(csv) = &mut self.csv {
            let _ = csv.flush();
        }
    }
}

/// The results of a run.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The command line, with the program's name.
    pub command: &'a [String],
    /// The broker.
    pub product: &'a Product,
    /// What the checks have found, if there were any.
    pub findings: Option<Findings>,
    /// Bytes of each idle connection, if known.
    pub idle_bytes: Option<f64>,
    /// What went wrong.
    pub failure: Option<&'a Failure>,
}

/// Percentiles and the curve of a histogram of nanoseconds, in microseconds; null when nothing was measured.
pub fn latency(histogram: &Histogram<u64>) -> serde_json::Value {
    if histogram.is_empty() {
        return serde_json::Value::Null;
    }
    let at = |percentile: f64| micro(histogram.value_at_percentile(percentile));
    let mut curve: Vec<(f64, f64)> = vec![];
    // From the minimum on; each step halves what is left, five points to each.
    for step in histogram.iter_quantiles(5) {
        curve.push((step.quantile_iterated_to() * 100.0, micro(step.value_iterated_to())));
    }
    json!({
        "count": histogram.len(),
        "min": micro(histogram.min()),
        "mean": histogram.mean() / 1000.0,
        "p50": at(50.0),
        "p75": at(75.0),
        "p95": at(95.0),
        "p99": at(99.0),
        "p99_9": at(99.9),
        "p99_99": at(99.99),
        "max": micro(histogram.max()),
        "curve": curve,
    })
}

/// The results as one object, for programs.
pub fn json(o: &Options, engine: Option<&Engine<'_>>, outcome: &Outcome<'_>) -> serde_json::Value {
    let mut object = json!({
        "tool": "leveret-perf",
        "version": env!("CARGO_PKG_VERSION"),
        "command": outcome.command,
        "id": o.id,
        "broker_product": outcome.product.name,
        "broker_version": outcome.product.version,
        "settings": o.settings(),
    });
    let measured = engine.map(|engine| {
        let (span, stats) = (&engine.span, &engine.stats);
        let counted = &span.counted;
        let per_second = |count: u64| if span.seconds > 0.0 { count as f64 / span.seconds } else { 0.0 };
        let broker = span.broker_use.map(|used| {
            json!({
                "pid": o.broker_pids.first(),
                "pids": o.broker_pids,
                "cpu_seconds": used.cpu_seconds,
                "cpu_ns_per_msg": span.per_message(used.cpu_seconds),
                "rss_start_bytes": used.rss_start_bytes,
                "rss_end_bytes": used.rss_end_bytes,
                "rss_max_bytes": used.rss_max_bytes,
                "written_bytes": used.written_bytes,
            })
        });
        let intervals: Vec<_> = stats.intervals.iter().map(interval).collect();
        json!({
            "seconds": span.seconds,
            "ended": engine.reason,
            "drained": !engine.undrained,
            "published": counted.published,
            "confirmed": counted.confirmed,
            "nacked": counted.nacked,
            "returned": counted.returned,
            "consumed": counted.consumed,
            "in_flight_end": counted.in_flight.max(0),
            "published_total": stats.now.published,
            "consumed_total": stats.now.consumed,
            "served": stats.served,
            "foreign": stats.foreign,
            "publish_rate": per_second(counted.published),
            "confirm_rate": per_second(counted.confirmed),
            "consume_rate": per_second(counted.consumed),
            "consume_latency_us": latency(stats.consume.total()),
            "confirm_latency_us": latency(stats.confirm.total()),
            "load_cpu_ns_per_msg": span.per_message(span.cpu_seconds),
            "load_cpu_seconds": span.cpu_seconds,
            "broker": broker,
            "intervals": intervals,
        })
    });
    // A run that has not begun has the same keys.
    let measured = measured.unwrap_or_else(|| {
        json!({
            "seconds": 0.0, "ended": null, "drained": true,
            "published": 0, "confirmed": 0, "nacked": 0, "returned": 0, "consumed": 0,
            "in_flight_end": 0, "published_total": 0, "consumed_total": 0, "served": 0, "foreign": 0,
            "publish_rate": 0.0, "confirm_rate": 0.0, "consume_rate": 0.0,
            "consume_latency_us": null, "confirm_latency_us": null,
            "load_cpu_ns_per_msg": null, "load_cpu_seconds": 0.0, "broker": null, "intervals": [],
        })
    });
    let rest = json!({
        "idle_connection_bytes": outcome.idle_bytes,
        "checks": outcome.findings.map(|found| {
            json!({ "lost": found.lost, "doubled": found.doubled, "reordered": found.reordered })
        }),
        "error": outcome.failure.map(ToString::to_string),
    });
    if let Some(object) = object.as_object_mut() {
        for part in [measured, rest] {
            if let serde_json::Value::Object(part) = part {
                object.extend(part);
            }
        }
    }
    object
}

fn interval(i: &Interval) -> serde_json::Value {
    let at = |five: &Option<[u64; 5]>, at: usize| five.map(|five| micro(five[at]));
    json!({
        "at": i.at,
        "publish_rate": i.publish_rate,
        "consume_rate": i.consume_rate,
        "confirm_rate": i.confirm_rate,
        "in_flight": i.in_flight.max(0),
        "consume_p50_us": at(&i.consume, 1),
        "consume_p99_us": at(&i.consume, 4),
        "confirm_p50_us": at(&i.confirm, 1),
        "confirm_p99_us": at(&i.confirm, 4),
    })
}

/// The summary in PerfTest's words, with ours behind.
pub fn summary(o: &Options, engine: &Engine<'_>, outcome: &Outcome<'_>) -> String {
    let (span, stats) = (&engine.span, &engine.stats);
    let mut text = String::new();
    let mut line = |what: String| text.push_str(&format!("id: {}, {what}\n", o.id));
    let per_second = |count: u64| if span.seconds > 0.0 { rate(count as f64 / span.seconds) } else { "0".into() };
    line(format!("sending rate avg: {} msg/s", per_second(span.counted.published)));
    line(format!("receiving rate avg: {} msg/s", per_second(span.counted.consumed)));
    for (name, latency) in [
        (if o.rpc { "round trip" } else { "consumer latency" }, stats.consume.total()),
        ("confirm latency", stats.confirm.total()),
    ] {
        if let Some(five) = super::stats::five(latency) {
            let more =
                [latency.value_at_percentile(99.9), latency.max()].map(|value| ((value + 500) / 1000).to_string());
            line(format!("{name} min/median/75th/95th/99th {} µs, 99.9th/max {} µs", slashes(&five), more.join("/")));
        }
    }
    let counted = &span.counted;
    if counted.nacked + counted.returned > 0 {
        line(format!("nacked: {}, returned: {}", counted.nacked, counted.returned));
    }
    if stats.foreign > 0 {
        line(format!("messages that are not this tool's: {} (without a latency)", stats.foreign));
    }
    if let Some(load) = span.per_message(span.cpu_seconds) {
        line(format!("CPU of this tool: {load:.1} ns/msg, {:.2} s in {:.2} s", span.cpu_seconds, span.seconds));
    }
    if let Some(used) = span.broker_use {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let per_message = span.per_message(used.cpu_seconds).map_or("-".into(), |cpu| format!("{cpu:.1}"));
        line(format!(
            "CPU of the broker: {per_message} ns/msg, {:.2} s; memory {} to {}, at most {}; written {}",
            used.cpu_seconds,
            mib(used.rss_start_bytes),
            mib(used.rss_end_bytes),
            mib(used.rss_max_bytes),
            used.written_bytes.map_or("unknown".into(), mib),
        ));
    }
    if let Some(bytes) = outcome.idle_bytes {
        line(format!("memory of the broker for each idle connection: {:.1} KiB", bytes / 1024.0));
    }
    if let Some(found) = outcome.findings {
        line(format!("lost: {}, doubled: {}, reordered: {}", found.lost, found.doubled, found.reordered));
    }
    text
}
