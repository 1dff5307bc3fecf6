//! What a queue goes by beside what AMQP says: limits, lifetimes, and where messages go that it lets go of.
//!
//! The arguments that a queue was declared with say so. A queue without any such rule has no [`Rules`] at all, and pays
//! nothing for them. Source: reference sections 8.2, 8.3 and 13.

use std::sync::Arc;

use super::deduplication::Deduplication;
use super::queue_arguments::QueueType;
use super::topology::QueueSpec;
use crate::amqp::Table;
pub use asked::Asked;

mod asked;

/// What a queue at its limit does (`x-overflow`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Lets go of the first message.
    #[default]
    DropHead,
    /// Refuses the newest.
    RejectPublish,
    /// Refuses the newest, and dead-letters it.
    RejectPublishDlx,
}

impl Overflow {
    /// By its name.
    pub fn named(name: &[u8]) -> Option<Overflow> {
        match name {
            b"drop-head" => Some(Overflow::DropHead),
            b"reject-publish" => Some(Overflow::RejectPublish),
            b"reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
            _ => None,
        }
    }
}

/// Which returned messages wait before they are ready again (`x-delayed-retry-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryType {
    /// All.
    All,
    /// Those whose delivery has failed: rejected, or their consumer was lost.
    Failed,
    /// The others.
    Returned,
}

impl RetryType {
    /// By its name.
    pub fn named(name: &[u8]) -> Option<RetryType> {
        match name {
            b"all" => Some(RetryType::All),
            b"failed" => Some(RetryType::Failed),
            b"returned" => Some(RetryType::Returned),
            _ => None,
        }
    }
}

/// How long returned messages wait before they are ready again (`x-delayed-retry-*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayedRetry {
    /// Which do.
    pub kind: RetryType,
    /// The first time, in milliseconds.
    pub min_ms: u64,
    /// At most, in milliseconds.
    pub max_ms: Option<u64>,
    /// `None`: the delay grows by `min_ms` each time; else by this factor (LavinMQ's argument).
    pub multiplier: Option<u64>,
}

impl DelayedRetry {
    /// No delay is longer (LavinMQ's bound), in milliseconds.
    const MS_MAX: u64 = u32::MAX as u64;

    /// The delay after so many returns (1 and more), in milliseconds.
    pub fn delay_ms(&self, count: u32) -> u64 {
        let delay = match self.multiplier {
            None => self.min_ms.saturating_mul(count.into()),
            Some(factor) => self.min_ms.saturating_mul(factor.saturating_pow(count.saturating_sub(1))),
        };
        delay.min(self.max_ms.unwrap_or(Self::MS_MAX)).min(Self::MS_MAX)
    }
}

/// RabbitMQ's delivery limit of quorum queues that say nothing of it.
pub const DELIVERY_LIMIT: u64 = 20;

/// What a queue goes by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Messages are let go of after so many milliseconds (`x-message-ttl`).
    pub message_ttl_ms: Option<u64>,
    /// The queue goes when it was not used for so many milliseconds (`x-expires`).
    pub expires_ms: Option<u64>,
    /// Ready messages (`x-max-length`).
    pub length_max: Option<u64>,
    /// Bytes of ready messages' bodies (`x-max-length-bytes`).
    pub length_bytes_max: Option<u64>,
    /// What is done beyond that.
    pub overflow: Overflow,
    /// Where messages go that the queue lets go of (`x-dead-letter-exchange`).
    pub dead_letter_exchange: Option<Arc<str>>,
    /// Under which key, if not their own (`x-dead-letter-routing-key`).
    pub dead_letter_routing_key: Option<Arc<str>>,
    /// The highest priority (`x-max-priority`), for a queue that tells priorities apart.
    pub priority_max: Option<u8>,
    /// Deliveries of a message that may fail (`x-delivery-limit`).
    pub delivery_limit: Option<u64>,
    /// Deliveries are counted: a quorum queue, or one with a limit or retries.
    pub counts: bool,
    /// What a quorum queue says of the milliseconds within which a delivery is to be acknowledged
    /// (`x-consumer-timeout`).
    pub consumer_timeout_ms: Option<u64>,
    /// Whether returned messages wait, and how long.
    pub delayed_retry: Option<DelayedRetry>,
    /// How it tells messages apart, if it takes each once (`x-message-deduplication`).
    pub deduplication: Option<Deduplication>,
}

impl Rules {
    /// Those of a queue, by its arguments.
    pub fn of(spec: &QueueSpec) -> Rules {
        Rules::of_arguments(spec.table())
    }

    /// Those that a queue's arguments ask for.
    pub fn of_arguments(arguments: Table<'_>) -> Rules {
        if arguments.is_empty() {
            return Rules::default();
        }
        Rules::new(arguments, Asked::of(arguments), QueueType::of(arguments) == QueueType::Quorum)
    }

    /// Those that a queue's arguments and the effective definition of its policies ask for.
    pub fn under(arguments: Table<'_>, policy: &Asked) -> Rules {
        let quorum = QueueType::of(arguments) == QueueType::Quorum;
        Rules::new(arguments, Asked::of(arguments).with_policy(policy, quorum), quorum)
    }

    fn new(arguments: Table<'_>, asked: Asked, quorum: bool) -> Rules {
        let delayed_retry = delayed_retry(&asked, quorum);
        let limit = match asked.delivery_limit {
            Some(limit) => u64::try_from(limit).ok(),
            None => (quorum || delayed_retry.is_some()).then_some(DELIVERY_LIMIT),
        };
        let priority_max = || arguments.find("x-max-priority")?.as_integer();
        Rules {
            message_ttl_ms: asked.message_ttl_ms,
            expires_ms: asked.expires_ms,
            length_max: asked.length_max,
            length_bytes_max: asked.length_bytes_max,
            overflow: asked.overflow.unwrap_or_default(),
            dead_letter_exchange: asked.dead_letter_exchange,
            dead_letter_routing_key: asked.dead_letter_routing_key,
            // A maximum of 0 behaves like 1.
            priority_max: match quorum {
                true => Some(31),
                false => priority_max().filter(|max| *max >= 0).map(|max| max.clamp(1, 255) as u8),
            },
            delivery_limit: limit,
            counts: quorum || limit.is_some() || delayed_retry.is_some(),
            consumer_timeout_ms: asked.consumer_timeout_ms.filter(|_| quorum),
            delayed_retry,
            deduplication: Deduplication::of(arguments, false),
        }
        .for_type(quorum)
    }

    /// What a type of queue makes of them: a quorum queue does not dead-letter what it refuses, it lets go of the first
    /// message instead (reference section 13).
    pub fn for_type(mut self, quorum: bool) -> Rules {
        if quorum && self.overflow == Overflow::RejectPublishDlx {
            self.overflow = Overflow::DropHead;
        }
        self
    }

    /// Whether there are none.
    pub fn is_plain(&self) -> bool {
        *self == Rules::default()
    }

    /// Whether a queue may refuse a publish.
    pub fn rejects(&self) -> bool {
        self.overflow != Overflow::DropHead && (self.length_max.is_some() || self.length_bytes_max.is_some())
    }
}

fn delayed_retry(asked: &Asked, quorum: bool) -> Option<DelayedRetry> {
    let kind = match asked.retry_type {
        Some(kind) => kind,
        // LavinMQ's classic queues need no type.
        None if !quorum => RetryType::All,
        None => return None,
    };
    Some(DelayedRetry {
        kind,
        min_ms: asked.retry_min_ms?,
        max_ms: asked.retry_max_ms,
        multiplier: asked.retry_multiplier,
    })
}
