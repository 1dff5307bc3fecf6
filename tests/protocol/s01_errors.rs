//! Section 1: what an error closes, and how it is told.

use leveret::amqp::method::*;

use crate::net::scripts;
use crate::say::*;

scripts! {
    s1_a_soft_error_closes_its_channel_only(t) {
        let a = t.peer();
        let b = a.open(2);
        a.send(passive("nope")).closed(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID);
        b.queue(declare("q"));
        b.counts("q", 0, 0);
    }

    s1_a_hard_error_closes_the_connection(t) {
        let a = t.peer();
        let other = t.peer();
        a.open(2);
        a.send(BasicQos { prefetch_size: 1, ..qos(1) }).dies(540, "prefetch_size!=0 (1)", BasicQos::ID);
        other.queue(declare("q"));
    }

    s1_a_soft_error_names_the_offending_method(t) {
        let a = t.peer();
        a.send(consume("nope", "")).closed(404, "no queue 'nope' in vhost '/'", BasicConsume::ID).reopen();
        a.send(purge("nope")).closed(404, "no queue 'nope' in vhost '/'", QueuePurge::ID).reopen();
        a.publish(to("nope", "k")).closed(404, "no exchange 'nope' in vhost '/'", BasicPublish::ID);
    }

    s1_a_long_text_is_cut_and_ends_in_dots(t) {
        let a = t.peer();
        let name = "n".repeat(255);
        let text = format!("no queue '{}...", "n".repeat(252 - "NOT_FOUND - no queue '".len()));
        a.send(passive(&name)).closed(404, &text, QueueDeclare::ID);
    }

    s1_frames_after_channel_close_are_dropped(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.send(passive("nope")).fill("q", &["lost"]).send(declare("q2"));
        a.send(get("q")).send(ack(7));
        a.closed(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID);
        a.silent().reopen().empty("q").no_queue("q2");
    }

    s1_a_content_cut_by_channel_close_is_dropped(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.send(passive("nope"));
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "q", mandatory: false, immediate: false });
        a.closing(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID);
        a.content_header(4, &persistent()).body(b"ab").send(ChannelCloseOk {}).silent();
        a.reopen().empty("q");
    }

    s1_pipelined_errors_close_once(t) {
        let a = t.peer();
        a.send(passive("one")).send(passive("two")).send(ack(1));
        a.closed(404, "no queue 'one' in vhost '/'", QueueDeclare::ID).silent().reopen();
    }

    s1_a_client_may_close_a_closing_channel(t) {
        let a = t.peer();
        a.send(passive("nope")).closing(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID);
        a.send(channel_close()).expect(ChannelCloseOk {});
    }

    s1_frames_after_connection_close_are_dropped(t) {
        let a = t.peer();
        let b = t.peer();
        a.send(BasicRecover { requeue: false }).send(declare("q")).fill("q", &["x"]);
        a.dies(540, "requeue=false", BasicRecover::ID);
        b.no_queue("q");
    }

    s1_close_crossing_close_is_answered(t) {
        let a = t.peer();
        a.send(BasicRecover { requeue: false }).on(0).send(connection_close());
        a.on(0).expect_id(ConnectionClose::ID, |_| ());
        a.on(0).expect(ConnectionCloseOk {});
        a.on(0).send(ConnectionCloseOk {}).gone();
    }

    s1_a_soft_error_leaves_queues_and_consumers_of_other_channels(t) {
        let a = t.peer();
        let b = a.open(2);
        a.queue(declare("q"));
        b.consume("q", "c");
        a.send(passive("nope")).closed(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID).reopen();
        a.fill("q", &["x"]);
        b.delivered("c", 1, "x");
    }

    s1_a_soft_error_cancels_its_channels_consumers(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).consume("q", "c").fill("q", &["x"]).delivered("c", 1, "x");
        a.send(passive("nope")).closed(404, "no queue 'nope' in vhost '/'", QueueDeclare::ID);
        b.counts("q", 1, 0);
        assert!(b.get("q").redelivered);
    }

    s1_no_wait_suppresses_the_answer_not_the_error(t) {
        let a = t.peer();
        a.send(QueueDeclare { no_wait: true, ..declare("q") }).silent();
        a.send(QueueDeclare { no_wait: true, ..durable("q") });
        a.closed_like(406, "inequivalent arg 'durable' for queue 'q'", QueueDeclare::ID);
    }
}
