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
use super::socket::Socket;
use super::span::Span;
use super::stats::Stats;

/// What one read takes at most: large, because a read costs more than what it copies.
pub const READ_BYTES: usize = 1 << 20;
/// The same of consumers with a rate: what they do not take has to be kept.
pub const READ_BYTES_PACED: usize = 16 << 10;
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
    /// The drain was over before everything had come.
    pub undrained: bool,
    /// Why the run ended.
    pub reason: String,
    /// What went wrong first.
    pub failure: Option<Failure>,
    /// The time at the start of the turn.
    pub now: u64,
    /// Connections to read.
    pub reads: Vec<usize>,
    /// Producers that may be able to publish.
    pub ready: Vec<usize>,
    /// Producers that wait for the backlog to shrink.
    pub held: Vec<usize>,
    /// Deliveries under way at which publishers pause.
    pub backlog: Option<i64>,
    /// Connections with something to send at the end of the turn.
    pub dirty: Vec<usize>,
    /// When something was last delivered.
    pub delivered_at: u64,
    /// What happens when.
    pub timers: BinaryHeap<Reverse<(u64, Due)>>,
    alarm: Alarm,
    poll: Poll,
    /// What one read brings.
    pub buffer: Vec<u8>,
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
            undrained: false,
            reason: String::new(),
            failure: None,
            now,
            reads: vec![],
            ready: vec![],
            held: vec![],
            backlog: None,
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
                self.release_from(1);
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
