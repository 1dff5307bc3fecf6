//! A deep backlog: fill a queue, then drain it.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, count: u32, size: u32, more: &str| {
        let fill = format!("-x 1 -y 0 -c 1000 -C {count} -s {size} -u leveret-perf -ad false --keep{more}");
        let drain = format!("-x 0 -y 1 -q 1000 -A 100 -D {count} -u leveret-perf -p");
        // With -p nothing is deleted: the comparison does that behind each row.
        Row::new(name, fill).label("fill").then("drain", drain)
    };
    let rows = vec![
        row("10 million × 16 B", 10_000_000, 16, ""),
        row("1 million × 1 KiB", 1_000_000, 1024, ""),
        row("1 million × 1 KiB, durable", 1_000_000, 1024, " -f persistent"),
    ];
    Scenario::new(
        "backlog",
        "First a queue is filled, with confirms and nobody consuming, then it is drained by one consumer with \
         prefetch 1,000 and an acknowledgement for 100 messages. Takes as long as it takes, whatever --time says.",
        rows,
    )
}
