//! The data directory: made where it is missing, and locked for this process.

use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::DirectoryDisk;
use super::lock::{Holder, Lock, lock};
use crate::store::disk::Disk;

/// The rights of the directory: messages are nobody else's.
const DIRECTORY_MODE: u32 = 0o700;

/// A data directory that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    /// Its files.
    pub disk: DirectoryDisk,
    _lock: Lock,
}

/// Why a data directory cannot be used. Its text is one line that names the directory.
#[derive(Debug)]
pub struct DirectoryError {
    /// The directory.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a data directory.
#[derive(Debug)]
pub enum Fault {
    /// It is something else.
    NotADirectory,
    /// It is not there.
    Missing,
    /// There is something in it.
    NotEmpty,
    /// It cannot be made.
    Create(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// It cannot be written to.
    Write(io::Error),
    /// Another process has it.
    InUse {
        /// The number of the process, if the lock file says it.
        process: Option<u32>,
    },
}

impl DataDirectory {
    /// Takes the directory at `path`, and makes it where it is missing.
    ///
    /// # Errors
    /// See [`Fault`]; never [`Fault::Missing`].
    pub fn take(path: &Path) -> Result<DataDirectory, DirectoryError> {
        let faulty = |fault| DirectoryError { path: path.into(), fault };
        create(path).map_err(faulty)?;
        DataDirectory::take_existing(path)
    }

    /// Takes the directory at `path`, in which nothing may be, and makes it where it is missing.
    ///
    /// # Errors
    /// See [`Fault`]; never [`Fault::Missing`].
    pub fn take_empty(path: &Path) -> Result<DataDirectory, DirectoryError> {
        let faulty = |fault| DirectoryError { path: path.into(), fault };
        create(path).map_err(faulty)?;
        let mut entries = std::fs::read_dir(path).map_err(|error| faulty(Fault::Read(error)))?;
        if entries.next().is_some() {
            return Err(faulty(Fault::NotEmpty));
        }
        DataDirectory::take_existing(path)
    }

    /// Takes the directory at `path`, which must be there.
    ///
    /// # Errors
    /// See [`Fault`]; never [`Fault::Create`].
    pub fn take_existing(path: &Path) -> Result<DataDirectory, DirectoryError> {
        let faulty = |fault| DirectoryError { path: path.into(), fault };
        let disk = DirectoryDisk::open(path).map_err(|error| faulty(Fault::of_reading(error)))?;
        match lock(path).map_err(|error| faulty(Fault::Write(error)))? {
            Holder::Us(lock) => Ok(DataDirectory { disk, _lock: lock }),
            Holder::Other(process) => Err(faulty(Fault::InUse { process })),
        }
    }

    /// The files of the directory at `path`, to be looked at only. Whoever writes there goes on.
    ///
    /// # Errors
    /// [`Fault::NotADirectory`], [`Fault::Missing`], [`Fault::Read`].
    pub fn look_at(path: &Path) -> Result<DirectoryDisk, DirectoryError> {
        DirectoryDisk::open_read_only(path)
            .map_err(|error| DirectoryError { path: path.into(), fault: Fault::of_reading(error) })
    }
}

impl Fault {
    fn of_reading(error: io::Error) -> Fault {
        match error.kind() {
            ErrorKind::NotADirectory => Fault::NotADirectory,
            ErrorKind::NotFound => Fault::Missing,
            _ => Fault::Read(error),
        }
    }
}

/// Makes the directory and those above it, and has their names survive a power cut.
fn create(path: &Path) -> Result<(), Fault> {
    if path.is_dir() {
        return Ok(());
    }
    // A link that leads nowhere counts as there: we do not make what it points at.
    if path.symlink_metadata().is_ok() {
        return Err(Fault::NotADirectory);
    }
    let above = match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => Path::new("/"),
    };
    let missing = above.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new(".")).to_owned();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(Fault::Create)?;
    // From the directory that was there already down to the last one that got a new name.
    for above in path.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        // Where it may not be read it cannot be synced; that is no reason not to start.
        if let Err(error) = DirectoryDisk::open(above).and_then(|disk| disk.sync_directory()) {
            log::warn!("cannot sync {}: {error}", above.display());
        }
        if above == missing {
            break;
        }
    }
    Ok(())
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::NotADirectory => write!(f, "the data directory {path} is not a directory"),
            Fault::Missing => write!(f, "the data directory {path} does not exist"),
            Fault::NotEmpty => write!(f, "the directory {path} is not empty"),
            Fault::Create(error) => write!(f, "cannot create the data directory {path}: {error}"),
            Fault::Read(error) => write!(f, "cannot read the data directory {path}: {error}"),
            Fault::Write(error) => write!(f, "cannot write to the data directory {path}: {error}"),
            Fault::InUse { process: Some(process) } => {
                write!(f, "the data directory {path} is in use by another Leveret (process {process})")
            }
            Fault::InUse { process: None } => write!(f, "the data directory {path} is in use by another Leveret"),
        }
    }
}

impl std::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Create(error) | Fault::Read(error) | Fault::Write(error) => Some(error),
            Fault::NotADirectory | Fault::Missing | Fault::NotEmpty | Fault::InUse { .. } => None,
        }
    }
}
