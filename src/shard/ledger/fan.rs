//! Messages that go to several queues, gathered so that each body is written once.

use crate::amqp::{Content, Stamp};
use crate::broker::entries::Position;
use crate::store::QueueId;
use crate::store::record::Records;

/// Messages with neighbouring positions in one queue, among some that go to several queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    queue: QueueId,
    position: Position,
    /// Which of the messages is the first.
    index: u32,
    count: u32,
    flags: u8,
}

/// Where some messages have gone.
#[derive(Debug, Default)]
pub(super) struct Fan {
    runs: Vec<Run>,
}

impl Fan {
    /// Message number `index` has got a position in a queue.
    pub(super) fn note(&mut self, queue: QueueId, position: Position, index: u32, flags: u8) {
        if let Some(run) = self.runs.last_mut()
            && (run.queue, run.position + u64::from(run.count), run.index + run.count, run.flags)
                == (queue, position, index, flags)
        {
            run.count += 1;
            return;
        }
        self.runs.push(Run { queue, position, index, count: 1, flags });
    }

    /// Writes the messages: each body once, if all its queues have taken the same ones.
    pub(super) fn write(&mut self, records: &mut Records, contents: &[Content<'_>], stamp: Stamp) {
        // A queue's positions must ascend in the journal.
        self.runs.sort_by_key(|run| run.index);
        while let Some(first) = self.runs.first().copied() {
            let alike = |run: &Run| (run.index, run.count, run.flags) == (first.index, first.count, first.flags);
            let places: Vec<_> =
                self.runs.iter().filter(|run| alike(run)).map(|run| (run.queue, run.position)).collect();
            self.runs.retain(|run| !alike(run));
            records.messages(&places, first.flags, first.count);
            let all = contents.iter().skip(first.index as usize).take(first.count as usize);
            all.for_each(|content| {
                records.push_message(content.record_bytes(), |place| content.fill_record(place, stamp));
            });
        }
    }
}
