use std::collections::BTreeSet;

use super::*;

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed >> 33
}

fn check(set: &Positions, model: &BTreeSet<u64>, from: u64, to: u64) {
    for at in from..to {
        assert_eq!(set.contains(at), model.contains(&at), "{at}");
    }
    assert_eq!(set.count(from, to), model.range(from..=to).count() as u64);
    for at in (from..to).step_by(997) {
        let absent = (at..).find(|at| !model.contains(at)).unwrap();
        assert_eq!(set.next_absent(at), absent);
        assert_eq!(set.next_present(at), model.range(at..).next().copied());
        assert_eq!(set.count(at, at + 5000), model.range(at..=at + 5000).count() as u64);
    }
    let listed: Vec<u64> = set.stretches(from, to).flat_map(|(first, last)| first..=last).collect();
    assert_eq!(listed, model.range(from..to).copied().collect::<Vec<_>>());
    let mut saved = vec![];
    set.save(&mut saved);
    assert_eq!(Positions::load(&mut Bytes(&saved)), Some(set.clone()));
    assert_eq!(Positions::load(&mut Bytes(&saved[..saved.len() - 1])), None);
}

#[test]
fn it_is_a_set() {
    for seed in 1..4 {
        let (mut set, mut model, mut random_state) = (Positions::default(), BTreeSet::new(), seed);
        let mut below = 0;
        for round in 0..6000 {
            let first = below + random(&mut random_state) % 20_000;
            let len = match random(&mut random_state) % 100 {
                0 => 9000,
                1..5 => 100,
                _ => random(&mut random_state) % 3,
            };
            let newly = (first..=first + len).filter(|at| model.insert(*at)).count() as u64;
            assert_eq!(set.insert(first, first + len), newly);
            if round % 1500 == 1499 {
                check(&set, &model, below, below + 31_000);
            }
            if round % 2000 == 1999 {
                below += random(&mut random_state) % 6000;
                set.remove_below(below);
                model.retain(|at| *at >= below);
                check(&set, &model, below, below + 31_000);
            }
        }
        set.remove_below(u64::MAX);
        assert!(set.is_empty());
    }
}

#[test]
fn it_is_small() {
    let mut set = Positions::default();
    for at in 0..1_000_000 {
        set.insert(at * 2, at * 2);
    }
    assert!(set.memory() < 300_000, "{}", set.memory());
    assert_eq!(set.count(0, 1_999_999), 1_000_000);
    set.insert(0, 1 << 40);
    assert!(set.memory() < 1000, "{}", set.memory());
}

#[test]
fn the_ends_of_numbers_do_no_harm() {
    let mut set = Positions::default();
    assert_eq!(set.insert(5, 4), 0);
    assert_eq!(set.insert(u64::MAX - 1, u64::MAX), 2);
    assert_eq!(set.insert(0, 0), 1);
    assert_eq!(set.next_present(1), Some(u64::MAX - 1));
    assert_eq!(set.insert(0, u64::MAX - 2), u64::MAX - 2);
    assert!(set.contains(u64::MAX) && set.contains(77));
}
