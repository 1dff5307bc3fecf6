//! Declares what a plan needs, and deletes it afterwards: only what was not there before.

use leveret::amqp::frame::write_method;
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, Table, TableWriter, Value};

use super::error::Failure;
use super::options::{Options, table};
use super::plan::Plan;
use super::wire::Link;

/// Requests under way at once: enough to hide the round trips, and few enough for any socket buffer.
const TOGETHER: usize = 200;

/// What was made for the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The exchange, when it was not there.
    pub exchange: Option<String>,
    /// The queues that were not there.
    pub queues: Vec<String>,
    /// Bindings to take back from queues that were there: queue, exchange, key.
    pub bindings: Vec<(String, String, String)>,
}

/// Declares and binds; gives the queues that the broker names their names in the plan. `made` says at any time, also
/// after an error, what has come into being.
///
/// # Errors
/// The broker has refused something, or something predeclared is not there.
pub fn declare(link: &mut Link, o: &Options, plan: &mut Plan, made: &mut Made) -> Result<(), Failure> {
    let exchange_there = plan.exchange.is_empty() || exchange_exists(link, &plan.exchange)?;
    let there = queues_exist(link, &plan.queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>())?;
    if o.predeclared {
        if !exchange_there {
            return Err(Failure::run(format!(
                "there is no exchange '{}', and --predeclared declares none",
                plan.exchange
            )));
        }
        if let Some((queue, _)) = plan.queues.iter().zip(&there).find(|(_, there)| !**there) {
            return Err(Failure::run(format!("there is no queue '{}', and --predeclared declares none", queue.name)));
        }
    }
    link.call(1, &ChannelOpen { reserved_1: "" })?;
    link.expect(ChannelOpenOk::ID, "a channel")?;
    if !o.predeclared && !plan.exchange.is_empty() {
        let (exchange, kind) = (plan.exchange.as_str(), plan.kind.as_str());
        link.call(
            1,
            &ExchangeDeclare {
                reserved_1: 0,
                exchange,
                kind,
                passive: false,
                durable: true,
                auto_delete: false,
                internal: false,
                no_wait: false,
                arguments: Table::EMPTY,
            },
        )?;
        link.expect(ExchangeDeclareOk::ID, &format!("the channel at the declaration of exchange '{exchange}'"))?;
        if !exchange_there {
            made.exchange = Some(exchange.to_owned());
        }
    }
    if !o.predeclared {
        declare_queues(link, o, plan, &there, made)?;
    }
    if plan.bind {
        bind(link, o, plan, &there, made)?;
    }
    close_channel(link)
}

fn close_channel(link: &mut Link) -> Result<(), Failure> {
    link.call(1, &ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 })?;
    link.expect(ChannelCloseOk::ID, "a channel").map(|_| ())
}

fn exchange_exists(link: &mut Link, exchange: &str) -> Result<bool, Failure> {
    let declare = ExchangeDeclare {
        reserved_1: 0,
        exchange,
        kind: "",
        passive: true,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: Table::EMPTY,
    };
    exist(link, std::iter::once(Method::ExchangeDeclare(declare)), ExchangeDeclareOk::ID).map(|there| there == [true])
}

fn queue_declare<'a>(queue: &'a str, passive: bool) -> QueueDeclare<'a> {
    QueueDeclare {
        reserved_1: 0,
        queue,
        passive,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: Table::EMPTY,
    }
}

/// Which of these queues are there. A queue without a name is not.
fn queues_exist(link: &mut Link, names: &[&str]) -> Result<Vec<bool>, Failure> {
    let mut there = vec![];
    for part in names.chunks(TOGETHER.min(link.agreed.channel_max.into())) {
        if part.iter().all(|name| name.is_empty()) {
            there.extend(part.iter().map(|_| false));
        } else {
            let declares = part.iter().map(|name| Method::QueueDeclare(queue_declare(name, true)));
            there.extend(exist(link, declares, QueueDeclareOk::ID)?);
        }
    }
    Ok(there)
}

/// Asks passively, each question on a channel of its own, because "no" closes the channel.
fn exist<'a>(
    link: &mut Link,
    questions: impl Iterator<Item = Method<'a>>,
    yes: MethodId,
) -> Result<Vec<bool>, Failure> {
    let mut out = vec![];
    let mut count = 0;
    for question in questions {
        count += 1;
        write_method(&mut out, count, &ChannelOpen { reserved_1: "" });
        write_method(&mut out, count, &question);
    }
    link.send(&out)?;
    let mut there = vec![false; count.into()];
    let mut answers = 0;
    while answers < count {
        let (channel, found) = match link.receive()? {
            (_, Method::ChannelOpenOk(_)) => continue,
            (channel, method) if method.id() == yes => (channel, true),
            (channel, Method::ChannelClose(close)) if close.reply_code == 404 => (channel, false),
            (_, Method::ChannelClose(close)) => {
                return Err(Failure::closed(
                    "the channel at a passive declaration",
                    close.reply_code,
                    close.reply_text,
                ));
            }
            (_, method) => {
                let id = method.id();
                return Err(Failure::run(format!("the broker has sent method {}.{} out of turn", id.class, id.method)));
            }
        };
        answers += 1;
        let close = ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
        match found {
            true => link.call(channel, &close)?,
            false => link.call(channel, &ChannelCloseOk {})?,
        }
        if let Some(place) = there.get_mut(usize::from(channel).wrapping_sub(1)) {
            *place = found;
        }
    }
    for _ in there.iter().filter(|found| **found) {
        link.expect(ChannelCloseOk::ID, "a channel")?;
    }
    Ok(there)
}

fn declare_queues(
    link: &mut Link,
    o: &Options,
    plan: &mut Plan,
    there: &[bool],
    made: &mut Made,
) -> Result<(), Failure> {
    let arguments = table(&o.queue_args);
    for (part, there) in plan.queues.chunks_mut(TOGETHER).zip(there.chunks(TOGETHER)) {
        let mut out = vec![];
        for queue in &*part {
            let declare = QueueDeclare {
                durable: o.durable_queues(),
                auto_delete: o.auto_delete,
                arguments: arguments.table(),
                ..queue_declare(&queue.name, false)
            };
            write_method(&mut out, 1, &declare);
        }
        link.send(&out)?;
        for (queue, there) in part.iter_mut().zip(there) {
            let what = format!("the channel at the declaration of queue '{}'", queue.name);
            if let Method::QueueDeclareOk(ok) = link.expect(QueueDeclareOk::ID, &what)? {
                queue.name = ok.queue.to_owned();
            }
            if !there {
                made.queues.push(queue.name.clone());
            }
        }
    }
    Ok(())
}

/// The arguments of a headers binding: all of the messages' headers. `miss`: of one that no message matches.
fn binding_arguments(o: &Options, miss: Option<usize>) -> TableWriter {
    if o.kind != "headers" {
        return TableWriter::new();
    }
    let mut arguments = table(&o.headers);
    arguments.put("x-match", Value::LongStr(b"all"));
    if let Some(number) = miss {
        arguments.put("further", Value::I64(number as i64));
    }
    arguments
}

fn bind(link: &mut Link, o: &Options, plan: &Plan, there: &[bool], made: &mut Made) -> Result<(), Failure> {
    let exchange = plan.exchange.as_str();
    let own = binding_arguments(o, None);
    let own = plan.queues.iter().map(|queue| (queue.name.as_str(), queue.key.as_str(), own.clone()));
    let further = plan.bindings.iter().enumerate().map(|(number, (queue, key))| {
        (plan.queues[*queue].name.as_str(), key.as_str(), binding_arguments(o, Some(number)))
    });
    let all: Vec<_> = own.chain(further).collect();
    for part in all.chunks(TOGETHER) {
        let mut out = vec![];
        for (queue, routing_key, arguments) in part {
            let arguments = arguments.table();
            let bind = QueueBind { reserved_1: 0, queue, exchange, routing_key, no_wait: false, arguments };
            write_method(&mut out, 1, &bind);
        }
        link.send(&out)?;
        for (queue, ..) in part {
            link.expect(QueueBindOk::ID, &format!("the channel at the binding of queue '{queue}' to '{exchange}'"))?;
        }
    }
    // A deleted queue takes its bindings along. At a queue that stays, a key that we made up is nobody else's.
    if o.routing_key.is_none() && o.queue_pattern.is_none() && o.kind != "headers" {
        for (queue, _) in plan.queues.iter().zip(there).filter(|(_, there)| **there) {
            made.bindings.push((queue.name.clone(), exchange.to_owned(), queue.key.clone()));
        }
    }
    Ok(())
}

/// Deletes what was made. What is gone already, such as an auto-delete queue, is no error.
///
/// # Errors
/// The broker has refused something.
pub fn delete(link: &mut Link, made: &Made) -> Result<(), Failure> {
    link.call(1, &ChannelOpen { reserved_1: "" })?;
    link.expect(ChannelOpenOk::ID, "a channel")?;
    for part in made.queues.chunks(TOGETHER) {
        let mut out = vec![];
        for queue in part {
            let delete = QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false };
            write_method(&mut out, 1, &delete);
        }
        link.send(&out)?;
        for queue in part {
            link.expect(QueueDeleteOk::ID, &format!("the channel at the deletion of queue '{queue}'"))?;
        }
    }
    for (queue, exchange, routing_key) in &made.bindings {
        link.call(1, &QueueUnbind { reserved_1: 0, queue, exchange, routing_key, arguments: Table::EMPTY })?;
        link.expect(QueueUnbindOk::ID, &format!("the channel at the unbinding of queue '{queue}'"))?;
    }
    if let Some(exchange) = &made.exchange {
        link.call(1, &ExchangeDelete { reserved_1: 0, exchange, if_unused: false, no_wait: false })?;
        link.expect(ExchangeDeleteOk::ID, &format!("the channel at the deletion of exchange '{exchange}'"))?;
    }
    close_channel(link)
}
