//! The accepting side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::chain::{ChainCheck, End, Finding};
use super::material::{Identity, TlsSetupError, TrustRoots};
use super::refusal::{HandshakeRefusal, seconds};
use super::{VERSIONS, shared_provider};
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
}

struct Material {
    identity: Arc<SingleCertAndKey>,
    subject: String,
    client_auth: ClientAuth,
    check: Arc<ChainCheck>,
    hints: Arc<[DistinguishedName]>,
    // Belong to this material: a session begun under other roots is not resumed.
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl TlsServer {
    /// Fails if certificates are wanted and nobody is trusted.
    pub fn new(identity: &Identity, client_auth: ClientAuth, roots: &TrustRoots) -> Result<Self, TlsSetupError> {
        Ok(Self { material: ArcSwap::from_pointee(Material::new(identity, client_auth, roots)?) })
    }

    /// Uses other certificates from now on. On failure the old ones stay.
    pub fn reload(
        &self,
        identity: &Identity,
        client_auth: ClientAuth,
        roots: &TrustRoots,
    ) -> Result<(), TlsSetupError> {
        self.material.store(Arc::new(Material::new(identity, client_auth, roots)?));
        Ok(())
    }

    /// Does the handshake on an accepted connection. Put a time limit around it.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Option<Arc<PeerCertificate>>), HandshakeRefusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let finding = Finding::default();
        let material = self.material.load_full();
        let config = material.config(finding.clone())?;
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(|error| finding.or_of(&error))?;
        let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
            return Ok((stream, None));
        };
        let peer = material.check.read(leaf)?;
        // A resumed session skips the verifier, and its certificate may have ended since.
        if peer.not_after < seconds(UnixTime::now()) {
            return Err(HandshakeRefusal::Expired { subject: peer.subject, not_after: peer.not_after });
        }
        Ok((stream, Some(Arc::new(peer))))
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
    fn new(identity: &Identity, client_auth: ClientAuth, trust: &TrustRoots) -> Result<Self, TlsSetupError> {
        if client_auth != ClientAuth::None && trust.is_empty() {
            return Err(TlsSetupError::NoRoots);
        }
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsSetupError::Unusable {
            origin: "the session ticketer".into(),
            detail: error.to_string(),
        })?;
        // Hints help a client with several certificates; the list of all public authorities would only cost bytes.
        let hints = if trust.len() <= HINTS_MAX { trust.roots.subjects() } else { Vec::new() };
        Ok(Self {
            identity: Arc::new(SingleCertAndKey::from(identity.key.clone())),
            subject: identity.certificate().subject.clone(),
            client_auth,
            check: Arc::new(ChainCheck { trust: trust.clone() }),
            hints: hints.into(),
            tickets,
            sessions: ServerSessionMemoryCache::new(SESSIONS_MAX),
        })
    }

    /// Made per connection, since only so the verifier can say which connection it speaks of.
    fn config(&self, finding: Finding) -> Result<Arc<ServerConfig>, HandshakeRefusal> {
        let verifier: Arc<dyn ClientCertVerifier> = match self.client_auth {
            ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => Arc::new(Verifier {
                check: self.check.clone(),
                hints: self.hints.clone(),
                mandatory: self.client_auth == ClientAuth::Required,
                finding,
            }),
        };
        let mut config = ServerConfig::builder_with_provider(shared_provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| HandshakeRefusal::Other { detail: error.to_string() })?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.identity.clone());
        config.ticketer = self.tickets.clone();
        config.session_storage = self.sessions.clone();
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Verifier {
    check: Arc<ChainCheck>,
    hints: Arc<[DistinguishedName]>,
    mandatory: bool,
    finding: Finding,
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
        self.check.check(End::Client, leaf, others, now, &self.finding).map(|()| ClientCertVerified::assertion())
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

/// TLS 1.2 sessions remembered.
const SESSIONS_MAX: usize = 1024;
/// Most authorities named to clients.
const HINTS_MAX: usize = 16;
