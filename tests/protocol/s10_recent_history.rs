//! Section 10: exchanges of type x-recent-history.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

fn remembering(arguments: &[(&str, Value<'_>)]) -> ExchangeDeclare<'static> {
    ExchangeDeclare { durable: true, ..exchange_with("e", "x-recent-history", arguments) }
}

fn history(t: &Net, arguments: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    a.send(remembering(arguments)).expect(ExchangeDeclareOk {});
    a
}

fn fill(a: &Peer, bodies: &[&str]) {
    bodies.iter().for_each(|body| {
        a.publish(Publish { body, ..to("e", "k") });
    });
}

scripts! {
    s10_what_is_bound_later_gets_the_last_messages(t) {
        let a = history(t, &[("x-recent-history-length", int(3))]);
        fill(&a, &["1", "2", "3", "4", "5"]);
        for queue in ["q1", "q2", "q3"] {
            a.queue(declare(queue)).bind(queue, "e", "any").holds(queue, &["3", "4", "5"]);
        }
        fill(&a, &["6"]);
        for queue in ["q1", "q2", "q3"] {
            a.holds(queue, &["6"]);
        }
        // Each further binding, but not one that there is.
        a.bind("q1", "e", "other").bind("q1", "e", "other").holds("q1", &["4", "5", "6"]);
        fill(&a, &["7"]);
        a.holds("q1", &["7"]);
    }

    s10_twenty_are_remembered_of_whoever_publishes(t) {
        let a = history(t, &[]);
        let bodies: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        let peers = [t.peer(), t.peer(), t.peer()];
        for (n, body) in bodies.iter().enumerate() {
            fill(&peers[n % 3], &[body]);
        }
        let last: Vec<&str> = bodies[5..].iter().map(|body| &**body).collect();
        a.queue(declare("q")).bind("q", "e", "").counts("q", 20, 0).holds("q", &last);
        a.counts("amq.history.e", 20, 0);
    }

    s10_a_remembered_message_is_as_it_was(t) {
        let a = history(t, &[]);
        let headers = [("h", int(1)), ("CC", strings(&["c"]))];
        let properties = Properties { message_id: Some("m"), ..with_headers(&headers) };
        a.publish(Publish { properties, body: "x", ..to("e", "key") });
        a.queue(declare("q")).bind("q", "e", "");
        let message = a.get("q");
        assert_eq!((&*message.exchange, &*message.routing_key, message.text()), ("e", "key", "x"));
        assert_eq!(message.header("h"), Some(Value::I32(1)));
        assert!(!message.redelivered);
    }

    s10_some_messages_are_not_remembered(t) {
        let a = history(t, &[]);
        for (body, value) in [("no", Value::Bool(true)), ("yes", Value::Bool(false)), ("1", int(1))] {
            let properties = with_headers(&[("x-recent-history-no-store", value)]);
            a.publish(Publish { properties, body, ..to("e", "k") });
        }
        a.queue(declare("q")).bind("q", "e", "").holds("q", &["yes", "1"]);
        let properties = with_headers(&[("x-recent-history-no-store", Value::Bool(true))]);
        a.publish(Publish { properties, body: "no", ..to("e", "k") }).holds("q", &["no"]);
    }

    s10_a_message_that_is_only_remembered_is_returned_and_confirmed(t) {
        let a = history(t, &[]);
        a.confirm_select();
        a.publish(Publish { body: "m", ..mandatory("e", "k") });
        a.confirmed_with_returns(&[1], &[1]);
        a.queue(declare("q")).bind("q", "e", "").holds("q", &["m"]);
        a.publish(Publish { body: "n", properties: persistent(), ..mandatory("e", "k") }).confirmed(&[2]);
        a.holds("q", &["n"]);
        let b = t.peer();
        b.tx_select().publish(mandatory("e", "k")).commit();
        a.counts("q", 1, 0);
    }

    s10_bound_exchanges_pass_on_what_is_remembered(t) {
        let a = history(t, &[]);
        fill(&a, &["1"]);
        a.publish(Publish { body: "2", ..to("e", "other") });
        a.exchange("d", "direct").queue(declare("q")).bind("q", "d", "k");
        a.e_bind("d", "e", "").holds("q", &["1"]);
        // And an exchange that remembers gets messages by others, too.
        a.exchange("f", "fanout").e_bind("e", "f", "").publish(Publish { body: "3", ..to("f", "k") });
        a.holds("q", &["3"]);
        a.queue(declare("r")).bind("r", "e", "").holds("r", &["1", "2", "3"]);
        // To itself: once each.
        a.e_bind("e", "e", "").publish(Publish { body: "4", ..to("e", "k") });
        a.holds("q", &["1", "3", "4"]);
    }

    s10_a_history_goes_with_its_exchange(t) {
        let a = history(t, &[]);
        fill(&a, &["1"]);
        a.send(exchange_delete("e")).expect(ExchangeDeleteOk {});
        a.no_queue("amq.history.e");
        a.send(remembering(&[])).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "e", "").counts("q", 0, 0);
        a.send(get("amq.history.e"));
        let text = "cannot obtain access to the queue 'amq.history.e' in vhost '/': it belongs to an exchange";
        a.closed(403, text, BasicGet::ID).reopen();
        a.publish(to("", "amq.history.e")).counts("amq.history.e", 0, 0);
    }

    s10_the_exchange_survives_a_restart_and_its_history_does_not(t) {
        let a = history(t, &[("x-recent-history-length", int(2))]);
        a.queue(durable("q")).bind("q", "e", "");
        a.publish(Publish { properties: persistent(), body: "1", ..to("e", "k") }).holds("q", &["1"]);
        let Some(t) = t.restart() else { return };
        let a = t.peer();
        a.counts("amq.history.e", 0, 0);
        for body in ["2", "3", "4"] {
            a.publish(Publish { properties: persistent(), body, ..to("e", "k") });
        }
        a.holds("q", &["2", "3", "4"]).queue(declare("r")).bind("r", "e", "").holds("r", &["3", "4"]);
        a.send(exchange_delete("e")).expect(ExchangeDeleteOk {});
        a.no_queue("amq.history.e");
    }

    s10_a_length_must_be_a_positive_integer(t) {
        let a = t.peer();
        for (value, shown) in [(int(0), "0"), (int(-1), "-1"), (s("5"), "<<\"5\">>"), (Value::Bool(true), "true")] {
            let text = format!("Invalid argument {shown}, 'x-recent-history-length' must be a positive integer");
            a.send(remembering(&[("x-recent-history-length", value)])).closed(406, &text, ExchangeDeclare::ID).reopen();
        }
        a.no_exchange("e");
    }

    s10_messages_with_an_expiration_are_remembered(t) {
        let a = history(t, &[]);
        let properties = Properties { expiration: Some("10"), ..persistent() };
        a.publish(Publish { properties, body: "1", ..to("e", "k") });
        t.advance(50);
        a.queue(declare("q")).bind("q", "e", "").counts("q", 1, 0);
        t.advance(50);
        a.counts("q", 0, 0);
    }
}
