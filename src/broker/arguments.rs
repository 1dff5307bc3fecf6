//! Argument tables: when two are the same, and how RabbitMQ's error texts show their values.
//!
//! Sources: RabbitMQ's `rabbit_misc` (`sort_field_table`, `assert_args_equivalence`, `val`) and Erlang's `io_lib` (`~tp`).

use std::fmt::Write;

use crate::amqp::codec::write_short_str;
use crate::amqp::table::{DEPTH_MAX, write_value};
use crate::amqp::{Array, Table, Value};

/// Whether two argument tables make the same binding (reference section 7.5): the same keys with the same values of the
/// same types, in any order. Nested tables compare in their order, as in RabbitMQ.
pub fn equal(a: Table<'_>, b: Table<'_>) -> bool {
    a.as_bytes() == b.as_bytes() || canonical(a) == canonical(b)
}

/// A table's contents sorted by key, each value in its one way of writing: equal tables give equal bytes.
pub fn canonical(table: Table<'_>) -> Vec<u8> {
    let mut entries: Vec<(&[u8], Value<'_>)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key); // stable: duplicates of a key stay in their order
    let mut out = Vec::with_capacity(table.as_bytes().len());
    write_entries(&mut out, entries.into_iter(), DEPTH_MAX);
    out
}

fn write_entries<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = (&'a [u8], Value<'a>)>, depth_left: usize) {
    for (key, value) in entries {
        write_short_str(out, key);
        write_canonical(out, value, depth_left);
    }
}

/// Writes `L` as `l` and every true as 1, at any depth. Beyond the depth that reading allows, bytes are taken as they are.
fn write_canonical(out: &mut Vec<u8>, value: Value<'_>, depth_left: usize) {
    let (octet, start) = match value {
        Value::Table(_) if depth_left > 0 => (b'F', out.len()),
        Value::Array(_) if depth_left > 0 => (b'A', out.len()),
        _ => return write_value(out, value),
    };
    out.extend_from_slice(&[octet, 0, 0, 0, 0]);
    match value {
        Value::Table(table) => write_entries(out, table.iter(), depth_left - 1),
        Value::Array(array) => array.iter().for_each(|value| write_canonical(out, value, depth_left - 1)),
        _ => {}
    }
    let length = u32::try_from(out.len() - start - 5).unwrap_or(u32::MAX);
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// Whether two values are the same Erlang term, their own field types aside: integers of any width, floats of both
/// widths, text and binary; an integer is never a float. What is inside tables and arrays must agree in type too.
pub fn same_term(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Void, Value::Void) => true,
        (Value::Decimal(..), Value::Decimal(..)) => a == b,
        (Value::Table(a), Value::Table(b)) => {
            same_contents(Value::Table(a), Value::Table(b), a.as_bytes(), b.as_bytes())
        }
        (Value::Array(a), Value::Array(b)) => {
            same_contents(Value::Array(a), Value::Array(b), a.as_bytes(), b.as_bytes())
        }
        (Value::Table(table), Value::Array(array)) | (Value::Array(array), Value::Table(table)) => {
            table.is_empty() && array.as_bytes().is_empty() // both are Erlang's []
        }
        _ => match (text(a), text(b), whole(a), whole(b), float(a), float(b)) {
            (Some(a), Some(b), ..) => a == b,
            (_, _, Some(a), Some(b), ..) => a == b,
            (.., Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

fn same_contents(a: Value<'_>, b: Value<'_>, a_bytes: &[u8], b_bytes: &[u8]) -> bool {
    if a_bytes == b_bytes {
        return true;
    }
    if a_bytes.len() != b_bytes.len() {
        return false;
    }
    let (mut a_out, mut b_out) = (vec![], vec![]);
    write_canonical(&mut a_out, a, DEPTH_MAX);
    write_canonical(&mut b_out, b, DEPTH_MAX);
    a_out == b_out
}

fn text(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::LongStr(text) | Value::Bytes(text) => Some(text),
        _ => None,
    }
}

fn whole(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Timestamp(seconds) => Some(seconds.into()),
        _ => value.as_integer().map(i128::from),
    }
}

fn float(value: Value<'_>) -> Option<f64> {
    match value {
        Value::F32(n) => Some(n.into()),
        Value::F64(n) => Some(n),
        _ => None,
    }
}

/// How an argument of a redeclaration differs from what there is (reference sections 6, 7.1 and 7.2), as the part
/// `received … but current is …` of the 406; `None` when the two are equivalent.
pub fn equivalence_error(key: &str, current: Option<Value<'_>>, received: Option<Value<'_>>) -> Option<String> {
    let (current, received) = match (current, received) {
        (None, None) => return None,
        (Some(current), Some(received)) if same_term(current, received) => return None,
        (Some(current), Some(received)) => (plain(current), plain(received)),
        (Some(one), None) | (None, Some(one)) if key == "x-queue-type" && one.as_long_str() == Some(b"classic") => {
            return None; // a queue of no stated type is a classic one
        }
        (current, received) => (with_type(current), with_type(received)),
    };
    Some(format!("received {received} but current is {current}"))
}

fn plain(value: Value<'_>) -> String {
    match value {
        Value::Void => "none".to_owned(),
        _ => format!("'{}'", shown(value)),
    }
}

fn with_type(value: Option<Value<'_>>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => format!("the value '{}' of type '{}'", shown(value), value.type_name()),
    }
}

/// A value as text: strings as they are, all else as an Erlang term.
fn shown(value: Value<'_>) -> String {
    text(value).map_or_else(|| erlang_term(value), |text| String::from_utf8_lossy(text).into_owned())
}

/// A value as Erlang's `~tp` prints it (reference section 1): `<<"foo">>`, `23`, `true`, `[{<<"k">>,longstr,<<"v">>}]`.
/// Always on one line: Erlang's line breaks in long terms are left out.
pub fn erlang_term(value: Value<'_>) -> String {
    let mut out = String::new();
    write_term(&mut out, value, DEPTH_MAX);
    out
}

/// Bytes as Erlang's `~tp` prints a binary.
pub fn erlang_binary(bytes: &[u8]) -> String {
    let mut out = String::new();
    write_binary(&mut out, bytes);
    out
}

fn write_term(out: &mut String, value: Value<'_>, depth_left: usize) {
    match value {
        Value::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Value::Void => out.push_str("undefined"),
        Value::Decimal(scale, n) => write_fmt(out, format_args!("{{{scale},{n}}}")),
        Value::LongStr(text) | Value::Bytes(text) => write_binary(out, text),
        Value::Table(_) | Value::Array(_) if depth_left == 0 => out.push_str("'...'"),
        Value::Table(table) => write_table(out, table, depth_left - 1),
        Value::Array(array) => write_array(out, array, depth_left - 1),
        Value::F32(n) => write_float(out, n.into()),
        Value::F64(n) => write_float(out, n),
        _ => write_fmt(out, format_args!("{}", whole(value).unwrap_or_default())),
    }
}

fn write_table(out: &mut String, table: Table<'_>, depth_left: usize) {
    out.push('[');
    for (i, (key, value)) in table.iter().enumerate() {
        out.push_str(if i == 0 { "{" } else { ",{" });
        write_binary(out, key);
        write_fmt(out, format_args!(",{},", value.type_name()));
        write_term(out, value, depth_left);
        out.push('}');
    }
    out.push(']');
}

fn write_array(out: &mut String, array: Array<'_>, depth_left: usize) {
    out.push('[');
    for (i, value) in array.iter().enumerate() {
        write_fmt(out, format_args!("{}{{{},", if i == 0 { "" } else { "," }, value.type_name()));
        write_term(out, value, depth_left);
        out.push('}');
    }
    out.push(']');
}

fn write_fmt(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments); // a String takes everything
}

/// Printable UTF-8 first, then printable Latin-1, else the octets: the order of `io_lib_pretty`.
fn write_binary(out: &mut String, bytes: &[u8]) {
    if bytes.is_empty() {
        out.push_str("<<>>");
    } else if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_printable)) {
        write_quoted(out, text.chars());
        out.push_str(if text.is_ascii() { ">>" } else { "/utf8>>" });
    } else if bytes.iter().all(|&octet| is_printable(octet.into())) {
        write_quoted(out, bytes.iter().map(|&octet| octet.into()));
        out.push_str(">>");
    } else {
        for (i, octet) in bytes.iter().enumerate() {
            write_fmt(out, format_args!("{}{octet}", if i == 0 { "<<" } else { "," }));
        }
        out.push_str(">>");
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{8}'..='\u{d}' | '\u{1b}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn write_quoted(out: &mut String, chars: impl Iterator<Item = char>) {
    out.push_str("<<\"");
    for c in chars {
        match c {
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '"' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest digits; plain or with an exponent, whichever is shorter; from 2^53 always with an exponent.
fn write_float(out: &mut String, n: f64) {
    if !n.is_finite() {
        return write_fmt(out, format_args!("{n}")); // no Erlang term at all; cannot be in a text of RabbitMQ's
    }
    let mut plain = format!("{n}");
    if !plain.contains('.') {
        plain.push_str(".0");
    }
    let mut scientific = format!("{n:e}");
    if !scientific.contains('.') {
        scientific = scientific.replace('e', ".0e");
    }
    let is_long = n.abs() >= 9_007_199_254_740_992.0 || scientific.len() < plain.len();
    out.push_str(if is_long { &scientific } else { &plain });
}

#[cfg(test)]
mod tests;
