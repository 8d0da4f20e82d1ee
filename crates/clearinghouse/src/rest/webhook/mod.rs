//! Feedback for organisations without an edge: a signed POST to the address that their account names.
//!
//! Order, repetition and durability are the outbox's ([`crate::feedback`]); this is one more [`Road`] of it.

mod guard;
mod sign;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reveille_core::settings::Snapshot;
use reveille_core::{Clock, SipDomain};
use reveille_federation::feedback::{CONTENT_TYPE_V1, Feedback, write_body};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::feedback::{Letter, Road, Untold};
use guard::may_connect;

pub use guard::Net;
pub use sign::Signer;

/// How long one letter may take, from the name to the answer.
const WITHIN: Duration = Duration::from_secs(15);
/// How much of an answer is read: nothing in it matters but its status.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 4;

/// The road to webhooks, and to everybody else the one behind it.
pub struct Webhooks {
    inner: Arc<dyn Road>,
    settings: watch::Receiver<Arc<Snapshot>>,
    signer: Arc<Signer>,
    tls: TlsConnector,
    /// Networks that webhooks may lead into though they are not public.
    allowed: Vec<Net>,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    /// A road that signs so, trusts these authorities, and leads to `inner` whoever has no webhook.
    pub fn new(
        inner: Arc<dyn Road>,
        settings: watch::Receiver<Arc<Snapshot>>,
        signer: Arc<Signer>,
        roots: Arc<RootCertStore>,
        allowed: Vec<Net>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { inner, settings, signer, tls: TlsConnector::from(Arc::new(config)), allowed, clock })
    }

    /// Where that organisation wants its feedback: what the first of its open accounts says.
    fn address(&self, origin: &SipDomain) -> Option<String> {
        let (settings, now) = (self.settings.borrow(), self.clock.now());
        let mut own =
            settings.push_accounts().filter(|account| account.organisation == *origin && account.is_open(now));
        own.find_map(|account| account.webhook.clone())
    }

    async fn post(&self, url: &str, origin: &SipDomain, feedback: &Feedback) -> Result<(), Untold> {
        let later = |why: String| Untold::Later(format!("the webhook {}: {why}", shown(url)));
        match tokio::time::timeout(WITHIN, self.exchange(url, origin, write_body(feedback))).await {
            Err(_) => Err(later(format!("no answer within {} s", WITHIN.as_secs()))),
            Ok(Err(why)) => Err(later(why)),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            // Standard Webhooks: whoever answers so wants to hear of this no more.
            Ok(Ok(StatusCode::GONE)) => Err(Untold::Refused("the webhook answers 410 Gone".into())),
            // Also a redirect: it might lead where no webhook may.
            Ok(Ok(status)) => Err(later(format!("it answers {status}"))),
        }
    }

    async fn exchange(&self, url: &str, origin: &SipDomain, body: Vec<u8>) -> Result<StatusCode, String> {
        let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or("it does not begin with https://")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = self.connect(&host, uri.port_u16().unwrap_or(443)).await?;
        let name = ServerName::try_from(host).map_err(|_| "its host is no name".to_owned())?;
        let stream = self.tls.connect(name, stream).await.map_err(|fault| format!("TLS: {fault}"))?;
        let fault = |fault: hyper::Error| format!("HTTP: {fault}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(fault)?;
        let request = self.request(&uri, origin, body).map_err(|fault| fault.to_string())?;
        let asking = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(status)
        };
        // The connection ends with its sender; a receiver that hangs up after its answer has answered all the same.
        let (answered, _) = tokio::join!(asking, connection);
        answered.map_err(fault)
    }

    /// A connection to where the name leads now: looked up and judged once, so that it cannot lead elsewhere afterwards.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|fault| format!("its name: {fault}"))?;
        let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
        let mut why =
            format!("its address {} is not public, and not in clearinghouse.rest.webhooks.allow", list(&found));
        for at in found.into_iter().filter(|at| may_connect(at.ip(), &self.allowed)) {
            match TcpStream::connect(at).await {
                Ok(stream) => return Ok(stream),
                Err(fault) => why = fault.to_string(),
            }
        }
        Err(why)
    }

    fn request(&self, uri: &Uri, origin: &SipDomain, body: Vec<u8>) -> Result<Request<Full<Bytes>>, http::Error> {
        // Whose it is stands in the signed id: what one organisation was told is nothing to another. A repetition that
        // has the same to say has the same id, and one that has more to say another one.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let short: String = digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let (id, now) = (format!("{origin}_{short}"), self.clock.now());
        Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header(CONTENT_TYPE, CONTENT_TYPE_V1)
            .header("webhook-signature", self.signer.sign(&id, now, &body))
            .header("webhook-id", id)
            .header("webhook-timestamp", now.secs())
            .body(Full::from(body))
    }
}

impl Road for Webhooks {
    fn carry<'a>(&'a self, letter: Letter<'a>) -> BoxFuture<'a, Result<(), Untold>> {
        let Some(url) = self.address(letter.origin) else { return self.inner.carry(letter) };
        async move {
            if self.settings.borrow().is_blocked(letter.origin) {
                return Err(Untold::Later(format!("{} is blocked", letter.origin)));
            }
            let told = self.post(&url, letter.origin, letter.feedback).await;
            let result = if told.is_ok() { "taken" } else { "failed" };
            metrics::counter!("reveille_webhooks_total", "result" => result).increment(1);
            told
        }
        .boxed()
    }
}

/// The address without what follows the path: that may be a secret of its owner's.
fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
