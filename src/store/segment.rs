//! Segments: the one kind of file that holds records. This is how one begins.
//!
//! All numbers are little-endian.
//!
//! ```text
//! the header, a block of 4096 bytes
//!    0  8 bytes  "LVSEGMNT"
//!    8  u32      format version
//!   12  u32      CRC-32C of bytes 0 to 11 and 16 to 4095
//!   16  16 bytes the lane
//!   32  u64      number of the segment: never used again, also when the file is
//!   40  u64      term
//!   48  u64      index of its first batch
//!   56           zeros
//! the batches, one behind the other: see `batch`
//! the segment's index, if it has one: the keeper's
//! ```
//!
//! A later version may change everything but the first 16 bytes, and the size of the block.

use super::{u32_at, u64_at};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 4096;
/// Where its numbers end: the rest is zeros.
pub const HEADER_NUMBERS_END: usize = 56;
/// The version of the format of segments.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"LVSEGMNT";
const NAME: &str = "segment-";

/// Which lane a file belongs to: chosen at random when its directory is first used.
pub type LaneId = [u8; 16];

/// A file for segments, one after the other: its number is in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileSlot(pub u32);

impl FileSlot {
    /// The name of its file.
    pub fn name(self) -> String {
        format!("{NAME}{:08x}", self.0)
    }

    /// The slot whose file has this name.
    pub fn from_name(name: &str) -> Option<FileSlot> {
        let slot = FileSlot(u32::from_str_radix(name.strip_prefix(NAME)?, 16).ok()?);
        (slot.name() == name).then_some(slot)
    }
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The lane.
    pub lane: LaneId,
    /// The number of the segment: ascends in the order of writing.
    pub number: u64,
    /// The term in which it is written.
    pub term: u64,
    /// The index of its first batch. Batches of earlier segments that have this index or a higher one are void.
    pub first: u64,
}

/// Why a block is no header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHeader {
    /// Only zeros, or nothing at all: the file was not used yet.
    Blank,
    /// Something else, or bits were lost.
    Damaged,
    /// Sound, and of a version that this program does not know.
    Later(u32),
}

fn checksum(block: &[u8]) -> Option<u32> {
    Some(crc32c::crc32c_append(crc32c::crc32c(block.get(..12)?), block.get(16..HEADER_BYTES)?))
}

impl SegmentHeader {
    /// As it is in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_BYTES);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.lane);
        for number in [self.number, self.term, self.first] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.resize(HEADER_BYTES, 0);
        let crc = checksum(&block).unwrap_or_default();
        if let Some(place) = block.get_mut(12..16) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        block
    }

    /// Reads the first bytes of a file: the whole block, or less if the file is shorter.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, NoHeader> {
        if block.iter().all(|byte| *byte == 0) {
            return Err(NoHeader::Blank);
        }
        Self::parse(block).ok_or(NoHeader::Damaged)?
    }

    fn parse(block: &[u8]) -> Option<Result<SegmentHeader, NoHeader>> {
        if !block.starts_with(MAGIC) || checksum(block)? != u32_at(block, 12)? {
            return None;
        }
        Some(match u32_at(block, 8)? {
            VERSION => Ok(SegmentHeader {
                lane: *block.get(16..)?.first_chunk()?,
                number: u64_at(block, 32)?,
                term: u64_at(block, 40)?,
                first: u64_at(block, 48)?,
            }),
            version if version > VERSION => Err(NoHeader::Later(version)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { lane: [7; 16], number: 1 << 40, term: 3, first: 99 };

    #[test]
    fn slots_have_names() {
        for (name, expected) in [
            ("segment-00000000", Some(FileSlot(0))),
            ("segment-ffffffff", Some(FileSlot(u32::MAX))),
            ("segment-0000001f", Some(FileSlot(31))),
            ("segment-0000001F", None),
            ("segment-1f", None),
            ("segment-+000001f", None),
            ("segment-", None),
            ("damaged-segment-00000000", None),
        ] {
            assert_eq!(FileSlot::from_name(name), expected, "{name}");
            assert!(expected.is_none_or(|slot| slot.name() == name));
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let block = HEADER.encode();
        assert_eq!(block.len(), HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&block), Ok(HEADER));
        assert_eq!(SegmentHeader::decode(&[]), Err(NoHeader::Blank));
        assert_eq!(SegmentHeader::decode(&[0; HEADER_BYTES]), Err(NoHeader::Blank));
        for len in 1..HEADER_BYTES {
            assert_eq!(SegmentHeader::decode(&block[..len]), Err(NoHeader::Damaged));
        }
    }

    #[test]
    fn every_bit_of_a_header_counts() {
        let block = HEADER.encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut block = block.clone();
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&block), Err(NoHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut block = HEADER.encode();
        block[8] = 2;
        block[100] = 1;
        let crc = checksum(&block).unwrap();
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&block), Err(NoHeader::Later(2)));
    }
}
