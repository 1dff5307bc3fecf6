//! The x-recent-history exchange: routes like a fanout exchange, and gives its last messages to whatever is bound to it
//! (RabbitMQ's plugin of that name; reference section 10). The messages are in a queue of its own; here is what its
//! arguments and their headers say.

use crate::amqp::{Table, Value};

const LENGTH: &str = "x-recent-history-length";
const NO_STORE: &str = "x-recent-history-no-store";
/// How many are remembered of an exchange that does not say.
const LENGTH_DEFAULT: u64 = 20;

/// How many messages an exchange with these arguments remembers; what [`validate`] refuses counts as nothing said.
pub fn length(arguments: Table<'_>) -> u64 {
    let said = arguments.find(LENGTH).and_then(|value| value.as_integer()).and_then(|said| u64::try_from(said).ok());
    said.filter(|said| *said > 0).unwrap_or(LENGTH_DEFAULT)
}

/// Whether a message with these headers is remembered.
pub fn is_remembered(headers: Option<Table<'_>>) -> bool {
    headers.and_then(|headers| headers.find(NO_STORE)) != Some(Value::Bool(true))
}

/// Whether an exchange may be declared with these arguments.
pub(super) fn validate(arguments: Table<'_>) -> Result<(), String> {
    let Some(value) = arguments.find(LENGTH) else { return Ok(()) };
    if value.as_integer().is_some_and(|said| said > 0) {
        return Ok(());
    }
    let said = crate::broker::arguments::erlang_term(value);
    Err(format!("Invalid argument {said}, '{LENGTH}' must be a positive integer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::TableWriter;

    #[test]
    fn a_length_is_a_positive_integer() {
        for (value, length_then, is_valid) in [
            (Value::I32(5), 5, true),
            (Value::I64(1 << 40), 1 << 40, true),
            (Value::I8(1), 1, true),
            (Value::I32(0), 20, false),
            (Value::I32(-1), 20, false),
            (Value::LongStr(b"5"), 20, false),
            (Value::Bool(true), 20, false),
        ] {
            let mut arguments = TableWriter::new();
            arguments.put(LENGTH, value);
            assert_eq!(length(arguments.table()), length_then, "{value:?}");
            assert_eq!(validate(arguments.table()).is_ok(), is_valid, "{value:?}");
        }
        assert_eq!(length(Table::default()), 20);
    }

    #[test]
    fn only_true_keeps_a_message_from_being_remembered() {
        for (value, remembered) in [(Value::Bool(true), false), (Value::Bool(false), true), (Value::I32(1), true)] {
            let mut headers = TableWriter::new();
            headers.put(NO_STORE, value);
            assert_eq!(is_remembered(Some(headers.table())), remembered, "{value:?}");
        }
        assert!(is_remembered(None));
    }
}
