//! Bad input: whatever a peer sends, it harms itself only.

use leveret::amqp::frame::{PROTOCOL_HEADER, write_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{FrameKind, LongStr, MethodId, Properties};

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login};
use crate::say::*;

/// The contents of a table with tables, or arrays, nested `depth` deep.
fn nested(depth: usize, kind: u8) -> Vec<u8> {
    let level_bytes = if kind == b'F' { 7 } else { 5 };
    let mut contents = vec![];
    for level in 0..depth {
        if kind == b'F' || level == 0 {
            contents.extend_from_slice(b"\x01k");
        }
        contents.push(kind);
        contents.extend_from_slice(&(((depth - 1 - level) * level_bytes) as u32).to_be_bytes());
    }
    contents
}

/// Arguments of a queue.declare of q with this table.
fn declare_arguments(contents: &[u8]) -> Vec<u8> {
    let mut arguments = b"\0\0\x01q\0".to_vec();
    arguments.extend_from_slice(&(contents.len() as u32).to_be_bytes());
    arguments.extend_from_slice(contents);
    arguments
}

/// Everything a well-behaved peer says in a short life.
fn short_life() -> Vec<u8> {
    let mut out = PROTOCOL_HEADER.to_vec();
    let start_ok = ConnectionStartOk {
        client_properties: table(&[("product", s("script"))]),
        mechanism: "PLAIN",
        response: LongStr(b"\0guest\0guest"),
        locale: "en_US",
    };
    write_method(&mut out, 0, &start_ok);
    write_method(&mut out, 0, &ConnectionTuneOk { channel_max: 10, frame_max: 8192, heartbeat: 0 });
    write_method(&mut out, 0, &ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
    write_method(&mut out, 1, &channel_open());
    write_method(&mut out, 1, &exclusive("mine"));
    write_method(&mut out, 1, &consume("mine", "c"));
    let publish = BasicPublish { reserved_1: 0, exchange: "", routing_key: "mine", mandatory: false, immediate: false };
    write_method(&mut out, 1, &publish);
    let mut raw = vec![];
    with_headers(&[("a", int(1))]).encode(&mut raw);
    leveret::amqp::frame::write_content_header(&mut out, 1, 3, &raw);
    leveret::amqp::frame::write_body(&mut out, 1, b"abc", 0);
    write_method(&mut out, 1, &ack(1));
    write_method(&mut out, 1, &channel_close());
    write_method(&mut out, 0, &connection_close());
    out
}

/// Somebody else can still work.
fn others_are_fine(t: &Net) {
    let a = t.peer();
    a.queue(declare("fine")).fill("fine", &["x"]).holds("fine", &["x"]).send(delete("fine")).expect(delete_ok(0));
    a.quit();
}

scripts! {
    bad_input_a_session_cut_at_every_byte(t) {
        let bytes = short_life();
        // One byte at a time every prefix was seen already: every tenth will do.
        let step = if t.is_bytewise() { 10 } else { 1 };
        for cut in (0..bytes.len()).step_by(step) {
            let a = t.connect();
            a.careless().raw(&bytes[..cut]).hang_up();
        }
        others_are_fine(t);
        t.peer().no_queue("mine");
    }

    bad_input_a_session_all_at_once(t) {
        let a = t.connect();
        a.careless().raw(&short_life());
        t.peer().no_queue("mine");
    }

    bad_input_a_session_that_stalls_at_every_frame(t) {
        let bytes = short_life();
        for cut in (8..bytes.len()).step_by(37) {
            t.connect().careless().raw(&bytes[..cut]);
        }
        t.advance(60_000);
        others_are_fine(t);
    }

    bad_input_tables_nested_1000_deep(t) {
        for kind in [b'F', b'A'] {
            let a = t.peer();
            a.send_arguments(QueueDeclare::ID, &declare_arguments(&nested(1_000, kind)));
            a.dies_somehow();
        }
        others_are_fine(t);
    }

    bad_input_tables_nested_16000_deep(t) {
        for kind in [b'F', b'A'] {
            let a = t.peer();
            a.send_arguments(QueueDeclare::ID, &declare_arguments(&nested(16_000, kind)));
            a.dies_somehow();
        }
        others_are_fine(t);
    }

    bad_input_tables_nested_10_deep_are_fine(t) {
        for kind in [b'F', b'A'] {
            let a = t.peer();
            a.send_arguments(QueueDeclare::ID, &declare_arguments(&nested(10, kind)));
            a.expect(declare_ok("q", 0, 0));
        }
    }

    bad_input_headers_nested_1000_deep(t) {
        let a = t.peer();
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        let contents = nested(1_000, b'F');
        let mut payload = b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0".to_vec();
        payload.extend_from_slice(&(contents.len() as u32).to_be_bytes());
        payload.extend_from_slice(&contents);
        // Headers that nobody needs may go unread.
        a.frame(2, &payload).careless();
        others_are_fine(t);
    }

    bad_input_client_properties_nested_1000_deep(t) {
        let a = t.connect();
        a.start();
        let contents = nested(1_000, b'F');
        let mut arguments = (contents.len() as u32).to_be_bytes().to_vec();
        arguments.extend_from_slice(&contents);
        arguments.extend_from_slice(b"\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US");
        a.send_arguments(ConnectionStartOk::ID, &arguments);
        t.advance(3_100);
        a.careless().gone_or_closed();
        others_are_fine(t);
    }

    bad_input_tables_whose_lengths_lie(t) {
        for contents in [
            &b"\x01kS\xff\xff\xff\xff"[..],
            b"\x01kF\0\0\0\x05",
            b"\x01kA\x7f\xff\xff\xff",
            b"\xffk",
            b"\x01k",
            b"\x01kx\0\0\0\x01",
            b"\x01kl\0\0",
            b"\x01kD\0",
        ] {
            let a = t.peer();
            a.send_arguments(QueueDeclare::ID, &declare_arguments(contents)).dies_somehow();
        }
        others_are_fine(t);
    }

    bad_input_a_body_of_2_to_the_63_among_others(t) {
        let a = t.peer();
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.content_header(1 << 63, &Properties::default()).body(b"x").dies_with(501, BasicPublish::ID);
        others_are_fine(t);
    }

    bad_input_many_large_bodies_announced_and_never_sent(t) {
        let a = t.peer();
        for channel in 2..=200 {
            let b = a.open(channel);
            b.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
            b.content_header(16 << 20, &Properties::default()).body(b"x");
        }
        others_are_fine(t);
        a.hang_up();
        others_are_fine(t);
    }

    bad_input_65535_channels(t) {
        let t = &t.with(|settings| settings.channel_max = 0);
        let a = t.login(Login { channel_max: 0, ..LOGIN });
        let step = if t.is_bytewise() { 60 } else { 1 };
        let numbers = (2..=65_535).step_by(step);
        for channel in numbers.clone() {
            a.on(channel).send(channel_open());
        }
        for channel in numbers {
            a.on(channel).expect(ChannelOpenOk { reserved_1: LongStr(b"") });
        }
        a.on(65_535 - (65_533 % step as u16)).queue(declare("q"));
        a.quit();
        others_are_fine(t);
    }

    bad_input_every_channel_number_beyond_the_limit(t) {
        for channel in [2_048, 40_000, 65_535] {
            t.peer().open(channel).queue(declare("q"));
        }
    }

    bad_input_invalid_utf_8_in_every_kind_of_name(t) {
        for (id, arguments) in [
            (QueueDeclare::ID, &b"\0\0\x01\xff\0\0\0\0\0"[..]),
            (ExchangeDeclare::ID, b"\0\0\x01x\x02\xc0\x80\0\0\0\0\0"),
            (QueueBind::ID, b"\0\0\x01q\x01x\x03\xed\xa0\x80\0\0\0\0\0"),
            (BasicConsume::ID, b"\0\0\x01q\x04\xf8\x88\x80\x80\0\0\0\0\0"),
            (BasicGet::ID, b"\0\0\x01\x80\0"),
            (BasicCancel::ID, b"\x01\xfe\0"),
            (ChannelClose::ID, b"\0\xc8\x01\xff\0\0\0\0"),
        ] {
            let a = t.peer();
            a.send_arguments(id, arguments).dies(501, "Malformed UTF-8 in shortstr", MethodId::NONE);
        }
        others_are_fine(t);
    }

    bad_input_names_with_zero_bytes_and_odd_characters(t) {
        let a = t.peer();
        for name in ["\0", "a\0b", " ", "\u{202e}x", "%s%n", "../../etc", "😀", "'quoted'", "\t"] {
            a.queue(declare(name)).fill(name, &["x"]).holds(name, &["x"]).exchange(name, "direct");
            a.bind(name, name, name).publish(to(name, name)).holds(name, &["m"]);
            a.send(delete(name)).expect(delete_ok(0));
        }
    }

    bad_input_longest_names_in_every_error_text(t) {
        let a = t.peer();
        let name = "ü".repeat(127);
        a.send(get(&name)).closed_like(404, "no queue 'ü", BasicGet::ID).reopen();
        a.publish(to(&name, &name)).closed_like(404, "no exchange 'ü", BasicPublish::ID).reopen();
        a.queue(exclusive(&name));
        t.peer().send(get(&name)).closed_like(405, "cannot obtain exclusive access", BasicGet::ID);
    }

    bad_input_frames_of_every_type_before_the_handshake(t) {
        for kind in [1, 2, 3, 8, 9] {
            let a = t.connect();
            let mut out = PROTOCOL_HEADER.to_vec();
            write_header(&mut out, FrameKind::from(kind), 1, 3);
            out.extend_from_slice(b"abc\xce");
            a.raw(&out);
            t.advance(10_100);
            a.careless().gone_or_closed();
        }
        others_are_fine(t);
    }

    bad_input_a_second_protocol_header(t) {
        let a = t.peer();
        // Read as a frame it is of an unknown type and much too large.
        a.careless().raw(&PROTOCOL_HEADER).raw(&[0; 64]);
        t.advance(60_000);
        others_are_fine(t);
    }

    bad_input_a_thousand_slow_handshakes(t) {
        let count = if t.is_bytewise() { 100 } else { 1_000 };
        let peers: Vec<_> = (0..count).map(|_| t.connect()).collect();
        for (index, peer) in peers.iter().enumerate() {
            peer.careless().raw(&PROTOCOL_HEADER[..index % 9]);
        }
        others_are_fine(t);
        t.advance(13_200);
        for peer in &peers {
            assert!(peer.is_closed());
        }
        others_are_fine(t);
    }

    bad_input_ten_thousand_tiny_frames_of_one_body(t) {
        let count = 10_000;
        let a = t.peer();
        a.queue(declare("q"));
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.content_header(count, &Properties::default());
        for _ in 0..count {
            a.body(b"t");
        }
        a.counts("q", 1, 0);
    }

    bad_input_a_flood_of_commands_without_reading_the_answers(t) {
        let a = t.peer();
        a.careless().queue(declare("q")).stop_reading();
        for _ in 0..20_000 {
            a.send(passive("q"));
        }
        others_are_fine(t);
        a.hang_up();
        others_are_fine(t);
    }

    bad_input_integers_at_their_ends(t) {
        let a = t.peer();
        a.send(qos(65_535)).expect(BasicQosOk {});
        a.send(ack(u64::MAX)).closed(406, &format!("unknown delivery tag {}", u64::MAX), BasicAck::ID).reopen();
        a.send(ack_up_to(1 << 63)).closed(406, &format!("unknown delivery tag {}", 1u64 << 63), BasicAck::ID);
    }

    bad_input_a_connection_close_with_odd_values(t) {
        let a = t.peer();
        let text = "x".repeat(255);
        a.on(0).send(ConnectionClose { reply_code: 65_535, reply_text: &text, class_id: 9, method_id: 9 });
        a.on(0).expect(ConnectionCloseOk {});
        others_are_fine(t);
    }
}
