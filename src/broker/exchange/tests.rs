use super::Destination::{Exchange, Queue};
use super::*;
use crate::amqp::{TableWriter, Value};

pub(super) fn table(kind: ExchangeKind) -> RoutingTable {
    RoutingTable::new(kind, Table::EMPTY, RandomState::with_seeds(1, 2, 3, 4))
}

/// A destination named after its slot.
pub(super) fn to(destination: Destination) -> Target {
    Target::new(destination, &format!("{destination:?}"), 0)
}

pub(super) fn bind(table: &mut RoutingTable, queue: u32, key: &str) -> bool {
    table.bind(to(Queue(queue)), key, Table::EMPTY)
}

pub(super) fn unbind(table: &mut RoutingTable, queue: u32, key: &str) -> bool {
    table.unbind(Queue(queue), key, Table::EMPTY)
}

pub(super) fn routed(table: &RoutingTable, key: &str) -> Vec<Destination> {
    routed_with(table, key, 0, &Lots::default())
}

/// Asked from this shard with these lots.
pub(super) fn routed_with(table: &RoutingTable, key: &str, shard: u8, lots: &Lots) -> Vec<Destination> {
    let mut out = Routes::new();
    table.route(&Asked { keys: &[key], properties: &Properties::default(), shard, lots }, &mut out);
    out.to_vec()
}

/// The destinations of a message with these properties.
pub(super) fn routed_by(table: &RoutingTable, key: &str, properties: Properties<'_>) -> Vec<Destination> {
    let mut out = Routes::new();
    let asked = Asked { keys: &[key], properties: &properties, shard: 0, lots: &Lots::default() };
    table.route(&asked, &mut out);
    out.to_vec()
}

/// Those that lead to every destination that fits.
const KINDS: [ExchangeKind; 4] =
    [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic, ExchangeKind::Headers];

#[test]
fn names() {
    use ExchangeKind::{Headers, LocalRandom, Random};
    for kind in ExchangeKind::ALL {
        assert_eq!(ExchangeKind::from_name(kind.name()), Some(kind));
        assert_eq!(table(kind).is_cacheable(), ![Headers, Random, LocalRandom].contains(&kind));
    }
    assert_eq!(ExchangeKind::from_name("Direct"), None);
    assert_eq!(ExchangeKind::from_name(""), None);
}

#[test]
fn a_binding_is_destination_key_and_arguments() {
    use ExchangeKind::{ModulusHash, Random};
    let mut ab = TableWriter::new();
    ab.put("a", Value::I32(1)).put("b", Value::I32(2));
    let mut ba = TableWriter::new();
    ba.put("b", Value::I32(2)).put("a", Value::I32(1));
    let mut long = TableWriter::new();
    long.put("a", Value::I64(1)).put("b", Value::I32(2));
    for kind in KINDS.into_iter().chain([ModulusHash, Random]) {
        let mut table = table(kind);
        assert!(table.bind(to(Queue(1)), "k", ab.table()));
        assert!(!table.bind(to(Queue(1)), "k", ba.table()), "their order does not count");
        assert!(table.bind(to(Queue(1)), "k", long.table()), "their types do");
        assert!(table.bind(to(Queue(1)), "k", Table::EMPTY));
        assert!(table.bind(to(Queue(1)), "l", Table::EMPTY));
        assert!(table.bind(to(Exchange(1)), "k", Table::EMPTY));
        assert!(!table.bind(to(Exchange(1)), "k", Table::EMPTY));
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
        assert!(table.bind(to(Queue(1)), "k", ab.table()));
    }
}

#[test]
fn results_do_not_depend_on_the_seeds() {
    for kind in KINDS {
        let results = [1, 99].map(|seed| {
            let mut table = RoutingTable::new(kind, Table::EMPTY, RandomState::with_seeds(seed, 2, 3, 4));
            for i in 0..500_u32 {
                let key = ["a.b", "a.*", "#", "a.#", "*.b"][i as usize % 5];
                table.bind(to(Queue(i * 7919 % 501)), key, Table::EMPTY);
                table.bind(to(Exchange(i * 31 % 40)), key, Table::EMPTY);
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
        for headers in [Some(Table::EMPTY), None] {
            let properties = Properties { headers, ..Properties::default() };
            let asked = Asked { keys: &["k"], properties: &properties, shard: 0, lots: &Lots::default() };
            table.route(&asked, &mut out);
        }
        assert_eq!(out.as_slice(), [Queue(9), Queue(1), Queue(1)]);
    }
}
