//! The files of segments, kept open as long as they are in use; and pages of indexes.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};

use super::runs::Slot;
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::segment::FileSlot;

/// Files kept open.
const OPEN_MAX: usize = 64;
/// Pages of indexes kept in memory.
const PAGES_MAX: usize = 64;

/// The open files of a directory.
#[derive(Debug)]
pub struct Files<D: Disk> {
    /// The directory.
    pub disk: D,
    /// How they are opened.
    how: Open,
    /// The one that was used last is in front.
    open: VecDeque<(FileSlot, D::File)>,
}

impl<D: Disk> Files<D> {
    /// None is open.
    pub fn new(disk: D) -> Files<D> {
        Files { disk, how: Open::Write, open: VecDeque::new() }
    }

    /// The same, only to be read.
    pub fn to_read(disk: D) -> Files<D> {
        Files { how: Open::Read, ..Files::new(disk) }
    }

    /// The file of a segment.
    pub fn file(&mut self, slot: FileSlot) -> Result<&D::File> {
        match self.open.iter().position(|(open, _)| *open == slot) {
            Some(0) => {}
            Some(at) => {
                if let Some(found) = self.open.remove(at) {
                    self.open.push_front(found);
                }
            }
            None => {
                let file = self.disk.open(&slot.name(), self.how)?;
                self.open.truncate(OPEN_MAX - 1);
                self.open.push_front((slot, file));
            }
        }
        self.open.front().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Closes a file: somebody else will use it.
    pub fn close(&mut self, slot: FileSlot) {
        self.open.retain(|(open, _)| *open != slot);
    }

    /// Fills the buffer from the file of a segment.
    pub fn read(&mut self, slot: FileSlot, at: u64, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len();
        if self.file(slot)?.read_at(at, buffer)? == len { Ok(()) } else { Err(Error::from(ErrorKind::UnexpectedEof)) }
    }
}

/// Pages of slots that were read.
#[derive(Debug, Default)]
pub struct Pages {
    /// The number of the segment, the page of its index, the slots. The one that was used last is in front.
    pages: VecDeque<(u64, u64, Vec<Slot>)>,
}

impl Pages {
    /// A page, if it is here.
    pub fn find(&mut self, segment: u64, page: u64) -> Option<&[Slot]> {
        let at = self.pages.iter().position(|(number, at, _)| (*number, *at) == (segment, page))?;
        if at > 0 {
            let found = self.pages.remove(at)?;
            self.pages.push_front(found);
        }
        self.pages.front().map(|(.., slots)| &**slots)
    }

    /// Keeps a page.
    pub fn keep(&mut self, segment: u64, page: u64, slots: Vec<Slot>) {
        self.pages.truncate(PAGES_MAX - 1);
        self.pages.push_front((segment, page, slots));
    }

    /// Forgets those of a segment.
    pub fn forget(&mut self, segment: u64) {
        self.pages.retain(|(number, ..)| *number != segment);
    }
}
