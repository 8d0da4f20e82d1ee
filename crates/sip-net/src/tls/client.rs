//! The connecting side of TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::chain::{ChainCheck, End};
use super::identity::Identity;
use super::peers::{Fallen, Kept, KnownPeer, Peers};
use super::refusal::HandshakeRefusal;
use super::roots::TrustRoots;
use super::{VERSIONS, finding, shared_provider};
use crate::flow::Flow;
use crate::names::PeerCertificate;

/// How connections are made: our identity, and whom we trust.
///
/// [`TlsClient::reload`] acts on connections made afterwards; the others stay.
pub struct TlsClient {
    material: ArcSwap<Material>,
    peers: Arc<Peers>,
}

struct Material {
    identity: Option<Identity>,
    /// Counts the certificates that we have had.
    generation: u64,
    check: Arc<ChainCheck>,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Without an identity it shows no certificate.
    pub fn new(identity: Option<&Identity>, roots: &TrustRoots) -> Self {
        Self { material: ArcSwap::from_pointee(Material::new(identity, roots, 0)), peers: Arc::default() }
    }

    /// One for servers that are no SIP peers: it trusts whom this one trusts at this moment, shows no certificate, and goes
    /// by names as TLS servers elsewhere do, with wildcards and addresses (RFC 9525 §6, which TURN asks for: RFC 8489
    /// §6.2.3 and RFC 8656 §3.1).
    pub fn for_hosts(&self) -> Self {
        let trust = &self.material.load().check.trust;
        Self { material: ArcSwap::from_pointee(Material::of(None, trust, 0, Naming::Host)), peers: Arc::default() }
    }

    /// Uses other certificates from now on.
    pub fn reload(&self, identity: Option<&Identity>, roots: &TrustRoots) {
        let old = self.material.load();
        let fingerprint =
            |identity: Option<&Identity>| identity.map(|identity| identity.certificate().sha256_fingerprint.clone());
        let is_same = fingerprint(identity) == fingerprint(old.identity.as_ref());
        let generation = if is_same { old.generation } else { old.generation + 1 };
        self.material.store(Arc::new(Material::new(identity, roots, generation)));
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
        let material = self.material.load_full();
        let connecting = TlsConnector::from(material.config.clone()).connect(server_name, stream);
        let stream = finding::explained(connecting).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = material.check.read(leaf.ok_or(HandshakeRefusal::NoCertificate)?)?;
        Ok((stream, peer))
    }

    /// Keeps a connection on the books while what is returned lives; `ders` is the chain that the peer has shown.
    pub fn keep(&self, flow: &Arc<Flow>, ders: Option<&[CertificateDer<'_>]>) -> Kept {
        self.peers.keep(flow, ders)
    }

    /// The certificates of peers that were connected to, the latest first.
    pub fn peers(&self) -> Vec<KnownPeer> {
        self.peers.all()
    }

    /// Looks again at the certificates that open connections rest on, by the roots and lists that hold now, at `now` in
    /// Unix seconds. Connections of the revoked and the expired are closed.
    pub fn check_again(&self, now: u64) -> Vec<Fallen> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        self.peers.check_again(&self.material.load().check, End::Server, now)
    }

    /// Goes up by one whenever a reload brings another certificate of ours. A connection made under an older one should
    /// make way in time: its peer still sees the old certificate.
    pub fn identity_generation(&self) -> u64 {
        self.material.load().generation
    }

    /// Our certificate, if we show one.
    pub fn certificate(&self) -> Option<Arc<PeerCertificate>> {
        self.material.load().identity.as_ref().map(|identity| identity.certificate().clone())
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
    fn new(identity: Option<&Identity>, trust: &TrustRoots, generation: u64) -> Self {
        Self::of(identity, trust, generation, Naming::Sip)
    }

    fn of(identity: Option<&Identity>, trust: &TrustRoots, generation: u64, naming: Naming) -> Self {
        let check = Arc::new(ChainCheck { trust: trust.clone() });
        let builder = ClientConfig::builder_with_provider(shared_provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider knows TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { check: check.clone(), naming }));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
            None => builder.with_no_client_auth(),
        };
        // Connections last for hours, and a resumed one would skip the verifier.
        config.resumption = Resumption::disabled();
        Self { identity: identity.cloned(), generation, check, config: Arc::new(config) }
    }
}

/// By which rule a certificate names whom it must.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Naming {
    /// RFC 5922 §7: domains of SIP, and no wildcard.
    Sip,
    /// RFC 9525 §6: hosts and their addresses.
    Host,
}

#[derive(Debug)]
struct Verifier {
    check: Arc<ChainCheck>,
    naming: Naming,
}

impl Verifier {
    fn names(&self, leaf: &CertificateDer<'_>, shown: &PeerCertificate, wanted: &ServerName<'_>) -> bool {
        match self.naming {
            Naming::Sip => shown.names(&wanted.to_str()),
            Naming::Host => ParsedCertificate::try_from(leaf)
                .is_ok_and(|certificate| verify_server_name(&certificate, wanted).is_ok()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        wanted: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check.check(End::Server, leaf, others, now)?;
        let shown = self.check.read(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !self.names(leaf, &shown, wanted) {
            let wanted = wanted.to_str();
            let offered = shown.identities().map(str::to_owned).collect();
            finding::note(HandshakeRefusal::NamesAnother { wanted: wanted.into_owned(), offered, shown });
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
