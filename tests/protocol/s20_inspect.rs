//! What those see who look at the broker: rows of what there is, and what was counted.

use leveret::amqp::Properties;
use leveret::amqp::method::*;
use leveret::shard::inspect::*;

use crate::net::{Net, scripts};
use crate::say::*;

/// All rows of a kind, of all shards that are asked for it.
macro_rules! rows {
    ($t:expr, $kind:ident) => {{
        let shards = if matches!(stringify!($kind), "Exchanges" | "Bindings") { 1 } else { $t.shards() };
        let mut rows = vec![];
        for shard in 0..shards {
            let mut from = Some(0);
            while let Some(at) = from {
                match $t.inspect(shard, InspectRequest::$kind { from: at }) {
                    InspectReply::$kind(page) => {
                        assert!(page.next.is_none_or(|next| next > at));
                        rows.extend(page.rows);
                        from = page.next;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        rows
    }};
}

fn totals(t: &Net) -> Totals {
    (0..t.shards()).fold(Totals::default(), |all, shard| match t.inspect(shard, InspectRequest::Totals) {
        InspectReply::Totals(totals) => all.and(&totals),
        other => panic!("{other:?}"),
    })
}

scripts! {
    s20_a_queue_is_seen_as_it_is(t) {
        let a = t.peer();
        t.policy("short", r#"{"pattern": "^q$", "definition": {"max-length": 10}, "apply-to": "queues"}"#);
        a.queue(declare_with("q", &[("x-max-length-bytes", int(1000))]));
        a.queue(exclusive("mine"));
        for number in 0..3 {
            let timestamp = Properties { timestamp: Some(100 + number), ..Properties::default() };
            a.publish(Publish { properties: timestamp, body: "abc", ..to("", "q") });
        }
        let b = t.peer();
        b.qos(1).consume("q", "one").delivered("one", 1, "abc");
        let mut queues = rows!(t, Queues);
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        let [mine, q] = &queues[..] else { panic!("{queues:?}") };
        let connections = rows!(t, Connections);
        assert!(mine.exclusive.is_some_and(|key| connections.iter().any(|row| row.key == key)));
        assert_eq!((&*mine.name, mine.policy.as_deref(), &*mine.effective_policy_definition), ("mine", None, "{}"));
        assert_eq!((&*q.vhost, &*q.name, q.kind, q.state), ("/", "q", "classic", QueueState::Running));
        assert_eq!((q.durable, q.auto_delete, q.exclusive), (false, false, None));
        assert_eq!(q.arguments.table().find("x-max-length-bytes").unwrap().as_integer(), Some(1000));
        assert_eq!((q.policy.as_deref(), q.operator_policy.as_deref()), (Some("short"), None));
        assert_eq!(q.effective_policy_definition, r#"{"max-length":10}"#);
        assert_eq!((q.messages_ready, q.messages_unacknowledged, q.consumers), (2, 1, 1));
        assert_eq!((q.message_bytes_ready, q.head_message_timestamp), (Some(6), Some(101)));
        assert!(q.memory > 0);
    }

    s20_connections_channels_and_consumers_are_seen(t) {
        let a = t.peer();
        let c = a.open(7);
        a.queue(declare("q")).confirm_select();
        c.tx_select().publish(to("", "q")).publish(to("", "q"));
        let tags = |queue: &str| {
            let rows = rows!(t, Consumers);
            let of = rows.into_iter().filter(|row| row.queue == queue);
            of.map(|row| format!("{} {} {}", row.consumer_tag, row.channel, row.active)).collect::<Vec<_>>()
        };
        let b = t.peer();
        b.queue(declare_with("single", &[("x-single-active-consumer", leveret::amqp::Value::Bool(true))]));
        b.qos(3).consume("single", "first").consume("single", "second");
        b.send(BasicConsume { no_ack: true, arguments: table(&[("x-priority", int(5))]), ..consume("q", "third") });
        b.expect(BasicConsumeOk { consumer_tag: "third" });
        assert_eq!(tags("single"), ["first 1 true", "second 1 false"]);
        let third = rows!(t, Consumers).into_iter().find(|row| row.queue == "q").unwrap();
        assert_eq!((third.ack_required, third.exclusive, third.prefetch_count), (false, false, 0));
        assert_eq!(third.arguments.table().find("x-priority").unwrap().as_integer(), Some(5));
        let single = rows!(t, Queues).into_iter().find(|row| row.name == "single").unwrap();
        assert_eq!(single.single_active_consumer_tag.as_deref(), Some("first"));
        b.cancel("first");
        assert_eq!(tags("single"), ["second 1 true"]);

        let connections = rows!(t, Connections);
        assert_eq!(connections.len(), 2);
        let row = connections.iter().find(|row| row.key == third.connection).unwrap();
        assert_eq!((&*row.user, &*row.vhost, row.protocol, row.state), ("guest", "/", "AMQP 0-9-1", "running"));
        assert_eq!((row.channels, row.channel_max, row.frame_max, row.heartbeat_s), (1, 2047, 131_072, 0));
        assert_eq!(row.name, format!("{}:{} -> {}:{}", row.peer_host, row.peer_port, row.host, row.port));
        assert!(row.recv_oct > 100 && row.send_oct > 100, "{row:?}");
        assert!(row.client_properties.table().find("capabilities").is_some());
        let mut channels = rows!(t, Channels);
        channels.sort_by_key(|row| (row.connection == third.connection, row.number));
        let [first, seventh, of_b] = &channels[..] else { panic!("{channels:?}") };
        assert_eq!((first.number, first.confirm, first.transactional), (1, true, false));
        assert_eq!((seventh.number, seventh.confirm, seventh.transactional), (7, false, true));
        assert_eq!((seventh.messages_uncommitted, seventh.published), (2, 0));
        assert_eq!((of_b.number, of_b.consumer_count, of_b.prefetch_count), (1, 2, 3));
        assert_eq!(of_b.connection_name, row.name);
        c.rollback();
    }

    s20_exchanges_and_bindings_are_seen(t) {
        let a = t.peer();
        a.queue(declare("q")).exchange("e", "headers").e_bind("e", "amq.topic", "a b").bind("q", "amq.fanout", "");
        a.bind_with("q", "e", "k", table(&[("x-match", s("all"))]));
        let exchanges = rows!(t, Exchanges);
        // Two virtual hosts with seven each.
        assert_eq!(exchanges.len(), 15);
        let e = exchanges.iter().find(|row| row.name == "e").unwrap();
        assert_eq!((&*e.vhost, &*e.kind, e.durable, e.auto_delete, e.internal), ("/", "headers", false, false, false));
        let mut bindings = rows!(t, Bindings);
        bindings.sort_by(|a, b| a.source.cmp(&b.source));
        let seen = |row: &BindingRow| {
            let start = row.properties_key.split('~').next().unwrap_or_default();
            let key = if row.arguments.0.is_empty() { &*row.properties_key } else { start };
            format!("{}>{}:{} {} {}", row.source, row.destination_type, row.destination, row.routing_key, key)
        };
        let seen: Vec<String> = bindings.iter().map(seen).collect();
        assert_eq!(seen, [">queue:q q q", "amq.fanout>queue:q  ~", "amq.topic>exchange:e a b a+b", "e>queue:q k k"]);
        assert_eq!(bindings[3].properties_key.len(), 1 + 1 + 22);
    }

    s20_what_happens_is_counted(t) {
        let (a, b) = (t.peer(), t.peer());
        a.queue(declare("q")).queue(declare("gone")).confirm_select();
        for (number, message) in (1..).zip([to("", "q"), to("", "q"), to("", "nowhere")]) {
            a.publish(message).confirmed(&[number]);
        }
        a.publish(mandatory("", "nowhere")).returned("", "nowhere", "m");
        a.confirmed(&[4]);
        a.send(delete("gone")).expect(delete_ok(0));
        b.send(BasicGet { no_ack: true, ..get("q") }).got().unwrap();
        let tag = b.get("q").delivery_tag;
        b.send(nack(tag));
        let again = b.get("q");
        assert!(again.redelivered);
        b.send(ack(again.delivery_tag)).empty("q");
        let c = b.open(2);
        c.consume("q", "c");
        c.net.settle();
        for number in 1..=3u64 {
            a.publish(to("", "q")).confirmed(&[4 + number]);
            c.delivered("c", number, "m");
        }
        c.send(ack_up_to(2)).cancel("c").send(ack(3)).close();
        a.queue(declare("last"));
        b.consume_no_ack("last", "d");
        a.publish(to("", "last")).publish(to("", "last"));
        b.delivered("d", 4, "m");
        b.delivered("d", 5, "m");
        a.confirmed(&[8, 9]);
        b.on(1).close();
        b.quit();
        let now = totals(t);
        assert_eq!(now.counted, Counted {
            published: 9,
            published_confirm: 9,
            confirmed: 9,
            returned: 1,
            dropped: 1,
            delivered: 3,
            delivered_no_ack: 2,
            got: 2,
            got_no_ack: 1,
            got_empty: 1,
            redelivered: 1,
            acknowledged: 4,
            connections_opened: 2,
            connections_closed: 1,
            channels_opened: 3,
            channels_closed: 2,
            queues_created: 3,
            queues_deleted: 1,
        });
        assert_eq!((now.connections, now.channels, now.queues, now.exchanges), (1, 1, 2, 14));
    }

    s20_a_long_list_comes_in_pages(t) {
        let t = &t.with(|settings| settings.limits.inspect_rows_max = 7);
        let a = t.peer();
        let names: Vec<String> = (0..60).map(|number| format!("q{number:02}")).collect();
        for name in &names {
            a.queue(declare(name)).bind(name, "amq.topic", name).consume(name, name);
        }
        let page = match t.inspect(0, InspectRequest::Bindings { from: 0 }) {
            InspectReply::Bindings(page) => page,
            other => panic!("{other:?}"),
        };
        assert!(page.rows.len() <= 7 && page.next.is_some(), "{page:?}");
        let mut queues: Vec<String> = rows!(t, Queues).into_iter().map(|row| row.name).collect();
        queues.sort();
        assert_eq!(queues, names);
        let mut consumers: Vec<String> = rows!(t, Consumers).into_iter().map(|row| row.consumer_tag).collect();
        consumers.sort();
        assert_eq!(consumers, names);
        let mut keys: Vec<String> = rows!(t, Bindings).into_iter().map(|row| row.properties_key).collect();
        keys.sort();
        keys.dedup_by(|a, b| a == b);
        assert_eq!(keys, names);
        assert_eq!(rows!(t, Bindings).len(), 120);
        for channel in 2..=30 {
            a.open(channel);
        }
        let mut channels: Vec<u16> = rows!(t, Channels).into_iter().map(|row| row.number).collect();
        channels.sort();
        assert_eq!(channels, (1..=30).collect::<Vec<_>>());
    }
}
