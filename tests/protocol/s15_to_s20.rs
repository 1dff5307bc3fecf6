//! Sections 15, 16 and 20: encodings, permissions as far as there are any, and where clones go wrong.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Table, Value};

use crate::net::scripts;
use crate::peer::{LOGIN, Login};
use crate::say::*;

scripts! {
    s15_headers_of_every_type_come_through(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let nested = table(&[("z", int(1)), ("a", s("first"))]);
        let list = array(&[Value::Void, Value::Table(nested), s("x")]);
        let headers = [
            ("a-bool", Value::Bool(true)), ("b-i8", Value::I8(-1)), ("c-u8", Value::U8(255)), ("d-i16", Value::I16(-2)),
            ("e-u16", Value::U16(65_535)), ("f-i32", Value::I32(-3)), ("g-u32", Value::U32(u32::MAX)),
            ("h-i64", Value::I64(i64::MIN)), ("i-f32", Value::F32(0.5)), ("j-f64", Value::F64(-0.25)),
            ("k-decimal", Value::Decimal(2, 314)), ("l-string", Value::LongStr(&[0, 255, 10])),
            ("m-time", Value::Timestamp(1 << 40)), ("n-table", Value::Table(nested)), ("o-array", Value::Array(list)),
            ("p-bytes", Value::Bytes(&[1, 2, 3])), ("q-void", Value::Void),
        ];
        a.publish(Publish { properties: with_headers(&headers), ..to("", "q") });
        let message = a.get("q");
        let came: Vec<_> = message.properties().headers.expect("headers").iter().collect();
        assert_eq!(came, headers.map(|(key, value)| (key.as_bytes(), value)));
    }

    s15_headers_are_delivered_untouched(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let headers = with_headers(&[("z", int(1)), ("a", s("x")), ("z", int(2))]);
        a.publish(Publish { properties: headers, ..to("", "q") });
        let mut raw = vec![];
        headers.encode(&mut raw);
        assert_eq!(a.get("q").properties, raw);
    }

    s15_long_is_read_by_both_its_letters(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let mut bytes = b"\x01lL".to_vec();
        bytes.extend_from_slice(&7i64.to_be_bytes());
        let headers = Table::check(bytes.leak()).expect("a table");
        let properties = Properties { headers: Some(headers), ..Properties::default() };
        a.publish(Publish { properties, ..to("", "q") });
        assert_eq!(a.get("q").header("l"), Some(Value::I64(7)));
    }

    s15_small_s_is_a_16_bit_integer(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind_with("q", "amq.headers", "", table(&[("s", Value::I16(258))]));
        a.publish(Publish { properties: with_headers(&[("s", Value::I16(258))]), ..to("amq.headers", "") });
        assert_eq!(a.get("q").header("s"), Some(Value::I16(258)));
    }

    s15_absent_headers_stay_absent_and_empty_ones_empty(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]).publish(Publish { properties: with_headers(&[]), ..to("", "q") });
        assert_eq!(a.get("q").properties().headers, None);
        assert!(a.get("q").properties().headers.is_some_and(|headers| headers.is_empty()));
    }

    s15_keys_may_be_255_bytes_long(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let key = "k".repeat(255);
        a.publish(Publish { properties: with_headers(&[(&key, int(1)), ("", int(2))]), ..to("", "q") });
        let message = a.get("q");
        assert_eq!((message.header(&key), message.header("")), (Some(int(1)), Some(int(2))));
    }

    s15_float_headers_that_are_no_numbers(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let headers = with_headers(&[("nan", Value::F64(f64::NAN)), ("inf", Value::F32(f32::INFINITY))]);
        a.publish(Publish { properties: headers, ..to("", "q") });
        assert_eq!(a.get("q").header("inf"), Some(Value::F32(f32::INFINITY)));
    }

    s15_large_headers_come_through(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let long = "h".repeat(100_000);
        a.publish(Publish { properties: with_headers(&[("long", s(&long))]), ..to("", "q") });
        assert_eq!(a.get("q").header("long"), Some(s(&long)));
    }

    s16_any_configured_user_may_use_its_vhosts(t) {
        let a = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        a.queue(declare("q")).exchange("x", "topic").bind("q", "x", "#").publish(to("x", "k")).holds("q", &["m"]);
    }

    s16_objects_are_shared_between_users(t) {
        let a = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        let b = t.peer();
        a.queue(declare("q")).fill("q", &["1"]);
        b.holds("q", &["1"]).send(delete("q")).expect(delete_ok(0));
    }

    s16_a_vhost_name_is_not_a_pattern(t) {
        let a = t.connect();
        a.start().plain(LOGIN).tune().tune_ok(LOGIN).open_vhost("othe");
        a.dies(530, "vhost othe not found", ConnectionOpen::ID);
    }

    s16_vhost_names_are_case_sensitive(t) {
        let a = t.connect();
        a.start().plain(LOGIN).tune().tune_ok(LOGIN).open_vhost("OTHER");
        a.dies(530, "vhost OTHER not found", ConnectionOpen::ID);
    }

    s20_3_a_bool_argument_is_quoted(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-single-active-consumer", Value::Bool(true))])).send(declare("q"));
        let text = "inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': \
                    received none but current is the value 'true' of type 'bool'";
        a.closed(406, text, QueueDeclare::ID);
    }

    s20_4_what_is_idempotent(t) {
        let a = t.peer();
        for _ in 0..2 {
            a.send(unbind("q", "x", "k")).expect(QueueUnbindOk {});
            a.send(delete("q")).expect(delete_ok(0));
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            a.confirm_select().cancel("c");
        }
    }

    s20_6_deletion_is_complete_at_delete_ok(t) {
        let peers: Vec<_> = (0..4).map(|_| t.peer()).collect();
        for owner in &peers {
            owner.queue(declare("q")).bind("q", "amq.fanout", "").send(delete("q")).expect(delete_ok(0));
            for other in &peers {
                other.no_queue("q").publish(mandatory("amq.fanout", "")).returned("amq.fanout", "", "m");
            }
        }
    }

    s20_14_a_stale_answer_never_reaches_a_reopened_channel(t) {
        let a = t.peer();
        t.queues(&["q", "r", "s"]);
        for _ in 0..10 {
            a.consume("q", "c").confirm_select().fill("q", &["1"]).fill("r", &["2"]).careless();
            a.send(channel_close());
            while a.take("close-ok").method_id() != Some(ChannelCloseOk::ID) {}
            a.reopen().silent();
            a.holds("q", &["1"]).holds("r", &["2"]);
        }
    }

    s20_22_get_ok_counts_exclude_the_message_itself(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).consume_no_ack("q", "c").delivered("c", 1, "1");
        a.delivered("c", 2, "2");
        a.cancel("c").fill("q", &["3"]);
        let message = a.get("q");
        assert_eq!((message.delivery_tag, message.message_count), (3, 0));
    }
}
