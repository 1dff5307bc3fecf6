//! What the store needs of a disk: one directory of files. `server` has one for the operating system, the simulator
//! one that crashes, tears, loses and fails.

#[cfg(test)]
pub mod memory;

use std::fmt::Debug;
use std::io::Result;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It exists; only to be read.
    Read,
    /// It exists; to be read and written.
    Write,
    /// To be read and written; empty if it did not exist.
    Create,
}

/// One directory of files. Cheap to clone: a clone means the same directory, and may be used by another thread.
pub trait Disk: Clone + Debug {
    /// An open file.
    type File: DiskFile;

    /// The names of everything that is there, in no particular order.
    fn list(&self) -> Result<Vec<String>>;
    /// Opens a file. A new name is durable only after [`sync_directory`](Disk::sync_directory).
    fn open(&self, name: &str, how: Open) -> Result<Self::File>;
    /// Gives a file another name, in place of any file that had it.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// Makes all changes of names durable.
    fn sync_directory(&self) -> Result<()>;
    /// Bytes that are free for files of this directory.
    fn free_bytes(&self) -> Result<u64>;
    /// Bytes that its file system has in all.
    fn total_bytes(&self) -> Result<u64>;
}

/// An open file. All methods take `&self`: a file may be read while another thread writes other parts of it.
pub trait DiskFile: Debug {
    /// Bytes in it.
    fn len(&self) -> Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads into `buffer` from `at` on, as much as there is; returns how many bytes: less than asked for only at the
    /// end.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Writes all of `parts`, one behind the other, from `at` on. After an error any part of it may have been written.
    fn write_at(&self, at: u64, parts: &[&[u8]]) -> Result<()>;
    /// Reserves room up to `len` bytes, so that writing there will not find the disk full.
    fn allocate(&self, len: u64) -> Result<()>;
    /// Makes it `len` bytes long.
    fn truncate(&self, len: u64) -> Result<()>;
    /// Makes everything written so far durable.
    fn sync(&self) -> Result<()>;
}
