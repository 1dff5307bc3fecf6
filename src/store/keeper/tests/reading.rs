//! Fetches of all that lives in a queue.

use super::*;

#[test]
fn messages_come_back() {
    let mut lane = Lane::new();
    lane.define(1000);
    lane.define(1001);
    for i in 0..300 {
        lane.publish(&[1000], 10 + i, 0);
        lane.publish(&[1000, 1001], 7, 0);
        if i % 50 == 0 {
            lane.write();
        }
    }
    lane.publish(&[1001], 100_000, 0);
    lane.publish(&[1001], 0, 0);
    lane.check(usize::MAX, usize::MAX);
    lane.check(1, 1);
    lane.check(1000, 7);
    lane.rest(60_000);
    lane.check(30_000, 100);
    let mut lane = lane.crash(true);
    assert!(lane.report.is_sound(), "{}", lane.report);
    lane.check(30_000, 100);
    let mut lane = lane.stop();
    lane.check(30_000, 100);
}

#[test]
fn a_fetch_waits_for_what_was_submitted() {
    let mut lane = Lane::new();
    assert!(lane.fetch(1000, 0, 3, 1000, 10).is_none());
    lane.publish(&[1000], 5, 0);
    lane.write();
    let answer = lane.keeper.next_answer().unwrap();
    assert_eq!((answer.messages.len(), answer.next), (1, 1));
    assert!(lane.fetch(1000, 1, 3, 1000, 10).is_none());
    lane.settle(1000, 0, 0);
    lane.publish(&[1000], 5, 0);
    lane.publish(&[1000], 6, 0);
    lane.settle(1000, 1, 1);
    lane.settle(1000, 2, 2);
    lane.write();
    let answer = lane.keeper.next_answer().unwrap();
    assert_eq!((answer.messages.len(), answer.next), (0, 3));
    // Nobody waits for a queue that is gone.
    lane.define(1001);
    assert!(lane.fetch(1001, 0, 9, 1000, 10).is_none());
    lane.undefine(1001);
    lane.write();
    assert_eq!(lane.keeper.next_answer().unwrap().next, 9);
}
