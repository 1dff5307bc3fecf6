//! The entries of one queue, in order, with every entry in its original place for as long as it exists.
//!
//! An entry that is handed to a consumer stays where it is, marked as taken; settling it makes a gap; requeueing it
//! only lists its position as returned. So "back to the original position" (rabbitmq-semantics.md 12.7) costs nothing,
//! and acknowledging from the front, the common case, is one `pop_front`.
//!
//! ```text
//! position   base                     cursor                 end
//!            | taken gap taken taken  | ready ready ready .. |
//!            ^ stragglers below base: taken long ago, kept apart so that they pin nothing behind them
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::message::MessageRef;

/// A place in a queue: counts up by one per enqueued message, never reused.
pub type Position = u64;

const NO_TAKER: u32 = u32::MAX;
const GAP: u32 = u32::MAX - 1;

/// A message's place in one queue (16 bytes).
#[derive(Debug, Clone, Copy)]
struct Entry {
    message: MessageRef,
    /// Who holds it: a taker, nobody (`NO_TAKER`), or nothing is left (`GAP`).
    taker: u32,
    redelivered: bool,
}

/// An entry taken from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its place.
    pub position: Position,
    /// Its message; the queue keeps the reference.
    pub message: MessageRef,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

/// Entries that were removed from their queue, with their messages' references.
#[derive(Debug, Default)]
pub struct Removed {
    list: VecDeque<Entry>,
}

impl Removed {
    /// How many there may be at most.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the next message.
    pub fn pop(&mut self) -> Option<MessageRef> {
        loop {
            let entry = self.list.pop_front()?;
            if entry.taker != GAP {
                return Some(entry.message);
            }
        }
    }
}

/// Ready and unacknowledged entries of a queue.
#[derive(Debug, Default)]
pub struct Entries {
    list: VecDeque<Entry>,
    base: Position,
    cursor: Position,
    /// Ready again, below the cursor (in the list or a straggler).
    returned: BTreeSet<Position>,
    stragglers: BTreeMap<Position, Entry>,
    gaps: usize,
    unacked: usize,
}

impl Entries {
    /// Ready messages.
    #[inline]
    pub fn ready(&self) -> usize {
        self.returned.len() + (self.end() - self.cursor) as usize
    }

    /// Whether no message is ready.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.returned.is_empty() && self.end() == self.cursor
    }

    /// Messages handed out and not settled.
    #[inline]
    pub fn unacked(&self) -> usize {
        self.unacked
    }

    #[inline]
    fn end(&self) -> Position {
        self.base + self.list.len() as u64
    }

    /// Appends a ready message.
    #[inline]
    pub fn push(&mut self, message: MessageRef) {
        self.list.push_back(Entry { message, taker: NO_TAKER, redelivered: false });
    }

    /// Appends a message that goes to `taker` at once. Only while nothing is ready.
    #[inline]
    pub fn push_taken(&mut self, message: MessageRef, taker: u32) -> Position {
        debug_assert!(self.is_idle());
        let position = self.end();
        self.list.push_back(Entry { message, taker, redelivered: false });
        self.cursor = position + 1;
        self.unacked += 1;
        position
    }

    /// The first ready message, without taking it.
    #[inline]
    pub fn peek(&self) -> Option<Taken> {
        let position = match self.returned.first() {
            Some(&position) => position,
            None if self.cursor < self.end() => self.cursor,
            None => return None,
        };
        let entry = self.entry(position)?;
        Some(Taken { position, message: entry.message, redelivered: entry.redelivered })
    }

    /// Hands the first ready message to `taker`.
    #[inline]
    pub fn take(&mut self, taker: u32) -> Option<Taken> {
        let taken = self.next_ready()?;
        if let Some(entry) = self.entry_mut(taken.position) {
            entry.taker = taker;
        }
        self.unacked += 1;
        Some(taken)
    }

    /// Removes the first ready message; its reference is the caller's now.
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        let taken = self.next_ready()?;
        self.remove(taken.position);
        Some(taken)
    }

    #[inline]
    fn next_ready(&mut self) -> Option<Taken> {
        let taken = self.peek()?;
        if taken.position >= self.cursor {
            self.cursor = taken.position + 1;
        } else {
            self.returned.remove(&taken.position);
        }
        Some(taken)
    }

    /// Settles an entry that `taker` holds; the reference is the caller's now. `None` when it holds no such entry.
    #[inline]
    pub fn settle(&mut self, position: Position, taker: u32) -> Option<MessageRef> {
        let entry = self.entry(position)?;
        if entry.taker != taker {
            return None;
        }
        self.unacked -= 1;
        self.remove(position);
        Some(entry.message)
    }

    /// Makes an entry that `taker` holds ready again, in its old place. `delivered`: it counts as redelivered.
    pub fn requeue(&mut self, position: Position, taker: u32, delivered: bool) -> bool {
        let Some(entry) = self.entry_mut(position) else {
            return false;
        };
        if entry.taker != taker {
            return false;
        }
        entry.taker = NO_TAKER;
        entry.redelivered |= delivered;
        self.unacked -= 1;
        self.returned.insert(position);
        true
    }

    /// Makes everything that `taker` holds ready again; `count` is how many it holds. Looks from the front and stops
    /// at the last one.
    pub fn requeue_all(&mut self, taker: u32, mut count: usize) {
        let held = |entry: &Entry| entry.taker == taker;
        let stragglers: Vec<Position> =
            self.stragglers.iter().filter(|(_, entry)| held(entry)).map(|(&position, _)| position).collect();
        for position in stragglers {
            count -= usize::from(self.requeue(position, taker, true));
        }
        let mut position = self.base;
        while count > 0 && position < self.cursor {
            if self.entry(position).is_some_and(|entry| held(&entry)) {
                count -= usize::from(self.requeue(position, taker, true));
            }
            position += 1;
        }
    }

    /// Removes every ready message; returns them, to be released by and by, for there may be millions.
    pub fn purge(&mut self) -> Removed {
        let mut removed = Removed::default();
        for position in std::mem::take(&mut self.returned) {
            if let Some(entry) = self.entry(position) {
                removed.list.push_back(entry);
            }
            self.remove(position);
        }
        // Nothing at or behind the cursor was ever handed out, so its positions may be given again.
        let ready = (self.cursor - self.base) as usize;
        let mut behind = if ready == 0 { std::mem::take(&mut self.list) } else { self.list.split_off(ready) };
        behind.append(&mut removed.list);
        removed.list = behind;
        self.shrink();
        removed
    }

    /// Removes everything, also what is handed out; returns it, to be released by and by.
    pub fn clear(&mut self) -> Removed {
        let mut removed = Removed { list: std::mem::take(&mut self.list) };
        removed.list.extend(std::mem::take(&mut self.stragglers).into_values());
        *self = Entries { base: self.cursor, cursor: self.cursor, ..Entries::default() };
        removed
    }

    /// Gives each entry's message, in no particular order, to `moved`, which may put another in its place. Starts at
    /// `from` and looks at no more than `count_max`; returns where to go on, or `None` at the end.
    pub fn for_each_from(
        &mut self,
        from: Position,
        count_max: usize,
        mut moved: impl FnMut(MessageRef) -> MessageRef,
    ) -> Option<Position> {
        if from <= self.base {
            for entry in self.stragglers.values_mut() {
                entry.message = moved(entry.message);
            }
        }
        let start = from.saturating_sub(self.base) as usize;
        for entry in self.list.iter_mut().skip(start).take(count_max) {
            if entry.taker != GAP {
                entry.message = moved(entry.message);
            }
        }
        let next = self.base + (start + count_max) as u64;
        (next < self.end()).then_some(next)
    }

    #[inline]
    fn entry(&self, position: Position) -> Option<Entry> {
        if position >= self.base {
            self.list.get((position - self.base) as usize).copied().filter(|entry| entry.taker != GAP)
        } else {
            self.stragglers.get(&position).copied()
        }
    }

    #[inline]
    fn entry_mut(&mut self, position: Position) -> Option<&mut Entry> {
        if position >= self.base {
            self.list.get_mut((position - self.base) as usize).filter(|entry| entry.taker != GAP)
        } else {
            self.stragglers.get_mut(&position)
        }
    }

    #[inline]
    fn remove(&mut self, position: Position) {
        if position == self.base {
            self.list.pop_front();
            self.base += 1;
            if self.gaps > 0 {
                self.pop_gaps();
            }
        } else if position > self.base {
            if let Some(entry) = self.list.get_mut((position - self.base) as usize) {
                entry.taker = GAP;
                self.gaps += 1;
            }
            // Few entries holding up many gaps: set them aside, so that the list stays in proportion to what waits.
            if self.gaps > 1024 && self.gaps > 7 * (self.list.len() - self.gaps).min(self.unacked + 1) {
                self.set_stragglers_aside();
            }
        } else {
            self.stragglers.remove(&position);
        }
        debug_assert!(self.cursor >= self.base);
    }

    fn pop_gaps(&mut self) {
        while self.list.front().is_some_and(|entry| entry.taker == GAP) {
            self.list.pop_front();
            self.base += 1;
            self.gaps -= 1;
        }
    }

    #[cold]
    fn set_stragglers_aside(&mut self) {
        while self.gaps > 0 && self.base < self.cursor {
            let Some(entry) = self.list.pop_front() else { break };
            if entry.taker == GAP {
                self.gaps -= 1;
            } else {
                self.stragglers.insert(self.base, entry);
            }
            self.base += 1;
        }
    }

    /// Gives memory back after a purge or a drain.
    pub fn shrink(&mut self) {
        if self.list.capacity() > 1024 && self.list.len() * 8 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::content::Content;
    use crate::broker::message::Blocks;

    fn message(blocks: &mut Blocks, n: u64) -> MessageRef {
        blocks.keep(&Content { names: b"\0\0", properties: &[0, 0], body: &n.to_be_bytes(), frames: &[] })
    }

    #[test]
    fn requeued_entries_come_back_in_their_old_order() {
        let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
        let mut entries = Entries::default();
        for n in 0..6 {
            entries.push(message(&mut blocks, n));
        }
        let taken: Vec<Taken> = (0..4).map(|_| entries.take(7).unwrap()).collect();
        assert_eq!((entries.ready(), entries.unacked()), (2, 4));
        assert!(entries.requeue(taken[2].position, 7, true));
        assert!(entries.requeue(taken[0].position, 7, true));
        assert!(!entries.requeue(taken[0].position, 7, true), "it is not held any more");
        assert!(entries.settle(taken[1].position, 8).is_none(), "another taker's");
        let order: Vec<(u64, bool)> =
            std::iter::from_fn(|| entries.pop()).map(|taken| (taken.position, taken.redelivered)).collect();
        assert_eq!(order, [(0, true), (2, true), (4, false), (5, false)]);
        assert_eq!((entries.ready(), entries.unacked()), (0, 2));
    }

    #[test]
    fn a_straggler_pins_no_list() {
        let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
        let mut entries = Entries::default();
        let message = message(&mut blocks, 1);
        let stuck = entries.push_taken(message, 1);
        for _ in 0..100_000 {
            let position = entries.push_taken(message, 2);
            assert!(entries.settle(position, 2).is_some());
        }
        assert!(entries.list.len() < 3000, "{}", entries.list.len());
        entries.push(message);
        assert!(entries.requeue(stuck, 1, true));
        assert_eq!(entries.pop().map(|taken| taken.position), Some(stuck));
        assert_eq!(entries.pop().map(|taken| taken.position), Some(100_001));
        assert!(entries.is_idle());
    }

    /// Random operations against a plain model.
    #[test]
    fn agrees_with_a_model() {
        let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
        let shared = message(&mut blocks, 0);
        for seed in 1..60u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut entries = Entries::default();
            let mut next = 0u64;
            let mut ready: BTreeSet<u64> = BTreeSet::new();
            let mut held: Vec<(u64, u32)> = vec![];
            for _ in 0..3000 {
                match random(10) {
                    0..=3 => {
                        entries.push(shared);
                        ready.insert(next);
                        next += 1;
                    }
                    4..=5 => {
                        let taker = random(3) as u32;
                        let taken = entries.take(taker).map(|taken| taken.position);
                        assert_eq!(taken, ready.pop_first());
                        held.extend(taken.map(|position| (position, taker)));
                    }
                    6..=7 if !held.is_empty() => {
                        let (position, taker) = held.swap_remove(random(held.len() as u64) as usize);
                        assert!(entries.settle(position, taker).is_some());
                    }
                    8 if !held.is_empty() => {
                        let (position, taker) = held.swap_remove(random(held.len() as u64) as usize);
                        assert!(entries.requeue(position, taker, true));
                        ready.insert(position);
                    }
                    9 if random(20) == 0 => {
                        let taker = random(3) as u32;
                        let count = held.iter().filter(|(_, holder)| *holder == taker).count();
                        entries.requeue_all(taker, count);
                        ready.extend(held.iter().filter(|(_, holder)| *holder == taker).map(|(position, _)| position));
                        held.retain(|(_, holder)| *holder != taker);
                    }
                    9 if random(40) == 0 => {
                        assert_eq!(entries.purge().len(), ready.len());
                        next = entries.end();
                        ready.clear();
                    }
                    _ => {}
                }
                assert_eq!((entries.ready(), entries.unacked()), (ready.len(), held.len()));
            }
        }
    }
}
