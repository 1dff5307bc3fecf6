//! A store that cannot fail, for scripts: what shards write is durable some time later, and can be had back.

use std::collections::{BTreeMap, VecDeque};

use leveret::store::record::{Record, records};
use leveret::store::{Completion, Contents, Fetch, Fetched, FetchedMessage, Position, QueueId, Submission};

/// A message on the disk, and whether it was delivered before.
type Kept = (Vec<u8>, bool);

/// The journal of all shards, and what lives in it.
#[derive(Debug, Default)]
pub struct Disk {
    waiting: VecDeque<Submission>,
    /// The last submission of each shard that is not durable.
    written: BTreeMap<u8, u64>,
    queues: BTreeMap<QueueId, BTreeMap<Position, Kept>>,
    fetches: Vec<Fetch>,
    told: Vec<VecDeque<Completion>>,
}

impl Disk {
    pub fn new(shards: usize) -> Disk {
        Disk { told: (0..shards).map(|_| VecDeque::new()).collect(), ..Disk::default() }
    }

    /// What a new store has.
    pub fn contents() -> Contents {
        Contents { term: 1, clean: true, time_ms: 0, definitions: vec![], bindings: vec![], queues: vec![] }
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

    /// Does the next piece of work. False: there is none.
    pub fn step(&mut self) -> bool {
        if let Some(submission) = self.waiting.pop_front() {
            self.apply(&submission.bytes);
            self.written.insert(submission.from, submission.seq);
            // What nobody wants synced is not, as long as the script takes no time.
            if submission.sync {
                for (shard, seq) in std::mem::take(&mut self.written) {
                    self.told[usize::from(shard)].push_back(Completion::Durable { seq });
                }
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
                            kept.insert(position, (message.bytes.to_vec(), false));
                        }
                    }
                }
                Record::Settled(ranges) => {
                    for range in ranges.iter() {
                        let mut kept = self.queues.get_mut(&range.queue);
                        for position in range.first..=range.last {
                            let found = kept.as_mut().and_then(|kept| kept.remove(&position));
                            assert!(is_lax || found.is_some(), "{position} of {:?} is settled", range.queue);
                        }
                    }
                }
                Record::Returned(ranges) => {
                    for range in ranges.iter() {
                        for position in range.first..=range.last {
                            let message = self.queues.get_mut(&range.queue).and_then(|kept| kept.get_mut(&position));
                            message.expect("a message that was there").1 = true;
                        }
                    }
                }
                Record::Purged { queue, end, kept: left } => {
                    let left: Vec<_> = left.iter().collect();
                    let stays =
                        |at: &Position| *at >= end || left.iter().any(|(first, last)| (first..=last).contains(&at));
                    self.queues.entry(queue).or_default().retain(|position, _| stays(position));
                }
                Record::Undefined { id } => {
                    self.queues.remove(&id);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, fetch: Fetch) -> Fetched {
        let Fetch { shard, tag, queue, from, to, bytes_max, count_max, buffer } = fetch;
        let mut fetched = Fetched { shard, tag, queue, bytes: buffer, next: to, ..Fetched::default() };
        fetched.bytes.clear();
        let kept = self.queues.entry(queue).or_default();
        for (position, (bytes, redelivered)) in kept.range(from..to) {
            let count = fetched.messages.len();
            if count > 0 && (count == count_max || fetched.bytes.len() + bytes.len() > bytes_max) {
                fetched.next = *position;
                break;
            }
            let (at, len) = (fetched.bytes.len() as u32, bytes.len() as u32);
            fetched.messages.push(FetchedMessage { position: *position, at, len, redelivered: *redelivered });
            fetched.bytes.extend_from_slice(bytes);
        }
        fetched
    }
}
