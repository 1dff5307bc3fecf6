//! What is done with the bytes.

use leveret::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::table::ArrayWriter;
use leveret::amqp::{Frame, FrameHeader, FrameKind, LongStr, Method, Properties, Table, TableWriter, Value};

use crate::net::{Feed, Net, Store};
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

/// Publishes of which many repeat the one before, some of them on another channel, large, returned, or refused.
fn a_stream(random: &mut Random) -> Vec<u8> {
    let mut out = vec![];
    for _ in 0..1 + random.below(6) {
        let channel = *random.pick(&[1, 1, 2]);
        let x = *random.pick(&["", "", "x", "amq.direct", "amq.topic"]);
        let key = *random.pick(&["q1", "q2", "q3", "k", "nowhere"]);
        let raw = if random.once_in(2) { vec![0, 0] } else { some_properties(random) };
        let size = *random.pick(&[0, 1, 16, 16, 100, 8_184, 8_185, 20_000]);
        let mandatory = random.once_in(4);
        for _ in 0..1 + random.below(12) {
            let immediate = random.once_in(80);
            let publish = BasicPublish { reserved_1: 0, exchange: x, routing_key: key, mandatory, immediate };
            out.extend(method_bytes(channel, publish));
            let body = random.bytes(size);
            let raw = if random.once_in(8) { some_properties(random) } else { raw.clone() };
            // Seldom on another channel than the method, or with another size than the body's.
            let astray = |random: &mut Random| if random.once_in(80) { 3 - channel } else { channel };
            let announced = body.len() as u64 ^ u64::from(random.once_in(80));
            write_content_header(&mut out, astray(random), announced, &raw);
            write_body(&mut out, astray(random), &body, 8192);
        }
    }
    if random.once_in(3) { random.mutated(&out) } else { out }
}

/// Says `bytes` at once or, with a generator, in pieces of any size.
fn say(net: &Net, peer: &Peer, bytes: &[u8], pieces: &mut Option<Random>) {
    let mut rest = bytes;
    while let Some(random) = pieces
        && !rest.is_empty()
    {
        let most = *random.pick(&[3, 40, 400, 9_000]);
        let (part, behind) = rest.split_at((1 + random.below(most)).min(rest.len()));
        peer.raw(part);
        net.settle();
        rest = behind;
    }
    peer.raw(rest);
    net.settle();
}

/// A publisher and consumers hear the same, whether bytes come together, so that they are taken as streams, or in
/// pieces that are put together.
pub fn streams_and_pieces(random: &mut Random) {
    let shards = *random.pick(&[1, 1, 2]);
    let stream = a_stream(random);
    let takes: Vec<(&str, bool, u16)> = (0..1 + random.below(4))
        .map(|_| (*random.pick(&["q1", "q2", "q3"]), random.once_in(2), *random.pick(&[0, 1, 7])))
        .collect();
    let store = if random.once_in(2) { Store::Disk } else { Store::None };
    let (ack_seed, piece_seed) = (random.next(), random.next());
    let heard = |mut pieces: Option<Random>| {
        let net = Net::new(shards, Feed::Whole, store);
        // Where every body is large, none is taken as it lies.
        let net = if pieces.is_some() { net.with(|settings| settings.limits.body_own_block_bytes = 1) } else { net };
        let publisher = net.peer_on(0);
        publisher.careless();
        let mut setup = method_bytes(2, channel_open());
        setup.extend(method_bytes(1, exchange("x", "fanout")));
        for queue in ["q1", "q2", "q3"] {
            setup.extend(method_bytes(1, declare(queue)));
            setup.extend(method_bytes(1, bind(queue, "amq.topic", "#")));
        }
        for queue in ["q1", "q2"] {
            setup.extend(method_bytes(1, bind(queue, "x", "")));
        }
        setup.extend(method_bytes(1, bind("q1", "amq.direct", "k")));
        publisher.raw(&setup);
        net.settle();
        let consumers: Vec<Peer> = takes
            .iter()
            .enumerate()
            .map(|(n, &(queue, no_ack, prefetch_count))| {
                let peer = net.peer_on(n % shards);
                peer.careless();
                peer.raw(&method_bytes(1, BasicQos { prefetch_size: 0, prefetch_count, global: false }));
                peer.raw(&method_bytes(1, BasicConsume { no_ack, ..consume(queue, "c") }));
                net.settle();
                peer
            })
            .collect();
        say(&net, &publisher, &stream, &mut pieces);
        let mut random = Random::new(ack_seed);
        let mut acked = vec![0; consumers.len()];
        for round in 0..3 {
            for ((peer, acked), (_, _, prefetch)) in consumers.iter().zip(&mut acked).zip(&takes) {
                // Every first frame of a delivery is a method frame; a few others count as deliveries that never were.
                let frames = net.link(peer.index, |link| link.frames.clone());
                let methods = frames.values().flatten().filter(|frame| frame.kind == FrameKind::Method).count() as u64;
                let mut tags: Vec<u64> = (*acked + 1..=methods.saturating_sub(2 + random.below(2) as u64)).collect();
                *acked = tags.last().copied().unwrap_or(*acked);
                if !tags.is_empty() && random.once_in(3) {
                    let at = random.below(tags.len());
                    tags.swap(0, at);
                }
                // With a limit, what is delivered before the fault depends on when it comes.
                if round == 2 && *prefetch == 0 && random.once_in(4) {
                    tags.push(7);
                }
                let ack = |delivery_tag| method_bytes(1, BasicAck { delivery_tag, multiple: false });
                let acks: Vec<u8> = tags.into_iter().flat_map(ack).collect();
                say(&net, peer, &acks, &mut pieces);
            }
        }
        let heard = |peer: &Peer| {
            net.link(peer.index, |link| {
                let text = link.describe();
                // What the text of a connection error shows of a broken frame depends on how much of it had come.
                let close = link.frames.get_mut(&0).and_then(|frames| frames.back_mut());
                close.into_iter().for_each(|frame| frame.payload.truncate(6));
                (link.frames.clone(), text)
            })
        };
        consumers.iter().chain([&publisher]).map(heard).collect::<Vec<_>>()
    };
    let (together, apart) = (heard(None), heard(Some(Random::new(piece_seed))));
    for (n, (one, other)) in together.iter().zip(&apart).enumerate() {
        assert!(one.0 == other.0, "peer {n}: together {} but in pieces {}", one.1, other.1);
    }
}
