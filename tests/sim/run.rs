//! One run: set up, let the clients loose, heal the world, and count.

use crate::actions::{Actor, SAFE};
use crate::channel::{Listening, What};
use crate::client::{Client, Phase};
use crate::message::MessageNo;
use crate::oracle::{Arrival, Oracle};
use crate::personality::Personality;
use crate::plan::{Binding, HEADER, Plan, QueueNo, To};
use crate::rng::Rng;
use crate::script::{Flags, PLAIN, exchange_declare, prefetch, queue_bind, queue_declare, queue_delete};
use crate::sim::{PeerId, RAISED_WAIT_MS, Sim};
use crate::wire::Heard;
use crate::world::Faults;
use leveret::amqp::method::{BasicQos, ExchangeBind, ExchangeDeclare, QueueBind};
use leveret::amqp::{Table, TableWriter, Value};
use leveret::config::Settings;
use std::collections::BTreeMap;

/// What a run came to, for the determinism test and for a look at how much was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub output_hash: u64,
    pub turns: u64,
    pub messages: usize,
    pub deliveries: u64,
}

/// A run with the personality of `seed`.
pub fn churn(seed: u64, trace: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let personality = Personality::draw(&mut rng);
    let plan = Plan::draw(&mut rng, personality.pillars, personality.volatile, personality.volatile_exchanges);
    let mut run = Run::new(Sim::new, plan, personality, rng.next(), trace);
    run.churn();
    run.heal();
    let auditor = run.sim.open(0);
    run.sim.open_channel(auditor, 1);
    run.audit(auditor);
    run.stop();
    run.drain(auditor);
    run.outcome()
}

/// A run with a data directory, in which the broker goes down and comes up again.
pub fn durable(seed: u64, trace: bool) -> Outcome {
    let mut rng = Rng::new(seed ^ 0xd0_ab1e);
    let mut personality = Personality::draw(&mut rng);
    personality.durable(&mut rng);
    let plan = Plan::draw(&mut rng, personality.pillars, personality.volatile, personality.volatile_exchanges);
    let mut run = Run::new(Sim::with_store, plan, personality, rng.next(), trace);
    for _ in 0..rng.below(4) {
        run.churn();
        run.go_down();
    }
    run.sim.disk().carry_on();
    run.churn();
    run.heal();
    let auditor = run.sim.open(0);
    run.sim.open_channel(auditor, 1);
    run.audit(auditor);
    run.stop();
    run.sim.close_connection(auditor);
    if run.sim.net.rng.chance(70) {
        run.stop_in_order();
        run.sim.disk().carry_on();
    }
    let auditor = run.sim.open(0);
    run.sim.open_channel(auditor, 1);
    run.drain(auditor);
    run.outcome()
}

pub struct Run {
    pub sim: Sim,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    pub personality: Personality,
    connections: u32,
}

/// Makes a broker: of a seed, shards, settings, faults, and whether it says what it does.
type MakeSim = fn(u64, usize, Settings, Faults, bool) -> Sim;

impl Run {
    /// A run in which everything stands that is to stand.
    fn new(make: MakeSim, plan: Plan, personality: Personality, seed: u64, trace: bool) -> Run {
        if trace {
            eprintln!("{personality:#?}");
        }
        let sim = make(seed, personality.shards, personality.settings.clone(), personality.faults.clone(), trace);
        let clients = (0..personality.clients).map(Client::new).collect();
        let mut run = Run { sim, oracle: Oracle::new(plan), clients, personality, connections: 0 };
        run.set_up();
        run
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            output_hash: self.sim.net.output_hash,
            turns: self.sim.net.turns,
            messages: self.oracle.messages.len(),
            deliveries: self.oracle.deliveries,
        }
    }

    pub fn set_up(&mut self) {
        self.set_up_but(|_| false);
    }

    /// Declares and binds what stands, but for what is there already.
    pub fn set_up_but(&mut self, is_there: impl Fn(&str) -> bool) {
        let plan = self.oracle.plan.clone();
        let admins: Vec<PeerId> = (0..self.personality.shards)
            .map(|shard| {
                let peer = self.sim.open(shard);
                self.sim.open_channel(peer, 1);
                peer
            })
            .collect();
        for (at, name) in plan.pillars.iter().enumerate().filter(|(_, name)| !is_there(name)) {
            let flags = Flags { durable: plan.pillars_durable[at], ..PLAIN };
            let admin = admins[at % admins.len()];
            self.sim.must(admin, 1, &queue_declare(name, flags));
        }
        for exchange in plan.exchanges.iter().filter(|exchange| !is_there(exchange.name)) {
            let mut arguments = TableWriter::new();
            if let Some(alternate) = exchange.alternate {
                arguments.put("alternate-exchange", Value::LongStr(alternate.as_bytes()));
            }
            let declare = ExchangeDeclare {
                durable: exchange.durable,
                arguments: arguments.table(),
                ..exchange_declare(exchange.name, exchange.kind.name())
            };
            let admin = self.sim.net.rng.pick(&admins);
            self.sim.must(admin, 1, &declare);
        }
        let binding_is_there = |binding: &Binding| {
            let (To::Queue(to) | To::Exchange(to)) = &binding.to;
            is_there(&binding.source) && is_there(to)
        };
        for binding in plan.bindings.iter().filter(|binding| !binding_is_there(binding)) {
            let admin = self.sim.net.rng.pick(&admins);
            let mut arguments = TableWriter::new();
            if let Some(header) = binding.header {
                arguments.put("x-match", Value::LongStr(b"all"));
                arguments.put(HEADER, Value::I32(header));
            }
            let arguments = arguments.table();
            match &binding.to {
                To::Queue(queue) => {
                    let bind = QueueBind { arguments, ..queue_bind(queue, &binding.source, &binding.key) };
                    self.sim.must(admin, 1, &bind);
                }
                To::Exchange(destination) => {
                    let bind = ExchangeBind {
                        reserved_1: 0,
                        destination,
                        source: &binding.source,
                        routing_key: &binding.key,
                        no_wait: false,
                        arguments: Table::EMPTY,
                    };
                    self.sim.must(admin, 1, &bind);
                }
            }
        }
        for admin in admins {
            self.sim.close_connection(admin);
        }
    }

    fn churn(&mut self) {
        for _ in 0..self.personality.steps {
            for _ in 0..self.sim.net.rng.range(1, 6) {
                if !self.sim.step() {
                    break;
                }
            }
            if self.sim.is_down() {
                return;
            }
            if self.sim.net.rng.chance(2) {
                self.sim.net.now_ms += self.sim.net.rng.below(1500) as u64;
            }
            if self.personality.alarms > 0 && self.sim.net.rng.chance(self.personality.alarms) {
                self.sim.toggle_alarm();
            }
            let at = self.sim.net.rng.below(self.clients.len());
            let client = &mut self.clients[at];
            if client.phase == Phase::Offline {
                if self.sim.net.rng.chance(30) {
                    let shard = self.sim.net.rng.below(self.personality.shards);
                    self.connections += 1;
                    client.connect(&mut self.sim, shard, self.connections, self.personality.frame_max);
                    self.sim.peers[client.peer].read_max = self.personality.client_read_max;
                }
                continue;
            }
            if client.stalled_until > 0 && self.sim.net.turns >= client.stalled_until {
                client.stalled_until = 0;
                self.sim.peers[client.peer].stalled = false;
            }
            client.listen(&mut self.sim, &mut self.oracle);
            let (sim, oracle, personality) = (&mut self.sim, &mut self.oracle, &self.personality);
            Actor { client, sim, oracle, personality }.act();
        }
    }

    /// Everybody reads, nothing is held back, and the system comes to rest.
    fn heal(&mut self) {
        self.sim.net.heal();
        self.sim.end_alarms();
        for peer in &mut self.sim.peers {
            peer.stalled = false;
            peer.read_max = usize::MAX;
        }
        self.rest();
        // What had no answer is known to be done when something behind it has one.
        self.each_channel(|actor, at| {
            let count = actor.channel(at).prefetch;
            actor.tell(at, &prefetch(count, false), BasicQos::ID, What::Other, true, SAFE);
        });
        self.rest();
        // What a channel's new limit lets through comes a little later.
        self.sim.net.now_ms += RAISED_WAIT_MS;
        self.rest();
        for client in &self.clients {
            client.check_rest(&self.oracle);
        }
    }

    pub fn rest(&mut self) {
        loop {
            self.sim.rest();
            let mut heard = false;
            for client in &mut self.clients {
                heard |= client.phase != Phase::Offline && !self.sim.peers[client.peer].heard.is_empty();
                client.listen(&mut self.sim, &mut self.oracle);
            }
            if !heard {
                return;
            }
        }
    }

    fn each_channel(&mut self, mut action: impl FnMut(&mut Actor<'_>, u16)) {
        for client in &mut self.clients {
            let open: Vec<u16> = client.channels.keys().copied().collect();
            let (sim, oracle, personality) = (&mut self.sim, &mut self.oracle, &self.personality);
            let mut actor = Actor { client, sim, oracle, personality };
            for at in open {
                action(&mut actor, at);
            }
        }
    }

    /// At rest with all clients there: counts fit, and nobody with credit waits beside a queue with messages.
    fn audit(&mut self, auditor: PeerId) {
        for queue in 0..self.oracle.plan.pillars.len() as QueueNo {
            let name = self.oracle.name(queue).to_owned();
            let (ready, consumers) = self.sim.counts(auditor, 1, &name).expect("a queue that stands");
            let (mut listening, mut hungry) = (0, vec![]);
            for client in self.clients.iter().filter(|c| c.phase == Phase::Running) {
                for (at, channel) in &client.channels {
                    let used = channel.held.values().filter(|held| held.consumer.is_some()).count();
                    for (tag, consumer) in channel.consumers.iter().filter(|(_, c)| c.queue == queue) {
                        assert_eq!(consumer.listening, Listening::Active);
                        listening += 1;
                        let credit = consumer.prefetch == 0 || consumer.outstanding < usize::from(consumer.prefetch);
                        let common = channel.global_now == 0 || used < usize::from(channel.global_now);
                        if consumer.no_ack || (credit && common) {
                            hungry.push(format!("{tag} of client {} channel {at}", client.number));
                        }
                    }
                }
            }
            assert_eq!(consumers, listening, "consumers of {name}");
            assert!(ready == 0 || hungry.is_empty(), "{name} has {ready} messages ready, and room have {hungry:?}");
            let (sure, maybe) = self.oracle.expected(queue);
            let waits = |number: &&MessageNo| {
                !matches!(self.oracle.messages[**number as usize].place(queue), crate::message::Place::Held(_))
            };
            let waiting: Vec<&MessageNo> = sure.iter().filter(waits).collect();
            assert!(
                (waiting.len()..=sure.len() + maybe.len()).contains(&(ready as usize)),
                "{name} has {ready} messages ready; there must be {waiting:?}, and there may be {maybe:?}",
            );
        }
        for name in self.oracle.gone.clone() {
            assert_eq!(self.sim.counts(auditor, 1, &name), None, "{name} should be gone");
        }
    }

    /// All clients leave, each in its way. Consumers that would take messages with them are cancelled before.
    fn stop(&mut self) {
        self.each_channel(|actor, at| {
            let greedy: Vec<String> =
                actor.channel(at).consumers.iter().filter(|(_, c)| c.no_ack).map(|(tag, _)| tag.clone()).collect();
            for tag in greedy {
                actor.cancel_tag(at, tag, false);
            }
        });
        self.rest();
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.phase != Phase::Running {
                continue;
            }
            if self.sim.net.rng.chance(50) {
                client.close(&mut self.sim, &mut self.oracle);
            } else {
                client.cut(&mut self.sim, &mut self.oracle);
            }
        }
        self.rest();
        for client in &self.clients {
            assert_eq!(client.phase, Phase::Offline);
        }
    }

    /// What is left in the queues is what must be.
    fn drain(&mut self, auditor: PeerId) {
        let channel = self.oracle.add_channel();
        for queue in 0..self.oracle.plan.pillars.len() as QueueNo {
            let name = self.oracle.name(queue).to_owned();
            let (sure, maybe) = self.oracle.expected(queue);
            let (ready, consumers) = self.sim.counts(auditor, 1, &name).expect("a queue that stands");
            assert_eq!(consumers, 0, "consumers of {name} when all are gone");
            let mut found = vec![];
            let mut last_of: BTreeMap<u32, MessageNo> = BTreeMap::new();
            while let Some((delivery, remaining)) = self.sim.get_one(auditor, 1, &name) {
                let arrival = Arrival { queue, channel, order_scope: None, no_ack: true };
                let (number, _) = self.oracle.arrived(arrival, &delivery);
                found.push(number);
                assert_eq!(found.len() as u32 + remaining, ready, "messages in {name}");
                let publisher = self.oracle.messages[number as usize].publisher;
                let last = last_of.insert(publisher, number);
                assert!(last < Some(number), "{name}: {number} comes after {last:?} of the same publisher");
            }
            found.sort_unstable();
            let lost: Vec<&MessageNo> = sure.iter().filter(|number| found.binary_search(number).is_err()).collect();
            assert!(lost.is_empty(), "lost in {name}: {lost:?}");
            let extra: Vec<&MessageNo> =
                found.iter().filter(|number| !sure.contains(number) && !maybe.contains(number)).collect();
            assert!(extra.is_empty(), "in {name} and should not be: {extra:?}");
        }
        for name in self.oracle.plan.pillars.clone() {
            let heard = self.sim.must(auditor, 1, &queue_delete(&name));
            assert_eq!(heard, Heard::DeleteOk { messages: 0 });
            assert_eq!(self.sim.counts(auditor, 1, &name), None);
        }
        self.sim.close_connection(auditor);
        self.sim.rest();
        for shard in &self.sim.shards {
            assert_eq!(shard.connection_count(), 0, "connections of {:?} when all are gone", shard.id());
        }
    }
}
