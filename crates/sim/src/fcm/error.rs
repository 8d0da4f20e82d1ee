//! Google's errors: the codes of FCM (`google.firebase.fcm.v1.FcmError`) and their JSON form.

use serde_json::{Value, json};

/// FCM's own error codes ("ErrorCode" in the FCM reference).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FcmCode {
    Internal,
    InvalidArgument,
    QuotaExceeded,
    SenderIdMismatch,
    ThirdPartyAuthError,
    Unavailable,
    Unregistered,
    UnspecifiedError,
}

impl FcmCode {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Internal,
        Self::InvalidArgument,
        Self::QuotaExceeded,
        Self::SenderIdMismatch,
        Self::ThirdPartyAuthError,
        Self::Unavailable,
        Self::Unregistered,
        Self::UnspecifiedError,
    ];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "INTERNAL",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::SenderIdMismatch => "SENDER_ID_MISMATCH",
            Self::ThirdPartyAuthError => "THIRD_PARTY_AUTH_ERROR",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unregistered => "UNREGISTERED",
            Self::UnspecifiedError => "UNSPECIFIED_ERROR",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::ThirdPartyAuthError => 401,
            Self::SenderIdMismatch => 403,
            Self::Unregistered => 404,
            Self::QuotaExceeded => 429,
            Self::Internal | Self::UnspecifiedError => 500,
            Self::Unavailable => 503,
        }
    }

    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Internal => "Internal error encountered.",
            Self::InvalidArgument => "Request contains an invalid argument.",
            Self::QuotaExceeded => "Sending limit exceeded for the message target.",
            Self::SenderIdMismatch => "SenderId mismatch",
            Self::ThirdPartyAuthError => "Auth error from APNS or Web Push Service",
            Self::Unavailable => "The service is currently unavailable.",
            Self::Unregistered => "Requested entity was not found.",
            Self::UnspecifiedError => "Unknown error.",
        }
    }
}

/// One thing wrong with one field (`google.rpc.BadRequest.FieldViolation`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) description: String,
}

/// A refusal as Google words it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// Present in what FCM itself says, absent in what Google's front end says.
    pub(super) code: Option<String>,
    pub(super) violations: Vec<Violation>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    /// By Google's front end: no FcmError.
    pub(super) fn plain(status: u16, message: &str) -> Self {
        Self { status, message: message.to_owned(), code: None, violations: Vec::new(), retry_after: None }
    }

    /// By FCM, with its code; `status` differs from the documented one only in scripts.
    pub(super) fn fcm(code: &str, status: Option<u16>) -> Self {
        let known = FcmCode::by_name(code);
        let status = status.or_else(|| known.map(FcmCode::status)).unwrap_or(500);
        let message = known.map_or("Scripted error.", FcmCode::sentence);
        Self { code: Some(code.to_owned()), ..Self::plain(status, message) }
    }

    /// A request whose fields are wrong.
    pub(super) fn fields(violations: Vec<Violation>) -> Self {
        let message = violations.first().map_or(String::new(), |violation| violation.description.clone());
        Self { violations, ..Self::plain(400, &message) }
    }

    pub(super) fn json(&self) -> Value {
        let mut details = Vec::new();
        if let Some(code) = &self.code {
            details.push(json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code }));
        }
        if !self.violations.is_empty() {
            let violations: Vec<Value> = self
                .violations
                .iter()
                .map(|violation| json!({ "field": violation.field, "description": violation.description }))
                .collect();
            details
                .push(json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations }));
        }
        let mut error = json!({ "code": self.status, "message": self.message, "status": rpc_status(self.status) });
        if !details.is_empty() {
            error["details"] = details.into();
        }
        json!({ "error": error })
    }
}

/// `google.rpc.Code` for an HTTP status.
fn rpc_status(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_status_and_rpc_status() {
        let rows = [
            ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT"),
            ("UNREGISTERED", 404, "NOT_FOUND"),
            ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED"),
            ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED"),
            ("UNAVAILABLE", 503, "UNAVAILABLE"),
            ("INTERNAL", 500, "INTERNAL"),
            ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED"),
            ("UNSPECIFIED_ERROR", 500, "INTERNAL"),
        ];
        for (code, status, rpc) in rows {
            let error = &Refusal::fcm(code, None).json()["error"];
            assert_eq!((&error["code"], &error["status"]), (&json!(status), &json!(rpc)), "{code}");
            assert_eq!(error["details"][0]["errorCode"], code);
        }
        assert_eq!(Refusal::fcm("NEW_CODE", Some(418)).json()["error"]["code"], 418);
    }

    #[test]
    fn an_expired_access_token_is_an_error_without_details() {
        let error = Refusal::plain(401, "no").json();
        assert_eq!(error, json!({"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}));
    }
}
