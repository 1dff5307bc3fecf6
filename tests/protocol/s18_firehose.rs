//! Section 18: the firehose.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Table, Value};
use leveret::shard::admin::AdminRequest;

use crate::administration::add_vhost;
use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Message, Peer};
use crate::say::*;

const TRACE: &str = "amq.rabbitmq.trace";

fn trace(vhost: &str, on: bool) -> AdminRequest {
    AdminRequest::Trace { vhost: vhost.into(), on }
}

/// A queue `fire` with all copies.
fn traced(t: &Net) -> Peer {
    let a = t.peer();
    a.queue(declare("fire")).bind("fire", TRACE, "#");
    t.done(trace("/", true));
    a
}

/// Copies so far, sorted: what happened in parallel has no order.
fn copies(a: &Peer) -> Vec<Message> {
    let mut found = vec![];
    a.net.settle();
    while let Some(message) = a.send(BasicGet { no_ack: true, ..get("fire") }).got() {
        found.push(message);
    }
    found.sort_by(|a, b| a.routing_key.cmp(&b.routing_key));
    found
}

fn keys(found: &[Message]) -> Vec<&str> {
    found.iter().map(|message| &*message.routing_key).collect()
}

fn entries(table: Option<Table<'_>>) -> Vec<(String, Value<'_>)> {
    let entries = table.into_iter().flat_map(|table| table.iter());
    entries.map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value)).collect()
}

scripts! {
    s18_publishes_and_deliveries_are_copied(t) {
        let a = traced(t);
        let properties = Properties {
            content_type: Some("text/plain"),
            priority: Some(3),
            timestamp: Some(1_700_000_000),
            ..with_headers(&[("h", int(7)), ("CC", strings(&["k2"]))])
        };
        a.queue(declare("q")).queue(declare("r")).bind("q", "amq.direct", "k1").bind("r", "amq.direct", "k2");
        a.publish(Publish { properties, body: "x", ..to("amq.direct", "k1") });
        let b = t.peer();
        b.get("q");
        let found = copies(&a);
        assert_eq!(keys(&found), ["deliver.q", "publish.amq.direct"]);
        let (deliver, publish) = (&found[0], &found[1]);
        for (copy, peer) in [(deliver, &b), (publish, &a)] {
            assert_eq!((copy.text(), &*copy.exchange), ("x", TRACE));
            let only_headers = Properties { headers: copy.properties().headers, ..Properties::default() };
            assert_eq!(copy.properties(), only_headers);
            assert_eq!(copy.header("exchange_name"), Some(s("amq.direct")));
            assert_eq!(copy.header("routing_keys"), Some(strings(&["k1", "k2"])));
            assert_eq!(copy.header("node"), Some(s("leveret@localhost")));
            assert_eq!((copy.header("vhost"), copy.header("user")), (Some(s("/")), Some(s(LOGIN.user))));
            assert_eq!(copy.header("channel"), Some(int(1)));
            let name = format!("127.0.0.1:{} -> 127.0.0.1:5672", 40_000 + peer.index);
            assert_eq!(copy.header("connection"), Some(s(&name)));
            let Some(Value::Table(set)) = copy.header("properties") else { panic!("{copy:?}") };
            let set = entries(Some(set));
            let names: Vec<_> = set.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["timestamp", "priority", "headers", "content_type"]);
            assert_eq!((set[0].1, set[1].1, set[3].1), (int(1_700_000_000), int(3), s("text/plain")));
            let Value::Table(headers) = set[2].1 else { panic!("{set:?}") };
            assert_eq!(headers.find("h"), Some(int(7)));
        }
        let Some(Value::Array(queues)) = publish.header("routed_queues") else { panic!("{publish:?}") };
        let mut queues: Vec<_> = queues.iter().map(|queue| queue.as_long_str().unwrap().to_vec()).collect();
        queues.sort();
        assert_eq!(queues, [b"q", b"r"]);
        assert_eq!((publish.header("redelivered"), deliver.header("routed_queues")), (None, None));
        assert_eq!(deliver.header("redelivered"), Some(int(0)));
    }

    s18_every_way_of_delivering_is_copied(t) {
        let a = traced(t);
        let b = t.peer();
        a.queue(declare("q")).queue(declare("r"));
        b.consume("q", "c").consume_no_ack("r", "n");
        copies(&a);
        for queue in ["q", "q", "r", "r"] {
            a.publish(to("", queue));
        }
        t.settle();
        let found = copies(&a);
        assert_eq!(keys(&found[..4]), ["deliver.q", "deliver.q", "deliver.r", "deliver.r"]);
        assert_eq!(keys(&found[4..]), ["publish."; 4]);
        let came: Vec<Message> = (0..4).map(|_| b.delivery()).collect();
        let tags: Vec<u64> = came.iter().filter(|m| m.consumer_tag == "c").map(|m| m.delivery_tag).collect();
        b.send(nack(tags[0]));
        let found = copies(&a);
        assert_eq!(keys(&found), ["deliver.q"]);
        assert_eq!(found[0].header("redelivered"), Some(int(1)));
        // A backlog.
        b.delivery();
        a.queue(declare("s")).fill("s", &["1", "2", "3"]);
        b.consume_no_ack("s", "s");
        let found = copies(&a);
        assert_eq!(keys(&found), ["deliver.s", "deliver.s", "deliver.s", "publish.", "publish.", "publish."]);
        assert_eq!([b.delivery().text(), b.delivery().text(), b.delivery().text()], ["1", "2", "3"]);
        a.empty("s");
        assert_eq!(copies(&a).len(), 0);
    }

    s18_only_while_it_is_on_and_where(t) {
        let a = t.peer();
        t.done(add_vhost("v"));
        let v = t.login(Login { vhost: "v", ..LOGIN });
        for peer in [&a, &v] {
            peer.queue(declare("fire")).bind("fire", TRACE, "#").queue(declare("q")).fill("q", &["1"]);
            peer.consume("q", "c").delivery();
        }
        t.done(trace("v", true));
        t.done(trace("v", true));
        let traced: Vec<_> = t.vhosts().into_iter().filter(|row| row.tracing).map(|row| row.name).collect();
        assert_eq!(traced, ["v"]);
        for peer in [&a, &v] {
            peer.publish(to("", "q")).delivery();
        }
        assert_eq!((copies(&a).len(), keys(&copies(&v))), (0, vec!["deliver.q", "publish."]));
        t.done(trace("v", false));
        for peer in [&a, &v] {
            peer.publish(to("", "q")).delivery();
            peer.publish(to("", "q")).delivery();
        }
        assert_eq!((copies(&a).len(), copies(&v).len()), (0, 0));
        v.send(ack_up_to(0)).counts("q", 0, 1);
        t.missing(trace("w", true), "vhost 'w' does not exist");
    }

    s18_unroutable_messages_and_those_of_transactions_are_copied(t) {
        let a = traced(t);
        let b = t.peer();
        b.publish(mandatory("amq.topic", "nobody")).returned("amq.topic", "nobody", "m");
        let found = copies(&a);
        assert_eq!(keys(&found), ["publish.amq.topic"]);
        assert_eq!(found[0].header("routed_queues"), Some(strings(&[])));
        b.confirm_select().publish(to("amq.topic", "nobody")).confirmed(&[1]);
        assert_eq!(copies(&a).len(), 1);
        let c = t.peer();
        c.tx_select().publish(to("amq.topic", "nobody"));
        assert_eq!(copies(&a).len(), 1);
        c.commit();
        assert_eq!(copies(&a).len(), 0);
    }

    s18_a_queue_gets_copies_of_its_own_messages(t) {
        let a = traced(t);
        a.publish(to("", "fire"));
        t.settle();
        // The message, the copy of its publish, and the copy of its delivery; none of the copies is copied.
        let found = copies(&a);
        assert_eq!(keys(&found), ["deliver.fire", "fire", "publish."]);
        assert_eq!(copies(&a).len(), 0);
    }

    s18_tracing_ends_with_a_restart(t) {
        let a = traced(t);
        a.queue(durable("q"));
        t.settle();
        let Some(t) = t.restart() else { return };
        assert!(t.vhosts().iter().all(|row| !row.tracing));
        let a = t.peer();
        a.queue(declare("fire")).bind("fire", TRACE, "#").fill("q", &["1"]).holds("q", &["1"]);
        assert_eq!(copies(&a).len(), 0);
    }
}
