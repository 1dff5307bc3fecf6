//! Section 13: auto-delete, exclusive, counts.

use leveret::amqp::method::*;

use crate::net::scripts;
use crate::say::*;

scripts! {
    s13_auto_delete_when_the_last_consumer_cancels(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(auto_delete("q")).consume("q", "c1");
        b.consume("q", "c2").cancel("c2").counts("q", 0, 1);
        a.cancel("c1");
        b.no_queue("q");
    }

    s13_auto_delete_happens_before_cancel_ok(t) {
        let a = t.peer();
        a.queue(auto_delete("q")).consume("q", "c").send(cancel("c")).send(passive("q"));
        a.expect(BasicCancelOk { consumer_tag: "c" }).closed(404, "no queue 'q' in vhost '/'", QueueDeclare::ID);
    }

    s13_auto_delete_when_the_channel_closes(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(auto_delete("q")).consume("q", "c").close();
        b.no_queue("q");
    }

    s13_auto_delete_when_the_channel_fails(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(auto_delete("q")).consume("q", "c");
        a.send(ack(1)).closed(406, "unknown delivery tag 1", BasicAck::ID);
        b.no_queue("q");
    }

    s13_auto_delete_when_the_connection_goes(t) {
        let (a, b) = (t.peer(), t.peer());
        b.queue(auto_delete("q"));
        a.consume("q", "c").hang_up();
        b.no_queue("q");
    }

    s13_auto_delete_takes_messages_along(t) {
        let a = t.peer();
        a.queue(auto_delete("q")).qos(1).consume("q", "c").fill("q", &["1", "2"]).delivered("c", 1, "1");
        a.cancel("c").no_queue("q").queue(auto_delete("q")).counts("q", 0, 0);
    }

    s13_auto_delete_waits_for_a_first_consumer(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(auto_delete("q")).quit();
        b.counts("q", 0, 0).fill("q", &["1"]).get("q");
        b.close();
        b.reopen().counts("q", 1, 0);
    }

    s13_get_never_triggers_auto_delete(t) {
        let a = t.peer();
        a.queue(auto_delete("q")).empty("q").fill("q", &["1"]).holds("q", &["1"]).counts("q", 0, 0);
    }

    s13_a_cancelled_stranger_does_not_trigger_auto_delete(t) {
        let a = t.peer();
        a.queue(auto_delete("q")).cancel("nope").counts("q", 0, 0);
    }

    s13_an_exclusive_queue_outlives_its_channel(t) {
        let a = t.peer();
        a.open(2).queue(exclusive("q")).close();
        a.counts("q", 0, 0);
    }

    s13_an_exclusive_queue_dies_with_its_connection(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q")).fill("q", &["1"]).hang_up();
        b.no_queue("q").queue(exclusive("q")).counts("q", 0, 0);
    }

    s13_a_durable_exclusive_queue_dies_with_its_connection(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(QueueDeclare { durable: true, ..exclusive("q") }).quit();
        b.no_queue("q");
    }

    s13_an_exclusive_queue_dies_with_a_hard_error(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(exclusive("q")).send(BasicRecover { requeue: false });
        a.dies(540, "requeue=false", BasicRecover::ID);
        b.no_queue("q");
    }

    s13_an_exclusive_auto_delete_queue_dies_with_its_last_consumer(t) {
        let a = t.peer();
        a.queue(QueueDeclare { auto_delete: true, ..exclusive("q") }).consume("q", "c").cancel("c").no_queue("q");
    }

    s13_a_durable_queue_outlives_its_connection(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(durable("q")).queue(declare("t")).fill("q", &["1"]).fill("t", &["2"]).quit();
        b.holds("q", &["1"]).holds("t", &["2"]);
    }

    s13_message_count_is_what_is_ready(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).qos(2).consume("q", "c");
        a.delivery();
        a.delivery();
        b.counts("q", 1, 1);
        a.cancel("c").send(nack(1));
        b.counts("q", 2, 0);
    }
}
