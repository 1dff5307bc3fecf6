//! Section 2: setting a connection up, keeping it alive, taking it down.

use leveret::amqp::method::*;
use leveret::amqp::{LongStr, Method, MethodId, TableWriter, Value};
use leveret::config::settings::Mechanism;

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const OURS: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
const AMQP_1_SASL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
const REFUSED: &str = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";

/// The broker answers these first bytes with a protocol header and hangs up.
fn refuses(t: &Net, first: &[u8], answers: &[[u8; 8]]) {
    let a = t.connect();
    a.raw(first);
    let came = a.header_back();
    assert!(answers.contains(&came), "{first:?}: {came:?}");
    a.gone();
}

/// Up to tune, by PLAIN.
fn tuned(t: &Net) -> Peer {
    let a = t.connect();
    a.start().plain(LOGIN).tune();
    a
}

/// A tune-ok after which the connection works.
fn tune_ok_works(t: &Net, channel_max: u16, frame_max: u32, heartbeat: u16) {
    let a = tuned(t);
    a.tune_ok(Login { channel_max, frame_max, heartbeat, ..LOGIN });
    a.open_vhost("/").expect(ConnectionOpenOk { reserved_1: "" });
    a.open(1).quit();
}

/// A tune-ok that is met with silence and a cut after 3 s.
fn tune_ok_fails(t: &Net, channel_max: u16, frame_max: u32) {
    let a = tuned(t);
    a.tune_ok(Login { channel_max, frame_max, ..LOGIN }).open_vhost("/").silent();
    t.advance(2_900);
    a.still_open();
    t.advance(200);
    a.gone();
}

/// The response of AMQPLAIN: a table's contents.
fn amqplain(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = TableWriter::new();
    for (key, text) in entries {
        writer.put(key, s(text));
    }
    writer.into_bytes()
}

/// A start-ok that is met with silence and a cut after 3 s.
fn cut_in_silence(t: &Net, capabilities: &[&str], mechanism: &str, response: &[u8]) {
    let a = t.connect();
    a.start().start_ok(capabilities, mechanism, response).silent();
    t.advance(2_900);
    a.still_open();
    t.advance(200);
    a.gone();
}

fn with_challenge(t: &Net) -> Net {
    t.with(|settings| settings.mechanisms.push(Mechanism::RabbitCrDemo))
}

scripts! {
    s2_1_header_0_9_1_is_answered_with_start(t) {
        t.connect().raw(b"AMQP\x00\x00\x09\x01").expect_id(ConnectionStart::ID, |_| ());
    }

    s2_1_header_0_9_is_taken_for_0_9_1(t) {
        let a = t.connect();
        a.raw(b"AMQP\x01\x01\x00\x09").expect_id(ConnectionStart::ID, |_| ());
        a.plain(LOGIN).tune().tune_ok(LOGIN).open_vhost("/").expect(ConnectionOpenOk { reserved_1: "" });
    }

    s2_1_header_in_two_parts(t) {
        let a = t.connect();
        a.raw(b"AMQ").silent();
        t.advance(1_000);
        a.raw(b"P\x00\x00\x09\x01").expect_id(ConnectionStart::ID, |_| ());
    }

    s2_1_amqp_1_0_gets_a_header_back(t) {
        refuses(t, b"AMQP\x00\x01\x00\x00", &[AMQP_1_SASL]);
        refuses(t, b"AMQP\x02\x01\x00\x00", &[AMQP_1_SASL]);
        refuses(t, b"AMQP\x03\x01\x00\x00", &[AMQP_1_SASL, OURS]);
    }

    s2_1_another_revision_gets_ours_back(t) {
        for revision in [0, 2, 9, 255] {
            refuses(t, &[b'A', b'M', b'Q', b'P', 0, 0, 9, revision], &[OURS, AMQP_1_SASL]);
        }
    }

    s2_1_header_0_8_is_refused(t) {
        refuses(t, b"AMQP\x01\x01\x08\x00", &[OURS, AMQP_1_SASL]);
    }

    s2_1_http_is_refused(t) {
        refuses(t, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[OURS, AMQP_1_SASL]);
    }

    s2_1_a_tls_hello_is_refused(t) {
        refuses(t, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[OURS, AMQP_1_SASL]);
    }

    s2_1_garbage_is_refused(t) {
        refuses(t, &[0; 8], &[OURS, AMQP_1_SASL]);
        refuses(t, &[255; 64], &[OURS, AMQP_1_SASL]);
    }

    s2_1_silence_is_cut_after_the_handshake_limit(t) {
        let a = t.connect();
        t.advance(9_900);
        a.still_open();
        t.advance(200);
        a.gone();
    }

    s2_1_fewer_than_8_bytes_are_cut_after_the_handshake_limit(t) {
        let a = t.connect();
        a.raw(b"AMQP\x00\x00\x09").silent();
        t.advance(10_100);
        a.gone();
    }

    s2_1_dribbling_does_not_extend_the_handshake_limit(t) {
        let a = t.connect();
        for byte in b"AMQP\x00" {
            a.raw(&[*byte]);
            t.advance(2_000);
        }
        t.advance(200);
        a.gone();
    }

    s2_1_a_handshake_that_stops_after_start_is_cut(t) {
        let a = t.connect();
        a.start();
        t.advance(10_100);
        a.careless().gone_or_closed();
    }

    s2_1_a_handshake_that_stops_after_tune_is_cut(t) {
        let a = tuned(t);
        t.advance(10_100);
        a.careless().gone_or_closed();
    }

    s2_1_a_handshake_that_stops_before_open_is_cut(t) {
        let a = tuned(t);
        a.tune_ok(LOGIN);
        t.advance(10_100);
        a.careless().gone_or_closed();
    }

    s2_1_the_handshake_limit_ends_with_open_ok(t) {
        let a = t.peer();
        t.advance(600_000);
        a.silent().queue(declare("q"));
    }

    s2_1_connect_and_disconnect_is_no_error(t) {
        let a = t.connect();
        a.hang_up();
        t.peer().queue(declare("q"));
    }

    s2_1_hanging_up_at_each_step_of_the_handshake(t) {
        let steps: [fn(&Peer); 4] = [
            |a| { a.start(); },
            |a| { a.start().plain(LOGIN).tune(); },
            |a| { a.start().plain(LOGIN).tune().tune_ok(LOGIN); },
            |a| { a.handshake(LOGIN); },
        ];
        for step in steps {
            let a = t.connect();
            step(&a);
            a.hang_up();
        }
        t.peer().queue(declare("q"));
    }

    s2_2_start_says_version_mechanisms_and_locales(t) {
        t.connect().raw(&OURS).expect_id(ConnectionStart::ID, |method| {
            let Method::ConnectionStart(start) = method else { unreachable!() };
            assert_eq!((start.version_major, start.version_minor), (0, 9));
            assert_eq!(start.mechanisms, LongStr(b"PLAIN AMQPLAIN ANONYMOUS"));
            assert_eq!(start.locales, LongStr(b"en_US"));
        });
    }

    s2_2_mechanisms_are_those_configured(t) {
        let t = &t.with(|settings| settings.mechanisms = vec![Mechanism::AmqPlain, Mechanism::RabbitCrDemo]);
        t.connect().raw(&OURS).expect_id(ConnectionStart::ID, |method| {
            let Method::ConnectionStart(start) = method else { unreachable!() };
            assert_eq!(start.mechanisms, LongStr(b"AMQPLAIN RABBIT-CR-DEMO"));
        });
    }

    s2_2_start_offers_the_capabilities(t) {
        t.connect().raw(&OURS).expect_id(ConnectionStart::ID, |method| {
            let Method::ConnectionStart(start) = method else { unreachable!() };
            let Some(Value::Table(capabilities)) = start.server_properties.find("capabilities") else {
                panic!("capabilities is a table")
            };
            for name in [
                "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
                "connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos",
                "direct_reply_to",
            ] {
                assert_eq!(capabilities.find(name), Some(Value::Bool(true)), "{name}");
            }
        });
    }

    s2_2_start_says_product_and_version(t) {
        let t = &t.with(|settings| {
            settings.advertise.product = "RabbitMQ".into();
            settings.advertise.version = "4.2.1".into();
        });
        t.connect().raw(&OURS).expect_id(ConnectionStart::ID, |method| {
            let Method::ConnectionStart(start) = method else { unreachable!() };
            assert_eq!(start.server_properties.find("product"), Some(s("RabbitMQ")));
            assert_eq!(start.server_properties.find("version"), Some(s("4.2.1")));
            for key in ["cluster_name", "copyright", "information", "platform"] {
                assert!(matches!(start.server_properties.find(key), Some(Value::LongStr(_))), "{key}");
            }
        });
    }

    s2_2_server_properties_are_sorted_by_key(t) {
        t.connect().raw(&OURS).expect_id(ConnectionStart::ID, |method| {
            let Method::ConnectionStart(start) = method else { unreachable!() };
            let keys: Vec<&[u8]> = start.server_properties.iter().map(|(key, _)| key).collect();
            assert!(keys.is_sorted(), "{keys:?}");
        });
    }

    s2_3_a_large_start_ok_is_accepted(t) {
        let a = t.connect();
        let long = "p".repeat(7_000);
        a.start().send(ConnectionStartOk {
            client_properties: table(&[("platform", s(&long))]),
            mechanism: "PLAIN",
            response: LongStr(b"\0guest\0guest"),
            locale: "en_US",
        });
        a.tune();
    }

    s2_4_plain_logs_in(t) {
        t.connect().start().start_ok(&[], "PLAIN", b"\0guest\0guest").tune();
        t.connect().start().start_ok(&[], "PLAIN", b"\0alice\0alice-secret").tune();
    }

    s2_4_amqplain_logs_in(t) {
        let response = amqplain(&[("LOGIN", "guest"), ("PASSWORD", "guest")]);
        t.connect().start().start_ok(&[], "AMQPLAIN", &response).tune();
        let response = amqplain(&[("PASSWORD", "guest"), ("x", "y"), ("LOGIN", "guest")]);
        t.connect().start().start_ok(&[], "AMQPLAIN", &response).tune();
    }

    s2_4_anonymous_logs_in(t) {
        t.connect().start().start_ok(&[], "ANONYMOUS", b"anything").tune();
        t.connect().start().start_ok(&[], "ANONYMOUS", b"").tune();
    }

    s2_4_anonymous_without_a_user_is_refused(t) {
        let t = &t.with(|settings| settings.anonymous_login_user = None);
        let a = t.connect();
        a.start().start_ok(LOGIN.capabilities, "ANONYMOUS", b"");
        t.advance(3_100);
        a.careless().gone_or_closed();
    }

    s2_4_anonymous_from_elsewhere_is_still_bound_to_loopback(t) {
        let a = t.connect_from(0, [192, 0, 2, 1]);
        a.start().start_ok(LOGIN.capabilities, "ANONYMOUS", b"");
        a.dies_like(403, "Login was refused using authentication mechanism ANONYMOUS.", MethodId::NONE);
    }

    s2_4_the_challenge_mechanism_logs_in(t) {
        let a = with_challenge(t).connect();
        a.start().start_ok(&[], "RABBIT-CR-DEMO", b"guest");
        a.expect(ConnectionSecure { challenge: LongStr(b"Please tell me your password") });
        a.send(ConnectionSecureOk { response: LongStr(b"My password is guest") }).tune();
    }

    s2_4_a_wrong_answer_to_the_challenge_is_refused(t) {
        let a = with_challenge(t).connect();
        a.start().start_ok(LOGIN.capabilities, "RABBIT-CR-DEMO", b"guest");
        a.expect_id(ConnectionSecure::ID, |_| ());
        a.send(ConnectionSecureOk { response: LongStr(b"My password is wrong") });
        a.dies_like(403, "Login was refused using authentication mechanism RABBIT-CR-DEMO.", MethodId::NONE);
    }

    s2_4_malformed_plain_is_cut_in_silence(t) {
        for response in [&b""[..], b"guest", b"guest\0guest", b"\0guest", b"\0a\0b\0c"] {
            cut_in_silence(t, LOGIN.capabilities, "PLAIN", response);
        }
    }

    s2_4_malformed_amqplain_is_cut_in_silence(t) {
        cut_in_silence(t, LOGIN.capabilities, "AMQPLAIN", &amqplain(&[("LOGIN", "guest")]));
        cut_in_silence(t, LOGIN.capabilities, "AMQPLAIN", &amqplain(&[("PASSWORD", "guest")]));
        cut_in_silence(t, LOGIN.capabilities, "AMQPLAIN", b"");
        cut_in_silence(t, LOGIN.capabilities, "AMQPLAIN", b"\xff\xff\xff");
    }

    s2_4_an_unknown_mechanism_is_cut_in_silence(t) {
        cut_in_silence(t, LOGIN.capabilities, "KERBEROS", b"\0guest\0guest");
        cut_in_silence(t, LOGIN.capabilities, "plain", b"\0guest\0guest");
    }

    s2_4_a_mechanism_that_is_not_offered_is_cut_in_silence(t) {
        cut_in_silence(t, LOGIN.capabilities, "RABBIT-CR-DEMO", b"guest");
    }

    s2_4_a_wrong_password_is_refused(t) {
        let a = t.connect();
        a.start().plain(Login { password: "wrong", ..LOGIN }).dies(403, REFUSED, MethodId::NONE);
    }

    s2_4_an_unknown_user_is_refused_alike(t) {
        let a = t.connect();
        a.start().plain(Login { user: "nobody", ..LOGIN }).dies(403, REFUSED, MethodId::NONE);
    }

    s2_4_a_blank_password_is_refused(t) {
        let t = &t.with(|settings| settings.users[0].password = String::new());
        let a = t.connect();
        a.start().plain(Login { password: "", ..LOGIN }).dies(403, REFUSED, MethodId::NONE);
    }

    s2_4_a_loopback_user_from_elsewhere_is_refused(t) {
        let a = t.connect_from(0, [192, 0, 2, 1]);
        a.start().plain(LOGIN).dies(403, REFUSED, MethodId::NONE);
        let b = t.connect_from(0, [192, 0, 2, 1]);
        b.start().plain(Login { user: "alice", password: "alice-secret", ..LOGIN }).tune();
    }

    s2_4_a_refused_log_in_names_its_mechanism(t) {
        let a = t.connect();
        let response = amqplain(&[("LOGIN", "guest"), ("PASSWORD", "wrong")]);
        a.start().start_ok(LOGIN.capabilities, "AMQPLAIN", &response);
        a.dies_like(403, "Login was refused using authentication mechanism AMQPLAIN.", MethodId::NONE);
    }

    s2_4_a_refusal_without_close_ok_ends_after_3_s(t) {
        let a = t.connect();
        a.start().plain(Login { password: "wrong", ..LOGIN });
        a.expect_id(ConnectionClose::ID, |_| ());
        t.advance(3_100);
        a.gone();
    }

    s2_4_without_the_capability_a_refusal_is_silent(t) {
        cut_in_silence(t, &[], "PLAIN", b"\0guest\0wrong");
        cut_in_silence(t, &["consumer_cancel_notify"], "PLAIN", b"\0nobody\0guest");
    }

    s2_5_tune_offers_the_configured_values(t) {
        let a = t.connect();
        a.start().plain(LOGIN).expect(ConnectionTune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 });
        let t = &t.with(|settings| {
            settings.channel_max = 7;
            settings.frame_max = 8192;
            settings.heartbeat_s = 5;
        });
        let a = t.connect();
        a.start().plain(LOGIN).expect(ConnectionTune { channel_max: 7, frame_max: 8192, heartbeat: 5 });
    }

    s2_5_lower_values_win(t) {
        tune_ok_works(t, 1, 131_072, 0);
        tune_ok_works(t, 2047, 8192, 0);
        tune_ok_works(t, 2047, 131_072, 65_535);
    }

    s2_5_frame_max_4096_is_accepted(t) {
        tune_ok_works(t, 2047, 4096, 0);
    }

    s2_5_channel_max_0_is_cut_in_silence(t) {
        tune_ok_fails(t, 0, 131_072);
    }

    s2_5_a_higher_channel_max_is_cut_in_silence(t) {
        tune_ok_fails(t, 2048, 131_072);
        tune_ok_fails(t, 65_535, 131_072);
    }

    s2_5_frame_max_0_is_cut_in_silence(t) {
        tune_ok_fails(t, 2047, 0);
    }

    s2_5_a_higher_frame_max_is_cut_in_silence(t) {
        tune_ok_fails(t, 2047, 131_073);
        tune_ok_fails(t, 2047, u32::MAX);
    }

    s2_5_a_tiny_frame_max_is_cut_in_silence(t) {
        tune_ok_fails(t, 2047, 1);
        tune_ok_fails(t, 2047, 4095);
    }

    s2_5_a_server_without_limits_takes_any_value(t) {
        let t = &t.with(|settings| {
            settings.channel_max = 0;
            settings.frame_max = 0;
        });
        tune_ok_works(t, 0, 0, 0);
        tune_ok_works(t, 65_535, 1 << 24, 0);
        tune_ok_works(t, 1, 4096, 0);
    }

    s2_6_open_ok_has_empty_known_hosts(t) {
        tuned(t).tune_ok(LOGIN).open_vhost("/").expect(ConnectionOpenOk { reserved_1: "" });
    }

    s2_6_capabilities_and_insist_are_ignored(t) {
        let a = tuned(t);
        a.tune_ok(LOGIN).send(ConnectionOpen { virtual_host: "/", reserved_1: "caps", reserved_2: true });
        a.expect(ConnectionOpenOk { reserved_1: "" });
    }

    s2_6_a_missing_vhost(t) {
        let a = tuned(t);
        a.tune_ok(LOGIN).open_vhost("nope").dies(530, "vhost nope not found", ConnectionOpen::ID);
    }

    s2_6_an_empty_vhost_name_is_missing_too(t) {
        let a = tuned(t);
        a.tune_ok(LOGIN).open_vhost("").dies(530, "vhost  not found", ConnectionOpen::ID);
    }

    s2_6_vhosts_are_worlds_apart(t) {
        let (a, b) = (t.peer(), t.login(Login { vhost: "other", ..LOGIN }));
        a.queue(declare("q")).exchange("x", "direct").fill("q", &["1"]);
        b.send(passive("q")).closed(404, "no queue 'q' in vhost 'other'", QueueDeclare::ID).reopen();
        b.publish(to("x", "k")).closed(404, "no exchange 'x' in vhost 'other'", BasicPublish::ID).reopen();
        b.queue(durable("q")).counts("q", 0, 0).fill("q", &["2"]).holds("q", &["2"]);
        a.holds("q", &["1"]);
    }

    s2_6_every_vhost_has_the_predeclared_exchanges(t) {
        let a = t.login(Login { vhost: "other", ..LOGIN });
        a.has_exchange("amq.direct").has_exchange("amq.rabbitmq.trace");
    }

    s2_7_the_broker_sends_heartbeats_when_idle(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        for _ in 0..5 {
            // It looks every half interval whether anything was sent since it looked last.
            t.advance(10_100);
            a.expect_heartbeat();
            while a.on(0).waiting() > 0 {
                a.expect_heartbeat();
            }
            a.heartbeat();
        }
    }

    s2_7_what_the_broker_sends_counts_as_a_heartbeat(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        a.queue(declare("q"));
        for _ in 0..10 {
            t.advance(2_000);
            a.counts("q", 0, 0);
        }
        assert!(a.on(0).waiting() <= 1);
        a.careless();
    }

    s2_7_no_heartbeats_with_0(t) {
        let a = t.login(Login { heartbeat: 0, ..LOGIN });
        t.advance(3_600_000);
        a.silent().queue(declare("q"));
    }

    s2_7_the_clients_value_wins(t) {
        let a = t.login(Login { heartbeat: 600, ..LOGIN });
        t.advance(299_000);
        a.silent();
        t.advance(302_000);
        a.expect_heartbeat();
    }

    s2_7_a_silent_peer_is_cut_without_close(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        t.advance(19_000);
        a.still_open();
        t.advance(12_000);
        while a.on(0).waiting() > 0 {
            a.expect_heartbeat();
        }
        a.gone();
    }

    s2_7_heartbeats_keep_the_connection(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        for _ in 0..20 {
            t.advance(9_000);
            a.heartbeat();
        }
        a.careless().still_open();
    }

    s2_7_any_bytes_keep_the_connection(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        a.queue(declare("q"));
        let big = vec![b'x'; 20];
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.content_header(20, &persistent()).raw(&[3, 0, 1, 0, 0, 0, 20]);
        for byte in big {
            t.advance(9_000);
            a.raw(&[byte]);
        }
        a.raw(&[0xCE]).careless();
        a.counts("q", 1, 0);
    }

    s2_7_a_silent_peer_gives_back_what_it_held(t) {
        let (a, b) = (t.login(Login { heartbeat: 10, ..LOGIN }), t.peer());
        a.queue(declare("q")).queue(exclusive("mine")).consume("q", "c").fill("q", &["x"]).delivered("c", 1, "x");
        t.advance(31_000);
        a.careless();
        b.counts("q", 1, 0).no_queue("mine");
    }

    s2_7_a_heartbeat_with_a_payload(t) {
        let a = t.peer();
        a.on(0).frame(8, b"x").dies_of_framing(501, "type 8, all octets = <<\"x\">>: unknown_frame", MethodId::NONE);
    }

    s2_7_a_heartbeat_on_a_channel(t) {
        let a = t.peer();
        a.frame(8, b"").dies(505, "type 8, all octets = <<>>", MethodId::NONE);
    }

    s2_7_a_heartbeat_amid_content_is_no_interruption(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.heartbeat().content_header(2, &persistent()).heartbeat().body(b"a").heartbeat().body(b"b");
        a.holds("q", &["ab"]);
    }

    s2_8_close_is_answered(t) {
        t.peer().on(0).send(connection_close()).expect(ConnectionCloseOk {});
    }

    s2_8_after_close_ok_the_client_closes_the_socket(t) {
        let a = t.peer().on(0);
        a.send(connection_close()).expect(ConnectionCloseOk {});
        a.still_open();
        t.advance(31_000);
        a.gone();
    }

    s2_8_exclusive_queues_are_gone_at_close_ok(t) {
        let (a, b) = (t.peer(), t.peer());
        for name in ["one", "two", "three"] {
            a.queue(exclusive(name));
        }
        a.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        b.no_queue("one").no_queue("two").no_queue("three");
    }

    s2_8_unacked_messages_are_ready_at_close_ok(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]);
        a.get("q");
        a.open(2).get("q");
        a.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        b.counts("q", 3, 0).holds("q", &["1", "2", "3"]);
    }

    s2_8_consumers_are_gone_at_close_ok(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.counts("q", 0, 1);
        a.quit();
        b.counts("q", 0, 0);
    }

    s2_8_frames_after_close_are_dropped(t) {
        let (a, b) = (t.peer(), t.peer());
        a.on(0).send(connection_close());
        a.send(declare("q"));
        a.on(0).expect(ConnectionCloseOk {}).silent();
        b.no_queue("q");
    }

    s2_8_a_publish_before_close_is_kept(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).on(0).send(connection_close()).expect(ConnectionCloseOk {});
        b.holds("q", &["1", "2"]);
    }

    s2_8_without_close_ok_the_socket_goes_after_30_s(t) {
        let a = t.peer();
        a.send(BasicRecover { requeue: false });
        a.on(0).expect_id(ConnectionClose::ID, |_| ());
        t.advance(29_000);
        a.still_open();
        t.advance(1_500);
        a.gone();
    }

    s2_8_without_close_ok_the_socket_goes_after_the_heartbeat(t) {
        let a = t.login(Login { heartbeat: 5, ..LOGIN });
        a.send(BasicRecover { requeue: false });
        a.on(0).expect_id(ConnectionClose::ID, |_| ());
        t.advance(5_500);
        a.careless().gone_or_closed();
    }

    s2_8_a_lost_socket_cleans_up_as_a_close_does(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.queue(exclusive("mine")).queue(auto_delete("auto")).consume("auto", "a").consume("q", "c");
        a.fill("q", &["x"]).delivered("c", 1, "x");
        a.hang_up();
        b.counts("q", 1, 0).no_queue("mine").no_queue("auto");
    }

    s2_8_a_publish_cut_in_the_middle_is_dropped(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["whole"]);
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.content_header(10, &persistent()).body(b"12345").hang_up();
        b.holds("q", &["whole"]);
    }

    s2_8_stopping_says_320(t) {
        let a = t.peer();
        t.stop();
        let text = "broker forced connection closure with reason 'shutdown'";
        a.dies(320, text, MethodId::NONE);
        assert!(t.is_stopped());
    }

    s2_8_stopping_does_not_wait_for_ever(t) {
        let a = t.peer();
        t.stop();
        a.on(0).expect_id(ConnectionClose::ID, |_| ());
        t.advance(31_000);
        a.gone();
        assert!(t.is_stopped());
    }

    s2_8_closing_with_channels_open_needs_no_channel_close(t) {
        let a = t.peer();
        a.open(2);
        a.open(3);
        a.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        a.silent();
        a.on(2).silent();
    }

    s2_9_update_secret_is_answered(t) {
        let a = t.peer();
        a.on(0).send(ConnectionUpdateSecret { new_secret: LongStr(b"guest"), reason: "renewal" });
        a.on(0).expect(ConnectionUpdateSecretOk {});
        a.queue(declare("q"));
    }
}
