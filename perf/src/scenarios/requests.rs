//! Request and reply.

use super::row::{Latency, Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, in_flight: u32| {
        let flags = format!("--rpc --in-flight {in_flight} -x 1 -y 1 -a -s 16 -u leveret-perf {{span}}");
        Row::new(name, flags).unit("replies/s")
    };
    Scenario::new(
        "requests",
        "A client sends requests, a server replies, over direct reply-to (amq.rabbitmq.reply-to). The latency is \
         the round trip's.",
        vec![row("one in flight", 1).about(Latency::Consume), row("100 in flight", 100).with(Latency::Consume)],
    )
}
