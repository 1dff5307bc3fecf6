//! A durable broker's data directory, opened: what was found there, and the lane that goes on with it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::clock::{Clock, WallClock};
use super::control::Control;
use super::disk::DirectoryDisk;
use super::disk::directory::DataDirectory;
use super::inbox::Inlet;
use super::lane::{Lane, Rules, Start};
use crate::config::store::{DiskFree, StoreConfig};
use crate::limits::Limits;
use crate::store::Contents;
use crate::store::open::{Opened, open};
use crate::store::report::Report;

/// A store that was opened and does not run yet. Dropped, it leaves the directory as a crash would.
pub struct Found {
    directory: DataDirectory,
    opened: Opened<DirectoryDisk>,
    wall: WallClock,
}

/// The store of a running broker. Drop it after the shards: it writes what they have submitted and closes in order.
#[derive(Debug)]
pub struct Durable {
    // Dropped in this order: the lock goes last.
    control: Option<Control>,
    lane: Lane,
    _directory: DataDirectory,
}

/// Finds what is in a data directory that was taken.
pub fn find(directory: DataDirectory, limits: &Limits) -> Result<Found, StartError> {
    let path = directory.disk.path().to_owned();
    let wall = WallClock::start();
    let mut lane = [0; 16];
    getrandom::fill(&mut lane).map_err(|error| StartError::System { what: "get entropy", error: error.into() })?;
    let begun_ms = wall.read();
    match open(directory.disk.clone(), limits, lane, wall.read()) {
        Ok(opened) => {
            tell(&path, &opened.report);
            let contents = &opened.contents;
            let waiting: u64 = contents.queues.iter().map(|queue| queue.ready).sum();
            let end = if contents.clean { "a stop" } else { "no stop" };
            log::info!(
                "{}: found {waiting} messages, {} definitions, and {end} before start {}, in {} ms",
                path.display(),
                contents.definitions.len(),
                contents.term,
                wall.read().saturating_sub(begun_ms)
            );
            wall.at_least(opened.contents.time_ms);
            Ok(Found { directory, opened, wall })
        }
        Err(error) => Err(StartError::Store { path, error }),
    }
}

/// Writes into the log what was found wrong.
pub(super) fn tell(path: &Path, report: &Report) {
    for finding in &report.findings {
        if finding.expected {
            log::info!("{}: {finding}", path.display());
        } else {
            log::error!("{}: {finding}", path.display());
        }
    }
    if report.more > 0 {
        log::error!("{}: and {} more; in all {}", path.display(), report.more, report.lost);
    }
}

impl Found {
    /// For the shards.
    pub fn contents(&self) -> &Contents {
        &self.opened.contents
    }

    /// Starts the threads that go on with it.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn run(self, config: &StoreConfig, limits: &Limits, inlets: Arc<[Inlet]>, clock: Clock) -> io::Result<Durable> {
        let Found { directory, opened, wall } = self;
        let rules = Rules {
            fsync: config.fsync,
            interval_ms: config.fsync_interval_ms,
            batch_bytes_max: limits.batch_bytes_max,
            keeper_backlog_bytes_max: limits.keeper_backlog_bytes_max,
            segments_spare_ms: limits.segments_spare_ms,
        };
        let Opened { journal, keeper, .. } = opened;
        let (disk, path) = (directory.disk.clone(), directory.disk.path().to_owned());
        let disk_free_limit = bytes(config.disk_free_limit);
        let start = Start { journal, keeper, disk, path, target, rules, disk_free_limit, inlets, clock, wall };
        let lane = Lane::start(start)?;
        let inlet = lane.inlet();
        let control = match Control::open(directory.disk.path(), Box::new(move |target| inlet.copy(target))) {
            Ok(control) => Some(control),
            Err(error) => {
                log::warn!("there can be no snapshots: cannot open the control socket: {error}");
                None
            }
        };
        Ok(Durable { control, lane, _directory: directory })
    }
}

impl Durable {
    /// The shards' way to the lane.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Nobody is to ask for anything any more.
    pub fn close_door(&mut self) {
        self.control = None;
    }
}

/// Takes a directory to copy to.
fn target(path: &Path) -> Result<(DirectoryDisk, Option<DataDirectory>), String> {
    let directory = DataDirectory::take_empty(path).map_err(|error| error.to_string())?;
    Ok((directory.disk.clone(), Some(directory)))
}

/// The limit in bytes, on this machine.
fn bytes(limit: DiskFree) -> u64 {
    match limit {
        DiskFree::Bytes(bytes) => bytes,
        DiskFree::Memory { thousandths } => {
            let system = rustix::system::sysinfo();
            let memory = system.totalram as u128 * u128::from(system.mem_unit);
            u64::try_from(memory * u128::from(thousandths) / 1000).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_memory_are_bytes() {
        assert_eq!(bytes(DiskFree::Bytes(7)), 7);
        assert_eq!(bytes(DiskFree::Memory { thousandths: 0 }), 0);
        let all = bytes(DiskFree::Memory { thousandths: 1000 });
        assert!(all > 64 << 20, "{all}");
        assert_eq!(bytes(DiskFree::Memory { thousandths: 2500 }), all * 5 / 2);
        assert_eq!(bytes(DiskFree::Memory { thousandths: u64::MAX }), u64::MAX);
    }
}
