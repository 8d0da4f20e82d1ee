//! One push as the simulator remembers it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::push_type::PushType;
use crate::recorder::Push;

/// A request to APNs and what became of it. `Debug` shows neither token nor payload.
#[derive(Clone, Serialize)]
pub struct ApnsPush {
    /// Connections are counted from 1.
    pub connection: u64,
    /// The HTTP/2 stream.
    pub stream: u32,
    /// Hexadecimal, as sent; empty if the path held none.
    pub token: Box<str>,
    pub topic: Option<Arc<str>>,
    pub push_type: Option<PushType>,
    pub priority: Option<u8>,
    /// Seconds since 1970 UTC.
    pub expiration: Option<u64>,
    pub collapse_id: Option<Box<str>>,
    /// As sent, or as made.
    pub apns_id: Box<str>,
    /// The JSON payload; `None` if it was none or too large.
    pub payload: Option<Box<RawValue>>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    Answered {
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Cow<'static, str>>,
        /// Milliseconds since 1970 UTC, with 410.
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<u64>,
    },
    /// Waiting for a release.
    Held,
    /// The connection was closed instead of an answer, by script.
    Closed { delivered: bool },
    /// Not processed: RST_STREAM with REFUSED_STREAM.
    Refused,
    /// Not processed: above the last stream of a GOAWAY.
    Dropped,
    /// The sender reset the stream, or its connection ended, before the answer.
    Abandoned,
}

impl ApnsPush {
    /// The payload as a JSON value; null if there is none.
    pub fn payload(&self) -> serde_json::Value {
        self.payload.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// The reason it was refused with, if it was.
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answered { reason, .. } => reason.as_deref(),
            Outcome::Held | Outcome::Closed { .. } | Outcome::Refused | Outcome::Dropped | Outcome::Abandoned => None,
        }
    }
}

impl Push for ApnsPush {
    fn token(&self) -> &str {
        &self.token
    }

    fn bytes(&self) -> usize {
        let payload = self.payload.as_deref().map_or(0, |raw| raw.get().len());
        let collapse_id = self.collapse_id.as_deref().map_or(0, str::len);
        size_of::<Self>() + self.token.len() + collapse_id + self.apns_id.len() + payload
    }

    fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Answered { status, .. } => Some(status),
            Outcome::Held | Outcome::Closed { .. } | Outcome::Refused | Outcome::Dropped | Outcome::Abandoned => None,
        }
    }

    fn delivered(&self) -> bool {
        match self.outcome {
            Outcome::Answered { status, .. } => status == 200,
            Outcome::Closed { delivered } => delivered,
            Outcome::Held | Outcome::Refused | Outcome::Dropped | Outcome::Abandoned => false,
        }
    }
}

impl fmt::Debug for ApnsPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsPush")
            .field("connection", &self.connection)
            .field("stream", &self.stream)
            .field("device.tail", &tail(&self.token))
            .field("topic", &self.topic)
            .field("push_type", &self.push_type)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// The last few characters of a token: enough to tell two apart, too few to push with.
pub(crate) fn tail(token: &str) -> &str {
    let at = token.len().saturating_sub(6.min(token.len() / 2));
    token.get(at..).unwrap_or_default()
}
