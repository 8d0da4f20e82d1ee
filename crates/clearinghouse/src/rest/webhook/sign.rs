//! Signatures of webhooks, as Standard Webhooks has them with Ed25519 (`v1a`).
//!
//! One key pair of the publisher's, and no secret for each account: what an organisation needs is public, so that there is
//! nothing that could be stolen from it, nothing to show once, and nothing secret in settings.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reveille_core::Timestamp;

/// Signs what goes to webhooks. `Debug` shows no key.
pub struct Signer(Ed25519KeyPair);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.public()).finish()
    }
}

impl Signer {
    /// The signer whose key grows of these 32 random bytes.
    pub fn of(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are the seed of an Ed25519 key"))
    }

    /// The public key as Standard Webhooks writes it.
    pub fn public(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.public_key().as_ref()))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let signed = [format!("{id}.{}.", at.secs()).as_bytes(), body].concat();
        format!("v1a,{}", STANDARD.encode(self.0.sign(&signed).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn whoever_has_the_public_key_finds_any_change() {
        let signer = Signer::of(&[7; 32]);
        let at = Timestamp::from_millis(1_800_000_000_999);
        let signature = signer.sign("contoso.com.1", at, b"{}");
        let public = STANDARD.decode(signer.public().strip_prefix("whpk_").unwrap()).unwrap();
        let tag = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let good = |signed: &str| UnparsedPublicKey::new(&ED25519, &public).verify(signed.as_bytes(), &tag).is_ok();
        assert!(good("contoso.com.1.1800000000.{}"));
        for changed in ["fabrikam.com.1.1800000000.{}", "contoso.com.1.1800000001.{}", "contoso.com.1.1800000000.{ }"] {
            assert!(!good(changed), "{changed}");
        }
    }
}
