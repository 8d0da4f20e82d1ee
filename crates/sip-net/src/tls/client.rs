//! The connecting side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::chain::{ChainCheck, End, Finding};
use super::material::{Identity, TrustRoots};
use super::refusal::HandshakeRefusal;
use super::{VERSIONS, shared_provider};
use crate::names::PeerCertificate;

/// How connections are made: our identity, whom we trust, and how strict names are read.
///
/// [`TlsClient::reload`] acts on connections made afterwards; the others stay.
pub struct TlsClient {
    material: ArcSwap<Material>,
}

struct Material {
    identity: Option<Arc<SingleCertAndKey>>,
    check: Arc<ChainCheck>,
}

impl TlsClient {
    /// Without an identity it shows no certificate.
    pub fn new(identity: Option<&Identity>, roots: &TrustRoots) -> Self {
        Self { material: ArcSwap::from_pointee(Material::new(identity, roots)) }
    }

    /// Uses other certificates from now on.
    pub fn reload(&self, identity: Option<&Identity>, roots: &TrustRoots) {
        self.material.store(Arc::new(Material::new(identity, roots)));
    }

    /// Does the handshake on a connection made. The certificate returned was issued by a trusted root, is valid now and
    /// names `name` (RFC 5922 §7.1). Put a time limit around it.
    ///
    /// With TLS 1.3 the peer's opinion of *our* certificate comes later: as an alert instead of its first bytes.
    pub async fn connect<S>(
        &self,
        stream: S,
        name: &str,
    ) -> Result<(TlsStream<S>, Arc<PeerCertificate>), HandshakeRefusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = name.strip_suffix('.').unwrap_or(name);
        let server_name = ServerName::try_from(bare.to_owned())
            .map_err(|_| HandshakeRefusal::Other { detail: format!("{bare:?} is not a host name") })?;
        let finding = Finding::default();
        let config = self.material.load().config(bare, finding.clone())?;
        let connecting = TlsConnector::from(config).connect(server_name, stream);
        let stream = connecting.await.map_err(|error| finding.or_of(&error))?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = self.material.load().check.read(leaf.ok_or(HandshakeRefusal::NoCertificate)?)?;
        Ok((stream, Arc::new(peer)))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = self.material.load();
        f.debug_struct("TlsClient")
            .field("has_identity", &material.identity.is_some())
            .field("check", &material.check)
            .finish()
    }
}

impl Material {
    fn new(identity: Option<&Identity>, trust: &TrustRoots) -> Self {
        Self {
            identity: identity.map(|identity| Arc::new(SingleCertAndKey::from(identity.key.clone()))),
            check: Arc::new(ChainCheck { trust: trust.clone() }),
        }
    }

    fn config(&self, name: &str, finding: Finding) -> Result<Arc<ClientConfig>, HandshakeRefusal> {
        let verifier = Verifier { check: self.check.clone(), wanted: name.to_owned(), finding };
        let builder = ClientConfig::builder_with_provider(shared_provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| HandshakeRefusal::Other { detail: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity.clone()),
            None => builder.with_no_client_auth(),
        };
        // Connections last for hours, and a resumed one would skip the verifier.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Verifier {
    check: Arc<ChainCheck>,
    wanted: String,
    finding: Finding,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check.check(End::Server, leaf, others, now, &self.finding)?;
        let peer = self.check.read(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !peer.names(&self.wanted) {
            let offered = peer.identities().map(str::to_owned).collect();
            self.finding.note(HandshakeRefusal::NamesAnother { wanted: self.wanted.clone(), offered });
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ChainCheck::signature12(message, certificate, signature, &self.finding)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ChainCheck::signature13(message, certificate, signature, &self.finding)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ChainCheck::schemes()
    }
}
