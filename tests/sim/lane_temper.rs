//! How the threads of a lane are scheduled.

use crate::rng::Rng;

/// How the lane's threads are scheduled; drawn per seed.
#[derive(Debug, Clone)]
pub struct LaneTemper {
    /// Most submissions that one batch gathers; 0: all.
    pub gather_max: usize,
    /// Shares of: writing, syncing, the keeper's hearing, the keeper's work.
    pub weights: [u32; 4],
    /// How often a sync stalls, in percent, and for how many steps at most.
    pub stall: usize,
    pub stall_steps: usize,
}

impl LaneTemper {
    pub fn draw(rng: &mut Rng) -> LaneTemper {
        LaneTemper {
            gather_max: rng.pick(&[0, 0, 1, 3]),
            weights: [rng.pick(&[1, 4, 16]), rng.pick(&[1, 4, 16]), rng.pick(&[1, 4, 16]), rng.pick(&[1, 4, 16])],
            stall: rng.pick(&[0, 0, 0, 20]),
            stall_steps: rng.pick(&[10, 300]),
        }
    }
}
