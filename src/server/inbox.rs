//! One inbox per shard: what other threads have for it, in order, never refused, never waited for.
//!
//! Looking into an empty inbox costs one load, because a shard looks after every read. A sleeping shard is woken
//! through the kernel, an awake one is not: the sleeper announces its sleep and looks again; the sender puts something
//! in and looks for an announcement. Whichever comes second sees the first (both sequentially consistent), so nothing
//! lies in the inbox of a shard that sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use mio::net::TcpStream;
use mio::{Registry, Waker};

use super::token::{Target, encode};
use crate::shard::Peer;
use crate::shard::access::PasswordCheck;
use crate::shard::admin::{AdminAnswer, AdminRequest};
use crate::shard::inspect::{InspectReply, InspectRequest};
use crate::shard::mesh::Batch;
use crate::store::Completion;

/// What a shard's thread is told by others.
#[derive(Debug)]
pub enum Input {
    /// What another shard has to say.
    Batch(Batch),
    /// What the store has to say.
    Completion(Completion),
    /// The journal has taken what the shard had submitted: it may submit more.
    Taken,
    /// A socket that was accepted for this shard.
    Socket(TcpStream, Peer),
    /// A request that is not AMQP, for shard 0, and where its answer goes.
    Admin(Box<AdminRequest>, Sender<AdminAnswer>),
    /// A question of somebody who looks, and where the answer goes.
    Inspect(InspectRequest, Sender<InspectReply>),
    /// A password was checked, and whether it was right.
    Checked(Box<PasswordCheck>, bool),
    /// Whether the process has more memory than it may; the sender is dropped when the shard knows.
    MemoryLow(bool, Option<Sender<()>>),
    /// The server stops.
    Stop,
}

#[derive(Debug)]
struct State {
    /// Something was put in since the owner last began to empty the inbox.
    filled: AtomicBool,
    /// The owner is about to sleep, or sleeps.
    asleep: AtomicBool,
    waker: Waker,
}

/// The owner's end.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Input>,
    state: Arc<State>,
    /// The owner has seen `filled` and not yet found the end.
    emptying: bool,
}

/// The end through which others put something in.
#[derive(Debug, Clone)]
pub struct Inlet {
    sender: Sender<Input>,
    state: Arc<State>,
}

/// An inbox for the owner of `registry`'s poll.
pub fn open(registry: &Registry) -> io::Result<(Inlet, Inbox)> {
    let waker = Waker::new(registry, encode(Target::Inbox))?;
    let state = Arc::new(State { filled: AtomicBool::new(false), asleep: AtomicBool::new(false), waker });
    let (sender, receiver) = mpsc::channel();
    Ok((Inlet { sender, state: state.clone() }, Inbox { receiver, state, emptying: false }))
}

impl Inlet {
    /// Puts `input` in, and wakes the owner when it sleeps. An owner that is gone no longer listens.
    pub fn put(&self, input: Input) {
        if self.sender.send(input).is_err() {
            return;
        }
        self.state.filled.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Ends the owner's sleep, if it sleeps.
    pub fn wake(&self) {
        // Read first: an awake owner's cache line stays shared.
        if self.state.asleep.load(Ordering::SeqCst)
            && self.state.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.state.waker.wake()
        {
            log::error!("cannot wake a shard: {error}");
        }
    }
}

impl Inbox {
    /// The next thing, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<Input> {
        if !self.emptying {
            if !self.state.filled.load(Ordering::Acquire) {
                return None;
            }
            // Cleared before the first look: what is put in later sets it again.
            self.state.filled.swap(false, Ordering::SeqCst);
            self.emptying = true;
        }
        let next = self.receiver.try_recv().ok();
        self.emptying = next.is_some();
        next
    }

    /// Announces sleep. False: something is there, do not sleep. To be followed by [`awake`](Self::awake) either way.
    pub fn sleep(&mut self) -> bool {
        self.state.asleep.store(true, Ordering::SeqCst);
        !self.emptying && !self.state.filled.load(Ordering::SeqCst)
    }

    /// Takes the announcement back.
    pub fn awake(&mut self) {
        self.state.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    fn number(input: Input) -> u8 {
        match input {
            Input::Batch(_) => 1,
            Input::Socket(..) => 2,
            Input::Stop => 3,
            Input::Completion(_) => 4,
            Input::Taken => 5,
            Input::Admin(..) => 6,
            Input::Inspect(..) => 9,
            Input::Checked(..) => 8,
            Input::MemoryLow(..) => 7,
        }
    }

    /// Whether a wake-up waits to be polled.
    fn woken(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().any(|event| event.token() == encode(Target::Inbox))
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let mut poll = Poll::new().unwrap();
        let (inlet, mut inbox) = open(poll.registry()).unwrap();

        inlet.put(Input::Stop);
        assert!(!woken(&mut poll), "it was awake");
        assert!(!inbox.sleep(), "something was there before it fell asleep");
        inbox.awake();
        assert_eq!(inbox.take().map(number), Some(3));
        assert!(inbox.take().is_none());

        assert!(inbox.sleep());
        inlet.put(Input::Stop);
        assert!(woken(&mut poll), "it slept");
        inlet.put(Input::Stop);
        assert!(!woken(&mut poll), "it was woken already");
        inbox.awake();
        assert_eq!(std::iter::from_fn(|| inbox.take()).count(), 2);

        assert!(inbox.sleep());
        inlet.wake();
        assert!(woken(&mut poll), "woken without anything to take");
        inbox.awake();
        assert!(inbox.take().is_none());
    }

    #[test]
    fn what_is_not_taken_keeps_the_owner_awake() {
        let poll = Poll::new().unwrap();
        let (inlet, mut inbox) = open(poll.registry()).unwrap();
        inlet.put(Input::Stop);
        inlet.put(Input::Stop);
        assert!(inbox.take().is_some());
        assert!(!inbox.sleep());
        inbox.awake();
        assert!(inbox.take().is_some());
        assert!(inbox.take().is_none());
        assert!(inbox.sleep());
    }

    #[test]
    fn nothing_is_lost_between_threads_with_an_owner_that_sleeps_whenever_it_can() {
        const EACH: usize = 5_000;
        let mut poll = Poll::new().unwrap();
        let (inlet, mut inbox) = open(poll.registry()).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let inlet = inlet.clone();
                std::thread::spawn(move || (0..EACH).for_each(|_| inlet.put(Input::Stop)))
            })
            .collect();
        let mut events = Events::with_capacity(8);
        let mut taken = 0;
        while taken < 3 * EACH {
            // A lost wake-up would leave this poll waiting for ever.
            let timeout = if inbox.sleep() { None } else { Some(Duration::ZERO) };
            poll.poll(&mut events, timeout).unwrap();
            inbox.awake();
            taken += std::iter::from_fn(|| inbox.take()).count();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(inbox.take().is_none());
    }

    #[test]
    fn putting_into_the_inbox_of_a_stopped_shard_is_no_error() {
        let poll = Poll::new().unwrap();
        let (inlet, inbox) = open(poll.registry()).unwrap();
        drop(inbox);
        inlet.put(Input::Stop);
    }
}
