//! Frames (specification section 4.2.3): type, channel, size, payload, and the end octet 0xCE.
//!
//! ```text
//!  0      1         3             7                  size+7
//!  +------+---------+-------------+  +------------+  +----------+
//!  | type | channel |    size     |  |  payload   |  |   0xCE   |
//!  +------+---------+-------------+  +------------+  +----------+
//!    u8       u16        u32            size bytes       u8
//! ```

use super::method::Encode;

/// Bytes before a frame's payload.
pub const HEADER_BYTES: usize = 7;
/// Bytes of a frame beside its payload.
pub const OVERHEAD_BYTES: usize = 8;
/// The octet that ends each frame.
pub const END: u8 = 0xCE;
/// The protocol header of AMQP 0-9-1.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// The smallest frame_max that may be negotiated (specification: frame-min-size).
pub const FRAME_MIN_SIZE: u32 = 4096;

/// A frame's type octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// 1: a method.
    Method,
    /// 2: a content header.
    Header,
    /// 3: a part of a content body.
    Body,
    /// 8: a heartbeat.
    Heartbeat,
    /// Anything else.
    Unknown(u8),
}

impl From<u8> for FrameKind {
    #[inline]
    fn from(octet: u8) -> Self {
        match octet {
            1 => FrameKind::Method,
            2 => FrameKind::Header,
            3 => FrameKind::Body,
            8 => FrameKind::Heartbeat,
            other => FrameKind::Unknown(other),
        }
    }
}

impl FrameKind {
    /// The type octet.
    pub fn octet(self) -> u8 {
        match self {
            FrameKind::Method => 1,
            FrameKind::Header => 2,
            FrameKind::Body => 3,
            FrameKind::Heartbeat => 8,
            FrameKind::Unknown(other) => other,
        }
    }
}

/// The first seven bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The type.
    pub kind: FrameKind,
    /// The channel number.
    pub channel: u16,
    /// Bytes of payload.
    pub size: u32,
}

impl FrameHeader {
    /// Reads a frame's header; `None` while fewer than seven bytes are there.
    #[inline]
    pub fn read(input: &[u8]) -> Option<FrameHeader> {
        let header = input.first_chunk::<HEADER_BYTES>()?;
        Some(FrameHeader {
            kind: FrameKind::from(header[0]),
            channel: u16::from_be_bytes([header[1], header[2]]),
            size: u32::from_be_bytes([header[3], header[4], header[5], header[6]]),
        })
    }
}

/// A whole frame in a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type.
    pub kind: FrameKind,
    /// The channel number.
    pub channel: u16,
    /// The payload, without header and end octet.
    pub payload: &'a [u8],
    /// The octet where 0xCE is due.
    pub end: u8,
}

impl<'a> Frame<'a> {
    /// Reads a whole frame; `None` while it is not there in full. The caller has checked the size against its limit.
    #[inline]
    pub fn read(input: &'a [u8]) -> Option<Frame<'a>> {
        let header = FrameHeader::read(input)?;
        let size = header.size as usize;
        let payload = input.get(HEADER_BYTES..HEADER_BYTES.checked_add(size)?)?;
        let end = *input.get(HEADER_BYTES + size)?;
        Some(Frame { kind: header.kind, channel: header.channel, payload, end })
    }

    /// Bytes of the frame on the wire.
    pub fn wire_bytes(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }
}

/// Appends a frame's first seven bytes.
#[inline]
pub fn write_header(out: &mut Vec<u8>, kind: FrameKind, channel: u16, size: u32) {
    let c = channel.to_be_bytes();
    let s = size.to_be_bytes();
    out.extend_from_slice(&[kind.octet(), c[0], c[1], s[0], s[1], s[2], s[3]]);
}

/// Appends a method frame.
pub fn write_method<M: Encode>(out: &mut Vec<u8>, channel: u16, method: &M) {
    write_header(out, FrameKind::Method, channel, 0);
    let start = out.len();
    method.encode(out);
    let size = (out.len() - start) as u32;
    if let Some(place) = out.get_mut(start - 4..start) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    out.push(END);
}

/// Appends a content header frame of class basic; `properties` are flags and property list as on the wire.
#[inline]
pub fn write_content_header(out: &mut Vec<u8>, channel: u16, body_bytes: u64, properties: &[u8]) {
    let c = channel.to_be_bytes();
    let s = (12 + properties.len() as u32).to_be_bytes();
    let b = body_bytes.to_be_bytes();
    // One append for the fixed part: this runs once per delivery.
    out.extend_from_slice(&[
        2, c[0], c[1], s[0], s[1], s[2], s[3], 0, 60, 0, 0, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
    ]);
    out.extend_from_slice(properties);
    out.push(END);
}

/// Appends `body` as body frames of at most `frame_max` bytes each (0: no limit). An empty body has no frame.
#[inline]
pub fn write_body(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_max: u32) {
    let part_max = part_bytes_max(frame_max);
    if body.len() <= part_max {
        if !body.is_empty() {
            write_header(out, FrameKind::Body, channel, body.len() as u32);
            out.extend_from_slice(body);
            out.push(END);
        }
        return;
    }
    for part in body.chunks(part_max) {
        write_header(out, FrameKind::Body, channel, part.len() as u32);
        out.extend_from_slice(part);
        out.push(END);
    }
}

/// The most body bytes that fit into one frame under `frame_max` (0: no limit).
#[inline]
pub fn part_bytes_max(frame_max: u32) -> usize {
    if frame_max == 0 { u32::MAX as usize } else { frame_max as usize - OVERHEAD_BYTES }
}

/// Appends a heartbeat frame.
pub fn write_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, END]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_only_when_it_is_whole() {
        let mut out = vec![];
        write_header(&mut out, FrameKind::Body, 7, 3);
        out.extend_from_slice(b"abc\xCE");
        for cut in 0..out.len() {
            assert_eq!(Frame::read(&out[..cut]), None, "{cut}");
        }
        let frame = Frame::read(&out).unwrap();
        assert_eq!((frame.kind, frame.channel, frame.payload, frame.end), (FrameKind::Body, 7, &b"abc"[..], END));
        assert_eq!(frame.wire_bytes(), out.len());
    }

    #[test]
    fn bodies_are_split_at_frame_max() {
        let body = vec![1u8; 10_000];
        let mut out = vec![];
        write_body(&mut out, 1, &body, 4096);
        let (mut at, mut sizes) = (0, vec![]);
        while let Some(frame) = Frame::read(&out[at..]) {
            sizes.push(frame.payload.len());
            at += frame.wire_bytes();
        }
        assert_eq!(at, out.len());
        assert_eq!(sizes, [4088, 4088, 1824]);
        out.clear();
        write_body(&mut out, 1, &[], 4096);
        assert!(out.is_empty());
    }
}
