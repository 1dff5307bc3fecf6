//! The broker goes down and comes up again: what the oracle expects then.

use crate::message::{Fate, MessageNo, Place};
use crate::oracle::{Oracle, QueueKind};
use crate::plan::{QueueNo, REPLY};
use crate::run::Run;
use crate::script::exchange_declare;
use leveret::amqp::method::ExchangeDeclare;

/// How a broker went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// In order: everything that was carried out is there afterwards, exactly.
    InOrder,
    /// By a crash: what was confirmed is there; of the rest nobody knows.
    Crashed,
}

impl Oracle {
    /// Whether a queue may be there after a start.
    fn survives(&self, queue: QueueNo) -> bool {
        match self.kind(queue) {
            QueueKind::Pillar => self.plan.pillars_durable[usize::from(queue)],
            // With some flags or others.
            QueueKind::Volatile => true,
            QueueKind::Own => false,
        }
    }

    /// The broker has gone down; everybody was cut off.
    pub fn went_down(&mut self, down: Down) {
        for number in 0..self.messages.len() {
            self.message_went_down(number as MessageNo, down);
        }
        self.reply_names.clear();
        self.started_at = self.messages.len() as MessageNo;
    }

    fn message_went_down(&mut self, number: MessageNo, down: Down) {
        let message = &self.messages[number as usize];
        let (persistent, confirmed) = (message.is_persistent(), message.confirmed);
        let mut queues: Vec<QueueNo> = (0..self.plan.pillars.len() as QueueNo).collect();
        queues.extend(&message.must);
        queues.extend(message.copies.iter().map(|copy| copy.queue));
        queues.sort_unstable();
        queues.dedup();
        if down == Down::Crashed && message.fate == Fate::Sure && !confirmed {
            self.messages[number as usize].fate = Fate::Maybe;
        }
        for queue in queues {
            let kept = queue != REPLY && persistent && self.survives(queue);
            let certain = self.kind(queue) == QueueKind::Pillar && (confirmed || down == Down::InOrder);
            let copy = self.messages[number as usize].copy(queue);
            copy.place = match copy.place {
                _ if !kept => Place::Gone,
                Place::Ready | Place::Held(_) if certain => Place::Ready,
                Place::Gone if down == Down::InOrder => Place::Gone,
                _ => Place::MaybeGone,
            };
        }
    }
}

impl Run {
    /// The end is drawn before a life begins: the machine goes down by itself then, at some operation of the disk.
    pub fn draw_end(&mut self) {
        let rng = &mut self.sim.net.rng;
        let (soon, power) = (rng.chance(70), rng.chance(70));
        let within = rng.pick(&[20, 200, 1000]);
        let after = rng.range(1, within) as u64;
        if soon {
            let disk = self.sim.disk();
            let at = disk.operations() + after;
            if power { disk.cut_power_at(at) } else { disk.kill_at(at) }
        }
    }

    /// The broker goes down, one way or the other, and comes up again.
    pub fn go_down(&mut self) {
        if !self.sim.is_down() && self.sim.net.rng.chance(40) {
            self.sim.disk().carry_on();
            return self.stop_in_order();
        }
        for client in &mut self.clients {
            // Some still read what was sent to them.
            if client.phase != crate::client::Phase::Offline && self.sim.net.rng.chance(50) {
                self.sim.poll(client.peer);
                client.listen(&mut self.sim, &mut self.oracle);
            }
        }
        if !self.sim.is_down() {
            if self.sim.net.rng.chance(50) { self.sim.disk().kill() } else { self.sim.disk().cut_power() }
        }
        self.come_up(Down::Crashed);
    }

    /// Everybody is cut off, the broker stops in order, and comes up again.
    pub fn stop_in_order(&mut self) {
        for client in &mut self.clients {
            client.lose_broker(&mut self.sim, &mut self.oracle);
        }
        assert!(self.sim.stop_in_order(), "it did not stop in order");
        self.come_up(Down::InOrder);
    }

    fn come_up(&mut self, down: Down) {
        for client in &mut self.clients {
            client.lose_broker(&mut self.sim, &mut self.oracle);
        }
        if self.sim.net.trace {
            eprintln!("{:>6} the broker went down: {down:?}", self.sim.net.turns);
        }
        self.oracle.went_down(down);
        let shards = self.sim.net.rng.pick(&[1, 2, 3, 4]);
        self.sim.restart(shards);
        self.personality.shards = shards;
        self.find_durable();
    }

    /// What is durable is there, and nothing else; that is declared anew.
    fn find_durable(&mut self) {
        let shard = self.sim.net.rng.below(self.personality.shards);
        let admin = self.sim.open(shard);
        self.sim.open_channel(admin, 1);
        let plan = self.oracle.plan.clone();
        for (at, name) in plan.pillars.iter().enumerate() {
            let there = self.sim.counts(admin, 1, name).is_some();
            assert_eq!(there, plan.pillars_durable[at], "queue {name}, durable: {}", plan.pillars_durable[at]);
        }
        for exchange in &plan.exchanges {
            let declare = ExchangeDeclare { passive: true, ..exchange_declare(exchange.name, exchange.kind.name()) };
            let there = self.sim.call(admin, 1, &declare);
            assert_eq!(there.is_ok(), exchange.durable, "exchange {}: {there:?}", exchange.name);
            if there.is_err() {
                self.sim.open_channel(admin, 1);
            }
        }
        self.sim.close_connection(admin);
        let queues = plan.pillars.iter().zip(&plan.pillars_durable);
        let mut durable: Vec<&str> = queues.filter(|(_, durable)| **durable).map(|(name, _)| name.as_str()).collect();
        durable.extend(plan.exchanges.iter().filter(|exchange| exchange.durable).map(|exchange| exchange.name));
        self.set_up_but(|name| durable.contains(&name));
        self.draw_end();
    }
}
