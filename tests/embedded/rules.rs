//! What queues that go by rules know after a restart: priorities, counts, lifetimes, what rests, what died.

use std::thread;
use std::time::{Duration, Instant};

use leveret::amqp::frame::{write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{Properties, Table, TableWriter, Value};

use crate::client::{Client, declare};
use crate::durable::{Scratch, confirming, start};

/// Declares a durable queue with these arguments, and returns its number of messages.
fn count(client: &mut Client, queue: &str, arguments: &[(&str, Value<'_>)]) -> u32 {
    let mut writer = TableWriter::new();
    for &(key, value) in arguments {
        writer.put(key, value);
    }
    let bytes = writer.into_bytes();
    let arguments = Table::check(&bytes).unwrap();
    let method = QueueDeclare { durable: true, arguments, ..declare(queue, false) };
    match client.expect(1, method, QueueDeclareOk::ID).method() {
        Method::QueueDeclareOk(ok) => ok.message_count,
        other => panic!("{other:?}"),
    }
}

/// Publishes a persistent message and waits for its confirm.
fn publish(client: &mut Client, queue: &str, properties: Properties<'_>, body: &str) {
    let mut raw = vec![];
    Properties { delivery_mode: Some(2), ..properties }.encode(&mut raw);
    let mut out = vec![];
    let method = BasicPublish { reserved_1: 0, exchange: "", routing_key: queue, mandatory: false, immediate: false };
    write_method(&mut out, 1, &method);
    write_content_header(&mut out, 1, body.len() as u64, &raw);
    write_body(&mut out, 1, body.as_bytes(), 131_072);
    client.raw(&out);
    client.take(BasicAck::ID);
}

/// A message as basic.get has it.
struct Got {
    tag: u64,
    redelivered: bool,
    properties: Vec<u8>,
    body: String,
}

impl Got {
    fn header(&self, key: &str) -> Option<Value<'_>> {
        Properties::decode(&self.properties).unwrap().headers?.find(key)
    }
}

fn get(client: &mut Client, queue: &str) -> Option<Got> {
    client.send(1, BasicGet { reserved_1: 0, queue, no_ack: false });
    let came = client.receive().unwrap();
    let Method::BasicGetOk(ok) = came.method() else { return None };
    let header = client.receive().unwrap();
    let body = client.receive().unwrap();
    Some(Got {
        tag: ok.delivery_tag,
        redelivered: ok.redelivered,
        properties: header.payload[12..].to_vec(),
        body: String::from_utf8(body.payload).unwrap(),
    })
}

/// Asks until a queue has so many messages.
fn wait_for(client: &mut Client, queue: &str, arguments: &[(&str, Value<'_>)], messages: u32) {
    let begun = Instant::now();
    while count(client, queue, arguments) != messages {
        assert!(begun.elapsed() < Duration::from_secs(20), "{queue} never has {messages} messages");
        thread::sleep(Duration::from_millis(10));
    }
}

const PRIORITIES: &[(&str, Value<'_>)] = &[("x-max-priority", Value::U8(200))];
const QUORUM: &[(&str, Value<'_>)] = &[("x-queue-type", Value::LongStr(b"quorum"))];
const RETRIES: &[(&str, Value<'_>)] = &[
    ("x-queue-type", Value::LongStr(b"quorum")),
    ("x-delayed-retry-type", Value::LongStr(b"all")),
    ("x-delayed-retry-min", Value::I32(3_600_000)),
];
const MORTAL: &[(&str, Value<'_>)] =
    &[("x-dead-letter-exchange", Value::LongStr(b"")), ("x-dead-letter-routing-key", Value::LongStr(b"dead"))];

#[test]
fn messages_of_every_priority_are_found_again_in_order() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let priorities = [(Some(0), "0"), (None, "none"), (Some(7), "7"), (Some(200), "200"), (Some(199), "199")];
    for (round, shards) in [1, 3, 2].into_iter().enumerate() {
        let server = start(&directory, shards);
        let mut client = confirming(&server);
        assert_eq!(count(&mut client, "q", PRIORITIES), 5 * round as u32);
        assert_eq!(count(&mut client, "r", QUORUM), 5 * round as u32);
        for queue in ["q", "r"] {
            for (priority, body) in priorities {
                publish(&mut client, queue, Properties { priority, ..Properties::default() }, body);
            }
        }
        server.shutdown();
    }
    let server = start(&directory, 2);
    let mut client = Client::open(server.local_addr());
    // A quorum queue's highest is 31, and 4 is the common one.
    for (queue, order) in [("q", ["200", "199", "7", "0,none", ""]), ("r", ["200,199", "7", "none", "0", ""])] {
        let bodies: Vec<String> = std::iter::from_fn(|| get(&mut client, queue)).map(|got| got.body).collect();
        assert_eq!(bodies.len(), 15);
        let expected: Vec<&str> = order
            .iter()
            .filter(|group| !group.is_empty())
            .flat_map(|group| {
                // In order of their publishing: "200" comes before "199" in each round.
                let bodies: Vec<&str> = group.split(',').collect();
                bodies.repeat(3)
            })
            .collect();
        assert_eq!(bodies, expected, "{queue}");
    }
}

#[test]
fn counts_are_known_after_a_restart() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    for round in 0..4 {
        let server = start(&directory, 1 + round % 2);
        let mut client = confirming(&server);
        assert_eq!(count(&mut client, "q", QUORUM), u32::from(round > 0));
        if round == 0 {
            publish(&mut client, "q", Properties::default(), "x");
        }
        let got = get(&mut client, "q").unwrap();
        assert_eq!(got.redelivered, round > 0);
        let expected = (round > 0).then_some(Value::I64(round as i64));
        assert_eq!((got.header("x-acquired-count"), got.header("x-delivery-count")), (expected, expected));
        client.send(1, BasicReject { delivery_tag: got.tag, requeue: true });
        assert_eq!(count(&mut client, "q", QUORUM), 1);
        server.shutdown();
    }
}

#[test]
fn what_rests_is_ready_after_a_restart() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let server = start(&directory, 2);
    let mut client = confirming(&server);
    count(&mut client, "q", RETRIES);
    publish(&mut client, "q", Properties::default(), "x");
    let got = get(&mut client, "q").unwrap();
    client.send(1, BasicReject { delivery_tag: got.tag, requeue: true });
    assert_eq!(count(&mut client, "q", RETRIES), 0);
    server.shutdown();
    let server = start(&directory, 1);
    let mut client = Client::open(server.local_addr());
    assert_eq!(count(&mut client, "q", RETRIES), 1);
    let got = get(&mut client, "q").unwrap();
    assert_eq!((got.body.as_str(), got.redelivered), ("x", true));
}

#[test]
fn what_expires_while_the_broker_is_away_dies_when_it_is_back() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let server = start(&directory, 2);
    let mut client = confirming(&server);
    count(&mut client, "dead", &[]);
    count(&mut client, "q", MORTAL);
    let soon = Properties { expiration: Some("500"), ..Properties::default() };
    publish(&mut client, "q", soon, "goes");
    publish(&mut client, "q", soon, "goes, too");
    publish(&mut client, "q", Properties::default(), "stays");
    server.shutdown();
    let server = start(&directory, 2);
    let mut client = Client::open(server.local_addr());
    wait_for(&mut client, "dead", &[], 2);
    wait_for(&mut client, "q", MORTAL, 1);
    server.shutdown();
    // Neither lost nor doubled.
    let server = start(&directory, 1);
    let mut client = Client::open(server.local_addr());
    assert_eq!((count(&mut client, "dead", &[]), count(&mut client, "q", MORTAL)), (2, 1));
    for body in ["goes", "goes, too"] {
        let dead = get(&mut client, "dead").unwrap();
        assert_eq!(dead.body, body);
        assert_eq!(dead.header("x-first-death-reason"), Some(Value::LongStr(b"expired")));
    }
}
