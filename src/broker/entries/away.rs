//! The part of a long queue that lies on the disk only: memory has its place and its number.
//!
//! All of it is ready, was never handed out since it came to lie there, and is in the journal; so is everything behind
//! it. It is brought back from the front, some messages at a time.

use std::collections::VecDeque;

use super::{Entries, Entry, NO_TAKER, Position};
use crate::broker::message::MessageRef;

/// So many ready messages of a queue stay in memory when that is short.
pub const KEPT: usize = 256;
/// No more messages are kept in memory behind the part that is away: until it is nearly gone they would only take room.
const TAIL_MAX: u64 = 4096;

/// Where the next message of a queue belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Into memory; the journal need not have it.
    Here,
    /// Into memory, behind messages that are away: the journal must have it.
    Behind,
    /// On the disk only: the journal must have it.
    Away,
}

/// A message that was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brought {
    /// Its position.
    pub position: Position,
    /// Where it lies now.
    pub message: MessageRef,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

/// The part that is away.
#[derive(Debug)]
pub(super) struct Away {
    /// Everything of it is at or behind this position.
    next: Position,
    /// Its end, exclusive.
    end: Position,
    /// How many messages there are.
    count: u64,
    /// What came behind it and is in memory.
    pub(super) tail: VecDeque<Entry>,
    /// The wish under way for the front of it.
    fetching: Option<u64>,
}

impl Away {
    pub(super) fn ready(&self) -> usize {
        self.count as usize + self.tail.len()
    }

    pub(super) fn tail_end(&self) -> Position {
        self.end + self.tail.len() as u64
    }

    /// The tail goes away, too.
    fn take_tail(&mut self, mut release: impl FnMut(MessageRef)) -> usize {
        let count = self.tail.len();
        self.end = self.tail_end();
        self.count += count as u64;
        self.tail.drain(..).for_each(|entry| release(entry.message));
        count
    }
}

impl Entries {
    /// Messages that are on the disk only.
    pub fn away_count(&self) -> u64 {
        self.away.as_ref().map_or(0, |away| away.count)
    }

    /// Bytes of memory that the places take, those of the messages not among them: an estimate.
    pub fn memory_bytes(&self) -> usize {
        let tail = self.away.as_ref().map_or(0, |away| away.tail.capacity());
        (self.list.capacity() + tail + self.stragglers.len()) * size_of::<Entry>()
    }

    /// Where the next message belongs. `keep`: memory is short, and so many ready messages stay there.
    #[inline]
    pub fn room(&self, keep: Option<usize>) -> Room {
        match &self.away {
            None if keep.is_some_and(|keep| self.ready_here() >= keep) => Room::Away,
            None => Room::Here,
            Some(away) if keep.is_some() || away.count + away.tail.len() as u64 >= TAIL_MAX => Room::Away,
            Some(_) => Room::Behind,
        }
    }

    /// Appends a message that only the journal has. `release` gets messages that need not be kept any more.
    pub fn push_away(&mut self, release: impl FnMut(MessageRef)) -> Position {
        self.journalled = true;
        let position = self.end();
        match &mut self.away {
            Some(away) => {
                away.take_tail(release);
                away.end += 1;
                away.count += 1;
            }
            None => self.set_away(position, position + 1, 1),
        }
        position
    }

    fn set_away(&mut self, next: Position, end: Position, count: u64) {
        self.away = Some(Box::new(Away { next, end, count, tail: VecDeque::new(), fetching: None }));
    }

    /// Sends ready messages away that the journal has, all but the first `keep`. `release` gets their references.
    /// Returns how many.
    pub fn send_away(&mut self, keep: usize, mut release: impl FnMut(MessageRef)) -> usize {
        let mut count = self.away.as_mut().map_or(0, |away| away.take_tail(&mut release));
        let kept = self.cursor + keep.saturating_sub(self.returned.len()) as u64;
        while self.front_end() > kept && self.list.back().is_some_and(|entry| entry.stored) {
            let Some(entry) = self.list.pop_back() else { break };
            let next = self.front_end();
            match &mut self.away {
                Some(away) => {
                    away.next = next;
                    away.count += 1;
                    // What is under way would begin behind it.
                    away.fetching = None;
                }
                None => self.set_away(next, next + 1, 1),
            }
            release(entry.message);
            count += 1;
        }
        self.shrink();
        count
    }

    /// Whether some ready messages are away.
    #[inline]
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// What there is on the disk when a queue comes back with its store.
    pub fn restore(&mut self, first: Position, end: Position, count: u64) {
        self.journalled = true;
        self.jump(end);
        if count > 0 {
            self.jump(first);
            self.set_away(first, end, count);
        }
    }

    /// Notes a wish for what is away, if it is time for one: nothing is under way, and at most `low` messages are ready
    /// here. Returns which positions to ask for.
    pub fn wish(&mut self, low: usize, tag: u64) -> Option<(Position, Position)> {
        let ready = self.ready_here();
        let away = self.away.as_mut().filter(|away| ready <= low && away.fetching.is_none())?;
        away.fetching = Some(tag);
        Some((away.next, away.end))
    }

    /// Whether an answer to the wish with this tag is waited for.
    pub fn awaits(&self, tag: u64) -> bool {
        self.away.as_ref().is_some_and(|away| away.fetching == Some(tag))
    }

    /// Takes messages that were brought back, all that there are before the position `next`; `lost` others cannot be.
    pub fn bring(&mut self, brought: impl Iterator<Item = Brought>, lost: u64, next: Position) {
        let Some(mut away) = self.away.take() else { return };
        away.fetching = None;
        away.count = away.count.saturating_sub(lost);
        for Brought { position, message, redelivered } in brought {
            if position != self.front_end() {
                self.jump(position);
            }
            self.list.push_back(Entry { message, taker: NO_TAKER, redelivered, stored: true });
            away.count = away.count.saturating_sub(1);
        }
        away.next = next.min(away.end);
        if away.next < away.end {
            self.away = Some(away);
            return;
        }
        // What is still counted is gone: the store has met damage elsewhere than in an answer and given it up.
        if self.front_end() != away.end {
            self.jump(away.end);
        }
        self.list.append(&mut away.tail);
    }
}
