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
    /// Longest header, with first and empty line. Beyond it a request is answered with 513 and the connection closed.
    pub header_bytes_max: u32,
    /// Most header fields. Beyond it a request is answered with 513 and the connection closed.
    pub header_count_max: u16,
    /// Longest body that is taken. A longer one is a [`Fault::BodyTooLong`].
    pub body_bytes_max: u32,
    /// Longest body that is read and thrown away so that the connection can stay open after a 413.
    pub skip_bytes_max: u32,
}

/// Those between servers of one organisation, which get what outsiders sent with what was added on the way.
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

impl Limits {
    /// Those between organisations. What comes within them still fits between servers of one ([`Limits::default`]) when
    /// each proxy there has added its own: a next hop that finds a message too long closes a connection that others
    /// use as well.
    pub fn between_organisations() -> Self {
        Self { header_bytes_max: 24 * 1024, header_count_max: 96, ..Self::default() }
    }

    /// Those of phones. What comes within them still fits between organisations.
    pub fn of_clients() -> Self {
        Self { header_bytes_max: 16 * 1024, header_count_max: 80, ..Self::default() }
    }

    /// Whether a message is within them once one more proxy has added to its header.
    pub fn leave_room(&self, message: &Message) -> bool {
        let fields = message.field_count() + usize::from(ADDED_COUNT);
        let bytes = message.header_len() + ADDED_BYTES as usize;
        fields <= usize::from(self.header_count_max) && bytes <= self.header_bytes_max as usize
    }
}

/// What one proxy adds at most: a Via and two Record-Routes with names of full length and tokens, two fields of its own, and
/// Max-Forwards and Content-Length where they were missing.
const ADDED_COUNT: u16 = 8;
const ADDED_BYTES: u32 = 3 * 1024;

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
            Some(head) => whole_length(head).saturating_sub(buffer.len()),
            None => 0,
        }
    }

    /// Whether `buffer`, after [`StreamFramer::next`] gave nothing, holds the beginning of a message. Line ends are none: a
    /// peer may keep its connection alive with a single CRLF, of which nobody knows yet whether a second one follows.
    pub fn has_begun(&self, buffer: &BytesMut) -> bool {
        self.skip > 0 || buffer.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
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
        if let Some(head) = self.head.take_if(|head| buffer.len() >= whole_length(head)) {
            return Ok(Some(whole(head, buffer)));
        }
        if self.head.is_some() {
            return Ok(None);
        }
        if self.scanner.is_fresh() && buffer[0] == b'\r' {
            return self.keep_alive(buffer);
        }
        let Some(head) = self.scanner.advance(buffer, &self.limits)? else { return Ok(None) };
        let length = match (head.broken, head.content_length) {
            (Some(error), _) => return Ok(Some(self.broken(head, error, buffer))),
            (None, None) => return Ok(Some(self.broken(head, FrameError::ContentLengthMissing, buffer))),
            (None, Some(length)) => length,
        };
        if length > u64::from(self.limits.body_bytes_max) {
            return Ok(Some(self.oversized(head, length, buffer)));
        }
        if buffer.len() < whole_length(&head) {
            self.head = Some(head);
            return Ok(None);
        }
        Ok(Some(whole(head, buffer)))
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

    /// RFC 4475 §3.3.9: an error that cannot be recovered from is answered, and then the connection is closed.
    fn broken(&mut self, head: Head, error: FrameError, buffer: &mut BytesMut) -> Frame {
        self.lost = Some(error);
        let bytes = buffer.split_to(head.end as usize).freeze();
        Frame::Bad { message: Message::of(bytes, head), fault: Fault::Framing(error) }
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
    if let Some(error) = head.broken {
        bytes.truncate(end);
        let message = Box::new(Message::of(bytes, head));
        return Err(ParseError::Bad { message, fault: Fault::Framing(error) });
    }
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

/// Takes a message that is there in whole off the front of `buffer`.
fn whole(head: Head, buffer: &mut BytesMut) -> Frame {
    let bytes = buffer.split_to(whole_length(&head)).freeze();
    match Message::assemble(bytes, head) {
        (message, None) => Frame::Message(message),
        (message, Some(fault)) => Frame::Bad { message, fault },
    }
}

/// How long the message is. Only asked for a head whose Content-Length is present and within the limit.
fn whole_length(head: &Head) -> usize {
    let body = head.content_length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    (head.end as usize).saturating_add(body)
}

impl Message {
    /// A message of a scanned head, with the first fault found in either.
    fn assemble(bytes: Bytes, head: Head) -> (Self, Option<Fault>) {
        let mut head = head;
        let (scanned, nul) = (head.fault.take(), head.nul);
        let message = Self::of(bytes, head);
        let fault = scanned.or_else(|| check::first_fault(&message, nul));
        (message, fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"MESSAGE sip:b@c SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
        To: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 5\r\n\r\nhello";

    fn names(side: Side, pieces: &[&[u8]]) -> Vec<&'static str> {
        let (mut framer, mut buffer) = (StreamFramer::new(Limits::default(), side), BytesMut::new());
        let mut names = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                names.push(match framer.next(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(Frame::Message(_))) => "message",
                    Ok(Some(Frame::Bad { .. })) => "bad",
                    Ok(Some(Frame::Ping)) => "ping",
                    Ok(Some(Frame::Pong)) => "pong",
                    Err(_) => return [names, vec!["close"]].concat(),
                });
            }
        }
        names
    }

    #[test]
    fn keep_alives_mean_what_the_side_says() {
        for (side, pieces, expected) in [
            (Side::Accepted, vec![&b"\r\n\r\n"[..]], vec!["ping"]),
            (Side::Accepted, vec![b"\r", b"\n\r", b"\n", MESSAGE], vec!["ping", "message"]),
            (Side::Accepted, vec![b"\r\n"], vec![]),
            (Side::Accepted, vec![b"\r\n", MESSAGE], vec!["pong", "message"]),
            (Side::Accepted, vec![b"\r\n\r\n\r\n", MESSAGE], vec!["ping", "pong", "message"]),
            (Side::Initiated, vec![b"\r\n"], vec!["pong"]),
            (Side::Initiated, vec![MESSAGE, b"\r\n\r\n", MESSAGE], vec!["message", "pong", "pong", "message"]),
            (Side::Accepted, vec![b"\r\r\n"], vec!["close"]),
            (Side::Accepted, vec![b"\r\n\rX"], vec!["close"]),
            (Side::Initiated, vec![b"\rX"], vec!["close"]),
            (Side::Accepted, vec![b"\n"], vec!["close"]),
        ] {
            assert_eq!(names(side, &pieces), expected, "{side:?} {pieces:?}");
        }
    }

    #[test]
    fn a_body_at_the_limit_is_taken_and_one_above_is_skipped() {
        let limits = Limits { body_bytes_max: 5, skip_bytes_max: 9, ..Limits::default() };
        let of = |length: usize| {
            let text = std::str::from_utf8(MESSAGE).unwrap().replace("Length: 5", &format!("Length: {length}"));
            [text.trim_end_matches("hello").as_bytes(), &vec![b'x'; length]].concat()
        };
        let mut framer = StreamFramer::new(limits, Side::Accepted);
        let mut buffer = BytesMut::from(&[of(5), of(6), of(9), of(0), of(10)].concat()[..]);
        assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Message(_)))));
        for length in [6, 9] {
            let frame = framer.next(&mut buffer);
            let Ok(Some(Frame::Bad { message, fault })) = frame else { panic!("{frame:?}") };
            assert_eq!((message.body().len(), fault), (0, Fault::BodyTooLong { length, limit: 5 }));
        }
        assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Message(_)))));
        assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Bad { .. }))));
        for _ in 0..2 {
            assert_eq!(framer.next(&mut buffer).unwrap_err(), FrameError::BodyTooLong { length: 10, limit: 9 });
        }
    }

    #[test]
    fn what_one_hop_takes_fits_the_next_one_with_all_that_is_added() {
        let (client, outer, inner) = (Limits::of_clients(), Limits::between_organisations(), Limits::default());
        // Home and our edge add to what a phone sends, a partner's edge and home to what comes from an organisation.
        for (from, to, proxies) in [(client, outer, 2), (outer, inner, 2)] {
            assert!(from.header_count_max + proxies * ADDED_COUNT <= to.header_count_max, "{from:?} {to:?}");
            assert!(from.header_bytes_max + u32::from(proxies) * ADDED_BYTES <= to.header_bytes_max, "{from:?} {to:?}");
        }
        let text = std::str::from_utf8(MESSAGE).expect("text");
        let message = parse_datagram(Bytes::copy_from_slice(MESSAGE), &inner).expect("sound");
        let head = text.len() as u32 - 5;
        for (count, bytes, room) in [(14, head + 3072, true), (13, head + 3072, false), (14, head + 3071, false)] {
            let limits = Limits { header_count_max: count, header_bytes_max: bytes, ..inner };
            assert_eq!(limits.leave_room(&message), room, "{count} {bytes}");
        }
    }

    #[test]
    fn skipping_holds_no_more_than_one_read() {
        let limits = Limits { body_bytes_max: 5, ..Limits::default() };
        let mut framer = StreamFramer::new(limits, Side::Accepted);
        let text = std::str::from_utf8(MESSAGE).unwrap().replace("Length: 5\r\n\r\nhello", "Length: 1000\r\n\r\n");
        let mut buffer = BytesMut::from(text.as_bytes());
        assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Bad { .. }))));
        for _ in 0..100 {
            buffer.extend_from_slice(&[b'\n'; 10]);
            assert!(matches!(framer.next(&mut buffer), Ok(None)));
            assert!(buffer.is_empty());
        }
        buffer.extend_from_slice(MESSAGE);
        assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Message(_)))));
    }

    #[test]
    fn the_hint_says_how_much_of_a_body_is_missing() {
        let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
        let mut buffer = BytesMut::from(&MESSAGE[..MESSAGE.len() - 3]);
        assert!(matches!(framer.next(&mut buffer), Ok(None)));
        assert_eq!(framer.missing(&buffer), 3);
    }

    #[test]
    fn line_ends_are_no_beginning_of_a_message() {
        let limits = Limits { body_bytes_max: 5, ..Limits::default() };
        let skipped = std::str::from_utf8(MESSAGE).unwrap().replace("Length: 5\r\n\r\nhello", "Length: 9\r\n\r\n");
        for (bytes, begun) in [
            ("", false),
            ("\r", false),
            ("\r\n", false),
            ("\r\n\r", false),
            ("\r\n\r\n", false),
            ("\r\nM", true),
            ("M", true),
            (std::str::from_utf8(&MESSAGE[..MESSAGE.len() - 1]).unwrap(), true),
            (std::str::from_utf8(MESSAGE).unwrap(), false),
            (&skipped, true),
        ] {
            let (mut framer, mut buffer) = (StreamFramer::new(limits, Side::Accepted), BytesMut::from(bytes));
            while framer.next(&mut buffer).expect("sound").is_some() {}
            assert_eq!(framer.has_begun(&buffer), begun, "{bytes:?}");
        }
    }

    #[test]
    fn header_limits_are_exact_however_the_bytes_arrive() {
        let header = MESSAGE.len() as u32 - 5;
        for (header_bytes_max, header_count_max, sound) in
            [(header, 6, true), (header - 1, 6, false), (header, 5, false)]
        {
            let limits = Limits { header_bytes_max, header_count_max, ..Limits::default() };
            for step in [1, 7, MESSAGE.len()] {
                let (mut framer, mut buffer) = (StreamFramer::new(limits, Side::Accepted), BytesMut::new());
                let mut outcome = Ok(None);
                for piece in MESSAGE.chunks(step) {
                    buffer.extend_from_slice(piece);
                    outcome = framer.next(&mut buffer);
                    if !matches!(outcome, Ok(None)) {
                        break;
                    }
                }
                assert_eq!(matches!(outcome, Ok(Some(Frame::Message(_)))), sound, "{limits:?} {step} {outcome:?}");
            }
        }
    }

    #[test]
    fn a_datagram_without_length_has_the_rest_as_body() {
        let text = std::str::from_utf8(MESSAGE).unwrap().replace("Content-Length: 5\r\n", "");
        let message = parse_datagram(Bytes::from(format!("\r\n\r\n{text}")), &Limits::default()).unwrap();
        assert_eq!(&message.body()[..], b"hello");
        let longer = [MESSAGE, b"trailing"].concat();
        assert_eq!(&parse_datagram(longer.into(), &Limits::default()).unwrap().body()[..], b"hello");
    }
}
