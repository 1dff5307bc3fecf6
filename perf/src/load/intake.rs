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
    /// How the last delivery looked.
    pub alike: &'a mut Alike,
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

/// How the last delivery looked. The next ones mostly look the same, and are then read with a few comparisons.
#[derive(Debug, Clone, Default)]
pub struct Alike {
    /// Its consumer, by channel.
    at: usize,
    /// Where the delivery tag, the content header's frame and the body's frame are.
    tag_at: usize,
    header_at: usize,
    body_at: usize,
    /// All bytes; 0: there was none.
    total: usize,
    /// What stands at the places that have to be the same, see `Alike::look`.
    looks: [u64; 6],
}

/// Eight bytes, to be compared.
#[inline]
fn load(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

impl Alike {
    /// The looks of the delivery at the start of `bytes`, whose payloads are so long. `None` when it has no body.
    fn of(at: usize, bytes: &[u8], method: usize, header: usize, body: usize) -> Option<Alike> {
        let header_at = method + 8;
        let body_at = header_at + header + 8;
        let total = body_at + body + 8;
        let tag_at = 12 + usize::from(*bytes.get(11)?);
        let mut alike = Alike { at, tag_at, header_at, body_at, total, looks: [0; 6] };
        alike.looks = alike.look(bytes.get(..total).filter(|_| body > 0)?)?;
        Some(alike)
    }

    /// Everything but names, tag, flag, properties and body: the frames' headers, each together with the end of the
    /// frame before it, the method's ids and the length of the consumer tag, and the body's size.
    #[inline]
    fn look(&self, whole: &[u8]) -> Option<[u64; 6]> {
        Some([
            load(whole, 0)?,
            load(whole, 4)?,
            load(whole, self.header_at - 1)?,
            load(whole, self.header_at + 7)?,
            load(whole, self.header_at + 11)?,
            load(whole, self.body_at - 1)?,
        ])
    }

    /// Tag, redelivered flag and body of a delivery that looks the same; of any other, `None`.
    #[inline]
    fn read<'b>(&self, whole: &'b [u8]) -> Option<(u64, bool, &'b [u8])> {
        let Some([body @ .., 0xCE]) = whole.get(self.body_at + 7..) else { return None };
        let [tag @ .., redelivered] = whole.get(self.tag_at..)?.first_chunk::<9>()?;
        // Not `==`, which would call a function for so many bytes.
        let other = self.look(whole)?.iter().zip(&self.looks).fold(0, |other, (a, b)| other | (a ^ b));
        if other != 0 {
            return None;
        }
        Some((u64::from_be_bytes(*tag), *redelivered & 1 == 1, body))
    }
}

impl<'a> Intake<'a> {
    /// An intake that has taken nothing yet.
    pub fn new(
        consumers: &'a mut [Consumer],
        first: usize,
        out: &'a mut Vec<u8>,
        latency: &'a mut Latency,
        alike: &'a mut Alike,
        checks: Option<&'a mut Checks>,
        now: u64,
        budget: u64,
    ) -> Intake<'a> {
        Intake { consumers, first, out, latency, alike, checks, now, budget, taken: 0, foreign: 0, run: (0, 0) }
    }

    /// Takes whole deliveries with bodies of one frame at most, from the start of `bytes` on. Stops before anything
    /// else and when the budget is used up. How many bytes were taken.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while self.taken < self.budget {
            let alike = self.take_alike(rest);
            if alike > 0 {
                rest = &rest[alike..];
                continue;
            }
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
        let consumer = self.consumers.get_mut(at).filter(|consumer| consumer.left > 0)?;
        consumer.take(tag, self.out);
        let queue = consumer.queue;
        self.accept(queue, at, redelivered, body);
        *self.alike = Alike::of(at, bytes, method.len(), header.len(), body.len()).unwrap_or_default();
        Some(rest)
    }

    /// Takes deliveries that look like the last one; how many bytes they had.
    #[inline]
    fn take_alike(&mut self, bytes: &[u8]) -> usize {
        let alike = std::mem::take(self.alike);
        let before = self.taken;
        if alike.total > 0 {
            self.take_like(&alike, bytes);
        }
        let bytes = (self.taken - before) as usize * alike.total;
        *self.alike = alike;
        bytes
    }

    #[inline]
    fn take_like(&mut self, alike: &Alike, bytes: &[u8]) {
        for whole in bytes.chunks_exact(alike.total) {
            let Some((tag, redelivered, body)) = alike.read(whole) else { break };
            let Some(consumer) = self.consumers.get_mut(alike.at) else { break };
            if consumer.left == 0 || self.taken == self.budget {
                break;
            }
            consumer.take(tag, self.out);
            let queue = consumer.queue;
            self.accept(queue, alike.at, redelivered, body);
        }
    }

    /// Counts and measures a message.
    #[inline(always)]
    fn accept(&mut self, queue: usize, at: usize, redelivered: bool, body: &[u8]) {
        let head = Head::read(body);
        if let Some(checks) = &mut self.checks {
            checks.see(queue, self.first + at, head, redelivered);
        }
        self.taken += 1;
        match head.word {
            Some(word) if word == self.run.0 => self.run.1 += 1,
            Some(word) => self.turn_to(word),
            None => self.foreign += u64::from(body.len() >= stamp::TIME_BYTES),
        }
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
        let (mut out, mut alike) = (vec![], Alike::default());
        let mut intake = Intake::new(consumers, 0, &mut out, latency, &mut alike, None, 1_000, budget);
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
    fn a_delivery_that_looks_like_the_last_one_is_read_alike() {
        let (mut one, mut two, mut other) = (vec![], vec![], vec![]);
        delivery(&mut one, 3, 7, &[1; 20], 4096);
        delivery(&mut two, 3, 8, &[2; 20], 4096);
        delivery(&mut other, 4, 8, &[2; 20], 4096);
        let header_at = (8..one.len()).find(|at| one[at - 1] == 0xCE && one[*at] == 2);
        let method = header_at.unwrap() - 8;
        let alike = Alike::of(2, &one, method, 14, 20).unwrap();
        assert_eq!(alike.total, one.len());
        assert_eq!(alike.read(&one), Some((7, false, &[1; 20][..])));
        assert_eq!(alike.read(&two), Some((8, false, &[2; 20][..])));
        assert_eq!(alike.read(&other), None);
        // Whatever is different, but for tag, redelivered flag, names, properties and body, makes it another one.
        for at in 0..two.len() {
            let mut changed = two.clone();
            changed[at] ^= 1;
            let free = (12..method + 7).contains(&at)
                || (method + 8 + 19..method + 8 + 21).contains(&at)
                || (two.len() - 21..two.len() - 1).contains(&at);
            assert_eq!(alike.read(&changed).is_some(), free, "{at}");
        }
        assert_eq!(Alike::of(2, &one, method, 14, 0).map(|alike| alike.total), None);
        assert_eq!(Alike::default().read(&[]), None);
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
