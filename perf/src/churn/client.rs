//! A plain AMQP client: one blocking socket, any number of channels, answers handed to whoever asked.

use leveret::amqp::frame::{self, Frame, FrameKind};
use leveret::amqp::method::{self, Encode, Method};
use leveret::amqp::{LongStr, MethodId, TableWriter, Value};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::load::uri::Uri;

/// One connection that is open.
pub struct Client {
    stream: TcpStream,
    /// What was received; the first `taken` bytes are done with.
    input: Vec<u8>,
    taken: usize,
    /// What is to be sent with the next flush.
    output: Vec<u8>,
    timeout: Duration,
    /// The product that the server names in `connection.start`.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The most channels that the server allows.
    pub channel_max: u16,
}

impl Client {
    /// Connects and logs in. `timeout` bounds each wait for an answer.
    ///
    /// # Errors
    /// Why there is no open connection, for the user.
    pub fn connect(uri: &Uri, timeout: Duration) -> Result<Client, String> {
        let place = uri.address();
        let addresses = (uri.host.as_str(), uri.port).to_socket_addrs().map_err(|error| format!("{place}: {error}"))?;
        let mut last = format!("{place}: no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                // A port of the range for clients may be given to this very socket, which then is connected to itself.
                Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                    last = format!("{address}: nobody listens");
                }
                Ok(stream) => {
                    return Client::log_in(stream, uri, timeout).map_err(|error| format!("{address}: {error}"));
                }
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(last)
    }

    fn log_in(stream: TcpStream, uri: &Uri, timeout: Duration) -> Result<Client, String> {
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(timeout)));
        set.and_then(|()| stream.set_write_timeout(Some(timeout))).map_err(|error| error.to_string())?;
        let (input, output) = (vec![], frame::PROTOCOL_HEADER.to_vec());
        let (product, version) = (None, None);
        let mut client = Client { stream, input, taken: 0, output, timeout, product, version, channel_max: 0 };
        let start = client.answer(0, method::ConnectionStart::ID)?;
        if let Ok(Method::ConnectionStart(start)) = Method::decode(method::ConnectionStart::ID, &start) {
            let text =
                |key| Some(String::from_utf8_lossy(start.server_properties.find(key)?.as_long_str()?).into_owned());
            (client.product, client.version) = (text("product"), text("version"));
        }
        let mut properties = TableWriter::new();
        properties.put("product", Value::LongStr(b"leveret-perf"));
        let response = format!("\0{}\0{}", uri.user, uri.password);
        client.push(
            0,
            &method::ConnectionStartOk {
                client_properties: properties.table(),
                mechanism: "PLAIN",
                response: LongStr(response.as_bytes()),
                locale: "en_US",
            },
        );
        let tune = client.answer(0, method::ConnectionTune::ID)?;
        let Ok(Method::ConnectionTune(tune)) = Method::decode(method::ConnectionTune::ID, &tune) else {
            return Err("connection.tune cannot be read".into());
        };
        client.channel_max = if tune.channel_max == 0 { u16::MAX } else { tune.channel_max };
        let (channel_max, frame_max) = (tune.channel_max, tune.frame_max);
        client.push(0, &method::ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        client.push(0, &method::ConnectionOpen { virtual_host: &uri.vhost, reserved_1: "", reserved_2: false });
        client.answer(0, method::ConnectionOpenOk::ID)?;
        Ok(client)
    }

    /// Appends a method to what the next flush sends.
    pub fn push(&mut self, channel: u16, method: &impl Encode) {
        frame::write_method(&mut self.output, channel, method);
    }

    /// The buffer that the next flush sends.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> Result<(), String> {
        let sent = self.stream.write_all(&self.output).map_err(|error| self.lost(&error));
        self.output.clear();
        sent
    }

    /// Sends a method and waits for its answer, whose arguments it returns. Other frames are passed over.
    ///
    /// # Errors
    /// The socket's, or that the server closed channel or connection, and why.
    pub fn call(&mut self, channel: u16, method: &impl Encode, answer: MethodId) -> Result<Vec<u8>, String> {
        self.push(channel, method);
        self.answer(channel, answer)
    }

    fn answer(&mut self, channel: u16, answer: MethodId) -> Result<Vec<u8>, String> {
        self.flush()?;
        let mut found = None;
        while found.is_none() {
            self.turn(|frame, _| {
                if found.is_none() && frame.channel == channel && method_id(frame) == Some(answer) {
                    found = frame.payload.get(4..).map(<[u8]>::to_vec);
                }
                Ok(())
            })?;
        }
        Ok(found.unwrap_or_default())
    }

    /// Hands every whole frame that is there to `take`, with the buffer for what is to be sent, and sends that. Reads
    /// the socket once, waiting at most the timeout, when no whole frame is there yet.
    ///
    /// # Errors
    /// The socket's, the first of `take`, or that the server closed channel or connection, and why.
    pub fn turn(&mut self, mut take: impl FnMut(&Frame<'_>, &mut Vec<u8>) -> Result<(), String>) -> Result<(), String> {
        if Frame::read(&self.input[self.taken..]).is_none() {
            self.read()?;
        }
        while let Some(frame) = Frame::read(&self.input[self.taken..]) {
            self.taken += frame.wire_bytes();
            if frame.end != frame::END {
                return Err("the server sent a frame without an end octet".into());
            }
            closed(&frame)?;
            take(&frame, &mut self.output)?;
        }
        if self.output.is_empty() { Ok(()) } else { self.flush() }
    }

    fn read(&mut self) -> Result<(), String> {
        const READ_BYTES: usize = 64 * 1024;
        self.input.drain(..self.taken);
        self.taken = 0;
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let got = self.stream.read(&mut self.input[filled..]);
        self.input.truncate(filled + got.as_ref().map_or(0, |&got| got));
        if self.input.starts_with(b"AMQP") {
            return Err("the server speaks another version of AMQP".into());
        }
        match got {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &std::io::Error) -> String {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {:?}", self.timeout),
            _ => error.to_string(),
        }
    }

    /// Closes the connection and waits for the answer. The port is free again at once: a program that opens and closes
    /// connections at full speed would use up all of them otherwise.
    ///
    /// # Errors
    /// The socket's.
    pub fn close(mut self) -> Result<(), String> {
        let close = method::ConnectionClose { reply_code: 200, reply_text: "OK", class_id: 0, method_id: 0 };
        self.call(0, &close, method::ConnectionCloseOk::ID)?;
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).map_err(|error| error.to_string())
    }
}

/// Class and method id of a method frame.
pub fn method_id(frame: &Frame<'_>) -> Option<MethodId> {
    if frame.kind != FrameKind::Method {
        return None;
    }
    let ids = frame.payload.first_chunk::<4>()?;
    Some(MethodId::new(u16::from_be_bytes([ids[0], ids[1]]), u16::from_be_bytes([ids[2], ids[3]])))
}

/// A method frame's method.
pub fn decode<'a>(frame: &Frame<'a>) -> Option<Method<'a>> {
    Method::decode(method_id(frame)?, frame.payload.get(4..)?).ok()
}

fn closed(frame: &Frame<'_>) -> Result<(), String> {
    let (what, code, text) = match method_id(frame) {
        Some(method::ChannelClose::ID | method::ConnectionClose::ID) => match decode(frame) {
            Some(Method::ChannelClose(close)) => ("channel", close.reply_code, close.reply_text),
            Some(Method::ConnectionClose(close)) => ("connection", close.reply_code, close.reply_text),
            _ => return Err("the server closed the channel or connection".into()),
        },
        _ => return Ok(()),
    };
    Err(format!("the server closed the {what}: {code} {text}"))
}
