//! Channels, queues, bindings and consumers: pairs of requests, several pairs under way on one connection.

use leveret::amqp::method::{self, Encode};
use leveret::amqp::{Method, MethodId, TableWriter, frame};
use std::time::Instant;

use super::args::{Args, Kind};
use super::client::{Client, method_id};
use super::phase::{Phase, Tally};

/// Opens and closes on one connection until the phase is over, and ends with nothing open.
///
/// # Errors
/// What the broker or the socket said.
pub fn run(args: &Args, worker: u16, phase: &Phase) -> Result<Tally, String> {
    let mut client = Client::connect(&args.uri, super::TIMEOUT)?;
    if args.in_flight > client.channel_max {
        return Err(format!("--in-flight: the broker allows {} channels per connection", client.channel_max));
    }
    let mut cycle = Cycle { kind: args.kind, durable: args.durable, queue: String::new(), prefix: name(worker) };
    cycle.prepare(&mut client, args.in_flight)?;
    let mut tally = Tally::new();
    let outcome = turns(&mut client, &cycle, args.in_flight, phase, &mut tally);
    if outcome.is_err() {
        cycle.sweep(args);
        return outcome.map(|()| tally);
    }
    client.close()?;
    Ok(tally)
}

/// A prefix that no other run and no other thread uses.
fn name(worker: u16) -> String {
    format!("leveret-perf-churn-{}-{worker}", std::process::id())
}

/// One operation under way.
#[derive(Clone, Copy)]
struct Slot {
    start: Instant,
    closing: bool,
}

fn turns(client: &mut Client, cycle: &Cycle, slots: u16, phase: &Phase, tally: &mut Tally) -> Result<(), String> {
    let mut open: Vec<Slot> = vec![Slot { start: Instant::now(), closing: false }; slots as usize];
    for slot in 1..=slots {
        cycle.request(client.output(), slot, false);
    }
    client.flush()?;
    let mut live = slots;
    while live > 0 {
        client.turn(|frame, out| {
            let answer = method_id(frame);
            let Some(slot) = open.get_mut((frame.channel as usize).wrapping_sub(1)) else { return Ok(()) };
            if answer != Some(cycle.answer(slot.closing)) {
                return Ok(()); // heartbeats, connection.blocked
            }
            if !slot.closing {
                slot.closing = true;
            } else {
                tally.ended(phase, slot.start);
                if phase.is_over() {
                    live -= 1;
                    return Ok(());
                }
                *slot = Slot { start: Instant::now(), closing: false };
            }
            cycle.request(out, frame.channel, slot.closing);
            Ok(())
        })?;
    }
    Ok(())
}

/// The pair of requests that makes an operation.
struct Cycle {
    kind: Kind,
    durable: bool,
    /// The queue that bindings and consumers are for.
    queue: String,
    prefix: String,
}

impl Cycle {
    /// Opens what the operations stand on: channels, and a queue that goes away with the connection.
    fn prepare(&mut self, client: &mut Client, slots: u16) -> Result<(), String> {
        if self.kind == Kind::Channels {
            return Ok(());
        }
        for channel in 1..=slots {
            let open = method::ChannelOpen { reserved_1: "" };
            client.call(channel, &open, method::ChannelOpenOk::ID)?;
        }
        if self.kind != Kind::Queues {
            self.queue = exclusive_queue(client)?;
        }
        Ok(())
    }

    /// The opening or the closing request of the operation on this channel.
    fn request(&self, out: &mut Vec<u8>, channel: u16, closing: bool) {
        let name = || format!("{}-{channel}", self.prefix);
        let table = TableWriter::new();
        let mut put = |method: &dyn Encode| put(out, channel, method);
        match (self.kind, closing) {
            (Kind::Channels, false) => put(&method::ChannelOpen { reserved_1: "" }),
            (Kind::Channels, true) => {
                put(&method::ChannelClose { reply_code: 200, reply_text: "OK", class_id: 0, method_id: 0 });
            }
            (Kind::Queues, false) => put(&method::QueueDeclare {
                reserved_1: 0,
                queue: &name(),
                passive: false,
                durable: self.durable,
                exclusive: !self.durable,
                auto_delete: false,
                no_wait: false,
                arguments: table.table(),
            }),
            (Kind::Queues, true) => put(&delete(&name())),
            (Kind::Bindings, false) => put(&method::QueueBind {
                reserved_1: 0,
                queue: &self.queue,
                exchange: EXCHANGE,
                routing_key: &name(),
                no_wait: false,
                arguments: table.table(),
            }),
            (Kind::Bindings, true) => put(&method::QueueUnbind {
                reserved_1: 0,
                queue: &self.queue,
                exchange: EXCHANGE,
                routing_key: &name(),
                arguments: table.table(),
            }),
            (Kind::Consumers, false) => put(&method::BasicConsume {
                reserved_1: 0,
                queue: &self.queue,
                consumer_tag: &name(),
                no_local: false,
                no_ack: true,
                exclusive: false,
                no_wait: false,
                arguments: table.table(),
            }),
            (Kind::Consumers, true) => put(&method::BasicCancel { consumer_tag: &name(), no_wait: false }),
            (Kind::Connections | Kind::Declare, _) => {} // have loops of their own
        }
    }

    /// The answer to the opening or the closing request.
    fn answer(&self, closing: bool) -> MethodId {
        match (self.kind, closing) {
            (Kind::Channels, false) => method::ChannelOpenOk::ID,
            (Kind::Channels, true) => method::ChannelCloseOk::ID,
            (Kind::Queues, false) => method::QueueDeclareOk::ID,
            (Kind::Queues, true) => method::QueueDeleteOk::ID,
            (Kind::Bindings, false) => method::QueueBindOk::ID,
            (Kind::Bindings, true) => method::QueueUnbindOk::ID,
            (Kind::Consumers, false) => method::BasicConsumeOk::ID,
            (Kind::Consumers, true) => method::BasicCancelOk::ID,
            (Kind::Connections | Kind::Declare, _) => MethodId::default(),
        }
    }

    /// After a failure: deletes the durable queues that may be left. All else went with the connection. That the broker
    /// is gone is no further error.
    fn sweep(&self, args: &Args) {
        if self.kind != Kind::Queues || !self.durable {
            return;
        }
        let Ok(mut client) = Client::connect(&args.uri, super::TIMEOUT) else { return };
        let open = method::ChannelOpen { reserved_1: "" };
        if client.call(1, &open, method::ChannelOpenOk::ID).is_err() {
            return;
        }
        for channel in 1..=args.in_flight {
            let name = format!("{}-{channel}", self.prefix);
            if client.call(1, &delete(&name), method::QueueDeleteOk::ID).is_err() {
                return;
            }
        }
        let _ = client.close();
    }
}

/// The exchange of bindings: it is on every broker, and a binding goes away with its queue.
const EXCHANGE: &str = "amq.direct";

fn delete(queue: &str) -> method::QueueDelete<'_> {
    method::QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false }
}

fn put(out: &mut Vec<u8>, channel: u16, method: &dyn Encode) {
    struct Any<'a>(&'a dyn Encode);
    impl Encode for Any<'_> {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }
    }
    frame::write_method(out, channel, &Any(method));
}

/// Declares a queue of this connection on channel 1, named by the server.
fn exclusive_queue(client: &mut Client) -> Result<String, String> {
    let table = TableWriter::new();
    let declare = method::QueueDeclare {
        reserved_1: 0,
        queue: "",
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        no_wait: false,
        arguments: table.table(),
    };
    let ok = client.call(1, &declare, method::QueueDeclareOk::ID)?;
    match Method::decode(method::QueueDeclareOk::ID, &ok) {
        Ok(Method::QueueDeclareOk(ok)) => Ok(ok.queue.to_owned()),
        _ => Err("queue.declare-ok cannot be read".into()),
    }
}
