//! Section 5: reserved names, predeclared objects, generated names.

use leveret::amqp::Method;
use leveret::amqp::method::*;

use crate::net::scripts;
use crate::say::*;

const DEFAULT_EXCHANGE: &str = "operation not permitted on the default exchange";

/// `prefix` and 22 characters of the URL-safe base64 alphabet.
fn is_generated(name: &str, prefix: &str) -> bool {
    let base64 = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    name.strip_prefix(prefix).is_some_and(|token| token.len() == 22 && token.bytes().all(base64))
}

scripts! {
    s5_predeclared_exchanges_exist(t) {
        let a = t.peer();
        for name in
            ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"]
        {
            a.has_exchange(name);
        }
    }

    s5_predeclared_exchanges_have_their_attributes(t) {
        let a = t.peer();
        for (name, kind, internal) in [
            ("amq.direct", "direct", false), ("amq.fanout", "fanout", false), ("amq.topic", "topic", false),
            ("amq.headers", "headers", false), ("amq.match", "headers", false), ("amq.rabbitmq.trace", "topic", true),
        ] {
            a.send(ExchangeDeclare { durable: true, internal, ..exchange(name, kind) }).expect(ExchangeDeclareOk {});
        }
    }

    s5_a_predeclared_exchange_with_other_attributes(t) {
        let a = t.peer();
        let text = "inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': \
                    received 'topic' but current is 'direct'";
        a.send(ExchangeDeclare { durable: true, ..exchange("amq.direct", "topic") });
        a.closed(406, text, ExchangeDeclare::ID).reopen();
        let text = "inequivalent arg 'durable' for exchange 'amq.direct' in vhost '/': \
                    received 'false' but current is 'true'";
        a.send(exchange("amq.direct", "direct")).closed(406, text, ExchangeDeclare::ID);
    }

    s5_exchange_names_with_the_reserved_prefix(t) {
        let a = t.peer();
        let text = "exchange name 'amq.foo' contains reserved prefix 'amq.*'";
        a.send(exchange("amq.foo", "direct")).closed(403, text, ExchangeDeclare::ID).reopen();
        let text = "exchange name 'amq.' contains reserved prefix 'amq.*'";
        a.send(exchange("amq.", "direct")).closed(403, text, ExchangeDeclare::ID);
    }

    s5_queue_names_with_the_reserved_prefix(t) {
        let a = t.peer();
        let text = "queue name 'amq.foo' contains reserved prefix 'amq.*'";
        a.send(declare("amq.foo")).closed(403, text, QueueDeclare::ID);
    }

    s5_only_the_exact_prefix_is_reserved(t) {
        let a = t.peer();
        for name in ["amq", "amqx", "AMQ.x", " amq.x", "x.amq."] {
            a.queue(declare(name)).exchange(name, "direct");
        }
    }

    s5_redeclaring_ones_own_generated_queue_by_name_is_refused(t) {
        let a = t.peer();
        let name = a.queue_unnamed(exclusive(""));
        let text = format!("queue name '{name}' contains reserved prefix 'amq.*'");
        a.send(exclusive(&name)).closed(403, &text, QueueDeclare::ID);
    }

    s5_a_passive_declare_of_a_reserved_name(t) {
        let a = t.peer();
        let name = a.queue_unnamed(exclusive(""));
        a.counts(&name, 0, 0).no_queue("amq.foo").no_exchange("amq.foo");
    }

    s5_generated_queue_names(t) {
        let a = t.peer();
        let names = [a.queue_unnamed(declare("")), a.queue_unnamed(exclusive("")), a.queue_unnamed(auto_delete(""))];
        for name in &names {
            assert!(is_generated(name, "amq.gen-") && name.len() == 30, "{name}");
        }
        assert!(names[0] != names[1] && names[1] != names[2]);
    }

    s5_generated_queue_names_differ_between_connections(t) {
        let mut names: Vec<String> = (0..8).map(|_| t.peer().queue_unnamed(declare(""))).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 8);
    }

    s5_a_generated_queue_can_be_used(t) {
        let (a, b) = (t.peer(), t.peer());
        let name = a.queue_unnamed(declare(""));
        a.bind(&name, "amq.fanout", "");
        b.publish(to("amq.fanout", "")).fill(&name, &["2"]);
        a.holds(&name, &["m", "2"]).send(delete(&name)).expect(delete_ok(0));
    }

    s5_generated_consumer_tags(t) {
        let a = t.peer();
        a.queue(declare("q"));
        let mut tags = vec![];
        for _ in 0..3 {
            tags.push(a.send(consume("q", "")).expect_id(BasicConsumeOk::ID, |method| {
                let Method::BasicConsumeOk(ok) = method else { unreachable!() };
                ok.consumer_tag.to_owned()
            }));
        }
        assert!(tags.iter().all(|tag| is_generated(tag, "amq.ctag-")), "{tags:?}");
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        a.fill("q", &["x"]);
        assert!(tags.contains(&a.delivery().consumer_tag));
    }

    s5_a_server_named_quorum_queue(t) {
        let a = t.peer();
        a.send(QueueDeclare { durable: true, ..declare_with("", &[("x-queue-type", s("quorum"))]) });
        let text = "Cannot declare a server-named queue for type rabbit_quorum_queue";
        a.closed(406, text, QueueDeclare::ID);
    }

    s5_a_server_named_stream(t) {
        let a = t.peer();
        a.send(QueueDeclare { durable: true, ..declare_with("", &[("x-queue-type", s("stream"))]) });
        let text = "Cannot declare a server-named queue for type rabbit_stream_queue";
        a.closed(406, text, QueueDeclare::ID);
    }

    s5_declaring_the_default_exchange(t) {
        let a = t.peer();
        a.send(exchange("", "direct")).closed(403, DEFAULT_EXCHANGE, ExchangeDeclare::ID).reopen();
        a.send(exchange_passive("")).closed(403, DEFAULT_EXCHANGE, ExchangeDeclare::ID);
    }

    s5_deleting_the_default_exchange(t) {
        t.peer().send(exchange_delete("")).closed(403, DEFAULT_EXCHANGE, ExchangeDelete::ID);
    }

    s5_binding_to_the_default_exchange(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.send(bind("q", "", "k")).closed(403, DEFAULT_EXCHANGE, QueueBind::ID).reopen();
        a.send(unbind("q", "", "q")).closed(403, DEFAULT_EXCHANGE, QueueUnbind::ID).reopen();
        a.send(e_bind("", "amq.direct", "k")).closed(403, DEFAULT_EXCHANGE, ExchangeBind::ID).reopen();
        a.send(e_bind("amq.direct", "", "k")).closed(403, DEFAULT_EXCHANGE, ExchangeBind::ID).reopen();
        a.send(e_unbind("", "amq.direct", "k")).closed(403, DEFAULT_EXCHANGE, ExchangeUnbind::ID).reopen();
        a.send(e_unbind("amq.direct", "", "k")).closed(403, DEFAULT_EXCHANGE, ExchangeUnbind::ID);
    }

    s5_publishing_to_the_default_exchange(t) {
        let a = t.peer();
        a.queue(declare("q")).fill("q", &["x"]);
        let message = a.get("q");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "q"));
    }

    s5_publishing_to_a_predeclared_exchange(t) {
        let a = t.peer();
        a.queue(declare("q")).bind("q", "amq.topic", "a.#").bind("q", "amq.fanout", "");
        a.publish(to("amq.topic", "a.b")).publish(to("amq.fanout", ""));
        a.holds("q", &["m", "m"]);
    }
}
