//! What a proxy checks before it forwards (§16.3), and how wide a request may still fork (RFC 5393 §5).

use super::branch::Branch;
use super::reply::Reply;
use super::secret::LoopHash;
use crate::list::elements;
use crate::message::Message;
use crate::name::Name;
use crate::text::decimal_u32;
use crate::uri::{Scheme, Uri};

/// How many branches one request may have at once, everywhere together, unless it says less (RFC 5393 §5.3.3).
pub const BREADTH_MAX: u16 = 60;

/// Whether a request may be forwarded; else the answer that says why not. `hash` is its own loop hash, `supported` are
/// the option tags of Proxy-Require that this proxy understands.
pub fn check(request: &Message, hash: LoopHash, supported: &[&str]) -> Result<(), Reply> {
    // §16.3 step 1.
    sound(request).map_err(|problem| warned(400, problem))?;
    // §16.3 step 2. A tel URI is the business of whoever knows numbers.
    let uri = request.request_uri().and_then(|uri| Uri::parse(uri).ok());
    match uri.map(|uri| uri.scheme()) {
        Some(Scheme::Sip | Scheme::Sips | Scheme::Tel) => {}
        Some(Scheme::Other(_)) => return Err(Reply::new(416)),
        None => return Err(warned(400, "the Request-URI is malformed")),
    }
    // §16.3 step 3.
    if request.header(Name::MaxForwards).is_some() && request.max_forwards().is_none() {
        return Err(warned(400, "Max-Forwards is not a number up to 255"));
    }
    if request.max_forwards() == Some(0) {
        return Err(Reply::new(483));
    }
    // §16.3 step 4 as RFC 5393 §4.2 puts it: the same request was here before. Came it back changed, it is a spiral.
    if request.values(Name::Via).any(|via| Branch::of_via(via).is_some_and(|branch| branch.hash == hash)) {
        return Err(Reply::new(482));
    }
    if breadth(request).is_none() {
        return Err(Reply::new(440));
    }
    // §16.3 step 5.
    let unknown: Vec<&str> = request
        .values(Name::ProxyRequire)
        .filter(|tag| !supported.iter().any(|known| known.eq_ignore_ascii_case(tag)))
        .collect();
    if !unknown.is_empty() {
        return Err(Reply::new(420).header("Unsupported", unknown.join(", ")));
    }
    Ok(())
}

/// Among how many branches at once this request may still be divided; `None` if among none (RFC 5393 §5.3.3).
pub fn breadth(request: &Message) -> Option<u16> {
    let Some(value) = request.other_header("Max-Breadth").and_then(|value| elements(value).next()) else {
        return Some(BREADTH_MAX);
    };
    match decimal_u32(value) {
        Some(0) => None,
        Some(breadth) => Some(u16::try_from(breadth).unwrap_or(BREADTH_MAX).min(BREADTH_MAX)),
        None => Some(1),
    }
}

fn sound(request: &Message) -> Result<(), &'static str> {
    request.top_via().map_err(|_| "Via is malformed")?;
    request.from().map_err(|_| "From is malformed")?;
    request.to().map_err(|_| "To is malformed")?;
    request.call_id().ok_or("there is no Call-ID")?;
    let cseq = request.cseq().map_err(|_| "CSeq is malformed")?;
    if request.method() != Some(cseq.method) {
        return Err("the method in CSeq is another one");
    }
    Ok(())
}

fn warned(status: u16, problem: &str) -> Reply {
    Reply::new(status).header("Warning", format!("399 reveille \"{problem}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    const HASH: LoopHash = LoopHash(0xab);

    fn checked(edit: (&str, &str)) -> Result<(), u16> {
        let text = "INVITE sip:b@b.example SIP/2.0\r\n\
            Via: SIP/2.0/TLS a;branch=z9hG4bK1, SIP/2.0/TLS us;branch=z9hG4bKp1.0.00000000000000cc.00000000000000aa\r\n\
            Max-Forwards: 70\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\n\
            CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        assert!(text.contains(edit.0), "{edit:?}");
        let request = parse_datagram(text.replacen(edit.0, edit.1, 1).into(), &Limits::default());
        check(&request.expect("framed soundly"), HASH, &["known"]).map_err(|reply| reply.status)
    }

    #[test]
    fn requests_are_checked_in_the_order_of_section_16_3() {
        for (edit, expected, why) in [
            (("", ""), Ok(()), "nothing is wrong"),
            (("sip:b@b.example SIP", "gopher:b SIP"), Err(416), "an unknown scheme"),
            (("Max-Forwards: 70", "Max-Forwards: 0"), Err(483), "no hop is left"),
            (("Max-Forwards: 70\r\n", ""), Ok(()), "it may be absent"),
            (("aa\r\n", "ab\r\n"), Err(482), "our own Via with the same hash: a loop"),
            (("us;branch=z9hG4bKp1.0", "x;branch=z9hG4bKq1.0"), Ok(()), "a branch of somebody else"),
            (("Call-ID: 1", "Call-ID: 1\r\nProxy-Require: known"), Ok(()), "an extension that we know"),
            (("Call-ID: 1", "Call-ID: 1\r\nProxy-Require: known, foo"), Err(420), "one that we do not"),
            (("Call-ID: 1", "Call-ID: 1\r\nMax-Breadth: 0"), Err(440), "no branch is left"),
            (("Call-ID: 1", "Call-ID: 1\r\nMax-Breadth: 1"), Ok(()), "one is"),
        ] {
            assert_eq!(checked(edit), expected, "{why}");
        }
    }

    #[test]
    fn a_420_names_what_is_not_supported() {
        let text = "OPTIONS sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nProxy-Require: a, known\r\n\
            Proxy-Require: c\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\n\
            CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        let request = parse_datagram(text.into(), &Limits::default()).expect("sound");
        let reply = check(&request, HASH, &["known"]).expect_err("refused");
        assert_eq!(reply, Reply::new(420).header("Unsupported", "a, c"));
    }
}
