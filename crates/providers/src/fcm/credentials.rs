//! Access tokens for a service account: a signed assertion is exchanged for one (RFC 7523 §2.1), which lasts an hour.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use futures_util::future::poll_fn;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use reveille_core::{Clock, Timestamp};
use reveille_http2::{Keep, Request, name};
use rustls::ClientConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::jwt;
use crate::sender::dial::dial;
use crate::sender::dialect::{Authorization, word};
use crate::sender::line::Line;
use crate::sender::{Proxy, Target};
use crate::tls::{Trust, TrustFault};

/// A Google service account and its access token. All lanes of a project share one. `Debug` shows no key and no token.
pub struct Account {
    email: String,
    key_id: String,
    token_uri: Uri,
    audience: String,
    target: Target,
    tls: Arc<ClientConfig>,
    pair: rsa::KeyPair,
    state: Mutex<State>,
    /// Held while a token is fetched, so that only one is.
    flight: tokio::sync::Mutex<()>,
    /// Counts changes of `state`.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    current: Option<Token>,
    /// Whether someone has noticed that `current` is due.
    called: bool,
    /// When a token was last dropped because FCM refused it.
    dropped: Option<Timestamp>,
    /// Failed attempts in a row, and when the next may be made.
    failures: u32,
    not_before: Option<Timestamp>,
}

struct Token {
    authorization: Authorization,
    /// When it is time for another.
    renew: Timestamp,
    expires: Timestamp,
}

impl Account {
    /// Takes the text of the key file that Google hands out. `trust` is for its `token_uri`.
    pub fn new(json: &str, trust: &Trust) -> Result<Self, AccountFault> {
        let file: KeyFile = serde_json::from_str(json).map_err(|_| AccountFault::NotAKeyFile)?;
        if file.kind != "service_account" {
            return Err(AccountFault::OtherKind { kind: word(&file.kind) });
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes()).map_err(|_| AccountFault::BadKey)?;
        let pair = rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| AccountFault::BadKey)?;
        let bad_uri = || AccountFault::BadTokenUri { uri: word(&file.token_uri) };
        let token_uri: Uri = file.token_uri.parse().map_err(|_| bad_uri())?;
        // The assertion is worth an access token: it never travels in clear.
        let target = match (token_uri.scheme_str(), token_uri.host()) {
            (Some("https"), Some(host)) => Target {
                host: host.trim_start_matches('[').trim_end_matches(']').into(),
                port: token_uri.port_u16().unwrap_or(443),
                address: None,
                proxy: None,
            },
            _ => return Err(bad_uri()),
        };
        Ok(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            audience: file.token_uri,
            token_uri,
            target,
            tls: trust.client(None)?,
            pair,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
            changes: watch::Sender::new(0),
        })
    }

    /// The account's address.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Connects here for tokens, whatever address the name of `token_uri` has.
    #[must_use]
    pub fn at(mut self, address: std::net::SocketAddr) -> Self {
        self.target.address = Some(address);
        self
    }

    /// Goes through this proxy for tokens.
    #[must_use]
    pub fn through(mut self, proxy: Option<Proxy>) -> Self {
        self.target.proxy = proxy;
        self
    }

    /// The token of this moment, if there is one that still lives.
    pub(crate) fn authorization(&self, now: Timestamp) -> Option<Authorization> {
        let mut state = self.state.lock();
        let State { current, called, .. } = &mut *state;
        let token = current.as_ref()?;
        let (lives, due) = (now < token.expires, token.renew <= now);
        let authorization = lives.then(|| token.authorization.clone());
        // Whoever keeps it sleeps by another clock than ours, which may have been put on.
        if due && !std::mem::replace(called, true) {
            drop(state);
            self.tell();
        }
        authorization
    }

    /// Learns that FCM refuses the token minted at `minted`, and drops it. Answers whether trying again makes sense: not
    /// if a token was dropped a short while ago, since then fetching does not help.
    pub(crate) fn refused(&self, minted: Timestamp, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        match &state.current {
            Some(token) if token.authorization.minted == minted => {
                if state.dropped.is_some_and(|dropped| now.since(dropped) < DROP_AGAIN) {
                    return false;
                }
                state.current = None;
                state.dropped = Some(now);
            }
            _ => return true,
        }
        drop(state);
        self.tell();
        true
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Keeps a token fresh for as long as it is polled. Several may: one of them fetches, and all call `changed`.
    pub(crate) async fn keep(&self, clock: &dyn Clock, changed: &(dyn Fn(Option<String>) + Send + Sync)) {
        let mut changes = self.changes.subscribe();
        loop {
            let wait = {
                let _flight = self.flight.lock().await;
                changes.mark_unchanged();
                match self.due(clock.now()) {
                    Some(wait) => {
                        changed(None);
                        wait
                    }
                    None => {
                        let trouble = self.refresh(clock).await.err();
                        changes.mark_unchanged();
                        changed(trouble.map(|fault| fault.to_string()));
                        self.due(clock.now()).unwrap_or_default()
                    }
                }
            };
            // The wall clock may be put on or back meanwhile.
            let _ = tokio::time::timeout(wait.min(LOOK_AGAIN), changes.changed()).await;
        }
    }

    /// How long the token is good for; `None` if one must be fetched now.
    fn due(&self, now: Timestamp) -> Option<Duration> {
        let state = self.state.lock();
        let from_token = state.current.as_ref().map(|token| token.renew.since(now));
        let from_failure = state.not_before.map(|at| at.since(now));
        let wait = from_token.unwrap_or_default().max(from_failure.unwrap_or_default());
        (!wait.is_zero()).then_some(wait)
    }

    async fn refresh(&self, clock: &dyn Clock) -> Result<(), TokenFault> {
        let fetched = self.fetch(clock.now()).await;
        let now = clock.now();
        let mut state = self.state.lock();
        let result = match fetched {
            Ok((header, life)) => {
                let authorization = Authorization { header: Some(header), minted: now };
                state.called = false;
                let renew = now.plus(life.saturating_sub(AHEAD).max(life / 2));
                state.current = Some(Token { authorization, renew, expires: now.plus(life) });
                (state.failures, state.not_before) = (0, None);
                tracing::info!(fcm.account = %self.email, life_secs = life.as_secs(), "access token fetched");
                Ok(())
            }
            Err(fault) => {
                let pause = FETCH_AGAIN.saturating_mul(1 << state.failures.min(6)).min(LOOK_AGAIN);
                state.failures += 1;
                state.not_before = Some(now.plus(pause.mul_f64(rand::random_range(0.5..1.0))));
                Err(fault)
            }
        };
        drop(state);
        self.tell();
        result
    }

    async fn fetch(&self, now: Timestamp) -> Result<(HeaderValue, Duration), TokenFault> {
        let assertion = self.assertion(now)?;
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let exchange = async {
            match tokio::time::timeout(FETCH_TIMEOUT, self.post(form.as_bytes())).await {
                Ok(answered) => answered,
                Err(_) => Err(TokenFault::Unreachable { fault: "no answer in time".into() }),
            }
        };
        let (status, body) = exchange.await?;
        if status != 200 {
            let said: OAuthError = serde_json::from_slice(&body).unwrap_or_default();
            return Err(TokenFault::Refused { status, error: word(&said.error) });
        }
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| TokenFault::Unreadable)?;
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", granted.access_token)).map_err(|_| TokenFault::Unreadable)?;
        header.set_sensitive(true);
        Ok((header, Duration::from_secs(granted.expires_in.clamp(1, 24 * 3600))))
    }

    fn assertion(&self, now: Timestamp) -> Result<String, TokenFault> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            typ: &'static str,
            #[serde(skip_serializing_if = "str::is_empty")]
            kid: &'a str,
        }
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'static str,
            aud: &'a str,
            iat: u64,
            exp: u64,
        }
        let header = Header { alg: "RS256", typ: "JWT", kid: &self.key_id };
        let iat = now.secs();
        let claims = Claims { iss: &self.email, scope: SCOPE, aud: &self.audience, iat, exp: iat + 3600 };
        jwt::compact(&header, &claims, |input| {
            let mut signature = vec![0; self.pair.public_modulus_len()];
            self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature).map(|()| signature)
        })
        .map_err(|_| TokenFault::Signing)
    }

    async fn post(&self, body: &[u8]) -> Result<(u16, Vec<u8>), TokenFault> {
        let unreachable = |fault: &str| TokenFault::Unreachable { fault: word(fault) };
        let transport =
            dial(&self.target, &self.tls, FETCH_TIMEOUT).await.map_err(|fault| unreachable(&fault.to_string()))?;
        let mut request = Request::new();
        request.field(name::METHOD, b"POST", Keep::Table);
        request.field(name::SCHEME, b"https", Keep::Table);
        request.field(name::AUTHORITY, self.target.authority().as_bytes(), Keep::Table);
        let path = self.token_uri.path_and_query().map_or("/", |path| path.as_str());
        request.field(name::PATH, path.as_bytes(), Keep::Table);
        request.field(name::CONTENT_TYPE, b"application/x-www-form-urlencoded", Keep::Table);
        request.body.extend_from_slice(body);
        let mut line = Line::new(transport);
        line.client.send((), &request).map_err(|()| unreachable("the connection takes no request"))?;
        let how = poll_fn(|cx| {
            let moved = line.poll(cx);
            match (line.client.next_ended(), moved) {
                (Some(ended), _) => Poll::Ready(ended.how.map_err(|lost| unreachable(&lost.why))),
                (None, Poll::Ready(why)) => Poll::Ready(Err(unreachable(&why))),
                (None, Poll::Pending) => Poll::Pending,
            }
        });
        let answer = how.await?;
        Ok((answer.status, answer.body))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("email", &self.email).finish_non_exhaustive()
    }
}

/// The fields of Google's key file that matter.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default = "an_hour")]
    expires_in: u64,
}

const fn an_hour() -> u64 {
    3600
}

/// RFC 6749 §5.2.
#[derive(Default, Deserialize)]
struct OAuthError {
    #[serde(default)]
    error: String,
}

/// Why a service account cannot be used. The configuration's fault; repeating does not help.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AccountFault {
    /// Its key is not one.
    #[error("the service account's private_key is not an RSA key in PEM")]
    BadKey,
    /// Its token_uri is not one.
    #[error("the service account's token_uri \"{uri}\" is not an https URI")]
    BadTokenUri {
        /// What is there.
        uri: Box<str>,
    },
    /// The file is something else.
    #[error("the file is not a Google service account's key file")]
    NotAKeyFile,
    /// Credentials of a kind that does not sign.
    #[error("the key file is of type \"{kind}\", and must be of type \"service_account\"")]
    OtherKind {
        /// What it says.
        kind: Box<str>,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Trust(#[from] TrustFault),
}

/// Why there is no access token. A sentence for the status page.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum TokenFault {
    #[error("the service account was refused an access token: status {status}, {error}")]
    Refused { status: u16, error: Box<str> },
    #[error("the assertion for an access token could not be signed")]
    Signing,
    #[error("an access token could not be fetched: {fault}")]
    Unreachable { fault: Box<str> },
    #[error("the token endpoint's answer holds no access token")]
    Unreadable,
}

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// A token is replaced so long before it ends.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// A token refused so soon after another was dropped is not dropped too.
const DROP_AGAIN: Duration = Duration::from_secs(5 * 60);
const FETCH_AGAIN: Duration = Duration::from_secs(1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::samples::NOW;

    fn trust() -> Trust {
        let key = rcgen::generate_simple_self_signed(vec!["ca.example".into()]).unwrap();
        Trust::from_pem(key.cert.pem().as_bytes()).unwrap()
    }

    fn account() -> Account {
        let file = reveille_sim::certs::service_account_json("demo", "https://oauth.example/token").unwrap();
        Account::new(&file.json, &trust()).unwrap()
    }

    /// An account with a token that was minted at `NOW` for an hour.
    fn with_token() -> Account {
        let account = account();
        let authorization = Authorization { header: None, minted: NOW };
        let (renew, expires) = (NOW.plus(Duration::from_secs(3300)), NOW.plus(Duration::from_secs(3600)));
        account.state.lock().current = Some(Token { authorization, renew, expires });
        account
    }

    #[test]
    fn an_assertion_says_who_asks_for_what_and_where() {
        use base64::Engine as _;
        let account = account();
        let assertion = account.assertion(NOW).unwrap();
        let part = |at: usize| -> serde_json::Value {
            let text = assertion.split('.').nth(at).unwrap();
            serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(0), serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": account.key_id}));
        assert_eq!(
            part(1),
            serde_json::json!({
                "iss": "push@demo.iam.gserviceaccount.com",
                "scope": "https://www.googleapis.com/auth/firebase.messaging",
                "aud": "https://oauth.example/token",
                "iat": 1_700_000_000,
                "exp": 1_700_003_600
            })
        );
    }

    #[test]
    fn a_token_is_used_until_it_ends_and_renewed_before() {
        let account = with_token();
        let at = |secs| NOW.plus(Duration::from_secs(secs));
        for (secs, good, due) in [(0, true, 3300), (3299, true, 1), (3300, true, 0), (3599, true, 0), (3600, false, 0)]
        {
            assert_eq!(account.authorization(at(secs)).is_some(), good, "{secs}");
            assert_eq!(account.due(at(secs)), (due > 0).then(|| Duration::from_secs(due)), "{secs}");
        }
    }

    #[test]
    fn a_refused_token_is_dropped_once_and_not_again_at_once() {
        let account = with_token();
        assert!(account.refused(NOW, NOW), "dropped, and another will be fetched");
        assert!(account.authorization(NOW).is_none());
        assert!(account.refused(NOW, NOW), "the same token again: its successor may do better");
        let later = NOW.plus(Duration::from_secs(60));
        let next = Authorization { header: None, minted: later };
        let end = later.plus(Duration::from_secs(3600));
        account.state.lock().current = Some(Token { authorization: next, renew: end, expires: end });
        assert!(!account.refused(later, later), "a second one so soon: fetching does not help");
        assert!(account.authorization(later).is_some());
        assert!(account.refused(later, later.plus(DROP_AGAIN)), "but much later it may");
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_a_sentence() {
        let file = reveille_sim::certs::service_account_json("demo", "https://oauth.example/token").unwrap();
        let changed = |field: &str, value: &str| {
            let mut json: serde_json::Value = serde_json::from_str(&file.json).unwrap();
            json[field] = value.into();
            Account::new(&json.to_string(), &trust()).unwrap_err().to_string()
        };
        assert_eq!(Account::new("{}", &trust()).unwrap_err(), AccountFault::NotAKeyFile);
        assert!(changed("type", "authorized_user").contains("of type \"authorized_user\""));
        assert_eq!(changed("private_key", "none"), "the service account's private_key is not an RSA key in PEM");
        assert!(changed("token_uri", "http://oauth.example/token").ends_with("is not an https URI"));
        assert_eq!(format!("{:?}", account()), "Account { email: \"push@demo.iam.gserviceaccount.com\", .. }");
    }
}
