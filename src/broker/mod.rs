//! What a broker is, without wire, disk or shards: exchanges, queues, messages.

pub mod access;
pub mod arguments;
pub mod death;
pub mod deduplication;
pub mod delay;
pub mod entries;
pub mod event;
pub mod exchange;
pub mod expiration;
pub mod memory;
pub mod message;
pub mod parameters;
pub mod policy;
pub mod queue;
pub mod queue_arguments;
pub mod routing;
pub mod rules;
pub mod topology;
