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
        self.step().as_str()
    }

    /// The step that has led here.
    pub const fn step(self) -> Step {
        match self {
            Self::Owed => Step::Owed,
            Self::Requested => Step::Requested,
            Self::Journaled => Step::Journaled,
            Self::Sending => Step::Sending,
            Self::Accepted => Step::Accepted,
            Self::NotPushed(_) => Step::NotPushed,
        }
    }
}

/// The steps of a push, and of the news about its end that go home: the one list of their names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Home owes it.
    Owed,
    /// Home has asked for it.
    Requested,
    /// It is on the clearing house's disk: from here on nothing is lost.
    Journaled,
    /// Its first byte is about to go to the provider, or has gone.
    Sending,
    /// The provider has taken it.
    Accepted,
    /// It was not sent, or did not arrive.
    NotPushed,
    /// Its home is to be told how it ended: that is on disk too.
    FeedbackOwed,
    /// Home has taken that.
    FeedbackDelivered,
    /// Home does not believe that, and is told no more.
    FeedbackGivenUp,
}

impl Step {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Requested => "requested",
            Self::Journaled => "journaled",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::NotPushed => "not-pushed",
            Self::FeedbackOwed => "feedback-owed",
            Self::FeedbackDelivered => "feedback-delivered",
            Self::FeedbackGivenUp => "feedback-given-up",
        }
    }
}
