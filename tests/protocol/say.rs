//! Short forms of the methods that peers send, with the flags nobody mentions unset. A script that needs a flag writes
//! `QueueDeclare { durable: true, ..declare("q") }`.

use leveret::amqp::method::*;
use leveret::amqp::table::ArrayWriter;
use leveret::amqp::{Array, Properties, Table, TableWriter, Value};

pub fn declare(queue: &str) -> QueueDeclare<'_> {
    QueueDeclare {
        reserved_1: 0,
        queue,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn durable(queue: &str) -> QueueDeclare<'_> {
    QueueDeclare { durable: true, ..declare(queue) }
}

pub fn exclusive(queue: &str) -> QueueDeclare<'_> {
    QueueDeclare { exclusive: true, ..declare(queue) }
}

pub fn auto_delete(queue: &str) -> QueueDeclare<'_> {
    QueueDeclare { auto_delete: true, ..declare(queue) }
}

pub fn passive(queue: &str) -> QueueDeclare<'_> {
    QueueDeclare { passive: true, ..declare(queue) }
}

pub fn declare_with<'a>(queue: &'a str, arguments: &[(&str, Value<'_>)]) -> QueueDeclare<'a> {
    QueueDeclare { arguments: table(arguments), ..declare(queue) }
}

pub fn declare_ok(queue: &str, message_count: u32, consumer_count: u32) -> QueueDeclareOk<'_> {
    QueueDeclareOk { queue, message_count, consumer_count }
}

pub fn delete(queue: &str) -> QueueDelete<'_> {
    QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false }
}

pub fn delete_ok(message_count: u32) -> QueueDeleteOk {
    QueueDeleteOk { message_count }
}

pub fn purge(queue: &str) -> QueuePurge<'_> {
    QueuePurge { reserved_1: 0, queue, no_wait: false }
}

pub fn purge_ok(message_count: u32) -> QueuePurgeOk {
    QueuePurgeOk { message_count }
}

pub fn bind<'a>(queue: &'a str, exchange: &'a str, routing_key: &'a str) -> QueueBind<'a> {
    QueueBind { reserved_1: 0, queue, exchange, routing_key, no_wait: false, arguments: Table::EMPTY }
}

pub fn unbind<'a>(queue: &'a str, exchange: &'a str, routing_key: &'a str) -> QueueUnbind<'a> {
    QueueUnbind { reserved_1: 0, queue, exchange, routing_key, arguments: Table::EMPTY }
}

pub fn exchange<'a>(exchange: &'a str, kind: &'a str) -> ExchangeDeclare<'a> {
    ExchangeDeclare {
        reserved_1: 0,
        exchange,
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn exchange_passive(name: &str) -> ExchangeDeclare<'_> {
    ExchangeDeclare { passive: true, ..exchange(name, "") }
}

pub fn exchange_with<'a>(name: &'a str, kind: &'a str, arguments: &[(&str, Value<'_>)]) -> ExchangeDeclare<'a> {
    ExchangeDeclare { arguments: table(arguments), ..exchange(name, kind) }
}

pub fn exchange_delete(exchange: &str) -> ExchangeDelete<'_> {
    ExchangeDelete { reserved_1: 0, exchange, if_unused: false, no_wait: false }
}

pub fn e_bind<'a>(destination: &'a str, source: &'a str, routing_key: &'a str) -> ExchangeBind<'a> {
    ExchangeBind { reserved_1: 0, destination, source, routing_key, no_wait: false, arguments: Table::EMPTY }
}

pub fn e_unbind<'a>(destination: &'a str, source: &'a str, routing_key: &'a str) -> ExchangeUnbind<'a> {
    ExchangeUnbind { reserved_1: 0, destination, source, routing_key, no_wait: false, arguments: Table::EMPTY }
}

pub fn consume<'a>(queue: &'a str, consumer_tag: &'a str) -> BasicConsume<'a> {
    BasicConsume {
        reserved_1: 0,
        queue,
        consumer_tag,
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

pub fn consume_no_ack<'a>(queue: &'a str, consumer_tag: &'a str) -> BasicConsume<'a> {
    BasicConsume { no_ack: true, ..consume(queue, consumer_tag) }
}

pub fn cancel(consumer_tag: &str) -> BasicCancel<'_> {
    BasicCancel { consumer_tag, no_wait: false }
}

/// The broker's own basic.cancel.
pub fn cancelled(consumer_tag: &str) -> BasicCancel<'_> {
    BasicCancel { consumer_tag, no_wait: true }
}

pub fn get(queue: &str) -> BasicGet<'_> {
    BasicGet { reserved_1: 0, queue, no_ack: false }
}

pub fn get_empty() -> BasicGetEmpty<'static> {
    BasicGetEmpty { reserved_1: "" }
}

pub fn qos(prefetch_count: u16) -> BasicQos {
    BasicQos { prefetch_size: 0, prefetch_count, global: false }
}

pub fn qos_global(prefetch_count: u16) -> BasicQos {
    BasicQos { global: true, ..qos(prefetch_count) }
}

pub fn ack(delivery_tag: u64) -> BasicAck {
    BasicAck { delivery_tag, multiple: false }
}

pub fn ack_up_to(delivery_tag: u64) -> BasicAck {
    BasicAck { delivery_tag, multiple: true }
}

/// A nack that puts back.
pub fn nack(delivery_tag: u64) -> BasicNack {
    BasicNack { delivery_tag, multiple: false, requeue: true }
}

pub fn nack_up_to(delivery_tag: u64) -> BasicNack {
    BasicNack { multiple: true, ..nack(delivery_tag) }
}

/// A reject that puts back.
pub fn reject(delivery_tag: u64) -> BasicReject {
    BasicReject { delivery_tag, requeue: true }
}

pub fn recover() -> BasicRecover {
    BasicRecover { requeue: true }
}

pub fn confirm_select() -> ConfirmSelect {
    ConfirmSelect { no_wait: false }
}

pub fn channel_open() -> ChannelOpen<'static> {
    ChannelOpen { reserved_1: "" }
}

pub fn channel_close() -> ChannelClose<'static> {
    ChannelClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 }
}

pub fn connection_close() -> ConnectionClose<'static> {
    ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 }
}

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub mandatory: bool,
    pub immediate: bool,
    pub properties: Properties<'a>,
    pub body: &'a str,
}

/// A message with the body "m" and no properties.
pub fn to<'a>(exchange: &'a str, routing_key: &'a str) -> Publish<'a> {
    Publish { exchange, routing_key, mandatory: false, immediate: false, properties: Properties::default(), body: "m" }
}

pub fn mandatory<'a>(exchange: &'a str, routing_key: &'a str) -> Publish<'a> {
    Publish { mandatory: true, ..to(exchange, routing_key) }
}

pub fn persistent() -> Properties<'static> {
    Properties { delivery_mode: Some(2), ..Properties::default() }
}

pub fn with_headers(entries: &[(&str, Value<'_>)]) -> Properties<'static> {
    Properties { headers: Some(table(entries)), ..Properties::default() }
}

/// A long string.
pub fn s(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}

/// A signed 32-bit integer.
pub fn int(number: i32) -> Value<'static> {
    Value::I32(number)
}

/// A table; its few bytes live as long as the test program.
pub fn table(entries: &[(&str, Value<'_>)]) -> Table<'static> {
    let mut writer = TableWriter::new();
    for &(key, value) in entries {
        writer.put(key, value);
    }
    Table::check(writer.into_bytes().leak()).expect("the script's table is in order")
}

/// An array; its few bytes live as long as the test program.
pub fn array(values: &[Value<'_>]) -> Array<'static> {
    let mut writer: Box<ArrayWriter> = Box::default();
    for &value in values {
        writer.push(value);
    }
    Box::leak(writer).array()
}

/// An array of long strings, as CC and BCC have it.
pub fn strings(texts: &[&str]) -> Value<'static> {
    let values: Vec<Value<'_>> = texts.iter().map(|text| s(text)).collect();
    Value::Array(array(&values))
}
