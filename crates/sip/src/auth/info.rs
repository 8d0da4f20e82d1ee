//! Authentication-Info and Proxy-Authentication-Info (§20.6, RFC 7615, RFC 7616 §3.5): what a server says to a client
//! that has proven itself.

use std::borrow::Cow;

use super::Qop;
use super::params::DigestParams;
use crate::error::SyntaxError;

/// The value of such a header field, as a server sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticationInfo<'a> {
    /// The nonce that the client's next request should use.
    pub next_nonce: Option<Cow<'a, str>>,
    /// The server's own digest in hexadecimal: it knows the password too.
    pub rspauth: Option<Cow<'a, str>>,
    /// The request's qop, given back with `rspauth`.
    pub qop: Option<Qop<'a>>,
}

impl<'a> AuthenticationInfo<'a> {
    /// Reads one header value.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let params = DigestParams::list(value)?;
        Ok(Self { next_nonce: params.find("nextnonce"), rspauth: params.find("rspauth"), qop: params.qop()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Protection;
    use super::*;

    #[test]
    fn what_a_server_says_is_taken_apart() {
        // RFC 3261 §20.6.
        let info = AuthenticationInfo::parse("nextnonce=\"47364c23432d2e131a5fb210812c\"").unwrap();
        assert_eq!(info.next_nonce.as_deref(), Some("47364c23432d2e131a5fb210812c"));
        assert_eq!((info.rspauth, info.qop), (None, None));
        let info = AuthenticationInfo::parse(r#"rspauth="ab", qop=auth-int, cnonce="c", nc=0000000b"#).unwrap();
        let qop = Qop { protection: Protection::AuthInt, nonce_count: 11, cnonce: "c".into() };
        assert_eq!((info.rspauth.as_deref(), info.qop), (Some("ab"), Some(qop)));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for bad in ["nextnonce", "nextnonce=\"a", "nextnonce=a, NextNonce=b", "qop=auth, nc=1, cnonce=a", "qop=auth"] {
            assert!(AuthenticationInfo::parse(bad).is_err(), "{bad}");
        }
    }
}
