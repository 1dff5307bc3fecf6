//! What the broker uses while something else is measured.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::load::broker_process::{BrokerProcess, Usage};

/// Between two looks at its memory.
const LOOK: Duration = Duration::from_millis(100);

/// The broker's process, with those that descend from it.
pub struct Watched {
    process: BrokerProcess,
    pid: u32,
    rss_max: u64,
    looked: Instant,
}

impl Watched {
    /// # Errors
    /// No such process, for the user.
    pub fn new(pid: u32) -> Result<Watched, String> {
        let mut watched = Watched { process: BrokerProcess::new(&[pid]), pid, rss_max: 0, looked: Instant::now() };
        watched.usage().map(|_| watched).ok_or_else(|| format!("--broker-pid: there is no process {pid}"))
    }

    /// What it has used so far; none when it is gone.
    pub fn usage(&mut self) -> Option<Usage> {
        self.looked = Instant::now();
        let usage = self.process.usage()?;
        self.rss_max = self.rss_max.max(usage.rss_bytes);
        Some(usage)
    }

    /// Looks at its memory from time to time.
    pub fn look(&mut self) {
        if self.looked.elapsed() >= LOOK {
            self.usage();
        }
    }

    /// The `broker` object of a result; `count` is what the CPU time is divided by.
    pub fn report(&self, start: Usage, end: Usage, count: u64) -> Value {
        let cpu = end.cpu_seconds - start.cpu_seconds;
        json!({
            "pid": self.pid,
            "cpu_seconds": cpu,
            "cpu_ns_per_msg": (count > 0).then(|| cpu * 1e9 / count as f64),
            "rss_start_bytes": start.rss_bytes,
            "rss_end_bytes": end.rss_bytes,
            "rss_max_bytes": self.rss_max,
            "written_bytes": start.written_bytes.zip(end.written_bytes).map(|(start, end)| end.saturating_sub(start)),
        })
    }
}
