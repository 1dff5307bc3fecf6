//! A client of our own, to look at the broker before and after.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use leveret::amqp::frame::{Frame, PROTOCOL_HEADER, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{FrameKind, LongStr, MethodId, Table};

/// One connection, used for one question after the other.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    /// Logs in.
    pub fn open(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut peer = Peer { stream, input: vec![] };
        peer.stream.write_all(&PROTOCOL_HEADER).unwrap();
        peer.receive();
        let response = LongStr(b"\0guest\0guest");
        let start_ok =
            ConnectionStartOk { client_properties: Table::EMPTY, mechanism: "PLAIN", response, locale: "en_US" };
        peer.send(0, &start_ok);
        peer.receive();
        peer.send(0, &ConnectionTuneOk { channel_max: 100, frame_max: 131_072, heartbeat: 0 });
        peer.send(0, &ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
        assert_eq!(peer.receive().0, ConnectionOpenOk::ID);
        peer
    }

    pub fn send<M: Encode>(&mut self, channel: u16, method: &M) {
        let mut out = vec![];
        write_method(&mut out, channel, method);
        self.stream.write_all(&out).unwrap();
    }

    /// The next method's id and arguments.
    pub fn receive(&mut self) -> (MethodId, Vec<u8>) {
        loop {
            if let Some(frame) = Frame::read(&self.input) {
                let (kind, payload, bytes) = (frame.kind, frame.payload.to_vec(), frame.wire_bytes());
                self.input.drain(..bytes);
                if kind == FrameKind::Method {
                    let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
                    return (MethodId::new(number(0), number(2)), payload[4..].to_vec());
                }
                continue;
            }
            let mut part = [0; 4096];
            let bytes = self.stream.read(&mut part).expect("an answer");
            assert!(bytes > 0, "the server has closed");
            self.input.extend_from_slice(&part[..bytes]);
        }
    }

    /// Asks on a new channel; whether the answer is not channel.close.
    fn ask<M: Encode>(&mut self, method: &M) -> Option<Vec<u8>> {
        self.send(1, &ChannelOpen { reserved_1: "" });
        assert_eq!(self.receive().0, ChannelOpenOk::ID);
        self.send(1, method);
        let (id, arguments) = self.receive();
        if id == ChannelClose::ID {
            self.send(1, &ChannelCloseOk {});
            return None;
        }
        self.send(1, &ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 });
        assert_eq!(self.receive().0, ChannelCloseOk::ID);
        Some(arguments)
    }

    fn queue<'a>(queue: &'a str, passive: bool) -> QueueDeclare<'a> {
        let (durable, arguments) = (true, Table::EMPTY);
        QueueDeclare {
            reserved_1: 0,
            queue,
            passive,
            durable,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments,
        }
    }

    fn exchange<'a>(exchange: &'a str, passive: bool) -> ExchangeDeclare<'a> {
        let (durable, arguments) = (true, Table::EMPTY);
        ExchangeDeclare {
            reserved_1: 0,
            exchange,
            kind: "direct",
            passive,
            durable,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments,
        }
    }

    /// Declares a durable queue.
    pub fn declare(&mut self, queue: &str) {
        self.ask(&Peer::queue(queue, false)).expect("it can be declared");
    }

    /// Declares a durable direct exchange.
    pub fn declare_exchange(&mut self, exchange: &str) {
        self.ask(&Peer::exchange(exchange, false)).expect("it can be declared");
    }

    /// Messages that wait in a queue; `None` when there is no such queue.
    pub fn messages(&mut self, queue: &str) -> Option<u32> {
        let arguments = self.ask(&Peer::queue(queue, true))?;
        match Method::decode(QueueDeclareOk::ID, &arguments) {
            Ok(Method::QueueDeclareOk(ok)) => Some(ok.message_count),
            other => panic!("{other:?}"),
        }
    }

    /// Whether there is such an exchange.
    pub fn has_exchange(&mut self, exchange: &str) -> bool {
        self.ask(&Peer::exchange(exchange, true)).is_some()
    }

    /// Deletes a queue.
    pub fn delete(&mut self, queue: &str) {
        let delete = QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false };
        self.ask(&delete).expect("it can be deleted");
    }
}
