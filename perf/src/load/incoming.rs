//! What comes in: plain deliveries by way of `intake`, everything else frame by frame.

use leveret::amqp::frame::write_method;
use leveret::amqp::frame::{END, Frame, FrameHeader, FrameKind, OVERHEAD_BYTES, write_body, write_content_header};
use leveret::amqp::method::*;
use leveret::amqp::{MethodId, Properties};

use super::agents::{Content, Stage};
use super::engine::{Due, Engine, Phase};
use super::error::Failure;
use super::intake::Intake;
use super::socket::Role;
use super::stamp::{self, Head};

/// The tag of all consumers: each has a channel of its own.
pub const CONSUMER_TAG: &str = "perf";

fn malformed(what: &str) -> Failure {
    Failure::run(format!("the broker has sent something that is not AMQP 0-9-1: {what}"))
}

impl Engine<'_> {
    /// Takes the frames that are whole, and keeps what is left for the next time, also after an error.
    pub fn frames(&mut self, index: usize, bytes: &[u8]) -> Result<(), Failure> {
        let mut at = 0;
        let result = self.frames_from(index, bytes, &mut at);
        self.sockets[index].inbox.extend_from_slice(&bytes[at..]);
        result
    }

    fn frames_from(&mut self, index: usize, bytes: &[u8], at: &mut usize) -> Result<(), Failure> {
        let hot = self.sockets[index].role == Role::Consumer && !self.o.rpc;
        loop {
            if hot && self.phase != Phase::Closing {
                let budget = self.budget(index);
                if budget > 0 {
                    *at += self.take_deliveries(index, &bytes[*at..], budget);
                }
                if self.budget(index) == 0 {
                    self.hold(index);
                    break;
                }
            }
            let Some(header) = FrameHeader::read(&bytes[*at..]) else { break };
            if header.size as usize + OVERHEAD_BYTES > self.frame_max as usize {
                return Err(malformed("a frame larger than was agreed"));
            }
            let Some(frame) = Frame::read(&bytes[*at..]) else { break };
            if frame.end != END {
                return Err(malformed("a frame without its end"));
            }
            *at += frame.wire_bytes();
            self.frame(index, frame)?;
        }
        Ok(())
    }

    /// Messages that the consumers of a connection may take now.
    fn budget(&mut self, index: usize) -> u64 {
        match &mut self.sockets[index].pace {
            Some((pacer, taken)) => {
                let due = pacer.count(self.now);
                // Time without messages is not made up for by a burst, but for the hundredth of a second that we may
                // have been late ourselves.
                *taken = (*taken).max(due.saturating_sub(pacer.per_hundredth()));
                due.saturating_sub(*taken)
            }
            None => u64::MAX,
        }
    }

    /// Reads no more until the next message may be taken.
    fn hold(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if let (Some((pacer, taken)), false) = (&socket.pace, socket.held) {
            let due = pacer.due(*taken);
            socket.held = true;
            self.at(due, Due::Socket(index));
        }
    }

    fn take_deliveries(&mut self, index: usize, bytes: &[u8], budget: u64) -> usize {
        let socket = &mut self.sockets[index];
        let (first, last) = (socket.first, socket.first + socket.count);
        let consumers = &mut self.consumers[first..last];
        let latency = &mut self.stats.consume;
        let mut intake = Intake::new(
            consumers,
            first,
            &mut socket.out,
            latency,
            &mut self.alike,
            self.checks.as_mut(),
            self.now,
            budget,
        );
        let used = intake.take(bytes);
        intake.record();
        let (taken, foreign) = (intake.taken, intake.foreign);
        self.count(index, taken, foreign);
        used
    }

    /// Messages were taken.
    fn count(&mut self, index: usize, taken: u64, foreign: u64) {
        if taken == 0 {
            return;
        }
        let socket = &mut self.sockets[index];
        if let Some((_, sum)) = &mut socket.pace {
            *sum += taken;
        }
        self.stats.now.consumed += taken;
        self.stats.now.in_flight -= taken as i64;
        self.stats.foreign += foreign;
        self.delivered_at = self.now;
        if self.o.cmessages.is_some() {
            for consumer in socket.first..socket.first + socket.count {
                self.finish_consumer(consumer);
            }
        }
    }

    /// A consumer that has had all its messages acknowledges the last ones and takes no more.
    fn finish_consumer(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        if consumer.limited && consumer.left == 0 {
            consumer.limited = false;
            self.limited = self.limited.saturating_sub(1);
            let out = &mut self.sockets[consumer.socket].out;
            consumer.ack(out);
            consumer.commit(out);
            write_method(out, consumer.channel, &BasicCancel { consumer_tag: CONSUMER_TAG, no_wait: false });
            self.dirty.push(consumer.socket);
        }
    }

    /// Acknowledges what was taken and is not acknowledged, at the end.
    pub fn settle_consumers(&mut self) {
        for consumer in &mut self.consumers {
            let socket = &mut self.sockets[consumer.socket];
            if !socket.closed && !socket.deaf {
                consumer.ack(&mut socket.out);
                consumer.commit(&mut socket.out);
            }
        }
    }

    fn frame(&mut self, index: usize, frame: Frame<'_>) -> Result<(), Failure> {
        match frame.kind {
            FrameKind::Method => {
                let (id, arguments) = frame.payload.split_first_chunk::<4>().ok_or_else(|| malformed("no method"))?;
                let id = MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]]));
                // By far the most frequent one.
                if id == BasicAck::ID
                    && let [tag @ .., multiple] = arguments
                    && let Some(tag) = tag.first_chunk::<8>()
                    && let Some(producer) = self.producer(index, frame.channel)
                {
                    self.settled(producer, u64::from_be_bytes(*tag), multiple & 1 == 1, false);
                    return Ok(());
                }
                let method = Method::decode(id, arguments).map_err(|error| malformed(&format!("{error:?}")))?;
                self.method(index, frame.channel, method)
            }
            FrameKind::Header => self.header(index, frame.channel, frame.payload),
            FrameKind::Body => self.body(index, frame.channel, frame.payload),
            FrameKind::Heartbeat => Ok(()),
            FrameKind::Unknown(kind) => Err(malformed(&format!("a frame of type {kind}"))),
        }
    }

    fn agent(&self, index: usize, channel: u16, role: Role) -> Option<usize> {
        let socket = &self.sockets[index];
        let at = usize::from(channel).wrapping_sub(1);
        (socket.role == role && at < socket.count).then(|| socket.first + at)
    }

    fn producer(&self, index: usize, channel: u16) -> Option<usize> {
        self.agent(index, channel, Role::Producer)
    }

    fn content(&mut self, index: usize, channel: u16) -> Option<&mut Content> {
        match (self.producer(index, channel), self.agent(index, channel, Role::Consumer)) {
            (Some(producer), _) => Some(&mut self.producers[producer].content),
            (_, Some(consumer)) => Some(&mut self.consumers[consumer].content),
            _ => None,
        }
    }

    fn method(&mut self, index: usize, channel: u16, method: Method<'_>) -> Result<(), Failure> {
        match method {
            Method::BasicDeliver(deliver) => self.expect_content(
                index,
                channel,
                Content {
                    stage: Stage::Header,
                    tag: Some(deliver.delivery_tag),
                    redelivered: deliver.redelivered,
                    ..Content::default()
                },
            )?,
            Method::BasicReturn(_) => {
                self.expect_content(index, channel, Content { stage: Stage::Header, ..Content::default() })?;
                if let Some(producer) = self.producer(index, channel) {
                    self.returned(producer);
                }
            }
            Method::BasicNack(nack) => {
                if let Some(producer) = self.producer(index, channel) {
                    self.settled(producer, nack.delivery_tag, nack.multiple, true);
                }
            }
            Method::TxCommitOk(_) => {
                if let Some(producer) = self.producer(index, channel) {
                    self.committed(producer);
                }
            }
            Method::BasicConsumeOk(_) => self.starting = self.starting.saturating_sub(1),
            Method::BasicCancel(_) => {
                let queue = self.agent(index, channel, Role::Consumer).map_or("", |consumer| {
                    let queue = self.consumers[consumer].queue;
                    self.plan.queues.get(queue).map_or("", |queue| &queue.name)
                });
                return Err(Failure::run(format!(
                    "the broker has cancelled {} of queue '{queue}': was the queue deleted?",
                    self.who(index)
                )));
            }
            Method::ChannelClose(close) => {
                let who = format!("channel {channel} of {}", self.who(index));
                write_method(&mut self.sockets[index].out, channel, &ChannelCloseOk {});
                return Err(Failure::closed(&who, close.reply_code, close.reply_text));
            }
            Method::ConnectionClose(close) => {
                let who = format!("the connection of {}", self.who(index));
                let socket = &mut self.sockets[index];
                write_method(&mut socket.out, 0, &ConnectionCloseOk {});
                let _ = socket.flush();
                socket.shut();
                return Err(Failure::closed(&who, close.reply_code, close.reply_text));
            }
            Method::ConnectionCloseOk(_) => self.sockets[index].shut(),
            Method::ConnectionBlocked(blocked) => {
                self.sockets[index].blocked = true;
                let who = self.who(index);
                self.progress.note(self.o, &format!("the broker has blocked {who}: {}", blocked.reason));
            }
            Method::ConnectionUnblocked(_) => {
                self.sockets[index].blocked = false;
                let who = self.who(index);
                self.progress.note(self.o, &format!("the broker has unblocked {who}"));
                self.list_producers(index);
            }
            Method::ChannelFlow(flow) => {
                write_method(&mut self.sockets[index].out, channel, &ChannelFlowOk { active: flow.active });
                if let Some(producer) = self.producer(index, channel) {
                    self.producers[producer].stopped = !flow.active;
                    self.list_producer(producer);
                }
            }
            Method::BasicCancelOk(_) | Method::ChannelCloseOk(_) => {}
            method => {
                let id = method.id();
                return Err(malformed(&format!("method {}.{} out of turn", id.class, id.method)));
            }
        }
        Ok(())
    }

    fn expect_content(&mut self, index: usize, channel: u16, content: Content) -> Result<(), Failure> {
        match self.content(index, channel) {
            Some(place) => *place = content,
            None => return Err(malformed("content on a channel that is not open")),
        }
        Ok(())
    }

    fn header(&mut self, index: usize, channel: u16, payload: &[u8]) -> Result<(), Failure> {
        let size = payload.get(4..12).and_then(<[u8]>::first_chunk::<8>).ok_or_else(|| malformed("a short header"))?;
        let answers = self.o.rpc && self.sockets[index].role == Role::Consumer;
        let Some(content) = self.content(index, channel).filter(|content| content.stage == Stage::Header) else {
            return Err(malformed("a content header out of turn"));
        };
        content.left = u64::from_be_bytes(*size);
        content.stage = Stage::Body;
        if answers {
            let properties = Properties::decode(&payload[12..]).map_err(|_| malformed("wrong properties"))?;
            content.reply_to = properties.reply_to.unwrap_or_default().to_owned();
        }
        if content.left == 0 {
            self.complete(index, channel);
        }
        Ok(())
    }

    fn body(&mut self, index: usize, channel: u16, payload: &[u8]) -> Result<(), Failure> {
        let whole = self.o.rpc && self.sockets[index].role == Role::Consumer;
        let part = payload.len() as u64;
        let Some(content) =
            self.content(index, channel).filter(|content| content.stage == Stage::Body && content.left >= part)
        else {
            return Err(malformed("a body out of turn"));
        };
        let wanted = if whole { payload.len() } else { stamp::MARK_BYTES.saturating_sub(content.body.len()) };
        content.body.extend_from_slice(&payload[..wanted.min(payload.len())]);
        content.left -= part;
        if content.left == 0 {
            self.complete(index, channel);
        }
        Ok(())
    }

    /// A content is there in full.
    fn complete(&mut self, index: usize, channel: u16) {
        let Some(content) = self.content(index, channel).map(std::mem::take) else { return };
        if self.phase == Phase::Closing {
            return;
        }
        if let Some(consumer) = self.agent(index, channel, Role::Consumer) {
            self.consumed(index, consumer, &content);
        } else if let (Some(producer), Some(_)) = (self.producer(index, channel), content.tag) {
            if let Some(age) = Head::read(&content.body).word.and_then(|word| stamp::age(word, self.now)) {
                self.stats.consume.record(age, 1);
            }
            self.stats.now.consumed += 1;
            self.stats.now.in_flight -= 1;
            self.replied(producer);
        }
    }

    fn consumed(&mut self, index: usize, at: usize, content: &Content) {
        let consumer = &mut self.consumers[at];
        let socket = &mut self.sockets[index];
        let tag = content.tag.unwrap_or_default();
        if consumer.left == 0 {
            // Delivered before the broker has heard that it was enough.
            if consumer.ack_every > 0 {
                let nack = BasicNack { delivery_tag: tag, multiple: false, requeue: true };
                write_method(&mut socket.out, consumer.channel, &nack);
                self.dirty.push(index);
            }
            return;
        }
        consumer.take(tag, &mut socket.out);
        if self.o.rpc {
            reply(&mut socket.out, consumer.channel, content, self.frame_max);
            self.stats.served += 1;
            return;
        }
        let head = Head::read(&content.body);
        if let Some(checks) = &mut self.checks {
            checks.see(consumer.queue, at, head, content.redelivered);
        }
        let mut foreign = 0;
        match head.word.and_then(|word| stamp::age(word, self.now)) {
            Some(age) => self.stats.consume.record(age, 1),
            None => foreign = u64::from(content.body.len() >= stamp::TIME_BYTES),
        }
        self.count(index, 1, foreign);
    }
}

/// Sends a request's body back to whom it came from.
fn reply(out: &mut Vec<u8>, channel: u16, request: &Content, frame_max: u32) {
    let routing_key = request.reply_to.as_str();
    let publish = BasicPublish { reserved_1: 0, exchange: "", routing_key, mandatory: false, immediate: false };
    write_method(out, channel, &publish);
    write_content_header(out, channel, request.body.len() as u64, &[0, 0]);
    write_body(out, channel, &request.body, frame_max);
}
