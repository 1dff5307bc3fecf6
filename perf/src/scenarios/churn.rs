//! Opening and closing at full speed.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let mut rows = vec![];
    for (kind, many) in [("connections", 10), ("channels", 100), ("queues", 100), ("bindings", 100), ("consumers", 100)]
    {
        for in_flight in [1, many] {
            let flags = format!("churn {kind} --in-flight {in_flight} {{span}}");
            rows.push(Row::churn(format!("{kind}, {in_flight} in flight"), flags));
        }
    }
    for in_flight in [1, 100] {
        let flags = format!("churn queues --durable --in-flight {in_flight} {{span}}");
        rows.push(Row::churn(format!("durable queues, {in_flight} in flight"), flags));
    }
    Scenario::new(
        "churn",
        "One operation opens and closes one thing; the second request follows the answer to the first. \
         Connections are opened by as many threads as are in flight, all else on one connection.",
        rows,
    )
}
