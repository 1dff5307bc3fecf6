//! A run of publishes that repeat one another: on one channel, with the same exchange and routing key, whole in the
//! receive buffer. The hot path of a publisher's stream: comparing bytes with those of the publish before spares
//! reading the method, checking names and looking up the route.

use crate::amqp::frame::{END, FrameHeader, HEADER_BYTES, OVERHEAD_BYTES, part_bytes_max};
use crate::amqp::{Content, Properties};
use crate::limits::Limits;

/// Bytes of a basic.publish's method frame in front of its names.
const NAMES_AT: usize = 13;

/// The beginning of the method frame of a basic.publish, up to its names.
type Head = [u8; NAMES_AT];

/// The exchange and routing key, as two short strings, of the basic.publish at the front of `input`, if that is one on
/// channel `number`.
#[inline]
pub fn publish_names(input: &[u8], number: u16) -> Option<&[u8]> {
    let (head, rest) = input.split_first_chunk::<NAMES_AT>()?;
    let [1, c0, c1, s0, s1, s2, s3, 0, 60, 0, 40, ..] = *head else { return None };
    let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    if u16::from_be_bytes([c0, c1]) != number {
        return None;
    }
    rest.get(..size.checked_sub(NAMES_AT - HEADER_BYTES + 1)?)
}

/// The publishes at the front of some bytes that are like the first and ask for nothing beside being routed.
#[derive(Debug)]
pub struct Stream<'a> {
    head: Head,
    names: &'a [u8],
    input: &'a [u8],
    /// Properties that were found to be good.
    checked: &'a [u8],
    /// Properties that are not accepted end the stream.
    accepts: fn(&Properties<'_>) -> bool,
    properties_max: usize,
    body_max: usize,
}

impl<'a> Stream<'a> {
    /// The publishes in `input`, which begins with one of `names`, up to the first of another channel or other names,
    /// that is incomplete or in several body frames, has properties that are not accepted, asks for immediate delivery,
    /// or is wrong in any way.
    pub fn new(
        names: &'a [u8],
        input: &'a [u8],
        frame_max: u32,
        accepts: fn(&Properties<'_>) -> bool,
        limits: &Limits,
    ) -> Stream<'a> {
        let size_max = part_bytes_max(frame_max);
        Stream {
            head: input.first_chunk().copied().unwrap_or_default(),
            names,
            input,
            checked: &[0, 0],
            accepts,
            properties_max: size_max.min(limits.body_own_block_bytes),
            body_max: size_max.min(limits.message_bytes_max as usize),
        }
    }

    /// What was not taken.
    #[inline]
    pub fn left(&self) -> &'a [u8] {
        self.input
    }

    /// The next publish.
    #[inline]
    pub fn next_publish(&mut self) -> Option<Content<'a>> {
        let (head, rest) = self.input.split_first_chunk::<NAMES_AT>()?;
        if *head != self.head {
            return None;
        }
        let [0 | 1, END, frames @ ..] = rest.strip_prefix(self.names)? else { return None };
        let head = frames.first_chunk::<{ HEADER_BYTES + 12 }>()?;
        let channel = [self.head[1], self.head[2]];
        let [2, c0, c1, s0, s1, s2, s3, 0, 60, 0, 0, 0, 0, 0, 0, b0, b1, b2, b3] = *head else { return None };
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if [c0, c1] != channel || size > self.properties_max {
            return None;
        }
        let (header, rest) = frames.split_at_checked(size + OVERHEAD_BYTES)?;
        let [properties @ .., END] = header.get(HEADER_BYTES + 12..)? else { return None };
        if properties != self.checked {
            if !Properties::decode(properties).is_ok_and(|properties| (self.accepts)(&properties)) {
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
        let frames = frames.get(..frames.len() - rest.len())?;
        Some(Content { names: self.names, properties, body, frames })
    }
}

/// The publishes that a [`Stream`] took once more, from the same bytes on another shard: there is no doubt about them.
#[derive(Debug)]
pub struct Taken<'a> {
    names: &'a [u8],
    input: &'a [u8],
}

impl<'a> Taken<'a> {
    /// The publishes in `input`.
    pub fn new(input: &'a [u8]) -> Taken<'a> {
        let size = FrameHeader::read(input).map_or(0, |header| header.size as usize);
        Taken { names: input.get(NAMES_AT..size + HEADER_BYTES - 1).unwrap_or(&[]), input }
    }

    /// The next publish.
    #[inline]
    pub fn next_publish(&mut self) -> Option<Content<'a>> {
        let frames = self.input.get(NAMES_AT + self.names.len() + 2..)?;
        let [2, _, _, s0, s1, s2, s3, _, _, _, _, _, _, _, _, b0, b1, b2, b3] =
            *frames.first_chunk::<{ HEADER_BYTES + 12 }>()?
        else {
            return None;
        };
        let header_end = u32::from_be_bytes([s0, s1, s2, s3]) as usize + OVERHEAD_BYTES;
        let body_len = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        let end = if body_len == 0 { header_end } else { header_end + OVERHEAD_BYTES + body_len };
        let (frames, rest) = frames.split_at_checked(end)?;
        let properties = frames.get(HEADER_BYTES + 12..header_end - 1)?;
        let body = if body_len == 0 { &[][..] } else { frames.get(header_end + HEADER_BYTES..end - 1)? };
        self.input = rest;
        Some(Content { names: self.names, properties, body, frames })
    }
}

/// The delivery tag of the basic.ack at the front of `input`, if that is on channel `number` and of a single delivery;
/// and what is behind it.
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
        assert_eq!(publish_names(input, 9), Some(NAMES));
        assert_eq!(publish_names(input, 8), None);
        let mut stream = Stream::new(NAMES, input, 4096, |properties| properties.headers.is_none(), &Limits::default());
        let mut bodies = vec![];
        let mut contents = vec![];
        while let Some(content) = stream.next_publish() {
            assert_eq!((content.exchange(), content.routing_key()), ("e", "rk"));
            assert_eq!(content.frames.last(), Some(&END));
            bodies.push(content.body.to_vec());
            contents.push(content);
        }
        let left = stream.left().len();
        let mut again = Taken::new(&input[..input.len() - left]);
        for content in contents {
            let parts = |content: Content<'_>| {
                [content.names, content.properties, content.body, content.frames].map(<[u8]>::to_vec)
            };
            assert_eq!(again.next_publish().map(parts), Some(parts(content)));
        }
        assert!(again.next_publish().is_none());
        (bodies, left)
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
