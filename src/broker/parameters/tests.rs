use super::*;

fn meaning(component: &str, name: &str, value: &str) -> Result<Meaning, String> {
    understand(component, "/", name, &decode(value)?)
}

#[test]
fn limits_are_numbers() {
    let vhost = |connections_max, queues_max| Ok(Meaning::VhostLimits(VhostLimits { connections_max, queues_max }));
    let user = |connections_max, channels_max| Ok(Meaning::UserLimits(UserLimits { connections_max, channels_max }));
    let failed = |text: &str| Err(format!("Validation failed\n\n{text}\n"));
    for (component, name, value, expected) in [
        (VHOST_LIMITS, LIMITS, r#"{"max-connections": 3, "max-queues": 0}"#, vhost(Some(3), Some(0))),
        (VHOST_LIMITS, LIMITS, r#"{"max-connections": -1}"#, vhost(None, None)),
        (VHOST_LIMITS, LIMITS, "{}", vhost(None, None)),
        (VHOST_LIMITS, LIMITS, r#"{"max-queues": 99999999999}"#, vhost(None, None)),
        (VHOST_LIMITS, "other", "{}", failed("vhost-limits are named limits, not other")),
        (VHOST_LIMITS, LIMITS, "[]", failed("limits not a list []")),
        (
            VHOST_LIMITS,
            LIMITS,
            r#"{"max-queues": "x", "max-channels": 1, "max-connections": 1.5}"#,
            failed(
                "Unrecognised terms [{<<\"max-channels\">>,1}] in limits\n\
                 max-queues should be a number, actually was <<\"x\">>\n\
                 max-connections should be a number, actually was 1.5",
            ),
        ),
        (USER_LIMITS, "guest", r#"{"max-connections": 1, "max-channels": 2}"#, user(Some(1), Some(2))),
        (
            USER_LIMITS,
            "guest",
            r#"{"max-queues": 1}"#,
            failed("Unrecognised terms [{<<\"max-queues\">>,1}] in user-limits"),
        ),
        ("shovel", "s", "{}", Ok(Meaning::Kept)),
        (GLOBAL, "g", "7", Ok(Meaning::Kept)),
        ("nonsense", "n", "7", failed("component nonsense not found")),
        ("policy", "p", "7", failed("p not a list 7")),
    ] {
        let found = format!("{:?}", meaning(component, name, value));
        assert_eq!(found, format!("{expected:?}"), "{component} {value}");
    }
    let found = meaning("operator_policy", "p", r#"{"pattern": "", "definition": {"expires": 1}}"#);
    assert!(matches!(found, Ok(Meaning::Policy(Scope::Operator, policy)) if *policy.name == *"p"));
    let text = decode("{x").unwrap_err();
    assert!(text.starts_with("Could not parse JSON document: "), "{text}");
}
