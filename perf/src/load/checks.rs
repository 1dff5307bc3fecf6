//! Sequence numbers: nothing lost, doubled or reordered.

use std::collections::BTreeMap;

use super::marks::Marks;
use super::plan::Plan;
use super::stamp::{Head, producer};

/// What the checks have found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages that were published, not refused or returned, and never delivered.
    pub lost: u64,
    /// Messages delivered once more without being marked as redelivered.
    pub doubled: u64,
    /// Messages delivered to a consumer after a later one of the same producer, without being marked as redelivered.
    pub reordered: u64,
}

impl Findings {
    /// Nothing was found.
    pub fn clean(&self) -> bool {
        *self == Findings::default()
    }
}

/// Messages of one producer in one queue.
type Pair = (usize, u16);

/// What has arrived so far.
#[derive(Debug)]
pub struct Checks {
    /// The run's mark: other messages are not looked at. `None`: nothing is published, whatever comes is looked at.
    mark: Option<u32>,
    seen: BTreeMap<Pair, Marks>,
    /// The highest sequence that each consumer has had from each producer.
    last: BTreeMap<Pair, u64>,
    /// The pairs of the last message: mostly the next one's too.
    near: Option<Near>,
    found: Findings,
}

#[derive(Debug)]
struct Near {
    consumer: usize,
    queue: usize,
    producer: u16,
    seen: Marks,
    last: Option<u64>,
}

impl Checks {
    /// Nothing has arrived.
    pub fn new(mark: Option<u32>) -> Checks {
        Checks { mark, seen: BTreeMap::new(), last: BTreeMap::new(), near: None, found: Findings::default() }
    }

    /// A message has arrived at a consumer of a queue.
    #[inline]
    pub fn see(&mut self, queue: usize, consumer: usize, head: Head, redelivered: bool) {
        let (Some(word), Some(sequence)) = (head.word, head.sequence) else { return };
        if self.mark.is_some() && head.mark.is_some() && self.mark != head.mark {
            return;
        }
        let producer = producer(word);
        if self.near.as_ref().is_none_or(|n| (n.consumer, n.queue, n.producer) != (consumer, queue, producer)) {
            self.turn_to(queue, consumer, producer);
        }
        let Some(near) = &mut self.near else { return };
        // The message has the lower half of the sequence: the whole one is the nearest to what is expected.
        let expected = near.last.map_or(near.seen.next(), |last| last + 1);
        let ahead = sequence.wrapping_sub(expected as u32) as i32;
        let sequence = expected.saturating_add_signed(ahead.into());
        if !near.seen.mark(sequence) && !redelivered {
            self.found.doubled += 1;
        } else if near.last.is_some_and(|last| sequence < last) && !redelivered {
            self.found.reordered += 1;
        }
        near.last = Some(near.last.map_or(sequence, |last| last.max(sequence)));
    }

    #[cold]
    fn turn_to(&mut self, queue: usize, consumer: usize, producer: u16) {
        self.put_back();
        let seen = self.seen.remove(&(queue, producer)).unwrap_or_default();
        let last = self.last.get(&(consumer, producer)).copied();
        self.near = Some(Near { consumer, queue, producer, seen, last });
    }

    fn put_back(&mut self) {
        if let Some(near) = self.near.take() {
            self.seen.insert((near.queue, near.producer), near.seen);
            if let Some(last) = near.last {
                self.last.insert((near.consumer, near.producer), last);
            }
        }
    }

    /// The result, after all has arrived that will arrive. `published`: messages of each producer and how many of them
    /// the broker has refused or returned; empty when nothing was published.
    pub fn finish(mut self, plan: &Plan, published: &[(u64, u64)]) -> Findings {
        self.put_back();
        let mut found = self.found;
        for (number, (count, refused)) in published.iter().enumerate() {
            let producer = number as u16;
            let told = plan.producers.get(number).map_or(&[][..], |producer| &producer.targets);
            let reached = self.seen.keys().filter(|(_, of)| *of == producer).map(|(queue, _)| *queue);
            let mut queues: Vec<usize> = reached.chain(told.iter().copied()).collect();
            queues.sort_unstable();
            queues.dedup();
            queues.retain(|queue| plan.consumers.iter().any(|consumer| consumer.queue == *queue));
            for queue in queues {
                let arrived = self.seen.get(&(queue, producer)).map_or(0, |seen| seen.next() + seen.ahead());
                found.lost += count.saturating_sub(arrived).saturating_sub(*refused);
            }
        }
        if published.is_empty() {
            // Another run has published: what is missing between messages that came.
            for seen in self.seen.values().filter(|seen| seen.ahead() > 0) {
                found.lost += seen.missing();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::super::stamp::word;
    use super::*;

    fn head(producer: u16, sequence: u64) -> Head {
        Head { word: Some(word(0, producer)), sequence: Some(sequence as u32), mark: None }
    }

    /// Lost, doubled, reordered after these (queue, consumer, producer, sequence, redelivered).
    fn found(line: &str, messages: &[(usize, usize, u16, u64, bool)], published: &[(u64, u64)]) -> [u64; 3] {
        let mut checks = Checks::new(None);
        for (queue, consumer, producer, sequence, redelivered) in messages {
            checks.see(*queue, *consumer, head(*producer, *sequence), *redelivered);
        }
        let found = checks.finish(&plan(line), published);
        assert_eq!(found.clean(), found == Findings::default());
        [found.lost, found.doubled, found.reordered]
    }

    #[test]
    fn what_is_wrong_is_found() {
        let (one, two) = ("-u q -y 2", "-t fanout -y 2 -x 2");
        let all = |count: u64| (0..count).map(|n| (0, 0, 0, n, false)).collect::<Vec<_>>();
        assert_eq!(found(one, &all(5), &[(5, 0)]), [0, 0, 0]);
        assert_eq!(found(one, &all(5), &[(7, 0)]), [2, 0, 0]);
        assert_eq!(found(one, &all(5), &[(7, 2)]), [0, 0, 0]);
        assert_eq!(found(one, &[], &[(7, 0)]), [7, 0, 0]);
        // Two consumers of a queue share its messages, in whatever order they read.
        let shared = [(0, 1, 0, 1, false), (0, 0, 0, 0, false), (0, 1, 0, 3, false), (0, 0, 0, 2, false)];
        assert_eq!(found(one, &shared, &[(4, 0)]), [0, 0, 0]);
        let doubled = [(0, 0, 0, 0, false), (0, 1, 0, 0, false)];
        assert_eq!(found(one, &doubled, &[(1, 0)]), [0, 1, 0]);
        let redelivered = [(0, 0, 0, 0, false), (0, 0, 0, 1, false), (0, 1, 0, 0, true)];
        assert_eq!(found(one, &redelivered, &[(2, 0)]), [0, 0, 0]);
        let reordered = [(0, 0, 0, 1, false), (0, 0, 0, 0, false)];
        assert_eq!(found(one, &reordered, &[(2, 0)]), [0, 0, 1]);
        let gap = [(0, 0, 0, 0, false), (0, 0, 0, 2, false), (0, 0, 0, 5, false)];
        assert_eq!(found(one, &gap, &[(6, 0)]), [3, 0, 0]);
        assert_eq!(found(one, &gap, &[]), [3, 0, 0]);
        // Each queue of a fan-out gets everything of each producer.
        let fanout = [(0, 0, 0, 0, false), (1, 1, 0, 0, false), (0, 0, 1, 0, false)];
        assert_eq!(found(two, &fanout, &[(1, 0), (1, 0)]), [1, 0, 0]);
    }

    #[test]
    fn sequences_wrap_at_their_32_bits() {
        let mut checks = Checks::new(None);
        let start = u64::from(u32::MAX) - 2;
        checks.seen.insert((0, 0), Marks::from(start));
        for sequence in start..start + 6 {
            checks.see(0, 0, head(0, sequence), false);
        }
        assert_eq!(checks.finish(&plan("-u q"), &[(start + 6, 0)]), Findings::default());
    }

    #[test]
    fn messages_of_other_runs_are_not_looked_at() {
        let mut checks = Checks::new(Some(5));
        checks.see(0, 0, Head { mark: Some(6), ..head(0, 77) }, false);
        checks.see(0, 0, Head::default(), false);
        assert_eq!(checks.finish(&plan("-u q"), &[(0, 0)]), Findings::default());
    }
}
