//! Rows: what is known of a queue.
//!
//! Every position from the head of a queue to its end is either settled or in a run. Positions that never came to the
//! journal count as settled: no more can come in front of the end.

use super::handed::Handed;
use super::positions::Positions;
use super::runs::{List, Run, Segment, Segments, Slot, push, share};
use crate::store::record::{Count, MESSAGE_BYTES};
use crate::store::{Position, QueueId};

/// Where a message lies that was written again.
#[derive(Debug, Clone, Copy)]
pub struct Copied {
    /// The index of the batch.
    pub index: u64,
    /// Where it begins in the file.
    pub at: u32,
    /// Its checksum.
    pub crc: u32,
    /// Its length.
    pub len: u32,
    /// In how many queues it is.
    pub places: u16,
}

/// A queue.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Row {
    /// Everything before it is settled.
    pub head: Position,
    /// Everything from it on is still to come.
    pub end: Position,
    /// How many are alive.
    pub live: u64,
    /// Everything before it may have been delivered.
    pub flagged_below: Position,
    /// What is settled from the head on.
    pub settled: Positions,
    /// What was delivered and came back.
    pub returned: Positions,
    /// What is not to survive a start.
    pub transient: Positions,
    /// How often what is alive was handed out.
    pub handed: Handed,
    /// By position. All have something alive, but perhaps the last.
    pub runs: Vec<Run>,
}

impl Row {
    /// Whether it was delivered before, or may have been.
    #[inline]
    pub fn is_redelivered(&self, position: Position) -> bool {
        position < self.flagged_below || self.returned.contains(position)
    }

    /// Whether it is there and not settled.
    #[inline]
    pub fn is_alive(&self, position: Position) -> bool {
        (self.head..self.end).contains(&position) && !self.settled.contains(position)
    }

    /// How many positions of a stretch are alive, if all of it are in runs or settled.
    #[inline]
    pub fn alive(&self, first: Position, last: Position) -> u64 {
        let first = first.max(self.head);
        if first > last { 0 } else { last - first + 1 - self.settled.count(first, last) }
    }

    /// Bytes of what is alive, about, as [`Run::mean`] counts them.
    pub fn live_bytes(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.alive) * u64::from(run.mean)).sum()
    }

    /// The first that is alive, or the end.
    pub fn first(&self) -> Position {
        self.settled.next_absent(self.head).min(self.end)
    }

    /// The first run that ends at this position or behind it.
    #[inline]
    pub fn run_from(&self, position: Position) -> usize {
        match self.runs.first() {
            Some(first) if first.last() >= position => 0,
            _ => self.runs.partition_point(|run| run.last() < position),
        }
    }

    /// Positions up to here never come.
    pub fn skip_to(&mut self, position: Position) {
        if position > self.end {
            if self.head == self.end {
                self.head = position;
            } else {
                self.settled.insert(self.end, position - 1);
            }
            self.end = position;
        }
    }

    /// Messages came, at the end: `slots` say where, with positions from 0 on; they take `bytes`.
    pub fn append(&mut self, queue: QueueId, first: Position, slots: &[Slot], bytes: u64, segment: &mut Segment) {
        let count: u64 = slots.iter().map(|slot| u64::from(slot.count)).sum();
        if count == 0 || first < self.end {
            return;
        }
        self.skip_to(first);
        let list = self.run_for(queue, first, first + count - 1, segment);
        if let Some(list) = segment.lists.get_mut(list as usize) {
            slots.iter().for_each(|slot| push(&mut list.slots, Slot { first: first + slot.first, ..*slot }));
        }
        if let Some(run) = self.runs.last_mut() {
            run.span = (first + count - 1 - run.first) as u32;
            run.add(count as u32, bytes);
        }
        segment.more(count, bytes);
        self.end = first + count;
        self.live += count;
    }

    /// Makes the last run one that these messages can be added to; returns its list.
    fn run_for(&mut self, queue: QueueId, first: Position, last: Position, segment: &mut Segment) -> u32 {
        if let Some(run) = self.runs.last_mut() {
            if run.segment == segment.number && segment.index.is_none() {
                if run.alive == 0 {
                    // The list is used again: a queue that is emptied again and again takes no memory for that.
                    (run.first, run.span, run.mean) = (first, 0, 0);
                    if let Some(list) = segment.lists.get_mut(run.slots as usize) {
                        list.slots.clear();
                        return run.slots;
                    }
                } else if last - run.first <= u64::from(u32::MAX) {
                    return run.slots;
                }
            }
            if run.alive == 0 {
                self.runs.pop();
            }
        }
        let slots = segment.new_list(queue);
        push(&mut self.runs, Run { segment: segment.number, first, span: 0, alive: 0, mean: 0, slots, count: 0 });
        slots
    }

    /// These positions are done with. What is unknown or settled already is left alone. Returns how many died.
    pub fn settle(&mut self, first: Position, last: Position, index: u64, segments: &mut Segments) -> u64 {
        let first = first.max(self.head);
        if self.end == 0 || first > last.min(self.end - 1) {
            return 0;
        }
        let last = last.min(self.end - 1);
        let begun = self.run_from(first);
        let (mut at, mut died) = (begun, 0);
        while let Some(run) = self.runs.get_mut(at)
            && run.first <= last
        {
            let (from, to) = (run.first.max(first), run.last().min(last));
            let newly = to - from + 1 - self.settled.count(from, to);
            if newly > 0 && run.alive > 0 {
                run.alive = run.alive.saturating_sub(newly as u32);
                segments.less(run.segment, newly, run.mean, index);
                died += newly;
            }
            at += 1;
        }
        self.live -= died.min(self.live);
        if first == self.head {
            self.head = self.settled.next_absent(last + 1);
            self.settled.remove_below(self.head);
            self.returned.remove_below(self.head);
            self.transient.remove_below(self.head);
            self.handed.remove(0, self.head - 1);
        } else {
            self.settled.insert(first, last);
            self.handed.remove(first, last);
        }
        self.drop_dead_runs(begun, at);
        died
    }

    /// These positions were delivered and are ready again.
    pub fn give_back(&mut self, first: Position, last: Position) {
        let (first, last) = (first.max(self.head), last.min(self.end.saturating_sub(1)));
        self.returned.insert(first.max(self.flagged_below), last);
    }

    /// A message is ready again, and was handed out so often.
    pub fn count(&mut self, position: Position, count: Count) {
        if self.is_alive(position) {
            self.give_back(position, position);
            self.handed.set(position, count);
        }
    }

    /// Removes runs from `begun` to before `end` in which nothing lives, but not the last of all.
    fn drop_dead_runs(&mut self, begun: usize, end: usize) {
        let end = end.min(self.runs.len().saturating_sub(1));
        let dead = |run: &Run| run.alive == 0;
        if begun < end && self.runs.get(begun..end).is_some_and(|runs| runs.iter().any(dead)) {
            let kept: Vec<Run> = self.runs.drain(begun..end).filter(|run| !dead(run)).collect();
            self.runs.splice(begun..begun, kept);
        }
    }

    /// A message that is alive was written again, in this segment, here.
    pub fn relocate(&mut self, queue: QueueId, position: Position, copy: Copied, to: u64, segments: &mut Segments) {
        let at = self.run_from(position);
        let Some(&old) = self.runs.get(at).filter(|run| run.first <= position && run.segment < to) else { return };
        if !self.is_alive(position) {
            return;
        }
        segments.less(old.segment, 1, old.mean, copy.index);
        let Some(segment) = segments.find_mut(to) else { return };
        // What the old run keeps on both sides; the message's new run lies between them.
        let part = |first: Position, last: Position| {
            let alive = self.alive(first, last);
            (alive > 0).then(|| Run { first, span: (last - first) as u32, alive: alive as u32, ..old })
        };
        let left = if old.first < position { part(old.first, position - 1) } else { None };
        let right = if position < old.last() { part(position + 1, old.last()) } else { None };
        let joined = at.checked_sub(1).and_then(|before| self.runs.get(before)).copied().filter(|run| {
            left.is_none()
                && (run.segment == to && segment.index.is_none() && run.alive > 0)
                && position - run.first <= u64::from(u32::MAX)
        });
        let mut run = joined.unwrap_or_else(|| Run {
            segment: to,
            first: position,
            span: 0,
            alive: 0,
            mean: 0,
            slots: segment.new_list(queue),
            count: 0,
        });
        run.span = (position - run.first) as u32;
        let list = segment.lists.get_mut(run.slots as usize);
        let alone = list.is_some_and(|list| list.push(position, copy.at, copy.crc, copy.len, copy.places));
        let bytes = u64::from(copy.len) + MESSAGE_BYTES as u64;
        let bytes = if alone { share(bytes, copy.places) } else { bytes / u64::from(copy.places.max(1)) };
        run.add(1, bytes);
        segment.more(1, bytes);
        let begun = if joined.is_some() { at - 1 } else { at };
        self.runs.splice(begun..=at, [left, Some(run), right].into_iter().flatten());
    }

    /// Nothing of it lives any more: its segments learn of it.
    pub fn drop_all(&mut self, index: u64, segments: &mut Segments) {
        for run in &self.runs {
            segments.less(run.segment, run.alive.into(), run.mean, index);
        }
        *self = Row { head: self.end, end: self.end, ..Row::default() };
    }

    /// The ranges of positions that are alive from `from` to before `to`.
    pub fn alive_stretches(&self, from: Position, to: Position) -> impl Iterator<Item = (Position, Position)> {
        let (mut at, to) = (from.max(self.head), to.min(self.end));
        std::iter::from_fn(move || {
            let first = Some(self.settled.next_absent(at)).filter(|first| *first < to)?;
            at = self.settled.next_present(first).map_or(to, |next| next.min(to));
            Some((first, at - 1))
        })
    }
}

impl Segment {
    /// An empty list; returns its number.
    fn new_list(&mut self, queue: QueueId) -> u32 {
        push(&mut self.lists, List { queue, slots: Vec::new() });
        self.lists.len() as u32 - 1
    }
}
