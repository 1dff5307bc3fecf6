//! Reading and writing the frequent frames.

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leveret::amqp::frame::{Frame, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, Properties, Reader, Table, TableWriter, Value};

const NOTHING: Table<'static> = Table::EMPTY;

/// A table as messages have it.
fn small_table() -> Vec<u8> {
    let mut table = TableWriter::new();
    table.put("kind", Value::LongStr(b"quote")).put("number", Value::I32(7)).put("valid", Value::Bool(true));
    table.into_bytes()
}

/// Fifty entries, some of them nested.
fn large_table() -> Vec<u8> {
    let (small, mut table) = (small_table(), TableWriter::new());
    for n in 0..50 {
        let value = match n % 5 {
            0 => Value::I64(n),
            1 => Value::LongStr(b"a text of some length"),
            2 => Value::Bool(true),
            3 => Value::Timestamp(1_700_000_000),
            _ => Value::Table(Table::check(&small).expect("a table")),
        };
        table.put(&format!("header-{n}"), value);
    }
    table.into_bytes()
}

fn publish() -> BasicPublish<'static> {
    BasicPublish {
        reserved_1: 0,
        exchange: "exchange",
        routing_key: "stock.usd.nyse",
        mandatory: false,
        immediate: false,
    }
}

fn deliver() -> BasicDeliver<'static> {
    BasicDeliver {
        consumer_tag: "amq.ctag-5f0d2c7e4f0b4a57",
        delivery_tag: 4711,
        redelivered: false,
        exchange: "exchange",
        routing_key: "stock.usd.nyse",
    }
}

const ACK: BasicAck = BasicAck { delivery_tag: 4711, multiple: true };

fn declare(arguments: Table<'_>) -> QueueDeclare<'_> {
    QueueDeclare {
        reserved_1: 0,
        queue: "queue",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments,
    }
}

fn properties<'a>(headers: Option<Table<'a>>) -> Properties<'a> {
    Properties {
        content_type: Some("application/octet-stream"),
        headers,
        delivery_mode: Some(2),
        correlation_id: Some("5f0d2c7e-4f0b-4a57-9d6c-1f4f7b9f2a10"),
        message_id: Some("a4f3c0de-2b7a-49d5-8a5e-77e1c0a9b3d2"),
        timestamp: Some(1_700_000_000),
        app_id: Some("bench"),
        ..Properties::default()
    }
}

/// One writer per benchmark: into a buffer that is kept.
fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let mut writes = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::with_capacity(64 << 10);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                write(black_box(&mut out));
            });
        });
    };
    let (small, large) = (small_table(), large_table());
    let small = Table::check(&small).expect("a table");
    writes("publish", &|out| write_method(out, 1, black_box(&publish())));
    writes("deliver", &|out| write_method(out, 1, black_box(&deliver())));
    writes("ack", &|out| write_method(out, 1, black_box(&ACK)));
    writes("queue.declare", &|out| write_method(out, 1, black_box(&declare(small))));
    writes("content header", &|out| write_content_header(out, 1, black_box(16), black_box(&[0x10, 0, 2])));
    writes("properties", &|out| black_box(&properties(None)).encode(out));
    writes("properties with headers", &|out| black_box(&properties(Some(small))).encode(out));
    let large = Table::check(&large).expect("a table");
    writes("table of 50", &|out| {
        let mut table = TableWriter::new();
        black_box(large).iter().for_each(|(key, value)| {
            table.put_bytes(key, value);
        });
        out.extend_from_slice(table.table().as_bytes());
    });
    group.finish();
}

/// Reads the frame and the method in it.
fn read_method(bytes: &[u8]) -> Option<Method<'_>> {
    let frame = Frame::read(bytes)?;
    let mut reader = Reader::new(frame.payload);
    let id = MethodId::new(reader.u16().ok()?, reader.u16().ok()?);
    Method::decode(id, reader.rest()).ok()
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let (small, large) = (small_table(), large_table());
    let small = Table::check(&small).expect("a table");
    let method = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = vec![];
        write(&mut out);
        assert!(read_method(&out).is_some());
        out
    };
    for (name, bytes) in [
        ("publish", method(&|out| write_method(out, 1, &publish()))),
        ("deliver", method(&|out| write_method(out, 1, &deliver()))),
        ("ack", method(&|out| write_method(out, 1, &ACK))),
        ("queue.declare", method(&|out| write_method(out, 1, &declare(NOTHING)))),
        ("queue.declare with arguments", method(&|out| write_method(out, 1, &declare(small)))),
    ] {
        group.bench_function(name, |b| b.iter(|| black_box(read_method(black_box(&bytes)))));
    }
    for (name, value) in [
        ("no properties", Properties::default()),
        ("properties", properties(None)),
        ("properties with headers", properties(Some(small))),
    ] {
        let bytes = common::say::properties(&value);
        group.bench_function(name, |b| b.iter(|| black_box(Properties::decode(black_box(&bytes)))));
    }
    group.bench_function("table of 50, checked", |b| b.iter(|| black_box(Table::check(black_box(&large)))));
    let large = Table::check(&large).expect("a table");
    group.bench_function("table of 50, walked", |b| b.iter(|| black_box(large).iter().map(black_box).count()));
    group.bench_function("table of 50, last key found", |b| b.iter(|| black_box(large.find(black_box("header-49")))));
    group.finish();
}

criterion_group! { name = codec; config = common::criterion(); targets = encode, decode }
criterion_main!(codec);
