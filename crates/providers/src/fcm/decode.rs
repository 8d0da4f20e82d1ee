//! What an answer of FCM means (Firebase documentation, "ErrorCode" and "Best practices when sending FCM messages at
//! scale"): first the FcmError's own code, then the status.

use std::time::Duration;

use reveille_core::{Timestamp, Verdict};
use serde::Deserialize;

use crate::sender::dialect::{Answer, Blame, Reply, Then, retry, retry_after, word};

/// Reads one answer. `may_fetch_again` is asked when the access token is refused; see [`super::Account`].
pub(super) fn decode(answer: &Answer<'_>, now: Timestamp, may_fetch_again: impl FnOnce(Timestamp) -> bool) -> Reply {
    if answer.status == 200 {
        let provider_id = serde_json::from_slice::<Taken>(answer.body).ok().map(|taken| word(&taken.name));
        return Reply { verdict: Verdict::Accepted, provider_id, then: Then::Continue };
    }
    let Refusal { error } = serde_json::from_slice(answer.body).unwrap_or_default();
    let code = error.details.iter().find_map(|detail| detail.fcm_code());
    let said = code.filter(|code| *code != "UNSPECIFIED_ERROR").unwrap_or(&error.status);
    let reason = || if said.is_empty() { format!("status {}", answer.status).into() } else { word(said) };
    let asked = retry_after(answer.fields, now);
    let failed = |unprocessed| {
        let verdict = retry(reason(), Some(asked.unwrap_or(FIRST_PAUSE)), unprocessed);
        Reply { verdict, provider_id: None, then: Then::Suspect }
    };
    match (code, answer.status) {
        (Some("UNREGISTERED"), _) => Reply::of(Verdict::Forget { reason: reason(), since: None }),
        // The token belongs to another project, or the project's own keys at Apple or for the web are bad. Both are
        // for the publisher to mend, and kill no token.
        (Some("SENDER_ID_MISMATCH" | "THIRD_PARTY_AUTH_ERROR"), _) => {
            Reply::of(Verdict::Configuration { reason: reason() })
        }
        (Some("QUOTA_EXCEEDED"), _) => Reply::of(retry(reason(), Some(asked.unwrap_or(QUOTA_PAUSE)), true)),
        (Some("UNAVAILABLE" | "INTERNAL"), _) => failed(false),
        // Only a complaint about the token itself says anything about the token.
        (Some("INVALID_ARGUMENT"), _) | (None | Some("UNSPECIFIED_ERROR"), 400) => {
            match error.details.iter().flat_map(|detail| &detail.field_violations).find(|field| field.is_token()) {
                Some(_) => Reply::of(Verdict::Forget { reason: reason(), since: None }),
                None => Reply::of(Verdict::Reject { reason: with_field(reason(), &error) }),
            }
        }
        // No FcmError: the access token has expired or was revoked.
        (None | Some("UNSPECIFIED_ERROR"), 401) => Reply::of(if may_fetch_again(answer.minted) {
            retry(reason(), None, true)
        } else {
            let reason = format!("{}: a fresh access token was refused too", reason());
            Verdict::Configuration { reason: reason.into() }
        }),
        (None | Some("UNSPECIFIED_ERROR"), 403) => Reply::of(Verdict::Configuration { reason: reason() }),
        (None | Some("UNSPECIFIED_ERROR"), 413) => Reply::of(Verdict::Reject { reason: reason() }),
        (None | Some("UNSPECIFIED_ERROR"), 429) => Reply::of(retry(reason(), Some(asked.unwrap_or(QUOTA_PAUSE)), true)),
        (None | Some("UNSPECIFIED_ERROR"), 500..=599) => failed(false),
        _ => Reply {
            verdict: Verdict::Unknown { status: answer.status, reason: reason() },
            provider_id: None,
            then: Then::Suspect,
        },
    }
}

/// Whom a word concerns beyond its push. A token of another project comes from whoever registered it; and the keys that
/// THIRD_PARTY_AUTH_ERROR misses are for Apple's and the web's tokens only.
pub(super) fn blame(word: &str) -> Blame {
    match word {
        "SENDER_ID_MISMATCH" | "THIRD_PARTY_AUTH_ERROR" => Blame::Token,
        _ => Blame::App,
    }
}

/// The reason with the name of the field that was wrong; its description may quote what we sent, so it stays out.
fn with_field(reason: Box<str>, error: &Fault) -> Box<str> {
    match error.details.iter().flat_map(|detail| &detail.field_violations).next() {
        Some(violation) => format!("{reason}: {}", word(&violation.field)).into(),
        None => reason,
    }
}

#[derive(Deserialize)]
struct Taken {
    name: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Fault,
}

#[derive(Default, Deserialize)]
struct Fault {
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default, rename = "@type")]
    kind: String,
    #[serde(default, rename = "errorCode")]
    error_code: Option<String>,
    #[serde(default, rename = "fieldViolations")]
    field_violations: Vec<Violation>,
}

impl Detail {
    fn fcm_code(&self) -> Option<&str> {
        self.error_code.as_deref().filter(|_| self.kind.ends_with("google.firebase.fcm.v1.FcmError"))
    }
}

#[derive(Deserialize)]
struct Violation {
    #[serde(default)]
    field: String,
}

impl Violation {
    fn is_token(&self) -> bool {
        matches!(&*self.field, "message.token" | "message.fid")
    }
}

/// Google: where no Retry-After is given, a minute after a quota error,
const QUOTA_PAUSE: Duration = Duration::from_secs(60);
/// and at least ten seconds before the first repeat of anything else.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use reveille_http2::Fields;

    use super::*;
    use crate::notification::samples::NOW;
    use crate::replies;

    const DOCUMENTED: [&str; 8] = [
        "INTERNAL",
        "INVALID_ARGUMENT",
        "QUOTA_EXCEEDED",
        "SENDER_ID_MISMATCH",
        "THIRD_PARTY_AUTH_ERROR",
        "UNAVAILABLE",
        "UNREGISTERED",
        "UNSPECIFIED_ERROR",
    ];

    #[test]
    fn every_documented_code_has_its_fixture_and_means_what_it_says() {
        let names = replies::check("fcm", |answer| decode(answer, NOW, |_| true));
        for code in DOCUMENTED {
            assert!(names.iter().any(|name| name == code), "tests/replies/fcm/{code}.json is missing");
        }
    }

    #[test]
    fn a_fresh_access_token_that_is_refused_too_is_a_matter_of_configuration() {
        let fields = Fields::new();
        let body = br#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#;
        let answer = Answer { status: 401, fields: &fields, body, minted: NOW, proven: true };
        let Verdict::Configuration { reason } = decode(&answer, NOW, |_| false).verdict else { panic!() };
        assert_eq!(&*reason, "UNAUTHENTICATED: a fresh access token was refused too");
    }

    #[test]
    fn a_body_that_cannot_be_read_leaves_the_status_to_speak() {
        let fields = Fields::new();
        for body in ["", "<html>", r#"{"error":"x"}"#, "[]", r#"{"error":{"details":{}}}"#] {
            let answer = Answer { status: 404, fields: &fields, body: body.as_bytes(), minted: NOW, proven: true };
            let verdict = decode(&answer, NOW, |_| true).verdict;
            assert_eq!(verdict, Verdict::Unknown { status: 404, reason: "status 404".into() }, "{body}");
        }
    }
}
