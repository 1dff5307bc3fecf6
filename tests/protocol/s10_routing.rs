//! Section 10: routing.

use leveret::amqp::method::*;
use leveret::amqp::{Table, Value};

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// Whether a message with `key` reaches a queue bound with `pattern` to amq.topic.
fn topic_matches(t: &Net, pattern: &str, keys: &[(&str, bool)]) {
    let (a, b) = (t.peer(), t.peer());
    a.queue(declare("q")).bind("q", "amq.topic", pattern);
    for (key, _) in keys {
        b.publish(Publish { body: key, ..to("amq.topic", key) });
    }
    let wanted: Vec<&str> = keys.iter().filter(|(_, matches)| *matches).map(|(key, _)| *key).collect();
    a.holds("q", &wanted).send(delete("q")).expect(delete_ok(0));
}

/// Whether messages with these headers reach a queue bound with these arguments to amq.headers.
fn headers_match(t: &Net, arguments: &[(&str, Value<'_>)], messages: &[(&[(&str, Value<'_>)], bool)]) {
    let (a, b) = (t.peer(), t.peer());
    a.queue(declare("q")).bind_with("q", "amq.headers", "ignored", table(arguments));
    for (headers, matches) in messages {
        b.publish(Publish { properties: with_headers(headers), ..to("amq.headers", "") });
        let wanted: &[&str] = if *matches { &["m"] } else { &[] };
        println!("{arguments:?} {headers:?}");
        a.holds("q", wanted);
    }
    a.send(delete("q")).expect(delete_ok(0));
}

fn copied(key: &str, to: &[&str]) -> Table<'static> {
    table(&[(key, strings(to))])
}

/// Exchanges with an alternate: x (direct) falls back to `alternate`.
fn with_alternate(a: &Peer, name: &str, kind: &str, alternate: &str) {
    a.send(exchange_with(name, kind, &[("alternate-exchange", s(alternate))])).expect(ExchangeDeclareOk {});
}

fn cc(exchange: &'static str, key: &'static str, header: &str, keys: &[&str]) -> Publish<'static> {
    let mut publish = to(exchange, key);
    publish.properties.headers = Some(copied(header, keys));
    publish
}

scripts! {
    s10_default_routes_by_queue_name(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.fill("q", &["1"]).fill("r", &["2"]).fill("Q", &["3"]).holds("q", &["1"]).holds("r", &["2"]);
    }

    s10_direct_routes_by_exact_key(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.bind("q", "amq.direct", "k").bind("r", "amq.direct", "K").bind("r", "amq.direct", "");
        for key in ["k", "K", "", "k.k", "*", "#"] {
            a.publish(Publish { body: key, ..to("amq.direct", key) });
        }
        a.holds("q", &["k"]).holds("r", &["K", ""]);
    }

    s10_direct_reaches_all_queues_bound_with_the_key(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "q3", "q4"]);
        for name in ["q1", "q2", "q3"] {
            a.bind(name, "amq.direct", "k");
        }
        a.publish(to("amq.direct", "k")).holds("q1", &["m"]).holds("q2", &["m"]).holds("q3", &["m"]).holds("q4", &[]);
    }

    s10_fanout_ignores_the_key(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "q3", "q4", "q5"]);
        for name in ["q1", "q2", "q3", "q4"] {
            a.bind(name, "amq.fanout", name);
        }
        a.publish(to("amq.fanout", "anything"));
        for name in ["q1", "q2", "q3", "q4"] {
            a.holds(name, &["m"]);
        }
        a.holds("q5", &[]);
    }

    s10_one_copy_however_many_bindings_match(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind("q", "amq.fanout", "1").bind("q", "amq.fanout", "2").publish(to("amq.fanout", "")).holds("q", &["m"]);
        a.bind("q", "amq.topic", "#").bind("q", "amq.topic", "a.*").bind("q", "amq.topic", "a.b");
        a.publish(to("amq.topic", "a.b")).holds("q", &["m"]);
    }

    s10_one_copy_by_every_path(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.exchange("x", "fanout").exchange("y", "fanout").exchange("z", "fanout");
        a.e_bind("y", "x", "").e_bind("z", "x", "").bind("q", "y", "").bind("q", "z", "").bind("q", "x", "");
        a.publish(to("x", "")).holds("q", &["m"]);
    }

    s10_cc_adds_routing_keys(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "q3"]);
        a.publish(cc("", "q1", "CC", &["q2", "q3"]));
        a.holds("q1", &["m"]).holds("q2", &["m"]).holds("q3", &["m"]);
    }

    s10_cc_is_kept(t) {
        let a = t.peer();
        t.queues(&["q1", "q2"]);
        a.publish(cc("", "q1", "CC", &["q2"]));
        for name in ["q1", "q2"] {
            let message = a.get(name);
            assert_eq!(message.header("CC"), Some(strings(&["q2"])));
            assert_eq!(message.routing_key, "q1");
        }
    }

    s10_bcc_adds_routing_keys_and_is_removed(t) {
        let a = t.peer();
        t.queues(&["q1", "q2"]);
        let headers = table(&[("a", int(1)), ("BCC", strings(&["q2"])), ("b", int(2))]);
        let mut publish = to("", "q1");
        publish.properties.headers = Some(headers);
        publish.properties.message_id = Some("id");
        a.publish(publish);
        for name in ["q1", "q2"] {
            let message = a.get(name);
            assert_eq!(message.header("BCC"), None);
            assert_eq!((message.header("a"), message.header("b")), (Some(int(1)), Some(int(2))));
            assert_eq!(message.properties().message_id, Some("id"));
        }
    }

    s10_cc_and_bcc_together(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "q3"]);
        let mut publish = to("", "q1");
        publish.properties = with_headers(&[("CC", strings(&["q2"])), ("BCC", strings(&["q3"]))]);
        a.publish(publish);
        let third = a.get("q3");
        assert_eq!((third.header("CC"), third.header("BCC")), (Some(strings(&["q2"])), None));
        a.holds("q1", &["m"]).holds("q2", &["m"]);
    }

    s10_one_copy_with_cc_naming_the_same_queue(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.publish(cc("", "q", "CC", &["q", "q"])).holds("q", &["m"]);
    }

    s10_cc_on_direct_and_topic_exchanges(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.bind("q", "amq.direct", "k2").bind("r", "amq.topic", "a.*");
        a.publish(cc("amq.direct", "k1", "CC", &["k2"])).publish(cc("amq.topic", "x", "BCC", &["y", "a.b"]));
        a.holds("q", &["m"]).holds("r", &["m"]);
    }

    s10_cc_alone_makes_a_message_routable(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let mut publish = cc("", "nowhere", "CC", &["q"]);
        publish.mandatory = true;
        a.confirm_select().publish(publish).confirmed(&[1]).silent().holds("q", &["m"]);
    }

    s10_exchange_to_exchange_keeps_the_original_exchange(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.exchange("x", "topic").exchange("y", "topic").exchange("z", "fanout");
        a.e_bind("y", "x", "a.#").e_bind("z", "y", "*.b").bind("q", "z", "").publish(to("x", "a.b")).publish(to("x", "a.c"));
        let message = a.get("q");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("x", "a.b"));
        a.empty("q");
    }

    s10_each_exchange_filters_by_its_own_type(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.exchange("x", "fanout").exchange("y", "direct").e_bind("y", "x", "ignored").bind("q", "y", "k");
        a.publish(to("x", "k")).publish(Publish { body: "no", ..to("x", "other") }).holds("q", &["m"]);
    }

    s10_a_long_chain_of_exchanges(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let names: Vec<String> = (0..50).map(|i| format!("x{i}")).collect();
        a.exchange("x0", "fanout");
        for pair in names.windows(2) {
            a.exchange(&pair[1], "fanout").e_bind(&pair[1], &pair[0], "");
        }
        a.bind("q", "x49", "").publish(to("x0", "")).holds("q", &["m"]);
    }

    s10_an_alternate_exchange_takes_what_does_not_match(t) {
        let a = t.peer();
        t.queues(&["q", "rest"]);
        with_alternate(&a, "x", "direct", "alt");
        a.exchange("alt", "fanout").bind("q", "x", "k").bind("rest", "alt", "");
        a.publish(to("x", "k")).publish(Publish { body: "other", ..to("x", "nope") });
        a.holds("q", &["m"]);
        let message = a.get("rest");
        assert_eq!((message.text(), message.exchange.as_str(), message.routing_key.as_str()), ("other", "x", "nope"));
    }

    s10_an_alternate_exchange_routes_by_key_and_headers(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        with_alternate(&a, "x", "direct", "alt");
        with_alternate(&a, "alt", "topic", "amq.headers");
        a.bind("q", "alt", "a.*").bind_with("r", "amq.headers", "", table(&[("h", int(1))]));
        a.publish(to("x", "a.b"));
        a.publish(Publish { properties: with_headers(&[("h", int(1))]), ..to("x", "none") });
        a.holds("q", &["m"]).holds("r", &["m"]);
    }

    s10_alternate_exchanges_may_form_a_cycle(t) {
        let a = t.peer();
        with_alternate(&a, "x", "direct", "y");
        with_alternate(&a, "y", "direct", "x");
        with_alternate(&a, "z", "direct", "z");
        a.confirm_select().publish(mandatory("x", "k")).returned("x", "k", "m");
        a.confirmed(&[1]).publish(mandatory("z", "k")).returned("z", "k", "m");
        a.confirmed(&[2]);
    }

    s10_a_missing_alternate_exchange_is_unroutable(t) {
        let a = t.peer();
        with_alternate(&a, "x", "direct", "nowhere");
        a.publish(mandatory("x", "k")).returned("x", "k", "m");
        a.publish(to("x", "k")).silent();
    }

    s10_an_alternate_exchange_declared_later_takes_effect(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        with_alternate(&a, "x", "direct", "alt");
        b.publish(to("x", "k"));
        a.exchange("alt", "fanout").bind("q", "alt", "");
        b.publish(to("x", "k")).holds("q", &["m"]);
    }

    s10_mandatory_with_an_alternate_that_routes_is_not_returned(t) {
        let a = t.peer();
        t.queues(&["q"]);
        with_alternate(&a, "x", "direct", "amq.fanout");
        a.bind("q", "amq.fanout", "").publish(mandatory("x", "k")).silent().holds("q", &["m"]);
    }

    s10_a_bound_exchange_that_leads_nowhere_suppresses_the_alternate(t) {
        let a = t.peer();
        t.queues(&["rest"]);
        with_alternate(&a, "x", "fanout", "alt");
        a.exchange("alt", "fanout").exchange("void", "fanout").bind("rest", "alt", "").e_bind("void", "x", "");
        a.publish(to("x", "")).holds("rest", &[]);
        a.publish(mandatory("x", "k")).returned("x", "k", "m");
    }

    s10_the_alternate_belongs_to_each_exchange_on_the_way(t) {
        let a = t.peer();
        t.queues(&["q", "rest"]);
        with_alternate(&a, "y", "direct", "alt");
        a.exchange("alt", "fanout").exchange("x", "fanout").e_bind("y", "x", "").bind("q", "x", "").bind("rest", "alt", "");
        a.publish(to("x", "nope")).holds("q", &["m"]).holds("rest", &["m"]);
    }

    s10_topic_the_references_table(t) {
        let keys = ["", "a", ".", "a.", "a.a", "a.b.a"];
        for (pattern, row) in [
            ("#", "111111"), ("*", "010000"), ("*.*", "001110"), ("a.#", "010111"),
            ("#.a", "010011"), ("a.*", "000110"), ("a.#.a", "000011"),
        ] {
            let keys: Vec<(&str, bool)> = keys.into_iter().zip(row.bytes().map(|c| c == b'1')).collect();
            topic_matches(t, pattern, &keys);
        }
    }

    s10_topic_the_empty_pattern_matches_the_empty_key(t) {
        topic_matches(t, "", &[("", true), ("a", false), (".", false)]);
    }

    s10_topic_wildcards_within_a_word_are_literal(t) {
        topic_matches(t, "a*", &[("a*", true), ("ab", false), ("a", false)]);
        topic_matches(t, "a#.b", &[("a#.b", true), ("a.b", false), ("ax.b", false)]);
        topic_matches(t, "**", &[("**", true), ("a", false)]);
        topic_matches(t, "##", &[("##", true), ("a", false)]);
    }

    s10_topic_wildcards_in_the_key_are_literal(t) {
        topic_matches(t, "a.b", &[("a.*", false), ("#", false), ("a.b", true)]);
        topic_matches(t, "a.*", &[("a.*", true), ("a.#", true), ("*.*", false)]);
    }

    s10_topic_empty_words_are_words(t) {
        topic_matches(t, "a.*.b", &[("a..b", true), ("a.b", false), ("a.x.b", true), ("a...b", false)]);
        topic_matches(t, "a..b", &[("a..b", true), ("a.b", false), ("a.x.b", false)]);
        topic_matches(t, "*.a", &[(".a", true), ("a", false), ("..a", false)]);
        topic_matches(t, "a.", &[("a.", true), ("a", false)]);
    }

    s10_topic_hashes_anywhere(t) {
        topic_matches(t, "#.b.#", &[("b", true), ("a.b", true), ("b.c", true), ("a.b.c", true), ("a.c", false), ("", false)]);
        topic_matches(t, "#.#", &[("", true), ("a", true), ("a.b.c", true)]);
        topic_matches(t, "*.#", &[("", false), ("a", true), ("a.b", true)]);
        topic_matches(t, "#.*", &[("", false), ("a", true), ("a.b", true)]);
        topic_matches(t, "a.#.b.*", &[("a.b.c", true), ("a.x.y.b.c", true), ("a.b", false), ("a.b.b.c", true)]);
    }

    s10_topic_words_are_compared_whole(t) {
        topic_matches(t, "stock.*.nyse", &[
            ("stock.ibm.nyse", true), ("stock.nyse", false), ("stocks.ibm.nyse", false), ("stock.ibm.nyseX", false),
            ("STOCK.ibm.nyse", false), ("stock.a.b.nyse", false),
        ]);
    }

    s10_topic_long_keys(t) {
        let many = "w.".repeat(126) + "w";
        topic_matches(t, "#.w", &[(&many, true)]);
        topic_matches(t, "w.#.w.#", &[(&many, true)]);
        topic_matches(t, "#.x.#", &[(&many, false)]);
        topic_matches(t, &many, &[(&many, true), ("w", false)]);
    }

    s10_topic_unbind_leaves_the_others(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        for (queue, key) in [("q", "a.*"), ("q", "a.b"), ("r", "a.*"), ("r", "#")] {
            a.bind(queue, "amq.topic", key);
        }
        for (queue, key) in [("q", "a.*"), ("r", "#"), ("r", "nope")] {
            a.send(unbind(queue, "amq.topic", key)).expect(QueueUnbindOk {});
        }
        for key in ["a.b", "a.c", "x"] {
            a.publish(Publish { body: key, ..to("amq.topic", key) });
        }
        a.holds("q", &["a.b"]).holds("r", &["a.b", "a.c"]);
    }

    s10_headers_all_is_the_default(t) {
        let binding = [("a", int(1)), ("b", s("two"))];
        headers_match(t, &binding, &[
            (&[("a", int(1)), ("b", s("two"))], true),
            (&[("b", s("two")), ("x", int(9)), ("a", int(1))], true),
            (&[("a", int(1))], false),
            (&[("a", int(2)), ("b", s("two"))], false),
            (&[], false),
        ]);
    }

    s10_headers_all_by_name(t) {
        headers_match(t, &[("x-match", s("all")), ("a", int(1))], &[(&[("a", int(1))], true), (&[], false)]);
    }

    s10_headers_any(t) {
        headers_match(t, &[("x-match", s("any")), ("a", int(1)), ("b", s("two"))], &[
            (&[("a", int(1))], true),
            (&[("b", s("two"))], true),
            (&[("a", int(2)), ("b", s("two"))], true),
            (&[("a", int(2))], false),
            (&[("c", int(1))], false),
            (&[], false),
        ]);
    }

    s10_headers_keys_with_x_are_skipped(t) {
        headers_match(t, &[("x-match", s("all")), ("x-a", int(1)), ("b", int(2))], &[(&[("b", int(2))], true)]);
        headers_match(t, &[("x-match", s("any")), ("x-a", int(1)), ("b", int(2))], &[
            (&[("x-a", int(1))], false), (&[("b", int(2))], true),
        ]);
    }

    s10_headers_with_x_counts_them(t) {
        headers_match(t, &[("x-match", s("all-with-x")), ("x-a", int(1)), ("b", int(2))], &[
            (&[("b", int(2))], false), (&[("x-a", int(1)), ("b", int(2))], true),
        ]);
        headers_match(t, &[("x-match", s("any-with-x")), ("x-a", int(1)), ("b", int(2))], &[
            (&[("x-a", int(1))], true), (&[("b", int(3))], false),
        ]);
    }

    s10_headers_no_usable_keys(t) {
        let message: &[(&str, Value<'_>)] = &[("a", int(1))];
        headers_match(t, &[], &[(message, true), (&[], true)]);
        headers_match(t, &[("x-match", s("all")), ("x-a", int(1))], &[(message, true), (&[], true)]);
        headers_match(t, &[("x-match", s("all-with-x"))], &[(message, true), (&[], true)]);
        headers_match(t, &[("x-match", s("any"))], &[(message, false), (&[], false)]);
        headers_match(t, &[("x-match", s("any-with-x"))], &[(message, false), (&[], false)]);
    }

    s10_headers_void_means_present(t) {
        headers_match(t, &[("a", Value::Void)], &[
            (&[("a", int(1))], true), (&[("a", s("x"))], true), (&[("a", Value::Void)], true), (&[("b", int(1))], false),
        ]);
        headers_match(t, &[("x-match", s("any")), ("a", Value::Void), ("b", Value::Void)], &[
            (&[("b", int(1))], true), (&[("c", int(1))], false),
        ]);
    }

    s10_headers_integers_compare_whatever_their_width(t) {
        headers_match(t, &[("a", int(7))], &[
            (&[("a", Value::I64(7))], true), (&[("a", Value::I8(7))], true), (&[("a", Value::U16(7))], true),
            (&[("a", Value::I64(8))], false), (&[("a", s("7"))], false), (&[("a", Value::F64(7.0))], false),
        ]);
    }

    s10_headers_other_types_compare_by_value(t) {
        headers_match(t, &[("a", Value::Bool(true))], &[
            (&[("a", Value::Bool(true))], true), (&[("a", Value::Bool(false))], false), (&[("a", s("true"))], false),
        ]);
        headers_match(t, &[("a", Value::F64(1.5))], &[(&[("a", Value::F64(1.5))], true), (&[("a", Value::F64(1.25))], false)]);
        headers_match(t, &[("a", s("Text"))], &[(&[("a", s("Text"))], true), (&[("a", s("text"))], false)]);
        headers_match(t, &[("a", Value::Timestamp(5))], &[
            (&[("a", Value::Timestamp(5))], true), (&[("a", Value::Timestamp(6))], false),
        ]);
    }

    s10_headers_a_message_without_headers(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.bind_with("q", "amq.headers", "", table(&[("a", int(1))])).bind("r", "amq.match", "");
        a.publish(to("amq.headers", "")).publish(to("amq.match", "")).holds("q", &[]).holds("r", &["m"]);
    }

    s10_headers_unbind_by_arguments(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let (one, two) = (table(&[("a", int(1))]), table(&[("a", int(2))]));
        a.bind_with("q", "amq.headers", "", one).bind_with("q", "amq.headers", "", two);
        a.send(QueueUnbind { arguments: one, ..unbind("q", "amq.headers", "") }).expect(QueueUnbindOk {});
        a.publish(Publish { properties: with_headers(&[("a", int(1))]), body: "1", ..to("amq.headers", "") });
        a.publish(Publish { properties: with_headers(&[("a", int(2))]), body: "2", ..to("amq.headers", "") });
        a.holds("q", &["2"]);
    }

    s10_routes_change_between_two_publishes(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q", "r"]);
        a.exchange("x", "fanout").exchange("y", "fanout");
        b.publish(to("x", ""));
        a.bind("q", "y", "").e_bind("y", "x", "");
        b.publish(Publish { body: "1", ..to("x", "") });
        a.bind("r", "y", "");
        b.publish(Publish { body: "2", ..to("x", "") });
        a.send(e_unbind("y", "x", "")).expect(ExchangeUnbindOk {});
        b.publish(Publish { body: "3", ..to("x", "") });
        a.holds("q", &["1", "2"]).holds("r", &["2"]);
    }

    s10_a_queue_deleted_between_two_publishes(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q", "r"]);
        a.bind("q", "amq.direct", "k").bind("r", "amq.direct", "k");
        b.publish(to("amq.direct", "k"));
        a.send(delete("q")).expect(delete_ok(1));
        b.publish(to("amq.direct", "k"));
        a.holds("r", &["m", "m"]).no_queue("q");
    }
}
