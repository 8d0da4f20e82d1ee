//! `PushAccount`: a machine of an organisation that sends push requests over HTTPS, and what it proves itself with.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::names::SipDomain;

/// The most secrets of one account: the one in use, and the next one.
pub const SECRETS_MAX: usize = 2;
/// The most public keys, certificate names and thumbprints of one account, of each.
pub const PROOFS_MAX: usize = 8;

/// `PushAccount`: a machine that speaks for one organisation at the Push REST service. Nothing in it is secret.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PushAccount {
    /// Its name, which OAuth calls the client id: letters, digits, dots, hyphens and underscores.
    pub identity: String,
    /// The organisation that it speaks for: the origin of everything it sends.
    pub organisation: SipDomain,
    /// Whether it is let in.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Until when it is let in; for as long as it is there when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "date")]
    pub expires: Option<Timestamp>,
    /// Digests of the secrets that we made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<PushAccountSecret>,
    /// Its public keys for signed assertions (RFC 7523), each a JWK as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// Names in its client certificate (RFC 8705 §2.1), any of which will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_names: Vec<SipDomain>,
    /// SHA-256 of client certificates, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_thumbprints: Vec<String>,
    /// Where its organisation wants feedback: an https address.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "filled")]
    pub webhook: Option<String>,
}

/// What is kept of a secret: 256 random bits, so that one pass of a hash hides them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PushAccountSecret {
    /// What it is called; it stands in the secret itself.
    pub id: String,
    /// SHA-256 of the whole secret, in hexadecimal.
    pub digest: String,
    /// When it was made.
    #[serde(with = "date")]
    pub made: Option<Timestamp>,
}

/// A public key as RFC 7517 writes it, of one of the kinds that are taken here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct PublicJwk {
    /// What it is called: the `kid` of what it signs.
    pub kid: String,
    /// The key.
    #[serde(flatten)]
    pub key: JwkKey,
    /// The algorithm, if the key is for one only.
    #[serde(default)]
    pub alg: Option<String>,
}

/// The kinds of key (RFC 7518 §6, RFC 8037 §2), their numbers in base64url.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(tag = "kty")]
pub enum JwkKey {
    /// An elliptic curve: P-256 only.
    #[serde(rename = "EC")]
    Ec {
        /// The curve.
        crv: String,
        /// One coordinate.
        x: String,
        /// The other one.
        y: String,
    },
    /// Ed25519 only.
    #[serde(rename = "OKP")]
    Okp {
        /// The curve.
        crv: String,
        /// The key.
        x: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
}

impl PublicJwk {
    /// Reads a key; the sentence says why it is none that can be kept.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| "it is not JSON, and must be a public key as RFC 7517 writes it")?;
        // What is private must not lie in settings, where every administrator reads it (RFC 7518 §6.2.2, §6.3.2, §6.4).
        if ["d", "p", "q", "k"].iter().any(|private| value.get(*private).is_some()) {
            return Err("it holds a private key, which belongs to its owner alone: give the public one, without \"d\"");
        }
        let key: Self = serde_json::from_value(value)
            .map_err(|_| "it is no key of kty RSA, EC (P-256) or OKP (Ed25519) with a kid to tell it from others")?;
        let curve = match &key.key {
            JwkKey::Ec { crv, .. } => crv == "P-256",
            JwkKey::Okp { crv, .. } => crv == "Ed25519",
            JwkKey::Rsa { .. } => true,
        };
        match curve && !key.kid.is_empty() && key.kid.len() <= 128 {
            true => Ok(key),
            false => Err("its curve must be P-256 or Ed25519, and its kid 1 to 128 bytes long"),
        }
    }
}

impl PushAccount {
    /// An account of that organisation that has nothing yet to prove itself with.
    pub fn new(identity: impl Into<String>, organisation: SipDomain) -> Self {
        Self {
            identity: identity.into(),
            organisation,
            enabled: true,
            expires: None,
            secrets: Vec::new(),
            public_keys: Vec::new(),
            certificate_names: Vec::new(),
            certificate_thumbprints: Vec::new(),
            webhook: None,
        }
    }

    /// Whether it is let in at that moment, as far as it alone decides.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.enabled && self.expires.is_none_or(|end| now < end)
    }

    /// What is wrong with it: the property, its value, and why.
    pub(super) fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
        };
        if !plain(&self.identity) {
            let why = "it must be 1 to 64 letters, digits, dots, hyphens and underscores";
            return Some(("Identity", self.identity.clone(), why));
        }
        if self.secrets.len() > SECRETS_MAX {
            let why = "two are the most: Remove-CsPushAccountSecret takes the old one away";
            return Some(("Secrets", self.secrets.len().to_string(), why));
        }
        if let Some(bad) = self.secrets.iter().find(|secret| !plain(&secret.id) || !is_sha256(&secret.digest)) {
            return Some(("Secrets", bad.id.clone(), "it is no digest that New-CsPushAccountSecret made"));
        }
        for (property, count) in [
            ("PublicKeys", self.public_keys.len()),
            ("CertificateNames", self.certificate_names.len()),
            ("CertificateThumbprints", self.certificate_thumbprints.len()),
        ] {
            if count > PROOFS_MAX {
                return Some((property, count.to_string(), "eight are the most"));
            }
        }
        let mut kids = std::collections::HashSet::new();
        for text in &self.public_keys {
            match PublicJwk::read(text) {
                // The value is not shown: it may be a private key.
                Err(why) => return Some(("PublicKeys", "…".into(), why)),
                Ok(key) if !kids.insert(key.kid.clone()) => {
                    return Some(("PublicKeys", key.kid, "two keys have this kid"));
                }
                Ok(_) => {}
            }
        }
        if let Some(bad) = self.certificate_thumbprints.iter().find(|print| !is_sha256(print)) {
            return Some(("CertificateThumbprints", bad.clone(), "it is no SHA-256 in 64 hexadecimal digits"));
        }
        let webhook = self.webhook.as_deref().filter(|url| !is_https(url))?;
        Some(("Webhook", webhook.into(), "it must be an address that begins with https://, without user or fragment"))
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_https(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    url.len() <= 1024 && !host.is_empty() && !rest.contains(['#', '@', ' ', '\\']) && url.is_ascii()
}

const fn yes() -> bool {
    true
}

/// Empty text takes a property away, as with other texts of cmdlets.
fn filled<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

/// A date as text: `2027-01-31` or `2027-01-31T12:00:00Z`.
mod date {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(clippy::ref_option, reason = "serde's `with` asks for this form")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, into: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => into.collect_str(at),
            None => into.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        let midnight = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        let at = text.parse::<jiff::Timestamp>().ok().or_else(|| midnight().map(|at| at.timestamp()));
        let millis = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let wrong = || D::Error::custom(format!("\"{text}\" is no date such as 2027-01-31 or 2027-01-31T12:00:00Z"));
        millis.map(Timestamp::from_millis).map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Setting, Snapshot};

    const KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"one","x":"AA","y":"BB"}"#;

    fn account() -> PushAccount {
        PushAccount::new("contoso-mcx", "contoso.com".parse().unwrap())
    }

    #[test]
    fn it_reads_back_as_written_and_a_day_is_its_first_moment() {
        let text =
            r#"{"Kind":"PushAccount","Identity":"a","Organisation":"contoso.com","Expires":"2027-01-31","Webhook":""}"#;
        let setting: Setting = serde_json::from_str(text).unwrap();
        let Setting::PushAccount(account) = &setting else { panic!("{setting:?}") };
        assert_eq!(account.expires.unwrap().to_string(), "2027-01-31T00:00:00Z");
        assert!(account.webhook.is_none() && account.enabled);
        assert_eq!(serde_json::from_str::<Setting>(&serde_json::to_string(&setting).unwrap()).unwrap(), setting);
        assert!(serde_json::from_str::<Setting>(&text.replace("2027-01-31", "soon")).is_err());
    }

    #[test]
    fn it_is_open_while_enabled_and_not_over() {
        let now = Timestamp::from_millis(1000);
        assert!(account().is_open(now));
        assert!(!PushAccount { enabled: false, ..account() }.is_open(now));
        assert!(!PushAccount { expires: Some(now), ..account() }.is_open(now), "the end does not belong to it");
        assert!(PushAccount { expires: Some(Timestamp::from_millis(1001)), ..account() }.is_open(now));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_property() {
        let keys =
            |keys: &[&str]| PushAccount { public_keys: keys.iter().map(|it| (*it).into()).collect(), ..account() };
        let webhook = |url: &str| PushAccount { webhook: Some(url.into()), ..account() };
        let print = |text: &str| PushAccount { certificate_thumbprints: vec![text.into()], ..account() };
        let secret = PushAccountSecret { id: "a".into(), digest: "0f".repeat(32), made: None };
        let secrets = |count| PushAccount { secrets: vec![secret.clone(); count], ..account() };
        for (account, part) in [
            (account(), None),
            (PushAccount::new("", "contoso.com".parse().unwrap()), Some("Identity is \"\"")),
            (PushAccount::new("a b", "contoso.com".parse().unwrap()), Some("Identity is \"a b\"")),
            (secrets(2), None),
            (secrets(3), Some("two are the most")),
            (keys(&[KEY]), None),
            (keys(&[KEY, KEY]), Some("two keys have this kid")),
            (keys(&[&KEY.replace("P-256", "P-384")]), Some("curve must be")),
            (keys(&[&KEY.replace("\"x\"", "\"d\":\"hush\",\"x\"")]), Some("holds a private key")),
            (keys(&[r#"{"kty":"oct","kid":"one","k":"hush"}"#]), Some("holds a private key")),
            (keys(&["hush"]), Some("not JSON")),
            (keys(&[KEY; 9]), Some("eight are the most")),
            (print(&"0a".repeat(32)), None),
            (print("0a"), Some("no SHA-256")),
            (webhook("https://hooks.contoso.com/push?x=1"), None),
            (webhook("http://hooks.contoso.com/"), Some("must be an address")),
            (webhook("https://user@hooks.contoso.com/"), Some("must be an address")),
            (webhook("https:///x"), Some("must be an address")),
        ] {
            let said = Snapshot::of([Setting::PushAccount(account.clone())]).err().map(|error| error.to_string());
            match part {
                None => assert_eq!(said, None, "{account:?}"),
                Some(part) => assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{account:?}: {said:?}"),
            }
            assert!(!said.is_some_and(|said| said.contains("hush")), "a private key is not repeated");
        }
    }
}
