//! Users and what they may do.

use std::sync::Arc;

use super::request::{NewPassword, PermissionRow, TopicPermissionRow, UserRow};
use super::{AdminError, AdminReply, Outcome, bad, short, tags};
use crate::broker::access::{self, Algorithm, Credential, PERMISSIONS, TOPIC_PERMISSIONS, USERS, User};
use crate::broker::parameters::{Parameter, USER_LIMITS};
use crate::broker::topology::{Change, Topology, VhostId};
use crate::shard::Shard;

fn no_user(name: &str) -> AdminError {
    AdminError::NotFound(format!("user '{name}' does not exist"))
}

/// What users may do, by this component, with the virtual hosts' names: of one virtual host and of one user only, if
/// they are named.
fn chosen<'a>(
    topology: &'a Topology,
    component: &'static str,
    vhost: Option<VhostId>,
    user: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a Parameter)> {
    topology.parameters().values().filter_map(move |parameter| {
        let own = parameter.key.vhost.filter(|own| topology.is_open(*own))?;
        let is_chosen = *parameter.key.component == *component
            && vhost.is_none_or(|vhost| vhost == own)
            && user.is_none_or(|user| *parameter.key.name == *user);
        is_chosen.then(|| (topology.vhost_name(own), &**parameter))
    })
}

impl Shard {
    pub(super) fn user_meant(&self, name: &str) -> Result<&Arc<User>, AdminError> {
        self.topology.user(name).ok_or_else(|| no_user(name))
    }

    /// Makes a user, or changes what is said here of one that there is.
    pub(super) fn put_user(
        &mut self,
        name: &str,
        password: Option<NewPassword>,
        given: Option<Vec<String>>,
    ) -> Result<(), AdminError> {
        short("the user name", name)?;
        let credential = match password {
            None => None,
            Some(NewPassword::Nothing) => Some(None),
            Some(NewPassword::Hash { hash, algorithm }) => {
                let Some(known) = Algorithm::named(&algorithm) else {
                    return bad(format!("the hashing algorithm '{algorithm}' is not known"));
                };
                Some(Some(Credential::parse(known, &hash).map_err(AdminError::BadRequest)?))
            }
        };
        let known = self.topology.user(name).map(|user| (**user).clone());
        let mut user = known.unwrap_or_else(|| User { name: name.into(), credential: None, tags: vec![] });
        user.credential = credential.unwrap_or(user.credential);
        if let Some(given) = given {
            user.tags = tags(given)?;
        }
        self.put_parameter(USERS, None, name, user.value())
    }

    /// Deletes a user with all that was said of it. Its connections are closed.
    pub(super) fn delete_user(&mut self, name: &str) -> Result<(), AdminError> {
        self.user_meant(name)?;
        let of_user = |component: &str| [PERMISSIONS, TOPIC_PERMISSIONS, USER_LIMITS, USERS].contains(&component);
        let mut keys: Vec<_> = self.topology.parameters().keys().cloned().collect();
        keys.retain(|key| *key.name == *name && of_user(&key.component));
        // The user goes last: a start in between finds one who may do less, and not another one who may do more.
        keys.sort_by_key(|key| *key.component == *USERS);
        keys.into_iter().for_each(|key| {
            self.append(Change::ParameterCleared(key));
        });
        Ok(())
    }

    pub(super) fn list_users(&self) -> Outcome {
        let row = |user: &Arc<User>| {
            let credential = user.credential.as_ref();
            UserRow {
                name: user.name.to_string(),
                password_hash: credential.map(|credential| credential.text().to_owned()).unwrap_or_default(),
                hashing_algorithm: credential.map_or(Algorithm::Sha256, Credential::algorithm).name().to_owned(),
                tags: user.tags.iter().map(|tag| tag.to_string()).collect(),
            }
        };
        Ok(Some(AdminReply::Users(self.topology.users().values().map(row).collect())))
    }

    pub(super) fn set_permissions(
        &mut self,
        vhost: &str,
        user: &str,
        [configure, write, read]: [&str; 3],
    ) -> Result<(), AdminError> {
        let vhost = self.vhost_meant(vhost)?;
        self.user_meant(user)?;
        self.put_parameter(PERMISSIONS, Some(vhost), user, access::permission_value(configure, write, read))
    }

    pub(super) fn clear_permissions(&mut self, vhost: &str, user: &str) -> Result<(), AdminError> {
        let vhost = self.vhost_meant(vhost)?;
        self.user_meant(user)?;
        self.clear_parameter(PERMISSIONS, Some(vhost), user)
    }

    pub(super) fn list_permissions(&self, vhost: Option<&str>, user: Option<&str>) -> Outcome {
        let vhost = vhost.map(|name| self.vhost_meant(name)).transpose()?;
        user.map(|user| self.user_meant(user)).transpose()?;
        let rows = chosen(&self.topology, PERMISSIONS, vhost, user).map(|(vhost, parameter)| {
            let text = |key| access::text_of(&parameter.value, key);
            PermissionRow {
                vhost: vhost.to_owned(),
                user: parameter.key.name.to_string(),
                configure: text("configure"),
                write: text("write"),
                read: text("read"),
            }
        });
        Ok(Some(AdminReply::Permissions(rows.collect())))
    }

    pub(super) fn set_topic_permissions(
        &mut self,
        vhost: &str,
        user: &str,
        exchange: &str,
        [write, read]: [&str; 2],
    ) -> Result<(), AdminError> {
        let vhost = self.vhost_meant(vhost)?;
        self.user_meant(user)?;
        short("the exchange", exchange)?;
        let mut rows = self.topic_rows(vhost, user);
        rows.retain(|row| row.0 != exchange);
        rows.push((exchange.to_owned(), write.to_owned(), read.to_owned()));
        self.put_parameter(TOPIC_PERMISSIONS, Some(vhost), user, access::topics_value(&rows))
    }

    /// For one exchange, or all of them. There need not have been any.
    pub(super) fn clear_topic_permissions(
        &mut self,
        vhost: &str,
        user: &str,
        exchange: Option<&str>,
    ) -> Result<(), AdminError> {
        let vhost = self.vhost_meant(vhost)?;
        self.user_meant(user)?;
        let mut rows = self.topic_rows(vhost, user);
        let before = rows.len();
        rows.retain(|row| exchange.is_some_and(|exchange| row.0 != exchange));
        match rows.len() {
            after if after == before => Ok(()),
            0 => self.clear_parameter(TOPIC_PERMISSIONS, Some(vhost), user),
            _ => self.put_parameter(TOPIC_PERMISSIONS, Some(vhost), user, access::topics_value(&rows)),
        }
    }

    /// Exchange, pattern to write, pattern to read.
    fn topic_rows(&self, vhost: VhostId, user: &str) -> Vec<(String, String, String)> {
        let mut own = chosen(&self.topology, TOPIC_PERMISSIONS, Some(vhost), Some(user));
        own.next().map(|(_, parameter)| access::topic_rows(&parameter.value)).unwrap_or_default()
    }

    pub(super) fn list_topic_permissions(&self, vhost: Option<&str>, user: Option<&str>) -> Outcome {
        let vhost = vhost.map(|name| self.vhost_meant(name)).transpose()?;
        user.map(|user| self.user_meant(user)).transpose()?;
        let rows = chosen(&self.topology, TOPIC_PERMISSIONS, vhost, user).flat_map(|(vhost, parameter)| {
            let row = |(exchange, write, read)| TopicPermissionRow {
                vhost: vhost.to_owned(),
                user: parameter.key.name.to_string(),
                exchange,
                write,
                read,
            };
            access::topic_rows(&parameter.value).into_iter().map(row).collect::<Vec<_>>()
        });
        Ok(Some(AdminReply::TopicPermissions(rows.collect())))
    }
}
