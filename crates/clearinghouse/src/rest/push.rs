//! `POST /v1/push` and `GET /v1/push/{id}`: the body of federation, its answer as HTTP has it.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reveille_core::delivery::PushState;
use reveille_core::{PushId, Timestamp};
use reveille_federation::quota::Quota;
use reveille_federation::request::{BODY_BYTES_MAX, BodyFault, is_push_request, read_body};
use reveille_federation::{PushRequest, PushResult, Refusal, Taken};
use reveille_store::Traced;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::account::Caller;
use super::body::Unread;
use super::idempotency::{HEADER, Key};
use super::problem::{Problem, status, whole_secs};
use super::seats::Full;
use super::{Rest, body};
use crate::intake::{COME_BACK, Receipt, Submission};

/// How long the journal may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What became of one request.
#[derive(Debug, Serialize)]
struct Outcome {
    id: PushId,
    result: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// `POST /v1/push`
pub(super) async fn send(
    State(rest): State<Arc<Rest>>,
    Extension(caller): Extension<Caller>,
    fields: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let admitted = rest.admit(&caller, &fields)?;
    let seat = rest.seats.take(&admitted.account, admitted.peer.domain()).map_err(full)?;
    let posted = posted(&fields, body, rest.clock.now()).await?;
    // The body may have taken its time, and what was revoked meanwhile is gone.
    let admitted = rest.admit(&caller, &fields)?;
    let ids: Vec<PushId> = posted.requests.iter().map(|request| request.id).collect();
    let (told, answer) = oneshot::channel();
    let submission = Submission {
        from: admitted.peer,
        asked: rest.site.domain.clone(),
        requests: posted.requests,
        body: posted.body,
        answer: Box::new(move |receipt, standing| {
            // Whoever has gone away meanwhile repeats his request, and is then told that it is a duplicate.
            let _ = told.send((receipt, standing.map(|standing| standing.quota)));
        }),
    };
    rest.intake.accept(vec![submission]);
    let waited = tokio::time::timeout(ANSWER_WITHIN, answer).await;
    drop(seat);
    let Ok(Ok((receipt, quota))) = waited else { return Err(unanswered()) };
    let mut response = answered(&ids, receipt, posted.several).into_response();
    if let Some(quota) = quota {
        limits(response.headers_mut(), quota);
    }
    Ok(response)
}

/// `GET /v1/push/{id}`: of the account's own organisation only.
pub(super) async fn trace(
    State(rest): State<Arc<Rest>>,
    Extension(caller): Extension<Caller>,
    fields: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let admitted = rest.admit(&caller, &fields)?;
    let unread = || Problem::new(StatusCode::BAD_REQUEST, "invalid-id", "The id of a push is a ULID.");
    let id: PushId = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(unread)?;
    let seat = rest.seats.take(&admitted.account, admitted.peer.domain()).map_err(full)?;
    let journal = Arc::clone(&rest.journal);
    let looking = tokio::task::spawn_blocking(move || {
        let found = journal.trace(admitted.peer.domain(), id);
        drop(seat);
        found
    });
    match looking.await {
        Ok(Ok(Some(traced))) => Ok(json(StatusCode::OK, &Seen::of(id, &traced))),
        Ok(Ok(None)) => {
            let detail = "No push of that id is known, of this organisation and of the last 25 hours.";
            Err(Problem::new(StatusCode::NOT_FOUND, "no-such-push", detail))
        }
        Ok(Err(_)) | Err(_) => Err(Problem::refused(&Refusal::StoreFull)),
    }
}

/// What is known of a push.
#[derive(Serialize)]
struct Seen {
    id: PushId,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    received: String,
    at: String,
    attempts: u32,
}

impl Seen {
    fn of(id: PushId, traced: &Traced) -> Self {
        Self {
            id,
            state: traced.state.as_str(),
            reason: match traced.state {
                PushState::NotPushed(reason) => Some(reason.as_str()),
                _ => None,
            },
            detail: traced.detail.clone(),
            received: traced.received.to_string(),
            at: traced.at.to_string(),
            attempts: traced.attempt,
        }
    }
}

/// A body that has been read.
struct Posted {
    requests: Vec<PushRequest>,
    /// As intake journals it: with the ids, also where the sender left them out.
    body: Bytes,
    /// Whether it was an array: then the answer is one.
    several: bool,
}

async fn posted(fields: &HeaderMap, body: Body, now: Timestamp) -> Result<Posted, Problem> {
    let kind = fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let plain = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if !plain && !is_push_request(kind) {
        return Err(Problem::refused(&Refusal::UnsupportedType));
    }
    let key = match fields.get(HEADER) {
        Some(value) => {
            let key = value.to_str().ok().and_then(Key::read);
            let detail = "The Idempotency-Key must be a ULID or a UUID of version 7.";
            key.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", detail))?
        }
        None => Key::fresh(now),
    };
    let body = body::read(body, BODY_BYTES_MAX).await.map_err(|fault| match fault {
        Unread::Long(_) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", fault.detail()),
        Unread::Late => Problem::new(StatusCode::REQUEST_TIMEOUT, "too-late", fault.detail()),
        Unread::Broken => Problem::new(StatusCode::BAD_REQUEST, "bad-body", fault.detail()),
    })?;
    let several = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let (requests, body) = read(body, key).map_err(|fault| {
        let status = match fault {
            BodyFault::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let text = fault.to_string();
        Problem::new(status, "bad-body", format!("{}{}.", text[..1].to_uppercase(), &text[1..]))
    })?;
    Ok(Posted { requests, body, several })
}

/// The requests of a body; whatever has no id gets the key's.
fn read(body: Bytes, key: Key) -> Result<(Vec<PushRequest>, Bytes), BodyFault> {
    let fault = match read_body(&body) {
        Ok(requests) => return Ok((requests, body)),
        Err(fault) => fault,
    };
    let Some(named) = with_ids(&body, key) else { return Err(fault) };
    // Read as strictly as any other body: a field that is there twice is a fault, whichever of them was meant.
    Ok((read_body(&named)?, named.into()))
}

/// The body with the ids that it lacks; `None` if it lacks none, or more than ids.
fn with_ids(body: &[u8], key: Key) -> Option<Vec<u8>> {
    let mut missing = false;
    let mut name = |index: usize, request: &RawValue| -> Option<Box<RawValue>> {
        let Named { id } = serde_json::from_str(request.get()).ok()?;
        if id.is_some() {
            return Some(request.to_owned());
        }
        missing = true;
        let rest = request.get().trim_start().strip_prefix('{')?;
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        RawValue::from_string(format!("{{\"id\":\"{}\"{comma}{rest}", key.id(index))).ok()
    };
    let named = if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let requests: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        let named = requests.into_iter().enumerate().map(|(index, request)| name(index, request));
        serde_json::to_vec(&named.collect::<Option<Vec<_>>>()?).ok()?
    } else {
        serde_json::to_vec(&name(0, serde_json::from_slice(body).ok()?)?).ok()?
    };
    missing.then_some(named)
}

/// Of a request nothing but whether it has an id.
#[derive(Deserialize)]
struct Named {
    id: Option<IgnoredAny>,
}

/// The answer to a body: alone a request is taken or a problem; of several each has its own result.
fn answered(ids: &[PushId], receipt: Receipt, several: bool) -> Result<Response, Problem> {
    let results = receipt.map_err(|refusal| Problem::refused(&refusal))?;
    if let ([id], [PushResult { taken: Taken::Refused(reason), retry_after }], false) = (ids, &results[..], several) {
        return Err(Problem::request(*id, *reason, *retry_after));
    }
    let outcomes: Vec<Outcome> = ids.iter().zip(&results).map(|(id, result)| outcome(*id, result)).collect();
    // RFC 4918 §11.1 has the number for "each has its own"; 202 is said only where it is true of all.
    let status = match outcomes.iter().all(|outcome| outcome.reason.is_none()) {
        true => StatusCode::ACCEPTED,
        false => StatusCode::MULTI_STATUS,
    };
    Ok(match (&outcomes[..], several) {
        ([one], false) => json(status, one),
        (all, _) => json(status, &all),
    })
}

fn outcome(id: PushId, result: &PushResult) -> Outcome {
    let (word, reason) = match result.taken {
        Taken::Journaled => ("journaled", None),
        Taken::Duplicate => ("duplicate", None),
        Taken::Refused(reason) => ("refused", Some(reason)),
    };
    Outcome {
        id,
        result: word,
        status: reason.map_or(StatusCode::ACCEPTED, |reason| status(&Refusal::Request { reason })).as_u16(),
        reason: reason.map(|reason| reason.as_str()),
        detail: reason.map(|reason| reason.sentence()),
        retry_after: result.retry_after.map(whole_secs),
    }
}

/// What the organisation may still have (draft-ietf-httpapi-ratelimit-headers-10).
fn limits(fields: &mut HeaderMap, quota: Quota) {
    let (mut policy, mut left) = (String::new(), String::new());
    for (name, allowance) in quota.allowances() {
        let comma = if policy.is_empty() { "" } else { ", " };
        policy.push_str(&format!("{comma}\"{name}\";q={}", allowance.limit));
        left.push_str(&format!("{comma}\"{name}\";r={};t={}", allowance.remaining, allowance.reset_secs));
    }
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            fields.insert(name, value);
        }
    }
}

fn full(full: Full) -> Problem {
    let second = Duration::from_secs(1);
    match full {
        Full::Account => Problem::later(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-at-once",
            "The account has 64 requests under way, which are the most: send several in one body.",
            second,
        ),
        Full::Organisation => Problem::later(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-at-once",
            "The organisation has 128 requests under way, which are the most: send several in one body.",
            second,
        ),
        Full::Server => Problem::later(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "This server has as many requests under way as it can.",
            second,
        ),
    }
}

fn unanswered() -> Problem {
    let detail =
        "The journal has not answered in time: whether the push was taken is not known. Repeat it under its id.";
    Problem::later(StatusCode::SERVICE_UNAVAILABLE, "unanswered", detail, COME_BACK)
}

fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, fields, body).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(id: Option<&str>) -> serde_json::Value {
        let mut value = json!({
            "identity": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "event": "message", "channel": "message",
            "to": { "provider": "apns", "app": "org.example.app", "token": "00fc13adff78512" },
            "sent": 1_000_000, "expires": 1_060_000, "registered": 5,
        });
        if let Some(id) = id {
            value["id"] = id.into();
        }
        value
    }

    #[test]
    fn what_has_no_id_gets_the_key_s_and_what_has_one_keeps_it() {
        let own = "01BX5ZZKBKACTAV9WEVGEMMVRZ";
        let key = || Key::read("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        let read = |body: serde_json::Value| read(body.to_string().into(), key());
        let (requests, body) = read(request(None)).unwrap();
        assert_eq!(requests[0].id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(read_body(&body).unwrap(), requests, "it is journaled with its id");
        let (requests, body) = read(request(Some(own))).unwrap();
        assert_eq!((requests[0].id.to_string(), &body[..]), (own.into(), request(Some(own)).to_string().as_bytes()));
        let (requests, _) = read(json!([request(Some(own)), request(None), request(None)])).unwrap();
        assert_eq!(requests[0].id.to_string(), own);
        assert_eq!((requests[1].id, requests[2].id), (key().id(1), key().id(2)));
        for bad in [json!(null), json!([]), json!([1]), json!({}), json!({ "id": 7 }), json!({ "id": null })] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_a_fault_also_where_the_id_is_left_out() {
        let key = || Key::read("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        for id in [None, Some("01BX5ZZKBKACTAV9WEVGEMMVRZ")] {
            let text = request(id).to_string().replacen('{', "{ \"event\": \"call\", ", 1);
            let read = read(text.clone().into(), key());
            assert!(matches!(read, Err(BodyFault::Json { .. })), "{text}: {read:?}");
        }
    }

    #[test]
    fn each_of_several_has_its_result_and_one_that_is_refused_alone_is_a_problem() {
        let ids = [PushId::from_u128(1), PushId::from_u128(2)];
        let refused = PushResult {
            taken: Taken::Refused(reveille_core::Reason::Throttled),
            retry_after: Some(Duration::from_millis(200)),
        };
        let taken = PushResult::new(Taken::Journaled);
        let status = |ids: &[PushId], results: Vec<PushResult>, several| match answered(ids, Ok(results), several) {
            Ok(response) => response.status().as_u16(),
            Err(problem) => problem.into_response().status().as_u16(),
        };
        assert_eq!(status(&ids, vec![taken, PushResult::new(Taken::Duplicate)], true), 202);
        assert_eq!(status(&ids, vec![taken, refused], true), 207);
        assert_eq!(status(&ids[..1], vec![refused], true), 207, "an array of one is answered by one");
        assert_eq!(status(&ids[..1], vec![refused], false), 429);
        for (millis, secs) in [(200, 1), (1001, 2)] {
            let refused = PushResult { retry_after: Some(Duration::from_millis(millis)), ..refused };
            assert_eq!(
                serde_json::to_value(outcome(ids[0], &refused)).unwrap()["retry_after"],
                secs,
                "never too early"
            );
        }
        for (refusal, expected) in [(Refusal::Overloaded, 503), (Refusal::StoreFull, 503)] {
            let response = answered(&ids, Err(refusal), true).unwrap_err().into_response();
            assert_eq!(
                (response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()),
                (expected, "5")
            );
        }
    }
}
