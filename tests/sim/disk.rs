//! A disk that loses power, tears, reorders, fails, fills up and rots: one directory of files in memory, for the store.
//!
//! What is written is seen at once and durable only after a sync; a name is durable only after a sync of the directory.
//! When the power goes, every sector that was written since the last sync of its file holds one of the states that it
//! had since then, whatever the others do; names likewise. When the process is killed, what was written stays.

#![allow(dead_code)] // until the lane uses it

mod file;
mod image;
mod tests;

use crate::rng::Rng;
use image::{Inode, Names};
use leveret::store::disk::{Disk, Open};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::rc::Rc;

pub use file::SimFile;

/// What is written as a whole or not at all.
const SECTOR: usize = 512;
/// What files take room in.
const BLOCK: u64 = 4096;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Write,
    Sync,
    Read,
    Allocate,
    Truncate,
    Create,
    Rename,
    Remove,
    SyncDirectory,
}

/// How everything ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    PowerCut,
    Kill,
}

/// What becomes of an operation.
enum Verdict {
    Done,
    /// Some of it is done, and this is what the caller hears.
    Part(Error),
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Work {
    pub writes: u64,
    pub bytes: u64,
    pub syncs: u64,
    pub reads: u64,
}

struct State {
    rng: Rng,
    files: BTreeMap<u64, Inode>,
    names: Names,
    next_inode: u64,
    /// Counts restarts: handles of an earlier life fail.
    era: u64,
    /// Operations that change something, since the beginning.
    operations: u64,
    stop_at: Option<(u64, Stop)>,
    down: Option<Stop>,
    /// The n-th operation of a kind from now on fails, and perhaps those behind it.
    failing: BTreeMap<Operation, (u64, u64)>,
    room: u64,
    work: Work,
    trace: bool,
}

/// One directory. Clones are the same directory; [`SimDisk::restart`] gives one for the next life.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
    era: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk {{ era: {}, operations: {} }}", self.era, self.operations())
    }
}

fn failed() -> Error {
    Error::other("the simulated disk failed")
}

impl State {
    fn alive(&self, era: u64) -> Result<()> {
        if self.down.is_some() || era != self.era { Err(Error::other("the simulated machine is down")) } else { Ok(()) }
    }

    /// An operation is about to be done.
    fn begin(&mut self, era: u64, operation: Operation) -> Result<Verdict> {
        self.alive(era)?;
        if operation != Operation::Read {
            self.operations += 1;
        }
        if let Some((at, stop)) = self.stop_at
            && self.operations >= at
            && operation != Operation::Read
        {
            self.down = Some(stop);
            self.stop_at = None;
            return Ok(Verdict::Part(Error::other("the simulated machine goes down")));
        }
        if let Some((after, count)) = self.failing.get_mut(&operation) {
            if *after > 0 {
                *after -= 1;
            } else if *count > 0 {
                *count -= 1;
                return Ok(Verdict::Part(failed()));
            }
        }
        Ok(Verdict::Done)
    }

    /// Room that files take, in bytes.
    fn used(&self) -> u64 {
        let named = |inode: &u64| self.names.now.values().any(|named| named == inode);
        let kept = self.files.iter().filter(|(inode, file)| file.handles > 0 || named(inode));
        kept.map(|(_, file)| file.blocks * BLOCK).sum()
    }

    /// How far a file may grow, if it is to be `end` bytes long.
    fn grow(&mut self, inode: u64, end: u64) -> u64 {
        let blocks = end.div_ceil(BLOCK);
        let have = self.files[&inode].blocks;
        if blocks <= have {
            return end;
        }
        let spare = if self.room == u64::MAX { u64::MAX } else { self.room.saturating_sub(self.used()) / BLOCK };
        let file = self.files.get_mut(&inode).expect("an inode");
        file.blocks = have.saturating_add(spare).min(blocks);
        end.min(file.blocks * BLOCK)
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("  disk {:>6} {}", self.operations, what());
        }
    }

    /// Nobody holds a file any more that has no name.
    fn sweep(&mut self) {
        let names = &self.names;
        self.files.retain(|inode, file| file.handles > 0 || names.holds(*inode));
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            rng: Rng::new(seed),
            files: BTreeMap::new(),
            names: Names::default(),
            next_inode: 1,
            era: 0,
            operations: 0,
            stop_at: None,
            down: None,
            failing: BTreeMap::new(),
            room: u64::MAX,
            work: Work::default(),
            trace: false,
        };
        SimDisk { state: Rc::new(RefCell::new(state)), era: 0 }
    }

    /// Says every operation.
    pub fn trace(&self) {
        self.state.borrow_mut().trace = true;
    }

    /// How many operations changed something since the beginning.
    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// What was done since the beginning.
    pub fn work(&self) -> Work {
        self.state.borrow().work
    }

    /// The power goes in the middle of the operation with this number.
    pub fn cut_power_at(&self, operation: u64) {
        self.state.borrow_mut().stop_at = Some((operation, Stop::PowerCut));
    }

    /// The process is killed in the middle of the operation with this number.
    pub fn kill_at(&self, operation: u64) {
        self.state.borrow_mut().stop_at = Some((operation, Stop::Kill));
    }

    /// The power goes now.
    pub fn cut_power(&self) {
        self.state.borrow_mut().down = Some(Stop::PowerCut);
    }

    /// The process is killed now.
    pub fn kill(&self) {
        self.state.borrow_mut().down.get_or_insert(Stop::Kill);
    }

    /// Whether the machine or the process is gone.
    pub fn is_down(&self) -> bool {
        self.state.borrow().down.is_some()
    }

    /// Whether the power is gone.
    pub fn lost_power(&self) -> bool {
        self.state.borrow().down == Some(Stop::PowerCut)
    }

    /// No end and no fault is to come, and there is room.
    pub fn carry_on(&self) {
        let mut state = self.state.borrow_mut();
        state.stop_at = None;
        state.failing.clear();
        state.room = u64::MAX;
    }

    /// The next life, with what the end of this one left; faults that were to come do not. All handles of this life
    /// fail from now on.
    pub fn restart(&self) -> SimDisk {
        let mut state = self.state.borrow_mut();
        let State { rng, files, names, down, .. } = &mut *state;
        if *down == Some(Stop::PowerCut) {
            names.lose_power(rng);
            for file in files.values_mut() {
                file.lose_power(rng);
            }
        }
        for file in state.files.values_mut() {
            file.handles = 0;
        }
        state.sweep();
        state.down = None;
        state.stop_at = None;
        state.failing.clear();
        state.room = u64::MAX;
        state.era += 1;
        SimDisk { state: self.state.clone(), era: state.era }
    }

    /// Of the operations of this kind, `count` fail after `after` from now on that do not.
    pub fn fail(&self, operation: Operation, after: u64, count: u64) {
        self.state.borrow_mut().failing.insert(operation, (after, count));
    }

    /// The disk has room for so many bytes, those of the files that are there included.
    pub fn set_room(&self, bytes: u64) {
        self.state.borrow_mut().room = bytes;
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.state.borrow().used()
    }

    /// Names and lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.borrow();
        state.names.now.iter().map(|(name, inode)| (name.clone(), state.files[inode].content.len() as u64)).collect()
    }

    fn with_file<R>(&self, name: &str, change: impl FnOnce(&mut Inode) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let inode = state.names.now[name];
        change(state.files.get_mut(&inode).expect("an inode"))
    }

    /// Whether there is a file.
    pub fn has(&self, name: &str) -> bool {
        self.state.borrow().names.now.contains_key(name)
    }

    /// What is in a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.with_file(name, |file| file.content.clone())
    }

    /// Another byte is in a file, for good; nothing happens behind its end.
    pub fn flip(&self, name: &str, at: u64, mask: u8) {
        self.with_file(name, |file| file.flip(at as usize, mask));
    }

    /// A file is shorter, for good.
    pub fn cut_short(&self, name: &str, len: u64) {
        self.with_file(name, |file| file.cut_short(len as usize));
    }

    /// Reading any of these bytes fails, for good.
    pub fn spoil(&self, name: &str, from: u64, to: u64) {
        self.with_file(name, |file| file.spoilt.push((from, to)));
    }

    /// A file is gone, for good.
    pub fn lose(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        state.names.lose(name);
        state.sweep();
    }

    /// A file as somebody else left it, for good.
    pub fn plant(&self, name: &str, content: &[u8]) {
        let mut state = self.state.borrow_mut();
        let inode = state.next_inode;
        state.next_inode += 1;
        state.files.insert(inode, Inode::durable(content));
        state.names.plant(name, inode);
        state.sweep();
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> Result<Vec<String>> {
        let mut state = self.state.borrow_mut();
        state.alive(self.era)?;
        let mut names: Vec<String> = state.names.now.keys().cloned().collect();
        state.rng.shuffle(&mut names);
        Ok(names)
    }

    fn open(&self, name: &str, how: Open) -> Result<SimFile> {
        let mut state = self.state.borrow_mut();
        state.alive(self.era)?;
        let inode = match (state.names.now.get(name), how) {
            (Some(inode), _) => *inode,
            (None, Open::Read | Open::Write) => return Err(ErrorKind::NotFound.into()),
            (None, Open::Create) => {
                let verdict = state.begin(self.era, Operation::Create)?;
                state.tell(|| format!("create {name}"));
                let done = matches!(verdict, Verdict::Done) || state.rng.chance(50);
                let inode = state.next_inode;
                if done {
                    state.next_inode += 1;
                    state.files.insert(inode, Inode::durable(&[]));
                    state.names.link(name, inode);
                }
                if let Verdict::Part(error) = verdict {
                    return Err(error);
                }
                inode
            }
        };
        state.files.get_mut(&inode).expect("an inode").handles += 1;
        Ok(SimFile::new(self.clone(), inode, how, name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.alive(self.era)?;
        if !state.names.now.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        let verdict = state.begin(self.era, Operation::Rename)?;
        state.tell(|| format!("rename {from} to {to}"));
        if matches!(verdict, Verdict::Done) || state.rng.chance(50) {
            state.names.rename(from, to);
            state.sweep();
        }
        verdict.into()
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.alive(self.era)?;
        if !state.names.now.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        let verdict = state.begin(self.era, Operation::Remove)?;
        state.tell(|| format!("remove {name}"));
        if matches!(verdict, Verdict::Done) || state.rng.chance(50) {
            state.names.unlink(name);
            state.sweep();
        }
        verdict.into()
    }

    fn sync_directory(&self) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let verdict = state.begin(self.era, Operation::SyncDirectory)?;
        state.tell(|| "sync directory".into());
        let State { rng, names, .. } = &mut *state;
        match verdict {
            Verdict::Done => names.sync(),
            Verdict::Part(_) => names.sync_in_part(rng),
        }
        state.sweep();
        verdict.into()
    }

    fn free_bytes(&self) -> Result<u64> {
        let state = self.state.borrow();
        state.alive(self.era)?;
        Ok(state.room.min(1 << 40).saturating_sub(state.used()))
    }

    fn total_bytes(&self) -> Result<u64> {
        let state = self.state.borrow();
        state.alive(self.era)?;
        Ok(state.room.min(1 << 40))
    }
}

impl From<Verdict> for Result<()> {
    fn from(verdict: Verdict) -> Result<()> {
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Part(error) => Err(error),
        }
    }
}
