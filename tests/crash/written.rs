//! A data directory with known contents, as a broker leaves it that is killed; and what another one makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use leveret::amqp::method::BasicAck;
use leveret::{Config, Server};

use crate::link::{Answer, Declare, Event, Link, Trouble};
use crate::message::Id;
use crate::place;
use crate::small;

/// A queue of its own, and the queues of a fan-out exchange.
pub const QUEUES: &[&str] = &["alone", "left", "right"];
const FAN: &str = "both";
/// 404.
const NOT_FOUND: u16 = 404;

/// Messages by queue, in order.
pub type Contents = BTreeMap<&'static str, Vec<Id>>;

/// A directory and what is in it.
#[derive(Debug)]
pub struct Written {
    pub dir: PathBuf,
    /// What has been published and is not acknowledged.
    pub alive: Contents,
    /// What has been acknowledged: it may come back, flagged.
    pub acked: Contents,
    /// The body of each.
    pub bodies: BTreeMap<Id, Vec<u8>>,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub messages: u32,
    pub size_max: usize,
    /// Messages that wait for a confirm at once.
    pub window: u32,
    /// Of the queue that stands alone, so many are acknowledged.
    pub acked: u32,
    /// After so many messages the broker is stopped in order and started again.
    pub restart_at: Option<u32>,
}

fn config(dir: &Path) -> Config {
    small::config(dir, 1)
}

impl Written {
    /// What a directory holds in which this plan was carried out.
    pub fn planned(dir: PathBuf, plan: Plan) -> Written {
        let mut written = Written { dir, alive: Contents::new(), acked: Contents::new(), bodies: BTreeMap::new() };
        QUEUES.iter().for_each(|queue| drop(written.alive.insert(queue, vec![])));
        for number in 0..plan.messages {
            let id = Id { source: 1, number };
            written.bodies.insert(id, id.body(id.size(16, plan.size_max)));
            route(number).2.iter().for_each(|queue| written.alive.get_mut(queue).unwrap().push(id));
        }
        let alone = written.alive.get_mut(QUEUES[0]).unwrap();
        written.acked.insert(QUEUES[0], alone.drain(..plan.acked as usize).collect());
        written
    }

    /// Runs a broker in this process and copies its directory while it still runs: that is how a kill leaves it.
    pub fn new(folder: &place::Folder, plan: Plan) -> Written {
        Written::with(folder, plan, |_| ())
    }

    /// The same, with something done before.
    pub fn with(folder: &place::Folder, plan: Plan, before: impl FnOnce(&Server)) -> Written {
        let live = folder.join("live");
        let written = Written::planned(folder.join("written"), plan);
        let mut server = Server::start(config(&live)).expect("the server starts");
        before(&server);
        let mut link = publisher(server.local_addr()).expect("the server answers");
        // Tags begin anew with each connection.
        let (mut base, mut confirmed) = (0, 0);
        for number in 0..plan.messages {
            if plan.restart_at == Some(number) {
                confirm(&mut link, base, &mut confirmed, number).expect("confirms");
                acknowledge(server.local_addr(), plan.acked).expect("the server answers");
                server.shutdown();
                server = Server::start(config(&live)).expect("the server starts again");
                link = publisher(server.local_addr()).expect("the server answers");
                base = number;
            }
            let id = Id { source: 1, number };
            let (exchange, key, _) = route(number);
            link.push_publish(exchange, key, false, &id.properties(true), &written.bodies[&id]);
            confirm(&mut link, base, &mut confirmed, (number + 1).saturating_sub(plan.window - 1)).expect("confirms");
        }
        confirm(&mut link, base, &mut confirmed, plan.messages).expect("confirms");
        if plan.restart_at.is_none() {
            acknowledge(server.local_addr(), plan.acked).expect("the server answers");
        }
        place::copy(&live, &written.dir);
        drop(link);
        server.shutdown();
        fs::remove_dir_all(&live).expect("the live directory");
        written
    }

    /// Where each body lies: file, first byte, end.
    pub fn places(&self) -> BTreeMap<Id, (String, usize, usize)> {
        let mut places = BTreeMap::new();
        for name in place::names(&self.dir, "segment-") {
            let bytes = fs::read(self.dir.join(&name)).expect("a segment");
            for (id, body) in &self.bodies {
                if let Some(at) = find(&bytes, body) {
                    places.insert(*id, (name.clone(), at, at + body.len()));
                }
            }
        }
        places
    }

    /// What came that should not have: something unknown, something twice, something out of order, something that was
    /// acknowledged and is not flagged. `came` has the flags.
    pub fn wrong(&self, came: &Came) -> Option<String> {
        for (queue, messages) in &came.messages {
            let known = |id: &Id| {
                let of = |contents: &Contents| contents.get(queue).is_some_and(|ids| ids.contains(id));
                of(&self.alive) || of(&self.acked)
            };
            if let Some((id, _)) = messages.iter().find(|(id, _)| !known(id)) {
                return Some(format!("{queue}: {id:?} was never there"));
            }
            if let Some(pair) = messages.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
                return Some(format!("{queue}: {:?} comes behind {:?}", pair[1].0, pair[0].0));
            }
            let acked = |id: &Id| self.acked.get(queue).is_some_and(|ids| ids.contains(id));
            if let Some((id, _)) = messages.iter().find(|(id, flagged)| acked(id) && !flagged) {
                return Some(format!("{queue}: {id:?} was acknowledged and comes without a flag"));
            }
        }
        None
    }

    /// What should have come and has not.
    pub fn lost(&self, came: &Came) -> Vec<(&'static str, Id)> {
        let mut lost = vec![];
        for (queue, ids) in &self.alive {
            let messages = came.messages.get(queue).map_or(&[][..], |messages| messages);
            let missing = ids.iter().filter(|id| !messages.iter().any(|(came, _)| came == *id));
            lost.extend(missing.map(|id| (*queue, *id)));
        }
        lost
    }
}

/// Exchange, routing key and queues of a message.
fn route(number: u32) -> (&'static str, &'static str, &'static [&'static str]) {
    match number % 3 {
        0 => (FAN, "", &QUEUES[1..]),
        _ => ("", QUEUES[0], &QUEUES[..1]),
    }
}

/// Declares everything and selects confirms.
fn publisher(address: SocketAddr) -> Answer<Link> {
    let mut link = Link::open(address)?;
    for queue in QUEUES {
        link.declare_queue(queue, Declare::Durable)?;
    }
    link.declare_exchange(FAN, "fanout", false)?;
    for queue in &QUEUES[1..] {
        link.bind(queue, FAN, "")?;
    }
    link.select_confirms()?;
    Ok(link)
}

/// Acknowledges the first messages of the queue that stands alone.
fn acknowledge(address: SocketAddr, count: u32) -> Answer<()> {
    if count == 0 {
        return Ok(());
    }
    let mut link = Link::open(address)?;
    link.consume(QUEUES[0], count as u16)?;
    for at in 1..=count {
        match link.event()? {
            Event::Delivery(delivery) if at == count => {
                link.push(1, BasicAck { delivery_tag: delivery.tag, multiple: true });
            }
            Event::Delivery(_) => {}
            event => return Err(Trouble::Strange(format!("{event:?}"))),
        }
    }
    link.cancel(QUEUES[0])?;
    link.declare_queue(QUEUES[0], Declare::Passive)?;
    link.close()
}

/// Waits until so many messages are confirmed, those of earlier connections counted in.
fn confirm(link: &mut Link, base: u32, confirmed: &mut u32, until: u32) -> Answer<()> {
    while *confirmed < until {
        match link.event()? {
            Event::Confirm { tag, taken: true, .. } => *confirmed = base + tag as u32,
            event => return Err(Trouble::Strange(format!("{event:?}"))),
        }
    }
    Ok(())
}

/// The first place where one slice lies in another.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let head = wanted.first_chunk::<8>()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(8).position(|window| window == head) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// What a broker gives back.
#[derive(Debug, Default)]
pub struct Came {
    /// With the flag `redelivered`. A queue that is not there is missing here.
    pub messages: BTreeMap<&'static str, Vec<(Id, bool)>>,
    /// Messages with contents that nobody has published.
    pub altered: Vec<String>,
}

/// Takes everything out of the queues.
pub fn empty(address: SocketAddr) -> Answer<Came> {
    let mut came = Came::default();
    let mut link = Link::open(address)?;
    for queue in QUEUES {
        match link.declare_queue(queue, Declare::Passive) {
            Ok(_) => {}
            Err(Trouble::Closed { code: NOT_FOUND, .. }) => {
                link.open_channel(1)?;
                continue;
            }
            Err(trouble) => return Err(trouble),
        }
        link.consume(queue, 0)?;
        let messages = came.messages.entry(queue).or_default();
        let mut quiet = 0;
        while quiet < 2 {
            quiet += 1;
            let ready = link.declare_queue(queue, Declare::Passive)?;
            if ready > 0 {
                quiet = 0;
            }
            let mut last = None;
            while let Some(event) = link.waiting() {
                let Event::Delivery(delivery) = event else {
                    return Err(Trouble::Strange(format!("{event:?}")));
                };
                match Id::read(&delivery.properties, &delivery.body) {
                    Ok(id) => messages.push((id, delivery.redelivered)),
                    Err(text) => came.altered.push(format!("{queue}: {text}")),
                }
                last = Some(delivery.tag);
                quiet = 0;
            }
            if let Some(delivery_tag) = last {
                link.push(1, BasicAck { delivery_tag, multiple: true });
            }
        }
        link.cancel(queue)?;
    }
    link.close()?;
    Ok(came)
}

/// Starts a server in this process on a copy of the directory that was changed by `change`, and empties it.
pub fn serve(dir: &Path) -> Result<Came, String> {
    let server = Server::start(config(dir)).map_err(|error| format!("no start: {error}"))?;
    let came = empty(server.local_addr()).map_err(|trouble| format!("no answer: {trouble:?}"));
    server.shutdown();
    came
}
