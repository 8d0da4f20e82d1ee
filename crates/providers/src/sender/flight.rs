//! One push under way: what must be known when its answer comes, and what it comes to without one.

use reveille_core::Timestamp;
use reveille_http2::Lost;
use tokio::time::Instant;

use super::dialect::{Reply, Then, retry, word};

/// One push under way, without anything that is secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) key: u64,
    /// By the wall, for the outcome.
    pub(super) sent: Timestamp,
    /// For time-outs and the latency.
    pub(super) started: Instant,
    /// The age of the credential that went with it.
    pub(super) minted: Timestamp,
    /// Whether its answer decides about an open circuit.
    pub(super) probe: Probe,
}

/// Whether a push probes an open circuit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Probe {
    /// It is an ordinary push.
    No,
    /// It is a push, and it probes.
    Push,
    /// It is nobody's: made for the purpose, and its outcome is told to nobody.
    Own,
}

/// What a push without an answer comes to. Streams at or below GOAWAY's last id go on, and end with the connection.
pub(super) fn broken(lost: &Lost) -> Reply {
    Reply {
        verdict: retry(word(&lost.why), None, lost.unprocessed),
        provider_id: None,
        then: if lost.unprocessed { Then::Continue } else { Then::Suspect },
    }
}
