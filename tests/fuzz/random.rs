//! A small seeded generator and what a fuzzer does to bytes.

pub use crate::rng::Rng as Random;

impl Random {
    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// The bytes with a few changes: overwritten, flipped, inserted, removed, repeated, cut.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            let len = (1 + self.below(8)).min(bytes.len() - at);
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] = *self.pick(&[0, 1, 2, 3, 8, 0x7f, 0x80, 0xce, 0xff]),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 => {
                    let new = self.bytes(len);
                    bytes.splice(at..at, new);
                }
                3 => drop(bytes.drain(at..at + len)),
                4 => {
                    let again = bytes[at..at + len].to_vec();
                    bytes.splice(at..at, again);
                }
                5 if self.once_in(4) => bytes.truncate(at),
                _ if at < bytes.len() => bytes[at] = self.next() as u8,
                _ => {}
            }
        }
        bytes
    }
}

/// Says which case it was when the case panics.
pub struct TellSeed(pub u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        eprintln!("the case was Random::new({})", self.0);
    }
}
