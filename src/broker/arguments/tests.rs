use super::*;
use crate::amqp::TableWriter;
use crate::amqp::table::ArrayWriter;

fn written(entries: &[(&str, Value<'_>)]) -> TableWriter {
    let mut writer = TableWriter::new();
    entries.iter().for_each(|(key, value)| {
        writer.put(key, *value);
    });
    writer
}

#[test]
fn tables_are_equal_in_any_order_but_not_with_other_types() {
    let (a, b) = (("a", Value::I32(1)), ("b", Value::LongStr(b"t")));
    let same =
        |left: &[(&str, Value<'_>)], right: &[(&str, Value<'_>)]| equal(written(left).table(), written(right).table());
    assert!(same(&[], &[]));
    assert!(same(&[a, b], &[b, a]));
    assert!(!same(&[a], &[a, b]));
    assert!(!same(&[a, a], &[a]));
    assert!(!same(&[a], &[("a", Value::I64(1))]));
    assert!(!same(&[b], &[("b", Value::Bytes(b"t"))]));
    assert!(!same(&[a], &[("A", Value::I32(1))]));
    assert!(same(&[("n", Value::F64(f64::NAN))], &[("n", Value::F64(f64::NAN))]), "or it could never be unbound");
    let (ab, ba) = (written(&[a, b]), written(&[b, a]));
    assert!(!same(&[("t", Value::Table(ab.table()))], &[("t", Value::Table(ba.table()))]));
}

#[test]
fn two_writings_of_one_value_are_equal() {
    let wire = |octet: u8, truth: u8| {
        let mut bytes = b"\x01tF\0\0\0\x0f\x01l".to_vec();
        bytes.push(octet);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 1, b'b', b't', truth]);
        bytes
    };
    let (a, b, c) = (wire(b'l', 1), wire(b'L', 7), wire(b'l', 0));
    let table = |bytes| Table::check(bytes).unwrap();
    assert!(equal(table(&a), table(&b)));
    assert!(!equal(table(&a), table(&c)));
    assert_eq!(canonical(table(&b)), a);
    assert!(same_term(table(&a).find("t").unwrap(), table(&b).find("t").unwrap()));
}

#[test]
fn depth_is_bounded() {
    let nested = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        for _ in 0..60 {
            let mut outer = TableWriter::new();
            outer.put("a", Value::Table(Table::check(&bytes).unwrap()));
            bytes = outer.into_bytes();
        }
        bytes
    };
    let deep = nested(written(&[("k", Value::I32(1))]).table().as_bytes());
    let table = Table::check(&deep).unwrap();
    assert!(equal(table, table));
    assert_eq!(canonical(table), deep);
    assert!(erlang_term(Value::Table(table)).contains("<<\"k\">>,signedint,1"));
}

#[test]
fn the_texts_of_a_redeclaration() {
    use Value::{Bool, Bytes, Decimal, F32, F64, I8, I32, I64, LongStr, Timestamp, U8, Void};
    let list = written(&[("a", LongStr(b"b"))]);
    let table = Value::Table(list.table());
    // From the reference, and from `rabbit_misc:assert_args_equivalence` of RabbitMQ 3.10.8
    let rows: [(Option<Value<'_>>, Option<Value<'_>>, Option<&str>); 30] = [
        (Some(I32(10)), Some(I32(20)), Some("received '20' but current is '10'")),
        (Some(I32(10)), Some(F64(10.0)), Some("received '10.0' but current is '10'")),
        (Some(I32(10)), Some(LongStr(b"10")), Some("received '10' but current is '10'")),
        (Some(I32(10)), None, Some("received none but current is the value '10' of type 'signedint'")),
        (None, Some(I32(20)), Some("received the value '20' of type 'signedint' but current is none")),
        (Some(LongStr(b"foo")), None, Some("received none but current is the value 'foo' of type 'longstr'")),
        (Some(LongStr(b"foo")), Some(LongStr(b"bar")), Some("received 'bar' but current is 'foo'")),
        (Some(Bool(true)), Some(Bool(false)), Some("received 'false' but current is 'true'")),
        (Some(Bool(true)), None, Some("received none but current is the value 'true' of type 'bool'")),
        (Some(Void), None, Some("received none but current is the value 'undefined' of type 'void'")),
        (Some(Void), Some(I32(1)), Some("received '1' but current is none")),
        (Some(Void), Some(LongStr(b"undefined")), Some("received 'undefined' but current is none")),
        (
            Some(table),
            None,
            Some("received none but current is the value '[{<<\"a\">>,longstr,<<\"b\">>}]' of type 'table'"),
        ),
        (Some(table), Some(I32(1)), Some("received '1' but current is '[{<<\"a\">>,longstr,<<\"b\">>}]'")),
        (Some(Timestamp(5)), Some(I32(6)), Some("received '6' but current is '5'")),
        (Some(Decimal(1, 2)), None, Some("received none but current is the value '{1,2}' of type 'decimal'")),
        (Some(LongStr("é".as_bytes())), None, Some("received none but current is the value 'é' of type 'longstr'")),
        (Some(LongStr(b"a\"'")), Some(LongStr(b"e")), Some("received 'e' but current is 'a\"''")),
        (Some(F64(10.0)), None, Some("received none but current is the value '10.0' of type 'double'")),
        (Some(I32(10)), Some(I64(10)), None),
        (Some(I64(10)), Some(I8(10)), None),
        (Some(U8(5)), Some(I8(5)), None),
        (Some(F32(1.5)), Some(F64(1.5)), None),
        (Some(F64(0.0)), Some(F64(-0.0)), None),
        (Some(Timestamp(5)), Some(I32(5)), None),
        (Some(LongStr(b"a")), Some(Bytes(b"a")), None),
        (Some(Void), Some(Void), None),
        (Some(Value::Table(Table::EMPTY)), Some(Value::Array(Array::default())), None),
        (Some(table), Some(table), None),
        (None, None, None),
    ];
    for (current, received, expected) in rows {
        let text = equivalence_error("k", current, received);
        assert_eq!(text.as_deref(), expected, "{current:?} {received:?}");
    }
}

#[test]
fn no_queue_type_means_classic() {
    let classic = Some(Value::LongStr(b"classic"));
    let quorum = Some(Value::LongStr(b"quorum"));
    assert_eq!(equivalence_error("x-queue-type", None, classic), None);
    assert_eq!(equivalence_error("x-queue-type", classic, None), None);
    let text = "received 'quorum' but current is 'classic'";
    assert_eq!(equivalence_error("x-queue-type", classic, quorum).as_deref(), Some(text));
    let text = "received the value 'quorum' of type 'longstr' but current is none";
    assert_eq!(equivalence_error("x-queue-type", None, quorum).as_deref(), Some(text));
    assert!(equivalence_error("x-queue-mode", None, classic).is_some());
}

#[test]
fn binaries_as_erlang_prints_them() {
    for (bytes, expected) in [
        (b"foo".as_slice(), "<<\"foo\">>"),
        (b"", "<<>>"),
        (b"a\"b\\c\n\t'", "<<\"a\\\"b\\\\c\\n\\t'\">>"),
        (b"\x08\x09\x0a\x0b\x0c\x0d\x1b", "<<\"\\b\\t\\n\\v\\f\\r\\e\">>"),
        (&[1, 2, 255], "<<1,2,255>>"),
        (&[0], "<<0>>"),
        (&[127], "<<127>>"),
        (&[195], "<<\"Ã\">>"),
        (&[128, 129], "<<128,129>>"),
        ("é".as_bytes(), "<<\"é\"/utf8>>"),
        ("日本".as_bytes(), "<<\"日本\"/utf8>>"),
    ] {
        assert_eq!(erlang_binary(bytes), expected);
    }
}

#[test]
fn terms_as_erlang_prints_them() {
    let inner = written(&[("k", Value::LongStr(b"v")), ("n", Value::I64(-2))]);
    let mut array = ArrayWriter::default();
    array.push(Value::LongStr(b"a")).push(Value::I32(1)).push(Value::Table(inner.table()));
    for (value, expected) in [
        (Value::I8(-3), "-3"),
        (Value::U32(u32::MAX), "4294967295"),
        (Value::Timestamp(u64::MAX), "18446744073709551615"),
        (Value::Bool(true), "true"),
        (Value::Void, "undefined"),
        (Value::Decimal(5, 314), "{5,314}"),
        (Value::Table(Table::EMPTY), "[]"),
        (Value::Table(inner.table()), "[{<<\"k\">>,longstr,<<\"v\">>},{<<\"n\">>,long,-2}]"),
        (
            Value::Array(array.array()),
            "[{longstr,<<\"a\">>},{signedint,1},{table,[{<<\"k\">>,longstr,<<\"v\">>},{<<\"n\">>,long,-2}]}]",
        ),
        (Value::F32(0.1), "0.10000000149011612"),
    ] {
        assert_eq!(erlang_term(value), expected);
    }
}

#[test]
fn floats_as_erlang_prints_them() {
    // Printed by OTP 25
    for (n, expected) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (10.0, "10.0"),
        (100.0, "100.0"),
        (1000.0, "1.0e3"),
        (-1000.0, "-1.0e3"),
        (1.2e5, "1.2e5"),
        (120_000.5, "120000.5"),
        (123_456.0, "123456.0"),
        (123_456_789.125, "123456789.125"),
        (9_007_199_254_740_991.0, "9007199254740991.0"),
        (9_007_199_254_740_992.0, "9.007199254740992e15"),
        (1.234_567_890_123_456_7e19, "1.2345678901234567e19"),
        (0.001, "0.001"),
        (0.0001, "0.0001"),
        (0.000_12, "1.2e-4"),
        (0.000_123_45, "1.2345e-4"),
        (5e-324, "5.0e-324"),
        (1.5e300, "1.5e300"),
    ] {
        assert_eq!(erlang_term(Value::F64(n)), expected);
    }
}
