//! The entries of one queue, in order, with every entry in its original place for as long as it exists.
//!
//! An entry that is handed to a consumer stays where it is, marked as taken; settling it makes a gap; requeueing it
//! only lists its position as returned. So "back to the original position" (rabbitmq-semantics.md 12.7) costs nothing,
//! and acknowledging from the front, the common case, is one `pop_front`.
//!
//! ```text
//! position   base                     cursor            front end            tail
//!            | taken gap taken taken  | ready ready ... | away ............. | ready ... | end
//!            ^ stragglers below base: taken long ago, kept apart so that they pin nothing behind them
//! ```
//!
//! With a store, the middle of a long queue is *away*: its messages lie on the disk only ([`away`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod away;
mod held;

use super::message::MessageRef;
use away::Away;
pub use away::{Brought, KEPT, Room};

/// A place in a queue: counts up by one per enqueued message, never reused.
pub type Position = u64;

/// Holds entries that wait before they are ready again.
pub const RESTS: u32 = u32::MAX - 3;
/// Holds entries that a transaction has settled whose commit is under way: they are out of reach for everybody else.
pub const HELD: u32 = u32::MAX - 2;
const NO_TAKER: u32 = u32::MAX;
const GAP: u32 = u32::MAX - 1;

/// A message's place in one queue (16 bytes).
#[derive(Debug, Clone, Copy)]
struct Entry {
    message: MessageRef,
    /// Who holds it: a taker, nobody (`NO_TAKER`), or nothing is left (`GAP`).
    taker: u32,
    redelivered: bool,
    /// It is in the journal.
    stored: bool,
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
    /// Whether the journal has it, and must be told what becomes of it.
    pub stored: bool,
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
    /// The part that is on the disk only, and what came behind it; `None` while there is no such part.
    away: Option<Box<Away>>,
    /// The journal has had positions of it.
    journalled: bool,
}

impl Entries {
    /// None, and the first will have this position.
    pub fn starting_at(position: Position) -> Entries {
        Entries { base: position, cursor: position, ..Entries::default() }
    }

    /// Ready messages.
    #[inline]
    pub fn ready(&self) -> usize {
        self.ready_here() + self.away.as_ref().map_or(0, |away| away.ready())
    }

    /// Ready messages in front of the part that is away.
    #[inline]
    pub fn ready_here(&self) -> usize {
        self.returned.len() + (self.front_end() - self.cursor) as usize
    }

    /// Whether no message is ready.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.is_dry() && self.away.is_none()
    }

    /// Whether no message is ready, but for those that are away.
    #[inline]
    pub fn is_dry(&self) -> bool {
        self.returned.is_empty() && self.front_end() == self.cursor
    }

    /// Messages handed out and not settled.
    #[inline]
    pub fn unacked(&self) -> usize {
        self.unacked
    }

    #[inline]
    fn front_end(&self) -> Position {
        self.base + self.list.len() as u64
    }

    /// The position of the next message to come.
    #[inline]
    pub fn end(&self) -> Position {
        match &self.away {
            None => self.front_end(),
            Some(away) => away.tail_end(),
        }
    }

    /// Whether the journal has had positions of it.
    pub fn is_journalled(&self) -> bool {
        self.journalled
    }

    /// First and last positions of all entries here that the journal has, ascending.
    pub fn stored_ranges(&self) -> Vec<(Position, Position)> {
        let mut ranges: Vec<(Position, Position)> = Vec::new();
        let list = (self.base..).zip(&self.list).filter(|(_, entry)| entry.taker != GAP);
        let stragglers = self.stragglers.iter().map(|(&position, entry)| (position, entry));
        for (position, _) in stragglers.chain(list).filter(|(_, entry)| entry.stored) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == position => *last = position,
                _ => ranges.push((position, position)),
            }
        }
        ranges
    }

    /// Appends a ready message; `stored`: the journal has it.
    #[inline]
    pub fn push(&mut self, message: MessageRef, stored: bool) {
        self.journalled |= stored;
        let entry = Entry { message, taker: NO_TAKER, redelivered: false, stored };
        match &mut self.away {
            None => self.list.push_back(entry),
            Some(away) => away.tail.push_back(entry),
        }
    }

    /// Appends a message that goes to `taker` at once. Only while nothing is ready.
    #[inline]
    pub fn push_taken(&mut self, message: MessageRef, taker: u32, stored: bool) -> Position {
        debug_assert!(self.is_idle());
        self.journalled |= stored;
        let position = self.front_end();
        self.list.push_back(Entry { message, taker, redelivered: false, stored });
        self.cursor = position + 1;
        self.unacked += 1;
        position
    }

    /// Where the first ready message lies, if there is one.
    #[inline]
    fn first_ready(&self) -> Position {
        self.returned.first().copied().unwrap_or(self.cursor)
    }

    /// The first ready message, without taking it.
    #[inline]
    pub fn peek(&self) -> Option<Taken> {
        let position = self.first_ready();
        let Entry { message, redelivered, stored, .. } = self.entry(position)?;
        Some(Taken { position, message, redelivered, stored })
    }

    /// Hands the first ready message to `taker`.
    #[inline(always)]
    pub fn take(&mut self, taker: u32) -> Option<Taken> {
        let position = self.first_ready();
        let entry = self.entry_mut(position)?;
        entry.taker = taker;
        let Entry { message, redelivered, stored, .. } = *entry;
        self.pass_by(position);
        self.unacked += 1;
        Some(Taken { position, message, redelivered, stored })
    }

    /// Removes the first ready message; its reference is the caller's now.
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        let taken = self.peek()?;
        self.pass_by(taken.position);
        self.remove(taken.position);
        Some(taken)
    }

    /// The first ready message is not ready any more.
    #[inline]
    fn pass_by(&mut self, position: Position) {
        if position >= self.cursor {
            self.cursor = position + 1;
        } else {
            self.returned.remove(&position);
        }
    }

    /// Settles an entry that `taker` holds; the reference is the caller's now, and whether the journal has the message.
    /// `None` when the taker holds no such entry.
    #[inline]
    pub fn settle(&mut self, position: Position, taker: u32) -> Option<(MessageRef, bool)> {
        let Entry { message, taker: held_by, stored, .. } = match position.checked_sub(self.base) {
            Some(index) => *self.list.get(index as usize)?,
            None => *self.stragglers.get(&position)?,
        };
        if held_by != taker {
            return None;
        }
        self.unacked -= 1;
        self.remove(position);
        Some((message, stored))
    }

    /// Makes an entry that `taker` holds ready again, in its old place; it counts as redelivered. Returns whether the
    /// journal has the message and does not know this; `None` when the taker holds no such entry.
    pub fn requeue(&mut self, position: Position, taker: u32) -> Option<bool> {
        let entry = self.entry_mut(position)?;
        if entry.taker != taker {
            return None;
        }
        entry.taker = NO_TAKER;
        let news = entry.stored && !entry.redelivered;
        entry.redelivered = true;
        self.unacked -= 1;
        self.returned.insert(position);
        Some(news)
    }

    /// Makes everything that `taker` holds ready again; `count` is how many it holds. Looks from the front and stops
    /// at the last one. `news` gets the positions of which the journal does not know this, ascending.
    pub fn requeue_all(&mut self, taker: u32, mut count: usize, mut news: impl FnMut(Position)) {
        let held = |entry: &Entry| entry.taker == taker;
        let stragglers: Vec<Position> =
            self.stragglers.iter().filter(|(_, entry)| held(entry)).map(|(&position, _)| position).collect();
        let mut requeue = |entries: &mut Entries, position| {
            let is_news = entries.requeue(position, taker);
            if is_news == Some(true) {
                news(position);
            }
            usize::from(is_news.is_some())
        };
        for position in stragglers {
            count -= requeue(self, position);
        }
        let mut position = self.base;
        while count > 0 && position < self.cursor {
            count -= requeue(self, position);
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
        let end = self.end();
        let ready = (self.cursor - self.base) as usize;
        let mut behind = if ready == 0 { std::mem::take(&mut self.list) } else { self.list.split_off(ready) };
        behind.append(&mut removed.list);
        removed.list = behind;
        if let Some(mut away) = self.away.take() {
            removed.list.append(&mut away.tail);
        }
        // What the journal has named once is never given again.
        if self.journalled {
            self.jump(end);
        }
        self.shrink();
        removed
    }

    /// Removes everything, also what is handed out; returns it, to be released by and by.
    pub fn clear(&mut self) -> Removed {
        let end = self.end();
        let mut removed = Removed { list: std::mem::take(&mut self.list) };
        removed.list.extend(std::mem::take(&mut self.stragglers).into_values());
        if let Some(away) = &mut self.away {
            removed.list.append(&mut away.tail);
        }
        *self = Entries::starting_at(end);
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
            let tail = self.away.iter_mut().flat_map(|away| &mut away.tail);
            for entry in self.stragglers.values_mut().chain(tail) {
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
        (next < self.front_end()).then_some(next)
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

    /// Goes on at a later position. Whatever is in the list is set aside; ready ones among it stay ready.
    #[cold]
    fn jump(&mut self, to: Position) {
        let list = std::mem::take(&mut self.list);
        for (position, entry) in (self.base..).zip(list) {
            if entry.taker == GAP {
                continue;
            }
            if position >= self.cursor {
                self.returned.insert(position);
            }
            self.stragglers.insert(position, entry);
        }
        self.gaps = 0;
        (self.base, self.cursor) = (to, to);
    }

    /// Gives memory back after a purge or a drain.
    pub fn shrink(&mut self) {
        if self.list.capacity() > 1024 && self.list.len() * 8 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests;
