//! What a model client does next: honest commands only, so that an error is allowed where another client's command
//! may explain it and nowhere else.

use crate::channel::{Channel, Consumer, Held, Listening, Mode, Pending, State, What};
use crate::client::{Client, Phase};
use crate::message::{Fate, MessageNo, Place, REPLY_QUEUE};
use crate::oracle::Oracle;
use crate::personality::{Action, Personality};
use crate::plan::{QueueNo, REPLY};
use crate::script::{ack, channel_close, consume, get, nack, prefetch};
use crate::sim::Sim;
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, TableWriter, Value};

/// Nothing goes wrong with it.
pub const SAFE: &[u16] = &[];
/// Bytes sent and not read by the broker beyond which a client waits.
const UNREAD_MAX: usize = 128 << 10;

/// One client acting within the run.
pub struct Actor<'a> {
    pub client: &'a mut Client,
    pub sim: &'a mut Sim,
    pub oracle: &'a mut Oracle,
    pub personality: &'a Personality,
}

impl Actor<'_> {
    pub fn below(&mut self, bound: usize) -> usize {
        self.sim.rng().below(bound)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.sim.rng().chance(percent)
    }

    pub fn channel(&mut self, at: u16) -> &mut Channel {
        self.client.channels.get_mut(&at).expect("an open channel")
    }

    /// Sends a command and notes that it is in flight.
    pub fn tell<M: Encode + std::fmt::Debug>(
        &mut self,
        at: u16,
        method: &M,
        id: MethodId,
        what: What,
        answered: bool,
        may_fail: &'static [u16],
    ) {
        self.client.say(self.sim, at, method);
        let pending = Pending { method: id, what, answered, may_fail };
        self.client.channels.get_mut(&at).expect("an open channel").push(self.oracle, pending);
    }

    /// Something, if anything can be done.
    pub fn act(&mut self) {
        if self.client.phase != Phase::Running
            || self.client.in_flight() >= self.personality.in_flight_max
            || self.sim.net.unread_by_broker(self.sim.peers[self.client.peer].socket) > UNREAD_MAX
        {
            return;
        }
        let action = self.personality.action(self.sim.rng());
        let open: Vec<u16> =
            self.client.channels.iter().filter(|(_, c)| c.state == State::Open).map(|(at, _)| *at).collect();
        if open.is_empty() || action == Action::OpenChannel {
            return self.open_channel();
        }
        let at = self.sim.rng().pick(&open);
        match action {
            Action::OpenChannel => {}
            Action::CloseChannel => self.close_channel(at),
            Action::Publish => self.publish_burst(at),
            Action::Consume => self.consume(at),
            Action::Cancel => self.cancel(at),
            Action::Get => self.get(at),
            Action::Ack => self.settle(at, false),
            Action::Requeue => self.settle(at, true),
            Action::Recover => self.recover(at),
            Action::DeclareVolatile => self.declare_volatile(at),
            Action::RemoveVolatile => self.remove_volatile(at),
            Action::Bind => self.bind(at),
            Action::Exchange => self.exchange(at),
            Action::DeclareOwn => self.declare_own(at),
            Action::Probe => self.probe(at),
            Action::Qos => self.qos(at),
            Action::TxEnd => self.tx_end(at),
            Action::Rpc => self.rpc(at),
            Action::CloseConnection => self.client.close(self.sim, self.oracle),
            Action::Cut => self.client.cut(self.sim, self.oracle),
            Action::Stall => {
                let turns = self.sim.net.turns + self.below(300) as u64;
                self.client.stalled_until = turns;
                self.sim.peers[self.client.peer].stalled = true;
            }
        }
    }

    fn open_channel(&mut self) {
        let at = 1 + self.below(4) as u16;
        if !self.client.channels.contains_key(&at) {
            let mode = [Mode::Plain, Mode::Confirm, Mode::Tx][self.sim.rng().weighted(&self.personality.modes)];
            self.client.open_channel(self.sim, self.oracle, at, mode);
        }
    }

    fn close_channel(&mut self, at: u16) {
        self.tell(at, &channel_close(), ChannelClose::ID, What::Close, true, SAFE);
        let channel = self.client.channels.get_mut(&at).expect("an open channel");
        channel.state = State::Closing;
        channel.release(self.oracle);
    }

    /// A queue to consume or get from: its number, its name, and how that may fail.
    fn source(&mut self) -> (QueueNo, String, &'static [u16]) {
        let volatile = self.chance(self.personality.volatile_targets);
        let own = self.client.own.len();
        if own > 0 && self.chance(20) {
            let queue = self.client.own[self.sim.net.rng.below(own)];
            return (queue, self.oracle.name(queue).to_owned(), SAFE);
        }
        let plan = &self.oracle.plan;
        let names = if volatile { &plan.volatile } else { &plan.pillars };
        let name = names[self.sim.net.rng.below(names.len())].clone();
        let queue = self.oracle.number(&name).expect("a queue of the plan");
        (queue, name, if volatile { &[403, 404, 405] } else { SAFE })
    }

    fn consume(&mut self, at: u16) {
        if self.channel(at).consumers.len() >= 4 {
            return;
        }
        let (queue, name, mut may_fail) = self.source();
        let own = self.client.own.contains(&queue);
        let exclusive = self.personality.exclusive_consumers && !own && self.chance(40);
        if self.personality.exclusive_consumers && may_fail.is_empty() && !own {
            may_fail = &[403];
        }
        let no_ack = self.chance(self.personality.no_ack);
        self.start_consumer(at, queue, &name, no_ack, exclusive, may_fail);
    }

    fn start_consumer(
        &mut self,
        at: u16,
        queue: QueueNo,
        name: &str,
        no_ack: bool,
        exclusive: bool,
        may_fail: &'static [u16],
    ) {
        let no_wait = self.chance(self.personality.no_wait);
        let reuse = self.chance(40);
        let generated = !no_wait && self.chance(10);
        let fresh = self.client.fresh_name("t");
        self.client.names += 1;
        let number = (self.client.number as u32) << 24 | self.client.names;
        let channel = self.client.channels.get_mut(&at).expect("an open channel");
        channel.had_consumers = true;
        let tag = match channel.free_tags.pop() {
            Some(tag) if reuse => tag,
            _ => fresh,
        };
        let listening = if no_wait { Listening::Active } else { Listening::Asked };
        let prefetch = channel.prefetch;
        let consumer = Consumer { number, queue, no_ack, prefetch, outstanding: 0, listening };
        let mut arguments = TableWriter::new();
        if queue != REPLY && self.sim.net.rng.chance(25) {
            arguments.put("x-priority", Value::I32(self.sim.net.rng.below(3) as i32 - 1));
        }
        let known = (!generated).then(|| tag.clone());
        if let Some(tag) = &known {
            let before = channel.consumers.insert(tag.clone(), consumer.clone());
            assert!(before.is_none());
        }
        let method = BasicConsume {
            exclusive,
            no_wait,
            arguments: arguments.table(),
            ..consume(name, if generated { "" } else { &tag }, no_ack)
        };
        let what = What::Consume { tag: known, consumer };
        self.tell(at, &method, BasicConsume::ID, what, !no_wait, may_fail);
    }

    fn cancel(&mut self, at: u16) {
        let pick = self.sim.net.rng.next();
        let channel = self.channel(at);
        let active: Vec<String> = channel
            .consumers
            .iter()
            .filter(|(_, c)| c.listening == Listening::Active)
            .map(|(t, _)| t.clone())
            .collect();
        if active.is_empty() {
            return;
        }
        let tag = active[pick as usize % active.len()].clone();
        let no_wait = self.chance(self.personality.no_wait);
        self.cancel_tag(at, tag, no_wait);
    }

    pub fn cancel_tag(&mut self, at: u16, tag: String, no_wait: bool) {
        let channel = self.channel(at);
        let consumer = channel.consumers.get_mut(&tag).expect("a consumer");
        consumer.listening = Listening::Ending;
        if consumer.queue == REPLY {
            channel.listens_for_replies = false;
        }
        let method = BasicCancel { consumer_tag: &tag, no_wait };
        self.tell(at, &method, BasicCancel::ID, What::Cancel { tag: tag.clone() }, !no_wait, SAFE);
    }

    fn get(&mut self, at: u16) {
        let (queue, name, may_fail) = self.source();
        let no_ack = self.chance(self.personality.no_ack);
        // An exclusive consumer does not hinder a get.
        let may_fail: &[u16] = if may_fail.is_empty() { SAFE } else { &[404, 405] };
        self.tell(at, &get(&name, no_ack), BasicGet::ID, What::Get { queue, no_ack }, true, may_fail);
    }

    fn settle(&mut self, at: u16, requeue: bool) {
        let number = self.channel(at).number;
        if self.oracle.channels[number as usize].recovering > 0 {
            return;
        }
        let open: Vec<u64> = self.channel(at).held.iter().filter(|(_, h)| h.in_tx.is_none()).map(|(t, _)| *t).collect();
        let Some(tag) = (!open.is_empty()).then(|| self.sim.net.rng.pick(&open)) else { return };
        let multiple = self.chance(40);
        let style = self.below(3);
        let tags: Vec<u64> = if multiple { open.into_iter().filter(|t| *t <= tag).collect() } else { vec![tag] };
        let mut gone = vec![];
        for tag in tags {
            gone.extend(self.let_go(at, tag, requeue));
        }
        let what = What::Settle(gone);
        match (requeue, style, multiple) {
            (requeue, 0, false) => {
                let method = BasicReject { delivery_tag: tag, requeue };
                self.tell(at, &method, BasicReject::ID, what, false, SAFE);
            }
            (true, ..) | (false, 1, _) => {
                self.tell(at, &nack(tag, multiple, requeue), BasicNack::ID, what, false, SAFE);
            }
            (false, ..) => self.tell(at, &ack(tag, multiple), BasicAck::ID, what, false, SAFE),
        }
    }

    /// Settles one delivery, or notes it for the commit; what is gone with it comes back.
    fn let_go(&mut self, at: u16, tag: u64, requeue: bool) -> Option<(MessageNo, QueueNo)> {
        let channel = self.client.channels.get_mut(&at).expect("an open channel");
        if channel.mode == Mode::Tx {
            if let Some(held) = channel.held.get_mut(&tag) {
                held.in_tx = Some(requeue);
            }
            return None;
        }
        let held = channel.held.remove(&tag)?;
        settle_held(channel, self.oracle, &held, requeue)
    }

    fn recover(&mut self, at: u16) {
        let channel = self.channel(at);
        if channel.mode != Mode::Tx {
            let method = BasicRecover { requeue: true };
            self.tell(at, &method, BasicRecover::ID, What::Recover, true, SAFE);
        }
    }

    fn qos(&mut self, at: u16) {
        let count = self.sim.net.rng.pick(&[0, 1, 1, 2, 5, 20]);
        let global = self.personality.global_qos && self.chance(50);
        let channel = self.channel(at);
        if global {
            channel.global_max = match (channel.had_consumers, channel.global_max) {
                (false, _) => count,
                (true, 0) => 0,
                (true, _) if count == 0 => 0,
                (true, max) => max.max(count),
            };
            channel.global_now = count;
        } else {
            channel.prefetch = count;
        }
        self.tell(at, &prefetch(count, global), BasicQos::ID, What::Other, true, SAFE);
    }

    fn tx_end(&mut self, at: u16) {
        let commit = self.chance(70);
        let channel = self.client.channels.get_mut(&at).expect("an open channel");
        if channel.mode != Mode::Tx {
            return;
        }
        let publishes = std::mem::take(&mut channel.tx_publishes);
        let (method, what) = if commit {
            let tags: Vec<u64> = channel.held.iter().filter(|(_, h)| h.in_tx.is_some()).map(|(t, _)| *t).collect();
            let mut settles = vec![];
            for tag in tags {
                if let Some(held) = channel.held.remove(&tag) {
                    settles.extend(settle_held(channel, self.oracle, &held, held.in_tx == Some(true)));
                }
            }
            for number in &publishes {
                self.oracle.messages[*number as usize].fate = Fate::Sent;
            }
            (Method::TxCommit(TxCommit {}), What::Commit { publishes, settles })
        } else {
            for held in channel.held.values_mut() {
                held.in_tx = None;
            }
            for number in publishes {
                self.oracle.settle_publish(number, Fate::Never);
            }
            (Method::TxRollback(TxRollback {}), What::Other)
        };
        self.tell(at, &method, method.id(), what, true, SAFE);
    }

    /// Listens for replies, asks for one, or gives one.
    fn rpc(&mut self, at: u16) {
        if let Some(name) = self.client.replies_due.pop() {
            return self.publish(at, "", &name, false, false);
        }
        if self.channel(at).listens_for_replies {
            let pillars = &self.oracle.plan.pillars;
            let name = pillars[self.sim.net.rng.below(pillars.len())].clone();
            self.publish(at, "", &name, true, true);
        } else if !self.channel(at).consumers.values().any(|c| c.queue == REPLY) {
            self.channel(at).listens_for_replies = true;
            self.start_consumer(at, REPLY, REPLY_QUEUE, true, false, SAFE);
        }
    }
}

fn settle_held(channel: &mut Channel, oracle: &mut Oracle, held: &Held, requeue: bool) -> Option<(MessageNo, QueueNo)> {
    channel.credit(held);
    let (from, to) = if requeue {
        (Place::Held(channel.number), Place::Ready)
    } else {
        (Place::Held(channel.number), Place::Acking(channel.number))
    };
    oracle.shift(held.number, held.queue, from, to);
    (!requeue).then_some((held.number, held.queue))
}
