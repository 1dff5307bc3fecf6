//! A hash index of slots: finds a slot by its hash and a comparison, and holds nothing of what the slot holds.

/// Marks "no slot" wherever a slot number is expected.
pub(super) const NONE: u32 = u32::MAX;

/// Open addressing with linear probing, 8 bytes a cell, at most four fifths full. Never walked, so that nothing can
/// depend on its order.
#[derive(Debug, Default)]
pub(super) struct SlotIndex {
    cells: Vec<Cell>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    hash: u32,
    slot: u32,
}

const VACANT: Cell = Cell { hash: 0, slot: NONE };
const CELLS_MIN: usize = 8;

impl SlotIndex {
    /// The slot of this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fold(hash);
        let mut at = self.home(hash);
        loop {
            let cell = self.cells.get(at)?;
            if cell.slot == NONE {
                return None;
            }
            if cell.hash == hash && is_it(cell.slot) {
                return Some(cell.slot);
            }
            at = self.after(at);
        }
    }

    /// Adds a slot that is not there.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 5 > self.cells.len() * 4 {
            self.resize((self.cells.len() + self.cells.len() / 4).max(CELLS_MIN));
        }
        self.place(Cell { hash: fold(hash), slot });
        self.len += 1;
    }

    /// Removes a slot, if it is there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if self.find(hash, |found| found == slot).is_none() {
            return;
        }
        let mut hole = self.home(fold(hash));
        while self.cells[hole].slot != slot {
            hole = self.after(hole);
        }
        // Whoever stands behind the hole moves up, unless it would pass its own place.
        let mut at = self.after(hole);
        while self.cells[at].slot != NONE {
            if self.distance(self.home(self.cells[at].hash), at) >= self.distance(hole, at) {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.cells[hole] = VACANT;
        self.len -= 1;
        if self.cells.len() > CELLS_MIN * 2 && self.len * 4 < self.cells.len() {
            self.resize(self.cells.len() / 2);
        }
    }

    /// Where a hash belongs: its share of the range, for any number of cells.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.cells.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }

    /// Steps from one cell on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.cells.len() - from }
    }

    fn place(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        while self.cells[at].slot != NONE {
            at = self.after(at);
        }
        self.cells[at] = cell;
    }

    fn resize(&mut self, cell_count: usize) {
        let old = std::mem::replace(&mut self.cells, vec![VACANT; cell_count]);
        old.into_iter().filter(|cell| cell.slot != NONE).for_each(|cell| self.place(cell));
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
        assert!(index.cells.len() <= CELLS_MIN * 2);
        assert_eq!(index.find(3, |_| true), None);
    }
}
