//! Runtime parameters: JSON by component, vhost and name, or by name alone. Policies and limits are parameters, too
//! (RabbitMQ's `rabbit_runtime_parameters`, `rabbit_vhost_limit`).

use std::sync::Arc;

pub use serde_json::Value;
use serde_json::Value as Json;

use super::access::{self, PERMISSIONS, Permission, TOPIC_PERMISSIONS, TopicPermissions, USERS, User};
use super::policy::{Policy, Scope, json};
use super::topology::VhostId;

/// The component of a vhost's limits.
pub const VHOST_LIMITS: &str = "vhost-limits";
/// The name of the one parameter of this component.
pub const LIMITS: &str = "limits";
/// A component of our own: the limits of users, by their names.
pub const USER_LIMITS: &str = "user-limits";
/// A component of our own: global parameters.
pub const GLOBAL: &str = "global";

/// The name of the global parameter that a broker has from its first start on.
pub const CLUSTER_ID: &str = "internal_cluster_id";

/// Components of RabbitMQ whose parameters are kept and mean nothing here.
const KEPT: [&str; 4] = ["federation-upstream", "federation-upstream-set", "shovel", "mqtt"];

/// A parameter's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParameterKey {
    /// What it is about.
    pub component: Arc<str>,
    /// In which vhost, if it is in one.
    pub vhost: Option<VhostId>,
    /// Its name.
    pub name: Arc<str>,
}

/// A runtime parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Its number in the store: never that of a queue or exchange.
    pub id: u64,
    /// Which it is.
    pub key: ParameterKey,
    /// Its value.
    pub value: Json,
    /// What it means.
    pub meaning: Meaning,
}

/// What a parameter means to the broker.
#[derive(Debug, Clone)]
pub enum Meaning {
    /// A policy.
    Policy(Scope, Arc<Policy>),
    /// Limits of its vhost.
    VhostLimits(VhostLimits),
    /// Limits of the user it is named after.
    UserLimits(UserLimits),
    /// The user it is named after.
    User(Arc<User>),
    /// What the user it is named after may do in its vhost.
    Permission(Arc<Permission>),
    /// The same on keys of topic exchanges.
    Topics(Arc<TopicPermissions>),
    /// Nothing: it is kept for others.
    Kept,
}

/// Limits of a vhost; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VhostLimits {
    /// Connections.
    pub connections_max: Option<u32>,
    /// Queues.
    pub queues_max: Option<u32>,
}

/// Limits of a user over all vhosts; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserLimits {
    /// Connections.
    pub connections_max: Option<u32>,
    /// Channels of all connections.
    pub channels_max: Option<u32>,
}

/// The text of one or more faults.
fn failed(faults: Vec<String>) -> String {
    faults.into_iter().fold("Validation failed\n\n".to_owned(), |text, fault| text + &fault + "\n")
}

impl ParameterKey {
    /// Whether it is RabbitMQ's to list: users and what they may do are no parameters there.
    pub fn is_listed(&self) -> bool {
        ![USERS, PERMISSIONS, TOPIC_PERMISSIONS].contains(&&*self.component)
    }
}

impl PartialEq for Parameter {
    /// What a parameter means follows from the rest.
    fn eq(&self, other: &Parameter) -> bool {
        self.id == other.id && self.key == other.key && self.value == other.value
    }
}

impl Eq for Parameter {}

/// Finds out what a parameter means; `vhost` is the name of the one that it is in.
///
/// # Errors
/// RabbitMQ's text when its value is not as it must be, or nobody knows its component.
pub fn understand(component: &str, vhost: &str, name: &str, value: &Json) -> Result<Meaning, String> {
    if let Some(scope) = Scope::of_component(component) {
        return Policy::parse(scope, name, value).map(|p| Meaning::Policy(scope, Arc::new(p))).map_err(failed);
    }
    match component {
        VHOST_LIMITS if name != LIMITS => Err(failed(vec![format!("{VHOST_LIMITS} are named {LIMITS}, not {name}")])),
        VHOST_LIMITS => {
            let [connections_max, queues_max] = numbers(name, ["max-connections", "max-queues"], value)?;
            Ok(Meaning::VhostLimits(VhostLimits { connections_max, queues_max }))
        }
        USER_LIMITS => {
            let [connections_max, channels_max] = numbers("user-limits", ["max-connections", "max-channels"], value)?;
            Ok(Meaning::UserLimits(UserLimits { connections_max, channels_max }))
        }
        USERS => User::parse(name, value).map(|user| Meaning::User(Arc::new(user))),
        PERMISSIONS => Permission::parse(value).map(|permission| Meaning::Permission(Arc::new(permission))),
        TOPIC_PERMISSIONS => access::parse_topics(name, vhost, value).map(|topics| Meaning::Topics(Arc::new(topics))),
        GLOBAL => Ok(Meaning::Kept),
        _ if KEPT.contains(&component) => Ok(Meaning::Kept),
        _ => Err(failed(vec![format!("component {component} not found")])),
    }
}

/// Limits by their keys; a negative one is none.
fn numbers<const N: usize>(name: &str, keys: [&str; N], value: &Json) -> Result<[Option<u32>; N], String> {
    let Some(terms) = value.as_object() else {
        return Err(failed(vec![format!("{name} not a list {}", json::term(value))]));
    };
    let mut faults = vec![];
    let mut rest = terms.iter().filter(|(key, _)| !keys.contains(&key.as_str())).peekable();
    if rest.peek().is_some() {
        faults.push(format!("Unrecognised terms {} in {name}", json::pairs(rest)));
    }
    let mut found = [None; N];
    for (key, place) in keys.into_iter().zip(&mut found).rev() {
        match terms.get(key) {
            None => {}
            Some(number) if number.is_i64() || number.is_u64() => {
                // More than there can be is no limit either.
                *place = number.as_u64().and_then(|number| u32::try_from(number).ok());
            }
            Some(other) => faults.push(format!("{key} should be a number, actually was {}", json::term(other))),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(failed(faults)) }
}

/// The JSON in a text.
///
/// # Errors
/// RabbitMQ's text when it is none.
pub fn decode(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("Could not parse JSON document: {error}"))
}

#[cfg(test)]
mod tests;
