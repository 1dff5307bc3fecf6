//! The client's side of the wire: bytes from the broker to owned values, content put together per channel.

use leveret::amqp::frame::{Frame, FrameKind};
use leveret::amqp::{Method, MethodId, Reader};
use std::collections::{BTreeMap, VecDeque};

/// What a broker says, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Start,
    Tune {
        channel_max: u16,
        frame_max: u32,
    },
    OpenOk,
    ConnectionClose {
        code: u16,
        text: String,
        method: MethodId,
    },
    ConnectionCloseOk,
    Blocked,
    Unblocked,
    ChannelOpenOk,
    ChannelClose {
        code: u16,
        text: String,
        method: MethodId,
    },
    ChannelCloseOk,
    /// An answer without anything in it, by its method id.
    Ok(MethodId),
    DeclareOk {
        queue: String,
        messages: u32,
        consumers: u32,
    },
    PurgeOk {
        messages: u32,
    },
    DeleteOk {
        messages: u32,
    },
    ConsumeOk {
        tag: String,
    },
    CancelOk {
        tag: String,
    },
    /// The broker cancelled a consumer.
    Cancel {
        tag: String,
    },
    Deliver {
        tag: String,
        delivery: Delivery,
    },
    GetOk {
        remaining: u32,
        delivery: Delivery,
    },
    GetEmpty,
    Return {
        code: u16,
        text: String,
        content: Content,
    },
    Ack {
        seqno: u64,
        multiple: bool,
    },
    Nack {
        seqno: u64,
        multiple: bool,
    },
    /// The connection ended.
    Eof,
}

/// A message as a client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub exchange: String,
    pub routing_key: String,
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// A message handed out under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub tag: u64,
    pub redelivered: bool,
    pub content: Content,
}

#[derive(Debug)]
struct Partial {
    heard: Heard,
    left: Option<u64>,
}

/// Puts frames and contents together.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    partial: BTreeMap<u16, Partial>,
    pub frame_max: u32,
}

fn content_of(heard: &mut Heard) -> &mut Content {
    match heard {
        Heard::Deliver { delivery, .. } | Heard::GetOk { delivery, .. } => &mut delivery.content,
        Heard::Return { content, .. } => content,
        other => panic!("{other:?} has no content"),
    }
}

impl Assembler {
    pub fn feed(&mut self, bytes: &[u8], out: &mut VecDeque<(u16, Heard)>) {
        self.bytes.extend_from_slice(bytes);
        let whole = std::mem::take(&mut self.bytes);
        let mut at = 0;
        while let Some(frame) = Frame::read(&whole[at..]) {
            assert_eq!(frame.end, leveret::amqp::frame::END, "frame end octet");
            assert!(
                self.frame_max == 0 || frame.wire_bytes() as u64 <= u64::from(self.frame_max),
                "a frame of {} bytes is over frame_max {}",
                frame.wire_bytes(),
                self.frame_max
            );
            self.frame(frame, out);
            at += frame.wire_bytes();
        }
        self.bytes = whole;
        self.bytes.drain(..at);
    }

    fn frame(&mut self, frame: Frame<'_>, out: &mut VecDeque<(u16, Heard)>) {
        match frame.kind {
            FrameKind::Method => {
                assert!(!self.partial.contains_key(&frame.channel), "a method inside a content on {}", frame.channel);
                let mut reader = Reader::new(frame.payload);
                let id = MethodId::new(reader.u16().expect("class id"), reader.u16().expect("method id"));
                let method = Method::decode(id, reader.rest()).expect("a method that can be decoded");
                let heard = hear(&method);
                if let Heard::Deliver { .. } | Heard::GetOk { .. } | Heard::Return { .. } = heard {
                    self.partial.insert(frame.channel, Partial { heard, left: None });
                } else {
                    out.push_back((frame.channel, heard));
                }
            }
            FrameKind::Header => {
                let partial = self.partial.get_mut(&frame.channel).expect("a content header where one is due");
                assert!(partial.left.is_none(), "a second content header");
                let mut reader = Reader::new(frame.payload);
                assert_eq!((reader.u16(), reader.u16()), (Ok(60), Ok(0)), "class and weight");
                let body_bytes = reader.u64().expect("body size");
                let content = content_of(&mut partial.heard);
                content.properties = reader.rest().to_vec();
                content.body.reserve(body_bytes.min(1 << 20) as usize);
                partial.left = Some(body_bytes);
            }
            FrameKind::Body => {
                let partial = self.partial.get_mut(&frame.channel).expect("a content body where one is due");
                let left = partial.left.as_mut().expect("a header before the body");
                assert!(!frame.payload.is_empty(), "an empty body frame");
                *left = left.checked_sub(frame.payload.len() as u64).expect("no more body than announced");
                content_of(&mut partial.heard).body.extend_from_slice(frame.payload);
            }
            FrameKind::Heartbeat => return,
            FrameKind::Unknown(octet) => panic!("frame type {octet}"),
        }
        if let Some(Partial { left: Some(0), .. }) = self.partial.get(&frame.channel) {
            let partial = self.partial.remove(&frame.channel).expect("just seen");
            out.push_back((frame.channel, partial.heard));
        }
    }
}

fn content(exchange: &str, routing_key: &str) -> Content {
    Content { exchange: exchange.into(), routing_key: routing_key.into(), properties: vec![], body: vec![] }
}

fn hear(method: &Method<'_>) -> Heard {
    match *method {
        Method::ConnectionStart(_) => Heard::Start,
        Method::ConnectionTune(m) => Heard::Tune { channel_max: m.channel_max, frame_max: m.frame_max },
        Method::ConnectionOpenOk(_) => Heard::OpenOk,
        Method::ConnectionClose(m) => Heard::ConnectionClose {
            code: m.reply_code,
            text: m.reply_text.into(),
            method: MethodId::new(m.class_id, m.method_id),
        },
        Method::ConnectionCloseOk(_) => Heard::ConnectionCloseOk,
        Method::ConnectionBlocked(_) => Heard::Blocked,
        Method::ConnectionUnblocked(_) => Heard::Unblocked,
        Method::ChannelOpenOk(_) => Heard::ChannelOpenOk,
        Method::ChannelClose(m) => Heard::ChannelClose {
            code: m.reply_code,
            text: m.reply_text.into(),
            method: MethodId::new(m.class_id, m.method_id),
        },
        Method::ChannelCloseOk(_) => Heard::ChannelCloseOk,
        Method::QueueDeclareOk(m) => {
            Heard::DeclareOk { queue: m.queue.into(), messages: m.message_count, consumers: m.consumer_count }
        }
        Method::QueuePurgeOk(m) => Heard::PurgeOk { messages: m.message_count },
        Method::QueueDeleteOk(m) => Heard::DeleteOk { messages: m.message_count },
        Method::BasicConsumeOk(m) => Heard::ConsumeOk { tag: m.consumer_tag.into() },
        Method::BasicCancelOk(m) => Heard::CancelOk { tag: m.consumer_tag.into() },
        Method::BasicCancel(m) => Heard::Cancel { tag: m.consumer_tag.into() },
        Method::BasicDeliver(m) => Heard::Deliver {
            tag: m.consumer_tag.into(),
            delivery: Delivery {
                tag: m.delivery_tag,
                redelivered: m.redelivered,
                content: content(m.exchange, m.routing_key),
            },
        },
        Method::BasicGetOk(m) => Heard::GetOk {
            remaining: m.message_count,
            delivery: Delivery {
                tag: m.delivery_tag,
                redelivered: m.redelivered,
                content: content(m.exchange, m.routing_key),
            },
        },
        Method::BasicGetEmpty(_) => Heard::GetEmpty,
        Method::BasicReturn(m) => {
            Heard::Return { code: m.reply_code, text: m.reply_text.into(), content: content(m.exchange, m.routing_key) }
        }
        Method::BasicAck(m) => Heard::Ack { seqno: m.delivery_tag, multiple: m.multiple },
        Method::BasicNack(m) => Heard::Nack { seqno: m.delivery_tag, multiple: m.multiple },
        Method::ExchangeDeclareOk(_)
        | Method::ExchangeDeleteOk(_)
        | Method::ExchangeBindOk(_)
        | Method::ExchangeUnbindOk(_)
        | Method::QueueBindOk(_)
        | Method::QueueUnbindOk(_)
        | Method::BasicQosOk(_)
        | Method::BasicRecoverOk(_)
        | Method::ConfirmSelectOk(_)
        | Method::TxSelectOk(_)
        | Method::TxCommitOk(_)
        | Method::TxRollbackOk(_) => Heard::Ok(method.id()),
        ref other => panic!("the broker sent {other:?}"),
    }
}
