//! Digest authentication (§22, RFC 7616, RFC 8760): MD5 and SHA-256, `qop=auth` and the old form without qop.
//!
//! Both sides are here: a server prints a [`Challenge`], reads [`Credentials`] and asks [`Server::verify`]; a client
//! reads the challenge with [`Challenge::parse`] and answers with [`answer`].

mod challenge;
mod credentials;
mod md5;
mod nonce;
mod server;

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::error::SyntaxError;
use crate::text::{hex, to_hex};

pub use challenge::Challenge;
pub use credentials::{Credentials, answer};
pub use nonce::{NonceRefusal, Nonces};
pub use server::{Refusal, Server, Verified};

/// A hash that a digest may use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Mandatory in RFC 3261 and nowhere else any more.
    Md5,
    /// RFC 8760.
    Sha256,
}

/// The hash of user name, realm and password: as good as the password, so it is never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// What `qop=auth` adds to a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Qop<'a> {
    /// How many times this nonce has been used, from 1.
    pub nonce_count: u32,
    /// The client's nonce.
    pub cnonce: &'a str,
}

impl Algorithm {
    /// The name as it stands in challenges and credentials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads a name, without case. `None` for those not supported here (the session variants, SHA-512-256).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    /// How many hexadecimal digits a digest has.
    pub fn hex_length(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }

    /// The hash, in lower-case hexadecimal, of parts joined by colons.
    fn of(self, parts: &[&str]) -> String {
        let separated = parts.iter().enumerate().flat_map(|(at, part)| {
            let colon = if at == 0 { "" } else { ":" };
            [colon, *part]
        });
        match self {
            Self::Md5 => {
                let mut md5 = md5::Md5::new();
                separated.for_each(|part| md5.update(part.as_bytes()));
                to_hex(&md5.finish())
            }
            Self::Sha256 => {
                let mut sha = Context::new(&SHA256);
                separated.for_each(|part| sha.update(part.as_bytes()));
                to_hex(sha.finish().as_ref())
            }
        }
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
    pub fn response(&self, method: &str, uri: &str, nonce: &str, qop: Option<Qop<'_>>) -> String {
        let ha2 = self.algorithm.of(&[method, uri]);
        match qop {
            Some(qop) => {
                let count = format!("{:08x}", qop.nonce_count);
                self.algorithm.of(&[&self.hex, nonce, &count, qop.cnonce, "auth", &ha2])
            }
            None => self.algorithm.of(&[&self.hex, nonce, &ha2]),
        }
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

    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let qop = Some(Qop { nonce_count: 1, cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ" });
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = Ha1::of_password(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(ha1.response("GET", "/dir/index.html", nonce, qop), response);
            let stored = Ha1::from_hex(algorithm, &ha1.expose_hex().to_ascii_uppercase()).unwrap();
            assert_eq!(stored, ha1);
        }
    }

    #[test]
    fn the_example_of_rfc_2069_without_qop_comes_out() {
        // RFC 2617 §3.5's secret in the form without qop, as RFC 2069 (with its erratum) computes it.
        let ha1 = Ha1::of_password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
        let response = ha1.response("GET", "/dir/index.html", "dcd98b7102dd2f0e8b11d0f600bfb0c093", None);
        assert_eq!(response, "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn stored_hashes_are_checked_and_never_shown() {
        assert!(Ha1::from_hex(Algorithm::Sha256, &"0".repeat(32)).is_err());
        assert!(Ha1::from_hex(Algorithm::Md5, &"g".repeat(32)).is_err());
        let ha1 = Ha1::from_hex(Algorithm::Md5, &"ab".repeat(16)).unwrap();
        assert_eq!(format!("{ha1:?}"), "Ha1(MD5)");
    }
}
