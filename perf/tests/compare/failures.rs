//! Comparisons that do not go well.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::world::{LOAD, World, broker, run, tool};

#[test]
fn wrong_usage_is_told_with_status_2() {
    for (words, expected) in [
        (&["compare"][..], "no --broker"),
        (&["compare", "--broker", "qpid"], "--broker qpid: unknown"),
        (&["compare", "--broker", "leveret", "--scenario", "x"], "--scenario x: unknown"),
        (&["compare", "--broker", "leveret", "--row", "no such row"], "--row no such row: no row"),
        (&["churn", "trees"], "trees: unknown"),
        (&["scenarios", "x"], "x: unknown"),
    ] {
        let (status, _, err) = run(tool(words));
        assert_eq!(status, 2, "{words:?}: {err}");
        assert!(err.contains(expected), "{words:?}: {err}");
    }
}

#[test]
fn a_broker_that_does_not_start_ends_it_with_its_last_words() {
    let world = World::new(LOAD);
    let mut compare =
        world.compare(&["--row", "latency/1,000/s", "--broker", "bad=echo {port}; echo no licence >&2; exit 7"]);
    compare.args(["--broker", &broker("good")]);
    let (status, _, err) = run(compare);
    assert_eq!(status, 1);
    assert!(err.contains("bad: did not start: it ended with exit status: 7") && err.contains("no licence"), "{err}");
    assert!(world.scratch().is_empty(), "{:?}", world.scratch());
}

#[test]
fn a_broker_that_dies_fails_its_row_and_the_rest_goes_on() {
    let world = World::new(&format!("case \"$line\" in *-r\\ 1000*) kill -9 $pid; exit 1;; esac\n{LOAD}"));
    let mut compare = world.compare(&["--row", "latency/1,000/s", "--row", "latency/one in", "--rounds", "1"]);
    compare.args(["--broker", &broker("one")]);
    let (status, out, err) = run(compare);
    assert_eq!(status, 1, "{out}");
    assert!(err.contains("1 of 2 runs failed"), "{err}");
    assert!(out.contains("1,000/s, one: FAILED: the broker died: it ended with "), "{out}");
    let data = world.json();
    assert!(data["runs"][0]["failed"].as_str().is_some_and(|reason| reason.starts_with("the broker died")), "{data}");
    assert!(data["runs"][1]["failed"].is_null(), "{data}");
    let markdown = world.read("out/comparison.md");
    assert!(
        markdown.contains("| 1,000/s | **–** [1] |") && markdown.contains("[1] 1,000/s, one: failed: "),
        "{markdown}"
    );
}

#[test]
fn a_load_program_that_fails_tells_why() {
    let script = "case \"$line\" in *-r\\ 1000*) echo first >&2; echo 'it is too late' >&2; exit 1;;\n\
                  *) echo '{\"error\": \"403 refused\"}' > \"$json\"; exit 1;; esac\n";
    let world = World::new(script);
    let mut compare = world.compare(&["--row", "latency/1,000/s", "--row", "latency/one in", "--rounds", "1"]);
    compare.args(["--broker", &broker("one")]);
    let (status, out, _) = run(compare);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("FAILED: it is too late (exit status: 1)") && out.contains("FAILED: 403 refused"), "{out}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_anything_is_measured() {
    let world = World::new(LOAD);
    fs::write(world.path("out"), "a file").expect("written");
    let mut compare = world.compare(&["--row", "latency/1,000/s"]);
    compare.args(["--broker", &broker("one")]);
    let (status, out, err) = run(compare);
    assert_eq!((status, &*out), (1, ""));
    assert!(err.contains("--out ") && err.contains("/out: "), "{err}");
}

#[test]
fn data_that_is_none_is_told() {
    let world = World::new(LOAD);
    fs::write(world.path("x.json"), "{\"tool\": 1}").expect("written");
    for name in ["x.json", "y.json"] {
        let from = world.path(name).display().to_string();
        let (status, _, err) = run(tool(&["compare", "--from", &from, "--out", &from]));
        assert_eq!(status, 1);
        assert!(err.contains(&format!("{name}: ")), "{err}");
    }
}

#[test]
fn an_interrupt_writes_what_there_is_and_leaves_nothing() {
    // The second run is told of, and does not end by itself.
    let world = World::new(&format!(
        "if [ -e $dir/first ]; then echo $uri > $dir/second; exec sleep 1000; fi\n: > $dir/first\n{LOAD}"
    ));
    let mut compare = world.compare(&["--row", "latency/1,000/s", "--rounds", "5"]);
    compare.args(["--broker", &broker("one"), "--broker", &broker("two")]);
    let mut child = compare.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let address = loop {
        let text = fs::read_to_string(world.path("second")).unwrap_or_default();
        if let Some(address) = text.strip_prefix("amqp://").and_then(|text| text.strip_suffix('\n')) {
            break address.to_owned();
        }
        assert!(child.try_wait().expect("a child").is_none(), "it ended too soon");
        thread::sleep(Duration::from_millis(10));
    };
    let tool = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(tool, Signal::INT).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("interrupted; what there is was written"), "{err}");
    let data = world.json();
    assert_eq!(data["interrupted"], true);
    assert_eq!(data["runs"].as_array().map(Vec::len), Some(1), "{data}");
    assert!(world.read("out/comparison.md").contains("was interrupted"));
    assert!(world.read("out/comparison.html").contains("was interrupted"));
    assert!(world.scratch().is_empty(), "{:?}", world.scratch());
    assert!(TcpStream::connect(&address).is_err(), "the broker at {address} lives");
}
