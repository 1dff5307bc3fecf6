//! The world of one shard: its sockets, its inbox and the inlets of the others.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};

use super::inbox::{Inbox, Inlet, Input};
use super::lane::LaneInlet;
use super::passwords::PasswordInlet;
use super::socket::{SliceList, Socket};
use super::token::{Target, encode};
use crate::connection::outbound::Outbound;
use crate::shard::access::PasswordCheck;
use crate::shard::admin::{AdminAnswer, AdminRequest};
use crate::shard::inspect::{InspectReply, InspectRequest};
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
    /// The time of the day, in milliseconds since 1970.
    wall_ms: u64,
    /// Sockets accepted for this shard that are not connections yet.
    pub arrivals: VecDeque<(TcpStream, Peer)>,
    /// Whether there is too little memory, as others have said it; whoever waits for it to be heard.
    pub memory_low: VecDeque<(bool, Option<Sender<()>>)>,
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
    /// Requests that are not AMQP, and where their answers go.
    requests: VecDeque<(AdminRequest, Sender<AdminAnswer>)>,
    /// Where the answers go of requests that the shard has, by number.
    askers: BTreeMap<u64, Sender<AdminAnswer>>,
    /// Questions of those who look, and where the answers go.
    questions: VecDeque<(InspectRequest, Sender<InspectReply>)>,
    /// Where the answer goes of the question that the shard has.
    inspector: Option<Sender<InspectReply>>,
    /// Where passwords are checked.
    passwords: PasswordInlet,
    /// Those that were.
    checked: VecDeque<(PasswordCheck, bool)>,
    /// This shard's number.
    shard: usize,
    /// The number last given to one.
    asked: u64,
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
    pub fn new(
        shard: usize,
        inbox: Inbox,
        inlets: Arc<[Inlet]>,
        lane: Option<LaneInlet>,
        passwords: PasswordInlet,
    ) -> Sockets {
        Sockets {
            now: Now::default(),
            wall_ms: 0,
            arrivals: VecDeque::new(),
            memory_low: VecDeque::new(),
            stop: false,
            inbox,
            inlets,
            lane,
            completions: VecDeque::new(),
            requests: VecDeque::new(),
            askers: BTreeMap::new(),
            questions: VecDeque::new(),
            inspector: None,
            passwords,
            checked: VecDeque::new(),
            shard,
            asked: 0,
            table: vec![],
            ready: VecDeque::new(),
            ready_left: 0,
            writable: VecDeque::new(),
            turn: 0,
            slices: SliceList::default(),
        }
    }

    /// To be called before each turn, with its time and the time of the day.
    pub fn begin_turn(&mut self, now: Now, wall_ms: u64) {
        self.now = now;
        self.wall_ms = wall_ms;
        self.turn += 1;
        self.ready_left = self.ready.len();
    }

    /// Whether another turn has something to do already.
    pub fn has_work(&self) -> bool {
        let inside = !self.arrivals.is_empty() || !self.completions.is_empty() || !self.memory_low.is_empty();
        inside || !self.ready.is_empty() || !self.writable.is_empty()
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

    fn wall_ms(&mut self) -> u64 {
        self.wall_ms
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
                Input::Admin(request, answer) => self.requests.push_back((*request, answer)),
                Input::Inspect(request, answer) => self.questions.push_back((request, answer)),
                Input::Checked(check, is_right) => self.checked.push_back((*check, is_right)),
                Input::Socket(stream, peer) => self.arrivals.push_back((stream, peer)),
                Input::MemoryLow(low, heard) => self.memory_low.push_back((low, heard)),
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

    fn admin_request(&mut self) -> Option<(u64, AdminRequest)> {
        let (request, asker) = self.requests.pop_front()?;
        self.asked += 1;
        self.askers.insert(self.asked, asker);
        Some((self.asked, request))
    }

    fn admin_answer(&mut self, ticket: u64, answer: AdminAnswer) {
        if let Some(asker) = self.askers.remove(&ticket) {
            // Whoever does not listen for the answer does not get it.
            drop(asker.send(answer));
        }
    }

    fn inspect_request(&mut self) -> Option<InspectRequest> {
        let (request, inspector) = self.questions.pop_front()?;
        self.inspector = Some(inspector);
        Some(request)
    }

    fn inspect_answer(&mut self, reply: InspectReply) {
        if let Some(inspector) = self.inspector.take() {
            drop(inspector.send(reply));
        }
    }

    fn check(&mut self, check: PasswordCheck) {
        self.passwords.put(self.shard, check);
    }

    fn checked(&mut self) -> Option<(PasswordCheck, bool)> {
        self.checked.pop_front()
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
mod tests;
