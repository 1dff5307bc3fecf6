//! How often messages were handed out, and how often that failed: of those few of a queue of which it was said.

use std::collections::BTreeMap;

use super::bytes::{Bytes, push_u64s};
use crate::store::Position;
use crate::store::record::Count;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    by_position: BTreeMap<Position, Count>,
}

/// By position: nothing at all for most queues.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Handed(Option<Box<Known>>);

impl Handed {
    /// Whether nothing is known of any message.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many messages something is known of.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |known| known.by_position.len())
    }

    /// The numbers of a message are these from now on.
    pub fn set(&mut self, position: Position, count: Count) {
        self.0.get_or_insert_default().by_position.insert(position, count);
    }

    /// The numbers of a message: zeros where nothing is known.
    pub fn of(&self, position: Position) -> Count {
        self.0.as_ref().and_then(|known| known.by_position.get(&position)).copied().unwrap_or_default()
    }

    /// All numbers that are known, by position.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Count)> {
        self.0.iter().flat_map(|known| &known.by_position).map(|(position, count)| (*position, *count))
    }

    /// Forgets those of `first` to `last`.
    #[inline]
    pub fn remove(&mut self, first: Position, last: Position) {
        if self.0.is_some() {
            self.remove_some(first, last);
        }
    }

    fn remove_some(&mut self, first: Position, last: Position) {
        let Some(Known { by_position: counts }) = self.0.as_deref_mut() else { return };
        while let Some((position, _)) = counts.range(first..=last.max(first)).next() {
            let position = *position;
            counts.remove(&position);
        }
        if counts.is_empty() {
            self.0 = None;
        }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.len() * 2 * size_of::<(Position, Count)>()
    }

    /// Appends it as bytes: for each message u64 position | u32 handed out | u32 failed.
    pub fn save(&self, to: &mut Vec<u8>) {
        for (position, count) in self.iter() {
            push_u64s(to, &[position]);
            [count.acquired, count.failed].iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
        }
    }

    /// Reads so many of what [`save`](Handed::save) wrote.
    pub fn load(count: u32, from: &mut Bytes<'_>) -> Option<Handed> {
        let mut handed = Handed::default();
        for _ in 0..count {
            handed.set(from.u64()?, Count { acquired: from.u32()?, failed: from.u32()? });
        }
        Some(handed)
    }
}
