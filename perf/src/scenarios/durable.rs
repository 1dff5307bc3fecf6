//! Persistent messages in durable queues.

use super::row::{Latency, Row, Scenario};
use super::throughput::{SIZES, acknowledged, common, single};

/// The scenario.
pub fn scenario() -> Scenario {
    let mut rows: Vec<Row> = SIZES
        .map(|(name, size)| {
            let flags = format!("-x 1 -y 1 -f persistent {} {}", acknowledged(size), common(size));
            Row::new(format!("{name}, ack + confirm"), flags).with(Latency::Confirm)
        })
        .into();
    let flags = format!("-x 1 -y 1 -f persistent {} {}", single(16), common(16));
    rows.push(Row::new("16 B, single acks + confirm", flags).with(Latency::Confirm));
    for (name, size) in [("16 B", 16), ("1 KiB", 1024)] {
        let flags = format!(
            "-x 10 -y 10 -qp leveret-perf-%d -qpt 10 -e leveret-perf -f persistent -c 100 -q 1000 -A 100 -s {size} \
             --backlog 20000 {{span}}"
        );
        rows.push(Row::new(format!("{name}, 10 pairs, 10 queues"), flags).with(Latency::Confirm));
    }
    let flags = "-x 1 -y 1 -f persistent -c 1 -q 1000 -A 100 -s 1024 -u leveret-perf {span}";
    rows.push(Row::new("1 KiB, one in flight", flags).about(Latency::Confirm));
    Scenario::new(
        "durable",
        "Persistent messages, durable queue, confirms; a pair is a publisher and a consumer. Look at the bytes \
         written for each message: a broker that keeps them in memory writes none, and one that does not wait for \
         the disk confirms sooner than one that does.",
        rows,
    )
}
