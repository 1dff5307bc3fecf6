//! The journal's thread on a disk that does as it is told.

use super::*;

#[test]
fn what_is_to_be_durable_is_told_when_it_is() {
    let mut stage = Stage::new(rules(Fsync::Always));
    let begun = stage.disk.syncs();
    stage.submit(0, 5, true, "a");
    assert_eq!(stage.told(0), "durable 5");
    assert!(stage.disk.syncs() > begun);
    assert!(stage.is_silent(1), "it has submitted nothing");
    stage.disk.change(|orders| orders.hold_syncs = true);
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 6, false, "b");
    stage.submit(1, 1, true, "c");
    stage.disk.wait_for_sync(begun + 1);
    assert!(stage.is_silent(0) && stage.is_silent(1), "the sync has not ended");
    // What comes meanwhile gathers for the next.
    for (from, seq, text) in [(0, 7, "d"), (1, 2, "e"), (0, 8, "f")] {
        stage.submit(from, seq, true, text);
    }
    stage.disk.change(|orders| orders.hold_syncs = false);
    assert_eq!(stage.told(0), "durable 6");
    assert_eq!(stage.told(1), "durable 1");
    assert_eq!(stage.told(0), "durable 8");
    assert_eq!(stage.told(1), "durable 2");
    let (said, end) = stage.stop();
    // b and c may have been one batch or two.
    let said: Vec<_> = said.iter().map(|one| &**one).filter(|one| !one.starts_with("synced")).collect();
    assert_eq!((&*said.concat(), end), ("abcdefclean", End::Clean));
}

#[test]
fn what_gathers_during_a_sync_is_one_batch_in_one_order() {
    const EACH: u64 = 300;
    let stage = Stage::new(rules(Fsync::Always));
    stage.disk.change(|orders| orders.hold_syncs = true);
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 1, true, "-");
    stage.disk.wait_for_sync(begun + 1);
    let submitters: Vec<_> = (0..SHARDS as u8)
        .map(|from| {
            let intake = stage.intake.clone();
            thread::spawn(move || {
                for seq in 2..2 + EACH {
                    intake.submit(Submission { from, seq, bytes: vec![], sync: seq % 3 == 0 });
                }
            })
        })
        .collect();
    submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
    stage.disk.change(|orders| orders.hold_syncs = false);
    assert_eq!(texts(&stage.next_batch()), ["-"]);
    let batch = stage.next_batch();
    assert_eq!(batch.submissions.len() as u64, SHARDS as u64 * EACH);
    for shard in 0..SHARDS as u8 {
        let own: Vec<u64> = batch.submissions.iter().filter(|one| one.from == shard).map(|one| one.seq).collect();
        assert!(own.iter().copied().eq(2..2 + EACH), "{own:?}");
    }
    assert_eq!(stage.stop().1, End::Clean);
}

#[test]
fn batches_are_no_larger_than_they_may_be() {
    let stage = Stage::new(Rules { batch_bytes_max: 100, ..rules(Fsync::Never) });
    for (seq, bytes) in [(1, 40), (2, 60), (3, 1), (4, 500), (5, 99)] {
        stage.intake.submit(Submission { from: 0, seq, bytes: vec![0; bytes], sync: false });
    }
    let mut next = 1;
    while next <= 5 {
        let batch = stage.next_batch();
        assert!(batch.submissions.len() == 1 || batch.payload_bytes() <= 100, "{batch:?}");
        for submission in batch.submissions {
            assert_eq!(submission.seq, next);
            next += 1;
        }
    }
    assert_eq!(stage.stop().1, End::Clean);
}

#[test]
fn without_syncs_what_was_written_is_told_at_once() {
    for fsync in [Fsync::Interval, Fsync::Never] {
        let mut stage = Stage::new(rules(fsync));
        stage.disk.change(|orders| orders.hold_syncs = true);
        let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
        for seq in 1..10 {
            stage.submit(1, seq, true, "x");
            assert_eq!(stage.told(1), format!("durable {seq}"));
        }
        assert_eq!(stage.disk.orders.0.lock().unwrap().syncs_begun, begun, "{fsync:?}");
        stage.disk.change(|orders| orders.hold_syncs = false);
        let (said, end) = stage.stop();
        assert_eq!(end, End::Clean);
        assert!(said.last().unwrap().starts_with("synced "), "the stop makes it durable: {said:?}");
    }
    let mut stage = Stage::new(Rules { interval_ms: 1, ..rules(Fsync::Interval) });
    let begun = stage.disk.orders.0.lock().unwrap().syncs_begun;
    stage.submit(0, 1, false, "x");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.wait_for_sync(begun + 1);
}

#[test]
fn a_full_disk_stops_publishers_and_loses_nothing() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(ErrorKind::StorageFull), u32::MAX));
    for seq in 1..=5 {
        stage.submit(0, seq, true, &seq.to_string());
    }
    assert_eq!(stage.told(0), "low true");
    assert_eq!(stage.told(1), "low true");
    stage.submit(1, 1, true, "6");
    assert!(stage.is_silent(0));
    stage.disk.change(|orders| orders.writes_to_fail = 2);
    let mut told = vec![stage.told(0)];
    while told.last().unwrap() != "durable 5" {
        told.push(stage.told(0));
    }
    assert!(told.contains(&"low false".to_owned()), "{told:?}");
    let (said, end) = stage.stop();
    let said: Vec<_> = said.iter().map(|one| &**one).filter(|one| !one.starts_with("synced")).collect();
    assert_eq!((&*said.concat(), end), ("123456clean", End::Clean));
}

#[test]
fn a_stop_does_not_wait_for_a_full_disk() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(ErrorKind::StorageFull), u32::MAX));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "low true");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert!(!said.contains(&"clean".to_owned()));
}

#[test]
fn a_write_that_fails_is_tried_again_a_few_times() {
    let mut stage = Stage::new(rules(Fsync::Always));
    let io = ErrorKind::Other;
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(io), 2));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| (orders.write, orders.writes_to_fail) = (Some(io), u32::MAX));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "failed");
    assert_eq!(stage.told(1), "failed");
    stage.disk.change(|orders| orders.write = None);
    stage.submit(0, 3, true, "c");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert_eq!(said.concat(), "asynced 1", "nothing is written behind a gap");
}

#[test]
fn after_a_failed_sync_nothing_is_confirmed() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    stage.disk.change(|orders| orders.sync = Some(ErrorKind::Other));
    stage.submit(0, 2, true, "b");
    assert_eq!(stage.told(0), "failed");
    assert_eq!(stage.told(1), "failed");
    let syncs = stage.disk.syncs();
    stage.disk.change(|orders| orders.sync = None);
    stage.submit(0, 3, true, "c");
    stage.submit(1, 1, true, "d");
    while stage.intake.has_something() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(stage.is_silent(0) && stage.is_silent(1));
    assert_eq!(stage.disk.syncs(), syncs, "a second one would say that all is well");
    let (said, end) = stage.stop();
    assert_eq!(end, End::Unclean);
    assert!(!said.contains(&"c".to_owned()) && !said.contains(&"clean".to_owned()), "{said:?}");
}

#[test]
fn the_journal_waits_for_a_keeper_that_is_far_behind() {
    let mut stage = Stage::new(Rules { keeper_backlog_bytes_max: 100, batch_bytes_max: 60, ..rules(Fsync::Never) });
    for seq in 1..=10 {
        stage.intake.submit(Submission { from: 0, seq, bytes: vec![0; 60], sync: true });
    }
    // Two batches are more than the keeper may have; the third waits.
    while stage.told(0) != "durable 2" {}
    thread::sleep(Duration::from_millis(20));
    assert!(stage.is_silent(0));
    assert_eq!(stage.next_batch().submissions[0].seq, 1);
    while stage.told(0) != "durable 3" {}
    // One that is gone is waited for no longer.
    stage.filing.abandon();
    while stage.told(0) != "durable 10" {}
    stage.intake.close();
    stage.writer.take().unwrap().join().unwrap();
}

#[test]
fn after_a_pause_a_mark_says_what_is_durable() {
    let mut stage = Stage::new(rules(Fsync::Always));
    stage.submit(0, 1, true, "a");
    assert_eq!(stage.told(0), "durable 1");
    assert_eq!(texts(&stage.next_batch()), ["a"]);
    let mark = stage.next_batch();
    assert!(mark.submissions.is_empty());
    // It is made durable too, for checkpoints, and is not marked again.
    let news = stage.next_news();
    assert!(matches!(news, Some(News::Synced(index)) if index == mark.index), "{news:?}");
    assert_eq!(stage.stop(), (vec!["clean".into(), format!("synced {}", mark.index + 1)], End::Clean));
}

#[test]
fn spare_files_go_when_no_segment_is_begun() {
    let stage = Stage::new(Rules { segments_spare_ms: 1, ..rules(Fsync::Always) });
    let slots: Vec<_> = (1..=3)
        .map(|seq| {
            stage.intake.submit(Submission { from: 0, seq, bytes: vec![0; 900 << 10], sync: false });
            stage.next_batch().slot
        })
        .collect();
    assert!(stage.disk.list().unwrap().len() > 3);
    stage.intake.give_files(slots[..2].to_vec());
    // The current one and the reserve are left.
    while stage.disk.list().unwrap().len() != 2 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(stage.stop().1, End::Clean);
}

#[test]
fn copies_are_not_wanted_at_the_end() {
    let stage = Stage::new(rules(Fsync::Always));
    stage.intake.close();
    let copy = Submission { from: crate::store::KEEPER, seq: 1, bytes: vec![1; 10], sync: false };
    stage.intake.submit(copy);
    let (said, end) = stage.stop();
    assert_eq!((said.join(" "), end), ("clean synced 1".into(), End::Clean));
}
