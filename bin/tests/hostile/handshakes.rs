//! Certificates that must not pass, certificates that pass and prove nothing, and sessions that change their owner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use reveille_sim::phone::{RawError, RawSip};
use reveille_sip_net::{Identity, TlsClient};
use rustls::client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::letter::{Letter, told};
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::world::{EDGE, EVIL, GOOD, INSIDE, PROMPT, Place, World};

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for odd in odd_certificates(world)? {
        lines.push(show(world, odd).await?);
    }
    lines.push(no_certificate(world).await?);
    lines.push(old_tls(world).await?);
    lines.push(resumed(world).await?);
    Ok(lines)
}

/// One certificate, and what must come of it.
struct Odd {
    name: &'static str,
    identity: Identity,
    expected: Expected,
}

enum Expected {
    /// The handshake fails, with this word on the status page.
    Refused(&'static str),
    /// The handshake may pass, and a request that speaks for [`EVIL`] is refused.
    ProvesNothing,
    /// Nothing is wrong with it.
    Good,
    /// It may be taken or refused; at once, and with a reason.
    Either,
}

async fn show(world: &World, odd: Odd) -> Result<Line> {
    let Odd { name, identity, expected } = odd;
    let begun = Instant::now();
    let tls = TlsClient::new(Some(&identity), world.place.roots());
    let stream = world.place.tcp(world.place.edge(), 1, None).await?;
    let local = stream.local_addr()?;
    let heard = match timeout(PROMPT, tls.connect(stream, EDGE)).await.context(name)? {
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        Ok((stream, _)) => {
            let mut link = RawSip::on(stream, local);
            let text = Letter::new(EVIL, INSIDE, "odd certificate").text();
            match link.send_and_wait(text, PROMPT).await {
                Ok(answer) => Some(told(&answer)),
                Err(RawError::Closed | RawError::Io(_)) => None,
                Err(other) => Some(other.to_string()),
            }
        }
        Err(_) => None,
    };
    let took = ms(begun.elapsed());
    let (figure, bound, ok) = match (expected, heard) {
        (Expected::Refused(word), None) => {
            let seen = world.refusal_of(local)?;
            (format!("closed, {seen}; {took:.0} ms"), format!("closed, {word}"), seen == word)
        }
        (Expected::Refused(word), Some(heard)) => (heard, format!("closed, {word}"), false),
        (Expected::ProvesNothing, None) => {
            let seen = world.refusal_of(local)?;
            (format!("closed, {seen}; {took:.0} ms"), "closed, or 403".into(), true)
        }
        (Expected::ProvesNothing, Some(heard)) => {
            let ok = heard.starts_with("403 certificate-names-another");
            (heard, "closed, or 403 certificate-names-another".into(), ok)
        }
        (Expected::Either, None) => {
            let seen = world.refusal_of(local)?;
            (format!("closed, {seen}; {took:.0} ms"), "200, or closed with a reason".into(), true)
        }
        (Expected::Either, Some(heard)) => {
            let ok = heard == "200";
            (format!("{heard}; {took:.0} ms"), "200, or closed with a reason".into(), ok)
        }
        (Expected::Good, heard) => {
            let heard = heard.unwrap_or_else(|| "closed".into());
            let ok = heard == "200";
            (format!("{heard}; {took:.0} ms"), "200".into(), ok)
        }
    };
    Ok(line(format!("certificate: {name}"), figure, bound, ok))
}

const DAY: Duration = Duration::from_secs(86_400);

#[allow(clippy::disallowed_methods, reason = "a certificate's dates are the wall clock's")]
fn odd_certificates(world: &World) -> Result<Vec<Odd>> {
    let authority = Authority::read(&world.place)?;
    let (now, mut odd) = (SystemTime::now(), Vec::new());
    let mut add = |name, identity, expected| odd.push(Odd { name, identity, expected });
    let own = || params(&[EVIL, "edge.evil.example"]);

    add("a good one, to compare with", authority.issue(own()?)?, Expected::Good);
    let mut expired = own()?;
    (expired.not_before, expired.not_after) = ((now - 30 * DAY).into(), (now - DAY).into());
    add("expired yesterday", authority.issue(expired)?, Expected::Refused("expired"));
    let mut early = own()?;
    (early.not_before, early.not_after) = ((now + DAY).into(), (now + 30 * DAY).into());
    add("valid from tomorrow on", authority.issue(early)?, Expected::Refused("not-yet-valid"));
    let mut signing = own()?;
    signing.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    add("for signing programs", authority.issue(signing)?, Expected::Refused("not-for-this-purpose"));
    let key = KeyPair::generate()?;
    let own_word = own()?.self_signed(&key)?;
    let own_word = Identity::from_pem(own_word.pem().as_bytes(), key.serialize_pem().as_bytes())?;
    add("self-signed", own_word, Expected::Refused("unknown-issuer"));
    let mut name_only = params(&[])?;
    name_only.distinguished_name.push(DnType::CommonName, EVIL);
    add("the domain in the common name only", authority.issue(name_only)?, Expected::ProvesNothing);
    for (name, wildcard) in [("for *.example", "*.example"), ("for *.evil.example", "*.evil.example"), ("for *", "*")] {
        add(name, authority.issue(params(&[wildcard])?)?, Expected::ProvesNothing);
    }
    let mut nul = params(&[])?;
    nul.subject_alt_names = vec![SanType::DnsName("evil.example\0.attacker.example".try_into()?)];
    add("evil.example, NUL, .attacker.example", authority.issue(nul)?, Expected::ProvesNothing);
    let mut nul = params(&["attacker.example"])?;
    nul.subject_alt_names.push(SanType::URI("sip:evil.example\0@attacker.example".try_into()?));
    add("a URI with NUL", authority.issue(nul)?, Expected::ProvesNothing);
    let mut user = params(&["attacker.example"])?;
    user.subject_alt_names.push(SanType::URI("sip:somebody@evil.example".try_into()?));
    // RFC 5922 §7.1: a URI with a user part names no domain.
    add("a URI with a user part", authority.issue(user)?, Expected::ProvesNothing);
    let many: Vec<String> = (0..1_000).map(|number| format!("host{number}.attacker.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    add("a thousand names, none of them right", authority.issue(params(&many)?)?, Expected::ProvesNothing);
    for (name, kilobytes, expected) in [
        ("a chain of 10 kB", 10, Expected::Good),
        ("a chain of 24 kB", 24, Expected::Either),
        ("a chain of 200 kB", 200, Expected::Refused("other")),
    ] {
        add(name, authority.with_ballast(own()?, kilobytes * 1024)?, expected);
    }
    let outsider = Authority::new("An authority that nobody knows")?;
    add("of a foreign authority", outsider.issue(own()?)?, Expected::Refused("unknown-issuer"));
    let namesake = Authority::new("Hostile test authority")?;
    // The right name, and another key: the signature is wrong.
    add("of a namesake of the authority", namesake.issue(own()?)?, Expected::Refused("bad-signature"));
    // An ordinary certificate that acts as an authority.
    add("issued by a partner's own certificate", authority.issued_by_leaf(own()?)?, Expected::ProvesNothing);
    Ok(odd)
}

fn params(names: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// An authority whose key this test holds.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// The file of the second authority that the edge trusts: `odd-ca.pem` and its key.
    fn read(place: &Place) -> Result<Self> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(place.file("odd-ca.key"))?)?;
        // Signing with the same name and key gives the same authority, whatever its own serial number.
        Ok(Self { issuer: CertifiedIssuer::self_signed(authority(ODD), key)? })
    }

    /// One of that name with a new key.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Ok(Self { issuer: CertifiedIssuer::self_signed(authority(name), KeyPair::generate()?)? })
    }

    /// Its certificate and its key.
    pub(crate) fn files(&self) -> (String, String) {
        (self.issuer.pem(), self.issuer.key().serialize_pem())
    }

    fn issue(&self, params: CertificateParams) -> Result<Identity> {
        self.with_ballast(params, 0)
    }

    /// The chain has so many bytes that nobody needs.
    fn with_ballast(&self, params: CertificateParams, bytes: usize) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let (mut chain, mut carried) = (leaf.pem(), 0);
        let stone = Self::new(&"ballast ".repeat(60))?.issuer;
        while carried < bytes {
            chain += &stone.pem();
            carried += stone.der().len();
        }
        Ok(Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes())?)
    }

    fn issued_by_leaf(&self, mut params: CertificateParams) -> Result<Identity> {
        let mut middle = CertificateParams::new(vec!["attacker.example".to_owned()])?;
        middle.distinguished_name = common_name("attacker.example");
        let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate()?, &self.issuer)?;
        let key = KeyPair::generate()?;
        params.use_authority_key_identifier_extension = false;
        let leaf = params.signed_by(&key, &middle)?;
        Ok(Identity::from_pem((leaf.pem() + &middle.pem()).as_bytes(), key.serialize_pem().as_bytes())?)
    }
}

/// The name of the second authority that the edge trusts.
pub(crate) const ODD: &str = "Authority for odd certificates";

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

async fn no_certificate(world: &World) -> Result<Line> {
    let stream = world.place.tcp(world.place.edge(), 1, None).await?;
    let local = stream.local_addr()?;
    let tls = TlsClient::new(None, world.place.roots());
    if let Ok((stream, _)) = tls.connect(stream, EDGE).await {
        let mut link = RawSip::on(stream, local);
        let _ = link.send(Letter::new(EVIL, INSIDE, "none").text(), PROMPT).await;
        link.closed(PROMPT).await.context("a connection without a certificate stays open")?;
    }
    let seen = world.refusal_of(local)?;
    Ok(line("certificate: none", format!("closed, {seen}"), "closed, no-certificate", seen == "no-certificate"))
}

/// A ClientHello of TLS 1.0 with a suite of its time (RFC 2246 §7.4.1.2).
async fn old_tls(world: &World) -> Result<Line> {
    let mut hello = vec![0x03, 0x01];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let body = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    let record = [&[0x16, 0x03, 0x01, 0, body.len() as u8][..], &body].concat();
    let mut stream = world.place.tcp(world.place.edge(), 1, None).await?;
    let local = stream.local_addr()?;
    stream.write_all(&record).await?;
    let mut answer = Vec::new();
    timeout(PROMPT, stream.read_to_end(&mut answer)).await.context("TLS 1.0: the connection stays open")??;
    let seen = world.refusal_of(local)?;
    // RFC 8446 §6: 70 is protocol_version, 40 handshake_failure: none of its suites is known any more.
    let alert = answer.last().copied().unwrap_or_default();
    let figure = format!("alert {alert}, {seen}");
    let ok = matches!(alert, 40 | 70) && seen == "no-common-ground";
    Ok(line("TLS 1.0", figure, "alert 40 or 70, no-common-ground", ok))
}

/// A session begun with one certificate and taken up again with another.
async fn resumed(world: &World) -> Result<Line> {
    let keys = Arc::new(Changing(Mutex::new(certified(&world.place, EVIL)?)));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.place.file("ca.pem"))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(&keys) as _);
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
    let connector = TlsConnector::from(Arc::new(config));
    let open = async || {
        let stream = world.place.tcp(world.place.edge(), 1, None).await?;
        let local: SocketAddr = stream.local_addr()?;
        let stream = timeout(PROMPT, connector.connect(ServerName::try_from(EDGE)?, stream)).await??;
        let kind = stream.get_ref().1.handshake_kind();
        anyhow::Ok((RawSip::on(stream, local), kind))
    };
    let (mut first, _) = open().await?;
    // The tickets come with the first answer.
    let as_evil = first.send_and_wait(Letter::new(EVIL, INSIDE, "first").text(), PROMPT).await?;
    drop(first);
    *keys.0.lock() = certified(&world.place, GOOD)?;
    let (mut second, kind) = open().await?;
    let as_good = second.send_and_wait(Letter::new(GOOD, INSIDE, "second").text(), PROMPT).await?;
    let as_evil_again = second.send_and_wait(Letter::new(EVIL, INSIDE, "third").text(), PROMPT).await?;
    let resumed = kind == Some(HandshakeKind::Resumed);
    let heard = [&as_evil, &as_good, &as_evil_again].map(|answer| answer.status().unwrap_or_default());
    let figure = format!("{} as the first owner: {heard:?}", if resumed { "resumed" } else { "a whole handshake" });
    // Whoever it is now, it is the one whose certificate was verified, and not the other.
    let expected = if resumed { [200, 403, 200] } else { [200, 200, 403] };
    Ok(line("a session taken up with another certificate", figure, format!("{expected:?}"), heard == expected))
}

fn certified(place: &Place, name: &str) -> Result<Arc<CertifiedKey>> {
    let file = |kind: &str| place.file(&format!("{name}.{kind}"));
    let chain = CertificateDer::pem_file_iter(file("pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_file(file("key"))?)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// A client that changes its certificate.
#[derive(Debug)]
struct Changing(Mutex<Arc<CertifiedKey>>);

impl ResolvesClientCert for Changing {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
