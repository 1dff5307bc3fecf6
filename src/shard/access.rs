//! Who may do what, where it is asked: log-ins, the door of a virtual host, and each command on a name
//! (rabbitmq-semantics.md sections 2.4, 2.6 and 16).
//!
//! A user who may write everything, as most may, is not looked at again when something is published. Whatever is
//! changed holds from the next command on, for connections that are open as well.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::alarm::Hold;
use super::definitions;
use super::mesh::Caller;
use super::names::Names;
use super::{ConnectionId, Shard};
use crate::amqp::method::{BasicPublish, ConnectionOpen};
use crate::amqp::{Content, Exception, MethodId, Properties, ReplyCode};
use crate::broker::access::password::Proven;
use crate::broker::access::{self, Algorithm, Credential, PERMISSIONS, USERS, User, Verb};
use crate::broker::exchange::ExchangeKind;
use crate::broker::parameters::{self, CLUSTER_ID, Parameter, ParameterKey};
use crate::broker::routing::sender_selected;
use crate::broker::topology::{Change, Topology, VhostId, VhostSpec};
use crate::config::Settings;

/// Exchanges that a connection was found to be allowed to write to and that are remembered.
const REMEMBERED_MAX: usize = 12;
/// Log-ins that wait for dear passwords; more are refused.
const CHECKS_MAX: usize = 1024;

/// A password whose check is too dear for an event loop.
#[derive(Debug)]
pub struct PasswordCheck {
    /// Whose log-in waits for it.
    pub connection: ConnectionId,
    /// What is kept of the user's password.
    pub credential: Credential,
    /// What the client has sent.
    pub password: Box<[u8]>,
    /// It counts whatever comes out: there is no such user.
    is_decoy: bool,
}

impl PasswordCheck {
    /// Whether it is right; takes its time.
    pub fn run(&self) -> bool {
        self.credential.verify(&self.password) && !self.is_decoy
    }
}

/// Dear passwords: those to be checked, and those that were right.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    checks: VecDeque<PasswordCheck>,
    /// Log-ins that wait for an answer.
    waiting: usize,
    proven: Proven,
}

impl Passwords {
    pub(super) fn new(secret: [u64; 4]) -> Passwords {
        Passwords { proven: Proven::new(secret), ..Passwords::default() }
    }
}

/// Whether a password is a user's.
pub(super) enum Verdict {
    /// It is.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// That is known when a check comes back.
    Later,
}

/// What a broker is to begin with that has never run, by what its store has: the users of the configuration, who may do
/// everything in its virtual hosts.
pub(super) fn first_changes(
    settings: &Settings,
    vhosts: &[Arc<VhostSpec>],
    restored: &[Change],
    names: &mut Names,
    last_id: u64,
) -> Vec<Change> {
    let mark = Topology::global_key(CLUSTER_ID);
    if restored.iter().any(|change| matches!(change, Change::ParameterSet(parameter) if parameter.key == mark)) {
        return vec![];
    }
    let mut wanted = vec![];
    for user in &settings.users {
        let [a, b, ..] = names.numbers();
        let mut salt = [0; 16];
        salt.iter_mut().zip([a, b].map(u64::to_le_bytes).as_flattened()).for_each(|(to, from)| *to = *from);
        let credential = Some(Credential::new(Algorithm::Sha256, user.password.as_bytes(), salt));
        let name: Arc<str> = user.name.as_str().into();
        let tags = user.tags.iter().map(|tag| Arc::from(tag.as_str())).collect();
        wanted.push((USERS, None, name.clone(), User { name: name.clone(), credential, tags }.value()));
        let of_configuration =
            (0..).zip(vhosts).filter(|(_, vhost)| settings.vhosts.iter().any(|own| **own == *vhost.name));
        for (id, _) in of_configuration {
            let all = access::permission_value(".*", ".*", ".*");
            wanted.push((PERMISSIONS, Some(id), name.clone(), all));
        }
    }
    wanted.push((parameters::GLOBAL, None, CLUSTER_ID.into(), names.generate("rabbitmq-cluster-id-").into()));
    let change = |(id, (component, vhost, name, value)): (u64, (&str, Option<VhostId>, Arc<str>, _))| {
        let vhost_name = vhost.and_then(|id| vhosts.get(usize::from(id))).map_or("", |vhost| &vhost.name);
        let meaning = parameters::understand(component, vhost_name, &name, &value).ok()?;
        let key = ParameterKey { component: component.into(), vhost, name };
        Some(Change::ParameterSet(Arc::new(Parameter { id, key, value, meaning })))
    };
    (last_id + 1..).zip(wanted).filter_map(change).collect()
}

impl Shard {
    /// Shard 0: has the journal have what a broker begins with.
    pub(super) fn write_first(&mut self, changes: &[Change]) {
        if self.ledger.on && !changes.is_empty() {
            for change in changes {
                definitions::write(&self.topology, change, self.ledger.records());
            }
            self.ledger.want();
        }
    }

    // ---- log-in

    /// Whether a password is a user's. It takes as long for a user that there is not.
    pub(super) fn judge(&mut self, id: ConnectionId, name: &[u8], password: &[u8]) -> Verdict {
        let user = std::str::from_utf8(name).ok().and_then(|name| self.topology.user(name)).cloned();
        let credential = user.and_then(|user| user.credential.clone());
        let is_decoy = credential.is_none();
        let credential = credential.unwrap_or_else(|| {
            let dear = |user: &Arc<User>| user.credential.as_ref().is_some_and(|own| own.algorithm().is_dear());
            let dearest = self.topology.users().values().find(|user| dear(user));
            let decoy = || Credential::new(Algorithm::Sha256, b"decoy", [0; 16]);
            dearest.and_then(|user| user.credential.clone()).unwrap_or_else(decoy)
        });
        if !credential.algorithm().is_dear() {
            let is_right = credential.verify(password) && !is_decoy;
            return if is_right { Verdict::Right } else { Verdict::Wrong };
        }
        if !is_decoy && self.passwords.proven.knows(&credential, password) {
            return Verdict::Right;
        }
        if self.passwords.waiting >= CHECKS_MAX {
            return Verdict::Wrong;
        }
        self.passwords.waiting += 1;
        self.passwords.checks.push_back(PasswordCheck {
            connection: id,
            credential,
            password: password.into(),
            is_decoy,
        });
        Verdict::Later
    }

    /// The next password to be checked elsewhere; [`Shard::checked`] is to be told what came out.
    pub fn next_check(&mut self) -> Option<PasswordCheck> {
        self.passwords.checks.pop_front()
    }

    /// A password was checked.
    pub fn checked(&mut self, check: &PasswordCheck, is_right: bool) {
        self.passwords.waiting = self.passwords.waiting.saturating_sub(1);
        if is_right {
            self.passwords.proven.remember(&check.credential, &check.password);
        }
        let id = check.connection;
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(login) = member.proving.take() else { return };
        member.hold = Hold::None;
        self.members.resume(id);
        self.proved(id, &login, is_right);
    }

    // ---- permissions

    /// The connection comes into a virtual host, if its user may.
    ///
    /// # Errors
    /// 530 when not.
    pub(super) fn enter(&mut self, id: ConnectionId, vhost: VhostId) -> Result<(), Exception> {
        let Some(member) = self.members.get(id) else { return Ok(()) };
        let user = member.login.user.clone();
        let access = self.topology.access(vhost, &user).filter(|access| access.permission.is_some()).cloned();
        if access.is_none() {
            let name = self.topology.vhost_name(vhost);
            let text = format!("access to vhost '{name}' refused for user '{user}'");
            return Err(Exception::new(ReplyCode::NotAllowed, ConnectionOpen::ID, text));
        }
        if let Some(member) = self.members.get_mut(id) {
            member.vhost = vhost;
            member.restricted = !access.as_ref().is_some_and(|access| access.writes_all());
            member.access = access;
        }
        Ok(())
    }

    /// A user may do more or less than before, or is gone.
    pub(super) fn user_changed(&mut self, name: &str) {
        let user = self.topology.user(name).cloned();
        for id in self.members.ids() {
            let Some(member) = self.members.get_mut(id).filter(|member| *member.login.user == *name) else { continue };
            let Some(user) = &user else {
                let text = format!("user '{name}' is deleted");
                self.close_connection(id, Exception::new(ReplyCode::ConnectionForced, MethodId::NONE, text));
                continue;
            };
            member.login.impersonator = user.has_tag("impersonator");
            if member.access.is_some() {
                let access = self.topology.access(member.vhost, name).cloned().unwrap_or_default();
                member.restricted = !access.writes_all();
                member.access = Some(access);
                member.may_write.clear();
            }
        }
    }

    fn refusal(&self, id: ConnectionId, what: std::fmt::Arguments<'_>, method: MethodId) -> Exception {
        let (vhost, user) = match self.members.get(id) {
            Some(member) => (self.topology.vhost_name(member.vhost), &*member.login.user),
            None => ("", ""),
        };
        let text = format!("{what} in vhost '{vhost}' refused for user '{user}'");
        Exception::new(ReplyCode::AccessRefused, method, text)
    }

    fn allows(&self, id: ConnectionId, verb: Verb, name: &str) -> bool {
        let access = self.members.get(id).and_then(|member| member.access.as_deref());
        access.is_some_and(|access| access.allows(verb, name))
    }

    /// Refuses a command on a queue that the user may not do.
    pub(super) fn check_queue(
        &self,
        caller: Caller,
        verb: Verb,
        name: &str,
        method: MethodId,
    ) -> Result<(), Exception> {
        if self.allows(caller.connection, verb, name) {
            return Ok(());
        }
        let what = format_args!("{} access to queue '{name}'", verb.name());
        Err(self.refusal(caller.connection, what, method))
    }

    /// Refuses a command on an exchange that the user may not do.
    pub(super) fn check_exchange(
        &self,
        caller: Caller,
        verb: Verb,
        name: &str,
        method: MethodId,
    ) -> Result<(), Exception> {
        self.check_exchange_of(caller.connection, verb, name, method)
    }

    fn check_exchange_of(&self, id: ConnectionId, verb: Verb, name: &str, method: MethodId) -> Result<(), Exception> {
        let name = if name.is_empty() { "amq.default" } else { name };
        if self.allows(id, verb, name) {
            return Ok(());
        }
        Err(self.refusal(id, format_args!("{} access to exchange '{name}'", verb.name()), method))
    }

    /// Refuses what looks at something that the user may do nothing with.
    pub(super) fn check_any(&self, caller: Caller, what: &str, name: &str, method: MethodId) -> Result<(), Exception> {
        let verbs = [Verb::Configure, Verb::Write, Verb::Read];
        if verbs.into_iter().any(|verb| self.allows(caller.connection, verb, name)) {
            return Ok(());
        }
        Err(self.refusal(caller.connection, format_args!("configure access to {what} '{name}'"), method))
    }

    /// Refuses a key of a topic exchange that the user may not write or read.
    pub(super) fn check_topic(
        &self,
        id: ConnectionId,
        verb: Verb,
        exchange: &str,
        key: &str,
        method: MethodId,
    ) -> Result<(), Exception> {
        let Some(member) = self.members.get(id) else { return Ok(()) };
        let Some(access) = member.access.as_deref().filter(|access| access.topics.is_some()) else { return Ok(()) };
        let found = self.topology.find_exchange(member.vhost, exchange);
        if found.is_none_or(|found| found.spec.kind != ExchangeKind::Topic) || access.allows_topic(verb, exchange, key)
        {
            return Ok(());
        }
        let (vhost, user) = (self.topology.vhost_name(member.vhost), &member.login.user);
        let text = format!(
            "{} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user}'",
            verb.name()
        );
        Err(Exception::new(ReplyCode::AccessRefused, method, text))
    }

    /// Refuses a publish of a user who may not write everything.
    #[cold]
    pub(super) fn check_publish(&mut self, id: ConnectionId, content: &Content<'_>) -> Result<(), Exception> {
        if !content.names_are_utf8() {
            return Err(Exception::new(ReplyCode::FrameError, MethodId::NONE, "Malformed UTF-8 in shortstr"));
        }
        let exchange = content.exchange();
        let Some(member) = self.members.get(id) else { return Ok(()) };
        if !member.may_write.iter().any(|known| **known == *exchange) {
            self.check_exchange_of(id, Verb::Write, exchange, BasicPublish::ID)?;
            if let Some(member) = self.members.get_mut(id) {
                if member.may_write.len() >= REMEMBERED_MAX {
                    member.may_write.remove(0);
                }
                member.may_write.push(exchange.into());
            }
        }
        if self.members.get(id).and_then(|member| member.access.as_deref()).is_none_or(|access| access.topics.is_none())
        {
            return Ok(());
        }
        let properties = Properties::decode(content.properties).unwrap_or_default();
        let mut keys = SmallVec::<[&str; 4]>::from_slice(&[content.routing_key()]);
        // What is wrong with them is said where they are used.
        let _ = sender_selected(properties.headers, &mut keys);
        keys.into_iter().try_for_each(|key| self.check_topic(id, Verb::Write, exchange, key, BasicPublish::ID))
    }
}
