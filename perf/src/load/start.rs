//! Sets a run up: connections, topology, channels, and the engine that takes them over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use leveret::amqp::frame::write_method;
use leveret::amqp::method::*;
use leveret::amqp::{Method, Properties, PropertyFlags, Table};

use super::agents::{Consumer, Content, Producer, Transaction};
use super::batch::{Batch, Shape};
use super::checks::Checks;
use super::clock;
use super::confirms::Confirms;
use super::engine::Engine;
use super::error::Failure;
use super::incoming::CONSUMER_TAG;
use super::options::{Options, Pairs, Scalar, table};
use super::pacer::Pacer;
use super::plan::{self, Key, Plan};
use super::report::Progress;
use super::socket::{Role, Socket};
use super::wire::{self, Agreed, Link};

/// What is asked of the broker for each connection.
pub fn wished(o: &Options) -> Agreed {
    Agreed { frame_max: o.frame_max, channel_max: 0, heartbeat: o.heartbeat }
}

/// The first connection, tried again and again while the broker may still be starting.
///
/// # Errors
/// It cannot be opened, and the time is over.
pub fn first_link(o: &Options, what: &str, interrupted: &AtomicBool) -> Result<Link, Failure> {
    let ends = clock::now() + o.startup_timeout.as_nanos() as u64;
    loop {
        match wire::open(&o.uris, 0, 1, wished(o), |_| what.to_owned()) {
            Ok(mut links) => return links.pop().ok_or_else(|| Failure::run("no connection")),
            Err(error) if clock::now() >= ends || interrupted.load(std::sync::atomic::Ordering::Relaxed) => {
                return Err(error);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Raises the limit of open files as far as it may be, and says when that is not enough.
///
/// # Errors
/// More connections are asked for than the system allows.
pub fn raise_file_limit(o: &Options) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, the check below speaks of what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let wanted = (o.producers + o.consumers + o.idle_connections) as u64 + 30;
    match getrlimit(Resource::Nofile).current {
        Some(current) if current < wanted => {
            let text = format!("{wanted} open files are needed, and the system allows {current}: see ulimit -n");
            Err(Failure::run(text))
        }
        _ => Ok(()),
    }
}

/// Opens `count` connections of a role.
fn links(o: &Options, role: &str, first: usize, count: usize) -> Result<Vec<Link>, Failure> {
    wire::open(&o.uris, first, count, wished(o), |number| format!("{role} {number}"))
}

/// Sets up channels `1..=count` of a connection: opens each, and sends what `more` appends, which has one answer each.
fn open_channels(
    link: &mut Link,
    count: u16,
    what: &str,
    mut more: impl FnMut(&mut Vec<u8>, u16) -> u16,
) -> Result<(), Failure> {
    if count > link.agreed.channel_max {
        let most = link.agreed.channel_max;
        return Err(Failure::run(format!("{what}: {count} channels are wanted, and the broker allows {most}")));
    }
    // In parts, so that no buffer on the way can be too small.
    let all: Vec<u16> = (1..=count).collect();
    for part in all.chunks(500) {
        let (mut out, mut answers) = (vec![], 0);
        for channel in part {
            write_method(&mut out, *channel, &ChannelOpen { reserved_1: "" });
            answers += 1 + u32::from(more(&mut out, *channel));
        }
        link.send(&out)?;
        for _ in 0..answers {
            match link.receive()? {
                (
                    _,
                    Method::ChannelOpenOk(_)
                    | Method::ConfirmSelectOk(_)
                    | Method::TxSelectOk(_)
                    | Method::BasicQosOk(_)
                    | Method::BasicConsumeOk(_),
                ) => {}
                (channel, Method::ChannelClose(close)) => {
                    let what = format!("channel {channel} of {what}");
                    return Err(Failure::closed(&what, close.reply_code, close.reply_text));
                }
                (_, method) => {
                    let id = method.id();
                    return Err(Failure::run(format!(
                        "the broker has sent method {}.{} out of turn",
                        id.class, id.method
                    )));
                }
            }
        }
    }
    Ok(())
}

fn consume<'a>(queue: &'a str, no_ack: bool, arguments: Table<'a>) -> BasicConsume<'a> {
    BasicConsume {
        reserved_1: 0,
        queue,
        consumer_tag: CONSUMER_TAG,
        no_local: false,
        no_ack,
        exclusive: false,
        no_wait: false,
        arguments,
    }
}

/// Flags and list of the messages' properties.
///
/// # Errors
/// A property has a value that it cannot have.
pub fn properties(o: &Options) -> Result<Vec<u8>, Failure> {
    let mut headers: Pairs = o.headers.clone();
    let mut texts: Vec<(&str, String)> = vec![];
    let (mut delivery_mode, mut priority, mut timestamp) = (o.persistent.then_some(2), None, None);
    for (key, scalar) in &o.properties {
        let text = || match scalar {
            Scalar::Integer(number) => number.to_string(),
            Scalar::Bool(bool) => bool.to_string(),
            Scalar::Text(text) => text.clone(),
        };
        let wrong = || Failure::usage(format!("--message-properties: {key}={}: not possible", text()));
        let number = |most: i64| match scalar {
            Scalar::Integer(number) if (0..=most).contains(number) => Ok(*number as u64),
            _ => Err(wrong()),
        };
        // PerfTest's names, and the protocol's.
        match key.as_str() {
            "deliveryMode" | "delivery_mode" => delivery_mode = Some(number(255)? as u8),
            "priority" => priority = Some(number(255)? as u8),
            "timestamp" => timestamp = Some(number(i64::MAX)?),
            "contentType" | "contentEncoding" | "correlationId" | "replyTo" | "expiration" | "messageId" | "type"
            | "userId" | "appId" | "clusterId" | "content_type" | "content_encoding" | "correlation_id"
            | "reply_to" | "message_id" | "user_id" | "app_id" | "cluster_id" => {
                let value = text();
                if value.len() > 255 {
                    return Err(wrong());
                }
                texts.push((key, value));
            }
            _ => headers.push((key.clone(), scalar.clone())),
        }
    }
    let text =
        |names: [&str; 2]| texts.iter().rev().find(|(key, _)| names.contains(key)).map(|(_, value)| value.as_str());
    let headers_table = table(&headers);
    let properties = Properties {
        content_type: text(["contentType", "content_type"]),
        content_encoding: text(["contentEncoding", "content_encoding"]),
        headers: (!headers.is_empty()).then(|| headers_table.table()),
        delivery_mode,
        priority,
        correlation_id: text(["correlationId", "correlation_id"]),
        reply_to: if o.rpc { Some("amq.rabbitmq.reply-to") } else { text(["replyTo", "reply_to"]) },
        expiration: text(["expiration", ""]),
        message_id: text(["messageId", "message_id"]),
        timestamp,
        kind: text(["type", ""]),
        user_id: text(["userId", "user_id"]),
        app_id: text(["appId", "app_id"]),
        cluster_id: text(["clusterId", "cluster_id"]),
    };
    let mut raw = vec![];
    properties.encode(&mut raw);
    debug_assert!(!o.persistent || leveret::amqp::properties::flags(&raw) & PropertyFlags::DELIVERY_MODE != 0);
    Ok(raw)
}

/// Opens everything and hands it to an engine that only has to run.
///
/// # Errors
/// The broker refuses something, or is gone.
pub fn engine<'a>(
    o: &'a Options,
    plan: &'a Plan,
    mark: u32,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
) -> Result<(Engine<'a>, Option<f64>), Failure> {
    let system = |error: io::Error| Failure::run(format!("the event loop cannot be set up: {error}"));
    let raw = properties(o)?;
    let mut engine = Engine::new(o, plan, progress, interrupted).map_err(system)?;
    let idle_bytes = idle(o, &mut engine)?;
    let consumers = consumers(o, plan)?;
    let producers = producers(o, plan)?;
    let frames = consumers.iter().chain(&producers).map(|link| link.agreed.frame_max);
    let frame_max = frames.clone().min().unwrap_or(0);
    engine.frame_max = frames.max().unwrap_or(u32::MAX);
    for (connection, link) in consumers.into_iter().enumerate() {
        add_consumers(o, plan, &mut engine, connection, link).map_err(system)?;
    }
    if o.check {
        engine.checks = Some(Checks::new((!plan.producers.is_empty()).then_some(mark)));
    }
    for (connection, link) in producers.into_iter().enumerate() {
        let (stream, inbox) = link.into_parts();
        let mut socket = Socket::new(stream, inbox, Role::Producer, engine.now).map_err(system)?;
        (socket.first, socket.count) = (engine.producers.len(), o.producer_channels.into());
        let index = engine.add(socket).map_err(system)?;
        for planned in plan.producers.iter().filter(|planned| planned.connection == connection) {
            let key = match &planned.key {
                Key::Fixed(key) => Some(key.clone()),
                Key::QueueName(queue) => Some(plan.queues[*queue].name.clone()),
                Key::Random => None,
            };
            let exchange = plan.exchange.clone();
            let (mandatory, properties, size) = (o.mandatory, raw.clone(), o.size);
            let shape = Shape { exchange, key, mandatory, properties, size, frame_max, mark };
            let batch = engine.batches.iter().position(|batch| *batch.shape() == shape).unwrap_or_else(|| {
                engine.batches.push(Batch::new(shape));
                engine.batches.len() - 1
            });
            let producer = producer(o, planned, index, batch, engine.producers.len() as u16);
            engine.limited += usize::from(o.pmessages.is_some());
            engine.producers.push(producer);
        }
    }
    let batches = engine.batches.len();
    engine.batches.iter_mut().for_each(|batch| batch.share(batches));
    let copies = plan.producers.iter().map(|producer| producer.copies).max().unwrap_or(1).max(1);
    engine.backlog = o.backlog.map(|backlog| backlog.saturating_mul(copies).min(i64::MAX as u64) as i64);
    Ok((engine, idle_bytes))
}

fn producer(o: &Options, planned: &plan::Producer, socket: usize, batch: usize, number: u16) -> Producer {
    Producer {
        socket,
        channel: planned.channel,
        batch,
        number,
        copies: planned.copies,
        sent: 0,
        limit: o.pmessages.unwrap_or(u64::MAX),
        refused: 0,
        confirms: o.confirm.map(|window| (Confirms::new(), window)),
        heard_at: 0,
        transaction: (o.ptxsize > 0).then_some(Transaction { size: o.ptxsize, filled: 0, since: 0, committing: false }),
        pacer: None,
        requests: o.rpc.then_some((0, o.in_flight)),
        stopped: false,
        listed: false,
        timed: false,
        done: false,
        content: Content::default(),
    }
}

/// Opens the idle connections; bytes of the broker's memory for each, if it is watched.
fn idle(o: &Options, engine: &mut Engine<'_>) -> Result<Option<f64>, Failure> {
    if o.idle_connections == 0 {
        return Ok(None);
    }
    let before = engine.span.usage();
    for link in links(o, "idle connection", 0, o.idle_connections)? {
        let (stream, inbox) = link.into_parts();
        let socket = Socket::new(stream, inbox, Role::Idle, engine.now);
        let system = |error: io::Error| Failure::run(format!("the event loop cannot be set up: {error}"));
        engine.frame_max = u32::MAX;
        engine.add(socket.map_err(system)?).map_err(system)?;
    }
    if before.is_some() {
        // What the broker does behind an open connection is to be over.
        std::thread::sleep(Duration::from_millis(200));
    }
    let after = engine.span.usage();
    Ok(before
        .zip(after)
        .map(|(before, after)| (after.rss_bytes as f64 - before.rss_bytes as f64) / o.idle_connections as f64))
}

/// The consumers' connections with their channels. Slow ones consume already: later nobody reads what they are sent.
fn consumers(o: &Options, plan: &Plan) -> Result<Vec<Link>, Failure> {
    let mut links = links(o, "consumer", o.producers, o.consumers)?;
    let arguments = table(&o.consumer_args);
    for (connection, link) in links.iter_mut().enumerate() {
        let own: Vec<_> = plan.consumers.iter().filter(|consumer| consumer.connection == connection).collect();
        open_channels(link, o.consumer_channels, &format!("consumer {connection}"), |out, channel| {
            let mut answers = 0;
            for (prefetch_count, global) in [(o.qos, false), (o.global_qos, true)] {
                if prefetch_count > 0 {
                    write_method(out, channel, &BasicQos { prefetch_size: 0, prefetch_count, global });
                    answers += 1;
                }
            }
            if o.ctxsize > 0 {
                write_method(out, channel, &TxSelect {});
                answers += 1;
            }
            answers
        })?;
        for consumer in own.iter().filter(|consumer| consumer.slow) {
            let queue = &plan.queues[consumer.queue].name;
            link.call(consumer.channel, &consume(queue, o.autoack, arguments.table()))?;
            let what = format!("channel {} of consumer {connection}", consumer.channel);
            link.expect(BasicConsumeOk::ID, &what)?;
        }
    }
    Ok(links)
}

fn add_consumers(o: &Options, plan: &Plan, engine: &mut Engine<'_>, connection: usize, link: Link) -> io::Result<()> {
    let (stream, inbox) = link.into_parts();
    let mut socket = Socket::new(stream, inbox, Role::Consumer, engine.now)?;
    (socket.first, socket.count) = (engine.consumers.len(), o.consumer_channels.into());
    if let Some(rate) = o.consumer_rate {
        socket.pace = Some((Pacer::new(engine.now, rate * f64::from(o.consumer_channels)), 0));
    }
    let arguments = table(&o.consumer_args);
    let index = engine.sockets.len();
    for planned in plan.consumers.iter().filter(|planned| planned.connection == connection) {
        if planned.slow {
            socket.deaf = true;
        } else {
            let queue = &plan.queues[planned.queue].name;
            write_method(&mut socket.out, planned.channel, &consume(queue, o.autoack, arguments.table()));
            engine.starting += 1;
            engine.limited += usize::from(o.cmessages.is_some());
        }
        engine.consumers.push(Consumer {
            socket: index,
            channel: planned.channel,
            queue: planned.queue,
            ack_every: if o.autoack { 0 } else { o.multi_ack_every.max(1) },
            unacked: 0,
            tag: 0,
            left: o.cmessages.unwrap_or(u64::MAX),
            limited: o.cmessages.is_some() && !planned.slow,
            commit_every: o.ctxsize,
            uncommitted: 0,
            content: Content::default(),
        });
    }
    engine.add(socket)?;
    engine.dirty.push(index);
    Ok(())
}

/// The producers' connections with their channels.
fn producers(o: &Options, plan: &Plan) -> Result<Vec<Link>, Failure> {
    let mut links = links(o, "producer", 0, o.producers)?;
    for (connection, link) in links.iter_mut().enumerate() {
        debug_assert!(plan.producers.iter().any(|producer| producer.connection == connection));
        open_channels(link, o.producer_channels, &format!("producer {connection}"), |out, channel| {
            let mut answers = 0;
            if o.confirm.is_some() {
                write_method(out, channel, &ConfirmSelect { no_wait: false });
                answers += 1;
            }
            if o.ptxsize > 0 {
                write_method(out, channel, &TxSelect {});
                answers += 1;
            }
            if o.rpc {
                write_method(out, channel, &consume("amq.rabbitmq.reply-to", true, Table::EMPTY));
                answers += 1;
            }
            answers
        })?;
    }
    Ok(links)
}
