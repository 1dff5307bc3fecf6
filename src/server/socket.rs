//! One connection's socket: a read, a write, and what is known of its readiness.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::connection::outbound::Outbound;
use crate::shard::ConnectionId;
use crate::shard::turn::{CloseKind, ReadOutcome, WriteOutcome};

/// Slices per vectored write: bodies of 16 KiB and more, so this is a megabyte.
const SLICES_MAX: usize = 64;

/// A connection's socket, and what the event loop remembers of it. Readiness is reported once (edge-triggered).
#[derive(Debug)]
pub struct Socket {
    /// Whose socket it is.
    pub id: ConnectionId,
    /// It is in the list of sockets to read.
    pub queued: bool,
    /// The last write left something over; nothing is written before the socket is reported writable.
    pub full: bool,
    /// The other side has closed, or the socket failed: there is an end to be read behind the last bytes, and no
    /// further event will say so.
    pub ended: bool,
    /// The turn in which it was last read.
    pub read_turn: u64,
    stream: TcpStream,
}

impl Socket {
    /// A socket that is neither known to be readable nor full.
    pub fn new(id: ConnectionId, stream: TcpStream) -> Socket {
        Socket { id, queued: false, full: false, ended: false, read_turn: 0, stream }
    }

    /// Reads once. True: there may be more.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> (ReadOutcome, bool) {
        let outcome = read(&mut self.stream, buffer);
        // A short read has emptied the socket, which saves the read that would say so. What arrives later, the other
        // side's end included, is reported; only an end that was reported before is still to be looked for.
        let more = match outcome {
            ReadOutcome::Bytes(count) => count == buffer.len() || self.ended,
            ReadOutcome::Empty | ReadOutcome::Closed => false,
        };
        (outcome, more)
    }

    /// Writes as much as the socket takes.
    #[inline]
    pub fn write(&mut self, outbound: &mut Outbound, slices: &mut SliceList) -> WriteOutcome {
        let outcome = write(&mut self.stream, outbound, slices);
        self.full = outcome == WriteOutcome::Full;
        outcome
    }

    /// Closes the socket.
    pub fn close(self, how: CloseKind) {
        if how == CloseKind::Reset {
            // Without a linger time the system drops what is unsent and resets. When it does not, closing will do.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Room for the slices of a vectored write, kept from one write to the next.
#[derive(Debug, Default)]
pub struct SliceList {
    spare: Vec<IoSlice<'static>>,
}

impl SliceList {
    fn take<'a>(&mut self) -> Vec<IoSlice<'a>> {
        std::mem::take(&mut self.spare)
    }

    fn give(&mut self, mut slices: Vec<IoSlice<'_>>) {
        slices.clear();
        // Nothing is mapped: collecting in place turns the empty list into one of another lifetime, memory and all.
        self.spare = slices.into_iter().map(|_| IoSlice::new(&[])).collect();
    }
}

#[inline]
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> ReadOutcome {
    debug_assert!(!buffer.is_empty());
    loop {
        return match stream.read(buffer) {
            Ok(0) => ReadOutcome::Closed,
            Ok(count) => ReadOutcome::Bytes(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => continue,
                ErrorKind::WouldBlock => ReadOutcome::Empty,
                _ => ReadOutcome::Closed,
            },
        };
    }
}

#[inline]
fn write(stream: &mut impl Write, outbound: &mut Outbound, slices: &mut SliceList) -> WriteOutcome {
    while !outbound.is_empty() {
        let written = match outbound.plain() {
            Some(bytes) => stream.write(bytes),
            None => write_slices(stream, outbound, slices),
        };
        match written {
            Ok(0) => return WriteOutcome::Failed,
            Ok(count) => outbound.advance(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => return WriteOutcome::Full,
                _ => return WriteOutcome::Failed,
            },
        }
    }
    WriteOutcome::Drained
}

fn write_slices(stream: &mut impl Write, outbound: &Outbound, list: &mut SliceList) -> io::Result<usize> {
    let mut slices = list.take();
    outbound.slices(&mut slices, SLICES_MAX);
    let written = stream.write_vectored(&slices);
    list.give(slices);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A stream that takes or gives this many bytes per call, or fails like this.
    struct Script {
        steps: Vec<Result<usize, ErrorKind>>,
        taken: Vec<u8>,
    }

    impl Script {
        fn new(steps: &[Result<usize, ErrorKind>]) -> Script {
            Script { steps: steps.iter().rev().copied().collect(), taken: vec![] }
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(self.steps.pop().unwrap()?.min(buffer.len()))
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.steps.pop().unwrap()?.min(bytes.len());
            self.taken.extend(&bytes[..count]);
            Ok(count)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(slices.len() <= SLICES_MAX);
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads() {
        use ErrorKind::{ConnectionReset, Interrupted, TimedOut, WouldBlock};
        for (steps, expected) in [
            (&[Ok(5)][..], ReadOutcome::Bytes(5)),
            (&[Ok(99)], ReadOutcome::Bytes(8)),
            (&[Ok(0)], ReadOutcome::Closed),
            (&[Err(WouldBlock)], ReadOutcome::Empty),
            (&[Err(Interrupted), Err(Interrupted), Ok(1)], ReadOutcome::Bytes(1)),
            (&[Err(ConnectionReset)], ReadOutcome::Closed),
            (&[Err(TimedOut)], ReadOutcome::Closed),
        ] {
            assert_eq!(read(&mut Script::new(steps), &mut [0; 8]), expected, "{steps:?}");
        }
    }

    #[test]
    fn writes() {
        use ErrorKind::{BrokenPipe, Interrupted, WouldBlock};
        for (steps, expected, taken) in [
            (&[Ok(99)][..], WriteOutcome::Drained, 6),
            (&[Ok(1), Ok(2), Ok(99)], WriteOutcome::Drained, 6),
            (&[Ok(4), Err(Interrupted), Ok(99)], WriteOutcome::Drained, 6),
            (&[Err(WouldBlock)], WriteOutcome::Full, 0),
            (&[Ok(5), Err(WouldBlock)], WriteOutcome::Full, 5),
            (&[Ok(3), Err(BrokenPipe)], WriteOutcome::Failed, 3),
            (&[Ok(0)], WriteOutcome::Failed, 0),
        ] {
            for shared in [false, true] {
                let mut outbound = Outbound::default();
                outbound.buffer().extend_from_slice(b"abc");
                match shared {
                    true => outbound.push_shared(Bytes::from_static(b"def")),
                    false => outbound.buffer().extend_from_slice(b"def"),
                }
                let mut stream = Script::new(steps);
                assert_eq!(write(&mut stream, &mut outbound, &mut SliceList::default()), expected, "{steps:?}");
                assert_eq!(stream.taken, b"abcdef"[..taken], "{steps:?}");
                assert_eq!(outbound.len(), 6 - taken);
            }
        }
    }

    #[test]
    fn an_empty_outbound_is_drained_without_a_call() {
        let outcome = write(&mut Script::new(&[]), &mut Outbound::default(), &mut SliceList::default());
        assert_eq!(outcome, WriteOutcome::Drained);
    }

    #[test]
    fn many_slices_go_in_turns_and_their_list_is_kept() {
        let mut outbound = Outbound::default();
        for _ in 0..100 {
            outbound.buffer().extend_from_slice(b"ab");
            outbound.push_shared(Bytes::from_static(b"cd"));
        }
        let mut list = SliceList::default();
        let mut stream = Script::new(&[Ok(usize::MAX); 10]);
        assert_eq!(write(&mut stream, &mut outbound, &mut list), WriteOutcome::Drained);
        assert_eq!(stream.taken, b"abcd".repeat(100));
        let (at, room) = (list.spare.as_ptr(), list.spare.capacity());
        assert!(room >= SLICES_MAX);
        let slices = list.take();
        list.give(slices);
        assert_eq!((list.spare.as_ptr(), list.spare.capacity()), (at, room));
    }
}
