//! What a queue has beside its entries when it goes by [`Rules`]: levels of priority, counts of deliveries, and when
//! something is due.
//!
//! Each level has entries of its own, whose positions begin at its *class* in the upper 8 bits: so a position tells its
//! level, and the store, which files each class under a number of its own, sees positions that ascend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::delays::Delays;
use crate::broker::deduplication::{Id, Seen};
use crate::broker::entries::{Entries, Position};
use crate::broker::queue_arguments::QueueType;
use crate::broker::rules::{Overflow, Rules};
use crate::broker::topology::{QueueSpec, VhostId};
use crate::time::Now;

/// Where the class is in a position, and in a number of the store.
pub const CLASS_SHIFT: u32 = 56;
/// The priority of messages without one, in a quorum queue (reference section 13).
const QUORUM_PRIORITY: u8 = 4;

/// The number under which the store has a position of the queue with number `id`.
#[inline]
pub fn stored_as(id: u64, position: Position) -> u64 {
    id | position >> CLASS_SHIFT << CLASS_SHIFT
}

/// What the queues of exchanges that delay are called, in front of the exchange's name. Nobody else's name begins so.
pub const DELAYS_PREFIX: &str = "amq.delayed.";
/// The same of those that take each message once and delay none.
pub const UNIQUE_PREFIX: &str = "amq.unique.";

/// The exchange whose delayed messages a queue has.
pub fn delays_of(spec: &QueueSpec) -> Option<&str> {
    spec.name.strip_prefix(DELAYS_PREFIX).or_else(|| spec.name.strip_prefix(UNIQUE_PREFIX))
}

/// What the queues of exchanges that remember are called, in front of the exchange's name. Nobody else's name begins
/// so.
pub const HISTORY_PREFIX: &str = "amq.history.";

/// The exchange whose last messages a queue has.
pub fn history_of(spec: &QueueSpec) -> Option<&str> {
    spec.name.strip_prefix(HISTORY_PREFIX)
}

/// Whether it is the queue of an exchange: nobody's but the exchange's.
pub fn is_internal(spec: &QueueSpec) -> bool {
    delays_of(spec).is_some() || history_of(spec).is_some()
}

/// Where a queue's dead letters go.
#[derive(Debug, PartialEq, Eq)]
pub struct Burial {
    /// The queue's virtual host.
    pub vhost: VhostId,
    /// The queue.
    pub queue: Arc<str>,
    /// The exchange (`x-dead-letter-exchange`).
    pub exchange: Arc<str>,
    /// The routing key, if not the message's own.
    pub key: Option<Arc<str>>,
}

/// How often a message was handed out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// And came back.
    pub acquired: u32,
    /// And was rejected, or its consumer lost.
    pub failed: u32,
}

/// A level of priority beside the common one.
#[derive(Debug)]
struct Level {
    priority: u8,
    entries: Entries,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Ruled {
    /// What it goes by.
    pub rules: Rules,
    /// Where its dead letters go.
    pub burial: Option<Arc<Burial>>,
    /// The priority of messages that say nothing: that of [`Queue::entries`](super::Queue::entries).
    common: u8,
    /// The others that have had messages, highest first.
    levels: Vec<Level>,
    /// Of messages that have come back, where deliveries are counted.
    pub counts: BTreeMap<Position, Counts>,
    /// Bytes of ready messages' bodies, while there is a limit for them.
    pub ready_bytes: u64,
    /// What of that was there before the start and is not counted yet: from one position to another, in each class.
    pub unweighed: Vec<(Position, Position)>,
    /// Messages with an expiration have come.
    pub expiring: bool,
    /// When it is to be looked at.
    pub look_at: Option<Now>,
    /// When it was last used by somebody (`x-expires`).
    pub used: Now,
    /// What waits, if it is the queue of an exchange that delays.
    pub delays: Option<Box<Delays>>,
    /// It is the queue of an exchange that remembers.
    pub history: bool,
    /// Its virtual host is traced: what it delivers is copied.
    pub traced: bool,
    /// What it has taken already, if it takes each message once.
    pub seen: Option<Box<Seen>>,
    /// Messages that wait before they are ready again, and until when.
    pub retrying: BTreeSet<(Now, Position)>,
}

impl Ruled {
    /// For a queue that goes by these rules.
    pub fn new(spec: &QueueSpec, rules: Rules, now: Now) -> Ruled {
        let common = if QueueType::of_queue(spec) == QueueType::Quorum { QUORUM_PRIORITY } else { 0 };
        let mut ruled = Ruled {
            rules: Rules::default(),
            burial: None,
            common,
            levels: Vec::new(),
            counts: BTreeMap::new(),
            ready_bytes: 0,
            unweighed: Vec::new(),
            expiring: false,
            look_at: None,
            used: now,
            delays: delays_of(spec).map(|exchange| Box::new(Delays::new(exchange.into()))),
            history: history_of(spec).is_some(),
            traced: false,
            seen: None,
            retrying: BTreeSet::new(),
        };
        ruled.set(spec, rules);
        ruled
    }

    /// Has it go by other rules.
    pub fn set(&mut self, spec: &QueueSpec, rules: Rules) {
        let burial = rules.dead_letter_exchange.as_ref().map(|exchange| {
            let (queue, key) = (spec.name.clone(), rules.dead_letter_routing_key.clone());
            Arc::new(Burial { vhost: spec.vhost, queue, exchange: exchange.clone(), key })
        });
        if rules.deduplication != self.rules.deduplication {
            self.seen = rules.deduplication.clone().map(|rule| Box::new(Seen::new(rule)));
        }
        (self.rules, self.burial) = (rules, burial);
    }

    /// Whether it is of a quorum queue.
    pub fn is_quorum(&self) -> bool {
        self.common == QUORUM_PRIORITY
    }

    /// The class of a priority: 0 is the common one.
    fn class(&self, priority: u8) -> u8 {
        match priority {
            priority if priority == self.common => 0,
            priority if priority < self.common => priority + 1,
            priority => priority,
        }
    }

    fn priority(&self, class: u8) -> u8 {
        match class {
            0 => self.common,
            class if class <= self.common => class - 1,
            class => class,
        }
    }

    /// The class for a message with this priority property.
    pub fn class_of(&self, priority: Option<u8>) -> u8 {
        match (self.rules.priority_max, priority) {
            (Some(max), Some(priority)) => self.class(priority.min(max)),
            _ => 0,
        }
    }

    fn level(&self, class: u8) -> Option<usize> {
        let priority = self.priority(class);
        self.levels.iter().position(|level| level.priority == priority)
    }

    /// The entries of a class that is not the common one.
    pub fn entries(&mut self, class: u8) -> Option<&mut Entries> {
        let at = self.level(class)?;
        self.levels.get_mut(at).map(|level| &mut level.entries)
    }

    /// The entries of a class that is not the common one, made if need be.
    pub fn entries_or_new(&mut self, class: u8) -> &mut Entries {
        let priority = self.priority(class);
        let at = self.levels.partition_point(|level| level.priority > priority);
        if self.levels.get(at).is_none_or(|level| level.priority != priority) {
            let entries = Entries::starting_at(u64::from(class) << CLASS_SHIFT);
            self.levels.insert(at, Level { priority, entries });
        }
        &mut self.levels[at].entries
    }

    /// Ready messages that are not of the common priority.
    pub fn ready_beside(&self) -> usize {
        let delayed = self.delays.as_ref().map_or(0, |delays| delays.len());
        self.others().map(Entries::ready).sum::<usize>() + delayed
    }

    /// All but the common ones.
    pub fn others(&self) -> impl Iterator<Item = &Entries> {
        self.levels.iter().map(|level| &level.entries)
    }

    /// All but the common ones.
    pub fn others_mut(&mut self) -> impl Iterator<Item = &mut Entries> {
        self.levels.iter_mut().map(|level| &mut level.entries)
    }

    /// The first with a ready message, highest priority first; `common` are those of the common priority.
    pub fn first<'a>(&'a mut self, common: &'a mut Entries) -> &'a mut Entries {
        let (at, priority) = (self.levels.iter().position(|level| !level.entries.is_idle()), self.common);
        match at {
            Some(at) if common.is_idle() || self.levels[at].priority > priority => &mut self.levels[at].entries,
            _ => common,
        }
    }

    /// Whether messages leave it as they would leave a queue without rules: none is of another priority than the common
    /// one, has come back before, may be too old or counts for its bytes.
    #[inline]
    pub fn gives_plainly(&self) -> bool {
        self.counts.is_empty()
            && !self.traced
            && self.seen.is_none()
            && !self.has_lifetimes()
            && self.rules.length_bytes_max.is_none()
            && self.levels.iter().all(|level| level.entries.is_idle())
    }

    /// A message that goes by this name, if it has one, has left the queue or did not stay in it.
    pub fn forget(&mut self, name: Option<Id>) {
        if let (Some(seen), Some(name)) = (&mut self.seen, name) {
            seen.forget(name);
        }
    }

    /// Whether a queue could do without it.
    pub fn is_spare(&self) -> bool {
        let says_nothing = self.rules.is_plain() && !self.expiring && !self.traced && !self.history;
        let has_nothing = self.levels.is_empty() && self.counts.is_empty() && self.retrying.is_empty();
        says_nothing && has_nothing && self.delays.is_none() && self.seen.is_none()
    }

    /// Whether acknowledging a message at this position is no more than in a queue without rules.
    #[inline]
    pub fn settles_plainly(&self, position: Position) -> bool {
        self.counts.is_empty() && self.seen.is_none() && position >> CLASS_SHIFT == 0
    }

    /// Whether it may have to let go of messages that are too old.
    pub fn has_lifetimes(&self) -> bool {
        self.expiring || self.rules.message_ttl_ms.is_some()
    }

    /// Whether more messages are ready, or more bytes of them, than may be.
    pub fn is_over(&self, ready: usize) -> bool {
        self.rules.length_max.is_some_and(|max| ready as u64 > max)
            || self.rules.length_bytes_max.is_some_and(|max| self.ready_bytes > max)
    }

    /// Whether it lets go of the first messages when there are too many.
    pub fn drops_head(&self) -> bool {
        let has_limit = self.rules.length_max.is_some() || self.rules.length_bytes_max.is_some();
        has_limit && self.rules.overflow == Overflow::DropHead
    }

    /// Whether it takes no more messages.
    pub fn is_full(&self, ready: usize) -> bool {
        self.rules.length_max.is_some_and(|max| ready as u64 >= max)
            || self.rules.length_bytes_max.is_some_and(|max| self.ready_bytes >= max)
    }

    /// Notes that ready messages with so many bytes of body have come, or have gone.
    #[inline]
    pub fn weigh(&mut self, came: usize, gone: usize) {
        if self.rules.length_bytes_max.is_some() {
            self.ready_bytes = (self.ready_bytes + came as u64).saturating_sub(gone as u64);
        }
    }
}
