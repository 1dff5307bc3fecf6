//! Swarm testing: every seed draws what its run is like. A run that does a little of everything finds less.

use crate::rng::Rng;
use crate::world::{Faults, MeshOrder};
use leveret::config::Settings;

/// What a client may do next; the weights of a personality are in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    OpenChannel,
    CloseChannel,
    Publish,
    Consume,
    Cancel,
    Get,
    Ack,
    Requeue,
    Recover,
    DeclareVolatile,
    RemoveVolatile,
    Bind,
    Exchange,
    DeclareOwn,
    Probe,
    Qos,
    TxEnd,
    Rpc,
    CloseConnection,
    Cut,
    Stall,
}

const ACTIONS: [(Action, u32); 21] = [
    (Action::OpenChannel, 6),
    (Action::CloseChannel, 2),
    (Action::Publish, 30),
    (Action::Consume, 8),
    (Action::Cancel, 3),
    (Action::Get, 8),
    (Action::Ack, 20),
    (Action::Requeue, 6),
    (Action::Recover, 2),
    (Action::DeclareVolatile, 8),
    (Action::RemoveVolatile, 4),
    (Action::Bind, 6),
    (Action::Exchange, 4),
    (Action::DeclareOwn, 2),
    (Action::Probe, 3),
    (Action::Qos, 4),
    (Action::TxEnd, 5),
    (Action::Rpc, 4),
    (Action::CloseConnection, 1),
    (Action::Cut, 1),
    (Action::Stall, 3),
];

#[derive(Debug, Clone)]
pub struct Personality {
    pub shards: usize,
    pub clients: usize,
    pub steps: usize,
    pub pillars: usize,
    pub volatile: usize,
    pub volatile_exchanges: usize,
    pub weights: Vec<u32>,
    /// Answers that a client lets be due at a time.
    pub in_flight_max: usize,
    pub burst_max: usize,
    /// Weights of body sizes: up to 16, 256, 4 Ki, 40 Ki.
    pub sizes: [u32; 4],
    pub no_ack: usize,
    pub mandatory: usize,
    pub volatile_targets: usize,
    pub exclusive_consumers: bool,
    pub global_qos: bool,
    pub no_wait: usize,
    /// How often a shard raises or ends an alarm, or has its journal fall behind or catch up.
    pub alarms: usize,
    pub modes: [u32; 3],
    pub frame_max: u32,
    pub client_read_max: usize,
    pub settings: Settings,
    pub faults: Faults,
}

impl Personality {
    pub fn draw(rng: &mut Rng) -> Personality {
        let shards = rng.pick(&[1, 2, 2, 3, 4, 4]);
        let mut weights = vec![];
        for (_, weight) in ACTIONS {
            // Some runs know nothing of some actions, others do little else.
            weights.push(match rng.below(8) {
                0 => 0,
                1 => weight * 4,
                _ => weight,
            });
        }
        weights[Action::OpenChannel as usize] = 6;
        for end in [Action::CloseConnection, Action::Cut] {
            if rng.chance(40) {
                weights[end as usize] = 0;
            }
        }
        Personality {
            shards,
            clients: rng.range(1, 7),
            steps: rng.pick(&[200, 500, 500, 1000, 2000]),
            pillars: rng.range(1, 6),
            volatile: rng.range(1, 4),
            volatile_exchanges: rng.range(1, 2),
            weights,
            in_flight_max: rng.pick(&[1, 1, 4, 16]),
            burst_max: rng.pick(&[1, 4, 20]),
            sizes: rng.pick(&[[1, 0, 0, 0], [10, 5, 1, 0], [4, 4, 4, 1], [1, 1, 1, 1], [0, 0, 2, 1]]),
            no_ack: rng.pick(&[0, 0, 20, 80]),
            mandatory: rng.pick(&[0, 30, 100]),
            volatile_targets: rng.pick(&[0, 20, 60]),
            exclusive_consumers: rng.chance(20),
            global_qos: rng.chance(30),
            no_wait: rng.pick(&[0, 0, 20]),
            alarms: rng.pick(&[0, 0, 1, 5, 30]),
            modes: rng.pick(&[[1, 1, 1], [1, 3, 0], [0, 1, 0], [1, 0, 2], [1, 0, 0]]),
            frame_max: rng.pick(&[4096, 4096, 8192, 131_072]),
            client_read_max: rng.pick(&[100, 2000, 1 << 20]),
            settings: settings(rng),
            faults: faults(rng, shards),
        }
    }

    /// What is confirmed must survive: there is to be enough of it.
    pub fn durable(&mut self, rng: &mut Rng) {
        self.modes = rng.pick(&[[1, 3, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]]);
        self.steps = rng.pick(&[100, 200, 500]);
        let limits = &mut self.settings.limits;
        limits.segment_bytes = rng.pick(&[64 << 10, 256 << 10]);
        limits.segment_bytes_min = limits.segment_bytes;
        limits.segments_nursery = rng.range(1, 4);
        limits.checkpoint_bytes = rng.pick(&[32 << 10, 256 << 10]);
        limits.stored_messages_bytes_max = rng.pick(&[0, 2000, 50_000, 1 << 30]);
        limits.messages_bytes_max = limits.stored_messages_bytes_max.max(rng.pick(&[0, 5000, 100_000, 1 << 30]));
        limits.fetch_bytes_max = rng.pick(&[1, 2000, 512 << 10]);
    }

    pub fn action(&self, rng: &mut Rng) -> Action {
        ACTIONS[rng.weighted(&self.weights)].0
    }
}

/// Settings with limits so small that every one of them is met.
pub fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings::default();
    let limits = &mut settings.limits;
    limits.handshake_ms = 1 << 40;
    limits.close_wait_ms = 1 << 40;
    limits.refusal_delay_ms = 1 << 40;
    if rng.chance(15) {
        return settings;
    }
    limits.read_bytes_max = rng.pick(&[200, 1000, 5000, 64 << 10]);
    limits.turn_bytes_max = rng.pick(&[200, 2000, 20_000, 1 << 20]);
    limits.body_own_block_bytes = rng.pick(&[64, 512, 2048, 16 << 10]);
    limits.block_bytes = (limits.body_own_block_bytes * 4).max(rng.pick(&[256, 1024, 4096, 64 << 10]));
    limits.blocks_spare_max = rng.below(4);
    limits.outbound_high_bytes = rng.pick(&[300, 3000, 30_000, 1 << 20]);
    limits.outbound_park_bytes = limits.outbound_high_bytes * rng.range(1, 4);
    limits.deliver_slice_bytes = rng.pick(&[1, 500, 5000, 1 << 20]);
    limits.link_window_bytes = rng.pick(&[1 << 10, 1 << 10, 16 << 10, 256 << 10]);
    limits.links_bytes_max = rng.pick(&[1, 4 << 10, 256 << 20]);
    limits.publish_credit_bytes = rng.pick(&[1 << 10, 1 << 10, 16 << 10, 1 << 20]);
    limits.body_reserve_max = rng.pick(&[16, 1000, 256 << 10]);
    limits.route_cache_max = rng.pick(&[1, 2, 4096]);
    limits.outbound_bytes_max = rng.pick(&[1000, 20_000, 256 << 20]);
    limits.inbound_bytes_max = rng.pick(&[100, 5000, 64 << 20]);
    settings
}

/// A world with a temper.
pub fn faults(rng: &mut Rng, shards: usize) -> Faults {
    Faults {
        mesh: rng.pick(&[MeshOrder::Causal, MeshOrder::PerPair]),
        hold_batch: rng.pick(&[0, 30, 80, 97]),
        lag_topology: rng.pick(&[0, 50, 100]),
        read_max: rng.pick(&[0, 0, 7, 300, 5000]),
        window_bytes: rng.pick(&[500, 5000, 100_000, 1 << 30]),
        partial_write: rng.pick(&[0, 20, 80]),
        skip_readable: rng.pick(&[0, 30]),
        spurious_turn: rng.pick(&[0, 5]),
        shard_weights: (0..shards).map(|_| rng.pick(&[1, 4, 16])).collect(),
    }
}
