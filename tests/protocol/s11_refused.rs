//! Section 11.2: publishes that a queue refuses; 11.3: in transactions.

use leveret::amqp::Value;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::Peer;
use crate::say::*;

const FULL: [(&str, Value<'static>); 2] =
    [("x-max-length", Value::I32(1)), ("x-overflow", Value::LongStr(b"reject-publish"))];

/// Queues that take one message each, declared by a peer each: with several shards they are on different ones.
fn narrow(t: &Net, names: &[&str]) {
    for name in names {
        t.peer().queue(QueueDeclare { durable: true, ..declare_with(name, &FULL) });
    }
}

fn keep(a: &Peer, queue: &str, bodies: &[&str]) {
    for body in bodies {
        a.publish(Publish { properties: persistent(), body, ..to("", queue) });
    }
}

const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];

scripts! {
    s11_2_several_at_once_are_refused(t) {
        narrow(t, &QUEUES);
        let a = t.peer();
        a.confirm_select();
        for (n, queue) in QUEUES.iter().enumerate() {
            keep(&a, queue, &["1", "2", "3", "4"]);
            let first = 4 * n as u64 + 1;
            a.told(&[first], &[first + 1, first + 2, first + 3]);
        }
        for queue in QUEUES {
            a.counts(queue, 1, 0);
        }
    }

    s11_2_refusals_and_acks_mix(t) {
        narrow(t, &QUEUES);
        t.queues(&["free"]);
        let a = t.peer();
        a.confirm_select();
        let (mut acks, mut nacks, mut seqno) = (vec![], vec![], 0);
        for queue in QUEUES {
            for body in ["1", "2", "3"] {
                a.fill("free", &["x"]);
                keep(&a, queue, &[body]);
                seqno += 2;
                acks.push(seqno - 1);
                if body == "1" { acks.push(seqno) } else { nacks.push(seqno) }
            }
        }
        a.told(&acks, &nacks).counts("free", 12, 0);
    }

    s11_2_one_queue_of_several_refuses(t) {
        narrow(t, &QUEUES);
        t.queues(&["free"]);
        let a = t.peer();
        for queue in QUEUES.iter().chain(&["free"]) {
            a.bind(queue, "amq.fanout", "");
        }
        a.confirm_select();
        let publish = |body| a.publish(Publish { properties: persistent(), body, ..to("amq.fanout", "") });
        publish("1").told(&[1], &[]);
        publish("2").told(&[], &[2]);
        a.counts("free", 2, 0);
        // One has room again; the others still refuse.
        a.holds("q2", &["1"]);
        publish("3").told(&[], &[3]);
        a.holds("q2", &["3"]).holds("free", &["1", "2", "3"]);
        for queue in QUEUES {
            a.send(purge(queue)).expect_id(QueuePurgeOk::ID, |_| ());
        }
        publish("4").told(&[4], &[]);
    }

    s11_2_refused_without_confirms_is_dropped_silently(t) {
        narrow(t, &QUEUES);
        let a = t.peer();
        QUEUES.iter().for_each(|queue| keep(&a, queue, &["1", "2"]));
        for queue in QUEUES {
            a.counts(queue, 1, 0);
        }
        // Nobody is told of it later.
        a.confirm_select();
        a.fill("nowhere", &["x"]).confirmed(&[1]);
    }

    s11_2_a_refused_message_is_not_returned(t) {
        narrow(t, &QUEUES);
        let a = t.peer();
        a.confirm_select();
        for (n, queue) in QUEUES.iter().enumerate() {
            a.publish(mandatory("", queue)).publish(mandatory("", queue));
            let first = 2 * n as u64 + 1;
            a.told(&[first], &[first + 1]);
        }
    }

    s11_2_what_a_closed_channel_published_is_told_nobody(t) {
        narrow(t, &QUEUES);
        let a = t.peer();
        let b = a.open(2);
        b.confirm_select();
        QUEUES.iter().for_each(|queue| keep(&b, queue, &["1", "2"]));
        b.send(channel_close());
        while b.next_id() != Some(ChannelCloseOk::ID) {
            b.take("a confirm");
        }
        b.expect(ChannelCloseOk {}).reopen();
        b.confirm_select().fill("nowhere", &["x"]).confirmed(&[1]);
    }

    s11_3_a_commit_that_a_queue_refuses_is_partial(t) {
        narrow(t, &QUEUES);
        for queue in QUEUES {
            let a = t.peer();
            a.tx_select();
            keep(&a, queue, &["1"]);
            a.commit();
            keep(&a, queue, &["2"]);
            a.send(TxCommit {}).closed(406, "partial tx completion", TxCommit::ID).reopen();
            a.counts(queue, 1, 0).quit();
        }
    }

    s11_3_transient_messages_are_refused_too(t) {
        narrow(t, &QUEUES);
        for queue in QUEUES {
            let a = t.peer();
            a.tx_select().fill(queue, &["1"]).commit();
            a.fill(queue, &["2"]).send(TxCommit {}).closed(406, "partial tx completion", TxCommit::ID).reopen();
            a.counts(queue, 1, 0);
        }
    }

    s11_3_the_rest_of_a_partial_commit_is_done(t) {
        narrow(t, &QUEUES);
        t.peer().queue(durable("free"));
        let a = t.peer();
        keep(&a, "free", &["old"]);
        QUEUES.iter().for_each(|queue| keep(&a, queue, &["1"]));
        a.tx_select();
        assert_eq!(a.get("free").text(), "old");
        QUEUES.iter().for_each(|queue| keep(&a, queue, &["2"]));
        keep(&a, "free", &["new"]);
        a.send(ack(1)).send(TxCommit {}).closed(406, "partial tx completion", TxCommit::ID).reopen();
        t.rest();
        a.holds("free", &["new"]);
        for queue in QUEUES {
            a.holds(queue, &["1"]);
        }
    }
}
