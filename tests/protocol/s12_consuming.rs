//! Section 12.1 to 12.4: consuming, cancelling, prefetch, getting.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::scripts;
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const IN_EXCLUSIVE_USE: &str = "queue 'q' in vhost '/' in exclusive use";

fn exclusively<'a>(queue: &'a str, consumer_tag: &'a str) -> BasicConsume<'a> {
    BasicConsume { exclusive: true, ..consume(queue, consumer_tag) }
}

fn with_priority<'a>(queue: &'a str, consumer_tag: &'a str, priority: Value<'_>) -> BasicConsume<'a> {
    BasicConsume { arguments: table(&[("x-priority", priority)]), ..consume(queue, consumer_tag) }
}

scripts! {
    s12_1_consume(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.fill("q", &["1"]);
        let message = a.delivered("c", 1, "1");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str(), message.redelivered), ("", "q", false));
    }

    s12_1_consume_ok_comes_before_the_first_deliver(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).send(consume("q", "c")).expect(BasicConsumeOk { consumer_tag: "c" });
        a.delivered("c", 1, "1");
        a.delivered("c", 2, "2");
    }

    s12_1_a_missing_queue(t) {
        t.peer().send(consume("q", "c")).closed(404, "no queue 'q' in vhost '/'", BasicConsume::ID);
    }

    s12_1_a_tag_in_use_on_the_channel(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.consume("q", "c").send(consume("r", "c")).dies(530, "attempt to reuse consumer tag 'c'", BasicConsume::ID);
    }

    s12_1_a_tag_in_use_on_another_channel_is_free(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.consume("q", "c");
        a.open(2).consume("q", "c");
        t.peer().consume("q", "c").counts("q", 0, 3);
    }

    s12_1_an_exclusive_consumer_shuts_others_out(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.send(exclusively("q", "c")).expect(BasicConsumeOk { consumer_tag: "c" });
        b.send(consume("q", "d")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID).reopen();
        b.send(exclusively("q", "d")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID).reopen();
        a.open(2).send(consume("q", "d")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID);
        a.cancel("c");
        b.consume("q", "d");
    }

    s12_1_exclusive_with_a_consumer_there_already(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.send(exclusively("q", "d")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID).reopen();
        a.send(exclusively("q", "e")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID);
    }

    s12_1_exclusive_use_ends_with_its_connection(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.send(exclusively("q", "c")).expect(BasicConsumeOk { consumer_tag: "c" });
        a.hang_up();
        b.send(exclusively("q", "d")).expect(BasicConsumeOk { consumer_tag: "d" });
    }

    s12_1_exclusive_on_a_single_active_consumer_queue(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]));
        a.send(exclusively("q", "c")).closed(403, IN_EXCLUSIVE_USE, BasicConsume::ID);
    }

    s12_1_get_works_beside_an_exclusive_consumer(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.qos(1).send(exclusively("q", "c")).expect(BasicConsumeOk { consumer_tag: "c" });
        b.fill("q", &["1", "2"]);
        a.delivered("c", 1, "1");
        assert_eq!(b.get("q").text(), "2");
    }

    s12_1_no_local_is_ignored(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(BasicConsume { no_local: true, ..consume("q", "c") }).expect(BasicConsumeOk { consumer_tag: "c" });
        a.fill("q", &["1"]).delivered("c", 1, "1");
    }

    s12_1_unknown_arguments_are_ignored(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(BasicConsume { arguments: table(&[("x-foo", s("bar"))]), ..consume("q", "c") });
        a.expect(BasicConsumeOk { consumer_tag: "c" });
    }

    s12_1_equal_consumers_take_turns(t) {
        let peers: Vec<Peer> = (0..3).map(|_| t.peer()).collect();
        t.queues(&["q"]);
        for peer in &peers {
            peer.consume_no_ack("q", "c");
        }
        for _ in 0..4 {
            t.peer().fill("q", &["1", "2", "3"]);
            for peer in &peers {
                peer.delivery();
            }
        }
    }

    s12_1_consumers_of_one_channel_take_turns(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.consume_no_ack("q", "c1").consume_no_ack("q", "c2").fill("q", &["1", "2", "3", "4"]);
        let tags: Vec<String> = (0..4).map(|_| a.delivery().consumer_tag).collect();
        assert_eq!(tags.iter().filter(|tag| *tag == "c1").count(), 2, "{tags:?}");
    }

    s12_1_consumers_without_credit_are_skipped(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.qos(1).consume("q", "c");
        b.consume("q", "d").fill("q", &["1", "2", "3", "4"]);
        let first = a.delivery();
        for _ in 0..3 {
            b.delivery();
        }
        a.send(ack(first.delivery_tag)).fill("q", &["5", "6"]);
        a.delivery();
        b.delivery();
    }

    s12_1_a_higher_priority_is_served_first(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "low");
        b.qos(2).send(with_priority("q", "high", int(10))).expect(BasicConsumeOk { consumer_tag: "high" });
        let c = t.peer();
        c.fill("q", &["1"]);
        b.delivered("high", 1, "1");
        c.fill("q", &["2"]);
        b.delivered("high", 2, "2");
        c.fill("q", &["3"]);
        a.delivered("low", 1, "3");
        b.send(ack(1));
        c.fill("q", &["4"]);
        b.delivered("high", 3, "4");
    }

    s12_1_priorities_may_be_negative_and_of_any_width(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.send(with_priority("q", "low", Value::I8(-1))).expect(BasicConsumeOk { consumer_tag: "low" });
        b.consume("q", "zero");
        t.peer().fill("q", &["1"]);
        b.delivered("zero", 1, "1");
        a.send(with_priority("q", "high", Value::I64(1 << 40))).expect(BasicConsumeOk { consumer_tag: "high" });
        t.peer().fill("q", &["2"]);
        a.delivered("high", 1, "2");
    }

    s12_1_consuming_without_ack(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume_no_ack("q", "c").fill("q", &["1", "2"]);
        a.delivered("c", 1, "1");
        a.delivered("c", 2, "2");
        a.quit();
        b.counts("q", 0, 0);
    }

    s12_2_cancel(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c").cancel("c");
        b.fill("q", &["1"]).counts("q", 1, 0);
        a.silent();
    }

    s12_2_cancel_of_an_unknown_tag(t) {
        t.peer().cancel("nope").cancel("");
    }

    s12_2_cancel_ok_comes_after_the_last_delivery(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.fill("q", &["1", "2", "3"]);
        a.send(cancel("c"));
        b.fill("q", &["4"]);
        for (tag, body) in [(1, "1"), (2, "2"), (3, "3")] {
            a.delivered("c", tag, body);
        }
        a.expect(BasicCancelOk { consumer_tag: "c" }).silent();
    }

    s12_2_a_tag_is_free_after_cancel(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.consume("q", "c").cancel("c").consume("r", "c").fill("q", &["no"]).fill("r", &["1"]);
        a.delivered("c", 1, "1");
        a.silent();
    }

    s12_2_a_cancelled_consumer_with_deliveries_leaves_nothing_behind(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c").fill("q", &["1"]).delivered("c", 1, "1");
        a.cancel("c").send(ack(1));
        t.settle();
        b.consume("q", "d");
        a.close();
        b.fill("q", &["2"]).delivered("d", 1, "2");
        b.counts("q", 0, 1);
    }

    s12_2_cancel_is_of_ones_own_channel(t) {
        let a = t.peer();
        let b = a.open(2);
        t.queues(&["q"]);
        a.consume("q", "c");
        b.cancel("c").fill("q", &["1"]);
        a.delivered("c", 1, "1");
    }

    s12_2_the_broker_cancels_when_the_queue_goes(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c1").consume("q", "c2");
        b.send(delete("q")).expect(delete_ok(0));
        let mut tags = [a.cancelled_tag(), a.cancelled_tag()];
        tags.sort();
        assert_eq!(tags, ["c1", "c2"]);
        a.silent().queue(declare("q")).consume("q", "c1");
    }

    s12_2_without_the_capability_the_broker_says_nothing(t) {
        let (a, b) = (t.login(Login { capabilities: &[], ..LOGIN }), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.send(delete("q")).expect(delete_ok(0));
        a.silent();
    }

    s12_2_a_cancel_ok_from_the_client_is_tolerated(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.send(delete("q")).expect(delete_ok(0));
        a.expect(cancelled("c")).send(BasicCancelOk { consumer_tag: "c" }).silent().queue(declare("r"));
    }

    s12_2_an_exclusive_queue_deleted_by_its_owner_cancels(t) {
        let a = t.peer();
        let b = a.open(2);
        a.queue(exclusive("q"));
        b.consume("q", "c");
        a.send(delete("q")).expect(delete_ok(0));
        b.expect(cancelled("c"));
    }

    s12_3_prefetch_count_limits_a_consumer(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(2).consume("q", "c").fill("q", &["1", "2", "3", "4"]);
        a.delivered("c", 1, "1");
        a.delivered("c", 2, "2");
        a.silent().send(ack(1)).delivered("c", 3, "3");
        a.silent().send(ack_up_to(3)).delivered("c", 4, "4");
    }

    s12_3_nack_and_reject_free_the_prefetch_too(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume("q", "c").fill("q", &["1", "2", "3"]).delivered("c", 1, "1");
        a.send(BasicReject { requeue: false, ..reject(1) }).delivered("c", 2, "2");
        a.send(BasicNack { requeue: false, ..nack(2) }).delivered("c", 3, "3");
    }

    s12_3_zero_means_no_limit(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).qos(0).consume("q", "c").fill("q", &["1", "2", "3"]);
        for tag in 1..=3 {
            a.delivered("c", tag, &tag.to_string());
        }
    }

    s12_3_each_new_consumer_has_its_own_limit(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume("q", "c1").qos(2).consume("q", "c2").fill("q", &["1", "2", "3", "4", "5"]);
        let mut tags: Vec<String> = (0..3).map(|_| a.delivery().consumer_tag).collect();
        tags.sort();
        assert_eq!(tags, ["c1", "c2", "c2"]);
        a.silent();
    }

    s12_3_existing_consumers_keep_their_limit(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume("q", "c").qos(100).fill("q", &["1", "2"]).delivered("c", 1, "1");
        a.silent();
    }

    s12_3_prefetch_size_is_not_implemented(t) {
        t.peer().send(BasicQos { prefetch_size: 1, ..qos(0) }).dies(540, "prefetch_size!=0 (1)", BasicQos::ID);
        t.peer().send(BasicQos { prefetch_size: 4096, ..qos_global(0) })
            .dies(540, "prefetch_size!=0 (4096)", BasicQos::ID);
    }

    s12_3_no_ack_consumers_are_not_limited(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume_no_ack("q", "c").fill("q", &["1", "2", "3"]);
        for tag in 1..=3 {
            a.delivered("c", tag, &tag.to_string());
        }
    }

    s12_3_get_is_not_limited(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).fill("q", &["1", "2", "3"]).get("q");
        a.get("q");
        a.get("q");
    }

    s12_3_got_messages_do_not_count_for_consumers(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.fill("q", &["1", "2"]).get("q");
        a.get("q");
        a.qos(1).consume("r", "c").fill("r", &["3"]).delivered("c", 3, "3");
    }

    s12_3_global_limits_the_channel(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.send(qos_global(2)).expect(BasicQosOk {}).consume("q", "c1").consume("r", "c2");
        a.fill("q", &["1", "2"]).fill("r", &["3", "4"]);
        let first = a.delivery();
        a.delivery();
        a.silent().send(ack(first.delivery_tag)).delivery();
        a.silent();
    }

    s12_3_global_takes_effect_at_once(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.consume("q", "c").fill("q", &["1"]).delivered("c", 1, "1");
        a.send(qos_global(1)).expect(BasicQosOk {}).fill("q", &["2", "3"]).silent();
        a.send(ack(1)).delivered("c", 2, "2");
        // What it sets free does not come in one piece with the answer: Celery would not notice.
        a.silent().send(qos_global(0)).expect(BasicQosOk {}).silent();
        t.advance(5);
        a.delivered("c", 3, "3");
    }

    s12_3_global_and_per_consumer_limits_hold_both(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(qos_global(3)).expect(BasicQosOk {}).qos(2).consume("q", "c1").consume("q", "c2");
        a.fill("q", &["1", "2", "3", "4", "5"]);
        for _ in 0..3 {
            a.delivery();
        }
        a.silent().send(ack_up_to(0)).delivery();
        a.delivery();
    }

    s12_3_global_is_per_channel(t) {
        let a = t.peer();
        let b = a.open(2);
        t.queues(&["q"]);
        a.send(qos_global(1)).expect(BasicQosOk {}).consume("q", "c");
        b.consume("q", "d");
        a.fill("q", &["1", "2", "3"]);
        let limited = a.waiting() / 3;
        assert!(limited <= 1, "the limit holds");
        for _ in 0..limited {
            a.delivery();
        }
        for _ in limited..3 {
            b.delivery();
        }
    }

    s12_3_global_can_be_switched_off(t) {
        let t = &t.with(|settings| settings.permit.global_qos = false);
        let a = t.peer();
        t.queues(&["q"]);
        a.send(qos_global(1)).expect(BasicQosOk {}).consume("q", "c1").consume("q", "c2");
        a.fill("q", &["1", "2", "3"]);
        a.delivery();
        a.delivery();
        a.silent();
    }

    s12_4_get(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        b.bind("q", "amq.direct", "k").publish(to("amq.direct", "k"));
        let message = a.get("q");
        assert_eq!(message.delivery_tag, 1);
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("amq.direct", "k"));
        assert_eq!((message.redelivered, message.message_count, message.text()), (false, 0, "m"));
    }

    s12_4_get_empty(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.empty("q").empty("q");
    }

    s12_4_get_counts_what_remains(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]);
        let counts: Vec<u32> = (0..3).map(|_| a.get("q").message_count).collect();
        assert_eq!(counts, [2, 1, 0]);
    }

    s12_4_get_from_a_missing_queue(t) {
        t.peer().send(get("q")).closed(404, "no queue 'q' in vhost '/'", BasicGet::ID);
    }

    s12_4_get_without_ack(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).send(BasicGet { no_ack: true, ..get("q") });
        assert_eq!(a.got().expect("a message").delivery_tag, 1);
        a.quit();
        b.counts("q", 0, 0);
    }

    s12_4_get_with_an_empty_body(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["", "x"]);
        assert_eq!((a.get("q").text(), a.get("q").text()), ("", "x"));
    }

    s12_a_large_backlog_is_delivered_in_order(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        for number in 0..1000 {
            a.fill("q", &[&number.to_string()]);
        }
        b.qos(50).consume("q", "c");
        for number in 0..1000u64 {
            b.delivered("c", number + 1, &number.to_string());
            if number % 10 == 9 {
                b.send(ack_up_to(number + 1));
            }
        }
        b.silent().counts("q", 0, 1);
    }

    s12_a_consumer_that_stops_reading_harms_nobody(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        t.queues(&["q", "r"]);
        a.consume_no_ack("q", "c").stop_reading();
        let body = "b".repeat(50_000);
        for _ in 0..100 {
            b.fill("q", &[&body]);
        }
        c.consume_no_ack("r", "d").fill("r", &["x"]).delivered("d", 1, "x");
        a.go_on_reading();
        for tag in 1..=100 {
            a.delivered("c", tag, &body);
        }
    }
}
