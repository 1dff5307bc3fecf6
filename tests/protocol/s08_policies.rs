//! Section 8.3: policies and operator policies, set and cleared while queues and exchanges live.

use leveret::amqp::method::*;
use leveret::shard::admin::{ObjectKind, Scope};

use crate::administration::{clear, delete_vhost, set};
use crate::net::{Net, scripts};
use crate::say::*;

const TTL: &str = r#"{"pattern": "^q", "definition": {"message-ttl": 1000}}"#;

/// A queue is as empty as its rules say after this time.
fn left(t: &Net, queue: &str, after_ms: u64, ready: u32) {
    t.advance(after_ms);
    t.peer().counts(queue, ready, 0).quit();
}

scripts! {
    s08_a_policy_applies_to_queues_that_are_there_and_that_come(t) {
        let a = t.peer();
        t.queues(&["q1", "q2", "other"]);
        a.fill("q1", &["x"]).fill("other", &["x"]);
        t.policy("ttl", TTL);
        a.queue(declare("q3")).fill("q2", &["x"]).fill("q3", &["x"]);
        assert_eq!(t.effective(ObjectKind::Queue, "q3"), r#"ttl - {"message-ttl":1000}"#);
        assert_eq!(t.effective(ObjectKind::Queue, "other"), "- - {}");
        for (queue, ready) in [("q1", 0), ("q2", 0), ("q3", 0), ("other", 1)] {
            left(t, queue, 1000, ready);
        }
        a.fill("q1", &["y"]);
        t.done(clear(Scope::User, "ttl"));
        left(t, "q1", 5000, 1);
        t.missing(clear(Scope::User, "ttl"), "Parameter does not exist");
        a.counts("q1", 1, 0);
    }

    s08_many_queues_are_looked_at_by_and_by(t) {
        let a = t.peer();
        let names: Vec<String> = (0..600).map(|n| format!("q{n}")).collect();
        for name in &names {
            a.send(QueueDeclare { no_wait: true, ..declare(name) });
        }
        a.counts("q599", 0, 0);
        t.policy("none", r#"{"pattern": "", "definition": {"max-length": 0}}"#);
        t.policy("few", r#"{"pattern": "9$", "definition": {"max-length": 1}, "priority": 1}"#);
        for name in ["q0", "q300", "q598"] {
            a.fill(name, &["x"]).counts(name, 0, 0);
        }
        for name in ["q9", "q299", "q599"] {
            a.fill(name, &["x", "y"]).counts(name, 1, 0);
        }
    }

    s08_lengths_and_lower_limits(t) {
        let a = t.peer();
        a.queue(declare_with("q", &[("x-max-length", int(3))])).fill("q", &["1", "2", "3"]);
        t.policy("p", r#"{"pattern": "q", "definition": {"max-length": 5}}"#);
        a.fill("q", &["4"]).counts("q", 3, 0);
        t.operator_policy("o", r#"{"pattern": "q", "definition": {"max-length": 2, "expires": 60000}}"#);
        a.counts("q", 2, 0);
        assert_eq!(t.effective(ObjectKind::Queue, "q"), r#"p o {"expires":60000,"max-length":2}"#);
        t.done(clear(Scope::Operator, "o"));
        a.fill("q", &["5", "6"]).holds("q", &["4", "5", "6"]);
        t.advance(120_000);
        a.counts("q", 0, 0);
    }

    s08_only_the_policy_with_the_highest_priority_applies(t) {
        let a = t.peer();
        t.policy("low", r#"{"pattern": "", "definition": {"max-length": 1, "message-ttl": 10}, "priority": 1}"#);
        t.policy("high", r#"{"pattern": "q", "definition": {"max-length": 2}, "priority": 2}"#);
        a.queue(declare("q")).fill("q", &["1", "2", "3"]);
        left(t, "q", 1000, 2);
        t.policy("high", r#"{"pattern": "q", "definition": {"max-length": 2}, "priority": 0}"#);
        a.counts("q", 0, 0).fill("q", &["4", "5"]).counts("q", 1, 0);
        let names: Vec<_> = t.policies(Scope::User).into_iter().map(|row| (row.name, row.priority)).collect();
        assert_eq!(names, [("low".to_string(), 1), ("high".to_string(), 0)]);
    }

    s08_types_and_exchanges_are_told_apart(t) {
        t.policy("c", r#"{"pattern": "", "definition": {"max-length": 1}, "apply-to": "classic_queues"}"#);
        t.policy("x", concat!(
            r#"{"pattern": "", "definition": {"alternate-exchange": "a"}, "#,
            r#""apply-to": "exchanges", "priority": 9}"#
        ));
        let a = t.peer();
        a.queue(QueueDeclare { durable: true, ..declare_with("quorum", &[("x-queue-type", s("quorum"))]) });
        a.queue(declare("classic"));
        assert_eq!(t.effective(ObjectKind::Queue, "quorum"), "- - {}");
        assert_eq!(t.effective(ObjectKind::Queue, "classic"), r#"c - {"max-length":1}"#);
        assert_eq!(t.effective(ObjectKind::Exchange, "amq.direct"), r#"x - {"alternate-exchange":"a"}"#);
        // One key that a type does not know keeps all of it away.
        t.policy("c", r#"{"pattern": "", "definition": {"max-length": 1, "delivery-limit": 3}}"#);
        assert_eq!(t.effective(ObjectKind::Queue, "quorum"), r#"c - {"delivery-limit":3,"max-length":1}"#);
        assert_eq!(t.effective(ObjectKind::Queue, "classic"), "- - {}");
    }

    s08_exclusive_and_server_named_queues_match_too(t) {
        t.policy("short", r#"{"pattern": "^amq.gen|^mine", "definition": {"max-length": 1}}"#);
        let a = t.peer();
        let named = a.queue_unnamed(declare(""));
        a.fill(&named, &["1", "2"]).counts(&named, 1, 0);
        a.queue(exclusive("mine")).fill("mine", &["1", "2"]).counts("mine", 1, 0);
    }

    s08_unused_time_counts_from_the_policy(t) {
        let a = t.peer();
        a.queue(declare("q")).queue(declare_with("long", &[("x-max-length", int(9))]));
        let policy = r#"{"pattern": "", "definition": {"expires": 1000}}"#;
        t.policy("p", policy);
        t.advance(900);
        t.done(clear(Scope::User, "p"));
        // Nobody has asked for this time, and it is not held against the queues.
        t.advance(5000);
        t.policy("p", policy);
        t.advance(900);
        a.fill("q", &["x"]).fill("long", &["x"]);
        t.done(clear(Scope::User, "p"));
        t.advance(5000);
        a.counts("q", 1, 0).counts("long", 1, 0);
        t.policy("p", policy);
        t.advance(1100);
        a.no_queue("q");
    }

    s08_dead_letters_by_policy_and_the_argument_goes_before(t) {
        let a = t.peer();
        a.queue(declare("dead")).queue(declare("other"));
        a.queue(declare_with("q", &[("x-dead-letter-routing-key", s("other")), ("x-dead-letter-exchange", s(""))]));
        a.queue(declare("p"));
        t.policy("dlx", concat!(
            r#"{"pattern": "^[pq]$", "definition": "#,
            r#"{"dead-letter-exchange": "", "dead-letter-routing-key": "dead", "message-ttl": 100}}"#
        ));
        a.fill("q", &["by argument"]).fill("p", &["by policy"]);
        t.advance(200);
        a.holds("other", &["by argument"]).holds("dead", &["by policy"]);
    }

    s08_publishes_are_refused_by_policy_on_every_shard_at_once(t) {
        let peers: Vec<_> = (0..4).map(|_| t.peer()).collect();
        peers[0].queue(declare("q")).queue(declare("q2"));
        for peer in &peers {
            // The route is remembered before the policy comes.
            peer.confirm_select().publish(to("", "q"));
            peer.confirmed(&[1]);
        }
        t.policy("full", r#"{"pattern": "^q$", "definition": {"max-length": 4, "overflow": "reject-publish"}}"#);
        for peer in &peers {
            peer.publish(to("", "q"));
            peer.expect(BasicNack { delivery_tag: 2, multiple: false, requeue: true });
        }
        peers[1].counts("q", 4, 0);
        t.done(clear(Scope::User, "full"));
        for peer in &peers {
            peer.publish(to("", "q"));
            peer.confirmed(&[3]);
        }
        peers[2].counts("q", 8, 0);
    }

    s08_alternate_exchanges_by_policy(t) {
        let (a, b) = (t.peer(), t.peer());
        a.exchange("x", "direct").exchange("ae", "fanout").queue(declare("lost")).bind("lost", "ae", "");
        a.send(exchange_with("y", "direct", &[("alternate-exchange", s("amq.fanout"))])).expect(ExchangeDeclareOk {});
        let lost = |peer: &crate::peer::Peer, exchange: &str, ready: u32| {
            peer.publish(to(exchange, "nowhere"));
            peer.counts("lost", ready, 0);
        };
        lost(&a, "x", 0);
        t.policy("ae", concat!(
            r#"{"pattern": "^(x|y|new|amq.topic)$", "definition": {"alternate-exchange": "ae"}, "#,
            r#""apply-to": "exchanges"}"#
        ));
        lost(&a, "x", 1);
        lost(&b, "x", 2);
        lost(&b, "amq.topic", 3);
        lost(&b, "y", 3);
        b.exchange("new", "topic");
        lost(&b, "new", 4);
        // Remembered routes through the alternate exchange follow its bindings.
        a.send(unbind("lost", "ae", "")).expect(QueueUnbindOk {});
        lost(&b, "x", 4);
        a.bind("lost", "ae", "");
        lost(&b, "x", 5);
        t.done(clear(Scope::User, "ae"));
        lost(&a, "x", 5);
        lost(&b, "x", 5);
        b.send(exchange_delete("x")).expect(ExchangeDeleteOk {});
    }

    s08_policies_do_not_count_when_a_queue_is_declared_again(t) {
        let a = t.peer();
        a.queue(declare("q"));
        t.policy("ttl", TTL);
        a.queue(declare("q"));
        a.send(declare_with("q", &[("x-message-ttl", int(1000))]));
        a.closed(
            406,
            "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received the value '1000' of type \
             'signedint' but current is none",
            QueueDeclare::ID,
        );
    }

    s08_what_is_no_policy_is_refused_and_changes_nothing(t) {
        t.policy("ttl", TTL);
        for (document, text) in [
            ("{", "Could not parse JSON document: EOF while parsing an object at line 1 column 1"),
            ("7", "Validation failed\n\nttl not a list 7\n"),
            (r#"{"pattern": "q"}"#, "Validation failed\n\nKey \"definition\" not found in ttl\n"),
            (r#"{"pattern": "q", "definition": {}}"#, "Validation failed\n\nno policy provided\n"),
            (
                r#"{"pattern": "q", "definition": {"max-length": -1}}"#,
                "Validation failed\n\n-1 is not a valid maximum length\n",
            ),
            (
                r#"{"pattern": "q", "definition": {"colour": "red"}}"#,
                "Validation failed\n\n[{<<\"colour\">>,<<\"red\">>}] are not recognised policy settings\n",
            ),
        ] {
            t.bad(set(Scope::User, "ttl", document), text);
        }
        t.bad(
            set(Scope::Operator, "o", r#"{"pattern": "q", "definition": {"alternate-exchange": "x"}}"#),
            "Validation failed\n\n[{<<\"alternate-exchange\">>,<<\"x\">>}] are not recognised policy settings\n",
        );
        t.bad(set(Scope::User, "", TTL), "the name is empty");
        t.bad(set(Scope::User, &"n".repeat(256), TTL), "the name has 256 bytes: at most 255 are possible");
        let rows = t.policies(Scope::User);
        assert_eq!((rows.len(), &*rows[0].definition), (1, r#"{"message-ttl":1000}"#));
        assert!(t.policies(Scope::Operator).is_empty());
    }

    s08_policies_are_of_one_vhost_and_go_with_it(t) {
        t.policy("ttl", TTL);
        t.done(delete_vhost("/"));
        assert!(t.policies(Scope::User).is_empty());
        t.missing(set(Scope::User, "ttl", TTL), "vhost '/' does not exist");
    }

    s08_policies_survive_with_the_store(t) {
        let a = t.peer();
        a.queue(durable("q")).quit();
        t.policy("gone", TTL);
        t.policy("ttl", r#"{"pattern": "^z", "definition": {"message-ttl": 1}}"#);
        t.policy("ttl", r#"{"pattern": "^q", "definition": {"max-length": 2}, "priority": 7, "apply-to": "queues"}"#);
        t.operator_policy("o", r#"{"pattern": "", "definition": {"expires": 100000}}"#);
        t.done(clear(Scope::User, "gone"));
        let Some(t) = t.restart() else { return };
        let rows = t.policies(Scope::User);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(
            (&*row.vhost, &*row.name, &*row.pattern, &*row.apply_to, row.priority, &*row.definition),
            ("/", "ttl", "^q", "queues", 7, r#"{"max-length":2}"#)
        );
        assert_eq!(t.effective(ObjectKind::Queue, "q"), r#"ttl o {"expires":100000,"max-length":2}"#);
        let a = t.peer();
        a.fill("q", &["1", "2", "3"]).counts("q", 2, 0);
        t.done(clear(Scope::User, "ttl"));
        a.fill("q", &["4"]).counts("q", 3, 0);
        let Some(t) = t.restart() else { return };
        assert!(t.policies(Scope::User).is_empty());
        assert_eq!(t.policies(Scope::Operator).len(), 1);
    }
}
