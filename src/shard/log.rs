//! The topology log: an append-only chain of immutable changes with one writer, shard 0 (shards.md A9).
//!
//! Each shard keeps a cursor into the chain; what every cursor has passed is freed. Reading is one atomic load.

use std::sync::{Arc, OnceLock};

use crate::broker::topology::Change;

#[derive(Debug)]
struct Link {
    version: u64,
    change: Option<Change>,
    next: OnceLock<Arc<Link>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // A long chain let go at once must not recurse once per link.
        let mut next = self.next.take();
        while let Some(link) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.next.take());
        }
    }
}

/// A place in the log.
#[derive(Debug, Clone)]
pub struct LogCursor {
    at: Arc<Link>,
}

/// The writer's end.
#[derive(Debug)]
pub struct LogWriter {
    end: Arc<Link>,
}

/// An empty log that follows `version`.
pub fn topology_log(version: u64) -> (LogWriter, LogCursor) {
    let link = Arc::new(Link { version, change: None, next: OnceLock::new() });
    (LogWriter { end: link.clone() }, LogCursor { at: link })
}

impl LogWriter {
    /// Appends a change; whoever looks from now on sees it.
    pub fn append(&mut self, change: Change) {
        let link = Arc::new(Link { version: self.end.version + 1, change: Some(change), next: OnceLock::new() });
        let first = self.end.next.set(link.clone());
        debug_assert!(first.is_ok(), "the log has one writer");
        self.end = link;
    }
}

impl LogCursor {
    /// Hands the next change to `apply`, unless its version is beyond `visible`. Returns whether there was one.
    pub fn step(&mut self, visible: u64, apply: impl FnOnce(&Change)) -> bool {
        let Some(next) = self.at.next.get() else { return false };
        if next.version > visible {
            return false;
        }
        let next = next.clone();
        if let Some(change) = &next.change {
            apply(change);
        }
        self.at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::topology::QueueKey;

    #[test]
    fn cursors_see_every_change_once_and_in_order() {
        let (mut writer, mut first) = topology_log(7);
        let mut late = first.clone();
        for slot in 0..100_000 {
            writer.append(Change::QueueDeleted(QueueKey { slot, generation: 0 }));
        }
        let mut seen = vec![];
        while first.step(7 + 50, |change| seen.push(format!("{change:?}"))) {}
        assert_eq!(seen.len(), 50);
        assert!(seen[49].contains("slot: 49"));
        while late.step(u64::MAX, |_| ()) {}
        drop(writer);
        drop(late);
        drop(first); // must not overflow the stack
    }
}
