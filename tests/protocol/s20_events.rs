//! The event exchange: what RabbitMQ's `rabbitmq_event_exchange` tells of (its README, and its source for the headers).

use leveret::amqp::method::*;
use leveret::amqp::{Properties, Value};
use leveret::shard::admin::{AdminRequest, Scope};

use crate::administration::*;
use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Message, Peer};
use crate::say::*;

const EVENTS: &str = "amq.rabbitmq.event";
const NODE: &str = "leveret@localhost";
const NOBODY: &str = "rmq-internal";

/// The same shards with an event exchange.
fn eventful(t: &Net) -> Net {
    t.with(|settings| settings.event_exchange = Some("/".into()))
}

/// A queue `seen` for events of these names.
fn listening(t: &Net, keys: &[&str]) -> Peer {
    let a = t.peer();
    a.queue(QueueDeclare { durable: true, ..declare("seen") });
    for key in keys {
        a.bind("seen", EVENTS, key);
    }
    events(&a);
    a
}

/// The events so far, in their order.
fn events(a: &Peer) -> Vec<Message> {
    let mut found = vec![];
    a.net.settle();
    while let Some(message) = a.send(BasicGet { no_ack: true, ..get("seen") }).got() {
        found.push(message);
    }
    found
}

fn names(found: &[Message]) -> Vec<&str> {
    found.iter().map(|message| &*message.routing_key).collect()
}

/// The one event of this name.
#[track_caller]
fn one<'a>(found: &'a [Message], name: &str) -> &'a Message {
    let mut of_name = found.iter().filter(|message| message.routing_key == name);
    let event = of_name.next().unwrap_or_else(|| panic!("no {name} in {:?}", names(found)));
    assert!(of_name.next().is_none(), "more than one {name}");
    event
}

/// Every header of an event but its time, by name.
#[track_caller]
fn has(event: &Message, expected: &[(&str, Value<'_>)]) {
    let headers = event.properties().headers.expect("headers");
    let mut came: Vec<_> =
        headers.iter().map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value)).collect();
    came.retain(|(key, _)| key != "timestamp_in_ms");
    came.sort_by(|a, b| a.0.cmp(&b.0));
    let mut expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(came, expected, "{}", event.routing_key);
}

fn text(event: &Message, key: &str) -> String {
    let value = event.header(key).unwrap_or_else(|| panic!("no {key} in {event:?}"));
    String::from_utf8(value.as_long_str().expect("a text").to_vec()).unwrap()
}

fn long(number: i64) -> Value<'static> {
    Value::I64(number)
}

fn flag(is_set: bool) -> Value<'static> {
    Value::Bool(is_set)
}

scripts! {
    s20_there_is_no_event_exchange_unless_it_is_wanted(t) {
        let a = t.peer();
        a.send(exchange_passive(EVENTS)).closed(
            404,
            "no exchange 'amq.rabbitmq.event' in vhost '/'",
            ExchangeDeclare::ID,
        );
        let t = eventful(t);
        let a = t.peer();
        let expected = ExchangeDeclare { durable: true, internal: true, ..exchange(EVENTS, "topic") };
        a.send(expected).expect(ExchangeDeclareOk {});
        a.publish(to(EVENTS, "x")).closed(
            403,
            "cannot publish to internal exchange 'amq.rabbitmq.event' in vhost '/'",
            BasicPublish::ID,
        );
        a.reopen();
        a.send(exchange_delete(EVENTS)).closed(
            403,
            "deletion of system exchange 'amq.rabbitmq.event' in vhost '/' not allowed",
            ExchangeDelete::ID,
        );
    }

    s20_what_every_event_is(t) {
        let t = eventful(t);
        let a = listening(&t, &["queue.*"]);
        a.queue(declare("q"));
        let found = events(&a);
        let event = one(&found, "queue.created");
        assert_eq!((event.body.len(), &*event.exchange), (0, EVENTS));
        let properties = event.properties();
        let Some(Value::I64(ms)) = event.header("timestamp_in_ms") else { panic!("{event:?}") };
        let expected = Properties {
            delivery_mode: Some(2),
            timestamp: Some(ms as u64 / 1000),
            headers: properties.headers,
            ..Properties::default()
        };
        assert_eq!(properties, expected);
    }

    s20_queues(t) {
        let t = eventful(t);
        let a = listening(&t, &["queue.*"]);
        let alice = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        alice.queue(QueueDeclare { durable: true, ..declare_with("q", &[("x-max-length", int(3))]) });
        a.send(delete("q")).expect(delete_ok(0));
        let found = events(&a);
        assert_eq!(names(&found), ["queue.created", "queue.deleted"]);
        has(&found[0], &[
            ("name", s("q")),
            ("vhost", s("/")),
            ("type", s("rabbit_classic_queue")),
            ("durable", flag(true)),
            ("auto_delete", flag(false)),
            ("arguments", strings(&["{<<\"x-max-length\">>,signedint,3}"])),
            ("owner_pid", s("")),
            ("exclusive", flag(false)),
            ("leader", s(NODE)),
            ("members", strings(&[NODE])),
            ("user_who_performed_action", s("alice")),
        ]);
        has(&found[1], &[
            ("name", s("q")),
            ("vhost", s("/")),
            ("type", s("rabbit_classic_queue")),
            ("user_who_performed_action", s("guest")),
        ]);
    }

    s20_queues_that_go_by_themselves(t) {
        let t = eventful(t);
        let a = listening(&t, &["queue.*", "connection.created"]);
        let alice = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        let connection = text(one(&events(&a), "connection.created"), "pid");
        alice.queue(exclusive("mine"));
        let found = events(&a);
        let event = one(&found, "queue.created");
        assert_eq!((text(event, "owner_pid"), event.header("exclusive")), (connection, Some(flag(true))));
        alice.queue(auto_delete("last")).consume("last", "c").cancel("c");
        assert_eq!(names(&events(&a)), ["queue.created", "queue.deleted"]);
        alice.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        let found = events(&a);
        let event = one(&found, "queue.deleted");
        assert_eq!((text(event, "name"), text(event, "user_who_performed_action")), ("mine".into(), NOBODY.into()));
    }

    s20_exchanges_and_bindings(t) {
        let t = eventful(t);
        let a = listening(&t, &["exchange.*", "binding.*"]);
        a.send(ExchangeDeclare { auto_delete: true, ..exchange("x", "topic") }).expect(ExchangeDeclareOk {});
        a.send(exchange_with("y", "headers", &[("alternate-exchange", s("x"))])).expect(ExchangeDeclareOk {});
        a.queue(declare("q")).bind("q", "x", "k.#");
        let arguments = table(&[("x-match", s("any"))]);
        a.send(ExchangeBind { arguments, ..e_bind("x", "y", "k") }).expect(ExchangeBindOk {});
        let found = events(&a);
        assert_eq!(names(&found), ["exchange.created", "exchange.created", "binding.created", "binding.created"]);
        let user = ("user_who_performed_action", s("guest"));
        has(&found[0], &[
            ("name", s("x")),
            ("vhost", s("/")),
            ("type", s("topic")),
            ("durable", flag(false)),
            ("auto_delete", flag(true)),
            ("internal", flag(false)),
            ("arguments", strings(&[])),
            ("policy", s("")),
            user,
        ]);
        let alternate = "{<<\"alternate-exchange\">>,longstr,<<\"x\">>}";
        assert_eq!(found[1].header("arguments"), Some(strings(&[alternate])));
        let of_queue = [
            ("source_name", s("x")),
            ("source_kind", s("exchange")),
            ("destination_name", s("q")),
            ("destination_kind", s("queue")),
            ("routing_key", s("k.#")),
            ("arguments", strings(&[])),
            ("vhost", s("/")),
            user,
        ];
        has(&found[2], &of_queue);
        let of_exchange = [
            ("source_name", s("y")),
            ("source_kind", s("exchange")),
            ("destination_name", s("x")),
            ("destination_kind", s("exchange")),
            ("routing_key", s("k")),
            ("arguments", strings(&["{<<\"x-match\">>,longstr,<<\"any\">>}"])),
            ("vhost", s("/")),
            user,
        ];
        has(&found[3], &of_exchange);
        // The exchange goes with its last binding, and with it the binding to it.
        a.send(unbind("q", "x", "k.#")).expect(QueueUnbindOk {});
        let found = events(&a);
        assert_eq!(names(&found), ["binding.deleted", "exchange.deleted", "binding.deleted"]);
        has(&found[0], &of_queue);
        has(&found[1], &[("name", s("x")), ("vhost", s("/")), user]);
        has(&found[2], &of_exchange);
    }

    s20_what_goes_with_a_queue_or_an_exchange(t) {
        let t = eventful(t);
        let a = listening(&t, &["exchange.deleted", "binding.deleted", "queue.deleted"]);
        a.exchange("x", "direct").exchange("y", "fanout").queue(declare("q")).queue(declare("r"));
        a.bind("q", "x", "a").bind("q", "x", "b").bind("q", "y", "c").bind("r", "y", "d");
        a.e_bind("y", "x", "e");
        let told = |event: &Message| match event.header("destination_name") {
            Some(_) => format!(
                "{} {} {} {}",
                text(event, "source_name"),
                text(event, "routing_key"),
                text(event, "destination_name"),
                text(event, "user_who_performed_action")
            ),
            None => format!("{} {}", text(event, "name"), text(event, "user_who_performed_action")),
        };
        a.send(delete("q")).expect(delete_ok(0));
        let found = events(&a);
        assert_eq!(names(&found[3..]), ["queue.deleted"]);
        let mut bindings: Vec<_> = found[..3].iter().map(told).collect();
        bindings.sort();
        assert_eq!(bindings, ["x a q rmq-internal", "x b q rmq-internal", "y c q rmq-internal"]);
        a.send(exchange_delete("y")).expect(ExchangeDeleteOk {});
        let found: Vec<_> = events(&a).iter().map(|event| format!("{}: {}", event.routing_key, told(event))).collect();
        let expected = ["exchange.deleted: y guest", "binding.deleted: y d r guest", "binding.deleted: x e y guest"];
        assert_eq!(found, expected);
    }

    s20_connections(t) {
        let t = eventful(t);
        let a = listening(&t, &["connection.*"]);
        let alice = t.login(Login { user: "alice", password: "alice-secret", vhost: "other", heartbeat: 7, ..LOGIN });
        let name = format!("127.0.0.1:{} -> 127.0.0.1:5672", 40_000 + alice.index);
        alice.on(0).send(connection_close()).expect(ConnectionCloseOk {});
        alice.hang_up();
        let found = events(&a);
        assert_eq!(names(&found), ["connection.created", "connection.closed"]);
        let (pid, connected_at) = (text(&found[0], "pid"), found[0].header("connected_at").unwrap());
        assert!(pid.starts_with("<leveret@localhost.") && matches!(connected_at, Value::I64(_)), "{pid}");
        let client = found[0].header("client_properties").unwrap();
        let Value::Array(properties) = client else { panic!("{client:?}") };
        let first = String::from_utf8_lossy(properties.iter().next().unwrap().as_long_str().unwrap()).into_owned();
        assert!(first.eq("{<<\"product\">>,longstr,<<\"script\">>}"), "{first}");
        has(&found[0], &[
            ("type", s("network")),
            ("pid", s(&pid)),
            ("name", s(&name)),
            ("port", long(5672)),
            ("peer_port", long(40_000 + alice.index as i64)),
            ("host", s("{127,0,0,1}")),
            ("peer_host", s("{127,0,0,1}")),
            ("ssl", flag(false)),
            ("auth_mechanism", s("PLAIN")),
            ("protocol", s("{0,9,1}")),
            ("user", s("alice")),
            ("vhost", s("other")),
            ("timeout", long(7)),
            ("frame_max", long(131_072)),
            ("channel_max", long(2047)),
            ("client_properties", client),
            ("connected_at", connected_at),
            ("node", s(NODE)),
            ("user_who_performed_action", s("alice")),
        ]);
        has(&found[1], &[("name", s(&name)), ("pid", s(&pid)), ("node", s(NODE)), ("client_properties", client)]);
    }

    s20_channels(t) {
        let t = eventful(t);
        let a = listening(&t, &["connection.created", "channel.*"]);
        let b = t.peer();
        let found = events(&a);
        assert_eq!(names(&found), ["connection.created", "channel.created"]);
        let (connection, pid) = (text(&found[0], "pid"), text(&found[1], "pid"));
        assert_ne!(connection, pid);
        let name = format!("127.0.0.1:{} -> 127.0.0.1:5672 (1)", 40_000 + b.index);
        has(&found[1], &[
            ("pid", s(&pid)),
            ("name", s(&name)),
            ("vhost", s("/")),
            ("connection", s(&connection)),
            ("number", long(1)),
            ("user", s("guest")),
            ("user_who_performed_action", s("guest")),
        ]);
        // Closed by the client, by a fault, and with the connection.
        b.queue(declare("q")).consume("q", "c");
        b.send(channel_close()).expect(ChannelCloseOk {});
        let found = events(&a);
        assert_eq!(names(&found), ["channel.closed"]);
        has(&found[0], &[
            ("pid", s(&pid)),
            ("consumer_count", long(1)),
            ("user_who_performed_action", s("guest")),
        ]);
        let (c, d) = (b.open(2), b.open(3));
        c.send(passive("nowhere")).closed(404, "no queue 'nowhere' in vhost '/'", QueueDeclare::ID);
        assert_eq!(names(&events(&a)), ["channel.created", "channel.created", "channel.closed"]);
        d.still_open();
        b.hang_up();
        let found = events(&a);
        assert_eq!(names(&found), ["channel.closed"]);
    }

    s20_consumers(t) {
        let t = eventful(t);
        let a = listening(&t, &["channel.created", "consumer.*"]);
        let alice = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        let channel = text(one(&events(&a), "channel.created"), "pid");
        alice.queue(declare("q")).queue(declare("r")).send(qos(9)).expect(BasicQosOk {});
        let arguments = table(&[("x-priority", int(2))]);
        alice
            .send(BasicConsume { exclusive: true, arguments, ..consume("q", "c") })
            .expect(BasicConsumeOk { consumer_tag: "c" });
        alice.send(cancel("c")).expect(BasicCancelOk { consumer_tag: "c" });
        alice.send(consume_no_ack("r", "d")).expect(BasicConsumeOk { consumer_tag: "d" });
        a.send(delete("r")).expect(delete_ok(0));
        alice.expect(cancelled("d"));
        alice.consume("q", "e");
        alice.send(channel_close()).expect(ChannelCloseOk {});
        let found = events(&a);
        let of_tag = |tag: &str| {
            let of_tag: Vec<_> = found.iter().filter(|event| text(event, "consumer_tag") == tag).cloned().collect();
            assert_eq!(names(&of_tag), ["consumer.created", "consumer.deleted"], "{tag}");
            of_tag
        };
        assert_eq!(found.len(), 6);
        let c = of_tag("c");
        has(&c[0], &[
            ("consumer_tag", s("c")),
            ("exclusive", flag(true)),
            ("ack_required", flag(true)),
            ("channel", s(&channel)),
            ("queue", s("q")),
            ("vhost", s("/")),
            ("prefetch_count", long(9)),
            ("arguments", strings(&["{<<\"x-priority\">>,signedint,2}"])),
            ("user_who_performed_action", s("alice")),
        ]);
        for (tag, queue, user) in [("c", "q", "alice"), ("d", "r", NOBODY), ("e", "q", NOBODY)] {
            has(&of_tag(tag)[1], &[
                ("consumer_tag", s(tag)),
                ("channel", s(&channel)),
                ("queue", s(queue)),
                ("vhost", s("/")),
                ("user_who_performed_action", s(user)),
            ]);
        }
        assert_eq!(of_tag("d")[0].header("ack_required"), Some(flag(false)));
    }

    s20_log_ins(t) {
        let t = eventful(t);
        let a = listening(&t, &["user.#"]);
        let b = t.login(Login { user: "alice", password: "alice-secret", ..LOGIN });
        let ends = |index: usize| {
            [
                ("connection_type", s("network")),
                ("host", s("{127,0,0,1}")),
                ("port", long(5672)),
                ("peer_host", s("{127,0,0,1}")),
                ("peer_port", long(40_000 + index as i64)),
                ("ssl", flag(false)),
                ("protocol", s("{0,9,1}")),
                ("auth_mechanism", s("PLAIN")),
            ]
        };
        let found = events(&a);
        assert_eq!(names(&found), ["user.authentication.success"]);
        let name = |index: usize| format!("127.0.0.1:{} -> 127.0.0.1:5672", 40_000 + index);
        let names_of = name(b.index);
        has(&found[0], &[&ends(b.index)[..], &[("name", s("alice")), ("connection_name", s(&names_of))]].concat());
        let c = t.connect();
        c.start().start_ok(LOGIN.capabilities, "PLAIN", b"\0alice\0wrong").expect_id(ConnectionClose::ID, |_| ());
        c.careless();
        let found = events(&a);
        assert_eq!(names(&found), ["user.authentication.failure"]);
        let names_of = name(c.index);
        let error = s("user 'alice' - invalid credentials");
        let who = [("name", s("alice")), ("connection_name", s(&names_of)), ("error", error)];
        has(&found[0], &[&ends(c.index)[..], &who[..]].concat());
    }

    s20_policies_limits_and_parameters(t) {
        let t = eventful(t);
        let a = listening(&t, &["policy.#", "operator.#", "parameter.*", "vhost.limits.*", "user.limits.*"]);
        let user = ("user_who_performed_action", s(NOBODY));
        let document = r#"{"pattern": "^q", "definition": {"max-length": 3}, "priority": 1, "apply-to": "queues"}"#;
        t.policy("p", document);
        // Said again, it is no news.
        t.policy("p", document);
        t.done(clear(Scope::User, "p"));
        let found = events(&a);
        assert_eq!(names(&found), ["policy.set", "policy.cleared"]);
        let definition = table(&[("max-length", long(3))]);
        has(&found[0], &[
            ("name", s("p")),
            ("vhost", s("/")),
            ("pattern", s("^q")),
            ("definition", Value::Table(definition)),
            ("priority", long(1)),
            ("apply-to", s("queues")),
            user,
        ]);
        has(&found[1], &[("name", s("p")), ("vhost", s("/")), user]);
        t.operator_policy("o", document);
        t.done(clear(Scope::Operator, "o"));
        let found = events(&a);
        let expected = ["parameter.set", "policy.set", "parameter.cleared", "operator.policy.cleared"];
        assert_eq!(names(&found), expected);
        assert_eq!(text(&found[0], "component"), "operator_policy");
        t.done(vhost_limits("/", r#"{"max-queues": 100}"#));
        t.done(AdminRequest::ClearVhostLimits { vhost: "/".into() });
        let found = events(&a);
        let expected = ["parameter.set", "vhost.limits.set", "parameter.cleared", "vhost.limits.cleared"];
        assert_eq!(names(&found), expected);
        let of_limits = [("name", s("limits")), ("vhost", s("/")), user];
        has(&found[1], &[&of_limits[..], &[("max-queues", long(100))]].concat());
        has(&found[3], &of_limits);
        t.done(user_limits("alice", r#"{"max-channels": 5}"#));
        t.done(AdminRequest::ClearUserLimits { user: "alice".into() });
        let found = events(&a);
        assert_eq!(names(&found), ["user.limits.set", "user.limits.cleared"]);
        let of_alice = [("name", s("limits")), ("username", s("alice")), user];
        has(&found[0], &[&of_alice[..], &[("max-channels", long(5))]].concat());
        has(&found[1], &of_alice);
        t.done(parameter("shovel", "s", r#"{"a": [1, "x"]}"#));
        t.done(AdminRequest::SetGlobalParameter { name: "g".into(), value: "true".into() });
        let found = events(&a);
        assert_eq!(names(&found), ["parameter.set", "parameter.set"]);
        let value = Value::Table(table(&[("a", Value::Array(array(&[long(1), s("x")])))]));
        has(&found[0], &[("vhost", s("/")), ("component", s("shovel")), ("name", s("s")), ("value", value), user]);
        has(&found[1], &[("component", s("global")), ("name", s("g")), ("value", flag(true)), user]);
    }

    s20_virtual_hosts(t) {
        let t = eventful(t);
        let a = listening(&t, &["vhost.*", "exchange.*", "queue.*", "policy.*"]);
        t.done(add_vhost_with("v", "a place", "tag", "quorum"));
        let found = events(&a);
        let mut expected = vec!["exchange.created"; 7];
        expected.push("vhost.created");
        assert_eq!(names(&found), expected);
        assert!(found.iter().take(7).all(|event| text(event, "vhost") == "v"));
        let user = ("user_who_performed_action", s(NOBODY));
        has(&found[7], &[
            ("name", s("v")),
            ("description", s("a place")),
            ("tags", strings(&["tag"])),
            ("default_queue_type", s("quorum")),
            ("tracing", flag(false)),
            user,
        ]);
        let document = r#"{"pattern": "^q", "definition": {"max-length": 3}}"#.to_owned();
        t.done(AdminRequest::SetPolicy { scope: Scope::User, vhost: "v".into(), name: "p".into(), document });
        t.login(Login { vhost: "v", ..LOGIN }).careless().queue(durable("q"));
        events(&a);
        t.done(delete_vhost("v"));
        let found = events(&a);
        let mut expected = vec!["queue.deleted"];
        expected.extend(["exchange.deleted"; 7]);
        expected.extend(["policy.cleared", "vhost.deleted"]);
        assert_eq!(names(&found), expected);
        has(&found[8], &[("name", s("p")), ("vhost", s("v")), user]);
        has(&found[9], &[("name", s("v")), user]);
    }

    s20_the_exchange_comes_again_with_its_virtual_host(t) {
        let t = t.with(|settings| settings.event_exchange = Some("other".into()));
        let a = t.login(Login { vhost: "other", ..LOGIN });
        a.careless().queue(durable("seen")).bind("seen", EVENTS, "#");
        t.done(delete_vhost("other"));
        t.done(add_vhost("other"));
        let a = t.login(Login { vhost: "other", ..LOGIN });
        a.queue(durable("seen")).bind("seen", EVENTS, "queue.created").queue(declare("q"));
        assert_eq!(names(&events(&a)), ["queue.created"]);
        let Some(t) = t.restart() else { return };
        let a = t.login(Login { vhost: "other", ..LOGIN });
        a.queue(declare("q"));
        assert_eq!(names(&events(&a)), ["queue.created"]);
    }

    s20_the_first_event_is_its_own_binding_and_nothing_follows_from_events(t) {
        let t = eventful(t);
        let a = t.peer();
        a.queue(declare("seen")).bind("seen", EVENTS, "#");
        let found = events(&a);
        assert_eq!(names(&found), ["binding.created"]);
        assert_eq!(text(&found[0], "source_name"), EVENTS);
        a.bind("seen", EVENTS, "queue.*");
        assert_eq!(names(&events(&a)), ["binding.created"]);
        a.send(unbind("seen", EVENTS, "queue.*")).expect(QueueUnbindOk {});
        assert_eq!(names(&events(&a)), ["binding.deleted"]);
        a.send(unbind("seen", EVENTS, "#")).expect(QueueUnbindOk {});
        a.queue(declare("q"));
        assert!(events(&a).is_empty());
    }

    s20_bindings_to_the_exchange_survive(t) {
        let t = eventful(t);
        listening(&t, &["queue.created"]);
        let Some(t) = t.restart() else { return };
        let a = t.peer();
        // What comes back is not new.
        assert!(events(&a).is_empty());
        a.queue(declare("q"));
        assert_eq!(names(&events(&a)), ["queue.created"]);
    }

    s20_other_virtual_hosts_are_told_of(t) {
        let t = eventful(t);
        let a = listening(&t, &["queue.created"]);
        let b = t.login(Login { vhost: "other", ..LOGIN });
        b.queue(declare("q"));
        let found = events(&a);
        assert_eq!(text(one(&found, "queue.created"), "vhost"), "other");
        b.send(exchange_passive(EVENTS)).closed(
            404,
            "no exchange 'amq.rabbitmq.event' in vhost 'other'",
            ExchangeDeclare::ID,
        );
    }
}
