//! The broker as a process that is killed, stopped and started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::link::PATIENCE;
use crate::small;

/// SIGKILL.
pub const KILLED: i32 = 9;

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub shards: usize,
    /// Lines of a configuration file.
    pub settings: String,
    /// A program and its arguments that run the broker in its place: it becomes the broker's process.
    pub through: Vec<String>,
    /// Beside which name its log and its configuration lie.
    pub beside: PathBuf,
    /// Small segments and frequent checkpoints: not the binary, but the same library in a process of its own.
    pub small: bool,
}

impl Options {
    pub fn new(data_dir: &Path) -> Options {
        Options {
            data_dir: data_dir.to_owned(),
            shards: 1,
            settings: String::new(),
            through: vec![],
            beside: data_dir.to_owned(),
            small: false,
        }
    }

    pub fn small(mut self) -> Options {
        self.small = true;
        self
    }

    /// Runs the broker under strace, with what it is to do to system calls. `trace` is where it writes them.
    pub fn traced(mut self, calls: &str, injection: &str, trace: &Path) -> Options {
        let trace = trace.to_str().expect("the test's folders have plain names");
        let line = ["strace", "-D", "-f", "-qq", "-ttt", "-o", trace, "-e", &format!("trace={calls}"), "-e"];
        self.through = line.map(str::to_owned).into();
        self.through.push(format!("inject={calls}:{injection}"));
        self
    }

    /// The command line.
    fn line(&self, settings: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = self.through.iter().map(OsString::from).collect();
        if self.small {
            line.push(std::env::current_exe().expect("this program").into());
            line.extend(["--ignored", "--exact", "small::a_small_broker", "--nocapture"].map(OsString::from));
            return line;
        }
        line.push(env!("CARGO_BIN_EXE_leveret").into());
        line.extend(["--listen", "127.0.0.1:0", "--log-level", "info", "--shards"].map(OsString::from));
        line.push(self.shards.to_string().into());
        line.extend(["--config".into(), settings.into(), "--data-dir".into(), self.data_dir.clone().into()]);
        line
    }

    pub fn shards(mut self, shards: usize) -> Options {
        self.shards = shards;
        self
    }
}

/// A broker, killed at the end.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    pub address: SocketAddr,
    /// From the start of the process to its "ready".
    pub start_took: Duration,
    log: PathBuf,
}

/// Why there is none.
#[derive(Debug)]
pub struct NotStarted {
    pub status: ExitStatus,
    /// What it wrote to its standard error output.
    pub log: String,
}

impl NotStarted {
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(KILLED)
    }
}

impl Broker {
    /// Starts a broker and waits until it is ready. Its log is beside its data directory.
    pub fn start(options: &Options) -> Result<Broker, NotStarted> {
        let log = options.beside.with_extension("log");
        let settings = options.beside.with_extension("conf");
        fs::write(&settings, &options.settings).expect("a configuration file");
        let line = options.line(&settings);
        let errors = File::options().create(true).append(true).open(&log).expect("a file for the log");
        let log_begins = errors.metadata().map_or(0, |metadata| metadata.len());
        let started = Instant::now();
        let mut process = Command::new(&line[0])
            .args(&line[1..])
            .env(small::DATA_DIR, &options.data_dir)
            .env(small::SETTINGS, &settings)
            .env(small::SHARDS, options.shards.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let address = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if !line.contains(" ready on ") => {}
                Ok(line) => break line.split([' ', ',']).find_map(|word| word.parse().ok()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = process.kill();
                    let _ = process.wait();
                    panic!("the broker does not start; {}", tail(&log, log_begins));
                }
            }
        };
        match address {
            Some(address) => Ok(Broker { process, address, start_took: started.elapsed(), log }),
            None => {
                let _ = process.kill();
                let status = process.wait().expect("it is our child");
                Err(NotStarted { status, log: tail(&log, log_begins) })
            }
        }
    }

    /// A broker that must start.
    pub fn must_start(options: &Options) -> Broker {
        Broker::start(options).unwrap_or_else(|error| panic!("{}: no start: {error:?}", options.data_dir.display()))
    }

    pub fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// kill -9, and its end.
    pub fn kill(mut self) {
        self.kill_now();
        self.process.wait().expect("it is our child");
    }

    /// kill -9 while others use it.
    pub fn kill_now(&mut self) {
        self.process.kill().expect("it is our child");
    }

    /// Asks it to stop in order.
    pub fn terminate(&self) {
        crate::place::run("kill", &["-TERM", &self.pid()]).expect("kill");
    }

    /// Waits for its end; a broker that hangs is killed and fails the test.
    pub fn ended(mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("the broker does not end; {}", tail(&self.log, 0));
    }

    /// Stops it in order, and says how long that took.
    pub fn stop(self) -> Duration {
        let asked = Instant::now();
        self.terminate();
        let log = self.log.clone();
        let status = self.ended();
        assert!(status.success(), "{status}; {}", tail(&log, 0));
        asked.elapsed()
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().expect("it is our child").is_none()
    }

    /// Everything that brokers in this data directory have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The end of a log, from `begins` on at most.
fn tail(log: &Path, begins: u64) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let text = text.get(begins as usize..).unwrap_or(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Runs another command of the binary to its end.
pub fn command(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the binary")
}
