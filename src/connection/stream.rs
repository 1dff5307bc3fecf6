//! A run of publishes that repeat one another: on one channel, with the same exchange and routing key, whole in the
//! receive buffer. The hot path of a publisher's stream: comparing bytes with those of the publish before spares
//! reading the method, checking names and looking up the route.

use crate::amqp::frame::{END, HEADER_BYTES, OVERHEAD_BYTES, part_bytes_max};
use crate::amqp::properties;
use crate::amqp::{Content, Properties};
use crate::limits::Limits;

/// Bytes of a basic.publish's method frame in front of its names.
const NAMES_AT: usize = 13;

/// Makes `template` the method frame of a basic.publish on channel `number` up to its bits, which are `mandatory` and
/// `immediate`.
pub fn write_publish_template(template: &mut Vec<u8>, number: u16, names: &[u8]) {
    let n = number.to_be_bytes();
    let s = ((NAMES_AT - HEADER_BYTES + names.len() + 1) as u32).to_be_bytes();
    template.clear();
    template.extend_from_slice(&[1, n[0], n[1], s[0], s[1], s[2], s[3], 0, 60, 0, 40, 0, 0]);
    template.extend_from_slice(names);
}

/// The exchange and routing key in a template, as two short strings.
#[inline]
pub fn template_names(template: &[u8]) -> &[u8] {
    template.get(NAMES_AT..).unwrap_or(&[])
}

/// One publish of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Streamed<'a> {
    /// What was published.
    pub content: Content<'a>,
    /// Its header frame and, unless it is empty, its one body frame, as received.
    pub frames: &'a [u8],
}

/// The publishes at the front of some bytes that begin with `template` and ask for nothing beside being routed.
#[derive(Debug)]
pub struct Stream<'a> {
    template: &'a [u8],
    input: &'a [u8],
    /// Properties that were found to be good.
    checked: &'a [u8],
    /// Properties with one of these flags end the stream.
    not_flags: u16,
    properties_max: usize,
    body_max: usize,
}

impl<'a> Stream<'a> {
    /// The publishes in `input`, up to the first that is not of this template, is incomplete or in several body frames,
    /// has properties of `not_flags`, asks for immediate delivery, or is wrong in any way.
    pub fn new(template: &'a [u8], input: &'a [u8], frame_max: u32, not_flags: u16, limits: &Limits) -> Stream<'a> {
        let size_max = part_bytes_max(frame_max);
        Stream {
            template,
            input,
            checked: &[0, 0],
            not_flags,
            properties_max: size_max.min(limits.body_own_block_bytes),
            body_max: size_max.min(limits.message_bytes_max as usize),
        }
    }

    /// No body in this stream is longer.
    pub fn body_bytes_max(&self) -> usize {
        self.body_max
    }

    /// Bytes that were not taken.
    pub fn bytes_left(&self) -> usize {
        self.input.len()
    }

    /// The next publish.
    #[inline]
    pub fn next_publish(&mut self) -> Option<Streamed<'a>> {
        let input = self.input.strip_prefix(self.template)?;
        let [0 | 1, END, frames @ ..] = input else { return None };
        let head = frames.first_chunk::<{ HEADER_BYTES + 12 }>()?;
        let channel = [self.template[1], self.template[2]];
        let [2, c0, c1, s0, s1, s2, s3, 0, 60, 0, 0, 0, 0, 0, 0, b0, b1, b2, b3] = *head else { return None };
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if [c0, c1] != channel || size > self.properties_max {
            return None;
        }
        let (header, rest) = frames.split_at_checked(size + OVERHEAD_BYTES)?;
        let [properties @ .., END] = header.get(HEADER_BYTES + 12..)? else { return None };
        if properties != self.checked {
            if properties::flags(properties) & self.not_flags != 0 || Properties::decode(properties).is_err() {
                return None;
            }
            self.checked = properties;
        }
        let body_len = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        let (body, rest) = if body_len == 0 {
            (&[][..], rest)
        } else {
            let [3, c0, c1, s0, s1, s2, s3] = *rest.first_chunk::<HEADER_BYTES>()? else { return None };
            if [c0, c1] != channel || [s0, s1, s2, s3] != [b0, b1, b2, b3] || body_len > self.body_max {
                return None;
            }
            let (frame, rest) = rest.split_at_checked(body_len + OVERHEAD_BYTES)?;
            let [body @ .., END] = frame.get(HEADER_BYTES..)? else { return None };
            (body, rest)
        };
        self.input = rest;
        let content = Content { names: template_names(self.template), properties, body };
        Some(Streamed { content, frames: frames.get(..frames.len() - rest.len())? })
    }
}

/// The delivery tag of the basic.ack at the front of `input`, if that is on channel `number` and of a single delivery; and
/// what is behind it.
#[inline]
pub fn single_ack(input: &[u8], number: u16) -> Option<(u64, &[u8])> {
    let (frame, rest) = input.split_first_chunk::<21>()?;
    let [1, c0, c1, 0, 0, 0, 13, 0, 60, 0, 80, tag @ .., 0, END] = frame else { return None };
    (u16::from_be_bytes([*c0, *c1]) == number).then(|| (u64::from_be_bytes(*tag), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::frame::{write_body, write_content_header, write_method};
    use crate::amqp::method::BasicPublish;

    const NAMES: &[u8] = b"\x01e\x02rk";

    fn publish(key: &str, mandatory: bool, immediate: bool, properties: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        let method = BasicPublish { reserved_1: 0, exchange: "e", routing_key: key, mandatory, immediate };
        write_method(&mut out, 9, &method);
        write_content_header(&mut out, 9, body.len() as u64, properties);
        write_body(&mut out, 9, body, 4096);
        out
    }

    /// The bodies that a stream over `input` gives, and how many bytes it leaves.
    fn taken(input: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut template = vec![];
        write_publish_template(&mut template, 9, NAMES);
        let mut stream = Stream::new(&template, input, 4096, 0x2000, &Limits::default());
        let mut bodies = vec![];
        while let Some(Streamed { content, frames }) = stream.next_publish() {
            assert_eq!((content.exchange(), content.routing_key()), ("e", "rk"));
            assert_eq!(frames.last(), Some(&END));
            bodies.push(content.body.to_vec());
        }
        (bodies, stream.bytes_left())
    }

    #[test]
    fn repeated_publishes_are_taken_whatever_their_properties_and_size() {
        let mut input = vec![];
        let bodies: Vec<Vec<u8>> = [0, 1, 16, 4088, 0, 7].iter().map(|&len| vec![len as u8; len]).collect();
        for (n, body) in bodies.iter().enumerate() {
            let properties: &[u8] = if n % 2 == 0 { &[0, 0] } else { &[0x10, 0, 2] };
            input.extend(publish("rk", n == 1, false, properties, body));
        }
        assert_eq!(taken(&input), (bodies, 0));
    }

    #[test]
    fn whatever_is_not_plainly_a_repetition_ends_the_stream_in_front_of_it() {
        let good = publish("rk", false, false, &[0, 0], b"good");
        let bad = |mut frames: Vec<u8>, at: usize, byte: u8| {
            frames[at] = byte;
            frames
        };
        let header_at = good.len() - (4 + 8) - 22;
        let cases = [
            ("another key", publish("rx", false, false, &[0, 0], b"x")),
            ("a longer key", publish("rk1", false, false, &[0, 0], b"x")),
            ("immediate", publish("rk", false, true, &[0, 0], b"x")),
            ("headers", publish("rk", false, false, &[0x20, 0, 0, 0, 0, 0], b"x")),
            ("bad properties", publish("rk", false, false, &[0x10, 0], b"x")),
            ("two body frames", publish("rk", false, false, &[0, 0], &[0; 4089])),
            ("the method's end", bad(good.clone(), header_at - 1, 0)),
            ("the header's kind", bad(good.clone(), header_at, 3)),
            ("the header's channel", bad(good.clone(), header_at + 2, 8)),
            ("the header's size", bad(good.clone(), header_at + 6, 13)),
            ("a class", bad(good.clone(), header_at + 8, 61)),
            ("a weight", bad(good.clone(), header_at + 10, 1)),
            ("a huge body", bad(good.clone(), header_at + 11, 1)),
            ("the header's end", bad(good.clone(), header_at + 21, 0)),
            ("the body's kind", bad(good.clone(), header_at + 22, 1)),
            ("the body's channel", bad(good.clone(), header_at + 23, 1)),
            ("the body's size", bad(good.clone(), header_at + 28, 3)),
            ("the body's end", bad(good.clone(), good.len() - 1, 0)),
        ];
        for (what, bytes) in cases {
            let input = [&good[..], &bytes].concat();
            assert_eq!(taken(&input), (vec![b"good".to_vec()], bytes.len()), "{what}");
        }
        for len in 0..good.len() {
            let input = [&good[..], &good[..len]].concat();
            assert_eq!(taken(&input), (vec![b"good".to_vec()], len), "cut at {len}");
        }
    }
}
