//! Entries looked at by who holds them.

use super::{Entries, Position};
use crate::broker::message::MessageRef;

impl Entries {
    /// Has `holder`, which is no consumer, hold an entry that `taker` holds. Returns whether the taker held it.
    pub fn hold(&mut self, position: Position, taker: u32, holder: u32) -> bool {
        let entry = self.entry_mut(position).filter(|entry| entry.taker == taker);
        entry.map(|entry| entry.taker = holder).is_some()
    }

    /// The message of an entry that `taker` holds.
    pub fn held(&self, position: Position, taker: u32) -> Option<MessageRef> {
        self.entry(position).filter(|entry| entry.taker == taker).map(|entry| entry.message)
    }

    /// Whether the journal has an entry.
    pub fn is_stored(&self, position: Position) -> bool {
        self.entry(position).is_some_and(|entry| entry.stored)
    }

    /// The positions of everything that `taker` holds; `count` is how many that is. Looks from the front and stops at
    /// the last one.
    pub fn held_by(&self, taker: u32, count: usize) -> Vec<Position> {
        let stragglers = self.stragglers.iter().map(|(&position, entry)| (position, entry));
        let list = (self.base..self.cursor).zip(&self.list);
        let held = stragglers.chain(list).filter(|(_, entry)| entry.taker == taker);
        held.map(|(position, _)| position).take(count).collect()
    }

    /// Gives each ready message that is here.
    pub fn for_each_ready(&self, mut each: impl FnMut(MessageRef)) {
        let returned = self.returned.iter().filter_map(|position| self.entry(*position));
        let ready = self.list.iter().skip((self.cursor - self.base) as usize);
        let tail = self.away.iter().flat_map(|away| &away.tail);
        returned.chain(ready.chain(tail).copied()).for_each(|entry| each(entry.message));
    }
}
