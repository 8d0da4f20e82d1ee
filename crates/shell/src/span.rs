//! Where something stands in a script.

use std::ops::Range;

/// A stretch of a script, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it has ended.
    pub end: usize,
}

impl Span {
    /// From `start` up to `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the beginning of this to the end of `other`.
    #[must_use]
    pub const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// As a range of bytes.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A place as people count: lines and characters from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character within the line.
    pub char: usize,
}

/// The place of a byte of `text`. Line ends are those of any system.
pub fn position(text: &str, at: usize) -> Position {
    let before = up_to(text, at);
    let start = line_start(text, before.len());
    // A carriage return before a line feed belongs to the same line end.
    let ends = before.bytes().filter(|byte| *byte == b'\n').count()
        + before.match_indices('\r').filter(|(index, _)| !text[index + 1..].starts_with('\n')).count();
    Position { line: ends + 1, char: text[start..before.len()].chars().count() + 1 }
}

/// The line of `text` that a byte is on, without its end, and the byte that it begins at.
pub fn line(text: &str, at: usize) -> (&str, usize) {
    let at = up_to(text, at).len();
    let start = line_start(text, at);
    let end = text[at..].find(['\n', '\r']).map_or(text.len(), |length| at + length);
    (&text[start..end], start)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |index| index + 1)
}

/// What stands before a byte; one within a character counts as its beginning.
fn up_to(text: &str, at: usize) -> &str {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters_from_one() {
        for (text, at, expected, expected_line) in [
            ("", 0, (1, 1), ""),
            ("ab", 1, (1, 2), "ab"),
            ("a\nb", 2, (2, 1), "b"),
            ("a\r\nbc", 4, (2, 2), "bc"),
            ("a\rb", 2, (2, 1), "b"),
            ("äb", 2, (1, 2), "äb"),
            ("äb", 1, (1, 1), "äb"),
            ("a\n", 99, (2, 1), ""),
        ] {
            let place = position(text, at);
            assert_eq!((place.line, place.char), expected, "{text:?} at {at}");
            assert_eq!(line(text, at).0, expected_line, "{text:?} at {at}");
        }
    }
}
