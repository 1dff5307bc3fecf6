//! Names of messages that are in queues, where these take no second one of a name: what a shard is to know of its
//! queues after a start, before it has read any message.
//!
//! A name is of no use when its message is settled. Such names go when they are most of a queue's, and none is told or
//! is in a checkpoint: so there are never many more of them than messages.

use std::collections::{BTreeMap, VecDeque};

use super::bytes::{Bytes, push_u64s};
use super::rows::Row;
use super::state::Rows;
use crate::store::record::{NAMED_BYTES, Name, Named};
use crate::store::{Position, QueueId};

/// A queue may keep so many names that are of no use, however few others it has.
const SPARE: u64 = 64;

/// All names, by queue or class. See the [module](self).
#[derive(Debug, Default)]
pub struct Names {
    queues: BTreeMap<QueueId, VecDeque<(Position, Name)>>,
}

impl Names {
    /// A message goes by a name: it is in this row, if it is alive.
    pub fn add(&mut self, Named { queue, position, name }: Named, row: &Row) {
        if !row.is_alive(position) {
            return;
        }
        let names = self.queues.entry(queue).or_default();
        // The last of all, unless it is known.
        match names.binary_search_by_key(&position, |(position, _)| *position) {
            Ok(_) => {}
            Err(at) => names.insert(at, (position, name)),
        }
    }

    /// Messages of a queue were settled: its names go that are of no use, if they are most.
    #[inline]
    pub fn trim(&mut self, queue: QueueId, row: &Row) {
        if let Some(names) = self.queues.get_mut(&queue)
            && names.len() as u64 > SPARE + 2 * row.live
        {
            names.retain(|(position, _)| row.is_alive(*position));
            names.shrink_to(2 * names.len());
            if names.is_empty() {
                self.queues.remove(&queue);
            }
        }
    }

    /// A queue or a class is gone.
    pub fn forget(&mut self, queue: QueueId) {
        self.queues.remove(&queue);
    }

    /// All names of messages that are alive, by queue and position.
    pub fn alive<'a>(&'a self, rows: &'a Rows) -> impl Iterator<Item = Named> + use<'a> {
        let rows = self.queues.iter().filter_map(|(queue, names)| Some((*queue, names, rows.get(queue)?)));
        rows.flat_map(|(queue, names, row)| {
            let alive = names.iter().filter(|(position, _)| row.is_alive(*position));
            alive.map(move |(position, name)| Named { queue, position: *position, name: *name })
        })
    }

    /// How many there are, of use or not.
    pub fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.queues.values().map(|names| 64 + names.capacity() * size_of::<(Position, Name)>()).sum()
    }

    /// Those of messages that are alive as they are in a checkpoint.
    pub fn save(&self, rows: &Rows, to: &mut Vec<u8>) {
        push_u64s(to, &[self.alive(rows).count() as u64]);
        self.alive(rows).for_each(|named| to.extend_from_slice(&named.encode()));
    }

    /// Reads what [`save`](Names::save) wrote. There is nothing in what was written before there were names.
    pub fn load(from: &mut Bytes<'_>) -> Option<Names> {
        let mut names = Names::default();
        if from.0.is_empty() {
            return Some(names);
        }
        let count = usize::try_from(from.u64()?).ok()?;
        let bytes = from.take(count.checked_mul(NAMED_BYTES)?)?;
        for Named { queue, position, name } in bytes.as_chunks().0.iter().map(Named::decode) {
            names.queues.entry(queue).or_default().push_back((position, name));
        }
        Some(names)
    }
}
