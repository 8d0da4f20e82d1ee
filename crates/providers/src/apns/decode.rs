//! What an answer of APNs means (Apple, "Handling notification responses from APNs"): all documented reasons, grouped by
//! consequence.

use std::time::Duration;

use reveille_core::{Timestamp, Verdict};
use serde::Deserialize;

use crate::sender::dialect::{Answer, Blame, Reply, Then, retry, retry_after, word};

/// Reads one answer. `may_sign_again` is asked about an expired token only; see [`super::Signer`].
pub(super) fn decode(answer: &Answer<'_>, now: Timestamp, may_sign_again: impl FnOnce(Timestamp) -> bool) -> Reply {
    if answer.status == 200 {
        let provider_id = answer.fields.get("apns-unique-id").map(word);
        return Reply { verdict: Verdict::Accepted, provider_id, then: Then::Continue };
    }
    let said: Said = serde_json::from_slice(answer.body).unwrap_or_default();
    let text = &*said.reason;
    let reason = || word(text);
    let after = retry_after(answer.fields, now);
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

/// Whom a word concerns beyond its push. A topic is of one channel: what Apple has against the one for calls says nothing
/// about messages.
pub(super) fn blame(word: &str) -> Blame {
    match word {
        "BadTopic" | "MissingTopic" | "TopicDisallowed" => Blame::Channel,
        "TooManyRequests" => Blame::Token,
        _ => Blame::App,
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

#[cfg(test)]
mod tests {
    use reveille_http2::Fields;

    use super::*;
    use crate::notification::samples::NOW;
    use crate::replies;

    /// The tables of "Handling notification responses from APNs", and the one spelling seen live only.
    const DOCUMENTED: [&str; 35] = [
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadCollapseId",
        "BadDeviceToken",
        "BadEnvironmentKeyIdInToken",
        "BadEnvironmentKeyInToken",
        "BadExpirationDate",
        "BadMessageId",
        "BadPath",
        "BadPriority",
        "BadTopic",
        "DeviceTokenNotForTopic",
        "DuplicateHeaders",
        "ExpiredProviderToken",
        "ExpiredToken",
        "Forbidden",
        "IdleTimeout",
        "InternalServerError",
        "InvalidProviderToken",
        "InvalidPushType",
        "MethodNotAllowed",
        "MissingDeviceToken",
        "MissingProviderToken",
        "MissingTopic",
        "PayloadEmpty",
        "PayloadTooLarge",
        "ServiceUnavailable",
        "Shutdown",
        "TooManyProviderTokenUpdates",
        "TooManyRequests",
        "TopicDisallowed",
        "UnrelatedKeyIdInToken",
        "Unregistered",
        // Beside the documented ones: what a sender meets all the same.
        "accepted",
        "unknown-reason",
    ];

    #[test]
    fn every_documented_reason_has_its_fixture_and_means_what_it_says() {
        let names = replies::check("apns", |answer| decode(answer, NOW, |_| true));
        for reason in DOCUMENTED {
            assert!(names.iter().any(|name| name == reason), "tests/replies/apns/{reason}.json is missing");
        }
    }

    fn answer<'a>(fields: &'a Fields, body: &'a str, status: u16, proven: bool) -> Answer<'a> {
        Answer { status, fields, body: body.as_bytes(), minted: NOW, proven }
    }

    #[test]
    fn an_expired_token_that_is_young_is_a_matter_of_clocks() {
        let fields = Fields::new();
        let reply = decode(&answer(&fields, r#"{"reason":"ExpiredProviderToken"}"#, 403, true), NOW, |_| false);
        let Verdict::Configuration { reason } = reply.verdict else { panic!("{reply:?}") };
        assert!(reason.starts_with("ExpiredProviderToken: ") && reason.contains("clock"), "{reason}");
    }

    #[test]
    fn an_unrelated_key_is_a_matter_of_the_connection_if_it_has_served_before() {
        let fields = Fields::new();
        let body = r#"{"reason":"UnrelatedKeyIdInToken"}"#;
        let reply = decode(&answer(&fields, body, 403, true), NOW, |_| true);
        assert_eq!((reply.verdict, reply.then), (retry("UnrelatedKeyIdInToken", None, true), Then::Retire));
    }

    #[test]
    fn a_body_that_cannot_be_read_leaves_the_status_to_speak() {
        let fields = Fields::new();
        for body in ["", "<html>", r#"{"reason":7}"#, r#"{"reason":"x","timestamp":"now"}"#, "\u{0}"] {
            let verdict = decode(&answer(&fields, body, 418, true), NOW, |_| true).verdict;
            assert_eq!(verdict, Verdict::Unknown { status: 418, reason: "".into() }, "{body}");
            let verdict = decode(&answer(&fields, body, 410, true), NOW, |_| true).verdict;
            assert!(matches!(verdict, Verdict::Forget { since: None, .. }), "{body}");
        }
    }
}
