//! One shard's thread: wait, take what happened, have the shard take its turn.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll};

use super::clock::Clock;
use super::inbox::{Inbox, Inlet, Input};
use super::lane::LaneInlet;
use super::listener::{self, Acceptor};
use super::passwords::PasswordInlet;
use super::sockets::Sockets;
use super::token::{Target, decode, encode};
use crate::shard::alarm::Alarm;
use crate::shard::turn::{NextTurn, turn};
use crate::shard::{Peer, Shard};
use crate::time::Now;

/// Events taken from the system at once; more are taken next time.
const EVENTS_MAX: usize = 1024;

/// How long clients have to answer the close of a server that stops, in milliseconds.
const GRACE_MS: u64 = 600;

/// What the event loops of a server share.
#[derive(Debug, Clone)]
pub struct Common {
    /// The inlets of all shards, by number.
    pub inlets: Arc<[Inlet]>,
    /// Shards that have connections left. They need each other until the last one is done.
    pub busy: Arc<AtomicUsize>,
    /// The time.
    pub clock: Clock,
    /// Where passwords are checked.
    pub passwords: PasswordInlet,
    /// The store, if there is one.
    pub lane: Option<LaneInlet>,
}

/// A server that stops.
#[derive(Debug)]
struct Stopping {
    /// When whoever is left is dropped.
    until: Now,
    /// This shard has no connections left, and the others know.
    done: bool,
}

/// One shard's thread.
#[derive(Debug)]
pub struct EventLoop {
    shard: Shard,
    sockets: Sockets,
    poll: Poll,
    events: Events,
    common: Common,
    /// The listeners, on shard 0.
    acceptor: Option<Acceptor>,
    /// The shard that gets the next accepted socket.
    deal_to: usize,
    stopping: Option<Stopping>,
}

impl EventLoop {
    /// The event loop of `shard`; `inbox` was opened on `poll`.
    pub fn new(shard: Shard, poll: Poll, inbox: Inbox, common: Common) -> EventLoop {
        let (inlets, lane, passwords) = (common.inlets.clone(), common.lane.clone(), common.passwords.clone());
        let sockets = Sockets::new(shard.id().0.into(), inbox, inlets, lane, passwords);
        let events = Events::with_capacity(EVENTS_MAX);
        EventLoop { shard, sockets, poll, events, common, acceptor: None, deal_to: 0, stopping: None }
    }

    /// Has this event loop accept connections for all shards.
    pub fn accept_from(&mut self, mut listeners: Vec<mio::net::TcpListener>) -> io::Result<()> {
        for (place, listener) in listeners.iter_mut().enumerate() {
            let token = encode(Target::Listener(place as u16));
            self.poll.registry().register(listener, token, Interest::READABLE)?;
        }
        self.acceptor = Some(Acceptor::new(listeners));
        Ok(())
    }

    /// Runs until the server has stopped.
    pub fn run(mut self) {
        let mut next = NextTurn::Now;
        loop {
            self.wait(next);
            let now = self.common.clock.read();
            self.accept(now);
            self.admit(now);
            while let Some((low, _heard)) = self.sockets.memory_low.pop_front() {
                self.shard.set_alarm(Alarm::Memory, low);
            }
            self.sockets.begin_turn(now, self.common.clock.wall_ms(now));
            next = turn(&mut self.shard, &mut self.sockets);
            if self.sockets.stop && self.is_over(now, &mut next) {
                return;
            }
        }
    }

    /// Waits for something to do, and notes what happened.
    fn wait(&mut self, next: NextTurn) {
        let mut timeout = self.timeout(next);
        if timeout != Some(Duration::ZERO) && !self.sockets.inbox.sleep() {
            timeout = Some(Duration::ZERO);
        }
        let result = self.poll.poll(&mut self.events, timeout);
        if timeout != Some(Duration::ZERO) {
            self.sockets.inbox.awake();
        }
        if let Err(error) = result {
            // A signal; there is no other error of a queue that is open. No events were taken.
            assert!(error.kind() == ErrorKind::Interrupted, "the event loop cannot go on: {error}");
            return;
        }
        for event in &self.events {
            match decode(event.token()) {
                Target::Connection(id) => self.sockets.note(id, event),
                Target::Listener(place) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.note(place);
                    }
                }
                Target::Inbox => {}
            }
        }
    }

    /// How long there is nothing to do unless something happens.
    fn timeout(&self, next: NextTurn) -> Option<Duration> {
        if self.sockets.has_work() || next == NextTurn::Now {
            return Some(Duration::ZERO);
        }
        let timer = match next {
            NextTurn::At(then) => Some(then),
            NextTurn::Now | NextTurn::OnEvent => None,
        };
        let accept = self.acceptor.as_ref().and_then(|acceptor| acceptor.due(self.sockets.now));
        let stop = self.stopping.as_ref().map(|stopping| stopping.until);
        let due = [timer, accept, stop].into_iter().flatten().min()?;
        Some(self.common.clock.until(due))
    }

    /// Accepts who waits, and deals the sockets out.
    fn accept(&mut self, now: Now) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let (sockets, inlets, deal_to) = (&mut self.sockets, &self.common.inlets, &mut self.deal_to);
        let own = usize::from(self.shard.id().0);
        acceptor.accept(now, |stream, address| {
            let Some(peer) = listener::prepare(&stream, address) else {
                return;
            };
            if *deal_to == own {
                sockets.arrivals.push_back((stream, peer));
            } else {
                inlets[*deal_to].put(Input::Socket(stream, peer));
            }
            *deal_to = (*deal_to + 1) % inlets.len();
        });
    }

    /// Makes connections of the sockets that were accepted for this shard.
    fn admit(&mut self, now: Now) {
        while let Some((stream, peer)) = self.sockets.arrivals.pop_front() {
            self.connect(now, stream, peer);
        }
    }

    fn connect(&mut self, now: Now, stream: TcpStream, peer: Peer) {
        // Dropping the stream closes it.
        if self.stopping.is_some() {
            return;
        }
        let Some(id) = self.shard.connect(now, peer) else {
            return;
        };
        if let Err(error) = self.sockets.add(self.poll.registry(), id, stream) {
            log::warn!(target: "connection", "cannot watch the socket of {}: {error}", peer.address);
            self.shard.disconnected(now, id);
        }
    }

    /// Carries the stop on after a turn; true when this thread may end.
    fn is_over(&mut self, now: Now, next: &mut NextTurn) -> bool {
        let Some(stopping) = &mut self.stopping else {
            self.acceptor = None;
            self.shard.stop(now);
            self.stopping = Some(Stopping { until: now.after_ms(GRACE_MS), done: false });
            *next = NextTurn::Now;
            return false;
        };
        if !stopping.done && self.shard.is_stopped() {
            stopping.done = true;
            if self.common.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.common.inlets.iter().for_each(Inlet::wake);
            }
        }
        self.common.busy.load(Ordering::SeqCst) == 0 || now >= stopping.until
    }
}
