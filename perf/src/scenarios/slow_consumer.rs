//! A consumer that does not read, beside consumers that do.

use super::row::{Row, Scenario};

/// The scenario.
pub fn scenario() -> Scenario {
    let shared = "-x 1 -y 5 -q 100 -A 10 -s 16 -u leveret-perf --backlog 20000";
    let own = "-x 1 -y 5 -a -t fanout -e leveret-perf -s 16 --copies 4 --backlog 20000";
    let rows = vec![
        Row::new("one queue, 5 consumers", format!("{shared} {{span}}")),
        Row::new("one queue, 4 consumers and a slow one", format!("{shared} --slow-consumers 1 {{span}}")),
        Row::new("fan-out to 4 consumers and a slow one", format!("{own} --slow-consumers 1 {{span}}"))
            .unit("deliveries/s"),
    ];
    Scenario::new(
        "slow-consumer",
        "The slow consumer stops reading from its socket. What the others get is the figure. In the last row it \
         has a queue of its own, which grows.",
        rows,
    )
}
