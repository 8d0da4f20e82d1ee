//! Cutting bytes into messages: streams (§18.3, RFC 5626 keep-alives) and datagrams.

use bytes::{Buf, Bytes, BytesMut};

use crate::check;
use crate::error::{Fault, FrameError, ParseError};
use crate::message::Message;
use crate::scan::{Head, HeadScanner};

/// Cuts the bytes of one connection into frames.
///
/// After an error the connection is lost: every further call gives the same error.
///
/// ```
/// use bytes::BytesMut;
/// use reveille_sip::{Frame, Limits, Side, StreamFramer};
///
/// let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
/// let mut buffer = BytesMut::from("\r\n\r\n");
/// assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Ping))));
/// assert!(matches!(framer.next(&mut buffer), Ok(None)));
/// ```
#[derive(Debug)]
pub struct StreamFramer {
    limits: Limits,
    side: Side,
    scanner: HeadScanner,
    /// A header whose body has not wholly arrived.
    head: Option<Head>,
    /// Bytes of an oversized body still to be thrown away.
    skip: u64,
    lost: Option<FrameError>,
}

/// One thing that a peer sent.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "frames are made and taken apart at once; boxing costs an allocation each"
)]
pub enum Frame {
    /// A well-framed message with something wrong: answer with [`Fault::status`] if it is a request, else drop it.
    /// Never forward it.
    Bad {
        /// As far as it could be read.
        message: Message,
        /// What is wrong.
        fault: Fault,
    },
    /// A message.
    Message(Message),
    /// A double CRLF: answer it with a single one (RFC 5626 §4.4.1).
    Ping,
    /// A single CRLF: the answer to a ping, or padding before a message (§7.5).
    Pong,
}

/// Which end opened the connection. Only the opener sends pings (RFC 5626 §3.5.1), so only the accepting side waits for
/// the second half of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The peer connected to us.
    Accepted,
    /// We connected to the peer.
    Initiated,
}

/// Bounds of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest header, with first and empty line. Beyond it the connection is closed.
    pub header_bytes_max: u32,
    /// Most header fields. Beyond it the connection is closed.
    pub header_count_max: u16,
    /// Longest body that is taken. A longer one is a [`Fault::BodyTooLong`].
    pub body_bytes_max: u32,
    /// Longest body that is read and thrown away so that the connection can stay open after a 413.
    pub skip_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32 * 1024,
            header_count_max: 128,
            body_bytes_max: 64 * 1024,
            skip_bytes_max: 1024 * 1024,
        }
    }
}

impl StreamFramer {
    /// A framer for a fresh connection.
    pub fn new(limits: Limits, side: Side) -> Self {
        Self { limits, side, scanner: HeadScanner::default(), head: None, skip: 0, lost: None }
    }

    /// The next frame, taken off the front of `buffer`; `None` when more bytes are needed.
    ///
    /// Between calls the caller may only append to `buffer`. It never has to hold more than one header, one body and
    /// one read: bodies beyond the limit are thrown away as they come.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.lost {
            return Err(error);
        }
        let outcome = self.cut(buffer);
        if let Err(error) = &outcome {
            self.lost = Some(*error);
        }
        outcome
    }

    /// How many bytes the message in hand still needs, if its header is complete: a hint for the next read.
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        match &self.head {
            Some(head) => (head.end as usize).saturating_add(body_length(head)).saturating_sub(buffer.len()),
            None => 0,
        }
    }

    fn cut(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if self.skip > 0 {
            let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(buffer.len());
            buffer.advance(now);
            self.skip -= now as u64;
        }
        if buffer.is_empty() {
            return Ok(None);
        }
        if self.head.is_none() {
            if self.scanner.is_fresh() && buffer[0] == b'\r' {
                return self.keep_alive(buffer);
            }
            let Some(head) = self.scanner.advance(buffer, &self.limits)? else { return Ok(None) };
            let length = head.content_length.ok_or(FrameError::ContentLengthMissing)?;
            if length > u64::from(self.limits.body_bytes_max) {
                return Ok(Some(self.oversized(head, length, buffer)));
            }
            self.head = Some(head);
        }
        let Some(head) = self.head.take_if(|head| buffer.len() >= head.end as usize + body_length(head)) else {
            return Ok(None);
        };
        let bytes = buffer.split_to(head.end as usize + body_length(&head)).freeze();
        Ok(Some(frame(bytes, head)))
    }

    fn keep_alive(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let crlf_at = |at: usize| match buffer.get(at..) {
            Some([b'\r', b'\n', ..]) => Ok(Some(true)),
            Some([] | [b'\r']) | None => Ok(None),
            Some([b'\r', ..]) => Err(FrameError::BareCr { offset: 0 }),
            Some(_) => Ok(Some(false)),
        };
        if crlf_at(0)?.is_none() {
            return Ok(None);
        }
        if self.side == Side::Accepted {
            match crlf_at(2)? {
                None => return Ok(None),
                Some(true) => {
                    buffer.advance(4);
                    return Ok(Some(Frame::Ping));
                }
                Some(false) => {}
            }
        }
        buffer.advance(2);
        Ok(Some(Frame::Pong))
    }

    fn oversized(&mut self, head: Head, length: u64, buffer: &mut BytesMut) -> Frame {
        if length > u64::from(self.limits.skip_bytes_max) {
            // The caller can still answer this request; the call after it closes the connection.
            self.lost = Some(FrameError::BodyTooLong { length, limit: self.limits.skip_bytes_max });
        } else {
            self.skip = length;
        }
        let bytes = buffer.split_to(head.end as usize).freeze();
        let (message, fault) = Message::assemble(bytes, head);
        let fault = fault.unwrap_or(Fault::BodyTooLong { length, limit: self.limits.body_bytes_max });
        Frame::Bad { message, fault }
    }
}

/// Reads one datagram.
///
/// CRLFs before the message are skipped (§7.5), bytes behind Content-Length dropped, and without Content-Length the body
/// is the rest (§18.3). A datagram of CRLFs only is a keep-alive, which callers look for before they parse.
pub fn parse_datagram(datagram: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    let mut bytes = datagram;
    while bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
    let Some(head) = HeadScanner::default().advance(&bytes, limits)? else {
        return Err(FrameError::HeaderIncomplete.into());
    };
    let end = head.end as usize;
    let present = (bytes.len() - end) as u64;
    let declared = head.content_length.unwrap_or(present);
    let mut fault = None;
    if declared > u64::from(limits.body_bytes_max) {
        fault = Some(Fault::BodyTooLong { length: declared, limit: limits.body_bytes_max });
    } else if declared > present {
        fault = Some(Fault::BodyTruncated { declared, present });
    }
    let body = if fault.is_some() { 0 } else { usize::try_from(declared).unwrap_or(0) };
    bytes.truncate(end + body);
    let (message, found) = Message::assemble(bytes, head);
    match found.or(fault) {
        None => Ok(message),
        Some(fault) => Err(ParseError::Bad { message: Box::new(message), fault }),
    }
}

fn frame(bytes: Bytes, head: Head) -> Frame {
    match Message::assemble(bytes, head) {
        (message, None) => Frame::Message(message),
        (message, Some(fault)) => Frame::Bad { message, fault },
    }
}

/// Only asked for a head whose Content-Length is present and within the limit.
fn body_length(head: &Head) -> usize {
    head.content_length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
}

impl Message {
    /// A message of a scanned head, with the first fault found in either.
    fn assemble(bytes: Bytes, head: Head) -> (Self, Option<Fault>) {
        let scanned = head.fault.clone();
        let message = Self::of(bytes, head);
        let fault = scanned.or_else(|| check::first_fault(&message));
        (message, fault)
    }
}
