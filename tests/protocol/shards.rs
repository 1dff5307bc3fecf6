//! Scenarios of several shards (the design's part B, rows for protocol scripts). On one shard they must hold as well.

use leveret::amqp::Properties;
use leveret::amqp::frame::write_body;
use leveret::amqp::method::*;
use leveret::shard::alarm::Alarm;

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

/// A queue for each shard: while the shards have equally many, a queue lives where it is declared.
fn queue_on_each(t: &Net, names: &[&str]) -> Vec<Peer> {
    names
        .iter()
        .enumerate()
        .map(|(shard, name)| {
            let owner = t.peer_on(shard);
            owner.queue(declare(name));
            owner
        })
        .collect()
}

/// Ten messages to q by one channel, unconfirmed.
fn ten(a: &Peer) {
    a.fill("q", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

scripts! {
    b2_a_sleeping_shard_needs_no_timer(t) {
        let (a, b) = (t.peer(), t.peer());
        t.queues(&["q", "r", "s", "v"]);
        for name in ["q", "r", "s", "v"] {
            b.consume_no_ack(name, name);
        }
        for (tag, name) in (1..).zip(["q", "r", "s", "v"]) {
            a.fill(name, &["x"]);
            b.delivered(name, tag, "x");
        }
    }

    b4_a_waiting_channel_does_not_stop_the_others(t) {
        let a = t.connect_on(1).log_in(Login { heartbeat: 10, ..LOGIN });
        a.careless_of_heartbeats();
        let b = a.open(2);
        a.queue(exclusive("mine"));
        b.confirm_select();
        let held = t.hold(0);
        a.send(declare("new"));
        b.fill("mine", &["1"]).confirmed(&[1]);
        // A further frame of the waiting channel stops the reading, not the heartbeats.
        a.fill("mine", &["2"]).send(get("mine"));
        b.fill("mine", &["3"]);
        for _ in 0..10 {
            t.advance(5_000);
            a.heartbeat();
        }
        a.still_open();
        assert!(!held || a.waiting() == 0, "nothing overtakes the declare");
        t.release(0);
        a.expect(declare_ok("new", 0, 0));
        assert_eq!(a.got().expect("a message").text(), "1");
        b.confirmed(&[2]);
        a.holds("mine", &["2", "3"]);
    }

    b4_every_command_behind_a_waiting_one_keeps_its_order(t) {
        let a = t.peer_on(1);
        t.hold(0);
        a.send(declare("q")).send(bind("q", "amq.fanout", "")).publish(to("amq.fanout", "")).send(get("q"));
        a.send(exchange("x", "direct")).send(delete("q"));
        t.release(0);
        a.expect(declare_ok("q", 0, 0)).expect(QueueBindOk {});
        assert_eq!(a.got().expect("a message").text(), "m");
        a.expect(ExchangeDeclareOk {}).expect(delete_ok(0));
    }

    b4_a_waiting_channel_whose_connection_goes(t) {
        let (a, b) = (t.peer_on(1), t.peer_on(2));
        t.hold(0);
        a.send(exclusive("q")).send(consume("q", "c")).careless();
        t.settle();
        a.hang_up();
        t.release(0);
        b.no_queue("q");
    }

    b5_pipelined_declare_consume_publish_answer_in_order(t) {
        let a = t.peer();
        a.send(durable("q")).send(consume("q", "c")).fill("q", &["1"]);
        a.expect(declare_ok("q", 0, 0)).expect(BasicConsumeOk { consumer_tag: "c" }).delivered("c", 1, "1");
    }

    b5_pipelined_everything_answers_in_order(t) {
        let a = t.peer();
        a.send(exchange("x", "fanout")).send(durable("q")).send(bind("q", "x", "")).send(confirm_select());
        a.publish(to("x", "")).send(get("q")).send(unbind("q", "x", "")).send(delete("q")).send(exchange_delete("x"));
        a.expect(ExchangeDeclareOk {}).expect(declare_ok("q", 0, 0)).expect(QueueBindOk {}).expect(ConfirmSelectOk {});
        // The confirm goes its own way.
        let mut rest = vec![];
        for _ in 0..6 {
            let frame = a.take("an answer");
            if let Some(id) = frame.method_id().filter(|&id| id != BasicAck::ID) {
                rest.push(id);
            } else if frame.method_id().is_none() {
                a.take("the message's body");
            }
        }
        assert_eq!(rest, [BasicGetOk::ID, QueueUnbindOk::ID, QueueDeleteOk::ID, ExchangeDeleteOk::ID]);
    }

    b9_local_and_remote_deliveries_share_one_channel(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.connect_on(1).log_in(Login { frame_max: 4096, ..LOGIN });
        a.consume("q1", "near").consume("q2", "far");
        let large = "L".repeat(10_000);
        let mut tag = 0;
        for round in 0..5 {
            owners[0].fill("q1", &[&large]);
            tag += 1;
            a.delivered("near", tag, &large);
            owners[3].fill("q2", &[&large, ""]);
            tag += 1;
            a.delivered("far", tag, &large);
            tag += 1;
            a.delivered("far", tag, "");
            owners[2].fill("q3", &["got"]);
            tag += 1;
            assert_eq!((a.get("q3").delivery_tag, round), (tag, round));
        }
        a.send(ack_up_to(tag)).close();
        a.reopen().counts("q1", 0, 0).counts("q2", 0, 0).counts("q3", 0, 0);
    }

    b9_deliveries_are_byte_equal_at_every_size(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.connect_on(3).log_in(Login { frame_max: 4096, ..LOGIN });
        for owner in ["q0", "q1", "q2", "q3"] {
            a.consume_no_ack(owner, owner);
        }
        let sizes = [0, 1, 4_088, 4_089, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 200_000];
        for (index, len) in sizes.into_iter().enumerate() {
            let body: Vec<u8> = (0..len).map(|i| (i * 7 + index) as u8).collect();
            let properties = Properties { message_id: Some("id"), ..with_headers(&[("a", int(1))]) };
            for (shard, name) in ["q0", "q1", "q2", "q3"].into_iter().enumerate() {
                let publisher = &owners[(shard + 1) % 4];
                publisher.send(BasicPublish {
                    reserved_1: 0, exchange: "", routing_key: name, mandatory: false, immediate: false,
                });
                let mut out = vec![];
                write_body(&mut out, 1, &body, 65_536);
                publisher.content_header(len as u64, &properties).raw(&out);
                let message = a.delivery();
                assert!(message.body == body && message.consumer_tag == name, "{len} bytes from {name}");
                assert_eq!(message.properties(), properties);
            }
        }
    }

    b13_a_purge_counts_what_was_published_before(t) {
        for shard in 0..4 {
            let a = t.peer_on(shard);
            t.peer_on(2).queue(declare("q"));
            ten(&a);
            a.send(purge("q")).expect(purge_ok(10));
        }
    }

    b13_a_delete_counts_what_was_published_before(t) {
        for shard in 0..4 {
            let a = t.peer_on(shard);
            t.peer_on(2).queue(declare("q"));
            ten(&a);
            a.send(delete("q")).expect(delete_ok(10));
        }
    }

    b13_a_declare_counts_what_was_published_before(t) {
        t.peer_on(2).queue(declare("q"));
        for shard in 0..4 {
            let a = t.peer_on(shard);
            ten(&a);
            a.counts("q", 10, 0);
            ten(&a);
            a.send(declare("q")).expect(declare_ok("q", 20, 0)).send(purge("q")).expect(purge_ok(20));
        }
    }

    b13_a_get_counts_what_was_published_before(t) {
        t.peer_on(2).queue(declare("q"));
        for shard in 0..4 {
            let a = t.peer_on(shard);
            ten(&a);
            assert_eq!(a.get("q").message_count, 9);
            a.send(ack(1)).send(purge("q")).expect(purge_ok(9));
        }
    }

    b13_delete_if_empty_sees_what_was_published_before(t) {
        t.peer_on(2).queue(declare("q"));
        for shard in 0..4 {
            let a = t.peer_on(shard);
            ten(&a);
            a.send(QueueDelete { if_empty: true, ..delete("q") });
            a.closed(406, "queue 'q' in vhost '/' not empty", QueueDelete::ID).reopen();
            a.send(purge("q")).expect(purge_ok(10));
        }
    }

    b14_deleting_a_remote_queue_one_consumes(t) {
        let (a, b) = (t.peer_on(1), t.peer_on(3));
        t.peer_on(2).queue(declare("q"));
        a.consume("q", "mine");
        b.consume("q", "theirs");
        a.send(delete("q")).expect(delete_ok(0)).expect(cancelled("mine"));
        b.expect(cancelled("theirs"));
    }

    b14_a_publish_under_way_to_a_deleted_queue_is_acked(t) {
        let (a, b) = (t.peer_on(1), t.peer_on(3));
        b.queue(declare("q"));
        a.confirm_select();
        t.hold(b.shard());
        a.publish(mandatory("", "q"));
        t.settle();
        b.send(delete("q"));
        t.release(b.shard());
        b.expect_id(QueueDeleteOk::ID, |_| ());
        a.confirmed(&[1]).publish(mandatory("", "q")).returned("", "q", "m");
        a.confirmed(&[2]);
    }

    b16_unbinding_ends_a_chain_of_auto_delete_exchanges(t) {
        let peers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        for (shard, other) in [(1, 2), (2, 0), (3, 1)] {
            let a = &peers[shard];
            for name in ["x", "y", "z"] {
                a.send(ExchangeDeclare { auto_delete: true, ..exchange(name, "fanout") }).expect(ExchangeDeclareOk {});
            }
            peers[other].queue(declare("q"));
            a.bind("q", "z", "").e_bind("z", "y", "").e_bind("y", "x", "");
            if shard == 3 {
                peers[other].send(delete("q")).expect(delete_ok(0));
            } else {
                peers[other].send(unbind("q", "z", "")).expect(QueueUnbindOk {});
            }
            for peer in &peers {
                peer.no_exchange("x").no_exchange("y").no_exchange("z");
            }
        }
    }

    b18_what_was_published_before_a_close_is_there(t) {
        t.peer_on(2).queue(declare("q"));
        let (a, b) = (t.peer_on(1), t.peer_on(3));
        ten(&a);
        a.close();
        b.counts("q", 10, 0);
        a.reopen();
        ten(&a);
        a.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        b.counts("q", 20, 0);
    }

    b18_a_channel_number_reused_at_once_hears_nothing_old(t) {
        t.peer_on(2).queue(declare("q"));
        let (a, b) = (t.peer_on(1), t.peer_on(3));
        a.confirm_select().consume("q", "old");
        t.hold(2);
        ten(&a);
        a.send(get("q")).send(channel_close()).send(channel_open()).send(confirm_select());
        t.settle();
        t.release(2);
        // Up to close-ok anything may come; behind it only what the new channel asked for.
        while a.take("close-ok").method_id() != Some(ChannelCloseOk::ID) {}
        a.expect_id(ChannelOpenOk::ID, |_| ());
        a.expect(ConfirmSelectOk {}).silent();
        b.counts("q", 10, 0);
        a.fill("q", &["new"]).confirmed(&[1]).silent();
    }

    b26_nothing_of_a_cancelled_consumer_comes_after_cancel_ok(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.peer_on(1);
        a.consume_no_ack("q2", "c");
        owners[2].fill("q2", &["1"]);
        a.delivered("c", 1, "1");
        owners[3].fill("q2", &["2"]);
        a.send(cancel("c")).send(consume_no_ack("q3", "c"));
        a.delivered("c", 2, "2");
        owners[0].fill("q2", &["old"]).fill("q3", &["new"]);
        a.expect(BasicCancelOk { consumer_tag: "c" }).expect(BasicConsumeOk { consumer_tag: "c" });
        a.delivered("c", 3, "new");
        a.silent();
        owners[0].counts("q2", 1, 0).counts("q3", 0, 1);
    }

    b26_a_tag_cancelled_without_answer_is_free(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.peer_on(1);
        for (name, next) in [("q0", "q1"), ("q1", "q2"), ("q2", "q3"), ("q3", "q0")] {
            a.consume_no_ack(name, "c").send(BasicCancel { no_wait: true, ..cancel("c") }).consume_no_ack(next, "c");
            owners[0].fill(name, &["old"]).fill(next, &["new"]);
            assert_eq!(a.delivery().text(), "new");
            a.silent().cancel("c").holds(name, &["old"]);
        }
    }

    b26_nack_multiple_over_several_shards_restores_order(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.peer_on(1);
        for round in ["1", "2", "3"] {
            for (name, owner) in ["q0", "q1", "q2", "q3"].into_iter().zip(&owners) {
                owner.fill(name, &[round]);
                a.get(name);
            }
        }
        a.send(ack(6)).send(nack_up_to(12));
        for name in ["q0", "q2", "q3"] {
            a.holds(name, &["1", "2", "3"]);
        }
        a.holds("q1", &["1", "3"]);
    }

    b26_recover_over_several_shards_restores_order(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.peer_on(1);
        for (name, owner) in ["q0", "q1", "q2", "q3"].into_iter().zip(&owners) {
            owner.fill(name, &["1", "2", "3"]);
            a.get(name);
            a.get(name);
        }
        a.send(recover()).expect(BasicRecoverOk {});
        for name in ["q0", "q1", "q2", "q3"] {
            a.holds(name, &["1", "2", "3"]);
        }
    }

    b26_global_qos_over_several_shards(t) {
        let owners = queue_on_each(t, &["q0", "q1", "q2", "q3"]);
        let a = t.peer_on(1);
        a.send(qos_global(2)).expect(BasicQosOk {});
        for name in ["q0", "q1", "q2", "q3"] {
            a.consume(name, name);
        }
        for (name, owner) in ["q0", "q1", "q2", "q3"].into_iter().zip(&owners) {
            owner.fill(name, &["1", "2"]);
        }
        for settled in 0..8 {
            assert_eq!(a.waiting() / 3, (8 - settled).min(2), "never above the limit, never idle with work");
            let message = a.delivery();
            a.send(ack(message.delivery_tag));
            t.settle();
        }
        a.silent();
    }

    b30_replies_across_shards(t) {
        for (from, over) in [(0, 1), (1, 2), (3, 0), (2, 2)] {
            let (a, b) = (t.peer_on(from), t.peer_on(over));
            b.queue(exclusive("requests"));
            a.consume_no_ack("amq.rabbitmq.reply-to", "replies");
            let properties = Properties { reply_to: Some("amq.rabbitmq.reply-to"), ..Properties::default() };
            a.publish(Publish { properties, ..to("", "requests") });
            let request = b.get("requests");
            b.fill(request.properties().reply_to.expect("a name"), &["1", "2"]);
            a.delivered("replies", 1, "1");
            a.delivered("replies", 2, "2");
            a.quit();
            b.quit();
        }
    }

    b30_a_reply_to_a_reused_slot_reaches_nobody(t) {
        let (a, b) = (t.peer_on(1), t.peer_on(2));
        b.queue(exclusive("requests"));
        a.consume_no_ack("amq.rabbitmq.reply-to", "replies");
        let properties = Properties { reply_to: Some("amq.rabbitmq.reply-to"), ..Properties::default() };
        a.publish(Publish { properties, ..to("", "requests") });
        let request = b.get("requests");
        a.quit();
        t.advance(1_000);
        let heir = t.peer_on(1);
        heir.consume_no_ack("amq.rabbitmq.reply-to", "replies");
        b.confirm_select().fill(request.properties().reply_to.expect("a name"), &["late"]).confirmed(&[1]);
        heir.silent();
    }

    b25_all_remote_consumers_that_do_not_read_have_a_bound(t) {
        let t = &t.with(|settings| {
            let limits = &mut settings.limits;
            (limits.link_window_bytes, limits.outbound_high_bytes) = (64 << 10, 64 << 10);
            (limits.links_bytes_max, limits.outbound_bytes_max) = (20_000, 20_000);
        });
        let owner = t.peer();
        owner.queue(declare("first"));
        let body = "b".repeat(1000);
        let names: Vec<String> = (0..12).map(|n| format!("q{n}")).collect();
        let consumers: Vec<Peer> = names
            .iter()
            .map(|name| {
                owner.queue(declare(name));
                let consumer = t.peer();
                consumer.consume_no_ack(name, "c");
                consumer.stop_reading();
                consumer
            })
            .collect();
        for _ in 0..60 {
            names.iter().for_each(|name| {
                owner.fill(name, &[&body]);
            });
            t.settle();
        }
        let mut ready = 0;
        for name in &names {
            owner.send(passive(name));
            owner.expect_id(QueueDeclareOk::ID, |method| {
                if let Method::QueueDeclareOk(ok) = method {
                    ready += ok.message_count;
                }
            });
        }
        // A few KiB for each, and what each shard let go before it had too much.
        let sent = 12 * 60 - ready;
        assert!(sent > 12 && sent <= 12 * 9 + 21 * 2 * t.shards() as u32, "{sent} are on their way");
        for consumer in &consumers {
            consumer.go_on_reading();
            (1..=60).for_each(|tag| { consumer.delivered("c", tag, &body); });
        }
    }

    b30_a_requester_that_does_not_read_is_bounded(t) {
        let (a, b) = (t.peer_on(1), t.peer_on(2));
        b.queue(exclusive("requests"));
        a.consume_no_ack("amq.rabbitmq.reply-to", "replies");
        let properties = Properties { reply_to: Some("amq.rabbitmq.reply-to"), ..Properties::default() };
        a.publish(Publish { properties, ..to("", "requests") });
        let request = b.get("requests");
        let name = request.properties().reply_to.expect("a name");
        a.stop_reading();
        let body = "r".repeat(100_000);
        b.confirm_select();
        for seqno in 1..=200 {
            b.fill(name, &[&body]).confirmed(&[seqno]);
        }
        a.go_on_reading();
        let mut count = 0;
        while a.waiting() > 0 {
            count += 1;
            a.delivered("replies", count, &body);
        }
        assert!(count < 200, "20 MB of replies were kept for a peer that does not read");
    }

    b37_a_binding_made_anywhere_counts_everywhere_at_bind_ok(t) {
        let peers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        t.queues(&["q"]);
        for (round, binder) in peers.iter().enumerate() {
            let key = round.to_string();
            binder.bind("q", "amq.direct", &key);
            for publisher in &peers {
                publisher.publish(mandatory("amq.direct", &key)).silent();
            }
        }
        peers[0].counts("q", 16, 0);
    }

    b37_a_name_declared_by_all_has_one_creator(t) {
        let peers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        t.hold(0);
        for peer in &peers {
            peer.send(declare("q"));
            t.settle();
        }
        t.release(0);
        for peer in &peers {
            peer.expect(declare_ok("q", 0, 0)).fill("q", &["x"]);
        }
        peers[1].counts("q", 4, 0);
    }

    b37_a_name_declared_exclusively_by_all_has_one_owner(t) {
        let peers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        t.hold(0);
        for peer in &peers {
            peer.send(exclusive("q"));
            t.settle();
        }
        t.release(0);
        let mut owners = 0;
        for peer in &peers {
            match peer.take("declare-ok or close").method_id() {
                Some(id) if id == QueueDeclareOk::ID => owners += 1,
                Some(id) => assert_eq!(id, ChannelClose::ID),
                None => panic!("a method"),
            }
        }
        assert_eq!(owners, 1);
    }

    b35_an_alarm_holds_publishers_of_all_shards_and_no_consumer(t) {
        let names = ["q0", "q1", "q2", "q3"];
        queue_on_each(t, &names);
        let publishers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        let consumers: Vec<Peer> = (0..4).map(|shard| t.peer_on(shard)).collect();
        // Each publishes to a queue of another shard.
        for (shard, peer) in publishers.iter().enumerate() {
            peer.confirm_select().fill(names[(shard + 1) % 4], &["0"; 20]).confirmed(&(1..=20).collect::<Vec<u64>>());
        }
        t.alarm(Alarm::Memory, true);
        for (shard, peer) in publishers.iter().enumerate() {
            peer.silent();
            peer.fill(names[(shard + 1) % 4], &["1", "2"]).on(0).expect(ConnectionBlocked { reason: "low on memory" });
            peer.confirmed(&[21]).silent();
        }
        for (shard, peer) in consumers.iter().enumerate() {
            let name = names[(shard + 2) % 4];
            peer.consume(name, "c");
            (1..=20).for_each(|tag| { peer.delivered("c", tag, "0"); });
            peer.delivered("c", 21, "1");
            peer.send(ack_up_to(21)).silent().counts(name, 0, 1);
        }
        t.alarm(Alarm::Memory, false);
        for peer in &publishers {
            peer.on(0).expect(ConnectionUnblocked {});
            peer.confirmed(&[22]).silent();
        }
        for peer in &consumers {
            peer.delivered("c", 22, "2");
            peer.silent();
        }
    }
}
