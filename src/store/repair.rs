//! Mending a data directory, so that nothing is wrong with it any more.
//!
//! What is damaged is not made up again. Whatever lives in a damaged segment is read, all of it; what is not sound is
//! settled, and the rest is written again through the journal. The segment is then dead. Its file gets another name,
//! and stays for whoever wants to look at it. At the end there are two new checkpoints, as after an orderly stop.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::io::{Error, Result};

use super::disk::Disk;
use super::inspect::{Inspection, inspect};
use super::journal::Journal;
use super::keeper::checkpoint::NAMES;
use super::keeper::{Keeper, Step};
use super::open::{OpenError, open};
use super::record::Records;
use super::report::{Lost, Report};
use super::segment::{FileSlot, LaneId};
use super::{Fetch, KEEPER, Position, QueueId, Submission};
use crate::limits::Limits;

/// In front of the name of a file that is set aside.
const PREFIX: &str = "damaged-";
/// So often something is tried again, a second apart.
const ATTEMPTS: u32 = 10;
const RETRY_MS: u64 = 1_000;
/// Read at once.
const FETCH_BYTES: usize = 1 << 20;
const FETCH_COUNT: usize = 4096;

/// What was done.
#[derive(Debug)]
pub struct Repair {
    /// What was found wrong before, and when the directory was opened.
    pub found: Report,
    /// Messages that were given up, once for each queue that they were in.
    pub messages_lost: u64,
    /// The files that are set aside, by their new names.
    pub set_aside: Vec<String>,
    /// What is still wrong.
    pub left: Report,
}

impl Display for Repair {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.found.findings.is_empty() {
            return writeln!(out, "There is nothing to repair.");
        }
        write!(out, "{}", self.found)?;
        if !self.set_aside.is_empty() {
            writeln!(out, "set aside: {}", self.set_aside.join(", "))?;
        }
        let lost = self.found.lost;
        let unknown = Lost { messages: 0, ..lost };
        writeln!(out, "messages given up: {}", self.messages_lost)?;
        if !unknown.is_nothing() {
            writeln!(out, "of unknown content: {unknown}")?;
        }
        if self.left.findings.is_empty() {
            writeln!(out, "Repaired: nothing is wrong any more.")
        } else {
            write!(out, "Still wrong:\n{}", self.left)
        }
    }
}

/// A store that is open while it is mended.
struct Work<D: Disk> {
    journal: Journal<D>,
    keeper: Keeper<D>,
    now_ms: u64,
    /// Free segments whose files are not used again.
    kept: Vec<FileSlot>,
    damaged: BTreeSet<FileSlot>,
}

/// Mends what [`inspect`] finds. Does nothing if that finds nothing. Nobody else may use the directory meanwhile.
///
/// # Errors
///
/// If the directory cannot be listed or written (also when it is full), or was written by a later version.
pub fn repair<D: Disk>(
    disk: &D,
    limits: &Limits,
    fresh_lane: LaneId,
    now_ms: u64,
) -> std::result::Result<Repair, OpenError> {
    let before = inspect(disk)?;
    let names = disk.list().map_err(OpenError::Disk)?;
    if before.report.findings.is_empty() {
        return Ok(Repair { found: before.report, messages_lost: 0, set_aside: vec![], left: Report::default() });
    }
    let opened = open(disk.clone(), limits, fresh_lane, now_ms)?;
    let mut work = Work {
        journal: opened.journal,
        keeper: opened.keeper,
        now_ms,
        kept: vec![],
        damaged: slots(&before, &before.damaged),
    };
    let mended = work.mend(disk, &before);
    let mut found = before.report;
    for finding in opened.report.findings.into_iter().chain(work.keeper.report().findings) {
        if !finding.expected && !found.findings.contains(&finding) {
            // What it cost is in the findings of the inspection, or in the messages that are given up.
            found.note(finding.file, finding.at, finding.what);
        }
    }
    mended.map_err(OpenError::Disk)?;
    let messages_lost = work.keeper.state().lost;
    drop(work);
    let after = inspect(disk)?;
    let mut set_aside = disk.list().map_err(OpenError::Disk)?;
    set_aside.retain(|name| name.starts_with(PREFIX) && !names.contains(name));
    set_aside.sort();
    Ok(Repair { found, messages_lost, set_aside, left: after.report })
}

fn slots(inspection: &Inspection, numbers: &BTreeSet<u64>) -> BTreeSet<FileSlot> {
    let damaged = inspection.segments.iter().filter(|segment| numbers.contains(&segment.number));
    damaged.map(|segment| segment.slot).collect()
}

/// Gives a file a name under which it is not looked at any more.
fn set_aside<D: Disk>(disk: &D, name: &str) -> Result<()> {
    let names = disk.list()?;
    let mut aside = format!("{PREFIX}{name}");
    let mut count = 1;
    while names.contains(&aside) {
        count += 1;
        aside = format!("{PREFIX}{count}-{name}");
    }
    disk.rename(name, &aside)
}

impl<D: Disk> Work<D> {
    fn mend(&mut self, disk: &D, before: &Inspection) -> Result<()> {
        for slot in &before.foreign {
            set_aside(disk, &slot.name())?;
        }
        for (name, checkpoint) in NAMES.iter().zip(&before.checkpoints) {
            // Both files are written anew.
            if checkpoint.is_none() && disk.list()?.iter().any(|other| other == name) {
                set_aside(disk, name)?;
            }
        }
        self.read_all(&before.damaged)?;
        self.keeper.empty_segments(before.damaged.iter().copied());
        self.work_off(&before.damaged)?;
        self.stop()?;
        for slot in &self.kept {
            set_aside(disk, &slot.name())?;
        }
        disk.sync_directory()
    }

    /// Has everything that lives in these segments read: what is not sound is given up.
    fn read_all(&mut self, numbers: &BTreeSet<u64>) -> Result<()> {
        let rows = self.keeper.state().rows.iter();
        let mut stretches: Vec<(QueueId, Position, Position)> = rows
            .flat_map(|(queue, row)| row.runs.iter().map(|run| (*queue, run)))
            .filter(|(_, run)| numbers.contains(&run.segment) && run.alive > 0)
            .map(|(queue, run)| (queue, run.first, run.last() + 1))
            .collect();
        stretches.sort_unstable();
        let mut buffer = vec![];
        for (queue, mut from, to) in stretches {
            let mut attempts = 0;
            while from < to && attempts < ATTEMPTS {
                let (bytes_max, count_max) = (FETCH_BYTES, FETCH_COUNT);
                let fetch = Fetch { shard: KEEPER, queue, from, to, bytes_max, count_max, buffer, ..Fetch::default() };
                self.keeper.fetch(fetch);
                let answer = loop {
                    if let Some(answer) = self.keeper.next_answer() {
                        break Some(answer);
                    }
                    attempts += 1;
                    if attempts >= ATTEMPTS {
                        break None;
                    }
                    self.wait()?;
                };
                buffer = vec![];
                if let Some(answer) = answer {
                    if answer.next <= from {
                        break;
                    }
                    (from, buffer) = (answer.next, answer.bytes);
                }
                self.write()?;
            }
        }
        Ok(())
    }

    /// Lets the keeper work until nothing lives in these segments, or nothing moves any more.
    fn work_off(&mut self, numbers: &BTreeSet<u64>) -> Result<()> {
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let step = self.keeper.step(self.now_ms);
            let wrote = self.write()?;
            let lives = |number: &u64| self.keeper.state().segments.find(*number).is_some_and(|one| one.live > 0);
            if !numbers.iter().any(lives) {
                break;
            }
            if step != Step::More && !wrote {
                attempts += 1;
                self.wait()?;
            }
        }
        Ok(())
    }

    /// A second goes by, as far as the keeper knows.
    fn wait(&mut self) -> Result<()> {
        self.now_ms += RETRY_MS;
        self.keeper.step(self.now_ms);
        self.write().map(|_| ())
    }

    /// Writes what the keeper wants written. Returns whether that was anything.
    fn write(&mut self) -> Result<bool> {
        let mut wrote = false;
        while let Some(submission) = self.keeper.next_submission() {
            self.put(submission)?;
            wrote = true;
        }
        self.take_freed();
        Ok(wrote)
    }

    fn take_freed(&mut self) {
        let (kept, free) = self.keeper.freed().into_iter().partition(|slot| self.damaged.contains(slot));
        self.kept.extend::<Vec<FileSlot>>(kept);
        self.journal.give(free);
    }

    fn put(&mut self, submission: Submission) -> Result<()> {
        let batch = self.journal.write(self.now_ms, vec![submission]).map_err(|(error, _): (Error, _)| error)?;
        self.keeper.apply(batch);
        let synced = self.journal.sync()?;
        self.keeper.synced(synced);
        Ok(())
    }

    /// Stops in order, with two checkpoints that know everything.
    fn stop(&mut self) -> Result<()> {
        // Segments that say what is defined are free when an inventory is written, which is asked for then.
        for _ in NAMES {
            self.keeper.stop(self.now_ms)?;
        }
        self.write()?;
        let mut records = Records::default();
        records.clean();
        self.put(Submission { from: KEEPER, bytes: records.take(vec![]), ..Submission::default() })?;
        for _ in NAMES {
            self.keeper.stop(self.now_ms)?;
        }
        self.take_freed();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
