//! WWW-Authenticate and Proxy-Authenticate (§20.27, §20.44, RFC 7616 §3.3).

use std::borrow::Cow;
use std::fmt;

use super::Algorithm;
use super::credentials::DigestParams;
use crate::error::SyntaxError;
use crate::text::quote;

/// A digest challenge, read or to be printed: its `Display` is the header value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge<'a> {
    /// Whose password is asked for.
    pub realm: Cow<'a, str>,
    /// What the answer has to cover.
    pub nonce: Cow<'a, str>,
    /// To be given back unchanged.
    pub opaque: Option<Cow<'a, str>>,
    /// Which hash. When reading, an absent one means MD5.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` may (and therefore should) be used.
    pub qop_auth: bool,
    /// The credentials were right, only the nonce was old: no need to ask a person.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// The two challenges of a server, SHA-256 first: a client takes the first that it knows (RFC 8760 §2).
    pub fn pair(realm: &'a str, nonce: &'a str, stale: bool) -> [Self; 2] {
        [Algorithm::Sha256, Algorithm::Md5].map(|algorithm| Self {
            realm: realm.into(),
            nonce: nonce.into(),
            opaque: None,
            algorithm,
            qop_auth: true,
            stale,
        })
    }

    /// Reads one challenge.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let params = DigestParams::parse(value)?;
        let algorithm = match params.find("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::parse(&name).ok_or(SyntaxError::new("its algorithm is not supported"))?,
        };
        let qop = params.find("qop");
        let qop_auth = qop.as_deref().is_some_and(|list| list.split(',').any(|one| one.trim() == "auth"));
        if qop.is_some() && !qop_auth {
            return Err(SyntaxError::new("it offers no qop that is supported"));
        }
        Ok(Self {
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            opaque: params.find("opaque"),
            algorithm,
            qop_auth,
            stale: params.find("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The first challenge among these header values which can be answered (RFC 8760 §2).
    pub fn first_supported(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values.into_iter().find_map(|value| Self::parse(value).ok())
    }
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (realm, nonce) = (quote(&self.realm), quote(&self.nonce));
        write!(f, "Digest realm={realm}, nonce={nonce}, algorithm={}", self.algorithm.as_str())?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if self.qop_auth {
            f.write_str(", qop=\"auth\"")?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_pair_reads_back_with_the_stronger_first() {
        let pair = Challenge::pair("con\"toso", "abc", true);
        let printed = pair.each_ref().map(ToString::to_string);
        assert_eq!(printed[0], r#"Digest realm="con\"toso", nonce="abc", algorithm=SHA-256, qop="auth", stale=true"#);
        assert_eq!(Challenge::parse(&printed[1]).as_ref(), Ok(&pair[1]));
        assert_eq!(Challenge::first_supported(printed.iter().map(String::as_str)).as_ref(), Some(&pair[0]));
    }

    #[test]
    fn unknown_challenges_are_passed_over() {
        let old = r#"Digest realm="r",nonce="n",opaque="",stale=FALSE"#;
        let values = ["Basic realm=x", r#"Digest realm="r", nonce="n", algorithm=SHA-512-256"#, old];
        let challenge = Challenge::first_supported(values).expect("the last is supported");
        assert_eq!((challenge.algorithm, challenge.qop_auth, challenge.stale), (Algorithm::Md5, false, false));
        assert_eq!(challenge.opaque.as_deref(), Some(""));
        for bad in [
            "Digest",
            "Digest realm=\"r\"",
            r#"Digest realm="r", nonce="n", nonce="m""#,
            r#"Digest realm="r", nonce="n", qop="auth-int""#,
            "digest realm=\"r, nonce=n",
        ] {
            assert!(Challenge::parse(bad).is_err(), "{bad}");
        }
    }
}
