//! Section 16: who may do what. Sections 2.4 and 2.6: who may come in.

use leveret::access::{Algorithm, Credential};
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, Value};
use leveret::shard::admin::{AdminError, AdminReply, AdminRequest, NewPassword};

use crate::net::{Net, scripts};
use crate::peer::{LOGIN, Login, Peer};
use crate::say::*;

const ALICE: Login<'static> = Login { user: "alice", password: "alice-secret", ..LOGIN };

fn permissions(vhost: &str, user: &str, [configure, write, read]: [&str; 3]) -> AdminRequest {
    AdminRequest::SetPermissions {
        vhost: vhost.into(),
        user: user.into(),
        configure: configure.into(),
        write: write.into(),
        read: read.into(),
    }
}

fn topics(exchange: &str, write: &str, read: &str) -> AdminRequest {
    AdminRequest::SetTopicPermissions {
        vhost: "/".into(),
        user: "alice".into(),
        exchange: exchange.into(),
        write: write.into(),
        read: read.into(),
    }
}

fn user(name: &str, algorithm: Algorithm, password: &str) -> AdminRequest {
    let credential = Credential::new(algorithm, password.as_bytes(), *b"salt and pepper!");
    let password = NewPassword::Hash { hash: credential.text().into(), algorithm: algorithm.name().into() };
    AdminRequest::PutUser { name: name.into(), password: Some(password), tags: Some(vec![]) }
}

/// What a command needs: `c`, `w` or `r` on the first (`x`) or second (`y`) thing, in the order of looking.
struct Rule {
    /// What it is, for who reads a failure.
    what: &'static str,
    /// `(verb, thing, what the thing is)`.
    needs: &'static [(char, char, &'static str)],
    /// Any one verb on the first thing will do, and the error names the first verb.
    any: bool,
    id: MethodId,
    run: fn(&Peer),
}

const fn rule(what: &'static str, needs: &'static [(char, char, &'static str)], id: MethodId, run: fn(&Peer)) -> Rule {
    Rule { what, needs, any: false, id, run }
}

const RULES: &[Rule] = &[
    rule("declares a queue that is there", &[('c', 'x', "queue")], QueueDeclare::ID, |a| {
        a.send(declare("x")).expect(declare_ok("x", 0, 0));
    }),
    rule("declares a queue", &[('c', 'y', "queue")], QueueDeclare::ID, |a| {
        a.send(exclusive("y")).expect(declare_ok("y", 0, 0)).send(delete("y")).expect(delete_ok(0));
    }),
    Rule {
        any: true,
        ..rule("asks for a queue", &[('c', 'x', "queue")], QueueDeclare::ID, |a| {
            a.send(passive("x")).expect(declare_ok("x", 0, 0));
        })
    },
    rule(
        "declares a queue with dead letters",
        &[('c', 'x', "queue"), ('r', 'x', "queue"), ('w', 'y', "exchange")],
        QueueDeclare::ID,
        |a| {
            a.send(delete("x")).expect(delete_ok(0));
            a.send(declare_with("x", &[("x-dead-letter-exchange", s("y"))])).expect(declare_ok("x", 0, 0));
        },
    ),
    rule("deletes a queue", &[('c', 'x', "queue")], QueueDelete::ID, |a| {
        a.send(delete("x")).expect(delete_ok(0));
    }),
    rule("purges a queue", &[('r', 'x', "queue")], QueuePurge::ID, |a| {
        a.send(purge("x")).expect(purge_ok(0));
    }),
    rule("gets", &[('r', 'x', "queue")], BasicGet::ID, |a| {
        a.send(get("x")).expect(get_empty());
    }),
    rule("consumes", &[('r', 'x', "queue")], BasicConsume::ID, |a| {
        a.consume("x", "c").cancel("c");
    }),
    rule("binds a queue", &[('w', 'x', "queue"), ('r', 'y', "exchange")], QueueBind::ID, |a| {
        a.bind("x", "y", "k");
    }),
    rule("unbinds a queue", &[('w', 'x', "queue"), ('r', 'y', "exchange")], QueueUnbind::ID, |a| {
        a.send(unbind("x", "y", "k")).expect(QueueUnbindOk {});
    }),
    rule("declares an exchange that is there", &[('c', 'x', "exchange")], ExchangeDeclare::ID, |a| {
        a.exchange("x", "topic");
    }),
    Rule {
        any: true,
        ..rule("asks for an exchange", &[('c', 'x', "exchange")], ExchangeDeclare::ID, |a| {
            a.send(exchange_passive("x")).expect(ExchangeDeclareOk {});
        })
    },
    rule(
        "declares an exchange with an alternate",
        &[('c', 'x', "exchange"), ('r', 'x', "exchange"), ('w', 'y', "exchange")],
        ExchangeDeclare::ID,
        |a| {
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            a.send(exchange_with("x", "topic", &[("alternate-exchange", s("y"))])).expect(ExchangeDeclareOk {});
            a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        },
    ),
    rule("deletes an exchange", &[('c', 'x', "exchange")], ExchangeDelete::ID, |a| {
        a.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
    }),
    rule("binds an exchange", &[('w', 'x', "exchange"), ('r', 'y', "exchange")], ExchangeBind::ID, |a| {
        a.e_bind("x", "y", "k");
    }),
    rule("unbinds an exchange", &[('w', 'x', "exchange"), ('r', 'y', "exchange")], ExchangeUnbind::ID, |a| {
        a.send(e_unbind("x", "y", "k")).expect(ExchangeUnbindOk {});
    }),
    rule("publishes", &[('w', 'x', "exchange")], BasicPublish::ID, |a| {
        a.publish(to("x", "nowhere")).publish(to("x", "nowhere")).send(qos(0)).expect(BasicQosOk {});
    }),
];

/// The pattern that lets through what is in `granted`, in one of several styles.
fn pattern(granted: &str, style: usize) -> &'static str {
    match (granted, style) {
        ("", 0) => "",
        ("", 1) => "^$",
        ("", _) => "^z|xx",
        ("x", 0) => "^x$",
        ("x", 1) => "x",
        ("x", _) => "^(x|z)",
        ("y", 0) => "^y$",
        ("y", 1) => "y",
        ("y", _) => "[^x]$",
        (_, 0) => ".*",
        (_, 1) => "x|y",
        (_, _) => "^[xy]$",
    }
}

/// Every way to grant each verb on each of the two things, for one rule.
fn matrix(t: &Net, rule: &Rule) {
    let guest = t.peer();
    let prepare = || {
        // As the rules expect it: both there, without arguments.
        guest.send(QueueDelete { ..delete("x") }).expect_id(QueueDeleteOk::ID, |_| ());
        guest.send(declare("x")).expect(declare_ok("x", 0, 0));
        guest.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
        guest.exchange("x", "topic").exchange("y", "topic");
    };
    prepare();
    let alice = t.login(ALICE);
    for case in 0..64_usize {
        let granted: Vec<String> = (0..3)
            .map(|verb| {
                let bits = case >> (verb * 2) & 3;
                ["x", "y"].iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, name)| *name).collect()
            })
            .collect();
        let patterns: Vec<&str> = (0..3).map(|verb| pattern(&granted[verb], (case + verb) % 3)).collect();
        t.done(permissions("/", "alice", [patterns[0], patterns[1], patterns[2]]));
        let has = |verb: char, thing: char| granted["cwr".find(verb).unwrap()].contains(thing);
        let refused = match rule.any {
            true => rule.needs.first().filter(|(_, thing, _)| !"cwr".chars().any(|verb| has(verb, *thing))),
            false => rule.needs.iter().find(|(verb, thing, _)| !has(*verb, *thing)),
        };
        // Where the rule's command deletes first, that is what is refused first; it needs the same.
        match refused {
            None => (rule.run)(&alice),
            Some((verb, thing, kind)) => {
                let verb = match verb {
                    'c' => "configure",
                    'w' => "write",
                    _ => "read",
                };
                let text = format!("{verb} access to {kind} '{thing}' in vhost '/' refused for user 'alice'");
                refuse(&alice, rule, &text);
            }
        }
        prepare();
    }
}

/// Runs the command; it is refused.
fn refuse(alice: &Peer, rule: &Rule, text: &str) {
    match rule.what {
        "declares a queue with dead letters" => {
            if !text.starts_with("configure") {
                alice.send(delete("x")).expect(delete_ok(0));
            }
            alice.send(declare_with("x", &[("x-dead-letter-exchange", s("y"))]));
        }
        "declares an exchange with an alternate" => {
            if !text.starts_with("configure") {
                alice.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
            }
            alice.send(exchange_with("x", "topic", &[("alternate-exchange", s("y"))]));
        }
        "declares a queue that is there" => drop(alice.send(declare("x"))),
        "declares a queue" => drop(alice.send(exclusive("y"))),
        "asks for a queue" => drop(alice.send(passive("x"))),
        "deletes a queue" => drop(alice.send(delete("x"))),
        "purges a queue" => drop(alice.send(purge("x"))),
        "gets" => drop(alice.send(get("x"))),
        "consumes" => drop(alice.send(consume("x", "c"))),
        "binds a queue" => drop(alice.send(bind("x", "y", "k"))),
        "unbinds a queue" => drop(alice.send(unbind("x", "y", "k"))),
        "declares an exchange that is there" => drop(alice.send(exchange("x", "topic"))),
        "asks for an exchange" => drop(alice.send(exchange_passive("x"))),
        "deletes an exchange" => drop(alice.send(exchange_delete("x"))),
        "binds an exchange" => drop(alice.send(e_bind("x", "y", "k"))),
        "unbinds an exchange" => drop(alice.send(e_unbind("x", "y", "k"))),
        "publishes" => drop(alice.publish(to("x", "nowhere"))),
        other => panic!("{other}"),
    }
    alice.closed(403, text, rule.id).reopen();
}

scripts! {
    // 17 commands, 64 ways each to grant three verbs on two things: 1,088 cases, each with another mix of patterns.
    s16_each_command_needs_what_the_reference_says(t) {
        RULES.iter().for_each(|rule| matrix(t, rule));
    }

    s16_the_default_exchange_has_a_name(t) {
        t.queues(&["q"]);
        let alice = t.login(ALICE);
        alice.publish(to("", "q")).send(qos(0)).expect(BasicQosOk {});
        t.done(permissions("/", "alice", ["", "^amq\\.def", ""]));
        alice.publish(to("", "q")).publish(to("", "q")).send(qos(0)).expect(BasicQosOk {});
        t.done(permissions("/", "alice", ["", "^amq\\.direct", ""]));
        alice.publish(to("", "q"));
        let text = "write access to exchange 'amq.default' in vhost '/' refused for user 'alice'";
        alice.closed(403, text, BasicPublish::ID);
        t.peer().counts("q", 3, 0);
    }

    s16_nobody_learns_what_there_is_behind_a_refusal(t) {
        t.done(permissions("/", "alice", ["^mine", "^mine", "^mine"]));
        let alice = t.login(ALICE);
        t.queues(&["there"]);
        for name in ["there", "not-there"] {
            let text = format!("read access to queue '{name}' in vhost '/' refused for user 'alice'");
            alice.send(get(name)).closed(403, &text, BasicGet::ID).reopen();
            let text = format!("configure access to queue '{name}' in vhost '/' refused for user 'alice'");
            alice.send(passive(name)).closed(403, &text, QueueDeclare::ID).reopen();
            alice.send(delete(name)).closed(403, &text, QueueDelete::ID).reopen();
            let text = format!("write access to exchange '{name}' in vhost '/' refused for user 'alice'");
            alice.publish(to(name, "")).closed(403, &text, BasicPublish::ID).reopen();
        }
        alice.send(passive("mine")).closed(404, "no queue 'mine' in vhost '/'", QueueDeclare::ID);
    }

    s16_direct_replies_need_no_permission(t) {
        t.done(permissions("/", "alice", ["", ".*", ""]));
        let alice = t.login(ALICE);
        alice.send(consume_no_ack("amq.rabbitmq.reply-to", "c")).expect(BasicConsumeOk { consumer_tag: "c" });
    }

    s16_what_is_changed_holds_at_once_for_who_is_there(t) {
        let (alice, b) = (t.login(ALICE), t.peer());
        t.queues(&["q"]);
        b.consume_no_ack("q", "c");
        alice.publish(to("amq.direct", "")).fill("q", &["1"]);
        b.delivered("c", 1, "1");
        t.done(permissions("/", "alice", [".*", "^amq\\.direct$", ".*"]));
        alice.publish(to("amq.direct", "")).publish(to("", "q"));
        let text = "write access to exchange 'amq.default' in vhost '/' refused for user 'alice'";
        alice.closed(403, text, BasicPublish::ID).reopen();
        t.done(AdminRequest::ClearPermissions { vhost: "/".into(), user: "alice".into() });
        alice.publish(to("amq.direct", ""));
        let text = "write access to exchange 'amq.direct' in vhost '/' refused for user 'alice'";
        alice.closed(403, text, BasicPublish::ID).reopen();
        t.done(permissions("/", "alice", [".*", ".*", ".*"]));
        alice.fill("q", &["2"]);
        b.delivered("c", 2, "2").redelivered.then(|| panic!("it is new"));
    }

    s16_topics_are_restricted_by_exchange(t) {
        let (alice, b) = (t.login(ALICE), t.peer());
        t.queues(&["q"]);
        b.exchange("t", "topic").exchange("d", "direct").bind("q", "t", "#").bind("q", "d", "k");
        t.done(topics("t", "^{username}\\.", "^a"));
        t.done(topics("d", "^never", "^never"));
        alice.publish(to("t", "alice.1")).publish(to("amq.topic", "b")).publish(to("d", "k"));
        alice.publish(to("t", "bob.1"));
        let text = "write access to topic 'bob.1' in exchange 't' in vhost '/' refused for user 'alice'";
        alice.closed(403, text, BasicPublish::ID).reopen();
        let copies = with_headers(&[("CC", strings(&["bob.2"]))]);
        alice.publish(Publish { properties: copies, ..to("t", "alice.2") });
        let text = "write access to topic 'bob.2' in exchange 't' in vhost '/' refused for user 'alice'";
        alice.closed(403, text, BasicPublish::ID).reopen();
        alice.bind("q", "t", "alice.#").bind("q", "amq.topic", "b").bind("q", "d", "never");
        let text = "read access to topic 'b.#' in exchange 't' in vhost '/' refused for user 'alice'";
        alice.send(bind("q", "t", "b.#")).closed(403, text, QueueBind::ID).reopen();
        alice.send(unbind("q", "t", "b.#")).closed(403, text, QueueUnbind::ID).reopen();
        let text = "read access to topic '#' in exchange 't' in vhost '/' refused for user 'alice'";
        alice.send(e_bind("amq.fanout", "t", "#")).closed(403, text, ExchangeBind::ID).reopen();
        b.counts("q", 2, 0);
        let clear = |exchange: Option<&str>| AdminRequest::ClearTopicPermissions {
            vhost: "/".into(),
            user: "alice".into(),
            exchange: exchange.map(str::to_owned),
        };
        t.done(clear(Some("d")));
        alice.publish(to("t", "bob.1")).close_text(403, BasicPublish::ID);
        t.done(clear(None));
        t.done(clear(None));
        alice.publish(to("t", "bob.1")).send(qos(0)).expect(BasicQosOk {});
        b.counts("q", 3, 0);
    }

    s2_6_without_permissions_there_is_no_way_in(t) {
        t.done(AdminRequest::ClearPermissions { vhost: "/".into(), user: "alice".into() });
        let a = t.connect();
        a.start().plain(ALICE).tune().tune_ok(ALICE).open_vhost("/");
        a.dies(530, "access to vhost '/' refused for user 'alice'", ConnectionOpen::ID);
        t.done(permissions("/", "alice", ["", "", ""]));
        let a = t.login(ALICE);
        let text = "configure access to queue 'q' in vhost '/' refused for user 'alice'";
        a.send(declare("q")).closed(403, text, QueueDeclare::ID);
        t.done(AdminRequest::AddVhost { name: "v".into(), description: None, tags: None, default_queue_type: None });
        let limits = AdminRequest::SetVhostLimits { vhost: "v".into(), limits: "{\"max-connections\": 1}".into() };
        t.done(limits);
        t.done(AdminRequest::ClearPermissions { vhost: "v".into(), user: "alice".into() });
        // Who was refused does not count.
        for _ in 0..3 {
            let b = t.connect();
            b.start().plain(ALICE).tune().tune_ok(ALICE).open_vhost("v");
            b.dies(530, "access to vhost 'v' refused for user 'alice'", ConnectionOpen::ID);
        }
        t.login(Login { vhost: "v", ..LOGIN });
    }

    s2_4_users_come_and_go(t) {
        let bob = Login { user: "bob", password: "b", ..LOGIN };
        let refused = |login: Login<'_>| {
            let a = t.connect();
            a.start().plain(login);
            let text = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
            a.dies(403, text, MethodId::NONE);
        };
        refused(bob);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5] {
            t.done(user("bob", algorithm, "b"));
            t.done(permissions("/", "bob", [".*", ".*", ".*"]));
            refused(Login { password: "c", ..bob });
            refused(Login { password: "", ..bob });
            let a = t.login(bob);
            t.done(user("bob", algorithm, "c"));
            refused(bob);
            a.queue_unnamed(exclusive(""));
            let b = t.login(Login { password: "c", ..bob });
            t.done(AdminRequest::DeleteUser { name: "bob".into() });
            a.dies(320, "user 'bob' is deleted", MethodId::NONE);
            b.dies(320, "user 'bob' is deleted", MethodId::NONE);
            refused(Login { password: "c", ..bob });
        }
        let nobody = AdminRequest::DeleteUser { name: "bob".into() };
        assert_eq!(t.admin(nobody), Err(AdminError::NotFound("user 'bob' does not exist".into())));
        t.done(user("bob", Algorithm::Sha256, "b"));
        let of_bob = AdminRequest::Permissions { vhost: None, user: Some("bob".into()) };
        let Ok(AdminReply::Permissions(rows)) = t.admin(of_bob)
        else {
            panic!()
        };
        assert_eq!(rows, [], "another of the name has not what the first had");
        let nothing = AdminRequest::PutUser { name: "bob".into(), password: Some(NewPassword::Nothing), tags: None };
        t.done(nothing);
        refused(bob);
        refused(Login { password: "", ..bob });
    }

    // Such a password takes its time, and the log-in waits for it; what the client sends behind it waits as well.
    s2_4_dear_passwords_are_checked_elsewhere(t) {
        let bob = Login { user: "bob", password: "b", ..LOGIN };
        t.done(user("bob", Algorithm::Argon2id, "b"));
        t.done(permissions("/", "bob", [".*", ".*", ".*"]));
        t.login(bob).queue_unnamed(exclusive(""));
        t.login(bob).queue_unnamed(exclusive(""));
        for (name, password) in [("bob", "c"), ("nobody", "b"), ("bob", "")] {
            let a = t.connect();
            a.start().plain(Login { user: name, password, ..LOGIN });
            let text = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
            a.dies(403, text, MethodId::NONE);
        }
        let gone = t.connect();
        gone.start().careless().plain(bob).hang_up();
        t.done(user("bob", Algorithm::Argon2id, "c"));
        let a = t.connect();
        a.start().plain(bob);
        let text = "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.";
        a.dies(403, text, MethodId::NONE);
    }

    s16_an_impersonator_is_one_as_long_as_it_has_the_tag(t) {
        let alice = t.login(ALICE);
        t.queues(&["q"]);
        let tags = |tags: &[&str]| AdminRequest::PutUser {
            name: "alice".into(),
            password: None,
            tags: Some(tags.iter().map(|&tag| tag.to_owned()).collect()),
        };
        let other = leveret::amqp::Properties { user_id: Some("guest"), ..Default::default() };
        t.done(tags(&["impersonator"]));
        alice.publish(Publish { properties: other, ..to("", "q") }).send(qos(0)).expect(BasicQosOk {});
        t.done(tags(&[]));
        alice.publish(Publish { properties: other, ..to("", "q") });
        let text = "user_id property set to 'guest' but authenticated user was 'alice'";
        alice.closed(406, text, BasicPublish::ID);
    }

    s20_users_and_permissions_are_events(t) {
        let t = &t.with(|settings| settings.event_exchange = Some("/".into()));
        let a = t.peer();
        a.queue(QueueDeclare { durable: true, ..declare("seen") });
        a.bind("seen", "amq.rabbitmq.event", "user.#").bind("seen", "amq.rabbitmq.event", "#.permission.#");
        a.bind("seen", "amq.rabbitmq.event", "permission.#").bind("seen", "amq.rabbitmq.event", "parameter.#");
        let told = || {
            let mut told = vec![];
            a.net.settle();
            while let Some(event) = a.send(BasicGet { no_ack: true, ..get("seen") }).got() {
                let text = |key| match event.header(key) {
                    Some(Value::LongStr(text)) => format!(" {}", String::from_utf8_lossy(text)),
                    _ => String::new(),
                };
                let keys = ["name", "user", "vhost", "exchange", "configure", "write", "read"];
                let rest = keys.map(text).concat();
                told.push(format!("{}{rest}", event.routing_key));
            }
            told
        };
        told();
        t.done(user("bob", Algorithm::Sha256, "b"));
        t.done(user("bob", Algorithm::Sha256, "b"));
        t.done(user("bob", Algorithm::Sha256, "c"));
        let tags = AdminRequest::PutUser {
            name: "bob".into(),
            password: Some(NewPassword::Nothing),
            tags: Some(vec!["x".into()]),
        };
        t.done(tags);
        let expected = ["created", "password.changed", "password.cleared", "tags.set"];
        assert_eq!(told(), expected.map(|what| format!("user.{what} bob")));
        t.done(permissions("/", "bob", ["c", "w", "r"]));
        t.done(AdminRequest::ClearPermissions { vhost: "/".into(), user: "bob".into() });
        assert_eq!(told(), ["permission.created bob / c w r", "permission.deleted bob /"]);
        t.done(topics("t", "w", "r"));
        t.done(topics("u", "x", ""));
        let exchange = Some("t".into());
        t.done(AdminRequest::ClearTopicPermissions { vhost: "/".into(), user: "alice".into(), exchange });
        assert_eq!(
            told(),
            [
                "topic.permission.created alice / t w r",
                "topic.permission.created alice / u x ",
                "topic.permission.deleted alice / t",
            ]
        );
        t.done(permissions("/", "bob", ["", "", ""]));
        t.done(AdminRequest::DeleteUser { name: "bob".into() });
        assert_eq!(told()[1..], ["permission.deleted bob /", "user.deleted bob"]);
    }

    s16_what_makes_no_sense_is_refused(t) {
        for patterns in [["(", "", ""], ["", "[", ""], ["", "", "x{99999}{99999}"]] {
            assert!(matches!(t.admin(permissions("/", "alice", patterns)), Err(AdminError::BadRequest(_))));
        }
        t.missing(permissions("nowhere", "alice", ["", "", ""]), "vhost 'nowhere' does not exist");
        t.missing(permissions("/", "nobody", ["", "", ""]), "user 'nobody' does not exist");
        assert!(matches!(t.admin(topics("t", "(", "")), Err(AdminError::BadRequest(_))));
        let put = |name: &str, hash: &str, algorithm: &str| AdminRequest::PutUser {
            name: name.into(),
            password: Some(NewPassword::Hash { hash: hash.into(), algorithm: algorithm.into() }),
            tags: None,
        };
        let sha256 = Algorithm::Sha256.name();
        for request in [put("u", "no hash", sha256), put("u", "", "rot13"), put(&"u".repeat(256), "", "")]
        {
            assert!(matches!(t.admin(request), Err(AdminError::BadRequest(_))));
        }
        let parameter = AdminRequest::SetParameter {
            component: "users".into(),
            vhost: "/".into(),
            name: "root".into(),
            value: "{}".into(),
        };
        t.bad(parameter, "Validation failed\n\ncomponent users not found\n");
        let Ok(AdminReply::Parameters(rows)) = t.admin(AdminRequest::Parameters { component: None, vhost: None }) else {
            panic!()
        };
        assert_eq!(rows, [], "users are no parameters");
    }
}
