//! Section 9: publishing, and the order in which a publish is checked.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login};
use crate::say::*;

fn expiring(text: &str) -> Properties<'_> {
    Properties { expiration: Some(text), ..Properties::default() }
}

/// A publish with this expiration is refused.
fn bad_expiration(t: &Net, text: &str, why: &str) {
    let a = t.peer();
    a.queue(declare("q")).publish(Publish { properties: expiring(text), ..to("", "q") });
    a.closed(406, &format!("invalid expiration '{text}': {why}"), BasicPublish::ID).reopen();
    a.counts("q", 0, 0);
}

fn user_id(name: &str) -> Properties<'_> {
    Properties { user_id: Some(name), ..Properties::default() }
}

const SMALL: u64 = 100;

/// Shards that take messages of up to 100 bytes.
fn small(t: &Net) -> Net {
    t.with(|settings| settings.limits.message_bytes_max = SMALL)
}

scripts! {
    s9_1_a_message_of_the_largest_size(t) {
        let a = small(t).peer();
        let body = "b".repeat(SMALL as usize);
        a.queue(declare("q")).fill("q", &[&body]).holds("q", &[&body]);
    }

    s9_1_a_message_too_large(t) {
        let a = small(t).peer();
        a.queue(declare("q")).fill("q", &[&"b".repeat(101)]);
        a.closed(406, "message size 101 is larger than configured max size 100", BasicPublish::ID);
        a.reopen().counts("q", 0, 0);
    }

    s9_1_a_message_too_large_is_refused_before_its_body(t) {
        let a = t.peer();
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.content_header((16 << 20) + 1, &Properties::default()).body(b"a part");
        // Before or after the body is a question of memory only.
        if a.waiting() > 0 {
            let text = "message size 16777217 is larger than configured max size 16777216";
            a.closed(406, text, BasicPublish::ID);
        }
    }

    s9_1_the_size_is_checked_before_the_exchange(t) {
        let a = small(t).peer();
        a.publish(Publish { body: &"b".repeat(101), ..to("nope", "k") });
        a.closed(406, "message size 101 is larger than configured max size 100", BasicPublish::ID);
    }

    s9_3_a_missing_exchange(t) {
        let a = t.peer();
        a.publish(to("nope", "k")).closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID);
    }

    s9_3_a_missing_exchange_with_mandatory(t) {
        let a = t.peer();
        a.confirm_select().publish(mandatory("nope", "k"));
        a.closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID).silent();
    }

    s9_3_a_missing_exchange_before_a_bad_expiration(t) {
        let a = t.peer();
        a.publish(Publish { properties: expiring("x"), ..to("nope", "k") });
        a.closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID);
    }

    s9_4_an_internal_exchange(t) {
        let a = t.peer();
        a.send(ExchangeDeclare { internal: true, ..exchange("x", "fanout") }).expect(ExchangeDeclareOk {});
        a.publish(to("x", "")).closed(403, "cannot publish to internal exchange 'x' in vhost '/'", BasicPublish::ID);
    }

    s9_4_the_trace_exchange_is_internal(t) {
        let a = t.peer();
        let text = "cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'";
        a.publish(to("amq.rabbitmq.trace", "")).closed(403, text, BasicPublish::ID);
    }

    s9_4_internal_exchanges_are_routed_through(t) {
        let a = t.peer();
        a.send(ExchangeDeclare { internal: true, ..exchange("x", "fanout") }).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "x", "").e_bind("x", "amq.direct", "k");
        a.publish(to("amq.direct", "k")).holds("q", &["m"]);
    }

    s9_5_immediate_is_not_implemented(t) {
        let a = t.peer();
        a.publish(Publish { immediate: true, ..to("", "q") }).dies(540, "immediate=true", BasicPublish::ID);
    }

    s9_5_immediate_comes_before_everything_else(t) {
        let a = t.peer();
        a.publish(Publish { immediate: true, properties: expiring("x"), ..to("nope", "q") });
        a.dies(540, "immediate=true", BasicPublish::ID);
    }

    s9_6_reply_to_without_a_reply_consumer(t) {
        let a = t.peer();
        let properties = Properties { reply_to: Some("amq.rabbitmq.reply-to"), ..Properties::default() };
        a.publish(Publish { properties, ..to("", "q") });
        a.closed(406, "fast reply consumer does not exist", BasicPublish::ID);
    }

    s9_6_any_other_reply_to_is_opaque(t) {
        let a = t.peer();
        a.queue(declare("q"));
        for reply_to in ["", "anything", "amq.rabbitmq.reply-t", "amq.gen-nope"] {
            let properties = Properties { reply_to: Some(reply_to), ..Properties::default() };
            a.publish(Publish { properties, ..to("", "q") });
            assert_eq!(a.get("q").properties().reply_to, Some(reply_to));
        }
    }

    s9_7_expirations_that_are_numbers(t) {
        let a = t.peer();
        a.queue(declare("q"));
        for text in ["1", "1000", "+5", "0005", "315360000000"] {
            a.publish(Publish { properties: expiring(text), ..to("", "q") });
            assert_eq!(a.get("q").properties().expiration, Some(text));
        }
    }

    s9_7_an_expiration_of_zero_is_accepted(t) {
        let a = t.peer();
        a.queue(declare("q")).confirm_select().publish(Publish { properties: expiring("0"), ..to("", "q") });
        a.confirmed(&[1]);
    }

    s9_7_expirations_that_are_no_integers(t) {
        for text in ["", " 5", "foo", "-", "+", "x5"] {
            bad_expiration(t, text, "no_integer");
        }
    }

    s9_7_expirations_with_something_behind(t) {
        bad_expiration(t, "5x", "{leftover_string,\"x\"}");
        bad_expiration(t, "5 ", "{leftover_string,\" \"}");
        bad_expiration(t, "10.5", "{leftover_string,\".5\"}");
    }

    s9_7_negative_expirations(t) {
        bad_expiration(t, "-1", "{value_negative,-1}");
        bad_expiration(t, "-10000", "{value_negative,-10000}");
    }

    s9_7_expirations_above_ten_years(t) {
        bad_expiration(t, "315360000001", "{value_too_large,315360000001}");
    }

    s9_7_expirations_beyond_64_bits(t) {
        let text = "99999999999999999999999999";
        bad_expiration(t, text, &format!("{{value_too_large,{text}}}"));
    }

    s9_8_a_cc_header_that_is_no_array(t) {
        for key in ["CC", "BCC"] {
            let a = t.peer();
            a.publish(Publish { properties: with_headers(&[(key, s("q"))]), ..to("", "q") });
            let text = format!("invalid message: {{unacceptable_type_in_header,\"{key}\",longstr}}");
            a.closed(406, &text, BasicPublish::ID);
        }
    }

    s9_8_a_cc_header_with_something_else_than_strings(t) {
        let a = t.peer();
        let list = Value::Array(array(&[s("q"), int(1)]));
        a.publish(Publish { properties: with_headers(&[("CC", list)]), ..to("", "q") });
        a.closed_like(406, "invalid message: ", BasicPublish::ID);
    }

    s9_8_an_empty_cc_header_is_fine(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.publish(Publish { properties: with_headers(&[("CC", strings(&[]))]), ..to("", "q") }).holds("q", &["m"]);
    }

    s9_8_cc_is_case_sensitive(t) {
        let a = t.peer();
        a.queue(declare("q")).publish(Publish { properties: with_headers(&[("cc", s("x"))]), ..to("", "q") });
        a.holds("q", &["m"]);
    }

    s9_10_a_user_id_must_be_the_users(t) {
        let a = t.peer();
        a.queue(declare("q")).publish(Publish { properties: user_id("guest"), ..to("", "q") });
        assert_eq!(a.get("q").properties().user_id, Some("guest"));
        a.publish(Publish { properties: user_id("bob"), ..to("", "q") });
        let text = "user_id property set to 'bob' but authenticated user was 'guest'";
        a.closed(406, text, BasicPublish::ID);
    }

    s9_10_a_user_id_of_another_user_that_exists(t) {
        let a = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        a.publish(Publish { properties: user_id("guest"), ..to("", "q") });
        let text = "user_id property set to 'guest' but authenticated user was 'alice'";
        a.closed(406, text, BasicPublish::ID);
    }

    s9_10_an_impersonator_may_set_any_user_id(t) {
        let a = t.login(Login { user: "mallory", password: "mallory-secret", ..LOGIN });
        a.queue(declare("q")).publish(Publish { properties: user_id("bob"), ..to("", "q") });
        assert_eq!(a.get("q").properties().user_id, Some("bob"));
    }

    s9_the_expiration_is_checked_before_the_headers(t) {
        let a = t.peer();
        let properties = Properties { expiration: Some("x"), ..with_headers(&[("CC", s("q"))]) };
        a.publish(Publish { properties, ..to("", "q") });
        a.closed(406, "invalid expiration 'x': no_integer", BasicPublish::ID);
    }

    s9_the_headers_are_checked_before_the_user_id(t) {
        let a = t.peer();
        let properties = Properties { user_id: Some("bob"), ..with_headers(&[("CC", s("q"))]) };
        a.publish(Publish { properties, ..to("", "q") });
        let text = "invalid message: {unacceptable_type_in_header,\"CC\",longstr}";
        a.closed(406, text, BasicPublish::ID);
    }

    s9_unroutable_messages_are_checked_all_the_same(t) {
        let a = t.peer();
        a.publish(Publish { properties: expiring("x"), ..to("", "nowhere") });
        a.closed(406, "invalid expiration 'x': no_integer", BasicPublish::ID);
    }

    s9_all_properties_come_through_unchanged(t) {
        let a = t.peer();
        a.queue(declare("q"));
        let properties = Properties {
            content_type: Some("text/plain"),
            content_encoding: Some("utf-8"),
            headers: Some(table(&[("a", int(1))])),
            delivery_mode: Some(1),
            priority: Some(200),
            correlation_id: Some("correlation"),
            reply_to: Some("reply"),
            expiration: Some("60000"),
            message_id: Some("id"),
            timestamp: Some(u64::MAX),
            kind: Some("type"),
            user_id: Some("guest"),
            app_id: Some("app"),
            cluster_id: Some("cluster"),
        };
        a.publish(Publish { properties, ..to("", "q") });
        let mut raw = vec![];
        properties.encode(&mut raw);
        assert_eq!(a.get("q").properties, raw);
    }

    s9_each_property_alone_comes_through(t) {
        let a = t.peer();
        a.queue(declare("q")).consume_no_ack("q", "c");
        let none = Properties::default();
        for properties in [
            none,
            Properties { content_type: Some(""), ..none },
            Properties { headers: Some(table(&[])), ..none },
            Properties { delivery_mode: Some(0), ..none },
            Properties { delivery_mode: Some(255), ..none },
            Properties { priority: Some(0), ..none },
            Properties { timestamp: Some(0), ..none },
            Properties { cluster_id: Some("c"), ..none },
            Properties { kind: Some(""), ..none },
        ] {
            a.publish(Publish { properties, ..to("", "q") });
            let mut raw = vec![];
            properties.encode(&mut raw);
            assert_eq!(a.delivery().properties, raw, "{properties:?}");
        }
    }

    s9_publishes_behind_a_failed_one_are_dropped(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).publish(to("nope", "")).fill("q", &["2", "3"]);
        a.closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID);
        b.holds("q", &["1"]);
    }

    s9_bodies_are_opaque(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let body: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        a.publish_bytes(to("", "q"), &body);
        assert_eq!(a.get("q").body, body);
    }

    s9_a_publish_needs_no_queue(t) {
        let a = t.peer();
        a.publish(to("", "nowhere")).publish(to("amq.fanout", "")).silent().queue(declare("q"));
    }

    s9_messages_of_one_channel_keep_their_order(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        let bodies: Vec<String> = (0..200).map(|i| i.to_string()).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        a.fill("q", &bodies);
        b.holds("q", &bodies);
    }
}
