//! Section 2.9: connection.blocked, and publishers that wait for the disk without a word.

use leveret::amqp::MethodId;
use leveret::amqp::method::*;
use leveret::shard::alarm::Alarm::{Disk, Memory, Store};

use crate::net::scripts;
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const MEMORY: &str = "low on memory";

/// A client that knows nothing of connection.blocked.
const OLD: Login<'static> = Login { capabilities: &["consumer_cancel_notify"], ..LOGIN };

/// connection.blocked is all that has come from the connection.
#[track_caller]
fn blocked(peer: &Peer, reason: &str) {
    peer.on(0).expect(ConnectionBlocked { reason }).silent();
}

/// The same for connection.unblocked.
#[track_caller]
fn unblocked(peer: &Peer) {
    peer.on(0).expect(ConnectionUnblocked {}).silent();
}

scripts! {
    s2_9_a_connection_is_blocked_once_it_publishes(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).fill("q", &["before"]);
        t.alarm(Memory, true);
        a.silent();
        a.fill("q", &["1"]);
        blocked(&a, MEMORY);
        a.fill("q", &["2"]).fill("q", &["3"]).send(get("q")).silent();
        b.holds("q", &["before", "1"]);
        t.alarm(Memory, false);
        unblocked(&a);
        // In the order in which they came: 2 and 3 are there for the get.
        assert_eq!(a.got().expect("a message").text(), "2");
        b.holds("q", &["3"]);
        a.fill("q", &["4"]).silent().holds("q", &["4"]);
    }

    s2_9_every_episode_is_told(t) {
        let a = t.peer();
        a.queue(declare("q"));
        for _ in 0..3 {
            t.alarm(Memory, true);
            t.alarm(Memory, true);
            a.fill("q", &["x"]);
            blocked(&a, MEMORY);
            t.alarm(Memory, false);
            unblocked(&a);
            t.alarm(Memory, false);
            a.fill("q", &["x"]).silent();
        }
        a.counts("q", 6, 0);
    }

    s2_9_an_alarm_that_nobody_met_is_not_told(t) {
        let a = t.peer();
        a.queue(declare("q"));
        t.alarm(Disk, true);
        a.counts("q", 0, 0).silent();
        t.alarm(Disk, false);
        a.fill("q", &["x"]).silent().counts("q", 1, 0);
    }

    s2_9_the_reason_is_what_is_on_at_the_publish(t) {
        for (alarms, reason) in [
            (&[Memory][..], MEMORY),
            (&[Disk], "low on disk"),
            (&[Memory, Disk], "low on memory & disk"),
            (&[Disk, Memory], "low on memory & disk"),
            (&[Store, Disk, Memory], "the disk has failed: nothing can be made durable until the broker is restarted"),
        ] {
            let a = t.peer();
            alarms.iter().for_each(|&alarm| t.alarm(alarm, true));
            a.publish(to("", "nowhere"));
            blocked(&a, reason);
            // Until the last of them ends; which one that is does not matter.
            let (last, others) = alarms.split_first().expect("an alarm");
            others.iter().for_each(|&alarm| t.alarm(alarm, false));
            a.silent();
            t.alarm(*last, false);
            unblocked(&a);
            a.quit();
        }
    }

    s2_9_a_further_alarm_is_not_told(t) {
        let a = t.peer();
        t.alarm(Memory, true);
        a.publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        t.alarm(Disk, true);
        t.alarm(Memory, false);
        a.publish(to("", "nowhere")).silent();
        t.alarm(Disk, false);
        unblocked(&a);
    }

    s2_9_a_client_that_does_not_know_it_waits_in_silence(t) {
        let (a, b) = (t.login(OLD), t.peer());
        a.queue(declare("q"));
        t.alarm(Memory, true);
        a.fill("q", &["1"]).fill("q", &["2"]).silent();
        b.counts("q", 1, 0);
        t.alarm(Memory, false);
        a.silent();
        b.holds("q", &["1", "2"]);
    }

    s2_9_whoever_does_not_publish_notices_nothing(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).fill("q", &["1", "2", "3"]);
        t.alarm(Memory, true);
        b.qos(1).consume("q", "c");
        for (tag, body) in [(1, "1"), (2, "2"), (3, "3")] {
            b.delivered("c", tag, body);
            b.send(ack(tag));
        }
        b.queue(declare("r")).bind("r", "amq.fanout", "").cancel("c").counts("q", 0, 0).silent();
        t.peer().tx_select().commit().quit();
        t.alarm(Memory, false);
        b.silent();
    }

    s2_9_whoever_comes_during_an_alarm_is_blocked_as_well(t) {
        t.alarm(Memory, true);
        let a = t.peer();
        a.queue(declare("q")).silent().fill("q", &["1"]);
        blocked(&a, MEMORY);
        t.alarm(Memory, false);
        unblocked(&a);
    }

    s2_9_the_publish_that_is_held_is_taken_whole(t) {
        let (a, b) = (t.login(Login { frame_max: 4096, ..LOGIN }), t.peer());
        let body = "b".repeat(100_000);
        a.queue(declare("q"));
        t.alarm(Memory, true);
        a.fill("q", &[&body, "2"]);
        blocked(&a, MEMORY);
        b.holds("q", &[&body]);
        t.alarm(Memory, false);
        unblocked(&a);
        b.holds("q", &["2"]);
    }

    s2_9_of_many_publishes_in_a_read_one_is_taken(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).fill("q", &["0"; 50]);
        b.counts("q", 50, 0);
        t.alarm(Memory, true);
        a.fill("q", &["1"; 50]);
        blocked(&a, MEMORY);
        b.counts("q", 51, 0);
        t.alarm(Memory, false);
        unblocked(&a);
        b.counts("q", 100, 0);
    }

    s2_9_the_held_publish_is_confirmed_and_returned(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.confirm_select();
        t.alarm(Memory, true);
        a.publish(mandatory("", "nowhere")).fill("q", &["2"]);
        blocked(&a, MEMORY);
        a.confirmed_with_returns(&[1], &[1]).silent();
        b.counts("q", 0, 0);
        t.alarm(Memory, false);
        unblocked(&a);
        a.confirmed(&[2]).silent();
        b.counts("q", 1, 0);
    }

    s2_9_a_publish_in_a_transaction_counts(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.tx_select();
        t.alarm(Memory, true);
        a.fill("q", &["1"]);
        blocked(&a, MEMORY);
        a.send(TxCommit {}).silent();
        b.counts("q", 0, 0);
        t.alarm(Memory, false);
        unblocked(&a);
        a.expect(TxCommitOk {});
        b.holds("q", &["1"]);
    }

    s2_9_a_publish_that_closes_its_channel_counts(t) {
        let a = t.peer();
        t.alarm(Memory, true);
        a.publish(to("nowhere", "")).closing(404, "no exchange 'nowhere' in vhost '/'", BasicPublish::ID);
        blocked(&a, MEMORY);
        a.send(ChannelCloseOk {}).send(channel_open()).silent();
        t.alarm(Memory, false);
        unblocked(&a);
        a.expect(ChannelOpenOk { reserved_1: leveret::amqp::LongStr(b"") });
    }

    s2_9_a_publish_that_closes_the_connection_does_not(t) {
        let a = t.peer();
        t.alarm(Memory, true);
        a.publish(Publish { immediate: true, ..to("", "q") });
        a.dies(540, "immediate=true", BasicPublish::ID);
        t.alarm(Memory, false);
    }

    s2_9_every_channel_of_a_blocked_connection_waits(t) {
        let a = t.peer();
        let b = a.open(2);
        t.alarm(Memory, true);
        a.publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        b.send(declare("q")).silent();
        t.alarm(Memory, false);
        unblocked(&a);
        b.expect(declare_ok("q", 0, 0));
    }

    s2_9_a_blocked_connection_is_delivered_to_and_its_acks_wait(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).fill("q", &["1", "2"]).qos(1).consume("q", "c");
        t.alarm(Memory, true);
        a.delivered("c", 1, "1");
        a.publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        a.send(ack(1)).silent();
        b.counts("q", 1, 1);
        t.alarm(Memory, false);
        unblocked(&a);
        a.delivered("c", 2, "2");
    }

    s2_9_a_close_of_a_blocked_client_waits(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("mine"));
        t.alarm(Memory, true);
        a.publish(to("", "mine"));
        blocked(&a, MEMORY);
        a.on(0).send(connection_close()).silent();
        t.alarm(Memory, false);
        a.on(0).expect(ConnectionUnblocked {}).expect(ConnectionCloseOk {});
        b.no_queue("mine");
    }

    s2_9_a_stop_does_not_wait_for_an_alarm(t) {
        let (a, b) = (t.peer(), t.peer());
        t.alarm(Memory, true);
        a.publish(to("", "nowhere")).publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        t.press(true);
        t.stop();
        // What the client said before is dropped, its answer is found.
        for peer in [a, b] {
            peer.dies(320, "broker forced connection closure with reason 'shutdown'", MethodId::NONE);
        }
        assert!(t.is_stopped());
        t.alarm(Memory, false);
    }

    s2_9_silence_of_a_blocked_client_is_not_its_fault(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        t.alarm(Memory, true);
        a.publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        for _ in 0..30 {
            t.advance(10_000);
            a.expect_heartbeat();
            while a.on(0).waiting() > 0 {
                a.expect_heartbeat();
            }
        }
        t.alarm(Memory, false);
        unblocked(&a);
        a.careless_of_heartbeats();
        t.advance(19_000);
        a.still_open();
        t.advance(12_000);
        a.gone();
    }

    s2_9_a_blocked_client_that_does_not_take_heartbeats_is_not_cut(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        a.careless_of_heartbeats();
        t.alarm(Memory, true);
        a.publish(to("", "nowhere"));
        blocked(&a, MEMORY);
        a.stop_reading();
        t.advance(300_000);
        a.still_open();
        a.go_on_reading();
        t.alarm(Memory, false);
        unblocked(&a);
        a.publish(to("", "nowhere")).silent();
    }

    s2_9_the_end_of_a_blocked_client_shows_by_a_heartbeat(t) {
        let (a, b) = (t.login(Login { heartbeat: 10, ..LOGIN }), t.peer());
        a.queue(exclusive("mine"));
        t.alarm(Memory, true);
        a.publish(to("", "mine"));
        blocked(&a, MEMORY);
        t.vanish(a.index);
        a.still_open();
        t.advance(10_000);
        assert!(a.is_closed());
        b.no_queue("mine");
        t.alarm(Memory, false);
        b.silent();
    }

    s2_9_what_a_client_said_before_it_hung_up_is_taken_when_it_may(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        t.alarm(Memory, true);
        a.fill("q", &["1", "2"]);
        blocked(&a, MEMORY);
        a.fill("q", &["3"]).hang_up();
        a.still_open();
        b.counts("q", 1, 0);
        t.alarm(Memory, false);
        // Whether it was still told does not matter.
        a.careless();
        assert!(a.is_closed());
        b.holds("q", &["1", "2", "3"]);
    }

    a_journal_that_is_behind_holds_publishers_and_tells_nobody(t) {
        // A shard that is behind keeps credit back, too; it is not to be used up here.
        let t = &t.with(|settings| settings.limits.publish_credit_bytes = 1 << 20);
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).confirm_select();
        for round in 0..3 {
            t.press(true);
            a.fill("q", &["1", "2", "3"]).confirmed(&[3 * round + 1]).silent();
            b.queue(declare("r")).send(delete("r")).expect(delete_ok(0));
            b.counts("q", 1, 0);
            t.press(false);
            a.confirmed(&[3 * round + 2, 3 * round + 3]).silent();
            b.holds("q", &["1", "2", "3"]);
        }
    }

    a_held_publisher_is_told_of_an_alarm(t) {
        // A shard that is behind keeps credit back, too; it is not to be used up here.
        let t = &t.with(|settings| settings.limits.publish_credit_bytes = 1 << 20);
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        t.press(true);
        a.fill("q", &["1", "2", "3"]).silent();
        b.counts("q", 1, 0);
        t.alarm(Disk, true);
        blocked(&a, "low on disk");
        t.press(false);
        t.press(true);
        t.press(false);
        a.silent();
        b.counts("q", 1, 0);
        t.press(true);
        t.alarm(Disk, false);
        unblocked(&a);
        b.counts("q", 2, 0);
        t.press(false);
        a.silent();
        b.counts("q", 3, 0);
        t.press(true);
        a.fill("q", &["4", "5"]).silent();
        b.holds("q", &["1", "2", "3", "4"]);
        t.press(false);
        b.holds("q", &["5"]);
    }

    silence_of_a_client_is_not_its_fault_while_the_journal_is_behind(t) {
        let a = t.login(Login { heartbeat: 10, ..LOGIN });
        a.careless_of_heartbeats();
        t.press(true);
        a.publish(to("", "nowhere"));
        t.advance(300_000);
        a.silent();
        t.press(false);
        t.advance(31_000);
        a.gone();
    }
}
