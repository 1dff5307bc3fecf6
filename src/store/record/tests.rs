use super::*;

const Q: QueueId = QueueId(7);

pub(super) fn said(bytes: &[u8]) -> Vec<String> {
    records(bytes)
        .map(|(_, record)| match record {
            Ok(Record::Messages(messages)) => {
                let places: Vec<_> = messages.places().map(|(queue, at)| (queue.0, at)).collect();
                let bodies: Vec<_> = messages
                    .iter()
                    .map(|m| format!("{}{}", String::from_utf8_lossy(m.bytes), if m.is_sound() { "" } else { "!" }))
                    .collect();
                assert!(bodies.len() <= messages.count as usize);
                format!("messages {} {} {places:?} {}", messages.flags, bodies.len(), bodies.join(" "))
            }
            Ok(Record::Settled(ranges)) => format!("settled {:?}", list(ranges)),
            Ok(Record::Returned(ranges)) => format!("returned {:?}", list(ranges)),
            Ok(Record::Counted(counts)) => {
                let one = |(queue, at, count): (QueueId, u64, Count)| (queue.0, at, count.acquired, count.failed);
                format!("counted {:?}", counts.iter().map(one).collect::<Vec<_>>())
            }
            Ok(Record::Noted(notes)) => {
                let all: Vec<_> = notes.iter().map(|note| (note.note[0], note.until_ms)).collect();
                format!("noted {} {} {} {all:?}", notes.id.0, notes.keep_max, notes.is_conditional)
            }
            Ok(Record::Named(names)) => {
                let one = |named: Named| (named.queue.0, named.position, named.name[0]);
                format!("named {:?}", names.iter().map(one).collect::<Vec<_>>())
            }
            Ok(Record::Purged { queue, end, kept }) => {
                format!("purged {} {end} {:?}", queue.0, kept.iter().collect::<Vec<_>>())
            }
            Ok(Record::Defined { id, bytes }) => format!("defined {} {}", id.0, bytes.len()),
            Ok(Record::Bound(binding)) => format!("bound {} {}", binding.source.0, binding.destination.0),
            Ok(other) => format!("{other:?}"),
            Err(Damaged { next }) => format!("damaged {next:?}"),
        })
        .collect()
}

fn list(ranges: Ranges<'_>) -> Vec<(u64, u64, u64)> {
    ranges.iter().map(|range| (range.queue.0, range.first, range.last)).collect()
}

fn push(records: &mut Records, queue: QueueId, position: u64, flags: u8, body: &str) {
    records.message(queue, position, flags, body.len(), |place| place.copy_from_slice(body.as_bytes()));
}

fn note(note: u8, until_ms: u64) -> Note {
    Note { note: [note; 16], until_ms }
}

pub(super) fn sample() -> Vec<u8> {
    let mut records = Records::default();
    push(&mut records, Q, 5, 0, "a");
    push(&mut records, Q, 6, 0, "bc");
    push(&mut records, Q, 8, 0, "");
    push(&mut records, Q, 9, TRANSIENT, "d");
    push(&mut records, QueueId(8), 10, TRANSIENT, "e");
    records.messages(&[(Q, 10), (QueueId(8), 11)], COPY, 2);
    records.push_message(1, |place| place.copy_from_slice(b"f"));
    records.push_message(1, |place| place.copy_from_slice(b"g"));
    push(&mut records, Q, 12, COPY, "h");
    records.part(1 << 60);
    push(&mut records, Q, 13, CONDITIONAL, "i");
    push(&mut records, Q, 14, CONDITIONAL, "j");
    push(&mut records, Q, 15, 0, "k");
    records.settled(Q, 5, 5);
    records.settled(Q, 6, 9);
    records.settled(QueueId(8), 10, 10);
    records.settled(Q, 10, 10);
    records.returned(Q, 11, 11);
    records.counted(Q, 12, 3, 2);
    records.counted(QueueId(8), 12, u32::MAX, 0);
    records.purged(Q, 13, &[(11, 11), (12, 12)]);
    records.defined(QueueId(9), b"what");
    records.bound(QueueId(1), QueueId(9), b"");
    records.undefined(QueueId(9));
    records.noted(Q, 5, 0, note(1, 0));
    records.noted(Q, 5, 0, note(2, u64::MAX));
    records.noted(Q, 6, 0, note(3, 1));
    records.noted(Q, 6, CONDITIONAL, note(4, 1));
    records.noted(QueueId(8), 6, CONDITIONAL, note(5, 1));
    records.named(Named { queue: Q, position: 13, name: [6; 16] });
    records.named(Named { queue: QueueId(8), position: 14, name: [7; 16] });
    records.committed(1 << 60);
    records.clean();
    records.take(vec![])
}

pub(super) const EXPECTED: [&str; 22] = [
    "messages 0 2 [(7, 5)] a bc",
    "messages 0 1 [(7, 8)] ",
    "messages 1 1 [(7, 9)] d",
    "messages 1 1 [(8, 10)] e",
    "messages 2 2 [(7, 10), (8, 11)] f g",
    "messages 2 1 [(7, 12)] h",
    "Part { tx: 1152921504606846976 }",
    "messages 4 2 [(7, 13)] i j",
    "messages 0 1 [(7, 15)] k",
    "settled [(7, 5, 9), (8, 10, 10), (7, 10, 10)]",
    "returned [(7, 11, 11)]",
    "counted [(7, 12, 3, 2), (8, 12, 4294967295, 0)]",
    "purged 7 13 [(11, 11), (12, 12)]",
    "defined 9 4",
    "bound 1 9",
    "Undefined { id: QueueId(9) }",
    "noted 7 5 false [(1, 0), (2, 18446744073709551615)]",
    "noted 7 6 false [(3, 1)]",
    "noted 7 6 true [(4, 1)]",
    "noted 8 6 true [(5, 1)]",
    "named [(7, 13, 6), (8, 14, 7)]",
    "Committed { tx: 1152921504606846976 }",
];

#[test]
fn records_are_read_as_they_were_written() {
    let bytes = sample();
    let mut expected: Vec<String> = EXPECTED.iter().map(|line| line.to_string()).collect();
    expected.push("Clean".into());
    assert_eq!(said(&bytes), expected);
}

#[test]
fn a_changed_bit_is_noticed_wherever_it_is() {
    let bytes = sample();
    let sound = said(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let found = said(&changed);
        assert_ne!(found, sound, "bit {bit}");
        assert!(
            found.iter().all(|line| sound.contains(line)
                || line.contains('!')
                || line.starts_with("damaged")
                || line.starts_with("messages")),
            "bit {bit}: {found:?}"
        );
    }
}

#[test]
fn cut_records_are_no_records() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let found = said(&bytes[..len]);
        assert!(found.len() <= EXPECTED.len() + 1);
        assert!(
            len == 0
                || found.last().is_some_and(|line| line.starts_with("damaged"))
                || said(&bytes).starts_with(&found)
        );
    }
}

#[test]
fn what_was_settled_before_it_was_written_is_left_out() {
    for (what, expected) in [
        // Messages of queue 7 at 0 to 9 and of queue 8 at 0 and 1, and one in both at (10, 2); then these are settled.
        (vec![], None),
        (vec![(9, 0, 3)], None),
        (vec![(7, 0, 9), (8, 0, 1)], Some("messages 0 1 [(7, 10), (8, 2)] x")),
        (
            vec![(7, 2, 4), (8, 1, 2)],
            Some(
                "messages 0 2 [(7, 0)] 0 1|messages 0 5 [(7, 5)] 5 6 7 8 9|messages 0 1 [(8, 0)] 0|\
                 messages 0 1 [(7, 10), (8, 2)] x|settled [(8, 2, 2)]",
            ),
        ),
        (
            vec![(7, 0, 0), (7, 9, 10), (6, 1, 1)],
            Some(
                "messages 0 8 [(7, 1)] 1 2 3 4 5 6 7 8|messages 0 2 [(8, 0)] 0 1|messages 0 1 [(7, 10), (8, 2)] x|\
                 settled [(7, 10, 10), (6, 1, 1)]",
            ),
        ),
    ] {
        let mut records = Records::default();
        for position in 0..10 {
            push(&mut records, Q, position, 0, &position.to_string());
        }
        for position in 0..2 {
            push(&mut records, QueueId(8), position, 0, &position.to_string());
        }
        records.messages(&[(Q, 10), (QueueId(8), 2)], 0, 1);
        records.push_message(1, |place| place.copy_from_slice(b"x"));
        for (queue, first, last) in &what {
            records.settled(QueueId(*queue), *first, *last);
        }
        let left = elide(&records.take(vec![]), vec![1, 2, 3]);
        let left = left.map(|bytes| said(&bytes).join("|"));
        assert_eq!(left.as_deref(), expected, "{what:?}");
    }
}

#[test]
fn what_is_left_out_of_a_part_leaves_the_rest_of_it_conditional() {
    let mut records = Records::default();
    push(&mut records, Q, 0, 0, "a");
    records.part(3);
    (1..4).for_each(|position| push(&mut records, Q, position, CONDITIONAL, "b"));
    push(&mut records, Q, 4, 0, "c");
    records.part(4);
    push(&mut records, Q, 5, CONDITIONAL, "d");
    records.noted(Q, 9, CONDITIONAL, note(1, 2));
    records.settled(Q, 2, 2);
    records.settled(Q, 5, 5);
    records.committed(3);
    let left = elide(&records.take(vec![]), vec![]).map(|bytes| said(&bytes).join("|"));
    let expected = "messages 0 1 [(7, 0)] a|Part { tx: 3 }|messages 4 1 [(7, 1)] b|messages 4 1 [(7, 3)] b|\
                    messages 0 1 [(7, 4)] c|Part { tx: 4 }|noted 7 9 true [(1, 2)]|Committed { tx: 3 }";
    assert_eq!(left.as_deref(), Some(expected));
}

#[test]
fn the_numbers_of_what_is_settled_are_left_out() {
    let left = |settled: &[(u64, u64, u64)]| {
        let mut records = Records::default();
        push(&mut records, Q, 5, 0, "a");
        push(&mut records, Q, 6, 0, "b");
        // These came earlier.
        records.counted(Q, 1, 2, 1);
        records.counted(Q, 3, 4, 0);
        records.counted(Q, 5, 1, 1);
        records.counted(QueueId(8), 1, 1, 0);
        settled.iter().for_each(|(queue, first, last)| records.settled(QueueId(*queue), *first, *last));
        elide(&records.take(vec![]), vec![]).map(|bytes| said(&bytes).join("|"))
    };
    for (settled, expected) in [
        (&[][..], None),
        (&[(7, 0, 0), (7, 2, 2), (7, 4, 4), (8, 0, 0), (9, 1, 1)], None),
        (
            &[(7, 3, 3)],
            Some("messages 0 2 [(7, 5)] a b|counted [(7, 1, 2, 1), (7, 5, 1, 1), (8, 1, 1, 0)]|settled [(7, 3, 3)]"),
        ),
        (&[(7, 5, 5)], Some("messages 0 1 [(7, 6)] b|counted [(7, 1, 2, 1), (7, 3, 4, 0), (8, 1, 1, 0)]")),
        (&[(7, 1, 6), (8, 0, 1)], Some("settled [(7, 1, 4), (8, 0, 1)]")),
    ] {
        assert_eq!(left(settled).as_deref(), expected, "{settled:?}");
    }
}
