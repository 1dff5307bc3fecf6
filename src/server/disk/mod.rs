//! The disk of the operating system: a directory of plain files.
//!
//! A call that a signal interrupts is made again, and a short write is continued: whoever uses this sees either of
//! them never. Errors come as the system gave them, so that their kind can be asked for; but a quota that is used up is
//! a full disk.

pub mod directory;
pub mod lock;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, StatVfs, fallocate, fstatvfs};
use rustix::io::{Errno, pwritev, retry_on_intr};
use smallvec::SmallVec;

use crate::store::disk::{Disk, DiskFile, Open};

/// The rights of a file of the store: nobody else reads messages.
pub const FILE_MODE: u32 = 0o600;

/// Slices per vectored write: the most that Linux takes at once.
const SLICES_MAX: usize = 1024;

/// Bytes written at once where room cannot be reserved and has to be filled.
const FILL_BYTES: usize = 1 << 20;

/// Whether files may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    Full,
}

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct DirectoryDisk {
    access: Access,
    at: Arc<At>,
}

#[derive(Debug)]
struct At {
    path: PathBuf,
    /// The directory itself, to be synced and asked for its room.
    directory: File,
}

impl DirectoryDisk {
    /// The files of the directory at `path`.
    ///
    /// # Errors
    /// As the system says when it opens the directory; [`ErrorKind::NotADirectory`] for anything else.
    pub fn open(path: &Path) -> Result<DirectoryDisk> {
        DirectoryDisk::with(path, Access::Full)
    }

    /// The files of the directory at `path`, never to be changed: whatever would change one fails with
    /// [`ErrorKind::ReadOnlyFilesystem`].
    ///
    /// # Errors
    /// As [`open`](DirectoryDisk::open).
    pub fn open_read_only(path: &Path) -> Result<DirectoryDisk> {
        DirectoryDisk::with(path, Access::ReadOnly)
    }

    fn with(path: &Path, access: Access) -> Result<DirectoryDisk> {
        let directory = OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits() as i32).open(path)?;
        Ok(DirectoryDisk { access, at: Arc::new(At { path: path.into(), directory }) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.at.path.join(name)
    }

    fn may_change(&self) -> Result<()> {
        match self.access {
            Access::Full => Ok(()),
            Access::ReadOnly => Err(ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn room(&self) -> Result<StatVfs> {
        Ok(retry_on_intr(|| fstatvfs(&self.at.directory))?)
    }
}

impl Disk for DirectoryDisk {
    type File = DirectoryFile;

    /// Directories and links are listed, too: they may be in the way of a file. Pipes and the like are not, for opening
    /// one may take forever; and no names that are no text: none of ours.
    fn list(&self) -> Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.at.path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_file() || kind.is_dir() || kind.is_symlink() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, how: Open) -> Result<DirectoryFile> {
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        if how != Open::Read {
            self.may_change()?;
            options.write(true).create(how == Open::Create);
        }
        Ok(DirectoryFile { file: options.open(self.file(name)).map_err(or_full)? })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.may_change()?;
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.may_change()?;
        fs::remove_file(self.file(name))
    }

    fn sync_directory(&self) -> Result<()> {
        self.may_change()?;
        self.at.directory.sync_all()
    }

    fn free_bytes(&self) -> Result<u64> {
        let room = self.room()?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn total_bytes(&self) -> Result<u64> {
        let room = self.room()?;
        Ok(room.f_blocks.saturating_mul(room.f_frsize))
    }
}

/// An open file of a [`DirectoryDisk`].
#[derive(Debug)]
pub struct DirectoryFile {
    file: File,
}

impl DiskFile for DirectoryFile {
    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, at: u64, parts: &[&[u8]]) -> Result<()> {
        write_all(at, parts, |slices, at| Ok(pwritev(&self.file, slices, at)?)).map_err(or_full)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill(len),
            result => result.map_err(|error| or_full(error.into())),
        }
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }
}

impl DirectoryFile {
    /// Writes zeros from the end to `len`: reserves room on a file system that has no call for it.
    fn fill(&self, len: u64) -> Result<()> {
        let zeros = vec![0; FILL_BYTES];
        let mut at = self.len()?;
        while at < len {
            let count = (len - at).min(FILL_BYTES as u64) as usize;
            self.write_at(at, &[&zeros[..count]])?;
            at += count as u64;
        }
        Ok(())
    }
}

/// Writes all of `parts` from `at` on by calls of `write`, which may take less than it is given.
fn write_all(at: u64, parts: &[&[u8]], mut write: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize>) -> Result<()> {
    let mut slices: SmallVec<[IoSlice<'_>; 16]> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let (mut left, mut at) = (&mut slices[..], at);
    while !left.is_empty() {
        match write(&left[..left.len().min(SLICES_MAX)], at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether `error` means that there is no room, which may come back by itself.
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::StorageFull
}

/// A used-up quota as what it comes to.
fn or_full(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::QuotaExceeded { io::Error::new(ErrorKind::StorageFull, error) } else { error }
}
