//! The numbers that tell requests under way apart, in our branches and in our books.

use std::fmt;
use std::hash::Hasher;

/// How branches of this kind begin.
pub(super) const BRANCH: &str = "z9hG4bKe";

/// What tells the branches of this process apart, in hexadecimal digits behind [`BRANCH`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Numbers {
    pub(super) id: u64,
    pub(super) key: u64,
    pub(super) mark: u64,
}

impl Numbers {
    /// Those of a branch that this process has made.
    pub(super) fn of(branch: &str) -> Option<Self> {
        branch.strip_prefix(BRANCH).and_then(Self::read)
    }

    /// Reads them, up to where the branch ends.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (numbers, rest) = text.as_bytes().split_at_checked(50)?;
        let has_form = numbers[16] == b'.' && numbers[33] == b'.' && matches!(rest.first(), None | Some(b';'));
        let number = |at: usize| number(&numbers[at..at + 16]);
        has_form.then_some(Self { id: number(0)?, key: number(17)?, mark: number(34)? })
    }

    /// As they stand in a branch. By hand, since each message has one, and the formatter takes its time.
    pub(super) fn written(self) -> Written {
        let mut text = [b'.'; 50];
        for (part, number) in text.chunks_mut(17).zip([self.id, self.key, self.mark]) {
            for (at, digit) in part[..16].iter_mut().rev().enumerate() {
                *digit = HEX[(number >> (4 * at) & 15) as usize];
            }
        }
        Written(text)
    }
}

/// [`Numbers`] as text: 16 digits each, with dots between.
pub(super) struct Written([u8; 50]);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// A number of up to 16 hexadecimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    let (mut number, mut sound) = (0, true);
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => 16,
        };
        sound &= value < 16;
        number = number << 4 | u64::from(value & 15);
    }
    sound.then_some(number)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Numbers that differ in their low bits are as good as hashes; the high bits are asked for as well.
#[derive(Default)]
pub(super) struct Numbered(u64);

impl Hasher for Numbered {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only numbers are hashed here; anything else would still be found again.
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}
