//! Hashes that decide where messages go: the same on every shard, after every restart, in every version.

use crate::amqp::{Table, Value};

/// Spreads every bit over all others; no two numbers give the same (the last steps of SplitMix64).
#[inline]
pub(super) fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Octets: FNV-1a, spread.
pub(super) fn octets(bytes: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Several texts in their order.
pub(super) fn texts(texts: &[&str]) -> u64 {
    texts.iter().fold(0, |hash, text| mix(hash.rotate_left(1) ^ octets(text.as_bytes())))
}

/// The value of a header. Text and integers count by what they say, whatever their field types; all else as it was
/// written.
pub(super) fn value(value: Value<'_>) -> u64 {
    let number = |n: u64| mix(n ^ mix(1));
    match value {
        Value::LongStr(text) | Value::Bytes(text) => octets(text),
        Value::Timestamp(seconds) => number(seconds),
        Value::F32(n) => mix(f64::from(n).to_bits() ^ mix(2)),
        Value::F64(n) => mix(n.to_bits() ^ mix(2)),
        Value::Bool(truth) => mix(u64::from(truth) ^ mix(3)),
        Value::Decimal(scale, n) => mix((u64::from(scale) << 32 | u64::from(n)) ^ mix(4)),
        Value::Table(table) => mix(octets(table.as_bytes()) ^ mix(5)),
        Value::Array(array) => mix(octets(array.as_bytes()) ^ mix(6)),
        Value::Void => missing(),
        _ => number(value.as_integer().unwrap_or_default() as u64),
    }
}

/// The arguments of a binding, a table's contents: 128 bits, which tell them apart for those who name bindings by it.
pub fn binding_hash(arguments: &[u8]) -> u128 {
    let low = octets(arguments);
    let high = arguments.iter().rev().fold(low, |hash, octet| mix(hash ^ u64::from(*octet)));
    u128::from(high) << 64 | u128::from(low)
}

/// What is not there.
pub(super) fn missing() -> u64 {
    mix(7)
}

/// The header of this name; of duplicates the last, as in RabbitMQ.
pub(super) fn header(headers: Option<Table<'_>>, name: &[u8]) -> u64 {
    let found = headers.and_then(|headers| headers.iter().filter(|(key, _)| *key == name).last());
    found.map_or_else(missing, |(_, found)| value(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::TableWriter;
    use crate::amqp::table::ArrayWriter;

    /// A change of any of these sends messages elsewhere after an upgrade.
    #[test]
    fn they_never_change() {
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
        assert_eq!(octets(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(octets(b"a"), mix(0xaf63_dc4c_8601_ec8c), "FNV-1a's published value");
        assert_eq!(octets(b"foobar"), mix(0x8594_4171_f739_67e8), "FNV-1a's published value");
        assert_eq!(texts(&["a"]), mix(octets(b"a")));
    }

    #[test]
    fn values_count_by_what_they_say() {
        let mut table = TableWriter::new();
        table.put("a", Value::I32(1));
        let (mut array, empty) = (ArrayWriter::default(), ArrayWriter::default());
        array.push(Value::I32(1));
        let distinct = [
            Value::LongStr(b"1"),
            Value::LongStr(b""),
            Value::I32(1),
            Value::I32(-1),
            Value::F64(1.0),
            Value::Bool(true),
            Value::Bool(false),
            Value::Decimal(0, 1),
            Value::Decimal(1, 0),
            Value::Table(table.table()),
            Value::Table(Table::EMPTY),
            Value::Array(array.array()),
            Value::Array(empty.array()),
            Value::Void,
        ];
        for (at, a) in distinct.iter().enumerate() {
            for b in &distinct[at + 1..] {
                assert_ne!(value(*a), value(*b), "{a:?} {b:?}");
            }
        }
        for (a, b) in [
            (Value::LongStr(b"t"), Value::Bytes(b"t")),
            (Value::I8(7), Value::I64(7)),
            (Value::U32(7), Value::Timestamp(7)),
            (Value::I8(-7), Value::I64(-7)),
            (Value::F32(0.5), Value::F64(0.5)),
        ] {
            assert_eq!(value(a), value(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_last_of_duplicate_headers_counts() {
        let mut headers = TableWriter::new();
        headers.put("k", Value::I32(1)).put("l", Value::I32(3)).put("k", Value::I32(2));
        assert_eq!(header(Some(headers.table()), b"k"), value(Value::I32(2)));
        assert_eq!(header(Some(headers.table()), b"m"), missing());
        assert_eq!(header(None, b"k"), missing());
    }

    #[test]
    fn the_order_of_texts_counts() {
        assert_ne!(texts(&["a", "b"]), texts(&["b", "a"]));
        assert_ne!(texts(&["a", "a"]), texts(&["a"]));
        assert_ne!(texts(&[""]), texts(&["", ""]));
    }
}
