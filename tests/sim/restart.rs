//! The broker goes down and comes up again: what the oracle expects then.

use crate::message::{Fate, MessageNo, Place};
use crate::oracle::{Oracle, QueueKind};
use crate::plan::{QueueNo, REPLY};

/// How a broker went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// In order: everything that was carried out is there afterwards, exactly.
    InOrder,
    /// By a crash: what was confirmed is there; of the rest nobody knows.
    Crashed,
}

impl Oracle {
    /// Whether a queue may be there after a start.
    fn survives(&self, queue: QueueNo) -> bool {
        match self.kind(queue) {
            QueueKind::Pillar => self.plan.pillars_durable[usize::from(queue)],
            // With some flags or others.
            QueueKind::Volatile => true,
            QueueKind::Own => false,
        }
    }

    /// The broker has gone down; everybody was cut off.
    pub fn went_down(&mut self, down: Down) {
        for number in 0..self.messages.len() {
            self.message_went_down(number as MessageNo, down);
        }
        self.reply_names.clear();
        self.started_at = self.messages.len() as MessageNo;
    }

    fn message_went_down(&mut self, number: MessageNo, down: Down) {
        let message = &self.messages[number as usize];
        let (persistent, confirmed) = (message.is_persistent(), message.confirmed);
        let mut queues: Vec<QueueNo> = (0..self.plan.pillars.len() as QueueNo).collect();
        queues.extend(&message.must);
        queues.extend(message.copies.iter().map(|copy| copy.queue));
        queues.sort_unstable();
        queues.dedup();
        if down == Down::Crashed && message.fate == Fate::Sure && !confirmed {
            self.messages[number as usize].fate = Fate::Maybe;
        }
        for queue in queues {
            let kept = queue != REPLY && persistent && self.survives(queue);
            let certain = self.kind(queue) == QueueKind::Pillar && (confirmed || down == Down::InOrder);
            let copy = self.messages[number as usize].copy(queue);
            copy.place = match copy.place {
                _ if !kept => Place::Gone,
                Place::Ready | Place::Held(_) if certain => Place::Ready,
                Place::Gone if down == Down::InOrder => Place::Gone,
                _ => Place::MaybeGone,
            };
        }
    }
}
