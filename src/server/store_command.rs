//! `leveret store`: looks at a data directory, or mends it, while no broker runs with it.

use std::path::Path;

use super::clock::WallClock;
use super::disk::directory::DataDirectory;
use crate::config::args::{StoreArguments, StoreCommand};
use crate::limits::Limits;
use crate::store::disk::Disk;
use crate::store::inspect::inspect;
use crate::store::keeper::checkpoint::NAMES;
use crate::store::repair::repair;
use crate::store::segment::FileSlot;

/// Does what `leveret store` is asked for. Returns what is to be printed, and whether all is well; or why it was not
/// done, in one line.
///
/// # Errors
/// When the directory is not there, cannot be read or written, is in use, or was written by a later version.
pub fn run(arguments: &StoreArguments) -> Result<(String, bool), String> {
    match arguments.command {
        StoreCommand::Inspect => look(&arguments.directory),
        StoreCommand::Repair => mend(&arguments.directory),
    }
}

fn look(path: &Path) -> Result<(String, bool), String> {
    let disk = DataDirectory::look_at(path).map_err(|error| error.to_string())?;
    let found = inspect(&disk).map_err(|error| error.to_string())?;
    Ok((found.to_string(), found.report.is_sound()))
}

fn mend(path: &Path) -> Result<(String, bool), String> {
    // A directory of something else is left as it is: without a lock file.
    let names = DataDirectory::look_at(path).map_err(|error| error.to_string())?.list();
    if names.is_ok_and(|names| !names.iter().any(|name| is_of_a_store(name))) {
        return Ok((format!("There is no store in {}.", path.display()), true));
    }
    let directory = DataDirectory::take_existing(path).map_err(|error| error.to_string())?;
    let mut lane = [0; 16];
    getrandom::fill(&mut lane).map_err(|error| format!("cannot get entropy: {error}"))?;
    let limits = Limits::default();
    let mended =
        repair(&directory.disk, &limits, lane, WallClock::start().read()).map_err(|error| error.to_string())?;
    Ok((mended.to_string(), mended.left.is_sound()))
}

fn is_of_a_store(name: &str) -> bool {
    FileSlot::from_name(name).is_some() || NAMES.contains(&name)
}

#[cfg(test)]
mod tests;
