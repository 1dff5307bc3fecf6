//! What model clients do to queues, exchanges and bindings.

use crate::actions::{Actor, SAFE};
use crate::channel::What;
use crate::plan::{Binding, To};
use crate::rng::mix;
use crate::script::{
    AUTO_DELETE, EXCLUSIVE, Flags, PASSIVE, PLAIN, exchange_declare, queue_bind, queue_declare, queue_delete,
};
use leveret::amqp::Table;
use leveret::amqp::method::*;

const CHURN_KEYS: [&str; 2] = ["c0", "c1"];

impl Actor<'_> {
    fn volatile_name(&mut self) -> String {
        let names = &self.oracle.plan.volatile;
        names[self.sim.net.rng.below(names.len())].clone()
    }

    fn volatile_exchange(&mut self) -> String {
        let names = &self.oracle.plan.volatile_exchanges;
        names[self.sim.net.rng.below(names.len())].clone()
    }

    pub fn declare_volatile(&mut self, at: u16) {
        let name = self.volatile_name();
        let kinds = [PLAIN, AUTO_DELETE, EXCLUSIVE, Flags { durable: true, ..PLAIN }];
        let usual = mix(name.as_bytes()[1].into()) as usize % kinds.len();
        let kind = if self.chance(85) { usual } else { self.below(kinds.len()) };
        let passive = self.chance(20);
        let flags = Flags { passive, ..kinds[kind] };
        let no_wait = self.chance(self.personality.no_wait);
        let method = QueueDeclare { no_wait, ..queue_declare(&name, flags) };
        let may_fail: &[u16] = if passive { &[404, 405] } else { &[405, 406] };
        let what = What::Declare { name: name.clone() };
        self.tell(at, &method, QueueDeclare::ID, what, !no_wait, may_fail);
    }

    pub fn remove_volatile(&mut self, at: u16) {
        let name = self.volatile_name();
        let no_wait = self.chance(self.personality.no_wait);
        if self.chance(30) {
            let method = QueuePurge { reserved_1: 0, queue: &name, no_wait };
            return self.tell(at, &method, QueuePurge::ID, What::Other, !no_wait, &[404, 405]);
        }
        let (if_unused, if_empty) = (self.chance(20), self.chance(20));
        let method = QueueDelete { if_unused, if_empty, no_wait, ..queue_delete(&name) };
        let may_fail: &[u16] = if if_unused || if_empty { &[405, 406] } else { &[405] };
        self.tell(at, &method, QueueDelete::ID, What::Other, !no_wait, may_fail);
    }

    pub fn bind(&mut self, at: u16) {
        let rng = &mut self.sim.net.rng;
        let key = rng.pick(&CHURN_KEYS);
        let (to_exchange, from_volatile) = (rng.chance(15), rng.chance(50));
        let standing: Vec<&str> =
            self.oracle.plan.exchanges.iter().filter(|x| x.alternate.is_none()).map(|x| x.name).collect();
        let some_standing = rng.pick(&standing).to_owned();
        let source = if from_volatile { self.volatile_exchange() } else { some_standing.clone() };
        let unbind = self.chance(35);
        if to_exchange {
            let destination = if from_volatile { some_standing } else { self.volatile_exchange() };
            return self.bind_exchange(at, &destination, &source, key, unbind);
        }
        let own = self.client.own.len();
        let (queue, own_or_pillar) = match self.below(4) {
            0 if own > 0 => {
                let queue = self.client.own[self.sim.net.rng.below(own)];
                (self.oracle.name(queue).to_owned(), true)
            }
            1 => {
                let pillars = &self.oracle.plan.pillars;
                (pillars[self.sim.net.rng.below(pillars.len())].clone(), true)
            }
            _ => (self.volatile_name(), false),
        };
        if unbind {
            let method = QueueUnbind {
                reserved_1: 0,
                queue: &queue,
                exchange: &source,
                routing_key: key,
                arguments: Table::EMPTY,
            };
            let may_fail: &[u16] = if own_or_pillar { SAFE } else { &[405] };
            return self.tell(at, &method, QueueUnbind::ID, What::Other, true, may_fail);
        }
        let to = To::Queue(queue.clone());
        self.note_binding(&source, to, key);
        let may_fail: &[u16] = match (own_or_pillar, from_volatile) {
            (true, false) => SAFE,
            (true, true) => &[404],
            (false, _) => &[404, 405],
        };
        let no_wait = self.chance(self.personality.no_wait);
        let method = QueueBind { no_wait, ..queue_bind(&queue, &source, key) };
        self.tell(at, &method, QueueBind::ID, What::Other, !no_wait, may_fail);
    }

    fn bind_exchange(&mut self, at: u16, destination: &str, source: &str, routing_key: &str, unbind: bool) {
        let (reserved_1, no_wait, arguments) = (0, false, Table::EMPTY);
        if unbind {
            let method = ExchangeUnbind { reserved_1, destination, source, routing_key, no_wait, arguments };
            return self.tell(at, &method, ExchangeUnbind::ID, What::Other, true, SAFE);
        }
        self.note_binding(source, To::Exchange(destination.into()), routing_key);
        let method = ExchangeBind { reserved_1, destination, source, routing_key, no_wait, arguments };
        self.tell(at, &method, ExchangeBind::ID, What::Other, true, &[404]);
    }

    fn note_binding(&mut self, source: &str, to: To, key: &str) {
        let binding = Binding { source: source.into(), to, key: key.into(), header: None };
        if !self.oracle.plan.ever.contains(&binding) {
            self.oracle.plan.ever.push(binding);
        }
    }

    pub fn exchange(&mut self, at: u16) {
        let name = self.volatile_exchange();
        if self.chance(35) {
            let if_unused = self.chance(30);
            let method = ExchangeDelete { reserved_1: 0, exchange: &name, if_unused, no_wait: false };
            let may_fail: &[u16] = if if_unused { &[406] } else { SAFE };
            return self.tell(at, &method, ExchangeDelete::ID, What::Other, true, may_fail);
        }
        let kind = if self.chance(80) { "direct" } else { "fanout" };
        let auto_delete = name == "e1" && self.chance(90);
        let no_wait = self.chance(self.personality.no_wait);
        let method = ExchangeDeclare { auto_delete, no_wait, ..exchange_declare(&name, kind) };
        self.tell(at, &method, ExchangeDeclare::ID, What::Other, !no_wait, &[406]);
    }

    pub fn declare_own(&mut self, at: u16) {
        if self.client.own.len() < 4 {
            let method = queue_declare("", EXCLUSIVE);
            self.tell(at, &method, QueueDeclare::ID, What::DeclareOwn, true, SAFE);
        }
    }

    /// Looks whether what must stand stands, and what must be gone is gone.
    pub fn probe(&mut self, at: u16) {
        let gone = self.oracle.gone.len();
        if gone > 0 && self.chance(50) {
            let name = self.oracle.gone[self.sim.net.rng.below(gone)].clone();
            let method = queue_declare(&name, PASSIVE);
            return self.tell(at, &method, QueueDeclare::ID, What::Probe { name: name.clone() }, true, &[404]);
        }
        let pillar = self.below(self.oracle.plan.pillars.len());
        let name = self.oracle.plan.pillars[pillar].clone();
        let durable = self.oracle.plan.pillars_durable[pillar];
        let flags = Flags { passive: self.chance(50), durable, ..PLAIN };
        let what = What::Declare { name: name.clone() };
        self.tell(at, &queue_declare(&name, flags), QueueDeclare::ID, what, true, SAFE);
    }
}
