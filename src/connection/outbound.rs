//! What a connection has still to send: bytes appended in place, with large bodies by reference between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// A piece of a shared body that goes out before the byte `at` of the buffer.
#[derive(Debug)]
struct Piece {
    at: usize,
    bytes: Bytes,
}

/// Bytes waiting for a socket. Frames are encoded at its end; the driver writes from its front.
#[derive(Debug, Default)]
pub struct Outbound {
    buffer: Vec<u8>,
    sent: usize,
    /// Of all that there was since the beginning.
    sent_bytes: u64,
    pieces: VecDeque<Piece>,
    piece_bytes: usize,
}

impl Outbound {
    /// The buffer to which frames are appended. Nothing in front of what is there may be touched.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends `bytes` by reference.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.piece_bytes += bytes.len();
            self.pieces.push_back(Piece { at: self.buffer.len(), bytes });
        }
    }

    /// Bytes not sent yet.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.sent + self.piece_bytes
    }

    /// Whether everything was sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `slices` with what is to be written next, in order.
    pub fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, count_max: usize) {
        let mut at = self.sent;
        for piece in &self.pieces {
            if slices.len() + 2 > count_max {
                return;
            }
            if piece.at > at {
                slices.push(IoSlice::new(&self.buffer[at..piece.at]));
                at = piece.at;
            }
            slices.push(IoSlice::new(&piece.bytes));
        }
        if at < self.buffer.len() && slices.len() < count_max {
            slices.push(IoSlice::new(&self.buffer[at..]));
        }
    }

    /// The buffer's unsent bytes when nothing goes by reference: the common case, one plain write.
    #[inline]
    pub fn plain(&self) -> Option<&[u8]> {
        if self.pieces.is_empty() { Some(&self.buffer[self.sent..]) } else { None }
    }

    /// Bytes that were written since the beginning.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Forgets `count` bytes that were written.
    pub fn advance(&mut self, mut count: usize) {
        self.sent_bytes += count as u64;
        while count > 0 {
            let until = self.pieces.front().map_or(self.buffer.len(), |piece| piece.at);
            let plain = count.min(until - self.sent);
            self.sent += plain;
            count -= plain;
            if count == 0 {
                break;
            }
            let Some(piece) = self.pieces.front_mut() else { break };
            let part = count.min(piece.bytes.len());
            self.piece_bytes -= part;
            count -= part;
            if part == piece.bytes.len() {
                self.pieces.pop_front();
            } else {
                let _ = piece.bytes.split_to(part);
            }
        }
        if self.is_empty() {
            self.buffer.clear();
            self.sent = 0;
        } else if self.sent > 1 << 20 && self.sent * 2 > self.buffer.len() {
            self.buffer.drain(..self.sent);
            for piece in &mut self.pieces {
                piece.at -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Takes the buffer of an empty outbound away, so that idle connections own none.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        debug_assert!(self.is_empty());
        self.sent = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Gives a buffer to an outbound that has none.
    #[inline]
    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.buffer.capacity() == 0 && buffer.is_empty());
        self.buffer = buffer;
    }

    /// Whether the outbound owns memory.
    #[inline]
    pub fn has_buffer(&self) -> bool {
        self.buffer.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbound: &mut Outbound, step: usize) -> Vec<u8> {
        let mut all = vec![];
        while !outbound.is_empty() {
            let mut slices = vec![];
            outbound.slices(&mut slices, 4);
            let bytes: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).take(step).collect();
            drop(slices);
            outbound.advance(bytes.len());
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn pieces_keep_their_place_at_every_step_size() {
        for step in 1..20 {
            let mut outbound = Outbound::default();
            outbound.buffer().extend_from_slice(b"ab");
            outbound.push_shared(Bytes::from_static(b"CDEF"));
            outbound.push_shared(Bytes::from_static(b"G"));
            outbound.buffer().extend_from_slice(b"hi");
            outbound.push_shared(Bytes::from_static(b"JK"));
            assert_eq!(outbound.len(), 11);
            assert!(outbound.plain().is_none());
            assert_eq!(drain(&mut outbound, step), b"abCDEFGhiJK", "{step}");
        }
    }

    #[test]
    fn a_long_backlog_is_moved_to_the_front_now_and_then() {
        let mut outbound = Outbound::default();
        outbound.buffer().extend_from_slice(&vec![1; 3 << 20]);
        outbound.push_shared(Bytes::from_static(b"x"));
        outbound.advance(2 << 20);
        assert_eq!(outbound.buffer().len(), 1 << 20);
        assert_eq!(outbound.len(), (1 << 20) + 1);
        assert_eq!(drain(&mut outbound, 1 << 19).last(), Some(&b'x'));
    }
}
