//! Checkpoints: the whole state after one batch, in one of two files that take turns.
//!
//! All numbers are little-endian.
//!
//! ```text
//! the header, 4096 bytes, written and synced when everything else is
//!    0  8 bytes  "LVCHECKP"
//!    8  u32      format version
//!   12  u32      CRC-32C of bytes 0 to 11 and 16 to 4095
//!   16  16 bytes the lane
//!   32  u64      generation: one more than that of the checkpoint before
//!   40  u64      index of the last batch that is in it
//!   48  u64      bytes of the state
//!   56           zeros
//! chunks up to that many bytes, each
//!    0  u32      bytes of the state in it, at most 1 MiB - 8
//!    4  u32      CRC-32C of the generation, the number of the chunk (u64 each) and the bytes
//!    8           the bytes
//!
//! the state
//!   u64 term | u64 index | u64 time in ms | u64 1 if it was stopped in order
//!   u64 n, n x { u64 id | u32 len | bytes }                                 definitions
//!   u64 n, n x { u64 source | u64 destination | u32 len | bytes }           bindings
//!   u64 n, n x { u64 number | u32 file | u32 1 sealed + 2 defines | u64 last index | u64 end |
//!                u64 index: place | bytes | end of the last one | u64 1 + the batch since which it is dead |
//!                u32 lists | 0,
//!                lists x { u64 queue | u32 slots | 0 | slots as in an index } }   segments
//!   u64 n, n x { u64 id | u64 head | u64 end | u64 flagged below | settled | returned | transient |
//!                u32 runs | u32 c | runs x { u64 segment | u64 first | u32 span | alive | mean | slots | count | 0 } |
//!                c x { u64 position | u32 handed out | u32 failed } }                rows
//!   u64 n, n x { u64 transaction | u64 r | u64 c | r x { u64 queue | u64 first | u64 last } |
//!                c x { u64 id | u64 how many are kept | note } }             transactions not committed yet
//!   u64 n, n x { u64 id | u64 c | c x note }                                  what was seen, the oldest first
//!   u64 n, n x { u64 queue | u64 position | 16 bytes name }                   names of messages; nothing, not even n,
//!                                                                             in what was written before names were
//!   A note is 16 bytes | u64 until when in ms, 0 for ever.
//!   A set of positions is u32 r | u32 c | r x { u64 first | u64 last } | c x { u64 number | 64 x u64 bits }.
//! ```

use super::bytes::{Bytes, push_u64s};
use super::handed::Handed;
use super::index::{load_slots, save_slots};
use super::names::Names;
use super::parts::Parts;
use super::positions::Positions;
use super::runs::{IndexPlace, List, Run, Segment};
use super::seen::Seen;
use super::state::State;
use crate::store::disk::{Disk, DiskFile, Open};
use crate::store::segment::{FileSlot, LaneId};
use crate::store::{QueueId, u32_at};

/// The files.
pub const NAMES: [&str; 2] = ["checkpoint-a", "checkpoint-b"];
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4096;
/// The version of the format.
pub const VERSION: u32 = 1;
const CHUNK_HEAD_BYTES: usize = 8;
/// Bytes of the state in a chunk.
pub const CHUNK_BYTES: usize = (1 << 20) - CHUNK_HEAD_BYTES;
const MAGIC: &[u8; 8] = b"LVCHECKP";

/// The header of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The lane.
    pub lane: LaneId,
    /// One more than that of the checkpoint before.
    pub generation: u64,
    /// The last batch that is in it.
    pub index: u64,
    /// Bytes of the state.
    pub len: u64,
}

/// Why there is no checkpoint.
#[derive(Debug)]
pub enum NoCheckpoint {
    /// There is no such file, or it is empty.
    Absent,
    /// It is damaged, or was not finished.
    Bad,
    /// Of a later version.
    Later(u32),
    /// The disk does not give it.
    Disk(std::io::Error),
}

fn header_checksum(header: &[u8]) -> u32 {
    let part = |from, to| header.get(from..to).unwrap_or(&[]);
    crc32c::crc32c_append(crc32c::crc32c(part(0, 12)), part(16, HEADER_BYTES))
}

fn chunk_checksum(generation: u64, number: u64, bytes: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&generation.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &number.to_le_bytes()), bytes)
}

impl Header {
    /// As it is in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.lane);
        push_u64s(&mut bytes, &[self.generation, self.index, self.len]);
        bytes.resize(HEADER_BYTES, 0);
        let crc = header_checksum(&bytes).to_le_bytes();
        bytes.iter_mut().skip(12).zip(crc).for_each(|(to, byte)| *to = byte);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Header, NoCheckpoint> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) || u32_at(bytes, 12) != Some(header_checksum(bytes))
        {
            return Err(NoCheckpoint::Bad);
        }
        match u32_at(bytes, 8) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(NoCheckpoint::Later(version)),
            _ => return Err(NoCheckpoint::Bad),
        }
        let mut lane = LaneId::default();
        bytes.iter().skip(16).zip(&mut lane).for_each(|(byte, to)| *to = *byte);
        let mut rest = Bytes(bytes.get(32..).unwrap_or(&[]));
        let mut number = || rest.u64().ok_or(NoCheckpoint::Bad);
        Ok(Header { lane, generation: number()?, index: number()?, len: number()? })
    }
}

/// One chunk of a state, as it is in the file.
pub fn chunk(generation: u64, number: usize, state: &[u8]) -> Option<Vec<u8>> {
    let bytes = state.chunks(CHUNK_BYTES).nth(number)?;
    let mut chunk = Vec::with_capacity(CHUNK_HEAD_BYTES + bytes.len());
    chunk.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    chunk.extend_from_slice(&chunk_checksum(generation, number as u64, bytes).to_le_bytes());
    chunk.extend_from_slice(bytes);
    Some(chunk)
}

/// Where a chunk goes in the file.
pub fn chunk_at(number: usize) -> u64 {
    (HEADER_BYTES + number * (CHUNK_BYTES + CHUNK_HEAD_BYTES)) as u64
}

/// Makes a checkpoint durable that was read and found good: who wrote it may not have come to the last sync. All but
/// the header was synced before that was written.
///
/// # Errors
///
/// What the disk says.
pub fn make_durable<D: Disk>(disk: &D, name: &str, header: &Header) -> std::io::Result<()> {
    let file = disk.open(name, Open::Write)?;
    file.write_at(0, &[&header.encode()])?;
    file.sync()
}

/// Reads a checkpoint and checks all of it. Returns its header and its state as bytes.
pub fn read<D: Disk>(disk: &D, name: &str) -> Result<(Header, Vec<u8>), NoCheckpoint> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => NoCheckpoint::Absent,
        _ => NoCheckpoint::Disk(error),
    };
    let file = disk.open(name, Open::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len == 0 {
        return Err(NoCheckpoint::Absent);
    }
    let mut bytes = vec![0; HEADER_BYTES];
    if file.read_at(0, &mut bytes).map_err(failed)? < HEADER_BYTES {
        return Err(NoCheckpoint::Bad);
    }
    let header = Header::decode(&bytes)?;
    if header.len > len {
        return Err(NoCheckpoint::Bad);
    }
    let mut state = Vec::with_capacity(header.len as usize);
    let mut number = 0;
    while (state.len() as u64) < header.len {
        let wanted = CHUNK_BYTES.min(header.len as usize - state.len());
        bytes.resize(CHUNK_HEAD_BYTES + wanted, 0);
        if file.read_at(chunk_at(number), &mut bytes).map_err(failed)? < bytes.len() {
            return Err(NoCheckpoint::Bad);
        }
        let mut head = Bytes(&bytes);
        let (len, crc) = (head.u32(), head.u32());
        if len != Some(wanted as u32) || crc != Some(chunk_checksum(header.generation, number as u64, head.0)) {
            return Err(NoCheckpoint::Bad);
        }
        state.extend_from_slice(head.0);
        number += 1;
    }
    Ok((header, state))
}

fn push_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn take_bytes(from: &mut Bytes<'_>) -> Option<Box<[u8]>> {
    let len = from.u32()? as usize;
    from.take(len).map(Box::from)
}

fn push_u32s(to: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
}

impl State {
    /// As it is in a checkpoint.
    pub fn save(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(4096 + 128 * self.rows.len() + 64 * self.definitions.len());
        push_u64s(&mut to, &[self.term, self.index, self.time_ms, self.clean.into()]);
        push_u64s(&mut to, &[self.definitions.len() as u64]);
        for (id, bytes) in &self.definitions {
            push_u64s(&mut to, &[id.0]);
            push_bytes(&mut to, bytes);
        }
        push_u64s(&mut to, &[self.bindings.len() as u64]);
        for (source, destination, bytes) in &self.bindings {
            push_u64s(&mut to, &[source.0, destination.0]);
            push_bytes(&mut to, bytes);
        }
        push_u64s(&mut to, &[self.segments.all.len() as u64]);
        self.segments.all.iter().for_each(|segment| self.save_segment(segment, &mut to));
        let mut ids: Vec<QueueId> = self.rows.keys().copied().collect();
        ids.sort_unstable();
        push_u64s(&mut to, &[ids.len() as u64]);
        for id in ids {
            let Some(row) = self.rows.get(&id) else { continue };
            push_u64s(&mut to, &[id.0, row.head, row.end, row.flagged_below]);
            [&row.settled, &row.returned, &row.transient].iter().for_each(|positions| positions.save(&mut to));
            let alive = || row.runs.iter().filter(|run| run.alive > 0);
            push_u32s(&mut to, &[alive().count() as u32, row.handed.len() as u32]);
            for run in alive() {
                push_u64s(&mut to, &[run.segment, run.first]);
                push_u32s(&mut to, &[run.span, run.alive, run.mean, run.slots, run.count, 0]);
            }
            row.handed.save(&mut to);
        }
        self.parts.save(&mut to);
        self.seen.save(&mut to);
        self.names.save(&self.rows, &mut to);
        to
    }

    fn save_segment(&self, segment: &Segment, to: &mut Vec<u8>) {
        push_u64s(to, &[segment.number]);
        push_u32s(to, &[segment.slot.0, u32::from(segment.sealed) | u32::from(segment.defines) << 1]);
        let index = segment.index.unwrap_or_default();
        let dead = segment.dead_since.map_or(0, |index| index + 1);
        push_u64s(to, &[segment.last_index, segment.end, index.at, index.bytes, segment.index_floor, dead]);
        push_u32s(to, &[segment.lists.len() as u32, 0]);
        for (number, list) in segment.lists.iter().enumerate() {
            let row = self.rows.get(&list.queue);
            let is_ours = |run: &&Run| run.segment == segment.number && run.slots == number as u32 && run.alive > 0;
            // From the first run of the list on; what lies before it is settled.
            let first = row.zip(list.slots.first()).and_then(|(row, slot)| {
                let mut runs = row.runs.iter().skip(row.run_from(slot.first));
                runs.find(is_ours).map(|run| run.first.max(row.head))
            });
            let begun = first.map_or(list.slots.len(), |first| list.slots.partition_point(|slot| slot.last() < first));
            let slots = list.slots.get(begun..).unwrap_or(&[]);
            push_u64s(to, &[list.queue.0]);
            push_u32s(to, &[slots.len() as u32, 0]);
            save_slots(slots, to);
        }
    }

    /// Reads what [`save`](State::save) wrote.
    pub fn load(lane: LaneId, bytes: &[u8]) -> Option<State> {
        let mut state = State::new(lane);
        let mut from = Bytes(bytes);
        let from = &mut from;
        (state.term, state.index, state.time_ms, state.clean) =
            (from.u64()?, from.u64()?, from.u64()?, from.u64()? == 1);
        for _ in 0..from.u64()? {
            state.definitions.insert(QueueId(from.u64()?), take_bytes(from)?);
        }
        for _ in 0..from.u64()? {
            state.bind((QueueId(from.u64()?), QueueId(from.u64()?), take_bytes(from)?));
        }
        for _ in 0..from.u64()? {
            state.segments.all.push_back(load_segment(from)?);
        }
        let rows = from.u64()?;
        state.rows.reserve((rows as usize).min(from.0.len() / 64));
        for _ in 0..rows {
            let id = QueueId(from.u64()?);
            let (row, segments) = state.row_and_segments(id);
            (row.head, row.end, row.flagged_below) = (from.u64()?, from.u64()?, from.u64()?);
            row.settled = Positions::load(from)?;
            row.returned = Positions::load(from)?;
            row.transient = Positions::load(from)?;
            let (runs, counts) = (from.u32()?, from.u32()?);
            row.runs.reserve_exact((runs as usize).min(from.0.len() / 40));
            for _ in 0..runs {
                let run = Run {
                    segment: from.u64()?,
                    first: from.u64()?,
                    span: from.u32()?,
                    alive: from.u32()?,
                    mean: from.u32()?,
                    slots: from.u32()?,
                    count: from.u32()?,
                };
                from.u32()?;
                row.live += u64::from(run.alive);
                if let Some(segment) = segments.find_mut(run.segment) {
                    segment.live += u64::from(run.alive);
                    segment.live_bytes += u64::from(run.alive) * u64::from(run.mean);
                }
                row.runs.push(run);
            }
            row.handed = Handed::load(counts, from)?;
        }
        state.parts = Parts::load(from)?;
        state.seen = Seen::load(from)?;
        state.names = Names::load(from)?;
        from.0.is_empty().then_some(state)
    }
}

fn load_segment(from: &mut Bytes<'_>) -> Option<Segment> {
    let mut segment = Segment::new(from.u64()?, FileSlot(from.u32()?));
    let flags = from.u32()?;
    (segment.sealed, segment.defines) = (flags & 1 != 0, flags & 2 != 0);
    (segment.last_index, segment.end) = (from.u64()?, from.u64()?);
    let index = IndexPlace { at: from.u64()?, bytes: from.u64()? };
    segment.index = (index.bytes > 0).then_some(index);
    segment.index_floor = from.u64()?;
    segment.dead_since = from.u64()?.checked_sub(1);
    let (lists, _) = (from.u32()?, from.u32()?);
    for _ in 0..lists {
        let queue = QueueId(from.u64()?);
        let (count, _) = (from.u32()?, from.u32()?);
        segment.lists.push(List { queue, slots: load_slots(count as usize, from)? });
    }
    Some(segment)
}
