//! From errors of the TLS library and of the chain check to [`HandshakeRefusal`].

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{AlertDescription, InvalidMessage};

use super::alert::{self, speaks_of_certificate};
use super::refusal::HandshakeRefusal;
use crate::names::PeerCertificate;

impl HandshakeRefusal {
    /// Reads an error of the TLS stream. `ours` is our certificate, if the peer has seen it. What our own verifiers found
    /// is better known to them.
    pub(super) fn of_io(error: &io::Error, ours: Option<Arc<PeerCertificate>>) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(tls, ours);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::of_silence(ours),
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other { detail: error.to_string() },
        }
    }

    /// The connection ended without a word.
    pub(crate) fn of_silence(ours: Option<Arc<PeerCertificate>>) -> Self {
        ours.map_or(Self::HungUp, |ours| Self::DroppedOurs { ours })
    }

    fn of_tls(error: &rustls::Error, ours: Option<Arc<PeerCertificate>>) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::PeerIncompatible(detail) => Self::NoCommonGround { detail: format!("{detail:?}") },
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert, ours),
            rustls::Error::InvalidCertificate(_) => Self::Unusable { detail: error.to_string(), shown: None },
            _ => Self::Other { detail: error.to_string() },
        }
    }

    fn of_alert(alert: AlertDescription, ours: Option<Arc<PeerCertificate>>) -> Self {
        match alert {
            alert if speaks_of_certificate(alert) => Self::PeerRejectedOurs { alert, ours },
            AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::MissingExtension
            | AlertDescription::NoApplicationProtocol
            | AlertDescription::ProtocolVersion => {
                Self::NoCommonGround { detail: format!("the peer sent the alert {}", alert::name(alert)) }
            }
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => Self::of_silence(ours),
            _ => Self::Other { detail: format!("the peer sent the alert {}", alert::name(alert)) },
        }
    }

    /// A signature of the handshake, made with the certificate's key, or of the certificate itself is not good.
    pub(super) fn of_signature(shown: Arc<PeerCertificate>) -> Self {
        match shown.rsa_bits {
            Some(bits) if bits < RSA_BITS_MIN => Self::Unusable {
                detail: format!("its RSA key has {bits} bits, and fewer than {RSA_BITS_MIN} are not taken"),
                shown: Some(shown),
            },
            _ => Self::BadSignature { shown },
        }
    }

    /// What the chain check found, told with the certificates it found it in. `is_listed` says whether a certificate is on
    /// a revocation list.
    pub(super) fn of_chain(
        error: &webpki::Error,
        shown: Arc<PeerCertificate>,
        others: &[CertificateDer<'_>],
        is_listed: impl Fn(&PeerCertificate) -> bool,
    ) -> Self {
        match error {
            webpki::Error::CertExpired { not_after, .. } => {
                let not_after = seconds(*not_after);
                let subject = whose(&shown, others, |certificate| certificate.not_after == not_after).subject;
                Self::Expired { subject, not_after, shown }
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                let not_before = seconds(*not_before);
                let subject = whose(&shown, others, |certificate| certificate.not_before == not_before).subject;
                Self::NotYetValid { subject, not_before, shown }
            }
            webpki::Error::CertRevoked => {
                let revoked = whose(&shown, others, is_listed);
                Self::Revoked { subject: revoked.subject, serial: revoked.serial_hex, shown }
            }
            webpki::Error::CrlExpired { next_update, .. } => {
                Self::ListRanOut { next_update: seconds(*next_update), shown }
            }
            webpki::Error::InvalidCrlSignatureForPublicKey => {
                Self::ListUnusable { detail: "its signature is not its issuer's".into(), shown }
            }
            webpki::Error::IssuerNotCrlSigner => {
                Self::ListUnusable { detail: "its issuer may not sign revocation lists".into(), shown }
            }
            webpki::Error::InvalidSignatureForPublicKey | webpki::Error::SignatureAlgorithmMismatch => {
                Self::of_signature(shown)
            }
            webpki::Error::UnsupportedSignatureAlgorithmContext(_)
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::Unusable {
                detail: "it is signed in a way that is not taken here, like SHA-1".into(),
                shown: Some(shown),
            },
            webpki::Error::RequiredEkuNotFoundContext(_)
            | webpki::Error::EmptyEkuExtension
            | webpki::Error::CaUsedAsEndEntity
            | webpki::Error::EndEntityUsedAsCa
            | webpki::Error::NameConstraintViolation
            | webpki::Error::PathLenConstraintViolated => Self::NotForThisPurpose { shown },
            webpki::Error::UnknownIssuer => Self::UnknownIssuer { issuer: missing_issuer(&shown, others), shown },
            other => Self::Unusable { detail: other.to_string(), shown: Some(shown) },
        }
    }
}

/// The first certificate that is the one meant; the one shown if none is.
fn whose(
    shown: &PeerCertificate,
    others: &[CertificateDer<'_>],
    is_meant: impl Fn(&PeerCertificate) -> bool,
) -> PeerCertificate {
    if is_meant(shown) {
        return shown.clone();
    }
    let other = others.iter().filter_map(|der| PeerCertificate::read(der).ok()).find(is_meant);
    other.unwrap_or_else(|| shown.clone())
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

/// Shorter RSA keys are not verified by the TLS library.
const RSA_BITS_MIN: usize = 2048;

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
