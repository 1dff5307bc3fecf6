//! What is done with the bytes.

use leveret::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::table::ArrayWriter;
use leveret::amqp::{Frame, FrameHeader, FrameKind, LongStr, Method, Properties, Table, TableWriter, Value};

use crate::net::Net;
use crate::peer::{LOGIN, Peer};
use crate::random::Random;
use crate::say::*;

/// Any bytes as a stream of frames: a frame that is read comes out again as it came in.
pub fn frame(bytes: &[u8]) {
    let mut at = 0;
    while let Some(frame) = Frame::read(&bytes[at..]) {
        let header = FrameHeader::read(&bytes[at..]).expect("a whole frame has a header");
        assert_eq!(
            (header.kind, header.channel, header.size as usize),
            (frame.kind, frame.channel, frame.payload.len())
        );
        let mut out = vec![];
        write_header(&mut out, frame.kind, frame.channel, header.size);
        out.extend_from_slice(frame.payload);
        out.push(frame.end);
        assert_eq!(out, bytes[at..at + frame.wire_bytes()]);
        at += frame.wire_bytes();
    }
}

/// Any bytes as the arguments of the method in row `row`: what is read can be written and read again.
pub fn method(row: usize, arguments: &[u8]) {
    let id = Method::TABLE[row % Method::TABLE.len()].id;
    if let Ok(method) = Method::decode(id, arguments) {
        let mut out = vec![];
        method.encode(&mut out);
        assert_eq!(Method::decode(id, &out[4..]).map(|again| format!("{again:?}")), Ok(format!("{method:?}")));
    }
    if let Ok(publish) = decode_publish(arguments) {
        assert_eq!(Method::decode(BasicPublish::ID, arguments), Ok(Method::BasicPublish(publish)));
    }
}

fn rewrite_value(value: Value<'_>, out: &mut dyn FnMut(Value<'_>)) {
    match value {
        Value::Table(table) => out(Value::Table(Table::check(&rewrite(table)).expect("a sound table"))),
        Value::Array(array) => {
            let mut writer = ArrayWriter::default();
            for value in array.iter() {
                rewrite_value(value, &mut |value| {
                    writer.push(value);
                });
            }
            out(Value::Array(writer.array()));
        }
        other => out(other),
    }
}

/// The table written anew, value by value.
fn rewrite(table: Table<'_>) -> Vec<u8> {
    let mut writer = TableWriter::new();
    for (key, value) in table.iter() {
        let key = String::from_utf8_lossy(key).into_owned();
        rewrite_value(value, &mut |value| {
            writer.put(&key, value);
        });
    }
    writer.into_bytes()
}

/// Any bytes as a table: what is read can be walked to its ends, written and read again.
pub fn table(bytes: &[u8]) {
    if let Ok(table) = Table::check(bytes) {
        let again = rewrite(table);
        let again = Table::check(&again).expect("what was written can be read");
        assert_eq!(table.iter().count(), again.iter().count());
        for (ours, theirs) in table.iter().zip(again.iter()) {
            assert_eq!(ours.1.type_name(), theirs.1.type_name());
            assert_eq!(ours.1.as_integer(), theirs.1.as_integer());
        }
    }
}

/// Any bytes as properties: what is read can be written and read again.
pub fn properties(bytes: &[u8]) {
    if let Ok(properties) = Properties::decode(bytes) {
        let mut out = vec![];
        properties.encode(&mut out);
        assert_eq!(out, bytes);
    }
}

fn a_value(random: &mut Random, depth: usize, out: &mut dyn FnMut(Value<'_>)) {
    let number = random.next();
    let len = random.below(6);
    let text = random.bytes(len);
    match random.below(if depth == 0 { 14 } else { 16 }) {
        0 => out(Value::Bool(number & 1 == 1)),
        1 => out(Value::I8(number as i8)),
        2 => out(Value::U8(number as u8)),
        3 => out(Value::I16(number as i16)),
        4 => out(Value::U16(number as u16)),
        5 => out(Value::I32(number as i32)),
        6 => out(Value::U32(number as u32)),
        7 => out(Value::I64(number as i64)),
        8 => out(Value::F32(f32::from_bits(number as u32))),
        9 => out(Value::F64(f64::from_bits(number))),
        10 => out(Value::Decimal(number as u8, number as u32)),
        11 => out(Value::LongStr(&text)),
        12 => out(Value::Timestamp(number)),
        13 => out(if number & 1 == 0 { Value::Void } else { Value::Bytes(&text) }),
        14 => out(Value::Table(Table::check(&a_table(random, depth - 1)).expect("a sound table"))),
        _ => {
            let mut writer = ArrayWriter::default();
            for _ in 0..random.below(4) {
                a_value(random, depth - 1, &mut |value| {
                    writer.push(value);
                });
            }
            out(Value::Array(writer.array()));
        }
    }
}

/// A sound table's contents.
pub fn a_table(random: &mut Random, depth: usize) -> Vec<u8> {
    let mut writer = TableWriter::new();
    for _ in 0..random.below(5) {
        let key = *random.pick(&["x-match", "CC", "BCC", "a", "", "x-message-ttl", "x-priority", "alternate-exchange"]);
        a_value(random, depth, &mut |value| {
            writer.put(key, value);
        });
    }
    writer.into_bytes()
}

/// Sound properties as on the wire.
pub fn some_properties(random: &mut Random) -> Vec<u8> {
    let headers = a_table(random, 2);
    let mut text = |texts: &[&'static str]| random.once_in(3).then(|| *random.pick(texts));
    let properties = Properties {
        content_type: text(&["", "text/plain"]),
        content_encoding: text(&["gzip"]),
        correlation_id: text(&["7"]),
        reply_to: text(&["amq.rabbitmq.reply-to", "r"]),
        expiration: text(&["0", "10", "x", "-1"]),
        message_id: text(&["id"]),
        kind: text(&["k"]),
        user_id: text(&["guest", "bob"]),
        app_id: text(&["a"]),
        cluster_id: text(&[""]),
        ..Properties::default()
    };
    let properties = Properties {
        headers: random.once_in(2).then(|| Table::check(&headers).expect("a sound table")),
        delivery_mode: random.once_in(2).then(|| random.next() as u8),
        priority: random.once_in(3).then(|| random.next() as u8),
        timestamp: random.once_in(3).then(|| random.next()),
        ..properties
    };
    let mut raw = vec![];
    properties.encode(&mut raw);
    raw
}

fn method_bytes<M: Encode>(channel: u16, method: M) -> Vec<u8> {
    let mut out = vec![];
    write_method(&mut out, channel, &method);
    out
}

/// The parts of a connection's life, one method or message each.
pub fn a_session(random: &mut Random) -> Vec<Vec<u8>> {
    let start_ok = ConnectionStartOk {
        client_properties: crate::say::table(&[("product", s("fuzz"))]),
        mechanism: "PLAIN",
        response: LongStr(b"\0guest\0guest"),
        locale: "en_US",
    };
    let mut parts = vec![
        PROTOCOL_HEADER.to_vec(),
        method_bytes(0, start_ok),
        method_bytes(0, ConnectionTuneOk { channel_max: 100, frame_max: 8192, heartbeat: 0 }),
        method_bytes(0, ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false }),
        method_bytes(1, channel_open()),
        method_bytes(2, channel_open()),
    ];
    for name in ["q1", "q2", "q3"] {
        if !random.once_in(4) {
            parts.push(method_bytes(1, declare(name)));
        }
    }
    for name in ["x1", "x2"] {
        if !random.once_in(4) {
            let kind = *random.pick(&["direct", "fanout", "topic", "headers"]);
            parts.push(method_bytes(1, exchange(name, kind)));
            parts.push(method_bytes(1, bind("q1", name, "#")));
        }
    }
    for _ in 0..4 + random.below(30) {
        parts.push(a_command(random));
    }
    parts
}

/// One command with names from a small set, so that they meet.
fn a_command(random: &mut Random) -> Vec<u8> {
    let channel = *random.pick(&[1, 1, 1, 2, 2, 3]);
    let queue = *random.pick(&["q1", "q2", "q3", ""]);
    let x = *random.pick(&["x1", "x2", "amq.topic", "amq.fanout", "amq.headers", ""]);
    let other = *random.pick(&["x1", "x2", "amq.topic"]);
    let key = *random.pick(&["", "a", "a.b", "a.*", "#", "q1", "q2"]);
    let tag = *random.pick(&["c1", "c2", ""]);
    let source = *random.pick(&[queue, "amq.rabbitmq.reply-to"]);
    let kind = *random.pick(&["direct", "fanout", "topic", "headers", "zz"]);
    let contents = a_table(random, 2);
    let arguments = Table::check(&contents).expect("a sound table");
    let arguments = if random.once_in(3) { arguments } else { Table::EMPTY };
    let flag = |random: &mut Random| random.once_in(4);
    let number = random.below(5) as u64;
    match random.below(24) {
        0 => method_bytes(
            channel,
            QueueDeclare {
                passive: flag(random),
                durable: flag(random),
                exclusive: flag(random),
                auto_delete: flag(random),
                no_wait: flag(random),
                arguments,
                ..declare(queue)
            },
        ),
        1 => method_bytes(
            channel,
            QueueDelete { if_unused: flag(random), if_empty: flag(random), no_wait: flag(random), ..delete(queue) },
        ),
        2 => method_bytes(channel, QueueBind { arguments, no_wait: flag(random), ..bind(queue, x, key) }),
        3 => method_bytes(channel, QueueUnbind { arguments, ..unbind(queue, x, key) }),
        4 => method_bytes(channel, QueuePurge { no_wait: flag(random), ..purge(queue) }),
        5 => method_bytes(
            channel,
            ExchangeDeclare {
                passive: flag(random),
                durable: flag(random),
                auto_delete: flag(random),
                internal: flag(random),
                no_wait: flag(random),
                arguments,
                ..exchange(x, kind)
            },
        ),
        6 => method_bytes(
            channel,
            ExchangeDelete { if_unused: flag(random), no_wait: flag(random), ..exchange_delete(x) },
        ),
        7 => method_bytes(channel, ExchangeBind { arguments, no_wait: flag(random), ..e_bind(other, x, key) }),
        8 => method_bytes(channel, ExchangeUnbind { arguments, no_wait: flag(random), ..e_unbind(other, x, key) }),
        9 | 10 => method_bytes(
            channel,
            BasicConsume {
                no_ack: flag(random),
                exclusive: flag(random),
                no_wait: flag(random),
                arguments,
                ..consume(source, tag)
            },
        ),
        11 => method_bytes(channel, BasicCancel { consumer_tag: tag, no_wait: flag(random) }),
        12 => method_bytes(channel, BasicGet { no_ack: flag(random), ..get(queue) }),
        13 => method_bytes(channel, BasicAck { delivery_tag: number, multiple: flag(random) }),
        14 => method_bytes(channel, BasicNack { delivery_tag: number, multiple: flag(random), requeue: flag(random) }),
        15 => method_bytes(channel, BasicRecover { requeue: !flag(random) }),
        16 => method_bytes(channel, BasicQos { prefetch_size: 0, prefetch_count: number as u16, global: flag(random) }),
        17 if random.once_in(2) => method_bytes(channel, confirm_select()),
        17 => method_bytes(channel, TxSelect {}),
        18 if random.once_in(2) => method_bytes(channel, TxCommit {}),
        18 => method_bytes(channel, TxRollback {}),
        19 if random.once_in(2) => method_bytes(channel, channel_close()),
        19 => method_bytes(channel, ChannelCloseOk {}),
        20 => method_bytes(channel, channel_open()),
        _ => {
            let (mandatory, immediate) = (flag(random), random.once_in(50));
            let publish = BasicPublish { reserved_1: 0, exchange: x, routing_key: key, mandatory, immediate };
            let mut out = method_bytes(channel, publish);
            let len = *random.pick(&[0, 1, 100, 9_000]);
            let body = random.bytes(len);
            let raw = some_properties(random);
            write_content_header(&mut out, channel, body.len() as u64, &raw);
            write_body(&mut out, channel, &body, 8192);
            out
        }
    }
}

/// A peer on some shard, whose answers nobody looks at.
fn any_peer(net: &Net, random: &mut Random) -> Peer {
    let peer = net.connect_on(random.below(4));
    peer.careless();
    peer
}

/// Sends the bytes in one to four parts; goes away, or is silent for a while first.
fn send_and_leave(net: &Net, random: &mut Random, peer: &Peer, bytes: &[u8]) {
    let mut rest = bytes;
    for _ in 0..random.below(4) {
        let (part, behind) = rest.split_at(random.below(rest.len() + 1));
        peer.raw(part);
        net.settle();
        rest = behind;
    }
    peer.raw(rest);
    net.settle();
    if random.once_in(3) {
        net.advance(random.below(20_000) as u64);
    }
    peer.hang_up();
}

/// A connection that sends nothing but garbage, perhaps behind a protocol header.
pub fn connection_garbage(net: &Net, random: &mut Random) {
    let peer = any_peer(net, random);
    let mut bytes = if random.once_in(2) { PROTOCOL_HEADER.to_vec() } else { vec![] };
    let len = random.below(2_000);
    bytes.extend(random.bytes(len));
    send_and_leave(net, random, &peer, &bytes);
}

/// A connection that sends garbage, or frames full of it, once it is open.
pub fn connection_garbage_after_handshake(net: &Net, random: &mut Random) {
    let peer = any_peer(net, random).log_in(LOGIN);
    let mut bytes = vec![];
    for _ in 0..random.below(10) {
        let kind = *random.pick(&[1, 1, 1, 2, 3, 8, 9]);
        let len = random.below(40);
        let mut payload = random.bytes(len);
        if kind == 1 {
            let id = random.pick(Method::TABLE).id;
            let mut ids = [id.class.to_be_bytes(), id.method.to_be_bytes()].concat();
            ids.append(&mut payload);
            payload = ids;
        }
        write_header(&mut bytes, FrameKind::from(kind), random.below(3) as u16, payload.len() as u32);
        bytes.extend_from_slice(&payload);
        bytes.push(0xCE);
    }
    if random.once_in(2) {
        let len = random.below(200);
        bytes.extend(random.bytes(len));
    }
    send_and_leave(net, random, &peer, &bytes);
}

/// A connection whose bytes are damaged somewhere.
pub fn connection_mutated(net: &Net, random: &mut Random) {
    let peer = any_peer(net, random);
    let bytes = a_session(random).concat();
    let bytes = random.mutated(&bytes);
    send_and_leave(net, random, &peer, &bytes);
}

/// A connection whose frames are all sound and come in any order, some twice, some never.
pub fn connection_shuffled(net: &Net, random: &mut Random) {
    let peer = any_peer(net, random);
    let mut parts = a_session(random);
    for _ in 0..random.below(4) {
        let (from, to) = (random.below(parts.len()), random.below(parts.len()));
        match random.below(3) {
            0 => parts.swap(from, to),
            1 => drop(parts.remove(from)),
            _ => parts.insert(to, parts[from].clone()),
        }
    }
    send_and_leave(net, random, &peer, &parts.concat());
}
