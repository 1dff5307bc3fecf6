//! Dead letters on their way through a chain of queues on several shards, and crashes at any step of it: a message is
//! in one queue of the chain at each moment, and what is written in it of its deaths never becomes less.

use super::{Letter, Publisher, Stage, deaths, number, text};
use crate::sim::PeerId;
use crate::wire::{Content, Heard};
use leveret::amqp::Value;
use leveret::amqp::method::{BasicReject, QueuePurge};
use std::collections::BTreeMap;

/// What may move messages on beside rejections.
#[derive(Debug, Clone, Copy)]
struct Link {
    ttl: Option<u64>,
    length: Option<usize>,
    /// Where it sends them.
    next: usize,
}

#[derive(Debug, Default, Clone)]
struct Message {
    /// It was confirmed: it is there.
    sure: bool,
    persistent: bool,
    /// Deaths told so far, by queue and reason.
    deaths: BTreeMap<(String, String), i64>,
}

struct Run {
    stage: Stage,
    links: Vec<Link>,
    messages: Vec<Message>,
    /// A queue was purged: nothing need be anywhere.
    purged: bool,
}

fn name(queue: usize) -> String {
    format!("c{queue}")
}

/// See the [module](self).
pub fn chains(seed: u64, trace: bool) -> u64 {
    let mut stage = Stage::new(seed, 0x00c4_a175, trace);
    let count = stage.rng.range(2, 6);
    let ring = stage.rng.chance(30);
    let mut links = vec![];
    for queue in 0..count {
        let next = if ring { (queue + 1) % count } else { queue + 1 };
        let rng = &mut stage.rng;
        // In a ring only who rejects goes round: what expires stops where it has been.
        let ttl = (!ring && next < count && rng.chance(30)).then(|| rng.pick(&[10, 100, 1000, 5000]));
        let length = (!ring && next < count && rng.chance(25)).then(|| rng.range(1, 4));
        links.push(Link { ttl, length, next });
    }
    for (queue, link) in links.iter().enumerate() {
        let next = name(link.next);
        let mut rules = vec![];
        if link.next < count {
            rules.extend(super::dead_letters_to(&next));
        }
        rules.extend(link.ttl.map(|ttl| ("x-message-ttl", Value::I64(ttl as i64))));
        rules.extend(link.length.map(|length| ("x-max-length", Value::I64(length as i64))));
        if stage.rng.chance(20) {
            rules.push(("x-max-priority", Value::I32(3)));
        }
        stage.declare(&name(queue), &rules);
    }
    let mut run = Run { stage, links, messages: vec![], purged: false };
    let lives = if run.stage.stored { run.stage.rng.range(1, 4) } else { 1 };
    for life in 0..lives {
        if run.stage.stored && run.stage.rng.chance(70) {
            run.draw_end();
        }
        run.live();
        if run.stage.stored && (run.stage.sim.is_down() || life + 1 < lives || run.stage.rng.chance(50)) {
            run.go_down();
        } else if run.stage.stored {
            run.stage.sim.disk().carry_on();
        }
        let ms = run.stage.rng.pick(&[0, 0, 50, 2000]);
        run.stage.settle(ms);
        run.census();
    }
    run.stage.finish()
}

impl Run {
    /// The machine goes down by itself, at some operation of the disk.
    fn draw_end(&mut self) {
        let disk = self.stage.sim.disk().clone();
        let at = disk.operations() + self.stage.rng.range(1, 60) as u64;
        if self.stage.rng.chance(50) { disk.kill_at(at) } else { disk.cut_power_at(at) }
    }

    /// Waits for something that a peer hears; `None` when the machine goes down meanwhile.
    fn wait<T>(&mut self, peer: PeerId, mut wanted: impl FnMut(&Heard) -> Option<T>) -> Option<T> {
        loop {
            let sim = &mut self.stage.sim;
            let heard = sim.peers[peer].heard.iter().enumerate();
            let found = heard.filter_map(|(at, (_, heard))| wanted(heard).map(|found| (at, found))).next();
            if let Some((at, found)) = found {
                sim.peers[peer].heard.remove(at);
                return Some(found);
            }
            if sim.is_down() {
                return None;
            }
            assert!(sim.step(), "at rest, and peer {peer} still waits");
        }
    }

    /// Messages are published and rejected until it is enough, or the machine goes down.
    fn live(&mut self) {
        if self.stage.sim.is_down() {
            return;
        }
        let Some(takers) = (0..2).map(|_| self.try_open()).collect::<Option<Vec<PeerId>>>() else { return };
        let Some(peer) = self.try_open() else { return };
        self.stage.sim.send(peer, 1, &leveret::amqp::method::ConfirmSelect { no_wait: false });
        if self.wait(peer, |heard| matches!(heard, Heard::Ok(_)).then_some(())).is_none() {
            return;
        }
        let mut publisher = Publisher { peer, published: 0 };
        for _ in 0..self.stage.rng.pick(&[10, 30, 60]) {
            let go_on = match self.stage.rng.below(10) {
                0..=1 => self.publish(&mut publisher),
                2..=6 => {
                    let taker = self.stage.rng.pick(&takers);
                    self.reject(taker)
                }
                7 => {
                    let ms = self.stage.rng.pick(&[1, 10, 30, 300, 3000]);
                    self.stage.pass(ms);
                    Some(())
                }
                8 if self.stage.rng.chance(8) => {
                    let queue = name(self.stage.rng.below(self.links.len()));
                    self.purged = true;
                    let purge = QueuePurge { reserved_1: 0, queue: &queue, no_wait: false };
                    self.stage.sim.send(takers[0], 1, &purge);
                    self.wait(takers[0], |heard| matches!(heard, Heard::PurgeOk { .. }).then_some(()))
                }
                _ => {
                    self.stage.turns(40);
                    Some(())
                }
            };
            if go_on.is_none() || self.stage.sim.is_down() {
                return;
            }
        }
    }

    fn try_open(&mut self) -> Option<PeerId> {
        let shard = self.stage.rng.below(self.stage.sim.shards.len());
        let peer = self.stage.sim.connect(shard);
        self.stage.sim.send_header(peer);
        self.wait(peer, |heard| (*heard == Heard::Start).then_some(()))?;
        self.stage.sim.send_start_ok(peer);
        self.wait(peer, |heard| matches!(heard, Heard::Tune { .. }).then_some(()))?;
        self.stage.sim.send_open(peer, 131_072);
        self.wait(peer, |heard| (*heard == Heard::OpenOk).then_some(()))?;
        self.stage.sim.send(peer, 1, &leveret::amqp::method::ChannelOpen { reserved_1: "" });
        self.wait(peer, |heard| (*heard == Heard::ChannelOpenOk).then_some(()))?;
        Some(peer)
    }

    fn publish(&mut self, publisher: &mut Publisher) -> Option<()> {
        let first = self.messages.len();
        for number in first..first + self.stage.rng.range(1, 4) {
            let persistent = self.stage.rng.chance(90);
            let priority = self.stage.rng.chance(30).then(|| self.stage.rng.below(5) as u8);
            let bytes = self.stage.rng.pick(&[8, 8, 200, 3000]);
            let letter = Letter { text: text(number, bytes), persistent, expiration: None, priority };
            publisher.send(&mut self.stage.sim, &name(0), &letter);
            self.messages.push(Message { persistent, ..Message::default() });
        }
        let last = publisher.published;
        while self.messages[first..].iter().any(|message| !message.sure) {
            let (seqno, multiple) = self.wait(publisher.peer, |heard| match heard {
                Heard::Ack { seqno, multiple } => Some((*seqno, *multiple)),
                _ => None,
            })?;
            let behind = (last - seqno) as usize;
            let at = self.messages.len() - 1 - behind;
            let from = if multiple { first } else { at };
            self.messages[from..=at].iter_mut().for_each(|message| message.sure = true);
        }
        Some(())
    }

    fn reject(&mut self, taker: PeerId) -> Option<()> {
        let at = self.stage.rng.below(self.links.len());
        self.stage.sim.send(taker, 1, &crate::script::get(&name(at), false));
        let delivery = self.wait(taker, |heard| match heard {
            Heard::GetOk { delivery, .. } => Some(Some(delivery.clone())),
            Heard::GetEmpty => Some(None),
            _ => None,
        })?;
        if let Some(delivery) = delivery {
            self.look_at(&delivery.content);
            let is_last = self.links[at].next == self.links.len();
            let requeue = self.stage.rng.chance(15) || is_last;
            self.stage.sim.send(taker, 1, &BasicReject { delivery_tag: delivery.tag, requeue });
        }
        Some(())
    }

    /// What a message says of its deaths is no less than what it said before.
    fn look_at(&mut self, content: &Content) {
        let number = number(content);
        let told: BTreeMap<(String, String), i64> =
            deaths(content).into_iter().map(|death| ((death.queue, death.reason), death.count)).collect();
        let message = &mut self.messages[number];
        for (death, count) in &message.deaths {
            let now = told.get(death).copied().unwrap_or(0);
            assert!(now >= *count, "message {number} has died {count} times by {death:?}, and now {now} times");
        }
        for (queue, reason) in told.keys() {
            let link = self.links.iter().enumerate().find(|(at, _)| name(*at) == *queue);
            let (_, link) = link.unwrap_or_else(|| panic!("message {number} has died in {queue}"));
            let possible = match reason.as_str() {
                "rejected" => true,
                "expired" => link.ttl.is_some(),
                "maxlen" => link.length.is_some(),
                _ => false,
            };
            assert!(possible, "message {number} has died in {queue} by {reason}");
        }
        message.deaths = told;
    }

    fn go_down(&mut self) {
        super::super::durable::go_down_at_once(&mut self.stage.sim);
        self.stage.come_up();
        for message in &mut self.messages {
            // What it was told before may not have been on the disk.
            message.deaths.clear();
            if !message.persistent {
                message.sure = false;
            }
        }
    }

    /// Where everything is.
    fn census(&mut self) {
        let peer = self.stage.peer();
        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        // What expires meanwhile comes by again.
        let mut quiet = 0;
        while quiet < 2 {
            quiet += 1;
            for queue in 0..self.links.len() {
                while let Some(delivery) = self.stage.take(peer, &name(queue), false) {
                    self.look_at(&delivery.content);
                    found.entry(number(&delivery.content)).or_default().push(queue);
                    quiet = 0;
                }
            }
            self.stage.settle(0);
        }
        for (number, message) in self.messages.iter().enumerate() {
            let places = found.remove(&number).unwrap_or_default();
            let least = usize::from(message.sure && !self.purged);
            assert!((least..=1).contains(&places.len()), "message {number} is in {places:?}: {message:?}");
        }
        assert!(found.is_empty());
        self.stage.sim.close_connection(peer);
        self.stage.sim.rest();
    }
}
