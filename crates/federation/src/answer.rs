//! From a refusal to what goes back over SIP: status, `ms-diagnostics`, `Warning`, `Retry-After`, problem JSON.
//!
//! Only here do refusals have status codes. What goes outside holds no source and is called `ms-diagnostics-public`
//! (lync.md §3.5).

use std::time::Duration;

use reveille_core::Reason;

use crate::refusal::Refusal;

/// Who reads the answer.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// A server of our own; `source` is the name of the one that answers.
    Inside {
        /// The answering server's name.
        source: &'a str,
    },
    /// Another organisation.
    Outside,
}

/// What goes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The SIP status.
    pub status: u16,
    /// Header fields to add, in order.
    pub headers: Vec<(&'static str, String)>,
    /// Problem JSON (the shape of RFC 9457), for the body.
    pub problem: String,
}

/// The content type of [`Answer::problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// The SIP status that a refusal has.
pub const fn status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::BadBody(_) | Refusal::BadFrom => 400,
        Refusal::AssertionMissing { .. }
        | Refusal::CertificateNamesAnother { .. }
        | Refusal::DomainBlocked { .. }
        | Refusal::DomainNotAllowed { .. }
        | Refusal::FederationOff
        | Refusal::ForgedTrust
        | Refusal::MethodNotFederated { .. }
        | Refusal::NotItsDomain { .. }
        | Refusal::NoTrust
        | Refusal::OwnDomain { .. }
        | Refusal::PartnerWatched { .. } => 403,
        Refusal::NoSuchUser { .. } | Refusal::UnknownDestination { .. } => 404,
        Refusal::TooLarge(_) => 413,
        Refusal::UnsupportedType => 415,
        // RFC 3261 §8.2.2.1.
        Refusal::UnknownScheme => 416,
        // One partner's limit, or one class's: the server is there for everybody else (RFC 3261 §21.4.18).
        Refusal::PartnerBusy { .. } | Refusal::PartnerThrottled { .. } | Refusal::Shed { .. } => 480,
        // RFC 3261 §16.3 step 5.
        Refusal::UnsupportedExtension => 420,
        // RFC 3261 §12.2.2.
        Refusal::NoSuchDialog => 481,
        // RFC 3261 §16.3 step 4.
        Refusal::Looped => 482,
        Refusal::TooManyHops => 483,
        // RFC 3261 §21.5.7.
        Refusal::HeaderTooLong { .. } => 513,
        Refusal::Request { reason } => match reason {
            Reason::AppNotGranted | Reason::HandleNotYours | Reason::OutcomeUnknown => 403,
            Reason::HandleKeyGone | Reason::NoSuchApp => 404,
            Reason::PayloadTooLarge => 413,
            Reason::Throttled => 480,
            _ => 400,
        },
        // Proxies abandon the whole server on a 503, so it is said only when nobody can be served (RFC 3261 §21.5.4).
        Refusal::Overloaded | Refusal::Stopping | Refusal::StoreFull => 503,
        Refusal::AddressNotFound { .. }
        | Refusal::PeerPaused { .. }
        | Refusal::PeerRejectsUs { .. }
        | Refusal::PeerUnreachable { .. }
        | Refusal::PeerUntrusted { .. }
        | Refusal::SrvNamesAnother { .. }
        | Refusal::SrvNotFound { .. } => 504,
    }
}

/// The status of a refusal that our own edge gives to our own home about the way out: nobody out there has answered,
/// so it is always "no route".
pub const fn status_outbound(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::CertificateNamesAnother { .. } | Refusal::UnknownDestination { .. } => 504,
        other => status(other),
    }
}

/// The whole answer for a refusal.
pub fn answer(refusal: &Refusal, audience: Audience<'_>, retry_after: Option<Duration>) -> Answer {
    let diagnosis = refusal.diagnosis();
    let sentence = quotable(&match audience {
        Audience::Inside { .. } => refusal.to_string(),
        Audience::Outside => refusal.outside(),
    });
    let status = status(refusal);
    let mut headers = Vec::with_capacity(3);
    match audience {
        Audience::Inside { source } => {
            let value = format!(
                "{};reason=\"{sentence}\";source=\"{}\";fault=\"{}\";advice=\"{}\"",
                diagnosis.id,
                quotable(source),
                diagnosis.fault.as_str(),
                quotable(&refusal.advice()),
            );
            headers.push(("ms-diagnostics", value));
        }
        Audience::Outside => {
            headers.push(("ms-diagnostics-public", format!("{};reason=\"{sentence}\"", diagnosis.id)));
        }
    }
    // RFC 3261 §20.43: 399 is the miscellaneous warning; the agent name must not tell more than the audience may know.
    let agent = match audience {
        Audience::Inside { source } => source,
        Audience::Outside => "reveille",
    };
    headers.push(("Warning", format!("399 {agent} \"{sentence}\"")));
    if let Some(after) = retry_after.or_else(|| refusal.retry_after()) {
        headers.push(("Retry-After", after.as_secs().max(1).to_string()));
    }
    let problem = serde_json::json!({
        "type": format!("urn:reveille:refusal:{}", refusal.as_str()),
        "title": sentence,
        "status": status,
        "retry": diagnosis.retry_helps,
        "fault": diagnosis.fault.as_str(),
    });
    Answer { status, headers, problem: problem.to_string() }
}

/// Text that may stand between double quotes in a header field: what it quotes from a peer must not end the quoting.
pub fn quotable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).map(|c| if c == '"' || c == '\\' { '\'' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_learns_the_class_and_inside_the_source_and_the_remedy() {
        let refusal = Refusal::DomainNotAllowed { domain: "fabrikam.com".parse().unwrap() };
        let outside = answer(&refusal, Audience::Outside, None);
        assert_eq!(outside.status, 403);
        assert_eq!(
            outside.headers[0],
            ("ms-diagnostics-public", "90103;reason=\"fabrikam.com is not an allowed domain\"".to_owned())
        );
        assert!(!format!("{outside:?}").contains("edge.push.example.net"));
        let inside = answer(&refusal, Audience::Inside { source: "edge.push.example.net" }, None);
        assert!(inside.headers[0].1.contains("source=\"edge.push.example.net\""));
        assert!(inside.headers[0].1.contains("New-CsAllowedDomain -Identity fabrikam.com"));
    }

    #[test]
    fn neither_our_settings_nor_what_others_said_leave_with_an_answer() {
        let domain: reveille_core::SipDomain = "fabrikam.com".parse().unwrap();
        let secret: reveille_core::SipDomain = "edge7.hoster.example".parse().unwrap();
        let why = || "no name server answered".to_owned();
        for (refusal, reason) in [
            (
                Refusal::CertificateNamesAnother { domain: domain.clone(), wanted: secret.clone() },
                "the certificate presented is not that of the server that speaks for fabrikam.com",
            ),
            (
                Refusal::CertificateNamesAnother { domain: domain.clone(), wanted: domain.clone() },
                "the certificate presented does not name fabrikam.com, which it must to speak for fabrikam.com",
            ),
            (
                Refusal::AddressNotFound { domain: domain.clone(), host: secret, why: why(), remedy: None },
                "the server for fabrikam.com is not found",
            ),
            (
                Refusal::SrvNotFound { domain: domain.clone(), why: why(), remedy: None },
                "the server for fabrikam.com is not found",
            ),
            (Refusal::PeerUnreachable { domain, why: why() }, "the server for fabrikam.com cannot be reached"),
        ] {
            let outside = answer(&refusal, Audience::Outside, None);
            let id = refusal.diagnosis().id;
            assert_eq!(outside.headers[0].1, format!("{id};reason=\"{reason}\""));
            let all = format!("{outside:?}");
            assert!(!all.contains("hoster") && !all.contains("name server"), "{all}");
        }
    }

    #[test]
    fn a_full_server_always_says_when_to_come_back() {
        let full = answer(&Refusal::StoreFull, Audience::Outside, None);
        assert_eq!(full.status, 503);
        assert!(full.headers.contains(&("Retry-After", "5".to_owned())));
        let slow = answer(&Refusal::Overloaded, Audience::Outside, Some(Duration::from_millis(100)));
        assert!(slow.headers.contains(&("Retry-After", "1".to_owned())));
    }

    #[test]
    fn what_a_peer_wrote_cannot_break_out_of_the_quotes() {
        let refusal = Refusal::BadBody("a \"quote\"\r\nVia: x".into());
        let headers = answer(&refusal, Audience::Outside, None).headers;
        assert!(headers[0].1.contains("a 'quote'Via: x"), "{headers:?}");
        assert!(headers.iter().all(|(_, value)| !value.contains('\n')));
    }
}
