//! What is known of every message: whether it must be there, may be there, or may not be there any more.
//!
//! A *life* is one run of a broker; a *drain* is one emptying of all queues by a single consumer. Whatever contradicts
//! what a broker promises is noted as a fault, and fails the test that asks for the faults.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::link::Delivery;
use crate::message::Id;

/// Faults that are kept: more of them explain nothing.
const FAULTS_MAX: usize = 20;

/// A message in one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    sent_life: u32,
    /// When it was delivered last: 0 is never.
    seen_life: u32,
    seen_drain: u32,
    /// When it was acknowledged: 0 is never.
    acked_life: u32,
    /// The broker was heard after it had the acknowledgement.
    acked_surely: bool,
    confirmed: bool,
    transient: bool,
    /// It may not come again.
    gone: bool,
}

impl Fate {
    /// It is to be delivered by a broker that has just started.
    fn must_be_there(&self) -> bool {
        let held = self.confirmed || self.seen_life > self.sent_life;
        held && self.acked_life == 0 && !self.gone && !self.transient
    }

    /// It may be delivered by a broker that has just started.
    fn may_be_there(&self) -> bool {
        !self.gone && !self.transient
    }
}

/// A message that goes from one queue to another.
#[derive(Debug, Clone)]
struct Move {
    from: (&'static str, Id),
    to: (&'static str, Id),
}

/// Who takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Load,
    Drain,
    /// A drain after a clean stop: what was never delivered is not flagged.
    ExactDrain,
}

/// What has happened, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub confirmed: u64,
    pub delivered: u64,
    /// Lives that ended suddenly, and how many of them with something unconfirmed.
    pub killed: u64,
    pub killed_midway: u64,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Truth {
    life: AtomicU32,
    drain: AtomicU32,
    queues: BTreeMap<&'static str, Mutex<HashMap<Id, Fate>>>,
    /// The next number of each source.
    numbers: BTreeMap<u16, AtomicU32>,
    /// Transactions whose commit was not answered.
    open: Mutex<Vec<Vec<(&'static str, Id)>>>,
    moves: Mutex<Vec<Move>>,
    faults: Mutex<Vec<String>>,
    tally: Mutex<Tally>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Truth {
    pub fn new(queues: &[&'static str], sources: &[u16]) -> Truth {
        Truth {
            life: AtomicU32::new(1),
            queues: queues.iter().map(|queue| (*queue, Mutex::default())).collect(),
            numbers: sources.iter().map(|source| (*source, AtomicU32::new(0))).collect(),
            ..Truth::default()
        }
    }

    pub fn copy(&self) -> Truth {
        let number = |number: &AtomicU32| AtomicU32::new(number.load(Ordering::SeqCst));
        // First: the messages of a move are noted before it.
        let moves = Mutex::new(lock(&self.moves).clone());
        Truth {
            life: number(&self.life),
            drain: number(&self.drain),
            queues: self.queues.iter().map(|(queue, fates)| (*queue, Mutex::new(lock(fates).clone()))).collect(),
            numbers: self.numbers.iter().map(|(source, next)| (*source, number(next))).collect(),
            open: Mutex::new(lock(&self.open).clone()),
            moves,
            faults: Mutex::default(),
            tally: Mutex::new(self.tally()),
        }
    }

    /// What holds of a moment between this copy and now, for a broker that begins with that moment.
    pub fn and_later(&self, later: &Truth) -> Truth {
        let later = later.copy();
        for (queue, fates) in &later.queues {
            let before = self.queue(queue);
            for (id, fate) in lock(fates).iter_mut() {
                // What was sent meanwhile may have come into it; what was acknowledged meanwhile may be gone.
                let known = before.get(id).copied().unwrap_or(Fate { sent_life: fate.sent_life, ..Fate::default() });
                *fate = Fate { acked_life: fate.acked_life, transient: fate.transient, ..known };
            }
        }
        // Transactions that were answered meanwhile were open at some time.
        lock(&later.open).extend(lock(&self.open).iter().cloned());
        later
    }

    fn life(&self) -> u32 {
        self.life.load(Ordering::SeqCst)
    }

    /// The next message of a source.
    pub fn next(&self, source: u16) -> Id {
        Id { source, number: self.numbers[&source].fetch_add(1, Ordering::SeqCst) }
    }

    fn queue(&self, queue: &str) -> MutexGuard<'_, HashMap<Id, Fate>> {
        lock(self.queues.get(queue).unwrap_or_else(|| panic!("{queue} is not known")))
    }

    pub fn fault(&self, text: String) {
        let mut faults = lock(&self.faults);
        if faults.len() < FAULTS_MAX {
            faults.push(text);
        }
    }

    /// A message is about to be sent to these queues.
    pub fn sent(&self, id: Id, queues: &[&'static str], transient: bool) {
        lock(&self.tally).sent += 1;
        for queue in queues {
            let fate = Fate { sent_life: self.life(), transient, ..Fate::default() };
            self.queue(queue).entry(id).or_insert(fate);
        }
    }

    /// The broker has confirmed it.
    pub fn confirmed(&self, id: Id, queues: &[&'static str]) {
        lock(&self.tally).confirmed += 1;
        for queue in queues {
            if let Some(fate) = self.queue(queue).get_mut(&id) {
                fate.confirmed = true;
            }
        }
    }

    /// It is not to come (any more), and the broker has said so.
    pub fn gone(&self, id: Id, queues: &[&'static str]) {
        for queue in queues {
            if let Some(fate) = self.queue(queue).get_mut(&id) {
                fate.gone = true;
            }
        }
    }

    /// A transaction is about to be committed.
    pub fn commits(&self, entries: &[(&'static str, Id)]) {
        lock(&self.open).push(entries.to_vec());
    }

    /// Its commit was answered.
    pub fn committed(&self, entries: &[(&'static str, Id)]) {
        lock(&self.open).retain(|open| open != entries);
    }

    /// A message is about to be acknowledged in one queue and published as another message in another queue, in one
    /// transaction.
    pub fn moves(&self, from: (&'static str, Id), to: (&'static str, Id)) {
        self.sent(to.1, &[to.0], false);
        self.acked(from.0, from.1);
        lock(&self.moves).push(Move { from, to });
    }

    /// The move was committed.
    pub fn moved(&self, from: (&'static str, Id), to: (&'static str, Id)) {
        self.confirmed(to.1, &[to.0]);
        self.gone(from.1, &[from.0]);
    }

    /// A message has come: checks it and returns its name.
    pub fn delivered(&self, queue: &str, delivery: &Delivery, how: How) -> Option<Id> {
        lock(&self.tally).delivered += 1;
        let id = match Id::read(&delivery.properties, &delivery.body) {
            Ok(id) => id,
            Err(text) => {
                self.fault(format!("{queue}: {text}"));
                return None;
            }
        };
        let (life, drain) = (self.life(), self.drain.load(Ordering::SeqCst));
        let mut messages = self.queue(queue);
        let Some(fate) = messages.get_mut(&id) else {
            self.fault(format!("{queue}: {id:?} was never sent there"));
            return None;
        };
        let fault = |text: &str| self.fault(format!("{queue}: {id:?} {text}: life {life}, {fate:?}"));
        if fate.gone {
            fault("has come back");
        } else if fate.acked_surely {
            fault("has come again after its acknowledgement was taken");
        } else if fate.transient && fate.sent_life < life {
            fault("is transient and has survived");
        } else if fate.seen_life > 0 && !delivery.redelivered {
            fault("comes twice without being flagged");
        } else if how == How::ExactDrain && fate.seen_life == 0 && delivery.redelivered {
            fault("is flagged and comes for the first time");
        } else if how != How::Load && fate.seen_drain == drain {
            fault("comes twice in one drain");
        }
        fate.seen_life = life;
        if how != How::Load {
            fate.seen_drain = drain;
        }
        Some(id)
    }

    /// An acknowledgement is about to be sent.
    pub fn acked(&self, queue: &str, id: Id) {
        let life = self.life();
        if let Some(fate) = self.queue(queue).get_mut(&id) {
            fate.acked_life = life;
        }
    }

    /// The broker has taken all acknowledgements of this life and queue.
    pub fn acks_are_sure(&self, queue: &str) {
        let life = self.life();
        for fate in self.queue(queue).values_mut() {
            fate.acked_surely |= fate.acked_life == life;
        }
    }

    /// Messages that are ready in a queue right after a start, at least and at most.
    pub fn counts(&self, queue: &str) -> (u32, u32) {
        let messages = self.queue(queue);
        let least = messages.values().filter(|fate| fate.must_be_there()).count();
        let most = messages.values().filter(|fate| fate.may_be_there()).count();
        (least as u32, most as u32)
    }

    /// The broker has died.
    pub fn killed(&self) {
        let life = self.life.fetch_add(1, Ordering::SeqCst);
        let mut midway = false;
        for queue in self.queues.values() {
            for fate in lock(queue).values_mut() {
                midway |= fate.sent_life == life && !fate.confirmed && !fate.gone;
                fate.acked_surely = false;
            }
        }
        let mut tally = lock(&self.tally);
        tally.killed += 1;
        tally.killed_midway += u64::from(midway);
    }

    /// The broker has stopped in order.
    pub fn stopped(&self) {
        for queue in self.queues.values() {
            lock(queue).values_mut().for_each(|fate| fate.gone |= fate.acked_surely);
        }
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    pub fn begin_drain(&self) {
        self.drain.fetch_add(1, Ordering::SeqCst);
    }

    /// All queues are empty: what should have come and has not is lost, and what has not come will not.
    pub fn end_drain(&self) {
        let (life, drain) = (self.life(), self.drain.load(Ordering::SeqCst));
        for open in std::mem::take(&mut *lock(&self.open)) {
            let came = open.iter().filter(|(queue, id)| self.queue(queue)[id].seen_drain == drain).count();
            if came != 0 && came != open.len() {
                self.fault(format!("{came} of {} messages of a transaction: {:?}", open.len(), open[0]));
            }
        }
        self.check_moves(drain);
        for (queue, messages) in &self.queues {
            for (id, fate) in lock(messages).iter_mut() {
                if fate.seen_drain == drain || fate.gone {
                    continue;
                }
                let held = fate.confirmed || fate.seen_life > fate.sent_life;
                if held && fate.acked_life == 0 && (!fate.transient || fate.sent_life == life) {
                    self.fault(format!("{queue}: {id:?} is lost: life {life}, {fate:?}"));
                }
                // What an earlier life has left undecided was decided by the start.
                let decided = if fate.acked_life > 0 { fate.acked_life } else { fate.sent_life };
                fate.gone |= decided < life;
            }
        }
    }

    /// Each message that was to be moved is in exactly one place, once.
    fn check_moves(&self, drain: u32) {
        let mut of_each: BTreeMap<(&'static str, Id), Vec<Move>> = BTreeMap::new();
        for it in std::mem::take(&mut *lock(&self.moves)) {
            of_each.entry(it.from).or_default().push(it);
        }
        for ((queue, id), moves) in of_each {
            let fate = self.queue(queue)[&id];
            let copies: Vec<Fate> = moves.iter().map(|it| self.queue(it.to.0)[&it.to.1]).collect();
            let places = [fate].iter().chain(&copies).filter(|fate| fate.seen_drain == drain).count();
            let before = [fate].iter().chain(&copies).any(|fate| ![0, drain].contains(&fate.seen_drain));
            if !before && (places > 1 || places == 0 && fate.confirmed) {
                self.fault(format!("{queue}: {id:?} is in {places} places after its move: {fate:?}, {copies:?}"));
            }
            // It may be moved again: what the drain took may come back after a crash.
            lock(&self.moves).extend(moves);
        }
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        *lock(&self.tally)
    }

    /// The faults so far.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }

    /// Fails the test if there is a fault.
    pub fn check(&self, when: &str) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{when}:\n{}", faults.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Id = Id { source: 1, number: 0 };

    fn delivery(id: Id, redelivered: bool) -> Delivery {
        let (properties, body) = (id.properties(true), id.body(20));
        Delivery { tag: 1, redelivered, consumer: "q".into(), properties, body }
    }

    /// What is said about a message that was sent to a queue, after `steps`.
    fn faults(steps: &str) -> String {
        let truth = Truth::new(&["q", "r"], &[1]);
        for step in steps.split(' ') {
            match step {
                "send" => truth.sent(truth.next(1), &["q"], false),
                "send-transient" => truth.sent(truth.next(1), &["q"], true),
                "confirm" => truth.confirmed(FIRST, &["q"]),
                "rolled-back" => truth.gone(FIRST, &["q"]),
                "commits-two" => {
                    truth.sent(FIRST, &["q", "r"], false);
                    truth.commits(&[("q", FIRST), ("r", FIRST)]);
                }
                "get" => drop(truth.delivered("q", &delivery(FIRST, false), How::Load)),
                "get-flagged" => drop(truth.delivered("q", &delivery(FIRST, true), How::Load)),
                "drain" => drop(truth.delivered("q", &delivery(FIRST, false), How::Drain)),
                "drain-flagged" => drop(truth.delivered("q", &delivery(FIRST, true), How::Drain)),
                "drain-flagged-exact" => drop(truth.delivered("q", &delivery(FIRST, true), How::ExactDrain)),
                "ack" => truth.acked("q", FIRST),
                "sure" => truth.acks_are_sure("q"),
                "kill" => truth.killed(),
                "stop" => truth.stopped(),
                "begin" => truth.begin_drain(),
                "end" => truth.end_drain(),
                other => panic!("{other}"),
            }
        }
        let texts = truth.faults().into_iter().map(|text| text.split(": life").next().unwrap_or("").to_owned());
        texts.collect::<Vec<_>>().join("; ").replace("Id { source: 1, number: 0 }", "it")
    }

    #[test]
    fn lies_of_a_broker_are_noticed() {
        for (steps, expected) in [
            ("send confirm kill begin drain end", ""),
            ("send confirm kill begin end", "q: it is lost"),
            ("send kill begin end", ""),
            ("send kill begin end kill begin drain-flagged end", "q: it has come back"),
            ("send kill get kill begin end", "q: it is lost"),
            ("send get kill begin end", ""),
            ("send confirm get kill begin drain end", "q: it comes twice without being flagged"),
            ("send confirm get kill begin drain-flagged end", ""),
            ("send confirm get ack kill begin end", ""),
            ("send confirm get ack kill begin drain-flagged end", ""),
            ("send confirm get ack sure get-flagged", "q: it has come again after its acknowledgement was taken"),
            ("send confirm get ack sure stop begin drain-flagged end", "q: it has come back"),
            ("send confirm get ack sure kill begin end kill begin drain-flagged end", "q: it has come back"),
            ("send confirm begin drain drain-flagged end", "q: it comes twice in one drain"),
            ("send confirm stop begin drain-flagged-exact end", "q: it is flagged and comes for the first time"),
            ("send confirm get stop begin drain-flagged-exact end", ""),
            ("send-transient confirm kill begin drain end", "q: it is transient and has survived"),
            ("send-transient confirm kill begin end", ""),
            ("send-transient confirm begin end", "q: it is lost"),
            ("send rolled-back begin drain end", "q: it has come back"),
            ("get", "q: it was never sent there"),
            ("commits-two kill begin end", ""),
            ("commits-two kill begin drain end", "1 of 2 messages of a transaction: (\"q\", it)"),
        ] {
            assert_eq!(faults(steps), expected, "{steps}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        let truth = Truth::new(&["q"], &[1]);
        let ids = [(); 4].map(|()| truth.next(1));
        ids.iter().for_each(|id| truth.sent(*id, &["q"], false));
        truth.confirmed(ids[0], &["q"]);
        truth.confirmed(ids[1], &["q"]);
        truth.acked("q", ids[1]);
        truth.gone(ids[2], &["q"]);
        truth.killed();
        assert_eq!(truth.counts("q"), (1, 3));
    }

    #[test]
    fn a_move_leaves_a_message_in_one_place() {
        for (came, expected) in [("m", 0), ("n", 0), ("mn", 1), ("", 1)] {
            let truth = Truth::new(&["m", "n"], &[1]);
            truth.sent(FIRST, &["m"], false);
            truth.confirmed(FIRST, &["m"]);
            let moved = Id { source: 2, number: 7 };
            truth.moves(("m", FIRST), ("n", moved));
            truth.killed();
            truth.begin_drain();
            for (queue, id) in [("m", FIRST), ("n", moved)] {
                if came.contains(queue) {
                    truth.delivered(queue, &delivery(id, true), How::Drain);
                }
            }
            truth.end_drain();
            assert_eq!(truth.faults().len(), expected, "{came}: {:?}", truth.faults());
        }
    }
}
