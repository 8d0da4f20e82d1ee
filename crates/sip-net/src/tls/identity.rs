//! A certificate chain and its key, as they lie in PEM files, and what is wrong with such files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::finding;
use crate::names::PeerCertificate;

/// A certificate chain and its private key: who we are.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    chain: Arc<[Arc<PeerCertificate>]>,
}

/// Why certificates, keys, roots or lists could not be used. Fault: configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TlsSetupError {
    /// The file cannot be read.
    #[error("{} cannot be read: {detail}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        detail: String,
    },
    /// The private key is not the one of the certificate.
    #[error("the private key does not belong to the certificate of {subject}")]
    KeyOfAnother {
        /// Of the certificate.
        subject: String,
    },
    /// No certificate in PEM form where one should be.
    #[error("there is no certificate in {origin}")]
    NoCertificate {
        /// File, or what was being read.
        origin: String,
    },
    /// No private key in PEM form where one should be.
    #[error("there is no private key in {origin}")]
    NoKey {
        /// File, or what was being read.
        origin: String,
    },
    /// No revocation list where one should be.
    #[error("there is no revocation list in {origin}")]
    NoList {
        /// File, or what was being read.
        origin: String,
    },
    /// A client certificate is wanted and nobody is trusted to have issued one.
    #[error("client certificates are asked for, but no trusted roots are configured")]
    NoRoots,
    /// A section that cannot be used.
    #[error("{origin} cannot be used: {detail}")]
    Unusable {
        /// File, or what was being read.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Identity {
    /// Reads a chain (own certificate first) and a key from PEM files; they may be the same file.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsSetupError> {
        Self::read(&contents(chain)?, &chain.display().to_string(), &contents(key)?, &key.display().to_string())
    }

    /// Reads a chain (own certificate first) and a key from PEM text.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsSetupError> {
        Self::read(chain, "the certificate chain", key, "the private key")
    }

    /// What our own certificate says.
    pub fn certificate(&self) -> &Arc<PeerCertificate> {
        &self.chain[0]
    }

    /// The whole chain as it is shown to peers, own certificate first.
    pub fn chain(&self) -> &[Arc<PeerCertificate>] {
        &self.chain
    }

    fn read(pem: &[u8], chain_origin: &str, key: &[u8], key_origin: &str) -> Result<Self, TlsSetupError> {
        let ders = certificates(pem, chain_origin)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                return Err(TlsSetupError::NoKey { origin: key_origin.into() });
            }
            Err(error) => return Err(unusable(key_origin, error)),
        };
        let chain: Result<Vec<_>, _> = ders.iter().map(|der| PeerCertificate::read(der).map(Arc::new)).collect();
        let chain = chain.map_err(|error| unusable(chain_origin, error))?;
        match CertifiedKey::from_der(ders, key, super::provider()) {
            Ok(key) => Ok(Self { key: Arc::new(key), chain: chain.into() }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsSetupError::KeyOfAnother { subject: chain[0].subject.clone() })
            }
            Err(error) => Err(unusable(key_origin, error)),
        }
    }
}

/// Never the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("subject", &self.certificate().subject).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        finding::note_ours(self.certificate());
        Some(self.key.clone())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        finding::note_ours(self.certificate());
        Some(self.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(super) fn contents(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    std::fs::read(path).map_err(|error| TlsSetupError::File { path: path.to_owned(), detail: error.to_string() })
}

/// At least one.
pub(super) fn certificates(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| unusable(origin, error))?;
    if found.is_empty() { Err(TlsSetupError::NoCertificate { origin: origin.into() }) } else { Ok(found) }
}

pub(super) fn unusable(origin: &str, error: impl fmt::Display) -> TlsSetupError {
    TlsSetupError::Unusable { origin: origin.into(), detail: error.to_string() }
}
