//! WWW-Authenticate and Proxy-Authenticate (§20.27, §20.44, RFC 7616 §3.3).

use std::borrow::Cow;
use std::fmt;

use super::params::DigestParams;
use super::{Algorithm, Protection};
use crate::error::SyntaxError;
use crate::text::{quote, trim};

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
    /// Whether `qop=auth` is offered. Without it and the next one the old form is wanted.
    pub qop_auth: bool,
    /// Whether `qop=auth-int` is offered.
    pub qop_auth_int: bool,
    /// The credentials were right, only the nonce was old: no need to ask a person.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// Reads one challenge.
    ///
    /// That the server understands hashed user names (`userhash=true`) is read over: it understands plain ones too.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let params = DigestParams::parse(value)?;
        let qop = params.find("qop");
        let offers = |wanted| {
            qop.as_deref().is_some_and(|list| list.split(',').any(|one| Protection::parse(trim(one)) == Some(wanted)))
        };
        let (qop_auth, qop_auth_int) = (offers(Protection::Auth), offers(Protection::AuthInt));
        if qop.is_some() && !qop_auth && !qop_auth_int {
            return Err(SyntaxError::new("it offers no qop that is supported"));
        }
        Ok(Self {
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            opaque: params.find("opaque"),
            algorithm: params.algorithm()?,
            qop_auth,
            qop_auth_int,
            stale: params.is_true("stale"),
        })
    }

    /// The first challenge among these header values which can be answered: the server's best (RFC 8760 §2.4).
    pub fn first_supported(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values.into_iter().find_map(|value| Self::parse(value).ok())
    }

    /// The protection that an answer uses: of the body only if nothing less is offered, since what stands between
    /// client and server may alter a body (RFC 3261 §22.4: an application level gateway does).
    pub fn protection(&self) -> Option<Protection> {
        match (self.qop_auth, self.qop_auth_int) {
            (true, _) => Some(Protection::Auth),
            (false, true) => Some(Protection::AuthInt),
            (false, false) => None,
        }
    }

    /// The same, for longer than the header field it was read from.
    pub fn into_owned(self) -> Challenge<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Challenge {
            realm: owned(self.realm),
            nonce: owned(self.nonce),
            opaque: self.opaque.map(owned),
            algorithm: self.algorithm,
            qop_auth: self.qop_auth,
            qop_auth_int: self.qop_auth_int,
            stale: self.stale,
        }
    }
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (realm, nonce) = (quote(&self.realm), quote(&self.nonce));
        write!(f, "Digest realm={realm}, nonce={nonce}, algorithm={}", self.algorithm.as_str())?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        // §25.1: no white space between the values.
        f.write_str(match (self.qop_auth, self.qop_auth_int) {
            (true, true) => ", qop=\"auth,auth-int\"",
            (true, false) => ", qop=\"auth\"",
            (false, true) => ", qop=\"auth-int\"",
            (false, false) => "",
        })?;
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
    fn a_printed_challenge_reads_back() {
        for (algorithm, qop_auth, qop_auth_int, printed) in [
            (Algorithm::Sha512_256, true, true, "algorithm=SHA-512-256, qop=\"auth,auth-int\", stale=true"),
            (Algorithm::Sha256, true, false, "algorithm=SHA-256, qop=\"auth\", stale=true"),
            (Algorithm::Md5, false, true, "algorithm=MD5, qop=\"auth-int\", stale=true"),
            (Algorithm::Md5, false, false, "algorithm=MD5, stale=true"),
        ] {
            let (realm, nonce, opaque) = ("con\"toso".into(), "abc".into(), None);
            let challenge = Challenge { realm, nonce, opaque, algorithm, qop_auth, qop_auth_int, stale: true };
            let value = challenge.to_string();
            assert_eq!(value, format!(r#"Digest realm="con\"toso", nonce="abc", {printed}"#));
            assert_eq!(Challenge::parse(&value).as_ref(), Ok(&challenge));
            assert_eq!(challenge.clone().into_owned(), challenge);
        }
    }

    #[test]
    fn the_topmost_challenge_that_can_be_answered_is_taken() {
        let of = |algorithm: &str| format!(r#"Digest realm="r", nonce="n", algorithm={algorithm}, qop="auth""#);
        let best = |names: &[&str]| {
            let values: Vec<String> = names.iter().map(|name| of(name)).collect();
            Challenge::first_supported(values.iter().map(String::as_str)).map(|challenge| challenge.algorithm)
        };
        assert_eq!(best(&["SHA-512-256", "SHA-256", "MD5"]), Some(Algorithm::Sha512_256));
        // The server's order counts, not ours.
        assert_eq!(best(&["SHA-256", "SHA-512-256"]), Some(Algorithm::Sha256));
        assert_eq!(best(&["SHA3-512", "SHA-256-sess", "sha-512-256", "MD5"]), Some(Algorithm::Sha512_256));
        assert_eq!(best(&["MD5-sess", "AKAv1-MD5"]), None);
    }

    #[test]
    fn a_body_is_protected_only_if_nothing_less_is_offered() {
        for (qop, protection) in [
            (r#", qop="auth""#, Some(Protection::Auth)),
            (r#", qop="auth-int, auth""#, Some(Protection::Auth)),
            (r#", qop="auth-conf,Auth-Int""#, Some(Protection::AuthInt)),
            ("", None),
        ] {
            let value = format!(r#"Digest realm="r", nonce="n"{qop}"#);
            assert_eq!(Challenge::parse(&value).unwrap().protection(), protection, "{qop}");
        }
    }

    #[test]
    fn unknown_challenges_are_passed_over() {
        let old = r#"Digest realm="r",nonce="n",opaque="",stale=FALSE,userhash=true,charset=UTF-8"#;
        let values = ["Basic realm=x", r#"Digest realm="r", nonce="n", algorithm=SHA3-256"#, old];
        let challenge = Challenge::first_supported(values).expect("the last is supported");
        assert_eq!((challenge.algorithm, challenge.protection(), challenge.stale), (Algorithm::Md5, None, false));
        assert_eq!(challenge.opaque.as_deref(), Some(""));
        for bad in [
            "Digest",
            "Digest realm=\"r\"",
            r#"Digest realm="r", nonce="n", nonce="m""#,
            r#"Digest realm="r", nonce="n", qop="auth-conf""#,
            r#"Digest realm="r", nonce="n", qop="""#,
            "digest realm=\"r, nonce=n",
        ] {
            assert!(Challenge::parse(bad).is_err(), "{bad}");
        }
    }
}
