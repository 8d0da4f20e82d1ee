//! A SIP phone: a user agent with a push identity that signs in, falls asleep, is woken, sends and receives messages.
//!
//! RFC 3261 §10 for REGISTER, RFC 3428 for MESSAGE, RFC 7616 and RFC 8760 for digests, RFC 8599 §4.1 for the push
//! parameters. It keeps one connection, opened anew at each sign-in as a phone's is; it never refreshes its binding by
//! itself, since the test that plays the operating system decides when the app runs.

mod binding;
mod draft;
mod ear;
mod error;
mod link;
mod proofs;
mod raw;
#[cfg(test)]
mod registrar;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_sip::auth::{Algorithm, Session};
use reveille_sip::{Message, Method, Name, call_id, tag};
use reveille_sip_net::{Flow, RequestError, Requests, TlsClient};

use binding::Wish;
use draft::{Draft, challenge};
use ear::Ear;
use link::Link;
use proofs::Proofs;

pub use binding::Registered;
pub use ear::Received;
pub use error::PhoneError;
pub use raw::{RawError, RawSip};

/// Who a phone is, and where it signs in.
#[derive(Clone)]
pub struct PhoneOptions {
    /// The user part of the address: `bob`.
    pub user: String,
    /// The organisation's domain.
    pub domain: String,
    /// For the digest; the user name is [`PhoneOptions::user`].
    pub password: String,
    /// Where REGISTER and everything else goes.
    pub registrar: SocketAddr,
    /// The TLS client and the name that the registrar must prove; `None` means plain TCP.
    pub tls: Option<(Arc<TlsClient>, String)>,
    /// What tells this device apart: `urn:uuid:…` (RFC 5626 §4.1).
    pub instance: String,
    /// URI parameters of the Contact, without a semicolon at either end:
    /// `pn-provider=apns;pn-param=TEAM.app.voip&remote;pn-prid=T1:voip&T2:remote`.
    pub push: Option<String>,
    /// What it calls itself.
    pub user_agent: String,
}

/// A phone. A clone is the same phone.
///
/// ```no_run
/// # async fn example() -> Result<(), reveille_sim::phone::PhoneError> {
/// use std::time::Duration;
/// use reveille_sim::phone::{Phone, PhoneOptions};
///
/// let bob = Phone::new(PhoneOptions {
///     user: "bob".into(),
///     domain: "contoso.com".into(),
///     password: "secret".into(),
///     registrar: ([127, 0, 0, 1], 5060).into(),
///     tls: None,
///     instance: "urn:uuid:00000000-0000-4000-8000-000000000001".into(),
///     push: Some("pn-provider=fcm;pn-param=project;pn-prid=token".into()),
///     user_agent: "Demo phone".into(),
/// });
/// bob.sign_in().await?;
/// bob.suspend().await;
/// // Somebody writes, a push arrives, and the user taps it:
/// bob.sign_in().await?;
/// let messages = bob.wait_received(1, Duration::from_secs(5)).await?;
/// # drop(messages); Ok(()) }
/// ```
#[derive(Clone)]
pub struct Phone {
    inner: Arc<Inner>,
}

struct Inner {
    options: PhoneOptions,
    requests: Arc<Requests>,
    ear: Arc<Ear>,
    /// Of every REGISTER: RFC 3261 §10.2 wants the same for all of one client.
    call_id: String,
    sequence: AtomicU32,
    digest: Mutex<Algorithm>,
    proofs: Proofs,
    link: Mutex<Option<Link>>,
}

impl Phone {
    /// A phone that is switched off.
    pub fn new(options: PhoneOptions) -> Self {
        let requests = Requests::new();
        let ear = Arc::new(Ear::new(Arc::clone(&requests), &options.user_agent));
        Self {
            inner: Arc::new(Inner {
                options,
                requests,
                ear,
                call_id: call_id(rand::random()).to_string(),
                sequence: AtomicU32::new(1),
                digest: Mutex::new(Algorithm::Sha256),
                proofs: Proofs::default(),
                link: Mutex::new(None),
            }),
        }
    }

    /// Connects anew and registers, answering the registrar's challenge. A connection that was open is dropped without
    /// a word, as when the operating system had ended the app.
    pub async fn sign_in(&self) -> Result<Registered, PhoneError> {
        let started = Instant::now();
        let flow = self.connect().await?;
        let bound = self.register(&flow, Wish::Bind).await;
        if bound.is_err() {
            self.hang_up(&flow).await;
        }
        Ok(Registered { took: started.elapsed(), ..bound? })
    }

    /// Registers again on the connection that is open.
    pub async fn refresh(&self) -> Result<Registered, PhoneError> {
        let started = Instant::now();
        let flow = self.flow().ok_or(PhoneError::NotSignedIn)?;
        let bound = self.register(&flow, Wish::Bind).await?;
        Ok(Registered { took: started.elapsed(), ..bound })
    }

    /// The operating system freezes the app: the connection is gone without a word. Once this has returned, nothing is
    /// answered any more.
    pub async fn suspend(&self) {
        let link = self.inner.link.lock().take();
        if let Some(link) = link {
            link.sever().await;
        }
    }

    /// The user signs out: REGISTER with Expires 0 and no push parameters, then the connection is closed. A phone that
    /// is not connected connects for it.
    pub async fn sign_out(&self) -> Result<(), PhoneError> {
        self.leave(Wish::Forget).await
    }

    /// The user quits the app: REGISTER with Expires 0 and the push parameters, then the connection is closed. A phone
    /// that is not connected connects for it.
    pub async fn quit(&self) -> Result<(), PhoneError> {
        self.leave(Wish::Unbind).await
    }

    /// Sends a text to `to` (`alice@contoso.com`) and tells the final status, whatever it is (RFC 3428 §4).
    pub async fn send(&self, to: &str, text: &str) -> Result<u16, PhoneError> {
        let flow = self.flow().ok_or(PhoneError::NotSignedIn)?;
        let draft = Draft {
            method: Method::Message,
            uri: format!("sip:{to}"),
            to: format!("sip:{to}"),
            tag: tag(rand::random()).to_string(),
            call_id: call_id(rand::random()).to_string(),
            more: Vec::new(),
            text: Some(text),
        };
        let response = self.ask(&flow, &draft).await?;
        Ok(response.status().unwrap_or_default())
    }

    /// Every message that was answered with a 2xx, in order. The same message twice is here twice.
    pub fn received(&self) -> Vec<Received> {
        self.inner.ear.received()
    }

    /// What the user sees: a message that came again, known by its Call-ID, is shown once.
    pub fn shown(&self) -> Vec<Received> {
        self.inner.ear.shown()
    }

    /// Waits until `count` messages have been received in all, and returns all that have.
    pub async fn wait_received(&self, count: usize, within: Duration) -> Result<Vec<Received>, PhoneError> {
        self.inner.ear.wait_received(count, within).await
    }

    /// How incoming MESSAGEs are answered from now on; 200 at first. With `None` the phone answers nothing at all, no
    /// ping and no other request either: a frozen app whose socket outlives it.
    pub fn set_answer(&self, status: Option<u16>) {
        self.inner.ear.set_answer(status);
    }

    /// The digest preferred where a challenge offers several; SHA-256 at first. One that is not offered is replaced by
    /// the topmost which is known.
    pub fn set_digest(&self, algorithm: Algorithm) {
        *self.inner.digest.lock() = algorithm;
    }

    /// Whether a connection is open.
    pub fn is_connected(&self) -> bool {
        self.flow().is_some()
    }

    /// Waits until the connection is gone; returns at once if there is none. For tests in which the other side ends it.
    pub async fn disconnected(&self) {
        if let Some(flow) = self.flow() {
            flow.closed().await;
        }
    }

    /// Switches the phone off. What it has received can still be read.
    pub async fn shutdown(&self) {
        self.suspend().await;
    }

    fn flow(&self) -> Option<Arc<Flow>> {
        let link = self.inner.link.lock();
        link.as_ref().map(|link| Arc::clone(link.flow())).filter(|flow| !flow.is_closed())
    }

    async fn connect(&self) -> Result<Arc<Flow>, PhoneError> {
        self.suspend().await;
        let options = &self.inner.options;
        let link = Link::open(options.registrar, options.tls.as_ref(), Arc::clone(&self.inner.ear)).await?;
        let flow = Arc::clone(link.flow());
        // Whoever signed in at the same time has lost.
        let other = self.inner.link.lock().replace(link);
        if let Some(other) = other {
            other.sever().await;
        }
        Ok(flow)
    }

    async fn leave(&self, wish: Wish) -> Result<(), PhoneError> {
        let flow = match self.flow() {
            Some(flow) => flow,
            None => self.connect().await?,
        };
        let outcome = self.register(&flow, wish).await;
        self.hang_up(&flow).await;
        outcome.map(drop)
    }

    /// Ends this connection, and not another that has taken its place meanwhile.
    async fn hang_up(&self, flow: &Flow) {
        let link = self.inner.link.lock().take_if(|link| link.flow().id() == flow.id());
        if let Some(link) = link {
            link.close().await;
        }
    }

    async fn register(&self, flow: &Arc<Flow>, wish: Wish) -> Result<Registered, PhoneError> {
        let PhoneOptions { user, domain, .. } = &self.inner.options;
        let draft = Draft {
            method: Method::Register,
            uri: format!("sip:{domain}"),
            to: format!("sip:{user}@{domain}"),
            tag: tag(rand::random()).to_string(),
            call_id: self.inner.call_id.clone(),
            more: vec![
                (Name::Contact, self.inner.options.contact(flow, wish)),
                (Name::Expires, wish.expires_secs().to_string()),
                (Name::Supported, "path".to_owned()),
            ],
            text: None,
        };
        let response = self.ask(flow, &draft).await?;
        if !matches!(response.status(), Some(200..300)) {
            return Err(PhoneError::refused(draft.method, &response));
        }
        Ok(self.inner.options.registered(&response, &draft.more[0].1))
    }

    /// One request until its final answer; challenges are answered on the way (RFC 3261 §22.2, §22.3).
    async fn ask(&self, flow: &Arc<Flow>, draft: &Draft<'_>) -> Result<Message, PhoneError> {
        let inner = &self.inner;
        let mut sessions = inner.proofs.take(draft.method);
        let mut answered = Vec::new();
        loop {
            let proofs: Vec<_> = sessions.iter_mut().map(|(name, session)| (*name, draft.prove(session))).collect();
            let response = self.exchange(flow, draft, &proofs).await?;
            let (asks, answers) = match response.status() {
                Some(401) => (Name::WwwAuthenticate, Name::Authorization),
                Some(407) => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
                _ => {
                    inner.proofs.keep(sessions, draft.method, &response);
                    return Ok(response);
                }
            };
            let Some(challenge) = challenge(&response, asks, *inner.digest.lock()) else { return Ok(response) };
            // RFC 3261 §22: the same credentials are not tried twice; only a nonce that was too old is.
            if answered.len() == CHALLENGES_MAX || (answered.contains(&answers) && !challenge.stale) {
                return Ok(response);
            }
            sessions.retain(|(name, _)| *name != answers);
            sessions.push((answers, Session::new(challenge, &inner.options.user, &inner.options.password)));
            answered.push(answers);
        }
    }

    /// The request with these proofs, and its final answer.
    async fn exchange(
        &self,
        flow: &Arc<Flow>,
        draft: &Draft<'_>,
        proofs: &[(Name, String)],
    ) -> Result<Message, PhoneError> {
        let inner = &self.inner;
        let ticket = inner.requests.open(rand::random()).map_err(|error| of_request(&error, draft.method))?;
        let sequence = inner.sequence.fetch_add(1, Ordering::Relaxed);
        let printed = draft.print(&inner.options, flow, ticket.branch(), sequence, proofs);
        let bytes = printed.map_err(|fault| PhoneError::Unprintable { method: draft.method.as_str(), fault })?;
        let answered = ticket.over(flow, bytes, ANSWER_WITHIN).await;
        answered.map_err(|error| of_request(&error, draft.method))
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone")
            .field("options", &self.inner.options)
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PhoneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneOptions")
            .field("user", &self.user)
            .field("domain", &self.domain)
            .field("registrar", &self.registrar)
            .field("instance", &self.instance)
            .field("has_push", &self.push.is_some())
            .finish_non_exhaustive()
    }
}

fn of_request(error: &RequestError, method: Method<'static>) -> PhoneError {
    let method = method.as_str();
    match error {
        RequestError::Connect(_) | RequestError::Send(_) => PhoneError::ConnectionLost { method },
        RequestError::TimedOut { within } => {
            PhoneError::TimedOut { awaited: format!("the answer to {method}"), within: *within }
        }
        RequestError::TooMany => PhoneError::TooManyRequests,
    }
}

/// RFC 3261 §17.1.2.2: timer F, 64*T1.
const ANSWER_WITHIN: Duration = Duration::from_secs(32);
/// Challenges answered for one request: a proxy's, the registrar's, and one nonce that was too old.
const CHALLENGES_MAX: usize = 3;
