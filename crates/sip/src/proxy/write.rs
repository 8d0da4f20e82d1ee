//! Writing what is passed on (§16.6) and what goes back (§16.7).

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::reply::Edits;
use super::routing::Routed;
use crate::abridged::Vias;
use crate::error::PrintError;
use crate::forward::Forward;
use crate::message::Message;
use crate::name::Name;

/// How a request leaves.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Our Via value, with its branch (§16.6 step 8).
    pub via: &'a str,
    /// The Request-URI, if it is another one than `routed` says (§16.6 step 2).
    pub request_uri: Option<&'a str>,
    /// What preprocessing left of the way.
    pub routed: &'a Routed,
    /// URIs for Record-Route, top first (§16.6 step 4; RFC 5658 has two when the transport changes).
    pub record_route: &'a [String],
    /// What else to change.
    pub edits: [&'a Edits; 2],
    /// Where it came from, for `received` and `rport` (§18.2.1, RFC 3581).
    pub source: SocketAddr,
    /// The breadth this copy may still fork into (RFC 5393 §5.3.3).
    pub breadth: Option<u16>,
}

/// Writes the request as it leaves.
pub fn pass(request: &Message, passage: &Passage<'_>) -> Result<Bytes, PrintError> {
    let routed = passage.routed;
    let (request_uri, routes) = routed.leaving(passage.request_uri.unwrap_or(&routed.request_uri));
    let record_route: SmallVec<[String; 2]> = passage.record_route.iter().map(|uri| format!("<{uri}>")).collect();
    let breadth = passage.breadth.map(|breadth| breadth.to_string());
    let routes_changed = !request.values(Name::Route).eq(routes.iter().map(String::as_str));
    let joined = routes.join(", ");
    let mut forward = Forward::request(request)
        .push_via(passage.via)
        .max_forwards(request.onward_hops().unwrap_or(0))
        .source(passage.source);
    if request.request_uri() != Some(request_uri.as_str()) {
        forward = forward.request_uri(&request_uri);
    }
    for value in &record_route {
        forward = forward.insert(Name::RecordRoute, value);
    }
    for edits in passage.edits {
        forward = edited(forward, edits);
    }
    if routes_changed {
        forward = forward.strip(Name::Route);
        if !joined.is_empty() {
            forward = forward.insert(Name::Route, &joined);
        }
    }
    if let Some(breadth) = &breadth {
        forward = forward.strip_other("Max-Breadth").insert_other("Max-Breadth", breadth);
    }
    let mut out = BytesMut::with_capacity(request.as_bytes().len() + 512);
    forward.write(&mut out)?;
    Ok(out.freeze())
}

/// Writes a response as it goes back upstream: without our Via and with those of its request (§16.7 step 3), with the
/// challenges of other legs.
pub(super) fn back(
    response: &Message,
    vias: &Vias,
    edits: &Edits,
    challenges: &[(Name, String)],
) -> Result<Bytes, PrintError> {
    let mut forward = edited(Forward::response(response).vias(vias), edits);
    for (name, value) in challenges {
        forward = forward.insert(*name, value);
    }
    let mut out = BytesMut::with_capacity(response.as_bytes().len() + 128);
    forward.write(&mut out)?;
    Ok(out.freeze())
}

fn edited<'a>(mut forward: Forward<'a>, edits: &'a Edits) -> Forward<'a> {
    for name in &edits.strip {
        forward = forward.strip(*name);
    }
    for name in &edits.strip_other {
        forward = forward.strip_other(name);
    }
    for (name, value) in &edits.insert {
        forward = forward.insert_other(name, value);
    }
    forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    const INVITE: &str = "INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nMax-Breadth: 60\r\n\
        Record-Route: <sip:p0;lr>\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\n\
        CSeq: 1 INVITE\r\nms-edge-proxy-message-trust: forged\r\nRoute: <sip:us;lr>, <sip:p1;lr>\r\n\
        Content-Length: 2\r\n\r\nhi";

    #[test]
    fn a_request_leaves_as_section_16_6_says() {
        let request = parse_datagram(INVITE.into(), &Limits::default()).expect("sound");
        let routed = super::super::route(&request, &|uri| uri.host().and_then(|host| host.domain()) == Some("us"));
        let edits = Edits::default().strip(Name::EdgeTrust).insert("X-One", "1");
        let record_route = ["sip:t@us;transport=tls;lr".to_owned(), "sip:t@us:5062;lr".to_owned()];
        let passage = Passage {
            via: "SIP/2.0/TLS us;branch=z9hG4bKp1.0.2.3",
            request_uri: Some("sip:b@10.0.0.1"),
            routed: &routed,
            record_route: &record_route,
            edits: [&edits, &Edits::default()],
            source: ([192, 0, 2, 1], 5061).into(),
            breadth: Some(30),
        };
        let left = pass(&request, &passage).expect("written");
        assert_eq!(
            std::str::from_utf8(&left).expect("text"),
            "INVITE sip:b@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS us;branch=z9hG4bKp1.0.2.3\r\n\
             Record-Route: <sip:t@us;transport=tls;lr>\r\nRecord-Route: <sip:t@us:5062;lr>\r\nX-One: 1\r\n\
             Route: <sip:p1;lr>\r\nMax-Breadth: 30\r\n\
             Via: SIP/2.0/TLS a;branch=z9hG4bK1;received=192.0.2.1\r\nRecord-Route: <sip:p0;lr>\r\n\
             From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 2\r\nMax-Forwards: 70\r\n\r\nhi"
        );
    }
}
