//! Notes: identities of messages that a queue or an exchange has seen, so that it knows them when they come again.

use super::{CONDITIONAL, HEAD_BYTES, NOTED, Open, RECORD_MESSAGES_MAX, Records};
use crate::store::{QueueId, u32_at, u64_at};

/// Bytes of a note in NOTED, and in a checkpoint.
pub const NOTE_BYTES: usize = 24;

/// Something that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Note {
    /// What: understood by the shard alone.
    pub note: [u8; 16],
    /// It is of no use when this time is past, in milliseconds as in batches; 0: it always is.
    pub until_ms: u64,
}

impl Note {
    /// Whether it is of no use any more.
    #[inline]
    pub fn is_past(&self, time_ms: u64) -> bool {
        self.until_ms != 0 && self.until_ms < time_ms
    }

    /// As it is in a record.
    pub fn encode(&self) -> [u8; NOTE_BYTES] {
        let mut bytes = [0; NOTE_BYTES];
        let (note, until) = bytes.split_at_mut(self.note.len());
        note.copy_from_slice(&self.note);
        until.copy_from_slice(&self.until_ms.to_le_bytes());
        bytes
    }

    /// Reads what [`encode`](Note::encode) wrote.
    pub fn decode(bytes: &[u8; NOTE_BYTES]) -> Note {
        let note = bytes.first_chunk().copied().unwrap_or_default();
        Note { note, until_ms: u64_at(bytes, 16).unwrap_or(0) }
    }
}

/// What a queue or an exchange has seen.
#[derive(Debug, Clone, Copy)]
pub struct Notes<'a> {
    /// Which.
    pub id: QueueId,
    /// No more notes of it are kept: the newest.
    pub keep_max: u32,
    /// They count when the transaction is committed that the last [`Part`](super::Record::Part) names.
    pub is_conditional: bool,
    bytes: &'a [u8],
}

impl<'a> Notes<'a> {
    /// Reads the head of a record of this kind, behind its first 16 bytes.
    pub(super) fn parse(rest: &'a [u8], flags: u8, n: usize) -> Option<Notes<'a>> {
        let bytes = rest.get(16..)?.get(..n.checked_mul(NOTE_BYTES)?)?;
        let (id, keep_max) = (QueueId(u64_at(rest, 0)?), u32_at(rest, 8)?);
        Some(Notes { id, keep_max, is_conditional: flags & CONDITIONAL != 0, bytes })
    }

    /// The notes, in the order of their coming.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Note> + use<'a> {
        self.bytes.as_chunks().0.iter().map(Note::decode)
    }
}

impl Records {
    /// A queue or an exchange has seen something, and keeps no more than `keep_max` notes, the newest. `flags`: 0, or
    /// [`CONDITIONAL`]. The same note may come again: the later one counts.
    pub fn noted(&mut self, id: QueueId, keep_max: u32, flags: u8, note: Note) {
        let of = (id, keep_max, flags);
        match &mut self.open {
            Open::Notes { of: open, n } if *open == of && *n < RECORD_MESSAGES_MAX => *n += 1,
            _ => {
                self.begin(NOTED, flags, 1);
                self.push_numbers(&[id.0, keep_max.into()]);
                debug_assert_eq!(self.bytes.len() - self.at, HEAD_BYTES + 16);
                self.end_head(Open::Notes { of, n: 1 });
            }
        }
        self.bytes.extend_from_slice(&note.encode());
    }
}
