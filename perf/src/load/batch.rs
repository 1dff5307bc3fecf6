//! Batches of publishes, encoded once: only a few bytes of each message are written anew before a batch is sent.

use leveret::amqp::frame::{FrameHeader, HEADER_BYTES, OVERHEAD_BYTES, write_body, write_content_header, write_method};
use leveret::amqp::method::BasicPublish;

use super::stamp;

/// Bytes of a batch, if more than one message fits: large enough that the system call does not count.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of all batches together, so that many of them stay in the processor's caches.
const ALL_BYTES: usize = 4 << 20;
/// Digits of a random routing key.
const KEY_DIGITS: usize = 16;

/// What all messages of a batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The exchange.
    pub exchange: String,
    /// The routing key; `None` is another one with each message.
    pub key: Option<String>,
    /// The mandatory flag.
    pub mandatory: bool,
    /// Flags and list of properties, as on the wire.
    pub properties: Vec<u8>,
    /// Bytes of the body.
    pub size: usize,
    /// The largest frame.
    pub frame_max: u32,
    /// The mark of the run.
    pub mark: u32,
}

/// The messages of a batch as they are on the wire.
#[derive(Debug)]
pub struct Batch {
    shape: Shape,
    /// One message.
    unit: Vec<u8>,
    /// Where the frames of a unit have their channel.
    channels: Vec<usize>,
    /// Where the body starts in a unit.
    body: usize,
    /// Where the digits of the random key are.
    key: Option<usize>,
    /// Units, one behind the other.
    bytes: Vec<u8>,
    /// The channel of the units in `bytes`.
    channel: u16,
    /// The most messages of one batch.
    most: u64,
    random: u64,
}

impl Batch {
    /// Encodes one message.
    pub fn new(shape: Shape) -> Batch {
        let placeholder = "0".repeat(KEY_DIGITS);
        let (exchange, routing_key) = (shape.exchange.as_str(), shape.key.as_deref().unwrap_or(&placeholder));
        let mut unit = vec![];
        let publish =
            BasicPublish { reserved_1: 0, exchange, routing_key, mandatory: shape.mandatory, immediate: false };
        write_method(&mut unit, 1, &publish);
        let key = shape.key.is_none().then(|| unit.len() - 1 - 1 - KEY_DIGITS);
        write_content_header(&mut unit, 1, shape.size as u64, &shape.properties);
        let body = unit.len() + HEADER_BYTES;
        let mut content = vec![b'x'; shape.size];
        if let Some(place) = content.get_mut(stamp::SEQUENCE_BYTES..stamp::MARK_BYTES) {
            place.copy_from_slice(&shape.mark.to_be_bytes());
        }
        write_body(&mut unit, 1, &content, shape.frame_max);
        let (mut channels, mut at) = (vec![], 0);
        while let Some(header) = FrameHeader::read(&unit[at..]) {
            channels.push(at + 1);
            at += header.size as usize + OVERHEAD_BYTES;
        }
        let random = u64::from(shape.mark) << 32 | 1;
        let mut batch = Batch { shape, unit, channels, body, key, bytes: vec![], channel: 1, most: 1, random };
        batch.share(1);
        batch
    }

    /// What the messages have in common.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The most messages of one batch.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Makes do with a share of the memory, being one of `count` batches.
    pub fn share(&mut self, count: usize) {
        self.most = (BATCH_BYTES.min(ALL_BYTES / count.max(1)) / self.unit.len()).max(1) as u64;
    }

    /// `count` messages of `producer` on `channel` with the sequences from `sequence` on, message number `i` stamped
    /// with `time(i)`. At most [`most`](Batch::most).
    #[inline]
    pub fn fill(&mut self, count: u64, channel: u16, producer: u16, sequence: u64, time: impl Fn(u64) -> u64) -> &[u8] {
        let len = self.unit.len();
        let bytes = count as usize * len;
        if self.bytes.len() < bytes {
            self.grow(bytes);
        }
        if self.channel != channel {
            self.channel = channel;
            // Later batches may be longer: all units have one channel.
            for unit in self.bytes.chunks_exact_mut(len) {
                for at in &self.channels {
                    unit[*at..*at + 2].copy_from_slice(&channel.to_be_bytes());
                }
            }
        }
        let body = self.body;
        if self.shape.size >= stamp::SEQUENCE_BYTES {
            for (i, unit) in (0..).zip(self.bytes[..bytes].chunks_exact_mut(len)) {
                if let Some(head) = unit[body..].first_chunk_mut::<{ stamp::SEQUENCE_BYTES }>() {
                    head[..8].copy_from_slice(&stamp::word(time(i), producer).to_be_bytes());
                    head[8..].copy_from_slice(&(sequence.wrapping_add(i) as u32).to_be_bytes());
                }
            }
        } else if self.shape.size >= stamp::TIME_BYTES {
            for (i, unit) in (0..).zip(self.bytes[..bytes].chunks_exact_mut(len)) {
                unit[body..body + 8].copy_from_slice(&stamp::word(time(i), producer).to_be_bytes());
            }
        }
        if let Some(key) = self.key {
            for unit in self.bytes[..bytes].chunks_exact_mut(len) {
                self.random = next_random(self.random);
                hex(self.random, &mut unit[key..key + KEY_DIGITS]);
            }
        }
        &self.bytes[..bytes]
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let channel = self.channel;
        for at in &self.channels {
            self.unit[*at..*at + 2].copy_from_slice(&channel.to_be_bytes());
        }
        // Doubled, so that a producer that wants ever more does not grow it message by message.
        let wanted = bytes.max((self.bytes.len() * 2).min(self.most() as usize * self.unit.len()));
        while self.bytes.len() < wanted {
            self.bytes.extend_from_slice(&self.unit);
        }
    }
}

/// The next number of a sequence without a pattern that a router could profit from (xorshift64).
fn next_random(mut n: u64) -> u64 {
    n ^= n << 13;
    n ^= n >> 7;
    n ^ n << 17
}

fn hex(number: u64, place: &mut [u8]) {
    for (i, digit) in place.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * i) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret::amqp::frame::{Frame, FrameKind};
    use leveret::amqp::method::decode_publish;

    fn shape(size: usize, key: Option<&str>) -> Shape {
        Shape {
            exchange: "e".into(),
            key: key.map(str::to_owned),
            mandatory: true,
            properties: vec![0, 0],
            size,
            frame_max: 4096,
            mark: 0x4c50_0001,
        }
    }

    /// Channel, key and body of each message.
    fn read(mut bytes: &[u8], size: usize) -> Vec<(u16, String, Vec<u8>)> {
        let mut found: Vec<(u16, String, Vec<u8>)> = vec![];
        while let Some(frame) = Frame::read(bytes) {
            assert_eq!(frame.end, 0xCE);
            match frame.kind {
                FrameKind::Method => {
                    let publish = decode_publish(&frame.payload[4..]).unwrap();
                    assert_eq!((publish.exchange, publish.mandatory), ("e", true));
                    found.push((frame.channel, publish.routing_key.into(), vec![]));
                }
                FrameKind::Header => assert_eq!(frame.payload[4..12], (size as u64).to_be_bytes()),
                _ => found.last_mut().unwrap().2.extend_from_slice(frame.payload),
            }
            assert_eq!(frame.channel, found.last().unwrap().0);
            bytes = &bytes[frame.wire_bytes()..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn messages_of_all_sizes_are_whole_and_stamped() {
        for size in [0, 1, 7, 8, 11, 12, 15, 16, 1000, 4088, 4089, 10_000, 300_000] {
            let mut batch = Batch::new(shape(size, Some("k")));
            for (count, channel, sequence) in [(1, 1, 0), (3, 2, 1), (2, 2, 4), (20, 3, 6)] {
                let count = count.min(batch.most());
                let bytes = batch.fill(count, channel, 9, sequence, |i| 100 + i);
                let found = read(bytes, size);
                assert_eq!(found.len() as u64, count);
                for (i, (at, key, body)) in (0..).zip(found) {
                    assert_eq!((at, key.as_str(), body.len()), (channel, "k", size));
                    let head = stamp::Head::read(&body);
                    assert_eq!(head.word, (size >= 8).then(|| stamp::word(100 + i, 9)), "{size}");
                    assert_eq!(head.sequence, (size >= 12).then_some((sequence + i) as u32));
                    assert_eq!(head.mark, (size >= 16).then_some(0x4c50_0001));
                }
            }
        }
    }

    #[test]
    fn many_batches_are_small_and_never_empty() {
        let mut batch = Batch::new(shape(1000, Some("k")));
        let most = batch.most();
        batch.share(100);
        assert!(batch.most() > 1 && batch.most() < most / 4);
        batch.share(1_000_000);
        assert_eq!(batch.most(), 1);
    }

    #[test]
    fn random_keys_differ() {
        let mut batch = Batch::new(shape(5, None));
        let mut keys: Vec<String> =
            read(batch.fill(50, 1, 0, 0, |_| 0), 5).into_iter().map(|(_, key, _)| key).collect();
        keys.extend(read(batch.fill(50, 1, 0, 0, |_| 0), 5).into_iter().map(|(_, key, _)| key));
        assert!(keys.iter().all(|key| key.len() == KEY_DIGITS));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 100);
    }
}
