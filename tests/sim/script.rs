//! Short forms for scripted peers: one call per command, waiting for its answer.

use crate::sim::{PeerId, Sim};
use crate::wire::{Delivery, Heard};
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, Properties, Table};

/// Flags of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
}

/// How a channel command ended.
pub type Answer = Result<Heard, u16>;

pub const PLAIN: Flags = Flags { passive: false, durable: false, exclusive: false, auto_delete: false };
pub const PASSIVE: Flags = Flags { passive: true, ..PLAIN };
pub const EXCLUSIVE: Flags = Flags { exclusive: true, ..PLAIN };
pub const AUTO_DELETE: Flags = Flags { auto_delete: true, ..PLAIN };

pub fn queue_declare(queue: &str, flags: Flags) -> QueueDeclare<'_> {
    QueueDeclare {
        reserved_1: 0,
        queue,
        passive: flags.passive,
        durable: flags.durable,
        exclusive: flags.exclusive,
        auto_delete: flags.auto_delete,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn queue_delete(queue: &str) -> QueueDelete<'_> {
    QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false }
}

pub fn queue_bind<'a>(queue: &'a str, exchange: &'a str, routing_key: &'a str) -> QueueBind<'a> {
    QueueBind { reserved_1: 0, queue, exchange, routing_key, no_wait: false, arguments: Table::EMPTY }
}

pub fn exchange_declare<'a>(exchange: &'a str, kind: &'a str) -> ExchangeDeclare<'a> {
    ExchangeDeclare {
        reserved_1: 0,
        exchange,
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn consume<'a>(queue: &'a str, consumer_tag: &'a str, no_ack: bool) -> BasicConsume<'a> {
    BasicConsume {
        reserved_1: 0,
        queue,
        consumer_tag,
        no_local: false,
        no_ack,
        exclusive: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn ack(delivery_tag: u64, multiple: bool) -> BasicAck {
    BasicAck { delivery_tag, multiple }
}

pub fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> BasicNack {
    BasicNack { delivery_tag, multiple, requeue }
}

pub fn get(queue: &str, no_ack: bool) -> BasicGet<'_> {
    BasicGet { reserved_1: 0, queue, no_ack }
}

pub fn prefetch(prefetch_count: u16, global: bool) -> BasicQos {
    BasicQos { prefetch_size: 0, prefetch_count, global }
}

pub fn channel_close() -> ChannelClose<'static> {
    ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 }
}

/// Whether it is the answer to a command rather than something that comes by itself.
pub fn is_answer(heard: &Heard) -> bool {
    !matches!(
        heard,
        Heard::Deliver { .. }
            | Heard::Cancel { .. }
            | Heard::Return { .. }
            | Heard::Ack { .. }
            | Heard::Nack { .. }
            | Heard::Eof
    )
}

impl Sim {
    /// Sends a command and waits for its answer; a channel that is closed by it is closed in order.
    pub fn call<M: Encode>(&mut self, peer: PeerId, channel: u16, method: &M) -> Answer {
        self.send(peer, channel, method);
        self.answer(peer, channel)
    }

    /// The next answer on a channel.
    pub fn answer(&mut self, peer: PeerId, channel: u16) -> Answer {
        let heard = self.wait(peer, "an answer", |c, h| {
            assert!(!matches!(h, Heard::ConnectionClose { .. }), "{h:?}");
            (c == channel && is_answer(h)).then(|| h.clone())
        });
        if let Heard::ChannelClose { code, .. } = heard {
            self.send(peer, channel, &ChannelCloseOk {});
            return Err(code);
        }
        Ok(heard)
    }

    /// The same, for a command that must work.
    pub fn must<M: Encode + std::fmt::Debug>(&mut self, peer: PeerId, channel: u16, method: &M) -> Heard {
        self.call(peer, channel, method).unwrap_or_else(|code| panic!("{method:?} was refused with {code}"))
    }

    pub fn open_channel(&mut self, peer: PeerId, channel: u16) {
        let heard = self.must(peer, channel, &ChannelOpen { reserved_1: "" });
        assert_eq!(heard, Heard::ChannelOpenOk);
    }

    pub fn confirm_select(&mut self, peer: PeerId, channel: u16) {
        let heard = self.must(peer, channel, &ConfirmSelect { no_wait: false });
        assert_eq!(heard, Heard::Ok(MethodId::new(85, 11)));
    }

    /// Ready messages and consumers.
    pub fn counts(&mut self, peer: PeerId, channel: u16, queue: &str) -> Option<(u32, u32)> {
        match self.call(peer, channel, &queue_declare(queue, PASSIVE)) {
            Ok(Heard::DeclareOk { messages, consumers, .. }) => Some((messages, consumers)),
            Ok(other) => panic!("{other:?}"),
            Err(code) => {
                assert_eq!(code, 404);
                self.open_channel(peer, channel);
                None
            }
        }
    }

    /// Gets one message without acknowledgement.
    pub fn get_one(&mut self, peer: PeerId, channel: u16, queue: &str) -> Option<(Delivery, u32)> {
        match self.must(peer, channel, &get(queue, true)) {
            Heard::GetOk { delivery, remaining } => Some((delivery, remaining)),
            Heard::GetEmpty => None,
            other => panic!("{other:?}"),
        }
    }

    /// Gets all that is ready in a queue.
    pub fn get_all(&mut self, peer: PeerId, channel: u16, queue: &str) -> Vec<Delivery> {
        let mut all = vec![];
        while let Some((delivery, _)) = self.get_one(peer, channel, queue) {
            all.push(delivery);
        }
        all
    }

    /// Publishes to the default exchange with a text as body.
    pub fn put(&mut self, peer: PeerId, channel: u16, queue: &str, body: &str) {
        let mut properties = vec![];
        Properties::default().encode(&mut properties);
        self.publish(peer, channel, "", queue, false, &properties, body.as_bytes());
    }

    /// Takes the deliveries heard so far on a channel out.
    pub fn take_deliveries(&mut self, peer: PeerId, channel: u16) -> Vec<(String, Delivery)> {
        let mut taken = vec![];
        let mut kept = std::collections::VecDeque::new();
        for (c, heard) in std::mem::take(&mut self.peers[peer].heard) {
            match heard {
                Heard::Deliver { tag, delivery } if c == channel => taken.push((tag, delivery)),
                other => kept.push_back((c, other)),
            }
        }
        self.peers[peer].heard = kept;
        taken
    }

    /// Waits for confirms of the seqnos from `first` to `last`, each settled once; true per seqno for an ack.
    pub fn confirms(&mut self, peer: PeerId, channel: u16, first: u64, last: u64) -> Vec<bool> {
        let mut settled: Vec<Option<bool>> = vec![None; (last - first + 1) as usize];
        while settled.iter().any(Option::is_none) {
            let (seqno, multiple, good) = self.wait(peer, "confirms", |c, h| match h {
                Heard::Ack { seqno, multiple } if c == channel => Some((*seqno, *multiple, true)),
                Heard::Nack { seqno, multiple } if c == channel => Some((*seqno, *multiple, false)),
                _ => None,
            });
            assert!((first..=last).contains(&seqno), "a confirm of {seqno}, published are {first} to {last}");
            let from = if multiple { first } else { seqno };
            let mut fresh = 0;
            for place in &mut settled[(from - first) as usize..=(seqno - first) as usize] {
                if place.is_none() {
                    *place = Some(good);
                    fresh += 1;
                } else {
                    assert!(multiple, "seqno {seqno} is confirmed twice");
                }
            }
            assert!(fresh > 0, "a confirm of {seqno} that settles nothing");
        }
        settled.into_iter().flatten().collect()
    }

    pub fn close_connection(&mut self, peer: PeerId) {
        self.send_close(peer);
        self.wait(peer, "close-ok", |_, h| (*h == Heard::ConnectionCloseOk).then_some(()));
        self.hang_up(peer);
    }

    pub fn close_channel(&mut self, peer: PeerId, channel: u16) {
        assert_eq!(self.must(peer, channel, &channel_close()), Heard::ChannelCloseOk);
    }

    /// The text of a body.
    pub fn text(delivery: &Delivery) -> String {
        String::from_utf8(delivery.content.body.clone()).expect("a text")
    }
}
