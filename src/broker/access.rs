//! Who may do what: users, their permissions in virtual hosts, and those on the keys of topic exchanges
//! (rabbitmq-semantics.md section 16). All of them are kept as parameters of components of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde_json::{Value as Json, json};

pub use password::{Algorithm, Credential};

pub mod password;

/// The component of users, by their names.
pub const USERS: &str = "users";
/// The component of the users' permissions, by vhost and user.
pub const PERMISSIONS: &str = "permissions";
/// The component of the users' permissions on topic exchanges, by vhost and user.
pub const TOPIC_PERMISSIONS: &str = "topic-permissions";

/// The most memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: Arc<str>,
    /// What is kept of the password; a user without one cannot log in by it.
    pub credential: Option<Credential>,
    /// `administrator`, `monitoring`, `impersonator` and the like, and any others.
    pub tags: Vec<Arc<str>>,
}

impl User {
    /// One as its parameter has it.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(name: &str, value: &Json) -> Result<User, String> {
        let text = |key: &str| value.get(key).and_then(Json::as_str);
        let credential = match (text("password_hash").unwrap_or_default(), text("hashing_algorithm")) {
            ("", _) => None,
            (hash, algorithm) => {
                let algorithm = algorithm.unwrap_or(Algorithm::Sha256.name());
                let known = Algorithm::named(algorithm);
                let known = known.ok_or_else(|| format!("the hashing algorithm '{algorithm}' is not known"))?;
                Some(Credential::parse(known, hash)?)
            }
        };
        let tags = value.get("tags").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let tags = tags.iter().filter_map(Json::as_str).map(Arc::from).collect();
        Ok(User { name: name.into(), credential, tags })
    }

    /// As its parameter has it.
    pub fn value(&self) -> Json {
        let (hash, algorithm) = match &self.credential {
            Some(credential) => (credential.text(), credential.algorithm()),
            None => ("", Algorithm::Sha256),
        };
        let tags: Vec<&str> = self.tags.iter().map(|tag| &**tag).collect();
        json!({"password_hash": hash, "hashing_algorithm": algorithm.name(), "tags": tags})
    }

    /// Whether it has a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| **own == *tag)
    }
}

/// What a name must match. Patterns are not anchored, and an empty one matches the empty name only.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Any name.
    Everything,
    /// The empty name only.
    Empty,
    /// Names that the expression is found in.
    Found(Regex),
}

impl Pattern {
    /// Understands a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in the words of the regular expressions' library.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        Ok(match text {
            ".*" | "^.*" | ".*$" | "^.*$" => Pattern::Everything,
            "" | "^$" => Pattern::Empty,
            text => {
                let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
                Pattern::Found(built.map_err(|error| error.to_string())?)
            }
        })
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Everything => true,
            Pattern::Empty => name.is_empty(),
            Pattern::Found(regex) => regex.is_match(name),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// To make or delete something.
    Configure,
    /// To put messages into something.
    Write,
    /// To take messages out of something.
    Read,
}

impl Verb {
    /// What errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Configure => "configure",
            Verb::Write => "write",
            Verb::Read => "read",
        }
    }
}

/// A user's permissions in a virtual host.
#[derive(Debug, Clone)]
pub struct Permission {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

fn patterns<const N: usize>(
    keys: [&str; N],
    value: &Json,
    fill: impl Fn(&str) -> String,
) -> Result<[Pattern; N], String> {
    let mut found = [const { Pattern::Empty }; N];
    for (key, place) in keys.into_iter().zip(&mut found) {
        let text = value.get(key).and_then(Json::as_str).ok_or_else(|| format!("{key} is no pattern"))?;
        *place =
            Pattern::parse(&fill(text)).map_err(|error| format!("the pattern '{text}' makes no sense: {error}"))?;
    }
    Ok(found)
}

impl Permission {
    /// One as its parameter has it: `{"configure": ".*", "write": ".*", "read": ".*"}`.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(value: &Json) -> Result<Permission, String> {
        let [configure, write, read] = patterns(["configure", "write", "read"], value, str::to_owned)?;
        Ok(Permission { configure, write, read })
    }

    fn of(&self, verb: Verb) -> &Pattern {
        match verb {
            Verb::Configure => &self.configure,
            Verb::Write => &self.write,
            Verb::Read => &self.read,
        }
    }
}

/// Permissions as their parameter has them.
pub fn permission_value(configure: &str, write: &str, read: &str) -> Json {
    json!({"configure": configure, "write": write, "read": read})
}

/// A pattern of a parameter.
pub fn text_of(value: &Json, key: &str) -> String {
    value.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// Permissions on topics as their parameter has them: exchange, pattern to write, pattern to read.
pub fn topics_value(rows: &[(String, String, String)]) -> Json {
    let row =
        |(exchange, write, read): &(String, String, String)| (exchange.clone(), json!({"write": write, "read": read}));
    Json::Object(rows.iter().map(row).collect())
}

/// The rows of [`topics_value`].
pub fn topic_rows(value: &Json) -> Vec<(String, String, String)> {
    let rows = value.as_object().into_iter().flatten();
    rows.map(|(exchange, row)| (exchange.clone(), text_of(row, "write"), text_of(row, "read"))).collect()
}

/// A user's permissions on the keys of the topic exchanges of a virtual host, by exchange: to write, and to read.
pub type TopicPermissions = BTreeMap<Arc<str>, [Pattern; 2]>;

/// Permissions on topics as their parameter has them: `{"amq.topic": {"write": "^{username}", "read": ".*"}}`.
/// `{username}` and `{vhost}` stand for those.
///
/// # Errors
/// A text for people.
pub fn parse_topics(user: &str, vhost: &str, value: &Json) -> Result<TopicPermissions, String> {
    let rows = value.as_object().ok_or("topic permissions are no object")?;
    let fill = |text: &str| text.replace("{username}", &regex::escape(user)).replace("{vhost}", &regex::escape(vhost));
    let row =
        |(exchange, row): (&String, &Json)| Ok((Arc::from(exchange.as_str()), patterns(["write", "read"], row, fill)?));
    rows.iter().map(row).collect()
}

/// What a user may do in a virtual host.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// None: not even to enter it.
    pub permission: Option<Arc<Permission>>,
    /// On topic exchanges, which do not restrict who is not named here.
    pub topics: Option<Arc<TopicPermissions>>,
}

impl Access {
    /// Whether something may be done with the queue or exchange of this name.
    pub fn allows(&self, verb: Verb, name: &str) -> bool {
        self.permission.as_deref().is_some_and(|permission| permission.of(verb).matches(name))
    }

    /// Whether all may be written, whatever it is: then nobody need look.
    pub fn writes_all(&self) -> bool {
        let writes_all = |permission: &Permission| matches!(permission.write, Pattern::Everything);
        self.topics.is_none() && self.permission.as_deref().is_some_and(writes_all)
    }

    /// Whether messages of this key may be put into a topic exchange, or taken out of it.
    pub fn allows_topic(&self, verb: Verb, exchange: &str, key: &str) -> bool {
        let rows = self.topics.as_deref().and_then(|topics| topics.get(exchange));
        rows.is_none_or(|[write, read]| match verb {
            Verb::Write => write.matches(key),
            _ => read.matches(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_not_anchored() {
        for (pattern, name, expected) in [
            (".*", "anything", true),
            ("", "", true),
            ("", "q", false),
            ("^$", "q", false),
            ("^$", "", true),
            ("q", "my-queue", true),
            ("^q", "my-queue", false),
            ("^my-.*$", "my-queue", true),
            ("^(a|b)$", "ab", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
        assert!(Pattern::parse("(").is_err() && Pattern::parse("x{999999}{999999}").is_err());
    }

    #[test]
    fn a_user_survives_its_parameter() {
        let credential = Some(Credential::new(Algorithm::Sha512, b"p", [3; 16]));
        let user = User { name: "u".into(), credential, tags: vec!["management".into(), "x".into()] };
        assert_eq!(User::parse("u", &user.value()), Ok(user.clone()));
        assert!(user.has_tag("x") && !user.has_tag("y"));
        let without = User { credential: None, ..user };
        assert_eq!(User::parse("u", &without.value()), Ok(without));
        assert!(User::parse("u", &json!({"password_hash": "x"})).is_err());
        assert!(User::parse("u", &json!({"password_hash": "x", "hashing_algorithm": "rot13"})).is_err());
    }

    #[test]
    fn who_may_do_what() {
        let permission = Permission::parse(&json!({"configure": "^mine", "write": ".*", "read": ""})).unwrap();
        let topics = json!({"amq.topic": {"write": "^{username}\\.", "read": "^a"}});
        let mut access = Access { permission: Some(Arc::new(permission)), topics: None };
        assert!(access.writes_all());
        access.topics = Some(Arc::new(parse_topics("a.b", "/", &topics).unwrap()));
        assert!(!access.writes_all() && !Access::default().writes_all());
        assert!(access.allows(Verb::Configure, "mine1") && !access.allows(Verb::Configure, "yours"));
        assert!(access.allows(Verb::Write, "x") && !access.allows(Verb::Read, "x"));
        assert!(!Access::default().allows(Verb::Read, ""));
        for (exchange, verb, key, expected) in [
            ("amq.topic", Verb::Write, "a.b.c", true),
            ("amq.topic", Verb::Write, "aXb.c", false),
            ("amq.topic", Verb::Read, "a", true),
            ("amq.topic", Verb::Read, "b", false),
            ("other", Verb::Write, "b", true),
        ] {
            assert_eq!(access.allows_topic(verb, exchange, key), expected, "{exchange} {verb:?} {key}");
        }
        for bad in
            [json!({}), json!({"configure": "", "write": ""}), json!({"configure": "(", "write": "", "read": ""})]
        {
            assert!(Permission::parse(&bad).is_err());
        }
        assert!(parse_topics("u", "/", &json!([])).is_err());
    }
}
