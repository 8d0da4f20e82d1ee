//! What must be kept of a request until it is answered, and nothing else of it.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::error::ParseError;
use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::pen::Pen;
use crate::print::{fields_of, vias};
use crate::scan::Span;

/// The part of a request that an answer to it is made of: the first line, Via, From, To, Call-ID and CSeq (§8.2.6.2), and
/// Timestamp (§8.2.6.1).
///
/// A request shares the buffer that it was read into with whatever came beside it, and its body is the larger part of
/// it. Whoever waits for many answers keeps this: one allocation of a few hundred bytes.
#[derive(Clone)]
pub struct Abridged {
    text: Vec<u8>,
    /// Its Via fields, all in one place.
    vias: Span,
    from: Span,
    call_id: Span,
    cseq: Span,
}

/// The Via fields of a request, for [`Forward::vias`]: the way back of its answer. They are copied, and found on the stack
/// unless they are very long.
///
/// [`Forward::vias`]: crate::Forward::vias
#[derive(Clone)]
pub struct Vias(SmallVec<[u8; 512]>);

impl Message {
    /// What an answer to this request needs. `source` is where it came from, and is noted in its top Via as in every
    /// request that is passed on (§18.2.1, RFC 3581).
    pub fn abridged(&self, source: SocketAddr) -> Abridged {
        let bytes = self.as_bytes();
        let kept = || self.raw_fields().iter().filter(|field| KEPT & field.name.bit() != 0);
        let length: usize = kept().map(|field| (field.end - field.start) as usize).sum();
        let mut text = BytesMut::with_capacity(self.fields_start() + length + STAMP + 2);
        let mut pen = Pen::new(&mut text);
        pen.raw(&bytes[..self.fields_start()]);
        vias(&mut pen, self, Some(source));
        pen.keep();
        let vias = Span::new(self.fields_start(), text.len());
        let mut copied = |name| {
            let mut first = None;
            for field in fields_of(self, name) {
                let (at, start) = (text.len(), field.start as usize);
                let value = field.value.range();
                first.get_or_insert_with(|| Span::new(at + value.start - start, at + value.end - start));
                text.extend_from_slice(&bytes[field.start as usize..field.end as usize]);
            }
            first.unwrap_or_default()
        };
        let (from, _, call_id) = (copied(Name::From), copied(Name::To), copied(Name::CallId));
        let (cseq, _) = (copied(Name::CSeq), copied(Name::Timestamp));
        text.extend_from_slice(b"\r\n");
        Abridged { text: text.into(), vias, from, call_id, cseq }
    }
}

impl Abridged {
    /// A request without a body that is answered as the whole one would be. Parsed anew: most requests are answered by
    /// others, and this is asked for when something went wrong.
    pub fn restore(self) -> Message {
        // Whatever its limits were, it was within them.
        let limits = Limits { header_bytes_max: u32::MAX, header_count_max: u16::MAX, ..Limits::default() };
        match parse_datagram(Bytes::from(self.text), &limits) {
            Ok(message) => message,
            Err(ParseError::Bad { message, .. }) => *message,
            Err(ParseError::Unreadable(fault)) => {
                unreachable!("the fields of a message that parsed make a message that parses: {fault}")
            }
        }
    }

    /// Whether a response that carries the branch of this request, as it was passed on, is one to it: what §8.2.6.2 wants
    /// repeated is (the method of CSeq tells it from the answer to a CANCEL, §17.1.3), and there is a Via behind ours, for
    /// a response without is for nobody else (§16.7 step 3). Those Vias themselves are no matter: see [`Forward::vias`].
    ///
    /// [`Forward::vias`]: crate::Forward::vias
    pub fn is_answered_by(&self, response: &Message) -> bool {
        let same = |name, span: Span| response.header_bytes(name) == Some(&self.text[span.range()]);
        let repeated = same(Name::CallId, self.call_id) && same(Name::CSeq, self.cseq) && same(Name::From, self.from);
        (repeated || self.agrees(response, None)) && response.values(Name::Via).nth(1).is_some()
    }

    /// The same for the response to its CANCEL, which is between us and the next hop (§9.1).
    pub(crate) fn is_cancel_answered_by(&self, response: &Message) -> bool {
        self.agrees(response, Some(Method::Cancel))
    }

    /// Whether a response repeats what it has to, be it in other words.
    fn agrees(&self, response: &Message, method: Option<Method<'_>>) -> bool {
        let request = self.clone().restore();
        let (Ok(asked), Ok(answered)) = (request.cseq(), response.cseq()) else { return false };
        let same_from = match (request.from(), response.from()) {
            (Ok(from), Ok(repeated)) => from.tag() == repeated.tag(),
            _ => request.header(Name::From) == response.header(Name::From),
        };
        same_from
            && request.call_id() == response.call_id()
            && asked.number == answered.number
            && method.unwrap_or(asked.method) == answered.method
    }

    /// Its Via fields.
    pub fn vias(&self) -> Vias {
        Vias(SmallVec::from_slice(&self.text[self.vias.range()]))
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Never: a request has a first line.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Shows no addresses, as [`Message`] does not.
impl std::fmt::Debug for Abridged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Abridged").field("bytes", &self.text.len()).finish()
    }
}

impl Vias {
    /// As lines.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Shows no addresses either.
impl std::fmt::Debug for Vias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vias").field("bytes", &self.0.len()).finish()
    }
}

const KEPT: u64 =
    Name::Via.bit() | Name::From.bit() | Name::To.bit() | Name::CallId.bit() | Name::CSeq.bit() | Name::Timestamp.bit();
/// Room for `;received=` with an address of IPv6, and for the digits of `rport`.
const STAMP: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::print::ResponseBuilder;

    const REQUEST: &str = "MESSAGE sip:b@c SIP/2.0\r\nv: SIP/2.0/TLS a;branch=z9hG4bK1 ,\r\n  SIP/2.0/TCP z;branch=z9hG4bK0\r\n\
        f: \"A, B\" <sip:a>;tag=1\r\nVia: SIP/2.0/UDP y;branch=z9hG4bK2\r\nSubject: long\r\nTo: <sip:b>\r\n\
        i: 1\r\nCSeq: 7 MESSAGE\r\nTimestamp: 54\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

    fn message(text: &str) -> Message {
        parse_datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("sound")
    }

    fn source() -> SocketAddr {
        ([192, 0, 2, 7], 5061).into()
    }

    fn answer(request: &Message) -> BytesMut {
        let mut out = BytesMut::new();
        ResponseBuilder::to(&mut out, request, 504)
            .to_tag("edge")
            .source(source())
            .copy(Name::Timestamp)
            .finish()
            .expect("it can be answered");
        out
    }

    #[test]
    fn the_answer_is_the_same_as_to_the_whole_request() {
        for text in
            [REQUEST, &REQUEST.replace("v: SIP", "v :SIP").replace("i: 1", "i\t:\r\n 1").replace("a;b", "192.0.2.7;b")]
        {
            let whole = message(text);
            let kept = whole.abridged(source());
            assert!(kept.len() < text.len() - 30, "{} of {}", kept.len(), text.len());
            let restored = kept.restore();
            assert_eq!(answer(&restored), answer(&whole));
            assert_eq!((restored.method(), restored.request_uri()), (whole.method(), whole.request_uri()));
            assert!(restored.body_bytes().is_empty());
        }
    }

    #[test]
    fn a_response_is_to_the_request_whose_words_it_repeats() {
        let kept = message(REQUEST).abridged(source());
        let sound = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS us;branch=z9hG4bKe1\r\n\
            v: SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.7, SIP/2.0/TCP z;branch=z9hG4bK0\r\n\
            Via: SIP/2.0/UDP y;branch=z9hG4bK2\r\nf: \"A, B\" <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\ni: 1\r\n\
            CSeq: 7 MESSAGE\r\nContent-Length: 0\r\n\r\n";
        let vias = &sound[sound.find("v: ").unwrap()..sound.find("f: ").unwrap()];
        for (edit, [ours, cancel], why) in [
            (("", ""), [true, false], "as it should be"),
            (("\"A, B\" <sip:a>;tag=1", "<sip:a> ; tag=1"), [true, false], "the same From in other words"),
            (("CSeq: 7 MESSAGE", "CSeq:\r\n  007   MESSAGE"), [true, false], "the same CSeq in other words"),
            (("f: \"", "From : \""), [true, false], "another spelling"),
            ((vias, "Via: SIP/2.0/UDP victim.example;branch=z9hG4bKv\r\n"), [true, false], "Vias are not looked at"),
            ((&format!("z9hG4bKe1\r\n{vias}"), "z9hG4bKe1, SIP/2.0/TLS a\r\n"), [true, false], "two on one line"),
            ((vias, ""), [false, false], "no Via behind ours"),
            ((vias, "Via:\r\nVia: ,\r\n"), [false, false], "fields without a value"),
            (("i: 1", "i: 2"), [false, false], "another Call-ID"),
            (("i: 1", "i: 1a"), [false, false], "a longer Call-ID"),
            (("CSeq: 7 ", "CSeq: 8 "), [false, false], "another number"),
            (("7 MESSAGE", "7 BYE"), [false, false], "another method"),
            (("7 MESSAGE", "7 CANCEL"), [false, true], "its CANCEL"),
            (("7 MESSAGE", "8 CANCEL"), [false, false], "another CANCEL"),
            (("tag=1", "tag=2"), [false, false], "another From tag"),
            (("tag=1", "x=1"), [false, false], "no From tag"),
        ] {
            assert!(sound.contains(edit.0), "{why}");
            let response = message(&sound.replacen(edit.0, edit.1, 1));
            let seen = [kept.is_answered_by(&response), kept.is_cancel_answered_by(&response)];
            assert_eq!(seen, [ours, cancel], "{why}");
        }
    }
}
