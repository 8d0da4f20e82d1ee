//! The states one push moves through, shared by logs, metrics, trace and `Get-` output.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Where a push is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum PushState {
    /// Home owes it: kept in the same commit as the message.
    Owed,
    /// Home has sent the push request and waits for the answer.
    Requested,
    /// The clearing house has it in its journal (202).
    Journaled,
    /// The clearing house is about to write, or is writing, its first byte to the provider.
    Sending,
    /// The provider has taken it. Whether the phone showed it only the phone knows.
    Accepted,
    /// It was not sent, or did not arrive, and this is why.
    NotPushed(Reason),
}

impl PushState {
    /// The stable name for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Requested => "requested",
            Self::Journaled => "journaled",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::NotPushed(_) => "not-pushed",
        }
    }
}
