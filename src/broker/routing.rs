//! From an exchange and routing keys to queues (rabbitmq-semantics.md section 10).

use smallvec::SmallVec;

use super::exchange::Destination;
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
    /// Whether it depends on nothing but the key and the exchange's epoch.
    pub cacheable: bool,
}

impl Route {
    /// Whether it leads nowhere.
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    /// How many queues it leads to.
    pub fn len(&self) -> usize {
        self.local.len() + self.remote.iter().map(|(_, keys)| keys.len()).sum::<usize>()
    }
}

impl Topology {
    /// Routes a message published to `exchange` under `keys` (the routing key, then CC and BCC), seen from shard `me`.
    ///
    /// Exchanges reached by bindings are visited once each, so cycles end; an alternate exchange is asked where its
    /// exchange matched nothing at all.
    pub fn route(&self, exchange: &Exchange, keys: &[&str], headers: Option<Table<'_>>, me: u8) -> Route {
        let mut route = Route { cacheable: keys.len() == 1, ..Route::default() };
        let mut queues: SmallVec<[u32; 8]> = SmallVec::new();
        if exchange.spec.name.is_empty() {
            // The default exchange: whoever caches this asks whether the queue still lives.
            self.route_default(exchange, keys, &mut queues);
        } else {
            self.route_through(exchange, keys, headers, &mut queues, &mut route.cacheable);
        }
        queues.sort_unstable();
        queues.dedup();
        for slot in queues {
            let Some(record) = self.queue_at(slot) else { continue };
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
            queues.extend(self.find_queue(exchange.spec.vhost, key).map(|queue| queue.key.slot));
        }
    }

    fn route_through(
        &self,
        exchange: &Exchange,
        keys: &[&str],
        headers: Option<Table<'_>>,
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
                self.route_default(exchange, keys, queues);
                *cacheable = false;
                continue;
            }
            *cacheable &= !exchange.table.needs_headers();
            let mut found: SmallVec<[Destination; 8]> = SmallVec::new();
            for key in keys {
                exchange.table.route(key, headers, &mut found);
            }
            if found.is_empty()
                && let Some(alternate) = &exchange.spec.alternate
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
