//! Exchanges of type x-recent-history: their last messages are in a queue of their own on shard 0, and whatever is
//! bound to one of them gets these messages.
//!
//! Shard 0 makes bindings, too. So what was published before somebody asked for a binding is in the queue when the
//! binding is made, and what is published by those who know of the binding comes after it: the new destination misses
//! nothing and gets nothing twice.
//!
//! The messages are in memory only, as in RabbitMQ: a restart forgets them.

use smallvec::SmallVec;

use super::Shard;
use crate::amqp::{Content, Properties, Stamp, TableWriter, Value};
use crate::broker::exchange::{Destination, recent_history};
use crate::broker::message::MessageRef;
use crate::broker::queue::Queue;
use crate::broker::queue::ruled::HISTORY_PREFIX;
use crate::broker::routing::{Route, sender_selected};
use crate::broker::topology::{BindingSpec, ExchangeSpec, QueueKey, QueueSpec};

/// Where they are: with who makes the bindings.
pub(super) const HOME: u8 = 0;

impl Shard {
    /// The queue with the last messages of an exchange.
    pub(super) fn history_for(&mut self, exchange: &ExchangeSpec) -> QueueSpec {
        if let Some(count) = self.placed.get_mut(usize::from(HOME)) {
            *count += 1;
        }
        let limits = &self.settings.limits;
        let length = recent_history::length(exchange.table()).min(limits.history_messages_max);
        let mut arguments = TableWriter::new();
        arguments.put("x-max-length", Value::I64(length as i64));
        arguments.put("x-max-length-bytes", Value::I64(limits.history_bytes_max as i64));
        QueueSpec {
            id: self.next_id(),
            vhost: exchange.vhost,
            name: format!("{HISTORY_PREFIX}{}", exchange.name).into(),
            // It is defined as long as its exchange is; what is in it is not for the journal.
            durable: exchange.durable,
            auto_delete: false,
            exclusive: None,
            arguments: arguments.into_bytes().into(),
            owner: HOME,
        }
    }

    /// Takes a message that may be asked for later.
    pub(super) fn remember(&mut self, queue: &mut Queue, content: &Content<'_>, kept: &mut Option<MessageRef>) {
        let message = self.blocks.store_once(content, kept);
        queue.entries.push(message, false);
        if let Some(ruled) = &mut queue.ruled {
            ruled.weigh(content.body.len(), 0);
        }
        self.drop_head(queue);
    }

    /// Shard 0: gives a new destination of an exchange what that remembers.
    pub(super) fn replay(&mut self, history: QueueKey, binding: &BindingSpec) {
        let Some(queue) = self.living(history) else { return };
        // Out of their blocks: what is published may be kept in the same ones, or in this very queue.
        let mut records: Vec<Vec<u8>> = Vec::new();
        queue.entries.for_each_ready(|message| {
            records.push(self.blocks.copy(message));
        });
        for record in records {
            let content = Content::from_record(&record);
            let route = self.replay_route(binding, &content);
            self.send_route(&route, &content, Stamp::of(&record).renewed(self.stamp));
        }
        // Not for a publish to wait for.
        self.ledger.ticket();
    }

    fn replay_route(&self, binding: &BindingSpec, content: &Content<'_>) -> Route {
        match binding.destination {
            Destination::Queue(slot) => match self.topology.queue_at(slot) {
                Some(queue) if queue.spec.owner == self.id.0 => {
                    Route { local: SmallVec::from_slice(&[queue.key]), ..Route::default() }
                }
                Some(queue) => {
                    let keys = SmallVec::from_slice(&[queue.key]);
                    Route { remote: SmallVec::from_iter([(queue.spec.owner, keys)]), ..Route::default() }
                }
                None => Route::default(),
            },
            Destination::Exchange(slot) => {
                let Some(exchange) = self.topology.exchange_at(slot) else { return Route::default() };
                let properties = Properties::decode(content.properties).unwrap_or_default();
                let mut keys: SmallVec<[&str; 4]> = SmallVec::from_slice(&[content.routing_key()]);
                // What is wrong was refused when it was published.
                let _ = sender_selected(properties.headers, &mut keys);
                self.topology.route(exchange, &keys, &properties, self.id.0)
            }
        }
    }
}
