//! Section 13: how long messages and queues live.

use leveret::amqp::Properties;

use crate::net::scripts;
use crate::say::*;

fn expiring<'a>(queue: &'a str, body: &'a str, expiration: &'a str) -> Publish<'a> {
    let properties = Properties { expiration: Some(expiration), ..Properties::default() };
    Publish { properties, body, ..to("", queue) }
}

scripts! {
    s13_a_queues_ttl_lets_go_of_messages_that_have_waited_so_long(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))])).fill("q", &["one", "two"]);
        t.advance(999);
        a.counts("q", 2, 0);
        t.advance(1);
        a.counts("q", 0, 0).empty("q");
    }

    s13_a_messages_expiration_counts_in_a_queue_without_rules_too(t) {
        let a = t.peer();
        a.queue(declare("q")).fill("q", &["stays"]);
        a.publish(expiring("q", "goes", "500")).counts("q", 2, 0);
        t.advance(600);
        // It is not at the head.
        a.counts("q", 2, 0);
        assert_eq!(a.get("q").text(), "stays");
        a.empty("q");
    }

    s13_the_lesser_of_the_two_counts(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))]));
        a.publish(expiring("q", "short", "100")).publish(expiring("q", "long", "5000"));
        a.counts("q", 2, 0);
        t.advance(100);
        a.counts("q", 1, 0);
        t.advance(900);
        a.counts("q", 0, 0);
    }

    s13_ttl_0_is_for_consumers_that_can_take_it_now(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare_with("q", &[("x-message-ttl", int(0))])).fill("q", &["lost"]);
        a.counts("q", 0, 0);
        b.qos(1).consume("q", "c");
        a.fill("q", &["one"]);
        b.delivered("c", 1, "one");
        a.fill("q", &["two"]).counts("q", 0, 1);
        b.send(ack(1)).silent();
    }

    s13_what_comes_back_too_late_is_gone(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))])).fill("q", &["x"]);
        assert_eq!(a.get("q").text(), "x");
        t.advance(2000);
        a.send(nack(1)).counts("q", 0, 0).empty("q");
    }

    s13_a_requeue_does_not_renew_a_lifetime(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))])).fill("q", &["x"]);
        t.advance(600);
        a.get("q");
        a.send(nack(1)).counts("q", 1, 0);
        t.advance(399);
        a.counts("q", 1, 0);
        t.advance(1);
        a.counts("q", 0, 0);
    }

    s13_what_is_expired_is_never_delivered(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))]));
        b.qos(1).consume("q", "c");
        a.fill("q", &["1", "2"]);
        b.delivered("c", 1, "1");
        t.advance(500);
        a.fill("q", &["3"]);
        t.advance(600);
        b.send(ack(1)).delivered("c", 2, "3");
        b.send(ack(2)).silent();
    }

    s13_an_expiration_of_0_is_for_consumers_that_can_take_it_now(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).publish(expiring("q", "lost", "0")).counts("q", 0, 0);
        b.qos(1).consume("q", "c");
        a.publish(expiring("q", "one", "0"));
        b.delivered("c", 1, "one");
        a.publish(expiring("q", "two", "0")).counts("q", 0, 1);
        b.send(ack(1)).silent();
    }

    s13_what_expired_counts_as_confirmed(t) {
        let a = t.peer();
        a.queue(durable("q")).confirm_select();
        let properties = Properties { expiration: Some("0"), ..persistent() };
        a.publish(Publish { properties, ..to("", "q") }).confirmed(&[1]);
    }

    s13_many_expire_at_once_and_others_are_served(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare_with("q", &[("x-message-ttl", int(1000))])).queue(declare("other"));
        for _ in 0..30 {
            a.fill("q", &["x"; 100]);
            t.rest();
        }
        a.counts("q", 3000, 0);
        t.advance(1000);
        b.consume_no_ack("other", "c");
        a.fill("other", &["y"]);
        t.rest();
        b.delivered("c", 1, "y");
        a.counts("q", 0, 0);
    }

    s13_a_quorum_queue_is_not_used_by_being_declared(t) {
        let a = t.peer();
        let quorum = [("x-queue-type", leveret::amqp::Value::LongStr(b"quorum")), ("x-expires", int(1000))];
        let quorum = leveret::amqp::method::QueueDeclare { durable: true, ..declare_with("q", &quorum) };
        a.queue(quorum);
        t.advance(600);
        a.counts("q", 0, 0);
        t.advance(600);
        a.no_queue("q");
    }

    s13_an_unused_queue_goes_with_its_messages(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-expires", int(1000))])).fill("q", &["x", "y"]);
        let b = t.peer();
        b.get("q");
        t.advance(1100);
        a.no_queue("q");
        // What was taken is nobody's any more.
        b.send(ack(1)).silent();
        a.queue(declare_with("q", &[("x-expires", int(1000))])).counts("q", 0, 0);
    }

    s13_an_unused_queue_goes(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare_with("q", &[("x-expires", int(1000))])).fill("q", &["x"]);
        t.advance(900);
        b.counts("q", 1, 0);
        t.advance(900);
        assert_eq!(b.get("q").text(), "x");
        t.advance(900);
        b.consume("q", "c");
        t.advance(5000);
        b.send(nack(1)).delivered("c", 2, "x");
        b.cancel("c").send(nack(2));
        t.advance(900);
        a.counts("q", 1, 0);
        t.advance(1100);
        a.no_queue("q");
    }
}
