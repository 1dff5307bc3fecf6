//! Request and reply: one connection asks, another answers, over direct reply-to (`amq.rabbitmq.reply-to`).

use leveret::amqp::frame::FrameKind;
use leveret::amqp::{Frame, Properties, TableWriter, method};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::args::{Args, SIZE_MIN};
use super::client::{Client, publish, raw_properties};
use super::cycles::exclusive_queue;
use super::phase::{Phase, Tally};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Asks on one connection and answers on another until the phase is over.
///
/// # Errors
/// What the broker or a socket said.
pub fn run(args: &Args, phase: &Phase) -> Result<Tally, String> {
    let mut server = open(args)?;
    let queue = exclusive_queue(&mut server)?;
    consume(&mut server, &queue)?;
    let mut client = open(args)?;
    consume(&mut client, REPLY_TO)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let answering = scope.spawn(|| answer(server, &over));
        let mut tally = Tally::new();
        let asked = ask(&mut client, args, &queue, phase, &mut tally);
        over.store(true, Ordering::Relaxed);
        // One more request, for nobody: it ends the wait of the one who answers.
        publish(client.output(), 1, &queue, &properties(None), &[0; SIZE_MIN]);
        let closed = client.flush().and_then(|()| client.close());
        let answered = answering.join().unwrap_or_else(|_| Err("a thread panicked".into()));
        asked.and(closed).and(answered).map(|()| tally)
    })
}

fn open(args: &Args) -> Result<Client, String> {
    let mut client = Client::connect(&args.uri, super::TIMEOUT)?;
    client.call(1, &method::ChannelOpen { reserved_1: "" }, method::ChannelOpenOk::ID)?;
    Ok(client)
}

fn consume(client: &mut Client, queue: &str) -> Result<(), String> {
    let table = TableWriter::new();
    let consume = method::BasicConsume {
        reserved_1: 0,
        queue,
        consumer_tag: "",
        no_local: false,
        no_ack: true,
        exclusive: false,
        no_wait: false,
        arguments: table.table(),
    };
    client.call(1, &consume, method::BasicConsumeOk::ID).map(|_| ())
}

fn properties(reply_to: Option<&str>) -> Vec<u8> {
    let mut raw = vec![];
    Properties { reply_to, ..Properties::default() }.encode(&mut raw);
    raw
}

fn ask(client: &mut Client, args: &Args, queue: &str, phase: &Phase, tally: &mut Tally) -> Result<(), String> {
    let properties = properties(Some(REPLY_TO));
    let mut starts = vec![Instant::now(); args.in_flight as usize];
    let mut body = vec![0; args.size];
    for slot in 0..starts.len() {
        body[..SIZE_MIN].copy_from_slice(&(slot as u64).to_be_bytes());
        publish(client.output(), 1, queue, &properties, &body);
    }
    client.flush()?;
    let mut live = starts.len();
    let mut incoming = Incoming::default();
    while live > 0 {
        client.turn(|frame, out| {
            let Some(reply) = incoming.take(frame) else { return Ok(()) };
            let slot = reply.body.first_chunk::<SIZE_MIN>().map_or(u64::MAX, |head| u64::from_be_bytes(*head));
            let start = starts.get_mut(slot as usize).ok_or("a reply that nobody asked for")?;
            tally.ended(phase, *start);
            if phase.is_over() {
                live -= 1;
                return Ok(());
            }
            *start = Instant::now();
            publish(out, 1, queue, &properties, &reply.body);
            Ok(())
        })?;
    }
    Ok(())
}

fn answer(mut server: Client, over: &AtomicBool) -> Result<(), String> {
    let properties = properties(None);
    let mut incoming = Incoming::default();
    while !over.load(Ordering::Relaxed) {
        server.turn(|frame, out| {
            if let Some(request) = incoming.take(frame)
                && let Some(reply_to) = request.reply_to
            {
                publish(out, 1, &reply_to, &properties, &request.body);
            }
            Ok(())
        })?;
    }
    server.close()
}

/// A message that was delivered.
#[derive(Default)]
struct Message {
    reply_to: Option<String>,
    body: Vec<u8>,
}

/// Puts header and body frames together.
#[derive(Default)]
struct Incoming {
    message: Message,
    body_bytes: usize,
}

impl Incoming {
    /// The message that this frame completes.
    fn take(&mut self, frame: &Frame<'_>) -> Option<Message> {
        match frame.kind {
            FrameKind::Header => {
                let size = frame.payload.get(4..12)?.first_chunk::<8>().map_or(0, |size| u64::from_be_bytes(*size));
                let properties = Properties::decode(raw_properties(frame)?).ok()?;
                self.message = Message { reply_to: properties.reply_to.map(str::to_owned), body: vec![] };
                self.body_bytes = size as usize;
            }
            FrameKind::Body => self.message.body.extend_from_slice(frame.payload),
            _ => return None,
        }
        (self.message.body.len() >= self.body_bytes).then(|| std::mem::take(&mut self.message))
    }
}
