//! The messages of a queue, of all priorities.

use super::Queue;
use super::delays::Delays;
use super::ruled::CLASS_SHIFT;
use crate::broker::entries::{Entries, Position, Removed, Taken};

impl Queue {
    /// What waits, if it is the queue of an exchange that holds its messages back.
    #[inline]
    pub fn delays(&self) -> Option<&Delays> {
        self.ruled.as_ref()?.delays.as_deref()
    }

    /// What waits, if it is the queue of an exchange that holds its messages back.
    #[inline]
    pub fn delays_mut(&mut self) -> Option<&mut Delays> {
        self.ruled.as_mut()?.delays.as_deref_mut()
    }

    /// Ready messages.
    #[inline]
    pub fn ready(&self) -> usize {
        self.entries.ready() + self.ruled.as_ref().map_or(0, |ruled| ruled.ready_beside())
    }

    /// Messages handed out and not settled.
    pub fn unacked(&self) -> usize {
        let others = self.ruled.iter().flat_map(|ruled| ruled.others());
        self.entries.unacked() + others.map(Entries::unacked).sum::<usize>()
    }

    /// Ready messages that are on the disk only.
    pub fn away_count(&self) -> u64 {
        let others = self.ruled.iter().flat_map(|ruled| ruled.others());
        std::iter::once(&self.entries).chain(others).map(Entries::away_count).sum()
    }

    /// Bytes of memory that it takes, without its messages and what its rules keep: an estimate.
    pub fn memory_bytes(&self) -> u64 {
        let others = self.ruled.iter().flat_map(|ruled| ruled.others());
        let entries: usize = std::iter::once(&self.entries).chain(others).map(Entries::memory_bytes).sum();
        let names = self.spec.name.len() + self.spec.arguments.len();
        (size_of::<Queue>() + names + entries) as u64
    }

    /// The consumer that gets everything, where only one does.
    pub fn single_active_consumer(&self) -> Option<u32> {
        self.single.as_ref()?.active()
    }

    /// Whether no message is ready.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.entries.is_idle() && self.ruled.as_ref().is_none_or(|ruled| ruled.others().all(Entries::is_idle))
    }

    /// The entries that the next message comes from.
    #[inline]
    pub fn first_entries(&mut self) -> &mut Entries {
        match &mut self.ruled {
            None => &mut self.entries,
            Some(ruled) => ruled.first(&mut self.entries),
        }
    }

    /// The first ready message, without taking it.
    pub fn peek(&mut self) -> Option<Taken> {
        self.first_entries().peek()
    }

    /// Hands the first ready message to `taker`.
    #[inline]
    pub fn take(&mut self, taker: u32) -> Option<Taken> {
        self.first_entries().take(taker)
    }

    /// Removes the first ready message; its reference is the caller's now.
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        self.first_entries().pop()
    }

    /// The entries that a position is of.
    #[inline]
    pub fn entries_at(&mut self, position: Position) -> Option<&mut Entries> {
        match (position >> CLASS_SHIFT) as u8 {
            0 => Some(&mut self.entries),
            class => self.ruled.as_mut()?.entries(class),
        }
    }

    /// The entries of a class, made if need be.
    pub fn class_entries(&mut self, class: u8) -> &mut Entries {
        match (&mut self.ruled, class) {
            (Some(ruled), 1..) => ruled.entries_or_new(class),
            _ => &mut self.entries,
        }
    }

    /// All entries, those of the common priority first.
    pub fn all_entries(&mut self) -> impl Iterator<Item = &mut Entries> {
        std::iter::once(&mut self.entries).chain(self.ruled.iter_mut().flat_map(|ruled| ruled.others_mut()))
    }

    /// Whether the journal has had positions of it.
    pub fn is_journalled(&self) -> bool {
        let others = self.ruled.iter().flat_map(|ruled| ruled.others());
        self.entries.is_journalled()
            || self.delays().is_some_and(|delays| delays.journalled)
            || others.into_iter().any(Entries::is_journalled)
    }

    /// Removes everything, also what is handed out; returns it, to be released by and by.
    pub fn clear(&mut self) -> Vec<Removed> {
        self.all_entries().map(Entries::clear).collect()
    }
}
