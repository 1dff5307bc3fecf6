//! Section 4: channels.

use leveret::amqp::method::*;
use leveret::amqp::{LongStr, MethodId};

use crate::net::scripts;
use crate::peer::{LOGIN, Login};
use crate::say::*;

const EXPECTED_OPEN: &str = "expected 'channel.open'";
const SECOND_OPEN: &str = "second 'channel.open' seen";
const NOTHING_DECLARED: &str = "no previously declared queue";

scripts! {
    s4_open_ok_carries_an_empty_long_string(t) {
        t.peer().on(2).send(channel_open()).expect(ChannelOpenOk { reserved_1: LongStr(b"") });
    }

    s4_a_method_on_a_channel_never_opened(t) {
        t.peer().on(2).send(declare("q")).dies(504, EXPECTED_OPEN, QueueDeclare::ID);
        t.peer().on(9).send(channel_close()).dies(504, EXPECTED_OPEN, ChannelClose::ID);
        t.peer().on(9).send(ChannelCloseOk {}).dies(504, EXPECTED_OPEN, ChannelCloseOk::ID);
        t.peer().on(65_535).send(TxSelect {}).dies(504, EXPECTED_OPEN, TxSelect::ID);
    }

    s4_a_publish_on_a_channel_never_opened(t) {
        let a = t.peer().on(2);
        a.send(BasicPublish { reserved_1: 0, exchange: "", routing_key: "", mandatory: false, immediate: false });
        a.content_header(0, &persistent()).dies(504, EXPECTED_OPEN, BasicPublish::ID);
    }

    s4_a_method_on_a_closed_channel(t) {
        let a = t.peer();
        a.close();
        a.send(declare("q")).dies(504, EXPECTED_OPEN, QueueDeclare::ID);
    }

    s4_a_second_open(t) {
        t.peer().send(channel_open()).dies(504, SECOND_OPEN, ChannelOpen::ID);
    }

    s4_an_open_before_close_ok(t) {
        let a = t.peer();
        a.send(ack(1)).closing(406, "unknown delivery tag 1", BasicAck::ID);
        a.send(channel_open()).dies(504, SECOND_OPEN, ChannelOpen::ID);
    }

    s4_channel_methods_on_channel_0(t) {
        let text = "unexpected method in connection state running";
        t.peer().on(0).send(channel_open()).dies(504, text, ChannelOpen::ID);
        t.peer().on(0).send(declare("q")).dies(504, text, QueueDeclare::ID);
    }

    s4_connection_open_twice(t) {
        let text = "unexpected method in connection state running";
        t.peer().on(0).open_vhost("/").dies(504, text, ConnectionOpen::ID);
    }

    s4_connection_methods_on_a_channel(t) {
        let text = "unimplemented method";
        t.peer().send(connection_close()).dies(503, text, ConnectionClose::ID);
        t.peer().send(ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false })
            .dies(503, text, ConnectionOpen::ID);
        t.peer().send(ConnectionTuneOk { channel_max: 0, frame_max: 0, heartbeat: 0 })
            .dies(503, text, ConnectionTuneOk::ID);
    }

    s4_methods_only_a_server_sends(t) {
        let text = "unimplemented method";
        t.peer().send(declare_ok("q", 0, 0)).dies(503, text, QueueDeclareOk::ID);
        t.peer().send(QueueBindOk {}).dies(503, text, QueueBindOk::ID);
        t.peer().send(ExchangeDeclareOk {}).dies(503, text, ExchangeDeclareOk::ID);
        t.peer().send(get_empty()).dies(503, text, BasicGetEmpty::ID);
        t.peer().send(TxSelectOk {}).dies(503, text, TxSelectOk::ID);
        t.peer().send(ConfirmSelectOk {}).dies(503, text, ConfirmSelectOk::ID);
        t.peer().send(BasicQosOk {}).dies(503, text, BasicQosOk::ID);
        t.peer().send(BasicConsumeOk { consumer_tag: "c" }).dies(503, text, BasicConsumeOk::ID);
    }

    s4_a_deliver_from_the_client(t) {
        let a = t.peer();
        a.send(BasicDeliver { consumer_tag: "c", delivery_tag: 1, redelivered: false, exchange: "", routing_key: "" });
        a.content_header(0, &persistent()).dies_with(503, BasicDeliver::ID);
    }

    s4_more_channels_than_channel_max(t) {
        let a = t.login(Login { channel_max: 2, ..LOGIN });
        a.open(2);
        a.on(3).send(channel_open());
        let text = "number of channels opened (2) has reached the negotiated channel_max (2)";
        a.dies(530, text, MethodId::NONE);
    }

    s4_channel_max_counts_channels_not_their_numbers(t) {
        let a = t.login(Login { channel_max: 2, ..LOGIN });
        a.open(65_535).close();
        a.open(40_000).queue(declare("q"));
    }

    s4_closed_channels_do_not_count(t) {
        let a = t.login(Login { channel_max: 1, ..LOGIN });
        a.close();
        a.open(2).close();
        a.open(3).queue(declare("q"));
    }

    s4_flow_true_is_answered(t) {
        t.peer().send(ChannelFlow { active: true }).expect(ChannelFlowOk { active: true });
    }

    s4_flow_false_is_not_implemented(t) {
        t.peer().send(ChannelFlow { active: false }).dies(540, "active=false", ChannelFlow::ID);
    }

    s4_access_request_grants_ticket_1(t) {
        t.peer()
            .send(AccessRequest {
                realm: "/data", exclusive: false, passive: true, active: true, write: true, read: true,
            })
            .expect(AccessRequestOk { reserved_1: 1 });
    }

    s4_tickets_are_ignored(t) {
        let a = t.peer();
        a.queue(QueueDeclare { reserved_1: 4711, ..declare("q") });
        a.send(BasicGet { reserved_1: 65_535, ..get("q") }).expect(get_empty());
        a.send(QueueDelete { reserved_1: 2, ..delete("q") }).expect(delete_ok(0));
    }

    s4_close_is_answered(t) {
        t.peer().send(channel_close()).expect(ChannelCloseOk {});
    }

    s4_close_puts_unacked_messages_back(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.fill("q", &["1", "2", "3"]).consume("q", "c");
        for (tag, body) in ["1", "2", "3"].into_iter().enumerate() {
            a.delivered("c", tag as u64 + 1, body);
        }
        a.send(ack(2)).close();
        b.counts("q", 2, 0);
        let first = b.get("q");
        assert_eq!((first.text(), first.redelivered), ("1", true));
        assert_eq!(b.get("q").text(), "3");
    }

    s4_close_cancels_consumers(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.consume("q", "c1").consume("q", "c2").close();
        b.counts("q", 0, 0).fill("q", &["x"]);
        a.reopen().silent();
        b.counts("q", 1, 0);
    }

    s4_close_discards_a_transaction(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q"]);
        a.tx_select().fill("q", &["x"]).close();
        b.counts("q", 0, 0);
    }

    s4_close_keeps_exclusive_queues(t) {
        let a = t.peer();
        a.queue(exclusive("mine")).close();
        a.reopen().counts("mine", 0, 0);
    }

    s4_a_channel_number_is_free_at_close_ok(t) {
        let a = t.peer();
        for _ in 0..50 {
            a.send(channel_close()).send(channel_open());
            a.expect(ChannelCloseOk {}).expect(ChannelOpenOk { reserved_1: LongStr(b"") });
        }
        a.queue(declare("q"));
    }

    s4_a_reopened_channel_starts_anew(t) {
        let a = t.peer();
        t.queues(&["q"]);
        a.confirm_select().fill("q", &["1", "2"]).confirmed(&[1, 2]);
        assert_eq!(a.get("q").delivery_tag, 1);
        a.close();
        a.reopen().tx_select();
        assert_eq!(a.get("q").delivery_tag, 1);
    }

    s4_a_channel_is_free_after_the_client_answers_close(t) {
        let a = t.peer();
        for _ in 0..10 {
            a.send(ack(1)).closing(406, "unknown delivery tag 1", BasicAck::ID);
            a.send(ChannelCloseOk {}).send(channel_open()).expect(ChannelOpenOk { reserved_1: LongStr(b"") });
        }
    }

    s4_no_wait_suppresses_every_answer(t) {
        let (a, b) = (t.peer(), t.peer());
        a.send(QueueDeclare { no_wait: true, ..declare("q") });
        a.send(ExchangeDeclare { no_wait: true, ..exchange("x", "fanout") });
        a.send(ExchangeDeclare { no_wait: true, ..exchange("y", "fanout") });
        a.send(QueueBind { no_wait: true, ..bind("q", "y", "") });
        a.send(ExchangeBind { no_wait: true, ..e_bind("y", "x", "") });
        a.send(BasicConsume { no_wait: true, ..consume_no_ack("q", "c") });
        a.send(ConfirmSelect { no_wait: true }).silent();
        b.publish(to("x", ""));
        a.delivered("c", 1, "m");
        a.send(BasicCancel { no_wait: true, ..cancel("c") });
        b.publish(to("x", ""));
        a.silent();
        b.counts("q", 1, 0);
        a.send(QueuePurge { no_wait: true, ..purge("q") }).silent();
        b.counts("q", 0, 0);
        a.send(ExchangeUnbind { no_wait: true, ..e_unbind("y", "x", "") });
        a.send(ExchangeDelete { no_wait: true, ..exchange_delete("x") });
        a.send(QueueDelete { no_wait: true, ..delete("q") }).silent();
        b.no_queue("q").no_exchange("x");
    }

    s4_an_empty_name_is_the_queue_last_declared(t) {
        let a = t.peer();
        a.exchange("x", "direct").queue(declare("first")).queue(declare("q"));
        a.bind("", "x", "k").publish(to("x", "k"));
        assert_eq!(a.get("").text(), "m");
        a.fill("q", &["1", "2"]).send(purge("")).expect(purge_ok(2));
        a.consume_no_ack("", "c").fill("q", &["3"]).delivered("c", 1 + 1, "3");
        a.send(unbind("", "x", "k")).expect(QueueUnbindOk {});
        a.send(delete("")).expect(delete_ok(0)).expect(cancelled("c"));
        a.no_queue("q").counts("first", 0, 0);
    }

    s4_a_passive_declare_sets_the_last_queue(t) {
        let a = t.peer();
        a.queue(declare("one")).queue(declare("two")).counts("one", 0, 0);
        a.fill("one", &["x"]);
        assert_eq!(a.get("").text(), "x");
    }

    s4_a_passive_declare_of_the_empty_name_is_not_the_last_queue(t) {
        let a = t.peer();
        a.queue(declare("q")).send(passive("")).closed(404, "no queue '' in vhost '/'", QueueDeclare::ID);
    }

    s4_a_generated_name_becomes_the_last_queue(t) {
        let a = t.peer();
        let name = a.queue_unnamed(declare(""));
        a.fill(&name, &["x"]);
        assert_eq!(a.get("").routing_key, name);
    }

    s4_binding_with_empty_queue_and_key_uses_the_name_as_key(t) {
        let a = t.peer();
        a.queue(declare("q")).bind("", "amq.direct", "").publish(to("amq.direct", "q"));
        a.publish(Publish { body: "no", ..to("amq.direct", "") }).holds("q", &["m"]);
    }

    s4_binding_with_a_named_queue_keeps_the_empty_key(t) {
        let a = t.peer();
        a.queue(declare("q")).bind("q", "amq.direct", "").publish(to("amq.direct", ""));
        a.publish(Publish { body: "no", ..to("amq.direct", "q") }).holds("q", &["m"]);
    }

    s4_no_queue_declared_yet(t) {
        let a = t.peer();
        a.send(get("")).closed(404, NOTHING_DECLARED, BasicGet::ID).reopen();
        a.send(consume("", "c")).closed(404, NOTHING_DECLARED, BasicConsume::ID).reopen();
        a.send(purge("")).closed(404, NOTHING_DECLARED, QueuePurge::ID).reopen();
        a.send(delete("")).closed(404, NOTHING_DECLARED, QueueDelete::ID).reopen();
        a.send(bind("", "amq.direct", "k")).closed(404, NOTHING_DECLARED, QueueBind::ID).reopen();
        a.send(unbind("", "amq.direct", "k")).closed(404, NOTHING_DECLARED, QueueUnbind::ID);
    }

    s4_the_last_queue_is_per_channel(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.open(2).send(get("")).closed(404, NOTHING_DECLARED, BasicGet::ID);
        a.close();
        a.reopen().send(get("")).closed(404, NOTHING_DECLARED, BasicGet::ID);
    }

    s4_line_breaks_are_stripped_from_names(t) {
        let a = t.peer();
        a.send(declare("q\r\n1")).expect(declare_ok("q1", 0, 0));
        a.exchange("x\n1", "direct").has_exchange("x1").bind("\rq1", "x1\n", "k");
        a.publish(to("x1", "k")).holds("q1", &["m"]);
        a.exchange("y", "direct").e_bind("x1\r", "\ny", "k");
        a.send(e_unbind("x\r1", "y\n", "k")).expect(ExchangeUnbindOk {});
        a.send(unbind("q1\n", "x\n1", "k")).expect(QueueUnbindOk {});
        a.publish(to("x1", "k")).holds("q1", &[]);
        a.send(delete("q1\r\n")).expect(delete_ok(0)).send(exchange_delete("x1\n")).expect(ExchangeDeleteOk {});
        a.no_queue("q1").no_exchange("x1");
    }

    s4_line_breaks_stay_when_publishing_consuming_getting_purging(t) {
        let a = t.peer();
        a.queue(declare("q"));
        a.confirm_select().publish(mandatory("", "q\n")).returned("", "q\n", "m");
        a.confirmed(&[1]);
        a.send(get("q\n")).closed(404, "no queue 'q\n' in vhost '/'", BasicGet::ID).reopen();
        a.send(consume("q\r", "")).closed(404, "no queue 'q\r' in vhost '/'", BasicConsume::ID).reopen();
        a.send(purge("q\n")).closed(404, "no queue 'q\n' in vhost '/'", QueuePurge::ID);
    }

    s4_names_may_be_255_bytes_long(t) {
        let a = t.peer();
        let name = "ä".repeat(127) + "x";
        a.queue(declare(&name)).exchange(&name, "direct").bind(&name, &name, &name);
        a.publish(to(&name, &name)).counts(&name, 1, 0);
        a.consume_no_ack(&name, &name).delivered(&name, 1, "m");
    }

    s4_names_are_case_sensitive(t) {
        let a = t.peer();
        a.queue(declare("Q")).queue(declare("q")).fill("Q", &["1"]).counts("q", 0, 0).counts("Q", 1, 0);
    }

    s4_a_channel_that_was_closed_by_error_is_reusable(t) {
        let a = t.peer();
        a.send(get("nope")).closed(404, "no queue 'nope' in vhost '/'", BasicGet::ID).reopen();
        a.queue(declare("q"));
    }

    s4_a_hundred_channels_work_side_by_side(t) {
        let a = t.peer();
        t.queues(&["q"]);
        for channel in 2..=100 {
            a.open(channel).fill("q", &["x"]);
        }
        a.counts("q", 99, 0);
        for channel in 2..=100 {
            assert_eq!(a.on(channel).get("q").delivery_tag, 1);
        }
    }
}
