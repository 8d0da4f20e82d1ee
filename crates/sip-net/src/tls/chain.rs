//! Checking a peer's certificate chain, and remembering why it failed.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use webpki::{EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

use super::lists::{ListsRunOut, orders};
use super::refusal::HandshakeRefusal;
use super::roots::TrustRoots;
use super::{finding, provider};
use crate::names::{NameRule, PeerCertificate};

/// Which end of the connection shows the certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Client,
    Server,
}

/// Roots and revocation lists, shared by all connections of one configuration.
pub(super) struct ChainCheck {
    pub(super) trust: TrustRoots,
}

impl ChainCheck {
    /// Verifies the chain within a handshake; on failure notes the reason for whoever awaits it.
    pub(super) fn check(
        &self,
        end: End,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let bytes = others.iter().fold(leaf.len(), |bytes, der| bytes + der.len());
        if bytes > CHAIN_BYTES_MAX {
            let detail = format!("its chain has {bytes} bytes, and more than {CHAIN_BYTES_MAX} are not taken");
            finding::note(HandshakeRefusal::Unusable { detail, shown: self.read(leaf).ok() });
            return Err(CertificateError::BadEncoding.into());
        }
        self.verify(end, leaf, others, now).map_err(|error| {
            finding::note(self.refusal(&error, leaf, others));
            for_the_alert(error).into()
        })
    }

    /// Verifies a chain again that was good once.
    pub(super) fn check_again(
        &self,
        end: End,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), HandshakeRefusal> {
        let (leaf, others) = chain.split_first().ok_or(HandshakeRefusal::NoCertificate)?;
        self.verify(end, leaf, others, now).map_err(|error| self.refusal(&error, leaf, others))
    }

    /// Reads a certificate by the rule that holds here.
    pub(super) fn read(&self, leaf: &CertificateDer<'_>) -> Result<Arc<PeerCertificate>, HandshakeRefusal> {
        let read = PeerCertificate::read(leaf)
            .map_err(|error| HandshakeRefusal::Unusable { detail: error.to_string(), shown: None })?;
        let common_name_counts = self.trust.names == NameRule::WithCommonName;
        Ok(Arc::new(PeerCertificate { common_name_counts, ..read }))
    }

    fn refusal(
        &self,
        error: &webpki::Error,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> HandshakeRefusal {
        let is_listed = |certificate: &PeerCertificate| self.trust.lists.iter().any(|list| list.holds(certificate));
        match self.read(leaf) {
            Ok(shown) => HandshakeRefusal::of_chain(error, shown, others, is_listed),
            Err(refusal) => refusal,
        }
    }

    fn verify(
        &self,
        end: End,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let mut outcome = Ok(());
        for lists in orders(&self.trust.lists) {
            outcome = self.verify_with(&lists, end, leaf, others, now);
            // Another list of that name may be the one made with this key.
            if !matches!(
                outcome,
                Err(webpki::Error::InvalidCrlSignatureForPublicKey
                    | webpki::Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_))
            ) {
                break;
            }
        }
        outcome
    }

    fn verify_with(
        &self,
        lists: &[&webpki::CertRevocationList<'_>],
        end: End,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let expiration = match self.trust.run_out {
            ListsRunOut::Alarm => ExpirationPolicy::Ignore,
            ListsRunOut::Refuse => ExpirationPolicy::Enforce,
        };
        let revocation = webpki::RevocationOptionsBuilder::new(lists).ok().map(|options| {
            options.with_status_policy(webpki::UnknownStatusPolicy::Allow).with_expiration_policy(expiration).build()
        });
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                provider().signature_verification_algorithms.all,
                &self.trust.roots.roots,
                others,
                now,
                Purpose(end),
                revocation,
                None,
            )
            .map(drop)
    }

    /// The signature of the handshake itself, TLS 1.2.
    pub(super) fn signature12(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
            .inspect_err(|_| note_bad_signature(certificate))
    }

    /// The signature of the handshake itself, TLS 1.3.
    pub(super) fn signature13(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
            .inspect_err(|_| note_bad_signature(certificate))
    }

    pub(super) fn schemes() -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for ChainCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trust.fmt(f)
    }
}

/// Which extended key usages will do.
///
/// SIP peers use one certificate in both directions, and public authorities issue such certificates for server
/// authentication only; so as client a domain may also show its server certificate. The reverse is refused: a user's
/// client certificate must not open a server.
struct Purpose(End);

impl Purpose {
    fn fits(&self, purpose: &KeyPurposeId<'_>) -> bool {
        [SERVER_AUTH, SIP_DOMAIN, ANY].contains(purpose) || (self.0 == End::Client && *purpose == CLIENT_AUTH)
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if self.fits(&purpose) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        // RFC 5280 §4.2.1.12: without the extension every purpose is allowed.
        if present.is_empty() {
            return Ok(());
        }
        let required = match self.0 {
            End::Client => webpki::KeyUsage::client_auth(),
            End::Server => webpki::KeyUsage::server_auth(),
        };
        Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext { required, present }))
    }
}

/// Most bytes of a chain. It is kept while its connections are open, and goes out again within session tickets.
const CHAIN_BYTES_MAX: usize = 32 * 1024;
/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1.
const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[43, 6, 1, 5, 5, 7, 3, 1]);
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[43, 6, 1, 5, 5, 7, 3, 2]);
/// RFC 5280 §4.2.1.12: anyExtendedKeyUsage, 2.5.29.37.0: the authority restricts nothing.
const ANY: KeyPurposeId<'static> = KeyPurposeId::new(&[85, 29, 37, 0]);
/// RFC 5924 §4: id-kp-sipDomain, 1.3.6.1.5.5.7.3.20.
const SIP_DOMAIN: KeyPurposeId<'static> = KeyPurposeId::new(&[43, 6, 1, 5, 5, 7, 3, 20]);

fn note_bad_signature(certificate: &CertificateDer<'_>) {
    finding::note(match PeerCertificate::read(certificate) {
        Ok(shown) => HandshakeRefusal::of_signature(Arc::new(shown)),
        Err(error) => HandshakeRefusal::Unusable { detail: error.to_string(), shown: None },
    });
}

/// The TLS library picks the alert by this; the peer learns the class and no more.
fn for_the_alert(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
