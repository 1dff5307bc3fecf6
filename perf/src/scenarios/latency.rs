//! Latency at fixed rates.

use super::row::{Latency, Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, rate: u32| {
        let flags = format!("-x 1 -y 1 -a -s 16 -r {rate} -u leveret-perf {{span}}");
        Row::new(name, flags).about(Latency::Consume)
    };
    let rows = vec![
        row("1,000/s", 1_000),
        row("20,000/s", 20_000),
        row("100,000/s", 100_000),
        Row::new("one in flight", "-x 1 -y 1 -a -s 16 -c 1 -u leveret-perf {span}").about(Latency::Confirm),
    ];
    Scenario::new(
        "latency",
        "From the time when a message was to be published to its delivery: one publisher, one consumer, auto-ack, \
         16 B. A publisher that falls behind its rate counts from when it should have published. 'One in flight' \
         publishes when the message before is confirmed, and shows the time to the confirm.",
        rows,
    )
}
