//! What apps ask of home over HTTP. For now one thing: a test device says that a test push has woken it.
//!
//! In the clear, for a reverse proxy with TLS in front. Errors are problem details (RFC 9457).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use reveille_core::PushId;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::Desk;
use crate::probe::Acknowledged;

/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 256;
/// How long a request's header may take.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection lives, with all that is asked on it.
const LIFE: Duration = Duration::from_secs(60);
/// The largest body, in bytes.
const BODY_MAX: usize = 4096;

/// Answers until `stop`, then waits for the conversations under way, each of which is bounded in time.
pub async fn serve(listener: TcpListener, desk: Desk, stop: CancellationToken) {
    let app = router(desk);
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let conversations = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, seat) = match accepted {
            Ok((stream, _)) => (stream, Arc::clone(&seats).try_acquire_owned()),
            Err(reason) => {
                tracing::warn!(%reason, "home.api cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(seat) = seat else { continue };
        let (app, stop) = (app.clone(), stop.clone());
        conversations.spawn(async move {
            converse(stream, app, &stop).await;
            drop(seat);
        });
    }
    conversations.close();
    conversations.wait().await;
}

async fn converse(stream: TcpStream, app: Router, stop: &CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(16 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let talk = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    };
    // What a client does wrong is the client's business.
    if let Ok(Err(fault)) = timeout(LIFE, talk).await {
        tracing::debug!(%fault, "a conversation with an app has ended");
    }
}

fn router(desk: Desk) -> Router {
    Router::new()
        .route("/mobility/v1/ack", post(acknowledge))
        .fallback(async || problem(StatusCode::NOT_FOUND, "not-found", "there is nothing of that name"))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(desk)
}

/// What a device says: `reveille.push` and `reveille.sealed` of the test push that it got.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    push: PushId,
    code: String,
}

async fn acknowledge(State(desk): State<Desk>, body: Result<Json<Acknowledgement>, JsonRejection>) -> Response {
    let said = match body {
        Ok(Json(said)) => said,
        Err(fault) => return problem(fault.status(), "bad-body", &fault.body_text()),
    };
    match desk.acknowledge(said.push, &said.code) {
        Acknowledged::Taken => {
            tracing::debug!(push.id = %said.push, "acknowledged by the test device");
            StatusCode::NO_CONTENT.into_response()
        }
        // The same for a wrong code and for no such push: nobody finds out which of both it was.
        Acknowledged::Unknown => problem(StatusCode::NOT_FOUND, "no-such-probe", "no test waits for this"),
    }
}

fn problem(status: StatusCode, kind: &str, title: &str) -> Response {
    let body = serde_json::json!({
        "type": format!("urn:reveille:mobility:{kind}"),
        "title": title,
        "status": status.as_u16(),
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
