//! A connection during the run: a socket that never blocks, with what could not be sent or parsed yet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::pacer::Pacer;

/// What a connection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its channels are producers.
    Producer,
    /// Its channels are consumers.
    Consumer,
    /// It has no channels.
    Idle,
}

/// Small sends wait for the end of the turn, to go together; from this size on they go at once.
const FLUSH_BYTES: usize = 32 << 10;

/// A connection of the run.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// What for.
    pub role: Role,
    /// The producer or consumer on channel 1, by index; the others follow.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// Received and not parsed: part of a frame, or what a slow consumer has not come to.
    pub inbox: Vec<u8>,
    /// To be sent. While it is not empty nothing may pass it by.
    pub out: Vec<u8>,
    sent: usize,
    /// The system takes no more at the moment.
    full: bool,
    /// It is in the list of those that are to be read.
    pub listed: bool,
    /// Nothing is read for the moment: its consumers have had what their rate allows.
    pub held: bool,
    /// What its consumers' rate allows, and how many messages they have taken.
    pub pace: Option<(Pacer, u64)>,
    /// Nothing is ever read: a slow consumer.
    pub deaf: bool,
    /// Sending has failed, and why. There may still be something to read that says more.
    pub failed: Option<String>,
    /// The broker has said connection.blocked.
    pub blocked: bool,
    /// The close handshake is over, or the connection is lost.
    pub closed: bool,
    /// When something was last received and sent, for heartbeats.
    pub received_at: u64,
    /// See `received_at`.
    pub sent_at: u64,
}

/// What a read has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, and there may be more.
    More(usize),
    /// So many bytes, and there is nothing more for now.
    All(usize),
    /// The other side has closed.
    End,
}

impl Socket {
    /// Takes over a connection that is open; `inbox` was received with it.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: std::net::TcpStream, inbox: Vec<u8>, role: Role, now: u64) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Socket {
            stream,
            role,
            first: 0,
            count: 0,
            inbox,
            out: vec![],
            sent: 0,
            full: false,
            listed: false,
            held: false,
            pace: None,
            deaf: false,
            failed: None,
            blocked: false,
            closed: false,
            received_at: now,
            sent_at: now,
        })
    }

    /// Has the system tell when it can be read and written.
    ///
    /// # Errors
    /// The system's.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = if self.deaf { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
        self.stream.register(registry, token, interest)
    }

    /// Reads once.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Ok(Received::End),
                Ok(bytes) if bytes == buffer.len() => Ok(Received::More(bytes)),
                // Less than there was room for: the next news will come as an event.
                Ok(bytes) => Ok(Received::All(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::All(0)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Whether all was sent.
    pub fn idle(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether producers have to wait until the system takes more.
    pub fn full(&self) -> bool {
        self.full
    }

    /// The system takes more again.
    pub fn writable(&mut self) {
        self.full = false;
    }

    /// Sends a batch, or as much of it as the system takes; keeps the rest. Little ones are kept for the next
    /// [`flush`](Socket::flush).
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.out.is_empty() && batch.len() >= FLUSH_BYTES {
            let sent = self.write(batch)?;
            self.out.extend_from_slice(&batch[sent..]);
            return Ok(());
        }
        self.out.extend_from_slice(batch);
        if self.out.len() - self.sent >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends what was kept, as far as the system takes it.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() || self.full {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let written = self.write(&out[self.sent..]);
        self.out = out;
        self.sent += written?;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() && !self.full {
            match self.stream.write(&bytes[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.full = true;
                    return Err(error);
                }
            }
        }
        Ok(sent)
    }

    /// Ends the connection without a word.
    pub fn shut(&mut self) {
        self.closed = true;
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
