//! Sections 2.6, 4 and 7.1: virtual hosts that come and go, their default queue type, and limits.

use leveret::amqp::MethodId;
use leveret::amqp::method::*;
use leveret::config::settings::DefaultQueueType;
use leveret::shard::admin::{AdminError, AdminReply, AdminRequest, Scope};

use crate::administration::*;
use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const ALICE: Login<'static> = Login { user: "alice", password: "alice-secret", ..LOGIN };

fn in_vhost(vhost: &str) -> Login<'_> {
    Login { vhost, ..LOGIN }
}

/// A connection is refused with this text.
#[track_caller]
fn refused(t: &Net, login: Login<'_>, text: &str) {
    let a = t.connect();
    a.start().plain(login).tune().tune_ok(login).open_vhost(login.vhost);
    a.dies(530, text, ConnectionOpen::ID);
}

/// A channel is refused with this text.
#[track_caller]
fn no_channel(peer: &Peer, text: &str) {
    peer.on(9).send(ChannelOpen { reserved_1: "" });
    peer.dies(530, text, MethodId::NONE);
}

scripts! {
    s07_a_new_vhost_is_a_world_of_its_own(t) {
        refused(t, in_vhost("v"), "vhost v not found");
        t.done(add_vhost("v"));
        let (a, b) = (t.login(in_vhost("v")), t.peer());
        for name in ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"] {
            a.has_exchange(name);
        }
        a.queue(declare("q")).bind("q", "amq.fanout", "").publish(to("amq.fanout", "")).counts("q", 1, 0);
        a.publish(to("", "q")).counts("q", 2, 0);
        b.no_queue("q");
        a.send(passive("x")).closed(404, "no queue 'x' in vhost 'v'", QueueDeclare::ID);
    }

    s07_what_is_said_of_a_vhost_can_be_changed(t) {
        t.done(add_vhost_with("v", "first", "a", "classic"));
        t.done(add_vhost_with("v", "second", "b", "quorum"));
        t.done(add_vhost("v"));
        let rows = t.vhosts();
        let names: Vec<_> = rows.iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["/", "other", "v"]);
        let row = &rows[2];
        assert_eq!((&*row.description, &row.tags[..], row.default_queue_type.as_deref(), row.queues), (
            "second",
            &["b".to_string()][..],
            Some("quorum"),
            0
        ));
        t.bad(add_vhost_with("w", "", "a", "stream"), "unsupported queue type 'stream'");
        t.bad(add_vhost_with("w", "", "a", "foo"), "unsupported queue type 'foo'");
        t.bad(add_vhost(""), "the name of the vhost is empty");
        t.bad(add_vhost_with("w", "", "", "classic"), "the tag is empty");
        assert_eq!(t.vhosts().len(), 3);
    }

    s07_a_deleted_vhost_closes_its_connections_and_is_gone_with_all_in_it(t) {
        let b = t.peer();
        for round in 0..3 {
            t.done(add_vhost("v"));
            let peers: Vec<Peer> = (0..5).map(|_| t.login(in_vhost("v"))).collect();
            for (n, peer) in peers.iter().enumerate() {
                let name = format!("q{n}");
                peer.exchange("x", "fanout").send(passive(&name));
                peer.closed(404, &format!("no queue '{name}' in vhost 'v'"), QueueDeclare::ID).reopen();
                peer.queue(durable(&name)).bind(&name, "x", "").bind(&name, "amq.topic", "#");
                peer.queue_unnamed(exclusive(""));
                peer.e_bind("x", "amq.topic", "#").publish(to("x", "")).counts(&name, 1, 0);
            }
            t.done(delete_vhost("v"));
            for peer in &peers {
                peer.dies(320, "vhost 'v' is deleted", MethodId::NONE);
            }
            assert_eq!(t.vhosts().len(), 2, "in round {round}");
            refused(t, in_vhost("v"), "vhost v not found");
        }
        t.missing(delete_vhost("v"), "vhost 'v' does not exist");
        b.queue(declare("q")).fill("q", &["x"]).counts("q", 1, 0);
    }

    s07_many_queues_and_exchanges_of_a_deleted_vhost_go_by_and_by(t) {
        t.done(add_vhost("v"));
        let a = t.login(in_vhost("v"));
        for n in 0..700 {
            let name = format!("n{n}");
            a.send(QueueDeclare { no_wait: true, durable: true, ..declare(&name) });
            a.send(ExchangeDeclare { no_wait: true, durable: true, ..exchange(&name, "topic") });
            a.send(QueueBind { no_wait: true, ..bind(&name, &name, "#") });
        }
        a.counts("n699", 0, 0).quit();
        t.done(delete_vhost("v"));
        t.done(add_vhost("v"));
        let a = t.login(in_vhost("v"));
        for name in ["n0", "n699"] {
            a.send(passive(name)).closed(404, &format!("no queue '{name}' in vhost 'v'"), QueueDeclare::ID).reopen();
            a.send(exchange_passive(name));
            a.closed(404, &format!("no exchange '{name}' in vhost 'v'"), ExchangeDeclare::ID).reopen();
        }
    }

    s07_a_deletion_that_was_cut_short_goes_on_at_the_next_start(t) {
        t.done(add_vhost("v"));
        t.policy("kept", r#"{"pattern": "", "definition": {"expires": 100000}}"#);
        t.done(vhost_limits("v", r#"{"max-queues": 100}"#));
        for n in 0..6 {
            let a = t.login(in_vhost("v"));
            a.queue(durable(&format!("q{n}"))).exchange("x", "fanout").quit();
        }
        if !t.hold(1) {
            return;
        }
        let ticket = t.ask_admin(delete_vhost("v"));
        assert_eq!(t.admin_answer(ticket), None, "queues of the shard that sleeps are there");
        t.bad(add_vhost("v"), "vhost 'v' is being deleted");
        let rows = t.vhosts();
        assert_eq!(rows.len(), 2, "{rows:?}");
        if let Some(t) = t.restart() {
            assert_eq!(t.vhosts().len(), 2);
            t.done(add_vhost("v"));
            let rows = t.vhosts();
            assert_eq!((rows.len(), rows[2].queues, rows[2].limits.queues_max), (3, 0, None));
            assert_eq!(t.policies(Scope::User).len(), 1);
        }
        t.release(1);
        assert_eq!(t.admin_answer(ticket), Some(Ok(AdminReply::Done)));
    }

    s07_vhosts_survive_with_the_store(t) {
        t.done(add_vhost_with("v", "kept", "a", "quorum"));
        t.done(vhost_limits("v", r#"{"max-queues": 1}"#));
        t.done(add_vhost("w"));
        t.done(delete_vhost("w"));
        t.done(delete_vhost("other"));
        let a = t.login(in_vhost("v"));
        a.queue(durable("q")).bind("q", "amq.topic", "a.#").quit();
        let Some(t) = t.restart() else { return };
        let rows = t.vhosts();
        let names: Vec<_> = rows.iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["/", "v"], "a vhost of the configuration that was deleted does not come back");
        assert_eq!((&*rows[1].description, rows[1].limits.queues_max, rows[1].queues), ("kept", Some(1), 1));
        let a = t.login(in_vhost("v"));
        a.publish(to("amq.topic", "a.b")).counts("q", 1, 0);
        a.has_exchange("amq.rabbitmq.trace");
        t.done(delete_vhost("v"));
        a.dies(320, "vhost 'v' is deleted", MethodId::NONE);
        t.done(add_vhost("other"));
        t.login(in_vhost("other")).queue(durable("o")).bind("o", "amq.fanout", "").quit();
        let Some(t) = t.restart() else { return };
        let names: Vec<_> = t.vhosts().into_iter().map(|row| (row.name, row.queues)).collect();
        assert_eq!(names, [("/".to_string(), 0), ("other".to_string(), 1)]);
        t.login(in_vhost("other")).publish(to("amq.fanout", "")).counts("o", 1, 0);
    }

    s07_a_default_type_is_filled_in_where_it_fits(t) {
        t.done(add_vhost_with("v", "", "a", "quorum"));
        let a = t.login(in_vhost("v"));
        let quorum = |queue: &'static str| QueueDeclare {
            durable: true,
            ..declare_with(queue, &[("x-queue-type", s("quorum"))])
        };
        a.queue(durable("q")).queue(quorum("q")).queue(durable("q"));
        // What could not be of that type is classic.
        a.queue(declare("transient")).queue(exclusive("mine"));
        a.queue(QueueDeclare { auto_delete: true, ..durable("a") });
        a.send(durable(""));
        a.closed(406, "Cannot declare a server-named queue for type rabbit_quorum_queue", QueueDeclare::ID).reopen();
        a.send(QueueDeclare { durable: true, ..declare_with("q", &[("x-queue-type", s("classic"))]) });
        a.closed(
            406,
            "inequivalent arg 'x-queue-type' for queue 'q' in vhost 'v': received 'classic' but current is 'quorum'",
            QueueDeclare::ID,
        );
        // Of vhosts that say nothing the broker's holds.
        let t = t.with(|settings| settings.default_queue_type = Some(DefaultQueueType::Quorum));
        t.peer().queue(durable("q")).queue(quorum("q"));
        t.done(add_vhost_with("v", "", "a", "classic"));
        let a = t.login(in_vhost("v"));
        a.queue(durable("q")).send(quorum("q"));
        a.closed(
            406,
            "inequivalent arg 'x-queue-type' for queue 'q' in vhost 'v': received 'quorum' but current is 'classic'",
            QueueDeclare::ID,
        );
    }

    s07_a_vhost_has_no_more_queues_than_it_may(t) {
        let a = t.peer();
        a.queue(declare("one"));
        t.done(vhost_limits("/", r#"{"max-queues": 2}"#));
        a.queue(declare("two")).queue(declare("two"));
        let text = "cannot declare queue 'three': queue limit in vhost '/' (2) is reached";
        a.send(declare("three")).closed(406, text, QueueDeclare::ID).reopen();
        t.login(in_vhost("other")).queue(declare("three"));
        a.send(delete("one")).expect(delete_ok(0)).queue(declare("three"));
        t.done(vhost_limits("/", r#"{"max-queues": 0}"#));
        let text = "cannot declare queue 'q': queue limit in vhost '/' (0) is reached";
        a.send(exclusive("q")).closed(406, text, QueueDeclare::ID).reopen();
        t.done(vhost_limits("/", r#"{"max-queues": -1}"#));
        a.queue(declare("four"));
        t.done(AdminRequest::ClearVhostLimits { vhost: "/".into() });
        a.queue(declare("five"));
        t.bad(
            vhost_limits("/", r#"{"max-queues": "many"}"#),
            "Validation failed\n\nmax-queues should be a number, actually was <<\"many\">>\n",
        );
        t.missing(vhost_limits("nowhere", "{}"), "vhost 'nowhere' does not exist");
    }

    s02_a_vhost_has_no_more_connections_than_it_may(t) {
        let (a, b) = (t.peer(), t.peer());
        t.done(vhost_limits("/", r#"{"max-connections": 3}"#));
        let c = t.peer();
        let text = "access to vhost '/' refused for user 'guest': connection limit (3) is reached";
        refused(t, LOGIN, text);
        t.login(in_vhost("other"));
        a.quit();
        let d = t.peer();
        refused(t, LOGIN, text);
        b.hang_up();
        c.quit();
        let (e, f) = (t.peer(), t.peer());
        refused(t, LOGIN, text);
        t.done(vhost_limits("/", r#"{"max-connections": 0}"#));
        for peer in [d, e, f] {
            peer.queue_unnamed(exclusive(""));
            peer.quit();
        }
        refused(t, LOGIN, "access to vhost '/' refused for user 'guest': connection limit (0) is reached");
        t.done(AdminRequest::ClearVhostLimits { vhost: "/".into() });
        t.peer();
    }

    s02_a_user_has_no_more_connections_than_it_may(t) {
        let a = t.login(ALICE);
        t.done(user_limits("alice", r#"{"max-connections": 2}"#));
        let b = t.login(Login { vhost: "other", ..ALICE });
        let text = "connection refused for user 'alice': user connection limit (2) is reached";
        refused(t, ALICE, text);
        let guest = t.peer();
        a.quit();
        t.login(ALICE).quit();
        b.quit();
        guest.queue(declare("q"));
        t.missing(user_limits("nobody", "{}"), "user 'nobody' does not exist");
        let listed = r#"user-limits  alice {"max-connections":2}"#;
        assert_eq!(t.parameters(AdminRequest::UserLimits), [listed]);
        let Some(t) = t.restart() else { return };
        assert_eq!(t.parameters(AdminRequest::UserLimits), [listed]);
        let (_a, _b) = (t.login(ALICE), t.login(ALICE));
        refused(&t, ALICE, text);
        t.done(AdminRequest::ClearUserLimits { user: "alice".into() });
        t.login(ALICE);
    }

    s04_a_user_has_no_more_channels_than_it_may(t) {
        let a = t.login(ALICE);
        a.open(2);
        t.done(user_limits("alice", r#"{"max-channels": 3}"#));
        let b = t.login(ALICE);
        let text = "number of channels opened for user 'alice' has reached the maximum allowed user limit of 3";
        no_channel(&b, text);
        a.open(3);
        no_channel(&a, text);
        let c = t.login(ALICE);
        c.open(2).close();
        c.open(2).send(declare("amq.no"));
        let prefix = "queue name 'amq.no' contains reserved prefix 'amq.*'";
        c.on(2).closed(403, prefix, QueueDeclare::ID);
        c.open(2);
        c.open(3);
        t.peer().open(2);
        no_channel(&c, text);
        // Before a connection is in, its channels are not either.
        let d = t.login(ALICE);
        d.on(2).send(ChannelOpen { reserved_1: "" }).expect_id(ChannelOpenOk::ID, |_| ());
        d.on(2).queue(declare("q"));
    }

    s04_channels_and_commands_behind_a_question_wait_for_its_answer(t) {
        t.done(user_limits("alice", r#"{"max-channels": 4, "max-connections": 1}"#));
        let a = t.connect();
        a.start().plain(ALICE).tune().tune_ok(ALICE).open_vhost("/");
        for number in 1..=3 {
            a.on(number).send(ChannelOpen { reserved_1: "" }).send(declare("q"));
        }
        a.on(0).expect(ConnectionOpenOk { reserved_1: "" });
        for number in 1..=3 {
            a.on(number).expect_id(ChannelOpenOk::ID, |_| ());
            a.on(number).expect(declare_ok("q", 0, 0));
        }
    }

    s04_whoever_goes_while_it_asks_is_not_counted(t) {
        t.done(user_limits("alice", r#"{"max-connections": 1}"#));
        if t.hold(0) {
            for _ in 0..3 {
                let a = t.connect_on(1);
                a.start().plain(ALICE).tune().tune_ok(ALICE).open_vhost("/");
                a.careless().hang_up();
            }
            t.release(0);
        }
        let a = t.login(ALICE);
        refused(t, ALICE, "connection refused for user 'alice': user connection limit (1) is reached");
        a.quit();
    }

    s02_the_node_has_limits(t) {
        let t = t.with(|settings| {
            settings.node.connection_max = Some(2);
            settings.node.channel_max_per_node = Some(3);
            settings.node.consumer_max_per_channel = Some(1);
            settings.node.queue_max = Some(2);
            settings.node.exchange_max = Some(15);
            settings.node.vhost_max = Some(3);
        });
        let (a, b) = (t.peer(), t.login(in_vhost("other")));
        refused(&t, LOGIN, "connection refused: node connection limit (2) is reached");
        refused(&t, in_vhost("nowhere"), "connection refused: node connection limit (2) is reached");
        a.queue(declare("q")).consume("q", "c");
        a.send(consume("q", "d"));
        a.on(0).expect_id(ConnectionClose::ID, |method| {
            let leveret::amqp::Method::ConnectionClose(close) = method else { unreachable!() };
            assert_eq!(close.reply_text, "NOT_ALLOWED - reached maximum (1) of consumers per channel");
        });
        a.on(0).send(ConnectionCloseOk {}).gone();
        refused(&t, in_vhost("nowhere"), "vhost nowhere not found");
        b.queue(declare("q")).send(declare("r"));
        let text = "cannot declare queue 'r': queue limit in cluster (2) is reached";
        b.closed(406, text, QueueDeclare::ID).reopen();
        b.exchange("x", "fanout").send(exchange("y", "fanout"));
        let text = "cannot declare exchange 'y' in vhost 'other': exchange limit of 15 is reached";
        b.closed(406, text, ExchangeDeclare::ID).reopen();
        b.open(2);
        b.open(3);
        no_channel(
            &b,
            "number of channels opened on node 'leveret@localhost' has reached the maximum allowed limit of 3",
        );
        t.done(add_vhost("v"));
        let text = "cannot create vhost 'w': vhost limit of 3 is reached";
        assert_eq!(t.admin(add_vhost("w")), Err(AdminError::Limit(text.into())));
        t.done(delete_vhost("v"));
        t.done(add_vhost("w"));
    }

    s00_parameters_are_kept(t) {
        t.done(parameter("shovel", "s", r#"{"src-uri": "amqp://"}"#));
        t.done(parameter("federation-upstream", "f", r#"{"uri": "amqp://"}"#));
        t.done(parameter("federation-upstream", "f", r#"{"uri": "amqps://"}"#));
        t.done(AdminRequest::SetGlobalParameter { name: "cluster_tags".into(), value: "[1, 2]".into() });
        let all = AdminRequest::Parameters { component: None, vhost: None };
        let expected =
            [r#"federation-upstream / f {"uri":"amqps://"}"#, r#"shovel / s {"src-uri":"amqp://"}"#].map(String::from);
        t.policy("p", r#"{"pattern": "", "definition": {"expires": 1}}"#);
        assert_eq!(t.parameters(all.clone()), expected);
        // All but that by which a broker knows that it has run before.
        let globals = || {
            let mut rows = t.parameters(AdminRequest::GlobalParameters);
            let own = rows.iter().position(|row| row.starts_with("global  internal_cluster_id \"rabbitmq-cluster-id-"));
            rows.remove(own.unwrap());
            rows
        };
        assert_eq!(globals(), ["global  cluster_tags [1,2]"]);
        t.bad(parameter("policy", "p", "{}"), "policies may not be set using this method");
        t.bad(parameter("nonsense", "p", "{}"), "Validation failed\n\ncomponent nonsense not found\n");
        t.bad(parameter("user-limits", "p", "{}"), "Validation failed\n\ncomponent user-limits not found\n");
        let clear = |component: &str, name: &str| AdminRequest::ClearParameter {
            component: component.into(),
            vhost: "/".into(),
            name: name.into(),
        };
        t.bad(clear("policy", "p"), "policies may not be cleared using this method");
        t.missing(clear("shovel", "f"), "Parameter does not exist");
        t.missing(AdminRequest::ClearGlobalParameter { name: "x".into() }, "Parameter does not exist");
        assert_eq!(t.policies(Scope::User).len(), 1);
        let Some(t) = t.restart() else { return };
        assert_eq!(t.parameters(all.clone()), expected);
        t.done(clear("shovel", "s"));
        t.done(AdminRequest::ClearGlobalParameter { name: "cluster_tags".into() });
        let Some(t) = t.restart() else { return };
        assert_eq!(t.parameters(all), expected[..1]);
        assert_eq!(t.parameters(AdminRequest::GlobalParameters).len(), 1);
        let own = AdminRequest::ClearGlobalParameter { name: "internal_cluster_id".into() };
        t.bad(own, "the parameter internal_cluster_id may not be cleared");
    }
}
