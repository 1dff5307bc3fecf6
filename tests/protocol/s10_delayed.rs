//! Section 10: exchanges of type x-delayed-message.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, TableWriter, Value};

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

fn later(a: &Peer, key: &str, body: &str, delay: Value<'_>, persistent: bool) {
    let mut headers = TableWriter::new();
    headers.put("x-delay", delay);
    let delivery_mode = persistent.then_some(2);
    let properties = Properties { headers: Some(headers.table()), delivery_mode, ..Properties::default() };
    a.publish(Publish { properties, body, ..to("e", key) });
}

fn delaying(kind: &str) -> ExchangeDeclare<'static> {
    let arguments = [("x-delayed-type", s(kind))];
    ExchangeDeclare { durable: true, ..exchange_with("e", "x-delayed-message", &arguments) }
}

fn delayed(t: &Net, kind: &str) -> Peer {
    let a = t.peer();
    a.send(delaying(kind)).expect(ExchangeDeclareOk {});
    a.queue(durable("q")).bind("q", "e", "k");
    a
}

scripts! {
    s10_delayed_messages_come_when_they_are_due(t) {
        let a = delayed(t, "direct");
        for (body, delay) in [("c", 300), ("a", 100), ("b", 200), ("a2", 100)] {
            later(&a, "k", body, int(delay), body != "b");
        }
        later(&a, "k", "now", int(0), true);
        t.settle();
        a.counts("q", 1, 0).counts("amq.delayed.e", 4, 0).holds("q", &["now"]);
        t.advance(99);
        t.settle();
        a.counts("q", 0, 0);
        t.advance(1);
        t.settle();
        a.holds("q", &["a", "a2"]);
        t.advance(500);
        t.settle();
        a.holds("q", &["b", "c"]).counts("amq.delayed.e", 0, 0);
    }

    s10_a_delivered_message_says_that_it_was_delayed(t) {
        let a = delayed(t, "topic");
        later(&a, "k", "x", int(50), false);
        t.settle();
        t.advance(50);
        t.settle();
        let message = a.get("q");
        assert_eq!((&*message.exchange, &*message.routing_key), ("e", "k"));
        assert_eq!(message.header("x-delay"), Some(Value::I64(-50)));
    }

    s10_delayed_messages_are_routed_when_they_are_due(t) {
        let a = delayed(t, "direct");
        later(&a, "other", "x", int(50), true);
        later(&a, "nobody", "y", int(50), true);
        t.settle();
        a.queue(declare("r")).bind("r", "e", "other");
        t.advance(50);
        t.settle();
        a.holds("r", &["x"]).holds("q", &[]);
    }

    s10_confirms_come_at_once(t) {
        let a = delayed(t, "direct");
        a.confirm_select();
        for n in 1..=3 {
            later(&a, "k", "x", int(1_000), true);
            a.confirmed(&[n]);
        }
    }

    s10_waiting_messages_can_be_purged(t) {
        let a = delayed(t, "direct");
        later(&a, "k", "x", int(1_000), true);
        later(&a, "k", "y", int(1_000), false);
        t.settle();
        a.send(purge("amq.delayed.e")).expect(purge_ok(2));
        t.advance(2_000);
        t.settle();
        a.counts("q", 0, 0);
    }

    s10_the_exchange_takes_what_waits_with_it(t) {
        let a = delayed(t, "direct");
        later(&a, "k", "x", int(1_000), true);
        a.send(exchange_delete("e")).expect(ExchangeDeleteOk {});
        t.settle();
        a.no_queue("amq.delayed.e").send(delaying("direct")).expect(ExchangeDeclareOk {});
        a.bind("q", "e", "k").counts("amq.delayed.e", 0, 0);
        t.advance(2_000);
        t.settle();
        a.counts("q", 0, 0);
    }

    s10_delays_that_are_no_numbers_are_refused(t) {
        let a = delayed(t, "direct");
        let text = |error: &str| format!("invalid x-delay header: {error}");
        later(&a, "k", "x", s("soon"), false);
        a.closed(406, &text("expected a number of milliseconds, got longstr"), BasicPublish::ID).reopen();
        later(&a, "k", "x", Value::I64(1 << 40), false);
        a.closed(406, &text("{value_too_large,1099511627776}"), BasicPublish::ID).reopen();
        later(&a, "k", "negative", int(-5), false);
        later(&a, "k", "text", s("0"), false);
        t.settle();
        a.holds("q", &["negative", "text"]);
    }

    s10_the_type_behind_a_delay(t) {
        let a = t.peer();
        let with = |kind| exchange_with("e", "x-delayed-message", &[("x-delayed-type", kind)]);
        let refused = |declare: ExchangeDeclare<'_>, text: &str| {
            a.send(declare).closed(406, text, ExchangeDeclare::ID).reopen();
        };
        let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
        refused(exchange("e", "x-delayed-message"), text);
        refused(with(int(5)), text);
        refused(with(s("nonsense")), "unknown exchange type 'nonsense'");
        let text = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
        refused(with(s("x-delayed-message")), text);
        a.send(with(s("fanout"))).expect(ExchangeDeclareOk {});
        let text = "inequivalent arg 'type' for exchange 'e' in vhost '/': received 'fanout' but current is \
                    'x-delayed-message'";
        refused(exchange("e", "fanout"), text);
    }

    s10_what_waits_is_nobodys_but_the_exchanges(t) {
        let a = delayed(t, "direct");
        later(&a, "k", "x", int(100), false);
        t.settle();
        let queue = "amq.delayed.e";
        let text = "cannot obtain access to the queue 'amq.delayed.e' in vhost '/': it belongs to an exchange";
        a.send(consume(queue, "c")).closed(403, text, BasicConsume::ID).reopen();
        a.send(get(queue)).closed(403, text, BasicGet::ID).reopen();
        a.send(bind(queue, "amq.direct", "k")).closed(403, text, QueueBind::ID).reopen();
        let text = "Cannot delete protected queue 'amq.delayed.e' in vhost '/'.";
        a.send(delete(queue)).closed(405, text, QueueDelete::ID).reopen();
        // It is not reached by its name.
        a.fill(queue, &["mine"]).counts(queue, 1, 0);
    }
}
