//! De-duplication of queues and exchanges (the RabbitMQ plugin of that name, and LavinMQ).

use leveret::amqp::method::*;
use leveret::amqp::{Properties, TableWriter, Value};

use crate::net::scripts;
use crate::peer::Peer;
use crate::say::*;

fn named(a: &Peer, exchange: &str, key: &str, name: &str, body: &str) {
    let mut headers = TableWriter::new();
    headers.put("x-deduplication-header", s(name));
    let delivery_mode = Some(2);
    let properties = Properties { headers: Some(headers.table()), delivery_mode, ..Properties::default() };
    a.publish(Publish { properties, body, ..to(exchange, key) });
}

const ON: (&str, Value<'static>) = ("x-message-deduplication", Value::Bool(true));

scripts! {
    s10_a_queue_takes_a_message_once(t) {
        let a = t.peer();
        a.queue(QueueDeclare { durable: true, ..declare_with("q", &[ON, ("x-cache-size", int(2))]) });
        for (name, body) in [("1", "a"), ("1", "b"), ("2", "c"), ("1", "d")] {
            named(&a, "", "q", name, body);
        }
        a.fill("q", &["unnamed", "unnamed"]);
        a.holds("q", &["a", "c", "unnamed", "unnamed"]);
        named(&a, "", "q", "1", "still known");
        named(&a, "", "q", "3", "e");
        named(&a, "", "q", "1", "forgotten");
        a.holds("q", &["e", "forgotten"]);
    }

    s10_names_are_forgotten_after_a_time(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[ON, ("x-cache-ttl", int(1000))]));
        named(&a, "", "q", "1", "a");
        t.advance(1_000);
        named(&a, "", "q", "1", "b");
        t.advance(1);
        named(&a, "", "q", "1", "c");
        a.holds("q", &["a", "c"]);
    }

    s10_a_queue_that_sets_neither_goes_by_what_is_in_it(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[ON]));
        named(&a, "", "q", "1", "a");
        named(&a, "", "q", "1", "b");
        a.get("q");
        named(&a, "", "q", "1", "c");
        a.send(ack(1));
        named(&a, "", "q", "1", "d");
        a.holds("q", &["d"]);
        named(&a, "", "q", "1", "e");
        a.send(purge("q")).expect(purge_ok(1));
        named(&a, "", "q", "1", "f");
        a.holds("q", &["f"]);
    }

    s10_what_does_not_stay_in_a_queue_is_not_known_there(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[ON])).queue(declare_with("short", &[ON, ("x-message-ttl", int(0))]));
        a.consume_no_ack("q", "c");
        for (tag, body) in [(1, "a"), (2, "b")] {
            named(&a, "", "q", "1", body);
            a.delivered("c", tag, body);
        }
        named(&a, "", "short", "1", "it is too old at once");
        a.consume_no_ack("short", "d");
        named(&a, "", "short", "1", "c");
        a.delivered("d", 3, "c");
    }

    s10_an_exchange_takes_a_message_once_from_anybody(t) {
        let (a, b) = (t.peer(), t.peer());
        let arguments = [ON, ("x-cache-size", int(100))];
        a.send(ExchangeDeclare { durable: true, ..exchange_with("e", "direct", &arguments) });
        a.expect(ExchangeDeclareOk {}).queue(durable("q")).queue(durable("r"));
        a.bind("q", "e", "k").bind("r", "e", "k").confirm_select();
        named(&a, "e", "k", "1", "a");
        a.confirmed(&[1]);
        named(&b, "e", "k", "1", "b");
        named(&b, "e", "k", "2", "c");
        t.settle();
        named(&a, "e", "k", "2", "d");
        a.confirmed(&[2]);
        t.settle();
        a.holds("q", &["a", "c"]).holds("r", &["a", "c"]);
        a.fill("q", &["by another way"]).confirmed(&[3]);
    }

    s10_an_exchange_of_that_type_goes_to_all_that_are_bound(t) {
        let a = t.peer();
        let with = |size| exchange_with("e", "x-message-deduplication", &[("x-cache-size", size)]);
        let text = "Missing or wrong `x-cache-size` argument. It must be integer > 0.";
        a.send(exchange("e", "x-message-deduplication")).closed(406, text, ExchangeDeclare::ID).reopen();
        let text = "invalid arg 'x-cache-size' for exchange 'e' in vhost '/': {value_zero,0}";
        a.send(with(int(0))).closed(406, text, ExchangeDeclare::ID).reopen();
        a.send(with(int(10))).expect(ExchangeDeclareOk {}).queue(declare("q")).queue(declare("r"));
        a.bind("q", "e", "this").bind("r", "e", "that");
        named(&a, "e", "any", "1", "a");
        named(&a, "e", "other", "1", "b");
        t.settle();
        a.holds("q", &["a"]).holds("r", &["a"]);
    }

    s10_a_message_may_be_told_apart_and_delayed(t) {
        let a = t.peer();
        let arguments = [ON, ("x-cache-size", int(10)), ("x-delayed-type", s("direct"))];
        a.send(exchange_with("e", "x-delayed-message", &arguments)).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "e", "k");
        for (name, body, delay) in [("1", "a", 100), ("1", "b", 0), ("2", "c", 0)] {
            let mut headers = TableWriter::new();
            headers.put("x-deduplication-header", s(name)).put("x-delay", int(delay));
            let properties = Properties { headers: Some(headers.table()), ..Properties::default() };
            a.publish(Publish { properties, body, ..to("e", "k") });
        }
        t.settle();
        a.holds("q", &["c"]);
        t.advance(100);
        t.settle();
        a.holds("q", &["a"]);
    }
}
