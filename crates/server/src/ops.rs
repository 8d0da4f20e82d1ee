//! Health, readiness, metrics and status over HTTP, for the machine's own administrator: loopback only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reveille_clearinghouse::handle::Handles;
use reveille_clearinghouse::{Court, Dispatch};
use reveille_core::settings::Snapshot;
use reveille_edge::Edge;
use reveille_home::Desk;
use reveille_providers::Sender;
use reveille_sip_net::RefusedBy;
use reveille_store::SqliteJournal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Certificates, summary};
use crate::examiner::Examiner;
use crate::push_keys::PushKeys;
use crate::vitals::Vitals;

/// What status pages show of the roles that run here.
#[derive(Default)]
pub struct Status {
    pub(crate) desk: Option<Desk>,
    pub(crate) synthetic: Option<Arc<crate::ports::synthetic::OfHome>>,
    pub(crate) edge: Option<Arc<Edge>>,
    pub(crate) house: Option<House>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) settings: Option<watch::Receiver<Arc<Snapshot>>>,
    pub(crate) vitals: Vitals,
}

/// What status pages show of a clearing house.
pub(crate) struct House {
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) journal: Arc<SqliteJournal>,
    pub(crate) senders: Vec<Arc<Sender>>,
    /// The credentials of its apps.
    pub(crate) push_keys: Arc<PushKeys>,
    pub(crate) examiner: Arc<Examiner>,
    /// What is decided about tokens.
    pub(crate) court: Arc<Court>,
    /// The keys for sealed handles.
    pub(crate) handles: Arc<Handles>,
}

impl Status {
    /// Everything as one JSON value.
    pub fn as_json(&self) -> serde_json::Value {
        let usage = crate::process::usage();
        let mut all = serde_json::json!({
            "process": { "cpu_us": usage.cpu.as_micros() as u64, "peak_rss_bytes": usage.peak_rss_bytes },
        });
        if let Some(settings) = &self.settings {
            all["warnings"] = settings.borrow().warnings().into();
        }
        if let Some(certificates) = &self.certificates {
            all["certificates"] = certificates.as_json();
        }
        if let Some(edge) = &self.edge {
            let refusals: Vec<_> = edge
                .refusals()
                .into_iter()
                .map(|refused| {
                    serde_json::json!({
                        "at": refused.at.to_string(),
                        "times": refused.times,
                        "remote": refused.remote.to_string(),
                        "reason": refused.reason,
                        "sentence": refused.sentence,
                        "advice": refused.advice,
                        "refused_by": refused.refused_by.map(RefusedBy::as_str),
                        "certificate": refused.certificate.map(|it| summary(&it, None)),
                    })
                })
                .collect();
            all["edge"] = serde_json::json!({
                "in_flight": edge.in_flight(), "draining": edge.is_draining(), "refusals": refusals,
            });
        }
        if let Some(house) = &self.house {
            let (in_memory, spilled) = house.dispatch.load();
            let lanes: Vec<_> = house
                .senders
                .iter()
                .map(|sender| {
                    let health = sender.health();
                    serde_json::json!({ "lane": sender.lane().to_string(), "health": format!("{health:?}") })
                })
                .collect();
            all["clearinghouse"] =
                serde_json::json!({ "open_in_memory": in_memory, "more_on_disk": spilled, "lanes": lanes });
        }
        all
    }
}

/// How often what was measured is put into its place, also when nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process: there can be one only. Whoever counts takes its counters from there when it starts, so
/// it must be first.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok()).as_ref()
}

/// Answers until `stop`.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>, stop: CancellationToken) {
    let app = Router::new()
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(async |State(status): State<Arc<Status>>| Json(status.as_json())))
        .route("/status/users/{name}", get(user))
        .route("/edge/partners", get(partners))
        .layer(axum::middleware::from_fn(only_local_names))
        .with_state(status);
    let upkeep = async {
        while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            if let Some(recorder) = recorder() {
                recorder.run_upkeep();
            }
        }
    };
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    let (outcome, ()) = tokio::join!(serving, upkeep);
    if let Err(error) = outcome {
        tracing::error!(%error, "the ops listener has failed");
    }
}

/// A page of some web site that had its name point here would send that name (DNS rebinding).
async fn only_local_names(
    headers: HeaderMap,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match local {
        true => next.run(request).await,
        false => (StatusCode::FORBIDDEN, "this listener is for this machine only\n").into_response(),
    }
}

async fn metrics(State(status): State<Arc<Status>>) -> String {
    let usage = crate::process::usage();
    let own = format!(
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {}\n\
         # TYPE process_peak_resident_memory_bytes gauge\nprocess_peak_resident_memory_bytes {}\n",
        usage.cpu.as_secs_f64(),
        usage.peak_rss_bytes
    );
    let certificates = status.certificates.as_ref().map(|it| it.as_metrics()).unwrap_or_default();
    recorder().map(PrometheusHandle::render).unwrap_or_default() + &own + &certificates
}

/// Whether everything that was started still runs; else what does not, a line for each.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    match &status.vitals.ended()[..] {
        [] => "ready\n".into_response(),
        ended => (StatusCode::SERVICE_UNAVAILABLE, ended.join("\n") + "\n").into_response(),
    }
}

/// The border: each partner with its state, its figures and its last error.
async fn partners(State(status): State<Arc<Status>>) -> Response {
    match &status.edge {
        Some(edge) => Json(edge.border()).into_response(),
        None => (StatusCode::NOT_FOUND, "this server is no edge\n").into_response(),
    }
}

async fn user(State(status): State<Arc<Status>>, Path(name): Path<String>) -> Response {
    let Some(desk) = &status.desk else {
        return (StatusCode::NOT_FOUND, "this server is no home\n").into_response();
    };
    match desk.user(&name).await {
        Some(user) => Json(user).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no user \"{name}\" here\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip_net::{ListenLimits, Listener};

    use super::*;

    #[tokio::test]
    async fn a_server_is_ready_until_one_of_its_listeners_has_ended() {
        let at = ([127, 0, 0, 1], 0).into();
        let mut status = Status::default();
        let listener = status.vitals.doors.open("home.sip_udp", at, Listener::udp(at, ListenLimits::default()));
        let status = Arc::new(status);
        assert_eq!(ready(State(Arc::clone(&status))).await.status(), StatusCode::OK);
        drop(listener);
        let answer = ready(State(status)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.expect("a body");
        assert!(String::from_utf8_lossy(&body).starts_with("home.sip_udp does not listen on 127.0.0.1:"), "{body:?}");
    }
}
