//! Processes: who descends from whom, who listens on a port, how much CPU time each has used, and how to end them.

use procfs::process::FDTarget;
use procfs::{CurrentSI, KernelStats};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::quiet::{Sample, others_cores};

/// All processes at a moment.
pub struct Snapshot {
    at: Instant,
    busy: u64,
    processes: Vec<Process>,
}

struct Process {
    pid: i32,
    parent: i32,
    name: String,
    /// In ticks since the machine's start: with the pid, what tells two processes apart.
    start: u64,
    /// Its CPU time.
    ticks: u64,
    /// That of its children that have ended.
    children: u64,
}

/// `kthreadd`, the parent of the kernel's own threads.
const KERNEL: i32 = 2;

impl Snapshot {
    /// Looks at `/proc`. None when that cannot be read.
    pub fn take() -> Option<Snapshot> {
        let at = Instant::now();
        let total = KernelStats::current().ok()?.total;
        let mut processes = vec![];
        for process in procfs::process::all_processes().ok()?.flatten() {
            // One may end between the look at the folder and the look into it.
            let Ok(stat) = process.stat() else { continue };
            let children = (stat.cutime + stat.cstime).max(0) as u64;
            let ticks = stat.utime + stat.stime;
            let (pid, parent, start) = (stat.pid, stat.ppid, stat.starttime);
            processes.push(Process { pid, parent, name: stat.comm, start, ticks, children });
        }
        Some(Snapshot { at, busy: total.user + total.nice + total.system, processes })
    }

    /// These processes and all that descend from them.
    pub fn trees(&self, roots: &[i32]) -> BTreeSet<i32> {
        let mut found: BTreeSet<i32> = roots.iter().copied().collect();
        // Children may have smaller numbers than their parents, so go on until nothing is added.
        loop {
            let before = found.len();
            let children = self.processes.iter().filter(|process| found.contains(&process.parent));
            let children: Vec<i32> = children.map(|process| process.pid).collect();
            found.extend(children);
            if found.len() == before {
                return found;
            }
        }
    }

    /// The sample for [`super::quiet`]: `own` are the trees of `roots` without those of `but`.
    fn sample(&self, origin: Instant, roots: &[i32], but: &[i32]) -> Sample {
        let own = self.own(roots, but);
        let ticks = self
            .processes
            .iter()
            .filter(|process| own.contains(&process.pid))
            .map(|process| process.ticks + process.children);
        Sample { at: self.at.saturating_duration_since(origin).as_secs_f64(), busy: self.busy, own: ticks.sum() }
    }

    /// Cores that others used since `before`, and who used most of them. `roots` and `but` as in [`Snapshot::sample`].
    pub fn others_since(&self, before: &Snapshot, roots: &[i32], but: &[i32]) -> (f64, Option<String>) {
        let [from, to] = [before, self].map(|snapshot| snapshot.sample(before.at, roots, but));
        (others_cores(from, to, ticks_per_second()), self.most(before, roots, but))
    }

    fn own(&self, roots: &[i32], but: &[i32]) -> BTreeSet<i32> {
        let mut own = self.trees(roots);
        let but = self.trees(but);
        own.retain(|pid| !but.contains(pid));
        own.extend(self.trees(&[KERNEL]));
        own
    }

    /// Who else used most CPU time since `before`, and how many cores that was. The time of children is not in it: it
    /// appears when one ends, all of it at once.
    fn most(&self, before: &Snapshot, roots: &[i32], but: &[i32]) -> Option<String> {
        let own = self.own(roots, but);
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        let used = self.processes.iter().filter(|process| !own.contains(&process.pid)).map(|process| {
            let earlier =
                before.processes.iter().find(|other| (other.pid, other.start) == (process.pid, process.start));
            (process.ticks.saturating_sub(earlier.map_or(0, |earlier| earlier.ticks)), process)
        });
        let (ticks, process) = used.max_by_key(|(ticks, _)| *ticks)?;
        let cores = ticks as f64 / ticks_per_second() / seconds.max(0.001);
        (ticks > 0).then(|| format!("{} (pid {}, {cores:.2} cores)", process.name, process.pid))
    }

    fn start_of(&self, pid: i32) -> Option<u64> {
        self.processes.iter().find(|process| process.pid == pid).map(|process| process.start)
    }
}

/// Clock ticks per second in `/proc`.
fn ticks_per_second() -> f64 {
    procfs::ticks_per_second() as f64
}

/// The process that listens on this port of a loopback address or of all, as far as this user may see.
pub fn listener(port: u16) -> Option<i32> {
    let near = |address: SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let entries = procfs::net::tcp().unwrap_or_default().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let inodes: BTreeSet<u64> = entries
        .filter(|entry| entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port)
        .filter(|entry| near(entry.local_address))
        .map(|entry| entry.inode)
        .collect();
    let mut processes = procfs::process::all_processes().ok()?.flatten();
    let found = processes.find(|process| {
        let Ok(mut fds) = process.fd() else { return false };
        fds.any(|fd| matches!(fd, Ok(fd) if matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode))))
    });
    found.map(|process| process.pid)
}

/// Whether a process with this number runs and is not dead already.
pub fn runs(pid: i32) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Ends a child and all that descend from it: asks with TERM, itself and `also` first, and after `patience` uses KILL.
pub fn stop(child: &mut Child, also: Option<i32>, patience: Duration) {
    let root = child.id() as i32;
    let snapshot = Snapshot::take();
    let tree = snapshot.as_ref().map(|snapshot| snapshot.trees(&[root])).unwrap_or_default();
    let same = |pid: i32| {
        let then = snapshot.as_ref().and_then(|snapshot| snapshot.start_of(pid));
        let now = procfs::process::Process::new(pid).and_then(|process| process.stat());
        now.is_ok_and(|now| Some(now.starttime) == then && !matches!(now.state, 'Z' | 'X'))
    };
    let send = |pid: i32, signal: Signal| {
        // That it ended a moment ago is what is wanted.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
    };
    if matches!(child.try_wait(), Ok(None)) {
        send(root, Signal::TERM);
    }
    also.into_iter()
        .filter(|pid| *pid != root && tree.contains(pid) && same(*pid))
        .for_each(|pid| send(pid, Signal::TERM));
    let start = Instant::now();
    let mut asked_all = false;
    loop {
        let gone = !matches!(child.try_wait(), Ok(None));
        let left: Vec<i32> = tree.iter().copied().filter(|pid| *pid != root && same(*pid)).collect();
        if gone && left.is_empty() {
            return;
        }
        if start.elapsed() > patience {
            left.iter().for_each(|pid| send(*pid, Signal::KILL));
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        // The root has ended and has left children behind: they get half of the time to follow.
        if gone && !asked_all && start.elapsed() > patience / 2 {
            left.iter().for_each(|pid| send(*pid, Signal::TERM));
            asked_all = true;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn process(pid: i32, parent: i32, name: &str, ticks: u64) -> Process {
        Process { pid, parent, name: name.into(), start: 1, ticks, children: 0 }
    }

    #[test]
    fn trees_and_shares_are_told_apart() {
        let snapshot = |busy, ticks: [u64; 6]| Snapshot {
            at: Instant::now(),
            busy,
            processes: vec![
                process(2, 0, "kthreadd", ticks[0]),
                process(9, 2, "kworker", ticks[1]),
                process(50, 1, "self", ticks[2]),
                process(40, 50, "broker", ticks[3]),
                process(30, 40, "idle", ticks[4]),
                process(60, 1, "rustc", ticks[5]),
            ],
        };
        let before = snapshot(100, [1, 2, 4, 8, 16, 32]);
        assert_eq!(before.trees(&[50]), BTreeSet::from([30, 40, 50]));
        assert_eq!(before.sample(before.at, &[50], &[]).own, 1 + 2 + 4 + 8 + 16);
        assert_eq!(before.sample(before.at, &[50], &[30]).own, 1 + 2 + 4 + 8);
        let mut after = snapshot(200, [1, 2, 4, 8, 46, 82]);
        after.at = before.at + Duration::from_secs(1);
        let most = after.most(&before, &[50], &[30]).expect("somebody");
        assert!(most.starts_with("rustc (pid 60, "), "{most}");
    }

    #[test]
    fn a_child_and_its_children_are_ended() {
        let script = "trap '' TERM; sleep 1000 & echo; sleep 1000";
        let mut child = Command::new("sh").args(["-c", script]).spawn().expect("sh");
        let root = child.id() as i32;
        let tree = loop {
            let tree = Snapshot::take().expect("proc").trees(&[root]);
            if tree.len() == 3 {
                break tree;
            }
            thread::sleep(Duration::from_millis(5));
        };
        stop(&mut child, None, Duration::from_millis(100));
        assert!(!runs(root));
        for pid in tree {
            while runs(pid) {
                thread::sleep(Duration::from_millis(5)); // KILL was sent; the system takes its time
            }
        }
    }

    #[test]
    fn the_listener_on_a_port_is_found() {
        let listener_here = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener_here.local_addr().expect("bound").port();
        assert_eq!(listener(port), Some(std::process::id() as i32));
    }
}
