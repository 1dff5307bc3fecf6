//! The headers exchange: the message's headers against the binding's arguments (reference sections 7.5 and 10).
//!
//! Every distinct argument table is looked at once per message, however many destinations it leads to.

use smallvec::SmallVec;

use super::members::{Members, sort_unique};
use super::{ArgumentTables, Destination, Routes};
use crate::amqp::{Table, Value};
use crate::broker::arguments::{erlang_binary, erlang_term, same_term};

const X_MATCH: &str = "x-match";

/// What hangs on an argument table.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) members: Members,
    required: Required,
}

/// The argument `x-match`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Required {
    #[default]
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl Required {
    fn from_name(name: &[u8]) -> Option<Required> {
        match name {
            b"all" => Some(Required::All),
            b"any" => Some(Required::Any),
            b"all-with-x" => Some(Required::AllWithX),
            b"any-with-x" => Some(Required::AnyWithX),
            _ => None,
        }
    }

    /// Whether the argument of this key is compared.
    fn considers(self, key: &[u8]) -> bool {
        match self {
            Required::All | Required::Any => !key.starts_with(b"x-"),
            Required::AllWithX | Required::AnyWithX => key != X_MATCH.as_bytes(),
        }
    }
}

/// A wrong `x-match` is refused with RabbitMQ's text.
pub(super) fn validate(arguments: Table<'_>) -> Result<(), String> {
    match arguments.find(X_MATCH) {
        None => Ok(()),
        Some(Value::LongStr(name)) if Required::from_name(name).is_some() => Ok(()),
        Some(Value::LongStr(name)) => Err(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            erlang_binary(name)
        )),
        Some(value) => Err(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            value.type_name(),
            erlang_term(value)
        )),
    }
}

pub(super) fn add(tables: &mut ArgumentTables, slot: u32, destination: Destination) {
    let required = required(table(tables.value(slot)));
    let rule = tables.leaf_mut(slot);
    rule.required = required;
    rule.members.add(destination);
}

/// `all` for what validation would have refused, as in RabbitMQ.
fn required(arguments: Table<'_>) -> Required {
    arguments.find(X_MATCH).and_then(|value| value.as_long_str()).and_then(Required::from_name).unwrap_or_default()
}

/// An argument table that was checked when it was read.
fn table(bytes: &[u8]) -> Table<'_> {
    Table::check(bytes).unwrap_or_default()
}

pub(super) fn route(tables: &ArgumentTables, headers: Table<'_>, out: &mut Routes) {
    let start = out.len();
    let headers = Headers::sorted(headers);
    let mut rules_matched = 0;
    for (bytes, rule) in tables.iter() {
        if headers.fit(table(bytes), rule.required) {
            rule.members.append_to(out);
            rules_matched += 1;
        }
    }
    if rules_matched > 1 {
        sort_unique(out, start);
    }
}

/// A message's headers, sorted by key.
struct Headers<'a> {
    entries: SmallVec<[(&'a [u8], Value<'a>); 16]>,
}

impl<'a> Headers<'a> {
    fn sorted(table: Table<'a>) -> Headers<'a> {
        let mut entries: SmallVec<[(&[u8], Value<'_>); 16]> = table.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        Headers { entries }
    }

    /// The value of a key; of duplicates the last, which RabbitMQ's map of routing headers keeps.
    fn find(&self, key: &[u8]) -> Option<Value<'a>> {
        let after = self.entries.partition_point(|(k, _)| *k <= key);
        let (found, value) = *self.entries.get(after.checked_sub(1)?)?;
        (found == key).then_some(value)
    }

    fn fit(&self, arguments: Table<'_>, required: Required) -> bool {
        let mut compared = arguments.iter().filter(|(key, _)| required.considers(key));
        let fits = |(key, wanted)| self.find(key).is_some_and(|value| value_fits(wanted, value));
        match required {
            Required::All | Required::AllWithX => compared.all(fits),
            Required::Any | Required::AnyWithX => compared.any(fits),
        }
    }
}

/// Void asks for presence only. A message's timestamp counts as its milliseconds (RabbitMQ 4), and equals the same
/// timestamp of a binding too (RabbitMQ 3).
fn value_fits(wanted: Value<'_>, value: Value<'_>) -> bool {
    match (wanted, value) {
        (Value::Void, _) => true,
        (Value::Timestamp(wanted), Value::Timestamp(seconds)) => wanted == seconds,
        (wanted, Value::Timestamp(seconds)) => {
            wanted.as_integer().is_some_and(|wanted| i128::from(wanted) == i128::from(seconds) * 1000)
        }
        (wanted, value) => same_term(wanted, value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table as exchange;
    use super::super::{Destination::Queue, ExchangeKind, Routes, RoutingTable};
    use super::*;
    use crate::amqp::TableWriter;

    type Entries<'a> = &'a [(&'a str, Value<'a>)];

    fn written(entries: Entries<'_>) -> TableWriter {
        let mut writer = TableWriter::new();
        entries.iter().for_each(|(key, value)| {
            writer.put(key, *value);
        });
        writer
    }

    fn fits(x_match: Option<&str>, arguments: Entries<'_>, headers: Option<Entries<'_>>) -> bool {
        let mut writer = written(arguments);
        if let Some(x_match) = x_match {
            writer.put(X_MATCH, Value::LongStr(x_match.as_bytes()));
        }
        assert_eq!(RoutingTable::validate(ExchangeKind::Headers, "", writer.table()), Ok(()));
        let mut exchange = exchange(ExchangeKind::Headers);
        assert!(exchange.bind(Queue(1), "", writer.table()));
        let headers = headers.map(written);
        let mut out = Routes::new();
        exchange.route("", headers.as_ref().map(TableWriter::table), &mut out);
        !out.is_empty()
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
            assert!(exchange.bind(Queue(queue), "", tables[table].table()));
        }
        assert!(exchange.bind(Queue(3), "other key", tables[2].table()));
        let headers = written(&[("a", Value::I32(1)), ("b", Value::I32(1))]);
        let routed = |exchange: &RoutingTable| {
            let mut out = Routes::new();
            exchange.route("", Some(headers.table()), &mut out);
            out.to_vec()
        };
        assert_eq!(routed(&exchange), [Queue(1), Queue(2), Queue(3)]);
        assert!(exchange.unbind(Queue(3), "", tables[2].table()));
        assert_eq!(exchange.remove_destination(Queue(2)), 2);
        assert_eq!(routed(&exchange), [Queue(1), Queue(3)]);
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
}
