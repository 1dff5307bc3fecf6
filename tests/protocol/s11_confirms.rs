//! Section 11: returns, confirms and transactions.

use leveret::amqp::Properties;
use leveret::amqp::method::*;

use crate::net::scripts;
use crate::say::*;

scripts! {
    s11_1_an_unroutable_mandatory_message_is_returned(t) {
        let a = t.peer();
        a.publish(mandatory("", "nowhere")).returned("", "nowhere", "m");
        a.publish(mandatory("amq.topic", "a.b")).returned("amq.topic", "a.b", "m");
        a.silent();
    }

    s11_1_a_routed_mandatory_message_is_not_returned(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.publish(mandatory("", "q")).silent().holds("q", &["m"]);
    }

    s11_1_an_unroutable_message_is_dropped(t) {
        t.peer().publish(to("", "nowhere")).publish(to("amq.headers", "")).silent();
    }

    s11_1_a_returned_message_is_as_published(t) {
        let a = t.peer();
        let properties = Properties { message_id: Some("id"), timestamp: Some(7), ..with_headers(&[("a", int(1))]) };
        a.publish(Publish { properties, ..mandatory("", "nowhere") });
        let mut raw = vec![];
        properties.encode(&mut raw);
        assert_eq!(a.returned("", "nowhere", "m").properties, raw);
    }

    s11_1_a_returned_message_has_no_bcc(t) {
        let a = t.peer();
        let properties = with_headers(&[("BCC", strings(&["secret"])), ("a", int(1)), ("CC", strings(&["open"]))]);
        a.publish(Publish { properties, ..mandatory("", "nowhere") });
        let message = a.returned("", "nowhere", "m");
        assert_eq!((message.header("BCC"), message.header("a")), (None, Some(int(1))));
        assert_eq!(message.header("CC"), Some(strings(&["open"])));
    }

    s11_1_an_empty_body_is_returned(t) {
        let a = t.peer();
        a.publish(Publish { body: "", ..mandatory("", "nowhere") }).returned("", "nowhere", "");
    }

    s11_1_a_large_body_is_returned(t) {
        let a = t.peer();
        let body = "b".repeat(200_000);
        a.publish(Publish { body: &body, ..mandatory("", "nowhere") }).returned("", "nowhere", &body);
    }

    s11_1_returns_come_in_order(t) {
        let a = t.peer();
        for body in ["1", "2", "3"] {
            a.publish(Publish { body, ..mandatory("", "nowhere") });
        }
        for body in ["1", "2", "3"] {
            a.returned("", "nowhere", body);
        }
    }

    s11_1_a_message_routed_to_an_exchange_only_is_returned(t) {
        let a = t.peer();
        a.exchange("x", "fanout").exchange("y", "fanout").e_bind("y", "x", "");
        a.publish(mandatory("x", "")).returned("x", "", "m");
    }

    s11_1_the_return_comes_before_its_ack(t) {
        let a = t.peer();
        a.confirm_select().publish(mandatory("", "nowhere")).returned("", "nowhere", "m");
        a.confirmed(&[1]);
    }

    s11_1_returns_and_acks_interleave_in_order(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().fill("q", &["1"]).publish(mandatory("", "nowhere")).fill("q", &["3"]);
        // All that is certain: the return comes before anything that covers 2.
        a.confirmed_with_returns(&[1, 2, 3], &[2]);
    }

    s11_2_select(t) {
        t.peer().send(confirm_select()).expect(ConfirmSelectOk {});
    }

    s11_2_the_first_publish_after_select_is_1(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["before"]).confirm_select().fill("q", &["after"]).confirmed(&[1]).silent();
    }

    s11_2_a_second_select_changes_nothing(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().fill("q", &["1"]).confirmed(&[1]);
        a.confirm_select().fill("q", &["2"]).confirmed(&[2]);
    }

    s11_2_a_select_without_an_answer(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.send(ConfirmSelect { no_wait: true }).fill("q", &["1"]).confirmed(&[1]);
    }

    s11_2_select_on_a_transactional_channel(t) {
        let a = t.peer();
        a.tx_select().send(confirm_select());
        a.closed(406, "cannot switch from tx to confirm mode", ConfirmSelect::ID);
    }

    s11_2_every_publish_is_confirmed_once(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select();
        for _ in 0..100 {
            a.fill("q", &["x"]);
        }
        let all: Vec<u64> = (1..=100).collect();
        a.confirmed(&all).silent();
    }

    s11_2_confirms_one_at_a_time(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select();
        for seqno in 1..=20 {
            a.fill("q", &["x"]).confirmed(&[seqno]).silent();
        }
    }

    s11_2_unroutable_messages_are_confirmed(t) {
        let a = t.peer();
        a.confirm_select().publish(to("", "nowhere")).publish(to("amq.fanout", "")).confirmed(&[1, 2]);
    }

    s11_2_persistent_messages_are_confirmed(t) {
        let a = t.peer();
        a.queue(durable("d")).queue(declare("t")).confirm_select();
        a.publish(Publish { properties: persistent(), ..to("", "d") });
        a.publish(Publish { properties: persistent(), ..to("", "t") }).fill("d", &["transient"]);
        a.confirmed(&[1, 2, 3]);
    }

    s11_2_a_message_to_several_queues_is_confirmed_once(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "q3", "q4"]);
        for name in ["q1", "q2", "q3", "q4"] {
            a.bind(name, "amq.fanout", "");
        }
        a.confirm_select().publish(to("amq.fanout", "")).confirmed(&[1]).silent();
        a.publish(to("amq.fanout", "")).publish(to("amq.fanout", "")).confirmed(&[2, 3]).silent();
    }

    s11_2_a_confirmed_message_is_in_its_queues(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q1", "q2", "q3"]);
        for name in ["q1", "q2", "q3"] {
            a.bind(name, "amq.fanout", "");
        }
        a.confirm_select().publish(to("amq.fanout", "")).confirmed(&[1]);
        b.counts("q1", 1, 0).counts("q2", 1, 0).counts("q3", 1, 0);
    }

    s11_2_a_message_consumed_at_once_is_confirmed(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(durable("d"));
        b.consume("d", "c");
        a.confirm_select().publish(Publish { properties: persistent(), ..to("", "d") }).confirmed(&[1]);
        b.delivered("c", 1, "m");
        b.send(ack(1)).silent();
        a.silent();
    }

    s11_2_a_failed_publish_is_not_confirmed(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().publish(to("nope", ""));
        a.closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID).silent();
    }

    s11_2_each_channel_counts_for_itself(t) {
        let a = t.peer();
        let b = a.open(2);
        t.queues(&["q"]);
        a.confirm_select().fill("q", &["1"]).confirmed(&[1]);
        b.fill("q", &["none"]).silent();
        b.confirm_select().fill("q", &["2"]).confirmed(&[1]);
    }

    s11_2_purged_and_deleted_messages_are_confirmed(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(durable("d")).confirm_select();
        a.publish(Publish { properties: persistent(), ..to("", "d") });
        b.send(purge("d")).expect_id(QueuePurgeOk::ID, |_| ());
        a.publish(Publish { properties: persistent(), ..to("", "d") });
        b.send(delete("d")).expect_id(QueueDeleteOk::ID, |_| ());
        a.confirmed(&[1, 2]);
    }

    s11_2_seqnos_go_on_over_unroutable_messages(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().fill("q", &["1"]).publish(to("", "nowhere")).fill("q", &["3"]).confirmed(&[1, 2, 3]);
        a.fill("q", &["4"]).confirmed(&[4]);
    }

    s11_2_consuming_and_confirming_on_one_channel(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().consume_no_ack("q", "c").fill("q", &["1"]);
        // Either order is fine; both must come.
        a.confirmed_and_delivered(1, "1");
        a.silent();
    }

    s11_3_select_twice(t) {
        t.peer().tx_select().tx_select();
    }

    s11_3_select_on_a_confirm_channel(t) {
        let a = t.peer();
        a.confirm_select().send(TxSelect {}).closed(406, "cannot switch from confirm to tx mode", TxSelect::ID);
    }

    s11_3_commit_and_rollback_without_select(t) {
        let a = t.peer();
        a.send(TxCommit {}).closed(406, "channel is not transactional", TxCommit::ID).reopen();
        a.send(TxRollback {}).closed(406, "channel is not transactional", TxRollback::ID);
    }

    s11_3_an_empty_commit_and_rollback(t) {
        t.peer().tx_select().commit().rollback().commit();
    }

    s11_3_a_transaction_may_not_grow_for_ever(t) {
        let t = &t.with(|settings| settings.limits.tx_entries_max = 2);
        let a = t.peer();
        a.queue(declare("q")).tx_select().fill("q", &["1", "2"]).commit().fill("q", &["3", "4", "5"]);
        let text = "transaction is larger than 2 publishes or 536870912 bytes";
        a.closed(406, text, BasicPublish::ID).reopen().holds("q", &["1", "2"]);
    }

    s11_3_a_publish_counts_at_commit(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.tx_select().fill("q", &["1", "2"]).silent();
        b.counts("q", 0, 0);
        a.commit();
        b.holds("q", &["1", "2"]);
    }

    s11_3_a_commit_over_several_queues(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q1", "q2", "q3", "q4"]);
        a.tx_select();
        for name in ["q1", "q2", "q3", "q4"] {
            a.fill(name, &["1", "2"]);
        }
        b.counts("q1", 0, 0).counts("q4", 0, 0);
        a.commit();
        for name in ["q1", "q2", "q3", "q4"] {
            b.holds(name, &["1", "2"]);
        }
    }

    s11_3_rollback_drops_publishes(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.tx_select().fill("q", &["1"]).rollback().fill("q", &["2"]).commit().holds("q", &["2"]);
    }

    s11_3_the_channel_stays_transactional(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.tx_select().fill("q", &["1"]).commit().fill("q", &["2"]).silent();
        b.counts("q", 1, 0);
        a.commit();
        b.counts("q", 2, 0);
    }

    s11_3_a_bad_publish_fails_at_once(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.tx_select().fill("q", &["1"]).publish(to("nope", ""));
        a.closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID).reopen();
        a.counts("q", 0, 0);
    }

    s11_3_routing_happens_at_the_publish(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q", "r"]);
        b.bind("q", "amq.direct", "k");
        a.tx_select().publish(to("amq.direct", "k")).silent();
        b.bind("r", "amq.direct", "k").send(unbind("q", "amq.direct", "k")).expect(QueueUnbindOk {});
        a.commit();
        b.holds("q", &["m"]).holds("r", &[]);
    }

    s11_3_returns_come_before_commit_ok(t) {
        let a = t.peer();
        a.tx_select().publish(mandatory("", "nowhere")).silent();
        a.send(TxCommit {}).returned("", "nowhere", "m");
        a.expect(TxCommitOk {});
    }

    s11_3_rollback_returns_nothing(t) {
        let a = t.peer();
        a.tx_select().publish(mandatory("", "nowhere")).rollback().silent().commit().silent();
    }

    s11_3_acks_count_at_commit(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).tx_select().consume("q", "c");
        a.delivery();
        a.delivery();
        a.send(ack(1)).commit().send(ack(2)).close();
        b.holds("q", &["2"]);
    }

    s11_3_nacks_count_at_commit(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().get("q");
        a.send(nack(1)).silent();
        b.counts("q", 0, 0);
        a.commit();
        assert!(b.get("q").redelivered);
    }

    s11_3_a_reject_without_requeue_counts_at_commit(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().get("q");
        a.send(BasicReject { requeue: false, ..reject(1) }).commit().close();
        b.counts("q", 0, 0);
    }

    s11_3_rollback_takes_acks_back(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).tx_select().consume("q", "c");
        a.delivery();
        a.delivery();
        a.send(ack(1)).send(nack(2)).rollback().silent();
        b.counts("q", 0, 1);
        a.send(ack_up_to(2)).commit().close();
        b.counts("q", 0, 0);
    }

    s11_3_rollback_does_not_redeliver(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().consume("q", "c").delivered("c", 1, "1");
        a.send(nack(1)).rollback().silent();
    }

    s11_3_an_unknown_tag_fails_at_once(t) {
        let a = t.peer();
        a.tx_select().send(ack(7)).closed(406, "unknown delivery tag 7", BasicAck::ID);
    }

    s11_3_a_tag_acked_in_the_transaction_is_unknown(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().get("q");
        a.send(ack(1)).send(ack(1)).closed(406, "unknown delivery tag 1", BasicAck::ID);
        a.reopen().counts("q", 1, 0);
    }

    s11_3_close_puts_uncommitted_acks_back(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).tx_select().get("q");
        a.get("q");
        a.send(ack(1)).close();
        b.holds("q", &["1", "2"]);
    }

    s11_3_a_lost_connection_discards_the_transaction(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().get("q");
        a.fill("q", &["2"]).send(ack(1)).hang_up();
        b.holds("q", &["1"]);
    }

    s11_3_getting_is_not_transactional(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).tx_select().send(BasicGet { no_ack: true, ..get("q") });
        assert!(a.got().is_some());
        a.rollback();
        b.counts("q", 0, 0);
    }

    s11_3_publishes_and_acks_commit_together(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["work", "done"]);
        b.fill("work", &["w"]);
        a.tx_select().get("work");
        a.fill("done", &["d"]).send(ack(1));
        b.counts("done", 0, 0);
        a.commit().close();
        b.counts("work", 0, 0).holds("done", &["d"]);
    }

    s11_3_recover_spares_what_the_transaction_acked(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).tx_select().get("q");
        a.get("q");
        a.send(ack(1)).send(recover()).expect(BasicRecoverOk {});
        assert_eq!(a.get("q").text(), "2");
        a.empty("q").commit();
    }

    s11_3_publishes_of_a_transaction_keep_their_order(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.tx_select().fill("q", &["1", "2", "3"]).commit().fill("q", &["4"]).commit();
        a.holds("q", &["1", "2", "3", "4"]);
    }
}
