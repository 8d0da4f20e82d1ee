//! Why a phone could not do what it was asked to.

use std::time::Duration;

use reveille_sip::{Message, Method, Name, PrintError};
use reveille_sip_net::ConnectError;

/// Why a phone could not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PhoneError {
    /// There is no connection to the registrar.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended, by either side, while an answer was awaited.
    #[error("the connection closed before {method} was answered")]
    ConnectionLost {
        /// What was asked.
        method: &'static str,
    },
    /// There is no connection to send on.
    #[error("the phone has no connection; it must sign in first")]
    NotSignedIn,
    /// The answer is no.
    #[error("{method} was refused with {status} {reason}{detail}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
        /// Warning and ms-diagnostics, in brackets; empty if there are none.
        detail: String,
    },
    /// What was awaited did not come.
    #[error("{awaited} did not come within {} ms", within.as_millis())]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        within: Duration,
    },
    /// Too many requests of this phone wait for answers.
    #[error("too many requests of this phone wait for their answers")]
    TooManyRequests,
    /// The options or the recipient cannot stand in a SIP message.
    #[error("{method} cannot be written: {fault}")]
    Unprintable {
        /// What was to be sent.
        method: &'static str,
        /// Why not.
        fault: PrintError,
    },
}

impl PhoneError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Connect(_)
            | Self::ConnectionLost { .. }
            | Self::NotSignedIn
            | Self::TimedOut { .. }
            | Self::TooManyRequests
            | Self::Unprintable { .. } => None,
        }
    }

    pub(super) fn refused(method: Method<'static>, response: &Message) -> Self {
        let told: Vec<&str> = [Name::Warning, Name::MsDiagnostics, Name::MsDiagnosticsPublic]
            .into_iter()
            .flat_map(|name| response.headers(name))
            .collect();
        let told: String = told.join("; ").chars().take(DETAIL_CHARS_MAX).collect();
        Self::Refused {
            method: method.as_str(),
            status: response.status().unwrap_or_default(),
            reason: response.reason_phrase().unwrap_or_default().to_owned(),
            detail: if told.is_empty() { told } else { format!(" ({told})") },
        }
    }
}

/// A peer may say much; a person reads a line.
const DETAIL_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    #[test]
    fn a_refusal_tells_what_the_other_side_said_about_it() {
        let refused = |more: &str| {
            let text = format!(
                "SIP/2.0 403 Forbidden\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
                 To: <sip:b@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n{more}Content-Length: 0\r\n\r\n"
            );
            PhoneError::refused(Method::Register, &parse_datagram(text.into(), &Limits::default()).unwrap())
        };
        assert_eq!(refused("").to_string(), "REGISTER was refused with 403 Forbidden");
        let said = refused("Warning: 399 home \"not yours\"\r\nms-diagnostics: 90101;reason=\"x\"\r\n");
        let sentence = "REGISTER was refused with 403 Forbidden (399 home \"not yours\"; 90101;reason=\"x\")";
        assert_eq!((said.to_string().as_str(), said.status()), (sentence, Some(403)));
    }
}
