//! Which publishes of a channel are confirmed, which are due, and which wait for the disk.

use std::collections::VecDeque;

use crate::amqp::method::BasicAck;

/// Publishes that wait for a ticket of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    first: u64,
    last: u64,
    ticket: u64,
}

/// Publisher confirms of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirms {
    /// Sequence number of the latest publish.
    pub published: u64,
    /// All up to here are confirmed.
    confirmed: u64,
    /// All up to here that do not wait are confirmed.
    singly: u64,
    /// Listed as having confirms due.
    pub due: bool,
    /// In order.
    waiting: VecDeque<Waiting>,
}

impl Confirms {
    /// The latest `count` publishes wait for `ticket`.
    #[inline]
    pub fn wait(&mut self, count: u64, ticket: u64) {
        let (first, last) = (self.published + 1 - count, self.published);
        match self.waiting.back_mut() {
            Some(back) if back.ticket == ticket && back.last + 1 == first => back.last = last,
            _ => self.waiting.push_back(Waiting { first, last, ticket }),
        }
    }

    /// The ticket that the latest publishes wait for, if any do.
    #[inline]
    pub fn ticket(&self) -> Option<u64> {
        self.waiting.back().map(|waiting| waiting.ticket)
    }

    fn up_to(&mut self, last: u64) -> Option<BasicAck> {
        if last <= self.confirmed {
            return None;
        }
        let multiple = last > self.confirmed + 1;
        self.confirmed = last;
        Some(BasicAck { delivery_tag: last, multiple })
    }

    /// What is to be confirmed at once: everything in front of what waits in one ack, what does not wait behind it one
    /// by one.
    #[inline]
    pub fn now(&mut self, mut write: impl FnMut(BasicAck)) {
        let front = self.waiting.front().map_or(self.published, |waiting| waiting.first - 1);
        if let Some(ack) = self.up_to(front) {
            write(ack);
        }
        if self.waiting.is_empty() {
            self.singly = self.published;
            return;
        }
        let mut next = self.singly.max(self.confirmed) + 1;
        let behind = next;
        for waiting in self.waiting.iter().skip_while(|waiting| waiting.last < behind) {
            (next..waiting.first).for_each(|delivery_tag| write(BasicAck { delivery_tag, multiple: false }));
            next = waiting.last + 1;
        }
        (next..=self.published).for_each(|delivery_tag| write(BasicAck { delivery_tag, multiple: false }));
        self.singly = self.published;
    }

    /// What is to be confirmed now that all tickets before `done` are.
    pub fn done(&mut self, done: u64) -> Option<BasicAck> {
        let mut last = None;
        while let Some(front) = self.waiting.front()
            && front.ticket < done
        {
            last = Some(front.last);
            self.waiting.pop_front();
        }
        let last = last?;
        // What did not wait in between is confirmed already, or is by this. Nothing is named that was confirmed before.
        let front = self.waiting.front().map_or(self.published, |waiting| waiting.first - 1);
        let delivery_tag = if front > self.singly { front } else { last };
        let multiple = delivery_tag > self.confirmed + 1;
        self.confirmed = front;
        Some(BasicAck { delivery_tag, multiple })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(confirms: &mut Confirms) -> Vec<(u64, bool)> {
        let mut acks = vec![];
        confirms.now(|ack| acks.push((ack.delivery_tag, ack.multiple)));
        acks
    }

    fn done(confirms: &mut Confirms, before: u64) -> Option<(u64, bool)> {
        confirms.done(before).map(|ack| (ack.delivery_tag, ack.multiple))
    }

    #[test]
    fn what_waits_is_confirmed_when_its_ticket_is_done_and_nothing_else_waits_for_it() {
        let mut confirms = Confirms { published: 2, ..Confirms::default() };
        assert_eq!(now(&mut confirms), [(2, true)]);
        confirms.published = 3;
        assert_eq!(now(&mut confirms), [(3, false)]);
        confirms.published = 5;
        confirms.wait(2, 10); // 4, 5
        assert_eq!(now(&mut confirms), []);
        confirms.published = 7; // 6, 7 do not wait
        assert_eq!(now(&mut confirms), [(6, false), (7, false)]);
        assert_eq!(now(&mut confirms), []);
        confirms.published = 9;
        confirms.wait(1, 11); // 9, and 8 does not
        assert_eq!(now(&mut confirms), [(8, false)]);
        assert_eq!(done(&mut confirms, 10), None, "the ticket itself is not done");
        assert_eq!(done(&mut confirms, 11), Some((5, true)), "6 to 8 were confirmed one by one");
        confirms.published = 10;
        confirms.wait(1, 11);
        confirms.published = 12;
        confirms.wait(2, 12);
        assert_eq!(done(&mut confirms, 12), Some((10, true)));
        assert_eq!(done(&mut confirms, 13), Some((12, true)));
        assert_eq!(done(&mut confirms, 14), None);
        confirms.published = 13;
        assert_eq!(now(&mut confirms), [(13, false)]);
    }
}
