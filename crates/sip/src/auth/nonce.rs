//! Nonces which a server recognises without remembering them.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};

use crate::text::{hex, to_hex};
use crate::timers::Millis;

/// Makes and checks nonces: time and randomness, signed with the server's secret.
///
/// Times are those of a clock which all servers with this secret share and which outlives a restart: wall-clock time.
/// A nonce may be used often within its life; whoever wants to stop replay keeps the highest nonce count of each.
pub struct Nonces {
    key: hmac::Key,
}

/// Why a nonce is not good any more. Either way the client may try again with a new one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NonceRefusal {
    /// Not made with this secret.
    #[error("the nonce is not one of ours")]
    Foreign,
    /// Made too long ago, or in the future.
    #[error("the nonce has expired")]
    Old,
}

impl Nonces {
    /// Of a secret of at least 32 random bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// A new nonce.
    pub fn mint(&self, now: Millis, random: [u8; 8]) -> String {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&now.0.to_be_bytes());
        bytes[8..SIGNED].copy_from_slice(&random);
        let tag = hmac::sign(&self.key, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag.as_ref()[..LENGTH - SIGNED]);
        to_hex(&bytes)
    }

    /// Checks a nonce that a client brought back, and gives its age.
    pub fn check(&self, nonce: &str, now: Millis, life: Millis) -> Result<Millis, NonceRefusal> {
        let bytes = decode(nonce).ok_or(NonceRefusal::Foreign)?;
        let (signed, tag) = bytes.split_at(SIGNED);
        let expected = hmac::sign(&self.key, signed);
        constant_time::verify_slices_are_equal(&expected.as_ref()[..tag.len()], tag)
            .map_err(|_| NonceRefusal::Foreign)?;
        let minted = u64::from_be_bytes(*signed.first_chunk().ok_or(NonceRefusal::Foreign)?);
        match now.0.checked_sub(minted) {
            Some(age) if age <= life.0 => Ok(Millis(age)),
            _ => Err(NonceRefusal::Old),
        }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

fn decode(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if text.len() != 2 * LENGTH {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *byte = hex(digits[0])? << 4 | hex(digits[1])?;
    }
    Some(bytes)
}

/// Eight bytes of time, eight of randomness.
const SIGNED: usize = 16;
/// And half of an HMAC-SHA256.
const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_lives_its_life_and_no_longer() {
        let nonces = Nonces::new(&[7; 32]);
        let nonce = nonces.mint(Millis(1_000_000), [1; 8]);
        assert_eq!(nonce.len(), 64);
        assert_eq!(nonces.check(&nonce, Millis(1_000_000), Millis(500)), Ok(Millis(0)));
        assert_eq!(nonces.check(&nonce, Millis(1_000_500), Millis(500)), Ok(Millis(500)));
        assert_eq!(nonces.check(&nonce, Millis(1_000_501), Millis(500)), Err(NonceRefusal::Old));
        assert_eq!(nonces.check(&nonce, Millis(999_999), Millis(500)), Err(NonceRefusal::Old));
    }

    #[test]
    fn every_altered_digit_is_noticed() {
        let nonces = Nonces::new(&[7; 32]);
        let nonce = nonces.mint(Millis(1), [1; 8]);
        for at in 0..nonce.len() {
            let mut altered = nonce.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(nonces.check(&altered, Millis(1), Millis(9)), Err(NonceRefusal::Foreign), "{at}");
        }
        for odd in ["", "x", &nonce[1..], &"é".repeat(32)] {
            assert_eq!(nonces.check(odd, Millis(1), Millis(9)), Err(NonceRefusal::Foreign));
        }
        assert_eq!(Nonces::new(&[8; 32]).check(&nonce, Millis(1), Millis(9)), Err(NonceRefusal::Foreign));
    }
}
