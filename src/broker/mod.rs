//! What a broker is, without wire, disk or shards: exchanges, queues, messages.

pub mod arguments;
pub mod entries;
pub mod exchange;
pub mod expiration;
pub mod memory;
pub mod message;
pub mod queue;
pub mod queue_arguments;
pub mod routing;
pub mod topology;
