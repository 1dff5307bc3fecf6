//! Queues that are declared and stay until all are there: so many, instead of for so long.

use leveret::amqp::Table;
use leveret::amqp::method::{self, Encode};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::args::Args;
use super::client::{Client, method_id};
use super::phase::Tally;
use super::report::Outcome;
use super::usage::Watched;
use crate::load::clock;

/// Deletions under way at once.
const DELETIONS: u32 = 200;

/// Declares all queues, and deletes them again, which is not measured. What was reached before an error is in
/// `outcome`.
pub fn run(args: &Args, watched: &mut Option<Watched>, interrupted: &AtomicBool, outcome: &mut Outcome) {
    let outcome_of = declare(args, watched, interrupted, outcome);
    let deleted = delete(args);
    outcome.error = outcome_of.and(deleted).err();
}

fn declare(
    args: &Args,
    watched: &mut Option<Watched>,
    interrupted: &AtomicBool,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut clients = vec![];
    for _ in 0..args.connections {
        let mut client = Client::connect(&args.uri, super::TIMEOUT)?;
        client.call(1, &method::ChannelOpen { reserved_1: "" }, method::ChannelOpenOk::ID)?;
        clients.push(client);
    }
    let before = watched.as_mut().and_then(Watched::usage);
    let cpu_before = clock::cpu();
    let start = Instant::now();
    let results: Vec<(Tally, Result<(), String>)> = thread::scope(|scope| {
        let work = |(worker, client)| {
            scope.spawn(move || {
                let mut tally = Tally::new();
                let result = share(args, worker, client, interrupted, &mut tally);
                (tally, result)
            })
        };
        let threads: Vec<_> = clients.iter_mut().enumerate().map(work).collect();
        let panicked = |_| (Tally::new(), Err("a thread panicked".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome.load_cpu_seconds = clock::seconds(clock::cpu() - cpu_before);
    let after = watched.as_mut().and_then(Watched::usage);
    let mut result = Ok(());
    for (tally, ended) in results {
        outcome.add(&tally);
        result = result.and(ended);
    }
    if let (Some(watched), Some(before), Some(after)) = (&*watched, before, after) {
        outcome.broker = Some(watched.report(before, after, outcome.latency.len()));
    }
    result?;
    clients.into_iter().try_for_each(Client::close)
}

/// One connection's part of the queues: every so many, beginning with its own number.
fn share(
    args: &Args,
    worker: usize,
    client: &mut Client,
    interrupted: &AtomicBool,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut numbers = (0..args.count).skip(worker).step_by(args.connections.into());
    let mut asked = VecDeque::new();
    let ask = |out: &mut Vec<u8>, asked: &mut VecDeque<Instant>, number: u32| {
        asked.push_back(Instant::now());
        let declare = method::QueueDeclare {
            reserved_1: 0,
            queue: &name(number),
            passive: false,
            durable: args.durable,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments: Table::EMPTY,
        };
        write(out, &declare);
    };
    for number in numbers.by_ref().take(args.in_flight.into()) {
        ask(client.output(), &mut asked, number);
    }
    client.flush()?;
    while !asked.is_empty() {
        client.turn(|frame, out| {
            if method_id(frame) != Some(method::QueueDeclareOk::ID) {
                return Ok(());
            }
            // Answers of one channel come in order.
            let Some(start) = asked.pop_front() else { return Err("more answers than questions".into()) };
            tally.took(start.elapsed());
            if interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            if let Some(number) = numbers.next() {
                ask(out, &mut asked, number);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Deletes what may be there, whoever declared it: a queue that is not there is no error.
fn delete(args: &Args) -> Result<(), String> {
    let mut client = Client::connect(&args.uri, super::TIMEOUT)?;
    client.call(1, &method::ChannelOpen { reserved_1: "" }, method::ChannelOpenOk::ID)?;
    let mut numbers = 0..args.count;
    let mut asked = 0;
    let ask = |out: &mut Vec<u8>, number: u32| {
        let queue = &name(number);
        write(out, &method::QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false });
    };
    for number in numbers.by_ref().take(DELETIONS as usize) {
        ask(client.output(), number);
        asked += 1;
    }
    client.flush()?;
    while asked > 0 {
        client.turn(|frame, out| {
            if method_id(frame) == Some(method::QueueDeleteOk::ID) {
                asked -= 1;
                if let Some(number) = numbers.next() {
                    ask(out, number);
                    asked += 1;
                }
            }
            Ok(())
        })?;
    }
    client.close()
}

/// The name of a queue that no other run uses.
fn name(number: u32) -> String {
    format!("leveret-perf-declare-{}-{number}", std::process::id())
}

fn write(out: &mut Vec<u8>, method: &impl Encode) {
    leveret::amqp::frame::write_method(out, 1, method);
}
