//! A hash index of slots: finds a slot by its hash and a comparison, and holds nothing of what the slot holds.

/// Marks "no slot" wherever a slot number is expected.
pub(super) const NONE: u32 = u32::MAX;

/// Open addressing with linear probing, 8 bytes a cell, at most four fifths full. Never walked, so that nothing can
/// depend on its order.
///
/// All cells are in the order of their hashes, as their places are: whoever looks for a hash that is not there stops at
/// the first greater one, not at the end of a run. Cells behind the last place are the end of the last run.
#[derive(Debug, Default)]
pub(super) struct SlotIndex {
    cells: Vec<Cell>,
    /// How many places there are
    places: usize,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    hash: u32,
    slot: u32,
}

const VACANT: Cell = Cell { hash: u32::MAX, slot: NONE };
const PLACES_MIN: usize = 8;

impl SlotIndex {
    /// The slot of this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fold(hash);
        for cell in self.cells.get(self.place(hash)..)? {
            if cell.hash < hash {
                continue;
            }
            if cell.hash > hash || cell.slot == NONE {
                return None;
            }
            if is_it(cell.slot) {
                return Some(cell.slot);
            }
        }
        None
    }

    /// Adds a slot that is not there.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 5 > self.places * 4 {
            self.resize((self.places + self.places / 4).max(PLACES_MIN));
        }
        let mut cell = Cell { hash: fold(hash), slot };
        let mut at = self.place(cell.hash);
        // Greater ones move on.
        while let Some(other) = self.cells.get_mut(at) {
            if other.slot == NONE {
                break;
            }
            if other.hash > cell.hash {
                std::mem::swap(other, &mut cell);
            }
            at += 1;
        }
        self.put(at, cell);
        self.len += 1;
    }

    /// Removes a slot, if it is there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if self.find(hash, |found| found == slot).is_none() {
            return;
        }
        let mut hole = self.place(fold(hash));
        while self.cells[hole].slot != slot {
            hole += 1;
        }
        // Whoever stands behind the hole moves up, up to one that is in its place.
        while let Some(&next) = self.cells.get(hole + 1)
            && next.slot != NONE
            && self.place(next.hash) <= hole
        {
            self.cells[hole] = next;
            hole += 1;
        }
        self.cells[hole] = VACANT;
        self.len -= 1;
        if self.places > PLACES_MIN * 2 && self.len * 4 < self.places {
            self.resize(self.places / 2);
        }
    }

    /// Where a hash belongs: its share of the range, for any number of places.
    fn place(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.places as u64) >> 32) as usize
    }

    fn put(&mut self, at: usize, cell: Cell) {
        if at == self.cells.len() {
            self.cells.reserve_exact(1 + self.places / 64);
            self.cells.push(VACANT);
        }
        self.cells[at] = cell;
    }

    fn resize(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.cells, vec![VACANT; places]);
        self.places = places;
        let mut free = 0;
        for cell in old.into_iter().filter(|cell| cell.slot != NONE) {
            let at = self.place(cell.hash).max(free);
            self.put(at, cell);
            free = at + 1;
        }
    }
}

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_map_under_collisions() {
        let mut index = SlotIndex::default();
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (state >> 40) as u32 % 300;
            let hash = u64::from(slot % 13) * 0x1357_9bdf; // few homes: long runs
            if (state >> 33) & 1 == 0 {
                if model.insert(slot, hash).is_none() {
                    index.insert(hash, slot);
                }
            } else {
                model.remove(&slot);
                index.remove(hash, slot);
            }
            assert_eq!(index.len, model.len());
            assert_eq!(index.find(hash, |s| s == slot), model.get(&slot).map(|_| slot));
        }
        for slot in 0..300 {
            assert_eq!(
                index.find(u64::from(slot % 13) * 0x1357_9bdf, |s| s == slot).is_some(),
                model.contains_key(&slot)
            );
        }
    }

    #[test]
    fn gives_memory_back() {
        let mut index = SlotIndex::default();
        (0..1000).for_each(|slot| index.insert(u64::from(slot) << 22, slot));
        (0..1000).for_each(|slot| index.remove(u64::from(slot) << 22, slot));
        assert!(index.cells.len() <= PLACES_MIN * 2 + 8);
        assert_eq!(index.find(3, |_| true), None);
    }
}
