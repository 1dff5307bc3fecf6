//! The store by itself: shards that are nothing but lists of what they submit, a lane, and a disk that fails.
//!
//! The oracle is strict: what is found after a crash is exactly what the submissions up to some point make, one by
//! one in the order in which they were handed over; that point is not before what was told to be durable.

mod act;
mod check;
mod damage;
mod model;
mod run;

pub use run::{rot, run};
