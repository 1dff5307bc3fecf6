//! What stands at the head of each message, as far as its size allows: time, producer, sequence, run.
//!
//! ```text
//!  0        6          8           12          16
//!  +--------+----------+-----------+-----------+----
//!  |  time  | producer | sequence  |   mark    | filling
//!  +--------+----------+-----------+-----------+----
//!    48 bit    16 bit      32 bit      32 bit
//! ```
//!
//! All big-endian. The time is nanoseconds of the monotonic clock modulo 2^48 (78 hours), the sequence counts the
//! producer's messages modulo 2^32, the mark tells messages of this tool and of this run from others.

/// Bytes that a message needs to carry its time and producer.
pub const TIME_BYTES: usize = 8;
/// Bytes that a message needs to carry its sequence.
pub const SEQUENCE_BYTES: usize = 12;
/// Bytes that a message needs to carry the mark.
pub const MARK_BYTES: usize = 16;

/// The upper half of each mark: this tool's messages.
const TOOL: u32 = 0x4c50;
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// A mark of its own for each run.
pub fn mark() -> u32 {
    let mut bytes = [0; 2];
    // Without entropy the runs have one mark in common, and only messages of an earlier run are not told apart.
    let _ = getrandom::fill(&mut bytes);
    TOOL << 16 | u32::from(u16::from_be_bytes(bytes))
}

/// Time and producer in one word.
#[inline]
pub fn word(time: u64, producer: u16) -> u64 {
    (time & TIME_MASK) << 16 | u64::from(producer)
}

/// A message's head, as far as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Time and producer; `None` when the message is too short or another tool's.
    pub word: Option<u64>,
    /// The sequence.
    pub sequence: Option<u32>,
    /// The mark.
    pub mark: Option<u32>,
}

impl Head {
    /// Reads the head from a body's first bytes, or all of a shorter body.
    #[inline]
    pub fn read(body: &[u8]) -> Head {
        let Some(word) = body.first_chunk::<TIME_BYTES>() else { return Head::default() };
        let mut head = Head { word: Some(u64::from_be_bytes(*word)), sequence: None, mark: None };
        if let Some(sequence) = body.get(TIME_BYTES..SEQUENCE_BYTES).and_then(<[u8]>::first_chunk) {
            head.sequence = Some(u32::from_be_bytes(*sequence));
        }
        if let Some(mark) = body.get(SEQUENCE_BYTES..MARK_BYTES).and_then(<[u8]>::first_chunk) {
            let mark = u32::from_be_bytes(*mark);
            if mark >> 16 != TOOL {
                return Head::default();
            }
            head.mark = Some(mark);
        }
        head
    }
}

/// The producer of a word.
pub fn producer(word: u64) -> u16 {
    word as u16
}

/// Nanoseconds from the word's time to `now`; `None` when that lies in the future: the word is none of ours.
#[inline]
pub fn age(word: u64, now: u64) -> Option<u64> {
    let age = now.wrapping_sub(word >> 16) & TIME_MASK;
    if age >> (TIME_BITS - 1) == 0 { Some(age) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_as_far_as_it_goes() {
        let mut body = vec![];
        body.extend_from_slice(&word(5, 7).to_be_bytes());
        body.extend_from_slice(&9u32.to_be_bytes());
        let mark = mark();
        body.extend_from_slice(&mark.to_be_bytes());
        body.push(b'x');
        let word = Some(word(5, 7));
        assert_eq!(Head::read(&body[..7]), Head::default());
        assert_eq!(Head::read(&body[..8]), Head { word, sequence: None, mark: None });
        assert_eq!(Head::read(&body[..12]), Head { word, sequence: Some(9), mark: None });
        assert_eq!(Head::read(&body), Head { word, sequence: Some(9), mark: Some(mark) });
        body[12] ^= 1;
        assert_eq!(Head::read(&body), Head::default());
        assert_eq!(word.map(producer), Some(7));
    }

    #[test]
    fn ages_wrap_and_are_never_negative() {
        let near = TIME_MASK - 10;
        assert_eq!(age(word(100, 1), 150), Some(50));
        assert_eq!(age(word(near, 1), near + 30), Some(30));
        assert_eq!(age(word(150, 1), 100), None);
    }
}
