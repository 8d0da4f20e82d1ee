//! The requests which follow from an INVITE that was sent: the ACK of a non-2xx answer, and CANCEL.

use bytes::{Bytes, BytesMut};

use crate::error::ParseError;
use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::pen::Pen;
use crate::print::{copied_value, fields_of};

/// The ACK for an answer of 300 to 699 (§17.1.1.3). `None` if the INVITE is no message that this crate would write.
pub(crate) fn ack(invite: &Bytes, answer: &Message) -> Option<Bytes> {
    // §17.1.1.3: To is that of the answer, whose tag belongs to the one who answered.
    derive(&read(invite)?, Method::Ack, answer, None)
}

/// The CANCEL of an INVITE (§9.1), with the reason for it (RFC 3326) if there is one.
pub(crate) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    let invite = read(invite)?;
    derive(&invite, Method::Cancel, &invite, reason)
}

/// What has to be kept of an INVITE for its ACK and its CANCEL: a few hundred bytes from which either is made as from the
/// whole. That is the CANCEL itself.
pub(crate) fn stem(invite: &Bytes) -> Option<Bytes> {
    cancel(invite, None)
}

/// Request-URI, top Via, From, Call-ID, the number of CSeq and all Routes are those of the INVITE (§9.1, §17.1.1.3), byte
/// for byte: what could be sent in it can be sent again.
fn derive(invite: &Message, method: Method<'_>, to: &Message, reason: Option<&str>) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(512);
    let mut pen = Pen::new(&mut out);
    pen.request_line(method.as_str(), invite.request_uri()?);
    pen.field(Name::Via, invite.values(Name::Via).next()?);
    pen.field(Name::MaxForwards, "70");
    copy(&mut pen, invite, Name::From);
    copy(&mut pen, to, Name::To);
    copy(&mut pen, invite, Name::CallId);
    pen.field(Name::CSeq, format_args!("{} {}", invite.cseq().ok()?.number, method.as_str()));
    copy(&mut pen, invite, Name::Route);
    if let Some(reason) = reason {
        pen.field(Name::Reason, reason);
    }
    pen.content_length(0);
    pen.raw(b"\r\n");
    pen.finish().ok()?;
    drop(pen);
    Some(out.freeze())
}

/// All fields of that name.
fn copy(pen: &mut Pen<'_>, message: &Message, name: Name) {
    for field in fields_of(message, name) {
        pen.raw(name.as_str().as_bytes());
        pen.raw(b": ");
        copied_value(pen, message, field);
        pen.raw(b"\r\n");
    }
}

/// What we wrote ourselves is read again when it is needed, which is seldom; keeping it apart would cost every call.
fn read(invite: &Bytes) -> Option<Message> {
    // Whatever its limits were, it was within them.
    let limits = Limits {
        header_bytes_max: u32::MAX,
        header_count_max: u16::MAX,
        body_bytes_max: u32::MAX,
        ..Limits::default()
    };
    match parse_datagram(invite.clone(), &limits) {
        Ok(invite) => Some(invite),
        // Its body may not be kept.
        Err(ParseError::Bad { message, .. }) => Some(*message),
        Err(ParseError::Unreadable(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
        Via: SIP/2.0/TLS us.example;branch=z9hG4bK2\r\nv: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n\
        Max-Forwards: 3\r\nFrom: <sip:alice@a.example>;tag=1\r\nt: <sip:bob@b.example>\r\n\
        Route: <sip:p1;lr>, <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n\
        Call-ID: call\r\nCSeq: 7 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";

    fn text(bytes: Option<Bytes>) -> String {
        String::from_utf8(bytes.expect("written").to_vec()).expect("text")
    }

    #[test]
    fn an_ack_has_the_branch_of_its_invite_and_the_to_of_the_answer() {
        let answer = "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/TLS us.example;branch=z9hG4bK2\r\n\
            From: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>;tag=2\r\nCall-ID: call\r\nCSeq: 7 INVITE\r\n\
            Content-Length: 0\r\n\r\n";
        let answer = parse_datagram(answer.into(), &Limits::default()).expect("a sound answer");
        assert_eq!(
            text(ack(&INVITE.into(), &answer)),
            "ACK sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/TLS us.example;branch=z9hG4bK2\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>;tag=2\r\nCall-ID: call\r\nCSeq: 7 ACK\r\n\
             Route: <sip:p1;lr>, <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn from_the_stem_of_an_invite_the_same_is_made_as_from_the_whole() {
        let answer = INVITE
            .replacen("INVITE sip:bob@192.0.2.4 SIP/2.0", "SIP/2.0 486 X", 1)
            .replace("b.example>", "b.example>;tag=2");
        let answer = parse_datagram(answer.into(), &Limits::default()).expect("a sound answer");
        let whole = Bytes::from(
            INVITE.replace("Length: 3\r\n\r\nv=0", &format!("Length: 60000\r\n\r\n{}", "v".repeat(60_000))),
        );
        let stem = stem(&whole).expect("made");
        assert!(stem.len() < INVITE.len(), "{} bytes", stem.len());
        assert_eq!(text(ack(&stem, &answer)), text(ack(&whole, &answer)));
        assert_eq!(text(cancel(&stem, Some("SIP;cause=200"))), text(cancel(&whole, Some("SIP;cause=200"))));
    }

    #[test]
    fn a_cancel_is_its_invite_with_one_via_and_without_a_body() {
        let cancelled = text(cancel(&INVITE.into(), Some("SIP;cause=200;text=\"Call completed elsewhere\"")));
        assert_eq!(
            cancelled,
            "CANCEL sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/TLS us.example;branch=z9hG4bK2\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\nCall-ID: call\r\nCSeq: 7 CANCEL\r\n\
             Route: <sip:p1;lr>, <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n\
             Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn whatever_an_invite_has_in_it_it_can_be_cancelled_and_its_refusal_acknowledged() {
        let folded = "From : \"A\\\0\"\r\n \r\n <sip:alice@a.example>;tag=1";
        let odd = INVITE.replace("From: <sip:alice@a.example>;tag=1", folded).replace("t: <sip", "t: \"\\\0\" <sip");
        let whole = parse_datagram(odd.clone().into(), &Limits::default()).expect("sound");
        let headed = odd.strip_suffix("v=0").expect("a body").to_owned();
        for invite in [odd, headed] {
            for request in [text(cancel(&invite.clone().into(), None)), text(ack(&invite.into(), &whole))] {
                let from = "From: \"A\\\0\"      <sip:alice@a.example>;tag=1\r\n";
                assert!(request.contains(from) && request.contains("To: \"\\\0\" <sip"), "{request:?}");
                let again = parse_datagram(request.into(), &Limits::default()).expect("sound");
                assert_eq!(again.from().map(|from| from.tag()), Ok(Some("1")));
            }
        }
    }
}
