//! Feedback: a provider's verdict on its way home (DESIGN.md §5).

use reveille_core::{IdentityId, PushId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::request::{BodyFault, is_version_1, without_position};

/// The content type as it is sent.
pub const CONTENT_TYPE_V1: &str = "application/vnd.reveille.feedback+json;v=1";
/// The content type without its version parameter.
pub const CONTENT_TYPE: &str = "application/vnd.reveille.feedback+json";
/// The most items in one MESSAGE.
pub const ITEMS_MAX: usize = 64;

/// What a clearing house tells a home.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Feedback {
    /// The first item's number in the clearing house's outbox; for logs.
    pub id: u64,
    /// The verdicts, oldest first.
    pub items: Vec<Item>,
}

/// One verdict.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Item {
    /// The push that showed it.
    pub push: PushId,
    /// The push identity it was for.
    pub identity: IdentityId,
    /// What home should do.
    pub verdict: FeedbackVerdict,
    /// The provider's own word, or ours.
    pub reason: Box<str>,
    /// Since when the token is dead, if the provider said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_time: Option<Timestamp>,
    /// When the clearing house knew.
    pub at: Timestamp,
}

/// What home should do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeedbackVerdict {
    /// Forget the token: the provider has declared it dead.
    Forget,
    /// An earlier `forget` was wrong.
    Reversed,
    /// Only tell: it feeds the organisation's own trace.
    State,
}

impl FeedbackVerdict {
    /// The stable lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Reversed => "reversed",
            Self::State => "state",
        }
    }

    /// The verdict of that word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Forget, Self::Reversed, Self::State].into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// Reads a feedback body.
pub fn read_body(body: &[u8]) -> Result<Feedback, BodyFault> {
    if body.len() > crate::request::BODY_BYTES_MAX {
        return Err(BodyFault::TooLarge { bytes: body.len() });
    }
    let feedback: Feedback = serde_json::from_slice(body).map_err(|error| BodyFault::Json {
        line: error.line(),
        column: error.column(),
        fault: without_position(&error),
    })?;
    match feedback.items.len() {
        0 => Err(BodyFault::Empty),
        count if count > ITEMS_MAX => Err(BodyFault::TooMany { count }),
        _ => Ok(feedback),
    }
}

/// Writes a feedback body.
pub fn write_body(feedback: &Feedback) -> Vec<u8> {
    serde_json::to_vec(feedback).expect("feedback always serialises: it holds no map")
}

/// Whether a Content-Type is feedback of a version that is understood here.
pub fn is_feedback(content_type: &str) -> bool {
    is_version_1(content_type, CONTENT_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedback_reads_back_as_written() {
        let item = Item {
            push: PushId::from_u128(1),
            identity: IdentityId::from_u128(2),
            verdict: FeedbackVerdict::Forget,
            reason: "Unregistered".into(),
            provider_time: Some(Timestamp::from_millis(3)),
            at: Timestamp::from_millis(4),
        };
        let feedback = Feedback { id: 9, items: vec![item] };
        assert_eq!(read_body(&write_body(&feedback)).unwrap(), feedback);
        assert_eq!(read_body(br#"{"id":1,"items":[]}"#), Err(BodyFault::Empty));
        assert!(is_feedback(CONTENT_TYPE_V1) && !is_feedback(crate::request::CONTENT_TYPE_V1));
    }
}
