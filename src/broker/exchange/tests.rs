use super::Destination::{Exchange, Queue};
use super::*;
use crate::amqp::{TableWriter, Value};

pub(super) fn table(kind: ExchangeKind) -> RoutingTable {
    RoutingTable::new(kind, RandomState::with_seeds(1, 2, 3, 4))
}

pub(super) fn bind(table: &mut RoutingTable, queue: u32, key: &str) -> bool {
    table.bind(Queue(queue), key, Table::EMPTY)
}

pub(super) fn routed(table: &RoutingTable, key: &str) -> Vec<Destination> {
    let mut out = Routes::new();
    table.route(key, None, &mut out);
    out.to_vec()
}

const KINDS: [ExchangeKind; 4] =
    [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic, ExchangeKind::Headers];

#[test]
fn names() {
    for kind in KINDS {
        assert_eq!(ExchangeKind::from_name(kind.name()), Some(kind));
        assert_eq!(table(kind).needs_headers(), kind == ExchangeKind::Headers);
    }
    assert_eq!(ExchangeKind::from_name("Direct"), None);
    assert_eq!(ExchangeKind::from_name(""), None);
}

#[test]
fn a_binding_is_destination_key_and_arguments() {
    let mut ab = TableWriter::new();
    ab.put("a", Value::I32(1)).put("b", Value::I32(2));
    let mut ba = TableWriter::new();
    ba.put("b", Value::I32(2)).put("a", Value::I32(1));
    let mut long = TableWriter::new();
    long.put("a", Value::I64(1)).put("b", Value::I32(2));
    for kind in KINDS {
        let mut table = table(kind);
        assert!(table.bind(Queue(1), "k", ab.table()));
        assert!(!table.bind(Queue(1), "k", ba.table()), "their order does not count");
        assert!(table.bind(Queue(1), "k", long.table()), "their types do");
        assert!(table.bind(Queue(1), "k", Table::EMPTY));
        assert!(table.bind(Queue(1), "l", Table::EMPTY));
        assert!(table.bind(Exchange(1), "k", Table::EMPTY));
        assert!(!table.bind(Exchange(1), "k", Table::EMPTY));
        assert_eq!(table.binding_count(), 5);

        assert!(table.contains(Queue(1), "k", ba.table()));
        assert!(!table.contains(Queue(2), "k", ba.table()));
        assert!(!table.contains(Queue(1), "l", ba.table()));
        assert!(!table.unbind(Queue(1), "nothing", Table::EMPTY));
        assert!(table.unbind(Queue(1), "k", ba.table()));
        assert!(!table.unbind(Queue(1), "k", ab.table()));
        assert!(table.contains(Queue(1), "k", long.table()));

        let listed: Vec<_> = table.iter().collect();
        assert_eq!(listed.len(), 4);
        assert!(listed.contains(&(Queue(1), "k", long.table().as_bytes())));
        assert!(listed.contains(&(Exchange(1), "k", b"".as_slice())));

        assert_eq!(table.remove_destination(Queue(1)), 3);
        assert_eq!(table.remove_destination(Queue(1)), 0);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(Exchange(1), "k", b"".as_slice())]);
        assert!(table.unbind(Exchange(1), "k", Table::EMPTY));
        assert!(table.is_empty());
        assert!(table.bind(Queue(1), "k", ab.table()));
    }
}

#[test]
fn results_do_not_depend_on_the_seeds() {
    for kind in KINDS {
        let results = [1, 99].map(|seed| {
            let mut table = RoutingTable::new(kind, RandomState::with_seeds(seed, 2, 3, 4));
            for i in 0..500_u32 {
                let key = ["a.b", "a.*", "#", "a.#", "*.b"][i as usize % 5];
                table.bind(Queue(i * 7919 % 501), key, Table::EMPTY);
                table.bind(Exchange(i * 31 % 40), key, Table::EMPTY);
                table.remove_destination(Queue(i * 13 % 97));
            }
            let listed: Vec<_> = table.iter().map(|(d, key, _)| (d, key.to_owned())).collect();
            (routed(&table, "a.b"), listed)
        });
        assert!(!results[0].0.is_empty());
        assert_eq!(results[0], results[1]);
    }
}

#[test]
fn routes_are_appended() {
    for kind in KINDS {
        let mut table = table(kind);
        bind(&mut table, 1, "k");
        let mut out = Routes::from_slice(&[Queue(9)]);
        table.route("k", Some(Table::EMPTY), &mut out);
        table.route("k", None, &mut out);
        assert_eq!(out.as_slice(), [Queue(9), Queue(1), Queue(1)]);
    }
}
