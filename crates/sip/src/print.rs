//! Making messages: requests of our own (§8.1.1) and responses to requests received (§8.2.6).

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::check::nul_is_taken;
use crate::error::PrintError;
use crate::list::{first_element, has_element};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::pen::{Pen, Value};
use crate::scan::HeaderField;

/// Writes a request into a buffer: fields in the order given, Content-Length computed.
///
/// A mistake (a line break in a value, say) is remembered and told by [`RequestBuilder::finish`]; the buffer then is as
/// it was. Without `finish` nothing is written either. A builder kept in a variable has to be dropped before the buffer
/// is used again.
///
/// ```
/// use bytes::BytesMut;
/// use reveille_sip::{Method, Name, RequestBuilder};
///
/// let mut out = BytesMut::new();
/// RequestBuilder::new(&mut out, Method::Message, "sip:bob@contoso.com")
///     .header(Name::Via, format_args!("SIP/2.0/TLS {};branch={}", "edge.example:5061", "z9hG4bKx"))
///     .header(Name::MaxForwards, "70")
///     .content("text/plain", b"hello")
///     .finish()?;
/// assert!(out.ends_with(b"Content-Length: 5\r\n\r\nhello"));
/// # Ok::<(), reveille_sip::PrintError>(())
/// ```
#[derive(Debug)]
pub struct RequestBuilder<'a> {
    pen: Pen<'a>,
    body: &'a [u8],
}

/// Writes the response to a request into a buffer.
///
/// Via, From, To, Call-ID and CSeq are copied byte for byte. [`ResponseBuilder::reason`], [`ResponseBuilder::to_tag`]
/// and [`ResponseBuilder::source`] have to come before the first header.
#[derive(Debug)]
pub struct ResponseBuilder<'a> {
    pen: Pen<'a>,
    request: &'a Message,
    status: u16,
    reason: Option<&'a str>,
    to_tag: Option<&'a str>,
    source: Option<SocketAddr>,
    begun: bool,
    body: &'a [u8],
}

impl<'a> RequestBuilder<'a> {
    /// Begins a request behind whatever `out` already holds.
    pub fn new(out: &'a mut BytesMut, method: Method<'_>, uri: &str) -> Self {
        let mut pen = Pen::new(out);
        pen.request_line(method.as_str(), uri);
        Self { pen, body: &[] }
    }

    /// One header field.
    pub fn header<'v>(&mut self, name: Name, value: impl Into<Value<'v>>) -> &mut Self {
        given_field(&mut self.pen, name, value.into());
        self
    }

    /// One header field whose name is not in [`Name`].
    pub fn other_header<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) -> &mut Self {
        given_named_field(&mut self.pen, name, value.into());
        self
    }

    /// Content-Type and body.
    pub fn content(&mut self, content_type: &str, body: &'a [u8]) -> &mut Self {
        self.pen.field(Name::ContentType, content_type);
        self.body = body;
        self
    }

    /// Ends the message.
    pub fn finish(&mut self) -> Result<(), PrintError> {
        end(&mut self.pen, self.body)
    }
}

impl<'a> ResponseBuilder<'a> {
    /// Begins a response behind whatever `out` already holds. A faulty request may lack some of the fields to copy;
    /// those which are there are copied.
    pub fn to(out: &'a mut BytesMut, request: &'a Message, status: u16) -> Self {
        let pen = Pen::new(out);
        Self { pen, request, status, reason: None, to_tag: None, source: None, begun: false, body: &[] }
    }

    /// Another reason phrase than the usual one.
    pub fn reason(&mut self, phrase: &'a str) -> &mut Self {
        self.too_late();
        self.reason = Some(phrase);
        self
    }

    /// The tag to put on To if the request has none there (§8.2.6.2). Never put on a 100.
    pub fn to_tag(&mut self, tag: &'a str) -> &mut Self {
        self.too_late();
        self.to_tag = Some(tag);
        self
    }

    /// Where the request came from, to be noted in the top Via (§18.2.1, RFC 3581).
    pub fn source(&mut self, source: SocketAddr) -> &mut Self {
        self.too_late();
        self.source = Some(source);
        self
    }

    /// Copies all fields of that name from the request: Record-Route (§12.1.1), Timestamp (§8.2.6.1), Path (RFC 3327).
    pub fn copy(&mut self, name: Name) -> &mut Self {
        self.begin();
        let request = self.request;
        for field in fields_of(request, name) {
            copied_field(&mut self.pen, request, field);
        }
        self
    }

    /// One header field.
    pub fn header<'v>(&mut self, name: Name, value: impl Into<Value<'v>>) -> &mut Self {
        self.begin();
        given_field(&mut self.pen, name, value.into());
        self
    }

    /// One header field whose name is not in [`Name`].
    pub fn other_header<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) -> &mut Self {
        self.begin();
        given_named_field(&mut self.pen, name, value.into());
        self
    }

    /// Content-Type and body.
    pub fn content(&mut self, content_type: &str, body: &'a [u8]) -> &mut Self {
        self.begin();
        self.pen.field(Name::ContentType, content_type);
        self.body = body;
        self
    }

    /// Ends the message.
    pub fn finish(&mut self) -> Result<(), PrintError> {
        self.begin();
        end(&mut self.pen, self.body)
    }

    fn too_late(&mut self) {
        if self.begun {
            self.pen.fail(PrintError::OutOfOrder);
        }
    }

    /// Status line and the copied fields (§8.2.6.2).
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let (pen, request, status) = (&mut self.pen, self.request, self.status);
        pen.reserve(512 + self.body.len());
        if !(100..=699).contains(&status) {
            return pen.fail(PrintError::Status { status });
        }
        pen.raw(b"SIP/2.0 ");
        pen.number(usize::from(status));
        pen.raw(b" ");
        pen.value(self.reason.unwrap_or_else(|| reason_phrase(status)));
        pen.raw(b"\r\n");
        vias(pen, request, self.source);
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(field) = fields_of(request, name).next() else { continue };
            // §8.2.6.2: a To with a tag is repeated as it is; so is one whose tag is empty, since a second would not be read.
            let has_tag = || request.to().is_ok_and(|to| to.has_tag());
            match self.to_tag {
                Some(tag) if name == Name::To && status != 100 && !has_tag() => {
                    field_name(pen, request, field);
                    copied_value(pen, request, field);
                    pen.raw(b";tag=");
                    pen.value(tag);
                    pen.raw(b"\r\n");
                }
                _ => copied_field(pen, request, field),
            }
        }
    }
}

/// All Via fields, with the source noted in the topmost value: the first one, and not the first field if that is empty.
pub(crate) fn vias(pen: &mut Pen<'_>, message: &Message, mut source: Option<SocketAddr>) {
    for field in fields_of(message, Name::Via) {
        let holds_any = || has_element(&message.head_bytes()[field.value.range()]);
        match source.take_if(|_| holds_any()) {
            Some(source) => stamped_field(pen, message, field, source),
            None => copied_field(pen, message, field),
        }
    }
}

/// The fields of that name.
pub(crate) fn fields_of(message: &Message, name: Name) -> impl Iterator<Item = &HeaderField> {
    message.raw_fields().iter().filter(move |field| field.name == name)
}

/// A field as it came, or in its canonical form if it [is odd](HeaderField::is_odd).
pub(crate) fn copied_field(pen: &mut Pen<'_>, message: &Message, field: &HeaderField) {
    if field.is_odd() || has_nul_out_of_place(message, field) {
        return canonical_field(pen, message, field);
    }
    pen.raw(&message.as_bytes()[field.start as usize..field.end as usize]);
}

/// A field in the form that every parser reads alike: its name, a colon, a blank, its value on one line.
pub(crate) fn canonical_field(pen: &mut Pen<'_>, message: &Message, field: &HeaderField) {
    pen.raw(&message.as_bytes()[field.name_span().range()]);
    pen.raw(b": ");
    copied_value(pen, message, field);
    pen.raw(b"\r\n");
}

/// The value of a field, unfolded. Of whatever was received this can always be written.
pub(crate) fn copied_value(pen: &mut Pen<'_>, message: &Message, field: &HeaderField) {
    let value = &message.head_bytes()[field.value.range()];
    if field.name == Name::ContentLength {
        // Read as decimal, so that a zero in front means nothing; elsewhere it might mean octal.
        let zeros = value.iter().take_while(|digit| **digit == b'0').count().min(value.len().saturating_sub(1));
        pen.raw(&value[zeros..]);
    } else if has_nul_out_of_place(message, field) {
        // Only in the answer to a faulty request, which its sender may not recognise; but no reader stumbles over it.
        value.iter().for_each(|byte| pen.raw(&[if *byte == 0 { b' ' } else { *byte }]));
    } else {
        pen.raw(value);
    }
}

fn has_nul_out_of_place(message: &Message, field: &HeaderField) -> bool {
    message.has_nul() && !nul_is_taken(field.name, message.raw_value(field))
}

/// Name and colon, with the white space behind it, up to where the value begins.
fn field_name(pen: &mut Pen<'_>, message: &Message, field: &HeaderField) {
    let bytes = message.as_bytes();
    if field.is_odd() {
        pen.raw(&bytes[field.name_span().range()]);
        pen.raw(b": ");
    } else {
        pen.raw(&bytes[field.start as usize..field.value.start as usize]);
    }
}

/// A Via field whose first value gets the real source noted; see [`Pen::stamped_via`].
pub(crate) fn stamped_field(pen: &mut Pen<'_>, message: &Message, field: &HeaderField, source: SocketAddr) {
    let located = message.text(field.value).and_then(|value| Some((value, first_element(value)?)));
    let (Some((value, (element, _))), false) = (located, has_nul_out_of_place(message, field)) else {
        return copied_field(pen, message, field);
    };
    field_name(pen, message, field);
    pen.raw(&value.as_bytes()[..element.start]);
    pen.stamped_via(&value[element.clone()], source);
    pen.raw(&value.as_bytes()[element.end..]);
    pen.raw(b"\r\n");
}

/// The usual phrase of a status code (§21 and the RFCs which added some).
pub fn reason_phrase(status: u16) -> &'static str {
    match REASONS.binary_search_by_key(&status, |(code, _)| *code) {
        Ok(at) => REASONS[at].1,
        Err(_) => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

fn given_field(pen: &mut Pen<'_>, name: Name, value: Value<'_>) {
    if name == Name::ContentLength {
        return pen.fail(PrintError::Reserved { name });
    }
    pen.field(name, value);
}

fn given_named_field(pen: &mut Pen<'_>, name: &str, value: Value<'_>) {
    if Name::recognise(name.as_bytes()) == Name::ContentLength {
        return pen.fail(PrintError::Reserved { name: Name::ContentLength });
    }
    pen.named_field(name, value);
}

fn end(pen: &mut Pen<'_>, body: &[u8]) -> Result<(), PrintError> {
    pen.content_length(body.len());
    pen.raw(b"\r\n");
    pen.raw(body);
    pen.finish()
}

/// Sorted by code.
const REASONS: &[(u16, &str)] = &[
    (100, "Trying"),
    (110, "Push Sent"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (200, "OK"),
    (202, "Accepted"),
    (204, "No Notification"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Moved Temporarily"),
    (305, "Use Proxy"),
    (380, "Alternative Service"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (410, "Gone"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (420, "Bad Extension"),
    (421, "Extension Required"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (428, "Use Identity Header"),
    (429, "Provide Referrer Identity"),
    (430, "Flow Failed"),
    (433, "Anonymity Disallowed"),
    (436, "Bad Identity Info"),
    (437, "Unsupported Credential"),
    (438, "Invalid Identity Header"),
    (439, "First Hop Lacks Outbound Support"),
    (440, "Max-Breadth Exceeded"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (485, "Ambiguous"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (493, "Undecipherable"),
    (494, "Security Agreement Required"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    // RFC 8599 §14.3.
    (555, "Push Notification Service Not Supported"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn request(text: &str) -> Message {
        parse_datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("a sound message")
    }

    const REQUEST: &str = "OPTIONS sip:a@b SIP/2.0\r\n\
        v: SIP/2.0/UDP 10.0.0.1:5070;received=6.6.6.6;branch=z9hG4bK2;rport , SIP/2.0/UDP x;branch=z9hG4bK1\r\n\
        Via:  SIP/2.0/TCP y;branch=z9hG4bK0\r\n\
        f:   <sip:a@b>;tag=1\r\nTO: <sip:b@c>  \r\nCall-ID: 1\r\nCSeq: 1  OPTIONS\r\nRecord-Route: <sip:p;lr>\r\n\r\n";

    #[test]
    fn a_response_copies_five_fields_byte_for_byte_and_tags_to() {
        let mut out = BytesMut::from("before");
        let request = request(REQUEST);
        ResponseBuilder::to(&mut out, &request, 200)
            .to_tag("zz")
            .copy(Name::RecordRoute)
            .header(Name::Supported, "path")
            .other_header("X-Foo", format_args!("{}", 5))
            .content("text/plain", b"hi")
            .finish()
            .unwrap();
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "beforeSIP/2.0 200 OK\r\n\
             v: SIP/2.0/UDP 10.0.0.1:5070;received=6.6.6.6;branch=z9hG4bK2;rport , SIP/2.0/UDP x;branch=z9hG4bK1\r\n\
             Via:  SIP/2.0/TCP y;branch=z9hG4bK0\r\n\
             f:   <sip:a@b>;tag=1\r\nTO: <sip:b@c>;tag=zz\r\nCall-ID: 1\r\nCSeq: 1  OPTIONS\r\n\
             Record-Route: <sip:p;lr>\r\nSupported: path\r\nX-Foo: 5\r\nContent-Type: text/plain\r\n\
             Content-Length: 2\r\n\r\nhi"
        );
    }

    #[test]
    fn the_real_source_replaces_what_the_sender_claimed() {
        let request = request(REQUEST);
        let via = |source: &str| {
            let mut out = BytesMut::new();
            ResponseBuilder::to(&mut out, &request, 100).source(source.parse().unwrap()).finish().unwrap();
            String::from_utf8(out.to_vec()).unwrap().lines().nth(1).unwrap().to_owned()
        };
        let rest = " , SIP/2.0/UDP x;branch=z9hG4bK1";
        let begin = "v: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK2";
        assert_eq!(via("10.0.0.1:5070"), format!("{begin};rport=5070;received=10.0.0.1{rest}"));
        assert_eq!(via("[2001:db8::1]:9"), format!("{begin};rport=9;received=2001:db8::1{rest}"));
    }

    #[test]
    fn a_100_and_a_tagged_request_get_no_new_tag() {
        let text = REQUEST.replace("<sip:b@c>  ", "<sip:b@c>;tag=old");
        for (status, text) in [(100, REQUEST), (200, text.as_str())] {
            let (mut out, request) = (BytesMut::new(), request(text));
            ResponseBuilder::to(&mut out, &request, status).to_tag("new").finish().unwrap();
            assert!(!out.windows(3).any(|three| three == b"new"), "{status}");
        }
    }

    #[test]
    fn nothing_can_be_injected_and_nothing_half_written_stays() {
        let request = request(REQUEST);
        let mut out = BytesMut::from("kept");
        for evil in ["a\r\nVia: x", "a\nb", "a\0b", "a\rb"] {
            let error = ResponseBuilder::to(&mut out, &request, 200).header(Name::Warning, evil).finish();
            assert_eq!(error, Err(PrintError::ControlCharacter));
            let error = ResponseBuilder::to(&mut out, &request, 200).reason(evil).finish();
            assert_eq!(error, Err(PrintError::ControlCharacter));
            let error = ResponseBuilder::to(&mut out, &request, 200).to_tag(evil).finish();
            assert_eq!(error, Err(PrintError::ControlCharacter));
            let error = RequestBuilder::new(&mut out, Method::Options, evil).finish();
            assert_eq!(error, Err(PrintError::StartLine));
            let error = RequestBuilder::new(&mut out, Method::Other(evil), "sip:a").finish();
            assert_eq!(error, Err(PrintError::StartLine));
        }
        let error = RequestBuilder::new(&mut out, Method::Options, "sip:a").other_header("l", "5").finish();
        assert_eq!(error, Err(PrintError::Reserved { name: Name::ContentLength }));
        let error = RequestBuilder::new(&mut out, Method::Options, "sip:a").other_header("a b", "5").finish();
        assert_eq!(error, Err(PrintError::NameNotToken));
        let error = ResponseBuilder::to(&mut out, &request, 99).finish();
        assert_eq!(error, Err(PrintError::Status { status: 99 }));
        let error = ResponseBuilder::to(&mut out, &request, 200).header(Name::Allow, "a").to_tag("x").finish();
        assert_eq!(error, Err(PrintError::OutOfOrder));
        drop(RequestBuilder::new(&mut out, Method::Options, "sip:a"));
        assert_eq!(&out[..], b"kept");
    }

    #[test]
    fn reason_phrases_are_sorted_and_total() {
        assert!(REASONS.is_sorted_by_key(|(code, _)| *code));
        assert_eq!(reason_phrase(555), "Push Notification Service Not Supported");
        assert_eq!(reason_phrase(499), "Request Failure");
    }
}
