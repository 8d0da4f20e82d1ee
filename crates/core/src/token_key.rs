//! The secret with which a role signs what it writes into other people's messages, to know it again.

/// 32 random bytes. Whoever has them can make tokens in that role's name, so `Debug` shows none.
#[derive(Clone, Eq, PartialEq)]
pub struct TokenKey([u8; Self::LEN]);

impl TokenKey {
    /// How many bytes it has.
    pub const LEN: usize = 32;

    /// A key of random bytes.
    pub const fn new(random: [u8; Self::LEN]) -> Self {
        Self(random)
    }

    /// The bytes themselves.
    pub const fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_printed_says_nothing() {
        assert_eq!(format!("{:?}", TokenKey::new([7; TokenKey::LEN])), "TokenKey");
    }
}
