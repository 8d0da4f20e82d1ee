//! Why a TLS handshake did not succeed, told apart so that somebody can mend it.

use std::fmt;
use std::io;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, InvalidMessage};
use x509_parser::time::ASN1Time;

use crate::names::PeerCertificate;

/// Why a handshake failed, in either direction: as accepting side the certificate meant is the client's, as connecting
/// side the server's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// The key shown does not fit the certificate, or a signature in the chain is wrong.
    #[error("a signature made for {subject} is wrong")]
    BadSignature {
        /// Of the certificate shown.
        subject: String,
    },
    /// A certificate of the chain has ended.
    #[error("the certificate of {subject} expired on {}", Day(*.not_after))]
    Expired {
        /// Of the certificate which expired.
        subject: String,
        /// Last second of validity, Unix time.
        not_after: i64,
    },
    /// The connection ended in the middle of the handshake, without a word.
    #[error("the peer closed the connection during the TLS handshake")]
    HungUp,
    /// RFC 5922 §7.1: the chain is good and the certificate speaks for somebody else.
    #[error("the certificate names {}, not {wanted}", List(.offered))]
    NamesAnother {
        /// The name that was asked for.
        wanted: String,
        /// The names that the certificate holds.
        offered: Vec<String>,
    },
    /// A certificate is required and the client showed none.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// No TLS version, cipher suite or signature scheme that both sides know.
    #[error("the peer and this server have no TLS parameters in common: {detail}")]
    NoCommonGround {
        /// Which parameter.
        detail: String,
    },
    /// The certificate may not be used for this, for instance an authority's own certificate.
    #[error("the certificate of {subject} may not be used to identify a SIP domain")]
    NotForThisPurpose {
        /// Of the certificate shown.
        subject: String,
    },
    /// What came is not TLS.
    #[error("the peer does not speak TLS on this port")]
    NotTls,
    /// A certificate of the chain has not begun.
    #[error("the certificate of {subject} is not valid before {}", Day(*.not_before))]
    NotYetValid {
        /// Of the certificate shown.
        subject: String,
        /// First second of validity, Unix time.
        not_before: i64,
    },
    /// Anything else; `detail` is the TLS library's sentence.
    #[error("the TLS handshake failed: {detail}")]
    Other {
        /// What the TLS library says.
        detail: String,
    },
    /// The other side did not like the certificate that we showed, or missed one.
    #[error("the peer rejected our certificate: {}", alert_sentence(*.alert))]
    PeerRejectedOurs {
        /// What it said.
        alert: AlertDescription,
    },
    /// The authority took the certificate back.
    #[error("the certificate of {subject} with serial number {serial} was revoked")]
    Revoked {
        /// Of the certificate shown.
        subject: String,
        /// Of the certificate shown, hexadecimal.
        serial: String,
    },
    /// The handshake took too long.
    #[error("the TLS handshake did not finish in time")]
    TimedOut,
    /// No trusted root has issued the chain.
    #[error("the certificate of {subject} was issued by {issuer}, which is not trusted here (SHA-256 {fingerprint})")]
    UnknownIssuer {
        /// Of the certificate shown.
        subject: String,
        /// The authority missing from the trusted roots.
        issuer: String,
        /// Of the certificate shown, hexadecimal.
        serial: String,
        /// SHA-256 of the certificate shown, hexadecimal.
        fingerprint: String,
    },
    /// The certificate cannot be read, or uses algorithms that are not supported.
    #[error("the certificate presented cannot be used: {detail}")]
    Unusable {
        /// In which way.
        detail: String,
    },
}

/// Whose mistake a failure is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Blame {
    /// Something between the two.
    Network,
    /// This server, or how it is configured.
    Ours,
    /// The other side.
    Peer,
}

impl HandshakeRefusal {
    /// Whose mistake it most likely is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadSignature { .. }
            | Self::Expired { .. }
            | Self::NamesAnother { .. }
            | Self::NoCertificate
            | Self::NoCommonGround { .. }
            | Self::NotForThisPurpose { .. }
            | Self::NotTls
            | Self::NotYetValid { .. }
            | Self::Other { .. }
            | Self::Revoked { .. }
            | Self::Unusable { .. } => Blame::Peer,
            // Both could be configured on the other side; but what can be changed here is our part.
            Self::PeerRejectedOurs { .. } | Self::UnknownIssuer { .. } => Blame::Ours,
            Self::HungUp | Self::TimedOut => Blame::Network,
        }
    }

    /// Whether trying again soon, with nothing changed, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::HungUp | Self::TimedOut => true,
            Self::BadSignature { .. }
            | Self::Expired { .. }
            | Self::NamesAnother { .. }
            | Self::NoCertificate
            | Self::NoCommonGround { .. }
            | Self::NotForThisPurpose { .. }
            | Self::NotTls
            | Self::NotYetValid { .. }
            | Self::Other { .. }
            | Self::PeerRejectedOurs { .. }
            | Self::Revoked { .. }
            | Self::UnknownIssuer { .. }
            | Self::Unusable { .. } => false,
        }
    }

    /// What a person may do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::BadSignature { .. } => "ask the peer to check that its key belongs to its certificate",
            Self::Expired { .. } => "the owner of the certificate has to renew it",
            Self::HungUp => "look at the peer's log: it gave no reason",
            Self::NamesAnother { .. } => "correct the name this peer is reached by, or have its certificate name it",
            Self::NoCertificate => "the peer has to be configured with a client certificate",
            Self::NoCommonGround { .. } => "the peer has to offer TLS 1.2 or 1.3 with a current cipher suite",
            Self::NotForThisPurpose { .. } => "the peer needs a certificate for TLS server or client authentication",
            Self::NotTls => "the peer has to use TLS, or another port",
            Self::NotYetValid { .. } => "compare the clocks of both servers",
            Self::Other { .. } => "look at both logs",
            Self::PeerRejectedOurs { .. } => {
                "check that our certificate is current and that the peer trusts its issuer and knows its name"
            }
            Self::Revoked { .. } => "the peer has to get a new certificate",
            Self::TimedOut => "check whether a firewall between both lets port 5061 through in both directions",
            Self::UnknownIssuer { .. } => "add the issuer to the trusted roots if it deserves trust",
            Self::Unusable { .. } => "the peer has to get another certificate",
        }
    }

    /// A short constant name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadSignature { .. } => "bad-signature",
            Self::Expired { .. } => "expired",
            Self::HungUp => "hung-up",
            Self::NamesAnother { .. } => "names-another",
            Self::NoCertificate => "no-certificate",
            Self::NoCommonGround { .. } => "no-common-ground",
            Self::NotForThisPurpose { .. } => "not-for-this-purpose",
            Self::NotTls => "not-tls",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Other { .. } => "other",
            Self::PeerRejectedOurs { .. } => "peer-rejected-ours",
            Self::Revoked { .. } => "revoked",
            Self::TimedOut => "timed-out",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::Unusable { .. } => "unusable",
        }
    }

    /// Reads an error of the TLS stream. What our own verifiers found is better known to them.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::HungUp,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other { detail: error.to_string() },
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::PeerIncompatible(detail) => Self::NoCommonGround { detail: format!("{detail:?}") },
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::InvalidCertificate(_) => Self::Unusable { detail: error.to_string() },
            _ => Self::Other { detail: error.to_string() },
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            alert if speaks_of_certificate(alert) => Self::PeerRejectedOurs { alert },
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::NoCommonGround { detail: format!("{alert:?}") },
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => Self::HungUp,
            _ => Self::Other { detail: format!("the peer sent the alert {alert:?}") },
        }
    }

    /// What the chain check found, told with the certificates it found it in.
    pub(super) fn of_chain(error: &webpki::Error, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Self {
        let Ok(shown) = PeerCertificate::read(leaf) else {
            return Self::Unusable { detail: "it is not readable X.509".into() };
        };
        match error {
            webpki::Error::CertExpired { not_after, .. } => {
                let not_after = seconds(*not_after);
                let subject = whose(&shown, others, |certificate| certificate.not_after == not_after);
                Self::Expired { subject, not_after }
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                let not_before = seconds(*not_before);
                let subject = whose(&shown, others, |certificate| certificate.not_before == not_before);
                Self::NotYetValid { subject, not_before }
            }
            webpki::Error::CertRevoked => Self::Revoked { subject: shown.subject, serial: shown.serial_hex },
            webpki::Error::InvalidSignatureForPublicKey | webpki::Error::SignatureAlgorithmMismatch => {
                Self::BadSignature { subject: shown.subject }
            }
            webpki::Error::RequiredEkuNotFoundContext(_)
            | webpki::Error::EmptyEkuExtension
            | webpki::Error::CaUsedAsEndEntity
            | webpki::Error::EndEntityUsedAsCa
            | webpki::Error::NameConstraintViolation
            | webpki::Error::PathLenConstraintViolated => Self::NotForThisPurpose { subject: shown.subject },
            webpki::Error::UnknownIssuer => Self::UnknownIssuer {
                issuer: missing_issuer(&shown, others),
                subject: shown.subject,
                serial: shown.serial_hex,
                fingerprint: shown.sha256_fingerprint,
            },
            other => Self::Unusable { detail: other.to_string() },
        }
    }
}

/// Whether an alert is about the receiver's certificate (RFC 8446 §6.2).
pub(crate) fn speaks_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::NoCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

fn alert_sentence(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::AccessDenied => "it is valid but not admitted (access_denied)",
        AlertDescription::BadCertificate => "it is corrupt or names somebody else (bad_certificate)",
        AlertDescription::CertificateExpired => "it has expired (certificate_expired)",
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "we presented none (certificate_required)"
        }
        AlertDescription::CertificateRevoked => "it was revoked (certificate_revoked)",
        AlertDescription::CertificateUnknown => "it was not accepted (certificate_unknown)",
        AlertDescription::UnknownCA => "the peer does not trust its issuer (unknown_ca)",
        AlertDescription::UnsupportedCertificate => "its kind is not supported (unsupported_certificate)",
        _ => "it gave another alert",
    }
}

/// The subject of the first certificate that is the one meant; the one shown if none is.
fn whose(
    shown: &PeerCertificate,
    others: &[CertificateDer<'_>],
    is_meant: impl Fn(&PeerCertificate) -> bool,
) -> String {
    if is_meant(shown) {
        return shown.subject.clone();
    }
    let other = others.iter().filter_map(|der| PeerCertificate::read(der).ok()).find(is_meant);
    other.map_or_else(|| shown.subject.clone(), |certificate| certificate.subject)
}

/// Walks from the certificate shown up the ones sent with it: whoever issued the last of them is missing here.
fn missing_issuer(shown: &PeerCertificate, others: &[CertificateDer<'_>]) -> String {
    let others: Vec<_> = others.iter().filter_map(|der| PeerCertificate::read(der).ok()).collect();
    let mut issuer = shown.issuer.clone();
    // As many steps as there are certificates, so that a circle ends.
    for _ in 0..others.len() {
        match others.iter().find(|other| other.subject == issuer && other.issuer != issuer) {
            Some(above) => issuer.clone_from(&above.issuer),
            None => break,
        }
    }
    issuer
}

pub(super) fn seconds(time: rustls::pki_types::UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Unix seconds as a person reads them.
struct Day(i64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ASN1Time::from_timestamp(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nobody") } else { f.write_str(&self.0.join(", ")) }
    }
}
