//! The Push REST service: push requests over HTTPS, from machine accounts of organisations that have no edge.
//!
//! The body, intake and rules are those of federation; an account speaks for exactly one organisation, which passes the
//! same lists (`reveille_federation::policy`). Nothing is kept about accounts here: each request asks the settings, so
//! that what is revoked is gone with the next one.

mod account;
mod assertion;
mod body;
mod door;
mod form;
mod guesses;
mod idempotency;
mod oauth;
mod openapi;
mod presence;
mod problem;
mod push;
mod seats;
mod token;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use reveille_core::settings::Snapshot;
use reveille_core::{Clock, SipDomain};
use reveille_store::Journal;
use tokio::sync::watch;

use self::account::Caller;
use self::assertion::Used;
use self::guesses::Guesses;
use self::presence::Presence;
use self::problem::Problem;
use self::seats::Seats;
use self::token::Seal;
use crate::handle::Handles;
use crate::intake::Intake;

pub use door::PROTOCOLS;
pub use openapi::document;

/// What the service is called, and what it gives.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it is reached, such as `https://push.example.net`: the issuer of its tokens (RFC 8414 §2).
    pub issuer: String,
    /// The publisher's domain, in whose name feedback on these pushes goes home.
    pub domain: SipDomain,
    /// How long an access token is good.
    pub token_life: Duration,
    /// The public key that webhooks are signed with, as Standard Webhooks writes it.
    pub webhook_key: String,
}

/// The Push REST service of one clearing house.
pub struct Rest {
    intake: Arc<Intake>,
    journal: Arc<dyn Journal>,
    settings: watch::Receiver<Arc<Snapshot>>,
    handles: Arc<Handles>,
    clock: Arc<dyn Clock>,
    site: Site,
    seal: Seal,
    used: Used,
    guesses: Guesses,
    seats: Seats,
    /// The OpenAPI document: making it takes a thousand times what sending it does.
    described: Bytes,
}

impl Rest {
    /// A service in front of that intake. Its access tokens, and its memory of used assertions, begin with it.
    pub fn new(
        site: Site,
        intake: Arc<Intake>,
        journal: Arc<dyn Journal>,
        settings: watch::Receiver<Arc<Snapshot>>,
        handles: Arc<Handles>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let used = Used::new(clock.now());
        let mut described = document();
        described["servers"] = serde_json::json!([{ "url": site.issuer }]);
        Arc::new(Self {
            intake,
            journal,
            settings,
            handles,
            clock,
            site,
            seal: Seal::new(),
            used,
            guesses: Guesses::default(),
            seats: Seats::default(),
            described: described.to_string().into(),
        })
    }

    /// What answers the requests of one connection.
    fn router(self: &Arc<Self>, caller: Caller) -> Router {
        Router::new()
            .route("/v1/push", post(push::send))
            .route("/v1/push/{id}", get(push::trace))
            .route("/oauth2/token", post(oauth::token))
            .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
            .route("/.well-known/reveille-handle-keys", get(handle_keys))
            .route("/.well-known/reveille-webhook-keys", get(webhook_keys))
            .route("/openapi.json", get(described))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing of that name."))
            .method_not_allowed_fallback(async || {
                let detail = "What has that name is not asked for like this.";
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
            })
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&caller.presence), counted))
            .layer(axum::Extension(caller))
            .with_state(Arc::clone(self))
    }
}

/// Each request's time, so that a connection is idle only when it has none.
async fn counted(State(presence): State<Arc<Presence>>, request: Request, next: Next) -> Response {
    let _busy = presence.busy();
    next.run(request).await
}

/// `GET /.well-known/reveille-handle-keys`: what apps seal their tokens with.
async fn handle_keys(State(rest): State<Arc<Rest>>) -> Response {
    let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (fields, rest.handles.published()).into_response()
}

/// `GET /.well-known/reveille-webhook-keys`: what feedback to webhooks is signed with.
async fn webhook_keys(State(rest): State<Arc<Rest>>) -> Response {
    let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (fields, serde_json::json!({ "keys": [rest.site.webhook_key] }).to_string()).into_response()
}

/// `GET /openapi.json`
async fn described(State(rest): State<Arc<Rest>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], rest.described.clone()).into_response()
}
