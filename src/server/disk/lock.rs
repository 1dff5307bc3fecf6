//! One process per data directory.
//!
//! The file `lock` is locked for as long as its process lives, however that ends; the system gives it free. It holds
//! the number of the process, for people and for the message of a second one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use super::FILE_MODE;

/// The name of the file.
pub const LOCK_NAME: &str = "lock";

/// The most that is read of a foreign lock file.
const PROCESS_BYTES_MAX: u64 = 20;

/// A data directory of our own, until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was just forked has the file open until it runs its program.
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            log::warn!("cannot unlock {LOCK_NAME}: {error}");
        }
    }
}

/// Who has a directory.
#[derive(Debug)]
pub enum Holder {
    /// We do.
    Us(Lock),
    /// Another process, with its number where the file says it.
    Other(Option<u32>),
}

/// Locks the directory at `path`, which exists. Does not wait.
///
/// # Errors
/// As the system says when the file cannot be made, opened or locked.
pub fn lock(path: &Path) -> Result<Holder> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(path.join(LOCK_NAME))?;
    match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => {
            // A courtesy only: a full disk does not keep anybody from starting.
            let number = format!("{}\n", std::process::id());
            if let Err(error) = file.write_all_at(number.as_bytes(), 0).and_then(|()| file.set_len(number.len() as u64))
            {
                log::warn!("cannot write the number of this process into {LOCK_NAME}: {error}");
            }
            Ok(Holder::Us(Lock { file }))
        }
        Err(error) => match std::io::Error::from(error) {
            error if error.kind() == ErrorKind::WouldBlock => Ok(Holder::Other(process_in(file))),
            error => Err(error),
        },
    }
}

fn process_in(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(PROCESS_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::Scratch;

    #[test]
    fn a_directory_is_free_although_a_child_process_has_its_lock_open() {
        let scratch = Scratch::new();
        let Holder::Us(lock) = super::lock(scratch.path()).unwrap() else { panic!("it is free") };
        let childs = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(matches!(super::lock(scratch.path()), Ok(Holder::Us(_))));
        drop(childs);
    }
}
