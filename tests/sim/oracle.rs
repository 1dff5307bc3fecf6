//! What must, may and must not be seen, whatever order the broker chose among concurrent commands.

use crate::message::{ChannelNo, Fate, Message, MessageNo, Place, number_of, reply_to_of};
use crate::plan::{Plan, QueueNo, REPLY};
use crate::wire::{Content, Delivery};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Stands from start to end.
    Pillar,
    /// Declared and deleted by everybody.
    Volatile,
    /// Server-named and exclusive.
    Own,
}

#[derive(Debug, Clone)]
pub struct Queue {
    pub name: String,
    pub kind: QueueKind,
    /// A consumer without acknowledgement may have taken messages with it.
    pub lossy: bool,
}

/// What the oracle has to know of a channel.
#[derive(Debug, Clone, Default)]
pub struct Channel {
    /// Its end is under way or over: what it gets now was sent before.
    pub ending: bool,
    /// Commands sent that may close it.
    pub fallible: u32,
    /// recover sent and not answered.
    pub recovering: u32,
    /// Only its end explains what was seen.
    pub must_end: bool,
}

/// All that was published, and where it is.
#[derive(Debug)]
pub struct Oracle {
    pub plan: Plan,
    pub messages: Vec<Message>,
    pub queues: Vec<Queue>,
    by_name: BTreeMap<String, QueueNo>,
    pub channels: Vec<Channel>,
    /// The last fresh message per (scope, queue, publisher).
    order: BTreeMap<(u64, QueueNo, ChannelNo), MessageNo>,
    /// Names to reply to, with the channel that listens.
    pub reply_names: BTreeMap<String, ChannelNo>,
    /// Queues that are gone for good.
    pub gone: Vec<String>,
    pub deliveries: u64,
    /// Messages before this one were published before the broker was started.
    pub started_at: MessageNo,
}

/// Where a delivery came from and went to.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub queue: QueueNo,
    pub channel: ChannelNo,
    /// Within which fresh messages come in order; `None`: not known.
    pub order_scope: Option<u64>,
    pub no_ack: bool,
}

impl Oracle {
    pub fn new(plan: Plan) -> Oracle {
        let mut oracle = Oracle {
            messages: vec![],
            queues: vec![],
            by_name: BTreeMap::new(),
            channels: vec![],
            order: BTreeMap::new(),
            reply_names: BTreeMap::new(),
            gone: vec![],
            deliveries: 0,
            started_at: 0,
            plan: plan.clone(),
        };
        for name in &plan.pillars {
            oracle.add_queue(name, QueueKind::Pillar);
        }
        for name in &plan.volatile {
            oracle.add_queue(name, QueueKind::Volatile);
        }
        oracle
    }

    pub fn add_queue(&mut self, name: &str, kind: QueueKind) -> QueueNo {
        let number = self.queues.len() as QueueNo;
        let before = self.by_name.insert(name.into(), number);
        assert_eq!(before, None, "the name {name} was given out twice");
        self.queues.push(Queue { name: name.into(), kind, lossy: false });
        number
    }

    pub fn kind(&self, queue: QueueNo) -> QueueKind {
        if queue == REPLY { QueueKind::Own } else { self.queues[usize::from(queue)].kind }
    }

    pub fn name(&self, queue: QueueNo) -> &str {
        if queue == REPLY { "reply-to" } else { &self.queues[usize::from(queue)].name }
    }

    pub fn number(&self, name: &str) -> Option<QueueNo> {
        self.by_name.get(name).copied()
    }

    pub fn lossy(&mut self, queue: QueueNo) {
        if queue != REPLY {
            self.queues[usize::from(queue)].lossy = true;
        }
    }

    pub fn add_channel(&mut self) -> ChannelNo {
        self.channels.push(Channel::default());
        self.channels.len() as ChannelNo - 1
    }

    pub fn channel(&mut self, channel: ChannelNo) -> &mut Channel {
        &mut self.channels[channel as usize]
    }

    /// Whether a message says on arrival what it said when it was published.
    fn identify(&mut self, content: &Content) -> MessageNo {
        let number = number_of(&content.properties, &content.body);
        let Some(message) = self.messages.get(number as usize) else { panic!("message {number} was never published") };
        assert_eq!(content.exchange, message.exchange, "the exchange of message {number}");
        assert_eq!(content.routing_key, message.key, "the routing key of message {number}");
        let whole = crate::message::body(number, message.body_bytes);
        assert!(content.body == whole, "the body of message {number} changed");
        number
    }

    /// A delivery reaches its client. True when the client now holds it.
    pub fn arrived(&mut self, arrival: Arrival, delivery: &Delivery) -> (MessageNo, bool) {
        self.deliveries += 1;
        let number = self.identify(&delivery.content);
        let queue_name = self.name(arrival.queue).to_owned();
        let at = || format!("message {number}, queue {queue_name}, {arrival:?}, redelivered {}", delivery.redelivered);
        let message = &self.messages[number as usize];
        if message.asks_reply {
            let name = reply_to_of(&delivery.content.properties, &message.properties);
            let publisher = message.publisher;
            let known = *self.reply_names.entry(name).or_insert(publisher);
            assert_eq!(known, publisher, "a name to reply to stands for two channels: {}", at());
        } else {
            assert_eq!(delivery.content.properties, message.properties, "the properties changed: {}", at());
        }
        let message = &self.messages[number as usize];
        assert!(number >= self.started_at || message.is_persistent(), "transient, and survived a start: {}", at());
        assert!(!matches!(message.fate, Fate::InTx | Fate::Never), "{:?} and delivered: {}", message.fate, at());
        if arrival.queue == REPLY {
            let listens = self.reply_names.get(&message.key);
            assert_eq!(listens, Some(&arrival.channel), "a reply to somebody else: {}", at());
        } else if !message.must.contains(&arrival.queue) {
            let may = self.plan.may(&message.exchange, &message.key, message.header, &queue_name);
            assert!(may, "no binding ever led there: {}", at());
        }
        assert!(!message.returned, "returned and delivered: {}", at());
        let place = message.place(arrival.queue);
        let taken = self.takes(number, place, arrival, &at);
        let here = self.channels[arrival.channel as usize].clone();
        let message = &mut self.messages[number as usize];
        let publisher = message.publisher;
        let copy = message.copy(arrival.queue);
        let mut holds = taken && !here.ending;
        if !delivery.redelivered {
            assert!(!copy.seen_fresh, "twice without redelivered: {}", at());
            if copy.seen {
                // Sent before the one seen already: only if this channel has given its messages back since.
                let excused = here.ending || here.recovering > 0 || here.fallible > 0;
                assert!(excused && !arrival.no_ack, "not redelivered, but somebody had it before: {}", at());
                holds = false;
                if !here.ending && here.recovering == 0 {
                    self.channels[arrival.channel as usize].must_end = true;
                }
            }
            copy.seen_fresh = true;
        }
        copy.seen = true;
        if arrival.no_ack {
            copy.place = Place::Gone;
        } else if holds {
            copy.place = Place::Held(arrival.channel);
        }
        if !delivery.redelivered
            && let Some(scope) = arrival.order_scope
        {
            let last = self.order.insert((scope, arrival.queue, publisher), number);
            assert!(last < Some(number), "after message {last:?} of the same publisher: {}", at());
        }
        (number, holds)
    }

    /// Whether a copy may be handed out, given where it was; false when it was sent before it got there.
    fn takes(&mut self, number: MessageNo, place: Place, arrival: Arrival, at: &dyn Fn() -> String) -> bool {
        let here = &self.channels[arrival.channel as usize];
        // What goes without acknowledgement does not come back.
        let stale = !arrival.no_ack && (here.ending || here.recovering > 0);
        let here_fallible = !arrival.no_ack && here.fallible > 0;
        let holder = match place {
            Place::Ready => return true,
            Place::MaybeGone => return !stale && !here_fallible,
            Place::Held(holder) | Place::Acking(holder) if holder == arrival.channel && !here.ending => {
                panic!("the channel has it already ({place:?}): {}", at())
            }
            _ if stale => return false,
            Place::Gone if here_fallible => {
                self.channel(arrival.channel).must_end = true;
                return false;
            }
            Place::Gone => panic!("settled and delivered again: {}", at()),
            Place::Held(holder) | Place::Acking(holder) => holder,
        };
        let holding = &self.channels[holder as usize];
        if matches!(place, Place::Held(_)) && (holding.ending || holding.recovering > 0) && holder != arrival.channel {
            return true;
        }
        match (holding.fallible > 0, here_fallible) {
            // Either of them may have lost it: from now on nobody knows.
            (true, true) => {
                self.messages[number as usize].copy(arrival.queue).place = Place::MaybeGone;
                false
            }
            (true, false) => {
                if !holding.ending {
                    self.channel(holder).must_end = true;
                }
                true
            }
            (false, true) => {
                self.channel(arrival.channel).must_end = true;
                false
            }
            (false, false) => panic!("channel {holder} has it ({place:?}): {}", at()),
        }
    }

    /// Moves a copy from one place to another, if it is there.
    pub fn shift(&mut self, number: MessageNo, queue: QueueNo, from: Place, to: Place) {
        let copy = self.messages[number as usize].copy(queue);
        if copy.place == from {
            copy.place = to;
        }
    }

    /// A publish comes to rest.
    pub fn settle_publish(&mut self, number: MessageNo, fate: Fate) {
        let message = &mut self.messages[number as usize];
        if message.fate != Fate::Sure {
            message.fate = fate;
        }
        if fate == Fate::Sure && message.must_return {
            assert!(message.returned, "message {number} had no route, was mandatory and was not returned");
        }
    }

    /// A message comes back.
    pub fn returned(&mut self, channel: ChannelNo, content: &Content) -> MessageNo {
        let number = self.identify(content);
        let message = &mut self.messages[number as usize];
        assert_eq!(message.publisher, channel, "message {number} was returned to another channel");
        assert!(message.mandatory, "message {number} was returned and not mandatory");
        assert!(!message.returned, "message {number} was returned twice");
        assert!(message.must.is_empty(), "message {number} was returned and had a route");
        assert!(!matches!(message.fate, Fate::InTx | Fate::Never), "{:?} and returned: {number}", message.fate);
        assert!(message.copies.is_empty(), "message {number} was returned and delivered");
        if content.properties != message.properties {
            assert!(message.asks_reply, "the properties of returned message {number} changed");
            reply_to_of(&content.properties, &message.properties);
        }
        message.returned = true;
        number
    }

    /// The messages that must be in a queue, and those that may be there beside them.
    pub fn expected(&self, queue: QueueNo) -> (Vec<MessageNo>, Vec<MessageNo>) {
        let (mut sure, mut maybe) = (vec![], vec![]);
        let lossy = self.queues[usize::from(queue)].lossy;
        for (number, message) in self.messages.iter().enumerate() {
            let place = message.place(queue);
            if message.returned || place == Place::Gone || matches!(message.fate, Fate::Never | Fate::InTx) {
                continue;
            }
            let known = message.must.contains(&queue) || message.copies.iter().any(|c| c.queue == queue && c.seen);
            let sure_place = matches!(place, Place::Ready | Place::Held(_));
            let seen = message.copies.iter().any(|c| c.queue == queue && c.seen);
            if known && !lossy && sure_place && (message.fate == Fate::Sure || seen) {
                sure.push(number as MessageNo);
            } else {
                maybe.push(number as MessageNo);
            }
        }
        (sure, maybe)
    }
}
