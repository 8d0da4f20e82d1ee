//! Who a certificate speaks for (RFC 5922 §7.1).
//!
//! A [`PeerCertificate`] is the readable part of a certificate whose chain was verified by [`crate::tls`]. Making one
//! proves nothing by itself.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;

/// What a peer's certificate says, read once per connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeerCertificate {
    /// DNS names of the subjectAltName, lower case.
    pub dns: Vec<String>,
    /// Domains of the subjectAltName URIs of the form `sip:domain`, lower case. URIs with a user part name a person and
    /// are left out (RFC 5922 §7.1).
    pub sip_domains: Vec<String>,
    /// Whether a subjectAltName is there at all; only without one may the common name count.
    pub has_alt_name: bool,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// Whether it counts here, in a certificate without subjectAltName. Not a property of the certificate: the
    /// [`NameRule`] of whoever verified it.
    pub common_name_counts: bool,
    /// The subject as text.
    pub subject: String,
    /// The issuer as text.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial_hex: String,
    /// First second of validity, Unix time.
    pub not_before: i64,
    /// Last second of validity, Unix time.
    pub not_after: i64,
    /// SHA-256 of the whole certificate in lower-case hexadecimal.
    pub sha256_fingerprint: String,
    /// The length of its key, if that is RSA.
    pub rsa_bits: Option<usize>,
}

/// Where the names of a certificate are looked for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum NameRule {
    /// In subjectAltName only.
    #[default]
    Rfc5922,
    /// In a certificate that has no subjectAltName at all, in the common name (which RFC 5922 §7.1 allows, and RFC 6125
    /// §6.4.4 discourages).
    WithCommonName,
}

/// The bytes given are not an X.509 certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the certificate is not readable X.509")]
pub struct UnreadableCertificate;

impl PeerCertificate {
    /// Reads a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, UnreadableCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| UnreadableCertificate)?;
        let subject = certificate.subject();
        let mut read = Self {
            common_name: common_name(subject),
            subject: subject.to_string(),
            issuer: certificate.issuer().to_string(),
            serial_hex: hex(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            sha256_fingerprint: fingerprint(der),
            rsa_bits: match certificate.public_key().parsed() {
                Ok(PublicKey::RSA(key)) => Some(key.key_size()),
                _ => None,
            },
            ..Self::default()
        };
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension() else { continue };
            read.has_alt_name = true;
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(name) => read.dns.push(normal(name)),
                    GeneralName::URI(uri) => read.sip_domains.extend(sip_domain(uri)),
                    _ => {}
                }
            }
        }
        Ok(read)
    }

    /// Whether the certificate names `domain`: a sip: URI if it has any, else a DNS name, and the common name only if
    /// there is no subjectAltName and the rule it was read by allows it.
    ///
    /// Names are compared without case and as a whole. RFC 5922 §7.2: a wildcard matches nothing.
    ///
    /// ```
    /// let certificate = reveille_sip_net::PeerCertificate {
    ///     dns: vec!["contoso.com".into(), "*.contoso.com".into()],
    ///     has_alt_name: true,
    ///     ..Default::default()
    /// };
    /// assert!(certificate.names("Contoso.COM"));
    /// assert!(!certificate.names("sip.contoso.com"));
    /// ```
    pub fn names(&self, domain: &str) -> bool {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        !domain.is_empty() && self.identities().any(|name| name.eq_ignore_ascii_case(domain))
    }

    /// All names which [`PeerCertificate::names`] would say yes to.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        // RFC 5922 §7.1: DNS names count only if there is no sip: URI.
        let alternatives = if self.sip_domains.is_empty() { &self.dns } else { &self.sip_domains };
        let common = self.common_name.as_deref().filter(|_| self.common_name_counts && !self.has_alt_name);
        alternatives.iter().map(String::as_str).chain(common).filter(|name| !name.contains('*'))
    }

    /// Whether `now`, in Unix seconds, is within its validity.
    pub fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The subject and, in brackets, the names: what an administrator needs to recognise a certificate.
impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.subject, self.identities().collect::<Vec<_>>().join(", "))
    }
}

/// SHA-256 of a certificate, in lower-case hexadecimal.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

/// RFC 5922 §7.1: the scheme is sip and there is no user part; the host is the identity.
fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") || rest.contains('@') {
        return None;
    }
    let end = rest.find([';', '?', ':']).unwrap_or(rest.len());
    Some(normal(&rest[..end])).filter(|domain| !domain.is_empty())
}

fn common_name(subject: &X509Name<'_>) -> Option<String> {
    subject.iter_common_name().last().and_then(|name| name.as_str().ok()).map(normal)
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_name: &str, names: Vec<SanType>) -> PeerCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        PeerCertificate::read(params.self_signed(&key).expect("a certificate").der()).expect("a readable certificate")
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().expect("a name"))
    }

    fn email(name: &str) -> SanType {
        SanType::Rfc822Name(name.try_into().expect("a name"))
    }

    fn address(octets: [u8; 4]) -> SanType {
        SanType::IpAddress(octets.into())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().expect("a name"))
    }

    /// What the certificate holds, the name asked for, whether the common name counts, whether it is named.
    type Row = (&'static str, Vec<SanType>, &'static str, bool, bool);

    fn rows() -> Vec<Row> {
        vec![
            ("dns", vec![dns("contoso.com")], "contoso.com", false, true),
            ("dns without case", vec![dns("Contoso.com")], "CONTOSO.COM", false, true),
            ("root dot", vec![dns("contoso.com")], "contoso.com.", false, true),
            ("root dot in the certificate", vec![dns("contoso.com.")], "contoso.com", false, true),
            ("the second of two", vec![dns("a.example"), dns("contoso.com")], "contoso.com", false, true),
            ("subdomain", vec![dns("contoso.com")], "sip.contoso.com", false, false),
            ("parent", vec![dns("sip.contoso.com")], "contoso.com", false, false),
            ("longer at the end", vec![dns("contoso.com.evil.example")], "contoso.com", false, false),
            ("a zero byte cuts nothing off", vec![dns("contoso.com\0.evil.example")], "contoso.com", false, false),
            ("wildcard", vec![dns("*.contoso.com")], "sip.contoso.com", false, false),
            ("wildcard within", vec![dns("s*.contoso.com")], "sip.contoso.com", false, false),
            ("wildcard literally", vec![dns("*.contoso.com")], "*.contoso.com", false, false),
            ("wildcard in a uri", vec![uri("sip:*.contoso.com")], "sip.contoso.com", false, false),
            ("punycode", vec![dns("xn--bcher-kva.example")], "XN--BCHER-KVA.example", false, true),
            ("punycode asked for in letters", vec![dns("xn--bcher-kva.example")], "b\u{fc}cher.example", false, false),
            ("uri", vec![uri("sip:contoso.com")], "contoso.com", false, true),
            ("uri in capitals", vec![uri("SIP:Contoso.com")], "contoso.com", false, true),
            ("uri with port and parameters", vec![uri("sip:contoso.com:5061;lr?a=b")], "contoso.com", false, true),
            (
                "uri of another host with ours as port",
                vec![uri("sip:evil.example:contoso.com")],
                "contoso.com",
                false,
                false,
            ),
            ("the second of two uris", vec![uri("sip:a.example"), uri("sip:contoso.com")], "contoso.com", false, true),
            ("uri hides dns", vec![uri("sip:a.example"), dns("contoso.com")], "contoso.com", false, false),
            ("uri beside dns", vec![dns("edge.contoso.com"), uri("sip:contoso.com")], "contoso.com", false, true),
            ("uri with user", vec![uri("sip:bob@contoso.com")], "contoso.com", false, false),
            ("our name as the user", vec![uri("sip:contoso.com@evil.example")], "contoso.com", false, false),
            ("dns beside uri with user", vec![uri("sip:bob@a.b"), dns("contoso.com")], "contoso.com", false, true),
            ("sips is another scheme", vec![uri("sips:contoso.com")], "contoso.com", false, false),
            ("https is another scheme", vec![uri("https://contoso.com")], "contoso.com", false, false),
            ("mail is no domain", vec![email("push@contoso.com")], "contoso.com", false, false),
            ("an address as text is no name", vec![address([192, 0, 2, 7])], "192.0.2.7", false, false),
            ("common name", vec![], "cn.example", true, true),
            ("common name without case", vec![], "CN.Example", true, true),
            ("common name forbidden", vec![], "cn.example", false, false),
            ("common name behind a dns name", vec![dns("contoso.com")], "cn.example", true, false),
            ("common name behind any other name", vec![uri("https://x.example")], "cn.example", true, false),
            ("nothing at all", vec![], "contoso.com", true, false),
        ]
    }

    #[test]
    fn names_follow_rfc_5922() {
        for (row, names, wanted, common_name_counts, expected) in rows() {
            let read = PeerCertificate { common_name_counts, ..certificate("cn.example", names) };
            assert_eq!(read.names(wanted), expected, "{row}");
        }
    }

    #[test]
    fn a_common_name_with_a_wildcard_counts_for_nothing() {
        let read = PeerCertificate { common_name_counts: true, ..certificate("*.contoso.com", vec![]) };
        assert!(!read.names("sip.contoso.com") && !read.names("*.contoso.com"));
    }

    #[test]
    fn an_empty_domain_is_never_named() {
        let certificate = PeerCertificate { dns: vec![String::new()], has_alt_name: true, ..Default::default() };
        assert!(!certificate.names(""));
        assert!(!certificate.names("."));
    }

    #[test]
    fn the_readable_part_is_read() {
        let read = certificate("edge.contoso.com", vec![dns("edge.contoso.com")]);
        assert_eq!(read.common_name.as_deref(), Some("edge.contoso.com"));
        assert!(read.subject.contains("edge.contoso.com"));
        assert!(read.not_before < read.not_after);
        assert_eq!(read.sha256_fingerprint.len(), 64);
        assert!(!read.serial_hex.is_empty());
        assert!(read.is_valid_at(read.not_after) && !read.is_valid_at(read.not_after + 1));
        assert_eq!(PeerCertificate::read(&CertificateDer::from(vec![1, 2, 3])), Err(UnreadableCertificate));
    }
}
