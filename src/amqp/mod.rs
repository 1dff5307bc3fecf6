//! The wire: AMQP 0-9-1 bytes to values and back.
//!
//! Decoding allocates nothing and never panics, whatever the bytes; encoding appends to a buffer that the caller owns.
//! This room knows no state: what a frame means is decided in `connection` and above.
//! Sources: AMQP 0-9-1 specification (section 4.2, frame and field formats) and RabbitMQ's protocol extensions.

pub mod codec;
pub mod content;
pub mod frame;
pub mod method;
pub mod properties;
pub mod reply_code;
pub mod table;

pub use codec::{DecodeError, LongStr, Reader};
pub use content::{Content, Stamp};
pub use frame::{Frame, FrameHeader, FrameKind};
pub use method::Method;
pub use properties::{Properties, PropertyFlags};
pub use reply_code::{Exception, MethodId, ReplyCode};
pub use table::{Array, Table, TableWriter, Value};
