//! TLS to a server that is asked from afar: whom we trust, and why a handshake failed, in words.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::address::Address;
use super::error::RemoteError;

/// Why a file of roots cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootsError {
    /// It holds none.
    #[error("{} holds no certificate: it should be the PEM file of who signed the server's", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read, or one of its certificates cannot.
    #[error("{} cannot be used: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// The certificates of a PEM file, as the only roots that are trusted.
pub fn roots_of(path: &Path) -> Result<RootCertStore, RootsError> {
    let unreadable = |why: String| RootsError::Unreadable { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|why| unreadable(why.to_string()))? {
        let certificate = certificate.map_err(|why| unreadable(why.to_string()))?;
        roots.add(certificate).map_err(|why| unreadable(why.to_string()))?;
    }
    if roots.is_empty() { Err(RootsError::Empty { path: path.to_owned() }) } else { Ok(roots) }
}

/// A certificate that shows who we are, with those that lead to its issuer, and its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a certificate of our own cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// There is none in the file.
    #[error("{} holds no certificate: --cert takes a PEM file with yours, and with those that lead to its issuer", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be read.
    #[error("{} holds no private key that can be read ({why}): --key takes the PEM file with the one of your certificate", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It cannot be read.
    #[error("{} cannot be used: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// The certificate of one PEM file with the key of another, which may be the same.
pub fn identity_of(certificate: &Path, key: &Path) -> Result<Identity, IdentityError> {
    let unreadable = |why: rustls::pki_types::pem::Error| IdentityError::Unreadable {
        path: certificate.to_owned(),
        why: why.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate { path: certificate.to_owned() });
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|why| IdentityError::NoKey { path: key.to_owned(), why: why.to_string() })?;
    Ok(Identity { chain, key })
}

pub(super) fn config(roots: Option<RootCertStore>, identity: Option<Identity>) -> Result<ClientConfig, RemoteError> {
    let unusable = |why: Error| RemoteError::NoTls { why: why.to_string() };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_platform_verifier().map_err(unusable)?,
    };
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain, key).map_err(|why| RemoteError::NoIdentity { why: why.to_string() })
        }
    }
}

/// The sentence about a handshake that failed.
pub(super) fn why_not(address: &Address, host: &str, why: &io::Error) -> RemoteError {
    let address = address.to_string();
    let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let said = match tls {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is signed by nobody whom this machine trusts: --ca FILE names the certificate of who signed it"
                .into()
        }
        Some(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
            format!("its certificate does not hold the name {host}: use one that it holds")
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "its certificate has expired: it needs a new one, and SIGHUP to read it".into()
        }
        Some(Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
        )) => "it takes no certificate of that issuer: [admin.tls] roots of its configuration name those that it takes".into(),
        Some(Error::InvalidMessage(_)) => "what answers there does not speak TLS: is it the right port?".into(),
        Some(other) => other.to_string(),
        None if why.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the handshake: is it the port of the admin API?".into()
        }
        None => why.to_string(),
    };
    RemoteError::NoTrust { address, said }
}
