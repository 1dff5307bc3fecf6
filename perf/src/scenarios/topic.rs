//! A topic exchange with many bindings.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, bindings: u32| {
        let flags = "-x 1 -y 1 -a -t topic -e leveret-perf -k perf.topic.key -s 16 -u leveret-perf --backlog 20000";
        Row::new(name, format!("{flags} --bindings {bindings} {{span}}"))
    };
    let rows = vec![row("100 bindings", 100), row("10,000 bindings", 10_000), row("100,000 bindings", 100_000)];
    Scenario::new(
        "topic",
        "One publisher with one routing key, one queue, auto-ack, 16 B. The other bindings have keys that no \
         message has, some with wildcards.",
        rows,
    )
}
