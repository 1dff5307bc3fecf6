//! The file that tells other programs the number of this process.

use std::io;
use std::path::PathBuf;

/// The file, which is removed when this is dropped, unless it is to stay.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    is_kept: bool,
}

impl PidFile {
    /// Writes the number of this process to `path`, whatever was there.
    ///
    /// # Errors
    /// When the system refuses; one line for the operator.
    pub fn write(path: PathBuf, is_kept: bool) -> Result<PidFile, String> {
        let text = format!("{}\n", std::process::id());
        match std::fs::write(&path, text) {
            Ok(()) => Ok(PidFile { path, is_kept }),
            Err(error) => Err(format!("cannot write the number of this process to {}: {error}", path.display())),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
