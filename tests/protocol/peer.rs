//! A scripted peer: says things to its shard and expects answers.

use std::fmt::Debug;

use leveret::amqp::frame::{write_body, write_content_header, write_header, write_heartbeat, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{FrameKind, LongStr, Method, MethodId, Properties, ReplyCode, Value};
use leveret::shard::turn::CloseKind;

use crate::net::{Net, Received};
use crate::say::*;

/// How a peer logs in.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub vhost: &'a str,
    pub capabilities: &'a [&'a str],
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}

/// A modern client library's log-in, without heartbeats.
pub const LOGIN: Login<'static> = Login {
    user: "guest",
    password: "guest",
    vhost: "/",
    capabilities: &["consumer_cancel_notify", "authentication_failure_close", "connection.blocked", "basic.nack"],
    channel_max: 2047,
    frame_max: 131_072,
    heartbeat: 0,
};

/// A peer, seen through one of its channels. Channel 0 is the connection.
#[derive(Clone)]
pub struct Peer {
    pub net: Net,
    pub index: usize,
    channel: u16,
}

/// A message as it came, by deliver, get-ok or return.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    pub consumer_tag: String,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: String,
    pub routing_key: String,
    /// get-ok only.
    pub message_count: u32,
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

impl Message {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies of scripts are text")
    }

    /// The decoded properties.
    pub fn properties(&self) -> Properties<'_> {
        Properties::decode(&self.properties).expect("delivered properties are in order")
    }

    /// A header's value.
    pub fn header(&self, key: &str) -> Option<Value<'_>> {
        self.properties().headers?.find(key)
    }
}

/// What a `reply-text` must be.
enum Text<'a> {
    Is(&'a str),
    StartsWith(&'a str),
    Any,
}

fn check_close(what: &str, came: (u16, &str, MethodId), code: u16, text: Text<'_>, id: MethodId) {
    let known = ReplyCode::ALL.iter().find(|known| known.number() == code);
    let name = known.expect("a reply code that exists").name();
    let fits = match text {
        Text::Is("") => came.1 == name,
        Text::Is(explanation) => came.1 == format!("{name} - {explanation}"),
        Text::StartsWith(start) => came.1.starts_with(&format!("{name} - {start}")),
        Text::Any => came.1.starts_with(name),
    };
    let wanted = match text {
        Text::Is(text) => text,
        Text::StartsWith(text) => text,
        Text::Any => "…",
    };
    assert!(came.0 == code && fits && came.2 == id, "{what}: expected {code} {name} - {wanted} {id:?}\n  got {came:?}");
    assert!(came.1.len() <= 255);
}

impl Peer {
    /// Peer number `index`, seen through channel 0.
    pub fn new(net: Net, index: usize) -> Peer {
        Peer { net, index, channel: 0 }
    }

    /// The same peer through another channel, as it is.
    pub fn on(&self, channel: u16) -> Peer {
        Peer { channel, ..self.clone() }
    }

    /// Opens another channel.
    #[track_caller]
    pub fn open(&self, channel: u16) -> Peer {
        let peer = self.on(channel);
        peer.reopen();
        peer
    }

    /// Opens this channel.
    #[track_caller]
    pub fn reopen(&self) -> &Peer {
        self.send(channel_open()).expect(ChannelOpenOk { reserved_1: LongStr(b"") })
    }

    /// The shard it is connected to.
    pub fn shard(&self) -> usize {
        self.net.shard_of(self.index)
    }

    // What the peer says.

    /// Any bytes.
    pub fn raw(&self, bytes: &[u8]) -> &Peer {
        self.net.feed(self.index, bytes);
        self
    }

    /// A frame of any kind with any payload.
    pub fn frame(&self, kind: u8, payload: &[u8]) -> &Peer {
        let mut out = vec![];
        write_header(&mut out, FrameKind::from(kind), self.channel, payload.len() as u32);
        out.extend_from_slice(payload);
        out.push(leveret::amqp::frame::END);
        self.raw(&out)
    }

    /// A method.
    pub fn send<M: Encode>(&self, method: M) -> &Peer {
        let mut out = vec![];
        write_method(&mut out, self.channel, &method);
        self.raw(&out)
    }

    /// A method frame with ids and any bytes as arguments.
    pub fn send_arguments(&self, id: MethodId, arguments: &[u8]) -> &Peer {
        let mut payload = vec![];
        payload.extend_from_slice(&id.class.to_be_bytes());
        payload.extend_from_slice(&id.method.to_be_bytes());
        payload.extend_from_slice(arguments);
        self.frame(1, &payload)
    }

    /// A content header frame.
    pub fn content_header(&self, body_bytes: u64, properties: &Properties<'_>) -> &Peer {
        let mut raw = vec![];
        properties.encode(&mut raw);
        let mut out = vec![];
        write_content_header(&mut out, self.channel, body_bytes, &raw);
        self.raw(&out)
    }

    /// A body frame.
    pub fn body(&self, body: &[u8]) -> &Peer {
        self.frame(3, body)
    }

    /// A heartbeat.
    pub fn heartbeat(&self) -> &Peer {
        let mut out = vec![];
        write_heartbeat(&mut out);
        self.raw(&out)
    }

    /// A whole message.
    pub fn publish(&self, message: Publish<'_>) -> &Peer {
        self.publish_bytes(message, message.body.as_bytes())
    }

    /// A whole message with a body of any bytes.
    pub fn publish_bytes(&self, message: Publish<'_>, body: &[u8]) -> &Peer {
        self.send(BasicPublish {
            reserved_1: 0,
            exchange: message.exchange,
            routing_key: message.routing_key,
            mandatory: message.mandatory,
            immediate: message.immediate,
        });
        self.content_header(body.len() as u64, &message.properties);
        let mut out = vec![];
        write_body(&mut out, self.channel, body, 4096);
        self.raw(&out)
    }

    /// Messages with these bodies to a queue, by the default exchange.
    pub fn fill(&self, queue: &str, bodies: &[&str]) -> &Peer {
        for body in bodies {
            self.publish(Publish { body, ..to("", queue) });
        }
        self
    }

    /// Closes the socket without a word.
    pub fn hang_up(&self) {
        self.net.hang_up(self.index);
    }

    /// Takes no more bytes from the socket.
    pub fn stop_reading(&self) {
        self.net.set_reading(self.index, false);
    }

    /// Takes bytes from the socket again.
    pub fn go_on_reading(&self) {
        self.net.set_reading(self.index, true);
    }

    /// Whatever else comes is not looked at.
    pub fn careless(&self) -> &Peer {
        self.net.link(self.index, |link| link.careless = true);
        self
    }

    /// Heartbeats that come are thrown away.
    pub fn careless_of_heartbeats(&self) -> &Peer {
        self.net.link(self.index, |link| link.drop_heartbeats = true);
        self
    }

    // What the peer expects.

    /// The next frame on this channel.
    #[track_caller]
    pub fn take(&self, wanted: &str) -> Received {
        match self.net.link(self.index, |link| link.frames.entry(self.channel).or_default().pop_front()) {
            Some(frame) => frame,
            None => {
                let rest = self.net.link(self.index, |link| link.describe());
                let closed = self.net.closed(self.index);
                panic!(
                    "peer {} expects {wanted} on channel {}; closed: {closed:?}; waiting:{rest}",
                    self.index, self.channel
                );
            }
        }
    }

    /// A method with exactly these arguments.
    #[track_caller]
    pub fn expect<M: Encode + Debug>(&self, method: M) -> &Peer {
        let came = self.take(&format!("{method:?}"));
        let mut payload = vec![];
        method.encode(&mut payload);
        assert!(
            came.kind == FrameKind::Method && came.payload == payload,
            "peer {} on channel {}:\n  expected {method:?}\n  got      {}",
            self.index,
            self.channel,
            came.describe()
        );
        self
    }

    /// A method whose arguments the script looks at itself.
    #[track_caller]
    pub fn expect_id<T>(&self, id: MethodId, look: impl FnOnce(Method<'_>) -> T) -> T {
        let came = self.take(&format!("a method {id:?}"));
        assert!(came.method_id() == Some(id), "expected a method {id:?}, got {}", came.describe());
        look(Method::decode(id, &came.payload[4..]).expect("the broker's methods can be read"))
    }

    /// A heartbeat frame.
    #[track_caller]
    pub fn expect_heartbeat(&self) {
        let came = self.on(0).take("a heartbeat");
        assert!(
            came.kind == FrameKind::Heartbeat && came.payload.is_empty(),
            "expected a heartbeat: {}",
            came.describe()
        );
    }

    /// Nothing on this channel nor from the connection, and the socket stays open.
    #[track_caller]
    pub fn silent(&self) -> &Peer {
        let channel = self.channel;
        let came = self.net.link(self.index, |link| {
            let waits = |channel: u16| link.frames.get(&channel).is_some_and(|frames| !frames.is_empty());
            (waits(channel) || waits(0)).then(|| link.describe())
        });
        assert!(came.is_none(), "expected nothing on channel {channel}, waiting:{}", came.unwrap_or_default());
        assert_eq!(self.net.closed(self.index), None, "expected the socket to stay open");
        self
    }

    /// The protocol header that the broker sent instead of frames.
    #[track_caller]
    pub fn header_back(&self) -> [u8; 8] {
        self.net.link(self.index, |link| link.header.take()).expect("a protocol header comes back")
    }

    /// Class and method id of the next frame on this channel, if it is there and a method.
    pub fn next_id(&self) -> Option<MethodId> {
        self.net.link(self.index, |link| {
            let frames = link.frames.get(&self.channel)?;
            frames.front().and_then(Received::method_id)
        })
    }

    /// How many frames wait on this channel.
    pub fn waiting(&self) -> usize {
        self.net.link(self.index, |link| link.frames.get(&self.channel).map_or(0, |frames| frames.len()))
    }

    /// The socket was closed, and nothing came before it that was not looked at.
    #[track_caller]
    pub fn gone(&self) -> CloseKind {
        let rest = self.net.link(self.index, |link| link.describe());
        match self.net.closed(self.index) {
            Some(how) => {
                assert_eq!(rest, "\n    nothing", "before the socket was closed");
                how
            }
            None => panic!("expected the socket to be closed; waiting:{rest}"),
        }
    }

    /// The socket was closed, or is after a connection.close that needs no answer to take effect within 3 s.
    #[track_caller]
    pub fn gone_or_closed(&self) {
        if self.net.closed(self.index).is_none() {
            self.on(0).expect_id(ConnectionClose::ID, |_| ());
            self.net.advance(3_100);
        }
        assert!(self.net.closed(self.index).is_some(), "expected the socket to be closed");
    }

    /// Whether the broker has closed the socket.
    pub fn is_closed(&self) -> bool {
        self.net.closed(self.index).is_some()
    }

    /// The socket is still open.
    #[track_caller]
    pub fn still_open(&self) {
        assert_eq!(self.net.closed(self.index), None, "the socket was closed too early");
    }

    #[track_caller]
    fn channel_close(&self, code: u16, text: Text<'_>, id: MethodId) {
        self.expect_id(ChannelClose::ID, |method| {
            let Method::ChannelClose(close) = method else { unreachable!() };
            let by = MethodId::new(close.class_id, close.method_id);
            check_close("channel.close", (close.reply_code, close.reply_text, by), code, text, id);
        });
    }

    /// The channel is closed with this code and explanation (empty: the bare name); answers close-ok.
    #[track_caller]
    pub fn closed(&self, code: u16, explanation: &str, id: MethodId) -> &Peer {
        self.channel_close(code, Text::Is(explanation), id);
        self.send(ChannelCloseOk {})
    }

    /// The channel is closed with this code; its text. Answers close-ok and opens the channel again.
    #[track_caller]
    pub fn close_text(&self, code: u16, id: MethodId) -> String {
        let text = self.expect_id(ChannelClose::ID, |method| {
            let Method::ChannelClose(close) = method else { unreachable!() };
            assert_eq!((close.reply_code, close.class_id, close.method_id), (code, id.class, id.method), "{close:?}");
            close.reply_text.to_owned()
        });
        self.send(ChannelCloseOk {}).reopen();
        text
    }

    /// The same without the answer: the channel stays half closed.
    #[track_caller]
    pub fn closing(&self, code: u16, explanation: &str, id: MethodId) -> &Peer {
        self.channel_close(code, Text::Is(explanation), id);
        self
    }

    /// The channel is closed with this code, the text starting so.
    #[track_caller]
    pub fn closed_like(&self, code: u16, start: &str, id: MethodId) -> &Peer {
        self.channel_close(code, Text::StartsWith(start), id);
        self.send(ChannelCloseOk {})
    }

    #[track_caller]
    fn connection_close(&self, code: u16, text: Text<'_>, id: MethodId) {
        self.on(0).expect_id(ConnectionClose::ID, |method| {
            let Method::ConnectionClose(close) = method else { unreachable!() };
            let by = MethodId::new(close.class_id, close.method_id);
            check_close("connection.close", (close.reply_code, close.reply_text, by), code, text, id);
        });
    }

    /// The connection is closed with this code and explanation (empty: the bare name); answers close-ok and sees the
    /// socket closed.
    #[track_caller]
    pub fn dies(&self, code: u16, explanation: &str, id: MethodId) {
        self.connection_close(code, Text::Is(explanation), id);
        self.on(0).send(ConnectionCloseOk {}).gone();
    }

    /// The same with a text that starts so.
    #[track_caller]
    pub fn dies_like(&self, code: u16, start: &str, id: MethodId) {
        self.connection_close(code, Text::StartsWith(start), id);
        self.on(0).send(ConnectionCloseOk {}).gone();
    }

    /// The connection is closed for the framing: the stream is not read further, the socket goes within 3 s.
    #[track_caller]
    pub fn dies_of_framing(&self, code: u16, start: &str, id: MethodId) {
        self.connection_close(code, Text::StartsWith(start), id);
        self.on(0).send(ConnectionCloseOk {});
        self.net.advance(3_100);
        self.gone();
    }

    /// Some hard error or a cut connection: RabbitMQ's own way is not worth following.
    #[track_caller]
    pub fn dies_somehow(&self) {
        if self.net.closed(self.index).is_none() {
            self.on(0).expect_id(ConnectionClose::ID, |method| {
                let Method::ConnectionClose(close) = method else { unreachable!() };
                let code = ReplyCode::ALL.iter().find(|code| code.number() == close.reply_code);
                assert!(code.is_some_and(|code| code.is_hard()), "a hard error: {close:?}");
            });
            self.on(0).send(ConnectionCloseOk {});
            self.net.advance(3_100);
        }
        self.gone();
    }

    /// The connection is closed; the text is of no interest.
    #[track_caller]
    pub fn dies_with(&self, code: u16, id: MethodId) {
        self.connection_close(code, Text::Any, id);
        self.on(0).send(ConnectionCloseOk {}).gone();
    }

    /// Content header and body of a message whose method was taken already.
    #[track_caller]
    pub fn content(&self, mut message: Message) -> Message {
        let header = self.take("a content header");
        assert!(header.kind == FrameKind::Header, "expected a content header, got {}", header.describe());
        assert_eq!(header.payload[..4], [0, 60, 0, 0], "class basic, weight 0");
        let size = u64::from_be_bytes(*header.payload[4..].first_chunk::<8>().expect("a body size"));
        message.properties = header.payload[12..].to_vec();
        while (message.body.len() as u64) < size {
            let body = self.take("a body frame");
            assert!(body.kind == FrameKind::Body, "expected a body frame, got {}", body.describe());
            assert!(!body.payload.is_empty(), "no empty body frames");
            message.body.extend_from_slice(&body.payload);
        }
        assert_eq!(message.body.len() as u64, size);
        message
    }

    /// Any delivery.
    #[track_caller]
    pub fn delivery(&self) -> Message {
        let message = self.expect_id(BasicDeliver::ID, |method| {
            let Method::BasicDeliver(deliver) = method else { unreachable!() };
            Message {
                consumer_tag: deliver.consumer_tag.into(),
                delivery_tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                exchange: deliver.exchange.into(),
                routing_key: deliver.routing_key.into(),
                ..Message::default()
            }
        });
        self.content(message)
    }

    /// A delivery to this consumer under this tag with this body.
    #[track_caller]
    pub fn delivered(&self, consumer_tag: &str, delivery_tag: u64, body: &str) -> Message {
        let message = self.delivery();
        let came = (message.consumer_tag.as_str(), message.delivery_tag, message.text());
        assert_eq!(came, (consumer_tag, delivery_tag, body), "{message:?}");
        message
    }

    /// The tag of a consumer that the broker cancels.
    #[track_caller]
    pub fn cancelled_tag(&self) -> String {
        self.expect_id(BasicCancel::ID, |method| {
            let Method::BasicCancel(cancel) = method else { unreachable!() };
            assert!(cancel.no_wait, "no answer is expected");
            cancel.consumer_tag.to_owned()
        })
    }

    /// A returned message, for want of a queue.
    #[track_caller]
    pub fn returned(&self, exchange: &str, routing_key: &str, body: &str) -> Message {
        self.expect(BasicReturn { reply_code: 312, reply_text: "NO_ROUTE", exchange, routing_key });
        let message = self.content(Message::default());
        assert_eq!(message.text(), body);
        message
    }

    /// The answer to a get: a message, or none.
    #[track_caller]
    pub fn got(&self) -> Option<Message> {
        let came = self.take("get-ok or get-empty");
        let id = came.method_id().unwrap_or_default();
        match Method::decode(id, came.payload.get(4..).unwrap_or_default()) {
            Ok(Method::BasicGetEmpty(_)) => None,
            Ok(Method::BasicGetOk(got)) => Some(self.content(Message {
                delivery_tag: got.delivery_tag,
                redelivered: got.redelivered,
                exchange: got.exchange.into(),
                routing_key: got.routing_key.into(),
                message_count: got.message_count,
                ..Message::default()
            })),
            _ => panic!("expected get-ok or get-empty, got {}", came.describe()),
        }
    }
}
