//! Publishing, and what must become of it.

use crate::actions::{Actor, SAFE};
use crate::channel::{Mode, Pending, What};
use crate::message::{Fate, Message, MessageNo, REPLY_QUEUE, body, properties};
use crate::plan::{KEYS, QueueNo};
use leveret::amqp::method::BasicPublish;

impl Actor<'_> {
    pub fn publish_burst(&mut self, at: u16) {
        let count = self.sim.rng().range(1, self.personality.burst_max);
        for _ in 0..count {
            let mandatory = self.chance(self.personality.mandatory);
            let volatile = self.chance(self.personality.volatile_targets);
            let plan = &self.oracle.plan;
            let rng = &mut self.sim.net.rng;
            let (exchange, key) = match (volatile, rng.below(10)) {
                (_, 0) => (String::new(), format!("nowhere{}", rng.below(3))),
                (_, 1) if !self.client.own.is_empty() => {
                    let own = rng.pick(&self.client.own);
                    (String::new(), self.oracle.name(own).to_owned())
                }
                (true, 2..5) => {
                    (plan.volatile_exchanges[rng.below(plan.volatile_exchanges.len())].clone(), key_of(rng))
                }
                (true, _) => (String::new(), plan.volatile[rng.below(plan.volatile.len())].clone()),
                (false, 2..6) => (String::new(), plan.pillars[rng.below(plan.pillars.len())].clone()),
                (false, _) => (plan.exchanges[rng.below(plan.exchanges.len())].name.to_owned(), key_of(rng)),
            };
            self.publish(at, &exchange, &key, mandatory, false);
        }
    }

    /// Publishes one message, and says what must become of it.
    pub fn publish(&mut self, at: u16, exchange: &str, key: &str, mandatory: bool, asks_reply: bool) {
        let number = self.oracle.messages.len() as MessageNo;
        let rng = &mut self.sim.net.rng;
        let bytes_max = [16, 256, 4 << 10, 40 << 10][rng.weighted(&self.personality.sizes)];
        let body_bytes = rng.below(bytes_max + 1);
        let header = rng.chance(40).then(|| rng.below(3) as i32);
        let properties = properties(number, body_bytes, header, asks_reply.then_some(REPLY_QUEUE));
        let mut must: Vec<QueueNo> =
            self.oracle.plan.must(exchange, key, header).iter().filter_map(|name| self.oracle.number(name)).collect();
        if exchange.is_empty() {
            must.extend(self.client.own.iter().copied().filter(|own| self.oracle.name(*own) == key));
        }
        let volatile_exchange = self.oracle.plan.volatile_exchanges.iter().any(|name| name == exchange);
        let client = &*self.client;
        if self.sim.net.trace {
            eprintln!(
                "{:>6} c{} #{at} → m{number} to {exchange:?} {key:?}, {body_bytes} bytes{}",
                self.sim.net.turns,
                client.number,
                if mandatory { ", mandatory" } else { "" }
            );
        }
        self.sim.publish(client.peer, at, exchange, key, mandatory, &properties, &body(number, body_bytes));
        let channel = self.client.channels.get_mut(&at).expect("an open channel");
        self.oracle.messages.push(Message {
            exchange: exchange.into(),
            key: key.into(),
            header,
            properties,
            body_bytes,
            mandatory,
            asks_reply,
            publisher: channel.number,
            fate: if channel.mode == Mode::Tx { Fate::InTx } else { Fate::Sent },
            confirmed: false,
            returned: false,
            must_return: mandatory && exchange.is_empty() && key.starts_with("nowhere"),
            must,
            copies: vec![],
        });
        channel.published += 1;
        let what = match channel.mode {
            Mode::Plain => What::Publish(number),
            Mode::Confirm => {
                channel.unconfirmed.insert(channel.published, number);
                What::Publish(number)
            }
            Mode::Tx => {
                channel.tx_publishes.push(number);
                What::Other
            }
        };
        let may_fail: &[u16] = if volatile_exchange { &[404] } else { SAFE };
        channel.push(self.oracle, Pending { method: BasicPublish::ID, what, answered: false, may_fail });
    }
}

fn key_of(rng: &mut crate::rng::Rng) -> String {
    if rng.chance(20) { rng.pick(&["c0", "c1"]).into() } else { rng.pick(&KEYS).into() }
}
