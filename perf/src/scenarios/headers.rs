//! A headers exchange.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let row = |name: &str, bindings: u32| {
        let flags = "-x 1 -y 1 -a -t headers -e leveret-perf --headers kind=report,level=3 -s 16 -u leveret-perf";
        Row::new(name, format!("{flags} --backlog 20000 --bindings {bindings} {{span}}"))
    };
    let rows = vec![row("1 binding", 0), row("100 bindings", 100), row("1,000 bindings", 1000)];
    Scenario::new(
        "headers",
        "One publisher whose messages have two headers, one queue bound by both of them, auto-ack, 16 B. The \
         other bindings ask for what no message has.",
        rows,
    )
}
