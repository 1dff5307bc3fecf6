//! Everything that the records come to: a checkpoint is this as bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ahash::RandomState;

use super::names::Names;
use super::parts::Parts;
use super::rows::Row;
use super::runs::Segments;
use super::seen::{Seen, Sighting};
use crate::store::QueueId;
use crate::store::record::Range;
use crate::store::segment::LaneId;

/// Numbers below are of queues and exchanges that are always there.
pub const PREDEFINED: u64 = 256;
/// So many queues that are gone are remembered: what comes for them later is dropped.
const GONE_MAX: usize = 16 << 10;

/// A binding: source, destination, what tells it from others.
pub type Bound = (QueueId, QueueId, Box<[u8]>);

/// Rows by queue.
pub type Rows = HashMap<QueueId, Row, RandomState>;

/// What the batches up to [`index`](State::index) come to.
#[derive(Debug)]
pub struct State {
    /// The lane.
    pub lane: LaneId,
    /// The term of the last batch.
    pub term: u64,
    /// The index of the last batch.
    pub index: u64,
    /// When it was written, in milliseconds.
    pub time_ms: u64,
    /// It was the last of an orderly stop.
    pub clean: bool,
    /// What is defined.
    pub definitions: BTreeMap<QueueId, Box<[u8]>>,
    /// What is bound.
    pub bindings: BTreeSet<Bound>,
    /// Of each binding the destination and the source.
    sources: BTreeSet<(QueueId, QueueId)>,
    /// The queues and classes that had messages.
    pub rows: Rows,
    /// Where the messages lie.
    pub segments: Segments,
    /// What is not committed yet.
    pub parts: Parts,
    /// What queues and exchanges have seen.
    pub seen: Seen,
    /// What messages go by.
    pub names: Names,
    /// Messages that were lost to damage since the start.
    pub lost: u64,
    /// The rows of classes, by base and class.
    classes: BTreeSet<(QueueId, QueueId)>,
    gone: BTreeSet<QueueId>,
    gone_order: VecDeque<QueueId>,
}

impl State {
    /// Nothing.
    pub fn new(lane: LaneId) -> State {
        State {
            lane,
            term: 0,
            index: 0,
            time_ms: 0,
            clean: false,
            definitions: BTreeMap::new(),
            bindings: BTreeSet::new(),
            sources: BTreeSet::new(),
            // The same in each run: what is hashed are numbers that no client chooses.
            rows: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            segments: Segments::default(),
            parts: Parts::default(),
            seen: Seen::default(),
            names: Names::default(),
            lost: 0,
            classes: BTreeSet::new(),
            gone: BTreeSet::new(),
            gone_order: VecDeque::new(),
        }
    }

    /// Whether this queue was undefined not long ago.
    pub fn is_gone(&self, queue: QueueId) -> bool {
        self.gone.contains(&queue.base())
    }

    /// The row of a queue or a class, made if there is none, and the segments.
    #[inline]
    pub fn row_and_segments(&mut self, id: QueueId) -> (&mut Row, &mut Segments) {
        let row = self.rows.entry(id).or_insert_with(|| {
            if id.is_class() {
                self.classes.insert((id.base(), id));
            }
            Row::default()
        });
        (row, &mut self.segments)
    }

    fn remove_row(&mut self, id: QueueId, index: u64) {
        if let Some(mut row) = self.rows.remove(&id) {
            row.drop_all(index, &mut self.segments);
            self.names.forget(id);
            self.classes.remove(&(id.base(), id));
        }
    }

    /// A queue or an exchange goes, with all that belongs to it.
    pub fn undefine(&mut self, id: QueueId, index: u64) {
        let id = id.base();
        self.remove_row(id, index);
        let classes: Vec<_> = self.classes.range((id, id.class(0))..=(id, id.class(u8::MAX))).copied().collect();
        classes.into_iter().for_each(|(_, class)| self.remove_row(class, index));
        if self.gone.insert(id) {
            self.gone_order.push_back(id);
        }
        if self.gone_order.len() > GONE_MAX
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
        self.definitions.remove(&id);
        self.seen.forget(id);
        let none = || Box::from([]);
        let after = QueueId(id.0.saturating_add(1));
        let from: Vec<Bound> =
            self.bindings.range((id, QueueId(0), none())..(after, QueueId(0), none())).cloned().collect();
        from.iter().for_each(|binding| self.unbind(binding));
        let sources: Vec<_> = self.sources.range((id, QueueId(0))..(after, QueueId(0))).copied().collect();
        for (_, source) in sources {
            let next = after;
            let to: Vec<Bound> = self.bindings.range((source, id, none())..(source, next, none())).cloned().collect();
            to.iter().for_each(|binding| self.unbind(binding));
        }
    }

    /// A binding is there.
    pub fn bind(&mut self, binding: Bound) {
        self.sources.insert((binding.1, binding.0));
        self.bindings.insert(binding);
    }

    /// A binding goes.
    pub fn unbind(&mut self, binding: &Bound) {
        if !self.bindings.remove(binding) {
            return;
        }
        let (source, destination, _) = binding;
        let mut others = self.bindings.range((*source, *destination, Box::from([]))..);
        if others.next().is_none_or(|(from, to, _)| (from, to) != (source, destination)) {
            self.sources.remove(&(*destination, *source));
        }
    }

    /// Whether a queue or an exchange is there: of a class, whether its base is.
    pub fn is_defined(&self, id: QueueId) -> bool {
        let id = id.base();
        id.0 < PREDEFINED || self.definitions.contains_key(&id)
    }

    /// Live entries in all segments.
    pub fn live(&self) -> u64 {
        self.segments.all.iter().map(|segment| segment.live).sum()
    }

    /// Their bytes, about.
    pub fn live_bytes(&self) -> u64 {
        self.segments.all.iter().map(|segment| segment.live_bytes).sum()
    }

    /// A queue or an exchange has seen something.
    pub fn note(&mut self, (id, keep_max, note): Sighting) {
        if !self.is_gone(id) {
            self.seen.add((id.base(), keep_max, note), self.time_ms);
        }
    }

    /// A transaction is committed.
    pub fn commit(&mut self, tx: u64) {
        self.parts.commit(tx).into_iter().for_each(|sighting| self.note(sighting));
    }

    /// All transactions count that may have been committed: see [`Parts::commit_all`].
    pub fn commit_all(&mut self) {
        self.parts.commit_all().into_iter().for_each(|sighting| self.note(sighting));
    }

    /// A term begins: what does not survive a start or was not committed goes, and what may have been delivered is
    /// flagged. Returns whether
    /// the term before was stopped in order.
    pub fn restart(&mut self, term: u64) -> bool {
        // A term between the two was not stopped in order: it wrote nothing.
        let clean = self.clean && term == self.term + 1;
        (self.term, self.clean) = (term, false);
        let index = self.index + 1;
        let undefined: Vec<QueueId> = self.rows.keys().copied().filter(|id| !self.is_defined(*id)).collect();
        undefined.into_iter().for_each(|id| self.remove_row(id, index));
        let mut seen = std::mem::take(&mut self.seen);
        seen.end_term(self.time_ms, |id| self.is_defined(id));
        self.seen = seen;
        let uncommitted = self.parts.end_term();
        self.settle_all(uncommitted, index);
        for row in self.rows.values_mut() {
            let transient = std::mem::take(&mut row.transient);
            for (first, last) in transient.stretches(row.head, row.end) {
                row.settle(first, last, index, &mut self.segments);
            }
            if !clean {
                row.flagged_below = row.end;
                row.returned.clear();
            }
        }
        let dangling = |(source, destination, _): &&Bound| !self.is_defined(*source) || !self.is_defined(*destination);
        let dangling: Vec<Bound> = self.bindings.iter().filter(dangling).cloned().collect();
        dangling.iter().for_each(|binding| self.unbind(binding));
        clean
    }

    /// These are done with; what of them is unknown is left alone.
    pub fn settle_all(&mut self, ranges: impl Iterator<Item = Range>, index: u64) {
        for range in ranges {
            if let Some(row) = self.rows.get_mut(&range.queue) {
                row.settle(range.first, range.last, index, &mut self.segments);
                self.names.trim(range.queue, row);
            }
        }
    }

    /// These segments are gone, with all that lived in them.
    pub fn lose_segments(&mut self, missing: &[u64]) {
        if missing.is_empty() {
            return;
        }
        let index = self.index;
        for row in self.rows.values_mut() {
            let lost: Vec<_> = row.runs.iter().filter(|run| missing.contains(&run.segment)).copied().collect();
            for run in lost {
                row.settle(run.first, run.last(), index, &mut self.segments);
            }
            // The last run of all may be a dead one.
            row.runs.retain(|run| run.alive > 0);
        }
        self.segments.all.retain(|segment| !missing.contains(&segment.number));
    }
}
