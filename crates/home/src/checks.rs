//! What a home asks of a request that it answers itself, before it looks at what is wanted (RFC 3261 §8.2).
//!
//! Requests of calls are the proxy's business (§16.3), and credentials come after these checks: nothing here tells a
//! stranger more than the standard says of any server.

use reveille_sip::{Fault, Message, Method, Name, ResponseBuilder};

/// Extensions that a request may require of us: RFC 5626 and RFC 3327.
const SUPPORTED: [&str; 2] = ["outbound", "path"];

/// Why a request is turned away before anybody looks at what it wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Objection {
    /// 420: it requires extensions that we do not know, named here in the order of the request (§8.2.2.3).
    Extensions(Vec<String>),
    /// 415: a body in a request that has no use for one, and that may not be ignored (§8.2.3).
    Body,
}

/// The first objection to a request. Its addresses and numbers must have been read before ([`well_formed`]).
pub(crate) fn objection(request: &Message) -> Option<Objection> {
    // §16.3 step 5 for the proxy that we are to a MESSAGE or OPTIONS for a user, §8.2.2.3 for the server that answers.
    let required = request.values(Name::ProxyRequire).chain(request.values(Name::Require));
    let unknown = |tag: &&str| !SUPPORTED.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let extensions: Vec<String> = required.filter(unknown).map(str::to_owned).collect();
    if !extensions.is_empty() {
        return Some(Objection::Extensions(extensions));
    }
    let registers = matches!(request.method(), Some(Method::Register));
    (registers && !request.body_bytes().is_empty() && !is_optional(request)).then_some(Objection::Body)
}

/// Whether every address, Via and number of a request reads, and its Request-URI has a scheme that we serve: else a 400
/// or, for the scheme, a 416 (§8.2.2.1).
pub(crate) fn well_formed(request: &Message) -> Result<(), Fault> {
    request.check()
}

/// §20.11: what is disposed of as optional may be ignored by whoever does not understand it.
fn is_optional(request: &Message) -> bool {
    let disposition = request.header(Name::ContentDisposition).unwrap_or_default();
    reveille_sip::Params::new(disposition).value("handling").is_some_and(|how| how.eq_ignore_ascii_case("optional"))
}

impl Objection {
    /// The status to answer with.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Body => 415,
            Self::Extensions(_) => 420,
        }
    }

    /// What such an answer has to tell.
    pub(crate) fn tell(&self, response: &mut ResponseBuilder<'_>) {
        match self {
            // §20.1: an empty Accept says that no body is acceptable.
            Self::Body => response.header(Name::Accept, ""),
            // §20.40: those which we do not support, and no others.
            Self::Extensions(names) => response.header(Name::Unsupported, &names.join(", ")),
        };
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn request(method: &str, more: &str, body: &str) -> Message {
        let text = format!(
            "{method} sip:contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:bob@contoso.com>;tag=1\r\n\
             To: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        parse_datagram(text.into(), &Limits::default()).expect("a sound request")
    }

    fn extensions(names: &[&str]) -> Option<Objection> {
        Some(Objection::Extensions(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn extensions_that_nobody_knows_are_named_in_their_order_and_the_known_are_not() {
        for (more, expected) in [
            ("", None),
            ("Require: outbound, PATH\r\nProxy-Require: path\r\n", None),
            ("Require: 100rel\r\n", extensions(&["100rel"])),
            ("Require: path, b\r\nrequire: a\r\nProxy-Require: c\r\n", extensions(&["c", "b", "a"])),
            ("Supported: anything\r\n", None),
        ] {
            assert_eq!(objection(&request("OPTIONS", more, "")), expected, "{more}");
        }
    }

    #[test]
    fn a_body_in_a_register_is_refused_unless_it_may_be_ignored() {
        let sdp = "Content-Type: application/sdp\r\n";
        let optional = format!("{sdp}Content-Disposition: session;handling=optional\r\n");
        for (method, more, body, expected) in [
            ("REGISTER", sdp, "v=0\r\n", Some(Objection::Body)),
            ("REGISTER", sdp, "", None),
            ("REGISTER", &optional, "v=0\r\n", None),
            ("MESSAGE", sdp, "v=0\r\n", None),
        ] {
            assert_eq!(objection(&request(method, more, body)), expected, "{method} {more}");
        }
    }

    #[test]
    fn an_answer_says_what_would_have_been_accepted() {
        let request = request("REGISTER", "Require: a\r\n", "");
        for (objection, line) in [
            (Objection::Body, "SIP/2.0 415 Unsupported Media Type\r\n"),
            (Objection::Body, "\r\nAccept: \r\n"),
            (Objection::Extensions(vec!["a".into(), "b".into()]), "\r\nUnsupported: a, b\r\n"),
        ] {
            let mut out = bytes::BytesMut::new();
            let mut response = ResponseBuilder::to(&mut out, &request, objection.status());
            objection.tell(&mut response);
            response.finish().expect("a sound answer");
            drop(response);
            let text = String::from_utf8(out.to_vec()).expect("text");
            assert!(text.contains(line), "{text}");
        }
    }
}
