//! The world of one shard: its sockets, its inbox and the inlets of the others.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};

use super::inbox::{Inbox, Inlet, Input};
use super::lane::LaneInlet;
use super::socket::{SliceList, Socket};
use super::token::{Target, encode};
use crate::connection::outbound::Outbound;
use crate::shard::mesh::{Batch, ShardId};
use crate::shard::turn::{CloseKind, ReadOutcome, World, WriteOutcome};
use crate::shard::{ConnectionId, Peer};
use crate::store::{Completion, Fetch, Submission};
use crate::time::Now;

/// What [`turn`](crate::shard::turn::turn) needs of the operating system.
#[derive(Debug)]
pub struct Sockets {
    /// The time of this turn.
    pub now: Now,
    /// Sockets accepted for this shard that are not connections yet.
    pub arrivals: VecDeque<(TcpStream, Peer)>,
    /// The server stops.
    pub stop: bool,
    /// What other threads have for this shard.
    pub inbox: Inbox,
    /// The inlets of all shards.
    inlets: Arc<[Inlet]>,
    /// The store, if there is one.
    lane: Option<LaneInlet>,
    /// What the store has said and the shard has not heard yet.
    completions: VecDeque<Completion>,
    /// By slot.
    table: Vec<Option<Socket>>,
    /// Sockets that may have something to read, each once, the longest waiting first. Ids of closed ones fall out.
    ready: VecDeque<ConnectionId>,
    /// How many of `ready` this turn may still look at: what is put back waits for the next turn.
    ready_left: usize,
    /// Sockets that were full and are not any more.
    writable: VecDeque<ConnectionId>,
    turn: u64,
    slices: SliceList,
}

impl Sockets {
    /// A world without sockets.
    pub fn new(inbox: Inbox, inlets: Arc<[Inlet]>, lane: Option<LaneInlet>) -> Sockets {
        Sockets {
            now: Now::default(),
            arrivals: VecDeque::new(),
            stop: false,
            inbox,
            inlets,
            lane,
            completions: VecDeque::new(),
            table: vec![],
            ready: VecDeque::new(),
            ready_left: 0,
            writable: VecDeque::new(),
            turn: 0,
            slices: SliceList::default(),
        }
    }

    /// To be called before each turn, with its time.
    pub fn begin_turn(&mut self, now: Now) {
        self.now = now;
        self.turn += 1;
        self.ready_left = self.ready.len();
    }

    /// Whether another turn has something to do already.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.writable.is_empty() || !self.arrivals.is_empty() || !self.completions.is_empty()
    }

    /// Takes `stream` as the socket of `id`. It may have something to read already.
    pub fn add(&mut self, registry: &Registry, id: ConnectionId, mut stream: TcpStream) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, encode(Target::Connection(id)), interest)?;
        let slot = id.slot as usize;
        if slot >= self.table.len() {
            self.table.resize_with(slot + 1, || None);
        }
        self.table[slot] = Some(Socket::new(id, stream));
        self.queue(id);
        Ok(())
    }

    /// Remembers what happened to the socket of `id`. An event of a closed one falls out here.
    #[inline]
    pub fn note(&mut self, id: ConnectionId, event: &Event) {
        let Some(socket) = self.socket(id) else { return };
        let ended = event.is_read_closed() || event.is_error();
        socket.ended |= ended;
        let writable = socket.full && (event.is_writable() || event.is_write_closed() || event.is_error());
        if writable {
            socket.full = false;
            self.writable.push_back(id);
        }
        if ended || event.is_readable() {
            self.queue(id);
        }
    }

    /// Puts a socket into the list of those to read, once.
    #[inline]
    fn queue(&mut self, id: ConnectionId) {
        if let Some(socket) = self.socket(id)
            && !socket.queued
        {
            socket.queued = true;
            self.ready.push_back(id);
        }
    }

    #[inline]
    fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        self.table.get_mut(id.slot as usize)?.as_mut().filter(|socket| socket.id == id)
    }
}

impl World for Sockets {
    fn now(&mut self) -> Now {
        self.now
    }

    fn next_readable(&mut self) -> Option<ConnectionId> {
        let turn = self.turn;
        while self.ready_left > 0 {
            self.ready_left -= 1;
            let id = self.ready.pop_front()?;
            let Some(socket) = self.socket(id) else { continue };
            if socket.read_turn == turn {
                // The shard had it read already, out of the order of this list: once per turn is enough.
                self.ready.push_back(id);
                continue;
            }
            socket.queued = false;
            return Some(id);
        }
        None
    }

    fn next_writable(&mut self) -> Option<ConnectionId> {
        self.writable.pop_front()
    }

    #[inline]
    fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome {
        let turn = self.turn;
        let Some(socket) = self.socket(id) else {
            return ReadOutcome::Closed;
        };
        socket.read_turn = turn;
        let (outcome, more) = socket.read(buffer);
        if more {
            self.queue(id);
        }
        outcome
    }

    #[inline]
    fn inbox(&mut self) -> Option<Batch> {
        loop {
            match self.inbox.take()? {
                Input::Batch(batch) => return Some(batch),
                Input::Completion(completion) => self.completions.push_back(completion),
                // To run is all that is asked for.
                Input::Taken => {}
                Input::Socket(stream, peer) => self.arrivals.push_back((stream, peer)),
                Input::Stop => self.stop = true,
            }
        }
    }

    fn may_submit(&mut self, shard: u8) -> bool {
        self.lane.as_ref().is_none_or(|lane| lane.is_taken(shard))
    }

    fn submit(&mut self, submission: Submission) -> Vec<u8> {
        let Some(lane) = &self.lane else { return submission.bytes };
        lane.submit(submission)
    }

    fn fetch(&mut self, fetch: Fetch) {
        let Some(lane) = &self.lane else { return };
        lane.fetch(fetch);
    }

    fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn push(&mut self, to: ShardId, batch: Batch) {
        self.inlets[usize::from(to.0)].put(Input::Batch(batch));
    }

    #[inline]
    fn write(&mut self, id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome {
        // Not `self.socket(id)`: the slices are borrowed beside the socket.
        let socket = self.table.get_mut(id.slot as usize).and_then(Option::as_mut);
        let Some(socket) = socket.filter(|socket| socket.id == id) else {
            return WriteOutcome::Failed;
        };
        let outcome = socket.write(outbound, &mut self.slices);
        if outcome == WriteOutcome::Failed {
            // The read that says so may never be announced, or have been announced and passed over.
            socket.ended = true;
            self.queue(id);
        }
        outcome
    }

    fn close(&mut self, id: ConnectionId, how: CloseKind) {
        let Some(place) = self.table.get_mut(id.slot as usize) else {
            return;
        };
        if let Some(socket) = place.take_if(|socket| socket.id == id) {
            socket.close(how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::inbox;
    use mio::{Events, Poll};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Client};
    use std::time::Duration;

    struct Stage {
        poll: Poll,
        sockets: Sockets,
        listener: TcpListener,
    }

    impl Stage {
        fn new() -> Stage {
            let poll = Poll::new().unwrap();
            let (inlet, inbox) = inbox::open(poll.registry()).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Stage { poll, sockets: Sockets::new(inbox, Arc::new([inlet]), None), listener }
        }

        fn connect(&mut self, slot: u32, generation: u32) -> (ConnectionId, Client) {
            let client = Client::connect(self.listener.local_addr().unwrap()).unwrap();
            let (stream, _) = self.listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let id = ConnectionId { slot, generation };
            self.sockets.add(self.poll.registry(), id, TcpStream::from_std(stream)).unwrap();
            (id, client)
        }

        /// Waits for an event of `id` that `wanted` accepts, and notes all that come meanwhile.
        fn wait(&mut self, id: ConnectionId, wanted: fn(&Event) -> bool) {
            let mut events = Events::with_capacity(8);
            loop {
                self.poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
                assert!(!events.is_empty(), "nothing happened");
                let mut found = false;
                for event in &events {
                    self.sockets.note(id, event);
                    found |= wanted(event);
                }
                if found {
                    return;
                }
            }
        }

        /// What a turn finds readable and reads, with a buffer of four bytes.
        fn turn(&mut self) -> Vec<ReadOutcome> {
            self.sockets.begin_turn(Now::default());
            let mut found = vec![];
            while let Some(id) = self.sockets.next_readable() {
                found.push(self.sockets.read(id, &mut [0; 4]));
            }
            found
        }
    }

    #[test]
    fn a_socket_is_read_until_it_is_known_to_be_empty_once_per_turn() {
        let mut stage = Stage::new();
        let (id, mut client) = stage.connect(3, 1);
        assert!(stage.sockets.has_work());
        assert_eq!(stage.turn(), [ReadOutcome::Empty], "a new socket is looked at");
        assert_eq!(stage.turn(), []);
        client.write_all(b"123456").unwrap();
        stage.wait(id, Event::is_readable);
        assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
        assert_eq!(stage.turn(), [ReadOutcome::Bytes(2)]);
        assert_eq!(stage.turn(), [], "a short read has emptied it");
        client.write_all(b"1234").unwrap();
        stage.wait(id, Event::is_readable);
        assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
        assert_eq!(stage.turn(), [ReadOutcome::Empty]);
        assert!(!stage.sockets.has_work());
    }

    #[test]
    fn an_end_that_was_announced_is_found_behind_a_short_read() {
        let mut stage = Stage::new();
        let (id, mut client) = stage.connect(0, 1);
        stage.turn();
        client.write_all(b"12").unwrap();
        drop(client);
        stage.wait(id, Event::is_read_closed);
        assert_eq!(stage.turn(), [ReadOutcome::Bytes(2)]);
        assert_eq!(stage.turn(), [ReadOutcome::Closed]);
        assert_eq!(stage.turn(), []);
    }

    #[test]
    fn a_socket_that_the_shard_asked_for_is_not_read_again_in_its_turn() {
        let mut stage = Stage::new();
        let (id, mut client) = stage.connect(0, 1);
        client.write_all(b"12345678").unwrap();
        stage.wait(id, Event::is_readable);
        stage.sockets.begin_turn(Now::default());
        assert_eq!(stage.sockets.read(id, &mut [0; 4]), ReadOutcome::Bytes(4));
        assert_eq!(stage.sockets.next_readable(), None);
        assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
    }

    #[test]
    fn what_concerned_a_closed_connection_does_not_reach_its_successor() {
        let mut stage = Stage::new();
        let (old, mut client) = stage.connect(0, 1);
        stage.turn();
        client.write_all(b"12").unwrap();
        stage.wait(old, Event::is_readable);
        stage.sockets.close(old, CloseKind::Flushed);
        assert_eq!(stage.turn(), [], "it was in the list");
        let (new, _client) = stage.connect(0, 2);
        assert_eq!(stage.sockets.read(old, &mut [0; 4]), ReadOutcome::Closed);
        stage.sockets.close(old, CloseKind::Flushed);
        assert_eq!(stage.turn(), [ReadOutcome::Empty], "the successor is still there");
        assert_eq!(new.slot, old.slot);
    }

    #[test]
    fn a_full_socket_is_reported_once_when_it_takes_bytes_again() {
        let mut stage = Stage::new();
        let (id, mut client) = stage.connect(0, 1);
        let mut outbound = Outbound::default();
        let mut sent = 0;
        let mut outcome = WriteOutcome::Drained;
        while outcome == WriteOutcome::Drained {
            outbound.buffer().extend_from_slice(&[7; 1 << 20]);
            sent += 1 << 20;
            outcome = stage.sockets.write(id, &mut outbound);
        }
        assert_eq!(outcome, WriteOutcome::Full);
        let mut got = 0;
        let mut buffer = vec![0; 1 << 20];
        while stage.sockets.next_writable().is_none() {
            got += client.read(&mut buffer).unwrap();
            let mut events = Events::with_capacity(8);
            stage.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().for_each(|event| stage.sockets.note(id, event));
        }
        assert_eq!(stage.sockets.next_writable(), None);
        while got < sent {
            stage.sockets.write(id, &mut outbound);
            got += client.read(&mut buffer).unwrap();
        }
        assert!(outbound.is_empty());
    }

    #[test]
    fn a_failed_write_has_the_socket_read() {
        let mut stage = Stage::new();
        let (id, client) = stage.connect(0, 1);
        stage.turn();
        drop(client);
        let mut outbound = Outbound::default();
        let mut outcome = WriteOutcome::Drained;
        while outcome == WriteOutcome::Drained {
            outbound.buffer().extend_from_slice(&[7; 1 << 10]);
            outcome = stage.sockets.write(id, &mut outbound);
        }
        assert_eq!(outcome, WriteOutcome::Failed);
        assert_eq!(stage.turn(), [ReadOutcome::Closed]);
    }

    #[test]
    fn a_reset_reaches_the_client_as_one() {
        let mut stage = Stage::new();
        let (id, mut client) = stage.connect(0, 1);
        stage.sockets.close(id, CloseKind::Reset);
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (id, mut client) = stage.connect(0, 2);
        stage.sockets.close(id, CloseKind::Flushed);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}
