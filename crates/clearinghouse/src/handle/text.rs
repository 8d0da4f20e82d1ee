//! How a sealed handle is written: `rvh1.<key id>.<base64url(enc || ciphertext)>`, without padding.
//!
//! It is made of letters, digits, `-`, `_` and dots only, so that it goes through SIP (RFC 8599 `pn-prid`), JSON and a
//! home that does not know what it is, as any provider's token would.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reveille_core::{DeviceToken, SipDomain};
use reveille_federation::request::To;

/// What every handle of this form begins with. No provider's token does: APNs has hexadecimal digits, FCM a colon behind
/// what it begins with and no dot before, the others have URIs.
pub const PREFIX: &str = "rvh1.";
/// HPKE's `info` (RFC 9180 §5.1): what this is for, so that nothing sealed for another purpose opens here.
pub const INFO: &[u8] = b"reveille handle v1";
/// RFC 9180 §7.1: the encapsulated key of DHKEM(P-256, HKDF-SHA256), an uncompressed point.
pub(super) const ENC_BYTES: usize = 65;
/// What AES-256-GCM adds to what it seals.
const TAG_BYTES: usize = 16;

/// The name of a key: the first 8 bytes of the SHA-256 of its public half, so that it needs no register.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(u64);

impl KeyId {
    /// The name of this public key.
    pub fn of(public: &[u8]) -> Self {
        let digest = digest(&SHA256, public);
        Self(u64::from_be_bytes(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Err(NoKeyId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NoKeyId)
    }
}

/// Why a text is no key's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the name of a handle key has 16 hexadecimal digits in lower case")]
pub struct NoKeyId;

/// A handle that could be read, and not been opened yet.
pub(super) struct Sealed {
    pub(super) key: KeyId,
    /// The encapsulated key and behind it the ciphertext.
    pub(super) bytes: Vec<u8>,
}

/// Whether a token is a handle of this form.
pub fn is_handle(token: &DeviceToken) -> bool {
    token.expose().starts_with(PREFIX)
}

/// Reads a handle; `None` if it is not well-formed.
pub(super) fn read(text: &str) -> Option<Sealed> {
    let (key, bytes) = text.strip_prefix(PREFIX)?.split_once('.')?;
    let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
    // A token has at least one byte.
    (bytes.len() > ENC_BYTES + TAG_BYTES).then_some(Sealed { key: key.parse().ok()?, bytes })
}

/// What a handle is bound to (HPKE's `aad`): the app, its environment and the organisation. Whoever presents it as
/// another organisation, or for another app, cannot open it (DESIGN.md §7).
pub(super) fn binding(origin: &SipDomain, to: &To) -> String {
    format!("{}\n{}\n{}\n{}", to.provider.as_str(), to.app, to.environment.as_str(), origin.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_reads_back_and_nothing_else_is_taken_for_one() {
        let id = KeyId::of(b"public");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "0", "B2947BAB3726FFA5", "b2947bab3726ffa", "b2947bab3726ffa50", "+2947bab3726ffa5"] {
            assert_eq!(text.parse::<KeyId>(), Err(NoKeyId), "{text}");
        }
    }

    #[test]
    fn what_is_not_whole_is_no_handle() {
        let body = URL_SAFE_NO_PAD.encode([7; ENC_BYTES + TAG_BYTES + 1]);
        assert!(read(&format!("rvh1.b2947bab3726ffa5.{body}")).is_some());
        let short = URL_SAFE_NO_PAD.encode([7; ENC_BYTES + TAG_BYTES]);
        for text in [
            format!("rvh1.b2947bab3726ffa5.{short}"),
            format!("rvh1.b2947bab3726ffa5.{body}="),
            format!("rvh1.b2947bab3726ffa5.{body}."),
            format!("rvh1.b2947bab.{body}"),
            format!("rvh1.{body}"),
            format!("rvh2.b2947bab3726ffa5.{body}"),
            "rvh1.".to_owned(),
        ] {
            assert!(read(&text).is_none(), "{text}");
        }
    }
}
