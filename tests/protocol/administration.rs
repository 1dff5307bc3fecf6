//! Short forms of what scripts ask shard 0 for beside AMQP.

use leveret::shard::admin::*;

use crate::net::Net;

impl Net {
    /// Asks for something that is done. Who the scripts log in as may do everything in a virtual host that is new.
    #[track_caller]
    pub fn done(&self, request: AdminRequest) {
        let vhost = if let AdminRequest::AddVhost { name, .. } = &request { Some(name.clone()) } else { None };
        assert_eq!(self.admin(request), Ok(AdminReply::Done));
        for (vhost, user) in vhost.iter().flat_map(|vhost| ["guest", "alice", "mallory"].map(|user| (vhost, user))) {
            let [configure, write, read] = [".*"; 3].map(str::to_owned);
            let (vhost, user) = (vhost.clone(), user.to_owned());
            self.done(AdminRequest::SetPermissions { vhost, user, configure, write, read });
        }
    }

    /// Asks for something that makes no sense.
    #[track_caller]
    pub fn bad(&self, request: AdminRequest, text: &str) {
        assert_eq!(self.admin(request), Err(AdminError::BadRequest(text.into())));
    }

    /// Asks for something that is not there.
    #[track_caller]
    pub fn missing(&self, request: AdminRequest, text: &str) {
        assert_eq!(self.admin(request), Err(AdminError::NotFound(text.into())));
    }

    /// Sets a policy of `/`.
    #[track_caller]
    pub fn policy(&self, name: &str, document: &str) {
        self.done(set(Scope::User, name, document));
    }

    /// Sets an operator policy of `/`.
    #[track_caller]
    pub fn operator_policy(&self, name: &str, document: &str) {
        self.done(set(Scope::Operator, name, document));
    }

    /// What applies to a queue of `/`: the names of both policies, and what they say together.
    #[track_caller]
    pub fn effective(&self, kind: ObjectKind, name: &str) -> String {
        match self.admin(AdminRequest::EffectivePolicy { vhost: "/".into(), kind, name: name.into() }) {
            Ok(AdminReply::Effective(found)) => format!(
                "{} {} {}",
                found.policy.as_deref().unwrap_or("-"),
                found.operator_policy.as_deref().unwrap_or("-"),
                found.definition
            ),
            other => panic!("{other:?}"),
        }
    }

    /// The names of all virtual hosts.
    #[track_caller]
    pub fn vhosts(&self) -> Vec<VhostRow> {
        match self.admin(AdminRequest::Vhosts) {
            Ok(AdminReply::Vhosts(rows)) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// The names of the policies of all virtual hosts, in their order.
    #[track_caller]
    pub fn policies(&self, scope: Scope) -> Vec<PolicyRow> {
        match self.admin(AdminRequest::Policies { scope, vhost: None }) {
            Ok(AdminReply::Policies(rows)) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// Names and values of these parameters.
    #[track_caller]
    pub fn parameters(&self, request: AdminRequest) -> Vec<String> {
        match self.admin(request) {
            Ok(AdminReply::Parameters(rows)) => {
                let vhost = |row: &ParameterRow| row.vhost.clone().unwrap_or_default();
                rows.iter().map(|row| format!("{} {} {} {}", row.component, vhost(row), row.name, row.value)).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn set(scope: Scope, name: &str, document: &str) -> AdminRequest {
    AdminRequest::SetPolicy { scope, vhost: "/".into(), name: name.into(), document: document.into() }
}

pub fn clear(scope: Scope, name: &str) -> AdminRequest {
    AdminRequest::ClearPolicy { scope, vhost: "/".into(), name: name.into() }
}

pub fn add_vhost(name: &str) -> AdminRequest {
    AdminRequest::AddVhost { name: name.into(), description: None, tags: None, default_queue_type: None }
}

pub fn add_vhost_with(name: &str, description: &str, tag: &str, default_queue_type: &str) -> AdminRequest {
    AdminRequest::AddVhost {
        name: name.into(),
        description: Some(description.into()),
        tags: Some(vec![tag.into()]),
        default_queue_type: Some(default_queue_type.into()),
    }
}

pub fn delete_vhost(name: &str) -> AdminRequest {
    AdminRequest::DeleteVhost { name: name.into() }
}

pub fn vhost_limits(vhost: &str, limits: &str) -> AdminRequest {
    AdminRequest::SetVhostLimits { vhost: vhost.into(), limits: limits.into() }
}

pub fn user_limits(user: &str, limits: &str) -> AdminRequest {
    AdminRequest::SetUserLimits { user: user.into(), limits: limits.into() }
}

pub fn parameter(component: &str, name: &str, value: &str) -> AdminRequest {
    AdminRequest::SetParameter {
        component: component.into(),
        vhost: "/".into(),
        name: name.into(),
        value: value.into(),
    }
}
