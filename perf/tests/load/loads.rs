//! Runs that go well.

use std::fs;

use leveret::{Config, Server};
use serde_json::Value;

use crate::peer::Peer;
use crate::server;
use crate::tool::{Tool, run};

#[test]
fn the_results_have_all_keys_and_add_up() {
    let server = server(1);
    let line = "-C 3000 -D 3000 -c 100 -q 200 -A 50 -s 100 --id seven --broker-pid";
    let ended = run(server.local_addr(), &format!("{line} {}", std::process::id())).good(line);
    for (key, expected) in
        [("published", 3000), ("confirmed", 3000), ("nacked", 0), ("returned", 0), ("consumed", 3000)]
    {
        assert_eq!(ended.number(key), expected, "{key}");
    }
    let json = &ended.json;
    for (key, expected) in [
        ("tool", "leveret-perf"),
        ("id", "seven"),
        ("broker_product", "Leveret"),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(json[key], expected);
    }
    assert_eq!(json["command"][0], "leveret-perf");
    assert_eq!((&json["settings"]["size"], &json["settings"]["qos"]), (&100.into(), &200.into()));
    assert_eq!(json["checks"], Value::Null);
    for key in ["seconds", "publish_rate", "consume_rate", "load_cpu_ns_per_msg", "load_cpu_seconds"] {
        assert!(json[key].as_f64().is_some_and(|number| number > 0.0), "{key}");
    }
    for latency in ["consume_latency_us", "confirm_latency_us"] {
        let latency = &json[latency];
        assert_eq!(latency["count"], 3000);
        let at = |key: &str| latency[key].as_f64().unwrap_or_else(|| panic!("{key}"));
        let rising = ["min", "p50", "p75", "p95", "p99", "p99_9", "p99_99", "max"].map(at);
        assert!(rising.is_sorted() && rising[0] > 0.0, "{rising:?}");
        assert!(at("mean") >= rising[0] && at("mean") <= rising[7]);
        let curve: Vec<f64> = latency["curve"].as_array().unwrap().iter().map(|at| at[1].as_f64().unwrap()).collect();
        assert!(curve.len() > 1 && curve.is_sorted());
    }
    for key in ["pid", "cpu_seconds", "cpu_ns_per_msg", "rss_start_bytes", "rss_end_bytes", "rss_max_bytes"] {
        assert!(json["broker"][key].is_number(), "{key}");
    }
    let intervals = json["intervals"].as_array().unwrap();
    let last = intervals.last().expect("an interval");
    assert!(last["at"].as_f64() <= json["seconds"].as_f64());
    for key in ["publish_rate", "consume_rate", "confirm_rate", "in_flight"] {
        assert!(last[key].is_number(), "{key}");
    }
    for part in ["sending rate avg: ", "receiving rate avg: ", "consumer latency min/median/75th/95th/99th "] {
        assert!(ended.out.contains(&format!("id: seven, {part}")), "{}", ended.out);
    }
    server.shutdown();
}

#[test]
fn loads_of_all_kinds_lose_nothing_and_leave_nothing() {
    for shards in [1, 2] {
        let server = server(shards);
        let address = server.local_addr();
        // Messages published, and how often each is to be delivered.
        for (line, published, copies) in [
            ("-C 500 -c 50 -q 20 -A 10", 500, 1),
            ("-C 500 -t fanout -y 5 -a", 500, 5),
            ("-C 200 -x 4 -y 4 -qp q%d -qpt 4 -f persistent -c 7", 800, 1),
            ("-C 200 -x 3 -y 5 -qp q%02d -qpt 2 -t fanout --backlog 10", 600, 2),
            ("-C 20 -s 300000 -y 2 -u q", 20, 1),
            ("-C 100 -m 7 -n 20 -A 10", 100, 1),
            ("-C 300 -t topic --bindings 50 -k a.b.c", 300, 1),
            ("-C 300 -t headers --headers a=1,b=x --bindings 20 -e h", 300, 1),
            ("-C 20 -X 20 -Y 20 -u q -ad false", 400, 1),
            ("-C 20 -x 50 -r 1000 -y 3 -u q", 1000, 1),
            ("-C 100 -R 2000 -q 5", 100, 1),
            ("-C 100 -R 2000 -a -s 9000", 100, 1),
            ("-C 100 -e amq.default -x 2 -y 2", 200, 1),
            ("-C 100 -e amq.topic -t topic -k a -y 2", 100, 2),
            ("-C 100 -f mandatory -mp priority=3,contentType=text/plain,h=1 -y 2 -b 1 -M 4096 -s 5000", 100, 2),
            ("-C 100 -P 0.001 -qq -u q", 100, 1),
        ] {
            let all = format!("{line} --check --quiet");
            let ended = run(address, &all).good(line);
            assert_eq!(ended.number("published"), published, "{line}");
            assert_eq!(ended.number("consumed_total"), published * copies, "{line}");
            assert_eq!(ended.json["checks"], serde_json::json!({ "lost": 0, "doubled": 0, "reordered": 0 }), "{line}");
            let mut peer = Peer::open(address);
            for exchange in ["direct", "fanout", "topic", "headers", "h"] {
                assert!(!peer.has_exchange(exchange), "{line}: {exchange}");
            }
            for queue in ["q", "q1", "q01", "q4"] {
                assert_eq!(peer.messages(queue), None, "{line}: {queue}");
            }
        }
        server.shutdown();
    }
}

#[test]
fn what_was_there_before_stays() {
    let server = server(1);
    let address = server.local_addr();
    let mut peer = Peer::open(address);
    peer.declare("mine");
    peer.declare_exchange("direct");
    for line in ["-u mine -ad false -f persistent -C 10", "-u mine -p -C 10", "-u mine -p -e direct -k k -C 10"] {
        run(address, &format!("{line} --check --quiet")).good(line);
        assert_eq!(peer.messages("mine"), Some(0), "{line}");
        assert!(peer.has_exchange("direct"), "{line}");
    }
    // The binding with a made-up key was taken back; one with a key of the user's was not.
    run(address, "-e direct -y 0 -x 1 -K -C 10 --quiet").good("random");
    assert_eq!(peer.messages("mine"), Some(0));
    server.shutdown();
}

#[test]
fn a_queue_is_filled_and_drained() {
    let server = server(1);
    let address = server.local_addr();
    run(address, "-x 1 -y 0 -u q --keep -ad false -C 5000 -c 100 --quiet").good("fill");
    let mut peer = Peer::open(address);
    assert_eq!(peer.messages("q"), Some(5000));
    let ended = run(address, "-x 0 -y 2 -u q -p -D 1000 -A 7 -q 50 --quiet").good("drain 2,000");
    assert_eq!(ended.number("consumed"), 2000);
    assert_eq!(peer.messages("q"), Some(3000));
    run(address, "-x 1 -y 0 -u q -p -C 1000 --quiet -c 10").good("fill by way of the default exchange");
    assert_eq!(peer.messages("q"), Some(4000));
    // The messages of the two runs have the same sequences: nothing to check here but the number.
    let ended = run(address, "-x 0 -y 1 -u q -p -D 4000 -a --quiet").good("drain");
    assert_eq!(ended.number("consumed"), 4000);
    assert_eq!(peer.messages("q"), Some(0));
    server.shutdown();
}

#[test]
fn requests_are_answered() {
    for shards in [1, 2] {
        let server = server(shards);
        for line in ["-C 200", "-x 3 -X 2 -y 2 -C 50 --in-flight 10 -s 150000", "-C 100 -a -qp q%d -qpt 2 -x 2 -y 2"] {
            let ended = run(server.local_addr(), &format!("--rpc --quiet {line}")).good(line);
            assert_eq!(ended.number("consumed"), ended.number("published"), "{line}");
            assert_eq!(ended.json["consume_latency_us"]["count"], ended.json["published"], "{line}");
        }
        server.shutdown();
    }
}

#[test]
fn small_messages_have_no_latency_and_slow_consumers_do_not_stop_fast_ones() {
    let server = server(1);
    let ended = run(server.local_addr(), "-s 7 -C 50 -D 50 --quiet").good("small");
    assert_eq!((ended.number("consumed"), &ended.json["consume_latency_us"]), (50, &Value::Null));
    assert!(ended.out.contains("no room for a time"), "{}", ended.out);
    let line = "-t fanout -y 3 --slow-consumers 1 -C 20000 --backlog 100 --drain 10 -D 20000 --quiet";
    let ended = run(server.local_addr(), line).good(line);
    assert_eq!(ended.number("consumed"), 40_000);
    let line = "-x 0 -y 0 --idle-connections 20 -z 0.01 --quiet --broker-pid";
    let ended = run(server.local_addr(), &format!("{line} {}", std::process::id())).good(line);
    assert!(ended.json["idle_connection_bytes"].is_number());
    server.shutdown();
}

#[test]
fn a_run_lasts_as_long_as_it_is_told_to() {
    let server = server(1);
    let csv = std::env::temp_dir().join(format!("leveret-perf-{}.csv", std::process::id()));
    let line = format!("-z 0.2 --warmup 0.1 -i 0.05 -r 1000 --csv {}", csv.display());
    let ended = run(server.local_addr(), &line).good(&line);
    assert!(ended.json["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.2));
    // What came in the warm-up does not count, and intervals do not overlap.
    let intervals = ended.json["intervals"].as_array().unwrap();
    let ends: Vec<f64> = intervals.iter().map(|interval| interval["at"].as_f64().unwrap()).collect();
    assert!(ends.is_sorted() && !ends.is_empty());
    let published = ended.number("published");
    assert!(published > 0 && ended.out.contains("test stopped (Reached time limit)"));
    let text = fs::read_to_string(&csv).unwrap();
    fs::remove_file(&csv).unwrap();
    let fields: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
    assert!(fields.len() > intervals.len() && fields.iter().all(|count| *count == fields[0]), "{text}");
    let measured = text.lines().filter(|line| line.contains(",true,")).count();
    assert_eq!(measured, intervals.len());
    server.shutdown();
}

#[test]
fn ctrl_c_ends_a_run_orderly() {
    let server = server(1);
    for signal in ["-INT", "-TERM"] {
        let mut tool = Tool::start(server.local_addr(), "-i 0.02 -u q");
        tool.until("received: ");
        tool.signal(signal);
        let ended = tool.end().good(signal);
        assert!(ended.out.contains("test stopped (Interrupted)") && ended.number("published") > 0);
        assert_eq!(Peer::open(server.local_addr()).messages("q"), None);
    }
    server.shutdown();
}

#[test]
fn brokers_may_be_several_and_have_ipv6_addresses() {
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let server = Server::start(Config { listen, ..Config::default() }).expect("the server starts");
    let uris: Vec<String> =
        server.local_addrs().iter().map(|address| format!("amqp://guest:guest@{address}/%2f")).collect();
    let line = format!("-H {} -x 3 -y 3 -C 50 -u q --check --quiet", uris.join(","));
    assert_eq!(run(server.local_addr(), &line).good(&line).number("consumed_total"), 150);
    server.shutdown();
}

#[test]
fn the_standard_output_may_have_the_json() {
    let server = server(1);
    let uri = format!("amqp://{}", server.local_addr());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_leveret-perf"))
        .args(["--uri", &uri, "-C", "10", "--json", "-"])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    assert_eq!(json["published"], 10);
    assert!(String::from_utf8_lossy(&output.stderr).contains("sending rate avg"));
    server.shutdown();
}
