//! Rot between two lives: flipped bits, files that are short, gone or foreign, bytes that cannot be read.

use super::model::Touched;
use super::run::{Placed, Run};
use crate::disk::SimDisk;
use crate::lane::LANE;
use crate::rng::Rng;
use leveret::store::batch::{BATCH_HEADER_BYTES, BatchHeader};
use std::ops::Range;

/// What a disk reads and loses as a whole.
const BLOCK: u64 = 4096;

/// Damages something of a file; returns which bytes are wrong.
fn damage_file(disk: &SimDisk, rng: &mut Rng, name: &str, len: u64) -> Range<u64> {
    let at = match rng.below(3) {
        0 => rng.below(len.min(4300) as usize) as u64,
        _ => rng.below(len as usize) as u64,
    };
    match rng.below(10) {
        0..6 => {
            disk.flip(name, at, 1 << rng.below(8));
            at..at + 1
        }
        6 => {
            let (from, to) = (at / BLOCK * BLOCK, (at / BLOCK + rng.range(1, 3) as u64) * BLOCK);
            disk.spoil(name, from, to);
            from..to
        }
        7 => {
            disk.cut_short(name, at);
            at..len
        }
        8 => {
            disk.cut_short(name, 0);
            0..len
        }
        _ => {
            disk.lose(name);
            0..len
        }
    }
}

impl Run {
    /// Something rots. What that may change is noted.
    pub fn damage(&mut self) {
        // As if the process were started and saw the files; a kill leaves them as they are.
        self.disk = self.disk.restart();
        self.find_unplaced();
        for _ in 0..self.rng.pick(&[1, 1, 1, 3]) {
            let files = self.disk.files();
            let Some((name, len)) = (!files.is_empty()).then(|| files[self.rng.below(files.len())].clone()) else {
                return;
            };
            if self.rng.chance(10) {
                let (name, bytes) = self.rng.pick(&[
                    ("segment-0000000f", &b"nobody knows"[..]),
                    ("segment-00000000x", b"?"),
                    ("readme.txt", b""),
                    ("checkpoint-c", b"x"),
                ]);
                if files.iter().all(|(known, _)| known != name) {
                    self.say(|| format!("a foreign file: {name}"));
                    self.disk.plant(name, bytes);
                }
                continue;
            }
            if len == 0 {
                continue;
            }
            let wrong = damage_file(&self.disk, &mut self.rng, &name, len);
            self.say(|| format!("{name} is damaged: {wrong:x?} of {len:#x}"));
            self.note_damage(&name, wrong);
        }
    }

    /// Notes batches that are on the disk though nobody was told that they were written: the machine went down then.
    fn find_unplaced(&mut self) {
        for (file, _) in self.disk.files().into_iter().filter(|(name, _)| name.starts_with("segment")) {
            let bytes = self.disk.content(&file);
            let header = |at: u64| {
                let header = bytes.get(at as usize..)?.get(..BATCH_HEADER_BYTES)?;
                BatchHeader::decode(header, &LANE)
            };
            let segment = header(BLOCK).map(|header| header.segment);
            let mut from = BLOCK;
            while let Some(header) = header(from).filter(|header| Some(header.segment) == segment) {
                let (at, index) = (from + BATCH_HEADER_BYTES as u64, header.index);
                let payload = bytes.get(at as usize..).and_then(|payload| payload.get(..header.len as usize));
                let sound = payload.filter(|payload| crc32c::crc32c(payload) == header.crc);
                if let Some(payload) = sound
                    && self.placed.iter().all(|placed| placed.index != index)
                {
                    self.say(|| format!("batch {index} is in {file} at {at:#x}"));
                    let mut touched = Touched::default();
                    touched.add(payload);
                    let (file, to) = (file.clone(), at + u64::from(header.len));
                    self.placed.push(Placed { file, from, to, index, touched, hit: false });
                }
                from += header.batch_bytes();
            }
        }
    }

    fn note_damage(&mut self, name: &str, wrong: Range<u64>) {
        if name.starts_with("checkpoint") {
            self.checkpoints_damaged.insert(name.into());
            self.tainted.everything |= self.checkpoints_damaged.len() > 1;
            return;
        }
        let hit = |from: u64, to: u64| wrong.start < BLOCK || (wrong.start < to && from < wrong.end);
        for placed in self.placed.iter_mut().filter(|p| p.file == name && hit(p.from, p.to)) {
            placed.hit = true;
            self.tainted.extend(&placed.touched);
        }
        // Without a sound batch that tells how far all was synced, it is taken for the tail, and all behind it as well.
        let told = self.knows_synced();
        let tail = self.placed.iter().filter(|p| p.hit && p.index > told).map(|p| p.index).min();
        for placed in self.placed.iter().filter(|p| tail.is_some_and(|tail| p.index >= tail)) {
            self.tainted.extend(&placed.touched);
        }
        self.tail_hit |= tail.is_some();
    }

    /// How far the journal was synced, as the headers say that are still there.
    fn knows_synced(&self) -> u64 {
        let sound = |placed: &&Placed| !placed.hit && self.disk.has(&placed.file);
        let knows = |placed: &Placed| {
            let file = self.disk.content(&placed.file);
            let header = file.get(placed.from as usize..)?.get(..BATCH_HEADER_BYTES)?;
            BatchHeader::decode(header, &LANE).filter(|header| header.index == placed.index).map(|header| header.synced)
        };
        self.placed.iter().filter(sound).filter_map(knows).max().unwrap_or(0)
    }
}
