//! A connection whose broker may die at any moment: errors are answers here, and nothing panics for them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use leveret::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::table::{TableWriter, Value};
use leveret::amqp::{FrameKind, MethodId, Table};

use crate::client::{Came, Client, End, FRAME_MAX, start_ok, tune_ok};

/// Longest wait for anything that must come: a guard against hanging, not a measure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with channel 1 open.
#[derive(Debug)]
pub struct Link {
    client: Client,
    /// What came while something else was awaited, in order.
    waiting: std::collections::VecDeque<Event>,
    /// Bytes to be sent.
    out: Vec<u8>,
    /// How long the socket waits.
    patience: Duration,
    /// It says when it is blocked.
    tells_blocked: bool,
}

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// basic.ack, or basic.nack for which `taken` is false.
    Confirm { tag: u64, multiple: bool, taken: bool },
    /// basic.deliver or basic.get-ok.
    Delivery(Delivery),
    /// basic.return.
    Returned,
    /// connection.blocked or connection.unblocked.
    Blocked(bool),
    /// channel.close, or connection.close on channel 0.
    Closed { channel: u16, code: u16, text: String },
    /// basic.cancel from the broker.
    Cancelled,
    /// Another method.
    Method(Came),
}

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub tag: u64,
    pub redelivered: bool,
    /// The consumer's tag; empty for basic.get.
    pub consumer: String,
    /// As on the wire.
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The socket has ended, or nothing came for too long.
    End(End),
    /// The broker has closed the channel or the connection.
    Closed { code: u16, text: String },
    /// Something that the protocol does not allow here.
    Strange(String),
}

impl From<End> for Trouble {
    fn from(end: End) -> Trouble {
        Trouble::End(end)
    }
}

pub type Answer<T> = Result<T, Trouble>;

impl Link {
    /// A connection with channel 1.
    pub fn open(address: SocketAddr) -> Answer<Link> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|_| End::Reset)?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let mut link = Link {
            client: Client::over(stream),
            waiting: Default::default(),
            out: vec![],
            patience: PATIENCE,
            tells_blocked: true,
        };
        link.out.extend_from_slice(&PROTOCOL_HEADER);
        link.await_method(ConnectionStart::ID)?;
        let mut capabilities = TableWriter::new();
        capabilities.put("connection.blocked", Value::Bool(true)).put("consumer_cancel_notify", Value::Bool(true));
        let mut properties = TableWriter::new();
        properties.put("capabilities", Value::Table(capabilities.table()));
        link.push(0, ConnectionStartOk { client_properties: properties.table(), ..start_ok() });
        link.await_method(ConnectionTune::ID)?;
        link.push(0, tune_ok());
        link.push(0, ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
        link.await_method(ConnectionOpenOk::ID)?;
        link.open_channel(1)?;
        Ok(link)
    }

    pub fn open_channel(&mut self, channel: u16) -> Answer<()> {
        self.push(channel, ChannelOpen { reserved_1: "" });
        self.await_method(ChannelOpenOk::ID).map(drop)
    }

    /// From now on it does not say when it is blocked: its user waits for answers anyway.
    pub fn ignore_blocked(&mut self) {
        self.tells_blocked = false;
    }

    /// Puts a method into the bytes to be sent.
    pub fn push<M: Encode>(&mut self, channel: u16, method: M) {
        write_method(&mut self.out, channel, &method);
    }

    /// Puts a message on channel 1 into the bytes to be sent.
    pub fn push_publish(&mut self, exchange: &str, routing_key: &str, mandatory: bool, properties: &[u8], body: &[u8]) {
        let method = BasicPublish { reserved_1: 0, exchange, routing_key, mandatory, immediate: false };
        write_method(&mut self.out, 1, &method);
        write_content_header(&mut self.out, 1, body.len() as u64, properties);
        write_body(&mut self.out, 1, body, FRAME_MAX);
    }

    /// Bytes to be sent.
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Sends them.
    pub fn flush(&mut self) -> Answer<()> {
        let sent = self.client.stream.write_all(&self.out);
        self.out.clear();
        sent.map_err(|_| Trouble::End(End::Reset))
    }

    fn set_patience(&mut self, time: Duration) {
        if self.patience != time {
            self.patience = time;
            let _ = self.client.stream.set_read_timeout(Some(time));
        }
    }

    /// What comes next; sends first what is unsent.
    pub fn event(&mut self) -> Answer<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(event);
        }
        self.read(PATIENCE)
    }

    /// An event that came while something else was awaited.
    pub fn waiting(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// An event that is here already, or begins to come within `time`.
    pub fn event_within(&mut self, time: Duration) -> Answer<Option<Event>> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(Some(event));
        }
        match self.read(time) {
            Ok(event) => Ok(Some(event)),
            Err(Trouble::End(End::Timeout)) if self.patience < PATIENCE => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    fn read(&mut self, begins_within: Duration) -> Answer<Event> {
        if !self.out.is_empty() {
            self.flush()?;
        }
        loop {
            self.set_patience(begins_within);
            let came = self.client.receive()?;
            // What has begun will go on.
            self.set_patience(PATIENCE);
            if came.kind == FrameKind::Heartbeat {
                continue;
            }
            if came.method_id().is_none() {
                return Err(Trouble::Strange(format!("a frame of the kind {:?} between methods", came.kind)));
            }
            let (tag, redelivered, consumer) = match came.method() {
                Method::BasicAck(ack) => {
                    return Ok(Event::Confirm { tag: ack.delivery_tag, multiple: ack.multiple, taken: true });
                }
                Method::BasicNack(nack) => {
                    return Ok(Event::Confirm { tag: nack.delivery_tag, multiple: nack.multiple, taken: false });
                }
                Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) if !self.tells_blocked => continue,
                Method::ConnectionBlocked(_) => return Ok(Event::Blocked(true)),
                Method::ConnectionUnblocked(_) => return Ok(Event::Blocked(false)),
                Method::BasicCancel(_) => return Ok(Event::Cancelled),
                Method::ChannelClose(close) => {
                    let event =
                        Event::Closed { channel: came.channel, code: close.reply_code, text: close.reply_text.into() };
                    self.push(came.channel, ChannelCloseOk {});
                    return Ok(event);
                }
                Method::ConnectionClose(close) => {
                    let event = Event::Closed { channel: 0, code: close.reply_code, text: close.reply_text.into() };
                    self.push(0, ConnectionCloseOk {});
                    let _ = self.flush();
                    return Ok(event);
                }
                Method::BasicReturn(_) => {
                    self.content()?;
                    return Ok(Event::Returned);
                }
                Method::BasicDeliver(it) => (it.delivery_tag, it.redelivered, it.consumer_tag.to_owned()),
                Method::BasicGetOk(it) => (it.delivery_tag, it.redelivered, String::new()),
                _ => return Ok(Event::Method(came)),
            };
            let (properties, body) = self.content()?;
            return Ok(Event::Delivery(Delivery { tag, redelivered, consumer, properties, body }));
        }
    }

    /// Properties and body of what was announced.
    fn content(&mut self) -> Answer<(Vec<u8>, Vec<u8>)> {
        let header = self.client.receive()?;
        let strange = || Trouble::Strange("content that is out of order".into());
        if header.kind != FrameKind::Header {
            return Err(strange());
        }
        let size = header.payload.get(4..12).and_then(|bytes| bytes.first_chunk()).ok_or_else(strange)?;
        let size = u64::from_be_bytes(*size) as usize;
        let mut body = Vec::with_capacity(size.min(1 << 20));
        while body.len() < size {
            let part = self.client.receive()?;
            if part.kind != FrameKind::Body || part.payload.len() > size - body.len() {
                return Err(strange());
            }
            body.extend_from_slice(&part.payload);
        }
        Ok((header.payload[12..].to_vec(), body))
    }

    /// Sends what is unsent and takes the answer; other events are kept for later.
    pub fn await_method(&mut self, id: MethodId) -> Answer<Came> {
        loop {
            match self.read(PATIENCE)? {
                Event::Method(came) if came.method_id() == Some(id) => return Ok(came),
                Event::Closed { code, text, .. } => return Err(Trouble::Closed { code, text }),
                event => self.waiting.push_back(event),
            }
        }
    }

    /// Sends a method on channel 1 and takes its answer.
    pub fn call<M: Encode>(&mut self, method: M, answer: MethodId) -> Answer<Came> {
        self.push(1, method);
        self.await_method(answer)
    }

    pub fn select_confirms(&mut self) -> Answer<()> {
        self.call(ConfirmSelect { no_wait: false }, ConfirmSelectOk::ID).map(drop)
    }

    /// Declares a queue and returns how many messages are ready in it.
    pub fn declare_queue(&mut self, queue: &str, how: Declare) -> Answer<u32> {
        let declare = QueueDeclare {
            reserved_1: 0,
            queue,
            passive: how == Declare::Passive,
            durable: how == Declare::Durable,
            exclusive: how == Declare::Exclusive,
            auto_delete: false,
            no_wait: false,
            arguments: Table::EMPTY,
        };
        match self.call(declare, QueueDeclareOk::ID)?.method() {
            Method::QueueDeclareOk(ok) => Ok(ok.message_count),
            other => Err(Trouble::Strange(format!("{other:?}"))),
        }
    }

    pub fn declare_exchange(&mut self, exchange: &str, kind: &str, passive: bool) -> Answer<()> {
        let declare = ExchangeDeclare {
            reserved_1: 0,
            exchange,
            kind,
            passive,
            durable: true,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments: Table::EMPTY,
        };
        self.call(declare, ExchangeDeclareOk::ID).map(drop)
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, routing_key: &str) -> Answer<()> {
        let arguments = Table::EMPTY;
        let bind = QueueBind { reserved_1: 0, queue, exchange, routing_key, no_wait: false, arguments };
        self.call(bind, QueueBindOk::ID).map(drop)
    }

    /// Begins to consume with acknowledgements; the consumer has the queue's name for a tag.
    pub fn consume(&mut self, queue: &str, prefetch_count: u16) -> Answer<()> {
        self.call(BasicQos { prefetch_size: 0, prefetch_count, global: false }, BasicQosOk::ID)?;
        let consume = BasicConsume {
            reserved_1: 0,
            queue,
            consumer_tag: queue,
            no_local: false,
            no_ack: false,
            exclusive: false,
            no_wait: false,
            arguments: Table::EMPTY,
        };
        self.call(consume, BasicConsumeOk::ID).map(drop)
    }

    /// Ends the consumer of a queue: what comes before the answer is kept.
    pub fn cancel(&mut self, queue: &str) -> Answer<()> {
        self.call(BasicCancel { consumer_tag: queue, no_wait: false }, BasicCancelOk::ID).map(drop)
    }

    /// Says goodbye and waits for the answer.
    pub fn close(mut self) -> Answer<()> {
        self.push(0, ConnectionClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 });
        self.await_method(ConnectionCloseOk::ID).map(drop)
    }
}

/// How a queue is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declare {
    Passive,
    Durable,
    Transient,
    Exclusive,
}
