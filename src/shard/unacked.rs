//! A channel's unacknowledged deliveries by delivery tag, at the connection's shard.

use std::collections::VecDeque;

use crate::broker::entries::Position;
use crate::broker::topology::QueueKey;

/// A delivery that waits for its acknowledgement (32 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacked {
    /// The delivery tag.
    pub tag: u64,
    /// The entry's place.
    pub position: Position,
    /// The queue.
    pub key: QueueKey,
    /// Who holds the entry.
    pub taker: u32,
    /// The shard of the queue.
    pub owner: u8,
    /// To a consumer, not by basic.get: counts against prefetch limits.
    pub consumer: bool,
    settled: bool,
}

impl Unacked {
    /// A delivery just made.
    pub fn new(tag: u64, position: Position, key: QueueKey, taker: u32, owner: u8, consumer: bool) -> Unacked {
        Unacked { tag, position, key, taker, owner, consumer, settled: false }
    }
}

impl Unacked {
    /// Whether it is of the same taker of the same queue as `before`, and at `position`.
    #[inline]
    pub fn continues(&self, before: &Unacked, position: Position) -> bool {
        self.position == position && (self.key, self.taker, self.owner) == (before.key, before.taker, before.owner)
    }
}

/// The unacknowledged deliveries of a channel, in order of their tags.
#[derive(Debug, Default)]
pub struct UnackedList {
    list: VecDeque<Unacked>,
    /// Settled ones that are still in the list, behind one that is not.
    holes: usize,
    consumer: u32,
}

/// So many holes are left where they are.
const HOLES_FREE: usize = 1024;
/// An empty list keeps memory for so many.
const SPARE_MAX: usize = 16 << 10;

impl UnackedList {
    /// Notes a delivery; tags come in ascending order.
    #[inline]
    pub fn push(&mut self, unacked: Unacked) {
        self.consumer += u32::from(unacked.consumer);
        self.list.push_back(unacked);
    }

    /// How many are outstanding.
    pub fn count(&self) -> usize {
        self.list.len() - self.holes
    }

    /// How many of the outstanding ones went to consumers.
    #[inline]
    pub fn consumer_count(&self) -> u32 {
        self.consumer
    }

    #[inline]
    fn find(&self, tag: u64) -> Option<usize> {
        let first = self.list.front()?.tag;
        // Mostly every delivery of a channel is unacknowledged: the tag tells the place.
        let guess = usize::try_from(tag.checked_sub(first)?).ok()?;
        if let Some(found) = self.list.get(guess)
            && found.tag == tag
        {
            return Some(guess).filter(|_| !found.settled);
        }
        let at = self.list.partition_point(|unacked| unacked.tag < tag);
        self.list.get(at).filter(|found| found.tag == tag && !found.settled).map(|_| at)
    }

    /// Takes the delivery with this tag.
    #[inline]
    pub fn take(&mut self, tag: u64) -> Option<Unacked> {
        let at = self.find(tag)?;
        let unacked = self.list.get_mut(at)?;
        unacked.settled = true;
        let taken = *unacked;
        self.holes += 1;
        self.consumer -= u32::from(taken.consumer);
        self.pop_settled();
        Some(taken)
    }

    #[inline]
    fn pop_settled(&mut self) {
        while self.list.front().is_some_and(|unacked| unacked.settled) {
            self.list.pop_front();
            self.holes -= 1;
        }
        if self.holes > HOLES_FREE && self.holes > self.list.len() / 2
            || self.list.is_empty() && self.list.capacity() > SPARE_MAX
        {
            self.close_up();
        }
    }

    /// One delivery that is never acknowledged must not pin all that came behind it.
    #[cold]
    fn close_up(&mut self) {
        self.list.retain(|unacked| !unacked.settled);
        self.holes = 0;
        self.list.shrink_to(2 * self.list.len().max(HOLES_FREE));
    }

    /// Whether this tag is outstanding.
    pub fn contains(&self, tag: u64) -> bool {
        self.find(tag).is_some()
    }

    /// The outstanding ones up to the tag `last`, in order.
    pub fn up_to(&self, last: u64) -> impl Iterator<Item = &Unacked> {
        self.list.iter().take_while(move |unacked| unacked.tag <= last).filter(|unacked| !unacked.settled)
    }

    /// Takes the first delivery if its tag is at most `tag`: repeated, this takes all of an acknowledgement with
    /// `multiple`.
    #[inline]
    pub fn take_up_to(&mut self, tag: u64) -> Option<Unacked> {
        let first = *self.list.front()?;
        if first.tag > tag {
            return None;
        }
        self.list.pop_front();
        self.consumer -= u32::from(first.consumer);
        self.pop_settled();
        Some(first)
    }

    /// Takes the first delivery if its tag is at most `tag` and it continues `before`: the same taker of the same
    /// queue, at `position`.
    #[inline]
    pub fn take_next(&mut self, tag: u64, before: &Unacked, position: Position) -> bool {
        let Some(next) = self.list.front() else { return false };
        next.tag <= tag && next.continues(before, position) && self.take_up_to(tag).is_some()
    }

    /// Takes everything, in order.
    pub fn drain(&mut self) -> Vec<Unacked> {
        self.consumer = 0;
        self.holes = 0;
        std::mem::take(&mut self.list).into_iter().filter(|unacked| !unacked.settled).collect()
    }

    /// Puts deliveries back that were taken but not settled after all (a rolled back transaction).
    pub fn restore(&mut self, mut taken: Vec<Unacked>) {
        taken.extend(self.drain());
        taken.sort_by_key(|unacked| unacked.tag);
        for unacked in taken {
            self.push(Unacked { settled: false, ..unacked });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tags: &[u64]) -> UnackedList {
        let mut list = UnackedList::default();
        for &tag in tags {
            list.push(Unacked::new(tag, tag, QueueKey { slot: 0, generation: 0 }, 0, 0, true));
        }
        list
    }

    #[test]
    fn tags_are_found_in_dense_and_sparse_lists() {
        let mut unacked = list(&[3, 4, 5, 9, 10, 20]);
        assert!(unacked.take(6).is_none() && unacked.take(2).is_none() && unacked.take(21).is_none());
        assert_eq!(unacked.take(9).map(|u| u.tag), Some(9));
        assert!(unacked.take(9).is_none(), "only once");
        assert_eq!(unacked.take(3).map(|u| u.tag), Some(3));
        let up_to: Vec<u64> = std::iter::from_fn(|| unacked.take_up_to(10)).map(|u| u.tag).collect();
        assert_eq!(up_to, [4, 5, 10]);
        assert_eq!(unacked.consumer_count(), 1);
    }

    #[test]
    fn one_that_is_never_acknowledged_pins_nothing() {
        let mut unacked = list(&[1]);
        for tag in 2..1_000_000 {
            unacked.push(Unacked::new(tag, tag, QueueKey { slot: 0, generation: 0 }, 0, 0, true));
            assert_eq!(unacked.take(tag - tag % 2).is_some(), tag % 2 == 0);
        }
        let odd = 1_000_000 / 2;
        assert_eq!(unacked.consumer_count(), odd);
        for tag in (3..1_000_000).step_by(2) {
            assert!(unacked.take(tag).is_some() && unacked.take(tag).is_none());
            assert!(unacked.list.len() <= 2 * unacked.consumer as usize + HOLES_FREE + 1);
        }
        assert!(unacked.contains(1) && unacked.list.len() + unacked.list.capacity() < 4 * HOLES_FREE);
        assert_eq!(unacked.take_up_to(u64::MAX).map(|u| u.tag), Some(1));
        assert!(unacked.take_up_to(u64::MAX).is_none());
    }

    #[test]
    fn a_rollback_restores_the_order() {
        let mut unacked = list(&[1, 2, 3, 4]);
        let taken = vec![unacked.take(3).unwrap(), unacked.take(1).unwrap()];
        unacked.restore(taken);
        let tags: Vec<u64> = unacked.drain().iter().map(|u| u.tag).collect();
        assert_eq!(tags, [1, 2, 3, 4]);
        assert_eq!(unacked.consumer_count(), 0);
    }
}
