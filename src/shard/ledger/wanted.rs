//! What the journal must have.

use super::Ledger;
use crate::amqp::{Content, properties};
use crate::broker::queue::Queue;
use crate::broker::routing::Route;

impl Ledger {
    /// A queue's number in the store, if the journal must have its persistent messages.
    #[inline]
    pub(in crate::shard) fn stored_as(&self, queue: &Queue) -> Option<u64> {
        (self.on && queue.spec.durable).then_some(queue.spec.id)
    }

    /// Whether the journal must have a message of a queue because it is to survive.
    #[inline]
    pub(in crate::shard) fn must_have(&self, durable: bool, content: &Content<'_>) -> bool {
        self.on && durable && properties::is_persistent(content.properties)
    }

    /// Whether the journal must have a message of a route because a durable queue on it is to keep it.
    #[inline]
    pub(in crate::shard) fn must_have_on(&self, route: &Route, content: &Content<'_>) -> bool {
        self.on && (route.keeps || properties::is_persistent(content.properties))
    }
}
