//! One message as the simulator remembers it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::apns::tail;
use crate::recorder::Push;

/// A request to FCM and what became of it. `Debug` shows neither target nor message.
#[derive(Clone, Serialize)]
pub struct FcmPush {
    /// Connections are counted from 1.
    pub connection: u64,
    pub project: Box<str>,
    /// What the message names as its target; `None` if it was refused before that was known.
    pub target: Option<Target>,
    /// The target's value; empty if there was none.
    pub token: Box<str>,
    /// `NORMAL` or `HIGH`, of `android.priority`.
    pub priority: Option<&'static str>,
    /// `android.ttl` as sent, for instance `30s`.
    pub ttl: Option<Box<str>>,
    pub collapse_key: Option<Box<str>>,
    /// The whole `message`.
    pub message: Value,
    #[serde(flatten)]
    pub outcome: FcmOutcome,
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Condition,
    Fid,
    Token,
    Topic,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum FcmOutcome {
    /// 200 with this message name.
    Accepted { status: u16, name: Box<str> },
    /// `validateOnly`: 200, but nothing is sent.
    Validated { status: u16 },
    Refused {
        status: u16,
        /// The errorCode of FcmError, if there was one.
        code: Option<Box<str>>,
    },
    /// Waiting for a release.
    Held,
    /// The connection was closed instead of an answer, by script.
    Closed { delivered: bool },
    /// The sender, or an outage, ended the connection before the answer.
    Abandoned,
}

impl Push for FcmPush {
    fn token(&self) -> &str {
        &self.token
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.project.len() + self.token.len() + json_bytes(&self.message)
    }

    fn status(&self) -> Option<u16> {
        match self.outcome {
            FcmOutcome::Accepted { status, .. }
            | FcmOutcome::Validated { status }
            | FcmOutcome::Refused { status, .. } => Some(status),
            FcmOutcome::Held | FcmOutcome::Closed { .. } | FcmOutcome::Abandoned => None,
        }
    }

    fn delivered(&self) -> bool {
        match self.outcome {
            FcmOutcome::Accepted { .. } => true,
            FcmOutcome::Closed { delivered } => delivered,
            FcmOutcome::Validated { .. } | FcmOutcome::Refused { .. } | FcmOutcome::Held | FcmOutcome::Abandoned => {
                false
            }
        }
    }
}

impl fmt::Debug for FcmPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmPush")
            .field("connection", &self.connection)
            .field("project", &self.project)
            .field("target", &self.target)
            .field("device.tail", &tail(&self.token))
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// About how much memory a value holds.
fn json_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(json_bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 24 + json_bytes(value)).sum(),
        }
}
