//! Segments in which the messages of many queues lie mixed are put in order.
//!
//! When each publish goes to another queue, a queue's messages lie far apart, and to read them back takes a call for
//! each. A segment that stays alive like that is written again by queue, as ageing writes survivors again: then a
//! queue's part of it is read at once, and takes less room, for neighbours share a record and a slot. Only what is
//! worth it: where a queue's stretches get [`LONGER`] times as long. So no message is written again more than a few
//! times, however it comes.

use super::Keeper;
use super::ageing::Survivor;
use super::index;
use super::runs::record_bytes;
use crate::store::QueueId;
use crate::store::disk::Disk;

/// Stretches become so many times as long, at least.
const LONGER: u64 = 4;
/// Stretches of so many bytes on average are long enough.
const STRETCH_BYTES: u64 = 64 << 10;
/// What lies between two messages, beside what a record takes, breaks a stretch if it is more than this, and more than
const GAP_BYTES: u64 = 2 << 10;
/// so many times the message in front of it.
const GAP_TIMES: u64 = 8;
/// While somebody reads, only what has less bytes to a message on average is put in order: that takes less time than to
/// read it as it lies. The rest would be in the way.
const SMALL_BYTES: u64 = 256;
/// With messages of more bytes on average, were the segment full, there is nothing to win.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// The first survivor of each body, in the order in which they should be copied. And whether that is another than the
/// one in which they lie, `survivors` being sorted by place and queue.
pub(super) fn order(survivors: &[Survivor]) -> (Vec<u32>, bool) {
    let mut as_they_lie = Vec::new();
    let mut at = 0;
    for body in survivors.chunk_by(|(_, one), (_, other)| one.at == other.at) {
        as_they_lie.push(at);
        at += body.len() as u32;
    }
    let of = |first: &u32| survivors.get(*first as usize).copied().unwrap_or_default();
    let mut by_queue = as_they_lie.clone();
    by_queue.sort_unstable_by_key(|first| {
        let (queue, slot) = of(first);
        (queue, slot.first)
    });
    let (mut queues, mut stretches, mut bytes) = (0, 0, 0);
    let mut before: Option<(QueueId, u64, u64)> = None;
    for (queue, slot) in by_queue.iter().map(of) {
        let (at, len) = (u64::from(slot.at), u64::from(slot.bytes));
        let head = record_bytes(0, slot.places.into());
        let goes_on = before.is_some_and(|(of, end, len)| {
            of == queue && (end..=end + head + GAP_BYTES.max(GAP_TIMES * len)).contains(&at)
        });
        queues += u64::from(before.is_none_or(|(of, ..)| of != queue));
        stretches += u64::from(!goes_on);
        bytes += len;
        before = Some((queue, at + len, len));
    }
    let is_mixed = stretches >= LONGER * queues.max(1) && bytes < STRETCH_BYTES * stretches && by_queue != as_they_lie;
    (if is_mixed { by_queue } else { as_they_lie }, is_mixed)
}

impl<D: Disk> Keeper<D> {
    /// A segment that was not looked at yet, and whether it may have to be put in order.
    pub(super) fn next_to_order(&mut self) -> Option<(u64, bool)> {
        let is_written = self.ageing.writing.is_recent(self.now_ms);
        let is_read = self.ageing.reading.is_recent(self.now_ms);
        // Most messages die young, but not while nothing happens.
        let nursery = if is_written { self.settings.nursery.max(1) } else { 1 };
        let all = &self.state.segments.all;
        // What is written again needs room until a checkpoint lets go of where it was.
        let dead = all.iter().filter(|segment| segment.sealed && segment.live == 0).count();
        let messages_min = self.settings.segment_bytes / MESSAGE_BYTES_MAX;
        let segment = all.iter().take(all.len().saturating_sub(nursery)).find(|segment| {
            segment.sealed
                && segment.live >= messages_min
                && (!is_read || segment.live_bytes < SMALL_BYTES * segment.live)
                && !self.ageing.ordered.contains(&segment.number)
        })?;
        if dead > self.settings.nursery || !self.has_room_to_order() {
            return None;
        }
        let counts = match segment.index {
            Some(_) => index::counts(&mut self.files, segment).ok(),
            None => {
                let slots: usize = segment.lists.iter().map(|list| list.slots.len()).sum();
                Some([slots as u64, segment.lists.len() as u64])
            }
        };
        let may_be_mixed = counts
            .is_some_and(|[slots, queues]| slots >= LONGER * queues && segment.live_bytes < STRETCH_BYTES * slots);
        let number = segment.number;
        if !may_be_mixed {
            self.ageing.ordered.retain(|number| self.state.segments.find(*number).is_some());
            self.ageing.ordered.insert(number);
        }
        Some((number, may_be_mixed))
    }

    /// Whether the disk has room for more than the copies of some segments.
    fn has_room_to_order(&self) -> bool {
        let needed = 2 * (self.settings.nursery as u64 + 2) * self.settings.segment_bytes;
        let disk = &self.files.disk;
        disk.free_bytes().and_then(|free| Ok(free > needed.max(disk.total_bytes()? / 16))).unwrap_or(false)
    }
}
