//! Events as the event exchange tells them: names, headers and their types are those of RabbitMQ's
//! `rabbitmq_event_exchange`, so its users need not change what they read.

use serde_json::Value as Json;

use super::arguments::{erlang_binary, erlang_term};
use crate::amqp::table::ArrayWriter;
use crate::amqp::{Table, TableWriter, Value};

/// The exchange that events are published to.
pub const EXCHANGE: &str = "amq.rabbitmq.event";
/// Its number in the store: the last of those that pre-declared exchanges have.
pub const EXCHANGE_ID: u64 = u32::MAX as u64;
/// Who did what nobody has asked for.
pub const NOBODY: &str = "rmq-internal";

/// An event: what has happened, which is the routing key, and everything about it as headers.
#[derive(Debug)]
pub struct Event {
    /// Such as `queue.created`.
    pub name: &'static str,
    headers: TableWriter,
}

impl Event {
    /// An event without headers.
    pub fn new(name: &'static str) -> Event {
        Event { name, headers: TableWriter::new() }
    }

    /// Adds a text.
    pub fn text(mut self, key: &str, text: &str) -> Event {
        self.headers.put(key, Value::LongStr(text.as_bytes()));
        self
    }

    /// Adds a name, and the virtual host that it is in.
    pub fn name(self, key: &str, name: &str, vhost: &str) -> Event {
        self.text(key, name).text("vhost", vhost)
    }

    /// Adds a number.
    pub fn number(mut self, key: &str, number: u64) -> Event {
        self.headers.put(key, Value::I64(i64::try_from(number).unwrap_or(i64::MAX)));
        self
    }

    /// Adds a truth value.
    pub fn flag(mut self, key: &str, flag: bool) -> Event {
        self.headers.put(key, Value::Bool(flag));
        self
    }

    /// Adds texts.
    pub fn texts<'a>(mut self, key: &str, texts: impl Iterator<Item = &'a str>) -> Event {
        let mut array = ArrayWriter::default();
        for text in texts {
            array.push(Value::LongStr(text.as_bytes()));
        }
        self.headers.put(key, Value::Array(array.array()));
        self
    }

    /// Adds what is a table on the wire. RabbitMQ makes an array of it, one text for each entry: the Erlang term
    /// `{<<"x-max-length">>,long,10}`.
    pub fn table(self, key: &str, table: Table<'_>) -> Event {
        let term = |(key, value): (&[u8], Value<'_>)| {
            format!("{{{},{},{}}}", erlang_binary(key), value.type_name(), erlang_term(value))
        };
        let terms: Vec<String> = table.iter().map(term).collect();
        self.texts(key, terms.iter().map(String::as_str))
    }

    /// Adds a JSON value.
    pub fn json(mut self, key: &str, value: &Json) -> Event {
        put_json(&mut self.headers, key, value);
        self
    }

    /// Adds what a JSON object has; nothing for any other value.
    pub fn members(mut self, value: &Json) -> Event {
        for (key, value) in value.as_object().into_iter().flatten() {
            put_json(&mut self.headers, key, value);
        }
        self
    }

    /// Adds who did it.
    pub fn by(self, user: &str) -> Event {
        self.text("user_who_performed_action", user)
    }

    /// The headers.
    pub fn headers(&self) -> Table<'_> {
        self.headers.table()
    }
}

/// Calls `with` with a JSON value as it is in a header.
fn with_json(value: &Json, with: &mut dyn FnMut(Value<'_>)) {
    match value {
        Json::Null => with(Value::LongStr(b"null")),
        Json::Bool(flag) => with(Value::Bool(*flag)),
        Json::Number(number) => with(match number.as_i64() {
            Some(number) => Value::I64(number),
            None => Value::F64(number.as_f64().unwrap_or_default()),
        }),
        Json::String(text) => with(Value::LongStr(text.as_bytes())),
        // What is empty has no type in Erlang: an empty object is an empty array.
        Json::Object(object) if !object.is_empty() => {
            let mut table = TableWriter::new();
            object.iter().for_each(|(key, value)| put_json(&mut table, key, value));
            with(Value::Table(table.table()))
        }
        Json::Array(_) | Json::Object(_) => {
            let mut array = ArrayWriter::default();
            for value in value.as_array().into_iter().flatten() {
                with_json(value, &mut |value| {
                    array.push(value);
                });
            }
            with(Value::Array(array.array()))
        }
    }
}

fn put_json(table: &mut TableWriter, key: &str, value: &Json) {
    with_json(value, &mut |value| {
        table.put(key, value);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(event: &'a Event, key: &str) -> Value<'a> {
        event.headers().find(key).unwrap()
    }

    fn texts(value: Value<'_>) -> Vec<String> {
        let Value::Array(array) = value else { panic!("{value:?}") };
        let text = |value: Value<'_>| String::from_utf8(value.as_long_str().unwrap().to_vec()).unwrap();
        array.iter().map(text).collect()
    }

    #[test]
    fn tables_are_texts_of_erlang_terms() {
        let mut inner = TableWriter::new();
        inner.put("basic.nack", Value::Bool(true));
        let mut table = TableWriter::new();
        table.put("x-max-length", Value::I32(10)).put("x-overflow", Value::LongStr(b"reject-publish"));
        table.put("capabilities", Value::Table(inner.table()));
        let event = Event::new("queue.created").table("arguments", table.table()).table("none", Table::EMPTY);
        assert_eq!(
            texts(header(&event, "arguments")),
            [
                r#"{<<"x-max-length">>,signedint,10}"#,
                r#"{<<"x-overflow">>,longstr,<<"reject-publish">>}"#,
                r#"{<<"capabilities">>,table,[{<<"basic.nack">>,bool,true}]}"#,
            ]
        );
        assert!(texts(header(&event, "none")).is_empty());
    }

    #[test]
    fn json_is_what_it_is() {
        let text = r#"{"a": -1, "b": 1.5, "c": "x", "d": [true, null], "e": {"f": 2}, "g": {}, "h": []}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        let event = Event::new("parameter.set").members(&json).json("value", &json);
        let Value::Table(value) = header(&event, "value") else { panic!() };
        for table in [event.headers(), value] {
            assert_eq!(table.find("a"), Some(Value::I64(-1)));
            assert_eq!(table.find("b"), Some(Value::F64(1.5)));
            assert_eq!(table.find("c"), Some(Value::LongStr(b"x")));
            let Some(Value::Array(d)) = table.find("d") else { panic!() };
            assert_eq!(d.iter().collect::<Vec<_>>(), [Value::Bool(true), Value::LongStr(b"null")]);
            let Some(Value::Table(e)) = table.find("e") else { panic!() };
            assert_eq!(e.find("f"), Some(Value::I64(2)));
            assert!(["g", "h"].iter().all(|key| texts(table.find(key).unwrap()).is_empty()));
        }
        assert_eq!(Event::new("x").members(&Json::Null).headers(), Table::EMPTY);
    }
}
