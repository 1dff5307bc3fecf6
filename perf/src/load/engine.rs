//! The event loop of a run: all connections on one thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::agents::{Consumer, Producer};
use super::alarm::Alarm;
use super::batch::Batch;
use super::checks::Checks;
use super::clock;
use super::error::Failure;
use super::intake::Alike;
use super::options::Options;
use super::plan::Plan;
use super::report::Progress;
use super::socket::{Received, Role, Socket};
use super::span::Span;
use super::stats::Stats;

/// What one read takes at most: large, because a read costs more than what it copies.
const READ_BYTES: usize = 1 << 20;
/// The same of consumers with a rate: what they do not take has to be kept.
const READ_BYTES_PACED: usize = 16 << 10;
/// How often heartbeats and timeouts are looked after.
pub const CARE: u64 = 500_000_000;
const ALARM: Token = Token(usize::MAX);

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Consumers are being started.
    Starting,
    /// Load, not measured yet.
    WarmUp,
    /// Load, measured.
    Measuring,
    /// Nothing more is published; what is under way arrives.
    Draining,
    /// The connections are being closed.
    Closing,
}

/// Something that happens at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The phase is over.
    Phase,
    /// An interval is over.
    Interval,
    /// Heartbeats and timeouts.
    Care,
    /// A producer's next message.
    Producer(usize),
    /// A paced consumer connection's next message.
    Socket(usize),
}

/// A run under way.
pub struct Engine<'a> {
    /// The options.
    pub o: &'a Options,
    /// Who is who.
    pub plan: &'a Plan,
    /// All connections.
    pub sockets: Vec<Socket>,
    /// All channels that publish.
    pub producers: Vec<Producer>,
    /// All channels that consume.
    pub consumers: Vec<Consumer>,
    /// The messages.
    pub batches: Vec<Batch>,
    /// The measurements.
    pub stats: Stats,
    /// The measured time, and what was used in it.
    pub span: Span,
    /// The check of sequences.
    pub checks: Option<Checks>,
    /// How the last delivery looked.
    pub alike: Alike,
    /// Where lines of progress go.
    pub progress: Progress,
    /// The largest frame of any connection.
    pub frame_max: u32,
    /// Where the run is.
    pub phase: Phase,
    /// When the phase is over, if at a certain time.
    pub phase_ends: Option<u64>,
    /// Consumers that the broker has not confirmed yet.
    pub starting: usize,
    /// Producers and consumers with a limit that they have not reached.
    pub limited: usize,
    /// Why the run ended.
    pub reason: String,
    /// What went wrong first.
    pub failure: Option<Failure>,
    /// The time at the start of the turn.
    pub now: u64,
    /// Connections to read.
    reads: Vec<usize>,
    /// Producers that may be able to publish.
    pub ready: Vec<usize>,
    /// Producers that wait for the backlog to shrink.
    pub held: Vec<usize>,
    /// Connections with something to send at the end of the turn.
    pub dirty: Vec<usize>,
    /// When something was last delivered.
    pub delivered_at: u64,
    /// What happens when.
    pub timers: BinaryHeap<Reverse<(u64, Due)>>,
    alarm: Alarm,
    poll: Poll,
    buffer: Vec<u8>,
    interrupted: Arc<AtomicBool>,
}

impl<'a> Engine<'a> {
    /// An engine without connections.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        o: &'a Options,
        plan: &'a Plan,
        progress: Progress,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Engine<'a>> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let now = clock::now();
        Ok(Engine {
            o,
            plan,
            sockets: vec![],
            producers: vec![],
            consumers: vec![],
            batches: vec![],
            stats: Stats::new(now),
            span: Span::new(&o.broker_pids),
            checks: None,
            alike: Alike::default(),
            progress,
            frame_max: 0,
            phase: Phase::Starting,
            phase_ends: None,
            starting: 0,
            limited: 0,
            reason: String::new(),
            failure: None,
            now,
            reads: vec![],
            ready: vec![],
            held: vec![],
            dirty: vec![],
            delivered_at: now,
            timers: BinaryHeap::new(),
            alarm,
            poll,
            buffer: vec![0; READ_BYTES],
            interrupted,
        })
    }

    /// Adds a connection; its index.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&mut self, mut socket: Socket) -> io::Result<usize> {
        let index = self.sockets.len();
        socket.register(self.poll.registry(), Token(index))?;
        self.sockets.push(socket);
        self.list_read(index);
        Ok(index)
    }

    /// Runs to the end, whatever happens. What went wrong is in `failure`.
    pub fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        self.at(self.now + CARE, Due::Care);
        // A backlog that is there already arrives as soon as the consumers are started.
        if self.plan.producers.is_empty() {
            self.begin();
        }
        loop {
            if let Err(failure) = self.turn(&mut events) {
                self.fail(failure);
            }
            if self.interrupted.swap(false, Ordering::Relaxed) {
                if self.phase == Phase::Closing {
                    break;
                }
                self.stop("Interrupted");
                self.close();
            }
            self.advance();
            if self.phase == Phase::Closing && self.sockets.iter().all(|socket| socket.closed) {
                break;
            }
        }
        self.progress.finish();
    }

    fn fail(&mut self, failure: Failure) {
        // The turn was broken off: whatever was listed is listed anew.
        self.reads.clear();
        for index in 0..self.sockets.len() {
            self.sockets[index].listed = false;
            self.list_read(index);
        }
        // Also while closing: that the broker did not like the last messages is to be known.
        self.failure.get_or_insert(failure);
        self.stop("The run has failed");
        self.close();
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), Failure> {
        let system = |error: io::Error| Failure::run(format!("the event loop has failed: {error}"));
        let busy = !self.reads.is_empty() || !self.ready.is_empty();
        let timeout = match self.timers.peek() {
            _ if busy => Some(Duration::ZERO),
            Some(Reverse((due, _))) if *due <= self.now => Some(Duration::ZERO),
            Some(Reverse((due, _))) => self.alarm.set(*due, self.now).map_err(system)?,
            None => None,
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(system(error)),
        }
        self.now = clock::now();
        for event in events.iter().filter(|event| event.token() != ALARM) {
            let index = event.token().0;
            if event.is_writable() {
                self.writable(index)?;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.list_read(index);
            }
        }
        for index in std::mem::take(&mut self.reads) {
            self.sockets[index].listed = false;
            self.read(index)?;
        }
        while let Some(Reverse((due, what))) = self.timers.peek().copied()
            && due <= self.now
        {
            self.timers.pop();
            self.due(what)?;
        }
        self.publish_all()?;
        for index in std::mem::take(&mut self.dirty) {
            self.flush(index)?;
        }
        Ok(())
    }

    /// Something is to happen at `due`.
    pub fn at(&mut self, due: u64, what: Due) {
        self.timers.push(Reverse((due, what)));
    }

    /// There may be something to read on a connection.
    pub fn list_read(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if !socket.listed && !socket.deaf && !socket.held && !socket.closed {
            socket.listed = true;
            self.reads.push(index);
        }
    }

    fn writable(&mut self, index: usize) -> Result<(), Failure> {
        self.sockets[index].writable();
        self.flush(index)?;
        self.list_producers(index);
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
            Err(error) => self.lost(index, &error.to_string()),
        }
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
    fn read(&mut self, index: usize) -> Result<(), Failure> {
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
            Ok(Received::All(_)) => {}
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

    fn due(&mut self, what: Due) -> Result<(), Failure> {
        match what {
            Due::Phase => {} // `advance` looks at the clock
            Due::Interval => {
                if matches!(self.phase, Phase::WarmUp | Phase::Measuring) {
                    self.roll();
                    self.at(self.span.next_interval(self.now, self.o.interval), Due::Interval);
                }
            }
            Due::Care => {
                self.care()?;
                self.at(self.now + CARE, Due::Care);
            }
            Due::Producer(producer) => {
                self.producers[producer].timed = false;
                self.list_producer(producer);
            }
            Due::Socket(index) => {
                // What was kept comes first.
                let socket = &mut self.sockets[index];
                socket.held = false;
                let kept = std::mem::take(&mut socket.inbox);
                self.frames(index, &kept)?;
                if !self.sockets[index].held {
                    self.list_read(index);
                }
                self.flush(index)?;
            }
        }
        Ok(())
    }
}
