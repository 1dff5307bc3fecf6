//! Section 7: queue methods.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};

use crate::net::{Net, scripts};
use crate::say::*;

const LOCKED: &str = "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally \
                      declared on another connection or the exclusive property value does not match that of the \
                      original declaration.";

fn inequivalent(argument: &str, received: &str, current: &str) -> String {
    format!("inequivalent arg '{argument}' for queue 'q' in vhost '/': received {received} but current is {current}")
}

/// Declares queue q one way, then another: 406 with this text.
fn differs(t: &Net, first: QueueDeclare<'_>, second: QueueDeclare<'_>, text: &str) {
    let (a, b) = (t.peer(), t.peer());
    a.queue(first);
    b.send(second).closed(406, text, QueueDeclare::ID);
    a.queue(first);
}

/// Declares queue q with some arguments, then with others: the same.
fn equivalent(t: &Net, first: &[(&str, Value<'_>)], second: &[(&str, Value<'_>)]) {
    let (a, b) = (t.peer(), t.peer());
    a.queue(declare_with("q", first));
    b.queue(declare_with("q", second)).send(delete("q")).expect(delete_ok(0));
}

const TTL: &str = "x-message-ttl";

scripts! {
    s7_1_declare_and_redeclare(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).queue(declare("q"));
        b.queue(declare("q"));
    }

    s7_1_declare_with_every_flag(t) {
        let a = t.peer();
        a.queue(QueueDeclare { durable: true, auto_delete: true, ..declare("q1") });
        a.queue(QueueDeclare { durable: true, auto_delete: true, exclusive: true, ..declare("q2") });
    }

    s7_1_declared_here_known_everywhere(t) {
        t.queues(&["q"]);
        for _ in 0..4 {
            t.peer().counts("q", 0, 0).queue(declare("q"));
        }
    }

    s7_1_declare_ok_counts_ready_messages_only(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).get("q");
        b.counts("q", 2, 0).send(declare("q")).expect(declare_ok("q", 2, 0));
    }

    s7_1_declare_ok_counts_all_consumers(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.qos(1).consume("q", "c1").consume("q", "c2").fill("q", &["1", "2", "3", "4"]);
        a.delivery();
        a.delivery();
        b.counts("q", 2, 2).consume("q", "c3");
        b.delivery();
        b.delivery();
        b.counts("q", 0, 3);
    }

    s7_1_a_passive_declare_of_a_missing_queue(t) {
        t.peer().send(passive("q")).closed(404, "no queue 'q' in vhost '/'", QueueDeclare::ID);
    }

    s7_1_a_passive_declare_ignores_everything_else(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q"));
        let other = declare_with("q", &[(TTL, int(-1)), ("x-queue-type", s("nonsense"))]);
        b.send(QueueDeclare { passive: true, durable: true, auto_delete: true, ..other });
        b.expect(declare_ok("q", 0, 0));
    }

    s7_1_another_connections_exclusive_queue_is_locked(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q"));
        b.send(exclusive("q")).closed(405, LOCKED, QueueDeclare::ID).reopen();
        b.send(declare("q")).closed(405, LOCKED, QueueDeclare::ID).reopen();
        b.send(passive("q")).closed(405, LOCKED, QueueDeclare::ID).reopen();
        b.send(consume("q", "")).closed(405, LOCKED, BasicConsume::ID).reopen();
        b.send(get("q")).closed(405, LOCKED, BasicGet::ID).reopen();
        b.send(purge("q")).closed(405, LOCKED, QueuePurge::ID).reopen();
        b.send(delete("q")).closed(405, LOCKED, QueueDelete::ID).reopen();
        b.send(bind("q", "amq.direct", "k")).closed(405, LOCKED, QueueBind::ID);
        a.counts("q", 0, 0);
    }

    s7_1_unbind_of_a_locked_queue_counts_only_with_a_binding(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q")).bind("q", "amq.direct", "k");
        b.send(unbind("q", "amq.direct", "other")).expect(QueueUnbindOk {});
        b.send(unbind("q", "amq.direct", "k")).closed(405, LOCKED, QueueUnbind::ID);
    }

    s7_1_publishing_to_a_locked_queue_is_allowed(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q"));
        b.fill("q", &["x"]);
        a.holds("q", &["x"]);
    }

    s7_1_every_channel_of_the_owner_may_use_an_exclusive_queue(t) {
        let a = t.peer();
        a.queue(exclusive("q"));
        let b = a.open(2);
        b.queue(exclusive("q")).fill("q", &["x"]).holds("q", &["x"]).send(delete("q")).expect(delete_ok(0));
    }

    s7_1_ones_own_exclusive_queue_redeclared_as_shared(t) {
        let a = t.peer();
        a.queue(exclusive("q")).send(declare("q")).closed(405, LOCKED, QueueDeclare::ID);
    }

    s7_1_a_shared_queue_redeclared_as_exclusive(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).send(exclusive("q")).closed(405, LOCKED, QueueDeclare::ID);
        b.send(exclusive("q")).closed(405, LOCKED, QueueDeclare::ID);
    }

    s7_1_exclusivity_is_checked_before_the_rest(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q"));
        let other = QueueDeclare { durable: true, auto_delete: true, ..declare_with("q", &[(TTL, int(1))]) };
        b.send(other).closed(405, LOCKED, QueueDeclare::ID);
    }

    s7_1_durable_does_not_matter_for_exclusive_queues(t) {
        let a = t.peer();
        a.queue(exclusive("q")).queue(QueueDeclare { durable: true, ..exclusive("q") });
        a.queue(QueueDeclare { durable: true, ..exclusive("r") }).queue(exclusive("r"));
    }

    s7_1_redeclare_with_another_durable(t) {
        let text = inequivalent("durable", "'false'", "'true'");
        differs(t, durable("q"), declare("q"), &text);
    }

    s7_1_redeclare_with_another_durable_the_other_way(t) {
        let text = inequivalent("durable", "'true'", "'false'");
        differs(t, declare("q"), durable("q"), &text);
    }

    s7_1_redeclare_with_another_auto_delete(t) {
        let text = inequivalent("auto_delete", "'true'", "'false'");
        differs(t, declare("q"), auto_delete("q"), &text);
    }

    s7_1_durable_is_compared_before_auto_delete_and_arguments(t) {
        let other = QueueDeclare { durable: true, auto_delete: true, ..declare_with("q", &[(TTL, int(1))]) };
        differs(t, declare("q"), other, &inequivalent("durable", "'true'", "'false'"));
    }

    s7_1_auto_delete_is_compared_before_arguments(t) {
        let other = QueueDeclare { auto_delete: true, ..declare_with("q", &[(TTL, int(1))]) };
        differs(t, declare("q"), other, &inequivalent("auto_delete", "'true'", "'false'"));
    }

    s7_1_transient_shared_queues_are_permitted(t) {
        t.peer().queue(declare("q"));
    }

    s7_1_transient_shared_queues_can_be_forbidden(t) {
        let t = &t.with(|settings| settings.permit.transient_nonexcl_queues = false);
        let a = t.peer();
        a.queue(durable("d")).queue(exclusive("e")).send(declare("q"));
        a.dies_like(541, "Feature `transient_nonexcl_queues` is deprecated.\n", QueueDeclare::ID);
    }

    s7_1_a_dead_letter_exchange_that_is_no_string(t) {
        let a = t.peer();
        let text = "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'";
        a.send(declare_with("q", &[("x-dead-letter-exchange", int(1))])).closed(406, text, QueueDeclare::ID);
        a.reopen().no_queue("q");
    }

    s7_1_a_hundred_pipelined_declares(t) {
        let a = t.peer();
        let names: Vec<String> = (0..100).map(|i| format!("q{i}")).collect();
        for name in &names {
            a.send(declare(name));
        }
        for name in &names {
            a.expect(declare_ok(name, 0, 0));
        }
        let b = t.peer();
        for name in &names {
            b.counts(name, 0, 0);
        }
    }

    s7_2_redeclare_with_another_argument_value(t) {
        let text = inequivalent(TTL, "'20'", "'10'");
        differs(t, declare_with("q", &[(TTL, int(10))]), declare_with("q", &[(TTL, int(20))]), &text);
    }

    s7_2_redeclare_without_the_argument(t) {
        let text = inequivalent(TTL, "none", "the value '10' of type 'signedint'");
        differs(t, declare_with("q", &[(TTL, int(10))]), declare("q"), &text);
    }

    s7_2_redeclare_with_a_new_argument(t) {
        let text = inequivalent(TTL, "the value '20' of type 'signedint'", "none");
        differs(t, declare("q"), declare_with("q", &[(TTL, int(20))]), &text);
    }

    s7_2_the_types_name_is_the_one_received(t) {
        for (value, text) in [
            (Value::I64(20), "the value '20' of type 'long'"),
            (Value::U8(20), "the value '20' of type 'unsignedbyte'"),
            (Value::I8(20), "the value '20' of type 'byte'"),
            (Value::I16(20), "the value '20' of type 'short'"),
            (Value::U16(20), "the value '20' of type 'unsignedshort'"),
            (Value::U32(20), "the value '20' of type 'unsignedint'"),
        ] {
            let a = t.peer();
            a.queue(declare("q")).send(declare_with("q", &[(TTL, value)]));
            a.closed(406, &inequivalent(TTL, text, "none"), QueueDeclare::ID);
        }
    }

    s7_2_a_string_is_not_an_integer(t) {
        let text = inequivalent(TTL, "'10'", "'10'");
        differs(t, declare_with("q", &[(TTL, int(10))]), declare_with("q", &[(TTL, s("10"))]), &text);
    }

    s7_2_a_float_is_not_an_integer(t) {
        let text = inequivalent(TTL, "'10.0'", "'10'");
        differs(t, declare_with("q", &[(TTL, int(10))]), declare_with("q", &[(TTL, Value::F64(10.0))]), &text);
    }

    s7_2_integers_compare_whatever_their_width(t) {
        let widths = [
            Value::I8(10), Value::U8(10), Value::I16(10), Value::U16(10), int(10), Value::U32(10), Value::I64(10),
        ];
        for first in widths {
            for second in [Value::I8(10), int(10), Value::I64(10)] {
                equivalent(t, &[(TTL, first)], &[(TTL, second)]);
            }
        }
    }

    s7_2_string_arguments_compare_by_value(t) {
        let first = declare_with("q", &[("x-dead-letter-exchange", s("foo"))]);
        let second = declare_with("q", &[("x-dead-letter-exchange", s("bar"))]);
        differs(t, first, second, &inequivalent("x-dead-letter-exchange", "'bar'", "'foo'"));
    }

    s7_2_bool_arguments_compare_by_value(t) {
        let first = declare_with("q", &[("x-single-active-consumer", Value::Bool(true))]);
        let second = declare_with("q", &[("x-single-active-consumer", Value::Bool(false))]);
        differs(t, first, second, &inequivalent("x-single-active-consumer", "'false'", "'true'"));
    }

    s7_2_every_known_argument_is_compared(t) {
        for (name, one, two) in [
            ("x-expires", int(1000), int(2000)),
            ("x-message-ttl", int(1000), int(2000)),
            ("x-max-length", int(1), int(2)),
            ("x-max-length-bytes", int(1), int(2)),
            ("x-max-priority", int(1), int(2)),
            ("x-overflow", s("drop-head"), s("reject-publish")),
            ("x-dead-letter-exchange", s("a"), s("b")),
        ] {
            let a = t.peer();
            a.queue(declare_with("q", &[(name, one)])).queue(declare_with("q", &[(name, one)]));
            a.send(declare_with("q", &[(name, two)]));
            a.closed_like(406, &format!("inequivalent arg '{name}' for queue 'q' in vhost '/': "), QueueDeclare::ID);
            a.reopen().send(delete("q")).expect(delete_ok(0));
        }
    }

    s7_2_unknown_arguments_are_stored_and_not_compared(t) {
        equivalent(t, &[], &[("x-foo", int(1)), ("app", s("me"))]);
        equivalent(t, &[("x-foo", int(1))], &[("x-foo", s("two"))]);
        equivalent(t, &[("x-foo", Value::Table(table(&[("a", int(1))])))], &[]);
    }

    s7_2_an_absent_queue_type_is_classic(t) {
        equivalent(t, &[], &[("x-queue-type", s("classic"))]);
        equivalent(t, &[("x-queue-type", s("classic"))], &[]);
    }

    s7_2_the_order_of_arguments_does_not_matter(t) {
        equivalent(t, &[(TTL, int(10)), ("x-expires", int(99_000))], &[("x-expires", int(99_000)), (TTL, int(10))]);
    }

    s7_2_arguments_of_old_versions_are_accepted(t) {
        let a = t.peer();
        a.queue(declare_with("q1", &[("x-queue-mode", s("lazy"))]));
        a.queue(declare_with("q2", &[("x-queue-master-locator", s("min-masters"))]));
        a.queue(declare_with("q3", &[("x-queue-version", int(2))]));
    }

    s7_3_delete(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.send(delete("q")).expect(delete_ok(0));
        b.no_queue("q");
    }

    s7_3_delete_of_a_missing_queue_is_ok(t) {
        t.peer().send(delete("q")).expect(delete_ok(0)).send(delete("q")).expect(delete_ok(0));
    }

    s7_3_delete_ok_counts_ready_messages(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).get("q");
        a.send(delete("q")).expect(delete_ok(2));
    }

    s7_3_delete_if_empty(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]).send(QueueDelete { if_empty: true, ..delete("q") });
        a.closed(406, "queue 'q' in vhost '/' not empty", QueueDelete::ID).reopen();
        a.holds("q", &["1"]).send(QueueDelete { if_empty: true, ..delete("q") }).expect(delete_ok(0));
    }

    s7_3_if_empty_counts_ready_messages_only(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]).get("q");
        a.send(QueueDelete { if_empty: true, ..delete("q") }).expect(delete_ok(0));
    }

    s7_3_delete_if_unused(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c");
        b.send(QueueDelete { if_unused: true, ..delete("q") });
        b.closed(406, "queue 'q' in vhost '/' in use", QueueDelete::ID).reopen();
        a.cancel("c");
        b.send(QueueDelete { if_unused: true, ..delete("q") }).expect(delete_ok(0));
    }

    s7_3_if_empty_is_checked_before_if_unused(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume("q", "c").fill("q", &["1", "2"]).delivered("c", 1, "1");
        a.send(QueueDelete { if_empty: true, if_unused: true, ..delete("q") });
        a.closed(406, "queue 'q' in vhost '/' not empty", QueueDelete::ID);
    }

    s7_3_delete_removes_bindings(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind("q", "amq.fanout", "").send(delete("q")).expect(delete_ok(0)).queue(declare("q"));
        a.publish(to("amq.fanout", "")).counts("q", 0, 0);
    }

    s7_3_delete_tells_consumers_elsewhere(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        b.consume("q", "c");
        a.send(delete("q")).expect(delete_ok(0));
        b.expect(cancelled("c"));
    }

    s7_3_ones_own_consumer_hears_delete_ok_first(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.consume("q", "c").send(delete("q")).expect(delete_ok(0)).expect(cancelled("c"));
    }

    s7_3_unacked_messages_of_a_deleted_queue_can_be_acked(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).consume("q", "c");
        for _ in 0..3 {
            a.delivery();
        }
        b.send(delete("q")).expect(delete_ok(0));
        a.expect(cancelled("c")).send(ack(1)).send(nack(2)).send(reject(3)).silent();
        a.send(ack(3)).closed(406, "unknown delivery tag 3", BasicAck::ID);
    }

    s7_3_a_queue_of_the_same_name_starts_empty(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).get("q");
        b.send(delete("q")).expect(delete_ok(1)).queue(declare("q"));
        a.send(nack(1)).silent();
        b.counts("q", 0, 0).fill("q", &["new"]).holds("q", &["new"]);
    }

    s7_4_purge(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).send(purge("q")).expect(purge_ok(3));
        b.empty("q").send(purge("q")).expect(purge_ok(0));
    }

    s7_4_purge_leaves_unacked_messages(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).get("q");
        b.send(purge("q")).expect(purge_ok(2));
        a.send(nack(1));
        b.holds("q", &["1"]);
    }

    s7_4_purge_of_a_missing_queue(t) {
        t.peer().send(purge("q")).closed(404, "no queue 'q' in vhost '/'", QueuePurge::ID);
    }

    s7_4_purge_leaves_consumers(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.qos(1).consume("q", "c").fill("q", &["1", "2", "3"]).delivered("c", 1, "1");
        a.send(purge("q")).expect(purge_ok(2)).fill("q", &["4"]).send(ack(1)).delivered("c", 2, "4");
    }

    s7_5_bind_with_both_ends_missing_names_the_exchange(t) {
        let a = t.peer();
        a.send(bind("q", "x", "k")).closed(404, "no exchange 'x' in vhost '/'", QueueBind::ID);
    }

    s7_5_the_default_exchange_is_refused_before_existence(t) {
        let text = "operation not permitted on the default exchange";
        t.peer().send(bind("nope", "", "k")).closed(403, text, QueueBind::ID);
    }

    s7_5_a_reply_queue_is_refused_before_the_default_exchange(t) {
        let a = t.peer();
        let text = "cannot bind or unbind to a volatile (direct reply-to) queue";
        a.consume_no_ack("amq.rabbitmq.reply-to", "c").queue(declare("q"));
        let reply_to = Some("amq.rabbitmq.reply-to");
        a.publish(Publish { properties: Properties { reply_to, ..Properties::default() }, ..to("", "q") });
        let request = a.get("q");
        a.send(bind(request.properties().reply_to.expect("a name"), "", "k")).closed(403, text, QueueBind::ID);
    }

    s7_5_bind_with_a_missing_queue(t) {
        let a = t.peer();
        a.send(bind("q", "amq.direct", "k")).closed(404, "no queue 'q' in vhost '/'", QueueBind::ID);
    }

    s7_5_bind_with_a_missing_exchange(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(bind("q", "x", "k")).closed(404, "no exchange 'x' in vhost '/'", QueueBind::ID);
    }

    s7_5_rebinding_changes_nothing(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.bind("q", "amq.direct", "k").bind("q", "amq.direct", "k");
        b.bind("q", "amq.direct", "k").publish(to("amq.direct", "k")).holds("q", &["m"]);
        b.send(unbind("q", "amq.direct", "k")).expect(QueueUnbindOk {});
        a.publish(to("amq.direct", "k")).holds("q", &[]);
    }

    s7_5_arguments_are_part_of_a_binding(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind("q", "amq.direct", "k").bind_with("q", "amq.direct", "k", table(&[("x", int(1))]));
        a.send(unbind("q", "amq.direct", "k")).expect(QueueUnbindOk {});
        a.publish(to("amq.direct", "k")).holds("q", &["m"]);
        a.send(QueueUnbind { arguments: table(&[("x", int(1))]), ..unbind("q", "amq.direct", "k") });
        a.expect(QueueUnbindOk {}).publish(to("amq.direct", "k")).holds("q", &[]);
    }

    s7_5_the_order_of_binding_arguments_does_not_matter(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind_with("q", "amq.direct", "k", table(&[("x", int(1)), ("y", int(2))]));
        let arguments = table(&[("y", int(2)), ("x", int(1))]);
        a.send(QueueUnbind { arguments, ..unbind("q", "amq.direct", "k") }).expect(QueueUnbindOk {});
        a.publish(to("amq.direct", "k")).holds("q", &[]);
    }

    s7_5_binding_arguments_are_typed(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind_with("q", "amq.direct", "k", table(&[("x", int(1))]));
        let arguments = table(&[("x", s("1"))]);
        a.send(QueueUnbind { arguments, ..unbind("q", "amq.direct", "k") }).expect(QueueUnbindOk {});
        a.publish(to("amq.direct", "k")).holds("q", &["m"]);
    }

    s7_5_unbind_of_anything_missing_is_ok(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(unbind("q", "amq.direct", "k")).expect(QueueUnbindOk {});
        a.send(unbind("q", "nope", "k")).expect(QueueUnbindOk {});
        a.send(unbind("nope", "amq.direct", "k")).expect(QueueUnbindOk {});
        a.send(unbind("nope", "nope", "k")).expect(QueueUnbindOk {});
    }

    s7_5_unbind_takes_the_one_binding(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.bind("q", "amq.direct", "1").bind("q", "amq.direct", "2").bind("r", "amq.direct", "1");
        a.send(unbind("q", "amq.direct", "1")).expect(QueueUnbindOk {});
        a.publish(to("amq.direct", "1")).holds("q", &[]).holds("r", &["m"]);
        a.publish(to("amq.direct", "2")).holds("q", &["m"]).holds("r", &[]);
    }

    s7_5_a_binding_takes_effect_at_bind_ok(t) {
        let peers: Vec<_> = (0..4).map(|_| t.peer()).collect();
        t.queues(&["q"]);
        for binder in &peers {
            binder.bind("q", "amq.topic", "a.*");
            for publisher in &peers {
                publisher.publish(to("amq.topic", "a.b"));
            }
            binder.send(unbind("q", "amq.topic", "a.*")).expect(QueueUnbindOk {});
            for publisher in &peers {
                publisher.publish(to("amq.topic", "a.b"));
            }
            binder.holds("q", &["m"; 4]);
        }
    }

    s7_5_durable_queues_may_be_bound_to_transient_exchanges(t) {
        let a = t.peer();
        a.queue(durable("q")).exchange("x", "fanout").bind("q", "x", "").publish(to("x", "")).holds("q", &["m"]);
    }

    s7_5_a_headers_binding_with_a_bad_match(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(QueueBind { arguments: table(&[("x-match", s("foo"))]), ..bind("q", "amq.headers", "") });
        let text = "Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, or any-with-x";
        a.closed(406, text, QueueBind::ID).reopen();
        a.send(QueueBind { arguments: table(&[("x-match", int(23))]), ..bind("q", "amq.headers", "") });
        a.closed(406, "Invalid x-match field type signedint (value 23); expected longstr", QueueBind::ID);
    }

    s7_5_other_exchanges_do_not_look_at_x_match(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind_with("q", "amq.direct", "k", table(&[("x-match", s("foo"))]));
    }

    s7_5_a_topic_binding_with_too_many_hashes(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.bind("q", "amq.topic", "#.a.#").send(bind("q", "amq.topic", "#.a.#.b.#"));
        let text = "Topic binding key '#.a.#.b.#' uses 3 '#' wildcards, at most 2 are allowed";
        a.closed(406, text, QueueBind::ID);
    }
}
