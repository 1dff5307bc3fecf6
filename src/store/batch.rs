//! Batches: what is written to a segment at once.
//!
//! A batch begins at a multiple of 64 bytes, never crosses segments, and holds whole submissions. All numbers are
//! little-endian.
//!
//! ```text
//! the header, 64 bytes
//!    0  u32  "LVBA"
//!    4  u32  CRC-32C of the lane's 16 bytes and bytes 8 to 63
//!    8  u64  number of the segment
//!   16  u64  index: one more than that of the batch before, over the whole lane
//!   24  u64  term
//!   32  u64  synced: the highest index that was known to be durable when this was written
//!   40  u64  time in milliseconds: never less than that of the batch before
//!   48  u32  bytes of the payload
//!   52  u32  CRC-32C of the payload
//!   56  u64  0
//! the payload: records, one behind the other
//! zeros up to a multiple of 64 bytes
//! ```
//!
//! The lane in the checksum keeps out what looks like a batch in a message, or comes from another directory; the number
//! of the segment keeps out what is left in the file from an earlier use.

use super::segment::{FileSlot, HEADER_BYTES, LaneId};
use super::{Submission, u32_at, u64_at};

/// Bytes of the header.
pub const BATCH_HEADER_BYTES: usize = 64;
/// Batches begin at multiples of this.
pub const BATCH_ALIGN: u64 = 64;
/// The largest payload: places in a segment are numbers of 32 bits.
pub const PAYLOAD_MAX: u64 = u32::MAX as u64 - 4 * HEADER_BYTES as u64;

const MAGIC: u32 = u32::from_le_bytes(*b"LVBA");

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The number of the segment.
    pub segment: u64,
    /// The index.
    pub index: u64,
    /// The term.
    pub term: u64,
    /// The highest index that was known to be durable when this was written.
    pub synced: u64,
    /// When, in milliseconds.
    pub time_ms: u64,
    /// Bytes of the payload.
    pub len: u32,
    /// CRC-32C of the payload.
    pub crc: u32,
}

/// Bytes that a batch with a payload of `len` bytes takes in its segment.
pub fn batch_bytes(len: u64) -> u64 {
    (BATCH_HEADER_BYTES as u64 + len).next_multiple_of(BATCH_ALIGN)
}

fn checksum(header: &[u8], lane: &LaneId) -> Option<u32> {
    Some(crc32c::crc32c_append(crc32c::crc32c(lane), header.get(8..BATCH_HEADER_BYTES)?))
}

impl BatchHeader {
    /// As it is in the file of this lane.
    pub fn encode(&self, lane: &LaneId) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut put = |at: usize, number: &[u8]| {
            if let Some(place) = header.get_mut(at..at + number.len()) {
                place.copy_from_slice(number);
            }
        };
        put(0, &MAGIC.to_le_bytes());
        for (i, number) in [self.segment, self.index, self.term, self.synced, self.time_ms].iter().enumerate() {
            put(8 + 8 * i, &number.to_le_bytes());
        }
        put(48, &self.len.to_le_bytes());
        put(52, &self.crc.to_le_bytes());
        let crc = checksum(&header, lane).unwrap_or_default();
        if let Some(place) = header.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        header
    }

    /// Reads a header of this lane. `None` if it is none, or damaged.
    #[inline]
    pub fn decode(header: &[u8], lane: &LaneId) -> Option<BatchHeader> {
        // The first comparison ends most searches.
        if u32_at(header, 0)? != MAGIC || u32_at(header, 4)? != checksum(header, lane)? || u64_at(header, 56)? != 0 {
            return None;
        }
        Self::damaged(header)
    }

    /// Whether it begins as a header does, but for a bit.
    #[inline]
    pub fn looks_like_one(header: &[u8]) -> bool {
        u32_at(header, 0).is_some_and(|magic| (magic ^ MAGIC).count_ones() <= 1)
    }

    /// What is where a header has its numbers, right or wrong.
    pub fn damaged(header: &[u8]) -> Option<BatchHeader> {
        Some(BatchHeader {
            segment: u64_at(header, 8)?,
            index: u64_at(header, 16)?,
            term: u64_at(header, 24)?,
            synced: u64_at(header, 32)?,
            time_ms: u64_at(header, 40)?,
            len: u32_at(header, 48)?,
            crc: u32_at(header, 52)?,
        })
    }

    /// Reads a header in which one bit is wrong: the checksum says which one it must be.
    pub fn correct(header: &[u8], lane: &LaneId) -> Option<BatchHeader> {
        let mut header: [u8; BATCH_HEADER_BYTES] = *header.first_chunk()?;
        for at in 0..header.len() {
            for bit in 0..8 {
                header[at] ^= 1 << bit;
                if let Some(found) = Self::decode(&header, lane) {
                    return Some(found);
                }
                header[at] ^= 1 << bit;
            }
        }
        None
    }

    /// Bytes from the beginning of its batch to where the next one may begin.
    pub fn batch_bytes(&self) -> u64 {
        batch_bytes(self.len.into())
    }
}

/// A batch that is in the journal.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The number of its segment.
    pub segment: u64,
    /// The file of the segment.
    pub slot: FileSlot,
    /// Where its payload begins in the file.
    pub at: u64,
    /// The payload: their bytes, one behind the other.
    pub submissions: Vec<Submission>,
    /// Its time in milliseconds.
    pub time_ms: u64,
}

impl Batch {
    /// Bytes of the payload.
    pub fn payload_bytes(&self) -> u64 {
        self.submissions.iter().map(|submission| submission.bytes.len() as u64).sum()
    }

    /// Where it ends in the file: the next one may begin there.
    pub fn end(&self) -> u64 {
        self.at.saturating_sub(BATCH_HEADER_BYTES as u64) + batch_bytes(self.payload_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = [9; 16];
    const HEADER: BatchHeader =
        BatchHeader { segment: 5, index: 1 << 50, term: 2, synced: 77, time_ms: 1_700_000_000_000, len: 65, crc: 12 };

    #[test]
    fn headers_are_read_as_they_were_written() {
        let bytes = HEADER.encode(&LANE);
        assert_eq!(BatchHeader::decode(&bytes, &LANE), Some(HEADER));
        assert_eq!(BatchHeader::decode(&bytes, &[8; 16]), None);
        for len in 0..bytes.len() {
            assert_eq!(BatchHeader::decode(&bytes[..len], &LANE), None);
            assert_eq!(BatchHeader::correct(&bytes[..len], &LANE), None);
        }
    }

    #[test]
    fn every_bit_of_a_header_counts_and_one_can_be_corrected() {
        let bytes = HEADER.encode(&LANE);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bytes, &LANE), None, "bit {bit}");
            assert_eq!(BatchHeader::correct(&bytes, &LANE), Some(HEADER), "bit {bit}");
            for other in (0..bytes.len() * 8).filter(|other| *other != bit) {
                let mut bytes = bytes;
                bytes[other / 8] ^= 1 << (other % 8);
                assert_eq!(BatchHeader::decode(&bytes, &LANE), None, "bits {bit} and {other}");
            }
        }
    }

    #[test]
    fn batches_are_aligned() {
        for (len, expected) in [(0, 64), (1, 128), (64, 128), (65, 192), (1 << 20, (1 << 20) + 64)] {
            assert_eq!(batch_bytes(len), expected);
        }
    }
}
