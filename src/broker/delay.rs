//! The x-delay header of messages to exchanges of type x-delayed-message (the RabbitMQ plugin of that name).

use crate::amqp::{Properties, Table, TableWriter, Value};

/// The longest delay, in milliseconds: that of the plugin, about 49.7 days.
pub const DELAY_MS_MAX: i64 = u32::MAX as i64;

const HEADER: &str = "x-delay";

/// The delay that a header asks for, in milliseconds: an integer, a float, or text that is an integer. Zero and less
/// ask for none.
///
/// # Errors
/// What is wrong with the header's value.
pub fn asked_ms(headers: Option<Table<'_>>) -> Result<u64, String> {
    let Some(value) = headers.and_then(|headers| headers.find(HEADER)) else { return Ok(0) };
    let delay = match value {
        Value::F32(delay) => Some(f64::from(delay) as i64),
        Value::F64(delay) => Some(delay as i64),
        Value::LongStr(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        value => value.as_integer(),
    };
    match delay {
        None => Err(format!("expected a number of milliseconds, got {}", value.type_name())),
        Some(delay) if delay > DELAY_MS_MAX => Err(format!("{{value_too_large,{delay}}}")),
        Some(delay) => Ok(u64::try_from(delay).unwrap_or(0)),
    }
}

/// The delay that a header asks for; none when it asks for nothing sensible.
pub fn of(headers: Option<Table<'_>>) -> u64 {
    asked_ms(headers).unwrap_or(0)
}

/// The properties of a message that has had its delay: the header says so by its sign, and asks for no further one.
pub fn had(before: &Properties<'_>, delay_ms: u64) -> Vec<u8> {
    let mut headers = TableWriter::new();
    for (key, value) in before.headers.iter().flat_map(|table| table.iter()) {
        if key == HEADER.as_bytes() {
            headers.put_bytes(key, Value::I64(-(delay_ms as i64)));
        } else {
            headers.put_bytes(key, value);
        }
    }
    let mut raw = Vec::new();
    Properties { headers: Some(headers.table()), ..*before }.encode(&mut raw);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_numbers_of_at_most_49_days() {
        for (value, expected) in [
            (Value::I32(5), Ok(5)),
            (Value::I64(u32::MAX.into()), Ok(u32::MAX.into())),
            (Value::I32(0), Ok(0)),
            (Value::I64(-7), Ok(0)),
            (Value::F64(12.9), Ok(12)),
            (Value::LongStr(b"250"), Ok(250)),
            (Value::I64(i64::from(u32::MAX) + 1), Err("{value_too_large,4294967296}")),
            (Value::F64(1e300), Err("{value_too_large,9223372036854775807}")),
            (Value::LongStr(b"soon"), Err("expected a number of milliseconds, got longstr")),
            (Value::Bool(true), Err("expected a number of milliseconds, got bool")),
        ] {
            let mut headers = TableWriter::new();
            headers.put("other", Value::I32(1)).put(HEADER, value);
            assert_eq!(asked_ms(Some(headers.table())), expected.map_err(str::to_owned), "{value:?}");
        }
        assert_eq!(asked_ms(None), Ok(0));
    }

    #[test]
    fn a_delay_is_had_once() {
        let mut headers = TableWriter::new();
        headers.put(HEADER, Value::I32(5)).put("mine", Value::I32(1));
        let raw = had(&Properties { headers: Some(headers.table()), ..Properties::default() }, 5);
        let after = Properties::decode(&raw).unwrap().headers.unwrap();
        assert_eq!((after.find(HEADER), after.find("mine")), (Some(Value::I64(-5)), Some(Value::I32(1))));
        assert_eq!(asked_ms(Some(after)), Ok(0));
    }
}
