//! The client of the admin API: a server on this machine by its socket, or another by `https://`.
//!
//! Each cmdlet is one request, `POST /admin/v1/cmdlets/NAME`. The connection is kept between them. A request is sent
//! again only if it provably was not sent: what changes something is never done twice.

mod address;
mod connect;
mod error;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, StatusCode};
use reveille_admin::cmdlet::Name;
use reveille_admin::{Failure, Object, Outcome, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::host::{Host, Invocation};

pub use address::{Address, AddressError};
pub use error::{RemoteError, Shown};
pub use tls::{Identity, IdentityError, RootsError, identity_of, roots_of};

/// A server whose cmdlets can be run.
pub struct Remote {
    address: Address,
    tls: Option<Arc<rustls::ClientConfig>>,
    // One request after the other: a person and a pipeline wait for each answer anyway.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Secret>,
    shown: Shown,
    live: Option<Live>,
}

/// A connection that stands.
struct Live {
    sender: SendRequest<Full<Bytes>>,
    // Moves the bytes; ends with the connection and at the latest when this is dropped.
    _driver: JoinSet<()>,
}

/// Who the server takes us for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Me {
    /// The name that changes are recorded under.
    pub name: String,
}

impl Remote {
    /// The server at that address; no connection is made yet. Over TLS its certificate must lead to one of `roots`, or
    /// else to one that this machine trusts.
    pub fn new(address: Address, roots: Option<rustls::RootCertStore>) -> Result<Self, RemoteError> {
        let tls = match &address {
            Address::Socket(_) => None,
            Address::Https { .. } => Some(Arc::new(tls::config(roots, None)?)),
        };
        Ok(Self { address, tls, state: Mutex::default() })
    }

    /// The same, where our certificate shows who we are.
    pub fn with_identity(
        address: Address,
        roots: Option<rustls::RootCertStore>,
        identity: Identity,
    ) -> Result<Self, RemoteError> {
        let tls = Some(Arc::new(tls::config(roots, Some(identity))?));
        let state = State { shown: Shown::Certificate, ..State::default() };
        Ok(Self { address, tls, state: Mutex::new(state) })
    }

    /// The same, sending that token along: an API token, or that of a session.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        let state = self.state.get_mut();
        (state.token, state.shown) = (Some(token), Shown::Token);
        self
    }

    /// Where it is.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a session with an account's password; from then on its token is sent along.
    pub async fn sign_in(&self, account: &str, password: &Secret) -> Result<(), RemoteError> {
        #[derive(Deserialize)]
        struct Opened {
            token: String,
        }
        let body = serde_json::json!({ "account": account, "password": password.expose() });
        self.state.lock().await.shown = Shown::Password;
        let opened: Opened = self.ask(Method::POST, "/admin/v1/session", Some(&body)).await?;
        let mut state = self.state.lock().await;
        (state.token, state.shown) = (Some(Secret::new(opened.token)), Shown::Session);
        Ok(())
    }

    /// Ends the session that was opened; the server forgets its token.
    pub async fn sign_out(&self) -> Result<(), RemoteError> {
        let answered = self.send(Method::DELETE, "/admin/v1/session", None).await?;
        self.well(answered)?;
        let mut state = self.state.lock().await;
        (state.token, state.shown) = (None, Shown::Nothing);
        Ok(())
    }

    /// Who the server takes us for.
    pub async fn me(&self) -> Result<Me, RemoteError> {
        self.ask(Method::GET, "/admin/v1/me", None).await
    }

    /// Runs a cmdlet with parameters in whole names.
    pub async fn run(&self, cmdlet: &str, parameters: &Object) -> Result<Outcome, Failure> {
        let body = serde_json::json!({ "parameters": parameters });
        let path = format!("/admin/v1/cmdlets/{cmdlet}");
        let mut waited = Duration::ZERO;
        loop {
            let answered = self.send(Method::POST, &path, Some(&body)).await?;
            match answered.later {
                // Who says when to come again has done nothing (RFC 9110 §10.2.3), so that it can be asked again.
                Some(later) if waited + later <= PATIENCE => {
                    tokio::time::sleep(later).await;
                    waited += later;
                }
                _ => return self.read(answered).map_err(Failure::from),
            }
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, RemoteError> {
        let answered = self.send(method, path, body).await?;
        self.read(answered)
    }

    /// What an answer says, if it says that it went well.
    fn read<T: DeserializeOwned>(&self, answered: Answered) -> Result<T, RemoteError> {
        let body = self.well(answered)?;
        serde_json::from_slice(&body)
            .map_err(|_| RemoteError::NotOurs { address: self.address.to_string(), status: 200 })
    }

    fn well(&self, answered: Answered) -> Result<Bytes, RemoteError> {
        let Answered { status, body, shown, .. } = answered;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body, shown)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Answered, RemoteError> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut state = self.state.lock().await;
        let kept = state.live.take().filter(|live| !live.sender.is_closed());
        let fresh = kept.is_none();
        let mut live = match kept {
            Some(live) => live,
            None => self.connect().await?,
        };
        let request = || self.request(&method, path, &body, state.token.as_ref());
        let mut outcome = self.exchange(&mut live, request()?).await;
        if let (Err(Exchange::NotSent), false) = (&outcome, fresh) {
            // It had been closed while it was quiet, before anything was written: no harm in trying again.
            live = self.connect().await?;
            outcome = self.exchange(&mut live, request()?).await;
        }
        let (status, later, body) = outcome.map_err(|why| self.broken(why))?;
        state.live = Some(live);
        Ok(Answered { status, later, body, shown: state.shown })
    }

    async fn exchange(
        &self,
        live: &mut Live,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<Duration>, Bytes), Exchange> {
        let exchange = async {
            let response = live.sender.send_request(request).await.map_err(|why| match why.is_canceled() {
                true => Exchange::NotSent,
                false => Exchange::Broken(root_of(&why)),
            })?;
            let status = response.status();
            let later = later(status, response.headers());
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, later, body.map_err(|why| Exchange::Broken(why.to_string()))?.to_bytes()))
        };
        timeout(ANSWER, exchange).await.unwrap_or(Err(Exchange::TooLate))
    }

    fn broken(&self, why: Exchange) -> RemoteError {
        let address = self.address.to_string();
        match why {
            Exchange::Broken(why) => RemoteError::Broken { address, why },
            Exchange::NotSent => RemoteError::NotReached { address, why: "it closed the connection at once".into() },
            Exchange::TooLate => RemoteError::NoAnswer { address, seconds: ANSWER.as_secs() },
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: &Bytes,
        token: Option<&Secret>,
    ) -> Result<Request<Full<Bytes>>, RemoteError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.host());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = token {
            // A header that is marked so is not shown by Debug either.
            let mut value = hyper::header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| RemoteError::TokenNotText)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body.clone())).map_err(|_| RemoteError::NoSuchName { path: path.to_owned() })
    }

    async fn connect(&self) -> Result<Live, RemoteError> {
        let connecting = connect::open(&self.address, self.tls.as_ref());
        match timeout(CONNECT, connecting).await {
            Ok(opened) => opened,
            Err(_) => Err(RemoteError::NoConnection { address: self.address.to_string(), seconds: CONNECT.as_secs() }),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8], shown: Shown) -> RemoteError {
        match (serde_json::from_slice::<Failure>(body), status) {
            (Ok(failure), StatusCode::UNAUTHORIZED) => {
                RemoteError::NotKnown { address: self.address.to_string(), said: failure.message, shown }
            }
            (Ok(failure), _) => RemoteError::Failed(Box::new(failure)),
            (Err(_), status) => RemoteError::NotOurs { address: self.address.to_string(), status: status.as_u16() },
        }
    }
}

/// What came back.
struct Answered {
    status: StatusCode,
    /// When to come again, where the server was too busy to begin.
    later: Option<Duration>,
    body: Bytes,
    shown: Shown,
}

/// RFC 6585 §4 and RFC 9110 §15.6.4: 429 and 503 may say when the server would take the request.
fn later(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Why there is no answer.
enum Exchange {
    Broken(String),
    NotSent,
    TooLate,
}

impl Host for Remote {
    fn invoke<'a>(&'a self, name: Name, parameters: &'a Object) -> Invocation<'a> {
        Box::pin(async move { self.run(&name.to_string(), parameters).await })
    }
}

/// The innermost cause, which is the one that says something.
fn root_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

const CONNECT: Duration = Duration::from_secs(10);
// A test walks a whole road, and each of its hops has a time of its own.
const ANSWER: Duration = Duration::from_secs(180);
/// How long a command waits in all for a server that is too busy to begin it.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests;
