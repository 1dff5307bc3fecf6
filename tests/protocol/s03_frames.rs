//! Section 3: frames, and the order in which content comes.

use leveret::amqp::frame::write_body;
use leveret::amqp::method::*;
use leveret::amqp::{FrameKind, MethodId, Properties};

use crate::net::scripts;
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const WANT_HEADER: &str = "expected content header for class 60, got non content header frame instead";
const WANT_BODY: &str = "expected content body, got non content body frame instead";
const WANT_METHOD: &str = "expected method frame, got non method frame instead";

/// A basic.publish to queue q whose content is still to come.
fn publish_method(a: &Peer) -> &Peer {
    a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false })
}

/// The payload of a content header.
fn header_payload(class: u16, weight: u16, size: u64) -> Vec<u8> {
    let mut payload = vec![];
    payload.extend_from_slice(&class.to_be_bytes());
    payload.extend_from_slice(&weight.to_be_bytes());
    payload.extend_from_slice(&size.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload
}

scripts! {
    s3_a_payload_above_the_limit(t) {
        let a = t.peer();
        a.raw(&[3, 0, 1, 0, 2, 0, 1]);
        a.dies_of_framing(501, "type 3, all octets = <<>>: {frame_too_large,131073,131064}", MethodId::NONE);
    }

    s3_a_payload_above_the_negotiated_limit(t) {
        let a = t.login(Login { frame_max: 4096, ..LOGIN });
        a.raw(&[1, 0, 1, 0, 0, 0x10, 1]);
        a.dies_of_framing(501, "type 1, all octets = <<>>: {frame_too_large,4097,4088}", MethodId::NONE);
    }

    s3_a_payload_of_4_gib(t) {
        let a = t.peer();
        a.raw(&[1, 0, 1, 255, 255, 255, 255]);
        a.dies_of_framing(501, "type 1, all octets = <<>>: {frame_too_large,4294967295,131064}", MethodId::NONE);
    }

    s3_a_payload_may_be_frame_max_long(t) {
        let a = t.login(Login { frame_max: 4096, ..LOGIN });
        a.queue(declare("q"));
        let body = "b".repeat(4096);
        publish_method(&a).content_header(4096, &Properties::default()).body(body.as_bytes());
        a.holds("q", &[&body]);
    }

    s3_a_wrong_frame_end(t) {
        let a = t.peer();
        a.raw(&[3, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c', 0]);
        let text = "type 3, all octets = <<\"abc\">>: {invalid_frame_end_marker,0}";
        a.dies_of_framing(501, text, MethodId::NONE);
    }

    s3_a_wrong_frame_end_on_channel_0(t) {
        let a = t.peer();
        a.raw(&[8, 0, 0, 0, 0, 0, 0, 0xCF]);
        a.dies_of_framing(501, "type 8, all octets = <<>>: {invalid_frame_end_marker,207}", MethodId::NONE);
    }

    s3_a_wrong_frame_end_discards_the_rest(t) {
        let (a, b) = (t.peer(), t.peer());
        a.raw(&[1, 0, 1, 0, 0, 0, 0, 0]).send(declare("q"));
        a.dies_of_framing(501, "type 1, all octets = <<>>: {invalid_frame_end_marker,0}", MethodId::NONE);
        b.no_queue("q");
    }

    s3_an_unknown_frame_type(t) {
        let a = t.peer();
        a.frame(9, b"abc").dies_of_framing(501, "type 9, all octets = <<\"abc\">>: unknown_frame", MethodId::NONE);
        let a = t.peer();
        a.frame(9, b"0123456789abcdef0");
        let text = "type 9, first 16 octets = <<\"0123456789abcdef\">>: unknown_frame";
        a.dies_of_framing(501, text, MethodId::NONE);
        let a = t.peer();
        a.frame(0, &[1, 2, 255]).dies_of_framing(501, "type 0, all octets = <<1,2,255>>: unknown_frame", MethodId::NONE);
    }

    s3_unknown_frame_types_all_end_the_connection(t) {
        for kind in [4, 5, 6, 7, 10, 65, 200, 255] {
            let a = t.peer();
            a.frame(kind, b"").dies_of_framing(501, &format!("type {kind}, all octets = <<>>"), MethodId::NONE);
        }
    }

    s3_content_on_channel_0(t) {
        let a = t.peer().on(0);
        a.frame(2, &header_payload(60, 0, 0)).dies_like(505, "type 2, all octets = ", MethodId::NONE);
        let a = t.peer().on(0);
        a.frame(3, b"x").dies_like(505, "type 3, all octets = <<\"x\">>", MethodId::NONE);
    }

    s3_a_header_where_a_method_is_due(t) {
        let a = t.peer();
        a.frame(2, &header_payload(60, 0, 0)).dies(505, WANT_METHOD, MethodId::NONE);
    }

    s3_a_body_where_a_method_is_due(t) {
        let a = t.peer();
        a.body(b"x").dies(505, WANT_METHOD, MethodId::NONE);
    }

    s3_a_body_after_an_empty_body(t) {
        let a = t.peer();
        publish_method(&a).content_header(0, &Properties::default()).body(b"x").dies(505, WANT_METHOD, MethodId::NONE);
    }

    s3_a_method_where_a_header_is_due(t) {
        let a = t.peer();
        publish_method(&a).send(declare("q")).dies(505, WANT_HEADER, BasicPublish::ID);
    }

    s3_a_body_where_a_header_is_due(t) {
        let a = t.peer();
        publish_method(&a).body(b"x").dies(505, WANT_HEADER, BasicPublish::ID);
    }

    s3_a_header_with_a_weight(t) {
        let a = t.peer();
        publish_method(&a).frame(2, &header_payload(60, 1, 0)).dies(505, WANT_HEADER, BasicPublish::ID);
    }

    s3_a_header_of_another_class(t) {
        let a = t.peer();
        publish_method(&a).frame(2, &header_payload(50, 0, 0));
        let text = "expected content header for class 60, got one for class 50 instead";
        a.dies(505, text, BasicPublish::ID);
    }

    s3_a_header_too_short(t) {
        for len in [0, 1, 4, 11, 13] {
            let a = t.peer();
            publish_method(&a).frame(2, &header_payload(60, 0, 0)[..len]).dies_somehow();
        }
    }

    s3_a_method_where_a_body_is_due(t) {
        let a = t.peer();
        publish_method(&a).content_header(3, &Properties::default()).send(declare("q"));
        a.dies(505, WANT_BODY, BasicPublish::ID);
    }

    s3_a_channel_close_where_a_body_is_due(t) {
        let a = t.peer();
        publish_method(&a).content_header(3, &Properties::default()).send(channel_close());
        a.dies(505, WANT_BODY, BasicPublish::ID);
    }

    s3_a_header_where_a_body_is_due(t) {
        let a = t.peer();
        publish_method(&a).content_header(3, &Properties::default()).content_header(3, &Properties::default());
        a.dies(505, WANT_BODY, BasicPublish::ID);
    }

    s3_a_body_longer_than_announced(t) {
        let a = t.peer();
        publish_method(&a).content_header(3, &Properties::default()).body(b"four");
        a.dies(501, "content body frame exceeds remaining content size", BasicPublish::ID);
    }

    s3_a_second_body_frame_longer_than_what_remains(t) {
        let a = t.peer();
        publish_method(&a).content_header(3, &Properties::default()).body(b"ab").body(b"cd");
        a.dies(501, "content body frame exceeds remaining content size", BasicPublish::ID);
    }

    s3_a_body_announced_above_512_mib(t) {
        for size in [(512u64 << 20) + 1, 1 << 63, u64::MAX] {
            let a = t.peer();
            publish_method(&a).content_header(size, &Properties::default());
            let text = format!("content body size {size} exceeds maximum allowed size 536870912");
            a.dies(501, &text, BasicPublish::ID);
        }
    }

    s3_arguments_cut_short(t) {
        for (id, arguments) in [
            (QueueDeclare::ID, &b"\0\0\x05ab"[..]),
            (QueueDeclare::ID, b"\0\0\x01q"),
            (BasicQos::ID, b"\0\0\0\0"),
            (BasicAck::ID, b""),
            (BasicPublish::ID, b"\0\0\0"),
            (ChannelClose::ID, b"\0\xc8"),
        ] {
            let a = t.peer();
            a.send_arguments(id, arguments).dies_like(501, "cannot decode <<", id);
        }
    }

    s3_arguments_with_bytes_left_over(t) {
        for (id, arguments) in [
            (TxSelect::ID, &b"x"[..]),
            (BasicQos::ID, b"\0\0\0\0\0\x01\0\0"),
            (BasicPublish::ID, b"\0\0\0\0\0\0"),
        ] {
            let a = t.peer();
            a.send_arguments(id, arguments).dies_like(501, "cannot decode <<", id);
        }
    }

    s3_a_table_longer_than_its_method(t) {
        let a = t.peer();
        a.send_arguments(QueueDeclare::ID, b"\0\0\x01q\0\xff\xff\xff\xff");
        a.dies_like(501, "cannot decode <<", QueueDeclare::ID);
    }

    s3_a_short_string_that_is_not_utf_8(t) {
        let a = t.peer();
        a.send_arguments(QueueDeclare::ID, b"\0\0\x02\xc3\x28\0\0\0\0\0");
        a.dies(501, "Malformed UTF-8 in shortstr", MethodId::NONE);
        let a = t.peer();
        a.send_arguments(BasicPublish::ID, b"\0\0\0\x01\xff\0");
        a.dies(501, "Malformed UTF-8 in shortstr", MethodId::NONE);
    }

    s3_an_unknown_method(t) {
        for id in [(60, 200), (60, 0), (1, 1), (0, 0), (65_535, 65_535), (90, 32)] {
            let a = t.peer();
            a.send_arguments(MethodId::new(id.0, id.1), b"").dies_somehow();
        }
    }

    s3_a_method_frame_without_ids(t) {
        for payload in [&b""[..], b"\0", b"\0\x32\0"] {
            let a = t.peer();
            a.frame(1, payload).dies_somehow();
        }
    }

    s3_an_unknown_field_type(t) {
        let a = t.peer();
        a.send_arguments(QueueDeclare::ID, b"\0\0\x01q\0\0\0\0\x04\x01k?\0").dies_somehow();
    }

    s3_a_malformed_property_list(t) {
        for properties in [&b"\x80\0\x05ab"[..], b"\0\x01", b"\x80\0\x01aX", b"\x20\0\0\0\0\x03\x01k?"] {
            let a = t.peer();
            let mut payload = header_payload(60, 0, 0);
            payload.truncate(12);
            payload.extend_from_slice(properties);
            publish_method(&a).frame(2, &payload).dies_somehow();
        }
    }

    s3_an_empty_body_has_no_body_frame(t) {
        let a = t.peer();
        a.queue(declare("q"));
        publish_method(&a).content_header(0, &Properties::default());
        a.send(BasicGet { no_ack: true, ..get("q") });
        let message = a.got().expect("a message");
        assert!(message.body.is_empty());
        a.silent();
    }

    s3_empty_body_frames_are_tolerated(t) {
        let a = t.peer();
        a.queue(declare("q"));
        publish_method(&a).content_header(2, &Properties::default()).body(b"").body(b"a").body(b"").body(b"b");
        a.holds("q", &["ab"]);
    }

    s3_a_body_in_single_bytes(t) {
        let a = t.peer();
        a.queue(declare("q"));
        publish_method(&a).content_header(50, &Properties::default());
        for _ in 0..50 {
            a.body(b"z");
        }
        a.holds("q", &[&"z".repeat(50)]);
    }

    s3_bodies_are_split_at_frame_max(t) {
        let a = t.login(Login { frame_max: 4096, ..LOGIN });
        a.queue(declare("q"));
        let body = vec![b'x'; 4088 * 2 + 1];
        a.publish_bytes(to("", "q"), &body).send(BasicGet { no_ack: true, ..get("q") });
        a.expect_id(BasicGetOk::ID, |_| ());
        assert_eq!(a.take("a header").kind, FrameKind::Header);
        let parts: Vec<usize> = (0..3).map(|_| a.take("a body").payload.len()).collect();
        assert_eq!(parts, [4088, 4088, 1]);
        a.silent();
    }

    s3_bodies_at_the_edges_of_frame_max(t) {
        let (a, b) = (t.login(Login { frame_max: 4096, ..LOGIN }), t.peer());
        b.queue(declare("q"));
        a.consume_no_ack("q", "c");
        for len in [1, 4087, 4088, 4089, 8175, 8176, 8177, 16_383, 16_384, 16_385, 65_537, 300_000] {
            let body: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut out = vec![];
            write_body(&mut out, 1, &body, 131_072);
            publish_method(&b).content_header(len as u64, &Properties::default()).raw(&out);
            assert!(a.delivery().body == body, "{len}");
        }
    }

    s3_channels_interleave_content(t) {
        let a = t.peer();
        let b = a.open(2);
        a.queue(declare("q"));
        publish_method(&a);
        publish_method(&b).content_header(4, &Properties::default());
        a.content_header(4, &Properties::default()).body(b"aa");
        b.body(b"bb").body(b"bb");
        a.body(b"aa").holds("q", &["bbbb", "aaaa"]);
    }

    s3_methods_of_one_channel_go_between_content_of_another(t) {
        let a = t.peer();
        let b = a.open(2);
        a.queue(declare("q"));
        publish_method(&a).content_header(4, &Properties::default()).body(b"aa");
        b.counts("q", 0, 0).open(3).close();
        a.body(b"aa");
        b.counts("q", 1, 0);
    }

    s3_before_tuning_frames_are_limited_too(t) {
        let a = t.connect();
        a.start().raw(&[1, 0, 0, 0x10, 0, 0, 0]);
        t.advance(3_100);
        a.careless().gone_or_closed();
    }

    s3_another_method_than_start_ok_before_login(t) {
        let a = t.connect();
        a.start().send(ConnectionTuneOk { channel_max: 1, frame_max: 8192, heartbeat: 0 });
        t.advance(3_100);
        a.careless().gone_or_closed();
    }

    s3_a_channel_method_before_open(t) {
        let a = t.connect();
        a.start().plain(LOGIN).tune().on(1).send(channel_open());
        t.advance(3_100);
        a.careless().gone_or_closed();
    }
}
