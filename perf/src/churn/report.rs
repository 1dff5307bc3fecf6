//! What a run of `churn` found, as text and as JSON in the schema of a load run.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

use super::args::{Args, Kind};
use super::phase::{Tally, histogram};
use crate::load::report::latency;

/// What was found. When `error` is there, the rest is what was reached before.
pub struct Outcome {
    pub product: Option<String>,
    pub version: Option<String>,
    /// The measured span.
    pub seconds: f64,
    /// Durations of the operations, in nanoseconds.
    pub latency: Histogram<u64>,
    pub load_cpu_seconds: f64,
    pub broker: Option<Value>,
    pub error: Option<String>,
}

impl Outcome {
    pub fn new() -> Outcome {
        Outcome {
            product: None,
            version: None,
            seconds: 0.0,
            latency: histogram(),
            load_cpu_seconds: 0.0,
            broker: None,
            error: None,
        }
    }

    /// Takes in what one thread measured.
    pub fn add(&mut self, tally: &Tally) {
        self.latency += &tally.latency;
    }

    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.latency.len() as f64 / self.seconds } else { 0.0 }
    }

    /// A few lines for a person.
    pub fn summary(&self, args: &Args) -> String {
        let name = args.kind.name();
        let mut text = format!("{name}: {} in {:.1} s, {:.0}/s\n", self.latency.len(), self.seconds, self.rate());
        if !self.latency.is_empty() {
            let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
            let max = self.latency.max() as f64 / 1e3;
            text += &format!("latency: p50 {:.1} µs, p99 {:.1} µs, max {max:.1} µs\n", at(0.5), at(0.99));
        }
        if let Some(cpu) = self.broker.as_ref().and_then(|broker| broker["cpu_ns_per_msg"].as_f64()) {
            text += &format!("broker: {cpu:.0} ns of CPU per operation\n");
        }
        text
    }

    /// Writes the JSON to a file, or to the standard output when the path is `-`.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, args: &Args, command: &[String], path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.json(args, command))?;
        text.push('\n');
        if path.as_os_str() == "-" { io::stdout().write_all(text.as_bytes()) } else { std::fs::write(path, text) }
    }

    fn json(&self, args: &Args, command: &[String]) -> Value {
        let count = self.latency.len();
        let line: Vec<&str> = ["leveret-perf", "churn"].into_iter().chain(command.iter().map(String::as_str)).collect();
        let timed = args.kind != Kind::Declare;
        let vhost = args.uri.vhost.replace('/', "%2f");
        json!({
            "tool": "leveret-perf",
            "version": env!("CARGO_PKG_VERSION"),
            "command": line,
            "id": args.id,
            "broker_product": self.product,
            "broker_version": self.version,
            "settings": {
                "kind": args.kind.name(),
                "uri": format!("amqp://{}@{}/{vhost}", args.uri.user, args.uri.address()),
                "time": timed.then_some(args.time.as_secs_f64()),
                "warmup": timed.then_some(args.warmup.as_secs_f64()),
                "in_flight": args.in_flight,
                "connections": args.connections,
                "durable": args.durable,
                "count": (args.kind == Kind::Declare).then_some(args.count),
                "broker_pid": args.broker_pid,
            },
            "seconds": self.seconds,
            "published": null,
            "confirmed": null,
            "nacked": null,
            "returned": null,
            "consumed": null,
            "publish_rate": null,
            "consume_rate": null,
            "operations": count,
            "operation_rate": self.rate(),
            "operation_latency_us": latency(&self.latency),
            "consume_latency_us": null,
            "confirm_latency_us": null,
            "load_cpu_ns_per_msg": (count > 0).then(|| self.load_cpu_seconds * 1e9 / count as f64),
            "load_cpu_seconds": self.load_cpu_seconds,
            "broker": self.broker,
            "checks": null,
            "intervals": [],
            "error": self.error,
        })
    }
}
