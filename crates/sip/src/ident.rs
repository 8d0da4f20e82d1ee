//! Branches, tags and Call-IDs, made from randomness that the caller brings.

use std::fmt;

/// What every branch of RFC 3261 begins with (§8.1.1.7).
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// A short identifier, kept without allocation.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Ident {
    text: [u8; 40],
    length: u8,
}

/// A branch for a Via: unique if `random` is (§8.1.1.7).
pub fn branch(random: [u8; 16]) -> Ident {
    Ident::new(BRANCH_COOKIE, &random)
}

/// A tag for From or To: §19.3 asks for at least 32 random bits.
pub fn tag(random: [u8; 8]) -> Ident {
    Ident::new("", &random)
}

/// A Call-ID, without a host.
pub fn call_id(random: [u8; 16]) -> Ident {
    Ident::new("", &random)
}

impl Ident {
    /// Base 32 in lower case: tokens compare without case (§7.3.1), so base 64 would lose bits.
    fn new(prefix: &str, random: &[u8]) -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut text = [0; 40];
        text[..prefix.len()].copy_from_slice(prefix.as_bytes());
        let mut length = prefix.len();
        let (mut bits, mut held) = (0_u32, 0);
        for byte in random {
            bits = bits << 8 | u32::from(*byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                text[length] = DIGITS[(bits >> held & 31) as usize];
                length += 1;
            }
        }
        if held > 0 {
            text[length] = DIGITS[(bits << (5 - held) & 31) as usize];
            length += 1;
        }
        Self { text, length: length as u8 }
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_carry_all_their_randomness() {
        assert_eq!(branch([0; 16]).as_str(), "z9hG4bKaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(tag([0xff; 8]).as_str(), "7777777777776");
        let mut one = [0; 16];
        for bit in 0..128 {
            one[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(call_id(one), call_id([0; 16]), "bit {bit}");
            one = [0; 16];
        }
    }
}
