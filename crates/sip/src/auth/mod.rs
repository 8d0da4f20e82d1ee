//! Digest authentication (§22, RFC 7616, RFC 8760): SHA-512-256, SHA-256 and MD5, `qop=auth` and `qop=auth-int`, and the
//! old form without qop.
//!
//! Both sides are here: a server prints a [`Challenge`], reads [`Credentials`] and asks [`Server::verify`]; a client
//! picks a challenge with [`Challenge::first_supported`] and answers it, as often as it likes, with a [`Session`].
//! Session keys (`MD5-sess` and its like) and hashed user names (`userhash`) are left out: the first serve servers that
//! let another check passwords for them, and a SIP request says in From who speaks.

mod challenge;
mod credentials;
mod info;
mod md5;
mod nonce;
mod params;
mod server;
mod session;

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, SHA512_256};

use crate::error::SyntaxError;
use crate::text::{hex, to_hex};

pub use challenge::Challenge;
pub use credentials::{Credentials, answer};
pub use info::AuthenticationInfo;
pub use nonce::{NonceRefusal, Nonces};
pub use server::{Refusal, Server, Verified};
pub use session::Session;

/// A hash that a digest may use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Mandatory in RFC 3261 and nowhere else any more.
    Md5,
    /// RFC 8760.
    Sha256,
    /// RFC 8760: SHA-512 with starting values of its own, cut to 256 bits.
    Sha512_256,
}

/// The hash of user name, realm and password: as good as the password, so it is never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// What a digest speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The Request-URI as the client knew it.
    pub uri: &'a str,
    /// The body, which only `qop=auth-int` looks at.
    pub body: &'a [u8],
}

/// How much of a request a digest protects (RFC 7616 §3.4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// `auth`: method and URI.
    Auth,
    /// `auth-int`: the body too.
    AuthInt,
}

/// What qop adds to a digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qop<'a> {
    /// Its value.
    pub protection: Protection,
    /// How many times this nonce has been used, from 1.
    pub nonce_count: u32,
    /// The client's nonce.
    pub cnonce: Cow<'a, str>,
}

impl Algorithm {
    /// Those supported, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512_256, Self::Sha256, Self::Md5];

    /// The name as it stands in challenges and credentials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// Reads a name, without case. `None` for those not supported here.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    /// How many hexadecimal digits a digest has.
    pub fn hex_length(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 | Self::Sha512_256 => 64,
        }
    }

    /// The hash, in lower-case hexadecimal, of parts joined by colons.
    fn of(self, parts: &[&str]) -> String {
        let separated = parts.iter().enumerate().flat_map(|(at, part)| {
            let colon = if at == 0 { "" } else { ":" };
            [colon.as_bytes(), part.as_bytes()]
        });
        self.of_bytes(separated)
    }

    /// The hash, in lower-case hexadecimal, of pieces as they follow each other.
    fn of_bytes<'p>(self, pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
        let mut sha = match self {
            Self::Md5 => {
                let mut md5 = md5::Md5::new();
                pieces.into_iter().for_each(|piece| md5.update(piece));
                return to_hex(&md5.finish());
            }
            Self::Sha256 => Context::new(&SHA256),
            Self::Sha512_256 => Context::new(&SHA512_256),
        };
        pieces.into_iter().for_each(|piece| sha.update(piece));
        to_hex(sha.finish().as_ref())
    }
}

impl Protection {
    /// As it stands in qop.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    /// Reads one value of qop, without case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auth, Self::AuthInt].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }
}

impl Ha1 {
    /// From a password (RFC 7616 §3.4.2).
    pub fn of_password(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        Self { algorithm, hex: algorithm.of(&[user, realm, password]).into() }
    }

    /// From a stored hash in hexadecimal.
    pub fn from_hex(algorithm: Algorithm, text: &str) -> Result<Self, SyntaxError> {
        if text.len() != algorithm.hex_length() || !text.bytes().all(|digit| hex(digit).is_some()) {
            return Err(SyntaxError::new("a stored hash has the wrong length or is not hexadecimal"));
        }
        Ok(Self { algorithm, hex: text.to_ascii_lowercase().into() })
    }

    /// The hash it was made with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in hexadecimal, to be stored. Never to be logged.
    pub fn expose_hex(&self) -> &str {
        &self.hex
    }

    /// The `response` of a digest (RFC 7616 §3.4.1; without qop RFC 2069's form, which §22.4 keeps allowed).
    pub fn response(&self, covered: Covered<'_>, nonce: &str, qop: Option<&Qop<'_>>) -> String {
        let Covered { method, uri, body } = covered;
        let Some(Qop { protection, nonce_count, cnonce }) = qop else {
            return self.algorithm.of(&[&self.hex, nonce, &self.algorithm.of(&[method, uri])]);
        };
        // RFC 7616 §3.4.3.
        let a2 = match protection {
            Protection::Auth => self.algorithm.of(&[method, uri]),
            Protection::AuthInt => self.algorithm.of(&[method, uri, &self.algorithm.of_bytes([body])]),
        };
        let count = format!("{nonce_count:08x}");
        self.algorithm.of(&[&self.hex, nonce, &count, cnonce, protection.as_str(), &a2])
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({})", self.algorithm.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qop(protection: Protection, cnonce: &str) -> Qop<'_> {
        Qop { protection, nonce_count: 1, cnonce: cnonce.into() }
    }

    #[test]
    fn the_examples_of_rfc_7616_section_3_9_1_come_out() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let qop = qop(Protection::Auth, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ");
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = Ha1::of_password(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            let covered = Covered { method: "GET", uri: "/dir/index.html", body: b"" };
            assert_eq!(ha1.response(covered, nonce, Some(&qop)), response);
            let stored = Ha1::from_hex(algorithm, &ha1.expose_hex().to_ascii_uppercase()).unwrap();
            assert_eq!(stored, ha1);
        }
    }

    /// With the values of erratum 4897: those printed in the RFC are SHA-512 cut in half, which is not SHA-512-256.
    #[test]
    fn the_example_of_rfc_7616_section_3_9_2_comes_out() {
        let (algorithm, user, realm) = (Algorithm::Sha512_256, "J\u{e4}s\u{f8}n Doe", "api@example.org");
        let userhash = algorithm.of(&[user, realm]);
        assert_eq!(userhash, "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b");
        let ha1 = Ha1::of_password(algorithm, user, realm, "Secret, or not?");
        let qop = qop(Protection::Auth, "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v");
        let covered = Covered { method: "GET", uri: "/doe.json", body: b"" };
        let response = ha1.response(covered, "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", Some(&qop));
        assert_eq!(response, "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5");
    }

    #[test]
    fn the_example_of_rfc_2069_without_qop_comes_out() {
        // RFC 2617 §3.5's secret in the form without qop, as RFC 2069 (with its erratum) computes it.
        let ha1 = Ha1::of_password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
        let covered = Covered { method: "GET", uri: "/dir/index.html", body: b"" };
        let response = ha1.response(covered, "dcd98b7102dd2f0e8b11d0f600bfb0c093", None);
        assert_eq!(response, "1949323746fe6a43ef61f9606e7febea");
    }

    /// The expected values were computed by Python's hashlib.
    #[test]
    fn a_digest_over_the_body_comes_out() {
        let qop = qop(Protection::AuthInt, "cn");
        let covered = Covered { method: "MESSAGE", uri: "sip:bob@contoso.com", body: "Grüße\0".as_bytes() };
        for (algorithm, response) in [
            (Algorithm::Md5, "dea8f37b5a0412017cd2e5290b06a182"),
            (Algorithm::Sha256, "8e829b2f157e246efc934115398cb90df3d1575201f4950bd2ce93162b47b44b"),
            (Algorithm::Sha512_256, "c76bb67bfc8345275b1c5ed3f39c7d979f8c2e1fdb0ad9cd895088d06af4b9a7"),
        ] {
            let ha1 = Ha1::of_password(algorithm, "alice", "contoso.com", "secret");
            assert_eq!(ha1.response(covered, "n", Some(&qop)), response);
            let altered = Covered { body: b"other", ..covered };
            assert_ne!(ha1.response(altered, "n", Some(&qop)), response);
        }
    }

    #[test]
    fn stored_hashes_are_checked_and_never_shown() {
        assert!(Ha1::from_hex(Algorithm::Sha256, &"0".repeat(32)).is_err());
        assert!(Ha1::from_hex(Algorithm::Md5, &"g".repeat(32)).is_err());
        let ha1 = Ha1::from_hex(Algorithm::Md5, &"ab".repeat(16)).unwrap();
        assert_eq!(format!("{ha1:?}"), "Ha1(MD5)");
    }
}
