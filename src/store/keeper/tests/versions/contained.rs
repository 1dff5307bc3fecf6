//! That everything which can be on a disk is on that of version 1, and on one that is written now.

use super::*;
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::keeper::bytes::Bytes;
use crate::store::keeper::positions::Positions;
use crate::store::record::{COPY, Record, records};
use crate::store::scan::Scan;
use crate::store::survey::survey;

/// Everything that is on a disk, by name.
fn found(disk: &MemoryDisk) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut report = Report::default();
    let files = survey(disk, None, &mut report).unwrap();
    let mut scan = Scan::everything(disk, &files, None);
    while let Some(batch) = scan.next(&mut report) {
        for (_, record) in batch.submissions.iter().flat_map(|submission| records(&submission.bytes)) {
            found.extend(match record.unwrap() {
                Record::Messages(messages) => match (messages.flags, messages.places().len()) {
                    (0, 1) => ["message", ""],
                    (0, _) => ["message in several queues", ""],
                    (TRANSIENT, _) => ["transient message", ""],
                    (COPY, 1) => ["copy", ""],
                    (3, _) => ["copy of a transient message", ""],
                    (COPY, _) => ["copy", "copy in several queues"],
                    (CONDITIONAL, 1) => ["conditional message", ""],
                    (CONDITIONAL, _) => ["conditional message in several queues", ""],
                    other => panic!("{other:?}"),
                },
                Record::Settled(_) => ["settled", ""],
                Record::Returned(_) => ["returned", ""],
                Record::Counted(_) => ["counted", ""],
                Record::Noted(notes) if notes.is_conditional => ["conditional note", ""],
                Record::Noted(_) => ["note", ""],
                Record::Named(_) => ["name", ""],
                Record::Purged { kept, .. } if kept.iter().len() > 0 => ["purged", "kept"],
                Record::Purged { .. } => ["purged", ""],
                Record::Defined { .. } => ["defined", ""],
                Record::Undefined { .. } => ["undefined", ""],
                Record::Bound(_) => ["bound", ""],
                Record::Unbound(_) => ["unbound", ""],
                Record::Clean => ["clean", ""],
                Record::Part { .. } => ["part", ""],
                Record::Committed { .. } => ["committed", ""],
                Record::Inventory { .. } => ["inventory", ""],
            });
        }
    }
    for name in NAMES {
        let (header, bytes) = checkpoint::read(disk, name).unwrap();
        let state = State::load(header.lane, &bytes).unwrap();
        found_in_state(&state, &mut found);
        for (slot, index) in state.segments.all.iter().filter_map(|one| Some((one.slot, one.index?))) {
            let file = disk.open(&slot.name(), Open::Read).unwrap();
            for at in (index.at..index.at + index.bytes).step_by(4096) {
                let mut kind = [0; 2];
                file.read_at(at + 4, &mut kind).unwrap();
                found.insert(["", "index", "index: slots", "index: runs"][usize::from(u16::from_le_bytes(kind))]);
            }
        }
    }
    found.remove("");
    found
}

fn found_in_state(state: &State, found: &mut BTreeSet<&'static str>) {
    let mut is = |there: bool, what| found.extend(there.then_some(what));
    is(!state.definitions.is_empty(), "state: definition");
    is(!state.bindings.is_empty(), "state: binding");
    for segment in &state.segments.all {
        is(segment.sealed, "state: sealed segment");
        is(!segment.sealed, "state: segment in use");
        is(segment.defines, "state: segment with definitions");
        is(segment.dead_since.is_some(), "state: dead segment");
        is(segment.index.is_some() && segment.index_floor > 0, "state: segment with an index");
        is(segment.lists.iter().any(|list| !list.slots.is_empty()), "state: slots");
    }
    let mut parts = vec![];
    state.parts.save(&mut parts);
    is(parts[..8] != [0; 8], "state: transaction");
    is(!state.parts.clone().commit_all().is_empty(), "state: note of a transaction");
    is(!state.seen.is_empty(), "state: note");
    is(!state.names.is_empty(), "state: name");
    for row in state.rows.values() {
        let count = |positions: &Positions| {
            let mut bytes = vec![];
            positions.save(&mut bytes);
            let mut bytes = Bytes(&bytes);
            (bytes.u32().unwrap(), bytes.u32().unwrap())
        };
        is(row.head > 0 && row.end > row.head, "state: row");
        is(row.flagged_below > 0, "state: row with flags");
        is(count(&row.settled).0 > 0, "state: settled");
        is(count(&row.settled).1 > 0, "state: settled bits");
        is(count(&row.returned).0 > 0, "state: returned");
        is(count(&row.transient).0 > 0, "state: transient");
        is(!row.handed.is_empty(), "state: handed");
        is(row.runs.len() > 1, "state: runs");
    }
    is(state.rows.keys().any(|id| id.is_class()), "state: class");
}

#[test]
fn everything_is_on_that_disk() {
    let expected = [
        "message",
        "message in several queues",
        "transient message",
        "copy",
        "copy in several queues",
        "copy of a transient message",
        "conditional message",
        "conditional message in several queues",
        "settled",
        "returned",
        "counted",
        "note",
        "conditional note",
        "name",
        "purged",
        "kept",
        "defined",
        "undefined",
        "bound",
        "unbound",
        "clean",
        "part",
        "committed",
        "inventory",
        "index",
        "index: slots",
        "index: runs",
        "state: definition",
        "state: binding",
        "state: sealed segment",
        "state: segment in use",
        "state: segment with definitions",
        "state: dead segment",
        "state: segment with an index",
        "state: slots",
        "state: row",
        "state: row with flags",
        "state: settled",
        "state: settled bits",
        "state: returned",
        "state: transient",
        "state: handed",
        "state: class",
        "state: runs",
        "state: transaction",
        "state: note",
        "state: name",
        "state: note of a transaction",
    ];
    for disk in [from_text(VERSION_1), written().disk] {
        assert_eq!(found(&disk), BTreeSet::from(expected));
    }
}
