//! The measured time: how long it was, and what this process and the broker used in it.

use std::time::Duration;

use super::broker_process::{BrokerProcess, Usage};
use super::clock;
use super::stats::Counters;

/// What the broker used in the span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrokerUse {
    /// CPU time in seconds.
    pub cpu_seconds: f64,
    /// Resident memory at the start, at the end, and the most seen at the ends of intervals.
    pub rss_start_bytes: u64,
    /// See `rss_start_bytes`.
    pub rss_end_bytes: u64,
    /// See `rss_start_bytes`.
    pub rss_max_bytes: u64,
    /// Bytes written to storage, if the system tells.
    pub written_bytes: Option<u64>,
}

/// The measured time.
#[derive(Debug)]
pub struct Span {
    /// When it started, in nanoseconds.
    pub start: u64,
    /// How long it was; 0 until it has ended.
    pub seconds: f64,
    /// What was counted in it.
    pub counted: Counters,
    /// CPU time of this process in it.
    pub cpu_seconds: f64,
    cpu_start: u64,
    broker: Option<BrokerProcess>,
    usage: Option<Usage>,
    rss_max: u64,
    /// What the broker used; `None` when it is not watched, or has ended.
    pub broker_use: Option<BrokerUse>,
}

impl Span {
    /// A span that has not started, watching these processes of the broker.
    pub fn new(pids: &[u32]) -> Span {
        Span {
            start: clock::now(),
            seconds: 0.0,
            counted: Counters::default(),
            cpu_seconds: 0.0,
            cpu_start: clock::cpu(),
            broker: (!pids.is_empty()).then(|| BrokerProcess::new(pids)),
            usage: None,
            rss_max: 0,
            broker_use: None,
        }
    }

    /// What the broker uses now.
    pub fn usage(&self) -> Option<Usage> {
        self.broker.as_ref().and_then(BrokerProcess::usage)
    }

    /// It starts now.
    pub fn begin(&mut self, now: u64) {
        self.usage = self.usage();
        self.rss_max = 0;
        self.start = now;
        self.cpu_start = clock::cpu();
        self.sample();
    }

    /// Looks at the broker's memory.
    pub fn sample(&mut self) {
        if let Some(usage) = self.usage() {
            self.rss_max = self.rss_max.max(usage.rss_bytes);
        }
    }

    /// It ends now.
    pub fn end(&mut self, now: u64, counted: &Counters) {
        self.seconds = clock::seconds(now.saturating_sub(self.start));
        self.counted = *counted;
        self.cpu_seconds = clock::seconds(clock::cpu() - self.cpu_start);
        self.broker_use = self.usage.zip(self.usage()).map(|(start, end)| BrokerUse {
            cpu_seconds: end.cpu_seconds - start.cpu_seconds,
            rss_start_bytes: start.rss_bytes,
            rss_end_bytes: end.rss_bytes,
            rss_max_bytes: self.rss_max.max(end.rss_bytes),
            written_bytes: end.written_bytes.zip(start.written_bytes).map(|(end, start)| end.saturating_sub(start)),
        });
    }

    /// When the interval after `now` ends: whole intervals from the start on.
    pub fn next_interval(&self, now: u64, interval: Duration) -> u64 {
        let interval = interval.as_nanos().max(1) as u64;
        self.start + ((now - self.start) / interval + 1) * interval
    }

    /// Messages that CPU time is divided by: deliveries, or publishes where nothing is consumed.
    pub fn messages(&self) -> u64 {
        if self.counted.consumed > 0 { self.counted.consumed } else { self.counted.published }
    }

    /// Nanoseconds of `cpu_seconds` per message; `None` without messages.
    pub fn per_message(&self, cpu_seconds: f64) -> Option<f64> {
        (self.messages() > 0).then(|| cpu_seconds * 1e9 / self.messages() as f64)
    }
}
