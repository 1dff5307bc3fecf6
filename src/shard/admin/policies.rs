//! Lists of policies, and what they come to.

use super::{AdminError, AdminReply, EffectivePolicy, ObjectKind, Outcome, PolicyRow};
use crate::broker::policy::{Object, Scope, json};
use crate::broker::queue_arguments::QueueType;
use crate::shard::Shard;

impl Shard {
    pub(super) fn list_policies(&self, scope: Scope, vhost: Option<&str>) -> Outcome {
        let only = vhost.map(|name| self.vhost_meant(name)).transpose()?;
        let mut rows = vec![];
        for (_, vhost) in self.topology.vhosts().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
            rows.extend(vhost.policies.of(scope).iter().map(|policy| PolicyRow {
                vhost: vhost.spec.name.to_string(),
                name: policy.name.to_string(),
                pattern: policy.pattern().to_owned(),
                apply_to: policy.apply_to.name().to_owned(),
                priority: policy.priority,
                definition: json::document(&policy.definition),
            }));
        }
        Ok(Some(AdminReply::Policies(rows)))
    }

    pub(super) fn effective_policy(&self, vhost_name: &str, kind: ObjectKind, name: &str) -> Outcome {
        let id = self.vhost_meant(vhost_name)?;
        let object = match kind {
            ObjectKind::Queue => {
                let queue = self.topology.find_queue(id, name);
                queue.map(|queue| Object::Queue(QueueType::of_queue(&queue.spec)))
            }
            ObjectKind::Exchange => self.topology.find_exchange(id, name).map(|_| Object::Exchange),
        };
        let (Some(object), Some(vhost)) = (object, self.topology.vhost(id)) else {
            return Err(AdminError::NotFound(format!("no {} '{name}' in vhost '{vhost_name}'", kind.name())));
        };
        let named = |scope| vhost.policies.applying(scope, object, name).map(|policy| policy.name.to_string());
        Ok(Some(AdminReply::Effective(EffectivePolicy {
            policy: named(Scope::User),
            operator_policy: named(Scope::Operator),
            definition: json::document(&vhost.policies.effective(object, name)),
        })))
    }
}
