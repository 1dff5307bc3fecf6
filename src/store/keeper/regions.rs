//! Slots that lie close together are read with one call.

use super::runs::Slot;
use crate::store::Position;

/// What is not wanted is read as well when it is no longer than this and lies between what is.
const GAP_BYTES: u64 = 16 << 10;
/// A region may have so many bytes, however little is wanted.
const SWEEP_BYTES: u64 = 64 << 10;

/// A slot of which something is wanted.
pub struct Wanted {
    /// In which segment.
    pub segment: u64,
    /// The slot.
    pub slot: Slot,
    /// Wanted are the positions from here
    pub first: Position,
    /// to here.
    pub last: Position,
    /// Where the slot goes in the buffer.
    pub to: usize,
}

/// A part of a file that is read at once.
pub struct Region {
    /// In which segment.
    pub segment: u64,
    /// Where it begins.
    pub at: u64,
    end: u64,
    /// Bytes of the wanted slots.
    bytes: u64,
    /// Which of the wanted slots lie in it.
    pub slots: std::ops::Range<usize>,
}

impl Region {
    /// Bytes of it.
    pub fn span(&self) -> usize {
        (self.end - self.at) as usize
    }

    /// Whether most of it is wanted: it goes into the buffer as it is.
    pub fn is_dense(&self) -> bool {
        self.bytes * 2 >= self.end - self.at
    }
}

/// What is to be read, and how many bytes it takes in the buffer.
pub fn regions(wanted: &mut [Wanted], bytes_max: u64) -> (Vec<Region>, usize) {
    let mut regions: Vec<Region> = Vec::new();
    for (i, Wanted { segment, slot, .. }) in wanted.iter().enumerate() {
        let (at, end) = (u64::from(slot.at), u64::from(slot.at) + u64::from(slot.bytes));
        if let Some(last) = regions.last_mut()
            && last.segment == *segment
            && at >= last.end
            && at - last.end <= GAP_BYTES
            && end - last.at <= bytes_max.saturating_mul(2).max(SWEEP_BYTES)
        {
            (last.end, last.slots.end) = (end, i + 1);
            last.bytes += end - at;
            continue;
        }
        regions.push(Region { segment: *segment, at, end, bytes: end - at, slots: i..i + 1 });
    }
    let mut len = 0;
    for region in &regions {
        let begun = len;
        for Wanted { slot, to, .. } in wanted.get_mut(region.slots.clone()).unwrap_or_default() {
            if region.is_dense() {
                *to = begun + (u64::from(slot.at) - region.at) as usize;
                len = begun + region.span();
            } else {
                *to = len;
                len += slot.bytes as usize;
            }
        }
    }
    (regions, len)
}
