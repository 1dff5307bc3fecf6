//! Publishing: who may, how many, and what becomes of them.

use leveret::amqp::frame::write_method;
use leveret::amqp::method::TxCommit;

use super::clock;
use super::engine::{Due, Engine, Phase};
use super::error::Failure;
use super::pacer::Pacer;

impl Engine<'_> {
    /// Gives the producers that have a rate their schedules, spread over one period so that they do not all come at
    /// once.
    pub fn schedule(&mut self) {
        let Some(rate) = self.o.pace() else { return };
        let count = self.producers.len() as f64;
        for (index, producer) in self.producers.iter_mut().enumerate() {
            let offset = index as f64 / count * 1e9 / rate;
            producer.pacer = Some(Pacer::new(self.now + offset as u64, rate));
        }
    }

    /// One batch of each producer that can publish.
    pub fn publish_all(&mut self) -> Result<(), Failure> {
        self.release();
        if self.ready.is_empty() {
            return Ok(());
        }
        let mut ready = std::mem::take(&mut self.ready);
        let mut kept = 0;
        for at in 0..ready.len() {
            let producer = ready[at];
            if self.publish(producer)? {
                ready[kept] = producer;
                kept += 1;
            } else {
                self.producers[producer].listed = false;
            }
        }
        ready.truncate(kept);
        // Those that were listed meanwhile.
        ready.append(&mut self.ready);
        self.ready = ready;
        Ok(())
    }

    /// Lets the producers go on that wait for the backlog: when a quarter of it is free, for larger batches.
    fn release(&mut self) {
        self.release_from(self.backlog.unwrap_or(0) / 4);
    }

    /// Lets them go on if there is so much room. Now and then any room is enough: perhaps the rest is not to come.
    pub fn release_from(&mut self, room: i64) {
        let free = self.backlog.unwrap_or(i64::MAX).saturating_sub(self.stats.now.in_flight);
        if !self.held.is_empty() && free >= room.max(1) {
            for producer in std::mem::take(&mut self.held) {
                self.list_producer(producer);
            }
        }
    }

    /// Publishes a batch; whether there may be more right away.
    fn publish(&mut self, index: usize) -> Result<bool, Failure> {
        let loaded = matches!(self.phase, Phase::WarmUp | Phase::Measuring);
        let producer = &self.producers[index];
        let socket = &self.sockets[producer.socket];
        if !loaded || socket.full() || socket.blocked || socket.closed {
            return Ok(false);
        }
        let mut count = producer.allowance(self.now);
        if count == 0 {
            self.wait_for_schedule(index);
            return Ok(false);
        }
        if let Some(room) = self.room(index) {
            if room == 0 {
                if self.producers[index].copies > 0 {
                    self.held.push(index);
                }
                return Ok(false);
            }
            count = count.min(room);
        }
        let producer = &mut self.producers[index];
        let socket = &mut self.sockets[producer.socket];
        let batch = &mut self.batches[producer.batch];
        let count = count.min(batch.most());
        let now = clock::now();
        let first = producer.sent;
        let (channel, number) = (producer.channel, producer.number);
        let bytes = match &producer.pacer {
            Some(pacer) => batch.fill(count, channel, number, first, |i| pacer.due(first + i)),
            None => batch.fill(count, channel, number, first, |_| now),
        };
        let sent = socket.send(bytes);
        let (full, idle) = (socket.full(), socket.idle());
        socket.sent_at = now;
        producer.sent += count;
        self.stats.now.published += count;
        self.stats.now.in_flight += (count * producer.copies) as i64;
        if let Some((confirms, _)) = &mut producer.confirms {
            if confirms.outstanding() == 0 {
                producer.heard_at = now;
            }
            match &producer.pacer {
                Some(pacer) => (first..first + count).for_each(|number| confirms.publish(1, pacer.due(number))),
                None => confirms.publish(count, now),
            }
        }
        if let Some((waiting, _)) = &mut producer.requests {
            *waiting += count;
        }
        let mut commit = false;
        if let Some(transaction) = &mut producer.transaction {
            if transaction.filled == 0 {
                transaction.since = producer.pacer.as_ref().map_or(now, |pacer| pacer.due(first));
            }
            transaction.filled += count;
            commit = transaction.filled == transaction.size || producer.sent == producer.limit;
        }
        let socket = producer.socket;
        if !idle {
            self.dirty.push(socket);
        }
        if let Err(error) = sent {
            self.unsendable(socket, error.to_string())?;
        }
        if commit {
            self.commit(index);
        }
        self.finish_producer(index);
        let more = !full && self.producers[index].allowance(now) > 0;
        if !more && !full {
            self.wait_for_schedule(index);
        }
        Ok(more)
    }

    /// Messages that the backlog leaves room for; `None` when there is no bound.
    fn room(&self, index: usize) -> Option<u64> {
        let backlog = self.backlog?;
        let producer = &self.producers[index];
        // Nobody reads its messages: it fills its queue, and then stops.
        let Some(copies) = Some(producer.copies).filter(|copies| *copies > 0) else {
            return Some(self.o.backlog?.saturating_sub(producer.sent));
        };
        let free = (backlog - self.stats.now.in_flight).max(0) as u64;
        Some(free.div_ceil(copies))
    }

    /// Sets a timer, when it is the schedule that a producer waits for.
    fn wait_for_schedule(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        if let Some(pacer) = &producer.pacer
            && producer.sent < producer.limit
            && !producer.timed
        {
            let due = pacer.due(producer.sent);
            // If it is due already, it waits for something else.
            if due > self.now {
                producer.timed = true;
                self.at(due, Due::Producer(index));
            }
        }
    }

    fn commit(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        if let Some(transaction) = &mut producer.transaction
            && transaction.filled > 0
            && !transaction.committing
        {
            transaction.committing = true;
            write_method(&mut self.sockets[producer.socket].out, producer.channel, &TxCommit {});
            self.dirty.push(producer.socket);
        }
    }

    /// The last messages are to arrive, too: commits transactions that are not full.
    pub fn commit_all(&mut self) {
        for index in 0..self.producers.len() {
            self.commit(index);
        }
    }

    /// A transaction was committed.
    pub fn committed(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        if let Some(transaction) = &mut producer.transaction {
            let count = std::mem::take(&mut transaction.filled);
            transaction.committing = false;
            self.stats.now.confirmed += count;
            self.stats.confirm.record(self.now.saturating_sub(transaction.since), count);
        }
        self.finish_producer(index);
        self.list_producer(index);
    }

    /// The broker has confirmed messages, or refused them.
    #[inline]
    pub fn settled(&mut self, index: usize, tag: u64, multiple: bool, refused: bool) {
        let now = self.now;
        let producer = &mut self.producers[index];
        let Some((confirms, _)) = &mut producer.confirms else { return };
        producer.heard_at = now;
        if refused {
            let count = confirms.settle(tag, multiple, |_, _| ());
            producer.refused += count;
            self.stats.now.nacked += count;
            self.stats.now.in_flight -= (count * producer.copies) as i64;
        } else {
            let latency = &mut self.stats.confirm;
            let record = |time: u64, count| latency.record(now.saturating_sub(time), count);
            self.stats.now.confirmed += confirms.settle(tag, multiple, record);
        }
        self.finish_producer(index);
        self.list_producer(index);
    }

    /// A message came back.
    pub fn returned(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        producer.refused += 1;
        self.stats.now.returned += 1;
        self.stats.now.in_flight -= producer.copies as i64;
    }

    /// A reply has come.
    pub fn replied(&mut self, index: usize) {
        if let Some((waiting, _)) = &mut self.producers[index].requests {
            *waiting = waiting.saturating_sub(1);
        }
        self.finish_producer(index);
        self.list_producer(index);
    }

    /// Notes when a producer has published its last message and all are settled.
    fn finish_producer(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        let waiting = producer.requests.map_or(0, |(waiting, _)| waiting);
        if producer.sent == producer.limit && !producer.done && producer.unsettled() + waiting == 0 {
            producer.done = true;
            self.limited = self.limited.saturating_sub(1);
        }
    }
}
