//! Parameters, and what they make of virtual hosts and users.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Applied, Topology, VhostId};
use crate::broker::access::{Access, User};
use crate::broker::parameters::{GLOBAL, Meaning, Parameter, ParameterKey, UserLimits, VhostLimits};
use crate::broker::policy::Policies;

impl Topology {
    /// A parameter means this from now on, or not any more.
    pub(super) fn mean(&mut self, key: &ParameterKey, meaning: &Meaning, holds: bool) -> Applied {
        match meaning {
            Meaning::Policy(scope, policy) if holds => {
                return self.change_policies(key, |policies| policies.set(*scope, policy.clone()));
            }
            Meaning::Policy(scope, policy) => {
                return self.change_policies(key, |policies| policies.clear(*scope, &policy.name));
            }
            Meaning::VhostLimits(limits) => {
                if let Some(vhost) = key.vhost.and_then(|vhost| self.vhost_mut(vhost)) {
                    vhost.limits = if holds { *limits } else { VhostLimits::default() };
                }
            }
            Meaning::UserLimits(limits) if holds && *limits != UserLimits::default() => {
                self.limited_users.insert(key.name.clone(), *limits);
            }
            Meaning::UserLimits(_) => {
                self.limited_users.remove(&key.name);
            }
            Meaning::User(user) if holds => {
                self.users.insert(key.name.clone(), user.clone());
                return Applied::User(key.name.clone());
            }
            Meaning::User(_) => {
                self.users.remove(&key.name);
                return Applied::User(key.name.clone());
            }
            Meaning::Permission(permission) => {
                return self.change_access(key, |access| access.permission = holds.then(|| permission.clone()));
            }
            Meaning::Topics(topics) => {
                return self.change_access(key, |access| access.topics = holds.then(|| topics.clone()));
            }
            Meaning::Kept => {}
        }
        Applied::Other
    }

    fn change_access(&mut self, key: &ParameterKey, change: impl FnOnce(&mut Access)) -> Applied {
        let Some(vhost) = key.vhost.and_then(|vhost| self.vhost_mut(vhost)) else { return Applied::Other };
        let mut access = vhost.access.get(&key.name).map(|access| (**access).clone()).unwrap_or_default();
        change(&mut access);
        if access.permission.is_none() && access.topics.is_none() {
            vhost.access.remove(&key.name);
        } else {
            vhost.access.insert(key.name.clone(), Arc::new(access));
        }
        Applied::User(key.name.clone())
    }

    fn change_policies(&mut self, key: &ParameterKey, change: impl FnOnce(&mut Policies)) -> Applied {
        let Some(id) = key.vhost else { return Applied::Other };
        let Some(vhost) = self.vhost_mut(id) else { return Applied::Other };
        let says = |policies: &Policies| policies.say_overflow() || policies.say_length();
        let before = says(&vhost.policies);
        change(&mut vhost.policies);
        Applied::Policies { vhost: id, routes: before || says(&vhost.policies) }
    }

    /// A parameter.
    pub fn parameter(&self, key: &ParameterKey) -> Option<&Arc<Parameter>> {
        self.parameters.get(key)
    }

    /// All parameters, by component, vhost and name.
    pub fn parameters(&self) -> &BTreeMap<ParameterKey, Arc<Parameter>> {
        &self.parameters
    }

    /// The key of a global parameter.
    pub fn global_key(name: &str) -> ParameterKey {
        ParameterKey { component: GLOBAL.into(), vhost: None, name: name.into() }
    }

    /// The limits of a user.
    pub fn user_limits(&self, user: &str) -> UserLimits {
        // Nobody has any: nothing is looked up.
        if self.limited_users.is_empty() {
            return UserLimits::default();
        }
        self.limited_users.get(user).copied().unwrap_or_default()
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users, by name.
    pub fn users(&self) -> &BTreeMap<Arc<str>, Arc<User>> {
        &self.users
    }

    /// What a user may do in a virtual host; nothing of it is there for one without any permission.
    pub fn access(&self, vhost: VhostId, user: &str) -> Option<&Arc<Access>> {
        self.vhost(vhost)?.access.get(user)
    }
}
