//! A set of numbers that come nearly in order: which ones were seen, and whether one was seen before.

use std::collections::VecDeque;

/// Numbers seen: all below `next`, and those above it that have a bit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    next: u64,
    /// Bit i of word w is number `next` rounded down to 64, plus 64 w + i. Empty while all came in order.
    ahead: VecDeque<u64>,
    /// How many bits are set.
    bits: u64,
}

impl Marks {
    /// Everything below `next` is taken for seen.
    pub fn from(next: u64) -> Marks {
        Marks { next, ..Marks::default() }
    }

    /// The first number that was not seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many numbers at and above [`next`](Marks::next) were seen.
    pub fn ahead(&self) -> u64 {
        self.bits
    }

    /// How many numbers below the highest one seen were not seen.
    pub fn missing(&self) -> u64 {
        let Some(last) = self.ahead.iter().rposition(|word| *word != 0) else { return 0 };
        let highest = self.next / 64 * 64 + last as u64 * 64 + u64::from(self.ahead[last].ilog2());
        highest + 1 - self.next - self.bits
    }

    /// Marks a number; `false` when it was marked before.
    #[inline]
    pub fn mark(&mut self, number: u64) -> bool {
        if number == self.next && self.bits == 0 {
            self.next += 1;
            self.ahead.clear();
            return true;
        }
        self.mark_out_of_order(number)
    }

    fn mark_out_of_order(&mut self, number: u64) -> bool {
        if number < self.next {
            return false;
        }
        let at = number - self.next / 64 * 64;
        let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
        if word >= self.ahead.len() {
            self.ahead.resize(word + 1, 0);
        }
        if self.ahead[word] & bit != 0 {
            return false;
        }
        self.ahead[word] |= bit;
        self.bits += 1;
        self.advance();
        true
    }

    /// Moves `next` over what has been marked.
    fn advance(&mut self) {
        while let Some(word) = self.ahead.front_mut() {
            let bit = 1 << (self.next % 64);
            if *word & bit == 0 {
                break;
            }
            *word &= !bit;
            self.bits -= 1;
            self.next += 1;
            if self.next.is_multiple_of(64) {
                self.ahead.pop_front();
            }
        }
    }

    /// Marks all numbers up to and including `last`; how many were not marked before.
    pub fn mark_through(&mut self, last: u64) -> u64 {
        if last < self.next {
            return 0;
        }
        if self.bits == 0 {
            let count = last + 1 - self.next;
            self.next = last + 1;
            self.ahead.clear();
            return count;
        }
        let before = self.next + self.bits;
        let bits = self.bits;
        let mut below = 0;
        while self.next <= last {
            // A word at a time where the whole word is covered.
            let end = (self.next / 64 * 64 + 64).min(last + 1);
            let word = self.ahead.front_mut().map_or(0, |word| {
                let mask = if end.is_multiple_of(64) { u64::MAX } else { (1 << (end % 64)) - 1 };
                let covered = *word & mask;
                *word &= !mask;
                covered
            });
            below += u64::from(word.count_ones());
            self.next = end;
            if self.next.is_multiple_of(64) {
                self.ahead.pop_front();
            }
        }
        self.bits = bits - below;
        let count = self.next + self.bits - before;
        self.advance();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn marks_are_a_set() {
        let mut random = 12345u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for _ in 0..50 {
            let (mut marks, mut set) = (Marks::default(), BTreeSet::new());
            for _ in 0..300 {
                let low = marks.next();
                let number = (low + next(150)).saturating_sub(next(20));
                if next(10) == 0 {
                    let new = (0..=number).filter(|n| set.insert(*n)).count() as u64;
                    assert_eq!(marks.mark_through(number), new);
                } else {
                    assert_eq!(marks.mark(number), set.insert(number));
                }
                let first = (0..).find(|n| !set.contains(n)).unwrap();
                assert_eq!((marks.next(), marks.ahead()), (first, set.range(first..).count() as u64));
                let missing = set.last().map_or(0, |last| (0..*last).filter(|n| !set.contains(n)).count());
                assert_eq!(marks.missing(), missing as u64);
            }
        }
    }

    #[test]
    fn what_comes_in_order_needs_no_memory() {
        let mut marks = Marks::from(10);
        for number in 10..10_000 {
            assert!(marks.mark(number));
        }
        assert!(!marks.mark(5));
        assert_eq!((marks.next(), marks.ahead.capacity()), (10_000, 0));
    }
}
