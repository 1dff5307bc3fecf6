use super::*;

fn parse(scope: Scope, value: &str) -> Result<Policy, Vec<String>> {
    Policy::parse(scope, "p", &serde_json::from_str(value).unwrap())
}

fn policy(name: &str, priority: i64, pattern: &str, apply_to: &str, definition: &str) -> Arc<Policy> {
    let text = format!(
        r#"{{"pattern": "{pattern}", "priority": {priority}, "apply-to": "{apply_to}", "definition": {definition}}}"#
    );
    Arc::new(Policy::parse(Scope::User, name, &serde_json::from_str(&text).unwrap()).unwrap())
}

/// The text of what is wrong, or nothing.
fn fault(scope: Scope, value: &str) -> String {
    parse(scope, value).err().unwrap_or_default().join("|")
}

#[test]
fn what_is_no_policy_is_refused_in_rabbitmqs_words() {
    for (value, expected) in [
        (r#"{"pattern": "x", "definition": {"expires": 1}}"#, ""),
        (r#"{"pattern": "x", "definition": {"expires": 1}, "priority": 1.5, "apply-to": "streams"}"#, ""),
        ("7", "p not a list 7"),
        ("{}", "Key \"definition\" not found in p|Key \"pattern\" not found in p"),
        (r#"{"pattern": 1, "definition": {"expires": 1}}"#, "pattern should be a binary but was 1"),
        (
            r#"{"pattern": "(", "definition": {"expires": 1}}"#,
            "pattern should be regular expression but is invalid: <<\"unclosed group\">>",
        ),
        (
            r#"{"pattern": "a(?=b)", "definition": {"expires": 1}}"#,
            "pattern should be regular expression but is invalid: \
             <<\"look-around, including look-ahead and look-behind, is not supported\">>",
        ),
        (
            r#"{"pattern": "x", "priority": "high", "definition": {"expires": 1}}"#,
            "priority should be a number, actually was <<\"high\">>",
        ),
        (
            r#"{"pattern": "x", "apply-to": "topics", "definition": {"expires": 1}}"#,
            "apply-to 'topics' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
             'streams', 'exchanges', or 'all'",
        ),
        (
            r#"{"pattern": "x", "definition": {"expires": 1}, "vhost": "/"}"#,
            "Unrecognised terms [{<<\"vhost\">>,<<\"/\">>}] in p",
        ),
        (
            r#"{"pattern": "(", "definition": {}, "priority": null}"#,
            "no policy provided|pattern should be regular expression but is invalid: <<\"unclosed group\">>|\
             priority should be a number, actually was null",
        ),
        (r#"{"pattern": "x", "definition": []}"#, "no policy provided"),
        (r#"{"pattern": "x", "definition": [1]}"#, "definition must be a dictionary: [1]"),
        (
            r#"{"pattern": "x", "definition": "expires"}"#,
            "parse error while reading policy p: <<\"expires\">>. Validator: policy_validator.",
        ),
        (
            r#"{"pattern": "x", "definition": {"expires": 1, "b": 2, "a": "x"}}"#,
            "[{<<\"a\">>,<<\"x\">>},{<<\"b\">>,2}] are not recognised policy settings",
        ),
    ] {
        assert_eq!(fault(Scope::User, value), expected, "{value}");
    }
}

#[test]
fn each_key_checks_its_value() {
    for (key, good, bad, what) in [
        ("alternate-exchange", "\"x\"", "1", "alternate exchange name"),
        ("dead-letter-exchange", "\"\"", "1", "dead letter exchange name"),
        ("dead-letter-routing-key", "\"k\"", "[]", "dead letter routing key"),
        ("dead-letter-strategy", "\"at-least-once\"", "\"never\"", "dead letter strategy"),
        ("message-ttl", "0", "-1", "message TTL"),
        ("expires", "1", "0", "queue expiry"),
        ("max-length", "0", "1.0", "maximum length"),
        ("max-length-bytes", "0", "\"1\"", "maximum length in bytes"),
        ("max-in-memory-length", "0", "-1", "maximum memory in bytes"),
        ("max-in-memory-bytes", "0", "-1", "maximum memory in bytes"),
        ("overflow", "\"reject-publish-dlx\"", "\"drop\"", "overflow value"),
        ("delivery-limit", "-1", "\"x\"", "delivery limit"),
        ("target-group-size", "3", "-1", "target count"),
        ("consumer-timeout", "1000", "-1", "consumer timeout"),
        ("consumer-disconnected-timeout", "1000", "-1", "consumer disconnected timeout"),
        ("delayed-retry-type", "\"failed\"", "\"some\"", "delayed retry type"),
        ("delayed-retry-min", "1", "-1", "delayed retry minimum"),
        ("delayed-retry-max", "1", "true", "delayed retry maximum"),
        ("queue-leader-locator", "\"balanced\"", "\"here\"", "queue leader locator value"),
        ("max-age", "\"7D\"", "\"D\"", "max age"),
        ("stream-max-segment-size-bytes", "500", "-1", "segment size"),
        ("stream-filter-size-bytes", "16", "15", "filter size"),
        ("initial-cluster-size", "3", "-1", "cluster size"),
        ("queue-mode", "\"lazy\"", "\"fast\"", "queue-mode value"),
        ("queue-version", "2", "3", "queue-version value"),
        ("ha-mode", "\"all\"", "", ""),
        ("ha-sync-batch-size", "0", "", ""),
    ] {
        let text = |value: &str| format!(r#"{{"pattern": "", "definition": {{"{key}": {value}}}}}"#);
        assert_eq!(fault(Scope::User, &text(good)), "", "{key}");
        if !bad.is_empty() {
            let shown = json::term(&serde_json::from_str(bad).unwrap());
            assert_eq!(fault(Scope::User, &text(bad)), format!("{shown} is not a valid {what}"));
        }
        let limits = ["expires", "message-ttl", "overflow", "delivery-limit", "target-group-size", "queue-version"];
        if limits.contains(&key) || key.starts_with("max-") && key != "max-age" {
            assert_eq!(fault(Scope::Operator, &text(good)), "", "{key}");
        } else {
            let pair = json::pairs([(&key.to_owned(), &serde_json::from_str(good).unwrap())].into_iter());
            assert_eq!(fault(Scope::Operator, &text(good)), format!("{pair} are not recognised policy settings"));
        }
    }
}

#[test]
fn a_policy_matches_by_pattern_kind_and_keys() {
    use Object::{Exchange, Queue};
    use QueueType::{Classic, Quorum};
    let ttl = r#"{"message-ttl": 1}"#;
    for (pattern, apply_to, definition, object, name, expected) in [
        ("b", "all", ttl, Queue(Classic), "abc", true),
        ("^b", "all", ttl, Queue(Classic), "abc", false),
        ("", "all", ttl, Exchange, "", true),
        ("^(a|b)$", "all", ttl, Exchange, "b", true),
        ("", "queues", ttl, Exchange, "x", false),
        ("", "exchanges", ttl, Queue(Classic), "x", false),
        ("", "exchanges", ttl, Exchange, "x", true),
        ("", "classic_queues", ttl, Queue(Classic), "x", true),
        ("", "classic_queues", ttl, Queue(Quorum), "x", false),
        ("", "quorum_queues", ttl, Queue(Quorum), "x", true),
        ("", "streams", ttl, Queue(Quorum), "x", false),
        // One key that a type does not know keeps all of the policy from it.
        ("", "all", r#"{"message-ttl": 1, "delivery-limit": 3}"#, Queue(Classic), "x", false),
        ("", "all", r#"{"message-ttl": 1, "delivery-limit": 3}"#, Queue(Quorum), "x", true),
        ("", "all", r#"{"message-ttl": 1, "max-age": "1D"}"#, Queue(Quorum), "x", false),
        ("", "all", r#"{"message-ttl": 1, "ha-mode": "all", "queue-mode": "lazy"}"#, Queue(Quorum), "x", true),
        ("", "all", r#"{"delivery-limit": 3}"#, Exchange, "x", true),
    ] {
        let matches = policy("p", 0, pattern, apply_to, definition).matches(object, name);
        assert_eq!(matches, expected, "{pattern} {apply_to} {definition} {object:?} {name}");
    }
}

#[test]
fn the_highest_priority_applies_and_both_scopes_are_merged() {
    let mut policies = Policies::default();
    assert!(policies.is_empty() && policies.asked(QueueType::Classic, "q").is_none());
    policies.set(Scope::User, policy("low", -1, "", "all", r#"{"message-ttl": 100, "max-length": 5}"#));
    policies.set(Scope::User, policy("b", 3, "^q", "queues", r#"{"message-ttl": 10, "overflow": "drop-head"}"#));
    policies.set(Scope::User, policy("a", 3, "^q9", "queues", r#"{"message-ttl": 7}"#));
    policies.set(Scope::User, policy("none", 9, "^x", "exchanges", r#"{"alternate-exchange": "ae"}"#));
    let names: Vec<_> = policies.of(Scope::User).iter().map(|policy| policy.name.to_string()).collect();
    assert_eq!(names, ["none", "a", "b", "low"]);
    let ttl = |policies: &Policies, name: &str| policies.asked(QueueType::Classic, name)?.message_ttl_ms;
    assert_eq!((ttl(&policies, "q1"), ttl(&policies, "q9"), ttl(&policies, "z")), (Some(10), Some(7), Some(100)));
    assert_eq!(policies.asked(QueueType::Classic, "q1").unwrap().length_max, None, "only one policy applies");
    assert_eq!(policies.alternate("x1").map(|name| &**name), Some("ae"));
    assert_eq!(policies.alternate("y1"), None);
    assert!(policies.say_overflow() && policies.say_alternate() && policies.say_length());

    let operator = r#"{"message-ttl": 8, "overflow": "reject-publish", "expires": 1000}"#;
    policies.set(Scope::Operator, policy("op", 0, "", "all", operator));
    assert_eq!((ttl(&policies, "q1"), ttl(&policies, "q9"), ttl(&policies, "z")), (Some(8), Some(7), Some(8)));
    let asked = policies.asked(QueueType::Classic, "q1").unwrap();
    assert_eq!((asked.overflow, asked.expires_ms), (Some(Overflow::RejectPublish), Some(1000)));
    let effective = policies.effective(Object::Queue(QueueType::Classic), "q1");
    assert_eq!(json::document(&effective), r#"{"expires":1000,"message-ttl":8,"overflow":"reject-publish"}"#);

    policies.set(Scope::User, policy("b", 0, "^nothing", "all", r#"{"expires": 1}"#));
    assert_eq!(ttl(&policies, "q1"), Some(8), "the other of its name is gone");
    policies.clear(Scope::Operator, "op");
    policies.clear(Scope::User, "none");
    assert_eq!(ttl(&policies, "q1"), Some(100));
    assert!(!policies.say_alternate() && !policies.say_overflow());
}

#[test]
fn negative_delivery_limits_are_the_highest() {
    let merged = |a: i64, b: i64| stricter("delivery-limit", &a.into(), &b.into()).as_i64().unwrap();
    assert_eq!((merged(-1, 5), merged(5, -1), merged(5, 6), merged(-1, -2)), (5, 5, 5, -1));
    assert_eq!(stricter("max-length", &3.into(), &2.into()), Json::from(2));
    assert_eq!(stricter("overflow", &"drop-head".into(), &"reject-publish".into()), Json::from("reject-publish"));
}
