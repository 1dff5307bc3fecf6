//! Finding what is sound in damaged records.
//!
//! Everything stays at its place, for the places of messages in files do not change. A record that cannot be read is
//! replaced by one of the same length that says nothing; a message whose bytes are damaged stays where it is, and is
//! not sound.

use super::read::head_end;
use super::{COUNT_AT, HEAD_BYTES, MESSAGE_BYTES, MESSAGES, SETTLED, message_checksum, read};
use crate::store::report::Lost;
use crate::store::u32_at;

/// Bytes that may be summed up in searches through one batch: many places look as if something could begin there.
const SEARCH_BYTES: usize = 256 << 20;
/// The same for messages alone: there may be many places with a few of them.
const SEARCH_MESSAGES_BYTES: usize = 1 << 20;
/// A head of so many bytes or fewer is tried with each of its bits the other way round. In longer ones, too many other
/// damages would look like that.
const CORRECTED_MAX: usize = 1 << 10;

/// What is at the end of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end of the last one.
    Exact,
    /// Perhaps some zeros, fewer than this.
    Padded(usize),
}

/// Makes `payload`, a sequence of records that is damaged, readable from end to end, and says what is lost. Padding is
/// cut off.
pub fn salvage(payload: &mut Vec<u8>, end: End) -> Lost {
    let mut search = Search { left: SEARCH_BYTES };
    let (mut at, mut lost) = (0, Lost::NOTHING);
    while let Some(rest) = payload.get(at..).filter(|rest| !rest.is_empty()) {
        let only_zeros = rest.iter().all(|byte| *byte == 0);
        let is_padding = only_zeros && matches!(end, End::Padded(max) if rest.len() < max);
        if is_padding || only_zeros || rest.len() < HEAD_BYTES {
            lost.records += u64::from(!is_padding);
            payload.truncate(at);
            break;
        }
        match search.mend_record(payload, at, &mut lost) {
            Some(len) => at += len,
            None => {
                lost.records += 1;
                let next = search.next_record(payload, at).unwrap_or(payload.len());
                fill(payload, at, next);
                at = next;
            }
        }
    }
    lost
}

/// Makes `count` messages that fill `bytes` readable, as far as they are. Returns how many are damaged.
pub fn mend_messages(bytes: &mut [u8], count: usize) -> u64 {
    let end = bytes.len();
    match walk(bytes, 0, count) {
        Some(found) if found == end => 0,
        _ => Search { left: SEARCH_MESSAGES_BYTES }.mend_messages(bytes, 0, count, Some(end)).1,
    }
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Writes a record that says nothing from `at` to `end`.
fn fill(payload: &mut [u8], at: usize, end: usize) {
    let Some(record) = payload.get_mut(at..end) else {
        return;
    };
    record.fill(0);
    if let Some(kind) = record.get_mut(8) {
        *kind = SETTLED;
    }
    put(record, 0, (end - at) as u32);
    let crc = crc32c::crc32c(record.get(8..).unwrap_or(&[]));
    put(record, 4, crc);
}

/// Whether the checksum of a message is that of its bytes.
fn is_sound(bytes: &[u8], at: usize, len: usize) -> bool {
    let content = bytes.get(at.saturating_add(MESSAGE_BYTES)..).and_then(|rest| rest.get(..len));
    content.is_some_and(|content| u32_at(bytes, at) == Some(message_checksum(content)))
}

/// Whether a record can end at `end`: nothing follows, or another one.
fn can_end(bytes: &[u8], end: usize) -> bool {
    let next = bytes.get(end..);
    next.is_some_and(|next| next.iter().take(64).all(|byte| *byte == 0) || read(next).is_ok())
}

/// Where `count` messages from `at` on end, if each is sound.
fn walk(bytes: &[u8], mut at: usize, count: usize) -> Option<usize> {
    for _ in 0..count {
        let len = u32_at(bytes, at + 4)? as usize;
        if !is_sound(bytes, at, len) {
            return None;
        }
        at += MESSAGE_BYTES + len;
    }
    Some(at)
}

struct Search {
    left: usize,
}

impl Search {
    /// Takes from what may be spent; `None` when it is used up.
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }

    /// Makes the record at `at` readable, if its head is sound or can be made so. Returns its length.
    fn mend_record(&mut self, payload: &mut [u8], at: usize, lost: &mut Lost) -> Option<usize> {
        if let Some(len) = self.sound_head(payload.get(at..)?, usize::MAX) {
            return Some(self.mend_length(payload, at, len, lost));
        }
        // One bit of the head, perhaps.
        for bit in 0..8 * CORRECTED_MAX.min(payload.len() - at) {
            let (place, mask) = (at + bit / 8, 1 << (bit % 8));
            *payload.get_mut(place)? ^= mask;
            // The length is not a matter of the head's length.
            let longest = if bit < 32 { usize::MAX } else { CORRECTED_MAX };
            if let Some(len) = self.sound_head(payload.get(at..)?, longest) {
                return Some(self.mend_length(payload, at, len, lost));
            }
            *payload.get_mut(place)? ^= mask;
        }
        None
    }

    /// The length that a record has by its head, if the head is sound and no longer than `longest`. That of MESSAGES
    /// does not vouch for the record's length.
    fn sound_head(&mut self, record: &[u8], longest: usize) -> Option<usize> {
        let len = u32_at(record, 0)? as usize;
        let end = head_end(record, len).filter(|end| *end <= longest.min(record.len()))?;
        self.spend(end)?;
        if *record.get(8)? == MESSAGES {
            return (crc32c::crc32c(record.get(8..end)?) == u32_at(record, 4)?).then_some(len.max(end));
        }
        read(record).ok().map(|(_, len)| len)
    }

    /// Makes the messages of a record with a sound head readable, as far as they are. Returns its length.
    fn mend_length(&mut self, payload: &mut [u8], at: usize, len: usize, lost: &mut Lost) -> usize {
        if payload.get(at + 8) != Some(&MESSAGES) {
            return len;
        }
        let rest = payload.get_mut(at..).unwrap_or_default();
        let first = head_end(rest, rest.len()).unwrap_or(rest.len());
        let count = u32_at(rest, COUNT_AT).unwrap_or(0) as usize;
        let believed = can_end(rest, len).then_some(len);
        let (end, damaged) = match walk(rest, first, count) {
            Some(end) => (end, 0),
            None => {
                let end = believed.or((first..=rest.len()).contains(&len).then_some(len));
                self.mend_messages(rest, first, count, end)
            }
        };
        lost.messages += damaged;
        put(rest, 0, end as u32);
        end
    }

    /// Makes `count` messages from `at` on readable. Returns where they end, and how many are damaged.
    fn mend_messages(&mut self, rest: &mut [u8], mut at: usize, count: usize, end: Option<usize>) -> (usize, u64) {
        let (limit, mut damaged) = (end.unwrap_or(rest.len()), 0);
        for number in 0..count {
            let following = count - number - 1;
            let Some(len) = u32_at(rest, at + 4).map(|len| len as usize).filter(|_| at + MESSAGE_BYTES <= limit) else {
                return (end.unwrap_or(at.min(limit)), damaged + (following as u64 + 1));
            };
            if is_sound(rest, at, len) && at + MESSAGE_BYTES + len <= limit {
                at += MESSAGE_BYTES + len;
                continue;
            }
            let flipped = (0..32).map(|bit| len ^ (1 << bit));
            let flipped = flipped
                .filter(|len| at + MESSAGE_BYTES + len <= limit)
                .find(|len| self.spend(*len).is_some() && is_sound(rest, at, *len));
            if let Some(len) = flipped {
                put(rest, at + 4, len as u32);
                at += MESSAGE_BYTES + len;
                continue;
            }
            let is_damaged = |rest: &[u8], next: usize| {
                let content = rest.get(at + MESSAGE_BYTES..next).unwrap_or(&[]);
                u64::from(u32_at(rest, at) != Some(message_checksum(content)))
            };
            let next = at.saturating_add(MESSAGE_BYTES + len);
            let bytes_only = if following == 0 {
                end.map_or(next <= limit, |end| next == end)
            } else {
                u32_at(rest, next + 4).is_some_and(|len| is_sound(rest, next, len as usize))
            };
            if bytes_only {
                damaged += is_damaged(rest, next);
                at = next;
                continue;
            }
            match end.and_then(|end| self.next_message(rest, at, end, following)) {
                Some(next) => {
                    put(rest, at + 4, (next - at - MESSAGE_BYTES) as u32);
                    damaged += is_damaged(rest, next);
                    at = next;
                }
                None => {
                    // What follows cannot be told apart.
                    put(rest, at + 4, u32::MAX);
                    return (end.unwrap_or(limit), damaged + following as u64 + 1);
                }
            }
        }
        (end.unwrap_or(at), damaged)
    }

    /// Where exactly `count` sound messages begin that lead to `end`, behind a message at `at`.
    fn next_message(&mut self, rest: &[u8], at: usize, end: usize, count: usize) -> Option<usize> {
        let first = at + MESSAGE_BYTES;
        let last = end.checked_sub(count * MESSAGE_BYTES)?;
        (first..=last).find(|from| {
            let mut at = *from;
            for _ in 0..count {
                let len = u32_at(rest, at + 4).unwrap_or(u32::MAX) as usize;
                let next = at.saturating_add(MESSAGE_BYTES).saturating_add(len);
                if next > end || self.spend(len).is_none() || !is_sound(rest, at, len) {
                    return false;
                }
                at = next;
            }
            at == end
        })
    }

    /// Where the next record behind a damaged one at `at` begins: from there on, all records are sound.
    fn next_record(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let claimed = at + u32_at(payload, at)? as usize;
        let follows = payload.get(claimed..).is_some_and(|next| next.is_empty() || read(next).is_ok());
        if claimed >= at + HEAD_BYTES && follows {
            return Some(claimed);
        }
        (at + HEAD_BYTES..payload.len()).find(|from| {
            let mut at = *from;
            while let Some(rest) = payload.get(at..).filter(|rest| rest.iter().take(64).any(|byte| *byte != 0)) {
                let len = u32_at(rest, 0).map_or(0, |len| len as usize);
                let looks_like_one = (HEAD_BYTES..=rest.len()).contains(&len);
                let head = if looks_like_one { head_end(rest, len) } else { None };
                if head.and_then(|end| self.spend(end)).is_none() || read(rest).is_err() {
                    return false;
                }
                at += len;
            }
            at > *from
        })
    }
}

#[cfg(test)]
mod tests;
