//! Section 13: how many messages a queue takes, and what it does with the others.

use leveret::amqp::Properties;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// A peer, and its durable queue "q" with these limits, whose dead letters go to "dead".
fn limited(t: &Net, limits: &[(&str, leveret::amqp::Value<'_>)]) -> Peer {
    let a = t.peer();
    let dead = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
    let arguments: Vec<_> = limits.iter().chain(&dead).copied().collect();
    a.queue(durable("dead")).queue(QueueDeclare { durable: true, ..declare_with("q", &arguments) });
    a
}

/// Persistent messages.
fn keep(a: &Peer, queue: &str, bodies: &[&str]) {
    for body in bodies {
        a.publish(Publish { properties: persistent(), body, ..to("", queue) });
    }
}

scripts! {
    s13_a_queue_at_its_length_lets_go_of_the_oldest(t) {
        let a = limited(t, &[("x-max-length", int(2))]);
        keep(&a, "q", &["1", "2", "3", "4"]);
        t.rest();
        a.counts("q", 2, 0).holds("q", &["3", "4"]).holds("dead", &["1", "2"]);
    }

    s13_a_length_in_bytes_is_that_of_bodies(t) {
        let a = limited(t, &[("x-max-length-bytes", int(10))]);
        keep(&a, "q", &["12345", "67890"]);
        t.rest();
        a.counts("q", 2, 0);
        keep(&a, "q", &["x"]);
        t.rest();
        a.counts("q", 2, 0);
        keep(&a, "q", &["12345678901"]);
        t.rest();
        a.counts("q", 0, 0).holds("dead", &["12345", "67890", "x", "12345678901"]);
    }

    s13_what_is_taken_is_not_ready_and_does_not_count(t) {
        let a = limited(t, &[("x-max-length-bytes", int(4)), ("x-max-length", int(2))]);
        keep(&a, "q", &["aa", "bb"]);
        t.rest();
        assert_eq!(a.get("q").text(), "aa");
        keep(&a, "q", &["cc"]);
        t.rest();
        a.counts("q", 2, 0).counts("dead", 0, 0);
        // Back at its old place it is the first that goes.
        a.send(nack(1));
        t.rest();
        a.counts("q", 2, 0).holds("q", &["bb", "cc"]).holds("dead", &["aa"]);
    }

    s13_a_length_of_0_is_for_consumers_that_can_take_it_now(t) {
        let (a, b) = (limited(t, &[("x-max-length", int(0))]), t.peer());
        keep(&a, "q", &["lost"]);
        b.qos(1).consume("q", "c");
        keep(&a, "q", &["one"]);
        b.delivered("c", 1, "one");
        keep(&a, "q", &["two"]);
        t.rest();
        a.counts("q", 0, 1).holds("dead", &["lost", "two"]);
    }

    s13_without_anywhere_to_go_it_is_dropped(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-max-length", int(1))])).fill("q", &["1", "2", "3"]);
        t.rest();
        a.holds("q", &["3"]);
    }

    s13_what_is_dropped_counts_as_confirmed(t) {
        let a = limited(t, &[("x-max-length", int(1))]);
        a.confirm_select();
        keep(&a, "q", &["1", "2", "3"]);
        a.confirmed(&[1, 2, 3]);
    }

    s13_a_full_queue_refuses_and_drops_nothing(t) {
        let a = limited(t, &[("x-max-length", int(2)), ("x-overflow", s("reject-publish"))]);
        keep(&a, "q", &["1", "2", "3"]);
        a.counts("q", 2, 0);
        // What comes back is never refused.
        assert_eq!(a.get("q").text(), "1");
        keep(&a, "q", &["4"]);
        a.send(nack(1));
        t.rest();
        a.holds("q", &["1", "2", "4"]).holds("dead", &[]);
    }

    s13_a_full_queue_may_dead_letter_what_it_refuses(t) {
        let a = limited(t, &[("x-max-length-bytes", int(2)), ("x-overflow", s("reject-publish-dlx"))]);
        a.confirm_select();
        keep(&a, "q", &["12", "3"]);
        a.told(&[1], &[2]);
        t.rest();
        assert_eq!(a.get("dead").header("x-first-death-reason"), Some(s("maxlen")));
        a.holds("q", &["12"]);
    }

    s13_a_full_quorum_queue_does_not_dead_letter_what_it_refuses(t) {
        let quorum = ("x-queue-type", s("quorum"));
        let a = limited(t, &[quorum, ("x-max-length", int(1)), ("x-overflow", s("reject-publish-dlx"))]);
        a.confirm_select();
        keep(&a, "q", &["1", "2"]);
        a.told(&[1, 2], &[]);
        t.rest();
        a.holds("q", &["2"]).holds("dead", &["1"]);
    }

    s13_a_full_queue_refuses_although_a_consumer_waits(t) {
        let (a, b) = (limited(t, &[("x-max-length", int(0)), ("x-overflow", s("reject-publish"))]), t.peer());
        b.consume("q", "c");
        a.confirm_select();
        keep(&a, "q", &["x"]);
        a.told(&[], &[1]);
        b.silent();
    }

    s13_a_purge_makes_room(t) {
        let a = limited(t, &[("x-max-length-bytes", int(2)), ("x-overflow", s("reject-publish"))]);
        a.confirm_select();
        keep(&a, "q", &["ab"]);
        a.told(&[1], &[]);
        keep(&a, "q", &["c"]);
        a.told(&[], &[2]);
        a.send(purge("q")).expect(purge_ok(1));
        keep(&a, "q", &["de"]);
        a.told(&[3], &[]);
        t.rest();
        a.holds("q", &["de"]).holds("dead", &[]);
    }

    s13_lives_and_limits_hold_for_what_lies_on_the_disk(t) {
        let t = &t.with(|settings| {
            settings.limits.messages_bytes_max = 1;
            settings.limits.stored_messages_bytes_max = 1;
            settings.limits.fetch_bytes_max = 1000;
        });
        let a = limited(t, &[("x-max-length", int(600)), ("x-message-ttl", int(1000))]);
        let bodies: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let bodies: Vec<&str> = bodies.iter().map(|body| body.as_str()).collect();
        for part in bodies.chunks(250) {
            keep(&a, "q", part);
            t.rest();
        }
        a.counts("q", 600, 0).counts("dead", 400, 0);
        t.advance(2000);
        a.counts("q", 0, 0).counts("dead", 1000, 0).holds("dead", &bodies);
    }

    s13_expiration_is_no_matter_to_what_has_none(t) {
        let a = t.peer();
        a.queue(declare("q"));
        let properties = Properties { expiration: Some("10"), ..Properties::default() };
        a.publish(Publish { properties, body: "goes", ..to("", "q") }).fill("q", &["stays"]);
        t.advance(20);
        a.holds("q", &["stays"]);
    }
}
