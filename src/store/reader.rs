//! Reading a file from front to end, in large pieces, around what cannot be read.

use std::io::Result;

use super::disk::{Disk, DiskFile, Open};

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes that are given up when they cannot be read.
const SECTOR_BYTES: usize = 4096;
/// So many of them, and the rest of the file is given up: each may take the disk seconds.
const SECTORS_MAX: usize = 32;

/// A file that is read from front to end.
#[derive(Debug)]
pub struct Reader<F> {
    file: F,
    len: u64,
    piece: Vec<u8>,
    /// Where the piece is in the file.
    at: u64,
    /// Sectors that could not be read: zeros are in their place.
    unreadable: usize,
}

impl<F: DiskFile> Reader<F> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn open<D: Disk<File = F>>(disk: &D, name: &str) -> Result<Reader<F>> {
        let file = disk.open(name, Open::Read)?;
        let len = file.len()?;
        Ok(Reader { file, len, piece: vec![], at: 0, unreadable: 0 })
    }

    /// Bytes in the file, as far as they can be read.
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// Whether something could not be read.
    pub fn has_unreadable(&self) -> bool {
        self.unreadable > 0
    }

    /// The bytes from `at` on: `count` of them, or less at the end of the file.
    pub fn bytes(&mut self, at: u64, count: usize) -> &[u8] {
        let count = count.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let held = at.checked_sub(self.at).is_some_and(|skip| skip + count as u64 <= self.piece.len() as u64);
        if !held {
            let wanted = count.max(PIECE_BYTES).min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
            let mut piece = std::mem::take(&mut self.piece);
            piece.resize(wanted, 0);
            self.fill(at, &mut piece);
            self.piece = piece;
            self.at = at;
        }
        let skip = (at - self.at) as usize;
        self.piece.get(skip..).map_or(&[], |rest| rest.get(..count).unwrap_or(rest))
    }

    /// Reads `count` bytes from `at` on into `buffer`. Returns whether there are as many.
    pub fn read(&mut self, at: u64, count: usize, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        if at.checked_add(count as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        if count < PIECE_BYTES {
            buffer.extend_from_slice(self.bytes(at, count));
        } else {
            buffer.resize(count, 0);
            self.fill(at, buffer);
        }
        buffer.len() == count
    }

    /// Fills the buffer; with zeros where the file cannot be read, or has become shorter.
    fn fill(&mut self, at: u64, buffer: &mut [u8]) {
        if self.file.read_at(at, buffer).is_ok_and(|count| count == buffer.len()) {
            return;
        }
        buffer.fill(0);
        let mut from = 0;
        while from < buffer.len() && self.unreadable <= SECTORS_MAX {
            let place = at + from as u64;
            let end = (from + SECTOR_BYTES - (place % SECTOR_BYTES as u64) as usize).min(buffer.len());
            let Some(sector) = buffer.get_mut(from..end) else {
                return;
            };
            if !self.file.read_at(place, sector).is_ok_and(|count| count == sector.len()) {
                sector.fill(0);
                self.unreadable += 1;
            }
            if self.unreadable > SECTORS_MAX {
                self.len = self.len.min(place);
            }
            from = end;
        }
    }
}
