//! What an event is about, packed into mio's token.
//!
//! A connection's token holds its slot and its generation, so that an event which was already on its way when the
//! connection was closed is not taken for one of its successor in the same slot.

use mio::Token;

use crate::shard::ConnectionId;

const _: () = assert!(usize::BITS == 64, "a token holds a slot and a generation of 32 bits each");

/// Slots from here on mean something other than a connection. Far above `limits.connections_max`.
const RESERVED: u32 = u32::MAX - (1 << 16);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A connection's socket.
    Connection(ConnectionId),
    /// A listening socket, by its place.
    Listener(u16),
    /// The inbox: another thread has put something in.
    Inbox,
}

/// Packs `target` into a token.
#[inline]
pub fn encode(target: Target) -> Token {
    Token(match target {
        Target::Connection(id) => {
            debug_assert!(id.slot < RESERVED);
            (id.generation as usize) << 32 | id.slot as usize
        }
        Target::Listener(place) => (RESERVED + u32::from(place)) as usize,
        Target::Inbox => u32::MAX as usize,
    })
}

/// What [`encode`] packed.
#[inline]
pub fn decode(token: Token) -> Target {
    let slot = token.0 as u32;
    if slot < RESERVED {
        Target::Connection(ConnectionId { slot, generation: (token.0 >> 32) as u32 })
    } else if slot == u32::MAX {
        Target::Inbox
    } else {
        Target::Listener((slot - RESERVED) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_what_they_are_about() {
        let connection = |slot, generation| Target::Connection(ConnectionId { slot, generation });
        for target in [
            connection(0, 0),
            connection(0, 1),
            connection(1, 0),
            connection(1 << 20, u32::MAX),
            connection(RESERVED - 1, 7),
            Target::Listener(0),
            Target::Listener(u16::MAX - 1),
            Target::Inbox,
        ] {
            assert_eq!(decode(encode(target)), target);
        }
        assert_ne!(encode(connection(3, 1)), encode(connection(3, 2)));
    }
}
