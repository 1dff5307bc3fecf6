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
    /// What everybody may see ends here.
    shown: Arc<Link>,
    /// The first change that nobody else may see yet.
    hidden: Option<Arc<Link>>,
}

/// An empty log that follows `version`.
pub fn topology_log(version: u64) -> (LogWriter, LogCursor) {
    let link = Arc::new(Link { version, change: None, next: OnceLock::new() });
    (LogWriter { end: link.clone(), shown: link.clone(), hidden: None }, LogCursor { at: link })
}

impl LogWriter {
    /// Appends a change, which nobody sees before it is [shown](LogWriter::show). Returns the writer's own place.
    pub fn append(&mut self, change: Change) -> LogCursor {
        let link = Arc::new(Link { version: self.end.version + 1, change: Some(change), next: OnceLock::new() });
        if self.hidden.is_none() {
            self.hidden = Some(link.clone());
        } else {
            let first = self.end.next.set(link.clone());
            debug_assert!(first.is_ok(), "the log has one writer");
        }
        self.end = link.clone();
        LogCursor { at: link }
    }

    /// Whether changes wait to be shown.
    #[inline]
    pub fn has_hidden(&self) -> bool {
        self.hidden.is_some()
    }

    /// Whoever looks from now on sees all changes.
    pub fn show(&mut self) {
        if let Some(hidden) = self.hidden.take() {
            let first = self.shown.next.set(hidden);
            debug_assert!(first.is_ok(), "the log has one writer");
            self.shown = self.end.clone();
        }
    }
}

impl LogCursor {
    /// The change at this place.
    pub fn change(&self) -> Option<&Change> {
        self.at.change.as_ref()
    }

    /// Whether there is a next change whose version is not beyond `visible`.
    #[inline]
    pub fn is_behind(&self, visible: u64) -> bool {
        self.at.next.get().is_some_and(|next| next.version <= visible)
    }

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
            if slot == 49 {
                assert!(!first.clone().step(u64::MAX, |_| unreachable!("it is not shown yet")));
                writer.show();
            }
        }
        let mut seen = vec![];
        while first.step(7 + 50, |change| seen.push(format!("{change:?}"))) {}
        assert_eq!(seen.len(), 50);
        assert!(seen[49].contains("slot: 49"));
        assert!(!first.step(u64::MAX, |_| unreachable!("it is not shown yet")));
        writer.show();
        writer.show();
        let mut count = 0;
        while late.step(u64::MAX, |_| count += 1) {}
        assert_eq!(count, 100_000);
        drop(writer);
        drop(late);
        drop(first); // must not overflow the stack
    }
}
