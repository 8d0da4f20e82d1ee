//! Names that cross a boundary: parsed once at the door, never checked again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The domain name of an organisation or of a server: lower case, ASCII labels, no trailing dot, not an address.
///
/// Domains are compared as a whole and without regard to case (RFC 3261 §19.1.4, RFC 5922 §7.2), which the lower case
/// kept here gives for free.
#[derive(Clone, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SipDomain(Arc<str>);

impl SipDomain {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` is this domain or lies below it: the documents' same-domain rule for an SRV target.
    pub fn holds(&self, host: &Self) -> bool {
        host == self || host.0.strip_suffix(&*self.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// A table by domain is asked with the text of a message; in lower case, as most write it.
impl Borrow<str> for SipDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for SipDomain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let wrong = |why| Err(NameError { what: "domain name", value: clip(text), why });
        if name.is_empty() {
            return wrong("it is empty");
        }
        if name.len() > 253 {
            return wrong("it is longer than 253 characters");
        }
        if name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
            return wrong("it is an address, and a certificate must be able to name it");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return wrong("each part between dots must have 1 to 63 characters");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return wrong("a part must not begin or end with a hyphen");
            }
            // An underscore is no host character, but SRV owners and some labs' machines have one.
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return wrong("it may hold only letters, digits, hyphens and dots");
            }
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl TryFrom<String> for SipDomain {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SipDomain> for String {
    fn from(name: SipDomain) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for SipDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SipDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl schemars::JsonSchema for SipDomain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SipDomain".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "hostname", "maxLength": 253 })
    }
}

/// A user's address of record, `user@domain`: the user part keeps its case (RFC 3261 §19.1.4), the domain does not.
#[derive(Clone, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Aor {
    user: Arc<str>,
    domain: SipDomain,
}

impl Aor {
    /// The address of `user` at `domain`; the user part must be non-empty and printable, without spaces or quotes.
    pub fn new(user: &str, domain: SipDomain) -> Result<Self, NameError> {
        let wrong = |why| Err(NameError { what: "user name", value: clip(user), why });
        if user.is_empty() || user.len() > 128 {
            return wrong("it must have 1 to 128 characters");
        }
        if !user.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>@\\:;,?[]{}|^`".contains(&b)) {
            return wrong("it may hold only printable ASCII characters that need no escape in a SIP address");
        }
        Ok(Self { user: user.into(), domain })
    }

    /// The part before the `@`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// The address as a SIP URI, `sip:user@domain`.
    pub fn to_sip_uri(&self) -> String {
        format!("sip:{self}")
    }
}

impl FromStr for Aor {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bare = text.strip_prefix("sip:").unwrap_or(text);
        match bare.split_once('@') {
            Some((user, domain)) => Self::new(user, domain.parse()?),
            None => Err(NameError { what: "user address", value: clip(text), why: "it needs the form user@domain" }),
        }
    }
}

impl TryFrom<String> for Aor {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Aor> for String {
    fn from(aor: Aor) -> Self {
        aor.to_string()
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.domain)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name that does not have the form it needs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{value}\" is not a {what}: {why}")]
pub struct NameError {
    what: &'static str,
    value: String,
    why: &'static str,
}

/// Enough of a bad value to recognise it, and no more.
fn clip(value: &str) -> String {
    value.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_kept_in_lower_case_without_its_last_dot() {
        assert_eq!("Push.Lync.COM.".parse::<SipDomain>().unwrap().as_str(), "push.lync.com");
    }

    #[test]
    fn what_is_not_a_domain_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "empty"),
            ("a..b", "1 to 63"),
            ("-a.b", "hyphen"),
            ("a b", "letters"),
            ("192.0.2.1", "address"),
            ("[2001:db8::1]", "address"),
            ("x\r\ny", "letters"),
        ] {
            let sentence = text.parse::<SipDomain>().unwrap_err().to_string();
            assert!(sentence.contains(why), "{text:?}: {sentence}");
        }
    }

    #[test]
    fn a_host_lies_in_its_own_domain_and_below_and_nowhere_else() {
        let domain: SipDomain = "contoso.com".parse().unwrap();
        for (host, inside) in [
            ("contoso.com", true),
            ("sip.contoso.com", true),
            ("notcontoso.com", false),
            ("contoso.com.evil.example", false),
        ] {
            assert_eq!(domain.holds(&host.parse().unwrap()), inside, "{host}");
        }
    }

    #[test]
    fn an_address_of_record_reads_with_and_without_its_scheme() {
        let bob: Aor = "sip:bob@Contoso.com".parse().unwrap();
        assert_eq!(bob, "bob@contoso.com".parse().unwrap());
        assert_eq!(bob.to_sip_uri(), "sip:bob@contoso.com");
        assert!("bob".parse::<Aor>().is_err());
        assert!("b\"ob@contoso.com".parse::<Aor>().is_err());
    }
}
