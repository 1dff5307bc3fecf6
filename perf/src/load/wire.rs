//! A connection before and after the measured time: blocking, one thing at a time, with clear errors.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use leveret::amqp::frame::{FRAME_MIN_SIZE, Frame, FrameKind, PROTOCOL_HEADER, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{LongStr, MethodId, TableWriter, Value};

use super::error::Failure;
use super::uri::Uri;

/// No broker takes longer for an answer; one that does is taken for gone.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What is proposed where the broker has no limit, so that buffers have one.
const FRAME_MAX_DEFAULT: u32 = 131_072;

/// What the broker says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// Such as `RabbitMQ`.
    pub name: String,
    /// Such as `3.10.8`.
    pub version: String,
}

/// What both sides have agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Bytes of a frame at most; never 0.
    pub frame_max: u32,
    /// The highest channel.
    pub channel_max: u16,
    /// Seconds; 0 is none.
    pub heartbeat: u16,
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that have been read.
    seen: usize,
    /// Who this is, for errors.
    what: String,
    /// The broker.
    pub product: Product,
    /// The agreement.
    pub agreed: Agreed,
}

impl Link {
    /// Connects, and sends the protocol header. Log-in is two steps, so that many connections can take them together.
    ///
    /// # Errors
    /// Nobody listens there, or there is no such host.
    pub fn connect(uri: &Uri, what: &str) -> Result<Link, Failure> {
        let refuse = |error: io::Error| Failure::run(format!("cannot connect to {}: {error}", uri.address()));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (&*uri.host, uri.port).to_socket_addrs().map_err(refuse)? {
            match TcpStream::connect_timeout(&address, CONNECT_MAX) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(refuse)?;
                    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(refuse)?;
                    stream.set_write_timeout(Some(ANSWER_MAX)).map_err(refuse)?;
                    let mut link = Link {
                        stream,
                        inbox: vec![],
                        seen: 0,
                        what: what.to_owned(),
                        product: Product::default(),
                        agreed: Agreed::default(),
                    };
                    link.send(&PROTOCOL_HEADER)?;
                    return Ok(link);
                }
                Err(error) => last = error,
            }
        }
        Err(refuse(last))
    }

    /// Answers the broker's greeting.
    ///
    /// # Errors
    /// It is no broker, or offers no log-in with a password.
    pub fn log_in(&mut self, uri: &Uri) -> Result<(), Failure> {
        let mut product = Product::default();
        match self.receive() {
            Ok((0, Method::ConnectionStart(start))) => {
                let text = |key| start.server_properties.find(key).and_then(|value| value.as_long_str());
                let text = |key| text(key).map_or(String::new(), |text| String::from_utf8_lossy(text).into_owned());
                product.name = text("product");
                product.version = text("version");
                if !start.mechanisms.0.split(|b| *b == b' ').any(|mechanism| mechanism == b"PLAIN") {
                    return Err(Failure::run("the broker offers no log-in with user and password (PLAIN)"));
                }
            }
            Ok((_, method)) => return Err(unexpected(method.id())),
            Err(error) => return Err(error),
        }
        self.product = product;
        let mut capabilities = TableWriter::new();
        for name in ["authentication_failure_close", "basic.nack", "connection.blocked", "consumer_cancel_notify"] {
            capabilities.put(name, Value::Bool(true));
        }
        capabilities.put("publisher_confirms", Value::Bool(true));
        let mut properties = TableWriter::new();
        properties.put("product", Value::LongStr(b"leveret-perf"));
        properties.put("version", Value::LongStr(env!("CARGO_PKG_VERSION").as_bytes()));
        properties.put("platform", Value::LongStr(b"Rust"));
        properties.put("connection_name", Value::LongStr(self.what.as_bytes()));
        properties.put("capabilities", Value::Table(capabilities.table()));
        let response = format!("\0{}\0{}", uri.user, uri.password);
        self.call(
            0,
            &ConnectionStartOk {
                client_properties: properties.table(),
                mechanism: "PLAIN",
                response: LongStr(response.as_bytes()),
                locale: "en_US",
            },
        )
    }

    /// Agrees on limits (`wished`: 0 is what the broker offers, except for the heartbeat), asks for the virtual host.
    ///
    /// # Errors
    /// The broker has refused the log-in.
    pub fn tune(&mut self, uri: &Uri, wished: Agreed) -> Result<(), Failure> {
        let offer = match self.receive_log_in(uri)? {
            Method::ConnectionTune(offer) => offer,
            Method::ConnectionSecure(_) => return Err(Failure::run("the broker asks for more than a password")),
            method => return Err(unexpected(method.id())),
        };
        let lower = |a: u32, b: u32| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        let frame_max = match lower(offer.frame_max, wished.frame_max) {
            0 => FRAME_MAX_DEFAULT,
            size => size.max(FRAME_MIN_SIZE),
        };
        let channel_max = lower(offer.channel_max.into(), wished.channel_max.into()) as u16;
        let channel_max = if channel_max == 0 { u16::MAX } else { channel_max };
        let heartbeat = wished.heartbeat;
        self.agreed = Agreed { frame_max, channel_max, heartbeat };
        self.call(0, &ConnectionTuneOk { channel_max, frame_max, heartbeat })?;
        self.call(0, &ConnectionOpen { virtual_host: &uri.vhost, reserved_1: "", reserved_2: false })
    }

    /// Waits until the connection is open.
    ///
    /// # Errors
    /// There is no such virtual host, or the user may not use it.
    pub fn opened(&mut self, uri: &Uri) -> Result<(), Failure> {
        match self.receive_log_in(uri)? {
            Method::ConnectionOpenOk(_) => Ok(()),
            method => Err(unexpected(method.id())),
        }
    }

    /// Receives during log-in, where some brokers say no by closing the socket.
    fn receive_log_in(&mut self, uri: &Uri) -> Result<Method<'_>, Failure> {
        let gone = self.gone();
        let user = &uri.user;
        match self.receive() {
            Ok((_, method)) => Ok(method),
            Err(error) if error == gone => {
                Err(Failure::run(format!("the broker has closed the connection during log-in of user '{user}'")))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let what = &self.what;
        self.stream.write_all(bytes).map_err(|error| Failure::run(format!("the connection of {what} is lost: {error}")))
    }

    /// Sends a method.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn call<M: Encode>(&mut self, channel: u16, method: &M) -> Result<(), Failure> {
        let mut out = vec![];
        write_method(&mut out, channel, method);
        self.send(&out)
    }

    /// The next method; heartbeats are passed over, and so is content.
    ///
    /// # Errors
    /// The connection is lost, or the broker has closed it (with its code and text).
    pub fn receive(&mut self) -> Result<(u16, Method<'_>), Failure> {
        let (channel, range) = loop {
            match Frame::read(&self.inbox[self.seen..]) {
                Some(frame) => {
                    let start = self.seen + 7;
                    let range = start..start + frame.payload.len();
                    self.seen += frame.wire_bytes();
                    if frame.kind == FrameKind::Method {
                        break (frame.channel, range);
                    }
                }
                None => self.more()?,
            }
        };
        if self.inbox[range.clone()].starts_with(&[0, 10, 0, 50]) {
            // Said before anything that borrows: the broker waits for it.
            let _ = self.call(0, &ConnectionCloseOk {});
        }
        let payload = &self.inbox[range];
        let malformed = || Failure::run("the broker has sent something that is not AMQP 0-9-1");
        let id = payload.first_chunk::<4>().ok_or_else(malformed)?;
        let id = MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]]));
        match Method::decode(id, &payload[4..]).map_err(|_| malformed())? {
            Method::ConnectionClose(close) => {
                Err(Failure::closed(&format!("the connection of {}", self.what), close.reply_code, close.reply_text))
            }
            method => Ok((channel, method)),
        }
    }

    /// The next method, which has to have this id.
    ///
    /// # Errors
    /// It has another one: above all the broker has closed the channel.
    pub fn expect(&mut self, id: MethodId, what: &str) -> Result<Method<'_>, Failure> {
        match self.receive()? {
            (_, method) if method.id() == id => Ok(method),
            (_, Method::ChannelClose(close)) => Err(Failure::closed(what, close.reply_code, close.reply_text)),
            (_, method) => Err(unexpected(method.id())),
        }
    }

    fn gone(&self) -> Failure {
        Failure::run(format!("the broker has closed the connection of {} without a word", self.what))
    }

    fn more(&mut self) -> Result<(), Failure> {
        self.inbox.drain(..self.seen);
        self.seen = 0;
        let mut part = [0; 16 << 10];
        let what = &self.what;
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return Err(self.gone()),
                Ok(bytes) => {
                    self.inbox.extend_from_slice(&part[..bytes]);
                    // A broker that speaks another version answers with its own header.
                    if self.inbox.starts_with(b"AMQP") {
                        return Err(Failure::run("the broker does not speak AMQP 0-9-1"));
                    }
                    if self.inbox.first().is_some_and(|kind| *kind > 8) {
                        return Err(Failure::run("there is something that is not an AMQP 0-9-1 broker"));
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(Failure::run(format!("the broker does not answer {what}")));
                }
                Err(error) => return Err(Failure::run(format!("the connection of {what} is lost: {error}"))),
            }
        }
    }

    /// Closes orderly. Errors do not matter any more.
    pub fn close(mut self) {
        let close = ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
        if self.call(0, &close).is_ok() {
            while let Ok((_, method)) = self.receive() {
                if method == Method::ConnectionCloseOk(ConnectionCloseOk {}) {
                    break;
                }
            }
        }
    }

    /// The socket, and what was received and not read yet.
    pub fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.inbox.drain(..self.seen);
        (self.stream, self.inbox)
    }
}

fn unexpected(id: MethodId) -> Failure {
    Failure::run(format!("the broker has sent method {}.{} out of turn", id.class, id.method))
}

/// Connections taken together, so that a thousand do not wait a thousand times.
const TOGETHER: usize = 100;

/// Opens `count` connections, dealt out to `uris` from number `first` on.
///
/// # Errors
/// The first that cannot be opened.
pub fn open(
    uris: &[Uri],
    first: usize,
    count: usize,
    wished: Agreed,
    what: impl Fn(usize) -> String,
) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::with_capacity(count);
    while links.len() < count {
        let start = links.len();
        let uri = |number: usize| &uris[(first + number) % uris.len()];
        for number in start..count.min(start + TOGETHER) {
            links.push(Link::connect(uri(number), &what(number))?);
        }
        let part = || (start..).zip(0..TOGETHER.min(count - start)).map(|(number, _)| number);
        for number in part() {
            links[number].log_in(uri(number))?;
        }
        for number in part() {
            links[number].tune(uri(number), wished)?;
        }
        for number in part() {
            links[number].opened(uri(number))?;
        }
    }
    Ok(links)
}
