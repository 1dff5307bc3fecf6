//! Fetches of some positions only.
//!
//! Of each slot with something in it that is wanted all is read, as far as slots are what can be told apart; but no
//! more than that goes into the answer.

use super::Keeper;
use super::fetch::run_slots;
use super::index::Unread;
use super::regions::Wanted;
use super::runs::Slot;
use crate::store::disk::Disk;
use crate::store::{Fetch, Fetched, Position};

/// So many times the bytes that are wanted may be read for one answer.
const READ_TIMES: usize = 16;
/// So many slots in which nothing is wanted are passed over before the next position is looked up.
const PASSED_MAX: u32 = 8;

impl Fetch {
    /// Whether only some positions are wanted.
    #[inline]
    pub fn picks(&self) -> bool {
        !self.only.is_empty()
    }

    /// Whether this position is wanted.
    pub(super) fn wants(&self, position: Position) -> bool {
        (self.from..self.to).contains(&position) && (!self.picks() || self.only.binary_search(&position).is_ok())
    }
}

impl<D: Disk> Keeper<D> {
    /// Finds the slots of the positions that are wanted; returns up to where (exclusive) they are complete, or the
    /// segment of which they cannot be read.
    pub(super) fn pick(&mut self, fetch: &Fetch, wanted: &mut Vec<Wanted>) -> Result<Position, (u64, Unread)> {
        let Some(row) = self.state.rows.get(&fetch.queue) else { return Ok(fetch.to) };
        let to = fetch.to.min(row.end);
        let picked = fetch.only.iter().copied().filter(|at| (fetch.from..to).contains(at) && row.is_alive(*at));
        let mut picked = picked.peekable();
        let (mut bytes, mut read, mut count, mut covered) = (0, 0, 0, None);
        while let Some(next) = picked.peek().copied().filter(|_| covered.is_none()) {
            let run = row.runs.get(row.run_from(next)).filter(|run| run.first <= next);
            let place = run.and_then(|run| Some((run, self.state.segments.find(run.segment)?)));
            let Some((run, segment)) = place else {
                picked.next();
                continue;
            };
            let mut passed = 0;
            let each = |slot: Slot| {
                let end = slot.last().min(run.last());
                // What lies in no slot is lost.
                while picked.next_if(|at| *at < slot.first).is_some() {}
                let (mut first, mut last, mut here) = (None, 0, 0);
                while let Some(at) = picked.next_if(|at| *at <= end) {
                    (first, last, here) = (first.or(Some(at)), at, here + 1);
                }
                let Some(first) = first else {
                    passed += 1;
                    return passed < PASSED_MAX;
                };
                wanted.push(Wanted { segment: run.segment, slot, first, last, to: 0 });
                count += here;
                bytes += slot.bytes as usize / usize::from(slot.count.max(1)) * here;
                read += slot.bytes as usize;
                if bytes >= fetch.bytes_max
                    || count >= fetch.count_max
                    || read >= fetch.bytes_max.saturating_mul(READ_TIMES)
                {
                    covered = Some(last + 1);
                }
                covered.is_none() && picked.peek().is_some_and(|at| *at <= run.last())
            };
            run_slots(&mut self.files, &mut self.pages, segment, run, next, each).map_err(|why| (run.segment, why))?;
            picked.next_if_eq(&next);
        }
        Ok(covered.unwrap_or(to.max(fetch.from)))
    }
}

/// Leaves out what was read beside the messages, if it is more than they are.
pub(super) fn compact(answer: &mut Fetched) {
    let len: usize = answer.messages.iter().map(|message| message.len as usize).sum();
    if len >= answer.bytes.len() / 2 {
        return;
    }
    let mut bytes = Vec::with_capacity(len);
    for message in &mut answer.messages {
        let at = message.at as usize;
        message.at = bytes.len() as u32;
        bytes.extend_from_slice(answer.bytes.get(at..at + message.len as usize).unwrap_or(&[]));
    }
    answer.bytes = bytes;
}
