//! All classes and methods, in one table: the macro call below is the specification.
//!
//! Sources: AMQP 0-9-1 specification, and RabbitMQ's extensions (exchange.bind/unbind, basic.nack, confirm.select,
//! connection.blocked/unblocked/update-secret). Fields are in wire order under the specification's names.

use super::codec::{BitWriter, DecodeError, Field, LongStr, Reader};
use super::reply_code::MethodId;
use super::table::Table;

/// A method that can be appended to a buffer: ids and arguments, without the frame around them.
pub trait Encode {
    /// Appends class id, method id and arguments.
    fn encode(&self, out: &mut Vec<u8>);
}

/// One row of the method table, for tests and tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodRow {
    /// Class and method id.
    pub id: MethodId,
    /// The name in this crate, such as `QueueDeclareOk`.
    pub name: &'static str,
    /// Name and data type of each argument, in wire order.
    pub fields: &'static [(&'static str, &'static str)],
}

macro_rules! methods {
    ($( $(#[$doc:meta])* $name:ident $(<$lt:lifetime>)? = $class:literal, $method:literal {
        $( $field:ident : $type:ty ),* $(,)?
    } )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            #[allow(missing_docs)] // the fields are the specification's
            pub struct $name $(<$lt>)? { $( pub $field: $type, )* }

            impl $(<$lt>)? $name $(<$lt>)? {
                /// Class and method id.
                pub const ID: MethodId = MethodId::new($class, $method);
            }
            impl $(<$lt>)? Encode for $name $(<$lt>)? {
                fn encode(&self, out: &mut Vec<u8>) {
                    const CLASS: [u8; 2] = ($class as u16).to_be_bytes();
                    const METHOD: [u8; 2] = ($method as u16).to_be_bytes();
                    out.extend_from_slice(&[CLASS[0], CLASS[1], METHOD[0], METHOD[1]]);
                    let mut _bits = BitWriter::default();
                    $( self.$field.write(out, &mut _bits); )*
                }
            }
        )*

        /// Any method, decoded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // each variant is documented at its struct
        pub enum Method<'a> {
            $( $name($name $(<$lt>)?), )*
        }

        impl<'a> Method<'a> {
            /// The arguments of the method with these ids.
            ///
            /// # Errors
            /// The first thing wrong: an unknown method, an argument that cannot be read, bytes left over.
            pub fn decode(id: MethodId, arguments: &'a [u8]) -> Result<Method<'a>, DecodeError> {
                let mut reader = Reader::new(arguments);
                let method = match (id.class, id.method) {
                    $( ($class, $method) => Method::$name($name { $( $field: Field::read(&mut reader)?, )* }), )*
                    (class, method) => return Err(DecodeError::UnknownMethod(class, method)),
                };
                reader.finish()?;
                Ok(method)
            }

            /// Class and method id.
            pub fn id(&self) -> MethodId {
                match self { $( Method::$name(_) => MethodId::new($class, $method), )* }
            }
        }

        impl Encode for Method<'_> {
            fn encode(&self, out: &mut Vec<u8>) {
                match self { $( Method::$name(method) => method.encode(out), )* }
            }
        }

        impl<'a> Method<'a> {
            /// The method table, by class and method id.
            pub const TABLE: &'static [MethodRow] = &[
                $( MethodRow {
                    id: MethodId::new($class, $method),
                    name: stringify!($name),
                    fields: &[ $( (stringify!($field), <$type as Field<'a>>::KIND), )* ],
                }, )*
            ];
        }
    };
}

methods! {
    /// Starts connection negotiation.
    ConnectionStart<'a> = 10, 10 { version_major: u8, version_minor: u8, server_properties: Table<'a>, mechanisms: LongStr<'a>, locales: LongStr<'a> }
    /// Selects security mechanism and locale.
    ConnectionStartOk<'a> = 10, 11 { client_properties: Table<'a>, mechanism: &'a str, response: LongStr<'a>, locale: &'a str }
    /// Security mechanism challenge.
    ConnectionSecure<'a> = 10, 20 { challenge: LongStr<'a> }
    /// Security mechanism response.
    ConnectionSecureOk<'a> = 10, 21 { response: LongStr<'a> }
    /// Proposes connection tuning parameters.
    ConnectionTune = 10, 30 { channel_max: u16, frame_max: u32, heartbeat: u16 }
    /// Negotiates connection tuning parameters.
    ConnectionTuneOk = 10, 31 { channel_max: u16, frame_max: u32, heartbeat: u16 }
    /// Opens a connection to a virtual host.
    ConnectionOpen<'a> = 10, 40 { virtual_host: &'a str, reserved_1: &'a str, reserved_2: bool }
    /// Signals that the connection is ready.
    ConnectionOpenOk<'a> = 10, 41 { reserved_1: &'a str }
    /// Requests a connection close.
    ConnectionClose<'a> = 10, 50 { reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16 }
    /// Confirms a connection close.
    ConnectionCloseOk = 10, 51 {}
    /// Tells a publisher that it is blocked (RabbitMQ).
    ConnectionBlocked<'a> = 10, 60 { reason: &'a str }
    /// Tells a publisher that it is blocked no more (RabbitMQ).
    ConnectionUnblocked = 10, 61 {}
    /// Replaces the connection's credentials (RabbitMQ).
    ConnectionUpdateSecret<'a> = 10, 70 { new_secret: LongStr<'a>, reason: &'a str }
    /// Confirms update-secret (RabbitMQ).
    ConnectionUpdateSecretOk = 10, 71 {}

    /// Opens a channel for use.
    ChannelOpen<'a> = 20, 10 { reserved_1: &'a str }
    /// Signals that the channel is ready.
    ChannelOpenOk<'a> = 20, 11 { reserved_1: LongStr<'a> }
    /// Enables or disables flow from the peer.
    ChannelFlow = 20, 20 { active: bool }
    /// Confirms a flow method.
    ChannelFlowOk = 20, 21 { active: bool }
    /// Requests a channel close.
    ChannelClose<'a> = 20, 40 { reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16 }
    /// Confirms a channel close.
    ChannelCloseOk = 20, 41 {}

    /// Requests an access ticket (deprecated in 0-9-1, still sent by old clients).
    AccessRequest<'a> = 30, 10 { realm: &'a str, exclusive: bool, passive: bool, active: bool, write: bool, read: bool }
    /// Grants an access ticket.
    AccessRequestOk = 30, 11 { reserved_1: u16 }

    /// Verifies that an exchange exists, creates it if needed.
    ExchangeDeclare<'a> = 40, 10 { reserved_1: u16, exchange: &'a str, kind: &'a str, passive: bool, durable: bool, auto_delete: bool, internal: bool, no_wait: bool, arguments: Table<'a> }
    /// Confirms exchange declaration.
    ExchangeDeclareOk = 40, 11 {}
    /// Deletes an exchange.
    ExchangeDelete<'a> = 40, 20 { reserved_1: u16, exchange: &'a str, if_unused: bool, no_wait: bool }
    /// Confirms deletion of an exchange.
    ExchangeDeleteOk = 40, 21 {}
    /// Binds an exchange to an exchange (RabbitMQ).
    ExchangeBind<'a> = 40, 30 { reserved_1: u16, destination: &'a str, source: &'a str, routing_key: &'a str, no_wait: bool, arguments: Table<'a> }
    /// Confirms exchange.bind.
    ExchangeBindOk = 40, 31 {}
    /// Unbinds an exchange from an exchange (RabbitMQ).
    ExchangeUnbind<'a> = 40, 40 { reserved_1: u16, destination: &'a str, source: &'a str, routing_key: &'a str, no_wait: bool, arguments: Table<'a> }
    /// Confirms exchange.unbind (the id 51 is RabbitMQ's).
    ExchangeUnbindOk = 40, 51 {}

    /// Declares a queue, creates it if needed.
    QueueDeclare<'a> = 50, 10 { reserved_1: u16, queue: &'a str, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool, arguments: Table<'a> }
    /// Confirms a queue definition.
    QueueDeclareOk<'a> = 50, 11 { queue: &'a str, message_count: u32, consumer_count: u32 }
    /// Binds a queue to an exchange.
    QueueBind<'a> = 50, 20 { reserved_1: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str, no_wait: bool, arguments: Table<'a> }
    /// Confirms that the bind was successful.
    QueueBindOk = 50, 21 {}
    /// Purges a queue.
    QueuePurge<'a> = 50, 30 { reserved_1: u16, queue: &'a str, no_wait: bool }
    /// Confirms a queue purge.
    QueuePurgeOk = 50, 31 { message_count: u32 }
    /// Deletes a queue.
    QueueDelete<'a> = 50, 40 { reserved_1: u16, queue: &'a str, if_unused: bool, if_empty: bool, no_wait: bool }
    /// Confirms deletion of a queue.
    QueueDeleteOk = 50, 41 { message_count: u32 }
    /// Unbinds a queue from an exchange.
    QueueUnbind<'a> = 50, 50 { reserved_1: u16, queue: &'a str, exchange: &'a str, routing_key: &'a str, arguments: Table<'a> }
    /// Confirms that the unbind was successful.
    QueueUnbindOk = 50, 51 {}

    /// Specifies quality of service.
    BasicQos = 60, 10 { prefetch_size: u32, prefetch_count: u16, global: bool }
    /// Confirms the requested qos.
    BasicQosOk = 60, 11 {}
    /// Starts a queue consumer.
    BasicConsume<'a> = 60, 20 { reserved_1: u16, queue: &'a str, consumer_tag: &'a str, no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool, arguments: Table<'a> }
    /// Confirms a new consumer.
    BasicConsumeOk<'a> = 60, 21 { consumer_tag: &'a str }
    /// Ends a queue consumer.
    BasicCancel<'a> = 60, 30 { consumer_tag: &'a str, no_wait: bool }
    /// Confirms a cancelled consumer.
    BasicCancelOk<'a> = 60, 31 { consumer_tag: &'a str }
    /// Publishes a message.
    BasicPublish<'a> = 60, 40 { reserved_1: u16, exchange: &'a str, routing_key: &'a str, mandatory: bool, immediate: bool }
    /// Returns a failed message.
    BasicReturn<'a> = 60, 50 { reply_code: u16, reply_text: &'a str, exchange: &'a str, routing_key: &'a str }
    /// Notifies the client of a consumer message.
    BasicDeliver<'a> = 60, 60 { consumer_tag: &'a str, delivery_tag: u64, redelivered: bool, exchange: &'a str, routing_key: &'a str }
    /// Direct access to a queue.
    BasicGet<'a> = 60, 70 { reserved_1: u16, queue: &'a str, no_ack: bool }
    /// Provides the client with a message.
    BasicGetOk<'a> = 60, 71 { delivery_tag: u64, redelivered: bool, exchange: &'a str, routing_key: &'a str, message_count: u32 }
    /// Indicates that no messages are available.
    BasicGetEmpty<'a> = 60, 72 { reserved_1: &'a str }
    /// Acknowledges one or more messages (by the server: confirms publishes).
    BasicAck = 60, 80 { delivery_tag: u64, multiple: bool }
    /// Rejects an incoming message.
    BasicReject = 60, 90 { delivery_tag: u64, requeue: bool }
    /// Redelivers unacknowledged messages, without an answer.
    BasicRecoverAsync = 60, 100 { requeue: bool }
    /// Redelivers unacknowledged messages.
    BasicRecover = 60, 110 { requeue: bool }
    /// Confirms a requested recover.
    BasicRecoverOk = 60, 111 {}
    /// Rejects one or more messages (RabbitMQ; by the server: refuses publishes).
    BasicNack = 60, 120 { delivery_tag: u64, multiple: bool, requeue: bool }

    /// Puts the channel into confirm mode (RabbitMQ).
    ConfirmSelect = 85, 10 { no_wait: bool }
    /// Confirms confirm.select.
    ConfirmSelectOk = 85, 11 {}

    /// Selects standard transaction mode.
    TxSelect = 90, 10 {}
    /// Confirms transaction mode.
    TxSelectOk = 90, 11 {}
    /// Commits the current transaction.
    TxCommit = 90, 20 {}
    /// Confirms a successful commit.
    TxCommitOk = 90, 21 {}
    /// Abandons the current transaction.
    TxRollback = 90, 30 {}
    /// Confirms a successful rollback.
    TxRollbackOk = 90, 31 {}
}

/// The arguments of a basic.publish, read without going through [`Method`]: this runs once per message.
#[inline]
pub fn decode_publish(arguments: &[u8]) -> Result<BasicPublish<'_>, DecodeError> {
    let mut reader = Reader::new(arguments);
    let publish = BasicPublish {
        reserved_1: reader.u16()?,
        exchange: reader.short_str()?,
        routing_key: reader.short_str()?,
        mandatory: reader.bit()?,
        immediate: reader.bit()?,
    };
    reader.finish()?;
    Ok(publish)
}
