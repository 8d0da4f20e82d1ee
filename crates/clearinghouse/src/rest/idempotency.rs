//! `Idempotency-Key`: the id of a push whose sender does not write one into the body.
//!
//! The id of a push is a ULID, of which the first 48 bits are the time of its birth; a UUID of version 7 has the same
//! form (RFC 9562 §5.7). Calls are refused by their birth after a restore, so that other keys, which tell no time, are
//! not taken.

use reveille_core::{PushId, Timestamp};

/// The header field, in lower case (draft-ietf-httpapi-idempotency-key-header).
pub(super) const HEADER: &str = "idempotency-key";

/// A key as 128 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key(u128);

impl Key {
    /// Reads a ULID, or a UUID of version 7; also in quotes, as the draft has it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if let Ok(id) = text.parse::<PushId>() {
            return Some(Self(id.to_u128()));
        }
        let dashes = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(&digits, 16).ok().filter(|_| dashes && is_hex)?;
        ((value >> 76) & 0xf == 7).then_some(Self(value))
    }

    /// A key of nobody else: of this moment.
    pub(super) fn fresh(now: Timestamp) -> Self {
        Self(PushId::from_parts(now, rand::random()).to_u128())
    }

    /// The id of the request number `index` of a body. Those after the first are drawn from the whole key, so that two
    /// keys that follow each other never share one.
    pub(super) fn id(self, index: usize) -> PushId {
        if index == 0 {
            return PushId::from_u128(self.0);
        }
        let mut text = [0; 24];
        text[..16].copy_from_slice(&self.0.to_be_bytes());
        text[16..].copy_from_slice(&(index as u64).to_be_bytes());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        let mut low = [0; 16];
        low[6..].copy_from_slice(&digest.as_ref()[..10]);
        PushId::from_u128(((self.0 >> 80) << 80) | u128::from_be_bytes(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_ulid_or_a_uuid_that_tells_its_time() {
        let uuid = Key::read("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").unwrap();
        assert_eq!(uuid.id(0).born().millis(), 0x017f_22e2_79b0, "RFC 9562, appendix A.6");
        assert_eq!(Key::read("\"017F22E2-79B0-7CC3-98C4-DC0C0C07398F\""), Some(uuid));
        assert!(Key::read("01ARZ3NDEKTSV4RRFFQ69G5FAV").is_some());
        for bad in ["", "x", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "017f22e279b07cc398c4dc0c0c07398f", "\""] {
            assert_eq!(Key::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_requests_of_a_body_have_ids_of_one_time_that_no_other_key_has() {
        let key = Key::read("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        let next = Key(key.0 + 1);
        let ids: std::collections::HashSet<u128> =
            (0..32).flat_map(|index| [key.id(index).to_u128(), next.id(index).to_u128()]).collect();
        assert_eq!(ids.len(), 64);
        assert!((0..32).all(|index| key.id(index).born() == key.id(0).born()));
        assert_eq!(key.id(5), key.id(5));
    }
}
