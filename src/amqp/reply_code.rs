//! Reply codes (specification section 1.2; levels as RabbitMQ has them) and the exceptions that carry them.

use std::fmt;

macro_rules! reply_codes {
    ($($name:ident = $code:literal, $text:literal, $hard:literal;)*) => {
        /// A reply code: why a channel or a connection is closed, or a message returned.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ReplyCode {
            $(#[doc = $text] $name = $code,)*
        }
        impl ReplyCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [ReplyCode] = &[$(ReplyCode::$name),*];
            /// The name that starts the reply text.
            pub fn name(self) -> &'static str {
                match self { $(ReplyCode::$name => $text,)* }
            }
            /// Whether it closes the connection (hard error) rather than the channel.
            pub fn is_hard(self) -> bool {
                match self { $(ReplyCode::$name => $hard,)* }
            }
            /// The number on the wire.
            pub fn number(self) -> u16 {
                self as u16
            }
        }
    };
}

reply_codes! {
    ReplySuccess = 200, "REPLY_SUCCESS", false;
    ContentTooLarge = 311, "CONTENT_TOO_LARGE", false;
    NoRoute = 312, "NO_ROUTE", false;
    NoConsumers = 313, "NO_CONSUMERS", false;
    ConnectionForced = 320, "CONNECTION_FORCED", true;
    InvalidPath = 402, "INVALID_PATH", true;
    AccessRefused = 403, "ACCESS_REFUSED", false;
    NotFound = 404, "NOT_FOUND", false;
    ResourceLocked = 405, "RESOURCE_LOCKED", false;
    PreconditionFailed = 406, "PRECONDITION_FAILED", false;
    FrameError = 501, "FRAME_ERROR", true;
    SyntaxError = 502, "SYNTAX_ERROR", true;
    CommandInvalid = 503, "COMMAND_INVALID", true;
    ChannelError = 504, "CHANNEL_ERROR", true;
    UnexpectedFrame = 505, "UNEXPECTED_FRAME", true;
    ResourceError = 506, "RESOURCE_ERROR", true;
    NotAllowed = 530, "NOT_ALLOWED", true;
    NotImplemented = 540, "NOT_IMPLEMENTED", true;
    InternalError = 541, "INTERNAL_ERROR", true;
}

/// Class and method id, as in the close methods; (0, 0) when no method is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MethodId {
    /// The class id.
    pub class: u16,
    /// The method id within the class.
    pub method: u16,
}

impl MethodId {
    /// No method in particular.
    pub const NONE: MethodId = MethodId { class: 0, method: 0 };

    /// Class and method id.
    pub const fn new(class: u16, method: u16) -> MethodId {
        MethodId { class, method }
    }
}

/// A peer's fault (or an operator's order) that closes a channel or a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The reply code; it decides what is closed.
    pub code: ReplyCode,
    /// The whole reply text, `NAME - explanation`, at most 255 bytes.
    pub text: String,
    /// The offending method.
    pub method: MethodId,
    /// A soft code that closes the connection all the same (a refused log-in).
    pub closes_connection: bool,
}

impl Exception {
    /// An exception with an explanation; text longer than 255 bytes is cut and ends in `...` (as RabbitMQ does).
    pub fn new(code: ReplyCode, method: MethodId, explanation: impl fmt::Display) -> Exception {
        let mut text = format!("{} - {}", code.name(), explanation);
        if text.len() > 255 {
            let mut end = 252;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str("...");
        }
        Exception { code, text, method, closes_connection: code.is_hard() }
    }

    /// An exception whose text is the bare name of its code.
    pub fn bare(code: ReplyCode, method: MethodId) -> Exception {
        Exception { code, text: code.name().to_owned(), method, closes_connection: code.is_hard() }
    }

    /// The same, closing the connection whatever its code says.
    pub fn hard(mut self) -> Exception {
        self.closes_connection = true;
        self
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.number(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let cut = Exception::new(ReplyCode::NotFound, MethodId::NONE, "ä".repeat(200));
        assert!(cut.text.len() <= 255 && cut.text.ends_with("..."), "{}", cut.text.len());
        let whole = Exception::new(ReplyCode::NotFound, MethodId::NONE, "no queue 'q' in vhost '/'");
        assert_eq!(whole.text, "NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(Exception::bare(ReplyCode::InternalError, MethodId::NONE).text, "INTERNAL_ERROR");
    }

    #[test]
    fn levels_are_the_specifications() {
        let soft: Vec<u16> = ReplyCode::ALL.iter().filter(|c| !c.is_hard()).map(|c| c.number()).collect();
        assert_eq!(soft, [200, 311, 312, 313, 403, 404, 405, 406]);
    }
}
