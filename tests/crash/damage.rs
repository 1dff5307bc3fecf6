//! Tails that are cut off at every byte, and bits that flip anywhere in a data directory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::place::{self, Folder};
use crate::reports::Turn;
use crate::rng::Rng;
use crate::written::{Plan, Written, serve};
use crate::{long, rounds, seed};

/// Batches begin at multiples of this.
const ALIGN: usize = 64;

/// What is done to a file from a place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// It ends there.
    Cut,
    /// Zeros follow to the end.
    Zeros,
    /// Whatever follows to the end.
    Noise,
    /// A few bytes are lost, and what follows is sound.
    Hole,
}

const HOLE_BYTES: usize = 16;

impl Damage {
    fn do_to(self, path: &Path, at: usize, rng: &mut Rng) {
        let mut bytes = fs::read(path).expect("a segment");
        let until = if self == Damage::Hole { (at + HOLE_BYTES).min(bytes.len()) } else { bytes.len() };
        match self {
            Damage::Cut => bytes.truncate(at),
            Damage::Zeros => bytes[at..until].fill(0),
            Damage::Noise | Damage::Hole => bytes[at..until].fill_with(|| rng.next() as u8),
        }
        fs::write(path, bytes).expect("a segment");
    }
}

#[test]
fn a_tail_that_ends_anywhere() {
    let test = "a_tail_that_ends_anywhere";
    let turn = Turn::take();
    let mut rng = Rng::new(seed(test));
    let folder = Folder::in_memory(test);
    let written = Written::new(&folder, Plan { messages: 60, size_max: 700, window: 1, acked: 0, restart_at: None });
    let places = written.places();
    assert_eq!(places.len(), written.bodies.len(), "each body lies in a segment, once");
    let (last_id, (name, _, end)) = places.iter().max_by_key(|(_, place)| *place).expect("a body");
    let (last_id, name, end) = (*last_id, name.clone(), *end);
    let begin = places.values().filter(|place| place.0 == name).map(|place| place.1).min().expect("a body");
    let last = end.next_multiple_of(ALIGN);
    let all: Vec<usize> = (begin - 2 * ALIGN..=last + ALIGN).collect();
    let points: Vec<usize> = match long() {
        true => all,
        false => (0..rounds(200, 0)).map(|_| all[rng.below(all.len() as u64) as usize]).collect(),
    };
    let mut lost_in_all = 0;
    for (number, at) in points.iter().enumerate() {
        let damage = [Damage::Cut, Damage::Zeros, Damage::Noise, Damage::Hole][number % 4];
        let dir = folder.join("damaged");
        place::copy(&written.dir, &dir);
        damage.do_to(&dir.join(&name), *at, &mut rng);
        let when = format!("{damage:?} at {at} of {name}");
        let came = serve(&dir).unwrap_or_else(|text| panic!("{when}: {text}"));
        assert_eq!(came.altered, Vec::<String>::new(), "{when}");
        assert_eq!(written.wrong(&came), None, "{when}");
        let lost = written.lost(&came);
        let said = turn.said();
        for (queue, id) in &lost {
            let (file, first, end) = &places[id];
            // The batch of this message begins in front of its body and ends behind it.
            let is_hit = match damage {
                _ if *file != name => false,
                Damage::Hole => first - 4 * ALIGN < at + HOLE_BYTES && *at < end.next_multiple_of(ALIGN),
                _ => *at < end.next_multiple_of(ALIGN),
            };
            assert!(is_hit, "{when}: {queue}: {id:?} at {first} to {end} is lost: {said:?}");
        }
        // Nobody can tell a hole in the last batch from a tail.
        if damage == Damage::Hole && lost.iter().any(|(_, id)| *id != last_id) {
            assert!(said.is_trouble(), "{when}: {lost:?} and not a word: {said:?}");
        }
        lost_in_all += lost.len();
        fs::remove_dir_all(&dir).expect("the damaged directory");
    }
    assert!(lost_in_all > 0, "the damage was done somewhere else");
    eprintln!("{test}: {} points, {lost_in_all} messages behind them", points.len());
}

/// Messages that may be lost by one bit: those of one record that cannot be found any more.
const LOST_MAX: usize = 40;

#[test]
fn bits_flip() {
    let test = "bits_flip";
    let turn = Turn::take();
    let mut rng = Rng::new(seed(test));
    let folder = Folder::in_memory(test);
    let plan = Plan { messages: 400, size_max: 3000, window: 20, acked: 60, restart_at: Some(200) };
    let written = Written::new(&folder, plan);
    // Bytes that mean something, by file.
    let mut used: Vec<(String, Vec<usize>)> = vec![];
    for name in place::names(&written.dir, "") {
        let bytes = fs::read(written.dir.join(&name)).expect("a file");
        let at: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        if !at.is_empty() {
            used.push((name, at));
        }
    }
    let (mut harmless, mut lost_in_all, mut most) = (0, 0, 0);
    let count = rounds(50, 10_000);
    for _ in 0..count {
        let (name, places) = &used[rng.below(used.len() as u64) as usize];
        // The beginning of a file is where most depends on.
        let at = match rng.below(3) {
            0 => rng.below(4096) as usize,
            1 => places[rng.below(places.len().min(2000) as u64) as usize],
            _ => places[rng.below(places.len() as u64) as usize],
        };
        let bit = rng.below(8);
        let dir = folder.join("damaged");
        place::copy(&written.dir, &dir);
        flip(&dir.join(name), at, bit);
        let when = format!("bit {bit} of byte {at} of {name}");
        let came = serve(&dir).unwrap_or_else(|text| panic!("{when}: {text}"));
        assert_eq!(came.altered, Vec::<String>::new(), "{when}");
        assert_eq!(written.wrong(&came), None, "{when}");
        let lost = written.lost(&came);
        let said = turn.said();
        assert!(!said.has("panicked"), "{when}: {said:?}");
        if lost.is_empty() {
            harmless += 1;
        } else {
            assert!(said.is_trouble() || said.ends_unfinished(), "{when}: {lost:?} and not a word: {said:?}");
        }
        assert!(lost.len() <= LOST_MAX, "{when}: {} messages are lost: {said:?}", lost.len());
        lost_in_all += lost.len();
        most = most.max(lost.len());
        fs::remove_dir_all(&dir).expect("the damaged directory");
    }
    eprintln!("{test}: {count} flips, {harmless} without a loss, {lost_in_all} messages lost, at most {most} at once");
}

fn flip(path: &Path, at: usize, bit: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    if file.read_at(&mut byte, at as u64).expect("a byte") == 1 {
        byte[0] ^= 1 << bit;
        file.write_all_at(&byte, at as u64).expect("a byte");
    }
}
