//! Section 14.1: dead letters that come back to where they died.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// Queues, each of which dead-letters to the next, and the last to the first; each has these arguments besides.
fn ring(t: &Net, names: &[&str], more: &[(&str, Value<'_>)]) {
    for (n, name) in names.iter().enumerate() {
        let next = names[(n + 1) % names.len()];
        let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s(next))];
        let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
        t.peer().queue(QueueDeclare { durable: true, ..declare_with(name, &arguments) });
    }
}

fn total(a: &Peer, names: &[&str]) -> u32 {
    let count = |name| {
        a.send(passive(name)).expect_id(QueueDeclareOk::ID, |method| match method {
            leveret::amqp::Method::QueueDeclareOk(ok) => ok.message_count,
            _ => unreachable!(),
        })
    };
    names.iter().map(|name| count(name)).sum()
}

const RING: [&str; 3] = ["a", "b", "c"];

scripts! {
    s14_1_a_message_that_only_expires_goes_round_once(t) {
        ring(t, &RING, &[("x-message-ttl", int(1000))]);
        let a = t.peer();
        for body in ["1", "2", "3"] {
            a.publish(Publish { properties: persistent(), body, ..to("", "a") });
        }
        a.counts("a", 3, 0);
        t.advance(1000);
        t.rest();
        a.counts("a", 0, 0).counts("b", 3, 0);
        t.advance(1000);
        t.rest();
        a.counts("b", 0, 0).counts("c", 3, 0);
        t.advance(1000);
        t.rest();
        assert_eq!(total(&a, &RING), 0);
    }

    s14_1_a_queue_that_leads_to_itself_drops_what_expires(t) {
        ring(t, &["a"], &[("x-message-ttl", int(1000))]);
        let a = t.peer();
        a.fill("a", &["x"]);
        t.advance(1000);
        t.rest();
        a.counts("a", 0, 0);
    }

    s14_1_a_queue_that_leads_to_itself_drops_what_is_too_much(t) {
        ring(t, &["a"], &[("x-max-length", int(1))]);
        let a = t.peer();
        a.fill("a", &["1", "2", "3"]);
        t.rest();
        a.holds("a", &["3"]);
    }

    s14_1_what_was_rejected_goes_round_for_ever(t) {
        ring(t, &RING, &[]);
        let a = t.peer();
        a.publish(Publish { properties: persistent(), body: "x", ..to("", "a") });
        for tag in 1..=12u64 {
            let queue = RING[(tag as usize - 1) % 3];
            t.rest();
            let message = a.get(queue);
            assert_eq!((message.delivery_tag, message.text()), (tag, "x"));
            a.send(BasicReject { requeue: false, ..reject(tag) });
        }
        t.rest();
        let message = a.get("a");
        let Some(Value::Array(deaths)) = message.header("x-death") else { panic!("no x-death") };
        let counts: Vec<_> = deaths
            .iter()
            .map(|death| match death {
                Value::Table(death) => (death.find("queue"), death.find("count")),
                other => panic!("{other:?}"),
            })
            .collect();
        let died = |queue: &'static str| (Some(s(queue)), Some(Value::I64(4)));
        assert_eq!(counts, [died("c"), died("b"), died("a")]);
    }

    s14_1_one_rejection_on_the_way_is_enough(t) {
        // Expires in "a", is rejected in "b", and so on: its newest death in "b" is always a rejection.
        let arguments = [
            ("x-dead-letter-exchange", s("")),
            ("x-dead-letter-routing-key", s("b")),
            ("x-message-ttl", int(1000)),
        ];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("a", &arguments) });
        let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("a"))];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("b", &arguments) });
        let a = t.peer();
        a.publish(Publish { properties: persistent(), body: "x", ..to("", "a") });
        for tag in 1..=5 {
            t.advance(1000);
            t.rest();
            assert_eq!(a.get("b").text(), "x");
            a.send(BasicReject { requeue: false, ..reject(tag) });
            t.rest();
            a.counts("a", 1, 0);
        }
    }

    s14_1_a_ring_of_three_queues_under_load_does_not_hold_others_up(t) {
        ring(t, &RING, &[("x-max-length", int(5)), ("x-message-ttl", int(1000))]);
        t.queues(&["other"]);
        let (a, b) = (t.peer(), t.peer());
        b.consume_no_ack("other", "c");
        a.confirm_select();
        let mut seqno = 0;
        for round in 0..20u64 {
            for n in 0..10 {
                a.publish(Publish { properties: persistent(), body: "x", ..to("", RING[n % 3]) });
            }
            t.rest();
            a.told(&(seqno + 1..=seqno + 10).collect::<Vec<u64>>(), &[]);
            seqno += 10;
            t.peer().fill("other", &["y"]).quit();
            b.delivered("c", round + 1, "y");
            t.advance(100);
        }
        t.rest();
        assert!(total(&a, &RING) <= 15);
        // What waits for another shard comes to its next queue later, and waits there anew.
        for _ in 0..8 {
            t.advance(1000);
            t.rest();
        }
        assert_eq!(total(&a, &RING), 0);
    }

    s14_1_a_ring_goes_on_while_a_consumer_rejects(t) {
        ring(t, &RING, &[]);
        let a = t.peer();
        for _ in 0..10 {
            a.publish(Publish { properties: persistent(), body: "x", ..to("", "a") });
        }
        let b = t.peer();
        b.qos(3);
        for name in RING {
            b.send(BasicConsume { no_wait: true, ..consume(name, name) });
        }
        let properties: Properties<'_> = persistent();
        for _ in 0..200 {
            let message = b.delivery();
            assert_eq!(message.text(), "x");
            b.send(BasicReject { requeue: false, ..reject(message.delivery_tag) });
            t.rest();
        }
        a.publish(Publish { properties, body: "x", ..to("", "a") });
        b.careless().hang_up();
        t.rest();
        assert_eq!(total(&a, &RING), 11);
    }
}
