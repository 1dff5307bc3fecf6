//! Protocol scripts: every rule and reply code of the reference of RabbitMQ's semantics, against shards in memory.
//!
//! A script is named after the section of the reference and the rule that it is about. Each runs four times: on one
//! shard, on four with its peers on different ones, on four whose turns come in any order (`LEVERET_SCRIPT_SEED` for
//! another), and on one shard that gets every byte in a read of its own. There are
//! no threads, no sockets and no waiting: [`net`] is the world, [`peer`] the other side of a connection.

// The seed comes from the environment, failures tell the dialogue.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod administration;
mod dialogue;
mod disk;
mod net;
mod peer;
#[path = "../common/rng.rs"]
mod rng;
mod say;

mod bad_input;
mod definitions;
mod s01_errors;
mod s02_blocked;
mod s02_connection;
mod s03_frames;
mod s04_channels;
mod s05_names;
mod s06_exchanges;
mod s07_queues;
mod s07_vhosts;
mod s08_arguments;
mod s08_policies;
mod s09_publishing;
mod s10_deduplication;
mod s10_delayed;
mod s10_exchanges;
mod s10_recent_history;
mod s10_routing;
mod s11_confirms;
mod s11_refused;
mod s12_consuming;
mod s12_quorum;
mod s12_settling;
mod s13_lifetimes;
mod s13_limits;
mod s13_priorities;
mod s13_queue_life;
mod s13_retries;
mod s13_single_active;
mod s14_cycles;
mod s14_dead_letters;
mod s14_reply_to;
mod s15_to_s20;
mod s16_access;
mod s18_firehose;
mod s20_events;
mod s20_inspect;
mod shards;
