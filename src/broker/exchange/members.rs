//! The destinations under one key or one argument table.

use std::collections::BTreeMap;

use super::{Destination, Routes};

/// A sorted set of destinations, each with the number of bindings that put it there; almost always of one.
#[derive(Debug, Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Destination, u32),
    /// Boxed: there is one `Members` per key, and this variant is rare
    #[expect(clippy::box_collection, reason = "the map itself would make every `Members` larger")]
    Many(Box<BTreeMap<Destination, u32>>),
}

impl Members {
    /// Counts a binding to the destination.
    pub(super) fn add(&mut self, destination: Destination) {
        match self {
            Members::None => *self = Members::One(destination, 1),
            Members::One(one, count) if *one == destination => *count += 1,
            Members::One(one, count) => {
                *self = Members::Many(Box::new(BTreeMap::from([(*one, *count), (destination, 1)])));
            }
            Members::Many(many) => *many.entry(destination).or_default() += 1,
        }
    }

    /// Takes a binding to the destination back.
    pub(super) fn remove(&mut self, destination: Destination) {
        match self {
            Members::One(one, count) if *one == destination => {
                *count -= 1;
                if *count == 0 {
                    *self = Members::None;
                }
            }
            Members::None | Members::One(..) => {}
            Members::Many(many) => {
                if let Some(count) = many.get_mut(&destination) {
                    *count -= 1;
                    if *count == 0 {
                        many.remove(&destination);
                    }
                }
                if let (1, Some((&one, &count))) = (many.len(), many.first_key_value()) {
                    *self = Members::One(one, count);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Members::None)
    }

    /// Appends the destinations, sorted.
    pub(super) fn append_to(&self, out: &mut Routes) {
        match self {
            Members::None => {}
            Members::One(one, _) => out.push(*one),
            Members::Many(many) => out.extend(many.keys().copied()),
        }
    }
}

/// Sorts what was appended from `start` on and drops duplicates.
pub(super) fn sort_unique(out: &mut Routes, start: usize) {
    let Some(tail) = out.get_mut(start..) else { return };
    tail.sort_unstable();
    let mut kept = 0;
    for at in 0..tail.len() {
        if kept == 0 || tail[kept - 1] != tail[at] {
            tail[kept] = tail[at];
            kept += 1;
        }
    }
    out.truncate(start + kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use Destination::{Exchange, Queue};

    fn listed(members: &Members) -> Vec<Destination> {
        let mut out = Routes::new();
        members.append_to(&mut out);
        out.to_vec()
    }

    #[test]
    fn destinations_are_counted() {
        let mut members = Members::default();
        for destination in [Queue(2), Queue(2), Exchange(1), Queue(1)] {
            members.add(destination);
        }
        assert_eq!(listed(&members), [Queue(1), Queue(2), Exchange(1)]);
        members.remove(Queue(2));
        members.remove(Queue(1));
        members.remove(Queue(9));
        assert_eq!(listed(&members), [Queue(2), Exchange(1)]);
        members.remove(Exchange(1));
        assert!(matches!(members, Members::One(Queue(2), 1)));
        members.remove(Queue(2));
        assert!(members.is_empty());
        assert_eq!(size_of::<Members>(), 16);
    }

    #[test]
    fn only_the_tail_is_sorted() {
        let mut out = Routes::from_slice(&[Queue(9), Queue(3), Queue(1), Queue(3), Exchange(0)]);
        sort_unique(&mut out, 1);
        assert_eq!(out.as_slice(), [Queue(9), Queue(1), Queue(3), Exchange(0)]);
        sort_unique(&mut out, 99);
        assert_eq!(out.len(), 4);
    }
}
