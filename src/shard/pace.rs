//! What a shard holds for all its connections together, and how it slows down when that is much (shards.md A5): bounds
//! of single connections are no bound when there are ten thousand of them.

use super::outlet::Marks;
use super::{ConnectionId, Shard};
use crate::limits::Limits;

/// By how much reads and outbound marks shrink beyond the bounds.
const SHRINK: usize = 64;
/// Below this they do not shrink: slower helps nobody.
const SHRUNK_MIN: usize = 4096;

fn shrunk(bytes: usize, shrinks: bool) -> usize {
    if shrinks { (bytes / SHRINK).max(SHRUNK_MIN.min(bytes)) } else { bytes }
}

/// What part of a link's window is left when all links together have much under way.
const LINK_SHRINK: i64 = 16;
/// What part of a link's window goes back at once: less than what is left of it at worst, or it would never open again.
const LINK_CREDIT: i64 = 2 * LINK_SHRINK;

fn shrunk_window(bytes: i64) -> i64 {
    (bytes / LINK_SHRINK).max(bytes.min(SHRUNK_MIN as i64))
}

/// The window for a connection of another of so many shards. A client may publish on and on without reading what all
/// these deliver to it.
pub(super) fn link_window(limits: &Limits, shards: usize) -> i64 {
    let room = limits.outbound_park_bytes.saturating_sub(limits.outbound_high_bytes) / shards.saturating_sub(1).max(1);
    limits.link_window_bytes.min(room.max(SHRUNK_MIN) as i64)
}

/// Bytes of publishes that may be under way between each pair of so many shards.
pub(super) fn publish_credit(limits: &Limits, shards: usize) -> i64 {
    let pairs = (shards * (shards - 1)).max(1) as i64;
    limits.publish_credit_bytes.min((limits.mesh_bytes_max / pairs).max(1))
}

/// Bytes held for all connections of a shard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Read and not parsed.
    pub(super) inbound: usize,
    /// Encoded and not sent.
    pub(super) outbound: usize,
}

impl Shard {
    /// Bytes to read from a connection at once.
    pub(super) fn read_bytes_max(&self) -> usize {
        let limits = &self.settings.limits;
        shrunk(limits.read_bytes_max, self.members.held().inbound > limits.inbound_bytes_max)
    }

    /// Outbound bytes of a connection from which on its consumers get nothing.
    #[inline]
    pub(super) fn outbound_high_bytes(&self) -> usize {
        let limits = &self.settings.limits;
        shrunk(limits.outbound_high_bytes, self.members.held().outbound > limits.outbound_bytes_max)
    }

    /// A link is open while its window is above this.
    #[inline]
    pub(super) fn closed_window(&self) -> i64 {
        let window = self.owner.link_window;
        if self.owner.under_way > self.settings.limits.links_bytes_max { window - shrunk_window(window) } else { 0 }
    }

    /// When connections take no more.
    #[inline]
    pub(super) fn marks(&self) -> Marks {
        Marks { high: self.outbound_high_bytes(), closed_window: self.closed_window() }
    }

    /// Delivered bytes of a connection for which window is given back.
    pub(super) fn link_credit_step(&self) -> i64 {
        self.owner.link_window / LINK_CREDIT
    }

    /// The next connection to write.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        let id = self.members.next_dirty()?;
        self.members.weigh(id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::{link_window, publish_credit};
    use crate::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_method};
    use crate::amqp::method::*;
    use crate::amqp::{LongStr, Table};
    use crate::config::Settings;
    use crate::connection::outbound::Outbound;
    use crate::limits::Limits;
    use crate::shard::mesh::{Batch, ShardId};
    use crate::shard::turn::{CloseKind, NextTurn, ReadOutcome, World, WriteOutcome, turn};
    use crate::shard::{ConnectionId, Peer, Shard};
    use crate::time::Now;

    /// Clients that read nothing once their handshake is over.
    #[derive(Default)]
    struct Deaf {
        inputs: VecDeque<(ConnectionId, Vec<u8>)>,
        deaf: bool,
        resumed: Vec<ConnectionId>,
        /// Bytes that were written in a turn, at most.
        written_max: usize,
        written: usize,
    }

    impl World for Deaf {
        fn now(&mut self) -> Now {
            self.written = 0;
            Now::default()
        }
        fn next_readable(&mut self) -> Option<ConnectionId> {
            self.inputs.front().map(|(id, _)| *id)
        }
        fn next_writable(&mut self) -> Option<ConnectionId> {
            self.resumed.pop()
        }
        fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome {
            match self.inputs.pop_front() {
                Some((of, bytes)) => {
                    assert_eq!(of, id);
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    if count < bytes.len() {
                        self.inputs.push_front((id, bytes[count..].to_vec()));
                    }
                    ReadOutcome::Bytes(count)
                }
                None => ReadOutcome::Empty,
            }
        }
        fn inbox(&mut self) -> Option<Batch> {
            None
        }
        fn push(&mut self, _to: ShardId, _batch: Batch) {
            unreachable!("there is one shard")
        }
        fn write(&mut self, _id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome {
            if self.deaf {
                return WriteOutcome::Full;
            }
            self.written += outbound.len();
            self.written_max = self.written_max.max(self.written);
            outbound.advance(outbound.len());
            WriteOutcome::Drained
        }
        fn close(&mut self, _id: ConnectionId, _how: CloseKind) {}
    }

    fn run(shard: &mut Shard, world: &mut Deaf) {
        while turn(shard, world) == NextTurn::Now || !world.inputs.is_empty() {}
    }

    fn declare(out: &mut Vec<u8>, queue: &str) {
        let declare = QueueDeclare {
            reserved_1: 0,
            queue,
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            no_wait: true,
            arguments: Table::EMPTY,
        };
        write_method(out, 1, &declare);
    }

    fn publish(out: &mut Vec<u8>, queue: &str, body: &[u8]) {
        let publish =
            BasicPublish { reserved_1: 0, exchange: "", routing_key: queue, mandatory: false, immediate: false };
        write_method(out, 1, &publish);
        write_content_header(out, 1, body.len() as u64, &[0, 0]);
        write_body(out, 1, body, 131_072);
    }

    fn hello(queue: &str, consumes: bool) -> Vec<u8> {
        let mut out = PROTOCOL_HEADER.to_vec();
        let start_ok = ConnectionStartOk {
            client_properties: Table::EMPTY,
            mechanism: "PLAIN",
            response: LongStr(b"\0guest\0guest"),
            locale: "en_US",
        };
        write_method(&mut out, 0, &start_ok);
        write_method(&mut out, 0, &ConnectionTuneOk { channel_max: 10, frame_max: 131_072, heartbeat: 0 });
        write_method(&mut out, 0, &ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
        write_method(&mut out, 1, &ChannelOpen { reserved_1: "" });
        declare(&mut out, queue);
        let consume = BasicConsume {
            reserved_1: 0,
            queue,
            consumer_tag: "c",
            no_local: false,
            no_ack: true,
            exclusive: false,
            no_wait: true,
            arguments: Table::EMPTY,
        };
        if consumes {
            write_method(&mut out, 1, &consume);
        }
        out
    }

    #[test]
    fn publishes_under_way_between_many_shards_have_a_bound_in_all() {
        let limits = Limits::default();
        let sum = |shards: usize| publish_credit(&limits, shards) * (shards * (shards - 1)) as i64;
        assert_eq!(publish_credit(&limits, 1), limits.publish_credit_bytes);
        assert_eq!(publish_credit(&limits, 2), limits.publish_credit_bytes);
        assert!((2..=64).all(|shards| sum(shards) <= limits.mesh_bytes_max));
        assert!(publish_credit(&limits, 64) >= 128 << 10);
    }

    #[test]
    fn what_other_shards_deliver_does_not_park_a_connection() {
        let limits = Limits::default();
        assert_eq!(link_window(&limits, 2), limits.link_window_bytes);
        for shards in 2..=64 {
            let most = limits.outbound_high_bytes + (shards - 1) * link_window(&limits, shards) as usize;
            assert!(most <= limits.outbound_park_bytes, "{shards} shards");
        }
        assert!(link_window(&limits, 64) >= 32 << 10);
    }

    #[test]
    fn many_consumers_that_read_nothing_have_a_bound_in_all() {
        let mut settings = Settings::default();
        settings.limits.outbound_bytes_max = 1 << 20;
        settings.limits.outbound_high_bytes = 256 << 10;
        let bound = settings.limits.outbound_bytes_max;
        let mut shard = Shard::mesh(1, Arc::new(settings), [7; 32], None).remove(0);
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer { address, local: address };
        let mut world = Deaf::default();
        let consumers: Vec<ConnectionId> = (0..100)
            .map(|n| {
                let id = shard.connect(Now::default(), peer).unwrap();
                world.inputs.push_back((id, hello(&format!("q{n}"), true)));
                run(&mut shard, &mut world);
                id
            })
            .collect();
        let publisher = shard.connect(Now::default(), peer).unwrap();
        world.inputs.push_back((publisher, hello("q0", false)));
        run(&mut shard, &mut world);
        world.deaf = true;
        let body = vec![7; 8192];
        let mut published = 0;
        for _ in 0..20 {
            for n in 0..100 {
                let mut out = vec![];
                publish(&mut out, &format!("q{n}"), &body);
                world.inputs.push_back((publisher, out));
                published += body.len();
            }
            run(&mut shard, &mut world);
        }
        let held = shard.members.held();
        let most = bound + 100 * (2 * body.len());
        assert!(published > 10 * bound && held.outbound <= most, "{published} published, {held:?}");
        assert!(held.outbound > bound / 2, "{held:?}");

        // Once they read, everything comes.
        world.deaf = false;
        world.resumed = consumers;
        run(&mut shard, &mut world);
        assert_eq!(shard.members.held().outbound, 0);
        assert_eq!(shard.blocks.counts().live, 0);
    }

    #[test]
    fn what_a_turn_delivers_from_many_backlogs_has_a_bound() {
        let mut settings = Settings::default();
        (settings.limits.turn_bytes_max, settings.limits.deliver_slice_bytes) = (64 << 10, 16 << 10);
        let mut shard = Shard::mesh(1, Arc::new(settings), [7; 32], None).remove(0);
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer { address, local: address };
        let mut world = Deaf::default();
        let publisher = shard.connect(Now::default(), peer).unwrap();
        let mut out = hello("q", false);
        for n in 0..50 {
            let queue = format!("q{n}");
            declare(&mut out, &queue);
            (0..30).for_each(|_| publish(&mut out, &queue, &[7; 1024]));
        }
        world.inputs.push_back((publisher, out));
        run(&mut shard, &mut world);
        assert_eq!(shard.blocks.counts().live, 50 * 30);
        for n in 0..50 {
            let id = shard.connect(Now::default(), peer).unwrap();
            world.inputs.push_back((id, hello(&format!("q{n}"), true)));
        }
        world.written_max = 0;
        run(&mut shard, &mut world);
        assert_eq!(shard.blocks.counts().live, 0, "everything was delivered");
        assert!(world.written_max > 30 << 10 && world.written_max < 96 << 10, "{}", world.written_max);
    }
}
