//! Messages read back.
//!
//! The slots of the wanted messages are gathered first; those that lie close together in a segment are then read with
//! one call: straight into the buffer of the answer, unless most of what is read is not wanted. A queue that is alone
//! in the journal is read in one sweep.

use super::Keeper;
use super::files::{Files, Pages};
use super::index::{self, Unread};
use super::picking::compact;
use super::regions::{Wanted, regions};
use super::rows::Row;
use super::runs::{Run, Segment, Slot, mix};
use crate::store::disk::Disk;
use crate::store::record::{Count, MESSAGE_BYTES, Records, mend_messages, message_checksum};
use crate::store::report::Lost;
use crate::store::{Fetch, Fetched, FetchedMessage, Position, u32_at};

/// A disk that does not give a message is asked so often, a second apart.
const ATTEMPTS: u32 = 5;
const RETRY_MS: u64 = 1_000;

/// A fetch that waits.
#[derive(Debug)]
pub struct Waiting {
    fetch: Fetch,
    /// How often the disk did not give the messages.
    failures: u32,
    /// Not before this time.
    at_ms: u64,
}

/// The slots of a run from a position on, until `enough` says so.
pub(super) fn run_slots<D: Disk>(
    files: &mut Files<D>,
    pages: &mut Pages,
    segment: &Segment,
    run: &Run,
    from: Position,
    mut each: impl FnMut(Slot) -> bool,
) -> Result<(), Unread> {
    if segment.index.is_none() {
        let slots = segment.lists.get(run.slots as usize).map_or(&[][..], |list| &list.slots);
        let begun = slots.partition_point(|slot| slot.last() < from);
        slots.iter().skip(begun).take_while(|slot| slot.first <= run.last()).all(|slot| each(*slot));
        return Ok(());
    }
    let (mut low, mut high) = (0, run.count);
    while low < high {
        let middle = low + (high - low) / 2;
        let slots = index::slots_from(files, pages, segment, run.slots + middle)?;
        let before = slots.iter().take((high - middle) as usize).take_while(|slot| slot.last() < from).count() as u32;
        if before == 0 { high = middle } else { low = middle + before }
    }
    while low < run.count {
        let slots = index::slots_from(files, pages, segment, run.slots + low)?;
        let slots = slots.get(..(run.count - low) as usize).unwrap_or(slots);
        if !slots.iter().all(|slot| slot.first <= run.last() && each(*slot)) {
            break;
        }
        low += slots.len() as u32;
    }
    Ok(())
}

/// The messages of a slot in its bytes: offset, checksum, length. Fewer than there should be if a length is damaged.
pub fn walk(bytes: &[u8], count: u16) -> impl Iterator<Item = (usize, u32, usize)> {
    let mut at = 0;
    (0..count).map_while(move |_| {
        let (crc, len) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)? as usize);
        let begun = at + MESSAGE_BYTES;
        bytes.get(begun..)?.get(..len)?;
        at = begun + len;
        Some((begun, crc, len))
    })
}

/// Whether the messages in these bytes are those of the slot. Damage to one is another matter: see the caller.
pub fn is_slot(slot: &Slot, bytes: &[u8]) -> bool {
    let (mut check, mut count, mut end) = (0, 0, 0);
    for (at, crc, len) in walk(bytes, slot.count) {
        (check, count, end) = (mix(check, crc, len as u32), count + 1, at + len);
    }
    (check, count, end) == (slot.check, slot.count, bytes.len())
}

/// The sound messages of a slot, by their number in it. If the slot as a whole is wrong and each message is sound, they
/// are other messages: the disk has kept what was there before. `mended` is for bytes in which a length is wrong.
pub fn sound_messages<'a>(
    slot: &Slot,
    mut bytes: &'a [u8],
    mended: &'a mut Vec<u8>,
) -> impl Iterator<Item = (u16, usize, &'a [u8])> + use<'a> {
    let message = |bytes: &'a [u8], (number, (at, crc, len)): (u16, (usize, u32, usize))| {
        let message = bytes.get(at..at + len)?;
        (message_checksum(message) == crc).then_some((number, at, message))
    };
    let mut count = slot.count;
    if !is_slot(slot, bytes) {
        mended.extend_from_slice(bytes);
        mend_messages(mended, count.into());
        bytes = mended;
        let sound = (0..).zip(walk(bytes, count)).filter_map(|found| message(bytes, found)).count();
        if !is_slot(slot, bytes) && sound == usize::from(count) {
            count = 0;
        }
    }
    (0..).zip(walk(bytes, count)).filter_map(move |found| message(bytes, found))
}

impl<D: Disk> Keeper<D> {
    /// Takes a wish for messages. It is answered when everything before its end, or at least something of it, has been
    /// applied.
    pub fn fetch(&mut self, fetch: Fetch) {
        self.waiting.push_back(Waiting { fetch, failures: 0, at_ms: 0 });
        self.look_again = true;
    }

    fn is_ready(&self, waiting: &Waiting) -> bool {
        let fetch = &waiting.fetch;
        waiting.at_ms <= self.now_ms
            && match self.state.rows.get(&fetch.queue) {
                Some(row) if row.end >= fetch.to => true,
                Some(row) if fetch.picks() => fetch.only.iter().any(|at| fetch.wants(*at) && row.is_alive(*at)),
                Some(row) => row.next_alive(fetch.from) < row.end,
                None => fetch.from >= fetch.to || self.state.is_gone(fetch.queue),
            }
    }

    /// The answer to a fetch, if one can be answered.
    pub fn next_answer(&mut self) -> Option<Fetched> {
        while self.look_again {
            let Some(at) = self.waiting.iter().position(|waiting| self.is_ready(waiting)) else {
                self.look_again = false;
                break;
            };
            let mut waiting = self.waiting.remove(at)?;
            self.ageing.reading.note();
            match self.answer(&mut waiting.fetch, waiting.failures >= ATTEMPTS) {
                Ok(fetched) => return Some(fetched),
                Err(error) => {
                    self.report.note("fetch", None, format!("the disk does not give a message: {error}; tried again"));
                    waiting.failures += 1;
                    waiting.at_ms = self.now_ms + RETRY_MS;
                    self.waiting.push_back(waiting);
                }
            }
        }
        None
    }

    /// When a fetch is to be tried again.
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.at_ms).filter(|at| *at > 0).min()
    }

    /// Answers a fetch. `last`: what the disk does not give is given up.
    fn answer(&mut self, fetch: &mut Fetch, last: bool) -> std::io::Result<Fetched> {
        let mut answer = Fetched {
            shard: fetch.shard,
            tag: fetch.tag,
            queue: fetch.queue,
            bytes: std::mem::take(&mut fetch.buffer),
            next: fetch.to.max(fetch.from),
            ..Fetched::default()
        };
        let mut wanted = Vec::new();
        let mut covered = loop {
            wanted.clear();
            let gathered = if fetch.picks() { self.pick(fetch, &mut wanted) } else { self.gather(fetch, &mut wanted) };
            match gathered {
                Ok(covered) => break covered,
                Err((_, Unread::Disk(error))) if !last => {
                    fetch.buffer = answer.bytes;
                    return Err(error);
                }
                Err((segment, _)) => self.rebuild(segment, "its index is damaged"),
            }
        };
        let Some(row) = self.state.rows.get(&fetch.queue) else {
            answer.bytes.clear();
            return Ok(answer);
        };
        let (regions, len) = regions(&mut wanted, fetch.bytes_max as u64);
        if answer.bytes.len() < len {
            answer.bytes.resize(len, 0);
        }
        for region in &regions {
            let Some(segment) = self.state.segments.find(region.segment) else { continue };
            let slots = wanted.get(region.slots.clone()).unwrap_or(&[]);
            let place = if region.is_dense() {
                let begun = slots.first().map_or(0, |first| first.to);
                answer.bytes.get_mut(begun..begun + region.span())
            } else {
                self.sweep.resize(region.span(), 0);
                self.sweep.get_mut(..)
            };
            let Some(part) = place else { continue };
            let failed = match self.files.read(segment.slot, region.at, part) {
                Ok(()) => None,
                // One bad sector should not cost its neighbours.
                Err(_) if last && region.slots.len() > 1 => {
                    for Wanted { slot, .. } in slots {
                        let at = (u64::from(slot.at) - region.at) as usize;
                        let Some(part) = part.get_mut(at..at + slot.bytes as usize) else { continue };
                        if self.files.read(segment.slot, slot.at.into(), part).is_err() {
                            part.fill(0);
                        }
                    }
                    None
                }
                Err(error) => Some((error, part)),
            };
            match failed {
                Some((_, part)) if last => part.fill(0),
                Some((error, _)) => {
                    fetch.buffer = answer.bytes;
                    return Err(error);
                }
                None => {}
            }
            if !region.is_dense() {
                for Wanted { slot, to, .. } in slots {
                    let at = (u64::from(slot.at) - region.at) as usize;
                    let from = self.sweep.get(at..at + slot.bytes as usize);
                    let to = answer.bytes.get_mut(*to..*to + slot.bytes as usize);
                    from.zip(to).into_iter().for_each(|(from, to)| to.copy_from_slice(from));
                }
            }
        }
        take_messages(fetch, row, &wanted, &mut answer, &mut covered);
        if !row.handed.is_empty() {
            for message in &mut answer.messages {
                Count { acquired: message.acquired, failed: message.failed } = row.handed.of(message.position);
            }
        }
        answer.bytes.truncate(len);
        if fetch.picks() {
            compact(&mut answer);
        }
        answer.next = covered;
        self.settle_lost(fetch, &mut answer);
        Ok(answer)
    }

    /// Finds the slots that a fetch wants; returns up to where (exclusive) they are complete, or the segment of which
    /// they cannot be read.
    fn gather(&mut self, fetch: &Fetch, wanted: &mut Vec<Wanted>) -> Result<Position, (u64, Unread)> {
        let Some(row) = self.state.rows.get(&fetch.queue) else { return Ok(fetch.to) };
        let from = fetch.from.max(row.head);
        let to = fetch.to.min(row.end);
        let (mut bytes, mut count, mut covered) = (0, 0, None);
        for run in row.runs.iter().skip(row.run_from(from)).take_while(|run| run.first < to) {
            if covered.is_some() {
                break;
            }
            let Some(segment) = self.state.segments.find(run.segment) else { continue };
            let begun = from.max(run.first);
            let each = |slot: Slot| {
                let (first, last) = (slot.first.max(begun), slot.last().min(run.last()).min(to.saturating_sub(1)));
                let alive = row.alive(first, last);
                if alive > 0 {
                    wanted.push(Wanted { segment: run.segment, slot, first, last, to: 0 });
                    (bytes, count) = (bytes + slot.bytes as usize, count + alive as usize);
                }
                if bytes >= fetch.bytes_max || count >= fetch.count_max {
                    covered = Some(last + 1);
                }
                covered.is_none()
            };
            run_slots(&mut self.files, &mut self.pages, segment, run, begun, each).map_err(|why| (run.segment, why))?;
        }
        Ok(covered.unwrap_or(fetch.to.min(row.end).max(fetch.from)))
    }

    /// Positions that should have been in the answer and are not: they are settled.
    fn settle_lost(&mut self, fetch: &Fetch, answer: &mut Fetched) {
        let Some(row) = self.state.rows.get(&fetch.queue) else { return };
        let mut found = answer.messages.iter().map(|message| message.position).peekable();
        let (mut lost, mut first_lost) = (Records::default(), None);
        let whole_to = if fetch.picks() { fetch.from } else { answer.next };
        let picked = fetch.only.iter().copied().filter(|at| fetch.wants(*at) && *at < answer.next && row.is_alive(*at));
        for (first, last) in row.alive_stretches(fetch.from, whole_to).chain(picked.map(|at| (at, at))) {
            let mut at = first;
            while at <= last {
                if found.next_if(|position| *position == at).is_some() {
                    at += 1;
                    continue;
                }
                let until = found.peek().map_or(last, |next| last.min(next - 1));
                lost.settled(fetch.queue, at, until);
                first_lost = first_lost.or(row.runs.get(row.run_from(at)).map(|run| (run.segment, at)));
                answer.lost += until - at + 1;
                at = until + 1;
            }
        }
        if lost.is_empty() {
            return;
        }
        let bytes = lost.take(Vec::new());
        let file = first_lost.and_then(|(number, _)| Some(self.state.segments.find(number)?.slot.name()));
        let what =
            format!("messages of queue {} from position {} on", fetch.queue.0, first_lost.map_or(0, |(_, at)| at));
        self.report.damage(
            file.unwrap_or_else(|| "journal".into()),
            None,
            what,
            Lost { messages: answer.lost, ..Lost::NOTHING },
        );
        self.give_up(bytes, answer.lost);
    }
}

impl Row {
    /// The first from this position on that is alive, or the end.
    fn next_alive(&self, from: Position) -> Position {
        self.settled.next_absent(from.max(self.head)).min(self.end)
    }
}

/// The messages in what was read. `covered` becomes less if not all of it is taken.
fn take_messages(fetch: &Fetch, row: &Row, wanted: &[Wanted], answer: &mut Fetched, covered: &mut Position) {
    let (mut bytes, holes, returned) = (0, !row.settled.is_empty(), !row.returned.is_empty());
    let filtered = holes || fetch.picks();
    let is_left_out = |position| (holes && row.settled.contains(position)) || !fetch.wants(position);
    for Wanted { slot, first, last, to, .. } in wanted {
        let Some(part) = answer.bytes.get(*to..*to + slot.bytes as usize) else { continue };
        let mut mended = Vec::new();
        for (number, offset, message) in sound_messages(slot, part, &mut mended) {
            let position = slot.first + u64::from(number);
            if position < *first || position > *last || (filtered && is_left_out(position)) {
                continue;
            }
            let full = bytes + message.len() > fetch.bytes_max || answer.messages.len() >= fetch.count_max;
            if full && !answer.messages.is_empty() {
                *covered = position;
                return;
            }
            bytes += message.len();
            answer.messages.push(FetchedMessage {
                position,
                at: (to + offset) as u32,
                len: message.len() as u32,
                redelivered: position < row.flagged_below || (returned && row.returned.contains(position)),
                acquired: 0,
                failed: 0,
            });
        }
    }
}
