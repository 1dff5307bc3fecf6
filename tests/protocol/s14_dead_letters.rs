//! Section 14.1: dead letters.

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Table, Value};

use crate::net::{Net, scripts};
use crate::peer::{Message, Peer};
use crate::say::*;

/// A peer, and its queue of this name whose dead letters go to "dead".
fn mourned_named(t: &Net, name: &str) -> Peer {
    let a = t.peer();
    let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
    a.queue(QueueDeclare { durable: true, ..declare_with(name, &arguments) });
    a
}

/// A peer, and its queue "q" with these arguments, whose dead letters go to "dead".
fn mourned(t: &Net, more: &[(&str, Value<'_>)]) -> Peer {
    let a = t.peer();
    t.peer().queue(declare_dead());
    let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
    let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
    a.queue(QueueDeclare { durable: true, ..declare_with("q", &arguments) });
    a
}

fn declare_dead() -> QueueDeclare<'static> {
    durable("dead")
}

/// The entries of x-death.
fn deaths(message: &Message) -> Vec<Table<'_>> {
    let Some(Value::Array(deaths)) = message.header("x-death") else { panic!("no x-death") };
    let table = |death| match death {
        Value::Table(death) => death,
        other => panic!("{other:?}"),
    };
    deaths.iter().map(table).collect()
}

scripts! {
    s14_1_a_rejected_message_goes_where_the_queue_says(t) {
        let a = t.peer();
        let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("dead"))];
        a.queue(declare_with("q", &arguments)).queue(declare("dead")).fill("q", &["x"]);
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) }).counts("q", 0, 0);
        t.rest();
        let dead = a.get("dead");
        assert_eq!((dead.text(), &*dead.exchange, &*dead.routing_key, dead.redelivered), ("x", "", "dead", false));
        assert_eq!(dead.header("x-first-death-reason"), Some(Value::LongStr(b"rejected")));
        assert_eq!(dead.header("x-last-death-queue"), Some(Value::LongStr(b"q")));
    }

    s14_1_an_expired_message_loses_its_expiration(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-dead-letter-exchange", s("amq.fanout"))]));
        a.queue(durable("dead")).bind("dead", "amq.fanout", "");
        let properties = Properties { expiration: Some("100"), delivery_mode: Some(2), ..Properties::default() };
        a.publish(Publish { properties, body: "x", ..to("", "q") }).counts("q", 1, 0);
        t.advance(100);
        t.rest();
        let dead = a.get("dead");
        assert_eq!((&*dead.exchange, &*dead.routing_key), ("amq.fanout", "q"));
        assert_eq!(dead.properties().expiration, None);
        let Some(Value::Array(deaths)) = dead.header("x-death") else { panic!("no x-death") };
        let Some(Value::Table(death)) = deaths.iter().next() else { panic!("an empty x-death") };
        assert_eq!(death.find("original-expiration"), Some(Value::LongStr(b"100")));
        assert_eq!(death.find("count"), Some(Value::I64(1)));
    }

    s14_1_durable_messages_move_between_shards_whole(t) {
        let a = t.peer();
        for n in 0..6 {
            let (queue, next) = (format!("q{n}"), format!("q{}", n + 1));
            let arguments = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s(&next))];
            a.queue(QueueDeclare { durable: true, ..declare_with(&queue, &arguments) });
        }
        a.queue(durable("q6"));
        let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
        a.publish(Publish { properties, body: "x", ..to("", "q0") });
        for n in 0..6 {
            let queue = format!("q{n}");
            t.rest();
            a.get(&queue);
            a.send(BasicReject { requeue: false, ..reject(n + 1) });
        }
        t.rest();
        let dead = a.get("q6");
        let Some(Value::Array(deaths)) = dead.header("x-death") else { panic!("no x-death") };
        assert_eq!(deaths.iter().count(), 6);
    }

    s13_reject_publish_is_told_to_publishers(t) {
        for queue in ["q0", "q1", "q2", "q3"] {
            let a = t.peer();
            let arguments = [("x-max-length", int(2)), ("x-overflow", s("reject-publish"))];
            a.queue(declare_with(queue, &arguments)).confirm_select();
            for n in 1..=2u64 {
                a.fill(queue, &["x"]).confirmed(&[n]);
            }
            a.fill(queue, &["y"]);
            a.expect(BasicNack { delivery_tag: 3, multiple: false, requeue: true });
            a.counts(queue, 2, 0);
            a.get(queue);
            a.fill(queue, &["z"]).confirmed(&[4]);
        }
    }

    s14_1_a_death_is_told_in_order_and_in_these_types(t) {
        let a = mourned(t, &[("x-message-ttl", int(1000))]);
        t.advance(77_000);
        let headers = with_headers(&[("CC", strings(&["cc1", "cc2"])), ("BCC", strings(&["bcc"])), ("mine", int(1))]);
        let properties = Properties { expiration: Some("500"), delivery_mode: Some(2), ..headers };
        a.publish(Publish { properties, body: "x", ..to("", "q") });
        t.advance(500);
        t.rest();
        let dead = a.get("dead");
        assert_eq!(dead.header("mine"), Some(int(1)));
        let deaths = deaths(&dead);
        assert_eq!(deaths.len(), 1);
        let keys: Vec<&[u8]> = deaths[0].iter().map(|(key, _)| key).collect();
        let expected = ["original-expiration", "count", "reason", "queue", "time", "exchange", "routing-keys"];
        assert_eq!(keys, expected.map(str::as_bytes));
        let values: Vec<Value<'_>> = deaths[0].iter().map(|(_, value)| value).collect();
        let Value::Timestamp(seconds) = values[4] else { panic!("{:?}", values[4]) };
        assert!(seconds >= 77, "{seconds}");
        let told = [s("500"), Value::I64(1), s("expired"), s("q")];
        assert_eq!((&values[..4], values[5]), (&told[..], s("")));
        // Those of CC, not those of BCC.
        let Value::Array(keys) = values[6] else { panic!("{:?}", values[6]) };
        assert_eq!(keys.iter().collect::<Vec<_>>(), [s("q"), s("cc1"), s("cc2")]);
    }

    s14_1_deaths_are_counted_by_queue_and_reason_newest_first(t) {
        let a = t.peer();
        let to_itself = [("x-dead-letter-exchange", s("")), ("x-dead-letter-routing-key", s("q"))];
        a.queue(QueueDeclare { durable: true, ..declare_with("q", &to_itself) });
        a.publish(Publish { properties: persistent(), body: "x", ..to("", "q") });
        let mut times = vec![];
        for tag in 1..=4 {
            t.advance(5000);
            t.rest();
            let message = a.get("q");
            let known = if tag > 1 { deaths(&message) } else { vec![] };
            times.extend(known.first().map(|death| match death.find("time") {
                Some(Value::Timestamp(time)) => time,
                other => panic!("{other:?}"),
            }));
            a.send(BasicNack { requeue: false, ..nack(tag) });
        }
        t.rest();
        let message = a.get("q");
        let deaths = deaths(&message);
        assert_eq!(deaths.len(), 1);
        assert_eq!(deaths[0].find("count"), Some(Value::I64(4)));
        // That of the first.
        assert_eq!(times.len(), 3);
        assert!(times.iter().all(|&time| deaths[0].find("time") == Some(Value::Timestamp(time))), "{times:?}");
    }

    s14_1_first_and_last_deaths(t) {
        let a = t.peer();
        let expires = [
            ("x-dead-letter-exchange", s("")),
            ("x-dead-letter-routing-key", s("second")),
            ("x-message-ttl", int(100)),
        ];
        let second = [("x-dead-letter-exchange", s("amq.fanout")), ("x-max-length", int(0))];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("first", &expires) });
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("second", &second) });
        t.peer().queue(durable("third")).bind("third", "amq.fanout", "");
        a.bind("first", "amq.direct", "k");
        a.publish(Publish { properties: persistent(), ..to("amq.direct", "k") });
        t.advance(100);
        t.rest();
        let dead = a.get("third");
        for (key, value) in [
            ("x-first-death-reason", "expired"),
            ("x-first-death-queue", "first"),
            ("x-first-death-exchange", "amq.direct"),
            ("x-last-death-reason", "maxlen"),
            ("x-last-death-queue", "second"),
            ("x-last-death-exchange", ""),
        ] {
            assert_eq!(dead.header(key), Some(s(value)), "{key}");
        }
        let told: Vec<_> = deaths(&dead).iter().map(|death| (death.find("queue"), death.find("reason"))).collect();
        assert_eq!(told, [(Some(s("second")), Some(s("maxlen"))), (Some(s("first")), Some(s("expired")))]);
        assert_eq!((&*dead.exchange, &*dead.routing_key), ("amq.fanout", "second"));
    }

    s14_1_a_publishers_own_x_death_is_not_interpreted(t) {
        let a = mourned(t, &[]);
        let death = table(&[("count", Value::I64(7)), ("reason", s("rejected")), ("queue", s("q"))]);
        let properties = with_headers(&[("x-death", Value::Array(array(&[Value::Table(death)])))]);
        a.publish(Publish { properties, ..to("", "q") });
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        let dead = a.get("dead");
        let deaths = deaths(&dead);
        assert_eq!((deaths.len(), deaths[0].find("count")), (1, Some(Value::I64(1))));
    }

    s14_1_without_a_key_all_of_the_original_keys_count(t) {
        let a = t.peer();
        a.exchange("dlx", "direct");
        let arguments = [("x-dead-letter-exchange", s("dlx"))];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("q", &arguments) });
        for name in ["main", "cc1", "cc2", "none"] {
            t.peer().queue(durable(name)).bind(name, "dlx", name);
        }
        a.bind("q", "amq.direct", "main");
        let headers = with_headers(&[("CC", strings(&["cc1", "cc2"]))]);
        let properties = Properties { delivery_mode: Some(2), ..headers };
        a.publish(Publish { properties, body: "x", ..to("amq.direct", "main") });
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        for name in ["main", "cc1", "cc2"] {
            let dead = a.get(name);
            assert_eq!((&*dead.exchange, &*dead.routing_key), ("dlx", "main"));
            assert_eq!(dead.header("CC"), Some(strings(&["cc1", "cc2"])));
        }
        a.counts("none", 0, 0);
    }

    s14_1_with_a_key_cc_is_not_used(t) {
        let a = mourned(t, &[]);
        let headers = with_headers(&[("CC", strings(&["other"]))]);
        a.publish(Publish { properties: headers, ..to("", "q") });
        // Would get it if CC counted.
        a.queue(durable("other"));
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        a.counts("dead", 1, 0).counts("other", 0, 0);
    }

    s14_1_without_an_exchange_they_are_dropped(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-dead-letter-exchange", s("nowhere"))]));
        a.publish(Publish { body: "x", ..mandatory("", "q") });
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) }).silent();
        a.counts("q", 0, 0);
        // One that comes later counts from then on.
        a.exchange("nowhere", "fanout").queue(declare("dead")).bind("dead", "nowhere", "");
        a.fill("q", &["y"]);
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(2) });
        t.rest();
        a.holds("dead", &["y"]);
    }

    s14_1_without_a_route_they_are_dropped_and_never_returned(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-dead-letter-exchange", s("amq.direct"))])).confirm_select();
        a.publish(mandatory("", "q")).confirmed(&[1]);
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        a.silent().counts("q", 0, 0);
    }

    s14_1_the_exchanges_alternate_exchange_counts(t) {
        let a = t.peer();
        let declare = exchange_with("dlx", "direct", &[("alternate-exchange", s("amq.fanout"))]);
        a.send(declare).expect(ExchangeDeclareOk {});
        a.queue(declare_with("q", &[("x-dead-letter-exchange", s("dlx"))]));
        t.peer().queue(declare_dead()).bind("dead", "amq.fanout", "");
        a.fill("q", &["x"]);
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        let dead = a.get("dead");
        assert_eq!((dead.text(), &*dead.exchange), ("x", "dlx"));
    }

    s14_1_a_dead_letter_may_expire_again(t) {
        let a = mourned(t, &[("x-message-ttl", int(100))]);
        let late = [("x-dead-letter-exchange", s("amq.fanout")), ("x-message-ttl", int(1000))];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("late", &late) });
        a.bind("dead", "amq.fanout", "");
        let arguments = [
            ("x-dead-letter-exchange", s("")),
            ("x-dead-letter-routing-key", s("late")),
            ("x-message-ttl", int(100)),
        ];
        t.peer().queue(QueueDeclare { durable: true, ..declare_with("early", &arguments) });
        let properties = Properties { expiration: Some("50"), delivery_mode: Some(2), ..Properties::default() };
        a.publish(Publish { properties, ..to("", "early") });
        t.advance(50);
        t.rest();
        // Its own expiration is gone: the new queue's time counts, and from now.
        a.counts("late", 1, 0);
        t.advance(999);
        a.counts("late", 1, 0).counts("dead", 0, 0);
        t.advance(1);
        t.rest();
        a.counts("late", 0, 0).counts("dead", 1, 0);
        let dead = a.get("dead");
        let told: Vec<_> = deaths(&dead).iter().map(|death| death.find("original-expiration")).collect();
        assert_eq!(told, [None, Some(s("50"))]);
    }

    s14_1_purge_delete_and_disuse_do_not_dead_letter(t) {
        let a = mourned(t, &[("x-expires", int(1000))]);
        a.fill("q", &["1"]).send(purge("q")).expect(purge_ok(1));
        a.fill("q", &["2"]);
        t.advance(2000);
        t.rest();
        a.no_queue("q").counts("dead", 0, 0);
        let a = mourned_named(t, "r");
        a.fill("r", &["3"]).send(delete("r")).expect(delete_ok(1));
        t.rest();
        a.counts("dead", 0, 0);
    }

    s14_1_a_fan_of_queues_gets_a_dead_letter_each(t) {
        let a = t.peer();
        a.queue(QueueDeclare { durable: true, ..declare_with("q", &[("x-dead-letter-exchange", s("amq.fanout"))]) });
        for name in ["d0", "d1", "d2", "d3", "d4"] {
            t.peer().queue(durable(name)).bind(name, "amq.fanout", "");
        }
        for body in ["1", "2", "3"] {
            a.publish(Publish { properties: persistent(), body, ..to("", "q") });
        }
        for _ in 0..3 {
            a.get("q");
        }
        a.send(BasicNack { requeue: false, ..nack_up_to(3) });
        t.rest();
        for name in ["d0", "d1", "d2", "d3", "d4"] {
            a.holds(name, &["1", "2", "3"]);
        }
    }

    s14_1_what_lies_on_the_disk_dies_as_well(t) {
        let t = &t.with(|settings| {
            settings.limits.messages_bytes_max = 1;
            settings.limits.stored_messages_bytes_max = 1;
            settings.limits.fetch_bytes_max = 1000;
        });
        let a = mourned(t, &[("x-message-ttl", int(1000))]);
        let bodies: Vec<String> = (0..700).map(|n| n.to_string()).collect();
        let bodies: Vec<&str> = bodies.iter().map(|body| body.as_str()).collect();
        for body in &bodies {
            a.publish(Publish { properties: persistent(), body, ..to("", "q") });
        }
        t.rest();
        a.counts("q", 700, 0);
        t.advance(1000);
        t.rest();
        a.counts("q", 0, 0).counts("dead", 700, 0).holds("dead", &bodies);
    }

    s14_1_a_transaction_that_rejects(t) {
        let a = mourned(t, &[]);
        a.publish(Publish { properties: persistent(), body: "x", ..to("", "q") }).tx_select();
        a.get("q");
        a.send(BasicReject { requeue: false, ..reject(1) });
        t.rest();
        a.counts("dead", 0, 0).commit();
        t.rest();
        a.counts("q", 0, 0).holds("dead", &["x"]);
    }
}
