use std::sync::Arc;

use super::*;
use crate::broker::topology::{Change, QueueSpec};
use crate::config::Settings;
use crate::connection::outbound::Outbound;
use crate::shard::admin::{AdminRequest, Scope};
use crate::shard::mesh::{Batch, ShardId};
use crate::shard::turn::{CloseKind, NextTurn, ReadOutcome, World, WriteOutcome, turn};
use crate::time::Now;

/// No connections: only what shards say to each other.
#[derive(Default)]
struct Wires {
    now: Now,
    inboxes: [VecDeque<Batch>; 2],
}

impl World for (usize, &mut Wires) {
    fn now(&mut self) -> Now {
        self.1.now
    }
    fn next_readable(&mut self) -> Option<ConnectionId> {
        None
    }
    fn next_writable(&mut self) -> Option<ConnectionId> {
        None
    }
    fn read(&mut self, _: ConnectionId, _: &mut [u8]) -> ReadOutcome {
        ReadOutcome::Empty
    }
    fn inbox(&mut self) -> Option<Batch> {
        self.1.inboxes[self.0].pop_front()
    }
    fn push(&mut self, to: ShardId, batch: Batch) {
        self.1.inboxes[usize::from(to.0)].push_back(batch);
    }
    fn write(&mut self, _: ConnectionId, _: &mut Outbound) -> WriteOutcome {
        WriteOutcome::Drained
    }
    fn close(&mut self, _: ConnectionId, _: CloseKind) {}
}

/// As many turns of one shard as it wants at this time, and no more than anybody needs.
fn run(shards: &mut [Shard], wires: &mut Wires, shard: usize) {
    for _ in 0..100 {
        let next = turn(&mut shards[shard], &mut (shard, &mut *wires));
        let due = matches!(next, NextTurn::Now) || matches!(next, NextTurn::At(at) if at <= wires.now);
        if !due && wires.inboxes[shard].is_empty() {
            return;
        }
    }
    panic!("shard {shard} spins");
}

#[test]
fn so_many_removals_are_under_way_at_once() {
    let queues = 2 * REMOVALS_MAX + REMOVALS_MAX / 2;
    for expires in [false, true] {
        let mut shards = Shard::mesh(2, Arc::new(Settings::default()), [1; 32], None);
        let mut wires = Wires::default();
        for id in 1..=queues as u64 {
            let name = format!("q{id}").into();
            let (auto_delete, exclusive, arguments) = (false, None, Box::default());
            let spec = QueueSpec { id, vhost: 0, name, durable: false, auto_delete, exclusive, arguments, owner: 1 };
            shards[0].append(Change::QueueDeclared(Arc::new(spec)));
        }
        let (vhost, name) = ("/".to_owned(), "p".to_owned());
        let document = r#"{"pattern": "", "definition": {"expires": 1000}}"#.to_owned();
        if expires {
            shards[0].administer(1, AdminRequest::SetPolicy { scope: Scope::User, vhost, name, document });
            (0..2).for_each(|shard| run(&mut shards, &mut wires, shard));
            wires.now = Now { ms: 2000 };
        } else {
            shards[0].administer(1, AdminRequest::DeleteVhost { name: vhost });
            run(&mut shards, &mut wires, 0);
        }
        // Shard 0 has no turn: the other asks for a part, and sleeps.
        run(&mut shards, &mut wires, 1);
        assert_eq!(shards[1].owner.dying.len(), REMOVALS_MAX, "expires: {expires}");
        assert_eq!(shards[1].topology.queue_count(), queues);
        for left in [queues - REMOVALS_MAX, queues - 2 * REMOVALS_MAX, 0] {
            (0..2).for_each(|shard| run(&mut shards, &mut wires, shard));
            assert_eq!(shards[1].topology.queue_count(), left, "expires: {expires}");
        }
        run(&mut shards, &mut wires, 0);
        assert!(shards.iter().all(|shard| shard.owner.dying.is_empty() && !shard.admin_has_work()));
    }
}
