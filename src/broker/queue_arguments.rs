//! Arguments of queues and of their consumers: which there are, for which type of queue, and what they may be
//! (reference section 8; RabbitMQ's `rabbit_amqqueue`, `rabbit_classic_queue`, `rabbit_quorum_queue`).

use super::deduplication::SIZE_MAX;
use super::topology::QueueSpec;
use crate::amqp::{Table, Value};

/// What a queue is (`x-queue-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueType {
    /// What a queue is when nothing is said.
    Classic,
    /// Durable, and counts the deliveries of its messages.
    Quorum,
    /// A log. There are none yet; it has arguments that the others do not know.
    Stream,
}

impl QueueType {
    /// By its name; `None` when there is no such type.
    pub fn named(name: &[u8]) -> Option<QueueType> {
        match name {
            b"classic" => Some(QueueType::Classic),
            b"quorum" => Some(QueueType::Quorum),
            b"stream" => Some(QueueType::Stream),
            _ => None,
        }
    }

    /// The type that arguments ask for; classic when they ask for none that there is.
    pub fn of(arguments: Table<'_>) -> QueueType {
        let name = arguments.find("x-queue-type").and_then(|value| value.as_long_str());
        name.and_then(QueueType::named).unwrap_or(QueueType::Classic)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
            QueueType::Stream => "stream",
        }
    }

    /// RabbitMQ's name for it in texts.
    pub fn module(self) -> &'static str {
        match self {
            QueueType::Classic => "rabbit_classic_queue",
            QueueType::Quorum => "rabbit_quorum_queue",
            QueueType::Stream => "rabbit_stream_queue",
        }
    }

    /// That of a queue.
    pub fn of_queue(queue: &QueueSpec) -> QueueType {
        QueueType::of(queue.table())
    }

    /// A bit of its own.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Whether one consumer of a queue at a time gets messages (`x-single-active-consumer`).
pub fn is_single_active(queue: &QueueSpec) -> bool {
    queue.table().find("x-single-active-consumer") == Some(Value::Bool(true))
}

/// Why an argument is refused, as RabbitMQ prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `invalid arg 'x' for queue 'q' in vhost '/': `, and this.
    Value(&'static str, String),
    /// `invalid arg 'x' for queue 'q' in vhost '/' of queue type `, and this.
    Type(&'static str, &'static str),
    /// This alone.
    Whole(&'static str),
}

impl Refusal {
    /// The whole text; `queue` is the queue as texts name it: `queue 'q' in vhost '/'`.
    pub fn text(&self, queue: &str) -> String {
        match self {
            Refusal::Value(argument, error) => format!("invalid arg '{argument}' for {queue}: {error}"),
            Refusal::Type(argument, module) => format!("invalid arg '{argument}' for {queue} of queue type {module}"),
            Refusal::Whole(text) => (*text).to_owned(),
        }
    }
}

/// What is wrong with a value.
enum Fault {
    Said(String),
    Whole(&'static str),
}

type Check = fn(Value<'_>, Table<'_>) -> Result<(), Fault>;

/// An argument, the types that know it (bits), and what its value may be.
struct Argument(&'static str, u8, Check);

const C: u8 = 1 << QueueType::Classic as u8;
const Q: u8 = 1 << QueueType::Quorum as u8;
const S: u8 = 1 << QueueType::Stream as u8;

/// RabbitMQ's bound for durations: ten years, in milliseconds.
const EXPIRY_MS_MAX: i64 = 315_360_000_000;
/// RabbitMQ's bound for a stream's segment, in bytes.
const SEGMENT_BYTES_MAX: i64 = 3_000_000_000;

/// In the order in which RabbitMQ looks at them.
const OF_QUEUES: &[Argument] = &[
    Argument("x-expires", C | Q, |value, _| duration(value, 1)),
    Argument("x-message-ttl", C | Q, |value, _| duration(value, 0)),
    Argument("x-dead-letter-exchange", C | Q, any),
    Argument("x-dead-letter-routing-key", C | Q, routing_key),
    Argument("x-dead-letter-strategy", Q, |value, _| {
        one_of(value, &["at-most-once", "at-least-once"], "invalid_dlx_strategy")
    }),
    Argument("x-max-length", C | Q, count),
    Argument("x-max-length-bytes", C | Q | S, count),
    Argument("x-max-in-memory-length", Q, count),
    Argument("x-max-in-memory-bytes", Q, count),
    Argument("x-max-priority", C, |value, _| match at_least(value, 0)? {
        priority if priority > 255 => said(format!("{{max_value_exceeded,{priority}}}")),
        _ => Ok(()),
    }),
    Argument("x-overflow", C | Q, |value, _| {
        one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"], "invalid_overflow")
    }),
    Argument("x-queue-mode", C, any),
    Argument("x-queue-version", C, |value, _| match at_least(value, 0)? {
        2 => Ok(()),
        other => said(format!("\"unsupported queue version '{other}'\"")),
    }),
    Argument("x-single-active-consumer", C | Q, |value, _| match value {
        Value::Bool(_) => Ok(()),
        _ => unacceptable(value),
    }),
    Argument("x-queue-type", C | Q | S, queue_type),
    Argument("x-quorum-initial-group-size", Q, positive),
    Argument("x-initial-cluster-size", S, positive),
    // A classic queue knows it beside retries only: see `check`.
    Argument("x-delivery-limit", C | Q, whole),
    // RabbitMQ has retries for quorum queues, LavinMQ for classic ones, without a type and with a multiplier.
    Argument("x-delayed-retry-type", C | Q, |value, _| {
        one_of(value, &["disabled", "all", "failed", "returned"], "invalid_delayed_retry_type")
    }),
    Argument("x-delayed-retry-min", C | Q, |value, _| duration(value, 0)),
    Argument("x-delayed-retry-max", C | Q, |value, _| duration(value, 0)),
    Argument("x-delayed-retry-multiplier", C | Q, |value, _| match at_least(value, 1)? {
        factor if factor > i32::MAX.into() => said(format!("{{value_too_large,{factor}}}")),
        _ => Ok(()),
    }),
    Argument("x-consumer-timeout", Q, count),
    Argument("x-consumer-disconnected-timeout", Q, count),
    Argument("x-max-age", S, max_age),
    Argument("x-stream-max-segment-size-bytes", S, |value, _| match at_least(value, 0)? {
        bytes if bytes > SEGMENT_BYTES_MAX => {
            Err(Fault::Whole("Exceeded max value for x-stream-max-segment-size-bytes"))
        }
        _ => Ok(()),
    }),
    Argument("x-stream-filter-size-bytes", S, |value, _| match value.as_integer() {
        Some(16..=255) => Ok(()),
        Some(_) => Err(Fault::Whole("Invalid value for x-stream-filter-size-bytes")),
        None => Err(Fault::Whole("Invalid type for x-stream-filter-size-bytes")),
    }),
    Argument("x-queue-leader-locator", C | Q | S, locator),
    Argument("x-queue-master-locator", C, locator),
];

/// Those of de-duplication, which exchanges have, too (the RabbitMQ plugin of that name, LavinMQ).
const OF_DEDUPLICATION: &[Argument] = &[
    Argument("x-message-deduplication", C | Q, |value, _| match value {
        Value::Bool(_) => Ok(()),
        _ => unacceptable(value),
    }),
    Argument("x-cache-size", C | Q, |value, _| match at_least(value, 1)? {
        size if size > SIZE_MAX.into() => said(format!("{{max_value_exceeded,{size}}}")),
        _ => Ok(()),
    }),
    Argument("x-cache-ttl", C | Q, |value, _| duration(value, 1)),
    Argument("x-deduplication-header", C | Q, |value, _| text(value).and(Ok(()))),
];

/// Checks the arguments of de-duplication that a queue or an exchange has.
///
/// # Errors
///
/// The first that is refused.
pub fn check_deduplication(arguments: Table<'_>) -> Result<(), Refusal> {
    check_all(OF_DEDUPLICATION, arguments, QueueType::Classic)
}

const OF_CONSUMERS: &[Argument] = &[
    Argument("x-priority", C | Q, whole),
    Argument("x-consumer-timeout", Q, count),
    Argument("x-stream-offset", S, any),
    Argument("x-stream-filter", S, any),
    Argument("x-stream-match-unfiltered", S, any),
];

/// Checks the arguments of a queue that is to be. What no type knows is nobody's business.
///
/// # Errors
///
/// The first that is refused, in RabbitMQ's order: an unknown type, then values, then what the type does not know.
pub fn check(arguments: Table<'_>) -> Result<QueueType, Refusal> {
    if let Some(value) = arguments.find("x-queue-type") {
        queue_type(value, arguments).map_err(|fault| refusal("x-queue-type", fault))?;
    }
    let queue_type = QueueType::of(arguments);
    check_all(OF_QUEUES, arguments, queue_type)?;
    check_deduplication(arguments)?;
    let has = |key| arguments.find(key).is_some();
    if queue_type == QueueType::Classic && has("x-delivery-limit") && !has("x-delayed-retry-min") {
        return Err(Refusal::Type("x-delivery-limit", queue_type.module()));
    }
    Ok(queue_type)
}

/// Checks the arguments of a consumer of a queue of this type.
///
/// # Errors
///
/// The first that is refused.
pub fn check_consumer(arguments: Table<'_>, queue_type: QueueType) -> Result<(), Refusal> {
    check_all(OF_CONSUMERS, arguments, queue_type)
}

/// The arguments that are compared when a queue of this type is declared again (reference section 7.2): those that it
/// knows. All others are kept and ignored.
pub fn compared(queue_type: QueueType) -> impl Iterator<Item = &'static str> {
    OF_QUEUES.iter().filter(move |argument| argument.1 & queue_type.bit() != 0).map(|argument| argument.0)
}

fn check_all(known: &'static [Argument], arguments: Table<'_>, queue_type: QueueType) -> Result<(), Refusal> {
    if arguments.is_empty() {
        return Ok(());
    }
    let given = || known.iter().filter_map(|argument| Some((argument, arguments.find(argument.0)?)));
    for (Argument(name, _, check), value) in given() {
        check(value, arguments).map_err(|fault| refusal(name, fault))?;
    }
    match given().find(|(argument, _)| argument.1 & queue_type.bit() == 0) {
        Some((argument, _)) => Err(Refusal::Type(argument.0, queue_type.module())),
        None => Ok(()),
    }
}

fn refusal(argument: &'static str, fault: Fault) -> Refusal {
    match fault {
        Fault::Said(error) => Refusal::Value(argument, error),
        Fault::Whole(text) => Refusal::Whole(text),
    }
}

fn said<T>(error: String) -> Result<T, Fault> {
    Err(Fault::Said(error))
}

fn unacceptable<T>(value: Value<'_>) -> Result<T, Fault> {
    said(format!("{{unacceptable_type,{}}}", value.type_name()))
}

fn any(_: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    Ok(())
}

fn integer(value: Value<'_>) -> Result<i64, Fault> {
    value.as_integer().map_or_else(|| said(format!("\"expected integer, got {}\"", value.type_name())), Ok)
}

fn at_least(value: Value<'_>, min: i64) -> Result<i64, Fault> {
    match integer(value)? {
        number if number >= min => Ok(number),
        0 => said("{value_zero,0}".to_owned()),
        number => said(format!("{{value_negative,{number}}}")),
    }
}

fn whole(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    integer(value).and(Ok(()))
}

fn count(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    at_least(value, 0).and(Ok(()))
}

fn positive(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    at_least(value, 1).and(Ok(()))
}

fn duration(value: Value<'_>, min: i64) -> Result<(), Fault> {
    match at_least(value, min)? {
        ms if ms > EXPIRY_MS_MAX => said(format!("{{value_too_large,{ms}}}")),
        _ => Ok(()),
    }
}

fn text(value: Value<'_>) -> Result<&[u8], Fault> {
    value.as_long_str().map_or_else(|| unacceptable(value), Ok)
}

fn one_of(value: Value<'_>, names: &[&str], error: &str) -> Result<(), Fault> {
    let value = text(value)?;
    match names.iter().any(|name| name.as_bytes() == value) {
        true => Ok(()),
        false => said(error.to_owned()),
    }
}

fn routing_key(value: Value<'_>, arguments: Table<'_>) -> Result<(), Fault> {
    text(value)?;
    match arguments.find("x-dead-letter-exchange") {
        Some(_) => Ok(()),
        None => said("routing_key_but_no_dlx_defined".to_owned()),
    }
}

fn queue_type(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    let name = text(value)?;
    match QueueType::named(name) {
        Some(QueueType::Classic | QueueType::Quorum) => Ok(()),
        // Of a type that there is not yet nothing can be promised.
        Some(QueueType::Stream) | None => {
            said(format!("\"unsupported queue type '{}'\"", String::from_utf8_lossy(name)))
        }
    }
}

fn locator(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    let names = ["client-local", "balanced", "random", "least-leaders", "min-masters"];
    one_of(value, &names, "invalid_queue_locator_arg")
}

fn max_age(value: Value<'_>, _: Table<'_>) -> Result<(), Fault> {
    match is_max_age(text(value)?) {
        true => Ok(()),
        false => said("invalid_max_age".to_owned()),
    }
}

/// Whether a text is an age: digits and a unit.
pub fn is_max_age(text: &[u8]) -> bool {
    matches!(text, [digits @ .., b'Y' | b'M' | b'D' | b'h' | b'm' | b's'] if is_number(digits))
}

fn is_number(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests;
