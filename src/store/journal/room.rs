//! Room for a segment in its file.

use std::io::Result;

use crate::store::disk::DiskFile;

/// Reserves room up to `len` bytes. If there is not enough, the file is no longer than `before` afterwards.
pub fn grow(file: &impl DiskFile, len: u64, before: u64) -> Result<()> {
    file.allocate(len).inspect_err(|_| {
        // What the attempt may have taken is given back.
        if file.len().is_ok_and(|now| now > before) {
            let _ = file.truncate(before);
        }
    })
}

/// Makes a used file as long as it is to be.
pub fn fit(file: &impl DiskFile, len: u64) -> Result<()> {
    let before = file.len()?;
    if before > len {
        file.truncate(len)?;
    }
    grow(file, len, before)
}
