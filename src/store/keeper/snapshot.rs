//! Snapshots: a copy of everything up to one batch, made while the keeper goes on.
//!
//! The copy is a directory like this one, with one checkpoint and the segments in which something lives. It has the
//! same lane: it is a backup, not a second broker's.

use std::io::{Error, ErrorKind, Result};

use super::Keeper;
use super::checkpoint::{self, Header, NAMES};
use super::upkeep::STEP_BYTES;
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::segment::FileSlot;

/// A segment to be copied.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    slot: FileSlot,
    /// Bytes of it.
    end: u64,
}

/// A snapshot under way.
#[derive(Debug)]
pub struct Snapshot<D: Disk> {
    target: D,
    header: Header,
    state: Vec<u8>,
    chunks: usize,
    parts: Vec<Part>,
    /// The part that is being copied, and how far.
    part: usize,
    at: u64,
    file: Option<D::File>,
    buffer: Vec<u8>,
}

impl<D: Disk> Keeper<D> {
    /// Begins to copy everything to an empty directory. The [steps](Keeper::step) do it.
    ///
    /// # Errors
    ///
    /// If one is under way; if the directory is not empty; what its disk says.
    pub fn begin_snapshot(&mut self, target: D) -> Result<()> {
        if self.snapshot.is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, "a snapshot is being made"));
        }
        if target.list()?.iter().any(|name| FileSlot::from_name(name).is_some() || NAMES.contains(&&**name)) {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a data directory"));
        }
        let state = self.state.save();
        let header = Header { lane: self.state.lane, generation: 1, index: self.state.index, len: state.len() as u64 };
        let mut parts = Vec::new();
        for segment in self.state.segments.all.iter_mut().filter(|segment| segment.live > 0) {
            segment.pins += 1;
            parts.push(Part { number: segment.number, slot: segment.slot, end: segment.file_end() });
        }
        self.snapshot_done = None;
        self.snapshot =
            Some(Snapshot { target, header, state, chunks: 0, parts, part: 0, at: 0, file: None, buffer: Vec::new() });
        Ok(())
    }

    /// What became of the snapshot, once it is at its end.
    pub fn snapshot_done(&mut self) -> Option<Result<()>> {
        self.snapshot_done.take()
    }

    pub(super) fn step_snapshot(&mut self) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return false };
        match self.copy_part(&mut snapshot) {
            Ok(true) => self.snapshot = Some(snapshot),
            done => {
                for part in &snapshot.parts {
                    if let Some(segment) = self.state.segments.find_mut(part.number) {
                        segment.pins = segment.pins.saturating_sub(1);
                    }
                }
                self.give_back();
                self.snapshot_done = Some(done.map(|_| ()));
            }
        }
        true
    }

    /// Copies a piece; returns whether there is more.
    fn copy_part(&mut self, snapshot: &mut Snapshot<D>) -> Result<bool> {
        if let Some(part) = snapshot.parts.get(snapshot.part).copied() {
            let file = match snapshot.file.take() {
                Some(file) => file,
                None => snapshot.target.open(&part.slot.name(), Open::Create)?,
            };
            let len = (part.end - snapshot.at).min(STEP_BYTES as u64) as usize;
            snapshot.buffer.resize(len, 0);
            self.files.read(part.slot, snapshot.at, &mut snapshot.buffer)?;
            file.write_at(snapshot.at, &[&snapshot.buffer])?;
            snapshot.at += len as u64;
            if snapshot.at < part.end {
                snapshot.file = Some(file);
            } else {
                file.sync()?;
                (snapshot.part, snapshot.at) = (snapshot.part + 1, 0);
            }
            return Ok(true);
        }
        let file = match snapshot.file.take() {
            Some(file) => file,
            None => snapshot.target.open(NAMES[0], Open::Create)?,
        };
        if let Some(chunk) = checkpoint::chunk(snapshot.header.generation, snapshot.chunks, &snapshot.state) {
            file.write_at(checkpoint::chunk_at(snapshot.chunks), &[&chunk])?;
            snapshot.chunks += 1;
            snapshot.file = Some(file);
            return Ok(true);
        }
        file.sync()?;
        file.write_at(0, &[&snapshot.header.encode()])?;
        file.sync()?;
        snapshot.target.sync_directory()?;
        Ok(false)
    }
}
