//! Which publishes of a channel are confirmed, which are due, and which wait for the disk.

use std::collections::{BTreeSet, VecDeque};

use crate::amqp::method::{BasicAck, BasicNack};

/// Publishes that wait for a ticket of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    first: u64,
    last: u64,
    ticket: u64,
}

impl Waiting {
    fn has(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
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
    /// How many wait.
    waits: u64,
    /// Refused ones whose publisher was told.
    nacked: u64,
    /// Confirmed ones that were counted.
    counted: u64,
    /// Those that a queue has refused, and whose publisher was not told.
    refused: BTreeSet<u64>,
}

/// What a publisher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// The broker has it.
    Ack(BasicAck),
    /// A queue has refused it.
    Nack(BasicNack),
}

/// RabbitMQ leaves requeue at its default.
fn nack(delivery_tag: u64) -> Confirm {
    Confirm::Nack(BasicNack { delivery_tag, multiple: false, requeue: true })
}

impl Confirms {
    /// The latest `count` publishes wait for `ticket`.
    #[inline]
    pub fn wait(&mut self, count: u64, ticket: u64) {
        let (first, last) = (self.published + 1 - count, self.published);
        self.waits += count;
        match self.waiting.back_mut() {
            Some(back) if back.ticket == ticket && back.last + 1 == first => back.last = last,
            _ => self.waiting.push_back(Waiting { first, last, ticket }),
        }
    }

    /// Publishes that wait to be confirmed, once everything else is.
    pub fn unconfirmed(&self) -> u64 {
        self.waits
    }

    /// Those confirmed that were not counted yet; to be asked when all that is due was told.
    #[inline]
    pub fn take_count(&mut self) -> u64 {
        let confirmed = self.published - self.waits - self.nacked;
        confirmed - std::mem::replace(&mut self.counted, confirmed)
    }

    /// The ticket that the latest publishes wait for, if any do.
    #[inline]
    pub fn ticket(&self) -> Option<u64> {
        self.waiting.back().map(|waiting| waiting.ticket)
    }

    /// Whether a publish was confirmed, or refused and its publisher told.
    fn is_over(&self, number: u64) -> bool {
        number <= self.confirmed || number <= self.singly && !self.waiting.iter().any(|waiting| waiting.has(number))
    }

    /// A queue has refused this publish.
    pub fn refuse(&mut self, number: u64) {
        if !self.is_over(number) {
            self.refused.insert(number);
        }
    }

    /// Tells of what was refused up to here, and returns how far acknowledgements may name the others: the last that
    /// was not refused.
    #[cold]
    fn tell_refused(&mut self, last: u64, mut write: impl FnMut(Confirm)) -> u64 {
        let later = self.refused.split_off(&(last + 1));
        let refused = std::mem::replace(&mut self.refused, later);
        self.nacked += refused.len() as u64;
        refused.iter().for_each(|number| write(nack(*number)));
        let mut end = last;
        while end > self.confirmed && refused.contains(&end) {
            end -= 1;
        }
        end
    }

    fn up_to(&mut self, last: u64, mut write: impl FnMut(Confirm)) {
        if last <= self.confirmed {
            return;
        }
        let end = if self.refused.is_empty() { last } else { self.tell_refused(last, &mut write) };
        if end > self.confirmed {
            write(Confirm::Ack(BasicAck { delivery_tag: end, multiple: end > self.confirmed + 1 }));
        }
        self.confirmed = last;
    }

    /// Tells of one that does not wait, behind others that do.
    fn one(&mut self, delivery_tag: u64, mut write: impl FnMut(Confirm)) {
        match self.refused.remove(&delivery_tag) {
            true => {
                self.nacked += 1;
                write(nack(delivery_tag));
            }
            false => write(Confirm::Ack(BasicAck { delivery_tag, multiple: false })),
        }
    }

    /// What is to be confirmed at once: everything in front of what waits in one ack, what does not wait behind it one
    /// by one.
    #[inline]
    pub fn now(&mut self, mut write: impl FnMut(Confirm)) {
        let front = self.waiting.front().map_or(self.published, |waiting| waiting.first - 1);
        self.up_to(front, &mut write);
        if self.waiting.is_empty() {
            self.singly = self.published;
            return;
        }
        let mut next = self.singly.max(self.confirmed) + 1;
        let behind = next;
        let mut at = self.waiting.partition_point(|waiting| waiting.last < behind);
        while let Some(&waiting) = self.waiting.get(at) {
            (next..waiting.first).for_each(|delivery_tag| self.one(delivery_tag, &mut write));
            next = waiting.last + 1;
            at += 1;
        }
        (next..=self.published).for_each(|delivery_tag| self.one(delivery_tag, &mut write));
        self.singly = self.published;
    }

    /// What is to be confirmed now that all tickets before `done` are.
    pub fn done(&mut self, done: u64, mut write: impl FnMut(Confirm)) {
        if !self.refused.is_empty() {
            return self.done_with_refused(done, write);
        }
        let mut last = None;
        while let Some(front) = self.waiting.front()
            && front.ticket < done
        {
            last = Some(front.last);
            self.waits -= front.last + 1 - front.first;
            self.waiting.pop_front();
        }
        let Some(last) = last else { return };
        // What did not wait in between is confirmed already, or is by this. Nothing is named that was confirmed before.
        let front = self.waiting.front().map_or(self.published, |waiting| waiting.first - 1);
        self.up_to(if front > self.singly { front } else { last }, &mut write);
        self.confirmed = front;
    }
}

impl Confirms {
    /// The same when some are refused: an ack that names the last of the others covers them all, and it must be one
    /// that was not confirmed before.
    #[cold]
    fn done_with_refused(&mut self, done: u64, mut write: impl FnMut(Confirm)) {
        let count = self.waiting.iter().take_while(|waiting| waiting.ticket < done).count();
        let over: Vec<Waiting> = self.waiting.drain(..count).collect();
        self.waits -= over.iter().map(|waiting| waiting.last + 1 - waiting.first).sum::<u64>();
        let Some(last) = over.last().map(|waiting| waiting.last) else { return };
        let front = self.waiting.front().map_or(self.published, |waiting| waiting.first - 1);
        // Behind what waited: confirmed one by one, or by this.
        let behind = self.singly.max(last) + 1..=front;
        let all = last.max(if behind.is_empty() { 0 } else { front });
        let later = self.refused.split_off(&(all + 1));
        let refused = std::mem::replace(&mut self.refused, later);
        self.nacked += refused.len() as u64;
        refused.iter().for_each(|number| write(nack(*number)));
        let waited = over.iter().rev().flat_map(|waiting| (waiting.first..=waiting.last).rev());
        if let Some(end) = behind.rev().chain(waited).find(|number| !refused.contains(number)) {
            write(Confirm::Ack(BasicAck { delivery_tag: end, multiple: end > self.confirmed + 1 }));
        }
        self.confirmed = front;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(confirm: Confirm) -> Option<(u64, bool)> {
        match confirm {
            Confirm::Ack(ack) => Some((ack.delivery_tag, ack.multiple)),
            Confirm::Nack(_) => None,
        }
    }

    fn now(confirms: &mut Confirms) -> Vec<(u64, bool)> {
        let mut acks = vec![];
        confirms.now(|confirm| acks.extend(told(confirm)));
        acks
    }

    fn done(confirms: &mut Confirms, before: u64) -> Option<(u64, bool)> {
        let mut acks = vec![];
        confirms.done(before, |confirm| acks.extend(told(confirm)));
        assert!(acks.len() <= 1);
        acks.pop()
    }

    #[test]
    fn what_was_refused_is_told_once_and_never_acknowledged() {
        let mut out = vec![];
        let mut write = |confirm| match confirm {
            Confirm::Ack(ack) => out.push(format!("+{}{}", ack.delivery_tag, if ack.multiple { "m" } else { "" })),
            Confirm::Nack(nack) => out.push(format!("-{}", nack.delivery_tag)),
        };
        let mut confirms = Confirms { published: 1, ..Confirms::default() };
        confirms.refuse(1);
        confirms.now(&mut write);
        confirms.published = 5;
        confirms.refuse(3);
        confirms.refuse(5);
        confirms.now(&mut write);
        confirms.published = 7;
        confirms.wait(2, 10); // 6, 7
        confirms.published = 9;
        confirms.refuse(8);
        confirms.now(&mut write);
        confirms.refuse(6);
        confirms.done(11, &mut write);
        confirms.refuse(6);
        confirms.refuse(9);
        confirms.published = 10;
        confirms.now(&mut write);
        assert_eq!(out.join(" "), "-1 -3 -5 +4m -8 +9 -6 +7m +10");
    }

    #[test]
    fn what_was_confirmed_is_not_named_again_for_one_that_was_refused() {
        let mut out = vec![];
        let mut write = |confirm| match confirm {
            Confirm::Ack(ack) => out.push(format!("+{}{}", ack.delivery_tag, if ack.multiple { "m" } else { "" })),
            Confirm::Nack(nack) => out.push(format!("-{}", nack.delivery_tag)),
        };
        let mut confirms = Confirms::default();
        for (number, ticket) in [(1, None), (2, Some(10)), (3, None), (4, Some(10)), (5, None), (6, Some(11))] {
            confirms.published = number;
            if let Some(ticket) = ticket {
                confirms.wait(1, ticket);
            }
            confirms.now(&mut write);
        }
        confirms.refuse(4);
        confirms.refuse(6);
        confirms.done(11, &mut write);
        confirms.done(12, &mut write);
        assert_eq!(out.join(" "), "+1 +3 +5 -4 +2 -6");
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
