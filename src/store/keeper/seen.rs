//! What queues and exchanges have seen: notes, in the order in which they began to count.
//!
//! Of each no more are kept than the newest record says. What is past goes when it is the oldest, with the next note,
//! or when a term ends: whoever is told then what was seen knows as much as the store.

use std::collections::{BTreeMap, VecDeque};

use super::bytes::{Bytes, push_u64s};
use crate::store::QueueId;
use crate::store::record::{NOTE_BYTES, Note};

/// A note on its way: of which queue or exchange, and how many of that are kept.
pub type Sighting = (QueueId, u32, Note);

/// All notes, by queue or exchange.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    notes: BTreeMap<QueueId, VecDeque<Note>>,
}

impl Seen {
    /// Something was seen, at this time.
    pub fn add(&mut self, (id, keep_max, note): Sighting, time_ms: u64) {
        let notes = self.notes.entry(id).or_default();
        notes.push_back(note);
        while notes.len() > keep_max as usize || notes.front().is_some_and(|oldest| oldest.is_past(time_ms)) {
            notes.pop_front();
        }
        if notes.is_empty() {
            self.notes.remove(&id);
        } else if notes.capacity() > 64 && notes.capacity() / 4 > notes.len() {
            notes.shrink_to(2 * notes.len());
        }
    }

    /// A queue or an exchange is gone.
    pub fn forget(&mut self, id: QueueId) {
        self.notes.remove(&id);
    }

    /// Forgets what is past at this time, and all notes of what is not there.
    pub fn end_term(&mut self, time_ms: u64, is_there: impl Fn(QueueId) -> bool) {
        self.notes.retain(|id, notes| {
            notes.retain(|note| !note.is_past(time_ms));
            !notes.is_empty() && is_there(*id)
        });
    }

    /// All notes, by queue or exchange, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (QueueId, &VecDeque<Note>)> {
        self.notes.iter().map(|(id, notes)| (*id, notes))
    }

    /// How many notes there are.
    pub fn len(&self) -> usize {
        self.notes.values().map(VecDeque::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.notes.values().map(|notes| 64 + notes.capacity() * size_of::<Note>()).sum()
    }

    /// As it is in a checkpoint.
    pub fn save(&self, to: &mut Vec<u8>) {
        push_u64s(to, &[self.notes.len() as u64]);
        for (id, notes) in self.iter() {
            push_u64s(to, &[id.0, notes.len() as u64]);
            notes.iter().for_each(|note| to.extend_from_slice(&note.encode()));
        }
    }

    /// Reads what [`save`](Seen::save) wrote.
    pub fn load(from: &mut Bytes<'_>) -> Option<Seen> {
        let mut seen = Seen::default();
        for _ in 0..from.u64()? {
            let (id, count) = (QueueId(from.u64()?), usize::try_from(from.u64()?).ok()?);
            let bytes = from.take(count.checked_mul(NOTE_BYTES)?)?;
            seen.notes.insert(id, bytes.as_chunks().0.iter().map(Note::decode).collect());
        }
        Some(seen)
    }
}

/// Appends a note on its way: u64 id | u64 how many are kept | the note.
pub fn save_sighting((id, keep_max, note): &Sighting, to: &mut Vec<u8>) {
    push_u64s(to, &[id.0, u64::from(*keep_max)]);
    to.extend_from_slice(&note.encode());
}

/// Reads what [`save_sighting`] wrote.
pub fn load_sighting(from: &mut Bytes<'_>) -> Option<Sighting> {
    let (id, keep_max) = (QueueId(from.u64()?), u32::try_from(from.u64()?).ok()?);
    Some((id, keep_max, Note::decode(from.take(NOTE_BYTES)?.first_chunk()?)))
}
