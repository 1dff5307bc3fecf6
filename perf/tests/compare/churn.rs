//! `leveret-perf churn` against a broker in this process.

use leveret::{Config, Server};
use serde_json::Value;

use crate::world::{run, tool};

fn server() -> Server {
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    Server::start(Config { listen, ..Config::default() }).expect("started")
}

fn result(words: &[&str]) -> Value {
    let (status, out, err) = run(tool(words));
    assert_eq!((status, &*err), (0, ""), "{words:?}: {out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
}

#[test]
fn every_kind_counts_and_times_its_operations() {
    let server = server();
    let uri = format!("amqp://{}", server.local_addr());
    let own = std::process::id().to_string();
    let common = ["-h", &uri, "-z", "0.1", "--warmup", "0", "--quiet", "--json", "-", "--broker-pid", &own];
    for kind in [
        &["churn", "connections", "--in-flight", "3"][..],
        &["churn", "channels", "--in-flight", "7"],
        &["churn", "queues", "--connections", "2"],
        &["churn", "queues", "--durable", "--in-flight", "5"],
        &["churn", "bindings", "--in-flight", "5"],
        &["churn", "consumers"],
    ] {
        let result = result(&[kind, &common].concat());
        assert_eq!(result["error"], Value::Null, "{kind:?}");
        assert_eq!(result["broker_product"], "Leveret");
        assert_eq!(result["settings"]["kind"], kind[1]);
        let count = result["operations"].as_u64().expect("a count");
        assert!(count > 0, "{kind:?}");
        assert_eq!(result["operation_latency_us"]["count"].as_u64(), Some(count));
        assert!(result["broker"]["rss_max_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
        assert!(result["consumed"].is_null());
    }
    server.shutdown();
}

#[test]
fn so_many_queues_are_declared_and_deleted() {
    let server = server();
    let uri = format!("amqp://{}", server.local_addr());
    let common = ["churn", "declare", "-h", &uri, "--count", "1000", "--quiet", "--json", "-"];
    for more in [
        &["--in-flight", "1"][..],
        &["--durable", "--in-flight", "100"],
        &["--durable", "--connections", "7", "--in-flight", "2"],
        &["--in-flight", "2000", "--broker-pid", &std::process::id().to_string()],
    ] {
        let result = result(&[&common, more].concat());
        assert_eq!(result["error"], Value::Null, "{more:?}");
        assert_eq!(result["operations"], 1000);
        assert_eq!(result["operation_latency_us"]["count"], 1000);
        assert_eq!((&result["settings"]["count"], &result["settings"]["time"]), (&1000.into(), &Value::Null));
        assert!(result["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    }
    server.shutdown();
}

#[test]
fn a_broker_that_is_not_there_or_refuses_is_told() {
    let server = server();
    let uri = format!("amqp://guest:wrong@{}", server.local_addr());
    let (status, out, err) = run(tool(&["churn", "queues", "-h", &uri, "-z", "1", "--json", "-", "--quiet"]));
    assert_eq!(status, 1);
    let result: Value = serde_json::from_str(&out).expect("JSON in any case");
    assert!(result["error"].as_str().is_some_and(|error| err.contains(error)), "{out} {err}");
    let uri = format!("amqp://{}", server.local_addr());
    server.shutdown();
    let (status, _, err) = run(tool(&["churn", "queues", "-h", &uri, "-z", "1"]));
    assert_eq!(status, 1);
    assert!(err.starts_with("leveret-perf churn: 127.0.0.1:"), "{err}");
}
