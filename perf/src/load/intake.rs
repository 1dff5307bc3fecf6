//! The hot path of consuming: deliveries parsed in place, as long as they are plain.

use super::agents::Consumer;
use super::checks::Checks;
use super::stamp::{self, Head};
use super::stats::Latency;

/// Takes deliveries out of what one read of a connection has brought.
#[derive(Debug)]
pub struct Intake<'a> {
    /// The connection's consumers, from channel 1 on.
    pub consumers: &'a mut [Consumer],
    /// The index of the first of them.
    pub first: usize,
    /// Where acknowledgements go.
    pub out: &'a mut Vec<u8>,
    /// Where latencies go.
    pub latency: &'a mut Latency,
    /// Where sequences go.
    pub checks: Option<&'a mut Checks>,
    /// When the read has ended.
    pub now: u64,
    /// Messages that may be taken.
    pub budget: u64,
    /// Messages taken.
    pub taken: u64,
    /// Messages of other tools.
    pub foreign: u64,
    /// Time and producer of the messages seen last, and how many of them: those that were published together have one
    /// latency, which is recorded once.
    run: (u64, u64),
}

/// The bytes of a frame of type `kind` at the start of `bytes`, its channel and its payload, if it is whole.
#[inline]
fn frame(bytes: &[u8], kind: u8) -> Option<(u16, &[u8], &[u8])> {
    let head = bytes.first_chunk::<7>()?;
    if head[0] != kind {
        return None;
    }
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let payload = bytes.get(7..7 + size)?;
    match bytes.get(7 + size..) {
        Some([0xCE, rest @ ..]) => Some((u16::from_be_bytes([head[1], head[2]]), payload, rest)),
        _ => None,
    }
}

/// Tag and redelivered flag of a basic.deliver's payload.
#[inline]
fn deliver(payload: &[u8]) -> Option<(u64, bool)> {
    let (ids, rest) = payload.split_first_chunk::<4>()?;
    if *ids != [0, 60, 0, 60] {
        return None;
    }
    let (len, rest) = rest.split_first()?;
    let rest = rest.get(usize::from(*len)..)?.first_chunk::<9>()?;
    let [tag @ .., redelivered] = rest;
    Some((u64::from_be_bytes(*tag), *redelivered & 1 == 1))
}

impl<'a> Intake<'a> {
    /// An intake that has taken nothing yet.
    pub fn new(
        consumers: &'a mut [Consumer],
        first: usize,
        out: &'a mut Vec<u8>,
        latency: &'a mut Latency,
        checks: Option<&'a mut Checks>,
        now: u64,
        budget: u64,
    ) -> Intake<'a> {
        Intake { consumers, first, out, latency, checks, now, budget, taken: 0, foreign: 0, run: (0, 0) }
    }

    /// Takes whole deliveries with bodies of one frame at most, from the start of `bytes` on. Stops before anything
    /// else and when the budget is used up. How many bytes were taken.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while self.taken < self.budget {
            let Some(after) = self.one(rest) else { break };
            rest = after;
        }
        bytes.len() - rest.len()
    }

    /// Takes a delivery; what comes behind it.
    #[inline]
    fn one<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (channel, method, rest) = frame(bytes, 1)?;
        let (tag, redelivered) = deliver(method)?;
        let (same, header, rest) = frame(rest, 2)?;
        if same != channel {
            return None; // frames of several channels may be mixed
        }
        let size = u64::from_be_bytes(*header.get(4..12)?.first_chunk::<8>()?);
        let (body, rest) = if size == 0 {
            (&[][..], rest)
        } else {
            let (same, body, rest) = frame(rest, 3)?;
            if same != channel || body.len() as u64 != size {
                return None;
            }
            (body, rest)
        };
        let at = usize::from(channel).wrapping_sub(1);
        let consumer = self.consumers.get_mut(at)?;
        if consumer.left == 0 {
            return None;
        }
        consumer.take(tag, self.out);
        let queue = consumer.queue;
        let head = Head::read(body);
        if let Some(checks) = &mut self.checks {
            checks.see(queue, self.first + at, head, redelivered);
        }
        self.taken += 1;
        match head.word {
            Some(word) if word == self.run.0 => self.run.1 += 1,
            Some(word) => self.turn_to(word),
            None => self.foreign += u64::from(size >= stamp::TIME_BYTES as u64),
        }
        Some(rest)
    }

    #[inline]
    fn turn_to(&mut self, word: u64) {
        self.record();
        self.run = (word, 1);
    }

    /// Records the latency of the messages seen last.
    #[inline]
    pub fn record(&mut self) {
        let (word, count) = self.run;
        if count > 0 {
            match stamp::age(word, self.now) {
                Some(age) => self.latency.record(age, count),
                None => self.foreign += count,
            }
            self.run.1 = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::agents::Content;
    use super::*;
    use leveret::amqp::frame::{write_body, write_content_header, write_method};
    use leveret::amqp::method::{BasicAck, BasicDeliver};

    fn consumer(channel: u16, left: u64) -> Consumer {
        Consumer {
            socket: 0,
            channel,
            queue: 0,
            ack_every: 2,
            unacked: 0,
            tag: 0,
            left,
            limited: true,
            commit_every: 0,
            uncommitted: 0,
            content: Content::default(),
        }
    }

    fn delivery(out: &mut Vec<u8>, channel: u16, tag: u64, body: &[u8], frame_max: u32) {
        let deliver = BasicDeliver {
            consumer_tag: "ctag",
            delivery_tag: tag,
            redelivered: false,
            exchange: "e",
            routing_key: "key",
        };
        write_method(out, channel, &deliver);
        write_content_header(out, channel, body.len() as u64, &[0, 0]);
        write_body(out, channel, body, frame_max);
    }

    /// Bytes taken, messages taken, bytes acknowledged.
    fn take(bytes: &[u8], consumers: &mut [Consumer], latency: &mut Latency, budget: u64) -> (usize, u64, Vec<u8>) {
        let mut out = vec![];
        let mut intake = Intake::new(consumers, 0, &mut out, latency, None, 1_000, budget);
        let (used, taken) = (intake.take(bytes), intake.taken);
        intake.record();
        (used, taken, out)
    }

    #[test]
    fn plain_deliveries_are_taken_and_acknowledged() {
        let mut bytes = vec![];
        let body = |time: u64| stamp::word(time, 3).to_be_bytes();
        delivery(&mut bytes, 1, 7, &body(400), 4096);
        delivery(&mut bytes, 2, 1, &[], 4096);
        delivery(&mut bytes, 1, 8, &body(400), 4096);
        let mut latency = Latency::new();
        let (used, taken, out) = take(&bytes, &mut [consumer(1, 9), consumer(2, 9)], &mut latency, 100);
        assert_eq!((used, taken), (bytes.len(), 3));
        let mut ack = vec![];
        write_method(&mut ack, 1, &BasicAck { delivery_tag: 8, multiple: true });
        assert_eq!(out, ack);
        latency.roll(|seen| assert_eq!((seen.len(), seen.min()), (2, 600)));
        // A part of a message is left alone, wherever it ends.
        let first = bytes.len() - 41;
        for cut in 0..bytes.len() {
            let (used, taken, _) = take(&bytes[..cut], &mut [consumer(1, 9), consumer(2, 9)], &mut Latency::new(), 100);
            assert!(used <= cut && taken < 3 && (taken == 0 || used > 40), "{cut} {first}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left() {
        let mut latency = Latency::new();
        let mut bytes = vec![];
        delivery(&mut bytes, 1, 1, &[1; 20], 4096);
        let one = bytes.len();
        delivery(&mut bytes, 1, 2, &[1; 20], 4096);
        // The budget, the consumer's limit, and a consumer that is none.
        assert_eq!(take(&bytes, &mut [consumer(1, 9)], &mut latency, 1).0, one);
        assert_eq!(take(&bytes, &mut [consumer(1, 1)], &mut latency, 9).0, one);
        assert_eq!(take(&bytes, &mut [], &mut latency, 9).0, 0);
        // A body of more than one frame, another method, a wrong end.
        let mut long = vec![];
        delivery(&mut long, 1, 1, &[1; 5000], 4096);
        assert_eq!(take(&long, &mut [consumer(1, 9)], &mut latency, 9).0, 0);
        let mut ack = vec![];
        write_method(&mut ack, 1, &BasicAck { delivery_tag: 8, multiple: true });
        assert_eq!(take(&ack, &mut [consumer(1, 9)], &mut latency, 9).0, 0);
        bytes[one - 1] = 0;
        assert_eq!(take(&bytes, &mut [consumer(1, 9)], &mut latency, 9).0, 0);
    }
}
