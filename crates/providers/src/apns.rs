//! The Apple Push Notification service over HTTP/2 (Apple, "Sending notification requests to APNs" and the pages beside
//! it).

mod credentials;
mod decode;
mod encode;

use std::sync::Arc;

use reveille_core::{Channel, Timestamp, Verdict};
use reveille_http2::Request;

pub use credentials::{KeyFault, Keyring, Signer};
pub(crate) use encode::fits;

use crate::notification::Notification;
use crate::sender::dialect::{Answer, Authorization, Blame, Dialect, Keeping, Reply};
use crate::tls::ClientIdentity;

/// The host of store apps, port 443 or 2197.
pub const HOST: &str = "api.push.apple.com";
/// The host of development builds.
pub const HOST_SANDBOX: &str = "api.sandbox.push.apple.com";

/// As whom the publisher comes to APNs.
#[derive(Clone, Debug)]
pub enum Access {
    /// With a client certificate. Works for some push types only ("Establishing a certificate-based connection").
    Certificate(Arc<ClientIdentity>),
    /// With tokens signed by a `.p8` key. All lanes of one team and key share one [`Signer`]: Apple refuses a provider
    /// that changes its token too often.
    Token(Arc<Signer>),
}

/// APNs as one lane speaks to it.
pub(crate) struct Apns {
    access: Access,
    encoder: encode::Encoder,
}

impl Apns {
    pub(crate) fn new(access: Access, bundle: &str, channel: Channel, authority: &str) -> Result<Self, http::Error> {
        Ok(Self { access, encoder: encode::Encoder::new(bundle, channel, authority)? })
    }
}

impl Dialect for Apns {
    fn authorization(&self, now: Timestamp) -> Result<Option<Authorization>, String> {
        match &self.access {
            Access::Certificate(_) => Ok(Some(Authorization { header: None, minted: now })),
            Access::Token(signer) => signer.authorization(now).map(Some).map_err(|fault| fault.to_string()),
        }
    }

    fn encode(
        &self,
        push: &Notification,
        authorization: &Authorization,
        now: Timestamp,
        request: &mut Request,
    ) -> Result<(), Verdict> {
        self.encoder.encode(push, authorization, now, request)
    }

    fn decode(&self, answer: &Answer<'_>, now: Timestamp) -> Reply {
        decode::decode(answer, now, |minted| match &self.access {
            Access::Certificate(_) => false,
            Access::Token(signer) => signer.refused_as_expired(minted, now),
        })
    }

    fn blame(&self, word: &str) -> Blame {
        decode::blame(word)
    }

    fn nobody(&self) -> &'static str {
        // Three digits are no octets: Apple answers BadDeviceToken, after it has read the provider token.
        "000"
    }

    fn keep<'a>(&'a self, _changed: &'a (dyn Fn(Option<String>) + Send + Sync)) -> Keeping<'a> {
        // Signing takes microseconds and happens when a token is asked for.
        Box::pin(std::future::pending())
    }
}
