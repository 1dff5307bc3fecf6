//! The tool as a process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What a run has left.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub out: String,
    pub err: String,
    /// The JSON, if any was written.
    pub json: Value,
}

impl Ended {
    pub fn number(&self, key: &str) -> u64 {
        self.json[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {}", self.json))
    }

    /// It went well.
    pub fn good(self, line: &str) -> Ended {
        assert_eq!((self.status, &*self.err), (0, ""), "{line}: {}", self.out);
        assert_eq!(self.json["error"], Value::Null, "{line}");
        self
    }
}

/// A run under way. It is killed when it is dropped.
#[derive(Debug)]
pub struct Tool {
    process: Child,
    out: BufReader<ChildStdout>,
    seen: String,
    json: PathBuf,
}

impl Tool {
    /// Starts it with the words of `line`.
    pub fn start(address: SocketAddr, line: &str) -> Tool {
        Tool::start_at(&format!("amqp://{address}"), line)
    }

    pub fn start_at(uri: &str, line: &str) -> Tool {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let json = std::env::temp_dir().join(format!("leveret-perf-{}-{number}.json", std::process::id()));
        let mut process = Command::new(env!("CARGO_BIN_EXE_leveret-perf"))
            .args(["-h", uri, "--json"])
            .arg(&json)
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        Tool { process, out, seen: String::new(), json }
    }

    /// Waits for a line that has this text.
    pub fn until(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let bytes = self.out.read_line(&mut line).expect("a line");
            self.seen.push_str(&line);
            assert!(bytes > 0, "it has ended without saying {text:?}: {}", self.seen);
            if line.contains(text) {
                return;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let (mut out, mut err) = (std::mem::take(&mut self.seen), String::new());
        self.out.read_to_string(&mut out).expect("text");
        self.process.stderr.take().expect("it is piped").read_to_string(&mut err).expect("text");
        let status = self.process.wait().expect("it is our child").code().expect("an exit status");
        let text = fs::read_to_string(&self.json).unwrap_or("null".into());
        let json = serde_json::from_str(&text).expect("JSON");
        Ended { status, out, err, json }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.json);
    }
}

/// Runs it to its end.
pub fn run(address: SocketAddr, line: &str) -> Ended {
    Tool::start(address, line).end()
}
