use super::*;
use crate::amqp::Content;
use crate::broker::message::Blocks;

fn message(blocks: &mut Blocks, n: u64) -> MessageRef {
    blocks.keep(&Content { names: b"\0\0", properties: &[0, 0], body: &n.to_be_bytes(), frames: &[] })
}

#[test]
fn requeued_entries_come_back_in_their_old_order() {
    let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
    let mut entries = Entries::default();
    for n in 0..6 {
        entries.push(message(&mut blocks, n), false);
    }
    let taken: Vec<Taken> = (0..4).map(|_| entries.take(7).unwrap()).collect();
    assert_eq!((entries.ready(), entries.unacked()), (2, 4));
    assert_eq!(entries.requeue(taken[2].position, 7), Some(false));
    assert_eq!(entries.requeue(taken[0].position, 7), Some(false));
    assert_eq!(entries.requeue(taken[0].position, 7), None, "it is not held any more");
    assert!(entries.settle(taken[1].position, 8).is_none(), "another taker's");
    let order: Vec<(u64, bool)> =
        std::iter::from_fn(|| entries.pop()).map(|taken| (taken.position, taken.redelivered)).collect();
    assert_eq!(order, [(0, true), (2, true), (4, false), (5, false)]);
    assert_eq!((entries.ready(), entries.unacked()), (0, 2));
}

#[test]
fn a_straggler_pins_no_list() {
    let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
    let mut entries = Entries::default();
    let message = message(&mut blocks, 1);
    let stuck = entries.push_taken(message, 1, false);
    for _ in 0..100_000 {
        let position = entries.push_taken(message, 2, false);
        assert!(entries.settle(position, 2).is_some());
    }
    assert!(entries.list.len() < 3000, "{}", entries.list.len());
    entries.push(message, false);
    assert!(entries.requeue(stuck, 1).is_some());
    assert_eq!(entries.pop().map(|taken| taken.position), Some(stuck));
    assert_eq!(entries.pop().map(|taken| taken.position), Some(100_001));
    assert!(entries.is_idle());
}

#[test]
fn what_is_ready_here_decides_where_the_next_message_belongs() {
    let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
    let mut entries = Entries::default();
    for n in 0..3 {
        assert_eq!(entries.room(Some(3)), Room::Here, "{n} are ready");
        entries.push(message(&mut blocks, n), true);
    }
    assert_eq!(
        (entries.room(None), entries.room(Some(4)), entries.room(Some(3))),
        (Room::Here, Room::Here, Room::Away)
    );
    entries.take(1).unwrap();
    assert_eq!(entries.room(Some(3)), Room::Here, "what is handed out does not count");
    entries.push_away(|_| {});
    assert_eq!((entries.room(None), entries.room(Some(100))), (Room::Behind, Room::Away));
}

/// Random operations against a plain model.
#[test]
fn agrees_with_a_model() {
    let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
    let shared = message(&mut blocks, 0);
    for seed in 1..60u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut entries = Entries::default();
        let mut next = 0u64;
        let mut ready: BTreeSet<u64> = BTreeSet::new();
        let mut held: Vec<(u64, u32)> = vec![];
        for _ in 0..3000 {
            match random(10) {
                0..=3 => {
                    entries.push(shared, false);
                    ready.insert(next);
                    next += 1;
                }
                4..=5 => {
                    let taker = random(3) as u32;
                    let taken = entries.take(taker).map(|taken| taken.position);
                    assert_eq!(taken, ready.pop_first());
                    held.extend(taken.map(|position| (position, taker)));
                }
                6..=7 if !held.is_empty() => {
                    let (position, taker) = held.swap_remove(random(held.len() as u64) as usize);
                    assert!(entries.settle(position, taker).is_some());
                }
                8 if !held.is_empty() => {
                    let (position, taker) = held.swap_remove(random(held.len() as u64) as usize);
                    assert!(entries.requeue(position, taker).is_some());
                    ready.insert(position);
                }
                9 if random(20) == 0 => {
                    let taker = random(3) as u32;
                    let count = held.iter().filter(|(_, holder)| *holder == taker).count();
                    entries.requeue_all(taker, count, |_| unreachable!("nothing is in a journal"));
                    ready.extend(held.iter().filter(|(_, holder)| *holder == taker).map(|(position, _)| position));
                    held.retain(|(_, holder)| *holder != taker);
                }
                9 if random(40) == 0 => {
                    assert_eq!(entries.purge().len(), ready.len());
                    next = entries.end();
                    ready.clear();
                }
                _ => {}
            }
            assert_eq!((entries.ready(), entries.unacked()), (ready.len(), held.len()));
        }
    }
}

/// A queue with a disk beside it: whatever is away comes back in order, once, and only what the journal has goes.
#[test]
fn what_is_away_comes_back_in_its_place() {
    for seed in 0..300u64 {
        let mut blocks = Blocks::new(1 << 16, 1 << 14, 1);
        let mut state = seed + 1;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let mut entries = Entries::default();
        // Ready and held positions; whether the journal has them, and whether they were delivered.
        let mut ready: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        let mut held: BTreeMap<u64, bool> = BTreeMap::new();
        let mut fetch: Option<(u64, u64, u64)> = None;
        let mut tag = 0;
        let mut tight = false;
        for _ in 0..2000 {
            match random(16) {
                0..=4 => {
                    let end = entries.end();
                    let stored = match entries.room(tight.then_some(KEPT)) {
                        Room::Here => random(3) > 0,
                        Room::Behind => true,
                        Room::Away => {
                            assert_eq!(entries.push_away(|message| blocks.release(message)), end);
                            ready.insert(end, (true, false));
                            continue;
                        }
                    };
                    entries.push(message(&mut blocks, end), stored);
                    ready.insert(end, (stored, false));
                }
                5..=7 => {
                    let Some(taken) = entries.take(1) else { continue };
                    assert_eq!(ready.first_key_value().map(|(position, _)| *position), Some(taken.position));
                    let body = blocks.content(taken.message).0.body.to_vec();
                    assert_eq!(body, taken.position.to_be_bytes(), "its message");
                    assert_eq!(ready.remove(&taken.position), Some((taken.stored, taken.redelivered)));
                    held.insert(taken.position, taken.stored);
                }
                8..=9 if !held.is_empty() => {
                    let at = random(held.len() as u64) as usize;
                    let (&position, &stored) = held.iter().nth(at).unwrap();
                    held.remove(&position);
                    if random(2) == 0 {
                        let (message, was_stored) = entries.settle(position, 1).unwrap();
                        assert_eq!(was_stored, stored);
                        blocks.release(message);
                    } else {
                        assert!(entries.requeue(position, 1).is_some());
                        ready.insert(position, (stored, true));
                    }
                }
                10..=11 if fetch.is_none() => {
                    tag += 1;
                    fetch = entries.wish(random(8) as usize, tag).map(|(from, to)| (tag, from, to));
                }
                12..=13 => {
                    let Some((tag, from, to)) = fetch.take() else { continue };
                    if !entries.awaits(tag) {
                        continue;
                    }
                    let count = 1 + random(20) as usize;
                    let found: Vec<(u64, bool)> =
                        ready.range(from..to).take(count).map(|(position, state)| (*position, state.1)).collect();
                    let next = if found.len() < count { to } else { found[found.len() - 1].0 + 1 };
                    let brought: Vec<Brought> = found
                        .into_iter()
                        .map(|(position, redelivered)| Brought {
                            position,
                            message: message(&mut blocks, position),
                            redelivered,
                        })
                        .collect();
                    entries.bring(brought.into_iter(), 0, next);
                }
                14 => {
                    entries.send_away(random(20) as usize, |message| blocks.release(message));
                }
                15 if random(20) == 0 => {
                    let mut removed = entries.purge();
                    while let Some(message) = removed.pop() {
                        blocks.release(message);
                    }
                    ready.clear();
                }
                _ => tight = random(4) == 0,
            }
            assert_eq!((entries.ready(), entries.unacked()), (ready.len(), held.len()), "seed {seed}");
        }
    }
}
