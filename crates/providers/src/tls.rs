//! Whom we trust when we connect to a provider, and as whom we come.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The authorities whose certificates a provider may present.
#[derive(Clone, Debug)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// What this machine trusts: the bundle named by `SSL_CERT_FILE`, else the first of the usual places that exists.
    pub fn system() -> Result<Self, TrustFault> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let places = named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from));
        match places.into_iter().find(|place| place.is_file()) {
            Some(place) => Self::read(&place),
            None => Err(TrustFault::NoBundle),
        }
    }

    /// The authorities in a PEM file.
    pub fn read(path: &Path) -> Result<Self, TrustFault> {
        let pem = std::fs::read(path)
            .map_err(|fault| TrustFault::Unreadable { path: path.to_owned(), fault: fault.to_string() })?;
        Self::from_pem(&pem)
    }

    /// The authorities in PEM. Entries that cannot serve as an authority are left out: every system's bundle has some.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustFault> {
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
        if taken == 0 { Err(TrustFault::NoAuthority) } else { Ok(Self(Arc::new(roots))) }
    }

    /// The authorities themselves, for a client that is no sender.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }

    /// A TLS client that offers HTTP/2 only, with a client certificate if `identity` is given.
    pub(crate) fn client(&self, identity: Option<&ClientIdentity>) -> Result<Arc<ClientConfig>, TrustFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // APNs asks for TLS 1.2 or later; so do all others.
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.0));
        let mut config = match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl From<RootCertStore> for Trust {
    fn from(roots: RootCertStore) -> Self {
        Self(Arc::new(roots))
    }
}

/// A client certificate with its key. `Debug` shows neither.
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// Reads the chain, leaf first, and the private key from PEM; both may stand in one text given twice.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TrustFault> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).flatten().collect();
        if chain.is_empty() {
            return Err(TrustFault::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TrustFault::NoKey)?;
        Ok(Self { chain, key })
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// Why TLS to a provider cannot be set up. The configuration's fault; repeating does not help.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrustFault {
    /// There is no usable authority in the file.
    #[error("the file of authorities holds no certificate that could be one")]
    NoAuthority,
    /// This machine keeps its authorities somewhere unusual.
    #[error("this machine has no bundle of authorities in a usual place; name one in SSL_CERT_FILE")]
    NoBundle,
    /// The client certificate is missing.
    #[error("the client certificate's file holds no certificate")]
    NoCertificate,
    /// The client certificate's key is missing.
    #[error("the client certificate's key file holds no private key")]
    NoKey,
    /// Certificate and key do not fit each other, or TLS cannot use them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The file cannot be read.
    #[error("{path} cannot be read: {fault}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        fault: String,
    },
}

/// Debian and Alpine; Red Hat; SUSE; the BSDs.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_refused_with_a_sentence() {
        assert_eq!(Trust::from_pem(b"").unwrap_err(), TrustFault::NoAuthority);
        let junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Trust::from_pem(junk).unwrap_err(), TrustFault::NoAuthority);
        assert_eq!(ClientIdentity::from_pem(b"", b"").unwrap_err(), TrustFault::NoCertificate);
        assert_eq!(ClientIdentity::from_pem(junk, junk).unwrap_err(), TrustFault::NoKey);
        let missing = Trust::read(Path::new("/nowhere/ca.pem")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/ca.pem cannot be read: "), "{missing}");
    }

    #[test]
    fn a_client_offers_http2_and_nothing_else() {
        let key = rcgen::generate_simple_self_signed(vec!["ca.example".into()]).unwrap();
        let trust = Trust::from_pem(key.cert.pem().as_bytes()).unwrap();
        assert_eq!(trust.client(None).unwrap().alpn_protocols, [b"h2"]);
        let pem = key.signing_key.serialize_pem();
        let identity = ClientIdentity::from_pem(key.cert.pem().as_bytes(), pem.as_bytes()).unwrap();
        assert!(trust.client(Some(&identity)).unwrap().client_auth_cert_resolver.has_certs());
        assert_eq!(format!("{identity:?}"), "ClientIdentity { .. }");
    }
}
