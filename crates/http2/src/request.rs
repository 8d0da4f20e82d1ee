//! A request as it is to be sent: a page of fields and a body, written anew for each request in the same memory.

/// A field's name, in lower case (RFC 9113 §8.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Name {
    text: &'static str,
    /// Its place in the static table, 0 if it has none (RFC 7541 appendix A).
    index: u8,
}

impl Name {
    /// A name that the static table does not have.
    pub const fn new(text: &'static str) -> Self {
        Self { text, index: 0 }
    }

    /// As text.
    pub const fn as_str(self) -> &'static str {
        self.text
    }

    /// Its place in the static table, 0 if it has none.
    pub(crate) const fn index(self) -> u8 {
        self.index
    }
}

/// Names that the static table has (RFC 7541 appendix A).
pub mod name {
    use super::Name;

    /// `:authority`
    pub const AUTHORITY: Name = Name { text: ":authority", index: 1 };
    /// `:method`
    pub const METHOD: Name = Name { text: ":method", index: 3 };
    /// `:path`
    pub const PATH: Name = Name { text: ":path", index: 4 };
    /// `:scheme`
    pub const SCHEME: Name = Name { text: ":scheme", index: 7 };
    /// `authorization`
    pub const AUTHORIZATION: Name = Name { text: "authorization", index: 23 };
    /// `content-length`
    pub const CONTENT_LENGTH: Name = Name { text: "content-length", index: 28 };
    /// `content-type`
    pub const CONTENT_TYPE: Name = Name { text: "content-type", index: 31 };
}

/// What the compression may do with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// It comes again with most requests of the connection: both sides keep it in their table (RFC 7541 §6.2.1).
    Table,
    /// Its value does not come again (RFC 7541 §6.2.2). Its name does, and is kept.
    Passing,
    /// It does not come again, and whoever passes it on must not keep it either (RFC 7541 §6.2.3, §7.1.3).
    Secret,
}

/// One request. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Request {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Line {
    name: Name,
    end: u32,
    keep: Keep,
}

impl Request {
    /// An empty page.
    pub const fn new() -> Self {
        Self { text: Vec::new(), lines: Vec::new(), body: Vec::new() }
    }

    /// Makes it empty, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.body.clear();
    }

    /// Appends a field. Pseudo-header fields come first (RFC 9113 §8.3). The value's octets must be legal in a field
    /// (RFC 9113 §8.2.1): whoever takes it from elsewhere has looked.
    pub fn field(&mut self, name: Name, value: &[u8], keep: Keep) {
        self.field_of(name, &[value], keep);
    }

    /// Appends a field whose value is these parts, one after the other.
    pub fn field_of(&mut self, name: Name, parts: &[&[u8]], keep: Keep) {
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        debug_assert!(!self.text.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')), "RFC 9113 §8.2.1");
        self.lines.push(Line { name, end: self.text.len() as u32, keep });
    }

    /// Each field in order.
    pub fn fields(&self) -> impl Iterator<Item = (Name, &[u8], Keep)> {
        let mut start = 0;
        self.lines.iter().map(move |line| {
            let value = &self.text[start..line.end as usize];
            start = line.end as usize;
            (line.name, value, line.keep)
        })
    }

    /// The value of a field, for tests and logs of names that hold no secret.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(known, ..)| known.as_str() == name).map(|(_, value, _)| value)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines.iter().map(|line| line.name.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written_and_can_be_used_again() {
        let mut request = Request::new();
        for round in [&b"a"[..], b"bc"] {
            request.clear();
            request.field(name::METHOD, b"POST", Keep::Table);
            request.field_of(name::PATH, &[b"/3/device/", round], Keep::Secret);
            request.body.extend_from_slice(round);
            assert_eq!(request.get(":path"), Some(&[b"/3/device/", round].concat()[..]));
            assert_eq!(request.fields().count(), 2);
            assert_eq!(request.body, round);
        }
    }

    #[test]
    fn debug_output_has_no_value() {
        let mut request = Request::new();
        request.field(name::AUTHORIZATION, b"bearer x", Keep::Table);
        assert_eq!(format!("{request:?}"), r#"["authorization"]"#);
    }
}
