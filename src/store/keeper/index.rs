//! The index of a sealed segment: where its messages lie that were alive when it was written.
//!
//! It lies behind the last batch, from the next multiple of 4096 on. All numbers are little-endian.
//!
//! ```text
//! a page, 4096 bytes
//!    0  u32  CRC-32C of the page's number in the index (u64) and of bytes 4 to 4095
//!    4  u16  kind: 1 the first, 2 slots, 3 runs
//!    6  u16  bytes of the content that are used
//!    8  u64  number of the segment
//!   16       content, zeros to the end
//!
//! the first page, one
//!    0  8 bytes  "LVINDEX1"
//!    8  u64      index of the last batch that had been applied when this was written
//!   16  u64      slots
//!   24  u64      runs
//!   32  u64      0
//! slots: 170 to a page, by queue and position
//!    0  u64  position of the first message
//!    8  u32  where it begins in the file
//!   12  u32  bytes
//!   16  u32  check
//!   20  u16  messages
//!   22  u16  in how many queues they are
//! runs: 127 to a page, by queue and position
//!    0  u64  queue
//!    8  u64  first slot
//!   16  u64  slots
//!   24  u64  0
//! ```

use super::bytes::{Bytes, push_u64s};
use super::files::{Files, Pages};
use super::runs::{IndexPlace, Run, Segment, Slot};
use super::state::State;
use crate::store::QueueId;
use crate::store::disk::Disk;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
const PAGE_HEAD_BYTES: usize = 16;
const CONTENT_BYTES: usize = PAGE_BYTES - PAGE_HEAD_BYTES;
const SLOT_BYTES: usize = 24;
const RUN_BYTES: usize = 32;
/// Slots in a page.
pub const PAGE_SLOTS: usize = CONTENT_BYTES / SLOT_BYTES;
const PAGE_RUNS: usize = CONTENT_BYTES / RUN_BYTES;

const FIRST: u16 = 1;
const SLOTS: u16 = 2;
const RUNS: u16 = 3;
const MAGIC: &[u8; 8] = b"LVINDEX1";

/// Why an index, or a part of it, was not read.
#[derive(Debug)]
pub enum Unread {
    /// The disk did not give it.
    Disk(std::io::Error),
    /// It is not what was written.
    Bad,
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Unread {
        Unread::Disk(error)
    }
}

fn checksum(page: &[u8], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), page.get(4..).unwrap_or(&[]))
}

/// An index in the making: whole pages.
struct Pager {
    bytes: Vec<u8>,
    segment: u64,
}

impl Pager {
    fn page(&mut self, kind: u16, content: &[u8]) {
        let (number, begun) = ((self.bytes.len() / PAGE_BYTES) as u64, self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&(content.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&self.segment.to_le_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(begun + PAGE_BYTES, 0);
        if let Some(page) = self.bytes.get_mut(begun..) {
            let crc = checksum(page, number);
            page.iter_mut().zip(crc.to_le_bytes()).for_each(|(to, byte)| *to = byte);
        }
    }
}

/// Checks a page; returns its content.
fn open_page(page: &[u8], number: u64, kind: u16, segment: u64) -> Option<&[u8]> {
    let mut head = Bytes(page);
    let (crc, is_kind, used, of) = (head.u32()?, head.u16()?, head.u16()?, head.u64()?);
    let sound = crc == checksum(page, number) && is_kind == kind && of == segment;
    head.0.get(..usize::from(used)).filter(|_| sound)
}

fn push_slot(to: &mut Vec<u8>, slot: &Slot) {
    to.extend_from_slice(&slot.first.to_le_bytes());
    [slot.at, slot.bytes, slot.check].iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
    [slot.count, slot.places].iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
}

fn read_slot(from: &mut Bytes<'_>) -> Option<Slot> {
    Some(Slot {
        first: from.u64()?,
        at: from.u32()?,
        bytes: from.u32()?,
        check: from.u32()?,
        count: from.u16()?,
        places: from.u16()?,
    })
}

/// Appends slots as bytes, as they are in an index.
pub fn save_slots(slots: &[Slot], to: &mut Vec<u8>) {
    slots.iter().for_each(|slot| push_slot(to, slot));
}

/// Reads so many slots.
pub fn load_slots(count: usize, from: &mut Bytes<'_>) -> Option<Vec<Slot>> {
    let mut bytes = Bytes(from.take(count.checked_mul(SLOT_BYTES)?)?);
    (0..count).map(|_| read_slot(&mut bytes)).collect()
}

/// An index that is to be written.
#[derive(Debug)]
pub struct Built {
    /// Of which segment.
    pub segment: u64,
    /// Where it goes.
    pub place: IndexPlace,
    /// Its pages.
    pub bytes: Vec<u8>,
    /// For each list of the segment its first slot and how many it has.
    pub lists: Vec<(u32, u32)>,
}

/// Makes the index of a segment whose slots are in memory.
pub fn build(state: &State, segment: &Segment) -> Built {
    let mut order: Vec<usize> = (0..segment.lists.len()).collect();
    order.sort_by_key(|list| {
        segment.lists.get(*list).map(|list| (list.queue, list.slots.first().map(|slot| slot.first)))
    });
    let mut lists = vec![(0, 0); segment.lists.len()];
    let (mut slots, mut runs): (Vec<Slot>, Vec<u8>) = (Vec::new(), Vec::new());
    for number in order {
        let (Some(list), Some(place)) = (segment.lists.get(number), lists.get_mut(number)) else { continue };
        let Some(row) = state.rows.get(&list.queue) else { continue };
        let begun = slots.len();
        let from = list.slots.first().map_or(0, |slot| row.run_from(slot.first));
        let is_ours = |run: &&Run| run.segment == segment.number && run.slots == number as u32 && run.alive > 0;
        let last = list.slots.last().map_or(0, Slot::last);
        let ours: Vec<&Run> = row.runs.iter().skip(from).take_while(|run| run.first <= last).filter(is_ours).collect();
        // A slot in which nothing lives, or whose messages lie elsewhere by now, is not needed any more.
        let wanted = |slot: &&Slot| {
            let at = ours.partition_point(|run| run.last() < slot.first);
            ours.get(at).is_some_and(|run| run.first <= slot.last()) && row.alive(slot.first, slot.last()) > 0
        };
        slots.extend(list.slots.iter().filter(wanted));
        *place = (begun as u32, (slots.len() - begun) as u32);
        if slots.len() > begun {
            push_u64s(&mut runs, &[list.queue.0, begun as u64, (slots.len() - begun) as u64, 0]);
        }
    }
    let mut pager = Pager { bytes: Vec::new(), segment: segment.number };
    let mut first = MAGIC.to_vec();
    push_u64s(&mut first, &[state.index, slots.len() as u64, (runs.len() / RUN_BYTES) as u64, 0]);
    pager.page(FIRST, &first);
    let mut content = Vec::with_capacity(CONTENT_BYTES);
    for slots in slots.chunks(PAGE_SLOTS) {
        content.clear();
        save_slots(slots, &mut content);
        pager.page(SLOTS, &content);
    }
    runs.chunks(PAGE_RUNS * RUN_BYTES).for_each(|content| pager.page(RUNS, content));
    let place =
        IndexPlace { at: segment.file_end().next_multiple_of(PAGE_BYTES as u64), bytes: pager.bytes.len() as u64 };
    Built { segment: segment.number, place, bytes: pager.bytes, lists }
}

/// The slots from `number` on that are in the same page.
pub fn slots_from<'a, D: Disk>(
    files: &mut Files<D>,
    pages: &'a mut Pages,
    segment: &Segment,
    number: u32,
) -> Result<&'a [Slot], Unread> {
    let page = 1 + u64::from(number) / PAGE_SLOTS as u64;
    if pages.find(segment.number, page).is_none() {
        let place = segment.index.ok_or(Unread::Bad)?;
        let mut bytes = [0; PAGE_BYTES];
        files.read(segment.slot, place.at + page * PAGE_BYTES as u64, &mut bytes)?;
        let content = open_page(&bytes, page, SLOTS, segment.number).ok_or(Unread::Bad)?;
        let slots = load_slots(content.len() / SLOT_BYTES, &mut Bytes(content)).ok_or(Unread::Bad)?;
        pages.keep(segment.number, page, slots);
    }
    let slots = pages.find(segment.number, page).ok_or(Unread::Bad)?;
    slots.get(number as usize % PAGE_SLOTS..).filter(|slots| !slots.is_empty()).ok_or(Unread::Bad)
}

/// The first page of an index: how many slots and runs it has.
fn first_page<D: Disk>(files: &mut Files<D>, segment: &Segment, at: u64) -> Result<[u64; 2], Unread> {
    let mut page = [0; PAGE_BYTES];
    files.read(segment.slot, at, &mut page)?;
    let content = open_page(&page, 0, FIRST, segment.number).and_then(|content| content.strip_prefix(MAGIC));
    let mut numbers = Bytes(content.ok_or(Unread::Bad)?);
    let mut number = || numbers.u64().ok_or(Unread::Bad);
    number()?;
    Ok([number()?, number()?])
}

/// How many slots and runs were in an index when it was written.
pub fn counts<D: Disk>(files: &mut Files<D>, segment: &Segment) -> Result<[u64; 2], Unread> {
    first_page(files, segment, segment.index.ok_or(Unread::Bad)?.at)
}

/// Reads all of an index. Returns how many slots and runs are in it.
pub fn check<D: Disk>(files: &mut Files<D>, segment: &Segment) -> Result<(u64, u64), Unread> {
    let place = segment.index.ok_or(Unread::Bad)?;
    let [slots, runs] = first_page(files, segment, place.at)?;
    let parts = [(SLOTS, slots.div_ceil(PAGE_SLOTS as u64)), (RUNS, runs.div_ceil(PAGE_RUNS as u64))];
    let mut number = 1;
    for (kind, pages) in parts {
        for _ in 0..pages {
            let mut page = [0; PAGE_BYTES];
            files.read(segment.slot, place.at + number * PAGE_BYTES as u64, &mut page)?;
            open_page(&page, number, kind, segment.number).ok_or(Unread::Bad)?;
            number += 1;
        }
    }
    if number * PAGE_BYTES as u64 == place.bytes { Ok((slots, runs)) } else { Err(Unread::Bad) }
}

/// The queues in an index, each once.
pub fn queues<D: Disk>(files: &mut Files<D>, segment: &Segment) -> Result<Vec<QueueId>, Unread> {
    let place = segment.index.ok_or(Unread::Bad)?;
    let [slots, runs] = first_page(files, segment, place.at)?;
    let first = 1 + slots.div_ceil(PAGE_SLOTS as u64);
    let mut queues = Vec::new();
    for page_number in first..first + runs.div_ceil(PAGE_RUNS as u64) {
        let mut page = [0; PAGE_BYTES];
        files.read(segment.slot, place.at + page_number * PAGE_BYTES as u64, &mut page)?;
        let content = open_page(&page, page_number, RUNS, segment.number).ok_or(Unread::Bad)?;
        queues.extend(content.as_chunks::<RUN_BYTES>().0.iter().filter_map(|run| Bytes(run).u64()).map(QueueId));
    }
    queues.dedup();
    Ok(queues)
}
