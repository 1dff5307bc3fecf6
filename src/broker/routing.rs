//! From an exchange and routing keys to queues (rabbitmq-semantics.md section 10).

use smallvec::SmallVec;

use super::deduplication::Deduplication;
use super::delay;
use super::exchange::{Asked, Destination, recent_history};
use super::queue::ruled::history_of;
use super::topology::{Exchange, QueueKey, Topology};
use crate::amqp::{Properties, Table, Value};

/// The queues of a shard that a message goes to.
pub type Keys = SmallVec<[QueueKey; 2]>;

/// Where a message goes, each queue once, grouped by the shard that owns them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Queues of the shard that asked.
    pub local: Keys,
    /// Queues of others.
    pub remote: SmallVec<[(u8, Keys); 1]>,
    /// Other shards with a durable queue among theirs, by bit.
    pub remote_durable: u64,
    /// Whether one of the queues has all of its messages survive.
    pub keeps: bool,
    /// Whether one of the queues may refuse a publish.
    pub may_reject: bool,
    /// Whether it depends on nothing but the key and the exchange's epoch.
    pub cacheable: bool,
    /// How many of the queues are those of exchanges that remember: they are no destinations.
    pub histories: u32,
}

impl Route {
    /// Whether it leads nowhere.
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    /// Whether it leads to nobody: to no queue but where exchanges remember. Then a message may have to be returned.
    pub fn is_unroutable(&self) -> bool {
        self.is_empty() || self.histories > 0 && self.len() == self.histories as usize
    }

    /// How many queues it leads to.
    pub fn len(&self) -> usize {
        self.local.len() + self.remote.iter().map(|(_, keys)| keys.len()).sum::<usize>()
    }
}

impl Topology {
    /// Routes a message published to `exchange` under `keys` (the routing key, then CC and BCC), seen from shard `me`.
    /// Of the properties, exchanges look at the headers, correlation-id, message-id and timestamp.
    ///
    /// Exchanges reached by bindings are visited once each, so cycles end; an alternate exchange is asked where its
    /// exchange matched nothing at all.
    pub fn route(&self, exchange: &Exchange, keys: &[&str], properties: &Properties<'_>, me: u8) -> Route {
        self.route_from(exchange, keys, properties, me, None)
    }

    /// Routes a message that has waited in the queue of `exchange`, and was not taken before.
    pub fn route_on(&self, exchange: &Exchange, keys: &[&str], properties: &Properties<'_>, me: u8) -> Route {
        self.route_from(exchange, keys, properties, me, Some(exchange.key.slot))
    }

    fn route_from(
        &self,
        exchange: &Exchange,
        keys: &[&str],
        properties: &Properties<'_>,
        me: u8,
        passed: Option<u32>,
    ) -> Route {
        // What is traced goes by the slow path.
        let cacheable = keys.len() == 1 && !self.is_traced(exchange.spec.vhost);
        let mut route = Route { cacheable, ..Route::default() };
        let mut queues: SmallVec<[u32; 8]> = SmallVec::new();
        if exchange.spec.name.is_empty() {
            // The default exchange: whoever caches this asks whether the queue still lives.
            self.route_default(exchange, keys, &mut queues);
        } else {
            let asked = Asked { keys, properties, shard: me, lots: &self.lots };
            self.route_through(exchange, &asked, passed, &mut queues, &mut route.cacheable);
        }
        queues.sort_unstable();
        queues.dedup();
        for slot in queues {
            let Some(record) = self.queue_at(slot) else { continue };
            route.may_reject |= self.may_reject(record);
            route.keeps |= record.keeps;
            route.histories += u32::from(record.is_internal && history_of(&record.spec).is_some());
            if record.spec.owner == me {
                route.local.push(record.key);
                continue;
            }
            route.remote_durable |= u64::from(record.spec.durable) << record.spec.owner;
            if let Some((_, keys)) = route.remote.iter_mut().find(|(owner, _)| *owner == record.spec.owner) {
                keys.push(record.key);
            } else {
                route.remote.push((record.spec.owner, SmallVec::from_slice(&[record.key])));
            }
        }
        route
    }

    fn route_default(&self, exchange: &Exchange, keys: &[&str], queues: &mut SmallVec<[u32; 8]>) {
        for key in keys {
            let queue = self.find_queue(exchange.spec.vhost, key).filter(|queue| !queue.is_internal);
            queues.extend(queue.map(|queue| queue.key.slot));
        }
    }

    fn route_through(
        &self,
        exchange: &Exchange,
        asked: &Asked<'_>,
        passed: Option<u32>,
        queues: &mut SmallVec<[u32; 8]>,
        cacheable: &mut bool,
    ) {
        let mut visited: SmallVec<[u32; 8]> = SmallVec::from_slice(&[exchange.key.slot]);
        let mut next = 0;
        while let Some(&slot) = visited.get(next) {
            next += 1;
            let Some(exchange) = self.exchange_at(slot) else {
                continue;
            };
            if exchange.spec.name.is_empty() {
                self.route_default(exchange, asked.keys, queues);
                *cacheable = false;
                continue;
            }
            if let Some(delays) = exchange.delays {
                *cacheable = false;
                let is_named = |rule: &Deduplication| rule.name(asked.properties).is_some();
                let tells = passed != Some(slot) && exchange.deduplication.as_deref().is_some_and(is_named);
                if tells || delay::of(asked.properties.headers) > 0 {
                    queues.push(delays.slot);
                    continue;
                }
            }
            if let Some(history) = exchange.history {
                *cacheable = false;
                if recent_history::is_remembered(asked.properties.headers) {
                    queues.push(history.slot);
                }
            }
            *cacheable &= exchange.table.is_cacheable();
            let mut found: SmallVec<[Destination; 8]> = SmallVec::new();
            exchange.table.route(asked, &mut found);
            if found.is_empty()
                && let Some(alternate) = &exchange.alternate
                && let Some(alternate) = self.find_exchange(exchange.spec.vhost, alternate)
                && !visited.contains(&alternate.key.slot)
            {
                visited.push(alternate.key.slot);
            }
            for destination in found {
                match destination {
                    Destination::Queue(slot) => queues.push(slot),
                    Destination::Exchange(slot) if !visited.contains(&slot) => visited.push(slot),
                    Destination::Exchange(_) => {}
                }
            }
        }
    }
}

/// The routing keys that a message's CC and BCC headers add.
///
/// # Errors
/// The part of the text behind `invalid message: ` when a header is no array of long strings.
pub fn sender_selected<'a>(headers: Option<Table<'a>>, keys: &mut SmallVec<[&'a str; 4]>) -> Result<bool, String> {
    let mut has_bcc = false;
    for (name, value) in headers.iter().flat_map(|table| table.iter()) {
        let name = match name {
            b"CC" => "CC",
            b"BCC" => "BCC",
            _ => continue,
        };
        has_bcc |= name == "BCC";
        let Value::Array(array) = value else {
            return Err(format!("{{unacceptable_type_in_header,\"{name}\",{}}}", value.type_name()));
        };
        for entry in array.iter() {
            match entry {
                Value::LongStr(key) => keys.extend(std::str::from_utf8(key)),
                other => {
                    return Err(format!("{{unacceptable_type_in_header,\"{name}\",{}}}", other.type_name()));
                }
            }
        }
    }
    Ok(has_bcc)
}

/// Raw properties without the BCC header, which nobody but the sender may see.
pub fn without_bcc(properties: &Properties<'_>) -> Vec<u8> {
    let mut headers = crate::amqp::TableWriter::new();
    for (name, value) in properties.headers.iter().flat_map(|table| table.iter()) {
        if name != b"BCC" {
            headers.put_bytes(name, value);
        }
    }
    let mut raw = Vec::new();
    Properties { headers: Some(headers.table()), ..*properties }.encode(&mut raw);
    raw
}
