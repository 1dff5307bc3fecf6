//! The phases of a run: when each is over, what happens in between, and the end.

use std::cmp::Reverse;
use std::time::Duration;

use leveret::amqp::frame::{write_heartbeat, write_method};
use leveret::amqp::method::ConnectionClose;

use super::clock;
use super::engine::{CARE, Due, Engine, Phase};
use super::error::Failure;
use super::socket::Socket;

impl Engine<'_> {
    /// Heartbeats, and confirms that do not come.
    pub fn care(&mut self) -> Result<(), Failure> {
        let heartbeat = u64::from(self.o.heartbeat) * clock::SECOND;
        for index in 0..self.sockets.len() {
            let socket = &mut self.sockets[index];
            if heartbeat == 0 || socket.closed {
                continue;
            }
            if self.now - socket.sent_at >= heartbeat / 2 && socket.idle() {
                write_heartbeat(&mut socket.out);
                self.flush(index)?;
            }
            let socket = &self.sockets[index];
            let silent = self.now.saturating_sub(socket.received_at) > 2 * heartbeat + CARE;
            if silent && !socket.deaf && !socket.held {
                self.lost(index, "the broker has sent no heartbeats")?;
            }
        }
        let timeout = self.o.confirm_timeout.as_nanos() as u64;
        for producer in &self.producers {
            if let Some((confirms, _)) = &producer.confirms
                && let Some(oldest) = confirms.oldest()
                && self.now.saturating_sub(oldest.max(producer.heard_at)) > timeout
                && !self.sockets[producer.socket].blocked
                && self.phase != Phase::Closing
            {
                let (waiting, seconds) = (confirms.outstanding(), self.o.confirm_timeout.as_secs_f64());
                let who = self.who(producer.socket);
                return Err(Failure::run(format!(
                    "{who} has waited {seconds} s for the confirms of {waiting} messages (--confirm-timeout)"
                )));
            }
        }
        Ok(())
    }

    /// Starts the load, once all consumers are there.
    pub fn begin(&mut self) {
        self.now = clock::now();
        self.schedule();
        if self.o.warmup.is_zero() {
            self.measure();
        } else {
            self.stats.begin(self.now);
            self.span.begin(self.now);
            self.enter(Phase::WarmUp, Some(self.o.warmup));
            self.at(self.span.next_interval(self.now, self.o.interval), Due::Interval);
        }
        for index in 0..self.producers.len() {
            self.list_producer(index);
        }
    }

    fn measure(&mut self) {
        // Intervals are counted from here on.
        self.timers.retain(|Reverse((_, what))| *what != Due::Interval);
        self.stats.begin(self.now);
        self.span.begin(self.now);
        self.enter(Phase::Measuring, self.o.time);
        self.at(self.span.next_interval(self.now, self.o.interval), Due::Interval);
    }

    fn enter(&mut self, phase: Phase, lasts: Option<Duration>) {
        self.phase = phase;
        self.phase_ends = lasts.map(|duration| self.now + duration.as_nanos() as u64);
        if let Some(ends) = self.phase_ends {
            self.at(ends, Due::Phase);
        }
    }

    /// Ends an interval.
    pub fn roll(&mut self) {
        let measured = self.phase == Phase::Measuring;
        if let Some(interval) = self.stats.roll(self.span.start, self.now) {
            self.progress.interval(self.o, &interval, measured);
        }
        self.span.sample();
    }

    /// Goes on to the next phase when it is time, and from there at once to the one after it if its time has come, too:
    /// nothing else might wake us.
    pub fn advance(&mut self) {
        loop {
            let before = self.phase;
            self.step();
            if self.phase == before {
                break;
            }
        }
    }

    fn step(&mut self) {
        let over = self.phase_ends.is_some_and(|ends| self.now >= ends);
        match self.phase {
            Phase::Starting if self.starting == 0 => self.begin(),
            Phase::WarmUp if over => self.measure(),
            Phase::Measuring if over => self.stop("Reached time limit"),
            Phase::Measuring if self.limited == 0 && self.has_limits() => self.stop(&self.limits_reached()),
            Phase::Draining if self.drained() => self.close(),
            Phase::Draining if over => {
                self.undrained = true;
                self.close();
            }
            Phase::Closing if over => self.sockets.iter_mut().for_each(Socket::shut),
            _ => {}
        }
    }

    fn has_limits(&self) -> bool {
        let producers = self.o.pmessages.is_some() && !self.producers.is_empty();
        producers || self.o.cmessages.is_some() && !self.consumers.is_empty()
    }

    fn limits_reached(&self) -> String {
        match (self.o.pmessages.is_some(), self.o.cmessages.is_some()) {
            (true, true) => "Producers and consumers reached message limit".into(),
            (true, false) => "Producers reached message limit".into(),
            _ => "Consumers reached message limit".into(),
        }
    }

    /// Ends the measured time, and publishing.
    pub fn stop(&mut self, reason: &str) {
        if matches!(self.phase, Phase::Draining | Phase::Closing) {
            return;
        }
        self.reason = reason.to_owned();
        if self.phase == Phase::Measuring {
            self.roll();
            self.span.end(self.now, &self.stats.now.since(&self.stats.base));
        }
        self.enter(Phase::Draining, Some(self.o.drain_time()));
        self.delivered_at = self.now;
        self.commit_all();
    }

    /// Whether nothing is under way any more.
    fn drained(&self) -> bool {
        if self.producers.iter().any(|producer| producer.unsettled() > 0) {
            return false;
        }
        if self.o.rpc {
            return self.producers.iter().all(|producer| producer.requests.is_none_or(|(waiting, _)| waiting == 0));
        }
        // Where it is not known what the messages lead to, a second of silence has to do.
        let known = self.producers.iter().all(|producer| producer.copies > 0) && !self.producers.is_empty();
        if known { self.stats.now.in_flight <= 0 } else { self.now - self.delivered_at > clock::SECOND }
    }

    /// Asks the broker to close all connections.
    pub fn close(&mut self) {
        if self.phase == Phase::Closing {
            return;
        }
        self.stop("Stopped");
        self.enter(Phase::Closing, Some(self.o.shutdown_timeout));
        self.settle_consumers();
        for index in 0..self.sockets.len() {
            let socket = &mut self.sockets[index];
            if socket.closed {
                continue;
            }
            let close = ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
            write_method(&mut socket.out, 0, &close);
            let silent = socket.deaf || socket.blocked;
            socket.held = false;
            // The first may fail, which closes the connection.
            let _ = self.flush(index);
            if silent {
                // It cannot hear the answer, or is not heard itself.
                self.sockets[index].shut();
            } else {
                self.list_read(index);
            }
        }
    }
}
