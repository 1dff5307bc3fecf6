//! Names: what messages go by in queues that take no second one of a name while they have one.

use super::{NAMED, Open, RECORD_MESSAGES_MAX, Records};
use crate::store::{Position, QueueId, u64_at};

/// Bytes of a name with its place, in NAMED and in a checkpoint.
pub const NAMED_BYTES: usize = 32;

/// What a message goes by: understood by the shard alone.
pub type Name = [u8; 16];

/// The name of a message at a place. It is of no use when the message is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Named {
    /// The queue, or the class of it.
    pub queue: QueueId,
    /// Where the message is.
    pub position: Position,
    /// What it goes by.
    pub name: Name,
}

impl Named {
    /// As it is in a record.
    pub fn encode(&self) -> [u8; NAMED_BYTES] {
        let mut bytes = [0; NAMED_BYTES];
        let (place, name) = bytes.split_at_mut(16);
        let (queue, position) = place.split_at_mut(8);
        queue.copy_from_slice(&self.queue.0.to_le_bytes());
        position.copy_from_slice(&self.position.to_le_bytes());
        name.copy_from_slice(&self.name);
        bytes
    }

    /// Reads what [`encode`](Named::encode) wrote.
    pub fn decode(bytes: &[u8; NAMED_BYTES]) -> Named {
        let number = |at| u64_at(bytes, at).unwrap_or(0);
        let name = bytes.last_chunk().copied().unwrap_or_default();
        Named { queue: QueueId(number(0)), position: number(8), name }
    }
}

/// Names of messages.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    bytes: &'a [u8],
}

impl<'a> Names<'a> {
    /// Reads the head of a record of this kind, behind its first 16 bytes.
    pub(super) fn parse(rest: &'a [u8], n: usize) -> Option<Names<'a>> {
        Some(Names { bytes: rest.get(..n.checked_mul(NAMED_BYTES)?)? })
    }

    /// The names and where the messages are, in the order in which they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Named> + use<'a> {
        self.bytes.as_chunks().0.iter().map(Named::decode)
    }
}

impl Records {
    /// A message of a queue goes by a name. To be written behind the message, in the same submission.
    pub fn named(&mut self, named: Named) {
        match &mut self.open {
            Open::Repeated { kind: NAMED, n } if *n < RECORD_MESSAGES_MAX => *n += 1,
            _ => {
                self.begin(NAMED, 0, 1);
                self.end_head(Open::Repeated { kind: NAMED, n: 1 });
            }
        }
        self.bytes.extend_from_slice(&named.encode());
    }
}
