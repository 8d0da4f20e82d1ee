//! A received message: its bytes, and where in them everything stands.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{HeaderError, SyntaxError};
use crate::list::{Elements, elements};
use crate::method::Method;
use crate::name::Name;
use crate::name_addr::NameAddr;
use crate::scan::{Fields, Head, HeaderField, Span, StartLine};
use crate::text::{decimal_u32, is_token, trim};
use crate::transaction::TransactionKey;
use crate::via::Via;

/// One SIP message as it was received.
///
/// Header names were recognised when it was parsed; values are read on demand and borrow from the message. A clone
/// shares the bytes. `Debug` shows neither addresses nor text, since both may hold tokens.
#[derive(Clone)]
pub struct Message {
    raw: Bytes,
    /// The header with every folding CRLF replaced by two blanks (§7.3.1: both mean one blank), if there was any.
    /// Offsets are the same as in `raw`, which is what gets forwarded.
    unfolded: Option<Bytes>,
    start_line: StartLine,
    fields_start: u32,
    fields: Fields,
    /// The names of the fields, by [`Name::bit`], and those that stand more than once.
    names: u64,
    repeated: u64,
    head_end: u32,
    odd: bool,
    nul: bool,
}

/// One header field, as [`Message::fields`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Which field it is.
    pub name: Name,
    /// The name as it was written.
    pub name_text: &'a str,
    /// The value without white space around it, unfolded.
    pub value: &'a str,
}

/// A sequence number and the method that it counts (§20.16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CSeq<'a> {
    /// Below 2^31 (§8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl Message {
    pub(crate) fn of(raw: Bytes, head: Head) -> Self {
        let unfolded = head.folded.then(|| unfold(&raw[..head.end as usize], &head.fields));
        Self {
            raw,
            unfolded,
            start_line: head.start_line,
            fields_start: head.fields_start,
            fields: head.fields,
            names: head.names,
            repeated: head.repeated,
            head_end: head.end,
            odd: head.odd,
            nul: head.nul,
        }
    }

    /// Whether this is a request; otherwise it is a response.
    pub fn is_request(&self) -> bool {
        matches!(self.start_line, StartLine::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method<'_>> {
        match self.start_line {
            StartLine::Request { known: Some(known), .. } => Some(known),
            StartLine::Request { method, .. } => self.text(method).map(Method::parse),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI of a request, as written.
    pub fn request_uri(&self) -> Option<&str> {
        match self.start_line {
            StartLine::Request { uri, .. } => self.text(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start_line {
            StartLine::Response { status, .. } if status != 0 => Some(status),
            _ => None,
        }
    }

    /// The reason phrase of a response; may be empty.
    pub fn reason_phrase(&self) -> Option<&str> {
        match self.start_line {
            StartLine::Response { reason, .. } => self.text(reason),
            StartLine::Request { .. } => None,
        }
    }

    /// The value of the first field of that name. Always `None` for [`Name::Other`].
    pub fn header(&self, name: Name) -> Option<&str> {
        self.headers(name).next()
    }

    /// The same as bytes, for whoever compares it and does not read it.
    pub fn header_bytes(&self, name: Name) -> Option<&[u8]> {
        if !self.has(name) {
            return None;
        }
        let field = self.fields.iter().find(|field| field.name == name)?;
        Some(&self.head_bytes()[field.value.range()])
    }

    /// The values of all fields of that name, from top to bottom, each as written.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &str> + Clone {
        let fields = if self.has(name) { &self.fields[..] } else { &[] };
        fields.iter().filter(move |field| field.name == name).filter_map(|field| self.text(field.value))
    }

    /// Whether there is a field of that name. Costs next to nothing. Always `false` for [`Name::Other`].
    pub fn has(&self, name: Name) -> bool {
        name != Name::Other && self.names & name.bit() != 0
    }

    /// The elements of all fields of that name, where each field may be a comma-separated list (§7.3.1).
    pub fn values(&self, name: Name) -> impl Iterator<Item = &str> + Clone {
        self.headers(name).flat_map(|value| -> Elements<'_> { elements(value) })
    }

    /// The value of the first field called `name`, compared without case; for names outside [`Name`].
    pub fn other_header<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.other_headers(name).next()
    }

    /// The values of all fields called `name`, compared without case.
    pub fn other_headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let known = Name::recognise(name.as_bytes());
        self.fields
            .iter()
            .filter(move |field| match known {
                Name::Other => {
                    field.name == Name::Other
                        && self.raw[field.name_span().range()].eq_ignore_ascii_case(name.as_bytes())
                }
                known => field.name == known,
            })
            .filter_map(|field| self.text(field.value))
    }

    /// All header fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().filter_map(|field| {
            Some(Field { name: field.name, name_text: self.text(field.name_span())?, value: self.text(field.value)? })
        })
    }

    /// The body, sharing the received bytes.
    pub fn body(&self) -> Bytes {
        self.raw.slice(self.head_end as usize..)
    }

    /// The body as a slice.
    pub fn body_bytes(&self) -> &[u8] {
        &self.raw[self.head_end as usize..]
    }

    /// How many header fields it has.
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// How long its header is, with first and empty line.
    pub fn header_len(&self) -> usize {
        self.head_end as usize
    }

    /// The same message with bytes of its own: one kept for long must not hold on to the buffer it was read into.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { raw: Bytes::copy_from_slice(&self.raw), ..self.clone() }
    }

    /// The whole message as received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&str> {
        self.header(Name::CallId)
    }

    /// CSeq, checked (§20.16).
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(self.required(Name::CSeq)?).map_err(|error| error.of(Name::CSeq))
    }

    /// The topmost Via value: the hop which sent this request, or (in a response) us.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        let first = self.values(Name::Via).next().ok_or(HeaderError::Missing { name: Name::Via })?;
        Via::parse(first).map_err(|error| error.of(Name::Via))
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::From)
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(Name::To)
    }

    /// Whether To has a tag, so that a request belongs to a dialog (§12.2.2).
    pub fn has_to_tag(&self) -> bool {
        // Asked of every request, and nearly all of them end with the address.
        let ends_with_address = |to: &[u8]| to.first() == Some(&b'<') && memchr::memchr(b'>', to) == Some(to.len() - 1);
        !self.header_bytes(Name::To).is_some_and(ends_with_address) && self.to().is_ok_and(|to| to.tag().is_some())
    }

    /// The first value of any field which holds addresses: From, To, Contact, Route, Path, ...
    pub fn address(&self, name: Name) -> Result<NameAddr<'_>, HeaderError> {
        let first = match name {
            // These are no lists: a comma in them is either quoted or a mistake.
            Name::From | Name::To | Name::ReferTo | Name::ReferredBy => self.header(name),
            _ => self.values(name).next(),
        };
        NameAddr::parse(first.ok_or(HeaderError::Missing { name })?).map_err(|error| error.of(name))
    }

    /// Max-Forwards, if present and within 0..=255 (§20.22).
    pub fn max_forwards(&self) -> Option<u8> {
        decimal_u32(self.header(Name::MaxForwards)?).and_then(|hops| u8::try_from(hops).ok())
    }

    /// What Max-Forwards says at the next hop: one less than here, 70 for a request that came without it (§16.6 step 3).
    /// `None` at 0: the request goes no further (§16.3 step 3).
    pub fn onward_hops(&self) -> Option<u8> {
        self.max_forwards().map_or(Some(70), |hops| hops.checked_sub(1))
    }

    /// Expires in seconds, if present and a number below 2^32 (§20.19).
    pub fn expires(&self) -> Option<u32> {
        decimal_u32(self.header(Name::Expires)?)
    }

    /// Content-Type, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.header(Name::ContentType)
    }

    /// The media type of the body without parameters, in its written case: `text/plain`.
    pub fn media_type(&self) -> Option<&str> {
        self.content_type().map(|value| trim(value.split(';').next().unwrap_or(value)))
    }

    /// What identifies the transaction: for a request the server side's key (§17.2.3), for a response the client
    /// side's (§17.1.3).
    pub fn transaction_key(&self) -> Result<TransactionKey, HeaderError> {
        TransactionKey::of(self)
    }

    /// The value of a field which must be there.
    pub fn required(&self, name: Name) -> Result<&str, HeaderError> {
        self.header(name).ok_or(HeaderError::Missing { name })
    }

    pub(crate) fn raw_fields(&self) -> &[HeaderField] {
        &self.fields
    }

    /// The names of all fields, by [`Name::bit`].
    pub(crate) const fn names(&self) -> u64 {
        self.names
    }

    /// Those that stand more than once.
    pub(crate) const fn repeated(&self) -> u64 {
        self.repeated
    }

    pub(crate) fn start_line(&self) -> StartLine {
        self.start_line
    }

    pub(crate) fn fields_start(&self) -> usize {
        self.fields_start as usize
    }

    /// Just behind the last header field.
    pub(crate) fn fields_end(&self) -> usize {
        self.fields.last().map_or(self.fields_start, |field| field.end) as usize
    }

    pub(crate) fn head_end(&self) -> usize {
        self.head_end as usize
    }

    /// Whether there is a NUL in the header, in its place or not.
    pub(crate) fn has_nul(&self) -> bool {
        self.nul
    }

    /// The value of a field as it came, folding included.
    pub(crate) fn raw_value(&self, field: &HeaderField) -> &[u8] {
        &self.raw[field.value.range()]
    }

    /// Whether any field is not to leave as it came; see [`HeaderField::is_odd`].
    pub(crate) fn has_odd_fields(&self) -> bool {
        self.odd
    }

    /// The header as it reads, without folding.
    pub(crate) fn head_bytes(&self) -> &[u8] {
        match &self.unfolded {
            Some(unfolded) => unfolded,
            None => &self.raw[..self.head_end as usize],
        }
    }

    /// A span of the header as text. `None` only in a message which was found faulty for not being UTF-8.
    pub(crate) fn text(&self, span: Span) -> Option<&str> {
        std::str::from_utf8(&self.head_bytes()[span.range()]).ok()
    }
}

impl<'a> CSeq<'a> {
    /// Reads a CSeq value.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let blank = value.bytes().position(|byte| matches!(byte, b' ' | b'\t'));
        let number_end = blank.ok_or(SyntaxError::new("it is not a number and a method"))?;
        let (number, method) = (&value[..number_end], trim(&value[number_end..]));
        // §8.1.1.5: the number must be below 2^31.
        let number = decimal_u32(number)
            .filter(|number| *number < 1 << 31)
            .ok_or(SyntaxError::new("its number is not below 2^31"))?;
        if !is_token(method.as_bytes()) {
            return Err(SyntaxError::new("its method is not a token"));
        }
        Ok(Self { number, method: Method::parse(method) })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: Cow<'_, str> = match (self.method(), self.status()) {
            (Some(method), _) => method.as_str().into(),
            (None, Some(status)) => status.to_string().into(),
            (None, None) => "unreadable".into(),
        };
        f.debug_struct("Message")
            .field("start", &start)
            .field("call_id", &self.call_id())
            .field("fields", &self.fields.len())
            .field("body_bytes", &self.body_bytes().len())
            .finish()
    }
}

/// Replaces every CRLF inside a folded field by two blanks, which keeps all offsets.
fn unfold(head: &[u8], fields: &[HeaderField]) -> Bytes {
    let mut text = BytesMut::from(head);
    for field in fields.iter().filter(|field| field.folded) {
        let last_line_end = field.end as usize - 2;
        for byte in &mut text[field.start as usize..last_line_end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn message(text: &str) -> Message {
        parse_datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("a sound message")
    }

    const PLAIN: &str = "MESSAGE sip:bob@contoso.com SIP/2.0\r\n\
        v: SIP/2.0/TLS a.example;branch=z9hG4bK1, SIP/2.0/UDP b.example;branch=z9hG4bK0\r\n\
        Via: SIP/2.0/TCP c.example;branch=z9hG4bK9\r\n\
        Max-Forwards: 70\r\n\
        From: \"Alice, A.\" <sip:alice@contoso.com>;tag=1\r\n\
        t: <sip:bob@contoso.com>\r\n\
        Call-ID: x@y\r\n\
        CSeq: 7 MESSAGE\r\n\
        Contact: \"a,b\" <sip:a@b?x=1,2>, <sip:c@d>;q=0.5\r\n\
        X-Long: one\r\n  two\r\n\tthree  \r\n\
        Subject:\r\n late\r\n\
        x-odd : 5\r\n\
        Content-Type: text/plain;charset=utf-8\r\n\
        Content-Length: 5\r\n\r\nhello";

    #[test]
    fn a_message_reads_as_it_is_written() {
        let message = message(PLAIN);
        assert_eq!(message.method(), Some(Method::Message));
        assert_eq!(message.request_uri(), Some("sip:bob@contoso.com"));
        assert_eq!(message.status(), None);
        assert_eq!((message.max_forwards(), message.onward_hops()), (Some(70), Some(69)));
        assert_eq!(message.call_id(), Some("x@y"));
        assert_eq!(message.cseq(), Ok(CSeq { number: 7, method: Method::Message }));
        assert_eq!(message.media_type(), Some("text/plain"));
        assert_eq!(&message.body()[..], b"hello");
        assert_eq!(message.from().map(|from| from.uri_text()), Ok("sip:alice@contoso.com"));
        assert_eq!(message.to().map(|to| to.uri_text()), Ok("sip:bob@contoso.com"));
        assert_eq!(message.top_via().map(|via| via.branch()), Ok(Some("z9hG4bK1")));
    }

    #[test]
    fn fields_and_list_elements_are_told_apart() {
        let message = message(PLAIN);
        assert_eq!(message.headers(Name::Via).count(), 2);
        assert_eq!(message.values(Name::Via).count(), 3);
        let contacts: Vec<_> = message.values(Name::Contact).collect();
        assert_eq!(contacts, ["\"a,b\" <sip:a@b?x=1,2>", "<sip:c@d>;q=0.5"]);
    }

    #[test]
    fn folded_fields_read_as_one_line() {
        let message = message(PLAIN);
        assert_eq!(message.other_header("X-LONG"), Some("one    two  \tthree"));
        assert_eq!(message.header(Name::Subject), Some("late"));
        assert_eq!(message.as_bytes().len(), PLAIN.len());
    }

    #[test]
    fn unknown_names_are_found_without_case_and_known_ones_in_any_form() {
        let message = message(PLAIN);
        assert_eq!(message.other_header("X-Odd"), Some("5"));
        assert_eq!(message.other_header("to"), Some("<sip:bob@contoso.com>"));
        assert_eq!(message.other_header("absent"), None);
        assert_eq!(message.header(Name::Other), None);
    }

    #[test]
    fn debug_output_shows_no_addresses_and_no_text() {
        let shown = format!("{:?}", message(PLAIN));
        assert!(!shown.contains("alice") && !shown.contains("hello"), "{shown}");
    }

    #[test]
    fn each_hop_leaves_one_less_and_none_at_the_end() {
        let onward = |field: &str| message(&PLAIN.replace("Max-Forwards: 70\r\n", field)).onward_hops();
        assert_eq!([onward("Max-Forwards: 255\r\n"), onward("Max-Forwards: 1\r\n")], [Some(254), Some(0)]);
        assert_eq!([onward("Max-Forwards: 0\r\n"), onward("")], [None, Some(70)]);
    }

    #[test]
    fn sequence_numbers_have_bounds() {
        assert_eq!(CSeq::parse("2147483647  INVITE").map(|cseq| cseq.number), Ok((1 << 31) - 1));
        for bad in ["2147483648 INVITE", "INVITE", "1", "-1 INVITE", "1 IN VITE", "36893488147419103232 REGISTER"] {
            assert!(CSeq::parse(bad).is_err(), "{bad}");
        }
    }
}
