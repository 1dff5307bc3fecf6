//! Single active consumer (`x-single-active-consumer`): one consumer gets everything, the others wait for its place
//! (reference section 13).
//!
//! In a classic queue the one that has waited longest is next. In a quorum queue the highest priority counts before
//! that, also against the active one: it gets nothing more, and makes room when nothing that it has is unacknowledged.

use slab::Slab;

use super::Taker;

/// Who is active, and who waits.
#[derive(Debug)]
pub(super) struct SingleActive {
    /// Priorities count.
    by_priority: bool,
    /// All consumers, as they came.
    order: Vec<u32>,
    active: Option<u32>,
    /// The active one is to make room for another.
    leaves: bool,
}

impl SingleActive {
    pub(super) fn new(by_priority: bool) -> SingleActive {
        SingleActive { by_priority, order: Vec::new(), active: None, leaves: false }
    }

    /// Who is active, unless it is to make room.
    pub(super) fn active(&self) -> Option<u32> {
        self.active.filter(|_| !self.leaves)
    }

    pub(super) fn add(&mut self, taker: u32) {
        self.order.push(taker);
    }

    pub(super) fn remove(&mut self, taker: u32) {
        self.order.retain(|other| *other != taker);
        if self.active == Some(taker) {
            (self.active, self.leaves) = (None, false);
        }
    }

    /// If it changes who gets what comes: who got it, and who is to get it. While the former has something
    /// unacknowledged, that is nobody.
    pub(super) fn next(&mut self, takers: &Slab<Taker>) -> Option<(Option<u32>, Option<u32>)> {
        let priority = |id: u32| takers.get(id as usize).map_or(0, |taker| taker.priority);
        let best = match self.by_priority {
            // The first of several.
            true => self.order.iter().copied().rev().max_by_key(|id| priority(*id)),
            false => self.order.first().copied(),
        };
        let Some(active) = self.active else {
            self.active = best;
            return best.map(|best| (None, Some(best)));
        };
        if !self.by_priority || best.is_none_or(|best| priority(best) <= priority(active)) {
            // Whoever had come to replace it has gone again.
            return std::mem::take(&mut self.leaves).then_some((None, Some(active)));
        }
        self.leaves = takers.get(active as usize).is_some_and(|taker| taker.unacked > 0);
        if !self.leaves {
            self.active = best;
        }
        Some((Some(active), best.filter(|_| !self.leaves)))
    }
}
