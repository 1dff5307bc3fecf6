//! Persistent messages that stay: what of them goes to the disk, and how fast they come back.

use super::row::{Row, Scenario};

/// Queues that an interleaved backlog is spread over.
const QUEUES: u32 = 1000;

/// The scenario.
pub fn scenario() -> Scenario {
    let fan_out = |name: &str, queues: u32, count: u32| {
        let flags = format!(
            "-x 1 -y 0 -t fanout -e leveret-perf -qp leveret-perf-%d -qpt {queues} -f persistent -c 1000 -s 1024 \
             -C {count} -ad false"
        );
        Row::new(name, flags)
    };
    let interleaved = "-qp leveret-perf-%d -e leveret-perf";
    let fill =
        format!("-x {QUEUES} -y 0 {interleaved} -qpt {QUEUES} -f persistent -c 10 -s 1024 -C 1000 -ad false --keep");
    let drain = |from: u32, to: u32| {
        let consumers = to - from + 1;
        format!("-x 0 -y {consumers} {interleaved} -qpf {from} -qpt {to} -q 1000 -A 100 -D 1000 -p")
    };
    let deep = |name: &str, beside: &str| {
        Row::new(name, "-x 1 -y 0 -f persistent -c 1000 -C 10000000 -s 16 -u leveret-perf -ad false --keep")
            .label("fill")
            .then("a pair at another queue", beside)
            .then("drain", "-x 0 -y 1 -q 1000 -A 100 -D 10000000 -u leveret-perf -p")
    };
    let pair = "-x 1 -y 1 -f persistent -c 1000 -q 1000 -A 100 -s 16 -u leveret-perf-other --backlog 20000 {span}";
    let declare = |name: &str, more: &str| {
        Row::churn(name, format!("churn declare --durable --count 10000 {more}")).unit("queues/s")
    };
    let rows = vec![
        fan_out("1 KiB to 1 queue", 1, 200_000),
        fan_out("1 KiB to 10 queues", 10, 200_000),
        fan_out("1 KiB to 1,000 queues", 1000, 5_000),
        Row::new("1 KiB, 1 million over 1,000 queues", fill)
            .label("fill")
            .then("drain one", drain(500, 500))
            .then("drain the first half", drain(1, 499))
            .then("drain the rest", drain(501, QUEUES)),
        Row::new("16 B, a pair", pair),
        deep("16 B, 10 million waiting", pair),
        declare("declare one by one", "--in-flight 1"),
        declare("declare, 200 pipelined", "--in-flight 200"),
        declare("declare, 100 connections", "--connections 100 --in-flight 1"),
    ];
    Scenario::new(
        "disk",
        "Persistent messages with confirms and nobody consuming: the bytes written for each message (a message \
         counts once, however many queues it goes to). Then a backlog that is spread over many queues and read \
         again, what a deep backlog costs those who have nothing to do with it, and 10,000 durable queues. Takes as \
         long as it takes, whatever --time says.",
        rows,
    )
}
