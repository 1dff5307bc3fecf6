//! Many queues.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, who: &str, queues: u32| {
        let flags =
            format!("{who} -a -s 16 -qp leveret-perf-%d -qpt {queues} -e leveret-perf --backlog 20000 {{span}}");
        Row::new(name, flags)
    };
    let rows = vec![
        row("10 pairs, 10 queues", "-x 10 -y 10", 10),
        row("100 pairs, 100 queues", "-x 100 -y 100", 100),
        row("1 connection each side, 1,000 queues", "-x 1 -X 1000 -y 1 -Y 1000", 1000),
    ];
    Scenario::new(
        "queues",
        "Pairs of a publisher and a consumer over many queues, auto-ack, 16 B. In the last row one connection \
         publishes and one consumes, with a channel for each queue.",
        rows,
    )
}
