//! Scenarios that single out one rule each (shards.md, section B), in worlds of every temper.

mod consumers;
mod durable;
mod flow;
mod rules;
mod topology;
mod transactions;

pub use consumers::{cut_at_each_step, exclusive_consumers, global_qos, prefetch_over_shards, priorities};
pub use durable::{backlog, durable_name_anew, stopped_in_order, transactions_and_crashes};
pub use flow::{compaction, everybody_floods, fan_out_and_deletion, one_queue_there_and_back, sizes, sleeping_peers};
pub use rules::{chains, delays, delivery_limits, lifetimes, limits, message_priorities, policies, spilled};
pub use topology::{auto_delete, bindings_change, deleted_and_declared_anew, one_name_everywhere, relay};
pub use transactions::commits_of_the_dying;

use crate::personality::{faults, settings};
use crate::rng::Rng;
use crate::sim::{PeerId, Sim};

/// A broker of `shards` shards in a drawn world, with a generator for the scenario's own choices.
fn stage(seed: u64, shards: usize, trace: bool) -> (Sim, Rng) {
    let mut rng = Rng::new(seed ^ 0x5ce7_a810);
    let settings = settings(&mut rng);
    let faults = faults(&mut rng, shards);
    (Sim::new(rng.next(), shards, settings, faults, trace), rng)
}

/// An open connection on `shard` with channel 1 open.
fn open(sim: &mut Sim, shard: usize) -> PeerId {
    let peer = sim.open(shard);
    sim.open_channel(peer, 1);
    peer
}

/// One such connection per shard.
fn one_each(sim: &mut Sim) -> Vec<PeerId> {
    (0..sim.shards.len()).map(|shard| open(sim, shard)).collect()
}

/// Heals the world, lets it rest and returns what tells this run from another.
fn finish(mut sim: Sim) -> u64 {
    sim.net.heal();
    sim.rest();
    sim.net.output_hash
}
