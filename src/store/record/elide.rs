//! Messages that were settled before they were written need not be written.

use super::{COPY, Named, Range, Record, Records, records};
use crate::store::{Position, QueueId};

/// What is done with, by queue and position, without overlaps.
#[derive(Debug, Default)]
struct Done {
    ranges: Vec<Range>,
}

impl Done {
    fn has(&self, queue: QueueId, position: Position) -> bool {
        self.within(queue, position, position).next().is_some()
    }

    /// The parts of a stretch that are done with, ascending.
    fn within(&self, queue: QueueId, first: Position, last: Position) -> impl Iterator<Item = (Position, Position)> {
        let begun = self.ranges.partition_point(|range| (range.queue, range.last) < (queue, first));
        let ranges = self.ranges.get(begun..).unwrap_or(&[]);
        ranges
            .iter()
            .take_while(move |range| range.queue == queue && range.first <= last)
            .map(move |range| (range.first.max(first), range.last.min(last)))
    }
}

/// A stretch of messages that this buffer has of one queue alone.
fn stretch(record: &Record<'_>) -> Option<Range> {
    let Record::Messages(messages) = record else { return None };
    let mut places = messages.places();
    let (queue, first) = places.next()?;
    if places.next().is_some() || messages.count == 0 || messages.flags & COPY != 0 {
        return None;
    }
    Some(Range { queue, first, last: first + u64::from(messages.count) - 1 })
}

/// Leaves out the messages that the same records settle, with what says so: neither needs to be known. And the numbers
/// of what they settle, wherever it came from. `None`: there are none. Messages that are in several queues stay.
pub fn elide(bytes: &[u8], spare: Vec<u8>) -> Option<Vec<u8>> {
    let mut settled = Done::default();
    let mut written = Done::default();
    let mut counted = Vec::new();
    for (_, record) in records(bytes) {
        let Ok(record) = record else { return None };
        written.ranges.extend(stretch(&record));
        match record {
            Record::Settled(ranges) => settled.ranges.extend(ranges.iter()),
            Record::Counted(counts) => counted.extend(counts.iter()),
            _ => {}
        }
    }
    for done in [&mut settled, &mut written] {
        done.ranges.sort_unstable_by_key(|range| (range.queue, range.first));
    }
    let is_both = |range: &Range| written.within(range.queue, range.first, range.last).next().is_some();
    let is_in_vain = counted.iter().any(|(queue, position, _)| settled.has(*queue, *position));
    if !is_in_vain && !settled.ranges.iter().any(is_both) {
        return None;
    }
    let mut left = Records::default();
    left.take(spare);
    for (at, record) in records(bytes) {
        let Ok(record) = record else { return None };
        match (stretch(&record), record) {
            (Some(Range { queue, first, last }), Record::Messages(messages)) => {
                let mut gone = settled.within(queue, first, last).peekable();
                for message in messages.iter() {
                    let position = first + u64::from(message.number);
                    while gone.next_if(|(_, last)| *last < position).is_some() {}
                    if gone.peek().is_none_or(|(first, _)| position < *first) {
                        left.message_as_is(queue, position, messages.flags, message.crc, message.bytes);
                    }
                }
            }
            (_, Record::Settled(ranges)) => {
                for Range { queue, first, last } in ranges.iter() {
                    let mut from = first;
                    for (gone_from, gone_to) in written.within(queue, first, last) {
                        if from < gone_from {
                            left.settled(queue, from, gone_from - 1);
                        }
                        from = gone_to + 1;
                    }
                    if from <= last {
                        left.settled(queue, from, last);
                    }
                }
            }
            (_, Record::Counted(counts)) => {
                for (queue, position, count) in counts.iter().filter(|(queue, at, _)| !settled.has(*queue, *at)) {
                    left.counted(queue, position, count.acquired, count.failed);
                }
            }
            (_, Record::Named(names)) => {
                let is_done = |named: &Named| settled.has(named.queue, named.position);
                names.iter().filter(|named| !is_done(named)).for_each(|named| left.named(named));
            }
            _ => left.record_as_is(bytes, at),
        }
    }
    Some(left.take(Vec::new()))
}
