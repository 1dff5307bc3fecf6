//! Section 13: the single active consumer.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::scripts;
use crate::say::*;

fn single(queue: &str) -> QueueDeclare<'_> {
    declare_with(queue, &[("x-single-active-consumer", Value::Bool(true))])
}

fn single_quorum(queue: &str) -> QueueDeclare<'_> {
    let arguments = [("x-single-active-consumer", Value::Bool(true)), ("x-queue-type", s("quorum"))];
    QueueDeclare { durable: true, ..declare_with(queue, &arguments) }
}

fn with_priority<'a>(tag: &'a str, priority: i32) -> BasicConsume<'a> {
    BasicConsume { arguments: table(&[("x-priority", int(priority))]), ..consume("q", tag) }
}

scripts! {
    s13_a_single_active_consumer_gets_everything(t) {
        let (a, b) = (t.peer(), t.peer());
        t.peer().queue(single("q"));
        a.consume("q", "c");
        b.consume("q", "d").fill("q", &["1", "2", "3"]);
        for (tag, body) in [(1, "1"), (2, "2"), (3, "3")] {
            a.delivered("c", tag, body);
        }
        b.silent().counts("q", 0, 2);
    }

    s13_the_next_single_active_consumer_is_the_next_registered(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        t.peer().queue(single("q"));
        a.consume("q", "a");
        b.consume("q", "b");
        c.consume("q", "c").fill("q", &["1"]);
        a.delivered("a", 1, "1");
        a.cancel("a").send(ack(1));
        c.fill("q", &["2"]);
        b.delivered("b", 1, "2");
        b.hang_up();
        assert!(c.delivered("c", 1, "2").redelivered);
    }

    s13_a_lost_single_active_consumer_hands_its_messages_on(t) {
        let (a, b) = (t.peer(), t.peer());
        t.peer().queue(single("q"));
        a.consume("q", "a");
        b.consume("q", "b").fill("q", &["1", "2"]);
        a.delivery();
        a.delivery();
        a.hang_up();
        assert!(b.delivered("b", 1, "1").redelivered && b.delivered("b", 2, "2").redelivered);
    }

    s13_a_limit_of_the_active_one_brings_nobody_elses_turn(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(single("q")).qos(1).consume("q", "a");
        b.consume("q", "b");
        t.peer().fill("q", &["1", "2"]).counts("q", 1, 2);
        let first = a.delivery();
        b.silent();
        a.send(ack(first.delivery_tag));
        assert_eq!(a.delivery().text(), "2");
        b.silent();
    }

    s13_the_next_is_the_one_that_came_next(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        a.queue(single("q")).consume("q", "a");
        b.consume("q", "b");
        c.send(with_priority("c", 5)).expect(BasicConsumeOk { consumer_tag: "c" });
        let d = t.peer();
        d.fill("q", &["1"]);
        a.delivery();
        a.cancel("a");
        d.fill("q", &["2"]);
        assert_eq!(b.delivery().text(), "2", "not the one with the higher priority");
        // What the first had stays with it until its channel ends.
        d.counts("q", 0, 2);
        a.close();
        let again = b.delivery();
        assert_eq!((again.text(), again.redelivered), ("1", true));
        b.close();
        for body in ["1", "2"] {
            assert_eq!(c.delivery().text(), body);
        }
        d.counts("q", 0, 1);
    }

    s13_what_waits_goes_to_the_next(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(single("q")).qos(1).consume("q", "a");
        b.consume("q", "b");
        t.peer().fill("q", &["1", "2", "3"]).counts("q", 2, 2);
        let first = a.delivery();
        a.cancel("a");
        assert_eq!(b.delivery().text(), "2");
        assert_eq!(b.delivery().text(), "3");
        a.send(ack(first.delivery_tag));
        b.silent();
    }

    s13_nobody_has_it_exclusively(t) {
        let a = t.peer();
        a.queue(single("q"));
        a.send(BasicConsume { exclusive: true, ..consume("q", "a") });
        a.closed(403, "queue 'q' in vhost '/' in exclusive use", BasicConsume::ID);
        let b = t.peer();
        b.queue(single_quorum("r")).send(BasicConsume { exclusive: true, ..consume("r", "b") });
        b.expect(BasicConsumeOk { consumer_tag: "b" });
        b.consume("r", "c");
    }

    s13_get_beside_a_single_active_consumer(t) {
        let a = t.peer();
        a.queue(single("q")).fill("q", &["1"]).get("q");
        a.queue(single_quorum("r"));
        let text = "cannot obtain access to locked queue 'r' in vhost '/'. basic.get operations are not supported by \
                    <<\"quorum\">> queues with single active consumer";
        a.send(get("r")).closed(405, text, BasicGet::ID);
    }

    s13_in_a_quorum_queue_a_higher_priority_takes_over(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        a.queue(QueueDeclare { queue: "q", ..single_quorum("q") }).send(with_priority("a", 1));
        a.expect(BasicConsumeOk { consumer_tag: "a" });
        let d = t.peer();
        d.fill("q", &["1"]);
        let first = a.delivery();
        b.send(with_priority("b", 1)).expect(BasicConsumeOk { consumer_tag: "b" });
        c.send(with_priority("c", 2)).expect(BasicConsumeOk { consumer_tag: "c" });
        // The active one finishes what it has.
        d.fill("q", &["2"]).counts("q", 1, 3);
        a.silent();
        c.silent();
        a.send(ack(first.delivery_tag));
        assert_eq!(c.delivery().text(), "2");
        c.close();
        let again = a.delivery();
        assert_eq!(again.text(), "2", "the first of those with the same priority");
        b.silent();
    }

    s13_who_came_to_take_over_and_goes_again(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(single_quorum("q")).send(with_priority("a", 1)).expect(BasicConsumeOk { consumer_tag: "a" });
        let d = t.peer();
        d.fill("q", &["1"]);
        a.delivery();
        b.send(with_priority("b", 2)).expect(BasicConsumeOk { consumer_tag: "b" });
        d.fill("q", &["2"]).counts("q", 1, 2);
        b.cancel("b");
        assert_eq!(a.delivery().text(), "2");
    }
}
