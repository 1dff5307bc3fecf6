//! Policies: what queues and exchanges go by without having been declared so (reference section 8.3).
//!
//! A policy is a runtime parameter, written in JSON. Of all policies of a vhost that match an object, the one with the
//! highest priority applies; of several with the same, the first by name. The same holds for operator policies, and
//! both are merged. Patterns are those of the `regex` crate: they match anywhere in a name, and know no look-around and
//! no back-references, which RabbitMQ's have.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde_json::{Map as JsonMap, Value as Json};

use super::queue_arguments::QueueType;
use super::rules::{Asked, Overflow, RetryType};
use keys::Key;

pub mod json;
mod keys;

/// A compiled pattern takes no more memory, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// No duration is longer: RabbitMQ's ten years, in milliseconds.
const DURATION_MS_MAX: u64 = 315_360_000_000;

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Anybody's who may set policies.
    User,
    /// The operator's: only limits, which no other policy exceeds.
    Operator,
}

impl Scope {
    /// The component of the runtime parameter.
    pub fn component(self) -> &'static str {
        match self {
            Scope::User => "policy",
            Scope::Operator => "operator_policy",
        }
    }

    /// That of a component.
    pub fn of_component(component: &str) -> Option<Scope> {
        [Scope::User, Scope::Operator].into_iter().find(|scope| scope.component() == component)
    }
}

/// What a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyTo {
    /// Queues and exchanges.
    All,
    /// Exchanges.
    Exchanges,
    /// Queues of all types.
    Queues,
    /// Queues of this type.
    Type(QueueType),
}

const APPLY_TO: [(&str, ApplyTo); 6] = [
    ("all", ApplyTo::All),
    ("exchanges", ApplyTo::Exchanges),
    ("queues", ApplyTo::Queues),
    ("classic_queues", ApplyTo::Type(QueueType::Classic)),
    ("quorum_queues", ApplyTo::Type(QueueType::Quorum)),
    ("streams", ApplyTo::Type(QueueType::Stream)),
];

impl ApplyTo {
    /// By its name.
    pub fn named(name: &str) -> Option<ApplyTo> {
        APPLY_TO.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        APPLY_TO.iter().find(|row| row.1 == self).map_or("all", |row| row.0)
    }
}

/// An object that policies may apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A queue of this type.
    Queue(QueueType),
    /// An exchange.
    Exchange,
}

/// A policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Matches anywhere in the names of what it applies to.
    pattern: Regex,
    /// What it applies to.
    pub apply_to: ApplyTo,
    /// The highest one applies.
    pub priority: i64,
    /// What it says.
    pub definition: JsonMap<String, Json>,
    /// What it says of queues.
    pub asked: Asked,
    /// Where messages go that match nothing of an exchange.
    pub alternate: Option<Arc<str>>,
    /// The types of queue that its keys allow, by bit.
    on: u8,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.name == other.name
            && self.pattern() == other.pattern()
            && self.apply_to == other.apply_to
            && self.priority == other.priority
            && self.definition == other.definition
    }
}

impl Eq for Policy {}

impl Policy {
    /// The policy that a runtime parameter's value describes.
    ///
    /// # Errors
    /// RabbitMQ's texts for what is wrong with it, one or more.
    pub fn parse(scope: Scope, name: &str, value: &Json) -> Result<Policy, Vec<String>> {
        let Some(terms) = value.as_object() else {
            return Err(vec![format!("{name} not a list {}", json::term(value))]);
        };
        // In RabbitMQ's order: what is unknown, then what was looked at last.
        let mut faults = vec![];
        let mut rest = terms.iter().filter(|(key, _)| !TERMS.contains(&key.as_str())).peekable();
        if rest.peek().is_some() {
            faults.push(format!("Unrecognised terms {} in {name}", json::pairs(rest)));
        }
        let missing = |key: &str| format!("Key \"{key}\" not found in {name}");
        let definition = match terms.get("definition") {
            Some(definition) => parse_definition(scope, name, definition),
            None => Err(missing("definition")),
        };
        let apply_to = terms.get("apply-to").map_or(Ok(ApplyTo::All), parse_apply_to);
        let pattern = terms.get("pattern").map_or_else(|| Err(missing("pattern")), parse_pattern);
        let priority = terms.get("priority").map_or(Ok(0), parse_priority);
        faults.extend(definition.as_ref().err().cloned());
        faults.extend(apply_to.as_ref().err().cloned());
        faults.extend(pattern.as_ref().err().cloned());
        faults.extend(priority.as_ref().err().cloned());
        match (definition, apply_to, pattern, priority) {
            (Ok((definition, on)), Ok(apply_to), Ok(pattern), Ok(priority)) if faults.is_empty() => {
                let (asked, alternate) = (asked(&definition), text(&definition, "alternate-exchange"));
                Ok(Policy { name: name.into(), pattern, apply_to, priority, definition, asked, alternate, on })
            }
            _ => Err(faults),
        }
    }

    /// Its pattern.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Whether it applies to an object, should no other go before it.
    pub fn matches(&self, object: Object, name: &str) -> bool {
        let applies = match (object, self.apply_to) {
            (Object::Exchange, apply_to) => matches!(apply_to, ApplyTo::All | ApplyTo::Exchanges),
            (Object::Queue(_), ApplyTo::Exchanges) => false,
            (Object::Queue(kind), ApplyTo::Type(only)) if kind != only => false,
            (Object::Queue(kind), _) => self.on & kind.bit() != 0,
        };
        applies && self.pattern.is_match(name)
    }

    fn limits_length(&self) -> bool {
        self.asked.length_max.is_some() || self.asked.length_bytes_max.is_some()
    }
}

const TERMS: [&str; 4] = ["pattern", "definition", "priority", "apply-to"];

fn parse_priority(value: &Json) -> Result<i64, String> {
    // A fraction is a number, too, and counts as its whole part.
    let number = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
    number.ok_or_else(|| format!("priority should be a number, actually was {}", json::term(value)))
}

fn parse_apply_to(value: &Json) -> Result<ApplyTo, String> {
    value.as_str().and_then(ApplyTo::named).ok_or_else(|| {
        let given = value.as_str().map_or_else(|| json::term(value), str::to_owned);
        format!(
            "apply-to '{given}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
             'streams', 'exchanges', or 'all'"
        )
    })
}

fn parse_pattern(value: &Json) -> Result<Regex, String> {
    let Some(text) = value.as_str() else {
        return Err(format!("pattern should be a binary but was {}", json::term(value)));
    };
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let error = match error {
            // Behind the pattern and a mark at the place it says what is wrong.
            regex::Error::Syntax(text) => text.rsplit("error: ").next().unwrap_or_default().trim().to_owned(),
            other => other.to_string(),
        };
        format!("pattern should be regular expression but is invalid: {}", json::term(&Json::String(error)))
    })
}

/// A definition, and the types of queue that its keys allow.
fn parse_definition(scope: Scope, name: &str, value: &Json) -> Result<(JsonMap<String, Json>, u8), String> {
    let Some(terms) = value.as_object() else {
        return Err(match value.as_array() {
            Some(list) if list.is_empty() => "no policy provided".into(),
            Some(_) => format!("definition must be a dictionary: {}", json::term(value)),
            None => format!(
                "parse error while reading policy {name}: {}. Validator: {}_validator.",
                json::term(value),
                scope.component()
            ),
        });
    };
    if terms.is_empty() {
        return Err("no policy provided".into());
    }
    let mut on = u8::MAX;
    let known = |key: &str| Key::named(key, scope == Scope::Operator);
    for (key, value) in terms {
        if let Some(key) = known(key) {
            key.check(value)?;
            on &= key.on();
        }
    }
    let mut unknown = terms.iter().filter(|(key, _)| known(key).is_none()).peekable();
    if unknown.peek().is_some() {
        return Err(format!("{} are not recognised policy settings", json::pairs(unknown)));
    }
    Ok((terms.clone(), on))
}

fn text(definition: &JsonMap<String, Json>, key: &str) -> Option<Arc<str>> {
    definition.get(key)?.as_str().map(Arc::from)
}

/// What a definition says of queues.
fn asked(definition: &JsonMap<String, Json>) -> Asked {
    let count = |key| definition.get(key).and_then(Json::as_u64);
    let ms = |key| count(key).map(|ms| ms.min(DURATION_MS_MAX));
    let name = |key| definition.get(key).and_then(Json::as_str).map(str::as_bytes);
    // `disabled` leaves the argument's type without its times, and so without an effect.
    let retries = name("delayed-retry-type") != Some(b"disabled");
    Asked {
        message_ttl_ms: ms("message-ttl"),
        expires_ms: ms("expires"),
        length_max: count("max-length"),
        length_bytes_max: count("max-length-bytes"),
        overflow: name("overflow").and_then(Overflow::named),
        dead_letter_exchange: text(definition, "dead-letter-exchange"),
        dead_letter_routing_key: text(definition, "dead-letter-routing-key"),
        delivery_limit: definition
            .get("delivery-limit")
            .and_then(|limit| limit.as_i64().or_else(|| limit.as_u64().map(|_| i64::MAX))),
        consumer_timeout_ms: ms("consumer-timeout"),
        retry_type: name("delayed-retry-type").and_then(RetryType::named),
        retry_min_ms: ms("delayed-retry-min").filter(|_| retries),
        retry_max_ms: ms("delayed-retry-max"),
        retry_multiplier: None,
    }
}

/// The policies of a vhost.
#[derive(Debug, Default)]
pub struct Policies {
    user: Vec<Arc<Policy>>,
    operator: Vec<Arc<Policy>>,
    overflow: bool,
    alternate: bool,
    length: bool,
}

impl Policies {
    /// Those of one scope, in the order in which they apply.
    pub fn of(&self, scope: Scope) -> &[Arc<Policy>] {
        match scope {
            Scope::User => &self.user,
            Scope::Operator => &self.operator,
        }
    }

    /// Puts one in, in place of any other of its name.
    pub fn set(&mut self, scope: Scope, policy: Arc<Policy>) {
        self.clear(scope, &policy.name);
        let place = |other: &Arc<Policy>| (std::cmp::Reverse(other.priority), other.name.clone());
        let list = self.list(scope);
        let at = list.partition_point(|other| place(other) < place(&policy));
        list.insert(at, policy);
        self.summarize();
    }

    /// Takes one out.
    pub fn clear(&mut self, scope: Scope, name: &str) {
        self.list(scope).retain(|other| *other.name != *name);
        self.summarize();
    }

    fn list(&mut self, scope: Scope) -> &mut Vec<Arc<Policy>> {
        match scope {
            Scope::User => &mut self.user,
            Scope::Operator => &mut self.operator,
        }
    }

    fn summarize(&mut self) {
        let all = || self.user.iter().chain(&self.operator);
        let overflow = all().any(|policy| policy.asked.overflow.is_some());
        let length = all().any(|policy| policy.limits_length());
        let alternate = all().any(|policy| policy.alternate.is_some());
        (self.overflow, self.length, self.alternate) = (overflow, length, alternate);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.operator.is_empty()
    }

    /// Whether one says what a full queue does.
    pub fn say_overflow(&self) -> bool {
        self.overflow
    }

    /// Whether one says when a queue is full.
    pub fn say_length(&self) -> bool {
        self.length
    }

    /// Whether one says where messages go that match nothing.
    pub fn say_alternate(&self) -> bool {
        self.alternate
    }

    /// The policy of a scope that applies to an object.
    pub fn applying(&self, scope: Scope, object: Object, name: &str) -> Option<&Policy> {
        self.of(scope).iter().map(|policy| &**policy).find(|policy| policy.matches(object, name))
    }

    /// What the two policies that apply to a queue ask for together; `None` when none does.
    pub fn asked(&self, kind: QueueType, name: &str) -> Option<Asked> {
        if self.is_empty() {
            return None;
        }
        let find = |scope| self.applying(scope, Object::Queue(kind), name);
        match (find(Scope::User), find(Scope::Operator)) {
            (Some(policy), Some(operator)) => Some(policy.asked.under(&operator.asked)),
            (policy, operator) => policy.or(operator).map(|policy| policy.asked.clone()),
        }
    }

    /// The alternate exchange of the policy that applies to an exchange. Operators cannot set one.
    pub fn alternate(&self, name: &str) -> Option<&Arc<str>> {
        if !self.alternate {
            return None;
        }
        self.applying(Scope::User, Object::Exchange, name)?.alternate.as_ref()
    }

    /// The definition that both policies that apply to an object make together, as JSON.
    pub fn effective(&self, object: Object, name: &str) -> JsonMap<String, Json> {
        let find = |scope| self.applying(scope, object, name).map(|policy| policy.definition.clone());
        let mut merged = find(Scope::User).unwrap_or_default();
        for (key, operator) in find(Scope::Operator).unwrap_or_default() {
            let both = match merged.get(&key) {
                Some(policy) => stricter(&key, policy, &operator),
                None => operator,
            };
            merged.insert(key, both);
        }
        merged
    }
}

/// What holds of a key that a policy and an operator policy have.
fn stricter(key: &str, policy: &Json, operator: &Json) -> Json {
    let (Some(a), Some(b)) = (policy.as_i64(), operator.as_i64()) else { return operator.clone() };
    let unlimited = key == "delivery-limit" && (a < 0 || b < 0);
    match key {
        "queue-version" => operator.clone(),
        "target-group-size" => a.max(b).into(),
        _ if unlimited => a.max(b).into(),
        _ => a.min(b).into(),
    }
}

#[cfg(test)]
mod tests;
