//! What goes wrong, as HTTP says it (RFC 9457). The `type` of a problem is stable and may be compared.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use reveille_core::{PushId, Reason};
use reveille_federation::{Refusal, answer};
use serde::Serialize;

/// An answer that is none.
#[derive(Debug)]
pub(super) struct Problem {
    body: Box<Body>,
    retry_after: Option<Duration>,
    /// What RFC 6750 §3.1 calls the error, for a bearer token that is good no more.
    challenge: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Body {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<PushId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let body = Body {
            r#type: format!("urn:reveille:push:{kind}"),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            id: None,
            reason: None,
            advice: None,
        };
        Self { body: Box::new(body), retry_after: None, challenge: None }
    }

    /// Nobody is known by what was shown, or not any more. Which of both a stranger is not told.
    pub(super) fn unauthorised(detail: &str) -> Self {
        let challenge = Some("Bearer error=\"invalid_token\"");
        Self { challenge, ..Self::new(StatusCode::UNAUTHORIZED, "invalid-token", detail) }
    }

    /// Nothing was shown (RFC 6750 §3.1: no error code then).
    pub(super) fn nobody() -> Self {
        let detail = "An access token of /oauth2/token, or the client certificate of an account, is needed.";
        Self { challenge: Some("Bearer"), ..Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", detail) }
    }

    /// Come back later.
    pub(super) fn later(status: StatusCode, kind: &str, detail: &str, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(status, kind, detail) }
    }

    /// A body as a whole, or the organisation.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let (status, wait) = (status(refusal), refusal.retry_after());
        Self { retry_after: wait, ..Self::new(status, refusal.as_str(), capital(&refusal.outside())) }
    }

    /// One request that came alone.
    pub(super) fn request(id: PushId, reason: Reason, wait: Option<Duration>) -> Self {
        let refusal = Refusal::Request { reason };
        let mut problem = Self::new(status(&refusal), reason.as_str(), capital(&refusal.to_string()));
        problem.body.id = Some(id);
        problem.body.reason = Some(reason.as_str());
        problem.body.advice = Some(refusal.advice()).filter(|advice| !advice.is_empty());
        Self { retry_after: wait, ..problem }
    }
}

/// The HTTP status of a refusal: that of SIP, where both have it.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match answer::status(refusal) {
        // RFC 6585 §4 says what RFC 3261 §21.4.18 has no better number for.
        480 => StatusCode::TOO_MANY_REQUESTS,
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    format!("{}{}.", first.to_uppercase(), chars.as_str())
}

/// `Retry-After` has whole seconds (RFC 9110 §10.2.3): rounded up, so that whoever obeys does not come too early.
pub(super) const fn whole_secs(wait: Duration) -> u64 {
    let secs = wait.as_secs() + if wait.subsec_nanos() > 0 { 1 } else { 0 };
    if secs == 0 { 1 } else { secs }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, serde_json::to_vec(&*self.body).unwrap_or_default()).into_response();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.retry_after {
            fields.insert(RETRY_AFTER, whole_secs(wait).into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_obeys_retry_after_does_not_come_too_early() {
        for (millis, secs) in [(0, "1"), (200, "1"), (1000, "1"), (1001, "2"), (1900, "2"), (60_000, "60")] {
            let wait = Duration::from_millis(millis);
            let response = Problem::later(StatusCode::TOO_MANY_REQUESTS, "x", "X.", wait).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], secs, "{millis} ms");
        }
    }
}
