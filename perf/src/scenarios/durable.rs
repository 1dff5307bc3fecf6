//! Persistent messages in durable queues.

use super::row::{Latency, Row, Scenario};
use super::throughput::{SIZES, WAITING_BYTES, acknowledged, common, single};

/// Confirms that a publisher has outstanding at most.
const WINDOWS: [(&str, usize); 3] = [("1", 1), ("100", 100), ("1,000", 1000)];

/// The scenario.
pub fn scenario() -> Scenario {
    let mut rows = windows("-f persistent");
    for (name, size) in SIZES.into_iter().filter(|(_, size)| *size > 16 * 1024) {
        let flags = format!("-x 1 -y 1 -f persistent {} {}", acknowledged(size), common(size));
        rows.push(Row::new(format!("{name}, window 32 and more"), flags).with(Latency::Confirm));
    }
    let flags = format!("-x 1 -y 1 -f persistent {} {}", single(16), common(16));
    rows.push(Row::new("16 B, window 1,000, single acks", flags).with(Latency::Confirm));
    Scenario::new(
        "durable",
        "Persistent messages in durable queues; a publisher and a consumer for each queue. The window is the number of \
         confirms that a publisher has outstanding at most; prefetch 1,000, an acknowledgement for 100 messages. A \
         broker that confirms when the message is on the disk waits for the disk, one that confirms earlier does not: \
         look at the bytes written for each message as well. Messages that are consumed before they are written need \
         not be written.",
        rows,
    )
}

/// The same on quorum queues.
pub fn quorum() -> Scenario {
    Scenario::new(
        "quorum",
        "As 'durable', but the queues are declared as quorum queues. In RabbitMQ these wait for the disk before they \
         confirm. Leveret's queues are the same either way.",
        windows("-f persistent -qq"),
    )
}

/// Windows, sizes, and one or a hundred queues.
fn windows(more: &str) -> Vec<Row> {
    let mut rows = vec![];
    for (many, who) in [
        ("", "-x 1 -y 1 -u leveret-perf"),
        (", 100 queues", "-x 100 -y 100 -qp leveret-perf-%d -qpt 100 -e leveret-perf"),
    ] {
        for (name, size) in SIZES.into_iter().filter(|(_, size)| *size <= 16 * 1024) {
            let backlog = (WAITING_BYTES / size).min(20_000);
            for (window_name, window) in WINDOWS {
                let flags = format!("{who} {more} -c {window} -q 1000 -A 100 -s {size} --backlog {backlog} {{span}}");
                rows.push(Row::new(format!("{name}{many}, window {window_name}"), flags).with(Latency::Confirm));
            }
        }
    }
    rows
}
