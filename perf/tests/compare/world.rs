//! What the tests run in: a folder, a script that passes for the load program, and the tool.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Where the broker among the tests finds its port.
pub const PORT_VARIABLE: &str = "LEVERET_PERF_TEST_PORT";

/// A folder with everything in it.
pub struct World {
    dir: TempDir,
}

/// A script that writes a result as a load run does.
pub const LOAD: &str = r#"
cat > "$json" <<END
{"published": 100, "consumed": 100, "publish_rate": 25.0, "consume_rate": 25.0, "error": null,
 "consume_latency_us": {"p50": 30.0, "p99": 70.0, "p99_9": 90.0, "curve": [[0, 10], [50, 30], [99, 70], [100, 95]]},
 "confirm_latency_us": {"p50": 40.0, "p99": 80.0, "p99_9": 99.0, "curve": [[0, 20], [50, 40], [99, 80], [100, 99]]},
 "broker": {"pid": $pid, "cpu_ns_per_msg": 120.5, "rss_max_bytes": 3000000, "written_bytes": 0}}
END
"#;

impl World {
    /// With this script as the load program. It has `$line` (all flags), `$json`, `$pid`, `$uri` and `$dir`.
    pub fn new(script: &str) -> World {
        let world = World { dir: TempDir::new().expect("a folder") };
        fs::create_dir(world.path("tmp")).expect("a folder");
        let head = format!(
            "#!/bin/sh\ndir='{}'; line=\"$*\"\nwhile [ $# -gt 0 ]; do\ncase \"$1\" in --json) json=\"$2\";; \
             --broker-pid) pid=\"$2\";; \
             -h) uri=\"$2\";; esac\nshift\ndone\n",
            world.dir.path().display()
        );
        fs::write(world.path("load"), head + script).expect("written");
        fs::set_permissions(world.path("load"), fs::Permissions::from_mode(0o755)).expect("executable");
        world
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The written data.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.read("out/comparison.json")).expect("JSON")
    }

    /// `compare` with the script and these words. Whatever else the machine does is no disturbance.
    pub fn compare(&self, words: &[&str]) -> Command {
        let mut tool = tool(&["compare", "--quiet-wait", "0", "--others", "65536"]);
        tool.arg("--load").arg(self.path("load")).arg("--out").arg(self.path("out")).args(words);
        tool.env("TMPDIR", self.path("tmp"));
        tool
    }

    /// What is left of scratch folders.
    pub fn scratch(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("tmp")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// The tool with these words.
pub fn tool(words: &[&str]) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_leveret-perf"));
    tool.args(words).stdin(Stdio::null());
    tool
}

/// A command that is a broker.
pub fn broker(name: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    format!("{name}={PORT_VARIABLE}={{port}} '{}' broker_process --exact --ignored", program.display())
}

/// Runs it to its end: exit status, standard output, standard error output.
pub fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("started");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}
