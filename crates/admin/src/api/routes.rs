//! The requests and what each does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use reveille_store::Account;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{ANSWER_MAX, Answer};
use super::line::Line;
use super::problem::Problem;
use super::seats::QUEUE_MAX;
use super::{Api, Peer, door, not_admitted, openapi};
use crate::accounts::{self, NotAdmitted};
use crate::audit;
use crate::call::Caller;
use crate::cmdlets::CMDLETS;
use crate::desk::Desk;
use crate::run::{run, with_what_if};
use crate::value::Object;

impl Api {
    /// The requests of one connection.
    pub(super) fn router(self: &Arc<Self>, line: Line) -> Router {
        Router::new()
            .route("/admin/v1/cmdlets", get(catalogue))
            .route("/admin/v1/cmdlets/{name}", post(cmdlet))
            .route("/admin/v1/me", get(me))
            .route("/admin/v1/openapi.json", get(document))
            .route("/admin/v1/session", post(sign_in).delete(sign_out))
            .fallback(async || {
                Problem::new(404, "NotFound", "There is nothing here. GET /admin/v1/openapi.json lists what there is.")
            })
            .method_not_allowed_fallback(async || Problem::new(405, "BadMethod", "This is not done with that method."))
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard))
            .layer(Extension(line))
            .with_state(Arc::clone(self))
    }
}

/// What holds for every request: whom it is for, where it comes from; and that no answer is kept by anybody.
async fn guard(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
    next: Next,
) -> Response {
    line.begins();
    let mut response = match door::check(&request, line.peer(), &api.names) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Whoever has not shown who he is has one request for it: seats are for administrators.
    if !line.is_known() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `{"parameters":{…},"whatIf":…}`
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Ask {
    parameters: Object,
    what_if: bool,
    /// Taken for programs that send it: what was done step by step is in every answer.
    #[allow(dead_code, reason = "it is part of the documented request, and changes nothing")]
    verbose: bool,
}

async fn cmdlet(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller_of(&api, &line, request.headers()).await?;
    let sent = whole(request).await?;
    let seat = api.seats.take(&caller.name).await.map_err(|full| Problem::busy(&full.to_string()))?;
    // A task of its own: when whoever asked goes away, what was begun is finished and written down all the same. The seat
    // goes with it, so that nobody has more running by going away, and then with the answer.
    let desk = Arc::clone(&api.desk);
    let running = api.tasks.track_future(async move { (answer(&name, &sent, &caller, &desk).await, seat) });
    match api.room.lend(&api.home, running).await {
        Ok((answer, seat)) => {
            let body = Body::new(Answer::new(answer?, line, seat));
            Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
        }
        Err(error) => {
            tracing::error!(%error, "a cmdlet has ended without an answer");
            Err(Problem::new(500, "Ended", "The cmdlet has ended without an answer. The server's log says more."))
        }
    }
}

/// Everything about a cmdlet that may take long, from the text of the request to the text of the answer.
async fn answer(name: &str, sent: &[u8], caller: &Caller, desk: &Desk) -> Result<Vec<u8>, Problem> {
    let ask: Ask = read(sent)?;
    let outcome = run(name, &with_what_if(ask.parameters, ask.what_if), caller, desk).await?;
    let text = serde_json::to_vec(&outcome).map_err(|error| {
        tracing::error!(%error, admin.cmdlet = name, "what a cmdlet gave is no JSON");
        Problem::new(500, "Ended", "The cmdlet has done its work, and its answer cannot be written.")
    })?;
    within(text, ANSWER_MAX)
}

fn within(text: Vec<u8>, most: usize) -> Result<Vec<u8>, Problem> {
    if text.len() <= most {
        return Ok(text);
    }
    let (has, most) = (text.len(), most >> 20);
    let why = format!(
        "What was found is an answer of {has} bytes, and the most is {most} MiB. -Identity, -Filter or -First, where the \
         cmdlet has them, ask for less."
    );
    Err(Problem::new(422, "AnswerTooLarge", why))
}

async fn catalogue(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller_of(&api, &line, request.headers()).await?;
    let mine = CMDLETS.iter().map(|cmdlet| cmdlet.about()).filter(|about| caller.rights.has(about.name));
    Ok(Json(mine.map(openapi::about).collect::<Vec<_>>()).into_response())
}

async fn me(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller_of(&api, &line, request.headers()).await?;
    let roles = caller.rights.grants().map(|grant| {
        json!({
            "role": &*grant.role,
            "cmdlets": grant.cmdlets.len(),
            "config": grant.config.to_string(),
            "users": grant.users.to_string(),
        })
    });
    let me = json!({
        "name": caller.name,
        "from": caller.from,
        "roles": roles.collect::<Vec<_>>(),
        "sites": api.desk.sites,
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(Json(me).into_response())
}

async fn document(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Result<Response, Problem> {
    caller_of(&api, &line, request.headers()).await?;
    Ok(Json(openapi::document()).into_response())
}

/// `{"account":…,"password":…}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    account: String,
    password: String,
}

async fn sign_in(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Result<Response, Problem> {
    let Peer::Remote { address, .. } = line.peer() else {
        return Err(Problem::new(400, "NoSession", "Over the socket nobody signs in: the system says who is calling."));
    };
    // Before the body is read, and before a password is hashed: both are work.
    if let Some(wait) = api.throttle.wait_of(None, address) {
        return Err(Problem::too_many(wait));
    }
    let SignIn { account, password } = read(&whole(request).await?)?;
    let wait = tokio::time::timeout(QUEUE_MAX, Arc::clone(&api.hashing).acquire_owned()).await;
    let Ok(Ok(seat)) = wait else { return Err(Problem::busy("As many sign-ins are being checked as can be at once.")) };
    // Within the seat, so that many tries at once are not all let through before the first has failed.
    if let Some(wait) = api.throttle.wait_to_sign_in(&account, address) {
        return Err(Problem::too_many(wait));
    }
    // A task of its own: a wrong guess is counted also where whoever made it has gone away meanwhile, since he would else
    // have passwords hashed for as long as he likes.
    let checking = api.tasks.spawn(check_guess(Arc::clone(&api), account, password, address, seat));
    let known = checking.await.map_err(|_| Problem::new(500, "Ended", "The sign-in could not be checked."))??;
    let from = address.to_string();
    let opened = accounts::open_session(&known, &from, &api.desk).await;
    let (issued, expires) = opened.map_err(|why| not_admitted(address, &why))?;
    let caller = Caller { name: known.name, from, ..Caller::default() };
    audit::passed(&caller, "sign-in", &api.desk).await;
    line.knows();
    Ok(Json(json!({ "token": issued.text, "expires": expires.to_string() })).into_response())
}

/// The account that a password is right for. The seat is held until a wrong one has been counted.
async fn check_guess(
    api: Arc<Api>,
    account: String,
    password: String,
    address: IpAddr,
    seat: OwnedSemaphorePermit,
) -> Result<Account, Problem> {
    let (desk, name) = (Arc::clone(&api.desk), account.clone());
    let checking = tokio::task::spawn_blocking(move || accounts::check_sign_in(&name, &password, &desk));
    let checked = checking.await.map_err(|_| Problem::new(500, "Ended", "The sign-in could not be checked."))?;
    let why = match checked {
        Ok(known) => {
            drop(seat);
            api.throttle.signed_in(&account).await;
            return Ok(known);
        }
        Err(why) => why,
    };
    let problem = not_admitted(address, &why);
    // Not when the file of accounts could not be read: then nobody has guessed wrong.
    if !matches!(why, NotAdmitted::Store(_)) {
        api.throttle.failed_to_sign_in(&account, address).await;
    }
    drop(seat);
    // A name that is no account's may be a password in the wrong field.
    let exists = api.desk.accounts.account(&account).is_ok_and(|found| found.is_some());
    let name = if exists { account.to_ascii_lowercase() } else { "(unknown)".into() };
    let nobody = Caller { name, from: address.to_string(), ..Caller::default() };
    audit::refused(&nobody, "sign-in", &Object::default(), &why.to_string(), &api.desk).await;
    Err(problem)
}

async fn sign_out(
    State(api): State<Arc<Api>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller_of(&api, &line, request.headers()).await?;
    let presented = door::bearer(request.headers())?.and_then(accounts::parse);
    let Some(session) = presented.filter(|it| it.kind == reveille_store::PassKind::Session) else {
        return Err(Problem::new(400, "NoSession", "This is no session. Remove-CsAdminToken revokes a token."));
    };
    let id = session.id.to_owned();
    let removed = reveille_store::wait(|done| api.desk.accounts.remove_pass(&id, done)).await;
    removed.map_err(|error| Problem::from(crate::cmdlets::unavailable(error)))?;
    audit::passed(&caller, "sign-out", &api.desk).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn caller_of(api: &Api, line: &Line, headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = api.caller(line.peer(), door::bearer(headers)?).await?;
    line.knows();
    Ok(caller)
}

/// All of the body.
async fn whole(request: Request) -> Result<Bytes, Problem> {
    let read = to_bytes(request.into_body(), BODY_MAX);
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(413, "TooLarge", format!("What is sent here is at most {BODY_MAX} bytes."))),
        Err(_) => Err(Problem::new(408, "TooSlow", "The request did not come to its end in time.")),
    }
}

/// A body as what it should be; an empty one is `{}`.
fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|error| {
        // The sentence may quote what was sent, so only the place is told.
        let (line, column) = (error.line(), error.column());
        Problem::new(400, "BadJson", format!("The body is not what is expected here, at line {line}, column {column}."))
    })
}

/// The largest body.
const BODY_MAX: usize = 256 * 1024;
const BODY_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_is_a_sentence_instead() {
        assert!(within(vec![b'x'; 2 << 20], 2 << 20).is_ok_and(|text| text.len() == 2 << 20));
        assert_eq!(within(vec![b'x'; (2 << 20) + 1], 2 << 20).unwrap_err().status, 422);
    }
}
