//! An open file of the simulated disk.

use super::{Operation, SECTOR, SimDisk, State, Verdict, failed};
use leveret::store::disk::{DiskFile, Open};
use std::fmt;
use std::io::{Error, ErrorKind, Result};

/// An open file.
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    how: Open,
    /// Its name when it was opened.
    name: String,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile {{ {}, {:?} }}", self.name, self.how)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.borrow_mut();
        if state.era == self.disk.era {
            if let Some(file) = state.files.get_mut(&self.inode) {
                file.handles -= 1;
            }
            state.sweep();
        }
    }
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, inode: u64, how: Open, name: &str) -> SimFile {
        SimFile { disk, inode, how, name: name.into() }
    }

    fn change(&self, operation: Operation) -> Result<(std::cell::RefMut<'_, State>, Verdict)> {
        let may = self.how != Open::Read || operation == Operation::Sync;
        assert!(may, "{operation:?} of {}, which was opened to be read", self.name);
        let mut state = self.disk.state.borrow_mut();
        let verdict = state.begin(self.disk.era, operation)?;
        Ok((state, verdict))
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> Result<u64> {
        let state = self.disk.state.borrow();
        state.alive(self.disk.era)?;
        Ok(state.files[&self.inode].content.len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut state = self.disk.state.borrow_mut();
        if let Verdict::Part(error) = state.begin(self.disk.era, Operation::Read)? {
            return Err(error);
        }
        state.work.reads += 1;
        let file = &state.files[&self.inode];
        let end = at + buffer.len() as u64;
        if file.spoilt.iter().any(|(from, to)| at < *to && *from < end) {
            return Err(failed());
        }
        let content = file.content.get(at as usize..).unwrap_or(&[]);
        let count = content.len().min(buffer.len());
        buffer[..count].copy_from_slice(&content[..count]);
        Ok(count)
    }

    fn write_at(&self, at: u64, parts: &[&[u8]]) -> Result<()> {
        let (mut state, verdict) = self.change(Operation::Write)?;
        let bytes = parts.concat();
        state.tell(|| format!("write {} at {at:#x}, {} bytes", self.name, bytes.len()));
        let end = at + bytes.len() as u64;
        let fits = state.grow(self.inode, end).saturating_sub(at) as usize;
        state.work.writes += 1;
        state.work.bytes += bytes.len() as u64;
        let torn = matches!(verdict, Verdict::Part(_));
        let State { rng, files, .. } = &mut *state;
        let file = files.get_mut(&self.inode).expect("an inode");
        let whole = &bytes[..fits.min(bytes.len())];
        if !torn {
            file.write(at as usize, whole);
            let fitted = whole.len() == bytes.len();
            return if fitted { Ok(()) } else { Err(Error::from(ErrorKind::StorageFull)) };
        }
        if rng.chance(50) {
            // All of it may be there, and nobody knows.
            let count = if rng.chance(30) { whole.len() } else { rng.below(whole.len() + 1) };
            file.write(at as usize, &whole[..count]);
        } else {
            let mut from = 0;
            while from < whole.len() {
                let to = whole.len().min(from + SECTOR - (at as usize + from) % SECTOR);
                if rng.chance(50) {
                    file.write(at as usize + from, &whole[from..to]);
                }
                from = to;
            }
        }
        verdict.into()
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let (mut state, verdict) = self.change(Operation::Allocate)?;
        state.tell(|| format!("allocate {} to {len:#x}", self.name));
        let done = match verdict {
            Verdict::Done => len,
            // Room is found in whole blocks.
            Verdict::Part(_) => state.rng.below(len as usize + 1) as u64 / super::BLOCK * super::BLOCK,
        };
        let fits = state.grow(self.inode, done);
        let file = state.files.get_mut(&self.inode).expect("an inode");
        // What does not fit in full leaves the room that was found, and the length as it was.
        if matches!(verdict, Verdict::Done) && fits < len {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        if fits as usize > file.content.len() {
            file.set_len(fits as usize);
        }
        verdict.into()
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let (mut state, verdict) = self.change(Operation::Truncate)?;
        state.tell(|| format!("truncate {} to {len:#x}", self.name));
        if matches!(verdict, Verdict::Done) || state.rng.chance(50) {
            let file = state.files.get_mut(&self.inode).expect("an inode");
            let shrinks = len < file.content.len() as u64;
            file.set_len(len as usize);
            if shrinks {
                file.blocks = file.blocks.min(len.div_ceil(super::BLOCK));
            }
        }
        verdict.into()
    }

    fn sync(&self) -> Result<()> {
        let (mut state, verdict) = self.change(Operation::Sync)?;
        state.tell(|| format!("sync {}", self.name));
        state.work.syncs += 1;
        let goes_down = state.down.is_some();
        let State { rng, files, .. } = &mut *state;
        let file = files.get_mut(&self.inode).expect("an inode");
        match verdict {
            Verdict::Done => file.sync(),
            // The end decides what of it is durable.
            Verdict::Part(_) if goes_down => {}
            Verdict::Part(_) => file.sync_in_part(rng),
        }
        verdict.into()
    }
}
