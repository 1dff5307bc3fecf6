//! What the benches share: shards in memory, and the loads that are put on them.

#![allow(dead_code)] // each bench uses a part of it

pub mod load;
pub mod net;
pub mod plan;
pub mod say;
