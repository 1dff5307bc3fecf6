//! What can be asked of a broker beside AMQP, and what it answers.

use std::fmt;

pub use crate::broker::parameters::VhostLimits;
pub use crate::broker::policy::Scope;

/// A request. Changes hold for all that is done after their answer came.
///
/// Values are JSON as RabbitMQ's HTTP API and command-line tools take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// Sets a policy, in place of any other of its name.
    SetPolicy {
        /// Whose it is.
        scope: Scope,
        /// The virtual host.
        vhost: String,
        /// Its name.
        name: String,
        /// `{"pattern": "^q", "definition": {"message-ttl": 1000}, "priority": 0, "apply-to": "queues"}`; the last two
        /// may be left out.
        document: String,
    },
    /// Removes a policy.
    ClearPolicy {
        /// Whose it is.
        scope: Scope,
        /// The virtual host.
        vhost: String,
        /// Its name.
        name: String,
    },
    /// Lists policies: [`AdminReply::Policies`].
    Policies {
        /// Whose they are.
        scope: Scope,
        /// The virtual host; all of them if none is named.
        vhost: Option<String>,
    },
    /// Which policies apply to a queue or an exchange: [`AdminReply::Effective`].
    EffectivePolicy {
        /// The virtual host.
        vhost: String,
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// Makes a virtual host. If there is one of this name, changes what is said here of it and leaves the rest.
    AddVhost {
        /// Its name.
        name: String,
        /// For people.
        description: Option<String>,
        /// For people and tools.
        tags: Option<Vec<String>>,
        /// `classic` or `quorum`: what queues are that do not say so.
        default_queue_type: Option<String>,
    },
    /// Deletes a virtual host with all that is in it; its connections are closed. The answer comes when all is gone.
    DeleteVhost {
        /// Its name.
        name: String,
    },
    /// Has what happens in a virtual host copied to its exchange `amq.rabbitmq.trace` from now on (`trace_on`), or not
    /// any more (`trace_off`). A restart ends it.
    Trace {
        /// The virtual host.
        vhost: String,
        /// Whether it is to be.
        on: bool,
    },
    /// Lists the virtual hosts, by name: [`AdminReply::Vhosts`].
    Vhosts,
    /// Sets the limits of a virtual host, in place of all others.
    SetVhostLimits {
        /// The virtual host.
        vhost: String,
        /// `{"max-connections": 100, "max-queues": -1}`; negative: no limit.
        limits: String,
    },
    /// Removes the limits of a virtual host.
    ClearVhostLimits {
        /// The virtual host.
        vhost: String,
    },
    /// Sets the limits of a user, in place of all others.
    SetUserLimits {
        /// The user.
        user: String,
        /// `{"max-connections": 100, "max-channels": -1}`; negative: no limit.
        limits: String,
    },
    /// Removes the limits of a user.
    ClearUserLimits {
        /// The user.
        user: String,
    },
    /// Makes a user, or changes what is said here of one that there is.
    PutUser {
        /// The name.
        name: String,
        /// What becomes of the password; nothing if it is not said. A new user has none then.
        password: Option<NewPassword>,
        /// `administrator`, `monitoring`, `policymaker`, `management`, `impersonator`, and any others.
        tags: Option<Vec<String>>,
    },
    /// Deletes a user with all permissions and limits; its connections are closed.
    DeleteUser {
        /// The name.
        name: String,
    },
    /// Lists the users, by name: [`AdminReply::Users`].
    Users,
    /// Lets a user into a virtual host, to do this with queues and exchanges whose names match.
    SetPermissions {
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
        /// What may be declared and deleted: found anywhere in a name; empty: nothing.
        configure: String,
        /// What may be written to.
        write: String,
        /// What may be read from.
        read: String,
    },
    /// Shuts a user out of a virtual host.
    ClearPermissions {
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
    },
    /// Lists permissions, of one virtual host and user if they are named: [`AdminReply::Permissions`].
    Permissions {
        /// The virtual host.
        vhost: Option<String>,
        /// The user.
        user: Option<String>,
    },
    /// Restricts a user to routing keys of a topic exchange. `{username}` and `{vhost}` stand for those.
    SetTopicPermissions {
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
        /// The exchange.
        exchange: String,
        /// Keys that may be published by.
        write: String,
        /// Keys that may be bound by.
        read: String,
    },
    /// Lifts such restrictions, of one exchange or all.
    ClearTopicPermissions {
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
        /// The exchange; all of them if none is named.
        exchange: Option<String>,
    },
    /// Lists such restrictions, of one virtual host and user if they are named: [`AdminReply::TopicPermissions`].
    TopicPermissions {
        /// The virtual host.
        vhost: Option<String>,
        /// The user.
        user: Option<String>,
    },
    /// Lists the limits of users, as parameters by the users' names: [`AdminReply::Parameters`].
    UserLimits,
    /// Sets a runtime parameter of a component that is known, but for policies.
    SetParameter {
        /// The component.
        component: String,
        /// The virtual host.
        vhost: String,
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Removes a runtime parameter.
    ClearParameter {
        /// The component.
        component: String,
        /// The virtual host.
        vhost: String,
        /// Its name.
        name: String,
    },
    /// Lists runtime parameters: [`AdminReply::Parameters`].
    Parameters {
        /// The component; all but policies if none is named.
        component: Option<String>,
        /// The virtual host; all of them if none is named.
        vhost: Option<String>,
    },
    /// Sets a global parameter.
    SetGlobalParameter {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Removes a global parameter.
    ClearGlobalParameter {
        /// Its name.
        name: String,
    },
    /// Lists the global parameters: [`AdminReply::Parameters`].
    GlobalParameters,
}

/// What becomes of a user's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPassword {
    /// None: the user cannot log in by one.
    Nothing,
    /// Another.
    Hash {
        /// As [`crate::access::Credential::text`] has it.
        hash: String,
        /// As [`crate::access::Algorithm::name`] has it.
        algorithm: String,
    },
}

/// What a policy may apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
}

impl ObjectKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ObjectKind::Queue => "queue",
            ObjectKind::Exchange => "exchange",
        }
    }
}

/// The answer to a request.
pub type AdminAnswer = Result<AdminReply, AdminError>;

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminReply {
    /// It is done, and durable where there is a store.
    Done,
    /// Policies, in the order in which they apply.
    Policies(Vec<PolicyRow>),
    /// What applies to a queue or an exchange.
    Effective(EffectivePolicy),
    /// Virtual hosts.
    Vhosts(Vec<VhostRow>),
    /// Parameters.
    Parameters(Vec<ParameterRow>),
    /// Users.
    Users(Vec<UserRow>),
    /// Permissions.
    Permissions(Vec<PermissionRow>),
    /// Restrictions on topics.
    TopicPermissions(Vec<TopicPermissionRow>),
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Its virtual host.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Matches anywhere in a name.
    pub pattern: String,
    /// `all`, `exchanges`, `queues`, `classic_queues`, `quorum_queues` or `streams`.
    pub apply_to: String,
    /// The highest one applies.
    pub priority: i64,
    /// JSON.
    pub definition: String,
}

/// What applies to a queue or an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// The name of the policy.
    pub policy: Option<String>,
    /// The name of the operator policy.
    pub operator_policy: Option<String>,
    /// What both say together, as JSON.
    pub definition: String,
}

/// A virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostRow {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// For people and tools.
    pub tags: Vec<String>,
    /// What queues are that do not say so.
    pub default_queue_type: Option<String>,
    /// Its limits.
    pub limits: VhostLimits,
    /// What happens in it is copied to its trace exchange.
    pub tracing: bool,
    /// Queues in it.
    pub queues: usize,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The name.
    pub name: String,
    /// The hash of the password; empty if there is none.
    pub password_hash: String,
    /// How it was hashed.
    pub hashing_algorithm: String,
    /// The tags.
    pub tags: Vec<String>,
}

/// What a user may do in a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRow {
    /// The virtual host.
    pub vhost: String,
    /// The user.
    pub user: String,
    /// What may be declared and deleted.
    pub configure: String,
    /// What may be written to.
    pub write: String,
    /// What may be read from.
    pub read: String,
}

/// By which keys of a topic exchange a user may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPermissionRow {
    /// The virtual host.
    pub vhost: String,
    /// The user.
    pub user: String,
    /// The exchange.
    pub exchange: String,
    /// To publish.
    pub write: String,
    /// To bind.
    pub read: String,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterRow {
    /// Its component.
    pub component: String,
    /// Its virtual host; none for global ones and those of users.
    pub vhost: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value, as JSON.
    pub value: String,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminError {
    /// It makes no sense; in RabbitMQ's words, where it has some.
    BadRequest(String),
    /// What it is about does not exist.
    NotFound(String),
    /// A limit is reached.
    Limit(String),
    /// The broker stops.
    Unavailable(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::BadRequest(text)
            | AdminError::NotFound(text)
            | AdminError::Limit(text)
            | AdminError::Unavailable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for AdminError {}
