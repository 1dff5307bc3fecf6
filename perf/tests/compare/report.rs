//! Comparisons that go well, and what they write.

use crate::world::{LOAD, World, broker, run};

#[test]
fn two_brokers_are_compared_interleaved() {
    let world = World::new(&format!("echo $line >> $dir/log\n{LOAD}"));
    let words = ["--scenario", "latency", "--row", "/1,000/s", "--row", "one in flight", "--rounds", "2"];
    let mut compare = world.compare(&words);
    compare.args(["--broker", &broker("first"), "--broker", &broker("second")]);
    let (status, out, err) = run(compare);
    assert_eq!((status, &*err), (0, ""), "{out}");
    assert!(out.contains("[8/8] round 2, latency: one in flight, second"), "{out}");

    let data = world.json();
    let order: Vec<String> = data["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| {
            assert_eq!(
                (&run["failed"], &run["counted"]),
                (&serde_json::Value::Null, &serde_json::Value::Bool(true)),
                "{run}"
            );
            format!("{}{}{}", run["round"], run["row"], run["broker"])
        })
        .collect();
    assert_eq!(order, ["100", "101", "110", "111", "200", "201", "210", "211"]);
    assert_eq!(data["brokers"][1]["product"], "Leveret");
    // A broker that is stopped anyway need not be cleaned.
    let flags = world.read("log");
    assert_eq!(flags.lines().filter(|line| line.ends_with("--keep") || line.contains("--keep ")).count(), 8, "{flags}");
    // The process that listens was found and told to the load program.
    assert!(data["runs"][0]["results"][0]["broker"]["pid"].as_u64().is_some_and(|pid| pid > 1));

    let markdown = world.read("out/comparison.md");
    for text in ["| **p99 70.0 µs**, p50 30.0 µs", "(1.00 ×, CPU 1.00 ×)", "`leveret-perf -x 1 -y 1 -a -s 16 -r 1000"]
    {
        assert!(markdown.contains(text), "{text}: {markdown}");
    }
    let html = world.read("out/comparison.html");
    assert!(html.contains("<svg") && html.contains("p99 80.0 µs") && html.contains("second"), "{html}");
    // No request leaves the page. The namespace of SVG is a name, not an address.
    let plain = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!["http", "src=", "href=", "url(", "@import"].iter().any(|text| plain.contains(text)), "{html}");
    assert!(world.scratch().is_empty(), "{:?}", world.scratch());
}

#[test]
fn steps_run_one_after_another_or_at_the_same_time() {
    // Each run notes its beginning and its end; the flood ends when it was told that the pair has been there.
    let script = format!(
        "case \"$line\" in *leveret-perf-flood*) me=flood;; *-r\\ 1000*) me=pair;; *-y\\ 0*) me=fill;; \
         *) me=drain;; esac\n\
         echo begin $me >> $dir/log\n{LOAD}\n\
         case $me in flood) until grep -q 'end pair' $dir/log; do sleep 0.01; done;; esac\n\
         echo end $me >> $dir/log\n"
    );
    let world = World::new(&script);
    let words = ["--row", "fairness/1,000/s beside", "--row", "backlog/1 million × 1 KiB, durable", "--rounds", "1"];
    let mut compare = world.compare(&words);
    compare.args(["--broker", &broker("one")]);
    let (status, out, err) = run(compare);
    assert_eq!((status, &*err), (0, ""), "{out}");
    let order: Vec<String> = world.read("log").lines().map(str::to_owned).collect();
    let expected =
        ["begin flood", "begin pair", "end pair", "end flood", "begin fill", "end fill", "begin drain", "end drain"];
    assert_eq!(order, expected);
    let markdown = world.read("out/comparison.md");
    assert!(markdown.contains("1 million × 1 KiB, durable: fill |"), "{markdown}");
    assert!(!markdown.contains("| 1,000/s beside one at full speed: flood"), "{markdown}");
    // The CPU of the broker was the flood's as well, so it says nothing.
    let line = markdown.lines().find(|line| line.starts_with("| 1,000/s beside")).expect("a line");
    assert!(line.contains("p99 70.0 µs") && !line.contains("CPU"), "{line}");
}

#[test]
fn a_running_broker_is_met_and_cleaned() {
    let config = leveret::Config { listen: vec!["127.0.0.1:0".parse().expect("an address")], ..Default::default() };
    let server = leveret::Server::start(config).expect("started");
    let uri = format!("there=amqp://guest:guest@{}", server.local_addr());
    let world = World::new(LOAD);
    let mut compare = world.compare(&["--row", "latency/1,000/s", "--rounds", "1"]);
    compare.args(["--broker", &uri, "--pid", &format!("there={}", std::process::id())]);
    let (status, out, err) = run(compare);
    assert_eq!((status, &*err), (0, ""), "{out}");
    assert!(out.contains("there: Leveret 0.1.0, runs already"), "{out}");
    let data = world.json();
    assert_eq!((&data["brokers"][0]["kept"], &data["brokers"][0]["start_seconds"]), (&true.into(), &().into()));
    assert_eq!(data["runs"][0]["results"][0]["broker"]["pid"], std::process::id());
    server.shutdown();
}

#[test]
fn the_pages_are_written_again_from_the_data() {
    let world = World::new(LOAD);
    let mut compare = world.compare(&["--row", "latency/1,000/s", "--rounds", "1"]);
    compare.args(["--broker", &broker("only")]);
    assert_eq!(run(compare).0, 0);
    let from = world.path("out/comparison.json").display().to_string();
    let out = world.path("again").display().to_string();
    let (status, _, err) = run(crate::world::tool(&["compare", "--from", &from, "--out", &out]));
    assert_eq!((status, &*err), (0, ""));
    for name in ["comparison.json", "comparison.md", "comparison.html"] {
        assert!(world.read(&format!("out/{name}")) == world.read(&format!("again/{name}")), "{name}");
    }
}
