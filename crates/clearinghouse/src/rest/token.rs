//! Access tokens: short, sealed by this process, and worth no more than what they were given for.
//!
//! A token names the account and the credential that brought it. Each use asks the settings whether the account still
//! holds that credential, so that nothing needs to be kept here, and a token ends with what it rests on. The key is made
//! anew at each start: tokens of a former life are refused, and their holders fetch another.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reveille_core::Timestamp;
use serde::{Deserialize, Serialize};

/// What all tokens begin with, so that a scanner of published text finds what should not be there.
const PREFIX: &str = "rvat_";
/// The longest token, in bytes: none of ours is longer.
const BYTES_MAX: usize = 1024;

/// What seals tokens.
pub(super) struct Seal(hmac::Key);

/// Whose a token is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Grant {
    /// The account.
    #[serde(rename = "a")]
    pub(super) account: String,
    /// What it proved itself with.
    #[serde(rename = "c")]
    pub(super) credential: Credential,
    /// From when on it is nothing.
    #[serde(rename = "e")]
    pub(super) expires: Timestamp,
}

/// What an account proved itself with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Credential {
    /// A client certificate, by its SHA-256: the token is bound to it (RFC 8705 §3, `x5t#S256`).
    #[serde(rename = "x")]
    Certificate(String),
    /// A public key, by the SHA-256 of the account's text of it: another key under the same `kid` is another one.
    #[serde(rename = "k")]
    Key(String),
    /// The secret of this id.
    #[serde(rename = "s")]
    Secret(String),
}

impl Credential {
    /// That public key.
    pub(super) fn of_key(text: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        Self::Key(URL_SAFE_NO_PAD.encode(digest.as_ref()))
    }
}

impl Seal {
    /// A seal of its own.
    pub(super) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()))
    }

    /// The token of a grant.
    pub(super) fn close(&self, grant: &Grant) -> String {
        let text = serde_json::to_vec(grant).unwrap_or_default();
        let tag = hmac::sign(&self.0, &text);
        format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// The grant of a token, if it is one of ours and not over.
    pub(super) fn open(&self, token: &str, now: Timestamp) -> Option<Grant> {
        let (text, tag) = token.strip_prefix(PREFIX).filter(|_| token.len() <= BYTES_MAX)?.split_once('.')?;
        let (text, tag) = (URL_SAFE_NO_PAD.decode(text).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        hmac::verify(&self.0, &text, &tag).ok()?;
        serde_json::from_slice::<Grant>(&text).ok().filter(|grant| now < grant.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn a_token_is_good_until_its_end_and_only_for_whoever_sealed_it() {
        let seal = Seal::new();
        let grant =
            Grant { account: "contoso-mcx".into(), credential: Credential::Secret("abc".into()), expires: at(300) };
        let token = seal.close(&grant);
        assert_eq!(seal.open(&token, at(299)), Some(grant.clone()));
        assert_eq!(seal.open(&token, at(300)), None, "over");
        assert_eq!(Seal::new().open(&token, at(0)), None, "another process's");
        let other = Grant { account: "fabrikam-mcx".into(), ..grant };
        let (text, _) =
            seal.close(&other).split_once('.').map(|(text, tag)| (text.to_owned(), tag.to_owned())).unwrap();
        let forged = format!("{text}.{}", token.split_once('.').unwrap().1);
        assert_eq!(seal.open(&forged, at(0)), None, "another's text under this tag");
        let long = format!("{token}{}", "A".repeat(BYTES_MAX));
        for text in ["", "rvat_", "rvat_.", "rvat_AA.AA", long.as_str(), &token[5..]] {
            assert_eq!(seal.open(text, at(0)), None, "{text}");
        }
    }
}
