//! Rot between two lives: flipped bits, files that are short, gone or foreign, bytes that cannot be read.

use super::run::Run;
use crate::disk::SimDisk;
use crate::rng::Rng;
use std::ops::Range;

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
            let to = (at + rng.range(1, 5000) as u64).min(len);
            disk.spoil(name, at, to);
            at..to
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

    fn note_damage(&mut self, name: &str, wrong: Range<u64>) {
        if name.starts_with("checkpoint") {
            self.checkpoints_damaged.insert(name.into());
            self.tainted.everything |= self.checkpoints_damaged.len() > 1;
            return;
        }
        let hit = |from: u64, to: u64| wrong.start < 4096 || (wrong.start < to && from < wrong.end);
        let hits: Vec<u64> =
            self.placed.iter().filter(|p| p.file == name && hit(p.from, p.to)).map(|p| p.index).collect();
        let Some(first) = hits.first().copied() else { return };
        // Without a sound batch that tells how far all was synced, it is taken for the tail.
        let told = self.placed.iter().filter(|p| !hits.contains(&p.index)).map(|p| p.knows).max().unwrap_or(0);
        let last = if hits.iter().any(|hit| *hit > told) { u64::MAX } else { *hits.last().unwrap_or(&first) };
        for placed in &self.placed {
            if hits.contains(&placed.index) || (placed.index >= first && last == u64::MAX) {
                self.tainted.extend(&placed.touched);
            }
        }
    }
}
