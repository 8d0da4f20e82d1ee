//! The one scanner of message headers: finds where the header ends and how long the body is.
//!
//! Streams and datagrams both go through [`HeadScanner`], so there is exactly one opinion in this program on where a
//! message ends. It remembers how far it has looked and never looks at a byte twice for that purpose, so a sender who
//! drips single bytes costs linear time. Anything on which two parsers could disagree is an error here.

use memchr::{memchr, memchr3};
use smallvec::SmallVec;

use crate::error::{Fault, FrameError};
use crate::framing::Limits;
use crate::method::Method;
use crate::name::Name;
use crate::text::{ends_uri, is_token, token_length, trim_end_bytes, trim_start_bytes};

/// A half-open range of bytes of the message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: offset(start), end: offset(end) }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One header field: where it stands and which it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderField {
    /// The first byte of the name; the field reaches from here to `end`.
    pub(crate) start: u32,
    pub(crate) name_end: u32,
    pub(crate) value: Span,
    /// Just behind the CRLF of the field's last line.
    pub(crate) end: u32,
    pub(crate) name: Name,
    pub(crate) folded: bool,
    /// Legal, yet written in a way that not every parser reads alike; see [`HeaderField::is_odd`].
    odd: bool,
}

impl HeaderField {
    pub(crate) fn name_span(&self) -> Span {
        Span { start: self.start, end: self.name_end }
    }

    /// Whether the field is not to leave as it came. White space before the colon is legal (§25.1 `HCOLON`), but a
    /// parser behind us may take `Content-Length : 5` for another field, or for none, and then sees other messages than
    /// we counted. The same holds for a Content-Length that is folded or written with leading zeros, and for a field that
    /// goes on with a line of white space only, which may be taken for the end of the header. Such a field is passed on in
    /// the one form which everybody reads as we did.
    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }
}

/// Enough room for the header of most messages, so that parsing one allocates nothing. Not more, since a message moves with
/// it several times.
pub(crate) type Fields = SmallVec<[HeaderField; 16]>;

/// The first line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartLine {
    Request {
        method: Span,
        uri: Span,
        /// The method, if it is one of those that this crate knows.
        known: Option<Method<'static>>,
    },
    /// A status of 0 stands for one which could not be read.
    Response { status: u16, reason: Span },
}

impl Default for StartLine {
    fn default() -> Self {
        Self::Response { status: 0, reason: Span::default() }
    }
}

/// A whole header.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) start_line: StartLine,
    /// Just behind the CRLF of the first line.
    pub(crate) fields_start: u32,
    pub(crate) fields: Fields,
    /// The names of the fields, by [`Name::bit`], and those that stand more than once.
    pub(crate) names: u64,
    pub(crate) repeated: u64,
    /// Just behind the empty line: where the body begins.
    pub(crate) end: u32,
    pub(crate) content_length: Option<u64>,
    pub(crate) folded: bool,
    /// Whether any field [is odd](HeaderField::is_odd).
    pub(crate) odd: bool,
    /// Whether there is a NUL in it; where NUL may stand is asked once all fields are known.
    pub(crate) nul: bool,
    /// The first thing found wrong which leaves the framing sound.
    pub(crate) fault: Option<Fault>,
    /// Where the message ends cannot be known: it may be answered, and nothing behind it may be read.
    pub(crate) broken: Option<FrameError>,
}

/// Scans one header, resumably. Fed with the same buffer again, grown at its end.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    position: usize,
    line_start: usize,
    /// Whether the first line has been read.
    begun: bool,
    /// What is known so far.
    head: Head,
}

impl HeadScanner {
    /// Whether nothing of this message has been looked at yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.position == 0
    }

    /// Looks at what is new in `buffer`, whose first byte is the first of the message. Gives the header, and is fresh
    /// again, when the empty line has been seen or a limit is passed.
    pub(crate) fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<Head>, FrameError> {
        // Looking no further than the limit makes the outcome independent of how much happens to have arrived.
        let limit = limits.header_bytes_max as usize;
        let window = &buffer[..buffer.len().min(limit)];
        loop {
            let Some(found) = memchr3(b'\r', b'\n', 0, &window[self.position..]) else {
                self.position = window.len();
                return self.wait(buffer, limits);
            };
            let at = self.position + found;
            match window[at] {
                b'\n' => return Err(FrameError::BareLf { offset: offset(at) }),
                // A TLS hello or other noise; in a header field it may stand in a quoted string.
                0 if !self.begun => return Err(FrameError::Nul { offset: offset(at) }),
                0 => {
                    self.head.nul = true;
                    self.position = at + 1;
                    continue;
                }
                _ => {}
            }
            match window.get(at + 1) {
                None => {
                    self.position = at;
                    return self.wait(buffer, limits);
                }
                Some(b'\n') => {}
                Some(_) => return Err(FrameError::BareCr { offset: offset(at) }),
            }
            let line_start = self.line_start;
            self.position = at + 2;
            if line_start == at && self.begun {
                self.line_start = at + 2;
                return Ok(Some(self.finish(window)));
            }
            if self.begun && self.head.fields.len() >= usize::from(limits.header_count_max) {
                let (count, limit) = (limits.header_count_max.saturating_add(1), limits.header_count_max);
                return Ok(Some(self.give_up(FrameError::TooManyHeaders { count, limit })));
            }
            self.line_start = at + 2;
            self.line(window, line_start, at)?;
        }
    }

    fn wait(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<Head>, FrameError> {
        if buffer.len() <= limits.header_bytes_max as usize {
            return Ok(None);
        }
        let error = FrameError::HeaderTooLong { limit: limits.header_bytes_max };
        if !self.begun {
            return Err(error);
        }
        Ok(Some(self.give_up(error)))
    }

    /// The header, its empty line seen.
    fn finish(&mut self, window: &[u8]) -> Head {
        let mut lengths = self.head.fields.iter_mut().filter(|field| field.name == Name::ContentLength);
        let length = lengths.next().map(|field| {
            let text = &window[field.value.range()];
            field.odd |= field.folded || text.len() > 1 && text[0] == b'0';
            self.head.odd |= field.odd;
            decimal(text)
        });
        let (content_length, broken) = match (length, lengths.next()) {
            // Also if both are equal: which of them would be believed behind us?
            (_, Some(_)) => (None, Some(FrameError::ContentLengthRepeated)),
            (Some(Err(error)), None) => (None, Some(error)),
            (Some(Ok(length)), None) => (Some(length), None),
            (None, None) => (None, None),
        };
        self.head(content_length, broken)
    }

    /// What was seen of a header that goes beyond a limit: its whole lines, enough to answer.
    fn give_up(&mut self, error: FrameError) -> Head {
        self.position = self.line_start;
        self.head(None, Some(error))
    }

    fn head(&mut self, content_length: Option<u64>, broken: Option<FrameError>) -> Head {
        self.head.end = offset(self.position);
        (self.head.content_length, self.head.broken) = (content_length, broken);
        (self.position, self.line_start, self.begun) = (0, 0, false);
        std::mem::take(&mut self.head)
    }

    /// Takes one line, without its CRLF.
    fn line(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), FrameError> {
        let line = &buffer[start..end];
        if !self.begun {
            (self.head.start_line, self.head.fault) = first_line(line, start)?;
            self.head.fields_start = offset(end + 2);
            self.begun = true;
            return Ok(());
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            self.continuation(line, start, end);
            return Ok(());
        }
        let Some((name_text, colon)) = name_and_colon(line) else {
            self.malformed_line(start, end);
            return Ok(());
        };
        let odd = name_text.len() != colon;
        let name = Name::recognise(name_text);
        self.head.odd |= odd;
        self.head.repeated |= self.head.names & name.bit();
        self.head.names |= name.bit();
        self.head.fields.push(HeaderField {
            start: offset(start),
            name_end: offset(start + name_text.len()),
            value: trimmed(line, colon + 1, start),
            end: offset(end + 2),
            name,
            folded: false,
            odd,
        });
        Ok(())
    }

    /// §7.3.1: a line which begins with white space continues the field before it.
    fn continuation(&mut self, line: &[u8], start: usize, end: usize) {
        let Some(field) = self.head.fields.last_mut() else {
            // The first line cannot be continued.
            return self.malformed_line(start, end);
        };
        let more = trimmed(line, 0, start);
        // Whoever trims lines sees the end of the header there, and a body of headers behind it.
        let blank = more.start == more.end;
        field.odd |= blank;
        self.head.odd |= blank;
        if field.value.start == field.value.end {
            field.value = more;
        } else if !blank {
            field.value.end = more.end;
        }
        field.end = offset(end + 2);
        field.folded = true;
        self.head.folded = true;
    }

    /// Keeps a line which is no header field, so that a line folded behind it does not join the field before.
    fn malformed_line(&mut self, start: usize, end: usize) {
        let line = u16::try_from(self.head.fields.len() + 1).unwrap_or(u16::MAX);
        self.head.fault.get_or_insert(Fault::HeaderLineMalformed { line });
        self.head.fields.push(HeaderField {
            start: offset(start),
            name_end: offset(start),
            value: Span::new(start, end),
            end: offset(end + 2),
            name: Name::Other,
            folded: false,
            odd: false,
        });
    }
}

/// The name that a header line begins with and where its colon stands, white space between them allowed (§25.1
/// `HCOLON`).
fn name_and_colon(line: &[u8]) -> Option<(&[u8], usize)> {
    let name_end = token_length(line);
    let rest = trim_start_bytes(&line[name_end..]);
    (name_end > 0 && rest.first() == Some(&b':')).then(|| (&line[..name_end], line.len() - rest.len()))
}

/// The span of `line[from..]` without white space around it; `base` is where the line stands in the message.
fn trimmed(line: &[u8], from: usize, base: usize) -> Span {
    let rest = trim_start_bytes(&line[from..]);
    let start = base + line.len() - rest.len();
    Span::new(start, start + trim_end_bytes(rest).len())
}

/// A Content-Length: digits and nothing else (§20.14), so no sign, no list, no blank inside.
fn decimal(text: &[u8]) -> Result<u64, FrameError> {
    if text.is_empty() {
        return Err(FrameError::ContentLengthMalformed);
    }
    let mut value: u64 = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Err(FrameError::ContentLengthMalformed);
        }
        value = value
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .ok_or(FrameError::ContentLengthMalformed)?;
    }
    Ok(value)
}

/// Reads the first line (§7.1, §7.2), which stands at `base`.
fn first_line(line: &[u8], base: usize) -> Result<(StartLine, Option<Fault>), FrameError> {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return Ok(status_line(line, base));
    }
    request_line(line, base)
}

fn status_line(line: &[u8], base: usize) -> (StartLine, Option<Fault>) {
    let unreadable = |fault| (StartLine::Response { status: 0, reason: Span::new(base, base) }, Some(fault));
    let Some(space) = memchr(b' ', line) else { return unreadable(Fault::StatusLineMalformed) };
    if !line[..space].eq_ignore_ascii_case(VERSION) {
        return unreadable(Fault::VersionUnsupported);
    }
    let rest = &line[space + 1..];
    let (Some(code), Some(b' ') | None) = (rest.get(..3), rest.get(3)) else {
        return unreadable(Fault::StatusLineMalformed);
    };
    // §7.2: three digits; §21: classes 1 to 6.
    if !code.iter().all(u8::is_ascii_digit) || !(b'1'..=b'6').contains(&code[0]) {
        return unreadable(Fault::StatusLineMalformed);
    }
    let status = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let reason_start = (space + 5).min(line.len());
    (StartLine::Response { status, reason: Span::new(base + reason_start, base + line.len()) }, None)
}

fn request_line(line: &[u8], base: usize) -> Result<(StartLine, Option<Fault>), FrameError> {
    let first = memchr(b' ', line).unwrap_or(line.len());
    let last = memchr::memrchr(b' ', line).unwrap_or(line.len());
    let method = &line[..first];
    // §7.1: a single space on either side of the URI, nothing behind the version.
    let uri = line.get(first + 1..last).unwrap_or_default();
    let version = line.get(last + 1..).unwrap_or_default();
    let ours = version.eq_ignore_ascii_case(VERSION);
    if !ours && !line.windows(5).any(|five| five.eq_ignore_ascii_case(b" SIP/")) {
        // HTTP, a TLS hello, noise: nothing that a SIP answer would help.
        return Err(FrameError::NotSip);
    }
    let fault = if !is_token(method) || uri.is_empty() || uri.iter().copied().any(ends_uri) {
        Some(Fault::RequestLineMalformed)
    } else if ours {
        None
    } else if version.len() >= 4 && version[..4].eq_ignore_ascii_case(b"SIP/") {
        Some(Fault::VersionUnsupported)
    } else {
        Some(Fault::RequestLineMalformed)
    };
    let uri_start = base + (first + 1).min(line.len());
    let start_line = StartLine::Request {
        method: Span::new(base, base + first),
        uri: Span::new(uri_start, uri_start + uri.len()),
        known: Method::known(method),
    };
    Ok((start_line, fault))
}

/// [`Limits`] keeps every header below 4 GiB, so that offsets into it fit.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

const VERSION: &[u8] = b"SIP/2.0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_digits_and_nothing_else() {
        assert_eq!(decimal(b"0"), Ok(0));
        assert_eq!(decimal(b"00150"), Ok(150));
        assert_eq!(decimal(b"18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "-1", "+5", "5, 5", "5 5", "0x10", "18446744073709551616", "5;x"] {
            assert_eq!(decimal(bad.as_bytes()), Err(FrameError::ContentLengthMalformed), "{bad:?}");
        }
    }

    #[test]
    fn first_lines_are_judged() {
        let fault = |line: &str| first_line(line.as_bytes(), 0).map(|(_, fault)| fault);
        assert_eq!(fault("OPTIONS sip:a@b SIP/2.0"), Ok(None));
        assert_eq!(fault("OPTIONS sip:a@b sip/2.0"), Ok(None));
        assert_eq!(fault("OPTIONS sip:a@b SIP/7.0"), Ok(Some(Fault::VersionUnsupported)));
        assert_eq!(fault("OPTIONS sip:a@b SIP/2.0  "), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("OPTIONS  sip:a@b SIP/2.0"), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("OPTIONS sip:a@b; lr SIP/2.0"), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("OPTIONS sip:a@b\u{c} SIP/2.0"), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("OPTIONS SIP/2.0"), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("OPT(IONS sip:a@b SIP/2.0"), Ok(Some(Fault::RequestLineMalformed)));
        assert_eq!(fault("GET / HTTP/1.1"), Err(FrameError::NotSip));
        assert_eq!(fault(""), Err(FrameError::NotSip));
        assert_eq!(fault("SIP/2.0 200 OK"), Ok(None));
        assert_eq!(fault("SIP/2.0 200 "), Ok(None));
        assert_eq!(fault("SIP/2.0 200"), Ok(None));
        assert_eq!(fault("SIP/2.0 4294967301 better"), Ok(Some(Fault::StatusLineMalformed)));
        assert_eq!(fault("SIP/2.0 700 no"), Ok(Some(Fault::StatusLineMalformed)));
        assert_eq!(fault("SIP/3.0 200 OK"), Ok(Some(Fault::VersionUnsupported)));
    }
}
