//! Delayed retries (RabbitMQ 4.3 on quorum queues, LavinMQ on classic ones): what comes back rests first.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// A queue "q" with these arguments, and "dead" for its dead letters.
fn queue(t: &Net, queue_type: &str, more: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    let arguments =
        [("x-queue-type", s(queue_type)), ("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
    let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
    a.queue(durable("dead")).queue(QueueDeclare { durable: true, ..declare_with("q", &arguments) });
    a
}

/// Nothing is ready until `ms` have gone by, and then one message is.
fn rests(t: &Net, a: &Peer, ms: u64) {
    t.advance(ms - 1);
    a.counts("q", 0, 0);
    t.advance(1);
    a.counts("q", 1, 0);
}

const MIN: &str = "x-delayed-retry-min";
const MAX: &str = "x-delayed-retry-max";
const TYPE: &str = "x-delayed-retry-type";

scripts! {
    s13_a_failed_message_rests_longer_each_time(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000)), (MAX, int(2500))]);
        a.fill("q", &["x"]);
        for (tag, ms) in [(1, 1000), (2, 2000), (3, 2500), (4, 2500)] {
            assert_eq!(a.get("q").delivery_tag, tag);
            a.send(reject(tag)).counts("q", 0, 0);
            rests(t, &a, ms);
        }
        let last = a.get("q");
        assert_eq!((last.redelivered, last.header("x-delivery-count")), (true, Some(Value::I64(4))));
        a.send(ack(5)).counts("q", 0, 0);
    }

    s13_what_is_returned_without_fault_rests_as_after_the_first_time(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000)), (MAX, int(60_000))]);
        a.fill("q", &["x"]);
        for tag in 1..=3 {
            a.get("q");
            a.send(nack(tag));
            rests(t, &a, 1000);
        }
    }

    s13_of_the_failed_only(t) {
        let a = queue(t, "quorum", &[(TYPE, s("failed")), (MIN, int(1000))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(nack(1)).counts("q", 1, 0);
        a.get("q");
        a.send(reject(2));
        rests(t, &a, 1000);
    }

    s13_of_the_returned_only(t) {
        let a = queue(t, "quorum", &[(TYPE, s("returned")), (MIN, int(1000))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(reject(1)).counts("q", 1, 0);
        a.get("q");
        a.send(nack(2));
        rests(t, &a, 1000);
    }

    s13_of_none(t) {
        let a = queue(t, "quorum", &[(TYPE, s("disabled")), (MIN, int(1000))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(reject(1)).counts("q", 1, 0);
    }

    s13_a_lost_consumers_messages_rest(t) {
        let (a, b) = (queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000))]), t.peer());
        a.fill("q", &["x"]);
        b.consume("q", "c").delivered("c", 1, "x");
        b.hang_up();
        t.rest();
        a.counts("q", 0, 0);
        rests(t, &a, 1000);
    }

    s13_what_rests_is_not_in_the_way(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000)), ("x-max-length", int(1))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(reject(1)).fill("q", &["y"]);
        assert_eq!(a.get("q").text(), "y");
        let b = t.peer();
        b.consume("q", "c").silent();
        t.advance(1000);
        b.delivered("c", 1, "x");
    }

    s13_a_purge_leaves_what_rests_and_a_delete_does_not(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000))]);
        a.fill("q", &["x", "y"]);
        a.get("q");
        a.send(reject(1)).send(purge("q")).expect(purge_ok(1));
        rests(t, &a, 1000);
        a.get("q");
        a.send(reject(2)).send(delete("q")).expect(delete_ok(0)).no_queue("q");
        t.advance(5000);
        a.queue(declare("q")).counts("q", 0, 0).counts("dead", 0, 0);
    }

    s13_after_the_last_retry_it_is_dead(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000)), ("x-delivery-limit", int(1))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(reject(1));
        rests(t, &a, 1000);
        a.get("q");
        a.send(reject(2));
        t.rest();
        a.counts("q", 0, 0);
        assert_eq!(a.get("dead").header("x-first-death-reason"), Some(s("delivery_limit")));
    }

    s13_what_lived_too_long_while_it_rested_is_dead(t) {
        let a = queue(t, "quorum", &[(TYPE, s("all")), (MIN, int(1000)), ("x-message-ttl", int(500))]);
        a.fill("q", &["x"]);
        a.get("q");
        a.send(reject(1)).counts("q", 0, 0);
        t.advance(1000);
        t.rest();
        a.counts("q", 0, 0);
        assert_eq!(a.get("dead").header("x-first-death-reason"), Some(s("expired")));
    }

    s13_a_classic_queue_needs_no_type_and_each_return_counts(t) {
        let a = queue(t, "classic", &[(MIN, int(1000))]);
        a.fill("q", &["x"]);
        for (tag, ms) in [(1, 1000), (2, 2000), (3, 3000)] {
            a.get("q");
            a.send(nack(tag));
            rests(t, &a, ms);
        }
    }

    s13_a_multiplier_makes_it_grow_faster(t) {
        let a = queue(t, "classic", &[(MIN, int(100)), ("x-delayed-retry-multiplier", int(3)), (MAX, int(2000))]);
        a.fill("q", &["x"]);
        for (tag, ms) in [(1, 100), (2, 300), (3, 900), (4, 2000), (5, 2000)] {
            a.get("q");
            a.send(nack(tag));
            rests(t, &a, ms);
        }
    }

    s13_a_classic_queue_with_retries_has_a_delivery_limit(t) {
        let a = queue(t, "classic", &[(MIN, int(10)), ("x-delivery-limit", int(2))]);
        a.fill("q", &["x"]);
        for tag in 1..=3 {
            a.get("q");
            a.send(nack(tag));
            t.advance(100);
        }
        t.rest();
        a.counts("q", 0, 0);
        assert_eq!(a.get("dead").header("x-first-death-reason"), Some(s("delivery_limit")));
    }
}
