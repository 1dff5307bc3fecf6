//! Sections 12.7, 12.8 and 14.4: what quorum queues count, and how long a delivery may wait for its acknowledgement.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Message, Peer};
use crate::say::*;

/// A quorum queue "q" with these arguments, and "dead" for its dead letters.
fn quorum(t: &Net, more: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    let arguments =
        [("x-queue-type", s("quorum")), ("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
    let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
    a.queue(durable("dead")).queue(QueueDeclare { durable: true, ..declare_with("q", &arguments) });
    a
}

/// How often it was acquired and has failed, as headers say.
fn counts(message: &Message) -> (Option<i64>, Option<i64>) {
    let count = |key| match message.header(key) {
        Some(Value::I64(count)) => Some(count),
        None => None,
        other => panic!("{key} is {other:?}"),
    };
    (count("x-acquired-count"), count("x-delivery-count"))
}

/// A client that does not take basic.cancel.
fn plain(t: &Net) -> Peer {
    t.login(Login { capabilities: &["basic.nack"], ..LOGIN })
}

const MINUTE: u64 = 60_000;

scripts! {
    s12_7_redeliveries_tell_how_often(t) {
        let a = quorum(t, &[]);
        a.fill("q", &["x"]);
        let first = a.get("q");
        assert_eq!((first.redelivered, counts(&first)), (false, (None, None)));
        // A nack is no failure, a reject is.
        a.send(nack(1));
        let second = a.get("q");
        assert_eq!((second.redelivered, counts(&second)), (true, (Some(1), None)));
        a.send(reject(2));
        assert_eq!(counts(&a.get("q")), (Some(2), Some(1)));
        a.send(recover()).expect(BasicRecoverOk {});
        assert_eq!(counts(&a.get("q")), (Some(3), Some(1)));
        // So is the loss of the channel.
        a.close().reopen();
        t.rest();
        assert_eq!(counts(&a.get("q")), (Some(4), Some(2)));
        a.hang_up();
        t.rest();
        let b = t.peer();
        assert_eq!(counts(&b.get("q")), (Some(5), Some(3)));
        b.send(ack(1)).counts("q", 0, 0);
    }

    s12_7_counts_are_a_messages_own(t) {
        let a = quorum(t, &[]);
        a.fill("q", &["x", "y"]);
        a.get("q");
        a.send(reject(1));
        let b = t.peer();
        b.consume("q", "c");
        assert_eq!(counts(&b.delivered("c", 1, "x")), (Some(1), Some(1)));
        assert_eq!(counts(&b.delivered("c", 2, "y")), (None, None));
        b.send(ack_up_to(2)).cancel("c");
        a.fill("q", &["z"]);
        assert_eq!(counts(&b.get("q")), (None, None));
    }

    s12_7_what_a_publisher_says_of_counts_is_replaced(t) {
        let a = quorum(t, &[]);
        let properties = with_headers(&[("x-acquired-count", int(77)), ("mine", int(1))]);
        a.publish(Publish { properties, ..to("", "q") });
        a.get("q");
        a.send(nack(1));
        let message = a.get("q");
        assert_eq!((counts(&message), message.header("mine")), ((Some(1), None), Some(int(1))));
    }

    s12_7_a_classic_queue_tells_nothing(t) {
        let a = t.peer();
        a.queue(declare("q")).fill("q", &["x"]);
        a.get("q");
        a.send(reject(1));
        assert_eq!(counts(&a.get("q")), (None, None));
    }

    s14_4_beyond_the_delivery_limit_a_message_is_dead(t) {
        let a = quorum(t, &[("x-delivery-limit", int(2))]);
        a.fill("q", &["x"]);
        for tag in 1..=3 {
            assert_eq!(a.get("q").delivery_tag, tag);
            a.send(reject(tag));
        }
        t.rest();
        a.counts("q", 0, 0);
        let dead = a.get("dead");
        assert_eq!(dead.header("x-first-death-reason"), Some(s("delivery_limit")));
        assert_eq!(dead.header("x-first-death-queue"), Some(s("q")));
    }

    s14_4_the_delivery_limit_is_20(t) {
        let a = quorum(t, &[]);
        a.fill("q", &["x"]);
        for tag in 1..=21 {
            assert_eq!(a.get("q").delivery_tag, tag);
            a.send(reject(tag));
        }
        t.rest();
        a.counts("q", 0, 0).counts("dead", 1, 0);
    }

    s14_4_a_limit_of_0_allows_one_delivery(t) {
        let a = quorum(t, &[("x-delivery-limit", int(0))]);
        a.fill("q", &["x", "y"]);
        a.get("q");
        a.send(nack(1));
        assert_eq!(a.get("q").text(), "x");
        a.get("q");
        a.close().reopen();
        t.rest();
        a.counts("q", 0, 0).holds("dead", &["x", "y"]);
    }

    s14_4_a_negative_limit_is_none(t) {
        let a = quorum(t, &[("x-delivery-limit", int(-1))]);
        a.fill("q", &["x"]);
        for tag in 1..=40 {
            a.get("q");
            a.send(reject(tag));
        }
        assert_eq!(counts(&a.get("q")), (Some(40), Some(40)));
    }

    s12_8_a_consumer_that_takes_too_long_is_cancelled(t) {
        let a = quorum(t, &[("x-consumer-timeout", int(8 * 60_000))]);
        a.fill("q", &["x", "y"]);
        let b = t.peer();
        b.consume("q", "c").delivered("c", 1, "x");
        b.delivered("c", 2, "y");
        t.advance(4 * MINUTE);
        b.send(ack(2)).silent();
        t.advance(3 * MINUTE);
        b.silent();
        t.advance(3 * MINUTE);
        b.expect(cancelled("c"));
        t.rest();
        // It was acquired, but did not fail.
        let again = a.get("q");
        assert_eq!((again.text(), counts(&again), again.message_count), ("x", (Some(1), None), 0));
        // What comes late is of no effect, and the channel goes on.
        b.send(ack(1)).silent();
        a.send(ack(1)).counts("q", 0, 0);
        b.consume("q", "c");
        a.fill("q", &["z"]);
        b.delivered("c", 3, "z");
        b.send(ack(3)).silent();
        a.close();
    }

    s12_8_a_client_that_takes_no_cancel_loses_its_channel(t) {
        let a = quorum(t, &[("x-consumer-timeout", int(60_000))]);
        a.fill("q", &["x"]);
        let b = plain(t);
        b.consume("q", "c").delivered("c", 1, "x");
        t.advance(2 * MINUTE);
        let text = "delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms. This timeout value \
                    can be configured, see consumers doc guide to learn more";
        b.closed(406, text, leveret::amqp::MethodId::NONE).reopen();
        t.rest();
        a.counts("q", 1, 0);
    }

    s12_8_half_an_hour_when_nothing_is_said(t) {
        let a = quorum(t, &[]);
        a.fill("q", &["x"]);
        let b = t.peer();
        b.consume("q", "c").delivered("c", 1, "x");
        t.advance(29 * MINUTE);
        b.silent();
        t.advance(10 * MINUTE);
        b.expect(cancelled("c"));
        t.rest();
        a.counts("q", 1, 0);
    }

    s12_8_the_configuration_says_it_for_who_says_nothing(t) {
        let t = &t.with(|settings| settings.consumer_timeout_ms = 2 * 60_000);
        let a = quorum(t, &[]);
        a.queue(QueueDeclare {
            durable: true,
            ..declare_with("r", &[("x-queue-type", s("quorum")), ("x-consumer-timeout", int(60 * 60_000))])
        });
        a.fill("q", &["x"]).fill("r", &["y"]);
        let (b, c) = (t.peer(), t.peer());
        b.consume("q", "b").delivered("b", 1, "x");
        c.consume("r", "c").delivered("c", 1, "y");
        t.advance(MINUTE);
        b.silent();
        t.advance(2 * MINUTE);
        b.expect(cancelled("b"));
        c.silent();
        t.rest();
        a.counts("q", 1, 0);
        // A policy goes before the configuration, too.
        t.policy("p", r#"{"pattern": "^q$", "definition": {"consumer-timeout": 3600000}, "apply-to": "queues"}"#);
        b.consume("q", "b").delivered("b", 2, "x");
        t.advance(30 * MINUTE);
        b.silent();
    }

    s12_8_without_a_bound_in_the_configuration_there_is_none(t) {
        let t = &t.with(|settings| settings.consumer_timeout_ms = 0);
        let a = quorum(t, &[]);
        a.fill("q", &["x"]).consume("q", "c").delivered("c", 1, "x");
        t.advance(600 * MINUTE);
        a.send(ack(1)).silent();
    }

    s12_8_a_consumer_may_ask_for_another_time(t) {
        let a = quorum(t, &[("x-consumer-timeout", int(3_600_000))]);
        a.fill("q", &["x", "y"]);
        let (b, c) = (t.peer(), t.peer());
        let arguments = table(&[("x-consumer-timeout", int(1000))]);
        b.qos(1).send(BasicConsume { arguments, ..consume("q", "b") }).expect(BasicConsumeOk { consumer_tag: "b" });
        b.delivered("b", 1, "x");
        c.qos(1).consume("q", "c").delivered("c", 1, "y");
        t.advance(2000);
        b.expect(cancelled("b"));
        c.silent();
        t.rest();
        a.counts("q", 1, 1);
    }

    s12_8_who_keeps_up_is_never_cancelled(t) {
        let a = quorum(t, &[("x-consumer-timeout", int(1000))]);
        let b = t.peer();
        b.consume("q", "c");
        for tag in 1..=20 {
            a.fill("q", &["x"]);
            b.delivered("c", tag, "x");
            t.advance(700);
            b.send(ack(tag)).silent();
        }
        t.advance(10_000);
        b.silent();
    }

    s12_8_classic_queues_have_no_such_time(t) {
        let a = t.peer();
        a.queue(declare("q")).fill("q", &["x"]);
        a.consume("q", "c").delivered("c", 1, "x");
        t.advance(120 * MINUTE);
        a.send(ack(1)).silent();
    }
}
