//! A modest pair beside a publisher that takes all it can get.

use super::row::{Latency, Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let pair = "-x 1 -y 1 -a -s 16 -r 1000 -u leveret-perf {span}";
    let flood = "-x 1 -y 1 -a -s 1024 -u leveret-perf-flood --backlog 20000 {long-span}";
    let rows = vec![
        Row::new("1,000/s alone", pair).about(Latency::Consume),
        Row::new("1,000/s beside one at full speed", pair).about(Latency::Consume).beside("flood", flood),
    ];
    Scenario::new(
        "fairness",
        "A publisher and a consumer at 1,000/s, 16 B, alone and beside another pair at full speed, 1 KiB. The \
         latency of the modest pair is the figure. Both load programs share the cores for the load, which is in \
         the figure as well.",
        rows,
    )
}
