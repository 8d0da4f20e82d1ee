//! Scripted answers of FCM, as data for tests and for the control API.

use serde::{Deserialize, Serialize};

use super::error::{FcmCode, Refusal};

/// What shall happen to one message instead of the ordinary acceptance.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FcmAnswer {
    #[serde(rename = "do", default)]
    pub act: FcmAct,
    /// The errorCode of FcmError, for instance `UNREGISTERED`; without it and without `status` the message is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Defaults to the code's documented status. Without a code it makes an error without FcmError.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Retry-After, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The answer waits for the next release.
    #[serde(default)]
    pub hold: bool,
    /// With `close`: the message reached the phone all the same, only the answer is lost.
    #[serde(default)]
    pub delivered: bool,
}

/// What kind of answer it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FcmAct {
    #[default]
    Answer,
    /// The whole request is read, then the connection closes without an answer.
    Close,
}

/// The token under which answers of the OAuth token endpoint are scripted; no device's token begins with a slash.
pub const TOKEN_ENDPOINT: &str = "/token";

impl FcmAnswer {
    /// The ordinary acceptance; useful in lists.
    pub fn accepted() -> Self {
        Self::default()
    }

    /// A documented error.
    pub fn refused(code: FcmCode) -> Self {
        Self { code: Some(code.name().to_owned()), ..Self::default() }
    }

    /// The connection closes after the request was read; the message reached the phone or not.
    pub fn closed(delivered: bool) -> Self {
        Self { act: FcmAct::Close, delivered, ..Self::default() }
    }

    /// The same answer with Retry-After.
    pub fn retry_after(self, secs: u64) -> Self {
        Self { retry_after: Some(secs), ..self }
    }

    /// The same answer, given at the next release only.
    pub fn held(self) -> Self {
        Self { hold: true, ..self }
    }

    /// The error that it makes, if it makes one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let refusal = match (&self.code, self.status) {
            (Some(code), status) => Refusal::fcm(code, status),
            (None, None | Some(200)) => return None,
            (None, Some(status)) => Refusal::plain(status, "Scripted error."),
        };
        Some(Refusal { retry_after: self.retry_after, ..refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_makes_an_fcm_error_and_a_bare_status_a_plain_one() {
        let read = |json: &str| serde_json::from_str::<FcmAnswer>(json).unwrap().refusal();
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"status":200}"#), None);
        let quota = read(r#"{"code":"QUOTA_EXCEEDED","retry_after":30}"#).unwrap();
        assert_eq!((quota.status, quota.retry_after), (429, Some(30)));
        let plain = read(r#"{"status":401}"#).unwrap();
        assert_eq!((plain.status, plain.code), (401, None));
        assert!(serde_json::from_str::<FcmAnswer>(r#"{"reason":"x"}"#).is_err());
    }
}
