//! Clients that publish, consume, commit and declare until the broker is gone or they are asked to stop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leveret::amqp::method::*;

use crate::definitions::Definitions;
use crate::link::{Answer, Declare, Event, Link, Trouble};
use crate::message::Id;
use crate::rng::Rng;
use crate::truth::{How, Truth};

/// Where messages of one source go.
#[derive(Debug, Clone, Copy)]
enum Route {
    /// One of these, in turn.
    Queues(&'static [&'static str]),
    /// All queues of a fan-out exchange.
    Fan(&'static str, &'static [&'static str]),
}

/// A publisher.
#[derive(Debug, Clone, Copy)]
struct Source {
    number: u16,
    route: Route,
    /// Smallest and largest body.
    sizes: (usize, usize),
    /// Messages that wait for a confirm at once.
    window: usize,
    /// Messages in one life: what is published is also to be drained and checked.
    life_max: usize,
    persistent: bool,
}

const FAN: &str = "fan";
const FAN_QUEUES: &[&str] = &["f0", "f1", "f2"];
const PAIR: &str = "pair";
const PAIR_QUEUES: &[&str] = &["t0", "t1"];
/// All queues of the load.
pub const QUEUES: &[&str] = &["f0", "f1", "f2", "m0", "m1", "q0", "q1", "q2", "t0", "t1"];
const TX_SOURCE: u16 = 10;
const MOVED: (&str, u16) = ("m0", 11);
const MOVED_TO: (&str, u16) = ("m1", 12);

/// Sets of definitions in one life.
const DEFINITIONS_MAX: usize = 12;

const SOURCES: &[Source] = &[
    source(1, Route::Queues(&["q0"]), (16, 200), 300, 1500),
    source(2, Route::Queues(&["q1", "q2"]), (16, 100_000), 16, 200),
    source(3, Route::Fan(FAN, FAN_QUEUES), (16, 4096), 100, 400),
    source(4, Route::Queues(&["q0"]), (16, 16), 1, 300),
    Source { persistent: false, ..source(5, Route::Queues(&["q2"]), (100, 100), 10, 100) },
    source(MOVED.1, Route::Queues(&["m0"]), (16, 500), 50, 300),
];

const fn source(number: u16, route: Route, sizes: (usize, usize), window: usize, life_max: usize) -> Source {
    Source { number, route, sizes, window, life_max, persistent: true }
}

/// Queue, prefetch, and the percentages of what is acknowledged and of what is put back.
const CONSUMERS: &[(&str, u16, u64, u64)] = &[("q0", 200, 100, 0), ("q1", 40, 80, 15), ("f0", 100, 70, 20)];

impl Source {
    fn queues(&self, number: u32) -> &'static [&'static str] {
        match self.route {
            Route::Queues(queues) => {
                let at = number as usize % queues.len();
                &queues[at..=at]
            }
            Route::Fan(_, queues) => queues,
        }
    }

    fn push(&self, link: &mut Link, id: Id) {
        let (exchange, key) = match self.route {
            Route::Queues(_) => ("", self.queues(id.number)[0]),
            Route::Fan(exchange, _) => (exchange, ""),
        };
        let size = id.size(self.sizes.0, self.sizes.1);
        link.push_publish(exchange, key, false, &id.properties(self.persistent), &id.body(size));
    }
}

/// What the load knows, for as many brokers as follow each other.
#[derive(Debug, Clone)]
pub struct World {
    pub truth: Arc<Truth>,
    pub definitions: Arc<Definitions>,
    /// The queues of the load are there, and stay.
    declared: Arc<AtomicBool>,
}

impl World {
    pub fn new() -> World {
        let sources: Vec<u16> = SOURCES.iter().map(|source| source.number).chain([TX_SOURCE, MOVED_TO.1]).collect();
        World { truth: Arc::new(Truth::new(QUEUES, &sources)), definitions: Arc::default(), declared: Arc::default() }
    }

    /// What is known by now.
    pub fn copy(&self) -> World {
        World {
            truth: Arc::new(self.truth.copy()),
            definitions: Arc::new(self.definitions.copy()),
            declared: self.declared.clone(),
        }
    }

    /// What a snapshot holds that was taken between this copy and now: what changed meanwhile may be in it or not.
    pub fn and_later(&self, later: &World) -> World {
        let truth = Arc::new(self.truth.and_later(&later.truth));
        let definitions = Arc::new(self.definitions.and_later(&later.definitions));
        World { truth, definitions, declared: self.declared.clone() }
    }

    /// Declares what the load needs. Queues that are there already are declared again: they must be the same.
    pub fn declare(&self, address: SocketAddr) -> Answer<()> {
        let mut link = Link::open(address)?;
        for queue in QUEUES {
            link.declare_queue(queue, Declare::Durable)?;
        }
        for (exchange, queues) in [(FAN, FAN_QUEUES), (PAIR, PAIR_QUEUES)] {
            link.declare_exchange(exchange, "fanout", false)?;
            for queue in queues {
                link.bind(queue, exchange, "")?;
            }
        }
        self.declared.store(true, Ordering::SeqCst);
        link.close()
    }

    /// Starts all clients of a broker.
    pub fn load(&self, address: SocketAddr, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = vec![];
        let mut add = |name: String, work: Box<dyn FnOnce(Worker) -> Answer<()> + Send>| {
            let number = threads.len() as u64;
            let (world, stop) = (self.clone(), stop.clone());
            let rng = Rng::new(seed ^ number << 32);
            let run = move || match Link::open(address).and_then(|link| work(Worker { link, world, stop, rng })) {
                Ok(()) => Ok(()),
                Err(trouble) => Err((name, trouble)),
            };
            threads.push(thread::spawn(run));
        };
        for source in SOURCES {
            add(format!("publisher {}", source.number), Box::new(|worker| worker.publish(source)));
        }
        for consumer in CONSUMERS {
            add(format!("consumer of {}", consumer.0), Box::new(|worker| worker.consume(consumer)));
        }
        add("transactions".into(), Box::new(Worker::transact));
        add("mover".into(), Box::new(Worker::move_on));
        add("definitions".into(), Box::new(Worker::define));
        Load { stop, threads }
    }

    /// Empties all queues and compares what came with what is known.
    pub fn drain(&self, address: SocketAddr, how: How) -> Answer<()> {
        if !self.declared.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.truth.begin_drain();
        let mut link = Link::open(address)?;
        for queue in QUEUES {
            link.consume(queue, 0)?;
        }
        let mut last: std::collections::HashMap<(String, u16), u32> = Default::default();
        let mut quiet = 0;
        while quiet < 2 {
            let mut ready = 0;
            for queue in QUEUES {
                ready += link.declare_queue(queue, Declare::Passive)?;
            }
            let (mut tag, mut wait) = (0, ready > 0);
            while let Some(event) = if wait { Some(link.event()?) } else { link.waiting() } {
                wait = false;
                let Event::Delivery(delivery) = event else {
                    return Err(Trouble::Strange(format!("{event:?} in a drain")));
                };
                tag = delivery.tag;
                let Some(id) = self.truth.delivered(&delivery.consumer, &delivery, how) else {
                    continue;
                };
                self.truth.acked(&delivery.consumer, id);
                let before = last.insert((delivery.consumer.clone(), id.source), id.number);
                if before.is_some_and(|before| before >= id.number) {
                    self.truth.fault(format!("{}: {id:?} comes behind {before:?}", delivery.consumer));
                }
            }
            if tag > 0 {
                link.push(1, BasicAck { delivery_tag: tag, multiple: true });
            }
            quiet = if tag == 0 && ready == 0 { quiet + 1 } else { 0 };
        }
        for queue in QUEUES {
            link.declare_queue(queue, Declare::Passive)?;
            self.truth.acks_are_sure(queue);
        }
        self.truth.end_drain();
        link.close()
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), (String, Trouble)>>>,
}

impl Load {
    /// Waits for clients whose broker is gone. `told` says whether it may have said goodbye.
    pub fn after_the_end(self, truth: &Truth, told: bool) {
        for thread in self.threads {
            match thread.join().expect("a client does not panic") {
                Ok(()) | Err((_, Trouble::End(crate::client::End::Closed | crate::client::End::Reset))) => {}
                Err((_, Trouble::Closed { code: 320, .. })) if told => {}
                Err((name, trouble)) => truth.fault(format!("{name}: {trouble:?}")),
            }
        }
    }

    /// Lets all clients end what they are at; a broker that goes on must let them.
    pub fn stop(self, truth: &Truth) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            if let Err((name, trouble)) = thread.join().expect("a client does not panic") {
                truth.fault(format!("{name}: {trouble:?}"));
            }
        }
    }
}

/// One client.
struct Worker {
    link: Link,
    world: World,
    stop: Arc<AtomicBool>,
    rng: Rng,
}

/// How long a client that has nothing to do waits for something to come.
const PAUSE: Duration = Duration::from_millis(20);

fn unexpected(event: Event) -> Trouble {
    match event {
        Event::Closed { code, text, .. } => Trouble::Closed { code, text },
        other => Trouble::Strange(format!("{other:?}")),
    }
}

impl Worker {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn publish(mut self, source: &Source) -> Answer<()> {
        let truth = self.world.truth.clone();
        self.link.select_confirms()?;
        // What waits for a confirm, with the tags of its publishes.
        let mut waiting: VecDeque<(u64, Id)> = VecDeque::new();
        let (mut published, mut blocked) = (0, false);
        loop {
            let more = |published| !self.stop.load(Ordering::SeqCst) && published < source.life_max;
            while waiting.len() < source.window && !blocked && more(published) && self.link.unsent() < 1 << 16 {
                published += 1;
                let id = truth.next(source.number);
                truth.sent(id, source.queues(id.number), !source.persistent);
                source.push(&mut self.link, id);
                waiting.push_back((published as u64, id));
            }
            let event = if waiting.is_empty() {
                if self.stops() {
                    return self.link.close();
                }
                self.link.event_within(PAUSE)?
            } else {
                Some(self.link.event()?)
            };
            match event {
                None => {}
                Some(Event::Confirm { tag, multiple, taken }) => {
                    let Some(at) = waiting.iter().position(|(own, _)| *own == tag) else {
                        return Err(Trouble::Strange(format!("a confirm for {tag}")));
                    };
                    let range = if multiple { 0..=at } else { at..=at };
                    for (_, id) in waiting.drain(range) {
                        if taken {
                            truth.confirmed(id, source.queues(id.number));
                        }
                    }
                }
                Some(Event::Blocked(now)) => blocked = now,
                Some(event) => return Err(unexpected(event)),
            }
        }
    }

    fn consume(mut self, (queue, prefetch, ack, requeue): &(&'static str, u16, u64, u64)) -> Answer<()> {
        let truth = self.world.truth.clone();
        self.link.consume(queue, *prefetch)?;
        let mut last: std::collections::HashMap<u16, u32> = Default::default();
        while !self.stops() {
            let delivery = match self.link.event_within(PAUSE)? {
                None => continue,
                Some(Event::Delivery(delivery)) => delivery,
                Some(event) => return Err(unexpected(event)),
            };
            let Some(id) = truth.delivered(queue, &delivery, How::Load) else {
                continue;
            };
            // What was put back may come at any time.
            if !delivery.redelivered {
                let before = last.insert(id.source, id.number);
                if before.is_some_and(|before| before >= id.number) {
                    truth.fault(format!("{queue}: {id:?} comes behind {before:?}"));
                }
            }
            let chance = self.rng.below(100);
            if chance < *ack {
                truth.acked(queue, id);
                self.link.push(1, BasicAck { delivery_tag: delivery.tag, multiple: false });
            } else if chance < ack + requeue {
                self.link.push(1, BasicReject { delivery_tag: delivery.tag, requeue: true });
            }
        }
        self.leave(queue)
    }

    /// Ends consuming, and knows what was delivered and taken.
    fn leave(mut self, queue: &str) -> Answer<()> {
        self.link.cancel(queue)?;
        while let Some(event) = self.link.waiting() {
            match event {
                Event::Delivery(delivery) => drop(self.world.truth.delivered(queue, &delivery, How::Load)),
                event => return Err(unexpected(event)),
            }
        }
        self.link.declare_queue(queue, Declare::Passive)?;
        self.world.truth.acks_are_sure(queue);
        self.link.close()
    }

    /// Messages that come together or not at all.
    fn transact(mut self) -> Answer<()> {
        let truth = self.world.truth.clone();
        self.link.ignore_blocked();
        self.link.call(TxSelect {}, TxSelectOk::ID)?;
        for _ in 0..100 {
            if self.stops() {
                break;
            }
            let (mut ids, mut entries) = (vec![], vec![]);
            let route = |id: Id| match id.number % 3 {
                0 => Route::Fan(PAIR, PAIR_QUEUES),
                _ => Route::Queues(PAIR_QUEUES),
            };
            for _ in 0..1 + self.rng.below(20) {
                let id = truth.next(TX_SOURCE);
                let source = source(TX_SOURCE, route(id), (16, 10_000), 0, 0);
                let queues = source.queues(id.number);
                truth.sent(id, queues, false);
                ids.push((id, queues));
                entries.extend(queues.iter().map(|queue| (*queue, id)));
                source.push(&mut self.link, id);
            }
            if self.rng.chance(20) {
                entries.iter().for_each(|(queue, id)| truth.gone(*id, &[queue]));
                self.link.call(TxRollback {}, TxRollbackOk::ID)?;
            } else {
                truth.commits(&entries);
                self.link.call(TxCommit {}, TxCommitOk::ID)?;
                ids.iter().for_each(|(id, queues)| truth.confirmed(*id, queues));
                truth.committed(&entries);
            }
        }
        while !self.stops() {
            if let Some(event) = self.link.event_within(PAUSE)? {
                return Err(unexpected(event));
            }
        }
        self.link.close()
    }

    /// Moves messages from queue to queue: published there and acknowledged here in one transaction.
    fn move_on(mut self) -> Answer<()> {
        let truth = self.world.truth.clone();
        self.link.ignore_blocked();
        self.link.call(TxSelect {}, TxSelectOk::ID)?;
        self.link.consume(MOVED.0, 10)?;
        while !self.stops() {
            let delivery = match self.link.event_within(PAUSE)? {
                None => continue,
                Some(Event::Delivery(delivery)) => delivery,
                Some(event) => return Err(unexpected(event)),
            };
            let Some(id) = truth.delivered(MOVED.0, &delivery, How::Load) else {
                continue;
            };
            let moved = truth.next(MOVED_TO.1);
            let source = source(MOVED_TO.1, Route::Queues(&[MOVED_TO.0]), (16, 500), 0, 0);
            let (from, to) = ((MOVED.0, id), (MOVED_TO.0, moved));
            truth.moves(from, to);
            source.push(&mut self.link, moved);
            self.link.push(1, BasicAck { delivery_tag: delivery.tag, multiple: false });
            self.link.call(TxCommit {}, TxCommitOk::ID)?;
            truth.moved(from, to);
        }
        self.leave(MOVED.0)
    }

    fn define(mut self) -> Answer<()> {
        for _ in 0..DEFINITIONS_MAX {
            if self.stops() {
                break;
            }
            self.world.definitions.clone().change(&mut self.link)?;
        }
        while !self.stops() {
            if let Some(event) = self.link.event_within(PAUSE)? {
                return Err(unexpected(event));
            }
        }
        self.link.close()
    }
}
