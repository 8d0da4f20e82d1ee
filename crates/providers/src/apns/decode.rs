//! What an answer of APNs means (Apple, "Handling notification responses from APNs"): all documented reasons, grouped by
//! consequence.

use std::time::Duration;

use reveille_core::{Timestamp, Verdict};
use serde::Deserialize;

use crate::sender::dialect::{Answer, Reply, Then, retry, retry_after, word};

/// Reads one answer. `may_sign_again` is asked about an expired token only; see [`super::Signer`].
pub(super) fn decode(answer: &Answer<'_>, now: Timestamp, may_sign_again: impl FnOnce(Timestamp) -> bool) -> Reply {
    if answer.status == 200 {
        let provider_id = answer.headers.get("apns-unique-id").and_then(|id| id.to_str().ok()).map(word);
        return Reply { verdict: Verdict::Accepted, provider_id, then: Then::Continue };
    }
    let said: Said = serde_json::from_slice(answer.body).unwrap_or_default();
    let text = &*said.reason;
    let reason = || word(text);
    let after = retry_after(answer.headers, now);
    match Consequence::of(answer.status, text) {
        Consequence::Configuration => Reply::of(Verdict::Configuration { reason: reason() }),
        Consequence::Reject => Reply::of(Verdict::Reject { reason: reason() }),
        // The timestamp is in milliseconds.
        Consequence::Forget => {
            let since = said.timestamp.map(Timestamp::from_millis);
            let reason = if text.is_empty() { "Unregistered".into() } else { reason() };
            Reply::of(Verdict::Forget { reason, since })
        }
        Consequence::Expired => Reply::of(if may_sign_again(answer.minted) {
            retry(reason(), None, true)
        } else {
            let reason = format!("{text}: the token is young, so this machine's clock differs from Apple's");
            Verdict::Configuration { reason: reason.into() }
        }),
        Consequence::OtherKey if !answer.proven => Reply::of(Verdict::Configuration { reason: reason() }),
        Consequence::OtherKey | Consequence::OtherConnection => {
            Reply { verdict: retry(reason(), after, true), provider_id: None, then: Then::Retire }
        }
        Consequence::Device => Reply::of(retry(reason(), after.or(Some(DEVICE_PAUSE)), true)),
        Consequence::Failed { unprocessed } => {
            let reason = if text.is_empty() { format!("status {}", answer.status).into() } else { reason() };
            Reply { verdict: retry(reason, after, unprocessed), provider_id: None, then: Then::Suspect }
        }
        Consequence::Unknown => Reply {
            verdict: Verdict::Unknown { status: answer.status, reason: reason() },
            provider_id: None,
            then: Then::Suspect,
        },
    }
}

/// What follows from a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Consequence {
    /// Key, topic or environment do not fit: the app's circuit breaks, no token dies.
    Configuration,
    /// This device gets too much.
    Device,
    /// Our provider token is, or seems, too old.
    Expired,
    /// APNs failed.
    Failed {
        /// Whether it is certain that the push was not taken.
        unprocessed: bool,
    },
    /// The device token is dead.
    Forget,
    /// This connection is of no use any more; another is.
    OtherConnection,
    /// The connection belongs to another key. A new one to which this happens at once would do no better.
    OtherKey,
    /// The push is wrong.
    Reject,
    /// Not documented.
    Unknown,
}

impl Consequence {
    fn of(status: u16, reason: &str) -> Self {
        match reason {
            "BadDeviceToken" | "ExpiredToken" | "Unregistered" => Self::Forget,
            // The token belongs to another app of the publisher. That kills no token, since our topic may be the wrong
            // one; nor does it break the app's circuit, since then one device could silence all others.
            "DeviceTokenNotForTopic" => Self::Reject,
            "BadCollapseId" | "BadExpirationDate" | "BadMessageId" | "BadPath" | "BadPriority" | "DuplicateHeaders"
            | "InvalidPushType" | "MethodNotAllowed" | "MissingDeviceToken" | "PayloadEmpty" | "PayloadTooLarge" => {
                Self::Reject
            }
            "BadCertificate"
            | "BadCertificateEnvironment"
            // Documented with "Id", seen live without (providers.md, fact 2).
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
            | "BadTopic"
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "MissingTopic"
            | "TopicDisallowed" => Self::Configuration,
            "ExpiredProviderToken" => Self::Expired,
            "UnrelatedKeyIdInToken" => Self::OtherKey,
            // TooManyProviderTokenUpdates spoils the connection until Apple's window has passed. Signing again would
            // make it worse.
            "IdleTimeout" | "Shutdown" | "TooManyProviderTokenUpdates" => Self::OtherConnection,
            "TooManyRequests" => Self::Device,
            // Apple: after 15 minutes, or with a back-off, which is what the clearing house has. Whether the push got
            // through before the failure nobody knows.
            "InternalServerError" => Self::Failed { unprocessed: false },
            "ServiceUnavailable" => Self::Failed { unprocessed: true },
            _ => match status {
                410 => Self::Forget,
                413 => Self::Reject,
                429 => Self::Device,
                503 => Self::Failed { unprocessed: true },
                500..=599 => Self::Failed { unprocessed: false },
                _ => Self::Unknown,
            },
        }
    }
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    reason: String,
    timestamp: Option<u64>,
}

/// Apple names no number for its limit per device.
const DEVICE_PAUSE: Duration = Duration::from_secs(60);
