//! Queues that take no second message of a name while they have one, across the ends of the broker.

use leveret::amqp::frame::{write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{Properties, TableWriter, Value};

use crate::binary::Broker;
use crate::client::{Client, declare};
use crate::durable::{Scratch, confirming, start};

/// Durable queues: one as it is, one with priorities.
const QUEUES: [&str; 2] = ["q", "p"];

fn declare_all(client: &mut Client) {
    for queue in QUEUES {
        let mut arguments = TableWriter::new();
        arguments.put("x-message-deduplication", Value::Bool(true));
        if queue == "p" {
            arguments.put("x-max-priority", Value::I32(9));
        }
        let asked = QueueDeclare { durable: true, arguments: arguments.table(), ..declare(queue, false) };
        client.expect(1, asked, QueueDeclareOk::ID);
    }
    client.expect(1, QueueDeclare { durable: true, ..declare("other", false) }, QueueDeclareOk::ID);
}

/// Publishes persistent messages, and returns when all are confirmed: name and priority, body.
fn publish(client: &mut Client, queue: &str, messages: &[(&str, u8, &str)]) {
    client.expect(2, ChannelOpen { reserved_1: "" }, ChannelOpenOk::ID);
    client.expect(2, ConfirmSelect { no_wait: false }, ConfirmSelectOk::ID);
    for (name, priority, body) in messages {
        let (mut out, mut raw, mut headers) = (vec![], vec![], TableWriter::new());
        headers.put("x-deduplication-header", Value::LongStr(name.as_bytes()));
        let (delivery_mode, priority) = (Some(2), Some(*priority));
        let headers = Some(headers.table()).filter(|_| !name.is_empty());
        Properties { headers, delivery_mode, priority, ..Properties::default() }.encode(&mut raw);
        let (exchange, mandatory, immediate) = ("", false, false);
        let publish = BasicPublish { reserved_1: 0, exchange, routing_key: queue, mandatory, immediate };
        write_method(&mut out, 2, &publish);
        write_content_header(&mut out, 2, body.len() as u64, &raw);
        write_body(&mut out, 2, body.as_bytes(), 131_072);
        client.raw(&out);
    }
    let mut confirmed = 0;
    while confirmed < messages.len() as u64 {
        let came = client.take(BasicAck::ID);
        let Method::BasicAck(ack) = came.method() else { panic!("{came:?}") };
        confirmed = ack.delivery_tag;
    }
    let close = ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    client.expect(2, close, ChannelCloseOk::ID);
}

/// Takes the first message of a queue out of it.
fn get(client: &mut Client, queue: &str) -> Option<String> {
    client.send(1, BasicGet { reserved_1: 0, queue, no_ack: true });
    let came = client.receive().unwrap();
    let Method::BasicGetOk(_) = came.method() else { return None };
    client.receive().expect("a header");
    Some(String::from_utf8(client.receive().expect("a body").payload.to_vec()).unwrap())
}

/// Something that is on the disk behind all that was done before.
fn flush(client: &mut Client) {
    publish(client, "other", &[("", 0, "flush")]);
}

/// Three messages, of which the first is taken.
fn before(client: &mut Client) {
    declare_all(client);
    for queue in QUEUES {
        publish(client, queue, &[("a", 5, "a"), ("b", 3, "b"), ("c", 0, "c"), ("b", 7, "not this")]);
        assert_eq!(get(client, queue).as_deref(), Some("a"));
    }
    flush(client);
}

/// All are published again: that which was taken is new.
fn between(client: &mut Client) {
    for queue in QUEUES {
        publish(client, queue, &[("a", 0, "a2"), ("b", 9, "not this"), ("c", 9, "nor this")]);
        assert_eq!(get(client, queue).as_deref(), Some("b"));
        publish(client, queue, &[("b", 0, "b2")]);
    }
    flush(client);
}

fn after(client: &mut Client) {
    for queue in QUEUES {
        publish(client, queue, &[("a", 0, "no"), ("b", 0, "no"), ("c", 0, "no"), ("d", 0, "d")]);
        let left: Vec<String> = std::iter::from_fn(|| get(client, queue)).collect();
        assert_eq!(left, ["c", "a2", "b2", "d"], "{queue}");
        publish(client, queue, &[("c", 0, "c2")]);
        assert_eq!(get(client, queue).as_deref(), Some("c2"));
    }
}

#[test]
fn a_killed_broker_knows_what_is_in_its_queues() {
    let scratch = Scratch::new();
    let options = format!("--data-dir '{}'", scratch.path("data").display());
    for step in [before, between, after] {
        let broker = Broker::start_with("", 1, &options);
        step(&mut Client::open(broker.address));
        // Killed without a word: that is what its end is.
        drop(broker);
    }
}

#[test]
fn a_stopped_broker_knows_what_is_in_its_queues() {
    let scratch = Scratch::new();
    for (step, shards) in [(before as fn(&mut Client), 1), (between, 3), (after, 2)] {
        let server = start(&scratch.path("data"), shards);
        step(&mut confirming(&server));
        server.shutdown();
    }
}
