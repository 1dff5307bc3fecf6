//! Chance from a seed, so that a failed run can be asked for again.

#[path = "../common/rng.rs"]
mod common;

pub use common::{Rng, mix};

impl Rng {
    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// In `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
