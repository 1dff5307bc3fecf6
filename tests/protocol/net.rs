//! The world of the scripts: shards in memory, with byte pipes for sockets and a clock that the script moves.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use leveret::amqp::frame::{END, Frame};
use leveret::amqp::{FrameKind, Method, MethodId};
use leveret::config::Settings;
use leveret::config::settings::User;
use leveret::connection::outbound::Outbound;
use leveret::shard::access::PasswordCheck;
use leveret::shard::admin::{AdminAnswer, AdminRequest};
use leveret::shard::alarm::Alarm;
use leveret::shard::inspect::{InspectReply, InspectRequest};
use leveret::shard::mesh::{Batch, ShardId};
use leveret::shard::turn::{CloseKind, NextTurn, ReadOutcome, World, WriteOutcome, turn};
use leveret::shard::{ConnectionId, Peer as Address, Shard};
use leveret::store::{Completion, Contents, Fetch, Submission};
use leveret::time::Now;

use crate::disk::Disk;
use crate::peer::{LOGIN, Login, Peer};
use crate::rng::Rng;
use crate::say::declare;

/// How the bytes of the peers reach the shards, and who has a turn when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// As much as there is; shards take turns.
    Whole,
    /// One byte per read (more when a lot waits).
    Bytewise,
    /// Parts of any size; shards have turns in any order, are left out now and then, and see the topology log late.
    /// From a seed.
    Scrambled(u64),
}

/// Where durable things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Nowhere.
    None,
    /// On a disk.
    Disk,
}

/// True once in `count` times; never when nothing is scrambled.
fn once_in(dice: &mut Option<Rng>, count: u64) -> bool {
    dice.as_mut().is_some_and(|dice| dice.next().is_multiple_of(count))
}

/// Turns without a byte read after which the shards are taken to be spinning.
const IDLE_TURNS_MAX: usize = 20_000;

/// A connection between a scripted peer and a shard.
struct Pipe {
    shard: usize,
    id: ConnectionId,
    to_broker: VecDeque<u8>,
    eof: bool,
    /// Nobody is at the other end any more: nothing can be written.
    dead: bool,
    /// Offered to the shard, which did not want to read: it asks again by itself.
    refused: bool,
    to_peer: Vec<u8>,
    reading: bool,
    became_writable: bool,
    closed: Option<CloseKind>,
}

impl Pipe {
    fn has_input(&self) -> bool {
        self.closed.is_none() && (self.eof || !self.to_broker.is_empty())
    }
}

struct Wires {
    now: Now,
    feed: Feed,
    /// The state of the scrambling generator.
    dice: Option<Rng>,
    /// Shards that have not looked at the topology log since the script last said something.
    must_look: Vec<bool>,
    pipes: Vec<Pipe>,
    inboxes: Vec<VecDeque<Batch>>,
    disk: Option<Disk>,
    /// Requests for shard 0, and its answers.
    requests: VecDeque<(u64, AdminRequest)>,
    answers: BTreeMap<u64, AdminAnswer>,
    /// Passwords to be checked, and the shards of their log-ins.
    checks: VecDeque<(usize, PasswordCheck)>,
    /// The number last given to a request.
    asked: u64,
}

/// One shard's view of the wires during a turn.
struct Port<'a> {
    wires: &'a mut Wires,
    shard: usize,
    offers: VecDeque<usize>,
    writables: VecDeque<usize>,
    bytes_read: usize,
}

impl<'a> Port<'a> {
    fn new(wires: &'a mut Wires, shard: usize) -> Port<'a> {
        let of_shard = |pipe: &Pipe| pipe.shard == shard && pipe.closed.is_none();
        let mut offers = VecDeque::new();
        let mut writables = VecDeque::new();
        for (index, pipe) in wires.pipes.iter_mut().enumerate().filter(|(_, pipe)| of_shard(pipe)) {
            if pipe.has_input() {
                offers.push_back(index);
            }
            if std::mem::take(&mut pipe.became_writable) {
                writables.push_back(index);
            }
        }
        Port { wires, shard, offers, writables, bytes_read: 0 }
    }

    fn pipe(&mut self, id: ConnectionId) -> &mut Pipe {
        let shard = self.shard;
        let found = self.wires.pipes.iter_mut().find(|pipe| pipe.shard == shard && pipe.id == id);
        found.expect("the shard names only connections that it was given")
    }
}

impl World for Port<'_> {
    fn now(&mut self) -> Now {
        self.wires.now
    }

    fn next_readable(&mut self) -> Option<ConnectionId> {
        let pipe = &mut self.wires.pipes[self.offers.pop_front()?];
        pipe.refused = true;
        Some(pipe.id)
    }

    fn next_writable(&mut self) -> Option<ConnectionId> {
        Some(self.wires.pipes[self.writables.pop_front()?].id)
    }

    fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadOutcome {
        let feed = self.wires.feed;
        let scrambled_max = self.wires.dice.as_mut().map_or(0, |dice| 1 + dice.next() % (1 << (dice.next() % 14)));
        let pipe = self.pipe(id);
        assert!(pipe.closed.is_none(), "a closed connection is read");
        pipe.refused = false;
        let part_max = match feed {
            Feed::Whole => usize::MAX,
            Feed::Bytewise if pipe.to_broker.len() < 2_000 => 1,
            Feed::Bytewise => 997,
            Feed::Scrambled(_) => scrambled_max as usize,
        };
        let count = pipe.to_broker.len().min(buffer.len()).min(part_max);
        for (place, byte) in buffer.iter_mut().zip(pipe.to_broker.drain(..count)) {
            *place = byte;
        }
        if count == 0 && pipe.to_broker.is_empty() && pipe.eof {
            pipe.eof = false;
            return ReadOutcome::Closed;
        }
        self.bytes_read += count;
        if count == 0 { ReadOutcome::Empty } else { ReadOutcome::Bytes(count) }
    }

    fn inbox(&mut self) -> Option<Batch> {
        self.wires.inboxes[self.shard].pop_front()
    }

    fn topology_visible(&mut self) -> u64 {
        // What happened before this moment everybody sees; of what happens meanwhile, batches pull what must be seen.
        let must = std::mem::take(&mut self.wires.must_look[self.shard]);
        if !must && once_in(&mut self.wires.dice, 2) { 0 } else { u64::MAX }
    }

    fn may_submit(&mut self, shard: u8) -> bool {
        self.wires.disk.as_ref().is_none_or(|disk| disk.has_taken(usize::from(shard)))
    }

    fn submit(&mut self, submission: Submission) -> Vec<u8> {
        self.wires.disk.as_mut().expect("a store").submit(submission);
        vec![]
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.wires.disk.as_mut().expect("a store").fetch(fetch);
    }

    fn completion(&mut self) -> Option<Completion> {
        self.wires.disk.as_mut()?.completion(self.shard)
    }

    fn admin_request(&mut self) -> Option<(u64, AdminRequest)> {
        if self.shard == 0 { self.wires.requests.pop_front() } else { None }
    }

    fn admin_answer(&mut self, ticket: u64, answer: AdminAnswer) {
        assert_eq!(self.shard, 0);
        assert!(self.wires.answers.insert(ticket, answer).is_none(), "a request is answered twice");
    }

    fn check(&mut self, check: PasswordCheck) {
        self.wires.checks.push_back((self.shard, check));
    }

    fn checked(&mut self) -> Option<(PasswordCheck, bool)> {
        let own = self.wires.checks.iter().position(|(shard, _)| *shard == self.shard)?;
        let (_, check) = self.wires.checks.remove(own)?;
        let is_right = check.run();
        Some((check, is_right))
    }

    fn push(&mut self, to: ShardId, batch: Batch) {
        self.wires.inboxes[usize::from(to.0)].push_back(batch);
    }

    fn write(&mut self, id: ConnectionId, outbound: &mut Outbound) -> WriteOutcome {
        let pipe = self.pipe(id);
        assert!(pipe.closed.is_none(), "a closed connection is written");
        if pipe.dead {
            return WriteOutcome::Failed;
        }
        if !pipe.reading {
            return WriteOutcome::Full;
        }
        while !outbound.is_empty() {
            let mut slices = vec![];
            outbound.slices(&mut slices, 64);
            let mut count = 0;
            for slice in &slices {
                pipe.to_peer.extend_from_slice(slice);
                count += slice.len();
            }
            drop(slices);
            assert!(count > 0, "an outbound with bytes has slices");
            outbound.advance(count);
        }
        WriteOutcome::Drained
    }

    fn close(&mut self, id: ConnectionId, how: CloseKind) {
        let pipe = self.pipe(id);
        assert!(pipe.closed.is_none(), "a connection is closed twice");
        pipe.closed = Some(how);
    }
}

/// A frame that came from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub kind: FrameKind,
    pub payload: Vec<u8>,
}

impl Received {
    /// Class and method id of a method frame.
    pub fn method_id(&self) -> Option<MethodId> {
        if self.kind != FrameKind::Method {
            return None;
        }
        let head = self.payload.first_chunk::<4>().expect("a method frame has ids");
        Some(MethodId::new(u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]])))
    }

    /// The frame for a failure message.
    pub fn describe(&self) -> String {
        match self.method_id() {
            Some(id) => match Method::decode(id, &self.payload[4..]) {
                Ok(method) => format!("{method:?}"),
                Err(error) => format!("undecodable method {id:?}: {error:?}"),
            },
            None => format!("{:?} frame of {} bytes", self.kind, self.payload.len()),
        }
    }
}

/// A peer's side of a connection.
#[derive(Default)]
pub struct Link {
    /// Bytes taken from the pipe so far that are no whole frame yet.
    pub rest: Vec<u8>,
    /// A protocol header that came instead of frames.
    pub header: Option<[u8; 8]>,
    /// Frames not taken yet, by channel.
    pub frames: BTreeMap<u16, VecDeque<Received>>,
    /// The negotiated frame size, for checking what comes.
    pub frame_max: usize,
    /// Frames left over at the end of the script are in order.
    pub careless: bool,
    /// Heartbeats are thrown away.
    pub drop_heartbeats: bool,
}

impl Link {
    fn take_in(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let rest = &self.rest[at..];
            if rest.starts_with(b"AMQP") && rest.len() >= 8 {
                self.header = rest.first_chunk::<8>().copied();
                at += 8;
                continue;
            }
            let Some(frame) = Frame::read(rest) else { break };
            assert_eq!(frame.end, END, "the broker's frames end in 0xCE");
            assert!(
                self.frame_max == 0 || frame.wire_bytes() <= self.frame_max,
                "a frame of {} bytes under frame_max {}",
                frame.wire_bytes(),
                self.frame_max
            );
            let received = Received { kind: frame.kind, payload: frame.payload.to_vec() };
            if !(self.drop_heartbeats && frame.kind == FrameKind::Heartbeat) {
                self.frames.entry(frame.channel).or_default().push_back(received);
            }
            at += frame.wire_bytes();
        }
        self.rest.drain(..at);
    }

    /// All frames not taken yet, for a failure message.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (channel, frames) in &self.frames {
            for frame in frames {
                text.push_str(&format!("\n    channel {channel}: {}", frame.describe()));
            }
        }
        if text.is_empty() { "\n    nothing".into() } else { text }
    }
}

struct Stage {
    shards: Vec<Shard>,
    due: Vec<NextTurn>,
    poked: Vec<bool>,
    held: Vec<bool>,
    wires: Wires,
    links: Vec<Link>,
    settings: Settings,
    next_shard: usize,
    /// The peer that sent something the shards have not seen yet.
    speaking: Option<usize>,
}

impl Stage {
    fn new(count: usize, feed: Feed, settings: Settings, store: Store) -> Stage {
        Stage::over(count, feed, settings, (store == Store::Disk).then(Disk::contents))
    }

    fn over(count: usize, feed: Feed, settings: Settings, contents: Option<Contents>) -> Stage {
        let shards = Shard::mesh(count, Arc::new(settings.clone()), [7; 32], contents.as_ref());
        assert_eq!(shards.len(), count);
        Stage {
            due: vec![NextTurn::Now; count],
            poked: vec![false; count],
            held: vec![false; count],
            wires: Wires {
                now: Now { ms: 10_000 },
                feed,
                dice: if let Feed::Scrambled(seed) = feed { Some(Rng::new(seed)) } else { None },
                must_look: vec![true; count],
                pipes: vec![],
                inboxes: (0..count).map(|_| VecDeque::new()).collect(),
                disk: contents.map(|contents| Disk::new(count, &contents)),
                requests: VecDeque::new(),
                answers: BTreeMap::new(),
                checks: VecDeque::new(),
                asked: 0,
            },
            links: vec![],
            settings,
            next_shard: 1 % count,
            speaking: None,
            shards,
        }
    }

    fn wants_turn(&self, shard: usize) -> bool {
        let now = self.wires.now;
        let due = match self.due[shard] {
            NextTurn::Now => true,
            NextTurn::At(at) => at <= now,
            NextTurn::OnEvent => false,
        };
        let has_event = |pipe: &Pipe| {
            pipe.shard == shard && pipe.closed.is_none() && (pipe.became_writable || pipe.has_input() && !pipe.refused)
        };
        let news = self.wires.disk.as_ref().is_some_and(|disk| disk.has_news(shard));
        due || news
            || self.poked[shard]
            || self.wires.checks.iter().any(|(of, _)| *of == shard)
            || !self.wires.inboxes[shard].is_empty()
            || self.wires.pipes.iter().any(has_event)
    }

    /// Runs turns until no shard has anything left to do at this moment.
    fn settle(&mut self) {
        self.speaking = None;
        self.wires.must_look.fill(true);
        let mut idle_turns = 0;
        loop {
            let mut ran = false;
            let first = self.wires.dice.as_mut().map_or(0, Rng::next) as usize;
            for offset in 0..self.shards.len() {
                let shard = first.wrapping_add(offset) % self.shards.len();
                if self.held[shard] || !self.wants_turn(shard) {
                    continue;
                }
                ran = true;
                if once_in(&mut self.wires.dice, 3) {
                    continue;
                }
                self.poked[shard] = false;
                let mut port = Port::new(&mut self.wires, shard);
                self.due[shard] = turn(&mut self.shards[shard], &mut port);
                idle_turns = if port.bytes_read > 0 { 0 } else { idle_turns + 1 };
                assert!(idle_turns < IDLE_TURNS_MAX, "shard {shard} never gets quiet: {:?}", self.due[shard]);
            }
            // The disk is slow: it comes when nobody else has anything to do, or before by chance.
            if !ran || once_in(&mut self.wires.dice, 8) {
                let works = self.wires.disk.as_mut().is_some_and(Disk::step);
                if !ran && !works {
                    break;
                }
                // Whoever waits for the journal to take what it has is told.
                self.poked.iter_mut().for_each(|poked| *poked |= works);
            }
        }
        for (pipe, link) in self.wires.pipes.iter_mut().zip(&mut self.links) {
            link.take_in(&std::mem::take(&mut pipe.to_peer));
        }
    }

    fn pass_to(&mut self, at: Now) {
        if at > self.wires.now {
            self.wires.now = at;
            if let Some(disk) = &mut self.wires.disk {
                disk.rest();
            }
        }
        self.settle();
    }

    /// The same, until the disk has synced everything besides.
    fn rest(&mut self) {
        self.settle();
        while self.wires.disk.as_mut().is_some_and(Disk::rest) {
            self.settle();
        }
    }

    fn advance(&mut self, ms: u64) {
        self.settle();
        let end = self.wires.now.after_ms(ms);
        loop {
            let next = (0..self.shards.len()).filter(|&shard| !self.held[shard]).filter_map(|s| match self.due[s] {
                NextTurn::At(at) if at <= end => Some(at),
                _ => None,
            });
            let Some(at) = next.min() else { break };
            self.pass_to(at);
        }
        self.pass_to(end);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.held.fill(false);
        self.settle();
        for (index, link) in self.links.iter_mut().enumerate() {
            link.frames.retain(|_, frames| !frames.is_empty());
            assert!(
                link.careless || link.frames.is_empty() && link.header.is_none(),
                "at the end of the script peer {index} has not looked at:{}",
                link.describe()
            );
        }
    }
}

/// The shards and the peers of one script. A clone is another hold on the same.
#[derive(Clone)]
pub struct Net(Rc<RefCell<Stage>>);

/// The settings that scripts start from: a few users and vhosts beyond the defaults.
pub fn settings() -> Settings {
    let user = |name: &str, tags: &[&str]| User {
        name: name.into(),
        password: format!("{name}-secret"),
        tags: tags.iter().map(|&tag| tag.into()).collect(),
    };
    let mut settings = Settings::default();
    settings.users.extend([user("alice", &[]), user("mallory", &["impersonator"])]);
    settings.vhosts.push("other".into());
    settings
}

/// Small bounds, so that all of them are met: nothing but speed may depend on them.
fn tighten(settings: &mut Settings, seed: u64) {
    let mut dice = Rng::new(seed);
    let mut some = |few: usize, many: usize| if dice.next().is_multiple_of(2) { few } else { many };
    let limits = &mut settings.limits;
    limits.turn_bytes_max = some(100, 10_000);
    limits.deliver_slice_bytes = some(1, 1_000);
    limits.outbound_high_bytes = some(1, 10_000);
    limits.link_window_bytes = some(1, 5_000) as i64;
    limits.links_bytes_max = some(1, 100_000) as i64;
    limits.publish_credit_bytes = some(1, 5_000) as i64;
    limits.body_own_block_bytes = some(100, 4_000);
    limits.route_cache_max = some(1, 8);
    limits.blocks_spare_max = some(1, 4);
    limits.stored_messages_bytes_max = some(1, 10_000);
    limits.messages_bytes_max = some(1, 100_000);
    limits.fetch_bytes_max = some(1, 1_000);
    limits.journal_waiting_bytes_max = some(1, 10_000);
}

impl Net {
    /// Shards with the scripts' settings.
    pub fn new(count: usize, feed: Feed, store: Store) -> Net {
        let mut settings = settings();
        if let Feed::Scrambled(seed) = feed {
            tighten(&mut settings, seed);
        }
        Net(Rc::new(RefCell::new(Stage::new(count, feed, settings, store))))
    }

    /// Other shards, as many and fed the same way, with some settings changed.
    pub fn with(&self, change: impl FnOnce(&mut Settings)) -> Net {
        let stage = self.0.borrow();
        let mut settings = stage.settings.clone();
        change(&mut settings);
        let store = if stage.wires.disk.is_some() { Store::Disk } else { Store::None };
        Net(Rc::new(RefCell::new(Stage::new(stage.shards.len(), stage.wires.feed, settings, store))))
    }

    /// Shards that find the names that the store has, if there is one.
    pub fn restart(&self) -> Option<Net> {
        self.settle();
        let stage = self.0.borrow();
        let contents = stage.wires.disk.as_ref()?.names();
        let (count, feed) = (stage.shards.len(), stage.wires.feed);
        Some(Net(Rc::new(RefCell::new(Stage::over(count, feed, stage.settings.clone(), Some(contents))))))
    }

    /// Looks at a shard.
    pub fn inspect(&self, shard: usize, request: InspectRequest) -> InspectReply {
        self.settle();
        self.0.borrow_mut().shards[shard].inspect(request)
    }

    /// Asks shard 0 for something that is not AMQP. The answer must come before anything else does.
    pub fn admin(&self, request: AdminRequest) -> AdminAnswer {
        let ticket = self.ask_admin(request);
        self.admin_answer(ticket).expect("an answer")
    }

    /// Asks, and does not wait for the answer.
    pub fn ask_admin(&self, request: AdminRequest) -> u64 {
        self.settle();
        let mut stage = self.0.borrow_mut();
        stage.wires.asked += 1;
        let ticket = stage.wires.asked;
        stage.wires.requests.push_back((ticket, request));
        stage.poked[0] = true;
        ticket
    }

    /// The answer to a request, if it has come.
    pub fn admin_answer(&self, ticket: u64) -> Option<AdminAnswer> {
        self.settle();
        self.0.borrow().wires.answers.get(&ticket).cloned()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.0.borrow().shards.len()
    }

    /// Whether bytes come one at a time.
    pub fn is_bytewise(&self) -> bool {
        self.0.borrow().wires.feed == Feed::Bytewise
    }

    /// A peer that has connected and said nothing yet, on the next shard in turn: 1, 2, 3, 0, …
    pub fn connect(&self) -> Peer {
        let shard = {
            let mut stage = self.0.borrow_mut();
            let shard = stage.next_shard;
            stage.next_shard = (shard + 1) % stage.shards.len();
            shard
        };
        self.connect_on(shard)
    }

    /// A peer that has connected to `shard` and said nothing yet.
    pub fn connect_on(&self, shard: usize) -> Peer {
        self.connect_from(shard, [127, 0, 0, 1])
    }

    /// A peer at another address.
    pub fn connect_from(&self, shard: usize, address: [u8; 4]) -> Peer {
        self.settle();
        let mut stage = self.0.borrow_mut();
        let index = stage.links.len();
        let shard = shard % stage.shards.len();
        let now = stage.wires.now;
        let address =
            Address { address: (address, 40_000 + index as u16).into(), local: ([127, 0, 0, 1], 5672).into() };
        let id = stage.shards[shard].connect(now, address).expect("a connection is accepted");
        stage.wires.pipes.push(Pipe {
            shard,
            id,
            to_broker: VecDeque::new(),
            eof: false,
            dead: false,
            refused: false,
            to_peer: vec![],
            reading: true,
            became_writable: false,
            closed: None,
        });
        stage.links.push(Link::default());
        stage.poked[shard] = true;
        drop(stage);
        Peer::new(self.clone(), index)
    }

    /// A peer that has logged in and opened channel 1, on the next shard in turn.
    pub fn peer(&self) -> Peer {
        self.login(LOGIN)
    }

    /// The same on a certain shard.
    pub fn peer_on(&self, shard: usize) -> Peer {
        self.connect_on(shard).log_in(LOGIN)
    }

    /// The same with a log-in of its own.
    pub fn login(&self, login: Login<'_>) -> Peer {
        self.connect().log_in(login)
    }

    /// Declares transient queues, each by a peer of its own: with several shards they end up on different ones.
    pub fn queues(&self, names: &[&str]) {
        for name in names {
            self.peer().queue(declare(name));
        }
    }

    /// Lets time pass, stopping wherever a shard wants a turn.
    pub fn advance(&self, ms: u64) {
        self.0.borrow_mut().advance(ms);
    }

    /// Runs the shards until they are quiet and the disk has synced everything: who is not hurried has been served.
    pub fn rest(&self) {
        self.0.borrow_mut().rest();
    }

    /// Runs the shards until they are quiet.
    pub fn settle(&self) {
        self.0.borrow_mut().settle();
    }

    /// Stops all shards, as on a signal.
    pub fn stop(&self) {
        self.settle();
        let mut stage = self.0.borrow_mut();
        let now = stage.wires.now;
        for shard in &mut stage.shards {
            shard.stop(now);
        }
        stage.poked.fill(true);
    }

    /// Raises or ends an alarm on all shards.
    pub fn alarm(&self, alarm: Alarm, on: bool) {
        self.tell_shards(|shard| shard.set_alarm(alarm, on));
    }

    /// Tells all shards whether the journal is behind.
    pub fn press(&self, on: bool) {
        self.tell_shards(|shard| shard.set_pressed(on));
    }

    fn tell_shards(&self, tell: impl Fn(&mut Shard)) {
        self.settle();
        let mut stage = self.0.borrow_mut();
        stage.shards.iter_mut().for_each(tell);
        stage.poked.fill(true);
        stage.settle();
    }

    /// Whether all shards are done after a stop.
    pub fn is_stopped(&self) -> bool {
        self.settle();
        self.0.borrow().shards.iter().all(Shard::is_stopped)
    }

    /// Keeps a shard from having turns. With one shard there is nothing to hold: false.
    pub fn hold(&self, shard: usize) -> bool {
        self.settle();
        let mut stage = self.0.borrow_mut();
        let can = stage.shards.len() > 1;
        if can {
            stage.held[shard] = true;
        }
        can
    }

    /// Lets a held shard go on.
    pub fn release(&self, shard: usize) {
        self.settle();
        let shard = shard % self.shards();
        self.0.borrow_mut().held[shard] = false;
        self.settle();
    }

    /// The shard of a peer.
    pub fn shard_of(&self, index: usize) -> usize {
        self.0.borrow().wires.pipes[index].shard
    }

    /// Appends bytes to what a peer has sent. When another peer spoke last, the shards hear that one first.
    pub fn feed(&self, index: usize, bytes: &[u8]) {
        let mut stage = self.0.borrow_mut();
        if stage.speaking.is_some_and(|other| other != index) {
            stage.settle();
        }
        stage.speaking = Some(index);
        let pipe = &mut stage.wires.pipes[index];
        if pipe.closed.is_none() && !pipe.eof {
            pipe.to_broker.extend(bytes);
        }
    }

    /// A peer closes its socket.
    pub fn hang_up(&self, index: usize) {
        let mut stage = self.0.borrow_mut();
        stage.settle();
        let pipe = &mut stage.wires.pipes[index];
        pipe.eof = true;
        pipe.refused = false;
        stage.settle();
    }

    /// A peer's machine is gone: what is written to it fails, and no end is to be read.
    pub fn vanish(&self, index: usize) {
        let mut stage = self.0.borrow_mut();
        stage.settle();
        stage.wires.pipes[index].dead = true;
    }

    /// A peer stops or goes on taking bytes from its socket.
    pub fn set_reading(&self, index: usize, reading: bool) {
        let mut stage = self.0.borrow_mut();
        stage.settle();
        let pipe = &mut stage.wires.pipes[index];
        pipe.became_writable = reading && !pipe.reading;
        pipe.reading = reading;
        stage.settle();
    }

    /// How the broker closed a peer's socket, if it did.
    pub fn closed(&self, index: usize) -> Option<CloseKind> {
        let mut stage = self.0.borrow_mut();
        stage.settle();
        stage.wires.pipes[index].closed
    }

    /// Looks at a peer's side of its connection, after the shards got quiet.
    pub fn link<T>(&self, index: usize, look: impl FnOnce(&mut Link) -> T) -> T {
        let mut stage = self.0.borrow_mut();
        stage.settle();
        look(&mut stage.links[index])
    }
}

/// The seed of the scrambled runs: `LEVERET_SCRIPT_SEED`, or always the same.
pub fn seed() -> u64 {
    std::env::var("LEVERET_SCRIPT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Runs a script on `count` shards.
pub fn run(count: usize, feed: Feed, script: fn(&Net)) {
    script(&Net::new(count, feed, Store::None));
}

/// Runs a script on `count` shards with a store.
pub fn run_on_disk(count: usize, feed: Feed, script: fn(&Net)) {
    script(&Net::new(count, feed, Store::Disk));
}

/// Scripts: each runs on one shard, on four, on four whose turns and inputs are scrambled, on one that gets every
/// byte alone, and with a store on one shard and on three that are scrambled. Attributes (`#[ignore]`) go to the
/// tests of a script.
macro_rules! scripts {
    ($($(#[$meta:meta])* $name:ident($net:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn script($net: &crate::net::Net) $body
            $(#[$meta])*
            #[test]
            fn on_one_shard() {
                crate::net::run(1, crate::net::Feed::Whole, script);
            }
            $(#[$meta])*
            #[test]
            fn on_four_shards() {
                crate::net::run(4, crate::net::Feed::Whole, script);
            }
            $(#[$meta])*
            #[test]
            fn scrambled() {
                crate::net::run(4, crate::net::Feed::Scrambled(crate::net::seed()), script);
            }
            $(#[$meta])*
            #[test]
            fn byte_by_byte() {
                crate::net::run(1, crate::net::Feed::Bytewise, script);
            }
            $(#[$meta])*
            #[test]
            fn on_a_disk() {
                crate::net::run_on_disk(1, crate::net::Feed::Whole, script);
            }
            $(#[$meta])*
            #[test]
            fn scrambled_on_a_disk() {
                crate::net::run_on_disk(3, crate::net::Feed::Scrambled(crate::net::seed()), script);
            }
        }
    )*};
}
pub(crate) use scripts;
