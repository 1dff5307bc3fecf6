//! A model client's channel: what was asked and not answered, what it holds, what it may still get.

use crate::message::{ChannelNo, Fate, MessageNo, Place};
use crate::oracle::{Arrival, Oracle, QueueKind};
use crate::plan::{QueueNo, REPLY};
use crate::wire::{Delivery, Heard};
use leveret::amqp::MethodId;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Confirm,
    Tx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// channel.close sent.
    Closing,
}

/// What a command in flight does when it is done.
#[derive(Debug)]
pub enum What {
    Other,
    Open,
    Close,
    Publish(MessageNo),
    /// Ack, or reject without requeue, of these.
    Settle(Vec<(MessageNo, QueueNo)>),
    Commit {
        publishes: Vec<MessageNo>,
        settles: Vec<(MessageNo, QueueNo)>,
    },
    Recover,
    Consume {
        tag: Option<String>,
        consumer: Consumer,
    },
    Cancel {
        tag: String,
    },
    Get {
        queue: QueueNo,
        no_ack: bool,
    },
    /// A declare that names its queue itself.
    DeclareOwn,
    Declare {
        name: String,
    },
    /// A passive declare of a queue that is gone for good.
    Probe {
        name: String,
    },
}

/// A command in flight.
#[derive(Debug)]
pub struct Pending {
    pub method: MethodId,
    pub what: What,
    /// Whether an answer is due.
    pub answered: bool,
    /// The codes with which it may close the channel.
    pub may_fail: &'static [u16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Asked, consume-ok not seen.
    Asked,
    Active,
    /// Cancelled without waiting.
    Ending,
}

#[derive(Debug, Clone)]
pub struct Consumer {
    pub number: u32,
    pub queue: QueueNo,
    pub no_ack: bool,
    pub prefetch: u16,
    pub outstanding: usize,
    pub listening: Listening,
}

/// A delivery that waits for its settlement.
#[derive(Debug, Clone)]
pub struct Held {
    pub number: MessageNo,
    pub queue: QueueNo,
    pub consumer: Option<u32>,
    /// Settled in a transaction that is not committed; with requeue or without.
    pub in_tx: Option<bool>,
}

#[derive(Debug)]
pub struct Channel {
    pub number: ChannelNo,
    pub connection: u32,
    pub mode: Mode,
    pub state: State,
    pub pending: VecDeque<Pending>,
    pub next_tag: u64,
    pub held: BTreeMap<u64, Held>,
    pub consumers: BTreeMap<String, Consumer>,
    pub published: u64,
    pub unconfirmed: BTreeMap<u64, MessageNo>,
    pub tx_publishes: Vec<MessageNo>,
    /// The prefetch of the next consumer.
    pub prefetch: u16,
    /// The loosest limit over all consumers that may hold; 0: none.
    pub global_max: u16,
    /// The limit over all consumers asked for last.
    pub global_now: u16,
    pub had_consumers: bool,
    pub free_tags: Vec<String>,
    pub listens_for_replies: bool,
}

impl Channel {
    pub fn new(number: ChannelNo, connection: u32, mode: Mode) -> Channel {
        Channel {
            number,
            connection,
            mode,
            state: State::Open,
            pending: VecDeque::new(),
            next_tag: 1,
            held: BTreeMap::new(),
            consumers: BTreeMap::new(),
            published: 0,
            unconfirmed: BTreeMap::new(),
            tx_publishes: vec![],
            prefetch: 0,
            global_max: 0,
            global_now: 0,
            had_consumers: false,
            free_tags: vec![],
            listens_for_replies: false,
        }
    }

    pub fn push(&mut self, oracle: &mut Oracle, pending: Pending) {
        if !pending.may_fail.is_empty() {
            oracle.channel(self.number).fallible += 1;
        }
        if matches!(pending.what, What::Recover) {
            oracle.channel(self.number).recovering += 1;
        }
        self.pending.push_back(pending);
    }

    fn pop(&mut self, oracle: &mut Oracle) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        let channel = oracle.channel(self.number);
        channel.fallible -= u32::from(!pending.may_fail.is_empty());
        channel.recovering -= u32::from(matches!(pending.what, What::Recover));
        Some(pending)
    }

    /// An answer came: the silent commands before it are done too.
    pub fn answered(&mut self, oracle: &mut Oracle, heard: &Heard) -> What {
        loop {
            let Some(pending) = self.pop(oracle) else { panic!("an answer to nothing: {heard:?}") };
            if pending.answered {
                assert!(answers(&pending, heard), "{heard:?} is not the answer to {pending:?}");
                return pending.what;
            }
            self.done(oracle, pending.what);
        }
    }

    /// A command without answer has been carried out.
    fn done(&mut self, oracle: &mut Oracle, what: What) {
        match what {
            // A confirm may lag, but taken it is.
            What::Publish(number) => oracle.settle_publish(number, Fate::Sure),
            What::Settle(list) => self.settled(oracle, &list, Place::Gone),
            What::Cancel { tag } => {
                self.consumers.remove(&tag);
                self.free_tags.push(tag);
            }
            What::Consume { tag: Some(tag), .. } => {
                if let Some(consumer) = self.consumers.get_mut(&tag)
                    && consumer.listening == Listening::Asked
                {
                    consumer.listening = Listening::Active;
                }
            }
            _ => {}
        }
    }

    fn settled(&self, oracle: &mut Oracle, list: &[(MessageNo, QueueNo)], to: Place) {
        for (number, queue) in list {
            oracle.shift(*number, *queue, Place::Acking(self.number), to);
        }
    }

    /// The commit was answered.
    pub fn committed(&mut self, oracle: &mut Oracle, publishes: &[MessageNo], settles: &[(MessageNo, QueueNo)]) {
        for number in publishes {
            oracle.settle_publish(*number, Fate::Sure);
        }
        self.settled(oracle, settles, Place::Gone);
    }

    /// A command is known not to have run, or nobody knows.
    fn lost(&mut self, oracle: &mut Oracle, what: What, known: bool) {
        let (fate, place) = if known { (Fate::Never, Place::Ready) } else { (Fate::Maybe, Place::MaybeGone) };
        match what {
            What::Publish(number) => oracle.settle_publish(number, fate),
            What::Settle(list) => self.settled(oracle, &list, place),
            What::Commit { publishes, settles } => {
                for number in publishes {
                    oracle.settle_publish(number, fate);
                }
                self.settled(oracle, &settles, place);
            }
            What::Get { queue, no_ack: true } if !known => oracle.lossy(queue),
            _ => {}
        }
    }

    /// The client gives up what the channel holds: it closes, or the connection does. Pending commands keep running.
    pub fn release(&mut self, oracle: &mut Oracle) {
        oracle.channel(self.number).ending = true;
        for held in self.held.values() {
            oracle.shift(held.number, held.queue, Place::Held(self.number), Place::Ready);
        }
        for number in std::mem::take(&mut self.tx_publishes) {
            oracle.settle_publish(number, Fate::Never);
        }
        // What is under way to a consumer without acknowledgement when the channel ends is lost.
        let asked = self.pending.iter().filter_map(|p| match &p.what {
            What::Consume { consumer, .. } => Some(consumer),
            _ => None,
        });
        for consumer in self.consumers.values().chain(asked).filter(|c| c.no_ack) {
            oracle.lossy(consumer.queue);
        }
    }

    /// The channel is over and all commands up to here were carried out.
    pub fn closed_in_order(&mut self, oracle: &mut Oracle) {
        while let Some(pending) = self.pop(oracle) {
            assert!(!pending.answered, "close-ok, and no answer to {pending:?}");
            self.done(oracle, pending.what);
        }
        self.over(oracle);
    }

    /// connection.close-ok: everything sent before the close was carried out, answered or not.
    pub fn closed_with_connection(&mut self, oracle: &mut Oracle) {
        let known = !self.pending.iter().any(|p| !p.may_fail.is_empty());
        while let Some(pending) = self.pop(oracle) {
            if known { self.finish(oracle, pending.what) } else { self.lost(oracle, pending.what, false) }
        }
        self.over(oracle);
    }

    fn finish(&mut self, oracle: &mut Oracle, what: What) {
        match what {
            What::Commit { publishes, settles } => self.committed(oracle, &publishes, &settles),
            What::Get { queue, no_ack: true } => oracle.lossy(queue),
            what => self.done(oracle, what),
        }
    }

    /// The connection broke.
    pub fn cut(&mut self, oracle: &mut Oracle) {
        self.release(oracle);
        while let Some(pending) = self.pop(oracle) {
            self.lost(oracle, pending.what, false);
        }
        self.over(oracle);
    }

    fn over(&mut self, oracle: &mut Oracle) {
        oracle.channel(self.number).fallible = 0;
        oracle.channel(self.number).recovering = 0;
        oracle.channel(self.number).must_end = false;
        // Confirms that are still due will not come; whether the messages were taken is known from what came after.
        self.unconfirmed.clear();
    }

    /// The broker closed the channel: one of the pending commands must be to blame.
    pub fn refused(&mut self, oracle: &mut Oracle, code: u16, text: &str, method: MethodId) {
        let blame = |p: &Pending| p.method == method && p.may_fail.contains(&code);
        let reach = self.pending.iter().position(|p| p.answered).map_or(self.pending.len(), |at| at + 1);
        let suspects: Vec<usize> = (0..reach).filter(|at| blame(&self.pending[*at])).collect();
        let Some(first) = suspects.first().copied() else {
            panic!("channel {} was closed with {code} ({text}) by {method:?}; pending: {:?}", self.number, self.pending)
        };
        let certain = suspects.len() == 1;
        self.release(oracle);
        for at in 0.. {
            let Some(pending) = self.pop(oracle) else { break };
            if at < first {
                assert!(!pending.answered);
                self.done(oracle, pending.what);
            } else {
                if let What::Probe { name } = &pending.what {
                    assert!(oracle.gone.contains(name));
                }
                self.lost(oracle, pending.what, certain);
            }
        }
        self.over(oracle);
    }

    /// Takes a delivery in; its message is held unless `no_ack`.
    pub fn take(&mut self, oracle: &mut Oracle, tag: Option<&str>, get: Option<(QueueNo, bool)>, delivery: &Delivery) {
        assert_eq!(delivery.tag, self.next_tag, "delivery tags are 1, 2, 3, … on channel {}", self.number);
        self.next_tag += 1;
        let (queue, no_ack, consumer) = match (tag, get) {
            (Some(tag), _) => {
                let Some(consumer) = self.consumers.get_mut(tag) else {
                    panic!("a delivery for {tag}, which is no consumer of channel {}", self.number)
                };
                assert!(consumer.listening != Listening::Asked, "a delivery for {tag} before its consume-ok");
                if !consumer.no_ack {
                    consumer.outstanding += 1;
                    assert!(
                        consumer.prefetch == 0 || consumer.outstanding <= usize::from(consumer.prefetch),
                        "consumer {tag} has {} deliveries, its prefetch count is {}",
                        consumer.outstanding,
                        consumer.prefetch
                    );
                }
                (consumer.queue, consumer.no_ack, Some(consumer.number))
            }
            (None, Some((queue, no_ack))) => (queue, no_ack, None),
            (None, None) => unreachable!("a delivery is for a consumer or a get"),
        };
        let order_scope = match oracle.kind(queue) {
            QueueKind::Volatile => consumer.map(|number| 1 << 32 | u64::from(number)),
            _ => Some(u64::from(self.connection)),
        };
        let arrival = Arrival { queue, channel: self.number, order_scope, no_ack };
        let (number, _) = oracle.arrived(arrival, delivery);
        if no_ack {
            return;
        }
        assert_ne!(queue, REPLY);
        self.held.insert(delivery.tag, Held { number, queue, consumer, in_tx: None });
        if consumer.is_some() && self.global_max > 0 {
            let count = self.held.values().filter(|held| held.consumer.is_some()).count();
            assert!(
                count <= usize::from(self.global_max),
                "channel {} has {count} deliveries, its prefetch count is {}",
                self.number,
                self.global_max
            );
        }
    }

    /// The consumer of a delivery has room again.
    pub fn credit(&mut self, held: &Held) {
        if let Some(number) = held.consumer
            && let Some(consumer) = self.consumers.values_mut().find(|c| c.number == number)
        {
            consumer.outstanding -= 1;
        }
    }

    /// recover-ok: everything went back.
    pub fn recovered(&mut self, oracle: &mut Oracle) {
        for held in std::mem::take(&mut self.held).into_values() {
            oracle.shift(held.number, held.queue, Place::Held(self.number), Place::Ready);
            self.credit(&held);
        }
    }
}

/// Whether an answer is the one that a command is owed.
fn answers(pending: &Pending, heard: &Heard) -> bool {
    match (&pending.what, heard) {
        (What::Open, Heard::ChannelOpenOk) | (What::Close, Heard::ChannelCloseOk) => true,
        (What::DeclareOwn, Heard::DeclareOk { .. }) => true,
        (What::Declare { name }, Heard::DeclareOk { queue, .. }) => name == queue,
        (What::Probe { name }, Heard::DeclareOk { .. }) => panic!("{name} should be gone"),
        (What::Get { .. }, Heard::GetOk { .. } | Heard::GetEmpty) => true,
        (What::Consume { tag, .. }, Heard::ConsumeOk { tag: got }) => tag.as_ref().is_none_or(|tag| tag == got),
        (What::Cancel { tag }, Heard::CancelOk { tag: got }) => tag == got,
        (_, Heard::PurgeOk { .. }) => pending.method == MethodId::new(50, 30),
        (_, Heard::DeleteOk { .. }) => pending.method == MethodId::new(50, 40),
        (_, Heard::Ok(id)) => {
            let due = MethodId::new(pending.method.class, pending.method.method + 1);
            // exchange.unbind-ok has the number 51.
            *id == due || (pending.method == MethodId::new(40, 40) && *id == MethodId::new(40, 51))
        }
        _ => false,
    }
}
