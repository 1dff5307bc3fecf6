//! One publisher, many queues that each get every message.

use super::row::{Row, Scenario};

/// At most so many deliveries wait, over all queues.
const WAITING: u32 = 200_000;

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, queues: u32, size: u32| {
        // The bound is in messages, and each of them waits in every queue.
        let backlog = (WAITING / queues).min(20_000);
        let flags = format!("-x 1 -y {queues} -a -t fanout -e leveret-perf -s {size} --backlog {backlog} {{span}}");
        Row::new(name, flags).unit("deliveries/s")
    };
    let rows = vec![
        row("1 queue, 16 B", 1, 16),
        row("10 queues, 16 B", 10, 16),
        row("10 queues, 1 KiB", 10, 1024),
        row("100 queues, 16 B", 100, 16),
        row("1,000 queues, 16 B", 1000, 16),
    ];
    Scenario::new(
        "fanout",
        "One publisher and a fanout exchange; each queue has a consumer on its own connection. A message counts \
         once for each queue.",
        rows,
    )
}
