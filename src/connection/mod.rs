//! One connection's protocol: bytes in, commands out. Knows frames and channels, nothing of queues, and no clock.

pub mod channel;
pub mod command;
pub mod outbound;
pub mod stream;

use slab::Slab;

use crate::amqp::frame::{END, Frame, FrameHeader, HEADER_BYTES, OVERHEAD_BYTES, PROTOCOL_HEADER};
use crate::amqp::method::{ChannelOpen, decode_publish};
use crate::amqp::{Content, DecodeError, Exception, FrameKind, Method, MethodId, Properties, ReplyCode};
use crate::limits::Limits;
use channel::{Channel, ChannelPhase, PUBLISH};
use command::{Command, Next, Publish};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but the protocol header may come.
    ProtocolHeader,
    /// connection.start was sent.
    StartOk,
    /// connection.secure was sent.
    SecureOk,
    /// connection.tune was sent.
    TuneOk,
    /// tune-ok came.
    Open,
    /// Open for business.
    Running,
    /// connection.close was sent; everything but close and close-ok is dropped.
    Closing,
    /// Nothing is read any more.
    Closed,
}

impl Phase {
    /// RabbitMQ's name of the state, for error texts.
    pub fn name(self) -> &'static str {
        match self {
            Phase::ProtocolHeader | Phase::StartOk => "starting",
            Phase::SecureOk => "securing",
            Phase::TuneOk => "tuning",
            Phase::Open => "opening",
            Phase::Running => "running",
            Phase::Closing => "closing",
            Phase::Closed => "closed",
        }
    }
}

/// One connection as the wire knows it.
#[derive(Debug)]
pub struct Connection {
    /// How far it has come.
    pub phase: Phase,
    /// Bytes of a frame's payload that are accepted, and frame_max of what we send. 0: no limit.
    pub frame_max: u32,
    channels: Slab<Channel>,
    /// (number, slot), by number.
    by_number: Vec<(u16, u32)>,
    last: Option<(u16, u32)>,
    /// The frames can be followed no more: nothing behind the fault makes sense.
    pub broken: bool,
    /// The rest of a body frame whose payload is taken as it comes: (channel slot, payload bytes to come).
    partial: Option<(u32, usize)>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(limits: &Limits) -> Connection {
        Connection {
            phase: Phase::ProtocolHeader,
            frame_max: limits.initial_frame_max,
            channels: Slab::new(),
            by_number: Vec::new(),
            last: None,
            partial: None,
            broken: false,
        }
    }

    /// The channel in `slot`.
    #[inline]
    pub fn channel(&self, slot: u32) -> Option<&Channel> {
        self.channels.get(slot as usize)
    }

    /// The channel in `slot`.
    #[inline]
    pub fn channel_mut(&mut self, slot: u32) -> Option<&mut Channel> {
        self.channels.get_mut(slot as usize)
    }

    /// Channels that exist, open or closing.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The slots of all channels, by number.
    pub fn slots(&self) -> Vec<u32> {
        self.by_number.iter().map(|(_, slot)| *slot).collect()
    }

    #[inline]
    fn slot(&mut self, number: u16) -> Option<u32> {
        if let Some((last, slot)) = self.last
            && last == number
        {
            return Some(slot);
        }
        let at = self.by_number.binary_search_by_key(&number, |entry| entry.0).ok()?;
        let found = *self.by_number.get(at)?;
        self.last = Some(found);
        Some(found.1)
    }

    /// Opens a channel and returns its slot. The number is free: only then [`Command::Unopened`] comes.
    pub fn open_channel(&mut self, number: u16, generation: u32) -> u32 {
        let slot = self.channels.insert(Channel::new(number, generation)) as u32;
        let at = self.by_number.partition_point(|entry| entry.0 < number);
        self.by_number.insert(at, (number, slot));
        slot
    }

    /// Forgets a channel; its number may be opened again.
    pub fn forget_channel(&mut self, slot: u32) {
        if let Some(channel) = self.channels.try_remove(slot as usize) {
            self.by_number.retain(|entry| entry.0 != channel.number);
            self.last = None;
            if self.partial.is_some_and(|(partial, _)| partial == slot) {
                // Its bytes are still to come and belong to nobody.
                self.partial = self.partial.map(|(_, left)| (u32::MAX, left));
            }
        }
    }

    /// The next command in `input`, which is moved behind what was taken.
    ///
    /// # Errors
    /// What the peer did wrong; `input` is of no use afterwards when the connection is to be closed.
    #[inline]
    pub fn next_command<'a>(&mut self, input: &mut &'a [u8], limits: &Limits) -> Result<Next<'a>, Exception> {
        loop {
            match self.phase {
                Phase::Running => {}
                Phase::ProtocolHeader => return Ok(self.protocol_header(input)),
                Phase::Closed => {
                    *input = &[];
                    return Ok(Next::Incomplete);
                }
                _ => {}
            }
            if self.partial.is_some() {
                match self.partial_body(input)? {
                    Some(command) => return Ok(Next::Command(command)),
                    None if input.is_empty() || self.partial.is_some() => return Ok(Next::Incomplete),
                    None => continue,
                }
            }
            let Some(header) = FrameHeader::read(input) else {
                return Ok(Next::Incomplete);
            };
            if let Err(exception) = self.check_size(&header, limits) {
                self.broken = true;
                return Err(exception);
            }
            let Some(frame) = Frame::read(input) else {
                self.begin_partial_body(&header, input)?;
                return Ok(Next::Incomplete);
            };
            if frame.end != END {
                self.broken = true;
                return Err(frame_error(&frame, format_args!("{{invalid_frame_end_marker,{}}}", frame.end)));
            }
            let rest = &input[frame.wire_bytes()..];
            if frame.channel == 0 {
                // connection.close comes after what its channels asked for: wait for their answers.
                if self.phase == Phase::Running
                    && frame.payload.starts_with(&[0, 10, 0, 50])
                    && self.channels.iter().any(|(_, channel)| channel.waiting)
                {
                    return Ok(Next::Parked);
                }
                *input = rest;
                match self.connection_frame(&frame)? {
                    Some(command) => return Ok(Next::Command(command)),
                    None => continue,
                }
            }
            let Some(slot) = self.slot(frame.channel) else {
                *input = rest;
                match self.unopened_frame(&frame)? {
                    Some(command) => return Ok(Next::Command(command)),
                    None => continue,
                }
            };
            let Some(channel) = self.channels.get_mut(slot as usize) else {
                return Ok(Next::Incomplete);
            };
            if channel.waiting && self.phase == Phase::Running {
                return Ok(Next::Parked);
            }
            if self.phase == Phase::Running
                && channel.phase == ChannelPhase::Open
                && frame.kind == FrameKind::Method
                && !channel.is_assembling()
                && frame.payload.starts_with(&[0, 60, 0, 40])
            {
                match publish_in_place(input, self.frame_max, limits) {
                    InPlace::Whole(publish, rest) => {
                        *input = rest;
                        return Ok(Next::Command(Command::Publish(slot, publish)));
                    }
                    InPlace::Wait => {
                        // What is wrong with the method is said without waiting for its content.
                        let arguments = frame.payload.get(4..).unwrap_or(&[]);
                        return match decode_publish(arguments) {
                            Ok(_) => Ok(Next::Incomplete),
                            Err(error) => Err(cannot_decode(error, PUBLISH, arguments)),
                        };
                    }
                    InPlace::Pieces => {
                        *input = rest;
                        let arguments = &frame.payload[4..];
                        channel.begin(arguments).map_err(|error| cannot_decode(error, PUBLISH, arguments))?;
                        continue;
                    }
                }
            }
            *input = rest;
            match self.channel_frame(slot, &frame, limits)? {
                Some(command) => return Ok(Next::Command(command)),
                None => continue,
            }
        }
    }

    /// The slot of the channel of the method frame at the front of `input`, if that may be looked at now.
    #[inline]
    pub fn ready_channel(&mut self, input: &[u8]) -> Option<u32> {
        let [1, c0, c1, ..] = *input else { return None };
        if self.phase != Phase::Running || self.partial.is_some() {
            return None;
        }
        let slot = self.slot(u16::from_be_bytes([c0, c1]))?;
        self.channels.get(slot as usize)?.is_ready().then_some(slot)
    }

    fn protocol_header<'a>(&mut self, input: &mut &'a [u8]) -> Next<'a> {
        let Some((header, rest)) = input.split_first_chunk::<8>() else {
            return Next::Incomplete;
        };
        *input = rest;
        // 0-9-1, and 0-9 as RabbitMQ accepts it.
        if *header == PROTOCOL_HEADER || header == b"AMQP\x01\x01\x00\x09" {
            Next::Command(Command::ProtocolHeader)
        } else {
            Next::Command(Command::UnknownProtocol)
        }
    }

    #[inline]
    fn check_size(&self, header: &FrameHeader, limits: &Limits) -> Result<(), Exception> {
        let gathered = header.kind != FrameKind::Body && header.size > limits.gathered_frame_max;
        if gathered || (self.frame_max != 0 && header.size > self.frame_max) {
            return Err(Exception::new(
                ReplyCode::FrameError,
                MethodId::NONE,
                format_args!(
                    "type {}, all octets = <<>>: {{frame_too_large,{},{}}}",
                    header.kind.octet(),
                    header.size,
                    self.frame_max.saturating_sub(OVERHEAD_BYTES as u32)
                ),
            ));
        }
        Ok(())
    }

    /// Takes what has come of a large body frame, so that it need not be gathered first.
    fn begin_partial_body(&mut self, header: &FrameHeader, input: &mut &[u8]) -> Result<(), Exception> {
        if header.kind != FrameKind::Body || self.phase != Phase::Running || header.channel == 0 {
            return Ok(());
        }
        let Some(slot) = self.slot(header.channel) else {
            return Ok(());
        };
        let Some(channel) = self.channels.get(slot as usize) else {
            return Ok(());
        };
        let takes = channel.phase == ChannelPhase::Open
            && !channel.waiting
            && channel.body_bytes_left().is_some_and(|left| u64::from(header.size) <= left);
        if !takes {
            return Ok(());
        }
        *input = &input[HEADER_BYTES..];
        self.partial = Some((slot, header.size as usize));
        self.partial_body(input)?;
        Ok(())
    }

    fn partial_body<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Command<'a>>, Exception> {
        let Some((slot, left)) = self.partial else {
            return Ok(None);
        };
        let (bytes, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        if let Some(channel) = self.channels.get_mut(slot as usize)
            && channel.phase == ChannelPhase::Open
        {
            channel.body(bytes)?;
        }
        self.partial = Some((slot, left - bytes.len()));
        if left > bytes.len() {
            return Ok(None);
        }
        let Some((&end, rest)) = input.split_first() else {
            return Ok(None);
        };
        *input = rest;
        self.partial = None;
        if end != END {
            self.broken = true;
            let frame = Frame { kind: FrameKind::Body, channel: 0, payload: &[], end };
            return Err(frame_error(&frame, format_args!("{{invalid_frame_end_marker,{end}}}")));
        }
        let finished = self.channels.get_mut(slot as usize).and_then(Channel::finished);
        Ok(finished.map(|assembled| Command::PublishAssembled(slot, assembled)))
    }

    fn connection_frame<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Command<'a>>, Exception> {
        let command = match frame.kind {
            FrameKind::Method => Command::Connection(decode(frame)?),
            FrameKind::Heartbeat if frame.payload.is_empty() => return Ok(None),
            FrameKind::Heartbeat | FrameKind::Unknown(_) => return self.drop_or(frame_error(frame, "unknown_frame")),
            _ => return self.drop_or(stray(frame)),
        };
        if self.phase == Phase::Closing
            && !matches!(command, Command::Connection(Method::ConnectionClose(_) | Method::ConnectionCloseOk(_)))
        {
            return Ok(None);
        }
        Ok(Some(command))
    }

    /// While we close, faults are dropped like everything else.
    fn drop_or<T>(&self, exception: Exception) -> Result<Option<T>, Exception> {
        if self.phase == Phase::Closing { Ok(None) } else { Err(exception) }
    }

    fn unopened_frame<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Command<'a>>, Exception> {
        if self.phase == Phase::Closing {
            return Ok(None);
        }
        match frame.kind {
            FrameKind::Heartbeat => Err(stray(frame)),
            FrameKind::Unknown(_) => Err(frame_error(frame, "unknown_frame")),
            FrameKind::Method if self.phase == Phase::Running => {
                if method_id(frame) != ChannelOpen::ID {
                    return Err(Exception::new(ReplyCode::ChannelError, method_id(frame), "expected 'channel.open'"));
                }
                Ok(Some(Command::Unopened(frame.channel, decode(frame)?)))
            }
            _ => Err(Exception::new(ReplyCode::ChannelError, MethodId::NONE, "expected 'channel.open'")),
        }
    }

    fn channel_frame<'a>(
        &mut self,
        slot: u32,
        frame: &Frame<'a>,
        limits: &Limits,
    ) -> Result<Option<Command<'a>>, Exception> {
        let Some(channel) = self.channels.get_mut(slot as usize) else {
            return Ok(None);
        };
        if self.phase == Phase::Closing {
            return Ok(None);
        }
        match frame.kind {
            FrameKind::Heartbeat => return Err(stray(frame)),
            FrameKind::Unknown(_) => return Err(frame_error(frame, "unknown_frame")),
            _ => {}
        }
        if channel.phase == ChannelPhase::Closing {
            if frame.kind != FrameKind::Method {
                return Ok(None);
            }
            // Whatever it says, only these three mean anything now.
            return match Method::decode(method_id(frame), frame.payload.get(4..).unwrap_or(&[])) {
                Ok(method @ (Method::ChannelClose(_) | Method::ChannelCloseOk(_) | Method::ChannelOpen(_))) => {
                    Ok(Some(Command::Channel(slot, method)))
                }
                _ => Ok(None),
            };
        }
        if channel.is_assembling() || frame.kind != FrameKind::Method {
            let assembled = channel.frame(frame, limits)?;
            return Ok(assembled.map(|assembled| Command::PublishAssembled(slot, assembled)));
        }
        Ok(Some(Command::Channel(slot, decode(frame)?)))
    }
}

enum InPlace<'a> {
    /// The whole publish, and the bytes behind it.
    Whole(Publish<'a>, &'a [u8]),
    /// Its frames have begun to come and are small: wait for the rest.
    Wait,
    /// It comes in pieces, is large, or something is wrong with it: assemble it frame by frame.
    Pieces,
}

/// A publish whose method, header and body frames lie behind each other in the receive buffer: the common case, which
/// copies nothing. `input` begins with the method frame of a basic.publish. Names are checked to be UTF-8 when they
/// are looked up.
#[inline]
fn publish_in_place<'a>(input: &'a [u8], frame_max: u32, limits: &Limits) -> InPlace<'a> {
    let size_max = if frame_max == 0 { usize::MAX } else { frame_max as usize };
    let Some(head) = input.first_chunk::<11>() else {
        return InPlace::Wait;
    };
    let channel = [head[1], head[2]];
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    if size > size_max {
        return InPlace::Pieces;
    }
    let Some((method, frames)) = input.split_at_checked(size + OVERHEAD_BYTES) else {
        return InPlace::Wait;
    };
    // Behind class and method id: reserved-1 (2), exchange and routing key, two bits, the end octet.
    let [.., bits, END] = *method else {
        return InPlace::Pieces;
    };
    let Some(names) = method.get(13..size + 6) else {
        return InPlace::Pieces;
    };
    let exchange_len = names.first().map_or(0, |len| *len as usize);
    let key_len = names.get(1 + exchange_len).map_or(usize::MAX, |len| *len as usize);
    if key_len > 255 || names.len() != 2 + exchange_len + key_len {
        return InPlace::Pieces;
    }

    let Some(head) = frames.first_chunk::<HEADER_BYTES>() else {
        return InPlace::Wait;
    };
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    if head[0] != 2
        || [head[1], head[2]] != channel
        || !(14..=size_max.min(limits.body_own_block_bytes)).contains(&size)
    {
        return InPlace::Pieces;
    }
    let Some((header, rest)) = frames.split_at_checked(size + OVERHEAD_BYTES) else {
        return InPlace::Wait;
    };
    let Some((fixed, properties)) =
        header.get(HEADER_BYTES..HEADER_BYTES + size).and_then(|p| p.split_first_chunk::<12>())
    else {
        return InPlace::Pieces;
    };
    let body_len =
        u64::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7], fixed[8], fixed[9], fixed[10], fixed[11]]);
    if fixed[..4] != [0, 60, 0, 0] || body_len > limits.message_bytes_max {
        return InPlace::Pieces;
    }
    // No properties, or delivery-mode alone; anything else is walked.
    let plain = matches!(properties, [0, 0] | [0x10, 0, _]);
    if header.last() != Some(&END) || !(plain || Properties::decode(properties).is_ok()) {
        return InPlace::Pieces;
    }

    let (body, rest) = if body_len == 0 {
        (&[][..], rest)
    } else {
        let Some(head) = rest.first_chunk::<HEADER_BYTES>() else {
            return InPlace::Wait;
        };
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if head[0] != 3 || [head[1], head[2]] != channel || size as u64 != body_len || size > size_max {
            return InPlace::Pieces;
        }
        match rest.split_at_checked(size + OVERHEAD_BYTES) {
            Some(([_, _, _, _, _, _, _, body @ .., END], rest)) => (body, rest),
            None if size < limits.body_own_block_bytes => return InPlace::Wait,
            _ => return InPlace::Pieces,
        }
    };
    let frames = &frames[..frames.len() - rest.len()];
    let content = Content { names, properties, body, frames };
    InPlace::Whole(Publish { content, mandatory: bits & 1 != 0, immediate: bits & 2 != 0 }, rest)
}

fn method_id(frame: &Frame<'_>) -> MethodId {
    match frame.payload.first_chunk::<4>() {
        Some(id) => MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]])),
        None => MethodId::NONE,
    }
}

fn decode<'a>(frame: &Frame<'a>) -> Result<Method<'a>, Exception> {
    let id = method_id(frame);
    let arguments = frame.payload.get(4..).unwrap_or(&[]);
    Method::decode(id, arguments).map_err(|error| cannot_decode(error, id, arguments))
}

/// The exception for arguments that cannot be read.
fn cannot_decode(error: DecodeError, id: MethodId, arguments: &[u8]) -> Exception {
    match error {
        DecodeError::Utf8 => Exception::new(ReplyCode::FrameError, MethodId::NONE, "Malformed UTF-8 in shortstr"),
        DecodeError::UnknownMethod(class, method) => Exception::new(
            ReplyCode::CommandInvalid,
            MethodId::new(class, method),
            format_args!("unknown method {class},{method}"),
        ),
        _ => Exception::new(ReplyCode::FrameError, id, format_args!("cannot decode {}", octets(arguments))),
    }
}

fn stray(frame: &Frame<'_>) -> Exception {
    Exception::new(ReplyCode::UnexpectedFrame, MethodId::NONE, described(frame))
}

fn frame_error(frame: &Frame<'_>, what: impl std::fmt::Display) -> Exception {
    Exception::new(ReplyCode::FrameError, MethodId::NONE, format_args!("{}: {what}", described(frame)))
}

fn described(frame: &Frame<'_>) -> String {
    let (extent, bytes) = match frame.payload.get(..16) {
        Some(first) if frame.payload.len() > 16 => ("first 16", first),
        _ => ("all", frame.payload),
    };
    format!("type {}, {extent} octets = {}", frame.kind.octet(), octets(bytes))
}

/// Bytes as an Erlang binary, as RabbitMQ's texts have them.
fn octets(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(128)];
    if !bytes.is_empty() && bytes.iter().all(|byte| (32..127).contains(byte)) {
        return format!("<<\"{}\">>", String::from_utf8_lossy(bytes));
    }
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("<<{}>>", numbers.join(","))
}
