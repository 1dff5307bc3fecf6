//! Numbers for values: each distinct key or argument table is kept once, with what is bound under it.

use std::hash::Hash;

use ahash::RandomState;

use super::slot_index::SlotIndex;

/// Rows by slot number; a freed slot is used again, the last freed first.
#[derive(Debug, Default)]
pub(super) struct Slots<T> {
    rows: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slots<T> {
    /// Puts a row into a slot.
    pub(super) fn insert(&mut self, row: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.rows[slot as usize] = row;
            return slot;
        }
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact((self.rows.len() / 8).max(4)); // an eighth, not twice: there may be millions
        }
        self.rows.push(row);
        (self.rows.len() - 1) as u32
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        std::mem::take(&mut self.rows[slot as usize])
    }
}

#[cfg(test)]
impl<T> Slots<T> {
    /// How many slots are in use.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }
}

impl<T> std::ops::Index<u32> for Slots<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.rows[slot as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.rows[slot as usize]
    }
}

/// Distinct values, counted by who refers to them, each with a leaf of its own.
#[derive(Debug)]
pub(super) struct Interner<V: ?Sized, L> {
    entries: Slots<Entry<V, L>>,
    index: SlotIndex,
    hash: RandomState,
}

#[derive(Debug)]
pub(super) struct Entry<V: ?Sized, L> {
    value: Option<Box<V>>,
    references: u32,
    leaf: L,
}

impl<V: ?Sized, L: Default> Default for Entry<V, L> {
    fn default() -> Self {
        Entry { value: None, references: 0, leaf: L::default() }
    }
}

impl<V: ?Sized, L> Interner<V, L>
where
    V: Hash + Eq,
    L: Default,
    for<'a> Box<V>: From<&'a V>,
    for<'a> &'a V: Default,
{
    pub(super) fn new(hash: RandomState) -> Self {
        Interner { entries: Slots { rows: vec![], free: vec![] }, index: SlotIndex::default(), hash }
    }

    /// The slot of a value.
    pub(super) fn find(&self, value: &V) -> Option<u32> {
        self.index.find(self.hash.hash_one(value), |slot| self.value(slot) == value)
    }

    /// The slot of a value, new or known, with one more reference.
    pub(super) fn intern(&mut self, value: &V) -> u32 {
        let slot = self.find(value).unwrap_or_else(|| {
            let slot = self.entries.insert(Entry { value: Some(value.into()), references: 0, leaf: L::default() });
            self.index.insert(self.hash.hash_one(value), slot);
            slot
        });
        self.retain(slot, 1);
        slot
    }

    /// Adds references.
    pub(super) fn retain(&mut self, slot: u32, count: u32) {
        self.entries[slot].references += count;
    }

    /// Gives a reference back; with the last one the value goes.
    pub(super) fn release(&mut self, slot: u32) {
        self.entries[slot].references -= 1;
        if self.entries[slot].references == 0 {
            let hash = self.hash.hash_one(self.value(slot));
            self.index.remove(hash, slot);
            self.entries.remove(slot);
        }
    }

    /// The value in a slot.
    pub(super) fn value(&self, slot: u32) -> &V {
        self.entries[slot].value.as_deref().unwrap_or_default()
    }

    /// The leaf of a slot.
    pub(super) fn leaf(&self, slot: u32) -> &L {
        &self.entries[slot].leaf
    }

    /// The leaf of a slot, to change.
    pub(super) fn leaf_mut(&mut self, slot: u32) -> &mut L {
        &mut self.entries[slot].leaf
    }

    /// All values with their leaves, in the order of their slots.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&V, &L)> {
        self.entries.rows.iter().filter_map(|entry| Some((entry.value.as_deref()?, &entry.leaf)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lives_as_long_as_it_is_referred_to() {
        let mut keys: Interner<str, u32> = Interner::new(RandomState::with_seeds(1, 2, 3, 4));
        let a = keys.intern("a");
        assert_eq!(keys.intern("a"), a);
        let b = keys.intern("");
        *keys.leaf_mut(b) = 5;
        keys.release(a);
        assert_eq!(keys.find("a"), Some(a));
        keys.release(a);
        assert_eq!(keys.find("a"), None);
        assert_eq!(keys.intern("c"), a, "the slot is used again");
        assert_eq!(keys.iter().map(|(key, leaf)| (key, *leaf)).collect::<Vec<_>>(), [("c", 0), ("", 5)]);
    }
}
