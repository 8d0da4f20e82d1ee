//! Lists inside header values: elements between commas, parameters between semicolons (§7.3.1).

use crate::text::{find, split_once, trim, unquote};

/// The elements of a comma-separated value. Commas inside quotation marks or angle brackets do not separate; empty
/// elements are left out.
pub fn elements(value: &str) -> Elements<'_> {
    Elements { rest: Some(value) }
}

/// Iterator of [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // Empty elements are passed over in one step: a list may be nothing else.
        let rest = behind_empty(self.rest.take()?, b',');
        if rest.is_empty() {
            return None;
        }
        let end = top_level(rest, b',');
        self.rest = rest.get(end + 1..);
        Some(trim(&rest[..end]))
    }
}

/// Parameters of the form `;name=value;flag`, in headers and in URIs. Names are compared without case (§7.3.1).
///
/// Iterating gives name and value, the value `None` for a flag and with its quotation marks if it has any.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Params<'a> {
    rest: &'a str,
}

impl<'a> Params<'a> {
    /// Parameters as they stand behind the value they belong to; a semicolon in front is optional.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The value of a parameter as written; `None` if it is absent or a flag.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// The value of a parameter without quotation marks.
    pub fn unquoted(&self, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        self.value(name).map(unquote)
    }

    /// Whether a parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The first parameter of that name: `Some(None)` is a flag.
    pub fn find(&self, name: &str) -> Option<Option<&'a str>> {
        let mut params = *self;
        params.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The text not yet iterated.
    pub fn as_str(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = behind_empty(self.rest, b';');
        let end = top_level(rest, b';');
        let param = trim(&rest[..end]);
        self.rest = rest.get(end + 1..).unwrap_or_default();
        if param.is_empty() {
            return None;
        }
        Some(match split_once(param, b'=') {
            Some((name, value)) => (trim(name), Some(trim(value))),
            None => (param, None),
        })
    }
}

/// Where the first element of a comma-separated value stands, and where the text behind its comma begins, if any does.
pub(crate) fn first_element(value: &str) -> Option<(std::ops::Range<usize>, Option<usize>)> {
    let first = elements(value).next()?;
    // Elements are slices of the value in order, so the first one is found where it begins.
    let start = value.bytes().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
    let end = start + first.len();
    let comma = find(&value[end..], b',').map(|at| end + at + 1);
    let more = comma.filter(|at| elements(&value[*at..]).next().is_some());
    Some((start..end, more))
}

/// Whether a comma-separated value has an element at all.
pub(crate) fn has_element(value: &[u8]) -> bool {
    value.iter().any(|byte| !matches!(byte, b' ' | b'\t' | b','))
}

/// What is left of a list behind the empty elements at its front.
fn behind_empty(text: &str, separator: u8) -> &str {
    let skip = text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t') || *byte == separator).count();
    &text[skip..]
}

/// Where `separator` first stands outside quotation marks and angle brackets; the length of `text` if nowhere.
///
/// A quotation mark or bracket which is never closed swallows the rest: such a value becomes one odd element, which its
/// own parser then refuses.
pub(crate) fn top_level(text: &str, separator: u8) -> usize {
    let bytes = text.as_bytes();
    // The look stops at whichever comes first: looking further for each element would cost the square of the list.
    let Some(first) = memchr::memchr3(separator, b'"', b'<', bytes) else { return bytes.len() };
    if bytes[first] == separator {
        return first;
    }
    let (mut quoted, mut bracketed, mut at) = (false, false, first);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            byte if byte == separator && !quoted && !bracketed => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where the quoted string which begins `text` ends, just behind its closing mark.
pub(crate) fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        let list = |text| elements(text).collect::<Vec<_>>();
        assert_eq!(list("a, b ,,c"), ["a", "b", "c"]);
        assert_eq!(list(""), [""; 0]);
        assert_eq!(list(" ,\t, ,"), [""; 0]);
        assert_eq!(list(",,a,,,, ,b, ,"), ["a", "b"]);
        assert_eq!(list(r#""x, \", y" <sip:a,b@c>, d"#), [r#""x, \", y" <sip:a,b@c>"#, "d"]);
        assert_eq!(list(r#"<sip:a"b@c>, d"#), [r#"<sip:a"b@c>"#, "d"]);
        assert_eq!(list(r#""never closed, d"#), [r#""never closed, d"#]);
    }

    #[test]
    fn the_first_element_is_located() {
        assert_eq!(first_element("ab , cd"), Some((0..2, Some(4))));
        assert_eq!(first_element(" ,, ab;x=\",\""), Some((4..12, None)));
        assert_eq!(first_element("ab, ,"), Some((0..2, None)));
        assert_eq!(first_element(" , "), None);
    }

    #[test]
    fn parameters_are_found_without_case_and_with_blanks_around() {
        let params = Params::new(" ;Tag = 5 ; lr;q=\"a;b\";empty=; ");
        assert_eq!(params.value("tag"), Some("5"));
        assert!(params.has("LR"));
        assert_eq!(params.value("lr"), None);
        assert_eq!(params.unquoted("q").as_deref(), Some("a;b"));
        assert_eq!(params.value("empty"), Some(""));
        assert_eq!(params.find("none"), None);
        assert_eq!(params.count(), 4);
        assert_eq!(Params::new(";; ;a;;b=1; ;").collect::<Vec<_>>(), [("a", None), ("b", Some("1"))]);
        assert_eq!(Params::new(" ;; ").next(), None);
    }
}
