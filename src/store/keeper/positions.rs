//! A set of positions, small whether they come in long ranges or every other one.
//!
//! Ranges are kept as such; a stretch of 4096 positions that falls into many of them becomes one bit per position. So
//! ten million settled positions take a few bytes, and ten million scattered ones about 1.5 MiB.

use std::collections::BTreeMap;

use super::bytes::Bytes;
use crate::store::Position;

/// Positions per bitmap, as a power of two.
const CHUNK_BITS: u32 = 12;
const CHUNK: u64 = 1 << CHUNK_BITS;
const WORDS: usize = (CHUNK / 64) as usize;
/// More ranges than this beginning in one chunk make it a bitmap.
const RANGES_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bits {
    words: [u64; WORDS],
    count: u32,
}

impl Default for Bits {
    fn default() -> Bits {
        Bits { words: [0; WORDS], count: 0 }
    }
}

/// The bits of word `word` that belong to the places `first` to `last` of the chunk.
fn mask(word: usize, first: u64, last: u64) -> u64 {
    let begin = word as u64 * 64;
    let from = first.max(begin) - begin;
    let to = last.min(begin + 63) - begin;
    (u64::MAX << from) & (u64::MAX >> (63 - to))
}

impl Bits {
    fn set(&mut self, first: u64, last: u64) -> u64 {
        let mut newly = 0;
        for word in (first / 64) as usize..=(last / 64) as usize {
            let Some(bits) = self.words.get_mut(word) else { break };
            let mask = mask(word, first, last);
            newly += (mask & !*bits).count_ones();
            *bits |= mask;
        }
        self.count += newly;
        newly.into()
    }

    fn count(&self, first: u64, last: u64) -> u64 {
        if first == 0 && last == CHUNK - 1 {
            return self.count.into();
        }
        let words = self.words.iter().enumerate();
        let words = words.skip((first / 64) as usize).take((last / 64 - first / 64) as usize + 1);
        words.map(|(word, bits)| u64::from((bits & mask(word, first, last)).count_ones())).sum()
    }

    /// The first place from `from` on that is in the set, or is not.
    fn next(&self, from: u64, present: bool) -> Option<u64> {
        let words = self.words.iter().enumerate().skip((from / 64) as usize);
        words
            .map(|(word, bits)| {
                (word, if present { *bits } else { !*bits } & mask(word, from.max(word as u64 * 64), CHUNK))
            })
            .find(|(_, bits)| *bits != 0)
            .map(|(word, bits)| word as u64 * 64 + u64::from(bits.trailing_zeros()))
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Parts {
    /// First and last positions. No two touch, and none touches a chunk that is in `bits`.
    ranges: BTreeMap<u64, u64>,
    bits: BTreeMap<u64, Bits>,
}

/// A set of positions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Positions(Option<Box<Parts>>);

fn bounds(chunk: u64) -> (u64, u64) {
    (chunk << CHUNK_BITS, (chunk << CHUNK_BITS) | (CHUNK - 1))
}

impl Parts {
    fn insert(&mut self, first: u64, last: u64) -> u64 {
        let (mut at, mut newly) = (first, 0);
        while let Some((&chunk, bits)) = self.bits.range_mut(at >> CHUNK_BITS..=last >> CHUNK_BITS).next() {
            let (begin, end) = bounds(chunk);
            newly += bits.set(at.max(begin) - begin, last.min(end) - begin);
            if bits.count == CHUNK as u32 {
                self.bits.remove(&chunk);
                self.insert_range(begin, end);
            }
            if at < begin {
                newly += self.insert_range(at, begin - 1);
            }
            if end >= last {
                return newly;
            }
            at = end + 1;
        }
        newly + self.insert_range(at, last)
    }

    /// No chunk of bits is in the way.
    fn insert_range(&mut self, mut first: u64, mut last: u64) -> u64 {
        let (begin, end) = (first, last);
        let mut known = 0;
        if let Some((&before, before_last)) = self.ranges.range_mut(..=first).next_back() {
            if *before_last >= last {
                return 0;
            }
            if before_last.saturating_add(1) >= first {
                known += (*before_last + 1).saturating_sub(begin);
                first = before;
            }
        }
        while let Some((&after, &after_last)) = self.ranges.range(first + 1..=last.saturating_add(1)).next() {
            if after <= end {
                known += after_last.min(end) - after + 1;
            }
            last = last.max(after_last);
            self.ranges.remove(&after);
        }
        self.ranges.insert(first, last);
        if self.ranges.len() > RANGES_MAX {
            self.condense(begin >> CHUNK_BITS);
        }
        end - begin + 1 - known
    }

    /// Makes a chunk of many ranges a bitmap.
    fn condense(&mut self, chunk: u64) {
        let (begin, end) = bounds(chunk);
        if self.ranges.range(begin..=end).take(RANGES_MAX + 1).count() <= RANGES_MAX {
            return;
        }
        let mut bits = Bits::default();
        if let Some((_, last)) = self.ranges.range_mut(..begin).next_back()
            && *last >= begin
        {
            bits.set(0, (*last).min(end) - begin);
            *last = begin - 1;
        }
        while let Some((&first, &last)) = self.ranges.range(begin..=end).next() {
            bits.set(first - begin, last.min(end) - begin);
            self.ranges.remove(&first);
            if last > end {
                self.ranges.insert(end + 1, last);
            }
        }
        self.bits.insert(chunk, bits);
    }

    fn count(&self, first: u64, last: u64) -> u64 {
        let before = self.ranges.range(..first).next_back().filter(|(_, end)| **end >= first);
        let before = before.map_or(0, |(_, end)| (*end).min(last) - first + 1);
        let ranges: u64 = self.ranges.range(first..=last).map(|(begin, end)| (*end).min(last) - begin + 1).sum();
        let bits = self.bits.range(first >> CHUNK_BITS..=last >> CHUNK_BITS).map(|(chunk, bits)| {
            let (begin, end) = bounds(*chunk);
            bits.count(first.max(begin) - begin, last.min(end) - begin)
        });
        before + ranges + bits.sum::<u64>()
    }

    fn next_absent(&self, mut at: u64) -> u64 {
        loop {
            let chunk = at >> CHUNK_BITS;
            if let Some(bits) = self.bits.get(&chunk) {
                let (begin, end) = bounds(chunk);
                match bits.next(at - begin, false) {
                    Some(place) => return begin + place,
                    None => at = end.saturating_add(1),
                }
                continue;
            }
            match self.ranges.range(..=at).next_back() {
                Some((_, &last)) if last >= at && last < u64::MAX => at = last + 1,
                _ => return at,
            }
        }
    }

    fn next_present(&self, at: u64) -> Option<u64> {
        let within = self.ranges.range(..=at).next_back().filter(|(_, last)| **last >= at).map(|_| at);
        let range = within.or_else(|| self.ranges.range(at..).next().map(|(first, _)| *first));
        let bits = self.bits.range(at >> CHUNK_BITS..).find_map(|(chunk, bits)| {
            let (begin, _) = bounds(*chunk);
            Some(begin + bits.next(at.max(begin) - begin, true)?)
        });
        [range, bits].into_iter().flatten().min()
    }

    fn remove_below(&mut self, position: u64) {
        while let Some(entry) = self.ranges.first_entry()
            && *entry.key() < position
        {
            let (_, last) = entry.remove_entry();
            if last >= position {
                self.ranges.insert(position, last);
            }
        }
        // A chunk that lies partly below stays: what is below is not looked at any more.
        while let Some(entry) = self.bits.first_entry()
            && bounds(*entry.key()).1 < position
        {
            entry.remove();
        }
    }
}

impl Positions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds `first` to `last`; returns how many of them were not in it.
    pub fn insert(&mut self, first: Position, last: Position) -> u64 {
        if first > last { 0 } else { self.0.get_or_insert_default().insert(first, last) }
    }

    /// How many of `first` to `last` are in it.
    #[inline]
    pub fn count(&self, first: Position, last: Position) -> u64 {
        self.0.as_ref().filter(|_| first <= last).map_or(0, |parts| parts.count(first, last))
    }

    /// Whether it is in it.
    #[inline]
    pub fn contains(&self, position: Position) -> bool {
        self.count(position, position) == 1
    }

    /// The first from `at` on that is not in it.
    #[inline]
    pub fn next_absent(&self, at: Position) -> Position {
        self.0.as_ref().map_or(at, |parts| parts.next_absent(at))
    }

    /// The first from `at` on that is in it.
    pub fn next_present(&self, at: Position) -> Option<Position> {
        self.0.as_ref()?.next_present(at)
    }

    /// Forgets those below `position`. Some of them may go on being counted: they are not to be asked for any more.
    #[inline]
    pub fn remove_below(&mut self, position: Position) {
        if let Some(parts) = &mut self.0 {
            parts.remove_below(position);
            if parts.ranges.is_empty() && parts.bits.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// The stretches of it from `from` to before `to`, in order.
    pub fn stretches(&self, from: Position, to: Position) -> impl Iterator<Item = (Position, Position)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let first = self.next_present(at).filter(|first| *first < to)?;
            at = self.next_absent(first);
            Some((first, at.min(to) - 1))
        })
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| 64 + parts.ranges.len() * 24 + parts.bits.len() * (size_of::<Bits>() + 16))
    }

    /// Appends it as bytes: u32 ranges | u32 chunks | ranges x { u64 first, u64 last } |
    /// chunks x { u64 number, 64 x u64 }.
    pub fn save(&self, to: &mut Vec<u8>) {
        let Some(parts) = &self.0 else {
            return to.extend_from_slice(&[0; 8]);
        };
        to.extend_from_slice(&(parts.ranges.len() as u32).to_le_bytes());
        to.extend_from_slice(&(parts.bits.len() as u32).to_le_bytes());
        for (first, last) in &parts.ranges {
            to.extend_from_slice(&first.to_le_bytes());
            to.extend_from_slice(&last.to_le_bytes());
        }
        for (chunk, bits) in &parts.bits {
            to.extend_from_slice(&chunk.to_le_bytes());
            bits.words.iter().for_each(|word| to.extend_from_slice(&word.to_le_bytes()));
        }
    }

    /// Reads what [`save`](Positions::save) wrote.
    pub fn load(from: &mut Bytes<'_>) -> Option<Positions> {
        let (ranges, chunks) = (from.u32()?, from.u32()?);
        let mut parts = Parts::default();
        for _ in 0..ranges {
            parts.ranges.insert(from.u64()?, from.u64()?);
        }
        for _ in 0..chunks {
            let (chunk, mut bits) = (from.u64()?, Bits::default());
            for word in &mut bits.words {
                *word = from.u64()?;
            }
            bits.count = bits.words.iter().map(|word| word.count_ones()).sum();
            parts.bits.insert(chunk, bits);
        }
        let empty = parts.ranges.is_empty() && parts.bits.is_empty();
        Some(Positions((!empty).then(|| Box::new(parts))))
    }
}

#[cfg(test)]
mod tests;
