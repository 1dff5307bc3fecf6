//! Between the event loop and the sockets: reading, sending, and what becomes of a connection that is lost.

use super::clock;
use super::engine::{Engine, Phase, READ_BYTES, READ_BYTES_PACED};
use super::error::Failure;
use super::socket::{Received, Role};

impl Engine<'_> {
    /// There may be something to read on a connection.
    pub fn list_read(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if !socket.listed && !socket.deaf && !socket.held && !socket.closed {
            socket.listed = true;
            self.reads.push(index);
        }
    }

    /// The system takes more from a connection.
    pub fn writable(&mut self, index: usize) -> Result<(), Failure> {
        // Every event says so; it is news only to who waits for it.
        if self.sockets[index].full() {
            self.sockets[index].writable();
            self.flush(index)?;
            self.list_producers(index);
        }
        Ok(())
    }

    /// The producers of a connection may be able to publish again.
    pub fn list_producers(&mut self, index: usize) {
        let socket = &self.sockets[index];
        if socket.role == Role::Producer && !socket.full() {
            for producer in socket.first..socket.first + socket.count {
                self.list_producer(producer);
            }
        }
    }

    /// A producer may be able to publish again.
    pub fn list_producer(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        if !producer.listed && !producer.done {
            producer.listed = true;
            self.ready.push(index);
        }
    }

    /// Sends what is waiting.
    pub fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let socket = &mut self.sockets[index];
        if socket.closed || socket.idle() {
            return Ok(());
        }
        socket.sent_at = self.now;
        match socket.flush() {
            Ok(()) => Ok(()),
            Err(error) => self.unsendable(index, error.to_string()),
        }
    }

    /// Sending has failed: an error, as soon as what the broker may have said before has been read.
    pub fn unsendable(&mut self, index: usize, why: String) -> Result<(), Failure> {
        let socket = &mut self.sockets[index];
        if socket.deaf || socket.held {
            return self.lost(index, &why);
        }
        socket.failed = Some(why);
        self.list_read(index);
        Ok(())
    }

    /// The connection is gone: an error, unless all are being closed.
    pub fn lost(&mut self, index: usize, why: &str) -> Result<(), Failure> {
        self.sockets[index].shut();
        if self.phase == Phase::Closing {
            return Ok(());
        }
        // What the broker said before it hung up has been read, or never will be.
        Err(Failure::run(format!("the connection of {} is lost: {why}", self.who(index))))
    }

    /// Whose connection this is.
    pub fn who(&self, index: usize) -> String {
        let role = self.sockets[index].role;
        let number = self.sockets[..index].iter().filter(|socket| socket.role == role).count();
        match role {
            Role::Producer => format!("producer {number}"),
            Role::Consumer => format!("consumer {number}"),
            Role::Idle => format!("idle connection {number}"),
        }
    }

    /// Reads once from a connection, and takes what came.
    pub fn read(&mut self, index: usize) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_into(index, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn read_into(&mut self, index: usize, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let socket = &mut self.sockets[index];
        if socket.closed || socket.held {
            return Ok(());
        }
        let kept = socket.inbox.len();
        if buffer.len() < kept + READ_BYTES / 2 {
            buffer.resize(kept + READ_BYTES, 0);
        }
        buffer[..kept].copy_from_slice(&socket.inbox);
        socket.inbox.clear();
        let end = if socket.pace.is_some() { kept + READ_BYTES_PACED } else { buffer.len() };
        let received = socket.read(&mut buffer[kept..end]);
        self.now = clock::now();
        let bytes = match received {
            Ok(Received::All(bytes) | Received::More(bytes)) => bytes,
            Ok(Received::End) | Err(_) => 0,
        };
        if bytes > 0 {
            self.sockets[index].received_at = self.now;
        }
        if kept + bytes > 0 {
            self.frames(index, &buffer[..kept + bytes])?;
        }
        match received {
            Ok(Received::All(_)) => {
                if let Some(why) = self.sockets[index].failed.take() {
                    self.lost(index, &why)?;
                }
            }
            Ok(Received::More(_)) => self.list_read(index),
            Ok(Received::End) if self.sockets[index].closed => {}
            Ok(Received::End) => self.lost(index, "the broker has closed it without a word")?,
            Err(error) => self.lost(index, &error.to_string())?,
        }
        if !self.sockets[index].idle() {
            self.flush(index)?;
        }
        Ok(())
    }
}
