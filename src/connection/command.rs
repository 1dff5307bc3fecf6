//! What a connection's bytes ask for.

use crate::amqp::{Content, Method};

use super::channel::Assembled;

/// One thing that the peer wants, borrowed from the receive buffer.
#[derive(Debug)]
pub enum Command<'a> {
    /// The protocol header of 0-9-1 (or 0-9): connection.start is due.
    ProtocolHeader,
    /// A protocol header that we do not speak.
    UnknownProtocol,
    /// A method on channel 0.
    Connection(Method<'a>),
    /// A method on a channel that is not open: only channel.open can be.
    Unopened(u16, Method<'a>),
    /// A method on an open channel, by its slot.
    Channel(u32, Method<'a>),
    /// A publish whose content lies whole in the receive buffer.
    Publish(u32, Publish<'a>),
    /// A publish whose content was assembled from pieces.
    PublishAssembled(u32, Assembled),
}

/// A publish, in place.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Names, properties and body.
    pub content: Content<'a>,
    /// Return the message when it reaches no queue.
    pub mandatory: bool,
    /// Not implemented, as in RabbitMQ.
    pub immediate: bool,
}

/// The next step through a connection's bytes.
#[derive(Debug)]
pub enum Next<'a> {
    /// A command.
    Command(Command<'a>),
    /// More bytes are needed.
    Incomplete,
    /// The next frame belongs to a channel that waits for an answer.
    Parked,
}
