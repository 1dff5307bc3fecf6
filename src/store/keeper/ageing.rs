//! Ageing: what survives in a segment that is mostly dead is written again, so that the segment becomes free.
//!
//! The newest segments, the nursery, are left alone: most messages die there. Of the others, one of which less than
//! half lives has its survivors copied in the order in which they lie, as COPY records that go
//! through the journal like everything else. When such a record is applied, a message that is still alive moves; one
//! that was settled meanwhile does not. A body in several queues is copied once. Where the messages of many queues lie
//! mixed, they are copied by queue instead: see [`ordering`].
//!
//! What lives of a segment is known about; before it is copied it is counted from its slots.
//!
//! [`ordering`]: super::ordering

use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};

use super::Keeper;
use super::fetch::sound_messages;
use super::index::{self, Unread};
use super::ordering;
use super::recent::Recent;
use super::runs::{Segment, Slot, record_bytes};
use super::upkeep::STEP_BYTES;
use crate::store::disk::Disk;
use crate::store::record::{COPY, Records, TRANSIENT};
use crate::store::report::Lost;
use crate::store::segment::HEADER_BYTES;
use crate::store::{Position, QueueId};

/// Publishers write fast: more bytes than this were written in one window.
const PRESSED_BYTES: u64 = 4 << 20;
const WINDOW_MS: u64 = 100;
/// After a failure it is tried again so much later.
const RETRY_MS: u64 = 3_000;

/// A slot of a queue, to be copied.
pub(super) type Survivor = (QueueId, Slot);

/// The segment whose survivors are being copied.
#[derive(Debug)]
struct Source {
    number: u64,
    /// In the order in which they lie; those of one body side by side.
    survivors: Vec<Survivor>,
    /// The first of each body, in the order in which they are copied.
    order: Vec<u32>,
    next: usize,
    /// A part of its file, and where it begins.
    window: Vec<u8>,
    window_at: u64,
    /// Copied by queue: everything up to here is in the window before the first is copied.
    whole_to: Option<u64>,
}

/// What is under way.
#[derive(Debug, Default)]
pub struct Ageing {
    source: Option<Source>,
    /// What survives in the segment that may be the next.
    gathered: Option<(u64, Vec<Survivor>)>,
    /// The submission that was not applied yet.
    in_flight: Option<u64>,
    /// Bytes of others in this window of time.
    bytes: u64,
    window_ms: u64,
    /// The window before was one of much writing.
    was_pressed: bool,
    retry_at_ms: u64,
    /// The segment that is looked at.
    pub(super) number: u64,
    /// The one that could not be read, and how often.
    pub(super) failed: (u64, u32),
    /// Segments that are to be emptied, however much lives in them.
    pub(super) forced: BTreeSet<u64>,
    /// Segments that were looked at, and are as ordered as they need be.
    pub(super) ordered: BTreeSet<u64>,
    /// Others than the keeper write.
    pub(super) writing: Recent,
    /// Somebody reads.
    pub(super) reading: Recent,
    /// Messages copied since the start.
    pub(super) copied: u64,
}

impl Ageing {
    pub(super) fn applied(&mut self, seq: u64) {
        self.in_flight = self.in_flight.filter(|waiting| *waiting > seq);
    }

    pub(super) fn pressed(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.writing.note();
    }

    /// Whether publishers need the disk.
    fn is_pressed(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.window_ms + WINDOW_MS {
            self.was_pressed = self.bytes > PRESSED_BYTES && now_ms < self.window_ms + 2 * WINDOW_MS;
            (self.bytes, self.window_ms) = (0, now_ms);
        }
        self.was_pressed || self.bytes > PRESSED_BYTES
    }

    pub(super) fn again_at_ms(&self, now_ms: u64) -> Option<u64> {
        let pressed = self.was_pressed || self.bytes > PRESSED_BYTES;
        let times = [
            (self.retry_at_ms > now_ms).then_some(self.retry_at_ms),
            pressed.then_some(self.window_ms + 2 * WINDOW_MS),
            self.writing.until_ms(now_ms),
            self.reading.until_ms(now_ms),
        ];
        times.into_iter().flatten().min()
    }
}

impl<D: Disk> Keeper<D> {
    /// Has everything that lives in these segments written again, as soon as they are sealed.
    pub fn empty_segments(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.ageing.forced.extend(numbers);
    }

    /// The segment that is to be emptied, if there is one: one that was asked for, or the emptiest of those that are
    /// less than half alive.
    fn next_to_age(&self) -> Option<u64> {
        let alive = |number: &&u64| self.state.segments.find(**number).is_some_and(|one| one.sealed && one.live > 0);
        if let Some(number) = self.ageing.forced.iter().find(alive) {
            return Some(*number);
        }
        let all = &self.state.segments.all;
        let old = all.iter().take(all.len().saturating_sub(self.settings.nursery));
        let worth = old.filter(|segment| {
            let changed = segment.live < segment.counted_at - segment.counted_at / 8;
            segment.sealed && segment.live > 0 && changed && self.is_worth(segment, segment.live_bytes)
        });
        worth.min_by_key(|segment| segment.live_bytes).map(|segment| segment.number)
    }

    /// Whether a segment has so much more room than what lives in it that it is worth to write that again. What lives
    /// counts with what it needs of records, so that a copy is not worth another one.
    fn is_worth(&self, segment: &Segment, live_bytes: u64) -> bool {
        let room = segment.end.max(self.settings.segment_bytes).saturating_sub(HEADER_BYTES as u64);
        live_bytes < room / 2
    }

    /// Whether more disk is in use than twice what lives and the nursery.
    fn needs_space(&self) -> bool {
        let nursery = self.settings.nursery as u64 * self.settings.segment_bytes;
        self.used_bytes() > 2 * self.state.live_bytes() + nursery
    }

    pub(super) fn step_ageing(&mut self) -> bool {
        let now = self.now_ms;
        if self.ageing.in_flight.is_some() || self.ageing.retry_at_ms > now {
            return false;
        }
        if self.ageing.is_pressed(now) && !self.needs_space() {
            return false;
        }
        let did = match self.ageing.source.take() {
            Some(source) => self.copy_some(source),
            None => match self.ageing.gathered.take() {
                Some((number, survivors)) => self.go_on_to_age(number, survivors),
                None => self.begin_to_age(),
            },
        };
        match did {
            Ok(did) => did,
            Err(error) => {
                self.ageing.source = None;
                self.ageing.retry_at_ms = now + RETRY_MS;
                self.read_failed(&error);
                false
            }
        }
    }

    fn begin_to_age(&mut self) -> Result<bool> {
        let number = match self.next_to_age() {
            Some(number) => number,
            None => match self.next_to_order() {
                Some((number, true)) => number,
                // There may be another one.
                Some(_) => return Ok(true),
                None => return Ok(false),
            },
        };
        self.ageing.number = number;
        let survivors = match self.survivors(number) {
            Ok(survivors) => survivors,
            Err(Unread::Disk(error)) if error.kind() != ErrorKind::UnexpectedEof => {
                // Not tried again and again for the sake of order.
                self.ageing.ordered.insert(number);
                return Err(error);
            }
            Err(_) => {
                self.rebuild(number, "its index is damaged");
                return Ok(true);
            }
        };
        // They may be many: what is done with them is a step of its own.
        self.ageing.gathered = Some((number, survivors));
        Ok(true)
    }

    /// Looks whether these survivors are to be copied, and how.
    fn go_on_to_age(&mut self, number: u64, mut survivors: Vec<Survivor>) -> Result<bool> {
        // Two runs of a queue may meet in one slot.
        survivors.sort_unstable_by_key(|(queue, slot)| (slot.at, *queue));
        survivors.dedup();
        let bytes = self.count_bytes(&survivors);
        let is_forced = self.ageing.forced.remove(&number);
        let Some(segment) = self.state.segments.find_mut(number) else { return Ok(true) };
        (segment.live_bytes, segment.counted_at) = (bytes, segment.live);
        let worth = self.state.segments.find(number).is_some_and(|segment| self.is_worth(segment, bytes));
        let (order, is_mixed) = ordering::order(&survivors);
        let (from, to) = extent(&survivors);
        let is_mixed = is_mixed && to - from <= 2 * self.settings.segment_bytes;
        if !is_mixed {
            self.ageing.ordered.insert(number);
        }
        if is_forced || worth || is_mixed {
            let (window, whole_to) = (Vec::new(), is_mixed.then_some(to));
            self.ageing.source = Some(Source { number, survivors, order, next: 0, window, window_at: from, whole_to });
        }
        Ok(true)
    }

    /// The slots of a segment in which something lives.
    fn survivors(&mut self, number: u64) -> std::result::Result<Vec<Survivor>, Unread> {
        let Some(segment) = self.state.segments.find(number) else { return Ok(Vec::new()) };
        let mut queues = match segment.index {
            Some(_) => index::queues(&mut self.files, segment)?,
            None => segment.lists.iter().map(|list| list.queue).collect(),
        };
        queues.sort_unstable();
        queues.dedup();
        let mut survivors = Vec::new();
        for queue in queues {
            let Some(row) = self.state.rows.get(&queue) else { continue };
            for run in row.runs.iter().filter(|run| run.segment == number && run.alive > 0) {
                let each = |slot: Slot| {
                    if row.alive(slot.first.max(run.first), slot.last().min(run.last())) > 0 {
                        survivors.push((queue, slot));
                    }
                    true
                };
                super::fetch::run_slots(&mut self.files, &mut self.pages, segment, run, run.first.max(row.head), each)?;
            }
        }
        Ok(survivors)
    }

    /// Bytes that live in these slots: each body once.
    fn count_bytes(&self, survivors: &[Survivor]) -> u64 {
        let same_body = survivors.chunk_by(|(_, one), (_, other)| one.at == other.at);
        let bytes = same_body.map(|body| {
            let alive = |(queue, slot): &Survivor| {
                self.state.rows.get(queue).map_or(0, |row| row.alive(slot.first, slot.last()))
            };
            let slot = body.first().map(|(_, slot)| *slot).unwrap_or_default();
            let most = body.iter().map(alive).max().unwrap_or(0);
            record_bytes(u64::from(slot.bytes) * most / u64::from(slot.count.max(1)), body.len())
        });
        bytes.sum()
    }

    /// Copies about 1 MiB. The copies are applied when they come out of the journal.
    fn copy_some(&mut self, mut source: Source) -> Result<bool> {
        if let Some(to) = source.whole_to
            && source.window_at + (source.window.len() as u64) < to
        {
            self.load_more(&mut source, to)?;
            self.ageing.source = Some(source);
            return Ok(true);
        }
        let mut records = Records::default();
        let mut read = 0;
        while records.len() < STEP_BYTES && read < STEP_BYTES {
            let Some(begun) = source.order.get(source.next).map(|begun| *begun as usize) else { break };
            let Some((_, slot)) = source.survivors.get(begun).copied() else { break };
            source.next += 1;
            read += self.load(&mut source, &slot)?;
            self.copy_body(&source, begun, &mut records);
        }
        let done = source.next >= source.order.len();
        if !done {
            self.ageing.source = Some(source);
        }
        if !records.is_empty() {
            let bytes = records.take(Vec::new());
            self.ageing.in_flight = Some(self.submit(bytes, false));
        }
        Ok(true)
    }

    /// Makes the bytes of a slot be in the window; returns how many were read.
    fn load(&mut self, source: &mut Source, slot: &Slot) -> Result<usize> {
        let (at, bytes) = (u64::from(slot.at), slot.bytes as usize);
        if at >= source.window_at && at + bytes as u64 <= source.window_at + source.window.len() as u64 {
            return Ok(0);
        }
        let Some(segment) = self.state.segments.find(source.number) else { return Ok(0) };
        let rest = segment.end.saturating_sub(at) as usize;
        source.window.resize(bytes.max((STEP_BYTES / 4).min(rest)), 0);
        source.window_at = at;
        if self.files.read(segment.slot, at, &mut source.window).is_err() {
            // One bad sector should not cost its neighbours.
            source.window.truncate(bytes);
            if let Err(error) = self.files.read(segment.slot, at, &mut source.window) {
                source.window.clear();
                return Err(error);
            }
        }
        Ok(source.window.len())
    }

    /// Reads about 1 MiB more into the window, which is to reach up to here.
    fn load_more(&mut self, source: &mut Source, to: u64) -> Result<()> {
        let Some(segment) = self.state.segments.find(source.number) else { return Ok(()) };
        let begun = source.window.len();
        let at = source.window_at + begun as u64;
        let more = (to - at).min(STEP_BYTES as u64) as usize;
        source.window.reserve_exact((to - source.window_at) as usize - begun);
        source.window.resize(begun + more, 0);
        let part = source.window.get_mut(begun..).unwrap_or_default();
        // Not tried again and again: it is served as it lies.
        self.files.read(segment.slot, at, part).inspect_err(|_| {
            self.ageing.ordered.insert(source.number);
        })
    }

    /// Writes the living messages of one slot, for all queues in which they live. Those that are damaged are given up.
    fn copy_body(&mut self, source: &Source, begun: usize, records: &mut Records) {
        let Some((_, slot)) = source.survivors.get(begun) else { return };
        let at = u64::from(slot.at).saturating_sub(source.window_at) as usize;
        let bytes = source.window.get(at..at + slot.bytes as usize).unwrap_or(&[]);
        let same = || source.survivors.iter().skip(begun).take_while(|(_, other)| other.at == slot.at);
        let mut places: Vec<(QueueId, Position)> = Vec::new();
        let mut mended = Vec::new();
        let mut sound = sound_messages(slot, bytes, &mut mended).peekable();
        let (mut lost, mut lost_count) = (Records::default(), 0);
        for number in 0..slot.count {
            let message = sound.next_if(|(at, ..)| *at == number).map(|(.., message)| message);
            places.clear();
            let place = |(queue, slot): &Survivor| (*queue, slot.first + u64::from(number));
            let lives = |(queue, position): &(QueueId, Position)| self.state.lies_in(*queue, *position, source.number);
            places.extend(same().map(place).filter(lives));
            let Some(message) = message else {
                lost_count += places.len() as u64;
                places.iter().for_each(|(queue, position)| lost.settled(*queue, *position, *position));
                continue;
            };
            let is_transient = |(queue, position): &(QueueId, Position)| {
                self.state.rows.get(queue).is_some_and(|row| row.transient.contains(*position))
            };
            let flags = if places.iter().all(is_transient) { COPY | TRANSIENT } else { COPY };
            match places.first() {
                None => continue,
                Some((queue, position)) if places.len() == 1 => {
                    records.message(*queue, *position, flags, message.len(), |to| to.copy_from_slice(message));
                }
                Some(_) => {
                    records.messages(&places, flags, 1);
                    records.push_message(message.len(), |to| to.copy_from_slice(message));
                }
            }
            self.ageing.copied += 1;
        }
        if lost_count > 0 {
            let file = self.state.segments.find(source.number).map(|segment| segment.slot.name()).unwrap_or_default();
            let lost_messages = Lost { messages: lost_count, ..Lost::NOTHING };
            self.report.damage(file, u64::from(slot.at), "messages are damaged", lost_messages);
            self.give_up(lost.take(Vec::new()), lost_count);
        }
    }
}

/// From where to where these lie in the file.
fn extent(survivors: &[Survivor]) -> (u64, u64) {
    let from = survivors.first().map_or(0, |(_, slot)| slot.at.into());
    let to = survivors.last().map_or(0, |(_, slot)| u64::from(slot.at) + u64::from(slot.bytes));
    (from, to)
}
