//! Administration: what is asked of a broker beside AMQP. Policies, virtual hosts, limits and runtime parameters are
//! shard 0's to decide; all shards learn of them by the topology log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ledger::Waiter;
use super::{Shard, sweeps};
use crate::broker::access::{PERMISSIONS, TOPIC_PERMISSIONS, USERS};
use crate::broker::event;
use crate::broker::parameters::{
    self, CLUSTER_ID, GLOBAL, LIMITS, Parameter, ParameterKey, USER_LIMITS, VHOST_LIMITS, decode,
};
use crate::broker::queue_arguments::QueueType;
use crate::broker::topology::{Change, Topology, VhostId, VhostSpec};
pub use request::{
    AdminAnswer, AdminError, AdminReply, AdminRequest, EffectivePolicy, NewPassword, ObjectKind, ParameterRow,
    PermissionRow, PolicyRow, Scope, TopicPermissionRow, UserRow, VhostLimits, VhostRow,
};

mod policies;
mod request;
mod users;

/// Names, tags and components are short strings in the store.
const NAME_BYTES_MAX: usize = 255;
/// Tags of a virtual host.
const TAGS_MAX: usize = 255;

/// Requests under way, and answers.
#[derive(Debug, Default)]
pub(super) struct Admin {
    answers: VecDeque<(u64, AdminAnswer)>,
    /// Virtual hosts that are being deleted, and who is told.
    deletions: Vec<(VhostId, Vec<u64>)>,
}

impl Admin {
    /// Answers.
    pub(super) fn answer(&mut self, ticket: u64, answer: AdminAnswer) {
        self.answers.push_back((ticket, answer));
    }
}

/// What a request comes to at once; `None`: its answer comes later.
type Outcome = Result<Option<AdminReply>, AdminError>;

fn bad<T>(text: impl Into<String>) -> Result<T, AdminError> {
    Err(AdminError::BadRequest(text.into()))
}

fn short(what: &str, name: &str) -> Result<(), AdminError> {
    match name.len() {
        0 => bad(format!("{what} is empty")),
        len if len > NAME_BYTES_MAX => bad(format!("{what} has {len} bytes: at most {NAME_BYTES_MAX} are possible")),
        _ => Ok(()),
    }
}

fn no_vhost(name: &str) -> AdminError {
    AdminError::NotFound(format!("vhost '{name}' does not exist"))
}

fn queue_type(name: &str) -> Result<QueueType, AdminError> {
    match QueueType::named(name.as_bytes()) {
        Some(kind @ (QueueType::Classic | QueueType::Quorum)) => Ok(kind),
        Some(QueueType::Stream) | None => bad(format!("unsupported queue type '{name}'")),
    }
}

fn tags(tags: Vec<String>) -> Result<Vec<Arc<str>>, AdminError> {
    if tags.len() > TAGS_MAX {
        return bad(format!("{} tags: at most {TAGS_MAX} are possible", tags.len()));
    }
    tags.iter().try_for_each(|tag| short("the tag", tag))?;
    Ok(tags.into_iter().map(Arc::from).collect())
}

impl Shard {
    /// Shard 0: does what is asked. The [answer](Shard::next_admin_answer) comes by its ticket; that to a change comes
    /// when the change is durable, where there is a store.
    pub fn administer(&mut self, ticket: u64, request: AdminRequest) {
        let outcome = if self.writer.is_some() {
            self.run_request(ticket, request)
        } else {
            Err(AdminError::Unavailable("only shard 0 administers".into()))
        };
        if matches!(outcome, Ok(None | Some(AdminReply::Done))) {
            // Also a shard that has nothing else to do is to see what is changed.
            for shard in 1..self.count {
                self.mesh.nudge(shard);
            }
        }
        match outcome {
            Ok(Some(AdminReply::Done)) if self.ledger.on => self.ledger.wait(Waiter::Admin(ticket)),
            Ok(Some(reply)) => self.admin.answer(ticket, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.admin.answer(ticket, Err(error)),
        }
    }

    /// The next answer, and the ticket of its request.
    pub fn next_admin_answer(&mut self) -> Option<(u64, AdminAnswer)> {
        self.admin.answers.pop_front()
    }

    fn run_request(&mut self, ticket: u64, request: AdminRequest) -> Outcome {
        match request {
            AdminRequest::SetPolicy { scope, vhost, name, document } => {
                let vhost = self.vhost_meant(&vhost)?;
                self.set_parameter(scope.component(), Some(vhost), &name, &document)?;
            }
            AdminRequest::ClearPolicy { scope, vhost, name } => {
                let vhost = self.vhost_meant(&vhost)?;
                self.clear_parameter(scope.component(), Some(vhost), &name)?;
            }
            AdminRequest::Policies { scope, vhost } => return self.list_policies(scope, vhost.as_deref()),
            AdminRequest::EffectivePolicy { vhost, kind, name } => return self.effective_policy(&vhost, kind, &name),
            AdminRequest::AddVhost { name, description, tags: given, default_queue_type } => {
                let kind = default_queue_type.as_deref().map(queue_type).transpose()?;
                let given = given.map(tags).transpose()?;
                self.put_vhost(&name, description.as_deref(), given, kind)?;
            }
            AdminRequest::DeleteVhost { name } => return self.close_vhost(ticket, &name),
            AdminRequest::Trace { vhost, on } => {
                let vhost = self.vhost_meant(&vhost)?;
                if self.topology.is_traced(vhost) != on {
                    self.append(Change::Traced(vhost, on));
                }
            }
            AdminRequest::Vhosts => return Ok(Some(AdminReply::Vhosts(self.list_vhosts()))),
            AdminRequest::SetVhostLimits { vhost, limits } => {
                let vhost = self.vhost_meant(&vhost)?;
                self.set_parameter(VHOST_LIMITS, Some(vhost), LIMITS, &limits)?;
            }
            AdminRequest::ClearVhostLimits { vhost } => {
                let vhost = self.vhost_meant(&vhost)?;
                self.clear_parameter(VHOST_LIMITS, Some(vhost), LIMITS)?;
            }
            AdminRequest::SetUserLimits { user, limits } => {
                self.user_meant(&user)?;
                self.set_parameter(USER_LIMITS, None, &user, &limits)?;
            }
            AdminRequest::ClearUserLimits { user } => self.clear_parameter(USER_LIMITS, None, &user)?,
            AdminRequest::SetParameter { component, vhost, name, value } => {
                self.check_component(&component, "set")?;
                let vhost = self.vhost_meant(&vhost)?;
                self.set_parameter(&component, Some(vhost), &name, &value)?;
            }
            AdminRequest::ClearParameter { component, vhost, name } => {
                self.check_component(&component, "cleared")?;
                let vhost = self.vhost_meant(&vhost)?;
                self.clear_parameter(&component, Some(vhost), &name)?;
            }
            AdminRequest::Parameters { component, vhost } => {
                let vhost = vhost.map(|name| self.vhost_meant(&name)).transpose()?;
                let chosen = |key: &ParameterKey| {
                    key.vhost.is_some()
                        && key.is_listed()
                        && vhost.is_none_or(|vhost| key.vhost == Some(vhost))
                        && match &component {
                            Some(component) => *key.component == **component,
                            None => Scope::of_component(&key.component).is_none(),
                        }
                };
                return Ok(Some(AdminReply::Parameters(self.list_parameters(chosen))));
            }
            AdminRequest::SetGlobalParameter { name, value } => self.set_parameter(GLOBAL, None, &name, &value)?,
            // Without it the next start would take the broker for a new one, and make the first users again.
            AdminRequest::ClearGlobalParameter { name } if name == CLUSTER_ID => {
                return bad(format!("the parameter {CLUSTER_ID} may not be cleared"));
            }
            AdminRequest::ClearGlobalParameter { name } => self.clear_parameter(GLOBAL, None, &name)?,
            AdminRequest::GlobalParameters => {
                let chosen = |key: &ParameterKey| &*key.component == GLOBAL;
                return Ok(Some(AdminReply::Parameters(self.list_parameters(chosen))));
            }
            AdminRequest::PutUser { name, password, tags } => self.put_user(&name, password, tags)?,
            AdminRequest::DeleteUser { name } => self.delete_user(&name)?,
            AdminRequest::Users => return self.list_users(),
            AdminRequest::SetPermissions { vhost, user, configure, write, read } => {
                self.set_permissions(&vhost, &user, [&configure, &write, &read])?;
            }
            AdminRequest::ClearPermissions { vhost, user } => self.clear_permissions(&vhost, &user)?,
            AdminRequest::Permissions { vhost, user } => {
                return self.list_permissions(vhost.as_deref(), user.as_deref());
            }
            AdminRequest::SetTopicPermissions { vhost, user, exchange, write, read } => {
                self.set_topic_permissions(&vhost, &user, &exchange, [&write, &read])?;
            }
            AdminRequest::ClearTopicPermissions { vhost, user, exchange } => {
                self.clear_topic_permissions(&vhost, &user, exchange.as_deref())?;
            }
            AdminRequest::TopicPermissions { vhost, user } => {
                return self.list_topic_permissions(vhost.as_deref(), user.as_deref());
            }
            AdminRequest::UserLimits => {
                let chosen = |key: &ParameterKey| &*key.component == USER_LIMITS;
                return Ok(Some(AdminReply::Parameters(self.list_parameters(chosen))));
            }
        }
        Ok(Some(AdminReply::Done))
    }

    fn vhost_meant(&self, name: &str) -> Result<VhostId, AdminError> {
        self.topology.find_vhost(name).ok_or_else(|| no_vhost(name))
    }

    // ---- parameters

    /// Policies have their own way, and what is global or a user's is not a vhost's.
    fn check_component(&self, component: &str, done: &str) -> Result<(), AdminError> {
        match component {
            "policy" => bad(format!("policies may not be {done} using this method")),
            GLOBAL | USER_LIMITS | USERS | PERMISSIONS | TOPIC_PERMISSIONS => {
                bad(format!("Validation failed\n\ncomponent {component} not found\n"))
            }
            _ => Ok(()),
        }
    }

    fn set_parameter(
        &mut self,
        component: &str,
        vhost: Option<VhostId>,
        name: &str,
        text: &str,
    ) -> Result<(), AdminError> {
        short("the name", name)?;
        short("the component", component)?;
        let value = decode(text).map_err(AdminError::BadRequest)?;
        self.put_parameter(component, vhost, name, value)
    }

    fn put_parameter(
        &mut self,
        component: &str,
        vhost: Option<VhostId>,
        name: &str,
        value: parameters::Value,
    ) -> Result<(), AdminError> {
        let vhost_name = vhost.map_or("", |vhost| self.topology.vhost_name(vhost));
        let meaning = parameters::understand(component, vhost_name, name, &value).map_err(AdminError::BadRequest)?;
        let key = ParameterKey { component: component.into(), vhost, name: name.into() };
        let known = self.topology.parameter(&key).map(|known| known.id);
        let id = known.unwrap_or_else(|| self.next_id());
        self.append(Change::ParameterSet(Arc::new(Parameter { id, key, value, meaning })));
        Ok(())
    }

    fn clear_parameter(&mut self, component: &str, vhost: Option<VhostId>, name: &str) -> Result<(), AdminError> {
        let key = ParameterKey { component: component.into(), vhost, name: name.into() };
        if self.topology.parameter(&key).is_none() {
            return Err(AdminError::NotFound("Parameter does not exist".into()));
        }
        self.append(Change::ParameterCleared(key));
        Ok(())
    }

    fn list_parameters(&self, chosen: impl Fn(&ParameterKey) -> bool) -> Vec<ParameterRow> {
        let all = self.topology.parameters().values().filter(|parameter| chosen(&parameter.key));
        all.map(|parameter| ParameterRow {
            component: parameter.key.component.to_string(),
            vhost: parameter.key.vhost.map(|vhost| self.topology.vhost_name(vhost).to_owned()),
            name: parameter.key.name.to_string(),
            value: parameter.value.to_string(),
        })
        .collect()
    }

    // ---- virtual hosts

    /// Makes a virtual host, or changes what is said of one that there is.
    fn put_vhost(
        &mut self,
        name: &str,
        description: Option<&str>,
        tags: Option<Vec<Arc<str>>>,
        default_queue_type: Option<QueueType>,
    ) -> Result<(), AdminError> {
        short("the name of the vhost", name)?;
        let known = self.topology.find_any_vhost(name).and_then(|id| Some((id, self.topology.vhost(id)?)));
        if let Some((id, vhost)) = known {
            if vhost.closing {
                return bad(format!("vhost '{name}' is being deleted"));
            }
            let mut spec = (*vhost.spec).clone();
            spec.description = description.map_or(spec.description, Arc::from);
            spec.tags = tags.unwrap_or(spec.tags);
            spec.default_queue_type = default_queue_type.or(spec.default_queue_type);
            if spec != *vhost.spec {
                self.update_vhost(id, spec);
            }
            return Ok(());
        }
        let limit = self.settings.node.vhost_max.filter(|max| self.topology.vhost_count() as u64 >= u64::from(*max));
        let limit = limit.or((!self.topology.has_room_for_vhost()).then_some(u32::from(VhostId::MAX)));
        if let Some(max) = limit {
            let text = format!("cannot create vhost '{name}': vhost limit of {max} is reached");
            return Err(AdminError::Limit(text));
        }
        let spec = VhostSpec {
            id: self.next_id(),
            predeclared: 0,
            name: name.into(),
            description: description.unwrap_or_default().into(),
            tags: tags.unwrap_or_default(),
            default_queue_type,
        };
        self.append(Change::VhostAdded(Arc::new(spec)));
        let Some(vhost) = self.topology.find_vhost(name) else { return Ok(()) };
        let exchanges: Vec<_> = VhostSpec::exchanges(vhost, self.ids + 1).collect();
        for exchange in exchanges {
            self.ids += 1;
            self.append(Change::ExchangeDeclared(exchange));
        }
        if self.settings.event_exchange.as_deref() == Some(name) {
            self.append(Change::ExchangeDeclared(VhostSpec::event_exchange(vhost)));
        }
        self.tell_vhost_created(vhost, event::NOBODY);
        Ok(())
    }

    fn update_vhost(&mut self, id: VhostId, mut spec: VhostSpec) {
        if spec.id == 0 {
            spec.id = self.next_id();
        }
        self.append(Change::VhostUpdated(id, Arc::new(spec)));
    }

    /// Begins to delete a virtual host: all shards end its connections and remove its queues.
    fn close_vhost(&mut self, ticket: u64, name: &str) -> Outcome {
        let Some(id) = self.topology.find_any_vhost(name) else { return Err(no_vhost(name)) };
        if let Some((_, tickets)) = self.admin.deletions.iter_mut().find(|(deleted, _)| *deleted == id) {
            tickets.push(ticket);
            return Ok(None);
        }
        // From here on the store has it.
        if let Some(vhost) = self.topology.vhost(id).filter(|vhost| vhost.spec.id == 0) {
            self.update_vhost(id, (*vhost.spec).clone());
        }
        self.append(Change::VhostClosing(id));
        if let Some((_, tickets)) = self.admin.deletions.iter_mut().find(|(deleted, _)| *deleted == id) {
            tickets.push(ticket);
        }
        Ok(None)
    }

    /// Shard 0: a virtual host is to be taken out of the tables once nothing is in it any more.
    pub(super) fn note_closing(&mut self, vhost: VhostId) {
        if self.writer.is_some() {
            self.admin.deletions.push((vhost, vec![]));
        }
    }

    /// Whether exchanges or whole virtual hosts can be removed now.
    pub(super) fn can_delete_vhost(&self) -> bool {
        self.admin.deletions.iter().any(|(vhost, _)| is_without_queues(&self.topology, *vhost))
    }

    /// One slice of the deletion of virtual hosts whose queues are gone.
    pub(super) fn delete_vhosts(&mut self) {
        let mut at = 0;
        while let Some((id, _)) = self.admin.deletions.get(at) {
            let id = *id;
            at += 1;
            let Some(vhost) = self.topology.vhost(id).filter(|vhost| vhost.queue_count() == 0) else { continue };
            let exchanges = vhost.some_exchanges(sweeps::NAMES_MAX);
            let keys: Vec<_> =
                exchanges.iter().filter_map(|slot| Some(self.topology.exchange_at(*slot)?.key)).collect();
            for key in &keys {
                let change = Change::ExchangeDeleted(*key);
                // One may have gone with another.
                if self.topology.admits(&change) {
                    self.append(change);
                }
            }
            if keys.is_empty() {
                self.append(Change::VhostDeleted(id));
                at -= 1;
                let (_, tickets) = self.admin.deletions.remove(at);
                for ticket in tickets {
                    if self.ledger.on {
                        self.ledger.wait(Waiter::Admin(ticket));
                    } else {
                        self.admin.answer(ticket, Ok(AdminReply::Done));
                    }
                }
            }
        }
    }

    fn list_vhosts(&self) -> Vec<VhostRow> {
        let open = self.topology.vhosts().filter(|(_, vhost)| !vhost.closing);
        let mut rows: Vec<VhostRow> = open
            .map(|(_, vhost)| VhostRow {
                name: vhost.spec.name.to_string(),
                description: vhost.spec.description.to_string(),
                tags: vhost.spec.tags.iter().map(|tag| tag.to_string()).collect(),
                default_queue_type: vhost.spec.default_queue_type.map(|kind| kind.name().to_owned()),
                limits: vhost.limits,
                tracing: vhost.traced,
                queues: vhost.queue_count(),
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}

fn is_without_queues(topology: &Topology, vhost: VhostId) -> bool {
    topology.vhost(vhost).is_none_or(|vhost| vhost.queue_count() == 0)
}
