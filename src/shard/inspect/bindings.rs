//! Rows of bindings. Those that the default exchange has to every queue are made up: no table has them.

use super::{Arguments, BindingRow, Page, cursor, page, slot_of};
use crate::broker::exchange::binding_hash;
use crate::broker::topology::{Exchange, QueueRecord};
use crate::shard::Shard;

/// In a cursor: the bindings of the default exchange come, by queue.
const OF_DEFAULT: u64 = 1 << 63;

/// What a row is made of.
enum Place<'a> {
    Bound(&'a Exchange, crate::broker::exchange::Destination, &'a str, &'a [u8]),
    Default(&'a QueueRecord),
}

impl Shard {
    pub(super) fn binding_rows(&self, from: u64) -> Page<BindingRow> {
        let exchanges_from = if from < OF_DEFAULT { slot_of(from) as u32 } else { u32::MAX };
        let queues_from = if from < OF_DEFAULT { 0 } else { slot_of(from & !OF_DEFAULT) as u32 };
        let bound = self.topology.exchange_slots(exchanges_from).flat_map(|(slot, exchange)| {
            let bindings = exchange.into_iter().flat_map(|exchange| {
                let all = exchange.table.iter();
                all.map(move |(destination, key, arguments)| Place::Bound(exchange, destination, key, arguments))
            });
            let bindings = (1..).zip(bindings).map(move |(n, place)| (cursor(slot as usize, n), Some(place)));
            std::iter::once((cursor(slot as usize, 0), None)).chain(bindings)
        });
        let queues = self.topology.queue_slots(queues_from);
        let queues = queues.map(|(slot, queue)| (OF_DEFAULT | cursor(slot as usize, 0), queue.map(Place::Default)));
        let places = bound.skip_while(|(at, _)| *at < from).chain(queues);
        page(self.rows_max(), places, |place| self.binding_row(&place))
    }

    fn binding_row(&self, place: &Place<'_>) -> Option<BindingRow> {
        match *place {
            Place::Default(queue) if queue.is_internal => None,
            Place::Default(queue) => Some(BindingRow {
                vhost: self.topology.vhost_name(queue.spec.vhost).to_owned(),
                source: String::new(),
                destination: queue.spec.name.to_string(),
                destination_type: "queue",
                routing_key: queue.spec.name.to_string(),
                arguments: Arguments::default(),
                properties_key: properties_key(&queue.spec.name, &[]),
            }),
            Place::Bound(exchange, destination, key, arguments) => Some(BindingRow {
                vhost: self.topology.vhost_name(exchange.spec.vhost).to_owned(),
                source: exchange.spec.name.to_string(),
                destination: self.topology.destination_name(destination)?.to_string(),
                destination_type: destination.kind(),
                routing_key: key.to_owned(),
                arguments: Arguments(arguments.into()),
                properties_key: properties_key(key, arguments),
            }),
        }
    }
}

/// What tells a binding from others between the same two, in a path of RabbitMQ's HTTP API: `~` for an empty key
/// without arguments, else the key as a part of a form, and behind a `~` a hash of the arguments (a table's contents)
/// if there are any.
///
/// The hash is as long as RabbitMQ's and stays what it is, but it is another: clients take it from a list.
pub fn properties_key(key: &str, arguments: &[u8]) -> String {
    if key.is_empty() && arguments.is_empty() {
        return "~".into();
    }
    let mut text = String::new();
    for octet in key.bytes() {
        match octet {
            b' ' => text.push('+'),
            b'.' | b'-' | b'_' => text.push(octet.into()),
            octet if octet.is_ascii_alphanumeric() => text.push(octet.into()),
            octet => text.push_str(&format!("%{octet:02X}")),
        }
    }
    if !arguments.is_empty() {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        text.push('~');
        let hash = binding_hash(arguments);
        text.extend((0..22).rev().map(|digit| char::from(DIGITS[(hash >> (6 * digit)) as usize & 63])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_named_as_by_rabbitmq() {
        for (key, arguments, expected) in [
            ("", &b""[..], "~"),
            ("a.b-c_d9", b"", "a.b-c_d9"),
            ("a b/#~*", b"", "a+b%2F%23%7E%2A"),
            ("é", b"", "%C3%A9"),
        ] {
            assert_eq!(properties_key(key, arguments), expected);
        }
        let hashes =
            [properties_key("", b"\x01at\x01"), properties_key("k", b"\x01at\x01"), properties_key("", b"\x01at\x00")];
        assert!(hashes[0].starts_with('~') && hashes[0].len() == 23, "{hashes:?}");
        assert_eq!(hashes[1], format!("k{}", hashes[0]));
        assert_ne!(hashes[2], hashes[0]);
    }
}
