//! One HTTP request to the simulator: the token endpoint and `messages:send`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{FcmAct, FcmAnswer, TOKEN_ENDPOINT};
use super::error::Refusal;
use super::message;
use super::push::{FcmOutcome, FcmPush};
use super::simulator::Shared;

/// The connection on which a request came.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) connection: u64,
    /// Ends the connection.
    pub(super) hang_up: CancellationToken,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/token", post(token))
        .route("/v1/projects/{project}/messages:send", post(send))
        .fallback(|| async { refuse(&Refusal::plain(404, "The requested URL was not found on this server.")) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if let Some(answer) = shared.scripts.next(TOKEN_ENDPOINT) {
        shared.hold.wait(answer.hold).await;
        if answer.act == FcmAct::Close {
            return hang_up(&peer).await;
        }
        if let Some(refusal) = answer.refusal() {
            return refuse(&refusal);
        }
    }
    let form =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !form {
        let told = json!({ "error": "invalid_request", "error_description": "The body is not a form." });
        return (StatusCode::BAD_REQUEST, Json(told)).into_response();
    }
    let accounts = shared.accounts.read().clone();
    match shared.grants.grant(&body, &accounts, shared.port(), shared.clock.unix_secs()) {
        Ok(granted) => Json(granted).into_response(),
        Err(bad) => (StatusCode::BAD_REQUEST, Json(bad.json())).into_response(),
    }
}

async fn send(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now_ms = shared.clock.unix_ms();
    let mut push = FcmPush {
        connection: peer.connection,
        project: project.as_str().into(),
        target: None,
        token: Box::default(),
        priority: None,
        ttl: None,
        collapse_key: None,
        message: Value::Null,
        outcome: FcmOutcome::Held,
    };
    let checked = authorize(&shared, &headers, &project, now_ms / 1000).and_then(|()| message::check(&body));
    let checked = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            push.outcome = refused(&refusal);
            shared.recorder.append(now_ms, push);
            return refuse(&refusal);
        }
    };
    push.target = Some(checked.target);
    push.token = checked.token;
    push.priority = checked.priority;
    push.ttl = checked.ttl;
    push.collapse_key = checked.collapse_key;
    push.message = checked.message;
    let answer = shared.scripts.next(&push.token).unwrap_or_default();
    let seq = if shared.hold.is_on() || answer.hold {
        let seq = shared.recorder.append(now_ms, push.clone());
        let mut held = Held { shared: Arc::clone(&shared), push: Some((seq, push.clone())) };
        shared.hold.wait(answer.hold).await;
        held.push = None;
        Some(seq)
    } else {
        None
    };
    let (outcome, response) = answer_with(&answer, &project, checked.validate_only);
    push.outcome = outcome;
    match seq {
        Some(seq) => shared.recorder.settle(seq, push),
        None => {
            shared.recorder.append(now_ms, push);
        }
    }
    match response {
        Some(response) => response,
        None => hang_up(&peer).await,
    }
}

/// A message whose answer waits. When the connection ends meanwhile, this is dropped and the entry says so.
struct Held {
    shared: Arc<Shared>,
    push: Option<(u64, FcmPush)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((seq, push)) = self.push.take() {
            self.shared.recorder.settle(seq, FcmPush { outcome: FcmOutcome::Abandoned, ..push });
        }
    }
}

fn authorize(shared: &Shared, headers: &HeaderMap, project: &str, now_secs: u64) -> Result<(), Refusal> {
    let missing = || {
        Refusal::plain(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
             valid authentication credential.",
        )
    };
    let field = headers.get(AUTHORIZATION).and_then(|field| field.to_str().ok()).ok_or_else(missing)?;
    // RFC 9110 §11.1: the scheme's case does not matter.
    let (scheme, token) = field.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let granted = shared.grants.project_of(token, now_secs).ok_or_else(missing)?;
    if *granted != *project {
        let message = format!("Permission 'cloudmessaging.messages.create' denied on resource 'projects/{project}'.");
        return Err(Refusal::plain(403, &message));
    }
    Ok(())
}

/// What becomes of a message, and the answer; no answer is a closed connection.
fn answer_with(answer: &FcmAnswer, project: &str, validate_only: bool) -> (FcmOutcome, Option<Response>) {
    if answer.act == FcmAct::Close {
        return (FcmOutcome::Closed { delivered: answer.delivered }, None);
    }
    if let Some(refusal) = answer.refusal() {
        return (refused(&refusal), Some(refuse(&refusal)));
    }
    if validate_only {
        let name = format!("projects/{project}/messages/fake_message_id");
        return (FcmOutcome::Validated { status: 200 }, Some(Json(json!({ "name": name })).into_response()));
    }
    let name = format!("projects/{project}/messages/0:{:016x}", rand::random::<u64>());
    let response = Json(json!({ "name": name })).into_response();
    (FcmOutcome::Accepted { status: 200, name: name.into() }, Some(response))
}

fn refused(refusal: &Refusal) -> FcmOutcome {
    FcmOutcome::Refused { status: refusal.status, code: refusal.code.as_deref().map(Box::from) }
}

fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(refusal.json())).into_response();
    if let Some(secs) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    }
    response
}

/// Ends the connection; never returns, for the connection's task is dropped.
async fn hang_up(peer: &Peer) -> Response {
    peer.hang_up.cancel();
    std::future::pending().await
}

const BODY_BYTES_MAX: usize = 256 << 10;
