//! Firebase Cloud Messaging, HTTP v1 (Firebase documentation, "Send a message using FCM HTTP v1 API").

mod credentials;
mod decode;
mod encode;

use std::sync::Arc;

use reveille_core::{Channel, Clock, Timestamp, Verdict};
use reveille_http2::Request;

pub use credentials::{Account, AccountFault};
pub(crate) use encode::fits;

use crate::notification::Notification;
use crate::sender::dialect::{Answer, Authorization, Blame, Dialect, Keeping, Reply};

/// The host, port 443.
pub const HOST: &str = "fcm.googleapis.com";

/// FCM as one lane speaks to it.
pub(crate) struct Fcm {
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    encoder: encode::Encoder,
}

impl Fcm {
    pub(crate) fn new(
        account: Arc<Account>,
        clock: Arc<dyn Clock>,
        project: &str,
        channel: Channel,
        authority: &str,
    ) -> Result<Self, http::Error> {
        Ok(Self { account, clock, encoder: encode::Encoder::new(project, channel, authority)? })
    }
}

impl Dialect for Fcm {
    fn authorization(&self, now: Timestamp) -> Result<Option<Authorization>, String> {
        Ok(self.account.authorization(now))
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
        decode::decode(answer, now, |minted| self.account.refused(minted, now))
    }

    fn blame(&self, word: &str) -> Blame {
        decode::blame(word)
    }

    fn nobody(&self) -> &'static str {
        // No token of FCM has a blank: it answers INVALID_ARGUMENT for the token, after it has read the access token.
        "no device"
    }

    fn keep<'a>(&'a self, changed: &'a (dyn Fn(Option<String>) + Send + Sync)) -> Keeping<'a> {
        Box::pin(self.account.keep(&*self.clock, changed))
    }
}
