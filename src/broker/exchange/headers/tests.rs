use super::super::tests::{routed_by, table as exchange, to};
use super::super::{Destination::Queue, ExchangeKind, RoutingTable};
use super::*;
use crate::amqp::table::ArrayWriter;
use crate::amqp::{Array, Properties, TableWriter};
use crate::broker::arguments::equal;

type Entries<'a> = &'a [(&'a str, Value<'a>)];

fn written(entries: Entries<'_>) -> TableWriter {
    let mut writer = TableWriter::new();
    entries.iter().for_each(|(key, value)| {
        writer.put(key, *value);
    });
    writer
}

fn routed(exchange: &RoutingTable, headers: Option<Table<'_>>) -> Vec<Destination> {
    routed_by(exchange, "", Properties { headers, ..Properties::default() })
}

fn fits(x_match: Option<&str>, arguments: Entries<'_>, headers: Option<Entries<'_>>) -> bool {
    let mut writer = written(arguments);
    if let Some(x_match) = x_match {
        writer.put(X_MATCH, Value::LongStr(x_match.as_bytes()));
    }
    assert_eq!(RoutingTable::validate(ExchangeKind::Headers, "", writer.table(), None), Ok(()));
    let mut exchange = exchange(ExchangeKind::Headers);
    assert!(exchange.bind(to(Queue(1)), "", writer.table()));
    let headers = headers.map(written);
    !routed(&exchange, headers.as_ref().map(TableWriter::table)).is_empty()
}

#[test]
fn x_match_decides_which_keys_and_how_many() {
    let (a, b, x) = (("a", Value::I32(1)), ("b", Value::LongStr(b"t")), ("x-k", Value::I32(3)));
    let rows: [(Option<&str>, Entries<'_>, Option<Entries<'_>>, bool); 21] = [
        (None, &[a, b], Some(&[b, a]), true),
        (Some("all"), &[a, b], Some(&[a]), false),
        (Some("all"), &[a, b], Some(&[a, ("b", Value::LongStr(b"u"))]), false),
        (Some("all"), &[a], None, false),
        (Some("any"), &[a, b], Some(&[b]), true),
        (Some("any"), &[a, b], Some(&[("c", Value::I32(1))]), false),
        (Some("any"), &[a, b], None, false),
        (Some("all"), &[a, x], Some(&[a]), true),
        (Some("all-with-x"), &[a, x], Some(&[a]), false),
        (Some("all-with-x"), &[a, x], Some(&[a, x]), true),
        (Some("any"), &[a, x], Some(&[x]), false),
        (Some("any-with-x"), &[a, x], Some(&[x]), true),
        // No usable keys
        (None, &[], None, true),
        (Some("all"), &[], None, true),
        (Some("all"), &[x], Some(&[a]), true),
        (Some("all-with-x"), &[], Some(&[a]), true),
        (Some("any"), &[], Some(&[a]), false),
        (Some("any"), &[x], Some(&[x]), false),
        (Some("any-with-x"), &[], Some(&[a]), false),
        // The message's own x-match does not count
        (Some("any-with-x"), &[], Some(&[(X_MATCH, Value::LongStr(b"any-with-x"))]), false),
        // Of duplicates the last
        (None, &[a], Some(&[("a", Value::I32(9)), a]), true),
    ];
    for (i, (x_match, arguments, headers, expected)) in rows.into_iter().enumerate() {
        assert_eq!(fits(x_match, arguments, headers), expected, "row {i}");
    }
}

#[test]
fn values_compare_as_erlang_terms() {
    let (one, ones) = (written(&[("k", Value::I32(1))]), written(&[("k", Value::I64(1))]));
    for (wanted, value, expected) in [
        (Value::Void, Value::I32(1), true),
        (Value::Void, Value::Void, true),
        (Value::I32(1), Value::Void, false),
        (Value::I32(1), Value::I64(1), true),
        (Value::U8(255), Value::I16(255), true),
        (Value::I8(-1), Value::U8(255), false),
        (Value::I32(1), Value::F64(1.0), false),
        (Value::F32(1.5), Value::F64(1.5), true),
        (Value::F32(0.1), Value::F64(0.1), false),
        (Value::LongStr(b"1"), Value::I32(1), false),
        (Value::LongStr(b"t"), Value::Bytes(b"t"), true),
        (Value::LongStr(b"true"), Value::Bool(true), false),
        (Value::Bool(true), Value::Bool(true), true),
        (Value::Decimal(1, 20), Value::Decimal(2, 200), false),
        (Value::Timestamp(5), Value::Timestamp(5), true),
        (Value::Timestamp(5), Value::Timestamp(6), false),
        (Value::I64(5000), Value::Timestamp(5), true),
        (Value::I64(5), Value::Timestamp(5), false),
        (Value::I64(-1), Value::Timestamp(u64::MAX), false),
        (Value::Table(one.table()), Value::Table(one.table()), true),
        (Value::Table(one.table()), Value::Table(ones.table()), false),
    ] {
        assert_eq!(fits(None, &[("h", wanted)], Some(&[("h", value)])), expected, "{wanted:?} {value:?}");
    }
    assert!(!fits(None, &[("h", Value::Void)], Some(&[("i", Value::Void)])));
}

#[test]
fn a_destination_of_several_rules_comes_once() {
    let mut exchange = exchange(ExchangeKind::Headers);
    let tables = [written(&[("a", Value::Void)]), written(&[("b", Value::Void)]), written(&[])];
    for (queue, table) in [(2, 0), (1, 1), (2, 1), (3, 2)] {
        assert!(exchange.bind(to(Queue(queue)), "", tables[table].table()));
    }
    assert!(exchange.bind(to(Queue(3)), "other key", tables[2].table()));
    let headers = written(&[("a", Value::I32(1)), ("b", Value::I32(1))]);
    assert_eq!(routed(&exchange, Some(headers.table())), [Queue(1), Queue(2), Queue(3)]);
    assert!(exchange.unbind(Queue(3), "", tables[2].table()));
    assert_eq!(exchange.remove_destination(Queue(2)), 2);
    assert_eq!(routed(&exchange, Some(headers.table())), [Queue(1), Queue(3)]);
}

#[test]
fn a_wrong_x_match_is_refused() {
    for (value, text) in [
        (
            Value::LongStr(b"foo"),
            "Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, or any-with-x",
        ),
        (Value::I32(23), "Invalid x-match field type signedint (value 23); expected longstr"),
        (Value::Bytes(b"all"), "Invalid x-match field type binary (value <<\"all\">>); expected longstr"),
        (Value::Void, "Invalid x-match field type void (value undefined); expected longstr"),
    ] {
        assert_eq!(validate(written(&[(X_MATCH, value)]).table()), Err(text.to_owned()));
    }
}

struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A table of few keys and values, so that many fit each other; sometimes one of many headers.
    fn entries<'v>(&mut self, values: &[Value<'v>], keys_max: usize) -> Vec<(&'static str, Value<'v>)> {
        let keys = ["a", "b", "c", "", "x-a", "x-b", "long-enough-for-two-blocks"];
        let count = if self.below(20) == 0 { 3 * SCANNED_MAX } else { self.below(keys_max + 1) };
        (0..count).map(|_| (self.pick(&keys), self.pick(values))).collect()
    }
}

/// The table of the reference once more, binding by binding and without any index.
fn plainly_fits(arguments: &[(&str, Value<'_>)], x_match: Option<&str>, headers: &[(&str, Value<'_>)]) -> bool {
    let with_x = x_match.is_some_and(|name| name.ends_with("-with-x"));
    let mut results = arguments.iter().filter(|(key, _)| with_x || !key.starts_with("x-")).map(|(key, wanted)| {
        let sent = headers.iter().rfind(|(k, _)| k == key);
        sent.is_some_and(|(_, value)| value_fits(*wanted, *value))
    });
    if x_match.is_some_and(|name| name.starts_with("any")) {
        results.any(|fits| fits)
    } else {
        results.all(|fits| fits)
    }
}

#[test]
fn agrees_with_the_plain_matcher_while_bindings_come_and_go() {
    let inner = written(&[("k", Value::Bool(true)), ("l", Value::I64(1))]);
    let other = written(&[("k", Value::Bool(false)), ("l", Value::I64(1))]);
    // The same as `inner`, written in another way.
    let mut ways = inner.table().as_bytes().to_vec();
    (ways[3], ways[6]) = (9, b'L');
    let mut array = ArrayWriter::default();
    array.push(Value::I32(1)).push(Value::Table(inner.table()));
    let values = [
        Value::Void,
        Value::Bool(true),
        Value::Bool(false),
        Value::I8(1),
        Value::U8(1),
        Value::I16(-1),
        Value::U16(2),
        Value::I32(1),
        Value::U32(1000),
        Value::I64(1),
        Value::I64(-1),
        Value::I64(2000),
        Value::Timestamp(0),
        Value::Timestamp(1),
        Value::Timestamp(2),
        Value::Timestamp(u64::MAX),
        Value::F32(1.0),
        Value::F64(1.0),
        Value::F64(0.0),
        Value::F64(-0.0),
        Value::F64(f64::NAN),
        Value::Decimal(1, 1),
        Value::Decimal(0, 1),
        Value::LongStr(b"1"),
        Value::LongStr(b""),
        Value::Bytes(b"1"),
        Value::Table(Table::EMPTY),
        Value::Array(Array::default()),
        Value::Table(inner.table()),
        Value::Table(other.table()),
        Value::Table(Table::check(&ways).unwrap()),
        Value::Array(array.array()),
    ];
    let (mut asked, mut matched) = (0, 0);
    for seed in 0..12 {
        let mut generator = Generator(seed);
        // Few values make rules share their headers; many make most fit nothing.
        let few: Vec<Value<'_>> = (0..3 + 5 * seed).map(|_| generator.pick(&values)).collect();
        let mut exchange = exchange(ExchangeKind::Headers);
        let mut model: Vec<(Destination, usize)> = vec![];
        let rules: Vec<_> = (0..400)
            .map(|_| {
                let x_match = generator.pick(&[None, Some("all"), Some("any"), Some("all-with-x"), Some("any-with-x")]);
                let arguments = generator.entries(&few, 3);
                let mut writer = written(&arguments);
                if let Some(x_match) = x_match {
                    writer.put(X_MATCH, Value::LongStr(x_match.as_bytes()));
                }
                (arguments, x_match, writer)
            })
            .collect();
        for round in 0..1500 {
            let (destination, rule) = (Queue(generator.below(40) as u32), generator.below(rules.len()));
            let arguments = rules[rule].2.table();
            let same =
                |bound: &(Destination, usize)| bound.0 == destination && equal(rules[bound.1].2.table(), arguments);
            match generator.below(if round % 500 < 300 { 6 } else { 2 }) {
                0 => {
                    let at = model.iter().position(same);
                    assert_eq!(exchange.unbind(destination, "", arguments), at.is_some());
                    at.map(|at| model.remove(at));
                }
                1 if generator.below(4) == 0 => {
                    let before = model.len();
                    model.retain(|bound| bound.0 != destination);
                    assert_eq!(exchange.remove_destination(destination), before - model.len());
                }
                1 => {}
                _ => {
                    let is_new = !model.iter().any(same);
                    assert_eq!(exchange.bind(to(destination), "", arguments), is_new);
                    model.extend(is_new.then_some((destination, rule)));
                }
            }
            let headers = generator.entries(&few, 6);
            let mut expected: Vec<Destination> = model
                .iter()
                .filter(|(_, rule)| plainly_fits(&rules[*rule].0, rules[*rule].1, &headers))
                .map(|bound| bound.0)
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let found = routed(&exchange, Some(written(&headers).table()));
            assert_eq!(found, expected, "seed {seed} round {round} {headers:?}");
            asked += model.len();
            matched += expected.len();
        }
        (0..40).for_each(|queue| {
            exchange.remove_destination(Queue(queue));
        });
        let super::super::Matching::Headers(index) = &exchange.matching else { panic!("a headers exchange") };
        assert_eq!(index.always.len(), 0);
        assert_eq!(index.lists.len(), 0, "no list is left");
        assert_eq!(index.index.find(0, |_| true), None);
    }
    assert!(matched > 10_000 && asked > 5 * matched, "{matched} of {asked}: neither all nor nothing fits");
}

#[test]
fn rules_that_share_headers_are_looked_at_by_what_they_do_not_share() {
    let kind = ("kind", Value::LongStr(b"quote"));
    for (x_match, candidates_max) in [("all", 3), ("any", 500)] {
        let mut exchange = exchange(ExchangeKind::Headers);
        for n in 0..500 {
            let mut writer = written(&[kind, ("number", Value::I32(n)), ("group", Value::I32(n % 10))]);
            writer.put(X_MATCH, Value::LongStr(x_match.as_bytes()));
            assert!(exchange.bind(to(Queue(n as u32)), "", writer.table()));
        }
        let super::super::Matching::Headers(index) = &exchange.matching else { panic!("a headers exchange") };
        let sent = written(&[kind, ("number", Value::I32(77)), ("group", Value::I32(7))]);
        let (candidates, _) = index.candidates(&Sent::new(sent.table()));
        assert!(candidates.contains(&77));
        assert!(candidates.len() <= candidates_max, "{x_match}: {candidates:?}");
    }
}

#[test]
fn a_header_sent_many_times_is_looked_up_once() {
    let mut exchange = exchange(ExchangeKind::Headers);
    for n in 0..500 {
        let writer = written(&[("a", Value::Void), ("x-n", Value::I32(n))]);
        assert!(exchange.bind(to(Queue(n as u32)), "", writer.table()));
    }
    let super::super::Matching::Headers(index) = &exchange.matching else { panic!("a headers exchange") };
    let sent = written(&vec![("a", Value::Void); 1000]);
    let (candidates, _) = index.candidates(&Sent::new(sent.table()));
    assert_eq!(candidates.len(), 500);
    assert!(candidates.capacity() <= 1000, "not a list for each: {}", candidates.capacity());
}
