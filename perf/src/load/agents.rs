//! Producers and consumers: what each has done and may do next.

use super::confirms::Confirms;
use super::pacer::Pacer;

/// A transaction that is filling, or waits for its commit.
#[derive(Debug, Clone, Copy)]
pub struct Transaction {
    /// Messages of each.
    pub size: u64,
    /// Messages in the one under way.
    pub filled: u64,
    /// When its first message was due or sent.
    pub since: u64,
    /// tx.commit was sent, and not answered yet.
    pub committing: bool,
}

/// A content that comes in more than one piece, or is looked at as a whole.
#[derive(Debug, Default)]
pub struct Content {
    /// What comes next.
    pub stage: Stage,
    /// The delivery's tag; `None` for a returned message.
    pub tag: Option<u64>,
    /// The delivery may have been made before.
    pub redelivered: bool,
    /// Bytes of the body that are still to come.
    pub left: u64,
    /// The body, or its first bytes where the others do not matter.
    pub body: Vec<u8>,
    /// The property reply-to, where a reply is due.
    pub reply_to: String,
}

/// What comes next on a channel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A method.
    #[default]
    Method,
    /// A content header.
    Header,
    /// A part of a body.
    Body,
}

/// One channel that publishes.
#[derive(Debug)]
pub struct Producer {
    /// Its connection, by index.
    pub socket: usize,
    /// The channel.
    pub channel: u16,
    /// Its messages, by index.
    pub batch: usize,
    /// Its number in the messages.
    pub number: u16,
    /// Deliveries that a message leads to.
    pub copies: u64,
    /// Messages published.
    pub sent: u64,
    /// The most it publishes.
    pub limit: u64,
    /// Messages the broker has refused or returned.
    pub refused: u64,
    /// Confirms, and how many may be outstanding.
    pub confirms: Option<(Confirms, u64)>,
    /// When the last confirm came.
    pub heard_at: u64,
    /// The transaction under way.
    pub transaction: Option<Transaction>,
    /// When messages are due; `None`: as fast as possible.
    pub pacer: Option<Pacer>,
    /// With --rpc: requests without a reply, and the most of them.
    pub requests: Option<(u64, u64)>,
    /// The broker has said channel.flow(false).
    pub stopped: bool,
    /// It is in the list of those that may be able to publish.
    pub listed: bool,
    /// A timer is set for it.
    pub timed: bool,
    /// It has published its last message, and all of them are settled.
    pub done: bool,
    /// A reply or a returned message that is coming.
    pub content: Content,
}

impl Producer {
    /// How many messages it may publish at `now`, as far as it alone decides: its limit, window, transaction, schedule.
    pub fn allowance(&self, now: u64) -> u64 {
        if self.stopped {
            return 0;
        }
        let mut most = self.limit - self.sent;
        if let Some((confirms, window)) = &self.confirms {
            most = most.min(window.saturating_sub(confirms.outstanding()));
        }
        if let Some(transaction) = &self.transaction {
            most = most.min(if transaction.committing { 0 } else { transaction.size - transaction.filled });
        }
        if let Some((waiting, window)) = self.requests {
            most = most.min(window.saturating_sub(waiting));
        }
        match &self.pacer {
            // Not reckoned where nothing may be published anyway.
            Some(pacer) if most > 0 => most.min(pacer.count(now).saturating_sub(self.sent)),
            _ => most,
        }
    }

    /// Messages that the broker has not settled yet.
    pub fn unsettled(&self) -> u64 {
        let confirms = self.confirms.as_ref().map_or(0, |(confirms, _)| confirms.outstanding());
        confirms + self.transaction.map_or(0, |transaction| if transaction.committing { transaction.filled } else { 0 })
    }
}

/// One channel that consumes.
#[derive(Debug)]
pub struct Consumer {
    /// Its connection, by index.
    pub socket: usize,
    /// The channel.
    pub channel: u16,
    /// The queue, by index.
    pub queue: usize,
    /// One acknowledgement for so many messages; 0: none at all.
    pub ack_every: u64,
    /// Messages delivered and not acknowledged.
    pub unacked: u64,
    /// The last delivery's tag.
    pub tag: u64,
    /// Messages it still takes.
    pub left: u64,
    /// It takes a limited number.
    pub limited: bool,
    /// Messages of a transaction; 0: no transactions.
    pub commit_every: u64,
    /// Messages acknowledged and not committed.
    pub uncommitted: u64,
    /// A delivery that comes in pieces.
    pub content: Content,
}

const ACK: [u8; 21] = [1, 0, 0, 0, 0, 0, 13, 0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xCE];
const COMMIT: [u8; 12] = [1, 0, 0, 0, 0, 0, 4, 0, 90, 0, 20, 0xCE];

impl Consumer {
    /// A message was taken: acknowledges it, or as many as are due, into `out`.
    #[inline]
    pub fn take(&mut self, tag: u64, out: &mut Vec<u8>) {
        self.left -= 1;
        if self.ack_every > 0 {
            self.tag = tag;
            self.unacked += 1;
            if self.unacked == self.ack_every {
                self.ack(out);
            }
        }
    }

    /// Acknowledges what is not, and commits what is due.
    pub fn ack(&mut self, out: &mut Vec<u8>) {
        if self.unacked == 0 {
            return;
        }
        let mut frame = ACK;
        frame[1..3].copy_from_slice(&self.channel.to_be_bytes());
        frame[11..19].copy_from_slice(&self.tag.to_be_bytes());
        frame[19] = (self.unacked > 1).into();
        out.extend_from_slice(&frame);
        if self.commit_every > 0 {
            self.uncommitted += self.unacked;
            if self.uncommitted >= self.commit_every {
                self.commit(out);
            }
        }
        self.unacked = 0;
    }

    /// Commits what is not.
    pub fn commit(&mut self, out: &mut Vec<u8>) {
        if self.uncommitted > 0 {
            let mut frame = COMMIT;
            frame[1..3].copy_from_slice(&self.channel.to_be_bytes());
            out.extend_from_slice(&frame);
            self.uncommitted = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret::amqp::frame::write_method;
    use leveret::amqp::method::{BasicAck, TxCommit};

    fn consumer(ack_every: u64, commit_every: u64) -> Consumer {
        Consumer {
            socket: 0,
            channel: 258,
            queue: 0,
            ack_every,
            unacked: 0,
            tag: 0,
            left: u64::MAX,
            limited: false,
            commit_every,
            uncommitted: 0,
            content: Content::default(),
        }
    }

    #[test]
    fn acknowledgements_come_when_they_are_due() {
        // How many for one, messages of a transaction; and what is due after five messages.
        for (ack_every, commit_every, expected) in
            [(0, 0, ""), (1, 0, "1 2 3 4 5"), (2, 0, "2m 4m"), (1, 2, "1 2 c 3 4 c 5"), (2, 4, "2m 4m c")]
        {
            let (mut consumer, mut out, mut wanted) = (consumer(ack_every, commit_every), vec![], vec![]);
            for tag in 1..=5 {
                consumer.take(tag, &mut out);
            }
            for word in expected.split_whitespace() {
                match word {
                    "c" => write_method(&mut wanted, 258, &TxCommit {}),
                    tag => {
                        let delivery_tag = tag.trim_end_matches('m').parse().unwrap();
                        write_method(&mut wanted, 258, &BasicAck { delivery_tag, multiple: tag.ends_with('m') });
                    }
                }
            }
            assert_eq!(out, wanted, "{ack_every} {commit_every}");
            assert_eq!(consumer.left, u64::MAX - 5);
        }
    }
}
