//! An answer as it comes, and what makes one malformed (RFC 9113 §8.1.1, §8.2, §8.3.2).

use std::fmt;

use crate::fields::Fields;

/// A whole answer, or as much of it as has come. `Debug` shows nothing of the body, which may be an access token.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Answer {
    /// The status; 0 before it has come.
    pub status: u16,
    /// The fields that were wanted.
    pub fields: Fields,
    /// The body, or the beginning of a long one.
    pub body: Vec<u8>,
    /// How long the body really is.
    pub body_bytes: u64,
}

impl Answer {
    /// As if nothing had come, with the memory kept.
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.fields.clear();
        self.body.clear();
        self.body_bytes = 0;
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, fields: _, body, body_bytes } = self;
        write!(f, "{status} with {} bytes kept of {body_bytes}", body.len())
    }
}

/// A header section while it is read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    fields: &'a mut Fields,
    wanted: &'static [&'static str],
    kind: Kind,
    status: u16,
    length: Option<u64>,
    /// A field that is no pseudo-header has been seen.
    regular: bool,
    bad: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It begins an answer, interim or final.
    Head,
    /// It stands behind the body.
    Trailers,
}

/// What a section said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// RFC 9113 §8.1: an interim answer; the final one is still to come.
    Interim,
    Final {
        status: u16,
        length: Option<u64>,
    },
    Trailers,
}

impl<'a> Section<'a> {
    pub(super) const fn new(fields: &'a mut Fields, wanted: &'static [&'static str], kind: Kind) -> Self {
        Self { fields, wanted, kind, status: 0, length: None, regular: false, bad: None }
    }

    /// Looks at one field, and keeps it if it is wanted.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        if let Err(why) = self.look(name, value) {
            self.bad.get_or_insert(why);
        }
    }

    fn look(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        // RFC 9113 §8.2.1: what could end a line, in whatever it is translated to, and what others would cut off.
        if value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
            return Err("a field value with a line end or a zero octet");
        }
        let is_blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
        if is_blank(value.first()) || is_blank(value.last()) {
            return Err("a field value that begins or ends with a blank");
        }
        if let [b':', ..] = name {
            return self.pseudo(name, value);
        }
        self.regular = true;
        if name.is_empty()
            || !name.iter().all(|octet| matches!(octet, b'!'..=b'~') && !matches!(octet, b'A'..=b'Z' | b':'))
        {
            return Err("a field name with octets that no name has");
        }
        // RFC 9113 §8.2.2: what belongs to connections of HTTP/1.1.
        if CONNECTION_FIELDS.contains(&name) {
            return Err("a field that belongs to a connection of HTTP/1.1");
        }
        if self.kind == Kind::Trailers || is_interim(self.status) {
            return Ok(());
        }
        if name == b"content-length" {
            let length = number(value).ok_or("a content-length that is no number")?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err("two content-lengths that differ");
            }
        }
        if self.wanted.iter().any(|wanted| wanted.as_bytes() == name) {
            self.fields.push(name, value);
        }
        Ok(())
    }

    /// RFC 9113 §8.3.2: an answer has `:status` once, before all other fields, and no other; trailers have none.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if name != b":status" || self.kind == Kind::Trailers || self.regular || self.status != 0 {
            return Err("a pseudo-header field that does not belong there");
        }
        let status = match value {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
            }
            _ => return Err("a status that is no number of three digits"),
        };
        // RFC 9113 §8.6: HTTP/2 has no 101.
        if status == 101 {
            return Err("status 101, which HTTP/2 does not have");
        }
        self.status = status;
        Ok(())
    }

    /// What the section said, once all its fields were taken.
    pub(super) fn close(self) -> Result<Said, &'static str> {
        match (self.bad, self.kind, self.status) {
            (Some(why), ..) => Err(why),
            (None, Kind::Trailers, _) => Ok(Said::Trailers),
            (None, Kind::Head, 0) => Err("an answer without a status"),
            (None, Kind::Head, status) if is_interim(status) => Ok(Said::Interim),
            (None, Kind::Head, status) => Ok(Said::Final { status, length: self.length }),
        }
    }
}

/// RFC 9113 §8.1.1: whether an answer of this status that says `length` may have so many bytes of body. Those that never
/// have a body may name the length of another answer (RFC 9110 §8.6).
pub(super) const fn agrees(status: u16, length: Option<u64>, body_bytes: u64) -> bool {
    match length {
        None => true,
        Some(length) => length == body_bytes || (body_bytes == 0 && matches!(status, 204 | 304)),
    }
}

const fn is_interim(status: u16) -> bool {
    100 <= status && status < 200
}

/// RFC 9110 §8.6: digits only.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()))?;
    text.parse().ok()
}

const CONNECTION_FIELDS: [&[u8]; 5] =
    [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, fields: &[(&str, &str)]) -> (Result<Said, &'static str>, usize) {
        let mut kept = Fields::new();
        let mut section = Section::new(&mut kept, &["date"], kind);
        fields.iter().for_each(|(name, value)| section.take(name.as_bytes(), value.as_bytes()));
        let said = section.close();
        (said, kept.iter().count())
    }

    #[test]
    fn what_is_well_formed_says_its_status_and_keeps_what_is_wanted() {
        let whole = Said::Final { status: 410, length: Some(7) };
        for (kind, fields, expected) in [
            (Kind::Head, &[(":status", "410"), ("date", "d"), ("content-length", "7"), ("x", "y")][..], (whole, 1)),
            (Kind::Head, &[(":status", "410"), ("content-length", "7"), ("content-length", "7")], (whole, 0)),
            (Kind::Head, &[(":status", "103"), ("date", "d"), ("content-length", "x")], (Said::Interim, 0)),
            (Kind::Trailers, &[("date", "d")], (Said::Trailers, 0)),
            (Kind::Trailers, &[], (Said::Trailers, 0)),
        ] {
            assert_eq!(read(kind, fields), (Ok(expected.0), expected.1), "{fields:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_answer() {
        for (kind, fields) in [
            (Kind::Head, &[][..]),
            (Kind::Head, &[("date", "d")]),
            (Kind::Head, &[("date", "d"), (":status", "200")]),
            (Kind::Head, &[(":status", "200"), (":status", "200")]),
            (Kind::Head, &[(":status", "200"), (":path", "/")]),
            (Kind::Head, &[(":status", "20")]),
            (Kind::Head, &[(":status", "2000")]),
            (Kind::Head, &[(":status", "099")]),
            (Kind::Head, &[(":status", "+20")]),
            (Kind::Head, &[(":status", "101")]),
            (Kind::Head, &[(":status", "200"), ("Date", "d")]),
            (Kind::Head, &[(":status", "200"), ("", "d")]),
            (Kind::Head, &[(":status", "200"), ("da te", "d")]),
            (Kind::Head, &[(":status", "200"), ("da:te", "d")]),
            (Kind::Head, &[(":status", "200"), ("date", "a\nb")]),
            (Kind::Head, &[(":status", "200"), ("date", "a\0")]),
            (Kind::Head, &[(":status", "200"), ("date", " a")]),
            (Kind::Head, &[(":status", "200"), ("date", "a\t")]),
            (Kind::Head, &[(":status", "200"), ("date", "\t")]),
            (Kind::Head, &[(":status", "200"), ("connection", "close")]),
            (Kind::Head, &[(":status", "200"), ("transfer-encoding", "chunked")]),
            (Kind::Head, &[(":status", "200"), ("content-length", "+1")]),
            (Kind::Head, &[(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
            (Kind::Trailers, &[(":status", "200")]),
            (Kind::Trailers, &[("Date", "d")]),
        ] {
            assert!(read(kind, fields).0.is_err(), "{kind:?} {fields:?}");
        }
    }
}
