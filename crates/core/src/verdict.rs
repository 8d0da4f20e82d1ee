//! What a provider's answer means: the only word for it, and the rule that says when a token really is dead.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::reason::Reason;

/// What one provider answer means (DESIGN.md §7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The provider took the push.
    Accepted,
    /// The app's credentials, topic, environment or project are wrong. Breaks the app's circuit, kills no token.
    Configuration {
        /// The provider's own word.
        reason: Box<str>,
    },
    /// The token is dead.
    Forget {
        /// The provider's own word.
        reason: Box<str>,
        /// Since when, if the provider says (APNs 410).
        since: Option<Timestamp>,
    },
    /// This request is wrong and would be wrong again.
    Reject {
        /// The provider's own word.
        reason: Box<str>,
    },
    /// Later, or on another connection.
    Retry {
        /// The provider's own word, or ours for a broken connection.
        reason: Box<str>,
        /// How long the provider asks us to wait.
        after: Option<Duration>,
        /// Whether it is certain that the provider did not process the push (never written, above GOAWAY's last
        /// stream id, REFUSED_STREAM): only then may a call be sent again.
        unprocessed: bool,
    },
    /// Something undocumented.
    Unknown {
        /// The HTTP status.
        status: u16,
        /// The provider's own word.
        reason: Box<str>,
    },
}

impl Verdict {
    /// The stable name for logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Configuration { .. } => "configuration",
            Self::Forget { .. } => "forget",
            Self::Reject { .. } => "reject",
            Self::Retry { .. } => "retry",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The provider's own word, if it said one.
    pub fn provider_reason(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::Configuration { reason }
            | Self::Forget { reason, .. }
            | Self::Reject { reason }
            | Self::Retry { reason, .. }
            | Self::Unknown { reason, .. } => Some(reason),
        }
    }

    /// The reason recorded when a push ends with this verdict for good; `None` for an accepted one.
    pub const fn final_reason(&self) -> Option<Reason> {
        match self {
            Self::Accepted => None,
            Self::Configuration { .. } => Some(Reason::ConfigurationBroken),
            Self::Forget { .. } => Some(Reason::IdentityDead),
            Self::Reject { .. } | Self::Unknown { .. } => Some(Reason::RejectedByProvider),
            Self::Retry { .. } => Some(Reason::Expired),
        }
    }
}

/// Whether a `Forget` verdict kills a token that was registered at `registered`, for a push sent at `sent`.
///
/// Where the provider gives an invalidation time the token dies only if that is later than its registration: else the
/// device has fetched a new token of the same value, or come back, since. Where it gives none the token dies only if
/// it was registered no later than we sent (DESIGN.md §7, providers.md §8 "410 race").
pub fn kills(since: Option<Timestamp>, registered: Timestamp, sent: Timestamp) -> bool {
    match since {
        Some(since) => since > registered,
        None => registered <= sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_dies_only_of_news_younger_than_itself() {
        let at = Timestamp::from_millis;
        for (since, registered, sent, dies) in [
            (Some(at(20)), at(10), at(30), true),
            (Some(at(10)), at(10), at(30), false),
            (Some(at(5)), at(10), at(30), false),
            (None, at(10), at(30), true),
            (None, at(30), at(30), true),
            (None, at(31), at(30), false),
        ] {
            assert_eq!(kills(since, registered, sent), dies, "{since:?} {registered:?} {sent:?}");
        }
    }
}
