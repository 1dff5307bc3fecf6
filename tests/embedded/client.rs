//! A small blocking client: enough of AMQP 0-9-1 to see a server work, over a real socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use leveret::amqp::frame::{Frame, PROTOCOL_HEADER, write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{FrameKind, LongStr, MethodId, Table};

/// Longest wait for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// frame_max of every connection.
pub const FRAME_MAX: u32 = 131_072;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Came {
    pub fn method_id(&self) -> Option<MethodId> {
        let id = self.payload.first_chunk::<4>().filter(|_| self.kind == FrameKind::Method)?;
        Some(MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]])))
    }

    /// The method, decoded.
    pub fn method(&self) -> Method<'_> {
        let id = self.method_id().unwrap_or_else(|| panic!("{self:?} is no method"));
        Method::decode(id, &self.payload[4..]).expect("the broker's methods are in order")
    }
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
    Timeout,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    input: Vec<u8>,
    /// What of it was taken.
    taken: usize,
}

impl Client {
    /// A socket, and nothing said yet.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::over(stream)
    }

    /// A socket that is open already.
    pub fn over(stream: TcpStream) -> Client {
        Client { stream, input: vec![], taken: 0 }
    }

    /// A connection that is open, with channel 1.
    pub fn open(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.log_in();
        client.expect(1, ChannelOpen { reserved_1: "" }, ChannelOpenOk::ID);
        client
    }

    /// The handshake up to connection.open-ok.
    pub fn log_in(&mut self) {
        self.log_in_as(start_ok());
    }

    /// The same, said in other words.
    pub fn log_in_as(&mut self, start_ok: ConnectionStartOk<'_>) {
        self.raw(&PROTOCOL_HEADER);
        self.take(ConnectionStart::ID);
        self.send(0, start_ok);
        self.take(ConnectionTune::ID);
        self.send(0, tune_ok());
        let open = ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false };
        self.expect(0, open, ConnectionOpenOk::ID);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    pub fn send<M: Encode>(&mut self, channel: u16, method: M) {
        let mut out = vec![];
        write_method(&mut out, channel, &method);
        self.raw(&out);
    }

    /// Sends a method and takes its answer.
    pub fn expect<M: Encode>(&mut self, channel: u16, method: M, answer: MethodId) -> Came {
        self.send(channel, method);
        self.take(answer)
    }

    /// The next frame, which is this method.
    pub fn take(&mut self, id: MethodId) -> Came {
        let came = self.receive().unwrap_or_else(|end| panic!("{end:?} instead of {id:?}"));
        assert_eq!(came.method_id(), Some(id), "{came:?}");
        came
    }

    /// The next frame.
    pub fn receive(&mut self) -> Result<Came, End> {
        loop {
            if let Some(frame) = Frame::read(&self.input[self.taken..]) {
                let came = Came { kind: frame.kind, channel: frame.channel, payload: frame.payload.to_vec() };
                self.taken += frame.wire_bytes();
                return Ok(came);
            }
            self.input.drain(..std::mem::take(&mut self.taken));
            let mut part = [0; 64 << 10];
            match self.stream.read(&mut part) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => self.input.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(End::Timeout);
                }
                Err(_) => return Err(End::Reset),
            }
        }
    }

    /// What comes until the socket ends, and how it ends.
    pub fn rest(&mut self) -> (Vec<Came>, End) {
        let mut all = vec![];
        loop {
            match self.receive() {
                Ok(came) => all.push(came),
                Err(end) => return (all, end),
            }
        }
    }

    /// Whether the socket ends within `time`, whatever else comes.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let ended = self.rest().1 != End::Timeout;
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ended
    }

    /// Declares a queue and returns its number of messages.
    pub fn declare(&mut self, queue: &str, passive: bool) -> u32 {
        let came = self.expect(1, declare(queue, passive), QueueDeclareOk::ID);
        match came.method() {
            Method::QueueDeclareOk(ok) => ok.message_count,
            other => panic!("{other:?}"),
        }
    }

    pub fn publish(&mut self, queue: &str, body: &[u8]) {
        let bytes = publish(queue, body);
        self.raw(&bytes);
    }

    pub fn consume(&mut self, queue: &str) {
        let consume = BasicConsume {
            reserved_1: 0,
            queue,
            consumer_tag: "c",
            no_local: false,
            no_ack: true,
            exclusive: false,
            no_wait: false,
            arguments: Table::EMPTY,
        };
        self.expect(1, consume, BasicConsumeOk::ID);
    }

    /// The body of the next delivery.
    pub fn delivered(&mut self) -> Vec<u8> {
        self.take(BasicDeliver::ID);
        let header = self.receive().expect("a content header");
        let size = header.payload[4..12].try_into().expect("eight bytes");
        let size = u64::from_be_bytes(size) as usize;
        let mut body = vec![];
        while body.len() < size {
            let part = self.receive().expect("a content body");
            assert_eq!((part.kind, part.channel), (FrameKind::Body, 1));
            body.extend_from_slice(&part.payload);
        }
        assert_eq!(body.len(), size);
        body
    }

    /// Whether the server answers a round trip.
    pub fn is_served(&mut self) -> bool {
        let qos = BasicQos { prefetch_size: 0, prefetch_count: 0, global: false };
        self.send(1, qos);
        self.receive().is_ok_and(|came| came.method_id() == Some(BasicQosOk::ID))
    }
}

pub fn start_ok() -> ConnectionStartOk<'static> {
    ConnectionStartOk {
        client_properties: Table::EMPTY,
        mechanism: "PLAIN",
        response: LongStr(b"\0guest\0guest"),
        locale: "en_US",
    }
}

pub fn tune_ok() -> ConnectionTuneOk {
    ConnectionTuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 }
}

pub fn declare(queue: &str, passive: bool) -> QueueDeclare<'_> {
    QueueDeclare {
        reserved_1: 0,
        queue,
        passive,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

/// The frames of a message to a queue, on channel 1 and without properties.
pub fn publish(queue: &str, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let method = BasicPublish { reserved_1: 0, exchange: "", routing_key: queue, mandatory: false, immediate: false };
    write_method(&mut out, 1, &method);
    write_content_header(&mut out, 1, body.len() as u64, &[0, 0]);
    write_body(&mut out, 1, body, FRAME_MAX);
    out
}
