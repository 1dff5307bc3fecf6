//! Publisher confirms of one channel: which are outstanding, and since when.

use std::collections::VecDeque;

use super::marks::Marks;

/// Publishes that wait for their confirms.
#[derive(Debug)]
pub struct Confirms {
    settled: Marks,
    /// The next publish's tag.
    next: u64,
    /// First tag and time of each batch, in order; a batch ends where the next one starts.
    batches: VecDeque<(u64, u64)>,
}

impl Confirms {
    /// Nothing was published: the first tag is 1.
    pub fn new() -> Confirms {
        Confirms { settled: Marks::from(1), next: 1, batches: VecDeque::new() }
    }

    /// `count` messages were published at `time`.
    #[inline]
    pub fn publish(&mut self, count: u64, time: u64) {
        self.batches.push_back((self.next, time));
        self.next += count;
    }

    /// How many wait.
    #[inline]
    pub fn outstanding(&self) -> u64 {
        self.next - self.settled.next() - self.settled.ahead()
    }

    /// When the oldest batch that waits was published.
    pub fn oldest(&self) -> Option<u64> {
        self.batches.front().map(|(_, time)| *time)
    }

    /// The broker has settled `tag`, or all up to it. Gives the time of publishing and the number of messages of each
    /// batch concerned to `record`; returns how many were settled. What was settled before, or never published, counts
    /// for nothing.
    #[inline]
    pub fn settle(&mut self, tag: u64, multiple: bool, mut record: impl FnMut(u64, u64)) -> u64 {
        let mut count = 0;
        if multiple {
            // Tag 0 is "all so far".
            let last = if tag == 0 { self.next - 1 } else { tag.min(self.next - 1) };
            while let Some((first, time)) = self.batches.front().copied().filter(|(first, _)| *first <= last) {
                let end = self.batches.get(1).map_or(self.next, |(first, _)| *first);
                let settled = self.settled.mark_through(last.min(end - 1));
                if settled > 0 {
                    record(time, settled);
                    count += settled;
                }
                if self.settled.next() < end {
                    break;
                }
                debug_assert!(first < end);
                self.batches.pop_front();
            }
        } else if tag < self.next && self.settled.mark(tag) {
            let after = self.batches.partition_point(|(first, _)| *first <= tag);
            if let Some((_, time)) = after.checked_sub(1).and_then(|at| self.batches.get(at)) {
                record(*time, 1);
            }
            count = 1;
            self.forget();
        }
        count
    }

    /// Drops the batches that are settled in full.
    fn forget(&mut self) {
        while let Some((next, _)) = self.batches.get(1)
            && self.settled.next() >= *next
        {
            self.batches.pop_front();
        }
        if self.settled.next() == self.next {
            self.batches.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(confirms: &mut Confirms, tag: u64, multiple: bool) -> Vec<(u64, u64)> {
        let mut found = vec![];
        let count = confirms.settle(tag, multiple, |time, count| found.push((time, count)));
        assert_eq!(count, found.iter().map(|(_, count)| count).sum::<u64>());
        found
    }

    #[test]
    fn confirms_in_order_and_out_of_order_are_counted_once() {
        let mut confirms = Confirms::new();
        confirms.publish(3, 10); // 1 2 3
        confirms.publish(4, 20); // 4 5 6 7
        confirms.publish(1, 30); // 8
        assert_eq!((confirms.outstanding(), confirms.oldest()), (8, Some(10)));
        assert_eq!(settle(&mut confirms, 5, false), [(20, 1)]);
        assert_eq!(settle(&mut confirms, 5, false), []);
        assert_eq!(settle(&mut confirms, 6, true), [(10, 3), (20, 2)]);
        assert_eq!((confirms.outstanding(), confirms.oldest()), (2, Some(20)));
        assert_eq!(settle(&mut confirms, 4, true), []);
        assert_eq!(settle(&mut confirms, 99, false), []);
        assert_eq!(settle(&mut confirms, 8, false), [(30, 1)]);
        assert_eq!(settle(&mut confirms, 7, false), [(20, 1)]);
        assert_eq!((confirms.outstanding(), confirms.oldest()), (0, None));
        confirms.publish(5, 40);
        assert_eq!(settle(&mut confirms, 0, true), [(40, 5)]);
        assert_eq!((confirms.outstanding(), confirms.oldest()), (0, None));
    }
}
