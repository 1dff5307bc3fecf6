//! Many connections.

use super::row::{Latency, Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let pair = "-x 1 -y 1 -a -s 16 -u leveret-perf --backlog 20000 {span}";
    let idle = format!("--idle-connections 10000 {pair}");
    let many = "-x 1000 -y 10 -r 10 -a -s 16 -qp leveret-perf-%d -qpt 10 -e leveret-perf {span}";
    let rows = vec![
        Row::new("none idle", pair),
        Row::new("10,000 idle", idle),
        Row::new("1,000 publish 10/s each", many).about(Latency::Consume),
    ];
    Scenario::new(
        "connections",
        "One publisher and one consumer at full speed beside idle connections: look at the memory as well. Then a \
         thousand connections that publish little, to ten queues.",
        rows,
    )
}
