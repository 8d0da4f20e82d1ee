//! Certificates and keys, made on the spot: an authority, leaves for servers and federation peers, an APNs signing
//! key, an FCM service account. Nothing here is fit for production; everything is fit for a handshake.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why a certificate or key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertFailure {
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the key could not be made")]
    Key,
    #[error("the certificate and its key cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate authority with an ECDSA P-256 key. It signs leaves directly, without intermediates.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    /// Makes an authority whose subject is `CN=name`, valid from yesterday for ten years.
    pub fn new(name: &str) -> Result<Self, CertFailure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + DAY * 3650).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key)? })
    }

    /// Signs a leaf with a fresh ECDSA P-256 key, for servers and clients alike (serverAuth and clientAuth).
    pub fn issue(&self, leaf: Leaf<'_>) -> Result<Identity, CertFailure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(leaf.common_name);
        params.not_before = leaf.not_before.into();
        params.not_after = leaf.not_after.into();
        // RFC 5280 §4.1.2.2: positive, so the first bit is 0.
        let serial: [u8; 16] = (rand::random::<u128>() >> 1).to_be_bytes();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for name in leaf.dns {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            });
        }
        for uri in leaf.uris {
            // RFC 5922 §7.1: a SIP domain is named by a URI of the form `sip:example.com`.
            params.subject_alt_names.push(SanType::URI((*uri).try_into()?));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.der().clone(),
            issuer: self.issuer.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            serial,
        })
    }

    /// A revocation list that takes back these certificates; its next one is due at `next_update`. PEM.
    pub fn revocation_list(&self, revoked: &[&Identity], next_update: SystemTime) -> Result<String, CertFailure> {
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// The authority's own certificate, for whoever shall trust it.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The same in PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.issuer.der())
    }

    /// A root store that trusts this authority and no other.
    pub fn roots(&self) -> Result<RootCertStore, CertFailure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der())?;
        Ok(roots)
    }

    /// A TLS client that trusts this authority, shows no certificate, and offers `alpn` in that order.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<ClientConfig, CertFailure> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

/// What a leaf certificate shall say.
///
/// ```
/// use reveille_sim::certs::{Ca, Leaf};
///
/// let ca = Ca::new("Test authority")?;
/// let edge = ca.issue(Leaf { uris: &["sip:contoso.com"], ..Leaf::new("contoso.com", &["sip.contoso.com"]) })?;
/// assert!(edge.cert_pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), reveille_sim::certs::CertFailure>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The subject's CN.
    pub common_name: &'a str,
    /// DNS names in subjectAltName; one that reads as an IP address becomes an iPAddress entry.
    pub dns: &'a [&'a str],
    /// URIs in subjectAltName, for instance `sip:contoso.com`.
    pub uris: &'a [&'a str],
    /// First instant of validity.
    pub not_before: SystemTime,
    /// Last instant of validity; one in the past makes an expired certificate.
    pub not_after: SystemTime,
}

impl<'a> Leaf<'a> {
    /// A leaf for these names, valid since yesterday for ninety days.
    pub fn new(common_name: &'a str, dns: &'a [&'a str]) -> Self {
        let now = SystemTime::now();
        Self { common_name, dns, uris: &[], not_before: now - DAY, not_after: now + DAY * 90 }
    }
}

/// A leaf certificate with its private key and the authority that signed it.
pub struct Identity {
    certificate: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    serial: [u8; 16],
}

impl Identity {
    /// The chain to present: the leaf, then the authority.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.issuer.clone()]
    }

    /// The leaf alone.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The private key, PKCS #8.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// The leaf in PEM.
    pub fn cert_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Leaf and authority in PEM, one after the other.
    pub fn chain_pem(&self) -> String {
        self.cert_pem() + &pem("CERTIFICATE", &self.issuer)
    }

    /// The private key in PEM, PKCS #8.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_pkcs8_der())
    }

    /// A TLS server that presents this identity, asks for no client certificate, and speaks `alpn`.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, CertFailure> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.key())?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            issuer: self.issuer.clone(),
            key: self.key.clone_key(),
            serial: self.serial,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// An APNs provider signing key as Apple hands it out.
#[derive(Clone)]
pub struct ApnsKey {
    /// The `.p8` file: an EC P-256 private key, PKCS #8 in PEM.
    pub p8_pem: String,
    /// The public key as an uncompressed point (65 bytes), which [`crate::apns::ProviderKey`] takes.
    pub public_key: Vec<u8>,
}

impl fmt::Debug for ApnsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsKey").finish_non_exhaustive()
    }
}

/// Makes an APNs signing key.
pub fn apns_key() -> Result<ApnsKey, CertFailure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(ApnsKey { p8_pem: pem("PRIVATE KEY", key.serialized_der()), public_key: key.public_key_raw().to_vec() })
}

/// A Google service account: the key file for the sender, the public half for the simulator.
#[derive(Clone)]
pub struct ServiceAccount {
    /// The key file in Google's shape (`type`, `project_id`, `private_key_id`, `private_key`, `client_email`,
    /// `token_uri`, …).
    pub json: String,
    /// The project that it may send for.
    pub project: String,
    /// Its name, which the assertion's `iss` must hold.
    pub client_email: String,
    /// The key's name, which the assertion's `kid` may hold.
    pub private_key_id: String,
    /// The RSA public key, an RSAPublicKey in DER (RFC 8017 appendix A.1.1).
    pub public_key: Vec<u8>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}

/// Makes a service account of `project` whose key file names `token_uri` as the place to fetch access tokens.
pub fn service_account_json(project: &str, token_uri: &str) -> Result<ServiceAccount, CertFailure> {
    let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(|_| CertFailure::Key)?;
    let pkcs8: Pkcs8V1Der<'static> = key.as_der().map_err(|_| CertFailure::Key)?;
    let private_key_id = format!("{:032x}", rand::random::<u128>());
    let client_email = format!("push@{project}.iam.gserviceaccount.com");
    let json = serde_json::json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": private_key_id,
        "private_key": pem("PRIVATE KEY", pkcs8.as_ref()),
        "client_email": client_email,
        "client_id": format!("{:021}", rand::random::<u64>()),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    });
    Ok(ServiceAccount {
        json: format!("{json:#}"),
        project: project.to_owned(),
        client_email,
        private_key_id,
        public_key: key.public_key().as_ref().to_vec(),
    })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// RFC 7468 §2: base64 in lines of 64 characters between two labels.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

    use super::*;

    #[test]
    fn a_list_takes_back_those_certificates_and_no_others() {
        use x509_parser::prelude::CertificateRevocationList;
        let ca = Ca::new("Test authority").unwrap();
        let [bad, good] = [1, 2].map(|_| ca.issue(Leaf::new("contoso.com", &["contoso.com"])).unwrap());
        let list = ca.revocation_list(&[&bad], SystemTime::now() + DAY).unwrap();
        let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        let serial = |identity: &Identity| {
            let der = identity.certificate();
            X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec()
        };
        let revoked: Vec<_> = list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect();
        assert_eq!(revoked, [serial(&bad)]);
        assert_ne!(serial(&bad), serial(&good));
    }

    #[test]
    fn a_leaf_names_hosts_addresses_and_sip_domains_for_both_ends_of_tls() {
        let ca = Ca::new("Test authority").unwrap();
        let leaf = Leaf { uris: &["sip:contoso.com"], ..Leaf::new("contoso.com", &["sip.contoso.com", "127.0.0.1"]) };
        let identity = ca.issue(leaf).unwrap();
        let der = identity.certificate();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(
            names.as_slice(),
            [
                GeneralName::DNSName("sip.contoso.com"),
                GeneralName::IPAddress(&[127, 0, 0, 1]),
                GeneralName::URI("sip:contoso.com")
            ]
        );
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
        assert_eq!(parsed.issuer().to_string(), "CN=Test authority");
    }

    #[test]
    fn validity_may_lie_in_the_past() {
        let ca = Ca::new("Test authority").unwrap();
        let now = SystemTime::now();
        let leaf = Leaf { not_before: now - DAY * 30, not_after: now - DAY, ..Leaf::new("old", &["old.example"]) };
        let der = ca.issue(leaf).unwrap().certificate();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.validity().is_valid());
    }

    #[test]
    fn pem_reads_back_as_the_same_bytes() {
        let ca = Ca::new("Test authority").unwrap();
        let identity = ca.issue(Leaf::new("a", &["a.example"])).unwrap();
        assert_eq!(CertificateDer::from_pem_slice(identity.cert_pem().as_bytes()).unwrap(), identity.certificate());
        assert_eq!(CertificateDer::pem_slice_iter(identity.chain_pem().as_bytes()).count(), 2);
        assert_eq!(PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes()).unwrap(), identity.key());
        identity.server_config(&[b"h2"]).unwrap();
    }

    #[test]
    fn an_apns_key_is_a_p256_point_with_a_pkcs8_file() {
        let key = apns_key().unwrap();
        assert_eq!((key.public_key.len(), key.public_key[0]), (65, 4));
        assert!(matches!(PrivateKeyDer::from_pem_slice(key.p8_pem.as_bytes()), Ok(PrivateKeyDer::Pkcs8(_))));
    }

    #[test]
    fn a_service_account_file_has_googles_shape() {
        let account = service_account_json("demo", "https://127.0.0.1:1/token").unwrap();
        let file: serde_json::Value = serde_json::from_str(&account.json).unwrap();
        for field in ["type", "project_id", "private_key_id", "private_key", "client_email", "token_uri"] {
            assert!(file[field].is_string(), "{field}");
        }
        let key = file["private_key"].as_str().unwrap();
        assert!(matches!(PrivateKeyDer::from_pem_slice(key.as_bytes()), Ok(PrivateKeyDer::Pkcs8(_))));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let ca = Ca::new("Test authority").unwrap();
        let identity = ca.issue(Leaf::new("a", &["a.example"])).unwrap();
        assert_eq!(format!("{identity:?} {:?}", apns_key().unwrap()), "Identity { .. } ApnsKey { .. }");
    }
}
