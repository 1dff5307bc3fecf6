//! Section 13: priorities.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// A peer, and its queue "q" with these arguments; durable, and its messages are persistent.
fn queue(t: &Net, arguments: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    a.queue(QueueDeclare { durable: true, ..declare_with("q", arguments) });
    a
}

fn classic(t: &Net) -> Peer {
    queue(t, &[("x-max-priority", int(10))])
}

/// Messages with these priorities and bodies.
fn put(a: &Peer, messages: &[(Option<u8>, &str)]) {
    for &(priority, body) in messages {
        let properties = Properties { priority, ..persistent() };
        a.publish(Publish { properties, body, ..to("", "q") });
    }
}

scripts! {
    s13_the_highest_priority_comes_first_and_the_oldest_of_it(t) {
        let a = classic(t);
        put(&a, &[(None, "0a"), (Some(5), "5a"), (Some(9), "9a"), (Some(5), "5b"), (Some(0), "0b"), (Some(9), "9b")]);
        a.counts("q", 6, 0).holds("q", &["9a", "9b", "5a", "5b", "0a", "0b"]);
    }

    s13_a_consumer_gets_the_highest_priority_that_waits(t) {
        let a = classic(t);
        put(&a, &[(Some(1), "1a"), (Some(2), "2a")]);
        let b = t.peer();
        b.qos(1).consume("q", "c").delivered("c", 1, "2a");
        put(&a, &[(Some(3), "3a")]);
        b.send(ack(1)).delivered("c", 2, "3a");
        b.send(ack(2)).delivered("c", 3, "1a");
        b.send(ack(3)).silent();
        put(&a, &[(Some(7), "7a")]);
        b.delivered("c", 4, "7a");
    }

    s13_a_priority_beyond_the_highest_is_the_highest(t) {
        let a = classic(t);
        put(&a, &[(Some(10), "10a"), (Some(255), "255"), (Some(11), "11"), (Some(10), "10b")]);
        a.holds("q", &["10a", "255", "11", "10b"]);
    }

    s13_a_queue_may_have_255_priorities(t) {
        let a = queue(t, &[("x-max-priority", Value::U8(255))]);
        let bodies: Vec<String> = (0..=255u8).map(|priority| priority.to_string()).collect();
        let messages: Vec<_> = (0..=255).map(|n: u8| (Some(n), bodies[usize::from(n)].as_str())).collect();
        put(&a, &messages);
        let mut bodies: Vec<&str> = bodies.iter().map(|body| body.as_str()).collect();
        bodies.reverse();
        a.counts("q", 256, 0).holds("q", &bodies);
    }

    s13_a_highest_priority_of_0_is_one_of_1(t) {
        let a = queue(t, &[("x-max-priority", int(0))]);
        put(&a, &[(None, "none"), (Some(1), "1"), (Some(5), "5")]);
        a.holds("q", &["1", "5", "none"]);
    }

    s13_without_priorities_there_are_none(t) {
        let a = queue(t, &[("x-message-ttl", int(1000))]);
        put(&a, &[(Some(1), "a"), (Some(9), "b")]);
        a.holds("q", &["a", "b"]);
    }

    s13_what_comes_back_has_its_place_among_its_priority(t) {
        let a = classic(t);
        put(&a, &[(Some(1), "1a"), (Some(1), "1b"), (Some(2), "2a"), (Some(2), "2b")]);
        for (tag, body) in [(1, "2a"), (2, "2b"), (3, "1a")] {
            let message = a.get("q");
            assert_eq!((message.delivery_tag, message.text()), (tag, body));
        }
        put(&a, &[(Some(2), "2c")]);
        a.send(nack_up_to(3)).holds("q", &["2a", "2b", "2c", "1a", "1b"]);
    }

    s13_a_lost_consumer_gives_back_every_priority(t) {
        let (a, b) = (classic(t), t.peer());
        put(&a, &[(Some(1), "1a"), (Some(2), "2a"), (None, "0a")]);
        b.consume("q", "c").delivered("c", 1, "2a");
        b.delivered("c", 2, "1a");
        b.delivered("c", 3, "0a");
        b.hang_up();
        t.rest();
        let first = a.get("q");
        assert_eq!((first.text(), first.redelivered, first.message_count), ("2a", true, 2));
        a.send(ack(1)).holds("q", &["1a", "0a"]);
    }

    s13_a_full_queue_lets_go_of_the_oldest_of_the_highest_priority(t) {
        let a = queue(t, &[("x-max-priority", int(10)), ("x-max-length", int(2))]);
        put(&a, &[(Some(1), "1a"), (Some(2), "2a"), (Some(0), "0a")]);
        t.rest();
        a.counts("q", 2, 0).holds("q", &["1a", "0a"]);
    }

    s13_messages_expire_at_the_head_of_each_priority(t) {
        let a = queue(t, &[("x-max-priority", int(10))]);
        let put = |priority, body, expiration| {
            let properties = Properties { priority: Some(priority), expiration, ..persistent() };
            a.publish(Publish { properties, body, ..to("", "q") });
        };
        put(5, "5 stays", None);
        put(5, "5 is behind", Some("100"));
        put(1, "1 goes", Some("100"));
        put(0, "0 goes", Some("100"));
        put(0, "0 stays", None);
        a.counts("q", 5, 0);
        t.advance(100);
        a.counts("q", 3, 0);
        assert_eq!(a.get("q").text(), "5 stays");
        a.holds("q", &["0 stays"]);
    }

    s13_a_purge_and_a_delete_take_every_priority(t) {
        let (a, b) = (classic(t), t.peer());
        put(&a, &[(Some(1), "1a"), (Some(2), "2a"), (None, "0a")]);
        assert_eq!(b.get("q").text(), "2a");
        a.send(purge("q")).expect(purge_ok(2)).counts("q", 0, 0);
        b.send(nack(1));
        t.rest();
        put(&a, &[(Some(3), "3a"), (None, "0b")]);
        a.counts("q", 3, 0).send(delete("q")).expect(delete_ok(3)).no_queue("q");
        a.queue(declare("q")).empty("q");
    }

    s13_quorum_queues_have_32_priorities_and_4_is_the_common_one(t) {
        let a = queue(t, &[("x-queue-type", s("quorum"))]);
        put(&a, &[
            (Some(0), "0"), (None, "none"), (Some(3), "3"), (Some(4), "4"), (Some(5), "5"), (Some(31), "31"),
            (Some(40), "40"), (Some(30), "30"),
        ]);
        a.counts("q", 8, 0).holds("q", &["31", "40", "30", "5", "none", "4", "3", "0"]);
    }

    s13_every_priority_lies_on_the_disk_and_comes_back_in_order(t) {
        let t = &t.with(|settings| {
            settings.limits.messages_bytes_max = 1;
            settings.limits.stored_messages_bytes_max = 1;
            settings.limits.fetch_bytes_max = 1000;
        });
        let a = classic(t);
        let bodies: Vec<String> = (0..900).map(|n| format!("{}-{n}", n % 3)).collect();
        for (n, body) in bodies.iter().enumerate() {
            put(&a, &[(Some((n % 3) as u8), body)]);
        }
        t.rest();
        let mut sorted: Vec<&str> = bodies.iter().map(|body| body.as_str()).collect();
        sorted.sort_by_key(|body| std::cmp::Reverse(body.as_bytes()[0]));
        a.counts("q", 900, 0).holds("q", &sorted);
    }
}
