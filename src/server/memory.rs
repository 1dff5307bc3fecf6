//! The memory alarm: a thread looks at the process now and then, and tells all shards when it has more memory than it
//! may. As in RabbitMQ the alarm ends as soon as it has no more than that.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::inbox::{Inlet, Input};
use crate::config::memory::{MemoryConfig, Watermark};
use crate::limits::Limits;

/// Above half of the watermark looks come so many times as often: memory may fill fast.
const SOONER: u64 = 10;

/// Messages may have this part of the watermark where they can live on the disk: what else the process needs, and what
/// the allocator keeps, does not raise the alarm then.
const MESSAGES_PART: u64 = 2;

/// No limit of messages is made smaller than this, in bytes.
const MESSAGES_BYTES_MIN: u64 = 1 << 20;

/// The most control groups inside each other that are looked at.
const GROUPS_MAX: usize = 64;

/// What is known. Whoever holds it tells the shards.
#[derive(Debug)]
struct State {
    /// The process may take so many bytes.
    limit_bytes: u64,
    /// It takes more.
    low: bool,
    /// Nobody knows how much it takes, and the log says so.
    blind: bool,
    stop: bool,
}

/// Watches the memory of the process.
#[derive(Debug)]
pub struct Monitor {
    state: Mutex<State>,
    stopped: Condvar,
    resident: Resident,
    total_bytes: Option<u64>,
    interval_ms: u64,
    inlets: Arc<[Inlet]>,
}

impl Monitor {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process may take so much from now on. When this returns, all shards know whether it takes more.
    pub fn set(&self, watermark: Watermark) {
        let (sender, receiver) = mpsc::channel();
        {
            let total_bytes = self.total_bytes.unwrap_or_else(machine_bytes);
            let mut state = self.state();
            state.limit_bytes = limit_bytes(watermark, total_bytes);
            log::info!("the memory watermark is {} of {}", mib(state.limit_bytes), mib(total_bytes));
            self.look(&mut state);
            self.tell(state.low, Some(&sender));
        }
        drop(sender);
        // Nobody says anything: this ends when the last shard has heard it, or is gone.
        let _ = receiver.recv();
    }

    /// Looks at the process. Returns how long nobody need look again.
    fn look(&self, state: &mut State) -> Duration {
        let resident = self.resident.bytes();
        let bytes = match &resident {
            Ok(bytes) => *bytes,
            // At least this much.
            Err(_) => 1,
        };
        if let Err(error) = resident
            && !std::mem::replace(&mut state.blind, true)
        {
            log::warn!("cannot tell how much memory the process has, there is no memory alarm: {error}");
        }
        let low = bytes > state.limit_bytes;
        if std::mem::replace(&mut state.low, low) != low {
            let (has, may) = (mib(bytes), mib(state.limit_bytes));
            if low {
                log::warn!("the process has {has} of memory, over the watermark of {may}: publishers have to wait");
            } else {
                log::warn!("the process has {has} of memory, under the watermark of {may}: publishers go on");
            }
            self.tell(low, None);
        }
        let near = bytes > state.limit_bytes / 2;
        Duration::from_millis(if near { (self.interval_ms / SOONER).max(1) } else { self.interval_ms })
    }

    /// Tells all shards; under the lock, so that all learn the last one last.
    fn tell(&self, low: bool, heard: Option<&Sender<()>>) {
        self.inlets.iter().for_each(|inlet| inlet.put(Input::MemoryLow(low, heard.cloned())));
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.stop {
            let rest = self.look(&mut state);
            state = self.stopped.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The monitor and its thread, until this is dropped.
#[derive(Debug)]
pub struct Watch {
    monitor: Arc<Monitor>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the process from now on, for the shards behind `inlets`.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn start(config: &MemoryConfig, inlets: Arc<[Inlet]>) -> io::Result<Watch> {
        let limit_bytes = watermark_bytes(config);
        let monitor = Arc::new(Monitor {
            state: Mutex::new(State { limit_bytes, low: false, blind: false, stop: false }),
            stopped: Condvar::new(),
            resident: Resident::open(),
            total_bytes: config.total_bytes,
            interval_ms: config.interval_ms.max(1),
            inlets,
        });
        log::info!("the memory watermark is {}", mib(limit_bytes));
        // Before there are clients: a server that has too little from the start takes nothing from any.
        monitor.look(&mut monitor.state());
        let run = monitor.clone();
        let thread = std::thread::Builder::new().name("leveret-memory".into()).spawn(move || run.run())?;
        Ok(Watch { monitor, thread: Some(thread) })
    }

    /// What watches.
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.monitor.state().stop = true;
        self.monitor.stopped.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that watches the memory has panicked");
        }
    }
}

/// Bytes that the process may take.
pub fn watermark_bytes(config: &MemoryConfig) -> u64 {
    limit_bytes(config.watermark, config.total_bytes.unwrap_or_else(machine_bytes))
}

fn limit_bytes(watermark: Watermark, total_bytes: u64) -> u64 {
    match watermark {
        Watermark::Bytes(bytes) => bytes.min(total_bytes),
        Watermark::Share { thousandths } => (u128::from(total_bytes) * u128::from(thousandths.min(1000)) / 1000) as u64,
    }
}

/// Makes the limits of messages that can live on the disk fit a watermark: a backlog is to go there before it raises
/// the alarm.
pub fn fit(limits: &mut Limits, watermark_bytes: u64) {
    let bytes_max = (watermark_bytes / MESSAGES_PART).max(MESSAGES_BYTES_MIN);
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    if limits.messages_bytes_max > bytes_max {
        log::info!("messages in memory are limited to {}, half of the memory watermark", mib(bytes_max as u64));
        limits.messages_bytes_max = bytes_max;
        limits.stored_messages_bytes_max = limits.stored_messages_bytes_max.min(bytes_max);
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The memory that the process has (its resident set).
#[derive(Debug)]
struct Resident {
    statm: io::Result<File>,
    page_bytes: u64,
}

impl Resident {
    fn open() -> Resident {
        Resident { statm: File::open("/proc/self/statm"), page_bytes: rustix::param::page_size() as u64 }
    }

    fn bytes(&self) -> io::Result<u64> {
        let file = self.statm.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        let mut buffer = [0; 256];
        let count = file.read_at(&mut buffer, 0)?;
        let pages = resident_pages(&buffer[..count]).ok_or(ErrorKind::InvalidData)?;
        Ok(pages.saturating_mul(self.page_bytes))
    }
}

/// The second number of `/proc/self/statm`.
fn resident_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes of memory that there are: those of the machine, or of the control group if it may have less.
fn machine_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    let machine = (system.totalram as u64).saturating_mul(system.mem_unit.into());
    let read = |path: &str| fs::read_to_string(path).ok();
    let group = read("/proc/self/cgroup").and_then(|groups| group_bytes(&groups, read));
    group.map_or(machine, |group| group.min(machine))
}

/// The least that any of the control groups of `/proc/self/cgroup` may have, each inside the next.
fn group_bytes(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be the one outside, of which only the top is there.
        let mut path = path.trim_end_matches('/');
        for _ in 0..GROUPS_MAX {
            let bytes = read(&format!("{root}{path}/{name}")).and_then(|text| text.trim().parse().ok());
            least = least.into_iter().chain(bytes).min();
            let Some(end) = path.rfind('/') else { break };
            path = &path[..end];
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use mio::Poll;

    use super::*;
    use crate::server::inbox;

    const GIB: u64 = 1 << 30;

    #[test]
    fn watermarks_are_bytes() {
        for (watermark, total, expected) in [
            (Watermark::Share { thousandths: 0 }, 8 * GIB, 0),
            (Watermark::Share { thousandths: 600 }, 10 * GIB, 6 * GIB),
            (Watermark::Share { thousandths: 1000 }, 8 * GIB, 8 * GIB),
            (Watermark::Share { thousandths: 1001 }, 8 * GIB, 8 * GIB),
            (Watermark::Share { thousandths: 1000 }, u64::MAX, u64::MAX),
            (Watermark::Bytes(0), 8 * GIB, 0),
            (Watermark::Bytes(GIB), 8 * GIB, GIB),
            (Watermark::Bytes(9 * GIB), 8 * GIB, 8 * GIB),
        ] {
            assert_eq!(limit_bytes(watermark, total), expected, "{watermark:?} of {total}");
        }
        let half = |total_bytes| {
            let watermark = Watermark::Share { thousandths: 500 };
            watermark_bytes(&MemoryConfig { watermark, total_bytes, interval_ms: 1 })
        };
        assert_eq!(half(Some(6 * GIB)), 3 * GIB);
        assert_eq!(half(None), machine_bytes() / 2);
        assert!(machine_bytes() > 64 << 20);
    }

    #[test]
    fn the_smallest_control_group_around_the_process_counts() {
        let file = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/memory.max" | "/sys/fs/cgroup/a/open/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "4096\n",
                "/sys/fs/cgroup/a/b/memory.max" => "8192\n",
                "/sys/fs/cgroup/a/c/memory.max" => "1024\n",
                "/sys/fs/cgroup/bad/memory.max" => "much\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => "512\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        for (groups, expected) in [
            ("", None),
            ("0::/\n", None),
            ("0::/a\n", Some(4096)),
            ("0::/a/b\n", Some(4096)),
            ("0::/a/c\n", Some(1024)),
            ("0::/a/open/deeper\n", Some(4096)),
            ("0::/../elsewhere\n", None),
            ("0::/bad\n", None),
            ("4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n", Some(512)),
            ("4:hugetlb,memory:/outside/of/it\n", Some(9_223_372_036_854_771_712)),
            ("nonsense\n0:\n", None),
        ] {
            assert_eq!(group_bytes(groups, file), expected, "{groups}");
        }
    }

    #[test]
    fn a_backlog_goes_to_the_disk_before_it_raises_the_alarm() {
        for (watermark, stored, all) in [
            (14 * GIB, 128 << 20, GIB as usize),
            (2 * GIB, 128 << 20, GIB as usize),
            (GIB, 128 << 20, GIB as usize / 2),
            (200 << 20, 100 << 20, 100 << 20),
            (0, 1 << 20, 1 << 20),
        ] {
            let mut limits = Limits::default();
            fit(&mut limits, watermark);
            assert_eq!((limits.stored_messages_bytes_max, limits.messages_bytes_max), (stored, all), "{watermark}");
        }
    }

    #[test]
    fn the_process_is_seen_to_grow() {
        assert_eq!(resident_pages(b"5203 701 512 93 0 377 0\n"), Some(701));
        assert_eq!(resident_pages(b"5203\n"), None);
        let resident = Resident::open();
        let before = resident.bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        let after = resident.bytes().unwrap();
        // Other tests of this process give memory back meanwhile.
        assert!(after >= before + (32 << 20), "{before} {after} {}", block.len());
    }

    #[test]
    fn all_shards_hear_of_changes_in_order_and_only_of_changes() {
        let polls: Vec<_> = (0..3).map(|_| Poll::new().unwrap()).collect();
        let ends: Vec<_> = polls.iter().map(|poll| inbox::open(poll.registry()).unwrap()).collect();
        let (inlets, mut inboxes): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let mut heard = || -> Vec<String> {
            let all = inboxes.iter_mut().map(|inbox| {
                let said = std::iter::from_fn(|| inbox.take()).map(|input| match input {
                    Input::MemoryLow(low, _) => {
                        if low {
                            "low "
                        } else {
                            "well "
                        }
                    }
                    other => panic!("{other:?}"),
                });
                said.collect::<String>()
            });
            all.collect()
        };
        let monitor = Monitor {
            state: Mutex::new(State { limit_bytes: u64::MAX, low: false, blind: false, stop: false }),
            stopped: Condvar::new(),
            resident: Resident::open(),
            total_bytes: Some(u64::MAX),
            interval_ms: 1_000,
            inlets: inlets.into(),
        };
        for (limit_bytes, said, rest_ms) in
            [(u64::MAX, "", 1000), (1, "low ", 100), (0, "", 100), (u64::MAX, "well ", 1000), (u64::MAX, "", 1000)]
        {
            let mut state = monitor.state();
            state.limit_bytes = limit_bytes;
            assert_eq!(monitor.look(&mut state), Duration::from_millis(rest_ms), "{limit_bytes}");
            assert_eq!(heard(), [said; 3], "{limit_bytes}");
        }
    }

    #[test]
    fn where_nothing_can_be_seen_only_a_watermark_of_nothing_raises_the_alarm() {
        let statm = Err(ErrorKind::NotFound.into());
        let monitor = Monitor {
            state: Mutex::new(State { limit_bytes: GIB, low: false, blind: false, stop: false }),
            stopped: Condvar::new(),
            resident: Resident { statm, page_bytes: 4096 },
            total_bytes: None,
            interval_ms: 1_000,
            inlets: Arc::new([]),
        };
        monitor.look(&mut monitor.state());
        assert!(!monitor.state().low && monitor.state().blind);
        monitor.set(Watermark::Share { thousandths: 0 });
        assert!(monitor.state().low);
        monitor.set(Watermark::Share { thousandths: 600 });
        assert!(!monitor.state().low);
    }
}
