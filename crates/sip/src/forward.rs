//! Passing a message on with few edits (§16.6, §16.7): untouched header fields leave as they came, byte for byte, but for
//! the few whose spelling another parser might read differently than we did.

use std::net::SocketAddr;

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::abridged::Vias;
use crate::error::PrintError;
use crate::list::{first_element, has_element};
use crate::message::Message;
use crate::name::Name;
use crate::pen::{Pen, Value};
use crate::print::{canonical_field, stamped_field};
use crate::scan::{HeaderField, StartLine};

/// Edits to make while a message is copied into an output buffer.
///
/// Only a message which parsed without fault may be forwarded.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use reveille_sip::{Forward, Limits, Name, parse_datagram};
///
/// let received = Bytes::from_static(
///     b"OPTIONS sip:b@c SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
///       Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nms-edge-proxy-message-trust: forged\r\n\r\n",
/// );
/// let message = parse_datagram(received, &Limits::default())?;
/// let mut out = BytesMut::new();
/// Forward::request(&message)
///     .push_via(format_args!("SIP/2.0/TLS edge.example;branch={}", "z9hG4bK2"))
///     .max_forwards(69)
///     .strip(Name::EdgeTrust)
///     .write(&mut out)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    message: &'a Message,
    request_uri: Option<&'a str>,
    push_via: Option<Value<'a>>,
    vias: Option<&'a Vias>,
    pop_via: bool,
    pop_route: bool,
    max_forwards: Option<u8>,
    source: Option<SocketAddr>,
    /// Names to leave out, by [`Name::bit`].
    strip: u64,
    strip_other: SmallVec<[&'a str; 2]>,
    insert: SmallVec<[(Added<'a>, Value<'a>); 4]>,
}

impl<'a> Forward<'a> {
    /// Passes a request on.
    pub fn request(message: &'a Message) -> Self {
        Self::new(message)
    }

    /// Passes a response back; the caller takes our own Via off with [`Forward::pop_via`].
    pub fn response(message: &'a Message) -> Self {
        Self::new(message)
    }

    fn new(message: &'a Message) -> Self {
        Self {
            message,
            request_uri: None,
            push_via: None,
            vias: None,
            pop_via: false,
            pop_route: false,
            max_forwards: None,
            source: None,
            strip: 0,
            strip_other: SmallVec::new(),
            insert: SmallVec::new(),
        }
    }

    /// Another Request-URI. Of no effect on a response.
    pub fn request_uri(mut self, uri: &'a str) -> Self {
        self.request_uri = Some(uri);
        self
    }

    /// Our Via, on top of all others (§16.6 step 8).
    pub fn push_via(mut self, value: impl Into<Value<'a>>) -> Self {
        self.push_via = Some(value.into());
        self
    }

    /// Instead of its own Vias these, behind ours if one is pushed. A response goes back the way that its request came, and
    /// not one which whoever answered wrote; a request leaves with the same, where its source is noted already.
    pub fn vias(mut self, vias: &'a Vias) -> Self {
        (self.vias, self.pop_via, self.source) = (Some(vias), false, None);
        self.strip(Name::Via)
    }

    /// Takes the topmost Via value off (§16.7 step 3).
    pub fn pop_via(mut self) -> Self {
        self.pop_via = true;
        self
    }

    /// Takes the topmost Route value off (§16.4).
    pub fn pop_route(mut self) -> Self {
        self.pop_route = true;
        self
    }

    /// How many hops are left (§16.6 step 3), written whether or not the message had the field.
    pub fn max_forwards(mut self, hops: u8) -> Self {
        self.max_forwards = Some(hops);
        self
    }

    /// Where the request came from, to be noted in the Via of the hop before us (§18.2.1, RFC 3581).
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Leaves out every field of that name.
    pub fn strip(mut self, name: Name) -> Self {
        if name != Name::Other {
            self.strip |= name.bit();
        }
        self
    }

    /// Leaves out every field called `name`, compared without case.
    pub fn strip_other(mut self, name: &'a str) -> Self {
        match Name::recognise(name.as_bytes()) {
            Name::Other => self.strip_other.push(name),
            known => self.strip |= known.bit(),
        }
        self
    }

    /// Adds a field, above all fields of the same name and behind those added before it: right for Record-Route and
    /// Path, whose newest value stands on top.
    pub fn insert(mut self, name: Name, value: impl Into<Value<'a>>) -> Self {
        self.insert.push((Added::Known(name), value.into()));
        self
    }

    /// Adds a field whose name is not in [`Name`].
    pub fn insert_other(mut self, name: &'a str, value: impl Into<Value<'a>>) -> Self {
        self.insert.push((Added::Other(name), value.into()));
        self
    }

    /// Replaces every field of that name by this one.
    pub fn set(self, name: Name, value: impl Into<Value<'a>>) -> Self {
        self.strip(name).insert(name, value)
    }

    /// Appends the edited message to `out`; on an error `out` is as it was.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), PrintError> {
        let bytes = self.message.as_bytes();
        let mut pen = Pen::new(out);
        pen.reserve(bytes.len() + 256 + 128 * self.insert.len());
        self.start_line(&mut pen);
        if let Some(via) = self.push_via {
            pen.field(Name::Via, via);
        }
        if let Some(vias) = self.vias {
            pen.raw(vias.as_bytes());
        }
        for (name, value) in &self.insert {
            if name.is(Name::ContentLength) {
                pen.fail(PrintError::Reserved { name: Name::ContentLength });
            }
            match name {
                Added::Known(name) => pen.field(*name, *value),
                Added::Other(name) => pen.named_field(name, *value),
            }
        }
        self.fields(&mut pen);
        pen.raw(b"\r\n");
        pen.raw(&bytes[self.message.head_end()..]);
        pen.finish()
    }

    fn start_line(&self, pen: &mut Pen<'_>) {
        let bytes = self.message.as_bytes();
        match (self.request_uri, self.message.start_line()) {
            (Some(uri), StartLine::Request { .. }) => {
                pen.request_line(self.message.method().map_or("", |method| method.as_str()), uri);
            }
            _ => pen.raw(&bytes[..self.message.fields_start()]),
        }
    }

    /// Copies the header fields, in one piece between one edit and the next.
    fn fields(&self, pen: &mut Pen<'_>) {
        let bytes = self.message.as_bytes();
        let mut pending = Pending { via: self.pop_via, route: self.pop_route, source: self.source };
        let mut run_start = self.message.fields_start();
        let mut wrote = 0_u64;
        for field in self.message.raw_fields() {
            if !self.touches(field, &pending) {
                wrote |= field.name.bit();
                continue;
            }
            pen.raw(&bytes[run_start..field.start as usize]);
            run_start = field.end as usize;
            if self.edited(pen, field, &mut pending) {
                wrote |= field.name.bit();
            }
        }
        pen.raw(&bytes[run_start..self.message.fields_end()]);
        if let Some(hops) = self.max_forwards {
            pen.raw(b"Max-Forwards: ");
            pen.number(usize::from(hops));
            pen.raw(b"\r\n");
        }
        // §18.3: a datagram may do without Content-Length, but the next hop may be a stream.
        if wrote & Name::ContentLength.bit() == 0 {
            pen.content_length(self.message.body_bytes().len());
        }
        if pending.via {
            pen.fail(PrintError::NothingToPop { name: Name::Via });
        }
        if pending.route {
            pen.fail(PrintError::NothingToPop { name: Name::Route });
        }
    }

    fn touches(&self, field: &HeaderField, pending: &Pending) -> bool {
        if self.strip & field.name.bit() != 0 || self.message.has_odd_fields() && field.is_odd() {
            return true;
        }
        match field.name {
            Name::MaxForwards => self.max_forwards.is_some(),
            Name::Other => self.strips_other(field),
            Name::Route => pending.route && self.holds_any(field),
            Name::Via => (pending.via || pending.source.is_some()) && self.holds_any(field),
            _ => false,
        }
    }

    /// Whether a list field has an element. One that has none is passed over, so that the topmost value is the same here
    /// as for [`Message::values`].
    fn holds_any(&self, field: &HeaderField) -> bool {
        has_element(&self.message.head_bytes()[field.value.range()])
    }

    fn strips_other(&self, field: &HeaderField) -> bool {
        if self.strip_other.is_empty() {
            return false;
        }
        let name = &self.message.as_bytes()[field.name_span().range()];
        self.strip_other.iter().any(|stripped| stripped.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Writes what is left of a field that an edit touches; says whether anything is.
    fn edited(&self, pen: &mut Pen<'_>, field: &HeaderField, pending: &mut Pending) -> bool {
        if self.strip & field.name.bit() != 0 {
            return false;
        }
        match field.name {
            Name::Via | Name::Route if !self.holds_any(field) => {
                canonical_field(pen, self.message, field);
                true
            }
            Name::Via if pending.via => {
                pending.via = false;
                self.without_first(pen, field)
            }
            Name::Via => {
                match pending.source.take() {
                    Some(source) => stamped_field(pen, self.message, field, source),
                    None => canonical_field(pen, self.message, field),
                }
                true
            }
            Name::Route if pending.route => {
                pending.route = false;
                self.without_first(pen, field)
            }
            // Written anew at the end.
            Name::MaxForwards if self.max_forwards.is_some() => false,
            Name::Other if self.strips_other(field) => false,
            _ => {
                canonical_field(pen, self.message, field);
                true
            }
        }
    }

    /// Writes a list field without its first element, or nothing if that was its only one.
    fn without_first(&self, pen: &mut Pen<'_>, field: &HeaderField) -> bool {
        let value = self.message.text(field.value).unwrap_or_default();
        let Some((_, Some(rest))) = first_element(value) else { return false };
        pen.raw(field.name.as_str().as_bytes());
        pen.raw(b": ");
        pen.raw(value[rest..].trim_start_matches([' ', '\t', ',']).as_bytes());
        pen.raw(b"\r\n");
        true
    }
}

/// The name of a field to add.
#[derive(Clone, Copy, Debug)]
enum Added<'a> {
    Known(Name),
    Other(&'a str),
}

impl Added<'_> {
    fn is(self, name: Name) -> bool {
        match self {
            Self::Known(known) => known == name,
            Self::Other(text) => Name::recognise(text.as_bytes()) == name,
        }
    }
}

/// Edits which concern only the first field of their kind.
struct Pending {
    via: bool,
    route: bool,
    source: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn message(text: &str) -> Message {
        parse_datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("a sound message")
    }

    fn written(forward: &Forward<'_>) -> String {
        let mut out = BytesMut::new();
        forward.write(&mut out).expect("nothing wrong with the edits");
        String::from_utf8(out.to_vec()).expect("text")
    }

    const REQUEST: &str = "MESSAGE sip:b@c SIP/2.0\r\n\
        v:SIP/2.0/TLS a;branch=z9hG4bK1 , SIP/2.0/UDP z;branch=z9hG4bK0\r\n\
        fRoM:  <sip:a>;tag=1\r\nt: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
        Route: <sip:p1;lr>, <sip:p2;lr>\r\n\
        Max-Forwards: 70\r\n\
        Subject: folded\r\n   here \r\n\
        MS-Edge-Proxy-Message-Trust: forged\r\n\
        X-Private: 1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

    const RESPONSE: &str = "SIP/2.0 202 Accepted\r\nVia: SIP/2.0/TLS us;branch=z9hG4bK2\r\n\
        v: SIP/2.0/TLS a;branch=z9hG4bK1, SIP/2.0/UDP z;branch=z9hG4bK0\r\n\
        From: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn without_edits_a_message_leaves_as_it_came() {
        assert_eq!(written(&Forward::request(&message(REQUEST))), REQUEST);
        assert_eq!(written(&Forward::response(&message(RESPONSE))), RESPONSE);
    }

    #[test]
    fn a_request_gets_its_edits_and_nothing_else_changes() {
        let message = message(REQUEST);
        let branch = "z9hG4bK2";
        let via = format_args!("SIP/2.0/TLS edge;branch={branch}");
        let forward = Forward::request(&message)
            .request_uri("sip:b@d")
            .push_via(via)
            .max_forwards(69)
            .pop_route()
            .strip(Name::EdgeTrust)
            .strip_other("x-private")
            .insert(Name::RecordRoute, "<sip:edge;lr>")
            .insert_other("X-New", "1");
        assert_eq!(
            written(&forward),
            "MESSAGE sip:b@d SIP/2.0\r\nVia: SIP/2.0/TLS edge;branch=z9hG4bK2\r\n\
             Record-Route: <sip:edge;lr>\r\nX-New: 1\r\n\
             v:SIP/2.0/TLS a;branch=z9hG4bK1 , SIP/2.0/UDP z;branch=z9hG4bK0\r\n\
             fRoM:  <sip:a>;tag=1\r\nt: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
             Route: <sip:p2;lr>\r\nSubject: folded\r\n   here \r\n\
             Content-Type: text/plain\r\nContent-Length: 2\r\nMax-Forwards: 69\r\n\r\nhi"
        );
    }

    #[test]
    fn the_source_is_noted_in_the_first_via_only() {
        let message = message(REQUEST);
        let text = written(&Forward::request(&message).source("192.0.2.7:5061".parse().unwrap()));
        assert!(text.contains("v:SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.7 , SIP/2.0/UDP z;"), "{text}");
    }

    #[test]
    fn a_response_loses_our_via_alone_on_its_line_or_in_a_list() {
        let first = written(&Forward::response(&message(RESPONSE)).pop_via());
        assert!(first.starts_with("SIP/2.0 202 Accepted\r\nv: SIP/2.0/TLS a"), "{first}");
        let second = written(&Forward::response(&message(&first)).pop_via());
        assert!(second.starts_with("SIP/2.0 202 Accepted\r\nVia: SIP/2.0/UDP z;branch=z9hG4bK0\r\nFrom"), "{second}");
    }

    #[test]
    fn a_request_leaves_and_its_answer_goes_back_with_the_same_vias() {
        let kept = message(REQUEST).abridged("192.0.2.7:5061".parse().unwrap()).vias();
        let vias = "v:SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.7 , SIP/2.0/UDP z;branch=z9hG4bK0\r\n";
        let request = written(&Forward::request(&message(REQUEST)).push_via("SIP/2.0/TLS us").vias(&kept));
        let expected = REQUEST.replacen("v:SIP/2.0/TLS a;branch=z9hG4bK1 , SIP/2.0/UDP z;branch=z9hG4bK0\r\n", "", 1);
        assert_eq!(request, expected.replacen("\r\n", &format!("\r\nVia: SIP/2.0/TLS us\r\n{vias}"), 1));
        let ours = "Via: SIP/2.0/TLS us;branch=z9hG4bK2\r\n";
        let (start, fields) = ("SIP/2.0 202 Accepted\r\n", RESPONSE.split_once("bK0\r\n").unwrap().1);
        for theirs in [
            "v: SIP/2.0/TLS a;branch=z9hG4bK1, SIP/2.0/UDP z;branch=z9hG4bK0\r\n",
            "Via: SIP/2.0/UDP victim.example;branch=z9hG4bKv;received=192.0.2.66\r\n",
            "",
        ] {
            let response = message(&format!("{start}{ours}{theirs}{fields}"));
            assert_eq!(written(&Forward::response(&response).vias(&kept)), format!("{start}{vias}{fields}"));
        }
    }

    #[test]
    fn a_missing_length_is_written_and_a_missing_route_is_told() {
        let bare = message(&REQUEST.replace("Content-Length: 2\r\n", ""));
        assert!(written(&Forward::request(&bare)).ends_with("Content-Length: 2\r\n\r\nhi"));
        let mut out = BytesMut::from("kept");
        let error = Forward::response(&message(RESPONSE)).pop_route().write(&mut out);
        assert_eq!(error, Err(PrintError::NothingToPop { name: Name::Route }));
        let error = Forward::request(&bare).insert(Name::Warning, "a\r\nb").write(&mut out);
        assert_eq!(error, Err(PrintError::ControlCharacter));
        let error = Forward::request(&bare).insert(Name::Other, "a").write(&mut out);
        assert_eq!(error, Err(PrintError::NameNotToken));
        assert_eq!(&out[..], b"kept");
    }

    #[test]
    fn what_another_parser_might_read_differently_leaves_in_the_one_form_that_all_read_alike() {
        let odd = message(
            "MESSAGE sip:b@c SIP/2.0\r\nVia :SIP/2.0/TLS a;branch=z9hG4bK1\r\nV\t: SIP/2.0/TLS z;branch=z9hG4bK0\r\n\
             From : <sip:a>;tag=1\r\nto:<sip:b>\r\nCall-ID\t:\r\n  1\r\nCSeq: 1 MESSAGE\r\nMax-Forwards : 70\r\n\
             X-Private : 1\r\nX-Odd   :   2  \r\nContent-Length\t :\r\n  002\r\n\r\nhi",
        );
        let source = "192.0.2.7:5061".parse().unwrap();
        let forward = Forward::request(&odd).source(source).max_forwards(69).strip_other("x-private");
        assert_eq!(
            written(&forward),
            "MESSAGE sip:b@c SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.7\r\n\
             V: SIP/2.0/TLS z;branch=z9hG4bK0\r\nFrom: <sip:a>;tag=1\r\nto:<sip:b>\r\nCall-ID: 1\r\n\
             CSeq: 1 MESSAGE\r\nX-Odd: 2\r\nContent-Length: 2\r\nMax-Forwards: 69\r\n\r\nhi"
        );
        let blank = REQUEST.replace("X-Private: 1", "X-Private: 1\r\n \r\n\t").replace("v:SIP", "v:\r\n \r\n SIP");
        let blank = message(
            &blank
                .replace("t: <sip:b>", "t: <sip:b>\r\n  \r\n ;x=1")
                .replace("<sip:p1;lr>,", "<sip:p1;lr>\r\n\t\r\n ,"),
        );
        for forward in [Forward::request(&blank), Forward::request(&blank).source(source).pop_route()] {
            let text = written(&forward);
            let (header, body) = text.split_once("\r\n\r\n").expect("a header");
            assert!(body == "hi" && header.lines().all(|line| !line.trim().is_empty()), "{text}");
            assert!(
                header.contains("\r\nX-Private: 1\r\n") && header.contains("\r\nt: <sip:b>       ;x=1\r\n"),
                "{text}"
            );
        }
        for length in ["Content-Length:\r\n 2", "l: 02", "Content-Length: 2\r\n \r\n\t"] {
            let text = format!("{}\r\n\r\nhi", REQUEST.split("Content-Length").next().unwrap().to_owned() + length);
            let forwarded = written(&Forward::request(&message(&text)));
            let name = length.split(':').next().unwrap();
            assert!(forwarded.ends_with(&format!("\r\n{name}: 2\r\n\r\nhi")), "{length:?} left as {forwarded}");
        }
        assert!(!written(&Forward::request(&odd).pop_via().strip(Name::ContentLength)).contains(" :"));
    }

    #[test]
    fn a_list_without_elements_is_not_the_topmost() {
        let text = RESPONSE.replace("Via: SIP/2.0/TLS us", "Via:\r\nV : ,\r\nVia: SIP/2.0/TLS us");
        let popped = message(&written(&Forward::response(&message(&text)).pop_via()));
        assert_eq!(popped.top_via().map(|via| via.sent_by()), Ok("a"));
        let text = REQUEST.replace("v:SIP", "Via:\r\nv:SIP").replace("Route: <sip:p1", "Route :\r\nRoute: <sip:p1");
        let request = message(&text);
        let passed = written(&Forward::request(&request).source("192.0.2.7:5061".parse().unwrap()).pop_route());
        assert!(passed.contains("v:SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.7 ,"), "{passed}");
        assert!(passed.contains("Route: <sip:p2;lr>") && !passed.contains("p1"), "{passed}");
    }

    #[test]
    fn setting_replaces_every_field_of_that_name() {
        let message = message(REQUEST);
        let text = written(&Forward::request(&message).set(Name::EdgeTrust, "ours").set(Name::ContentType, "a/b"));
        assert!(!text.contains("forged") && !text.contains("text/plain"), "{text}");
        assert!(text.contains("ms-edge-proxy-message-trust: ours\r\nContent-Type: a/b\r\n"), "{text}");
    }
}
