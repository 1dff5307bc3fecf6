//! The oracle: what a fetch may bring, and what an open must find.

use super::model::{Op, PREDEFINED, Queue, State, Touched, Waiting};
use super::run::{Clean, Run};
use crate::lane::Lane;
use leveret::store::open::{Contents, Report};
use leveret::store::{Completion, Fetch, Fetched, Position};

/// A fetch that is not answered.
#[derive(Debug)]
pub struct Asked {
    queue: u64,
    from: Position,
    to: Position,
    bytes_max: usize,
    count_max: usize,
    only: Vec<Position>,
    /// What was in the queue when it was asked for.
    then: Queue,
}

impl Asked {
    pub fn of(fetch: &Fetch, then: Queue) -> Asked {
        Asked {
            queue: fetch.queue.0,
            from: fetch.from,
            to: fetch.to,
            bytes_max: fetch.bytes_max,
            count_max: fetch.count_max,
            only: fetch.only.clone(),
            then,
        }
    }
}

impl Asked {
    fn wants(&self, position: Position) -> bool {
        self.only.is_empty() || self.only.contains(&position)
    }
}

/// What any answer must be, whatever is in it.
fn well_formed(fetched: &Fetched, from: Position, to: Position) {
    let what = || format!("queue {} from {from} to {to}: {fetched:?}", fetched.queue.0);
    assert!((from + 1..=to).contains(&fetched.next), "no progress, or too much: {}", what());
    assert!(fetched.messages.is_sorted_by(|a, b| a.position < b.position), "not in order: {}", what());
    for message in &fetched.messages {
        assert!((from..fetched.next).contains(&message.position), "not asked for: {}", what());
        let end = message.at as usize + message.len as usize;
        assert!(end <= fetched.bytes.len(), "not in the answer: {}", what());
    }
}

impl Run {
    fn is_known(&self, queue: u64, position: Position, bytes: &[u8]) -> bool {
        let known = self.bodies.get(&(queue, position));
        known.is_some_and(|bodies| bodies.iter().any(|body| body.bytes == bytes.len() && body.content() == bytes))
    }

    /// An answer while everything runs.
    pub fn fetched(&mut self, lane: &Lane, fetched: Fetched) {
        let asked = self.asked.remove(&fetched.tag).expect("an answer to something that was asked, once");
        assert_eq!(asked.queue, fetched.queue.0);
        let queue = asked.queue;
        if !self.view.queues.contains_key(&queue) {
            return;
        }
        well_formed(&fetched, asked.from, asked.to);
        assert!(fetched.messages.len() <= asked.count_max);
        let but_one = fetched.messages.split_last().map_or(&[][..], |(_, others)| others);
        let bytes: usize = but_one.iter().map(|message| message.len as usize).sum();
        assert!(bytes <= asked.bytes_max, "{bytes} bytes and another message, not {}", asked.bytes_max);
        for message in &fetched.messages {
            let at = format!("queue {queue} position {}", message.position);
            assert!(asked.wants(message.position), "not wanted: {at}");
            let content = &fetched.bytes[message.at as usize..][..message.len as usize];
            assert!(self.is_known(queue, message.position, content), "altered: {at}");
            let then = asked.then.alive.get(&message.position);
            let tainted = self.tainted.has(queue, message.position);
            assert!(then.is_some() || tainted || self.was_alive(queue, message.position), "settled long ago: {at}");
            let now = self.view.alive(queue, message.position);
            if let Some(now) = now {
                assert!(!message.redelivered || now.redelivered || tainted, "never returned: {at}");
            }
        }
        let mut missing = vec![];
        let wanted = asked.then.alive.range(asked.from..fetched.next);
        for (position, _) in wanted.filter(|(position, _)| asked.wants(**position)) {
            let found = fetched.messages.binary_search_by_key(position, |m| m.position).is_ok();
            if !found && self.view.alive(queue, *position).is_some() {
                assert!(self.tainted.has(queue, *position), "missing: queue {queue} position {position}: {fetched:?}");
                missing.push(*position);
            }
        }
        assert!(missing.is_empty() || lane.keeper.state().lost > 0, "missing, and nobody says so: {queue} {missing:?}");
        for position in missing {
            // The keeper has settled it.
            self.view.queues.get_mut(&queue).expect("a queue").alive.remove(&position);
            self.base_forgets(queue, position);
        }
    }

    /// Whether a position was alive at some time in this life.
    fn was_alive(&self, queue: u64, position: Position) -> bool {
        let in_history = |op: &Op| match op {
            Op::Messages { places, bodies, .. } => {
                let here =
                    |(q, first): &(u64, u64)| *q == queue && (*first..first + bodies.len() as u64).contains(&position);
                places.iter().any(here)
            }
            _ => false,
        };
        self.base.alive(queue, position).is_some() || self.history.iter().any(|(_, ops)| ops.iter().any(in_history))
    }

    fn base_forgets(&mut self, queue: u64, position: Position) {
        self.tainted.places.insert((queue, position));
    }

    /// The lane was opened: what is there must be what some part of the history made.
    pub fn recovered(&mut self, lane: &mut Lane, contents: Contents, report: &Report, clean: Clean) {
        self.say(|| format!("found: {contents:?}\n{report:?}"));
        match clean {
            Clean::Yes => assert!(contents.clean, "stopped in order, and not known"),
            Clean::No => assert!(!contents.clean, "not stopped in order"),
            Clean::Perhaps => {}
        }
        assert!(self.rots || report.is_sound(), "damage where there was none: {report}");
        // Nobody knows then which segments are gone and which were used again: less is found than is there, or more.
        let rescued = report.findings.iter().any(|finding| finding.what.starts_with("there is no good checkpoint"));
        self.tainted.everything |= rescued;
        let (found, lost) = self.read_everything(lane, &contents);
        self.told_of_loss |= lost > 0 || !report.is_sound() || (self.tail_hit && !report.findings.is_empty());
        // What nobody knew to be durable may go without a word: a write that was not begun leaves nothing either.
        let may_be_silent = self.told_of_loss || self.tail_hit;
        let least = if self.power_cut { self.durable } else { self.written };
        let most = self.attempted;
        let mut state = self.base.clone();
        let (mut fits, mut fits_exactly) = (None, false);
        let nothing = Touched::default();
        let mut differences = vec![];
        for upto in 0..=self.history.len() {
            if upto > 0 {
                let ops = self.history[upto - 1].1.clone();
                ops.iter().for_each(|op| state.apply(op));
            }
            if upto >= least && upto <= most.max(least) {
                let state = state.clone().started(contents.clean);
                fits_exactly |= differs(&state, &found, &nothing).is_none();
                match differs(&state, &found, &self.tainted) {
                    None => fits = Some(upto),
                    Some(difference) => differences.push(format!("after {upto}: {difference}")),
                }
            }
        }
        let Some(upto) = fits else {
            panic!(
                "what was found is nothing that was ever there ({} submissions, durable {}, written {}, tried {}, \
                 power cut: {}):\n{}\n{report:?}",
                self.history.len(),
                self.durable,
                self.written,
                self.attempted,
                self.power_cut,
                differences[differences.len().saturating_sub(6)..].join("\n")
            )
        };
        assert!(
            fits_exactly || may_be_silent,
            "something is missing, and nobody says so: {report:?}, in the state after {upto} {:?}",
            differs(&self.state_after(upto).started(contents.clean), &found, &nothing)
        );
        self.say(|| format!("{upto} of {} submissions are there", self.history.len()));
        self.hash = crate::rng::mix(self.hash ^ upto as u64).wrapping_add(found.bytes());
        self.begin_life(found, contents.term);
    }

    fn state_after(&self, upto: usize) -> State {
        let mut state = self.base.clone();
        self.history[..upto].iter().flat_map(|(_, ops)| ops).for_each(|op| state.apply(op));
        state
    }

    /// All that the lane holds, and how many messages are lost that it believed to have.
    fn read_everything(&mut self, lane: &mut Lane, contents: &Contents) -> (State, u64) {
        let mut found = State::default();
        let mut lost_in_all = 0;
        for (id, bytes) in &contents.definitions {
            assert!(found.definitions.insert(id.0, bytes.clone()).is_none(), "defined twice: {id:?}");
        }
        for (from, to, bytes) in &contents.bindings {
            assert!(found.bindings.insert((from.0, to.0, bytes.clone())), "bound twice: {from:?} {to:?}");
        }
        for (id, notes) in &contents.notes {
            assert!(found.notes.insert(id.0, notes.clone()).is_none(), "notes of {id:?} twice");
        }
        for row in &contents.queues {
            let id = row.id.0;
            let mut queue = Queue { end: row.end, ..Queue::default() };
            let (mut from, mut lost) = (row.first, 0);
            while from < row.end {
                let count_max = self.rng.pick(&[1, 7, 256]);
                let (bytes_max, queue) = (self.rng.pick(&[1, 4000, 1 << 20]), &mut queue);
                let fetch = Fetch { queue: row.id, from, to: row.end, bytes_max, count_max, ..Fetch::default() };
                let fetched = self.fetch_now(lane, fetch);
                well_formed(&fetched, from, row.end);
                for message in &fetched.messages {
                    let at = (id, message.position);
                    let bytes = &fetched.bytes[message.at as usize..][..message.len as usize];
                    let bodies = self.bodies.get(&at).map_or(&[][..], |bodies| bodies);
                    let body = bodies.iter().rev().find(|b| b.bytes == bytes.len() && b.content() == bytes);
                    let body = *body.unwrap_or_else(|| {
                        panic!("altered: {at:?}, {} bytes {:?}", bytes.len(), lane.keeper.state().rows.get(&row.id))
                    });
                    let waiting = Waiting {
                        body,
                        transient: false,
                        redelivered: message.redelivered,
                        counts: (message.acquired, message.failed),
                    };
                    queue.alive.insert(message.position, waiting);
                }
                lost += fetched.lost;
                from = fetched.next;
            }
            // What is damaged may be found so by ageing, too.
            let found_so = queue.alive.len() as u64 + lost;
            let as_counted = if self.tainted.has_queue(id) { row.ready >= found_so } else { row.ready == found_so };
            assert!(as_counted, "queue {id} has {} messages, and {found_so} are there", row.ready);
            let lost = row.ready - queue.alive.len() as u64;
            lost_in_all += lost;
            if lost == 0 && !queue.alive.is_empty() {
                let first = queue.alive.first_key_value().map(|(position, _)| *position);
                assert_eq!(Some(row.first), first, "the first message of queue {id}");
            }
            assert!(found.queues.insert(id, queue).is_none(), "two rows of queue {id}");
        }
        // Each is told, to whom it was read for or by the keeper.
        assert!(lane.keeper.state().lost >= lost_in_all, "{lost_in_all} are not there, and it says nothing");
        (found, lost_in_all)
    }

    fn fetch_now(&mut self, lane: &mut Lane, fetch: Fetch) -> Fetched {
        let what = format!("{fetch:?}");
        lane.fetch(fetch);
        for _ in 0..1000 {
            if !lane.step(&mut self.rng, self.now_ms) {
                // What cannot be read is asked for again after a while.
                self.now_ms = lane.again_at().unwrap_or(self.now_ms).max(self.now_ms);
            }
            if let Some((_, told)) = lane.told.pop_front() {
                match told {
                    Completion::Fetched(fetched) => return fetched,
                    other => panic!("{other:?} instead of an answer"),
                }
            }
        }
        panic!("never answered at {} ms: {what}; {lane:?}", self.now_ms)
    }
}

/// How what was found differs from what should be, but for what may be damaged.
fn differs(should: &State, found: &State, tainted: &Touched) -> Option<String> {
    let ids = should.definitions.keys().chain(found.definitions.keys());
    for id in ids.filter(|id| !tainted.has_id(**id)) {
        let (a, b) = (should.definitions.get(id), found.definitions.get(id));
        if a != b {
            return Some(format!("definition of {id}: {b:?}, not {a:?}"));
        }
    }
    let known = |id: &u64| *id < PREDEFINED || !tainted.has_id(*id);
    let mut bindings = should.bindings.symmetric_difference(&found.bindings);
    if let Some(binding) = bindings.find(|(from, to, _)| known(from) && known(to)) {
        return Some(format!("binding {binding:?}, found: {}", found.bindings.contains(binding)));
    }
    let ids = should.notes.keys().chain(found.notes.keys());
    for id in ids.filter(|id| !tainted.has_id(**id) && !tainted.noted.contains(id)) {
        let (a, b) = (should.notes.get(id), found.notes.get(id));
        if a != b {
            return Some(format!("notes of {id}: {b:?}, not {a:?}"));
        }
    }
    let nothing = Queue::default();
    let ids = should.queues.keys().chain(found.queues.keys());
    for id in ids.filter(|id| !tainted.has_id(**id)) {
        let (a, b) = (should.queues.get(id).unwrap_or(&nothing), found.queues.get(id).unwrap_or(&nothing));
        if b.end < a.end && !tainted.has_queue(*id) {
            return Some(format!("queue {id} ends at {}, not {}", b.end, a.end));
        }
        for position in a.alive.keys().chain(b.alive.keys()) {
            let (a, b) = (a.alive.get(position), b.alive.get(position));
            if a != b && !tainted.has(*id, *position) {
                return Some(format!("queue {id} position {position}: {b:?}, not {a:?}"));
            }
        }
    }
    None
}
