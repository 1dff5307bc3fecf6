//! The messages that wait at an exchange of type x-delayed-message, by the time when they are due.
//!
//! 24 bytes for each beside the message itself, which may be away on the disk. What is away is asked for shortly before
//! it is due: then it is *near*.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::broker::entries::Position;
use crate::broker::message::MessageRef;

/// What is away is asked for so long before it is due, in milliseconds.
pub const LEAD_MS: u64 = 1_000;
/// No more is asked for at once.
const ASKED_MAX: usize = 4096;

/// A message that waits: ordered by its time, then by its coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due_ms: u64,
    position: Position,
    /// Its place, with the highest bit set when the journal has it.
    block: u32,
    offset: u32,
}

const STORED: u32 = 1 << 31;
/// The block of messages that are away.
const AWAY: u32 = STORED - 1;

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its position.
    pub position: Position,
    /// The message; the reference is the caller's now.
    pub message: MessageRef,
    /// Whether the journal has it.
    pub stored: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Delays {
    /// The exchange that it is for.
    pub exchange: Arc<str>,
    heap: BinaryHeap<Reverse<Waiting>>,
    /// What is away and due soon, and what of it is here already.
    near: BTreeMap<(u64, Position), Option<MessageRef>>,
    /// The position of the next message.
    pub end: Position,
    /// The journal has had positions of it.
    pub journalled: bool,
    /// What there was before a start, from here on to there, is not known yet: with how many messages that is.
    pub unread: Option<(Position, Position, u64)>,
    /// The wish under way, and the positions that it names.
    pub fetching: Option<(u64, Vec<Position>)>,
}

impl Delays {
    /// None yet.
    pub fn new(exchange: Arc<str>) -> Delays {
        Delays {
            exchange,
            heap: BinaryHeap::new(),
            near: BTreeMap::new(),
            end: 0,
            journalled: false,
            unread: None,
            fetching: None,
        }
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.heap.len() + self.near.len() + self.unread.map_or(0, |(_, _, count)| count as usize)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message; `None`: it is away. Whether the journal has it is `stored`; what is away is in it.
    pub fn push(&mut self, due_ms: u64, position: Position, message: Option<MessageRef>, stored: bool) {
        let (block, offset) = message.map_or((AWAY, 0), MessageRef::parts);
        let block = if stored || message.is_none() { block | STORED } else { block };
        self.heap.push(Reverse(Waiting { due_ms, position, block, offset }));
    }

    /// When there is something to do next, in the time that messages are due by: a message is due, or to be asked for.
    pub fn next_ms(&self) -> Option<u64> {
        let far = self.heap.peek().map(|Reverse(waiting)| match waiting.block & !STORED {
            AWAY => waiting.due_ms.saturating_sub(LEAD_MS),
            _ => waiting.due_ms,
        });
        // One that is asked for and not here yet will have the queue looked at when it comes.
        let near = self.near.first_key_value().and_then(|((due, _), message)| message.map(|_| *due));
        match (far, near) {
            (Some(far), Some(near)) => Some(far.min(near)),
            (far, near) => far.or(near),
        }
    }

    /// Takes the first message if it is due and here.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Due> {
        let near = self.near.first_key_value().map(|((due, position), _)| (*due, *position));
        let far = self.heap.peek().map(|Reverse(waiting)| (waiting.due_ms, waiting.position));
        if let Some(near) = near.filter(|near| far.is_none_or(|far| *near < far)) {
            let message = self.near.get(&near).copied().flatten().filter(|_| near.0 <= now_ms)?;
            self.near.pop_first();
            return Some(Due { position: near.1, message, stored: true });
        }
        let Reverse(first) = self.heap.peek()?;
        if first.due_ms > now_ms || first.block & !STORED == AWAY {
            return None;
        }
        let Reverse(Waiting { position, block, offset, .. }) = self.heap.pop()?;
        Some(Due { position, message: MessageRef::of(block & !STORED, offset), stored: block & STORED != 0 })
    }

    /// What is to be asked for now: positions of messages that are away and due soon, ascending.
    pub fn wish(&mut self, now_ms: u64) -> Vec<Position> {
        while let Some(Reverse(first)) = self.heap.peek()
            && first.due_ms <= now_ms.saturating_add(LEAD_MS)
            && self.near.len() < ASKED_MAX
        {
            let Some(Reverse(Waiting { due_ms, position, block, offset })) = self.heap.pop() else { break };
            let message = (block & !STORED != AWAY).then(|| MessageRef::of(block & !STORED, offset));
            if message.is_some() && block & STORED == 0 {
                // The journal does not have it: it can only wait here.
                self.heap.push(Reverse(Waiting { due_ms, position, block, offset }));
                break;
            }
            self.near.insert((due_ms, position), message);
        }
        let mut positions: Vec<Position> =
            self.near.iter().filter(|(_, message)| message.is_none()).map(|((_, position), _)| *position).collect();
        positions.sort_unstable();
        positions
    }

    /// Takes messages that were asked for: all up to before `next` that there are, ascending. Those that are not among
    /// them are lost.
    pub fn bring(&mut self, asked: &[Position], brought: &BTreeMap<Position, MessageRef>, next: Position) {
        let asked = |position: &Position| *position < next && asked.binary_search(position).is_ok();
        self.near.retain(|(_, position), message| {
            if message.is_none() && asked(position) {
                *message = brought.get(position).copied();
                return message.is_some();
            }
            true
        });
    }

    /// Removes everything; returns the messages that are here.
    pub fn clear(&mut self) -> Vec<MessageRef> {
        self.unread = None;
        self.fetching = None;
        let near = std::mem::take(&mut self.near).into_values().flatten();
        let far = std::mem::take(&mut self.heap).into_iter().filter_map(|Reverse(waiting)| {
            let block = waiting.block & !STORED;
            (block != AWAY).then(|| MessageRef::of(block, waiting.offset))
        });
        near.chain(far).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u32) -> MessageRef {
        MessageRef::of(n, 2 * n)
    }

    #[test]
    fn messages_come_when_they_are_due_equal_ones_in_order() {
        let mut delays = Delays::new("e".into());
        for (position, due) in [(0, 50), (1, 20), (2, 50), (3, 10)] {
            delays.push(due, position, Some(message(position as u32)), position % 2 == 0);
        }
        assert_eq!((delays.len(), delays.next_ms()), (4, Some(10)));
        assert_eq!(delays.pop_due(9), None);
        let due: Vec<(Position, bool)> =
            std::iter::from_fn(|| delays.pop_due(50)).map(|due| (due.position, due.stored)).collect();
        assert_eq!(due, [(3, false), (1, false), (0, true), (2, true)]);
        assert_eq!((delays.len(), delays.next_ms()), (0, None));
    }

    #[test]
    fn what_is_away_is_asked_for_in_time() {
        let mut delays = Delays::new("e".into());
        delays.push(5_000, 7, None, true);
        delays.push(5_000, 3, None, true);
        delays.push(5_001, 4, Some(message(4)), false);
        delays.push(9_000, 5, None, true);
        assert_eq!(delays.next_ms(), Some(4_000));
        assert!(delays.wish(3_999).is_empty());
        let asked = delays.wish(4_000);
        assert_eq!(asked, [3, 7]);
        assert_eq!(delays.pop_due(6_000), None, "order is kept: they are not here yet");
        delays.bring(&asked, &BTreeMap::from([(3, message(3))]), 4);
        assert_eq!(delays.pop_due(6_000).map(|due| due.position), Some(3));
        assert_eq!(delays.pop_due(6_000), None);
        delays.bring(&asked, &BTreeMap::new(), 8);
        assert_eq!(delays.pop_due(6_000).map(|due| due.position), Some(4), "7 was lost");
        assert_eq!((delays.len(), delays.next_ms()), (1, Some(8_000)));
        assert_eq!(delays.clear(), []);
    }
}
