//! The branches of our Vias: which context and leg a response belongs to, and what the request was when it passed.

use std::fmt;

use super::secret::LoopHash;
use crate::via::Via;

/// A branch of our own form.
///
/// `key` is drawn for each leg: only who has seen the request can answer it. The hash of RFC 5393 is the second part
/// that §16.6 step 8 speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Branch {
    /// The response context.
    pub context: u64,
    /// Its leg.
    pub leg: u8,
    /// A random number.
    pub key: u64,
    /// What the request was when it came in.
    pub hash: LoopHash,
}

impl Branch {
    /// Reads a branch; `None` if it is not of our form.
    pub fn parse(branch: &str) -> Option<Self> {
        let mut parts = branch.strip_prefix(PREFIX)?.split('.');
        let mut number = |digits| parts.next().filter(|part| part.len() <= digits).and_then(hex);
        let (context, leg, key, hash) = (number(16)?, number(2)?, number(16)?, number(16)?);
        let rest = parts.next();
        rest.is_none().then_some(Self { context, leg: u8::try_from(leg).ok()?, key, hash: LoopHash(hash) })
    }

    /// The branch of a Via value, if it is of our form.
    pub(super) fn of_via(via: &str) -> Option<Self> {
        Self::parse(Via::parse(via).ok()?.branch()?)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context, leg, key, hash } = self;
        write!(f, "{PREFIX}{context:x}.{leg:x}.{key:016x}.{:016x}", hash.0)
    }
}

const PREFIX: &str = "z9hG4bKp";

/// Unlike the standard library's, without a sign.
fn hex(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_reads_as_it_was_written_and_others_do_not() {
        for branch in [
            Branch { context: 0, leg: 0, key: 0, hash: LoopHash(0) },
            Branch { context: u64::MAX, leg: 255, key: u64::MAX, hash: LoopHash(u64::MAX) },
        ] {
            assert_eq!(Branch::parse(&branch.to_string()), Some(branch));
        }
        for foreign in [
            "",
            "z9hG4bKp",
            "z9hG4bKe1.0000000000000002",
            "z9hG4bKp1.0.2",
            "z9hG4bKp1.0.2.3.4",
            "z9hG4bKp1.100.2.3",
            "z9hG4bKp+1.0.2.3",
            "z9hG4bKp1.0.00000000000000000.3",
        ] {
            assert_eq!(Branch::parse(foreign), None, "{foreign}");
        }
    }
}
