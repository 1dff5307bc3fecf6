//! Messages whose content tells which one they are, so that a changed byte or a swapped body is noticed.

use crate::plan::{HEADER, QueueNo};
use crate::rng::mix;
use leveret::amqp::{Properties, TableWriter, Value};

/// A message by its place in the oracle's list.
pub type MessageNo = u32;
/// A channel of a connection, never used twice.
pub type ChannelNo = u32;

/// Whether a publish has taken place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In a transaction whose commit was not sent.
    InTx,
    /// Sent; the broker may have taken it.
    Sent,
    /// Taken for certain: confirmed, committed or followed by an answer.
    Sure,
    /// Sent on a connection that broke: nobody knows.
    Maybe,
    /// Not taken, for certain.
    Never,
}

/// Where a message's copy in one queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Ready,
    Held(ChannelNo),
    /// The holder has sent ack, or reject without requeue.
    Acking(ChannelNo),
    Gone,
    /// The holder's settlement may or may not have arrived.
    MaybeGone,
}

#[derive(Debug, Clone, Copy)]
pub struct Copy {
    pub queue: QueueNo,
    pub place: Place,
    /// Somebody has got it.
    pub seen: bool,
    /// Somebody has got it without `redelivered`.
    pub seen_fresh: bool,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub exchange: String,
    pub key: String,
    pub header: Option<i32>,
    pub properties: Vec<u8>,
    pub body_bytes: usize,
    pub mandatory: bool,
    /// Asks for an answer by direct reply-to.
    pub asks_reply: bool,
    pub publisher: ChannelNo,
    pub fate: Fate,
    /// Confirmed, or its commit was answered: where it is kept, it survives.
    pub confirmed: bool,
    pub returned: bool,
    /// The queues that it must reach.
    pub must: Vec<QueueNo>,
    /// It must be returned.
    pub must_return: bool,
    pub copies: Vec<Copy>,
}

impl Message {
    pub fn copy(&mut self, queue: QueueNo) -> &mut Copy {
        if let Some(at) = self.copies.iter().position(|copy| copy.queue == queue) {
            return &mut self.copies[at];
        }
        self.copies.push(Copy { queue, place: Place::Ready, seen: false, seen_fresh: false });
        self.copies.last_mut().expect("just pushed")
    }

    /// Whether it is published to survive.
    pub fn is_persistent(&self) -> bool {
        let properties = Properties::decode(&self.properties).expect("properties that can be decoded");
        properties.delivery_mode == Some(2)
    }

    pub fn place(&self, queue: QueueNo) -> Place {
        self.copies.iter().find(|copy| copy.queue == queue).map_or(Place::Ready, |copy| copy.place)
    }
}

/// Marks the first eight bytes of a body that has that many.
const MARK: u64 = 0x1e7e_7e70_0000_0000;

/// The body of a message, from its number and size.
pub fn body(number: MessageNo, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    out.extend_from_slice(&(MARK | u64::from(number)).to_be_bytes());
    let mut word = 0;
    while out.len() < bytes {
        word += 1;
        out.extend_from_slice(&mix(u64::from(number) << 32 | word).to_be_bytes());
    }
    out.truncate(bytes);
    out
}

/// The properties of a message: of a shape of its own, with its number where the body is too short for it.
pub fn properties(number: MessageNo, body_bytes: usize, header: Option<i32>, reply_to: Option<&str>) -> Vec<u8> {
    let shape = mix(u64::from(number) ^ 0x5eed);
    let id = format!("m{number}");
    let mut headers = TableWriter::new();
    if shape & 1 != 0 {
        headers.put("a", Value::LongStr(b"some text"));
    }
    if let Some(value) = header {
        headers.put(HEADER, Value::I32(value));
    }
    if shape & 2 != 0 {
        headers.put("z", Value::Bool(true));
    }
    let properties = Properties {
        content_type: (shape & 4 != 0).then_some("text/plain"),
        headers: (header.is_some() || shape & 3 != 0).then(|| headers.table()),
        delivery_mode: (shape & 8 != 0).then_some(1 + ((shape >> 4) & 1) as u8),
        priority: (shape & 32 != 0).then_some(((shape >> 8) & 7) as u8),
        correlation_id: (shape & 64 != 0).then_some("c-1"),
        reply_to,
        message_id: (body_bytes < 8 || shape & 128 != 0).then_some(id.as_str()),
        timestamp: (shape & 256 != 0).then_some(shape >> 9),
        app_id: (shape & 512 != 0).then_some(""),
        ..Properties::default()
    };
    let mut out = vec![];
    properties.encode(&mut out);
    out
}

/// Which message this is.
pub fn number_of(properties: &[u8], body: &[u8]) -> MessageNo {
    if let Some(head) = body.first_chunk::<8>() {
        let word = u64::from_be_bytes(*head);
        assert_eq!(word & !0xffff_ffff, MARK, "a body that nobody published");
        return word as u32;
    }
    let properties = Properties::decode(properties).expect("properties that can be decoded");
    let id = properties.message_id.expect("a message-id, as the body is short");
    id[1..].parse().expect("a message-id that was published")
}

/// Whether `got` are the properties of a message that asked for a reply: as published but for the name to reply to.
pub fn reply_to_of(got: &[u8], published: &[u8]) -> String {
    let mut decoded = Properties::decode(got).expect("properties that can be decoded");
    let name = decoded.reply_to.take().expect("a name to reply to").to_owned();
    decoded.reply_to = Some(REPLY_QUEUE);
    let mut again = vec![];
    decoded.encode(&mut again);
    assert_eq!(again, published, "properties beside reply-to changed");
    assert!(name.starts_with(&format!("{REPLY_QUEUE}.")), "{name} is no name to reply to");
    name
}

/// The queue of direct reply-to.
pub const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";
