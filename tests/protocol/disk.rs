//! A store that cannot fail, for scripts: what shards write is durable some time later, and can be had back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leveret::store::record::{Count, Record, records};
use leveret::store::{Completion, Contents, Fetch, Fetched, FetchedMessage, Position, QueueId, Submission};

/// A message on the disk, and how often it was delivered before, if it was.
type Kept = (Vec<u8>, Option<Count>);

/// The journal of all shards, and what lives in it.
#[derive(Debug, Default)]
pub struct Disk {
    waiting: VecDeque<Submission>,
    /// The last submission of each shard that is not durable.
    written: BTreeMap<u8, u64>,
    queues: BTreeMap<QueueId, BTreeMap<Position, Kept>>,
    fetches: Vec<Fetch>,
    told: Vec<VecDeque<Completion>>,
    term: u64,
    definitions: BTreeMap<QueueId, Vec<u8>>,
    bindings: BTreeSet<(QueueId, QueueId, Vec<u8>)>,
    /// Queues that are no more: what another shard still says of their messages comes too late.
    gone: BTreeSet<QueueId>,
}

impl Disk {
    /// A disk on which there is this.
    pub fn new(shards: usize, contents: &Contents) -> Disk {
        Disk {
            term: contents.term,
            told: (0..shards).map(|_| VecDeque::new()).collect(),
            definitions: contents.definitions.iter().cloned().collect(),
            bindings: contents.bindings.iter().cloned().collect(),
            ..Disk::default()
        }
    }

    /// What a new store has.
    pub fn contents() -> Contents {
        Contents { term: 1, clean: true, ..Contents::default() }
    }

    /// What this store has of names, for a start after this one. Messages are left out: what they are at a start is the
    /// store's to say, and tested there.
    pub fn names(&self) -> Contents {
        let definitions = self.definitions.iter().map(|(id, bytes)| (*id, bytes.clone())).collect();
        Contents {
            term: self.term + 1,
            clean: true,
            definitions,
            bindings: self.bindings.iter().cloned().collect(),
            ..Contents::default()
        }
    }

    pub fn submit(&mut self, submission: Submission) {
        self.waiting.push_back(submission);
    }

    pub fn has_taken(&self, shard: usize) -> bool {
        !self.waiting.iter().any(|waiting| usize::from(waiting.from) == shard)
    }

    pub fn fetch(&mut self, fetch: Fetch) {
        self.fetches.push(fetch);
    }

    pub fn completion(&mut self, shard: usize) -> Option<Completion> {
        self.told[shard].pop_front()
    }

    pub fn has_news(&self, shard: usize) -> bool {
        !self.told[shard].is_empty()
    }

    /// Time passes: everything written is synced. Returns whether there was anything.
    pub fn rest(&mut self) -> bool {
        let wrote = !self.written.is_empty();
        for (shard, seq) in std::mem::take(&mut self.written) {
            self.told[usize::from(shard)].push_back(Completion::Durable { seq });
        }
        wrote
    }

    /// Does the next piece of work. False: there is none.
    pub fn step(&mut self) -> bool {
        if let Some(submission) = self.waiting.pop_front() {
            self.apply(&submission.bytes);
            self.written.insert(submission.from, submission.seq);
            // What nobody wants synced is not, as long as the script takes no time.
            if submission.sync {
                self.rest();
            }
            return true;
        }
        let Some(fetch) = self.fetches.pop() else { return false };
        let shard = usize::from(fetch.shard);
        let fetched = self.answer(fetch);
        self.told[shard].push_back(Completion::Fetched(fetched));
        true
    }

    fn apply(&mut self, bytes: &[u8]) {
        // Who commits for several shards names all that was acknowledged, also what was never in the journal.
        let is_lax = records(bytes).any(|(_, record)| matches!(record, Ok(Record::Committed { .. })));
        for (_, record) in records(bytes) {
            match record.expect("sound records") {
                Record::Messages(messages) => {
                    assert_eq!(messages.iter().count(), messages.count as usize);
                    for (queue, first) in messages.places() {
                        let kept = self.queues.entry(queue).or_default();
                        for message in messages.iter() {
                            assert!(message.is_sound());
                            let position = first + u64::from(message.number);
                            let last = kept.last_key_value().map(|(last, _)| *last);
                            assert!(last < Some(position), "{position} of {queue:?} comes after {last:?}");
                            kept.insert(position, (message.bytes.to_vec(), None));
                        }
                    }
                }
                Record::Settled(ranges) => {
                    for range in ranges.iter() {
                        let mut kept = self.queues.get_mut(&range.queue);
                        for position in range.first..=range.last {
                            let found = kept.as_mut().and_then(|kept| kept.remove(&position));
                            let is_known = found.is_some() || self.gone.contains(&range.queue.base());
                            assert!(is_lax || is_known, "{position} of {:?} is settled", range.queue);
                        }
                    }
                }
                Record::Returned(ranges) => {
                    for range in ranges.iter().filter(|range| !self.gone.contains(&range.queue.base())) {
                        for position in range.first..=range.last {
                            let message = self.queues.get_mut(&range.queue).and_then(|kept| kept.get_mut(&position));
                            message.expect("a message that was there").1.get_or_insert_default();
                        }
                    }
                }
                Record::Counted(counts) => {
                    for (queue, position, count) in counts.iter().filter(|of| !self.gone.contains(&of.0.base())) {
                        let message = self.queues.get_mut(&queue).and_then(|kept| kept.get_mut(&position));
                        message.expect("a message that was there").1 = Some(count);
                    }
                }
                Record::Purged { queue, end, kept: left } => {
                    let left: Vec<_> = left.iter().collect();
                    let stays =
                        |at: &Position| *at >= end || left.iter().any(|(first, last)| (first..=last).contains(&at));
                    self.queues.entry(queue).or_default().retain(|position, _| stays(position));
                }
                Record::Defined { id, bytes } => {
                    self.definitions.insert(id, bytes.to_vec());
                }
                Record::Bound(binding) => {
                    self.bindings.insert((binding.source, binding.destination, binding.bytes.to_vec()));
                }
                Record::Unbound(binding) => {
                    self.bindings.remove(&(binding.source, binding.destination, binding.bytes.to_vec()));
                }
                Record::Undefined { id } => {
                    self.gone.insert(id);
                    self.definitions.remove(&id);
                    self.bindings.retain(|(source, destination, _)| *source != id && *destination != id);
                    self.queues.retain(|queue, _| queue.base() != id);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, fetch: Fetch) -> Fetched {
        let Fetch { shard, tag, queue, from, to, bytes_max, count_max, only, buffer } = fetch;
        let mut fetched = Fetched { shard, tag, queue, bytes: buffer, next: to, ..Fetched::default() };
        fetched.bytes.clear();
        let kept = self.queues.entry(queue).or_default();
        for (position, (bytes, returned)) in kept.range(from..to) {
            if !only.is_empty() && only.binary_search(position).is_err() {
                continue;
            }
            let count = fetched.messages.len();
            if count > 0 && (count == count_max || fetched.bytes.len() + bytes.len() > bytes_max) {
                fetched.next = *position;
                break;
            }
            let (at, len) = (fetched.bytes.len() as u32, bytes.len() as u32);
            let Count { acquired, failed } = returned.unwrap_or_default();
            let redelivered = returned.is_some();
            fetched.messages.push(FetchedMessage { position: *position, at, len, redelivered, acquired, failed });
            fetched.bytes.extend_from_slice(bytes);
        }
        fetched
    }
}
