//! JSON as RabbitMQ's texts show it: as Erlang terms.

use std::collections::BTreeMap;

use serde_json::{Map as JsonMap, Value as Json};

use crate::amqp::Value;
use crate::broker::arguments::{erlang_binary, erlang_term};

/// A JSON value as Erlang's `~tp` prints what RabbitMQ makes of it: `<<"foo">>`, `23`, `[1,2]`, `#{<<"k">> => true}`.
pub fn term(value: &Json) -> String {
    let list = |parts: Vec<String>| parts.join(",");
    match value {
        Json::Null => "null".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) if number.is_f64() => erlang_term(Value::F64(number.as_f64().unwrap_or_default())),
        Json::Number(number) => number.to_string(),
        Json::String(text) => erlang_binary(text.as_bytes()),
        Json::Array(values) => format!("[{}]", list(values.iter().map(term).collect())),
        Json::Object(pairs) => {
            let pair = |(key, value): (&String, &Json)| format!("{} => {}", erlang_binary(key.as_bytes()), term(value));
            format!("#{{{}}}", list(sorted(pairs.iter()).map(pair).collect()))
        }
    }
}

/// By key, whatever order the library keeps them in (a feature of it, which other packages of a build may set).
fn sorted<'a>(pairs: impl Iterator<Item = (&'a String, &'a Json)>) -> impl Iterator<Item = (&'a String, &'a Json)> {
    pairs.collect::<BTreeMap<_, _>>().into_iter()
}

/// Keys and values as a list of pairs: `[{<<"k">>,1}]`.
pub fn pairs<'a>(pairs: impl Iterator<Item = (&'a String, &'a Json)>) -> String {
    let pairs: Vec<String> =
        sorted(pairs).map(|(key, value)| format!("{{{},{}}}", erlang_binary(key.as_bytes()), term(value))).collect();
    format!("[{}]", pairs.join(","))
}

/// Keys and values as a JSON document.
pub fn document(pairs: &JsonMap<String, Json>) -> String {
    // To print JSON cannot fail.
    serde_json::to_string(&sorted(pairs.iter()).collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_erlang_terms() {
        for (json, expected) in [
            ("null", "null"),
            ("true", "true"),
            ("-3", "-3"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.5", "1.5"),
            ("2.0", "2.0"),
            ("\"a\\\"b\"", "<<\"a\\\"b\">>"),
            ("\"\"", "<<>>"),
            ("[1,\"x\",[]]", "[1,<<\"x\">>,[]]"),
            ("{\"b\":1,\"a\":{}}", "#{<<\"a\">> => #{},<<\"b\">> => 1}"),
        ] {
            let value: Json = serde_json::from_str(json).unwrap();
            assert_eq!(term(&value), expected);
        }
        let Json::Object(map) = serde_json::from_str("{\"b\":1,\"a\":\"x\"}").unwrap() else { panic!() };
        assert_eq!(pairs(map.iter()), "[{<<\"a\">>,<<\"x\">>},{<<\"b\">>,1}]");
    }
}
