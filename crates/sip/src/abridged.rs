//! What must be kept of a request until it is answered, and nothing else of it.

use bytes::Bytes;

use crate::error::ParseError;
use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::name::Name;

/// The part of a request that an answer to it is made of: the first line, Via, From, To, Call-ID and CSeq (§8.2.6.2).
///
/// A request shares the buffer that it was read into with whatever came beside it, and its body is the larger part of
/// it. Whoever waits for many answers keeps this: one allocation of a few hundred bytes.
#[derive(Clone)]
pub struct Abridged {
    text: Box<[u8]>,
}

impl Message {
    /// What an answer to this request needs.
    pub fn abridged(&self) -> Abridged {
        let bytes = self.as_bytes();
        let fields = || self.raw_fields().iter().filter(|field| KEPT & field.name.bit() != 0);
        let length: usize = fields().map(|field| (field.end - field.start) as usize).sum();
        let mut text = Vec::with_capacity(self.fields_start() + length + 2);
        text.extend_from_slice(&bytes[..self.fields_start()]);
        for field in fields() {
            text.extend_from_slice(&bytes[field.start as usize..field.end as usize]);
        }
        text.extend_from_slice(b"\r\n");
        Abridged { text: text.into_boxed_slice() }
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

const KEPT: u64 = Name::Via.bit() | Name::From.bit() | Name::To.bit() | Name::CallId.bit() | Name::CSeq.bit();

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::print::ResponseBuilder;

    fn answer(request: &Message) -> BytesMut {
        let mut out = BytesMut::new();
        ResponseBuilder::to(&mut out, request, 504).to_tag("edge").finish().expect("it can be answered");
        out
    }

    #[test]
    fn the_answer_is_the_same_as_to_the_whole_request() {
        let text = "MESSAGE sip:b@c SIP/2.0\r\nv: SIP/2.0/TLS a;branch=z9hG4bK1 ,\r\n  SIP/2.0/TCP z;branch=z9hG4bK0\r\n\
            Via: SIP/2.0/UDP y;branch=z9hG4bK2\r\nf: \"A, B\" <sip:a>;tag=1\r\nSubject: long\r\nTo: <sip:b>\r\n\
            i: 1\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
        let whole = parse_datagram(Bytes::from(text), &Limits::default()).expect("sound");
        let kept = whole.abridged();
        assert!(kept.len() < text.len() - 60, "{} of {}", kept.len(), text.len());
        let restored = kept.restore();
        assert_eq!(answer(&restored), answer(&whole));
        assert_eq!((restored.method(), restored.request_uri()), (whole.method(), whole.request_uri()));
        assert!(restored.body_bytes().is_empty());
    }
}
