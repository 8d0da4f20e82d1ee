//! The smallest parts of SIP's grammar (§25.1): tokens, white space, quoting, %-escapes, numbers.

use std::borrow::Cow;

use crate::error::SyntaxError;

/// Whether `text` is a token: one or more of letters, digits and `-.!%*_+`'~` (§25.1).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_length(text) == text.len()
}

/// Whether a byte can be no part of a Request-URI in the line that it stands in: white space and controls (§25.1).
pub(crate) const fn ends_uri(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// How many bytes at the front of `text` may stand in a token.
pub(crate) fn token_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !TOKEN[*byte as usize]).unwrap_or(text.len())
}

/// Where a byte of ASCII first stands. The searches of `str` by a character take several times as long on short text.
pub(crate) fn find(text: &str, byte: u8) -> Option<usize> {
    memchr::memchr(byte, text.as_bytes())
}

/// What stands before the first `byte`, which is ASCII, and what behind it.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    find(text, byte).map(|at| (&text[..at], &text[at + 1..]))
}

/// What stands before the first `byte`, which is ASCII, and the rest with it.
pub(crate) fn split_before(text: &str, byte: u8) -> (&str, &str) {
    text.split_at(find(text, byte).unwrap_or(text.len()))
}

/// Blanks and tabs at the front are no part of a value.
pub(crate) fn trim_start_bytes(text: &[u8]) -> &[u8] {
    let skip = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[skip..]
}

/// Blanks and tabs at the end are no part of a value.
pub(crate) fn trim_end_bytes(text: &[u8]) -> &[u8] {
    let skip = text.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[..text.len() - skip]
}

/// Without blanks and tabs around; `str::trim` would also take what only Unicode calls white space.
pub(crate) fn trim(text: &str) -> &str {
    let text = trim_start(text);
    &text[..trim_end_bytes(text.as_bytes()).len()]
}

/// Without blanks and tabs in front.
pub(crate) fn trim_start(text: &str) -> &str {
    &text[text.len() - trim_start_bytes(text.as_bytes()).len()..]
}

/// Digits and nothing else, below 2^32.
pub(crate) fn decimal_u32(text: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Undoes %-escapes (§19.1.2). Borrows when there are none.
///
/// The result may hold any character, also CR, LF and NUL: never print it into a header without [`escape_param`] or
/// [`quote`].
pub fn unescape(text: &str) -> Result<Cow<'_, str>, SyntaxError> {
    if find(text, b'%').is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(BAD_ESCAPE) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(BAD_ESCAPE) };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| SyntaxError::new("its %-escapes are not UTF-8"))
}

/// Escapes a value for use in a URI parameter: everything but `paramchar` (§25.1) becomes `%XX`.
pub fn escape_param(value: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
    if value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(char::from(HEX[usize::from(byte >> 4)]));
            escaped.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(escaped)
}

/// Puts text into quotation marks. CR, LF and NUL, which no quoting makes safe for every reader, become blanks.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\r' | '\n' | '\0' => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Takes the quotation marks and backslashes off a quoted string; other text comes back as it is.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    Cow::Owned(plain)
}

pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const LOWER: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(LOWER[usize::from(digit)])).collect()
}

const BAD_ESCAPE: SyntaxError = SyntaxError::new("a % is not followed by two hexadecimal digits");
const HEX: &[u8; 16] = b"0123456789ABCDEF";

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"-.!%*_+`'~";
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_done() {
        assert_eq!(unescape("a%3Bb%20c").as_deref(), Ok("a;b c"));
        assert_eq!(unescape("%00").as_deref(), Ok("\0"));
        assert_eq!(unescape("%e2%82%ac").as_deref(), Ok("€"));
        for bad in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
        assert_eq!(escape_param("https://p.example/x?y=1;z@"), "https://p.example/x%3Fy%3D1%3Bz%40");
        assert_eq!(escape_param("a:voip&b"), "a:voip&b");
    }

    #[test]
    fn quoting_is_undone_and_never_leaves_the_line() {
        assert_eq!(unquote(r#""a \"b\" \\c""#), r#"a "b" \c"#);
        assert_eq!(unquote("token"), "token");
        assert_eq!(quote("a\"b\r\nVia: x"), "\"a\\\"b  Via: x\"");
        assert_eq!(unquote(&quote("x\\\"y")), "x\\\"y");
    }

    #[test]
    fn numbers_have_no_sign() {
        assert_eq!(decimal_u32("0070"), Some(70));
        for bad in ["", "+1", "-1", "1 ", "4294967296", "٣"] {
            assert_eq!(decimal_u32(bad), None, "{bad}");
        }
    }
}
