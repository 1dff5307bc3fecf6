//! What the benches share: shards in memory, and the loads that are put on them.

#![allow(dead_code)] // each bench uses a part of it

use std::time::Duration;

pub mod load;
pub mod net;
pub mod plan;
pub mod say;

/// Shorter than usual: the benches are many. Options of the command line go before.
pub fn criterion() -> criterion::Criterion {
    let criterion = criterion::Criterion::default();
    criterion.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}
