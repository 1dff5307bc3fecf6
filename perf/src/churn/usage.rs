//! What another process uses: CPU time, memory, bytes written.

use procfs::process::Process;
use serde_json::{Value, json};

/// A process that is watched.
pub struct Watched {
    process: Process,
    rss_max: u64,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system time since its start.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// Bytes written to disk since its start; none where the system does not tell.
    pub written_bytes: Option<u64>,
}

impl Watched {
    /// # Errors
    /// No such process, for the user.
    pub fn new(pid: i32) -> Result<Watched, String> {
        let process = Process::new(pid).map_err(|error| format!("process {pid}: {error}"))?;
        Ok(Watched { process, rss_max: 0 })
    }

    /// What it has used so far; none when it is gone.
    pub fn usage(&mut self) -> Option<Usage> {
        let stat = self.process.stat().ok()?;
        let cpu_seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        let rss_bytes = stat.rss * procfs::page_size();
        self.rss_max = self.rss_max.max(rss_bytes);
        Some(Usage { cpu_seconds, rss_bytes, written_bytes: self.process.io().ok().map(|io| io.write_bytes) })
    }

    /// The `broker` object of a result; `count` is what the CPU time is divided by.
    pub fn report(&self, start: Usage, end: Usage, count: u64) -> Value {
        let cpu = end.cpu_seconds - start.cpu_seconds;
        json!({
            "pid": self.process.pid(),
            "cpu_seconds": cpu,
            "cpu_ns_per_msg": (count > 0).then(|| cpu * 1e9 / count as f64),
            "rss_start_bytes": start.rss_bytes,
            "rss_end_bytes": end.rss_bytes,
            "rss_max_bytes": self.rss_max,
            "written_bytes": start.written_bytes.zip(end.written_bytes).map(|(start, end)| end.saturating_sub(start)),
        })
    }
}

/// CPU time of this process in seconds.
pub fn own_cpu_seconds() -> f64 {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.map_or(0.0, |stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}
