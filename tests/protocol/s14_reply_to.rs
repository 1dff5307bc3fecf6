//! Section 14.3: direct reply-to.

use leveret::amqp::Properties;
use leveret::amqp::method::*;

use crate::net::{Net, scripts};
use crate::peer::{Message, Peer};
use crate::say::*;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

fn replying(reply_to: &str) -> Properties<'_> {
    Properties { reply_to: Some(reply_to), correlation_id: Some("7"), ..Properties::default() }
}

/// A requester that waits for replies.
fn requester(t: &Net) -> Peer {
    let a = t.peer();
    a.consume_no_ack(REPLY_TO, "replies");
    a
}

/// Sends a request through queue q; the request as the server gets it.
fn request(a: &Peer, server: &Peer) -> Message {
    a.publish(Publish { properties: replying(REPLY_TO), body: "request", ..to("", "q") });
    server.get("q")
}

/// The generated name in a request.
fn name_in(request: &Message) -> String {
    request.properties().reply_to.expect("a reply-to").to_owned()
}

/// A requester on one shard, a server on another, and the generated name.
fn pair(t: &Net) -> (Peer, Peer, String) {
    t.queues(&["q"]);
    let (a, b) = (requester(t), t.peer());
    let name = name_in(&request(&a, &b));
    (a, b, name)
}

scripts! {
    s14_3_a_reply_arrives(t) {
        let (a, b, name) = pair(t);
        b.publish(Publish { properties: replying(""), body: "reply", ..to("", &name) });
        let reply = a.delivered("replies", 1, "reply");
        assert_eq!((reply.exchange.as_str(), reply.routing_key.as_str(), reply.redelivered), ("", name.as_str(), false));
        assert_eq!(reply.properties().correlation_id, Some("7"));
    }

    s14_3_many_replies_arrive_in_order(t) {
        let (a, b, name) = pair(t);
        for number in 1..=50u64 {
            b.fill(&name, &[&number.to_string()]);
        }
        for number in 1..=50u64 {
            a.delivered("replies", number, &number.to_string());
        }
    }

    s14_3_the_generated_name(t) {
        let (_a, _b, name) = pair(t);
        assert!(name.starts_with("amq.rabbitmq.reply-to.") && name.len() <= 255, "{name}");
        assert!(name.bytes().all(|c| c.is_ascii_graphic()), "{name}");
    }

    s14_3_only_the_reply_to_property_is_rewritten(t) {
        t.queues(&["q"]);
        let (a, b) = (requester(t), t.peer());
        let properties = Properties {
            content_type: Some("text/plain"), message_id: Some("id"), app_id: Some("app"),
            ..Properties { headers: Some(table(&[("a", int(1))])), ..replying(REPLY_TO) }
        };
        a.publish(Publish { properties, ..to("", "q") });
        let request = b.get("q");
        let came = request.properties();
        assert_eq!(came, Properties { reply_to: came.reply_to, ..properties });
        assert_ne!(came.reply_to, Some(REPLY_TO));
    }

    s14_3_names_differ_between_channels(t) {
        t.queues(&["q"]);
        let (a, b) = (requester(t), t.peer());
        let c = a.open(2);
        c.consume_no_ack(REPLY_TO, "others");
        let (first, second) = (name_in(&request(&a, &b)), name_in(&request(&c, &b)));
        assert_ne!(first, second);
        b.fill(&second, &["2"]).fill(&first, &["1"]);
        a.delivered("replies", 1, "1");
        c.delivered("others", 1, "2");
    }

    s14_3_consuming_with_acks_is_refused(t) {
        let a = t.peer();
        a.send(consume(REPLY_TO, "c")).closed(406, "reply consumer cannot acknowledge", BasicConsume::ID);
    }

    s14_3_a_second_reply_consumer_is_refused(t) {
        let a = requester(t);
        a.send(consume_no_ack(REPLY_TO, "more")).closed(406, "reply consumer already set", BasicConsume::ID);
    }

    s14_3_its_tag_is_taken(t) {
        let a = requester(t);
        t.queues(&["q"]);
        a.send(consume("q", "replies")).dies(530, "attempt to reuse consumer tag 'replies'", BasicConsume::ID);
    }

    s14_3_requesting_without_a_reply_consumer(t) {
        let a = requester(t);
        let b = a.open(2);
        b.publish(Publish { properties: replying(REPLY_TO), ..to("", "q") });
        b.closed(406, "fast reply consumer does not exist", BasicPublish::ID);
    }

    s14_3_requesting_after_cancel(t) {
        let a = requester(t);
        a.cancel("replies").publish(Publish { properties: replying(REPLY_TO), ..to("", "q") });
        a.closed(406, "fast reply consumer does not exist", BasicPublish::ID);
    }

    s14_3_consuming_again_after_cancel(t) {
        t.queues(&["q"]);
        let (a, b) = (requester(t), t.peer());
        a.cancel("replies").consume_no_ack(REPLY_TO, "again");
        let name = name_in(&request(&a, &b));
        b.fill(&name, &["reply"]);
        a.delivered("again", 1, "reply");
    }

    s14_3_a_reply_to_a_gone_requester_is_dropped_and_confirmed(t) {
        let (a, b, name) = pair(t);
        a.quit();
        b.confirm_select().fill(&name, &["1"]).publish(Publish { body: "2", ..mandatory("", &name) });
        b.confirmed_or_returned(&[1, 2]);
    }

    s14_3_a_reply_after_cancel_is_dropped(t) {
        let (a, b, name) = pair(t);
        a.cancel("replies");
        b.confirm_select().fill(&name, &["1"]).confirmed(&[1]);
        a.silent();
    }

    s14_3_a_reply_after_the_channel_closed_is_dropped(t) {
        let (a, b, name) = pair(t);
        a.close();
        a.reopen();
        b.fill(&name, &["1"]);
        a.silent();
        a.consume_no_ack(REPLY_TO, "replies");
        b.fill(&name, &["2"]);
        a.silent();
    }

    s14_3_a_forged_name_reaches_nobody(t) {
        let (a, b, name) = pair(t);
        let mut forged = name.clone();
        let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
        forged.push(last);
        b.confirm_select().fill(&forged, &["1"]).fill("amq.rabbitmq.reply-to.garbage", &["2"]);
        b.confirmed(&[1, 2]);
        a.silent();
    }

    s14_3_a_reply_to_a_live_requester_is_confirmed(t) {
        let (a, b, name) = pair(t);
        b.confirm_select().publish(Publish { body: "reply", ..mandatory("", &name) }).confirmed(&[1]).silent();
        a.delivered("replies", 1, "reply");
    }

    s14_3_deliveries_share_the_channels_counter(t) {
        let (a, b, name) = pair(t);
        t.queues(&["r"]);
        a.fill("r", &["x"]);
        assert_eq!(a.get("r").delivery_tag, 1);
        b.fill(&name, &["reply"]);
        a.delivered("replies", 2, "reply");
        a.send(ack(2)).closed(406, "unknown delivery tag 2", BasicAck::ID);
    }

    s14_3_declaring_the_generated_name_tells_whether_it_lives(t) {
        let (a, b, name) = pair(t);
        b.counts(&name, 0, 1);
        a.cancel("replies");
        b.no_queue(&name);
    }

    s14_3_declaring_the_bare_name(t) {
        t.peer().counts(REPLY_TO, 0, 1).send(declare(REPLY_TO)).expect(declare_ok(REPLY_TO, 0, 1));
    }

    s14_3_declaring_a_garbled_name(t) {
        t.peer().no_queue("amq.rabbitmq.reply-to.garbage").no_queue("amq.rabbitmq.reply-to.");
    }

    s14_3_the_bare_name_cannot_be_got_or_bound(t) {
        let a = t.peer();
        let missing = "no queue 'amq.rabbitmq.reply-to' in vhost '/'";
        a.send(get(REPLY_TO)).closed(404, missing, BasicGet::ID).reopen();
        a.send(bind(REPLY_TO, "amq.direct", "k")).closed(404, missing, QueueBind::ID);
    }

    s14_3_getting_from_a_generated_name(t) {
        let (_a, b, name) = pair(t);
        let text = format!("basic.get not supported by volatile queue '{name}' in vhost '/'");
        b.send(get(&name)).dies(540, &text, BasicGet::ID);
    }

    s14_3_binding_a_generated_name(t) {
        let (_a, b, name) = pair(t);
        let text = "cannot bind or unbind to a volatile (direct reply-to) queue";
        b.send(bind(&name, "amq.direct", "k")).closed(403, text, QueueBind::ID).reopen();
        b.send(unbind(&name, "amq.direct", "k")).closed(403, text, QueueUnbind::ID);
    }

    s14_3_consuming_from_a_generated_name(t) {
        let (_a, b, name) = pair(t);
        let text = format!("only creator channel may consume from queue '{name}' in vhost '/'");
        b.send(consume_no_ack(&name, "c"));
        b.closed(406, &text, BasicConsume::ID);
    }

    s14_3_deleting_a_generated_name_changes_nothing(t) {
        let (a, b, name) = pair(t);
        b.send(delete(&name)).expect(delete_ok(0)).fill(&name, &["reply"]);
        a.delivered("replies", 1, "reply");
    }

    s14_3_a_reply_may_be_large_or_empty(t) {
        let (a, b, name) = pair(t);
        let body = "b".repeat(300_000);
        b.fill(&name, &[&body, ""]);
        a.delivered("replies", 1, &body);
        a.delivered("replies", 2, "");
    }

    s14_3_a_reply_within_a_transaction(t) {
        let (a, b, name) = pair(t);
        b.tx_select().fill(&name, &["reply"]).silent();
        a.silent();
        b.commit();
        a.delivered("replies", 1, "reply");
    }

    s14_3_requester_and_server_on_one_channel(t) {
        t.queues(&["q"]);
        let a = requester(t);
        let name = name_in(&request(&a, &a));
        a.fill(&name, &["reply"]).delivered("replies", 2, "reply");
    }

    s14_3_a_generated_consumer_tag(t) {
        let a = t.peer();
        a.send(consume_no_ack(REPLY_TO, "")).expect_id(BasicConsumeOk::ID, |_| ());
    }
}
