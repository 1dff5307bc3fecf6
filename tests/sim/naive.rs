//! A store as simple as can be, on the same disk: one file with all submissions, everything in memory.

use crate::disk::{SimDisk, SimFile};
use crate::lane_temper::LaneTemper;
use crate::rng::Rng;
use leveret::limits::Limits;
use leveret::store::disk::{Disk, DiskFile, Open};
use leveret::store::record::{Record, Records, TRANSIENT, records};
use leveret::store::{Completion, Contents, Fetch, Fetched, FetchedMessage, QueueId, QueueRow, Submission};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Clone)]
struct Message {
    bytes: Vec<u8>,
    transient: bool,
    redelivered: bool,
}

#[derive(Debug, Default)]
struct State {
    definitions: BTreeMap<u64, Vec<u8>>,
    bindings: BTreeSet<(u64, u64, Vec<u8>)>,
    queues: BTreeMap<u64, (u64, BTreeMap<u64, Message>)>,
    clean: bool,
}

impl State {
    fn apply(&mut self, bytes: &[u8]) {
        for (_, record) in records(bytes) {
            self.clean = false;
            match record.expect("a record") {
                Record::Messages(messages) => {
                    for (queue, first) in messages.places() {
                        let (end, alive) = self.queues.entry(queue.0).or_default();
                        assert!(first >= *end, "positions of {queue:?} go back from {end} to {first}");
                        for message in messages.iter() {
                            let transient = messages.flags & TRANSIENT != 0;
                            let bytes = message.bytes.to_vec();
                            let at = first + u64::from(message.number);
                            alive.insert(at, Message { bytes, transient, redelivered: false });
                            *end = at + 1;
                        }
                    }
                }
                Record::Settled(ranges) => {
                    for range in ranges.iter() {
                        let Some((_, alive)) = self.queues.get_mut(&range.queue.0) else { continue };
                        for at in range.first..=range.last {
                            assert!(alive.remove(&at).is_some(), "settled and not there: {range:?} {at}");
                        }
                    }
                }
                Record::Returned(ranges) => {
                    for range in ranges.iter() {
                        let Some((_, alive)) = self.queues.get_mut(&range.queue.0) else { continue };
                        alive.range_mut(range.first..=range.last).for_each(|(_, m)| m.redelivered = true);
                    }
                }
                Record::Purged { queue, end, kept } => {
                    let Some((_, alive)) = self.queues.get_mut(&queue.0) else { continue };
                    let kept: Vec<_> = kept.iter().collect();
                    alive.retain(|at, _| *at >= end || kept.iter().any(|(a, b)| (a..=b).contains(&at)));
                }
                Record::Defined { id, bytes } => {
                    self.definitions.insert(id.0, bytes.to_vec());
                }
                Record::Undefined { id } => {
                    self.definitions.remove(&id.0);
                    self.queues.remove(&id.0);
                    self.bindings.retain(|(a, b, _)| *a != id.0 && *b != id.0);
                }
                Record::Bound(b) => {
                    self.bindings.insert((b.source.0, b.destination.0, b.bytes.to_vec()));
                }
                Record::Unbound(b) => {
                    self.bindings.remove(&(b.source.0, b.destination.0, b.bytes.to_vec()));
                }
                Record::Clean => self.clean = true,
                #[allow(unreachable_patterns)]
                _ => {}
            }
        }
    }
}

#[derive(Debug)]
pub struct Lane {
    pub disk: SimDisk,
    file: SimFile,
    end: u64,
    state: State,
    waiting: VecDeque<Submission>,
    written: VecDeque<Submission>,
    fetches: VecDeque<Fetch>,
    applied: VecDeque<Submission>,
    pub told: VecDeque<(u8, Completion)>,
    pub facts: Vec<u8>,
    pub spare: Vec<Vec<u8>>,
    temper: LaneTemper,
    stalled: usize,
    trace: bool,
}

#[derive(Debug)]
pub struct OpenedLane {
    pub lane: Lane,
    pub contents: Contents,
}

impl Lane {
    pub fn open(disk: &SimDisk, _: &Limits, temper: LaneTemper, _: u64, trace: bool) -> std::io::Result<OpenedLane> {
        let file = disk.open("log", Open::Create)?;
        disk.sync_directory()?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_at(0, &mut bytes)?;
        let mut state = State::default();
        let (mut at, mut term) = (0, 1);
        while let Some(head) = bytes.get(at..at + 8) {
            let len = u32::from_le_bytes(head[..4].try_into().expect("4")) as usize;
            let crc = u32::from_le_bytes(head[4..].try_into().expect("4"));
            let Some(payload) = bytes.get(at + 8..at + 8 + len) else { break };
            if hash(payload) != crc {
                break;
            }
            if payload == b"start!" {
                term += 1;
                let clean = state.clean;
                start(&mut state, clean);
            } else {
                state.apply(payload);
            }
            at += 8 + len;
        }
        file.truncate(at as u64)?;
        let clean = state.clean;
        let mut opened = vec![];
        frame(&mut opened, b"start!");
        file.write_at(at as u64, &[&opened])?;
        file.sync()?;
        start(&mut state, clean);
        let id = |id: &u64| QueueId(*id);
        let contents = Contents {
            term,
            clean,
            definitions: state.definitions.iter().map(|(i, b)| (id(i), b.clone())).collect(),
            bindings: state.bindings.iter().map(|(a, b, c)| (id(a), id(b), c.clone())).collect(),
            queues: state
                .queues
                .iter()
                .map(|(i, (end, alive))| QueueRow {
                    id: id(i),
                    first: alive.keys().next().copied().unwrap_or(*end),
                    end: *end,
                    ready: alive.len() as u64,
                })
                .collect(),
        };
        let end = (at + opened.len()) as u64;
        let lane = Lane {
            disk: disk.clone(),
            file,
            end,
            state,
            waiting: VecDeque::new(),
            written: VecDeque::new(),
            applied: VecDeque::new(),
            fetches: VecDeque::new(),
            told: VecDeque::new(),
            facts: vec![],
            spare: vec![],
            temper,
            stalled: 0,
            trace,
        };
        Ok(OpenedLane { lane, contents })
    }

    pub fn submit(&mut self, submission: Submission) {
        if self.trace {
            eprintln!("  submit {} {}: {:?}", submission.from, submission.seq, records(&submission.bytes).map(|r| match r.1 {
                Ok(Record::Messages(m)) => format!("M{}x{} {:?}", m.flags, m.count, m.places().map(|(q, p)| (q.0 & 0xffff, p)).collect::<Vec<_>>()),
                Ok(Record::Settled(r)) => format!("S{:?}", r.iter().map(|r| (r.queue.0 & 0xffff, r.first, r.last)).collect::<Vec<_>>()),
                Ok(Record::Returned(r)) => format!("R{:?}", r.iter().map(|r| (r.queue.0 & 0xffff, r.first, r.last)).collect::<Vec<_>>()),
                Ok(r) => format!("{r:?}"),
                Err(e) => format!("{e:?}"),
            }).collect::<Vec<_>>());
        }
        self.waiting.push_back(submission);
    }

    pub fn fetch(&mut self, fetch: Fetch) {
        if self.trace {
            eprintln!("  fetch {fetch:?}");
        }
        self.fetches.push_back(fetch);
    }

    pub fn has_work(&self, _: u64) -> bool {
        !self.disk.is_down()
            && !(self.waiting.is_empty() && self.written.is_empty() && self.fetches.is_empty() && self.applied.is_empty())
    }

    pub fn next_told(&mut self, shard: u8) -> Option<Completion> {
        let at = self.told.iter().position(|(to, _)| *to == shard)?;
        self.told.remove(at).map(|(_, told)| told)
    }

    pub fn tells(&self, shard: u8) -> bool {
        self.told.iter().any(|(to, _)| *to == shard)
    }

    pub fn step(&mut self, rng: &mut Rng, _: u64) -> bool {
        let mut weights = self.temper.weights;
        weights[0] *= u32::from(!self.waiting.is_empty());
        weights[1] *= u32::from(!self.written.is_empty());
        weights[2] *= u32::from(!self.applied.is_empty());
        weights[3] *= u32::from(!self.fetches.is_empty() && self.applied.is_empty() && self.waiting.is_empty());
        if weights.iter().sum::<u32>() == 0 {
            return false;
        }
        match rng.weighted(&weights) {
            0 => self.write(rng.range(1, self.waiting.len())),
            1 if self.stalled > 0 => self.stalled -= 1,
            1 if rng.chance(self.temper.stall) => self.stalled = rng.below(self.temper.stall_steps),
            1 => self.sync(),
            2 => {
                let s = self.applied.pop_front().expect("one");
                self.state.apply(&s.bytes);
                self.spare.push(s.bytes);
            }
            _ => self.answer(),
        }
        true
    }

    fn write(&mut self, count: usize) {
        let mut bytes = vec![];
        for s in self.waiting.iter().take(count) {
            frame(&mut bytes, &s.bytes);
        }
        if self.file.write_at(self.end, &[&bytes]).is_err() {
            return;
        }
        self.end += bytes.len() as u64;
        for s in self.waiting.drain(..count).collect::<Vec<_>>() {
            self.written.push_back(Submission { from: s.from, seq: s.seq, bytes: vec![], sync: s.sync });
            self.applied.push_back(s);
        }
    }

    fn sync(&mut self) {
        if self.file.sync().is_ok() {
            for s in self.written.drain(..) {
                self.told.push_back((s.from, Completion::Durable { seq: s.seq }));
            }
        }
    }

    fn answer(&mut self) {
        let f = self.fetches.pop_front().expect("one");
        let mut answer = Fetched { shard: f.shard, tag: f.tag, queue: f.queue, next: f.to, ..Fetched::default() };
        let nothing = BTreeMap::new();
        let alive = self.state.queues.get(&f.queue.0).map_or(&nothing, |(_, alive)| alive);
        for (at, m) in alive.range(f.from..f.to) {
            let full = answer.messages.len() == f.count_max || answer.bytes.len() + m.bytes.len() > f.bytes_max;
            if full && !answer.messages.is_empty() {
                answer.next = *at;
                break;
            }
            let (begin, len) = (answer.bytes.len() as u32, m.bytes.len() as u32);
            answer.bytes.extend_from_slice(&m.bytes);
            answer.messages.push(FetchedMessage { position: *at, at: begin, len, redelivered: m.redelivered });
        }
        if self.trace {
            eprintln!("  fetched {} {:?} next {}", answer.queue.0, answer.messages, answer.next);
        }
        self.told.push_back((f.shard, Completion::Fetched(answer)));
    }

    pub fn stop(&mut self, _: &mut Rng, _: u64) -> bool {
        let mut records = Records::default();
        records.clean();
        self.waiting.push_back(Submission { from: 255, seq: 0, bytes: records.take(vec![]), sync: true });
        self.write(self.waiting.len());
        self.sync();
        true
    }
}

fn start(state: &mut State, clean: bool) {
    let State { definitions, queues, .. } = state;
    queues.retain(|id, _| definitions.contains_key(id));
    for (_, alive) in queues.values_mut() {
        alive.retain(|_, m| !m.transient);
        alive.values_mut().for_each(|m| m.redelivered |= !clean);
    }
}

fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn frame(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(&hash(bytes).to_le_bytes());
    to.extend_from_slice(bytes);
}
