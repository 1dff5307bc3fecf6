//! Section 12.5 to 12.7: delivery tags, acknowledgements, recover, and where messages return to.

use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

/// A peer that consumes from q, which holds these bodies, and has them all unacknowledged.
fn holding(t: &Net, bodies: &[&str]) -> Peer {
    let a = t.peer();
    t.queues(&["q"]);
    a.fill("q", bodies).consume("q", "c");
    for (index, body) in bodies.iter().enumerate() {
        a.delivered("c", index as u64 + 1, body);
    }
    a
}

fn unknown(tag: u64) -> String {
    format!("unknown delivery tag {tag}")
}

scripts! {
    s12_5_one_counter_per_channel(t) {
        let a = t.peer();
        t.queues(&["q", "r"]);
        a.fill("q", &["1"]).fill("r", &["2", "3"]);
        assert_eq!(a.get("q").delivery_tag, 1);
        a.consume("r", "c").delivered("c", 2, "2");
        a.delivered("c", 3, "3");
        a.fill("q", &["4"]);
        assert_eq!(a.get("q").delivery_tag, 4);
        a.fill("q", &["5"]);
        assert_eq!(a.open(2).get("q").delivery_tag, 1);
    }

    s12_5_no_ack_deliveries_count_too(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.consume_no_ack("q", "c").fill("q", &["1", "2"]).delivered("c", 1, "1");
        a.delivered("c", 2, "2");
        a.cancel("c").fill("q", &["3"]);
        assert_eq!(a.get("q").delivery_tag, 3);
        a.send(ack(2)).closed(406, &unknown(2), BasicAck::ID);
    }

    s12_5_ack_settles(t) {
        let a = holding(t, &["1", "2"]);
        a.send(ack(2)).send(ack(1)).close();
        a.reopen().counts("q", 0, 0);
    }

    s12_5_ack_multiple_settles_up_to_the_tag(t) {
        let a = holding(t, &["1", "2", "3", "4"]);
        a.send(ack_up_to(3)).close();
        a.reopen().holds("q", &["4"]);
    }

    s12_5_ack_multiple_over_settled_tags(t) {
        let a = holding(t, &["1", "2", "3", "4"]);
        a.send(ack(2)).send(ack_up_to(3)).close();
        a.reopen().holds("q", &["4"]);
    }

    s12_5_ack_multiple_over_several_queues(t) {
        let a = t.peer();
        t.queues(&["q", "r", "s"]);
        a.fill("q", &["1"]).fill("r", &["2"]).fill("s", &["3"]);
        a.get("q");
        a.get("r");
        a.get("s");
        a.send(ack_up_to(2)).close();
        a.reopen().counts("q", 0, 0).counts("r", 0, 0).counts("s", 1, 0);
    }

    s12_5_ack_of_everything_with_tag_0(t) {
        let a = holding(t, &["1", "2", "3"]);
        a.send(ack_up_to(0)).close();
        a.reopen().counts("q", 0, 0);
    }

    s12_5_tag_0_multiple_with_nothing_outstanding_is_fine(t) {
        let a = t.peer();
        a.send(ack_up_to(0)).send(nack_up_to(0)).silent().queue(declare("q"));
    }

    s12_5_tag_0_alone_is_unknown(t) {
        let a = holding(t, &["1"]);
        a.send(ack(0)).closed(406, &unknown(0), BasicAck::ID).reopen();
        a.send(nack(0)).closed(406, &unknown(0), BasicNack::ID).reopen();
        a.send(reject(0)).closed(406, &unknown(0), BasicReject::ID);
    }

    s12_5_an_unknown_tag(t) {
        let a = holding(t, &["1"]);
        a.send(ack(2)).closed(406, &unknown(2), BasicAck::ID).reopen();
        a.send(nack(9)).closed(406, &unknown(9), BasicNack::ID).reopen();
        a.send(reject(u64::MAX)).closed(406, &unknown(u64::MAX), BasicReject::ID);
    }

    s12_5_a_double_ack(t) {
        let a = holding(t, &["1", "2"]);
        a.send(ack(1)).send(ack(1)).closed(406, &unknown(1), BasicAck::ID);
    }

    s12_5_a_double_ack_in_any_order(t) {
        let a = holding(t, &["1", "2", "3"]);
        a.send(ack(2)).send(nack(2)).closed(406, &unknown(2), BasicNack::ID);
    }

    s12_5_multiple_needs_the_exact_tag(t) {
        let a = holding(t, &["1", "2"]);
        a.send(ack_up_to(3)).closed(406, &unknown(3), BasicAck::ID);
        a.reopen().counts("q", 2, 0);
    }

    s12_5_multiple_on_a_settled_tag(t) {
        let a = holding(t, &["1", "2"]);
        a.send(ack(2)).send(ack_up_to(2)).closed(406, &unknown(2), BasicAck::ID);
        a.reopen().holds("q", &["1"]);
    }

    s12_5_another_channels_tag(t) {
        let a = holding(t, &["1"]);
        a.open(2).send(ack(1)).closed(406, &unknown(1), BasicAck::ID);
        a.send(ack(1)).silent();
    }

    s12_5_acks_behind_an_error_are_ignored(t) {
        let a = holding(t, &["1", "2"]);
        a.send(ack(7)).send(ack(1)).send(ack(2)).closed(406, &unknown(7), BasicAck::ID).silent().reopen();
        a.counts("q", 2, 0);
    }

    s12_5_reject_drops(t) {
        let a = holding(t, &["1", "2"]);
        a.send(BasicReject { requeue: false, ..reject(1) }).close();
        a.reopen().holds("q", &["2"]);
    }

    s12_5_nack_drops_several(t) {
        let a = holding(t, &["1", "2", "3"]);
        a.send(BasicNack { requeue: false, ..nack_up_to(2) }).close();
        a.reopen().holds("q", &["3"]);
    }

    s12_5_nack_of_everything_with_tag_0(t) {
        let a = holding(t, &["1", "2", "3"]);
        a.cancel("c").send(nack_up_to(0)).holds("q", &["1", "2", "3"]);
    }

    s12_5_a_tag_is_never_used_again(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]);
        for tag in 1..=5 {
            assert_eq!(a.get("q").delivery_tag, tag);
            a.send(nack(tag));
        }
    }

    s12_6_recover_redelivers(t) {
        let a = holding(t, &["1", "2"]);
        a.send(recover()).expect(BasicRecoverOk {});
        assert!(a.delivered("c", 3, "1").redelivered);
        assert!(a.delivered("c", 4, "2").redelivered);
    }

    s12_6_recover_with_nothing_outstanding(t) {
        t.peer().send(recover()).expect(BasicRecoverOk {}).silent();
    }

    s12_6_recover_gives_to_any_consumer(t) {
        let (a, b) = (holding(t, &["1"]), t.peer());
        a.cancel("c");
        b.consume("q", "d");
        a.send(recover()).expect(BasicRecoverOk {});
        assert!(b.delivered("d", 1, "1").redelivered);
    }

    s12_6_recover_is_of_ones_own_channel(t) {
        let a = holding(t, &["1"]);
        a.open(2).send(recover()).expect(BasicRecoverOk {}).silent();
        a.silent();
    }

    s12_6_old_tags_are_unknown_after_recover(t) {
        let a = holding(t, &["1"]);
        a.cancel("c").send(recover()).expect(BasicRecoverOk {});
        a.send(ack(1)).closed(406, &unknown(1), BasicAck::ID);
    }

    s12_6_recover_async_has_no_answer(t) {
        let a = holding(t, &["1"]);
        a.send(BasicRecoverAsync { requeue: true }).delivered("c", 2, "1");
        a.silent();
    }

    s12_6_recover_without_requeue(t) {
        t.peer().send(BasicRecover { requeue: false }).dies(540, "requeue=false", BasicRecover::ID);
        t.peer().send(BasicRecoverAsync { requeue: false }).dies(540, "requeue=false", BasicRecoverAsync::ID);
    }

    s12_6_recover_frees_the_prefetch(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1", "2"]).qos(1).consume("q", "c").delivered("c", 1, "1");
        a.send(recover()).expect(BasicRecoverOk {});
        assert!(a.delivered("c", 2, "1").redelivered);
        a.silent();
    }

    s12_7_requeued_messages_return_to_their_place(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3", "4", "5"]);
        for _ in 0..3 {
            a.get("q");
        }
        a.send(nack(2)).send(nack(1)).fill("q", &["6"]).send(nack(3));
        b.holds("q", &["1", "2", "3", "4", "5", "6"]);
    }

    s12_7_several_requeued_at_once_keep_their_order(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3", "4"]);
        for _ in 0..3 {
            a.get("q");
        }
        a.send(nack_up_to(3));
        b.holds("q", &["1", "2", "3", "4"]);
    }

    s12_7_messages_between_settled_ones_return_to_their_place(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3", "4", "5", "6"]);
        for _ in 0..5 {
            a.get("q");
        }
        a.send(ack(1)).send(nack(4)).send(ack(3)).send(nack(2)).send(ack(5));
        b.holds("q", &["2", "4", "6"]);
    }

    s12_7_messages_of_two_consumers_return_to_their_place(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        t.queues(&["q"]);
        c.fill("q", &["1", "2", "3", "4"]);
        for peer in [&a, &b, &a, &b] {
            peer.get("q");
        }
        b.hang_up();
        a.close();
        c.holds("q", &["1", "2", "3", "4"]);
    }

    s12_7_redelivered_after_nack_and_reject(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.fill("q", &["1"]);
        assert!(!a.get("q").redelivered);
        a.send(nack(1));
        assert!(a.get("q").redelivered);
        a.send(reject(2));
        assert!(a.get("q").redelivered);
    }

    s12_7_redelivered_after_a_closed_channel_and_a_lost_connection(t) {
        let (a, b, c) = (t.peer(), t.peer(), t.peer());
        t.queues(&["q"]);
        c.fill("q", &["1", "2"]);
        a.get("q");
        b.get("q");
        a.close();
        b.hang_up();
        assert!(c.get("q").redelivered && c.get("q").redelivered);
    }

    s12_7_redelivered_after_a_channel_error(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).get("q");
        a.send(ack(9)).closed(406, &unknown(9), BasicAck::ID);
        assert!(b.get("q").redelivered);
    }

    s12_7_what_was_never_delivered_is_not_redelivered(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).qos(1).consume("q", "c").delivered("c", 1, "1");
        a.hang_up();
        assert!(b.get("q").redelivered);
        assert!(!b.get("q").redelivered);
        assert!(!b.get("q").redelivered);
    }

    s12_7_a_requeued_message_goes_to_another_consumer(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1"]).consume("q", "c").delivered("c", 1, "1");
        b.consume("q", "d");
        a.cancel("c").send(nack(1));
        assert!(b.delivered("d", 1, "1").redelivered);
    }

    s12_7_the_only_consumer_gets_what_it_puts_back(t) {
        let a = holding(t, &["1"]);
        a.send(nack(1));
        assert!(a.delivered("c", 2, "1").redelivered);
        a.send(reject(2));
        assert!(a.delivered("c", 3, "1").redelivered);
    }

    s12_2_unacked_messages_outlive_cancel(t) {
        let a = holding(t, &["1", "2"]);
        a.cancel("c").send(ack(1)).send(nack(2)).silent();
        let message = a.get("q");
        assert_eq!((message.delivery_tag, message.text(), message.redelivered), (3, "2", true));
    }
}
