//! What home changes in the messages of a call, and what it makes of legs that fail.

use std::borrow::Cow;

use reveille_core::SipDomain;
use reveille_sip::proxy::{self, Edits, Failure, FailureKind, Reply};
use reveille_sip::{Message, Name, NameAddr, strip_push_params};
use tracing::debug;

use super::route::Origin;
use crate::abroad::foreign_credentials;

/// What a request has been sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// Our edge.
    Edge,
    /// Phones of ours.
    Phone,
}

/// Decides about the answers of one request.
pub(crate) struct Owner {
    side: Side,
    in_dialog: bool,
}

impl Owner {
    pub(crate) fn new(side: Side, in_dialog: bool) -> Self {
        Self { side, in_dialog }
    }
}

impl proxy::Owner for Owner {
    fn edits(&self, response: &Message) -> Edits {
        without_push(response, Edits::default().strip(Name::EdgeTrust))
    }

    fn failed(&self, _leg: usize, why: &Failure) -> Reply {
        match (self.side, why.kind) {
            (_, FailureKind::TimedOut) => Reply::new(408),
            (Side::Edge, FailureKind::Gone | FailureKind::Unreachable) => {
                super::warned(504, &format!("the way out is closed: {}", why.sentence))
            }
            // RFC 5626 §5.3.1: in a dialog it was this connection or none.
            (Side::Phone, FailureKind::Gone | FailureKind::Unreachable) if self.in_dialog => Reply::new(430),
            (Side::Phone, FailureKind::Gone | FailureKind::Unreachable) => {
                super::warned(480, "the phone's connection is gone")
            }
        }
    }

    fn ended(&self, status: u16, leg: Option<usize>) {
        debug!(sip.status = status, ?leg, in_dialog = self.in_dialog, "a call's request has ended");
        if !self.in_dialog {
            let outcome = match status {
                200..300 => "answered",
                487 => "cancelled",
                _ => "refused",
            };
            metrics::counter!("reveille_home_calls_total", "outcome" => outcome).increment(1);
        }
    }
}

/// What is changed in a request, wherever it goes.
pub(crate) fn edits(request: &Message, origin: Origin, realms: &[SipDomain]) -> Edits {
    let mut edits = Edits::default().strip(Name::EdgeTrust).strip(Name::ReveilleProbe);
    if origin == Origin::Client {
        // RFC 3325 §5: only who has proven a user's identity may assert it, and a client has not.
        edits.strip.extend(Name::IDENTITIES);
        // RFC 3261 §22.3: what proves a user here is nobody else's to see.
        edits = edits.strip(Name::Authorization).strip(Name::ProxyAuthorization);
        for (name, value) in foreign_credentials(request, realms) {
            edits = edits.insert(name.as_str(), value);
        }
    }
    without_push(request, edits)
}

/// Takes push parameters out of Contact: they would let others wake the phone (RFC 8599 §12).
fn without_push(message: &Message, mut edits: Edits) -> Edits {
    let stripped: Vec<Option<String>> = message.values(Name::Contact).map(contact_without_push).collect();
    if stripped.iter().all(Option::is_none) {
        return edits;
    }
    edits = edits.strip(Name::Contact);
    for (value, stripped) in message.values(Name::Contact).zip(stripped) {
        edits = edits.insert(Name::Contact.as_str(), stripped.unwrap_or_else(|| value.to_owned()));
    }
    edits
}

/// A Contact value without push parameters; `None` if it has none, or cannot be read.
fn contact_without_push(value: &str) -> Option<String> {
    let address = NameAddr::parse(value).ok()?;
    // RFC 3261 §20.10: without brackets all parameters belong to the header field; they are secrets all the same.
    let range = if value[address.uri_range().end..].starts_with('>') { address.uri_range() } else { 0..value.len() };
    match strip_push_params(&value[range.clone()]) {
        Cow::Borrowed(_) => None,
        Cow::Owned(plain) => Some(format!("{}{plain}{}", &value[..range.start], &value[range.end..])),
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::proxy::Owner as _;
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn invite(more: &str) -> Message {
        let text = format!(
            "INVITE sip:carol@fabrikam.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:bob@contoso.com>;tag=1\r\n\
             To: <sip:carol@fabrikam.com>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).expect("sound")
    }

    #[test]
    fn push_parameters_stay_at_home_and_everything_else_of_a_contact_leaves() {
        for (value, expected) in [
            (
                "\"Bob\" <sip:bob@h:5062;transport=tls;pn-provider=apns;pn-param=T.a.voip;pn-prid=00f>;+sip.instance=\"<urn:x>\"",
                Some("\"Bob\" <sip:bob@h:5062;transport=tls>;+sip.instance=\"<urn:x>\""),
            ),
            ("<sip:bob@h;ob>;q=0.5", None),
            ("sip:bob@h;pn-provider=fcm;pn-prid=00f;q=0.5", Some("sip:bob@h;q=0.5")),
            ("sip:bob@h;q=0.5", None),
        ] {
            let edits = edits(&invite(&format!("Contact: {value}\r\n")), Origin::Edge, &[]);
            assert_eq!(edits.strip.contains(&Name::Contact), expected.is_some(), "{value}");
            let inserted = edits.insert.iter().find(|(name, _)| *name == "Contact").map(|(_, value)| value.as_str());
            assert_eq!(inserted, expected);
        }
    }

    #[test]
    fn what_proves_a_user_here_stays_here() {
        let credentials = |realm: &str| {
            format!(
                "Proxy-Authorization: Digest username=\"bob\", realm=\"{realm}\", nonce=\"n\", uri=\"sip:x\", response=\"00112233445566778899aabbccddeeff\"\r\n"
            )
        };
        let request = invite(
            &(credentials("contoso.com")
                + &credentials("fabrikam.com")
                + "P-Asserted-Identity: <sip:ceo@contoso.com>\r\n"),
        );
        let edits = edits(&request, Origin::Client, &["contoso.com".parse().expect("a domain")]);
        assert!(edits.strip.contains(&Name::ReveilleProbe), "a test is home's own to ask for");
        assert!(
            edits.strip.contains(&Name::ProxyAuthorization)
                && Name::IDENTITIES.iter().all(|name| edits.strip.contains(name))
        );
        let kept: Vec<&str> = edits.insert.iter().map(|(_, value)| value.as_str()).collect();
        assert!(kept.len() == 1 && kept[0].contains("fabrikam.com"), "{kept:?}");
    }

    #[test]
    fn what_a_leg_without_an_answer_counts_as() {
        for (side, in_dialog, kind, expected) in [
            (Side::Edge, false, FailureKind::Unreachable, 504),
            (Side::Edge, true, FailureKind::Gone, 504),
            (Side::Phone, false, FailureKind::Gone, 480),
            (Side::Phone, true, FailureKind::Unreachable, 430),
            (Side::Phone, false, FailureKind::TimedOut, 408),
        ] {
            let why = Failure { kind, label: "x", sentence: "it is \"gone\"".into(), cause: None };
            let reply = Owner::new(side, in_dialog).failed(0, &why);
            assert_eq!(reply.status, expected, "{side:?} {in_dialog} {kind:?}");
            assert!(reply.headers.iter().all(|(_, value)| value.matches('"').count() == 2), "{:?}", reply.headers);
        }
    }
}
