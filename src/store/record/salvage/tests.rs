use super::super::tests::{EXPECTED, said, sample};
use super::*;

/// What is in records, one line each; of messages also each one for itself.
fn salvaged(mut bytes: Vec<u8>, end: End) -> (Vec<String>, Lost) {
    let len = bytes.len();
    let lost = salvage(&mut bytes, end);
    assert!(bytes.len() <= len);
    (said(&bytes), lost)
}

fn damage(lost: Lost) -> u64 {
    lost.batches + lost.records + lost.messages
}

#[test]
fn what_is_sound_stays_as_it_is() {
    let mut bytes = sample();
    assert_eq!(salvage(&mut bytes, End::Exact), Lost::NOTHING);
    assert_eq!(bytes, sample());
    // The padding of a batch.
    bytes.extend_from_slice(&[0; 63]);
    assert_eq!(salvage(&mut bytes.clone(), End::Exact), Lost { records: 1, ..Lost::NOTHING });
    assert_eq!(salvage(&mut bytes, End::Padded(64)), Lost::NOTHING);
    assert_eq!(bytes, sample());
    assert_eq!(salvage(&mut vec![], End::Exact), Lost::NOTHING);
}

#[test]
fn a_changed_bit_costs_a_message_at_most() {
    let sound = said(&sample());
    for padding in [0, 16, 63] {
        for bit in 0..8 * sample().len() {
            let mut bytes = sample();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.resize(bytes.len() + padding, 0);
            let (lines, lost) = salvaged(bytes, if padding == 0 { End::Exact } else { End::Padded(64) });
            assert_eq!((lost.batches, lost.records), (0, 0), "bit {bit}: {lines:?}");
            assert!(lost.messages <= 1, "bit {bit}: {lines:?}");
            // Whatever is not said to be unsound is as it was.
            let differ: Vec<_> = lines.iter().zip(&sound).filter(|(line, sound)| line != sound).collect();
            assert_eq!(differ.len() as u64, damage(lost), "bit {bit}: {lines:?}");
            assert!(differ.iter().all(|(line, _)| line.contains('!')), "bit {bit}: {lines:?}");
            assert_eq!(lines.len(), EXPECTED.len() + 1, "bit {bit}");
        }
    }
}

#[test]
fn bytes_that_are_gone_cost_what_they_touch() {
    let sound = said(&sample());
    let len = sample().len();
    for (fill, hole) in [(0, 8), (0, 40), (0xff, 8), (0xff, 40), (0x5a, 100)] {
        for at in 0..len - hole {
            let mut bytes = sample();
            bytes[at..at + hole].fill(fill);
            let (lines, lost) = salvaged(bytes, End::Exact);
            assert!(damage(lost) > 0 || lines == sound, "{fill} at {at}");
            for line in lines.iter().filter(|line| !sound.contains(line)) {
                let nothing = line == "settled []";
                assert!(nothing || line.starts_with("messages"), "{fill} at {at}: {line}");
            }
            // What lies wholly in front is untouched, and most of what lies behind is found again.
            let ends: Vec<_> = super::super::records(&sample()).map(|(at, _)| at).skip(1).chain([len]).collect();
            for (i, end) in ends.iter().enumerate().filter(|(_, end)| **end <= at) {
                assert_eq!(lines[i], sound[i], "{fill} at {at}, record {i} to {end}");
            }
            let last = sound.last().unwrap();
            assert!(at + hole > len - 16 || lines.last() == Some(last), "{fill} at {at}: {lines:?}");
        }
    }
}

#[test]
fn no_bytes_make_it_fail() {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    for round in 0..300 {
        let mut bytes = sample();
        for _ in 0..round {
            let at = (next() as usize * 256 + next() as usize) % bytes.len();
            bytes[at] = next();
        }
        let (lines, _) = salvaged(bytes, End::Exact);
        assert!(!lines.iter().any(|line| line.starts_with("damaged")), "{lines:?}");
    }
}
