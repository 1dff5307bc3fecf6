//! Brokers: where they come from, and a broker that runs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use super::{process, rabbitmq};
use crate::churn::client::Client;
use crate::load::uri::Uri;

/// A broker of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub name: String,
    pub source: Source,
}

/// Where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The `leveret` beside this program.
    Leveret,
    /// Debian's rabbitmq-server as it comes.
    RabbitMq,
    /// A shell command with `{port}` and maybe `{dir}`.
    Command(String),
    /// It runs already.
    Running { uri: String, pid: Option<i32> },
}

/// The calls that wait for a disk.
const SYNCS: &str = "fsync,fdatasync";
/// The longest wait for a broker to take a connection.
const START_MAX: Duration = Duration::from_secs(90);
/// How long it may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// The longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Lines of a broker's output that are shown when it fails.
const LAST_LINES: usize = 8;

/// A broker that takes connections.
pub struct Broker {
    pub uri: String,
    /// The process that listens; none when it is on another machine, or another user's.
    pub pid: Option<i32>,
    pub product: Option<String>,
    pub version: Option<String>,
    /// From its start until a connection was open.
    pub start_seconds: Option<f64>,
    /// The process that was started, if one was.
    child: Option<Child>,
    /// Processes that it needs, to be stopped after it.
    helpers: Vec<Child>,
    /// Its files. Goes away with it.
    dir: Option<TempDir>,
}

/// What is needed to start one.
pub struct Start<'a> {
    /// The cores for it, if any can be chosen.
    pub cores: Option<&'a str>,
    /// So much longer each of its syncs takes; zero: as they are.
    pub sync_delay: Duration,
    pub interrupted: &'a AtomicBool,
}

impl Source {
    /// The command or URI, for a person.
    pub fn text(&self, cores: Option<&str>) -> String {
        match self {
            Source::Leveret => format!("leveret {}", leveret_options(cores)),
            Source::RabbitMq => "rabbitmq-server as packaged, its files in a scratch folder".into(),
            Source::Command(command) => command.clone(),
            Source::Running { uri, .. } => uri.clone(),
        }
    }
}

/// The sibling of this program, with as many shards as it has cores.
fn leveret_command(cores: Option<&str>) -> Result<String, String> {
    let here = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let binary = here.with_file_name("leveret");
    if !binary.is_file() {
        return Err(format!("{} is not there: build it with cargo build --release", binary.display()));
    }
    Ok(format!("{} {}", quoted(&binary), leveret_options(cores)))
}

/// One shard for each core, and its messages in the scratch folder.
fn leveret_options(cores: Option<&str>) -> String {
    let shards = cores.map_or(1, count_cores);
    format!("--port {{port}} --shards {shards} --data-dir '{{dir}}/data' --log-level warning")
}

/// How many cores a list such as `0,2-3` has; at least 1.
fn count_cores(list: &str) -> usize {
    let span = |part: &str| match part.split_once('-') {
        Some((first, last)) => Some(last.trim().parse::<usize>().ok()? + 1 - first.trim().parse::<usize>().ok()?),
        None => part.trim().parse::<usize>().ok().map(|_| 1),
    };
    list.split(',').filter_map(span).sum::<usize>().max(1)
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Starts a broker, or meets one that runs, and waits until a connection can be opened.
///
/// # Errors
/// Why there is none, with the last lines that it wrote.
pub fn start(spec: &Spec, start: &Start<'_>) -> Result<Broker, String> {
    let told = |error: String| format!("{}: {error}", spec.name);
    let mut broker = match &spec.source {
        Source::Running { uri, pid } => running(uri, *pid),
        Source::Leveret => leveret_command(start.cores).and_then(|command| command_broker(&command, start)),
        Source::Command(command) => command_broker(command, start),
        Source::RabbitMq => rabbitmq_broker(start),
    }
    .map_err(told)?;
    broker.wait(start).map_err(told)?;
    Ok(broker)
}

fn running(uri: &str, pid: Option<i32>) -> Result<Broker, String> {
    if let Some(pid) = pid.filter(|pid| !process::runs(*pid)) {
        return Err(format!("there is no process {pid}"));
    }
    Ok(Broker::new(uri.to_owned(), pid))
}

fn command_broker(command: &str, start: &Start<'_>) -> Result<Broker, String> {
    let dir = scratch()?;
    let port = free_port()?;
    let line = command.replace("{port}", &port.to_string()).replace("{dir}", &dir.path().display().to_string());
    let mut shell = slowed("sh", start);
    shell.args(["-c", &line]);
    let mut broker = Broker::new(format!("amqp://127.0.0.1:{port}"), None);
    broker.child = Some(spawn(&mut shell, dir.path())?);
    broker.dir = Some(dir);
    Ok(broker)
}

fn rabbitmq_broker(start: &Start<'_>) -> Result<Broker, String> {
    let dir = scratch()?;
    let ports = rabbitmq::Ports { amqp: free_port()?, distribution: free_port()?, epmd: free_port()? };
    let mut broker = Broker::new(format!("amqp://127.0.0.1:{}", ports.amqp), None);
    if let Some(mut epmd) = rabbitmq::epmd(&ports) {
        broker.helpers.push(spawn(&mut epmd, dir.path())?);
    }
    let mut server = slowed(rabbitmq::program(), start);
    rabbitmq::prepare(&mut server, dir.path(), &ports);
    broker.child = Some(spawn(&mut server, dir.path())?);
    broker.dir = Some(dir);
    Ok(broker)
}

/// A command on these cores.
pub fn pinned(program: &str, cores: Option<&str>) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores, program]);
            command
        }
    }
}

/// A command on a broker's cores, with its syncs delayed. The calls that are not delayed run at full speed: only those
/// are traced.
fn slowed(program: &str, start: &Start<'_>) -> Command {
    if start.sync_delay.is_zero() {
        return pinned(program, start.cores);
    }
    let mut command = pinned("strace", start.cores);
    let inject = format!("inject={SYNCS}:delay_exit={}", start.sync_delay.as_micros());
    command.args(["-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e", &format!("trace={SYNCS}"), "-e", &inject]);
    command.arg(program);
    command
}

/// Whether syncs can be delayed here: that needs strace, and leave to trace.
pub fn can_delay() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e", &format!("trace={SYNCS}"), "true"]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().is_ok_and(|status| status.success())
}

/// Starts it with its output in a file of `dir`, in a process group of its own: a Ctrl-C is for us alone.
fn spawn(command: &mut Command, dir: &Path) -> Result<Child, String> {
    let open = || File::options().create(true).append(true).open(output(dir));
    let (out, err) = (open(), open());
    let told = |error: std::io::Error| format!("cannot start {}: {error}", command.get_program().display());
    let (out, err) = out.and_then(|out| Ok((out, err?))).map_err(told)?;
    let program = command.get_program().to_owned();
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
    child.map_err(|error| format!("cannot start {}: {error}", program.display()))
}

fn output(dir: &Path) -> PathBuf {
    dir.join("output.log")
}

fn scratch() -> Result<TempDir, String> {
    tempfile::Builder::new().prefix("leveret-perf-").tempdir().map_err(|error| format!("no scratch folder: {error}"))
}

/// A port of the loopback interface that nobody has. Not of the range that the system gives to clients: a client that
/// looks whether the broker is there yet could be given that very port.
fn free_port() -> Result<u16, String> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (own.wrapping_mul(7) % COUNT + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}

impl Broker {
    fn new(uri: String, pid: Option<i32>) -> Broker {
        let (product, version, start_seconds) = (None, None, None);
        Broker { uri, pid, product, version, start_seconds, child: None, helpers: vec![], dir: None }
    }

    fn wait(&mut self, start: &Start<'_>) -> Result<(), String> {
        let uri = Uri::parse(&self.uri)?;
        let begin = Instant::now();
        loop {
            match Client::connect(&uri, ANSWER_MAX) {
                Ok(client) => {
                    self.start_seconds = self.child.is_some().then(|| begin.elapsed().as_secs_f64());
                    (self.product, self.version) = (client.product.clone(), client.version.clone());
                    client.close()?;
                    break;
                }
                Err(error) if self.child.is_none() => return Err(error),
                Err(error) if begin.elapsed() > START_MAX => {
                    return Err(format!("takes no connection after {START_MAX:?}: {error}{}", self.last_lines()));
                }
                Err(_) => {}
            }
            if let Some(death) = self.death() {
                return Err(format!("did not start: {death}"));
            }
            if start.interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        if self.pid.is_none() && (self.child.is_some() || is_near(&uri)) {
            self.pid = process::listener(uri.port);
        }
        Ok(())
    }

    /// Why it runs no more; none while it runs.
    pub fn death(&mut self) -> Option<String> {
        let reason = match (&mut self.child, self.pid) {
            (Some(child), _) => match child.try_wait() {
                Ok(Some(status)) => format!("it ended with {status}"),
                _ => return None,
            },
            (None, Some(pid)) if !process::runs(pid) => format!("process {pid} is gone"),
            (None, _) => return None,
        };
        Some(reason + &self.last_lines())
    }

    /// The root of its processes: what was started, or what listens.
    pub fn root(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id() as i32).or(self.pid)
    }

    /// What it wrote last, to be appended to an error.
    fn last_lines(&self) -> String {
        let Some(dir) = &self.dir else { return String::new() };
        let text = fs::read(output(dir.path())).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return "; it wrote nothing".into();
        }
        format!("; its last output:\n  {}", lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  "))
    }
}

fn is_near(uri: &Uri) -> bool {
    uri.host == "localhost" || uri.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            process::stop(child, self.pid, STOP_MAX);
        }
        for helper in &mut self.helpers {
            process::stop(helper, None, STOP_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(interrupted: &AtomicBool) -> Start<'_> {
        Start { cores: None, sync_delay: Duration::ZERO, interrupted }
    }

    #[test]
    fn syncs_are_delayed_by_strace() {
        let words = |start: &Start<'_>| {
            let command = slowed("sh", start);
            let words = [command.get_program()].into_iter().chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let interrupted = AtomicBool::new(false);
        assert_eq!(words(&plain(&interrupted)), "sh");
        let start = Start { cores: Some("0"), sync_delay: Duration::from_millis(2), interrupted: &interrupted };
        let expected = "taskset -c 0 strace -f --seccomp-bpf -qqq -o /dev/null -e trace=fsync,fdatasync \
                        -e inject=fsync,fdatasync:delay_exit=2000 sh";
        assert_eq!(words(&start), expected);
    }

    fn begin(command: &str) -> Result<Broker, String> {
        let spec = Spec { name: "b".into(), source: Source::Command(command.into()) };
        start(&spec, &plain(&AtomicBool::new(false)))
    }

    #[test]
    fn a_command_that_ends_shows_what_it_wrote() {
        let error = begin("echo one; echo {port} is taken >&2; exit 3").err().expect("it ended");
        assert!(
            error.starts_with("b: did not start: it ended with exit status: 3; its last output:\n  one\n  2"),
            "{error}"
        );
        assert!(error.ends_with(" is taken"), "{error}");
        let error = begin("exit 0").err().expect("it ended");
        assert_eq!(error, "b: did not start: it ended with exit status: 0; it wrote nothing");
    }

    #[test]
    fn a_broker_that_does_not_run_is_not_met() {
        let spec = |pid| Spec { name: "b".into(), source: Source::Running { uri: "amqp://127.0.0.1:1".into(), pid } };
        let start = |pid| start(&spec(pid), &plain(&AtomicBool::new(false))).err();
        assert!(start(None).expect("refused").starts_with("b: 127.0.0.1:1: "));
        assert_eq!(start(Some(i32::MAX)).as_deref(), Some("b: there is no process 2147483647"));
    }

    #[test]
    fn cores_are_counted() {
        for (list, count) in [("0", 1), ("0,2-3", 3), ("1-4", 4), ("", 1)] {
            assert_eq!(count_cores(list), count, "{list}");
        }
    }
}
