//! The control API: HTTP/1.1 with JSON on loopback, for curl, scripts and tests in any language.
//!
//! `GET /` lists the verbs. There is no password: whoever can reach the port may steer the simulators, so it belongs
//! on loopback, and requests that name another host (DNS rebinding) or come from a web page elsewhere are refused.

mod levers;
mod local;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query as UrlQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::levers::Levers;
use crate::apns::{ApnsControls, GoAway};
use crate::fcm::FcmControls;
use crate::line::Outage;
use crate::recorder::Query;
use crate::script::Times;

/// What is steered; what is absent has no verbs.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    pub apns: Option<ApnsControls>,
    pub fcm: Option<FcmControls>,
}

/// A running control API. Dropping it stops it; [`Control::shutdown`] also waits for its task.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Control {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends waiting requests and the listener.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // Its only failures are those of the listener, which is going away.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves the control API on `listener`, which should be bound to loopback.
pub fn serve(listener: TcpListener, controls: Controls) -> io::Result<Control> {
    let addr = listener.local_addr()?;
    let stop = CancellationToken::new();
    let mut router = Router::new().route("/", get(|| async { ([(CONTENT_TYPE, "text/plain; charset=utf-8")], VERBS) }));
    if let Some(apns) = controls.apns {
        let own = Router::new().route("/goaway", post(go_away)).with_state(apns.clone());
        router = router.nest("/apns", verbs(apns, stop.clone()).merge(own));
    }
    if let Some(fcm) = controls.fcm {
        let own = Router::new().route("/expire-tokens", post(expire_tokens)).with_state(fcm.clone());
        router = router.nest("/fcm", verbs(fcm, stop.clone()).merge(own));
    }
    let router = router
        .fallback(|| async { Complaint::new(StatusCode::NOT_FOUND, "there is no such verb; GET / lists them") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(local::only));
    let stopped = stop.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned());
    Ok(Control { addr, stop, task: tokio::spawn(serving.into_future()) })
}

const VERBS: &str = "\
Reveille's provider simulators. {p} is apns or fcm; bodies and answers are JSON.

POST   /{p}/script          {\"token\": T, \"answers\": [...], \"times\": N}   T absent: any token; N absent: once, 0: always
                            apns answer: {\"status\", \"reason\", \"timestamp\", \"hold\", \"do\": answer|close|refuse|goaway, \"delivered\"}
                            fcm answer:  {\"code\", \"status\", \"retry_after\", \"hold\", \"do\": answer|close, \"delivered\"}
                            fcm token /token: the OAuth endpoint
DELETE /{p}/scripts         forget all scripts
POST   /{p}/hold            answers wait from now on
POST   /{p}/release         give the answers that wait
POST   /{p}/down            {\"how\": \"drop\" or \"refuse\"}   close all connections, take none
POST   /{p}/up              take connections again
GET    /{p}/log             ?after=SEQ&token=T&limit=N&delivered=true
GET    /{p}/wait            ?after=SEQ&token=T&timeout_ms=N&delivered=true   until such a push arrives
GET    /{p}/count           how many there were
POST   /apns/goaway         {\"reason\", \"last_stream\", \"after_requests\"}
POST   /fcm/expire-tokens   make every access token invalid
";

/// What every simulator has.
fn verbs<L: Levers>(levers: L, stop: CancellationToken) -> Router {
    Router::new()
        .route("/script", post(script::<L>))
        .route(
            "/scripts",
            delete(|State(desk): State<Desk<L>>| async move {
                desk.levers.clear_scripts();
                done()
            }),
        )
        .route(
            "/hold",
            post(|State(desk): State<Desk<L>>| async move {
                desk.levers.hold();
                done()
            }),
        )
        .route(
            "/release",
            post(|State(desk): State<Desk<L>>| async move {
                desk.levers.release();
                done()
            }),
        )
        .route("/down", post(down::<L>))
        .route(
            "/up",
            post(|State(desk): State<Desk<L>>| async move {
                desk.levers.up().await;
                done()
            }),
        )
        .route("/log", get(log::<L>))
        .route("/wait", get(wait::<L>))
        .route("/count", get(|State(desk): State<Desk<L>>| async move { Json(desk.levers.recorder().counts()) }))
        .with_state(Desk { levers, stop })
}

#[derive(Clone)]
struct Desk<L> {
    levers: L,
    stop: CancellationToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script<A> {
    token: Option<String>,
    answers: Vec<A>,
    times: Option<u32>,
}

async fn script<L: Levers>(State(desk): State<Desk<L>>, body: Bytes) -> Result<Json<Value>, Complaint> {
    let script: Script<L::Answer> = read(&body)?;
    if script.answers.is_empty() {
        return Err(Complaint::bad("a script needs at least one answer"));
    }
    let times = match script.times {
        None => Times::Exactly(1),
        Some(0) => Times::Always,
        Some(times) => Times::Exactly(times),
    };
    desk.levers
        .script(script.token.as_deref(), script.answers, times)
        .map_err(|full| Complaint::new(StatusCode::TOO_MANY_REQUESTS, &full.to_string()))?;
    Ok(done())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Down {
    how: Option<Outage>,
}

async fn down<L: Levers>(State(desk): State<Desk<L>>, body: Bytes) -> Result<Json<Value>, Complaint> {
    let down: Down = if body.is_empty() { Down::default() } else { read(&body)? };
    desk.levers.down(down.how.unwrap_or(Outage::Drop)).await;
    Ok(done())
}

async fn go_away(State(apns): State<ApnsControls>, body: Bytes) -> Result<Json<Value>, Complaint> {
    let order: GoAway = if body.is_empty() { GoAway::default() } else { read(&body)? };
    if order.after_requests == Some(0) {
        return Err(Complaint::bad("after_requests counts from 1; leave it out for GOAWAY at once"));
    }
    apns.go_away(order);
    Ok(done())
}

async fn expire_tokens(State(fcm): State<FcmControls>) -> Json<Value> {
    fcm.expire_tokens();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    after: u64,
    token: Option<String>,
    #[serde(default)]
    delivered: bool,
    limit: Option<usize>,
    timeout_ms: Option<u64>,
}

impl Which {
    fn query(&self) -> Query<'_> {
        Query { after: self.after, token: self.token.as_deref(), delivered: self.delivered }
    }
}

type Asked = Result<UrlQuery<Which>, axum::extract::rejection::QueryRejection>;

async fn log<L: Levers>(State(desk): State<Desk<L>>, which: Asked) -> Result<Json<Value>, Complaint> {
    let UrlQuery(which) = which.map_err(|wrong| Complaint::bad(&wrong.body_text()))?;
    let limit = which.limit.unwrap_or(100).min(LOG_ENTRIES_MAX);
    let recorder = desk.levers.recorder();
    let latest = recorder.latest();
    Ok(Json(json!({ "latest": latest, "entries": recorder.entries(which.query(), limit) })))
}

async fn wait<L: Levers>(State(desk): State<Desk<L>>, which: Asked) -> Result<Json<Value>, Complaint> {
    let UrlQuery(which) = which.map_err(|wrong| Complaint::bad(&wrong.body_text()))?;
    let patience_ms = which.timeout_ms.unwrap_or(WAIT_MS).min(WAIT_MS_MAX);
    let arrival = timeout(Duration::from_millis(patience_ms), desk.levers.recorder().wait(which.query()));
    match desk.stop.run_until_cancelled(arrival).await {
        Some(Ok(entry)) => Ok(Json(json!(entry))),
        Some(Err(_)) => {
            let sentence = format!("no such push arrived within {patience_ms} ms");
            Err(Complaint::new(StatusCode::REQUEST_TIMEOUT, &sentence))
        }
        None => Err(Complaint::new(StatusCode::SERVICE_UNAVAILABLE, "the simulator is being stopped")),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Complaint> {
    serde_json::from_slice(body).map_err(|wrong| Complaint::bad(&format!("the body does not fit this verb: {wrong}")))
}

/// The answer of a verb that has nothing to tell.
fn done() -> Json<Value> {
    Json(json!({}))
}

/// An error as JSON with a sentence.
#[derive(Debug)]
struct Complaint {
    status: StatusCode,
    sentence: String,
}

impl Complaint {
    fn new(status: StatusCode, sentence: &str) -> Self {
        Self { status, sentence: sentence.to_owned() }
    }

    fn bad(sentence: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }
}

impl IntoResponse for Complaint {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.sentence }))).into_response()
    }
}

const BODY_BYTES_MAX: usize = 1 << 20;
const LOG_ENTRIES_MAX: usize = 10_000;
const WAIT_MS: u64 = 30_000;
const WAIT_MS_MAX: u64 = 600_000;
