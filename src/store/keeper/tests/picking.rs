//! Fetches of some positions only.

use super::*;

const QUEUE: u64 = 1000;

fn pick(lane: &mut Lane, only: &[u64], to: u64, bytes_max: usize, count_max: usize) -> Option<Fetched> {
    let from = only.first().copied().unwrap_or(0);
    let queue = QueueId(QUEUE);
    lane.keeper.fetch(Fetch { queue, from, to, bytes_max, count_max, only: only.to_vec(), ..Fetch::default() });
    lane.keeper.next_answer()
}

/// Picks until everything is there; compares with the model. Returns how many answers that took.
fn check(lane: &mut Lane, only: &[u64], bytes_max: usize, count_max: usize) -> usize {
    let (mut left, mut found, mut answers) = (only.to_vec(), vec![], 0);
    let to = only.last().unwrap() + 1;
    while !left.is_empty() {
        let from = left[0];
        let answer = pick(lane, &left, to, bytes_max, count_max).unwrap();
        assert!(answer.next > from && answer.next <= to && answer.lost == 0, "{answer:?}");
        assert!(answer.messages.len() <= count_max.max(1));
        let wanted: usize = answer.messages.iter().map(|message| message.len as usize).sum();
        let without_last = wanted - answer.messages.last().map_or(0, |message| message.len as usize);
        assert!(answer.messages.len() < 2 || without_last <= bytes_max);
        // What was read beside them stays here, but for the little that is between them.
        assert!(
            answer.bytes.len() <= 2 * wanted + 16 * (answer.messages.len() + 1),
            "{} of {wanted}",
            answer.bytes.len()
        );
        for message in &answer.messages {
            assert!(message.position < answer.next);
            found.push(message.position);
            let (number, len, _) = lane.model[&QUEUE].alive[&message.position];
            let bytes = &answer.bytes[message.at as usize..][..message.len as usize];
            assert!(bytes == body(number, len), "position {}", message.position);
            let counts = lane.model[&QUEUE].counts.get(&message.position).copied().unwrap_or_default();
            assert_eq!((message.acquired, message.failed), counts);
        }
        left.retain(|at| *at >= answer.next);
        answers += 1;
    }
    let alive = &lane.model[&QUEUE].alive;
    let expected: Vec<u64> = only.iter().copied().filter(|at| alive.contains_key(at)).collect();
    assert_eq!(found, expected);
    answers
}

/// Small and large messages, alone and between those of others, some settled, in several segments.
fn filled() -> Lane {
    let mut lane = Lane::new();
    [QUEUE, 1001].iter().for_each(|queue| lane.define(*queue));
    let mut random = Random(5);
    for round in 0..60 {
        for _ in 0..30 {
            let len = [random.below(100), random.below(100), random.below(6000)][random.below(3) as usize];
            lane.publish(&[QUEUE], len as usize, 0);
            if round % 3 == 0 {
                lane.publish(&[1001], 50, 0);
            }
        }
        lane.publish(&[QUEUE, 1001], 10, 0);
        lane.skip(QUEUE, random.below(3));
        lane.sync();
    }
    for position in 0..lane.model[&QUEUE].end {
        if random.below(3) == 0 && lane.model[&QUEUE].alive.contains_key(&position) {
            lane.settle(QUEUE, position, position);
        } else if random.below(20) == 0 && lane.model[&QUEUE].alive.contains_key(&position) {
            lane.count(QUEUE, position, 2, 1);
        }
    }
    lane.sync();
    lane
}

#[test]
fn what_lives_of_some_positions_comes_wherever_it_lies() {
    for upkeep in [0, 1000, 60_000] {
        let mut lane = filled();
        lane.rest(upkeep);
        let end = lane.model[&QUEUE].end;
        let mut random = Random(upkeep);
        for every in [1, 2, 7, 100, 1000] {
            let only: Vec<u64> = (0..end).filter(|_| random.below(every) == 0).chain([end - 1]).collect();
            let only: Vec<u64> = only.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
            for (bytes_max, count_max) in [(usize::MAX, usize::MAX), (1 << 20, 4096), (5000, 10), (1, 1)] {
                let answers = check(&mut lane, &only, bytes_max, count_max);
                assert!(answers == 1 || bytes_max < usize::MAX);
            }
        }
    }
}

#[test]
fn messages_of_one_slot_do_not_fill_an_answer_with_what_lies_between() {
    let mut lane = Lane::new();
    lane.define(QUEUE);
    (0..20_000).for_each(|_| lane.publish(&[QUEUE], 24, 0));
    lane.sync();
    let only: Vec<u64> = (0..20_000).step_by(500).collect();
    // Forty messages of 24 bytes, of 640 kB that they lie in.
    assert!(check(&mut lane, &only, 64 << 10, 100) == 1);
    assert!(check(&mut lane, &only, 1000, 100) > 1, "what is read for an answer has a bound as well");
}

#[test]
fn a_pick_waits_for_what_was_submitted() {
    let mut lane = Lane::new();
    lane.define(QUEUE);
    (0..4).for_each(|_| lane.publish(&[QUEUE], 5, 0));
    lane.write();
    // The others live, and are not wanted.
    assert!(pick(&mut lane, &[4, 6], 7, 1000, 10).is_none());
    lane.publish(&[QUEUE], 5, 0);
    lane.write();
    let answer = lane.keeper.next_answer().unwrap();
    assert_eq!((answer.messages.len(), answer.messages[0].position, answer.next), (1, 4, 5));
    assert!(pick(&mut lane, &[6], 7, 1000, 10).is_none());
    (0..2).for_each(|_| lane.publish(&[QUEUE], 5, 0));
    lane.settle(QUEUE, 6, 6);
    lane.write();
    let answer = lane.keeper.next_answer().unwrap();
    assert_eq!((answer.messages.len(), answer.next), (0, 7));
    // Beyond the end of what is asked for nothing is answered.
    let answer = pick(&mut lane, &[1, 3, 5], 4, 1000, 10).unwrap();
    assert_eq!(answer.messages.iter().map(|message| message.position).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(answer.next, 4);
    lane.undefine(QUEUE);
    lane.write();
    assert_eq!(pick(&mut lane, &[1, 3], 4, 1000, 10).unwrap().next, 4);
}

#[test]
fn only_what_is_wanted_can_be_found_damaged() {
    let mut lane = Lane::new();
    lane.define(QUEUE);
    (0..10).for_each(|_| lane.publish(&[QUEUE], 200, 0));
    lane.sync();
    for at in [3, 5] {
        let (number, len, _) = lane.model[&QUEUE].alive[&at];
        let content = body(number, len);
        lane.disk.edit("segment-00000000", |bytes| {
            let at = bytes.windows(content.len()).position(|window| window == content).unwrap();
            bytes[at + 7] ^= 1;
        });
    }
    let answer = pick(&mut lane, &[1, 4, 9], 10, 1000, 10).unwrap();
    assert_eq!((answer.messages.len(), answer.lost, answer.next), (3, 0, 10));
    assert!(lane.keeper.report().is_sound());
    let answer = pick(&mut lane, &[1, 3, 4], 10, 1000, 10).unwrap();
    assert_eq!((answer.messages.len(), answer.lost, answer.next), (2, 1, 10));
    assert!(!lane.keeper.report().is_sound());
    assert_eq!(lane.keeper.counts().live, 9);
    let row = &lane.keeper.state().rows[&QueueId(QUEUE)];
    assert!(!row.is_alive(3) && row.is_alive(5));
}
