//! The accepting side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::chain::{ChainCheck, End};
use super::identity::{Identity, TlsSetupError};
use super::peers::{Fallen, Kept, KnownPeer, Peers};
use super::refusal::HandshakeRefusal;
use super::roots::TrustRoots;
use super::{VERSIONS, finding, shared_provider};
use crate::flow::Flow;
use crate::names::PeerCertificate;

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientAuth {
    /// It is not asked for one.
    None,
    /// It may; what it shows must be good.
    Optional,
    /// It must.
    Required,
}

/// How connections are accepted: our identity, and whose certificates are taken.
///
/// [`TlsServer::reload`] acts on connections accepted afterwards; the others stay.
pub struct TlsServer {
    material: ArcSwap<Material>,
    peers: Arc<Peers>,
    /// What is offered by ALPN (RFC 7301); SIP has none.
    protocols: Vec<Vec<u8>>,
}

struct Material {
    subject: String,
    client_auth: ClientAuth,
    check: Arc<ChainCheck>,
    // Its tickets and sessions belong to it: a session begun under other certificates is not resumed.
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Fails if certificates are wanted and nobody is trusted.
    pub fn new(identity: &Identity, client_auth: ClientAuth, roots: &TrustRoots) -> Result<Self, TlsSetupError> {
        Self::speaking(&[], identity, client_auth, roots)
    }

    /// The same for what is not SIP: these protocols are offered by ALPN, the best one first.
    pub fn speaking(
        protocols: &[&[u8]],
        identity: &Identity,
        client_auth: ClientAuth,
        roots: &TrustRoots,
    ) -> Result<Self, TlsSetupError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let material = Material::new(identity, client_auth, roots, &protocols)?;
        Ok(Self { material: ArcSwap::from_pointee(material), peers: Arc::default(), protocols })
    }

    /// Uses other certificates from now on. On failure the old ones stay.
    pub fn reload(
        &self,
        identity: &Identity,
        client_auth: ClientAuth,
        roots: &TrustRoots,
    ) -> Result<(), TlsSetupError> {
        self.material.store(Arc::new(Material::new(identity, client_auth, roots, &self.protocols)?));
        Ok(())
    }

    /// Does the handshake on an accepted connection. Put a time limit around it.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Option<Arc<PeerCertificate>>), HandshakeRefusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let material = self.material.load_full();
        let stream = finding::explained(TlsAcceptor::from(material.config.clone()).accept(stream)).await?;
        let connection = stream.get_ref().1;
        let Some(chain) = connection.peer_certificates() else { return Ok((stream, None)) };
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            // A resumed session skips the verifier. Its certificate, or a list, may have ended since.
            material.check.check_again(End::Client, chain, UnixTime::now())?;
        }
        let peer = material.check.read(chain.first().ok_or(HandshakeRefusal::NoCertificate)?)?;
        Ok((stream, Some(peer)))
    }

    /// Keeps a connection on the books while what is returned lives; `ders` is the chain that the peer has shown.
    pub fn keep(&self, flow: &Arc<Flow>, ders: Option<&[CertificateDer<'_>]>) -> Kept {
        self.peers.keep(flow, ders)
    }

    /// The certificates of peers that have connected, the latest first.
    pub fn peers(&self) -> Vec<KnownPeer> {
        self.peers.all()
    }

    /// Looks again at the certificates that open connections rest on, by the roots and lists that hold now, at `now` in
    /// Unix seconds. Connections of the revoked and the expired are closed.
    pub fn check_again(&self, now: u64) -> Vec<Fallen> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        self.peers.check_again(&self.material.load().check, End::Client, now)
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = self.material.load();
        f.debug_struct("TlsServer")
            .field("subject", &material.subject)
            .field("client_auth", &material.client_auth)
            .field("check", &material.check)
            .finish_non_exhaustive()
    }
}

impl Material {
    fn new(
        identity: &Identity,
        client_auth: ClientAuth,
        trust: &TrustRoots,
        protocols: &[Vec<u8>],
    ) -> Result<Self, TlsSetupError> {
        if client_auth != ClientAuth::None && trust.is_empty() {
            return Err(TlsSetupError::NoRoots);
        }
        let unusable = |origin: &str, error: rustls::Error| TlsSetupError::Unusable {
            origin: origin.into(),
            detail: error.to_string(),
        };
        let check = Arc::new(ChainCheck { trust: trust.clone() });
        let verifier: Arc<dyn ClientCertVerifier> = match client_auth {
            ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => Arc::new(Verifier {
                check: check.clone(),
                // Hints help a client with several certificates; a list of all public authorities would only cost bytes.
                hints: if trust.len() <= HINTS_MAX { trust.roots.subjects().into() } else { Arc::default() },
                mandatory: client_auth == ClientAuth::Required,
            }),
        };
        let mut config = ServerConfig::builder_with_provider(shared_provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| unusable("TLS 1.2 and 1.3", error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(identity.clone()));
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| unusable("the session ticketer", error))?;
        // A ticket holds the client's whole chain, and a partner's connection lasts for hours: one will do.
        config.send_tls13_tickets = 1;
        config.alpn_protocols = protocols.to_vec();
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let subject = identity.certificate().subject.clone();
        Ok(Self { subject, client_auth, check, config: Arc::new(config) })
    }
}

#[derive(Debug)]
struct Verifier {
    check: Arc<ChainCheck>,
    hints: Arc<[DistinguishedName]>,
    mandatory: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check.check(End::Client, leaf, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ChainCheck::signature12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ChainCheck::signature13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ChainCheck::schemes()
    }
}

/// TLS 1.2 sessions remembered.
const SESSIONS_MAX: usize = 1024;
/// Most authorities named to clients.
const HINTS_MAX: usize = 16;
