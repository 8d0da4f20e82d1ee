//! Where our bodies and SIP messages meet: reading a MESSAGE that carries them, writing one, and answering one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_core::SipDomain;
use reveille_sip::{Message, Method, Name, PrintError, RequestBuilder, ResponseBuilder};

use crate::answer::{Answer, Audience, PROBLEM_TYPE, answer};
use crate::probe::Times;
use crate::push_result::{self, PushResult};
use crate::refusal::Refusal;
use crate::request::{self, BodyFault, PushRequest};
use crate::trust;

/// The domain of the From address: the one that a certificate must prove.
pub fn from_domain(message: &Message) -> Result<SipDomain, Refusal> {
    let domain = || message.from().ok()?.uri().ok()?.host()?.domain()?.parse().ok();
    domain().ok_or(Refusal::BadFrom)
}

/// The domain that a request is for.
pub fn destination(message: &Message) -> Result<SipDomain, Refusal> {
    let uri = message.request_uri().and_then(|uri| reveille_sip::Uri::parse(uri).ok());
    // RFC 3261 §16.3 step 2: a scheme that we do not understand is 416, not 400.
    if uri.as_ref().is_some_and(|uri| !uri.is_sip()) {
        return Err(Refusal::UnknownScheme);
    }
    let domain = || uri?.host()?.domain()?.parse().ok();
    domain().ok_or_else(|| Refusal::BadBody("the Request-URI names no domain".into()))
}

/// The host of the From address as it is written, for comparing it with a domain that is known already.
pub fn from_host(message: &Message) -> Option<&str> {
    message.from().ok()?.uri().ok()?.host()?.domain()
}

/// The host of the Request-URI as it is written, if that is a SIP URI.
pub fn destination_host(message: &Message) -> Option<&str> {
    let uri = reveille_sip::Uri::parse(message.request_uri()?).ok()?;
    if uri.is_sip() { uri.host()?.domain() } else { None }
}

/// What the sender's own server says of him: verified, not verified, or nothing.
pub fn asserted(message: &Message) -> Option<bool> {
    message.header(Name::AssertedVerification).and_then(trust::read_assertion)
}

/// The push requests of a MESSAGE.
pub fn push_requests(message: &Message) -> Result<Vec<PushRequest>, Refusal> {
    if !message.content_type().is_some_and(request::is_push_request) {
        return Err(Refusal::UnsupportedType);
    }
    request::read_body(message.body_bytes()).map_err(body_refusal)
}

/// A body's fault as a refusal.
pub fn body_refusal(fault: BodyFault) -> Refusal {
    match fault {
        BodyFault::TooLarge { .. } | BodyFault::TooMany { .. } => Refusal::TooLarge(fault.to_string()),
        BodyFault::Empty | BodyFault::Json { .. } => Refusal::BadBody(fault.to_string()),
    }
}

/// A MESSAGE of our own between servers, with the values that make it one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Our own name, for Via.
    pub sent_by: &'a str,
    /// The transaction's branch.
    pub branch: &'a str,
    /// Who speaks, a SIP URI.
    pub from: &'a str,
    /// Who is spoken to, a SIP URI.
    pub to: &'a str,
    /// Tells calls apart, and the From tag.
    pub call_id: &'a str,
    /// What the body is.
    pub content_type: &'a str,
    /// Whether it is about a call: a border that must choose lets it pass before others (RFC 3261 §20.26).
    pub urgent: bool,
}

/// Writes a MESSAGE (RFC 3428 §4: no Contact, no dialog) for a TLS connection.
pub fn write(envelope: Envelope<'_>, body: &[u8]) -> Result<Bytes, PrintError> {
    let mut out = BytesMut::with_capacity(512 + body.len());
    let Envelope { sent_by, branch, from, to, call_id, content_type, urgent } = envelope;
    let tag = &call_id[..call_id.len().min(16)];
    let mut request = RequestBuilder::new(&mut out, Method::Message, to);
    request
        .header(Name::Via, format_args!("SIP/2.0/TLS {sent_by};branch={branch}"))
        .header(Name::MaxForwards, "70")
        .header(Name::From, format_args!("<{from}>;tag={tag}"))
        .header(Name::To, format_args!("<{to}>"))
        .header(Name::CallId, call_id)
        .header(Name::CSeq, "1 MESSAGE");
    if urgent {
        request.header(Name::Priority, "urgent");
    }
    request.content(content_type, body).finish()?;
    drop(request);
    Ok(out.freeze())
}

/// The 202 for a MESSAGE with push requests, after the sync; with how long a single probe took, and the value of
/// `Push-Quota` ([`crate::quota`]).
pub fn taken(request: &Message, results: &[PushResult], times: Option<Times>, quota: Option<&str>, tag: &str) -> Bytes {
    let mut value = String::with_capacity(24 * results.len());
    push_result::write(results, &mut value);
    if let Some(times) = times {
        times.write(&mut value);
    }
    respond(request, 202, tag, |response| {
        response.header(Name::PushResult, &value);
        if let Some(quota) = quota {
            response.header(Name::PushQuota, quota);
        }
    })
}

/// The answer for a single push request that was refused.
pub fn push_refused(
    request: &Message,
    refusal: &Refusal,
    audience: Audience<'_>,
    retry_after: Option<Duration>,
    quota: Option<&str>,
    tag: &str,
) -> Bytes {
    let Answer { status, mut headers, problem } = answer(refusal, audience, retry_after);
    headers.extend(quota.map(|quota| (Name::PushQuota.as_str(), quota.to_owned())));
    refused_with(request, status, &headers, &problem, tag)
}

/// The answer for a MESSAGE that was not taken.
pub fn refused(
    request: &Message,
    refusal: &Refusal,
    audience: Audience<'_>,
    retry_after: Option<Duration>,
    tag: &str,
) -> Bytes {
    let Answer { status, headers, problem } = answer(refusal, audience, retry_after);
    refused_with(request, status, &headers, &problem, tag)
}

/// The same with another status, for the side whose view of a refusal differs.
pub fn refused_with(
    request: &Message,
    status: u16,
    headers: &[(&'static str, String)],
    problem: &str,
    tag: &str,
) -> Bytes {
    respond_with(request, status, tag, (PROBLEM_TYPE, problem.as_bytes()), |response| {
        for (name, value) in headers {
            response.other_header(name, value);
        }
        if status == 415 {
            response.header(Name::Accept, request::CONTENT_TYPE);
        }
        if status == 420 {
            // RFC 3261 §8.2.2.3: none of them is.
            for tags in request.headers(Name::ProxyRequire) {
                response.header(Name::Unsupported, tags);
            }
        }
    })
}

/// A plain answer.
pub fn respond(request: &Message, status: u16, tag: &str, more: impl FnOnce(&mut ResponseBuilder<'_>)) -> Bytes {
    respond_with(request, status, tag, ("", &[]), more)
}

/// Never fails: of an answer with something in it that cannot be written (a line break in a peer's words, say) the bare
/// status is left, and nothing at all where not even that can be.
fn respond_with(
    request: &Message,
    status: u16,
    tag: &str,
    (content_type, body): (&str, &[u8]),
    more: impl FnOnce(&mut ResponseBuilder<'_>),
) -> Bytes {
    // What is copied of the request is less than it has, and what is added less than this.
    let mut out = BytesMut::with_capacity(512 + request.header_len() + body.len());
    let whole = {
        let mut response = ResponseBuilder::to(&mut out, request, status);
        response.to_tag(tag);
        more(&mut response);
        if !body.is_empty() {
            response.content(content_type, body);
        }
        response.finish()
    };
    // On an error nothing was written.
    if whole.is_err() {
        let _ = ResponseBuilder::to(&mut out, request, status).to_tag(tag).finish();
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn request() -> Message {
        let text = "MESSAGE sip:push@push.example.net SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n\
                    From: \"A\\\u{0}\" <sip:bob@contoso.com>;tag=1\r\nTo: \"\\\u{0}\" <sip:push@push.example.net>\r\n\
                    Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
        parse_datagram(text.into(), &Limits::default()).expect("RFC 4475 §3.1.1.2 has such names")
    }

    fn read(answer: Bytes) -> Message {
        parse_datagram(answer, &Limits::default()).expect("a sound answer")
    }

    #[test]
    fn what_cannot_be_written_costs_an_answer_its_details_and_nobody_his_answer() {
        let request = request();
        for value in ["a\r\nX-Forged: b", "a\u{0}b", "a\nb"] {
            let more = |response: &mut ResponseBuilder<'_>| {
                response.header(Name::Unsupported, value);
            };
            let answer = read(respond(&request, 420, "t", more));
            assert_eq!((answer.status(), answer.to().expect("To").tag()), (Some(420), Some("t")), "{value:?}");
            assert_eq!(answer.header(Name::Unsupported), None);
            assert_eq!(answer.call_id(), request.call_id());
            let headers = [("Warning", value.to_owned())];
            let answer = read(refused_with(&request, 403, &headers, "{}", "t"));
            assert_eq!((answer.status(), answer.body_bytes().len()), (Some(403), 0), "{value:?}");
        }
        let plain = read(respond(&request, 200, "t", |response| {
            response.header(Name::Accept, "a/b");
        }));
        assert_eq!(plain.header(Name::Accept), Some("a/b"));
    }
}
