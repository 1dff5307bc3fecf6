//! What clients say, as bytes, on channel 1.

use leveret::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{Frame, FrameKind, LongStr, MethodId, Properties, Reader, Table};

#[path = "../../tests/protocol/say.rs"]
mod short;

const FRAME_MAX: u32 = 131_072;

pub const CHANNEL_OPEN_OK: MethodId = ChannelOpenOk::ID;
pub const DELIVER: MethodId = BasicDeliver::ID;
pub const GET_OK: MethodId = BasicGetOk::ID;

/// Log-in and channel.open, all at once.
pub fn hello() -> Vec<u8> {
    let mut out = PROTOCOL_HEADER.to_vec();
    let start_ok = ConnectionStartOk {
        client_properties: Table::EMPTY,
        mechanism: "PLAIN",
        response: LongStr(b"\0guest\0guest"),
        locale: "en_US",
    };
    write_method(&mut out, 0, &start_ok);
    write_method(&mut out, 0, &ConnectionTuneOk { channel_max: 10, frame_max: FRAME_MAX, heartbeat: 0 });
    write_method(&mut out, 0, &ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
    write_method(&mut out, 1, &ChannelOpen { reserved_1: "" });
    out
}

/// Appends a method on channel 1.
pub fn method<M: Encode>(out: &mut Vec<u8>, method: M) {
    write_method(out, 1, &method);
}

pub fn declare_queue(out: &mut Vec<u8>, queue: &str, arguments: Table<'_>) {
    let durable = !arguments.is_empty();
    method(out, QueueDeclare { no_wait: true, durable, arguments, ..short::declare(queue) });
}

pub fn declare_exchange(out: &mut Vec<u8>, exchange: &str, kind: &str) {
    method(out, ExchangeDeclare { no_wait: true, ..short::exchange(exchange, kind) });
}

pub fn bind(out: &mut Vec<u8>, queue: &str, exchange: &str, routing_key: &str, arguments: Table<'_>) {
    method(out, QueueBind { no_wait: true, arguments, ..short::bind(queue, exchange, routing_key) });
}

pub fn consume(out: &mut Vec<u8>, queue: &str, consumer_tag: &str, no_ack: bool) {
    method(out, BasicConsume { no_ack, no_wait: true, ..short::consume(queue, consumer_tag) });
}

/// Appends a publish with its content.
pub fn publish(out: &mut Vec<u8>, exchange: &str, routing_key: &str, properties: &[u8], body: &[u8]) {
    let publish = BasicPublish { reserved_1: 0, exchange, routing_key, mandatory: false, immediate: false };
    method(out, publish);
    write_content_header(out, 1, body.len() as u64, properties);
    write_body(out, 1, body, FRAME_MAX);
}

/// Properties as on the wire.
pub fn properties(properties: &Properties<'_>) -> Vec<u8> {
    let mut raw = vec![];
    properties.encode(&mut raw);
    raw
}

/// How many methods of this kind the bytes hold.
pub fn count(bytes: &[u8], id: MethodId) -> u64 {
    let (mut at, mut count) = (0, 0);
    while let Some(frame) = Frame::read(&bytes[at..]) {
        at += frame.wire_bytes();
        let mut reader = Reader::new(frame.payload);
        if frame.kind == FrameKind::Method && (reader.u16(), reader.u16()) == (Ok(id.class), Ok(id.method)) {
            count += 1;
        }
    }
    count
}
