//! Authorization and Proxy-Authorization (§20.7, §20.28, RFC 7616 §3.4).

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use super::{Algorithm, Challenge, Ha1, Qop};
use crate::error::SyntaxError;
use crate::list::{elements, quoted_end};
use crate::text::{hex, is_token, quote, trim, unquote};

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
    /// Of `qop=auth`; `None` in the old form.
    pub nonce_count: Option<u32>,
    /// Of `qop=auth`; `None` in the old form.
    pub cnonce: Option<Cow<'a, str>>,
    /// Given back from the challenge.
    pub opaque: Option<Cow<'a, str>>,
}

impl<'a> Credentials<'a> {
    /// Reads one header value.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let params = DigestParams::parse(value)?;
        let algorithm = match params.find("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::parse(&name).ok_or(SyntaxError::new("its algorithm is not supported"))?,
        };
        let response = params.required("response")?;
        if response.len() != algorithm.hex_length() || !response.bytes().all(|digit| hex(digit).is_some()) {
            return Err(SyntaxError::new("its response is not a digest of its algorithm"));
        }
        let (nonce_count, cnonce) = match params.find("qop") {
            None => (None, None),
            Some(qop) if qop == "auth" => {
                (Some(nonce_count(&params.required("nc")?)?), Some(params.required("cnonce")?))
            }
            Some(_) => return Err(SyntaxError::new("its qop is not auth")),
        };
        Ok(Self {
            username: params.required("username")?,
            realm: params.required("realm")?,
            nonce: params.required("nonce")?,
            uri: params.required("uri")?,
            response,
            algorithm,
            nonce_count,
            cnonce,
            opaque: params.find("opaque"),
        })
    }

    /// What `qop=auth` adds, if it was used.
    pub fn qop(&self) -> Option<Qop<'_>> {
        Some(Qop { nonce_count: self.nonce_count?, cnonce: self.cnonce.as_deref()? })
    }
}

/// The response is worth guessing a password on, so it is not shown.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("nonce_count", &self.nonce_count)
            .finish_non_exhaustive()
    }
}

/// The value of Authorization or Proxy-Authorization which answers `challenge`.
///
/// `ha1` has to be of the challenge's algorithm. `cnonce` is the caller's randomness, `nonce_count` how often this
/// nonce is used, from 1; both matter only if the challenge offers qop.
pub fn answer(
    challenge: &Challenge<'_>,
    username: &str,
    ha1: &Ha1,
    method: &str,
    uri: &str,
    cnonce: &str,
    nonce_count: u32,
) -> Result<String, SyntaxError> {
    if ha1.algorithm() != challenge.algorithm {
        return Err(SyntaxError::new("the stored hash is of another algorithm than the challenge"));
    }
    let qop = challenge.qop_auth.then_some(Qop { nonce_count, cnonce });
    let response = ha1.response(method, uri, &challenge.nonce, qop);
    let mut value = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
        quote(username),
        quote(&challenge.realm),
        quote(&challenge.nonce),
        quote(uri),
        challenge.algorithm.as_str(),
    );
    if let Some(opaque) = &challenge.opaque {
        value.push_str(", opaque=");
        value.push_str(&quote(opaque));
    }
    if qop.is_some() {
        // RFC 7616 §3.4: qop and nc stand without quotation marks here.
        value.push_str(&format!(", qop=auth, nc={nonce_count:08x}, cnonce={}", quote(cnonce)));
    }
    Ok(value)
}

/// The parameters behind the word `Digest`.
pub(crate) struct DigestParams<'a> {
    pairs: SmallVec<[(&'a str, &'a str); 12]>,
}

impl<'a> DigestParams<'a> {
    pub(crate) fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let (scheme, rest) = trim(value).split_once([' ', '\t']).ok_or(SyntaxError::new("it has no parameters"))?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(SyntaxError::new("its scheme is not Digest"));
        }
        let mut pairs: SmallVec<[(&str, &str); 12]> = SmallVec::new();
        for element in elements(rest) {
            let (name, value) = element.split_once('=').ok_or(SyntaxError::new("a parameter has no value"))?;
            let (name, value) = (trim(name), trim(value));
            if !is_token(name.as_bytes()) || (value.starts_with('"') && quoted_end(value) != Some(value.len())) {
                return Err(SyntaxError::new("a parameter is malformed"));
            }
            // Two values for one name would mean two things to two readers.
            if pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                return Err(SyntaxError::new("a parameter stands twice"));
            }
            if pairs.len() == PARAMS_MAX {
                return Err(SyntaxError::new("it has too many parameters"));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    pub(crate) fn find(&self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| unquote(value))
    }

    pub(crate) fn required(&self, name: &str) -> Result<Cow<'a, str>, SyntaxError> {
        self.find(name).ok_or(SyntaxError::new("a mandatory digest parameter is missing"))
    }
}

/// Eight hexadecimal digits (RFC 7616 §3.4).
fn nonce_count(text: &str) -> Result<u32, SyntaxError> {
    if text.len() != 8 || !text.bytes().all(|digit| hex(digit).is_some()) {
        return Err(SyntaxError::new("its nonce count is not eight hexadecimal digits"));
    }
    u32::from_str_radix(text, 16).map_err(|_| SyntaxError::new("its nonce count is not a number"))
}

/// RFC 7616 knows eleven; more are noise, and looking for repetitions costs their square.
const PARAMS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"Digest username="bob", realm="biloxi.com", nonce="dcd98b71", uri="sip:bob@biloxi.com", qop=auth, nc=0000000a, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c""#;

    #[test]
    fn credentials_are_taken_apart_and_not_shown() {
        let credentials = Credentials::parse(VALUE).unwrap();
        assert_eq!(credentials.username, "bob");
        assert_eq!(credentials.algorithm, Algorithm::Md5);
        assert_eq!(credentials.qop(), Some(Qop { nonce_count: 10, cnonce: "0a4f113b" }));
        assert!(!format!("{credentials:?}").contains("6629fae4"));
    }

    #[test]
    fn malformed_credentials_are_refused() {
        for (from, to) in [
            ("nc=0000000a", "nc=a"),
            ("nc=0000000a", "nc=+000000a"),
            ("nc=0000000a, ", ""),
            ("qop=auth", "qop=auth-int"),
            ("6629fae4", ""),
            ("Digest", "Basic"),
            ("username=\"bob\"", "username=\"bob\", USERNAME=\"eve\""),
            ("username=\"bob\"", "username=\"bob"),
            ("username=\"bob\", ", ""),
            ("opaque=", "algorithm=SHA-256, opaque="),
        ] {
            assert!(Credentials::parse(&VALUE.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn an_answer_reads_back_as_what_was_answered() {
        let challenge =
            Challenge::parse(r#"Digest realm="r", nonce="n", opaque="o", algorithm=SHA-256, qop="auth""#).unwrap();
        let ha1 = Ha1::of_password(Algorithm::Sha256, "b\"ob", "r", "secret");
        let value = answer(&challenge, "b\"ob", &ha1, "REGISTER", "sip:r", "cn", 2).unwrap();
        let credentials = Credentials::parse(&value).unwrap();
        assert_eq!((&*credentials.username, credentials.opaque.as_deref()), ("b\"ob", Some("o")));
        let expected = ha1.response("REGISTER", "sip:r", "n", Some(Qop { nonce_count: 2, cnonce: "cn" }));
        assert_eq!(credentials.response, expected);
        let other = Ha1::of_password(Algorithm::Md5, "bob", "r", "secret");
        assert!(answer(&challenge, "bob", &other, "REGISTER", "sip:r", "cn", 2).is_err());
    }
}
