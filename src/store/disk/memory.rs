//! A disk in memory, for the tests of this room: it fills, fails when told to, and loses what was not synced.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::rc::Rc;

use super::{Disk, DiskFile, Open};

/// What a disk is asked to do: the methods of [`Disk`] and [`DiskFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Operation {
    List,
    Open,
    Rename,
    Remove,
    SyncDirectory,
    Read,
    Write,
    Allocate,
    Truncate,
    Sync,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    operation: Option<Operation>,
    /// So many more go well.
    after: u64,
    kind: ErrorKind,
    /// All that follow fail as well.
    lasting: bool,
}

#[derive(Debug, Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    /// What a power cut leaves at least.
    durable: Vec<u8>,
    /// What was written since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

fn put(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.resize(bytes.len().max(at + part.len()), 0);
    bytes[at..at + part.len()].copy_from_slice(part);
}

type Shared<T> = Rc<RefCell<T>>;

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, Shared<Content>>,
    /// The names as a power cut leaves them.
    durable: BTreeMap<String, Shared<Content>>,
    unreadable: BTreeSet<String>,
    total: u64,
    faults: Vec<Fault>,
    counts: BTreeMap<Operation, u64>,
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|content| content.borrow().bytes.len() as u64).sum()
    }

    fn count(&mut self, operation: Operation) -> Result<()> {
        *self.counts.entry(operation).or_default() += 1;
        let mut failed = None;
        self.faults.retain_mut(|fault| {
            if fault.operation.is_some_and(|one| one != operation) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            failed = failed.or(Some(fault.kind));
            fault.lasting
        });
        failed.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

/// A disk in memory. A clone is the same disk; see [`copy`](MemoryDisk::copy) for another one.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    state: Shared<State>,
}

/// A file on it.
#[derive(Debug)]
pub struct MemoryFile {
    state: Shared<State>,
    name: String,
    content: Shared<Content>,
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::new(1 << 40)
    }
}

impl MemoryDisk {
    /// An empty disk with room for `total` bytes.
    pub fn new(total: u64) -> MemoryDisk {
        MemoryDisk { state: Rc::new(RefCell::new(State { total, ..State::default() })) }
    }

    /// Makes it larger or smaller.
    pub fn set_total(&self, total: u64) {
        self.state.borrow_mut().total = total;
    }

    /// After `after` more operations of this kind (any, if `None`) one fails.
    pub fn fail_once(&self, operation: impl Into<Option<Operation>>, after: u64, kind: ErrorKind) {
        self.fail(operation.into(), after, kind, false);
    }

    /// After `after` more operations of this kind (any, if `None`) all fail.
    pub fn fail_from(&self, operation: impl Into<Option<Operation>>, after: u64, kind: ErrorKind) {
        self.fail(operation.into(), after, kind, true);
    }

    fn fail(&self, operation: Option<Operation>, after: u64, kind: ErrorKind, lasting: bool) {
        self.state.borrow_mut().faults.push(Fault { operation, after, kind, lasting });
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        let mut state = self.state.borrow_mut();
        state.faults.clear();
        state.unreadable.clear();
    }

    /// Opening or reading this file fails.
    pub fn make_unreadable(&self, name: &str) {
        self.state.borrow_mut().unreadable.insert(name.into());
    }

    /// How often it was asked for this.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state.borrow().counts.get(&operation).copied().unwrap_or(0)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.state.borrow().names.keys().cloned().collect()
    }

    /// The bytes of a file; none if it is not there.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.state.borrow().names.get(name).map(|content| content.borrow().bytes.clone())
    }

    /// Changes a file behind everybody's back, or makes one. What was written to it becomes durable.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.borrow_mut();
        let content = Rc::clone(state.names.entry(name.into()).or_default());
        state.durable.insert(name.into(), Rc::clone(&content));
        let mut content = content.borrow_mut();
        change(&mut content.bytes);
        content.durable = content.bytes.clone();
        content.unsynced.clear();
    }

    /// Another disk with the same files, all durable, and no faults.
    pub fn copy(&self) -> MemoryDisk {
        let state = self.state.borrow();
        let names: BTreeMap<_, _> = state
            .names
            .iter()
            .map(|(name, content)| {
                let bytes = content.borrow().bytes.clone();
                let content = Content { durable: bytes.clone(), bytes, unsynced: vec![] };
                (name.clone(), Rc::new(RefCell::new(content)))
            })
            .collect();
        let state = State { durable: names.clone(), names, total: state.total, ..State::default() };
        MemoryDisk { state: Rc::new(RefCell::new(state)) }
    }

    /// Another disk, as a power cut leaves this one. Names that were not synced are gone. Of each write since the last
    /// sync of its file, `keep` says how many of its bytes are there: it is given their number.
    pub fn cut(&self, mut keep: impl FnMut(usize) -> usize) -> MemoryDisk {
        let state = self.state.borrow();
        let mut names = BTreeMap::new();
        for (name, content) in &state.durable {
            let content = content.borrow();
            let mut bytes = content.durable.clone();
            for (at, part) in &content.unsynced {
                let kept = keep(part.len()).min(part.len());
                put(&mut bytes, *at, &part[..kept]);
            }
            let content = Content { durable: bytes.clone(), bytes, unsynced: vec![] };
            names.insert(name.clone(), Rc::new(RefCell::new(content)));
        }
        let state = State { durable: names.clone(), names, total: state.total, ..State::default() };
        MemoryDisk { state: Rc::new(RefCell::new(state)) }
    }
}

fn no_such_file() -> Error {
    ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> Result<Vec<String>> {
        self.state.borrow_mut().count(Operation::List)?;
        Ok(self.names())
    }

    fn open(&self, name: &str, how: Open) -> Result<MemoryFile> {
        let mut state = self.state.borrow_mut();
        state.count(Operation::Open)?;
        if state.unreadable.contains(name) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let content = match (state.names.get(name), how) {
            (Some(content), _) => Rc::clone(content),
            (None, Open::Create) => Rc::clone(state.names.entry(name.into()).or_default()),
            (None, _) => return Err(no_such_file()),
        };
        Ok(MemoryFile { state: Rc::clone(&self.state), name: name.into(), content })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.count(Operation::Rename)?;
        let content = state.names.remove(from).ok_or_else(no_such_file)?;
        if state.unreadable.remove(from) {
            state.unreadable.insert(to.into());
        }
        state.names.insert(to.into(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.count(Operation::Remove)?;
        state.names.remove(name).map(|_| ()).ok_or_else(no_such_file)
    }

    fn sync_directory(&self) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.count(Operation::SyncDirectory)?;
        state.durable = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        let state = self.state.borrow();
        Ok(state.total.saturating_sub(state.used()))
    }

    fn total_bytes(&self) -> Result<u64> {
        Ok(self.state.borrow().total)
    }
}

impl MemoryFile {
    /// How many of `wanted` more bytes there is room for.
    fn room(&self, wanted: u64) -> u64 {
        let state = self.state.borrow();
        wanted.min(state.total.saturating_sub(state.used()))
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> Result<u64> {
        Ok(self.content.borrow().bytes.len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        self.state.borrow_mut().count(Operation::Read)?;
        if self.state.borrow().unreadable.contains(&self.name) {
            return Err(Error::other("input/output error"));
        }
        let content = self.content.borrow();
        let from = content.bytes.get(at as usize..).unwrap_or(&[]);
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, at: u64, parts: &[&[u8]]) -> Result<()> {
        let failed = self.state.borrow_mut().count(Operation::Write);
        let mut all = parts.concat();
        let (len, end) = (self.content.borrow().bytes.len() as u64, at + all.len() as u64);
        let longer = end.saturating_sub(len);
        let short = longer - self.room(longer);
        // A write that fails has done half of its work.
        all.truncate(if failed.is_err() { all.len() / 2 } else { (end - short).saturating_sub(at) as usize });
        let mut content = self.content.borrow_mut();
        put(&mut content.bytes, at as usize, &all);
        content.unsynced.push((at as usize, all));
        failed?;
        if short > 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.state.borrow_mut().count(Operation::Allocate)?;
        let longer = len.saturating_sub(self.len()?);
        if self.room(longer) < longer {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut content = self.content.borrow_mut();
        let len = content.bytes.len().max(len as usize);
        content.bytes.resize(len, 0);
        content.durable.resize(len, 0);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.state.borrow_mut().count(Operation::Truncate)?;
        let mut content = self.content.borrow_mut();
        content.bytes.resize(len as usize, 0);
        content.durable.resize(len as usize, 0);
        content.unsynced.retain(|(at, part)| at + part.len() <= len as usize);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.state.borrow_mut().count(Operation::Sync)?;
        let mut content = self.content.borrow_mut();
        content.durable = content.bytes.clone();
        content.unsynced.clear();
        Ok(())
    }
}
