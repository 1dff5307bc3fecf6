//! What follows from changed policies and closed virtual hosts for what lives here: done in slices, so that nobody
//! waits for a hundred thousand queues.

use std::collections::VecDeque;

use super::owner::Waiter;
use super::{ConnectionId, Shard};
use crate::amqp::{Exception, MethodId, ReplyCode};
use crate::broker::topology::{QueueKey, VhostId};
use crate::connection::Phase;

/// Queues, exchanges or connections that something is done to in one turn.
pub(super) const NAMES_MAX: usize = 256;
/// Queues of one shard whose removal shard 0 has not come to yet: it does at once all that it was asked meanwhile, and
/// then everybody does.
const REMOVALS_MAX: usize = NAMES_MAX;
/// Places looked at in one turn.
const PLACES_MAX: usize = 8192;

/// Walks over what lives here.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    walks: VecDeque<Walk>,
    /// Connections of virtual hosts that are to go.
    leaving: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Walk {
    vhost: VhostId,
    why: Why,
    begun: bool,
    /// The next place among the exchanges; `None`: all are done.
    exchange: Option<usize>,
    /// The next place among the queues.
    queue: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its policies have changed.
    Policies,
    /// It is to go.
    Closing,
    /// It is traced now, or not any more.
    Tracing,
}

impl Sweeps {
    fn begin(&mut self, vhost: VhostId, why: Why) {
        // One that has not begun sees what is new now.
        let same = |walk: &Walk| (walk.vhost, walk.why, walk.begun) == (vhost, why, false);
        if !self.walks.iter().any(same) {
            let exchange = (why == Why::Policies).then_some(0);
            self.walks.push_back(Walk { vhost, why, begun: false, exchange, queue: 0 });
        }
    }

    /// Whether a slice is due at once.
    fn has_work(&self, may_remove: bool) -> bool {
        let goes_on = |walk: &Walk| may_remove || walk.why != Why::Closing;
        !self.leaving.is_empty() || self.walks.front().is_some_and(goes_on)
    }
}

impl Shard {
    /// The policies of a virtual host have changed; `routes`: who may refuse publishes, too.
    pub(super) fn policies_changed(&mut self, vhost: VhostId, routes: bool) {
        self.sweeps.begin(vhost, Why::Policies);
        if routes {
            self.routes.clear();
        }
    }

    /// Has the queues of a virtual host find out whether they are traced.
    pub(super) fn sweep_for_tracing(&mut self, vhost: VhostId) {
        self.sweeps.begin(vhost, Why::Tracing);
    }

    /// A virtual host is to go: its connections are closed, its queues removed.
    pub(super) fn vhost_closing(&mut self, vhost: VhostId) {
        self.sweeps.begin(vhost, Why::Closing);
        let here = |id: &ConnectionId| {
            let member = self.members.get(*id);
            member.is_some_and(|member| member.vhost == vhost && member.wire.phase == Phase::Running)
        };
        let leaving: Vec<ConnectionId> = self.members.ids().into_iter().filter(here).collect();
        self.sweeps.leaving.extend(leaving);
        self.note_closing(vhost);
    }

    /// One slice.
    pub(super) fn sweep_names(&mut self) {
        if !self.admin_has_work() {
            return;
        }
        self.delete_vhosts();
        for _ in 0..NAMES_MAX {
            let Some(id) = self.sweeps.leaving.pop() else { break };
            let vhost = self.members.get(id).map_or(0, |member| member.vhost);
            let text = format!("vhost '{}' is deleted", self.topology.vhost_name(vhost));
            self.close_connection(id, Exception::new(ReplyCode::ConnectionForced, MethodId::NONE, text));
        }
        if let Some(mut walk) = self.sweeps.walks.pop_front() {
            walk.begun = true;
            if !self.go_on_with(&mut walk) {
                self.sweeps.walks.push_front(walk);
            }
        }
    }

    /// Whether a slice is due at once.
    pub(super) fn admin_has_work(&self) -> bool {
        self.sweeps.has_work(self.removals_left() > 0) || self.can_delete_vhost()
    }

    /// How many queues may be removed now of those that nobody waits for. More may when shard 0 has been heard of.
    pub(super) fn removals_left(&self) -> usize {
        REMOVALS_MAX.saturating_sub(self.owner.dying.len())
    }

    /// One slice of a walk; `true` when it is over.
    fn go_on_with(&mut self, walk: &mut Walk) -> bool {
        if let Some(from) = walk.exchange {
            walk.exchange = self.topology.look_at_alternates(walk.vhost, from, NAMES_MAX);
            return false;
        }
        let mut left = if walk.why == Why::Closing { self.removals_left() } else { NAMES_MAX };
        for _ in 0..PLACES_MAX {
            if left == 0 {
                break;
            }
            let Some(place) = self.living.get(walk.queue) else { return true };
            walk.queue += 1;
            let Some(queue) = place.as_deref().filter(|queue| queue.spec.vhost == walk.vhost) else { continue };
            let key = queue.key;
            match walk.why {
                Why::Policies => self.look_at_rules(key),
                Why::Tracing => self.look_at_tracing(key),
                Why::Closing => self.begin_removal(key, Waiter::Nobody),
            }
            left -= 1;
        }
        false
    }

    /// Finds out what a queue goes by now.
    fn look_at_rules(&mut self, key: QueueKey) {
        let Some(spec) = self.living(key).map(|queue| queue.spec.clone()) else { return };
        let (rules, now) = (self.topology.rules(&spec), self.now);
        let Some(queue) = self.living_mut(key) else { return };
        let same = match &queue.ruled {
            Some(ruled) => ruled.rules == rules,
            None => rules.is_plain(),
        };
        if !same {
            queue.set_rules(rules, now);
            self.rules_changed(key);
        }
    }
}

#[cfg(test)]
mod tests;
