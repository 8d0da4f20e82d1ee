//! TLS to a server that is asked from afar: whom we trust, and why a handshake failed, in words.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
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

pub(super) fn config(roots: Option<RootCertStore>) -> Result<ClientConfig, RemoteError> {
    let unusable = |why: Error| RemoteError::NoTls { why: why.to_string() };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_platform_verifier().map_err(unusable)?,
    };
    Ok(builder.with_no_client_auth())
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
        Some(Error::InvalidMessage(_)) => "what answers there does not speak TLS: is it the right port?".into(),
        Some(other) => other.to_string(),
        None if why.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the handshake: is it the port of the admin API?".into()
        }
        None => why.to_string(),
    };
    RemoteError::NoTrust { address, said }
}
