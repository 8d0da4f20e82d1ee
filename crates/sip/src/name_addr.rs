//! Addresses in headers: display name, URI, parameters (§20.10, §25.1 `name-addr` / `addr-spec`).

use std::borrow::Cow;

use crate::error::SyntaxError;
use crate::list::{Params, quoted_end};
use crate::text::{decimal_u32, find, is_token, split_before, trim, trim_start, unquote};
use crate::uri::Uri;

/// The value of From, To, Contact, Route, Path and their like.
///
/// The URI is kept as text; [`NameAddr::uri`] takes it apart.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    display: Option<&'a str>,
    uri: &'a str,
    params: Params<'a>,
    /// Where the URI starts within the value it was parsed from.
    uri_offset: usize,
}

impl<'a> NameAddr<'a> {
    /// Reads one address. A Contact of `*` is none; ask before.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let start = value.len() - trim_start(value).len();
        let text = &value[start..];
        let (display, bracket) = if text.starts_with('"') {
            let end = quoted_end(text).ok_or(SyntaxError::new("a quotation mark never closes"))?;
            let blank = text[end..].len() - trim_start(&text[end..]).len();
            if !text[end + blank..].starts_with('<') {
                return Err(SyntaxError::new("no <URI> follows the display name"));
            }
            (Some(&text[..end]), end + blank)
        } else if let Some(bracket) = find(text, b'<') {
            let name = trim(&text[..bracket]);
            // §25.1: without quotation marks a display name is tokens and blanks. A semicolon before the bracket would
            // let `sip:x;a=<sip:y>` mean two things. UTF-8 is taken although the grammar asks for quotes.
            let plain = |byte: u8| byte >= 0x80 || matches!(byte, b' ' | b'\t') || is_token(&[byte]);
            if !name.bytes().all(plain) {
                return Err(SyntaxError::new("a display name which is not quoted holds separators"));
            }
            ((!name.is_empty()).then_some(name), bracket)
        } else {
            return Self::bare(text, start);
        };
        let inner = &text[bracket + 1..];
        let close = find(inner, b'>').ok_or(SyntaxError::new("an angle bracket never closes"))?;
        let params = trim(&inner[close + 1..]);
        if !params.is_empty() && !params.starts_with(';') {
            return Err(SyntaxError::new("something other than parameters follows the URI"));
        }
        let uri = &inner[..close];
        if uri.is_empty() {
            return Err(SyntaxError::new("there is no URI"));
        }
        Ok(Self { display, uri, params: checked(params)?, uri_offset: start + bracket + 1 })
    }

    /// Without angle brackets every parameter belongs to the header, and the URI may hold no comma, semicolon or
    /// question mark (§20.10).
    fn bare(text: &'a str, start: usize) -> Result<Self, SyntaxError> {
        let (uri, params) = split_before(text, b';');
        let uri = trim(uri);
        if uri.is_empty() {
            return Err(SyntaxError::new("there is no URI"));
        }
        if uri.contains(['?', ',', '>', ' ', '\t', '"']) {
            return Err(SyntaxError::new("a URI which needs angle brackets has none"));
        }
        Ok(Self { display: None, uri, params: checked(params)?, uri_offset: start })
    }

    /// The display name without quotation marks and backslashes.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        self.display.map(unquote)
    }

    /// The URI as written.
    pub fn uri_text(&self) -> &'a str {
        self.uri
    }

    /// The URI, taken apart.
    pub fn uri(&self) -> Result<Uri<'a>, SyntaxError> {
        Uri::parse(self.uri)
    }

    /// Where the URI's text stands within the value given to [`NameAddr::parse`], for edits in place.
    pub fn uri_range(&self) -> std::ops::Range<usize> {
        self.uri_offset..self.uri_offset + self.uri.len()
    }

    /// The header's own parameters, not those inside the URI.
    pub fn params(&self) -> Params<'a> {
        self.params
    }

    /// The tag of From or To (§19.3).
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag")
    }

    /// Whether there is a `tag` parameter at all, be it without a value.
    pub(crate) fn has_tag(&self) -> bool {
        let mut params = self.params;
        params.any(|(name, _)| name.eq_ignore_ascii_case("tag"))
    }

    /// `+sip.instance` without quotation marks: `<urn:uuid:…>` (RFC 5626 §4.1).
    pub fn instance(&self) -> Option<Cow<'a, str>> {
        self.params.unquoted("+sip.instance")
    }

    /// `reg-id` (RFC 5626 §4.2): a number from 1.
    pub fn reg_id(&self) -> Option<u32> {
        self.params.value("reg-id").and_then(decimal_u32).filter(|id| *id > 0)
    }

    /// The `expires` parameter of a Contact, in seconds. §20.10: a malformed value reads as 3600.
    pub fn expires(&self) -> Option<u32> {
        self.params.value("expires").map(|text| decimal_u32(text).unwrap_or(3600))
    }

    /// The preference of a Contact in thousandths; absent is 1000 and malformed is `None` (§20.10).
    pub fn q_thousandths(&self) -> Option<u16> {
        let Some(text) = self.params.value("q") else { return Some(1000) };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let thousandths =
            fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        match (whole, thousandths) {
            ("0", thousandths) => Some(thousandths),
            ("1", 0) => Some(1000),
            _ => None,
        }
    }
}

/// Parameters whose names are tokens and whose quotation marks close.
fn checked(text: &str) -> Result<Params<'_>, SyntaxError> {
    let params = Params::new(text);
    let mut tagged = false;
    for (name, value) in params {
        // §25.1, gen-value: quotation marks stand around a value, or not at all. One that begins within it and never ends
        // would take along what is written behind it.
        let closes = |value: &str| match find(value, b'"') {
            None => true,
            Some(0) => quoted_end(value) == Some(value.len()),
            Some(_) => false,
        };
        if !is_token(name.as_bytes()) || !value.is_none_or(closes) {
            return Err(SyntaxError::new("a parameter is malformed"));
        }
        // §7.3.1: no parameter may stand twice. Two tags would be two dialogs to two readers.
        if name.eq_ignore_ascii_case("tag") && std::mem::replace(&mut tagged, true) {
            return Err(TWO_TAGS);
        }
    }
    Ok(params)
}

/// What is said of an address with two tags.
pub(crate) const TWO_TAGS: SyntaxError = SyntaxError::new("its tag stands twice");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (value, display, uri, tag) in [
            ("<sip:a@b>;tag=1", None, "sip:a@b", Some("1")),
            ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
            ("sip:a@b", None, "sip:a@b", None),
            ("Bob B. <sip:a@b;x=1>", Some("Bob B."), "sip:a@b;x=1", None),
            (r#""J \"R\" <x>"  <sip:a@b> ; tag = 9"#, Some(r#"J "R" <x>"#), "sip:a@b", Some("9")),
            ("Jürgen <sip:a@b>", Some("Jürgen"), "sip:a@b", None),
            ("<tel:+1;phone-context=x>", None, "tel:+1;phone-context=x", None),
        ] {
            let address = NameAddr::parse(value).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(address.display_name().as_deref(), display, "{value}");
            assert_eq!(address.uri_text(), uri, "{value}");
            assert_eq!(address.tag(), tag, "{value}");
            assert_eq!(&value[address.uri_range()], uri, "{value}");
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for bad in [
            "",
            "\"Mr. J. User <sip:j@e>",
            "<sip:a@b",
            "<>",
            "\"a\" sip:a@b",
            "sip:u@e?Route=%3Csip:x%3E",
            "<sip:a@b> x",
            "Bell, Alexander <sip:a@b>",
            "sip:a@b;x=<sip:c@d>",
            "<sip:a@b>;=5",
            "<sip:a@b>;x=\"y",
            "<sip:a@b>;x=y\"z;tag=1",
            "<sip:a@b>;x=y\"z\"",
            "<sip:a@b>;tag=1;x=2;TAG=1",
            "sip:a@b;tag;tag=1",
            ";tag=1",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn contact_parameters_read_as_their_types() {
        let address = NameAddr::parse("<sip:a@b>;q=0.35;expires=600;reg-id=1;+sip.instance=\"<urn:uuid:1>\"").unwrap();
        assert_eq!(address.q_thousandths(), Some(350));
        assert_eq!(address.expires(), Some(600));
        assert_eq!(address.reg_id(), Some(1));
        assert_eq!(address.instance().as_deref(), Some("<urn:uuid:1>"));
        let odd = NameAddr::parse("<sip:a@b>;q=1.5;expires=soon;reg-id=0").unwrap();
        assert_eq!((odd.q_thousandths(), odd.expires(), odd.reg_id()), (None, Some(3600), None));
    }
}
