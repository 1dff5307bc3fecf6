//! Random operations beside the model.

use super::*;

fn random_position(random: &mut Random, queue: &Queue) -> Option<u64> {
    let at = random.below(queue.alive.len() as u64) as usize;
    // Mostly in front, as consumers do.
    let at = if random.below(4) > 0 { at / 16 } else { at };
    queue.alive.keys().nth(at).copied()
}

fn act(lane: &mut Lane, random: &mut Random) {
    let queues: Vec<u64> = lane.model.keys().copied().collect();
    let mut queue = queues[random.below(queues.len() as u64) as usize];
    if random.below(8) == 0 {
        queue = QueueId(queue).class(random.below(3) as u8).0;
        lane.model.entry(queue).or_default();
    }
    let model = lane.model[&queue].clone();
    match random.below(100) {
        0..40 => {
            let len = match random.below(20) {
                0 => random.below(20_000),
                1..4 => random.below(5000),
                _ => random.below(200),
            } as usize;
            let flags = if random.below(8) == 0 { TRANSIENT } else { 0 };
            let several = queues.len() > 1 && random.below(3) == 0;
            let chosen = if several { queues[..2].to_vec() } else { vec![queue] };
            for _ in 0..=random.below(20) {
                lane.publish(&chosen, len, flags);
            }
        }
        40..80 => {
            for _ in 0..=random.below(12) {
                let model = lane.model[&queue].clone();
                let Some(first) = random_position(random, &model) else { break };
                let most = random.below(6);
                let last = (first..=first + most).take_while(|at| model.alive.contains_key(at)).last().unwrap();
                lane.settle(queue, first, last);
            }
        }
        80..85 => {
            if let Some(position) = random_position(random, &model) {
                lane.give_back(queue, position);
            }
        }
        85..88 => {
            for _ in 0..random.below(4) {
                let Some(position) = random_position(random, &model) else { break };
                lane.count(queue, position, 1 + random.below(9) as u32, random.below(3) as u32);
            }
        }
        88..93 => lane.skip(queue, random.below(10)),
        93 => {
            let kept: Vec<u64> = model.alive.keys().copied().filter(|_| random.below(20) == 0).collect();
            lane.purge(queue, &kept);
        }
        95 if !QueueId(queue).is_class() => {
            // Each lane's time begins at 1000 ms.
            let until = [0, 900, lane.now + random.below(3000)][random.below(3) as usize];
            for _ in 0..random.below(6) {
                lane.note(queue, random.below(4) as u32 + queue as u32 % 5, random.below(256) as u8, until);
            }
        }
        94 => {
            let next = queues.iter().map(|queue| QueueId(*queue).base().0).max().unwrap() + 1;
            lane.undefine(QueueId(queue).base().0);
            lane.define(next);
        }
        95..98 => lane.write(),
        _ => lane.sync(),
    }
}

fn run(seed: u64, rounds: u64) {
    let mut random = Random(seed);
    let mut lane = Lane::new();
    (1000..1001 + seed % 3).for_each(|queue| lane.define(queue));
    for _ in 0..rounds {
        act(&mut lane, &mut random);
        match random.below(200) {
            0..40 => {
                lane.now += random.below(2000);
                for _ in 0..random.below(30) {
                    lane.step();
                }
            }
            40..45 => lane.check(1 + random.below(50_000) as usize, 1 + random.below(300) as usize),
            45 => lane.rest(20_000),
            46..48 => {
                lane.sync();
                let power = random.below(2) == 0;
                lane = lane.crash(power);
                assert!(lane.report.is_sound(), "seed {seed}: {}", lane.report);
                lane.check(usize::MAX, usize::MAX);
            }
            48 => {
                lane = lane.stop();
                assert!(lane.report.is_sound(), "seed {seed}: {}", lane.report);
                lane.check(usize::MAX, usize::MAX);
            }
            49 => replayed_twice(&mut lane),
            _ => {}
        }
    }
    lane.check(100_000, 1000);
    lane.rest(60_000);
    lane.check(100_000, 1000);
    assert!(lane.keeper.report().is_sound());
}

/// A batch that was applied comes a second time, and nothing changes.
fn replayed_twice(lane: &mut Lane) {
    lane.write();
    let queue = *lane.model.keys().next().unwrap();
    lane.purge(queue, &[]);
    let bytes = lane.records.take(vec![]);
    let submission = |bytes: &[u8]| vec![Submission { from: 0, seq: 0, bytes: bytes.to_vec(), sync: false }];
    let batch = lane.journal.write(lane.now, submission(&bytes)).unwrap();
    let Batch { index, term, segment, slot, at, time_ms, .. } = batch;
    let again = Batch { index, term, segment, slot, at, time_ms, submissions: submission(&bytes) };
    lane.keeper.apply(batch);
    let once = lane.keeper.state().digest();
    lane.keeper.apply(again);
    assert_eq!(lane.keeper.state().digest(), once);
}

#[test]
fn it_does_what_the_model_does() {
    for seed in 0..40 {
        run(seed, 500);
    }
}

/// The same records a second time, under new indexes: everything is known already.
#[test]
fn records_may_be_applied_twice() {
    for seed in 100..106 {
        let mut random = Random(seed);
        let mut lane = Lane::new();
        (1000..1003).for_each(|queue| lane.define(queue));
        let mut all = vec![];
        for _ in 0..200 {
            act(&mut lane, &mut random);
            let bytes = lane.records.take(vec![]);
            all.extend_from_slice(&bytes);
            let submission = Submission { from: 0, seq: 1, bytes, sync: false };
            let batch = lane.journal.write(1, vec![submission]).unwrap();
            lane.keeper.apply(batch);
        }
        let once = lane.keeper.state().digest();
        lane.keeper.state.apply(&all, 1, 4096, &mut vec![]);
        assert_eq!(lane.keeper.state().digest(), once, "seed {seed}");
    }
}
