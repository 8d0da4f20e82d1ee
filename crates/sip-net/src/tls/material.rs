//! Certificates, keys, trusted roots and revocation lists as they lie in PEM files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use crate::names::{NameRule, PeerCertificate};

/// A certificate chain and its private key: who we are.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    certificate: Arc<PeerCertificate>,
}

/// The authorities whose word counts, what they took back, and where names are looked for.
#[derive(Clone)]
pub struct TrustRoots {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) revoked: Vec<Arc<webpki::CertRevocationList<'static>>>,
    pub(super) names: NameRule,
}

/// Why certificates, keys or roots could not be used. Fault: configuration.
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

    /// What our own certificate says, for checks before it expires.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    fn read(chain: &[u8], chain_origin: &str, key: &[u8], key_origin: &str) -> Result<Self, TlsSetupError> {
        let chain = certificates(chain, chain_origin)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                return Err(TlsSetupError::NoKey { origin: key_origin.into() });
            }
            Err(error) => return Err(unusable(key_origin, error)),
        };
        let certificate = PeerCertificate::read(&chain[0]).map_err(|error| unusable(chain_origin, error))?;
        match CertifiedKey::from_der(chain, key, super::provider()) {
            Ok(key) => Ok(Self { key: Arc::new(key), certificate: Arc::new(certificate) }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsSetupError::KeyOfAnother { subject: certificate.subject })
            }
            Err(error) => Err(unusable(key_origin, error)),
        }
    }
}

/// Never the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("subject", &self.certificate.subject).finish_non_exhaustive()
    }
}

impl TrustRoots {
    /// Trusts nobody.
    pub fn none() -> Self {
        Self::of(RootCertStore::empty())
    }

    /// Reads every certificate of every file as a trusted root.
    pub fn from_pem_files<P: AsRef<Path>>(files: &[P]) -> Result<Self, TlsSetupError> {
        let mut roots = RootCertStore::empty();
        for file in files {
            let file = file.as_ref();
            add_roots(&mut roots, &contents(file)?, &file.display().to_string())?;
        }
        Ok(Self::of(roots))
    }

    /// Reads every certificate of a PEM text as a trusted root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsSetupError> {
        let mut roots = RootCertStore::empty();
        add_roots(&mut roots, pem, "the trusted roots")?;
        Ok(Self::of(roots))
    }

    /// Adds revocation lists from PEM files. A certificate on none of them counts as not revoked, so that a list of one
    /// authority does not shut out the partners of another.
    pub fn with_revocation_files<P: AsRef<Path>>(mut self, files: &[P]) -> Result<Self, TlsSetupError> {
        for file in files {
            let file = file.as_ref();
            self = self.with_revocations(&contents(file)?, &file.display().to_string())?;
        }
        Ok(self)
    }

    /// Adds revocation lists from PEM text.
    pub fn with_revocations_pem(self, pem: &[u8]) -> Result<Self, TlsSetupError> {
        self.with_revocations(pem, "the revocation lists")
    }

    /// Looks for names elsewhere than in subjectAltName.
    #[must_use]
    pub fn with_names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    /// How many authorities are trusted.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    fn of(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(roots), revoked: Vec::new(), names: NameRule::default() }
    }

    fn with_revocations(mut self, pem: &[u8], origin: &str) -> Result<Self, TlsSetupError> {
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let list = list.map_err(|error| unusable(origin, error))?;
            let list = webpki::OwnedCertRevocationList::from_der(&list).map_err(|error| unusable(origin, error))?;
            self.revoked.push(Arc::new(list.into()));
        }
        Ok(self)
    }
}

impl fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoots").field("roots", &self.roots.len()).field("lists", &self.revoked.len()).finish()
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    std::fs::read(path).map_err(|error| TlsSetupError::File { path: path.to_owned(), detail: error.to_string() })
}

/// At least one.
fn certificates(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| unusable(origin, error))?;
    if found.is_empty() { Err(TlsSetupError::NoCertificate { origin: origin.into() }) } else { Ok(found) }
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8], origin: &str) -> Result<(), TlsSetupError> {
    for root in certificates(pem, origin)? {
        roots.add(root).map_err(|error| unusable(origin, error))?;
    }
    Ok(())
}

fn unusable(origin: &str, error: impl fmt::Display) -> TlsSetupError {
    TlsSetupError::Unusable { origin: origin.into(), detail: error.to_string() }
}
