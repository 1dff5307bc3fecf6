//! Users, permissions, limits and definitions of a first start: plain data, and the keys that fill it. Nothing honours
//! it yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::draft::short;
use super::value;

/// A user of the configuration (`default_users.NAME`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultUser {
    /// The password in the clear.
    pub password: Option<String>,
    /// Tags such as `administrator`.
    pub tags: Vec<String>,
    /// A pattern of the names of the virtual hosts that the user may use.
    pub vhost_pattern: Option<String>,
    /// What the user may do there.
    pub permissions: Permissions,
}

/// Patterns of names, each of what may be done; `None`: nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Declared and deleted.
    pub configure: Option<String>,
    /// Published to and bound.
    pub write: Option<String>,
    /// Consumed from, and bound from.
    pub read: Option<String>,
}

/// How passwords are kept (`password_hashing_module`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PasswordHashing {
    /// `rabbit_password_hashing_sha256`
    #[default]
    Sha256,
    /// `rabbit_password_hashing_sha512`
    Sha512,
    /// `rabbit_password_hashing_md5`
    Md5,
}

/// What a new password must be (`credential_validator`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialValidator {
    /// `rabbit_credential_validator_accept_everything` and others, by RabbitMQ's name.
    pub backend: Option<String>,
    /// Characters that it has at least.
    pub min_length: Option<u64>,
    /// A pattern that it matches.
    pub regexp: Option<String>,
}

/// Limits of the virtual hosts that a pattern matches (`default_limits.vhosts.ID`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostLimits {
    /// Which virtual hosts.
    pub pattern: Option<String>,
    /// Connections; `None`: no limit.
    pub max_connections: Option<u64>,
    /// Queues; `None`: no limit.
    pub max_queues: Option<u64>,
}

/// Everything that is made at a first start, and rules for what is made later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsersConfig {
    /// Further users, by name.
    pub users: BTreeMap<String, DefaultUser>,
    /// What the default user may do.
    pub permissions: Permissions,
    /// How passwords are kept.
    pub hashing: PasswordHashing,
    /// What passwords must be.
    pub validator: CredentialValidator,
    /// Limits of virtual hosts, by the names that the configuration gives them.
    pub limits: BTreeMap<String, VhostLimits>,
    /// Operator policies, by name: RabbitMQ's names of their parts, with values as they stand.
    pub operator_policies: BTreeMap<String, BTreeMap<String, String>>,
    /// A file or a directory of definitions that are taken at each start.
    pub definitions: Option<PathBuf>,
    /// Whether definitions that have not changed are left out.
    pub skip_if_unchanged: bool,
}

impl UsersConfig {
    fn user(&mut self, name: &str) -> &mut DefaultUser {
        self.users.entry(name.into()).or_default()
    }

    fn limit(&mut self, name: &str) -> &mut VhostLimits {
        self.limits.entry(name.into()).or_default()
    }
}

/// A key: its name, what is expected, what it does with what stands in the place of its `*`.
pub type UsersKey = (&'static str, &'static str, fn(&mut UsersConfig, name: &str, value: &str) -> Option<()>);

const SHORT: &str = "1 to 255 bytes";
const PATTERN: &str = "a pattern";
const NUMBER: &str = "a number, or infinity";
const HASHING: &str = "rabbit_password_hashing_sha256, rabbit_password_hashing_sha512 or rabbit_password_hashing_md5";
const TAGS: &str = "tags with commas between them";

/// The keys.
pub const KEYS: &[UsersKey] = &[
    ("default_users.*.password", SHORT, |all, name, value| put(&mut all.user(name).password, short(value)?)),
    ("default_users.*.tags", TAGS, |all, name, value| {
        let tags = value.split([',', ' ']).filter(|tag| !tag.is_empty());
        all.user(name).tags = tags.map(short).collect::<Option<_>>()?;
        Some(())
    }),
    ("default_users.*.vhost_pattern", PATTERN, |all, name, value| put(&mut all.user(name).vhost_pattern, value.into())),
    ("default_users.*.configure", PATTERN, |all, name, value| {
        put(&mut all.user(name).permissions.configure, value.into())
    }),
    ("default_users.*.write", PATTERN, |all, name, value| put(&mut all.user(name).permissions.write, value.into())),
    ("default_users.*.read", PATTERN, |all, name, value| put(&mut all.user(name).permissions.read, value.into())),
    ("default_permissions.configure", PATTERN, |all, _, value| put(&mut all.permissions.configure, value.into())),
    ("default_permissions.write", PATTERN, |all, _, value| put(&mut all.permissions.write, value.into())),
    ("default_permissions.read", PATTERN, |all, _, value| put(&mut all.permissions.read, value.into())),
    ("password_hashing_module", HASHING, |all, _, value| {
        all.hashing = match value {
            "rabbit_password_hashing_sha256" => PasswordHashing::Sha256,
            "rabbit_password_hashing_sha512" => PasswordHashing::Sha512,
            "rabbit_password_hashing_md5" => PasswordHashing::Md5,
            _ => return None,
        };
        Some(())
    }),
    ("credential_validator.validation_backend", SHORT, |all, _, value| put(&mut all.validator.backend, short(value)?)),
    ("credential_validator.min_length", "a number", |all, _, value| {
        put(&mut all.validator.min_length, value::integer(value, 0, u64::MAX)?)
    }),
    ("credential_validator.regexp", PATTERN, |all, _, value| put(&mut all.validator.regexp, value.into())),
    ("default_limits.vhosts.*.pattern", PATTERN, |all, name, value| put(&mut all.limit(name).pattern, value.into())),
    ("default_limits.vhosts.*.max_connections", NUMBER, |all, name, value| {
        all.limit(name).max_connections = most(value)?;
        Some(())
    }),
    ("default_limits.vhosts.*.max_queues", NUMBER, |all, name, value| {
        all.limit(name).max_queues = most(value)?;
        Some(())
    }),
    ("load_definitions", "a file", definitions),
    ("definitions.local.path", "a file or a directory", definitions),
    ("management.load_definitions", "a file", definitions),
    ("definitions.skip_if_unchanged", "true or false", |all, _, value| {
        all.skip_if_unchanged = value::boolean(value)?;
        Some(())
    }),
];

/// Takes one part of an operator policy, whatever it is called.
pub fn operator_policy(all: &mut UsersConfig, name: &str, part: &str, value: &str) {
    all.operator_policies.entry(name.into()).or_default().insert(part.into(), value.into());
}

fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    *place = Some(value);
    Some(())
}

fn most(value: &str) -> Option<Option<u64>> {
    if ["infinity", "-1"].contains(&value) { Some(None) } else { value::integer(value, 0, u64::MAX).map(Some) }
}

fn definitions(all: &mut UsersConfig, _: &str, value: &str) -> Option<()> {
    all.definitions = Some(value.into());
    (!value.is_empty()).then_some(())
}
