//! What the broker's processes use, from /proc: the given ones and all that descend from them.

use std::collections::BTreeMap;
use std::fs;

/// What a process tree has used up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time in seconds, user and system.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Bytes written to storage; `None` when the system does not tell.
    pub written_bytes: Option<u64>,
}

/// Processes to watch.
#[derive(Debug, Clone)]
pub struct BrokerProcess {
    pids: Vec<u32>,
    ticks_per_second: f64,
    page_bytes: u64,
}

/// What /proc/PID/stat says, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u64,
    pages: u64,
}

/// Reads /proc/PID/stat, whose second field is a name in parentheses that may itself have any characters.
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields 4, 14, 15 and 24 of proc(5); the first here is field 3.
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    Some(Stat { parent: field(4)? as u32, ticks: field(14)? + field(15)?, pages: field(24)? })
}

fn written(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

impl BrokerProcess {
    /// Watches these.
    pub fn new(pids: &[u32]) -> BrokerProcess {
        BrokerProcess {
            pids: pids.to_vec(),
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// What they have used; `None` when one of them is not there.
    pub fn usage(&self) -> Option<Usage> {
        let mut stats = BTreeMap::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A process may end between the listing and the reading.
            if let Some(pid) = pid
                && let Ok(text) = fs::read_to_string(entry.path().join("stat"))
                && let Some(stat) = stat(&text)
            {
                stats.insert(pid, stat);
            }
        }
        if self.pids.iter().any(|pid| !stats.contains_key(pid)) {
            return None;
        }
        let mut usage = Usage { written_bytes: Some(0), ..Usage::default() };
        for pid in tree(&self.pids, &stats) {
            let stat = stats[&pid];
            usage.cpu_seconds += stat.ticks as f64 / self.ticks_per_second;
            usage.rss_bytes += stat.pages * self.page_bytes;
            let bytes = fs::read_to_string(format!("/proc/{pid}/io")).ok().and_then(|text| written(&text));
            usage.written_bytes = usage.written_bytes.zip(bytes).map(|(sum, bytes)| sum + bytes);
        }
        Some(usage)
    }
}

/// The roots and all that descend from them, each once.
fn tree(roots: &[u32], stats: &BTreeMap<u32, Stat>) -> Vec<u32> {
    let mut found: Vec<u32> = roots.to_vec();
    found.sort_unstable();
    found.dedup();
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        let children = stats.iter().filter(|(child, stat)| stat.parent == pid && !found.contains(child));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "77 (a ) (b) S 5 77 77 0 -1 4194304 1 2 3 4 100 23 9 9 20 0 7 0 5000 999 42 18446744073709551615";
        assert_eq!(stat(line), Some(Stat { parent: 5, ticks: 123, pages: 42 }));
        assert_eq!(stat("77 (x) S 5"), None);
        assert_eq!(written("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"), Some(4096));
    }

    #[test]
    fn descendants_are_found_once() {
        let stat = |parent| Stat { parent, ticks: 0, pages: 0 };
        let stats = [(1, 0), (2, 1), (3, 2), (4, 1), (5, 9)].map(|(pid, parent)| (pid, stat(parent)));
        assert_eq!(tree(&[2, 1, 2], &stats.into()), [1, 2, 4, 3]);
        assert_eq!(tree(&[5], &stats.into()), [5]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = BrokerProcess::new(&[std::process::id()]).usage().unwrap();
        assert!(usage.rss_bytes > 0);
        assert_eq!(BrokerProcess::new(&[u32::MAX]).usage(), None);
    }
}
