use std::collections::BTreeMap;
use std::fmt::Write;

use ahash::RandomState;

use super::super::tests::{bind, routed, routed_by, table, to, unbind};
use super::super::{Destination::Exchange, Destination::Queue, ExchangeKind, RoutingTable};
use super::*;
use crate::amqp::{Properties, TableWriter};

fn exchange(weights: &[(u32, &str)]) -> RoutingTable {
    let mut exchange = table(ExchangeKind::ConsistentHash);
    for (queue, weight) in weights {
        assert!(bind(&mut exchange, *queue, weight));
    }
    exchange
}

fn declared(arguments: &[(&str, Value<'_>)]) -> TableWriter {
    let mut writer = TableWriter::new();
    for (name, value) in arguments {
        writer.put(name, *value);
    }
    writer
}

/// Where so many keys go.
fn placed(exchange: &RoutingTable, count: usize) -> Vec<Destination> {
    let (mut key, mut found) = (String::new(), Vec::with_capacity(count));
    for n in 0..count {
        key.clear();
        let _ = write!(key, "order-{n}");
        let routes = routed(exchange, &key);
        assert_eq!(routes.len(), 1);
        found.push(routes[0]);
    }
    found
}

#[test]
fn of_a_million_keys_each_destination_has_its_share() {
    let weights = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4), (5, 2)];
    let mut exchange = table(ExchangeKind::ConsistentHash);
    for (queue, weight) in weights {
        assert!(bind(&mut exchange, queue, &weight.to_string()));
    }
    let mut shares = BTreeMap::new();
    for destination in placed(&exchange, 1_000_000) {
        *shares.entry(destination).or_insert(0_u32) += 1;
    }
    for (queue, weight) in weights {
        let (share, expected) = (f64::from(shares[&Queue(queue)]), 1e6 * f64::from(weight) / 16.0);
        assert!((share / expected - 1.0).abs() < 0.02, "queue {queue}: {share}, not {expected}");
    }
}

#[test]
fn the_greatest_weight_beside_the_least() {
    let exchange = exchange(&[(0, "1"), (1, "10000")]);
    let few = placed(&exchange, 200_000).into_iter().filter(|found| *found == Queue(0)).count();
    assert!((5..50).contains(&few), "{few}");
}

#[test]
fn what_comes_takes_its_share_and_moves_nothing_else() {
    let mut exchange = exchange(&[(0, "1"), (1, "1"), (2, "3"), (3, "2")]);
    let before = placed(&exchange, 50_000);
    for (queue, weight, least, most) in [(9, "1", 5_900, 6_600), (8, "8", 26_100, 27_200)] {
        assert!(bind(&mut exchange, queue, weight));
        let after = placed(&exchange, 50_000);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!((least..most).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, after)| **after == Queue(queue)));
        assert!(unbind(&mut exchange, queue, weight));
        assert_eq!(placed(&exchange, 50_000), before);
    }
}

#[test]
fn what_goes_from_the_middle_leaves_its_share_and_moves_nothing_else() {
    for gone in 0..4 {
        let mut exchange = exchange(&[(0, "1"), (1, "1"), (2, "3"), (3, "2")]);
        let before = placed(&exchange, 20_000);
        assert_eq!(exchange.remove_destination(Queue(gone)), 1);
        let after = placed(&exchange, 20_000);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == Queue(gone)));
        assert!(!after.contains(&Queue(gone)));
    }
}

#[test]
fn neither_order_nor_slots_nor_seeds_count() {
    let weights = ["5", "1", "1", "7", "5", "2"];
    let build = |order: &[usize], slots: u32, seed: u64| {
        let hash = RandomState::with_seeds(seed, 2, 3, 4);
        let mut exchange = RoutingTable::new(ExchangeKind::ConsistentHash, Table::EMPTY, hash);
        for &at in order {
            let target = Target::new(Queue(slots.wrapping_add(at as u32 * 31) % 1000), &format!("queue {at}"), 0);
            assert!(exchange.bind(target, weights[at], Table::EMPTY));
        }
        exchange
    };
    let named = |exchange: &RoutingTable, slots: u32| -> Vec<usize> {
        let name = |slot| (0..6).find(|at| slots.wrapping_add(*at as u32 * 31) % 1000 == slot).unwrap();
        placed(exchange, 5_000).into_iter().map(|found| if let Queue(slot) = found { name(slot) } else { 9 }).collect()
    };
    let (one, other) = (build(&[0, 1, 2, 3, 4, 5], 0, 1), build(&[3, 5, 1, 0, 4, 2], 950, 99));
    assert_eq!(named(&one, 0), named(&other, 950));
}

/// Where keys go is part of what survives a restart, and an upgrade.
#[test]
fn keys_stay_where_they_were_in_earlier_versions() {
    let mut exchange = table(ExchangeKind::ConsistentHash);
    for (slot, weight) in [(0, "1"), (1, "2"), (2, "3")] {
        assert!(exchange.bind(Target::new(Queue(slot), &format!("q{slot}"), 0), weight, Table::EMPTY));
    }
    let expected = [2, 1, 2, 0, 2, 0, 2, 2, 1, 1, 1, 2];
    assert_eq!(placed(&exchange, 12), expected.map(Queue));
}

#[test]
fn queues_and_exchanges_of_one_name_are_two() {
    let mut exchange = table(ExchangeKind::ConsistentHash);
    for destination in [Queue(0), Exchange(0)] {
        assert!(exchange.bind(Target::new(destination, "name", 0), "1", Table::EMPTY));
    }
    let queues = placed(&exchange, 10_000).into_iter().filter(|found| *found == Queue(0)).count();
    assert!((4_700..5_300).contains(&queues), "{queues}");
}

#[test]
fn a_second_binding_to_a_destination_is_ignored() {
    let mut exchange = exchange(&[(0, "1"), (1, "1")]);
    let before = placed(&exchange, 1_000);
    assert!(!exchange.takes(Queue(0), "9", Table::EMPTY));
    assert!(!bind(&mut exchange, 0, "9"));
    assert_eq!(exchange.binding_count(), 2);
    assert_eq!(placed(&exchange, 1_000), before);
    assert!(!unbind(&mut exchange, 0, "9"));
    assert_eq!(placed(&exchange, 1_000), before);
    assert!(unbind(&mut exchange, 0, "1"));
    assert!(bind(&mut exchange, 0, "9"));
    assert!(exchange.bind(to(Queue(2)), "9", declared(&[("a", Value::Void)]).table()));
    assert_eq!(exchange.remove_destination(Queue(2)), 1);
    assert!(unbind(&mut exchange, 0, "9") && unbind(&mut exchange, 1, "1"));
    assert_eq!(routed(&exchange, "k"), []);
}

#[test]
fn weights() {
    let integer = |key: &str| format!("The binding key must be an integer: {key}");
    let (small, great) = ("The binding key must be greater than 0", "The binding key must not exceed 10000");
    let long = "9".repeat(255);
    for (key, expected) in [
        ("1", Ok(1)),
        ("+1", Ok(1)),
        ("0007", Ok(7)),
        ("10000", Ok(10_000)),
        ("10001", Err(great.to_owned())),
        ("4294967297", Err(great.to_owned())),
        (&long, Err(great.to_owned())),
        ("0", Err(small.to_owned())),
        ("-0", Err(small.to_owned())),
        ("-1", Err(small.to_owned())),
        ("-4294967297", Err(small.to_owned())),
        ("x", Err(integer("<<\"x\">>"))),
        ("", Err(integer("<<>>"))),
        ("-", Err(integer("<<\"-\">>"))),
        ("+-1", Err(integer("<<\"+-1\">>"))),
        ("1.0", Err(integer("<<\"1.0\">>"))),
        (" 1", Err(integer("<<\" 1\">>"))),
        ("1_000", Err(integer("<<\"1_000\">>"))),
        ("0x10", Err(integer("<<\"0x10\">>"))),
    ] {
        assert_eq!(weight(key), expected, "{key}");
        let found = RoutingTable::validate(ExchangeKind::ConsistentHash, key, Table::EMPTY, None);
        assert_eq!(found, expected.map(|_| ()));
    }
}

#[test]
fn what_it_may_be_declared_with() {
    let exclusive = "hash-header and hash-property are mutually exclusive";
    for (arguments, expected) in [
        (&[] as &[_], None),
        (&[("hash-header", Value::LongStr(b"h"))], None),
        (&[("hash-property", Value::LongStr(b"correlation_id"))], None),
        (&[("hash-property", Value::LongStr(b"message_id"))], None),
        (&[("hash-property", Value::LongStr(b"timestamp"))], None),
        (&[("hash-property", Value::LongStr(b"app_id"))], Some("Unsupported property: app_id")),
        (&[("hash-property", Value::LongStr(b""))], Some("Unsupported property: ")),
        (&[("hash-header", Value::LongStr(b"h")), ("hash-property", Value::LongStr(b"message_id"))], Some(exclusive)),
        (&[("hash-property", Value::LongStr(b"x")), ("hash-header", Value::LongStr(b"h"))], Some(exclusive)),
        (&[("hash-header", Value::I32(1))], Some("invalid type 'signedint' for arg 'hash-header' in X")),
        (&[("hash-property", Value::Void)], Some("invalid type 'void' for arg 'hash-property' in X")),
    ] {
        let found = RoutingTable::validate_declare(ExchangeKind::ConsistentHash, declared(arguments).table(), "X");
        assert_eq!(found.err().as_deref(), expected, "{arguments:?}");
        assert_eq!(RoutingTable::validate_declare(ExchangeKind::Topic, declared(arguments).table(), "X"), Ok(()));
    }
}

/// Messages whose subjects differ are spread, those whose subjects agree stay together.
#[test]
fn headers_and_properties_are_hashed_instead_of_the_key() {
    let texts: Vec<String> = (0..100).map(|n| format!("id-{n}")).collect();
    let mut table = TableWriter::new();
    table.put("other", Value::I32(1));
    let none = Properties { headers: Some(table.table()), ..Properties::default() };
    for (name, property) in [
        ("hash-header", "h"),
        ("hash-property", "correlation_id"),
        ("hash-property", "message_id"),
        ("hash-property", "timestamp"),
    ] {
        let arguments = declared(&[(name, Value::LongStr(property.as_bytes()))]);
        let hash = RandomState::with_seeds(1, 2, 3, 4);
        let mut exchange = RoutingTable::new(ExchangeKind::ConsistentHash, arguments.table(), hash);
        assert!(!exchange.is_cacheable());
        (0..4).for_each(|queue| assert!(bind(&mut exchange, queue, "1")));
        let mut found = BTreeMap::new();
        for (n, text) in texts.iter().enumerate() {
            let mut headers = TableWriter::new();
            headers.put("h", Value::LongStr(text.as_bytes())).put("i", Value::I32(n as i32));
            let of_header = Properties { headers: Some(headers.table()), ..Properties::default() };
            let properties = match property {
                "h" => of_header,
                "correlation_id" => Properties { correlation_id: Some(text), message_id: Some("m"), ..none },
                "message_id" => Properties { message_id: Some(text), timestamp: Some(1), ..none },
                _ => Properties { timestamp: Some(n as u64), correlation_id: Some("c"), ..none },
            };
            let [queue] = routed_by(&exchange, "k", properties)[..] else { panic!("not one queue") };
            assert_eq!(routed_by(&exchange, text, properties), [queue], "the key does not count");
            *found.entry(queue).or_insert(0) += 1;
        }
        assert_eq!(found.len(), 4);
        assert!(found.values().all(|count| (10..45).contains(count)), "{property}: {found:?}");
        let lacking: Vec<_> = texts.iter().map(|key| routed_by(&exchange, key, none)).collect();
        assert!(lacking[0].len() == 1 && lacking.iter().all(|found| *found == lacking[0]), "all alike");
    }
}

/// An array without elements killed RabbitMQ's queues (GHSA-pj8f-mw2q-3xjj).
#[test]
fn any_value_can_be_hashed() {
    let arguments = declared(&[("hash-header", Value::LongStr(b"h"))]);
    let hash = RandomState::with_seeds(1, 2, 3, 4);
    let mut exchange = RoutingTable::new(ExchangeKind::ConsistentHash, arguments.table(), hash);
    (0..4).for_each(|queue| assert!(bind(&mut exchange, queue, "1")));
    let array = crate::amqp::table::ArrayWriter::default();
    for value in [Value::Array(array.array()), Value::Table(Table::EMPTY), Value::Void, Value::F64(f64::NAN)] {
        let headers = declared(&[("h", value)]);
        let properties = Properties { headers: Some(headers.table()), ..Properties::default() };
        assert_eq!(routed_by(&exchange, "", properties).len(), 1);
    }
}
