//! What is durable, what is seen, and what an end leaves of the difference.

use super::{BLOCK, SECTOR};
use crate::rng::Rng;
use std::collections::BTreeMap;

/// Something that happened to a file since its last sync.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Len(usize),
}

/// A file, whatever its name.
#[derive(Debug, Default)]
pub struct Inode {
    /// As it is seen.
    pub content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Room that it takes.
    pub blocks: u64,
    pub handles: usize,
    /// What cannot be read.
    pub spoilt: Vec<(u64, u64)>,
}

impl Inode {
    pub fn durable(content: &[u8]) -> Inode {
        let blocks = (content.len() as u64).div_ceil(BLOCK);
        Inode { content: content.into(), durable: content.into(), blocks, ..Inode::default() }
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
            self.pending.push(Change::Len(end));
        }
        self.heal(at as u64, end as u64);
        self.content[at..end].copy_from_slice(bytes);
        self.pending.push(Change::Write { at, bytes: bytes.into() });
    }

    /// What is written anew can be read again, with the rest of its blocks.
    fn heal(&mut self, from: u64, to: u64) {
        let (from, to) = (from / BLOCK * BLOCK, to.checked_next_multiple_of(BLOCK).unwrap_or(to));
        for (spoilt_from, spoilt_to) in std::mem::take(&mut self.spoilt) {
            let parts = [(spoilt_from, spoilt_to.min(from)), (spoilt_from.max(to), spoilt_to)];
            self.spoilt.extend(parts.into_iter().filter(|(from, to)| from < to));
        }
    }

    pub fn set_len(&mut self, len: usize) {
        if len < self.content.len() {
            let bytes = vec![0; self.content.len() - len];
            self.pending.push(Change::Write { at: len, bytes });
        }
        self.content.resize(len, 0);
        self.heal(len as u64, u64::MAX);
        self.pending.push(Change::Len(len));
    }

    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
        self.durable.resize(self.content.len(), 0);
    }

    /// Some of it is durable; the rest will never be, and is seen as long as nobody restarts.
    pub fn sync_in_part(&mut self, rng: &mut Rng) {
        if !self.pending.is_empty() {
            self.durable = self.image(rng);
            self.pending.clear();
        }
    }

    pub fn lose_power(&mut self, rng: &mut Rng) {
        self.durable = self.image(rng);
        self.pending.clear();
        self.content.clone_from(&self.durable);
    }

    /// What the disk may hold: for every sector one of the states that it had since the last sync.
    fn image(&self, rng: &mut Rng) -> Vec<u8> {
        let mut image = self.durable.clone();
        let ending = rng.below(6);
        // In order up to somewhere, and torn there; or every sector by itself.
        let in_order = rng.below(self.pending.len() + 1);
        let likely = rng.pick(&[5, 50, 95]);
        let mut versions: BTreeMap<usize, usize> = BTreeMap::new();
        let mut lens = vec![self.durable.len()];
        for (number, change) in self.pending.iter().enumerate() {
            let (at, bytes) = match change {
                Change::Len(len) => {
                    lens.push(*len);
                    continue;
                }
                Change::Write { at, bytes } => (*at, bytes),
            };
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            for sector in at / SECTOR..=(end - 1) / SECTOR {
                let kept = match ending {
                    0 => false,
                    1 => true,
                    2 | 3 => number < in_order || (number == in_order && rng.chance(50)),
                    _ => rng.chance(likely),
                };
                // A sector never skips a state: what follows a missing one is missing.
                let missing = versions.entry(sector).or_insert(usize::MAX);
                if !kept {
                    *missing = (*missing).min(number);
                }
                if *missing <= number {
                    continue;
                }
                let (from, to) = ((sector * SECTOR).max(at), ((sector + 1) * SECTOR).min(end));
                image[from..to].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        let len = if rng.chance(50) { self.content.len() } else { lens[rng.below(lens.len())] };
        image.resize(len, 0);
        image
    }

    pub fn flip(&mut self, at: usize, mask: u8) {
        for bytes in [&mut self.content, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    pub fn cut_short(&mut self, len: usize) {
        self.content.truncate(len);
        self.durable.truncate(len);
        self.pending.clear();
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => bytes.resize(*len, 0),
        Change::Write { at, bytes: new } => {
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
    }
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

/// The directory.
#[derive(Debug, Default)]
pub struct Names {
    /// As it is seen.
    pub now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

impl Names {
    pub fn holds(&self, inode: u64) -> bool {
        let named = self.now.values().chain(self.durable.values()).any(|named| *named == inode);
        named
            || self.pending.iter().any(|change| match change {
                NameChange::Link(_, named) | NameChange::Rename(_, _, named) => *named == inode,
                NameChange::Unlink(_) => false,
            })
    }

    fn change(&mut self, change: NameChange) {
        apply_name(&mut self.now, &change);
        self.pending.push(change);
    }

    pub fn link(&mut self, name: &str, inode: u64) {
        self.change(NameChange::Link(name.into(), inode));
    }

    pub fn unlink(&mut self, name: &str) {
        self.change(NameChange::Unlink(name.into()));
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        self.change(NameChange::Rename(from.into(), to.into(), self.now[from]));
    }

    pub fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    pub fn sync_in_part(&mut self, rng: &mut Rng) {
        for change in self.pending.drain(..) {
            if rng.chance(50) {
                apply_name(&mut self.durable, &change);
            }
        }
    }

    pub fn lose_power(&mut self, rng: &mut Rng) {
        let likely = rng.pick(&[0, 50, 90, 100]);
        for change in self.pending.drain(..) {
            if rng.chance(likely) {
                apply_name(&mut self.durable, &change);
            }
        }
        self.now.clone_from(&self.durable);
    }

    pub fn lose(&mut self, name: &str) {
        self.now.remove(name);
        self.durable.remove(name);
    }

    pub fn plant(&mut self, name: &str, inode: u64) {
        self.now.insert(name.into(), inode);
        self.durable.insert(name.into(), inode);
    }
}

fn apply_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}
