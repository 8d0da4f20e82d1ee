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
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use reveille_admin::{Failure, Object, Outcome, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use address::{Address, AddressError};
pub use error::RemoteError;
pub use tls::{RootsError, roots_of};

/// A server whose cmdlets can be run.
pub struct Remote {
    address: Address,
    tls: Option<Arc<rustls::ClientConfig>>,
    token: Option<Secret>,
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
            Address::Https { .. } => Some(Arc::new(tls::config(roots)?)),
        };
        Ok(Self { address, tls, token: None, live: None })
    }

    /// The same, sending that token along: an API token, or that of a session.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// Where it is.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a session with an account's password; from then on its token is sent along.
    pub async fn sign_in(&mut self, account: &str, password: &Secret) -> Result<(), RemoteError> {
        #[derive(Deserialize)]
        struct Opened {
            token: String,
        }
        let body = serde_json::json!({ "account": account, "password": password.expose() });
        let opened: Opened = self.ask(Method::POST, "/admin/v1/session", Some(&body)).await?;
        self.token = Some(Secret::new(opened.token));
        Ok(())
    }

    /// Ends the session that was opened; the server forgets its token.
    pub async fn sign_out(&mut self) -> Result<(), RemoteError> {
        self.send(Method::DELETE, "/admin/v1/session", None).await?;
        self.token = None;
        Ok(())
    }

    /// Who the server takes us for.
    pub async fn me(&mut self) -> Result<Me, RemoteError> {
        self.ask(Method::GET, "/admin/v1/me", None).await
    }

    /// Runs a cmdlet with parameters in whole names.
    pub async fn run(&mut self, cmdlet: &str, parameters: &Object) -> Result<Outcome, Failure> {
        let body = serde_json::json!({ "parameters": parameters });
        let path = format!("/admin/v1/cmdlets/{cmdlet}");
        self.ask(Method::POST, &path, Some(&body)).await.map_err(Failure::from)
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, RemoteError> {
        let answer = self.send(method, path, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|_| RemoteError::NotOurs { address: self.address.to_string(), status: 200 })
    }

    /// The body of the answer, if it says that it went well.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Bytes, RemoteError> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut tries = 0;
        let response = loop {
            let request = self.request(&method, path, body.clone())?;
            let live = match self.live.take().filter(|live| !live.sender.is_closed()) {
                Some(live) => live,
                None => self.connect().await?,
            };
            let live = self.live.insert(live);
            match timeout(ANSWER, live.sender.send_request(request)).await {
                Err(_) => {
                    self.live = None;
                    return Err(RemoteError::NoAnswer { address: self.address.to_string(), seconds: ANSWER.as_secs() });
                }
                Ok(Ok(response)) => break response,
                Ok(Err(why)) => {
                    self.live = None;
                    // Canceled: the kept connection was closed before anything was written on it.
                    if why.is_canceled() && tries == 0 {
                        tries += 1;
                        continue;
                    }
                    return Err(RemoteError::Broken { address: self.address.to_string(), why: root_of(&why) });
                }
            }
        };
        let status = response.status();
        let body = timeout(ANSWER, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) => {
                self.live = None;
                return Err(RemoteError::Broken { address: self.address.to_string(), why: why.to_string() });
            }
            Err(_) => {
                self.live = None;
                return Err(RemoteError::NoAnswer { address: self.address.to_string(), seconds: ANSWER.as_secs() });
            }
        };
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, RemoteError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.host());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            // A header that is marked so is not shown by Debug either.
            let mut value = hyper::header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| RemoteError::TokenNotText)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(|_| RemoteError::NoSuchName { path: path.to_owned() })
    }

    async fn connect(&self) -> Result<Live, RemoteError> {
        let connecting = connect::open(&self.address, self.tls.as_ref());
        match timeout(CONNECT, connecting).await {
            Ok(opened) => opened,
            Err(_) => Err(RemoteError::NoConnection { address: self.address.to_string(), seconds: CONNECT.as_secs() }),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> RemoteError {
        match (serde_json::from_slice::<Failure>(body), status) {
            (Ok(failure), StatusCode::UNAUTHORIZED) => RemoteError::NotKnown {
                address: self.address.to_string(),
                said: failure.message,
                token: self.token.is_some(),
            },
            (Ok(failure), _) => RemoteError::Failed(Box::new(failure)),
            (Err(_), status) => RemoteError::NotOurs { address: self.address.to_string(), status: status.as_u16() },
        }
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
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests;
