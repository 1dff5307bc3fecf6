//! Looking behind a batch that is not sound: is there something that shows that it was durable once?

use super::Scan;
use crate::store::batch::{BATCH_ALIGN, BATCH_HEADER_BYTES, BatchHeader};
use crate::store::disk::Disk;
use crate::store::reader::Reader;
use crate::store::segment::HEADER_BYTES;

/// Where a batch begins in the segment that is read.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub at: u64,
    pub index: u64,
}

/// What follows a batch that is not sound.
#[derive(Debug, Default)]
pub struct Beyond {
    /// The first batch in the same segment that looks sound.
    pub next: Option<Place>,
    /// The next segment with batches that count.
    pub segment: Option<usize>,
    /// What was looked for was durable once.
    pub was_durable: bool,
    /// The highest index that any of these knew as synced, as far as that was looked at.
    synced: u64,
}

impl<D: Disk> Scan<'_, D> {
    /// Looks behind the current place, from `skip` bytes further on.
    pub(super) fn beyond(&mut self, skip: u64) -> Beyond {
        let mut beyond = Beyond::default();
        let Some(mut reader) = self.reader.take() else {
            return beyond;
        };
        let segments = self.segments;
        let term = segments.get(self.segment).map_or(0, |segment| segment.header.term);
        self.search(&mut reader, self.segment, self.at + skip, self.seen, &mut beyond);
        self.reader = Some(reader);
        for (i, segment) in segments.iter().enumerate().skip(self.segment + 1) {
            let (first, bound) = (segment.header.first, self.bounds.get(i).copied().unwrap_or(0));
            if bound <= first {
                continue;
            }
            beyond.segment = beyond.segment.or(Some(i));
            // The start that began a later term found everything in front of it.
            beyond.was_durable |= segment.header.term > term;
            if beyond.was_durable {
                break;
            }
            if let Ok(mut reader) = Reader::open(&self.disk, &segment.slot.name()) {
                self.search(&mut reader, i, HEADER_BYTES as u64, first.saturating_sub(1), &mut beyond);
            }
        }
        beyond
    }

    /// Up to which of the batches in front of batch `index` all were durable once, as far as batch `index`, at `at` of
    /// this segment, and what follows it know.
    pub(super) fn durable_before(&mut self, index: u64, segment: usize, at: u64) -> u64 {
        let mut beyond = Beyond { synced: self.synced, ..Beyond::default() };
        let sought = index.saturating_sub(1);
        let (expected, here) = (std::mem::replace(&mut self.expected, sought), self.reader.take());
        let term = self.segments.get(segment).map_or(0, |segment| segment.header.term);
        for (i, file) in self.segments.iter().enumerate().skip(segment) {
            let (first, bound) = (file.header.first, self.bounds.get(i).copied().unwrap_or(0));
            if bound <= first {
                continue;
            }
            beyond.was_durable |= file.header.term > term;
            if beyond.was_durable {
                break;
            }
            if let Ok(mut reader) = Reader::open(&self.disk, &file.slot.name()) {
                let (at, first) = if i == segment { (at, index) } else { (HEADER_BYTES as u64, first) };
                self.search(&mut reader, i, at, first.saturating_sub(1), &mut beyond);
            }
        }
        (self.expected, self.reader) = (expected, here);
        if beyond.was_durable { sought } else { beyond.synced.min(sought) }
    }

    /// Looks for batches in a segment from `at` on, with indexes above `seen`.
    fn search(&mut self, reader: &mut Reader<D::File>, i: usize, mut at: u64, mut seen: u64, beyond: &mut Beyond) {
        let (Some(segment), Some(bound)) = (self.segments.get(i), self.bounds.get(i)) else {
            return;
        };
        let is_here = i == self.segment;
        while at < reader.file_bytes() && !(beyond.was_durable && (beyond.next.is_some() || !is_here)) {
            let bytes = reader.bytes(at, BATCH_HEADER_BYTES);
            let header = BatchHeader::decode(bytes, &self.lane).or_else(|| {
                let may_be = self.corrections > 0 && BatchHeader::looks_like_one(bytes);
                self.corrections -= u32::from(may_be);
                if may_be { BatchHeader::correct(bytes, &self.lane) } else { None }
            });
            let header = header.filter(|header| {
                (header.segment, header.term) == (segment.header.number, segment.header.term)
                    && (seen + 1..*bound).contains(&header.index)
            });
            let Some(header) = header else {
                at += BATCH_ALIGN;
                continue;
            };
            if is_here {
                beyond.next = beyond.next.or(Some(Place { at, index: header.index }));
            }
            beyond.synced = beyond.synced.max(header.synced);
            beyond.was_durable |= header.synced >= self.expected;
            seen = header.index;
            at += header.batch_bytes();
        }
    }
}
