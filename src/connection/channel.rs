//! One channel's wire state: open or closing, waiting or not, and the content being assembled.

use crate::amqp::codec::DecodeError;
use crate::amqp::content::write_record_head;
use crate::amqp::frame::Frame;
use crate::amqp::method::decode_publish;
use crate::amqp::{Exception, FrameKind, MethodId, Properties, ReplyCode};
use crate::limits::Limits;

/// Class and method id of basic.publish: to blame for everything wrong with content.
pub const PUBLISH: MethodId = MethodId::new(60, 40);

/// Whether a channel takes commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelPhase {
    /// It does.
    Open,
    /// We sent channel.close; everything but close and close-ok is dropped.
    Closing,
}

/// Content between its method and its last body frame.
#[derive(Debug, Default)]
enum Assembly {
    #[default]
    Idle,
    /// The method came; the content header is due.
    Header { names: Vec<u8>, mandatory: bool, immediate: bool },
    /// The header came; body bytes are due.
    Body { record: Vec<u8>, mandatory: bool, immediate: bool, left: u64 },
    /// The body is larger than may be kept: its bytes are counted and dropped, the publish will be refused.
    Oversize { names: Vec<u8>, mandatory: bool, immediate: bool, size: u64, left: u64 },
}

/// A publish whose content came in pieces.
#[derive(Debug)]
pub struct Assembled {
    /// The record (see `amqp::content`); for an oversized body only names.
    pub record: Vec<u8>,
    /// The flag of the method.
    pub mandatory: bool,
    /// The flag of the method.
    pub immediate: bool,
    /// The announced size of a body that was too large to be kept.
    pub oversize: Option<u64>,
}

/// A channel as the wire knows it.
#[derive(Debug)]
pub struct Channel {
    /// The channel number.
    pub number: u16,
    /// Told apart from earlier and later channels of the same number and slot.
    pub generation: u32,
    /// Open or closing.
    pub phase: ChannelPhase,
    /// An answer is due before the next frame of this channel may be looked at.
    pub waiting: bool,
    assembly: Assembly,
}

fn unexpected(explanation: impl std::fmt::Display) -> Exception {
    Exception::new(ReplyCode::UnexpectedFrame, PUBLISH, explanation)
}

impl Channel {
    /// A channel that was just opened.
    pub fn new(number: u16, generation: u32) -> Channel {
        Channel { number, generation, phase: ChannelPhase::Open, waiting: false, assembly: Assembly::Idle }
    }

    /// Whether content is due.
    #[inline]
    pub fn is_assembling(&self) -> bool {
        !matches!(self.assembly, Assembly::Idle)
    }

    /// Whether a method may come.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.phase == ChannelPhase::Open && !self.waiting && !self.is_assembling()
    }

    /// Forgets content that was begun.
    pub fn abandon(&mut self) {
        self.assembly = Assembly::Idle;
    }

    /// Begins to assemble the content of a basic.publish with these arguments.
    ///
    /// # Errors
    /// Arguments that cannot be read.
    pub fn begin(&mut self, arguments: &[u8]) -> Result<(), DecodeError> {
        let publish = decode_publish(arguments)?;
        let names = arguments.get(2..arguments.len() - 1).unwrap_or(&[0, 0]).to_vec();
        self.assembly = Assembly::Header { names, mandatory: publish.mandatory, immediate: publish.immediate };
        Ok(())
    }

    /// Takes a content header or body frame, or a method where content is due.
    ///
    /// # Errors
    /// The violations of rabbitmq-semantics.md section 3.
    pub fn frame(&mut self, frame: &Frame<'_>, limits: &Limits) -> Result<Option<Assembled>, Exception> {
        match (&self.assembly, frame.kind) {
            (Assembly::Idle, _) => Err(Exception::new(
                ReplyCode::UnexpectedFrame,
                MethodId::NONE,
                "expected method frame, got non method frame instead",
            )),
            (Assembly::Header { .. }, FrameKind::Header) => self.header(frame.payload, limits),
            (Assembly::Header { .. }, _) => {
                Err(unexpected("expected content header for class 60, got non content header frame instead"))
            }
            (_, FrameKind::Body) => {
                self.body(frame.payload)?;
                Ok(self.finished())
            }
            _ => Err(unexpected("expected content body, got non content body frame instead")),
        }
    }

    fn header(&mut self, payload: &[u8], limits: &Limits) -> Result<Option<Assembled>, Exception> {
        let header = ContentHeader::read(payload, limits)?;
        let Assembly::Header { names, mandatory, immediate } = std::mem::take(&mut self.assembly) else {
            return Ok(None);
        };
        let left = header.body_bytes;
        self.assembly = if left > limits.message_bytes_max {
            Assembly::Oversize { names, mandatory, immediate, size: left, left }
        } else {
            // An announcement is not content: reserve no more than a bounded part of it.
            let reserve = (left as usize).min(limits.body_reserve_max);
            let mut record = Vec::with_capacity(8 + names.len() + header.properties.len() + reserve);
            write_record_head(&mut record, &names, header.properties, left as usize);
            Assembly::Body { record, mandatory, immediate, left }
        };
        Ok(self.finished())
    }

    /// Takes body bytes: a frame's payload, or a part of it that has come so far.
    ///
    /// # Errors
    /// More bytes than the header announced.
    pub fn body(&mut self, bytes: &[u8]) -> Result<(), Exception> {
        let (Assembly::Body { left, .. } | Assembly::Oversize { left, .. }) = &mut self.assembly else {
            return Err(unexpected("expected content body, got non content body frame instead"));
        };
        match left.checked_sub(bytes.len() as u64) {
            Some(rest) => *left = rest,
            None => {
                return Err(Exception::new(
                    ReplyCode::FrameError,
                    PUBLISH,
                    "content body frame exceeds remaining content size",
                ));
            }
        }
        if let Assembly::Body { record, .. } = &mut self.assembly {
            record.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Body bytes that are still due; `None` when no body is being assembled.
    #[inline]
    pub fn body_bytes_left(&self) -> Option<u64> {
        match &self.assembly {
            Assembly::Body { left, .. } | Assembly::Oversize { left, .. } => Some(*left),
            _ => None,
        }
    }

    /// The content, when its last byte has come.
    pub fn finished(&mut self) -> Option<Assembled> {
        if self.body_bytes_left() != Some(0) {
            return None;
        }
        match std::mem::take(&mut self.assembly) {
            Assembly::Body { record, mandatory, immediate, .. } => {
                Some(Assembled { record, mandatory, immediate, oversize: None })
            }
            Assembly::Oversize { names, mandatory, immediate, size, .. } => {
                let mut record = Vec::new();
                write_record_head(&mut record, &names, &[0, 0], 0);
                Some(Assembled { record, mandatory, immediate, oversize: Some(size) })
            }
            _ => None,
        }
    }
}

/// A content header's payload.
#[derive(Debug, Clone, Copy)]
pub struct ContentHeader<'a> {
    /// Bytes of body to come.
    pub body_bytes: u64,
    /// Property flags and list, checked.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads a content header of class basic.
    ///
    /// # Errors
    /// Another class, a weight, a body beyond any limit, properties that cannot be read.
    #[inline]
    pub fn read(payload: &'a [u8], limits: &Limits) -> Result<ContentHeader<'a>, Exception> {
        let Some((head, properties)) = payload.split_first_chunk::<12>() else {
            return Err(unexpected("expected content header for class 60, got non content header frame instead"));
        };
        let class = u16::from_be_bytes([head[0], head[1]]);
        let weight = u16::from_be_bytes([head[2], head[3]]);
        if class != PUBLISH.class {
            return Err(unexpected(format_args!(
                "expected content header for class 60, got one for class {class} instead"
            )));
        }
        if weight != 0 {
            return Err(unexpected("expected content header for class 60, got non content header frame instead"));
        }
        let body_bytes = u64::from_be_bytes([head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11]]);
        if body_bytes > limits.message_bytes_ceiling {
            return Err(Exception::new(
                ReplyCode::FrameError,
                PUBLISH,
                format_args!(
                    "content body size {body_bytes} exceeds maximum allowed size {}",
                    limits.message_bytes_ceiling
                ),
            ));
        }
        if properties != [0, 0] && Properties::decode(properties).is_err() {
            return Err(Exception::bare(ReplyCode::InternalError, MethodId::NONE));
        }
        Ok(ContentHeader { body_bytes, properties })
    }
}
