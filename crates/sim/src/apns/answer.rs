//! Scripted answers and GOAWAY, as data for tests and for the control API.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// What shall happen to one push instead of the ordinary acceptance.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(rename = "do", default)]
    pub act: Act,
    /// Defaults to the reason's documented status, or 200 without a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// Milliseconds since 1970 UTC, for 410; defaults to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// The answer waits for the next release.
    #[serde(default)]
    pub hold: bool,
    /// With `close`: the push reached the phone all the same, only the answer is lost.
    #[serde(default)]
    pub delivered: bool,
}

/// What kind of answer it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// HEADERS and, for a refusal, the reason.
    #[default]
    Answer,
    /// The whole request is read, then the connection closes without an answer.
    Close,
    /// GOAWAY that leaves this request unprocessed; its debug data holds the reason (default Shutdown).
    GoAway,
    /// RST_STREAM with REFUSED_STREAM (RFC 9113 §8.7: not processed).
    Refuse,
}

impl Answer {
    /// 200, the ordinary acceptance; useful in lists.
    pub fn accepted() -> Self {
        Self::default()
    }

    /// A documented refusal.
    pub fn refused(reason: Reason) -> Self {
        Self { reason: Some(reason.name().into()), ..Self::default() }
    }

    /// 410 Unregistered since `timestamp`, in milliseconds since 1970 UTC.
    pub fn unregistered(timestamp: u64) -> Self {
        Self { timestamp: Some(timestamp), ..Self::refused(Reason::Unregistered) }
    }

    /// The connection closes after the request was read; the push reached the phone or not.
    pub fn closed(delivered: bool) -> Self {
        Self { act: Act::Close, delivered, ..Self::default() }
    }

    /// REFUSED_STREAM.
    pub fn stream_refused() -> Self {
        Self { act: Act::Refuse, ..Self::default() }
    }

    /// GOAWAY below this request.
    pub fn gone_away() -> Self {
        Self { act: Act::GoAway, ..Self::default() }
    }

    /// The same answer, given at the next release only.
    pub fn held(self) -> Self {
        Self { hold: true, ..self }
    }

    pub(super) fn status(&self) -> u16 {
        let by_reason = || self.reason.as_deref().map_or(200, |reason| Reason::status_of(reason).unwrap_or(400));
        self.status.unwrap_or_else(by_reason)
    }
}

/// An order to send GOAWAY (RFC 9113 §6.8) with a reason as its debug data.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GoAway {
    /// For instance `Shutdown` or `IdleTimeout`; without it there is no debug data.
    #[serde(default)]
    pub reason: Option<String>,
    /// The last stream that was processed; defaults to the highest received. Requests above it are dropped.
    #[serde(default)]
    pub last_stream: Option<u32>,
    /// Not now, but on each connection after so many more requests.
    #[serde(default)]
    pub after_requests: Option<u64>,
}

/// The JSON of a refusal and of GOAWAY ("Handling notification responses from APNs").
pub(super) fn reason_json(reason: &str, timestamp: Option<u64>) -> Vec<u8> {
    let mut body = serde_json::json!({ "reason": reason });
    if let Some(timestamp) = timestamp {
        body["timestamp"] = timestamp.into();
    }
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_the_reason_unless_given() {
        let read = |json: &str| serde_json::from_str::<Answer>(json).unwrap().status();
        assert_eq!(read("{}"), 200);
        assert_eq!(read(r#"{"reason":"Unregistered"}"#), 410);
        assert_eq!(read(r#"{"reason":"NeverHeard"}"#), 400);
        assert_eq!(read(r#"{"reason":"NeverHeard","status":418}"#), 418);
    }

    #[test]
    fn the_json_form_has_a_verb_and_refuses_unknown_words() {
        let closed: Answer = serde_json::from_str(r#"{"do":"close","delivered":true}"#).unwrap();
        assert_eq!(closed, Answer::closed(true));
        assert!(serde_json::from_str::<Answer>(r#"{"stauts":410}"#).is_err());
    }

    #[test]
    fn a_refusal_names_its_reason_and_time() {
        assert_eq!(reason_json("BadTopic", None), br#"{"reason":"BadTopic"}"#);
        assert_eq!(reason_json("Unregistered", Some(7)), br#"{"reason":"Unregistered","timestamp":7}"#);
    }
}
