//! The requests which follow from an INVITE that was sent: the ACK of a non-2xx answer, and CANCEL.

use bytes::{Bytes, BytesMut};

use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::print::RequestBuilder;

/// The ACK for an answer of 300 to 699 (§17.1.1.3). `None` if the INVITE is no message that this crate would read.
pub(crate) fn ack(invite: &Bytes, answer: &Message) -> Option<Bytes> {
    // §17.1.1.3: To is that of the answer, whose tag belongs to the one who answered.
    derive(invite, Method::Ack, answer.header(Name::To)?, None)
}

/// The CANCEL of an INVITE (§9.1), with the reason for it (RFC 3326) if there is one.
pub(crate) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    derive(invite, Method::Cancel, read(invite)?.header(Name::To)?, reason)
}

/// Request-URI, top Via, From, Call-ID, the number of CSeq and all Routes are those of the INVITE (§9.1, §17.1.1.3).
fn derive(invite: &Bytes, method: Method<'_>, to: &str, reason: Option<&str>) -> Option<Bytes> {
    let invite = read(invite)?;
    let mut out = BytesMut::with_capacity(512);
    let mut request = RequestBuilder::new(&mut out, method, invite.request_uri()?);
    request
        .header(Name::Via, invite.values(Name::Via).next()?)
        .header(Name::MaxForwards, "70")
        .header(Name::From, invite.header(Name::From)?)
        .header(Name::To, to)
        .header(Name::CallId, invite.call_id()?)
        .header(Name::CSeq, format_args!("{} {}", invite.cseq().ok()?.number, method.as_str()));
    for route in invite.headers(Name::Route) {
        request.header(Name::Route, route);
    }
    if let Some(reason) = reason {
        request.header(Name::Reason, reason);
    }
    request.finish().ok()?;
    drop(request);
    Some(out.freeze())
}

/// What we wrote ourselves is read again when it is needed, which is seldom; keeping it apart would cost every call.
fn read(invite: &Bytes) -> Option<Message> {
    let wide =
        Limits { header_bytes_max: 1 << 20, header_count_max: 1024, body_bytes_max: 1 << 20, ..Limits::default() };
    parse_datagram(invite.clone(), &wide).ok()
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
}
