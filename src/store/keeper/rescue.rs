//! What is done when something that was written for a quick start is not there: slots from batches when an index is
//! bad, everything from batches when both checkpoints are.
//!
//! Without a checkpoint, segments that were used again are gone, with the settlements in them: what is left comes back,
//! perhaps some of what was settled as well. Messages are filed first, wherever they lie and in which order they were
//! copied; then everything else is applied in the order of the journal.

use std::collections::BTreeMap;

use super::Keeper;
use super::apply::cut;
use super::parts::Parts;
use super::rows::Row;
use super::runs::{List, Run, Segments, Slot, share};
use super::state::State;
use crate::store::disk::Disk;
use crate::store::record::{self, CONDITIONAL, Range, Record, TRANSIENT};
use crate::store::report::Report;
use crate::store::scan::Scan;
use crate::store::survey::{Survey, survey};
use crate::store::{Position, QueueId};

impl<D: Disk> Keeper<D> {
    /// Makes the slots of a segment from its batches: those of messages that are alive and lie there.
    pub(super) fn collect_slots(&mut self, number: u64) {
        let mut lists: BTreeMap<QueueId, Vec<Slot>> = BTreeMap::new();
        let mut report = Report::default();
        // Other segments' damage was reported at the start.
        if let Ok(mut found) = survey(&self.files.disk, Some(self.state.lane), &mut Report::default()) {
            found.segments.retain(|segment| segment.header.number == number);
            let mut scan = Scan::everything(&self.files.disk, &found, None);
            while let Some(batch) = scan.next(&mut report) {
                let mut at = batch.at;
                for submission in &batch.submissions {
                    self.collect(&submission.bytes, number, at, &mut lists);
                    at += submission.bytes.len() as u64;
                }
            }
        }
        self.report.append(report);
        let Some(segment) = self.state.segments.find_mut(number) else { return };
        segment.index = None;
        segment.lists.clear();
        for (queue, mut slots) in lists {
            slots.sort_by_key(|slot| slot.first);
            if let Some(row) = self.state.rows.get_mut(&queue) {
                for run in row.runs.iter_mut().filter(|run| run.segment == number) {
                    (run.slots, run.count) = (segment.lists.len() as u32, 0);
                }
            }
            segment.lists.push(List { queue, slots });
        }
        // Runs of which nothing was found have a list too, an empty one.
        let empty = segment.lists.len() as u32;
        for (queue, row) in &mut self.state.rows {
            let known = segment.lists.binary_search_by_key(queue, |list| list.queue).is_ok();
            for run in row.runs.iter_mut().filter(|run| run.segment == number && !known) {
                (run.slots, run.count) = (empty, 0);
            }
        }
        segment.lists.push(List::default());
    }

    fn collect(&self, bytes: &[u8], number: u64, at: u64, lists: &mut BTreeMap<QueueId, Vec<Slot>>) {
        for (offset, record) in record::records(bytes) {
            let Ok(Record::Messages(messages)) = record else { continue };
            let at = at + offset as u64;
            let places = messages.places().len().min(usize::from(u16::MAX)) as u16;
            for (queue, first) in messages.places() {
                let mut list = List { queue, slots: lists.remove(&queue).unwrap_or_default() };
                for message in messages.iter() {
                    let position = first + u64::from(message.number);
                    if self.state.lies_in(queue, position, number) {
                        let at = (at + message.at as u64) as u32;
                        list.push(position, at, message.crc, message.bytes.len() as u32, places);
                    }
                }
                lists.insert(queue, list.slots);
            }
        }
    }
}

impl Row {
    /// Files a slot that lies in this segment: positions from the end of the row on.
    fn adopt(&mut self, queue: QueueId, slot: Slot, number: u64, segments: &mut Segments) {
        if slot.last() < self.end {
            return;
        }
        let first = slot.first.max(self.end);
        self.skip_to(first);
        let Some(segment) = segments.find_mut(number) else { return };
        let count = slot.last() - first + 1;
        let bytes = share(u64::from(slot.bytes) * count / u64::from(slot.count.max(1)), slot.places);
        let joins = |run: &&mut Run| run.segment == number && slot.last() - run.first <= u64::from(u32::MAX);
        match self.runs.last_mut().filter(joins) {
            Some(run) => {
                run.span = (slot.last() - run.first) as u32;
                run.add(count as u32, bytes);
                if let Some(list) = segment.lists.get_mut(run.slots as usize) {
                    list.slots.push(slot);
                }
            }
            None => {
                let slots = segment.lists.len() as u32;
                segment.lists.push(List { queue, slots: vec![slot] });
                let span = (slot.last() - first) as u32;
                let mut run = Run { segment: number, first, span, alive: 0, mean: 0, slots, count: 0 };
                run.add(count as u32, bytes);
                self.runs.push(run);
            }
        }
        segment.more(count, bytes);
        self.live += count;
        self.end = slot.last() + 1;
    }
}

/// What is read before anything is applied.
#[derive(Default)]
struct Found {
    /// By queue: slots with the number of their segment.
    slots: BTreeMap<QueueId, Vec<(Slot, u64)>>,
    transient: BTreeMap<QueueId, Vec<(Position, Position)>>,
    /// Of transactions that were not committed in their term.
    void: Vec<Range>,
    /// The newest inventory of what is defined, and the last batch that is in it.
    inventory: Option<(u64, Vec<u8>)>,
}

impl Found {
    fn read(&mut self, bytes: &[u8], number: u64, at: u64, parts: &mut Parts, scratch: &mut Vec<Slot>) {
        parts.end_part();
        for (offset, record) in record::records(bytes) {
            let messages = match record {
                Ok(Record::Messages(messages)) => messages,
                Ok(Record::Part { tx }) => {
                    parts.begin_part(tx);
                    continue;
                }
                Ok(Record::Committed { tx }) => {
                    // Notes are for later: none is held.
                    let _ = parts.commit(tx);
                    continue;
                }
                Ok(Record::Settled(ranges)) if ranges.iter().len() > 0 => continue,
                Ok(Record::Settled(_)) | Err(_) => {
                    let _ = parts.commit_all();
                    continue;
                }
                Ok(Record::Inventory { index, records }) => {
                    self.inventory = Some((index, records.to_vec()));
                    continue;
                }
                Ok(_) => continue,
            };
            let places = messages.places().len().min(usize::from(u16::MAX)) as u16;
            let (found, _) = cut(&messages, at + offset as u64, places, 0, scratch);
            for (queue, first) in messages.places() {
                let slots = self.slots.entry(queue).or_default();
                slots.extend(scratch.iter().map(|slot| (Slot { first: first + slot.first, ..*slot }, number)));
                if messages.flags & TRANSIENT != 0 && found > 0 {
                    self.transient.entry(queue).or_default().push((first, first + found - 1));
                }
                if messages.flags & CONDITIONAL != 0 && found > 0 {
                    parts.bring(queue, first, first + found - 1);
                }
            }
        }
    }

    fn file(self, state: &mut State) {
        for (queue, mut slots) in self.slots {
            // Of two copies the newer is preferred: the older one's segment was to be used again.
            slots.sort_unstable_by_key(|(slot, number)| (slot.first, std::cmp::Reverse(*number)));
            let (row, segments) = state.row_and_segments(queue);
            for (slot, number) in slots {
                row.adopt(queue, slot, number, segments);
            }
        }
        for (queue, stretches) in self.transient {
            if let Some(row) = state.rows.get_mut(&queue) {
                stretches.into_iter().for_each(|(first, last)| _ = row.transient.insert(first, last));
            }
        }
        let index = state.index;
        state.settle_all(self.void.into_iter(), index);
    }
}

/// Makes the state from the segments that are left. Returns the index that a new term goes on from, and the files that
/// batches came from.
pub fn everything<D: Disk>(
    disk: &D,
    segments: &Survey,
    state: &mut State,
    report: &mut Report,
) -> (u64, Vec<crate::store::journal::Unsynced>) {
    let scan = || Scan::everything(disk, segments, None);
    let (mut found, mut scratch) = (Found::default(), Vec::new());
    let mut batches = scan();
    while let Some(batch) = batches.next(report) {
        if batch.index > state.index + 1 {
            let _ = state.parts.commit_all();
        }
        if batch.term > state.term {
            found.void.extend(state.parts.end_term());
        }
        state.begin(&batch);
        let mut at = batch.at;
        for submission in &batch.submissions {
            found.read(&submission.bytes, batch.segment, at, &mut state.parts, &mut scratch);
            at += submission.bytes.len() as u64;
        }
        batches.give(batch.submissions.into_iter().map(|submission| submission.bytes).collect());
    }
    let end = (batches.next_index(), batches.unsynced());
    let mut inventory = found.inventory.take();
    found.file(state);
    // What is still open now is so at the end, whatever is read again.
    let open = std::mem::take(&mut state.parts);
    let (mut batches, mut ends) = (scan(), BTreeMap::new());
    let mut before = (0, 0);
    while let Some(batch) = batches.next(&mut Report::default()) {
        if batch.index > before.0 + 1 {
            state.commit_all();
        }
        if batch.term > before.1 {
            state.parts = Parts::default();
        }
        before = (batch.index, batch.term);
        if let Some((_, records)) = inventory.take_if(|(index, _)| *index < batch.index) {
            state.redefine(&records);
        }
        for submission in &batch.submissions {
            state.apply_others(&submission.bytes, batch.segment, Some(&mut ends));
        }
        batches.give(batch.submissions.into_iter().map(|submission| submission.bytes).collect());
    }
    // What was flagged before is not known.
    state.clean = false;
    let held = std::mem::replace(&mut state.parts, open);
    state.parts.hold_all(held);
    end
}

/// Up to where each queue was journalled, so far.
type Ends = BTreeMap<QueueId, Position>;

impl State {
    /// Applies what is no message. With `ends`, to what had been journalled by then: positions that a crash took are
    /// given out again.
    fn apply_others(&mut self, bytes: &[u8], segment: u64, mut ends: Option<&mut Ends>) {
        self.parts.end_part();
        for (_, record) in record::records(bytes) {
            match (record, &mut ends) {
                (Ok(Record::Messages(messages)), Some(ends)) => {
                    self.clean = false;
                    for (queue, first) in messages.places() {
                        let end = ends.entry(queue).or_default();
                        *end = (*end).max(first + u64::from(messages.count));
                    }
                }
                (Ok(Record::Settled(ranges)), Some(ends)) if ranges.iter().len() > 0 => {
                    for range in ranges.iter() {
                        self.settle_before(range.queue, range.first, range.last, ends);
                    }
                }
                (Ok(Record::Purged { queue, end, kept }), Some(ends)) => {
                    let mut from = 0;
                    for (first, last) in kept.iter() {
                        if first > from {
                            self.settle_before(queue, from, (first - 1).min(end.saturating_sub(1)), ends);
                        }
                        from = from.max(last.saturating_add(1));
                    }
                    if end > from {
                        self.settle_before(queue, from, end - 1, ends);
                    }
                }
                (Ok(record), _) => _ = self.record(record, segment, 0, &mut Vec::new()),
                (Err(_), _) => self.commit_all(),
            }
        }
    }

    fn settle_before(&mut self, queue: QueueId, first: Position, last: Position, ends: &Ends) {
        let end = ends.get(&queue).copied().unwrap_or(0);
        if let Some(row) = self.rows.get_mut(&queue)
            && end > 0
        {
            row.settle(first, last.min(end - 1), self.index, &mut self.segments);
        }
    }

    /// These and no others are the definitions and bindings.
    fn redefine(&mut self, records: &[u8]) {
        self.definitions.clear();
        let bindings: Vec<_> = self.bindings.iter().cloned().collect();
        bindings.iter().for_each(|binding| self.unbind(binding));
        self.apply_others(records, 0, None);
    }
}
