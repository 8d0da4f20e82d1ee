//! Authorization and Proxy-Authorization (§20.7, §20.28, RFC 7616 §3.4).

use std::borrow::Cow;
use std::fmt;

use super::params::{DigestParams, check_digest};
use super::{Algorithm, Challenge, Covered, Ha1, Qop};
use crate::error::SyntaxError;
use crate::text::quote;

/// The answer to a challenge, as a client sent it.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials<'a> {
    /// Who claims to speak.
    pub username: Cow<'a, str>,
    /// The realm which it was asked for.
    pub realm: Cow<'a, str>,
    /// The server's nonce.
    pub nonce: Cow<'a, str>,
    /// The URI that the digest covers: the Request-URI as the client knew it.
    pub uri: Cow<'a, str>,
    /// The digest in hexadecimal.
    pub response: Cow<'a, str>,
    /// MD5 if not given.
    pub algorithm: Algorithm,
    /// `None` in the old form.
    pub qop: Option<Qop<'a>>,
    /// Given back from the challenge.
    pub opaque: Option<Cow<'a, str>>,
}

impl<'a> Credentials<'a> {
    /// Reads one header value.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let params = DigestParams::parse(value)?;
        // RFC 7616 §3.4.4: only where a challenge has offered it, and no challenge of ours does.
        if params.is_true("userhash") {
            return Err(SyntaxError::new("its user name is hashed (userhash=true), which was not offered"));
        }
        let algorithm = params.algorithm()?;
        let response = params.required("response")?;
        check_digest(&response, algorithm)?;
        Ok(Self {
            username: params.required("username")?,
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            uri: params.required("uri")?,
            response,
            algorithm,
            qop: params.qop()?,
            opaque: params.find("opaque"),
        })
    }

    /// The realm alone, of credentials by any algorithm: whom they are for (§22.3).
    pub fn realm_of(value: &'a str) -> Result<Cow<'a, str>, SyntaxError> {
        DigestParams::parse(value)?.required("realm")
    }
}

/// The response is worth guessing a password on, so it is not shown.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("nonce_count", &self.qop.as_ref().map(|qop| qop.nonce_count))
            .finish_non_exhaustive()
    }
}

/// The value of Authorization or Proxy-Authorization which answers `challenge`.
///
/// `ha1` has to be of the challenge's algorithm. `cnonce` is the caller's randomness, `nonce_count` how often this
/// nonce is used, from 1; both matter only if the challenge offers qop. A [`Session`](super::Session) counts by itself.
pub fn answer(
    challenge: &Challenge<'_>,
    username: &str,
    ha1: &Ha1,
    covered: Covered<'_>,
    cnonce: &str,
    nonce_count: u32,
) -> Result<String, SyntaxError> {
    if ha1.algorithm() != challenge.algorithm {
        return Err(SyntaxError::new("the stored hash is of another algorithm than the challenge"));
    }
    let qop = challenge.protection().map(|protection| Qop { protection, nonce_count, cnonce: cnonce.into() });
    let response = ha1.response(covered, &challenge.nonce, qop.as_ref());
    let mut value = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
        quote(username),
        quote(&challenge.realm),
        quote(&challenge.nonce),
        quote(covered.uri),
        challenge.algorithm.as_str(),
    );
    if let Some(opaque) = &challenge.opaque {
        value.push_str(", opaque=");
        value.push_str(&quote(opaque));
    }
    if let Some(qop) = qop {
        let (protection, cnonce) = (qop.protection.as_str(), quote(cnonce));
        // RFC 7616 §3.4: qop and nc stand without quotation marks here.
        value.push_str(&format!(", qop={protection}, nc={nonce_count:08x}, cnonce={cnonce}"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::Protection;
    use super::*;

    const VALUE: &str = r#"Digest username="bob", realm="biloxi.com", nonce="dcd98b71", uri="sip:bob@biloxi.com", qop=auth, nc=0000000a, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c""#;

    #[test]
    fn credentials_are_taken_apart_and_not_shown() {
        let qop = |value: &str| {
            let credentials = Credentials::parse(value).unwrap();
            assert_eq!((&*credentials.username, credentials.algorithm), ("bob", Algorithm::Md5));
            assert!(!format!("{credentials:?}").contains("6629fae4"));
            credentials.qop.map(|qop| (qop.protection, qop.nonce_count, qop.cnonce.into_owned()))
        };
        assert_eq!(qop(VALUE), Some((Protection::Auth, 10, "0a4f113b".to_owned())));
        let body_too = VALUE.replace("qop=auth", "qop=auth-int, userhash=false");
        assert_eq!(qop(&body_too), Some((Protection::AuthInt, 10, "0a4f113b".to_owned())));
        assert_eq!(qop(&VALUE.replace("qop=auth, ", "")), None);
        let unknown = VALUE.replace("qop=auth", "qop=auth-conf, algorithm=SHA3-512");
        assert_eq!(Credentials::realm_of(&unknown).as_deref(), Ok("biloxi.com"));
        assert!(Credentials::realm_of("Basic realm=biloxi.com").is_err());
    }

    #[test]
    fn malformed_credentials_are_refused() {
        for (from, to) in [
            ("nc=0000000a", "nc=a"),
            ("nc=0000000a", "nc=+000000a"),
            ("nc=0000000a, ", ""),
            ("cnonce=\"0a4f113b\", ", ""),
            ("qop=auth", "qop=auth-conf"),
            ("6629fae4", ""),
            ("Digest", "Basic"),
            ("username=\"bob\"", "username=\"bob\", USERNAME=\"eve\""),
            ("username=\"bob\"", "username=\"bob"),
            ("username=\"bob\", ", ""),
            ("opaque=", "algorithm=SHA-256, opaque="),
            ("opaque=", "algorithm=SHA-512-256, opaque="),
        ] {
            assert!(Credentials::parse(&VALUE.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
        let hashed = VALUE.replace("opaque=", "userhash=true, opaque=");
        let refused = Credentials::parse(&hashed).unwrap_err();
        assert!(refused.to_string().contains("its user name is hashed"), "{refused}");
    }

    #[test]
    fn an_answer_reads_back_as_what_was_answered() {
        for (qop, protection) in [("auth", Protection::Auth), ("auth-int", Protection::AuthInt)] {
            let value = format!(r#"Digest realm="r", nonce="n", opaque="o", algorithm=SHA-256, qop="{qop}""#);
            let challenge = Challenge::parse(&value).unwrap();
            let ha1 = Ha1::of_password(Algorithm::Sha256, "b\"ob", "r", "secret");
            let covered = Covered { method: "MESSAGE", uri: "sip:r", body: b"Hello" };
            let value = answer(&challenge, "b\"ob", &ha1, covered, "cn", 2).unwrap();
            let credentials = Credentials::parse(&value).unwrap();
            assert_eq!((&*credentials.username, credentials.opaque.as_deref()), ("b\"ob", Some("o")));
            let qop = Qop { protection, nonce_count: 2, cnonce: "cn".into() };
            assert_eq!(credentials.response, ha1.response(covered, "n", Some(&qop)));
            assert_eq!(credentials.qop, Some(qop));
            let other = Ha1::of_password(Algorithm::Md5, "bob", "r", "secret");
            assert!(answer(&challenge, "bob", &other, covered, "cn", 2).is_err());
        }
    }
}
