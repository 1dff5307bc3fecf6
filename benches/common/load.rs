//! A load under way, in rounds: one read of each publisher, everything that follows from it, and acknowledgements for
//! the round before.

use leveret::amqp::frame::OVERHEAD_BYTES;
use leveret::amqp::method::*;
use leveret::config::Settings;

use super::net::Net;
use super::plan::{Plan, Take};
use super::say;

/// Bytes of a basic.ack or basic.nack on the wire: ids, delivery tag, bits.
const ACK_BYTES: usize = OVERHEAD_BYTES + 13;
/// Where its delivery tag is.
const ACK_TAG_AT: usize = 11;

struct Consumer {
    client: usize,
    /// Deliveries that it got, and so many of these it has acknowledged.
    got: u64,
    acked: u64,
}

/// A load on its shards.
pub struct Load {
    plan: Plan,
    net: Net,
    publishers: Vec<usize>,
    consumers: Vec<Consumer>,
    /// Bytes that come to each client in a round: all rounds are alike.
    came: Vec<u64>,
}

impl Load {
    /// Everything declared and consumed, and a few rounds done. A backlog is good for `rounds` rounds.
    ///
    /// The messages that come are counted here; afterwards the bytes are.
    pub fn new(plan: Plan, rounds: usize) -> Load {
        let mut net = Net::new(plan.shards(), Settings::default());
        // Queues live where they are declared, as long as no shard has many more of them than another.
        let declarer = net.client(plan.queue_shard);
        for queue in 0..plan.queues {
            assert!(net.say(declarer, plan.declare(queue)).is_empty(), "nothing is answered");
        }
        let publishers: Vec<usize> = (0..plan.publishers).map(|_| net.client(plan.publisher_shard)).collect();
        for (number, &client) in publishers.iter().enumerate() {
            let mut out = vec![];
            if plan.confirms {
                say::method(&mut out, ConfirmSelect { no_wait: true });
            }
            if plan.commits {
                say::method(&mut out, TxSelect {});
            }
            net.say(client, out);
            net.sends(client, plan.reads(number));
        }
        let mut load = Load { plan, net, publishers, consumers: vec![], came: vec![] };
        if plan.has_backlog {
            for _ in 0..rounds + 10 {
                load.publish();
                load.net.settle();
            }
            load.publishers.clear();
        }
        if plan.take != Take::Not {
            load.consumers = (0..plan.queues).map(|queue| load.consumer(queue)).collect();
        }
        (0..3).for_each(|_| load.step());
        load.look();
        load
    }

    fn consumer(&mut self, queue: usize) -> Consumer {
        let client = self.net.client(self.plan.consumer_shard);
        let (name, count) = (format!("queue-{queue:02}"), self.plan.deliveries_of_queue());
        let mut read = vec![];
        match self.plan.take {
            Take::Not => {}
            Take::AutoAck => {}
            Take::Ack(every) => {
                assert!(count.is_multiple_of(every));
                let ack = BasicAck { delivery_tag: 0, multiple: every > 1 };
                (0..count / every).for_each(|_| say::method(&mut read, ack));
                assert_eq!(read.len(), count / every * ACK_BYTES);
            }
            Take::Requeue(every) => {
                let nack = BasicNack { delivery_tag: 0, multiple: true, requeue: true };
                (0..count / every).for_each(|_| say::method(&mut read, nack));
                assert_eq!(read.len(), count / every * ACK_BYTES);
            }
            Take::Get => {
                let get = BasicGet { reserved_1: 0, queue: &name, no_ack: true };
                (0..count).for_each(|_| say::method(&mut read, get));
            }
        }
        let mut out = vec![];
        if let Take::Ack(_) | Take::Requeue(_) = self.plan.take {
            // What came in one round is settled in the next.
            let prefetch_count = 2 * count as u16;
            say::method(&mut out, BasicQos { prefetch_size: 0, prefetch_count, global: false });
        }
        if self.plan.take != Take::Get {
            say::consume(&mut out, &name, "consumer", self.plan.take == Take::AutoAck);
        }
        let got = say::count(&self.net.say(client, out), say::DELIVER);
        self.net.sends(client, vec![read]);
        Consumer { client, got, acked: 0 }
    }

    fn publish(&mut self) {
        self.publishers.iter().for_each(|&client| self.net.offer(client));
    }

    /// Settles what came in the round before.
    fn take(&mut self) {
        let per_round = self.plan.deliveries_of_queue() as u64;
        for consumer in &mut self.consumers {
            match self.plan.take {
                Take::Ack(every) | Take::Requeue(every) if consumer.got >= consumer.acked + per_round => {
                    for ack in self.net.next_read(consumer.client).chunks_exact_mut(ACK_BYTES) {
                        consumer.acked += every as u64;
                        ack[ACK_TAG_AT..ACK_TAG_AT + 8].copy_from_slice(&consumer.acked.to_be_bytes());
                    }
                    self.net.offer(consumer.client);
                }
                Take::Get => self.net.offer(consumer.client),
                Take::Not | Take::AutoAck | Take::Ack(_) | Take::Requeue(_) => {}
            }
            consumer.got += per_round;
        }
    }

    fn step(&mut self) {
        self.publish();
        self.take();
        self.net.settle();
    }

    /// A round in which the messages that come are counted.
    fn look(&mut self) {
        let clients: Vec<usize> = self.clients().collect();
        clients.iter().for_each(|&client| self.net.keep(client));
        let before: Vec<u64> = clients.iter().map(|&client| self.net.came(client)).collect();
        self.step();
        self.came = clients.iter().zip(before).map(|(&client, before)| self.net.came(client) - before).collect();
        let id = if self.plan.take == Take::Get { say::GET_OK } else { say::DELIVER };
        for client in clients {
            let kept = self.net.kept(client);
            let expected = if self.publishers.contains(&client) { 0 } else { self.plan.deliveries_of_queue() as u64 };
            assert_eq!(say::count(&kept, id), expected, "{}: deliveries", self.plan.name);
        }
    }

    /// From here on, `benches/instructions` counts.
    pub fn count(&mut self) {
        self.net.count();
    }

    fn clients(&self) -> impl Iterator<Item = usize> {
        self.publishers.iter().copied().chain(self.consumers.iter().map(|consumer| consumer.client))
    }

    /// A round: [`Plan::messages`] messages.
    pub fn round(&mut self) {
        let before: u64 = self.clients().map(|client| self.net.came(client)).sum();
        self.step();
        let after: u64 = self.clients().map(|client| self.net.came(client)).sum();
        assert_eq!(
            after - before,
            self.came.iter().sum::<u64>(),
            "{}: a round brings too much or too little",
            self.plan.name
        );
    }
}
