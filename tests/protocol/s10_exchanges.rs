//! Sections 7.5 and 10: exchange types beyond the specification's, and bindings that are refused or many.

use std::collections::BTreeMap;

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Table, TableWriter, Value};

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Peer};
use crate::say::*;

const QUEUES: [&str; 3] = ["q1", "q2", "q3"];
const TYPES: [&str; 4] = ["x-consistent-hash", "x-modulus-hash", "x-random", "x-local-random"];

/// Takes all messages out of the queues: the bodies, and the queue of each.
fn taken(a: &Peer, queues: &[&'static str]) -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    for queue in queues {
        while let Some(message) = a.send(BasicGet { no_ack: true, ..get(queue) }).got() {
            assert_eq!(found.insert(message.text().to_owned(), *queue), None, "one copy of each");
        }
    }
    found
}

/// Exchange x of this type with three queues; hashing ones with weights.
fn bound(t: &Net, kind: &str, arguments: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    t.queues(&QUEUES);
    a.send(exchange_with("x", kind, arguments)).expect(ExchangeDeclareOk {});
    for (queue, weight) in QUEUES.into_iter().zip(["1", "2", "3"]) {
        a.bind(queue, "x", if kind == "x-local-random" { "" } else { weight });
    }
    a
}

fn text(n: usize) -> String {
    format!("key-{n}")
}

/// Where these messages go that differ in what `properties` makes of their number; all have the same key.
fn placed(a: &Peer, properties: impl Fn(&str) -> Properties<'_>) -> BTreeMap<String, &'static str> {
    for n in 0..24 {
        let (body, id) = (text(n), text(n));
        a.publish(Publish { body: &body, properties: properties(&id), ..to("x", "same") });
    }
    taken(a, &QUEUES)
}

/// The binding is refused.
fn refused(a: &Peer, queue: &str, key: &str, explanation: &str) {
    a.send(bind(queue, "x", key)).closed(406, explanation, QueueBind::ID).reopen();
}

scripts! {
    s10_each_type_gives_a_message_to_one_queue(t) {
        for kind in TYPES {
            let a = bound(t, kind, &[]);
            for n in 0..24 {
                let body = text(n);
                a.publish(Publish { body: &body, ..to("x", &body) });
            }
            let found = taken(&a, &QUEUES);
            assert_eq!(found.len(), 24);
            for queue in QUEUES {
                assert!(kind == "x-local-random" || found.values().any(|found| *found == queue), "{kind}: {queue}");
                a.send(delete(queue)).expect(delete_ok(0));
            }
            // Nobody is bound.
            a.publish(mandatory("x", "k")).returned("x", "k", "m");
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        }
    }

    s10_each_type_is_declared_again_as_it_is(t) {
        let a = t.peer();
        for kind in TYPES {
            a.exchange(kind, kind).send(exchange(kind, kind)).expect(ExchangeDeclareOk {});
            let text = format!(
                "inequivalent arg 'type' for exchange '{kind}' in vhost '/': received 'fanout' but current is '{kind}'"
            );
            a.send(exchange(kind, "fanout")).closed(406, &text, ExchangeDeclare::ID).reopen();
        }
    }

    s10_same_key_same_queue_whoever_publishes(t) {
        for kind in ["x-consistent-hash", "x-modulus-hash"] {
            let a = bound(t, kind, &[]);
            let peers = [t.peer(), t.peer(), t.peer(), t.peer()];
            let mut first = None;
            for peer in &peers {
                for n in 0..12 {
                    let body = text(n);
                    peer.publish(Publish { body: &body, ..to("x", &body) });
                }
                let found = taken(&a, &QUEUES);
                assert_eq!(first.get_or_insert_with(|| found.clone()), &found);
            }
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            QUEUES.into_iter().for_each(|queue| { a.send(delete(queue)).expect(delete_ok(0)); });
        }
    }

    s10_consistent_hash_by_a_header(t) {
        let a = bound(t, "x-consistent-hash", &[("hash-header", s("h"))]);
        let found = placed(&a, |id| with_headers(&[("g", int(1)), ("h", s(id))]));
        assert_eq!(found.len(), 24);
        assert!(QUEUES.iter().all(|queue| found.values().any(|found| found == queue)));
        assert_eq!(placed(&a, |id| with_headers(&[("h", s(id))])), found);
        // Whatever the type of the value, and without it.
        for value in [int(7), Value::Void, Value::Array(array(&[])), Value::Bool(false)] {
            let one = placed(&a, |_| with_headers(&[("h", value)]));
            assert!(one.values().all(|queue| Some(queue) == one.values().next()));
        }
        let one = placed(&a, |id| with_headers(&[("g", s(id))]));
        assert!(one.len() == 24 && one.values().all(|queue| Some(queue) == one.values().next()));
        let bare = placed(&a, |_| Properties::default());
        assert_eq!(bare, one, "no headers at all are the same");
    }

    s10_consistent_hash_by_a_property(t) {
        for (property, with) in [
            (
                "correlation_id",
                (|id| Properties { correlation_id: Some(id), ..persistent() }) as fn(&str) -> Properties<'_>,
            ),
            ("message_id", |id| Properties { message_id: Some(id), ..Properties::default() }),
            ("timestamp", |id| Properties { timestamp: id["key-".len()..].parse().ok(), ..Properties::default() }),
        ] {
            let a = bound(t, "x-consistent-hash", &[("hash-property", s(property))]);
            let found = placed(&a, with);
            assert_eq!(found.len(), 24);
            assert!(QUEUES.iter().all(|queue| found.values().any(|found| found == queue)), "{property}: {found:?}");
            // Beside headers, by another way through the broker.
            assert_eq!(placed(&a, |id| Properties { headers: Some(table(&[("a", int(1))])), ..with(id) }), found);
            let one = placed(&a, |id| Properties { app_id: Some(id), ..Properties::default() });
            assert!(one.len() == 24 && one.values().all(|queue| Some(queue) == one.values().next()));
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            QUEUES.into_iter().for_each(|queue| { a.send(delete(queue)).expect(delete_ok(0)); });
        }
    }

    s10_consistent_hash_what_comes_and_goes_moves_its_share_only(t) {
        let a = bound(t, "x-consistent-hash", &[]);
        let publish = |queues: &[&'static str]| {
            for n in 0..40 {
                let body = text(n);
                a.publish(Publish { body: &body, ..to("x", &body) });
            }
            taken(&a, queues)
        };
        let before = publish(&QUEUES);
        a.queue(declare("q4")).bind("q4", "x", "6");
        let four = ["q1", "q2", "q3", "q4"];
        let after = publish(&four);
        let moved = |key: &String| before[key] != after[key];
        assert!(before.keys().any(moved));
        assert!(before.keys().filter(|key| moved(key)).all(|key| after[key] == "q4"));
        a.send(delete("q2")).expect(delete_ok(0));
        let last = publish(&["q1", "q3", "q4"]);
        assert!(after.iter().all(|(key, queue)| last[key] == *queue || *queue == "q2"));
    }

    s10_consistent_hash_weights_are_checked(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.exchange("x", "x-consistent-hash").exchange("y", "fanout");
        refused(&a, "q", "x", "The binding key must be an integer: <<\"x\">>");
        refused(&a, "q", "", "The binding key must be an integer: <<>>");
        refused(&a, "q", "1.5", "The binding key must be an integer: <<\"1.5\">>");
        refused(&a, "q", "0", "The binding key must be greater than 0");
        refused(&a, "q", "-1", "The binding key must be greater than 0");
        refused(&a, "q", "10001", "The binding key must not exceed 10000");
        refused(&a, "q", &"9".repeat(255), "The binding key must not exceed 10000");
        a.send(e_bind("y", "x", "no")).closed(406, "The binding key must be an integer: <<\"no\">>", ExchangeBind::ID);
        a.reopen().publish(mandatory("x", "k")).returned("x", "k", "m");
        a.bind("q", "x", "10000").publish(to("x", "k")).holds("q", &["m"]);
    }

    s10_consistent_hash_a_second_binding_is_ignored(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q", "r"]);
        a.exchange("x", "x-consistent-hash").bind("q", "x", "1").bind("r", "x", "1");
        let publish = || {
            for n in 0..24 {
                let body = text(n);
                a.publish(Publish { body: &body, ..to("x", &body) });
            }
            taken(&a, &["q", "r"])
        };
        let found = publish();
        a.bind("q", "x", "1").bind("q", "x", "100").bind_with("q", "x", "1", table(&[("a", int(1))]));
        assert_eq!(publish(), found);
        b.send(unbind("q", "x", "100")).expect(QueueUnbindOk {});
        assert_eq!(publish(), found);
        b.send(unbind("q", "x", "1")).expect(QueueUnbindOk {});
        assert!(publish().values().all(|queue| *queue == "r"));
    }

    s10_consistent_hash_bound_by_many_at_once(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.exchange("x", "x-consistent-hash").bind("r", "x", "1");
        let peers = [t.peer(), t.peer(), t.peer(), t.peer()];
        for (peer, weight) in peers.iter().zip(["1", "20", "300", "4000"]) {
            peer.send(bind("q", "x", weight));
        }
        peers.iter().for_each(|peer| { peer.expect(QueueBindOk {}); });
        // One of them is the binding, for all shards the same.
        let found: Vec<_> = peers.iter().map(|peer| {
            for n in 0..24 {
                let body = text(n);
                peer.publish(Publish { body: &body, ..to("x", &body) });
            }
            taken(&a, &["q", "r"])
        }).collect();
        assert!(found.iter().all(|one| *one == found[0]));
    }

    s10_consistent_hash_arguments_are_checked(t) {
        let a = t.peer();
        let refused = |arguments: &[(&str, Value<'_>)], text: &str| {
            a.send(exchange_with("x", "x-consistent-hash", arguments)).closed(406, text, ExchangeDeclare::ID).reopen();
        };
        let (header, property) = (("hash-header", s("h")), ("hash-property", s("message_id")));
        refused(&[header, property], "hash-header and hash-property are mutually exclusive");
        refused(&[("hash-property", s("app_id"))], "Unsupported property: app_id");
        let text = "invalid type 'signedint' for arg 'hash-header' in exchange 'x' in vhost '/'";
        refused(&[("hash-header", int(1))], text);
        a.no_exchange("x");
        a.send(exchange_with("x", "x-consistent-hash", &[header])).expect(ExchangeDeclareOk {});
        // Of an exchange that is there they are not compared.
        a.send(exchange_with("x", "x-consistent-hash", &[property])).expect(ExchangeDeclareOk {});
        // Nor do they mean anything to others.
        a.send(exchange_with("y", "topic", &[header, property])).expect(ExchangeDeclareOk {});
    }

    s10_hashing_and_chance_lead_to_exchanges_too(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        for kind in ["x-consistent-hash", "x-modulus-hash", "x-random"] {
            a.exchange("x", kind).exchange("y", "fanout");
            a.e_bind("y", "x", "1").bind("q", "y", "").bind("r", "y", "");
            a.publish(to("x", "k")).holds("q", &["m"]).holds("r", &["m"]);
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            a.send(exchange_delete("y")).expect(ExchangeDeleteOk {});
        }
    }

    s10_hashing_and_chance_fall_back_to_an_alternate_exchange(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.exchange("rest", "fanout").bind("r", "rest", "");
        for kind in TYPES {
            a.send(exchange_with(kind, kind, &[("alternate-exchange", s("rest"))])).expect(ExchangeDeclareOk {});
            a.publish(to(kind, "k")).holds("r", &["m"]);
            a.bind("q", kind, if kind == "x-local-random" { "" } else { "1" });
            a.publish(to(kind, "k")).holds("q", &["m"]).holds("r", &[]);
        }
    }

    s10_cc_adds_to_what_is_hashed_modulus(t) {
        let a = bound(t, "x-modulus-hash", &[]);
        let place = |keys: &[&str]| {
            let mut publish = to("x", "k");
            publish.properties = with_headers(&[("CC", strings(keys))]);
            a.publish(publish);
            taken(&a, &QUEUES)["m"]
        };
        let found: Vec<_> = (0..20).map(|n| place(&[&text(n)])).collect();
        assert!(found.iter().any(|queue| *queue != found[0]));
        assert_eq!(found, (0..20).map(|n| place(&[&text(n)])).collect::<Vec<_>>());
        // Of a consistent hash the first key alone counts.
        a.send(exchange_delete("x")).expect(ExchangeDeleteOk {}).exchange("x", "x-consistent-hash");
        QUEUES.into_iter().for_each(|queue| { a.bind(queue, "x", "1"); });
        let found: Vec<_> = (0..20).map(|n| place(&[&text(n)])).collect();
        assert!(found.iter().all(|queue| *queue == found[0]));
    }

    s10_random_draws_anew_for_each_message(t) {
        let a = bound(t, "x-random", &[]);
        for _ in 0..60 {
            a.publish(to("x", "same"));
        }
        for queue in QUEUES {
            let count = a.send(purge(queue)).expect_id(QueuePurgeOk::ID, |method| {
                let Method::QueuePurgeOk(ok) = method else { unreachable!() };
                ok.message_count
            });
            assert!((6..35).contains(&count), "{queue}: {count}");
        }
    }

    s10_local_random_prefers_queues_of_the_own_shard(t) {
        let a = t.peer();
        a.exchange("x", "x-local-random");
        let mut near = vec![];
        for (shard, queue) in ["q0", "q1", "q2", "q3"].into_iter().enumerate().take(t.shards()) {
            let peer = t.peer_on(shard);
            // An exclusive queue lives where it is declared.
            peer.queue(exclusive(queue)).bind(queue, "x", "");
            near.push((peer, queue));
        }
        for (peer, queue) in &near {
            (0..5).for_each(|_| { peer.publish(to("x", "k")); });
            peer.holds(queue, &["m"; 5]);
        }
        // Without one, any will do.
        let (first, queue) = &near[0];
        first.send(delete(queue)).expect(delete_ok(0)).confirm_select();
        first.publish(to("x", "k")).confirmed(&[1]);
        let found: usize = near[1..].iter().map(|(peer, queue)| peer.send(get(queue)).got().map_or(0, |_| 1)).sum();
        assert_eq!(found, usize::from(near.len() > 1));
    }

    s10_local_random_bindings_are_checked(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.exchange("x", "x-local-random").exchange("y", "fanout");
        a.queue(QueueDeclare { arguments: table(&[("x-queue-type", s("quorum"))]), ..durable("quorum") });
        refused(&a, "q", "k", "Non empty binding 'k' key not permitted");
        refused(&a, "quorum", "", "Queue type rabbit_quorum_queue not valid for this exchange type");
        a.send(e_bind("y", "x", "k")).closed(406, "Non empty binding 'k' key not permitted", ExchangeBind::ID).reopen();
        a.send(e_bind("y", "x", "")).closed(406, "Destination not found", ExchangeBind::ID).reopen();
        a.bind("q", "x", "").publish(to("x", "any")).holds("q", &["m"]);
    }

    bad_input_127_wildcards_in_a_topic_key(t) {
        let a = t.peer();
        t.queues(&["q"]);
        let key = ["#"; 127].join(".");
        a.send(bind("q", "amq.topic", &key));
        let full = format!("PRECONDITION_FAILED - Topic binding key '{key}' uses 127 '#' wildcards");
        assert_eq!(a.close_text(406, QueueBind::ID), format!("{}...", &full[..252]));
        let text = "Topic binding key '#.#.#' uses 3 '#' wildcards, at most 2 are allowed";
        a.send(bind("q", "amq.topic", "#.#.#")).closed(406, text, QueueBind::ID).reopen();
        // As many stars as there is room for, between two: no key takes long.
        let stars = format!("#.{}.#", ["*"; 125].join("."));
        a.bind("q", "amq.topic", &stars);
        let words = |count: usize| vec!["a"; count].join(".");
        for count in [125, 124, 128] {
            a.publish(to("amq.topic", &words(count)));
        }
        a.holds("q", &["m", "m"]);
    }

    bad_input_10000_bindings_on_one_exchange(t) {
        let count = if t.is_bytewise() { 300 } else { 10_000 };
        let a = t.peer();
        t.queues(&["q", "r"]);
        for kind in ["direct", "fanout", "topic", "headers", "x-modulus-hash"] {
            a.exchange("x", kind).bind("r", "x", "key-5");
            for n in 0..count {
                let (key, arguments) = (text(n), [("k", int(n as i32))]);
                let arguments = table(if kind == "headers" { &arguments } else { &[] });
                // One in a hundred is waited for.
                let no_wait = n % 100 != 99;
                a.send(QueueBind { no_wait, arguments, ..bind("q", "x", &key) });
                if !no_wait {
                    a.expect(QueueBindOk {});
                }
            }
            a.bind("q", "x", "key-5");
            let headers = with_headers(&[("k", int(5))]);
            a.publish(Publish { properties: headers, ..to("x", "key-5") });
            if kind == "x-modulus-hash" {
                assert_eq!(taken(&a, &["q", "r"]).len(), 1);
            } else {
                a.holds("q", &["m"]).holds("r", &["m"]);
            }
            // It goes with all of them, and others go on.
            let b = t.peer();
            a.send(delete("q"));
            b.publish(Publish { properties: headers, ..to("x", "key-5") }).holds("r", &["m"]);
            a.expect(delete_ok(0));
            b.publish(mandatory("x", "key-4"));
            if ["fanout", "x-modulus-hash", "headers"].contains(&kind) {
                b.holds("r", &["m"]);
            } else {
                b.returned("x", "key-4", "m");
            }
            b.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            a.queue(declare("q"));
        }
    }

    bad_input_a_header_table_at_its_limit(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.exchange("x", "headers").send(exchange_with("y", "x-consistent-hash", &[("hash-header", s("last"))]));
        a.expect(ExchangeDeclareOk {});
        a.bind_with("q", "x", "", table(&[("x-match", s("all")), ("k", int(4)), ("last", s("one"))]));
        a.bind("r", "y", "1");
        // A frame has 8 bytes around it, a content header 12 before the properties, these 6 before the contents.
        let limit = LOGIN.frame_max as usize - 26;
        let headers = |bytes: usize| {
            let mut writer = TableWriter::new();
            writer.put("last", s("one"));
            for n in 0..(bytes - 100) / 7 {
                writer.put("k", int(n as i32 % 4));
            }
            writer.put("k", int(4));
            let rest = bytes - writer.table().as_bytes().len() - 7;
            writer.put("t", s(&"r".repeat(rest)));
            assert_eq!(writer.table().as_bytes().len(), bytes);
            Table::check(writer.into_bytes().leak()).expect("a table")
        };
        let publish = |peer: &Peer, exchange: &str, bytes: usize| {
            let properties = Properties { headers: Some(headers(bytes)), ..Properties::default() };
            peer.publish(Publish { properties, ..to(exchange, "") });
        };
        publish(&a, "x", limit);
        publish(&a, "y", limit);
        assert_eq!(a.get("q").properties().headers.map(|table| table.as_bytes().len()), Some(limit));
        a.holds("r", &["m"]);
        let b = t.peer();
        // RabbitMQ does not count what is around a frame that comes in.
        publish(&b, "x", limit + 8 + 1);
        b.dies_somehow();
        a.holds("q", &[]).publish(to("", "r")).holds("r", &["m"]);
    }
}
